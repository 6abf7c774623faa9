//! HTTP/2 towards apps: a connection that many requests share, whoever's they are.
//!
//! A [`Trunk`] is such a connection as its requests see it; its own task reads and writes the frames. A
//! [`Call`] is one request on it. Who has the trunks is `pool`'s.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::connection::{self, Role, Stage};
use super::flood::Budget;
use super::frame::{self, Code, Fault, PREFACE};
use super::shared::{self, Early, Shared, Terms};
use crate::model::Keepalive;
use crate::proxy::clock::{NEVER, Timer};
use crate::proxy::pool::ticks;
use crate::proxy::stream::AppStream;
use crate::proxy::worker::Worker;

mod call;
mod response;

pub(crate) use call::{Asked, Call, Stopped};

/// A connection to an endpoint.
pub(crate) struct Trunk {
    shared: Rc<Shared>,
    endpoint: u64,
    /// Rises with every trunk of the worker: which is newer.
    pub(crate) serial: u64,
    /// The number of the next stream.
    next: Cell<u32>,
    /// It takes no more requests, and ends with the last it has.
    retired: Cell<bool>,
    requests: Cell<u32>,
    born: u32,
    /// When something was last read.
    heard: Cell<u32>,
    /// When it has been idle for as long as its last route allows.
    idle_until: Cell<u32>,
    /// Of requests that are over.
    timers: RefCell<Vec<Timer>>,
}

/// The task's half of it.
type Connection = connection::Connection<Client>;

/// A client's part in a connection.
struct Client {
    trunk: Rc<Trunk>,
}

/// How a connection came to its end.
enum End {
    /// It was not needed any more.
    Done,
    /// The app has closed it.
    Closed(Option<io::Error>),
    Fault(Fault),
}

impl Trunk {
    /// Begins to speak HTTP/2 on a connection that was just made.
    pub(crate) fn begin(
        worker: &Rc<Worker>,
        stream: AppStream,
        endpoint: u64,
        serial: u64,
    ) -> Rc<Self> {
        let now = worker.clock.now();
        let shared = Shared::new(Rc::clone(worker), TERMS);
        {
            let mut inner = shared.lend_out();
            let out = &mut inner.out;
            out.extend_from_slice(PREFACE);
            frame::write_settings(
                out,
                &[
                    (frame::ENABLE_PUSH, 0),
                    (frame::INITIAL_WINDOW_SIZE, TERMS.stream_window),
                    (frame::MAX_HEADER_LIST_SIZE, response::MAX_LIST as u32),
                ],
            );
            let more = TERMS.connection_window - shared::DEFAULT_WINDOW;
            frame::write_window(out, 0, more);
        }
        let trunk = Rc::new(Self {
            shared: Rc::clone(&shared),
            endpoint,
            serial,
            next: Cell::new(1),
            retired: Cell::new(false),
            requests: Cell::new(0),
            born: now,
            heard: Cell::new(now),
            idle_until: Cell::new(now.saturating_add(ticks(UNUSED))),
            timers: RefCell::default(),
        });
        let role = Client {
            trunk: Rc::clone(&trunk),
        };
        let budget = Budget::new(FRAMES_PER_SECOND, now);
        let conn = Connection::new(shared, stream, Stage::Settings, budget, role);
        tokio::task::spawn_local(run(conn));
        trunk
    }

    /// Whether it takes one more request.
    pub(crate) fn has_place(&self) -> bool {
        !self.is_ending() && self.shared.borrow().has_place()
    }

    /// Whether it takes no more requests, now and later.
    pub(crate) fn is_ending(&self) -> bool {
        self.retired.get() || self.shared.borrow().is_over()
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.shared.borrow().open_streams() == 0
    }

    /// It takes no more requests, and ends with the last it has.
    pub(crate) fn retire(&self) {
        self.retired.set(true);
        self.shared.borrow().wake_connection();
    }

    /// Lets it go where it is old or has been idle for too long.
    pub(crate) fn expire(&self, now: u32) {
        if self.is_idle() && now >= self.idle_until.get() {
            self.retire();
        }
    }

    /// What its route says of connections, as it takes a request.
    pub(crate) fn used(&self, keepalive: &Keepalive) {
        let now = self.shared.worker.clock.now();
        let requests = self.requests.get().saturating_add(1);
        self.requests.set(requests);
        let worn = keepalive.requests > 0 && requests >= keepalive.requests;
        let old = !keepalive.time.is_zero() && now - self.born > ticks(keepalive.time);
        if worn || old || keepalive.is_off() || self.next.get() > LAST_STREAM {
            self.retired.set(true);
        }
    }

    /// A request has ended.
    fn freed(&self, keepalive: &Keepalive) {
        let now = self.shared.worker.clock.now();
        self.idle_until.set(match keepalive.timeout.is_zero() {
            true => NEVER,
            false => now.saturating_add(ticks(keepalive.timeout).max(1)),
        });
    }

    fn timer(&self) -> Timer {
        let spare = self.timers.borrow_mut().pop();
        spare.unwrap_or_else(|| self.shared.worker.clock.timer_of(self.endpoint))
    }

    fn give_timer(&self, timer: Timer) {
        timer.forget();
        let mut timers = self.timers.borrow_mut();
        if timers.len() < MAX_TIMERS {
            timers.push(timer);
        }
    }
}

/// Reads and writes until the connection ends.
async fn run(mut conn: Connection) {
    let end = poll_fn(|cx| conn.poll(cx)).await;
    let trunk = Rc::clone(&conn.role.trunk);
    trunk.retired.set(true);
    let why = match &end {
        End::Done | End::Closed(_) => None,
        End::Fault(fault) => Some(fault.cause),
    };
    match &end {
        End::Done | End::Closed(None) => {}
        End::Closed(Some(error)) => tracing::debug!(%error, "connection to an app ended"),
        End::Fault(fault) => tracing::debug!(%fault, "connection to an app ended"),
    }
    conn.shared.borrow().finish(Early::Ended(why));
    let code = match end {
        End::Closed(_) => return,
        End::Done => Code::NoError,
        End::Fault(fault) => fault.code,
    };
    frame::write_go_away(&mut conn.shared.lend_out().out, 0, code, "");
    // Whoever takes no more of it need not be waited for.
    poll_fn(|cx| {
        let _ = conn.poll_flush(cx);
        Poll::Ready(())
    })
    .await;
}

impl Connection {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        self.shared.borrow().begin_turn(cx.waker());
        let polled = self.poll_turn(cx);
        self.shared.borrow().end_turn();
        polled
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            let read = match self.poll_frames(cx) {
                Ok(read) => read,
                Err(fault) => return Poll::Ready(End::Fault(fault)),
            };
            let full = self.shared.borrow().is_full();
            match self.poll_flush(cx) {
                Poll::Ready(Ok(())) => {
                    self.shared.borrow().wake_waiting();
                    if full && read.is_pending() {
                        continue;
                    }
                }
                // What has come before is still to be read.
                Poll::Ready(Err(error)) if read.is_pending() => {
                    return Poll::Ready(End::Closed(Some(error)));
                }
                _ => {}
            }
            match read {
                Poll::Ready(Ok(())) => return Poll::Ready(End::Closed(None)),
                Poll::Ready(Err(error)) => return Poll::Ready(End::Closed(Some(error))),
                Poll::Pending => {}
            }
            let inner = self.shared.borrow();
            let quiet = inner.is_unused() && inner.is_written() && self.flushed;
            if quiet && self.role.trunk.retired.get() {
                return Poll::Ready(End::Done);
            }
            return Poll::Pending;
        }
    }
}

impl Role for Client {
    type Stream = AppStream;

    fn is_idle(conn: &Connection, id: u32) -> bool {
        id >= conn.role.trunk.next.get() || id.is_multiple_of(2)
    }

    fn block(conn: &mut Connection, id: u32, last: bool, block: &[u8]) -> Result<(), Fault> {
        conn.response(id, last, block)
    }

    /// Each was paid for by a request of ours.
    fn reset(conn: &mut Connection, at: usize, code: u32) -> Result<(), Fault> {
        let mut inner = conn.shared.borrow();
        if inner.is_ended(at) {
            // The answer is whole: what is left of the request is not needed (RFC 9113 section 8.1).
            inner.stop(at);
        } else {
            inner.reset_by_peer(at, code);
        }
        Ok(())
    }

    /// What comes for a request that was given up was on its way.
    fn pointless(conn: &mut Connection, known: bool) -> Result<(), Fault> {
        match known {
            true => conn.unasked(),
            false => Ok(()),
        }
    }

    fn pong(_conn: &mut Connection, _payload: &[u8]) {}

    fn go_away(conn: &mut Connection, last: u32, code: u32) -> Result<(), Fault> {
        conn.role.trunk.retired.set(true);
        if code != Code::NoError as u32 {
            tracing::debug!(code, "an app ends its connection");
        }
        conn.shared.borrow().untouched_above(last);
        Ok(())
    }

    fn wrote(_conn: &Connection, _any: bool) {}

    fn read(conn: &Connection) {
        let now = conn.shared.worker.clock.now();
        conn.role.trunk.heard.set(now);
    }

    fn wasted(_conn: &mut Connection, _count: u32) -> Result<(), Fault> {
        Ok(())
    }
}

/// What an app may send before somebody reads it.
const TERMS: Terms = Terms {
    stream_window: 256 * 1024,
    connection_window: 16 * 1024 * 1024,
    serves: false,
};
/// Frames that ask for nothing: some servers ask for a round trip time as often as they get an answer.
const FRAMES_PER_SECOND: u32 = 20_000;
/// Then another connection has to be made.
const LAST_STREAM: u32 = frame::MAX_WINDOW - 2;
/// A connection goes that nobody has used for so long, since whoever asked for it has left.
const UNUSED: Duration = Duration::from_secs(60);
/// Kept for later requests.
const MAX_TIMERS: usize = 32;
