//! Typed values under keys: read with suspicion, put aside when corrupt, kept in memory where they cannot
//! be written.

use std::fmt;
use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::super::StoreReport;
use super::ledger::{Ledger, Unsaved};
use super::{Keep, Lock, Store};

/// A store with what is known of its health.
pub(super) struct Values {
    pub(super) store: Box<dyn Store>,
    ledger: Ledger,
}

/// Why a value is as good as none.
pub(super) enum Unread {
    Absent,
    /// Written by a newer Wharf, or out of reach: it may be good, and stays where it is.
    Kept(String),
    /// Nobody will ever read it.
    Corrupt(String),
}

impl Values {
    pub(super) fn new(store: Box<dyn Store>) -> Self {
        Self {
            store,
            ledger: Ledger::default(),
        }
    }

    pub(super) fn read<T: DeserializeOwned>(&self, key: &str) -> Result<T, Unread> {
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

    /// Forgets a value that is gone or of no use.
    pub(super) fn remove(&self, key: &str) {
        self.ledger.forget(key);
        drop(self.store.remove(key));
    }

    /// Moves a value that is not wanted any more out of the way.
    pub(super) fn retire(&self, key: &str, word: &str) {
        self.ledger.forget(key);
        drop(self.store.rename(key, &format!("{key}.{word}")));
    }

    /// For a value of use for seconds: where it cannot be written, nothing is lost.
    pub(super) fn write_brief<T: Serialize>(&self, key: &str, value: &T) -> io::Result<()> {
        self.store
            .save(key, &serde_json::to_vec(value)?, Keep::Brief)
    }

    /// What cannot be written is kept in memory, comes before what the store has, and is tried again.
    pub(super) fn write<T: Serialize>(
        &self,
        key: &str,
        value: &T,
        lock: &str,
        about: &str,
    ) -> io::Result<()> {
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
    pub(super) fn probe(&self, folder: &str) -> io::Result<()> {
        let key = format!("{folder}/.probe");
        let tried = self.store.save(&key, &[b' '; PROBE], Keep::Brief);
        tried.and_then(|()| self.store.remove(&key))
    }

    pub(super) fn failed(&self, key: &str, unsaved: Option<Unsaved>, error: &io::Error) {
        if self.ledger.failed(key, unsaved, error.to_string()) {
            tracing::error!(
                store = self.store.place(), %error,
                "the certificate store cannot be written: new certificates are kept in memory and tried \
                 to be stored again; until then they do not survive a restart, and CAs limit how often \
                 one may be issued again"
            );
        }
    }

    pub(super) fn succeeded(&self, key: &str) {
        if self.ledger.succeeded(key) {
            let store = self.store.place();
            tracing::info!(
                store,
                "the certificate store can be written again and has everything"
            );
        }
    }

    /// Names what could not be read, and puts it aside if it never will.
    pub(super) fn settle<T>(&self, key: &str, read: Result<T, Unread>) -> Option<T> {
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

    pub(super) fn corrupt(&self, key: &str, why: &dyn fmt::Display) {
        let renamed = self.store.rename(key, &format!("{key}.corrupt"));
        tracing::warn!(
            store = self.store.place(),
            key,
            renamed = renamed.is_ok(),
            "a stored entry is corrupt and was put aside as *.corrupt: {why}"
        );
        self.ledger.put_aside(key, why.to_string());
    }

    /// Writes what could not be written before, and says so when all of it is. Blocks.
    pub(super) fn retry(&self, folder: &str) {
        if self.ledger.error().is_none() {
            return;
        }
        if let Err(error) = self.probe(folder) {
            return self.failed(folder, None, &error);
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
        self.succeeded(folder);
    }

    pub(super) fn report(&self) -> StoreReport {
        StoreReport {
            place: self.store.place(),
            error: self.ledger.error(),
            unsaved: self.ledger.about_unsaved(),
            aside: self.ledger.aside(),
        }
    }

    pub(super) fn locked(&self, name: &str) -> Option<Lock> {
        self.store.try_lock(name).unwrap_or_else(|error| {
            tracing::debug!(name, %error, "going on without a lock");
            Some(Lock::none())
        })
    }
}

const PROBE: usize = 4096;
