//! When to look and when to try again: pure schedules over `now`.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::error::EngineError;

/// When the next list may start: at once after a pause, rarer and rarer under a storm of events.
#[derive(Debug)]
pub(super) struct Pace {
    /// First unanswered reason to look.
    wanted: Option<Instant>,
    /// The last event, and how many of [`LOOK_AGAIN`] are done since.
    event: Option<Instant>,
    again: usize,
    /// A look that somebody asked for who could not reach a container.
    hint: Option<Instant>,
    /// When there may be the next one.
    next_hint: Instant,
    earliest: Instant,
    resync: Instant,
    /// Lists in a row that had to wait for [`earliest`](Self::earliest).
    crowded: u32,
}

impl Pace {
    /// Wants a list at once.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            wanted: Some(now),
            event: None,
            again: 0,
            hint: None,
            next_hint: now,
            earliest: now,
            resync: now,
            crowded: 0,
        }
    }

    /// An event arrived.
    pub(super) fn event(&mut self, now: Instant) {
        self.wanted.get_or_insert(now);
        self.event = Some(now);
        self.again = 0;
    }

    /// A container could not be reached: the picture may be old, whatever events say.
    pub(super) fn hint(&mut self, now: Instant) {
        self.hint.get_or_insert_with(|| now.max(self.next_hint));
    }

    /// When to start the next list, if nothing else happens.
    pub(super) fn next(&self) -> Instant {
        let next = match (self.wanted, self.look_again()) {
            (Some(_), _) => self.earliest,
            (None, Some(again)) => again.max(self.earliest),
            (None, None) => self.resync,
        };
        let hint = self.hint.map(|hint| hint.max(self.earliest));
        hint.into_iter().fold(next, Instant::min)
    }

    /// The same, where there is a reason of another kind to look at `due`.
    pub(super) fn next_by(&self, due: Option<Instant>) -> Instant {
        let due = due.map(|due| due.max(self.earliest));
        due.into_iter().fold(self.next(), Instant::min)
    }

    /// A list starts at `now`; what is behind it.
    pub(super) fn start(&mut self, now: Instant) -> Reason {
        // Any list answers a hint.
        let hinted = self.hint.take().is_some();
        if hinted {
            self.next_hint = now + HINT_GAP;
        }
        let wanted = self.wanted.take();
        self.crowded = match wanted {
            Some(since) if since < self.earliest => self.crowded.saturating_add(1),
            _ => 0,
        };
        let again = self.look_again();
        while self.look_again().is_some_and(|again| again <= now) {
            self.again += 1;
        }
        match (wanted.or(again), hinted) {
            (Some(_), _) => Reason::Event,
            (None, true) => Reason::Hint,
            (None, false) => Reason::Resync,
        }
    }

    fn look_again(&self) -> Option<Instant> {
        Some(self.event? + *LOOK_AGAIN.get(self.again)?)
    }

    /// A list that took `took` has ended; `random` is in `0.0..1.0`.
    pub(super) fn end(&mut self, now: Instant, took: Duration, random: f64) {
        let most = (took * GAP_PER_LIST).clamp(LEAST_GAP, MOST_GAP);
        let gap = LEAST_GAP
            .saturating_mul(1 << self.crowded.min(10))
            .min(most);
        self.earliest = now + gap;
        self.resync = now + RESYNC.mul_f64(0.9 + 0.2 * random);
    }
}

/// Why a list starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    Event,
    /// A container could not be reached.
    Hint,
    Resync,
}

/// The present outage, if any: how long to wait, what to tell.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    outage: Option<Outage>,
    /// When each kind of error was last told: once in an outage, and kept over outages so that a
    /// flapping engine does not fill the log.
    told: HashMap<&'static str, Instant>,
}

#[derive(Debug)]
struct Outage {
    since: Instant,
    attempts: u32,
    /// Whether the log knows of it.
    told: bool,
    /// Only the event stream fails; lists succeed meanwhile and do not end it.
    of_stream: bool,
}

/// What to do about an error.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Advice {
    pub(super) tell: bool,
    pub(super) wait: Duration,
}

impl Trouble {
    /// Takes note of a failure; `random` is in `0.0..1.0`.
    pub(super) fn note(
        &mut self,
        error: &EngineError,
        of_stream: bool,
        now: Instant,
        random: f64,
    ) -> Advice {
        let outage = self.outage.get_or_insert(Outage {
            since: now,
            attempts: 0,
            told: false,
            of_stream,
        });
        let cap = match error.is_settled() {
            true => MOST_WAIT_SETTLED,
            false => MOST_WAIT,
        };
        let wait = LEAST_WAIT
            .saturating_mul(1 << outage.attempts.min(10))
            .min(cap);
        outage.attempts += 1;
        outage.of_stream = of_stream;
        let last = self.told.get(error.kind());
        let tell =
            last.is_none_or(|last| *last < outage.since && now.duration_since(*last) >= TELL_AGAIN);
        if tell {
            outage.told = true;
            self.told.insert(error.kind(), now);
        }
        let wait = wait.mul_f64(0.8 + 0.4 * random);
        Advice { tell, wait }
    }

    /// How long the present outage has lasted.
    pub(super) fn lasting(&self, now: Instant) -> Duration {
        let since = self.outage.as_ref().map(|outage| outage.since);
        since.map_or(Duration::ZERO, |since| now.duration_since(since))
    }

    /// A list succeeded in a session of age `age`: ends the outage, unless it is one of the event
    /// stream that may strike again. The outage's length, if the log knows of it.
    pub(super) fn over(&mut self, now: Instant, age: Duration) -> Option<Duration> {
        let outage = self.outage.take_if(|o| !o.of_stream || age >= SETTLED)?;
        outage.told.then(|| now.duration_since(outage.since))
    }

    pub(super) fn is_none(&self) -> bool {
        self.outage.is_none()
    }
}

/// Age from which the end of an event stream is an ordinary end (idle timeouts of proxies, restarts
/// of the engine), answered by reconnecting at once and quietly.
pub(super) const SETTLED: Duration = Duration::from_secs(1);

/// Between two lists.
const LEAST_GAP: Duration = Duration::from_millis(20);
/// Under a storm lists take at most one part in this many of the time ...
const GAP_PER_LIST: u32 = 10;
/// ... but a slow engine does not make us blind.
const MOST_GAP: Duration = Duration::from_millis(500);
/// The engine tells some events before its list shows them (20.10: `connect` 8 ms, `pause` 3 ms,
/// `die` 30 to 80 ms), so the last event of a series is followed by these looks.
const LOOK_AGAIN: [Duration; 4] = [
    Duration::from_millis(20),
    Duration::from_millis(60),
    Duration::from_millis(120),
    Duration::from_millis(400),
];
/// Between two lists because containers cannot be reached.
const HINT_GAP: Duration = Duration::from_secs(1);
/// Between two lists when nothing happens; 10 % more or less.
const RESYNC: Duration = Duration::from_secs(30);

const LEAST_WAIT: Duration = Duration::from_millis(100);
/// An engine that has returned is found within half a second. A try is a failed `connect` while nobody
/// listens, and one call while every answer is an error.
const MOST_WAIT: Duration = Duration::from_millis(400);
/// For what somebody has to change.
const MOST_WAIT_SETTLED: Duration = Duration::from_secs(5);
const TELL_AGAIN: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Starts and ends a list of `took` at the time the pace says, with an event during it.
    fn crowded_list(pace: &mut Pace, took: Duration) -> Duration {
        let start = pace.next();
        pace.start(start);
        pace.event(start + took / 2);
        pace.end(start + took, took, 0.5);
        pace.next() - (start + took)
    }

    #[test]
    fn a_storm_spreads_lists_and_a_pause_resets() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        assert_eq!(pace.next(), now);
        let gaps: Vec<_> = (0..5)
            .map(|_| crowded_list(&mut pace, 10 * MS).as_millis())
            .collect();
        assert_eq!(gaps, [20, 40, 80, 100, 100]);
        // The last event is answered, then a pause: the next event is answered at once.
        let last = pace.next();
        pace.start(last);
        pace.end(last + MS, MS, 0.5);
        let later = last + 1000 * MS;
        pace.event(later);
        assert!(pace.next() <= later);
        assert_eq!(crowded_list(&mut pace, 10 * MS), LEAST_GAP);
    }

    #[test]
    fn an_event_is_followed_by_later_looks() {
        let event = Instant::now();
        let mut pace = Pace::new(event);
        pace.event(event);
        let mut looks = Vec::new();
        for _ in 0..5 {
            let start = pace.next();
            looks.push((start - event).as_millis());
            assert_eq!(pace.start(start), Reason::Event);
            pace.end(start + MS, MS, 0.5);
        }
        assert_eq!(looks, [0, 21, 60, 120, 400]);
        let resync = pace.next();
        assert_eq!(resync - event, 401 * MS + RESYNC);
        assert_eq!(pace.start(resync), Reason::Resync);
    }

    #[test]
    fn hints_lead_to_a_look_at_once_and_then_to_one_a_second() {
        let begin = Instant::now();
        let mut pace = Pace::new(begin);
        pace.start(begin);
        pace.end(begin + MS, MS, 0.5);
        let mut looks = Vec::new();
        let mut now = begin + 100 * MS;
        while now < begin + 3000 * MS {
            pace.hint(now);
            if pace.next() <= now {
                looks.push((now - begin).as_millis());
                assert_eq!(pace.start(now), Reason::Hint);
                pace.end(now + MS, MS, 0.5);
            }
            now += 10 * MS;
        }
        assert_eq!(looks, [100, 1100, 2100]);
        // One that was not answered yet is not forgotten, and a look for any reason answers it.
        assert_eq!(pace.next() - begin, 3100 * MS);
        pace.event(begin + 3000 * MS);
        assert_eq!(pace.start(begin + 3000 * MS), Reason::Event);
        assert!(pace.hint.is_none());
    }

    #[test]
    fn gaps_are_bounded() {
        let mut pace = Pace::new(Instant::now());
        let slow: Vec<_> = (0..9).map(|_| crowded_list(&mut pace, 900 * MS)).collect();
        assert_eq!(slow.last(), Some(&MOST_GAP));
        assert_eq!(crowded_list(&mut pace, Duration::ZERO), LEAST_GAP);
    }

    #[test]
    fn a_quiet_engine_is_listed_by_resync() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        assert_eq!(pace.start(now), Reason::Event);
        pace.end(now, MS, 0.0);
        assert_eq!(pace.next() - now, Duration::from_secs(27));
        assert_eq!(pace.start(pace.next()), Reason::Resync);
    }

    fn status(status: u16) -> EngineError {
        let message = String::new();
        let call = "list containers";
        EngineError::Status {
            call,
            status,
            message,
        }
    }

    #[test]
    fn waits_double_to_a_cap_that_depends_on_the_cause() {
        let now = Instant::now();
        let waits = |error: &EngineError| {
            let mut trouble = Trouble::default();
            let wait = |_| trouble.note(error, false, now, 0.5).wait.as_millis();
            (0..8).map(wait).collect::<Vec<_>>()
        };
        let soon = [100, 200, 400, 400, 400, 400, 400, 400];
        assert_eq!(waits(&status(500)), soon);
        let path = "/none".into();
        assert_eq!(waits(&EngineError::SocketMissing { path }), soon);
        let forbidden = waits(&EngineError::Forbidden {
            call: "events",
            variable: "EVENTS",
        });
        assert_eq!(forbidden, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
    }

    #[test]
    fn the_same_error_is_told_once_and_its_end_once() {
        let start = Instant::now();
        let mut trouble = Trouble::default();
        let tell = |trouble: &mut Trouble, after: u64| {
            let now = start + Duration::from_secs(after);
            trouble.note(&status(500), false, now, 0.5).tell
        };
        assert!(tell(&mut trouble, 0));
        assert!(!tell(&mut trouble, 20));
        let end = start + Duration::from_secs(30);
        assert_eq!(trouble.lasting(end).as_secs(), 30);
        assert_eq!(trouble.over(end, MS), Some(Duration::from_secs(30)));
        assert_eq!(trouble.over(end, MS), None);
        // Flapping: not told again, so its end is no news either.
        assert!(!tell(&mut trouble, 31));
        assert_eq!(trouble.over(end, MS), None);
        assert!(tell(&mut trouble, 60));
        assert!(!tell(&mut trouble, 3600));
    }

    #[test]
    fn a_failing_event_stream_is_not_over_with_the_next_list() {
        let now = Instant::now();
        let mut trouble = Trouble::default();
        trouble.note(&status(500), true, now, 0.5);
        assert_eq!(trouble.over(now, 999 * MS), None);
        assert!(!trouble.is_none());
        assert!(trouble.over(now, SETTLED).is_some());
    }
}
