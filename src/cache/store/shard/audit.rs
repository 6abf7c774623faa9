//! The books, by going through everything.

use super::{Resident, Shard, Slot};
use crate::cache::store::slab::{NONE, Place, Slab};

#[derive(Debug, Default)]
pub(in crate::cache::store) struct Audit {
    pub(in crate::cache::store) slots: usize,
    pub(in crate::cache::store) memory: u64,
    pub(in crate::cache::store) disk: u64,
    pub(in crate::cache::store) tags: u64,
    pub(in crate::cache::store) ids: Vec<u64>,
}

impl Shard {
    /// Weights in memory (bytes) and on disk (units), and numbers, by going through everything.
    pub(in crate::cache::store) fn audit(&self) -> Audit {
        let mut audit = Audit::default();
        for at in 0..self.slots.capacity() as u32 {
            let Some(slot) = self.slots.get(at) else {
                continue;
            };
            audit.slots += 1;
            assert_eq!(
                self.chain(slot.hash).filter(|other| *other == at).count(),
                1
            );
            assert!(
                slot.memory != NONE || slot.link.place != Place::Nowhere,
                "in no tier"
            );
            if slot.link.place != Place::Nowhere {
                audit.disk += u64::from(slot.link.weight);
                audit.ids.push(slot.id);
            }
            if slot.memory != NONE {
                let resident = &self.residents[slot.memory];
                assert_eq!(resident.slot, at);
                audit.memory += u64::from(resident.link.weight);
                let object = resident.object.as_ref().expect("an object");
                assert_eq!(
                    (object.id, object.weight()),
                    (slot.id, resident.link.weight.into())
                );
            }
        }
        audit.tags = self.tags.values().map(|tags| tags._charge.amount()).sum();
        assert_eq!(audit.slots, self.slots.len());
        assert_eq!(
            (audit.memory, audit.disk),
            (self.memory.weight(None), self.disk.weight(None))
        );
        let cost = self.slots.capacity() as u64 / 64 * Slab::<Slot>::CHUNK_COST
            + self.residents.capacity() as u64 / 64 * Slab::<Resident>::CHUNK_COST
            + self.buckets.len() as u64 * 4;
        assert_eq!(cost, self.charged());
        audit
    }
}
