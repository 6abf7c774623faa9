//! Requests that wait while no endpoint can take them (product.md B26), and when that makes sense.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Instant;

use super::Upstream;

/// What is known of requests that wait for an upstream; shared by all workers.
#[derive(Debug, Default)]
pub(super) struct Holding {
    count: AtomicU32,
    /// One has waited its whole time in vain, and nothing has happened since.
    in_vain: AtomicBool,
}

/// A request that waits, for as long as this lives.
#[derive(Debug)]
pub struct Held(Arc<Upstream>);

/// Why a request is not to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoHold {
    /// There is nothing to wait for.
    Hopeless,
    /// As many wait already as may.
    Crowded,
}

impl Holding {
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
        let held = Held(Arc::clone(self));
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

    /// An endpoint was reached.
    pub fn reached(&self) {
        self.live.holding.hope();
    }
}

impl Held {
    /// It has waited its whole time.
    pub fn in_vain(self) {
        self.0.live.holding.in_vain.store(true, Ordering::Relaxed);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.live.holding.count.fetch_sub(1, Ordering::Relaxed);
    }
}
