//! HTTP/2 towards clients: requests become streams, and streams responses.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::connection::{self, Role, Stage};
use super::flood::{Budget, FRAMES_PER_SECOND};
use super::frame::{self, Code, Fault};
use super::head;
use super::shared::{self, Early, Shared, Terms};
use crate::metrics::ErrorKind;
use crate::proxy::clock::Timer;
use crate::proxy::linger::{LAST_WORD, poll_linger};
use crate::proxy::state::ConnState;
use crate::proxy::stream::ClientStream;
use crate::proxy::worker::Worker;

mod lanes;
mod local;
mod request;
mod stream;
mod tunnel;

pub(crate) use lanes::Lanes;

/// One client connection.
type Connection = connection::Connection<Server>;

/// A server's part in it.
struct Server {
    state: Rc<ConnState>,
    /// The last stream that a client has opened and is served.
    last: u32,
    /// The last it has opened, be it in vain.
    opened: u32,
    leaving: Leaving,
    /// Whether the client has had its last chance to open streams.
    last_word: bool,
    /// Until when the header block under way has to be whole.
    head_due: Option<Timer>,
    /// A stream without a task of its own.
    solo: Option<Pin<Box<dyn Future<Output = ()>>>>,
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
    let mut conn = Box::new(Connection::serve(worker, stream, state));
    let end = poll_fn(|cx| conn.poll(cx)).await;
    conn.shared.borrow().finish(Early::Ended(None));
    conn.role.solo = None;
    let state = Rc::clone(&conn.role.state);
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
        let conn = &mut *conn;
        let buffers = &conn.shared.worker.buffers;
        poll_linger(cx, &mut conn.stream, &conn.role.state, buffers)
    })
    .await;
}

impl Connection {
    /// Begins to serve a client.
    fn serve(worker: Rc<Worker>, stream: ClientStream, state: Rc<ConnState>) -> Self {
        let budget = Budget::new(FRAMES_PER_SECOND, worker.clock.now());
        let shared = Shared::new(worker, TERMS);
        {
            let mut inner = shared.lend_out();
            let out = &mut inner.out;
            frame::write_settings(
                out,
                &[
                    (frame::MAX_CONCURRENT_STREAMS, shared::MAX_STREAMS),
                    (frame::INITIAL_WINDOW_SIZE, TERMS.stream_window),
                    (frame::MAX_HEADER_LIST_SIZE, head::MAX_LIST as u32),
                    (frame::ENABLE_CONNECT_PROTOCOL, 1),
                    (frame::NO_RFC7540_PRIORITIES, 1),
                ],
            );
            let more = TERMS.connection_window - shared::DEFAULT_WINDOW;
            frame::write_window(out, 0, more);
        }
        let role = Server {
            state,
            last: 0,
            opened: 0,
            leaving: Leaving::Not,
            last_word: false,
            head_due: None,
            solo: None,
        };
        Self::new(shared, stream, Stage::Preface, budget, role)
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<End>> {
        self.shared.borrow().begin_turn(cx.waker());
        let polled = self.poll_turn(cx);
        self.shared.borrow().end_turn();
        polled
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<End>> {
        if self.shared.worker.is_draining() && self.role.leaving == Leaving::Not {
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
        let state = &self.role.state;
        let quiet = {
            let inner = self.shared.borrow();
            inner.is_unused() && inner.is_written() && self.flushed
        };
        if quiet && self.role.leaving == Leaving::Last {
            return Poll::Ready(Ok(End::Done));
        }
        // From here on only the client keeps it open.
        let over = quiet && self.role.leaving == Leaving::Told;
        // A request answered in this very turn has moved the timer on.
        if over && !(self.role.last_word && state.timer().is_within(LAST_WORD)) {
            state.timer().arm(LAST_WORD);
        }
        self.role.last_word = over;
        if !state.timer().has_fired() {
            state.timer().wake_with(cx.waker());
            return Poll::Pending;
        }
        if !state.is_idle() || !quiet {
            return Poll::Ready(Ok(End::Gone));
        }
        if self.role.leaving != Leaving::Not {
            return Poll::Ready(Ok(End::Done));
        }
        // Idle for too long: clients are told, so that a request on its way is not lost.
        self.leave();
        self.role.last_word = true;
        self.role.state.timer().arm(LAST_WORD);
        self.role.state.timer().wake_with(cx.waker());
        match self.poll_flush(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Pending,
        }
    }

    /// Tells the client to open no more streams, and asks whether it knows.
    fn leave(&mut self) {
        self.role.leaving = Leaving::Told;
        let mut inner = self.shared.lend_out();
        frame::write_go_away(&mut inner.out, frame::MAX_WINDOW, Code::NoError, "");
        frame::write_ping(&mut inner.out, 0, LEAVING);
    }

    /// Tells the client what it has done.
    fn complain(&mut self, fault: Fault) {
        let mut inner = self.shared.lend_out();
        frame::write_go_away(&mut inner.out, self.role.last, fault.code, fault.cause);
    }

    fn poll_solo(&mut self, cx: &mut Context<'_>) {
        self.shared.borrow().solo_woken = false;
        if let Some(solo) = &mut self.role.solo
            && solo.as_mut().poll(cx).is_ready()
        {
            self.role.solo = None;
        }
    }

    fn poll_expired(&self, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self.role.state.timer();
        if timer.has_fired() {
            return Poll::Ready(());
        }
        timer.wake_with(cx.waker());
        Poll::Pending
    }
}

impl Role for Server {
    type Stream = ClientStream;

    /// Even ones are the server's.
    fn is_idle(conn: &Connection, id: u32) -> bool {
        id > conn.role.opened || id.is_multiple_of(2)
    }

    fn block(conn: &mut Connection, id: u32, last: bool, block: &[u8]) -> Result<(), Fault> {
        conn.whole_block(id, last, block)
    }

    fn reset(conn: &mut Connection, at: usize, code: u32) -> Result<(), Fault> {
        conn.unasked()?;
        conn.shared.borrow().reset_by_peer(at, code);
        Ok(())
    }

    fn pointless(conn: &mut Connection, _known: bool) -> Result<(), Fault> {
        conn.unasked()
    }

    fn pong(conn: &mut Connection, payload: &[u8]) {
        if payload == LEAVING && conn.role.leaving == Leaving::Told {
            // It knows: what it had on its way is here.
            conn.role.leaving = Leaving::Last;
            let mut inner = conn.shared.lend_out();
            frame::write_go_away(&mut inner.out, conn.role.last, Code::NoError, "");
        }
    }

    /// The client opens no more streams, or so it says.
    fn go_away(_conn: &mut Connection, _last: u32, _code: u32) -> Result<(), Fault> {
        Ok(())
    }

    /// A head has as long as one of HTTP/1, whatever else the connection does meanwhile.
    fn waits(conn: &mut Connection, cx: &mut Context<'_>, begun: bool) -> Result<(), Fault> {
        if !begun {
            conn.role.head_due = None;
            return Ok(());
        }
        let worker = &conn.shared.worker;
        let due = conn.role.head_due.get_or_insert_with(|| {
            let due = worker.clock.timer();
            due.arm(worker.engine.header_timeout);
            due
        });
        if due.has_fired() {
            return Err(Fault::flood("a header block takes too long"));
        }
        due.wake_with(cx.waker());
        Ok(())
    }

    fn wrote(conn: &Connection, any: bool) {
        // Streams have a pace of their own.
        conn.role.state.wrote(&conn.stream, any.then_some(0));
    }

    fn wasted(conn: &mut Connection, count: u32) -> Result<(), Fault> {
        match (0..count).all(|_| conn.takes_reset()) {
            true => Ok(()),
            false => Err(Fault::flood("too many requests are taken back")),
        }
    }
}

/// What a client may send before somebody reads it.
const TERMS: Terms = Terms {
    stream_window: 64 * 1024,
    connection_window: 1024 * 1024,
    serves: true,
};
/// The PING that follows GOAWAY.
const LEAVING: &[u8] = b"\x00goaway\x00";
