//! Header blocks, put together from their frames (RFC 9113 sections 6.2 and 6.10).

use super::super::frame::{self, Code, Fault, FrameHead};
use super::super::hpack;
use super::{Connection, Role};

/// A header block that has begun.
pub(super) struct Block {
    pub(super) stream: u32,
    last: bool,
    bytes: Vec<u8>,
    /// CONTINUATION frames so far.
    pieces: u32,
}

impl<R: Role> Connection<R> {
    pub(super) fn headers(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), Fault> {
        if head.stream == 0 {
            return Err(Fault::protocol("HEADERS are on no stream"));
        }
        let mut payload = frame::unpad(head, payload)?;
        if head.has(frame::WITH_PRIORITY) {
            payload = payload
                .get(5..)
                .ok_or_else(|| Fault::size("HEADERS are too short for their priority"))?;
        }
        let last = head.has(frame::END_STREAM);
        if head.has(frame::END_HEADERS) {
            return R::block(self, head.stream, last, payload);
        }
        self.block = Some(Block {
            stream: head.stream,
            last,
            bytes: payload.to_vec(),
            pieces: 0,
        });
        Ok(())
    }

    pub(super) fn continuation(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), Fault> {
        let Some(block) = &mut self.block else {
            return Err(Fault::protocol("CONTINUATION without a beginning"));
        };
        block.pieces += 1;
        if block.pieces > MAX_PIECES || block.bytes.len() + payload.len() > MAX_BLOCK {
            return Err(Fault::flood("a header block does not end"));
        }
        block.bytes.extend_from_slice(payload);
        match self.block.take_if(|_| head.has(frame::END_HEADERS)) {
            Some(block) => R::block(self, block.stream, block.last, &block.bytes),
            None => Ok(()),
        }
    }

    /// Whether a header block has begun that is not whole, be it in the first of its frames.
    pub(super) fn block_has_begun(&self) -> bool {
        self.block.is_some()
            || self.data.is_none()
                && FrameHead::parse(&self.ahead).is_some_and(|head| head.kind == frame::HEADERS)
    }
}

/// A header block that cannot be decoded: none behind it can.
pub(in crate::proxy::http2) fn unreadable(error: hpack::HpackError) -> Fault {
    if error == hpack::HpackError::TooMuch {
        return Fault::flood(error.cause());
    }
    Fault {
        code: Code::Compression,
        cause: "a header block cannot be decoded",
    }
}

/// Bytes of a header block, and CONTINUATIONs of it: some more than may be in it, so that most of
/// those that are too large can still be told so.
const MAX_BLOCK: usize = 128 * 1024;
const MAX_PIECES: u32 = 16;
