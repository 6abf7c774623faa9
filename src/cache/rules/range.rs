//! Parts of a stored body (RFC 9110 section 14).

use super::scan::{members, trim};

/// So many parts are sent of one body; who asks for more gets the whole (section 14.2: a client may ask for very
/// many).
pub const MAX_PARTS: usize = 16;

/// Bytes of a body, the last one included. Invariant: `first <= last`, and `last` is within the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    pub first: u64,
    pub last: u64,
}

impl Part {
    /// How many bytes it has; never 0.
    pub fn size(self) -> u64 {
        self.last - self.first + 1
    }
}

/// What a Range asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parts {
    /// All: it cannot be read, is in another unit, or asks for more than there is or than is good.
    Whole,
    One(Part),
    /// Several, in the order in which they were asked for: multipart/byteranges.
    Several(Vec<Part>),
    /// Nothing that is there: 416.
    Unsatisfiable,
}

/// Reads a Range for a body of that length.
pub fn parse(value: &[u8], length: u64) -> Parts {
    let Some((unit, set)) = split(value, b'=') else {
        return Parts::Whole;
    };
    if !unit.eq_ignore_ascii_case(b"bytes") {
        return Parts::Whole;
    }
    let mut parts = Vec::new();
    let mut any = false;
    for member in members(set) {
        let Some(part) = part(member, length) else {
            return Parts::Whole;
        };
        any = true;
        parts.extend(part);
        if parts.len() > MAX_PARTS {
            return Parts::Whole;
        }
    }
    let size = parts
        .iter()
        .fold(0, |sum: u64, part| sum.saturating_add(part.size()));
    match parts.as_slice() {
        [] if any => Parts::Unsatisfiable,
        [] => Parts::Whole,
        [one] => Parts::One(*one),
        _ if size > length => Parts::Whole,
        _ => Parts::Several(parts),
    }
}

/// `None`: not written as a range is. `Some(None)`: nothing of it is there.
#[expect(clippy::option_option, reason = "two different kinds of no")]
fn part(text: &[u8], length: u64) -> Option<Option<Part>> {
    let (first, last) = split(text, b'-')?;
    let end = length.checked_sub(1);
    if first.is_empty() {
        let size = number(last)?;
        let part = |end| Part {
            first: length.saturating_sub(size),
            last: end,
        };
        return Some(end.filter(|_| size > 0).map(part));
    }
    let first = number(first)?;
    let last = if last.is_empty() {
        u64::MAX
    } else {
        number(last)?
    };
    if last < first {
        return None;
    }
    let part = |end: u64| Part {
        first,
        last: last.min(end),
    };
    Some(end.filter(|&end| first <= end).map(part))
}

fn split(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let place = text.iter().position(|&byte| byte == at)?;
    Some((trim(&text[..place]), trim(&text[place + 1..])))
}

/// Digits; what is too large is the largest there is.
fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0, |sum: u64, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        Some(sum.saturating_mul(10).saturating_add(digit))
    })
}
