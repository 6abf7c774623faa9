//! Per-worker counters, summed on read.
//!
//! A worker owns its [`WorkerMetrics`] and is the only one to write it, with a plain load and store
//! instead of a locked add. Readers sum over workers, and may see one worker a request ahead of
//! another.

mod render;
mod tls;
mod totals;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub use render::{
    CONTENT_TYPE, CacheGauges, CertificateGauge, EngineGauges, Gauges, HealthGauge, IssuingGauges,
};
pub use tls::{KeyExchange, SessionMetrics, SessionTotals, TlsVersion};
pub use totals::{ConnectionTotals, HistogramTotals, Totals};

/// All workers' counters.
#[derive(Debug, Clone)]
pub struct Metrics {
    workers: Arc<[Arc<WorkerMetrics>]>,
}

/// A number that one thread writes and any thread reads.
///
/// Invariant: written by the owning worker only. A second writer loses counts, nothing worse.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

/// A number that rises and falls; same invariant as [`Counter`].
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

/// A distribution over [`BUCKETS`]; same invariant as [`Counter`].
#[derive(Debug, Default)]
pub struct Histogram {
    /// The last one counts what is beyond every bound.
    buckets: [Counter; BUCKETS.len() + 1],
    micros: Counter,
}

/// One worker's counters.
#[derive(Debug, Default)]
pub struct WorkerMetrics {
    /// Plain HTTP listener.
    pub http: ConnectionMetrics,
    /// TLS listener.
    pub https: ConnectionMetrics,
    /// PROXY headers that were read, and connections that were closed over one.
    pub proxy_headers: Counter,
    pub proxy_headers_refused: Counter,
    pub handshakes_ok: Counter,
    pub handshakes_failed: Counter,
    /// Those of `handshakes_ok`, by what was negotiated.
    pub sessions: SessionMetrics,
    /// By status class; see [`WorkerMetrics::count_status`].
    pub responses: [Counter; 5],
    pub requests_h1: Counter,
    pub requests_h2: Counter,
    /// Requests whose response has not ended.
    pub requests_open: Gauge,
    /// From the request head to the response head sent.
    pub request_seconds: Histogram,
    /// Body bytes from clients.
    pub bytes_in: Counter,
    /// Body bytes to clients.
    pub bytes_out: Counter,
    /// New connections to endpoints that succeeded.
    pub upstream_connects: Counter,
    pub upstream_connect_failures: Counter,
    /// TLS handshakes with endpoints: whole ones, short ones, and those that came to nothing.
    pub upstream_handshakes: Counter,
    pub upstream_handshakes_resumed: Counter,
    pub upstream_handshakes_failed: Counter,
    /// Requests sent on a pooled connection.
    pub upstream_reuses: Counter,
    /// Attempts after the first of a request, by reason.
    pub retries: [Counter; RetryReason::ALL.len()],
    /// Requests that were not sent again because too many others were.
    pub retries_refused: Counter,
    /// Requests that had to wait for an endpoint.
    pub held: Counter,
    /// Requests that had to wait to be within a rate limit.
    pub rate_delayed: Counter,
    /// Requests that a limit with `dryrun` would have refused.
    pub rate_dry_run: Counter,
    /// Requests that had to wait for a place at an endpoint.
    pub queued: Counter,
    /// Requests that had to wait for a place on their route.
    pub places_awaited: Counter,
    /// Changes of routes' breakers, by what they became.
    pub breaker_changes: [Counter; BreakerBecame::ALL.len()],
    pub upgrades: Counter,
    pub upgrades_open: Gauge,
    /// By kind; see [`WorkerMetrics::count_error`].
    pub errors: [Counter; ErrorKind::ALL.len()],
}

/// Connections of one listener.
#[derive(Debug, Default)]
pub struct ConnectionMetrics {
    pub accepted: Counter,
    pub open: Gauge,
    /// Closed at once: their address has as many as it may.
    pub refused: Counter,
}

/// Why a request was not answered by its upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request breaks HTTP or a limit.
    BadRequest,
    /// The client was too slow.
    ClientTimeout,
    /// The client went away.
    ClientClosed,
    /// No route for host and path.
    NoRoute,
    /// The route has a label fault.
    RouteFault,
    /// An address that is not let in.
    Denied,
    /// No right name and password.
    Login,
    /// The server that decides who gets in has given no answer.
    Auth,
    /// A body beyond `wharf.max_body`.
    TooLarge,
    /// Beyond a rate limit.
    RateLimit,
    /// More at a time than the route, or a client, may have.
    InFlight,
    /// A path nobody gets.
    Blocked,
    /// The route is down for maintenance.
    Maintenance,
    /// A name the connection's certificate does not speak for.
    Misdirected,
    /// No certificate in time.
    NoCertificate,
    /// No endpoint to choose.
    NoEndpoint,
    /// All endpoints have as many requests as they may.
    Full,
    /// The route's breaker is open.
    Breaker,
    /// No endpoint could be connected.
    Connect,
    /// An endpoint has no TLS that can be trusted.
    UpstreamTls,
    /// An endpoint did not answer in time.
    UpstreamTimeout,
    /// An endpoint closed before the end of its response.
    UpstreamClosed,
    /// An endpoint broke HTTP.
    UpstreamProtocol,
    /// Wharf's own fault.
    Internal,
}

/// Why a request was sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryReason {
    /// Nothing of it could be sent.
    Connect,
    /// A pooled connection had been closed meanwhile.
    Stale,
    /// The endpoint closed the connection before it answered.
    Closed,
    /// It did not answer in time.
    Timeout,
    /// It answered with a status that is asked for elsewhere.
    Status,
}

/// What a route's breaker has become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerBecame {
    Open,
    HalfOpen,
    Closed,
}

impl Metrics {
    pub fn new(workers: usize) -> Self {
        Self {
            workers: (0..workers).map(|_| Arc::default()).collect(),
        }
    }

    /// The counters of worker `index`, below the count given to [`Metrics::new`].
    pub fn worker(&self, index: usize) -> Arc<WorkerMetrics> {
        Arc::clone(&self.workers[index])
    }

    pub fn workers(&self) -> &[Arc<WorkerMetrics>] {
        &self.workers
    }
}

impl Counter {
    pub fn inc(&self) {
        self.add(1);
    }

    pub fn add(&self, count: u64) {
        self.set(self.get().wrapping_add(count));
    }

    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Gauge {
    pub fn inc(&self) {
        self.0.store(self.get().wrapping_add(1), Ordering::Relaxed);
    }

    /// Stays at zero when it is there.
    pub fn dec(&self) {
        self.0
            .store(self.get().saturating_sub(1), Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Histogram {
    pub fn observe(&self, value: Duration) {
        let micros = u64::try_from(value.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS.partition_point(|(bound, _)| *bound < micros);
        self.buckets[bucket].inc();
        self.micros.add(micros);
    }
}

impl WorkerMetrics {
    /// Counts a response by its class; codes outside 100..=599 count as 5xx.
    pub fn count_status(&self, status: u16) {
        let class = match status {
            100..=599 => usize::from(status / 100) - 1,
            _ => 4,
        };
        self.responses[class].inc();
    }

    pub fn count_retry(&self, reason: RetryReason) {
        self.retries[reason as usize].inc();
    }

    pub fn count_breaker(&self, became: BreakerBecame) {
        self.breaker_changes[became as usize].inc();
    }

    pub fn count_error(&self, kind: ErrorKind) {
        self.errors[kind as usize].inc();
    }
}

impl RetryReason {
    /// Every reason, in the order of declaration.
    pub const ALL: [Self; 5] = [
        Self::Connect,
        Self::Stale,
        Self::Closed,
        Self::Timeout,
        Self::Status,
    ];

    /// The `reason` label of `wharf_upstream_retries_total`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Stale => "stale",
            Self::Closed => "closed",
            Self::Timeout => "timeout",
            Self::Status => "status",
        }
    }
}

impl BreakerBecame {
    /// Every one, in the order of declaration.
    pub const ALL: [Self; 3] = [Self::Open, Self::HalfOpen, Self::Closed];

    /// The `to` label of `wharf_breaker_changes_total`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::HalfOpen => "half_open",
            Self::Closed => "closed",
        }
    }
}

impl ErrorKind {
    /// Every kind, in the order of declaration.
    pub const ALL: [Self; 24] = [
        Self::BadRequest,
        Self::ClientTimeout,
        Self::ClientClosed,
        Self::NoRoute,
        Self::RouteFault,
        Self::Denied,
        Self::Login,
        Self::Auth,
        Self::TooLarge,
        Self::RateLimit,
        Self::InFlight,
        Self::Blocked,
        Self::Maintenance,
        Self::Misdirected,
        Self::NoCertificate,
        Self::NoEndpoint,
        Self::Full,
        Self::Breaker,
        Self::Connect,
        Self::UpstreamTls,
        Self::UpstreamTimeout,
        Self::UpstreamClosed,
        Self::UpstreamProtocol,
        Self::Internal,
    ];

    /// The `kind` label of `wharf_errors_total`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::ClientTimeout => "client_timeout",
            Self::ClientClosed => "client_closed",
            Self::NoRoute => "no_route",
            Self::RouteFault => "route_fault",
            Self::Denied => "denied",
            Self::Login => "login",
            Self::Auth => "auth",
            Self::TooLarge => "too_large",
            Self::RateLimit => "rate_limit",
            Self::InFlight => "in_flight",
            Self::Blocked => "blocked",
            Self::Maintenance => "maintenance",
            Self::Misdirected => "misdirected",
            Self::NoCertificate => "no_certificate",
            Self::NoEndpoint => "no_endpoint",
            Self::Full => "full",
            Self::Breaker => "breaker",
            Self::Connect => "connect",
            Self::UpstreamTls => "upstream_tls",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::UpstreamClosed => "upstream_closed",
            Self::UpstreamProtocol => "upstream_protocol",
            Self::Internal => "internal",
        }
    }
}

/// Upper bounds of [`Histogram`] buckets in microseconds, inclusive, and as Prometheus writes them
/// in seconds.
const BUCKETS: [(u64, &str); 11] = [
    (1_000, "0.001"),
    (5_000, "0.005"),
    (10_000, "0.01"),
    (25_000, "0.025"),
    (50_000, "0.05"),
    (100_000, "0.1"),
    (250_000, "0.25"),
    (500_000, "0.5"),
    (1_000_000, "1"),
    (2_500_000, "2.5"),
    (10_000_000, "10"),
];

#[cfg(test)]
mod tests;
