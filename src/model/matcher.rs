//! Conditions on a request, as labels name them.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Serialize, Serializer};

use super::{Pattern, PatternError};

/// One condition, as in `header:X-Beta=1`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Matcher {
    /// A field, its name in lower case: names of fields have no case. Any value, where none is given.
    Header(String, Option<Text>),
    Cookie(Glob, Option<Text>),
    /// A name in the query.
    Arg(Glob, Option<Text>),
    /// The path as `seen`.
    Path(PathGlob),
    /// One of these, in upper case; sorted.
    Method(Vec<String>),
    /// The client's address is in one of these.
    Ip(Networks),
}

/// What a value has to look like.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Text {
    Glob(Glob),
    /// `~regex`; a value that is no UTF-8 has none.
    Regex(Pattern),
}

/// A text in which `*` stands for any number of any bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Glob(Box<str>);

/// A pattern of paths: `*` stands for anything but `/`, `**` and a `*` at the end for anything; or a regex.
/// What they stand for are the groups of [`PathGlob::pattern`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PathGlob {
    text: Box<str>,
    pattern: Pattern,
}

/// Networks by their label.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Networks {
    text: Box<str>,
    networks: Vec<IpNet>,
}

impl Matcher {
    /// Whether no request can meet both, as far as that is plain to see.
    pub fn excludes(&self, other: &Self) -> bool {
        let apart = |a: &Option<Text>, b: &Option<Text>| match (a, b) {
            (Some(Text::Glob(a)), Some(Text::Glob(b))) => a != b && a.is_plain() && b.is_plain(),
            _ => false,
        };
        match (self, other) {
            (Self::Header(a, x), Self::Header(b, y)) => a == b && apart(x, y),
            (Self::Cookie(a, x), Self::Cookie(b, y)) | (Self::Arg(a, x), Self::Arg(b, y)) => {
                a == b && a.is_plain() && apart(x, y)
            }
            (Self::Method(a), Self::Method(b)) => !a.iter().any(|method| b.contains(method)),
            (Self::Ip(a), Self::Ip(b)) => !a.overlaps(b),
            _ => false,
        }
    }
}

impl Text {
    pub fn matches(&self, text: &[u8]) -> bool {
        match self {
            Self::Glob(glob) => glob.matches(text),
            Self::Regex(pattern) => std::str::from_utf8(text).is_ok_and(|t| pattern.matches(t)),
        }
    }
}

impl PathGlob {
    /// Parses `/old/*`, `~regex` or `^regex`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let pattern = match Pattern::is_meant(text) {
            true => Pattern::parse(text)?,
            false => Pattern::parse(&regex_of(text))?,
        };
        Ok(Self {
            text: text.into(),
            pattern,
        })
    }

    pub fn pattern(&self) -> &Pattern {
        &self.pattern
    }
}

/// A glob as a regex.
fn regex_of(glob: &str) -> String {
    let mut out = "^".to_owned();
    let mut rest = glob;
    while let Some(star) = rest.find('*') {
        out += &regex_syntax::escape(&rest[..star]);
        rest = &rest[star..];
        let stars = rest.bytes().take_while(|byte| *byte == b'*').count();
        rest = &rest[stars..];
        out += match stars > 1 || rest.is_empty() {
            true => "(.*)",
            false => "([^/]*)",
        };
    }
    out + &regex_syntax::escape(rest) + "$"
}

impl Networks {
    pub fn new(text: &str, networks: Vec<IpNet>) -> Self {
        Self {
            text: text.into(),
            networks,
        }
    }

    /// The same, shown as `text`.
    pub fn shown_as(self, text: &str) -> Self {
        Self::new(text, self.networks)
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks
            .iter()
            .any(|network| network.contains(&address))
    }

    fn overlaps(&self, other: &Self) -> bool {
        let within = |a: &IpNet, b: &IpNet| a.contains(b) || b.contains(a);
        let mut networks = self.networks.iter();
        networks.any(|a| other.networks.iter().any(|b| within(a, b)))
    }
}

impl Glob {
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// Whether it is one text only.
    fn is_plain(&self) -> bool {
        !self.0.contains('*')
    }

    /// Takes as long as pattern times text at worst; both are bounded where they come from.
    pub fn matches(&self, text: &[u8]) -> bool {
        let pattern = self.0.as_bytes();
        let (mut p, mut t) = (0, 0);
        // Where to go on if the last `*` has to take one byte more.
        let mut again: Option<(usize, usize)> = None;
        while t < text.len() {
            match pattern.get(p) {
                Some(b'*') => {
                    again = Some((p + 1, t));
                    p += 1;
                }
                Some(byte) if *byte == text[t] => {
                    p += 1;
                    t += 1;
                }
                _ => match &mut again {
                    Some((after, from)) => {
                        *from += 1;
                        (p, t) = (*after, *from);
                    }
                    None => return false,
                },
            }
        }
        pattern[p..].iter().all(|byte| *byte == b'*')
    }
}

/// As the label is written.
impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = match self {
            Self::Header(name, value) => {
                write!(f, "header:{name}")?;
                value
            }
            Self::Cookie(name, value) => {
                write!(f, "cookie:{}", name.0)?;
                value
            }
            Self::Arg(name, value) => {
                write!(f, "arg:{}", name.0)?;
                value
            }
            Self::Path(path) => return write!(f, "path:{path}"),
            Self::Method(methods) => return write!(f, "method:{}", methods.join("|")),
            Self::Ip(networks) => return write!(f, "ip:{}", networks.text),
        };
        match value {
            Some(Text::Glob(glob)) => write!(f, "={}", glob.0),
            Some(Text::Regex(pattern)) => write!(f, "={pattern}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for PathGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Networks {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Matcher {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_in_paths_end_at_a_slash_unless_doubled_or_last() {
        for (glob, path, groups) in [
            ("/old/*", "/old/a/b", Some(vec!["a/b"])),
            ("/old/*", "/old/", Some(vec![""])),
            ("/old/*", "/old", None),
            ("/*/edit", "/a/edit", Some(vec!["a"])),
            ("/*/edit", "/a/b/edit", None),
            ("/**/edit", "/a/b/edit", Some(vec!["a/b"])),
            ("/a.b", "/a.b", Some(vec![])),
            ("/a.b", "/axb", None),
            (r"~^/(\d+)/", "/12/x", Some(vec!["12"])),
        ] {
            let glob = PathGlob::parse(glob).unwrap();
            let found = glob.pattern().regex().captures(path).map(|found| {
                let groups = found.iter().skip(1).flatten();
                groups.map(|group| group.as_str()).collect::<Vec<_>>()
            });
            assert_eq!(found, groups, "{glob} {path}");
        }
    }

    #[test]
    fn conditions_that_nobody_can_meet_at_once_are_known() {
        let header = |value: &str| {
            let value = Some(Text::Glob(Glob::new(value)));
            Matcher::Header("x".into(), value)
        };
        let methods = |all: &[&str]| Matcher::Method(all.iter().map(|m| (*m).into()).collect());
        let network = |text: &str| Matcher::Ip(Networks::new(text, vec![text.parse().unwrap()]));
        for (a, b, expected) in [
            (header("1"), header("2"), true),
            (header("1"), header("1"), false),
            (header("1"), header("*"), false),
            (header("1"), methods(&["GET"]), false),
            (methods(&["GET"]), methods(&["POST"]), true),
            (methods(&["GET", "HEAD"]), methods(&["GET"]), false),
            (network("10.0.0.0/8"), network("10.1.0.0/16"), false),
            (network("10.0.0.0/8"), network("11.0.0.0/8"), true),
        ] {
            assert_eq!(a.excludes(&b), expected, "{a} {b}");
            assert_eq!(b.excludes(&a), expected, "{b} {a}");
        }
    }

    #[test]
    fn a_star_is_anything() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "abc", true),
            ("a*", "abc", true),
            ("a*", "ba", false),
            ("*c", "abc", true),
            ("a*c*", "abcabd", true),
            ("a*c*d", "abcabd", true),
            ("a*c*e", "abcabd", false),
            ("ab", "abc", false),
            ("abc", "ab", false),
            ("**a", "ba", true),
        ] {
            assert_eq!(
                Glob::new(pattern).matches(text.as_bytes()),
                expected,
                "{pattern} {text}"
            );
        }
    }
}
