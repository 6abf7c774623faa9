//! Limits of endpoints, and the line in front of them.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::line::Queued;
use crate::model::{EndpointSpec, FailLimit, HealthCheck, MaxConns, Via};

/// Endpoints with these limits; 100 may wait.
fn upstream(limits: &[u32]) -> Arc<Upstream> {
    compile(&spec(limits), None)
}

fn compile(spec: &UpstreamSpec, previous: Option<&Upstream>) -> Arc<Upstream> {
    let now = Instant::now();
    Arc::new(Upstream::compile(
        spec,
        previous,
        &Secret::new(&[0; 32]),
        false,
        now,
    ))
}

fn spec(limits: &[u32]) -> UpstreamSpec {
    let endpoints = (0_u8..).zip(limits).map(|(index, limit)| EndpointSpec {
        container_id: index.to_string(),
        container: index.to_string(),
        created: 0,
        ended: 0,
        addr: SocketAddr::from(([10, 0, 0, index + 1], 80)).into(),
        via: Via::Loopback,
        proto: crate::model::Proto::Http,
        tls: None,
        authority: String::new(),
        exposed: Vec::new(),
        weight: 1,
        backup: false,
        fail: FailLimit::default(),
        health: HealthCheck::Docker,
        max_conns: MaxConns {
            count: *limit,
            ..MaxConns::default()
        },
    });
    UpstreamSpec {
        key: UpstreamKey("shop/web".into()),
        endpoints: endpoints.collect(),
        unreachable: Vec::new(),
        awaited: false,
    }
}

fn ask(choice: Choice) -> Ask {
    Ask {
        choice,
        held: None,
        slow_start: Duration::ZERO,
    }
}

/// One more request, of those that did not wait.
fn take(upstream: &Upstream) -> Result<(u16, Busy), NoPlace> {
    take_as(upstream, &ask(Choice::Turn), false)
}

fn take_as(upstream: &Upstream, ask: &Ask, queued: bool) -> Result<(u16, Busy), NoPlace> {
    let taken = upstream.take(ask, &Tried::default(), queued, Instant::now)?;
    Ok((taken.index, taken.busy.unwrap()))
}

fn is_called(queued: &Queued) -> bool {
    let called = queued.poll_called(&mut Context::from_waker(Waker::noop()));
    called.is_ready()
}

#[test]
fn every_policy_passes_over_who_has_no_place() {
    let key = Choice::Key(Key::of(b"client"));
    for choice in [Choice::Turn, Choice::LeastBusy, Choice::Random(7), key] {
        let upstream = upstream(&[2, 1, 0]);
        let ask = ask(choice);
        // The third has no limit, so nobody ever waits.
        let held: Vec<_> = (0..50)
            .map(|_| take_as(&upstream, &ask, false).unwrap())
            .collect();
        let count = |index| held.iter().filter(|(one, _)| *one == index).count();
        assert!(count(0) <= 2 && count(1) <= 1, "{choice:?}");
        drop(held);

        let upstream = self::upstream(&[2, 1]);
        let mut held: Vec<_> = (0..3)
            .map(|_| take_as(&upstream, &ask, false).unwrap())
            .collect();
        assert_eq!(take_as(&upstream, &ask, false).unwrap_err(), NoPlace::Full);
        assert!(upstream.has_no_place(Instant::now()));
        let (index, _) = held.remove(1);
        assert_eq!(
            take_as(&upstream, &ask, false).unwrap().0,
            index,
            "{choice:?}"
        );
    }
}

#[test]
fn a_sticky_client_goes_elsewhere_for_as_long_as_its_replica_is_full() {
    let upstream = upstream(&[1, 1]);
    let home = Ask {
        held: Some(1),
        ..ask(Choice::Turn)
    };
    let none = Tried::default();
    let first = upstream.take(&home, &none, false, Instant::now).unwrap();
    assert_eq!((first.index, first.away), (1, false));
    let second = upstream.take(&home, &none, false, Instant::now).unwrap();
    assert_eq!((second.index, second.away), (0, true));
    drop(first);
    let third = upstream.take(&home, &none, false, Instant::now).unwrap();
    assert_eq!((third.index, third.away), (1, false));
}

#[test]
fn a_backup_takes_what_others_have_no_place_for_and_who_rests_does_not() {
    let mut spec = spec(&[1, 1]);
    spec.endpoints[1].backup = true;
    let upstream = compile(&spec, None);
    let _first = take(&upstream).unwrap();
    assert_eq!(take(&upstream).unwrap().0, 1);

    let upstream = self::upstream(&[1, 1]);
    let now = Instant::now();
    assert!(upstream.endpoints[0].fail(now), "it rests");
    let busy = take(&upstream).unwrap();
    assert_eq!(busy.0, 1);
    // The other one might take it, but that one has failed just now.
    assert_eq!(take(&upstream).unwrap_err(), NoPlace::Full);
    upstream.endpoints[1].fail(now);
    // When all rest, none does.
    assert_eq!(take(&upstream).unwrap().0, 0);
}

#[test]
fn who_came_first_is_called_first_and_nobody_overtakes() {
    let upstream = upstream(&[2]);
    let mut held = vec![take(&upstream).unwrap(), take(&upstream).unwrap()];
    let line: Vec<Queued> = (0..4).map(|_| upstream.queue_up().unwrap()).collect();
    // The first looks once, in case a place became free as it came.
    assert_eq!(line.iter().filter(|one| is_called(one)).count(), 1);
    held.pop();
    assert!(is_called(&line[0]) && !line[1..].iter().any(is_called));
    // There is a place, and somebody on the way to it.
    assert_eq!(take(&upstream).unwrap_err(), NoPlace::Full);
    let mut line = line.into_iter();
    let first = line.next().unwrap();
    held.push(take_as(&upstream, &ask(Choice::Turn), true).unwrap());
    drop(first);
    let line: Vec<Queued> = line.collect();
    assert!(!line.iter().any(is_called));
    held.clear();
    assert!(is_called(&line[0]) && is_called(&line[1]) && !is_called(&line[2]));
    assert_eq!(upstream.queued(), 3);
    drop(line);
    assert_eq!(upstream.queued(), 0);
    assert!(take(&upstream).is_ok());
}

#[test]
fn who_leaves_passes_its_call_on() {
    let upstream = upstream(&[1]);
    let held = take(&upstream).unwrap();
    let [first, second, third] = [(); 3].map(|()| upstream.queue_up().unwrap());
    assert!(is_called(&first));
    drop(held);
    // Called, and gone before it knows.
    drop(first);
    assert!(is_called(&second) && !is_called(&third));
    // One that is not called leaves in silence.
    drop(third);
    assert!(!is_called(&second));
}

#[test]
fn so_many_wait_and_a_swap_of_the_table_changes_nothing() {
    let mut spec = spec(&[1]);
    spec.endpoints[0].max_conns.queue = 2;
    let old = compile(&spec, None);
    let held = take(&old).unwrap();
    let first = old.queue_up().unwrap();
    assert!(is_called(&first));
    // An unrelated label, and a longer line.
    spec.endpoints[0].max_conns.queue = 3;
    let new = compile(&spec, Some(&old));
    assert!(new.is_line_of(&first));
    let _second = new.queue_up().unwrap();
    assert!(old.queue_up().is_none(), "full, by its own table");
    let _third = new.queue_up().unwrap();
    assert!(new.queue_up().is_none());
    assert_eq!(take(&new).unwrap_err(), NoPlace::Full);
    drop(held);
    assert!(is_called(&first));
    // No line at all.
    spec.endpoints[0].max_conns.wait = Duration::ZERO;
    assert!(compile(&spec, Some(&new)).queue_up().is_none());
}

/// What may happen in the life of a line.
#[derive(Debug, Clone)]
enum Event {
    Arrive,
    /// A request ends, of those under way.
    End(usize),
    /// A client leaves, of those in line.
    Leave(usize),
    /// One of those in line looks whether it is called.
    Look(usize),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => Just(Event::Arrive),
        3 => any::<usize>().prop_map(Event::End),
        1 => any::<usize>().prop_map(Event::Leave),
        4 => any::<usize>().prop_map(Event::Look),
    ]
}

proptest! {
    #[test]
    fn a_free_place_has_somebody_under_way_to_it(
        limits in proptest::collection::vec(1_u32..3, 1..4),
        events in proptest::collection::vec(event(), 0..200)
    ) {
        let upstream = upstream(&limits);
        let places: usize = limits.iter().map(|limit| *limit as usize).sum();
        let mut under_way = Vec::new();
        let mut line: Vec<Queued> = Vec::new();
        for event in events {
            match event {
                Event::Arrive => match take(&upstream) {
                    Ok(busy) => {
                        prop_assert!(line.is_empty(), "overtaken");
                        under_way.push(busy);
                    }
                    Err(none) => {
                        prop_assert_eq!(none, NoPlace::Full);
                        line.extend(upstream.queue_up());
                    }
                },
                Event::End(at) if !under_way.is_empty() => {
                    under_way.swap_remove(at % under_way.len());
                }
                Event::Leave(at) if !line.is_empty() => drop(line.remove(at % line.len())),
                Event::Look(at) if !line.is_empty() => {
                    let at = at % line.len();
                    if is_called(&line[at])
                        && let Ok(busy) = take_as(&upstream, &ask(Choice::Turn), true)
                    {
                        under_way.push(busy);
                        line.remove(at);
                    }
                }
                _ => {}
            }
            prop_assert!(under_way.len() <= places);
            prop_assert_eq!(upstream.queued(), line.len());
        }
        // Everybody who waits gets in by calls alone.
        let mut idle = 0;
        while !line.is_empty() {
            let free = places - under_way.len();
            let called: Vec<usize> = (0..line.len()).filter(|at| is_called(&line[*at])).collect();
            prop_assert!(free == 0 || !called.is_empty(), "{free} free, nobody called");
            let mut gone = 0;
            for at in called {
                if let Ok(busy) = take_as(&upstream, &ask(Choice::Turn), true) {
                    under_way.push(busy);
                    line.remove(at - gone);
                    gone += 1;
                }
            }
            if gone == 0 {
                under_way.pop();
            }
            idle += 1;
            prop_assert!(idle < 1000);
        }
        under_way.clear();
        prop_assert!(upstream.endpoints.iter().all(|one| one.under_way() == 0));
    }
}

/// Workers on threads, clients that leave at any moment, and no timer: a call that is lost hangs one.
#[test]
fn no_call_is_lost_and_no_place_leaks_over_threads() {
    const THREADS: u64 = 8;
    const REQUESTS: u64 = 4000;
    let upstream = upstream(&[1, 2]);
    let now_open = [AtomicU32::new(0), AtomicU32::new(0)];
    let (served, waited, left) = (
        AtomicUsize::new(0),
        AtomicUsize::new(0),
        AtomicUsize::new(0),
    );
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let upstream = &upstream;
            let (now_open, served, waited, left) = (&now_open, &served, &waited, &left);
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .build()
                    .unwrap();
                let mut dice = thread + 1;
                for _ in 0..REQUESTS {
                    // xorshift
                    dice ^= dice << 13;
                    dice ^= dice >> 7;
                    dice ^= dice << 17;
                    let mut queued: Option<Queued> = None;
                    let mut patience = dice % 7;
                    let busy = loop {
                        match take_as(upstream, &ask(Choice::Turn), queued.is_some()) {
                            Ok(busy) => break Some(busy),
                            Err(_) if queued.is_none() => queued = upstream.queue_up(),
                            Err(_) => {}
                        }
                        let Some(queued) = &queued else {
                            std::thread::yield_now();
                            continue;
                        };
                        waited.fetch_add(1, Ordering::Relaxed);
                        let stays = runtime.block_on(poll_fn(|cx| {
                            // Some leave, called or not.
                            if dice % 5 == 0 && patience == 0 {
                                return Poll::Ready(false);
                            }
                            patience = patience.saturating_sub(1);
                            if dice % 5 == 0 {
                                cx.waker().wake_by_ref();
                            }
                            queued.poll_called(cx).map(|()| true)
                        }));
                        if !stays {
                            break None;
                        }
                    };
                    drop(queued);
                    let Some((index, busy)) = busy else {
                        left.fetch_add(1, Ordering::Relaxed);
                        continue;
                    };
                    let open = &now_open[usize::from(index)];
                    let limit = [1, 2][usize::from(index)];
                    assert!(open.fetch_add(1, Ordering::SeqCst) < limit);
                    if dice % 3 == 0 {
                        std::thread::yield_now();
                    }
                    open.fetch_sub(1, Ordering::SeqCst);
                    drop(busy);
                    served.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // Whoever hangs would hang the test: say so instead.
        scope.spawn(|| {
            let until = Instant::now() + Duration::from_secs(60);
            let total = (THREADS * REQUESTS) as usize;
            let done = || served.load(Ordering::Relaxed) + left.load(Ordering::Relaxed);
            while done() < total {
                if Instant::now() > until {
                    eprintln!("{} of {total}: a call was lost", done());
                    std::process::abort();
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        });
    });
    assert!(waited.load(Ordering::Relaxed) > 0 && left.load(Ordering::Relaxed) > 0);
    assert_eq!(upstream.queued(), 0);
    assert!(upstream.endpoints.iter().all(|one| one.under_way() == 0));
}
