//! Choose an endpoint, send, try again where that is safe, hand the answer back.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode, Version};
use http_body::Body as _;
use hyper::body::Incoming;

use super::body::{Content, Tail};
use super::error::ProxyError;
use super::exchange::{Exchange, ExchangeError, Head, MAX_INTERIM, ResponseBody};
use super::h1::Framing;
use super::headers::{self, Origin, RequestFraming};
use super::pool::Link;
use super::tunnel::Tunnel;
use super::wire::ConnState;
use super::worker::Worker;
use crate::route::Route;
use crate::upstream::{Endpoint, Tried};

/// One request on its way to an upstream.
pub(crate) struct Forward<'a> {
    pub(crate) worker: &'a Rc<Worker>,
    pub(crate) conn: &'a ConnState,
    pub(crate) route: &'a Route,
    pub(crate) parts: &'a Parts,
    /// The request target, in two pieces where a prefix was cut off.
    pub(crate) target: [&'a str; 2],
    pub(crate) origin: Origin<'a>,
    pub(crate) websocket: bool,
}

/// What comes of it.
pub(crate) enum Answer {
    Response(Response<Content>),
    /// Both sides agreed to switch; the tunnel waits for hyper to let go of the connection.
    Switched(Response<()>, Link),
}

impl Forward<'_> {
    /// Sends the request to one endpoint after the other until one answers.
    ///
    /// A refused or slow connect moves on with any method, since nothing was sent. A connection
    /// from the pool that turns out to be dead is replaced by a new one where the request can be
    /// sent again.
    pub(crate) async fn send(&self, body: Incoming, tail: &mut Tail) -> Result<Answer, ProxyError> {
        let framing = self.framing(&body);
        let mut body = (!body.is_end_stream()).then_some(body);
        let mut tried = Tried::default();
        let mut failed = None;
        let mut timeouts = 0;
        while let Some((index, endpoint)) = self.route.upstream.pick(&tried) {
            if failed.is_some() {
                self.worker.metrics.retries.inc();
            }
            let mut pooled = true;
            loop {
                let link = match self.link(endpoint, pooled).await {
                    Ok(link) => link,
                    Err(error) => {
                        timeouts += u32::from(matches!(error, ProxyError::ConnectTimeout { .. }));
                        failed = Some(error);
                        break;
                    }
                };
                let mut exchange = self.exchange(endpoint, link, body.take(), framing);
                match self.head(&mut exchange).await {
                    Ok(head) => {
                        if let Some(record) = &mut tail.record {
                            record.endpoint = Some(endpoint.addr);
                        }
                        return self.answer(endpoint, exchange, head).await;
                    }
                    Err(ExchangeError::Closed(_))
                        if exchange.was_stale() && exchange.is_replayable(&self.parts.method) =>
                    {
                        self.worker.metrics.retries.inc();
                        body = exchange.into_body();
                        pooled = false;
                    }
                    // It died under the request: another replica may do better.
                    Err(cause @ ExchangeError::Closed(_))
                        if exchange.saw_nothing() && exchange.is_replayable(&self.parts.method) =>
                    {
                        failed = Some(self.failed(endpoint, cause));
                        body = exchange.into_body();
                        break;
                    }
                    Err(cause) => return Err(self.failed(endpoint, cause)),
                }
            }
            tried.add(index);
            if timeouts >= MAX_CONNECT_TIMEOUTS {
                break;
            }
        }
        Err(failed.unwrap_or_else(|| self.nobody()))
    }

    fn framing(&self, body: &Incoming) -> RequestFraming {
        if !body.is_end_stream() {
            return match body.size_hint().exact() {
                Some(length) => RequestFraming::Length(length),
                None => RequestFraming::Chunked,
            };
        }
        let parts = self.parts;
        let means_body = matches!(parts.method, Method::POST | Method::PUT | Method::PATCH);
        if means_body || parts.headers.contains_key(header::CONTENT_LENGTH) {
            RequestFraming::Length(0)
        } else {
            RequestFraming::None
        }
    }

    async fn link(&self, endpoint: &Endpoint, pooled: bool) -> Result<Link, ProxyError> {
        let metrics = &self.worker.metrics;
        let once = !self.parts.method.is_idempotent();
        if pooled && let Some(link) = self.worker.pool.take(endpoint.live.id, once) {
            metrics.upstream_reuses.inc();
            return Ok(link);
        }
        let limit = self.route.timeouts.connect;
        let open = Link::open(endpoint.addr, &self.worker.clock);
        let opened = if limit.is_zero() {
            open.await
        } else {
            match tokio::time::timeout(limit, open).await {
                Ok(opened) => opened,
                Err(_) => {
                    self.connect_failed(endpoint);
                    return Err(ProxyError::ConnectTimeout {
                        container: (&*endpoint.container).into(),
                        endpoint: endpoint.addr,
                        limit,
                    });
                }
            }
        };
        match opened {
            Ok(link) => {
                metrics.upstream_connects.inc();
                Ok(link)
            }
            Err(cause) => {
                self.connect_failed(endpoint);
                Err(connect_error(endpoint, cause))
            }
        }
    }

    fn connect_failed(&self, endpoint: &Endpoint) {
        use std::sync::atomic::Ordering;
        self.worker.metrics.upstream_connect_failures.inc();
        endpoint
            .live
            .connect_failures
            .fetch_add(1, Ordering::Relaxed);
    }

    fn exchange(
        &self,
        endpoint: &Endpoint,
        mut link: Link,
        body: Option<Incoming>,
        framing: RequestFraming,
    ) -> Exchange {
        let Parts {
            method, headers, ..
        } = self.parts;
        link.out.clear();
        headers::write_request(
            &mut link.out,
            method,
            &self.target,
            headers,
            &self.origin,
            framing,
            self.websocket,
        );
        let worker = Rc::clone(self.worker);
        let http2 = self.parts.version == Version::HTTP_2;
        Exchange::new(
            worker,
            endpoint.live.id,
            link,
            body,
            framing,
            http2,
            self.route.timeouts,
        )
    }

    /// The final response head (or 101); interim ones are passed on.
    async fn head(&self, exchange: &mut Exchange) -> Result<Head, ExchangeError> {
        for _ in 0..=MAX_INTERIM {
            let head = poll_fn(|cx| exchange.poll_head(cx, &self.parts.method)).await?;
            if !head.status.is_informational() || head.status == StatusCode::SWITCHING_PROTOCOLS {
                return Ok(head);
            }
            // `Expect` ends here: hyper has sent its own 100 when the body was first read.
            if head.status != StatusCode::CONTINUE && self.parts.version == Version::HTTP_11 {
                self.conn.send_interim(&interim(head));
            }
        }
        Err(ExchangeError::Interim)
    }

    async fn answer(
        &self,
        endpoint: &Endpoint,
        exchange: Exchange,
        mut head: Head,
    ) -> Result<Answer, ProxyError> {
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            return self.switch(endpoint, exchange, head);
        }
        let bodiless = matches!(
            head.status,
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        );
        let keep_length = !bodiless && head.framing != Framing::Chunked;
        headers::strip_response(&mut head.headers, keep_length);
        let mut body = ResponseBody::new(exchange, head.framing, head.keep_alive);
        let whole = match head.framing {
            Framing::Empty => Some(Bytes::new()),
            _ => body.take_whole(),
        };
        let content = match whole {
            Some(bytes) => {
                poll_fn(|cx| {
                    body.finish(cx);
                    Poll::Ready(())
                })
                .await;
                if bytes.is_empty() {
                    Content::Empty
                } else {
                    Content::Whole(bytes)
                }
            }
            None => Content::Streamed(Box::new(body)),
        };
        let mut response = Response::new(content);
        *response.status_mut() = head.status;
        *response.headers_mut() = head.headers;
        Ok(Answer::Response(response))
    }

    fn switch(
        &self,
        endpoint: &Endpoint,
        exchange: Exchange,
        mut head: Head,
    ) -> Result<Answer, ProxyError> {
        let agreed = self.websocket
            && head.headers.get(header::UPGRADE).is_some_and(|value| {
                value
                    .as_bytes()
                    .trim_ascii()
                    .eq_ignore_ascii_case(b"websocket")
            });
        if !agreed {
            return Err(ProxyError::UnsolicitedUpgrade {
                container: (&*endpoint.container).into(),
                endpoint: endpoint.addr,
            });
        }
        headers::strip_response(&mut head.headers, false);
        head.headers
            .insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        head.headers
            .insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        let mut response = Response::new(());
        *response.status_mut() = head.status;
        *response.headers_mut() = head.headers;
        Ok(Answer::Switched(response, exchange.into_link()))
    }

    fn failed(&self, endpoint: &Endpoint, cause: ExchangeError) -> ProxyError {
        ProxyError::Exchange {
            container: (&*endpoint.container).into(),
            endpoint: endpoint.addr,
            cause,
        }
    }

    fn nobody(&self) -> ProxyError {
        let upstream = &self.route.upstream;
        if upstream.endpoints.is_empty() {
            let reasons = upstream.unreachable.clone();
            return ProxyError::Unreachable {
                upstream: upstream.key.clone(),
                reasons,
            };
        }
        ProxyError::NoEndpoint(upstream.key.clone())
    }
}

/// Puts a tunnel in place for when hyper lets go of the connection.
pub(crate) fn tunnel(conn: &ConnState, link: Link, tail: Tail) {
    link.timer.disarm();
    conn.set_tunnel(Box::new(Tunnel { link, tail }));
}

fn interim(mut head: Head) -> Vec<u8> {
    headers::strip_response(&mut head.headers, false);
    let reason = head.status.canonical_reason().unwrap_or("");
    let mut out = format!("HTTP/1.1 {} {reason}\r\n", head.status.as_str()).into_bytes();
    for (name, value) in &head.headers {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out
}

fn connect_error(endpoint: &Endpoint, cause: io::Error) -> ProxyError {
    ProxyError::Connect {
        container: (&*endpoint.container).into(),
        endpoint: endpoint.addr,
        cause,
    }
}

/// Connects that ran into their time limit before the request is given up.
const MAX_CONNECT_TIMEOUTS: u32 = 3;
