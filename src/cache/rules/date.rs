//! HTTP dates (RFC 9110 section 5.6.7).

use std::time::UNIX_EPOCH;

use super::Time;

/// The longest date there is, `Wednesday, 09-Nov-94 08:49:37 GMT`, and some room.
const LONGEST: usize = 40;

/// Reads a date of any of the three forms, in any case (RFC 9111 section 4.2); `None` where it is not one, or before
/// 1970. Another zone than GMT is not one.
pub fn parse(text: &[u8]) -> Option<Time> {
    let mut room = [0; LONGEST];
    let written = room.get_mut(..text.len())?;
    written.copy_from_slice(text);
    for word in written.split_mut(|byte| !byte.is_ascii_alphabetic()) {
        word.make_ascii_lowercase();
        if word == b"gmt" {
            word.make_ascii_uppercase();
        } else if let Some(first) = word.first_mut() {
            first.make_ascii_uppercase();
        }
    }
    let date = httpdate::parse_http_date(std::str::from_utf8(written).ok()?).ok()?;
    Some(date.duration_since(UNIX_EPOCH).ok()?.as_secs())
}
