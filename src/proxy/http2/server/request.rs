//! Requests, and trailers of those under way (RFC 9113 section 8.1).

use std::rc::Rc;

use http::StatusCode;

use super::super::connection::unreadable;
use super::super::frame::{self, Code, Fault};
use super::super::head::{Unusable, read_request, read_trailers};
use super::stream::{Job, stream};
use super::{Connection, Leaving};
use crate::metrics::ErrorKind;
use crate::proxy::page;

impl Connection {
    pub(super) fn whole_block(&mut self, id: u32, last: bool, block: &[u8]) -> Result<(), Fault> {
        if id.is_multiple_of(2) {
            return Err(Fault::protocol(
                "a client opens a stream with an even number",
            ));
        }
        if id <= self.role.opened {
            return self.trailers(id, last, block);
        }
        let buffers = &self.shared.worker.buffers;
        let read = read_request(&mut self.decoder, block, last, buffers);
        let request = read.map_err(unreadable)?;
        self.role.opened = id;
        if self.role.leaving == Leaving::Last {
            // It was told that this one is not served.
            return self.unasked();
        }
        self.role.last = id;
        let job = match request {
            Ok(head) => Job::Answer(head),
            Err(Unusable::Malformed(cause)) => {
                self.shared
                    .worker
                    .metrics
                    .count_error(ErrorKind::BadRequest);
                tracing::debug!(peer = %self.role.state.peer, cause, "request refused");
                return self.refuse(id, Code::Protocol);
            }
            Err(unusable @ (Unusable::TooLarge | Unusable::Protocol)) => {
                let (status, cause) = match unusable {
                    Unusable::Protocol => (
                        StatusCode::NOT_IMPLEMENTED,
                        "of what can be opened on a stream only `websocket` is served",
                    ),
                    _ => (
                        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                        "the request head is larger than 32 KiB",
                    ),
                };
                let metrics = &self.shared.worker.metrics;
                metrics.count_error(ErrorKind::BadRequest);
                metrics.count_status(status.as_u16());
                let page = page::unreadable(status, cause);
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
        let state = Rc::clone(&self.role.state);
        if self.role.solo.is_none() && self.shared.borrow().is_alone() {
            self.shared.borrow().set_solo(slot.at);
            self.role.solo = Some(Box::pin(stream(slot, state, job)));
        } else {
            self.shared.worker.lanes.run(slot, state, job);
        }
        Ok(())
    }

    /// Refuses a stream that was never opened.
    pub(super) fn refuse(&mut self, id: u32, code: Code) -> Result<(), Fault> {
        frame::write_reset(&mut self.shared.lend_out().out, id, code);
        self.unasked()
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
            Ok(trailers) if last => inner.peer_ended(at, Some(trailers)),
            _ => inner.reset(at, Code::Protocol),
        }
        Ok(())
    }
}
