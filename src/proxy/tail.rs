//! A request from its head to the end of its response, and what is left to do then.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::{StatusCode, Version};

use super::auths::Pass;
use super::exchange::{Kept, Response, TakenIn};
use super::fields::{FieldIndex, Fields, Known};
use super::head::RequestHead;
use super::state::ConnState;
use super::tries::Tries;
use super::worker::Worker;
use crate::access::{AccessLine, AccessWriter, RequestId, TlsSession};
use crate::filter::inflight::{Places, Waiting};
use crate::line::Queued;
use crate::metrics::ErrorKind;
use crate::model::Compress;
use crate::route::{Admitted, Errors, Route};
use crate::tls::openssl_name;
use crate::upstream::Busy;

/// One request. Its end counts it, logs it and tells the connection; that is on drop, so also when
/// the client goes away.
pub(crate) struct Tail {
    pub(crate) worker: Rc<Worker>,
    pub(crate) conn: Rc<ConnState>,
    pub(crate) head: Box<RequestHead>,
    pub(crate) started: Instant,
    /// 499 until there is a response, as nginx logs a client that left.
    pub(crate) status: u16,
    /// Bytes of the response body.
    pub(crate) bytes: u64,
    /// See [`request_id`].
    pub(crate) request_id: u64,
    pub(crate) record: Record,
}

/// What is found out on the way: for the log, and to be held to the end.
#[derive(Default)]
pub(crate) struct Record {
    /// Whether the request may be in the access log.
    logged: bool,
    /// Wharf's own number for it.
    id: u64,
    pub(crate) client: Option<IpAddr>,
    /// Whether it came from a trusted proxy.
    pub(crate) trusted: bool,
    /// Where its line will say so.
    route: Option<Arc<Route>>,
    pub(crate) tries: Tries,
    /// What the cache has made of it, in nginx's words: `HIT`, `MISS` ...
    pub(crate) cache: Option<&'static str>,
    /// Where the upstream counts what is under way.
    pub(crate) busy: Option<Busy>,
    /// By the route's breaker, which is to be told what comes of it.
    pub(crate) admitted: Option<Admitted>,
    /// While it waits in line for a place.
    pub(crate) queued: Option<Queued>,
    /// Where its route has so many requests at a time.
    pub(crate) places: Places,
    /// While it waits for one of these.
    pub(crate) waiting: Option<Waiting>,
    /// What was sent of the body by a try that has failed, while there may be another.
    pub(crate) kept: Option<Box<Kept>>,
    /// All of its body, where it was taken in before anybody was asked; until an answer begins.
    pub(crate) taken_in: Option<Rc<TakenIn>>,
    /// Its route's own pages, should there be an error.
    pub(crate) errors: Option<Arc<Errors>>,
    /// How its answer is compressed.
    pub(crate) compress: Option<Arc<Compress>>,
    /// What the server that decides who gets in has said of it.
    pub(crate) passed: Option<Rc<Pass>>,
    /// Bytes in a second that its client has to take of the answer; 0 is any.
    pub(crate) min_rate: u64,
    /// Its client is to get no chunks (`wharf.chunked`).
    pub(crate) unchunked: bool,
    /// Whether the route's rate limits have counted it.
    pub(crate) counted: bool,
    /// When its client will no longer wait, where that is known.
    pub(crate) deadline: Option<Instant>,
    /// Nobody waits for it: the cache gets something newer.
    pub(crate) background: bool,
    /// Whether its upstream has counted it.
    pub(crate) asked: bool,
}

/// What a request is called: as it says itself where the one who says so is `trusted`, or by `own`.
pub(crate) fn request_id(fields: Fields<'_>, own: u64, trusted: bool) -> RequestId<'_> {
    let told = trusted.then(|| fields.get(Known::XRequestId)).flatten();
    told.and_then(RequestId::told)
        .unwrap_or(RequestId::Own(own))
}

impl Record {
    /// Its route is known, and with it whether it may be logged.
    pub(crate) fn found(&mut self, route: &Arc<Route>, access: Option<&AccessWriter>) {
        let Some(access) = access else {
            return;
        };
        self.logged = route.log.may_take(self.id);
        self.tries.want(self.logged, access.is_timed());
        self.route = self.logged.then(|| Arc::clone(route));
    }
}

impl Tail {
    pub(crate) fn begin(worker: &Rc<Worker>, conn: &Rc<ConnState>, head: Box<RequestHead>) -> Self {
        conn.request_began();
        worker.metrics.requests_open.inc();
        match head.version {
            Version::HTTP_2 => worker.metrics.requests_h2.inc(),
            _ => worker.metrics.requests_h1.inc(),
        }
        let request_id = worker.request_id();
        Self {
            worker: Rc::clone(worker),
            conn: Rc::clone(conn),
            head,
            started: Instant::now(),
            status: 499,
            bytes: 0,
            request_id,
            record: Record {
                logged: worker.access.is_some(),
                id: request_id,
                ..Record::default()
            },
        }
    }

    /// A response head is about to be sent.
    pub(crate) fn responds(&mut self, status: StatusCode) {
        self.status = status.as_u16();
        let metrics = &self.worker.metrics;
        metrics.count_status(self.status);
        metrics.request_seconds.observe(self.started.elapsed());
    }

    fn log(&self, access: &AccessWriter) {
        let (head, conn, record) = (&self.head, &self.conn, &self.record);
        let duration = self.started.elapsed();
        let route = record.route.as_deref();
        let fields = head.fields();
        access.write(&AccessLine {
            // Who is not logged need not have looked at it.
            time: SystemTime::now()
                .checked_sub(duration)
                .unwrap_or(UNIX_EPOCH),
            duration,
            client: record.client.unwrap_or_else(|| conn.peer.ip()),
            peer: conn.peer,
            scheme: scheme(conn),
            tls: tls(conn),
            host: head.authority().unwrap_or(""),
            method: head.method.as_str(),
            path: head.target(),
            absolute: head
                .uri()
                .and_then(|uri| Some((uri.scheme_str()?, uri.authority()?.as_str()))),
            protocol: protocol(head.version),
            garbage: None,
            fields: &fields,
            head_bytes: head.len() as u64,
            bytes_in: record.tries.taken,
            status: self.status,
            bytes: self.bytes,
            route: route.map_or("", |route| &route.key.0),
            failed: record.tries.all_failed(),
            answered: route.and_then(|route| record.tries.told(&route.upstream)),
            cache: record.cache,
            request_id: request_id(fields, self.request_id, record.trusted),
        });
    }

    /// Once all of a response is read ahead, its place at the app is for others.
    pub(crate) fn looks_at(&mut self, response: &Response) {
        if response.is_all_read() {
            self.record.busy = None;
        }
    }

    /// The client left before there was a response.
    pub(crate) fn gone(&self) {
        self.worker.metrics.count_error(ErrorKind::ClientClosed);
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        let metrics = &self.worker.metrics;
        metrics.requests_open.dec();
        metrics.bytes_out.add(self.bytes);
        self.conn.request_ended();
        let route = self.record.route.as_deref();
        if self.record.logged
            && route.is_none_or(|route| route.log.takes(self.status, self.request_id))
            && let Some(access) = &self.worker.access
        {
            self.log(access);
        }
        let fields = self.head.take_fields();
        self.worker.buffers.give(fields.text);
        self.worker.buffers.give_index(fields.index);
    }
}

/// Logs what could not be read, of which nothing is known but how it began.
pub(crate) fn log_garbage(
    access: &AccessWriter,
    conn: &ConnState,
    id: u64,
    first_line: &[u8],
    (status, bytes): (StatusCode, u64),
) {
    let index = FieldIndex::default();
    access.write(&AccessLine {
        time: SystemTime::now(),
        duration: Duration::ZERO,
        client: conn.peer.ip(),
        peer: conn.peer,
        scheme: scheme(conn),
        tls: tls(conn),
        host: "",
        method: "",
        path: "",
        absolute: None,
        protocol: "",
        garbage: Some(first_line),
        fields: &Fields::new(b"", &index),
        head_bytes: 0,
        bytes_in: 0,
        status: status.as_u16(),
        bytes,
        route: "",
        failed: &[],
        answered: None,
        cache: None,
        request_id: RequestId::Own(id),
    });
}

fn scheme(conn: &ConnState) -> &'static str {
    if conn.tls { "https" } else { "http" }
}

fn tls(conn: &ConnState) -> Option<TlsSession<'_>> {
    conn.cipher.map(|cipher| TlsSession {
        version: if conn.tls13 { "TLSv1.3" } else { "TLSv1.2" },
        cipher: openssl_name(cipher),
        name: conn.sni.as_deref(),
    })
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP/1.1",
    }
}
