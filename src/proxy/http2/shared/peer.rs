//! What the other side says of its streams, and what it is told of how much it may send.

use super::super::frame::{self, Code, Fault, MAX_FRAME, MAX_WINDOW};
use super::{Early, Inner};
use crate::proxy::fields::OwnedFields;

impl Inner {
    /// The other side has taken a stream back.
    pub(in crate::proxy::http2) fn reset_by_peer(&mut self, at: usize, code: u32) {
        self.streams[at].closed = true;
        self.abandon(at, Early::Reset(code));
    }

    /// Takes a stream back.
    pub(in crate::proxy::http2) fn reset(&mut self, at: usize, code: Code) {
        if !self.streams[at].closed {
            self.streams[at].closed = true;
            let id = self.ids[at];
            frame::write_reset(&mut self.out, id, code);
        }
        self.abandon(
            at,
            Early::Malformed("it broke the rules of HTTP/2 on a stream"),
        );
    }

    pub(super) fn abandon(&mut self, at: usize, why: Early) {
        let stream = &mut self.streams[at];
        stream.early.get_or_insert(why);
        if !stream.gone {
            stream.gone = true;
            self.open -= 1;
            self.wasted += 1;
        }
        self.wake(at);
    }

    /// The other side takes so much more on a stream.
    pub(in crate::proxy::http2) fn widen(&mut self, at: usize, more: u32) {
        let stream = &mut self.streams[at];
        stream.window += i64::from(more);
        if stream.window > MAX_WINDOW.into() {
            return self.reset(at, Code::FlowControl);
        }
        if std::mem::take(&mut stream.blocked) {
            self.wake(at);
        }
    }

    /// The same on all together.
    pub(in crate::proxy::http2) fn widen_all(&mut self, more: u32) -> Result<(), Fault> {
        self.window += i64::from(more);
        if self.window > MAX_WINDOW.into() {
            return Err(Fault::flow("the connection's window is too large"));
        }
        self.wake_waiting();
        Ok(())
    }

    pub(in crate::proxy::http2) fn set_initial_window(&mut self, size: u32) -> Result<(), Fault> {
        let before = std::mem::replace(&mut self.peer.initial_window, size);
        let change = i64::from(size) - i64::from(before);
        for at in 0..self.streams.len() {
            let stream = &mut self.streams[at];
            stream.window += change;
            if stream.window > MAX_WINDOW.into() {
                return Err(Fault::flow("a stream's window is too large"));
            }
            if change > 0 && std::mem::take(&mut stream.blocked) {
                self.wake(at);
            }
        }
        Ok(())
    }

    pub(in crate::proxy::http2) fn set_max_frame(&mut self, size: u32) {
        // Larger ones only make others wait.
        self.peer.max_frame = (size as usize).min(MAX_FRAME);
    }

    pub(in crate::proxy::http2) fn set_max_streams(&mut self, count: u32) {
        self.peer.max_streams = count;
    }

    /// A DATA frame with so many bytes has begun.
    pub(in crate::proxy::http2) fn data_begins(
        &mut self,
        at: Option<usize>,
        len: usize,
    ) -> Result<(), Fault> {
        self.receive -= len as i64;
        if self.receive < 0 {
            return Err(Fault::flow("more was sent than the connection's window"));
        }
        if let Some(at) = at {
            let stream = &mut self.streams[at];
            stream.receive -= len as i64;
            if stream.receive < 0 {
                return Err(Fault::flow("more was sent than a stream's window"));
            }
        }
        Ok(())
    }

    /// Bytes of a body have come.
    pub(in crate::proxy::http2) fn data(
        &mut self,
        at: usize,
        bytes: &[u8],
        lend: impl FnOnce() -> Vec<u8>,
    ) {
        if !self.terms.serves {
            self.give_credit(bytes.len());
        }
        let most = self.terms.stream_window as usize;
        let stream = &mut self.streams[at];
        if !self.terms.serves && !stream.answered {
            return self.malformed(at, "it sent a body before its head");
        }
        if let Some(left) = &mut stream.left {
            match left.checked_sub(bytes.len() as u64) {
                Some(less) => *left = less,
                None => {
                    self.taken(bytes.len());
                    return self.reset(at, Code::Protocol);
                }
            }
        }
        if stream.body.capacity() == 0 {
            stream.body = lend();
        } else if stream.body_at >= most {
            stream.body.drain(..stream.body_at);
            stream.body_at = 0;
        }
        stream.body.extend_from_slice(bytes);
        self.wake(at);
    }

    /// Bytes came that nobody will read: padding, or what comes for a stream that is gone.
    pub(in crate::proxy::http2) fn discard(&mut self, at: Option<usize>, count: usize) {
        if let Some(at) = at {
            self.credit_stream(at, count);
        }
        self.give_credit(count);
    }

    /// The other side's last frame of a stream has come.
    pub(in crate::proxy::http2) fn peer_ended(&mut self, at: usize, trailers: Option<OwnedFields>) {
        let stream = &mut self.streams[at];
        if !self.terms.serves && !stream.answered {
            return self.malformed(at, "it ended without a head");
        }
        if stream.left.is_some_and(|left| left > 0) {
            return self.reset(at, Code::Protocol);
        }
        stream.ended = true;
        stream.trailers = trailers;
        self.wake(at);
    }

    /// Whether the other side has no more to send on it.
    pub(in crate::proxy::http2) fn is_ended(&self, at: usize) -> bool {
        self.streams[at].ended
    }

    /// Bytes of a body were taken, or never will be.
    pub(super) fn taken(&mut self, count: usize) {
        if self.terms.serves {
            self.give_credit(count);
        }
    }

    fn give_credit(&mut self, count: usize) {
        self.credit += count as u32;
        // Where streams that do not move hold much of it, the rest is less than half.
        let little = i64::from(self.credit) > self.receive && self.credit >= MAX_FRAME as u32;
        if little || self.credit >= self.terms.connection_window / 2 {
            self.receive += i64::from(self.credit);
            frame::write_window(&mut self.out, 0, self.credit);
            self.credit = 0;
            self.wake_connection();
        }
    }

    pub(super) fn credit_stream(&mut self, at: usize, count: usize) {
        let (half, serves) = (self.terms.stream_window / 2, self.terms.serves);
        let stream = &mut self.streams[at];
        stream.credit += count as u32;
        if stream.credit >= half && !stream.ended && !(serves && stream.closed) {
            let credit = std::mem::take(&mut stream.credit);
            stream.receive += i64::from(credit);
            frame::write_window(&mut self.out, self.ids[at], credit);
            self.wake_connection();
        }
    }
}
