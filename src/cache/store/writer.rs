//! The file of a response that is written while it comes. Runs in the pool, one job at a time for each flight.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Waker;

use bytes::Bytes;

use super::core::{Core, Disk, Space, on_disk};
use super::file::{Preface, finish};
use super::flight::{Flight, Phase, Prelude, Spill, Spilled};
use super::format::Header;
use super::object::{BLOCK, count};
use super::shard::Debris;

/// What a job does next.
enum Step {
    Open,
    Write(Vec<Bytes>),
    Finish(Box<Spilled>),
    Rest,
}

impl Flight {
    /// Writes all there is to write. A failure makes the flight a relay.
    pub(super) fn write(self: &Arc<Self>) {
        let Some(disk) = self.core.disk.get() else {
            return;
        };
        let Some(prelude) = self.lock().prelude.clone() else {
            return;
        };
        loop {
            let done = match self.step() {
                Step::Open => self.open_file(disk, &prelude),
                Step::Write(blocks) => self.write_blocks(disk, &prelude, &blocks),
                Step::Finish(file) => return self.finish_file(disk, &prelude, *file),
                Step::Rest => return,
            };
            if let Err(error) = done {
                return self.fail(disk, &prelude, &error);
            }
        }
    }

    fn step(&self) -> Step {
        let mut state = self.lock();
        let whole = matches!(state.phase, Phase::Whole);
        let blocks = state.to_write(BATCH);
        match &mut state.spill {
            Spill::Wanted => return Step::Open,
            Spill::File(_) if !blocks.is_empty() => return Step::Write(blocks),
            Spill::File(file) if whole => {
                let space = file.space.take();
                let (header, sums) = (file.header, file.sums.clone());
                let file = Arc::clone(&file.file);
                return Step::Finish(Box::new(Spilled {
                    header,
                    file,
                    sums,
                    space,
                }));
            }
            _ => {}
        }
        state.writing = false;
        Step::Rest
    }

    fn open_file(&self, disk: &Disk, prelude: &Prelude) -> io::Result<()> {
        let preface = Preface::new(prelude.id, &prelude.ident, &prelude.meta, &prelude.head);
        let preface = preface.ok_or(io::ErrorKind::InvalidInput)?;
        let len = prelude.length.unwrap_or(0);
        let whole = Header {
            body_len: len,
            ..preface.header
        }
        .file_len();
        let space = self
            .core
            .space(&self.owner, on_disk(whole))
            .ok_or_else(no_space)?;
        let file = disk.fs.create(prelude.id)?;
        disk.fs.write(&file, &preface.bytes, 0)?;
        let file = Spilled {
            header: preface.header,
            file: Arc::new(file),
            sums: Vec::new(),
            space: Some(space),
        };
        let mut state = self.lock();
        if matches!(state.spill, Spill::Wanted) {
            state.spill = Spill::File(Box::new(file));
            return Ok(());
        }
        drop(state); // Given up meanwhile.
        self.drop_file(disk, prelude);
        Ok(())
    }

    fn write_blocks(&self, disk: &Disk, prelude: &Prelude, blocks: &[Bytes]) -> io::Result<()> {
        let (file, header, written) = match &self.lock().spill {
            Spill::File(file) => (Arc::clone(&file.file), file.header, file.sums.len()),
            _ => return Ok(()),
        };
        let bytes: usize = blocks.iter().map(Bytes::len).sum();
        let end = header.body_at() + (written * BLOCK + bytes) as u64;
        self.more_space(prelude, end + count(end) * 4)?;
        let mut sums = Vec::with_capacity(blocks.len());
        for (at, block) in (written..).zip(blocks) {
            disk.fs
                .write(&file, block, header.body_at() + (at * BLOCK) as u64)?;
            sums.push(crc32fast::hash(block));
        }
        let mut state = self.lock();
        if let Spill::File(file) = &mut state.spill {
            file.sums.extend(sums);
        }
        state.trim();
        let filler = state.filler();
        drop(state);
        filler.into_iter().for_each(Waker::wake);
        Ok(())
    }

    /// For a body of unknown length, room comes a mebibyte at a time.
    fn more_space(&self, prelude: &Prelude, end: u64) -> io::Result<()> {
        let has = match &self.lock().spill {
            Spill::File(file) => file.space.as_ref().map_or(0, Space::bytes),
            _ => return Ok(()),
        };
        if has >= end {
            return Ok(());
        }
        let step = if prelude.length.is_some() { 0 } else { STEP };
        let more = on_disk(end - has + step);
        let more = self.core.space(&self.owner, more).ok_or_else(no_space)?;
        if let Spill::File(file) = &mut self.lock().spill
            && let Some(space) = &mut file.space
        {
            space.merge(more);
        }
        Ok(())
    }

    fn finish_file(self: &Arc<Self>, disk: &Disk, prelude: &Prelude, file: Spilled) {
        let body_len = self.lock().len;
        let header = Header {
            body_len,
            ..file.header
        };
        let done = self.lock().doomed || {
            let done = finish(disk, &file.file, header, &file.sums);
            let done = done.and_then(|()| disk.fs.publish(prelude.id));
            done.map_err(|error| self.fail(disk, prelude, &error))
                .is_ok()
        };
        if !done {
            return;
        }
        let doomed = self.lock().doomed;
        match file.space {
            Some(space) if !doomed => self.enter(disk, prelude, space, header.file_len()),
            _ => self.drop_file(disk, prelude),
        }
        self.detach();
    }

    /// Makes the entry. After this it is found in the index, before in the shard's flights.
    fn enter(&self, disk: &Disk, prelude: &Prelude, mut space: Space, len: u64) {
        let core: &Arc<Core> = &self.core;
        space.shrink(on_disk(len));
        let used = core.seconds(std::time::Instant::now());
        let Some(mut new) = core
            .index
            .entry(self.hash, prelude.id, &prelude.ident, used)
        else {
            return self.drop_file(disk, prelude);
        };
        new.disk = space.weight();
        if new.disk.is_none() {
            return self.drop_file(disk, prelude);
        }
        let mut debris = Debris::default();
        disk.entries.fetch_add(1, Relaxed);
        let entered = core.index.insert(new, &mut debris);
        if entered {
            space.hand_over();
        } else {
            disk.entries.fetch_sub(1, Relaxed);
            drop(space);
            self.drop_file(disk, prelude);
        }
        core.discard_here(debris);
        if entered && self.lock().doomed {
            core.forget(self.hash, prelude.id);
        }
    }

    fn drop_file(&self, disk: &Disk, prelude: &Prelude) {
        let _ = disk.fs.remove_unfinished(prelude.id);
        let _ = disk.fs.remove(prelude.id);
    }

    fn fail(self: &Arc<Self>, disk: &Disk, prelude: &Prelude, error: &io::Error) {
        // No room of ours need not be told; that the file system has none must be.
        if error.kind() != io::ErrorKind::StorageFull || error.raw_os_error().is_some() {
            self.core.unwritable(prelude.id, error);
        }
        self.core.unwritten.fetch_add(1, Relaxed);
        self.drop_file(disk, prelude);
        let mut state = self.lock();
        state.give_up();
        state.writing = false;
        let filler = state.filler();
        drop(state);
        self.detach();
        filler.into_iter().for_each(Waker::wake);
    }

    /// The body has ended too early: its file goes.
    pub(super) fn abandon(self: &Arc<Self>) {
        let mut state = self.lock();
        let file = state.give_up();
        let id = state.prelude.as_ref().map(|prelude| prelude.id);
        drop(state);
        if let Some(id) = id.filter(|_| file) {
            self.remove_file(id);
        }
    }

    pub(super) fn remove_file(&self, id: u64) {
        let core = Arc::clone(&self.core);
        self.core.pool.must(move || {
            if let Some(disk) = core.disk.get() {
                let _ = disk.fs.remove_unfinished(id);
            }
        });
    }
}

/// No room of ours: nothing that would have to be told, unlike a disk that is full for others.
fn no_space() -> io::Error {
    io::ErrorKind::StorageFull.into()
}

/// Blocks that one job takes at once.
const BATCH: usize = 8;
const STEP: u64 = 1 << 20;
