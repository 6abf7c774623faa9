//! HPACK, the compression of header blocks (RFC 7541), without I/O.
//!
//! A connection of HTTP/2 owns one [`Decoder`] for the blocks it reads and one [`Encoder`] for those it
//! writes. A decoded field is a line of text like one of HTTP/1.1, and tables hold such lines: what a
//! peer names by its index is copied, and neither read nor checked again.

mod decode;
mod encode;
mod huffman;
mod table;

use std::fmt;
use std::ops::Range;

use crate::proxy::fields::Known;

pub(crate) use decode::Decoder;
pub(crate) use encode::Encoder;

/// A decoded field: the line `name: value\r\n` in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Where the line starts.
    pub(crate) at: usize,
    /// The value starts two bytes after the name.
    pub(crate) name_len: u32,
    pub(crate) value_len: u32,
    pub(crate) name: Name,
}

impl Found {
    /// Where the name stands in the text.
    pub(crate) fn name_range(&self) -> Range<usize> {
        self.at..self.at + self.name_len as usize
    }

    /// Where the value stands in the text.
    pub(crate) fn value(&self) -> Range<usize> {
        let start = self.at + self.name_len as usize + 2;
        start..start + self.value_len as usize
    }
}

/// What a field is, and whether it may be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Method,
    Scheme,
    Authority,
    Path,
    Status,
    /// `:protocol` (RFC 8441 section 4).
    Protocol,
    UnknownPseudo,
    Field(Known),
    /// Name or value has bytes that RFC 9113 section 8.2.1 forbids. They are in the text all the same.
    Invalid,
}

impl Name {
    /// Of a field with any valid value.
    fn of(name: &[u8]) -> Self {
        match name {
            b":method" => Self::Method,
            b":scheme" => Self::Scheme,
            b":authority" => Self::Authority,
            b":path" => Self::Path,
            b":status" => Self::Status,
            b":protocol" => Self::Protocol,
            [b':', rest @ ..] if is_name(rest) => Self::UnknownPseudo,
            name if is_name(name) => Self::Field(Known::of(name)),
            _ => Self::Invalid,
        }
    }
}

/// Lower case tokens (RFC 9110 section 5.6.2, RFC 9113 section 8.2.1).
fn is_name(name: &[u8]) -> bool {
    !name.is_empty()
        && name
            .iter()
            .fold(true, |all, &byte| all & IN_NAME[byte as usize])
}

/// Visible characters, spaces, tabs and obs-text (RFC 9110 section 5.5), also at its ends.
fn is_value(value: &[u8]) -> bool {
    // Without a way out of the loop, it is done for many bytes at once.
    let control = |byte: u8| (byte < b' ' && byte != b'\t') || byte == 0x7f;
    !value.iter().fold(false, |any, &byte| any | control(byte))
}

/// Why a block is none: an error of the connection, COMPRESSION_ERROR (RFC 9113 section 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HpackError {
    Truncated,
    /// An integer over 2^28, or in more than five bytes after its prefix.
    Integer,
    Index,
    Huffman,
    LongString,
    /// A size update after a field.
    LateSizeUpdate,
    /// A table larger than our SETTINGS_HEADER_TABLE_SIZE.
    LargeTable,
    /// More than its reader cares to go on with.
    TooMuch,
}

impl HpackError {
    pub(crate) const fn cause(self) -> &'static str {
        match self {
            Self::Truncated => "header block ends within a field",
            Self::Integer => "integer in a header block is too large",
            Self::Index => "header block names a table entry that is not there",
            Self::Huffman => "Huffman code of a header string is broken",
            Self::LongString => "header string is too long",
            Self::LateSizeUpdate => "header table is resized within a block",
            Self::LargeTable => "header table is made larger than allowed",
            Self::TooMuch => "header block holds far more than it may",
        }
    }
}

impl fmt::Display for HpackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.cause())
    }
}

impl std::error::Error for HpackError {}

const fn in_name() -> [bool; 256] {
    let mut set = [false; 256];
    let bytes = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz";
    let mut at = 0;
    while at < bytes.len() {
        set[bytes[at] as usize] = true;
        at += 1;
    }
    set
}

static IN_NAME: [bool; 256] = in_name();

/// Bytes a string may have after decoding; the limit of a whole head is the caller's.
const MAX_STRING: usize = 64 * 1024;

#[cfg(test)]
mod tests;
