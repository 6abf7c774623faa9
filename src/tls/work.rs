//! One order as a task: lock, look at the disk, order, put into use, keep.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use instant_acme::CertificateIdentifier;

use crate::model::HostPattern;

use super::acme::{Acme, Issued, identifier};
use super::ari::Ari;
use super::book::Shared;
use super::budget::Kind;
use super::ca::Histories;
use super::entry::{Entry, Source};
use super::fault::Fault;
use super::job::{Job, Keeper};
use super::renew::{History, Setback, from_unix, to_unix};
use super::served::Served;
use super::store::{ChallengeKind, Record};
use super::{CertSource, ObtainError};

/// One name from the lock to the file, with the first CA that helps. Waiters are told before the file
/// is written: a slow disk holds no handshake.
pub(super) async fn work(shared: Arc<Shared>, authorities: Arc<[Authority]>, pattern: HostPattern) {
    let lock = shared.store.lock(&pattern.to_string()).await;
    // Another process may have done, or failed, it meanwhile.
    let mut found = look(&shared, &pattern).await;
    if adopt(&shared, &pattern, &mut found, SystemTime::now()) {
        return;
    }
    while let Ok(ca) = found.histories.next(SystemTime::now()) {
        let fault = match order(&shared, &authorities[ca], &mut found, ca, &pattern).await {
            Ok(()) => break,
            Err(fault) => fault,
        };
        shared.tally.failed(fault.class);
        let now = SystemTime::now();
        let text = match shared.cas.as_slice() {
            [_] => fault.text,
            all => format!("{}: {}", all[ca].config.name, fault.text),
        };
        if let Some(entry) = shared.book().get_mut(&pattern) {
            let open = found.records[ca].open.clone();
            entry.open = open.map(|open| (ca, open));
        }
        let history = found.histories.of_mut(ca);
        history.note(fault.setback, text, fault.elsewhere, now, jitter());
        history.link = fault.link;
        found.records[ca].history.clone_from(history);
        if found.histories.retry_at(now).is_some() {
            refuse(&shared, &pattern, &found.histories, now);
        }
        let mut keeper = Keeper::new(Arc::clone(&shared.cas[ca].store), found.records[ca].clone());
        keeper.keep().await;
        keeper.written().await;
    }
    drop(lock);
}

/// One certificate from one CA, put into use and kept. After a failure the record says what is open.
async fn order(
    shared: &Arc<Shared>,
    authority: &Authority,
    found: &mut Found,
    ca: usize,
    pattern: &HostPattern,
) -> Result<(), Fault> {
    let started = Instant::now();
    let record = found.records[ca].clone();
    let replaces = replaces(shared, pattern, ca);
    let kind = match (&replaces, &record.chain) {
        (Some(_), _) => Kind::Replacement,
        (None, Some(_)) => Kind::Renewal,
        (None, None) => Kind::First,
    };
    if record.open.is_none() {
        let budget = shared.cas[ca].budget.as_ref();
        if let Some(budget) = budget {
            let is_awaited = shared.book().get(pattern).is_some_and(Entry::is_awaited);
            budget.allow(pattern, kind, is_awaited, SystemTime::now())?;
        }
        if let Some(staging) = authority
            .staging
            .as_ref()
            .filter(|_| record.history.rehearse)
        {
            rehearse(staging, pattern, shared.names(pattern), found.challenge).await?;
        }
    }
    let mut keeper = Keeper::new(Arc::clone(&shared.cas[ca].store), record);
    let mut job = Job {
        host: pattern,
        names: shared.names(pattern),
        challenge: found.challenge,
        budget: found.histories.of(ca).budget(SystemTime::now()),
        replaces,
        open: keeper.record.open.clone(),
        limits: shared.cas[ca].budget.as_ref(),
        keeper: Some(&mut keeper),
    };
    // Each of two names may have to wait for its record.
    let most = match &shared.dns {
        Some(_) => ORDER_MOST + 2 * shared.config.dns_wait,
        None => ORDER_MOST,
    };
    let issued = tokio::time::timeout(most, authority.acme.issue(&mut job))
        .await
        .unwrap_or_else(|_| {
            Err(Fault::broken(format!(
                "the order took longer than {most:?}"
            )))
        })
        .and_then(|issued| check(shared, pattern, issued));
    let (issued, served) = match issued {
        Ok(issued) => issued,
        Err(fault) => {
            // One write after the other.
            keeper.written().await;
            found.records[ca].open = keeper.record.open;
            return Err(fault);
        }
    };
    shared.tally.issued();
    tracing::info!(
        host = %pattern, issuer = served.issuer, challenge = issued.challenge.name(),
        took = ?started.elapsed(), "certificate obtained"
    );
    let record = &mut keeper.record;
    record.key = Some(issued.key);
    record.chain = Some(issued.chain);
    record.challenge = Some(issued.challenge);
    record.open = None;
    record.history = History::default();
    let now = SystemTime::now();
    record.issued = Some(to_unix(now));
    record.used = Some(to_unix(now));
    record.ari = Some(Ari::unasked());
    found.records[ca].issued = record.issued;
    found.records[ca].ari.clone_from(&record.ari);
    if let Some(budget) = &shared.cas[ca].budget {
        budget.note(|budget| budget.issued(pattern, kind, now));
    }
    found.challenge = record.challenge;
    *found.histories.of_mut(ca) = History::default();
    install(shared, pattern, found, ca, served, now);
    keeper.keep().await;
    keeper.written().await;
    Ok(())
}

/// One CA, and its twin where names are tried out.
pub(super) struct Authority {
    pub(super) acme: Acme,
    pub(super) staging: Option<Acme>,
}

/// Tries a name where failures do not count, because the last validation failed. A twin that is out of
/// order itself says nothing of the name.
async fn rehearse(
    staging: &Acme,
    host: &HostPattern,
    names: Vec<String>,
    challenge: Option<ChallengeKind>,
) -> Result<(), Fault> {
    let mut job = Job {
        host,
        names,
        challenge,
        budget: 2,
        replaces: None,
        open: None,
        limits: None,
        keeper: None,
    };
    let tried = tokio::time::timeout(ORDER_MOST, staging.issue(&mut job)).await;
    let Ok(Err(fault)) = tried else {
        return Ok(());
    };
    match fault.setback {
        Setback::Refused { .. } => Err(Fault {
            text: format!("in a rehearsal: {}", fault.text),
            setback: Setback::Refused { validations: 0 },
            ..fault
        }),
        Setback::Never | Setback::Limited { .. } | Setback::Unreachable { .. } => Ok(()),
    }
}

/// The certificate in use, if the CA wants to know that it is replaced. One that has ended is not.
fn replaces(
    shared: &Shared,
    pattern: &HostPattern,
    ca: usize,
) -> Option<CertificateIdentifier<'static>> {
    let served = {
        let book = shared.book();
        let entry = book.get(pattern).filter(|entry| entry.ca == ca)?;
        entry.ari.as_ref()?.window.as_ref()?;
        entry.served.clone()?
    };
    identifier(&served).filter(|_| served.not_after > SystemTime::now())
}

/// What is known of a name before it is ordered.
struct Found {
    /// One for each CA.
    records: Vec<Record>,
    /// The newest certificate of the store, and the CA it is from.
    stored: Option<(usize, Arc<Served>)>,
    histories: Histories,
    challenge: Option<ChallengeKind>,
}

/// What the store holds of `host` now, with what memory knows beside it.
async fn look(shared: &Arc<Shared>, host: &HostPattern) -> Found {
    let looked = tokio::task::spawn_blocking({
        let (shared, host) = (Arc::clone(shared), host.clone());
        move || -> Vec<_> {
            let cas = 0..shared.cas.len();
            cas.map(|ca| shared.look(ca, &host)).collect()
        }
    });
    let mut looked = looked.await.unwrap_or_default();
    looked.resize_with(shared.cas.len(), || None);
    let now = SystemTime::now();
    let mut found = Found {
        records: Vec::new(),
        stored: None,
        histories: Histories::new(shared.cas.len()),
        challenge: None,
    };
    for (ca, looked) in looked.into_iter().enumerate() {
        let (record, served) = looked.unwrap_or_else(|| {
            let directory = &shared.cas[ca].config.directory;
            (Record::new(host, directory), None)
        });
        if let Some(served) = served
            && found
                .stored
                .as_ref()
                .is_none_or(|(_, best)| served.is_newer(best, now))
        {
            found.stored = Some((ca, served));
        }
        found.challenge = found.challenge.or(record.challenge);
        found.histories.of_mut(ca).clone_from(&record.history);
        found.records.push(record);
    }
    found.histories.settle_clock(now);
    if let Some(entry) = shared.book().get(host) {
        // Memory is ahead where the disk could not be written, and counts what is not stored.
        found.histories.catch_up(&entry.histories);
        found.challenge = found.challenge.or(entry.challenge);
        if let Some((ca, open)) = &entry.open {
            found.records[*ca].open.get_or_insert_with(|| open.clone());
        }
    }
    found
}

/// Takes over what another process did: a newer certificate, or a failure whose back-off runs.
fn adopt(shared: &Shared, pattern: &HostPattern, found: &mut Found, now: SystemTime) -> bool {
    let known = shared
        .book()
        .get(pattern)
        .and_then(|entry| entry.served.clone());
    let newer = |stored: &Arc<Served>| match &known {
        Some(known) => stored.is_newer(known, now),
        None => true,
    };
    if let Some((ca, stored)) = found.stored.take()
        && stored.not_after > now
    {
        if newer(&stored) {
            install(shared, pattern, found, ca, stored, now);
            return true;
        }
        // The watch of the store was faster.
        let mut book = shared.book();
        if let (Some(known), Some(entry)) = (&known, book.get_mut(pattern))
            && known.hash == stored.hash
            && entry.due_at(now).is_none_or(|at| at > now)
        {
            entry.land(Ok(Arc::clone(known)));
            return true;
        }
    }
    if found.histories.retry_at(now).is_some() {
        refuse(shared, pattern, &found.histories, now);
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
    found: &Found,
    ca: usize,
    served: Arc<Served>,
    now: SystemTime,
) {
    let mut book = shared.book();
    // Gone or changed to another source meanwhile: only the store gets it.
    if let Some(entry) = book
        .get_mut(pattern)
        .filter(|entry| entry.source == Source::Acme)
    {
        entry.histories.clone_from(&found.histories);
        entry.challenge = found.challenge;
        entry.ca = ca;
        entry.open = None;
        let before = entry.served.clone();
        let served = shared.put(pattern, entry, served, now);
        let record = &found.records[ca];
        entry.ari.clone_from(&record.ari);
        entry.issued = record.issued.map(from_unix);
        entry.land(Ok(Arc::clone(&served)));
        if let Some(before) = before {
            shared.pass_on(&mut book, &before, &served, now);
        }
    }
}

fn refuse(shared: &Shared, pattern: &HostPattern, histories: &Histories, now: SystemTime) {
    let cause = histories.error().unwrap_or_default();
    let retry_at = histories.retry_at(now).unwrap_or(now);
    tracing::warn!(
        host = %pattern, error = cause, failures = histories.failures(),
        retry_at = %httpdate::fmt_http_date(retry_at), "no certificate"
    );
    if let Some(entry) = shared.book().get_mut(pattern) {
        entry.histories.clone_from(histories);
        if let (true, Some(served)) = (entry.dormant, &entry.served) {
            // Until there is another one, it is better than none.
            shared
                .index
                .rcu(|index| index.with_certificate(pattern, Arc::clone(served)));
            entry.dormant = false;
        }
        if entry.approval.is_some() {
            // Only for those who come for it: names move elsewhere without telling.
            entry.needed = false;
        }
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
