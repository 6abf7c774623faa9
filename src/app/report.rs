//! What the admin listener shows, gathered when it is asked.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

use super::cache;
use super::containers;
use super::explain::explain;
use crate::access::Losses;
use crate::admin::{
    self, CacheReport, Certificate, Explaining, Forget, Listener, ProblemLine, Purging, Route,
    RouteLine, Status, Upstream,
};
use crate::config::TrustedProxies;
use crate::control::Published;
use crate::docker::EngineState;
use crate::metrics::{CertificateGauge, EngineGauges, Gauges, HealthGauge, IssuingGauges, Metrics};
use crate::route::BreakerState;
use crate::spool::Room;
use crate::tls::{CertReport, Certs, FailureClass, NextAction, StoreReport};

/// The ends of everything there is to tell.
pub(super) struct Report {
    pub(super) started: Instant,
    pub(super) listeners: Vec<(&'static str, SocketAddr)>,
    pub(super) engine: watch::Receiver<EngineState>,
    pub(super) published: watch::Receiver<Arc<Published>>,
    pub(super) certs: Certs,
    pub(super) metrics: Metrics,
    /// What the access log has lost.
    pub(super) access: Option<Arc<Losses>>,
    pub(super) trusted: TrustedProxies,
    pub(super) room: Arc<Room>,
}

/// Shared, because an explanation takes a moment.
pub(super) struct Answers(pub(super) Arc<Report>);

impl admin::Source for Answers {
    fn status(&self) -> Status {
        self.0.status()
    }

    fn routes(&self) -> Vec<RouteLine> {
        routes(&self.0.published.borrow())
    }

    fn ready(&self) -> bool {
        self.0.ready()
    }

    fn trouble(&self) -> Option<String> {
        engine(&self.0.engine.borrow()).trouble()
    }

    fn root(&self) -> String {
        self.0.certs.local_root().to_owned()
    }

    fn metrics(&self) -> String {
        self.0.metrics()
    }

    fn cache(&self) -> CacheReport {
        cache::report(&self.0.published.borrow())
    }

    fn purge(&self, what: Forget) -> Purging {
        let published = Arc::clone(&self.0.published.borrow());
        Box::pin(async move { cache::purge(&published, what).await })
    }

    fn explain(&self, query: String) -> Explaining {
        let report = Arc::clone(&self.0);
        Box::pin(async move { explain(&report, &query).await })
    }
}

impl Report {
    fn status(&self) -> Status {
        let published = Arc::clone(&self.published.borrow());
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            uptime_seconds: self.started.elapsed().as_secs(),
            ready: self.ready(),
            engine: engine(&self.engine.borrow()),
            listeners: self.listeners.iter().map(listener).collect(),
            routes: (published.plan.routes.iter())
                .map(|spec| route(spec, &published))
                .collect(),
            upstreams: published
                .table
                .upstreams
                .iter()
                .filter(|one| !one.key.is_of_files())
                .map(|one| upstream(one))
                .collect(),
            certificates: self.certs.report().iter().map(certificate).collect(),
            on_demand: on_demand(&self.certs),
            store: store(self.certs.store_report()),
            clock: self.certs.clock_fault(),
            problems: self.problems(&published),
            containers: containers::containers(&published, Instant::now()),
        }
    }

    fn problems(&self, published: &Published) -> Vec<ProblemLine> {
        let files = self.certs.problems();
        let labels = published.problems.iter().map(ProblemLine::from);
        labels.chain(files.iter().map(ProblemLine::from)).collect()
    }

    fn ready(&self) -> bool {
        self.published.borrow().table.generation > 0
    }

    fn metrics(&self) -> String {
        let published = Arc::clone(&self.published.borrow());
        let state = self.engine.borrow().clone();
        let endpoints: usize = published
            .table
            .upstreams
            .iter()
            .map(|upstream| upstream.endpoints.len())
            .sum();
        let certificates = self.certs.report().into_iter().filter_map(|report| {
            Some(CertificateGauge {
                host: report.host.to_string(),
                not_after: unix(report.not_after?),
            })
        });
        self.metrics.render(&Gauges {
            uptime_seconds: self.started.elapsed().as_secs(),
            routes: published.plan.routes.len() as u64,
            endpoints: endpoints as u64,
            health: published
                .plan
                .routes
                .iter()
                .filter(|route| route.settings.files.is_none())
                .map(|route| health(route, &published))
                .collect(),
            breakers_open: open_breakers(&published),
            cache: cache::gauges(&published),
            problems: published.problems.len() as u64,
            access_lines_behind: self.access.as_ref().map_or(0, |lost| lost.behind_lines()),
            access_lines_failed: self.access.as_ref().map_or(0, |lost| lost.failed_lines()),
            held_memory: self.room.memory(),
            held_disk: self.room.disk(),
            certificates: certificates.collect(),
            issuing: issuing(&self.certs),
            engine: EngineGauges {
                connected: state.connected,
                lists: state.lists,
                reconnects: state.reconnects,
                last_event_seconds_ago: state.last_event.and_then(ago),
                last_list_seconds_ago: state.last_list.and_then(ago),
                unanswered_seconds: unanswered(&state).map_or(0, |(_, seconds)| seconds),
            },
        })
    }
}

/// What the engine was asked and has not answered, and for how many seconds; not yet while it may just
/// take its time.
fn unanswered(state: &EngineState) -> Option<(&'static str, u64)> {
    let asked = state.unanswered?;
    let seconds = ago(asked.since)?;
    (!state.connected || seconds >= PATIENCE).then_some((asked.call, seconds))
}

fn issuing(certs: &Certs) -> IssuingGauges {
    let (totals, asked) = (certs.totals(), certs.ask_totals());
    let failures = FailureClass::ALL.map(|class| (class.as_str(), totals.failures_of(class)));
    IssuingGauges {
        issued: totals.issued,
        failures: failures.into(),
        waiting: totals.waiting,
        asked: vec![
            ("yes", asked.yes),
            ("no", asked.no),
            ("unknown", asked.unknown),
            ("held_back", asked.held_back),
        ],
        asking: asked.open,
    }
}

fn engine(state: &EngineState) -> admin::Engine {
    let unanswered = unanswered(state);
    admin::Engine {
        connected: state.connected,
        version: state.version.clone().unwrap_or_default(),
        api: state.api.clone().unwrap_or_default(),
        last_error: state.last_error.clone(),
        unanswered: unanswered.map(|(call, _)| call.to_owned()),
        unanswered_seconds: unanswered.map(|(_, seconds)| seconds),
        last_list_seconds_ago: state.last_list.and_then(ago),
        last_event_seconds_ago: state.last_event.and_then(ago),
        reconnects: state.reconnects,
    }
}

fn listener((name, address): &(&'static str, SocketAddr)) -> Listener {
    Listener {
        name: (*name).into(),
        address: address.to_string(),
    }
}

fn open_breakers(published: &Published) -> u64 {
    let now = Instant::now();
    let breakers = published.table.breakers.values();
    let open = breakers.filter(|one| one.state(now) != BreakerState::Closed);
    open.count() as u64
}

fn route(spec: &crate::model::RouteSpec, published: &Published) -> Route {
    let breaker = published.table.breakers.get(&spec.key);
    Route {
        hosts: spec.hosts.iter().map(ToString::to_string).collect(),
        path: spec.place(),
        upstream: leads_to(spec),
        files: spec.settings.files.is_some(),
        container: spec.container.clone(),
        tls: word(&spec.settings.tls),
        https: word(&spec.settings.https),
        fault: spec.fault.clone(),
        breaker: breaker.map(|one| breaker_state(one.state(Instant::now()))),
    }
}

/// The name of an upstream, or the directory of files.
fn leads_to(spec: &crate::model::RouteSpec) -> String {
    match &spec.settings.files {
        Some(files) => {
            let path = files.directory.join(&files.root);
            path.components().as_path().display().to_string()
        }
        None => spec.upstream.to_string(),
    }
}

/// The table, in the order in which requests are compared with it.
fn routes(published: &Published) -> Vec<RouteLine> {
    let specs = &published.plan.routes;
    let mut lines = Vec::new();
    for entry in published.table.in_order() {
        for route in &entry.routes {
            let at = specs.binary_search_by(|spec| spec.key.cmp(&route.key));
            let Some(spec) = at.ok().and_then(|at| specs.get(at)) else {
                continue;
            };
            let shared = entry.split_of(route);
            lines.push(RouteLine {
                host: entry.pattern.to_string(),
                path: spec.path.to_string(),
                conditions: spec.conditions.iter().map(ToString::to_string).collect(),
                priority: spec.settings.priority,
                share: { spec.share.as_ref() }
                    .filter(|_| shared)
                    .map(|share| share.weight),
                upstream: leads_to(spec),
                container: spec.container.clone(),
                tls: word(&spec.settings.tls),
                https: word(&route.https),
                to: route.redirect_to.as_ref().map(ToString::to_string),
                fault: spec.fault.clone(),
            });
        }
    }
    lines
}

/// `closed`, `half-open`, `open for 7 s`.
fn breaker_state(state: BreakerState) -> String {
    match state {
        BreakerState::Closed => "closed".to_owned(),
        BreakerState::HalfOpen => "half-open".to_owned(),
        BreakerState::Open { left, .. } => format!("open for {} s", left.as_secs() + 1),
    }
}

/// How its endpoints are.
fn health(route: &crate::model::RouteSpec, published: &Published) -> HealthGauge {
    let upstreams = &published.table.upstreams;
    let at = upstreams.binary_search_by(|upstream| upstream.key.cmp(&route.upstream));
    let upstream = at.ok().and_then(|at| upstreams.get(at));
    let endpoints = upstream
        .into_iter()
        .flat_map(|upstream| &upstream.endpoints);
    let mut gauge = HealthGauge {
        route: route.key.to_string(),
        ..HealthGauge::default()
    };
    for endpoint in endpoints.filter(|endpoint| endpoint.weight > 0) {
        *match endpoint {
            endpoint if !endpoint.is_ready() => &mut gauge.out,
            endpoint if endpoint.rests(Instant::now) => &mut gauge.resting,
            _ => &mut gauge.ready,
        } += 1;
    }
    gauge
}

fn upstream(upstream: &crate::upstream::Upstream) -> Upstream {
    let now = Instant::now();
    let endpoints = upstream.endpoints.iter();
    let endpoints = endpoints.map(|endpoint| containers::endpoint(endpoint, now));
    Upstream {
        name: upstream.key.to_string(),
        endpoints: endpoints.collect(),
        queued: upstream.queued() as u64,
        unreachable: upstream.unreachable.clone(),
    }
}

fn certificate(report: &CertReport) -> Certificate {
    Certificate {
        host: report.host.to_string(),
        source: word(&report.source),
        issuer: report.issuer.clone().unwrap_or_default(),
        not_after: report.not_after.map(unix),
        state: word(&report.state),
        next: report.next.as_ref().map(next),
        last_error: report.last_error.clone(),
        link: report.link.clone(),
    }
}

fn on_demand(certs: &Certs) -> Option<admin::OnDemand> {
    let asking = certs.asking();
    if asking.is_empty() {
        return None;
    }
    let totals = certs.ask_totals();
    Some(admin::OnDemand {
        patterns: { asking.into_iter() }
            .map(|one| admin::AskedPattern {
                host: one.pattern.to_string(),
                asked: one.at.to_string(),
                names: one.names as u64,
            })
            .collect(),
        yes: totals.yes,
        no: totals.no,
        unknown: totals.unknown,
        held_back: totals.held_back,
        open: totals.open,
        trouble: certs.ask_trouble().map(|why| why.to_string()),
    })
}

fn store(report: StoreReport) -> admin::Store {
    let aside = report.aside.into_iter();
    admin::Store {
        place: report.place,
        error: report.error,
        unsaved: report.unsaved,
        aside: aside
            .map(|(key, why)| format!("{key}: put aside as corrupt: {why}"))
            .collect(),
    }
}

/// `renew in 41 d`, `retry in 9 min`, `order now`.
fn next(next: &NextAction) -> String {
    let action = word(&next.action);
    let seconds = next
        .at
        .duration_since(SystemTime::now())
        .unwrap_or_default()
        .as_secs();
    match seconds {
        0 => format!("{action} now"),
        1..120 => format!("{action} in {seconds} s"),
        120..7_200 => format!("{action} in {} min", seconds / 60),
        7_200..172_800 => format!("{action} in {} h", seconds / 3600),
        _ => format!("{action} in {} d", seconds / 86_400),
    }
}

/// The word serde writes for a unit variant: the one place where these are spelled.
pub(super) fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

fn unix(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs() as i64)
}

/// Seconds in which an engine that is busy answers.
const PATIENCE: u64 = 2;

/// `None` where the clock went back.
fn ago(time: SystemTime) -> Option<u64> {
    time.elapsed().ok().map(|elapsed| elapsed.as_secs())
}
