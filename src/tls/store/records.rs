//! What is kept, and under which keys; what is corrupt is put aside and named.

use std::fmt;
use std::io;
use std::panic::resume_unwind;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::super::StoreReport;
use super::super::renew::to_unix;
use super::ledger::{Ledger, Unsaved};
use super::name::file_name;
use super::record::{LocalRoot, Pending, Record, VERSION};
use super::{Keep, Lock, Store};

/// Everything that is kept for one CA, and the built-in CA.
pub(in crate::tls) struct Records {
    store: Box<dyn Store>,
    /// The CA's folder, below those for each kind of value.
    ca: String,
    ledger: Ledger,
}

/// Why a value is as good as none.
enum Unread {
    Absent,
    /// Written by a newer Wharf, or out of reach: it may be good, and stays where it is.
    Kept(String),
    /// Nobody will ever read it.
    Corrupt(String),
}

impl Records {
    /// Tries to write. A store that cannot be written is reported and kept: what it holds can still be
    /// read.
    pub(in crate::tls) fn open(data: Option<&Path>, directory: &str) -> Self {
        let rest = directory.split_once("://").map_or(directory, |(_, r)| r);
        let records = Self {
            store: super::open(data),
            ca: file_name(rest),
            ledger: Ledger::default(),
        };
        match records.probe() {
            Ok(()) => records.sweep(),
            Err(error) => records.failed(&records.folder(), None, &error),
        }
        records
    }

    /// Writes what could not be written before, and says so when all of it is. Blocks.
    pub(in crate::tls) fn retry(&self) {
        if self.ledger.error().is_none() {
            return;
        }
        if let Err(error) = self.probe() {
            return self.failed(&self.folder(), None, &error);
        }
        for key in self.ledger.unsaved_keys() {
            let Some(unsaved) = self.ledger.unsaved(&key) else {
                continue;
            };
            // Whoever has the lock writes for himself.
            let Some(_lock) = self.locked(&unsaved.lock) else {
                continue;
            };
            if self.ledger.unsaved(&key).as_ref() != Some(&unsaved) {
                continue;
            }
            match self.store.save(&key, &unsaved.value, Keep::Secret) {
                Ok(()) => self.succeeded(&key),
                Err(error) => return self.failed(&key, None, &error),
            }
        }
        self.succeeded(&self.folder());
    }

    pub(in crate::tls) fn report(&self) -> StoreReport {
        StoreReport {
            place: self.store.place(),
            error: self.ledger.error(),
            unsaved: self.ledger.about_unsaved(),
            aside: self.ledger.aside(),
        }
    }

    /// Makes something of every record there is. Those that cannot be read, or that `make` refuses, are
    /// put aside, logged and skipped. Reads and calls `make` on all cores: a start waits for it.
    pub(in crate::tls) fn load_all<T: Send>(
        &self,
        make: impl Fn(Record) -> Result<T, String> + Sync,
    ) -> Vec<T> {
        let items = match self.store.list(&self.folder()) {
            Ok(items) => items,
            Err(error) => {
                let store = self.store.place();
                tracing::error!(store, %error, "the certificate store cannot be read");
                return Vec::new();
            }
        };
        let stems: Vec<&str> = items.iter().filter_map(|item| stem(&item.key)).collect();
        let load = |stems: &[&str]| -> Vec<T> {
            let made = stems.iter().filter_map(|stem| self.load_one(stem, &make));
            made.collect()
        };
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let share = stems.len().div_ceil(threads).max(SHARE_LEAST);
        thread::scope(|scope| {
            let mut shares = stems.chunks(share);
            let first = shares.next().unwrap_or_default();
            let others: Vec<_> = shares
                .map(|stems| scope.spawn(move || load(stems)))
                .collect();
            let mut loaded = load(first);
            for other in others {
                match other.join() {
                    Ok(more) => loaded.extend(more),
                    Err(panic) => resume_unwind(panic),
                }
            }
            loaded
        })
    }

    /// Another process may be writing the record that is found corrupt: it is put aside only if it still
    /// is once nobody else works on it.
    fn load_one<T>(&self, stem: &str, make: impl Fn(Record) -> Result<T, String>) -> Option<T> {
        let read = || {
            let record = self.read_record(stem)?;
            make(record).map_err(Unread::Corrupt)
        };
        let key = self.key(stem);
        match read() {
            Err(Unread::Corrupt(_)) => {
                let _lock = self.try_lock_stem(stem)?;
                self.settle(&key, read())
            }
            read => self.settle(&key, read),
        }
    }

    /// The caller has the lock of the name.
    pub(in crate::tls) fn load(&self, host: &str) -> Option<Record> {
        let stem = file_name(host);
        self.settle(&self.key(&stem), self.read_record(&stem))
    }

    pub(in crate::tls) fn save(&self, record: &Record) -> io::Result<()> {
        let stem = file_name(&record.host);
        let lock = format!("{}/{stem}", self.ca);
        self.write(&self.key(&stem), record, &lock, &record.host)
    }

    /// Removes a record that holds nothing worth keeping.
    pub(in crate::tls) fn remove(&self, host: &str) {
        let key = self.key(&file_name(host));
        self.ledger.forget(&key);
        drop(self.store.remove(&key));
    }

    /// Puts a record aside that can be parsed but not served. The caller has the lock of the name.
    pub(in crate::tls) fn set_aside(&self, host: &str, why: &dyn fmt::Display) {
        self.corrupt(&self.key(&file_name(host)), why);
    }

    pub(in crate::tls) fn load_account<T: DeserializeOwned>(&self) -> Option<T> {
        let key = self.account();
        self.settle(&key, self.read(&key))
    }

    pub(in crate::tls) fn save_account<T: Serialize>(&self, account: &T) -> io::Result<()> {
        let lock = format!("{}/{}", self.ca, file_name(ACCOUNT_LOCK));
        self.write(&self.account(), account, &lock, "the ACME account")
    }

    /// The account the CA no longer knows is kept aside, never deleted. With an `id` only that one: another
    /// process may have made a new one already.
    pub(in crate::tls) fn retire_account(&self, id: Option<&str>) {
        let key = self.account();
        let stored = self.read::<serde_json::Value>(&key).ok();
        let stored_id = stored.as_ref().and_then(|stored| stored["id"].as_str());
        if id.is_none() || stored_id == id {
            self.ledger.forget(&key);
            drop(self.store.rename(&key, &format!("{key}.retired")));
        }
    }

    pub(in crate::tls) fn load_local(&self) -> Option<LocalRoot> {
        self.settle(LOCAL, self.read(LOCAL))
    }

    pub(in crate::tls) fn quarantine_local(&self, why: &dyn fmt::Display) {
        self.corrupt(LOCAL, why);
    }

    /// Keeps the root; `ca.crt` beside it may be read by anyone who may enter the directory.
    pub(in crate::tls) fn save_local(&self, root: &LocalRoot) -> io::Result<()> {
        self.write(LOCAL, root, LOCAL_LOCK, "the built-in CA")?;
        let certificate = root.certificate.as_bytes();
        self.store
            .save(LOCAL_CERTIFICATE, certificate, Keep::Public)
    }

    /// Tells the other processes of a challenge, by token or SNI.
    pub(in crate::tls) fn save_pending(&self, name: &str, pending: &Pending) -> io::Result<()> {
        let value = serde_json::to_vec(pending)?;
        self.store.save(&pending_key(name), &value, Keep::Brief)
    }

    /// What another process has to say of a challenge.
    pub(in crate::tls) fn load_pending(&self, name: &str) -> Option<Pending> {
        let pending: Pending = self.read(&pending_key(name)).ok()?;
        pending
            .is_current(to_unix(SystemTime::now()))
            .then_some(pending)
    }

    pub(in crate::tls) fn remove_pending(&self, name: &str) {
        drop(self.store.remove(&pending_key(name)));
    }

    /// Waits until no other process works on `name`. Polls, because a lock that blocks could not be given
    /// up again when Wharf stops. Locks only save work: where they do not exist, go on.
    pub(in crate::tls) async fn lock(&self, name: &str) -> Lock {
        loop {
            match self.try_lock(name) {
                Some(lock) => return lock,
                None => tokio::time::sleep(LOCK_POLL).await,
            }
        }
    }

    /// Like [`Records::lock`]; `None` at once where another process, or another task, works on `name`.
    pub(in crate::tls) fn try_lock(&self, name: &str) -> Option<Lock> {
        self.try_lock_stem(&file_name(name))
    }

    /// Like [`Records::lock`], where nothing may be awaited. A process that makes a root is done in
    /// milliseconds.
    pub(in crate::tls) fn lock_local(&self) -> Lock {
        let started = Instant::now();
        loop {
            match self.locked(LOCAL_LOCK) {
                Some(lock) => return lock,
                None if started.elapsed() > LOCAL_LOCK_MOST => return Lock::none(),
                None => thread::sleep(LOCAL_LOCK_POLL),
            }
        }
    }

    fn try_lock_stem(&self, stem: &str) -> Option<Lock> {
        self.locked(&format!("{}/{stem}", self.ca))
    }

    fn locked(&self, name: &str) -> Option<Lock> {
        self.store.try_lock(name).unwrap_or_else(|error| {
            tracing::debug!(name, %error, "going on without a lock");
            Some(Lock::none())
        })
    }

    /// Challenges of processes that were killed.
    fn sweep(&self) {
        let now = to_unix(SystemTime::now());
        for item in self.store.list(CHALLENGES).unwrap_or_default() {
            let pending: Result<Pending, _> = self.read(&item.key);
            if !pending.is_ok_and(|pending| pending.is_current(now)) {
                drop(self.store.remove(&item.key));
            }
        }
    }

    fn read_record(&self, stem: &str) -> Result<Record, Unread> {
        let record: Record = self.read(&self.key(stem))?;
        if record.version != VERSION {
            let text = format!("version {} is of another Wharf", record.version);
            return Err(Unread::Kept(text));
        }
        let fault = if file_name(&record.host) != stem {
            "the file is named for another host"
        } else if record.key.is_some() != record.chain.is_some() {
            "key and chain do not come together"
        } else {
            return Ok(record);
        };
        Err(Unread::Corrupt(fault.to_owned()))
    }

    fn read<T: DeserializeOwned>(&self, key: &str) -> Result<T, Unread> {
        let unsaved = self.ledger.unsaved(key).map(|unsaved| unsaved.value);
        let bytes = match unsaved.map_or_else(|| self.store.load(key), |value| Ok(Some(value))) {
            Ok(bytes) => bytes.ok_or(Unread::Absent)?,
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                return Err(Unread::Corrupt("the file is too large".to_owned()));
            }
            Err(error) => return Err(Unread::Kept(error.to_string())),
        };
        // Of the error only the place: its text may quote what stands there.
        serde_json::from_slice(&bytes)
            .map_err(|error| Unread::Corrupt(format!("no such JSON, line {}", error.line())))
    }

    /// What cannot be written is kept in memory, comes before what the store has, and is tried again.
    fn write<T: Serialize>(&self, key: &str, value: &T, lock: &str, about: &str) -> io::Result<()> {
        let value = serde_json::to_vec_pretty(value)?;
        let saved = self.store.save(key, &value, Keep::Secret);
        match &saved {
            Ok(()) => self.succeeded(key),
            Err(error) => {
                let unsaved = Unsaved {
                    value,
                    lock: lock.to_owned(),
                    about: about.to_owned(),
                };
                self.failed(key, Some(unsaved), error);
            }
        }
        saved
    }

    /// Not synced: a start does not wait for the disk. Not empty: a full disk still has room for that.
    fn probe(&self) -> io::Result<()> {
        let key = format!("{}/.probe", self.folder());
        let tried = self.store.save(&key, &[b' '; PROBE], Keep::Brief);
        tried.and_then(|()| self.store.remove(&key))
    }

    fn failed(&self, key: &str, unsaved: Option<Unsaved>, error: &io::Error) {
        if self.ledger.failed(key, unsaved, error.to_string()) {
            tracing::error!(
                store = self.store.place(), %error,
                "the certificate store cannot be written: new certificates are kept in memory and tried \
                 to be stored again; until then they do not survive a restart, and CAs limit how often \
                 one may be issued again"
            );
        }
    }

    fn succeeded(&self, key: &str) {
        if self.ledger.succeeded(key) {
            let store = self.store.place();
            tracing::info!(
                store,
                "the certificate store can be written again and has everything"
            );
        }
    }

    /// Names what could not be read, and puts it aside if it never will.
    fn settle<T>(&self, key: &str, read: Result<T, Unread>) -> Option<T> {
        match read {
            Ok(value) => return Some(value),
            Err(Unread::Absent) => {}
            Err(Unread::Kept(why)) => {
                tracing::warn!(
                    store = self.store.place(),
                    key,
                    "cannot be read and is skipped: {why}"
                );
            }
            Err(Unread::Corrupt(why)) => self.corrupt(key, &why),
        }
        None
    }

    fn corrupt(&self, key: &str, why: &dyn fmt::Display) {
        let renamed = self.store.rename(key, &format!("{key}.corrupt"));
        tracing::warn!(
            store = self.store.place(),
            key,
            renamed = renamed.is_ok(),
            "a stored entry is corrupt and was put aside as *.corrupt: {why}"
        );
        self.ledger.put_aside(key, why.to_string());
    }

    fn folder(&self) -> String {
        format!("certificates/{}", self.ca)
    }

    fn key(&self, stem: &str) -> String {
        format!("certificates/{}/{stem}.json", self.ca)
    }

    fn account(&self) -> String {
        format!("acme/{}/account.json", self.ca)
    }
}

/// `certificates/<ca>/<stem>.json`
fn stem(key: &str) -> Option<&str> {
    let (_, name) = key.rsplit_once('/')?;
    name.strip_suffix(".json")
}

fn pending_key(name: &str) -> String {
    format!("{CHALLENGES}/{}.json", file_name(name))
}

/// Held while the account is made.
pub(in crate::tls) const ACCOUNT_LOCK: &str = "*account";
const LOCAL_LOCK: &str = "ca";
const PROBE: usize = 4096;
const LOCAL: &str = "ca/ca.json";
const LOCAL_CERTIFICATE: &str = "ca/ca.crt";
const CHALLENGES: &str = "challenges";
/// Records that are not worth another thread.
const SHARE_LEAST: usize = 32;
const LOCK_POLL: Duration = Duration::from_millis(200);
const LOCAL_LOCK_POLL: Duration = Duration::from_millis(5);
const LOCAL_LOCK_MOST: Duration = Duration::from_secs(5);
