//! What the status page says about certificates.

use std::path::Path;
use std::time::SystemTime;

use super::book::Shared;
use super::entry::{Entry, Source};
use super::{
    Action, CertProblem, CertReport, CertSource, CertState, NextAction, StoreReport, policy, trust,
};
use crate::model::{HostPattern, Verify};

impl Shared {
    pub(super) fn report(&self, now: SystemTime) -> Vec<CertReport> {
        let book = self.book();
        // A pattern that needs no certificate, because its names get one each, is not in want of one.
        let own = |entry: &Entry| entry.asks.is_none() || entry.source != Source::Nowhere;
        let declared = book
            .iter()
            .filter(|(_, entry)| entry.mode.is_some() && own(entry));
        declared
            .map(|(pattern, entry)| {
                let missing = self.missing(entry).or_else(|| self.beyond(pattern, entry));
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
        let index = self.index.load();
        let policies = index.policies().iter().filter_map(|(spec, compiled)| {
            let client = spec.client.as_ref()?;
            let fault = compiled.fault.as_ref()?;
            Some(CertProblem {
                path: policy::path_of(client, self.config.own.as_deref()),
                reason: match compiled.policy {
                    Some(_) => format!("wharf.tls.client_ca: {fault}; what it held before counts"),
                    None => format!("wharf.tls.client_ca: {fault}; its routes answer 503"),
                },
                is_error: true,
            })
        });
        let trusts = index.trusts().iter().filter_map(|(verify, trusted)| {
            let (Verify::File(file), Some(fault)) = (verify, &trusted.fault) else {
                return None;
            };
            Some(CertProblem {
                path: trust::path_of(file, self.config.own.as_deref()),
                reason: match trusted.config {
                    Some(_) => {
                        format!("wharf.upstream.verify: {fault}; what it held before counts")
                    }
                    None => format!("wharf.upstream.verify: {fault}; its apps get no requests"),
                },
                is_error: true,
            })
        });
        problems.chain(policies).chain(trusts).collect()
    }

    /// Why those who trust the built-in CA do not accept what it has made.
    fn beyond(&self, pattern: &HostPattern, entry: &Entry) -> Option<String> {
        let beyond = entry.source == Source::Local && !self.local.covers(pattern);
        beyond.then(|| {
            "the built-in CA is limited to local names: those who trust its root refuse this one; WHARF_CA_NAMES adds it"
                .to_owned()
        })
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

impl Shared {
    /// Of the stores of all CAs, which are in one place.
    pub(super) fn store_report(&self) -> StoreReport {
        let mut all = self.store.report();
        for ca in &self.cas[1..] {
            let more = ca.store.report();
            all.error = all.error.or(more.error);
            all.unsaved.extend(more.unsaved);
            all.aside.extend(more.aside);
        }
        all
    }
}

fn line(
    pattern: &HostPattern,
    entry: &Entry,
    missing: Option<String>,
    now: SystemTime,
) -> CertReport {
    let error = entry.histories.error();
    let state = match &entry.served {
        Some(served) if served.not_after > now => CertState::Valid,
        Some(_) => CertState::Expired,
        // A failed order may still be writing its record.
        None if entry.running && entry.histories.retry_at(now).is_none() => CertState::Ordering,
        None if missing.is_some() || entry.source == Source::Nowhere || error.is_some() => {
            CertState::Failed
        }
        None => CertState::Waiting,
    };
    let action = match (&entry.served, &error) {
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
        last_error: missing.or(wildcard).or(error),
        link: entry.histories.link(),
    }
}
