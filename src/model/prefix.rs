//! What Wharf's labels begin with.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// `WHARF_LABEL_PREFIX`, default `wharf`, in lower case: labels are `<prefix>.<option>`, and those of
/// other prefixes belong to others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelPrefix(String);

impl LabelPrefix {
    /// What stands behind the prefix and its dot in a label in lower case; nothing behind the prefix
    /// alone. `None`: it is not Wharf's.
    pub fn strip<'a>(&self, label: &'a str) -> Option<&'a str> {
        let rest = label.strip_prefix(&self.0)?;
        match rest.strip_prefix('.') {
            Some(rest) => Some(rest),
            None => rest.is_empty().then_some(""),
        }
    }

    /// Whether a label is Wharf's, in whatever case.
    pub fn owns(&self, label: &str) -> bool {
        let at = self.0.len();
        label.as_bytes().get(at) == Some(&b'.')
            && label.as_bytes()[..at].eq_ignore_ascii_case(self.0.as_bytes())
    }

    /// Whether a label in lower case may have been meant for Wharf: one without the dot, for example.
    pub fn resembles(&self, label: &str) -> bool {
        label.trim_start().starts_with(&self.0)
    }

    /// `text`, in which labels are called `wharf.<option>`, with the prefix there is. Words that follow
    /// `wharf.` and are no options are left alone: there are hosts that are called so.
    pub fn in_words<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.0 == DEFAULT {
            return Cow::Borrowed(text);
        }
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(IN_TEXTS) {
            let (before, found) = rest.split_at(at);
            let (name, behind) = found.split_at(IN_TEXTS.len());
            let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
            let begins = !before.ends_with(inner);
            out.push_str(before);
            match begins && is_option(behind) {
                true => out.push_str(&format!("{}.", self.0)),
                false => out.push_str(name),
            }
            rest = behind;
        }
        match out.is_empty() {
            true => Cow::Borrowed(text),
            false => Cow::Owned(out + rest),
        }
    }
}

/// Whether `text` begins with an option, a route's or a `<placeholder>`.
fn is_option(text: &str) -> bool {
    let end = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '<' | '>'));
    let path = text.split(end).next().unwrap_or_default();
    let mut words = path.split('.');
    let option = |word: &str| WORDS.contains(&word) || word.starts_with('<');
    words.next().is_some_and(option) || words.next().is_some_and(option)
}

impl Default for LabelPrefix {
    fn default() -> Self {
        Self(DEFAULT.to_owned())
    }
}

impl fmt::Display for LabelPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for LabelPrefix {
    /// What is accepted.
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let word = |word: &str| {
            let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
            !word.is_empty() && word.bytes().all(inner)
        };
        match text.len() <= LONGEST && text.split('.').all(word) {
            true => Ok(Self(text.to_ascii_lowercase())),
            false => Err(
                "expected words of letters, digits, `-`, `_`, joined by dots, such as edge or com.example.edge; at most 63 characters",
            ),
        }
    }
}

const DEFAULT: &str = "wharf";
const IN_TEXTS: &str = "wharf.";
const LONGEST: usize = 63;

/// First words of options, as the table of labels has them; a test of that table compares.
pub const WORDS: &[&str] = &[
    "allow",
    "auth",
    "backup",
    "block",
    "breaker",
    "buffer",
    "cache",
    "canary",
    "chunked",
    "compress",
    "cors",
    "deny",
    "drain",
    "enable",
    "errors",
    "fail",
    "forwarded",
    "headers",
    "health",
    "hold",
    "host",
    "hsts",
    "https",
    "idle",
    "inflight",
    "keepalive",
    "lb",
    "log",
    "maintenance",
    "match",
    "max_body",
    "max_conns",
    "metrics",
    "mirror",
    "mtls",
    "network",
    "path",
    "pool",
    "port",
    "preset",
    "priority",
    "proto",
    "ratelimit",
    "redirect",
    "retry",
    "rewrite",
    "routes",
    "satisfy",
    "security",
    "slow_start",
    "spa",
    "sse",
    "static",
    "sticky",
    "strip",
    "swarm",
    "tcp",
    "timeout",
    "tls",
    "trace",
    "udp",
    "upstream",
    "use",
    "websocket",
    "weight",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_prefix_is() {
        for text in ["wharf", "edge", "com.example.edge", "my-proxy_2", "Edge"] {
            let prefix: LabelPrefix = text.parse().unwrap();
            assert_eq!(prefix.to_string(), text.to_lowercase());
        }
        let long = "x".repeat(64);
        for text in ["", ".", "edge.", ".edge", "a..b", "a b", "é", long.as_str()] {
            assert!(text.parse::<LabelPrefix>().is_err(), "{text}");
        }
    }

    #[test]
    fn labels_of_a_prefix() {
        let prefix: LabelPrefix = "edge".parse().unwrap();
        assert_eq!(prefix.strip("edge.host"), Some("host"));
        assert_eq!(prefix.strip("edge"), Some(""));
        for label in ["wharf.host", "edges.host", "edgehost", "my.edge.host"] {
            assert_eq!(prefix.strip(label), None);
            assert!(!prefix.owns(label));
        }
        assert!(prefix.owns("Edge.Host") && !prefix.owns("edge"));
    }

    #[test]
    fn texts_name_labels_with_the_prefix() {
        let prefix: LabelPrefix = "edge".parse().unwrap();
        for (text, expected) in [
            ("set wharf.port: 3000", "set edge.port: 3000"),
            (
                "`wharf.blog.host` or wharf.host.",
                "`edge.blog.host` or edge.host.",
            ),
            (
                "write wharf.routes.<route>.<option>",
                "write edge.routes.<route>.<option>",
            ),
            ("wharf.<route>.host", "edge.<route>.host"),
            // A host, and what has nothing to do with it.
            (
                "wharf.example.com has no route",
                "wharf.example.com has no route",
            ),
            ("my.wharf.host, dwharf.host", "my.wharf.host, dwharf.host"),
            ("at the wharf.", "at the wharf."),
            ("nothing", "nothing"),
        ] {
            assert_eq!(prefix.in_words(text), expected);
            assert_eq!(LabelPrefix::default().in_words(text), text);
        }
    }
}
