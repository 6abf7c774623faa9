//! One request and its response on one upstream connection, driven by whoever awaits it: the
//! request's own task first, then hyper as it asks for the response body. There is no second task
//! and no channel.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http::Method;
use http_body::Body as _;
use hyper::body::{Frame, Incoming};
use tokio::io::AsyncWrite;
use tokio_util::io::poll_read_buf;

use super::h1::{self, ResponseError, ResponseHead};
use super::headers::{self, RequestFraming};
use super::pool::Link;
use super::worker::Worker;
use crate::model::Timeouts;

mod response;

pub(crate) use response::ResponseBody;

/// One exchange in progress.
pub(crate) struct Exchange {
    worker: Rc<Worker>,
    /// Whose pool the connection goes back to.
    endpoint: u64,
    link: Link,
    /// How much of `link.out` is written.
    out_at: usize,
    /// Body data being written, after `link.out`.
    chunk: Bytes,
    /// What follows `chunk`.
    chunk_end: &'static [u8],
    /// `None` once the whole body was read from the client.
    body: Option<Incoming>,
    framing: RequestFraming,
    /// Body bytes promised upstream and not yet taken from the client.
    left: u64,
    /// Whether the client speaks HTTP/2, where a reset may look like the end of a body.
    http2: bool,
    /// Whether any byte of the request may have reached the endpoint.
    wrote: bool,
    /// Whether any of the client's body was taken; it cannot be sent again.
    body_taken: bool,
    /// Whether any head has come back, an interim one included.
    answered: bool,
    /// Whether the final head has come back: from then on only reading has a time limit.
    responding: bool,
    waiting: Waiting,
    timeouts: Timeouts,
    /// Sending broke off; nothing more may be written, least of all an end of the body.
    broken: bool,
}

/// What an exchange waits for, which decides how long and whose fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waiting {
    Nothing,
    /// The endpoint to take bytes.
    Write,
    /// The client to send its body.
    Client,
    /// The endpoint to send its head or body.
    Read,
}

/// Why an exchange failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExchangeError {
    #[error("it closed the connection without an answer")]
    Closed(#[source] Option<io::Error>),
    #[error("it sent no answer for {0:?}")]
    ReadTimeout(Duration),
    #[error("it took none of the request for {0:?}")]
    WriteTimeout(Duration),
    #[error("the client sent nothing of its body for {0:?}")]
    ClientTimeout(Duration),
    #[error("the client's body ended early")]
    ClientBody(#[source] hyper::Error),
    #[error("the client took its body back")]
    ClientCut,
    #[error("its answer is unusable: {0}")]
    Response(#[source] ResponseError),
    #[error("it sent more than {MAX_INTERIM} interim responses")]
    Interim,
}

/// The response head, or an interim one before it.
pub(crate) type Head = ResponseHead;

impl Exchange {
    /// Starts with the request head already in `link.out`. `body` is `None` when there is none.
    pub(crate) fn new(
        worker: Rc<Worker>,
        endpoint: u64,
        link: Link,
        body: Option<Incoming>,
        framing: RequestFraming,
        http2: bool,
        timeouts: Timeouts,
    ) -> Self {
        let mut link = link;
        if framing == RequestFraming::Chunked && body.is_none() {
            // A second try of a body that turned out to be empty.
            link.out.extend_from_slice(b"0\r\n\r\n");
        }
        let left = match framing {
            RequestFraming::Length(length) => length,
            RequestFraming::None | RequestFraming::Chunked => 0,
        };
        Self {
            worker,
            endpoint,
            link,
            out_at: 0,
            chunk: Bytes::new(),
            chunk_end: b"",
            body,
            framing,
            left,
            http2,
            wrote: false,
            body_taken: false,
            answered: false,
            responding: false,
            waiting: Waiting::Nothing,
            timeouts,
            broken: false,
        }
    }

    /// Whether the request may be sent again: nothing of it can have been acted on, or doing it
    /// twice is harmless, and the body is still whole.
    pub(crate) fn is_replayable(&self, method: &Method) -> bool {
        !self.body_taken && (!self.wrote || method.is_idempotent())
    }

    /// Whether no byte of an answer has been seen.
    pub(crate) fn saw_nothing(&self) -> bool {
        !self.answered && self.link.read.is_empty()
    }

    /// Whether the endpoint closed a pooled connection while it was idle, which is nobody's failure.
    pub(crate) fn was_stale(&self) -> bool {
        self.link.reused && self.saw_nothing()
    }

    /// The client's body, for another try.
    pub(crate) fn into_body(self) -> Option<Incoming> {
        self.body
    }

    pub(crate) fn into_link(self) -> Link {
        self.link
    }

    /// Sends the request and reads until a response head is complete.
    pub(crate) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        method: &Method,
    ) -> Poll<Result<Head, ExchangeError>> {
        loop {
            // An endpoint may answer and close before it has read everything; that answer counts.
            let sending = match self.poll_send(cx) {
                Poll::Ready(Err(
                    error @ (ExchangeError::ClientBody(_) | ExchangeError::ClientCut),
                )) => {
                    return Poll::Ready(Err(error));
                }
                other => other,
            };
            match h1::parse_head(&mut self.link.read, method) {
                Ok(Some(head)) => {
                    self.answered = true;
                    self.wait_for(Waiting::Nothing);
                    return Poll::Ready(Ok(head));
                }
                Ok(None) => {}
                Err(error) => return Poll::Ready(Err(ExchangeError::Response(error))),
            }
            match self.poll_read(cx, HEAD_READ) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(ExchangeError::Closed(None))),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(Err(ExchangeError::Closed(Some(error))));
                }
                Poll::Pending => {
                    if sending.is_ready() {
                        self.wait_for(Waiting::Read);
                    }
                    return self.poll_deadline(cx).map(Err);
                }
            }
        }
    }

    /// Writes what there is; `Ready` when the whole request is out or can never be.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ExchangeError>> {
        if self.broken {
            return Poll::Ready(Err(ExchangeError::Closed(None)));
        }
        let sent = self.poll_write_all(cx);
        self.broken = matches!(sent, Poll::Ready(Err(_)));
        sent
    }

    fn poll_write_all(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ExchangeError>> {
        loop {
            let starved = self.fill(cx)?.is_pending();
            while self.out_at < self.link.out.len() {
                let bytes = &self.link.out[self.out_at..];
                match Pin::new(&mut self.link.stream).poll_write(cx, bytes) {
                    Poll::Ready(Ok(n)) => self.wrote(|this| this.out_at += n),
                    Poll::Ready(Err(error)) => {
                        return Poll::Ready(Err(ExchangeError::Closed(Some(error))));
                    }
                    Poll::Pending => return self.blocked(),
                }
            }
            while !self.chunk.is_empty() {
                match Pin::new(&mut self.link.stream).poll_write(cx, &self.chunk) {
                    Poll::Ready(Ok(n)) => self.wrote(|this| this.chunk.advance(n)),
                    Poll::Ready(Err(error)) => {
                        return Poll::Ready(Err(ExchangeError::Closed(Some(error))));
                    }
                    Poll::Pending => return self.blocked(),
                }
            }
            self.link.out.clear();
            self.out_at = 0;
            if !self.chunk_end.is_empty() {
                self.link.out.extend_from_slice(self.chunk_end);
                self.chunk_end = b"";
            } else if starved {
                self.wait_for(Waiting::Client);
                return Poll::Pending;
            } else if self.body.is_none() {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Takes body frames from the client until there is enough to write. `Pending`: the client has
    /// no more at the moment.
    fn fill(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, ExchangeError> {
        while self.chunk.is_empty() && self.chunk_end.is_empty() {
            let Some(body) = &mut self.body else { break };
            if self.link.out.len() - self.out_at >= COALESCE {
                break;
            }
            let frame = match Pin::new(body).poll_frame(cx) {
                Poll::Pending => return Ok(Poll::Pending),
                Poll::Ready(Some(Ok(frame))) => frame,
                Poll::Ready(Some(Err(error))) => return Err(ExchangeError::ClientBody(error)),
                Poll::Ready(None) => {
                    // hyper reports some resets of HTTP/2 streams as the end of the body. To finish
                    // the request then would pass a cut upload off as complete, or leave the
                    // connection in the middle of a body for the next request.
                    if self.left > 0 || (self.http2 && !body_ended(self.body.as_ref())) {
                        return Err(ExchangeError::ClientCut);
                    }
                    if self.is_chunked() {
                        self.link.out.extend_from_slice(b"0\r\n\r\n");
                    }
                    self.body = None;
                    break;
                }
            };
            self.body_taken = true;
            if self.waiting == Waiting::Client {
                // Any progress gives the client its full time again.
                self.waiting = Waiting::Nothing;
            }
            match frame.into_data() {
                Ok(data) => self.push_data(data)?,
                Err(frame) => self.push_trailers(frame)?,
            }
        }
        Ok(Poll::Ready(()))
    }

    fn is_chunked(&self) -> bool {
        self.framing == RequestFraming::Chunked
    }

    fn push_data(&mut self, data: Bytes) -> Result<(), ExchangeError> {
        if data.is_empty() {
            return Ok(());
        }
        let chunked = self.is_chunked();
        if !chunked {
            let left = self.left.checked_sub(data.len() as u64);
            self.left = left.ok_or(ExchangeError::ClientCut)?;
        }
        self.worker.metrics.bytes_in.add(data.len() as u64);
        let out = &mut self.link.out;
        if chunked {
            use io::Write;
            // Writing to a Vec cannot fail.
            let _ = write!(out, "{:x}\r\n", data.len());
            self.chunk_end = b"\r\n";
        }
        if data.len() <= COALESCE {
            out.extend_from_slice(&data);
            out.extend_from_slice(self.chunk_end);
            self.chunk_end = b"";
        } else {
            self.chunk = data;
        }
        Ok(())
    }

    fn push_trailers(&mut self, frame: Frame<Bytes>) -> Result<(), ExchangeError> {
        let Ok(trailers) = frame.into_trailers() else {
            return Ok(());
        };
        if self.left > 0 {
            return Err(ExchangeError::ClientCut);
        }
        if self.is_chunked() {
            let out = &mut self.link.out;
            out.extend_from_slice(b"0\r\n");
            for (name, value) in &trailers {
                // An upstream that merges trailers into the head must not be told who it talks to.
                if !headers::may_trail(name) {
                    continue;
                }
                out.extend_from_slice(name.as_str().as_bytes());
                out.extend_from_slice(b": ");
                out.extend_from_slice(value.as_bytes());
                out.extend_from_slice(b"\r\n");
            }
            out.extend_from_slice(b"\r\n");
        }
        self.body = None;
        Ok(())
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<io::Result<usize>> {
        let read = &mut self.link.read;
        if read.capacity() - read.len() < room / 2 {
            read.reserve(room);
        }
        let read = poll_read_buf(Pin::new(&mut self.link.stream), cx, read);
        if read.is_ready() && self.waiting == Waiting::Read {
            self.waiting = Waiting::Nothing;
        }
        read
    }

    fn wrote(&mut self, advance: impl FnOnce(&mut Self)) {
        self.wrote = true;
        if self.waiting == Waiting::Write || self.responding {
            self.waiting = Waiting::Nothing;
        }
        advance(self);
    }

    fn blocked(&mut self) -> Poll<Result<(), ExchangeError>> {
        self.wait_for(Waiting::Write);
        Poll::Pending
    }

    /// Starts the time for `waiting` unless it runs already.
    fn wait_for(&mut self, waiting: Waiting) {
        let sending = matches!(waiting, Waiting::Write | Waiting::Client);
        if self.waiting == waiting || (self.responding && sending) {
            return;
        }
        self.waiting = waiting;
        match waiting {
            Waiting::Nothing => self.link.timer.disarm(),
            Waiting::Write => self.link.timer.arm(self.timeouts.send),
            Waiting::Client => self.link.timer.arm(CLIENT_BODY),
            Waiting::Read => self.link.timer.arm(self.timeouts.read),
        }
    }

    /// Why waiting is over, once it is.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<ExchangeError> {
        if !self.link.timer.has_fired() {
            self.link.timer.wake_with(cx.waker());
            return Poll::Pending;
        }
        Poll::Ready(match self.waiting {
            Waiting::Write => ExchangeError::WriteTimeout(self.timeouts.send),
            Waiting::Client => ExchangeError::ClientTimeout(CLIENT_BODY),
            Waiting::Read | Waiting::Nothing => ExchangeError::ReadTimeout(self.timeouts.read),
        })
    }
}

fn body_ended(body: Option<&Incoming>) -> bool {
    body.is_none_or(http_body::Body::is_end_stream)
}

/// A client must send some of its body this often.
pub(crate) const CLIENT_BODY: Duration = Duration::from_secs(30);
/// Interim responses before the final one.
pub(crate) const MAX_INTERIM: u32 = 10;
/// First read of a response.
const HEAD_READ: usize = 8 * 1024;
/// Body pieces up to this are copied behind the head into one write.
const COALESCE: usize = 8 * 1024;
