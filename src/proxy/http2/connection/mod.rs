//! One connection of HTTP/2, whichever side of it this is: frames as they come and go. What they mean to a
//! server or to a client is its [`Role`]'s to say.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::io::poll_read_buf;

use super::flood::Budget;
use super::frame::{self, Fault, FrameHead, HEAD, MAX_FRAME, PREFACE};
use super::hpack::Decoder;
use super::shared::Shared;
use crate::proxy::buffers::LARGE;

// Frames about the connection rather than its requests.
mod control;
// DATA frames.
mod data;
// Header blocks.
mod block;

pub(super) use block::unreadable;

use block::Block;
use data::Data;

/// One connection.
pub(super) struct Connection<R: Role> {
    pub(super) shared: Rc<Shared>,
    pub(super) stream: R::Stream,
    /// Bytes read; those before `ahead_at` are done with.
    ahead: Vec<u8>,
    ahead_at: usize,
    /// Whether the last read filled the buffer, so that a larger one may pay.
    filled: bool,
    /// Whether what was written has also been flushed.
    pub(super) flushed: bool,
    stage: Stage,
    /// The DATA frame under way.
    data: Option<Data>,
    /// The header block under way.
    block: Option<Block>,
    pub(super) decoder: Decoder,
    budget: Budget,
    pub(super) role: R,
}

/// A server or a client, on its connection.
pub(super) trait Role: Sized {
    type Stream: AsyncRead + AsyncWrite + Unpin;

    /// Whether nobody has opened a stream with this number.
    fn is_idle(conn: &Connection<Self>, id: u32) -> bool;

    /// A whole header block has come.
    fn block(conn: &mut Connection<Self>, id: u32, last: bool, block: &[u8]) -> Result<(), Fault>;

    /// The other side has taken a stream back.
    fn reset(conn: &mut Connection<Self>, at: usize, code: u32) -> Result<(), Fault>;

    /// DATA came that no stream takes, or that has nothing in it.
    fn pointless(conn: &mut Connection<Self>, known: bool) -> Result<(), Fault>;

    /// A PING was answered.
    fn pong(conn: &mut Connection<Self>, payload: &[u8]);

    /// The other side opens no more streams, or serves none above `last`.
    fn go_away(conn: &mut Connection<Self>, last: u32, code: u32) -> Result<(), Fault>;

    /// Something has come.
    fn read(_conn: &Connection<Self>) {}

    /// All that has come is taken. `begun`: a header block has begun and not ended.
    fn waits(
        _conn: &mut Connection<Self>,
        _cx: &mut Context<'_>,
        _begun: bool,
    ) -> Result<(), Fault> {
        Ok(())
    }

    /// Something was written, or could not be at the moment.
    fn wrote(conn: &Connection<Self>, any: bool);

    /// Streams have come to nothing by what the other side did.
    fn wasted(conn: &mut Connection<Self>, count: u32) -> Result<(), Fault>;
}

/// How a connection begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Preface,
    /// The first frame is SETTINGS.
    Settings,
    Open,
}

impl<R: Role> Connection<R> {
    /// With the first frames of this side in `shared` already.
    pub(super) fn new(
        shared: Rc<Shared>,
        stream: R::Stream,
        stage: Stage,
        budget: Budget,
        role: R,
    ) -> Self {
        Self {
            shared,
            stream,
            ahead: Vec::new(),
            ahead_at: 0,
            filled: false,
            flushed: true,
            stage,
            data: None,
            block: None,
            decoder: Decoder::new(HEADER_TABLE),
            budget,
            role,
        }
    }

    /// Writes what is queued; gives the buffer back afterwards.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.shared.borrow();
        let inner = &mut *inner;
        while inner.out_at < inner.out.len() {
            let bytes = &inner.out[inner.out_at..];
            self.flushed = false;
            let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
            R::wrote(self, written.is_ready());
            match written {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => inner.out_at += count,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    if inner.out_at >= LARGE / 2 {
                        inner.out.drain(..inner.out_at);
                        inner.forget_written();
                    }
                    inner.wake_waiting();
                    return Poll::Pending;
                }
            }
        }
        inner.forget_written();
        self.shared.worker.buffers.reclaim(&mut inner.out);
        if !self.flushed {
            let flushed = Pin::new(&mut self.stream).poll_flush(cx);
            R::wrote(self, flushed.is_ready());
            ready!(flushed)?;
            self.flushed = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Takes frames as they come. `Ready` when no more will.
    pub(super) fn poll_frames(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Result<Poll<io::Result<()>>, Fault> {
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
                    let begun = self.block_has_begun();
                    R::waits(self, cx, begun)?;
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
            R::read(self);
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

    fn count_wasted(&mut self) -> Result<(), Fault> {
        let count = std::mem::take(&mut self.shared.borrow().wasted);
        if count == 0 {
            return Ok(());
        }
        R::wasted(self, count)
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
        if self.stage == Stage::Settings {
            if bytes.starts_with(b"HTTP/1") {
                return Err(Fault::protocol(SPEAKS_HTTP1));
            }
            if head.kind != frame::SETTINGS || head.has(frame::ACK) {
                return Err(Fault::protocol(NOT_SETTINGS));
            }
            self.stage = Stage::Open;
        }
        if head.len > MAX_FRAME {
            return Err(Fault::size("a frame is larger than 16 KiB"));
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
            frame::PUSH_PROMISE => Err(Fault::protocol("nobody may push here")),
            frame::RST_STREAM => self.rst_stream(head, payload),
            kind => {
                // What is left asks for nothing, however much of it comes.
                self.unasked()?;
                match kind {
                    frame::PRIORITY => self.priority(head, payload),
                    frame::SETTINGS => self.settings(head, payload),
                    frame::PING => self.ping(head, payload),
                    frame::GOAWAY => self.go_away(head, payload),
                    // Others are nobody's.
                    _ => Ok(()),
                }
            }
        }
    }

    /// Counts a frame that no request pays for.
    pub(super) fn unasked(&mut self) -> Result<(), Fault> {
        if self.budget.takes_frame(self.shared.worker.clock.now()) {
            return Ok(());
        }
        Err(Fault::flood(
            "too many frames in a second asked for nothing",
        ))
    }

    /// Counts a request that was taken back.
    pub(super) fn takes_reset(&mut self) -> bool {
        self.budget.takes_reset(self.shared.worker.clock.now())
    }
}

/// What ends a connection that is none of HTTP/2 at all.
pub(crate) const SPEAKS_HTTP1: &str = "it speaks HTTP/1, not HTTP/2";
const NOT_SETTINGS: &str = "the first frame is not SETTINGS";
/// `SETTINGS_HEADER_TABLE_SIZE`, as it is without being told.
const HEADER_TABLE: usize = 4096;
