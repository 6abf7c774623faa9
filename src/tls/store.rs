//! Files. One JSON per certificate, so that key and chain can never tear; written to a temporary
//! file, synced, renamed. Files are 0600, directories 0700.
//!
//! ```text
//! <data>/certificates/<ca>/<host>.json    <data>/acme/<ca>/account.json
//! <data>/ca/ca.json, ca.crt               <data>/locks/<ca>/<name>.lock
//! ```

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::files::{
    PUBLIC, SECRET, file_name, make_dir, quarantine, read_json, remove_stale, write, write_json,
};
use super::renew::History;

/// The directory certificates are kept in, or none.
pub(super) struct Store {
    places: Option<Places>,
}

struct Places {
    certificates: PathBuf,
    account: PathBuf,
    local: PathBuf,
    locks: PathBuf,
}

/// Everything kept about one name. Holds a private key: no `Debug`.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) version: u32,
    pub(super) host: String,
    /// Directory URL of the CA that was asked.
    pub(super) source: String,
    /// PEM; present together with `chain` or not at all.
    #[serde(default)]
    pub(super) key: Option<String>,
    #[serde(default)]
    pub(super) chain: Option<String>,
    /// The challenge that worked last.
    #[serde(default)]
    pub(super) challenge: Option<ChallengeKind>,
    #[serde(default)]
    pub(super) history: History,
}

/// The two challenges Wharf answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) enum ChallengeKind {
    #[default]
    #[serde(rename = "http-01")]
    Http01,
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
}

/// The built-in CA as kept. Holds a private key: no `Debug`.
#[derive(Serialize, Deserialize)]
pub(super) struct LocalRoot {
    pub(super) version: u32,
    pub(super) key: String,
    pub(super) certificate: String,
}

/// Held while working on a name; the kernel gives it back when the process dies.
pub(super) struct Lock(#[expect(dead_code, reason = "held, never read")] Option<File>);

impl Store {
    /// Makes the directories and tries to write. A store that cannot be written is reported and kept:
    /// what it holds can still be read.
    pub(super) fn open(data: Option<&Path>, directory: &str) -> Self {
        let Some(data) = data else {
            return Self { places: None };
        };
        let ca = file_name(
            directory
                .split_once("://")
                .map_or(directory, |(_, rest)| rest),
        );
        let places = Places {
            certificates: data.join("certificates").join(&ca),
            account: data.join("acme").join(&ca).join("account.json"),
            local: data.join("ca"),
            locks: data.join("locks").join(&ca),
        };
        let probe = places.certificates.join(".probe");
        // Not synced: a start does not wait for the disk.
        let tried = make_dir(&places.certificates).and_then(|()| File::create(&probe).map(drop));
        match tried {
            Ok(()) => drop(fs::remove_file(&probe)),
            Err(error) => tracing::error!(
                directory = %data.display(), %error,
                "the certificate store cannot be written: new certificates will not survive a \
                 restart, and CAs limit how often one may be issued again"
            ),
        }
        Self {
            places: Some(places),
        }
    }

    /// Makes something of every record that can be read; the others are renamed, logged and
    /// skipped. Reads and calls `make` on all cores: a start waits for it.
    pub(super) fn load_all<T: Send>(&self, make: impl Fn(Record) -> Option<T> + Sync) -> Vec<T> {
        let Some(places) = &self.places else {
            return Vec::new();
        };
        let Ok(files) = fs::read_dir(&places.certificates) else {
            return Vec::new();
        };
        let mut paths = Vec::new();
        for path in files.flatten().map(|file| file.path()) {
            if path.extension().is_some_and(|ext| ext == "tmp") {
                remove_stale(&path);
            } else if path.extension().is_some_and(|ext| ext == "json") {
                paths.push(path);
            }
        }
        paths.sort_unstable_by(|a, b| a.as_os_str().cmp(b.as_os_str()));
        let load = |paths: &[PathBuf]| -> Vec<T> {
            let records = paths.iter().filter_map(|path| load_record(path));
            records.filter_map(&make).collect()
        };
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let share = paths.len().div_ceil(threads).max(SHARE_LEAST);
        thread::scope(|scope| {
            let mut shares = paths.chunks(share);
            let first = shares.next().unwrap_or_default();
            let others: Vec<_> = shares
                .map(|paths| scope.spawn(move || load(paths)))
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

    pub(super) fn load(&self, host: &str) -> Option<Record> {
        load_record(&self.places.as_ref()?.record(host))
    }

    pub(super) fn save(&self, record: &Record) -> io::Result<()> {
        match &self.places {
            Some(places) => write_json(&places.record(&record.host), record),
            None => Ok(()),
        }
    }

    /// Removes a record that holds nothing worth keeping.
    pub(super) fn remove(&self, host: &str) {
        if let Some(places) = &self.places {
            drop(fs::remove_file(places.record(host)));
        }
    }

    /// Puts a record aside that can be parsed but not served.
    pub(super) fn quarantine(&self, host: &str, why: &dyn std::fmt::Display) {
        if let Some(places) = &self.places {
            quarantine(&places.record(host), why);
        }
    }

    pub(super) fn load_account<T: DeserializeOwned>(&self) -> Option<T> {
        read_json(&self.places.as_ref()?.account)
    }

    pub(super) fn save_account<T: Serialize>(&self, account: &T) -> io::Result<()> {
        match &self.places {
            Some(places) => write_json(&places.account, account),
            None => Ok(()),
        }
    }

    /// The account the CA no longer knows is kept aside, never deleted.
    pub(super) fn retire_account(&self) {
        if let Some(places) = &self.places {
            drop(fs::rename(
                &places.account,
                places.account.with_extension("json.retired"),
            ));
        }
    }

    pub(super) fn load_local(&self) -> Option<LocalRoot> {
        read_json(&self.places.as_ref()?.local.join("ca.json"))
    }

    pub(super) fn quarantine_local(&self, why: &dyn std::fmt::Display) {
        if let Some(places) = &self.places {
            quarantine(&places.local.join("ca.json"), why);
        }
    }

    /// Keeps the root; `ca.crt` beside it may be read by anyone who may enter the directory.
    pub(super) fn save_local(&self, root: &LocalRoot) -> io::Result<()> {
        let Some(places) = &self.places else {
            return Ok(());
        };
        write_json(&places.local.join("ca.json"), root)?;
        let certificate = places.local.join("ca.crt");
        write(&certificate, root.certificate.as_bytes(), PUBLIC)
    }

    /// Waits until no other process works on `name`. Polls, because a blocking `flock` could not be
    /// given up again when Wharf stops. Locks only save work: where they do not exist, go on.
    pub(super) async fn lock(&self, name: &str) -> Lock {
        loop {
            match self.try_lock(name) {
                Some(lock) => return lock,
                None => tokio::time::sleep(LOCK_POLL).await,
            }
        }
    }

    /// Like [`Store::lock`]; `None` at once where another process, or another task, works on `name`.
    pub(super) fn try_lock(&self, name: &str) -> Option<Lock> {
        let Some(places) = &self.places else {
            return Some(Lock(None));
        };
        let path = places.locks.join(file_name(name) + ".lock");
        let tried = open_lock(&places.locks, &path)
            .map_err(TryLockError::Error)
            .and_then(|file| file.try_lock().map(|()| file));
        match tried {
            Ok(file) => Some(Lock(Some(file))),
            Err(TryLockError::WouldBlock) => None,
            Err(TryLockError::Error(error)) => {
                tracing::debug!(path = %path.display(), %error, "going on without a lock");
                Some(Lock(None))
            }
        }
    }

    /// Like [`Store::lock`], where nothing may be awaited: waits in the kernel, for milliseconds.
    pub(super) fn lock_local(&self) -> Lock {
        let locked = self.places.as_ref().and_then(|places| {
            let file = open_lock(&places.local, &places.local.join(".lock")).ok()?;
            file.lock().ok()?;
            Some(file)
        });
        Lock(locked)
    }
}

impl Places {
    fn record(&self, host: &str) -> PathBuf {
        self.certificates.join(file_name(host) + ".json")
    }
}

/// A file to lock, which holds nothing.
fn open_lock(directory: &Path, path: &Path) -> io::Result<File> {
    make_dir(directory)?;
    let mut options = OpenOptions::new();
    options
        .write(true)
        .create(true)
        .truncate(false)
        .mode(SECRET);
    options.open(path)
}

fn load_record(path: &Path) -> Option<Record> {
    let record: Record = read_json(path)?;
    let fault = if record.version != VERSION {
        // Written by a newer Wharf: not ours to rename.
        tracing::warn!(path = %path.display(), version = record.version, "unknown version; skipped");
        return None;
    } else if path.file_name() != Some((file_name(&record.host) + ".json").as_ref()) {
        "the file is named for another host"
    } else if record.key.is_some() != record.chain.is_some() {
        "key and chain do not come together"
    } else {
        return Some(record);
    };
    quarantine(path, &fault);
    None
}

/// Of [`Record`] and [`LocalRoot`].
pub(super) const VERSION: u32 = 1;
/// Records that are not worth another thread.
const SHARE_LEAST: usize = 32;
const LOCK_POLL: Duration = Duration::from_millis(200);

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
