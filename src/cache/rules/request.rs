//! What of a request concerns a cache, read in one pass over its fields.

use super::Source;
use super::directives::Wishes;
use super::policy::Bypass;
use super::scan::{is_to_cgi, members};

/// A request, as the cache sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    pub method: Method,
    pub wishes: Wishes,
    /// It names somebody to the app. Whoever takes the field away (`wharf.auth.basic` with `strip`) sets this to
    /// false.
    pub authorization: bool,
    pub range: bool,
    pub if_range: bool,
    pub if_none_match: bool,
    pub if_modified_since: bool,
    /// It has an [`vary::UNKEYED`](super::vary::UNKEYED) field.
    pub unkeyed: bool,
    refusal: Option<Refusal>,
}

/// Methods, as far as a cache tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Get,
    Head,
    /// Changes nothing, but its responses are not stored.
    Safe,
    /// May change what is at the URL; so do all that nobody knows.
    Unsafe,
}

/// Why a request neither is answered from the cache nor fills it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Responses to this method are not stored.
    Method,
    /// A GET with content: the app may answer to what the key does not have.
    Content,
    /// A field says that it is another method.
    MethodOverride,
    /// If-Match or If-Unmodified-Since: for the app only (RFC 9111 section 4.3.2).
    Precondition,
    /// It asks for another protocol.
    Upgrade,
}

impl Request {
    /// Reads a request with that method, which is compared as it is written.
    pub fn read(method: &[u8], source: &(impl Source + ?Sized)) -> Self {
        let method = Method::of(method);
        let mut request = Self {
            method,
            wishes: Wishes::default(),
            authorization: false,
            range: false,
            if_range: false,
            if_none_match: false,
            if_modified_since: false,
            unkeyed: false,
            refusal: (!method.reads()).then_some(Refusal::Method),
        };
        let mut seen = Seen::default();
        for (name, value) in source.fields() {
            request.take(name, value, &mut seen);
        }
        // RFC 7234 section 5.4: Pragma counts only where nobody says it better.
        if seen.pragma && !seen.cache_control {
            request.wishes.no_cache = true;
        }
        request
    }

    fn take(&mut self, name: &[u8], value: &[u8], seen: &mut Seen) {
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        match name.len() {
            5 if is("range") => self.range = true,
            6 if is("pragma") => {
                let says = |token: &[u8]| token.eq_ignore_ascii_case(b"no-cache");
                seen.pragma |= members(value).any(says);
            }
            7 if is("upgrade") => self.refuse(Refusal::Upgrade),
            8 if is("if-range") => self.if_range = true,
            8 if is("if-match") => self.refuse(Refusal::Precondition),
            13 if is("authorization") => self.authorization = true,
            13 if is("cache-control") => {
                seen.cache_control = true;
                self.wishes.add(value);
            }
            13 if is("if-none-match") => self.if_none_match = true,
            13 if is_to_cgi(name, "x-http-method") => self.refuse(Refusal::MethodOverride),
            14 if is("content-length") && value != b"0" => self.refuse(Refusal::Content),
            17 if is("if-modified-since") => self.if_modified_since = true,
            17 if is("transfer-encoding") => self.refuse(Refusal::Content),
            17 if is_to_cgi(name, "x-method-override") => self.refuse(Refusal::MethodOverride),
            19 if is("if-unmodified-since") => self.refuse(Refusal::Precondition),
            22 if is_to_cgi(name, "x-http-method-override") => self.refuse(Refusal::MethodOverride),
            _ => self.unkeyed |= super::vary::is_unkeyed(name),
        }
    }

    /// Keeps it away from the cache. What no field shows, as the content of a GET on HTTP/2, is for the caller to
    /// see.
    pub fn refuse(&mut self, refusal: Refusal) {
        self.refusal.get_or_insert(refusal);
    }

    /// The same request as it went on, where a HEAD was sent as a GET ([`super::lookup::Forward::as_get`]).
    #[must_use]
    pub fn as_get(self) -> Self {
        let head = self.method == Method::Head;
        let method = if head { Method::Get } else { self.method };
        Self { method, ..self }
    }

    /// Why it has nothing to do with the cache, if so. It may still end what is stored ([`super::invalidate`]).
    pub fn refusal(&self) -> Option<Refusal> {
        self.refusal
    }

    /// Whether its response may be stored, as far as the request says.
    pub(super) fn may_fill(&self, bypass: Bypass) -> bool {
        self.refusal.is_none() && !bypass.store && !self.wishes.no_store
    }
}

#[derive(Default)]
struct Seen {
    cache_control: bool,
    pragma: bool,
}

impl Method {
    /// The method of that name (the registry of HTTP methods; RFC 9110 section 9.1: names have a case).
    pub fn of(name: &[u8]) -> Self {
        match name {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"OPTIONS" | b"TRACE" | b"PROPFIND" | b"REPORT" | b"SEARCH" | b"QUERY" => Self::Safe,
            _ => Self::Unsafe,
        }
    }

    fn reads(self) -> bool {
        matches!(self, Self::Get | Self::Head)
    }
}
