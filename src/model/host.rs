//! Host names and the patterns routes match them with.

use std::borrow::Borrow;
use std::fmt;
use std::net::IpAddr;

use serde::{Serialize, Serializer};

use super::{Pattern, PatternError};

/// A validated host name or IP literal: lower case, no port, no trailing dot, 1..=253 bytes.
///
/// IPv6 literals are kept without brackets, in canonical text. Names are LDH labels (underscore
/// allowed, as browsers do); internationalised names must be given in their `xn--` form.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Host(Box<str>);

/// What a route's `wharf.host` matches. `Ord` is precedence: the least matches first.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostPattern {
    /// Exactly this name.
    Exact(Host),
    /// `*.suffix`: one label in front of the suffix, as in certificates.
    Wildcard(Host),
    /// `**.suffix`: any number of labels in front of the suffix, at least one. The longest suffix first.
    Below(Host),
    /// `~regex`, looked for in the name without port.
    Regex(Pattern),
    /// `default`: every host no other pattern matches.
    Default,
}

/// Why a text is no host pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    #[error("a host may not be empty")]
    Empty,
    #[error("a host has at most 253 characters")]
    TooLong,
    #[error("`{0}` may not stand in a host name")]
    Character(char),
    #[error("`{0}` is no host label: 1 to 63 letters, digits, `-` or `_`, no `-` at either end")]
    Label(String),
    #[error("write the host alone, without {0}")]
    Extra(&'static str),
    #[error(
        "`*` stands only as the whole first label, as in *.example.com; elsewhere use a regex, as in ~^api\\.[^.]+\\.example\\.com$"
    )]
    Star,
    #[error(transparent)]
    Regex(#[from] PatternError),
}

impl Host {
    /// Parses a name or an IP literal, in any case, with or without a trailing dot.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(HostError::Empty);
        }
        if text.contains("://") {
            return Err(HostError::Extra("a scheme"));
        }
        if text.contains('/') {
            return Err(HostError::Extra("a path (use wharf.path)"));
        }
        let bare = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(text);
        if let Ok(ip) = bare.parse::<IpAddr>() {
            return Ok(Self(ip.to_string().into()));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        if name.contains(':') {
            return Err(HostError::Extra("a port (use wharf.port)"));
        }
        if name.len() > MAX_LEN {
            return Err(HostError::TooLong);
        }
        if name.contains('*') {
            return Err(HostError::Star);
        }
        for label in name.split('.') {
            if let Some(bad) = label.chars().find(|c| !is_label_char(*c)) {
                return Err(HostError::Character(bad));
            }
            if label.is_empty()
                || label.len() > 63
                || label.starts_with('-')
                || label.ends_with('-')
            {
                return Err(HostError::Label(label.to_owned()));
            }
        }
        Ok(Self(name.to_ascii_lowercase().into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address, if this is an IP literal.
    pub fn ip(&self) -> Option<IpAddr> {
        self.0.parse().ok()
    }

    /// The part after the first dot: `b.c` of `a.b.c`. `None` for IP literals and single labels.
    pub fn parent(&self) -> Option<&str> {
        if self.ip().is_some() {
            return None;
        }
        self.0.split_once('.').map(|(_, rest)| rest)
    }

    /// Whether public CAs refuse this name: `localhost`, `.localhost`, `.local`, `.internal`,
    /// `.test`, `.home.arpa`, `.example`, `.invalid`, names without a dot and IP literals
    /// (product.md decision 4; RFC 2606, RFC 6761, RFC 8375).
    pub fn is_local(&self) -> bool {
        const SUFFIXES: [&str; 7] = [
            ".localhost",
            ".local",
            ".internal",
            ".test",
            ".home.arpa",
            ".example",
            ".invalid",
        ];
        !self.0.contains('.')
            || self.ip().is_some()
            || SUFFIXES.iter().any(|suffix| self.0.ends_with(suffix))
    }

    /// Whether the name means this machine to every client: `localhost`, `*.localhost`, an IP
    /// literal. No ACME server, private ones included, is asked for these.
    pub fn is_loopback_name(&self) -> bool {
        &*self.0 == "localhost" || self.0.ends_with(".localhost") || self.ip().is_some()
    }
}

/// So that maps of hosts are searched by the text of a handshake: both hash and compare the same.
impl Borrow<str> for Host {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl HostPattern {
    /// Parses one item of `wharf.host`: `a.example.com`, `*.example.com`, `**.example.com`, `~regex` or
    /// `default`.
    /// (`.example.com`, which means two patterns, is expanded by the label parser.)
    pub fn parse(text: &str) -> Result<Self, HostError> {
        let text = text.trim();
        if text.eq_ignore_ascii_case("default") {
            return Ok(Self::Default);
        }
        if Pattern::is_meant(text) {
            return Ok(Self::Regex(Pattern::parse_for_hosts(text)?));
        }
        let (suffix, pattern): (_, fn(Host) -> Self) = match text.strip_prefix("**.") {
            Some(suffix) => (Some(suffix), Self::Below),
            None => (text.strip_prefix("*."), Self::Wildcard),
        };
        let Some(suffix) = suffix else {
            return Host::parse(text).map(Self::Exact);
        };
        let host = Host::parse(suffix)?;
        if host.ip().is_some() {
            return Err(HostError::Star);
        }
        Ok(pattern(host))
    }

    /// Whether a canonical name (see [`Host`]) is one of these. `default` takes any.
    pub fn matches(&self, name: &str) -> bool {
        let parent = |name: &str| name.split_once('.').map(|(_, rest)| rest.to_owned());
        match self {
            Self::Exact(host) => host.as_str() == name,
            Self::Wildcard(suffix) => parent(name).is_some_and(|rest| rest == suffix.as_str()),
            Self::Below(suffix) => name
                .strip_suffix(suffix.as_str())
                .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
            Self::Regex(pattern) => pattern.matches(name),
            Self::Default => true,
        }
    }

    /// The exact name, if there is just one.
    pub fn exact(&self) -> Option<&Host> {
        match self {
            Self::Exact(host) => Some(host),
            Self::Wildcard(_) | Self::Below(_) | Self::Regex(_) | Self::Default => None,
        }
    }
}

fn is_label_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_'
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => host.fmt(f),
            Self::Wildcard(suffix) => write!(f, "*.{suffix}"),
            Self::Below(suffix) => write!(f, "**.{suffix}"),
            Self::Regex(pattern) => write!(f, "~{}", pattern.text()),
            Self::Default => f.write_str("default"),
        }
    }
}

impl Serialize for Host {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl Serialize for HostPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// RFC 1035 section 2.3.4, in presentation form.
const MAX_LEN: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_canonical() {
        for (text, canonical) in [
            ("App.Example.COM.", "app.example.com"),
            ("localhost", "localhost"),
            ("[::1]", "::1"),
            ("0:0:0:0:0:0:0:1", "::1"),
            ("192.168.1.5", "192.168.1.5"),
            ("my_app.test", "my_app.test"),
        ] {
            assert_eq!(Host::parse(text).unwrap().as_str(), canonical, "{text}");
        }
    }

    #[test]
    fn faults_are_named() {
        for (text, fault) in [
            ("", HostError::Empty),
            ("https://a.test", HostError::Extra("a scheme")),
            ("a.test/x", HostError::Extra("a path (use wharf.path)")),
            ("a.test:80", HostError::Extra("a port (use wharf.port)")),
            ("a..b", HostError::Label(String::new())),
            ("-a.test", HostError::Label("-a".into())),
            ("a b.test", HostError::Character(' ')),
            ("ü.test", HostError::Character('ü')),
            ("a.*.test", HostError::Star),
        ] {
            assert_eq!(Host::parse(text), Err(fault), "{text}");
        }
    }

    #[test]
    fn patterns_are_in_order_of_precedence_and_read_back_as_written() {
        let written = ["z.test", "*.a.test", "**.a.test", "~^a", "default"];
        let patterns = written.map(|text| HostPattern::parse(text).unwrap());
        assert!(patterns.is_sorted());
        assert_eq!(patterns.map(|pattern| pattern.to_string()), written);
    }

    #[test]
    fn patterns_match_what_they_say() {
        for (pattern, name, expected) in [
            ("a.test", "a.test", true),
            ("a.test", "b.test", false),
            ("*.a.test", "x.a.test", true),
            ("*.a.test", "y.x.a.test", false),
            ("*.a.test", "a.test", false),
            ("**.a.test", "x.a.test", true),
            ("**.a.test", "z.y.x.a.test", true),
            ("**.a.test", "a.test", false),
            ("**.a.test", ".a.test", false),
            ("**.a.test", "xa.test", false),
            (r"~^api\d+\.a\.test$", "api12.a.test", true),
            (r"~^API\d+\.a\.test$", "api12.a.test", true),
            (r"~^api\d+\.a\.test$", "api.a.test", false),
            ("~shop", "my.shop.test", true),
            ("default", "x", true),
        ] {
            let matches = HostPattern::parse(pattern).unwrap().matches(name);
            assert_eq!(matches, expected, "{pattern} {name}");
        }
        assert_eq!(HostPattern::parse("**.10.0.0.1"), Err(HostError::Star));
        assert!(matches!(
            HostPattern::parse("~a("),
            Err(HostError::Regex(_))
        ));
    }

    #[test]
    fn local_names_are_known() {
        for name in [
            "localhost",
            "app.localhost",
            "nas",
            "nas.local",
            "10.0.0.1",
            "a.home.arpa",
        ] {
            assert!(Host::parse(name).unwrap().is_local(), "{name}");
        }
        assert!(!Host::parse("app.example.com").unwrap().is_local());
    }
}
