//! What one request is called, in the log, on error pages and by the app.

use std::fmt;

use super::encode::hex16;

/// Wharf's own name for a request, or the one that it came with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestId<'a> {
    /// Written as 16 hex digits.
    Own(u64),
    /// By a trusted proxy, see [`RequestId::told`].
    Told(&'a str),
}

impl<'a> RequestId<'a> {
    /// Bytes of one that is kept.
    pub const LONGEST: usize = 128;

    /// A name that another has given, if it is one that logs and pages can hold as it is: letters, digits and
    /// `-_.:+/=@`, as in UUIDs and base64.
    pub fn told(value: &'a [u8]) -> Option<Self> {
        let good = |b: &u8| b.is_ascii_alphanumeric() || b"-_.:+/=@".contains(b);
        let fits = (1..=Self::LONGEST).contains(&value.len()) && value.iter().all(good);
        let text = std::str::from_utf8(value).ok().filter(|_| fits)?;
        Some(Self::Told(text))
    }

    pub fn write(self, out: &mut Vec<u8>) {
        match self {
            Self::Own(id) => hex16(out, id),
            Self::Told(text) => out.extend_from_slice(text.as_bytes()),
        }
    }
}

impl fmt::Display for RequestId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own(id) => write!(f, "{id:016x}"),
            Self::Told(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_others_are_kept_where_they_break_nothing() {
        let long = "a".repeat(RequestId::LONGEST);
        for kept in [
            "7",
            "3f2504e0-4f89-11d3-9a0c-0305e82c3301",
            "Zm9v/+=",
            &long,
        ] {
            assert_eq!(
                RequestId::told(kept.as_bytes()),
                Some(RequestId::Told(kept))
            );
        }
        let longer = format!("{long}a");
        for other in ["", "a b", "a\"b", "<b>", "\u{e9}", &longer] {
            assert_eq!(RequestId::told(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn both_ways_of_writing_are_the_same() {
        for (id, text) in [
            (RequestId::Own(0xab), "00000000000000ab"),
            (RequestId::Told("x-1"), "x-1"),
        ] {
            let mut out = Vec::new();
            id.write(&mut out);
            assert_eq!(out, text.as_bytes());
            assert_eq!(id.to_string(), text);
        }
    }
}
