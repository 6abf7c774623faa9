//! One request on a trunk, as its exchange sees it.

use std::rc::Rc;
use std::task::Waker;

use http::Method;

use super::super::frame::{self, DATA, END_STREAM, HEAD, MAX_FRAME, fill_head};
use super::super::hpack::Encoder;
use super::super::shared::{Came, Early, Shared, Slot};
use super::Trunk;
use super::response::is_to_head;
use crate::model::Keepalive;
use crate::proxy::clock::Timer;
use crate::proxy::fields::{Field, Fields, lines};
use crate::proxy::h1::ResponseHead;

/// A request under way.
pub(crate) struct Call {
    pub(crate) trunk: Rc<Trunk>,
    slot: Slot,
    keepalive: Keepalive,
    /// Whether nothing else was under way on a connection that has been used before: the app may have
    /// closed it meanwhile.
    pub(crate) alone: bool,
    /// When it began.
    since: u32,
    timer: Option<Timer>,
    /// Of the head that was taken last.
    text: Vec<u8>,
}

/// The head of a request.
pub(crate) struct Asked<'a> {
    pub(crate) method: &'a Method,
    pub(crate) scheme: &'a str,
    pub(crate) authority: &'a str,
    pub(crate) path: &'a [u8],
    /// The fields as lines.
    pub(crate) lines: &'a [u8],
    /// There is no body.
    pub(crate) last: bool,
}

/// Why a request gets no answer, or no more of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// The app has done nothing for it.
    Untouched,
    /// The app has taken it back with this code.
    Reset(u32),
    /// The app breaks the rules.
    Malformed(&'static str),
    /// The app has closed the connection.
    Closed,
}

impl Trunk {
    /// Sends the head of a request; `None` where the trunk takes no more.
    pub(crate) fn call(self: &Rc<Self>, asked: &Asked<'_>, keepalive: &Keepalive) -> Option<Call> {
        let alone = self.is_idle() && self.requests.get() > 0;
        let id = self.next.get();
        let slot = self.shared.open(id, false, None)?;
        self.next.set(id + 2);
        self.used(keepalive);
        let mut inner = self.shared.lend_out();
        inner.begin(slot.at, is_to_head(asked.method));
        inner.headers(slot.at, asked.last, |encoder, out| {
            encoder.field(out, b":method", asked.method.as_str().as_bytes());
            encoder.field(out, b":scheme", asked.scheme.as_bytes());
            encoder.field(out, b":authority", asked.authority.as_bytes());
            encoder.field(out, b":path", asked.path);
            for (name, value) in lines(asked.lines) {
                encoder.field(out, name, value);
            }
        });
        drop(inner);
        Some(Call {
            slot,
            keepalive: *keepalive,
            alone,
            since: self.shared.worker.clock.now(),
            timer: Some(self.timer()),
            text: Vec::new(),
            trunk: Rc::clone(self),
        })
    }
}

impl Call {
    fn shared(&self) -> &Shared {
        &self.slot.shared
    }

    /// Its waiting begins or goes on: `waker` is woken when there is something to do. `Err`: nothing more will
    /// come.
    pub(crate) fn begin(&self, waker: &Waker) -> Result<(), Stopped> {
        let mut inner = self.shared().borrow();
        if inner.begin_stream(self.slot.at, waker) {
            return Ok(());
        }
        Err(match inner.early(self.slot.at) {
            Early::Untouched | Early::Reset(REFUSED) => Stopped::Untouched,
            Early::Reset(code) => Stopped::Reset(code),
            Early::Malformed(cause) | Early::Ended(Some(cause)) => Stopped::Malformed(cause),
            Early::Ended(None) if inner.is_unsent(self.slot.at) => Stopped::Untouched,
            Early::Ended(None) => Stopped::Closed,
        })
    }

    /// It waits: what it did not need is for others.
    pub(crate) fn rest(&self) {
        self.shared().borrow().end_stream_turn(self.slot.at);
    }

    pub(crate) fn timer(&self) -> Option<&Timer> {
        self.timer.as_ref()
    }

    /// The app has kept it waiting for too long; whether nothing has come on the whole connection since.
    pub(crate) fn timed_out(&self) {
        if self.trunk.heard.get() <= self.since {
            self.trunk.retire();
        }
    }

    // -- the request -------------------------------------------------------------------------

    /// Bytes of its body that may be sent now. 0: it is woken when there is room.
    pub(crate) fn room(&self) -> usize {
        self.shared().borrow().room(self.slot.at, MAX_FRAME)
    }

    /// Whether nothing more may be sent.
    pub(crate) fn is_closed(&self) -> bool {
        self.shared().borrow().is_closed(self.slot.at)
    }

    /// A frame for up to `room` bytes begins: a buffer, and where its data goes.
    pub(crate) fn open_frame(&self, room: usize) -> (Vec<u8>, usize) {
        let mut out = self.shared().take_out(room);
        let start = out.len();
        out.extend_from_slice(&[0; HEAD]);
        (out, start + HEAD)
    }

    /// The frame is what stands in the buffer now.
    pub(crate) fn close_frame(&self, mut out: Vec<u8>, data: usize, last: bool) {
        let at = self.slot.at;
        let start = data - HEAD;
        let count = out.len() - data;
        if count == 0 {
            out.truncate(start);
            let mut inner = self.shared().put_out(out);
            if last {
                inner.end_stream(at);
            }
            return;
        }
        let flags = if last { END_STREAM } else { 0 };
        fill_head(&mut out, start, DATA, flags, self.slot.id);
        let mut inner = self.shared().put_out(out);
        inner.sent(at, count);
        if last {
            inner.closes(at);
        }
        inner.wake_connection();
    }

    /// The end of the body, with trailers.
    pub(crate) fn trailers(&self, fields: Fields<'_>, may: impl Fn(Field<'_>) -> bool) {
        let mut inner = self.shared().lend_out();
        let mut sent = fields.iter().filter(|field| may(*field));
        let Some(first) = sent.next() else {
            return inner.end_stream(self.slot.at);
        };
        inner.headers(self.slot.at, true, |encoder: &mut Encoder, out| {
            encoder.field(out, first.name, first.value);
            for field in sent {
                encoder.field(out, field.name, field.value);
            }
        });
    }

    /// Lets others on the connection go first, if any wait.
    pub(crate) fn yields(&self) -> bool {
        self.shared().borrow().yields(self.slot.at)
    }

    // -- the response ------------------------------------------------------------------------

    /// The next head, if one has come. Its text is [`Call::text`].
    pub(crate) fn head(&mut self) -> Option<ResponseHead> {
        let head = self.shared().borrow().take_head(self.slot.at)?;
        let old = std::mem::replace(&mut self.text, head.text);
        self.slot.shared.worker.buffers.give(old);
        Some(head.head)
    }

    pub(crate) fn text(&self) -> &[u8] {
        &self.text
    }

    pub(crate) fn forget_text(&mut self) {
        self.slot.shared.worker.buffers.reclaim(&mut self.text);
    }

    /// Bytes of the body that have come.
    pub(crate) fn available(&self) -> usize {
        self.shared().borrow().available(self.slot.at)
    }

    /// Takes of the body, up to `room` bytes.
    pub(crate) fn take(&self, out: &mut Vec<u8>, room: usize) -> Came {
        self.shared().borrow().take_body(self.slot.at, out, room)
    }

    /// Whether all of the answer was taken.
    pub(crate) fn is_taken(&self) -> bool {
        self.shared().borrow().is_taken(self.slot.at)
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some(timer) = self.timer.take() {
            self.trunk.give_timer(timer);
        }
        self.forget_text();
        self.trunk.freed(&self.keepalive);
    }
}

/// `REFUSED_STREAM`.
const REFUSED: u32 = frame::Code::RefusedStream as u32;
