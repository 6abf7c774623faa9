//! What of a stored response a client gets: the whole, parts, or that it has it already (RFC 9111 section 4.3.2, RFC
//! 9110 sections 13 and 14).

use super::range::{self, Part, Parts};
use super::request::Method;
use super::scan::members;
use super::{Request, Source, Time, date};

/// What a client gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Whole,
    /// 304, with the fields that [`in_304`](super::fields::in_304) leaves.
    NotModified,
    /// 206.
    Part(Part),
    /// 206 as multipart/byteranges.
    Parts(Vec<Part>),
    /// 416, with `Content-Range: bytes */length`.
    Unsatisfiable,
}

/// Decides what a client gets of a response: one that is stored, or one that has just come for it. `client` are the
/// fields of the request, `status` and `head` those of the response; `date` is its own or when it was received;
/// `length` is that of the body, where it is known.
pub fn answer(
    request: &Request,
    client: &(impl Source + ?Sized),
    (status, date): (u16, Time),
    head: &(impl Source + ?Sized),
    length: Option<u64>,
) -> Answer {
    // RFC 9110 section 13.2.1: conditions are for what would be a success.
    if !(200..300).contains(&status) {
        return Answer::Whole;
    }
    if has_it(request, client, date, head) {
        return Answer::NotModified;
    }
    let part = request.range && request.method == Method::Get && status == 200;
    match length {
        Some(length) if part && if_range(request, client, head) => ranges(client, length),
        _ => Answer::Whole,
    }
}

/// Whether a client has the response already. If-None-Match counts alone where both are there.
fn has_it(
    request: &Request,
    client: &(impl Source + ?Sized),
    date: Time,
    head: &(impl Source + ?Sized),
) -> bool {
    if request.if_none_match {
        let etag = head.first(b"etag");
        let mut tags = client.values(b"if-none-match").flat_map(members);
        return tags.any(|tag| tag == b"*" || etag.is_some_and(|etag| same_weakly(tag, etag)));
    }
    if !request.if_modified_since {
        return false;
    }
    let since = client.first(b"if-modified-since").and_then(date::parse);
    let changed = head.first(b"last-modified").and_then(date::parse);
    since.is_some_and(|since| changed.unwrap_or(date) <= since)
}

/// Whether a Range may be answered: nothing asks for more, or what a client has parts of is what is stored (RFC 9110
/// section 13.1.5).
fn if_range(
    request: &Request,
    client: &(impl Source + ?Sized),
    head: &(impl Source + ?Sized),
) -> bool {
    if !request.if_range {
        return true;
    }
    let Some(wanted) = client.first(b"if-range") else {
        return false;
    };
    if wanted.contains(&b'"') {
        return head
            .first(b"etag")
            .is_some_and(|etag| same_strongly(wanted, etag));
    }
    let changed = head.first(b"last-modified").and_then(date::parse);
    let sent = head.first(b"date").and_then(date::parse);
    let (Some(wanted), Some(changed), Some(sent)) = (date::parse(wanted), changed, sent) else {
        return false;
    };
    // A second in which it may have changed again tells too little (RFC 9110 section 8.8.2.2).
    wanted == changed && changed < sent
}

fn ranges(client: &(impl Source + ?Sized), length: u64) -> Answer {
    let mut lines = client.values(b"range");
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return Answer::Whole;
    };
    match range::parse(line, length) {
        Parts::Whole => Answer::Whole,
        Parts::One(part) => Answer::Part(part),
        Parts::Several(parts) => Answer::Parts(parts),
        Parts::Unsatisfiable => Answer::Unsatisfiable,
    }
}

/// RFC 9110 section 8.8.3.2.
pub(super) fn same_weakly(a: &[u8], b: &[u8]) -> bool {
    opaque(a) == opaque(b)
}

fn same_strongly(a: &[u8], b: &[u8]) -> bool {
    a == b && !a.starts_with(b"W/")
}

fn opaque(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}
