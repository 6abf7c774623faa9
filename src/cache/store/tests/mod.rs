//! Tests of the store as a whole.

mod basic;
mod broken;
mod coming;
mod faults;
mod leave;
mod measures;
mod model;
mod stress;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::core::{Core, Limits, UNIT};
use super::fs::{Directory, Fs};
use super::index::base_cost;
use super::object::Object;
use super::{Begin, Fill, Filling, Found, Owner, Quota, Reader, Response, Select, Store};

/// A store whose keeper is the test.
pub(super) struct Bench {
    pub(super) store: Store,
    pub(super) owner: Arc<Owner>,
    pub(super) now: Instant,
}

/// The test's request: values of the fields that it has, by rule.
#[derive(Clone, Default)]
pub(super) struct Request(pub(super) Vec<u8>);

impl Select for Request {
    fn variant(&mut self, _: &[u8]) -> &[u8] {
        &self.0
    }
}

pub(super) const LIMITS: Limits = Limits {
    memory: 4 << 20,
    disk: 16 << 20,
    floor: 0,
    object: 256 << 10,
    lock_age: std::time::Duration::from_secs(5),
};

impl Bench {
    pub(super) fn new(limits: Limits, directory: Option<&Path>) -> Self {
        let directory = directory.map(|path| {
            let (files, first) = Directory::open(path, 0).expect("a directory of ours");
            (Box::new(files) as Box<dyn Fs>, first)
        });
        Self::with(limits, directory)
    }

    pub(super) fn with(limits: Limits, disk: Option<(Box<dyn Fs>, u64)>) -> Self {
        let core = Arc::new(Core::new(limits, 1));
        if let Some((fs, first)) = disk {
            core.join(fs, first);
            core.scan(false);
        }
        let store = Store { core };
        let owner = store
            .owner("shop", Quota::default())
            .expect("a first owner");
        let now = Instant::now();
        Self { store, owner, now }
    }

    pub(super) fn fill(&self, key: &str) -> Fill {
        let owner = &self.owner;
        let key = self.store.key(key.as_bytes(), host(key), owner);
        let mut miss = match self.store.find(&key, self.now, &mut Request::default()) {
            Found::Miss(miss) => miss,
            Found::Memory { object, .. } => object.miss(),
            Found::Disk { object, .. } => object.miss(),
        };
        loop {
            match self.store.begin(&key, &miss, self.now) {
                Begin::Lead(fill) => return fill,
                Begin::Again => miss.seen = u64::MAX,
                other => panic!("nobody else asks: {other:?}"),
            }
        }
    }

    pub(super) fn filling(&self, key: &str, length: Option<u64>) -> Filling {
        let response = Response {
            meta: b"notes",
            head: b"HTTP/1.1 200 OK",
            length,
            ..Response::default()
        };
        self.fill(key).start(&response).expect("it can be stored")
    }

    pub(super) fn put(&self, key: &str, body: &[u8]) {
        let mut filling = self.filling(key, Some(body.len() as u64));
        block(filling.push(body)).expect("it can be stored");
        assert!(filling.finish(self.now));
    }

    pub(super) fn put_with(&self, key: &str, response: Response<'_>, body: &[u8]) {
        let mut filling = self.fill(key).start(&response).expect("it can be stored");
        block(filling.push(body)).expect("it can be stored");
        assert!(filling.finish(self.now));
    }

    pub(super) fn object(&self, key: &str) -> Option<Arc<Object>> {
        self.variant(key, "")
    }

    pub(super) fn variant(&self, key: &str, variant: &str) -> Option<Arc<Object>> {
        let key = self.store.key(key.as_bytes(), host(key), &self.owner);
        match self
            .store
            .find(&key, self.now, &mut Request(variant.into()))
        {
            Found::Memory { object, .. } => Some(object),
            Found::Disk { mut object, .. } => block(object.read()),
            Found::Miss(_) => None,
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<Vec<u8>> {
        let object = self.object(key)?;
        read(self.store.reader(&object)).ok()
    }

    /// Until the disk has nothing to do.
    pub(super) fn settle(&self) {
        while !self.store.core.pool.is_idle() {
            std::thread::yield_now();
        }
    }

    /// Everything that is counted is there, and nothing else. While nobody fills or reads.
    pub(super) fn audit(&self) {
        self.settle();
        let core = &self.store.core;
        let (mut memory, mut disk, mut ids) = (base_cost(core.limits.memory), 0, Vec::new());
        for shard in core.index.shards() {
            let audit = shard.audit();
            memory += audit.memory + audit.tags + shard.charged();
            disk += audit.disk * UNIT;
            ids.extend(audit.ids);
        }
        assert_eq!(core.index.memory.used(), memory, "memory");
        assert!(memory <= core.limits.memory);
        assert_eq!(core.transit.used(), 0, "transit");
        assert_eq!(self.store.stats().fills, 0, "fills");
        let Some(tier) = core.disk.get() else {
            return;
        };
        assert_eq!(tier.account.used(), disk, "disk");
        assert!(disk <= core.limits.disk);
        let owned: u64 = core
            .index
            .owners
            .all()
            .iter()
            .map(|owner| owner.used().1)
            .sum();
        assert_eq!(owned, disk, "owners");
        assert_eq!(self.store.stats().on_disk, ids.len() as u64);
        let mut files = files(&*tier.fs);
        files.sort_unstable();
        ids.sort_unstable();
        assert_eq!(files, ids, "files");
    }
}

fn files(fs: &dyn Fs) -> Vec<u64> {
    let mut ids = Vec::new();
    for bucket in fs.buckets().expect("it can be listed").0 {
        let listed = fs.list(bucket, &mut |found| match found {
            super::fs::Found::Whole(id) => ids.push(id),
            super::fs::Found::Unfinished(id) => panic!("{id:x} is left"),
            super::fs::Found::Foreign => {}
        });
        listed.expect("it can be listed");
    }
    ids
}

fn host(key: &str) -> &[u8] {
    key.split('/').next().unwrap_or_default().as_bytes()
}

pub(super) fn read(mut reader: Reader) -> Result<Vec<u8>, super::Lost> {
    let mut body = Vec::new();
    while let Some(bytes) = block(reader.next()) {
        let bytes: Bytes = bytes?;
        assert!(!bytes.is_empty());
        body.extend_from_slice(&bytes);
    }
    Ok(body)
}

pub(super) fn block<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    runtime.expect("a runtime").block_on(future)
}

/// Bytes that tell where they are from.
pub(super) fn body(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut body = Vec::with_capacity(len + 8);
    while body.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        body.extend_from_slice(&state.to_le_bytes());
    }
    body.truncate(len);
    body
}
