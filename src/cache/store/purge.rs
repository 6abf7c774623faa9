//! Entries that are to go: by key, host, tag or owner, or all.

use std::sync::{Arc, PoisonError};

use super::core::Core;
use super::flight::Flight;
use super::owner::Owner;
use super::shard::Debris;
use super::stats::Cause;

/// What is purged.
#[derive(Clone, Debug)]
pub enum Purge {
    /// All variants of a key.
    Key(Box<[u8]>),
    Host(Box<[u8]>),
    Tag(Box<[u8]>),
    /// A route: its app has been deployed anew.
    Owner(Arc<Owner>),
    All,
}

/// A purge by what the index knows.
#[derive(Clone, Copy, Debug)]
enum Hashed {
    Key(u64),
    Host(u32),
    Tag(u32),
    Owner(u16),
    All,
}

impl Core {
    /// Removes what is chosen, and what is being fetched is not stored; when this returns, it is on disk no more. Says how
    /// many entries there were. Waits for the disk.
    pub(super) fn purge(self: &Arc<Self>, purge: &Purge) -> u64 {
        self.remember(purge);
        let hashed = self.hashed(purge);
        for flight in self.flights(hashed) {
            flight.doom();
        }
        if let Hashed::Key(hash) = hashed {
            let mut debris = Debris::default();
            let all = |_: &super::shard::Slot| true;
            let gone = self
                .index
                .shard(hash)
                .remove_all(hash, Cause::Purged, &mut debris, all);
            self.discard_here(debris);
            return gone as u64;
        }
        let before = self.purged();
        let chosen = |slot: &super::shard::Slot, owner: u16, tags: &[u32]| {
            hashed.chooses(slot.hash, slot.host, owner, tags)
        };
        self.index.sweep(Cause::Purged, &chosen, &mut |debris| {
            self.discard_here(debris);
        });
        self.purged() - before
    }

    /// Removes all variants of a key, without waiting for the disk.
    pub(super) fn invalidate(self: &Arc<Self>, key: &[u8]) -> bool {
        let hash = self.index.hash(key);
        self.remember(&Purge::Key(key.into()));
        for flight in self.flights(Hashed::Key(hash)) {
            flight.doom();
        }
        let mut debris = Debris::default();
        let all = |_: &super::shard::Slot| true;
        let gone = self
            .index
            .shard(hash)
            .remove_all(hash, Cause::Purged, &mut debris, all);
        self.discard(debris);
        gone > 0
    }

    /// All variants of a key have to be asked about before they are used again.
    pub(super) fn mark_stale(self: &Arc<Self>, key: &[u8]) -> bool {
        let hash = self.index.hash(key);
        self.remember(&Purge::Key(key.into()));
        for flight in self.flights(Hashed::Key(hash)) {
            flight.doom();
        }
        let ids = self.index.shard(hash).mark_stale(hash);
        let marked = !ids.is_empty();
        if marked && self.disk.get().is_some() {
            let core = Arc::clone(self);
            self.pool.must(move || core.write_marks(&ids));
        }
        marked
    }

    /// For files that are not in the index yet.
    fn remember(&self, purge: &Purge) {
        let Some(disk) = self.disk.get() else {
            return;
        };
        let mut purges = disk.purges.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(purges) = &mut *purges {
            if purges.len() >= PURGES {
                *purges = vec![Purge::All];
            }
            purges.push(purge.clone());
        }
    }

    /// Whether a file that was found has been purged already.
    pub(super) fn is_purged(&self, purges: &[Purge], new: &super::shard::New) -> bool {
        let tags = new.tags.as_ref().map_or(&[] as &[u32], |tags| &tags.hashes);
        let chosen = |purge| {
            self.hashed(purge)
                .chooses(new.hash, new.host, new.owner.id(), tags)
        };
        purges.iter().any(chosen)
    }

    fn purged(&self) -> u64 {
        self.index
            .shards()
            .map(|shard| shard.counts.of(Cause::Purged))
            .sum()
    }

    fn hashed(&self, purge: &Purge) -> Hashed {
        match purge {
            Purge::Key(key) => Hashed::Key(self.index.hash(key)),
            Purge::Host(host) => Hashed::Host(self.index.hash32(host)),
            Purge::Tag(tag) => Hashed::Tag(self.index.hash32(tag)),
            Purge::Owner(owner) => Hashed::Owner(owner.id()),
            Purge::All => Hashed::All,
        }
    }

    fn flights(&self, purge: Hashed) -> Vec<Arc<Flight>> {
        let mut flights: Vec<Arc<Flight>> = Vec::new();
        if let Hashed::Key(hash) = purge {
            let shard = self.index.shard(hash);
            flights.extend(
                shard
                    .flights
                    .values()
                    .filter(|flight| flight.hash == hash)
                    .cloned(),
            );
            return flights;
        }
        for shard in self.index.shards() {
            flights.extend(shard.flights.values().cloned());
        }
        let chosen = |flight: &Arc<Flight>| match purge {
            // Of most it is not known yet.
            Hashed::Tag(_) => true,
            _ => {
                let host = self.index.hash32(&flight.host);
                purge.chooses(flight.hash, host, flight.owner.id(), &[])
            }
        };
        flights.retain(chosen);
        flights
    }
}

impl Hashed {
    fn chooses(self, hash: u64, host: u32, owner: u16, tags: &[u32]) -> bool {
        match self {
            Self::Key(key) => key == hash,
            Self::Host(wanted) => wanted == host,
            Self::Tag(tag) => tags.contains(&tag),
            Self::Owner(wanted) => wanted == owner,
            Self::All => true,
        }
    }
}

/// Purges that are remembered one by one while the directory is looked through.
const PURGES: usize = 256;
