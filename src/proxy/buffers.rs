//! Buffers of one worker, lent out for as long as bytes are under way: a connection that rests holds
//! none.

use std::cell::RefCell;

use super::fields::FieldIndex;

/// A worker's spare buffers.
#[derive(Default)]
pub(crate) struct Buffers {
    small: RefCell<Vec<Vec<u8>>>,
    large: RefCell<Vec<Vec<u8>>>,
    indexes: RefCell<Vec<FieldIndex>>,
}

impl Buffers {
    /// An empty buffer for [`SMALL`] bytes: heads, and bodies that come with them.
    pub(crate) fn small(&self) -> Vec<u8> {
        let spare = self.small.borrow_mut().pop();
        spare.unwrap_or_else(|| Vec::with_capacity(SMALL))
    }

    /// An empty buffer for [`LARGE`] bytes of a body.
    pub(crate) fn large(&self) -> Vec<u8> {
        let spare = self.large.borrow_mut().pop();
        spare.unwrap_or_else(|| Vec::with_capacity(LARGE))
    }

    /// Takes a buffer back; what it holds is forgotten. Any size may be given.
    pub(crate) fn give(&self, mut buffer: Vec<u8>) {
        let (spare, most) = match buffer.capacity() {
            SMALL..LARGE => (&self.small, SPARE_SMALL),
            LARGE..=MAX_KEPT => (&self.large, SPARE_LARGE),
            // One that never was of ours, or grew for somebody's large head.
            _ => return,
        };
        let mut spare = spare.borrow_mut();
        if spare.len() < most {
            buffer.clear();
            spare.push(buffer);
        }
    }

    /// An empty index of fields.
    pub(crate) fn index(&self) -> FieldIndex {
        self.indexes.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes an index back.
    pub(crate) fn give_index(&self, mut index: FieldIndex) {
        let mut spare = self.indexes.borrow_mut();
        if spare.len() < SPARE_INDEXES {
            index.clear();
            spare.push(index);
        }
    }

    /// Takes the buffer out of its owner and back.
    pub(crate) fn reclaim(&self, buffer: &mut Vec<u8>) {
        if buffer.capacity() > 0 {
            self.give(std::mem::take(buffer));
        }
    }
}

/// A head of the usual size with a small body.
pub(crate) const SMALL: usize = 8 * 1024;
/// One read of a large body.
pub(crate) const LARGE: usize = 256 * 1024;
const MAX_KEPT: usize = 2 * LARGE;
/// At most 1 MiB and 2 MiB are kept for each worker.
const SPARE_SMALL: usize = 128;
const SPARE_LARGE: usize = 8;
/// Of at most 128 fields, so 160 KiB.
const SPARE_INDEXES: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_by_size_and_in_bounds() {
        let buffers = Buffers::default();
        for _ in 0..2 * SPARE_SMALL {
            buffers.give(Vec::with_capacity(SMALL));
        }
        assert_eq!(buffers.small.borrow().len(), SPARE_SMALL);
        let mut large = buffers.large();
        large.push(1);
        buffers.reclaim(&mut large);
        assert_eq!(large.capacity(), 0);
        assert!(buffers.large().is_empty());
        buffers.give(Vec::with_capacity(8 * LARGE));
        buffers.give(Vec::new());
        assert!(buffers.large.borrow().is_empty());
    }
}
