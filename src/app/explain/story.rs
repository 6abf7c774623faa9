//! The answer, told step by step.

use std::time::Instant;

use super::super::containers;
use super::super::report::{Report, word};
use super::words::{MAX_NAMED, certificate, differing, paths, policy};
use crate::admin::{Dialled, Explanation, Step};
use crate::control::Published;
use crate::model::{
    AppTls, Host, HostPattern, HttpsMode, RouteSpec, Standing, TlsMode, nothing_listens,
};
use crate::proxy::{self, Decision, Question, Verdict};
use crate::route::{Asking, ForwardAuth, HostEntry, Route};
use crate::tls::{Answer, CertReport};
use crate::upstream::Failure;

/// The answer, as it grows.
pub(super) struct Story<'a> {
    pub(super) report: &'a Report,
    pub(super) published: &'a Published,
    pub(super) question: &'a Question,
    pub(super) decision: &'a Decision<'a>,
    pub(super) told: Explanation,
    /// A step before the verdict ends the request.
    pub(super) ended: bool,
}

impl Story<'_> {
    pub(super) fn tell(&mut self, dials: &[Option<Failure>]) {
        self.listener();
        self.host();
        if let (Some(entry), Some(route)) = (self.decision.entry, self.decision.route) {
            self.path(entry, route);
            self.plain_http(entry, route);
            self.certificate(entry);
            self.route(route);
            if let Some(target) = &self.decision.target {
                let told = format!("the app is asked for {target}");
                self.step("rewrite", "note", told);
            }
            self.places(route);
            self.compression(route);
            if let Some(cache) = &route.cache {
                let (memory, disk) = cache.owner.used();
                let told = format!(
                    "answers of the app are kept (wharf.cache), {} KiB in memory and {} KiB on disk by now; from there the app is not asked",
                    memory >> 10,
                    disk >> 10
                );
                self.step("cache", "note", told);
            }
            if route.files.is_none() {
                self.buffers(route);
                self.endpoints(route, dials);
            }
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

    pub(super) fn step(&mut self, name: &str, state: &str, told: String) {
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
            HostPattern::Wildcard(_) | HostPattern::Below(_) | HostPattern::Regex(_) => {
                format!("matched by {}", entry.pattern)
            }
            HostPattern::Default => "matched by nothing but `default`".to_owned(),
        };
        self.step("host", "ok", format!("`{host}`: {how}"));
    }

    fn path(&mut self, entry: &HostEntry, route: &Route) {
        let mut told = format!("{} -> {}", route.place(), self.by(route));
        let others: Vec<String> = entry
            .routes
            .iter()
            .filter(|other| other.place() != route.place())
            .take(MAX_NAMED)
            .map(|other| format!("{} -> {}", other.place(), other.key))
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
        if let Some(asking) = &entry.ask {
            let name = HostPattern::parse(&self.decision.host).ok();
            let own = { reports.iter() }.any(|one| Some(&one.host) == name.as_ref());
            if !own {
                return self.asked(asking);
            }
        }
        let matches = |one: &CertReport| match &entry.ask {
            Some(_) => one.host.to_string() == *self.decision.host,
            None => one.host == entry.certificate,
        };
        let Some(report) = reports.iter().find(|one| matches(one)) else {
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

    /// A name without a certificate of its own that somebody is to be asked about.
    fn asked(&mut self, asking: &Asking) {
        let name = Host::parse(&self.decision.host).ok();
        let last = name.and_then(|name| self.report.certs.last_answer(&name));
        let (state, told) = match last {
            Some((Answer::No, left)) => (
                "stop",
                format!(
                    "{asking} has said no to this name; asked again in {} s",
                    left.as_secs() + 1
                ),
            ),
            Some((Answer::Unknown, _)) => {
                ("stop", format!("{asking} gave no answer that is yes or no"))
            }
            Some((Answer::Yes, _)) => ("note", format!("none yet; {asking} has said yes to it")),
            None => (
                "note",
                format!("none yet: {asking} is asked when it is first needed"),
            ),
        };
        self.step("certificate", state, told.clone());
        if state == "stop" {
            self.end(match self.decision.redirect {
                Some(_) => format!("would not be redirected: {told}"),
                None => format!("would fail in the TLS handshake: {told}"),
            });
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
        if let Some(auth) = self.decision.asks {
            self.auth(auth);
        }
    }

    /// Who is asked whether the request may go on, and can be. What it would say nobody knows.
    fn auth(&mut self, auth: &ForwardAuth) {
        let upstream = &auth.route.upstream;
        let endpoints = upstream.endpoints.iter().filter(|one| !one.is_out());
        let asked: Vec<String> = endpoints
            .take(MAX_NAMED)
            .map(|one| format!("{} at {}", one.container, one.addr))
            .collect();
        let (state, told) = match asked.is_empty() {
            false => (
                "note",
                format!(
                    "{} ({}) is asked first (wharf.auth.forward): with any answer but 2xx the app hears nothing",
                    auth.at,
                    asked.join(", ")
                ),
            ),
            true => (
                "stop",
                format!(
                    "{} (wharf.auth.forward) cannot be asked, so nobody gets in: {}",
                    auth.at,
                    upstream.unreachable.join("; ")
                ),
            ),
        };
        self.step("login", state, told);
    }

    /// What becomes of answers, where the route has a say in it.
    fn compression(&mut self, route: &Route) {
        let Some(compress) = &route.compress else {
            return;
        };
        let names: Vec<_> = compress.codings.iter().map(|one| one.name()).collect();
        let told = format!(
            "{}, as the client likes; types {}, from {} bytes (wharf.compress)",
            names.join(", "),
            compress.types,
            compress.min
        );
        self.step("compression", "note", told);
    }

    fn endpoints(&mut self, route: &Route, dials: &[Option<Failure>]) {
        let upstream = &route.upstream;
        let chosen = match &self.decision.verdict {
            Verdict::Forward(chosen) => chosen.as_slice(),
            Verdict::Refuse(_) | Verdict::Redirect(..) | Verdict::File | Verdict::Preflight => &[],
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
            .filter(|one| one.weight > 0 && !one.is_out())
            .count();
        let mut tls: Vec<&AppTls> = { upstream.endpoints.iter() }
            .filter_map(|endpoint| endpoint.tls.as_deref())
            .collect();
        tls.sort_unstable();
        tls.dedup();
        for tls in tls.into_iter().take(MAX_NAMED) {
            self.step("to the app", "note", tls.to_string());
        }
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
            Verdict::Redirect(status, location) => {
                let status = status.as_u16();
                self.told.served = true;
                self.told.status = Some(status);
                self.told.verdict = format!("would get {status} to {location}");
                return;
            }
            Verdict::File => {
                self.told.served = true;
                let files = route.files.as_ref();
                let at = files.map_or_else(String::new, |files| files.to_string());
                self.told.verdict = format!(
                    "{way}get a file of {at} in Wharf's container (wharf.static), or 404 where there is none of this name"
                );
                return;
            }
            Verdict::Preflight => {
                self.told.served = true;
                self.told.status = Some(204);
                "would get 204: Wharf answers preflights itself (wharf.cors)"
                    .clone_into(&mut self.told.verdict);
                return;
            }
            Verdict::Refuse(error) => {
                if let Some(limit) = error.waits_in_line() {
                    self.told.status = Some(503);
                    self.told.verdict = format!(
                        "{way}wait up to {limit:?} for a place, and get 503 if none becomes free: {error}"
                    );
                    self.told.hints.clone_from(&self.decision.hints);
                    return;
                }
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
            let all = (0..endpoints.len()).filter(|index| {
                let endpoint = &endpoints[*index];
                endpoint.weight > 0 && !endpoint.is_out()
            });
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
                Failure::Refused => nothing_listens(&endpoint.addr, &endpoint.exposed),
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
