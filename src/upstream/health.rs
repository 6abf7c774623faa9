//! Passive health, with nginx's meaning of `max_fails` and `fail_timeout`: an endpoint that fails so
//! often rests for that time; then one request may find out whether it is back. Takes `now`.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::model::FailLimit;

/// What is known of an endpoint from the requests it had; shared by all workers.
///
/// While nothing fails it is only read: `fails` is 0, and nobody asks for the time.
#[derive(Debug)]
pub(super) struct Marks {
    /// Times are milliseconds since then.
    since: Instant,
    /// Since the last success that counts.
    fails: AtomicU32,
    /// The last failure.
    failed: AtomicU64,
    /// The last failure, or the request after it that was to find out.
    checked: AtomicU64,
}

impl Marks {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            since: now,
            fails: AtomicU32::new(0),
            failed: AtomicU64::new(0),
            checked: AtomicU64::new(0),
        }
    }

    /// Whether nothing has failed.
    pub(super) fn is_clear(&self) -> bool {
        self.fails.load(Ordering::Relaxed) == 0
    }

    /// Whether it has failed too often, too short a time ago.
    pub(super) fn rests(&self, limit: FailLimit, now: Instant) -> bool {
        let fails = self.fails.load(Ordering::Relaxed);
        limit.count > 0 && fails >= u32::from(limit.count) && !self.is_due(limit, now)
    }

    /// It gets a request. After its time this is the one that finds out: until there is an answer the
    /// others wait on.
    pub(super) fn chosen(&self, limit: FailLimit, now: Instant) {
        if self.is_due(limit, now) {
            self.checked.store(self.time(now), Ordering::Relaxed);
        }
    }

    /// It has failed; whether it rests from now on and did not before.
    pub(super) fn fail(&self, limit: FailLimit, now: Instant) -> bool {
        let time = self.time(now);
        self.failed.store(time, Ordering::Relaxed);
        self.checked.store(time, Ordering::Relaxed);
        let before = self.fails.fetch_add(1, Ordering::Relaxed);
        before + 1 == u32::from(limit.count)
    }

    /// It has answered. Failures are forgiven by a request that came after their time, not by one
    /// that was on its way meanwhile; whether it did rest.
    pub(super) fn succeed(&self, limit: FailLimit) -> bool {
        let failed = self.failed.load(Ordering::Relaxed);
        if self.is_clear() || self.checked.load(Ordering::Relaxed) <= failed {
            return false;
        }
        let fails = self.fails.swap(0, Ordering::Relaxed);
        limit.count > 0 && fails >= u32::from(limit.count)
    }

    fn is_due(&self, limit: FailLimit, now: Instant) -> bool {
        let since = self
            .time(now)
            .saturating_sub(self.checked.load(Ordering::Relaxed));
        Duration::from_millis(since) > limit.within
    }

    fn time(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.since).as_millis() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_rests_and_is_tried_by_one_request() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let limit = FailLimit {
            count: 3,
            within: Duration::from_secs(30),
        };
        let marks = Marks::new(start);
        let one_fails = |seconds, rests_now| {
            marks.chosen(limit, at(seconds));
            assert_eq!(marks.fail(limit, at(seconds)), rests_now, "{seconds} s");
        };
        let one_succeeds = |seconds, back| {
            marks.chosen(limit, at(seconds));
            assert_eq!(marks.succeed(limit), back, "{seconds} s");
        };
        one_succeeds(1, false);
        one_fails(100, false);
        // A success soon after forgives nothing ...
        one_succeeds(101, false);
        one_fails(110, false);
        assert!(!marks.rests(limit, at(110)));
        // ... so the third failure is the third.
        one_fails(120, true);
        assert!(marks.rests(limit, at(121)) && marks.rests(limit, at(150)));
        // One is let through to find out, and the others wait on.
        assert!(!marks.rests(limit, at(151)));
        marks.chosen(limit, at(151));
        assert!(marks.rests(limit, at(152)));
        // It fails: another round.
        assert!(!marks.fail(limit, at(153)));
        assert!(marks.rests(limit, at(183)) && !marks.rests(limit, at(184)));
        one_succeeds(184, true);
        assert!(marks.is_clear());
        // Failures far apart never add up, if there is a success in between.
        for seconds in [200, 300, 400, 500] {
            one_fails(seconds, false);
            one_succeeds(seconds + 31, false);
        }
    }

    #[test]
    fn no_limit_is_never_reached() {
        let limit = FailLimit {
            count: 0,
            within: Duration::ZERO,
        };
        let marks = Marks::new(Instant::now());
        for _ in 0..5 {
            assert!(!marks.fail(limit, Instant::now()));
            assert!(!marks.rests(limit, Instant::now()));
        }
    }
}
