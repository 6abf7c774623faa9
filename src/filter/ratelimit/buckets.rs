//! Buckets of all limits and clients: a table of fixed size, written by all workers without a lock.
//!
//! It is set associative, as a processor's cache is: a key has eight slots to be in, and takes the place of the one
//! that is emptiest. Its memory comes in pieces as keys do, up to [`Buckets::SLOTS`] of 16 bytes.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Times at which buckets are empty, by a keyed hash of whose they are.
#[derive(Debug)]
pub struct Buckets {
    pieces: Box<[OnceLock<Box<[Set; SETS]>>]>,
    hasher: RandomState,
    start: Instant,
    /// Buckets that others took the place of before they were empty.
    pushed_out: AtomicU64,
}

/// Two cache lines.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Set([Slot; WAYS]);

#[derive(Debug, Default)]
struct Slot {
    /// [`EMPTY`], [`TAKEN`] or a hash.
    key: AtomicU64,
    /// As [`Buckets::since`].
    level: AtomicU64,
}

impl Buckets {
    /// Clients that are told apart at a time: 16 MiB, once all are.
    pub const SLOTS: usize = PIECES * SETS * WAYS;

    pub fn new(start: Instant) -> Self {
        Self {
            pieces: (0..PIECES).map(|_| OnceLock::new()).collect(),
            hasher: RandomState::new(),
            start,
            pushed_out: AtomicU64::new(0),
        }
    }

    /// Nobody outside can choose what it comes to.
    pub fn hash(&self, key: &impl Hash) -> u64 {
        self.hasher.hash_one(key)
    }

    /// `now`, in nanoseconds since long before the start: a level of 0 is past by any limit's interval.
    pub fn since(&self, now: Instant) -> u64 {
        let time = now.saturating_duration_since(self.start) + BEFORE;
        u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
    }

    /// Buckets that were given up before they were empty, because there were too many.
    pub fn pushed_out(&self) -> u64 {
        self.pushed_out.load(Ordering::Relaxed)
    }

    /// When the bucket of `key` is empty; 0 where nobody has it.
    pub fn level(&self, key: u64) -> u64 {
        let key = key.max(LEAST_KEY);
        let Some(set) = self.piece(key).get().map(|sets| &sets[set(key)]) else {
            return 0;
        };
        let slot = set.0.iter().find(|slot| slot.is(key));
        slot.map_or(0, |slot| slot.level.load(Ordering::Relaxed))
    }

    /// Moves the bucket of `key` to the level that `next` makes of the one it has, unless that is an error. 0 stands
    /// for a bucket that nobody has. `next` may be asked again, when another worker has been faster.
    pub fn fill<T, E>(
        &self,
        key: u64,
        now: u64,
        next: impl Fn(u64) -> Result<(u64, T), E>,
    ) -> Result<T, E> {
        let key = key.max(LEAST_KEY);
        let sets = self
            .piece(key)
            .get_or_init(|| Box::new(std::array::from_fn(|_| Set::default())));
        let slots = &sets[set(key)].0;
        loop {
            if let Some(slot) = slots.iter().find(|slot| slot.is(key)) {
                let mut level = slot.level.load(Ordering::Relaxed);
                loop {
                    let (to, told) = next(level)?;
                    let swap = slot.level.compare_exchange_weak(
                        level,
                        to,
                        Ordering::Relaxed,
                        Ordering::Relaxed,
                    );
                    match swap {
                        Ok(_) => return Ok(told),
                        // Another key has taken its place.
                        Err(_) if !slot.is(key) => break,
                        Err(other) => level = other,
                    }
                }
                continue;
            }
            let (to, told) = next(0)?;
            let (slot, before) = emptiest(slots);
            // Who loses looks again: another may have put the same key there.
            let taken =
                slot.key
                    .compare_exchange(before, TAKEN, Ordering::Acquire, Ordering::Relaxed);
            if before != TAKEN && taken.is_ok() {
                if before != EMPTY && slot.level.load(Ordering::Relaxed) > now {
                    self.pushed_out.fetch_add(1, Ordering::Relaxed);
                }
                slot.level.store(to, Ordering::Relaxed);
                slot.key.store(key, Ordering::Release);
                return Ok(told);
            }
            std::hint::spin_loop();
        }
    }

    fn piece(&self, key: u64) -> &OnceLock<Box<[Set; SETS]>> {
        // The highest bits; `set` has the next ones.
        &self.pieces[(key >> (u64::BITS - PIECES.ilog2())) as usize]
    }
}

impl Slot {
    fn is(&self, key: u64) -> bool {
        self.key.load(Ordering::Acquire) == key
    }
}

fn set(key: u64) -> usize {
    (key >> (u64::BITS - (PIECES * SETS).ilog2())) as usize % SETS
}

/// A free slot, or that which is empty first; and whose it is.
fn emptiest(slots: &[Slot; WAYS]) -> (&Slot, u64) {
    let mut best = (&slots[0], TAKEN, u64::MAX);
    for slot in slots {
        let key = slot.key.load(Ordering::Relaxed);
        let level = match key {
            EMPTY => return (slot, EMPTY),
            // It will be somebody's in a moment.
            TAKEN => continue,
            _ => slot.level.load(Ordering::Relaxed),
        };
        if level < best.2 {
            best = (slot, key, level);
        }
    }
    (best.0, best.1)
}

/// More than the longest interval, a day.
const BEFORE: Duration = Duration::from_secs(2 * 86_400);
const EMPTY: u64 = 0;
/// Somebody is about to write it.
const TAKEN: u64 = 1;
const LEAST_KEY: u64 = 2;
const WAYS: usize = 8;
/// Sets of a piece: 2 KiB.
const SETS: usize = 16;
const PIECES: usize = 8192;
