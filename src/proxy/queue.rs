//! Requests that wait until there is a place for them: at an endpoint (`wharf.max_conns`) or on their route
//! (`wharf.inflight`). The line itself is [`crate::line`]'s.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::error::{NoWait, ProxyError};
use super::exchange::Client;
use super::tail::Record;
use super::worker::Worker;
use crate::filter::inflight::Full;
use crate::line::Queued;
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
    Ok(in_line(worker, side, queued, end).await)
}

/// The same for a place that its route, or its client, has on it.
pub(super) async fn for_place<C: Client>(
    worker: &Worker,
    side: &mut C,
    record: &mut Record,
    full: Full,
) -> Result<bool, ProxyError> {
    let now = Instant::now();
    let limit = full.wait();
    let refused = |why| {
        Err(ProxyError::InFlight {
            full: Box::new(full.clone()),
            why,
        })
    };
    if record.waiting.is_none() {
        let Some(mut waiting) = full.join(now) else {
            return refused(nobody_more(&full));
        };
        worker.metrics.places_awaited.inc();
        let deadline = record.deadline.unwrap_or(waiting.end);
        waiting.end = waiting.end.min(deadline);
        record.waiting = Some(waiting);
    } else if record.waiting.as_ref().is_some_and(|one| one.end <= now) {
        return refused(NoWait::InVain(limit));
    }
    match &record.waiting {
        Some(waiting) => match waiting.queued() {
            Some(queued) => Ok(in_line(worker, side, queued, waiting.end).await),
            None => Ok(true),
        },
        None => Ok(true),
    }
}

/// Waits until one in line is called, or its time is up. `false` when the client has left.
async fn in_line<C: Client>(worker: &Worker, side: &mut C, queued: &Queued, end: Instant) -> bool {
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
            return stays;
        }
        // Nobody tells that an endpoint no longer rests. Only the first looks, or the others would
        // overtake it; and everybody does at its end.
        if queued.is_first() || left <= TRY_AGAIN {
            return true;
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

/// The same on a route.
pub(super) fn no_place(full: Full) -> ProxyError {
    let why = match full.has_room() {
        true => NoWait::Still(full.wait()),
        false => nobody_more(&full),
    };
    let full = Box::new(full);
    ProxyError::InFlight { full, why }
}

fn nobody_more(full: &Full) -> NoWait {
    match full.limit.queue == 0 || full.wait().is_zero() {
        true => NoWait::Off,
        false => NoWait::Crowded(full.limit.queue),
    }
}

fn why_not(line: LineSpec) -> NoWait {
    match line.limit == 0 || line.wait.is_zero() {
        true => NoWait::Off,
        false => NoWait::Crowded(line.limit),
    }
}

/// Between two looks of the first in line.
const TRY_AGAIN: Duration = Duration::from_millis(250);
