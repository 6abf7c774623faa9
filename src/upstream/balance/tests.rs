//! How exact the shares are, by policy and number of workers.

use std::sync::Mutex;
use std::sync::atomic::AtomicU32;

use proptest::prelude::*;

use super::*;

/// Workers that choose at the same time, and hold what they chose.
struct Field {
    schedule: Schedule,
    weights: Vec<u16>,
    cursor: AtomicU64,
    busy: Vec<AtomicU32>,
}

impl Field {
    fn new(weights: &[u16]) -> Self {
        Self {
            schedule: Schedule::smooth(weights),
            weights: weights.to_vec(),
            cursor: AtomicU64::new(0),
            busy: weights.iter().map(|_| AtomicU32::new(0)).collect(),
        }
    }

    fn load(&self, index: u16) -> Load {
        let at = usize::from(index);
        Load {
            busy: self.busy[at].load(Ordering::Relaxed),
            weight: self.weights[at],
        }
    }

    fn take(&self, index: u16) {
        self.busy[usize::from(index)].fetch_add(1, Ordering::Relaxed);
    }

    /// Each of `workers` threads chooses `each` times.
    fn race(&self, workers: usize, each: usize, choose: impl Fn(&Self, u64) -> u16 + Sync) {
        let choose = &choose;
        std::thread::scope(|scope| {
            for worker in 0..workers {
                scope.spawn(move || {
                    for n in 0..each {
                        self.take(choose(self, hash::mix((worker * each + n) as u64)));
                    }
                });
            }
        });
    }

    fn counts(&self) -> Vec<u32> {
        let busy = self.busy.iter();
        busy.map(|count| count.load(Ordering::Relaxed)).collect()
    }
}

fn everybody(_: u16) -> bool {
    true
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Round robin, any number of workers: after every whole cycle each endpoint has had exactly its
    /// weight, whoever took the turns.
    #[test]
    fn turns_are_exact_over_all_workers(
        weights in prop::collection::vec(1_u16..=9, 2..6),
        workers in 1_usize..=8,
        cycles in 1_usize..=20,
    ) {
        let field = Field::new(&weights);
        let each = field.schedule.len() * cycles;
        field.race(workers, each, |field, _| {
            next_turn(&field.schedule, &field.cursor, everybody).unwrap()
        });
        let total: usize = weights.iter().map(|w| usize::from(*w)).sum();
        for (count, weight) in field.counts().iter().zip(&weights) {
            prop_assert_eq!(*count as usize * total, usize::from(*weight) * each * workers);
        }
    }

    /// With endpoints out, the others keep their proportions to the last turn.
    #[test]
    fn what_an_absent_endpoint_leaves_is_shared_by_weight(
        weights in prop::collection::vec(1_u16..=9, 3..6),
        out in 0_u16..3,
    ) {
        let field = Field::new(&weights);
        let open = |index: u16| index != out;
        let left: usize = weights.iter().map(|w| usize::from(*w)).sum::<usize>()
            - usize::from(weights[usize::from(out)]);
        let divisor = field.schedule.len() * usize::from(weights[0]);
        let each = left * divisor;
        for _ in 0..each {
            field.take(next_turn(&field.schedule, &field.cursor, open).unwrap());
        }
        for (index, (count, weight)) in field.counts().iter().zip(&weights).enumerate() {
            let expected = if index == usize::from(out) { 0 } else { each * usize::from(*weight) / left };
            prop_assert!((*count as usize).abs_diff(expected) <= usize::from(*weight), "{:?}", field.counts());
        }
    }

    /// Least busy with one worker: never more than one request above the exact share.
    #[test]
    fn one_worker_finds_the_least_busy_exactly(
        weights in prop::collection::vec(0_u16..=9, 2..6),
        requests in 1_usize..500,
    ) {
        prop_assume!(weights.iter().any(|w| *w > 0));
        let field = Field::new(&weights);
        field.race(1, requests, |field, _| {
            least_busy(&field.schedule, &field.cursor, weights.len(), |i| field.load(i), everybody).unwrap()
        });
        let total: f64 = weights.iter().map(|w| f64::from(*w)).sum();
        for (count, weight) in field.counts().iter().zip(&weights) {
            let exact = requests as f64 * f64::from(*weight) / total;
            // `count - 1` was not above anybody's load when the last one came.
            prop_assert!(f64::from(*count) <= exact + 1.0, "{:?} {:?}", weights, field.counts());
        }
    }

    /// With N workers a choice can be wrong by what the others are choosing at that moment: the
    /// busiest of equals is at most N above the least busy.
    #[test]
    fn workers_find_the_least_busy_within_their_number(
        endpoints in 2_usize..6,
        workers in 2_usize..=8,
    ) {
        let weights = vec![1; endpoints];
        let field = Field::new(&weights);
        field.race(workers, 300, |field, _| {
            least_busy(&field.schedule, &field.cursor, endpoints, |i| field.load(i), everybody).unwrap()
        });
        let counts = field.counts();
        let (most, least) = (counts.iter().max().unwrap(), counts.iter().min().unwrap());
        prop_assert!((most - least) as usize <= workers, "{} workers: {:?}", workers, counts);
    }

    /// Two choices keep equals close together, where one random choice would scatter them by the
    /// root of their number: within 8 + N of each other at 2,000 requests under way.
    #[test]
    fn two_choices_stay_close(endpoints in 2_usize..6, workers in 1_usize..=8) {
        let weights = vec![1; endpoints];
        let field = Field::new(&weights);
        field.race(workers, 2_000 / workers, |field, random| {
            less_busy_of_two(&field.schedule, random, |i| field.load(i), everybody).unwrap()
        });
        let counts = field.counts();
        let (most, least) = (counts.iter().max().unwrap(), counts.iter().min().unwrap());
        prop_assert!((most - least) as usize <= 8 + workers, "{} workers: {:?}", workers, counts);
    }

    /// Whatever is out, a policy finds an endpoint if there is one, and never one that is out or of
    /// weight 0.
    #[test]
    fn no_policy_takes_what_it_must_not_or_gives_up_early(
        weights in prop::collection::vec(prop_oneof![Just(0_u16), 1_u16..=1000], 0..40),
        out in any::<u64>(),
        random in any::<u64>(),
    ) {
        let field = Field::new(&weights);
        let open = |index: u16| out & (1 << index) == 0;
        let any = weights.iter().enumerate().any(|(i, w)| *w > 0 && open(i as u16));
        let load = |index| field.load(index);
        let endpoints = weights.iter().enumerate().filter(|(i, _)| open(*i as u16));
        let endpoints = endpoints.map(|(i, w)| (i as u16, hash(&[i as u8]), f64::from(*w)));
        for choice in [
            next_turn(&field.schedule, &field.cursor, open),
            least_busy(&field.schedule, &field.cursor, weights.len(), load, open),
            less_busy_of_two(&field.schedule, random, load, open),
            rendezvous(Key::of(&random.to_be_bytes()), endpoints),
        ] {
            prop_assert_eq!(choice.is_some(), any);
            if let Some(index) = choice {
                prop_assert!(open(index) && weights[usize::from(index)] > 0);
            }
        }
    }
}

#[test]
fn among_equally_busy_ones_turns_decide() {
    let field = Field::new(&[5, 1, 1]);
    // Nothing is ever under way: plain round robin, as with nginx.
    let taken: Mutex<Vec<u16>> = Mutex::default();
    for _ in 0..7 {
        let load = |i| field.load(i);
        let index = least_busy(&field.schedule, &field.cursor, 3, load, everybody).unwrap();
        taken.lock().unwrap().push(index);
    }
    assert_eq!(*taken.lock().unwrap(), [0, 0, 1, 0, 2, 0, 0]);
}
