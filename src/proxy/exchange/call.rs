//! An exchange on a shared connection, in HTTP/2.

use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::task::{Context, Poll};

use super::course::{Course, Waiting};
use super::kept::{Kept, MAX_KEPT};
use super::response::ResponsePart;
use super::send::write_chunk_size;
use super::{Chunks, Client, ExchangeError, Part, Terms};
use crate::metrics::RetryReason;
use crate::proxy::fields::{Field, OwnedFields};
use crate::proxy::h1::{Decoder, ResponseError};
use crate::proxy::head::RequestHead;
use crate::proxy::headers;
use crate::proxy::http2::{Asked, Body, Call, Stopped, Trunk};
use crate::proxy::worker::Worker;

/// An exchange in progress.
pub(crate) struct CallExchange {
    course: Course,
    call: Call,
    /// Of a body that was taken by an earlier try, and goes before what the client has left; those bytes before
    /// `again_at` are sent.
    again: Vec<u8>,
    again_at: usize,
    again_trailers: Option<OwnedFields>,
    /// The client has more behind that.
    client_left: bool,
}

impl CallExchange {
    /// Sends the head on a connection that others use, too. `None`, and what `terms` held of an earlier try
    /// back: it takes no more.
    pub(crate) fn new<C: Client>(
        worker: Rc<Worker>,
        endpoint: u64,
        trunk: &Rc<Trunk>,
        head: &RequestHead,
        client: &C,
        mut terms: Terms,
        mut asked: Asked<'_>,
    ) -> Result<Self, Option<Box<Kept>>> {
        let mut kept = None;
        let mut client_left = false;
        let (mut again, mut again_trailers) = (Vec::new(), None);
        let mut source = None;
        if let Some(taken_in) = &terms.taken_in {
            let all = taken_in.source();
            client_left = !all.is_done();
            source = client_left.then(|| Box::new(all));
        } else if head.has_body() {
            kept = terms.earlier.take();
            if let Some(kept) = &mut kept {
                client_left = !kept.ended;
                (again, again_trailers) = kept.plain();
            } else {
                client_left = !client.body_ended();
                let fits = head.length().is_none_or(|length| length <= MAX_KEPT as u64);
                // An app that has done nothing for a request says so: then any may be sent again.
                kept = fits.then(|| Box::new(Kept::new(&worker.kept)));
            }
        }
        let body_left = client_left || !again.is_empty() || again_trailers.is_some();
        asked.last = !body_left;
        let Some(call) = trunk.call(&asked, &terms.keepalive) else {
            return Err(kept);
        };
        Ok(Self {
            course: Course {
                body_left,
                kept,
                source,
                wrote: true,
                ..Course::new(worker, endpoint, head.framing, &terms)
            },
            call,
            again,
            again_at: 0,
            again_trailers,
            client_left,
        })
    }

    pub(super) fn rescue(&mut self, repeats: bool, body: &mut Option<Box<Kept>>) -> bool {
        if self.course.replays {
            return !self.course.wrote || repeats;
        }
        if self.course.lost || (self.course.wrote && !repeats) {
            return false;
        }
        if let Some(mut kept) = self.course.kept.take() {
            kept.ended = !self.client_left;
            *body = Some(kept);
        }
        true
    }

    pub(super) fn release(&mut self) {
        self.course.kept = None;
    }

    pub(super) fn stop_sending(&mut self) {
        self.course.kept = None;
        self.course.broken |= self.course.body_left;
    }

    pub(super) fn retry_reason(&self, cause: &ExchangeError) -> Option<RetryReason> {
        match cause {
            _ if self.course.answered => None,
            ExchangeError::Untouched if self.call.alone => Some(RetryReason::Stale),
            ExchangeError::Untouched => Some(RetryReason::Connect),
            ExchangeError::Closed(_) if self.call.alone => Some(RetryReason::Stale),
            ExchangeError::Closed(_) | ExchangeError::Lost => Some(RetryReason::Closed),
            ExchangeError::ReadTimeout(_) | ExchangeError::WriteTimeout(_) => {
                Some(RetryReason::Timeout)
            }
            _ => None,
        }
    }

    pub(super) fn serial(&self) -> u64 {
        self.call.trunk.serial
    }

    pub(super) fn head_text(&self) -> &[u8] {
        self.call.text()
    }

    pub(super) fn take_head(&mut self) {
        self.call.forget_text();
        let index = std::mem::take(&mut self.course.head.index);
        self.course.worker.buffers.give_index(index);
    }

    pub(super) fn poll_head<C: Client>(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut C,
    ) -> Poll<Result<(), ExchangeError>> {
        if let Err(stopped) = self.call.begin(cx.waker()) {
            return Poll::Ready(Err(self.stopped(stopped)));
        }
        let sending = match self.poll_send(cx, client) {
            Poll::Ready(Err(
                error @ (ExchangeError::ClientBody(_)
                | ExchangeError::TooLarge(_)
                | ExchangeError::TooSlow(_)
                | ExchangeError::Spool(_)
                | ExchangeError::ClientGone),
            )) => return Poll::Ready(Err(error)),
            other => other,
        };
        if let Some(head) = self.call.head() {
            self.course.head = head;
            self.course.answered = true;
            self.wait_for(Waiting::Nothing);
            return Poll::Ready(Ok(()));
        }
        if sending.is_ready() {
            self.wait_for(Waiting::Read);
        }
        if let Poll::Ready(error) = self.poll_deadline(cx) {
            return Poll::Ready(Err(error));
        }
        self.call.rest();
        let gone = client.poll_gone(cx);
        gone.map(|()| Err(ExchangeError::ClientGone))
    }

    /// Sends what there is of the body; `Ready` when all of it is on its way or can never be. The call has begun
    /// its turn.
    pub(super) fn poll_send<C: Client>(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut C,
    ) -> Poll<Result<(), ExchangeError>> {
        if self.course.broken {
            return Poll::Ready(Err(ExchangeError::Closed(None)));
        }
        if !self.course.body_left {
            return Poll::Ready(Ok(()));
        }
        let sent = self.poll_frames(cx, client);
        self.course.broken = matches!(sent, Poll::Ready(Err(_)));
        sent
    }

    pub(super) fn is_sent(&self) -> bool {
        !self.course.body_left
    }

    fn poll_frames<C: Client>(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut C,
    ) -> Poll<Result<(), ExchangeError>> {
        while self.course.body_left {
            if self.call.is_closed() {
                return Poll::Ready(Err(ExchangeError::Closed(None)));
            }
            let room = self.call.room();
            if room == 0 {
                self.wait_for(Waiting::Write);
                return Poll::Pending;
            }
            let (mut out, data) = self.call.open_frame(room);
            let part = self.fill(cx, client, &mut out, room);
            let last = match &part {
                Poll::Ready(Ok(Part::Appended)) => {
                    let again = self.again_at < self.again.len() || self.again_trailers.is_some();
                    !again && (!self.client_left || client.body_ended())
                }
                Poll::Ready(Ok(Part::End)) => true,
                _ => false,
            };
            self.call.close_frame(out, data, last);
            match part {
                Poll::Pending => {
                    self.wait_for(Waiting::Client);
                    return Poll::Pending;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(Part::Trailers(trailers))) => {
                    // An upstream that merges trailers into the head must not be told who it talks to.
                    let fields = trailers.fields();
                    let reserved = self.course.reserved.as_deref();
                    let may = |field: Field<'_>| headers::may_trail_request(field, reserved);
                    self.call.trailers(fields, may);
                    if let Some(kept) = &mut self.course.kept {
                        kept.trailers = Some(trailers);
                    }
                    self.ended();
                }
                Poll::Ready(Ok(_)) if last => self.ended(),
                Poll::Ready(Ok(_)) => {
                    if self.course.waiting == Waiting::Client {
                        // Any progress gives the client its full time again.
                        self.course.waiting = Waiting::Nothing;
                    }
                    self.course.wrote();
                    if self.call.yields() {
                        return Poll::Pending;
                    }
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn ended(&mut self) {
        self.course.wrote();
        self.course.body_left = false;
        self.course.source = None;
        self.client_left = false;
    }

    /// Takes the next part of the body, from an earlier try's or from the client.
    fn fill<C: Client>(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut C,
        out: &mut Vec<u8>,
        room: usize,
    ) -> Poll<Result<Part, ExchangeError>> {
        let again = &self.again[self.again_at..];
        if !again.is_empty() {
            let count = again.len().min(room);
            out.extend_from_slice(&again[..count]);
            self.again_at += count;
            if self.again_at == self.again.len() {
                self.again = Vec::new();
                self.again_at = 0;
            }
            return Poll::Ready(Ok(Part::Appended));
        }
        if let Some(trailers) = self.again_trailers.take() {
            return Poll::Ready(Ok(Part::Trailers(trailers)));
        }
        if let Some(source) = &mut self.course.source {
            return source.poll_body(cx, out, room);
        }
        let at = out.len();
        let part = client.poll_body(cx, out, room);
        let taken = &out[at..];
        if !taken.is_empty() {
            self.course.took(taken.len())?;
            if !(self.course.kept.as_mut()).is_some_and(|kept| kept.push(taken)) {
                self.course.kept = None;
                self.course.lost = true;
            }
        }
        part
    }

    /// Appends the next part of the body to `out`, up to about `room` bytes. `decoder` knows what is left of it.
    pub(super) fn poll_body<C: Client>(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut C,
        decoder: &mut Decoder,
        out: &mut Vec<u8>,
        (chunks, room): (Chunks, usize),
    ) -> Poll<Result<ResponsePart, ExchangeError>> {
        if decoder.is_done() {
            // An answer that has no body, whatever its sender makes of that: to HEAD, for one.
            return Poll::Ready(Ok(ResponsePart::End));
        }
        if let Err(stopped) = self.call.begin(cx.waker()) {
            return Poll::Ready(Err(self.stopped(stopped)));
        }
        // Both ways at the same time: a client may wait for an answer to what it says in the middle of its
        // body. Its failure alone does not end a response that is already under way.
        let _ = self.poll_send(cx, client);
        let count = self.call.available().min(room);
        if count > 0 && chunks == Chunks::Framed {
            write_chunk_size(out, count);
        }
        match self.call.take(out, room) {
            Body::Data => {
                if count > 0 && chunks == Chunks::Framed {
                    out.extend_from_slice(b"\r\n");
                }
                self.course.read_something();
                decoder.passed(count as u64);
                // A length says where the body ends, but trailers may come behind it.
                *decoder = match (self.call.is_taken(), decoder.remaining()) {
                    (true, _) => Decoder::Done,
                    (false, Some(0)) => Decoder::Close,
                    (false, Some(left)) => Decoder::Length(left),
                    (false, None) => Decoder::Close,
                };
                Poll::Ready(Ok(ResponsePart::Data(count)))
            }
            Body::Trailers(trailers) => {
                *decoder = Decoder::Done;
                Poll::Ready(Ok(ResponsePart::Trailers(trailers)))
            }
            Body::End => {
                *decoder = Decoder::Done;
                Poll::Ready(Ok(ResponsePart::End))
            }
            Body::Nothing => {
                self.wait_for(Waiting::Read);
                let late = self.poll_deadline(cx);
                self.call.rest();
                late.map(Err)
            }
        }
    }

    /// The rest of the request goes on, while nothing of the response can be taken.
    pub(super) fn go_on<C: Client>(&mut self, cx: &mut Context<'_>, client: &mut C) {
        if self.call.begin(cx.waker()).is_ok() {
            let _ = self.poll_send(cx, client);
            self.call.rest();
        }
    }

    /// Bytes of the response's body that are here.
    pub(super) fn available(&self) -> usize {
        self.call.available()
    }

    /// Nothing is asked of the endpoint at the moment.
    pub(super) fn wait_for_nobody(&mut self) {
        self.wait_for(Waiting::Nothing);
    }

    fn wait_for(&mut self, waiting: Waiting) {
        if let Some(timer) = self.call.timer() {
            self.course.wait_for(timer, waiting);
        }
    }

    fn poll_deadline(&self, cx: &mut Context<'_>) -> Poll<ExchangeError> {
        let Some(timer) = self.call.timer() else {
            return Poll::Pending;
        };
        let late = self.course.poll_deadline(timer, cx);
        if let Poll::Ready(ExchangeError::ReadTimeout(_) | ExchangeError::WriteTimeout(_)) = &late {
            self.call.timed_out();
        }
        late
    }

    fn stopped(&mut self, stopped: Stopped) -> ExchangeError {
        match stopped {
            Stopped::Untouched => {
                self.course.wrote = false;
                ExchangeError::Untouched
            }
            Stopped::Reset(code) => ExchangeError::Reset(code),
            Stopped::Malformed(cause) => ExchangeError::Response(ResponseError::Http2(cause)),
            Stopped::Closed => ExchangeError::Closed(None),
        }
    }
}

impl Deref for CallExchange {
    type Target = Course;

    fn deref(&self) -> &Course {
        &self.course
    }
}

impl DerefMut for CallExchange {
    fn deref_mut(&mut self) -> &mut Course {
        &mut self.course
    }
}
