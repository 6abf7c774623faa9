//! Prometheus text exposition, version 0.0.4.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};

use super::{
    BUCKETS, BreakerBecame, ErrorKind, HistogramTotals, KeyExchange, Metrics, RetryReason,
    TlsVersion, Totals,
};

/// What `/metrics` tells besides the workers' counters; read at render time.
#[derive(Debug, Clone, Default)]
pub struct Gauges {
    pub uptime_seconds: u64,
    pub routes: u64,
    pub endpoints: u64,
    /// Sorted by route.
    pub health: Vec<HealthGauge>,
    /// Routes whose breaker is not closed.
    pub breakers_open: u64,
    /// Where a route has a cache.
    pub cache: Option<CacheGauges>,
    /// Labels that could not be used.
    pub problems: u64,
    /// Lines of the access log that were lost because its output did not keep up, or failed.
    pub access_lines_behind: u64,
    pub access_lines_failed: u64,
    /// Of bodies that are held, in memory and on disk.
    pub held_memory: u64,
    pub held_disk: u64,
    /// Of two with one host the one that lasts longer is told.
    pub certificates: Vec<CertificateGauge>,
    pub issuing: IssuingGauges,
    pub engine: EngineGauges,
}

/// What the cache holds and has done.
#[derive(Debug, Clone, Default)]
pub struct CacheGauges {
    /// Bytes.
    pub memory: u64,
    pub disk: u64,
    /// Entries.
    pub in_memory: u64,
    pub on_disk: u64,
    /// Answers that are being fetched.
    pub fills: u64,
    /// Files that were broken, or not Wharf's.
    pub faults: u64,
    /// Entries that have gone, by cause.
    pub gone: Vec<(&'static str, u64)>,
    /// Requests of each route by what the cache did for them.
    pub routes: Vec<(String, Vec<(&'static str, u64)>)>,
}

/// The endpoints of one route that have a weight; containers without an endpoint are none.
#[derive(Debug, Clone, Default)]
pub struct HealthGauge {
    pub route: String,
    pub ready: u64,
    /// For a while, after failed requests.
    pub resting: u64,
    /// Not ready yet, or out by their health checks.
    pub out: u64,
}

/// One certificate.
#[derive(Debug, Clone)]
pub struct CertificateGauge {
    pub host: String,
    /// Unix time of its end.
    pub not_after: i64,
}

/// What the certificates of the process have come to.
#[derive(Debug, Clone, Default)]
pub struct IssuingGauges {
    /// Obtained by ACME since the start.
    pub issued: u64,
    /// Failed attempts since the start, by class.
    pub failures: Vec<(&'static str, u64)>,
    /// Connections and requests that wait for a certificate.
    pub waiting: u64,
    /// Questions about names since the start, by answer.
    pub asked: Vec<(&'static str, u64)>,
    /// Questions without an answer yet.
    pub asking: u64,
}

/// The Docker side.
#[derive(Debug, Clone, Default)]
pub struct EngineGauges {
    pub connected: bool,
    /// Container lists read since the start.
    pub lists: u64,
    pub reconnects: u64,
    /// Seconds since the last event; `None` before the first.
    pub last_event_seconds_ago: Option<u64>,
    /// How long the engine has not given a good answer to what it was asked; 0 while it does.
    pub unanswered_seconds: u64,
    /// Seconds since the last list; `None` before the first.
    pub last_list_seconds_ago: Option<u64>,
}

fn cache(page: &mut Page, cache: &CacheGauges) {
    page.family(
        "wharf_cache_requests_total",
        "counter",
        "Requests of routes with a cache, by what it did for them.",
    );
    for (route, words) in &cache.routes {
        for (word, count) in words {
            page.sample(&[("route", route), ("status", word)], *count);
        }
    }
    page.family("wharf_cache_bytes", "gauge", "Bytes that the cache holds.");
    page.sample(&[("tier", "memory")], cache.memory);
    page.sample(&[("tier", "disk")], cache.disk);
    page.family(
        "wharf_cache_entries",
        "gauge",
        "Answers that the cache holds.",
    );
    page.sample(&[("tier", "memory")], cache.in_memory);
    page.sample(&[("tier", "disk")], cache.on_disk);
    page.one(
        "wharf_cache_fills",
        "gauge",
        "Answers that are being fetched for the cache.",
        cache.fills,
    );
    page.one(
        "wharf_cache_file_faults_total",
        "counter",
        "Files of the cache that were broken, or not Wharf's.",
        cache.faults,
    );
    page.family(
        "wharf_cache_gone_total",
        "counter",
        "Answers that have left the cache, by cause.",
    );
    for (cause, count) in &cache.gone {
        page.sample(&[("cause", cause)], *count);
    }
}

/// The media type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

impl Metrics {
    /// The text of `/metrics`.
    pub fn render(&self, gauges: &Gauges) -> String {
        let mut page = Page {
            text: String::with_capacity(8 * 1024),
            name: "",
        };
        workers(&mut page, &self.totals());
        around(&mut page, gauges);
        page.text
    }
}

fn workers(page: &mut Page, t: &Totals) {
    page.family(
        "wharf_connections_accepted_total",
        "counter",
        "Client connections accepted.",
    );
    page.sample(&[("listener", "http")], t.http.accepted);
    page.sample(&[("listener", "https")], t.https.accepted);
    page.family(
        "wharf_connections_refused_total",
        "counter",
        "Client connections closed at once, as their address had as many as it may (WHARF_MAX_CONNS_PER_IP).",
    );
    page.sample(&[("listener", "http")], t.http.refused);
    page.sample(&[("listener", "https")], t.https.refused);
    page.family(
        "wharf_connections_open",
        "gauge",
        "Client connections open.",
    );
    page.sample(&[("listener", "http")], t.http.open);
    page.sample(&[("listener", "https")], t.https.open);
    page.family(
        "wharf_proxy_headers_total",
        "counter",
        "PROXY protocol headers of trusted peers.",
    );
    page.sample(&[("result", "ok")], t.proxy_headers);
    page.sample(&[("result", "refused")], t.proxy_headers_refused);
    page.family(
        "wharf_tls_handshakes_total",
        "counter",
        "TLS handshakes with clients.",
    );
    page.sample(&[("result", "ok")], t.handshakes_ok);
    page.sample(&[("result", "failed")], t.handshakes_failed);
    page.family(
        "wharf_tls_sessions_total",
        "counter",
        "TLS sessions by version and key exchange.",
    );
    for (version, counts) in TlsVersion::ALL.iter().zip(t.sessions) {
        for (group, count) in KeyExchange::ALL.iter().zip(counts) {
            let labels = [("version", version.as_str()), ("group", group.as_str())];
            page.sample(&labels, count);
        }
    }

    page.family("wharf_requests_total", "counter", "Requests by protocol.");
    page.sample(&[("protocol", "h1")], t.requests_h1);
    page.sample(&[("protocol", "h2")], t.requests_h2);
    page.one(
        "wharf_requests_open",
        "gauge",
        "Requests whose response has not ended.",
        t.requests_open,
    );
    page.family("wharf_responses_total", "counter", "Responses by class.");
    for (class, count) in ["1xx", "2xx", "3xx", "4xx", "5xx"].iter().zip(t.responses) {
        page.sample(&[("class", class)], count);
    }
    page.histogram(
        "wharf_request_duration_seconds",
        "From the request head to the response head sent.",
        &t.request_seconds,
    );
    page.one(
        "wharf_request_body_bytes_total",
        "counter",
        "Body bytes from clients.",
        t.bytes_in,
    );
    page.one(
        "wharf_response_body_bytes_total",
        "counter",
        "Body bytes to clients.",
        t.bytes_out,
    );

    page.family(
        "wharf_upstream_connects_total",
        "counter",
        "New connections to endpoints.",
    );
    page.sample(&[("result", "ok")], t.upstream_connects);
    page.sample(&[("result", "failed")], t.upstream_connect_failures);
    page.family(
        "wharf_upstream_tls_handshakes_total",
        "counter",
        "TLS handshakes with endpoints that speak HTTPS.",
    );
    page.sample(&[("result", "ok")], t.upstream_handshakes);
    page.sample(&[("result", "resumed")], t.upstream_handshakes_resumed);
    page.sample(&[("result", "failed")], t.upstream_handshakes_failed);
    page.one(
        "wharf_upstream_reuses_total",
        "counter",
        "Requests sent on a pooled connection.",
        t.upstream_reuses,
    );
    page.family(
        "wharf_upstream_retries_total",
        "counter",
        "Attempts after the first of a request, by the reason of the one before.",
    );
    for (reason, count) in RetryReason::ALL.iter().zip(t.retries) {
        page.sample(&[("reason", reason.as_str())], count);
    }
    page.one(
        "wharf_upstream_retries_refused_total",
        "counter",
        "Requests not sent again because the retry budget was used up.",
        t.retries_refused,
    );
    page.one(
        "wharf_requests_held_total",
        "counter",
        "Requests that had to wait for an endpoint.",
        t.held,
    );
    page.one(
        "wharf_requests_delayed_total",
        "counter",
        "Requests that had to wait to be within a rate limit (wharf.ratelimit).",
        t.rate_delayed,
    );
    page.one(
        "wharf_requests_dry_refused_total",
        "counter",
        "Requests that a rate limit with dryrun would have refused.",
        t.rate_dry_run,
    );
    page.one(
        "wharf_requests_queued_total",
        "counter",
        "Requests that had to wait for a place at an endpoint (wharf.max_conns).",
        t.queued,
    );
    page.one(
        "wharf_requests_places_awaited_total",
        "counter",
        "Requests that had to wait for a place on their route (wharf.inflight).",
        t.places_awaited,
    );
    page.family(
        "wharf_breaker_changes_total",
        "counter",
        "Changes of routes' breakers, by what they became.",
    );
    for (to, count) in BreakerBecame::ALL.iter().zip(t.breaker_changes) {
        page.sample(&[("to", to.as_str())], count);
    }
    page.one(
        "wharf_upgrades_total",
        "counter",
        "Connections upgraded, WebSocket for one.",
        t.upgrades,
    );
    page.one(
        "wharf_upgrades_open",
        "gauge",
        "Upgraded connections open.",
        t.upgrades_open,
    );
    page.family(
        "wharf_errors_total",
        "counter",
        "Requests not answered by their upstream, by reason.",
    );
    for kind in ErrorKind::ALL {
        page.sample(&[("kind", kind.as_str())], t.errors_of(kind));
    }
}

fn around(page: &mut Page, g: &Gauges) {
    page.family("wharf_build_info", "gauge", "Always 1.");
    page.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    page.one(
        "wharf_uptime_seconds",
        "gauge",
        "Seconds since the start.",
        g.uptime_seconds,
    );
    page.one("wharf_routes", "gauge", "Routes served.", g.routes);
    page.one("wharf_endpoints", "gauge", "Endpoints known.", g.endpoints);
    page.family(
        "wharf_route_endpoints",
        "gauge",
        "Endpoints of a route, by whether they get requests.",
    );
    for gauge in &g.health {
        let states = [
            ("ready", gauge.ready),
            ("resting", gauge.resting),
            ("out", gauge.out),
        ];
        for (state, count) in states {
            page.sample(&[("route", &gauge.route), ("state", state)], count);
        }
    }
    page.one(
        "wharf_breakers_open",
        "gauge",
        "Routes whose breaker is open or half-open.",
        g.breakers_open,
    );
    if let Some(cache) = &g.cache {
        self::cache(page, cache);
    }
    page.one(
        "wharf_problems",
        "gauge",
        "Labels that could not be used as written.",
        g.problems,
    );
    page.family(
        "wharf_access_lines_dropped_total",
        "counter",
        "Access log lines lost because its output did not keep up, or failed.",
    );
    for (reason, count) in [
        ("behind", g.access_lines_behind),
        ("failed", g.access_lines_failed),
    ] {
        page.sample(&[("reason", reason)], count);
    }
    page.one(
        "wharf_buffer_memory_bytes",
        "gauge",
        "Memory taken by bodies that are held (wharf.buffer).",
        g.held_memory,
    );
    page.one(
        "wharf_buffer_disk_bytes",
        "gauge",
        "Disk taken by bodies that are held (wharf.buffer).",
        g.held_disk,
    );
    // One series twice would make the whole scrape fail.
    let mut ends: BTreeMap<&str, i64> = BTreeMap::new();
    for certificate in &g.certificates {
        let end = ends.entry(&certificate.host).or_insert(i64::MIN);
        *end = certificate.not_after.max(*end);
    }
    page.family(
        "wharf_certificate_expiry_timestamp_seconds",
        "gauge",
        "Unix time at which the certificate of a host ends.",
    );
    for (host, end) in ends {
        page.sample(&[("host", host)], end);
    }

    page.one(
        "wharf_certificates_issued_total",
        "counter",
        "Certificates obtained by ACME.",
        g.issuing.issued,
    );
    page.family(
        "wharf_certificate_failures_total",
        "counter",
        "Attempts to obtain a certificate that failed, by class.",
    );
    for (class, count) in &g.issuing.failures {
        page.sample(&[("class", class)], count);
    }
    page.one(
        "wharf_certificate_waiting",
        "gauge",
        "Connections and requests that wait for a certificate.",
        g.issuing.waiting,
    );
    page.family(
        "wharf_certificate_questions_total",
        "counter",
        "Names of wharf.tls.ask: what was answered; held_back were too many to be asked about, or ordered.",
    );
    for (answer, count) in &g.issuing.asked {
        page.sample(&[("answer", answer)], count);
    }
    page.one(
        "wharf_certificate_questions_open",
        "gauge",
        "Questions of wharf.tls.ask without an answer yet.",
        g.issuing.asking,
    );

    page.one(
        "wharf_docker_connected",
        "gauge",
        "1 while the engine answers.",
        u64::from(g.engine.connected),
    );
    page.one(
        "wharf_docker_unanswered_seconds",
        "gauge",
        "For how long the engine has given no good answer; 0 while it answers.",
        g.engine.unanswered_seconds,
    );
    page.one(
        "wharf_docker_lists_total",
        "counter",
        "Container lists read.",
        g.engine.lists,
    );
    page.one(
        "wharf_docker_reconnects_total",
        "counter",
        "Connections to the engine's events after the first.",
        g.engine.reconnects,
    );
    for (name, help, age) in [
        (
            "wharf_docker_last_event_age_seconds",
            "Seconds since the engine's last event.",
            g.engine.last_event_seconds_ago,
        ),
        (
            "wharf_docker_last_list_age_seconds",
            "Seconds since the last container list.",
            g.engine.last_list_seconds_ago,
        ),
    ] {
        if let Some(age) = age {
            page.one(name, "gauge", help, age);
        }
    }
}

/// The text so far. Samples belong to the family begun last.
struct Page {
    text: String,
    name: &'static str,
}

impl Page {
    fn family(&mut self, name: &'static str, kind: &str, help: &str) {
        self.name = name;
        self.put(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    fn one(&mut self, name: &'static str, kind: &str, help: &str, value: u64) {
        self.family(name, kind, help);
        self.sample(&[], value);
    }

    fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.suffixed("", labels, value);
    }

    fn histogram(&mut self, name: &'static str, help: &str, totals: &HistogramTotals) {
        self.family(name, "histogram", help);
        let mut below = 0;
        let bounds = BUCKETS.iter().map(|(_, text)| *text).chain(["+Inf"]);
        for (bound, count) in bounds.zip(totals.buckets) {
            below += count;
            self.suffixed("_bucket", &[("le", bound)], below);
        }
        let (seconds, micros) = (totals.micros / 1_000_000, totals.micros % 1_000_000);
        self.suffixed("_sum", &[], format_args!("{seconds}.{micros:06}"));
        self.suffixed("_count", &[], below);
    }

    fn suffixed(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        let family = self.name;
        self.put(format_args!("{family}{suffix}"));
        for (index, (name, value)) in labels.iter().enumerate() {
            self.text.push(if index == 0 { '{' } else { ',' });
            self.put(format_args!("{name}=\""));
            self.escaped(value);
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        self.put(format_args!(" {value}\n"));
    }

    /// A label's value: the format knows these three escapes and no other.
    fn escaped(&mut self, value: &str) {
        for c in value.chars() {
            match c {
                '\\' => self.text.push_str("\\\\"),
                '"' => self.text.push_str("\\\""),
                '\n' => self.text.push_str("\\n"),
                _ => self.text.push(c),
            }
        }
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a String does not fail.
        let _ = self.text.write_fmt(text);
    }
}
