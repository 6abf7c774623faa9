//! Requests that wait until an endpoint has a place for them (`wharf.max_conns`). The line itself is
//! `upstream::queue`'s.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::error::{NoWait, ProxyError};
use super::exchange::Client;
use super::tail::Record;
use super::worker::Worker;
use crate::model::UpstreamKey;
use crate::upstream::{LineSpec, Upstream};

/// Waits in line until it is worth another try, until `end` at most, which the first wait sets. `false`
/// when the client has left.
pub(super) async fn queue<C: Client>(
    worker: &Worker,
    side: &mut C,
    record: &mut Record,
    end: &mut Option<Instant>,
    upstream: &Upstream,
) -> Result<bool, ProxyError> {
    let refused = |why| ProxyError::Full {
        upstream: upstream.key.clone(),
        why,
    };
    let Some(line) = upstream.line else {
        // The limit was taken back a moment ago.
        return Ok(true);
    };
    let now = Instant::now();
    let most = now + line.wait;
    let most = record.deadline.map_or(most, |deadline| most.min(deadline));
    let end = *end.get_or_insert(most);
    // Another upstream may be the route's by now; its line is another one.
    let queued = record.queued.take().filter(|one| upstream.is_line_of(one));
    let left = end.saturating_duration_since(now);
    if queued.is_some() && left.is_zero() {
        return Err(refused(NoWait::InVain(line.wait)));
    }
    let queued = match queued {
        Some(queued) => queued,
        None => {
            let queued = upstream.queue_up().ok_or_else(|| refused(why_not(line)))?;
            worker.metrics.queued.inc();
            queued
        }
    };
    let queued = record.queued.insert(queued);
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let mut changed = pin!(worker.changed.notified());
        let mut pause = pin!(tokio::time::sleep(left.min(TRY_AGAIN)));
        let called = poll_fn(|cx| {
            if side.poll_gone(cx).is_ready() {
                return Poll::Ready(Some(false));
            }
            if queued.poll_called(cx).is_ready() || changed.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Some(true));
            }
            pause.as_mut().poll(cx).map(|()| None)
        });
        if let Some(stays) = called.await {
            return Ok(stays);
        }
        // Nobody tells that an endpoint no longer rests. Only the first looks, or the others would
        // overtake it; and everybody does at its end.
        if queued.is_first() || left <= TRY_AGAIN {
            return Ok(true);
        }
    }
}

/// What a request would meet that finds no place now.
pub(super) fn full(upstream: &Upstream) -> Option<ProxyError> {
    let line = upstream
        .line
        .filter(|_| upstream.has_no_place(Instant::now()))?;
    let why = match upstream.queued() < line.limit as usize && !line.wait.is_zero() {
        true => NoWait::Still(line.wait),
        false => why_not(line),
    };
    let upstream: UpstreamKey = upstream.key.clone();
    Some(ProxyError::Full { upstream, why })
}

fn why_not(line: LineSpec) -> NoWait {
    match line.limit == 0 || line.wait.is_zero() {
        true => NoWait::Off,
        false => NoWait::Crowded(line.limit),
    }
}

/// Between two looks of the first in line.
const TRY_AGAIN: Duration = Duration::from_millis(250);
