//! Which fields are stored, sent, updated and passed on (RFC 9111 sections 3.1, 3.2 and 4.3.1).

use super::policy::{Cookies, Policy};
use super::scan::members;
use super::{Response, Source, directives};

/// Of one hop only, or made anew for each response. `Age` is written from what is known of the response.
const NEVER_STORED: &[&str] = &[
    "te",
    "age",
    "trailer",
    "upgrade",
    "connection",
    "keep-alive",
    "x-cache-status",
    "proxy-connection",
    "transfer-encoding",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-authentication-info",
];

/// What a stored body has been made with: a 304 cannot change it (RFC 9111 section 3.2).
const OF_THE_BODY: &[&str] = &[
    "digest",
    "content-md5",
    "repr-digest",
    "content-range",
    "content-digest",
    "content-length",
    "content-encoding",
];

fn is_one_of(name: &[u8], names: &[&str]) -> bool {
    names
        .iter()
        .any(|other| name.eq_ignore_ascii_case(other.as_bytes()))
}

/// The names in Connection: fields of one hop.
pub fn nominated(head: &(impl Source + ?Sized)) -> impl Iterator<Item = &[u8]> {
    head.values(b"connection").flat_map(members)
}

/// Which fields of a response are stored. What is kept out concerns this one response only: the client that asked
/// gets all.
#[derive(Debug)]
pub struct Kept<'a> {
    named: Vec<&'a [u8]>,
    cookies: bool,
}

impl<'a> Kept<'a> {
    pub fn new(policy: &Policy, response: &Response, head: &'a (impl Source + ?Sized)) -> Self {
        let mut named: Vec<_> = nominated(head).collect();
        if response.cache_control.names_fields {
            named.extend(
                head.values(b"cache-control")
                    .flat_map(directives::named_fields),
            );
        }
        Self {
            named,
            cookies: policy.cookies == Cookies::Keep,
        }
    }

    pub fn keeps(&self, name: &[u8]) -> bool {
        let is = |other: &&[u8]| name.eq_ignore_ascii_case(other);
        let cookie = is_one_of(name, &["set-cookie", "set-cookie2"]);
        !is_one_of(name, NEVER_STORED) && (self.cookies || !cookie) && !self.named.iter().any(is)
    }
}

/// Whether a stored field is sent to clients. Those for caches such as this one are not (nginx hides its own, too);
/// they are kept because a 304 may rely on them.
pub fn served(name: &[u8]) -> bool {
    let accel = name
        .get(..8)
        .is_some_and(|start| start.eq_ignore_ascii_case(b"x-accel-"));
    !accel && !is_one_of(name, &["surrogate-control"])
}

/// Whether a stored field is sent in a 304: nothing that describes a body (RFC 9110 section 15.4.5).
pub fn in_304(name: &[u8]) -> bool {
    const OF_CONTENT: &[&str] = &["content-type", "content-language"];
    served(name) && !is_one_of(name, OF_THE_BODY) && !is_one_of(name, OF_CONTENT)
}

/// Whether a stored field is sent in a 206, beside the Content-Range and the Content-Length that are the part's own;
/// of several parts Content-Type is each part's own, too (RFC 9110 section 15.3.7).
pub fn in_206(name: &[u8]) -> bool {
    served(name) && !is_one_of(name, &["content-range", "content-length"])
}

/// Whether a field of a 304 takes the place of what is stored.
pub(super) fn updates(name: &[u8]) -> bool {
    // Age is for the time at which the 304 came; it is read from there, not stored.
    let age = name.eq_ignore_ascii_case(b"age");
    age || !(is_one_of(name, NEVER_STORED) || is_one_of(name, OF_THE_BODY))
}

/// Whether a field of a request goes on where the whole is asked for ([`super::lookup::Forward::whole`]).
pub fn forwarded(name: &[u8]) -> bool {
    const FOR_PARTS: &[&str] = &["range", "if-range", "if-none-match", "if-modified-since"];
    !is_one_of(name, FOR_PARTS)
}
