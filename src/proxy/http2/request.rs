//! Header blocks: requests, and trailers of those under way (RFC 9113 sections 6.2 and 8.1).

use http::StatusCode;

use super::frame::{self, Code, Fault, FrameHead};
use super::head::{Unusable, read_request, read_trailers};
use super::stream::{Job, stream};
use super::{Connection, Leaving, hpack};
use crate::metrics::ErrorKind;
use crate::proxy::page;

/// A header block that has begun.
pub(super) struct Block {
    pub(super) stream: u32,
    last: bool,
    bytes: Vec<u8>,
    /// CONTINUATION frames so far.
    pieces: u32,
}

impl Connection {
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
            return self.whole_block(head.stream, last, payload);
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
            Some(block) => self.whole_block(block.stream, block.last, &block.bytes),
            None => Ok(()),
        }
    }

    pub(super) fn whole_block(&mut self, id: u32, last: bool, block: &[u8]) -> Result<(), Fault> {
        if id.is_multiple_of(2) {
            return Err(Fault::protocol(
                "a client opens a stream with an even number",
            ));
        }
        if id <= self.opened {
            return self.trailers(id, last, block);
        }
        let buffers = &self.shared.worker.buffers;
        let read = read_request(&mut self.decoder, block, last, buffers);
        let request = read.map_err(unreadable)?;
        self.opened = id;
        if self.leaving == Leaving::Last {
            // It was told that this one is not served.
            return self.unasked();
        }
        self.last = id;
        let job = match request {
            Ok(head) => Job::Answer(head),
            Err(Unusable::Malformed(cause)) => {
                self.shared
                    .worker
                    .metrics
                    .count_error(ErrorKind::BadRequest);
                tracing::debug!(peer = %self.shared.state.peer, cause, "request refused");
                return self.refuse(id, Code::Protocol);
            }
            Err(Unusable::TooLarge) => {
                let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
                let metrics = &self.shared.worker.metrics;
                metrics.count_error(ErrorKind::BadRequest);
                metrics.count_status(status.as_u16());
                let page = page::unreadable(status, "the request head is larger than 32 KiB");
                Job::Refuse(Box::new(page))
            }
        };
        let left = match &job {
            Job::Answer(head) => head.length(),
            Job::Refuse(_) => None,
        };
        let Some(slot) = self.shared.open(id, last, left) else {
            return self.refuse(id, Code::RefusedStream);
        };
        if self.solo.is_none() && self.shared.borrow().is_alone() {
            self.shared.borrow().set_solo(slot.at);
            self.solo = Some(Box::pin(stream(slot, job)));
        } else {
            self.shared.worker.lanes.run(slot, job);
        }
        Ok(())
    }

    /// Refuses a stream that was never opened.
    pub(super) fn refuse(&mut self, id: u32, code: Code) -> Result<(), Fault> {
        frame::write_reset(&mut self.shared.lend_out().out, id, code);
        self.unasked()
    }

    /// Whether nobody has opened a stream with this number: even ones are the server's.
    pub(super) fn is_idle(&self, id: u32) -> bool {
        id > self.opened || id.is_multiple_of(2)
    }

    pub(super) fn trailers(&mut self, id: u32, last: bool, block: &[u8]) -> Result<(), Fault> {
        let read = read_trailers(&mut self.decoder, block);
        let trailers = read.map_err(unreadable)?;
        let mut inner = self.shared.lend_out();
        let Some(at) = inner.find(id) else {
            drop(inner);
            // Sent before the client knew that the stream is no more.
            return self.unasked();
        };
        match trailers {
            _ if inner.is_ended(at) => inner.reset(at, Code::StreamClosed),
            Ok(trailers) if last => inner.client_ended(at, Some(trailers)),
            _ => inner.reset(at, Code::Protocol),
        }
        Ok(())
    }
}

/// A header block that cannot be decoded: none behind it can.
fn unreadable(error: hpack::HpackError) -> Fault {
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
