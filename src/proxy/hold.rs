//! Requests that wait until an endpoint can take them, and for how long that makes sense.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::error::ProxyError;
use super::exchange::Client;
use super::worker::Worker;
use crate::filter::inflight::Full;
use crate::route::Route;
use crate::spool::Bounds;
use crate::upstream::{Held, NoHold, TRY_AGAIN, Upstream};

/// Why a request goes no further.
pub(super) enum Stop {
    Refused(ProxyError),
    Held(Box<Hold>),
    /// All endpoints have as many requests as they may.
    Full(Arc<Upstream>),
    /// There are as many as there may be at a time (`wharf.inflight`).
    InFlight(Box<Full>),
    /// It is beyond its client's rate, and may go on after this time.
    Early(Duration),
    /// The app is to have its body as a whole.
    Unread(Box<Unread>),
    /// Nobody knows the containers yet.
    Starting,
}

/// What a body may be that is taken in before anybody is asked.
pub(super) struct Unread {
    pub(super) bounds: Bounds,
    /// Bytes at most, see `model::Settings::max_body`.
    pub(super) max_body: u64,
    /// How long the client may send nothing.
    pub(super) limit: Duration,
    /// See `model::Timeouts::min_rate`.
    pub(super) min_rate: u64,
}

/// A request that may be sent again when an endpoint is there.
pub(super) struct Hold {
    /// What it gets otherwise.
    error: ProxyError,
    upstream: Arc<Upstream>,
    /// How long it may wait in all.
    limit: Duration,
    /// How many may wait at once. Each holds its head and of its body what was sent of it already, which has a
    /// bound of its own for each request and worker.
    max: u32,
    /// The endpoint that went away under it: only if the engine says so, too, it was not the request's
    /// doing.
    cut: Option<u64>,
}

impl Stop {
    /// Not for longer than the client itself waits, until its `deadline`.
    pub(super) fn held(
        error: ProxyError,
        route: &Route,
        cut: Option<u64>,
        deadline: Option<Instant>,
    ) -> Self {
        let left = |end: Instant| end.saturating_duration_since(Instant::now());
        Self::Held(Box::new(Hold {
            error,
            upstream: Arc::clone(&route.upstream),
            limit: deadline.map_or(route.hold, |end| route.hold.min(left(end))),
            max: route.hold_max,
            cut,
        }))
    }
}

impl From<ProxyError> for Stop {
    fn from(error: ProxyError) -> Self {
        Self::Refused(error)
    }
}

/// A wait under way: its end, and the place it takes.
pub(super) type Wait = Option<(Instant, Held)>;

/// Waits for a time. `false` when the client has left.
pub(super) async fn pause<C: Client>(side: &mut C, wait: Duration) -> bool {
    let mut pause = pin!(tokio::time::sleep(wait));
    let over = poll_fn(|cx| {
        if side.poll_gone(cx).is_ready() {
            return Poll::Ready(false);
        }
        pause.as_mut().poll(cx).map(|()| true)
    });
    over.await
}

/// Waits until it is worth another try. `false` when the client has left.
pub(super) async fn hold<C: Client>(
    worker: &Worker,
    side: &mut C,
    wait: &mut Wait,
    hold: Hold,
) -> Result<bool, ProxyError> {
    let now = Instant::now();
    if let Some(endpoint) = hold.cut {
        // One that waits has its place already.
        let place = wait
            .is_none()
            .then(|| hold.upstream.place(hold.max))
            .transpose();
        let Ok(_place) = place else {
            return Err(hold.crowded());
        };
        let limit = hold.limit.min(PROOF);
        let proof = leaves(worker, side, &hold.upstream, endpoint, now + limit).await;
        return proof.ok_or(hold.error);
    }
    if wait.is_none() && !hold.limit.is_zero() && !worker.is_draining() {
        match hold.upstream.hold(hold.max, now) {
            Ok(held) => {
                *wait = Some((now + hold.limit, held));
                worker.metrics.held.inc();
            }
            Err(NoHold::Crowded) => return Err(hold.crowded()),
            Err(NoHold::Hopeless) => {}
        }
    }
    let Some((end, held)) = wait else {
        return Err(hold.error);
    };
    held.stay();
    let left = end.saturating_duration_since(now);
    if left.is_zero() {
        if let Some((_, held)) = wait.take() {
            held.in_vain();
        }
        return Err(ProxyError::Waited {
            limit: hold.limit,
            cause: Box::new(hold.error),
        });
    }
    let end = *end;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        match change(worker, side, left.min(TRY_AGAIN)).await {
            Change::Left => return Ok(false),
            Change::Table => {
                let Some((_, held)) = wait else {
                    return Ok(true);
                };
                let mut pass = pin!(held.pass());
                let passed = poll_fn(|cx| match side.poll_gone(cx) {
                    Poll::Ready(()) => Poll::Ready(false),
                    Poll::Pending => pass.as_mut().poll(cx).map(|()| true),
                });
                return Ok(passed.await);
            }
            Change::Nothing => {}
        }
        // In the end everyone tries once more: what is told then is of that moment.
        let now = Instant::now();
        if now >= end || hold.upstream.may_try(now) {
            return Ok(true);
        }
    }
}

/// Waits until an endpoint has left its upstream: `Some(true)`. `None`: it stays. `Some(false)`: the client
/// has left.
async fn leaves<C: Client>(
    worker: &Worker,
    side: &mut C,
    upstream: &Upstream,
    endpoint: u64,
    until: Instant,
) -> Option<bool> {
    loop {
        let table = worker.table();
        let mut same = table.upstreams.iter().filter(|up| up.key == upstream.key);
        if !same.any(|up| up.endpoints.iter().any(|one| one.live.id == endpoint)) {
            return Some(true);
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        if matches!(change(worker, side, left).await, Change::Left) {
            return Some(false);
        }
    }
}

impl Hold {
    fn crowded(self) -> ProxyError {
        ProxyError::Crowded {
            upstream: self.upstream.key.clone(),
            max: self.max,
            cause: Box::new(self.error),
        }
    }
}

/// What ended a wait.
enum Change {
    /// The table has changed, or something of what it holds.
    Table,
    Nothing,
    /// The client has left.
    Left,
}

/// Waits for a change, at most for `limit`.
async fn change<C: Client>(worker: &Worker, side: &mut C, limit: Duration) -> Change {
    let mut changed = pin!(worker.changed.notified());
    let mut pause = pin!(tokio::time::sleep(limit));
    poll_fn(|cx| {
        if side.poll_gone(cx).is_ready() {
            return Poll::Ready(Change::Left);
        }
        if changed.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Change::Table);
        }
        pause.as_mut().poll(cx).map(|()| Change::Nothing)
    })
    .await
}

/// The engine tells of a container that goes away this soon after its application does.
const PROOF: Duration = Duration::from_millis(500);
