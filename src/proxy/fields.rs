//! The fields of a head, as positions in the bytes they came in: nothing is copied, hashed or
//! changed in case until somebody needs it, and untouched lines are copied on whole.

use std::ops::Range;

use crate::access::RequestFields;

/// The fields of one head or trailer section, with the text they point into.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a> {
    text: &'a [u8],
    index: &'a FieldIndex,
}

/// Where the fields stand in a text. Invariant: every span lies within the text it was made from,
/// which is shorter than 64 KiB.
#[derive(Debug, Default)]
pub(crate) struct FieldIndex {
    spans: Vec<Span>,
    /// One bit for each [`Known`] name that occurs.
    seen: u32,
}

/// Fields that own their text.
#[derive(Debug, Default)]
pub(crate) struct OwnedFields {
    pub(crate) text: Vec<u8>,
    pub(crate) index: FieldIndex,
}

#[derive(Debug, Clone, Copy)]
struct Span {
    name: u16,
    name_len: u16,
    value: u16,
    value_len: u16,
    known: Known,
}

/// One field.
#[derive(Clone, Copy)]
pub(crate) struct Field<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) value: &'a [u8],
    pub(crate) known: Known,
}

/// Names the engine itself looks at; compared once, when a head is parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Known {
    Other,
    Accept,
    Authorization,
    /// What Wharf tells of a client's certificate, by any of its names.
    ClientCertificate,
    Connection,
    ContentLength,
    Cookie,
    Expect,
    Forwarded,
    Host,
    Http2Settings,
    KeepAlive,
    /// May name a path: Location, Content-Location, Refresh, Set-Cookie.
    NamesPath,
    Proxy,
    ProxyAuthenticate,
    ProxyAuthorization,
    ProxyConnection,
    StrictTransportSecurity,
    Te,
    Trailer,
    TransferEncoding,
    Upgrade,
    Via,
    XForwardedFor,
    XForwardedHost,
    XForwardedPort,
    XForwardedPrefix,
    XForwardedProto,
    XRealIp,
    XRequestId,
    /// What the app says to Wharf alone of holding its response.
    XAccelBuffering,
    /// An application that hears of headers by CGI's rules, where `-` becomes `_`, takes it for one
    /// that Wharf writes itself (product.md B42).
    Disguised,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(text: &'a [u8], index: &'a FieldIndex) -> Self {
        Self { text, index }
    }

    pub(crate) fn iter(self) -> impl DoubleEndedIterator<Item = Field<'a>> + use<'a> {
        let text = self.text;
        self.index.spans.iter().map(move |span| span.of(text))
    }

    pub(crate) fn has(self, known: Known) -> bool {
        self.index.seen & known.bit() != 0
    }

    /// The value of the first field of that name.
    pub(crate) fn get(self, known: Known) -> Option<&'a [u8]> {
        self.get_all(known).next()
    }

    pub(crate) fn get_all(
        self,
        known: Known,
    ) -> impl DoubleEndedIterator<Item = &'a [u8]> + use<'a> {
        let text = self.text;
        let spans: &[Span] = match self.has(known) {
            true => &self.index.spans,
            false => &[],
        };
        let spans = spans.iter().filter(move |span| span.known == known);
        spans.map(move |span| span.of(text).value)
    }

    /// Appends the fields for which `keep` says so as lines. Lines that are already written the way
    /// Wharf writes them go out in one copy with their neighbours.
    pub(crate) fn copy(self, out: &mut Vec<u8>, mut keep: impl FnMut(Field<'a>) -> bool) {
        let mut run = 0..0;
        for span in &self.index.spans {
            let field = span.of(self.text);
            if !keep(field) {
                continue;
            }
            match span.line(self.text) {
                Some(line) if line.start == run.end => run.end = line.end,
                Some(line) => {
                    out.extend_from_slice(&self.text[run]);
                    run = line;
                }
                None => {
                    out.extend_from_slice(&self.text[run]);
                    run = 0..0;
                    write_field(out, field.name, field.value);
                }
            }
        }
        out.extend_from_slice(&self.text[run]);
    }
}

impl RequestFields for Fields<'_> {
    fn each<'s>(&'s self, name: &str, show: &mut dyn FnMut(&'s [u8])) {
        let name = name.as_bytes();
        let named = |field: &Field<'_>| field.name.eq_ignore_ascii_case(name);
        self.iter()
            .filter(named)
            .for_each(|field| show(field.value));
    }
}

impl FieldIndex {
    pub(crate) fn with_capacity(count: usize) -> Self {
        Self {
            spans: Vec::with_capacity(count),
            seen: 0,
        }
    }

    pub(crate) fn clear(&mut self) {
        self.spans.clear();
        self.seen = 0;
    }

    /// Adds fields that httparse found in `text`.
    pub(crate) fn extend(&mut self, text: &[u8], parsed: &[httparse::Header<'_>]) {
        let base = text.as_ptr() as usize;
        let seen = &mut self.seen;
        self.spans.extend(parsed.iter().map(|field| {
            let name = field.name.as_ptr() as usize - base;
            // An empty value may point outside the text.
            let value = if field.value.is_empty() {
                name + field.name.len()
            } else {
                field.value.as_ptr() as usize - base
            };
            let known = Known::of(field.name.as_bytes());
            *seen |= known.bit();
            Span {
                name: name as u16,
                name_len: field.name.len() as u16,
                value: value as u16,
                value_len: field.value.len() as u16,
                known,
            }
        }));
    }

    fn push(&mut self, at: usize, name: &[u8], value: usize, value_len: usize) {
        let value = value..value + value_len;
        self.add(at..at + name.len(), value, Known::of(name));
    }

    /// Adds a field by the places of its name and value, both within a text shorter than 64 KiB.
    pub(crate) fn add(&mut self, name: Range<usize>, value: Range<usize>, known: Known) {
        self.seen |= known.bit();
        self.spans.push(Span {
            name: name.start as u16,
            name_len: name.len() as u16,
            value: value.start as u16,
            value_len: value.len() as u16,
            known,
        });
    }
}

impl OwnedFields {
    /// The same without the fields of a set of names.
    pub(crate) fn without(&self, dropped: u32) -> Self {
        let all = self.index.spans.iter();
        let spans: Vec<Span> = all
            .filter(|one| !one.known.is_in(dropped))
            .copied()
            .collect();
        Self {
            text: self.text.clone(),
            index: FieldIndex {
                seen: spans.iter().fold(0, |seen, one| seen | one.known.bit()),
                spans,
            },
        }
    }

    pub(crate) fn fields(&self) -> Fields<'_> {
        Fields::new(&self.text, &self.index)
    }
}

impl Span {
    fn of(self, text: &[u8]) -> Field<'_> {
        Field {
            name: &text[usize::from(self.name)..][..usize::from(self.name_len)],
            value: &text[usize::from(self.value)..][..usize::from(self.value_len)],
            known: self.known,
        }
    }

    /// The whole line, where it is written as `name: value` and ends with CR LF.
    fn line(self, text: &[u8]) -> Option<Range<usize>> {
        let colon = usize::from(self.name) + usize::from(self.name_len);
        let value = usize::from(self.value);
        let end = value + usize::from(self.value_len);
        let plain = value == colon + 2
            && text.get(colon..value) == Some(b": ")
            && text.get(end..end + 2) == Some(b"\r\n");
        plain.then(|| usize::from(self.name)..end + 2)
    }
}

impl Known {
    const fn bit(self) -> u32 {
        1 << self as u8
    }

    /// A set of names.
    pub(crate) const fn set(names: &[Self]) -> u32 {
        let (mut set, mut at) = (0, 0);
        while at < names.len() {
            set |= names[at].bit();
            at += 1;
        }
        set
    }

    pub(crate) const fn is_in(self, set: u32) -> bool {
        set & self.bit() != 0
    }

    pub(crate) fn of(name: &[u8]) -> Self {
        let Some(candidates @ [_, ..]) = NAMES.get(name.len()) else {
            return Self::Other;
        };
        let (first, last) = ends(name);
        for ours in *candidates {
            // What is longer than both ends has a middle, too.
            if first == ours.first
                && last == ours.last
                && (name.len() <= 16 || name.eq_ignore_ascii_case(ours.name.as_bytes()))
            {
                return ours.known;
            }
            if ours.known.is_in(WRITTEN)
                && first as u8 == ours.first as u8
                && reads_as(name, ours.name.as_bytes())
            {
                return Self::Disguised;
            }
        }
        Self::Other
    }
}

/// A name that the engine looks at.
struct Name {
    name: &'static str,
    /// See [`ends`].
    first: u64,
    last: u64,
    known: Known,
}

const fn name(name: &'static str, known: Known) -> Name {
    let (first, last) = ends(name.as_bytes());
    Name {
        name,
        first,
        last,
        known,
    }
}

/// The first and the last eight bytes of a name without regard to case, so all of one that has 16 at most. Of what may
/// be in a name (RFC 9110 section 5.6.2) only letters are made the same by this bit.
const fn ends(name: &[u8]) -> (u64, u64) {
    if let (Some(first), Some(last)) = (name.first_chunk::<8>(), name.last_chunk::<8>()) {
        let (first, last) = (u64::from_le_bytes(*first), u64::from_le_bytes(*last));
        return (first | LOWER, last | LOWER);
    }
    if let (Some(first), Some(last)) = (name.first_chunk::<4>(), name.last_chunk::<4>()) {
        let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
        return (first as u64 | LOWER, last as u64 | LOWER);
    }
    let (mut word, mut at) = (LOWER, 0);
    while at < name.len() {
        word |= (name[at] as u64) << (8 * at);
        at += 1;
    }
    (word, word)
}

/// Whether `name` is `ours` with `_` for `-`.
fn reads_as(name: &[u8], ours: &[u8]) -> bool {
    name.iter()
        .zip(ours)
        .all(|(a, b)| a.eq_ignore_ascii_case(b) || (*a == b'_' && *b == b'-'))
}

pub(crate) fn write_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// The fields of lines that [`write_field`] wrote.
pub(crate) fn lines(text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let lines = text.split(|byte| *byte == b'\n');
    lines.filter_map(|line| {
        let colon = memchr::memchr(b':', line)?;
        Some((&line[..colon], line[colon + 1..].trim_ascii()))
    })
}

/// Finds the fields of lines that [`write_field`] wrote, in a text shorter than 64 KiB.
pub(crate) fn read_lines(text: &[u8], index: &mut FieldIndex) {
    let mut at = 0;
    let text = &text[..text.len().min(usize::from(u16::MAX))];
    while let Some(len) = memchr::memchr(b'\n', &text[at..]) {
        let line = &text[at..at + len];
        if let Some(colon) = memchr::memchr(b':', line) {
            let value = line[colon + 1..].trim_ascii();
            let value_at = match value.is_empty() {
                true => at + colon + 1,
                false => at + (value.as_ptr() as usize - line.as_ptr() as usize),
            };
            index.push(at, &line[..colon], value_at, value.len());
        }
        at += len + 1;
    }
}

/// By their length.
static NAMES: [&[Name]; 26] = [
    &[],
    &[],
    &[name("te", Known::Te)],
    &[name("via", Known::Via)],
    &[name("host", Known::Host)],
    &[name("proxy", Known::Proxy)],
    &[
        name("accept", Known::Accept),
        name("cookie", Known::Cookie),
        name("expect", Known::Expect),
    ],
    &[
        name("upgrade", Known::Upgrade),
        name("trailer", Known::Trailer),
        name("refresh", Known::NamesPath),
    ],
    &[name("location", Known::NamesPath)],
    &[
        name("x-real-ip", Known::XRealIp),
        name("forwarded", Known::Forwarded),
    ],
    &[
        name("connection", Known::Connection),
        name("keep-alive", Known::KeepAlive),
        name("set-cookie", Known::NamesPath),
    ],
    &[name("client-cert", Known::ClientCertificate)],
    &[name("x-request-id", Known::XRequestId)],
    &[name("authorization", Known::Authorization)],
    &[
        name("content-length", Known::ContentLength),
        name("http2-settings", Known::Http2Settings),
    ],
    &[name("x-forwarded-for", Known::XForwardedFor)],
    &[
        name("x-forwarded-host", Known::XForwardedHost),
        name("x-forwarded-port", Known::XForwardedPort),
        name("proxy-connection", Known::ProxyConnection),
        name("content-location", Known::NamesPath),
    ],
    &[
        name("transfer-encoding", Known::TransferEncoding),
        name("x-forwarded-proto", Known::XForwardedProto),
        name("x-ssl-client-s-dn", Known::ClientCertificate),
        name("x-accel-buffering", Known::XAccelBuffering),
        name("client-cert-chain", Known::ClientCertificate),
    ],
    &[
        name("x-forwarded-prefix", Known::XForwardedPrefix),
        name("proxy-authenticate", Known::ProxyAuthenticate),
    ],
    &[
        name("proxy-authorization", Known::ProxyAuthorization),
        name("x-ssl-client-verify", Known::ClientCertificate),
    ],
    &[],
    &[],
    &[],
    &[],
    &[name("x-ssl-client-fingerprint", Known::ClientCertificate)],
    &[name(
        "strict-transport-security",
        Known::StrictTransportSecurity,
    )],
];
/// In each byte, what tells upper case from lower.
const LOWER: u64 = 0x2020_2020_2020_2020;
/// Request fields Wharf writes itself.
const WRITTEN: u32 = Known::set(&[
    Known::ClientCertificate,
    Known::ContentLength,
    Known::TransferEncoding,
    Known::XForwardedFor,
    Known::XForwardedHost,
    Known::XForwardedPort,
    Known::XForwardedPrefix,
    Known::XForwardedProto,
    Known::XRealIp,
    Known::XRequestId,
]);

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> FieldIndex {
        let mut headers = [httparse::EMPTY_HEADER; 16];
        let parsed = httparse::parse_headers(text.as_bytes(), &mut headers).unwrap();
        let httparse::Status::Complete((_, parsed)) = parsed else {
            panic!("incomplete");
        };
        let mut index = FieldIndex::default();
        index.extend(text.as_bytes(), parsed);
        index
    }

    #[test]
    fn copied_lines_are_canonical_however_they_were_written() {
        let text = "A: 1\r\nB: 2\r\nDrop: 3\r\nC:4\r\nD:   5 \t\r\nE: 6\nF: \r\nG:\r\nH: 7\r\n\r\n";
        let index = parse(text);
        let mut out = Vec::new();
        Fields::new(text.as_bytes(), &index).copy(&mut out, |field| field.name != b"Drop");
        let out = String::from_utf8(out).unwrap();
        assert_eq!(
            out,
            "A: 1\r\nB: 2\r\nC: 4\r\nD: 5\r\nE: 6\r\nF: \r\nG: \r\nH: 7\r\n"
        );
    }

    #[test]
    fn written_lines_are_read_back() {
        let mut text = Vec::new();
        write_field(&mut text, b"a", b"1: 2");
        write_field(&mut text, b"b", b"");
        let read: Vec<_> = lines(&text).collect();
        assert_eq!(read, [(&b"a"[..], &b"1: 2"[..]), (b"b", b"")]);
        let mut index = FieldIndex::default();
        read_lines(&text, &mut index);
        let mut out = Vec::new();
        Fields::new(&text, &index).copy(&mut out, |_| true);
        assert_eq!(out, text);
        assert_eq!(lines(b"").count(), 0);
    }

    #[test]
    fn each_name_is_known_and_none_like_it() {
        let all = NAMES.iter().enumerate();
        for (len, ours) in all.flat_map(|(len, names)| names.iter().map(move |one| (len, one))) {
            assert_eq!(ours.name.len(), len, "{}", ours.name);
            assert_eq!(Known::of(ours.name.as_bytes()), ours.known, "{}", ours.name);
            let upper = ours.name.to_ascii_uppercase();
            assert_eq!(Known::of(upper.as_bytes()), ours.known, "{upper}");
            let disguised = ours.name.replace('-', "_");
            if ours.known.is_in(WRITTEN) {
                assert_eq!(Known::of(disguised.as_bytes()), Known::Disguised);
            }
            for at in 0..len {
                let mut other = ours.name.as_bytes().to_vec();
                other[at] = b'1';
                let other = String::from_utf8(other).expect("ASCII");
                assert_eq!(Known::of(other.as_bytes()), Known::Other, "{other}");
            }
            assert_eq!(Known::of(&ours.name.as_bytes()[1..]), Known::Other);
        }
    }

    #[test]
    fn names_are_known_in_any_case_and_in_disguise() {
        for (name, known) in [
            ("Content-Length", Known::ContentLength),
            ("content_LENGTH", Known::Disguised),
            ("X_Forwarded-For", Known::Disguised),
            ("X-REAL-IP", Known::XRealIp),
            ("proxy_connection", Known::Other),
            ("keep_alive", Known::Other),
            ("HOST", Known::Host),
            ("hosts", Known::Other),
            ("", Known::Other),
        ] {
            assert_eq!(Known::of(name.as_bytes()), known, "{name}");
        }
    }
}
