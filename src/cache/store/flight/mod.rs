//! One response on its way from an app, for everybody who asks for it meanwhile.
//!
//! The filler appends; readers follow, each at its own place. What is received is in memory, in blocks, until it is
//! longer than an object may be; then it goes to a file as it comes, and a reader that is behind reads from there. So the filler
//! waits for the disk at most, never for a reader.
//!
//! If the disk fails, or there is none, the response cannot be stored any more. It still has to reach those who have part
//! of it: from then on the flight is a relay that nobody joins, a [`WINDOW`] long, at the pace of its slowest reader.

mod state;

use std::collections::VecDeque;
use std::fs::File;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use bytes::Bytes;

use super::account::Charge;
use super::core::{Core, Space};
use super::format::Header;
use super::object::{Ident, Key, Object, Variant};
use super::owner::Owner;
use super::shard::Debris;

pub(super) struct Flight {
    pub(super) core: Arc<Core>,
    pub(super) key: Box<[u8]>,
    pub(super) host: Box<[u8]>,
    pub(super) owner: Arc<Owner>,
    pub(super) hash: u64,
    /// Hash of the variant that was asked for, 0 where none was known: with `hash`, its place in the shard.
    variant: u32,
    /// When the one who leads began, in seconds of the store.
    pub(super) started: u32,
    state: Mutex<State>,
    _charge: Charge,
}

pub(super) struct State {
    pub(super) phase: Phase,
    /// Those who wait for a head.
    followers: Vec<Place>,
    readers: Vec<Place>,
    pub(super) prelude: Option<Arc<Prelude>>,
    /// Whole blocks from number `base` on; the last may be short once all is received.
    blocks: VecDeque<Bytes>,
    base: u64,
    open: Vec<u8>,
    open_charge: Option<Charge>,
    /// Bytes received.
    pub(super) len: u64,
    pub(super) spill: Spill,
    /// A job writes, or is about to.
    pub(super) writing: bool,
    filler: Option<Waker>,
    /// Purged, or not storable any more: it ends as a relay.
    pub(super) doomed: bool,
}

#[derive(Clone)]
pub(super) enum Phase {
    /// Somebody asks the app.
    Asking,
    /// Who asked has failed; the next follower takes over.
    Vacant,
    Filling,
    Whole,
    /// The body ended too early.
    Cut,
    /// Not for followers.
    Released,
    /// To be answered from a stored response.
    Stored(Arc<Object>),
}

/// All but the body.
#[derive(Debug)]
pub(super) struct Prelude {
    pub(super) id: u64,
    pub(super) ident: Arc<Ident>,
    pub(super) meta: Bytes,
    pub(super) head: Bytes,
    pub(super) length: Option<u64>,
    pub(super) _charge: Charge,
}

pub(super) enum Spill {
    /// All of it is in memory.
    No,
    /// To a file that is made with the first write.
    Wanted,
    File(Box<Spilled>),
    /// The disk has failed; what it has can be read.
    Failed(Option<Box<Spilled>>),
}

pub(super) struct Spilled {
    pub(super) header: Header,
    pub(super) file: Arc<File>,
    /// Of the blocks that are written.
    pub(super) sums: Vec<u32>,
    pub(super) space: Option<Space>,
}

/// A place of somebody who waits or reads.
enum Place {
    Free,
    Taken { at: u64, waker: Option<Waker> },
}

impl Flight {
    pub(super) fn new(
        core: &Arc<Core>,
        key: Key<'_>,
        variant: &Variant,
        now: u32,
    ) -> Option<Arc<Self>> {
        let cost = (FLIGHT + key.bytes.len() + key.host.len()) as u64;
        let charge = core.index.room(cost, &mut Debris::default())?;
        core.fills.fetch_add(1, Relaxed);
        Some(Arc::new(Self {
            core: Arc::clone(core),
            key: key.bytes.into(),
            host: key.host.into(),
            owner: Arc::clone(key.owner),
            hash: key.hash,
            variant: variant_hash(core, variant),
            started: now,
            state: Mutex::new(State::new()),
            _charge: charge,
        }))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while it is held leaves a flight that ends with its filler.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn place(&self) -> (u64, u32) {
        (self.hash, self.variant)
    }

    /// Nobody joins from now on.
    pub(super) fn detach(self: &Arc<Self>) {
        let mut shard = self.core.index.shard(self.hash);
        if let Some(known) = shard.flights.get(&self.place())
            && Arc::ptr_eq(known, self)
        {
            shard.flights.remove(&self.place());
        }
    }

    /// What comes of it is not to be stored.
    pub(super) fn doom(self: &Arc<Self>) {
        self.detach();
        self.lock().doomed = true;
    }

    /// Ends the wait of all followers.
    pub(super) fn settle(self: &Arc<Self>, phase: Phase) {
        let mut state = self.lock();
        state.phase = phase;
        let wakers = state.wakers();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Who leads has failed: one of the followers takes over, or the flight is over.
    pub(super) fn vacate(self: &Arc<Self>) {
        let mut state = self.lock();
        state.phase = Phase::Vacant;
        let (next, alone) = state.call();
        drop(state);
        next.into_iter().for_each(Waker::wake);
        if alone {
            self.detach(); // Whoever has come between finds it vacant, and leads.
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.core.fills.fetch_sub(1, Relaxed);
    }
}

impl std::fmt::Debug for Flight {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flight")
            .field("hash", &self.hash)
            .finish_non_exhaustive()
    }
}

pub(super) fn variant_hash(core: &Core, variant: &Variant) -> u32 {
    variant
        .0
        .as_ref()
        .map_or(0, |variant| core.index.hash32(variant))
}

/// A flight and its place in a shard, with what an allocator adds. Not counted: 40 bytes for each connection that follows it.
const FLIGHT: usize = size_of::<Flight>() + 256;
/// Blocks that wait for the disk, or for a relay's slowest reader.
pub(super) const WINDOW: usize = 16;
/// Written blocks that stay in memory while a response comes.
const RECENT: u64 = 4;
