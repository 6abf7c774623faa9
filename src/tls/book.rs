//! What is known about each name, and who waits for it. The one writer of the index's certificates.

use std::collections::btree_map::Entry as MapEntry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};

use crate::model::{Host, HostPattern, TlsMode, TlsPolicy, Verify};

use super::ari::Ari;
use super::ca::Ca;
use super::clock::Clock;
use super::demand::Demand;
use super::dns::Dns;
use super::entry::{Entry, Flight, Outcome, Source};
use super::index::CertIndex;
use super::internal::LocalCa;
use super::own::{self, Own, OwnCert};
use super::policy;
use super::renew::{History, from_unix};
use super::served::{ServeError, Served, TlsParts};
use super::store::{ChallengeKind, Record, Records};
use super::tally::{CertTotals, Tally};
use super::trust;
use super::{CertSource, CertsConfig, ObtainError, TlsError, Wanted};

/// What [`super::Certs`] and [`super::Issuer`] share.
pub(super) struct Shared {
    pub(super) config: CertsConfig,
    pub(super) parts: TlsParts,
    /// Never empty.
    pub(super) cas: Vec<Ca>,
    /// Of the first CA; has the locks of names and the built-in CA, too.
    pub(super) store: Arc<Records>,
    pub(super) local: LocalCa,
    /// Written by the task that watches the files.
    pub(super) own: ArcSwap<Own>,
    pub(super) index: ArcSwap<CertIndex>,
    /// A lock, not a swap: it is taken by handshakes without a certificate, by control and by the
    /// issuer, for microseconds, and never by a request that finds its certificate.
    book: Mutex<Book>,
    /// Something may be due now.
    pub(super) wake: Notify,
    waiters: Semaphore,
    /// Looks into the store for another process's challenge.
    pub(super) lookups: Semaphore,
    pub(super) demand: Demand,
    pub(super) tally: Tally,
    pub(super) clock: Arc<Clock>,
    /// Who sets DNS records, if anybody does.
    pub(super) dns: Option<Arc<Dns>>,
}

pub(super) type Book = BTreeMap<HostPattern, Entry>;

/// Names whose certificate in the index is another one from now on, or none.
pub(super) type Changes = Vec<(HostPattern, Option<Arc<Served>>)>;

impl Shared {
    pub(super) fn open(config: CertsConfig) -> Result<Self, TlsError> {
        if let Some(bad) = config.cas.iter().find(|ca| !ca.is_secure()) {
            return Err(TlsError::Directory(bad.directory.clone()));
        }
        let parts = TlsParts::new()?;
        let open = |ca| Ca::open(ca, config.data.as_deref());
        let cas: Vec<Ca> = config.cas.iter().map(open).collect();
        let store = Arc::clone(&cas.first().ok_or(TlsError::NoCa)?.store);
        let now = SystemTime::now();
        let local = LocalCa::open(&store, &config.ca_names, now)?;
        let book = restore_all(&parts, &cas, now);
        let clock = Clock::default();
        let served = book.values().filter_map(|entry| entry.served.as_ref());
        served.for_each(|served| clock.begun(served.not_before));
        clock.tell();
        let own = match &config.own {
            Some(directory) => Own::assemble(own::scan(directory), &parts, &Own::default()),
            None => Own::default(),
        };
        own::tell(&Own::default(), &own);
        let found = book.iter().filter_map(|(pattern, entry)| {
            Some((pattern.clone(), Arc::clone(entry.served.as_ref()?)))
        });
        Ok(Self {
            index: ArcSwap::from_pointee(CertIndex::new(found, own.served_by_name())),
            own: ArcSwap::from_pointee(own),
            book: Mutex::new(book),
            wake: Notify::new(),
            waiters: Semaphore::new(WAITERS_IN_ALL),
            lookups: Semaphore::new(LOOKUPS),
            demand: Demand::new(),
            tally: Tally::default(),
            clock: Arc::new(clock),
            dns: Dns::open(&config),
            config,
            parts,
            cas,
            store,
            local,
        })
    }

    /// A panic while holding the lock leaves at worst one entry half changed; serving goes on.
    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn totals(&self) -> CertTotals {
        let waiting = WAITERS_IN_ALL.saturating_sub(self.waiters.available_permits());
        self.tally.totals(waiting)
    }

    pub(super) fn declare(&self, wanted: Vec<Wanted>, now: SystemTime) {
        let mut wishes: BTreeMap<HostPattern, (TlsMode, Option<Arc<str>>)> = BTreeMap::new();
        let mut policies = BTreeSet::new();
        let mut asks: BTreeMap<HostPattern, Arc<str>> = BTreeMap::new();
        for Wanted {
            pattern,
            mode,
            file,
            policy,
            ask,
        } in wanted
        {
            if mode == TlsMode::Off {
                continue;
            }
            asks.extend(ask.map(|ask| (pattern.clone(), ask)));
            policies.extend(policy.map(|policy| TlsPolicy::clone(&policy)));
            match wishes.entry(pattern) {
                MapEntry::Vacant(place) => drop(place.insert((mode, file))),
                MapEntry::Occupied(mut known) if rank(mode) > rank(known.get().0) => {
                    known.insert((mode, file));
                }
                MapEntry::Occupied(_) => {}
            }
        }
        self.set_policies(&policies);
        let own = self.own.load_full();
        let mut changes = Vec::new();
        let mut book = self.book();
        for (pattern, entry) in book.iter_mut() {
            let approval = entry.approval.as_ref();
            let approved = approval.is_some_and(|one| asks.contains_key(one.by()));
            if entry.mode.is_some() && !wishes.contains_key(pattern) && !approved {
                entry.leave(now);
            }
        }
        let mut others_asked = false;
        for (pattern, (mode, file)) in wishes {
            // Which name below comes first, or still comes, cannot be told; and DNS takes longer than a
            // handshake waits.
            let mode = match (&pattern, mode) {
                (HostPattern::Wildcard(_), TlsMode::Auto) => TlsMode::Eager,
                _ => mode,
            };
            let entry = book
                .entry(pattern.clone())
                .or_insert_with(|| self.entry(self.source(&pattern, mode), now));
            entry.declare(mode, file);
            let ask = asks.remove(&pattern);
            others_asked |= entry.asks != ask;
            entry.asks = ask;
            self.settle(&pattern, entry, &own, now, &mut changes);
        }
        if !changes.is_empty() {
            self.index.rcu(|index| index.with_changes(&changes, None));
        }
        drop(book);
        if others_asked {
            self.demand.forget();
        }
        self.wake.notify_one();
    }

    /// Compiles the rules hosts ask for. Files are read for new ones, which are few.
    fn set_policies(&self, wanted: &BTreeSet<TlsPolicy>) {
        let before = Arc::clone(self.index.load().policies());
        if wanted.len() == before.len() && wanted.iter().all(|spec| before.contains_key(spec)) {
            return;
        }
        let directory = self.config.own.as_deref();
        let policies = policy::compile(wanted, &before, &self.parts, directory);
        let policies = Arc::new(policies);
        self.index
            .rcu(|index| index.with_policies(Arc::clone(&policies)));
    }

    /// Looks at the files of all rules again.
    pub(super) fn renew_policies(&self) {
        let before = Arc::clone(self.index.load().policies());
        if before.is_empty() {
            return;
        }
        let wanted = before.keys().cloned().collect();
        let directory = self.config.own.as_deref();
        let policies = policy::compile(&wanted, &before, &self.parts, directory);
        let policies = Arc::new(policies);
        self.index.rcu(|index| {
            // Unless control has been faster: then it has read the files itself.
            match Arc::ptr_eq(index.policies(), &before) {
                true => index.with_policies(Arc::clone(&policies)),
                false => CertIndex::clone(index),
            }
        });
    }

    /// Compiles how apps are believed. Files are read for new ones, which are few.
    pub(super) fn set_trusts(&self, wanted: &BTreeSet<Verify>) {
        let before = Arc::clone(self.index.load().trusts());
        if wanted.len() == before.len() && wanted.iter().all(|verify| before.contains_key(verify)) {
            return;
        }
        let directory = self.config.own.as_deref();
        let trusts = Arc::new(trust::compile(
            wanted,
            &before,
            &self.parts.provider(),
            directory,
        ));
        self.index
            .rcu(|index| index.with_trusts(Arc::clone(&trusts)));
    }

    /// Looks at their files again.
    pub(super) fn renew_trusts(&self) {
        let before = Arc::clone(self.index.load().trusts());
        if before.is_empty() {
            return;
        }
        let wanted = before.keys().cloned().collect();
        let directory = self.config.own.as_deref();
        let trusts = Arc::new(trust::compile(
            &wanted,
            &before,
            &self.parts.provider(),
            directory,
        ));
        self.index.rcu(|index| {
            // As with rules.
            match Arc::ptr_eq(index.trusts(), &before) {
                true => index.with_trusts(Arc::clone(&trusts)),
                false => CertIndex::clone(index),
            }
        });
    }

    /// Files that rules come from, and those that apps are believed by.
    pub(super) fn policy_files(&self) -> Vec<PathBuf> {
        let index = self.index.load();
        let clients = index
            .policies()
            .keys()
            .filter_map(|spec| spec.client.as_ref());
        let directory = self.config.own.as_deref();
        let mut paths: Vec<_> = clients
            .map(|client| policy::path_of(client, directory))
            .collect();
        paths.extend(index.trusts().keys().filter_map(|verify| match verify {
            Verify::File(file) => Some(trust::path_of(file, directory)),
            Verify::On | Verify::Off => None,
        }));
        paths.sort();
        paths.dedup();
        paths
    }

    /// Takes over what the directory of own certificates holds now.
    pub(super) fn replace_own(&self, own: Own, now: SystemTime) {
        let own = Arc::new(own);
        self.own.store(Arc::clone(&own));
        self.settle_all(Some(Arc::new(own.served_by_name())), now);
    }

    /// Looks for another source where an own certificate has ended.
    pub(super) fn settle_ended(&self, now: SystemTime) {
        let ended = |entry: &Entry| {
            let served = entry.served.as_ref();
            entry.source == Source::File
                && entry.mode != Some(TlsMode::File)
                && served.is_some_and(|served| served.not_after <= now)
        };
        let any = self.book().values().any(ended);
        if any {
            self.settle_all(None, now);
        }
    }

    fn settle_all(&self, names: Option<Arc<HashMap<Box<str>, Arc<Served>>>>, now: SystemTime) {
        let own = self.own.load_full();
        let mut changes = Vec::new();
        let mut book = self.book();
        for (pattern, entry) in book.iter_mut() {
            self.settle(pattern, entry, &own, now, &mut changes);
        }
        self.index
            .rcu(|index| index.with_changes(&changes, names.as_ref()));
        drop(book);
        self.wake.notify_one();
    }

    /// Gives a name the source it is to have now and, if that is a file, its certificate; `changes` are
    /// for the index.
    pub(super) fn settle(
        &self,
        pattern: &HostPattern,
        entry: &mut Entry,
        own: &Own,
        now: SystemTime,
        changes: &mut Changes,
    ) {
        let Some(mode) = entry.mode else {
            return;
        };
        let found = self.own_for(pattern, mode, entry.file.as_deref(), own, now);
        let is_current = |one: &&Arc<OwnCert>| {
            mode == TlsMode::File || one.facts.not_before <= now && one.facts.not_after > now
        };
        let source = match found.filter(is_current) {
            Some(_) => Source::File,
            None => match self.source(pattern, mode) {
                // One that was imported is served to its end, though nobody can renew it.
                Source::Nowhere if entry.has_valid(Source::Acme, now) => Source::Acme,
                source => source,
            },
        };
        if entry.source != source {
            entry.turn_to(source, now);
            changes.push((pattern.clone(), None));
        }
        let served = found.map(|one| &one.served);
        let is_same = match (&entry.served, served) {
            (Some(known), Some(served)) => Arc::ptr_eq(known, served),
            (None, None) => true,
            _ => false,
        };
        // One that has ended is better than none, until another source has given one.
        if (source == Source::File && !is_same) || (entry.served.is_none() && served.is_some()) {
            entry.put(served.cloned(), now);
            changes.push((pattern.clone(), served.cloned()));
        }
        if let Some(served) = served.filter(|_| source == Source::File) {
            entry.land(Ok(Arc::clone(served)));
        }
    }

    fn own_for<'o>(
        &self,
        pattern: &HostPattern,
        mode: TlsMode,
        file: Option<&str>,
        own: &'o Own,
        now: SystemTime,
    ) -> Option<&'o Arc<OwnCert>> {
        match mode {
            TlsMode::Off | TlsMode::Internal => None,
            TlsMode::Auto | TlsMode::Eager => own.find(pattern, now),
            TlsMode::File => {
                let directory = self.config.own.as_deref()?;
                own.called(file?, directory).ok()
            }
        }
    }

    pub(super) async fn obtain(&self, pattern: &HostPattern) -> Outcome {
        // Held to the end of the wait: bounds the waiters of all patterns together.
        let _place = self.place()?;
        let mut flight = match self.ask(pattern, SystemTime::now())? {
            Asked::Served(served) => return Ok(served),
            Asked::Wait(flight) => flight,
        };
        let hold = self.config.hold;
        let outcome = match tokio::time::timeout(hold, flight.wait_for(Option::is_some)).await {
            Ok(Ok(outcome)) => match &*outcome {
                Some(outcome) => outcome.clone(),
                None => Err(ObtainError::Deadline(hold)),
            },
            Ok(Err(_gone)) => Err(ObtainError::Undeclared),
            Err(_elapsed) => Err(ObtainError::Deadline(hold)),
        };
        outcome.or_else(|error| {
            // One that has ended is better than none.
            let book = self.book();
            let entry = book.get(pattern).filter(|entry| entry.mode.is_some());
            entry
                .and_then(|entry| entry.served.clone())
                .filter(|served| served.certified().is_ok())
                .ok_or(error)
        })
    }

    /// For one more who waits, of all.
    pub(super) fn place(&self) -> Result<SemaphorePermit<'_>, ObtainError> {
        self.waiters.try_acquire().map_err(|_| ObtainError::Busy)
    }

    fn ask(&self, pattern: &HostPattern, now: SystemTime) -> Result<Asked, ObtainError> {
        let mut book = self.book();
        let bare = book
            .get(pattern)
            .is_some_and(|entry| entry.served.is_none());
        if bare {
            self.cover_one(&mut book, pattern, now);
        }
        let covering = self.covering(&book, pattern, now);
        if let Some(entry) = book.get_mut(pattern).filter(|_| covering.is_some()) {
            entry.needed = true;
        }
        let pattern = covering.as_ref().unwrap_or(pattern);
        let entry = book
            .get_mut(pattern)
            .filter(|entry| entry.mode.is_some())
            .ok_or(ObtainError::Undeclared)?;
        if let Some(served) = &entry.served {
            if served.certified().is_err() {
                self.discard(pattern, entry);
            } else if !entry.dormant || entry.histories.retry_at(now).is_some() {
                return Ok(Asked::Served(Arc::clone(served)));
            } else {
                entry.used = now;
            }
        }
        match entry.source {
            Source::Nowhere => return Err(ObtainError::Wildcard),
            Source::File => {
                let name = entry.file.clone().unwrap_or_default();
                return Err(ObtainError::File(name));
            }
            Source::Local => return self.make_local(pattern, entry, now).map(Asked::Served),
            Source::Acme => {}
        }
        if let Some(refusal) = entry.refusal(now) {
            return Err(refusal);
        }
        let (flight, is_new) = entry.wait().ok_or(ObtainError::Busy)?;
        if is_new {
            self.wake.notify_one();
        }
        Ok(Asked::Wait(flight))
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

    /// Takes a certificate out of use that does not fit its key. What the store has of it is put aside
    /// by [`Shared::look`].
    fn discard(&self, pattern: &HostPattern, entry: &mut Entry) {
        entry.discard();
        self.index
            .rcu(|index| index.without_certificates(std::slice::from_ref(pattern)));
    }

    /// Nothing known about a name yet.
    pub(super) fn entry(&self, source: Source, now: SystemTime) -> Entry {
        Entry::new(source, self.cas.len(), now)
    }

    /// What the store holds of `host` from a CA, and its certificate ready to be served. A record whose
    /// certificate cannot be served is put aside. Blocks; the caller has the lock of the name.
    pub(super) fn look(
        &self,
        ca: usize,
        pattern: &HostPattern,
    ) -> Option<(Record, Option<Arc<Served>>)> {
        let store = &self.cas[ca].store;
        let host = pattern.to_string();
        let record = store.load(&host)?;
        let why = match serve(
            &self.parts,
            pattern,
            record.key.clone(),
            record.chain.clone(),
        ) {
            Ok(None) => return Some((record, None)),
            Ok(Some(served)) => match served.certified() {
                Ok(_) => return Some((record, Some(served))),
                Err(why) => why.to_string(),
            },
            Err(why) => why.to_string(),
        };
        store.set_aside(&host, &why);
        None
    }

    /// Its certificate is not to be trusted any more: whether it is to be replaced, or was just forgotten.
    pub(super) fn revoked(&self, pattern: &HostPattern) -> bool {
        let mut book = self.book();
        let asked = book.get(pattern).is_some_and(|entry| entry.mode.is_some());
        if !asked && book.remove(pattern).is_some() {
            self.index
                .rcu(|index| index.without_certificates(std::slice::from_ref(pattern)));
        }
        asked
    }

    pub(super) fn serve(
        &self,
        pattern: &HostPattern,
        key: Option<String>,
        chain: Option<String>,
    ) -> Result<Option<Arc<Served>>, ServeError> {
        serve(&self.parts, pattern, key, chain)
    }

    /// Certificates in use.
    pub(super) fn in_use(&self) -> Vec<(HostPattern, Arc<Served>)> {
        let book = self.book();
        let in_use = book.iter().filter_map(|(pattern, entry)| {
            Some((pattern.clone(), Arc::clone(entry.served.as_ref()?)))
        });
        in_use.collect()
    }

    /// Makes sure that a certificate from the store fits its key, or takes it out of use and puts the
    /// record aside. Blocks.
    pub(super) fn prove(&self, pattern: &HostPattern, served: &Arc<Served>) {
        if served.certified().is_ok() {
            return;
        }
        // Whoever has the lock looks for himself.
        let lock = self.store.try_lock(&pattern.to_string());
        if lock.is_some() {
            for ca in 0..self.cas.len() {
                drop(self.look(ca, pattern));
            }
        }
        drop(lock);
        let mut book = self.book();
        let Some(entry) = book.get_mut(pattern) else {
            return;
        };
        let current = entry.served.as_ref();
        if current.is_some_and(|current| Arc::ptr_eq(current, served)) {
            self.discard(pattern, entry);
            if entry.mode.is_none() && !entry.running {
                book.remove(pattern);
            }
        }
        drop(book);
        self.wake.notify_one();
    }

    /// Where a certificate comes from that is in no file.
    pub(super) fn source(&self, pattern: &HostPattern, mode: TlsMode) -> Source {
        match pattern {
            _ if mode == TlsMode::File => Source::File,
            _ if mode == TlsMode::Internal => Source::Local,
            HostPattern::Below(_) | HostPattern::Regex(_) | HostPattern::Default => Source::Local,
            HostPattern::Wildcard(suffix) if covers_local_names(suffix) => Source::Local,
            HostPattern::Wildcard(suffix) => match &self.dns {
                Some(dns) if dns.serves(suffix.as_str()) => Source::Acme,
                _ => Source::Nowhere,
            },
            HostPattern::Exact(host) if host.ip().is_some_and(|ip| self.orders_address(ip)) => {
                Source::Acme
            }
            HostPattern::Exact(host) if host.is_loopback_name() => Source::Local,
            HostPattern::Exact(host)
                if host.is_local() && self.cas.iter().any(|ca| ca.config.public) =>
            {
                Source::Local
            }
            HostPattern::Exact(_) => Source::Acme,
        }
    }

    /// CAs give certificates to addresses, but only those of this profile.
    fn orders_address(&self, ip: IpAddr) -> bool {
        self.cas.iter().any(|ca| {
            let offered = ca.config.profile.as_deref() == Some(SHORT_LIVED);
            offered && (!ca.config.public || is_global(ip))
        })
    }

    /// Forgets names nobody has asked for in a day; what the store holds of them stays, unless
    /// it is only a failure.
    pub(super) fn forget(&self, now: SystemTime) {
        let mut book = self.book();
        let gone: Vec<_> = book
            .iter()
            .filter(|(pattern, entry)| {
                // Names below it take it whenever they come.
                let covers = matches!(pattern, HostPattern::Wildcard(_));
                entry.is_forgettable(now) && !(covers && entry.has_valid(Source::Acme, now))
            })
            .map(|(pattern, entry)| (pattern.clone(), entry.served.is_some()))
            .collect();
        if gone.is_empty() {
            return;
        }
        for (pattern, served) in &gone {
            book.remove(pattern);
            if !served {
                for ca in &self.cas {
                    ca.store.remove(&pattern.to_string());
                }
            }
        }
        let patterns: Vec<_> = gone.into_iter().map(|(pattern, _)| pattern).collect();
        self.index
            .rcu(|index| index.without_certificates(&patterns));
    }
}

/// What the stores hold about all names.
fn restore_all(parts: &TlsParts, cas: &[Ca], now: SystemTime) -> Book {
    let mut book = Book::new();
    for (place, ca) in cas.iter().enumerate() {
        let restored = ca.store.load_all(|record| restore(parts, record));
        for restored in restored {
            let entry = book
                .entry(restored.pattern)
                .or_insert_with(|| Entry::new(Source::Acme, cas.len(), now));
            entry.histories.of_mut(place).clone_from(&restored.history);
            entry.challenge = entry.challenge.or(restored.challenge);
            let Some(found) = restored.served else {
                continue;
            };
            let known = entry.served.as_ref();
            if known.is_none_or(|known| found.is_newer(known, now)) {
                entry.put(Some(found), now);
                entry.ca = place;
                entry.ari = restored.ari;
                entry.issued = restored.issued.map(from_unix);
                // What is not known counts as needed.
                entry.used = restored.used.map_or(now, from_unix).min(now);
            }
        }
    }
    book
}

/// What one record says of its name.
struct Restored {
    pattern: HostPattern,
    served: Option<Arc<Served>>,
    challenge: Option<ChallengeKind>,
    history: History,
    ari: Option<Ari>,
    issued: Option<u64>,
    used: Option<u64>,
}

/// What a record says of its name, or why it cannot be served.
fn restore(parts: &TlsParts, mut record: Record) -> Result<Restored, String> {
    let pattern = HostPattern::parse(&record.host).map_err(|why| why.to_string())?;
    let served = serve(parts, &pattern, record.key.take(), record.chain.take())
        .map_err(|why| why.to_string())?;
    Ok(Restored {
        pattern,
        served,
        challenge: record.challenge,
        history: record.history,
        ari: record.ari,
        issued: record.issued,
        used: record.used,
    })
}

enum Asked {
    Served(Arc<Served>),
    Wait(Flight),
}

/// What a record holds as something to serve; `None` if it holds only a history.
fn serve(
    parts: &TlsParts,
    pattern: &HostPattern,
    key: Option<String>,
    chain: Option<String>,
) -> Result<Option<Arc<Served>>, ServeError> {
    let (Some(chain), Some(key)) = (chain, key) else {
        return Ok(None);
    };
    let served = parts.serve(pattern, CertSource::Acme, chain, key)?;
    Ok(Some(Arc::new(served)))
}

/// Whether the names under `suffix` are local, which the suffix on its own may not tell: `home.arpa`
/// is no local name, `com` is none either but has no dot.
pub(super) fn covers_local_names(suffix: &Host) -> bool {
    Host::parse(&format!("x.{suffix}")).is_ok_and(|name| name.is_local())
}

/// Where routes disagree the higher wins: what keeps away from the CA, then what a label asks for.
fn rank(mode: TlsMode) -> u8 {
    match mode {
        TlsMode::Off => 0,
        TlsMode::Auto => 1,
        TlsMode::Eager => 2,
        TlsMode::Internal => 3,
        TlsMode::File => 4,
    }
}

/// Whether the Internet knows the way there.
fn is_global(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            let shared = a == 100 && b & 0xc0 == 64;
            let local = ip.is_private() || ip.is_loopback() || ip.is_link_local() || shared;
            let none = ip.is_unspecified() || ip.is_broadcast() || ip.is_multicast();
            !local && !none && !ip.is_documentation() && a != 0 && a < 240
        }
        IpAddr::V6(ip) => {
            let [a, b, ..] = ip.segments();
            a & 0xe000 == 0x2000 && (a, b) != (0x2001, 0x0db8)
        }
    }
}

/// The profile (draft-aaron-acme-profiles) of certificates for six days.
pub(super) const SHORT_LIVED: &str = "shortlived";
const WAITERS_IN_ALL: usize = 4096;
/// At once; the others wait.
const LOOKUPS: usize = 16;

#[cfg(test)]
mod tests {
    use crate::config::CaConfig;
    use crate::tls::Preference;
    use std::time::Duration;

    use super::*;

    fn shared(public: bool) -> Shared {
        let config = CertsConfig {
            data: None,
            own: None,
            ca_names: Vec::new(),
            cas: vec![CaConfig {
                public,
                ..CaConfig::new("https://ca.example/dir")
            }],
            http_01: true,
            email: None,
            dns: Vec::new(),
            dns_resolvers: Vec::new(),
            dns_wait: CertsConfig::DNS_WAIT,
            hold: Duration::from_millis(20),
        };
        Shared::open(config).unwrap()
    }

    fn declare(shared: &Shared, pattern: &str, modes: &[TlsMode]) -> HostPattern {
        let pattern = HostPattern::parse(pattern).unwrap();
        let wanted = modes.iter().map(|mode| Wanted::new(pattern.clone(), *mode));
        shared.declare(wanted.collect(), SystemTime::now());
        pattern
    }

    #[test]
    fn each_name_has_its_source() {
        use Source::{Acme, Local, Nowhere};
        for (pattern, mode, public, private) in [
            ("app.example.com", TlsMode::Auto, Acme, Acme),
            ("app.example.com", TlsMode::Internal, Local, Local),
            ("app.test", TlsMode::Eager, Local, Acme),
            ("nas", TlsMode::Auto, Local, Acme),
            ("app.localhost", TlsMode::Auto, Local, Local),
            ("10.0.0.1", TlsMode::Auto, Local, Local),
            ("*.home.arpa", TlsMode::Auto, Local, Local),
            ("*.example.com", TlsMode::Auto, Nowhere, Nowhere),
            ("*.com", TlsMode::Auto, Nowhere, Nowhere),
            ("*.example.com", TlsMode::Internal, Local, Local),
            ("default", TlsMode::Auto, Local, Local),
        ] {
            let name = HostPattern::parse(pattern).unwrap();
            let sources = [true, false].map(|is_public| shared(is_public).source(&name, mode));
            assert_eq!(sources, [public, private], "{pattern} {mode:?}");
        }
    }

    #[test]
    fn where_routes_disagree_the_ca_is_asked_least() {
        let shared = shared(true);
        let all = [TlsMode::Auto, TlsMode::Internal, TlsMode::Eager];
        let pattern = declare(&shared, "a.example.com", &all);
        assert_eq!(shared.book()[&pattern].mode, Some(TlsMode::Internal));
        declare(&shared, "a.example.com", &[TlsMode::Eager, TlsMode::Off]);
        assert_eq!(shared.book()[&pattern].mode, Some(TlsMode::Eager));
        declare(&shared, "a.example.com", &[TlsMode::Off]);
        assert_eq!(shared.book()[&pattern].mode, None);
    }

    /// Would never end otherwise: std's locks do not let their holder in again.
    #[test]
    fn a_certificate_that_is_there_is_found_while_the_book_is_locked() {
        let shared = shared(true);
        let pattern = declare(&shared, "a.localhost", &[TlsMode::Auto]);
        assert!(matches!(
            shared.ask(&pattern, SystemTime::now()),
            Ok(Asked::Served(_))
        ));
        let _book = shared.book();
        let index = shared.index.load();
        let served = index.find(&pattern).unwrap();
        assert!(served.config(Preference::Aes).is_some());
        assert!(index.named("a.localhost").is_none(), "no CA's");
        assert!(index.own("a.localhost").is_none());
        assert!(index.challenge_answer("a.localhost", "token").is_none());
    }

    #[tokio::test]
    async fn waiters_are_bounded_and_told_when_the_name_goes() {
        let shared = shared(true);
        let pattern = declare(&shared, "a.example.com", &[TlsMode::Auto]);
        let all = (0..257).map(|_| shared.obtain(&pattern));
        let outcomes = futures_util::future::join_all(all).await;
        let busy = outcomes
            .iter()
            .filter(|o| matches!(o, Err(ObtainError::Busy)));
        assert_eq!(busy.count(), 1);
        let leaves = async { declare(&shared, "b.example.com", &[TlsMode::Auto]) };
        let (outcome, _) = tokio::join!(shared.obtain(&pattern), leaves);
        assert_eq!(outcome.unwrap_err(), ObtainError::Undeclared);
    }

    #[test]
    fn what_nobody_asks_for_is_forgotten_after_a_day() {
        let shared = shared(true);
        declare(&shared, "a.localhost", &[TlsMode::Auto]);
        declare(&shared, "b.localhost", &[TlsMode::Auto]);
        let now = SystemTime::now();
        shared.forget(now);
        assert_eq!(shared.book().len(), 2);
        shared.forget(now + Duration::from_secs(25 * 3600));
        assert_eq!(shared.book().len(), 1);
    }
}
