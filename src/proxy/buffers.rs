//! Buffers of one worker, lent out for as long as bytes are under way: a connection that rests holds
//! none.

use super::fields::FieldIndex;
use super::spare::Spare;

/// A worker's spare buffers.
pub(crate) struct Buffers {
    text: Spare<Vec<u8>>,
    small: Spare<Vec<u8>>,
    large: Spare<Vec<u8>>,
    indexes: Spare<FieldIndex>,
}

impl Default for Buffers {
    fn default() -> Self {
        Self {
            text: Spare::new(SPARE_TEXTS),
            small: Spare::new(SPARE_SMALL),
            large: Spare::new(SPARE_LARGE),
            indexes: Spare::new(SPARE_INDEXES),
        }
    }
}

impl Buffers {
    /// An empty buffer for [`TEXT`] bytes: a head by itself.
    pub(crate) fn text(&self) -> Vec<u8> {
        let spare = self.text.take();
        spare.unwrap_or_else(|| Vec::with_capacity(TEXT))
    }

    /// An empty buffer for [`SMALL`] bytes: heads, and bodies that come with them.
    pub(crate) fn small(&self) -> Vec<u8> {
        let spare = self.small.take();
        spare.unwrap_or_else(|| Vec::with_capacity(SMALL))
    }

    /// An empty buffer for [`LARGE`] bytes of a body.
    pub(crate) fn large(&self) -> Vec<u8> {
        let spare = self.large.take();
        spare.unwrap_or_else(|| Vec::with_capacity(LARGE))
    }

    /// Takes a buffer back; what it holds is forgotten. Any size may be given.
    pub(crate) fn give(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        // One that never was of ours, or grew for somebody's large head, is not kept.
        let _ = match buffer.capacity() {
            TEXT => self.text.give(buffer),
            SMALL..=MAX_SMALL => self.small.give(buffer),
            LARGE..=MAX_LARGE => self.large.give(buffer),
            _ => return,
        };
    }

    /// An empty index of fields.
    pub(crate) fn index(&self) -> FieldIndex {
        self.indexes.take().unwrap_or_default()
    }

    /// Takes an index back.
    pub(crate) fn give_index(&self, mut index: FieldIndex) {
        index.clear();
        let _ = self.indexes.give(index);
    }

    /// Lets go of what was not needed lately.
    pub(crate) fn trim(&self) {
        self.text.trim();
        self.small.trim();
        self.large.trim();
        self.indexes.trim();
    }

    /// Takes the buffer out of its owner and back.
    pub(crate) fn reclaim(&self, buffer: &mut Vec<u8>) {
        if buffer.capacity() > 0 {
            self.give(std::mem::take(buffer));
        }
    }
}

/// Most heads: a connection of HTTP/2 has up to 128 requests at once, so nothing larger is lent to them.
const TEXT: usize = 768;
/// A head of the usual size with a small body.
pub(crate) const SMALL: usize = 8 * 1024;
/// One read of a large body.
pub(crate) const LARGE: usize = 256 * 1024;
/// Some grow.
const MAX_SMALL: usize = 2 * SMALL;
const MAX_LARGE: usize = 2 * LARGE;
/// At most 384 KiB, 2 MiB and 2 MiB are kept for each worker while it is busy.
const SPARE_TEXTS: usize = 512;
const SPARE_SMALL: usize = 256;
const SPARE_LARGE: usize = 8;
/// Of at most 128 fields, so 640 KiB.
const SPARE_INDEXES: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_by_size_and_in_bounds() {
        let buffers = Buffers::default();
        for _ in 0..2 * SPARE_SMALL {
            buffers.give(Vec::with_capacity(SMALL));
        }
        let mut kept = 0;
        while buffers.small.take().is_some() {
            kept += 1;
        }
        assert_eq!(kept, SPARE_SMALL);
        let mut large = buffers.large();
        large.push(1);
        buffers.reclaim(&mut large);
        assert_eq!(large.capacity(), 0);
        assert!(buffers.large().is_empty());
        buffers.give(Vec::with_capacity(8 * LARGE));
        buffers.give(Vec::new());
        assert!(buffers.large.take().is_none());
    }
}
