//! Drafts -> routes, and what an error costs.

use crate::model::{
    HostPattern, HttpsMode, PathPattern, Problem, Rewrite, Settings, Severity, TlsMode,
};

use super::RouteLabels;
use super::layers::{Layers, pick};
use super::text::excerpt;
use super::value::Value;
use super::value::upstream::UpstreamAt;

impl<'a> Layers<'a> {
    /// The route as asked for, with problems that only show once all options are known.
    pub(super) fn route(
        &self,
        container: &str,
        name: Option<&str>,
        problems: &mut Vec<Problem>,
    ) -> RouteLabels {
        let hosts: Vec<HostPattern> = pick!(self, "host", Value::Hosts).unwrap_or_default();
        let path: PathPattern = pick!(self, "path", Value::Path).unwrap_or_else(PathPattern::root);
        let mut settings = self.settings();
        if settings.files.is_some()
            && let Some(log) = pick!(self, "static.log", Value::Log)
        {
            settings.log = log;
        }
        let mut problem = |severity, label: &str, value: &str, reason: String| {
            problems.push(Problem {
                severity,
                container: container.to_owned(),
                label: excerpt(label),
                value: excerpt(value),
                reason,
            });
        };
        let own = |option: &str| self.own.values.get(option);
        if let Some(given) = own("strip").filter(|_| settings.strip && path.prefix().is_none()) {
            let reason =
                format!("there is nothing to strip from the path `{path}`: set wharf.path");
            problem(Severity::Warning, &given.label, &given.text, reason);
        }
        if let Some(given) = own("https").filter(|given| {
            settings.tls == TlsMode::Off && given.value != Value::Https(HttpsMode::Off)
        }) {
            let reason = "without effect, because `tls` is off".to_owned();
            problem(Severity::Warning, &given.label, &given.text, reason);
        }
        for (given, why) in self.tls_warnings(&settings) {
            problem(Severity::Warning, &given.label, &given.text, why.to_owned());
        }
        for (given, why) in self.idle_fields(&settings) {
            problem(Severity::Warning, &given.label, &given.text, why.to_owned());
        }
        if let Some((given, why)) = self.idle_in_flight() {
            problem(Severity::Warning, &given.label, &given.text, why.to_owned());
        }
        for (given, why) in self.files_warnings() {
            problem(Severity::Warning, &given.label, &given.text, why.to_owned());
        }
        for (given, why) in self.idle_compress(settings.compress.is_some()) {
            problem(Severity::Warning, &given.label, &given.text, why.to_owned());
        }
        for (given, why) in self.buffer_warnings(&settings) {
            problem(Severity::Warning, &given.label, &given.text, why.to_owned());
        }
        for (given, why) in self.cache_warnings() {
            problem(Severity::Warning, &given.label, &given.text, why.to_owned());
        }
        for (given, why) in self.cors_warnings(&settings) {
            problem(Severity::Warning, &given.label, &given.text, why.to_owned());
        }
        self.tell_presets(|given, reason| {
            problem(Severity::Error, &given.label, &given.text, reason);
        });
        let dial = self.dial();
        let (useless, why) = match dial.upstream.as_ref().map(|label| &label.at) {
            Some(UpstreamAt::Origins(_)) => (
                &["port", "network", "proto"][..],
                "without effect: `upstream` says where the app is",
            ),
            Some(UpstreamAt::Socket(_)) => (
                &["port", "network", "health.port"][..],
                "without effect: `upstream` is a Unix socket",
            ),
            Some(UpstreamAt::Published) => (
                &["network"][..],
                "without effect: `upstream` is the published port",
            ),
            Some(UpstreamAt::Container) | None => (&[][..], ""),
        };
        for given in useless.iter().filter_map(|option| own(option)) {
            problem(Severity::Warning, &given.label, &given.text, why.to_owned());
        }
        for (given, why) in self.idle_tls(&dial) {
            problem(Severity::Warning, &given.label, &given.text, why.to_owned());
        }
        for (given, why) in self.idle_health(&dial.health) {
            problem(Severity::Warning, &given.label, &given.text, why.to_owned());
        }
        let mut fault = self.fault();
        if let (Some(given), PathPattern::Regex(_)) = (self.get("rewrite"), &path)
            && matches!(settings.rewrite, Some(Rewrite::Base(_)))
        {
            let reason = "a regex has no prefix that could become another one: write a rule, as in ^/v1/(.*)$ -> /{1}";
            problem(
                Severity::Error,
                &given.label,
                &given.text,
                reason.to_owned(),
            );
            fault.get_or_insert_with(|| format!("{}: {reason}", excerpt(&given.label)));
        }
        if let Some((given, reason)) = self.torn() {
            problem(Severity::Error, &given.label, &given.text, reason.clone());
            fault.get_or_insert_with(|| format!("{}: {reason}", excerpt(&given.label)));
        }
        if let (Some(given), Some(UpstreamAt::Socket(_)), true) = (
            self.get("proto"),
            dial.upstream.as_ref().map(|label| &label.at),
            dial.proto.is_tls(),
        ) {
            let reason = "an app behind a Unix socket is spoken to in clear: nobody can listen in between; leave `proto` out";
            let (label, text) = (&given.label, &given.text);
            problem(Severity::Error, label, text, reason.to_owned());
            fault.get_or_insert_with(|| format!("{}: {reason}", excerpt(label)));
        }
        if let Some(name) = name.filter(|_| hosts.is_empty() && fault.is_none()) {
            let reason = format!("route `{name}` has no host: set wharf.host or wharf.{name}.host");
            let (label, value) = self.own.first.clone().unwrap_or_default();
            problem(Severity::Error, &label, &value, reason.clone());
            fault = Some(format!("{}: {reason}", excerpt(&label)));
        }
        let host = self.get("host");
        RouteLabels {
            name: name.map(str::to_owned),
            hosts,
            host_label: host.map_or_else(String::new, |given| excerpt(&given.label)),
            host_value: host.map_or_else(String::new, |given| excerpt(&given.text)),
            path,
            path_broken: self.broken("path"),
            conditions: self.conditions(),
            conditions_broken: self.broken("match"),
            settings,
            canary: pick!(self, "canary", Value::Matchers).unwrap_or_default(),
            dial,
            own_upstream: self.base.is_some() && self.is_dialled_apart(),
            fault,
        }
    }

    /// The route of hosts that are sent to `route`, if its own labels name any.
    pub(super) fn redirect_from(
        &self,
        container: &str,
        route: &RouteLabels,
        problems: &mut Vec<Problem>,
    ) -> Option<RouteLabels> {
        let given = self.own.values.get("redirect.from")?;
        let Value::Hosts(hosts) = &given.value else {
            return None;
        };
        let (label, value) = (excerpt(&given.label), excerpt(&given.text));
        let Some(to) = route.hosts.iter().find_map(HostPattern::exact) else {
            problems.push(Problem {
                severity: Severity::Error,
                container: container.to_owned(),
                label,
                value,
                reason: "there is nowhere to send them: wharf.host names no host but patterns"
                    .to_owned(),
            });
            return None;
        };
        let tls = match route.settings.tls {
            // It is of the route's own hosts.
            TlsMode::File => TlsMode::Auto,
            mode => mode,
        };
        Some(RouteLabels {
            name: Some(match &route.name {
                None => REDIRECT_FROM.to_owned(),
                Some(name) => format!("{name}.{REDIRECT_FROM}"),
            }),
            hosts: hosts.clone(),
            host_label: label,
            host_value: value,
            path: PathPattern::root(),
            path_broken: false,
            conditions: Vec::new(),
            conditions_broken: false,
            settings: Settings {
                tls,
                tls_file: None,
                redirect_to: Some(to.clone()),
                strip: false,
                rewrite: None,
                redirects: Vec::new(),
                sticky: None,
                breaker: None,
                cache: None,
                ..route.settings.clone()
            },
            ..route.clone()
        })
    }
}

/// Names the route of hosts that are sent to another; no route of a label can be called that.
pub(super) const REDIRECT_FROM: &str = "redirect.from";
