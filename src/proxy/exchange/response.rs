//! The response, read as its client can take it; where the route says so, ahead of it ([`super::ahead`]).

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::BufMut;
use http::StatusCode;
use tokio_util::io::poll_read_buf;

use super::ahead::Ahead;
use super::coded::Coded;
use super::course::{Course, Waiting};
use super::{Client, Exchange, ExchangeError, LinkExchange, write_chunk_size};
use crate::proxy::encoder::Encoder;
use crate::proxy::fields::{Fields, OwnedFields};
use crate::proxy::h1::{BodyError, Decoder, Framing, Piece, ResponseError};
use crate::proxy::headers::{Extra, NO_EXTRA};
use crate::proxy::pipe::{Pipe, WORTH};
use crate::proxy::tries::Tries;
use crate::spool::Bounds;

/// A response under way: its head, and its body as it comes.
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) framing: Framing,
    /// `None` after the end, when the connection is back in its pool or closed.
    exchange: Option<Box<Exchange>>,
    decoder: Decoder,
    keep_alive: bool,
    /// Somebody wants to know when it has ended.
    pub(crate) timed: bool,
    ended: Option<Instant>,
    /// Of the client's body, see [`Course::taken`](super::Course::taken).
    taken: u64,
    /// What it passes on its way.
    pub(super) coded: Option<Box<Coded>>,
    /// Where it is read ahead of its client.
    ahead: Option<Box<Ahead>>,
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
            decoder: match (&*exchange, exchange.head.framing) {
                (Exchange::Link(_), framing) => Decoder::new(framing),
                (Exchange::Call(_), Framing::Empty) => Decoder::Done,
                (Exchange::Call(_), Framing::Length(length @ 1..)) => Decoder::Length(length),
                // The stream says where it ends.
                (Exchange::Call(_), _) => Decoder::Close,
            },
            keep_alive: exchange.head.keep_alive,
            timed: false,
            ended: None,
            taken: 0,
            coded: None,
            exchange: Some(exchange),
            ahead: None,
        }
    }

    /// From here on its body is read as fast as the app gives it, and what its client does not take meanwhile is held.
    /// What has come with its head already needs none of that.
    pub(crate) fn read_ahead(&mut self, bounds: Bounds) {
        let Some(exchange) = self.exchange.as_deref() else {
            return;
        };
        let read = match exchange {
            Exchange::Link(link) => link.link.unread().len().saturating_sub(link.head.len),
            Exchange::Call(call) => call.available(),
        };
        let left = self.decoder.remaining();
        if left.is_none_or(|left| left > read as u64) {
            let room = &exchange.worker.engine.room;
            self.ahead = Some(Box::new(Ahead::new(room, bounds)));
        }
    }

    /// Whether it is read ahead of its client.
    pub(crate) fn is_ahead(&self) -> bool {
        self.ahead.is_some()
    }

    /// Whether it is, and the app is done with it.
    pub(crate) fn is_all_read(&self) -> bool {
        self.ahead.is_some() && self.exchange.is_none()
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

    /// The same, to be added to. Nobody looks at it once the answer has ended.
    pub(crate) fn extra_mut(&mut self) -> Option<&mut Extra> {
        Some(&mut self.exchange.as_mut()?.extra)
    }

    /// Changes what is added to the fields; before [`Response::take_head`].
    pub(crate) fn edit(&mut self, edit: impl FnOnce(Fields<'_>, &mut Extra)) {
        if let Some(exchange) = &mut self.exchange {
            let mut extra = std::mem::take(&mut exchange.extra);
            edit(exchange.fields(), &mut extra);
            exchange.extra = extra;
        }
    }

    /// Sends its body through an encoder; before anything of it is read.
    pub(crate) fn compress(&mut self, encoder: Encoder) {
        let Some(exchange) = &self.exchange else {
            return;
        };
        // As long as it turns out.
        self.framing = Framing::Chunked;
        self.coded = Some(Box::new(Coded::new(encoder, &exchange.worker)));
    }

    /// Goes on to the body.
    pub(crate) fn take_head(&mut self) {
        if let Some(exchange) = &mut self.exchange {
            exchange.take_head();
        }
    }

    /// Bytes left of the body, when that is known.
    pub(crate) fn remaining(&self) -> Option<u64> {
        let left = self.decoder.remaining();
        match (&self.coded, &self.ahead) {
            (None, None) => left,
            (None, Some(ahead)) if ahead.is_plain() => left.map(|left| left + ahead.len()),
            _ => None,
        }
    }

    /// Whether the last byte was handed out.
    pub(crate) fn is_done(&self) -> bool {
        let plain = |ahead: &Ahead| ahead.is_plain() && ahead.len() == 0;
        match &self.coded {
            None => self.decoder.is_done() && self.ahead.as_deref().is_none_or(plain),
            Some(coded) => coded.is_done(),
        }
    }

    /// Whether all that is left of the body has already been read, together with the head.
    pub(crate) fn is_here(&self) -> bool {
        let read = self.exchange.as_deref().map(|exchange| match exchange {
            Exchange::Link(exchange) => exchange.link.unread().len() as u64,
            Exchange::Call(exchange) => exchange.available() as u64,
        });
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
        self.ends(exchange.taken());
        let sent = match &mut *exchange {
            Exchange::Link(link) => matches!(link.poll_send(cx, client), Poll::Ready(Ok(()))),
            // What is left of the request, if anything, is not needed.
            Exchange::Call(call) => {
                if !call.is_sent() {
                    call.go_on(cx, client);
                }
                true
            }
        };
        self.give_back(exchange, sent);
    }

    /// What the access line has to say of it, once nothing more will be read.
    pub(crate) fn note(&self, tries: &mut Tries) {
        let taken = self.exchange.as_ref().map(|exchange| exchange.taken());
        tries.taken += taken.unwrap_or(self.taken);
        tries.ended(self.ended);
    }

    /// Hands on the connection, where the exchange had one of its own. Only what is needed is moved out of the box.
    fn give_back(&self, exchange: Box<Exchange>, sent: bool) {
        let Exchange::Link(LinkExchange {
            mut link,
            course:
                Course {
                    worker,
                    endpoint,
                    keepalive,
                    ..
                },
            ..
        }) = *exchange
        else {
            return;
        };
        let clean = sent && self.keep_alive && self.decoder.is_done() && link.unread().is_empty();
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
        let Exchange::Link(LinkExchange { link, .. }) = &mut *exchange else {
            return;
        };
        while let Ok(step) = self.decoder.decode(link.unread(), usize::MAX) {
            link.consume(step.skip);
            match step.piece {
                Piece::Data(len) => link.consume(len),
                Piece::Trailers(_) | Piece::Done | Piece::Starved => break,
            }
        }
        let sent = match &*exchange {
            Exchange::Link(exchange) => exchange.is_sent() && !exchange.broken,
            Exchange::Call(_) => true,
        };
        self.give_back(exchange, sent);
    }

    /// The client takes nothing of the body for now: the rest of the request goes on, and what is read ahead.
    pub(crate) fn go_on<C: Client>(&mut self, cx: &mut Context<'_>, client: &mut C) {
        let Some(mut ahead) = self.ahead.take() else {
            return self.send_on(cx, client);
        };
        self.read_on(cx, client, &mut ahead);
        self.ahead = Some(ahead);
    }

    /// Nothing more is read of it.
    pub(super) fn give_up(&mut self) {
        if let Some(exchange) = self.exchange.take() {
            self.ends(exchange.taken());
        }
    }

    fn ends(&mut self, taken: u64) {
        self.taken = taken;
        if self.timed {
            self.ended = Some(Instant::now());
        }
    }

    /// The rest of the request goes on.
    pub(super) fn send_on<C: Client>(&mut self, cx: &mut Context<'_>, client: &mut C) {
        match self.exchange.as_deref_mut() {
            Some(Exchange::Link(exchange)) => {
                let _ = exchange.poll_send(cx, client);
            }
            Some(Exchange::Call(exchange)) => exchange.go_on(cx, client),
            None => {}
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
        match self.coded {
            None => self.poll_plain(cx, client, out, chunks, room),
            Some(_) => self.poll_coded(cx, client, out, chunks, room),
        }
    }

    /// The same, as the upstream sends it.
    pub(super) fn poll_plain<C: Client>(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut C,
        out: &mut Vec<u8>,
        chunks: Chunks,
        room: usize,
    ) -> Poll<Result<ResponsePart, ExchangeError>> {
        let Some(mut ahead) = self.ahead.take() else {
            return self.poll_here(cx, client, out, chunks, room);
        };
        let part = self.poll_ahead(cx, client, &mut ahead, out, (chunks, room));
        self.ahead = Some(ahead);
        part
    }

    /// The same, past what is read ahead.
    pub(super) fn poll_here<C: Client>(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut C,
        out: &mut Vec<u8>,
        chunks: Chunks,
        room: usize,
    ) -> Poll<Result<ResponsePart, ExchangeError>> {
        let decoder = &mut self.decoder;
        let part = match self.exchange.as_deref_mut() {
            None => return Poll::Ready(Ok(ResponsePart::End)),
            Some(Exchange::Call(exchange)) => {
                ready!(exchange.poll_body(cx, client, decoder, out, (chunks, room)))?
            }
            Some(Exchange::Link(exchange)) => {
                let keep = &mut self.keep_alive;
                let body = (decoder, keep);
                ready!(exchange.poll_body(cx, client, body, out, (chunks, room)))?
            }
        };
        match part {
            ResponsePart::Data(_) => self.gave(cx, client),
            ResponsePart::Trailers(_) | ResponsePart::End => self.finish(cx, client),
        }
        Poll::Ready(Ok(part))
    }

    /// Whether so much of the body is left to be passed on as it is that a pipe pays.
    pub(crate) fn is_spliceable(&self) -> bool {
        let Some(Exchange::Link(exchange)) = self.exchange.as_deref() else {
            return false;
        };
        let plain = self.coded.is_none()
            && self.ahead.is_none()
            && exchange.link.stream.plain().is_some()
            && exchange.link.unread().is_empty();
        plain && self.decoder.direct().is_some_and(|left| left >= WORTH)
    }

    /// Like [`Response::poll_body`], into an empty pipe.
    pub(crate) fn poll_splice<C: Client>(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut C,
        pipe: &mut Pipe,
    ) -> Poll<Result<ResponsePart, ExchangeError>> {
        let (Some(Exchange::Link(exchange)), Some(left)) =
            (self.exchange.as_deref_mut(), self.decoder.direct())
        else {
            return Poll::Ready(Ok(ResponsePart::End));
        };
        let _ = exchange.poll_send(cx, client);
        let Some(socket) = exchange.link.stream.plain() else {
            return Poll::Ready(Ok(ResponsePart::Data(0)));
        };
        match pipe.poll_fill(cx, socket, left) {
            Poll::Ready(Ok(0)) => {
                self.keep_alive = false;
                self.decoder.end().map_err(unusable)?;
                self.finish(cx, client);
                Poll::Ready(Ok(ResponsePart::End))
            }
            Poll::Ready(Ok(count)) => {
                exchange.course.read_something();
                self.decoder.passed(count as u64);
                self.gave(cx, client);
                Poll::Ready(Ok(ResponsePart::Data(count)))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(ExchangeError::Closed(Some(error)))),
            Poll::Pending => {
                exchange.wait_for_more();
                exchange.poll_deadline(cx).map(Err)
            }
        }
    }

    /// Data was handed out: after the last of it nothing is left to wait for.
    fn gave<C: Client>(&mut self, cx: &mut Context<'_>, client: &mut C) {
        if self.decoder.is_done() {
            return self.finish(cx, client);
        }
        self.wait_for_nobody();
    }

    /// The client may take its time now; the endpoint is not to blame for that.
    pub(super) fn wait_for_nobody(&mut self) {
        match self.exchange.as_deref_mut() {
            Some(Exchange::Link(exchange)) => exchange.wait_for_nobody(),
            Some(Exchange::Call(exchange)) => exchange.wait_for_nobody(),
            None => {}
        }
    }
}

impl LinkExchange {
    fn poll_body<C: Client>(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut C,
        (decoder, keep_alive): (&mut Decoder, &mut bool),
        out: &mut Vec<u8>,
        (chunks, room): (Chunks, usize),
    ) -> Poll<Result<ResponsePart, ExchangeError>> {
        loop {
            let step = decoder.decode(self.link.unread(), room).map_err(unusable)?;
            self.link.consume(step.skip);
            match step.piece {
                Piece::Data(len) => {
                    let data = &self.link.unread()[..len];
                    match chunks {
                        Chunks::None => out.extend_from_slice(data),
                        Chunks::Framed => {
                            write_chunk_size(out, len);
                            out.extend_from_slice(data);
                            out.extend_from_slice(b"\r\n");
                        }
                    }
                    self.link.consume(len);
                    return Poll::Ready(Ok(ResponsePart::Data(len)));
                }
                Piece::Trailers(trailers) => {
                    return Poll::Ready(Ok(ResponsePart::Trailers(trailers)));
                }
                Piece::Done => return Poll::Ready(Ok(ResponsePart::End)),
                Piece::Starved => {}
            }
            // The rest of the request goes on while the response comes; its failure alone does not
            // end a response that is already under way.
            let _ = self.poll_send(cx, client);
            let direct = match chunks {
                Chunks::None if room > 0 => decoder.direct(),
                _ => None,
            };
            let before = out.len();
            let read = match direct {
                Some(left) if self.link.unread().is_empty() => {
                    let room = usize::try_from(left).map_or(room, |left| left.min(room));
                    out.reserve(room);
                    let stream = Pin::new(&mut self.link.stream);
                    poll_read_buf(stream, cx, &mut out.limit(room))
                }
                _ => self.link.poll_read(cx, &self.course.worker.buffers),
            };
            match read {
                Poll::Ready(Ok(0)) => {
                    *keep_alive = false;
                    decoder.end().map_err(unusable)?;
                }
                Poll::Ready(Ok(_)) => {
                    self.course.read_something();
                    let came = out.len() - before;
                    if came > 0 {
                        decoder.passed(came as u64);
                        return Poll::Ready(Ok(ResponsePart::Data(came)));
                    }
                }
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(Err(ExchangeError::Closed(Some(error))));
                }
                Poll::Pending => {
                    self.wait_for_more();
                    return self.poll_deadline(cx).map(Err);
                }
            }
        }
    }

    fn wait_for_more(&mut self) {
        self.course.wait_for(&self.link.timer, Waiting::Read);
    }

    fn wait_for_nobody(&mut self) {
        self.course.wait_for(&self.link.timer, Waiting::Nothing);
    }

    fn poll_deadline(&self, cx: &mut Context<'_>) -> Poll<ExchangeError> {
        self.course.poll_deadline(&self.link.timer, cx)
    }
}

fn unusable(error: BodyError) -> ExchangeError {
    ExchangeError::Response(ResponseError::Body(error))
}
