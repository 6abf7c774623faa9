//! What one route asks for: hosts, path, upstream and settings.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::{
    AccessSpec, Address, AppTls, AskAt, BreakerSpec, BufferSpec, CacheSpec, ClientAuth, Compress,
    CorsSpec, ErrorsSpec, FilesSpec, HeaderEdit, HealthCheck, Host, HostPattern, Hsts,
    InFlightLimits, Keepalive, LogMode, Matcher, MaxConns, PathPattern, Proto, RateLimits,
    Redirect, Retry, Rewrite, SentHost, Timeouts, TlsVersion, Via, duration,
};

/// Identity of a route across plans: `project/service` or `container`, with `#name` for a named
/// route. Never shown to clients.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct RouteKey(pub String);

/// Identity of an upstream across plans; live state (cursor, health) is carried over by it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct UpstreamKey(pub String);

/// One route as asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RouteSpec {
    pub key: RouteKey,
    /// At least one, without duplicates, in label order.
    pub hosts: Vec<HostPattern>,
    pub path: PathPattern,
    /// `wharf.match`: what else a request has to meet, all of it; sorted, without duplicates.
    pub conditions: Vec<Matcher>,
    pub upstream: UpstreamKey,
    /// Where `wharf.auth.forward` leads, if the route has it.
    pub auth: Option<UpstreamKey>,
    /// Where pages of `wharf.errors` come from that are another server's, in the order of its rules.
    pub error_servers: Vec<UpstreamKey>,
    pub settings: Settings,
    /// Name of the container whose labels define the route now.
    pub container: String,
    /// Which images the app runs, as one text; `None` while it does not run.
    pub version: Option<String>,
    /// Tenant: compose project and service (or pool, or container). Routes of one owner may share
    /// connections across host names; those of different owners may not.
    pub owner: String,
    /// The compose or Swarm service, or the name, of that container.
    pub service: String,
    /// Where its service has said that it shares host and path with others that say so.
    pub share: Option<ShareSpec>,
    /// A label error that keeps the route from being served as asked. Such a route answers 503: it
    /// fails closed, because the label that was not understood may have been an access rule.
    pub fault: Option<String>,
}

/// A service's part of a host and path that several have.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct ShareSpec {
    /// `wharf.weight`, as a share of the whole service. Default 0 where only `canary` is set.
    pub weight: u16,
    /// `wharf.canary`: requests that meet one of these go to this service.
    pub canary: Vec<Matcher>,
}

/// Where a route's requests go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UpstreamSpec {
    pub key: UpstreamKey,
    /// Sorted by container id.
    pub endpoints: Vec<EndpointSpec>,
    /// Why an upstream has fewer endpoints than containers, one sentence per container
    /// (stopped, no shared network, no port ...). Shown on error pages and in status.
    pub unreachable: Vec<String>,
    /// Some of them is missing for a time: stopped, starting, being replaced. Without any endpoint,
    /// waiting makes sense.
    pub awaited: bool,
}

/// One address in an upstream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EndpointSpec {
    /// Full 64 hex digits: addresses are reused at once, ids never. The URL
    /// where it is no container's.
    pub container_id: String,
    pub container: String,
    /// When the container was created, Unix seconds.
    pub created: i64,
    /// When its process last ended, see `docker::Container::ended`.
    pub ended: i64,
    pub addr: Address,
    pub via: Via,
    /// What it speaks.
    pub proto: Proto,
    /// Where that is over TLS.
    pub tls: Option<AppTls>,
    /// Host and port as `wharf.upstream.host: upstream` tells the app.
    pub authority: String,
    /// TCP ports the container exposes, for messages: sorted, at most [`EndpointSpec::MAX_EXPOSED`].
    pub exposed: Vec<u16>,
    /// Share of requests, 0..=1000, default 1. 0 gets no new requests.
    pub weight: u16,
    /// Used only while no other endpoint can be.
    pub backup: bool,
    pub fail: FailLimit,
    /// `wharf.health`.
    pub health: HealthCheck,
    pub max_conns: MaxConns,
}

/// `wharf.fail`: so many failures within such a time, and an endpoint rests for that time (nginx
/// `max_fails`, `fail_timeout`). Default 1 within 10 s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct FailLimit {
    /// 0: it never rests.
    pub count: u16,
    #[serde(serialize_with = "duration")]
    pub within: Duration,
}

/// What a route does to requests; one value per option, defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Settings {
    /// Options that come from a file or a variable, with its name: while there are any, settings are shown to nobody.
    #[serde(skip)]
    pub hidden: Vec<String>,
    /// `wharf.priority`: routes of a host with a greater one are looked at first. Default 0.
    pub priority: i32,
    /// Remove the path prefix before forwarding and send `X-Forwarded-Prefix`. Default off.
    pub strip: bool,
    /// `wharf.strip.cookies`: where the app is asked for other paths than clients know, paths of its cookies are
    /// theirs. Default on.
    pub strip_cookies: bool,
    /// `wharf.rewrite`.
    pub rewrite: Option<Rewrite>,
    /// Whether `wharf.proto` or a URL of `wharf.upstream` says that the app speaks gRPC.
    pub grpc: bool,
    /// `wharf.forwarded: rfc7239`: the app is sent `Forwarded`, too. Default off.
    pub forwarded: bool,
    /// `wharf.headers.request`.
    pub request_edits: Vec<HeaderEdit>,
    /// `wharf.security` and `wharf.headers.response`.
    pub response_edits: Vec<HeaderEdit>,
    /// `wharf.cors`.
    pub cors: Option<CorsSpec>,
    /// `wharf.redirect`: the first that matches.
    pub redirects: Vec<Redirect>,
    /// `wharf.redirect.from`: every request is sent to this host.
    pub redirect_to: Option<Host>,
    /// `wharf.upstream.host`. Default: the client's.
    #[serde(rename = "upstream.host")]
    pub sent_host: SentHost,
    /// Allow upgrades to WebSocket. Default on.
    pub websocket: bool,
    pub https: HttpsMode,
    pub tls: TlsMode,
    /// With [`TlsMode::File`]: which of the operator's own certificates.
    pub tls_file: Option<String>,
    /// `wharf.tls.ask`: names of a pattern get a certificate each, where this says so.
    pub ask: Option<AskAt>,
    /// `wharf.tls.min`. Default 1.2.
    pub tls_min: TlsVersion,
    /// `wharf.tls.client_ca`.
    pub client: Option<ClientAuth>,
    /// `wharf.hsts`.
    pub hsts: Option<Hsts>,
    /// `wharf.static`: files are the answers, and no app is asked.
    pub files: Option<FilesSpec>,
    /// `wharf.log`. Default: all requests are logged.
    pub log: LogMode,
    pub access: AccessSpec,
    /// `wharf.max_body`: bytes of a request's body at most (nginx `client_max_body_size`). Default 0: any.
    pub max_body: u64,
    /// `wharf.chunked`: whether bodies of unknown length go to HTTP/1.1 clients in chunks (nginx
    /// `chunked_transfer_encoding`), or to the end of the connection. Default on.
    pub chunked: bool,
    /// `wharf.buffer`. Default: bodies go on as they come.
    pub buffer: BufferSpec,
    /// `wharf.ratelimit`.
    pub rate_limits: RateLimits,
    /// `wharf.inflight`.
    pub in_flight: InFlightLimits,
    /// `wharf.compress`.
    pub compress: Option<Compress>,
    /// `wharf.errors`.
    pub errors: Option<ErrorsSpec>,
    pub timeouts: Timeouts,
    pub keepalive: Keepalive,
    pub breaker: Option<BreakerSpec>,
    /// `wharf.cache`.
    pub cache: Option<CacheSpec>,
    pub balance: Balance,
    pub sticky: Option<StickySpec>,
    /// `wharf.slow_start`: how long a replica that joins others takes to its full share. Default 0: none.
    #[serde(serialize_with = "duration")]
    pub slow_start: Duration,
    /// `wharf.hold`: how long a request waits while no replica can take it. Default 10 s; 0: not at all.
    #[serde(serialize_with = "duration")]
    pub hold: Duration,
    /// `wharf.hold.max`: how many requests of its upstream may wait at once. Default 5,000: the 10 s of a whole wait at 500 requests/s.
    pub hold_max: u32,
    /// `wharf.retry`: when a request goes to another replica.
    pub retry: Retry,
}

/// `wharf.https`: what plain HTTP does (product.md S20).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HttpsMode {
    /// 301 for GET and HEAD, 308 for the rest.
    #[default]
    Redirect,
    /// Serve both schemes.
    Both,
    /// Refuse plain HTTP with 403.
    Only,
    /// Plain HTTP only.
    Off,
}

/// `wharf.tls`: where the certificate comes from (product.md S15, decisions 2 to 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TlsMode {
    /// ACME on the first request; the built-in CA for local names.
    #[default]
    Auto,
    /// ACME as soon as the label is seen.
    Eager,
    /// The built-in CA.
    Internal,
    /// One of the operator's own certificates, by its name.
    File,
    /// No TLS: plain HTTP only.
    Off,
}

/// `wharf.lb`: which endpoint gets a request (product.md S32 to S34). Every policy knows weights.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// Smooth weighted round robin, as nginx.
    #[default]
    RoundRobin,
    /// The one with the fewest requests under way for its weight; among equals, whose turn it is.
    LeastConn,
    /// The less busy of two drawn at random.
    Random2,
    /// Always the same one for a client's network: /24 of IPv4, /64 of IPv6.
    IpHash,
    /// Always the same one for a part of the request.
    Hash(HashOn),
}

/// `wharf.sticky`: a cookie keeps each client on one endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct StickySpec {
    /// Its name. Default `wharf_` and a hash of the upstream.
    pub cookie: Option<String>,
}

/// What [`Balance::Hash`] looks at. A request without it is balanced by round robin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HashOn {
    /// The first field of this name, in lower case.
    Header(String),
    /// The first cookie of exactly this name.
    Cookie(String),
    /// The path without the query, as the client wrote it.
    Path,
}

impl UpstreamKey {
    /// That of an owner's routes which files answer: nobody is behind it.
    pub fn of_files(owner: &str) -> Self {
        // No name of a route holds a dot.
        Self(format!("{owner}{FILES}"))
    }

    pub fn is_of_files(&self) -> bool {
        self.0.ends_with(FILES)
    }
}

const FILES: &str = "#static.root";

impl RouteSpec {
    /// Path and conditions, for people.
    pub fn place(&self) -> String {
        place(&self.path, &self.conditions)
    }
}

/// `/api with header:x-beta=1 and method:GET`.
pub fn place(path: &PathPattern, conditions: &[Matcher]) -> String {
    let mut out = path.to_string();
    for (index, condition) in conditions.iter().enumerate() {
        let word = if index == 0 { "with" } else { "and" };
        out += &format!(" {word} {condition}");
    }
    out
}

impl EndpointSpec {
    /// Ports named in a message; an image may expose thousands.
    pub const MAX_EXPOSED: usize = 8;
}

impl Balance {
    /// Whether it has to know how many requests are under way.
    pub fn counts(&self) -> bool {
        matches!(self, Self::LeastConn | Self::Random2)
    }
}

/// As the label is written.
impl fmt::Display for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RoundRobin => f.write_str("round_robin"),
            Self::LeastConn => f.write_str("least_conn"),
            Self::Random2 => f.write_str("random2"),
            Self::IpHash => f.write_str("ip_hash"),
            Self::Hash(HashOn::Header(name)) => write!(f, "hash header:{name}"),
            Self::Hash(HashOn::Cookie(name)) => write!(f, "hash cookie:{name}"),
            Self::Hash(HashOn::Path) => f.write_str("hash path"),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            hidden: Vec::new(),
            priority: 0,
            strip: false,
            strip_cookies: true,
            rewrite: None,
            grpc: false,
            forwarded: false,
            request_edits: Vec::new(),
            response_edits: Vec::new(),
            cors: None,
            redirects: Vec::new(),
            redirect_to: None,
            sent_host: SentHost::default(),
            websocket: true,
            https: HttpsMode::default(),
            tls: TlsMode::default(),
            tls_file: None,
            ask: None,
            tls_min: TlsVersion::default(),
            client: None,
            hsts: None,
            files: None,
            log: LogMode::All,
            access: AccessSpec::default(),
            max_body: 0,
            chunked: true,
            buffer: BufferSpec::default(),
            rate_limits: RateLimits::default(),
            in_flight: InFlightLimits::default(),
            compress: None,
            errors: None,
            timeouts: Timeouts::default(),
            keepalive: Keepalive::default(),
            breaker: None,
            cache: None,
            balance: Balance::default(),
            sticky: None,
            slow_start: Duration::ZERO,
            hold: Duration::from_secs(10),
            hold_max: 5000,
            retry: Retry::default(),
        }
    }
}

impl Default for FailLimit {
    fn default() -> Self {
        Self {
            count: 1,
            within: Duration::from_secs(10),
        }
    }
}

impl fmt::Display for RouteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for UpstreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
