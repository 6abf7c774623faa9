//! Takes over what others wrote into the store: another Wharf that renewed, a command that imported.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::model::HostPattern;

use super::book::Shared;
use super::entry::Source;
use super::store::Record;

/// Never ends.
pub(super) async fn watch(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let shared = Arc::clone(&shared);
        let looked = tokio::task::spawn_blocking(move || {
            for (ca, kept) in shared.cas.iter().enumerate() {
                for record in kept.store.changes() {
                    shared.take_over(ca, record, SystemTime::now());
                }
            }
        });
        if looked.await.is_err() {
            tracing::error!("looking at what others stored ended in a panic");
        }
    }
}

impl Shared {
    /// Puts a stored certificate into use that is newer than the one there is. Blocks.
    fn take_over(&self, ca: usize, record: Record, now: SystemTime) {
        let Ok(pattern) = HostPattern::parse(&record.host) else {
            return;
        };
        let Ok(Some(stored)) = self.serve(&pattern, record.key, record.chain) else {
            return;
        };
        // Read now: it may be in the middle of being replaced, and nobody waits.
        if stored.not_after <= now || stored.certified().is_err() {
            return;
        }
        let mut book = self.book();
        let entry = book
            .entry(pattern.clone())
            .or_insert_with(|| self.entry(Source::Acme, now));
        let known = entry.served.as_ref();
        // Times of certificates are whole seconds: of two of the same second the store has the later one.
        let newer =
            known.is_none_or(|known| known.hash != stored.hash && !known.is_newer(&stored, now));
        if entry.source == Source::Nowhere {
            entry.turn_to(Source::Acme, now);
        }
        if entry.source != Source::Acme || !newer {
            return;
        }
        tracing::info!(host = %pattern, issuer = stored.issuer, "took over a certificate from the store");
        entry.histories.of_mut(ca).clone_from(&record.history);
        entry.ca = ca;
        let before = entry.served.clone();
        let served = self.put(&pattern, entry, stored, now);
        entry.land(Ok(Arc::clone(&served)));
        if let Some(before) = before {
            self.pass_on(&mut book, &before, &served, now);
        }
    }
}

/// Soon enough for a certificate that is due in weeks, or was revoked a moment ago.
const LOOK: Duration = Duration::from_secs(5);
