//! What is stored is found, as it was.

use super::super::{Cause, Found, Quota, Response, Store};
use super::*;

#[test]
fn what_was_stored_is_found_in_memory_without_a_copy() {
    let bench = Bench::new(LIMITS, None);
    bench.put("a.test/1", b"hello");
    let object = bench.object("a.test/1").expect("a hit");
    assert_eq!(object.meta(), &b"notes"[..]);
    assert_eq!(object.head(), &b"HTTP/1.1 200 OK"[..]);
    let (one, two) = (
        object.whole().expect("small"),
        object.whole().expect("small"),
    );
    assert_eq!((&one[..], one.as_ptr()), (&b"hello"[..], two.as_ptr()));
    assert_eq!(bench.get("a.test/2"), None);
    drop((object, one, two));
    bench.audit();
}

#[test]
fn a_hit_in_memory_allocates_nothing() {
    let bench = Bench::new(LIMITS, None);
    bench.put("a.test/1", b"hello");
    drop(bench.object("a.test/1").expect("a hit").whole());
    let allocations = allocation_counter::measure(|| {
        let key = bench.store.key(b"a.test/1", b"a.test", &bench.owner);
        let Found::Memory { object, .. } =
            bench.store.find(&key, bench.now, &mut Request(Vec::new()))
        else {
            panic!("a hit");
        };
        let body = object.whole().expect("small");
        assert_eq!(body.len() + object.head().clone().len(), 20);
    });
    assert_eq!(allocations.count_total, 0);
}

#[test]
fn bodies_of_any_length_come_back_as_they_were() {
    let directory = tempfile::tempdir().expect("a directory");
    let bench = Bench::new(LIMITS, Some(directory.path()));
    let lengths = [
        0,
        1,
        65_535,
        65_536,
        65_537,
        200_000,
        262_144,
        262_145,
        1_000_000,
        3 << 20,
    ];
    for (seed, len) in lengths.into_iter().enumerate() {
        let whole = body(seed as u64, len);
        bench.put(&format!("a.test/{len}"), &whole);
        bench.settle();
        assert!(
            bench.get(&format!("a.test/{len}")) == Some(whole.clone()),
            "{len}"
        );
        let unknown = format!("a.test/u{len}");
        let mut filling = bench.filling(&unknown, None);
        for piece in whole.chunks(10_007) {
            block(filling.push(piece)).expect("it can be stored");
        }
        assert!(filling.finish(bench.now));
        bench.settle();
        assert!(bench.get(&unknown) == Some(whole), "{len} unknown");
    }
    bench.audit();
    let now = bench.now;
    drop(bench);
    let bench = Bench::new(LIMITS, Some(directory.path()));
    assert!(bench.now >= now);
    for (seed, len) in lengths.into_iter().enumerate() {
        assert!(
            bench.get(&format!("a.test/{len}")) == Some(body(seed as u64, len)),
            "{len}"
        );
        assert!(
            bench.get(&format!("a.test/u{len}")) == Some(body(seed as u64, len)),
            "{len}"
        );
    }
    bench.audit();
}

#[test]
fn parts_of_a_body_are_read_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let bench = Bench::new(LIMITS, Some(directory.path()));
    for len in [100_000, 1_000_000] {
        let whole = body(1, len);
        bench.put("a.test/1", &whole);
        bench.settle();
        let object = bench.object("a.test/1").expect("a hit");
        for (from, to) in [
            (0, 1),
            (65_535, 65_537),
            (70_000, 99_999),
            (99_999, 100_000),
        ] {
            let part = read(bench.store.reader(&object).range(from as u64, to as u64));
            assert_eq!(part.as_deref(), Ok(&whole[from..to]));
        }
    }
}

#[test]
fn a_new_version_replaces_the_old_one_which_its_readers_finish() {
    let directory = tempfile::tempdir().expect("a directory");
    let bench = Bench::new(LIMITS, Some(directory.path()));
    for len in [200_000, 1_000_000] {
        bench.put("a.test/1", &body(1, len));
        bench.settle();
        let old = bench.object("a.test/1").expect("a hit");
        let mut reader = bench.store.reader(&old);
        let first = block(reader.next()).expect("bytes").expect("bytes");
        bench.put("a.test/1", &body(2, len));
        bench.settle();
        assert!(bench.get("a.test/1") == Some(body(2, len)));
        let rest = read(reader).expect("the rest");
        assert!([&first[..], &rest].concat() == body(1, len));
        drop((old, first));
        bench.audit();
    }
}

#[test]
fn variants_are_kept_side_by_side_and_told_apart_by_their_bytes() {
    let directory = tempfile::tempdir().expect("a directory");
    let bench = Bench::new(LIMITS, Some(directory.path()));
    let put = |bench: &Bench, variant: &str, text: &[u8]| {
        let vary = Some((&b"accept-language"[..], variant.as_bytes()));
        bench.put_with(
            "a.test/1",
            Response {
                vary,
                ..Response::default()
            },
            text,
        );
    };
    put(&bench, "de", b"Hallo");
    put(&bench, "en", b"Hello");
    bench.settle();
    let check = |bench: &Bench| {
        let text = |variant| {
            bench
                .variant("a.test/1", variant)
                .and_then(|object| object.whole())
        };
        assert_eq!(text("de").as_deref(), Some(&b"Hallo"[..]));
        assert_eq!(text("en").as_deref(), Some(&b"Hello"[..]));
        assert_eq!(text("fr"), None);
        bench.audit();
    };
    check(&bench);
    drop(bench);
    let bench = Bench::new(LIMITS, Some(directory.path()));
    check(&bench);
    for number in 0..100 {
        put(&bench, &number.to_string(), b"many");
    }
    let stats = bench.store.stats();
    assert_eq!((stats.entries, stats.counts.of(Cause::Variants)), (32, 70));
    // A response that does not vary replaces those that do.
    bench.put("a.test/1", b"all");
    assert_eq!(bench.store.stats().entries, 1);
    bench.audit();
}

#[test]
fn a_refresh_changes_notes_and_head_in_both_tiers() {
    let directory = tempfile::tempdir().expect("a directory");
    let bench = Bench::new(LIMITS, Some(directory.path()));
    for (key, len) in [("a.test/1", 1000), ("a.test/2", 1_000_000)] {
        bench.put(key, &body(1, len));
        bench.settle();
        for round in 0..3 {
            let old = bench.object(key).expect("a hit");
            bench.store.mark_stale(key.as_bytes());
            let meta = format!("notes {round}");
            let new = bench
                .fill(key)
                .refresh(&old, meta.as_bytes(), b"new head", bench.now);
            assert_eq!(new.meta(), meta.as_bytes());
            assert_ne!(old.meta(), new.meta());
        }
        bench.settle();
        assert_eq!(bench.object(key).expect("a hit").meta(), &b"notes 2"[..]);
    }
    bench.audit();
    drop(bench);
    let bench = Bench::new(LIMITS, Some(directory.path()));
    for (key, len) in [("a.test/1", 1000), ("a.test/2", 1_000_000)] {
        let object = bench.object(key).expect("a hit");
        assert_eq!(
            (&object.meta()[..], &object.head()[..]),
            (&b"notes 2"[..], &b"new head"[..])
        );
        assert!(bench.get(key) == Some(body(1, len)));
    }
}

#[test]
fn the_newest_of_many_refreshes_is_the_one_on_disk() {
    let directory = tempfile::tempdir().expect("a directory");
    let bench = Bench::new(LIMITS, Some(directory.path()));
    for round in 0..200 {
        let key = format!("a.test/{round}");
        bench.put(&key, b"hello"); // Perhaps not written yet when the refreshes come.
        for meta in [&b"notes 1"[..], b"notes 2", b"notes 3"] {
            let old = bench.object(&key).expect("a hit");
            drop(bench.fill(&key).refresh(&old, meta, b"", bench.now));
        }
    }
    bench.audit();
    drop(bench);
    let bench = Bench::new(LIMITS, Some(directory.path()));
    for round in 0..200 {
        let object = bench.object(&format!("a.test/{round}")).expect("a hit");
        assert_eq!(&object.meta()[..], b"notes 3", "{round}");
    }
}

#[test]
fn a_head_that_outgrows_its_file_is_fetched_again_later() {
    let directory = tempfile::tempdir().expect("a directory");
    let bench = Bench::new(LIMITS, Some(directory.path()));
    bench.put("a.test/1", b"hello");
    bench.settle();
    let old = bench.object("a.test/1").expect("a hit");
    let new = bench
        .fill("a.test/1")
        .refresh(&old, b"", &[b'x'; 1000], bench.now);
    assert_eq!(new.whole().as_deref(), Some(&b"hello"[..]));
    drop((old, new));
    bench.settle();
    assert!(bench.object("a.test/1").is_none());
    bench.audit();
}

#[test]
fn a_stale_mark_survives_a_restart_and_ends_with_a_refresh() {
    let directory = tempfile::tempdir().expect("a directory");
    let stale = |bench: &Bench| {
        let key = bench.store.key(b"a.test/1", b"a.test", &bench.owner);
        match bench.store.find(&key, bench.now, &mut Request::default()) {
            Found::Memory { stale, .. } | Found::Disk { stale, .. } => Some(stale),
            Found::Miss(_) => None,
        }
    };
    let bench = Bench::new(LIMITS, Some(directory.path()));
    bench.put("a.test/1", b"hello");
    assert!(bench.store.mark_stale(b"a.test/1"));
    assert!(!bench.store.mark_stale(b"a.test/2"));
    bench.settle();
    assert_eq!(stale(&bench), Some(true));
    drop(bench);
    let bench = Bench::new(LIMITS, Some(directory.path()));
    assert_eq!(stale(&bench), Some(true));
    let old = bench.object("a.test/1").expect("a hit");
    drop(bench.fill("a.test/1").refresh(&old, b"", b"", bench.now));
    bench.settle();
    assert_eq!(stale(&bench), Some(false));
    drop((old, bench));
    assert_eq!(
        stale(&Bench::new(LIMITS, Some(directory.path()))),
        Some(false)
    );
}

#[test]
fn a_store_opened_as_users_do_keeps_things_over_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let limits = Limits {
        floor: 0,
        ..Limits::default()
    };
    for round in 0..2 {
        let store = Store::open(limits, Some(&directory.path().join("cache"))).expect("threads");
        let owner = store.owner("shop", Quota::default()).expect("an owner");
        let bench = Bench {
            store,
            owner,
            now: Instant::now(),
        };
        while !bench.store.stats().scanned {
            std::thread::yield_now();
        }
        if round == 0 {
            bench.put("a.test/1", b"hello");
            bench.settle();
        }
        assert_eq!(bench.get("a.test/1").as_deref(), Some(&b"hello"[..]));
    }
}

#[test]
fn what_is_allocated_is_charged() {
    for len in [0, 100, 5_000, 65_536, 150_000] {
        let bench = Bench::new(
            Limits {
                memory: 64 << 20,
                ..LIMITS
            },
            None,
        );
        bench.put("a.test/first", b"");
        let before = bench.store.stats().memory;
        let allocated = allocation_counter::measure(|| {
            for number in 0..200 {
                let filling = bench.fill(&format!("a.test/{number}"));
                let tags: &[&[u8]] = &[b"red", b"blue"];
                let head = &[b'x'; 300];
                let response = Response {
                    meta: b"notes",
                    head,
                    tags,
                    vary: Some((b"accept", b"json")),
                    length: None,
                };
                let mut filling = filling.start(&response).expect("it can be stored");
                let piece = vec![7; len];
                block_on_nothing(filling.push(&piece));
                filling.finish(bench.now);
            }
        });
        let charged = (bench.store.stats().memory - before) as i64;
        let allocated = allocated.bytes_current;
        // Not so much more that memory would lie idle, either.
        assert!(
            allocated <= charged,
            "{len}: {allocated} allocated, {charged} charged"
        );
        assert!(
            charged <= allocated + allocated / 4 + 200 * 1000,
            "{len}: {allocated}, {charged}"
        );
    }
}

/// Without a runtime, whose allocations would be counted.
fn block_on_nothing<T>(future: impl Future<Output = T>) {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(std::pin::pin!(future).poll(&mut context).is_ready());
}
