//! What the status page says about certificates.

use std::time::SystemTime;

use super::book::Shared;
use super::entry::{Entry, Source};
use super::{Action, CertReport, CertSource, CertState, NextAction};
use crate::model::HostPattern;

impl Shared {
    pub(super) fn report(&self, now: SystemTime) -> Vec<CertReport> {
        let book = self.book();
        let declared = book.iter().filter(|(_, entry)| entry.mode.is_some());
        declared
            .map(|(pattern, entry)| line(pattern, entry, now))
            .collect()
    }
}

fn line(pattern: &HostPattern, entry: &Entry, now: SystemTime) -> CertReport {
    let state = match &entry.served {
        Some(served) if served.not_after > now => CertState::Valid,
        Some(_) => CertState::Expired,
        // A failed order may still be writing its record.
        None if entry.running && entry.history.retry_at(now).is_none() => CertState::Ordering,
        None if entry.source == Source::Nowhere || entry.history.error.is_some() => {
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
            Source::Acme | Source::Nowhere => CertSource::Acme,
        },
        issuer: entry.served.as_ref().map(|served| served.issuer.clone()),
        not_after: entry.served.as_ref().map(|served| served.not_after),
        state,
        next: entry.due_at(now).map(|at| NextAction { action, at }),
        last_error: wildcard.or_else(|| entry.history.error.clone()),
    }
}
