//! The label language: a table of options ([`OPTIONS`]), and everything made from it.
//!
//! [`read`] turns one container's labels into what they ask for; `plan` calls it for every running
//! container. Pure and total: any map of labels gives an answer, and every `wharf.` label is either
//! used or named in a [`Problem`].

#[cfg(test)]
pub(crate) mod arbitrary;
mod dial;
mod help;
mod json;
mod key;
mod layers;
mod presets;
mod read;
mod reference;
mod route;
mod schema;
mod settings;
mod table;
#[cfg(test)]
mod tests;
mod text;
mod value;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::model::{
    AppTls, FailLimit, HealthCheck, Host, HostPattern, LabelPrefix, Matcher, MaxConns, PathPattern,
    Problem, Proto, Settings, Severity, Verify,
};

use layers::Layers;
use read::{Draft, Drafts};
use value::Value;

pub use help::{render_help, render_markdown};
pub use json::render_schema;
pub use presets::{DefaultFault, Defaults, Definition, Presets};
pub use reference::{VARIABLE, Values, references};
pub use schema::{Entry, Kind, Place, Status};
pub use table::OPTIONS;
pub use text::excerpt;
pub(in crate::docker) use value::upstream::MAX_ORIGINS;
pub(crate) use value::upstream::refused;
pub use value::upstream::{Origin, UpstreamAt};

/// What one container's labels ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels {
    /// `wharf.enable`; if false everything else here is empty.
    pub enabled: bool,
    /// `wharf.pool`.
    pub pool: Option<String>,
    /// `wharf.weight`, 0..=1000.
    pub weight: Option<u16>,
    /// `wharf.backup`.
    pub backup: bool,
    /// `wharf.fail`.
    pub fail: FailLimit,
    /// `wharf.max_conns`.
    pub max_conns: MaxConns,
    /// How the container is dialled for a route its own labels do not name.
    pub dial: Dial,
    /// The default route first, then named ones by name, each with that of its `redirect.from` behind it. The default route is present if it has a
    /// host or an error.
    pub routes: Vec<RouteLabels>,
    /// What could not be used, and what deserves a look.
    pub problems: Vec<Problem>,
}

/// How to reach an app inside its container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dial {
    /// `wharf.port`.
    pub port: Option<u16>,
    /// The port label is there but could not be used: no other port may be guessed.
    pub port_broken: bool,
    /// `wharf.network`.
    pub network: Option<NetworkLabel>,
    /// `wharf.upstream`.
    pub upstream: Option<UpstreamLabel>,
    /// That label is there but could not be used: its own container may not be what was meant.
    pub upstream_broken: bool,
    /// `wharf.proto`.
    pub proto: Proto,
    /// `wharf.upstream.verify`.
    pub verify: Verify,
    /// `wharf.upstream.sni`.
    pub sni: Option<Host>,
    /// A label of these is there but could not be used: nobody knows how the app is to be spoken to, and
    /// whether to anybody.
    pub tls_broken: bool,
    /// `wharf.health`.
    pub health: HealthCheck,
    /// A label of it is there but could not be used.
    pub health_broken: bool,
}

impl Dial {
    /// How an app that speaks TLS is believed; `host` is its name where no label says.
    pub(in crate::docker) fn tls(&self, host: Option<&Host>) -> AppTls {
        AppTls {
            verify: self.verify.clone(),
            name: self.sni.as_ref().or(host).cloned(),
        }
    }

    /// The same, spoken to in the way of an endpoint.
    pub(in crate::docker) fn spoken(self, proto: Proto, tls: Option<&AppTls>) -> Self {
        Self {
            proto,
            verify: tls.map(|tls| tls.verify.clone()).unwrap_or_default(),
            sni: tls.and_then(|tls| tls.name.clone()),
            ..self
        }
    }

    /// What the app speaks; several where several addresses are named.
    pub(in crate::docker) fn protos(&self) -> Vec<Proto> {
        match self.upstream.as_ref().map(|label| &label.at) {
            Some(UpstreamAt::Origins(origins)) => {
                origins.iter().map(|origin| origin.proto).collect()
            }
            _ => vec![self.proto],
        }
    }

    /// Whether requests leave Docker, so that the container need not run.
    pub(in crate::docker) fn is_outside(&self) -> bool {
        let at = self.upstream.as_ref().map(|label| &label.at);
        matches!(at, Some(UpstreamAt::Origins(_)))
    }
}

/// Where requests go instead, and the label that says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamLabel {
    pub at: UpstreamAt,
    /// Label and value as written, cut to the length of a message.
    pub label: String,
    pub value: String,
}

impl UpstreamLabel {
    pub(in crate::docker) fn problem(
        &self,
        container: &str,
        severity: Severity,
        reason: String,
    ) -> Problem {
        Problem {
            severity,
            container: container.to_owned(),
            label: self.label.clone(),
            value: self.value.clone(),
            reason,
        }
    }
}

/// A network and the label that asks for it, for problems.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkLabel {
    pub name: String,
    /// Label and value as written, cut to the length of a message.
    pub label: String,
    pub value: String,
}

/// One route of one container, inheritance resolved and defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteLabels {
    /// `None` is the default route. That of `redirect.from` is called so, behind its route's name.
    pub name: Option<String>,
    /// Without duplicates, in label order. Empty only if `fault` is set.
    pub hosts: Vec<HostPattern>,
    /// The label the hosts came from and its value, cut to the length of a message.
    pub host_label: String,
    pub host_value: String,
    pub path: PathPattern,
    /// The path label is there but could not be used; `path` is a guess.
    pub path_broken: bool,
    /// `wharf.match`; sorted, without duplicates.
    pub conditions: Vec<Matcher>,
    /// That label is there but could not be used: which requests are meant is not known.
    pub conditions_broken: bool,
    pub settings: Settings,
    /// `wharf.canary`.
    pub canary: Vec<Matcher>,
    pub dial: Dial,
    /// A named route with a port, network, upstream, protocol or health check of its own.
    pub own_upstream: bool,
    /// The first error that costs this route, naming the label.
    pub fault: Option<String>,
}

impl RouteLabels {
    /// The route whose upstream it has: its own, or that of the route it sends requests to.
    pub(in crate::docker) fn upstream_of(&self) -> Option<&str> {
        let name = self.name.as_deref()?;
        match name.strip_suffix(route::REDIRECT_FROM) {
            Some(base) => base.strip_suffix('.'),
            None => Some(name),
        }
    }
}

/// What labels are read with.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    pub prefix: &'a LabelPrefix,
    pub presets: &'a Presets,
    pub defaults: &'a Defaults,
    /// What `env:` and `file:` stand for.
    pub values: &'a Values,
    /// The container is Wharf's own, whose labels define presets.
    pub is_wharf: bool,
    /// `WHARF_DEFAULT_HOST`, and what it makes of the container's names.
    pub host: Option<&'a (String, Result<Host, String>)>,
    /// `WHARF_EXPOSE_ALL`: a container need not ask for that host.
    pub expose: bool,
}

/// Nothing but what is built in.
impl<'a> From<&'a LabelPrefix> for Terms<'a> {
    fn from(prefix: &'a LabelPrefix) -> Self {
        static NONE: LazyLock<Defaults> = LazyLock::new(Defaults::default);
        Self {
            prefix,
            presets: Presets::built_in(),
            defaults: &NONE,
            values: &Values::Unread,
            is_wharf: false,
            host: None,
            expose: false,
        }
    }
}

/// Reads the labels of a container. `None` if none of them is Wharf's.
///
/// Problems have labels as they were written; sentences of Wharf's own say `wharf.<option>` whatever the
/// prefix, and whoever shows them puts it in.
pub fn read<'a>(
    container: &str,
    labels: &BTreeMap<String, String>,
    terms: impl Into<Terms<'a>>,
) -> Option<Labels> {
    let terms = terms.into();
    let mut drafts = read::read(container, labels, terms);
    let expose = terms.expose && terms.host.is_some() && !terms.is_wharf;
    if drafts.count == 0 && !expose {
        return None;
    }
    let default = &drafts.default;
    let asked = default.value("enable");
    let enabled = asked != Some(&Value::Switch(false));
    if asked == Some(&Value::Switch(true)) || expose {
        drafts.host(container, terms.host);
    }
    Some(if enabled {
        assemble(container, drafts, terms)
    } else {
        Labels::default()
    })
}

/// Whether a label, in whatever case, is one that Wharf knows, can do, and takes where it stands. Of a named route
/// that does not come to be, the option counts.
pub fn is_option(label: &str, prefix: &LabelPrefix) -> bool {
    if let Some(Ok((_, option))) = key::preset(label, prefix) {
        let entry = key::find(&option);
        return entry.is_ok_and(|entry| entry.is_common() && entry.status == Status::Supported);
    }
    let Some(Ok(key)) = key::split(label, prefix) else {
        return false;
    };
    let entry = key::find(&key.option);
    entry.is_ok_and(|entry| {
        let placed = key.route.is_none() || entry.place == Place::Route;
        placed && entry.status == Status::Supported
    })
}

fn assemble(container: &str, drafts: Drafts, terms: Terms<'_>) -> Labels {
    let Drafts {
        default,
        named,
        mut problems,
        ..
    } = drafts;
    let layers = Layers::new(&default, None, &named, terms);
    let dial = layers.dial();
    let mut routes = Vec::new();
    if default.values.contains_key("host") || !default.errors.is_empty() {
        let route = layers.route(container, None, &mut problems);
        let from = layers.redirect_from(container, &route, &mut problems);
        let files = layers.static_path(&route);
        routes.extend([Some(route), files, from].into_iter().flatten());
    } else {
        // Named routes inherit its presets, and pay for those that cannot be used.
        layers.tell_presets(|given, reason| {
            problems.push(Problem {
                severity: Severity::Error,
                container: container.to_owned(),
                label: excerpt(&given.label),
                value: excerpt(&given.text),
                reason,
            });
        });
    }
    for (name, draft) in &named {
        let none = BTreeMap::new();
        let layers = Layers::new(draft, Some(&default), &none, terms);
        let mut route = layers.route(container, Some(name), &mut problems);
        // It may use no preset of the default route's, or others.
        route.own_upstream |= draft.values.contains_key("use") && route.dial != dial;
        let from = layers.redirect_from(container, &route, &mut problems);
        let files = layers.static_path(&route);
        routes.extend([Some(route), files, from].into_iter().flatten());
    }
    let pool = match default.value("pool") {
        Some(Value::Name(name)) => Some(name.clone()),
        _ => None,
    };
    let weight = match default.value("weight") {
        Some(Value::Share(weight)) => Some(*weight),
        _ => None,
    };
    let fail = match layers.value("fail") {
        Some(Value::Fail(limit)) => *limit,
        _ => FailLimit::default(),
    };
    let max_conns = max_conns(&layers);
    for option in ["max_conns.queue", "max_conns.wait"] {
        if let Some(given) = default.values.get(option).filter(|_| max_conns.count == 0) {
            problems.push(Problem {
                severity: Severity::Warning,
                container: container.to_owned(),
                label: excerpt(&given.label),
                value: excerpt(&given.text),
                reason: "without effect: there is no `max_conns`".to_owned(),
            });
        }
    }
    if routes.is_empty() {
        hostless(container, &default, pool.is_some(), &mut problems);
    }
    Labels {
        enabled: true,
        pool,
        weight,
        backup: matches!(default.value("backup"), Some(Value::Switch(true))),
        fail,
        max_conns,
        dial,
        routes,
        problems,
    }
}

fn max_conns(layers: &Layers<'_>) -> MaxConns {
    let default = MaxConns::default();
    let count = |option: &str| match layers.value(option) {
        Some(Value::Count(count)) => Some(*count),
        _ => None,
    };
    MaxConns {
        count: count("max_conns").unwrap_or(default.count),
        queue: count("max_conns.queue").unwrap_or(default.queue),
        wait: match layers.value("max_conns.wait") {
            Some(Value::Duration(wait)) => *wait,
            _ => default.wait,
        },
    }
}

/// What is wrong with a container that has labels but no route: nothing if it is a replica in a
/// pool, whose routes come from the members that have a host.
fn hostless(container: &str, draft: &Draft, replica: bool, problems: &mut Vec<Problem>) {
    let mut problem = |severity, label: &str, value: &str, reason: &str| {
        problems.push(Problem {
            severity,
            container: container.to_owned(),
            label: excerpt(label),
            value: excerpt(value),
            reason: reason.to_owned(),
        });
    };
    if replica {
        let unused = draft.values.iter().filter(|(option, _)| {
            let top = option.split('.').next().unwrap_or(option);
            !REPLICA_OPTIONS.contains(&top)
        });
        for (_, given) in unused {
            let reason = "without effect: the routes of a pool come from its members with a host";
            problem(Severity::Warning, &given.label, &given.text, reason);
        }
    } else if !draft.values.is_empty() {
        let reason = match draft.value("enable") {
            Some(Value::Switch(true)) => {
                "no wharf.host, and no WHARF_DEFAULT_HOST that would give it one: the container is not exposed"
            }
            _ => "no wharf.host: the container is not exposed",
        };
        problem(Severity::Error, "", "", reason);
    }
}

/// What a replica without a host may say about itself.
const REPLICA_OPTIONS: [&str; 14] = [
    "use",
    "pool",
    "weight",
    "backup",
    "fail",
    "max_conns",
    "max_conns.queue",
    "max_conns.wait",
    "port",
    "network",
    "upstream",
    "proto",
    "health",
    "enable",
];
