//! The answer to `wharf explain`: the decision of [`proxy::decide`], with what the plan, the certificates
//! and a connect to each endpoint add to it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures_util::future::join_all;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::containers;
use super::report::{Report, word};
use crate::admin::{Dialled, Explanation, Step};
use crate::control::Published;
use crate::model::{
    Balance, HostPattern, HttpsMode, RouteSpec, Settings, Standing, TlsMode, nothing_listens,
};
use crate::proxy::{self, Decision, Question, Verdict};
use crate::route::{HostEntry, Route};
use crate::tls::{CertReport, CertState};
use crate::upstream::{Endpoint, Failure};

/// Reads the question in `query` and answers it.
pub(super) async fn explain(report: &Report, query: &str) -> Result<Explanation, String> {
    let (question, url) = question(report, query)?;
    let published = Arc::clone(&report.published.borrow());
    let table = Arc::clone(&published.table);
    let decision = proxy::decide(&question, &table, &published.notes, &report.trusted)?;
    let route = decision.route.map(|route| &**route);
    let dials = match (route, &decision.verdict) {
        (Some(route), Verdict::Forward(_)) => dial(&route.upstream.endpoints).await,
        _ => Vec::new(),
    };
    let mut story = Story {
        report,
        published: &published,
        question: &question,
        decision: &decision,
        told: Explanation {
            method: question.method.clone(),
            url,
            from: decision.client.to_string(),
            ..Explanation::default()
        },
        ended: false,
    };
    story.tell(&dials);
    Ok(story.told)
}

/// `url=`, `method=`, `header=` and `from=`.
fn question(report: &Report, query: &str) -> Result<(Question, String), String> {
    let mut url = None;
    let mut question = Question {
        method: "GET".to_owned(),
        https: false,
        authority: String::new(),
        target: "/".to_owned(),
        fields: Vec::new(),
        from: IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decoded(value).ok_or("the query is not percent-encoded text")?;
        match key {
            "url" => url = Some(value),
            "method" => question.method = value,
            "from" => {
                question.from = value
                    .parse()
                    .map_err(|_| format!("`{value}` is no address"))?;
            }
            "header" if question.fields.len() < MAX_FIELDS => {
                let pair = value.split_once(':');
                let (name, value) = pair.ok_or("write a header as `Name: value`")?;
                let pair = (name.trim().to_owned(), value.trim().to_owned());
                question.fields.push(pair);
            }
            "header" => return Err(format!("at most {MAX_FIELDS} headers")),
            _ => return Err(format!("`{key}` is none of url, method, header and from")),
        }
    }
    let url = url.ok_or("which URL? /explain?url=https://shop.example.com/")?;
    let tls = report.listeners.iter().any(|(name, _)| *name == "https");
    let (scheme, rest) = url
        .split_once("://")
        .unwrap_or((if tls { "https" } else { "http" }, &url));
    question.https = match scheme.to_ascii_lowercase().as_str() {
        "http" | "ws" => false,
        "https" | "wss" => true,
        _ => {
            return Err(format!(
                "`{scheme}` is no scheme of the web: write http:// or https://"
            ));
        }
    };
    let rest = rest.split('#').next().unwrap_or(rest);
    let at = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(at);
    if authority.is_empty() {
        return Err("the URL has no host".to_owned());
    }
    if url.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("a URL has no spaces".to_owned());
    }
    question.authority = authority.to_owned();
    question.target = match target {
        "" => "/".to_owned(),
        target if target.starts_with('?') => format!("/{target}"),
        target => target.to_owned(),
    };
    let scheme = if question.https { "https" } else { "http" };
    let url = format!("{scheme}://{authority}{}", question.target);
    Ok((question, url))
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            b'+' => b' ',
            byte => byte,
        });
    }
    String::from_utf8(out).ok()
}

/// Connects to each endpoint and says nothing; `None` where one took it.
async fn dial(endpoints: &[Endpoint]) -> Vec<Option<Failure>> {
    let dials = endpoints.iter().take(MAX_DIALS).map(async |endpoint| {
        match timeout(DIAL_LIMIT, TcpStream::connect(endpoint.addr)).await {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(Failure::of_connect(&error)),
            Err(_) => Some(Failure::ConnectTimeout),
        }
    });
    join_all(dials).await
}

/// The answer, as it grows.
struct Story<'a> {
    report: &'a Report,
    published: &'a Published,
    question: &'a Question,
    decision: &'a Decision<'a>,
    told: Explanation,
    /// A step before the verdict ends the request.
    ended: bool,
}

impl Story<'_> {
    fn tell(&mut self, dials: &[Option<Failure>]) {
        self.listener();
        self.host();
        if let (Some(entry), Some(route)) = (self.decision.entry, self.decision.route) {
            self.path(entry, route);
            self.plain_http(entry, route);
            self.certificate(entry);
            self.route(route);
            self.endpoints(route, dials);
        } else if let Some(entry) = self.decision.entry {
            let Verdict::Refuse(error) = &self.decision.verdict else {
                return;
            };
            let told = format!("{error}; {}", paths(entry));
            self.step("path", "stop", told);
        }
        self.containers();
        if matches!(self.decision.verdict, Verdict::Refuse(_)) && !self.ended {
            self.page();
        }
        match self.decision.route {
            Some(route) if !self.ended => self.verdict(route, dials),
            _ if !self.ended => self.refusal(),
            _ => {}
        }
    }

    fn step(&mut self, name: &str, state: &str, told: String) {
        self.told.steps.push(Step {
            name: name.to_owned(),
            state: state.to_owned(),
            told,
        });
    }

    /// Ends the request before anything of HTTP is answered.
    fn end(&mut self, verdict: String) {
        if !self.ended {
            self.ended = true;
            self.told.verdict = verdict;
            self.told.hints.clone_from(&self.decision.hints);
        }
    }

    fn listener(&mut self) {
        let scheme = if self.question.https { "https" } else { "http" };
        let mut listeners = self.report.listeners.iter();
        let Some((_, address)) = listeners.find(|(name, _)| *name == scheme) else {
            let variable = if self.question.https {
                "WHARF_HTTPS"
            } else {
                "WHARF_HTTP"
            };
            self.step("listener", "stop", format!("{variable} is off"));
            return self.end(format!("would get no connection: {variable} is off"));
        };
        let authority = self.question.authority.as_str();
        let port = authority
            .rsplit_once(':')
            .and_then(|(_, port)| port.parse().ok());
        let usual = if self.question.https { 443 } else { 80 };
        let asked: u16 = port.unwrap_or(usual);
        let public = self
            .published
            .table
            .https_port
            .filter(|_| self.question.https);
        if asked == address.port() || public == Some(asked) {
            self.step("listener", "ok", format!("{scheme} on {address}"));
        } else {
            let told = format!(
                "{scheme} on {address}; clients that ask port {asked} must be led there, as by a published port"
            );
            self.step("listener", "note", told);
        }
    }

    fn host(&mut self) {
        let host = &self.decision.host;
        let Some(entry) = self.decision.entry else {
            let Verdict::Refuse(error) = &self.decision.verdict else {
                return;
            };
            self.step("host", "stop", format!("`{host}`: {error}"));
            if self.question.https && matches!(error, proxy::ProxyError::NoHost) {
                self.end(format!(
                    "would be refused in the TLS handshake (unrecognized_name): no route for `{host}`"
                ));
            }
            return;
        };
        let how = match &entry.pattern {
            HostPattern::Exact(_) => "exactly this name".to_owned(),
            HostPattern::Wildcard(_) => format!("matched by {}", entry.pattern),
            HostPattern::Default => "matched by nothing but `default`".to_owned(),
        };
        self.step("host", "ok", format!("`{host}`: {how}"));
    }

    fn path(&mut self, entry: &HostEntry, route: &Route) {
        let mut told = format!("{} -> {}", route.path, self.by(route));
        let others: Vec<String> = entry
            .routes
            .iter()
            .filter(|other| other.path != route.path)
            .take(MAX_NAMED)
            .map(|other| format!("{} -> {}", other.path, other.key))
            .collect();
        if !others.is_empty() {
            told = format!("{told}; not {}", others.join(", "));
        }
        self.step("path", "ok", told);
        if self.decision.shares.len() > 1 {
            let sum: u32 = self
                .decision
                .shares
                .iter()
                .map(|(_, w)| u32::from(*w))
                .sum();
            let shares = self.decision.shares.iter();
            let shares = shares.map(|(route, weight)| format!("{} {weight}", self.by(route)));
            let told = format!(
                "several services share this place: {} of {sum}; told here is the first",
                shares.collect::<Vec<_>>().join(", ")
            );
            self.step("share", "note", told);
        } else if route.share.is_some() && entry.split_of(route) {
            let told = "several services share this place; what the request carries decides";
            self.step("share", "note", told.to_owned());
        }
    }

    /// Owner and container of a route.
    fn by(&self, route: &Route) -> String {
        match self.spec(route) {
            Some(spec) => format!("{} (labels of container {})", route.key, spec.container),
            None => route.key.to_string(),
        }
    }

    fn spec(&self, route: &Route) -> Option<&RouteSpec> {
        let mut routes = self.published.plan.routes.iter();
        routes.find(|spec| spec.key == route.key)
    }

    fn plain_http(&mut self, entry: &HostEntry, route: &Route) {
        if let Some((status, location)) = &self.decision.redirect {
            let told = format!("{} to {location}", status.as_u16());
            self.step("plain http", "note", told);
        } else if self.question.https && entry.tls == TlsMode::Off {
            let told = "this host is served over plain HTTP only (wharf.tls or wharf.https is off)";
            self.step("https", "stop", told.to_owned());
            self.end(
                "would be refused in the TLS handshake: this host is plain HTTP only".to_owned(),
            );
        } else if !self.question.https && route.https != HttpsMode::Redirect {
            let told = format!("served as it is (wharf.https: {})", word(&route.https));
            let state = if route.https == HttpsMode::Only {
                "stop"
            } else {
                "ok"
            };
            self.step("plain http", state, told);
        }
    }

    fn certificate(&mut self, entry: &HostEntry) {
        let tls = self.question.https || self.decision.redirect.is_some();
        if !tls || entry.tls == TlsMode::Off {
            return;
        }
        let reports = self.report.certs.report();
        let Some(report) = reports.iter().find(|one| one.host == entry.pattern) else {
            return self.step("certificate", "note", "none yet".to_owned());
        };
        let (state, told) = certificate(report);
        self.step("certificate", state, told.clone());
        if state == "stop" {
            self.end(match self.decision.redirect {
                Some(_) => format!("would get 503 because there is no certificate: {told}"),
                None => format!("would fail in the TLS handshake: {told}"),
            });
            self.told.status = self.decision.redirect.is_some().then_some(503);
        }
    }

    fn route(&mut self, route: &Route) {
        if let Some(fault) = &route.fault {
            self.step("labels", "stop", fault.to_string());
        }
        let Some(spec) = self.spec(route) else {
            return;
        };
        let settings = differing(&spec.settings);
        if !settings.is_empty() {
            self.step("settings", "note", settings.join(", "));
        }
    }

    fn endpoints(&mut self, route: &Route, dials: &[Option<Failure>]) {
        let upstream = &route.upstream;
        let chosen = match &self.decision.verdict {
            Verdict::Forward(chosen) => chosen.as_slice(),
            Verdict::Refuse(_) => &[],
        };
        let now = Instant::now();
        let endpoints = upstream.endpoints.iter().enumerate();
        self.told.endpoints = endpoints
            .map(|(index, endpoint)| Dialled {
                endpoint: containers::endpoint(endpoint, now),
                chosen: chosen.iter().any(|one| usize::from(*one) == index),
                dial: match dials.get(index) {
                    Some(None) => "connects".to_owned(),
                    Some(Some(failure)) => failure.to_string(),
                    None => "not asked".to_owned(),
                },
            })
            .collect();
        let taking = upstream
            .endpoints
            .iter()
            .filter(|one| one.weight > 0)
            .count();
        let state = if taking == 0 { "stop" } else { "ok" };
        let told = format!(
            "{}: {taking} of {} containers may get requests",
            upstream.key,
            upstream.endpoints.len() + upstream.unreachable.len()
        );
        self.step("upstream", state, told);
    }

    /// Those that ask for the host, or would belong to the upstream, and get nothing.
    fn containers(&mut self) {
        let host = self.decision.host.as_str();
        let mut ids: Vec<&str> = proxy::claimants(host, &self.published.notes)
            .map(|note| note.id.as_str())
            .collect();
        if let Some(route) = self.decision.route {
            for sentence in &route.upstream.unreachable {
                let name = sentence.split([' ', ':']).next().unwrap_or_default();
                let notes = self.published.notes.iter();
                ids.extend(notes.filter(|n| n.container == name).map(|n| n.id.as_str()));
            }
            let endpoints = || route.upstream.endpoints.iter();
            let notes = self.published.notes.iter();
            let here = notes.filter(|note| endpoints().any(|one| containers::is_of(one, note)));
            ids.extend(here.map(|note| note.id.as_str()));
        }
        let now = Instant::now();
        let notes = self
            .published
            .notes
            .iter()
            .filter(|n| ids.contains(&n.id.as_str()));
        let told = notes.map(|note| containers::container(note, self.published, now));
        let routed = word(&Standing::Routed);
        let told = told.filter(|one| one.standing != routed || !one.reasons.is_empty());
        self.told.containers = told.take(MAX_NAMED).collect();
    }

    /// What the client would see of the cause.
    fn page(&mut self) {
        if !self.decision.detail {
            let told = "names neither containers nor addresses to this client".to_owned();
            self.step("error page", "note", told);
        }
    }

    fn refusal(&mut self) {
        let Verdict::Refuse(error) = &self.decision.verdict else {
            return;
        };
        let status = error.status().as_u16();
        self.told.status = Some(status);
        self.told.verdict = format!("would get {status} because {error}");
        self.told.hints.clone_from(&self.decision.hints);
    }

    fn verdict(&mut self, route: &Route, dials: &[Option<Failure>]) {
        let way = match &self.decision.redirect {
            Some((status, _)) => format!("would get {} to HTTPS, and then ", status.as_u16()),
            None => "would ".to_owned(),
        };
        let waits = route.upstream.hopes(Instant::now()) && !route.hold.is_zero();
        let wait = match waits {
            true => format!("wait up to {} s and then get", route.hold.as_secs()),
            false => "get".to_owned(),
        };
        let chosen = match &self.decision.verdict {
            Verdict::Forward(chosen) => chosen,
            Verdict::Refuse(error) => {
                let of_upstream = error.is_of_upstream();
                let status = match of_upstream && waits {
                    true => 503,
                    false => error.status().as_u16(),
                };
                let get = if of_upstream { wait.as_str() } else { "get" };
                self.told.status = Some(status);
                self.told.verdict = format!("{way}{get} {status} because {error}");
                self.told.hints.clone_from(&self.decision.hints);
                return;
            }
        };
        let connects = |index: &usize| matches!(dials.get(*index), Some(None) | None);
        let endpoints = &route.upstream.endpoints;
        let among: Vec<usize> = chosen.iter().map(|one| usize::from(*one)).collect();
        let mut takers: Vec<usize> = among.iter().copied().filter(connects).collect();
        if takers.is_empty() {
            // Those that do not connect are passed over.
            let all = (0..endpoints.len()).filter(|index| endpoints[*index].weight > 0);
            takers = all.filter(connects).collect();
        }
        if takers.is_empty() {
            let failed = among
                .first()
                .and_then(|index| Some((endpoints.get(*index)?, index)));
            let Some((endpoint, index)) = failed else {
                return;
            };
            let failure = dials.get(*index).copied().flatten();
            let failure = failure.unwrap_or(Failure::Connect);
            let status = match failure {
                _ if waits => 503,
                Failure::ConnectTimeout => 504,
                _ => 502,
            };
            let why = match failure {
                Failure::Refused => nothing_listens(endpoint.addr, &endpoint.exposed),
                failure => format!("{} at {}: {failure}", endpoint.container, endpoint.addr),
            };
            self.told.status = Some(status);
            self.told.verdict = format!("{way}{wait} {status} because {why}");
            return;
        }
        let names = takers.iter().take(MAX_NAMED).filter_map(|index| {
            let endpoint = endpoints.get(*index)?;
            Some(format!("{} {}", endpoint.container, endpoint.addr))
        });
        let names: Vec<String> = names.collect();
        let policy = match takers.len() {
            1 => String::new(),
            _ => format!(" ({})", policy(route)),
        };
        self.told.served = true;
        self.told.verdict = format!("{way}be sent to {}{policy}", names.join(" or "));
    }
}

fn policy(route: &Route) -> String {
    match &route.balance {
        Balance::RoundRobin => "in turn".to_owned(),
        balance => format!("wharf.lb: {balance}"),
    }
}

fn paths(entry: &HostEntry) -> String {
    let mut paths: Vec<&str> = entry.routes.iter().map(|r| r.path.as_str()).collect();
    paths.dedup();
    paths.truncate(MAX_NAMED);
    format!("routes of this host: {}", paths.join(", "))
}

/// What stands behind a host's certificate, and whether it would do.
fn certificate(report: &CertReport) -> (&'static str, String) {
    let source = word(&report.source);
    let error = report.last_error.clone().unwrap_or_default();
    match report.state {
        CertState::Valid => ("ok", format!("valid ({source})")),
        CertState::Expired => ("note", format!("expired ({source}) {error}")),
        CertState::Ordering => ("note", format!("being ordered ({source}); requests wait")),
        CertState::Waiting => (
            "note",
            format!("none yet ({source}): the first request orders it and waits"),
        ),
        CertState::Failed => {
            let later = report
                .next
                .as_ref()
                .is_none_or(|next| next.at > SystemTime::now());
            (if later { "stop" } else { "note" }, error)
        }
    }
}

/// `strip: true` and so on, where they are not the default.
fn differing(settings: &Settings) -> Vec<String> {
    let fields = |settings: &Settings| match serde_json::to_value(settings) {
        Ok(serde_json::Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    let default = fields(&Settings::default());
    let text = |value: &serde_json::Value| match value {
        serde_json::Value::String(text) => text.clone(),
        value => value.to_string(),
    };
    let mut found = Vec::new();
    for (name, value) in fields(settings) {
        match (&value, default.get(&name)) {
            (_, Some(usual)) if *usual == value => {}
            (serde_json::Value::Object(parts), Some(serde_json::Value::Object(usual))) => {
                let parts = parts
                    .iter()
                    .filter(|(key, value)| usual.get(*key) != Some(value));
                found.extend(parts.map(|(key, value)| format!("{name}.{key}: {}", text(value))));
            }
            _ => found.push(format!("{name}: {}", text(&value))),
        }
    }
    found
}

/// Endpoints that are asked for a connection.
const MAX_DIALS: usize = 32;
/// A local connect takes far less.
const DIAL_LIMIT: Duration = Duration::from_secs(1);
/// Headers of a question.
const MAX_FIELDS: usize = 32;
/// Routes, endpoints or containers named.
const MAX_NAMED: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded_once() {
        assert_eq!(
            decoded("https%3A%2F%2Fa%2Fb+c").as_deref(),
            Some("https://a/b c")
        );
        assert_eq!(decoded("%2541").as_deref(), Some("%41"));
        for bad in ["%", "%4", "%zz", "%ff"] {
            assert_eq!(decoded(bad), None, "{bad}");
        }
    }

    #[test]
    fn only_settings_that_differ_are_told() {
        assert!(differing(&Settings::default()).is_empty());
        let mut settings = Settings {
            strip: true,
            ..Settings::default()
        };
        settings.timeouts.read = Duration::from_secs(300);
        let told = differing(&settings);
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(
            told[0] == "strip: true" && told[1].starts_with("timeouts.read: "),
            "{told:?}"
        );
    }
}
