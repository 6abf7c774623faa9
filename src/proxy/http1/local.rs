//! An answer of Wharf's own whose bytes are read as the client takes them.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Method;
use tokio::io::AsyncWrite;

use super::{After, Connection};
use crate::metrics::ErrorKind;
use crate::proxy::exchange::Client;
use crate::proxy::fields::write_field;
use crate::proxy::headers;
use crate::proxy::local::Local;
use crate::proxy::pipe::{Pipe, WORTH};
use crate::proxy::tail::Tail;
use crate::webroot::{Body, shorter};

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
    pub(super) async fn local(&mut self, mut local: Local, mut tail: Tail) -> After {
        self.expects = false;
        let read = self.skip_body();
        let keep = read && self.keeps(&tail.head);
        tail.responds(local.status());
        self.write_local(&local, &tail, keep);
        let sent = match (local.length, &tail.head.method) {
            (None | Some(0), _) | (_, &Method::HEAD) => {
                let flushed = poll_fn(|cx| self.poll_flush_timed(cx)).await;
                flushed.map_err(|_| Broken::Client)
            }
            _ => {
                let mut way = Way::Open;
                let body = &mut local.body;
                poll_fn(|cx| self.poll_local(cx, body, &mut tail, &mut way)).await
            }
        };
        match sent {
            Ok(()) => {}
            Err(Broken::Client) => return After::End,
            Err(Broken::Source(error)) => {
                tail.worker.metrics.count_error(ErrorKind::Internal);
                tracing::warn!(%error, path = tail.head.target(), "answer cut");
                return After::Cut;
            }
        }
        drop(tail);
        match (keep && !self.worker.is_draining(), read) {
            (true, _) => After::KeepAlive,
            (false, true) => After::End,
            (false, false) => After::Linger,
        }
    }

    fn write_local(&mut self, local: &Local, tail: &Tail, keep: bool) {
        self.lend_out();
        let out = &mut self.out;
        headers::write_status(out, tail.head.version, local.status(), b"");
        for (name, value) in local.head.headers() {
            write_field(out, name.as_str().as_bytes(), value.as_bytes());
        }
        let mut length = Vec::new();
        if let Some(count) = local.length {
            headers::write_length(&mut length, count);
        }
        headers::write_end(out, Self::persist(&tail.head, keep), &length);
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
            self.state.wrote(written.is_ready());
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
                self.state.wrote(written.is_ready());
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
