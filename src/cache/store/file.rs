//! One file: its parts written, read and checked.

use std::fs::File;
use std::io;

use super::core::Disk;
use super::format::{self, HEADER, Header, MAGIC, Slot};
use super::object::Ident;

/// What stands before a body: the header's place, ident, slots.
pub(super) struct Preface {
    pub(super) header: Header,
    pub(super) bytes: Vec<u8>,
}

impl Preface {
    /// Nothing if it is too long for a file.
    pub(super) fn new(id: u64, ident: &Ident, meta: &[u8], head: &[u8]) -> Option<Self> {
        let encoded = format_ident(ident).encode();
        if !format::fits(encoded.len(), meta, head) {
            return None;
        }
        let slot = Slot {
            version: 0,
            meta,
            head,
        }
        .encode(id);
        let header = Header {
            id,
            marks: 0,
            ident_len: encoded.len() as u32,
            ident_sum: crc32fast::hash(&encoded),
            slot_len: format::slot_len(meta, head),
            body_len: 0,
            sums_sum: 0,
        };
        let mut bytes = vec![0; header.body_at() as usize];
        bytes[..MAGIC.len()].copy_from_slice(&MAGIC);
        bytes[HEADER..HEADER + encoded.len()].copy_from_slice(&encoded);
        let at = header.slot_at(0) as usize;
        bytes[at..at + slot.len()].copy_from_slice(&slot);
        Some(Self { header, bytes })
    }
}

fn format_ident(ident: &Ident) -> format::Ident<'_> {
    format::Ident {
        key: &ident.key,
        host: &ident.host,
        owner: ident.owner.name().as_bytes(),
        rule: &ident.rule,
        variant: &ident.variant,
        tags: ident.tags.iter().map(|tag| &**tag).collect(),
    }
}

/// Writes the checksums and, last, the header. The file is whole then, but for its name.
pub(super) fn finish(disk: &Disk, file: &File, header: Header, sums: &[u32]) -> io::Result<()> {
    let sums = format::encode_sums(sums);
    let header = Header {
        sums_sum: crc32fast::hash(&sums),
        ..header
    };
    disk.fs.write(file, &sums, header.sums_at())?;
    disk.fs.write(file, &header.encode(), 0)
}

/// Reads a block and checks it.
pub(super) fn read_block(
    disk: &Disk,
    file: &File,
    at: u64,
    len: usize,
    sum: u32,
) -> io::Result<Box<[u8]>> {
    let mut block = vec![0; len];
    disk.fs.read(file, &mut block, at)?;
    if crc32fast::hash(&block) != sum {
        return Err(damaged());
    }
    Ok(block.into())
}

/// Header, ident and slots of a file that has the length it says. The ident and the slots are not checked yet.
pub(super) fn read_preface(disk: &Disk, file: &File, id: u64) -> io::Result<(Header, Vec<u8>)> {
    let len = file.metadata()?.len();
    let mut bytes = vec![0; len.min(FIRST) as usize];
    disk.fs.read(file, &mut bytes, 0)?;
    let header = Header::decode(&bytes).ok_or_else(damaged)?;
    if header.id != id || header.file_len() != len {
        return Err(damaged());
    }
    let read = bytes.len();
    bytes.resize(header.body_at() as usize, 0);
    if read < bytes.len() {
        disk.fs.read(file, &mut bytes[read..], read as u64)?;
    }
    Ok((header, bytes))
}

/// Whether a file begins as ours do. An empty one with a name of ours is what a crash has left.
pub(super) fn is_ours(disk: &Disk, id: u64, unfinished: bool) -> bool {
    let file = if unfinished {
        disk.fs.open_unfinished(id)
    } else {
        disk.fs.open(id)
    };
    let Ok(file) = file else {
        return false;
    };
    if file.metadata().is_ok_and(|meta| meta.len() == 0) {
        return true;
    }
    let mut magic = [0; MAGIC.len()];
    disk.fs.read(&file, &mut magic, 0).is_ok() && magic == MAGIC
}

/// Whether an error says nothing of the file.
pub(super) fn is_passing(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let errno = Errno::from_io_error(error);
    error.kind() == io::ErrorKind::OutOfMemory || matches!(errno, Some(Errno::MFILE | Errno::NFILE))
}

pub(super) fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "it is not what was written")
}

/// Read at once from the beginning of a file: more than most heads.
const FIRST: u64 = 8192;
