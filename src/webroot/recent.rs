//! Small files that were read a moment ago, so that those that many ask for are opened once a second.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;

use super::open::{Content, Found};
use crate::model::Coding;

/// Of one worker.
#[derive(Default)]
pub(crate) struct Recent {
    found: RefCell<HashMap<Key, (Instant, Rc<Found>), RandomState>>,
}

/// A file of a root, as one kind of client takes it.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) root: u64,
    pub(super) name: String,
    pub(super) codings: Vec<Coding>,
}

impl Recent {
    /// A file that was read less than [`FRESH`] ago.
    pub(super) fn get(&self, key: &Key, now: Instant) -> Option<Rc<Found>> {
        let found = self.found.borrow();
        let (at, file) = found.get(key)?;
        (now.saturating_duration_since(*at) < FRESH).then(|| Rc::clone(file))
    }

    /// Keeps a file for a moment, if it is here as a whole.
    pub(super) fn put(&self, key: Key, file: &Rc<Found>, now: Instant) {
        if matches!(file.content, Content::File(_)) {
            return;
        }
        let mut found = self.found.borrow_mut();
        if found.len() >= MOST && !found.contains_key(&key) {
            found.retain(|_, (at, _)| now.saturating_duration_since(*at) < FRESH);
        }
        if found.len() < MOST {
            found.insert(key, (now, Rc::clone(file)));
        }
    }

    /// Lets go of what is no longer fresh.
    pub(crate) fn trim(&self, now: Instant) {
        let mut found = self.found.borrow_mut();
        if !found.is_empty() {
            found.retain(|_, (at, _)| now.saturating_duration_since(*at) < FRESH);
        }
    }
}

/// How long a file may have changed without notice.
const FRESH: Duration = Duration::from_secs(1);
/// So much for each worker: 8 MiB at 64 KiB each.
const MOST: usize = 128;

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn found() -> Rc<Found> {
        Rc::new(Found {
            content: Content::Here("x".into()),
            size: 1,
            modified: UNIX_EPOCH,
            etag: String::new(),
            media: "",
            coding: None,
            varies: false,
            shell: false,
        })
    }

    fn key(name: usize) -> Key {
        Key {
            root: 1,
            name: name.to_string(),
            codings: Vec::new(),
        }
    }

    #[test]
    fn files_are_kept_for_a_second_and_in_bounds() {
        let (recent, now) = (Recent::default(), Instant::now());
        for name in 0..2 * MOST {
            recent.put(key(name), &found(), now);
        }
        assert_eq!(recent.found.borrow().len(), MOST);
        assert!(recent.get(&key(0), now + FRESH / 2).is_some());
        assert!(recent.get(&key(0), now + FRESH).is_none());
        assert!(recent.get(&key(2 * MOST - 1), now).is_none());
        recent.put(key(2 * MOST), &found(), now + FRESH);
        assert_eq!(recent.found.borrow().len(), 1);
        recent.trim(now + 2 * FRESH);
        assert!(recent.found.borrow().is_empty());
    }
}
