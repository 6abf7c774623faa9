//! Drafts -> the health check of a route's replicas.

use super::super::layers::Layers;
use super::super::read::{Draft, Given};
use super::super::value::Value;
use super::super::value::health::HealthWord;
use crate::model::{ActiveCheck, HealthAsk, HealthCheck, HttpAsk, StatusSet};

impl Layers<'_> {
    /// The check these labels ask for. A route that names a word or a path does so instead of its base;
    /// the fields around it are inherited one by one.
    pub(in crate::docker::labels) fn health(&self) -> HealthCheck {
        let said = self.each("health").find_map(said);
        let asks = match said {
            None | Some(HealthWord::Docker) => return HealthCheck::Docker,
            Some(HealthWord::Off) => return HealthCheck::Off,
            Some(HealthWord::Tcp) => HealthAsk::Tcp,
            Some(HealthWord::Grpc(service)) => HealthAsk::Grpc(service),
            Some(HealthWord::Target(target)) => HealthAsk::Http(HttpAsk {
                target,
                host: self.of_health("host").and_then(|value| match value {
                    Value::Authority(host) => Some(host.clone()),
                    _ => None,
                }),
                status: match self.of_health("status") {
                    Some(Value::Statuses(set)) => set.clone(),
                    _ => StatusSet::default(),
                },
            }),
        };
        let default = ActiveCheck::new(asks);
        let time = |field, default| match self.of_health(field) {
            Some(Value::Duration(time)) => *time,
            _ => default,
        };
        let count = |field, default| match self.of_health(field) {
            Some(Value::CheckCount(count)) => *count,
            _ => default,
        };
        HealthCheck::Active(ActiveCheck {
            port: match self.of_health("port") {
                Some(Value::Port(port)) => Some(*port),
                _ => None,
            },
            interval: time("interval", default.interval),
            timeout: time("timeout", default.timeout),
            fails: count("fails", default.fails),
            passes: count("passes", default.passes),
            asks: default.asks,
        })
    }

    /// Whether a label of it is there but could not be used.
    pub(in crate::docker::labels) fn health_broken(&self) -> bool {
        let fields = FIELDS.iter().chain(&["health", "health.path"]);
        fields.into_iter().any(|option| self.broken(option)) || self.torn().is_some()
    }

    /// Where the route's own labels say two things at once: the second, and why it will not do.
    pub(in crate::docker::labels) fn torn(&self) -> Option<(&Given, String)> {
        let first = self.own.values.get("health")?;
        let second = self.own.values.get("health.path")?;
        let reason = format!("what is asked is also set by {}", first.label);
        Some((second, reason))
    }

    /// Own labels of it that change nothing, and why.
    pub(in crate::docker::labels) fn idle_health(
        &self,
        health: &HealthCheck,
    ) -> Vec<(&Given, &'static str)> {
        let (idle, why): (&[&str], _) = match health.active().map(|check| &check.asks) {
            None => (
                &FIELDS,
                "without effect without `tcp`, `grpc` or a path to ask",
            ),
            Some(HealthAsk::Tcp) => (&OF_HTTP, "without effect: `tcp` asks for no answer"),
            Some(HealthAsk::Grpc(_)) => (&OF_HTTP, "without effect: `grpc` has answers of its own"),
            Some(HealthAsk::Http(_)) => return Vec::new(),
        };
        // They may be meant for those.
        if self.heirs.values().any(|heir| said(heir).is_some()) {
            return Vec::new();
        }
        let given = idle
            .iter()
            .filter_map(|option| self.own.values.get(*option));
        given.map(|given| (given, why)).collect()
    }

    fn of_health(&self, field: &str) -> Option<&Value> {
        self.value(&format!("health.{field}"))
    }
}

/// What one layer says is asked.
fn said(draft: &Draft) -> Option<HealthWord> {
    let value = |option| draft.values.get(option).map(|given| &given.value);
    match (value("health"), value("health.path")) {
        (Some(Value::Health(word)), _) => Some(word.clone()),
        (None, Some(Value::Target(target))) => Some(HealthWord::Target(target.clone())),
        _ => None,
    }
}

/// How it is asked.
const FIELDS: [&str; 7] = [
    "health.interval",
    "health.timeout",
    "health.fails",
    "health.passes",
    "health.port",
    OF_HTTP[0],
    OF_HTTP[1],
];
const OF_HTTP: [&str; 2] = ["health.status", "health.host"];
