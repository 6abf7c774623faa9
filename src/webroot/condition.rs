//! Conditional requests (RFC 9110 section 13).

use std::time::SystemTime;

use super::reply::Asked;

/// What a client makes its request depend on comes out so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The request is answered.
    Go,
    /// The client has it: 304.
    Same,
    /// Not what the client knows: 412.
    Changed,
}

/// `etag` with its quotes; `modified` to the second.
pub(super) fn judge(asked: &Asked<'_>, etag: &str, modified: SystemTime) -> Outcome {
    // In the order of section 13.2.2.
    if let Some(field) = &asked.if_match {
        if !tags(field).any(|tag| tag == b"*" || tag == etag.as_bytes()) {
            return Outcome::Changed;
        }
    } else if let Some(time) = asked.if_unmodified_since.and_then(date)
        && modified > time
    {
        return Outcome::Changed;
    }
    if let Some(field) = &asked.if_none_match {
        let same = |tag: &[u8]| {
            let opaque = tag.strip_prefix(b"W/").unwrap_or(tag);
            tag == b"*" || opaque == etag.as_bytes()
        };
        if tags(field).any(same) {
            return Outcome::Same;
        }
    } else if let Some(time) = asked.if_modified_since.and_then(date)
        && modified <= time
    {
        return Outcome::Same;
    }
    Outcome::Go
}

/// Whether a part of the file is of use to a client that knows it as If-Range says: strongly, so that a date has to be
/// the very one (section 13.1.5).
pub(super) fn is_current(if_range: &[u8], etag: &str, modified: SystemTime) -> bool {
    match if_range.first() {
        Some(b'"') => if_range == etag.as_bytes(),
        _ => date(if_range) == Some(modified),
    }
}

/// Entity tags of a list; a comma within quotes separates nothing.
fn tags(field: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut quoted = false;
    let separates = move |byte: &u8| {
        quoted ^= *byte == b'"';
        *byte == b',' && !quoted
    };
    field.split(separates).map(<[u8]>::trim_ascii)
}

fn date(text: &[u8]) -> Option<SystemTime> {
    httpdate::parse_http_date(std::str::from_utf8(text).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const THEN: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    fn modified() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(784_111_777)
    }

    #[test]
    fn conditions_have_an_order() {
        use Outcome::*;
        for (fields, expected) in [
            (&[][..], Go),
            (&[("if-none-match", "\"a\"")], Same),
            (&[("if-none-match", "W/\"a\"")], Same),
            (&[("if-none-match", "\"b\", \"x,y\" , \"a\"")], Same),
            (
                &[("if-none-match", "\"b\""), ("if-none-match", "\"a\"")],
                Same,
            ),
            (&[("if-none-match", "*")], Same),
            (&[("if-none-match", "a")], Go),
            (&[("if-none-match", "\"b\"")], Go),
            // A tag counts more than a time.
            (
                &[("if-none-match", "\"b\""), ("if-modified-since", AFTER)],
                Go,
            ),
            (&[("if-modified-since", BEFORE)], Go),
            (&[("if-modified-since", THEN)], Same),
            (&[("if-modified-since", AFTER)], Same),
            (&[("if-modified-since", "yesterday")], Go),
            (&[("if-match", "\"a\"")], Go),
            (&[("if-match", "*")], Go),
            (&[("if-match", "W/\"a\"")], Changed),
            (&[("if-match", "\"b\", \"c\"")], Changed),
            (
                &[("if-match", "\"a\""), ("if-unmodified-since", BEFORE)],
                Go,
            ),
            (&[("if-match", "\"a\""), ("if-none-match", "\"a\"")], Same),
            (&[("if-unmodified-since", BEFORE)], Changed),
            (&[("if-unmodified-since", THEN)], Go),
            (&[("if-unmodified-since", "no date")], Go),
            (
                &[("if-unmodified-since", BEFORE), ("if-none-match", "*")],
                Changed,
            ),
        ] {
            let mut asked = Asked::default();
            for (name, value) in fields {
                asked.add(name.as_bytes(), value.as_bytes());
            }
            assert_eq!(judge(&asked, "\"a\"", modified()), expected, "{fields:?}");
        }
    }

    #[test]
    fn parts_are_for_those_who_have_the_rest() {
        for (text, expected) in [
            ("\"a\"", true),
            ("\"b\"", false),
            ("W/\"a\"", false),
            (THEN, true),
            (BEFORE, false),
            (AFTER, false),
            ("", false),
        ] {
            assert_eq!(
                is_current(text.as_bytes(), "\"a\"", modified()),
                expected,
                "{text}"
            );
        }
    }
}
