//! What a connection and its streams share: the frames to be written, flow control, and who has to
//! be woken for what.

use std::cell::{RefCell, RefMut};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::Waker;

use super::frame::{Code, HEAD, MAX_FRAME};
use super::hpack::Encoder;
use crate::proxy::buffers::{LARGE, SMALL};
use crate::proxy::fields::OwnedFields;
use crate::proxy::h1::ResponseHead;
use crate::proxy::worker::Worker;

// What the other side says of its streams.
mod peer;
// What streams towards apps have besides.
mod client;
// What a stream's own task does.
mod task;

/// What a connection and its streams share. They are tasks of one thread.
pub(super) struct Shared {
    pub(super) worker: Rc<Worker>,
    inner: RefCell<Inner>,
}

pub(super) struct Inner {
    /// Whole frames to be written; those bytes before `out_at` are.
    pub(super) out: Vec<u8>,
    pub(super) out_at: usize,
    pub(super) encoder: Encoder,
    /// By slot; 0 where it is free.
    ids: Vec<u32>,
    streams: Vec<Stream>,
    /// Slots in use, and of them those whose stream has not come to nothing.
    used: usize,
    open: usize,
    /// Bytes of bodies the other side takes on all streams together.
    window: i64,
    peer: Peer,
    terms: Terms,
    /// Bytes written before those in `out`.
    written: u64,
    /// Bytes of bodies the other side may still send, and those it may be allowed again.
    receive: i64,
    credit: u32,
    /// Slots that wait for room in `out`, and those that wait for the connection's window; the longest
    /// waiting first. Heads need only the one.
    waiting: VecDeque<usize>,
    thirsty: VecDeque<usize>,
    /// The connection's task, and whether it is about to look again anyway.
    waker: Option<Waker>,
    awake: bool,
    /// The slot whose stream the connection's own task drives.
    solo: Option<usize>,
    /// That stream has something to do.
    pub(super) solo_woken: bool,
    /// The connection has ended.
    over: bool,
    /// Streams that have come to nothing by what the other side did, not yet counted by its connection.
    pub(super) wasted: u32,
}

/// What the other side has set (RFC 9113 section 6.5.2).
struct Peer {
    initial_window: u32,
    max_frame: usize,
    max_streams: u32,
}

/// What this side of the connection has told the other, or would.
#[derive(Clone, Copy)]
pub(super) struct Terms {
    /// Of a body that nobody takes, at most this much is kept for a stream...
    pub(super) stream_window: u32,
    /// ... and so much may come for all together.
    pub(super) connection_window: u32,
    /// Whether this side answers rather than asks.
    ///
    /// One that asks allows others to send again as soon as bytes have come, rather than when they were
    /// taken: its streams are many people's, and none that does not move is to hold up the others. Their own
    /// windows are the bound then.
    pub(super) serves: bool,
}

/// One stream.
#[derive(Default)]
pub(super) struct Stream {
    /// Of its body, come and not taken; those before `body_at` are.
    body: Vec<u8>,
    body_at: usize,
    /// Bytes of its body the other side may still send, and those it may be allowed again.
    receive: i64,
    credit: u32,
    /// Bytes promised and not yet come.
    left: Option<u64>,
    /// Its last frame has come.
    ended: bool,
    trailers: Option<OwnedFields>,
    /// Bytes of the body towards the other side that it takes.
    window: i64,
    /// Waits for a larger window of its own.
    blocked: bool,
    /// Is among those waiting, or those thirsty.
    queued: bool,
    thirsty: bool,
    /// Its last frame to the other side is on its way, or a reset.
    closed: bool,
    /// Nothing more will come of it, nor need be done for it.
    gone: bool,
    waker: Option<Waker>,
    /// Why it has come to nothing.
    early: Option<Early>,
    /// Of an app's: heads that have come and were not taken yet, and where its own begins among all that is
    /// written.
    heads: VecDeque<Head>,
    begins: u64,
    /// The final one has come.
    answered: bool,
    /// It is an answer to HEAD.
    to_head: bool,
}

/// Why a stream has come to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Early {
    /// The other side has taken it back, with this code.
    Reset(u32),
    /// The other side has said that it did nothing for it.
    Untouched,
    /// What came on it is no message.
    Malformed(&'static str),
    /// The connection has ended; by a fault of the other side's where there is a cause.
    Ended(Option<&'static str>),
}

/// A head that an app has sent.
pub(super) struct Head {
    pub(super) head: ResponseHead,
    pub(super) text: Vec<u8>,
}

/// What the body of a request has for its reader.
pub(crate) enum Came {
    /// Now at the end of the caller's buffer.
    Data,
    Trailers(OwnedFields),
    End,
    Nothing,
}

/// Holds a slot; dropping it ends its stream, by a reset if it has to be.
pub(super) struct Slot {
    pub(super) shared: Rc<Shared>,
    pub(super) at: usize,
    /// The stream's number.
    pub(super) id: u32,
    /// What a reset says.
    pub(super) code: Code,
}

impl Shared {
    pub(super) fn new(worker: Rc<Worker>, terms: Terms) -> Rc<Self> {
        Rc::new(Self {
            worker,
            inner: RefCell::new(Inner {
                out: Vec::new(),
                out_at: 0,
                encoder: Encoder::new(),
                ids: Vec::new(),
                streams: Vec::new(),
                used: 0,
                open: 0,
                window: DEFAULT_WINDOW.into(),
                peer: Peer {
                    initial_window: DEFAULT_WINDOW,
                    max_frame: MAX_FRAME,
                    max_streams: u32::MAX,
                },
                receive: terms.connection_window.into(),
                terms,
                written: 0,
                credit: 0,
                waiting: VecDeque::new(),
                thirsty: VecDeque::new(),
                waker: None,
                awake: false,
                solo: None,
                solo_woken: false,
                over: false,
                wasted: 0,
            }),
        })
    }

    /// For a short while: nothing that is called meanwhile may borrow it, too.
    pub(super) fn borrow(&self) -> RefMut<'_, Inner> {
        self.inner.borrow_mut()
    }

    /// Makes sure that frames can be appended, and lends their buffer out.
    pub(super) fn lend_out(&self) -> RefMut<'_, Inner> {
        let mut inner = self.borrow();
        if inner.out.capacity() == 0 {
            inner.out = self.worker.buffers.small();
        }
        inner
    }

    /// Takes the buffer of frames, with room for `room` bytes of a frame.
    pub(super) fn take_out(&self, room: usize) -> Vec<u8> {
        let mut out = std::mem::take(&mut self.borrow().out);
        let need = out.len() + HEAD + room;
        if out.capacity() < need {
            let buffers = &self.worker.buffers;
            let mut other = match need {
                ..=SMALL => buffers.small(),
                _ => buffers.large(),
            };
            other.extend_from_slice(&out);
            buffers.give(std::mem::replace(&mut out, other));
        }
        out
    }

    /// Puts it back, with what was written meanwhile.
    pub(super) fn put_out(&self, out: Vec<u8>) -> RefMut<'_, Inner> {
        let mut inner = self.borrow();
        let early = std::mem::replace(&mut inner.out, out);
        inner.out.extend_from_slice(&early);
        if early.capacity() > 0 {
            self.worker.buffers.give(early);
        }
        if inner.out.is_empty() {
            self.worker.buffers.reclaim(&mut inner.out);
        }
        inner
    }

    /// Takes a slot for a new stream; `None` where there is none.
    pub(super) fn open(self: &Rc<Self>, id: u32, last: bool, left: Option<u64>) -> Option<Slot> {
        let mut inner = self.borrow();
        let at = inner.open(id, last, left)?;
        let serves = inner.terms.serves;
        drop(inner);
        Some(Slot {
            shared: Rc::clone(self),
            at,
            id,
            code: if serves { Code::Internal } else { Code::Cancel },
        })
    }
}

impl Inner {
    fn open(&mut self, id: u32, last: bool, left: Option<u64>) -> Option<usize> {
        if self.open >= MAX_STREAMS as usize || self.used >= MAX_SLOTS {
            return None;
        }
        let free = self.ids.iter().position(|id| *id == 0);
        let at = free.unwrap_or(self.ids.len());
        if at == self.ids.len() {
            self.ids.push(0);
            self.streams.push(Stream::default());
        }
        self.ids[at] = id;
        let stream = &mut self.streams[at];
        stream.receive = self.terms.stream_window.into();
        stream.window = self.peer.initial_window.into();
        stream.left = left;
        stream.ended = last;
        self.used += 1;
        self.open += 1;
        Some(at)
    }

    /// Whether one more stream may be opened.
    pub(super) fn has_place(&self) -> bool {
        self.open < self.peer.max_streams.min(MAX_STREAMS) as usize && self.used < MAX_SLOTS
    }

    /// Streams that are open.
    pub(super) fn open_streams(&self) -> usize {
        self.open
    }

    /// Where the next frame will begin, in bytes since the connection's beginning.
    pub(super) fn end(&self) -> u64 {
        self.written + self.out.len() as u64
    }

    /// Whether nothing from that place on was written.
    pub(super) fn is_unwritten(&self, place: u64) -> bool {
        self.written + self.out_at as u64 <= place
    }

    /// What was written is done with.
    pub(super) fn forget_written(&mut self) {
        self.written += self.out_at as u64;
        self.out_at = 0;
    }

    /// The slot of a stream that is open from the other side's point of view.
    pub(super) fn find(&self, id: u32) -> Option<usize> {
        let at = self.ids.iter().position(|found| *found == id)?;
        (!self.streams[at].gone).then_some(at)
    }

    /// Whether a slot is still for a stream of the other side's.
    pub(super) fn is_live(&self, at: usize) -> bool {
        self.ids[at] != 0 && !self.streams[at].gone
    }

    /// Whether no other stream is open than the one just opened.
    pub(super) fn is_alone(&self) -> bool {
        self.used == 1
    }

    /// Whether any stream's task is left.
    pub(super) fn is_unused(&self) -> bool {
        self.used == 0
    }

    /// Whether everything has been written.
    pub(super) fn is_written(&self) -> bool {
        self.out_at == self.out.len()
    }

    /// Bytes that may be added to what is to be written.
    fn out_room(&self) -> usize {
        MAX_OUT.saturating_sub(self.out.len().saturating_sub(self.out_at))
    }

    /// Whether so much is to be written that nothing should be read that may add to it.
    pub(super) fn is_full(&self) -> bool {
        self.out_room() == 0
    }

    // -- the connection's task ---------------------------------------------------------------

    /// The connection's task runs, and looks at everything afterwards.
    pub(super) fn begin_turn(&mut self, waker: &Waker) {
        if !self.waker.as_ref().is_some_and(|w| w.will_wake(waker)) {
            self.waker = Some(waker.clone());
        }
        self.awake = true;
    }

    pub(super) fn end_turn(&mut self) {
        self.awake = false;
    }

    /// There is something to be written.
    pub(super) fn wake_connection(&mut self) {
        if !self.awake
            && let Some(waker) = &self.waker
        {
            self.awake = true;
            waker.wake_by_ref();
        }
    }

    /// The connection's own task drives this stream.
    pub(super) fn set_solo(&mut self, at: usize) {
        self.solo = Some(at);
        self.solo_woken = true;
    }

    /// The connection is over: streams end as they are woken.
    pub(super) fn finish(&mut self, why: Early) {
        self.over = true;
        for at in 0..self.streams.len() {
            let stream = &mut self.streams[at];
            // A whole answer is one, whatever comes after it.
            stream.gone |= self.terms.serves || !stream.ended;
            stream.closed |= stream.ended;
            stream.early.get_or_insert(why);
            self.wake(at);
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    fn wake(&mut self, at: usize) {
        if self.solo == Some(at) {
            self.solo_woken = true;
            self.wake_connection();
        } else if let Some(waker) = &self.streams[at].waker {
            waker.wake_by_ref();
        }
    }

    /// Wakes as many of the waiting as there is room for.
    pub(super) fn wake_waiting(&mut self) {
        let room = self.out_room();
        for _ in 0..room.min(positive(self.window)).div_ceil(MAX_FRAME) {
            let Some(at) = self.thirsty.pop_front() else {
                break;
            };
            self.streams[at].thirsty = false;
            self.wake(at);
        }
        for _ in 0..room.div_ceil(MAX_FRAME) {
            let Some(at) = self.waiting.pop_front() else {
                return;
            };
            self.streams[at].queued = false;
            self.wake(at);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let body = self.shared.borrow().release(self.at, self.code);
        self.shared.worker.buffers.give(body);
    }
}

fn positive(window: i64) -> usize {
    usize::try_from(window).unwrap_or(0)
}

/// Streams at once (`SETTINGS_MAX_CONCURRENT_STREAMS`; nginx `http2_max_concurrent_streams`).
pub(super) const MAX_STREAMS: u32 = 128;
/// The same with those whose reset has come while their task is still to see it.
const MAX_SLOTS: usize = 2 * MAX_STREAMS as usize;
/// What either side may send before it is told otherwise (RFC 9113 section 6.9.2).
pub(super) const DEFAULT_WINDOW: u32 = 65_535;
/// Bytes to be written at which streams wait; one frame may go beyond it.
const MAX_OUT: usize = LARGE / 2;
