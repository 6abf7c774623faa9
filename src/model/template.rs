//! Paths and addresses with placeholders, as `wharf.rewrite` and `wharf.redirect` name them.

use std::fmt;
use std::net::IpAddr;

use regex::Captures;
use serde::{Serialize, Serializer};

use super::path::push_escaped;
use super::{PathGlob, Pattern};

/// A text with placeholders: `/new/{1}`, `https://{host}/x?from={path}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    text: Box<str>,
    pieces: Vec<Piece>,
    /// The client's query is appended to what comes of it.
    keeps_query: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(Box<str>),
    Host,
    Path,
    Uri,
    Query,
    Scheme,
    ClientIp,
    /// What a group of the pattern has found; nothing if it took no part.
    Group(usize),
}

/// What placeholders stand for.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// `http` or `https`, as the client used it.
    pub scheme: &'a str,
    /// Without port, in lower case.
    pub host: &'a str,
    /// As `seen`.
    pub path: &'a str,
    /// Path and query as the client wrote them.
    pub uri: &'a str,
    pub client: IpAddr,
}

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    #[error("it begins with {0}")]
    Start(&'static str),
    #[error("there is no {{{name}}}, at character {at}; there are {known}")]
    Unknown {
        name: String,
        at: usize,
        known: String,
    },
    #[error("a `{{` at character {0} has no `}}`")]
    Open(usize),
    #[error("a `}}` at character {0} has no `{{`")]
    Close(usize),
    #[error("`{0}` may not stand in it")]
    Character(char),
    #[error("the host may be {{host}}, but nothing else of the request; a `/` ends it")]
    Authority,
    #[error("it has at most {} bytes", Template::LONGEST)]
    TooLong,
}

impl Template {
    /// Bytes of one.
    pub const LONGEST: usize = 1024;

    /// Parses a path, for what `pattern` has found.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn path(text: &str, pattern: &Pattern) -> Result<Self, TemplateError> {
        match text.starts_with('/') || text == "{path}" || text.starts_with("{path}") {
            true => Self::parse(text, pattern),
            false => Err(TemplateError::Start("`/`")),
        }
    }

    /// Parses a path or an address.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn address(text: &str, pattern: &Pattern) -> Result<Self, TemplateError> {
        let schemes = ["http://", "https://", "{scheme}://"];
        let rest = schemes.iter().find_map(|scheme| text.strip_prefix(scheme));
        let Some(rest) = rest else {
            let path = ["/", "{path}", "{uri}"];
            return match path.iter().any(|start| text.starts_with(start)) && !text.starts_with("//")
            {
                true => Self::parse(text, pattern),
                false => Err(TemplateError::Start("`/`, `http://` or `https://`")),
            };
        };
        // What a client can choose must not become part of the host, nor stand right behind it.
        let authority = rest.strip_prefix("{host}").unwrap_or(rest);
        let end = authority.find(['/', '?', '{']).unwrap_or(authority.len());
        let (authority, path) = authority.split_at(end);
        let ends = ["", "/", "?", "{uri}", "{path}"];
        let ends_well = path.is_empty() || ends[1..].iter().any(|end| path.starts_with(end));
        let is_empty = authority.is_empty() && !rest.starts_with("{host}");
        if !ends_well || is_empty || authority.contains(['@', '\\', '#']) {
            return Err(TemplateError::Authority);
        }
        Self::parse(text, pattern)
    }

    fn parse(text: &str, pattern: &Pattern) -> Result<Self, TemplateError> {
        if text.len() > Self::LONGEST {
            return Err(TemplateError::TooLong);
        }
        let bad = |c: &char| !c.is_ascii_graphic() || matches!(c, '"' | '<' | '>' | '\\' | '`');
        if let Some(bad) = text.chars().find(bad) {
            return Err(TemplateError::Character(bad));
        }
        let mut pieces = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let at = text.len() - rest.len();
            let stop = rest.find(['{', '}']).unwrap_or(rest.len());
            if stop > 0 {
                pieces.push(Piece::Text(rest[..stop].into()));
                rest = &rest[stop..];
                continue;
            }
            if rest.starts_with('}') {
                return Err(TemplateError::Close(at + 1));
            }
            let end = rest.find('}').ok_or(TemplateError::Open(at + 1))?;
            let name = &rest[1..end];
            let piece = piece(name, pattern).ok_or_else(|| TemplateError::Unknown {
                name: name.to_owned(),
                at: at + 1,
                known: known(pattern),
            })?;
            pieces.push(piece);
            rest = &rest[end + 1..];
        }
        let has = |piece: Piece| pieces.contains(&piece);
        let keeps_query = !text.ends_with('?') && !has(Piece::Uri) && !has(Piece::Query);
        Ok(Self {
            text: text.into(),
            pieces,
            keeps_query,
        })
    }

    /// The text for a request. What came of the request is escaped; the client's query is appended unless the
    /// template ends with `?` or has `{query}` or `{uri}` itself.
    pub fn fill(&self, facts: &Facts<'_>, found: &Captures<'_>) -> String {
        let mut out = String::with_capacity(self.text.len() + facts.uri.len());
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Host => match facts.host.contains(':') {
                    true => {
                        out.push('[');
                        out.push_str(facts.host);
                        out.push(']');
                    }
                    false => out.push_str(facts.host),
                },
                Piece::Path => push_escaped(facts.path, &mut out),
                Piece::Uri => out.push_str(facts.uri),
                Piece::Query => out.push_str(facts.query()),
                Piece::Scheme => out.push_str(facts.scheme),
                Piece::ClientIp => out.push_str(&facts.client.to_string()),
                Piece::Group(group) => {
                    let text = found.get(*group).map_or("", |group| group.as_str());
                    push_escaped(text, &mut out);
                }
            }
        }
        match (facts.query(), out.contains('?')) {
            (query, has) if self.keeps_query && !query.is_empty() => {
                out.push(if has { '&' } else { '?' });
                out.push_str(query);
            }
            _ if out.ends_with('?') => drop(out.pop()),
            _ => {}
        }
        // `//evil.test` would be another host's address.
        let slashes = out.bytes().take_while(|byte| *byte == b'/').count();
        out.drain(..slashes.saturating_sub(1));
        out
    }
}

impl Facts<'_> {
    fn query(&self) -> &str {
        self.uri.split_once('?').map_or("", |(_, query)| query)
    }
}

fn piece(name: &str, pattern: &Pattern) -> Option<Piece> {
    Some(match name {
        "host" => Piece::Host,
        "path" => Piece::Path,
        "uri" => Piece::Uri,
        "query" => Piece::Query,
        "scheme" => Piece::Scheme,
        "client_ip" => Piece::ClientIp,
        _ => {
            let mut names = pattern.regex().capture_names();
            let index = match name.bytes().all(|byte| byte.is_ascii_digit()) {
                true => name.parse().ok()?,
                false => names.position(|group| group == Some(name))?,
            };
            Piece::Group(Some(index).filter(|index| *index < pattern.regex().captures_len())?)
        }
    })
}

fn known(pattern: &Pattern) -> String {
    let groups = pattern.regex().captures_len();
    let mut known: Vec<String> = (1..groups.min(MAX_SHOWN))
        .map(|n| format!("{{{n}}}"))
        .collect();
    for name in ["host", "path", "uri", "query", "scheme", "client_ip"] {
        known.push(format!("{{{name}}}"));
    }
    known.join(" ")
}

/// As the label is written.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// `wharf.rewrite`: the path an app is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rewrite {
    /// The route's prefix becomes this one; escaped, without a `/` at its end, so that the root is empty.
    Base(Box<str>),
    /// The first that matches.
    Rules(Vec<Rule>),
}

/// A pattern and what becomes of a path that matches it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub from: PathGlob,
    pub to: Template,
}

/// `wharf.redirect`: a pattern, where a request that matches it is sent, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    pub from: PathGlob,
    pub to: Template,
    /// One of [`Redirect::STATUSES`]. Default: 301 for GET and HEAD, 308 for the rest.
    pub status: Option<u16>,
}

impl Redirect {
    pub const STATUSES: [u16; 5] = [301, 302, 303, 307, 308];
}

impl fmt::Display for Redirect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}", self.from, self.to)?;
        match self.status {
            Some(status) => write!(f, " {status}"),
            None => Ok(()),
        }
    }
}

impl Serialize for Redirect {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}", self.from, self.to)
    }
}

impl fmt::Display for Rewrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Base(base) if base.is_empty() => f.write_str("/"),
            Self::Base(base) => f.write_str(base),
            Self::Rules(rules) => {
                let rules: Vec<_> = rules.iter().map(ToString::to_string).collect();
                f.write_str(&rules.join(", "))
            }
        }
    }
}

impl Serialize for Rewrite {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Groups named in an error.
const MAX_SHOWN: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(from: &str, to: &str, uri: &str) -> Option<String> {
        let glob = PathGlob::parse(from).unwrap();
        let to = Template::address(to, glob.pattern()).unwrap();
        let path = super::super::seen(uri.split('?').next().unwrap());
        let facts = Facts {
            scheme: "https",
            host: "a.test",
            path: &path,
            uri,
            client: [10, 0, 0, 1].into(),
        };
        let found = glob.pattern().regex().captures(&path)?;
        Some(to.fill(&facts, &found))
    }

    #[test]
    fn placeholders_are_filled_in_and_the_query_is_kept() {
        for (from, to, uri, expected) in [
            ("/old/*", "/new/{1}", "/old/a/b?x=1", "/new/a/b?x=1"),
            ("/old/*", "/new/{1}?", "/old/a?x=1", "/new/a"),
            ("/old/*", "/new?p={1}", "/old/a?x=1", "/new?p=a&x=1"),
            ("/old/*", "/new?p={1}", "/old/a", "/new?p=a"),
            ("/old/*", "/new/{1}?q={query}", "/old/a?x=1", "/new/a?q=x=1"),
            ("~^/(?<user>[a-z]+)/(x)?", "/u/{user}{2}", "/jo/", "/u/jo"),
            (
                "~^/v1(.*)$",
                "/v2{1}",
                "/v1/%C3%A9%2Fb%20",
                "/v2/%C3%A9%2Fb%20",
            ),
            (
                "/**",
                "https://b.test{uri}",
                "/a%2fb?c",
                "https://b.test/a%2fb?c",
            ),
            (
                "/**",
                "{scheme}://{host}:8443{path}",
                "/a",
                "https://a.test:8443/a",
            ),
            ("/**", "https://b.test", "/a", "https://b.test"),
            ("/x", "/{client_ip}/{host}", "/x", "/10.0.0.1/a.test"),
            ("/*", "/{1}", "//evil.test/", "/evil.test/"),
            ("/**", "{uri}", "//evil.test/", "/evil.test/"),
            ("/*", "/{1}", "/\\evil.test", "/%5Cevil.test"),
        ] {
            let filled = filled(from, to, uri);
            assert_eq!(filled.as_deref(), Some(expected), "{from} {to} {uri}");
        }
        assert_eq!(filled("/old", "/new", "/older"), None);
    }

    #[test]
    fn faults_say_where_they_are() {
        let glob = PathGlob::parse("/old/*").unwrap();
        for (text, expected) in [
            ("new", "it begins with `/`, `http://` or `https://`"),
            ("//b.test/", "it begins with `/`, `http://` or `https://`"),
            (
                "/new/{2}",
                "there is no {2}, at character 6; there are {1} {host} {path} {uri} {query} {scheme} {client_ip}",
            ),
            ("/new/{1", "a `{` at character 6 has no `}`"),
            ("/new/1}", "a `}` at character 7 has no `{`"),
            ("/new <", "` ` may not stand in it"),
            (
                "https://{1}/",
                "the host may be {host}, but nothing else of the request; a `/` ends it",
            ),
            (
                "https://b.test{1}",
                "the host may be {host}, but nothing else of the request; a `/` ends it",
            ),
            (
                "https:///x",
                "the host may be {host}, but nothing else of the request; a `/` ends it",
            ),
            (
                "https://me@b.test/",
                "the host may be {host}, but nothing else of the request; a `/` ends it",
            ),
        ] {
            let error = Template::address(text, glob.pattern()).unwrap_err();
            assert_eq!(error.to_string(), expected, "{text}");
        }
        let error = Template::path("https://b.test/", glob.pattern()).unwrap_err();
        assert_eq!(error.to_string(), "it begins with `/`");
    }
}
