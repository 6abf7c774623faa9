//! An encoder with room for what it lets out.

use super::coder::{Coder, CoderError, Then};
use crate::model::Coding;

/// A body on its way through an encoder. Whoever drives it takes all of [`Stream::data`] before asking for more.
pub(crate) struct Stream {
    /// Gone once all is let out.
    coder: Option<Coder>,
    out: Box<[u8]>,
    /// What of `out` is to be taken.
    from: usize,
    to: usize,
    /// Something may be inside that the client cannot read yet.
    holds: bool,
    /// A flush has begun: until it is done nothing may be pushed.
    flushing: bool,
}

impl Stream {
    /// `length` of the body, if known: it has to be that.
    pub(crate) fn new(coding: Coding, level: u8, length: Option<u64>) -> Result<Self, CoderError> {
        Ok(Self {
            coder: Some(Coder::new(coding, level, length)?),
            out: vec![0; ROOM].into(),
            from: 0,
            to: 0,
            holds: false,
            flushing: false,
        })
    }

    /// What was let out and not taken yet.
    pub(crate) fn data(&self) -> &[u8] {
        &self.out[self.from..self.to]
    }

    /// Takes off the first bytes of [`Stream::data`].
    pub(crate) fn consume(&mut self, count: usize) {
        self.from = (self.from + count).min(self.to);
    }

    /// Whether there is something inside that [`Stream::flush`] would let out.
    pub(crate) fn holds(&self) -> bool {
        self.holds
    }

    /// Whether a flush has to go on before anything else.
    pub(crate) fn is_flushing(&self) -> bool {
        self.flushing
    }

    /// Whether all of it was let out and taken.
    pub(crate) fn is_done(&self) -> bool {
        self.coder.is_none() && self.from == self.to
    }

    /// Whether all of it was let out, be it taken or not: the encoder is gone.
    pub(crate) fn is_ended(&self) -> bool {
        self.coder.is_none()
    }

    /// Takes in what it can of `input`, and says how much that was.
    pub(crate) fn push(&mut self, input: &[u8]) -> Result<usize, CoderError> {
        let (read, _) = self.code(input, Then::More)?;
        self.holds = true;
        Ok(read)
    }

    /// Lets out what is inside, or as much of it as there is room for.
    pub(crate) fn flush(&mut self) -> Result<(), CoderError> {
        let (_, done) = self.code(&[], Then::Flush)?;
        self.holds = !done;
        self.flushing = !done;
        Ok(())
    }

    /// There is no more: lets out the end, or as much as there is room for.
    pub(crate) fn finish(&mut self) -> Result<(), CoderError> {
        let (_, done) = self.code(&[], Then::End)?;
        if done {
            self.coder = None;
            self.holds = false;
        }
        Ok(())
    }

    fn code(&mut self, input: &[u8], then: Then) -> Result<(usize, bool), CoderError> {
        debug_assert!(self.data().is_empty(), "what was let out goes first");
        (self.from, self.to) = (0, 0);
        let Some(coder) = &mut self.coder else {
            return Ok((input.len(), true));
        };
        let step = coder.code(input, then, &mut self.out)?;
        self.to = step.wrote;
        if step.read == 0 && step.wrote == 0 && !step.done {
            return Err(CoderError::stuck());
        }
        Ok((step.read, step.done))
    }
}

/// Bytes that are let out at once.
pub(super) const ROOM: usize = 16 * 1024;
