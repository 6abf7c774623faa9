//! Bytes both ways after a protocol switch. No frame is parsed and nothing is cut for being idle;
//! TCP keepalive finds dead peers (product.md S25). While nothing is under way no buffer is held.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BufMut;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::io::poll_read_buf;

use super::buffers::{Buffers, SMALL};
use super::clock::Timer;
use super::pool::Link;
use super::state::ConnState;
use super::stream::{AppStream, ClientStream};
use super::tail::Tail;
use super::worker::Worker;

/// A connection that has switched protocols, both sides of it.
pub(crate) struct Tunnel {
    client: ClientStream,
    upstream: AppStream,
    /// Tells when the endpoint is gone.
    endpoint: Timer,
    up: Direction,
    down: Direction,
    worker: Rc<Worker>,
    state: Rc<ConnState>,
}

/// What goes from one side to the other.
#[derive(Default)]
struct Direction {
    /// Read and not yet written; those before `at` are.
    pending: Vec<u8>,
    at: usize,
    /// Bytes read.
    bytes: u64,
    /// Written and not yet flushed.
    unflushed: bool,
    /// The reader has seen the end.
    ended: bool,
    /// The other side was told.
    closed: bool,
}

impl Tunnel {
    /// `early` is what the client sent behind its request.
    pub(crate) fn new(
        client: ClientStream,
        mut link: Link,
        early: Vec<u8>,
        worker: Rc<Worker>,
        state: Rc<ConnState>,
    ) -> Self {
        let answered = link.unread().to_vec();
        link.give_back(&worker.buffers);
        Self {
            client,
            upstream: link.stream,
            endpoint: link.timer,
            up: Direction::starting_with(early),
            down: Direction::starting_with(answered),
            worker,
            state,
        }
    }

    /// Relays until both sides have ended.
    pub(crate) async fn run(mut self, mut tail: Box<Tail>) {
        let metrics = std::sync::Arc::clone(&self.worker.metrics);
        metrics.upgrades.inc();
        metrics.upgrades_open.inc();
        // Either side may leave without a word; that is how tunnels end.
        let _ = poll_fn(|cx| self.poll(cx)).await;
        tail.bytes = self.down.bytes;
        tail.record.tries.taken = self.up.bytes;
        metrics.bytes_in.add(self.up.bytes);
        metrics.upgrades_open.dec();
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let before = self.up.bytes + self.down.bytes;
        let buffers = &self.worker.buffers;
        let up = self
            .up
            .poll(cx, &mut self.client, &mut self.upstream, buffers)?;
        let down = self
            .down
            .poll(cx, &mut self.upstream, &mut self.client, buffers)?;
        if up.is_ready() && down.is_ready() {
            return Poll::Ready(Ok(()));
        }
        if self.endpoint.is_lost() {
            return Poll::Ready(Ok(()));
        }
        self.endpoint.wake_with(cx.waker());
        if self.up.ended || self.down.ended {
            let timer = self.state.timer();
            let moved = self.up.bytes + self.down.bytes > before;
            if moved || !timer.is_within(HALF_OPEN) {
                timer.arm(HALF_OPEN);
            }
            if timer.has_fired() {
                return Poll::Ready(Ok(()));
            }
            timer.wake_with(cx.waker());
        }
        Poll::Pending
    }
}

impl Direction {
    fn starting_with(pending: Vec<u8>) -> Self {
        Self {
            bytes: pending.len() as u64,
            pending,
            ..Self::default()
        }
    }

    /// Moves what there is; `Ready` when `from` has ended and `to` knows.
    fn poll<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
        buffers: &Buffers,
    ) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        loop {
            while self.at < self.pending.len() {
                let written = Pin::new(&mut *to).poll_write(cx, &self.pending[self.at..]);
                match ready!(written)? {
                    0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    count => self.at += count,
                }
                self.unflushed = true;
            }
            self.at = 0;
            if self.ended {
                buffers.reclaim(&mut self.pending);
                if !self.closed {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                    self.closed = true;
                }
                return Poll::Ready(Ok(()));
            }
            // A read that filled the buffer is followed by more.
            let full = self.pending.len() == SMALL;
            if self.pending.capacity() == 0 {
                self.pending = buffers.small();
            } else if full {
                buffers.reclaim(&mut self.pending);
                self.pending = buffers.large();
            }
            self.pending.clear();
            let mut room = (&mut self.pending).limit(READ);
            match poll_read_buf(Pin::new(&mut *from), cx, &mut room) {
                Poll::Ready(count) => {
                    let count = count?;
                    self.ended = count == 0;
                    self.bytes += count as u64;
                }
                Poll::Pending => {
                    buffers.reclaim(&mut self.pending);
                    if self.unflushed {
                        ready!(Pin::new(&mut *to).poll_flush(cx))?;
                        self.unflushed = false;
                    }
                    return Poll::Pending;
                }
            }
        }
    }
}

/// One read of a busy tunnel: what comes back from the cache when it is written.
const READ: usize = 64 * 1024;
/// A tunnel one side of which has ended goes when the other is silent for this long.
pub(super) const HALF_OPEN: Duration = Duration::from_secs(60);
