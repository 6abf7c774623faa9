//! Encoders of one worker: what compresses bodies on their way to clients (`wharf.compress`). They hold much memory, so
//! they are counted.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::fields::OwnedFields;
use super::local::{Body, Pieces};
use crate::filter::compress::{CoderError, Stream, heap};
use crate::model::Coding;

/// How much memory the encoders of a worker hold.
#[derive(Debug, Default)]
pub(crate) struct Encoders(Rc<Cell<usize>>);

/// An encoder of one body, with what it may do at once.
pub(crate) struct Encoder {
    stream: Stream,
    /// Its share of [`MAX_HEAP`], for as long as it holds any.
    lease: Option<Lease>,
    /// Bytes taken in since others last had their turn.
    spent: usize,
}

struct Lease {
    used: Rc<Cell<usize>>,
    bytes: usize,
}

impl Encoders {
    /// An encoder for a body of so many bytes, if that is known. `None` where there are so many already that it has to
    /// go out as it is.
    pub(crate) fn encoder(
        &self,
        coding: Coding,
        level: u8,
        length: Option<u64>,
    ) -> Option<Encoder> {
        let bytes = heap(coding, level);
        let used = self.0.get() + bytes;
        if used > MAX_HEAP {
            return None;
        }
        match Stream::new(coding, level, length) {
            Ok(stream) => {
                self.0.set(used);
                Some(Encoder {
                    stream,
                    lease: Some(Lease {
                        used: Rc::clone(&self.0),
                        bytes,
                    }),
                    spent: 0,
                })
            }
            Err(error) => {
                tracing::warn!(%error, "an answer goes out as it is");
                None
            }
        }
    }
}

impl Encoder {
    /// See [`Stream::data`].
    pub(crate) fn data(&self) -> &[u8] {
        self.stream.data()
    }

    pub(crate) fn consume(&mut self, count: usize) {
        self.stream.consume(count);
    }

    /// Whether something is inside that the client could read if it were let out.
    pub(crate) fn holds(&self) -> bool {
        self.stream.holds()
    }

    pub(crate) fn is_flushing(&self) -> bool {
        self.stream.is_flushing()
    }

    pub(crate) fn is_done(&self) -> bool {
        self.stream.is_done()
    }

    /// Takes in some of `input`.
    pub(crate) fn push(&mut self, input: &[u8]) -> Result<usize, CoderError> {
        let count = self.stream.push(&input[..input.len().min(PIECE)])?;
        self.spent += count;
        Ok(count)
    }

    pub(crate) fn flush(&mut self) -> Result<(), CoderError> {
        self.stream.flush()
    }

    pub(crate) fn finish(&mut self) -> Result<(), CoderError> {
        self.stream.finish()?;
        if self.stream.is_ended() {
            self.lease = None;
        }
        Ok(())
    }

    /// Whether it is others' turn: then this task has been woken to go on after them.
    pub(crate) fn yields(&mut self, cx: &Context<'_>) -> bool {
        if self.spent < TURN {
            return false;
        }
        self.spent = 0;
        cx.waker().wake_by_ref();
        true
    }

    /// It waits, so others have their turn.
    pub(crate) fn rests(&mut self) {
        self.spent = 0;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.used.set(self.used.get().saturating_sub(self.bytes));
    }
}

/// A body of Wharf's own that is compressed as it is taken.
pub(crate) struct CodedBody {
    body: Body,
    encoder: Encoder,
    /// All of `body` was taken.
    over: bool,
}

impl CodedBody {
    pub(crate) fn new(body: Body, encoder: Encoder) -> Self {
        Self {
            body,
            encoder,
            over: false,
        }
    }
}

impl Pieces for CodedBody {
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let encoder = &mut self.encoder;
        loop {
            if !encoder.data().is_empty() {
                return Poll::Ready(Ok(true));
            }
            if encoder.is_done() {
                return Poll::Ready(Ok(false));
            }
            if encoder.is_flushing() {
                encoder.flush().map_err(io::Error::other)?;
            } else if self.over {
                encoder.finish().map_err(io::Error::other)?;
            } else if encoder.yields(cx) {
                return Poll::Pending;
            } else {
                match self.body.poll_fill(cx)? {
                    Poll::Ready(true) => {
                        let count = encoder.push(self.body.data()).map_err(io::Error::other)?;
                        self.body.consume(count);
                    }
                    Poll::Ready(false) => self.over = true,
                    // The rest of a file is on its way: nobody waits for a part of it.
                    Poll::Pending if encoder.holds() && !matches!(self.body, Body::File(_)) => {
                        encoder.flush().map_err(io::Error::other)?;
                    }
                    Poll::Pending => {
                        encoder.rests();
                        return Poll::Pending;
                    }
                }
            }
        }
    }

    fn data(&self) -> &[u8] {
        self.encoder.data()
    }

    fn consume(&mut self, count: usize) {
        self.encoder.consume(count);
    }

    fn is_done(&self) -> bool {
        // Others may have trailers behind it.
        self.encoder.is_done() && matches!(self.body, Body::File(_))
    }

    fn trailers(&mut self) -> Option<OwnedFields> {
        self.body.trailers()
    }
}

/// Bytes that the encoders of a worker hold at most. What comes beyond goes out as it is.
const MAX_HEAP: usize = 256 * 1024 * 1024;
/// Bytes that are taken in at once.
const PIECE: usize = 16 * 1024;
/// Bytes that are taken in before others have their turn: about a millisecond.
const TURN: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    /// S68: what all encoders of a worker hold is bounded, and given back with their end.
    #[test]
    fn s68_beyond_their_memory_answers_go_out_as_they_are() {
        let encoders = Encoders::default();
        let mut open = Vec::new();
        while let Some(encoder) = encoders.encoder(Coding::Gzip, 4, None) {
            open.push(encoder);
        }
        assert_eq!(open.len(), MAX_HEAP / heap(Coding::Gzip, 4));
        let mut first = open.remove(0);
        first.finish().unwrap();
        assert!(first.data().len() > 10);
        // The encoder itself is gone, though its client has not taken the end.
        let next = encoders.encoder(Coding::Gzip, 4, None);
        assert!(next.is_some());
        drop((open, next, first));
        assert_eq!(encoders.0.get(), 0);
    }
}
