//! What a store could not take, or turned out to hold: kept here, told in the status, tried again.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Behind a lock that is held for microseconds, and never while the store is asked.
#[derive(Default)]
pub(super) struct Ledger {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By key; one for each name at most, as memory holds them anyway.
    unsaved: BTreeMap<String, Unsaved>,
    /// Why the last write failed; `None` once one succeeds.
    error: Option<String>,
    /// Key and reason of values that were put aside, the last [`ASIDE_MOST`].
    aside: Vec<(String, String)>,
}

/// A value that is ahead of the store. Holds private keys: no `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Unsaved {
    pub(super) value: Vec<u8>,
    /// The lock under which it is written.
    pub(super) lock: String,
    /// For people: the name it is about.
    pub(super) about: String,
}

impl Ledger {
    /// Whether that is news.
    pub(super) fn failed(&self, key: &str, unsaved: Option<Unsaved>, error: String) -> bool {
        let mut state = self.state();
        if let Some(unsaved) = unsaved {
            state.unsaved.insert(key.to_owned(), unsaved);
        }
        state.error.replace(error).is_none()
    }

    /// Whether the store could not be written before and now has everything.
    pub(super) fn succeeded(&self, key: &str) -> bool {
        let mut state = self.state();
        state.unsaved.remove(key);
        state.aside.retain(|(aside, _)| aside != key);
        state.unsaved.is_empty() && state.error.take().is_some()
    }

    pub(super) fn forget(&self, key: &str) {
        self.state().unsaved.remove(key);
    }

    pub(super) fn put_aside(&self, key: &str, why: String) {
        let mut state = self.state();
        state.unsaved.remove(key);
        state.aside.retain(|(aside, _)| aside != key);
        if state.aside.len() >= ASIDE_MOST {
            state.aside.remove(0);
        }
        state.aside.push((key.to_owned(), why));
    }

    /// What is newer here than in the store.
    pub(super) fn unsaved(&self, key: &str) -> Option<Unsaved> {
        self.state().unsaved.get(key).cloned()
    }

    pub(super) fn unsaved_keys(&self) -> Vec<String> {
        self.state().unsaved.keys().cloned().collect()
    }

    pub(super) fn error(&self) -> Option<String> {
        self.state().error.clone()
    }

    pub(super) fn about_unsaved(&self) -> Vec<String> {
        let state = self.state();
        let mut about: Vec<_> = state
            .unsaved
            .values()
            .map(|one| one.about.clone())
            .collect();
        about.dedup();
        about
    }

    pub(super) fn aside(&self) -> Vec<(String, String)> {
        self.state().aside.clone()
    }

    /// A panic while it is held leaves at worst one entry half told.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const ASIDE_MOST: usize = 32;
