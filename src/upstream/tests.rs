//! Who is picked, and what a compile carries over.

mod checks;

use std::net::SocketAddr;
use std::time::Duration;

use super::*;
use crate::model::{ActiveCheck, EndpointSpec, FailLimit, HealthAsk, HealthCheck, MaxConns, Via};

fn compile(spec: &UpstreamSpec, previous: Option<&Upstream>) -> Upstream {
    compile_at(spec, previous, Instant::now())
}

fn compile_at(spec: &UpstreamSpec, previous: Option<&Upstream>, now: Instant) -> Upstream {
    let later = previous.is_some();
    Upstream::compile(spec, previous, &Secret::new(&[0; 32]), later, now)
}

fn pick(upstream: &Upstream, choice: Choice, tried: &Tried) -> Option<u16> {
    let ask = ask(choice);
    upstream
        .pick(&ask, tried, Instant::now)
        .map(|(index, _)| index)
}

fn ask(choice: Choice) -> Ask {
    Ask {
        choice,
        held: None,
        slow_start: Duration::ZERO,
    }
}

fn spec(endpoints: &[(&str, u16)]) -> UpstreamSpec {
    UpstreamSpec {
        key: UpstreamKey("shop/web".into()),
        endpoints: endpoints
            .iter()
            .enumerate()
            .map(|(i, (id, weight))| EndpointSpec {
                container_id: (*id).into(),
                container: (*id).into(),
                created: 0,
                ended: 0,
                addr: SocketAddr::from(([10, 0, 0, i as u8 + 1], 80)).into(),
                via: Via::Loopback,
                proto: crate::model::Proto::Http,
                tls: None,
                authority: String::new(),
                exposed: Vec::new(),
                weight: *weight,
                backup: false,
                fail: FailLimit::default(),
                health: HealthCheck::Docker,
                max_conns: MaxConns::default(),
            })
            .collect(),
        unreachable: Vec::new(),
        awaited: false,
    }
}

#[test]
fn weights_are_exact_over_a_cycle() {
    let upstream = compile(&spec(&[("a", 5), ("b", 1), ("c", 0)]), None);
    let mut counts = [0; 3];
    for _ in 0..600 {
        counts[usize::from(pick(&upstream, Choice::Turn, &Tried::default()).unwrap())] += 1;
    }
    assert_eq!(counts, [500, 100, 0]);
}

#[test]
fn tried_endpoints_are_skipped_until_none_is_left() {
    let upstream = compile(&spec(&[("a", 1), ("b", 1)]), None);
    let mut tried = Tried::default();
    let (first, _) = upstream
        .pick(&ask(Choice::Turn), &tried, Instant::now)
        .unwrap();
    tried.add(first);
    let (second, _) = upstream
        .pick(&ask(Choice::Turn), &tried, Instant::now)
        .unwrap();
    assert_ne!(first, second);
    tried.add(second);
    assert!(pick(&upstream, Choice::Turn, &tried).is_none());
}

#[test]
fn live_halves_survive_a_compile_of_the_same_container_only() {
    let old = compile(&spec(&[("a", 1), ("b", 1)]), None);
    let new = compile(&spec(&[("a", 3), ("x", 1)]), Some(&old));
    assert_eq!(old.endpoints[0].live.id, new.endpoints[0].live.id);
    assert_ne!(old.endpoints[1].live.id, new.endpoints[1].live.id);
}

#[test]
fn weight_zero_everywhere_takes_nothing() {
    let upstream = compile(&spec(&[("a", 0)]), None);
    for choice in [
        Choice::Turn,
        Choice::LeastBusy,
        Choice::Random(7),
        Choice::Key(Key::of(b"x")),
    ] {
        assert!(pick(&upstream, choice, &Tried::default()).is_none());
    }
}

#[test]
fn what_is_under_way_and_whose_turn_it_is_survive_a_compile() {
    let old = compile(&spec(&[("a", 1), ("b", 1)]), None);
    let none = Tried::default();
    let (first, endpoint) = old
        .pick(&ask(Choice::LeastBusy), &none, Instant::now)
        .unwrap();
    let busy = endpoint.busy().unwrap();
    // An unrelated label changed.
    let new = compile(&spec(&[("a", 1), ("b", 1)]), Some(&old));
    assert_ne!(pick(&new, Choice::Turn, &none).unwrap(), first);
    for _ in 0..5 {
        assert_ne!(pick(&new, Choice::LeastBusy, &none).unwrap(), first);
    }
    drop(busy);
    assert_eq!(new.endpoints[usize::from(first)].load().busy, 0);
}

#[test]
fn a_key_moves_only_while_its_endpoint_is_tried() {
    let upstream = compile(&spec(&[("a", 1), ("b", 1), ("c", 1)]), None);
    let choice = Choice::Key(Key::of(b"client"));
    let mut tried = Tried::default();
    let (first, _) = upstream.pick(&ask(choice), &tried, Instant::now).unwrap();
    tried.add(first);
    assert_ne!(pick(&upstream, choice, &tried).unwrap(), first);
    assert_eq!(pick(&upstream, choice, &Tried::default()).unwrap(), first);
    // The container's address is not part of it.
    let moved = spec(&[("x", 1), ("a", 1), ("b", 1), ("c", 1)]);
    let moved = compile(&moved, Some(&upstream));
    let (again, endpoint) = moved
        .pick(&ask(choice), &Tried::default(), Instant::now)
        .unwrap();
    let before = &upstream.endpoints[usize::from(first)].container_id;
    assert!(again == 0 || endpoint.container_id == *before);
}

#[test]
fn a_client_stays_unless_its_endpoint_rests_and_another_does_not() {
    let none = Tried::default();
    let held = |upstream: &Upstream, tried: &Tried| {
        let token = compile(&spec(&[("a", 1)]), None).endpoints[0]
            .live
            .token
            .clone();
        let holder = upstream.holder(token.as_bytes());
        upstream
            .pick(
                &Ask {
                    held: holder,
                    ..ask(Choice::Turn)
                },
                tried,
                Instant::now,
            )
            .map(|(i, _)| i)
    };
    for (weights, expected) in [([5, 1], 0), ([1, 5], 0), ([0, 1], 1), ([0, 0], 0)] {
        let upstream = compile(&spec(&[("a", weights[0]), ("b", weights[1])]), None);
        for _ in 0..4 {
            assert_eq!(held(&upstream, &none), Some(expected), "{weights:?}");
        }
    }
    let upstream = compile(&spec(&[("a", 1), ("b", 1)]), None);
    let mut tried = Tried::default();
    tried.add(0);
    assert_eq!(held(&upstream, &tried), Some(1));
    tried.add(1);
    assert_eq!(held(&upstream, &tried), None);
    assert_eq!(upstream.holder(b""), None);
}

#[test]
fn a_new_endpoint_gets_its_share_by_and_by() {
    let start = Instant::now();
    let slow_start = Duration::from_secs(30);
    let old = compile_at(&spec(&[("a", 1), ("b", 1)]), None, start);
    // Those that were there first are warm, and stay so.
    let new = compile_at(&spec(&[("a", 1), ("b", 1), ("c", 1)]), Some(&old), start);
    let new = compile_at(&spec(&[("a", 1), ("b", 1), ("c", 1)]), Some(&new), start);
    assert!(new.endpoints[2].listens(start));
    for (seconds, warmth) in [(0, 0.01), (6, 0.2), (15, 0.5), (27, 0.9), (30, 1.0)] {
        let now = || start + Duration::from_secs(seconds);
        let exact = 10_000.0 * warmth / (2.0 + warmth);
        let counts = |choice: &dyn Fn(u64) -> Choice| {
            let mut counts = [0_i32; 3];
            for n in 0..10_000 {
                let ask = Ask {
                    slow_start,
                    ..ask(choice(n))
                };
                let (index, _) = new.pick(&ask, &Tried::default(), now).unwrap();
                counts[usize::from(index)] += 1;
            }
            counts
        };
        let turn = counts(&|_| Choice::Turn);
        let key = counts(&|n| Choice::Key(Key::of(&n.to_be_bytes())));
        for counts in [turn, key] {
            let off = f64::from(counts[2]) - exact;
            assert!(off.abs() < 200.0, "{seconds} s: {counts:?}");
        }
        // What it does not get yet is shared evenly.
        assert!((turn[0] - turn[1]).abs() <= 2, "{turn:?}");
    }
    // Cold is better than nothing.
    let mut tried = Tried::default();
    tried.add(0);
    tried.add(1);
    let ask = Ask {
        slow_start,
        ..ask(Choice::Turn)
    };
    assert_eq!(new.pick(&ask, &tried, || start).unwrap().0, 2);
}

/// Who gets ten requests, `seconds` after the start.
fn ten(upstream: &Upstream, start: Instant, seconds: u64) -> [u32; 3] {
    let now = || start + Duration::from_secs(seconds);
    let mut counts = [0; 3];
    for _ in 0..10 {
        let picked = upstream.pick(&ask(Choice::Turn), &Tried::default(), now);
        counts[usize::from(picked.unwrap().0)] += 1;
    }
    counts
}

#[test]
fn an_endpoint_that_fails_rests_unless_it_is_the_last() {
    let start = Instant::now();
    let spec = spec(&[("a", 1), ("b", 1)]);
    let upstream = compile_at(&spec, None, start);
    assert!(upstream.endpoints[0].fail(start));
    // A table swap forgets nothing.
    let upstream = compile_at(&spec, Some(&upstream), start);
    assert_eq!(ten(&upstream, start, 5), [0, 10, 0]);
    // Its time is over: one request finds out.
    assert_eq!(ten(&upstream, start, 11), [1, 9, 0]);
    assert!(upstream.endpoints[0].succeed());
    assert_eq!(ten(&upstream, start, 11), [5, 5, 0]);
    let failed = start + Duration::from_secs(20);
    upstream
        .endpoints
        .iter()
        .for_each(|one| assert!(one.fail(failed)));
    assert_eq!(ten(&upstream, start, 21), [5, 5, 0]);
    // A sticky client leaves one that rests as well.
    let one_fails = compile_at(&spec, None, start);
    one_fails.endpoints[1].fail(start);
    let held = Ask {
        held: Some(1),
        ..ask(Choice::Turn)
    };
    assert_eq!(
        one_fails
            .pick(&held, &Tried::default(), || start)
            .unwrap()
            .0,
        0
    );
}

#[test]
fn backups_wait_until_all_others_are_out_whatever_the_policy() {
    let start = Instant::now();
    let mut spec = spec(&[("a", 1), ("b", 1), ("c", 3)]);
    spec.endpoints[2].backup = true;
    for choice in [
        Choice::Turn,
        Choice::LeastBusy,
        Choice::Random(3),
        Choice::Key(Key::of(b"client")),
    ] {
        let upstream = compile_at(&spec, None, start);
        let ask = Ask {
            held: Some(2),
            ..ask(choice)
        };
        let mut tried = Tried::default();
        for _ in 0..2 {
            let (index, _) = upstream.pick(&ask, &tried, || start).unwrap();
            assert!(index < 2, "{choice:?}");
            tried.add(index);
        }
        assert_eq!(upstream.pick(&ask, &tried, || start).unwrap().0, 2);
        tried.add(2);
        assert!(upstream.pick(&ask, &tried, || start).is_none());
        // Resting is out, too; and when all rest the backup is no better than the others.
        upstream.endpoints[0].fail(start);
        upstream.endpoints[1].fail(start);
        let first = |upstream: &Upstream| {
            let picked = upstream.pick(&ask, &Tried::default(), || start);
            picked.unwrap().0
        };
        assert_eq!(first(&upstream), 2, "{choice:?}");
        upstream.endpoints[2].fail(start);
        assert!(first(&upstream) < 2, "{choice:?}");
    }
    spec.endpoints.retain(|endpoint| endpoint.backup);
    assert_eq!(ten(&compile_at(&spec, None, start), start, 0), [10, 0, 0]);
}

#[test]
fn another_process_of_a_container_is_another_endpoint() {
    let mut spec = spec(&[("a", 1), ("b", 1)]);
    let ids = |upstream: &Upstream| {
        let endpoints = upstream.endpoints.iter();
        endpoints.map(|one| one.live.id).collect::<Vec<_>>()
    };
    let before = compile(&spec, None);
    spec.endpoints[0].ended = 5;
    let after = compile(&spec, Some(&before));
    assert_ne!(ids(&after)[0], ids(&before)[0]);
    assert_eq!(ids(&after)[1], ids(&before)[1]);
}

#[test]
fn so_many_wait_whatever_for() {
    let mut spec = spec(&[("a", 1)]);
    let wait = |upstream: &Arc<Upstream>| upstream.hold(3, Instant::now()).map(|_| ());
    // One that has been there for long and never was reached.
    assert_eq!(wait(&Arc::new(compile(&spec, None))), Err(NoHold::Hopeless));
    spec.awaited = true;
    let upstream = Arc::new(compile(&spec, None));
    let mut places: Vec<Held> = (0..2).map(|_| upstream.place(3).unwrap()).collect();
    places.push(upstream.hold(3, Instant::now()).unwrap());
    assert_eq!(wait(&upstream), Err(NoHold::Crowded));
    assert!(matches!(upstream.place(3), Err(NoHold::Crowded)));
    assert_eq!(upstream.held(), 3);
    places.pop();
    assert_eq!(wait(&upstream), Ok(()));
    drop(places);
    assert_eq!(upstream.held(), 0);
}

#[test]
fn the_budget_survives_a_compile_and_one_endpoint_needs_none() {
    let spec = spec(&[("a", 1), ("b", 1)]);
    let now = Instant::now();
    let upstream = compile_at(&spec, None, now);
    let taken = |upstream: &Upstream| {
        (0..100)
            .filter(|_| upstream.may_retry(Some(20), now))
            .count()
    };
    assert_eq!(taken(&upstream), 10);
    let next = compile_at(&spec, Some(&upstream), now);
    assert_eq!(taken(&next), 0);
    assert!(next.may_retry(None, now), "no limit");
    (0..100).for_each(|_| next.asked());
    assert_eq!(taken(&upstream), 10);
}

#[test]
fn only_endpoints_that_take_requests_are_left_to_try() {
    let upstream = compile(&spec(&[("a", 1), ("b", 0), ("c", 1)]), None);
    let mut tried = Tried::default();
    for (index, left) in [(0, true), (0, true), (2, false)] {
        tried.add(index);
        assert_eq!(upstream.has_untried(&tried), left);
    }
    assert_eq!(tried.len(), 2);
}
