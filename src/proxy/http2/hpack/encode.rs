//! Writes header blocks.

use super::huffman;
use super::table::{DynamicTable, STATIC, counted, hash_field, hash_name, static_index};

/// Writes the header blocks of one connection. Holds no memory before its first field.
#[derive(Debug)]
pub(crate) struct Encoder {
    table: DynamicTable<Links>,
    /// Entries ever added: the number of the newest one, counted from 1.
    added: u64,
    /// The newest entry with each hash of a whole field. Empty before the first entry.
    fields: Vec<u64>,
    /// The newest entry with each hash of a name.
    names: Vec<u64>,
    /// The size the table is to have in the next block, and the least it was to have since the last.
    max_size: usize,
    least_size: usize,
}

/// Chains an entry to the next older one with the same hash. Entries leave the table oldest first, so a
/// chain ends at the first number that is no entry's any more, and nothing is ever unchained.
#[derive(Debug)]
struct Links {
    hash: u64,
    field: u64,
    name: u64,
}

/// How a field is written that is in no table (RFC 7541 section 6.2).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Literal {
    Added,
    NotAdded,
    /// Nor by anyone who passes it on (RFC 7541 section 7.1.3).
    NeverAdded,
}

impl Encoder {
    /// With a table of [`MAX_SIZE`], which the peer grants until it says otherwise.
    pub(crate) const fn new() -> Self {
        Self {
            table: DynamicTable::new(MAX_SIZE),
            added: 0,
            fields: Vec::new(),
            names: Vec::new(),
            max_size: MAX_SIZE,
            least_size: MAX_SIZE,
        }
    }

    /// The peer's SETTINGS_HEADER_TABLE_SIZE, from the next block on. Ours stays at most [`MAX_SIZE`].
    pub(crate) fn set_max_size(&mut self, size: usize) {
        self.max_size = size.min(MAX_SIZE);
        self.least_size = self.least_size.min(self.max_size);
    }

    /// Starts a block: writes the size updates that are due (RFC 7541 section 4.2).
    pub(crate) fn begin(&mut self, out: &mut Vec<u8>) {
        for size in [self.least_size, self.max_size] {
            if size != self.table.max_size() {
                self.table.set_max_size(size);
                integer(out, SIZE_UPDATE, 5, size);
            }
        }
        self.least_size = self.max_size;
    }

    /// The field `:status`.
    pub(crate) fn status(&mut self, out: &mut Vec<u8>, status: u16) {
        let index = match status {
            200 => 8,
            204 => 9,
            206 => 10,
            304 => 11,
            400 => 12,
            404 => 13,
            500 => 14,
            _ => {
                let digits = [status / 100, status / 10, status].map(|n| b'0' + (n % 10) as u8);
                return self.field(out, b":status", &digits);
            }
        };
        out.push(INDEXED | index);
    }

    /// A field. Its name may be in any case and is written in lower case.
    pub(crate) fn field(&mut self, out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
        let name_hash = hash_name(name);
        let short = value.len() <= MAX_VALUE;
        let hash = if short {
            hash_field(name_hash, value)
        } else {
            0
        };
        if short && let Some(index) = self.find_field(hash, name, value) {
            return integer(out, INDEXED, 7, index);
        }
        let fixed = static_index(name, name_hash);
        if fixed != 0 && STATIC[fixed - 1].value() == value {
            return integer(out, INDEXED, 7, fixed);
        }
        let size = counted(name.len() + value.len() + 4);
        let literal = match literal_kind(fixed, name) {
            Literal::Added if !short || size > self.table.max_size() => Literal::NotAdded,
            kind => kind,
        };
        let index = if fixed != 0 {
            fixed
        } else {
            self.find_name(name_hash, name).unwrap_or(0)
        };
        let (pattern, prefix) = match literal {
            Literal::Added => (ADDED, 6),
            Literal::NotAdded => (0, 4),
            Literal::NeverAdded => (NEVER_ADDED, 4),
        };
        integer(out, pattern, prefix, index);
        if index == 0 {
            string(out, name.iter().map(u8::to_ascii_lowercase));
        }
        string(out, value.iter().copied());
        if literal == Literal::Added {
            self.add(name, value, name_hash, hash);
        }
    }

    /// The index of an entry that is this field.
    fn find_field(&self, hash: u64, name: &[u8], value: &[u8]) -> Option<usize> {
        let mut number = *self.fields.get(slot(hash))?;
        loop {
            let nth = self.nth(number);
            let (line, name_len, links) = self.table.get(nth)?;
            if links.hash == hash {
                let (its_name, rest) = line.split_at(name_len as usize);
                if rest[2..rest.len() - 2] == *value && its_name.eq_ignore_ascii_case(name) {
                    return Some(STATIC.len() + 1 + nth);
                }
            }
            number = links.field;
        }
    }

    /// The index of an entry with this name.
    fn find_name(&self, hash: u64, name: &[u8]) -> Option<usize> {
        let mut number = *self.names.get(slot(hash))?;
        loop {
            let nth = self.nth(number);
            let (line, name_len, links) = self.table.get(nth)?;
            if line[..name_len as usize].eq_ignore_ascii_case(name) {
                return Some(STATIC.len() + 1 + nth);
            }
            number = links.name;
        }
    }

    /// Where the entry with this number is in the table, if it still is.
    fn nth(&self, number: u64) -> usize {
        (self.added - number) as usize
    }

    fn add(&mut self, name: &[u8], value: &[u8], name_hash: u64, hash: u64) {
        if self.fields.is_empty() {
            self.fields.resize(SLOTS, 0);
            self.names.resize(SLOTS, 0);
        }
        self.added += 1;
        let links = Links {
            hash,
            field: std::mem::replace(&mut self.fields[slot(hash)], self.added),
            name: std::mem::replace(&mut self.names[slot(name_hash)], self.added),
        };
        let parts = [name, b": ", value, b"\r\n"];
        if let Some(line) = self.table.push(&parts, name.len(), links) {
            line[..name.len()].make_ascii_lowercase();
        }
    }
}

/// Fields that hardly repeat would only push others out of the table.
fn literal_kind(fixed: usize, name: &[u8]) -> Literal {
    let bit = 1u64 << fixed;
    if bit & SECRET != 0 {
        Literal::NeverAdded
    } else if bit & RARE != 0 || (fixed == 0 && name.eq_ignore_ascii_case(b"x-request-id")) {
        Literal::NotAdded
    } else {
        Literal::Added
    }
}

const fn slot(hash: u64) -> usize {
    hash as usize % SLOTS
}

/// RFC 7541 section 5.1: `value` with a prefix of so many bits, after `pattern`.
#[inline]
fn integer(out: &mut Vec<u8>, pattern: u8, prefix: u32, value: usize) {
    let most = (1 << prefix) - 1;
    if value < most {
        out.push(pattern | value as u8);
        return;
    }
    out.push(pattern | most as u8);
    let mut rest = value - most;
    while rest >= 0x80 {
        out.push(0x80 | rest as u8);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// RFC 7541 section 5.2: in Huffman code where that is shorter.
fn string(out: &mut Vec<u8>, text: impl ExactSizeIterator<Item = u8> + Clone) {
    let coded = huffman::coded_len(text.clone());
    if coded < text.len() {
        integer(out, HUFFMAN, 7, coded);
        huffman::encode(text, out);
    } else {
        integer(out, 0, 7, text.len());
        out.extend(text);
    }
}

/// The set of these names of the static table, a bit for each index.
const fn set(names: &[&[u8]]) -> u64 {
    let (mut set, mut at) = (0, 0);
    while at < names.len() {
        let index = static_index(names[at], hash_name(names[at]));
        assert!(index != 0);
        set |= 1 << index;
        at += 1;
    }
    set
}

/// Names that nobody is to index.
const SECRET: u64 = set(&[b"authorization", b"proxy-authorization", b"set-cookie"]);
/// Names whose values hardly repeat.
const RARE: u64 = set(&[
    b"age",
    b"content-length",
    b"content-range",
    b"etag",
    b"expires",
    b"last-modified",
    b"location",
]);
/// Values longer than that are not added to the table.
const MAX_VALUE: usize = 512;
/// Of the table. Also what a peer grants at first (RFC 9113 section 6.5.2).
const MAX_SIZE: usize = 4096;
/// As many as [`MAX_SIZE`] has room for entries.
const SLOTS: usize = 128;

const INDEXED: u8 = 0x80;
const ADDED: u8 = 0x40;
const SIZE_UPDATE: u8 = 0x20;
const NEVER_ADDED: u8 = 0x10;
const HUFFMAN: u8 = 0x80;
