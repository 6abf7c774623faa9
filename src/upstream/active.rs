//! What a row of checks makes of an endpoint: a state machine that takes `now` and knows no socket.

use std::time::{Duration, Instant};

use crate::model::ActiveCheck;

/// Judges one endpoint by its checks. Kept by who asks; what it decides is told by [`Judge::note`].
#[derive(Debug)]
pub struct Judge {
    standing: Standing,
    /// Results in a row that speak against the standing.
    against: u16,
    /// Between two checks while the first verdict is awaited.
    pause: Duration,
    /// Where in the interval its checks fall, so that those of many endpoints do not fall together.
    phase: f64,
    due: Instant,
}

/// What a result has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It gets requests from now on.
    Ready,
    /// It gets none from now on.
    Out,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Taken to be ready, because it was there long before; not checked yet.
    Presumed,
    /// Has never passed. The first success is enough: it is new, and nothing speaks against it.
    Starting,
    Ready,
    Failing,
}

impl Judge {
    /// Of an endpoint that is ready or not when its first check comes, which is at once. `phase` is in 0..1.
    pub fn new(ready: bool, phase: f64, now: Instant) -> Self {
        Self {
            standing: match ready {
                true => Standing::Presumed,
                false => Standing::Starting,
            },
            against: 0,
            pause: FIRST_PAUSE,
            phase,
            due: now,
        }
    }

    /// When the next check is due.
    pub fn due(&self) -> Instant {
        self.due
    }

    /// A check that began at `begun` has passed or not.
    pub fn note(&mut self, passed: bool, check: &ActiveCheck, begun: Instant) -> Option<Change> {
        let change = self.judge(passed, check);
        self.wait(check, begun, passed && self.phase > 0.0);
        change
    }

    /// A check that began at `begun` has told nothing: it failed by no fault of the endpoint.
    pub fn skip(&mut self, check: &ActiveCheck, begun: Instant) {
        self.wait(check, begun, false);
    }

    fn judge(&mut self, passed: bool, check: &ActiveCheck) -> Option<Change> {
        let (needed, next) = match (self.standing, passed) {
            (Standing::Presumed, true) => {
                self.standing = Standing::Ready;
                self.against = 0;
                return None;
            }
            (Standing::Ready, true) | (Standing::Starting | Standing::Failing, false) => {
                self.against = 0;
                return None;
            }
            // What was taken for granted was wrong: as if it were new.
            (Standing::Presumed, false) => (check.fails, Standing::Starting),
            (Standing::Ready, false) => (check.fails, Standing::Failing),
            (Standing::Starting, true) => (1, Standing::Ready),
            (Standing::Failing, true) => (check.passes, Standing::Ready),
        };
        self.against += 1;
        if self.against < needed {
            return None;
        }
        self.against = 0;
        self.standing = next;
        self.pause = FIRST_PAUSE;
        Some(match next {
            Standing::Ready => Change::Ready,
            _ => Change::Out,
        })
    }

    /// `spread`: the pause is the one that moves its checks into its phase.
    fn wait(&mut self, check: &ActiveCheck, begun: Instant, spread: bool) {
        let pause = match self.standing {
            Standing::Presumed | Standing::Starting => {
                let pause = self.pause;
                self.pause = pause.mul_f64(GROWTH).min(LONGEST_PAUSE);
                pause.min(check.interval)
            }
            Standing::Ready if spread => {
                let phase = std::mem::replace(&mut self.phase, 0.0);
                check.interval.mul_f64(phase)
            }
            Standing::Ready | Standing::Failing => check.interval,
        };
        self.due = begun + pause;
    }
}

/// Between two checks until the first verdict, growing: 17 in the first second, then two a second.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
const GROWTH: f64 = 1.25;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::HealthAsk;

    fn check(fails: u16, passes: u16) -> ActiveCheck {
        ActiveCheck {
            fails,
            passes,
            ..ActiveCheck::new(HealthAsk::Tcp)
        }
    }

    /// Feeds results, each when it is due; the change of each.
    fn run(judge: &mut Judge, check: &ActiveCheck, results: &str) -> String {
        let change = |passed: char| match judge.note(passed == '+', check, judge.due()) {
            None => '.',
            Some(Change::Ready) => 'R',
            Some(Change::Out) => 'O',
        };
        results.chars().map(change).collect()
    }

    #[test]
    fn results_in_a_row_decide() {
        let now = Instant::now();
        let check = check(3, 2);
        for (ready, results, changes) in [
            // New: one success is enough, whatever was before.
            (false, "---+", "...R"),
            (false, "+---", "R..O"),
            (false, "+--+--+---", "R........O"),
            (false, "+---+-++", "R..O...R"),
            (false, "+---++---+", "R..O.R..O."),
            // Taken for granted: three failures, and it counts as new.
            (true, "+--+---", "......O"),
            (true, "---+", "..OR"),
            (true, "--+---", ".....O"),
        ] {
            let mut judge = Judge::new(ready, 0.0, now);
            assert_eq!(run(&mut judge, &check, results), changes, "{results}");
        }
    }

    #[test]
    fn checks_come_often_until_the_first_verdict_and_at_intervals_then() {
        let now = Instant::now();
        let check = check(3, 2);
        let mut judge = Judge::new(false, 0.25, now);
        assert_eq!(judge.due(), now);
        let mut in_first_second = 0;
        let mut longest = Duration::ZERO;
        for _ in 0..60 {
            let begun = judge.due();
            in_first_second += u32::from(begun < now + Duration::from_secs(1));
            judge.note(false, &check, begun);
            longest = longest.max(judge.due() - begun);
        }
        assert!((15..=19).contains(&in_first_second), "{in_first_second}");
        assert_eq!(longest, LONGEST_PAUSE);
        // Into its phase, then interval by interval, ready or failing.
        for (passed, millis) in [
            (true, 2_500),
            (true, 10_000),
            (false, 10_000),
            (false, 10_000),
            (false, 10_000),
            (true, 10_000),
            (true, 10_000),
        ] {
            let begun = judge.due();
            judge.note(passed, &check, begun);
            assert_eq!(judge.due() - begun, Duration::from_millis(millis));
        }
        // A short interval is not made longer.
        let quick = ActiveCheck {
            interval: Duration::from_millis(100),
            ..check
        };
        let mut judge = Judge::new(false, 0.0, now);
        (0..60).for_each(|_| assert!(judge.note(false, &quick, judge.due()).is_none()));
        let begun = judge.due();
        judge.skip(&quick, begun);
        assert_eq!(judge.due() - begun, quick.interval);
    }

    proptest! {
        /// Against a model that looks at the whole history each time.
        #[test]
        fn the_history_decides_and_nothing_else(
            ready in any::<bool>(),
            fails in 1_u16..5,
            passes in 1_u16..5,
            results in proptest::collection::vec(any::<bool>(), 0..60),
        ) {
            let check = check(fails, passes);
            let now = Instant::now();
            let mut judge = Judge::new(ready, 0.5, now);
            let (mut is_ready, mut fresh) = (ready, !ready);
            let mut proven = false;
            // Results since the last change.
            let mut since = 0;
            for (index, passed) in results.iter().enumerate() {
                since += 1;
                let row = results[..=index].iter().rev().take_while(|one| *one == passed).count();
                let row = row.min(since);
                let needed = match (is_ready, fresh) {
                    (true, _) => fails,
                    (false, true) => 1,
                    (false, false) => passes,
                };
                let changes = *passed != is_ready && row >= usize::from(needed);
                let expected = changes.then_some(match passed {
                    true => Change::Ready,
                    false => Change::Out,
                });
                proven |= *passed && is_ready;
                if changes {
                    since = 0;
                    is_ready = *passed;
                    fresh = !is_ready && !proven;
                    proven |= is_ready;
                }
                let begun = judge.due();
                prop_assert_eq!(judge.note(*passed, &check, begun), expected);
                prop_assert!(judge.due() > begun && judge.due() - begun <= check.interval);
            }
        }

        #[test]
        fn a_skipped_check_changes_nothing(
            results in proptest::collection::vec(any::<Option<bool>>(), 0..60),
        ) {
            let check = check(2, 2);
            let now = Instant::now();
            let mut with = Judge::new(false, 0.0, now);
            let mut without = Judge::new(false, 0.0, now);
            for result in results {
                match result {
                    None => with.skip(&check, with.due()),
                    Some(passed) => {
                        let change = with.note(passed, &check, with.due());
                        prop_assert_eq!(without.note(passed, &check, without.due()), change);
                    }
                }
            }
        }
    }
}
