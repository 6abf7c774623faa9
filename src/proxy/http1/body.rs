//! The client's side of an exchange: its body, its interim responses, its leaving.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::BufMut;
use tokio_util::io::poll_read_buf;

use super::Connection;
use crate::proxy::buffers::SMALL;
use crate::proxy::exchange::{Client, ExchangeError, Part};
use crate::proxy::h1::{Piece, ResponseHead};
use crate::proxy::headers;

impl Client for Connection {
    fn body_ended(&self) -> bool {
        self.body.is_done()
    }

    fn has_much(&self) -> bool {
        self.body.direct().is_some_and(|left| left > SMALL as u64)
    }

    fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Vec<u8>,
        room: usize,
    ) -> Poll<Result<Part, ExchangeError>> {
        let bad = ExchangeError::ClientBody;
        loop {
            let step = self.decode(room).map_err(bad)?;
            self.consume(step.skip);
            match step.piece {
                Piece::Data(len) => {
                    out.extend_from_slice(&self.unread()[..len]);
                    self.consume(len);
                    return Poll::Ready(Ok(Part::Appended));
                }
                Piece::Trailers(trailers) => return Poll::Ready(Ok(Part::Trailers(trailers))),
                Piece::Done => return Poll::Ready(Ok(Part::End)),
                Piece::Starved => {}
            }
            if self.expects && self.unread().is_empty() {
                self.lend_out();
                self.out.extend_from_slice(CONTINUE);
            }
            self.expects = false;
            if self.out_at < self.out.len() {
                match self.poll_flush(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(ExchangeError::ClientGone)),
                    Poll::Pending => return Poll::Pending,
                }
            }
            let read = match self.body.direct() {
                Some(left) if self.unread().is_empty() && !self.ended => {
                    let room = usize::try_from(left).map_or(room, |left| left.min(room));
                    out.reserve(room);
                    poll_read_buf(Pin::new(&mut self.stream), cx, &mut out.limit(room))
                }
                Some(_) | None => self.poll_fill(cx),
            };
            match read {
                Poll::Ready(Ok(0) | Err(_)) => {
                    self.ended = true;
                    return Poll::Ready(Err(ExchangeError::ClientGone));
                }
                Poll::Ready(Ok(count)) if self.unread().is_empty() => {
                    self.body.passed(count as u64);
                    return Poll::Ready(Ok(Part::Appended));
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn send_interim(&mut self, head: &ResponseHead, text: &[u8]) {
        if self.hints && self.out.len() + head.len <= MAX_INTERIM {
            self.lend_out();
            headers::write_interim(&mut self.out, head, text);
        }
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.out_at < self.out.len()
            && let Poll::Ready(Err(_)) = self.poll_flush(cx)
        {
            return Poll::Ready(());
        }
        // Its body is read as the upstream takes it; an end shows there.
        if !self.body.is_done() {
            return Poll::Pending;
        }
        // What comes behind the request is the next one, of which so much is taken already.
        while self.unread().len() < MAX_AHEAD {
            match self.poll_fill(cx) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => {
                    if self.unread().is_empty() {
                        self.worker.buffers.reclaim(&mut self.ahead);
                    }
                    break;
                }
            }
        }
        Poll::Pending
    }
}

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// Interim responses waiting at once.
const MAX_INTERIM: usize = 16 * 1024;
/// Bytes of further requests read while one is under way.
const MAX_AHEAD: usize = 16 * 1024;
