//! The background task: takes what is due from the book, orders it, puts it into use, keeps it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::task::{Id, JoinError, JoinSet};

use crate::config::CaConfig;
use crate::model::HostPattern;

use super::TlsError;
use super::acme::Acme;
use super::book::Shared;
use super::ca::Ca;
use super::check::check;
use super::entry::Source;
use super::fault::FailureClass;
use super::own;
use super::renew::Setback;
use super::store::Records;
use super::work::{Authority, jitter, work};
use super::{desk, watch};

/// Orders and renews certificates. Nothing happens before [`Issuer::run`] is polled; dropping it ends
/// all orders.
pub struct Issuer {
    shared: Arc<Shared>,
    /// One for each CA.
    authorities: Arc<[Authority]>,
    /// Questions about renewals.
    checks: JoinSet<HostPattern>,
    orders: JoinSet<()>,
    names: HashMap<Id, (HostPattern, Urgency)>,
    /// State of the certificate files that have been read.
    stamp: own::Stamp,
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
    pub(super) fn new(shared: Arc<Shared>, stamp: own::Stamp) -> Result<Self, TlsError> {
        let open = |ca: &Ca| {
            let acme = |config: CaConfig, store| Acme::new(Arc::clone(&shared), config, store);
            let staging = ca.config.staging.as_ref().map(|directory| {
                let data = shared.config.data.as_deref();
                let store = Arc::new(Records::open(data, directory));
                let (name, directory) = ("staging".to_owned(), directory.clone());
                let config = CaConfig {
                    name,
                    directory,
                    ..ca.config.clone()
                };
                acme(config, store)
            });
            Ok::<_, TlsError>(Authority {
                acme: acme(ca.config.clone(), Arc::clone(&ca.store))?,
                staging: staging.transpose()?,
            })
        };
        Ok(Self {
            authorities: shared.cas.iter().map(open).collect::<Result<_, _>>()?,
            checks: JoinSet::new(),
            shared,
            stamp,
            orders: JoinSet::new(),
            names: HashMap::new(),
            recent: VecDeque::new(),
        })
    }

    /// Runs until dropped. Each turn starts what is due and has room, then waits for a change, an
    /// order's end or the next due time.
    pub async fn run(mut self) {
        self.orders.spawn(prove(Arc::clone(&self.shared)));
        if let Some(dns) = self.shared.dns.clone() {
            self.orders.spawn(async move { dns.clean().await });
        }
        self.orders.spawn(keep(Arc::clone(&self.shared)));
        let stamp = std::mem::take(&mut self.stamp);
        self.orders
            .spawn(own::watch(Arc::clone(&self.shared), stamp));
        if self.shared.config.data.is_some() {
            self.orders.spawn(watch::watch(Arc::clone(&self.shared)));
            let authorities = Arc::clone(&self.authorities);
            self.orders
                .spawn(desk::run(Arc::clone(&self.shared), authorities));
        }
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
                Some(ended) = self.checks.join_next() => self.checked(ended),
            }
        }
    }

    /// Starts what is due; returns how long nothing else will be.
    fn start_due(&mut self, now: SystemTime) -> Duration {
        self.shared.forget(now);
        self.shared.settle_ended(now);
        self.doze(now);
        let (mut due, mut next) = self.due(now);
        if let Some(check) = self.start_checks(now) {
            next = Some(next.map_or(check, |next| next.min(check)));
        }
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

    /// Notes which certificates were needed, and takes those out of the index that have ended and are not.
    fn doze(&self, now: SystemTime) {
        let (mut asleep, mut used) = (Vec::new(), Vec::new());
        let mut book = self.shared.book();
        for (pattern, entry) in book.iter_mut() {
            let Some(served) = &entry.served else {
                let approval = entry.approval.as_ref();
                let forgotten = approval.is_some_and(|approval| approval.is_forgotten(now));
                if forgotten && !entry.running && !entry.is_awaited() {
                    entry.leave(now);
                }
                continue;
            };
            if served.take_used() {
                entry.used = now;
                if entry.mode.is_none() && entry.source == Source::Acme {
                    used.push(pattern.clone());
                }
            } else if !entry.dormant && served.not_after <= now && entry.is_idle(now) {
                entry.dormant = true;
                asleep.push((pattern.clone(), None));
                if entry.approval.is_some() {
                    entry.leave(now);
                }
            }
        }
        self.shared.adopt(&mut book, used, now);
        if !asleep.is_empty() {
            let index = &self.shared.index;
            index.rcu(|index| index.with_changes(&asleep, None));
        }
    }

    /// Asks about renewals that are due to be asked about; returns when the next one will be.
    fn start_checks(&mut self, now: SystemTime) -> Option<SystemTime> {
        let mut next: Option<SystemTime> = None;
        let mut book = self.shared.book();
        for (pattern, entry) in book.iter_mut() {
            let Some(at) = entry.check_at(now) else {
                continue;
            };
            // Those below a wildcard have its certificate, which is asked about once.
            let wildcards = matches!(pattern, HostPattern::Wildcard(_));
            if !wildcards
                && entry
                    .served
                    .as_ref()
                    .is_some_and(|served| served.is_wildcard())
            {
                continue;
            }
            if at > now {
                next = Some(next.map_or(at, |next| next.min(at)));
            } else if self.checks.len() < CHECKS {
                entry.checking = true;
                let (pattern, host) = (pattern.clone(), pattern.clone());
                let (shared, authorities) =
                    (Arc::clone(&self.shared), Arc::clone(&self.authorities));
                self.checks.spawn(async move {
                    check(shared, authorities, host).await;
                    pattern
                });
            }
        }
        next
    }

    fn checked(&self, ended: Result<HostPattern, JoinError>) {
        match ended {
            Ok(pattern) => {
                if let Some(entry) = self.shared.book().get_mut(&pattern) {
                    entry.checking = false;
                }
            }
            // It would be asked about again and again.
            Err(error) => tracing::error!(%error, "asking about a renewal ended in a panic"),
        }
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
        self.shared.cover(&mut book, now);
        for (pattern, entry) in book.iter_mut().filter(|(_, entry)| !entry.running) {
            entry.histories.settle_clock(now);
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
            } else if let Some(at) = self.shared.unapproved(pattern, entry, now) {
                next = Some(next.map_or(at, |next| next.min(at)));
            } else {
                let urgency = if entry.is_awaited() {
                    Urgency::Handshake
                } else {
                    Urgency::Background
                };
                due.push((urgency, at, pattern.clone()));
            }
        }
        due.retain(|(_, _, pattern)| self.shared.covering(&book, pattern, now).is_none());
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
        if let Some(entry) = self.shared.book().get_mut(&pattern) {
            entry.running = true;
        }
        let work = work(
            Arc::clone(&self.shared),
            Arc::clone(&self.authorities),
            pattern.clone(),
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
            self.shared.tally.failed(FailureClass::Internal);
            let (setback, now) = (Setback::Refused { validations: 0 }, SystemTime::now());
            let text = "a fault in Wharf; see its log".into();
            let history = entry.histories.of_mut(0);
            history.note(setback, text, false, now, jitter());
            if let Some(refusal) = entry.refusal(now) {
                entry.land(Err(refusal));
            }
        }
    }
}

/// Proves what the store gave, in small shares: a key is else read for the first handshake that needs
/// it, and a broken one would wait for its visitor.
async fn prove(shared: Arc<Shared>) {
    tokio::time::sleep(PROVE_AFTER).await;
    let mut stored = shared.in_use();
    while !stored.is_empty() {
        let share = stored.split_off(stored.len().saturating_sub(PROVE_AT_ONCE));
        let shared = Arc::clone(&shared);
        let proved = tokio::task::spawn_blocking(move || {
            for (pattern, served) in share {
                shared.prove(&pattern, &served);
            }
        });
        if proved.await.is_err() {
            tracing::error!("looking through the certificates ended in a panic");
        }
    }
}

/// Stores what could not be stored, once it can. Never ends.
async fn keep(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(KEEP_AGAIN).await;
        let shared = Arc::clone(&shared);
        let kept = tokio::task::spawn_blocking(move || {
            for ca in &shared.cas {
                ca.store.retry();
            }
        });
        if kept.await.is_err() {
            tracing::error!("storing what could not be stored ended in a panic");
        }
    }
}

/// How soon a disk that has room again is noticed.
const KEEP_AGAIN: Duration = Duration::from_secs(5);
/// When the first requests have been answered.
const PROVE_AFTER: Duration = Duration::from_secs(1);
/// Ends this soon when Wharf stops: 100 us each.
const PROVE_AT_ONCE: usize = 32;
/// Orders at a time for waiting handshakes, and for everything else.
const HANDSHAKE_ORDERS: usize = 16;
const BACKGROUND_ORDERS: usize = 2;
/// Questions about renewals at a time.
const CHECKS: usize = 2;
const PACE: usize = 10;
const PACE_WINDOW: Duration = Duration::from_secs(10);
const PAUSE_LEAST: Duration = Duration::from_millis(5);
/// The wall clock may jump: look at it this often.
const PAUSE_MOST: Duration = Duration::from_secs(60);
