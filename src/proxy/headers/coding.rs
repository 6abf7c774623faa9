//! The head of a response that is compressed, or would be for another client (RFC 9110 sections 8.4, 8.8.3, 12.5.5).

use super::super::fields::{Fields, Known, lines, write_field};
use super::response::{Extra, Kept};
use crate::filter::compress::{Seen, names_weakly, vary, weak};
use crate::model::Coding;

/// What its client would be told: the upstream's fields and Wharf's.
fn told<'a>(fields: Fields<'a>, extra: &'a Extra) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
    let kept = Kept::of(fields, extra, true);
    let theirs = fields.iter().filter(move |field| kept.holds(*field));
    let theirs = theirs.map(|field| (field.name, field.value));
    theirs.chain(lines(&extra.lines))
}

/// What matters of it to compression.
pub(crate) fn seen<'a>(fields: Fields<'a>, extra: &'a Extra) -> Seen<'a> {
    let mut seen = Seen::default();
    for (name, value) in told(fields, extra) {
        seen.add(name, value);
    }
    seen
}

/// Says that others would get it otherwise.
pub(crate) fn add_vary(fields: Fields<'_>, extra: &mut Extra) {
    if let Some(vary) = vary(values(fields, extra, b"vary")) {
        replace(extra, VARY);
        write_field(&mut extra.lines, b"vary", &vary);
    }
}

/// Says that it is compressed.
pub(crate) fn set_coding(fields: Fields<'_>, extra: &mut Extra, coding: Coding) {
    let all: Vec<u8> = values(fields, extra, b"vary")
        .collect::<Vec<_>>()
        .join(&b", "[..]);
    let vary = vary(std::iter::once(&all[..])).unwrap_or(all);
    let etag = values(fields, extra, b"etag").next();
    let etag = etag.and_then(weak).map(std::borrow::Cow::into_owned);
    replace(extra, CODED);
    extra.instead |= Known::set(&[Known::ContentLength]);
    write_field(
        &mut extra.lines,
        b"content-encoding",
        coding.name().as_bytes(),
    );
    write_field(&mut extra.lines, b"vary", &vary);
    if let Some(etag) = etag {
        write_field(&mut extra.lines, b"etag", &etag);
    }
}

/// A 304 for a client that holds a compressed body: its entity tag is that body's.
pub(crate) fn weaken(fields: Fields<'_>, extra: &mut Extra, if_none_match: &[u8]) {
    let etag = values(fields, extra, b"etag").next();
    let etag = etag.filter(|etag| names_weakly(if_none_match, etag));
    let Some(etag) = etag.and_then(weak).map(std::borrow::Cow::into_owned) else {
        return;
    };
    add_vary(fields, extra);
    let without = match extra.without {
        VARY => VARY_AND_ETAG,
        _ => ETAG,
    };
    replace(extra, without);
    write_field(&mut extra.lines, b"etag", &etag);
}

fn values<'a>(
    fields: Fields<'a>,
    extra: &'a Extra,
    name: &'static [u8],
) -> impl Iterator<Item = &'a [u8]> {
    let of = told(fields, extra).filter(|(one, _)| one.eq_ignore_ascii_case(name));
    of.map(|(_, value)| value)
}

/// Drops the upstream's fields of these names, and Wharf's but for those that were written for that.
fn replace(extra: &mut Extra, names: &'static [&'static str]) {
    let gone = |name: &[u8]| {
        let mut fresh = names.iter().filter(|one| !extra.without.contains(one));
        fresh.any(|one| name.eq_ignore_ascii_case(one.as_bytes()))
    };
    if lines(&extra.lines).any(|(name, _)| gone(name)) {
        let mut rest = Vec::with_capacity(extra.lines.len());
        for (name, value) in lines(&extra.lines).filter(|(name, _)| !gone(name)) {
            write_field(&mut rest, name, value);
        }
        extra.lines = rest;
    }
    extra.without = names;
}

const VARY: &[&str] = &["vary"];
const ETAG: &[&str] = &["etag"];
const VARY_AND_ETAG: &[&str] = &["vary", "etag"];
/// Parts of what is compressed as it goes cannot be asked for.
const CODED: &[&str] = &["vary", "etag", "accept-ranges"];

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::super::head::RequestHead;
    use super::super::write_response_fields;
    use super::*;
    use crate::model::{EditOp, FieldText, HeaderEdit};
    use crate::route::Edits;

    fn written(
        fields: &[(&str, &str)],
        lines: &str,
        change: impl FnOnce(Fields<'_>, &mut Extra),
    ) -> String {
        let head = RequestHead::get("/", fields);
        let mut extra = Extra {
            lines: lines.as_bytes().to_vec(),
            ..Extra::default()
        };
        change(head.fields(), &mut extra);
        let mut out = Vec::new();
        write_response_fields(&mut out, head.fields(), &extra, true);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn s68_the_head_of_a_compressed_answer() {
        let gzip = |fields: Fields<'_>, extra: &mut Extra| set_coding(fields, extra, Coding::Gzip);
        let fields = [
            ("content-type", "text/html"),
            ("Vary", "Cookie"),
            ("Content-Length", "1000"),
            ("ETag", "\"a\""),
            ("Accept-Ranges", "bytes"),
            ("x-kept", "1"),
        ];
        let own = "set-cookie: a=b\r\nvary: origin\r\n";
        assert_eq!(
            written(&fields, own, gzip),
            "content-type: text/html\r\nx-kept: 1\r\nset-cookie: a=b\r\ncontent-encoding: gzip\r\n\
             vary: Cookie, origin, Accept-Encoding\r\netag: W/\"a\"\r\n"
        );
        assert_eq!(
            written(&[("vary", "*"), ("content-length", "3, 3")], "", gzip),
            "content-encoding: gzip\r\nvary: *\r\n"
        );
        // It is none, and cannot be made one.
        assert!(!written(&[("etag", "a")], "", gzip).contains("etag"));
    }

    #[test]
    fn s68_caches_are_told_of_what_would_be_compressed_for_others() {
        let fields = [
            ("vary", "Cookie"),
            ("etag", "\"a\""),
            ("content-length", "5"),
        ];
        assert_eq!(
            written(&fields, "", add_vary),
            "etag: \"a\"\r\ncontent-length: 5\r\nvary: Cookie, Accept-Encoding\r\n"
        );
        let fields = [("Vary", "accept-encoding")];
        assert_eq!(written(&fields, "", add_vary), "Vary: accept-encoding\r\n");
    }

    #[test]
    fn s68_a_304_has_the_entity_tag_its_client_knows() {
        let fields = [("etag", "\"a\""), ("x", "y")];
        let weakened = |known: &'static str| {
            written(&fields, "", |fields, extra| {
                weaken(fields, extra, known.as_bytes())
            })
        };
        assert_eq!(
            weakened("W/\"a\""),
            "x: y\r\nvary: Accept-Encoding\r\netag: W/\"a\"\r\n"
        );
        assert_eq!(weakened("\"a\""), "etag: \"a\"\r\nx: y\r\n");
    }

    /// What labels write counts, and what they take away does not.
    #[test]
    fn s68_edits_of_fields_come_first() {
        let head = RequestHead::get("/", &[("etag", "\"a\""), ("content-type", "text/html")]);
        let edits = Edits {
            all: vec![HeaderEdit {
                op: EditOp::Remove,
                name: "etag".into(),
                value: FieldText::default(),
            }],
        };
        let mut extra = Extra {
            lines: b"etag: \"b\"\r\n".to_vec(),
            edits: Some(Arc::new(edits)),
            ..Extra::default()
        };
        set_coding(head.fields(), &mut extra, Coding::Zstd);
        let mut out = Vec::new();
        write_response_fields(&mut out, head.fields(), &extra, true);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "content-type: text/html\r\ncontent-encoding: zstd\r\nvary: Accept-Encoding\r\netag: W/\"b\"\r\n"
        );
    }
}
