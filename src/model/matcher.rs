//! Conditions on a request, as labels name them.

use std::fmt;

use serde::{Serialize, Serializer};

/// One condition: `header:Name`, `header:Name=value`, `cookie:name`, `cookie:name=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matcher {
    pub part: MatchPart,
    /// Any value, where there is none.
    pub value: Option<Glob>,
}

/// What a condition looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MatchPart {
    /// In lower case: names of fields have no case.
    Header(String),
    Cookie(Glob),
}

/// A text in which `*` stands for any number of any bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(Box<str>);

impl Glob {
    pub fn new(text: &str) -> Self {
        Self(text.into())
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
        match &self.part {
            MatchPart::Header(name) => write!(f, "header:{name}")?,
            MatchPart::Cookie(name) => write!(f, "cookie:{}", name.0)?,
        }
        match &self.value {
            Some(value) => write!(f, "={}", value.0),
            None => Ok(()),
        }
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
