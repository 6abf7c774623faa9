//! A response body on its way to the client, and what is left to do when it ends.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use http::{Method, Uri, Version};
use hyper::body::{Frame, SizeHint};

use super::exchange::{ExchangeError, ResponseBody};
use super::stream::{self, Turn};
use super::wire::ConnState;
use super::worker::Worker;
use crate::access::AccessLine;
use crate::model::RouteKey;

/// What hyper sends.
pub(crate) struct Body {
    content: Content,
    tail: Option<Tail>,
}

/// The few kinds a body can be.
pub(crate) enum Content {
    Empty,
    /// Already in memory.
    Whole(Bytes),
    Streamed(Box<ResponseBody>),
}

/// The end of a request: counts it, logs it, tells the connection. Runs on drop, so also when the
/// client goes away.
pub(crate) struct Tail {
    pub(crate) worker: Rc<Worker>,
    conn: Rc<ConnState>,
    pub(crate) started: Instant,
    /// 499 until there is a response, as nginx logs a client that left.
    pub(crate) status: u16,
    pub(crate) bytes: u64,
    pub(crate) request_id: u64,
    /// Present when requests are logged.
    pub(crate) record: Option<Box<Record>>,
}

/// What the access log says of a request beyond the numbers.
pub(crate) struct Record {
    pub(crate) time: SystemTime,
    pub(crate) client: IpAddr,
    pub(crate) host: String,
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) version: Version,
    pub(crate) route: Option<RouteKey>,
    pub(crate) endpoint: Option<SocketAddr>,
}

impl Body {
    pub(crate) fn new(content: Content, tail: Tail) -> Self {
        Self {
            content,
            tail: Some(tail),
        }
    }

    /// For the response that starts a tunnel; its tail goes with the tunnel.
    pub(crate) fn without_tail() -> Self {
        Self {
            content: Content::Empty,
            tail: None,
        }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = ExchangeError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ExchangeError>>> {
        let this = &mut *self;
        let frame = match &mut this.content {
            Content::Empty => Poll::Ready(None),
            Content::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                this.content = Content::Empty;
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Content::Streamed(body) => body.poll_frame(cx),
        };
        stream::turn(if frame.is_pending() {
            Turn::Wharf
        } else {
            Turn::Handed
        });
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(data) = frame.data_ref()
            && let Some(tail) = &mut this.tail
        {
            tail.bytes += data.len() as u64;
        }
        if let Poll::Ready(Some(Err(error))) = &frame {
            if let Some(tail) = &this.tail {
                tail.worker.metrics.count_error(error.kind());
            }
            tracing::debug!(%error, "response cut");
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Empty => true,
            Content::Whole(bytes) => bytes.is_empty(),
            Content::Streamed(body) => body.is_done(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Empty => SizeHint::with_exact(0),
            Content::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Streamed(body) => body
                .remaining()
                .map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}

impl Tail {
    pub(crate) fn begin(worker: &Rc<Worker>, conn: &Rc<ConnState>) -> Self {
        conn.request_began();
        worker.metrics.requests_open.inc();
        Self {
            worker: Rc::clone(worker),
            conn: Rc::clone(conn),
            started: Instant::now(),
            status: 499,
            bytes: 0,
            request_id: worker.request_id(),
            record: None,
        }
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        let metrics = &self.worker.metrics;
        metrics.requests_open.dec();
        metrics.bytes_out.add(self.bytes);
        self.conn.request_ended();
        if let (Some(record), Some(access)) = (self.record.take(), &self.worker.access) {
            access.write(&AccessLine {
                time: record.time,
                client: record.client,
                host: &record.host,
                method: record.method.as_str(),
                path: record.uri.path_and_query().map_or("", |path| path.as_str()),
                status: self.status,
                bytes: self.bytes,
                duration: self.started.elapsed(),
                route: record.route.as_ref().map_or("", |key| &key.0),
                endpoint: record.endpoint,
                request_id: self.request_id,
                protocol: protocol(record.version),
            });
        }
    }
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP/1.1",
    }
}

/// Services never fail: every error is an answer.
pub(crate) type Never = Infallible;
