//! All shards, and the room they share.
//!
//! A lookup takes the lock of one shard of up to 256 for some tens of nanoseconds. Room is made before anything is
//! allocated, without a lock held, from one shard after the other.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::account::{Account, Charge};
use super::object::{Ident, Key, Object};
use super::owner::{Owner, Owners, Rules};
use super::shard::{Debris, New, SHARD_COST, Shard, Slot, Tags};
use super::stats::Cause;

#[derive(Debug)]
pub(super) struct Index {
    shards: Box<[Mutex<Shard>]>,
    /// Which shard gives next.
    hand: AtomicUsize,
    hasher: RandomState,
    ids: AtomicU64,
    pub(super) memory: Arc<Account>,
    pub(super) owners: Owners,
    pub(super) rules: Rules,
    /// Only half of the memory is for the index.
    index: Arc<Account>,
    _base: Option<Charge>,
}

impl Index {
    pub(super) fn new(memory_max: u64, first_id: u64) -> Self {
        let shards = shards(memory_max);
        let memory = Account::new(memory_max);
        Self {
            _base: memory.charge(base_cost(memory_max)),
            shards: (0..shards).map(|_| Mutex::new(Shard::new())).collect(),
            hand: AtomicUsize::new(0),
            hasher: RandomState::new(),
            ids: AtomicU64::new(first_id),
            memory,
            owners: Owners::default(),
            rules: Rules::new(),
            index: Account::new(memory_max / 2),
        }
    }

    /// Each is larger than all before.
    pub(super) fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Relaxed)
    }

    /// Ids from now on are at least `first`; says what the next would have been.
    pub(super) fn ids_from(&self, first: u64) -> u64 {
        self.ids.fetch_max(first, Relaxed).max(first)
    }

    /// Keyed by what each process draws anew: nobody can choose keys that collide.
    pub(super) fn hash(&self, bytes: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(bytes);
        hasher.finish()
    }

    /// As [`hash`](Self::hash), never 0.
    pub(super) fn hash32(&self, bytes: &[u8]) -> u32 {
        ((self.hash(bytes) >> 16) as u32).max(1)
    }

    pub(super) fn key<'a>(
        &self,
        bytes: &'a [u8],
        host: &'a [u8],
        owner: &'a Arc<Owner>,
    ) -> Key<'a> {
        let hash = self.hash(bytes);
        Key {
            bytes,
            host,
            owner,
            hash,
        }
    }

    pub(super) fn shard(&self, hash: u64) -> MutexGuard<'_, Shard> {
        lock(&self.shards[hash as usize & (self.shards.len() - 1)])
    }

    pub(super) fn shards(&self) -> impl Iterator<Item = MutexGuard<'_, Shard>> {
        self.shards.iter().map(lock)
    }

    /// Charges `bytes`, evicting what has to go. Nothing if that much cannot be freed: what is evicted may still be read,
    /// and counts until then.
    pub(super) fn room(&self, bytes: u64, debris: &mut Debris) -> Option<Charge> {
        if bytes > self.memory.max() {
            return None;
        }
        for _ in 0..EVICTIONS {
            if let Some(charge) = self.memory.charge(bytes) {
                return Some(charge);
            }
            if !self.evict(None, Cause::Memory, debris, Shard::evict_memory) {
                break;
            }
            debris.objects.clear();
        }
        self.memory.charge(bytes)
    }

    /// Room for files, from the owner's own or from anybody's.
    pub(super) fn evict_disk(
        &self,
        owner: Option<&Owner>,
        cause: Cause,
        debris: &mut Debris,
    ) -> bool {
        self.evict(owner, cause, debris, Shard::evict_disk)
    }

    pub(super) fn evict_memory(&self, owner: &Owner, debris: &mut Debris) -> bool {
        self.evict(Some(owner), Cause::Quota, debris, Shard::evict_memory)
    }

    /// From the heavier of two shards: evicting from each in turn would let their weights drift apart for ever.
    fn evict(
        &self,
        owner: Option<&Owner>,
        cause: Cause,
        debris: &mut Debris,
        evict: fn(&mut Shard, Option<&Owner>, Cause, &mut Debris) -> bool,
    ) -> bool {
        let (shards, hand) = (self.shards.len(), self.hand.fetch_add(1, Relaxed));
        // Weyl's sequence: any pair comes, by and by.
        let pair = [
            hand % shards,
            (hand.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) % shards,
        ];
        let [one, two] = pair.map(|at| lock(&self.shards[at]).weight(owner));
        let heavier = if two > one { pair[1] } else { pair[0] };
        let others = (1..shards).map(|step| (heavier + step) % shards);
        for at in std::iter::once(heavier).chain(others) {
            if evict(&mut lock(&self.shards[at]), owner, cause, debris) {
                return true;
            }
        }
        false
    }

    /// Takes `weight` of the owner's quota in memory, at the expense of its other entries.
    fn quota(&self, owner: &Owner, weight: u64, debris: &mut Debris) -> bool {
        for _ in 0..EVICTIONS {
            if weight > owner.quota() {
                return false;
            }
            if owner.take_memory(weight) {
                return true;
            }
            if !self.evict(Some(owner), Cause::Quota, debris, Shard::evict_memory) {
                break;
            }
        }
        false
    }

    /// Makes an entry. False, with everything as it was, if a newer one is there or there is no room for it.
    pub(super) fn insert(&self, mut new: New, debris: &mut Debris) -> bool {
        let owner = Arc::clone(&new.owner);
        let weight = new
            .object
            .as_ref()
            .map_or(0, |(_, weight)| u64::from(*weight));
        if !self.quota(&owner, weight, debris) {
            // It may still be on disk.
            new.object = None;
            if new.disk.is_none() {
                return false;
            }
        }
        let taken = new.object.is_some();
        let inserted = self.insert_weighed(new, debris);
        if !inserted && taken {
            owner.give_memory(weight);
        }
        inserted
    }

    fn insert_weighed(&self, new: New, debris: &mut Debris) -> bool {
        let (hash, resident) = (new.hash, new.object.is_some());
        for _ in 0..4 {
            let mut shard = self.shard(hash);
            let cost = shard.growth(resident);
            if cost == 0 {
                return shard.insert(new, debris);
            }
            drop(shard);
            let Some(charge) = self.index_room(cost, hash, debris) else {
                continue; // A place has been made in the shard instead.
            };
            let mut shard = self.shard(hash);
            if shard.growth(resident) == cost {
                shard.grow(resident, charge);
            }
        }
        false
    }

    /// Room for the index to grow; where there is none, something in the shard of `hash` goes.
    fn index_room(&self, cost: u64, hash: u64, debris: &mut Debris) -> Option<(Charge, Charge)> {
        if let Some(index) = self.index.charge(cost)
            && let Some(charge) = self.room(cost, debris)
        {
            return Some((charge, index));
        }
        let mut shard = self.shard(hash);
        if !shard.evict_disk(None, Cause::Memory, debris) {
            shard.evict_memory(None, Cause::Memory, debris);
        }
        None
    }

    /// Puts an object into memory whose entry is on disk already, or is refreshed.
    pub(super) fn keep(&self, hash: u64, object: &Arc<Object>, debris: &mut Debris) -> bool {
        let Ok(weight) = u32::try_from(object.weight()) else {
            return false;
        };
        let owner = &object.ident.owner;
        if !self.quota(owner, weight.into(), debris) {
            return false;
        }
        let mut shard = self.shard(hash);
        let cost = shard.growth_resident();
        if cost != 0 {
            drop(shard);
            let charge = self.index.charge(cost);
            let charge = charge.and_then(|index| Some((self.room(cost, debris)?, index)));
            shard = self.shard(hash);
            if let Some(charge) = charge
                && shard.growth_resident() == cost
            {
                shard.grow_resident(charge);
            }
        }
        let kept = shard.in_memory(hash, object, weight, debris);
        if !kept {
            owner.give_memory(weight.into());
        }
        kept
    }

    /// What an object's entry is made of.
    pub(super) fn entry(&self, hash: u64, id: u64, ident: &Ident, used: u32) -> Option<New> {
        let (rule, variant) = match ident.varies() {
            true => (self.rules.number(&ident.rule)?, self.hash32(&ident.variant)),
            false => (0, 0),
        };
        let tags = match ident.tags.len() {
            0 => None,
            count => Some(Tags {
                _charge: self.memory.charge(count as u64 * 4 + TAGS_COST)?,
                hashes: ident.tags.iter().map(|tag| self.hash32(tag)).collect(),
            }),
        };
        Some(New {
            hash,
            id,
            variant,
            rule,
            host: self.hash32(&ident.host),
            used,
            stale: false,
            owner: Arc::clone(&ident.owner),
            tags,
            object: None,
            disk: None,
            found: false,
        })
    }

    /// Removes all that are chosen, some at a time; `clear` gets what is left of them, without a lock held.
    pub(super) fn sweep(
        &self,
        cause: Cause,
        chosen: &dyn Fn(&Slot, u16, &[u32]) -> bool,
        clear: &mut dyn FnMut(Debris),
    ) {
        for shard in &self.shards {
            let mut from = Some(0);
            while let Some(at) = from {
                let mut debris = Debris::default();
                from = lock(shard).sweep(at, cause, &mut debris, chosen);
                clear(debris);
            }
        }
    }
}

fn shards(memory_max: u64) -> u64 {
    (memory_max / SHARD_SHARE)
        .next_power_of_two()
        .clamp(1, SHARDS)
}

/// What an empty index takes.
pub(super) fn base_cost(memory_max: u64) -> u64 {
    (shards(memory_max) * SHARD_COST).min(memory_max)
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    // Nothing in a shard panics half way, but for a fault in its own bookkeeping.
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

const SHARDS: u64 = 256;
/// One shard for so many bytes of memory.
const SHARD_SHARE: u64 = 1024 * 1024;
/// So many evictions at most for one thing that wants in.
const EVICTIONS: usize = 512;
/// A list of tags in a shard's map.
const TAGS_COST: u64 = 160;
