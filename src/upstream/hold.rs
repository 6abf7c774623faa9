//! Requests that wait while no endpoint can take them (product.md B26), and when that makes sense.
//!
//! When there is one again they do not all go to it at once: an application that has just begun to listen
//! takes as many connections as its accept queue has room for, and what comes beyond is lost or late.
//! So they pass a gate, first come, first served.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Upstream;

/// What is known of requests that wait for an upstream; shared by all workers.
#[derive(Debug)]
pub(super) struct Holding {
    since: Instant,
    count: AtomicU32,
    /// One has waited its whole time in vain, and nothing has happened since.
    in_vain: AtomicBool,
    /// When one of those that wait tried last, in milliseconds from `since`.
    tried: AtomicU64,
    /// That it did, and nobody has reached an endpoint since.
    trying: AtomicBool,
    /// Places for those that have waited and are not answered yet.
    gate: Arc<Semaphore>,
    /// How many wait at the gate.
    at_gate: AtomicU32,
}

/// A request that waits, for as long as this lives.
#[derive(Debug)]
pub struct Held {
    upstream: Arc<Upstream>,
    /// Its place beyond the gate.
    pass: Option<OwnedSemaphorePermit>,
}

/// Why a request is not to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoHold {
    /// There is nothing to wait for.
    Hopeless,
    /// As many wait already as may.
    Crowded,
}

impl Holding {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            since: now,
            count: AtomicU32::default(),
            in_vain: AtomicBool::default(),
            tried: AtomicU64::default(),
            trying: AtomicBool::default(),
            gate: Arc::new(Semaphore::new(ABREAST)),
            at_gate: AtomicU32::default(),
        }
    }

    pub(super) fn hope(&self) {
        if self.in_vain.load(Ordering::Relaxed) {
            self.in_vain.store(false, Ordering::Relaxed);
        }
    }
}

impl Upstream {
    /// Lets one more request wait for an endpoint.
    ///
    /// There is something to wait for while a container is expected, while one has not had its time to
    /// start listening, and where one did answer before. What nobody comes back to in a whole wait is
    /// not waited for again until something happens.
    pub fn hold(self: &Arc<Self>, max: u32, now: Instant) -> Result<Held, NoHold> {
        if !self.hopes(now) {
            return Err(NoHold::Hopeless);
        }
        self.place(max)
    }

    /// A place among those that wait, whatever for, if there are fewer than `max`.
    pub fn place(self: &Arc<Self>, max: u32) -> Result<Held, NoHold> {
        let before = self.live.holding.count.fetch_add(1, Ordering::Relaxed);
        // Counted down on drop, also when there are too many.
        let held = Held {
            upstream: Arc::clone(self),
            pass: None,
        };
        match before < max {
            true => Ok(held),
            false => Err(NoHold::Crowded),
        }
    }

    /// Whether a request that nobody can take now would wait.
    pub fn hopes(&self, now: Instant) -> bool {
        let hopes = self.awaited
            || self.endpoints.iter().any(|endpoint| {
                let hopes = endpoint.was_reached() || now < endpoint.live.listens_by;
                endpoint.weight > 0 && hopes
            });
        hopes && !self.live.holding.in_vain.load(Ordering::Relaxed)
    }

    /// Requests that wait at the moment.
    pub fn held(&self) -> u32 {
        self.live.holding.count.load(Ordering::Relaxed)
    }

    /// Whether it is for this one, of all that wait, to find out if an endpoint can be reached again,
    /// where nothing would tell: an application may be restarted inside its container. A thousand that
    /// all tried would be a flood.
    pub fn may_try(&self, now: Instant) -> bool {
        let holding = &self.live.holding;
        let now = now.saturating_duration_since(holding.since).as_millis() as u64;
        let last = holding.tried.load(Ordering::Relaxed);
        let due = now.saturating_sub(last) >= TRY_AGAIN.as_millis() as u64;
        let mine = due
            && (holding.tried)
                .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if mine {
            holding.trying.store(true, Ordering::Relaxed);
        }
        mine
    }

    /// An endpoint was reached. Gives whether those that wait have to be told.
    #[must_use]
    pub fn reached(&self) -> bool {
        let holding = &self.live.holding;
        holding.hope();
        holding.trying.load(Ordering::Relaxed) && holding.trying.swap(false, Ordering::Relaxed)
    }
}

impl Held {
    /// Waits for its turn to go to an endpoint, which lasts until this is dropped or [`Self::stay`]ed.
    /// [`ABREAST`] go at once, and as many more every [`PACE`]: answers may take as long as they like.
    /// Cancel safe.
    pub async fn pass(&mut self) {
        if self.pass.is_some() {
            return;
        }
        let holding = &self.upstream.live.holding;
        let gate = Arc::clone(&holding.gate);
        let Ok(pass) = Arc::clone(&gate).try_acquire_owned() else {
            let place = AtGate::enter(&holding.at_gate);
            let rounds = place.ahead / ABREAST as u32 + 1;
            // An error is a gate that was closed, which nobody does.
            let pass = tokio::time::timeout(PACE * rounds, gate.acquire_owned()).await;
            drop(place);
            self.pass = pass.ok().and_then(Result::ok);
            return;
        };
        self.pass = Some(pass);
    }

    /// Gives the turn back.
    pub fn stay(&mut self) {
        self.pass = None;
    }

    /// It has waited its whole time.
    pub fn in_vain(self) {
        self.upstream
            .live
            .holding
            .in_vain
            .store(true, Ordering::Relaxed);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.upstream
            .live
            .holding
            .count
            .fetch_sub(1, Ordering::Relaxed);
    }
}

/// One that waits at the gate.
struct AtGate<'a> {
    count: &'a AtomicU32,
    /// How many did before it.
    ahead: u32,
}

impl<'a> AtGate<'a> {
    fn enter(count: &'a AtomicU32) -> Self {
        let ahead = count.fetch_add(1, Ordering::Relaxed);
        Self { count, ahead }
    }
}

impl Drop for AtGate<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Requests that have waited and go to the endpoints of an upstream at once: the accept queue that
/// `listen` gives an application unless it asks for more (`SOMAXCONN`, long 128).
const ABREAST: usize = 128;
/// An app that has just begun to listen is slow: it may take 2 ms for each request without being overrun. Where answers take as
/// long as they like, the last of a thousand waits two seconds more.
const PACE: Duration = Duration::from_millis(250);
/// Between two tries of requests that wait.
pub const TRY_AGAIN: Duration = Duration::from_millis(100);
