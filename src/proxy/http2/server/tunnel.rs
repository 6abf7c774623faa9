//! A WebSocket on a stream (RFC 8441): DATA frames on one side, the app's HTTP/1.1 connection on the other.
//!
//! As on HTTP/1 (`proxy::tunnel`) no frame of the WebSocket is parsed and nothing is cut for being idle. What the app
//! sends is read only into a frame there is room for, what the client sends is taken only once the app has what came
//! before: a slow reader on either side keeps the other waiting, and no more than a window is held for it.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::BufMut;
use http::StatusCode;
use tokio::io::AsyncWrite;
use tokio_util::io::poll_read_buf;

use super::super::frame::{Code, HEAD, MAX_FRAME};
use super::super::shared::Came;
use super::stream::Side;
use crate::proxy::clock::Timer;
use crate::proxy::exchange::Exchange;
use crate::proxy::fields::lines;
use crate::proxy::headers::Kept;
use crate::proxy::stream::AppStream;
use crate::proxy::tail::Tail;
use crate::proxy::tunnel::HALF_OPEN;
use crate::proxy::websocket;
use crate::proxy::worker::Worker;

/// The app's side of it. However it ends, its counters are told.
struct Tunnel {
    app: AppStream,
    /// Tells when the endpoint is gone.
    endpoint: Timer,
    /// Behind the app's head; those before `answered_at` are with the client.
    answered: Vec<u8>,
    answered_at: usize,
    /// Taken of the client's and not yet with the app; those before `pending_at` are.
    pending: Vec<u8>,
    pending_at: usize,
    unflushed: bool,
    /// Bytes taken of the client's.
    up: u64,
    client_ended: bool,
    /// The app was told that the client has ended.
    closed: bool,
    app_ended: bool,
    /// Runs once one side has ended.
    half_open: Option<Timer>,
    worker: Rc<Worker>,
}

impl Side<'_> {
    /// Tells the client that its WebSocket is open, and relays until both sides have ended.
    pub(super) async fn tunnel(&mut self, mut exchange: Box<Exchange>, tail: &mut Tail) {
        // As on HTTP/1, where it is what the client gets.
        tail.responds(StatusCode::SWITCHING_PROTOCOLS);
        if poll_fn(|cx| self.poll_head_room(cx)).await.is_err() {
            return;
        }
        {
            let (fields, extra) = (exchange.fields(), &exchange.extra);
            let kept = Kept::of(fields, extra, false);
            self.head(false, StatusCode::OK, |encoder, out| {
                let theirs = |name: &[u8]| !websocket::is_accept(name);
                for field in fields
                    .iter()
                    .filter(|field| theirs(field.name) && kept.holds(*field))
                {
                    encoder.field(out, field.name, field.value);
                }
                for (name, value) in lines(&extra.lines) {
                    encoder.field(out, name, value);
                }
            });
        }
        exchange.take_head();
        tail.head.shrink();
        let worker = Rc::clone(&tail.worker);
        let Some(mut link) = exchange.into_link() else {
            return;
        };
        let answered = link.unread().to_vec();
        link.give_back(&worker.buffers);
        worker.metrics.upgrades.inc();
        worker.metrics.upgrades_open.inc();
        let mut tunnel = Tunnel {
            app: link.stream,
            endpoint: link.timer,
            answered,
            answered_at: 0,
            pending: Vec::new(),
            pending_at: 0,
            unflushed: false,
            up: 0,
            client_ended: false,
            closed: false,
            app_ended: false,
            half_open: None,
            worker,
        };
        // Either side may leave without a word; a client that does takes this future with it.
        if poll_fn(|cx| tunnel.poll(cx, self, tail)).await.is_err() {
            // RFC 8441 section 5: as a connection that is reset.
            self.slot.code = Code::Cancel;
        }
    }
}

impl Tunnel {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        side: &mut Side<'_>,
        tail: &mut Tail,
    ) -> Poll<io::Result<()>> {
        let before = self.up + tail.bytes;
        let up = self.poll_up(cx, side);
        tail.record.tries.taken = self.up;
        let up = up?;
        let down = self.poll_down(cx, side, tail)?;
        if up.is_ready() && down.is_ready() {
            return Poll::Ready(Ok(()));
        }
        if self.endpoint.is_lost() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        self.endpoint.wake_with(cx.waker());
        if self.client_ended || self.app_ended {
            let clock = &self.worker.clock;
            let timer = self.half_open.get_or_insert_with(|| clock.timer());
            let moved = self.up + tail.bytes > before;
            if moved || !timer.is_within(HALF_OPEN) {
                timer.arm(HALF_OPEN);
            }
            if timer.has_fired() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            timer.wake_with(cx.waker());
        }
        Poll::Pending
    }

    /// Moves what the client has sent; `Ready` when it has ended and the app knows.
    fn poll_up(&mut self, cx: &mut Context<'_>, side: &mut Side<'_>) -> Poll<io::Result<()>> {
        let at = side.slot.at;
        loop {
            while self.pending_at < self.pending.len() {
                let bytes = &self.pending[self.pending_at..];
                match ready!(Pin::new(&mut self.app).poll_write(cx, bytes))? {
                    0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    count => self.pending_at += count,
                }
                self.unflushed = true;
            }
            self.pending_at = 0;
            let buffers = &self.worker.buffers;
            if self.client_ended {
                buffers.reclaim(&mut self.pending);
                if !self.closed {
                    ready!(Pin::new(&mut self.app).poll_shutdown(cx))?;
                    self.closed = true;
                }
                return Poll::Ready(Ok(()));
            }
            if self.pending.capacity() == 0 {
                self.pending = buffers.small();
            }
            self.pending.clear();
            let room = self.pending.capacity();
            match side
                .shared()
                .borrow()
                .take_body(at, &mut self.pending, room)
            {
                Came::Data => self.up += self.pending.len() as u64,
                // A WebSocket has no trailers.
                Came::End | Came::Trailers(_) => self.client_ended = true,
                Came::Nothing => {
                    buffers.reclaim(&mut self.pending);
                    if self.unflushed {
                        ready!(Pin::new(&mut self.app).poll_flush(cx))?;
                        self.unflushed = false;
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    /// Moves what the app has sent; `Ready` when it has ended and the client was told.
    fn poll_down(
        &mut self,
        cx: &mut Context<'_>,
        side: &mut Side<'_>,
        tail: &mut Tail,
    ) -> Poll<io::Result<()>> {
        let at = side.slot.at;
        while !self.app_ended {
            let room = side.shared().borrow().room(at, MAX_FRAME);
            if room == 0 {
                return Poll::Pending;
            }
            let mut out = side.shared().take_out(room);
            let start = out.len();
            out.extend_from_slice(&[0; HEAD]);
            let read = match &self.answered[self.answered_at..] {
                [] => poll_read_buf(Pin::new(&mut self.app), cx, &mut (&mut out).limit(room)),
                rest => {
                    let count = rest.len().min(room);
                    out.extend_from_slice(&rest[..count]);
                    self.answered_at += count;
                    Poll::Ready(Ok(count))
                }
            };
            match read {
                Poll::Ready(Ok(count)) if count > 0 => {
                    tail.bytes += count as u64;
                    side.put_data(out, start, false);
                    if side.shared().borrow().yields(at) {
                        return Poll::Pending;
                    }
                }
                read => {
                    out.truncate(start);
                    let mut inner = side.shared().put_out(out);
                    ready!(read)?;
                    inner.end_stream(at);
                    self.app_ended = true;
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        if !(self.client_ended && self.app_ended) {
            // The client has taken its stream back, or is gone.
            self.app.reset_on_close();
        }
        self.worker.buffers.reclaim(&mut self.pending);
        self.worker.metrics.bytes_in.add(self.up);
        self.worker.metrics.upgrades_open.dec();
    }
}
