//! Asking the app whether what is stored is still good, and what its answer changes (RFC 9111 sections 3.2 and 4.3).

use super::conditional::same_weakly;
use super::policy::{Bypass, Policy};
use super::store::{NotStored, Times, store};
use super::{Request, Response, Source, Stored, date, fields};

/// The fields that ask.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Conditions<'a> {
    pub if_none_match: Option<&'a [u8]>,
    pub if_modified_since: Option<&'a [u8]>,
}

/// What to ask with, in place of conditions of the client's (section 4.3.1). `head` is what is stored.
pub fn conditions<'a>(head: &'a (impl Source + ?Sized)) -> Conditions<'a> {
    Conditions {
        if_none_match: head.first(b"etag").filter(|tag| !tag.is_empty()),
        if_modified_since: head
            .first(b"last-modified")
            .filter(|at| date::parse(at).is_some()),
    }
}

/// Whether a 304 is about what is stored: what it names of entity tag or last change is the same (section 4.3.4). One
/// that names neither answers the question that was put. Tags are compared weakly: a server that encodes weakens them
/// on the way out, but not in a 304.
pub fn confirms(head: &(impl Source + ?Sized), not_modified: &(impl Source + ?Sized)) -> bool {
    match (not_modified.first(b"etag"), head.first(b"etag")) {
        (Some(new), Some(old)) => return same_weakly(new, old),
        (Some(_), None) => return false,
        (None, _) => {}
    }
    let changed = not_modified.first(b"last-modified");
    changed.is_none() || changed == head.first(b"last-modified")
}

/// The head of a stored response with what a 304, or the response to a HEAD, says anew (section 3.2).
#[derive(Debug)]
pub struct Merged<'a, H: ?Sized, U: ?Sized> {
    head: &'a H,
    update: &'a U,
    /// Names that Connection has in the update.
    nominated: Vec<&'a [u8]>,
}

impl<'a, H: Source + ?Sized, U: Source + ?Sized> Merged<'a, H, U> {
    pub fn new(head: &'a H, update: &'a U) -> Self {
        Self {
            head,
            update,
            nominated: fields::nominated(update).collect(),
        }
    }

    fn updates(&self, name: &[u8]) -> bool {
        let is = |other: &&[u8]| name.eq_ignore_ascii_case(other);
        fields::updates(name) && !self.nominated.iter().any(is)
    }

    fn replaced(&self, name: &[u8]) -> bool {
        // Without a date of its own, what was confirmed now would be as old as before.
        name.eq_ignore_ascii_case(b"date")
            || (self.updates(name) && self.update.first(name).is_some())
    }
}

impl<H: Source + ?Sized, U: Source + ?Sized> Source for Merged<'_, H, U> {
    fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let new = self.update.fields().filter(|(name, _)| self.updates(name));
        let old = self.head.fields().filter(|(name, _)| !self.replaced(name));
        new.chain(old)
    }
}

/// What is known of a stored response once it has been confirmed. An error: it must not be used again, but for the
/// request that asked.
pub fn freshen<H: Source + ?Sized, U: Source + ?Sized>(
    policy: &Policy,
    bypass: Bypass,
    request: &Request,
    path: &[u8],
    stored: &Stored,
    merged: &Merged<'_, H, U>,
    times: Times,
) -> Result<Stored, NotStored> {
    let response = Response::read(stored.status, merged);
    store(policy, bypass, request, path, &response, times)
}

/// What the response to a HEAD says of the stored response to a GET (section 4.3.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadSays {
    /// Nothing that would tell.
    Nothing,
    /// It is still good: [`freshen`] it, with the request [`as_get`](Request::as_get).
    Good,
    /// It is not what is there now: it must not be used without asking.
    Outdated,
}

/// Compares what is stored with the response to a HEAD; `length` is that of the stored body.
pub fn head_says(
    head: &(impl Source + ?Sized),
    length: u64,
    status: u16,
    response: &(impl Source + ?Sized),
) -> HeadSays {
    match status {
        200 => {}
        404 | 410 => return HeadSays::Outdated,
        _ => return HeadSays::Nothing,
    }
    let mut told = false;
    for name in [b"etag".as_slice(), b"last-modified"] {
        match (response.first(name), head.first(name)) {
            (Some(new), Some(old)) if new == old => told = true,
            (Some(_), _) => return HeadSays::Outdated,
            (None, _) => {}
        }
    }
    if let Some(new) = response.first(b"content-length") {
        let same = std::str::from_utf8(new).is_ok_and(|new| new.parse() == Ok(length));
        return if same {
            HeadSays::Good
        } else {
            HeadSays::Outdated
        };
    }
    if told {
        HeadSays::Good
    } else {
        HeadSays::Nothing
    }
}
