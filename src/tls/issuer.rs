//! The background task: takes what is due from the book, orders it, puts it into use, keeps it.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::task::{Id, JoinSet};

use crate::model::{Host, HostPattern};

use super::acme::{Acme, Issued};
use super::book::{Shared, Source, serve};
use super::fault::Fault;
use super::renew::Setback;
use super::served::Served;
use super::store::{Record, VERSION};
use super::{CertSource, ObtainError, TlsError};

/// Orders and renews certificates. Nothing happens before [`Issuer::run`] is polled; dropping it ends
/// all orders.
pub struct Issuer {
    shared: Arc<Shared>,
    acme: Arc<Acme>,
    orders: JoinSet<()>,
    names: HashMap<Id, (HostPattern, Urgency)>,
    /// When the last background orders started; at most [`PACE`] entries.
    recent: VecDeque<Instant>,
}

/// Who an order is for. Handshakes go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Urgency {
    Handshake,
    Background,
}

impl Issuer {
    pub(super) fn new(shared: Arc<Shared>) -> Result<Self, TlsError> {
        Ok(Self {
            acme: Arc::new(Acme::new(Arc::clone(&shared))?),
            shared,
            orders: JoinSet::new(),
            names: HashMap::new(),
            recent: VecDeque::new(),
        })
    }

    /// Runs until dropped. Each turn starts what is due and has room, then waits for a change, an
    /// order's end or the next due time.
    pub async fn run(mut self) {
        loop {
            let pause = self.start_due(SystemTime::now());
            tokio::select! {
                () = self.shared.wake.notified() => {}
                () = tokio::time::sleep(pause) => {}
                Some(ended) = self.orders.join_next_with_id() => {
                    let (id, panicked) = match ended {
                        Ok((id, ())) => (id, false),
                        Err(error) => (error.id(), error.is_panic()),
                    };
                    if let Some((pattern, _)) = self.names.remove(&id) {
                        self.ended(&pattern, panicked);
                    }
                }
            }
        }
    }

    /// Starts what is due; returns how long nothing else will be.
    fn start_due(&mut self, now: SystemTime) -> Duration {
        self.shared.forget(now);
        let (mut due, next) = self.due(now);
        due.sort_by_key(|(urgency, at, _)| (*urgency, *at));
        let mut pause = next
            .and_then(|at| at.duration_since(now).ok())
            .map_or(PAUSE_MOST, |pause| pause.clamp(PAUSE_LEAST, PAUSE_MOST));
        for (urgency, _, pattern) in due {
            match self.room(urgency) {
                Ok(()) => self.start(pattern, urgency),
                Err(wait) => pause = pause.min(wait),
            }
        }
        pause
    }

    /// The patterns that are due, and when the next one will be. Certificates of the built-in CA are
    /// renewed on the spot.
    fn due(
        &self,
        now: SystemTime,
    ) -> (Vec<(Urgency, SystemTime, HostPattern)>, Option<SystemTime>) {
        let mut due = Vec::new();
        let mut next: Option<SystemTime> = None;
        let mut book = self.shared.book();
        for (pattern, entry) in book.iter_mut().filter(|(_, entry)| !entry.running) {
            entry.history.settle_clock(now);
            let Some(at) = entry.due_at(now) else {
                continue;
            };
            if at > now {
                next = Some(next.map_or(at, |next| next.min(at)));
            } else if entry.source == Source::Local {
                if let Err(error) = self.shared.make_local(pattern, entry, now) {
                    tracing::error!(host = %pattern, %error, "renewing a certificate of the built-in CA failed");
                    entry.renew_at = Some(now + PAUSE_MOST);
                }
            } else {
                let urgency = if entry.is_awaited() {
                    Urgency::Handshake
                } else {
                    Urgency::Background
                };
                due.push((urgency, at, pattern.clone()));
            }
        }
        (due, next)
    }

    /// Whether one more order may start, or how long to wait (the end of an order wakes us anyway).
    fn room(&mut self, urgency: Urgency) -> Result<(), Duration> {
        let running = |of| {
            self.names
                .values()
                .filter(|(_, urgency)| *urgency == of)
                .count()
        };
        match urgency {
            Urgency::Handshake if running(urgency) < HANDSHAKE_ORDERS => Ok(()),
            Urgency::Background if running(urgency) < BACKGROUND_ORDERS => self.pace(),
            Urgency::Handshake | Urgency::Background => Err(PAUSE_MOST),
        }
    }

    /// At most [`PACE`] background orders in [`PACE_WINDOW`].
    fn pace(&mut self) -> Result<(), Duration> {
        while self
            .recent
            .front()
            .is_some_and(|at| at.elapsed() >= PACE_WINDOW)
        {
            self.recent.pop_front();
        }
        match self.recent.front() {
            Some(oldest) if self.recent.len() >= PACE => Err(PACE_WINDOW
                .saturating_sub(oldest.elapsed())
                .max(PAUSE_LEAST)),
            _ => {
                self.recent.push_back(Instant::now());
                Ok(())
            }
        }
    }

    fn start(&mut self, pattern: HostPattern, urgency: Urgency) {
        let HostPattern::Exact(host) = &pattern else {
            return; // Only exact names have an ACME source.
        };
        if let Some(entry) = self.shared.book().get_mut(&pattern) {
            entry.running = true;
        }
        let work = work(
            Arc::clone(&self.shared),
            Arc::clone(&self.acme),
            host.clone(),
        );
        let id = self.orders.spawn(work).id();
        self.names.insert(id, (pattern, urgency));
    }

    fn ended(&self, pattern: &HostPattern, panicked: bool) {
        let mut book = self.shared.book();
        let Some(entry) = book.get_mut(pattern) else {
            return;
        };
        entry.running = false;
        if panicked {
            tracing::error!(host = %pattern, "an order ended in a panic");
            let (setback, now) = (Setback::Refused { validations: 0 }, SystemTime::now());
            entry.history.note(
                setback,
                "a fault in Wharf; see its log".into(),
                now,
                jitter(),
            );
            if let Some(refusal) = entry.refusal(now) {
                entry.land(Err(refusal));
            }
        }
    }
}

/// One order from the lock to the file. Waiters are told before the file is written: a slow disk
/// holds no handshake.
async fn work(shared: Arc<Shared>, acme: Arc<Acme>, host: Host) {
    let pattern = HostPattern::Exact(host.clone());
    let lock = shared.store.lock(host.as_str()).await;
    // Another process may have done, or failed, it meanwhile.
    let mut record = look(&shared, &host).await;
    if adopt(&shared, &pattern, &record, SystemTime::now()) {
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
            tracing::error!(host = host.as_str(), %error, "cannot be stored; a restart would lose it");
        }
        Err(error) => tracing::error!(host = host.as_str(), %error, "cannot be stored"),
    }
    drop(lock);
}

/// What the store holds of `host` now, with what memory knows beside it.
async fn look(shared: &Arc<Shared>, host: &Host) -> Record {
    let stored = tokio::task::spawn_blocking({
        let (shared, host) = (Arc::clone(shared), host.clone());
        move || shared.store.load(host.as_str())
    });
    let stored = stored.await.ok().flatten();
    let mut record = stored.unwrap_or_else(|| Record {
        version: VERSION,
        host: host.as_str().to_owned(),
        source: shared.config.directory.clone(),
        key: None,
        chain: None,
        challenge: None,
        history: Default::default(),
    });
    record.history.settle_clock(SystemTime::now());
    if let Some(entry) = shared.book().get(&HostPattern::Exact(host.clone())) {
        // Memory is ahead where the disk could not be written, and counts what is not stored.
        if entry.history.last_failure >= record.history.last_failure {
            record.history = entry.history.clone();
        }
        record.challenge = record.challenge.or(entry.challenge);
    }
    record
}

/// Takes over what another process did: a newer certificate, or a failure whose back-off runs.
fn adopt(shared: &Shared, pattern: &HostPattern, record: &Record, now: SystemTime) -> bool {
    let stored = serve(&shared.parts, pattern, record).ok().flatten();
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
    let served = shared
        .parts
        .serve(pattern, CertSource::Acme, &issued.chain, &issued.key)
        .map_err(|why| Fault::unusable(&why))?;
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
fn jitter() -> f64 {
    RandomState::new().build_hasher().finish() as f64 / u64::MAX as f64
}

/// Orders at a time for waiting handshakes, and for everything else.
const HANDSHAKE_ORDERS: usize = 16;
const BACKGROUND_ORDERS: usize = 2;
const PACE: usize = 10;
const PACE_WINDOW: Duration = Duration::from_secs(10);
const ORDER_MOST: Duration = Duration::from_secs(150);
const PAUSE_LEAST: Duration = Duration::from_millis(5);
/// The wall clock may jump: look at it this often.
const PAUSE_MOST: Duration = Duration::from_secs(60);
