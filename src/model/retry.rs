//! When a request goes to another replica.

use std::fmt;

use serde::{Serialize, Serializer};

/// `wharf.retry` (product.md S38).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Retry {
    /// Further replicas a request may go to. `None`: as many as there are while nothing of it was sent,
    /// [`Retry::SENT`] once it was. 0: none.
    pub tries: Option<u16>,
    pub on: RetryOn,
    /// Requests sent again, in percent of all; `None`: no limit. Default 20.
    pub budget: Option<u8>,
}

/// What sends a request on; a connect that fails always does. With nginx's meaning of
/// `proxy_next_upstream`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryOn(u16);

impl Retry {
    /// Default of [`Retry::tries`] for a request that was sent.
    pub const SENT: u16 = 2;

    /// Whether a request that failed on `tried` replicas may go to one more; `sent`: something of it was.
    pub fn allows(&self, tried: usize, sent: bool) -> bool {
        match self.tries {
            Some(tries) => tried <= usize::from(tries),
            None => !sent || tried <= usize::from(Self::SENT),
        }
    }

    /// Whether nothing is ever tried again.
    pub fn is_off(&self) -> bool {
        self.tries == Some(0)
    }
}

impl RetryOn {
    /// None of them.
    pub const NOTHING: Self = Self(0);
    /// The replica closes the connection before it answers.
    pub const ERROR: Self = Self(1);
    /// It takes nothing of the request, or does not answer, within `wharf.timeout`.
    pub const TIMEOUT: Self = Self(1 << 1);
    /// Requests that may do harm when they are done twice, too: POST, PATCH.
    pub const NON_IDEMPOTENT: Self = Self(1 << 2);

    /// The flag of this word, if there is one.
    pub fn word(word: &str) -> Option<Self> {
        let mut words = WORDS.iter();
        words
            .find(|(name, _)| *name == word)
            .map(|(_, flag)| *flag)
            .or_else(|| {
                let at = STATUSES.iter().position(|status| *status == word)?;
                Some(Self(1 << (FIRST_STATUS + at)))
            })
    }

    /// Every word, in the order of the documentation.
    pub fn words() -> impl Iterator<Item = &'static str> {
        let words = WORDS.iter().map(|(name, _)| *name);
        words.chain(STATUSES)
    }

    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub const fn has(self, flag: Self) -> bool {
        self.0 & flag.0 != 0
    }

    /// Whether a response of this status is asked for elsewhere.
    pub fn has_status(self, status: u16) -> bool {
        self.0 >> FIRST_STATUS != 0
            && (Self::word(itoa::Buffer::new().format(status))).is_some_and(|flag| self.has(flag))
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            tries: None,
            on: RetryOn::ERROR,
            budget: Some(20),
        }
    }
}

/// As the label is written.
impl fmt::Display for RetryOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = Self::words().filter(|word| Self::word(word).is_some_and(|on| self.has(on)));
        f.write_str(&words.collect::<Vec<_>>().join(","))
    }
}

impl Serialize for RetryOn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

const WORDS: [(&str, RetryOn); 3] = [
    ("error", RetryOn::ERROR),
    ("timeout", RetryOn::TIMEOUT),
    ("non_idempotent", RetryOn::NON_IDEMPOTENT),
];
/// Those of nginx.
const STATUSES: [&str; 7] = ["500", "502", "503", "504", "403", "404", "429"];
const FIRST_STATUS: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_flags_and_back() {
        let all = RetryOn::words().filter_map(RetryOn::word);
        let all = all.fold(RetryOn::NOTHING, RetryOn::and);
        assert_eq!(
            all.to_string(),
            "error,timeout,non_idempotent,500,502,503,504,403,404,429"
        );
        let some = RetryOn::ERROR.and(RetryOn::word("503").unwrap());
        assert!(some.has_status(503) && !some.has_status(502) && !some.has(RetryOn::TIMEOUT));
        assert!(!RetryOn::ERROR.has_status(503));
        assert_eq!(RetryOn::word("200"), None);
    }

    #[test]
    fn tries_count_further_replicas() {
        let retry = |tries| Retry {
            tries,
            ..Retry::default()
        };
        for (tries, sent, most) in [
            (None, true, 2),
            (None, false, 1000),
            (Some(0), false, 0),
            (Some(1), false, 1),
            (Some(3), true, 3),
        ] {
            // The replica that has failed is one of those tried.
            assert!(retry(tries).allows(most, sent), "{tries:?}");
            assert!(most == 1000 || !retry(tries).allows(most + 1, sent));
        }
        assert!(retry(Some(0)).is_off() && !retry(None).is_off());
    }
}
