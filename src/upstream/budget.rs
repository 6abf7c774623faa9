//! How many requests may be sent again: a share of all, so that retries cannot drown an upstream that
//! is slow or failing because it has too much to do already (product.md B30).

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::Upstream;

/// Requests and retries of one upstream, over all workers.
///
/// A request costs one relaxed addition, and only where there is another endpoint to go to; time is
/// asked for only by a retry. The window slides: what is left of the one before counts in part. Two
/// retries that turn it at the same moment may misjudge one of them, which is nothing.
#[derive(Debug)]
pub(super) struct Budget {
    /// Times are milliseconds since then.
    since: Instant,
    /// Since the start.
    requests: AtomicU64,
    /// When the window began, and [`Budget::requests`] then.
    start: AtomicU64,
    base: AtomicU64,
    /// Retries since then.
    used: AtomicU32,
    /// Requests and retries in the window before.
    requests_before: AtomicU64,
    used_before: AtomicU32,
}

impl Budget {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            since: now,
            requests: AtomicU64::new(0),
            start: AtomicU64::new(0),
            base: AtomicU64::new(0),
            used: AtomicU32::new(0),
            requests_before: AtomicU64::new(0),
            used_before: AtomicU32::new(0),
        }
    }

    fn asked(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes one retry out of `percent` of the requests of the last [`WINDOW`], or of [`FLOOR`].
    fn take(&self, percent: u8, now: Instant) -> bool {
        let now = now.saturating_duration_since(self.since).as_millis() as u64;
        let requests = self.requests.load(Ordering::Relaxed);
        self.turn(now, requests);
        let age = now.saturating_sub(self.start.load(Ordering::Relaxed));
        let left = WINDOW.saturating_sub(age);
        let part = |before: u64| before.saturating_mul(left) / WINDOW;
        let here = requests.saturating_sub(self.base.load(Ordering::Relaxed));
        let recent = here.saturating_add(part(self.requests_before.load(Ordering::Relaxed)));
        let allowed = (recent.saturating_mul(percent.into()) / 100).max(FLOOR);
        let before = part(self.used_before.load(Ordering::Relaxed).into());
        let used = self.used.fetch_add(1, Ordering::Relaxed);
        let fits = before + u64::from(used) < allowed;
        if !fits {
            self.used.fetch_sub(1, Ordering::Relaxed);
        }
        fits
    }

    /// Begins a new window if it is time. After a long rest nobody knows how many requests there were
    /// lately, so the average since the last retry stands for it.
    fn turn(&self, now: u64, requests: u64) {
        let start = self.start.load(Ordering::Relaxed);
        let age = now.saturating_sub(start);
        if age < WINDOW {
            return;
        }
        let order = Ordering::Relaxed;
        if (self.start.compare_exchange(start, now, order, order)).is_err() {
            return;
        }
        let base = self.base.swap(requests, order);
        let average = |count: u64| count.saturating_mul(WINDOW) / age;
        let before = average(requests.saturating_sub(base));
        let used = average(self.used.swap(0, order).into());
        self.requests_before.store(before, order);
        self.used_before.store(used as u32, order);
    }
}

impl Upstream {
    /// A request has come for it.
    pub fn asked(&self) {
        // With one alone there is nowhere else to go.
        if self.endpoints.len() > 1 {
            self.live.budget.asked();
        }
    }

    /// Whether one more request may be sent again, within `percent` of all; `None`: without limit.
    pub fn may_retry(&self, percent: Option<u8>, now: Instant) -> bool {
        percent.is_none_or(|percent| self.live.budget.take(percent, now))
    }
}

/// Milliseconds.
const WINDOW: u64 = Duration::from_secs(10).as_millis() as u64;
/// Retries within that time that any site has, however few its requests.
const FLOOR: u64 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    struct Clocked {
        budget: Budget,
        start: Instant,
    }

    impl Clocked {
        fn new() -> Self {
            let start = Instant::now();
            let budget = Budget::new(start);
            Self { budget, start }
        }

        fn asked(&self, count: u64) {
            (0..count).for_each(|_| self.budget.asked());
        }

        /// How many of `tries` are allowed, at so many milliseconds.
        fn taken(&self, millis: u64, tries: u64) -> usize {
            let now = self.start + Duration::from_millis(millis);
            (0..tries).filter(|_| self.budget.take(20, now)).count()
        }
    }

    #[test]
    fn a_small_site_has_its_floor_and_a_large_one_its_share() {
        let site = Clocked::new();
        assert_eq!(site.taken(0, 100), 10);
        assert_eq!(site.taken(9000, 100), 0);
        site.asked(1000);
        // A fifth of what there was, those ten included.
        assert_eq!(site.taken(9000, 1000), 190);
        assert_eq!(site.taken(9999, 1000), 0);
    }

    #[test]
    fn the_window_slides() {
        let site = Clocked::new();
        site.asked(1000);
        assert_eq!(site.taken(9999, 1000), 200);
        // A new window begins, with all of the last one still in sight.
        assert_eq!(site.taken(10_000, 1000), 0);
        // Half of it has left, requests and retries alike, and nobody has asked since.
        assert_eq!(site.taken(15_000, 1000), 0);
        assert_eq!(site.taken(19_999, 1000), 10);
        // All of it has; of the ten, spread over twenty seconds, five are in sight.
        assert_eq!(site.taken(30_000, 1000), 5);
    }

    #[test]
    fn after_a_long_rest_the_average_counts() {
        let site = Clocked::new();
        // 100 a second for an hour, without a retry.
        site.asked(360_000);
        assert_eq!(site.taken(3_600_000, 1000), 200);
        assert_eq!(site.taken(3_600_001, 1000), 0);
    }

    #[test]
    fn no_share_at_all_leaves_the_floor_and_nothing_overflows() {
        let site = Clocked::new();
        site.budget.requests.store(u64::MAX, Ordering::Relaxed);
        let far = site.start + Duration::from_secs(1 << 40);
        let taken = |percent| (0..20).filter(|_| site.budget.take(percent, far)).count();
        assert_eq!(taken(0), 10);
        assert_eq!(taken(100), 20);
    }
}
