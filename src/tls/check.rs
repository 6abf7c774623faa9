//! Asks a CA when it wants a certificate renewed, and keeps what it says with the certificate.

use std::sync::Arc;
use std::time::SystemTime;

use crate::model::HostPattern;

use super::ari::Ari;
use super::book::Shared;
use super::renew::to_unix;
use super::served::Served;
use super::work::{Authority, jitter};

/// One question, for the certificate `host` has now.
pub(super) async fn check(shared: Arc<Shared>, authorities: Arc<[Authority]>, host: HostPattern) {
    let known = shared.book().get(&host).and_then(|entry| {
        let served = entry.served.clone()?;
        Some((entry.ca, served, entry.ari.clone()))
    });
    let Some((ca, served, ari)) = known else {
        return;
    };
    let mut ari = ari.unwrap_or_else(Ari::unasked);
    let answer = authorities[ca].acme.renewal_info(&served).await;
    let now = SystemTime::now();
    match answer {
        Ok(Some(told)) => {
            if ari.told(&told, now, jitter()) {
                tracing::warn!(
                    %host, explanation = told.why,
                    "the CA wants the certificate renewed at another time than before"
                );
            }
        }
        Ok(None) => ari.unsupported(now),
        Err((lasting, error)) => {
            tracing::debug!(%host, error, "the CA does not say when to renew");
            ari.failed(lasting, now);
        }
    }
    let used = {
        let mut book = shared.book();
        let current = book.get_mut(&host).filter(|entry| {
            let now = entry.served.as_ref();
            now.is_some_and(|now| Arc::ptr_eq(now, &served))
        });
        let Some(entry) = current else {
            return;
        };
        entry.ari = Some(ari.clone());
        entry.used
    };
    let kept = tokio::task::spawn_blocking(move || keep(&shared, ca, &host, &served, ari, used));
    if let Err(error) = kept.await {
        tracing::error!(%error, "what the CA says of renewals cannot be stored");
    }
}

/// Into the record, if that is still about the same certificate.
fn keep(
    shared: &Shared,
    ca: usize,
    host: &HostPattern,
    served: &Served,
    ari: Ari,
    used: SystemTime,
) {
    // Whoever has the lock of the name is renewing it.
    let Some(_lock) = shared.store.try_lock(&host.to_string()) else {
        return;
    };
    let Some((mut record, Some(stored))) = shared.look(ca, host) else {
        return;
    };
    if stored.hash == served.hash {
        record.ari = Some(ari);
        record.used = Some(to_unix(used));
        if let Err(error) = shared.cas[ca].store.save(&record) {
            tracing::debug!(%host, %error, "what the CA says of renewals cannot be stored for now");
        }
    }
}
