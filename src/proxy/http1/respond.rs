//! An upstream's response on its way to the client.

use std::future::poll_fn;
use std::task::{Context, Poll};

use http::{Method, StatusCode, Version};

use super::{After, Connection, count};
use crate::proxy::buffers::{LARGE, SMALL};
use crate::proxy::exchange::{Chunks, Client, ExchangeError, Response, ResponsePart};
use crate::proxy::h1::{Framing, is_bodiless};
use crate::proxy::headers::{self, CHUNKED};
use crate::proxy::pipe::Pipe;
use crate::proxy::tail::Tail;

/// Why a response could not be brought to its end.
enum Broken {
    /// The upstream's doing: the client must not take what it has for the whole.
    Upstream(ExchangeError),
    /// The client left, or takes nothing.
    Client,
}

/// How far a response is.
struct Progress {
    chunks: Chunks,
    /// All of it was read.
    ended: bool,
    /// Once the rest goes from socket to socket.
    pipe: Option<Pipe>,
}

impl Connection {
    /// Sends a response of an upstream, its body as it comes.
    ///
    /// Both are lent, so that they stay where they are.
    pub(super) async fn respond(&mut self, response: &mut Response, tail: &mut Tail) -> After {
        // An answer to a body that nobody asked for: the client need not send it.
        self.expects = false;
        tail.responds(response.status);
        self.pace(tail);
        let unchunked = tail.head.version == Version::HTTP_10 || tail.record.unchunked;
        let known = !matches!(response.framing, Framing::Chunked | Framing::Close);
        // Without chunks the end of the connection is the only delimiter.
        let keep = self.keeps(&tail.head) && (known || !unchunked);
        let chunks = match known || unchunked {
            true => Chunks::None,
            false => Chunks::Framed,
        };
        self.write_head(response, tail, keep, chunks);
        response.take_head();
        let mut progress = Progress {
            chunks,
            ended: false,
            pipe: None,
        };
        let sent = poll_fn(|cx| self.poll_respond(cx, response, tail, &mut progress));
        let sent = sent.await;
        response.note(&mut tail.record.tries);
        match sent {
            Ok(()) => {}
            Err(Broken::Client) => return After::End,
            Err(Broken::Upstream(error)) => {
                tail.worker.metrics.count_error(error.kind());
                tracing::debug!(%error, "response cut");
                if chunks == Chunks::None && !known {
                    // Only a reset tells this client that something is missing.
                    self.stream.reset_on_close();
                }
                return After::Cut;
            }
        }
        match (keep && !self.worker.is_draining(), self.skip_body()) {
            (true, true) => After::KeepAlive,
            (_, true) => After::End,
            (_, false) => After::Linger,
        }
    }

    fn write_head(&mut self, response: &Response, tail: &Tail, keep: bool, chunks: Chunks) {
        self.lend_out();
        let Some((fields, reason)) = response.head() else {
            return;
        };
        let (status, out) = (response.status, &mut self.out);
        headers::write_status(out, tail.head.version, status, reason);
        let keep_length = !is_bodiless(status) && response.framing != Framing::Chunked;
        let keep_length = keep_length && chunks == Chunks::None;
        headers::write_response_fields(out, fields, response.extra(), keep_length);
        let framing: &[u8] = match response.framing {
            _ if chunks == Chunks::Framed => CHUNKED,
            Framing::Empty if needs_zero(&tail.head.method, status) => {
                // Without a length of its own it would be taken for one that ends with the
                // connection.
                match headers::content_length(fields) {
                    Ok(None) => b"content-length: 0\r\n",
                    _ => b"",
                }
            }
            _ => b"",
        };
        headers::write_end(out, Self::persist(&tail.head, keep), framing);
    }

    /// Moves the body; `Ready` when the client has been sent all of it.
    fn poll_respond(
        &mut self,
        cx: &mut Context<'_>,
        response: &mut Response,
        tail: &mut Tail,
        progress: &mut Progress,
    ) -> Poll<Result<(), Broken>> {
        let chunks = progress.chunks;
        loop {
            if progress.pipe.is_some() {
                return self.poll_splice(cx, response, tail, progress);
            }
            // Reading goes on only once the client has taken nearly all of what was read.
            let mut starved = false;
            let mut broken = None;
            let mut out = std::mem::take(&mut self.out);
            let left = response.remaining().unwrap_or(u64::MAX);
            let want = match left > SMALL as u64 && !response.is_here() {
                true => LARGE,
                false => SMALL,
            };
            if out.capacity() < want && self.out_at == 0 {
                let mut other = match want {
                    LARGE => self.worker.buffers.large(),
                    _ => self.worker.buffers.small(),
                };
                other.extend_from_slice(&out);
                self.worker.buffers.give(std::mem::replace(&mut out, other));
            }
            let full = out.capacity().min(LARGE) / 2;
            while !progress.ended && out.len() < full {
                // Room for the framing of a chunk, too.
                let room = out.capacity() - out.len() - 32;
                match response.poll_body(cx, self, &mut out, chunks, room) {
                    Poll::Pending => {
                        starved = true;
                        break;
                    }
                    Poll::Ready(Ok(ResponsePart::Data(count))) => {
                        tail.bytes += count as u64;
                        // Everything that is at hand goes out together; a read in between would
                        // only delay it.
                        progress.ended = response.is_done() && chunks == Chunks::None;
                        if chunks == Chunks::None {
                            break;
                        }
                    }
                    Poll::Ready(Ok(ResponsePart::End)) => {
                        progress.ended = true;
                        if chunks == Chunks::Framed {
                            out.extend_from_slice(b"0\r\n\r\n");
                        }
                    }
                    Poll::Ready(Ok(ResponsePart::Trailers(trailers))) => {
                        progress.ended = true;
                        if chunks == Chunks::Framed {
                            out.extend_from_slice(b"0\r\n");
                            if self.trailers {
                                let fields = trailers.fields();
                                fields.copy(&mut out, headers::may_trail_response);
                            }
                            out.extend_from_slice(b"\r\n");
                        }
                    }
                    Poll::Ready(Err(error)) => {
                        broken = Some(error);
                        break;
                    }
                }
            }
            self.out = out;
            tail.looks_at(response);
            let flushed = self.poll_flush(cx);
            if let Some(error) = broken {
                return Poll::Ready(Err(Broken::Upstream(error)));
            }
            match flushed {
                Poll::Ready(Ok(())) if progress.ended => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) if starved => {
                    let gone = Client::poll_gone(self, cx);
                    return gone.map(|()| Err(Broken::Client));
                }
                Poll::Ready(Ok(())) => {
                    if chunks == Chunks::None
                        && self.stream.plain().is_some()
                        && response.is_spliceable()
                    {
                        progress.pipe = self.worker.pipes.lend();
                    }
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken::Client)),
                Poll::Pending => {
                    if response.is_ahead() {
                        response.go_on(cx, self);
                        tail.looks_at(response);
                    }
                    return self.poll_stalled(cx).map(|_| Err(Broken::Client));
                }
            }
        }
    }

    /// Moves the rest of a large body from socket to socket.
    fn poll_splice(
        &mut self,
        cx: &mut Context<'_>,
        response: &mut Response,
        tail: &mut Tail,
        progress: &mut Progress,
    ) -> Poll<Result<(), Broken>> {
        let Some(pipe) = &mut progress.pipe else {
            return Poll::Pending;
        };
        loop {
            while pipe.filled() > 0 {
                let Some(socket) = self.stream.plain() else {
                    return Poll::Ready(Err(Broken::Client));
                };
                let written = pipe.poll_drain(cx, socket);
                self.state.wrote(&self.stream, count(&written));
                match written {
                    Poll::Ready(Ok(_)) => {}
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken::Client)),
                    Poll::Pending => {
                        return self.poll_stalled(cx).map(|_| Err(Broken::Client));
                    }
                }
            }
            if progress.ended {
                return Poll::Ready(Ok(()));
            }
            match response.poll_splice(cx, self, pipe) {
                Poll::Ready(Ok(ResponsePart::Data(count))) => {
                    tail.bytes += count as u64;
                    progress.ended = response.is_done();
                }
                Poll::Ready(Ok(_)) => progress.ended = true,
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(Err(Broken::Upstream(error)));
                }
                Poll::Pending => {
                    let gone = Client::poll_gone(self, cx);
                    return gone.map(|()| Err(Broken::Client));
                }
            }
        }
    }
}

/// Whether a response without a body has to say so.
fn needs_zero(method: &Method, status: StatusCode) -> bool {
    *method != Method::HEAD && !is_bodiless(status) && !status.is_informational()
}
