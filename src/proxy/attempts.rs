//! The tries of one request: what came of them, and whether there is to be another (product.md S38).

use std::time::Instant;

use super::error::ProxyError;
use super::exchange::{Exchange, Response};
use super::forward::{Forward, Refusal};
use super::tail::Record;
use crate::metrics::{RetryReason, WorkerMetrics};
use crate::model::RetryOn;
use crate::upstream::{Busy, Endpoint, Failure, Tried};

/// What came of the tries so far.
#[derive(Default)]
pub(super) struct Attempts<'a> {
    pub(super) tried: Tried,
    /// The last failure.
    failed: Option<Box<ProxyError>>,
    /// Why the request may be sent again after it.
    reason: Option<RetryReason>,
    /// Something of the request was sent, once at least.
    sent: bool,
    /// The endpoint that has closed the connection under it, or lost its address to another.
    cut: Option<u64>,
    /// Waiting would not make it better.
    hopeless: bool,
    connect_timeouts: u32,
    answer: Option<Box<Answered<'a>>>,
}

/// An answer that is passed on if nobody has a better one.
pub(super) struct Answered<'a> {
    /// Its place in the upstream.
    pub(super) index: u16,
    pub(super) endpoint: &'a Endpoint,
    /// A sticky client has to be told where it is now.
    pub(super) moves: bool,
    pub(super) exchange: Box<Exchange>,
    pub(super) busy: Option<Busy>,
}

impl<'a> Attempts<'a> {
    /// Nothing was sent.
    pub(super) fn not_connected(&mut self, error: ProxyError, endpoint: u64) {
        if matches!(error, ProxyError::Left { .. }) {
            self.cut = Some(endpoint);
        }
        let timeout = matches!(error, ProxyError::ConnectTimeout { .. });
        self.connect_timeouts += u32::from(timeout);
        // Who cannot be trusted now will not be in a moment.
        self.hopeless = matches!(&error, ProxyError::Handshake { fault, .. } if fault.lasting);
        self.reason = Some(RetryReason::Connect);
        self.failed = Some(Box::new(error));
    }

    /// `reason`: why it may be sent again, if it may.
    pub(super) fn failed(&mut self, error: ProxyError, reason: Option<RetryReason>, endpoint: u64) {
        self.reason = reason;
        self.failed = Some(Box::new(error));
        if reason != Some(RetryReason::Connect) {
            self.sent = true;
            self.cut = (reason == Some(RetryReason::Closed)).then_some(endpoint);
        }
    }

    /// Keeps an answer, in place of an earlier one.
    pub(super) fn answered(&mut self, mut answered: Box<Answered<'a>>) {
        answered.exchange.stop_sending();
        self.forget();
        self.answer = Some(answered);
        self.reason = Some(RetryReason::Status);
        self.sent = true;
    }

    pub(super) fn take_answer(&mut self) -> Option<Box<Answered<'a>>> {
        self.answer.take()
    }

    /// Somebody has a better answer.
    pub(super) fn forget(&mut self) {
        if let Some(answered) = self.answer.take() {
            Response::new(answered.exchange).discard();
        }
    }

    /// Counts the try that begins, if it is not the first.
    pub(super) fn count(&mut self, metrics: &WorkerMetrics) {
        if let Some(reason) = self.reason.take() {
            metrics.count_retry(reason);
        }
    }

    /// What comes of them all, in the end for want of a place at another endpoint (`full`) or without one.
    pub(super) fn refusal(mut self, full: bool, nobody: impl FnOnce() -> ProxyError) -> Refusal {
        if full && !self.sent {
            return Refusal::Full;
        }
        // What was sent once would be sent to the same endpoint again after a wait.
        self.hopeless |= full && self.cut.is_none();
        match (self.failed, self.cut) {
            (Some(error), _) if self.hopeless => Refusal::Final(*error),
            (Some(error), Some(endpoint)) => Refusal::Cut(*error, endpoint),
            (failed, _) => Refusal::ForNow(failed.map_or_else(nobody, |error| *error)),
        }
    }
}

impl Forward<'_> {
    /// Whether sending the request twice does no harm, or is wished for all the same.
    pub(super) fn repeats(&self) -> bool {
        let retry = &self.route.retry;
        let harmless = self.head.method.is_idempotent() || retry.on.has(RetryOn::NON_IDEMPOTENT);
        harmless && !retry.is_off()
    }

    /// Whether the next endpoint is to be tried, after a failure.
    pub(super) fn goes_on(&self, attempts: &mut Attempts<'_>) -> bool {
        let on = self.route.retry.on;
        match attempts.reason {
            Some(RetryReason::Connect) => {
                if attempts.connect_timeouts >= MAX_CONNECT_TIMEOUTS || !self.has_other(attempts) {
                    return false;
                }
                let allowed = self.route.retry.allows(attempts.tried.len(), attempts.sent);
                attempts.hopeless = !allowed && attempts.cut.is_none();
                allowed
            }
            Some(RetryReason::Closed) if on.has(RetryOn::ERROR) => self.may_go_on(attempts),
            Some(RetryReason::Timeout) if on.has(RetryOn::TIMEOUT) && self.may_go_on(attempts) => {
                true
            }
            // Decided when the answer came.
            Some(RetryReason::Status) => true,
            _ => {
                attempts.hopeless = true;
                false
            }
        }
    }

    /// Whether an answer of a status that is asked for elsewhere is not passed on; what was taken of the
    /// client's body is in `record` then.
    pub(super) fn asks_elsewhere(
        &self,
        attempts: &Attempts<'_>,
        exchange: &mut Exchange,
        record: &mut Record,
    ) -> bool {
        let goes = self.has_other(attempts)
            && exchange.rescue(self.repeats(), &mut record.kept)
            && self.may_go_on(attempts);
        if !goes {
            record.kept = None;
        }
        goes
    }

    /// An endpoint has answered with such a status (nginx: 403 and 404 are not its fault).
    pub(super) fn turned_down(&self, status: u16, endpoint: &Endpoint) {
        if !matches!(status, 403 | 404) {
            self.blame(endpoint, Failure::Status);
        }
    }

    fn has_other(&self, attempts: &Attempts<'_>) -> bool {
        self.route.upstream.has_untried(&attempts.tried)
    }

    /// Whether there is an endpoint left for a request that was sent already, a try and some budget.
    fn may_go_on(&self, attempts: &Attempts<'_>) -> bool {
        let retry = &self.route.retry;
        if !self.has_other(attempts) || !retry.allows(attempts.tried.len(), true) {
            return false;
        }
        let may = (self.route.upstream).may_retry(retry.budget, Instant::now());
        if !may {
            self.worker.metrics.retries_refused.inc();
        }
        may
    }
}

/// Connects that ran into their time limit before the request is given up.
const MAX_CONNECT_TIMEOUTS: u32 = 3;
