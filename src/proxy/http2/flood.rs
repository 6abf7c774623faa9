//! Frames that cost work and that no request pays for, counted: a flood of them ends its connection
//! (RFC 9113 section 10.5).

use crate::proxy::clock::TICK;

/// What one connection may still send. `now` is in ticks of the worker's clock.
#[derive(Debug)]
pub(super) struct Budget {
    /// Frames left until `since` is a second ago.
    frames: u32,
    most: u32,
    since: u32,
    /// Requests that may be taken back.
    resets: u32,
    refilled: u32,
}

impl Budget {
    /// With so many frames in a second.
    pub(super) fn new(frames: u32, now: u32) -> Self {
        Self {
            frames,
            most: frames,
            since: now,
            resets: MAX_RESETS,
            refilled: now,
        }
    }

    /// Whether one more frame that asks for nothing is fine.
    pub(super) fn takes_frame(&mut self, now: u32) -> bool {
        if now.saturating_sub(self.since) >= SECOND {
            self.since = now;
            self.frames = self.most;
        }
        take(&mut self.frames)
    }

    /// Whether one more request may be taken back before it was answered: each has cost its
    /// upstream something (CVE-2023-44487, and CVE-2025-8671 by way of faults).
    pub(super) fn takes_reset(&mut self, now: u32) -> bool {
        let seconds = now.saturating_sub(self.refilled) / SECOND;
        if seconds > 0 {
            self.refilled += seconds * SECOND;
            let more = seconds.saturating_mul(RESETS_PER_SECOND);
            self.resets = self.resets.saturating_add(more).min(MAX_RESETS);
        }
        take(&mut self.resets)
    }
}

fn take(left: &mut u32) -> bool {
    let some = *left > 0;
    *left = left.saturating_sub(1);
    some
}

/// A client in good faith sends a few.
pub(super) const FRAMES_PER_SECOND: u32 = 1024;
/// A browser takes back what it has under way when its user leaves a page. The figures are nghttp2's.
const MAX_RESETS: u32 = 1000;
const RESETS_PER_SECOND: u32 = 33;
const SECOND: u32 = (1000 / TICK.as_millis()) as u32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_refused_and_a_new_second_forgives() {
        let mut budget = Budget::new(FRAMES_PER_SECOND, 5);
        assert!((0..FRAMES_PER_SECOND).all(|_| budget.takes_frame(9)));
        assert!(!budget.takes_frame(9));
        assert!(budget.takes_frame(5 + SECOND));
    }

    #[test]
    fn requests_are_taken_back_in_bursts_and_then_slowly() {
        let mut budget = Budget::new(FRAMES_PER_SECOND, 0);
        assert!((0..MAX_RESETS).all(|_| budget.takes_reset(3)));
        assert!(!budget.takes_reset(SECOND - 1));
        assert!((0..RESETS_PER_SECOND).all(|_| budget.takes_reset(SECOND + 3)));
        assert!(!budget.takes_reset(2 * SECOND - 1));
        assert!((0..RESETS_PER_SECOND).all(|_| budget.takes_reset(2 * SECOND)));
    }
}
