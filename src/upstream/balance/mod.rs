//! The policies, each a small function over a [`Schedule`] and what it is told of the endpoints: no
//! clock, no socket, and no state but a cursor that the caller owns.
//!
//! `open` says whether an endpoint may be taken at all; an endpoint of weight 0 never is.

mod hash;
mod schedule;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};

pub use hash::Key;
pub(super) use hash::{hash, rendezvous};
pub use schedule::Schedule;

/// How one request wants its endpoint chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// Whose turn it is.
    Turn,
    /// The least busy for its weight; among equals, whose turn it is.
    LeastBusy,
    /// The less busy of two drawn with these random bits.
    Random(u64),
    /// Always the same one for this key.
    Key(Key),
}

/// Requests under way, to be seen in proportion to a weight above 0.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    pub(super) busy: u32,
    pub(super) weight: u16,
}

impl Load {
    fn is_below(self, other: Self) -> bool {
        u64::from(self.busy) * u64::from(other.weight)
            < u64::from(other.busy) * u64::from(self.weight)
    }
}

/// Whose turn it is, out or not.
#[inline]
pub(super) fn turn(schedule: &Schedule, cursor: &AtomicU64) -> Option<u16> {
    match schedule.len() {
        0 => None,
        // Nothing to share, so nothing to write to.
        1 => Some(schedule.at(0)),
        _ => Some(schedule.at(cursor.fetch_add(1, Ordering::Relaxed))),
    }
}

/// Whose turn it is of those that are open.
///
/// A turn that cannot be taken is used up, not handed to the next in line: otherwise whoever stands
/// behind an endpoint that is out would get its whole share.
pub fn next_turn(
    schedule: &Schedule,
    cursor: &AtomicU64,
    open: impl Fn(u16) -> bool,
) -> Option<u16> {
    let turns = schedule.len() as u64;
    if turns < 2 {
        return (0..turns).map(|at| schedule.at(at)).find(|one| open(*one));
    }
    let mut at = 0;
    for _ in 0..turns.min(MAX_SKIPS) {
        at = cursor.fetch_add(1, Ordering::Relaxed);
        let index = schedule.at(at);
        if open(index) {
            return Some(index);
        }
    }
    // Other workers took turns in between, or many are out: look at everybody once.
    let mut rest = (1..=turns).map(|step| schedule.at(at.wrapping_add(step)));
    rest.find(|index| open(*index))
}

/// The least busy of `count` endpoints for its weight; among equals, whose turn it is (nginx
/// `least_conn`).
pub(super) fn least_busy(
    schedule: &Schedule,
    cursor: &AtomicU64,
    count: usize,
    load: impl Fn(u16) -> Load,
    open: impl Fn(u16) -> bool,
) -> Option<u16> {
    let candidates = (0..count as u16)
        .map(|index| (index, load(index)))
        .filter(|(index, load)| load.weight > 0 && open(*index));
    let mut least: Option<(u16, Load)> = None;
    for (index, load) in candidates {
        if least.is_none_or(|(_, least)| load.is_below(least)) {
            least = Some((index, load));
        }
    }
    let (first, least) = least?;
    // Read again: what other workers took meanwhile is no longer among the least. If that is all of
    // them, the first found is as good as any.
    let among = |index: u16| open(index) && !least.is_below(load(index));
    next_turn(schedule, cursor, among).or(Some(first))
}

/// The less busy of two that are drawn by weight (the power of two choices).
pub(super) fn less_busy_of_two(
    schedule: &Schedule,
    random: u64,
    load: impl Fn(u16) -> Load,
    open: impl Fn(u16) -> bool,
) -> Option<u16> {
    let first = draw(schedule, hash::mix(random), &open)?;
    let other = |index: u16| index != first && open(index);
    match draw(schedule, hash::mix(!random), other) {
        Some(second) if load(second).is_below(load(first)) => Some(second),
        _ => Some(first),
    }
}

/// An open endpoint by weight.
fn draw(schedule: &Schedule, random: u64, open: impl Fn(u16) -> bool) -> Option<u16> {
    if schedule.is_empty() {
        return None;
    }
    let mut at = random;
    for _ in 0..MAX_DRAWS {
        let index = schedule.at(at);
        if open(index) {
            return Some(index);
        }
        at = hash::mix(at);
    }
    // Nearly all of the weight is out.
    let mut all = (0..schedule.len() as u64).map(|step| schedule.at(at.wrapping_add(step)));
    all.find(|index| open(*index))
}

/// True for a share of `warmth` of all `rolls`. By a hash, so that it falls into step with no schedule.
pub(super) fn chance(roll: u64, warmth: f64) -> bool {
    (hash::mix(roll) >> 11) as f64 / ((1_u64 << 53) as f64) < warmth
}

/// Turns one request uses up before it takes any that will do.
const MAX_SKIPS: u64 = 64;
/// Draws before the same.
const MAX_DRAWS: u32 = 8;
