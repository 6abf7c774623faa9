//! HTTP/1.1 without I/O: parsing request heads, response heads and bodies, writing response heads.
//!
//! Our own small codec rather than hyper's, towards upstreams and towards clients: an exchange is
//! driven inside the client connection's own task (no second task, no channel per request), retry
//! rules need to know exactly what was sent and read, and bytes that nobody has to look at are
//! copied on in one piece. What an exchange costs beside hyper's is in docs/performance.md.

use http::{Method, StatusCode};

use super::fields::{FieldIndex, Fields, Known};
use super::headers;

mod decode;
mod request;

pub(crate) use decode::{Decoder, Piece, Step};
pub(crate) use request::{
    MAX_HEAD, RequestError, is_plain as is_plain_target, parse as parse_request,
};

/// A parsed response head. Its fields point into the bytes it was parsed from.
#[derive(Debug, Default)]
pub(crate) struct ResponseHead {
    /// Bytes it takes.
    pub(crate) len: usize,
    pub(crate) status: StatusCode,
    /// Where its reason phrase stands, and its length.
    reason: (u16, u16),
    /// As received; hop-by-hop fields are still there.
    pub(crate) index: FieldIndex,
    pub(crate) framing: Framing,
    /// Whether the connection may be used again once the body is read.
    pub(crate) keep_alive: bool,
}

impl ResponseHead {
    /// One that came another way.
    pub(crate) fn of_http2(
        len: usize,
        status: StatusCode,
        index: FieldIndex,
        framing: Framing,
    ) -> Self {
        Self {
            len,
            status,
            reason: (0, 0),
            index,
            framing,
            keep_alive: true,
        }
    }

    /// Bytes of the body, where it says so.
    pub(crate) fn promised(&self) -> Option<u64> {
        match self.framing {
            Framing::Empty => Some(0),
            Framing::Length(length) => Some(length),
            Framing::Chunked | Framing::Close => None,
        }
    }

    /// The reason phrase; `text` is what the head was parsed from.
    pub(crate) fn reason<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        let (at, len) = (usize::from(self.reason.0), usize::from(self.reason.1));
        text.get(at..at + len).unwrap_or(b"")
    }
}

/// How a message body ends (RFC 9112 section 6.3).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Framing {
    #[default]
    Empty,
    Length(u64),
    Chunked,
    /// Until the connection closes.
    Close,
}

/// Why a body is unusable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("a malformed chunk")]
    Chunk,
    #[error("the connection closed before the end of the body")]
    Truncated,
}

/// Why a response is unusable. All mean 502.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ResponseError {
    #[error("its response head is not HTTP/1")]
    Malformed,
    #[error("its response head is larger than 64 KiB or has more than 128 fields")]
    TooLarge,
    #[error("it sent conflicting or bad Content-Length fields")]
    ContentLength,
    #[error("it sent a Transfer-Encoding other than chunked")]
    TransferEncoding,
    #[error("it sent {0}")]
    Body(BodyError),
    /// Of HTTP/2.
    #[error("{0}")]
    Http2(&'static str),
}

/// Whether another look at a head pays: the first always does, a later one only when an empty line
/// has come behind the `looked` bytes, or too much. Else a head sent byte by byte would be parsed
/// from its start for every byte.
pub(crate) fn may_be_whole(buf: &[u8], looked: usize) -> bool {
    let fresh = &buf[looked.saturating_sub(2).min(buf.len())..];
    looked == 0
        || buf.len() > MAX_HEAD
        || memchr::memmem::find(fresh, b"\n\n").is_some()
        || memchr::memmem::find(fresh, b"\n\r\n").is_some()
}

/// Parses the response head at the start of `buf`; `index` is empty. `None`: more bytes are needed.
pub(crate) fn parse_response(
    buf: &[u8],
    method: &Method,
    mut index: FieldIndex,
) -> Result<Option<ResponseHead>, ResponseError> {
    let mut fields = [const { std::mem::MaybeUninit::uninit() }; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut response,
        buf,
        &mut fields,
    );
    let len = match parsed {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) if buf.len() > MAX_HEAD => {
            return Err(ResponseError::TooLarge);
        }
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(ResponseError::TooLarge),
        Err(_) => return Err(ResponseError::Malformed),
    };
    if len > MAX_HEAD {
        return Err(ResponseError::TooLarge);
    }
    let status = response
        .code
        .and_then(|code| StatusCode::from_u16(code).ok())
        .ok_or(ResponseError::Malformed)?;
    let http11 = response.version == Some(1);
    let reason = match response.reason {
        Some(reason) if !reason.is_empty() => {
            // Below 65536, as the whole head is.
            let at = reason.as_ptr() as usize - buf.as_ptr() as usize;
            (at as u16, reason.len() as u16)
        }
        _ => (0, 0),
    };
    index.extend(&buf[..len], response.headers);
    let fields = Fields::new(&buf[..len], &index);
    let framing = framing(status, method, fields, http11)?;
    let keep_alive = framing != Framing::Close && keep_alive(fields, http11);
    Ok(Some(ResponseHead {
        len,
        status,
        reason,
        index,
        framing,
        keep_alive,
    }))
}

fn framing(
    status: StatusCode,
    method: &Method,
    fields: Fields<'_>,
    http11: bool,
) -> Result<Framing, ResponseError> {
    let bodiless = *method == Method::HEAD || status.is_informational() || is_bodiless(status);
    let mut codings = fields.get_all(Known::TransferEncoding);
    if let Some(coding) = codings.next() {
        let chunked = coding.trim_ascii().eq_ignore_ascii_case(b"chunked");
        if !chunked || codings.next().is_some() || !http11 {
            return Err(ResponseError::TransferEncoding);
        }
        return Ok(if bodiless {
            Framing::Empty
        } else {
            Framing::Chunked
        });
    }
    let length = headers::content_length(fields).map_err(|()| ResponseError::ContentLength)?;
    Ok(match length {
        _ if bodiless => Framing::Empty,
        Some(0) => Framing::Empty,
        Some(length) => Framing::Length(length),
        None => Framing::Close,
    })
}

/// Statuses whose responses never have a body (RFC 9110 sections 15.3.5 and 15.4.5).
pub(crate) fn is_bodiless(status: StatusCode) -> bool {
    matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

fn keep_alive(fields: Fields<'_>, http11: bool) -> bool {
    // A message with both is either a mistake or an attack; never trust the bytes after it.
    if fields.has(Known::TransferEncoding) && fields.has(Known::ContentLength) {
        return false;
    }
    if http11 {
        !headers::has_token(fields, Known::Connection, "close")
    } else {
        headers::has_token(fields, Known::Connection, "keep-alive")
    }
}

/// Fields of a response head.
const MAX_FIELDS: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str, method: Method) -> Result<Option<ResponseHead>, ResponseError> {
        parse_response(text.as_bytes(), &method, FieldIndex::default())
    }

    fn get(text: &str) -> ResponseHead {
        head(text, Method::GET).unwrap().unwrap()
    }

    #[test]
    fn framing_follows_rfc_9112() {
        for (text, framing) in [
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
                Framing::Length(5),
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n",
                Framing::Length(5),
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n",
                Framing::Chunked,
            ),
            ("HTTP/1.1 200 OK\r\n\r\n", Framing::Close),
            (
                "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
                Framing::Empty,
            ),
            (
                "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
                Framing::Empty,
            ),
        ] {
            assert_eq!(get(text).framing, framing, "{text}");
        }
        let head = head("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Method::HEAD);
        assert_eq!(head.unwrap().unwrap().framing, Framing::Empty);
    }

    #[test]
    fn bad_heads_are_refused() {
        use ResponseError as E;
        for (text, error) in [
            ("hello\r\n\r\n", E::Malformed),
            ("HTTP/2 200\r\n\r\n", E::Malformed),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
                E::ContentLength,
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
                E::ContentLength,
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n",
                E::ContentLength,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
                E::TransferEncoding,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n",
                E::TransferEncoding,
            ),
            (
                "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                E::TransferEncoding,
            ),
            ("HTTP/1.1 200 OK\r\nBad Name: x\r\n\r\n", E::Malformed),
        ] {
            assert_eq!(head(text, Method::GET).unwrap_err(), error, "{text}");
        }
        assert!(
            head("HTTP/1.1 200 OK\r\nA: b\r\n", Method::GET)
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn a_head_in_any_cut_is_found_with_its_last_byte_and_not_parsed_for_each() {
        for head in [
            "HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\nA: b\n\n",
            "HTTP/1.1 200 OK\r\nA: b\n\r\n",
        ] {
            let (mut looked, mut looks) = (0, 0);
            for len in 1..=head.len() {
                let buf = &head.as_bytes()[..len];
                if may_be_whole(buf, looked) {
                    looks += 1;
                    let parsed = parse_response(buf, &Method::GET, FieldIndex::default());
                    assert_eq!(parsed.unwrap().is_some(), len == head.len(), "{buf:?}");
                }
                looked = len;
            }
            assert_eq!(looks, 2, "the first byte and the last");
        }
        assert!(may_be_whole(&vec![b'x'; MAX_HEAD + 1], 9));
    }

    #[test]
    fn keep_alive_needs_agreement() {
        for (text, keep) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: x, Close\r\n\r\n",
                false,
            ),
            ("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", false),
            (
                "HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n",
                true,
            ),
            ("HTTP/1.1 200 OK\r\n\r\n", false),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
                false,
            ),
        ] {
            assert_eq!(get(text).keep_alive, keep, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_input_panics(wire in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = parse_response(&wire, &Method::GET, FieldIndex::default());
        }
    }
}
