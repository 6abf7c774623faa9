//! An answer of Wharf's own whose bytes are read as the client takes them.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Method, Version};
use tokio::io::AsyncWrite;

use super::{After, Connection, count};
use crate::metrics::ErrorKind;
use crate::proxy::buffers::SMALL;
use crate::proxy::exchange::{Client, write_chunk_size};
use crate::proxy::fields::write_field;
use crate::proxy::headers::{self, CHUNKED};
use crate::proxy::local::{Body, Length, Local, Pieces};
use crate::proxy::pipe::{Pipe, WORTH};
use crate::proxy::tail::Tail;
use crate::webroot::shorter;

/// Why an answer could not be brought to its end.
enum Broken {
    /// Where the bytes come from. The client must not take what it has for the whole.
    Source(io::Error),
    /// The client left, or takes nothing.
    Client,
}

/// How files get to the socket.
enum Way {
    /// As it turns out.
    Open,
    /// Inside the kernel.
    Pipe(Pipe),
    /// Copied: through TLS, or from where the kernel cannot.
    Copy,
}

impl Connection {
    pub(super) async fn local(&mut self, mut local: Local, tail: &mut Tail) -> After {
        self.expects = false;
        let read = self.skip_body();
        let open = local.length == Length::Open;
        let unchunked = tail.head.version == Version::HTTP_10 || tail.record.unchunked;
        let framed = open && !unchunked;
        let has_body = local.has_body() && tail.head.method != Method::HEAD;
        // Without chunks the end of the connection is the only delimiter.
        let to_close = open && !framed && has_body;
        let keep = read && self.keeps(&tail.head) && !to_close;
        tail.responds(local.status());
        self.pace(tail);
        self.write_local(&local, tail, keep, framed);
        tail.worker.buffers.give(std::mem::take(&mut local.lines));
        let body = &mut local.body;
        let sent = match (has_body, framed) {
            (false, _) => {
                let flushed = poll_fn(|cx| self.poll_flush_timed(cx)).await;
                flushed.map_err(|_| Broken::Client)
            }
            (true, true) => {
                let mut ended = false;
                poll_fn(|cx| self.poll_local_framed(cx, body, tail, &mut ended)).await
            }
            (true, false) => {
                let mut way = Way::Open;
                poll_fn(|cx| self.poll_local(cx, body, tail, &mut way)).await
            }
        };
        match sent {
            Ok(()) => {}
            Err(Broken::Client) => return After::End,
            Err(Broken::Source(error)) => {
                tail.worker.metrics.count_error(ErrorKind::Internal);
                tracing::warn!(%error, path = tail.head.target(), "answer cut");
                if to_close {
                    // Only a reset tells this client that something is missing.
                    self.stream.reset_on_close();
                }
                return After::Cut;
            }
        }
        match (keep && !self.worker.is_draining(), read) {
            (true, _) => After::KeepAlive,
            (false, true) => After::End,
            (false, false) => After::Linger,
        }
    }

    fn write_local(&mut self, local: &Local, tail: &Tail, keep: bool, framed: bool) {
        self.lend_out();
        let out = &mut self.out;
        headers::write_status(out, tail.head.version, local.status(), b"");
        for (name, value) in local.head.headers() {
            write_field(out, name.as_str().as_bytes(), value.as_bytes());
        }
        out.extend_from_slice(&local.lines);
        let mut framing = Vec::new();
        match local.length.known() {
            Some(count) => headers::write_length(&mut framing, count),
            None if framed => framing.extend_from_slice(CHUNKED),
            None => {}
        }
        headers::write_end(out, Self::persist(&tail.head, keep), &framing);
    }

    /// Moves a body of unknown length in chunks; `Ready` when the client has been sent all of it.
    fn poll_local_framed(
        &mut self,
        cx: &mut Context<'_>,
        body: &mut Body,
        tail: &mut Tail,
        ended: &mut bool,
    ) -> Poll<Result<(), Broken>> {
        loop {
            while !*ended && self.out.len() < SMALL {
                match body.poll_fill(cx) {
                    Poll::Ready(Ok(true)) => {}
                    Poll::Ready(Ok(false)) => {
                        *ended = true;
                        self.lend_out();
                        self.out.extend_from_slice(b"0\r\n");
                        if let Some(trailers) = body.trailers().filter(|_| self.trailers) {
                            let out = &mut self.out;
                            trailers.fields().copy(out, headers::may_trail_response);
                        }
                        self.out.extend_from_slice(b"\r\n");
                        break;
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(Broken::Source(error))),
                    Poll::Pending => return self.poll_meanwhile(cx),
                }
                self.lend_out();
                let data = body.data();
                let count = data.len().min(MOST);
                write_chunk_size(&mut self.out, count);
                self.out.extend_from_slice(&data[..count]);
                self.out.extend_from_slice(b"\r\n");
                body.consume(count);
                tail.bytes += count as u64;
            }
            match self.poll_flush_timed(cx) {
                Poll::Ready(Ok(())) if *ended => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken::Client)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Moves the body; `Ready` when the client has been sent all of it.
    fn poll_local(
        &mut self,
        cx: &mut Context<'_>,
        body: &mut Body,
        tail: &mut Tail,
        way: &mut Way,
    ) -> Poll<Result<(), Broken>> {
        loop {
            if let Way::Open = way
                && let Some(stretch) = body.stretch()
            {
                *way = match self.stream.plain() {
                    Some(_) if stretch.left > WORTH => match self.worker.pipes.lend() {
                        Some(pipe) => Way::Pipe(pipe),
                        None => Way::Copy,
                    },
                    _ => Way::Copy,
                };
            }
            if let Way::Pipe(pipe) = way
                && (pipe.filled() > 0 || body.stretch().is_some())
            {
                match self.poll_local_splice(cx, body, tail, pipe) {
                    Poll::Ready(Ok(true)) => continue,
                    Poll::Ready(Ok(false)) => {
                        *way = Way::Copy;
                        continue;
                    }
                    Poll::Ready(Err(broken)) => return Poll::Ready(Err(broken)),
                    Poll::Pending => return Poll::Pending,
                }
            }
            match body.poll_fill(cx) {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false)) => {
                    let flushed = self.poll_flush_timed(cx);
                    return flushed.map_err(|_| Broken::Client);
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Broken::Source(error))),
                Poll::Pending => return self.poll_meanwhile(cx),
            }
            let slices = [
                IoSlice::new(&self.out[self.out_at..]),
                IoSlice::new(body.data()),
            ];
            let written = Pin::new(&mut self.stream).poll_write_vectored(cx, &slices);
            self.state.wrote(&self.stream, count(&written));
            match written {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(Broken::Client)),
                Poll::Ready(Ok(count)) => {
                    let of_head = count.min(self.out.len() - self.out_at);
                    self.out_at += of_head;
                    if self.out_at == self.out.len() {
                        self.out_at = 0;
                        self.worker.buffers.reclaim(&mut self.out);
                    }
                    body.consume(count - of_head);
                    tail.bytes += (count - of_head) as u64;
                }
                Poll::Pending => return self.poll_stalled(cx).map(|_| Err(Broken::Client)),
            }
        }
    }

    /// Moves a stretch of a file to the socket. `false`: the kernel cannot.
    fn poll_local_splice(
        &mut self,
        cx: &mut Context<'_>,
        body: &mut Body,
        tail: &mut Tail,
        pipe: &mut Pipe,
    ) -> Poll<Result<bool, Broken>> {
        // What stands before it goes first.
        match self.poll_flush_timed(cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken::Client)),
            Poll::Pending => return Poll::Pending,
        }
        loop {
            while pipe.filled() > 0 {
                let Some(socket) = self.stream.plain() else {
                    return Poll::Ready(Err(Broken::Client));
                };
                let written = pipe.poll_drain(cx, socket);
                self.state.wrote(&self.stream, count(&written));
                match written {
                    Poll::Ready(Ok(count)) => tail.bytes += count as u64,
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken::Client)),
                    Poll::Pending => return self.poll_stalled(cx).map(|_| Err(Broken::Client)),
                }
            }
            let Some(stretch) = body.stretch() else {
                return Poll::Ready(Ok(true));
            };
            match pipe.poll_fill_from_file(cx, &stretch.file, stretch.at, stretch.left) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(Broken::Source(shorter()))),
                Poll::Ready(Ok(count)) => body.skip(count),
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::InvalidInput => {
                    return Poll::Ready(Ok(false));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Broken::Source(error))),
                Poll::Pending => {
                    let gone = Client::poll_gone(self, cx);
                    return gone.map(|()| Err(Broken::Client));
                }
            }
        }
    }

    /// While a file is read: what is at hand goes out.
    fn poll_meanwhile(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        match self.poll_flush(cx) {
            Poll::Ready(Ok(())) => {
                let gone = Client::poll_gone(self, cx);
                gone.map(|()| Err(Broken::Client))
            }
            Poll::Ready(Err(_)) => Poll::Ready(Err(Broken::Client)),
            Poll::Pending => self.poll_stalled(cx).map(|_| Err(Broken::Client)),
        }
    }
}

/// Bytes of a chunk: they are copied.
const MOST: usize = 32 * 1024;
