//! What has come and has not been taken yet, in order: blocks in memory, and slots of a file. Pure: it says what is to be
//! written and where, and others write it.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::room::{Charge, DiskCharge, Need, Room};
use super::{BLOCK, Bounds};

/// Invariants: only the last block in memory may have room left; what is in front of a slot that is being written stays.
#[derive(Debug)]
pub(super) struct Queue {
    room: Arc<Room>,
    bounds: Bounds,
    need: Need,
    /// Bytes of the first block at first.
    first: usize,
    segments: VecDeque<Segment>,
    /// So much of the first one is taken.
    at: usize,
    len: u64,
    /// Bytes of memory, of blocks that are being written, too.
    held: u64,
    /// Segments that are not in memory.
    filed: usize,
    /// Memory was not enough: what comes goes to the file until all that is in it is taken.
    spills: bool,
    /// A job is under way.
    writing: bool,
    /// The file takes no more.
    failed: bool,
    /// Slots that may be used again.
    free: Vec<u32>,
    /// Those from here on have never been used.
    next: u32,
    disk: Option<Arc<DiskCharge>>,
}

#[derive(Debug)]
pub(super) enum Segment {
    Memory(Block),
    Writing { slot: u32, len: usize },
    File { slot: u32, len: usize },
}

/// Bytes in memory.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) bytes: Vec<u8>,
    /// How many it may hold.
    size: usize,
    charge: Charge,
}

/// What is next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Front<'a> {
    Nothing,
    Bytes(&'a [u8]),
    /// So many bytes from a place in the file on.
    File {
        at: u64,
        len: usize,
    },
    /// It is just being written.
    Busy,
}

/// Blocks to be written, each to its slot.
#[derive(Debug)]
pub(super) struct Job {
    blocks: Vec<(u32, Block)>,
    pub(super) disk: Arc<DiskCharge>,
}

impl Queue {
    /// `first`: bytes that are expected, if that is known.
    pub(super) fn new(room: &Arc<Room>, bounds: Bounds, need: Need, first: Option<u64>) -> Self {
        let first = first.unwrap_or(FIRST as u64).clamp(1, BLOCK as u64);
        Self {
            room: Arc::clone(room),
            bounds,
            need,
            first: first as usize,
            segments: VecDeque::new(),
            at: 0,
            len: 0,
            held: 0,
            filed: 0,
            spills: false,
            writing: false,
            failed: false,
            free: Vec::new(),
            next: 0,
            disk: None,
        }
    }

    /// Bytes that have not been taken.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn segments(&self) -> &VecDeque<Segment> {
        &self.segments
    }

    /// Whether everything that may be held is.
    pub(super) fn is_at_bounds(&self) -> bool {
        let most = self.bounds.memory.max(BLOCK as u64) + self.slots() * BLOCK as u64;
        self.len + BLOCK as u64 > most
    }

    // -- what comes --------------------------------------------------------------------------

    /// Sees that there is room for something; `false` if there is none for the moment.
    pub(super) fn make_room(&mut self) -> bool {
        if let Some(Segment::Memory(block)) = self.segments.back_mut() {
            if block.bytes.len() < block.size {
                return true;
            }
            if block.size < BLOCK {
                let more = block.size.min(BLOCK - block.size);
                let granted = grant(&self.room, self.bounds, self.held, more, self.need);
                if let Some(charge) = granted {
                    block.bytes.reserve_exact(more);
                    block.size += more;
                    block.charge.merge(charge);
                    self.held += more as u64;
                    return true;
                }
            }
        }
        let size = match self.segments.is_empty() {
            true => self.first,
            false => BLOCK,
        };
        let granted = grant(&self.room, self.bounds, self.held, size, self.need);
        let Some(charge) = granted else {
            self.spills = true;
            return false;
        };
        self.add(Vec::with_capacity(size), size, charge);
        true
    }

    fn add(&mut self, bytes: Vec<u8>, size: usize, charge: Charge) {
        self.held += size as u64;
        self.segments.push_back(Segment::Memory(Block {
            bytes,
            size,
            charge,
        }));
    }

    /// The bytes behind which there is room for so many more, after [`Self::make_room`].
    pub(super) fn tail(&mut self) -> Option<(&mut Vec<u8>, usize)> {
        match self.segments.back_mut() {
            Some(Segment::Memory(block)) => {
                let room = block.size.saturating_sub(block.bytes.len());
                Some((&mut block.bytes, room))
            }
            _ => None,
        }
    }

    /// So many have been put there.
    pub(super) fn grew(&mut self, count: usize) {
        self.len += count as u64;
        if self.len == 0 {
            self.forget_empty();
        }
    }

    // -- to the file -------------------------------------------------------------------------

    /// What is to be written now: of what is in memory the end, so that what is wanted first stays there.
    pub(super) fn next_job(&mut self) -> Option<Job> {
        if !self.spills || self.writing || self.failed || self.slots() == 0 {
            return None;
        }
        let is_full = |segment: &Segment| match segment {
            Segment::Memory(block) => block.bytes.len() == block.size,
            _ => false,
        };
        let mut end = self.segments.len();
        if let Some(last @ Segment::Memory(_)) = self.segments.back()
            && !is_full(last)
        {
            end -= 1;
        }
        let full = self.segments.range(..end).rev();
        let mut start = end - full.take_while(|segment| is_full(segment)).count();
        if self.filed == 0 {
            start = start.max(end / 2);
        }
        let end = end.min(start + BATCH);
        let mut blocks = Vec::new();
        for index in start..end {
            let Some(slot) = self.slot() else {
                break;
            };
            let segment = &mut self.segments[index];
            let len = match segment {
                Segment::Memory(block) => block.bytes.len(),
                _ => 0,
            };
            let taken = std::mem::replace(segment, Segment::Writing { slot, len });
            if let Segment::Memory(block) = taken {
                blocks.push((slot, block));
            }
        }
        let disk = Arc::clone(self.disk.as_ref()?);
        self.filed += blocks.len();
        self.writing = !blocks.is_empty();
        self.writing.then_some(Job { blocks, disk })
    }

    /// A job is done, or has failed and brings its blocks back.
    pub(super) fn written(&mut self, job: Job, done: bool) {
        self.writing = false;
        self.failed |= !done;
        for (slot, block) in job.blocks {
            // Among the last ones.
            let is_it = |segment: &Segment| matches!(segment, Segment::Writing { slot: it, .. } if *it == slot);
            let Some(index) = self.segments.iter().rposition(is_it) else {
                continue;
            };
            let len = block.bytes.len();
            self.segments[index] = match done {
                true => {
                    self.held -= block.size as u64;
                    Segment::File { slot, len }
                }
                false => {
                    self.filed -= 1;
                    self.free.push(slot);
                    Segment::Memory(block)
                }
            };
        }
        self.rest();
    }

    /// The blocks of a job will never come back.
    pub(super) fn lost(&mut self) {
        (self.writing, self.failed) = (false, true);
    }

    /// Slots that the file may have.
    fn slots(&self) -> u64 {
        match self.room.has_disk() {
            true => self.bounds.disk.div_ceil(BLOCK as u64).min(u32::MAX.into()),
            false => 0,
        }
    }

    fn slot(&mut self) -> Option<u32> {
        if let Some(slot) = self.free.pop() {
            return Some(slot);
        }
        let (next, slots) = (self.next, self.slots());
        let room = &self.room;
        let disk = (self.disk).get_or_insert_with(|| Arc::new(DiskCharge::new(room)));
        let granted = u64::from(next) < slots && disk.grow(BLOCK as u64);
        self.next += u32::from(granted);
        granted.then_some(next)
    }

    /// Whether the file holds nothing that is wanted.
    pub(super) fn is_file_idle(&self) -> bool {
        self.filed == 0 && !self.writing
    }

    /// Once the file holds nothing, it is another one that is needed next.
    fn rest(&mut self) {
        if self.is_file_idle() {
            self.spills = false;
            self.free.clear();
            self.next = 0;
            self.disk = None;
        }
    }

    // -- what goes ---------------------------------------------------------------------------

    pub(super) fn front(&self) -> Front<'_> {
        match self.segments.front() {
            Some(Segment::Memory(block)) if self.len > 0 => Front::Bytes(&block.bytes[self.at..]),
            Some(Segment::File { slot, len }) => Front::File {
                at: place(*slot) + self.at as u64,
                len: len - self.at,
            },
            Some(Segment::Writing { .. }) => Front::Busy,
            None | Some(Segment::Memory(_)) => Front::Nothing,
        }
    }

    /// What [`Self::front`] has said is in the file has been read.
    pub(super) fn was_read(&mut self, bytes: Vec<u8>) {
        if let Some(Segment::File { slot, .. }) = self.segments.front() {
            self.free.push(*slot);
            self.filed -= 1;
            self.at = 0;
            let size = bytes.len();
            let charge = self.room.force(size as u64);
            self.held += size as u64;
            self.segments[0] = Segment::Memory(Block {
                bytes,
                size,
                charge,
            });
            self.rest();
        }
    }

    /// So much of it is taken.
    pub(super) fn take(&mut self, count: usize) {
        self.at += count;
        self.len -= count as u64;
        let len = match self.segments.front() {
            Some(Segment::Memory(block)) => block.bytes.len(),
            Some(Segment::File { len, .. } | Segment::Writing { len, .. }) => *len,
            None => return,
        };
        if self.at < len {
            return;
        }
        self.at = 0;
        match self.segments.pop_front() {
            Some(Segment::Memory(block)) => self.held -= block.size as u64,
            Some(Segment::File { slot, .. }) => {
                self.free.push(slot);
                self.filed -= 1;
                self.rest();
            }
            Some(Segment::Writing { .. }) | None => {}
        }
        if self.len == 0 {
            self.forget_empty();
        }
    }

    /// Nothing is held for nothing.
    fn forget_empty(&mut self) {
        if let Some(Segment::Memory(block)) = self.segments.pop_back() {
            self.held -= block.size as u64;
        }
    }
}

impl Job {
    /// Each block, and where it goes.
    pub(super) fn pieces(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let blocks = self.blocks.iter();
        blocks.map(|(slot, block)| (place(*slot), &block.bytes[..]))
    }

    /// Blocks.
    pub(super) fn write(&self, file: &File) -> io::Result<()> {
        Room::spares(file, (self.blocks.len() * BLOCK) as u64)?;
        for (at, bytes) in self.pieces() {
            file.write_all_at(bytes, at)?;
        }
        Ok(())
    }
}

/// Where a slot begins.
pub(super) fn place(slot: u32) -> u64 {
    u64::from(slot) * BLOCK as u64
}

fn grant(room: &Arc<Room>, bounds: Bounds, held: u64, bytes: usize, need: Need) -> Option<Charge> {
    let bytes = bytes as u64;
    let within = held + bytes <= bounds.memory || held == 0;
    within.then(|| room.grant(bytes, held, need)).flatten()
}

/// What the first block holds at first, where nobody knows how much comes.
const FIRST: usize = 8 * 1024;
/// Blocks that one job writes.
const BATCH: usize = 4;
