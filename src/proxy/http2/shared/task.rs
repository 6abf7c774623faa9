//! What a stream's task takes and adds, and what it waits for.

use std::task::Waker;

use super::super::frame::{self, Code, END_STREAM, HEAD};
use super::super::hpack::Encoder;
use super::{Came, Inner, positive};
use crate::proxy::buffers::SMALL;

impl Inner {
    /// A stream's task runs; `false` when there is nothing left to do for it.
    pub(in crate::proxy::http2) fn begin_stream(&mut self, at: usize, waker: &Waker) -> bool {
        let stream = &mut self.streams[at];
        if stream.gone {
            return false;
        }
        if self.solo != Some(at) && !stream.waker.as_ref().is_some_and(|w| w.will_wake(waker)) {
            stream.waker = Some(waker.clone());
        }
        true
    }

    /// Its turn is over: what it did not need is for others.
    pub(in crate::proxy::http2) fn end_stream_turn(&mut self, at: usize) {
        let stream = &self.streams[at];
        if self.others_wait() && !stream.queued && !stream.thirsty {
            self.wake_waiting();
        }
    }

    /// Takes of a request's body, up to `room` bytes.
    pub(in crate::proxy::http2) fn take_body(
        &mut self,
        at: usize,
        out: &mut Vec<u8>,
        room: usize,
    ) -> Came {
        let stream = &mut self.streams[at];
        let here = &stream.body[stream.body_at..];
        if here.is_empty() {
            return match (stream.ended, stream.trailers.take()) {
                (true, Some(trailers)) => Came::Trailers(trailers),
                (true, None) => Came::End,
                (false, _) => Came::Nothing,
            };
        }
        let count = here.len().min(room);
        out.extend_from_slice(&here[..count]);
        stream.body_at += count;
        if stream.body_at == stream.body.len() {
            stream.body_at = 0;
            stream.body.clear();
            // What has grown is not kept for a client that may send nothing for long.
            if stream.body.capacity() > 2 * SMALL {
                stream.body = Vec::new();
            }
        }
        self.credit_stream(at, count);
        self.taken(count);
        Came::Data
    }

    /// Whether a request's body was taken to its end.
    pub(in crate::proxy::http2) fn is_taken(&self, at: usize) -> bool {
        let stream = &self.streams[at];
        stream.ended && stream.body.is_empty() && stream.trailers.is_none()
    }

    /// Whether a response has had its end.
    pub(in crate::proxy::http2) fn is_closed(&self, at: usize) -> bool {
        self.streams[at].closed
    }

    /// Bytes of a frame that may be added now. 0: the stream is noted and will be woken.
    pub(in crate::proxy::http2) fn room(&mut self, at: usize, wanted: usize) -> usize {
        let wanted = wanted.min(self.peer.max_frame);
        let common = self.out_room().min(positive(self.window));
        if common == 0 {
            self.wait(at);
            return 0;
        }
        let stream = &mut self.streams[at];
        let own = positive(stream.window);
        stream.blocked = own == 0;
        own.min(common).min(wanted)
    }

    /// Whether what nobody waits for may be added.
    pub(in crate::proxy::http2) fn has_room_for_more(&self) -> bool {
        self.out_room() > 0
    }

    /// Whether a head may be added; else the stream is noted and will be woken.
    pub(in crate::proxy::http2) fn has_room(&mut self, at: usize) -> bool {
        let any = self.out_room() > 0;
        if !any {
            self.queue(at);
        }
        any
    }

    /// Lets others go first, if any wait.
    pub(in crate::proxy::http2) fn yields(&mut self, at: usize) -> bool {
        let yields = self.others_wait();
        if yields {
            self.queue(at);
        }
        yields
    }

    /// Whether any wait for what there may be.
    fn others_wait(&self) -> bool {
        !self.waiting.is_empty() || (!self.thirsty.is_empty() && self.window > 0)
    }

    /// Notes a stream for whichever of the two there is nothing of.
    fn wait(&mut self, at: usize) {
        if self.out_room() == 0 {
            self.queue(at);
        } else if !std::mem::replace(&mut self.streams[at].thirsty, true) {
            self.thirsty.push_back(at);
        }
    }

    /// Notes a stream that is woken once what there is has been written, or a part of it.
    pub(in crate::proxy::http2) fn queue(&mut self, at: usize) {
        if !std::mem::replace(&mut self.streams[at].queued, true) {
            self.waiting.push_back(at);
        }
        // It comes to wake them.
        self.wake_connection();
    }

    /// DATA was added.
    pub(in crate::proxy::http2) fn sent(&mut self, at: usize, count: usize) {
        self.window -= count as i64;
        self.streams[at].window -= count as i64;
    }

    /// Adds HEADERS with what `write` writes.
    pub(in crate::proxy::http2) fn headers(
        &mut self,
        at: usize,
        last: bool,
        write: impl FnOnce(&mut Encoder, &mut Vec<u8>),
    ) {
        let start = self.out.len();
        self.out.extend_from_slice(&[0; HEAD]);
        self.encoder.begin(&mut self.out);
        write(&mut self.encoder, &mut self.out);
        let flags = if last { END_STREAM } else { 0 };
        let (id, most) = (self.ids[at], self.peer.max_frame);
        frame::fill_headers(&mut self.out, start, flags, id, most);
        self.streams[at].closed |= last;
        self.wake_connection();
    }

    /// Adds an empty last frame.
    pub(in crate::proxy::http2) fn end_stream(&mut self, at: usize) {
        frame::write_head(&mut self.out, 0, frame::DATA, END_STREAM, self.ids[at]);
        self.closes(at);
    }

    /// The last frame of a response was added.
    pub(in crate::proxy::http2) fn closes(&mut self, at: usize) {
        self.streams[at].closed = true;
        self.wake_connection();
    }

    pub(super) fn release(&mut self, at: usize, code: Code) -> Vec<u8> {
        let stream = &mut self.streams[at];
        let id = std::mem::take(&mut self.ids[at]);
        if !stream.gone {
            self.open -= 1;
            let serves = self.terms.serves;
            if !serves && !stream.closed && stream.ended {
                // The answer was whole without the rest of the request.
                frame::write_reset(&mut self.out, id, Code::NoError);
            } else if !stream.closed || (!serves && !stream.ended) {
                frame::write_reset(&mut self.out, id, code);
            } else if !stream.ended {
                frame::write_reset(&mut self.out, id, Code::NoError);
            }
        }
        self.used -= 1;
        let stream = std::mem::take(stream);
        if stream.queued {
            self.waiting.retain(|slot| *slot != at);
        }
        if stream.thirsty {
            self.thirsty.retain(|slot| *slot != at);
        }
        if self.solo == Some(at) {
            self.solo = None;
        }
        self.taken(stream.body.len() - stream.body_at);
        self.wake_waiting();
        // It may be waiting for the last one.
        self.wake_connection();
        stream.body
    }
}
