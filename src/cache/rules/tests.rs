//! Tables by section, properties, and the public suite of cache tests, played against a cache that is made of these
//! rules and a map.

mod model;
mod properties;
mod suite;
mod tables;

use super::Time;

/// Some time in 2027.
const NOW: Time = 1_800_000_000;

/// Fields, one a line.
fn head(text: &str) -> Vec<(&str, &str)> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let fields = lines.map(|line| line.split_once(':').expect("a colon"));
    fields.map(|(name, value)| (name, value.trim())).collect()
}

/// A date so many seconds from [`NOW`].
fn date(seconds: i64) -> String {
    let at = NOW.checked_add_signed(seconds).expect("a time");
    let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(at);
    httpdate::fmt_http_date(at)
}
