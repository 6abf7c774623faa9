//! When the CA wants a certificate to be renewed (RFC 9773). Pure: `now` and the draw are arguments.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::renew::{from_unix, to_unix};

/// What a CA said of one certificate; kept with it, so that restarts draw no other time. Times are
/// Unix seconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ari {
    /// When to ask next.
    pub(super) check_at: u64,
    /// Questions in a row that got no answer.
    #[serde(default)]
    failures: u32,
    #[serde(default)]
    pub(super) window: Option<Window>,
}

/// A suggested window, and the time within that was drawn for us.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Window {
    start: u64,
    end: u64,
    pub(super) chosen: u64,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) start: u64,
    pub(super) end: u64,
    /// Retry-After.
    pub(super) again: Duration,
    /// A page that says why, for people.
    pub(super) why: Option<String>,
}

impl Ari {
    /// To be asked about at once.
    pub(super) fn unasked() -> Self {
        Self::default()
    }

    /// Takes an answer over; whether the window is another one now. While it stays the same the time
    /// chosen from it does, too. `draw` in 0..1 chooses.
    pub(super) fn told(&mut self, told: &Told, now: SystemTime, draw: f64) -> bool {
        if told.end <= told.start {
            self.failed(true, now);
            return false;
        }
        self.failures = 0;
        self.check_at = to_unix(now + told.again.clamp(AGAIN_LEAST, AGAIN_MOST));
        let known = self.window.as_ref();
        if known.is_some_and(|known| (known.start, known.end) == (told.start, told.end)) {
            return false;
        }
        let width = Duration::from_secs(told.end - told.start);
        let into = width.mul_f64(draw.clamp(0.0, 1.0)).as_secs();
        let moved = self.window.is_some();
        self.window = Some(Window {
            start: told.start,
            end: told.end,
            chosen: told.start.saturating_add(into),
        });
        moved
    }

    /// The CA has no such answers.
    pub(super) fn unsupported(&mut self, now: SystemTime) {
        self.window = None;
        self.check_at = to_unix(now + AGAIN_MOST);
    }

    /// What it said before goes on to count. `lasting`: asking again soon would not help.
    pub(super) fn failed(&mut self, lasting: bool, now: SystemTime) {
        let pause = match lasting {
            true => LASTING,
            false => (AGAIN_LEAST * 2u32.pow(self.failures.min(9))).min(LASTING),
        };
        self.failures = self.failures.saturating_add(1);
        self.check_at = to_unix(now + pause);
    }
}

impl Window {
    /// When to renew: the time chosen, but never so late that a failure could not be mended, and not
    /// right after the certificate came, whatever a CA may say.
    pub(super) fn renew_at(
        &self,
        not_before: SystemTime,
        not_after: SystemTime,
        issued: Option<SystemTime>,
    ) -> SystemTime {
        let lifetime = not_after.duration_since(not_before).unwrap_or_default();
        let at = from_unix(self.chosen).min(not_after - lifetime / 20);
        let floor = issued.map(|issued| issued + FLOOR.min(lifetime / 3));
        floor.map_or(at, |floor| at.max(floor))
    }
}

/// RFC 9773 section 4.3.2: limits to what Retry-After may ask for. Twice a day at the least.
const AGAIN_LEAST: Duration = Duration::from_secs(60);
const AGAIN_MOST: Duration = Duration::from_secs(12 * 60 * 60);
const LASTING: Duration = Duration::from_secs(6 * 60 * 60);
/// Certificates of one name are this far apart, or a third of their life.
const FLOOR: Duration = Duration::from_secs(60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;
    const DAY: u64 = 24 * 60 * 60;

    fn told(start: u64, end: u64, again: u64) -> Told {
        Told {
            start: NOW + start,
            end: NOW + end,
            again: Duration::from_secs(again),
            why: None,
        }
    }

    fn chosen(ari: &Ari) -> u64 {
        ari.window.as_ref().unwrap().chosen - NOW
    }

    #[test]
    fn the_time_chosen_stays_while_the_window_does() {
        let (mut ari, now) = (Ari::unasked(), from_unix(NOW));
        assert!(!ari.told(&told(10 * DAY, 12 * DAY, 3600), now, 0.25));
        assert_eq!(chosen(&ari), 10 * DAY + DAY / 2);
        assert_eq!(ari.check_at, NOW + 3600);
        assert!(!ari.told(&told(10 * DAY, 12 * DAY, 3600), now, 0.9));
        assert_eq!(chosen(&ari), 10 * DAY + DAY / 2);
        assert!(ari.told(&told(0, DAY, 3600), now, 1.0), "it moved");
        assert_eq!(chosen(&ari), DAY);
    }

    #[test]
    fn questions_are_twice_a_day_at_the_least() {
        let now = from_unix(NOW);
        for (again, kept) in [(0, 60), (6 * 3600, 6 * 3600), (9 * DAY, DAY / 2)] {
            let mut ari = Ari::unasked();
            ari.told(&told(0, DAY, again), now, 0.0);
            assert_eq!(ari.check_at, NOW + kept);
        }
        let mut ari = Ari::unasked();
        for minutes in [1, 2, 4, 8, 16, 32, 64, 128, 256, 360, 360] {
            ari.failed(false, now);
            assert_eq!(ari.check_at, NOW + minutes * 60);
        }
        ari.told(&told(0, DAY, 60), now, 0.5);
        ari.failed(true, now);
        assert_eq!((ari.check_at, chosen(&ari)), (NOW + DAY / 4, DAY / 2));
        // A window that ends before it begins is no answer.
        ari.told(&told(DAY, DAY, 60), now, 0.5);
        assert_eq!((ari.check_at, chosen(&ari)), (NOW + DAY / 4, DAY / 2));
    }

    #[test]
    fn whatever_the_ca_says_there_is_time_left() {
        let (begin, end) = (from_unix(NOW), from_unix(NOW + 100 * DAY));
        for (chosen, at) in [(50 * DAY, 50 * DAY), (99 * DAY, 95 * DAY), (0, 3600)] {
            let window = Window {
                start: 0,
                end: 0,
                chosen: NOW + chosen,
            };
            let found = window.renew_at(begin, end, Some(begin));
            assert_eq!(to_unix(found), NOW + at, "{chosen}");
        }
    }
}
