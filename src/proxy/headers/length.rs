//! `Content-Length`, read and written.

use super::super::fields::{Fields, Known, write_field as field};

/// The one content length, if any (RFC 9110 section 8.6): repeated equal values count once.
pub(crate) fn content_length(fields: Fields<'_>) -> Result<Option<u64>, ()> {
    let mut found = None;
    for value in fields.get_all(Known::ContentLength) {
        for item in value.split(|byte| *byte == b',') {
            let length = parse_length(item.trim_ascii()).ok_or(())?;
            if found.is_some_and(|before| before != length) {
                return Err(());
            }
            found = Some(length);
        }
    }
    Ok(found)
}

/// `1*DIGIT`.
pub(crate) fn parse_length(digits: &[u8]) -> Option<u64> {
    let mut length = 0_u64;
    for digit in digits {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit <= 9)?;
        length = length.checked_mul(10)?.checked_add(digit.into())?;
    }
    (!digits.is_empty()).then_some(length)
}

pub(crate) fn write_length(out: &mut Vec<u8>, length: u64) {
    let mut text = itoa::Buffer::new();
    field(out, b"content-length", text.format(length).as_bytes());
}
