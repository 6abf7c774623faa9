//! Durations, sizes and booleans as people write them (labels.md rules 6, 7, 9).

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

/// A span of time from a label. Zero means "off": no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ttl(pub Duration);

/// A number of bytes from a label. Zero means "off": no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

/// Why a text is no duration, size or boolean.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    #[error("a duration looks like 250ms, 10s, 5m, 1h30m, 2d or off")]
    Duration,
    #[error("`M` is ambiguous (minutes or months): write `m` for minutes, `d` for days")]
    Month,
    #[error("a size looks like 512k, 10m, 1g, 64KiB, 10MB or off")]
    Size,
    #[error("a switch is true, on, yes, 1 or false, off, no, 0")]
    Bool,
    #[error("the value is too large")]
    Overflow,
}

/// `250ms`, `10s`, `5m`, `2h`, `30d`, `1y`, compounds such as `1h30m`; a bare integer is seconds;
/// `off` and `0` are [`Duration::ZERO`].
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("off") {
        return Ok(Duration::ZERO);
    }
    if text.is_empty() {
        return Err(UnitError::Duration);
    }
    if text.bytes().all(|b| b.is_ascii_digit()) {
        let seconds = text.parse().map_err(|_| UnitError::Overflow)?;
        return bounded(u64::checked_mul(seconds, 1000));
    }
    let mut rest = text;
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return Err(UnitError::Duration);
        }
        let (number, tail) = rest.split_at(digits);
        let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, tail) = tail.split_at(letters);
        let millis = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "y" => 365 * 86_400_000,
            "M" => return Err(UnitError::Month),
            _ => return Err(UnitError::Duration),
        };
        let number: u64 = number.parse().map_err(|_| UnitError::Overflow)?;
        total = number
            .checked_mul(millis)
            .and_then(|part| total.checked_add(part))
            .ok_or(UnitError::Overflow)?;
        rest = tail;
    }
    bounded(Some(total))
}

fn bounded(millis: Option<u64>) -> Result<Duration, UnitError> {
    match millis {
        Some(millis) if millis <= MAX_MILLIS => Ok(Duration::from_millis(millis)),
        _ => Err(UnitError::Overflow),
    }
}

/// Bare numbers are bytes; `k m g t` and `KiB MiB GiB TiB` count by 1024 (nginx), `kB MB GB TB` by
/// 1000; `off` and `0` are zero.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("off") {
        return Ok(0);
    }
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 {
        return Err(UnitError::Size);
    }
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim_start() {
        "" | "b" | "B" => 1,
        "k" | "K" | "KiB" | "kib" => 1 << 10,
        "m" | "M" | "MiB" | "mib" => 1 << 20,
        "g" | "G" | "GiB" | "gib" => 1 << 30,
        "t" | "T" | "TiB" | "tib" => 1 << 40,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        _ => return Err(UnitError::Size),
    };
    let number: u64 = number.parse().map_err(|_| UnitError::Overflow)?;
    number.checked_mul(factor).ok_or(UnitError::Overflow)
}

/// `true on yes 1` / `false off no 0`, any case; empty means true.
pub fn parse_bool(text: &str) -> Result<bool, UnitError> {
    match text.trim().to_ascii_lowercase().as_str() {
        "" | "true" | "on" | "yes" | "1" => Ok(true),
        "false" | "off" | "no" | "0" => Ok(false),
        _ => Err(UnitError::Bool),
    }
}

impl fmt::Display for Ttl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_zero() {
            f.write_str("off")
        } else {
            write!(f, "{:?}", self.0)
        }
    }
}

impl Serialize for Ttl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A hundred years: far beyond use, and safe to add to any clock.
const MAX_MILLIS: u64 = 100 * 365 * 86_400_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, millis) in [
            ("250ms", 250),
            ("10s", 10_000),
            ("10", 10_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("2d", 172_800_000),
            ("off", 0),
            ("0", 0),
        ] {
            assert_eq!(
                parse_duration(text),
                Ok(Duration::from_millis(millis)),
                "{text}"
            );
        }
        assert_eq!(parse_duration("3M"), Err(UnitError::Month));
        assert_eq!(
            parse_duration("99999999999999999999"),
            Err(UnitError::Overflow)
        );
        for text in ["", "s", "10x", "-1s", "1.5s", "1 s"] {
            assert_eq!(parse_duration(text), Err(UnitError::Duration), "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("10", 10),
            ("64k", 65_536),
            ("10m", 10 << 20),
            ("1MiB", 1 << 20),
            ("1MB", 1_000_000),
            ("off", 0),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        assert_eq!(parse_size("10x"), Err(UnitError::Size));
        assert_eq!(parse_size("99999999t"), Err(UnitError::Overflow));
    }
}
