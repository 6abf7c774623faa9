//! One fetches, all read.

use std::future::poll_fn;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::super::{Followed, Follower, Lost, Miss, Response, Stopped};
use super::*;

fn follow(bench: &Bench, key: &str) -> Follower {
    match begin(bench, key, &Miss::default()) {
        Begin::Follow(follower) => follower,
        other => panic!("somebody asks already: {other:?}"),
    }
}

fn begin(bench: &Bench, key: &str, miss: &Miss) -> Begin {
    let key = bench.store.key(key.as_bytes(), host(key), &bench.owner);
    bench.store.begin(&key, miss, bench.now)
}

fn poll(follower: &mut Follower) -> Poll<Followed> {
    follower.poll(
        &mut Context::from_waker(Waker::noop()),
        &mut Request::default(),
    )
}

fn reader(mut follower: Follower) -> Reader {
    match poll(&mut follower) {
        Poll::Ready(Followed::Reader(reader)) => reader,
        other => panic!("it has begun: {other:?}"),
    }
}

#[test]
fn a_thousand_misses_are_one_fetch_and_get_the_body_as_it_comes() {
    let bench = Bench::new(LIMITS, None);
    let fill = bench.fill("a.test/1");
    let mut followers: Vec<_> = (0..999).map(|_| follow(&bench, "a.test/1")).collect();
    assert!(
        followers
            .iter_mut()
            .all(|follower| poll(follower).is_pending())
    );
    let mut filling = fill.start(&Response::default()).expect("it can be stored");
    let mut readers: Vec<_> = followers.into_iter().map(reader).collect();
    block(filling.push(b"first ")).expect("it can be stored");
    for reader in &mut readers {
        assert_eq!(
            block(reader.next()),
            Some(Ok(Bytes::from_static(b"first ")))
        );
    }
    // Who comes now gets it from the beginning.
    readers.push(reader(follow(&bench, "a.test/1")).range(6, u64::MAX));
    block(filling.push(b"second")).expect("it can be stored");
    assert!(filling.finish(bench.now));
    for reader in readers {
        assert_eq!(read(reader).as_deref(), Ok(&b"second"[..]));
    }
    assert_eq!(bench.get("a.test/1").as_deref(), Some(&b"first second"[..]));
    bench.audit();
}

#[test]
fn those_who_wait_are_woken_by_the_head_and_by_each_piece() {
    let bench = Bench::new(LIMITS, None);
    let fill = bench.fill("a.test/1");
    let (store, owner, now) = (bench.store.clone(), Arc::clone(&bench.owner), bench.now);
    let reads = std::thread::spawn(move || {
        let bench = Bench { store, owner, now };
        let mut follower = follow(&bench, "a.test/1");
        match block(follower.wait(&mut Request::default())) {
            Followed::Reader(reader) => read(reader),
            other => panic!("a body comes: {other:?}"),
        }
    });
    let mut filling = fill.start(&Response::default()).expect("it can be stored");
    for piece in body(1, 500_000).chunks(1000) {
        block(filling.push(piece)).unwrap_or(());
    }
    // Without a disk it is a relay now, unless nobody has come yet.
    filling.finish(bench.now);
    let _ = reads.join();
}

#[test]
fn if_the_leader_fails_one_follower_takes_over() {
    let bench = Bench::new(LIMITS, None);
    let fill = bench.fill("a.test/1");
    let mut followers: Vec<_> = (0..3).map(|_| follow(&bench, "a.test/1")).collect();
    assert!(
        followers
            .iter_mut()
            .all(|follower| poll(follower).is_pending())
    );
    drop(fill);
    let Poll::Ready(Followed::Lead(fill)) = poll(&mut followers[1]) else {
        panic!("one leads");
    };
    assert!(poll(&mut followers[0]).is_pending());
    // And if the one that was called goes away, too, it is the next one's turn.
    drop(fill);
    followers.remove(0);
    let Poll::Ready(Followed::Lead(fill)) = poll(&mut followers[1]) else {
        panic!("one leads");
    };
    drop((fill, followers));
    assert!(matches!(
        begin(&bench, "a.test/1", &Miss::default()),
        Begin::Lead(_)
    ));
    assert_eq!(bench.store.stats().fills, 0);
    bench.audit();
}

#[test]
fn a_call_to_take_over_reaches_somebody_who_sleeps() {
    let bench = Bench::new(LIMITS, None);
    let fill = bench.fill("a.test/1");
    let (called, slept) = (Arc::new(Woken::default()), Arc::new(Woken::default()));
    let (one, two) = (
        Waker::from(Arc::clone(&called)),
        Waker::from(Arc::clone(&slept)),
    );
    let (mut first, mut second) = (follow(&bench, "a.test/1"), follow(&bench, "a.test/1"));
    let request = &mut Request::default();
    assert!(
        first
            .poll(&mut Context::from_waker(&one), request)
            .is_pending()
    );
    assert!(
        second
            .poll(&mut Context::from_waker(&two), request)
            .is_pending()
    );
    drop(fill);
    assert_eq!((called.count(), slept.count()), (1, 0));
    drop(first);
    assert_eq!((called.count(), slept.count()), (1, 1));
    assert!(matches!(poll(&mut second), Poll::Ready(Followed::Lead(_))));
}

#[derive(Default)]
struct Woken(std::sync::atomic::AtomicUsize);

impl Woken {
    fn count(&self) -> usize {
        self.0.load(std::sync::atomic::Ordering::SeqCst)
    }
}

impl std::task::Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    }
}

#[test]
fn what_is_not_storable_releases_all_and_is_not_waited_for_again_for_a_while() {
    let mut bench = Bench::new(LIMITS, None);
    let fill = bench.fill("a.test/1");
    let mut follower = follow(&bench, "a.test/1");
    assert!(poll(&mut follower).is_pending());
    fill.refuse(bench.now);
    assert!(matches!(
        poll(&mut follower),
        Poll::Ready(Followed::Released)
    ));
    assert!(matches!(
        begin(&bench, "a.test/1", &Miss::default()),
        Begin::Pass
    ));
    bench.now += Duration::from_secs(11);
    assert!(matches!(
        begin(&bench, "a.test/1", &Miss::default()),
        Begin::Lead(_)
    ));
}

#[test]
fn a_leader_without_an_answer_is_not_waited_for_longer_than_the_lock_age() {
    let mut bench = Bench::new(LIMITS, None);
    let late = bench.fill("a.test/1");
    let mut waiting = follow(&bench, "a.test/1");
    bench.now += Duration::from_secs(7);
    let fill = bench.fill("a.test/1");
    drop(follow(&bench, "a.test/1"));
    let mut filling = fill.start(&Response::default()).expect("it can be stored");
    block(filling.push(b"new")).expect("it can be stored");
    assert!(filling.finish(bench.now));
    // The late one answers those who have waited for it, but is not stored.
    let mut filling = late.start(&Response::default()).expect("it can be stored");
    let Poll::Ready(Followed::Reader(reader)) = poll(&mut waiting) else {
        panic!("a body comes");
    };
    block(filling.push(b"old")).expect("somebody reads");
    assert!(filling.finish(bench.now));
    assert_eq!(read(reader).as_deref(), Ok(&b"old"[..]));
    assert_eq!(bench.get("a.test/1").as_deref(), Some(&b"new"[..]));
    drop(waiting);
    bench.audit();
}

#[test]
fn between_a_lookup_and_a_fetch_nothing_is_missed() {
    let bench = Bench::new(LIMITS, None);
    bench.put("a.test/1", b"1");
    assert!(matches!(
        begin(&bench, "a.test/1", &Miss::default()),
        Begin::Again
    ));
    let seen = bench.object("a.test/1").expect("a hit").miss();
    assert!(matches!(begin(&bench, "a.test/1", &seen), Begin::Lead(_)));
}

#[test]
fn a_follower_of_another_variant_is_told_so() {
    let bench = Bench::new(LIMITS, None);
    let fill = bench.fill("a.test/1");
    let mut follower = follow(&bench, "a.test/1");
    let response = Response {
        vary: Some((b"accept", b"json")),
        ..Response::default()
    };
    let filling = fill.start(&response).expect("it can be stored");
    let Poll::Ready(Followed::Other(miss)) = poll(&mut follower) else {
        panic!("it is for json only");
    };
    assert!(matches!(begin(&bench, "a.test/1", &miss), Begin::Lead(_)));
    let waiting = begin(&bench, "a.test/1", &Miss::default());
    let Begin::Follow(mut same) = waiting else {
        panic!("somebody asks already");
    };
    let json = &mut Request(b"json".into());
    let polled = same.poll(&mut Context::from_waker(Waker::noop()), json);
    assert!(matches!(polled, Poll::Ready(Followed::Reader(_))));
    drop(filling);
}

#[test]
fn a_body_that_ends_too_early_is_not_stored_and_cuts_its_readers_off() {
    let directory = tempfile::tempdir().expect("a directory");
    let bench = Bench::new(LIMITS, Some(directory.path()));
    for len in [1000, 2_000_000] {
        let mut filling = bench.filling("a.test/1", Some(len));
        let (one, two) = (filling.reader(), reader(follow(&bench, "a.test/1")));
        block(filling.push(&body(1, len as usize / 2))).expect("it can be stored");
        drop(filling);
        assert_eq!(read(one), Err(Lost));
        let mut filling = bench.filling("a.test/1", Some(len));
        block(filling.push(&body(1, len as usize / 2))).expect("it can be stored");
        assert!(!filling.finish(bench.now), "it is shorter than it has said");
        assert_eq!(read(two), Err(Lost));
        bench.settle();
        assert_eq!(bench.get("a.test/1"), None);
        bench.audit();
    }
}

#[test]
fn a_reader_that_stands_still_holds_nobody_up_and_reads_from_the_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let bench = Bench::new(LIMITS, Some(directory.path()));
    let whole = body(1, 8 << 20);
    for length in [Some(whole.len() as u64), None] {
        let mut filling = bench.filling("a.test/1", length);
        let slow = filling.reader();
        let fast = reader(follow(&bench, "a.test/1"));
        let reads = std::thread::spawn(move || read(fast));
        for piece in whole.chunks(100_000) {
            block(filling.push(piece)).expect("it can be stored");
            assert!(bench.store.stats().memory <= LIMITS.memory);
        }
        assert!(filling.finish(bench.now));
        assert!(reads.join().expect("a body") == Ok(whole.clone()));
        bench.settle();
        assert!(bench.get("a.test/1") == Some(whole.clone()));
        // It may be purged meanwhile, too.
        bench.store.invalidate(b"a.test/1");
        bench.settle();
        assert!(read(slow) == Ok(whole.clone()));
        bench.audit();
    }
}

#[test]
fn without_a_disk_what_is_too_long_is_refused_or_relayed() {
    let bench = Bench::new(LIMITS, None);
    let fill = bench.fill("a.test/1");
    let mut follower = follow(&bench, "a.test/1");
    let length = Some(LIMITS.object + 1);
    assert!(
        fill.start(&Response {
            length,
            ..Response::default()
        })
        .is_err()
    );
    assert!(matches!(
        poll(&mut follower),
        Poll::Ready(Followed::Released)
    ));
    drop(follower);
    // Of unknown length: its readers get it at the pace of the slowest, and nobody joins.
    let whole = body(1, 4 << 20);
    let mut filling = bench.filling("a.test/1", None);
    let mut slow = filling.reader();
    let fast = reader(follow(&bench, "a.test/1"));
    let reads = std::thread::spawn(move || read(fast));
    let (mut sent, mut got) = (0, Vec::new());
    while sent < whole.len() {
        let pushed = filling.poll_push(&mut Context::from_waker(Waker::noop()), &whole[sent..]);
        match pushed {
            Poll::Ready(taken) => sent += taken.expect("there are readers"),
            Poll::Pending => match slow.poll_next(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(more) => got.extend_from_slice(&more.expect("more").expect("more")),
                Poll::Pending => std::thread::yield_now(), // The other one is behind.
            },
        }
        assert!(bench.store.stats().memory <= LIMITS.memory);
    }
    assert!(sent - got.len() <= 2 << 20);
    assert!(filling.finish(bench.now));
    assert!(reads.join().expect("a body") == Ok(whole.clone()));
    got.extend(read(slow).expect("the rest"));
    assert!(got == whole);
    assert_eq!(bench.get("a.test/1"), None);
    bench.audit();
}

#[test]
fn a_relay_that_nobody_reads_stops() {
    let bench = Bench::new(LIMITS, None);
    let mut filling = bench.filling("a.test/1", None);
    let slow = filling.reader();
    let (store, owner, now) = (bench.store.clone(), Arc::clone(&bench.owner), bench.now);
    let pushes = std::thread::spawn(move || {
        let bench = Bench { store, owner, now };
        let whole = body(1, 8 << 20);
        let pushed = block(filling.push(&whole));
        drop((filling, bench));
        pushed
    });
    // It waits for the only reader, and learns that there is none any more.
    block(poll_fn(|cx| {
        cx.waker().wake_by_ref();
        if bench.store.stats().transit > 0 {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }));
    drop(slow);
    assert_eq!(pushes.join().expect("it ends"), Err(Stopped));
    bench.audit();
}
