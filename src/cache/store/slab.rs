//! Entries of equal size under small numbers, in chunks: growing copies nothing, and takes exactly what it says.

use std::ops::{Index, IndexMut};

/// No entry.
pub(super) const NONE: u32 = u32::MAX;

/// What an entry needs to stand in a list, 16 bytes. While an entry is free, `next` is the next free one.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) prev: u32,
    pub(super) next: u32,
    /// In units of the tier.
    pub(super) weight: u32,
    pub(super) owner: u16,
    /// Hits since it was last looked at for eviction, up to 3.
    pub(super) hits: u8,
    pub(super) place: Place,
}

/// Which list an entry is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Free,
    /// In use, in no list.
    Nowhere,
    Small,
    Main,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            prev: NONE,
            next: NONE,
            weight: 0,
            owner: 0,
            hits: 0,
            place: Place::Free,
        }
    }
}

pub(super) trait Linked: Default {
    fn link(&self) -> &Link;
    fn link_mut(&mut self) -> &mut Link;
}

#[derive(Debug)]
pub(super) struct Slab<T> {
    chunks: Vec<Box<[T]>>,
    free: u32,
    len: usize,
}

impl<T: Linked> Slab<T> {
    /// Bytes that one more chunk takes, with its place in the list of chunks.
    pub(super) const CHUNK_COST: u64 = (CHUNK * size_of::<T>() + 48) as u64;

    pub(super) fn new() -> Self {
        Self {
            chunks: Vec::new(),
            free: NONE,
            len: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn capacity(&self) -> usize {
        self.chunks.len() * CHUNK
    }

    pub(super) fn is_full(&self) -> bool {
        self.free == NONE
    }

    /// Adds a chunk; who calls has been charged [`CHUNK_COST`](Self::CHUNK_COST). Nothing once numbers run out.
    pub(super) fn grow(&mut self) {
        let last = self.capacity() + CHUNK;
        let first = match u32::try_from(last) {
            Ok(last) if last < NONE => last - CHUNK as u32,
            _ => return,
        };
        self.chunks.push((0..CHUNK).map(|_| T::default()).collect());
        for at in (first..first + CHUNK as u32).rev() {
            self[at].link_mut().next = self.free;
            self.free = at;
        }
    }

    /// Nothing where there is no chunk with room.
    pub(super) fn insert(&mut self, value: T) -> Option<u32> {
        let at = self.free;
        if at == NONE {
            return None;
        }
        self.free = self[at].link().next;
        self[at] = value;
        let link = self[at].link_mut();
        (link.prev, link.next, link.place) = (NONE, NONE, Place::Nowhere);
        self.len += 1;
        Some(at)
    }

    pub(super) fn remove(&mut self, at: u32) -> T {
        debug_assert_eq!(self[at].link().place, Place::Nowhere);
        let value = std::mem::take(&mut self[at]);
        self[at].link_mut().next = self.free;
        self.free = at;
        self.len -= 1;
        value
    }

    /// Gives all chunks back; only while nothing is in them.
    pub(super) fn clear(&mut self) {
        debug_assert_eq!(self.len, 0);
        *self = Self::new();
    }

    pub(super) fn get(&self, at: u32) -> Option<&T> {
        let at = at as usize;
        let value = &self.chunks.get(at / CHUNK)?[at % CHUNK];
        (value.link().place != Place::Free).then_some(value)
    }
}

impl<T> Index<u32> for Slab<T> {
    type Output = T;

    fn index(&self, at: u32) -> &T {
        &self.chunks[at as usize / CHUNK][at as usize % CHUNK]
    }
}

impl<T> IndexMut<u32> for Slab<T> {
    fn index_mut(&mut self, at: u32) -> &mut T {
        &mut self.chunks[at as usize / CHUNK][at as usize % CHUNK]
    }
}

const CHUNK: usize = 64;
