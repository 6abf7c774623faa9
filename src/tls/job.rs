//! What one attempt starts from, and what it leaves behind in the store while it runs.

use std::sync::Arc;
use std::time::SystemTime;

use instant_acme::CertificateIdentifier;
use tokio::task::JoinHandle;

use crate::model::HostPattern;

use super::budget::Budget;
use super::store::{ChallengeKind, OpenOrder, Record, Records};

/// One certificate to be had.
pub(super) struct Job<'a> {
    pub(super) host: &'a HostPattern,
    /// What the certificate is to be for: the host, and with a wildcard perhaps the name above it.
    pub(super) names: Vec<String>,
    /// The challenge that worked last.
    pub(super) challenge: Option<ChallengeKind>,
    /// Validations that may still fail.
    pub(super) budget: usize,
    /// The certificate it takes the place of, for a CA with renewal information (RFC 9773 section 5).
    pub(super) replaces: Option<CertificateIdentifier<'static>>,
    /// The order an earlier attempt left open.
    pub(super) open: Option<OpenOrder>,
    /// Where orders are counted, if they are.
    pub(super) limits: Option<&'a Arc<Budget>>,
    /// Where open orders are kept; none where that is not worth it.
    pub(super) keeper: Option<&'a mut Keeper>,
}

/// A record and its file. Writes follow each other, and nobody waits for the disk but the next one.
pub(super) struct Keeper {
    store: Arc<Records>,
    pub(super) record: Record,
    writing: Option<JoinHandle<()>>,
}

impl Job<'_> {
    /// Notes that an order is made, and lets the store have it by and by.
    pub(super) fn ordered(&self) {
        if let Some(budget) = self.limits {
            budget.note(|budget| budget.ordered(SystemTime::now()));
        }
    }

    /// Notes the order that is under way, before the CA is told to look at anything: whatever happens
    /// to this process, the next one asks how that order went instead of making another.
    pub(super) async fn leave_open(&mut self, pending: Option<OpenOrder>) {
        if self.open.is_none() && pending.is_none() {
            return;
        }
        self.open.clone_from(&pending);
        if let Some(keeper) = &mut self.keeper {
            keeper.record.open = pending;
            // What ends an order is written with its outcome.
            if self.open.is_some() {
                keeper.keep().await;
            }
        }
    }
}

impl Keeper {
    pub(super) fn new(store: Arc<Records>, record: Record) -> Self {
        Self {
            store,
            record,
            writing: None,
        }
    }

    /// Begins to write the record as it is now, once the write before is done.
    pub(super) async fn keep(&mut self) {
        self.written().await;
        let (store, record) = (Arc::clone(&self.store), self.record.clone());
        self.writing = Some(tokio::task::spawn_blocking(move || {
            if let Err(error) = store.save(&record) {
                tracing::error!(host = record.host, %error, "cannot be stored for now; a restart would lose it");
            }
        }));
    }

    /// Waits for the last write.
    pub(super) async fn written(&mut self) {
        if let Some(writing) = self.writing.take()
            && let Err(error) = writing.await
        {
            tracing::error!(host = self.record.host, %error, "cannot be stored");
        }
    }
}
