//! The client's side of a connection as hyper sees it: bytes, plus what Wharf must know of them.
//!
//! [`Wire`] wraps the socket or TLS stream below hyper. It moves the connection's deadline as bytes
//! come and go and writes interim responses, for which hyper's server has no call.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::clock::Timer;
use super::flood::{FrameCount, MAX_PER_SECOND};
use super::tunnel::Tunnel;

/// What the parts of one client connection share.
pub(crate) struct ConnState {
    /// Canonical: never an IPv4-mapped IPv6 address.
    pub(crate) peer: SocketAddr,
    /// `https` behind TLS.
    pub(crate) tls: bool,
    /// The name of the TLS handshake, canonical.
    pub(crate) sni: Option<Box<str>>,
    timer: Timer,
    protocol: Cell<Protocol>,
    /// Requests whose response has not ended.
    open: Cell<u32>,
    /// Whether bytes of the next request head have come.
    reading_head: Cell<bool>,
    /// Whether the last write found the socket full.
    stalled: Cell<bool>,
    /// Whether hyper handed bytes over that it has not flushed yet.
    unflushed: Cell<bool>,
    /// Interim responses waiting to go out before anything else.
    interim: RefCell<Vec<u8>>,
    /// The upstream side of a tunnel, once both sides agreed to switch protocols.
    tunnel: Cell<Option<Box<Tunnel>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

/// A client's byte stream under hyper.
pub(crate) struct Wire<S> {
    io: TokioIo<S>,
    state: Rc<ConnState>,
    /// Of HTTP/2 connections.
    frames: Option<FrameCount>,
}

thread_local! {
    /// Where a worker's HTTP/2 connections read to before hyper gets the bytes.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ]);
}

impl ConnState {
    /// A connection just accepted: its first request head is due within [`HEAD_TIMEOUT`].
    pub(crate) fn new(
        peer: SocketAddr,
        tls: bool,
        sni: Option<Box<str>>,
        timer: Timer,
        protocol: Protocol,
    ) -> Rc<Self> {
        timer.arm(HEAD_TIMEOUT);
        Rc::new(Self {
            peer,
            tls,
            sni,
            timer,
            protocol: Cell::new(protocol),
            open: Cell::new(0),
            // HTTP/2 has no head to be in the middle of: a client that asks nothing is idle.
            reading_head: Cell::new(protocol == Protocol::Http1),
            stalled: Cell::new(false),
            unflushed: Cell::new(false),
            interim: RefCell::default(),
            tunnel: Cell::new(None),
        })
    }

    pub(crate) fn timer(&self) -> &Timer {
        &self.timer
    }

    /// Whether nothing is under way and nothing of a next request has come.
    pub(crate) fn is_idle(&self) -> bool {
        self.open.get() == 0 && !self.reading_head.get()
    }

    /// Whether no request is under way and nothing of a response is left to write, though a request
    /// may be on its way in.
    pub(crate) fn is_quiet(&self) -> bool {
        self.open.get() == 0 && !self.unflushed.get()
    }

    /// A request head has been read.
    pub(crate) fn request_began(&self) {
        self.open.set(self.open.get() + 1);
        self.reading_head.set(false);
        self.rearm();
    }

    /// Its response has ended, one way or another.
    pub(crate) fn request_ended(&self) {
        self.open.set(self.open.get().saturating_sub(1));
        self.rearm();
    }

    /// Queues an interim (1xx) response. Dropped where it cannot be placed for sure before the
    /// final one: behind bytes the client has not taken yet, and on HTTP/2, for which hyper has no
    /// call. Interim responses are hints; losing one is allowed, misplacing one is not.
    pub(crate) fn send_interim(&self, head: &[u8]) {
        if self.protocol.get() == Protocol::Http1 && !self.unflushed.get() {
            let mut interim = self.interim.borrow_mut();
            if interim.len() + head.len() <= MAX_INTERIM {
                interim.extend_from_slice(head);
            }
        }
    }

    pub(crate) fn set_tunnel(&self, tunnel: Box<Tunnel>) {
        self.tunnel.set(Some(tunnel));
    }

    pub(crate) fn take_tunnel(&self) -> Option<Box<Tunnel>> {
        self.tunnel.take()
    }

    fn rearm(&self) {
        if self.stalled.get() {
            // Armed when the socket filled up; other requests do not give a slow reader more time.
        } else if self.open.get() > 0 {
            self.timer.disarm();
        } else if self.reading_head.get() {
            self.timer.arm(HEAD_TIMEOUT);
        } else {
            self.timer.arm(IDLE_TIMEOUT);
        }
    }

    fn bytes_came(&self) {
        if self.protocol.get() == Protocol::Http1 && self.is_idle() {
            self.reading_head.set(true);
            self.rearm();
        }
    }

    fn wrote(&self, progress: bool) {
        self.unflushed.set(true);
        // The first full socket starts the time, the next byte taken ends it.
        if progress == self.stalled.get() {
            self.stalled.set(!progress);
            if progress {
                self.rearm();
            } else {
                self.timer.arm(WRITE_TIMEOUT);
            }
        }
    }
}

impl<S> Wire<S> {
    pub(crate) fn new(stream: S, state: Rc<ConnState>) -> Self {
        let http2 = state.protocol.get() == Protocol::Http2;
        Self {
            io: TokioIo::new(stream),
            state,
            frames: http2.then(FrameCount::new),
        }
    }

    /// Gives the stream back for a tunnel.
    pub(crate) fn into_inner(self) -> S {
        self.io.into_inner()
    }
}

impl<S: AsyncWrite + Unpin> Wire<S> {
    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut interim = self.state.interim.borrow_mut();
        while !interim.is_empty() {
            let written = Pin::new(&mut self.io).poll_write(cx, &interim);
            self.state.wrote(written.is_ready());
            let written = ready!(written)?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            interim.drain(..written);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> Wire<S> {
    /// Reads what hyper is given only after its frames were counted.
    fn poll_read_frames(
        &mut self,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let room = buf.remaining().min(scratch.len());
            let mut read = ReadBuf::new(&mut scratch[..room]);
            ready!(Pin::new(self.io.inner_mut()).poll_read(cx, &mut read))?;
            let now = self.state.timer.now();
            if let Some(frames) = &mut self.frames
                && !frames.allows(read.filled(), now)
            {
                let flood = format!("more than {MAX_PER_SECOND} HTTP/2 control frames in a second");
                return Poll::Ready(Err(io::Error::other(flood)));
            }
            buf.put_slice(read.filled());
            Poll::Ready(Ok(()))
        })
    }
}

impl<S: AsyncRead + Unpin> Read for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.frames.is_some() {
            return self.poll_read_frames(cx, buf);
        }
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        if read.is_ready() {
            self.state.bytes_came();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> Write for Wire<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_interim(cx))?;
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.state.wrote(written.is_ready());
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_interim(cx))?;
        let total: usize = bufs.iter().map(|buf| buf.len()).sum();
        let written = if bufs.len() > 1 && total <= COALESCE {
            // One `send` of a small copy is cheaper than a `writev` of head and body.
            let mut joined = [0; COALESCE];
            let mut rest = &mut joined[..];
            for buf in bufs {
                let (to, after) = rest.split_at_mut(buf.len());
                to.copy_from_slice(buf);
                rest = after;
            }
            Pin::new(&mut self.io).poll_write(cx, &joined[..total])
        } else {
            Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
        };
        self.state.wrote(written.is_ready());
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper flushes the stream only once its own buffer is empty, so what is written here
        // stands between two of its messages.
        ready!(self.poll_interim(cx))?;
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        self.state.unflushed.set(false);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// A request head must be complete this long after its first byte (nginx `client_header_timeout`).
pub(crate) const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection without a request is closed after this (nginx `keepalive_timeout`).
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// A client that takes no byte for this long is gone (nginx `send_timeout`).
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// Head and body up to this go out as one copy.
const COALESCE: usize = 2048;
/// One read of an HTTP/2 connection.
const READ: usize = 16 * 1024;
/// Interim responses waiting at once.
const MAX_INTERIM: usize = 16 * 1024;
