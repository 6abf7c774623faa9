//! Disks that fail, and disks that are full: nothing but the cache suffers.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use super::super::fs::Found as Listed;
use super::*;

/// A directory whose calls fail by turns or all, and whose file system has an end.
struct Faulty {
    files: Directory,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// Each call of which the number is a multiple of it fails; 0: none.
    every: AtomicU64,
    calls: AtomicU64,
    /// Bytes that can still be written.
    left: AtomicU64,
    no_reads: AtomicBool,
    no_removes: AtomicBool,
}

impl Faulty {
    fn fail(&self) -> io::Result<()> {
        let every = self.state.every.load(Relaxed);
        let call = self.state.calls.fetch_add(1, Relaxed);
        let fails = every != 0 && call.is_multiple_of(every);
        if fails {
            Err(io::Error::from_raw_os_error(5))
        } else {
            Ok(())
        }
    }
}

impl Fs for Faulty {
    fn create(&self, id: u64) -> io::Result<File> {
        self.fail()?;
        self.files.create(id)
    }

    fn publish(&self, id: u64) -> io::Result<()> {
        self.fail()?;
        self.files.publish(id)
    }

    fn open(&self, id: u64) -> io::Result<File> {
        self.fail()?;
        self.files.open(id)
    }

    fn open_unfinished(&self, id: u64) -> io::Result<File> {
        self.files.open_unfinished(id)
    }

    fn remove(&self, id: u64) -> io::Result<()> {
        if self.state.no_removes.load(Relaxed) {
            return Err(io::Error::from_raw_os_error(30));
        }
        self.files.remove(id)
    }

    fn remove_unfinished(&self, id: u64) -> io::Result<()> {
        self.files.remove_unfinished(id)
    }

    fn buckets(&self) -> io::Result<(Vec<u64>, bool)> {
        self.files.buckets()
    }

    fn list(&self, bucket: u64, found: &mut dyn FnMut(Listed)) -> io::Result<()> {
        self.files.list(bucket, found)
    }

    fn free(&self) -> io::Result<u64> {
        Ok(self.state.left.load(Relaxed))
    }

    fn write(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        self.fail()?;
        let len = bytes.len() as u64;
        let took = self
            .state
            .left
            .fetch_update(Relaxed, Relaxed, |left| left.checked_sub(len));
        took.map_err(|_| io::Error::from_raw_os_error(28))?;
        self.files.write(file, bytes, at)
    }

    fn read(&self, file: &File, bytes: &mut [u8], at: u64) -> io::Result<()> {
        self.fail()?;
        if self.state.no_reads.load(Relaxed) {
            return Err(io::Error::from_raw_os_error(5));
        }
        self.files.read(file, bytes, at)
    }
}

const LENGTHS: [usize; 3] = [10, 100_000, 700_000];

fn bench(path: &Path, limits: Limits) -> (Bench, Arc<State>) {
    let (files, first) = Directory::open(path, 0).expect("a directory");
    let state = Arc::new(State {
        left: AtomicU64::new(1 << 40),
        ..State::default()
    });
    let faulty = Faulty {
        files,
        state: Arc::clone(&state),
    };
    (Bench::with(limits, Some((Box::new(faulty), first))), state)
}

#[test]
fn a_full_disk_leaves_small_things_in_memory_and_relays_large_ones() {
    let directory = tempfile::tempdir().expect("a directory");
    let (bench, state) = bench(directory.path(), LIMITS);
    // The file system says that there is room, and then there is none: somebody else has been faster.
    let large = body(1, 3 << 20);
    for left in [0, 100, 5000, 70_000, 1 << 20] {
        state.left.store(left, Relaxed);
        bench.put("a.test/small", b"hello");
        bench.settle();
        assert_eq!(bench.get("a.test/small").as_deref(), Some(&b"hello"[..]));
        state.left.store(left, Relaxed);
        let mut filling = bench.filling("a.test/large", Some(large.len() as u64));
        let reader = filling.reader();
        let reads = std::thread::spawn(move || read(reader));
        block(filling.push(&large)).expect("somebody reads");
        assert!(filling.finish(bench.now));
        assert!(reads.join().expect("a body") == Ok(large.clone()), "{left}");
        bench.settle();
        assert_eq!(bench.get("a.test/large"), None);
    }
    assert!(bench.store.stats().unwritten > 0);
    // Once there is room, all is as ever.
    state.left.store(1 << 40, Relaxed);
    bench.put("a.test/large", &large);
    bench.settle();
    assert!(bench.get("a.test/large") == Some(large));
    block(bench.store.purge(super::super::Purge::All));
    bench.audit();
}

#[test]
fn below_the_floor_the_cache_gives_rather_than_takes() {
    let directory = tempfile::tempdir().expect("a directory");
    let (bench, state) = bench(
        directory.path(),
        Limits {
            floor: 1 << 20,
            ..LIMITS
        },
    );
    for number in 0..10 {
        bench.put(&format!("a.test/{number}"), b"hello");
    }
    bench.settle();
    assert_eq!(bench.store.stats().on_disk, 10);
    state.left.store(1 << 19, Relaxed);
    bench.put("a.test/new", b"new");
    bench.settle();
    assert_eq!(bench.store.stats().on_disk, 0);
    assert_eq!(bench.get("a.test/new").as_deref(), Some(&b"new"[..]));
    bench.audit();
}

#[test]
fn calls_that_fail_now_and_then_cost_entries_but_no_byte() {
    for every in [2, 3, 5, 7, 11] {
        let directory = tempfile::tempdir().expect("a directory");
        let (bench, state) = bench(directory.path(), LIMITS);
        for round in 0..40_u64 {
            let len = LENGTHS[round as usize % 3];
            let key = format!("a.test/{}", round % 7);
            let version = body(round, len);
            state.every.store(every, Relaxed);
            let before = bench.get(&key);
            drop(before);
            let mut filling = bench.filling(&key, (round % 2 == 0).then_some(len as u64));
            let reader = filling.reader();
            let reads = std::thread::spawn(move || read(reader));
            if block(filling.push(&version)).is_ok() {
                filling.finish(bench.now);
                // A reader that has to read what cannot be read is cut off.
                let got = reads.join().expect("a body");
                assert!(got.is_err() || got == Ok(version.clone()));
            }
            bench.settle();
            if let Some(got) = bench.get(&key) {
                // The new one, or the old one where the new one could not be stored.
                let mut seeds = (round % 7..=round).step_by(7);
                let known = seeds.any(|seed| got == body(seed, LENGTHS[seed as usize % 3]));
                assert!(known);
            }
            bench.settle();
        }
        state.every.store(0, Relaxed);
        block(bench.store.purge(super::super::Purge::All));
        bench.settle();
        let core = &bench.store.core;
        assert_eq!(core.disk.get().map(|disk| disk.account.used()), Some(0));
        assert_eq!(core.index.memory.used(), base_cost(LIMITS.memory));
    }
}

#[test]
fn a_disk_that_cannot_be_read_is_a_miss() {
    let directory = tempfile::tempdir().expect("a directory");
    let (bench, state) = bench(directory.path(), LIMITS);
    bench.put("a.test/1", &body(1, 1_000_000));
    bench.settle();
    let object = bench.object("a.test/1").expect("a hit");
    state.no_reads.store(true, Relaxed);
    assert!(read(bench.store.reader(&object)).is_err());
    bench.settle();
    assert_eq!(bench.get("a.test/1"), None);
}

#[test]
fn where_nothing_can_be_removed_what_is_there_stays_and_counts() {
    let directory = tempfile::tempdir().expect("a directory");
    let (bench, state) = bench(
        directory.path(),
        Limits {
            disk: 20 * UNIT,
            ..LIMITS
        },
    );
    state.no_removes.store(true, Relaxed);
    for number in 0..40 {
        bench.put(&format!("a.test/{number}"), b"hello");
        bench.settle();
    }
    let stats = bench.store.stats();
    assert_eq!(stats.disk, 20 * UNIT);
    // One entry at most for each that wanted in.
    assert!(stats.unwritten == 20 && stats.counts.of(super::super::Cause::Disk) <= 20);
}
