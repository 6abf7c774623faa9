//! Random doings, compared with what a map would say, and the books audited after each.

use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::super::{Purge, Quota, Response};
use super::*;

#[derive(Clone, Debug)]
enum Act {
    Put {
        key: u8,
        len: usize,
        known: bool,
        tagged: bool,
    },
    Broken {
        key: u8,
        len: usize,
    },
    Get {
        key: u8,
    },
    Refresh {
        key: u8,
    },
    Invalidate {
        key: u8,
    },
    Purge {
        what: u8,
    },
    Wait {
        seconds: u64,
    },
    Quota {
        bytes: u64,
    },
    Restart,
}

fn act() -> impl Strategy<Value = Act> {
    let len = prop_oneof![
        4 => 0..5000_usize,
        2 => 60_000..140_000_usize,
        1 => 250_000..900_000_usize,
    ];
    prop_oneof![
        8 => (0..12_u8, len.clone(), any::<bool>(), any::<bool>())
            .prop_map(|(key, len, known, tagged)| Act::Put { key, len, known, tagged }),
        1 => (0..12_u8, len).prop_map(|(key, len)| Act::Broken { key, len }),
        8 => (0..12_u8).prop_map(|key| Act::Get { key }),
        2 => (0..12_u8).prop_map(|key| Act::Refresh { key }),
        1 => (0..12_u8).prop_map(|key| Act::Invalidate { key }),
        1 => (0..4_u8).prop_map(|what| Act::Purge { what }),
        1 => (1..700_u64).prop_map(|seconds| Act::Wait { seconds }),
        1 => (10_000..2_000_000_u64).prop_map(|bytes| Act::Quota { bytes }),
        1 => Just(Act::Restart),
    ]
}

/// What a key may lead to: this body with these notes, or nothing.
struct Known {
    seed: u64,
    len: usize,
    meta: Vec<u8>,
    tagged: bool,
}

struct Run {
    bench: Bench,
    limits: Limits,
    path: Option<std::path::PathBuf>,
    known: HashMap<u8, Known>,
    seed: u64,
    quota: u64,
}

impl Run {
    fn act(&mut self, act: &Act) {
        match *act {
            Act::Put {
                key,
                len,
                known,
                tagged,
            } => self.put(key, len, known, tagged),
            Act::Broken { key, len } => {
                let Some(mut filling) = self.start(key, Some(len as u64 + 1), false) else {
                    return;
                };
                let _ = block(filling.push(&body(self.seed, len)));
                assert!(!filling.finish(self.bench.now));
            }
            Act::Get { key } => {
                self.get(key);
            }
            Act::Refresh { key } => {
                let Some(object) = self.get(key) else {
                    return;
                };
                self.seed += 1;
                let meta = format!("notes {}", self.seed).into_bytes();
                let fill = self.bench.fill(&name(key));
                fill.refresh(&object, &meta, b"head", self.bench.now);
                self.known.get_mut(&key).expect("it was found").meta = meta;
            }
            Act::Invalidate { key } => {
                self.bench.store.invalidate(name(key).as_bytes());
                self.known.remove(&key);
            }
            Act::Purge { what } => self.purge(what),
            Act::Wait { seconds } => {
                self.bench.now += Duration::from_secs(seconds);
                self.bench.settle();
                self.bench.store.core.expire(self.bench.now);
            }
            Act::Quota { bytes } => {
                self.quota = bytes;
                self.bench.store.owner("shop", self.quota());
                self.bench.settle();
                self.bench.store.core.expire(self.bench.now);
            }
            Act::Restart => self.restart(),
        }
    }

    fn quota(&self) -> Quota {
        Quota {
            max_size: self.quota,
            ..Quota::default()
        }
    }

    fn start(&mut self, key: u8, length: Option<u64>, tagged: bool) -> Option<Filling> {
        self.seed += 1;
        let meta = format!("notes {}", self.seed);
        let tags: &[&[u8]] = if tagged { &[b"red"] } else { &[] };
        let response = Response {
            meta: meta.as_bytes(),
            head: b"head",
            tags,
            length,
            ..Response::default()
        };
        self.bench.fill(&name(key)).start(&response).ok()
    }

    /// What cannot be stored leaves the old one, or nothing.
    fn put(&mut self, key: u8, len: usize, known: bool, tagged: bool) {
        let Some(mut filling) = self.start(key, known.then_some(len as u64), tagged) else {
            return;
        };
        let seed = self.seed;
        let reader = filling.reader();
        let whole = body(seed, len);
        let reads = std::thread::spawn(move || read(reader));
        block(filling.push(&whole)).expect("somebody reads");
        assert!(filling.finish(self.bench.now));
        assert!(reads.join().expect("a reader") == Ok(whole));
        self.bench.settle();
        let meta = format!("notes {seed}").into_bytes();
        let new = self
            .bench
            .object(&name(key))
            .is_some_and(|object| object.meta() == &meta[..]);
        if new {
            self.known.insert(
                key,
                Known {
                    seed,
                    len,
                    meta,
                    tagged,
                },
            );
        }
    }

    fn get(&mut self, key: u8) -> Option<Arc<Object>> {
        let object = self.bench.object(&name(key))?;
        let known = self
            .known
            .get(&key)
            .expect("nobody has stored it, or it was purged");
        assert_eq!(object.meta(), &known.meta[..]);
        let got = read(self.bench.store.reader(&object));
        assert!(got == Ok(body(known.seed, known.len)));
        Some(object)
    }

    fn purge(&mut self, what: u8) {
        let purge = match what {
            0 => Purge::All,
            1 => Purge::Host(b"h1.test"[..].into()),
            2 => Purge::Tag(b"red"[..].into()),
            _ => Purge::Owner(Arc::clone(&self.bench.owner)),
        };
        block(self.bench.store.purge(purge));
        self.known.retain(|key, known| match what {
            1 => key % 3 != 1,
            2 => !known.tagged,
            _ => false,
        });
    }

    /// As after kill -9: nothing is written that was not yet, but what was is there.
    fn restart(&mut self) {
        self.bench.settle();
        let memory = Bench::new(LIMITS, None);
        drop(std::mem::replace(&mut self.bench, memory));
        self.bench = Bench::new(self.limits, self.path.as_deref());
        self.bench.store.owner("shop", self.quota());
        self.bench.store.core.expire(self.bench.now);
    }
}

fn name(key: u8) -> String {
    format!("h{}.test/{key}", key % 3)
}

#[test]
fn the_store_never_says_what_a_map_would_not_and_its_books_are_right() {
    let config = ProptestConfig {
        cases: 40,
        ..ProptestConfig::default()
    };
    let acts = (any::<bool>(), proptest::collection::vec(act(), 1..60));
    let run = TestRunner::new(config).run(&acts, |(disk, acts)| {
        let directory = tempfile::tempdir().expect("a directory");
        let limits = Limits {
            memory: 1 << 20,
            disk: 2 << 20,
            object: 128 << 10,
            ..LIMITS
        };
        let bench = Bench::new(limits, disk.then(|| directory.path()));
        let path = disk.then(|| directory.path().to_owned());
        let mut run = Run {
            bench,
            limits,
            path,
            known: HashMap::new(),
            seed: 0,
            quota: u64::MAX,
        };
        for act in &acts {
            run.act(act);
            run.bench.audit();
        }
        Ok(())
    });
    run.expect("a map would say the same");
}
