//! Which stored response is for which request (RFC 9111 section 4.1).
//!
//! A stored response has the names in its Vary, written as [`names`] does, and the values that its request had for
//! them, as [`values`] does. Both are short texts that a store keeps.

use super::scan::{is_to_cgi, members, trim};
use super::stored::Marks;
use super::{Request, Source, Stored};

/// So many names in Vary are looked at; a response with more is not stored.
pub const MAX_NAMES: usize = 16;
/// How long they may be together.
pub const MAX_NAMES_BYTES: usize = 512;
/// So many responses are kept for one key ([`place`]).
pub const MAX_VARIANTS: usize = 32;

/// Fields of requests by which some apps answer for another URL than the one that is asked for, though no Vary says
/// so. As what a request with them gets is for such requests only, they count as if every response had them in its
/// Vary (hardening: cache poisoning). In order of length.
pub const UNKEYED: &[&str] = &[
    "x-host",
    "x-rewrite-url",
    "x-original-url",
    "x-original-host",
    "x-forwarded-path",
    "x-forwarded-scheme",
    "x-forwarded-server",
    "x-http-host-override",
    "x-http-destinationurl",
];

pub(super) fn is_unkeyed(name: &[u8]) -> bool {
    let starts = matches!(name, [b'x' | b'X', b'-' | b'_', ..]);
    starts && UNKEYED.iter().any(|other| is_to_cgi(name, other))
}

/// Stands before the names where the request had unkeyed fields; no name begins like this.
const MARK: &[u8] = b":";

/// Writes the names that a response is told apart by: those in its Vary, in lower case, sorted, each once, with commas
/// between, and a mark before them if the request is [`unkeyed`](Request::unkeyed). Empty where there are none.
pub fn names(request: &Request, response: &(impl Source + ?Sized)) -> Vec<u8> {
    let lines = response.values(b"vary");
    let mut names: Vec<_> = lines
        .flat_map(members)
        .map(<[u8]>::to_ascii_lowercase)
        .collect();
    names.sort();
    names.dedup();
    if request.unkeyed {
        names.insert(0, MARK.to_vec());
    }
    names.join(&b',')
}

/// Writes the values that a request has for the names, so that two requests for which a response is good alike have the
/// same. Appends nothing where there are no names.
pub fn values(names: &[u8], request: &(impl Source + ?Sized), out: &mut Vec<u8>) {
    let names = names.split(|&byte| byte == b',');
    for name in names.filter(|name| !name.is_empty()) {
        if name == MARK {
            unkeyed(request, out);
        } else {
            value(name, request, out);
        }
    }
}

fn unkeyed(request: &(impl Source + ?Sized), out: &mut Vec<u8>) {
    for unkeyed in UNKEYED {
        let named = |field: &(&[u8], &[u8])| is_to_cgi(field.0, unkeyed);
        for (_, value) in request.fields().filter(named) {
            out.extend_from_slice(unkeyed.as_bytes());
            out.push(b'=');
            out.extend_from_slice(value);
            out.push(b'\n');
        }
    }
}

/// One line: `-` where there is none, `+` and the value, or `=` and what was made of it. No value holds a line feed.
fn value(name: &[u8], request: &(impl Source + ?Sized), out: &mut Vec<u8>) {
    let mut lines = request.values(name).peekable();
    if lines.peek().is_none() {
        out.extend_from_slice(b"-\n");
        return;
    }
    let codings = (name == b"accept-encoding")
        .then(|| Codings::read(request))
        .flatten();
    if let Some(codings) = codings {
        out.push(b'=');
        codings.write(out);
    } else {
        let caseless = matches!(name, b"accept-encoding" | b"accept-language");
        list(lines, caseless, out);
    }
    out.push(b'\n');
}

/// The members with a comma between, however they were written.
fn list<'a>(lines: impl Iterator<Item = &'a [u8]>, caseless: bool, out: &mut Vec<u8>) {
    out.push(b'+');
    let start = out.len();
    for member in lines.flat_map(members) {
        if out.len() > start {
            out.push(b',');
        }
        out.extend_from_slice(member);
    }
    if caseless {
        out[start..].make_ascii_lowercase();
        let mut kept = start;
        for at in start..out.len() {
            if !matches!(out[at], b' ' | b'\t') {
                out[kept] = out[at];
                kept += 1;
            }
        }
        out.truncate(kept);
    }
}

/// What Accept-Encoding accepts, where it names nothing but what everybody knows: order and weights above 0 make no
/// response unacceptable (RFC 9110 section 12.5.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Codings {
    accepted: u8,
    refused: u8,
}

impl Codings {
    const GZIP: u8 = 1;
    const BROTLI: u8 = 1 << 1;
    const ZSTD: u8 = 1 << 2;
    const DEFLATE: u8 = 1 << 3;
    const IDENTITY: u8 = 1 << 4;
    const ANY: u8 = 1 << 5;

    /// `None` where it names something else, as a dictionary's coding, and has to be taken as it is.
    fn read(request: &(impl Source + ?Sized)) -> Option<Self> {
        let mut codings = Self::default();
        for member in request.values(b"accept-encoding").flat_map(members) {
            let mut parts = member.split(|&byte| byte == b';');
            let bit = Self::bit(trim(parts.next()?))?;
            let refused = parts.any(|part| is_weight_0(trim(part)));
            let set = if refused {
                &mut codings.refused
            } else {
                &mut codings.accepted
            };
            *set |= bit;
        }
        let any = codings.accepted & Self::ANY != 0;
        let odd = codings.accepted & codings.refused != 0 || (any && codings.refused != 0);
        (!odd).then_some(codings)
    }

    fn bit(name: &[u8]) -> Option<u8> {
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        Some(match name.len() {
            1 if is("*") => Self::ANY,
            2 if is("br") => Self::BROTLI,
            4 if is("gzip") => Self::GZIP,
            4 if is("zstd") => Self::ZSTD,
            6 if is("x-gzip") => Self::GZIP,
            7 if is("deflate") => Self::DEFLATE,
            8 if is("identity") => Self::IDENTITY,
            _ => return None,
        })
    }

    /// A letter for each that is accepted, and `!` where what is not encoded is not.
    fn write(self, out: &mut Vec<u8>) {
        let letters = [
            (Self::GZIP, b'g'),
            (Self::BROTLI, b'b'),
            (Self::ZSTD, b'z'),
            (Self::DEFLATE, b'd'),
            (Self::ANY, b'*'),
        ];
        let accepted = letters.iter().filter(|(bit, _)| self.accepted & bit != 0);
        out.extend(accepted.map(|(_, letter)| letter));
        let listed = self.accepted & Self::IDENTITY != 0;
        let refused = self.refused & (Self::IDENTITY | Self::ANY) != 0;
        if refused && !listed {
            out.push(b'!');
        }
    }
}

/// `q=0`, however many zeros there are.
fn is_weight_0(parameter: &[u8]) -> bool {
    match parameter {
        [b'q' | b'Q', b'=', weight @ ..] => {
            weight.starts_with(b"0") && weight.iter().all(|byte| b"0.".contains(byte))
        }
        _ => false,
    }
}

/// One of the stored responses of a key.
#[derive(Debug, Clone, Copy)]
pub struct Variant<'a> {
    /// As [`names`] wrote them.
    pub names: &'a [u8],
    /// As [`values`] did for the request it answered.
    pub values: &'a [u8],
    pub stored: &'a Stored,
}

/// The response that is for the request, by its place; of several the latest. `head` are the fields of the request; `room`
/// is used for what has to be written.
pub fn select<'a>(
    variants: impl Iterator<Item = Variant<'a>>,
    request: &Request,
    head: &(impl Source + ?Sized),
    room: &mut Vec<u8>,
) -> Option<usize> {
    let mut written: Option<&[u8]> = None;
    let mut best: Option<(usize, &Stored)> = None;
    for (at, variant) in variants.enumerate() {
        if request.unkeyed && !variant.names.starts_with(MARK) {
            continue;
        }
        if written != Some(variant.names) {
            room.clear();
            values(variant.names, head, room);
            written = Some(variant.names);
        }
        let newer = best.is_none_or(|(_, other)| newness(variant.stored) > newness(other));
        if newer && variant.values == room.as_slice() {
            best = Some((at, variant.stored));
        }
    }
    best.map(|(at, _)| at)
}

fn newness(stored: &Stored) -> (u64, u64) {
    (stored.date, stored.received)
}

/// Where a new response of a key goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Beside the others.
    New,
    /// In place of this one: it was for the same requests, or, where there are enough, is the one received first, of those
    /// with unkeyed fields if there are any.
    Instead(usize),
}

/// Decides where a response with these names and values goes.
pub fn place<'a>(
    variants: impl ExactSizeIterator<Item = Variant<'a>> + Clone,
    names: &[u8],
    values: &[u8],
) -> Place {
    let same = |variant: Variant<'_>| variant.names == names && variant.values == values;
    if let Some(at) = variants.clone().position(same) {
        return Place::Instead(at);
    }
    if variants.len() < MAX_VARIANTS {
        return Place::New;
    }
    // Anybody can invent values of unkeyed fields: they go first.
    let keyed = |stored: &Stored| !stored.marks.has(Marks::UNKEYED);
    let oldest = variants
        .enumerate()
        .min_by_key(|(_, variant)| (keyed(variant.stored), variant.stored.received));
    oldest.map_or(Place::New, |(at, _)| Place::Instead(at))
}
