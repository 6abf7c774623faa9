//! Request heads of HTTP/1 clients (RFC 9112), without I/O.

use http::{Method, Uri, Version};

use super::super::fields::{FieldIndex, Fields, Known, OwnedFields};
use super::super::head::{RequestFraming, RequestHead, Target};
use super::super::headers;

/// A head found at the start of a buffer; made whole by [`Parsed::into_head`].
#[derive(Debug)]
pub(crate) struct Parsed {
    /// Bytes of the buffer it takes.
    pub(crate) len: usize,
    /// `Transfer-Encoding` stood beside `Content-Length`: an attack or a mistake, so nothing behind
    /// this message is believed (RFC 9112 section 6.1).
    pub(crate) doubtful: bool,
    method: Method,
    version: Version,
    target: Target,
    framing: RequestFraming,
    index: FieldIndex,
}

/// Why a head is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RequestError {
    #[error("the request is not HTTP/1")]
    Malformed,
    #[error("the request head is larger than 64 KiB or has more than {MAX_FIELDS} fields")]
    TooLarge,
    #[error("this HTTP version is not spoken here")]
    Version,
    #[error("the request target is not valid")]
    Target,
    #[error("the Content-Length is not one number")]
    ContentLength,
    #[error("Transfer-Encoding may only be `chunked`, on HTTP/1.1")]
    TransferEncoding,
}

/// Parses the head at the start of `buf`; `index` is empty. `None`: more bytes are needed.
pub(crate) fn parse(buf: &[u8], mut index: FieldIndex) -> Result<Option<Parsed>, RequestError> {
    let mut fields = [const { std::mem::MaybeUninit::uninit() }; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut []);
    let len = match request.parse_with_uninit_headers(buf, &mut fields) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) if buf.len() > MAX_HEAD => {
            return Err(RequestError::TooLarge);
        }
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(RequestError::TooLarge),
        Err(httparse::Error::Version) => return Err(RequestError::Version),
        Err(_) => return Err(RequestError::Malformed),
    };
    if len > MAX_HEAD {
        return Err(RequestError::TooLarge);
    }
    let (Some(method), Some(target)) = (request.method, request.path) else {
        return Err(RequestError::Malformed);
    };
    let version = match request.version {
        Some(1) => Version::HTTP_11,
        _ => Version::HTTP_10,
    };
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| RequestError::Malformed)?;
    let target = if is_plain(target.as_bytes()) {
        Target::Origin {
            // Below 65536, as the whole head is.
            at: (target.as_ptr() as usize - buf.as_ptr() as usize) as u16,
            len: target.len() as u16,
        }
    } else {
        Target::Uri(target.parse::<Uri>().map_err(|_| RequestError::Target)?)
    };
    index.extend(&buf[..len], request.headers);
    let (framing, doubtful) = framing(&method, version, Fields::new(&buf[..len], &index))?;
    Ok(Some(Parsed {
        len,
        doubtful,
        method,
        version,
        target,
        framing,
        index,
    }))
}

impl Parsed {
    /// The head; `text` is the [`Parsed::len`] bytes it was parsed from.
    pub(crate) fn into_head(self, text: Vec<u8>) -> RequestHead {
        let fields = OwnedFields {
            text,
            index: self.index,
        };
        RequestHead::new(self.method, self.version, self.target, fields, self.framing)
    }
}

/// A path that needs no second look: what RFC 3986 allows in path and query, nothing else. `http`'s
/// parser decides on the rest.
pub(crate) fn is_plain(target: &[u8]) -> bool {
    target.first() == Some(&b'/') && target.iter().all(|byte| PLAIN[usize::from(*byte)])
}

/// RFC 9112 section 6.3, and whether length and coding contradicted each other.
fn framing(
    method: &Method,
    version: Version,
    fields: Fields<'_>,
) -> Result<(RequestFraming, bool), RequestError> {
    let mut length = None;
    for value in fields.get_all(Known::ContentLength) {
        let found = headers::parse_length(value).ok_or(RequestError::ContentLength)?;
        if length.is_some_and(|before| before != found) {
            return Err(RequestError::ContentLength);
        }
        length = Some(found);
    }
    let mut codings = fields.get_all(Known::TransferEncoding);
    if let Some(coding) = codings.next() {
        let chunked = coding.eq_ignore_ascii_case(b"chunked");
        if !chunked || codings.next().is_some() || version != Version::HTTP_11 {
            return Err(RequestError::TransferEncoding);
        }
        return Ok((RequestFraming::Chunked, length.is_some()));
    }
    let framing = match length {
        Some(length) => RequestFraming::Length(length),
        None => RequestFraming::of_none(method),
    };
    Ok((framing, false))
}

const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let text =
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+,;=:@%/?";
    let mut at = 0;
    while at < text.len() {
        plain[text[at] as usize] = true;
        at += 1;
    }
    plain
};
/// Fields of a request head; a head with more is answered 431.
const MAX_FIELDS: usize = 100;
/// Bytes of a request head, the request line included.
pub(crate) const MAX_HEAD: usize = 64 * 1024 - 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> RequestHead {
        let parsed = parse(text.as_bytes(), FieldIndex::default())
            .unwrap()
            .unwrap();
        assert_eq!(parsed.len, text.len());
        parsed.into_head(text.into())
    }

    #[test]
    fn targets_keep_their_bytes() {
        for (target, path) in [
            ("/", "/"),
            ("/a%2Fb?c=d?e", "/a%2Fb"),
            ("/?x", "/"),
            ("/a|b\"{}?c|d", "/a|b\"{}"),
            ("/\u{e4}", "/\u{e4}"),
            ("*", "*"),
        ] {
            let head = head(&format!("OPTIONS {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
            assert_eq!((head.target(), head.path(head.target())), (target, path));
            assert_eq!(head.authority(), Some("a"));
        }
        let absolute = head("GET http://b:1/x?y HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(
            (absolute.target(), absolute.path(absolute.target())),
            ("/x?y", "/x")
        );
        assert_eq!(absolute.authority(), Some("b:1"));
    }

    #[test]
    fn framing_follows_rfc_9112() {
        use RequestFraming::{Chunked, Length, None};
        for (lines, framing, doubtful) in [
            ("GET / HTTP/1.1\r\n\r\n", None, false),
            ("POST / HTTP/1.1\r\n\r\n", Length(0), false),
            (
                "GET / HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
                Length(0),
                false,
            ),
            (
                "PUT / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
                Length(5),
                false,
            ),
            (
                "PUT / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n",
                Chunked,
                false,
            ),
            (
                "PUT / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
                Chunked,
                true,
            ),
        ] {
            let parsed = parse(lines.as_bytes(), FieldIndex::default())
                .unwrap()
                .unwrap();
            assert_eq!(
                (parsed.framing, parsed.doubtful),
                (framing, doubtful),
                "{lines}"
            );
        }
    }

    #[test]
    fn bad_heads_are_refused() {
        use RequestError as E;
        for (text, error) in [
            ("GET /\r\n\r\n", E::Malformed),
            ("GET / HTTP/2.0\r\n\r\n", E::Version),
            ("G\u{e4}T / HTTP/1.1\r\n\r\n", E::Malformed),
            ("GET  / HTTP/1.1\r\n\r\n", E::Malformed),
            ("GET / HTTP/1.1\r\nA : b\r\n\r\n", E::Malformed),
            ("GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", E::Malformed),
            ("GET nothing/ HTTP/1.1\r\n\r\n", E::Target),
            (
                "GET / HTTP/1.1\r\nContent-Length: 5, 5\r\n\r\n",
                E::ContentLength,
            ),
            (
                "GET / HTTP/1.1\r\nContent-Length:\r\n\r\n",
                E::ContentLength,
            ),
            (
                "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
                E::TransferEncoding,
            ),
        ] {
            let parsed = parse(text.as_bytes(), FieldIndex::default());
            assert_eq!(parsed.unwrap_err(), error, "{text}");
        }
        let parsed = parse(b"GET / HTTP/1.1\r\nA: b\r\n", FieldIndex::default());
        assert!(parsed.unwrap().is_none());
    }

    proptest::proptest! {
        #[test]
        fn no_input_panics(wire in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = parse(&wire, FieldIndex::default());
        }

        #[test]
        fn plain_targets_are_what_the_slow_parser_takes_too(target in "/[!-~]{0,20}") {
            if is_plain(target.as_bytes()) {
                let uri: Uri = target.parse().unwrap();
                let kept = uri.path_and_query().unwrap().as_str();
                proptest::prop_assert_eq!(kept, &*target);
            }
        }
    }
}
