//! Which answers are compressed: nginx's rules of `gzip` with `gzip_proxied any`, and RFC 9110.

use crate::accept;
use crate::model::{Coding, Compress};

/// What a response says of itself that matters, as its client would get it.
#[derive(Debug, Default)]
pub(crate) struct Seen<'a> {
    media: Option<&'a [u8]>,
    /// As it is or not at all: encoded, a part, not to be changed, or vouched for by a digest.
    fixed: bool,
}

/// What becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is none of those that are compressed.
    Leave,
    /// It would be for another client: caches have to know.
    Plain,
    Code(Coding),
}

impl<'a> Seen<'a> {
    /// Takes note of a field.
    pub(crate) fn add(&mut self, name: &[u8], value: &'a [u8]) {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        match name.len() {
            6 if is("digest") => self.fixed = true,
            11 if is("content-md5") || is("repr-digest") => self.fixed = true,
            12 if is("content-type") => self.media = Some(value),
            13 if is("cache-control") => self.fixed |= forbids(value),
            13 if is("content-range") => self.fixed = true,
            14 if is("content-digest") => self.fixed = true,
            16 if is("content-encoding") => self.fixed = true,
            _ => {}
        }
    }
}

/// What becomes of a response with this status, whose body has `length` bytes if that is known, for a client that
/// accepts `accepted`: the value of its Accept-Encoding.
pub(crate) fn judge(
    rules: &Compress,
    status: u16,
    length: Option<u64>,
    seen: &Seen<'_>,
    accepted: &[u8],
) -> Verdict {
    let content = matches!(status, 200..=203 | 207..=299 | 400..=599);
    let media = seen.media.is_some_and(|media| rules.types.has(media));
    if !content || !media || seen.fixed || length.is_some_and(|length| length < rules.min.max(1)) {
        return Verdict::Leave;
    }
    accept::best(accepted, &rules.codings).map_or(Verdict::Plain, Verdict::Code)
}

/// Whether a Cache-Control field says `no-transform`.
pub(crate) fn forbids(cache_control: &[u8]) -> bool {
    let mut words = cache_control.split(|byte| *byte == b',');
    words.any(|word| word.trim_ascii().eq_ignore_ascii_case(b"no-transform"))
}

#[cfg(test)]
mod tests {
    use super::Verdict::*;
    use super::*;

    const GZIP: Verdict = Code(Coding::Gzip);

    fn judged(
        status: u16,
        length: Option<u64>,
        fields: &[(&str, &str)],
        accepted: &str,
    ) -> Verdict {
        let mut seen = Seen::default();
        for (name, value) in fields {
            seen.add(name.as_bytes(), value.as_bytes());
        }
        judge(
            &Compress::default(),
            status,
            length,
            &seen,
            accepted.as_bytes(),
        )
    }

    #[test]
    fn s68_which_answers_are_compressed() {
        let html = ("Content-Type", "text/html; charset=utf-8");
        for (status, length, extra, expected) in [
            (200, None, None, GZIP),
            (200, Some(256), None, GZIP),
            (200, Some(255), None, Leave),
            (200, Some(0), None, Leave),
            (201, None, None, GZIP),
            (404, None, None, GZIP),
            (500, None, None, GZIP),
            (204, None, None, Leave),
            (205, None, None, Leave),
            (206, None, None, Leave),
            (301, None, None, Leave),
            (304, None, None, Leave),
            (101, None, None, Leave),
            (200, None, Some(("Content-Encoding", "br")), Leave),
            (200, None, Some(("content-encoding", "identity")), Leave),
            (200, None, Some(("Content-Range", "bytes 0-1/2")), Leave),
            (
                200,
                None,
                Some(("Cache-Control", "public, No-Transform")),
                Leave,
            ),
            (200, None, Some(("Cache-Control", "public, no-cache")), GZIP),
            (200, None, Some(("Content-MD5", "x")), Leave),
            (200, None, Some(("Digest", "x")), Leave),
            (200, None, Some(("Repr-Digest", "x")), Leave),
            (200, None, Some(("Content-Digest", "x")), Leave),
            (200, None, Some(("Via", "1.1 other")), GZIP),
            (200, None, Some(("Content-Type", "image/png")), Leave),
        ] {
            let fields: Vec<_> = std::iter::once(html).chain(extra).collect();
            let verdict = judged(status, length, &fields, "gzip");
            assert_eq!(verdict, expected, "{status} {length:?} {extra:?}");
        }
        assert_eq!(judged(200, None, &[], "gzip"), Leave);
        assert_eq!(judged(200, None, &[html], ""), Plain);
        assert_eq!(judged(200, None, &[html], "gzip;q=0, deflate"), Plain);
    }

    /// B58: of what a client likes as much as the rest, the first.
    #[test]
    fn b58_the_client_chooses_and_of_equals_zstd_goes() {
        let html = [("Content-Type", "text/html")];
        let of = |accepted: &str| judged(200, None, &html, accepted);
        assert_eq!(of("gzip, deflate, br, zstd"), Code(Coding::Zstd));
        assert_eq!(of("gzip, deflate, br"), Code(Coding::Brotli));
        assert_eq!(of("gzip;q=1, br;q=0.5"), GZIP);
    }
}
