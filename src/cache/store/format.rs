//! A response as a file. Nothing is ever flushed: what a crash leaves half written does not match its checksums, and is
//! a miss.
//!
//! ```text
//! header   64 bytes, checksum over all of it but the marks
//! ident    key, host, owner, Vary rule, variant, tags: each with its length in front
//! slot A   the rules' notes and the head, with a number and a checksum of their own
//! slot B   the next version of them: a refresh writes the slot that is not in use, and touches nothing else
//! body
//! sums     a CRC-32 for each 64 KiB of body
//! ```
//!
//! All numbers are little endian.

use super::object::{BLOCK, count};

/// The fixed part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) id: u64,
    /// Not in the checksum, changed in place: see [`STALE`].
    pub(super) marks: u32,
    pub(super) ident_len: u32,
    pub(super) ident_sum: u32,
    pub(super) slot_len: u32,
    pub(super) body_len: u64,
    /// Checksum of the checksums.
    pub(super) sums_sum: u32,
}

/// Who a file is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ident<'a> {
    pub(super) key: &'a [u8],
    pub(super) host: &'a [u8],
    pub(super) owner: &'a [u8],
    pub(super) rule: &'a [u8],
    pub(super) variant: &'a [u8],
    pub(super) tags: Vec<&'a [u8]>,
}

/// A version of what a refresh changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot<'a> {
    pub(super) version: u32,
    pub(super) meta: &'a [u8],
    pub(super) head: &'a [u8],
}

impl Header {
    pub(super) fn encode(&self) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        out[..8].copy_from_slice(&MAGIC);
        put32(&mut out, 8, VERSION);
        put32(&mut out, MARKS, self.marks);
        out[16..24].copy_from_slice(&self.id.to_le_bytes());
        out[24..32].copy_from_slice(&self.body_len.to_le_bytes());
        put32(&mut out, 32, self.ident_len);
        put32(&mut out, 36, self.ident_sum);
        put32(&mut out, 40, self.slot_len);
        put32(&mut out, 44, self.sums_sum);
        put32(&mut out, 48, BLOCK as u32);
        let sum = header_sum(&out);
        put32(&mut out, 60, sum);
        out
    }

    /// Nothing if it is not a header of this version, whole.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; HEADER] = bytes.first_chunk()?;
        let fits = bytes[..8] == MAGIC
            && get32(bytes, 8) == VERSION
            && get32(bytes, 48) == BLOCK as u32
            && get32(bytes, 60) == header_sum(bytes);
        let header = Self {
            id: get64(bytes, 16),
            marks: get32(bytes, MARKS),
            ident_len: get32(bytes, 32),
            ident_sum: get32(bytes, 36),
            slot_len: get32(bytes, 40),
            body_len: get64(bytes, 24),
            sums_sum: get32(bytes, 44),
        };
        let bounded = header.ident_len <= IDENT_MAX && header.slot_len <= SLOT_MAX;
        (fits && bounded && header.body_len <= BODY_MAX).then_some(header)
    }

    pub(super) fn slot_at(&self, version: u32) -> u64 {
        let second = u64::from(version % 2) * u64::from(self.slot_len);
        HEADER as u64 + u64::from(self.ident_len) + second
    }

    pub(super) fn body_at(&self) -> u64 {
        HEADER as u64 + u64::from(self.ident_len) + 2 * u64::from(self.slot_len)
    }

    pub(super) fn sums_at(&self) -> u64 {
        self.body_at() + self.body_len
    }

    pub(super) fn file_len(&self) -> u64 {
        self.sums_at() + count(self.body_len) * 4
    }
}

impl<'a> Ident<'a> {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let parts = [self.key, self.host, self.owner, self.rule, self.variant];
        for part in parts.iter().chain(&self.tags) {
            out.extend_from_slice(&(part.len() as u32).to_le_bytes());
            out.extend_from_slice(part);
        }
        out
    }

    pub(super) fn decode(bytes: &'a [u8], header: &Header) -> Option<Self> {
        if crc32fast::hash(bytes) != header.ident_sum {
            return None;
        }
        let mut rest = bytes;
        let mut ident = Self {
            key: part(&mut rest)?,
            host: part(&mut rest)?,
            owner: part(&mut rest)?,
            rule: part(&mut rest)?,
            variant: part(&mut rest)?,
            tags: Vec::new(),
        };
        while !rest.is_empty() {
            ident.tags.push(part(&mut rest)?);
        }
        Some(ident)
    }
}

impl<'a> Slot<'a> {
    pub(super) fn encode(&self, id: u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(SLOT_HEAD + self.meta.len() + self.head.len());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.version.to_le_bytes());
        out.extend_from_slice(&(self.meta.len() as u32).to_le_bytes());
        out.extend_from_slice(&(self.head.len() as u32).to_le_bytes());
        out.extend_from_slice(self.meta);
        out.extend_from_slice(self.head);
        let sum = slot_sum(id, &out[4..]);
        put32(&mut out, 0, sum);
        out
    }

    /// The newer of the two that are whole.
    pub(super) fn latest(slots: &'a [u8], header: &Header) -> Option<Self> {
        let (first, second) = slots.split_at_checked(header.slot_len as usize)?;
        let slots = [
            Self::decode(first, header.id, 0),
            Self::decode(second, header.id, 1),
        ];
        slots.into_iter().flatten().max_by_key(|slot| slot.version)
    }

    fn decode(bytes: &'a [u8], id: u64, parity: u32) -> Option<Self> {
        let sized = bytes.len() >= SLOT_HEAD;
        let (version, meta_len) = sized.then(|| (get32(bytes, 4), get32(bytes, 8) as usize))?;
        let len = SLOT_HEAD
            .checked_add(meta_len)?
            .checked_add(get32(bytes, 12) as usize)?;
        let whole = bytes.get(..len)?;
        let valid = get32(bytes, 0) == slot_sum(id, &whole[4..]) && version % 2 == parity;
        let (meta, head) = whole[SLOT_HEAD..].split_at(meta_len);
        valid.then_some(Self {
            version,
            meta,
            head,
        })
    }
}

/// How long a slot has to be for these, with room for what a refresh adds.
pub(super) fn slot_len(meta: &[u8], head: &[u8]) -> u32 {
    let len = SLOT_HEAD + meta.len() + head.len();
    (len + len / 4 + 64).next_multiple_of(16) as u32
}

/// Whether a response is one that a file can hold.
pub(super) fn fits(ident_len: usize, meta: &[u8], head: &[u8]) -> bool {
    ident_len <= IDENT_MAX as usize
        && meta.len() + head.len() <= HEAD_MAX
        && slot_len(meta, head) <= SLOT_MAX
}

/// Checksums as they stand behind a body.
pub(super) fn encode_sums(sums: &[u32]) -> Vec<u8> {
    sums.iter().flat_map(|sum| sum.to_le_bytes()).collect()
}

pub(super) fn decode_sums(bytes: &[u8], header: &Header) -> Option<Box<[u32]>> {
    let valid = crc32fast::hash(bytes) == header.sums_sum;
    valid.then(|| bytes.chunks_exact(4).map(|sum| get32(sum, 0)).collect())
}

fn part<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, tail) = rest.split_first_chunk::<4>()?;
    let (part, tail) = tail.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    *rest = tail;
    Some(part)
}

fn header_sum(bytes: &[u8; HEADER]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&bytes[..MARKS]);
    sum.update(&bytes[MARKS + 4..60]);
    sum.finalize()
}

/// With the file's id: what a crash leaves of another file in the blocks of this one is not its slot.
fn slot_sum(id: u64, bytes: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&id.to_le_bytes());
    sum.update(bytes);
    sum.finalize()
}

fn put32(out: &mut [u8], at: usize, value: u32) {
    out[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

/// 0 beyond the end, where no checksum is right.
fn get32(bytes: &[u8], at: usize) -> u32 {
    let four = bytes.get(at..).and_then(<[u8]>::first_chunk);
    four.map_or(0, |four| u32::from_le_bytes(*four))
}

/// As [`get32`].
fn get64(bytes: &[u8], at: usize) -> u64 {
    let eight = bytes.get(at..).and_then(<[u8]>::first_chunk);
    eight.map_or(0, |eight| u64::from_le_bytes(*eight))
}

/// What every file of ours begins with, the unfinished ones too.
pub(super) const MAGIC: [u8; 8] = *b"\x89WHARFC\n";
pub(super) const HEADER: usize = 64;
/// Where the marks stand.
pub(super) const MARKS: usize = 12;
/// The mark of a response that must be asked about before it is used again.
pub(super) const STALE: u32 = 1;
const VERSION: u32 = 1;
const SLOT_HEAD: usize = 16;
const IDENT_MAX: u32 = 128 * 1024;
/// Notes and head of one response, in bytes.
const HEAD_MAX: usize = 256 * 1024;
const SLOT_MAX: u32 = 512 * 1024;
const BODY_MAX: u64 = 1 << 50;
