//! What servers that decide who gets in have said to one worker, and for how long that holds.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{Context, SHA256};
use foldhash::fast::RandomState;

/// A yes.
#[derive(Debug)]
pub(crate) struct Pass {
    /// Who has said it of what; see `route::ForwardAuth::what`.
    pub(crate) what: Box<str>,
    /// Lines for the app: who it is that asks.
    pub(crate) app: Vec<u8>,
    /// Lines for the client: cookies.
    pub(crate) client: Vec<u8>,
}

/// A question on its way to become a key: a digest, since nobody may come to a yes by guessing what collides.
pub(crate) struct Question(Context);

/// What was said, and until when it holds.
type Kept = HashMap<[u8; 32], (Instant, Rc<Pass>), RandomState>;

/// A worker's memory.
#[derive(Default)]
pub(crate) struct Auths {
    kept: RefCell<Kept>,
    bytes: Cell<usize>,
    /// When a failure was logged last.
    told: Cell<Option<Instant>>,
}

impl Question {
    pub(crate) fn new(what: &str) -> Self {
        let mut question = Self(Context::new(&SHA256));
        question.part(what.as_bytes());
        question
    }

    /// Adds a part; none runs into the next.
    pub(crate) fn part(&mut self, part: &[u8]) {
        self.0.update(&(part.len() as u64).to_le_bytes());
        self.0.update(part);
    }

    pub(crate) fn key(self) -> [u8; 32] {
        let mut key = [0; 32];
        key.copy_from_slice(self.0.finish().as_ref());
        key
    }
}

impl Auths {
    /// The yes to this question, if it still holds.
    pub(crate) fn find(&self, key: &[u8; 32]) -> Option<Rc<Pass>> {
        let kept = self.kept.borrow();
        let (until, pass) = kept.get(key)?;
        (Instant::now() < *until).then(|| Rc::clone(pass))
    }

    /// Remembers a yes for a time.
    pub(crate) fn keep(&self, key: [u8; 32], pass: &Rc<Pass>, time: Duration) {
        let now = Instant::now();
        let size = |pass: &Pass| pass.app.len() + pass.what.len() + ENTRY;
        let mut kept = self.kept.borrow_mut();
        let mut bytes = self.bytes.get();
        if bytes + size(pass) > MAX_BYTES {
            kept.retain(|_, (until, _)| now < *until);
            bytes = kept.values().map(|(_, pass)| size(pass)).sum();
        }
        if bytes + size(pass) > MAX_BYTES {
            // They are asked again, which costs time and nothing else.
            kept.clear();
            bytes = 0;
        }
        let before = kept.insert(key, (now + time, Rc::clone(pass)));
        let before = before.map_or(0, |(_, pass)| size(&pass));
        self.bytes.set(bytes + size(pass) - before);
    }

    /// Whether a failure is worth a line of the log: one in [`PAUSE`] of them all.
    pub(crate) fn tells(&self) -> bool {
        let now = Instant::now();
        let due = self.told.get().is_none_or(|told| now >= told + PAUSE);
        if due {
            self.told.set(Some(now));
        }
        due
    }
}

/// What one costs beside its lines.
const ENTRY: usize = 160;
/// Of what is remembered.
const MAX_BYTES: usize = 1024 * 1024;
/// Between two lines of the log.
const PAUSE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn pass(app: usize) -> Rc<Pass> {
        Rc::new(Pass {
            what: "a".into(),
            app: vec![0; app],
            client: Vec::new(),
        })
    }

    fn key(parts: &[&str]) -> [u8; 32] {
        let mut question = Question::new("a");
        for part in parts {
            question.part(part.as_bytes());
        }
        question.key()
    }

    #[test]
    fn parts_of_a_question_stay_apart() {
        assert_eq!(key(&["a", "b"]), key(&["a", "b"]));
        assert_ne!(key(&["a", "b"]), key(&["ab", ""]));
        assert_ne!(key(&["a", "b"]), key(&["a", "b", ""]));
    }

    #[test]
    fn a_yes_holds_for_its_time_and_for_its_question() {
        let auths = Auths::default();
        auths.keep(key(&["a"]), &pass(1), Duration::from_secs(60));
        auths.keep(key(&["b"]), &pass(1), Duration::ZERO);
        assert!(auths.find(&key(&["a"])).is_some());
        assert!(auths.find(&key(&["b"])).is_none());
        assert!(auths.find(&key(&["c"])).is_none());
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let auths = Auths::default();
        let hour = Duration::from_secs(3600);
        for index in 0..100_000_u32 {
            auths.keep(key(&[&index.to_string()]), &pass(100), hour);
            assert!(auths.bytes.get() <= MAX_BYTES);
        }
        let kept = auths.kept.borrow().len();
        assert!(kept > 100 && kept * (ENTRY + 101) <= MAX_BYTES, "{kept}");
        auths.keep(key(&["x"]), &pass(1), hour);
        let bytes = auths.bytes.get();
        auths.keep(key(&["x"]), &pass(1), hour);
        assert_eq!(auths.bytes.get(), bytes, "counted once");
    }
}
