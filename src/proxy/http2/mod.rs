//! HTTP/2 towards clients (RFC 9113): one connection and its streams.
//!
//! The connection's task reads frames and writes them. Streams are tasks of their own, so that an
//! upstream wakes only whom it concerns; they add their frames to one buffer, which the
//! connection writes once all that are due have had their turn. A stream that is alone is driven by
//! the connection itself, which spares both the way through the scheduler. What they share is in
//! [`shared`]; what a stream does is in [`stream`].

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;
use tokio_util::io::poll_read_buf;

use super::buffers::LARGE;
use super::linger::{LAST_WORD, poll_linger};
use super::state::ConnState;
use super::stream::ClientStream;
use super::worker::Worker;
use crate::metrics::ErrorKind;

mod control;
mod data;
mod flood;
mod frame;
mod head;
mod hpack;
mod lanes;
mod request;
mod shared;
mod stream;

use control::LEAVING;
use data::Data;
use flood::Budget;
use frame::{Code, Fault, FrameHead, HEAD, MAX_FRAME, PREFACE};
use hpack::Decoder;
pub(crate) use lanes::Lanes;
use request::Block;
use shared::Shared;

/// One client connection.
struct Connection {
    shared: Rc<Shared>,
    stream: ClientStream,
    /// Bytes read; those before `ahead_at` are done with.
    ahead: Vec<u8>,
    ahead_at: usize,
    /// Whether the last read filled the buffer, so that a larger one may pay.
    filled: bool,
    /// Whether what was written has also been flushed.
    flushed: bool,
    stage: Stage,
    /// The DATA frame under way.
    data: Option<Data>,
    /// The header block under way.
    block: Option<Block>,
    decoder: Decoder,
    budget: Budget,
    /// The last stream that a client has opened and is served.
    last: u32,
    /// The last it has opened, be it in vain.
    opened: u32,
    leaving: Leaving,
    /// Whether the client has had its last chance to open streams.
    last_word: bool,
    /// A stream without a task of its own.
    solo: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

/// How a connection begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Preface,
    /// The first frame is SETTINGS.
    Settings,
    Open,
}

/// How a connection ends in good faith (RFC 9113 section 6.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaving {
    Not,
    /// The client was told, and asked whether it knows.
    Told,
    /// Streams it opens from now on are not served.
    Last,
}

/// How a connection came to its end.
enum End {
    /// Nothing is left to be said.
    Done,
    /// The client left, or takes nothing.
    Gone,
    Fault(Fault),
}

/// Serves requests until the connection ends.
pub(crate) async fn serve(worker: Rc<Worker>, stream: ClientStream, state: Rc<ConnState>) {
    let mut conn = Box::new(Connection::new(worker, stream, state));
    let end = poll_fn(|cx| conn.poll(cx)).await;
    conn.shared.borrow().end();
    conn.solo = None;
    let state = Rc::clone(&conn.shared.state);
    match end {
        Ok(End::Gone) => return,
        Ok(End::Done) => {}
        Ok(End::Fault(fault)) => {
            tracing::debug!(peer = %state.peer, %fault, "connection ended");
            conn.shared
                .worker
                .metrics
                .count_error(ErrorKind::BadRequest);
            conn.complain(fault);
        }
        Err(error) => {
            tracing::debug!(peer = %state.peer, %error, "connection ended");
            return;
        }
    }
    if !state.timer().has_fired() {
        state.timer().arm(LAST_WORD);
    }
    let mut written = false;
    poll_fn(|cx| {
        if !written {
            match conn.poll_flush(cx) {
                Poll::Ready(Ok(())) => written = true,
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => return conn.poll_expired(cx),
            }
        }
        let Connection { shared, stream, .. } = &mut *conn;
        poll_linger(cx, stream, &shared.state, &shared.worker.buffers)
    })
    .await;
}

impl Connection {
    fn new(worker: Rc<Worker>, stream: ClientStream, state: Rc<ConnState>) -> Self {
        let budget = Budget::new(worker.clock.now());
        let shared = Shared::new(worker, state);
        {
            let mut inner = shared.lend_out();
            let out = &mut inner.out;
            frame::write_settings(
                out,
                &[
                    (frame::MAX_CONCURRENT_STREAMS, shared::MAX_STREAMS),
                    (frame::INITIAL_WINDOW_SIZE, shared::STREAM_WINDOW),
                    (frame::MAX_HEADER_LIST_SIZE, head::MAX_LIST as u32),
                    (frame::NO_RFC7540_PRIORITIES, 1),
                ],
            );
            let more = shared::CONNECTION_WINDOW - shared::DEFAULT_WINDOW;
            frame::write_window(out, 0, more);
        }
        Self {
            shared,
            stream,
            ahead: Vec::new(),
            ahead_at: 0,
            filled: false,
            flushed: true,
            stage: Stage::Preface,
            data: None,
            block: None,
            decoder: Decoder::new(HEADER_TABLE),
            budget,
            last: 0,
            opened: 0,
            leaving: Leaving::Not,
            last_word: false,
            solo: None,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<End>> {
        self.shared.borrow().begin_turn(cx.waker());
        let polled = self.poll_turn(cx);
        self.shared.borrow().end_turn();
        polled
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<End>> {
        if self.shared.worker.is_draining() && self.leaving == Leaving::Not {
            self.leave();
        }
        loop {
            let read = match self.poll_frames(cx) {
                Ok(read) => read,
                Err(fault) => return Poll::Ready(Ok(End::Fault(fault))),
            };
            self.poll_solo(cx);
            let full = self.shared.borrow().is_full();
            match self.poll_flush(cx) {
                Poll::Ready(Ok(())) => {
                    let mut inner = self.shared.borrow();
                    inner.wake_waiting();
                    let more = inner.solo_woken || full;
                    drop(inner);
                    if more && read.is_pending() {
                        continue;
                    }
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {}
            }
            match read {
                Poll::Ready(Ok(())) => return Poll::Ready(Ok(End::Gone)),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {}
            }
            if self.shared.borrow().solo_woken {
                continue;
            }
            return self.poll_end(cx);
        }
    }

    /// Whether the connection has come to its end.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<End>> {
        let state = &self.shared.state;
        let quiet = {
            let inner = self.shared.borrow();
            inner.is_unused() && inner.is_written() && self.flushed
        };
        if quiet && self.leaving == Leaving::Last {
            return Poll::Ready(Ok(End::Done));
        }
        // From here on only the client keeps it open.
        let over = quiet && self.leaving == Leaving::Told;
        // A request answered in this very turn has moved the timer on.
        if over && !(self.last_word && state.timer().is_within(LAST_WORD)) {
            state.timer().arm(LAST_WORD);
        }
        self.last_word = over;
        if !state.timer().has_fired() {
            state.timer().wake_with(cx.waker());
            return Poll::Pending;
        }
        if !state.is_idle() || !quiet {
            return Poll::Ready(Ok(End::Gone));
        }
        if self.leaving != Leaving::Not {
            return Poll::Ready(Ok(End::Done));
        }
        // Idle for too long: clients are told, so that a request on its way is not lost.
        self.leave();
        self.last_word = true;
        self.shared.state.timer().arm(LAST_WORD);
        self.shared.state.timer().wake_with(cx.waker());
        match self.poll_flush(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Pending,
        }
    }

    /// Tells the client to open no more streams, and asks whether it knows.
    fn leave(&mut self) {
        self.leaving = Leaving::Told;
        let mut inner = self.shared.lend_out();
        frame::write_go_away(&mut inner.out, frame::MAX_WINDOW, Code::NoError, "");
        frame::write_ping(&mut inner.out, 0, LEAVING);
    }

    /// Tells the client what it has done.
    fn complain(&mut self, fault: Fault) {
        let mut inner = self.shared.lend_out();
        frame::write_go_away(&mut inner.out, self.last, fault.code, fault.cause);
    }

    fn poll_solo(&mut self, cx: &mut Context<'_>) {
        self.shared.borrow().solo_woken = false;
        if let Some(solo) = &mut self.solo
            && solo.as_mut().poll(cx).is_ready()
        {
            self.solo = None;
        }
    }

    /// Writes what is queued; gives the buffer back afterwards.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.shared.borrow();
        let inner = &mut *inner;
        while inner.out_at < inner.out.len() {
            let bytes = &inner.out[inner.out_at..];
            self.flushed = false;
            let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
            self.shared.state.wrote(written.is_ready());
            match written {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => inner.out_at += count,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    if inner.out_at >= LARGE / 2 {
                        inner.out.drain(..inner.out_at);
                        inner.out_at = 0;
                    }
                    inner.wake_waiting();
                    return Poll::Pending;
                }
            }
        }
        inner.out_at = 0;
        self.shared.worker.buffers.reclaim(&mut inner.out);
        if !self.flushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.flushed = true;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_expired(&self, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self.shared.state.timer();
        if timer.has_fired() {
            return Poll::Ready(());
        }
        timer.wake_with(cx.waker());
        Poll::Pending
    }

    // -- reading -----------------------------------------------------------------------------

    /// Takes frames as they come. `Ready` when no more will.
    fn poll_frames(&mut self, cx: &mut Context<'_>) -> Result<Poll<io::Result<()>>, Fault> {
        loop {
            self.take_frames()?;
            if self.shared.borrow().is_full() {
                // Nothing more that would have to be answered, until that can be written.
                return Ok(Poll::Pending);
            }
            match self.poll_fill(cx) {
                Poll::Ready(Ok(0)) => return Ok(Poll::Ready(Ok(()))),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Ok(Poll::Ready(Err(error))),
                Poll::Pending => {
                    if self.ahead.is_empty() {
                        self.shared.worker.buffers.reclaim(&mut self.ahead);
                    }
                    return Ok(Poll::Pending);
                }
            }
        }
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let buffers = &self.shared.worker.buffers;
        if self.ahead.capacity() == 0 {
            self.ahead = match self.filled {
                true => buffers.large(),
                false => buffers.small(),
            };
        } else if self.ahead.len() == self.ahead.capacity() {
            self.ahead.reserve(HEAD + MAX_FRAME);
        }
        let read = poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.ahead);
        if let Poll::Ready(Ok(_)) = read {
            self.filled = self.ahead.len() == self.ahead.capacity();
        }
        read
    }

    /// Takes all that has come whole, and of DATA all that has come.
    fn take_frames(&mut self) -> Result<(), Fault> {
        let ahead = std::mem::take(&mut self.ahead);
        let mut rest = &ahead[self.ahead_at..];
        let mut taken = Ok(());
        while !rest.is_empty() && !self.shared.borrow().is_full() {
            match self.take_frame(rest) {
                Ok(0) => break,
                Ok(count) => rest = &rest[count..],
                Err(fault) => {
                    taken = Err(fault);
                    break;
                }
            }
        }
        self.ahead_at = ahead.len() - rest.len();
        self.ahead = ahead;
        if self.ahead_at == self.ahead.len() {
            self.ahead.clear();
            self.ahead_at = 0;
            if self.filled && self.ahead.capacity() < LARGE {
                self.shared.worker.buffers.reclaim(&mut self.ahead);
            }
        } else if self.ahead_at > 0 {
            self.ahead.drain(..self.ahead_at);
            self.ahead_at = 0;
        }
        taken.and_then(|()| self.count_wasted())
    }

    /// Counts requests that the client has taken back, or had taken back by a fault of theirs.
    fn count_wasted(&mut self) -> Result<(), Fault> {
        let count = std::mem::take(&mut self.shared.borrow().wasted);
        let now = self.shared.worker.clock.now();
        if (0..count).all(|_| self.budget.takes_reset(now)) {
            return Ok(());
        }
        Err(Fault::flood("too many requests are taken back"))
    }

    /// Takes one frame, or what has come of one; 0 when more has to come first.
    fn take_frame(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        if self.data.is_some() {
            return Ok(self.go_on_with_data(bytes));
        }
        if self.stage == Stage::Preface {
            return self.preface(bytes);
        }
        let Some(head) = FrameHead::parse(bytes) else {
            return Ok(0);
        };
        if head.len > MAX_FRAME {
            return Err(Fault::size("a frame is larger than 16 KiB"));
        }
        if self.stage == Stage::Settings {
            if head.kind != frame::SETTINGS || head.has(frame::ACK) {
                return Err(Fault::protocol("the first frame is not SETTINGS"));
            }
            self.stage = Stage::Open;
        }
        let expected = self.block.as_ref().map(|block| block.stream);
        let continues = head.kind == frame::CONTINUATION && expected == Some(head.stream);
        if (expected.is_some() || head.kind == frame::CONTINUATION) && !continues {
            return Err(Fault::protocol("a header block is not in one piece"));
        }
        if head.kind == frame::DATA {
            return self.data(head, &bytes[HEAD..]);
        }
        let Some(payload) = bytes.get(HEAD..HEAD + head.len) else {
            return Ok(0);
        };
        self.frame(head, payload)?;
        Ok(HEAD + head.len)
    }

    fn preface(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        let here = bytes.len().min(PREFACE.len());
        if bytes[..here] != PREFACE[..here] {
            return Err(Fault::protocol("the preface is not HTTP/2's"));
        }
        if here < PREFACE.len() {
            return Ok(0);
        }
        self.stage = Stage::Settings;
        Ok(here)
    }

    fn frame(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), Fault> {
        match head.kind {
            frame::HEADERS => self.headers(head, payload),
            frame::CONTINUATION => self.continuation(head, payload),
            frame::WINDOW_UPDATE => self.window_update(head, payload),
            frame::PUSH_PROMISE => Err(Fault::protocol("a client cannot push")),
            kind => {
                // What is left asks for nothing, however much of it comes.
                self.unasked()?;
                match kind {
                    frame::PRIORITY => self.priority(head, payload),
                    frame::RST_STREAM => self.rst_stream(head, payload),
                    frame::SETTINGS => self.settings(head, payload),
                    frame::PING => self.ping(head, payload),
                    frame::GOAWAY if head.stream != 0 => {
                        Err(Fault::protocol("GOAWAY is on a stream"))
                    }
                    frame::GOAWAY if payload.len() < 8 => {
                        Err(Fault::size("GOAWAY has not 8 bytes"))
                    }
                    // The client opens no more streams, or so it says; others are nobody's.
                    _ => Ok(()),
                }
            }
        }
    }

    /// Counts a frame that no request pays for.
    fn unasked(&mut self) -> Result<(), Fault> {
        if self.budget.takes_frame(self.shared.worker.clock.now()) {
            return Ok(());
        }
        Err(Fault::flood(
            "more than 1024 frames in a second asked for nothing",
        ))
    }
}

/// `SETTINGS_HEADER_TABLE_SIZE`, as it is without being told.
const HEADER_TABLE: usize = 4096;
