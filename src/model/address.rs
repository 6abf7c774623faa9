//! Where an endpoint listens.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
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
