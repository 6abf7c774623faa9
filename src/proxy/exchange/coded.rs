//! A response that is compressed on its way.

use std::rc::Rc;
use std::task::{Context, Poll};

use super::response::{Chunks, Response, ResponsePart};
use super::{Client, ExchangeError, write_chunk_size};
use crate::proxy::encoder::Encoder;
use crate::proxy::fields::OwnedFields;
use crate::proxy::worker::Worker;

/// What is between the upstream and the client.
pub(super) struct Coded {
    encoder: Encoder,
    worker: Rc<Worker>,
    /// Read and not taken in yet, from `at` on. Lent while it holds anything.
    plain: Vec<u8>,
    at: usize,
    /// The upstream has sent all of it.
    over: bool,
    trailers: Option<OwnedFields>,
}

impl Coded {
    pub(super) fn new(encoder: Encoder, worker: &Rc<Worker>) -> Self {
        Self {
            encoder,
            worker: Rc::clone(worker),
            plain: Vec::new(),
            at: 0,
            over: false,
            trailers: None,
        }
    }

    /// Whether the last byte was handed out, and nothing comes behind it.
    pub(super) fn is_done(&self) -> bool {
        self.encoder.is_done() && self.trailers.is_none()
    }

    /// Hands out what was let out.
    fn give(&mut self, out: &mut Vec<u8>, chunks: Chunks, room: usize) -> usize {
        let count = self.encoder.data().len().min(room);
        let data = &self.encoder.data()[..count];
        match chunks {
            Chunks::None => out.extend_from_slice(data),
            Chunks::Framed => {
                write_chunk_size(out, count);
                out.extend_from_slice(data);
                out.extend_from_slice(b"\r\n");
            }
        }
        self.encoder.consume(count);
        count
    }
}

impl Drop for Coded {
    fn drop(&mut self) {
        self.worker.buffers.give(std::mem::take(&mut self.plain));
    }
}

impl Response {
    /// Like [`Response::poll_body`]. Whenever the upstream has nothing more at hand, all that it has sent is let out:
    /// an event is never held back until the next.
    pub(super) fn poll_coded<C: Client>(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut C,
        out: &mut Vec<u8>,
        chunks: Chunks,
        room: usize,
    ) -> Poll<Result<ResponsePart, ExchangeError>> {
        let Some(mut coded) = self.coded.take() else {
            return Poll::Ready(Ok(ResponsePart::End));
        };
        let part = self.poll_encoder(&mut coded, cx, client, out, (chunks, room));
        self.coded = Some(coded);
        part
    }

    fn poll_encoder<C: Client>(
        &mut self,
        coded: &mut Coded,
        cx: &mut Context<'_>,
        client: &mut C,
        out: &mut Vec<u8>,
        (chunks, room): (Chunks, usize),
    ) -> Poll<Result<ResponsePart, ExchangeError>> {
        loop {
            if coded.encoder.is_done() {
                return Poll::Ready(Ok(match coded.trailers.take() {
                    Some(trailers) => ResponsePart::Trailers(trailers),
                    None => ResponsePart::End,
                }));
            }
            if !coded.encoder.data().is_empty() {
                let count = coded.give(out, chunks, room);
                return Poll::Ready(Ok(ResponsePart::Data(count)));
            }
            let due = coded.over || coded.encoder.is_flushing() || coded.at < coded.plain.len();
            if room == 0 && due {
                return Poll::Ready(Ok(ResponsePart::Data(0)));
            }
            if coded.encoder.is_flushing() {
                coded.encoder.flush().map_err(ExchangeError::Coding)?;
                continue;
            }
            if coded.at < coded.plain.len() {
                if coded.encoder.yields(cx) {
                    return Poll::Pending;
                }
                let taken = coded.encoder.push(&coded.plain[coded.at..]);
                coded.at += taken.map_err(ExchangeError::Coding)?;
                continue;
            }
            if coded.over {
                coded.encoder.finish().map_err(ExchangeError::Coding)?;
                continue;
            }
            coded.plain.clear();
            coded.at = 0;
            if coded.plain.capacity() == 0 {
                coded.plain = coded.worker.buffers.small();
            }
            let most = match room {
                0 => 0,
                _ => coded.plain.capacity(),
            };
            match self.poll_plain(cx, client, &mut coded.plain, Chunks::None, most) {
                Poll::Ready(Ok(ResponsePart::Data(_))) if coded.plain.is_empty() => {
                    return Poll::Ready(Ok(ResponsePart::Data(0)));
                }
                Poll::Ready(Ok(ResponsePart::Data(_))) => {}
                Poll::Ready(Ok(ResponsePart::End)) => coded.over = true,
                Poll::Ready(Ok(ResponsePart::Trailers(trailers))) => {
                    coded.over = true;
                    coded.trailers = Some(trailers);
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending if coded.encoder.holds() => {
                    if room == 0 {
                        return Poll::Ready(Ok(ResponsePart::Data(0)));
                    }
                    coded.encoder.flush().map_err(ExchangeError::Coding)?;
                    self.wait_for_nobody();
                }
                Poll::Pending => {
                    coded.encoder.rests();
                    let plain = std::mem::take(&mut coded.plain);
                    coded.worker.buffers.give(plain);
                    return Poll::Pending;
                }
            }
        }
    }
}
