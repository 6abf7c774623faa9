//! When to renew and when to try again. Pure: `now` and the jitter are arguments.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

/// When a certificate is due without ARI: at 1/3 of its lifetime left, at 1/2 if it lives less than
/// 10 days. `jitter` in 0..1 moves that earlier by up to 1/20 of the lifetime.
pub(super) fn renew_at(not_before: SystemTime, not_after: SystemTime, jitter: f64) -> SystemTime {
    let lifetime = not_after.duration_since(not_before).unwrap_or_default();
    let left = if lifetime < SHORT_LIVED {
        lifetime / 2
    } else {
        lifetime / 3
    };
    let early = lifetime.mul_f64(jitter.clamp(0.0, 1.0) / 20.0);
    not_after - left - early
}

/// What went wrong with an attempt, as far as the schedule cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Setback {
    /// The CA validated (this many times) and was not convinced, or refused for a reason that may pass.
    Refused { validations: u32 },
    /// The CA never issues for this name.
    Never,
    /// The CA said when to come back.
    Limited { until: SystemTime },
    /// No answer, or one that is not about the name. Does not count as a failed authorization.
    Unreachable { until: Option<SystemTime> },
}

/// What happened to one name before; stored with it, so that a restart does not reset the back-off.
/// Times are Unix seconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct History {
    /// Attempts refused in a row.
    #[serde(default)]
    pub(super) failures: u32,
    #[serde(default)]
    pub(super) last_failure: Option<u64>,
    /// Failed validations of the last hour; at most [`FAILURES_PER_HOUR`] are kept.
    #[serde(default)]
    pub(super) recent: Vec<u64>,
    /// No order before this time.
    #[serde(default)]
    pub(super) not_before: Option<u64>,
    #[serde(default)]
    pub(super) error: Option<String>,
    /// Whether another CA may be asked instead.
    #[serde(default)]
    pub(super) elsewhere: bool,
    /// What the CA wants a person to open.
    #[serde(default)]
    pub(super) link: Option<String>,
    /// The last validation failed: the next is tried where failures do not count.
    #[serde(default)]
    pub(super) rehearse: bool,
    /// Times in a row the CA could not be reached. Not stored: a restart may try at once.
    #[serde(skip)]
    pub(super) unreachable: u32,
}

impl History {
    /// Notes a failed attempt and sets the time of the next.
    pub(super) fn note(
        &mut self,
        setback: Setback,
        error: String,
        elsewhere: bool,
        now: SystemTime,
        jitter: f64,
    ) {
        let stretch = |delay: Duration| delay.mul_f64(1.0 + jitter.clamp(0.0, 1.0) / 5.0);
        let at = match setback {
            Setback::Unreachable { until } => {
                let delay = UNREACHABLE_FIRST * 2u32.pow(self.unreachable.min(6));
                self.unreachable = self.unreachable.saturating_add(1);
                let soon = now + stretch(delay.min(UNREACHABLE_MOST));
                until.map_or(soon, |until| until.max(soon).min(now + LIMIT_MOST))
            }
            Setback::Limited { until } => until.clamp(now + LADDER[0], now + LIMIT_MOST),
            Setback::Never => {
                self.failures = self.failures.saturating_add(1);
                now + stretch(LADDER[LADDER.len() - 1])
            }
            Setback::Refused { validations } => {
                let step = (self.failures as usize).min(LADDER.len() - 1);
                self.failures = self.failures.saturating_add(1);
                for _ in 0..validations {
                    self.recent.push(to_unix(now));
                }
                let surplus = self.recent.len().saturating_sub(FAILURES_PER_HOUR);
                self.recent.drain(..surplus);
                let at = now + stretch(LADDER[step]);
                self.budget_from(now).map_or(at, |free| free.max(at))
            }
        };
        if !matches!(setback, Setback::Unreachable { .. }) {
            self.unreachable = 0;
        }
        match setback {
            Setback::Refused { validations: 1.. } => self.rehearse = true,
            // What is tried elsewhere says nothing of these.
            Setback::Limited { .. } | Setback::Never => self.rehearse = false,
            Setback::Refused { .. } | Setback::Unreachable { .. } => {}
        }
        self.last_failure = Some(to_unix(now));
        self.not_before = Some(to_unix_up(at));
        self.error = Some(error);
        self.elsewhere = elsewhere;
    }

    /// When the next attempt may start; `None`: at once.
    pub(super) fn retry_at(&self, now: SystemTime) -> Option<SystemTime> {
        let at = from_unix(self.not_before?);
        (at > now).then_some(at)
    }

    /// Failed validations the name can still afford within the hour.
    pub(super) fn budget(&self, now: SystemTime) -> usize {
        let now = to_unix(now);
        let spent = self
            .recent
            .iter()
            .filter(|at| at.saturating_add(HOUR) > now)
            .count();
        FAILURES_PER_HOUR.saturating_sub(spent)
    }

    /// Puts times that lie in the future right: the clock was set back since they were noted.
    pub(super) fn settle_clock(&mut self, now: SystemTime) {
        let now = to_unix(now);
        let Some(ahead) = self.last_failure.and_then(|last| last.checked_sub(now)) else {
            return;
        };
        if ahead > 60 {
            let back = |at: &mut u64| *at = at.saturating_sub(ahead);
            self.last_failure.iter_mut().for_each(back);
            self.not_before.iter_mut().for_each(back);
            self.recent.iter_mut().for_each(back);
        }
    }

    /// When the oldest failure leaves the hour, if the budget is spent.
    fn budget_from(&self, now: SystemTime) -> Option<SystemTime> {
        let oldest = self.recent.first().filter(|_| self.budget(now) == 0)?;
        Some(from_unix(oldest.saturating_add(HOUR)))
    }
}

pub(super) fn to_unix(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// Rounds up, so that a stored "not before" is never early.
fn to_unix_up(at: SystemTime) -> u64 {
    to_unix(at + Duration::from_nanos(999_999_999))
}

pub(super) fn from_unix(seconds: u64) -> SystemTime {
    let seconds = Duration::from_secs(seconds.min(LAST_SECOND));
    SystemTime::UNIX_EPOCH + seconds
}

/// Let's Encrypt's advice after failures, in order; the last one repeats.
const LADDER: [Duration; 4] = [
    Duration::from_secs(60),
    Duration::from_secs(10 * 60),
    Duration::from_secs(100 * 60),
    Duration::from_secs(24 * 60 * 60),
];
/// Let's Encrypt's limit of failed authorizations per name, account and hour.
pub(super) const FAILURES_PER_HOUR: usize = 5;
const UNREACHABLE_FIRST: Duration = Duration::from_secs(5);
const UNREACHABLE_MOST: Duration = Duration::from_secs(5 * 60);
/// The longest a Retry-After is believed: a week is the widest window of any limit known.
const LIMIT_MOST: Duration = Duration::from_secs(7 * 24 * 60 * 60);
const SHORT_LIVED: Duration = Duration::from_secs(10 * 24 * 60 * 60);
const HOUR: u64 = 60 * 60;
/// End of the year 9999; keeps arithmetic on stored times from overflowing.
const LAST_SECOND: u64 = 253_402_300_799;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;
    const DAY: u64 = 24 * HOUR;

    #[test]
    fn certificates_are_due_at_a_third_or_half() {
        for (lifetime, jitter, due) in [
            (90 * DAY, 0.0, 60 * DAY),
            (45 * DAY, 0.0, 30 * DAY),
            (6 * DAY, 0.0, 3 * DAY),
            (100 * DAY, 1.0, 100 * DAY - 100 * DAY / 3 - 5 * DAY),
        ] {
            let at = renew_at(from_unix(NOW), from_unix(NOW + lifetime), jitter);
            assert!(to_unix(at).abs_diff(NOW + due) <= 1, "{lifetime} {jitter}");
        }
    }

    #[test]
    fn refusals_climb_the_ladder() {
        let mut history = History::default();
        let mut now = NOW;
        for minutes in [1, 10, 100, 24 * 60, 24 * 60] {
            let refused = Setback::Refused { validations: 1 };
            history.note(refused, "no".into(), false, from_unix(now), 0.0);
            assert_eq!(history.not_before, Some(now + minutes * 60));
            now += minutes * 60;
        }
        assert_eq!(history.failures, 5);
    }

    #[test]
    fn five_failures_an_hour_are_the_most() {
        let mut history = History::default();
        let two = Setback::Refused { validations: 2 };
        history.note(two, "no".into(), false, from_unix(NOW), 0.0);
        assert_eq!(history.budget(from_unix(NOW)), 3);
        history.note(two, "no".into(), false, from_unix(NOW + 60), 0.0);
        assert_eq!(history.budget(from_unix(NOW + 660)), 1);
        let one = Setback::Refused { validations: 1 };
        history.failures = 0;
        history.note(one, "no".into(), false, from_unix(NOW + 660), 0.0);
        assert_eq!(history.not_before, Some(NOW + HOUR));
        assert_eq!(history.budget(from_unix(NOW + HOUR)), 2);
    }

    #[test]
    fn an_unreachable_ca_is_tried_again_soon_and_costs_nothing() {
        let mut history = History::default();
        for seconds in [5, 10, 20, 40, 80, 160, 300, 300] {
            let unreachable = Setback::Unreachable { until: None };
            history.note(unreachable, "down".into(), true, from_unix(NOW), 0.0);
            assert_eq!(history.not_before, Some(NOW + seconds));
        }
        assert_eq!((history.failures, history.budget(from_unix(NOW))), (0, 5));
    }

    #[test]
    fn retry_after_is_kept_within_reason() {
        for (asked, kept) in [(0, 60), (3600, 3600), (365 * DAY, 7 * DAY)] {
            let mut history = History::default();
            let until = from_unix(NOW + asked);
            let limited = Setback::Limited { until };
            history.note(limited, "slow".into(), true, from_unix(NOW), 0.5);
            assert_eq!(history.not_before, Some(NOW + kept));
        }
    }

    #[test]
    fn a_clock_set_back_does_not_block_for_longer() {
        let mut history = History::default();
        let refused = Setback::Refused { validations: 1 };
        history.note(refused, "no".into(), false, from_unix(NOW), 0.0);
        history.settle_clock(from_unix(NOW - 40 * DAY));
        assert_eq!(history.not_before, Some(NOW - 40 * DAY + 60));
    }
}
