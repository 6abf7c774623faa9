//! Where an endpoint listens.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// Where an endpoint listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(Arc<SocketFile>),
}

/// A Unix socket below the directory that holds those of apps.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SocketFile {
    pub sockets: Arc<Sockets>,
    /// Relative to the directory; no component is `..`. Whether it leads out of it by a link is for whoever connects
    /// to see.
    pub name: String,
}

/// Which Unix sockets may be an app's.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sockets {
    /// All of them are below it. Absolute.
    pub directory: PathBuf,
    /// The engine's, which is never one of them, wherever it is mounted.
    pub engine: Option<PathBuf>,
}

impl Sockets {
    /// The socket that a label names: below the directory, whether the label says so or not.
    ///
    /// # Errors
    /// That it names one elsewhere.
    pub fn file(self: &Arc<Self>, path: &str) -> Result<SocketFile, String> {
        let path = Path::new(path);
        let name = match path.is_absolute() {
            false => Some(path),
            true => path.strip_prefix(&self.directory).ok(),
        };
        let name = name.filter(|name| !name.as_os_str().is_empty());
        let Some(name) = name.and_then(Path::to_str) else {
            return Err(format!(
                "only sockets in {} can be an app's (WHARF_SOCKETS)",
                self.directory.display()
            ));
        };
        Ok(SocketFile {
            sockets: Arc::clone(self),
            name: name.to_owned(),
        })
    }
}

/// Whether `path` may be written in labels, settings and log lines as it is.
pub fn is_plain_path(path: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+=@:~".contains(&byte);
    path.bytes().all(plain)
}

impl Address {
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(addr) => Some(*addr),
            Self::Unix(_) => None,
        }
    }

    pub fn ip(&self) -> Option<IpAddr> {
        self.tcp().map(|addr| addr.ip())
    }

    /// 0 for a Unix socket.
    pub fn port(&self) -> u16 {
        self.tcp().map_or(0, |addr| addr.port())
    }
}

impl From<SocketAddr> for Address {
    fn from(addr: SocketAddr) -> Self {
        Self::Tcp(addr)
    }
}

/// `172.18.0.3:8080`, `unix:/sockets/app.sock`
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => addr.fmt(f),
            Self::Unix(file) => file.fmt(f),
        }
    }
}

impl fmt::Display for SocketFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "unix:{}",
            self.sockets.directory.join(&self.name).display()
        )
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_in_the_directory_however_it_is_written() {
        let sockets = Arc::new(Sockets {
            directory: "/sockets".into(),
            engine: None,
        });
        for (path, shown) in [
            ("app.sock", Some("unix:/sockets/app.sock")),
            ("shop/app.sock", Some("unix:/sockets/shop/app.sock")),
            ("/sockets/app.sock", Some("unix:/sockets/app.sock")),
            ("/sockets//shop/./app", Some("unix:/sockets/shop/./app")),
            ("/sockets", None),
            ("/sockets/", None),
            ("/socketsx/app", None),
            ("/run/app.sock", None),
        ] {
            let file = sockets.file(path);
            match shown {
                Some(shown) => assert_eq!(file.unwrap().to_string().replace("//", "/"), shown),
                None => assert!(
                    file.unwrap_err().contains("only sockets in /sockets"),
                    "{path}"
                ),
            }
        }
    }
}
