//! What each client has under way: entries come with the first request and go with the last.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::line::{Queue, Queued};

/// Numbers of requests, or connections, by a keyed hash of whose they are.
///
/// Locks, because an entry has to go the moment that it counts nothing, or the table would be as large as whoever
/// asks from many addresses likes. Each is held for a look into a hash table, and there are far more than workers.
pub struct Clients {
    shards: Box<[Mutex<Shard>]>,
}

pub(super) type Shard = HashMap<u64, Entry, BuildHasherDefault<Hashed>>;

/// Invariant: outside its shard's lock it counts something, or somebody waits.
#[derive(Debug, Default)]
pub(super) struct Entry {
    count: u32,
    /// Once somebody has to wait.
    line: Option<Arc<Queue>>,
}

/// Keys are hashes already.
#[derive(Debug, Default)]
pub(super) struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients").finish_non_exhaustive()
    }
}

impl Default for Clients {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
        }
    }
}

impl Clients {
    /// Counts one more of `key`, if there are less than `limit`, and nobody waits or it has: `queued`.
    pub fn take(&self, key: u64, limit: u32, queued: bool) -> bool {
        let mut shard = self.shard(key);
        let entry = shard.entry(key).or_default();
        let overtakes = !queued && entry.line.as_ref().is_some_and(|line| !line.is_empty());
        let taken = entry.count < limit && !overtakes;
        if taken {
            entry.count += 1;
        } else if limit == 0 {
            prune(&mut shard, key);
        }
        taken
    }

    /// Counts one less.
    pub fn give_back(&self, key: u64) {
        let mut shard = self.shard(key);
        let Some(entry) = shard.get_mut(&key) else {
            return;
        };
        entry.count = entry.count.saturating_sub(1);
        let line = entry.line.clone();
        prune(&mut shard, key);
        drop(shard);
        if let Some(line) = line {
            line.freed();
        }
    }

    /// Gets in line; `None` where `limit` wait already.
    pub(super) fn join(&self, key: u64, limit: u32) -> Option<Queued> {
        let mut shard = self.shard(key);
        let line = (shard.entry(key).or_default().line).get_or_insert_default();
        let queued = line.join(limit as usize);
        if queued.is_none() {
            prune(&mut shard, key);
        }
        queued
    }

    /// Somebody waits no longer.
    pub(super) fn left(&self, key: u64) {
        prune(&mut self.shard(key), key);
    }

    /// How many are under way, and how many wait.
    pub(super) fn count(&self, key: u64) -> (u32, usize) {
        let shard = self.shard(key);
        let entry = shard.get(&key);
        let waiting = entry.and_then(|entry| Some(entry.line.as_ref()?.len()));
        (
            entry.map_or(0, |entry| entry.count),
            waiting.unwrap_or_default(),
        )
    }

    /// Clients that have anything under way or wait.
    pub fn len(&self) -> usize {
        let shards = self.shards.iter();
        shards.map(|shard| lock(shard).len()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[cfg(test)]
    pub(super) fn shards(&self) -> impl Iterator<Item = MutexGuard<'_, Shard>> {
        self.shards.iter().map(lock)
    }

    fn shard(&self, key: u64) -> MutexGuard<'_, Shard> {
        // The table in a shard goes by the highest and the lowest bits.
        lock(&self.shards[(key >> 32) as usize % SHARDS])
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    // Nothing under the lock panics half way.
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes an entry out that counts nothing, and gives memory back that a crowd has left.
fn prune(shard: &mut Shard, key: u64) {
    // Nobody gets in line but under the lock.
    let idle =
        |entry: &Entry| entry.count == 0 && entry.line.as_ref().is_none_or(|line| line.is_empty());
    if shard.get(&key).is_some_and(idle) {
        shard.remove(&key);
        if shard.capacity() > SPARE && shard.len() < shard.capacity() / 8 {
            shard.shrink_to(shard.len() * 2);
        }
    }
}

const SHARDS: usize = 64;
/// Room that a shard may keep for nothing: 24 KiB.
const SPARE: usize = 1024;
