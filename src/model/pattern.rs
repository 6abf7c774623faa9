//! Regular expressions of labels.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use regex::{Regex, RegexBuilder};
use serde::{Serialize, Serializer};

/// A regular expression, compiled. Found anywhere in a text unless it says `^` and `$`, as nginx's are;
/// takes time linear in the text whatever it is (crate `regex`).
///
/// Compared by what is written. `Ord`: longer first, then by text.
#[derive(Clone)]
pub struct Pattern(Arc<Inner>);

struct Inner {
    source: Source,
    regex: Regex,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Source {
    text: Box<str>,
    ignores_case: bool,
}

/// Why a text is no regular expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    #[error("a regex may not be empty")]
    Empty,
    #[error("a regex has at most {} bytes", Pattern::LONGEST)]
    TooLong,
    /// `at` counts characters from 1, the leading `~` included.
    #[error("no regex, at character {at}{}: {why}", shown(.near))]
    Syntax {
        at: usize,
        near: String,
        why: String,
    },
    #[error("this regex takes more than {} KiB: repeat less, or write [a-z] for \\w", SIZE / 1024)]
    TooLarge,
}

impl Pattern {
    /// Bytes of one.
    pub const LONGEST: usize = 512;

    /// Reads `~<regex>`, `~*<regex>` (in any case of letters) or `^<regex>`. Each is compiled once for as long as
    /// anybody holds it, however often its label is read.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        Self::read(text, false)
    }

    /// The same for host names, which have no case.
    ///
    /// # Errors
    /// As [`Pattern::parse`].
    pub fn parse_for_hosts(text: &str) -> Result<Self, PatternError> {
        Self::read(text, true)
    }

    /// Whether a text is meant as one.
    pub fn is_meant(text: &str) -> bool {
        text.starts_with(['~', '^'])
    }

    fn read(text: &str, ignores_case: bool) -> Result<Self, PatternError> {
        let bare = text.strip_prefix('~').unwrap_or(text);
        let (bare, ignores_case) = match bare.strip_prefix('*') {
            Some(bare) => (bare, true),
            None => (bare, ignores_case),
        };
        if bare.is_empty() {
            return Err(PatternError::Empty);
        }
        if bare.len() > Self::LONGEST {
            return Err(PatternError::TooLong);
        }
        let source = Source {
            text: bare.into(),
            ignores_case,
        };
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(inner) = known.get(&source).and_then(Weak::upgrade) {
            return Ok(Self(inner));
        }
        let before = text.chars().count() - bare.chars().count();
        let regex = compile(&source).map_err(|error| match error {
            PatternError::Syntax { at, near, why } => PatternError::Syntax {
                at: at + before,
                near,
                why,
            },
            error => error,
        })?;
        let inner = Arc::new(Inner {
            source: source.clone(),
            regex,
        });
        if known.len() >= KEPT && known.len() == known.capacity() {
            known.retain(|_, inner| inner.strong_count() > 0);
        }
        known.insert(source, Arc::downgrade(&inner));
        Ok(Self(inner))
    }

    pub fn matches(&self, text: &str) -> bool {
        self.0.regex.is_match(text)
    }

    pub fn regex(&self) -> &Regex {
        &self.0.regex
    }

    /// Without the `~`.
    pub fn text(&self) -> &str {
        &self.0.source.text
    }
}

fn compile(source: &Source) -> Result<Regex, PatternError> {
    let text = &*source.text;
    // For its errors, which know where they are.
    regex_syntax::ParserBuilder::new()
        .nest_limit(NESTED)
        .build()
        .parse(text)
        .map_err(|error| located(text, &error))?;
    RegexBuilder::new(text)
        .case_insensitive(source.ignores_case)
        .nest_limit(NESTED)
        .size_limit(SIZE)
        .dfa_size_limit(SIZE)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => PatternError::TooLarge,
            error => PatternError::Syntax {
                at: 1,
                near: String::new(),
                why: error.to_string().replace('\n', " "),
            },
        })
}

fn located(text: &str, error: &regex_syntax::Error) -> PatternError {
    let (span, why) = match error {
        regex_syntax::Error::Parse(error) => (error.span(), error.kind().to_string()),
        regex_syntax::Error::Translate(error) => (error.span(), error.kind().to_string()),
        error => {
            return PatternError::Syntax {
                at: 1,
                near: String::new(),
                why: error.to_string().replace('\n', " "),
            };
        }
    };
    let start = span.start.offset.min(text.len());
    let before = text.get(..start).unwrap_or(text);
    let rest = text.get(start..).unwrap_or("");
    PatternError::Syntax {
        at: before.chars().count() + 1,
        near: rest.chars().take(NEAR).collect(),
        why,
    }
}

/// What stands there.
fn shown(text: &str) -> String {
    match text {
        "" => " (the end)".to_owned(),
        text => format!(" (`{text}`)"),
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.source.ignores_case {
            "~*"
        } else {
            "~"
        })?;
        f.write_str(self.text())
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({self})")
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.source == other.0.source
    }
}

impl Eq for Pattern {}

impl Hash for Pattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.source.hash(state);
    }
}

impl Ord for Pattern {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |pattern: &Self| pattern.text().len();
        let (a, b) = (&self.0.source, &other.0.source);
        let longer = key(other).cmp(&key(self));
        longer
            .then_with(|| a.text.cmp(&b.text))
            .then_with(|| a.ignores_case.cmp(&b.ignores_case))
    }
}

impl PartialOrd for Pattern {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Every regex that somebody holds: labels are read again at each look at the engine. Locked by those who
/// read labels alone, never for a request.
static KNOWN: LazyLock<Mutex<HashMap<Source, Weak<Inner>>>> = LazyLock::new(Mutex::default);
/// Entries before those nobody holds are looked for.
const KEPT: usize = 64;
/// Bytes that a compiled one may take, and what a worker keeps to match it, each.
const SIZE: usize = 1024 * 1024;
/// Groups in groups.
const NESTED: u32 = 50;
/// Characters of a regex shown in an error.
const NEAR: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_where_they_are() {
        for (text, expected) in [
            ("~", "a regex may not be empty"),
            ("~*", "a regex may not be empty"),
            ("~^/a(b", "no regex, at character 5 (`(b`): unclosed group"),
            (
                "^/é[",
                "no regex, at character 4 (`[`): unclosed character class",
            ),
            (
                "~(?=a)",
                "no regex, at character 2 (`(?=a)`): look-around, including look-ahead and look-behind, is not supported",
            ),
            (
                "~*+",
                "no regex, at character 3 (`+`): repetition operator missing expression",
            ),
            (
                r"~\w{500}",
                r"this regex takes more than 1024 KiB: repeat less, or write [a-z] for \w",
            ),
        ] {
            let error = Pattern::parse(text).unwrap_err();
            assert_eq!(error.to_string(), expected, "{text}");
        }
        assert_eq!(
            Pattern::parse(&"~a".repeat(512)),
            Err(PatternError::TooLong)
        );
    }

    #[test]
    fn one_is_found_anywhere_unless_it_says_otherwise() {
        for (pattern, text, expected) in [
            ("~b", "abc", true),
            ("~^b", "abc", false),
            ("^a", "abc", true),
            ("~B", "abc", false),
            ("~*B", "abc", true),
        ] {
            let matches = Pattern::parse(pattern).unwrap().matches(text);
            assert_eq!(matches, expected, "{pattern} {text}");
        }
        assert!(
            Pattern::parse_for_hosts("~^A\\.test$")
                .unwrap()
                .matches("a.test")
        );
    }

    #[test]
    fn the_same_text_is_compiled_once() {
        let (a, b) = (Pattern::parse("~^/x$"), Pattern::parse("^/x$"));
        let (a, b) = (a.unwrap(), b.unwrap());
        assert!(Arc::ptr_eq(&a.0, &b.0));
        assert_eq!(a, b);
        assert_ne!(a, Pattern::parse("~*^/x$").unwrap());
        assert!(Pattern::parse("~longer").unwrap() < Pattern::parse("~a").unwrap());
    }
}
