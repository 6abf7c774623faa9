//! What compression means for the fields of a head (RFC 9110 sections 8.8.3, 12.5.5).

use std::borrow::Cow;

/// An entity tag for what is the same but for its coding: weak. `None` where it is none: it cannot be made one.
pub(crate) fn weak(etag: &[u8]) -> Option<Cow<'_, [u8]>> {
    match etag {
        [b'W', b'/', b'"', ..] => Some(etag.into()),
        [b'"', ..] => Some([b"W/", etag].concat().into()),
        _ => None,
    }
}

/// Whether If-None-Match has the weak form of a strong entity tag: its client holds a compressed body.
pub(crate) fn names_weakly(if_none_match: &[u8], etag: &[u8]) -> bool {
    if etag.first() != Some(&b'"') {
        return false;
    }
    let mut quoted = false;
    let separates = move |byte: &u8| {
        quoted ^= *byte == b'"';
        *byte == b',' && !quoted
    };
    let mut tags = if_none_match.split(separates).map(<[u8]>::trim_ascii);
    tags.any(|tag| tag.strip_prefix(b"W/") == Some(etag))
}

/// The value of Vary that has Accept-Encoding in it, besides `values`; `None` where they say it already.
pub(crate) fn vary<'a>(values: impl Iterator<Item = &'a [u8]>) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    for value in values {
        let mut names = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        if names.any(|name| name == b"*" || name.eq_ignore_ascii_case(NAME)) {
            return None;
        }
        if !value.trim_ascii().is_empty() {
            all.extend_from_slice(value.trim_ascii());
            all.extend_from_slice(b", ");
        }
    }
    all.extend_from_slice(NAME);
    Some(all)
}

const NAME: &[u8] = b"Accept-Encoding";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s68_entity_tags_become_weak_once() {
        for (etag, expected) in [
            ("\"a\"", Some("W/\"a\"")),
            ("W/\"a\"", Some("W/\"a\"")),
            ("\"\"", Some("W/\"\"")),
            ("a", None),
            ("W/a", None),
            ("", None),
        ] {
            let weak = weak(etag.as_bytes());
            assert_eq!(weak.as_deref(), expected.map(str::as_bytes), "{etag}");
        }
    }

    #[test]
    fn s68_a_client_that_holds_a_compressed_body_says_so() {
        for (field, etag, expected) in [
            ("W/\"a\"", "\"a\"", true),
            ("\"b\", W/\"a\"", "\"a\"", true),
            ("\"a\"", "\"a\"", false),
            ("*", "\"a\"", false),
            ("W/\"a,b\"", "\"a,b\"", true),
            ("\"x, W/\"", "\"a\"", false),
            ("W/\"a\"", "W/\"a\"", false),
            ("", "\"a\"", false),
        ] {
            let named = names_weakly(field.as_bytes(), etag.as_bytes());
            assert_eq!(named, expected, "{field} {etag}");
        }
    }

    #[test]
    fn s68_vary_is_added_to() {
        for (values, expected) in [
            (&[][..], Some("Accept-Encoding")),
            (&["Cookie"], Some("Cookie, Accept-Encoding")),
            (
                &["Cookie", "Origin"],
                Some("Cookie, Origin, Accept-Encoding"),
            ),
            (&["Cookie, accept-encoding"], None),
            (&["*"], None),
            (&[""], Some("Accept-Encoding")),
        ] {
            let values = values.iter().map(|value| value.as_bytes());
            assert_eq!(vary(values).as_deref(), expected.map(str::as_bytes));
        }
    }
}
