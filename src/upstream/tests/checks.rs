//! What health checks change about who is picked.

use super::*;
use crate::upstream::Outcome;

/// Endpoints that Wharf checks.
fn checked(count: u16) -> UpstreamSpec {
    let ids = ["a", "b", "c"].map(|id| (id, 1));
    let mut spec = spec(&ids[..usize::from(count)]);
    for endpoint in &mut spec.endpoints {
        let check = ActiveCheck::new(HealthAsk::Tcp);
        endpoint.health = HealthCheck::Active(check);
    }
    spec
}

#[test]
fn an_endpoint_that_is_out_gets_nothing_even_if_it_is_the_last() {
    let now = Instant::now();
    let spec = checked(2);
    let upstream = compile_at(&spec, None, now);
    for choice in [
        Choice::Turn,
        Choice::LeastBusy,
        Choice::Random(3),
        Choice::Key(Key::of(b"client")),
    ] {
        upstream.endpoints[0].judged(false, now);
        upstream.endpoints[1].judged(true, now);
        assert!(!upstream.is_out());
        for held in [None, Some(0), Some(1)] {
            let ask = Ask {
                held,
                ..ask(choice)
            };
            for _ in 0..10 {
                let picked = upstream.pick(&ask, &Tried::default(), || now);
                assert_eq!(picked.unwrap().0, 1, "{choice:?} {held:?}");
            }
        }
        let mut tried = Tried::default();
        tried.add(1);
        assert!(pick(&upstream, choice, &tried).is_none());
        assert!(!upstream.has_untried(&tried), "there is nobody to retry on");
        assert_eq!(upstream.candidates(choice, now), [1]);
        // The other one rests: that keeps it from nothing while it is the only one.
        upstream.endpoints[1].fail(now);
        assert_eq!(pick(&upstream, choice, &Tried::default()), Some(1));
        upstream.endpoints[1].judged(false, now);
        assert!(upstream.is_out());
        assert!(pick(&upstream, choice, &Tried::default()).is_none());
        assert!(upstream.candidates(choice, now).is_empty());
    }
    // A table swap forgets nothing.
    let swapped = compile_at(&spec, Some(&upstream), now);
    assert!(swapped.is_out());
    swapped.endpoints[0].judged(true, now);
    assert_eq!(pick(&swapped, Choice::Turn, &Tried::default()), Some(0));
    assert!(!upstream.is_out(), "the state is one, whatever the table");
}

#[test]
fn a_backup_stands_in_for_those_that_are_out() {
    let now = Instant::now();
    let mut spec = checked(2);
    spec.endpoints[1].backup = true;
    let upstream = compile_at(&spec, None, now);
    assert_eq!(pick(&upstream, Choice::Turn, &Tried::default()), Some(0));
    upstream.endpoints[0].judged(false, now);
    assert_eq!(pick(&upstream, Choice::Turn, &Tried::default()), Some(1));
}

#[test]
fn a_connection_makes_no_checked_endpoint_ready_but_is_worth_waiting_for() {
    let now = Instant::now();
    let old = compile_at(&checked(1), None, now);
    let mut spec = checked(2);
    spec.endpoints.remove(0);
    let upstream = Arc::new(compile_at(&spec, Some(&old), now));
    let endpoint = &upstream.endpoints[0];
    assert!(endpoint.is_out() && endpoint.may_start(now));
    assert!(!endpoint.listens(now) && endpoint.is_out() && !endpoint.may_start(now));
    let later = now + Duration::from_secs(3600);
    assert!(upstream.hold(1000, later).is_ok());
    assert_eq!(pick(&upstream, Choice::Turn, &Tried::default()), None);
    endpoint.judged(true, now);
    assert_eq!(pick(&upstream, Choice::Turn, &Tried::default()), Some(0));
}

#[test]
fn off_is_ready_at_once_and_another_check_goes_on_from_what_is_known() {
    let now = Instant::now();
    let later = |health: HealthCheck, before: &Upstream| {
        let mut spec = checked(1);
        spec.endpoints[0].health = health;
        compile_at(&spec, Some(before), now)
    };
    let none = compile_at(&checked(0), None, now);
    let active = || HealthCheck::Active(ActiveCheck::new(HealthAsk::Tcp));
    let upstream = later(active(), &none);
    assert!(upstream.endpoints[0].is_out());
    let upstream = later(HealthCheck::Off, &upstream);
    assert!(upstream.endpoints[0].is_ready());
    let upstream = later(active(), &upstream);
    assert!(upstream.endpoints[0].is_ready());
    upstream.endpoints[0].judged(false, now);
    let upstream = later(HealthCheck::Docker, &upstream);
    assert!(!upstream.endpoints[0].is_ready() && !upstream.endpoints[0].is_out());
}

#[test]
fn it_warms_up_from_when_it_is_ready_again_and_again() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let slow_start = Duration::from_secs(30);
    let mut spec = checked(3);
    spec.endpoints.truncate(2);
    let old = compile_at(&spec, None, start);
    let all = compile_at(&checked(3), Some(&old), start);
    let warmth = |index: usize, seconds| all.endpoints[index].warmth(slow_start, at(seconds));
    // It has joined long ago, but is not ready yet.
    assert_eq!(warmth(2, 100), 0.01);
    all.endpoints[2].judged(true, at(100));
    assert_eq!([100, 115, 130].map(|s| warmth(2, s)), [0.01, 0.5, 1.0]);
    // One that was there first starts warm, but comes back cold.
    assert_eq!(warmth(0, 100), 1.0);
    all.endpoints[0].judged(false, at(200));
    assert_eq!(warmth(0, 300), 0.01);
    all.endpoints[0].judged(true, at(300));
    assert_eq!([300, 315, 330].map(|s| warmth(0, s)), [0.01, 0.5, 1.0]);
    // Said again, it changes nothing.
    all.endpoints[0].judged(true, at(330));
    assert_eq!(warmth(0, 330), 1.0);
}

#[test]
fn complaints_name_the_check_and_what_came_of_it() {
    let now = Instant::now();
    let mut spec = checked(2);
    let HealthCheck::Active(check) = &mut spec.endpoints[0].health else {
        unreachable!("these are checked");
    };
    check.port = Some(9000);
    let upstream = compile_at(&spec, None, now);
    assert!(upstream.complaints(now).is_empty());
    upstream.endpoints[0].judged(false, now);
    let refused = Outcome::Failed(Failure::Refused);
    assert_eq!(
        upstream.complaints(now),
        [
            "a at 10.0.0.1:80 does not pass its health check (TCP connect on port 9000: no result yet)"
        ]
    );
    upstream.endpoints[0].checked(refused, now);
    assert_eq!(
        upstream.complaints(now),
        [
            "a at 10.0.0.1:80 does not pass its health check (TCP connect on port 9000: connection refused)"
        ]
    );
    let addr: SocketAddr = "10.0.0.1:9000".parse().unwrap();
    assert_eq!(upstream.endpoints[0].check_addr(), addr.into());
}
