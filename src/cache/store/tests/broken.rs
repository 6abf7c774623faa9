//! Files that are not what was written: never a wrong byte, only misses.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::super::{Purge, Quota, Response};
use super::*;

fn only_file(root: &Path) -> PathBuf {
    let mut files = all_files(root);
    assert_eq!(files.len(), 1);
    files.remove(0)
}

fn all_files(root: &Path) -> Vec<PathBuf> {
    let dirs = fs::read_dir(root)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").path());
    let dirs = dirs.filter(|path| path.is_dir());
    let files = dirs.flat_map(|dir| fs::read_dir(dir).expect("a bucket"));
    files.map(|entry| entry.expect("an entry").path()).collect()
}

/// What may happen to a file.
#[derive(Clone, Debug)]
enum Harm {
    Truncate(f64),
    Zero(f64, usize),
    Flip(f64, u8),
    Append(usize),
    Swap,
}

fn harm() -> impl Strategy<Value = Harm> {
    prop_oneof![
        (0.0..1.0).prop_map(Harm::Truncate),
        ((0.0..1.0), 1..5000_usize).prop_map(|(at, len)| Harm::Zero(at, len)),
        ((0.0..1.0), 0..8_u8).prop_map(|(at, bit)| Harm::Flip(at, bit)),
        (1..10_usize).prop_map(Harm::Append),
        Just(Harm::Swap),
    ]
}

/// Says whether it has changed anything.
fn apply(harm: &Harm, path: &Path) -> bool {
    let mut before = Vec::new();
    let mut file = File::options()
        .read(true)
        .write(true)
        .open(path)
        .expect("a file");
    file.read_to_end(&mut before).expect("a file");
    let at = |part: f64| (part * before.len() as f64) as usize;
    let mut after = before.clone();
    match *harm {
        Harm::Truncate(part) => after.truncate(at(part)),
        Harm::Zero(part, len) => {
            let end = (at(part) + len).min(after.len());
            after[at(part)..end].fill(0);
        }
        Harm::Flip(part, bit) => after[at(part)] ^= 1 << bit,
        Harm::Append(len) => after.extend(vec![0; len]),
        Harm::Swap => after.rotate_left(4096 % before.len()),
    }
    file.seek(SeekFrom::Start(0)).expect("a file");
    file.write_all(&after).expect("a file");
    file.set_len(after.len() as u64).expect("a file");
    after != before
}

/// With a crash between: found again, or found while running.
#[test]
fn damage_anywhere_is_a_miss_or_harmless_but_never_other_bytes() {
    let config = ProptestConfig {
        cases: 100,
        ..ProptestConfig::default()
    };
    let lengths = prop_oneof![Just(0_usize), Just(3000), Just(150_000), Just(600_000)];
    let cases = (lengths, harm(), any::<bool>());
    let run = TestRunner::new(config).run(&cases, |(len, harm, restart)| {
        let directory = tempfile::tempdir().expect("a directory");
        let whole = body(7, len);
        let mut bench = Bench::new(LIMITS, Some(directory.path()));
        bench.put("a.test/1", &whole);
        bench.settle();
        if !restart {
            while bench
                .store
                .core
                .index
                .evict_memory(&bench.owner, &mut Default::default())
            {}
        }
        apply(&harm, &only_file(directory.path()));
        if restart {
            drop(bench);
            bench = Bench::new(LIMITS, Some(directory.path()));
        }
        if let Some(object) = bench.object("a.test/1") {
            prop_assert_eq!(&object.meta()[..], b"notes");
            prop_assert_eq!(&object.head()[..], b"HTTP/1.1 200 OK");
            // What is read before the damage is right, too.
            let mut reader = bench.store.reader(&object);
            let mut got = Vec::new();
            let mut lost = false;
            while let Some(bytes) = block(reader.next()) {
                match bytes {
                    Ok(bytes) => got.extend_from_slice(&bytes),
                    Err(_) => {
                        lost = true;
                        break;
                    }
                }
            }
            prop_assert!(whole.starts_with(&got));
            prop_assert!(lost || got == whole);
            if lost {
                bench.settle();
                prop_assert!(
                    bench.object("a.test/1").is_none(),
                    "it is gone once it is known"
                );
            }
        }
        // And the next one takes its place.
        bench.settle();
        bench.put("a.test/1", b"new");
        bench.settle();
        prop_assert_eq!(bench.get("a.test/1"), Some(b"new".to_vec()));
        Ok(())
    });
    run.expect("no wrong byte");
}

#[test]
fn a_refresh_that_a_crash_has_torn_leaves_what_was_before() {
    let directory = tempfile::tempdir().expect("a directory");
    let bench = Bench::new(LIMITS, Some(directory.path()));
    bench.put("a.test/1", b"hello");
    bench.settle();
    let old = bench.object("a.test/1").expect("a hit");
    drop(
        bench
            .fill("a.test/1")
            .refresh(&old, b"later", b"HTTP/1.1 200 OK", bench.now),
    );
    bench.settle();
    let path = only_file(directory.path());
    let mut bytes = fs::read(&path).expect("a file");
    let at = bytes
        .windows(5)
        .position(|five| five == b"later")
        .expect("the new notes");
    bytes[at] = b'L';
    fs::write(&path, bytes).expect("a file");
    let bench = {
        drop((old, bench));
        Bench::new(LIMITS, Some(directory.path()))
    };
    assert_eq!(
        bench.object("a.test/1").expect("a hit").meta(),
        &b"notes"[..]
    );
}

#[test]
fn what_a_crash_leaves_unfinished_is_cleared_away() {
    let directory = tempfile::tempdir().expect("a directory");
    let bench = Bench::new(LIMITS, Some(directory.path()));
    let mut filling = bench.filling("a.test/1", Some(2_000_000));
    block(filling.push(&body(1, 1_000_000))).expect("it can be stored");
    bench.settle();
    let unfinished = only_file(directory.path());
    let left = fs::read(&unfinished).expect("a file");
    drop(filling);
    bench.settle();
    drop(bench);
    assert!(!unfinished.exists());
    for left in [&left[..], &left[..100], &[]] {
        fs::write(&unfinished, left).expect("a file");
        let bench = Bench::new(LIMITS, Some(directory.path()));
        assert!(!unfinished.exists());
        bench.audit();
    }
    // Not so what only has the name of one.
    fs::write(&unfinished, b"letters").expect("a file");
    Bench::new(LIMITS, Some(directory.path())).audit_misses();
    assert!(unfinished.exists());
}

impl Bench {
    fn audit_misses(&self) {
        assert_eq!(self.store.stats().entries, 0);
    }
}

#[test]
fn what_is_not_ours_is_told_and_stays() {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path();
    fs::create_dir(root.join("005")).expect("a bucket");
    fs::create_dir(root.join("photos")).expect("a directory");
    let theirs = [
        "photos/cat.jpg",
        "letter.txt",
        "005/notes",
        "005/0000000000000005.wc",
    ];
    for name in theirs {
        fs::write(root.join(name), b"dear diary").expect("a file");
    }
    // Links where our files and buckets would be, to a file that looks like ours.
    let elsewhere = tempfile::tempdir().expect("a directory");
    let other = Bench::new(LIMITS, Some(elsewhere.path()));
    other.put("a.test/1", b"theirs");
    other.settle();
    drop(other);
    let file = only_file(elsewhere.path());
    let bucket = file.parent().expect("a bucket");
    symlink(bucket, root.join("001")).expect("a link");
    symlink(&file, root.join("005/0000000000001005.wc")).expect("a link");
    fs::hard_link(&file, root.join("005/0000000000002005.wc")).expect("a link");
    let bench = Bench::new(LIMITS, Some(root));
    assert_eq!(bench.store.stats().entries, 0);
    assert!(bench.store.stats().faults > 0);
    bench.put("a.test/1", b"ours");
    assert_eq!(block(bench.store.purge(Purge::All)), 1);
    for name in theirs {
        assert_eq!(fs::read(root.join(name)).expect("it stays"), b"dear diary");
    }
    assert!(file.exists());
    assert!(root.join("005/0000000000001005.wc").is_symlink());
}

#[test]
fn files_are_for_us_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let bench = Bench::new(LIMITS, Some(directory.path()));
    bench.put("a.test/1", b"hello");
    bench.settle();
    let file = only_file(directory.path());
    let mode = |path: &Path| {
        fs::metadata(path)
            .expect("it is there")
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(mode(&file), 0o600);
    assert_eq!(mode(file.parent().expect("a bucket")), 0o700);
    assert_eq!(mode(&directory.path().join(".lock")), 0o600);
    assert_eq!(fs::metadata(&file).expect("it is there").nlink(), 1);
}

#[test]
fn two_processes_do_not_share_a_directory() {
    let directory = tempfile::tempdir().expect("a directory");
    let first = Bench::new(LIMITS, Some(directory.path()));
    let taken = Directory::open(directory.path(), 0).expect_err("it is taken");
    assert_eq!(taken.kind(), std::io::ErrorKind::WouldBlock);
    drop(first);
    assert!(Directory::open(directory.path(), 0).is_ok());
}

#[test]
fn ids_grow_though_the_clock_is_set_back_or_the_lock_file_is_lost() {
    let directory = tempfile::tempdir().expect("a directory");
    let first = |minutes| {
        Directory::open(directory.path(), minutes)
            .expect("a directory")
            .1
    };
    let one = first(100);
    let two = first(50);
    assert!(two > one);
    fs::remove_file(directory.path().join(".lock")).expect("a file");
    assert!(first(200) > two);
}

#[test]
fn of_two_versions_that_a_crash_has_left_the_newer_one_counts() {
    let directory = tempfile::tempdir().expect("a directory");
    let put = |text: &[u8]| {
        let bench = Bench::new(LIMITS, Some(directory.path()));
        bench.put("a.test/1", text);
        bench.settle();
        drop(bench);
        only_file(directory.path())
    };
    let old = put(b"old");
    let bytes = fs::read(&old).expect("a file");
    let new = put(b"new");
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&old)
        .expect("it was gone")
        .write_all(&bytes)
        .expect("a file");
    let bench = Bench::new(LIMITS, Some(directory.path()));
    assert_eq!(bench.get("a.test/1").as_deref(), Some(&b"new"[..]));
    assert!(!old.exists() && new.exists());
    bench.audit();
}

#[test]
fn a_purge_reaches_what_is_not_looked_through_yet() {
    let directory = tempfile::tempdir().expect("a directory");
    let bench = Bench::new(LIMITS, Some(directory.path()));
    bench.put("a.test/1", b"1");
    bench.put("b.test/1", b"2");
    bench.put_with(
        "b.test/2",
        Response {
            tags: &[b"red"],
            ..Response::default()
        },
        b"3",
    );
    bench.put("b.test/3", b"4");
    bench.settle();
    drop(bench);
    let core = Arc::new(Core::new(LIMITS, 1));
    let (files, first) = Directory::open(directory.path(), 0).expect("a directory");
    core.join(Box::new(files), first);
    let store = Store { core };
    let owner = store.owner("shop", Quota::default()).expect("an owner");
    let bench = Bench {
        store,
        owner,
        now: Instant::now(),
    };
    block(bench.store.purge(Purge::Host(b"a.test"[..].into())));
    block(bench.store.purge(Purge::Tag(b"red"[..].into())));
    bench.store.invalidate(b"b.test/3");
    bench.store.core.scan(false);
    let left = ["a.test/1", "b.test/1", "b.test/2", "b.test/3"].map(|key| bench.get(key).is_some());
    assert_eq!(left, [false, true, false, false]);
    bench.audit();
}

#[test]
fn a_directory_that_holds_more_than_may_be_is_cut_down() {
    let directory = tempfile::tempdir().expect("a directory");
    let bench = Bench::new(LIMITS, Some(directory.path()));
    for number in 0..100 {
        bench.put(&format!("a.test/{number}"), b"hello");
    }
    bench.settle();
    drop(bench);
    let bench = Bench::new(
        Limits {
            disk: 40 * UNIT,
            ..LIMITS
        },
        Some(directory.path()),
    );
    assert_eq!(bench.store.stats().entries, 40);
    bench.audit();
}
