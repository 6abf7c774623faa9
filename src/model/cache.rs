//! What `wharf.cache` says of a route (product.md S40 to S50).

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::{Matcher, duration};

/// `wharf.cache`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CacheSpec {
    /// Lifetimes where the app names none. Default: none, and such an answer is not stored.
    pub valid: CacheValid,
    pub stale: CacheStale,
    /// Requests that are not answered from the cache (nginx `proxy_cache_bypass`).
    pub bypass_read: Vec<Matcher>,
    /// Requests whose answers are not stored (nginx `proxy_no_cache`).
    pub bypass_store: Vec<Matcher>,
    /// What tells answers apart. Default: scheme, host, path and query as they were written.
    pub key: Option<CacheKey>,
    /// Bytes in memory and on disk, each. Default 0: no limit but that of the whole cache.
    pub max_size: u64,
    /// What nobody has asked for in this time goes, fresh or not (nginx `inactive`). Default 10 min; 0: never.
    #[serde(serialize_with = "duration")]
    pub inactive: Duration,
    /// Clients get `X-Cache-Status` and `Cache-Status`. Default on.
    pub header: bool,
    /// A new image of the app's is a reason to forget all that it has said. Default off.
    pub purge_on_deploy: bool,
    /// Answers without a lifetime get one by the age of their content (RFC 9111 section 4.2.2). Default off.
    pub heuristic: bool,
}

/// `wharf.cache.valid`: seconds by status.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CacheValid {
    pub by_status: Vec<(u16, u32)>,
    /// For all others.
    pub any: Option<u32>,
}

/// `wharf.cache.stale`: when an answer past its lifetime is better than none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheStale {
    /// The app cannot be reached, or is being replaced.
    pub error: bool,
    pub timeout: bool,
    /// What it sends is no answer.
    pub invalid: bool,
    /// It is being fetched: by another request, or in the background from now on.
    pub updating: bool,
    /// Sorted.
    pub statuses: Vec<u16>,
    /// Seconds past its lifetime in which anybody gets it at once while it is fetched in the background; 0: the first
    /// who asks waits for it. Default: as long as `updating` holds.
    pub background: Option<u32>,
    /// Seconds past its lifetime for which all of it holds. Default: without end.
    pub limit: u32,
}

/// `wharf.cache.key`: `{host}{path}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheKey {
    text: Box<str>,
    parts: Vec<KeyPart>,
}

/// A part of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyPart {
    Text(Box<str>),
    Scheme,
    Host,
    /// As `seen`.
    Path,
    /// Path and query as they were written.
    Uri,
    Query,
    /// The first field of this name, in lower case.
    Header(Box<str>),
    /// The first cookie of exactly this name.
    Cookie(Box<str>),
    /// The first argument of exactly this name, decoded.
    Arg(Box<str>),
}

impl Default for CacheSpec {
    fn default() -> Self {
        Self {
            valid: CacheValid::default(),
            stale: CacheStale::default(),
            bypass_read: Vec::new(),
            bypass_store: Vec::new(),
            key: None,
            max_size: 0,
            inactive: Self::INACTIVE,
            header: true,
            purge_on_deploy: false,
            heuristic: false,
        }
    }
}

impl CacheSpec {
    /// nginx's.
    pub const INACTIVE: Duration = Duration::from_secs(600);
}

impl CacheValid {
    /// What a time alone is for, as in nginx.
    pub const BARE: [u16; 3] = [200, 301, 302];
}

impl Default for CacheStale {
    /// `error timeout updating 500 502 503`.
    fn default() -> Self {
        Self {
            error: true,
            timeout: true,
            invalid: false,
            updating: true,
            statuses: vec![500, 502, 503],
            background: None,
            limit: u32::MAX,
        }
    }
}

impl CacheStale {
    /// Only what the app allows itself.
    pub const NEVER: Self = Self {
        error: false,
        timeout: false,
        invalid: false,
        updating: false,
        statuses: Vec::new(),
        background: None,
        limit: 0,
    };
    /// Statuses that may be named.
    pub const STATUSES: [u16; 7] = [500, 502, 503, 504, 403, 404, 429];
}

/// Why a text is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CacheKeyError {
    #[error(
        "there is no {{{0}}}; there are {{scheme}}, {{host}}, {{path}}, {{uri}}, {{query}}, {{header:Name}}, {{cookie:name}} and {{arg:name}}"
    )]
    Unknown(String),
    #[error("a `{{` has no `}}`, or the other way round")]
    Open,
    #[error(
        "it names nothing of the request, so that all answers would be one; {{host}}{{uri}} is a key"
    )]
    Constant,
    #[error("it has at most {} bytes", CacheKey::LONGEST)]
    TooLong,
}

impl CacheKey {
    /// Bytes of one.
    pub const LONGEST: usize = 1024;

    /// Parses `{host}{path}?{arg:page}`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, CacheKeyError> {
        let text = text.trim();
        if text.len() > Self::LONGEST {
            return Err(CacheKeyError::TooLong);
        }
        let (mut parts, mut rest) = (Vec::new(), text);
        while !rest.is_empty() {
            let stop = rest.find(['{', '}']).unwrap_or(rest.len());
            if stop > 0 {
                parts.push(KeyPart::Text(rest[..stop].into()));
                rest = &rest[stop..];
                continue;
            }
            let end = rest.find('}').filter(|end| *end > 0);
            let end = end.ok_or(CacheKeyError::Open)?;
            let name = &rest[1..end];
            let part = KeyPart::named(name);
            parts.push(part.ok_or_else(|| CacheKeyError::Unknown(name.to_owned()))?);
            rest = &rest[end + 1..];
        }
        let constant = parts.iter().all(|part| matches!(part, KeyPart::Text(_)));
        if constant {
            return Err(CacheKeyError::Constant);
        }
        Ok(Self {
            text: text.into(),
            parts,
        })
    }

    pub fn parts(&self) -> &[KeyPart] {
        &self.parts
    }
}

impl KeyPart {
    fn named(name: &str) -> Option<Self> {
        let (kind, of) = name.split_once(':').unwrap_or((name, ""));
        let kind = kind.to_ascii_lowercase();
        Some(match (kind.as_str(), of.is_empty()) {
            ("scheme", true) => Self::Scheme,
            ("host", true) => Self::Host,
            ("path", true) => Self::Path,
            ("uri", true) => Self::Uri,
            ("query", true) => Self::Query,
            ("header", false) => Self::Header(of.to_ascii_lowercase().into()),
            ("cookie", false) => Self::Cookie(of.into()),
            ("arg", false) => Self::Arg(of.into()),
            _ => return None,
        })
    }
}

/// As the label is written.
impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// `200 10m, 301 10m, any 1m`, in seconds.
impl fmt::Display for CacheValid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before = "";
        for (status, seconds) in &self.by_status {
            write!(f, "{before}{status} {seconds}s")?;
            before = ", ";
        }
        match self.any {
            Some(seconds) => write!(f, "{before}any {seconds}s"),
            None => Ok(()),
        }
    }
}

/// `error timeout updating 500 502 503 background=30s for=1d`.
impl fmt::Display for CacheStale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words: Vec<String> = [
            (self.error, "error"),
            (self.timeout, "timeout"),
            (self.invalid, "invalid_header"),
            (self.updating, "updating"),
        ]
        .into_iter()
        .filter(|(on, _)| *on)
        .map(|(_, word)| word.to_owned())
        .collect();
        words.extend(self.statuses.iter().map(u16::to_string));
        if let Some(seconds) = self.background {
            words.push(format!("background={seconds}s"));
        }
        if words.is_empty() {
            return f.write_str("off");
        }
        if self.limit != u32::MAX {
            words.push(format!("for={}s", self.limit));
        }
        f.write_str(&words.join(" "))
    }
}

impl Serialize for CacheKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for CacheValid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for CacheStale {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_name_something_of_the_request() {
        let key = CacheKey::parse("{host}{path}?{arg:page}{header:X-Lang}").unwrap();
        assert_eq!(
            key.parts(),
            [
                KeyPart::Host,
                KeyPart::Path,
                KeyPart::Text("?".into()),
                KeyPart::Arg("page".into()),
                KeyPart::Header("x-lang".into()),
            ]
        );
        for (text, error) in [
            ("", CacheKeyError::Constant),
            ("all", CacheKeyError::Constant),
            ("{host", CacheKeyError::Open),
            ("host}", CacheKeyError::Open),
            ("{hots}", CacheKeyError::Unknown("hots".into())),
            ("{header:}", CacheKeyError::Unknown("header:".into())),
            ("{path:x}", CacheKeyError::Unknown("path:x".into())),
        ] {
            assert_eq!(CacheKey::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn what_is_stale_is_shown_as_it_is_written() {
        let text = CacheStale::default().to_string();
        assert_eq!(text, "error timeout updating 500 502 503");
        assert_eq!(CacheStale::NEVER.to_string(), "off");
    }
}
