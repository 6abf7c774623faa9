//! Connections to endpoints, whatever their address is.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::fs::{
    CWD, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat2, readlinkat, stat,
};
use rustix::io::Errno;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::sleep;

use crate::model::{Address, SocketFile};

/// A connection to an endpoint.
#[derive(Debug)]
pub enum Dialed {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Connects; the caller has a time limit.
pub async fn connect(address: &Address) -> io::Result<Dialed> {
    match address {
        Address::Tcp(addr) => TcpStream::connect(addr).await.map(Dialed::Tcp),
        Address::Unix(file) => unix(file).await.map(Dialed::Unix),
    }
}

/// Connects to a Unix socket. Looked up each time: an app that starts anew puts another in its place.
///
/// Whoever can write to the directory decides what is there, and may change it at any time. So the file is opened
/// before anything is known of it, by a lookup that never leaves the directory (openat2(2), `RESOLVE_BENEATH`), and
/// what was opened is looked at, and then connected to by its descriptor.
///
/// # Errors
/// `NotFound` also where nothing is there yet; `PermissionDenied` also for what no app's socket may be.
async fn unix(file: &SocketFile) -> io::Result<UnixStream> {
    let found = open(file)?;
    let path = format!("/proc/self/fd/{}", found.as_raw_fd());
    let mut pause = FIRST_PAUSE;
    loop {
        match UnixStream::connect(&path).await {
            // Unlike TCP, the kernel does not wait for room in the app's backlog.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            connected => return connected,
        }
    }
}

fn open(file: &SocketFile) -> io::Result<OwnedFd> {
    let sockets = &*file.sockets;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let directory = openat2(
        CWD,
        &sockets.directory,
        flags | OFlags::DIRECTORY,
        Mode::empty(),
        ResolveFlags::empty(),
    )?;
    let within = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let found = openat2(&directory, &file.name, flags, Mode::empty(), within);
    let found = found.map_err(|errno| match errno {
        Errno::XDEV => refused(format!("{file} leads out of the directory of sockets")),
        errno => errno.into(),
    })?;
    let what = fstat(&found)?;
    if FileType::from_raw_mode(what.st_mode) != FileType::Socket {
        return Err(refused(format!("{file} is no socket")));
    }
    let is = |other: Stat| (other.st_dev, other.st_ino) == (what.st_dev, what.st_ino);
    let engine = sockets.engine.as_deref().map(stat);
    let own = format!("/proc/self/fd/{}", found.as_raw_fd());
    let name = readlinkat(CWD, own, Vec::new())?;
    if engine.is_some_and(|engine| engine.is_ok_and(is)) || is_engine(&name.to_string_lossy()) {
        return Err(refused(format!(
            "{file} is the socket of a container engine, and no app's"
        )));
    }
    Ok(found)
}

/// Whether the socket at this path is an engine's by its name.
pub fn is_engine(path: &str) -> bool {
    let name = Path::new(path).file_name().unwrap_or_default();
    ENGINES
        .iter()
        .any(|engine| name.eq_ignore_ascii_case(engine))
}

fn refused(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, why)
}

impl AsyncRead for Dialed {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Dialed {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// Sockets that give whoever can write to them the whole machine.
const ENGINES: &[&str] = &[
    "docker.sock",
    "docker.raw.sock",
    "podman.sock",
    "containerd.sock",
    "containerd.sock.ttrpc",
    "crio.sock",
    "buildkitd.sock",
];
/// Between two tries at a full backlog.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;
    use std::sync::Arc;

    use tempfile::TempDir;

    use super::*;
    use crate::model::Sockets;

    fn file(root: &TempDir, name: &str) -> SocketFile {
        let sockets = Sockets {
            directory: root.path().join("sockets"),
            engine: Some(root.path().join("engine")),
        };
        SocketFile {
            sockets: Arc::new(sockets),
            name: name.into(),
        }
    }

    /// B35: what a label can name is what apps have put into the directory, and nothing else.
    #[tokio::test]
    async fn only_sockets_of_the_directory_are_connected_to() {
        let root = TempDir::new().unwrap();
        let dir = root.path().join("sockets");
        fs::create_dir_all(dir.join("shop")).unwrap();
        let listen = |path: &str| UnixListener::bind(root.path().join(path)).unwrap();
        let held = [
            listen("sockets/app"),
            listen("sockets/shop/app"),
            listen("sockets/docker.sock"),
            listen("engine"),
            listen("outside"),
        ];
        fs::write(dir.join("plain"), "").unwrap();
        fs::hard_link(root.path().join("engine"), dir.join("hard")).unwrap();
        symlink("shop/app", dir.join("within")).unwrap();
        symlink("../outside", dir.join("out")).unwrap();
        symlink(root.path().join("outside"), dir.join("far")).unwrap();
        symlink(dir.join("app"), dir.join("absolute")).unwrap();
        symlink("docker.sock", dir.join("docker")).unwrap();
        symlink("..", dir.join("up")).unwrap();
        drop(UnixListener::bind(dir.join("left")).unwrap());
        let cases = [
            ("app", None),
            ("shop/app", None),
            ("within", None),
            ("none", Some((io::ErrorKind::NotFound, ""))),
            ("left", Some((io::ErrorKind::ConnectionRefused, ""))),
            ("out", Some((io::ErrorKind::PermissionDenied, "leads out"))),
            ("far", Some((io::ErrorKind::PermissionDenied, "leads out"))),
            (
                "absolute",
                Some((io::ErrorKind::PermissionDenied, "leads out")),
            ),
            (
                "../outside",
                Some((io::ErrorKind::PermissionDenied, "leads out")),
            ),
            (
                "up/outside",
                Some((io::ErrorKind::PermissionDenied, "leads out")),
            ),
            (
                "/etc/passwd",
                Some((io::ErrorKind::PermissionDenied, "leads out")),
            ),
            (
                "plain",
                Some((io::ErrorKind::PermissionDenied, "no socket")),
            ),
            ("shop", Some((io::ErrorKind::PermissionDenied, "no socket"))),
            ("hard", Some((io::ErrorKind::PermissionDenied, "engine"))),
            ("docker", Some((io::ErrorKind::PermissionDenied, "engine"))),
            (
                "docker.sock",
                Some((io::ErrorKind::PermissionDenied, "engine")),
            ),
        ];
        for (name, expected) in cases {
            let connected = connect(&Address::Unix(file(&root, name).into())).await;
            match (connected, expected) {
                (Ok(Dialed::Unix(_)), None) => {}
                (Err(error), Some((kind, words))) => {
                    assert_eq!(error.kind(), kind, "{name}: {error}");
                    assert!(error.to_string().contains(words), "{name}: {error}");
                }
                (connected, expected) => panic!("{name}: {connected:?}, not {expected:?}"),
            }
        }
        drop(held);
    }

    #[tokio::test]
    async fn a_full_backlog_is_waited_for() {
        let root = TempDir::new().unwrap();
        let dir = root.path().join("sockets");
        fs::create_dir(&dir).unwrap();
        let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None);
        let socket = socket.unwrap();
        let at = socket2::SockAddr::unix(dir.join("app")).unwrap();
        socket.bind(&at).unwrap();
        socket.listen(0).unwrap();
        let address = Address::Unix(file(&root, "app").into());
        let first = connect(&address).await.unwrap();
        let waiting = tokio::spawn(async move { connect(&address).await });
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(!waiting.is_finished());
        socket.accept().unwrap();
        waiting.await.unwrap().unwrap();
        drop(first);
    }
}
