//! What is kept of certificates, and where.
//!
//! [`Records`] is what the rest of this module uses: typed, and with a place for everything. Below it
//! is a [`Store`], which knows bytes under keys and locks and nothing else; [`Files`] is the one there
//! is, and the seam for one that is shared over a network.
//!
//! ```text
//! certificates/<ca>/<host>.json    acme/<ca>/account.json, budget.json    ca/ca.json, ca/ca.crt
//! challenges/<name>.json           locks/<ca>/<host>.lock
//! requests/<id>.json               answers/<id>.json
//! ```

// Keys as paths below one directory.
mod files;
// What the store could not take yet.
mod ledger;
// All records at once.
mod listing;
// A name as part of a key.
mod name;
// What is kept, as types.
mod record;
// What is kept, and under which keys.
mod records;
// What commands ask of running processes.
mod requests;
// Values as JSON, and what is done when that fails.
mod values;

use std::io;
use std::path::Path;

pub(super) use self::files::Files;
pub(super) use self::record::{ChallengeKind, LocalRoot, OpenOrder, Pending, Record, VERSION};
pub(super) use self::records::{ACCOUNT_LOCK, BUDGET_LOCK, Records};
pub use self::requests::Reason;
pub(super) use self::requests::{Act, Answer, Request, Requests};

/// Bytes under keys, and locks, shared by all processes that serve the same names.
///
/// Keys are words joined by `/`; [`Records`] makes each word safe as a file name. Calls block, for as
/// long as the place they talk to takes: those who must not wait make them elsewhere. There is no
/// notice of changes; [`Store::stamp`] is cheap enough to be asked every second.
pub(super) trait Store: Send + Sync {
    /// Where it is, for messages.
    fn place(&self) -> String;

    /// What lies directly in `folder`, sorted by key. One that does not exist is empty.
    fn list(&self, folder: &str) -> io::Result<Vec<Item>>;

    /// The folders directly in `folder`, sorted.
    fn folders(&self, folder: &str) -> io::Result<Vec<String>>;

    /// Another number whenever the list of `folder` may be another one: much cheaper than the list.
    fn stamp(&self, folder: &str) -> io::Result<u64>;

    /// `None` where there is nothing. More than [`VALUE_MAX`] bytes are an error of the kind
    /// [`io::ErrorKind::FileTooLarge`].
    fn load(&self, key: &str) -> io::Result<Option<Vec<u8>>>;

    /// Whoever loads `key` meanwhile, or after a crash, gets the old value or this one, nothing between.
    fn save(&self, key: &str, value: &[u8], keep: Keep) -> io::Result<()>;

    /// Moves a value over whatever is there.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removing what is not there is no error.
    fn remove(&self, key: &str) -> io::Result<()>;

    /// `None` where another process, or another task, has the lock. It ends when the value is dropped
    /// or the process dies. Locks only save work: whatever two holders do must be harmless.
    fn try_lock(&self, name: &str) -> io::Result<Option<Lock>>;
}

/// One value of a folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Item {
    pub(super) key: String,
    /// Another one after each change of the value.
    pub(super) stamp: u64,
}

/// What becomes of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// It holds a key: for nobody else's eyes, and safe on disk before the call returns.
    Secret,
    /// As safe, and anybody may read it.
    Public,
    /// Of use for seconds: no crash has to leave it behind.
    Brief,
}

/// Held while working on a name.
pub(super) struct Lock(#[expect(dead_code, reason = "held, never read")] Option<Box<dyn Send>>);

impl Lock {
    /// Ends when `held` is dropped.
    pub(super) fn new(held: impl Send + 'static) -> Self {
        Self(Some(Box::new(held)))
    }

    /// Where no lock can be had.
    pub(super) fn none() -> Self {
        Self(None)
    }
}

/// The store in `data`, or one that keeps nothing.
pub(super) fn open(data: Option<&Path>) -> Box<dyn Store> {
    match data {
        Some(data) => Box::new(Files::new(data)),
        None => Box::new(Nowhere),
    }
}

/// Keeps nothing, so nothing has to be locked either.
struct Nowhere;

impl Store for Nowhere {
    fn place(&self) -> String {
        "memory".to_owned()
    }

    fn list(&self, _: &str) -> io::Result<Vec<Item>> {
        Ok(Vec::new())
    }

    fn folders(&self, _: &str) -> io::Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn stamp(&self, _: &str) -> io::Result<u64> {
        Ok(0)
    }

    fn load(&self, _: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(None)
    }

    fn save(&self, _: &str, _: &[u8], _: Keep) -> io::Result<()> {
        Ok(())
    }

    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn try_lock(&self, _: &str) -> io::Result<Option<Lock>> {
        Ok(Some(Lock::none()))
    }
}

/// Chains and keys are a hundredth of it.
pub(super) const VALUE_MAX: u64 = 1 << 20;

#[cfg(test)]
mod tests;
