//! HTTP/1.1 as spoken to upstreams: parsing responses, without I/O.
//!
//! Our own small codec rather than hyper's client, because the exchange is driven inside the
//! request's own task (no second task, no channel per request) and because retry rules need to know
//! exactly what was sent and read. Requests from clients are parsed by hyper.

use bytes::BytesMut;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};

use super::headers;

mod decode;

pub(crate) use decode::{Decoder, Piece};

/// A parsed response head.
#[derive(Debug)]
pub(crate) struct ResponseHead {
    pub(crate) status: StatusCode,
    /// As received; hop-by-hop fields are still there.
    pub(crate) headers: HeaderMap,
    pub(crate) framing: Framing,
    /// Whether the connection may be used again once the body is read.
    pub(crate) keep_alive: bool,
}

/// How a response body ends (RFC 9112 section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    Empty,
    Length(u64),
    Chunked,
    /// Until the connection closes.
    Close,
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
    #[error("it sent a malformed chunk")]
    Chunk,
    #[error("it closed the connection before the end of the body")]
    Truncated,
}

/// Parses one response head at the start of `buf` and removes it. `None`: more bytes are needed.
///
/// Header values are slices of `buf`'s own memory, not copies.
pub(crate) fn parse_head(
    buf: &mut BytesMut,
    method: &Method,
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

    // Positions first: the fields borrow `buf`, which is about to be split.
    let base = buf.as_ptr() as usize;
    let mut spans = [Span::default(); MAX_FIELDS];
    let count = response.headers.len();
    for (span, field) in spans.iter_mut().zip(response.headers.iter()) {
        let name = field.name.as_ptr() as usize - base;
        // An empty value may point outside the buffer.
        let value = if field.value.is_empty() {
            0
        } else {
            field.value.as_ptr() as usize - base
        };
        // All below MAX_HEAD, so below 65536.
        *span = Span {
            name: name as u16,
            name_len: field.name.len() as u16,
            value: value as u16,
            value_len: field.value.len() as u16,
        };
    }
    let head = buf.split_to(len).freeze();
    let mut headers = HeaderMap::with_capacity(count);
    for span in &spans[..count] {
        let name = &head[usize::from(span.name)..][..usize::from(span.name_len)];
        let name = HeaderName::from_bytes(name).map_err(|_| ResponseError::Malformed)?;
        let value = usize::from(span.value);
        let value = head.slice(value..value + usize::from(span.value_len));
        let value = HeaderValue::from_maybe_shared(value).map_err(|_| ResponseError::Malformed)?;
        headers.append(name, value);
    }
    let framing = framing(status, method, &headers, http11)?;
    let keep_alive = framing != Framing::Close && keep_alive(&headers, http11);
    Ok(Some(ResponseHead {
        status,
        headers,
        framing,
        keep_alive,
    }))
}

/// Where a field stands in the head.
#[derive(Clone, Copy, Default)]
struct Span {
    name: u16,
    name_len: u16,
    value: u16,
    value_len: u16,
}

fn framing(
    status: StatusCode,
    method: &Method,
    headers: &HeaderMap,
    http11: bool,
) -> Result<Framing, ResponseError> {
    let bodiless = *method == Method::HEAD
        || status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        let chunked = coding
            .as_bytes()
            .trim_ascii()
            .eq_ignore_ascii_case(b"chunked");
        if !chunked || codings.next().is_some() || !http11 {
            return Err(ResponseError::TransferEncoding);
        }
        return Ok(if bodiless {
            Framing::Empty
        } else {
            Framing::Chunked
        });
    }
    let length = headers::content_length(headers).map_err(|()| ResponseError::ContentLength)?;
    Ok(match length {
        _ if bodiless => Framing::Empty,
        Some(0) => Framing::Empty,
        Some(length) => Framing::Length(length),
        None => Framing::Close,
    })
}

fn keep_alive(headers: &HeaderMap, http11: bool) -> bool {
    // A message with both is either a mistake or an attack; never trust the bytes after it.
    if headers.contains_key(header::TRANSFER_ENCODING)
        && headers.contains_key(header::CONTENT_LENGTH)
    {
        return false;
    }
    if http11 {
        !headers::has_token(headers, header::CONNECTION, "close")
    } else {
        headers::has_token(headers, header::CONNECTION, "keep-alive")
    }
}

/// Fields of a response head.
const MAX_FIELDS: usize = 128;
/// Bytes of a response head.
const MAX_HEAD: usize = 64 * 1024 - 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str, method: Method) -> Result<Option<ResponseHead>, ResponseError> {
        parse_head(&mut BytesMut::from(text), &method)
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
            let _ = parse_head(&mut BytesMut::from(&wire[..]), &Method::GET);
        }
    }
}
