//! Which paths a route is for, and the bytes a path may have.

use std::cmp::Ordering;
use std::fmt;

use serde::{Serialize, Serializer};

use super::{Pattern, PatternError};

/// What a route's `wharf.path` matches, in a path as [`seen`]. `Ord` is precedence: the least matches first,
/// longer texts before shorter ones of their kind.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PathPattern {
    /// `=/a`: this path alone.
    Exact(Box<str>),
    /// `~\.php$`: every path it is found in.
    Regex(Pattern),
    /// `/a`: that and everything below it, on segment boundaries: `/a` matches `/a` and `/a/b`, not `/ab`.
    /// Invariant: no trailing `/` except for the root, no `//`, `.` or `..` segment.
    Prefix(Box<str>),
}

/// Why a text is no path pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("a path starts with `/`")]
    NoSlash,
    #[error("`%` may not stand in a path: write the character that is meant")]
    Percent,
    #[error("`{0}` may not stand in a path")]
    Character(char),
    #[error("a path may not hold `//`, `/./` or `/../`")]
    Segment,
    #[error("a path has at most {} bytes", PathPattern::LONGEST)]
    TooLong,
    #[error(transparent)]
    Regex(#[from] PatternError),
}

impl PathPattern {
    /// Bytes of one.
    pub const LONGEST: usize = 1024;

    /// Every path.
    pub fn root() -> Self {
        Self::Prefix("/".into())
    }

    /// Parses `/prefix`, `=/exact` or `~regex`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let text = text.trim();
        if Pattern::is_meant(text) {
            return Ok(Self::Regex(Pattern::parse(text)?));
        }
        let (exact, text) = match text.strip_prefix('=') {
            Some(text) => (true, text.trim_start()),
            None => (false, text),
        };
        if !text.starts_with('/') {
            return Err(PathError::NoSlash);
        }
        if text.len() > Self::LONGEST {
            return Err(PathError::TooLong);
        }
        if text.contains('%') {
            return Err(PathError::Percent);
        }
        let bad = |c: &char| c.is_control() || matches!(c, '?' | '#' | '\\' | '*');
        if let Some(bad) = text.chars().find(bad) {
            return Err(PathError::Character(bad));
        }
        let trimmed = text.strip_suffix('/').unwrap_or(text);
        let mut segments = trimmed.split('/').skip(1);
        if segments.any(|segment| matches!(segment, "" | "." | "..")) {
            return Err(PathError::Segment);
        }
        Ok(match (exact, trimmed) {
            (true, _) => Self::Exact(text.into()),
            (false, "") => Self::root(),
            (false, prefix) => Self::Prefix(prefix.into()),
        })
    }

    /// Whether it takes every path.
    pub fn is_root(&self) -> bool {
        matches!(self, Self::Prefix(prefix) if &**prefix == "/")
    }

    pub fn matches(&self, path: &str) -> bool {
        match self {
            Self::Prefix(prefix) => {
                self.is_root()
                    || path
                        .strip_prefix(&**prefix)
                        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            Self::Exact(exact) => **exact == *path,
            Self::Regex(pattern) => pattern.matches(path),
        }
    }

    /// What every matching path begins with: not the root, not a regex.
    pub fn prefix(&self) -> Option<&str> {
        match self {
            Self::Prefix(_) if self.is_root() => None,
            Self::Prefix(prefix) | Self::Exact(prefix) => Some(prefix),
            Self::Regex(_) => None,
        }
    }
}

impl Ord for PathPattern {
    fn cmp(&self, other: &Self) -> Ordering {
        let longer = |a: &str, b: &str| b.len().cmp(&a.len()).then_with(|| a.cmp(b));
        let kind = |pattern: &Self| match pattern {
            Self::Exact(_) => 0,
            Self::Regex(_) => 1,
            Self::Prefix(_) => 2,
        };
        match (self, other) {
            (Self::Exact(a), Self::Exact(b)) | (Self::Prefix(a), Self::Prefix(b)) => longer(a, b),
            (Self::Regex(a), Self::Regex(b)) => a.cmp(b),
            (a, b) => kind(a).cmp(&kind(b)),
        }
    }
}

impl PartialOrd for PathPattern {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(path) => write!(f, "={path}"),
            Self::Regex(pattern) => pattern.fmt(f),
            Self::Prefix(path) => f.write_str(path),
        }
    }
}

impl Serialize for PathPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A path as patterns see it: escapes of what has no meaning of its own in a path are decoded, once. Those of
/// `/`, `%`, `\`, of reserved characters (RFC 3986 section 2.2), of control characters and of what is no
/// UTF-8 stay, so that it stands for one path only; a `%` that begins none becomes one, and so does a `\`.
pub fn seen(path: &str) -> String {
    let bytes = path.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match escaped(bytes, at).filter(|byte| decodes(*byte)) {
            Some(decoded) => {
                out.push(decoded);
                at += 3;
            }
            None => {
                match byte {
                    // One that begins no escape must not begin one with what follows decoded.
                    b'%' if escaped(bytes, at).is_none() => out.extend_from_slice(b"%25"),
                    b'\\' => out.extend_from_slice(b"%5C"),
                    byte => out.push(*byte),
                }
                at += 1;
            }
        }
    }
    let mut text = String::with_capacity(out.len());
    for chunk in out.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            escape(*byte, &mut text);
        }
    }
    text
}

/// What is left of `path`, as written, behind a prefix that the path has as [`seen`].
pub fn behind<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    // Usually nothing is escaped.
    if let Some(rest) = path.strip_prefix(prefix) {
        return Some(rest);
    }
    let bytes = path.as_bytes();
    let mut at = 0;
    for wanted in prefix.bytes() {
        let decoded = escaped(bytes, at).filter(|byte| decodes(*byte));
        if decoded.or_else(|| bytes.get(at).copied())? != wanted {
            return None;
        }
        at += if decoded.is_some() { 3 } else { 1 };
    }
    path.get(at..)
}

/// Appends a path as [`seen`] in the form in which it may stand in a request or a field: what may not is
/// escaped.
pub fn push_escaped(path: &str, out: &mut String) {
    for byte in path.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"-._~/%:[]@!$&'()*+,;=".contains(&byte);
        match plain {
            true => out.push(char::from(byte)),
            false => escape(byte, out),
        }
    }
}

/// [`push_escaped`] into a text of its own.
pub fn escape_path(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    push_escaped(path, &mut out);
    out
}

fn escape(byte: u8, out: &mut String) {
    let digit = |value: u8| char::from(b"0123456789ABCDEF"[usize::from(value & 15)]);
    out.push('%');
    out.push(digit(byte >> 4));
    out.push(digit(byte));
}

/// The byte that an escape at this place stands for.
pub fn escaped(bytes: &[u8], at: usize) -> Option<u8> {
    let digit = |at: usize| char::from(*bytes.get(at)?).to_digit(16);
    let escape = bytes.get(at) == Some(&b'%');
    let value = escape.then(|| Some(digit(at + 1)? << 4 | digit(at + 2)?))??;
    u8::try_from(value).ok()
}

fn decodes(byte: u8) -> bool {
    !byte.is_ascii_control() && !b"/%\\:?#[]@!$&'()*+,;=".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(text: &str) -> PathPattern {
        PathPattern::parse(text).unwrap()
    }

    #[test]
    fn prefixes_match_on_segment_boundaries() {
        for (pattern, path, expected) in [
            ("/prometheus/", "/prometheus", true),
            ("/prometheus", "/prometheus/x", true),
            ("/prometheus", "/prometheusx", false),
            ("/prometheus", "/", false),
            ("/", "/anything", true),
            ("/a b/é", "/a b/é/x", true),
            ("=/a", "/a", true),
            ("=/a", "/a/", false),
            ("= /a/", "/a/", true),
            ("=/", "/", true),
            ("=/", "/a", false),
            (r"~\.php$", "/x/y.php", true),
            (r"~\.php$", "/x.PHP", false),
            (r"~*\.php$", "/x.PHP", true),
            (r"~\.php$", "/x.php5", false),
        ] {
            let matches = PathPattern::parse(pattern).unwrap().matches(path);
            assert_eq!(matches, expected, "{pattern} {path}");
        }
        assert_eq!(path("/prometheus/").to_string(), "/prometheus");
    }

    #[test]
    fn exact_paths_come_before_regexes_before_prefixes_and_longer_ones_first() {
        let order = [
            "=/a/b", "=/z", "~^/long", "~x", "/api/v1", "/api", "/zzz", "/",
        ];
        let mut patterns = order.map(path);
        patterns.reverse();
        patterns.sort();
        assert_eq!(patterns.map(|p| p.to_string()), order);
    }

    #[test]
    fn faults_are_named() {
        for (text, fault) in [
            ("api", PathError::NoSlash),
            ("=api", PathError::NoSlash),
            ("/a//b", PathError::Segment),
            ("/a/../b", PathError::Segment),
            ("=//", PathError::Segment),
            ("/a%20b", PathError::Percent),
            ("/a*", PathError::Character('*')),
            ("=/a?b", PathError::Character('?')),
            ("/a\u{7f}", PathError::Character('\u{7f}')),
        ] {
            assert_eq!(PathPattern::parse(text), Err(fault), "{text}");
        }
        let regex = PathPattern::parse("~(").unwrap_err().to_string();
        assert!(regex.contains("character 2"), "{regex}");
    }

    #[test]
    fn escapes_that_mean_nothing_are_seen_through() {
        for (written, expected) in [
            ("/plain", "/plain"),
            ("/%61dmin", "/admin"),
            ("/caf%C3%a9", "/café"),
            ("/a%20b", "/a b"),
            ("/a%2Fb", "/a%2Fb"),
            ("/a%2fb%5c", "/a%2fb%5c"),
            ("/%2e%2e", "/.."),
            ("/a%3Bb%26", "/a%3Bb%26"),
            ("/%25", "/%25"),
            ("/%2561", "/%2561"),
            ("/%zz%6", "/%25zz%256"),
            ("/%%611", "/%25a1"),
            ("/%ff%fe", "/%FF%FE"),
            ("/%0a%00%7f", "/%0a%00%7f"),
        ] {
            assert_eq!(seen(written), expected, "{written}");
        }
    }

    #[test]
    fn prefixes_are_cut_off_as_they_were_written() {
        for (written, prefix, rest) in [
            ("/api/x", "/api", Some("/x")),
            ("/%61pi/%78", "/api", Some("/%78")),
            ("/caf%C3%A9/x", "/café", Some("/x")),
            ("/a%2Fb", "/a", Some("%2Fb")),
            ("/ap", "/api", None),
        ] {
            assert_eq!(behind(written, prefix), rest, "{written}");
        }
    }

    proptest! {
        #[test]
        fn seeing_and_escaping_again_is_the_same_path(written in "/([ -~]|%[0-9a-fA-F]{2}){0,20}") {
            let once = seen(&written.replace(['?', '#'], ""));
            let again = escape_path(&once);
            prop_assert!(again.is_ascii());
            prop_assert_eq!(seen(&again), once);
        }

        #[test]
        fn what_is_behind_is_what_is_seen_behind(written in "/([ -~]|%[0-9a-fA-F]{2}){0,20}", cut in 0..20_usize) {
            let all = seen(&written);
            let Some((prefix, rest)) = all.split_at_checked(cut.min(all.len())) else {
                return Ok(());
            };
            // As of a pattern.
            if !prefix.contains('%') && let Some(behind) = behind(&written, prefix) {
                prop_assert_eq!(seen(behind), rest);
            }
        }
    }
}
