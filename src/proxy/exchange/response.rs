//! The response, read as its client can take it.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::BufMut;
use http::StatusCode;
use tokio_util::io::poll_read_buf;

use super::{Client, Exchange, ExchangeError, Waiting, write_chunk_size};
use crate::proxy::fields::{Fields, OwnedFields};
use crate::proxy::h1::{Decoder, Framing, Piece, ResponseError};
use crate::proxy::headers::{Extra, NO_EXTRA};
use crate::proxy::pipe::{Pipe, WORTH};

/// A response under way: its head, and its body as it comes.
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) framing: Framing,
    /// `None` after the end, when the connection is back in its pool or closed.
    exchange: Option<Box<Exchange>>,
    decoder: Decoder,
    keep_alive: bool,
}

/// How data is appended for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Chunks {
    /// As it is.
    None,
    /// In chunks (RFC 9112 section 7.1).
    Framed,
}

/// What [`Response::poll_body`] did.
pub(crate) enum ResponsePart {
    /// Appended so many bytes of data, with their framing.
    Data(usize),
    /// The end, with trailers.
    Trailers(OwnedFields),
    End,
}

impl Response {
    /// A final head has been found at the start of what `exchange` has read; it stays there until
    /// [`Response::take_head`].
    pub(crate) fn new(mut exchange: Box<Exchange>) -> Self {
        exchange.release();
        exchange.responding = true;
        Self {
            status: exchange.head.status,
            framing: exchange.head.framing,
            decoder: Decoder::new(exchange.head.framing),
            keep_alive: exchange.head.keep_alive,
            exchange: Some(exchange),
        }
    }

    /// The fields and the reason phrase, before [`Response::take_head`].
    pub(crate) fn head(&self) -> Option<(Fields<'_>, &[u8])> {
        let exchange = self.exchange.as_ref()?;
        let reason = exchange.head.reason(exchange.head_text());
        Some((exchange.fields(), reason))
    }

    /// See [`Exchange::extra`]; before [`Response::take_head`].
    pub(crate) fn extra(&self) -> &Extra {
        self.exchange.as_ref().map_or(&NO_EXTRA, |e| &e.extra)
    }

    /// Goes on to the body.
    pub(crate) fn take_head(&mut self) {
        if let Some(exchange) = &mut self.exchange {
            exchange.take_head();
        }
    }

    /// Bytes left of the body, when that is known.
    pub(crate) fn remaining(&self) -> Option<u64> {
        self.decoder.remaining()
    }

    /// Whether the last byte was handed out.
    pub(crate) fn is_done(&self) -> bool {
        self.decoder.is_done()
    }

    /// Whether all that is left of the body has already been read, together with the head.
    pub(crate) fn is_here(&self) -> bool {
        let read = self.exchange.as_ref().map(|e| e.link.unread().len() as u64);
        match (self.decoder.remaining(), read) {
            (Some(left), Some(read)) => left <= read,
            (left, _) => left == Some(0),
        }
    }

    /// After the last byte: the connection goes back to its pool if it may be used again.
    pub(crate) fn finish<C: Client>(&mut self, cx: &mut Context<'_>, client: &mut C) {
        let Some(mut exchange) = self.exchange.take() else {
            return;
        };
        let sent = matches!(exchange.poll_send(cx, client), Poll::Ready(Ok(())));
        self.give_back(exchange, sent);
    }

    fn give_back(&self, exchange: Box<Exchange>, sent: bool) {
        let clean =
            sent && self.keep_alive && self.decoder.is_done() && exchange.link.unread().is_empty();
        let Exchange {
            worker,
            endpoint,
            mut link,
            keepalive,
            ..
        } = *exchange;
        link.give_back(&worker.buffers);
        if clean {
            worker.pool.put(endpoint, link, &keepalive);
        }
    }

    /// Nobody gets it. Its connection is used again where all of it is here already, as short ones are,
    /// and closed where more would have to be waited for.
    pub(crate) fn discard(mut self) {
        self.take_head();
        let Some(mut exchange) = self.exchange.take() else {
            return;
        };
        while let Ok(step) = self.decoder.decode(exchange.link.unread(), usize::MAX) {
            exchange.link.consume(step.skip);
            match step.piece {
                Piece::Data(len) => exchange.link.consume(len),
                Piece::Trailers(_) | Piece::Done | Piece::Starved => break,
            }
        }
        let sent = exchange.is_sent() && !exchange.broken;
        self.give_back(exchange, sent);
    }

    /// The rest of the request goes on, while nothing of the body can be taken.
    pub(crate) fn go_on<C: Client>(&mut self, cx: &mut Context<'_>, client: &mut C) {
        if let Some(exchange) = &mut self.exchange {
            let _ = exchange.poll_send(cx, client);
        }
    }

    /// Appends the next part of the body to `out`, up to about `room` bytes. The rest of the request
    /// goes on meanwhile. Without any room only an end is found, and `Data(0)` where there is more.
    pub(crate) fn poll_body<C: Client>(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut C,
        out: &mut Vec<u8>,
        chunks: Chunks,
        room: usize,
    ) -> Poll<Result<ResponsePart, ExchangeError>> {
        let unusable = |error| ExchangeError::Response(ResponseError::Body(error));
        loop {
            let Some(exchange) = &mut self.exchange else {
                return Poll::Ready(Ok(ResponsePart::End));
            };
            let step = self.decoder.decode(exchange.link.unread(), room);
            let step = step.map_err(unusable)?;
            exchange.link.consume(step.skip);
            match step.piece {
                Piece::Data(len) => {
                    let data = &exchange.link.unread()[..len];
                    match chunks {
                        Chunks::None => out.extend_from_slice(data),
                        Chunks::Framed => {
                            write_chunk_size(out, len);
                            out.extend_from_slice(data);
                            out.extend_from_slice(b"\r\n");
                        }
                    }
                    exchange.link.consume(len);
                    self.gave(cx, client);
                    return Poll::Ready(Ok(ResponsePart::Data(len)));
                }
                Piece::Trailers(trailers) => {
                    self.finish(cx, client);
                    return Poll::Ready(Ok(ResponsePart::Trailers(trailers)));
                }
                Piece::Done => {
                    self.finish(cx, client);
                    return Poll::Ready(Ok(ResponsePart::End));
                }
                Piece::Starved => {}
            }
            // The rest of the request goes on while the response comes; its failure alone does not
            // end a response that is already under way.
            let _ = exchange.poll_send(cx, client);
            let direct = match chunks {
                Chunks::None if room > 0 => self.decoder.direct(),
                _ => None,
            };
            let before = out.len();
            let read = match direct {
                Some(left) if exchange.link.unread().is_empty() => {
                    let room = usize::try_from(left).map_or(room, |left| left.min(room));
                    out.reserve(room);
                    let stream = Pin::new(&mut exchange.link.stream);
                    poll_read_buf(stream, cx, &mut out.limit(room))
                }
                _ => exchange.link.poll_read(cx, &exchange.worker.buffers),
            };
            match read {
                Poll::Ready(Ok(0)) => {
                    self.keep_alive = false;
                    self.decoder.end().map_err(unusable)?;
                }
                Poll::Ready(Ok(_)) => {
                    exchange.read_something();
                    let came = out.len() - before;
                    if came > 0 {
                        self.decoder.passed(came as u64);
                        self.gave(cx, client);
                        return Poll::Ready(Ok(ResponsePart::Data(came)));
                    }
                }
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(Err(ExchangeError::Closed(Some(error))));
                }
                Poll::Pending => {
                    exchange.wait_for(Waiting::Read);
                    return exchange.poll_deadline(cx).map(Err);
                }
            }
        }
    }

    /// Whether so much of the body is left to be passed on as it is that a pipe pays.
    pub(crate) fn is_spliceable(&self) -> bool {
        let Some(link) = self.exchange.as_ref().map(|exchange| &exchange.link) else {
            return false;
        };
        let plain = link.stream.plain().is_some() && link.unread().is_empty();
        plain && self.decoder.direct().is_some_and(|left| left >= WORTH)
    }

    /// Like [`Response::poll_body`], into an empty pipe.
    pub(crate) fn poll_splice<C: Client>(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut C,
        pipe: &mut Pipe,
    ) -> Poll<Result<ResponsePart, ExchangeError>> {
        let (Some(exchange), Some(left)) = (&mut self.exchange, self.decoder.direct()) else {
            return Poll::Ready(Ok(ResponsePart::End));
        };
        let _ = exchange.poll_send(cx, client);
        let Some(socket) = exchange.link.stream.plain() else {
            return Poll::Ready(Ok(ResponsePart::Data(0)));
        };
        match pipe.poll_fill(cx, socket, left) {
            Poll::Ready(Ok(0)) => {
                self.keep_alive = false;
                let ended = self.decoder.end();
                ended.map_err(|error| ExchangeError::Response(ResponseError::Body(error)))?;
                self.finish(cx, client);
                Poll::Ready(Ok(ResponsePart::End))
            }
            Poll::Ready(Ok(count)) => {
                exchange.read_something();
                self.decoder.passed(count as u64);
                self.gave(cx, client);
                Poll::Ready(Ok(ResponsePart::Data(count)))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(ExchangeError::Closed(Some(error)))),
            Poll::Pending => {
                exchange.wait_for(Waiting::Read);
                exchange.poll_deadline(cx).map(Err)
            }
        }
    }

    /// Data was handed out: after the last of it nothing is left to wait for.
    fn gave<C: Client>(&mut self, cx: &mut Context<'_>, client: &mut C) {
        if self.decoder.is_done() {
            self.finish(cx, client);
        } else if let Some(exchange) = &mut self.exchange {
            // The client may take its time now; the endpoint is not to blame for that.
            exchange.wait_for(Waiting::Nothing);
        }
    }
}
