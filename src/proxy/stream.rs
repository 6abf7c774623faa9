//! A byte stream, plain or encrypted, to a client or to an app.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::{client, server};

use super::counted::Counted;

/// What a connection reads from and writes to.
pub(crate) enum Stream<T> {
    Plain(TcpStream),
    Tls(Box<T>),
    /// Of an app's only.
    Unix(UnixStream),
}

/// Of a client.
pub(crate) type ClientStream = Stream<server::TlsStream<Counted>>;

/// To an app.
pub(crate) type AppStream = Stream<client::TlsStream<TcpStream>>;

/// TLS on a socket.
pub(crate) trait Encrypted: AsyncRead + AsyncWrite + Unpin {
    fn socket(&self) -> &TcpStream;
}

impl Encrypted for server::TlsStream<Counted> {
    fn socket(&self) -> &TcpStream {
        &self.get_ref().0.tcp
    }
}

impl Encrypted for client::TlsStream<TcpStream> {
    fn socket(&self) -> &TcpStream {
        self.get_ref().0
    }
}

impl<T: Encrypted> Stream<T> {
    fn socket(&self) -> SockRef<'_> {
        match self {
            Self::Plain(stream) => stream.into(),
            Self::Tls(stream) => stream.socket().into(),
            Self::Unix(stream) => stream.into(),
        }
    }

    /// The socket, where nothing but the kernel stands between it and the bytes.
    pub(crate) fn plain(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(stream) => Some(stream),
            Self::Tls(_) | Self::Unix(_) => None,
        }
    }

    /// The socket is to be full with little that the other side has yet to take, so that it shows when it takes some:
    /// of a large buffer the kernel tells only once a third is free.
    pub(crate) fn keep_unsent_small(&self) {
        // One that cannot is told less often.
        let _ = self.socket().set_tcp_notsent_lowat(UNSENT);
    }

    /// Closing it is to be a reset, so that the client cannot take what it got for the whole.
    pub(crate) fn reset_on_close(&self) {
        // A socket that is gone cannot be told, and need not be.
        let _ = self.socket().set_linger(Some(Duration::ZERO));
    }
}

impl ClientStream {
    /// Bytes that the socket has taken so far, where that is not what writes say: below TLS.
    pub(crate) fn sent(&self) -> Option<u64> {
        match self {
            Self::Tls(stream) => Some(stream.get_ref().0.sent()),
            Self::Plain(_) | Self::Unix(_) => None,
        }
    }
}

impl<T: Encrypted> AsyncRead for Stream<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl<T: Encrypted> AsyncWrite for Stream<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write_vectored(cx, bufs),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
            Self::Unix(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// As much as is written in one go.
const UNSENT: u32 = 64 * 1024;
