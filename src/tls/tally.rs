//! What has happened since the start, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

use super::fault::FailureClass;

/// Counters of the issuer's tasks.
#[derive(Debug, Default)]
pub(super) struct Tally {
    issued: AtomicU64,
    failures: [AtomicU64; FailureClass::ALL.len()],
}

/// What the certificates of the process have come to since it started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertTotals {
    /// Certificates obtained by ACME, renewals among them.
    pub issued: u64,
    /// Connections and requests that wait for a certificate now.
    pub waiting: u64,
    failures: [u64; FailureClass::ALL.len()],
}

impl Tally {
    pub(super) fn issued(&self) {
        self.issued.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn failed(&self, class: FailureClass) {
        self.failures[class as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn totals(&self, waiting: usize) -> CertTotals {
        CertTotals {
            issued: self.issued.load(Ordering::Relaxed),
            waiting: waiting as u64,
            failures: self.failures.each_ref().map(|n| n.load(Ordering::Relaxed)),
        }
    }
}

impl CertTotals {
    /// Attempts that failed in this way.
    pub fn failures_of(&self, class: FailureClass) -> u64 {
        self.failures[class as usize]
    }
}
