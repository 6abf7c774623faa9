//! The body of a response, out of the bytes as they arrive.

use bytes::{Buf, Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::{Framing, ResponseError};
use crate::proxy::headers;

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

const MAX_CHUNK_LINE: usize = 256;
const MAX_TRAILERS: usize = 32;
const MAX_TRAILER_BYTES: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

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
            let _ = chunked(&wire, 7);
        }
    }
}
