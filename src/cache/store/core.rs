//! What workers, pool threads and the keeper share.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::account::Account;
use super::behind::Behind;
use super::fs::Fs;
use super::index::Index;
use super::owner::Owner;
use super::pool::Pool;
use super::purge::Purge;
use super::shard::Debris;
use super::stats::{Cause, Stats};

/// Bounds of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory, for everything but what is on its way from disk to clients.
    pub memory: u64,
    /// Bytes of disk. Each file counts as its length rounded up to 4 KiB.
    pub disk: u64,
    /// Bytes of the file system that are left to others (nginx: `min_free`).
    pub floor: u64,
    /// The longest body that is kept in memory. At most 1 GiB.
    pub object: u64,
    /// Who leads for so long without an answer is no longer waited for by those who come
    /// (nginx: `proxy_cache_lock_age`).
    pub lock_age: Duration,
}

impl Default for Limits {
    /// 64 MiB of memory, 1 GiB of disk as nginx's examples, one part in 16 of memory for an object.
    fn default() -> Self {
        Self {
            memory: 64 << 20,
            disk: 1 << 30,
            floor: 256 << 20,
            object: 4 << 20,
            lock_age: Duration::from_secs(5),
        }
    }
}

pub(super) struct Core {
    pub(super) limits: Limits,
    pub(super) start: Instant,
    pub(super) index: Index,
    pub(super) pool: Pool,
    pub(super) behind: Behind,
    pub(super) disk: OnceLock<Disk>,
    /// Open files that are kept with their entries.
    pub(super) files: Arc<Account>,
    /// Bytes from disk to clients; unbounded here, since each reader holds one block.
    pub(super) transit: Arc<Account>,
    pub(super) fills: AtomicU64,
    pub(super) unwritten: AtomicU64,
    faults: AtomicU64,
    told: [AtomicBool; FAULTS],
}

/// The disk tier, once the directory is ours.
pub(super) struct Disk {
    pub(super) fs: Box<dyn Fs>,
    pub(super) account: Arc<Account>,
    /// Files of earlier processes have lower ids.
    pub(super) first_id: u64,
    /// What was purged while the start's look through the directory is not over.
    pub(super) purges: Mutex<Option<Vec<Purge>>>,
    pub(super) entries: AtomicU64,
}

/// What is told once, and counted from then on.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// A file that is not what was written.
    Broken,
    /// Something that we have not made.
    Foreign,
    Read,
    Write,
    Remove,
    /// Less is free than the floor, or nothing at all.
    Full,
}

/// Room on disk and in its owner's quota, given back on drop.
#[derive(Debug)]
pub(super) struct Space {
    account: Arc<Account>,
    owner: Arc<Owner>,
    bytes: u64,
}

impl Core {
    pub(super) fn new(limits: Limits, first_id: u64) -> Self {
        Self {
            limits,
            start: Instant::now(),
            index: Index::new(limits.memory, first_id),
            pool: Pool::new(THREADS),
            behind: Behind::default(),
            disk: OnceLock::new(),
            files: Account::new(FILES),
            transit: Account::new(u64::MAX),
            fills: AtomicU64::new(0),
            unwritten: AtomicU64::new(0),
            faults: AtomicU64::new(0),
            told: Default::default(),
        }
    }

    /// From now on there is a disk tier.
    pub(super) fn join(&self, fs: Box<dyn Fs>, first_id: u64) {
        let first_id = self.index.ids_from(first_id);
        let disk = Disk {
            fs,
            account: Account::new(self.limits.disk),
            first_id,
            purges: Mutex::new(Some(Vec::new())),
            entries: AtomicU64::new(0),
        };
        let _ = self.disk.set(disk);
    }

    /// Seconds of the store; never 0.
    pub(super) fn seconds(&self, now: Instant) -> u32 {
        let passed = now.saturating_duration_since(self.start).as_secs();
        u32::try_from(passed + 1).unwrap_or(u32::MAX)
    }

    /// Drops what was removed, and has its files unlinked.
    pub(super) fn discard(self: &Arc<Self>, debris: Debris) {
        drop(debris.objects);
        if !debris.files.is_empty() {
            let core = Arc::clone(self);
            self.pool.must(move || {
                let _ = core.unlink(debris.files);
            });
        }
    }

    /// Waits for the disk; false if a file cannot be removed.
    pub(super) fn discard_here(&self, debris: Debris) -> bool {
        drop(debris.objects);
        self.unlink(debris.files)
    }

    fn unlink(&self, files: Vec<(u64, u32, Arc<Owner>)>) -> bool {
        let Some(disk) = self.disk.get() else {
            return true;
        };
        let mut removed = true;
        for (id, weight, owner) in files {
            let bytes = u64::from(weight) * UNIT;
            disk.entries.fetch_sub(1, Relaxed);
            match disk.fs.remove(id) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    removed = false; // It is still there, and still counts.
                    self.fault(Fault::Remove, id, &error);
                }
                _ => {
                    disk.account.give(bytes);
                    owner.give_disk(bytes);
                }
            }
        }
        removed
    }

    /// Takes room on disk, at the expense of other entries. Waits for the disk.
    pub(super) fn space(&self, owner: &Arc<Owner>, bytes: u64) -> Option<Space> {
        let disk = self.disk.get()?;
        if bytes > disk.account.max() || bytes > owner.quota() {
            return None;
        }
        self.above_floor(disk, bytes)?;
        let space = |bytes| Space {
            account: Arc::clone(&disk.account),
            owner: Arc::clone(owner),
            bytes,
        };
        while !owner.take_disk(bytes) {
            self.evict(Some(owner), Cause::Quota)?;
        }
        while !disk.account.take(bytes) {
            if self.evict(None, Cause::Disk).is_none() {
                owner.give_disk(bytes);
                return None;
            }
        }
        Some(space(bytes))
    }

    fn above_floor(&self, disk: &Disk, bytes: u64) -> Option<()> {
        for _ in 0..FLOOR_EVICTIONS {
            let Ok(free) = disk.fs.free() else {
                return Some(()); // A file system that does not say.
            };
            if free >= self.limits.floor.saturating_add(bytes) {
                return Some(());
            }
            if self.evict(None, Cause::Disk).is_none() {
                break;
            }
        }
        self.fault(Fault::Full, 0, &"too little is free on its file system");
        None
    }

    fn evict(&self, owner: Option<&Owner>, cause: Cause) -> Option<()> {
        let mut debris = Debris::default();
        let evicted = self.index.evict_disk(owner, cause, &mut debris);
        // Where nothing can be removed, it is no use to go on.
        let removed = self.discard_here(debris);
        (evicted && removed).then_some(())
    }

    /// Something cannot be written: for want of room, or for another reason.
    pub(super) fn unwritable(&self, id: u64, error: &io::Error) {
        let fault = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Fault::Full,
            _ => Fault::Write,
        };
        self.fault(fault, id, error);
    }

    /// Tells the first of its kind, and counts all.
    pub(super) fn fault(&self, fault: Fault, id: u64, error: &dyn std::fmt::Display) {
        self.faults.fetch_add(1, Relaxed);
        if self.told[fault as usize].swap(true, Relaxed) {
            return;
        }
        let file = format_args!("{id:016x}").to_string();
        match fault {
            Fault::Broken => {
                tracing::warn!(file, %error, "a file of the cache is damaged; it is not used");
            }
            Fault::Foreign => {
                tracing::warn!(%error, "the cache's directory holds what Wharf has not put there; it stays");
            }
            Fault::Read => tracing::warn!(file, %error, "the cache's disk cannot be read"),
            Fault::Write => {
                tracing::warn!(file, %error, "the cache's disk cannot be written; new entries stay in memory");
            }
            Fault::Remove => tracing::warn!(file, %error, "a file of the cache cannot be removed"),
            Fault::Full => {
                tracing::warn!(%error, "the cache's disk is full; new entries stay in memory")
            }
        }
    }

    pub(super) fn stats(&self) -> Stats {
        let mut stats = Stats {
            memory: self.index.memory.used(),
            transit: self.transit.used(),
            fills: self.fills.load(Relaxed),
            unwritten: self.unwritten.load(Relaxed),
            faults: self.faults.load(Relaxed),
            ..Stats::default()
        };
        for shard in self.index.shards() {
            stats.counts.add(&shard.counts);
            stats.entries += shard.len() as u64;
            stats.in_memory += shard.resident() as u64;
            stats.index += shard.charged();
        }
        if let Some(disk) = self.disk.get() {
            stats.disk = disk.account.used();
            stats.on_disk = disk.entries.load(Relaxed);
            let purges = disk.purges.lock().unwrap_or_else(PoisonError::into_inner);
            stats.scanned = purges.is_none();
        }
        stats
    }
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl Space {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn merge(&mut self, mut other: Self) {
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// Keeps `bytes` and gives back the rest.
    pub(super) fn shrink(&mut self, bytes: u64) {
        let rest = self.bytes.saturating_sub(bytes);
        self.account.give(rest);
        self.owner.give_disk(rest);
        self.bytes -= rest;
    }

    /// As an entry's weight; nothing if it is more than one can have.
    pub(super) fn weight(&self) -> Option<u32> {
        u32::try_from(self.bytes / UNIT).ok()
    }

    /// It belongs to an entry now, which gives it back by its [`weight`](Self::weight).
    pub(super) fn hand_over(mut self) {
        self.bytes = 0;
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        self.account.give(self.bytes);
        self.owner.give_disk(self.bytes);
    }
}

/// What a file of `len` bytes takes.
pub(super) fn on_disk(len: u64) -> u64 {
    len.next_multiple_of(UNIT)
}

/// Files count in units of so many bytes.
pub(super) const UNIT: u64 = 4096;
/// Threads for the disk.
const THREADS: usize = 4;
/// Descriptors kept with entries.
const FILES: u64 = 256;
const FAULTS: usize = Fault::Full as usize + 1;
/// Entries that are given up for one that wants in, where others have filled the disk.
const FLOOR_EVICTIONS: usize = 32;
