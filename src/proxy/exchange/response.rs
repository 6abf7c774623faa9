//! The response body, read as hyper asks for it.

use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::Frame;

use super::{Exchange, ExchangeError, HEAD_READ, Waiting};
use crate::proxy::h1::{Decoder, Framing, Piece};

/// The response body of an exchange.
pub(crate) struct ResponseBody {
    /// `None` after the end, when the connection is back in its pool or closed.
    exchange: Option<Exchange>,
    decoder: Decoder,
    keep_alive: bool,
}

impl ResponseBody {
    pub(crate) fn new(mut exchange: Exchange, framing: Framing, keep_alive: bool) -> Self {
        exchange.responding = true;
        Self {
            exchange: Some(exchange),
            decoder: Decoder::new(framing),
            keep_alive,
        }
    }

    /// Bytes left, when that is known.
    pub(crate) fn remaining(&self) -> Option<u64> {
        self.decoder.remaining()
    }

    /// Whether the last byte was handed out.
    pub(crate) fn is_done(&self) -> bool {
        self.decoder.is_done()
    }

    /// The whole body, when it has already been read together with the head.
    pub(crate) fn take_whole(&mut self) -> Option<Bytes> {
        let left = usize::try_from(self.decoder.remaining()?).ok()?;
        let exchange = self.exchange.as_mut()?;
        if exchange.link.read.len() < left {
            return None;
        }
        match self.decoder.decode(&mut exchange.link.read) {
            Ok(Piece::Data(data)) => Some(data),
            _ => Some(Bytes::new()),
        }
    }

    /// After the last byte: the connection goes back to its pool if it may be used again.
    pub(crate) fn finish(&mut self, cx: &mut Context<'_>) {
        let Some(mut exchange) = self.exchange.take() else {
            return;
        };
        let sent = exchange.poll_send(cx);
        if matches!(sent, Poll::Ready(Ok(())))
            && self.keep_alive
            && self.decoder.is_done()
            && exchange.link.read.is_empty()
        {
            let Exchange {
                worker,
                endpoint,
                link,
                ..
            } = exchange;
            worker.pool.put(endpoint, link);
        }
    }

    /// The next piece; `None` at the end.
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ExchangeError>>> {
        loop {
            let Some(exchange) = &mut self.exchange else {
                return Poll::Ready(None);
            };
            let frame = match self.decoder.decode(&mut exchange.link.read) {
                Ok(Piece::Data(data)) => Some(Frame::data(data)),
                Ok(Piece::Trailers(fields)) => Some(Frame::trailers(fields)),
                Ok(Piece::Done) => {
                    self.finish(cx);
                    return Poll::Ready(None);
                }
                Ok(Piece::Starved) => None,
                Err(error) => return Poll::Ready(Some(Err(ExchangeError::Response(error)))),
            };
            if let Some(frame) = frame {
                if self.decoder.is_done() {
                    self.finish(cx);
                } else {
                    // hyper may take its time now; the endpoint is not to blame for that.
                    exchange.wait_for(Waiting::Nothing);
                }
                return Poll::Ready(Some(Ok(frame)));
            }
            // The rest of the request goes on while the response comes; its failure alone does not
            // end a response that is already under way.
            let _ = exchange.poll_send(cx);
            let room = match self.decoder.remaining() {
                // An HTTP/2 connection has up to 128 of these at once.
                _ if exchange.http2 => STREAM_READ,
                Some(left) => usize::try_from(left).map_or(LARGE, |left| left.min(LARGE)),
                None => STREAM_READ,
            };
            match exchange.poll_read(cx, room.max(HEAD_READ)) {
                Poll::Ready(Ok(0)) => {
                    self.keep_alive = false;
                    if let Err(error) = self.decoder.end() {
                        return Poll::Ready(Some(Err(ExchangeError::Response(error))));
                    }
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(Some(Err(ExchangeError::Closed(Some(error)))));
                }
                Poll::Pending => {
                    exchange.wait_for(Waiting::Read);
                    return exchange.poll_deadline(cx).map(|error| Some(Err(error)));
                }
            }
        }
    }
}

/// Reads of a body whose length is not known.
const STREAM_READ: usize = 16 * 1024;
/// Reads of a large body.
const LARGE: usize = 128 * 1024;
