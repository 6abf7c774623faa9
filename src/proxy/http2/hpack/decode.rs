//! Reads header blocks.

use super::table::{DynamicTable, Line, STATIC};
use super::{Found, HpackError, MAX_STRING, Name, huffman, is_value};

/// Reads the header blocks of one connection. After an error it is of no more use.
#[derive(Debug)]
pub(crate) struct Decoder {
    table: DynamicTable<Name>,
    /// What the peer may make the table's size, our SETTINGS_HEADER_TABLE_SIZE.
    max_size: usize,
    /// No field of the block was read yet.
    at_start: bool,
}

impl Decoder {
    /// With a table of `max_size` bytes. That is 4096 unless the peer has acknowledged another size.
    pub(crate) const fn new(max_size: usize) -> Self {
        Self {
            table: DynamicTable::new(max_size),
            max_size,
            at_start: true,
        }
    }

    /// Starts a header block: size updates are allowed only there (RFC 7541 section 4.2).
    pub(crate) fn begin(&mut self) {
        self.at_start = true;
    }

    /// Takes the next field off `block`, which is the rest of a whole block: appends it to `text` as the
    /// line `name: value\r\n` and says where. `None` at the end of the block.
    #[inline]
    pub(crate) fn next(
        &mut self,
        block: &mut &[u8],
        text: &mut Vec<u8>,
    ) -> Result<Option<Found>, HpackError> {
        match block.first() {
            Some(&first) if first & INDEXED != 0 => {
                self.at_start = false;
                let line = self.line(integer(block, 7)?)?;
                let found = Found {
                    at: text.len(),
                    name_len: line.name_len,
                    value_len: line.text.len() as u32 - line.name_len - 4,
                    name: line.name,
                };
                text.extend_from_slice(line.text);
                Ok(Some(found))
            }
            Some(_) => self.next_literal(block, text),
            None => Ok(None),
        }
    }

    #[inline(never)]
    fn next_literal(
        &mut self,
        block: &mut &[u8],
        text: &mut Vec<u8>,
    ) -> Result<Option<Found>, HpackError> {
        while let Some(&first) = block.first() {
            if first & INDEXED != 0 {
                return self.next(block, text);
            }
            if first & ADDED != 0 {
                return self.literal(block, 6, text).map(Some);
            }
            if first & SIZE_UPDATE == 0 {
                return self.literal(block, 4, text).map(Some);
            }
            if !self.at_start {
                return Err(HpackError::LateSizeUpdate);
            }
            let size = integer(block, 5)?;
            if size > self.max_size {
                return Err(HpackError::LargeTable);
            }
            self.table.set_max_size(size);
        }
        Ok(None)
    }

    /// RFC 7541 section 6.2. The prefix of its index tells whether it is added to the table.
    fn literal(
        &mut self,
        block: &mut &[u8],
        prefix: u32,
        text: &mut Vec<u8>,
    ) -> Result<Found, HpackError> {
        self.at_start = false;
        let at = text.len();
        let mut name = Name::Invalid;
        let name_len = match integer(block, prefix)? {
            0 => {
                string(block, text)?;
                let name_len = text.len() - at;
                text.extend_from_slice(b": ");
                name_len
            }
            index => {
                let line = self.line(index)?;
                let name_len = line.name_len as usize;
                text.extend_from_slice(&line.text[..name_len + 2]);
                name = line.name;
                name_len
            }
        };
        // The entry that lends its name may be invalid for its value.
        if name == Name::Invalid {
            name = Name::of(&text[at..at + name_len]);
        }
        let value = text.len();
        string(block, text)?;
        if !is_value(&text[value..]) {
            name = Name::Invalid;
        }
        let value_len = text.len() - value;
        text.extend_from_slice(b"\r\n");
        if prefix == 6 {
            self.table.push(&[&text[at..]], name_len, name);
        }
        // Both below `MAX_STRING`.
        Ok(Found {
            at,
            name_len: name_len as u32,
            value_len: value_len as u32,
            name,
        })
    }

    /// The entry with this index (RFC 7541 section 2.3.3).
    #[inline]
    fn line(&self, index: usize) -> Result<Line<'_>, HpackError> {
        if let Some(line) = STATIC.get(index.wrapping_sub(1)) {
            return Ok(*line);
        }
        let entry = index
            .checked_sub(STATIC.len() + 1)
            .and_then(|nth| self.table.get(nth));
        let (text, name_len, &name) = entry.ok_or(HpackError::Index)?;
        Ok(Line {
            text,
            name_len,
            name,
        })
    }
}

/// RFC 7541 section 5.1, with a prefix of so many bits in the first byte.
#[inline]
fn integer(block: &mut &[u8], prefix: u32) -> Result<usize, HpackError> {
    let (&first, rest) = block.split_first().ok_or(HpackError::Truncated)?;
    *block = rest;
    let most = (1 << prefix) - 1;
    match usize::from(first) & most {
        value if value < most => Ok(value),
        value => long_integer(block, value),
    }
}

#[cold]
fn long_integer(block: &mut &[u8], mut value: usize) -> Result<usize, HpackError> {
    for shift in [0, 7, 14, 21, 28] {
        let (&byte, rest) = block.split_first().ok_or(HpackError::Truncated)?;
        *block = rest;
        let more = u64::from(byte & 0x7f) << shift;
        value = usize::try_from(value as u64 + more).map_err(|_| HpackError::Integer)?;
        if byte & 0x80 == 0 {
            let small = value <= MAX_INTEGER;
            return small.then_some(value).ok_or(HpackError::Integer);
        }
    }
    Err(HpackError::Integer)
}

/// RFC 7541 section 5.2. Appends it to `text`.
fn string(block: &mut &[u8], text: &mut Vec<u8>) -> Result<(), HpackError> {
    let huffman = block.first().is_some_and(|first| first & HUFFMAN != 0);
    let len = integer(block, 7)?;
    let (bytes, rest) = block.split_at_checked(len).ok_or(HpackError::Truncated)?;
    *block = rest;
    if huffman {
        return huffman::decode(bytes, text, MAX_STRING);
    }
    if len > MAX_STRING {
        return Err(HpackError::LongString);
    }
    text.extend_from_slice(bytes);
    Ok(())
}

// The first bits of a field (RFC 7541 section 6), to be tried in this order.
const INDEXED: u8 = 0x80;
const ADDED: u8 = 0x40;
const SIZE_UPDATE: u8 = 0x20;
const HUFFMAN: u8 = 0x80;
const MAX_INTEGER: usize = 1 << 28;
