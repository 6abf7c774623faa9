//! The frames of HTTP/2 (RFC 9113 sections 4 to 7), without I/O.

/// The head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameHead {
    /// Bytes of its payload.
    pub(super) len: usize,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

/// Error codes (RFC 9113 section 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    NoError = 0,
    Protocol = 1,
    Internal = 2,
    FlowControl = 3,
    StreamClosed = 5,
    FrameSize = 6,
    RefusedStream = 7,
    Cancel = 8,
    Compression = 9,
    EnhanceYourCalm = 11,
}

/// What ends a whole connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{cause}")]
pub(super) struct Fault {
    pub(super) code: Code,
    pub(super) cause: &'static str,
}

impl Fault {
    pub(super) fn protocol(cause: &'static str) -> Self {
        Self {
            code: Code::Protocol,
            cause,
        }
    }

    pub(super) fn size(cause: &'static str) -> Self {
        Self {
            code: Code::FrameSize,
            cause,
        }
    }

    pub(super) fn flow(cause: &'static str) -> Self {
        Self {
            code: Code::FlowControl,
            cause,
        }
    }

    pub(super) fn flood(cause: &'static str) -> Self {
        Self {
            code: Code::EnhanceYourCalm,
            cause,
        }
    }
}

impl FrameHead {
    /// The head at the start of `bytes`, once it is there.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let [a, b, c, kind, flags, s, t, u, v, ..] = *bytes else {
            return None;
        };
        Some(Self {
            len: u32::from_be_bytes([0, a, b, c]) as usize,
            kind,
            flags,
            // The first bit is reserved.
            stream: u32::from_be_bytes([s & 0x7f, t, u, v]),
        })
    }

    pub(super) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Cuts the padding off a payload (RFC 9113 section 6.1).
pub(super) fn unpad(head: FrameHead, payload: &[u8]) -> Result<&[u8], Fault> {
    if !head.has(PADDED) {
        return Ok(payload);
    }
    let inner = payload.split_first().and_then(|(pad, rest)| {
        let len = rest.len().checked_sub(usize::from(*pad))?;
        rest.get(..len)
    });
    inner.ok_or_else(|| Fault::protocol("a frame has more padding than payload"))
}

/// The 31 bits of a WINDOW_UPDATE or a stream's number.
pub(super) fn number(payload: &[u8]) -> Option<u32> {
    let bytes: [u8; 4] = payload.get(..4)?.try_into().ok()?;
    Some(u32::from_be_bytes(bytes) & MAX_WINDOW)
}

/// The code in RST_STREAM or GOAWAY.
pub(super) fn code(payload: &[u8]) -> u32 {
    let bytes = payload.first_chunk().copied().unwrap_or_default();
    u32::from_be_bytes(bytes)
}

/// Writes the head of a frame.
pub(super) fn write_head(out: &mut Vec<u8>, len: usize, kind: u8, flags: u8, stream: u32) {
    let [_, a, b, c] = (len as u32).to_be_bytes();
    let [s, t, u, v] = stream.to_be_bytes();
    out.extend_from_slice(&[a, b, c, kind, flags, s, t, u, v]);
}

/// Fills in the head of a frame whose payload has been written behind room for it at `at`.
pub(super) fn fill_head(out: &mut [u8], at: usize, kind: u8, flags: u8, stream: u32) {
    let len = out.len() - at - HEAD;
    let [_, a, b, c] = (len as u32).to_be_bytes();
    let [s, t, u, v] = stream.to_be_bytes();
    out[at..at + HEAD].copy_from_slice(&[a, b, c, kind, flags, s, t, u, v]);
}

/// Makes what stands behind room for a head at `at` HEADERS, and CONTINUATIONs where it is more than
/// `most` bytes.
pub(super) fn fill_headers(out: &mut Vec<u8>, at: usize, flags: u8, stream: u32, most: usize) {
    if out.len() - at - HEAD <= most {
        return fill_head(out, at, HEADERS, flags | END_HEADERS, stream);
    }
    let block = out.split_off(at + HEAD);
    out.truncate(at);
    let mut kind = HEADERS;
    let mut flags = flags;
    let mut pieces = block.chunks(most).peekable();
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            flags |= END_HEADERS;
        }
        write_head(out, piece.len(), kind, flags, stream);
        out.extend_from_slice(piece);
        (kind, flags) = (CONTINUATION, 0);
    }
}

pub(super) fn write_settings(out: &mut Vec<u8>, settings: &[(u16, u32)]) {
    write_head(out, 6 * settings.len(), SETTINGS, 0, 0);
    for (name, value) in settings {
        out.extend_from_slice(&name.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

pub(super) fn write_settings_ack(out: &mut Vec<u8>) {
    write_head(out, 0, SETTINGS, ACK, 0);
}

pub(super) fn write_ping(out: &mut Vec<u8>, flags: u8, payload: &[u8]) {
    write_head(out, payload.len(), PING, flags, 0);
    out.extend_from_slice(payload);
}

pub(super) fn write_reset(out: &mut Vec<u8>, stream: u32, code: Code) {
    write_head(out, 4, RST_STREAM, 0, stream);
    out.extend_from_slice(&(code as u32).to_be_bytes());
}

pub(super) fn write_window(out: &mut Vec<u8>, stream: u32, more: u32) {
    write_head(out, 4, WINDOW_UPDATE, 0, stream);
    out.extend_from_slice(&more.to_be_bytes());
}

pub(super) fn write_go_away(out: &mut Vec<u8>, last: u32, code: Code, cause: &str) {
    write_head(out, 8 + cause.len(), GOAWAY, 0, 0);
    out.extend_from_slice(&last.to_be_bytes());
    out.extend_from_slice(&(code as u32).to_be_bytes());
    out.extend_from_slice(cause.as_bytes());
}

/// RFC 9113 section 3.4.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes of a frame's head.
pub(super) const HEAD: usize = 9;
/// Bytes of a payload that either side may send unasked (`SETTINGS_MAX_FRAME_SIZE`).
pub(super) const MAX_FRAME: usize = 16 * 1024;
/// A window's largest value.
pub(super) const MAX_WINDOW: u32 = (1 << 31) - 1;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

/// Of SETTINGS and PING.
pub(super) const ACK: u8 = 1;
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
pub(super) const PADDED: u8 = 8;
pub(super) const WITH_PRIORITY: u8 = 0x20;

/// Settings (RFC 9113 section 6.5.2; the last is RFC 9218's).
pub(super) const HEADER_TABLE_SIZE: u16 = 1;
pub(super) const ENABLE_PUSH: u16 = 2;
pub(super) const MAX_CONCURRENT_STREAMS: u16 = 3;
pub(super) const INITIAL_WINDOW_SIZE: u16 = 4;
pub(super) const MAX_FRAME_SIZE: u16 = 5;
pub(super) const MAX_HEADER_LIST_SIZE: u16 = 6;
/// RFC 8441 section 3.
pub(super) const ENABLE_CONNECT_PROTOCOL: u16 = 8;
pub(super) const NO_RFC7540_PRIORITIES: u16 = 9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_go_both_ways() {
        let mut out = Vec::new();
        write_head(&mut out, 0x01_0203, DATA, END_STREAM, 7);
        let head = FrameHead::parse(&out).unwrap();
        assert_eq!((head.len, head.kind, head.stream), (0x01_0203, DATA, 7));
        assert!(head.has(END_STREAM) && !head.has(PADDED));
        assert_eq!(FrameHead::parse(&out[..8]), None);
        out[5] |= 0x80;
        assert_eq!(FrameHead::parse(&out).unwrap().stream, 7, "a reserved bit");
    }

    #[test]
    fn padding_is_cut_off() {
        let head = |flags| FrameHead {
            len: 0,
            kind: DATA,
            flags,
            stream: 1,
        };
        assert_eq!(unpad(head(0), b"\x02abc"), Ok(&b"\x02abc"[..]));
        assert_eq!(unpad(head(PADDED), b"\x02abc"), Ok(&b"a"[..]));
        assert_eq!(unpad(head(PADDED), b"\x03abc"), Ok(&b""[..]));
        for bad in [&b"\x04abc"[..], b"\x01", b""] {
            assert!(unpad(head(PADDED), bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn large_blocks_are_split() {
        for (len, frames) in [(0, 1), (10, 1), (11, 2), (20, 2), (21, 3)] {
            let mut out = b"before".to_vec();
            out.extend_from_slice(&[0; HEAD]);
            out.extend(vec![b'x'; len]);
            fill_headers(&mut out, 6, END_STREAM, 3, 10);
            let mut rest = &out[6..];
            let mut found = Vec::new();
            while let Some(head) = FrameHead::parse(rest) {
                rest = &rest[HEAD + head.len..];
                found.push(head);
            }
            assert_eq!(found.len(), frames, "{len}");
            assert_eq!(found.iter().map(|head| head.len).sum::<usize>(), len);
            for (index, head) in found.iter().enumerate() {
                let first = index == 0;
                assert_eq!(head.kind, if first { HEADERS } else { CONTINUATION });
                assert_eq!(head.has(END_STREAM), first);
                assert_eq!(head.has(END_HEADERS), index + 1 == frames);
            }
        }
    }
}
