//! A message body, out of the bytes as they arrive: of requests and of responses.

use super::super::fields::{FieldIndex, OwnedFields};
use super::{BodyError, Framing};

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
#[derive(Debug)]
pub(crate) struct Step {
    /// Bytes of framing to leave out first.
    pub(crate) skip: usize,
    pub(crate) piece: Piece,
}

#[derive(Debug)]
pub(crate) enum Piece {
    /// So many bytes of the body follow.
    Data(usize),
    /// The end, with trailers.
    Trailers(OwnedFields),
    /// More bytes are needed.
    Starved,
    Done,
}

impl Decoder {
    pub(crate) fn new(framing: Framing) -> Self {
        match framing {
            Framing::Empty | Framing::Length(0) => Self::Done,
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

    /// How many bytes may be read straight to where the body goes; `None` where framing stands
    /// between them.
    pub(crate) fn direct(&self) -> Option<u64> {
        match self {
            Self::Length(left) => Some(*left),
            Self::Close => Some(u64::MAX),
            Self::Chunked(_) | Self::Done => None,
        }
    }

    /// Tells of bytes that were read past the decoder; at most what [`Decoder::direct`] allows.
    pub(crate) fn passed(&mut self, count: u64) {
        if let Self::Length(left) = self {
            *left = left.saturating_sub(count);
            if *left == 0 {
                *self = Self::Done;
            }
        }
    }

    /// The next piece of the body at the start of `input`, of at most `room` bytes of data. The
    /// caller goes on behind what is skipped and the data.
    pub(crate) fn decode(&mut self, input: &[u8], room: usize) -> Result<Step, BodyError> {
        let plain = |piece| Ok(Step { skip: 0, piece });
        match self {
            Self::Done => plain(Piece::Done),
            _ if input.is_empty() => plain(Piece::Starved),
            Self::Close => plain(Piece::Data(input.len().min(room))),
            Self::Length(left) => {
                let len = at_most(*left, input.len().min(room));
                self.passed(len as u64);
                plain(Piece::Data(len))
            }
            Self::Chunked(chunk) => {
                let step = chunk.decode(input, room)?;
                if matches!(step.piece, Piece::Done | Piece::Trailers(_)) {
                    *self = Self::Done;
                }
                Ok(step)
            }
        }
    }

    /// The connection ended: fine only where the end is the delimiter.
    pub(crate) fn end(&mut self) -> Result<(), BodyError> {
        match self {
            Self::Close | Self::Done => {
                *self = Self::Done;
                Ok(())
            }
            Self::Length(_) | Self::Chunked(_) => Err(BodyError::Truncated),
        }
    }
}

impl Chunk {
    fn decode(&mut self, input: &[u8], room: usize) -> Result<Step, BodyError> {
        let mut skip = 0;
        let piece = loop {
            let rest = &input[skip..];
            match self {
                Self::Size => {
                    let Some(line) = memchr::memchr(b'\n', rest) else {
                        if rest.len() > MAX_CHUNK_LINE {
                            return Err(BodyError::Chunk);
                        }
                        break Piece::Starved;
                    };
                    let size = chunk_size(&rest[..line]).ok_or(BodyError::Chunk)?;
                    skip += line + 1;
                    *self = if size == 0 {
                        Self::Trailers
                    } else {
                        Self::Data(size)
                    };
                }
                Self::Data(_) if rest.is_empty() => break Piece::Starved,
                Self::Data(left) => {
                    let len = at_most(*left, rest.len().min(room));
                    *left -= len as u64;
                    if *left == 0 {
                        *self = Self::End;
                    }
                    break Piece::Data(len);
                }
                Self::End => match rest.get(..2) {
                    Some(b"\r\n") => {
                        skip += 2;
                        *self = Self::Size;
                    }
                    Some(_) => return Err(BodyError::Chunk),
                    None => break Piece::Starved,
                },
                Self::Trailers => {
                    let (len, piece) = trailers(rest)?;
                    skip += len;
                    break piece;
                }
            }
        };
        Ok(Step { skip, piece })
    }
}

fn at_most(left: u64, len: usize) -> usize {
    usize::try_from(left).map_or(len, |left| left.min(len))
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
    let bare = |byte: &u8| byte.is_ascii_control() && *byte != b'\t';
    if !(rest.is_empty() || rest[0] == b';') || line.iter().any(bare) {
        return None;
    }
    let text = std::str::from_utf8(&line[..digits]).ok()?;
    u64::from_str_radix(text, 16).ok()
}

/// The trailer section, its length with it.
fn trailers(input: &[u8]) -> Result<(usize, Piece), BodyError> {
    if input.starts_with(b"\r\n") {
        return Ok((2, Piece::Done));
    }
    let mut fields = [httparse::EMPTY_HEADER; MAX_TRAILERS];
    match httparse::parse_headers(input, &mut fields) {
        Ok(httparse::Status::Complete((len, fields))) if len <= MAX_TRAILER_BYTES => {
            let mut trailers = OwnedFields {
                text: input[..len].to_vec(),
                index: FieldIndex::with_capacity(fields.len()),
            };
            // The positions are the same in the copy.
            trailers.index.extend(input, fields);
            Ok((len, Piece::Trailers(trailers)))
        }
        Ok(httparse::Status::Partial) if input.len() < MAX_TRAILER_BYTES => Ok((0, Piece::Starved)),
        _ => Err(BodyError::Chunk),
    }
}

const MAX_CHUNK_LINE: usize = 256;
const MAX_TRAILERS: usize = 32;
const MAX_TRAILER_BYTES: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `wire` in pieces of `step` bytes; returns the body and the trailers.
    fn chunked(wire: &[u8], step: usize) -> Result<(Vec<u8>, Option<OwnedFields>), BodyError> {
        let mut decoder = Decoder::new(Framing::Chunked);
        let mut buf = Vec::new();
        let mut body = Vec::new();
        let mut pieces = wire.chunks(step);
        loop {
            let Step { skip, piece } = decoder.decode(&buf, 3)?;
            buf.drain(..skip);
            match piece {
                Piece::Data(len) => body.extend(buf.drain(..len)),
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
            let trailers = trailers.unwrap();
            let fields: Vec<_> = trailers.fields().iter().collect();
            assert_eq!(
                (fields[0].name, fields[0].value),
                (&b"X-Sum"[..], &b"9"[..])
            );
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
            b"4;\rx\r\n",
        ] {
            assert_eq!(chunked(wire, 64).unwrap_err(), BodyError::Chunk, "{wire:?}");
        }
        for wire in [&b"4\r\nWi"[..], b"4\r\nWiki\r\n"] {
            assert_eq!(chunked(wire, 64).unwrap_err(), BodyError::Truncated);
        }
    }

    #[test]
    fn what_is_read_past_the_decoder_counts() {
        let mut decoder = Decoder::new(Framing::Length(5));
        decoder.passed(3);
        assert_eq!(decoder.direct(), Some(2));
        let step = decoder.decode(b"xyz", 9).unwrap();
        assert!(matches!(step.piece, Piece::Data(2)) && decoder.is_done());
    }

    proptest::proptest! {
        #[test]
        fn no_input_panics(wire in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = chunked(&wire, 7);
        }
    }
}
