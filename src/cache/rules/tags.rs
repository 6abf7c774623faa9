//! Names that an app gives its responses, to purge them by: `Cache-Tag: a, b`, `Surrogate-Key: a b`.

use super::Source;

/// So many of a response are looked at.
pub const MAX_TAGS: usize = 64;
/// A longer one is not there.
pub const MAX_TAG: usize = 256;

/// The tags of a response, in order, some perhaps more than once. Case counts.
pub fn tags(head: &(impl Source + ?Sized)) -> impl Iterator<Item = &[u8]> {
    let commas = head
        .values(b"cache-tag")
        .flat_map(|line| line.split(|&byte| byte == b','));
    let spaces = head
        .values(b"surrogate-key")
        .flat_map(|line| line.split(|&byte| byte == b' '));
    let tags = commas.chain(spaces).map(super::scan::trim);
    tags.filter(|tag| is_tag(tag)).take(MAX_TAGS)
}

/// Whether it may be a tag: printable ASCII.
pub fn is_tag(text: &[u8]) -> bool {
    (1..=MAX_TAG).contains(&text.len()) && text.iter().all(|byte| matches!(byte, b' '..=b'~'))
}
