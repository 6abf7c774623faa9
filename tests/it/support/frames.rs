//! HTTP/2 as bytes to send on a [`super::peer::Peer`], for clients that keep silent where a library
//! would answer, and for events that must arrive in one order; and a client that takes frames as
//! they come and answers none by itself.

use std::collections::BTreeMap;

use super::peer::Peer;
use super::site::Site;

/// Opens a connection: the preface and empty settings.
pub(crate) const PREFACE: &str = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// How a GOAWAY of the server begins, whatever its last stream and reason.
pub(crate) const GOAWAY: &str = "\0\0\x08\x07\0\0\0\0\0";

/// A request for `http://a.test/` as stream 1; `last` when it has no body.
pub(crate) fn request(method: &str, fields: &[(&str, &str)], last: bool) -> Vec<u8> {
    open(1, method, "/", fields, last)
}

/// The same for any stream and path.
pub(crate) fn open(
    stream: u32,
    method: &str,
    path: &str,
    fields: &[(&str, &str)],
    last: bool,
) -> Vec<u8> {
    let block = block(method, path, fields);
    frame(HEADERS, END_HEADERS | u8::from(last), stream, &block)
}

/// `GET` of a path, as any stream.
pub(crate) fn get(stream: u32, path: &str) -> Vec<u8> {
    open(stream, "GET", path, &[], true)
}

/// The header block of a request for `a.test`.
pub(crate) fn block(method: &str, path: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let pseudo = [
        (":method", method),
        (":scheme", "http"),
        (":authority", "a.test"),
        (":path", path),
    ];
    let all = [&pseudo[..], fields].concat();
    literals(&all)
}

/// Literals with new names, never indexed, so no table is needed.
pub(crate) fn literals(fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let block = fields.iter();
    block
        .flat_map(|(name, value)| [vec![0], text(name), text(value)].concat())
        .collect()
}

/// A part of the body of stream 1.
pub(crate) fn data(part: &str) -> Vec<u8> {
    frame(DATA, 0, 1, part.as_bytes())
}

/// Takes stream 1 back, and calls that no error.
pub(crate) fn reset_without_error() -> Vec<u8> {
    reset(1, 0)
}

pub(crate) fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &code.to_be_bytes())
}

/// Asks for an answer that is no response.
pub(crate) fn ping() -> Vec<u8> {
    frame(PING, 0, 0, &[0; 8])
}

/// Takes so much more on a stream, or on all of them.
pub(crate) fn window(stream: u32, more: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &more.to_be_bytes())
}

pub(crate) fn settings(settings: &[(u16, u32)]) -> Vec<u8> {
    let payload = settings.iter();
    let payload =
        payload.flat_map(|(name, value)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat());
    frame(SETTINGS, 0, 0, &payload.collect::<Vec<_>>())
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}

/// A client of one connection. What it takes it sorts by stream.
pub(crate) struct Client {
    peer: Peer,
    pub(crate) streams: BTreeMap<u32, Stream>,
    /// Last stream and code of each GOAWAY.
    pub(crate) goaways: Vec<(u32, u32)>,
    pub(crate) settings: Vec<(u16, u32)>,
    /// PINGs and SETTINGS of the server's that it acknowledged.
    pub(crate) pongs: usize,
    pub(crate) acks: usize,
    /// PINGs of its own.
    pub(crate) pings: Vec<Vec<u8>>,
    /// Bytes it allowed on the connection.
    pub(crate) allowed: u64,
    /// Whether bytes of bodies are allowed again as they come.
    pub(crate) takes: bool,
    pub(crate) over: bool,
}

/// What came of one stream.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    /// Header blocks, trailers included.
    pub(crate) heads: Vec<Vec<u8>>,
    pub(crate) body: Vec<u8>,
    /// Frames of the body.
    pub(crate) parts: usize,
    pub(crate) ended: bool,
    pub(crate) reset: Option<u32>,
    /// Bytes of its request's body that were allowed beyond the first.
    pub(crate) allowed: u64,
}

impl Client {
    /// With these settings; what follows is the caller's.
    pub(crate) fn open(site: &Site, with: &[(u16, u32)]) -> Self {
        Self::over(site.client(), with)
    }

    pub(crate) fn over(mut peer: Peer, with: &[(u16, u32)]) -> Self {
        peer.send(&PREFACE[..24]).send(settings(with));
        Self {
            peer,
            streams: BTreeMap::new(),
            goaways: Vec::new(),
            settings: Vec::new(),
            pongs: 0,
            acks: 0,
            pings: Vec::new(),
            allowed: 0,
            takes: false,
            over: false,
        }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.peer.send(bytes);
        self
    }

    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.peer.try_send(bytes)
    }

    /// Takes one frame, or the end.
    fn take(&mut self) {
        if !self.peer.is_open() {
            self.over = true;
            return;
        }
        let head = self.peer.exactly(9);
        let len = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        assert!(len <= 16_384, "a frame of {len} bytes");
        let (kind, flags) = (head[3], head[4]);
        let id = number(&head[5..]);
        let payload = self.peer.exactly(len);
        let stream = self.streams.entry(id).or_default();
        match kind {
            DATA => {
                assert!(!stream.heads.is_empty() && !stream.ended && stream.reset.is_none());
                stream.parts += 1;
                stream.ended = flags & END_STREAM != 0;
                stream.body.extend(payload);
                if self.takes && len > 0 {
                    let more = [window(0, len as u32), window(id, len as u32)].concat();
                    // It may have all it wants already.
                    let _ = self.peer.try_send(more);
                }
            }
            HEADERS => {
                assert!(!stream.ended && stream.reset.is_none());
                stream.ended = flags & END_STREAM != 0;
                stream.heads.push(payload);
                if flags & END_HEADERS == 0 {
                    self.continuations(id);
                }
            }
            RST_STREAM => stream.reset = Some(number(&payload)),
            SETTINGS if flags & ACK != 0 => self.acks += 1,
            SETTINGS => {
                let settings = payload.as_chunks::<6>().0.iter();
                self.settings.extend(settings.map(|[a, b, value @ ..]| {
                    (u16::from_be_bytes([*a, *b]), u32::from_be_bytes(*value))
                }));
            }
            PING if flags & ACK != 0 => self.pongs += 1,
            PING => self.pings.push(payload),
            GOAWAY_FRAME => self.goaways.push((number(&payload), number(&payload[4..]))),
            WINDOW_UPDATE if id == 0 => self.allowed += u64::from(number(&payload)),
            WINDOW_UPDATE => stream.allowed += u64::from(number(&payload)),
            other => panic!("a frame of kind {other}"),
        }
    }

    fn continuations(&mut self, id: u32) {
        loop {
            let head = self.peer.exactly(9);
            let len = usize::from(head[1]) << 8 | usize::from(head[2]);
            assert_eq!((head[3], number(&head[5..])), (CONTINUATION, id));
            let more = self.peer.exactly(len);
            let stream = self.streams.get_mut(&id).unwrap();
            stream.heads.last_mut().unwrap().extend(more);
            if head[4] & END_HEADERS != 0 {
                return;
            }
        }
    }

    /// Takes frames until something holds; the connection may not end before it.
    pub(crate) fn until(&mut self, holds: impl Fn(&Self) -> bool) -> &mut Self {
        while !holds(self) {
            assert!(!self.over, "over: {:?} {:?}", self.goaways, self.streams);
            self.take();
        }
        self
    }

    /// What there is of a stream.
    pub(crate) fn of(&self, id: u32) -> Option<&Stream> {
        self.streams.get(&id)
    }

    /// What there is of a stream once it has come to an end.
    pub(crate) fn stream(&mut self, id: u32) -> &Stream {
        let ended = |stream: &Stream| stream.ended || stream.reset.is_some();
        self.until(|client| client.streams.get(&id).is_some_and(ended));
        &self.streams[&id]
    }

    /// Takes what was sent before the answer to a ping.
    pub(crate) fn settle(&mut self) -> &mut Self {
        let pongs = self.pongs;
        self.send(ping());
        self.until(|client| client.pongs > pongs)
    }

    /// The same, if the connection does not end before.
    pub(crate) fn settled(&mut self) -> Option<()> {
        let pongs = self.pongs;
        self.try_send(ping()).ok()?;
        self.comes(|client| client.pongs > pongs).then_some(())
    }

    /// Takes frames until something holds or the connection ends; whether it holds.
    pub(crate) fn comes(&mut self, holds: impl Fn(&Self) -> bool) -> bool {
        while !holds(self) && !self.over {
            self.take();
        }
        holds(self)
    }

    /// Closes the connection, with what is under way.
    pub(crate) fn leave(self, reset: bool) {
        if reset {
            self.peer.reset();
        }
    }

    /// The code of the GOAWAY that the connection ends with.
    pub(crate) fn fault(&mut self) -> u32 {
        while !self.over {
            self.take();
        }
        self.goaways.last().expect("a GOAWAY before the end").1
    }

    /// Asserts that requests are still answered: `GET /` with 200 as stream `id`.
    pub(crate) fn goes_on(&mut self, id: u32) {
        self.send(get(id, "/"));
        assert_eq!(self.stream(id).status(), 200);
        assert_eq!(self.goaways, []);
    }
}

impl Stream {
    /// Of those that the static table has.
    pub(crate) fn status(&self) -> u16 {
        let head = self.heads.first();
        let head = head.unwrap_or_else(|| panic!("no head: {self:?}"));
        status(head)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// The status that a header block begins with.
pub(crate) fn status(mut block: &[u8]) -> u16 {
    // Size updates of one or more bytes.
    while let [first @ 0x20..=0x3f, rest @ ..] = block {
        block = rest;
        while *first == 0x3f && block[0] & 0x80 != 0 {
            block = &block[1..];
        }
        if *first == 0x3f {
            block = &block[1..];
        }
    }
    let statuses = [200, 204, 206, 304, 400, 404, 500];
    let index = usize::from(block[0]).wrapping_sub(0x88);
    let status = statuses.get(index);
    *status.unwrap_or_else(|| panic!("another status: {block:?}"))
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes[..4].try_into().unwrap())
}

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY_FRAME: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

/// Of SETTINGS and PING.
pub(crate) const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PADDED: u8 = 8;
pub(crate) const WITH_PRIORITY: u8 = 0x20;

// Settings.
pub(crate) const HEADER_TABLE_SIZE: u16 = 1;
pub(crate) const ENABLE_PUSH: u16 = 2;
pub(crate) const MAX_CONCURRENT_STREAMS: u16 = 3;
pub(crate) const INITIAL_WINDOW_SIZE: u16 = 4;
pub(crate) const MAX_FRAME_SIZE: u16 = 5;
pub(crate) const ENABLE_CONNECT_PROTOCOL: u16 = 8;

// Error codes.
pub(crate) const NO_ERROR: u32 = 0;
pub(crate) const PROTOCOL_ERROR: u32 = 1;
pub(crate) const INTERNAL_ERROR: u32 = 2;
pub(crate) const FLOW_CONTROL_ERROR: u32 = 3;
pub(crate) const STREAM_CLOSED: u32 = 5;
pub(crate) const FRAME_SIZE_ERROR: u32 = 6;
pub(crate) const REFUSED_STREAM: u32 = 7;
pub(crate) const CANCEL: u32 = 8;
pub(crate) const COMPRESSION_ERROR: u32 = 9;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;
