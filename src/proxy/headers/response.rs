//! The head of a response as an HTTP/1 client gets it; HTTP/2 asks [`Kept`] field by field.

use std::sync::Arc;

use http::{StatusCode, Version};

use super::super::fields::{Field, Fields, Known};
use super::super::h1;
use super::length::{content_length, write_length};
use super::nominated::Nominated;
use super::{HOP_BY_HOP, RESPONSE_HOP_BY_HOP};
use crate::route::Edits;

/// What a client is told of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Persist {
    /// It lives on, as HTTP/1.1 takes for granted.
    Keep,
    /// It lives on, which a client of HTTP/1.0 has to be told.
    Told,
    Close,
}

/// Fields of Wharf's own for a response.
#[derive(Debug, Default)]
pub(crate) struct Extra {
    /// `name: value` and CR LF each, names in lower case.
    pub(crate) lines: Vec<u8>,
    /// Known names that these lines stand for: none of the upstream's are passed on.
    pub(crate) instead: u32,
    /// Others, in lower case.
    pub(crate) without: &'static [&'static str],
    /// Others that are not passed on are named by these.
    pub(crate) edits: Option<Arc<Edits>>,
}

/// None at all.
pub(crate) static NO_EXTRA: Extra = Extra {
    lines: Vec::new(),
    instead: 0,
    without: &[],
    edits: None,
};

/// Writes the start line of a response to an HTTP/1 client.
pub(crate) fn write_status(out: &mut Vec<u8>, version: Version, status: StatusCode, reason: &[u8]) {
    let http: &[u8] = match version {
        Version::HTTP_10 => b"HTTP/1.0 ",
        _ => b"HTTP/1.1 ",
    };
    out.extend_from_slice(http);
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    match reason {
        b"" => out.extend_from_slice(status.canonical_reason().unwrap_or("").as_bytes()),
        reason => out.extend_from_slice(reason),
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes the fields of an upstream's response: all but hop-by-hop fields, what its `Connection`
/// names, and framing, of which one plain `Content-Length` is kept where `keep_length` says so.
/// `extra` comes behind them.
pub(crate) fn write_response_fields(
    out: &mut Vec<u8>,
    fields: Fields<'_>,
    extra: &Extra,
    keep_length: bool,
) {
    let kept = Kept::of(fields, extra, keep_length);
    fields.copy(out, |field| kept.holds(field));
    if let Some(length) = kept.rewritten {
        write_length(out, length);
    }
    out.extend_from_slice(&extra.lines);
}

/// Ends a head: what becomes of the connection, and a length of zero or chunks.
pub(crate) fn write_end(out: &mut Vec<u8>, persist: Persist, framing: &[u8]) {
    match persist {
        Persist::Keep => {}
        Persist::Told => out.extend_from_slice(b"connection: keep-alive\r\n"),
        Persist::Close => out.extend_from_slice(b"connection: close\r\n"),
    }
    out.extend_from_slice(framing);
    out.extend_from_slice(b"\r\n");
}

/// An interim response as an HTTP/1.1 client gets it.
pub(crate) fn write_interim(out: &mut Vec<u8>, head: &h1::ResponseHead, text: &[u8]) {
    write_status(out, Version::HTTP_11, head.status, head.reason(text));
    write_response_fields(out, Fields::new(text, &head.index), &NO_EXTRA, false);
    out.extend_from_slice(b"\r\n");
}

/// Which fields of an upstream's response may reach the client.
pub(crate) struct Kept<'a> {
    nominated: Nominated<'a>,
    edits: Option<&'a Edits>,
    without: &'static [&'static str],
    /// Names do not matter but where they are known.
    plain: bool,
    dropped: u32,
    /// The length, where the upstream wrote it in a way that others may read otherwise: `3, 3` was
    /// one length to us.
    pub(crate) rewritten: Option<u64>,
}

impl<'a> Kept<'a> {
    pub(crate) fn of(fields: Fields<'a>, extra: &'a Extra, keep_length: bool) -> Self {
        let mut dropped = RESPONSE_HOP_BY_HOP | extra.instead;
        let mut rewritten = None;
        let keep_length = keep_length && !Known::ContentLength.is_in(extra.instead);
        let mut lengths = fields.get_all(Known::ContentLength);
        if let Some(first) = lengths.next() {
            let plain = !first.contains(&b',') && lengths.next().is_none();
            if !keep_length || !plain {
                dropped |= Known::set(&[Known::ContentLength]);
            }
            if keep_length && !plain {
                rewritten = content_length(fields).ok().flatten();
            }
        }
        let (nominated, edits) = (Nominated::of(fields), extra.edits.as_deref());
        Self {
            plain: nominated.is_empty() && edits.is_none() && extra.without.is_empty(),
            nominated,
            edits,
            without: extra.without,
            dropped,
            rewritten,
        }
    }

    pub(crate) fn holds(&self, field: Field<'_>) -> bool {
        !field.known.is_in(self.dropped) && (self.plain || self.holds_name(field))
    }

    fn holds_name(&self, field: Field<'_>) -> bool {
        // Framing cannot be nominated away.
        (field.known == Known::ContentLength || !self.nominated.holds(field.name))
            && self.edits.is_none_or(|edits| !edits.without(field.name))
            && !is_one_of(self.without, field.name)
    }
}

fn is_one_of(names: &[&str], name: &[u8]) -> bool {
    let mut names = names.iter();
    names.any(|one| name.eq_ignore_ascii_case(one.as_bytes()))
}

/// Framing and routing fields have no meaning in trailers (RFC 9110 section 6.5.1).
pub(crate) fn may_trail_response(field: Field<'_>) -> bool {
    let framing = Known::set(&[Known::ContentLength]);
    !field.known.is_in(framing | HOP_BY_HOP)
}
