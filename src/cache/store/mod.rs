//! Stored responses: in memory, and on disk where they survive a restart.
//!
//! The store knows keys and bytes, not HTTP: what may be stored, for how long and for whom, is the rules' business, whose notes
//! it keeps with each response. A worker [finds](Store::find) a response, or [begins](Store::begin) to fetch it for all who
//! ask meanwhile. Nothing here blocks a worker: a lookup is some tens of nanoseconds under the lock of one shard, and
//! what may wait for a disk is done by threads of the store's own.
//!
//! | Module | Owns |
//! |---|---|
//! | `account` | bounds, counted before anything is allocated |
//! | `slab`, `lanes`, `shard`, `index` | entries, who goes first, room |
//! | `owner` | quotas; `Vary` rules by number |
//! | `object` | a response that is stored |
//! | `flight`, `fill`, `filling`, `follow`, `reader`, `writer` | a response that is coming: one fetches, all read |
//! | `format`, `file`, `fs`, `disk` | files |
//! | `pool`, `keeper`, `core` | threads, and what all share |
//! | `purge`, `stats` | |

mod account;
mod behind;
mod core;
mod disk;
mod file;
mod fill;
mod filling;
mod flight;
mod follow;
mod format;
mod fs;
mod index;
mod keeper;
mod lanes;
mod object;
mod owner;
mod pool;
mod purge;
mod reader;
mod shard;
mod slab;
mod stats;
#[cfg(test)]
mod tests;
mod writer;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

pub use self::core::Limits;
pub use fill::{Fill, Refused};
pub use filling::{Filling, Stopped};
pub use follow::{Followed, Follower, OnDisk};
pub use object::{Key, Miss, Object, Response, Select, TAGS};
pub use owner::{Owner, Quota};
pub use purge::Purge;
pub use reader::{Lost, Reader};
pub use stats::{Cause, Counts, Stats};

use self::core::Core;
use flight::{Flight, Phase, variant_hash};
use object::Variant;
use shard::Look;

/// Shared by all workers.
#[derive(Clone)]
pub struct Store {
    core: Arc<Core>,
}

/// What is stored for a key.
#[derive(Debug)]
pub enum Found {
    Memory {
        object: Arc<Object>,
        /// Somebody has said that it must be asked about, however fresh it seems.
        stale: bool,
    },
    Disk {
        object: OnDisk,
        stale: bool,
    },
    Miss(Miss),
}

/// Who asks the app.
#[derive(Debug)]
pub enum Begin {
    /// The caller does, for all.
    Lead(Fill),
    /// Somebody does already.
    Follow(Follower),
    /// Something newer has been stored since the lookup: to be looked up again.
    Again,
    /// The caller does, for itself: what came last was not to be stored, or there is no room.
    Pass,
}

impl Store {
    /// A store in memory, and on disk below `directory`. Without the directory, or as long as another process has it, it is in
    /// memory only; that is told in the log, and tried again every second. What the directory holds is looked through
    /// in the background, and a miss until then.
    ///
    /// # Errors
    /// If there is no thread to be had.
    pub fn open(limits: Limits, directory: Option<&Path>) -> io::Result<Self> {
        let core = Arc::new(Core::new(limits, 1));
        keeper::spawn(&core, directory.map(Path::to_owned))?;
        Ok(Self { core })
    }

    /// The owner of that name, from now on with this quota. Nothing once there are 65,535.
    pub fn owner(&self, name: &str, quota: Quota) -> Option<Arc<Owner>> {
        self.core.index.owners.named(name, Some(quota))
    }

    /// A key for lookups. `host` is what [`Purge::Host`] goes by.
    pub fn key<'a>(&self, bytes: &'a [u8], host: &'a [u8], owner: &'a Arc<Owner>) -> Key<'a> {
        self.core.index.key(bytes, host, owner)
    }

    /// Looks a response up, and counts that as a use of it. A hit in memory allocates nothing.
    pub fn find(&self, key: &Key<'_>, now: Instant, select: &mut impl Select) -> Found {
        let index = &self.core.index;
        let used = self.core.seconds(now);
        let look = index.shard(key.hash).look(key.hash, None, used);
        let Look::Varies(rule) = look else {
            return self.found(key, look, None);
        };
        let Some(rule_text) = index.rules.get(rule) else {
            return Found::Miss(Miss::default());
        };
        let variant = select.variant(&rule_text);
        let hash = index.hash32(variant);
        let look = index
            .shard(key.hash)
            .look(key.hash, Some((rule, hash)), used);
        self.found(key, look, Some(variant))
    }

    fn found(&self, key: &Key<'_>, look: Look, variant: Option<&[u8]>) -> Found {
        let miss = |seen| {
            let variant = Variant(variant.map(Into::into));
            Found::Miss(Miss { variant, seen })
        };
        match look {
            Look::Memory { object, stale } => {
                let ident = &object.ident;
                if *ident.key == *key.bytes && *ident.variant == *variant.unwrap_or_default() {
                    return Found::Memory { object, stale };
                }
                miss(object.id) // Two keys of one hash.
            }
            Look::Disk { id, stale } => {
                let object = OnDisk {
                    core: Arc::clone(&self.core),
                    hash: key.hash,
                    id,
                    key: key.bytes.into(),
                    variant: Variant(variant.map(Into::into)),
                    loading: None,
                };
                Found::Disk { object, stale }
            }
            Look::Nowhere | Look::Varies(_) => miss(0),
        }
    }

    /// Who fetches the response for a key, after a lookup that has ended in `miss`: one for all who ask meanwhile.
    pub fn begin(&self, key: &Key<'_>, miss: &Miss, now: Instant) -> Begin {
        let seconds = self.core.seconds(now);
        if self.core.index.shard(key.hash).passes(key.hash, seconds) {
            return Begin::Pass;
        }
        self.begin_known(key, miss, now)
    }

    /// The same for a response that is known to be storable: that an earlier one was not does not matter.
    pub fn begin_known(&self, key: &Key<'_>, miss: &Miss, now: Instant) -> Begin {
        let core = &self.core;
        let now = core.seconds(now);
        let variant = variant_hash(core, &miss.variant);
        let place = (key.hash, variant);
        let shard = core.index.shard(key.hash);
        if shard.newest(key.hash, variant) > miss.seen {
            return Begin::Again;
        }
        let known = shard.flights.get(&place).cloned();
        drop(shard);
        if let Some(flight) = &known {
            if *flight.key != *key.bytes {
                return Begin::Pass; // Two keys of one hash.
            }
            let age = u64::from(now.saturating_sub(flight.started));
            let late = age > core.limits.lock_age.as_secs();
            if !late || !matches!(flight.lock().phase, Phase::Asking) {
                return Begin::Follow(Follower::new(Arc::clone(flight)));
            }
        }
        let Some(flight) = Flight::new(core, *key, &miss.variant, now) else {
            return Begin::Pass;
        };
        self.lead(flight, miss.seen, known)
    }

    /// Enters a flight, in the place of one that takes too long, unless somebody has been faster.
    fn lead(&self, flight: Arc<Flight>, seen: u64, late: Option<Arc<Flight>>) -> Begin {
        let place = flight.place();
        let mut shard = self.core.index.shard(flight.hash);
        if shard.newest(place.0, place.1) > seen {
            return Begin::Again;
        }
        if let Some(other) = shard.flights.get(&place)
            && late.as_ref().is_none_or(|late| !Arc::ptr_eq(late, other))
        {
            let other = Arc::clone(other);
            drop(shard);
            return Begin::Follow(Follower::new(other));
        }
        shard.flights.insert(place, Arc::clone(&flight));
        drop(shard);
        if let Some(late) = late {
            late.doom();
        }
        Begin::Lead(Fill::new(flight))
    }

    /// A reader of a stored body.
    pub fn reader(&self, object: &Arc<Object>) -> Reader {
        Reader::of_object(&self.core, object)
    }

    /// Removes all variants of a key, as a successful unsafe request asks for (RFC 9111 section 4.4). What is being fetched is
    /// not stored. Says whether there were any. Their files go a little later.
    pub fn invalidate(&self, key: &[u8]) -> bool {
        self.core.invalidate(key)
    }

    /// All variants of a key are `stale` from now on, until they are refreshed. Says whether there are any.
    pub fn mark_stale(&self, key: &[u8]) -> bool {
        self.core.mark_stale(key)
    }

    /// Removes what is chosen, for good: when this is done, no crash brings it back. Says how many entries there were.
    pub async fn purge(&self, purge: Purge) -> u64 {
        let promise = pool::Promise::new();
        let keeper = pool::Keeper {
            promise: Arc::clone(&promise),
            default: 0,
        };
        let core = Arc::clone(&self.core);
        self.core
            .pool
            .must(move || keeper.promise.keep(core.purge(&purge)));
        std::future::poll_fn(|cx| promise.poll(cx)).await
    }

    /// What it holds and has done. Goes through all shards; not for every request.
    pub fn stats(&self) -> Stats {
        self.core.stats()
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("limits", &self.core.limits)
            .finish_non_exhaustive()
    }
}
