//! Facts of a route in words.

use std::time::SystemTime;

use super::super::report::word;
use crate::model::{Balance, Settings};
use crate::route::{HostEntry, Route};
use crate::tls::{CertReport, CertState};

pub(super) fn policy(route: &Route) -> String {
    match &route.balance {
        Balance::RoundRobin => "in turn".to_owned(),
        balance => format!("wharf.lb: {balance}"),
    }
}

pub(super) fn paths(entry: &HostEntry) -> String {
    let mut paths: Vec<String> = entry.routes.iter().map(|r| r.place()).collect();
    paths.dedup();
    paths.truncate(MAX_NAMED);
    format!("routes of this host: {}", paths.join(", "))
}

/// What stands behind a host's certificate, and whether it would do.
pub(super) fn certificate(report: &CertReport) -> (&'static str, String) {
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
pub(super) fn differing(settings: &Settings) -> Vec<String> {
    if !settings.hidden.is_empty() {
        let mut told = settings.hidden.clone();
        told.push("others are not shown beside these".to_owned());
        return told;
    }
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

/// Routes, endpoints or containers named.
pub(super) const MAX_NAMED: usize = 16;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

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
