//! All records at once: at a start, for a list, and those that have changed.

use std::collections::HashMap;
use std::io;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::PoisonError;
use std::thread;

use super::Item;
use super::name::file_name;
use super::record::Record;
use super::records::Records;
use super::values::Unread;

/// The records as they were last looked at, by key.
#[derive(Default)]
pub(super) struct Seen {
    stamp: Option<u64>,
    items: HashMap<String, u64>,
}

impl Seen {
    /// The keys that are new or other ones.
    fn replace(&mut self, stamp: u64, items: Vec<Item>) -> Vec<String> {
        let changed = items
            .iter()
            .filter(|item| self.items.get(&item.key) != Some(&item.stamp));
        let changed = changed.map(|item| item.key.clone()).collect();
        self.stamp = Some(stamp);
        self.items = items.into_iter().map(|i| (i.key, i.stamp)).collect();
        changed
    }
}

impl Records {
    /// Of every CA that was ever asked.
    pub(in crate::tls) fn of_all(data: &Path) -> io::Result<Vec<Self>> {
        let cas = super::open(Some(data)).folders("certificates")?;
        Ok(cas.into_iter().map(|ca| Self::of(data, ca)).collect())
    }

    /// Name of the CA's folder.
    pub(in crate::tls) fn ca(&self) -> &str {
        &self.ca
    }

    /// Every record, by the name of its file where it cannot be read; changes nothing.
    pub(in crate::tls) fn peek_all(&self) -> io::Result<Vec<(String, Result<Record, String>)>> {
        let items = self.values.store.list(&self.folder())?;
        let stems = items.iter().filter_map(|item| stem(&item.key));
        let peeked = stems.filter_map(|stem| match self.read_record(stem) {
            Ok(record) => Some((stem.to_owned(), Ok(record))),
            Err(Unread::Absent) => None,
            Err(Unread::Kept(why) | Unread::Corrupt(why)) => Some((stem.to_owned(), Err(why))),
        });
        Ok(peeked.collect())
    }

    /// A record, if it can be read; changes nothing.
    pub(in crate::tls) fn peek(&self, host: &str) -> Option<Record> {
        self.read_record(&file_name(host)).ok()
    }

    /// The records that were written since the last call, by whomever, or since [`Records::load_all`]. What
    /// cannot be read is left to those who need it.
    pub(in crate::tls) fn changes(&self) -> Vec<Record> {
        let folder = self.folder();
        let Ok(stamp) = self.values.store.stamp(&folder) else {
            return Vec::new();
        };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.stamp == Some(stamp) {
            return Vec::new();
        }
        let Ok(items) = self.values.store.list(&folder) else {
            return Vec::new();
        };
        let changed = seen.replace(stamp, items);
        drop(seen);
        let stems = changed.iter().filter_map(|key| stem(key));
        stems
            .filter_map(|stem| self.read_record(stem).ok())
            .collect()
    }

    /// Makes something of every record there is. Those that cannot be read, or that `make` refuses, are
    /// put aside, logged and skipped. Reads and calls `make` on all cores: a start waits for it.
    pub(in crate::tls) fn load_all<T: Send>(
        &self,
        make: impl Fn(Record) -> Result<T, String> + Sync,
    ) -> Vec<T> {
        let items = match self.values.store.list(&self.folder()) {
            Ok(items) => items,
            Err(error) => {
                let store = self.values.store.place();
                tracing::error!(store, %error, "the certificate store cannot be read");
                return Vec::new();
            }
        };
        let stems: Vec<&str> = items.iter().filter_map(|item| stem(&item.key)).collect();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.items = items.iter().map(|i| (i.key.clone(), i.stamp)).collect();
        drop(seen);
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
                self.values.settle(&key, read())
            }
            read => self.values.settle(&key, read),
        }
    }
}

/// `certificates/<ca>/<stem>.json`
fn stem(key: &str) -> Option<&str> {
    let (_, name) = key.rsplit_once('/')?;
    name.strip_suffix(".json")
}

/// Records that are not worth another thread.
const SHARE_LEAST: usize = 32;
