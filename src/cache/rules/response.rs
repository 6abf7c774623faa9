//! What of a response concerns a cache, read in one pass over its fields.

use super::deception::Content;
use super::directives::Directives;
use super::scan::{members, seconds, trim};
use super::{Source, Time, date, targeted, vary};

/// A response, as the cache sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    /// What counts of Cache-Control and the fields for one kind of cache.
    pub directives: Directives,
    /// What Cache-Control says itself, whoever stands in for it.
    pub cache_control: Directives,
    /// A field for caches such as this one stands in for Cache-Control and Expires (RFC 9213).
    pub targeted: Option<Target>,
    pub accel: Option<Accel>,
    /// The first of several; 0 where it cannot be read: then the response is stale (RFC 9111 section 5.3).
    pub expires: Option<Time>,
    pub date: Option<Time>,
    pub age: u32,
    pub last_modified: Option<Time>,
    pub etag: bool,
    pub set_cookie: bool,
    pub vary: Varies,
    pub content: Content,
}

/// A field for one kind of cache; the first that a response has counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    SurrogateControl,
    CdnCacheControl,
}

/// X-Accel-Expires, nginx's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accel {
    /// Seconds from now; 0: not stored.
    For(u32),
    /// `@` and a time.
    Until(Time),
}

/// What Vary says (RFC 9110 section 12.5.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Varies {
    No,
    By,
    /// `*`, or more names than are looked at.
    Always,
}

impl Response {
    pub fn read(status: u16, source: &(impl Source + ?Sized)) -> Self {
        let mut response = Self {
            status,
            directives: Directives::default(),
            cache_control: Directives::default(),
            targeted: None,
            accel: None,
            expires: None,
            date: None,
            age: 0,
            last_modified: None,
            etag: false,
            set_cookie: false,
            vary: Varies::No,
            content: Content::Page,
        };
        let mut seen = Seen::default();
        for (name, value) in source.fields() {
            response.take(name, value, &mut seen);
        }
        response.directives = response.cache_control;
        if seen.targets {
            response.target(source);
        }
        response
    }

    fn take(&mut self, name: &[u8], value: &[u8], seen: &mut Seen) {
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        match name.len() {
            3 if is("age") && !seen.age => {
                seen.age = true;
                self.age = age(value);
            }
            4 if is("date") && self.date.is_none() => self.date = date::parse(value),
            4 if is("etag") => self.etag |= !value.is_empty(),
            4 if is("vary") => self.vary = seen.vary.add(value),
            7 if is("expires") => self.expires = Some(self.expire(value)),
            10 | 11 if is("set-cookie") || is("set-cookie2") => self.set_cookie = true,
            12 if is("content-type") => self.content = Content::of(value),
            13 if is("cache-control") => self.cache_control.add(value),
            13 if is("last-modified") => self.last_modified = date::parse(value),
            15 if is("x-accel-expires") => self.accel = Accel::parse(value).or(self.accel),
            17 if is("surrogate-control") || is("cdn-cache-control") => seen.targets = true,
            _ => {}
        }
    }

    /// Of several lines that differ the earliest counts.
    fn expire(&self, value: &[u8]) -> Time {
        let at = date::parse(value).unwrap_or(0);
        self.expires.map_or(at, |before| before.min(at))
    }

    fn target(&mut self, source: &(impl Source + ?Sized)) {
        let found = surrogate_control(source)
            .map(|found| (found, Target::SurrogateControl))
            .or_else(|| {
                let found = targeted::parse(source.values(b"cdn-cache-control"))?;
                Some((found, Target::CdnCacheControl))
            });
        if let Some((directives, target)) = found {
            self.directives = directives;
            self.targeted = Some(target);
        }
    }

    /// Whether it can be asked whether it is still good (RFC 9111 section 4.3.1).
    pub fn has_validator(&self) -> bool {
        self.etag || self.last_modified.is_some()
    }
}

#[derive(Default)]
struct Seen {
    age: bool,
    targets: bool,
    vary: Vary,
}

/// The names in Vary, counted.
#[derive(Default)]
struct Vary {
    names: usize,
    bytes: usize,
    any: bool,
}

/// The first number; what cannot be read is 0 (RFC 9111 section 5.1).
fn age(value: &[u8]) -> u32 {
    let first = members(value).next().unwrap_or_default();
    let number = first.split(|&byte| byte == b';').next();
    seconds(trim(number.unwrap_or_default())).unwrap_or(0)
}

/// The Edge Architecture's field: older than structured fields, so it is read as Cache-Control is. `max-age=600+30`
/// is fresh for 600 seconds and may be stale for 30 more while it is fetched.
fn surrogate_control(source: &(impl Source + ?Sized)) -> Option<Directives> {
    let mut found = Directives::default();
    for line in source.values(b"surrogate-control") {
        for member in members(line) {
            match fresh_and_stale(member) {
                Some((fresh, stale)) => {
                    found.max_age = Some(found.max_age.map_or(fresh, |age| age.min(fresh)));
                    found.stale_while_revalidate = Some(stale);
                }
                None => found.add(member),
            }
        }
    }
    (found != Directives::default()).then_some(found)
}

fn fresh_and_stale(member: &[u8]) -> Option<(u32, u32)> {
    let (name, value) = member.split_at_checked(b"max-age=".len())?;
    let plus = value.iter().position(|&byte| byte == b'+')?;
    let both = (seconds(&value[..plus])?, seconds(&value[plus + 1..])?);
    name.eq_ignore_ascii_case(b"max-age=").then_some(both)
}

impl Accel {
    /// What cannot be read is not there, as in nginx.
    fn parse(value: &[u8]) -> Option<Self> {
        match value {
            [b'@', at @ ..] => Some(Self::Until(std::str::from_utf8(at).ok()?.parse().ok()?)),
            _ => Some(Self::For(seconds(value)?)),
        }
    }
}

impl Vary {
    /// More than anybody needs is as good as `*`, and so is what is no name.
    fn add(&mut self, value: &[u8]) -> Varies {
        for member in members(value) {
            self.any |= member == b"*" || !super::scan::is_token(member);
            self.names += 1;
            self.bytes += member.len();
        }
        let many = self.names > vary::MAX_NAMES || self.bytes > vary::MAX_NAMES_BYTES;
        match self.names {
            _ if self.any || many => Varies::Always,
            0 => Varies::No,
            _ => Varies::By,
        }
    }
}
