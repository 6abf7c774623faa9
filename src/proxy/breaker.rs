//! What a route's breaker is asked before a request is sent, and told after it (`wharf.breaker`). The
//! breaker itself is `route::breaker`'s.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;

use super::error::ProxyError;
use super::forward::Answer;
use super::tail::Record;
use super::worker::Worker;
use crate::metrics::BreakerBecame;
use crate::route::{Admitted, Breaker, BreakerChange, BreakerState};

/// Lets a request through; a trial that has waited for its endpoint stays one.
pub(super) fn pass(
    worker: &Worker,
    breaker: &Arc<Breaker>,
    record: &mut Record,
) -> Result<(), ProxyError> {
    let before = record.admitted.take();
    if let Some(trial) = before.filter(|one| one.is_trial_of(breaker)) {
        record.admitted = Some(trial);
        return Ok(());
    }
    let now = Instant::now();
    let (admitted, change) = breaker
        .admit(now)
        .map_err(|left| open(breaker, left, now))?;
    if let Some(change) = change {
        tell(worker, breaker, change);
    }
    record.admitted = Some(admitted);
    Ok(())
}

/// Why a request would be refused.
pub(super) fn refusal(breaker: &Breaker) -> Option<ProxyError> {
    let now = Instant::now();
    match breaker.state(now) {
        BreakerState::Open { left, .. } => Some(open(breaker, left, now)),
        BreakerState::Closed | BreakerState::HalfOpen => None,
    }
}

/// Tells the breaker what has come of a request that it let through. Nothing that Wharf or the client
/// has done counts.
pub(super) fn judge(worker: &Worker, admitted: Admitted, end: Result<&Answer, &ProxyError>) {
    let failed = match end {
        Ok(Answer::Response(response)) => is_failure(response.status),
        Ok(Answer::Switched(_)) => false,
        Ok(Answer::Page(_) | Answer::Local(_) | Answer::Gone) => return,
        Err(error) if error.is_failure() => true,
        Err(_) => return,
    };
    let breaker = Arc::clone(admitted.breaker());
    if let Some(change) = admitted.judge(failed, Instant::now()) {
        tell(worker, &breaker, change);
    }
}

/// Statuses that say that the app cannot do its work; 501 and 505 are about the request.
fn is_failure(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502 | 503 | 504)
}

fn open(breaker: &Breaker, left: Duration, now: Instant) -> ProxyError {
    let by = match breaker.state(now) {
        BreakerState::Open { failed, total, .. } => Some((failed, total)),
        BreakerState::Closed | BreakerState::HalfOpen => None,
    };
    ProxyError::Breaker {
        left,
        by,
        over: breaker.spec.over,
    }
}

fn tell(worker: &Worker, breaker: &Breaker, change: BreakerChange) {
    worker.metrics.count_breaker(match change {
        BreakerChange::Opened { .. } | BreakerChange::Reopened => BreakerBecame::Open,
        BreakerChange::HalfOpened => BreakerBecame::HalfOpen,
        BreakerChange::Closed => BreakerBecame::Closed,
    });
    let route = &*breaker.route.0;
    let (open, over) = (breaker.spec.open, breaker.spec.over);
    match change {
        BreakerChange::Opened { failed, total } => {
            tracing::warn!(
                route,
                "breaker opens for {open:?}: {failed} of {total} requests failed in {over:?}"
            );
        }
        BreakerChange::Reopened => {
            tracing::warn!(route, "breaker opens for {open:?} again: a trial failed");
        }
        BreakerChange::HalfOpened => {
            tracing::info!(route, "breaker lets a few requests through to see");
        }
        BreakerChange::Closed => tracing::info!(route, "breaker closes: trials succeeded"),
    }
}
