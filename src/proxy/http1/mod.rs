//! HTTP/1 towards clients: one connection from its first request to its last.
//!
//! A connection reads a head, answers it, and rests; while it rests it holds no buffer. Everything
//! of a request happens in the connection's own task: the exchange with the upstream reads the
//! client's body from here as it can send it, and the response goes from the upstream's socket into
//! the buffer it is written to the client from. Parsing is [`super::h1`]'s.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use http::{Method, StatusCode, Version};
use tokio::io::AsyncWrite;
use tokio_util::io::poll_read_buf;

use super::fields::{Known, write_field};
use super::forward::Answer;
use super::h1::{self, Decoder, Framing, MAX_HEAD, RequestError};
use super::head::{RequestFraming, RequestHead};
use super::headers::{self, Persist};
use super::linger::{LAST_WORD, poll_linger};
use super::page::{self, Page};
use super::pool::Link;
use super::service;
use super::state::ConnState;
use super::stream::ClientStream;
use super::tail::{self, Tail};
use super::tunnel::Tunnel;
use super::worker::Worker;

mod body;
mod local;
mod respond;

/// One client connection.
pub(crate) struct Connection {
    worker: Rc<Worker>,
    state: Rc<ConnState>,
    stream: ClientStream,
    /// Bytes read; those before `ahead_at` are done with. Holds what comes behind a head: its body,
    /// or further requests.
    ahead: Vec<u8>,
    ahead_at: usize,
    /// How much of that has been looked at without finding a whole head.
    looked: usize,
    /// Bytes to be written; those before `out_at` are.
    out: Vec<u8>,
    out_at: usize,
    /// Of the request under way.
    body: Decoder,
    /// The client waits for a 100 before it sends its body (RFC 9110 section 10.1.1).
    expects: bool,
    /// Whether the client knows interim responses.
    hints: bool,
    /// Whether it takes trailers (RFC 9110 section 6.5.1).
    trailers: bool,
    /// Nothing behind the request under way may be believed.
    doubtful: bool,
    /// The client has ended its side.
    ended: bool,
}

/// What comes next on a connection.
enum Next {
    Request(Box<RequestHead>),
    /// One that cannot be read; nothing behind it can either.
    Refuse(RequestError),
    /// The client is done, or took too long.
    End,
}

/// What becomes of a connection after a request.
enum After {
    KeepAlive,
    /// The end, though the client may still be sending: what it was sent must reach it.
    Linger,
    End,
    /// The end in the middle of a response: without a goodbye, which would pass for its end.
    Cut,
    Tunnel(Box<Link>, Box<Tail>),
}

/// Serves requests until the connection ends.
///
/// A resting connection costs what this future holds, so all that is large is boxed and gone by then.
pub(crate) async fn serve(mut conn: Box<Connection>) {
    loop {
        let next = poll_fn(|cx| conn.poll_next(cx)).await;
        let after = match next {
            Next::Request(head) => {
                // So that it is made there, not copied there.
                let room = Box::new_uninit();
                Box::into_pin(Box::write(room, conn.request(head))).await
            }
            Next::Refuse(error) => Box::pin(conn.refuse(error)).await,
            Next::End => After::End,
        };
        match after {
            After::KeepAlive => {}
            After::End => break,
            After::Cut => return,
            After::Linger => {
                let conn = &mut *conn;
                let (stream, state) = (&mut conn.stream, &*conn.state);
                return poll_fn(|cx| poll_linger(cx, stream, state, &conn.worker.buffers)).await;
            }
            After::Tunnel(link, tail) => {
                return Box::pin(conn.tunnel(link, tail)).await;
            }
        }
    }
    // TLS says goodbye; to a client that is gone that fails, which changes nothing.
    let _ = poll_fn(|cx| conn.poll_shutdown(cx)).await;
}

impl Connection {
    pub(crate) fn new(worker: Rc<Worker>, stream: ClientStream, state: Rc<ConnState>) -> Box<Self> {
        Box::new(Self {
            worker,
            state,
            stream,
            ahead: Vec::new(),
            ahead_at: 0,
            looked: 0,
            out: Vec::new(),
            out_at: 0,
            body: Decoder::Done,
            expects: false,
            hints: false,
            trailers: false,
            doubtful: false,
            ended: false,
        })
    }

    /// The next request head.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        // Bytes of an earlier read may hold a whole head: pipelining.
        let mut fresh = !self.unread().is_empty();
        if fresh {
            self.state.bytes_came();
        } else {
            self.worker.buffers.reclaim(&mut self.ahead);
        }
        let mut closing = false;
        loop {
            if fresh {
                match self.parse() {
                    Ok(Some(head)) => return Poll::Ready(Next::Request(Box::new(head))),
                    Ok(None) => {}
                    Err(error) => return Poll::Ready(Next::Refuse(error)),
                }
            }
            if self.worker.is_draining() {
                if self.unread().is_empty() {
                    return Poll::Ready(Next::End);
                }
                if !closing && !self.state.timer().is_within(LAST_WORD) {
                    self.state.timer().arm(LAST_WORD);
                }
                closing = true;
            }
            match self.poll_fill(cx) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Next::End),
                Poll::Ready(Ok(_)) => {
                    self.state.bytes_came();
                    fresh = true;
                }
                Poll::Pending => {
                    if self.unread().is_empty() {
                        self.worker.buffers.reclaim(&mut self.ahead);
                    }
                    if self.state.timer().has_fired() {
                        return Poll::Ready(Next::End);
                    }
                    self.state.timer().wake_with(cx.waker());
                    return Poll::Pending;
                }
            }
        }
    }

    /// The head at the start of what was read, once it is complete.
    fn parse(&mut self) -> Result<Option<RequestHead>, RequestError> {
        let here = self.unread().len();
        let looked = std::mem::replace(&mut self.looked, here);
        if !h1::may_be_whole(self.unread(), looked) {
            return Ok(None);
        }
        let index = self.worker.buffers.index();
        let Some(parsed) = h1::parse_request(self.unread(), index)? else {
            return Ok(None);
        };
        self.looked = 0;
        let len = parsed.len;
        self.doubtful = parsed.doubtful;
        let text = if self.ahead_at == 0 && self.ahead.len() == len {
            std::mem::take(&mut self.ahead)
        } else {
            let mut text = self.worker.buffers.small();
            text.extend_from_slice(&self.ahead[self.ahead_at..][..len]);
            self.consume(len);
            text
        };
        Ok(Some(parsed.into_head(text)))
    }

    fn unread(&self) -> &[u8] {
        &self.ahead[self.ahead_at..]
    }

    /// What the body under way makes of the bytes at hand.
    fn decode(&mut self, room: usize) -> Result<h1::Step, h1::BodyError> {
        self.body.decode(&self.ahead[self.ahead_at..], room)
    }

    fn consume(&mut self, count: usize) {
        self.ahead_at += count;
        if self.ahead_at >= self.ahead.len() {
            self.ahead.clear();
            self.ahead_at = 0;
        }
    }

    /// Reads on behind what is unread.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.ended {
            return Poll::Ready(Ok(0));
        }
        if self.ahead.capacity() == 0 {
            self.ahead = self.worker.buffers.small();
        } else if self.ahead.len() == self.ahead.capacity() {
            self.ahead.drain(..self.ahead_at);
            self.ahead_at = 0;
            self.ahead.reserve(MAX_HEAD / 8);
        }
        let read = poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.ahead);
        self.ended = matches!(read, Poll::Ready(Ok(0)));
        read
    }

    async fn request(&mut self, head: Box<RequestHead>) -> After {
        self.begin(&head);
        let (worker, state) = (Rc::clone(&self.worker), Rc::clone(&self.state));
        let mut tail = Tail::begin(&worker, &state, head);
        match service::answer(&mut tail, self).await {
            Answer::Page(page) => self.page(*page, &mut tail).await,
            Answer::Response(mut response) => self.respond(&mut response, &mut tail).await,
            // Boxed, so that other requests need not carry its room along.
            Answer::Local(local) => Box::pin(self.local(*local, &mut tail)).await,
            Answer::Switched(mut exchange) => {
                let status = exchange.head.status;
                tail.responds(status);
                self.lend_out();
                headers::write_status(&mut self.out, Version::HTTP_11, status, b"");
                let extra = &exchange.extra;
                headers::write_response_fields(&mut self.out, exchange.fields(), extra, false);
                self.out.extend_from_slice(headers::SWITCH);
                self.out.extend_from_slice(b"\r\n");
                exchange.take_head();
                match exchange.into_link() {
                    Some(link) => After::Tunnel(link, Box::new(tail)),
                    None => After::End,
                }
            }
            Answer::Gone => {
                tail.gone();
                After::End
            }
        }
    }

    fn begin(&mut self, head: &RequestHead) {
        self.body = Decoder::new(match head.framing {
            RequestFraming::None => Framing::Empty,
            RequestFraming::Length(length) => Framing::Length(length),
            RequestFraming::Chunked => Framing::Chunked,
        });
        self.hints = head.version == Version::HTTP_11;
        self.trailers = headers::has_token(head.fields(), Known::Te, "trailers");
        self.expects = self.hints && head.has_body() && headers::expects_continue(head.fields());
    }

    /// Whether the connection goes on behind this request, so far as the request says.
    fn keeps(&self, head: &RequestHead) -> bool {
        head.keep_alive && !self.doubtful && !self.ended && !self.worker.is_draining()
    }

    /// What a client has to be told about `keep`.
    fn persist(head: &RequestHead, keep: bool) -> Persist {
        match (keep, head.version) {
            (true, Version::HTTP_10) => Persist::Told,
            (true, _) => Persist::Keep,
            // As HTTP/1.0 takes for granted.
            (false, Version::HTTP_10) => Persist::Keep,
            (false, _) => Persist::Close,
        }
    }

    /// Skips what has come of a body nobody read; whether that is all of it.
    fn skip_body(&mut self) -> bool {
        while let Ok(step) = self.decode(usize::MAX) {
            let data = match step.piece {
                h1::Piece::Data(len) => len,
                h1::Piece::Trailers(_) | h1::Piece::Done => 0,
                h1::Piece::Starved => {
                    self.consume(step.skip);
                    return false;
                }
            };
            self.consume(step.skip + data);
            if self.body.is_done() {
                return true;
            }
        }
        false
    }

    /// Sends an answer of Wharf's own.
    async fn page(&mut self, page: Page, tail: &mut Tail) -> After {
        let read = self.skip_body();
        let keep = read && self.keeps(&tail.head);
        tail.responds(page.status());
        let persist = Self::persist(&tail.head, keep);
        self.write_page(&page, tail.head.version, persist, &tail.head.method);
        if tail.head.method != Method::HEAD {
            tail.bytes = page.body().len() as u64;
        }
        if poll_fn(|cx| self.poll_flush_timed(cx)).await.is_err() {
            return After::End;
        }
        match (keep, read) {
            (true, _) => After::KeepAlive,
            (false, true) => After::End,
            (false, false) => After::Linger,
        }
    }

    fn write_page(&mut self, page: &Page, version: Version, persist: Persist, method: &Method) {
        self.lend_out();
        let out = &mut self.out;
        headers::write_status(out, version, page.status(), b"");
        for (name, value) in page.headers() {
            write_field(out, name.as_str().as_bytes(), value.as_bytes());
        }
        let mut length = Vec::new();
        if !h1::is_bodiless(page.status()) {
            headers::write_length(&mut length, page.body().len() as u64);
        }
        headers::write_end(out, persist, &length);
        if *method != Method::HEAD {
            out.extend_from_slice(page.body());
        }
    }

    /// Answers what cannot be read as a request.
    async fn refuse(&mut self, error: RequestError) -> After {
        let status = match error {
            RequestError::TooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            RequestError::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            _ => StatusCode::BAD_REQUEST,
        };
        tracing::debug!(peer = %self.state.peer, %error, "request refused");
        let metrics = &self.worker.metrics;
        metrics.count_error(crate::metrics::ErrorKind::BadRequest);
        metrics.count_status(status.as_u16());
        let page = page::unreadable(status, &error.to_string());
        if let Some(access) = &self.worker.access {
            let (first, bytes) = (first_line(self.unread()), page.body().len() as u64);
            let id = self.worker.request_id();
            tail::log_garbage(access, &self.state, id, first, (status, bytes));
        }
        self.write_page(&page, Version::HTTP_11, Persist::Close, &Method::GET);
        match poll_fn(|cx| self.poll_flush_timed(cx)).await {
            Ok(()) => After::Linger,
            Err(_) => After::End,
        }
    }

    /// Makes sure that there is a buffer to write to.
    fn lend_out(&mut self) {
        if self.out.capacity() == 0 {
            self.out = self.worker.buffers.small();
        }
    }

    /// Writes what is queued; gives the buffer back afterwards.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.out_at < self.out.len() {
            let bytes = &self.out[self.out_at..];
            let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
            self.state.wrote(&self.stream, count(&written));
            match ready!(written)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.out_at += count,
            }
        }
        self.out_at = 0;
        self.worker.buffers.reclaim(&mut self.out);
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.state
            .wrote(&self.stream, flushed.is_ready().then_some(0));
        flushed
    }

    /// The same, for as long as the client takes bytes.
    fn poll_flush_timed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.poll_flush(cx) {
            Poll::Pending => self.poll_stalled(cx).map(Err),
            flushed => flushed,
        }
    }

    /// Whether the client has taken nothing for too long.
    fn poll_stalled(&self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if self.state.is_over() {
            return Poll::Ready(io::ErrorKind::TimedOut.into());
        }
        self.state.timer().wake_with(cx.waker());
        Poll::Pending
    }

    /// An answer of a route begins.
    fn pace(&self, tail: &Tail) {
        if self.state.paces(tail.record.min_rate) {
            self.stream.keep_unsent_small();
        }
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.worker.buffers.reclaim(&mut self.ahead);
        self.worker.buffers.reclaim(&mut self.out);
        match Pin::new(&mut self.stream).poll_shutdown(cx) {
            Poll::Pending => {
                self.state.wrote(&self.stream, None);
                self.poll_stalled(cx).map(Err)
            }
            ended => ended,
        }
    }

    /// Lets bytes through both ways from here on.
    async fn tunnel(mut self: Box<Self>, link: Box<Link>, mut tail: Box<Tail>) {
        if poll_fn(|cx| self.poll_flush_timed(cx)).await.is_err() {
            return;
        }
        let early = self.unread().to_vec();
        self.worker.buffers.reclaim(&mut self.ahead);
        let Self {
            stream,
            state,
            worker,
            ..
        } = *self;
        state.timer().disarm();
        tail.head.shrink();
        Tunnel::new(stream, *link, early, worker, state)
            .run(tail)
            .await;
    }
}

/// How a request that cannot be read began.
fn first_line(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.trim_ascii_start();
    let end = memchr::memchr(b'\n', bytes).unwrap_or(bytes.len());
    bytes[..end].trim_ascii_end()
}

/// For [`ConnState::wrote`].
fn count(written: &Poll<io::Result<usize>>) -> Option<usize> {
    match written {
        Poll::Ready(Ok(count)) => Some(*count),
        Poll::Ready(Err(_)) => Some(0),
        Poll::Pending => None,
    }
}
