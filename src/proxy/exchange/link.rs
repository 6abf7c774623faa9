//! An exchange on a connection of its own, in HTTP/1.1.

use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::task::{Context, Poll};

use http::Method;

use super::course::{Course, Waiting};
use super::kept::{Kept, MAX_KEPT};
use super::{Client, Exchange, ExchangeError, Terms};
use crate::metrics::RetryReason;
use crate::proxy::h1;
use crate::proxy::head::{RequestFraming, RequestHead};
use crate::proxy::pool::Link;
use crate::proxy::worker::Worker;

/// An exchange in progress.
pub(crate) struct LinkExchange {
    pub(super) course: Course,
    pub(super) link: Box<Link>,
    /// How much was looked at without finding a whole head.
    looked: usize,
    /// How much of `link.out` is written.
    pub(super) out_at: usize,
    /// How much of it is the head; 0 once that is gone.
    pub(super) head_len: usize,
}

impl LinkExchange {
    /// Starts with the request head already in `link.out`. It is made in the box it lives in.
    pub(crate) fn begin<C: Client>(
        worker: Rc<Worker>,
        endpoint: u64,
        mut link: Box<Link>,
        head: &RequestHead,
        client: &C,
        mut terms: Terms,
    ) -> Box<Exchange> {
        let head_len = link.out.len();
        let mut kept = None;
        let mut ended = true;
        let mut source = None;
        if let Some(taken_in) = &terms.taken_in {
            let all = taken_in.source();
            ended = all.is_done();
            source = (!ended).then(|| Box::new(all));
        } else if head.has_body() {
            kept = terms.earlier.take();
            if let Some(kept) = &mut kept {
                let chunked = head.framing == RequestFraming::Chunked;
                kept.replay(&mut link.out, chunked, terms.reserved.as_deref());
                ended = kept.ended;
            } else {
                ended = client.body_ended();
                if ended && head.framing == RequestFraming::Chunked {
                    // It has turned out to be empty.
                    link.out.extend_from_slice(b"0\r\n\r\n");
                }
            }
            let fits = head.length().is_none_or(|length| length <= MAX_KEPT as u64);
            if !terms.repeats || !fits {
                kept = None;
            } else if kept.is_none() {
                kept = Some(Box::new(Kept::new(&worker.kept).framed(head.framing)));
            }
        }
        // The box comes first, or it would be copied there.
        let place = Box::new_uninit();
        let course = Course {
            body_left: !ended,
            kept,
            source,
            ..Course::new(worker, endpoint, head.framing, &terms)
        };
        let exchange = Exchange::Link(Self {
            course,
            link,
            looked: 0,
            out_at: 0,
            head_len,
        });
        Box::write(place, exchange)
    }

    /// Whether the request may be sent again: nothing of it can have been acted on, or doing it
    /// twice is harmless (`repeats`), and what was taken of the client's body is still there. Then that
    /// is in `body`.
    pub(crate) fn rescue(&mut self, repeats: bool, body: &mut Option<Box<Kept>>) -> bool {
        if self.course.replays {
            return !self.course.wrote || repeats;
        }
        if self.course.lost || (self.course.wrote && !repeats) {
            return false;
        }
        let sent = self.link.out.get(self.head_len..).unwrap_or(b"");
        if self.course.kept.is_none() && sent.is_empty() {
            // Nothing was taken, or there is nothing.
            return true;
        }
        let new = || Box::new(Kept::new(&self.course.worker.kept).framed(self.course.framing));
        let mut kept = self.course.kept.take().unwrap_or_else(new);
        if !kept.push(sent) {
            self.course.lost = true;
            return false;
        }
        kept.ended = !self.course.body_left;
        *body = Some(kept);
        true
    }

    /// The request will not be sent again: nothing of it is needed any more.
    pub(crate) fn release(&mut self) {
        self.course.kept = None;
        if self.is_sent() {
            self.out_at = 0;
            self.course.worker.buffers.reclaim(&mut self.link.out);
        }
    }

    /// Another endpoint has it now: nothing more of it is sent here.
    pub(crate) fn stop_sending(&mut self) {
        self.course.kept = None;
        self.course.broken |= !self.is_sent();
    }

    /// What a failure before the answer is as a reason to try again, if it is one.
    pub(crate) fn retry_reason(&self, cause: &ExchangeError) -> Option<RetryReason> {
        match cause {
            _ if !self.saw_nothing() => None,
            ExchangeError::Closed(_) if self.was_stale() => Some(RetryReason::Stale),
            ExchangeError::Closed(_) | ExchangeError::Lost if !self.course.wrote => {
                Some(RetryReason::Connect)
            }
            ExchangeError::Closed(_) | ExchangeError::Lost => Some(RetryReason::Closed),
            ExchangeError::ReadTimeout(_) | ExchangeError::WriteTimeout(_) => {
                Some(RetryReason::Timeout)
            }
            _ => None,
        }
    }

    /// Whether no byte of an answer has been seen.
    fn saw_nothing(&self) -> bool {
        !self.course.answered && self.link.unread().is_empty()
    }

    /// Whether the endpoint closed a pooled connection while it was idle, which is nobody's failure.
    fn was_stale(&self) -> bool {
        self.link.reused && self.saw_nothing()
    }

    pub(crate) fn into_link(self) -> Box<Link> {
        self.link
    }

    /// The text of the head that [`Exchange::poll_head`] found, until it is taken.
    pub(crate) fn head_text(&self) -> &[u8] {
        self.link
            .unread()
            .get(..self.course.head.len)
            .unwrap_or(b"")
    }

    /// Goes on behind the head.
    pub(crate) fn take_head(&mut self) {
        self.link.consume(self.course.head.len);
        let index = std::mem::take(&mut self.course.head.index);
        self.course.worker.buffers.give_index(index);
    }

    /// Sends the request and reads until a response head is complete. It stays in the buffer until
    /// [`Exchange::take_head`].
    pub(crate) fn poll_head<C: Client>(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut C,
        method: &Method,
    ) -> Poll<Result<(), ExchangeError>> {
        loop {
            // An endpoint may answer and close before it has read everything; that answer counts.
            let sending = match self.poll_send(cx, client) {
                Poll::Ready(Err(
                    error @ (ExchangeError::ClientBody(_)
                    | ExchangeError::TooLarge(_)
                    | ExchangeError::TooSlow(_)
                    | ExchangeError::Spool(_)
                    | ExchangeError::ClientGone),
                )) => {
                    return Poll::Ready(Err(error));
                }
                other => other,
            };
            let unread = self.link.unread();
            let looked = std::mem::replace(&mut self.looked, unread.len());
            if !unread.is_empty() && h1::may_be_whole(unread, looked) {
                match h1::parse_response(unread, method, self.course.worker.buffers.index()) {
                    Ok(Some(head)) => {
                        self.course.head = head;
                        self.looked = 0;
                        self.course.answered = true;
                        self.course.wait_for(&self.link.timer, Waiting::Nothing);
                        return Poll::Ready(Ok(()));
                    }
                    Ok(None) => {}
                    Err(error) => return Poll::Ready(Err(ExchangeError::Response(error))),
                }
            }
            match self.link.poll_read(cx, &self.course.worker.buffers) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(ExchangeError::Closed(None))),
                Poll::Ready(Ok(_)) => self.course.read_something(),
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(Err(ExchangeError::Closed(Some(error))));
                }
                Poll::Pending => {
                    if sending.is_ready() {
                        self.course.wait_for(&self.link.timer, Waiting::Read);
                    }
                    if let Poll::Ready(error) = self.course.poll_deadline(&self.link.timer, cx) {
                        return Poll::Ready(Err(error));
                    }
                    return client
                        .poll_gone(cx)
                        .map(|()| Err(ExchangeError::ClientGone));
                }
            }
        }
    }
}

impl Deref for LinkExchange {
    type Target = Course;

    fn deref(&self) -> &Course {
        &self.course
    }
}

impl DerefMut for LinkExchange {
    fn deref_mut(&mut self) -> &mut Course {
        &mut self.course
    }
}
