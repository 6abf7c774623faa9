//! What is kept, and under which keys; what is corrupt is put aside and named.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::super::StoreReport;
use super::super::budget::Spent;
use super::super::renew::to_unix;
use super::listing::Seen;
use super::name::file_name;
use super::record::{LocalRoot, Pending, Record, VERSION};
use super::values::{Unread, Values};
use super::{Keep, Lock};

/// Everything that is kept for one CA, and the built-in CA.
pub(in crate::tls) struct Records {
    pub(super) values: Values,
    /// The CA's folder, below those for each kind of value.
    pub(super) ca: String,
    pub(super) seen: Mutex<Seen>,
}

impl Records {
    /// Tries to write. A store that cannot be written is reported and kept: what it holds can still be
    /// read.
    pub(in crate::tls) fn open(data: Option<&Path>, directory: &str) -> Self {
        let rest = directory.split_once("://").map_or(directory, |(_, r)| r);
        let records = Self {
            values: Values::new(super::open(data)),
            ca: file_name(rest),
            seen: Mutex::default(),
        };
        let folder = records.folder();
        match records.values.probe(&folder) {
            Ok(()) => records.sweep(),
            Err(error) => records.values.failed(&folder, None, &error),
        }
        records
    }

    /// The same places in `data` as [`Records::open`] has, beside the process that serves from them.
    pub(in crate::tls) fn beside(data: &Path, directory: &str) -> Self {
        let rest = directory.split_once("://").map_or(directory, |(_, r)| r);
        Self::of(data, file_name(rest))
    }

    pub(super) fn of(data: &Path, ca: String) -> Self {
        Self {
            values: Values::new(super::open(Some(data))),
            ca,
            seen: Mutex::default(),
        }
    }

    /// Writes what could not be written before, and says so when all of it is. Blocks.
    pub(in crate::tls) fn retry(&self) {
        self.values.retry(&self.folder());
    }

    pub(in crate::tls) fn report(&self) -> StoreReport {
        self.values.report()
    }

    /// The caller has the lock of the name.
    pub(in crate::tls) fn load(&self, host: &str) -> Option<Record> {
        let stem = file_name(host);
        self.values
            .settle(&self.key(&stem), self.read_record(&stem))
    }

    pub(in crate::tls) fn save(&self, record: &Record) -> io::Result<()> {
        let stem = file_name(&record.host);
        let lock = format!("{}/{stem}", self.ca);
        self.values
            .write(&self.key(&stem), record, &lock, &record.host)
    }

    /// Removes a record that holds nothing worth keeping.
    pub(in crate::tls) fn remove(&self, host: &str) {
        self.values.remove(&self.key(&file_name(host)));
    }

    /// Takes a record away that is not to be served any more. The caller has the lock of the name.
    pub(in crate::tls) fn retire(&self, host: &str, word: &str) {
        self.values.retire(&self.key(&file_name(host)), word);
    }

    /// Puts a record aside that can be parsed but not served. The caller has the lock of the name.
    pub(in crate::tls) fn set_aside(&self, host: &str, why: &dyn fmt::Display) {
        self.values.corrupt(&self.key(&file_name(host)), why);
    }

    pub(in crate::tls) fn load_account<T: DeserializeOwned>(&self) -> Option<T> {
        let key = self.account();
        self.values.settle(&key, self.values.read(&key))
    }

    pub(in crate::tls) fn save_account<T: Serialize>(&self, account: &T) -> io::Result<()> {
        let lock = format!("{}/{}", self.ca, file_name(ACCOUNT_LOCK));
        self.values
            .write(&self.account(), account, &lock, "the ACME account")
    }

    /// The account the CA no longer knows is kept aside, never deleted. With an `id` only that one: another
    /// process may have made a new one already.
    pub(in crate::tls) fn retire_account(&self, id: Option<&str>) {
        let key = self.account();
        let stored = self.values.read::<serde_json::Value>(&key).ok();
        let stored_id = stored.as_ref().and_then(|stored| stored["id"].as_str());
        if id.is_none() || stored_id == id {
            self.values.retire(&key, "retired");
        }
    }

    pub(in crate::tls) fn load_local(&self) -> Option<LocalRoot> {
        self.values.settle(LOCAL, self.values.read(LOCAL))
    }

    pub(in crate::tls) fn quarantine_local(&self, why: &dyn fmt::Display) {
        self.values.corrupt(LOCAL, why);
    }

    /// What the CA was asked for lately; nothing, if that cannot be read.
    pub(in crate::tls) fn load_budget(&self) -> Spent {
        self.values.read(&self.budget()).unwrap_or_default()
    }

    pub(in crate::tls) fn save_budget(&self, spent: &Spent) -> io::Result<()> {
        let lock = format!("{}/{}", self.ca, file_name(BUDGET_LOCK));
        let about = "what the CA was asked for";
        self.values.write(&self.budget(), spent, &lock, about)
    }

    /// Keeps the root; `ca.crt` beside it may be read by anyone who may enter the directory.
    pub(in crate::tls) fn save_local(&self, root: &LocalRoot) -> io::Result<()> {
        self.values
            .write(LOCAL, root, LOCAL_LOCK, "the built-in CA")?;
        let certificate = root.certificate.as_bytes();
        self.values
            .store
            .save(LOCAL_CERTIFICATE, certificate, Keep::Public)
    }

    /// Tells the other processes of a challenge, by token or SNI.
    pub(in crate::tls) fn save_pending(&self, name: &str, pending: &Pending) -> io::Result<()> {
        self.values.write_brief(&pending_key(name), pending)
    }

    /// What another process has to say of a challenge.
    pub(in crate::tls) fn load_pending(&self, name: &str) -> Option<Pending> {
        let pending: Pending = self.values.read(&pending_key(name)).ok()?;
        pending
            .is_current(to_unix(SystemTime::now()))
            .then_some(pending)
    }

    pub(in crate::tls) fn remove_pending(&self, name: &str) {
        self.values.remove(&pending_key(name));
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
        self.wait(LOCAL_LOCK).unwrap_or_else(Lock::none)
    }

    /// Like [`Records::lock`], for a command; `None` where a process works on `name` for long.
    pub(in crate::tls) fn lock_blocking(&self, name: &str) -> Option<Lock> {
        self.wait(&format!("{}/{}", self.ca, file_name(name)))
    }

    fn wait(&self, lock: &str) -> Option<Lock> {
        let started = Instant::now();
        loop {
            match self.values.locked(lock) {
                Some(lock) => return Some(lock),
                None if started.elapsed() > BLOCK_MOST => return None,
                None => thread::sleep(BLOCK_POLL),
            }
        }
    }

    pub(super) fn try_lock_stem(&self, stem: &str) -> Option<Lock> {
        self.values.locked(&format!("{}/{stem}", self.ca))
    }

    /// Challenges of processes that were killed.
    fn sweep(&self) {
        let now = to_unix(SystemTime::now());
        for item in self.values.store.list(CHALLENGES).unwrap_or_default() {
            let pending: Result<Pending, _> = self.values.read(&item.key);
            if !pending.is_ok_and(|pending| pending.is_current(now)) {
                self.values.remove(&item.key);
            }
        }
    }

    pub(super) fn read_record(&self, stem: &str) -> Result<Record, Unread> {
        let record: Record = self.values.read(&self.key(stem))?;
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

    pub(super) fn folder(&self) -> String {
        format!("certificates/{}", self.ca)
    }

    pub(super) fn key(&self, stem: &str) -> String {
        format!("certificates/{}/{stem}.json", self.ca)
    }

    fn budget(&self) -> String {
        format!("acme/{}/budget.json", self.ca)
    }

    fn account(&self) -> String {
        format!("acme/{}/account.json", self.ca)
    }
}

fn pending_key(name: &str) -> String {
    format!("{CHALLENGES}/{}.json", file_name(name))
}

/// Held while what was spent is written.
pub(in crate::tls) const BUDGET_LOCK: &str = "*budget";
/// Held while the account is made.
pub(in crate::tls) const ACCOUNT_LOCK: &str = "*account";
const LOCAL_LOCK: &str = "ca";
const LOCAL: &str = "ca/ca.json";
const LOCAL_CERTIFICATE: &str = "ca/ca.crt";
const CHALLENGES: &str = "challenges";
const LOCK_POLL: Duration = Duration::from_millis(200);
const BLOCK_POLL: Duration = Duration::from_millis(5);
const BLOCK_MOST: Duration = Duration::from_secs(5);
