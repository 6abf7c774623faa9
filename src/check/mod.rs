//! `wharf check`: what is wrong with the labels in compose files, before anything runs.
//!
//! Services become the containers they would be, and go through the same parser and the same plan as
//! those of the engine: what is told here is what a running Wharf would tell. Nobody is asked. Files of Wharf's own,
//! presets and routes, are looked at beside them.

mod compose;
mod fill;
mod labels;
mod own;
mod place;
mod ports;
mod render;
mod service;
mod snapshot;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use crate::docker::labels::Presets;
use crate::docker::plan;
use crate::model::{LabelPrefix, Plan, Severity};

use crate::files::yaml::Span;
use compose::{Reader, Remark};
use own::{Own, may_be_elsewhere};
use place::{astray, remark};
use service::{Label, Project};

pub use fill::{Variables, variables};
pub use render::render;

/// What to look at.
#[derive(Debug, Default)]
pub struct Question {
    pub projects: Vec<Files>,
    pub prefix: LabelPrefix,
}

/// What compose takes together.
#[derive(Debug, Clone, Default)]
pub struct Files {
    /// Later ones override earlier ones. `-` is standard input.
    pub paths: Vec<PathBuf>,
    pub variables: Variables,
}

/// What was found.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// By file and place.
    pub findings: Vec<Finding>,
    /// Services with labels of Wharf.
    pub services: usize,
    pub files: usize,
}

/// Something wrong, or odd, and its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub severity: Severity,
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// Characters from there on that are meant.
    pub width: usize,
    /// Empty where no service is at fault.
    pub service: String,
    /// Empty where no label is at fault.
    pub label: String,
    pub reason: String,
    /// The line, as it stands in the file.
    pub source: String,
}

impl Checked {
    pub fn errors(&self) -> usize {
        self.count(Severity::Error)
    }

    fn count(&self, severity: Severity) -> usize {
        let findings = self.findings.iter();
        findings.filter(|one| one.severity == severity).count()
    }
}

/// A file that could not be read.
#[derive(Debug, thiserror::Error)]
#[error("reading {}", path.display())]
pub struct ReadError {
    path: PathBuf,
    source: io::Error,
}

/// Looks at compose files.
///
/// # Errors
///
/// A file that cannot be read. One that is no YAML is a finding.
pub fn check(question: &Question) -> Result<Checked, ReadError> {
    let (mut reader, projects) = read(question)?;
    let (mut snapshot, mut options) =
        snapshot::snapshot(&projects, &question.prefix, &mut reader.remarks);
    let own = std::mem::take(&mut reader.own);
    let mut presets = Presets::default();
    for file in &own {
        file.define(&mut presets, &mut reader.remarks);
        snapshot
            .containers
            .extend(file.containers(&question.prefix));
    }
    options.presets = Arc::new(presets);
    snapshot.containers.sort_by(|a, b| a.id.cmp(&b.id));
    let mut services: usize = own.iter().map(Own::routes).sum();
    let known = snapshot.own.is_some() || !own.is_empty();
    let (_, problems) = plan::plan(&snapshot, &options, &Plan::default(), Instant::now());
    for (project, service) in snapshot::services(&projects) {
        let name = snapshot::name(&projects, project, service);
        let mine = |label: &Label| question.prefix.owns(&label.key);
        services += usize::from(service.labels.iter().chain(&service.deploy).any(mine));
        let told = problems.iter().filter(|problem| problem.container == name);
        let remarks: Vec<Remark> = told
            .filter_map(|problem| {
                let mut remark = remark(service, problem, &question.prefix)?;
                if may_be_elsewhere(problem, known) {
                    remark.severity = Severity::Warning;
                }
                Some(remark)
            })
            .collect();
        reader.remarks.extend(remarks);
        reader.remarks.extend(astray(service, &question.prefix));
    }
    for problem in &problems {
        let remark = { own.iter() }.find_map(|file| file.remark(problem, &question.prefix));
        reader.remarks.extend(remark);
    }
    let findings = kept(reader.remarks.clone());
    let findings = findings
        .into_iter()
        .filter_map(|remark| finding(&reader, remark, &question.prefix))
        .collect();
    Ok(Checked {
        findings,
        services,
        files: reader.files.len(),
    })
}

/// The labels of each service as compose would give them to its containers.
///
/// # Errors
///
/// A file that cannot be read.
pub fn resolved(
    question: &Question,
) -> Result<BTreeMap<String, BTreeMap<String, String>>, ReadError> {
    let (_, projects) = read(question)?;
    let services = snapshot::services(&projects).map(|(_, service)| {
        let labels = service.labels.iter();
        let labels = labels.map(|label| (label.key.clone(), label.value.clone()));
        (service.name.clone(), labels.collect())
    });
    Ok(services.collect())
}

/// Remarks by place, each once: an anchor's labels are those of many services. Of too many errors come first.
fn kept(mut remarks: Vec<Remark>) -> Vec<Remark> {
    let place = |remark: &Remark| (remark.at.file, remark.at.start);
    remarks.sort_by(|a, b| {
        let order = place(a).cmp(&place(b)).then(a.severity.cmp(&b.severity));
        order.then_with(|| a.reason.cmp(&b.reason))
    });
    remarks.dedup_by(|a, b| (place(a), &a.reason) == (place(b), &b.reason));
    if remarks.len() > MAX_FINDINGS {
        remarks.sort_by_key(|remark| remark.severity);
        remarks.truncate(MAX_FINDINGS);
        remarks.sort_by_key(place);
    }
    remarks
}

fn read(question: &Question) -> Result<(Reader<'_>, Vec<Project>), ReadError> {
    let mut reader = Reader {
        variables: Variables::new(),
        prefix: &question.prefix,
        files: Vec::new(),
        own: Vec::new(),
        remarks: Vec::new(),
    };
    let mut projects = Vec::new();
    for files in &question.projects {
        reader.variables = files.variables.clone();
        let project = reader.project(&files.paths);
        let mut project = project.map_err(|(path, source)| ReadError { path, source })?;
        // Files of one directory are projects of one name, of which compose would run one.
        let same = projects
            .iter()
            .filter(|other: &&Project| other.name == project.name);
        if same.count() > 0 {
            project.name += &format!("-{}", projects.len() + 1);
        }
        projects.push(project);
    }
    Ok((reader, projects))
}

fn finding(reader: &Reader<'_>, remark: Remark, prefix: &LabelPrefix) -> Option<Finding> {
    let file = reader.files.get(remark.at.file)?;
    let (start, width) = within(&file.chars, remark.at, remark.word.as_deref());
    let before = &file.chars[..start];
    let line = before.iter().filter(|c| **c == '\n').count();
    let begin = before
        .iter()
        .rposition(|c| *c == '\n')
        .map_or(0, |at| at + 1);
    let rest = &file.chars[begin..];
    let end = rest.iter().position(|c| matches!(c, '\n' | '\r'));
    Some(Finding {
        severity: remark.severity,
        file: file.path.display().to_string(),
        line: line + 1,
        column: start - begin + 1,
        width,
        service: remark.service,
        label: remark.label,
        reason: prefix.in_words(&remark.reason).into_owned(),
        source: rest[..end.unwrap_or(rest.len())].iter().collect(),
    })
}

/// Where `word` stands in a span, or the span's first line; and how long that is, at least 1.
fn within(chars: &[char], at: Span, word: Option<&str>) -> (usize, usize) {
    let start = at.start.min(chars.len());
    let end = at.end.clamp(start, chars.len());
    let whole = &chars[start..end];
    let word: Vec<char> = word.into_iter().flat_map(str::chars).collect();
    let found = match word.is_empty() {
        true => None,
        false => whole.windows(word.len()).position(|part| part == word),
    };
    if let Some(found) = found {
        return (start + found, word.len());
    }
    let line = whole.iter().position(|c| matches!(c, '\n' | '\r'));
    let line = &whole[..line.unwrap_or(whole.len())];
    let width = line
        .iter()
        .rposition(|c| !c.is_whitespace())
        .map_or(1, |last| last + 1);
    (start, width)
}

/// More tell nothing new.
const MAX_FINDINGS: usize = 1000;

#[cfg(test)]
mod tests;
