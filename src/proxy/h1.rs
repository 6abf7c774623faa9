//! HTTP/1.1 as spoken to upstreams: parsing responses, without I/O.
//!
//! Our own small codec rather than hyper's client, because the exchange is driven inside the
//! request's own task (no second task, no channel per request) and because retry rules need to know
//! exactly what was sent and read. Requests from clients are parsed by hyper.

use bytes::{Buf, Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};

use super::headers;

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

/// Takes a body apart as bytes arrive.
#[derive(Debug)]
pub(crate) enum Decoder {
    Length(u64),
    Close,
    Chunked(Chunk),
    Done,
}

/// Where in a chunked body the next byte stands.
#[derive(Debug)]
pub(crate) enum Chunk {
    Size,
    Data(u64),
    /// The CRLF after the data.
    End,
    Trailers,
}

/// What a decoder made of the bytes at hand.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
    /// More bytes are needed.
    Starved,
    Done,
}

impl Decoder {
    pub(crate) fn new(framing: Framing) -> Self {
        match framing {
            Framing::Empty => Self::Done,
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(Chunk::Size),
            Framing::Close => Self::Close,
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// Bytes left, when that is known.
    pub(crate) fn remaining(&self) -> Option<u64> {
        match self {
            Self::Length(left) => Some(*left),
            Self::Done => Some(0),
            Self::Close | Self::Chunked(_) => None,
        }
    }

    /// The next piece of the body out of `buf`.
    pub(crate) fn decode(&mut self, buf: &mut BytesMut) -> Result<Piece, ResponseError> {
        match self {
            Self::Done => Ok(Piece::Done),
            Self::Close if buf.is_empty() => Ok(Piece::Starved),
            Self::Close => Ok(Piece::Data(buf.split().freeze())),
            Self::Length(left) => {
                if buf.is_empty() {
                    return Ok(Piece::Starved);
                }
                let data = take(buf, *left);
                *left -= data.len() as u64;
                if *left == 0 {
                    *self = Self::Done;
                }
                Ok(Piece::Data(data))
            }
            Self::Chunked(chunk) => {
                let piece = chunk.decode(buf)?;
                if matches!(piece, Piece::Done | Piece::Trailers(_)) {
                    *self = Self::Done;
                }
                Ok(piece)
            }
        }
    }

    /// The connection ended: fine only where the end is the delimiter.
    pub(crate) fn end(&mut self) -> Result<(), ResponseError> {
        match self {
            Self::Close | Self::Done => {
                *self = Self::Done;
                Ok(())
            }
            Self::Length(_) | Self::Chunked(_) => Err(ResponseError::Truncated),
        }
    }
}

impl Chunk {
    fn decode(&mut self, buf: &mut BytesMut) -> Result<Piece, ResponseError> {
        loop {
            match self {
                Self::Size => {
                    let Some(line) = memchr::memchr(b'\n', buf) else {
                        return if buf.len() > MAX_CHUNK_LINE {
                            Err(ResponseError::Chunk)
                        } else {
                            Ok(Piece::Starved)
                        };
                    };
                    let size = chunk_size(&buf[..line]).ok_or(ResponseError::Chunk)?;
                    buf.advance(line + 1);
                    *self = if size == 0 {
                        Self::Trailers
                    } else {
                        Self::Data(size)
                    };
                }
                Self::Data(_) if buf.is_empty() => return Ok(Piece::Starved),
                Self::Data(left) => {
                    let data = take(buf, *left);
                    *left -= data.len() as u64;
                    if *left == 0 {
                        *self = Self::End;
                    }
                    return Ok(Piece::Data(data));
                }
                Self::End => match buf.get(..2) {
                    Some(b"\r\n") => {
                        buf.advance(2);
                        *self = Self::Size;
                    }
                    Some(_) => return Err(ResponseError::Chunk),
                    None => return Ok(Piece::Starved),
                },
                Self::Trailers => return trailers(buf),
            }
        }
    }
}

/// `1*HEXDIG [ chunk-ext ] CR`, the LF already found.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let line = line.strip_suffix(b"\r")?;
    let digits = line
        .iter()
        .take_while(|byte| byte.is_ascii_hexdigit())
        .count();
    if digits == 0 || digits > 15 || line.len() > MAX_CHUNK_LINE {
        return None;
    }
    let rest = line[digits..].trim_ascii_start();
    if !(rest.is_empty() || rest[0] == b';') {
        return None;
    }
    let text = std::str::from_utf8(&line[..digits]).ok()?;
    u64::from_str_radix(text, 16).ok()
}

fn trailers(buf: &mut BytesMut) -> Result<Piece, ResponseError> {
    if buf.starts_with(b"\r\n") {
        buf.advance(2);
        return Ok(Piece::Done);
    }
    let mut fields = [httparse::EMPTY_HEADER; MAX_TRAILERS];
    match httparse::parse_headers(buf, &mut fields) {
        Ok(httparse::Status::Complete((len, fields))) => {
            let mut map = HeaderMap::with_capacity(fields.len());
            for field in fields {
                let (Ok(name), Ok(value)) = (
                    HeaderName::from_bytes(field.name.as_bytes()),
                    HeaderValue::from_bytes(field.value),
                ) else {
                    return Err(ResponseError::Chunk);
                };
                // Framing and routing fields have no meaning in trailers (RFC 9110 section 6.5.1).
                if !headers::is_hop_by_hop(&name) && name != header::CONTENT_LENGTH {
                    map.append(name, value);
                }
            }
            buf.advance(len);
            Ok(Piece::Trailers(map))
        }
        Ok(httparse::Status::Partial) if buf.len() < MAX_TRAILER_BYTES => Ok(Piece::Starved),
        _ => Err(ResponseError::Chunk),
    }
}

fn take(buf: &mut BytesMut, at_most: u64) -> Bytes {
    let len = usize::try_from(at_most).map_or(buf.len(), |most| most.min(buf.len()));
    buf.split_to(len).freeze()
}

/// Fields of a response head.
const MAX_FIELDS: usize = 128;
/// Bytes of a response head.
const MAX_HEAD: usize = 64 * 1024 - 1;
const MAX_CHUNK_LINE: usize = 256;
const MAX_TRAILERS: usize = 32;
const MAX_TRAILER_BYTES: usize = 16 * 1024;

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

    /// Feeds `wire` in pieces of `step` bytes; returns the body and the trailers.
    fn chunked(wire: &[u8], step: usize) -> Result<(Vec<u8>, Option<HeaderMap>), ResponseError> {
        let mut decoder = Decoder::new(Framing::Chunked);
        let mut buf = BytesMut::new();
        let mut body = Vec::new();
        let mut pieces = wire.chunks(step);
        loop {
            match decoder.decode(&mut buf)? {
                Piece::Data(data) => body.extend_from_slice(&data),
                Piece::Trailers(map) => return Ok((body, Some(map))),
                Piece::Done => return Ok((body, None)),
                Piece::Starved => match pieces.next() {
                    Some(piece) => buf.extend_from_slice(piece),
                    None => return decoder.end().map(|()| (body, None)),
                },
            }
        }
    }

    #[test]
    fn chunks_decode_at_any_cut() {
        let wire = b"4\r\nWiki\r\n5;ext=1\r\npedia\r\n0\r\nX-Sum: 9\r\n\r\n";
        for step in 1..=wire.len() {
            let (body, trailers) = chunked(wire, step).unwrap();
            assert_eq!(body, b"Wikipedia");
            assert_eq!(trailers.unwrap()["x-sum"], "9");
        }
    }

    #[test]
    fn bad_chunks_are_refused() {
        for wire in [
            &b"x\r\n"[..],
            b"4\nWiki",
            b"4\r\nWikiXX",
            b"-1\r\n",
            b"0x4\r\nWiki\r\n",
            b"ffffffffffffffff\r\n",
        ] {
            assert_eq!(chunked(wire, 64), Err(ResponseError::Chunk), "{wire:?}");
        }
        assert_eq!(chunked(b"4\r\nWi", 64), Err(ResponseError::Truncated));
        assert_eq!(chunked(b"4\r\nWiki\r\n", 64), Err(ResponseError::Truncated));
    }

    proptest::proptest! {
        #[test]
        fn no_input_panics(wire in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = parse_head(&mut BytesMut::from(&wire[..]), &Method::GET);
            let _ = chunked(&wire, 7);
        }
    }
}
