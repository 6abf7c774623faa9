//! Presets: named sets of options, for `wharf.use`; and what all routes have where nothing else is said.
//!
//! Precedence, nearest first: a route's labels, its presets from right to left, the labels of the default
//! route and its presets, `WHARF_DEFAULT_<OPTION>`, what is built in.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};

use crate::model::{LabelPrefix, Problem, Severity};

use super::key;
use super::read::{self, Draft, Line};
use super::reference::Values;
use super::schema::{self, Entry, Status};
use super::text::{excerpt, quote};
use super::value::{self, NOT_YET, Value};

/// What there is to use, by name: what is built in, unless a file or a label of Wharf's own container defines
/// it anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presets(BTreeMap<String, Arc<Preset>>);

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Preset {
    pub(super) draft: Draft,
    /// Where it is defined, for messages; `None` is here.
    origin: Option<String>,
}

/// An option of a preset as somebody has written it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    pub preset: String,
    pub option: String,
    pub value: String,
    /// What it is called in messages: a label, or a place in a file.
    pub label: String,
}

impl Presets {
    /// Those that come with Wharf.
    pub fn built_in() -> &'static Self {
        static BUILT_IN: LazyLock<Presets> = LazyLock::new(|| {
            let preset = |(name, _, options): &BuiltIn| {
                let options = supported(options).map(|(option, value)| Line {
                    option: option.to_owned(),
                    label: option,
                    value,
                });
                let (draft, _) = read::draft("", options, Entry::is_common, &Values::Unread);
                let origin = None;
                ((*name).to_owned(), Arc::new(Preset { draft, origin }))
            };
            Presets(BUILT_IN_PRESETS.iter().map(preset).collect())
        });
        &BUILT_IN
    }

    /// Adds what `whose` (a container or a file) defines. One that is defined twice, other than by Wharf itself, is
    /// an error of the second place, and no route may use it: nobody knows which was meant.
    pub fn define(
        &mut self,
        whose: &str,
        written: &[Definition],
        values: &Values,
        problems: &mut Vec<Problem>,
    ) {
        let mut by_name: BTreeMap<String, Vec<(String, &Definition)>> = BTreeMap::new();
        let told = |definition: &Definition, reason: String| Problem {
            severity: Severity::Error,
            container: whose.to_owned(),
            label: excerpt(&definition.label),
            value: excerpt(&definition.value),
            reason,
        };
        for definition in written.iter().take(MAX_DEFINITIONS) {
            match key::preset_key(&definition.preset, &definition.option) {
                Ok((name, option)) => by_name.entry(name).or_default().push((option, definition)),
                Err(reason) => problems.push(told(definition, reason)),
            }
        }
        if let Some(first) = written.get(MAX_DEFINITIONS) {
            let reason = format!(
                "there are at most {MAX_DEFINITIONS} options of presets; this one and those after it are not read"
            );
            problems.push(told(first, reason));
        }
        for (name, options) in by_name {
            let Some((_, first)) = options.first() else {
                continue;
            };
            let known = self.0.get(&name).and_then(|known| known.origin.clone());
            let mut draft = if let Some(other) = known {
                let reason = format!("preset `{name}` is also defined by {}", quote(&other));
                problems.push(told(first, reason.clone()));
                Draft::refused(format!("{}: {reason}", excerpt(&first.label)))
            } else {
                let options = options.iter().map(|(option, definition)| Line {
                    option: option.clone(),
                    label: &definition.label,
                    value: &definition.value,
                });
                let (draft, mut found) = read::draft(whose, options, Entry::is_common, values);
                problems.append(&mut found);
                draft
            };
            // Beyond what `read` knows of.
            if self.0.len() >= MAX_PRESETS && !self.0.contains_key(&name) {
                let reason = format!("there are at most {MAX_PRESETS} presets");
                draft = Draft::refused(reason);
            }
            let origin = Some(first.label.clone());
            self.0.insert(name, Arc::new(Preset { draft, origin }));
        }
    }

    /// Adds what the labels of Wharf's own container define.
    pub fn define_by_labels(
        &mut self,
        container: &str,
        labels: &BTreeMap<String, String>,
        prefix: &LabelPrefix,
        values: &Values,
        problems: &mut Vec<Problem>,
    ) {
        let mut written = Vec::new();
        for (label, value) in labels {
            match key::preset(label, prefix) {
                None => {}
                Some(Ok((preset, option))) => written.push(Definition {
                    preset,
                    option,
                    value: value.clone(),
                    label: label.clone(),
                }),
                Some(Err(reason)) => problems.push(Problem {
                    severity: Severity::Error,
                    container: container.to_owned(),
                    label: excerpt(label),
                    value: excerpt(value),
                    reason,
                }),
            }
        }
        self.define(container, &written, values, problems);
    }

    /// The one of this name, or the sentence that says that there is none.
    pub(super) fn find(&self, name: &str) -> Result<&Preset, String> {
        if let Some(preset) = self.0.get(name) {
            return Ok(preset);
        }
        let names = self.0.keys().map(String::as_str);
        Err(match schema::suggest(name, names.clone()) {
            Some(meant) => format!("there is no preset `{name}`; did you mean `{meant}`?"),
            None => {
                let names: Vec<&str> = names.take(MAX_SHOWN).collect();
                format!(
                    "there is no preset `{name}`; there are {}",
                    names.join(", ")
                )
            }
        })
    }
}

impl Default for Presets {
    fn default() -> Self {
        Self::built_in().clone()
    }
}

/// `WHARF_DEFAULT_<OPTION>`: what every route has where no label and no preset says anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Defaults {
    pub(super) draft: Draft,
}

/// A default that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefaultFault {
    pub variable: String,
    pub value: String,
    pub reason: String,
}

impl Defaults {
    /// Reads variables, of which each begins with [`Defaults::VARIABLE`]; the second part are warnings.
    ///
    /// # Errors
    ///
    /// Every one that cannot be used: it may have been an access rule, without which nothing should start.
    pub fn read<'a>(
        variables: impl IntoIterator<Item = (&'a str, &'a str)>,
        values: &Values,
    ) -> Result<(Self, Vec<String>), Vec<DefaultFault>> {
        let mut faults = Vec::new();
        let mut known = Vec::new();
        for (variable, value) in variables {
            let fault = |reason| DefaultFault {
                variable: variable.to_owned(),
                value: value.to_owned(),
                reason,
            };
            match Self::option(variable) {
                Ok(option) => known.push((option, variable, value)),
                Err(reason) => faults.push(fault(reason)),
            }
        }
        let options = known.iter().map(|(option, variable, value)| Line {
            option: (*option).to_owned(),
            label: variable,
            value,
        });
        let (draft, problems) = read::draft("", options, Self::takes, values);
        let mut warnings = Vec::new();
        for problem in problems {
            match problem.severity {
                Severity::Error => faults.push(DefaultFault {
                    variable: problem.label,
                    value: problem.value,
                    reason: problem.reason,
                }),
                Severity::Warning => {
                    warnings.push(format!("{}: {}", problem.label, problem.reason));
                }
            }
        }
        match faults.is_empty() {
            true => Ok((Self { draft }, warnings)),
            false => Err(faults),
        }
    }

    /// The option that a variable sets.
    fn option(variable: &str) -> Result<&'static str, String> {
        let word = variable.strip_prefix(Self::VARIABLE).unwrap_or(variable);
        let all = super::OPTIONS.iter();
        let mut all = all.filter(|entry| !entry.is_grammar());
        let Some(entry) = all.find(|entry| in_capitals(entry.name) == word) else {
            let names: Vec<String> = { super::OPTIONS.iter() }
                .filter(|entry| Self::takes(entry))
                .map(|entry| in_capitals(entry.name))
                .collect();
            let meant = schema::suggest(word, names.iter().map(String::as_str));
            return Err(match meant {
                Some(meant) => {
                    format!(
                        "there is no such option; did you mean {}{meant}?",
                        Self::VARIABLE
                    )
                }
                None => "there is no such option; `wharf labels` lists them".to_owned(),
            });
        };
        match (Self::takes(entry), entry.status) {
            (true, Status::Supported) => Ok(entry.name),
            (true, Status::NotYet) => Err(NOT_YET.to_owned()),
            (false, _) => Err(format!(
                "`{}` is for each container to say, there is no default for all of them",
                entry.name
            )),
        }
    }

    /// Whether an option has a default for all routes.
    pub(super) fn takes(entry: &Entry) -> bool {
        entry.name == "use" || entry.is_common() && !OF_ONE.contains(&entry.name)
    }

    /// What the names of their variables begin with.
    pub const VARIABLE: &'static str = "WHARF_DEFAULT_";
}

/// `timeout.read` -> `TIMEOUT_READ`.
fn in_capitals(option: &str) -> String {
    option.to_ascii_uppercase().replace('.', "_")
}

/// The presets a value of `use` names.
pub(super) fn named(value: &Value) -> &[String] {
    match value {
        Value::Presets(names) => names,
        _ => &[],
    }
}

/// What is built in, for the documentation.
pub(super) fn render(out: &mut String) {
    out.push_str("| Preset | For | Is short for |\n|---|---|---|\n");
    for (name, help, options) in BUILT_IN_PRESETS {
        let options: Vec<String> = supported(options)
            .map(|(option, value)| format!("`wharf.{option}: {}`", value.replace('|', "\\|")))
            .collect();
        let _ = writeln!(out, "| `{name}` | {help} | {} |", options.join("<br>"));
    }
}

/// Of the options of a preset, those that this version can do.
fn supported(
    options: &'static [(&'static str, &'static str)],
) -> impl Iterator<Item = (&'static str, &'static str)> {
    let supported = |option: &str, value: &str| {
        Entry::find(option).is_some_and(|entry| {
            let parsed = value::parse(entry.kind, value);
            let later = parsed.errors.iter().any(|error| error.ends_with(NOT_YET));
            entry.status == Status::Supported && !later
        })
    };
    options
        .iter()
        .copied()
        .filter(move |(option, value)| supported(option, value))
}

/// Name, what it is for, and its options; those of later versions count from then on.
type BuiltIn = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
);

#[rustfmt::skip]
const BUILT_IN_PRESETS: &[BuiltIn] = &[
    ("hardened", "anything on the internet", &[
        ("security", "on"),
        ("hsts", "max-age=1y"),
        ("block", "exploits"),
        ("headers.response", "-Server, -X-Powered-By"),
    ]),
    ("internal", "apps for the own network alone", &[
        ("allow", "private, loopback"),
        ("headers.response", "?X-Robots-Tag=noindex"),
    ]),
    ("spa", "single-page apps", &[
        ("spa", "on"),
        ("compress", "on"),
        ("security", "on"),
        ("headers.response", "?Cache-Control=no-cache"),
    ]),
    ("wordpress", "WordPress", &[
        ("security", "on"),
        ("compress", "on"),
        ("block", "exploits, ~^/wp-content/uploads/.*\\.php"),
        ("cache", "on"),
        ("cache.valid", "200 301 10m, 404 1m"),
        ("cache.bypass", "cookie:wordpress_logged_in*, cookie:comment_author*, path:/wp-admin/**"),
        ("max_body", "64m"),
    ]),
    ("nextcloud", "Nextcloud", &[
        ("hsts", "max-age=180d"),
        ("redirect", "/.well-known/carddav -> /remote.php/dav 301, /.well-known/caldav -> /remote.php/dav 301"),
        ("timeout", "read=1h"),
    ]),
    ("grpc", "gRPC services, streams among them", &[
        ("proto", "grpc"),
        ("timeout", "read=off send=off body=off"),
    ]),
];

/// Common options that say where one app is, or which of its paths are others.
const OF_ONE: [&str; 7] = [
    "port", "upstream", "network", "priority", "strip", "rewrite", "redirect",
];

/// Names of presets in a message.
const MAX_SHOWN: usize = 20;
const MAX_PRESETS: usize = 200;
/// Options of all presets of a container or a file together.
const MAX_DEFINITIONS: usize = 1000;

#[cfg(test)]
mod tests;
