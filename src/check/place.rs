//! Problems of the plan -> where they stand in the files.

use std::ops::Range;

use crate::docker::labels::{excerpt, is_option};
use crate::model::{LabelPrefix, Problem, Severity};

use super::compose::Remark;
use super::service::{Label, Service};
use crate::files::yaml::Span;

/// A problem of the plan at its place in the file.
pub(super) fn remark(service: &Service, problem: &Problem, prefix: &LabelPrefix) -> Option<Remark> {
    let mut labels = service.labels.iter().chain(&service.deploy);
    let label = labels.find(|label| {
        excerpt(&label.key) == problem.label
            && (excerpt(&label.value) == problem.value || problem.value == "***")
    });
    let (at, word) = match label {
        Some(label) => place(label, problem, prefix),
        None => (field(service, problem)?, None),
    };
    // Containers that these files do not bring may make it right.
    let unsure = OTHERS.iter().any(|part| problem.reason.contains(part));
    Some(Remark {
        severity: if unsure {
            Severity::Warning
        } else {
            problem.severity
        },
        at,
        word,
        service: problem.container.clone(),
        label: problem.label.clone(),
        reason: problem.reason.clone(),
    })
}

/// The word of a label that a problem is about: one that its reason quotes, or a field it begins with.
pub(super) fn place(
    label: &Label,
    problem: &Problem,
    prefix: &LabelPrefix,
) -> (Span, Option<String>) {
    let key = label.key.replace('-', "_").to_ascii_lowercase();
    let in_key =
        !is_option(&label.key, prefix) || KEYS.iter().any(|part| problem.reason.contains(part));
    let quoted = problem.reason.split('`').skip(1).step_by(2);
    let mut quoted = quoted.filter(|word| !word.is_empty());
    if in_key {
        // The last one: `cache` has no field `vaild`.
        let words = quoted.filter_map(|word| words(&key, &word.replace('-', "_")));
        let found = words.last().and_then(|at| label.key.get(at));
        return (label.key_at, found.map(str::to_owned));
    }
    let found = quoted.find(|word| label.value.contains(*word));
    if let Some(word) = found.filter(|_| !label.value.contains('`')) {
        return (label.value_at, Some(word.to_owned()));
    }
    let field = problem.reason.split(':').next().unwrap_or_default();
    let mut items = label.value.split_whitespace();
    let item = items.find(|item| {
        item.strip_prefix(field)
            .is_some_and(|rest| rest.starts_with('='))
    });
    (label.value_at, item.map(str::to_owned))
}

/// Where whole words stand in a key.
fn words(key: &str, words: &str) -> Option<Range<usize>> {
    let mut found = key.match_indices(words);
    found.find_map(|(at, _)| {
        let end = at + words.len();
        let whole = (at == 0 || key[..at].ends_with('.'))
            && (end == key.len() || key[end..].starts_with('.'));
        whole.then_some(at..end)
    })
}

/// Where a problem stands that is of no label.
fn field(service: &Service, problem: &Problem) -> Option<Span> {
    let known = FIELDS
        .iter()
        .find(|(part, _)| problem.reason.contains(part));
    let known = known.and_then(|(_, field)| service.fields.get(*field));
    known.copied().or(service.at)
}

/// Labels that no container gets.
pub(super) fn astray(service: &Service, prefix: &LabelPrefix) -> Option<Remark> {
    let label = service
        .deploy
        .iter()
        .find(|label| prefix.owns(&label.key))?;
    if service.labels.iter().any(|label| prefix.owns(&label.key)) {
        return None;
    }
    Some(Remark {
        severity: Severity::Warning,
        at: *service.fields.get("deploy.labels").unwrap_or(&label.key_at),
        word: None,
        service: service.name.clone(),
        label: String::new(),
        reason: "labels under `deploy` are those of a Swarm service: no container gets them, and Wharf reads containers; move them to `labels` of the service"
            .to_owned(),
    })
}

/// Parts of reasons that others can make wrong.
const OTHERS: &[&str] = &["no running container of this pool has a"];

/// Parts of reasons that are about a key, though it is an option.
const KEYS: &[&str] = &[" is also set by ", "route `"];

/// Parts of reasons, and the field of a service they are about.
const FIELDS: &[(&str, &str)] = &[
    ("network_mode", "network_mode"),
    ("uses the host's network", "network_mode"),
    ("network", "networks"),
    ("publishe", "ports"),
    ("exposes several ports", "expose"),
];
