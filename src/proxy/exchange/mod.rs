//! One request and its response on one upstream connection, driven by whoever awaits it inside the
//! client connection's own task. There is no second task and no channel.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Method;

use super::fields::Fields;
use super::h1::{self, BodyError, ResponseError, ResponseHead};
use super::head::{RequestFraming, RequestHead};
use super::headers::Extra;
use super::pool::Link;
use super::worker::Worker;
use crate::metrics::RetryReason;
use crate::model::{FieldNames, Keepalive, Timeouts};
use crate::upstream::Failure;

mod client;
mod kept;
mod response;
mod send;

use kept::MAX_KEPT;

pub(crate) use client::{Client, Part};
pub(crate) use kept::{Kept, KeptBytes};
pub(crate) use response::{Chunks, Response, ResponsePart};
pub(crate) use send::write_chunk_size;

/// One exchange in progress.
pub(crate) struct Exchange {
    worker: Rc<Worker>,
    /// Whose pool the connection goes back to.
    endpoint: u64,
    link: Box<Link>,
    /// The last head that came; its text stands at the start of what was read until
    /// [`Exchange::take_head`].
    pub(crate) head: ResponseHead,
    /// For the response; whoever writes the head to a client puts it behind the upstream's fields.
    pub(crate) extra: Extra,
    /// How much was looked at without finding a whole head.
    looked: usize,
    /// How much of `link.out` is written.
    out_at: usize,
    /// How much of it is the head; 0 once that is gone.
    head_len: usize,
    /// Whether more of the body is to come from the client.
    body_left: bool,
    framing: RequestFraming,
    /// Whether any byte of the request may have reached the endpoint.
    wrote: bool,
    /// What is gone from `link.out` of a body that may have to be sent again.
    kept: Option<Kept>,
    /// Whether any of the body is gone for good: it cannot be sent again.
    lost: bool,
    /// Whether any head has come back, an interim one included.
    answered: bool,
    /// Whether the final head has come back: from then on only reading has a time limit, of its own.
    responding: bool,
    waiting: Waiting,
    timeouts: Timeouts,
    keepalive: Keepalive,
    reserved: Option<Arc<FieldNames>>,
    /// Sending broke off; nothing more may be written, least of all an end of the body.
    broken: bool,
}

/// What an exchange has to know of its route, and of other tries of its request.
pub(crate) struct Terms {
    pub(crate) timeouts: Timeouts,
    pub(crate) keepalive: Keepalive,
    /// Fields that have no place in the client's trailers.
    pub(crate) reserved: Option<Arc<FieldNames>>,
    /// Doing it twice is harmless, so that there may be another.
    pub(crate) repeats: bool,
    /// What was taken of the client's body by one before.
    pub(crate) earlier: Option<Box<Kept>>,
}

/// What an exchange waits for, which decides how long and whose fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waiting {
    Nothing,
    /// The endpoint to take bytes.
    Write,
    /// The client to send its body.
    Client,
    /// The endpoint to send its head or body.
    Read,
}

/// Why an exchange failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExchangeError {
    #[error("it closed the connection without an answer")]
    Closed(#[source] Option<io::Error>),
    #[error("it is gone from there and leaves this unanswered")]
    Lost,
    #[error("it sent no answer for {0:?}")]
    ReadTimeout(Duration),
    #[error("it took none of the request for {0:?}")]
    WriteTimeout(Duration),
    #[error("the client sent nothing of its body for {0:?}")]
    ClientTimeout(Duration),
    #[error("the client's body cannot be used: {0}")]
    ClientBody(#[source] BodyError),
    #[error("the client left")]
    ClientGone,
    #[error("its answer is unusable: {0}")]
    Response(#[source] ResponseError),
    #[error("it sent more than {MAX_INTERIM} interim responses")]
    Interim,
}

impl ExchangeError {
    /// What the endpoint has done wrong; `None` where it is the client's doing.
    pub(crate) fn failure(&self) -> Option<Failure> {
        match self {
            Self::Closed(_) => Some(Failure::Closed),
            Self::ReadTimeout(_) | Self::WriteTimeout(_) => Some(Failure::Timeout),
            Self::Response(_) | Self::Interim => Some(Failure::Unusable),
            // Whoever has stopped it, or taken it off its network.
            Self::Lost => None,
            Self::ClientTimeout(_) | Self::ClientBody(_) | Self::ClientGone => None,
        }
    }
}

impl Exchange {
    /// Starts with the request head already in `link.out`.
    pub(crate) fn new<C: Client>(
        worker: Rc<Worker>,
        endpoint: u64,
        mut link: Box<Link>,
        head: &RequestHead,
        client: &C,
        terms: Terms,
    ) -> Self {
        let head_len = link.out.len();
        let mut kept = None;
        let mut ended = true;
        if head.has_body() {
            kept = terms.earlier.map(|earlier| *earlier);
            if let Some(kept) = &mut kept {
                kept.replay(&mut link.out);
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
                kept = Some(Kept::new(&worker.kept));
            }
        }
        Self {
            worker,
            endpoint,
            link,
            head: ResponseHead::default(),
            extra: Extra::default(),
            looked: 0,
            out_at: 0,
            head_len,
            body_left: !ended,
            framing: head.framing,
            wrote: false,
            kept,
            lost: false,
            answered: false,
            responding: false,
            waiting: Waiting::Nothing,
            timeouts: terms.timeouts,
            keepalive: terms.keepalive,
            reserved: terms.reserved,
            broken: false,
        }
    }

    /// Whether the request may be sent again: nothing of it can have been acted on, or doing it
    /// twice is harmless (`repeats`), and what was taken of the client's body is still there. Then that
    /// is in `body`.
    pub(crate) fn rescue(&mut self, repeats: bool, body: &mut Option<Box<Kept>>) -> bool {
        if self.lost || (self.wrote && !repeats) {
            return false;
        }
        let sent = self.link.out.get(self.head_len..).unwrap_or(b"");
        if self.kept.is_none() && sent.is_empty() {
            // Nothing was taken, or there is nothing.
            return true;
        }
        let new = || Kept::new(&self.worker.kept);
        let mut kept = self.kept.take().unwrap_or_else(new);
        if !kept.push(sent) {
            self.lost = true;
            return false;
        }
        kept.ended = !self.body_left;
        *body = Some(Box::new(kept));
        true
    }

    /// The request will not be sent again: nothing of it is needed any more.
    pub(crate) fn release(&mut self) {
        self.kept = None;
        if self.is_sent() {
            self.out_at = 0;
            self.worker.buffers.reclaim(&mut self.link.out);
        }
    }

    /// Another endpoint has it now: nothing more of it is sent here.
    pub(crate) fn stop_sending(&mut self) {
        self.kept = None;
        self.broken |= !self.is_sent();
    }

    /// What a failure before the answer is as a reason to try again, if it is one.
    pub(crate) fn retry_reason(&self, cause: &ExchangeError) -> Option<RetryReason> {
        match cause {
            _ if !self.saw_nothing() => None,
            ExchangeError::Closed(_) if self.was_stale() => Some(RetryReason::Stale),
            ExchangeError::Closed(_) | ExchangeError::Lost if !self.wrote => {
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
        !self.answered && self.link.unread().is_empty()
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
        self.link.unread().get(..self.head.len).unwrap_or(b"")
    }

    /// Its fields.
    pub(crate) fn fields(&self) -> Fields<'_> {
        Fields::new(self.head_text(), &self.head.index)
    }

    /// Goes on behind the head.
    pub(crate) fn take_head(&mut self) {
        self.link.consume(self.head.len);
        let index = std::mem::take(&mut self.head.index);
        self.worker.buffers.give_index(index);
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
                    error @ (ExchangeError::ClientBody(_) | ExchangeError::ClientGone),
                )) => {
                    return Poll::Ready(Err(error));
                }
                other => other,
            };
            let unread = self.link.unread();
            let looked = std::mem::replace(&mut self.looked, unread.len());
            if !unread.is_empty() && h1::may_be_whole(unread, looked) {
                match h1::parse_response(unread, method, self.worker.buffers.index()) {
                    Ok(Some(head)) => {
                        self.head = head;
                        self.looked = 0;
                        self.answered = true;
                        self.wait_for(Waiting::Nothing);
                        return Poll::Ready(Ok(()));
                    }
                    Ok(None) => {}
                    Err(error) => return Poll::Ready(Err(ExchangeError::Response(error))),
                }
            }
            match self.link.poll_read(cx, &self.worker.buffers) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(ExchangeError::Closed(None))),
                Poll::Ready(Ok(_)) => self.read_something(),
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(Err(ExchangeError::Closed(Some(error))));
                }
                Poll::Pending => {
                    if sending.is_ready() {
                        self.wait_for(Waiting::Read);
                    }
                    if let Poll::Ready(error) = self.poll_deadline(cx) {
                        return Poll::Ready(Err(error));
                    }
                    return client
                        .poll_gone(cx)
                        .map(|()| Err(ExchangeError::ClientGone));
                }
            }
        }
    }

    /// Bytes came from the endpoint.
    fn read_something(&mut self) {
        if self.waiting == Waiting::Read {
            self.waiting = Waiting::Nothing;
        }
    }

    fn wrote(&mut self, advance: impl FnOnce(&mut Self)) {
        self.wrote = true;
        if self.waiting == Waiting::Write || self.responding {
            self.waiting = Waiting::Nothing;
        }
        advance(self);
    }

    fn blocked(&mut self) -> Poll<Result<(), ExchangeError>> {
        self.wait_for(Waiting::Write);
        Poll::Pending
    }

    /// Starts the time for `waiting` unless it runs already.
    fn wait_for(&mut self, waiting: Waiting) {
        let sending = matches!(waiting, Waiting::Write | Waiting::Client);
        if self.waiting == waiting || (self.responding && sending) {
            return;
        }
        self.waiting = waiting;
        match waiting {
            Waiting::Nothing => self.link.timer.disarm(),
            Waiting::Write => self.link.timer.arm(self.timeouts.send),
            Waiting::Client => self.link.timer.arm(self.timeouts.body),
            Waiting::Read => self.link.timer.arm(self.read_limit()),
        }
    }

    fn read_limit(&self) -> Duration {
        match self.responding {
            false => self.timeouts.first,
            true => self.timeouts.read,
        }
    }

    /// Why waiting is over, once it is.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<ExchangeError> {
        if self.link.timer.is_lost() {
            return Poll::Ready(ExchangeError::Lost);
        }
        if !self.link.timer.has_fired() {
            self.link.timer.wake_with(cx.waker());
            return Poll::Pending;
        }
        Poll::Ready(match self.waiting {
            Waiting::Write => ExchangeError::WriteTimeout(self.timeouts.send),
            Waiting::Client => ExchangeError::ClientTimeout(self.timeouts.body),
            Waiting::Read | Waiting::Nothing => ExchangeError::ReadTimeout(self.read_limit()),
        })
    }
}

/// Interim responses before the final one.
pub(crate) const MAX_INTERIM: u32 = 10;
