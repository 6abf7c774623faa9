//! A response that is read as fast as its app gives it, whatever its client takes (product.md S26, S30).
//!
//! As long as the client keeps up, nothing is held: bytes go on as they do without it. What comes while the client is
//! stalled is spooled, and from then on all goes through the spool until that is empty.

use std::sync::Arc;
use std::task::{Context, Poll};

use super::send::write_chunk_size;
use super::{Chunks, Client, ExchangeError, Response, ResponsePart};
use crate::proxy::fields::{Fields, Known, OwnedFields};
use crate::spool::{BLOCK, Bounds, Room, Spool};

/// What has been read of a response and not been taken.
pub(super) struct Ahead {
    spool: Spool,
    /// What is behind that, once the app has nothing more to say.
    end: Option<End>,
}

enum End {
    Whole,
    Trailers(OwnedFields),
    /// The client gets what came before it, as if it had taken that in time.
    Failed(ExchangeError),
}

impl Ahead {
    pub(super) fn new(room: &Arc<Room>, bounds: Bounds) -> Self {
        Self {
            spool: Spool::new(room, bounds),
            end: None,
        }
    }

    /// Bytes that are held.
    pub(super) fn len(&self) -> u64 {
        self.spool.len()
    }

    /// Whether there is nothing else behind the bytes.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self.end, None | Some(End::Whole))
    }

    fn holds(&self) -> bool {
        !self.spool.is_empty() || self.end.is_some()
    }
}

impl Response {
    /// Reads on while the client is stalled, until there is nothing to read, or no room.
    pub(super) fn read_on<C: Client>(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut C,
        ahead: &mut Ahead,
    ) {
        for _ in 0..TURN {
            if ahead.end.is_some() {
                return;
            }
            let Some((block, room)) = ahead.spool.room(cx) else {
                // Nothing of the response can be taken; the request goes on.
                return self.send_on(cx, client);
            };
            let before = block.len();
            let part = self.poll_here(cx, client, block, Chunks::None, room);
            let count = block.len() - before;
            ahead.spool.grew(count);
            ahead.end = match part {
                Poll::Pending => return,
                Poll::Ready(Ok(ResponsePart::Data(_))) => None,
                Poll::Ready(Ok(ResponsePart::End)) => Some(End::Whole),
                Poll::Ready(Ok(ResponsePart::Trailers(trailers))) => Some(End::Trailers(trailers)),
                Poll::Ready(Err(error)) => {
                    self.give_up();
                    Some(End::Failed(error))
                }
            };
        }
        // Others have their turn.
        cx.waker().wake_by_ref();
    }

    /// As [`Response::poll_body`], by way of the spool where something is in it.
    pub(super) fn poll_ahead<C: Client>(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut C,
        ahead: &mut Ahead,
        out: &mut Vec<u8>,
        (chunks, room): (Chunks, usize),
    ) -> Poll<Result<ResponsePart, ExchangeError>> {
        if !ahead.holds() {
            return self.poll_here(cx, client, out, chunks, room);
        }
        self.read_on(cx, client, ahead);
        if room == 0 && !ahead.spool.is_empty() {
            return Poll::Ready(Ok(ResponsePart::Data(0)));
        }
        let framed = chunks == Chunks::Framed;
        let size = |out: &mut Vec<u8>, count| {
            if framed {
                write_chunk_size(out, count);
            }
        };
        match ahead.spool.poll_take(cx, out, room, size) {
            Poll::Ready(Ok(count @ 1..)) => {
                if framed {
                    out.extend_from_slice(b"\r\n");
                }
                Poll::Ready(Ok(ResponsePart::Data(count)))
            }
            Poll::Ready(Ok(0)) => match ahead.end.take() {
                None => Poll::Pending,
                Some(End::Whole) => {
                    ahead.end = Some(End::Whole);
                    Poll::Ready(Ok(ResponsePart::End))
                }
                Some(End::Trailers(trailers)) => {
                    ahead.end = Some(End::Whole);
                    Poll::Ready(Ok(ResponsePart::Trailers(trailers)))
                }
                Some(End::Failed(error)) => Poll::Ready(Err(error)),
            },
            Poll::Ready(Err(error)) => Poll::Ready(Err(ExchangeError::Spool(error))),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// Whether a response comes in pieces that somebody waits for, so that it is never held (product.md S28).
pub(crate) fn is_stream(fields: Fields<'_>) -> bool {
    let kind = fields
        .iter()
        .find(|f| f.name.eq_ignore_ascii_case(b"content-type"));
    let Some(kind) = kind else {
        return false;
    };
    let kind = kind.value.split(|byte| *byte == b';').next().unwrap_or(b"");
    let kind = kind.trim_ascii();
    let whole = STREAMS
        .iter()
        .any(|stream| kind.eq_ignore_ascii_case(stream));
    whole
        || kind
            .get(..GRPC.len())
            .is_some_and(|kind| kind.eq_ignore_ascii_case(GRPC))
}

/// What the app says of holding its response, in the words of nginx.
pub(crate) fn accel(fields: Fields<'_>) -> Option<bool> {
    match fields.get(Known::XAccelBuffering)?.trim_ascii() {
        yes if yes.eq_ignore_ascii_case(b"yes") => Some(true),
        no if no.eq_ignore_ascii_case(b"no") => Some(false),
        _ => None,
    }
}

const STREAMS: [&[u8]; 3] = [
    b"text/event-stream",
    b"multipart/x-mixed-replace",
    b"application/x-ndjson",
];
const GRPC: &[u8] = b"application/grpc";
/// Blocks that are filled before others have their turn.
const TURN: usize = (1 << 20) / BLOCK;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::head::RequestHead;

    #[test]
    fn streams_are_told_by_their_type() {
        for (kind, expected) in [
            ("text/event-stream", true),
            ("Text/Event-Stream ; charset=utf-8", true),
            ("application/grpc", true),
            ("application/grpc-web+proto", true),
            ("multipart/x-mixed-replace; boundary=x", true),
            ("application/x-ndjson", true),
            ("text/html", false),
            ("text/event-streams", false),
            ("application/json", false),
            ("", false),
        ] {
            let head = RequestHead::get("/", &[("Content-Type", kind)]);
            assert_eq!(is_stream(head.fields()), expected, "{kind}");
        }
        assert!(!is_stream(RequestHead::get("/", &[]).fields()));
    }

    #[test]
    fn an_app_may_say_yes_or_no() {
        for (said, expected) in [("no", Some(false)), ("YES", Some(true)), ("maybe", None)] {
            let head = RequestHead::get("/", &[("X-Accel-Buffering", said)]);
            assert_eq!(accel(head.fields()), expected, "{said}");
        }
        assert_eq!(accel(RequestHead::get("/", &[]).fields()), None);
    }
}
