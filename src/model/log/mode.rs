//! Which requests of a route are in the access log.

use std::fmt;

use serde::{Serialize, Serializer};

/// `wharf.log`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogMode {
    #[default]
    All,
    /// Those that were answered with 400 or more, or not at all.
    Errors,
    Off,
    /// So many of 10,000, drawn by their ids.
    Sample(u16),
}

impl LogMode {
    /// Whether a request may be logged, before there is an answer.
    pub fn may_take(self, id: u64) -> bool {
        self == Self::Errors || self.takes(200, id)
    }

    /// Whether a request is logged; `id` is Wharf's own number for it.
    pub fn takes(self, status: u16, id: u64) -> bool {
        match self {
            Self::All => true,
            Self::Errors => status >= 400,
            Self::Off => false,
            Self::Sample(share) => {
                // Ids of one worker count up: neighbours are spread over all that may come.
                let drawn = ((id.wrapping_mul(SPREAD) >> 32) * 10_000) >> 32;
                drawn < u64::from(share)
            }
        }
    }
}

/// As the label is written.
impl fmt::Display for LogMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("on"),
            Self::Errors => f.write_str("errors"),
            Self::Off => f.write_str("off"),
            Self::Sample(share) => write!(f, "sample={}%", f64::from(*share) / 100.0),
        }
    }
}

impl Serialize for LogMode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The golden ratio of 2^64 (Knuth's multiplicative hashing).
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::*;

    /// S71: off, errors alone, or a share of all.
    #[test]
    fn logs_take_what_they_say() {
        for (mode, ok, missing, left) in [
            (LogMode::All, true, true, true),
            (LogMode::Errors, false, true, true),
            (LogMode::Off, false, false, false),
            (LogMode::Sample(10_000), true, true, true),
            (LogMode::Sample(0), false, false, false),
        ] {
            let takes = [200, 404, 499].map(|status| mode.takes(status, 7));
            assert_eq!(takes, [ok, missing, left], "{mode}");
            assert_eq!(mode.may_take(7), takes.contains(&true), "{mode}");
        }
        for (share, start) in [(100, 0), (100, 1 << 40), (2500, 12_345)] {
            let ids = start..start + 100_000_u64;
            let taken = ids
                .filter(|id| LogMode::Sample(share).takes(200, *id))
                .count();
            let expected = usize::from(share) * 10;
            assert!(
                taken.abs_diff(expected) <= expected / 20,
                "{share}: {taken}"
            );
        }
        assert_eq!(LogMode::Sample(150).to_string(), "sample=1.5%");
    }
}
