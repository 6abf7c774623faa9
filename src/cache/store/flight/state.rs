//! What a flight holds, and who waits for it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Waker};

use bytes::Bytes;

use super::{Phase, Place, RECENT, Spill, State, WINDOW};
use crate::cache::store::account::{Charge, held, held_cost};
use crate::cache::store::core::Core;
use crate::cache::store::object::BLOCK;
use crate::cache::store::shard::Debris;

impl State {
    pub(super) fn new() -> Self {
        Self {
            phase: Phase::Asking,
            followers: Vec::new(),
            readers: Vec::new(),
            prelude: None,
            blocks: VecDeque::new(),
            base: 0,
            open: Vec::new(),
            open_charge: None,
            len: 0,
            spill: Spill::No,
            writing: false,
            filler: None,
            doomed: false,
        }
    }

    /// Whom to call to take over, and whether there is nobody.
    pub(in crate::cache::store) fn call(&mut self) -> (Option<Waker>, bool) {
        let next = self.followers.iter_mut().find_map(Place::waker);
        (next, self.followers.iter().all(Place::is_free))
    }

    pub(in crate::cache::store) fn follow(&mut self) -> usize {
        Place::take(&mut self.followers, 0)
    }

    pub(in crate::cache::store) fn unfollow(&mut self, place: usize) {
        self.followers[place] = Place::Free;
    }

    pub(in crate::cache::store) fn await_head(&mut self, place: usize, cx: &Context<'_>) {
        self.followers[place].wait(cx);
    }

    pub(in crate::cache::store) fn join(&mut self, at: u64) -> usize {
        Place::take(&mut self.readers, at)
    }

    pub(in crate::cache::store) fn leave(&mut self, place: usize) -> Option<Waker> {
        self.readers[place] = Place::Free;
        self.relay()
    }

    pub(in crate::cache::store) fn await_more(&mut self, place: usize, cx: &Context<'_>) {
        self.readers[place].wait(cx);
    }

    /// A reader has got on; says whom that lets go on.
    pub(in crate::cache::store) fn advance(&mut self, place: usize, to: u64) -> Option<Waker> {
        if let Place::Taken { at, .. } = &mut self.readers[place] {
            *at = to;
        }
        self.relay()
    }

    pub(in crate::cache::store) fn has_readers(&self) -> bool {
        !self.readers.iter().all(Place::is_free)
    }

    /// All who wait, followers and readers.
    pub(in crate::cache::store) fn wakers(&mut self) -> Vec<Waker> {
        let all = self.followers.iter_mut().chain(&mut self.readers);
        all.filter_map(Place::waker).collect()
    }

    pub(in crate::cache::store) fn await_room(&mut self, cx: &Context<'_>) {
        self.filler = Some(cx.waker().clone());
    }

    pub(in crate::cache::store) fn filler(&mut self) -> Option<Waker> {
        self.filler.take()
    }

    /// What there is at `at`: bytes, or the number of the block that is in the file only.
    pub(in crate::cache::store) fn bytes_at(&self, at: u64) -> Result<Option<Bytes>, u64> {
        let (block, within) = (at / BLOCK as u64, (at % BLOCK as u64) as usize);
        if at >= self.len {
            return Ok(None);
        }
        let Some(index) = block.checked_sub(self.base) else {
            return Err(block);
        };
        Ok(Some(match self.blocks.get(index as usize) {
            Some(block) => block.slice(within..),
            None => Bytes::copy_from_slice(&self.open[within..]),
        }))
    }

    /// Makes room for at least a byte in the open block; false if there is none.
    pub(in crate::cache::store) fn open(&mut self, core: &Core, expected: Option<u64>) -> bool {
        if self.open.len() < self.open.capacity() {
            return true;
        }
        let left = expected.map_or(BLOCK as u64, |all| all.saturating_sub(self.len));
        let left = left.clamp(1, BLOCK as u64) as usize;
        let more = if self.open.is_empty() && expected.is_some() {
            left
        } else {
            (self.open.len() * 3).max(4096)
        };
        let more = more.min(BLOCK - self.open.len());
        let Some(charge) = self.charge(core, more as u64) else {
            return false;
        };
        self.open_charge = Some(charge);
        self.open.reserve_exact(more);
        true
    }

    /// A charge for the open block with `more` bytes. What a relay holds is on its way to clients.
    fn charge(&mut self, core: &Core, more: u64) -> Option<Charge> {
        let held = self
            .open_charge
            .as_ref()
            .map_or(held_cost(0), Charge::amount);
        if matches!(self.spill, Spill::Failed(_)) {
            return core.transit.charge(held + more);
        }
        let more = if self.open_charge.is_none() {
            held + more
        } else {
            more
        };
        let mut charge = core.index.room(more, &mut Debris::default())?;
        if let Some(all) = self.open_charge.take() {
            charge.merge(all);
        }
        Some(charge)
    }

    /// Appends what fits in the open block, for which there is room.
    pub(in crate::cache::store) fn append(&mut self, bytes: &[u8]) -> usize {
        let room = (self.open.capacity() - self.open.len()).min(BLOCK - self.open.len());
        let taken = room.min(bytes.len());
        self.open.extend_from_slice(&bytes[..taken]);
        self.len += taken as u64;
        if self.open.len() == BLOCK {
            self.close();
        }
        taken
    }

    /// Makes a block of what is open.
    pub(in crate::cache::store) fn close(&mut self) {
        let open = std::mem::take(&mut self.open).into_boxed_slice();
        if let Some(mut charge) = self.open_charge.take() {
            charge.shrink(held_cost(open.len()));
            self.blocks.push_back(held(open, charge));
        }
    }

    /// Number of the first block that is not written.
    pub(in crate::cache::store) fn written(&self) -> u64 {
        match &self.spill {
            Spill::File(file) | Spill::Failed(Some(file)) => file.sums.len() as u64,
            _ => 0,
        }
    }

    /// Blocks that are in memory only.
    pub(in crate::cache::store) fn pending(&self) -> u64 {
        self.base + self.blocks.len() as u64 - self.written().max(self.base)
    }

    /// Up to `max` of them, to be written.
    pub(in crate::cache::store) fn to_write(&self, max: usize) -> Vec<Bytes> {
        let first = self.written().saturating_sub(self.base) as usize;
        self.blocks.iter().skip(first).take(max).cloned().collect()
    }

    /// Drops blocks that are in the file, but the last few: most readers are just behind.
    pub(in crate::cache::store) fn trim(&mut self) {
        let until = self.written().saturating_sub(RECENT);
        self.drop_until(until);
    }

    /// As a relay, drops what all readers have; says whether the filler may go on.
    fn relay(&mut self) -> Option<Waker> {
        if !matches!(self.spill, Spill::Failed(_)) {
            return None;
        }
        self.drop_until(self.slowest().max(self.written()));
        if self.is_wide() {
            self.filler.take()
        } else {
            None
        }
    }

    /// Whether a relay has room for more.
    pub(in crate::cache::store) fn is_wide(&mut self) -> bool {
        self.drop_until(self.slowest().max(self.written()));
        self.blocks.len() < WINDOW
    }

    /// The block that the slowest reader is in.
    fn slowest(&self) -> u64 {
        let at = self.readers.iter().filter_map(Place::at).min();
        at.unwrap_or(self.len) / BLOCK as u64
    }

    fn drop_until(&mut self, block: u64) {
        while self.base < block && self.blocks.pop_front().is_some() {
            self.base += 1;
        }
    }

    /// It ends as a relay. Says whether there is a file to remove.
    pub(in crate::cache::store) fn give_up(&mut self) -> bool {
        self.doomed = true;
        let spill = std::mem::replace(&mut self.spill, Spill::Failed(None));
        let had = matches!(spill, Spill::File(_));
        if let Spill::File(mut file) | Spill::Failed(Some(mut file)) = spill {
            file.space = None;
            self.spill = Spill::Failed(Some(file));
        }
        had
    }

    /// Whether a reader can still begin: a relay drops what those have read that it has.
    pub(in crate::cache::store) fn has_beginning(&self) -> bool {
        self.base <= self.written()
    }

    /// Drops all blocks that are in the file.
    pub(in crate::cache::store) fn forget_written(&mut self) {
        self.drop_until(self.written());
    }

    /// All blocks, where none has been dropped.
    pub(in crate::cache::store) fn all_blocks(&self) -> Arc<[Bytes]> {
        debug_assert_eq!(self.base, 0);
        self.blocks.iter().cloned().collect()
    }
}

impl Place {
    fn take(places: &mut Vec<Self>, at: u64) -> usize {
        let taken = Self::Taken { at, waker: None };
        let free = places.iter().position(Self::is_free);
        let place = free.unwrap_or(places.len());
        if place == places.len() {
            places.push(taken);
        } else {
            places[place] = taken;
        }
        place
    }

    fn is_free(&self) -> bool {
        matches!(self, Self::Free)
    }

    fn at(&self) -> Option<u64> {
        match self {
            Self::Taken { at, .. } => Some(*at),
            Self::Free => None,
        }
    }

    fn wait(&mut self, cx: &Context<'_>) {
        if let Self::Taken { waker, .. } = self {
            match waker {
                Some(waker) => waker.clone_from(cx.waker()),
                none => *none = Some(cx.waker().clone()),
            }
        }
    }

    fn waker(&mut self) -> Option<Waker> {
        match self {
            Self::Taken { waker, .. } => waker.take(),
            Self::Free => None,
        }
    }
}
