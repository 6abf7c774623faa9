//! What is stored goes when it should, and not before.

use std::time::Duration;

use super::super::{Purge, Quota, Response};
use super::*;

#[test]
fn purges_take_what_they_name_and_nothing_else() {
    let directory = tempfile::tempdir().expect("a directory");
    let bench = Bench::new(LIMITS, Some(directory.path()));
    let other = bench
        .store
        .owner("blog", Quota::default())
        .expect("an owner");
    let keys = ["a.test/1", "a.test/2", "b.test/1", "b.test/2"];
    let fill = || {
        bench.put("a.test/1", b"1");
        let tags: &[&[u8]] = &[b"red", b"blue"];
        bench.put_with(
            "a.test/2",
            Response {
                tags,
                ..Response::default()
            },
            b"2",
        );
        bench.put_with(
            "b.test/1",
            Response {
                tags: &[b"red"],
                ..Response::default()
            },
            b"3",
        );
        let blog = Bench {
            owner: Arc::clone(&other),
            store: bench.store.clone(),
            now: bench.now,
        };
        blog.put("b.test/2", &body(1, 1_000_000));
        bench.settle();
    };
    let left = |bench: &Bench| keys.map(|key| bench.get(key).is_some());
    let cases = [
        (
            Purge::Key(b"a.test/1"[..].into()),
            [false, true, true, true],
        ),
        (
            Purge::Host(b"b.test"[..].into()),
            [true, true, false, false],
        ),
        (Purge::Tag(b"red"[..].into()), [true, false, false, true]),
        (Purge::Tag(b"blue"[..].into()), [true, false, true, true]),
        (Purge::Owner(Arc::clone(&other)), [true, true, true, false]),
        (Purge::All, [false; 4]),
        (Purge::All, [false; 4]),
    ];
    for (purge, expected) in cases {
        if !matches!(purge, Purge::All) || bench.store.stats().entries > 0 {
            fill();
        }
        let gone = expected.iter().filter(|left| !**left).count();
        let before = bench.store.stats().entries;
        assert_eq!(
            block(bench.store.purge(purge.clone())),
            before.min(gone as u64),
            "{purge:?}"
        );
        // It is gone on disk, too.
        assert_eq!(bench.store.stats().on_disk, bench.store.stats().entries);
        assert_eq!(left(&bench), expected, "{purge:?}");
        bench.audit();
    }
}

#[test]
fn an_invalidated_key_is_gone_at_once_and_what_is_fetched_is_not_stored() {
    let directory = tempfile::tempdir().expect("a directory");
    let bench = Bench::new(LIMITS, Some(directory.path()));
    bench.put("a.test/1", b"old");
    for len in [10, 1_000_000] {
        let mut filling = bench.filling("a.test/1", Some(len));
        let reader = filling.reader();
        bench.store.invalidate(b"a.test/1");
        assert_eq!(bench.get("a.test/1"), None);
        let whole = body(1, len as usize);
        block(filling.push(&whole)).expect("there is a reader");
        assert!(filling.finish(bench.now));
        bench.settle();
        assert_eq!(bench.get("a.test/1"), None);
        assert!(read(reader) == Ok(whole));
        bench.audit();
    }
}

#[test]
fn a_refresh_under_way_does_not_take_back_a_mark_that_came_meanwhile() {
    let bench = Bench::new(LIMITS, None);
    bench.put("a.test/1", b"old");
    let old = bench.object("a.test/1").expect("a hit");
    let fill = bench.fill("a.test/1");
    bench.store.mark_stale(b"a.test/1");
    drop(fill.refresh(&old, b"new notes", b"", bench.now));
    let key = bench.store.key(b"a.test/1", b"a.test", &bench.owner);
    let found = bench.store.find(&key, bench.now, &mut Request::default());
    assert!(matches!(found, Found::Memory { stale: true, .. }));
}

#[test]
fn a_quota_holds_at_the_expense_of_its_owner() {
    let directory = tempfile::tempdir().expect("a directory");
    let bench = Bench::new(LIMITS, Some(directory.path()));
    bench.put("a.test/mine", b"mine");
    let quota = Quota {
        max_size: 100_000,
        ..Quota::default()
    };
    let small = bench.store.owner("small", quota).expect("an owner");
    let other = Bench {
        owner: Arc::clone(&small),
        store: bench.store.clone(),
        now: bench.now,
    };
    for number in 0..100 {
        other.put(&format!("b.test/{number}"), &body(number, 5000));
        other.settle();
        let (memory, disk) = small.used();
        assert!(memory <= 100_000 && disk <= 100_000, "{memory} {disk}");
    }
    // Twelve files of two units each, and what they have in memory.
    assert!(
        small.used().0 > 60_000 && small.used().1 == 98_304,
        "{:?}",
        small.used()
    );
    assert_eq!(bench.get("a.test/mine").as_deref(), Some(&b"mine"[..]));
    assert!(
        other
            .fill("b.test/x")
            .start(&Response {
                length: Some(100_001),
                ..Response::default()
            })
            .is_err()
    );
    bench.audit();
    // A smaller one takes effect on what is there.
    bench.store.owner(
        "small",
        Quota {
            max_size: 30_000,
            ..Quota::default()
        },
    );
    bench.store.core.expire(bench.now);
    assert!(small.used().0 <= 30_000 && small.used().1 <= 30_000);
    bench.audit();
}

#[test]
fn what_nobody_asks_for_goes() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut bench = Bench::new(LIMITS, Some(directory.path()));
    bench.put("a.test/1", b"1");
    bench.put("a.test/2", b"2");
    bench.settle();
    bench.now += Duration::from_secs(400);
    assert!(bench.get("a.test/1").is_some());
    bench.now += Duration::from_secs(400);
    bench.store.core.expire(bench.now);
    assert_eq!(bench.get("a.test/2"), None);
    assert!(bench.get("a.test/1").is_some());
    bench.audit();
}

#[test]
fn memory_is_bounded_and_a_crawler_pushes_out_nothing_in_use() {
    for disk in [false, true] {
        let directory = tempfile::tempdir().expect("a directory");
        let bench = Bench::new(LIMITS, disk.then(|| directory.path()));
        let hot: Vec<String> = (0..50)
            .map(|number| format!("a.test/hot{number}"))
            .collect();
        for key in &hot {
            bench.put(key, &body(1, 10_000));
            bench.get(key);
        }
        for number in 0..2000 {
            bench.put(&format!("a.test/{number}"), &body(number, 10_000));
            assert!(bench.store.stats().memory <= LIMITS.memory);
            if number % 100 == 0 {
                bench.settle();
                hot.iter().for_each(|key| drop(bench.get(key)));
            }
        }
        bench.audit();
        let before = bench.store.stats().counts.memory_hits;
        assert!(hot.iter().all(|key| bench.get(key).is_some()));
        assert_eq!(bench.store.stats().counts.memory_hits - before, 50);
        assert!(bench.store.stats().memory > LIMITS.memory * 8 / 10);
    }
}
