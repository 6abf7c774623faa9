//! The filter's own sockets.

use std::fmt;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::SocketProxyError;
use crate::config::ProxyListener;

/// A bound socket; a Unix socket's file goes with it.
#[derive(Debug)]
pub(super) enum Listener {
    Unix {
        socket: UnixListener,
        path: PathBuf,
        inode: u64,
    },
    Tcp(TcpListener),
}

/// An accepted connection.
#[derive(Debug)]
pub(super) enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Listener {
    /// Binds; a socket file that nobody listens on any more is replaced.
    pub(super) fn bind(address: &ProxyListener, mode: u32) -> Result<Self, SocketProxyError> {
        let bound = match address {
            ProxyListener::Unix(path) => bind_unix(path, mode),
            ProxyListener::Tcp(address) => bind_tcp(*address),
        };
        bound.map_err(|source| SocketProxyError::Listen {
            address: match address {
                ProxyListener::Unix(path) => format!("unix://{}", path.display()),
                ProxyListener::Tcp(address) => format!("tcp://{address}"),
            },
            source,
        })
    }

    /// Cancel safe.
    pub(super) async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Unix { socket, .. } => socket
                .accept()
                .await
                .map(|(stream, _)| Stream::Unix(stream)),
            Self::Tcp(socket) => socket.accept().await.map(|(stream, _)| Stream::Tcp(stream)),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Unless a successor has put its own there.
        if let Self::Unix { path, inode, .. } = self
            && fs::symlink_metadata(&*path).is_ok_and(|file| file.ino() == *inode)
        {
            let _ = fs::remove_file(path);
        }
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix { path, .. } => write!(f, "unix://{}", path.display()),
            Self::Tcp(socket) => match socket.local_addr() {
                Ok(address) => write!(f, "tcp://{address}"),
                Err(_) => f.write_str("tcp://?"),
            },
        }
    }
}

fn bind_unix(path: &Path, mode: u32) -> io::Result<Listener> {
    if let Ok(file) = fs::symlink_metadata(path) {
        if !file.file_type().is_socket() {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "there is a file that is no socket",
            ));
        }
        match StdUnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path)?
            }
            _ => return Err(io::ErrorKind::AddrInUse.into()),
        }
    }
    // Until its mode is set, the umask's: at most the owner may write, and so connect.
    let socket = UnixListener::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    let inode = fs::symlink_metadata(path)?.ino();
    Ok(Listener::Unix {
        socket,
        path: path.to_owned(),
        inode,
    })
}

fn bind_tcp(address: std::net::SocketAddr) -> io::Result<Listener> {
    let socket = std::net::TcpListener::bind(address)?;
    socket.set_nonblocking(true)?;
    Ok(Listener::Tcp(TcpListener::from_std(socket)?))
}

/// What to do about it; the error itself follows as the source.
pub(super) fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => ": another process listens there",
        io::ErrorKind::PermissionDenied => ": its directory has to be writable for this user",
        io::ErrorKind::NotFound => ": its directory has to exist",
        _ => "",
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_read(context, to),
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, to),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_write(context, from),
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, from),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_flush(context),
            Self::Tcp(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
