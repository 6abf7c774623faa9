//! A name as part of a key.

use std::hash::{BuildHasher, Hasher};

/// A name as a file name: letters, digits, `.`, `-`, `_`; `*` becomes `wildcard_`. What would be too
/// long or could be another name's file ends in a hash of the whole.
pub(super) fn file_name(name: &str) -> String {
    let starred = name.replace('*', "wildcard_");
    let mut safe: String = starred
        .chars()
        .map(|c| match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '-' | '_' => c,
            _ => '_',
        })
        .collect();
    let safe_start = safe.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    if safe == name && safe.len() <= NAME_MAX && safe_start {
        return safe;
    }
    safe.truncate(NAME_MAX);
    let mut hasher = foldhash::quality::FixedState::with_seed(0).build_hasher();
    hasher.write(name.as_bytes());
    format!("_{safe}-{:08x}", hasher.finish() as u32)
}

/// Leaves room for the hash and the extension in the 255 bytes of a file name.
const NAME_MAX: usize = 200;
