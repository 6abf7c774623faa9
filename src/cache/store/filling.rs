//! A response that is stored as it comes.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;

use super::behind::Task;
use super::flight::{Flight, Phase, Prelude, Spill, State, WINDOW};
use super::object::{Body, Object};
use super::reader::Reader;
use super::shard::Debris;

/// A response that is stored as it comes. If it is dropped before [`finish`](Self::finish), nothing is stored and its readers
/// are cut off.
#[derive(Debug)]
pub struct Filling {
    flight: Arc<Flight>,
    prelude: Arc<Prelude>,
    over: bool,
}

/// Nobody has use for the rest of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nobody reads the response, and it cannot be stored")]
pub struct Stopped;

impl Filling {
    pub(super) fn new(flight: Arc<Flight>, prelude: Arc<Prelude>) -> Self {
        Self {
            flight,
            prelude,
            over: false,
        }
    }

    /// A reader from the beginning, to be had before anything is pushed. The one who fills has no other way to its own client.
    pub fn reader(&self) -> Reader {
        let place = self.flight.lock().join(0);
        Reader::of_flight(&self.flight, &self.prelude, place)
    }

    pub fn has_readers(&self) -> bool {
        self.flight.lock().has_readers()
    }

    /// Appends some of `bytes`, at least one, and says how many. Waits for the disk, if that is slower than the app, but for
    /// no reader as long as the response can be stored.
    pub fn poll_push(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize, Stopped>> {
        let mut state = self.flight.lock();
        if state.doomed && !state.has_readers() {
            return Poll::Ready(Err(Stopped));
        }
        let mut taken = 0;
        while taken < bytes.len() && self.has_room(&mut state) {
            taken += state.append(&bytes[taken..]);
            self.look(&mut state);
        }
        let waits = taken == 0 && !bytes.is_empty();
        if waits && state.doomed && !state.has_readers() {
            return Poll::Ready(Err(Stopped));
        }
        if waits {
            state.await_room(cx);
        }
        let write = self.wants_writer(&mut state);
        let wakers = if waits { Vec::new() } else { state.wakers() };
        drop(state);
        if write {
            self.write();
        }
        wakers.into_iter().for_each(Waker::wake);
        if waits {
            Poll::Pending
        } else {
            Poll::Ready(Ok(taken))
        }
    }

    /// As [`poll_push`](Self::poll_push), all of it. Not cancel safe: part of it may have been appended.
    pub async fn push(&mut self, mut bytes: &[u8]) -> Result<(), Stopped> {
        while !bytes.is_empty() {
            let taken = std::future::poll_fn(|cx| self.poll_push(cx, bytes)).await?;
            bytes = &bytes[taken..];
        }
        Ok(())
    }

    fn has_room(&self, state: &mut State) -> bool {
        let core = &self.flight.core;
        let room = match &state.spill {
            Spill::No => true,
            Spill::Wanted | Spill::File(_) => state.pending() < WINDOW as u64,
            Spill::Failed(_) => state.is_wide(),
        };
        if !room {
            return false;
        }
        let expected = self.prelude.length;
        if state.open(core, expected) {
            return true;
        }
        // No memory: what is there goes to disk, if it can.
        if matches!(state.spill, Spill::No) {
            self.spill(state);
        }
        if state.pending() == 0 && !matches!(state.spill, Spill::Failed(_)) {
            state.forget_written();
            if !state.open(core, expected) {
                self.give_up(state);
            }
        }
        state.open(core, expected)
    }

    /// After each append: is it still one for memory?
    fn look(&self, state: &mut State) {
        if matches!(state.spill, Spill::No) && state.len > self.flight.core.limits.object {
            self.spill(state);
        }
    }

    /// To disk from here on, or nowhere.
    fn spill(&self, state: &mut State) {
        if self.flight.core.disk.get().is_some() {
            state.spill = Spill::Wanted;
        } else {
            self.give_up(state);
        }
    }

    fn give_up(&self, state: &mut State) {
        if state.give_up() {
            self.flight.remove_file(self.prelude.id);
        }
        self.flight.detach();
    }

    fn wants_writer(&self, state: &mut State) -> bool {
        let spilled = matches!(state.spill, Spill::Wanted | Spill::File(_));
        let due = state.pending() > 0 || matches!(state.phase, Phase::Whole);
        let wanted = spilled && due && !state.writing;
        state.writing |= wanted;
        wanted
    }

    fn write(&self) {
        let flight = Arc::clone(&self.flight);
        self.flight.core.pool.must(move || flight.write());
    }

    /// The body is whole: it is stored, and found from now on. False if it is not the length that the head has said;
    /// then its readers are cut off.
    pub fn finish(mut self, now: Instant) -> bool {
        self.over = true;
        let mut state = self.flight.lock();
        if self
            .prelude
            .length
            .is_some_and(|length| length != state.len)
        {
            drop(state);
            self.cut();
            return false;
        }
        state.close();
        let blocks = match state.spill {
            Spill::No if !state.doomed => Some(state.all_blocks()),
            _ => None,
        };
        state.phase = Phase::Whole;
        let write = self.wants_writer(&mut state);
        let writing = state.writing;
        drop(state);
        if let Some(blocks) = blocks {
            self.keep(blocks, now);
        }
        if write {
            self.write();
        }
        // A job that writes lets go when the entry is made.
        if !writing {
            self.flight.detach();
        }
        self.flight.settle(Phase::Whole);
        true
    }

    /// In memory at once, on disk when there is time.
    fn keep(&self, blocks: Arc<[Bytes]>, now: Instant) -> Option<()> {
        let (core, prelude) = (&self.flight.core, &self.prelude);
        let mut debris = Debris::default();
        let body = Body::Memory(blocks);
        let cost = Object::cost(&prelude.meta, &prelude.head, &body);
        let charge = core.index.room(cost, &mut debris)?;
        let parts = (&*prelude.meta, &*prelude.head);
        let object = Object::new(prelude.id, Arc::clone(&prelude.ident), parts, body, charge);
        let object = Arc::new(object);
        let used = core.seconds(now);
        let mut new = core
            .index
            .entry(self.flight.hash, prelude.id, &prelude.ident, used)?;
        new.object = Some((Arc::clone(&object), u32::try_from(object.weight()).ok()?));
        // A purge dooms flights and then looks at entries: what it does between these lines is seen by the second look.
        let kept = !self.flight.lock().doomed && core.index.insert(new, &mut debris);
        core.discard(debris);
        if kept && self.flight.lock().doomed {
            core.forget(self.flight.hash, prelude.id);
        } else if kept
            && core.disk.get().is_some()
            && !core.write_later(self.flight.hash, &object, Task::Write)
        {
            core.unwritten.fetch_add(1, Relaxed);
        }
        Some(())
    }

    fn cut(&self) {
        self.flight.doom();
        self.flight.abandon();
        self.flight.settle(Phase::Cut);
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        if !self.over {
            self.cut();
        }
    }
}
