//! How entries go, and what is changed of those that stay.

use super::{Debris, Resident, STEP, Shard, Slot};
use crate::cache::store::core::UNIT;
use crate::cache::store::owner::Owner;
use crate::cache::store::slab::Place;
use crate::cache::store::stats::Cause;

impl Shard {
    /// What it has in both tiers, of `owner` or of all; to be compared with other shards only.
    pub(in crate::cache::store) fn weight(&self, owner: Option<&Owner>) -> u64 {
        let disk = self.disk.weight(owner) * UNIT;
        self.memory.weight(owner) + disk
    }

    /// Evicts something from memory, of `owner` or of anybody; false if there is nothing.
    pub(in crate::cache::store) fn evict_memory(
        &mut self,
        owner: Option<&Owner>,
        cause: Cause,
        debris: &mut Debris,
    ) -> bool {
        let Some(resident) = self.memory.victim(&mut self.residents, owner) else {
            return false;
        };
        let Resident { link, slot, .. } = &self.residents[resident];
        let (at, newcomer) = (*slot, link.place == Place::Small);
        if newcomer {
            self.memory_ghost.add(self.slots[at].hash);
        }
        if self.slots[at].link.place == Place::Nowhere {
            self.remove(at, cause, debris);
        } else {
            self.leave_memory(at, debris);
            self.counts.evicted(cause);
        }
        self.tidy();
        true
    }

    /// Evicts something that has a file, of `owner` or of anybody, from both tiers; false if there is nothing.
    pub(in crate::cache::store) fn evict_disk(
        &mut self,
        owner: Option<&Owner>,
        cause: Cause,
        debris: &mut Debris,
    ) -> bool {
        let Some(at) = self.disk.victim(&mut self.slots, owner) else {
            return false;
        };
        if self.slots[at].link.place == Place::Small {
            self.disk_ghost.add(self.slots[at].hash);
        }
        self.remove(at, cause, debris);
        self.tidy();
        true
    }

    /// Removes all entries of a key for which `chosen` holds.
    pub(in crate::cache::store) fn remove_all(
        &mut self,
        hash: u64,
        cause: Cause,
        debris: &mut Debris,
        chosen: impl Fn(&Slot) -> bool,
    ) -> usize {
        let gone = self.remove_chosen(hash, cause, debris, chosen);
        self.tidy();
        gone
    }

    pub(super) fn remove_chosen(
        &mut self,
        hash: u64,
        cause: Cause,
        debris: &mut Debris,
        chosen: impl Fn(&Slot) -> bool,
    ) -> usize {
        let all = self.chain(hash).filter(|at| chosen(&self.slots[*at]));
        let all: Vec<u32> = all.collect();
        for at in &all {
            self.remove(*at, cause, debris);
        }
        all.len()
    }

    /// Marks all entries of a key as stale, and says their ids.
    pub(in crate::cache::store) fn mark_stale(&mut self, hash: u64) -> Vec<u64> {
        let all: Vec<u32> = self.chain(hash).collect();
        let mark = |at| {
            let slot: &mut Slot = &mut self.slots[at];
            slot.stale = true;
            slot.id
        };
        all.into_iter().map(mark).collect()
    }

    pub(in crate::cache::store) fn is_stale(&self, hash: u64, id: u64) -> bool {
        let at = self.chain(hash).find(|at| self.slots[*at].id == id);
        at.is_some_and(|at| self.slots[at].stale)
    }

    /// Takes the mark off again; false if there is no entry `id`.
    pub(in crate::cache::store) fn refreshed(&mut self, hash: u64, id: u64, used: u32) -> bool {
        let at = self.chain(hash).find(|at| self.slots[*at].id == id);
        if let Some(at) = at {
            self.slots[at].stale = false;
            self.slots[at].used = used;
        }
        at.is_some()
    }

    /// Looks at up to [`STEP`] entries from `from` on and removes the chosen; says where to go on.
    pub(in crate::cache::store) fn sweep(
        &mut self,
        from: u32,
        cause: Cause,
        debris: &mut Debris,
        chosen: &dyn Fn(&Slot, u16, &[u32]) -> bool,
    ) -> Option<u32> {
        let end = (from + STEP).min(self.slots.capacity() as u32);
        for at in from..end {
            let Some(slot) = self.slots.get(at) else {
                continue;
            };
            let tags = if slot.tagged {
                self.tags.get(&at)
            } else {
                None
            };
            if chosen(slot, slot.link.owner, tags.map_or(&[], |tags| &tags.hashes)) {
                self.remove(at, cause, debris);
            }
        }
        let more = end < self.slots.capacity() as u32;
        self.tidy();
        (more && self.slots.len() > 0).then_some(end)
    }
}
