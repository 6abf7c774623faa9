//! One order as a task: lock, look at the disk, order, put into use, keep.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::model::{Host, HostPattern};

use super::acme::{Acme, Issued};
use super::book::Shared;
use super::entry::Source;
use super::fault::Fault;
use super::served::Served;
use super::store::{Record, VERSION};
use super::{CertSource, ObtainError};

/// One order from the lock to the file. Waiters are told before the file is written: a slow disk
/// holds no handshake.
pub(super) async fn work(shared: Arc<Shared>, acme: Arc<Acme>, host: Host) {
    let pattern = HostPattern::Exact(host.clone());
    let lock = shared.store.lock(host.as_str()).await;
    // Another process may have done, or failed, it meanwhile.
    let (mut record, stored) = look(&shared, &host).await;
    if adopt(&shared, &pattern, &record, stored, SystemTime::now()) {
        return;
    }
    let started = Instant::now();
    let challenge = record.challenge.unwrap_or_default();
    let budget = record.history.budget(SystemTime::now());
    let issued = tokio::time::timeout(ORDER_MOST, acme.issue(&host, challenge, budget))
        .await
        .unwrap_or_else(|_| Err(Fault::broken("the order took longer than 150 s".into())))
        .and_then(|issued| check(&shared, &pattern, issued));
    let now = SystemTime::now();
    match issued {
        Ok((issued, served)) => {
            tracing::info!(
                host = host.as_str(), issuer = served.issuer, challenge = issued.challenge.name(),
                took = ?started.elapsed(), "certificate obtained"
            );
            record.key = Some(issued.key);
            record.chain = Some(issued.chain);
            record.challenge = Some(issued.challenge);
            record.history = Default::default();
            install(&shared, &pattern, &record, served, now);
        }
        Err(fault) => {
            record
                .history
                .note(fault.setback, fault.text, now, jitter());
            refuse(&shared, &pattern, &record, now);
        }
    }
    let saved = tokio::task::spawn_blocking({
        let shared = Arc::clone(&shared);
        move || shared.store.save(&record)
    });
    match saved.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::error!(host = host.as_str(), %error, "cannot be stored for now; a restart would lose it");
        }
        Err(error) => tracing::error!(host = host.as_str(), %error, "cannot be stored"),
    }
    drop(lock);
}

/// What the store holds of `host` now, with what memory knows beside it.
async fn look(shared: &Arc<Shared>, host: &Host) -> (Record, Option<Arc<Served>>) {
    let looked = tokio::task::spawn_blocking({
        let (shared, host) = (Arc::clone(shared), host.clone());
        move || shared.look(&host)
    });
    let looked = looked.await.ok().flatten();
    let (mut record, served) = looked.unwrap_or_else(|| {
        let nothing = Record {
            version: VERSION,
            host: host.as_str().to_owned(),
            source: shared.config.directory.clone(),
            key: None,
            chain: None,
            challenge: None,
            history: Default::default(),
        };
        (nothing, None)
    });
    record.history.settle_clock(SystemTime::now());
    if let Some(entry) = shared.book().get(&HostPattern::Exact(host.clone())) {
        // Memory is ahead where the disk could not be written, and counts what is not stored.
        if entry.history.last_failure >= record.history.last_failure {
            record.history = entry.history.clone();
        }
        record.challenge = record.challenge.or(entry.challenge);
    }
    (record, served)
}

/// Takes over what another process did: a newer certificate, or a failure whose back-off runs.
fn adopt(
    shared: &Shared,
    pattern: &HostPattern,
    record: &Record,
    stored: Option<Arc<Served>>,
    now: SystemTime,
) -> bool {
    let known = shared
        .book()
        .get(pattern)
        .and_then(|entry| entry.served.clone());
    let newer = |stored: &Arc<Served>| match &known {
        Some(known) => stored.not_after > known.not_after,
        None => true,
    };
    if let Some(stored) = stored.filter(newer).filter(|stored| stored.not_after > now) {
        install(shared, pattern, record, stored, now);
        return true;
    }
    if record.history.retry_at(now).is_some() {
        refuse(shared, pattern, record, now);
        return true;
    }
    false
}

/// A certificate that does not fit key and name, or is not valid now, is never put into use.
fn check(
    shared: &Shared,
    pattern: &HostPattern,
    issued: Issued,
) -> Result<(Issued, Arc<Served>), Fault> {
    let (chain, key) = (issued.chain.clone(), issued.key.clone());
    let served = shared.parts.serve(pattern, CertSource::Acme, chain, key);
    let served = served.map_err(|why| Fault::unusable(&why))?;
    let certified = served.certified();
    certified.map_err(|why| Fault::unusable(why))?;
    if served.not_after <= SystemTime::now() {
        return Err(Fault::unusable(&"it has expired already"));
    }
    Ok((issued, Arc::new(served)))
}

fn install(
    shared: &Shared,
    pattern: &HostPattern,
    record: &Record,
    served: Arc<Served>,
    now: SystemTime,
) {
    let mut book = shared.book();
    // Gone or changed to another source meanwhile: only the store gets it.
    if let Some(entry) = book
        .get_mut(pattern)
        .filter(|entry| entry.source == Source::Acme)
    {
        entry.history = record.history.clone();
        entry.challenge = record.challenge;
        let served = shared.put(pattern, entry, served, now);
        entry.land(Ok(served));
    }
}

fn refuse(shared: &Shared, pattern: &HostPattern, record: &Record, now: SystemTime) {
    let cause = record.history.error.as_deref().unwrap_or_default();
    let retry_at = record.history.retry_at(now).unwrap_or(now);
    tracing::warn!(
        host = %pattern, error = cause, failures = record.history.failures,
        retry_at = %httpdate::fmt_http_date(retry_at), "no certificate"
    );
    if let Some(entry) = shared.book().get_mut(pattern) {
        entry.history = record.history.clone();
        entry.land(Err(ObtainError::Failed {
            cause: cause.into(),
            retry_at,
        }));
    }
}

/// In 0..1, drawn anew each time. Spreads load; guards nothing.
pub(super) fn jitter() -> f64 {
    RandomState::new().build_hasher().finish() as f64 / u64::MAX as f64
}

const ORDER_MOST: Duration = Duration::from_secs(150);
