//! `wharf.breaker`: a route that is left alone for a while when too many of its requests fail
//! (product.md B29).
//!
//! Closed, it counts what comes of requests. When enough of them fail it opens: requests are refused.
//! After a time a few are let through, and what comes of these closes it or opens it again. One for all
//! workers, in relaxed atomics: with several counting at the same moment it may open a request early or
//! late. A pure state machine: time comes in as `now`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::model::{BreakerSpec, RouteKey};

/// The breaker of one route; carried over from table to table while its settings are the same.
#[derive(Debug)]
pub struct Breaker {
    pub route: RouteKey,
    pub spec: BreakerSpec,
    /// Times are milliseconds since then.
    since: Instant,
    /// A packed [`Phase`].
    phase: AtomicU64,
    /// What came of requests in each of the last parts of the window: a packed [`Slot`].
    slots: [AtomicU64; SLOTS as usize],
    /// How many of how many had failed when it opened, in 32 bits each.
    opened_by: AtomicU64,
}

/// Where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Closed,
    /// Since `at`.
    Open {
        at: u64,
    },
    /// Since `at`; so many trials have begun, so many have succeeded.
    HalfOpen {
        at: u64,
        begun: u8,
        passed: u8,
    },
}

/// Requests of a part of the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slot {
    /// Which one it was, in 16 bits.
    turn: u16,
    /// In 24 bits.
    total: u32,
    failed: u32,
}

/// A request that was let through. One that is dropped without a verdict leaves its place to another.
#[derive(Debug)]
pub struct Admitted {
    breaker: Arc<Breaker>,
    /// The half-open phase it is a trial of.
    trial: Option<u64>,
}

/// What has become of a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerChange {
    /// So many of so many requests have failed.
    Opened {
        failed: u32,
        total: u32,
    },
    HalfOpened,
    /// A trial has failed.
    Reopened,
    Closed,
}

/// Where a breaker is, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    Closed,
    /// For so long from now on.
    Open {
        left: Duration,
        failed: u32,
        total: u32,
    },
    /// A few requests are let through, or would be.
    HalfOpen,
}

impl Breaker {
    /// The one before, where it has the same settings; else a new one, closed.
    pub(super) fn carried(
        route: &RouteKey,
        spec: BreakerSpec,
        before: Option<&Arc<Self>>,
        now: Instant,
    ) -> Arc<Self> {
        match before {
            Some(before) if before.spec == spec => Arc::clone(before),
            _ => Arc::new(Self {
                route: route.clone(),
                spec,
                since: now,
                phase: AtomicU64::new(Phase::Closed.pack()),
                slots: Default::default(),
                opened_by: AtomicU64::new(0),
            }),
        }
    }

    /// Lets a request through, and tells if that changes anything; or for how long none is.
    pub fn admit(
        self: &Arc<Self>,
        now: Instant,
    ) -> Result<(Admitted, Option<BreakerChange>), Duration> {
        let at = self.millis(now);
        let open = millis(self.spec.open);
        loop {
            let phase = self.phase();
            let trial = Phase::HalfOpen {
                at,
                begun: 1,
                passed: 0,
            };
            let (next, half_open, change) = match phase {
                Phase::Closed => return Ok((self.admitted(None), None)),
                Phase::Open { at: since } if at.saturating_sub(since) < open => {
                    return Err(self.left(since, at));
                }
                Phase::Open { .. } => (trial, at, Some(BreakerChange::HalfOpened)),
                Phase::HalfOpen {
                    at: since,
                    begun,
                    passed,
                } if begun < TRIALS => {
                    let begun = begun + 1;
                    let at = since;
                    (Phase::HalfOpen { at, begun, passed }, since, None)
                }
                // Trials that nothing comes of must not keep it from ever being tried again.
                Phase::HalfOpen { at: since, .. } if at.saturating_sub(since) >= open => {
                    (trial, at, None)
                }
                Phase::HalfOpen { at: since, .. } => return Err(self.left(since, at)),
            };
            if self.change(phase, next) {
                return Ok((self.admitted(Some(half_open)), change));
            }
        }
    }

    pub fn state(&self, now: Instant) -> BreakerState {
        let at = self.millis(now);
        match self.phase() {
            Phase::Closed => BreakerState::Closed,
            Phase::Open { at: since } if at.saturating_sub(since) < millis(self.spec.open) => {
                let by = self.opened_by.load(Ordering::Relaxed);
                BreakerState::Open {
                    left: self.left(since, at),
                    failed: (by >> 32) as u32,
                    total: by as u32,
                }
            }
            Phase::Open { .. } | Phase::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    fn admitted(self: &Arc<Self>, trial: Option<u64>) -> Admitted {
        Admitted {
            breaker: Arc::clone(self),
            trial,
        }
    }

    /// Until there may be a trial.
    fn left(&self, since: u64, at: u64) -> Duration {
        let left = millis(self.spec.open).saturating_sub(at.saturating_sub(since));
        Duration::from_millis(left)
    }

    /// Counts a request that ended while it was closed.
    fn count(&self, failed: bool, at: u64) -> Option<BreakerChange> {
        let number = at / self.slot_millis();
        let slot = &self.slots[(number % SLOTS) as usize];
        let turn = (number / SLOTS) as u16;
        let more = |word| Some(Slot::unpack(word).counting(turn, failed).pack());
        let _ = slot.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        if !failed {
            return None;
        }
        let (failed, total) = self.window(number);
        let share = u64::from(failed) * 100 / u64::from(total.max(1));
        if total < self.spec.min || share < self.spec.errors.into() {
            return None;
        }
        let by = u64::from(failed) << 32 | u64::from(total);
        self.opened_by.store(by, Ordering::Relaxed);
        let opens = self.change(Phase::Closed, Phase::Open { at });
        opens.then_some(BreakerChange::Opened { failed, total })
    }

    /// How many have failed, of how many, in the window that ends with slot `number`.
    fn window(&self, number: u64) -> (u32, u32) {
        let first = number.saturating_sub(SLOTS - 1);
        (first..=number).fold((0, 0), |(failed, total), number| {
            let word = self.slots[(number % SLOTS) as usize].load(Ordering::Relaxed);
            let slot = Slot::unpack(word);
            match slot.turn == (number / SLOTS) as u16 {
                true => (failed + slot.failed, total + slot.total),
                false => (failed, total),
            }
        })
    }

    /// What came of the trial of a phase; what came of one before it counts no more.
    fn tried(&self, trial: u64, failed: bool, now: u64) -> Option<BreakerChange> {
        loop {
            let phase = self.phase();
            let Phase::HalfOpen { at, begun, passed } = phase else {
                return None;
            };
            if at != trial {
                return None;
            }
            let passed = passed + 1;
            let (next, change) = match failed {
                true => (Phase::Open { at: now }, Some(BreakerChange::Reopened)),
                false if passed >= TRIALS => (Phase::Closed, Some(BreakerChange::Closed)),
                false => (Phase::HalfOpen { at, begun, passed }, None),
            };
            if next == Phase::Closed {
                // What made it open is over.
                for slot in &self.slots {
                    slot.store(0, Ordering::Relaxed);
                }
            }
            if self.change(phase, next) {
                return change;
            }
        }
    }

    /// Nothing came of a trial.
    fn give_back(&self, trial: u64) {
        loop {
            let phase = self.phase();
            let next = match phase {
                Phase::HalfOpen { at, begun, passed } if at == trial => Phase::HalfOpen {
                    at,
                    begun: begun.saturating_sub(1),
                    passed,
                },
                _ => return,
            };
            if self.change(phase, next) {
                return;
            }
        }
    }

    fn phase(&self) -> Phase {
        Phase::unpack(self.phase.load(Ordering::Relaxed))
    }

    fn change(&self, from: Phase, to: Phase) -> bool {
        let order = Ordering::Relaxed;
        let changed = (self.phase).compare_exchange(from.pack(), to.pack(), order, order);
        changed.is_ok()
    }

    fn millis(&self, now: Instant) -> u64 {
        // One more, so that no time packs as none.
        millis(now.saturating_duration_since(self.since)) + 1
    }

    fn slot_millis(&self) -> u64 {
        (millis(self.spec.over) / SLOTS).max(1)
    }
}

impl Admitted {
    /// Whether it was let through by this breaker, and to find something out.
    pub fn is_trial_of(&self, breaker: &Arc<Breaker>) -> bool {
        Arc::ptr_eq(&self.breaker, breaker) && self.trial.is_some()
    }

    pub fn breaker(&self) -> &Arc<Breaker> {
        &self.breaker
    }

    /// Its end; whether that changes anything.
    pub fn judge(mut self, failed: bool, now: Instant) -> Option<BreakerChange> {
        let breaker = Arc::clone(&self.breaker);
        let at = breaker.millis(now);
        match self.trial.take() {
            Some(trial) => breaker.tried(trial, failed, at),
            None if breaker.phase() == Phase::Closed => breaker.count(failed, at),
            None => None,
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if let Some(trial) = self.trial {
            self.breaker.give_back(trial);
        }
    }
}

impl Phase {
    /// Two bits of what, eight of each count, the rest of time.
    fn pack(self) -> u64 {
        match self {
            Self::Closed => 0,
            Self::Open { at } => 1 | at << 18,
            Self::HalfOpen { at, begun, passed } => {
                2 | u64::from(begun) << 2 | u64::from(passed) << 10 | at << 18
            }
        }
    }

    fn unpack(word: u64) -> Self {
        let at = word >> 18;
        match word & 3 {
            0 => Self::Closed,
            1 => Self::Open { at },
            _ => Self::HalfOpen {
                at,
                begun: (word >> 2) as u8,
                passed: (word >> 10) as u8,
            },
        }
    }
}

impl Slot {
    fn counting(self, turn: u16, failed: bool) -> Self {
        let old = match self.turn == turn {
            true => self,
            false => Self {
                turn,
                total: 0,
                failed: 0,
            },
        };
        if old.total == MAX_COUNT {
            // The share stays as it is.
            return old;
        }
        Self {
            turn,
            total: old.total + 1,
            failed: old.failed + u32::from(failed),
        }
    }

    fn pack(self) -> u64 {
        u64::from(self.turn) << 48 | u64::from(self.total) << 24 | u64::from(self.failed)
    }

    fn unpack(word: u64) -> Self {
        Self {
            turn: (word >> 48) as u16,
            total: (word >> 24) as u32 & MAX_COUNT,
            failed: word as u32 & MAX_COUNT,
        }
    }
}

fn millis(duration: Duration) -> u64 {
    duration.as_secs() * 1000 + u64::from(duration.subsec_millis())
}

/// Requests that are let through to find out, and that must all succeed.
const TRIALS: u8 = 3;
/// The window moves in so many steps.
const SLOTS: u64 = 10;
/// 24 bits.
const MAX_COUNT: u32 = (1 << 24) - 1;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SPEC: BreakerSpec = BreakerSpec {
        errors: 50,
        over: Duration::from_secs(10),
        min: 20,
        open: Duration::from_secs(5),
    };

    struct Clocked {
        breaker: Arc<Breaker>,
        start: Instant,
    }

    impl Clocked {
        fn new(spec: BreakerSpec) -> Self {
            let start = Instant::now();
            let route = RouteKey("shop/web".into());
            let breaker = Breaker::carried(&route, spec, None, start);
            Self { breaker, start }
        }

        fn at(&self, millis: u64) -> Instant {
            self.start + Duration::from_millis(millis)
        }

        fn admit(&self, millis: u64) -> Result<(Admitted, Option<BreakerChange>), Duration> {
            self.breaker.admit(self.at(millis))
        }

        /// One request from its beginning to its end at the same moment.
        fn request(&self, millis: u64, failed: bool) -> Option<BreakerChange> {
            let (admitted, _) = self.admit(millis).unwrap();
            admitted.judge(failed, self.at(millis))
        }

        fn opened(millis: u64) -> Self {
            let clocked = Self::new(SPEC);
            let changes: Vec<_> = (0..20).map(|_| clocked.request(millis, true)).collect();
            let opened = BreakerChange::Opened {
                failed: 20,
                total: 20,
            };
            assert_eq!(changes[19], Some(opened));
            assert!(changes[..19].iter().all(Option::is_none));
            clocked
        }
    }

    #[test]
    fn it_opens_at_the_share_and_not_before_there_are_enough() {
        let clocked = Clocked::new(SPEC);
        for _ in 0..10 {
            assert_eq!(clocked.request(0, false), None);
        }
        for _ in 0..9 {
            assert_eq!(clocked.request(0, true), None);
        }
        let opened = BreakerChange::Opened {
            failed: 10,
            total: 20,
        };
        assert_eq!(clocked.request(0, true), Some(opened));
        assert_eq!(clocked.admit(1).unwrap_err(), Duration::from_millis(4999));
        let open = BreakerState::Open {
            left: Duration::from_secs(5),
            failed: 10,
            total: 20,
        };
        assert_eq!(clocked.breaker.state(clocked.at(0)), open);
        // Below the share it does not, however many there are.
        let clocked = Clocked::new(SPEC);
        for _ in 0..1000 {
            for failed in [false, false, true] {
                assert_eq!(clocked.request(0, failed), None);
            }
        }
    }

    #[test]
    fn what_is_older_than_the_window_counts_no_more() {
        let clocked = Clocked::new(SPEC);
        for second in 0..100 {
            // 19 in any ten seconds, but for the one that would be the twentieth.
            let count = if second % 10 == 0 { 19 } else { 0 };
            for _ in 0..count {
                assert_eq!(clocked.request(second * 1000, true), None, "{second}");
            }
        }
        assert!(clocked.request(99_000, true).is_some());
    }

    #[test]
    fn a_few_trials_close_it() {
        let clocked = Clocked::opened(1000);
        assert!(clocked.admit(5999).is_err());
        let (first, change) = clocked.admit(6000).unwrap();
        assert_eq!(change, Some(BreakerChange::HalfOpened));
        let (second, change) = clocked.admit(6000).unwrap();
        assert_eq!(change, None);
        let (third, _) = clocked.admit(6001).unwrap();
        assert_eq!(
            clocked.admit(6001).unwrap_err(),
            Duration::from_millis(4999)
        );
        assert_eq!(
            clocked.breaker.state(clocked.at(6001)),
            BreakerState::HalfOpen
        );
        let now = clocked.at(6100);
        assert_eq!(first.judge(false, now), None);
        assert_eq!(second.judge(false, now), None);
        assert!(clocked.admit(6100).is_err());
        assert_eq!(third.judge(false, now), Some(BreakerChange::Closed));
        // With a clean slate.
        for _ in 0..19 {
            assert_eq!(clocked.request(6100, true), None);
        }
        assert!(clocked.request(6100, true).is_some());
    }

    #[test]
    fn one_failed_trial_opens_it_again_and_the_others_count_no_more() {
        let clocked = Clocked::opened(0);
        let trials = [(); 3].map(|()| clocked.admit(5000).unwrap().0);
        let [first, second, third] = trials;
        let now = clocked.at(6000);
        assert_eq!(first.judge(false, now), None);
        assert_eq!(second.judge(true, now), Some(BreakerChange::Reopened));
        assert_eq!(third.judge(false, now), None);
        assert_eq!(clocked.admit(6000).unwrap_err(), Duration::from_secs(5));
        assert!(clocked.admit(11_000).is_ok());
    }

    #[test]
    fn trials_that_come_to_nothing_leave_their_places() {
        let clocked = Clocked::opened(0);
        for _ in 0..10 {
            // Clients that leave.
            drop(clocked.admit(5000).unwrap());
        }
        // Some that hang.
        let hang = [(); 3].map(|()| clocked.admit(5000).unwrap().0);
        assert!(clocked.admit(9999).is_err());
        let (next, change) = clocked.admit(10_000).unwrap();
        assert_eq!(change, None);
        // Too late to say anything.
        for late in hang {
            assert_eq!(late.judge(true, clocked.at(10_001)), None);
        }
        assert_eq!(
            next.judge(true, clocked.at(10_001)),
            Some(BreakerChange::Reopened)
        );
    }

    #[test]
    fn requests_that_end_after_it_has_opened_change_nothing() {
        let clocked = Clocked::new(SPEC);
        let early: Vec<_> = (0..30).map(|_| clocked.admit(0).unwrap().0).collect();
        let changes = early
            .into_iter()
            .map(|one| one.judge(true, clocked.at(100)));
        assert_eq!(changes.flatten().count(), 1);
    }

    #[test]
    fn it_lives_as_long_as_its_settings() {
        let old = Clocked::opened(0);
        let carried =
            |spec| Breaker::carried(&old.breaker.route, spec, Some(&old.breaker), old.start);
        assert!(carried(SPEC).admit(old.at(1)).is_err());
        assert!(
            carried(BreakerSpec { min: 30, ..SPEC })
                .admit(old.at(1))
                .is_ok()
        );
    }

    #[test]
    fn over_threads_never_more_than_a_few_are_trials_and_one_tells_of_a_change() {
        use std::sync::atomic::AtomicUsize;
        let spec = BreakerSpec {
            open: Duration::from_secs(1),
            ..SPEC
        };
        for round in 0..200 {
            let clocked = Clocked::new(spec);
            let (opened, half, trials, closed) = (
                AtomicUsize::new(0),
                AtomicUsize::new(0),
                AtomicUsize::new(0),
                AtomicUsize::new(0),
            );
            let barrier = std::sync::Barrier::new(4);
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        for _ in 0..20 {
                            if let Ok((admitted, _)) = clocked.admit(0) {
                                let change = admitted.judge(true, clocked.at(0));
                                opened.fetch_add(usize::from(change.is_some()), Ordering::SeqCst);
                            }
                        }
                        barrier.wait();
                        let tried = clocked.admit(1000);
                        barrier.wait();
                        if let Ok((admitted, change)) = tried {
                            trials.fetch_add(1, Ordering::SeqCst);
                            half.fetch_add(usize::from(change.is_some()), Ordering::SeqCst);
                            let change = admitted.judge(false, clocked.at(1000));
                            closed.fetch_add(usize::from(change.is_some()), Ordering::SeqCst);
                        }
                    });
                }
            });
            let counts = [opened, half, trials, closed].map(AtomicUsize::into_inner);
            assert_eq!(counts, [1, 1, 3, 1], "{round}");
        }
    }

    proptest! {
        #[test]
        fn words_keep_what_is_packed(
            at in 0_u64..1 << 46, begun: u8, passed: u8, turn: u16, total in 0..=MAX_COUNT,
            failed in 0..=MAX_COUNT
        ) {
            for phase in [Phase::Closed, Phase::Open { at }, Phase::HalfOpen { at, begun, passed }] {
                prop_assert_eq!(Phase::unpack(phase.pack()), phase);
            }
            let slot = Slot { turn, total, failed };
            prop_assert_eq!(Slot::unpack(slot.pack()), slot);
        }

        /// Against the plainest way to count: everything kept, and looked at again each time.
        #[test]
        fn the_window_counts_what_a_list_would(
            steps in proptest::collection::vec((0_u64..4000, any::<bool>()), 1..300)
        ) {
            let clocked = Clocked::new(SPEC);
            let mut all: Vec<(u64, bool)> = Vec::new();
            let mut at = 0;
            for (step, failed) in steps {
                at += step;
                // As the breaker takes its time: one later.
                let slot = (at + 1) / 1000;
                all.push((slot, failed));
                let recent = || all.iter().filter(|(one, _)| one + SLOTS > slot);
                let total = recent().count() as u32;
                let bad = recent().filter(|(_, failed)| *failed).count() as u32;
                let opens = failed && total >= SPEC.min && bad * 100 >= total * 50;
                let change = clocked.request(at, failed);
                let opened = BreakerChange::Opened { failed: bad, total };
                prop_assert_eq!(change, opens.then_some(opened));
                if opens {
                    break;
                }
            }
        }
    }
}
