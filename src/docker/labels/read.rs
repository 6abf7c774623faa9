//! One container's labels -> drafts of its routes. Every `wharf.` label ends as a value of a draft
//! or as a problem.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{FieldText, HeaderEdit, Host, HostPattern, Problem, Severity};

use super::Terms;
use super::key::{self, Key};
use super::reference::{Found, Values, is_env, names_files};
use super::schema::{self, Entry, Place, Status};
use super::text::{excerpt, quote, visible};
use super::value::{self, NOT_YET, Value};

/// What the labels of one route say, before inheritance; or a preset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Draft {
    /// By full option name; `timeout: read=5s` stands as `timeout.read`.
    pub(super) values: BTreeMap<&'static str, Given>,
    /// First words of options whose fields a label sets all together, as `timeout: read=5s`: of presets, none of
    /// these fields is taken.
    pub(super) whole: BTreeSet<&'static str>,
    /// What could not be used.
    pub(super) errors: Vec<Fault>,
    /// First label of the route, for problems of the route as a whole.
    pub(super) first: Option<(String, String)>,
}

impl Draft {
    /// Costs every route that uses it.
    pub(super) fn refused(note: String) -> Self {
        let option = Some(EVERY_OPTION);
        Self {
            errors: vec![Fault { option, note }],
            ..Self::default()
        }
    }

    pub(super) fn value(&self, option: &str) -> Option<&Value> {
        self.values.get(option).map(|given| &given.value)
    }
}

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) value: Value,
    /// Label and value as written.
    pub(super) label: String,
    pub(super) text: String,
    /// The text is only the name of what holds the value.
    pub(super) secret: bool,
}

/// An error of one route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// The option at fault, if the word is known: named routes inherit the fault with the option.
    pub(super) option: Option<&'static str>,
    /// `wharf.tls: the value is ...`.
    pub(super) note: String,
}

/// The drafts of one container.
#[derive(Debug, Default)]
pub(super) struct Drafts {
    pub(super) default: Draft,
    pub(super) named: BTreeMap<String, Draft>,
    /// Sorted out later; in label order here.
    pub(super) problems: Vec<Problem>,
    /// How many labels are Wharf's.
    pub(super) count: usize,
}

impl Drafts {
    /// Gives the container the host there is for those that name none, if none of its routes does.
    pub(super) fn host(&mut self, container: &str, host: Option<&(String, Result<Host, String>)>) {
        let says = |draft: &Draft| {
            let broken = draft.errors.iter().any(|f| f.option == Some("host"));
            broken || draft.values.contains_key("host")
        };
        let Some((template, host)) = host else {
            return;
        };
        if says(&self.default) || self.named.values().any(says) {
            return;
        }
        match host {
            Ok(host) => {
                let given = Given {
                    value: Value::Hosts(vec![HostPattern::Exact(host.clone())]),
                    label: DEFAULT_HOST.to_owned(),
                    text: template.clone(),
                    secret: false,
                };
                self.default.values.insert("host", given);
            }
            Err(reason) => self.problems.push(Problem {
                severity: Severity::Error,
                container: container.to_owned(),
                label: DEFAULT_HOST.to_owned(),
                value: excerpt(template),
                reason: reason.clone(),
            }),
        }
    }
}

/// A label whose key was understood.
struct Written<'a> {
    key: Key,
    label: &'a str,
    value: &'a str,
}

/// Reads all labels of a container.
pub(super) fn read(container: &str, labels: &BTreeMap<String, String>, terms: Terms<'_>) -> Drafts {
    let mut reader = Reader {
        container,
        values: terms.values,
        drafts: Drafts::default(),
    };
    let mut named: BTreeMap<String, Vec<Written<'_>>> = BTreeMap::new();
    for (label, value) in labels {
        let Some(key) = key::split(label, terms.prefix) else {
            continue;
        };
        if terms.is_wharf && key::preset(label, terms.prefix).is_some() {
            continue;
        }
        reader.drafts.count += 1;
        if reader.drafts.count > MAX_LABELS {
            let reason = format!(
                "a container has at most {MAX_LABELS} wharf labels; this one and those after it are not read"
            );
            reader.error(Some(None), Some(EVERY_OPTION), label, value, &reason);
            break;
        }
        match key {
            Err(error) => {
                let costs = error.costs_default.then_some(None);
                reader.error(costs, None, label, value, &error.reason);
            }
            Ok(key) => {
                let written = Written { key, label, value };
                match written.key.route.clone() {
                    None => reader.option(None, &written),
                    Some(route) => named.entry(route).or_default().push(written),
                }
            }
        }
    }
    for (count, (route, written)) in named.iter().enumerate() {
        reader.route(route, written, count < MAX_ROUTES);
    }
    reader.drafts
}

/// An option in normal form, and what it is called where it is written.
pub(super) struct Line<'a> {
    pub(super) option: String,
    pub(super) label: &'a str,
    pub(super) value: &'a str,
}

/// Reads options that are no container's: of a preset, or defaults.
pub(super) fn draft<'a>(
    whose: &str,
    lines: impl Iterator<Item = Line<'a>>,
    takes: fn(&Entry) -> bool,
    values: &Values,
) -> (Draft, Vec<Problem>) {
    let mut reader = Reader {
        container: whose,
        values,
        drafts: Drafts::default(),
    };
    for line in lines {
        let (label, value) = (line.label, line.value);
        if let Some(entry) = Entry::find(&line.option).filter(|entry| !takes(entry)) {
            let reason = format!("`{}` is for each container to say", entry.name);
            reader.error(Some(None), Some(EVERY_OPTION), label, value, &reason);
            continue;
        }
        let key = Key {
            route: None,
            long: false,
            option: line.option,
        };
        reader.option(None, &Written { key, label, value });
    }
    (reader.drafts.default, reader.drafts.problems)
}

struct Reader<'a> {
    container: &'a str,
    /// What `env:` and `file:` stand for.
    values: &'a Values,
    drafts: Drafts,
}

impl Reader<'_> {
    /// Reads a named route.
    fn route(&mut self, route: &str, labels: &[Written<'_>], room: bool) {
        if !room {
            let reason = format!("a container has at most {MAX_ROUTES} named routes");
            for label in labels {
                self.error(None, None, label.label, label.value, &reason);
            }
            return;
        }
        let options: Vec<&str> = labels.iter().map(|l| l.key.option.as_str()).collect();
        let short = !labels.iter().any(|label| label.key.long);
        let meant = || key::misspelt_option(route, &options);
        if let Some(meant) = short.then(meant).flatten() {
            let reason = format!(
                "there is no option `{route}`; did you mean `{meant}`? (for a route of that name write wharf.routes.{route})"
            );
            for label in labels {
                self.error(Some(None), None, label.label, label.value, &reason);
            }
            return;
        }
        if !options.iter().any(|option| PLACES.contains(&top(option))) {
            return self.nowhere(route, short, labels);
        }
        for label in labels {
            let draft = self.draft(Some(route));
            let first = || (label.label.to_owned(), label.value.to_owned());
            draft.first.get_or_insert_with(first);
            self.option(Some(route), label);
        }
    }

    /// Refuses a named route that does not say which requests or which port it is for. If it may
    /// have been an option (its name is close to one, or nothing under it is one), the default route
    /// pays: `wharf.athu.basic` must not leave an app without its login.
    fn nowhere(&mut self, route: &str, short: bool, labels: &[Written<'_>]) {
        let meant = || schema::suggest(route, Entry::tops());
        let meant = short.then(meant).flatten();
        let any = labels.iter().any(|l| Entry::is_top(top(&l.key.option)));
        let costs = match short && (meant.is_some() || !any) {
            true => None,
            false => Some(route),
        };
        let mut reason = format!("route `{route}` sets none of host, path, match and port");
        if let Some(meant) = meant {
            reason += &format!("; did you mean the option `{meant}`?");
        }
        for label in labels {
            let said = key::find(&label.key.option).err();
            let said = said.filter(|unknown| meant.is_none() && unknown.suggests);
            let reason = said.map_or_else(|| reason.clone(), |unknown| unknown.reason);
            self.error(Some(costs), None, label.label, label.value, &reason);
        }
    }

    /// Reads one label into the draft of its route.
    fn option(&mut self, route: Option<&str>, written: &Written<'_>) {
        let (label, value) = (written.label, written.value);
        let entry = match key::find(&written.key.option) {
            Ok(entry) => entry,
            Err(unknown) => {
                return self.error(Some(route), unknown.parent, label, value, &unknown.reason);
            }
        };
        let name = Some(entry.name);
        if route.is_some() && entry.place != Place::Route {
            let reason = format!(
                "`{0}` is for the whole container: write wharf.{0}",
                entry.name
            );
            return self.error(Some(route), name, label, value, &reason);
        }
        if entry.status == Status::NotYet {
            return self.error(Some(route), name, label, value, NOT_YET);
        }
        let (text, secret) = match self.values.find(value) {
            Found::Content(name, _) if name.starts_with("file:") && names_files(entry.kind) => {
                (value.to_owned(), None)
            }
            Found::Refused(_) if !is_env(value) && names_files(entry.kind) => {
                (value.to_owned(), None)
            }
            Found::None => (value.to_owned(), None),
            Found::Content(name, Some(content)) => (content, Some(name)),
            // Nobody has looked; neither a value nor an error.
            Found::Content(_, None) => return,
            Found::Refused(reason) => {
                return self.error(Some(route), name, label, value, &reason);
            }
        };
        let mut parsed = value::parse(entry.kind, &text);
        if let Some(secret) = &secret {
            // A reason would quote it.
            if !parsed.errors.is_empty() {
                let form = entry.kind.describe();
                parsed.errors = vec![format!("what {} holds is no value: {form}", quote(secret))];
            }
            parsed.warnings.clear();
            // `wharf explain` says in which list an address is.
            parsed.value = parsed.value.map(|value| value.shown_as(secret));
        }
        if let Some(Value::Edits(edits)) = &mut parsed.value {
            // One that cannot be filled in is not made: pages that say so would carry the name.
            for mut edit in std::mem::take(edits) {
                match self.fill(&mut edit) {
                    Ok(()) => edits.push(edit),
                    Err(reason) => parsed.errors.push(reason),
                }
            }
        }
        let is_secret = secret.is_some();
        let masked = matches!(&parsed.value, Some(Value::Edits(edits)) if edits.iter().any(|edit| edit.value.is_masked()));
        let (value, mask) = match masked {
            true => (MASK, Some(MASK)),
            false => (value, None),
        };
        for reason in &parsed.errors {
            self.error(Some(route), name, label, value, reason);
        }
        for reason in &parsed.warnings {
            self.problem(Severity::Warning, label, value, reason);
        }
        match parsed.value {
            Some(Value::Fields(fields)) => {
                // A time for `cache` must not undo who is kept away from it.
                if !entry.name.contains('.') && entry.name != "cache" {
                    self.draft(route).whole.insert(entry.name);
                }
                for (field, value) in fields {
                    self.set(route, field, written, value, (is_secret, mask));
                }
            }
            Some(value) => self.set(route, entry.name, written, value, (is_secret, mask)),
            None => {}
        }
    }

    /// Puts in what an edit names.
    fn fill(&self, edit: &mut HeaderEdit) -> Result<(), String> {
        match self.values.find(edit.value.as_str()) {
            Found::None | Found::Content(_, None) => Ok(()),
            Found::Refused(reason) => Err(reason),
            Found::Content(name, Some(content)) => match FieldText::secret(&name, &content) {
                Ok(text) => {
                    edit.value = text;
                    Ok(())
                }
                // Without the character at fault.
                Err(_) => Err(format!(
                    "what {} holds is no value of a field",
                    quote(&name)
                )),
            },
        }
    }

    /// Stores a value; a second one for the same option is an error.
    fn set(
        &mut self,
        route: Option<&str>,
        option: &'static str,
        written: &Written<'_>,
        value: Value,
        (secret, mask): (bool, Option<&str>),
    ) {
        let draft = self.draft(route);
        if let Some(other) = draft.values.get(option) {
            let reason = format!("`{option}` is also set by {}", quote(&other.label));
            return self.error(
                Some(route),
                Some(option),
                written.label,
                written.value,
                &reason,
            );
        }
        let given = Given {
            value,
            label: written.label.to_owned(),
            text: mask.unwrap_or(written.value).to_owned(),
            secret,
        };
        draft.values.insert(option, given);
    }

    /// Notes an error. `costs` is the route that pays for it, if one does. Where nobody can say which
    /// option was meant, it may have been an access rule, which named routes would have inherited: it
    /// costs them as well.
    fn error(
        &mut self,
        costs: Option<Option<&str>>,
        option: Option<&'static str>,
        label: &str,
        value: &str,
        reason: &str,
    ) {
        if let Some(route) = costs {
            let option = option.or_else(|| route.is_none().then_some(EVERY_OPTION));
            let note = format!("{}: {}", excerpt(label), visible(reason));
            self.draft(route).errors.push(Fault { option, note });
        }
        self.problem(Severity::Error, label, value, reason);
    }

    fn problem(&mut self, severity: Severity, label: &str, value: &str, reason: &str) {
        self.drafts.problems.push(Problem {
            severity,
            container: self.container.to_owned(),
            label: excerpt(label),
            value: excerpt(value),
            reason: visible(reason),
        });
    }

    fn draft(&mut self, route: Option<&str>) -> &mut Draft {
        match route {
            None => &mut self.drafts.default,
            Some(route) => self.drafts.named.entry(route.to_owned()).or_default(),
        }
    }
}

/// The first word of an option.
fn top(option: &str) -> &str {
    option.split('.').next().unwrap_or(option)
}

/// One of these a named route must set: what else would tell it from the default route?
const PLACES: [&str; 4] = ["host", "path", "match", "port"];

/// In place of a secret that stands in a label.
const MASK: &str = "***";

const DEFAULT_HOST: &str = "WHARF_DEFAULT_HOST";

/// Stands for an option that every route inherits and none can set.
const EVERY_OPTION: &str = "*";

/// Labels of one container that are read: 64 routes of 15 options each.
const MAX_LABELS: usize = 1000;

/// Named routes of one container.
const MAX_ROUTES: usize = 64;
