//! HTTP/2 as bytes to send on a [`super::peer::Peer`], for clients that keep silent where a library
//! would answer, and for events that must arrive in one order.

/// Opens a connection: the preface and empty settings.
pub(crate) const PREFACE: &str = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// How a GOAWAY of the server begins, whatever its last stream and reason.
pub(crate) const GOAWAY: &str = "\0\0\x08\x07\0\0\0\0\0";

/// A request for `http://a.test/` as stream 1; `last` when it has no body.
pub(crate) fn request(method: &str, fields: &[(&str, &str)], last: bool) -> Vec<u8> {
    let pseudo = [
        (":method", method),
        (":scheme", "http"),
        (":authority", "a.test"),
        (":path", "/"),
    ];
    let fields = pseudo.iter().chain(fields);
    // Literals with new names, never indexed, so no table is needed.
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let block = fields.flat_map(|(name, value)| [vec![0], text(name), text(value)].concat());
    const END_HEADERS: u8 = 4;
    frame(1, END_HEADERS | u8::from(last), &block.collect::<Vec<_>>())
}

/// A part of the body of stream 1.
pub(crate) fn data(part: &str) -> Vec<u8> {
    frame(0, 0, part.as_bytes())
}

/// Takes stream 1 back, and calls that no error.
pub(crate) fn reset_without_error() -> Vec<u8> {
    frame(3, 0, &[0; 4])
}

/// Asks for an answer that is no response.
pub(crate) fn ping() -> Vec<u8> {
    let mut ping = frame(6, 0, &[0; 8]);
    // Of the connection, not of a stream.
    ping[8] = 0;
    ping
}

fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [&length[1..], &[kind, flags, 0, 0, 0, 1]].concat();
    [&head, payload].concat()
}
