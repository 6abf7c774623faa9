//! What the status page says about certificates.

use std::path::Path;
use std::time::SystemTime;

use super::book::Shared;
use super::entry::{Entry, Source};
use super::{Action, CertProblem, CertReport, CertSource, CertState, NextAction};
use crate::model::HostPattern;

impl Shared {
    pub(super) fn report(&self, now: SystemTime) -> Vec<CertReport> {
        let book = self.book();
        let declared = book.iter().filter(|(_, entry)| entry.mode.is_some());
        declared
            .map(|(pattern, entry)| {
                let missing = self.missing(entry);
                line(pattern, entry, missing, now)
            })
            .collect()
    }

    pub(super) fn problems(&self) -> Vec<CertProblem> {
        let own = self.own.load();
        let problems = own.problems().iter().map(|problem| CertProblem {
            path: problem.path.clone(),
            reason: problem.reason.clone(),
            is_error: problem.is_error,
        });
        problems.collect()
    }

    /// Why the file that a label names gives nothing.
    fn missing(&self, entry: &Entry) -> Option<String> {
        if entry.source != Source::File || entry.served.is_some() {
            return None;
        }
        let directory = self.config.own.as_deref().unwrap_or_else(|| Path::new(""));
        let own = self.own.load();
        let name = entry.file.as_deref().unwrap_or_default();
        own.called(name, directory).err().map(|why| why.to_string())
    }
}

fn line(
    pattern: &HostPattern,
    entry: &Entry,
    missing: Option<String>,
    now: SystemTime,
) -> CertReport {
    let state = match &entry.served {
        Some(served) if served.not_after > now => CertState::Valid,
        Some(_) => CertState::Expired,
        // A failed order may still be writing its record.
        None if entry.running && entry.history.retry_at(now).is_none() => CertState::Ordering,
        None if missing.is_some()
            || entry.source == Source::Nowhere
            || entry.history.error.is_some() =>
        {
            CertState::Failed
        }
        None => CertState::Waiting,
    };
    let action = match (&entry.served, &entry.history.error) {
        (Some(_), _) => Action::Renew,
        (None, Some(_)) => Action::Retry,
        (None, None) => Action::Order,
    };
    let wildcard =
        (entry.source == Source::Nowhere).then(|| super::ObtainError::Wildcard.to_string());
    CertReport {
        host: pattern.clone(),
        source: match entry.source {
            Source::Local => CertSource::Internal,
            Source::File => CertSource::File,
            Source::Acme | Source::Nowhere => CertSource::Acme,
        },
        issuer: entry.served.as_ref().map(|served| served.issuer.clone()),
        not_after: entry.served.as_ref().map(|served| served.not_after),
        state,
        next: entry.due_at(now).map(|at| NextAction { action, at }),
        last_error: missing.or(wildcard).or_else(|| entry.history.error.clone()),
    }
}
