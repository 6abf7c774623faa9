//! A request from its head to the end of its response, and what is left to do then.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use http::Version;

use super::auths::Pass;
use super::exchange::Kept;
use super::fields::{Fields, Known};
use super::head::RequestHead;
use super::state::ConnState;
use super::worker::Worker;
use crate::access::{AccessLine, RequestId};
use crate::filter::inflight::{Places, Waiting};
use crate::line::Queued;
use crate::metrics::ErrorKind;
use crate::model::Address;
use crate::route::{Admitted, Errors, Route};
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
    /// When requests are logged.
    pub(crate) time: Option<SystemTime>,
    pub(crate) client: Option<IpAddr>,
    /// Whether it came from a trusted proxy.
    pub(crate) trusted: bool,
    pub(crate) route: Option<Arc<Route>>,
    pub(crate) endpoint: Option<Address>,
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
    /// Its route's own pages, should there be an error.
    pub(crate) errors: Option<Arc<Errors>>,
    /// What the server that decides who gets in has said of it.
    pub(crate) passed: Option<Rc<Pass>>,
    /// Its client is to get no chunks (`wharf.chunked`).
    pub(crate) unchunked: bool,
    /// Whether the route's rate limits have counted it.
    pub(crate) counted: bool,
    /// When its client will no longer wait, where that is known.
    pub(crate) deadline: Option<Instant>,
    /// Whether its upstream has counted it.
    pub(crate) asked: bool,
}

/// What a request is called: as it says itself where the one who says so is `trusted`, or by `own`.
pub(crate) fn request_id(fields: Fields<'_>, own: u64, trusted: bool) -> RequestId<'_> {
    let told = trusted.then(|| fields.get(Known::XRequestId)).flatten();
    told.and_then(RequestId::told)
        .unwrap_or(RequestId::Own(own))
}

impl Tail {
    pub(crate) fn begin(worker: &Rc<Worker>, conn: &Rc<ConnState>, head: Box<RequestHead>) -> Self {
        conn.request_began();
        worker.metrics.requests_open.inc();
        match head.version {
            Version::HTTP_2 => worker.metrics.requests_h2.inc(),
            _ => worker.metrics.requests_h1.inc(),
        }
        Self {
            worker: Rc::clone(worker),
            conn: Rc::clone(conn),
            head,
            started: Instant::now(),
            status: 499,
            bytes: 0,
            request_id: worker.request_id(),
            record: Record {
                time: worker.access.is_some().then(SystemTime::now),
                ..Record::default()
            },
        }
    }

    /// A response head is about to be sent.
    pub(crate) fn responds(&mut self, status: http::StatusCode) {
        self.status = status.as_u16();
        let metrics = &self.worker.metrics;
        metrics.count_status(self.status);
        metrics.request_seconds.observe(self.started.elapsed());
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
        let route = self.record.route.as_ref();
        let logged = route.is_none_or(|route| route.log.takes(self.status, self.request_id));
        if let (Some(time), Some(access)) = (self.record.time, &self.worker.access)
            && logged
        {
            access.write(&AccessLine {
                time,
                client: self.record.client.unwrap_or_else(|| self.conn.peer.ip()),
                host: self.head.authority().unwrap_or(""),
                method: self.head.method.as_str(),
                path: self.head.target(),
                status: self.status,
                bytes: self.bytes,
                duration: self.started.elapsed(),
                route: self.record.route.as_ref().map_or("", |route| &route.key.0),
                endpoint: self.record.endpoint.as_ref(),
                request_id: request_id(self.head.fields(), self.request_id, self.record.trusted),
                protocol: protocol(self.head.version),
            });
        }
        let fields = self.head.take_fields();
        self.worker.buffers.give(fields.text);
        self.worker.buffers.give_index(fields.index);
    }
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP/1.1",
    }
}
