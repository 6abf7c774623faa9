//! How long a route waits for its app, which connections to it are kept, how many requests it has at
//! once, and when it is left alone (product.md S66, S67, B29, B31).

use std::time::Duration;

use serde::Serialize;

use super::duration;

/// `wharf.timeout`. Zero is "no limit".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Timeouts {
    /// TCP connect to an endpoint. Default 2 s; then the next endpoint is tried.
    #[serde(serialize_with = "duration")]
    pub connect: Duration,
    /// From the request sent to the response head. Default: as `read`.
    #[serde(serialize_with = "duration")]
    pub first: Duration,
    /// Between two reads of the response body. Default 60 s.
    #[serde(serialize_with = "duration")]
    pub read: Duration,
    /// Between two successful writes to the endpoint. Default 60 s.
    #[serde(serialize_with = "duration")]
    pub send: Duration,
    /// Between two reads of the request body from the client (nginx `client_body_timeout`), until the
    /// answer begins. Default 60 s.
    #[serde(serialize_with = "duration")]
    pub body: Duration,
    /// Bytes in a second that a client has to send of its body, and to take of its answer, while it is waited for,
    /// over 30 s each (Apache `MinRate`). Default 0: any.
    pub min_rate: u64,
}

/// `wharf.keepalive`: which connections to an endpoint are used again, with nginx's meaning of
/// `keepalive`, `keepalive_timeout`, `keepalive_requests` and `keepalive_time`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Keepalive {
    /// Idle ones kept, for each endpoint and worker. Default [`Keepalive::IDLE`]; 0: each request has a
    /// connection of its own, and the app is told so.
    pub idle: u32,
    /// How long one is kept without a request. Default 60 s; 0: as long as the app keeps it.
    #[serde(serialize_with = "duration")]
    pub timeout: Duration,
    /// Requests on one. Default 1000; 0: no limit.
    pub requests: u32,
    /// Age at which one is closed after a request. Default 1 h; 0: no limit.
    #[serde(serialize_with = "duration")]
    pub time: Duration,
}

/// `wharf.max_conns`: how many requests a replica has at once, and how many wait for a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MaxConns {
    /// Requests under way and WebSockets, over all workers (nginx `max_conns`). Default 0: no limit.
    pub count: u32,
    /// Requests that wait for a place, at any replica of the upstream. Default 100; 0: none.
    pub queue: u32,
    /// How long each of them waits. Default 2 s; 0: not at all.
    #[serde(serialize_with = "duration")]
    pub wait: Duration,
}

/// `wharf.breaker`: when a route is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct BreakerSpec {
    /// Share of requests that fail, in percent, at which it opens. Default 50.
    pub errors: u8,
    /// Within this time. Default 10 s.
    #[serde(serialize_with = "duration")]
    pub over: Duration,
    /// Of so many requests at least. Default 20.
    pub min: u32,
    /// How long it stays open before some requests are let through to see. Default 10 s.
    #[serde(serialize_with = "duration")]
    pub open: Duration,
}

impl Keepalive {
    /// HTTP/2 clients bring requests in bursts of a hundred each; a pool as small as nginx's default of
    /// 32 would close and dial in step with them. One that is not needed again goes after `timeout`.
    pub const IDLE: u32 = 1024;

    /// Whether no connection is used twice.
    pub fn is_off(&self) -> bool {
        self.idle == 0
    }
}

impl Default for BreakerSpec {
    fn default() -> Self {
        Self {
            errors: 50,
            over: Duration::from_secs(10),
            min: 20,
            open: Duration::from_secs(10),
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(2),
            first: Duration::from_secs(60),
            read: Duration::from_secs(60),
            send: Duration::from_secs(60),
            body: Duration::from_secs(60),
            min_rate: 0,
        }
    }
}

impl MaxConns {
    /// Requests that wait for one upstream at most.
    pub const MAX_QUEUE: u32 = 1000;
}

impl Default for MaxConns {
    fn default() -> Self {
        Self {
            count: 0,
            queue: 100,
            wait: Duration::from_secs(2),
        }
    }
}

impl Default for Keepalive {
    fn default() -> Self {
        Self {
            idle: Self::IDLE,
            timeout: Duration::from_secs(60),
            requests: 1000,
            time: Duration::from_secs(3600),
        }
    }
}
