//! How fast a client is, in the time for which it is waited for (`wharf.timeout.min_rate`).
//!
//! Time counts only while the client has nothing for us, or takes nothing of ours: an app that is slow to take an
//! upload, or to make an answer, does its client no harm. It counts in windows; what was fast in one is no credit for
//! the next, and a wait for more than a window is the business of the limits between two moves.

use std::cell::Cell;
use std::time::Duration;

use super::clock::{NEVER, TICK, Timer};

/// What a client has moved while it was waited for.
pub(crate) struct Pace {
    /// Bytes in a second that it has to move; 0 is none.
    rate: Cell<u64>,
    bytes: Cell<u64>,
    /// Ticks of the window that were waits.
    waited: Cell<u32>,
    /// The tick since which the wait counts in this window; `NEVER` while it is not waited for.
    since: Cell<u32>,
    /// When the wait began.
    begun: Cell<u32>,
    slow: Cell<bool>,
}

/// What becomes of a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Slow,
    /// It goes on: the timer runs again.
    Goes,
}

impl Pace {
    pub(crate) fn new(rate: u64) -> Self {
        Self {
            rate: Cell::new(rate),
            bytes: Cell::new(0),
            waited: Cell::new(0),
            since: Cell::new(NEVER),
            begun: Cell::new(0),
            slow: Cell::new(false),
        }
    }

    /// Goes by another rate from here on.
    pub(crate) fn restart(&self, rate: u64) {
        self.rate.set(rate);
        self.bytes.set(0);
        self.waited.set(0);
        self.slow.set(false);
    }

    pub(crate) fn rate(&self) -> u64 {
        self.rate.get()
    }

    pub(crate) fn is_on(&self) -> bool {
        self.rate.get() > 0
    }

    /// Waits for it from `now` on, if not for longer. After what time it is to be judged, where it may be still for
    /// `idle` at most; zero is for ever.
    pub(crate) fn wait(&self, now: u32, idle: Duration) -> Duration {
        if self.since.get() == NEVER {
            self.since.set(now);
            self.begun.set(now);
        }
        let window = TICK * WINDOW.saturating_sub(self.total(now)).max(1);
        match idle.is_zero() {
            true => window,
            false => window.min(idle.saturating_sub(self.still(now)).max(TICK)),
        }
    }

    /// What to make of a wait whose time is up. `None`: nothing but what its own limit says.
    pub(crate) fn judge(&self, timer: &Timer, idle: Duration) -> Option<Verdict> {
        let now = timer.now();
        if !self.is_on() {
            return None;
        }
        if self.is_slow(now) {
            return Some(Verdict::Slow);
        }
        if !idle.is_zero() && self.still(now) >= idle {
            return None;
        }
        timer.arm(self.wait(now, idle));
        Some(Verdict::Goes)
    }

    /// It was sent bytes, or has sent some, while it is waited for in one way or another.
    pub(crate) fn count(&self, bytes: u64) {
        self.bytes.set(self.bytes.get().saturating_add(bytes));
    }

    /// How long the wait has lasted.
    fn still(&self, now: u32) -> Duration {
        match self.since.get() {
            NEVER => Duration::ZERO,
            _ => TICK * now.saturating_sub(self.begun.get()),
        }
    }

    /// It has moved something.
    pub(crate) fn moved(&self, now: u32, bytes: usize) {
        let total = self.total(now);
        self.since.set(NEVER);
        self.waited.set(total);
        self.count(bytes as u64);
        self.close(now);
    }

    /// Whether it has been too slow.
    pub(crate) fn is_slow(&self, now: u32) -> bool {
        self.close(now);
        self.slow.get()
    }

    fn total(&self, now: u32) -> u32 {
        let wait = match self.since.get() {
            NEVER => 0,
            since => now.saturating_sub(since),
        };
        self.waited.get().saturating_add(wait)
    }

    /// Begins another window where one has ended.
    fn close(&self, now: u32) {
        let total = self.total(now);
        if total < WINDOW {
            return;
        }
        let ticks = u64::from(total);
        let least = self.rate.get().saturating_mul(ticks) / TICKS_IN_A_SECOND;
        if self.bytes.get() < least {
            self.slow.set(true);
        }
        self.bytes.set(0);
        self.waited.set(0);
        if self.since.get() != NEVER {
            self.since.set(now);
        }
    }
}

const TICKS_IN_A_SECOND: u64 = 1000 / TICK.as_millis() as u64;
/// In ticks: as long as a mobile connection may well be gone, and as short as an attack should be told from that.
pub(crate) const WINDOW: u32 = 30 * TICKS_IN_A_SECOND as u32;

#[cfg(test)]
mod tests {
    use super::*;

    /// Moves of so many bytes, each after a wait, in seconds; whether it was too slow after each.
    fn moves(rate: u64, moves: &[(u32, usize)]) -> Vec<bool> {
        let pace = Pace::new(rate);
        let mut now = 7;
        let told = moves.iter().map(|(wait, bytes)| {
            pace.wait(now, Duration::ZERO);
            now += wait * TICKS_IN_A_SECOND as u32;
            pace.moved(now, *bytes);
            // What the app does meanwhile.
            now += 100_000;
            pace.is_slow(now)
        });
        told.collect()
    }

    #[test]
    fn who_moves_enough_in_each_window_may_take_all_day() {
        assert!(!moves(1000, &[(10, 10_000); 1000]).contains(&true));
        // In one burst at the end of it.
        assert!(!moves(1000, &[(29, 0), (1, 30_000)].repeat(100)).contains(&true));
        assert_eq!(moves(1000, &[(10, 9_999); 3]), [false, false, true]);
    }

    #[test]
    fn what_was_fast_is_no_credit_for_later() {
        let told = moves(1000, &[(1, 10_000_000), (29, 0), (15, 10), (15, 10)]);
        assert_eq!(told, [false, false, false, true]);
    }

    #[test]
    fn five_gigabytes_at_two_hundred_kilobytes_a_second_pass_and_a_byte_a_minute_does_not() {
        // In all that time: seven hours.
        let pace = Pace::new(100_000);
        for second in 0..25_000 {
            pace.wait(second * 10, Duration::ZERO);
            pace.moved(second * 10 + 10, 200_000);
            assert!(!pace.is_slow(second * 10 + 10));
        }
        let told = moves(1, &[(59, 1); 3]);
        assert_eq!(told, [true; 3]);
    }

    #[test]
    fn it_is_judged_while_it_is_waited_for() {
        let pace = Pace::new(1000);
        let idle = Duration::from_secs(25);
        assert_eq!(pace.wait(0, Duration::ZERO), TICK * WINDOW);
        assert_eq!(pace.wait(100, Duration::ZERO), TICK * (WINDOW - 100));
        // Whichever is first.
        assert_eq!(pace.wait(100, idle), Duration::from_secs(15));
        assert!(!pace.is_slow(WINDOW - 1));
        assert!(pace.is_slow(WINDOW));
        pace.restart(0);
        assert!(!pace.is_slow(10 * WINDOW) && !pace.is_on());
    }
}
