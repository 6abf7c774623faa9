//! What every exchange has to keep in mind, whichever protocol it is in: what was sent, what is waited for.

use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::upload::Source;
use super::{ExchangeError, Kept, Terms};
use crate::model::{FieldNames, Keepalive, Timeouts};
use crate::proxy::clock::Timer;
use crate::proxy::h1::ResponseHead;
use crate::proxy::head::RequestFraming;
use crate::proxy::headers::Extra;
use crate::proxy::pace::{Pace, Verdict};
use crate::proxy::worker::Worker;

/// The course an exchange has taken so far.
pub(crate) struct Course {
    pub(super) worker: Rc<Worker>,
    /// Whose pool the connection goes back to.
    pub(super) endpoint: u64,
    /// The last head that came; its text is there until it is taken.
    pub(crate) head: ResponseHead,
    /// For the response; whoever writes the head to a client puts it behind the upstream's fields.
    pub(crate) extra: Extra,
    /// Whether more of the body is to come from the client.
    pub(super) body_left: bool,
    pub(super) framing: RequestFraming,
    /// Whether any byte of the request may have reached the endpoint.
    pub(super) wrote: bool,
    /// What is gone of a body that may have to be sent again.
    pub(super) kept: Option<Box<Kept>>,
    /// Whether any of the body is gone for good: it cannot be sent again.
    pub(super) lost: bool,
    /// What is left to send of a body that was taken in before; then nothing of it comes from the client.
    pub(super) source: Option<Box<Source>>,
    /// All of the body can be had again.
    pub(super) replays: bool,
    /// Whether any head has come back, an interim one included.
    pub(super) answered: bool,
    /// Whether the final head has come back: from then on only reading has a time limit, of its own.
    pub(super) responding: bool,
    pub(super) waiting: Waiting,
    /// Of the client's body, until the answer begins.
    pub(super) pace: Pace,
    pub(super) timeouts: Timeouts,
    pub(super) keepalive: Keepalive,
    pub(super) max_body: u64,
    /// Taken of the client's body. What an earlier try has taken, 64 KiB at most, is not in it.
    pub(super) taken: u64,
    /// Fields that only the server which decides who gets in may set.
    pub(super) reserved: Option<Arc<FieldNames>>,
    /// Sending broke off; nothing more may be written, least of all an end of the body.
    pub(super) broken: bool,
}

/// What an exchange waits for, which decides how long and whose fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waiting {
    Nothing,
    /// The endpoint to take bytes.
    Write,
    /// The client to send its body.
    Client,
    /// The endpoint to send its head or body.
    Read,
}

impl Course {
    #[inline(always)] // It is large, and would be copied from place to place.
    pub(super) fn new(
        worker: Rc<Worker>,
        endpoint: u64,
        framing: RequestFraming,
        terms: &Terms,
    ) -> Self {
        Self {
            worker,
            endpoint,
            head: ResponseHead::default(),
            extra: Extra::default(),
            body_left: false,
            framing,
            wrote: false,
            kept: None,
            lost: false,
            source: None,
            replays: terms.taken_in.is_some(),
            answered: false,
            responding: false,
            waiting: Waiting::Nothing,
            // A body that was taken in has been waited for already.
            pace: Pace::new(match terms.taken_in {
                None => terms.timeouts.min_rate,
                Some(_) => 0,
            }),
            timeouts: terms.timeouts,
            keepalive: terms.keepalive,
            max_body: terms.max_body,
            taken: 0,
            reserved: terms.reserved.clone(),
            broken: false,
        }
    }

    /// Bytes came from the client.
    pub(super) fn took(&mut self, bytes: usize) -> Result<(), ExchangeError> {
        if self.pace.is_on() && !self.responding {
            let now = self.worker.clock.now();
            self.pace.moved(now, bytes);
            if self.pace.is_slow(now) {
                return Err(ExchangeError::TooSlow(self.pace.rate()));
            }
        }
        let bytes = bytes as u64;
        self.worker.metrics.bytes_in.add(bytes);
        self.taken += bytes;
        match self.taken <= self.max_body {
            true => Ok(()),
            false => Err(ExchangeError::TooLarge(self.max_body)),
        }
    }

    /// Bytes that have come from the client for it.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    /// Bytes came from the endpoint.
    pub(super) fn read_something(&mut self) {
        if self.waiting == Waiting::Read {
            self.waiting = Waiting::Nothing;
        }
    }

    /// Bytes of the request have gone out.
    pub(super) fn wrote(&mut self) {
        self.wrote = true;
        if self.waiting == Waiting::Write || self.responding {
            self.waiting = Waiting::Nothing;
        }
    }

    /// Starts the time for `waiting` unless it runs already.
    pub(super) fn wait_for(&mut self, timer: &Timer, waiting: Waiting) {
        let sending = matches!(waiting, Waiting::Write | Waiting::Client);
        if self.waiting == waiting || (self.responding && sending) {
            return;
        }
        self.waiting = waiting;
        match waiting {
            Waiting::Nothing => timer.disarm(),
            Waiting::Write => timer.arm(self.timeouts.send),
            Waiting::Client if self.pace.is_on() => {
                timer.arm(self.pace.wait(timer.now(), self.timeouts.body));
            }
            Waiting::Client => timer.arm(self.timeouts.body),
            Waiting::Read => timer.arm(self.read_limit()),
        }
    }

    fn read_limit(&self) -> Duration {
        match self.responding {
            false => self.timeouts.first,
            true => self.timeouts.read,
        }
    }

    /// Why waiting is over, once it is.
    pub(super) fn poll_deadline(&self, timer: &Timer, cx: &mut Context<'_>) -> Poll<ExchangeError> {
        if timer.is_lost() {
            return Poll::Ready(ExchangeError::Lost);
        }
        if !timer.has_fired() {
            timer.wake_with(cx.waker());
            return Poll::Pending;
        }
        if self.waiting == Waiting::Client
            && let Some(verdict) = self.pace.judge(timer, self.timeouts.body)
        {
            return match verdict {
                Verdict::Slow => Poll::Ready(ExchangeError::TooSlow(self.pace.rate())),
                Verdict::Goes => {
                    timer.wake_with(cx.waker());
                    Poll::Pending
                }
            };
        }
        Poll::Ready(match self.waiting {
            Waiting::Write => ExchangeError::WriteTimeout(self.timeouts.send),
            Waiting::Client => ExchangeError::ClientTimeout(self.timeouts.body),
            Waiting::Read | Waiting::Nothing => ExchangeError::ReadTimeout(self.read_limit()),
        })
    }
}
