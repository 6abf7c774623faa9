//! Choose an endpoint, send, try again where that is safe, hand the answer back.

use std::future::{Future, poll_fn};
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use http::StatusCode;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;

use super::attempts::{Answered, Attempts};
use super::error::ProxyError;
use super::exchange::{
    CallExchange, Client, Exchange, ExchangeError, Kept, LinkExchange, MAX_INTERIM, Response,
    TakenIn, Terms, accel, is_stream,
};
use super::fields::{Fields, Known};
use super::head::RequestHead;
use super::headers::{self, Connection, Dress, Named, Origin, Own};
use super::http2::{Asked, Trunk};
use super::local::Local;
use super::page::Page;
use super::pool::{Link, OpenError};
use super::tail::Record;
use super::worker::Worker;
use crate::metrics::RetryReason;
use crate::model::{Balance, Facts, HashOn, Timeouts};
use crate::route::Route;
use crate::spool::Bounds;
use crate::tls::{HandshakeFault, server_name};
use crate::upstream::{Ask, Choice, Endpoint, Failure, Key, NoPlace, Taken, Upstream};

/// One request on its way to an upstream.
pub(crate) struct Forward<'a> {
    pub(crate) worker: &'a Rc<Worker>,
    pub(crate) route: &'a Route,
    pub(crate) head: &'a RequestHead,
    /// The request target, in two pieces where a prefix was cut off.
    pub(crate) target: [&'a str; 2],
    pub(crate) origin: Origin<'a>,
    /// Of the request as the client sent it; the path as it was written.
    pub(crate) facts: Facts<'a>,
    pub(crate) websocket: bool,
    /// Lines for the client beside the app's own: cookies of the server that has let the request through.
    pub(crate) cookies: &'a [u8],
}

/// How an exchange gets to its endpoint.
enum Way {
    /// A connection of its own.
    Link(Box<Link>),
    /// One that is shared.
    Trunk(Rc<Trunk>),
}

/// What comes of it.
pub(crate) enum Answer {
    /// Wharf's own.
    Page(Box<Page>),
    /// Wharf's own, of bytes that come as the client takes them.
    Local(Box<Local>),
    /// The upstream's.
    Response(Response),
    /// Both sides agreed to switch protocols; the upstream's head is still to be passed on.
    Switched(Box<Exchange>),
    /// The client has left; nobody is there to be answered.
    Gone,
}

/// Why there is none.
pub(crate) enum Refusal {
    /// It will not be any better.
    Final(ProxyError),
    /// Nothing of the request has been lost; there may soon be an endpoint for it.
    ForNow(ProxyError),
    /// All endpoints have as many requests as they may; nothing has been sent.
    Full,
    /// The last endpoint that was asked has gone away under the request, which may go to another; to
    /// the same one it is not sent again.
    Cut(ProxyError, u64),
}

impl Forward<'_> {
    /// Sends the request to one endpoint after the other until one answers.
    ///
    /// A refused or slow connect moves on with any method, since nothing was sent. A connection
    /// from the pool that turns out to be dead is replaced by a new one where the request can be
    /// sent again. What else moves on is `wharf.retry`'s to say.
    pub(crate) async fn send<C: Client>(
        &self,
        client: &mut C,
        record: &mut Record,
    ) -> Result<Answer, Refusal> {
        let upstream = &self.route.upstream;
        let mut attempts = Attempts::default();
        let held = holder(self.route, self.head.fields());
        let ask = Ask {
            choice: choice(
                self.route,
                self.head,
                self.origin.authority,
                self.origin.client,
                || self.worker.random(),
            ),
            held,
            slow_start: self.route.slow_start,
        };
        if !std::mem::replace(&mut record.asked, true) {
            upstream.asked();
        }
        let full = loop {
            let queued = record.queued.is_some();
            let taken = upstream.take(&ask, &attempts.tried, queued, Instant::now);
            let Taken {
                index,
                endpoint,
                busy,
                away,
            } = match taken {
                Ok(taken) => taken,
                Err(none) => break none == NoPlace::Full,
            };
            let moves = held != Some(index) && !away;
            record.busy = busy;
            record.queued = None;
            attempts.count(&self.worker.metrics);
            record.tries.begin();
            let mut pooled = true;
            let mut after = 0;
            loop {
                let way = match endpoint.proto.is_http2() {
                    false => self
                        .link(endpoint, pooled, client)
                        .await
                        .map(|link| link.map(Way::Link)),
                    true if self.websocket => {
                        return Err(Refusal::Final(ProxyError::WebSocketHttp2));
                    }
                    true => {
                        // Boxed, so that other requests need not carry its room along.
                        let trunk = Box::pin(self.trunk(endpoint, after, client)).await;
                        trunk.map(|trunk| trunk.map(Way::Trunk))
                    }
                };
                let way = match way {
                    Ok(Some(way)) => way,
                    Ok(None) => return Ok(Answer::Gone),
                    Err(error) => {
                        record.tries.failed(endpoint, error.status(), false);
                        attempts.not_connected(error, endpoint.live.id);
                        break;
                    }
                };
                record.tries.connected();
                let limits = self.timeouts(record.deadline);
                let (kept, taken_in) = (&mut record.kept, record.taken_in.as_ref());
                let begun = self.exchange(endpoint, way, client, (limits, kept), taken_in);
                let Some(mut exchange) = begun else {
                    let error = self.failed(endpoint, ExchangeError::Untouched);
                    record.tries.failed(endpoint, error.status(), false);
                    attempts.failed(error, Some(RetryReason::Connect), endpoint.live.id);
                    break;
                };
                match self.final_head(&mut exchange, client).await {
                    Ok(()) => {
                        record.tries.headed();
                        let status = exchange.head.status.as_u16();
                        if self.route.retry.on.has_status(status) {
                            attempts.tried.add(index);
                            if self.asks_elsewhere(&attempts, &mut exchange, record) {
                                self.turned_down(status, endpoint);
                                record.tries.failed(endpoint, exchange.head.status, true);
                                record.tries.taken += exchange.taken();
                                let busy = record.busy.take();
                                attempts.answered(Box::new(Answered {
                                    index,
                                    endpoint,
                                    moves,
                                    exchange,
                                    busy,
                                }));
                                break;
                            }
                        }
                        if endpoint.succeed() {
                            let container = &*endpoint.container;
                            tracing::info!(container, endpoint = %endpoint.addr, "answers again");
                        }
                        attempts.forget();
                        return self.accept(moves, (index, endpoint), exchange, record);
                    }
                    Err(ExchangeError::ClientGone) => {
                        record.tries.taken += exchange.taken();
                        return Ok(Answer::Gone);
                    }
                    Err(cause) => {
                        record.tries.taken += exchange.taken();
                        let reason = exchange.retry_reason(&cause);
                        let late = || record.deadline.is_some_and(|end| end <= Instant::now());
                        let reason = reason.filter(|_| !late());
                        let reason =
                            reason.filter(|_| exchange.rescue(self.repeats(), &mut record.kept));
                        if reason == Some(RetryReason::Stale) && pooled {
                            self.worker.metrics.count_retry(RetryReason::Stale);
                            pooled = false;
                            after = exchange.serial();
                            continue;
                        }
                        let error = self.failed(endpoint, cause);
                        record.tries.failed(endpoint, error.status(), false);
                        attempts.failed(error, reason, endpoint.live.id);
                        break;
                    }
                }
            }
            attempts.tried.add(index);
            record.busy = None;
            if !self.goes_on(&mut attempts) {
                break false;
            }
        };
        if let Some(answered) = attempts.take_answer() {
            let Answered {
                index,
                endpoint,
                moves,
                exchange,
                busy,
            } = *answered;
            record.busy = busy;
            return self.accept(moves, (index, endpoint), exchange, record);
        }
        Err(attempts.refusal(full, || nobody(&self.route.upstream)))
    }

    /// The answer of `endpoint` is the one; `moves`: a sticky client has to be told where it is now.
    fn accept(
        &self,
        moves: bool,
        (index, endpoint): (u16, &Endpoint),
        mut exchange: Box<Exchange>,
        record: &mut Record,
    ) -> Result<Answer, Refusal> {
        record.tries.answered(index, endpoint, exchange.head.status);
        if moves {
            self.hold(endpoint, &mut exchange);
        }
        if self.route.dresses() || !self.cookies.is_empty() {
            self.dress(endpoint, &mut exchange);
        }
        let timed = record.tries.is_timed();
        self.answer(endpoint, exchange, timed)
            .map_err(Refusal::Final)
    }

    /// Writes what the route's labels make of the answer's fields.
    fn dress(&self, endpoint: &Endpoint, exchange: &mut Exchange) {
        let mut extra = std::mem::take(&mut exchange.extra);
        let dress = Dress {
            route: self.route,
            asked: self.head.fields(),
            https: self.origin.scheme == "https",
            authority: self.origin.authority,
            facts: self.facts,
            cookies: self.cookies,
        };
        let own = Own {
            addr: Named::Address(&endpoint.addr),
            host: self.sent_host(endpoint),
        };
        dress.write(&mut extra, exchange.fields(), Some(own));
        exchange.extra = extra;
    }

    /// Tells a sticky client where it is from now on.
    fn hold(&self, endpoint: &Endpoint, exchange: &mut Exchange) {
        if let Some(sticky) = &self.route.sticky {
            let secure = self.origin.scheme == "https";
            sticky.write(&mut exchange.extra.lines, &endpoint.live.token, secure);
        }
    }

    /// A connection to the endpoint; `None` when the client leaves meanwhile.
    async fn link<C: Client>(
        &self,
        endpoint: &Endpoint,
        pooled: bool,
        client: &mut C,
    ) -> Result<Option<Box<Link>>, ProxyError> {
        let metrics = &self.worker.metrics;
        if pooled
            && !self.route.keepalive.is_off()
            && let Some(link) = self.worker.pool.take(endpoint.live.id, !self.repeats())
        {
            metrics.upstream_reuses.inc();
            return Ok(Some(link));
        }
        // Boxed, so that requests on pooled connections need not carry its room along.
        Box::pin(self.dial(endpoint, client)).await
    }

    /// A connection of HTTP/2 with room for the request, newer than that with the serial number `after`; `None`
    /// when the client leaves meanwhile.
    async fn trunk<C: Client>(
        &self,
        endpoint: &Endpoint,
        after: u64,
        client: &mut C,
    ) -> Result<Option<Rc<Trunk>>, ProxyError> {
        let (pool, id) = (&self.worker.pool, endpoint.live.id);
        let alone = self.route.keepalive.is_off();
        let mut waits = !alone;
        loop {
            if !alone && let Some(trunk) = pool.trunk(id, after) {
                self.worker.metrics.upstream_reuses.inc();
                return Ok(Some(trunk));
            }
            let Some(dialing) = pool.dialing(id).filter(|_| waits) else {
                break;
            };
            // Somebody makes one already: that will do for many.
            let mut ended = pin!(dialing.ended());
            let failed = poll_fn(|cx| match client.poll_gone(cx) {
                Poll::Ready(()) => Poll::Ready(None),
                Poll::Pending => ended.as_mut().poll(cx).map(Some),
            });
            match failed.await {
                None => return Ok(None),
                Some(failed) => waits = !failed,
            }
        }
        let dial = pool.dial(id);
        let link = self.dial(endpoint, client).await?;
        Ok(link.map(|link| dial.done(self.worker, link.stream)))
    }

    /// How long the parts of an exchange may take: what the route says, and the client's own `deadline`.
    fn timeouts(&self, deadline: Option<Instant>) -> Timeouts {
        let limits = self.route.timeouts;
        let Some(deadline) = deadline else {
            return limits;
        };
        let left = deadline.saturating_duration_since(Instant::now());
        // Zero would be no limit.
        let left = left.max(Duration::from_millis(1));
        let within = |limit: Duration| match limit.is_zero() {
            true => left,
            false => limit.min(left),
        };
        Timeouts {
            first: within(limits.first),
            send: within(limits.send),
            body: within(limits.body),
            ..limits
        }
    }

    async fn dial<C: Client>(
        &self,
        endpoint: &Endpoint,
        client: &mut C,
    ) -> Result<Option<Box<Link>>, ProxyError> {
        let metrics = &self.worker.metrics;
        let limit = self.route.timeouts.connect;
        if !self.has(endpoint) {
            return Err(left(endpoint));
        }
        let tls = match self.tls(endpoint) {
            Ok(tls) => tls,
            Err(why) => {
                self.untrusted(endpoint);
                return Err(handshake_error(
                    endpoint,
                    HandshakeFault {
                        why: why.to_string(),
                        remedy: None,
                        lasting: true,
                    },
                ));
            }
        };
        let open = async {
            let open = Link::open(&endpoint.addr, endpoint.live.id, tls, &self.worker.clock);
            if limit.is_zero() {
                return Ok(open.await);
            }
            tokio::time::timeout(limit, open).await
        };
        let mut open = pin!(open);
        let mut changed = pin!(self.worker.changed.notified());
        let opened = poll_fn(|cx| {
            if let Poll::Ready(opened) = open.as_mut().poll(cx) {
                return Poll::Ready(Some(opened));
            }
            while changed.as_mut().poll(cx).is_ready() {
                changed.set(self.worker.changed.notified());
                if !self.has(endpoint) {
                    let gone = io::ErrorKind::AddrNotAvailable.into();
                    return Poll::Ready(Some(Ok(Err(OpenError::Connect(gone)))));
                }
            }
            client.poll_gone(cx).map(|()| None)
        });
        match opened.await {
            // The kernel tries for seconds: whoever has the address by now may have answered.
            Some(_) if !self.has(endpoint) => Err(left(endpoint)),
            Some(Ok(Ok(link))) if endpoint.proto.is_http2() && !link.agreed_on_http2() => {
                self.untrusted(endpoint);
                Err(handshake_error(
                    endpoint,
                    HandshakeFault::without_http2(None),
                ))
            }
            Some(Ok(Ok(link))) => {
                metrics.upstream_connects.inc();
                match link.resumed() {
                    None => {}
                    Some(false) => metrics.upstream_handshakes.inc(),
                    Some(true) => metrics.upstream_handshakes_resumed.inc(),
                }
                endpoint.listens(Instant::now());
                if self.route.upstream.reached() {
                    self.worker.engine.table.touch();
                }
                Ok(Some(Box::new(link)))
            }
            Some(Ok(Err(OpenError::Connect(cause)))) => {
                self.connect_failed(endpoint, Failure::of_connect(&cause));
                Err(connect_error(endpoint, cause))
            }
            Some(Ok(Err(OpenError::Handshake(cause)))) => {
                self.untrusted(endpoint);
                let fault = match endpoint.proto.is_http2() {
                    true => HandshakeFault::without_http2(Some(&cause)),
                    false => HandshakeFault::of(&cause),
                };
                Err(handshake_error(endpoint, fault))
            }
            Some(Err(_)) => {
                self.connect_failed(endpoint, Failure::ConnectTimeout);
                Err(ProxyError::ConnectTimeout {
                    container: (&*endpoint.container).into(),
                    endpoint: endpoint.addr.clone(),
                    limit,
                })
            }
            None => Ok(None),
        }
    }

    /// How the endpoint is spoken to over TLS, if it is.
    fn tls(
        &self,
        endpoint: &Endpoint,
    ) -> Result<Option<(Arc<ClientConfig>, ServerName<'static>)>, Arc<str>> {
        let (Some(tls), Some(ip)) = (&endpoint.tls, endpoint.addr.ip()) else {
            return Ok(None);
        };
        let worker = self.worker;
        let certs = worker.engine.certs.current();
        let wanted = certs.trust(&tls.verify).map_err(|fault| {
            let verify = &tls.verify;
            Arc::from(format!("wharf.upstream.verify: {verify}: {fault}"))
        })?;
        let http2 = endpoint.proto.is_http2();
        let config = worker.pool.tls(endpoint.live.id, wanted, http2);
        Ok(Some((config, server_name(tls, ip))))
    }

    fn untrusted(&self, endpoint: &Endpoint) {
        self.worker.metrics.upstream_handshakes_failed.inc();
        match endpoint.is_ready() {
            true => self.blame(endpoint, Failure::Tls),
            false => endpoint.note(Failure::Tls, Instant::now()),
        }
    }

    /// Whether the address is still the endpoint's container's. The table this request came with may be
    /// old.
    fn has(&self, endpoint: &Endpoint) -> bool {
        let table = self.worker.table();
        table.has_endpoint(&self.route.upstream.key, endpoint.live.id)
    }

    fn connect_failed(&self, endpoint: &Endpoint, failure: Failure) {
        use std::sync::atomic::Ordering;
        self.worker.metrics.upstream_connect_failures.inc();
        self.worker.engine.alarm.raise();
        endpoint
            .live
            .connect_failures
            .fetch_add(1, Ordering::Relaxed);
        match endpoint.is_ready() {
            true => self.blame(endpoint, failure),
            false => endpoint.note(failure, Instant::now()),
        }
    }

    /// A failure by the endpoint's fault.
    pub(super) fn blame(&self, endpoint: &Endpoint, failure: Failure) {
        let now = Instant::now();
        endpoint.note(failure, now);
        let alone = self.route.upstream.endpoints.len() == 1;
        if endpoint.fail(now) && !alone {
            let container = &*endpoint.container;
            tracing::warn!(container, endpoint = %endpoint.addr, "fails and rests for a while");
        }
    }

    /// The Host field the endpoint gets.
    fn sent_host<'s>(&'s self, endpoint: &'s Endpoint) -> &'s str {
        self.route.host_of(endpoint, self.origin.authority)
    }

    /// Begins an exchange; `None`: the connection takes no more.
    fn exchange<C: Client>(
        &self,
        endpoint: &Endpoint,
        way: Way,
        client: &C,
        (timeouts, kept): (Timeouts, &mut Option<Box<Kept>>),
        taken_in: Option<&Rc<TakenIn>>,
    ) -> Option<Box<Exchange>> {
        let host = self.sent_host(endpoint);
        let worker = Rc::clone(self.worker);
        let id = endpoint.live.id;
        let terms = Terms {
            timeouts,
            max_body: self.route.max_body,
            keepalive: self.route.keepalive,
            reserved: (self.head.has_body())
                .then(|| self.route.not_in_trailers.clone())
                .flatten(),
            repeats: self.repeats(),
            earlier: kept.take(),
            taken_in: taken_in.cloned(),
        };
        let head = self.head;
        match way {
            Way::Link(mut link) => {
                link.out = worker.buffers.small();
                let persist = match (self.websocket, self.route.keepalive.is_off()) {
                    (true, _) => Connection::Switch,
                    (false, true) => Connection::Close,
                    (false, false) => Connection::Keep,
                };
                let (out, target) = (&mut link.out, &self.target);
                headers::write_request(out, head, target, host, &self.origin, persist);
                Some(LinkExchange::begin(worker, id, link, head, client, terms))
            }
            Way::Trunk(trunk) => {
                let (mut lines, mut path) = (worker.buffers.small(), worker.buffers.text());
                headers::write_http2_lines(&mut lines, head, &self.origin);
                for part in &self.target {
                    path.extend_from_slice(part.as_bytes());
                }
                let asked = Asked {
                    method: &head.method,
                    scheme: match endpoint.proto.is_tls() {
                        true => "https",
                        false => "http",
                    },
                    authority: host,
                    path: &path,
                    lines: &lines,
                    last: true,
                };
                let begun = CallExchange::new(worker, id, &trunk, head, client, terms, asked);
                self.worker.buffers.give(lines);
                self.worker.buffers.give(path);
                match begun {
                    Ok(begun) => Some(Box::new(Exchange::Call(begun))),
                    Err(earlier) => {
                        *kept = earlier;
                        None
                    }
                }
            }
        }
    }

    /// The final response head (or 101); interim ones are passed on.
    async fn final_head<C: Client>(
        &self,
        exchange: &mut Exchange,
        client: &mut C,
    ) -> Result<(), ExchangeError> {
        for _ in 0..=MAX_INTERIM {
            poll_fn(|cx| exchange.poll_head(cx, client, &self.head.method)).await?;
            let status = exchange.head.status;
            if !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS {
                return Ok(());
            }
            // `Expect` ends here: Wharf sends its own 100 when the body is first read.
            if status != StatusCode::CONTINUE {
                client.send_interim(&exchange.head, exchange.head_text());
            }
            exchange.take_head();
        }
        Err(ExchangeError::Interim)
    }

    fn answer(
        &self,
        endpoint: &Endpoint,
        exchange: Box<Exchange>,
        timed: bool,
    ) -> Result<Answer, ProxyError> {
        let key = self.head.key();
        if exchange.head.status != StatusCode::SWITCHING_PROTOCOLS {
            // On a stream it would say that the WebSocket is open.
            if key.is_some() && exchange.head.status.is_success() {
                return Err(ProxyError::NoWebSocket {
                    container: (&*endpoint.container).into(),
                    endpoint: endpoint.addr.clone(),
                    status: exchange.head.status,
                });
            }
            let mut response = self.response(exchange);
            response.timed = timed;
            return Ok(Answer::Response(response));
        }
        if self.websocket && headers::is_websocket(exchange.fields()) {
            if key.is_none_or(|key| key.is_accepted(exchange.fields())) {
                return Ok(Answer::Switched(exchange));
            }
            return Err(ProxyError::NoWebSocket {
                container: (&*endpoint.container).into(),
                endpoint: endpoint.addr.clone(),
                status: exchange.head.status,
            });
        }
        Err(ProxyError::UnsolicitedUpgrade {
            container: (&*endpoint.container).into(),
            endpoint: endpoint.addr.clone(),
        })
    }

    /// An answer whose body follows, read ahead of its client where the route or the app says so.
    fn response(&self, mut exchange: Box<Exchange>) -> Response {
        let Some(buffer) = self.route.buffer.as_deref() else {
            return Response::new(exchange);
        };
        let Some(on) = buffer.response else {
            return Response::new(exchange);
        };
        let fields = exchange.fields();
        let ahead = accel(fields).unwrap_or(on) && !is_stream(fields);
        exchange.extra.instead |= Known::set(&[Known::XAccelBuffering]);
        let mut response = Response::new(exchange);
        if ahead {
            response.read_ahead(Bounds::from(buffer));
        }
        response
    }

    fn failed(&self, endpoint: &Endpoint, cause: ExchangeError) -> ProxyError {
        if let Some(failure) = cause.failure() {
            self.blame(endpoint, failure);
        }
        ProxyError::Exchange {
            container: (&*endpoint.container).into(),
            endpoint: endpoint.addr.clone(),
            cause,
        }
    }
}

/// What the route's policy needs to know of a request. `random` is used where chance decides.
pub(super) fn choice(
    route: &Route,
    head: &RequestHead,
    authority: &str,
    client: IpAddr,
    random: impl FnOnce() -> u64,
) -> Choice {
    match &route.balance {
        Balance::RoundRobin => Choice::Turn,
        Balance::LeastConn => Choice::LeastBusy,
        Balance::Random2 => Choice::Random(random()),
        Balance::IpHash => Choice::Key(Key::of_network(client)),
        Balance::Hash(on) => key(head, authority, on).map_or(Choice::Turn, Choice::Key),
    }
}

fn key(head: &RequestHead, authority: &str, on: &HashOn) -> Option<Key> {
    let fields = head.fields();
    Some(Key::of(match on {
        HashOn::Header(name) => headers::values(fields, authority, name).next()?,
        HashOn::Cookie(name) => headers::cookie(fields, name.as_bytes())?,
        HashOn::Path => head.path(head.target()).as_bytes(),
    }))
}

/// What a request gets that no endpoint can take.
pub(super) fn nobody(upstream: &Upstream) -> ProxyError {
    if upstream.endpoints.is_empty() {
        let reasons = upstream.unreachable.clone();
        return ProxyError::Unreachable {
            upstream: upstream.key.clone(),
            reasons,
            awaited: upstream.awaited,
        };
    }
    let mut reasons = upstream.complaints(Instant::now());
    if reasons.is_empty() {
        return ProxyError::NoEndpoint(upstream.key.clone());
    }
    reasons.extend_from_slice(&upstream.unreachable);
    ProxyError::Unhealthy {
        upstream: upstream.key.clone(),
        reasons,
    }
}

/// The endpoint of `route` that a sticky client names. It may have cookies for several paths.
pub(crate) fn holder(route: &Route, fields: Fields<'_>) -> Option<u16> {
    let name = route.sticky.as_ref()?.name.as_bytes();
    let mut cookies = headers::cookies(fields).filter(|(key, _)| *key == name);
    cookies.find_map(|(_, token)| route.upstream.holder(token))
}

fn left(endpoint: &Endpoint) -> ProxyError {
    ProxyError::Left {
        container: (&*endpoint.container).into(),
        endpoint: endpoint.addr.clone(),
    }
}

fn handshake_error(endpoint: &Endpoint, fault: HandshakeFault) -> ProxyError {
    ProxyError::Handshake {
        container: (&*endpoint.container).into(),
        endpoint: endpoint.addr.clone(),
        fault: Box::new(fault),
    }
}

fn connect_error(endpoint: &Endpoint, cause: io::Error) -> ProxyError {
    ProxyError::Connect {
        container: (&*endpoint.container).into(),
        endpoint: endpoint.addr.clone(),
        exposed: Arc::clone(&endpoint.exposed),
        cause,
    }
}
