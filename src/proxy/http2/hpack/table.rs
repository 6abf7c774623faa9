//! The tables that fields are named from by index (RFC 7541 section 2.3).

use std::collections::VecDeque;

use crate::proxy::fields::Known;

use super::Name;

/// An entry as the decoder uses it.
#[derive(Clone, Copy)]
pub(super) struct Line<'a> {
    /// `name: value\r\n`.
    pub(super) text: &'a [u8],
    pub(super) name_len: u32,
    pub(super) name: Name,
}

impl<'a> Line<'a> {
    const fn fixed(text: &'a [u8], name: Name) -> Self {
        let mut name_len = 1; // a pseudo name starts with a colon
        while text[name_len] != b':' {
            name_len += 1;
        }
        Self {
            text,
            name_len: name_len as u32,
            name,
        }
    }

    /// What stands before `: `.
    pub(super) const fn name(&self) -> &'a [u8] {
        self.text.split_at(self.name_len as usize).0
    }

    pub(super) fn value(&self) -> &'a [u8] {
        &self.text[self.name_len as usize + 2..self.text.len() - 2]
    }
}

/// The dynamic table (RFC 7541 section 2.3.2), with something of type `T` for each entry.
///
/// Lines lie in one buffer, oldest first. What evicted ones leave at its front is given up when the
/// next line would make it grow, so that adding a line allocates nothing in the long run.
#[derive(Debug)]
pub(super) struct DynamicTable<T> {
    text: Vec<u8>,
    /// Newest first.
    entries: VecDeque<Entry<T>>,
    /// By the RFC's count (section 4.1). Invariant: at most `max_size`.
    size: usize,
    /// A few KiB: what a connection may hold.
    max_size: usize,
}

#[derive(Debug)]
struct Entry<T> {
    /// Where the line starts. Invariant: the line lies within the text.
    at: u32,
    len: u32,
    name_len: u32,
    note: T,
}

impl<T> DynamicTable<T> {
    pub(super) const fn new(max_size: usize) -> Self {
        Self {
            text: Vec::new(),
            entries: VecDeque::new(),
            size: 0,
            max_size,
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn max_size(&self) -> usize {
        self.max_size
    }

    /// RFC 7541 section 4.3.
    pub(super) fn set_max_size(&mut self, max_size: usize) {
        self.max_size = max_size;
        self.evict_to(max_size);
    }

    /// The line of an entry, the length of its name, and its note. Zero is the newest.
    #[inline]
    pub(super) fn get(&self, nth: usize) -> Option<(&[u8], u32, &T)> {
        let entry = self.entries.get(nth)?;
        let line = &self.text[entry.at as usize..][..entry.len as usize];
        Some((line, entry.name_len, &entry.note))
    }

    /// Adds an entry whose whole line is given in parts, after evicting what it has no room beside. One
    /// larger than the table only empties it (RFC 7541 section 4.4). The stored line can be corrected.
    pub(super) fn push(&mut self, parts: &[&[u8]], name_len: usize, note: T) -> Option<&mut [u8]> {
        let len = parts.iter().map(|part| part.len()).sum();
        let size = counted(len);
        self.evict_to(self.max_size.saturating_sub(size));
        if size > self.max_size {
            return None;
        }
        self.make_room(len);
        let at = self.text.len();
        for part in parts {
            self.text.extend_from_slice(part);
        }
        // The buffer is at most three times `max_size`, and so far below 2^32.
        self.entries.push_front(Entry {
            at: at as u32,
            len: len as u32,
            name_len: name_len as u32,
            note,
        });
        self.size += size;
        self.text.get_mut(at..)
    }

    fn evict_to(&mut self, size: usize) {
        while self.size > size
            && let Some(oldest) = self.entries.pop_back()
        {
            self.size -= counted(oldest.len as usize);
        }
        if self.entries.is_empty() {
            self.text.clear();
        }
    }

    /// Moves lines to the front of the buffer rather than let it grow, where that gains enough.
    fn make_room(&mut self, len: usize) {
        let free = self.text.capacity() - self.text.len();
        let unused = self.entries.back().map_or(0, |oldest| oldest.at);
        if free < len && unused as usize * 4 >= self.text.len() {
            self.text.drain(..unused as usize);
            for entry in &mut self.entries {
                entry.at -= unused;
            }
        }
    }
}

/// What an entry with this line counts for: its name, its value and 32.
pub(super) const fn counted(line: usize) -> usize {
    line - b": \r\n".len() + 32
}

/// The index of the first entry of the static table with this name, in any case; zero where none has.
pub(super) const fn static_index(name: &[u8], hash: u64) -> usize {
    let mut slot = hash as usize % STATIC_NAMES.len();
    loop {
        let index = STATIC_NAMES[slot] as usize;
        if index == 0 || STATIC[index - 1].name().eq_ignore_ascii_case(name) {
            return index;
        }
        slot = (slot + 1) % STATIC_NAMES.len();
    }
}

/// The hash of a name in any case.
pub(super) const fn hash_name(name: &[u8]) -> u64 {
    hash(name, u64::from_ne_bytes([0x20; 8]), 0)
}

/// The hash of a field from that of its name.
pub(super) const fn hash_field(name: u64, value: &[u8]) -> u64 {
    hash(value, 0, name)
}

/// `set` are bits of each byte that make no difference.
const fn hash(bytes: &[u8], set: u64, seed: u64) -> u64 {
    const fn mix(state: u64, word: u64) -> u64 {
        let product = (state ^ word) as u128 * 0x9e37_79b9_7f4a_7c15;
        product as u64 ^ (product >> 64) as u64
    }
    let mut state = seed ^ 0x243f_6a88_85a3_08d3 ^ bytes.len() as u64;
    let mut rest = bytes;
    while let Some((word, after)) = rest.split_first_chunk() {
        state = mix(state, u64::from_le_bytes(*word) | set);
        rest = after;
    }
    // What is left is read from both ends, which may overlap.
    let last = match (rest, rest.first_chunk(), rest.last_chunk()) {
        ([], ..) => return state,
        (_, Some(first), Some(last)) => {
            (u32::from_le_bytes(*first) as u64) << 32 | u32::from_le_bytes(*last) as u64
        }
        _ => {
            (rest[0] as u64) << 16
                | (rest[rest.len() / 2] as u64) << 8
                | rest[rest.len() - 1] as u64
        }
    };
    mix(state, last | set)
}

const fn static_names() -> [u8; 128] {
    let mut names = [0; 128];
    let mut index = 1;
    while index <= STATIC.len() {
        let name = STATIC[index - 1].name();
        let mut slot = hash_name(name) as usize % names.len();
        while names[slot] != 0
            && !STATIC[names[slot] as usize - 1]
                .name()
                .eq_ignore_ascii_case(name)
        {
            slot = (slot + 1) % names.len();
        }
        if names[slot] == 0 {
            names[slot] = index as u8;
        }
        index += 1;
    }
    names
}

/// Indexes of the static table's names, each at its hash or after it.
static STATIC_NAMES: [u8; 128] = static_names();

/// The static table (RFC 7541 appendix A); its first entry has index 1.
#[rustfmt::skip]
pub(super) static STATIC: [Line<'static>; 61] = [
    Line::fixed(b":authority: \r\n", Name::Authority),
    Line::fixed(b":method: GET\r\n", Name::Method),
    Line::fixed(b":method: POST\r\n", Name::Method),
    Line::fixed(b":path: /\r\n", Name::Path),
    Line::fixed(b":path: /index.html\r\n", Name::Path),
    Line::fixed(b":scheme: http\r\n", Name::Scheme),
    Line::fixed(b":scheme: https\r\n", Name::Scheme),
    Line::fixed(b":status: 200\r\n", Name::Status),
    Line::fixed(b":status: 204\r\n", Name::Status),
    Line::fixed(b":status: 206\r\n", Name::Status),
    Line::fixed(b":status: 304\r\n", Name::Status),
    Line::fixed(b":status: 400\r\n", Name::Status),
    Line::fixed(b":status: 404\r\n", Name::Status),
    Line::fixed(b":status: 500\r\n", Name::Status),
    Line::fixed(b"accept-charset: \r\n", Name::Field(Known::Other)),
    Line::fixed(b"accept-encoding: gzip, deflate\r\n", Name::Field(Known::Other)),
    Line::fixed(b"accept-language: \r\n", Name::Field(Known::Other)),
    Line::fixed(b"accept-ranges: \r\n", Name::Field(Known::Other)),
    Line::fixed(b"accept: \r\n", Name::Field(Known::Accept)),
    Line::fixed(b"access-control-allow-origin: \r\n", Name::Field(Known::Other)),
    Line::fixed(b"age: \r\n", Name::Field(Known::Other)),
    Line::fixed(b"allow: \r\n", Name::Field(Known::Other)),
    Line::fixed(b"authorization: \r\n", Name::Field(Known::Authorization)),
    Line::fixed(b"cache-control: \r\n", Name::Field(Known::Other)),
    Line::fixed(b"content-disposition: \r\n", Name::Field(Known::Other)),
    Line::fixed(b"content-encoding: \r\n", Name::Field(Known::Other)),
    Line::fixed(b"content-language: \r\n", Name::Field(Known::Other)),
    Line::fixed(b"content-length: \r\n", Name::Field(Known::ContentLength)),
    Line::fixed(b"content-location: \r\n", Name::Field(Known::NamesPath)),
    Line::fixed(b"content-range: \r\n", Name::Field(Known::Other)),
    Line::fixed(b"content-type: \r\n", Name::Field(Known::Other)),
    Line::fixed(b"cookie: \r\n", Name::Field(Known::Cookie)),
    Line::fixed(b"date: \r\n", Name::Field(Known::Other)),
    Line::fixed(b"etag: \r\n", Name::Field(Known::Other)),
    Line::fixed(b"expect: \r\n", Name::Field(Known::Expect)),
    Line::fixed(b"expires: \r\n", Name::Field(Known::Other)),
    Line::fixed(b"from: \r\n", Name::Field(Known::Other)),
    Line::fixed(b"host: \r\n", Name::Field(Known::Host)),
    Line::fixed(b"if-match: \r\n", Name::Field(Known::Other)),
    Line::fixed(b"if-modified-since: \r\n", Name::Field(Known::Other)),
    Line::fixed(b"if-none-match: \r\n", Name::Field(Known::Other)),
    Line::fixed(b"if-range: \r\n", Name::Field(Known::Other)),
    Line::fixed(b"if-unmodified-since: \r\n", Name::Field(Known::Other)),
    Line::fixed(b"last-modified: \r\n", Name::Field(Known::Other)),
    Line::fixed(b"link: \r\n", Name::Field(Known::Other)),
    Line::fixed(b"location: \r\n", Name::Field(Known::NamesPath)),
    Line::fixed(b"max-forwards: \r\n", Name::Field(Known::Other)),
    Line::fixed(b"proxy-authenticate: \r\n", Name::Field(Known::ProxyAuthenticate)),
    Line::fixed(b"proxy-authorization: \r\n", Name::Field(Known::ProxyAuthorization)),
    Line::fixed(b"range: \r\n", Name::Field(Known::Other)),
    Line::fixed(b"referer: \r\n", Name::Field(Known::Other)),
    Line::fixed(b"refresh: \r\n", Name::Field(Known::NamesPath)),
    Line::fixed(b"retry-after: \r\n", Name::Field(Known::Other)),
    Line::fixed(b"server: \r\n", Name::Field(Known::Other)),
    Line::fixed(b"set-cookie: \r\n", Name::Field(Known::NamesPath)),
    Line::fixed(b"strict-transport-security: \r\n", Name::Field(Known::StrictTransportSecurity)),
    Line::fixed(b"transfer-encoding: \r\n", Name::Field(Known::TransferEncoding)),
    Line::fixed(b"user-agent: \r\n", Name::Field(Known::Other)),
    Line::fixed(b"vary: \r\n", Name::Field(Known::Other)),
    Line::fixed(b"via: \r\n", Name::Field(Known::Via)),
    Line::fixed(b"www-authenticate: \r\n", Name::Field(Known::Other)),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn static_entries_are_what_a_literal_would_be() {
        for line in &STATIC {
            assert_eq!(line.name, Name::of(line.name()));
            assert_eq!(
                [line.name(), b": ", line.value(), b"\r\n"].concat(),
                line.text
            );
        }
    }

    #[test]
    fn static_names_are_found_in_any_case() {
        for line in &STATIC {
            let upper = line.name().to_ascii_uppercase();
            let index = static_index(&upper, hash_name(&upper));
            assert_eq!(STATIC[index - 1].name(), line.name());
            assert!(index == 1 || STATIC[index - 2].name() != line.name());
        }
        assert_eq!(static_index(b"x-none", hash_name(b"x-none")), 0);
        assert_eq!(static_index(b"", hash_name(b"")), 0);
    }

    #[test]
    fn entries_leave_oldest_first_and_only_for_want_of_room() {
        let mut table = DynamicTable::new(3 * 34);
        for nth in 0..1000u32 {
            let line = format!("{}: {}\r\n", nth % 10, nth % 7);
            table.push(&[line.as_bytes()], 1, nth);
            assert_eq!(table.len(), 3.min(nth as usize + 1));
            for back in 0..table.len() as u32 {
                let (line, name_len, note) = table.get(back as usize).unwrap();
                let then = nth - back;
                assert_eq!(line, format!("{}: {}\r\n", then % 10, then % 7).as_bytes());
                assert_eq!((name_len, *note), (1, then));
            }
        }
        assert!(table.text.capacity() < 100, "{}", table.text.capacity());
        table.set_max_size(2 * 34 + 1);
        assert_eq!(table.len(), 2);
        let exact = format!("a: {}\r\n", "b".repeat(36));
        assert!(table.push(&[exact.as_bytes()], 1, 0).is_some());
        assert_eq!(table.len(), 1);
        let large = format!("a: {}\r\n", "b".repeat(37));
        assert!(table.push(&[large.as_bytes()], 1, 0).is_none());
        assert_eq!((table.len(), table.size), (0, 0));
    }
}
