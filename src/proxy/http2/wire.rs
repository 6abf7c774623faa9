//! The client's byte stream below hyper: moves the connection's deadline as bytes come and go, and
//! counts frames before hyper sees them.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, ReadBuf};

use super::flood::{FrameCount, MAX_PER_SECOND};
use crate::proxy::state::ConnState;
use crate::proxy::stream::ClientStream;

/// A client's byte stream under hyper.
pub(super) struct Wire {
    io: TokioIo<ClientStream>,
    state: Rc<ConnState>,
    frames: FrameCount,
}

thread_local! {
    /// Where a worker's connections read to before hyper gets the bytes.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ]);
}

impl Wire {
    pub(super) fn new(stream: ClientStream, state: Rc<ConnState>) -> Self {
        Self {
            io: TokioIo::new(stream),
            state,
            frames: FrameCount::new(),
        }
    }
}

impl Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        SCRATCH.with_borrow_mut(|scratch| {
            let room = buf.remaining().min(scratch.len());
            let mut read = ReadBuf::new(&mut scratch[..room]);
            ready!(Pin::new(this.io.inner_mut()).poll_read(cx, &mut read))?;
            if !this.frames.allows(read.filled(), this.state.timer().now()) {
                let flood = format!("more than {MAX_PER_SECOND} HTTP/2 control frames in a second");
                return Poll::Ready(Err(io::Error::other(flood)));
            }
            buf.put_slice(read.filled());
            Poll::Ready(Ok(()))
        })
    }
}

impl Write for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.state.wrote(written.is_ready());
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.state.wrote(written.is_ready());
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        self.state.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// One read of a connection.
const READ: usize = 16 * 1024;
