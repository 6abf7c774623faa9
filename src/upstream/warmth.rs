//! How much of its share an endpoint takes after it has become ready (`wharf.slow_start`).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Since when an endpoint warms up; shared by all workers.
#[derive(Debug)]
pub(super) struct Warmth {
    /// Times are milliseconds since then.
    since: Instant,
    /// [`WARM`], [`COLD`], or when it became ready and [`FIRST_TIME`].
    state: AtomicU64,
}

impl Warmth {
    /// Of an endpoint that is to be warmed up once it is ready, or is warm.
    pub(super) fn new(cold: bool, now: Instant) -> Self {
        Self {
            since: now,
            state: AtomicU64::new(if cold { COLD } else { WARM }),
        }
    }

    /// It is not ready any more.
    pub(super) fn cool(&self) {
        self.state.store(COLD, Ordering::Relaxed);
    }

    /// It is ready from `now` on.
    pub(super) fn heat(&self, now: Instant) {
        if self.state.load(Ordering::Relaxed) == COLD {
            let at = now.saturating_duration_since(self.since).as_millis() as u64;
            self.state.store(FIRST_TIME + at, Ordering::Relaxed);
        }
    }

    /// Its share at `now`, from [`COLDEST`] to 1, which it has after `slow_start`.
    pub(super) fn at(&self, slow_start: Duration, now: Instant) -> f64 {
        let at = match self.state.load(Ordering::Relaxed) {
            WARM => return 1.0,
            COLD => return COLDEST,
            state => self.since + Duration::from_millis(state - FIRST_TIME),
        };
        let age = now.saturating_duration_since(at);
        let warmth = age.as_secs_f64() / slow_start.as_secs_f64();
        warmth.clamp(COLDEST, 1.0)
    }
}

/// Not to be warmed up.
const WARM: u64 = 0;
/// To be warmed up once it is ready.
const COLD: u64 = 1;
const FIRST_TIME: u64 = 2;
/// Share of its weight that an endpoint takes from the start: a key or a turn has to find it.
const COLDEST: f64 = 0.01;
