//! A part of the index, under a lock of its own: entries by hash, who goes first in each tier, and what is under way.
//!
//! Nothing in here waits, allocates for a hit, or frees a body: what is removed is handed out as [`Debris`], to be dropped
//! and unlinked without the lock.

#[cfg(test)]
mod audit;
mod entries;
mod leave;

use std::collections::HashMap;
use std::sync::Arc;

use super::account::Charge;
use super::flight::Flight;
use super::lanes::{Ghost, Lanes};
use super::object::Object;
use super::owner::Owner;
use super::pool::Promise;
use super::slab::{Link, Linked, NONE, Slab};
use super::stats::Counts;

/// An entry of the index, 56 bytes. Its link is in a list of the disk tier while it has a file.
#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) hash: u64,
    pub(super) id: u64,
    link: Link,
    /// The next with the same place in `buckets`.
    chain: u32,
    /// Hash of the values it varies by; 0 where `rule` is 0.
    pub(super) variant: u32,
    pub(super) host: u32,
    /// When it was asked for last, in seconds of the store.
    pub(super) used: u32,
    /// Its resident, or [`NONE`].
    memory: u32,
    pub(super) rule: u16,
    pub(super) stale: bool,
    tagged: bool,
}

/// What an entry has in memory, 32 bytes. Its link is in a list of the memory tier.
#[derive(Debug, Default)]
struct Resident {
    link: Link,
    slot: u32,
    object: Option<Arc<Object>>,
}

/// An entry to be made. Its weight in memory has been taken from the owner's quota.
#[derive(Debug)]
pub(super) struct New {
    pub(super) hash: u64,
    pub(super) id: u64,
    pub(super) variant: u32,
    pub(super) rule: u16,
    pub(super) host: u32,
    pub(super) used: u32,
    pub(super) stale: bool,
    pub(super) owner: Arc<Owner>,
    pub(super) tags: Option<Tags>,
    /// With its weight in bytes.
    pub(super) object: Option<(Arc<Object>, u32)>,
    /// Weight of its file, in [`UNIT`](super::disk::UNIT)s.
    pub(super) disk: Option<u32>,
    /// From before the start: it enters the main queue, and yields to whatever is there.
    pub(super) found: bool,
}

/// Hashes of an entry's tags.
#[derive(Debug)]
pub(super) struct Tags {
    pub(super) hashes: Box<[u32]>,
    pub(super) _charge: Charge,
}

/// What is left of an entry that was removed.
#[derive(Debug, Default)]
pub(super) struct Debris {
    pub(super) objects: Vec<Arc<Object>>,
    /// Files to unlink: id, weight, owner.
    pub(super) files: Vec<(u64, u32, Arc<Owner>)>,
}

/// Where a key leads.
#[derive(Debug)]
pub(super) enum Look {
    Nowhere,
    /// To responses that vary by this rule.
    Varies(u16),
    Memory {
        object: Arc<Object>,
        stale: bool,
    },
    Disk {
        id: u64,
        stale: bool,
    },
}

pub(super) type Loading = Arc<Promise<Option<Arc<Object>>>>;

#[derive(Debug)]
pub(super) struct Shard {
    slots: Slab<Slot>,
    residents: Slab<Resident>,
    buckets: Vec<u32>,
    disk: Lanes,
    memory: Lanes,
    disk_ghost: Ghost,
    memory_ghost: Ghost,
    tags: HashMap<u32, Tags>,
    /// By hash and variant.
    pub(super) flights: HashMap<(u64, u32), Arc<Flight>>,
    /// Files that are being read into memory, by id.
    pub(super) loads: HashMap<u64, Loading>,
    /// Hashes of what was not storable lately, and until when.
    passes: Box<[(u32, u32)]>,
    pub(super) counts: Counts,
    /// For slots, residents and buckets: of all memory, and of the index's part.
    charge: Option<(Charge, Charge)>,
}

impl Shard {
    pub(super) fn new() -> Self {
        Self {
            slots: Slab::new(),
            residents: Slab::new(),
            buckets: Vec::new(),
            disk: Lanes::default(),
            memory: Lanes::default(),
            disk_ghost: Ghost::new(DISK_GHOSTS),
            memory_ghost: Ghost::new(MEMORY_GHOSTS),
            tags: HashMap::new(),
            flights: HashMap::new(),
            loads: HashMap::new(),
            passes: vec![(0, 0); PASSES].into(),
            counts: Counts::default(),
            charge: None,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn resident(&self) -> usize {
        self.residents.len()
    }

    /// Bytes that are charged for the index itself.
    pub(super) fn charged(&self) -> u64 {
        self.charge.as_ref().map_or(0, |(all, _)| all.amount())
    }

    /// What `hash` leads to: with `variant`, among those of this rule and these values. Counts as a use.
    pub(super) fn look(&mut self, hash: u64, variant: Option<(u16, u32)>, used: u32) -> Look {
        let Some(first) = self.first(hash) else {
            self.counts.misses += 1;
            return Look::Nowhere;
        };
        let at = match variant {
            None if self.slots[first].rule != 0 => return Look::Varies(self.slots[first].rule),
            None => first,
            Some(variant) => match self.with(hash, variant) {
                Some(at) => at,
                None => {
                    self.counts.misses += 1;
                    return Look::Nowhere;
                }
            },
        };
        self.hit(at, used)
    }

    fn hit(&mut self, at: u32, used: u32) -> Look {
        let slot = &mut self.slots[at];
        if slot.used < used {
            slot.used = used;
        }
        touch(&mut slot.link);
        let (memory, id, stale) = (slot.memory, slot.id, slot.stale);
        if memory == NONE {
            self.counts.disk_hits += 1;
            return Look::Disk { id, stale };
        }
        let resident = &mut self.residents[memory];
        touch(&mut resident.link);
        // One in use has an object; a file that is not there would be a miss.
        let Some(object) = resident.object.clone() else {
            return Look::Disk { id, stale };
        };
        self.counts.memory_hits += 1;
        Look::Memory { object, stale }
    }

    /// The newest entry for a key that a request with `variant` might be answered from: anybody's, where it is not known.
    pub(super) fn newest(&self, hash: u64, variant: u32) -> u64 {
        let fits = |slot: &&Slot| variant == 0 || slot.rule == 0 || slot.variant == variant;
        let slots = self.chain(hash).map(|at| &self.slots[at]);
        slots.filter(fits).map(|slot| slot.id).max().unwrap_or(0)
    }

    /// Remembers that the response for a hash was not storable.
    pub(super) fn pass(&mut self, hash: u64, until: u32) {
        let at = (hash >> 20) as usize % self.passes.len();
        self.passes[at] = ((hash >> 32) as u32, until);
    }

    pub(super) fn passes(&self, hash: u64, now: u32) -> bool {
        let (mark, until) = self.passes[(hash >> 20) as usize % self.passes.len()];
        mark == (hash >> 32) as u32 && now < until
    }
}

fn touch(link: &mut Link) {
    if link.hits < 3 {
        link.hits += 1;
    }
}

impl Linked for Slot {
    fn link(&self) -> &Link {
        &self.link
    }

    fn link_mut(&mut self) -> &mut Link {
        &mut self.link
    }
}

impl Linked for Resident {
    fn link(&self) -> &Link {
        &self.link
    }

    fn link_mut(&mut self) -> &mut Link {
        &mut self.link
    }
}

/// What a shard takes before anything is in it.
pub(super) const SHARD_COST: u64 =
    (size_of::<Shard>() + 64 + (DISK_GHOSTS + MEMORY_GHOSTS) * 4 + PASSES * 8 + 96) as u64;
/// Responses of one key that differ by `Vary`.
const VARIANTS: usize = 32;
/// Entries that a sweep looks at under one lock.
const STEP: u32 = 512;
const DISK_GHOSTS: usize = 2048;
const MEMORY_GHOSTS: usize = 1024;
const PASSES: usize = 64;
