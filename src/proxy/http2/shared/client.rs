//! What a stream towards an app has besides: its answer's head, and whether the app has done anything for it.

use super::super::frame;
use super::super::frame::Code;
use super::{Early, Head, Inner};
use crate::proxy::exchange::MAX_INTERIM;

impl Inner {
    /// The head of a request is about to be added; `to_head`: its answer has no body.
    pub(in crate::proxy::http2) fn begin(&mut self, at: usize, to_head: bool) {
        let place = self.end();
        let stream = &mut self.streams[at];
        stream.begins = place;
        stream.to_head = to_head;
    }

    /// Whether no byte of it was written.
    pub(in crate::proxy::http2) fn is_unsent(&self, at: usize) -> bool {
        self.is_unwritten(self.streams[at].begins)
    }

    /// Why it has come to nothing, which it has.
    pub(in crate::proxy::http2) fn early(&self, at: usize) -> Early {
        self.streams[at].early.unwrap_or(Early::Ended(None))
    }

    /// Whether its final head has come.
    pub(in crate::proxy::http2) fn is_answered(&self, at: usize) -> bool {
        self.streams[at].answered
    }

    /// Whether the answer of a stream, if it is one, has no body by its request.
    pub(in crate::proxy::http2) fn has_no_body(&self, at: Option<usize>) -> bool {
        at.is_some_and(|at| self.streams[at].to_head)
    }

    /// A head has come; `last`: and nothing else will.
    pub(in crate::proxy::http2) fn head(&mut self, at: usize, head: Head, last: bool) {
        let stream = &mut self.streams[at];
        if stream.heads.len() > MAX_INTERIM as usize {
            return self.malformed(at, "it sent too many interim responses");
        }
        stream.answered = !head.head.status.is_informational();
        if stream.answered && !stream.to_head {
            stream.left = head.head.promised();
        }
        stream.heads.push_back(head);
        match last {
            true => self.peer_ended(at, None),
            false => self.wake(at),
        }
    }

    pub(in crate::proxy::http2) fn take_head(&mut self, at: usize) -> Option<Head> {
        self.streams[at].heads.pop_front()
    }

    /// Bytes of a body that have come.
    pub(in crate::proxy::http2) fn available(&self, at: usize) -> usize {
        let stream = &self.streams[at];
        stream.body.len() - stream.body_at
    }

    /// What came on a stream is no message.
    pub(in crate::proxy::http2) fn malformed(&mut self, at: usize, cause: &'static str) {
        let stream = &mut self.streams[at];
        stream.early.get_or_insert(Early::Malformed(cause));
        stream.closed = true;
        let id = self.ids[at];
        frame::write_reset(&mut self.out, id, Code::Protocol);
        self.abandon(at, Early::Malformed(cause));
    }

    /// The app has said all it wants to, and wants to hear no more.
    pub(in crate::proxy::http2) fn stop(&mut self, at: usize) {
        self.streams[at].closed = true;
        self.wake(at);
    }

    /// The app has done nothing for streams above `last`.
    pub(in crate::proxy::http2) fn untouched_above(&mut self, last: u32) {
        for at in 0..self.ids.len() {
            if self.ids[at] > last && self.is_live(at) {
                self.streams[at].closed = true;
                self.abandon(at, Early::Untouched);
            }
        }
    }
}
