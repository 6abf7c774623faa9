//! Whose pages may call an app from a browser (Fetch standard, "CORS protocol").

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::{Host, HostError, HostPattern, duration};

/// `wharf.cors` and its fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CorsSpec {
    pub origins: Origins,
    /// `wharf.cors.methods`, in upper case. Default empty: all.
    pub methods: Vec<String>,
    /// `wharf.cors.headers`, in lower case. Default empty: all.
    pub headers: Vec<String>,
    /// Browsers may send cookies and logins, and scripts read the answers. Never with [`Origins::Any`].
    pub credentials: bool,
    /// How long browsers remember the answer to a preflight. Default [`CorsSpec::MAX_AGE`]; 0: not at all.
    #[serde(serialize_with = "duration")]
    pub max_age: Duration,
}

impl CorsSpec {
    /// An hour. Chromium takes two at most, Firefox a day.
    pub const MAX_AGE: Duration = Duration::from_secs(3600);

    /// Fields that are Wharf's alone to write where there are such rules: of two values browsers take none.
    pub const FIELDS: [&str; 5] = [
        "access-control-allow-origin",
        "access-control-allow-credentials",
        "access-control-allow-methods",
        "access-control-allow-headers",
        "access-control-max-age",
    ];
}

/// As the label is written.
impl fmt::Display for CorsSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.origins)?;
        for (name, list) in [("methods", &self.methods), ("headers", &self.headers)] {
            if !list.is_empty() {
                write!(f, " {name}={}", list.join(","))?;
            }
        }
        if self.credentials {
            f.write_str(" credentials")?;
        }
        write!(f, " max_age={}s", self.max_age.as_secs())
    }
}

/// Whose pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// `*`.
    Any,
    /// In label order; nobody's where it is empty.
    These(Vec<OriginPattern>),
}

impl fmt::Display for Origins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::These(list) = self else {
            return f.write_str("*");
        };
        for (index, origin) in list.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{origin}")?;
        }
        Ok(())
    }
}

impl Serialize for Origins {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Origins as `Origin` names them (RFC 6454 section 6.2): `https://app.example.com`, `https://*.example.com`,
/// `http://localhost:5173`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginPattern {
    /// In lower case.
    scheme: Box<str>,
    /// A name, or one with stars in front.
    host: HostPattern,
    /// Empty where it is the scheme's own, which browsers leave out.
    port: Box<str>,
}

/// Why a text is no origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    #[error("an origin begins with its scheme, as in https://app.example.com")]
    Scheme,
    #[error("an origin has no path: leave out what follows the host")]
    Path,
    #[error("`null` is the origin of every sandboxed page, anybody's")]
    Null,
    #[error("a port is a number, 1 to 65535")]
    Port,
    #[error("{0}")]
    Host(#[from] HostError),
}

impl OriginPattern {
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, OriginError> {
        let text = text.trim();
        if text.eq_ignore_ascii_case("null") {
            return Err(OriginError::Null);
        }
        let (scheme, rest) = text.split_once("://").ok_or(OriginError::Scheme)?;
        let word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
        if !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) || !scheme.bytes().all(word) {
            return Err(OriginError::Scheme);
        }
        let scheme = scheme.to_ascii_lowercase();
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#']) {
            return Err(OriginError::Path);
        }
        let (host, port) = split_port(rest);
        let port = match port {
            None => None,
            Some(port) => match port.parse::<u16>() {
                Ok(0) | Err(_) => return Err(OriginError::Port),
                Ok(port) => Some(port),
            },
        };
        let usual = match &*scheme {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        };
        let host = match host.starts_with("*.") || host.starts_with("**.") {
            true => HostPattern::parse(host)?,
            false => HostPattern::Exact(Host::parse(host)?),
        };
        let port = port.filter(|port| Some(*port) != usual);
        Ok(Self {
            scheme: scheme.into(),
            host,
            port: port.map(|port| port.to_string()).unwrap_or_default().into(),
        })
    }

    /// Whether an `Origin` as browsers write it is one of these. What is may be written into a field.
    pub fn matches(&self, origin: &str) -> bool {
        let Some((scheme, rest)) = origin.split_once("://") else {
            return false;
        };
        let (host, port) = split_port(rest);
        if scheme != &*self.scheme || port.unwrap_or_default() != &*self.port {
            return false;
        }
        let below = |suffix: &Host| {
            let name = host.strip_suffix(suffix.as_str())?.strip_suffix('.')?;
            let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
            (!name.is_empty() && name.bytes().all(good)).then_some(name)
        };
        match &self.host {
            HostPattern::Exact(name) => {
                let inner = host.strip_prefix('[');
                let bare = inner.and_then(|rest| rest.strip_suffix(']'));
                bare.unwrap_or(host) == name.as_str()
            }
            HostPattern::Wildcard(suffix) => below(suffix).is_some_and(|name| !name.contains('.')),
            HostPattern::Below(suffix) => below(suffix).is_some(),
            HostPattern::Regex(_) | HostPattern::Default => false,
        }
    }
}

impl fmt::Display for OriginPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (open, close) = match &self.host {
            HostPattern::Exact(host) if host.as_str().contains(':') => ("[", "]"),
            _ => ("", ""),
        };
        write!(f, "{}://{open}{}{close}", self.scheme, self.host)?;
        match &*self.port {
            "" => Ok(()),
            port => write!(f, ":{port}"),
        }
    }
}

/// Host and port; a literal IPv6 address has colons in brackets.
fn split_port(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_match_whole() {
        let none: &[&str] = &[];
        for (pattern, these, others) in [
            (
                "https://App.example.com/",
                &["https://app.example.com"][..],
                &[
                    "http://app.example.com",
                    "https://app.example.com:8443",
                    "https://app.example.com.evil.test",
                    "https://evil.test/https://app.example.com",
                    "https://xapp.example.com",
                    "app.example.com",
                    "null",
                    "",
                ][..],
            ),
            (
                "https://*.example.com",
                &["https://a.example.com", "https://a-b_1.example.com"],
                &[
                    "https://example.com",
                    "https://.example.com",
                    "https://a.b.example.com",
                    "https://evil.test/.example.com",
                    "https://evil.test#.example.com",
                    "https://a\u{e9}.example.com",
                    "https://aexample.com",
                    "https://a.example.com:444",
                ],
            ),
            (
                "https://**.example.com:8443",
                &["https://a.b.example.com:8443", "https://a.example.com:8443"],
                &[
                    "https://a.example.com",
                    "https://evil.test@a.example.com:8443",
                ],
            ),
            ("https://a.test:443", &["https://a.test"], none),
            (
                "http://[::1]:3000",
                &["http://[::1]:3000"],
                &["http://[::1]"],
            ),
            (
                "http://localhost:5173",
                &["http://localhost:5173"],
                &["http://localhost"],
            ),
            ("capacitor://localhost", &["capacitor://localhost"], none),
        ] {
            let pattern = OriginPattern::parse(pattern).unwrap();
            for origin in these {
                assert!(pattern.matches(origin), "{pattern} {origin}");
            }
            for origin in others {
                assert!(!pattern.matches(origin), "{pattern} {origin}");
            }
        }
    }

    #[test]
    fn what_is_no_origin_is_told_why() {
        for (text, error) in [
            ("app.example.com", OriginError::Scheme),
            ("1://app.example.com", OriginError::Scheme),
            ("https://a.test/app", OriginError::Path),
            ("null", OriginError::Null),
            ("https://a.test:0", OriginError::Port),
            ("https://a.test:https", OriginError::Port),
            ("https://", OriginError::Host(HostError::Empty)),
            ("https://a.*.test", OriginError::Host(HostError::Star)),
            ("https://*", OriginError::Host(HostError::Star)),
        ] {
            assert_eq!(OriginPattern::parse(text).unwrap_err(), error, "{text}");
        }
        let shown = |text| OriginPattern::parse(text).unwrap().to_string();
        assert_eq!(shown("HTTPS://*.A.test:443/"), "https://*.a.test");
        assert_eq!(shown("http://[::1]:81"), "http://[::1]:81");
    }
}
