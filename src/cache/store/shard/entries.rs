//! Entries: how they come, move between the tiers, and are found by hash.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Debris, New, Resident, Shard, Slot, VARIANTS};
use crate::cache::store::account::Charge;
use crate::cache::store::object::Object;
use crate::cache::store::owner::Owner;
use crate::cache::store::slab::{Link, NONE, Place, Slab};
use crate::cache::store::stats::Cause;

impl Shard {
    /// What has to be charged before [`insert`](Self::insert) is sure to find room; 0 if nothing.
    pub(in crate::cache::store) fn growth(&self, resident: bool) -> u64 {
        let mut cost = 0;
        if self.slots.is_full() {
            cost += Slab::<Slot>::CHUNK_COST + self.more_buckets() as u64 * 4;
        }
        if resident && self.residents.is_full() {
            cost += Slab::<Resident>::CHUNK_COST;
        }
        cost
    }

    /// Grows by what [`growth`](Self::growth) has said.
    pub(in crate::cache::store) fn grow(&mut self, resident: bool, charge: (Charge, Charge)) {
        if self.slots.is_full() {
            let buckets = self.buckets.len() + self.more_buckets();
            self.slots.grow();
            if buckets > self.buckets.len() {
                self.rehash(buckets);
            }
        }
        if resident && self.residents.is_full() {
            self.residents.grow();
        }
        match &mut self.charge {
            Some(all) => {
                all.0.merge(charge.0);
                all.1.merge(charge.1);
            }
            none => *none = Some(charge),
        }
    }

    pub(in crate::cache::store) fn growth_resident(&self) -> u64 {
        if self.residents.is_full() {
            Slab::<Resident>::CHUNK_COST
        } else {
            0
        }
    }

    /// Grows by what [`growth_resident`](Self::growth_resident) has said; only while there are entries.
    pub(in crate::cache::store) fn grow_resident(&mut self, charge: (Charge, Charge)) {
        if let Some(all) = &mut self.charge {
            self.residents.grow();
            all.0.merge(charge.0);
            all.1.merge(charge.1);
        }
    }

    /// Nothing where a newer one is there already, or no room.
    pub(in crate::cache::store) fn insert(&mut self, new: New, debris: &mut Debris) -> bool {
        if self.growth(new.object.is_some()) != 0 || !self.yield_to(&new, debris) {
            return false;
        }
        let slot = Slot {
            hash: new.hash,
            id: new.id,
            variant: new.variant,
            host: new.host,
            used: new.used,
            memory: NONE,
            rule: new.rule,
            stale: new.stale,
            tagged: new.tags.is_some(),
            ..Slot::default()
        };
        let Some(at) = self.slots.insert(slot) else {
            return false;
        };
        self.slots[at].link.owner = new.owner.id();
        let bucket = self.bucket(new.hash);
        self.slots[at].chain = std::mem::replace(&mut self.buckets[bucket], at);
        if let Some(tags) = new.tags {
            self.tags.insert(at, tags);
        }
        if let Some(weight) = new.disk {
            self.place_disk(at, weight, &new.owner, new.found);
        }
        if let Some((object, weight)) = new.object {
            self.place_memory(at, object, weight, &new.owner);
        }
        true
    }

    /// Removes what `new` replaces; false if it is `new` that has to yield.
    fn yield_to(&mut self, new: &New, debris: &mut Debris) -> bool {
        let replaced = |slot: &Slot| slot.rule != new.rule || slot.variant == new.variant;
        let all = self.chain(new.hash).map(|at| &self.slots[at]);
        if all
            .filter(|slot| replaced(slot))
            .any(|slot| slot.id >= new.id)
        {
            return false;
        }
        self.remove_chosen(new.hash, Cause::Replaced, debris, replaced);
        if self.chain(new.hash).count() >= VARIANTS {
            let oldest = self.chain(new.hash).min_by_key(|at| self.slots[*at].id);
            if let Some(oldest) = oldest {
                self.remove(oldest, Cause::Variants, debris);
            }
        }
        true
    }

    fn place_disk(&mut self, at: u32, weight: u32, owner: &Arc<Owner>, found: bool) {
        self.slots[at].link.weight = weight;
        let known = found || self.disk_ghost.take(self.slots[at].hash);
        self.disk.push(&mut self.slots, at, owner, known);
    }

    fn place_memory(&mut self, at: u32, object: Arc<Object>, weight: u32, owner: &Arc<Owner>) {
        let known = self.memory_ghost.take(self.slots[at].hash);
        let resident = Resident {
            link: Link {
                weight,
                ..Link::default()
            },
            slot: at,
            object: Some(object),
        };
        let Some(resident) = self.residents.insert(resident) else {
            owner.give_memory(weight.into());
            return; // There is room, as those who call have seen to.
        };
        self.slots[at].memory = resident;
        self.memory
            .push(&mut self.residents, resident, owner, known);
    }

    /// The entry `id` has a file of that weight now. Says whether it is stale; nothing if there is no such entry any more.
    pub(in crate::cache::store) fn on_disk(
        &mut self,
        hash: u64,
        id: u64,
        weight: u32,
        owner: &Arc<Owner>,
    ) -> Option<bool> {
        let at = self.chain(hash).find(|at| self.slots[*at].id == id)?;
        if self.slots[at].link.place != Place::Nowhere {
            return None;
        }
        self.place_disk(at, weight, owner, false);
        Some(self.slots[at].stale)
    }

    /// Puts into memory what was read from the file of entry `id`, or takes the place of what is there. The weight has been
    /// taken from the owner's quota; false gives it back to who calls.
    pub(in crate::cache::store) fn in_memory(
        &mut self,
        hash: u64,
        object: &Arc<Object>,
        weight: u32,
        debris: &mut Debris,
    ) -> bool {
        let at = self.chain(hash).find(|at| self.slots[*at].id == object.id);
        let Some(at) = at else {
            return false;
        };
        self.leave_memory(at, debris);
        if self.residents.is_full() {
            return false; // It had no place, so it has a file.
        }
        self.place_memory(at, Arc::clone(object), weight, &object.ident.owner);
        true
    }

    pub(super) fn leave_memory(&mut self, at: u32, debris: &mut Debris) {
        let resident = std::mem::replace(&mut self.slots[at].memory, NONE);
        if resident == NONE {
            return;
        }
        if let Some(owner) = self.memory.remove(&mut self.residents, resident) {
            owner.give_memory(u64::from(self.residents[resident].link.weight));
        }
        debris
            .objects
            .extend(self.residents.remove(resident).object);
    }

    pub(super) fn remove(&mut self, at: u32, cause: Cause, debris: &mut Debris) {
        self.counts.evicted(cause);
        self.leave_memory(at, debris);
        let (id, weight) = (self.slots[at].id, self.slots[at].link.weight);
        if let Some(owner) = self.disk.remove(&mut self.slots, at) {
            debris.files.push((id, weight, owner));
        }
        if self.slots[at].tagged {
            self.tags.remove(&at);
        }
        self.unchain(at);
        self.slots.remove(at);
    }

    /// An empty shard takes nothing.
    pub(super) fn tidy(&mut self) {
        if self.slots.len() > 0 {
            return;
        }
        self.slots.clear();
        self.residents.clear();
        (self.buckets, self.tags, self.charge) = (Vec::new(), HashMap::new(), None);
    }

    fn unchain(&mut self, at: u32) {
        let (bucket, next) = (self.bucket(self.slots[at].hash), self.slots[at].chain);
        if self.buckets[bucket] == at {
            self.buckets[bucket] = next;
            return;
        }
        let mut before = self.buckets[bucket];
        while self.slots[before].chain != at {
            before = self.slots[before].chain;
        }
        self.slots[before].chain = next;
    }

    pub(super) fn chain(&self, hash: u64) -> impl Iterator<Item = u32> {
        let first = self.buckets.get(self.bucket(hash)).copied();
        let known = |at: &u32| *at != NONE;
        let all = std::iter::successors(first.filter(known), move |at| {
            Some(self.slots[*at].chain).filter(known)
        });
        all.filter(move |at| self.slots[*at].hash == hash)
    }

    pub(super) fn first(&self, hash: u64) -> Option<u32> {
        self.chain(hash).next()
    }

    pub(super) fn with(&self, hash: u64, (rule, variant): (u16, u32)) -> Option<u32> {
        let fits = |at: &u32| self.slots[*at].rule == rule && self.slots[*at].variant == variant;
        self.chain(hash).find(fits)
    }

    /// The lower bits choose the shard.
    fn bucket(&self, hash: u64) -> usize {
        (hash >> 20) as usize & self.buckets.len().wrapping_sub(1)
    }

    /// Buckets to add before the next chunk of slots: as many as there are, once there is less than one for each slot.
    fn more_buckets(&self) -> usize {
        let slots = self.slots.capacity() + 64;
        if slots > self.buckets.len() {
            self.buckets.len().max(64)
        } else {
            0
        }
    }

    fn rehash(&mut self, buckets: usize) {
        self.buckets = vec![NONE; buckets];
        for at in 0..self.slots.capacity() as u32 {
            if let Some(slot) = self.slots.get(at) {
                let bucket = self.bucket(slot.hash);
                self.slots[at].chain = std::mem::replace(&mut self.buckets[bucket], at);
            }
        }
    }
}
