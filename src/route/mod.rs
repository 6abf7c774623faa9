//! The routing table: an immutable compiled snapshot, swapped whole.
//!
//! Written by `control` alone, read by every worker with one atomic load per request. Finding a
//! route takes no lock and allocates nothing; its cost does not depend on the number of hosts.

mod breaker;
mod cache;
mod compile;
mod errors;
mod forward;
mod path;
mod split;
mod sticky;

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;
use tokio::sync::watch;

use crate::cache::Shelf;
use crate::filter::Filters;
use crate::filter::cors::Cors;
use crate::filter::inflight::{Counts, InFlight};
use crate::filter::ratelimit::{Buckets, Limiter};
use crate::model::{
    AskAt, Balance, BufferSpec, ClientAuth, Compress, ContainerNote, EditOp, FieldNames,
    HeaderEdit, Host, HostPattern, HttpsMode, Keepalive, LogMode, Maintenance, Matcher,
    PathPattern, Pattern, Redirect, Retry, RouteKey, Rule, SentHost, Timeouts, TlsMode, TlsPolicy,
    UpstreamKey, place,
};
use crate::upstream::{Endpoint, Upstream};
use crate::webroot::WebRoot;

pub use breaker::{Admitted, Breaker, BreakerChange, BreakerState};
pub(crate) use cache::outdated;
pub use cache::{CacheCounts, KeyOf, RouteCache};
pub use compile::compile;
pub use errors::{ErrorPage, Errors};
pub use forward::ForwardAuth;
pub use path::{Normal, climbs, normalize};
pub use split::{Share, Split};
pub use sticky::Sticky;

/// All routes, by host and path.
#[derive(Debug, Default)]
pub struct RouteTable {
    exact: Hosts,
    /// Keyed by the suffix: `example.com` for `*.example.com`.
    wildcard: Hosts,
    /// The same for `**.example.com`.
    below: Hosts,
    /// In the order they are tried.
    regexes: Vec<(Pattern, Arc<HostEntry>)>,
    default: Option<Arc<HostEntry>>,
    /// Every upstream, sorted by key, for carrying live halves over and for status.
    pub upstreams: Vec<Arc<Upstream>>,
    /// Of the routes that have one.
    pub breakers: HashMap<RouteKey, Arc<Breaker>>,
    /// Of all rate limits, from the first table on that has any.
    pub buckets: Option<Arc<Buckets>>,
    /// Of all limits of requests in flight, the same from the first table on.
    pub counts: Arc<Counts>,
    /// Where answers of apps are kept; `None` where no process serves by it.
    pub shelf: Option<Arc<Shelf>>,
    /// Where clients reach the TLS listener, for redirects; `None` when there is none.
    pub https_port: Option<u16>,
    /// Gateways of Wharf's own container: clients that come from there may be anybody.
    pub gateways: Vec<IpAddr>,
    /// Endpoints that are gone, not only for new requests: ids, the last ones of this and of earlier
    /// tables, since a worker may skip some.
    pub lost: Vec<u64>,
    /// Counts compiles; 0 before the first one.
    pub generation: u64,
}

type Hosts = HashMap<Box<str>, Arc<HostEntry>, RandomState>;

/// What is known of one host pattern.
#[derive(Debug)]
pub struct HostEntry {
    pub pattern: HostPattern,
    /// What its certificate is kept under: `*.x` for `**.x`, which no certificate can say, unless each name has
    /// its own.
    pub certificate: HostPattern,
    /// The greatest of its routes.
    priority: i32,
    /// Where its certificate comes from; [`TlsMode::Off`] when no route of the host wants TLS.
    pub tls: TlsMode,
    /// With [`TlsMode::File`]: which of the operator's own certificates.
    pub file: Option<Arc<str>>,
    /// Rules of its connections, if it has any of its own; of all its routes the strictest.
    pub policy: Option<Arc<TlsPolicy>>,
    /// Where the pattern's names are asked about, which then get a certificate each.
    pub ask: Option<Asking>,
    /// It rests, whatever its routes say.
    pub rest: Option<Maintenance>,
    /// Those first that are looked at first.
    pub routes: Vec<Arc<Route>>,
    /// Paths that several services share; mostly none.
    splits: Vec<Split>,
}

/// Who knows the names of a pattern.
#[derive(Debug, Clone)]
pub struct Asking {
    pub at: AskAt,
    /// Of the route that says so.
    pub upstream: Arc<Upstream>,
}

/// `/check of shop`, or a URL.
impl fmt::Display for Asking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.at {
            AskAt::App(_) => write!(f, "{} of {}", self.at, self.upstream.key),
            AskAt::Url(_) => self.at.fmt(f),
        }
    }
}

/// One compiled route.
#[derive(Debug)]
pub struct Route {
    pub key: RouteKey,
    pub path: PathPattern,
    /// What else a request has to meet, all of it.
    pub conditions: Vec<Matcher>,
    pub upstream: Arc<Upstream>,
    /// The app is sent `Forwarded`, too.
    pub forwarded: bool,
    /// The app speaks gRPC.
    pub grpc: bool,
    /// Of the fields of requests, and of answers.
    pub request_edits: Option<Arc<Edits>>,
    pub response_edits: Option<Arc<Edits>>,
    /// What browsers are told of pages that call from elsewhere; none while the route has a fault.
    pub cors: Option<Box<Cors>>,
    /// Requests that are sent elsewhere: the first that matches.
    pub redirects: Vec<Redirect>,
    /// Every request is sent to this host.
    pub redirect_to: Option<Host>,
    /// The prefix that is taken off.
    pub stripped: Option<Stripped>,
    /// What becomes of a path, once its prefix is off: the first rule that matches.
    pub rules: Vec<Rule>,
    /// What becomes of paths in answers.
    pub back: Option<Back>,
    /// What the app is told it serves.
    pub sent_host: SentHost,
    pub websocket: bool,
    /// What it asks of a request, where it asks anything.
    pub filters: Option<Box<Filters>>,
    /// Who is asked about each request.
    pub forward: Option<Arc<ForwardAuth>>,
    /// Its own pages for errors.
    pub errors: Option<Arc<Errors>>,
    /// How its answers are compressed.
    pub compress: Option<Arc<Compress>>,
    /// Fields that tell the app who asks: no client may set them.
    pub reserved: Option<Arc<FieldNames>>,
    /// The same, and those that `request_edits` set or remove: apps may read a request's trailers as its fields.
    pub not_in_trailers: Option<Arc<FieldNames>>,
    pub https: HttpsMode,
    /// Who may ask: those that the host's policy has let show a certificate.
    pub client: Option<ClientAuth>,
    /// The line that tells browsers to come by HTTPS.
    pub hsts: Option<Box<str>>,
    pub timeouts: Timeouts,
    pub keepalive: Keepalive,
    pub breaker: Option<Arc<Breaker>>,
    pub limiter: Option<Limiter>,
    pub in_flight: Option<InFlight>,
    /// What it keeps of the app's answers.
    pub cache: Option<Box<RouteCache>>,
    /// `u64::MAX` is any.
    pub max_body: u64,
    /// See `model::Settings::chunked`.
    pub chunked: bool,
    /// Which bodies are held, where any are.
    pub buffer: Option<Box<BufferSpec>>,
    pub balance: Balance,
    pub sticky: Option<Sticky>,
    /// Files are the answers.
    pub files: Option<Box<WebRoot>>,
    /// Which requests are in the access log.
    pub log: LogMode,
    /// See `model::Settings::slow_start`.
    pub slow_start: Duration,
    /// See `model::Settings::hold`.
    pub hold: Duration,
    /// How many requests may wait so at once.
    pub hold_max: u32,
    pub retry: Retry,
    /// Its part where several services have its host and path.
    pub share: Option<Share>,
    /// See `model::RouteSpec::owner`.
    pub owner: Box<str>,
    /// See `model::RouteSpec::fault`.
    pub fault: Option<Box<str>>,
}

impl Route {
    /// Whether labels say anything of an answer's fields.
    pub(crate) fn dresses(&self) -> bool {
        self.hsts.is_some()
            || self.back.is_some()
            || self.response_edits.is_some()
            || self.cors.is_some()
    }

    /// The Host field that an endpoint gets, where the client has asked for `authority`.
    pub fn host_of<'a>(&'a self, endpoint: &'a Endpoint, authority: &'a str) -> &'a str {
        match &self.sent_host {
            SentHost::Keep => authority,
            SentHost::Upstream => &endpoint.authority,
            SentHost::Named(host) => host,
        }
    }
}

/// What becomes of fields.
#[derive(Debug)]
pub struct Edits {
    /// Never empty; in the order of the labels.
    pub all: Vec<HeaderEdit>,
}

impl Edits {
    fn of(all: &[HeaderEdit]) -> Option<Arc<Self>> {
        let all = all.to_vec();
        (!all.is_empty()).then(|| Arc::new(Self { all }))
    }

    /// Whether it may come to a field of this name.
    pub fn writes(&self, name: &[u8]) -> bool {
        let same = |edit: &HeaderEdit| name.eq_ignore_ascii_case(edit.name.as_bytes());
        (self.all.iter()).any(|edit| edit.op != EditOp::Remove && same(edit))
    }

    /// Whether fields of this name that are there already go.
    pub fn without(&self, name: &[u8]) -> bool {
        self.all.iter().any(|edit| {
            matches!(edit.op, EditOp::Set | EditOp::Remove)
                && name.eq_ignore_ascii_case(edit.name.as_bytes())
        })
    }
}

/// A prefix that the app is not asked for, and what is put in its place.
#[derive(Debug)]
pub struct Stripped {
    /// As `model::seen`; empty at the root.
    pub prefix: Box<str>,
    /// As clients write it, for `X-Forwarded-Prefix`.
    pub told: Option<Box<str>>,
    /// Without a `/` at its end.
    pub base: Box<str>,
}

/// How paths that the app knows become those its clients know: both without a `/` at the end, as they stand in
/// addresses.
#[derive(Debug)]
pub struct Back {
    pub prefix: Box<str>,
    pub base: Box<str>,
    /// Those of cookies, too.
    pub cookies: bool,
}

/// The one place where control and workers meet for routes.
#[derive(Debug)]
pub struct SharedTable {
    table: Arc<ArcSwap<RouteTable>>,
    /// For error pages: what has become of each container.
    notes: ArcSwap<Vec<ContainerNote>>,
    changed: watch::Sender<u64>,
}

/// A worker's view of the table: one relaxed load while nothing changed.
pub(crate) type Cached = arc_swap::Cache<Arc<ArcSwap<RouteTable>>, Arc<RouteTable>>;

/// Why a path finds no route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoMatch {
    /// No route of this host covers the path.
    Path,
    /// The path reaches one route as it is and another once it is resolved: `/a/..%2fb`. Refused, as
    /// upstream and proxy could disagree on what it means.
    Ambiguous,
}

impl RouteTable {
    /// The entry for a canonical host name (lower case, no port, no trailing dot): exact, then
    /// `*.parent`, the longest `**.suffix`, the first regex, `default`.
    pub fn find_host(&self, host: &str) -> Option<&Arc<HostEntry>> {
        if let Some(entry) = self.exact.get(host) {
            return Some(entry);
        }
        if !self.wildcard.is_empty()
            && let Some((_, parent)) = host.split_once('.')
            && let Some(entry) = self.wildcard.get(parent)
        {
            return Some(entry);
        }
        if !(self.below.is_empty() && self.regexes.is_empty())
            && let Some(entry) = self.find_below(host).or_else(|| self.find_regex(host))
        {
            return Some(entry);
        }
        self.default.as_ref()
    }

    fn find_below(&self, host: &str) -> Option<&Arc<HostEntry>> {
        let mut rest = host;
        while let Some((_, parent)) = rest.split_once('.') {
            if let Some(entry) = self.below.get(parent) {
                return Some(entry);
            }
            rest = parent;
        }
        None
    }

    fn find_regex(&self, host: &str) -> Option<&Arc<HostEntry>> {
        let mut regexes = self.regexes.iter();
        let found = regexes.find(|(pattern, _)| pattern.matches(host));
        found.map(|(_, entry)| entry)
    }

    /// The entry of this very pattern.
    pub fn entry(&self, pattern: &HostPattern) -> Option<&Arc<HostEntry>> {
        match pattern {
            HostPattern::Exact(host) => self.exact.get(host.as_str()),
            HostPattern::Wildcard(suffix) => self.wildcard.get(suffix.as_str()),
            HostPattern::Below(suffix) => self.below.get(suffix.as_str()),
            HostPattern::Regex(pattern) => {
                let mut regexes = self.regexes.iter();
                let found = regexes.find(|(other, _)| other == pattern);
                found.map(|(_, entry)| entry)
            }
            HostPattern::Default => self.default.as_ref(),
        }
    }

    /// Whether an endpoint is still one of its upstream's: its container may have lost the address,
    /// to another one even.
    pub fn has_endpoint(&self, upstream: &UpstreamKey, id: u64) -> bool {
        let at = self.upstreams.binary_search_by(|up| up.key.cmp(upstream));
        let upstream = at.ok().and_then(|at| self.upstreams.get(at));
        upstream.is_some_and(|up| up.endpoints.iter().any(|one| one.live.id == id))
    }

    /// Every host entry in the order in which a name is looked for; those that cannot meet stand by name.
    pub fn in_order(&self) -> Vec<&Arc<HostEntry>> {
        let sorted = |hosts: &'_ Hosts| {
            let mut names: Vec<Box<str>> = hosts.keys().cloned().collect();
            names.sort();
            names
        };
        let mut below = sorted(&self.below);
        below.sort_by_key(|suffix| std::cmp::Reverse(suffix.split('.').count()));
        let exact = sorted(&self.exact);
        let wildcard = sorted(&self.wildcard);
        let exact = exact.iter().filter_map(|name| self.exact.get(name));
        let wildcard = wildcard.iter().filter_map(|name| self.wildcard.get(name));
        let below = below.iter().filter_map(|name| self.below.get(name));
        exact
            .chain(wildcard)
            .chain(below)
            .chain(self.regexes.iter().map(|(_, entry)| entry))
            .chain(&self.default)
            .collect()
    }

    /// Every host entry, in no particular order.
    pub fn hosts(&self) -> impl Iterator<Item = &Arc<HostEntry>> {
        self.exact
            .values()
            .chain(self.wildcard.values())
            .chain(self.below.values())
            .chain(self.regexes.iter().map(|(_, entry)| entry))
            .chain(&self.default)
    }
}

impl HostEntry {
    /// The route for a request path (without query): an exact one, a regex, the longest prefix, in the order
    /// of priorities. `meets`: whether the request, with that path, meets a condition.
    pub fn find(
        &self,
        path: &str,
        meets: impl Fn(&Matcher, &str) -> bool,
    ) -> Result<&Arc<Route>, NoMatch> {
        match normalize(path) {
            Normal::AsWritten => self.first(path, meets).ok_or(NoMatch::Path),
            Normal::Bad => Err(NoMatch::Ambiguous),
            Normal::Changed { seen, resolved } => {
                match (self.first(&seen, &meets), self.first(&resolved, &meets)) {
                    (Some(a), Some(b)) if Arc::ptr_eq(a, b) => Ok(a),
                    (None, None) => Err(NoMatch::Path),
                    _ => Err(NoMatch::Ambiguous),
                }
            }
        }
    }

    /// What [`HostEntry::find`] has found stands for several routes.
    pub fn split(&self, route: &Arc<Route>) -> Option<&Split> {
        let mut splits = self.splits.iter();
        splits.find(|split| {
            split
                .routes
                .first()
                .is_some_and(|one| Arc::ptr_eq(one, route))
        })
    }

    /// Whether a route shares its place with others.
    pub fn split_of(&self, route: &Route) -> bool {
        self.splits
            .iter()
            .any(|split| split.routes.iter().any(|one| one.key == route.key))
    }

    fn first(&self, path: &str, meets: impl Fn(&Matcher, &str) -> bool) -> Option<&Arc<Route>> {
        let mut routes = self.routes.iter();
        routes.find(|route| {
            route.path.matches(path) && route.conditions.iter().all(|one| meets(one, path))
        })
    }

    /// Whether `owner` has a route here.
    pub fn belongs_to(&self, owner: &str) -> bool {
        self.routes.iter().any(|route| &*route.owner == owner)
    }
}

impl Route {
    /// Path and conditions, for people.
    pub fn place(&self) -> String {
        place(&self.path, &self.conditions)
    }

    /// Whether the app is asked for other paths than its clients ask for.
    pub fn changes_paths(&self) -> bool {
        self.stripped.is_some() || !self.rules.is_empty()
    }

    /// Whether it is for the same requests as another one.
    fn has_place_of(&self, other: &Self) -> bool {
        (&self.path, &self.conditions) == (&other.path, &other.conditions)
    }
}

impl Default for SharedTable {
    fn default() -> Self {
        Self {
            table: Arc::default(),
            notes: ArcSwap::default(),
            changed: watch::channel(0).0,
        }
    }
}

impl SharedTable {
    /// An empty table, and where those after it have their caches.
    pub fn with(shelf: Arc<Shelf>) -> Self {
        let shared = Self::default();
        shared.table.store(Arc::new(RouteTable {
            shelf: Some(shelf),
            ..RouteTable::default()
        }));
        shared
    }

    /// Replaces the table and tells everyone who waits in [`SharedTable::changes`].
    pub(crate) fn store(&self, table: Arc<RouteTable>) {
        let generation = table.generation;
        self.table.store(table);
        self.changed.send_replace(generation);
    }

    /// Tells the same people that something of what the table holds has changed: an endpoint listens.
    pub(crate) fn touch(&self) {
        self.changed.send_modify(|_| {});
    }

    pub fn load(&self) -> Arc<RouteTable> {
        self.table.load_full()
    }

    /// Replaces the notes. Nothing but the wording of pages depends on them, so they may be a moment
    /// older or newer than the table.
    pub(crate) fn note(&self, notes: Arc<Vec<ContainerNote>>) {
        self.notes.store(notes);
    }

    pub fn notes(&self) -> Arc<Vec<ContainerNote>> {
        self.notes.load_full()
    }

    /// For a per-worker `arc_swap::Cache`.
    pub(crate) fn cached(&self) -> Cached {
        arc_swap::Cache::new(Arc::clone(&self.table))
    }

    /// The generation, as it changes.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}

#[cfg(test)]
mod neighbours;
#[cfg(test)]
mod tests;
