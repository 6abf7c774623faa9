//! Cookies of a request (RFC 6265 section 4.2).

use super::super::fields::{Fields, Known};

/// The value of the first cookie of this name, as it was sent.
pub(crate) fn cookie<'a>(fields: Fields<'a>, name: &[u8]) -> Option<&'a [u8]> {
    cookies(fields).find_map(|(key, value)| (key == name).then_some(value))
}

/// Every cookie, in order: HTTP/2 clients may spread them over several fields (RFC 9113 section
/// 8.2.3).
pub(crate) fn cookies<'a>(fields: Fields<'a>) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
    let has = fields.has(Known::Cookie);
    let lines = has.then(|| fields.get_all(Known::Cookie));
    let pairs = lines
        .into_iter()
        .flatten()
        .flat_map(|line| line.split(|b| *b == b';'));
    pairs.filter_map(|pair| {
        let at = memchr::memchr(b'=', pair)?;
        Some((pair[..at].trim_ascii(), pair[at + 1..].trim_ascii()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::head::RequestHead;

    #[test]
    fn cookies_are_found_by_their_exact_name_in_any_field() {
        let fields = [
            ("cookie", "a=1; bb=2;c = 3 "),
            ("x", "d=4"),
            ("cookie", "e=5=6; a=7; f"),
        ];
        let head = RequestHead::get("/", &fields);
        for (name, value) in [
            ("a", Some("1")),
            ("bb", Some("2")),
            ("c", Some("3")),
            ("e", Some("5=6")),
            ("A", None),
            ("b", None),
            ("d", None),
            ("f", None),
        ] {
            let found = cookie(head.fields(), name.as_bytes());
            assert_eq!(found, value.map(str::as_bytes), "{name}");
        }
        assert_eq!(cookie(RequestHead::get("/", &[]).fields(), b"a"), None);
    }
}
