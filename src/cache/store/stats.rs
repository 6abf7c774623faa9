//! What the store has done, and why things have left it.

/// Why an entry, or its copy in memory, has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// No room in memory.
    Memory,
    /// No room on disk, or too little left free on its file system.
    Disk,
    /// Its owner's quota.
    Quota,
    /// Nobody has asked for it.
    Inactive,
    Purged,
    /// By a newer response.
    Replaced,
    /// Too many for one key.
    Variants,
    /// Its file is not what was written, or cannot be read.
    Broken,
}

/// A shard's counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub memory_hits: u64,
    pub disk_hits: u64,
    pub misses: u64,
    /// By [`Cause`], in its order.
    pub evictions: [u64; CAUSES],
}

/// What a store holds and has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub counts: Counts,
    pub entries: u64,
    /// Entries with a copy in memory.
    pub in_memory: u64,
    pub on_disk: u64,
    /// Bytes that are charged: bodies, heads, keys, index and what is under way.
    pub memory: u64,
    /// The part of them that the index takes.
    pub index: u64,
    /// Bytes of files, each rounded up to 4 KiB, and what is reserved for those being written.
    pub disk: u64,
    /// Bytes that are on their way from disk to clients, a block of 64 KiB each at most.
    pub transit: u64,
    /// Responses that are being fetched.
    pub fills: u64,
    /// Responses that stayed in memory only because the disk did not take them.
    pub unwritten: u64,
    /// The start's look through the directory is over.
    pub scanned: bool,
    /// Files that were broken, or not ours.
    pub faults: u64,
}

impl Counts {
    pub(super) fn evicted(&mut self, cause: Cause) {
        self.evictions[cause as usize] += 1;
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.memory_hits += other.memory_hits;
        self.disk_hits += other.disk_hits;
        self.misses += other.misses;
        for (sum, more) in self.evictions.iter_mut().zip(other.evictions) {
            *sum += more;
        }
    }

    /// How many have gone for this cause.
    pub fn of(&self, cause: Cause) -> u64 {
        self.evictions[cause as usize]
    }
}

const CAUSES: usize = Cause::Broken as usize + 1;
