//! Files of Wharf's own among those that are checked: presets, and routes whose apps are no containers.

use crate::docker::labels::{Definition, Presets, Values, excerpt};
use crate::docker::{Container, FILE};
use crate::files::yaml::{Document, Span};
use crate::files::{Content, Written, containers, is_wharf_file, read};
use crate::model::{LabelPrefix, Problem, Severity};

use super::compose::{File, Remark};
use super::place::place;
use super::service::Label;

/// One of them.
pub(super) struct Own {
    /// `file:nas.yaml`.
    whose: String,
    content: Content,
}

/// Whether `file` is no compose file but one of Wharf's.
pub(super) fn is_own(file: &File) -> bool {
    let name = file.path.file_name().unwrap_or_default().to_string_lossy();
    let presets = name.starts_with("presets.") && file.root.get("services").is_none();
    presets || is_wharf_file(&file.root)
}

impl Own {
    /// Reads it; what is no part of such a file is remarked, and nothing of it counts.
    pub(super) fn read(file: &File, remarks: &mut Vec<Remark>) -> Self {
        let name = file.path.file_name().unwrap_or_default().to_string_lossy();
        // Keys that stand twice are remarked already.
        let document = Document {
            root: file.root.clone(),
            doubled: Vec::new(),
        };
        let content = read(&name, &document, |at| line(file, at)).unwrap_or_else(|fault| {
            remarks.push(error(fault.at, None, "", "", fault.reason));
            Content::default()
        });
        Self {
            whose: format!("{FILE}{name}"),
            content,
        }
    }

    pub(super) fn containers(&self, prefix: &LabelPrefix) -> Vec<Container> {
        containers(&self.content, prefix)
    }

    pub(super) fn routes(&self) -> usize {
        self.content.routes.len()
    }

    /// Adds its presets to those there are.
    pub(super) fn define(&self, presets: &mut Presets, remarks: &mut Vec<Remark>) {
        let definitions: Vec<Definition> = { self.content.presets.iter() }
            .map(|(d, _)| d.clone())
            .collect();
        let mut problems = Vec::new();
        presets.define(&self.whose, &definitions, &Values::Unread, &mut problems);
        for problem in problems {
            let mut all = self.content.presets.iter();
            let of = all.find(|(definition, _)| excerpt(&definition.label) == problem.label);
            let Some((definition, at)) = of else {
                continue;
            };
            let preset = definition.preset.as_str();
            let mut remark = error(*at, None, preset, &definition.option, problem.reason);
            remark.severity = problem.severity;
            remarks.push(remark);
        }
    }

    /// A problem of one of its routes at its place.
    pub(super) fn remark(&self, problem: &Problem, prefix: &LabelPrefix) -> Option<Remark> {
        let mut routes = self.content.routes.iter();
        let route = routes.find(|route| route.name == problem.container)?;
        let label = |option: &Written| Label {
            key: format!("{prefix}.{}", option.key),
            value: option.value.clone(),
            key_at: option.key_at,
            value_at: option.value_at,
        };
        let labels: Vec<Label> = route.options.iter().map(label).collect();
        let mut all = labels.iter();
        let label = all.find(|label| {
            excerpt(&label.key).eq_ignore_ascii_case(&problem.label)
                && excerpt(&label.value) == problem.value
        });
        let (at, word) = match label {
            Some(label) => place(label, problem, prefix),
            None => (route.at, None),
        };
        let name = route.name.rsplit('/').next().unwrap_or_default();
        let reason = problem.reason.clone();
        let mut remark = error(at, word, name, &problem.label, reason);
        remark.severity = problem.severity;
        Some(remark)
    }
}

fn error(at: Span, word: Option<String>, service: &str, label: &str, reason: String) -> Remark {
    Remark {
        severity: Severity::Error,
        at,
        word,
        service: service.to_owned(),
        label: label.to_owned(),
        reason,
    }
}

/// `nas.yaml:3`.
fn line(file: &File, at: Span) -> String {
    let before = file.chars.iter().take(at.start);
    let line = before.filter(|c| **c == '\n').count() + 1;
    let name = file.path.file_name().unwrap_or_default().to_string_lossy();
    // Of definitions in one line, too, messages are told apart.
    format!("{name}:{line}:{}", at.start)
}

/// Whether nothing but what these files do not show can say that a preset is unknown.
pub(super) fn may_be_elsewhere(problem: &Problem, known: bool) -> bool {
    !known
        && problem.reason.starts_with("there is no preset")
        && !problem.reason.contains("did you mean")
}
