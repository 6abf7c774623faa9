//! Whole responses to and from files. All of this waits for the disk, and runs in the pool.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;

use super::account::{held, held_cost};
use super::core::{Core, Disk, Fault, Space, on_disk};
use super::file::{Preface, damaged, finish, is_ours, is_passing, read_block, read_preface};
use super::format::{self, HEADER, Header, MARKS, STALE, Slot};
use super::object::{BLOCK, Body, FileBody, Ident, Key, Object, Response, count};
use super::shard::Debris;
use super::stats::Cause;

impl Core {
    /// Writes a response that is in memory, and tells the index. Where that fails it stays in memory only.
    pub(super) fn write_behind(&self, hash: u64, object: &Object) {
        if self.try_write(hash, object).is_none() {
            self.unwritten.fetch_add(1, Relaxed);
        }
    }

    fn try_write(&self, hash: u64, object: &Object) -> Option<()> {
        let disk = self.disk.get()?;
        let Body::Memory(blocks) = &object.body else {
            return None;
        };
        let preface = Preface::new(object.id, &object.ident, object.meta(), object.head())?;
        let header = Header {
            body_len: object.len(),
            ..preface.header
        };
        let space = self.space(&object.ident.owner, on_disk(header.file_len()))?;
        let sums: Vec<u32> = blocks.iter().map(|block| crc32fast::hash(block)).collect();
        let write = || {
            let file = disk.fs.create(object.id)?;
            disk.fs.write(&file, &preface.bytes, 0)?;
            for (at, block) in blocks.iter().enumerate() {
                disk.fs
                    .write(&file, block, header.body_at() + (at * BLOCK) as u64)?;
            }
            finish(disk, &file, header, &sums)
        };
        if let Err(error) = write() {
            self.unwritable(object.id, &error);
            let _ = disk.fs.remove_unfinished(object.id);
            return None;
        }
        self.publish(disk, hash, object, space)
    }

    /// Names a file that is whole, and makes its entry's weight of its space.
    fn publish(&self, disk: &Disk, hash: u64, object: &Object, space: Space) -> Option<()> {
        let Some(weight) = space.weight() else {
            let _ = disk.fs.remove_unfinished(object.id);
            return None;
        };
        if let Err(error) = disk.fs.publish(object.id) {
            self.unwritable(object.id, &error);
            let _ = disk.fs.remove_unfinished(object.id);
            return None;
        }
        let owner = &object.ident.owner;
        disk.entries.fetch_add(1, Relaxed);
        let placed = self
            .index
            .shard(hash)
            .on_disk(hash, object.id, weight, owner);
        if let Some(stale) = placed {
            space.hand_over();
            if stale {
                self.write_marks(&[object.id]);
            }
            return Some(());
        }
        // It has gone meanwhile.
        disk.entries.fetch_sub(1, Relaxed);
        let _ = disk.fs.remove(object.id);
        Some(())
    }

    /// Removes the entry `id` of a purged response.
    pub(super) fn forget(self: &Arc<Self>, hash: u64, id: u64) {
        let mut debris = Debris::default();
        let this = |slot: &super::shard::Slot| slot.id == id;
        self.index
            .shard(hash)
            .remove_all(hash, Cause::Purged, &mut debris, this);
        self.discard(debris);
    }

    /// Reads the response that entry `id` stands for. Nothing, and no entry any more, if the file is not what was written;
    /// nothing if it is another key's.
    pub(super) fn load(
        self: &Arc<Self>,
        (hash, id): (u64, u64),
        key: &[u8],
        variant: &[u8],
    ) -> Option<Arc<Object>> {
        let disk = self.disk.get()?;
        let object = match self.try_load(disk, id) {
            Ok(object) => object,
            Err(error) => {
                if !is_passing(&error) {
                    self.broken(hash, id, &error);
                }
                return None;
            }
        };
        if *object.ident.key != *key || *object.ident.variant != *variant {
            return None;
        }
        let object = Arc::new(object);
        let kept = match &object.body {
            Body::Memory(_) => true,
            Body::File(file) => file._open.is_some(),
        };
        if kept {
            let mut debris = Debris::default();
            self.index.keep(hash, &object, &mut debris);
            self.discard_here(debris);
        }
        Some(object)
    }

    /// An entry whose file cannot be used goes. The file goes, too, if it is ours.
    pub(super) fn broken(&self, hash: u64, id: u64, error: &io::Error) {
        let mut debris = Debris::default();
        let this = |slot: &super::shard::Slot| slot.id == id;
        let cause = Cause::Broken;
        if self
            .index
            .shard(hash)
            .remove_all(hash, cause, &mut debris, this)
            == 0
        {
            return; // It has been evicted or replaced, so that its file is gone.
        }
        let fault = match error.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => Fault::Broken,
            _ => Fault::Read,
        };
        self.fault(fault, id, error);
        let Some(disk) = self.disk.get() else {
            return;
        };
        if is_ours(disk, id, false) {
            self.discard_here(debris);
            return;
        }
        for (_, weight, owner) in debris.files {
            let bytes = u64::from(weight) * super::core::UNIT;
            disk.entries.fetch_sub(1, Relaxed);
            disk.account.give(bytes);
            owner.give_disk(bytes);
        }
    }

    fn try_load(&self, disk: &Disk, id: u64) -> io::Result<Object> {
        let file = disk.fs.open(id)?;
        let (header, preface) = read_preface(disk, &file, id)?;
        let ident = self.ident(&header, &preface)?;
        let at = header.slot_at(0) as usize;
        let slot = Slot::latest(&preface[at..], &header).ok_or_else(damaged)?;
        let mut sums = vec![0; count(header.body_len) as usize * 4];
        disk.fs.read(&file, &mut sums, header.sums_at())?;
        let sums = format::decode_sums(&sums, &header).ok_or_else(damaged)?;
        let body = match self.read_body(disk, &file, &header, &sums)? {
            Some(blocks) => Body::Memory(blocks),
            None => Body::File(Arc::new(FileBody {
                file,
                at: header.body_at(),
                len: header.body_len,
                sums,
                _open: self.files.charge(1),
            })),
        };
        let mut debris = Debris::default();
        let cost = Object::cost(slot.meta, slot.head, &body);
        let charge = self
            .index
            .room(cost, &mut debris)
            .ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Object::new(id, ident, (slot.meta, slot.head), body, charge))
    }

    /// The whole body, if it is one for memory and there is room.
    fn read_body(
        &self,
        disk: &Disk,
        file: &File,
        header: &Header,
        sums: &[u32],
    ) -> io::Result<Option<Arc<[Bytes]>>> {
        if header.body_len > self.limits.object {
            return Ok(None);
        }
        let mut debris = Debris::default();
        let mut blocks = Vec::with_capacity(sums.len());
        for (at, sum) in sums.iter().enumerate() {
            let from = (at * BLOCK) as u64;
            let len = (header.body_len - from).min(BLOCK as u64) as usize;
            let Some(charge) = self.index.room(held_cost(len), &mut debris) else {
                return Ok(None);
            };
            let block = read_block(disk, file, header.body_at() + from, len, *sum)?;
            blocks.push(held(block, charge));
        }
        Ok(Some(blocks.into()))
    }

    pub(super) fn ident(&self, header: &Header, preface: &[u8]) -> io::Result<Arc<Ident>> {
        let bytes = &preface[HEADER..HEADER + header.ident_len as usize];
        let ident = format::Ident::decode(bytes, header).ok_or_else(damaged)?;
        let owner = std::str::from_utf8(ident.owner).map_err(|_| damaged())?;
        let owner = self.index.owners.named(owner, None);
        let owner = owner.ok_or(io::ErrorKind::OutOfMemory)?;
        let key = Key {
            bytes: ident.key,
            host: ident.host,
            owner: &owner,
            hash: 0,
        };
        let response = Response {
            tags: &ident.tags,
            vary: (!ident.rule.is_empty()).then_some((ident.rule, ident.variant)),
            ..Response::default()
        };
        let room = |bytes| self.index.room(bytes, &mut Debris::default());
        Ok(Ident::new(key, &response, room).ok_or(io::ErrorKind::OutOfMemory)?)
    }

    /// Writes the notes and head of a refreshed response beside the ones it had.
    pub(super) fn rewrite(&self, hash: u64, object: &Object) {
        let Some(disk) = self.disk.get() else {
            return;
        };
        let rewrite = || -> io::Result<bool> {
            let file = disk.fs.open(object.id)?;
            let (header, preface) = read_preface(disk, &file, object.id)?;
            let at = header.slot_at(0) as usize;
            let last = Slot::latest(&preface[at..], &header).ok_or_else(damaged)?;
            let version = last.version.wrapping_add(1);
            let slot = Slot {
                version,
                meta: object.meta(),
                head: object.head(),
            };
            let slot = slot.encode(header.id);
            if slot.len() > header.slot_len as usize {
                return Ok(false);
            }
            disk.fs.write(&file, &slot, header.slot_at(version))?;
            let stale = self.index.shard(hash).is_stale(hash, object.id);
            let marks = if stale { STALE } else { 0 };
            disk.fs.write(&file, &marks.to_le_bytes(), MARKS as u64)?;
            Ok(true)
        };
        match rewrite() {
            Ok(true) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // No room for the new head: better fetched again than found again as it was.
            Ok(false) => {
                let mut debris = Debris::default();
                let this = |slot: &super::shard::Slot| slot.id == object.id;
                self.index
                    .shard(hash)
                    .remove_all(hash, Cause::Replaced, &mut debris, this);
                self.discard_here(debris);
            }
            Err(error) => self.broken(hash, object.id, &error),
        }
    }

    /// Marks files as stale, where they are.
    pub(super) fn write_marks(&self, ids: &[u64]) {
        let Some(disk) = self.disk.get() else {
            return;
        };
        for id in ids {
            if let Ok(file) = disk.fs.open(*id)
                && let Err(error) = disk.fs.write(&file, &STALE.to_le_bytes(), MARKS as u64)
            {
                self.unwritable(*id, &error);
            }
        }
    }
}
