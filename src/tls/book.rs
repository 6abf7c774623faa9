//! What is known about each name, and who waits for it. The one writer of the index's certificates.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, Semaphore, watch};

use crate::model::{Host, HostPattern, TlsMode};

use super::index::CertIndex;
use super::internal::LocalCa;
use super::renew::{self, History};
use super::served::{Served, TlsParts};
use super::store::{ChallengeKind, Record, Store};
use super::{CertSource, CertsConfig, ObtainError, TlsError, Wanted};

/// What [`super::Certs`] and [`super::Issuer`] share.
pub(super) struct Shared {
    pub(super) config: CertsConfig,
    pub(super) parts: TlsParts,
    pub(super) store: Store,
    pub(super) local: LocalCa,
    pub(super) index: ArcSwap<CertIndex>,
    /// A lock, not a swap: it is taken by handshakes without a certificate, by control and by the
    /// issuer, for microseconds, and never by a request that finds its certificate.
    book: Mutex<Book>,
    /// Something may be due now.
    pub(super) wake: Notify,
    waiters: Semaphore,
}

pub(super) type Book = BTreeMap<HostPattern, Entry>;

/// How one order ended, for those who wait.
pub(super) type Outcome = Result<Arc<Served>, ObtainError>;

/// One name: asked for now, or until a while ago, or found in the store.
pub(super) struct Entry {
    pub(super) source: Source,
    /// `None`: no running container asks for it; nothing is ordered or renewed.
    pub(super) mode: Option<TlsMode>,
    /// When it was last asked for, if it is not now.
    gone_since: Option<SystemTime>,
    /// Somebody needed it since it has been declared: it is ordered, and retried until there is one.
    pub(super) needed: bool,
    /// An order runs.
    pub(super) running: bool,
    flight: Option<watch::Sender<Option<Outcome>>>,
    pub(super) served: Option<Arc<Served>>,
    pub(super) renew_at: Option<SystemTime>,
    pub(super) challenge: Option<ChallengeKind>,
    pub(super) history: History,
}

/// Where a name's certificate comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Acme,
    Local,
    /// A public wildcard: from nowhere yet.
    Nowhere,
}

impl Shared {
    pub(super) fn open(config: CertsConfig) -> Result<Self, TlsError> {
        let secure = config.directory.strip_prefix("https://");
        if secure.is_none_or(|rest| rest.is_empty() || rest.starts_with('/')) {
            return Err(TlsError::Directory(config.directory));
        }
        let parts = TlsParts::new()?;
        let store = Store::open(config.data.as_deref(), &config.directory);
        let now = SystemTime::now();
        let local = LocalCa::open(&store, now)?;
        let mut book = Book::new();
        for record in store.load_all() {
            let Ok(host) = Host::parse(&record.host) else {
                store.quarantine(&record.host, &"no host name");
                continue;
            };
            let pattern = HostPattern::Exact(host);
            let mut entry = Entry::new(Source::Acme, now);
            match serve(&parts, &pattern, &record) {
                Ok(served) => entry.put(served, now),
                Err(why) => {
                    store.quarantine(&record.host, &why);
                    continue;
                }
            }
            entry.history = record.history;
            entry.challenge = record.challenge;
            book.insert(pattern, entry);
        }
        let found = book.iter().filter_map(|(pattern, entry)| {
            Some((pattern.clone(), Arc::clone(entry.served.as_ref()?)))
        });
        Ok(Self {
            index: ArcSwap::from_pointee(CertIndex::new(found)),
            book: Mutex::new(book),
            wake: Notify::new(),
            waiters: Semaphore::new(WAITERS_IN_ALL),
            config,
            parts,
            store,
            local,
        })
    }

    /// A panic while holding the lock leaves at worst one entry half changed; serving goes on.
    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn declare(&self, wanted: Vec<Wanted>, now: SystemTime) {
        let mut modes: BTreeMap<HostPattern, TlsMode> = BTreeMap::new();
        for Wanted { pattern, mode } in wanted {
            if mode == TlsMode::Off {
                continue;
            }
            let known = modes.entry(pattern).or_insert(mode);
            if rank(mode) > rank(*known) {
                *known = mode;
            }
        }
        let mut stale = Vec::new();
        let mut book = self.book();
        for (pattern, entry) in book.iter_mut() {
            if entry.mode.is_some() && !modes.contains_key(pattern) {
                entry.mode = None;
                entry.needed = false;
                entry.gone_since = Some(now);
                if !entry.running {
                    entry.land(Err(ObtainError::Undeclared));
                }
            }
        }
        for (pattern, mode) in modes {
            let source = self.source(&pattern, mode);
            let entry = book
                .entry(pattern.clone())
                .or_insert_with(|| Entry::new(source, now));
            if entry.source != source {
                // The certificate of the other source may not be served any more.
                let running = entry.running;
                *entry = Entry::new(source, now);
                entry.running = running;
                stale.push(pattern);
            }
            entry.mode = Some(mode);
            entry.gone_since = None;
        }
        if !stale.is_empty() {
            self.index.rcu(|index| index.without_certificates(&stale));
        }
        drop(book);
        self.wake.notify_one();
    }

    pub(super) async fn obtain(&self, pattern: &HostPattern) -> Outcome {
        // Held to the end of the wait: bounds the waiters of all patterns together.
        let _place = self.waiters.try_acquire().map_err(|_| ObtainError::Busy)?;
        let mut flight = match self.ask(pattern, SystemTime::now())? {
            Asked::Served(served) => return Ok(served),
            Asked::Wait(flight) => flight,
        };
        let hold = self.config.hold;
        match tokio::time::timeout(hold, flight.wait_for(Option::is_some)).await {
            Ok(Ok(outcome)) => match &*outcome {
                Some(outcome) => outcome.clone(),
                None => Err(ObtainError::Deadline(hold)),
            },
            Ok(Err(_gone)) => Err(ObtainError::Undeclared),
            Err(_elapsed) => Err(ObtainError::Deadline(hold)),
        }
    }

    fn ask(&self, pattern: &HostPattern, now: SystemTime) -> Result<Asked, ObtainError> {
        let mut book = self.book();
        let entry = book
            .get_mut(pattern)
            .filter(|entry| entry.mode.is_some())
            .ok_or(ObtainError::Undeclared)?;
        if let Some(served) = &entry.served {
            return Ok(Asked::Served(Arc::clone(served)));
        }
        match entry.source {
            Source::Nowhere => return Err(ObtainError::Wildcard),
            Source::Local => return self.make_local(pattern, entry, now).map(Asked::Served),
            Source::Acme => {}
        }
        if let Some(refusal) = entry.refusal(now) {
            return Err(refusal);
        }
        entry.needed = true;
        let flight = entry.flight.get_or_insert_with(|| {
            self.wake.notify_one();
            watch::Sender::new(None)
        });
        if flight.receiver_count() >= WAITERS_PER_PATTERN {
            return Err(ObtainError::Busy);
        }
        Ok(Asked::Wait(flight.subscribe()))
    }

    /// Makes a leaf of the built-in CA; takes well under a millisecond, so the caller does it itself.
    pub(super) fn make_local(
        &self,
        pattern: &HostPattern,
        entry: &mut Entry,
        now: SystemTime,
    ) -> Outcome {
        let served = self
            .local
            .issue(&self.parts, pattern, now)
            .map_err(|error| ObtainError::Local(error.to_string().into()))?;
        Ok(self.put(pattern, entry, Arc::new(served), now))
    }

    /// Puts a certificate into use.
    pub(super) fn put(
        &self,
        pattern: &HostPattern,
        entry: &mut Entry,
        served: Arc<Served>,
        now: SystemTime,
    ) -> Arc<Served> {
        entry.put(Some(Arc::clone(&served)), now);
        self.index
            .rcu(|index| index.with_certificate(pattern, Arc::clone(&served)));
        served
    }

    fn source(&self, pattern: &HostPattern, mode: TlsMode) -> Source {
        match pattern {
            _ if mode == TlsMode::Internal => Source::Local,
            HostPattern::Default => Source::Local,
            HostPattern::Wildcard(suffix) if covers_local_names(suffix) => Source::Local,
            HostPattern::Wildcard(_) => Source::Nowhere,
            HostPattern::Exact(host) if host.is_loopback_name() => Source::Local,
            HostPattern::Exact(host) if host.is_local() && self.config.directory_is_public => {
                Source::Local
            }
            HostPattern::Exact(_) => Source::Acme,
        }
    }

    /// Forgets names nobody has asked for in [`FORGET`]; what the store holds of them stays, unless
    /// it is only a failure.
    pub(super) fn forget(&self, now: SystemTime) {
        let mut book = self.book();
        let old = |entry: &Entry| {
            let gone = entry.gone_since.filter(|_| !entry.running);
            gone.is_some_and(|since| since + FORGET <= now)
        };
        let gone: Vec<_> = book
            .iter()
            .filter(|(_, entry)| old(entry))
            .map(|(pattern, entry)| (pattern.clone(), entry.served.is_some()))
            .collect();
        if gone.is_empty() {
            return;
        }
        for (pattern, served) in &gone {
            book.remove(pattern);
            if let (HostPattern::Exact(host), false) = (pattern, served) {
                self.store.remove(host.as_str());
            }
        }
        let patterns: Vec<_> = gone.into_iter().map(|(pattern, _)| pattern).collect();
        self.index
            .rcu(|index| index.without_certificates(&patterns));
    }
}

enum Asked {
    Served(Arc<Served>),
    Wait(watch::Receiver<Option<Outcome>>),
}

impl Entry {
    fn new(source: Source, now: SystemTime) -> Self {
        Self {
            source,
            mode: None,
            gone_since: Some(now),
            needed: false,
            running: false,
            flight: None,
            served: None,
            renew_at: None,
            challenge: None,
            history: History::default(),
        }
    }

    fn put(&mut self, served: Option<Arc<Served>>, now: SystemTime) {
        let spread = served.as_ref().map_or(0.0, |served| spread(served));
        self.renew_at = served.as_ref().map(|served| {
            let due = renew::renew_at(served.not_before, served.not_after, spread);
            // Whatever a CA issues, an order does not follow the last one at once.
            if served.not_after > now {
                due.max(now + RENEW_PAUSE)
            } else {
                due
            }
        });
        self.served = served;
    }

    /// Ends the flight: put away first, so that no one joins a finished one, then everybody is told.
    pub(super) fn land(&mut self, outcome: Outcome) {
        if let Some(flight) = self.flight.take() {
            flight.send_replace(Some(outcome));
        }
    }

    /// The answer while an attempt has failed and the next is not due.
    pub(super) fn refusal(&self, now: SystemTime) -> Option<ObtainError> {
        let retry_at = self.history.retry_at(now)?;
        let cause = self
            .history
            .error
            .as_deref()
            .unwrap_or("an earlier attempt failed");
        Some(ObtainError::Failed {
            cause: cause.into(),
            retry_at,
        })
    }

    /// Connections wait for it now.
    pub(super) fn is_awaited(&self) -> bool {
        self.flight
            .as_ref()
            .is_some_and(|flight| flight.receiver_count() > 0)
    }

    /// When the next order is due, if one ever is.
    pub(super) fn due_at(&self, now: SystemTime) -> Option<SystemTime> {
        let mode = self.mode?;
        let wanted = match (self.source, &self.served) {
            (Source::Nowhere, _) => None,
            (_, Some(_)) => self.renew_at,
            (Source::Acme, None) if self.needed || mode == TlsMode::Eager => Some(now),
            (_, None) => None,
        }?;
        Some(
            self.history
                .retry_at(now)
                .map_or(wanted, |free| free.max(wanted)),
        )
    }
}

/// What a record holds as something to serve; `None` if it holds only a history.
pub(super) fn serve(
    parts: &TlsParts,
    pattern: &HostPattern,
    record: &Record,
) -> Result<Option<Arc<Served>>, super::served::ServeError> {
    let (Some(chain), Some(key)) = (&record.chain, &record.key) else {
        return Ok(None);
    };
    let served = parts.serve(pattern, CertSource::Acme, chain, key)?;
    Ok(Some(Arc::new(served)))
}

/// A number in 0..1 that is always the same for one certificate: the jitter of its renewal must not be
/// drawn again at each start, or restarts would pull renewals forward.
fn spread(served: &Served) -> f64 {
    let mut hasher = foldhash::quality::FixedState::with_seed(0).build_hasher();
    if let Ok(leaf) = served.key.end_entity_cert() {
        hasher.write(leaf);
    }
    hasher.finish() as f64 / u64::MAX as f64
}

/// Whether the names under `suffix` are local, which the suffix on its own may not tell: `home.arpa`
/// is no local name, `com` is none either but has no dot.
fn covers_local_names(suffix: &Host) -> bool {
    Host::parse(&format!("x.{suffix}")).is_ok_and(|name| name.is_local())
}

/// Where routes disagree the higher wins: what keeps away from the CA, then what a label asks for.
fn rank(mode: TlsMode) -> u8 {
    match mode {
        TlsMode::Off => 0,
        TlsMode::Auto => 1,
        TlsMode::Eager => 2,
        TlsMode::Internal => 3,
    }
}

const WAITERS_PER_PATTERN: usize = 256;
const WAITERS_IN_ALL: usize = 4096;
/// How long a name nobody asks for is kept in memory.
const FORGET: Duration = Duration::from_secs(24 * 60 * 60);
const RENEW_PAUSE: Duration = Duration::from_secs(5);
