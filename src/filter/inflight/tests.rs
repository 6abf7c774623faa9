use std::collections::BTreeMap;
use std::sync::atomic::AtomicUsize;
use std::task::{Context, Waker};

use proptest::prelude::*;

use super::*;

fn limit(count: u32, key: LimitKey, queue: u32) -> InFlightLimit {
    InFlightLimit {
        key,
        queue,
        ..InFlightLimit::new(count)
    }
}

fn compile(limits: &[InFlightLimit], key: &str, shared: bool, counts: &Counts) -> InFlight {
    let limits = InFlightLimits {
        limits: limits.to_vec(),
        shared,
    };
    InFlight::compile(&limits, &RouteKey(key.into()), counts).unwrap()
}

/// A request of `client`.
#[derive(Default)]
struct Request {
    held: Places,
    waiting: Option<Waiting>,
}

impl Request {
    fn enter(&mut self, of: &InFlight, client: u64) -> Result<(), Full> {
        of.enter(&mut self.held, &mut self.waiting, |key| match key {
            LimitKey::Global => Whose::All,
            LimitKey::Host => Whose::Bytes(b"a.test"),
            _ => Whose::Client(client),
        })
    }

    /// Whether it is in, or in line.
    fn arrive(&mut self, of: &InFlight, client: u64) -> Option<bool> {
        match self.enter(of, client) {
            Ok(()) => Some(true),
            Err(full) => {
                self.waiting = full.join(Instant::now());
                self.waiting.is_some().then_some(false)
            }
        }
    }

    fn is_called(&self) -> bool {
        let queued = self.waiting.as_ref().and_then(Waiting::queued).unwrap();
        let called = queued.poll_called(&mut Context::from_waker(Waker::noop()));
        called.is_ready()
    }
}

fn enter(of: &InFlight, client: u64) -> Option<Request> {
    let mut request = Request::default();
    request.enter(of, client).ok().map(|()| request)
}

#[test]
fn so_many_are_in_and_one_that_ends_makes_room() {
    let counts = Counts::default();
    for key in [LimitKey::Global, LimitKey::Client] {
        let of = compile(&[limit(2, key.clone(), 0)], "app", false, &counts);
        let [first, second] = [enter(&of, 1), enter(&of, 1)];
        assert!(first.is_some() && second.is_some());
        assert!(enter(&of, 1).is_none());
        assert_eq!(enter(&of, 2).is_some(), key == LimitKey::Client);
        drop(first);
        assert!(enter(&of, 1).is_some());
    }
    assert!(counts.clients().is_empty());
}

#[test]
fn of_several_limits_a_request_needs_all_and_those_of_clients_come_first() {
    let counts = Counts::default();
    let limits = [limit(3, LimitKey::Global, 0), limit(2, LimitKey::Client, 0)];
    let of = compile(&limits, "app", false, &counts);
    let mine = [enter(&of, 1), enter(&of, 1), enter(&of, 1)];
    assert!(mine[1].is_some() && mine[2].is_none());
    // The one that was refused has taken nothing.
    let other = enter(&of, 2);
    assert!(other.is_some() && enter(&of, 3).is_none());
    let mut request = Request::default();
    let full = request.enter(&of, 3).unwrap_err();
    assert_eq!((&*full.limit, full.is_of_client()), (&limits[0], false));
    // It keeps what it has while it waits.
    assert_eq!(counts.clients().len(), 3);
    drop(request);
    drop((mine, other));
    assert!(counts.clients().is_empty());
}

#[test]
fn a_line_is_first_come_first_served_and_bounded() {
    let counts = Counts::default();
    for key in [LimitKey::Global, LimitKey::Client] {
        let of = compile(&[limit(1, key, 2)], "app", false, &counts);
        let first = enter(&of, 1).unwrap();
        let mut line = [(); 3].map(|()| Request::default());
        let arrived: Vec<_> = line.iter_mut().map(|one| one.arrive(&of, 1)).collect();
        assert_eq!(arrived, [Some(false), Some(false), None]);
        assert!(line[0].is_called(), "it looks once, as it came");
        assert!(line[0].enter(&of, 1).is_err() && line[0].waiting.is_some());
        drop(first);
        // Whoever comes now does not overtake.
        assert!(enter(&of, 1).is_none());
        assert!(line[0].is_called() && !line[1].is_called());
        line[0].enter(&of, 1).unwrap();
        assert!(line[0].waiting.is_none());
        // Who leaves passes on what it was called for.
        let [first, second, _] = line;
        drop(first);
        drop(second);
        assert!(enter(&of, 1).is_some());
    }
    assert!(counts.clients().is_empty());
}

#[test]
fn nobody_waits_where_there_is_no_line() {
    let counts = Counts::default();
    let mut patient = limit(1, LimitKey::Client, 5);
    patient.wait = Duration::ZERO;
    for limit in [patient, limit(1, LimitKey::Client, 0)] {
        let of = compile(&[limit], "app", false, &counts);
        let _first = enter(&of, 1);
        let full = Request::default().enter(&of, 1).unwrap_err();
        assert!(full.join(Instant::now()).is_none() && !full.has_room());
    }
}

#[test]
fn named_routes_share_what_they_inherit_and_a_new_table_changes_nothing() {
    let counts = Counts::default();
    let of = |key: &str, shared| compile(&[limit(1, LimitKey::Global, 1)], key, shared, &counts);
    let (base, own) = (of("app", false), of("app#login", false));
    let held = (enter(&base, 1).unwrap(), enter(&own, 1).unwrap());
    assert!(enter(&of("app#api", true), 1).is_none());
    assert!(enter(&of("app", false), 1).is_none());
    assert!(enter(&of("other", false), 1).is_some());
    // The route is gone for a moment; what it has under way is not.
    drop((base, own));
    assert!(enter(&of("app", false), 1).is_none());
    drop(held);
    assert!(enter(&of("app", false), 1).is_some());
}

#[test]
fn who_waits_while_labels_change_goes_by_the_new_ones() {
    let counts = Counts::default();
    let keyed = limit(5, LimitKey::Client, 0);
    let old = compile(
        &[keyed.clone(), limit(1, LimitKey::Global, 5)],
        "app",
        false,
        &counts,
    );
    let first = enter(&old, 1).unwrap();
    let mut second = Request::default();
    assert_eq!(second.arrive(&old, 1), Some(false));
    // A higher limit: the place it has is as good as before.
    let same = compile(
        &[keyed.clone(), limit(2, LimitKey::Global, 5)],
        "app",
        false,
        &counts,
    );
    second.enter(&same, 1).unwrap();
    assert_eq!(second.held.len(), 2);
    // None of its places is one of these.
    let other = compile(&[limit(1, LimitKey::Host, 0)], "app", false, &counts);
    second.enter(&other, 1).unwrap();
    assert_eq!(second.held.len(), 1);
    assert!(enter(&other, 1).is_none());
    drop((first, second));
    assert!(counts.clients().is_empty());
}

#[test]
fn a_million_clients_take_memory_while_they_are_there() {
    let clients = Clients::default();
    let hasher = RandomState::new();
    let keys: Vec<u64> = (0..1_000_000_u64).map(|one| hasher.hash_one(one)).collect();
    for key in &keys {
        assert!(clients.take(*key, 1, false));
    }
    assert_eq!(clients.len(), 1_000_000);
    for key in &keys {
        clients.give_back(*key);
    }
    assert!(clients.is_empty());
    let room: usize = (clients.shards()).map(|shard| shard.capacity()).sum();
    assert!(room <= 64 * 2048, "{room}");
}

/// What may happen.
#[derive(Debug, Clone)]
enum Event {
    Arrive(u64),
    /// Of requests in order of their arrival, one ends or leaves the line.
    End(usize),
    /// One in line looks whether it is called.
    Look(usize),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0_u64..3).prop_map(Event::Arrive),
        3 => any::<usize>().prop_map(Event::End),
        3 => any::<usize>().prop_map(Event::Look),
    ]
}

proptest! {
    /// The model: of each client at most so many, of all together at most so many, lines in order of arrival, and
    /// a place that is free is somebody's who was called, or nobody waits.
    #[test]
    fn as_many_as_the_model(
        mine in 1_u32..4,
        all in 1_u32..6,
        queue in 0_u32..4,
        events in proptest::collection::vec(event(), 0..200)
    ) {
        let counts = Counts::default();
        let limits = [limit(mine, LimitKey::Client, queue), limit(all, LimitKey::Global, queue)];
        let of = compile(&limits, "app", false, &counts);
        // In order of arrival, each with its client.
        let mut requests: Vec<(u64, Request)> = Vec::new();
        let has = |requests: &[(u64, Request)], client, places: usize| {
            let mut found = requests.iter().filter(|(one, _)| client == *one);
            found.by_ref().filter(|(_, request)| request.held.len() >= places).count() as u32
        };
        for event in events {
            match event {
                Event::Arrive(client) => {
                    let mut request = Request::default();
                    let (of_client, of_all) = (
                        has(&requests, client, 1),
                        (0..3).map(|client| has(&requests, client, 2)).sum::<u32>(),
                    );
                    let in_line = requests.iter().filter(|(one, r)| *one == client && r.held.is_empty()).count();
                    let in_other = requests.iter().filter(|(_, r)| r.held.len() == 1).count();
                    let arrived = request.arrive(&of, client);
                    let expected = match (of_client < mine && in_line == 0, of_all < all && in_other == 0) {
                        (true, true) => Some(true),
                        (true, false) => (in_other < queue as usize).then_some(false),
                        (false, _) => (in_line < queue as usize).then_some(false),
                    };
                    prop_assert_eq!(arrived, expected);
                    if arrived.is_some() {
                        requests.push((client, request));
                    }
                }
                Event::End(at) if !requests.is_empty() => {
                    let at = at % requests.len();
                    requests.remove(at);
                }
                Event::Look(at) if !requests.is_empty() => {
                    let at = at % requests.len();
                    let (client, request) = &mut requests[at];
                    if request.waiting.is_some() && request.is_called()
                        && let Err(full) = request.enter(&of, *client)
                        && request.waiting.is_none()
                    {
                        request.waiting = full.join(Instant::now());
                        if request.waiting.is_none() {
                            requests.remove(at);
                        }
                    }
                }
                _ => {}
            }
            let total: u32 = (0..3).map(|client| has(&requests, client, 2)).sum();
            prop_assert!(total <= all);
            prop_assert!((0..3).all(|client| has(&requests, client, 1) <= mine));
        }
        // All who wait get in by calls alone, as others end.
        let mut turns = 0;
        while requests.iter().any(|(_, request)| request.waiting.is_some()) {
            let mut moved = false;
            for at in (0..requests.len()).rev() {
                let (client, request) = &mut requests[at];
                if request.waiting.is_some() && request.is_called() {
                    moved = true;
                    if let Err(full) = request.enter(&of, *client) && request.waiting.is_none() {
                        request.waiting = full.join(Instant::now());
                        if request.waiting.is_none() {
                            requests.remove(at);
                        }
                    }
                }
            }
            if !moved {
                let in_flight = requests.iter().position(|(_, r)| r.waiting.is_none());
                prop_assert!(in_flight.is_some(), "all wait, nobody is called");
                requests.remove(in_flight.unwrap_or_default());
            }
            turns += 1;
            prop_assert!(turns < 10_000);
        }
        requests.clear();
        prop_assert!(counts.clients().is_empty());
        let mut last = Request::default();
        prop_assert!(last.enter(&of, 0).is_ok());
    }
}

/// Workers on threads: never more than may, and nothing is left behind.
#[test]
fn no_place_leaks_over_threads() {
    let counts = Counts::default();
    let limits = [limit(2, LimitKey::Client, 0), limit(5, LimitKey::Global, 0)];
    let of = compile(&limits, "app", false, &counts);
    let open: BTreeMap<u64, AtomicUsize> =
        (0..4).map(|client| (client, AtomicUsize::new(0))).collect();
    let all = AtomicUsize::new(0);
    let refused = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..8_u64 {
            let (of, open, all, refused) = (&of, &open, &all, &refused);
            scope.spawn(move || {
                for turn in 0..5000_u64 {
                    let client = (thread + turn) % 4;
                    let Some(request) = enter(of, client) else {
                        refused.fetch_add(1, Ordering::Relaxed);
                        continue;
                    };
                    assert!(open[&client].fetch_add(1, Ordering::SeqCst) < 2);
                    assert!(all.fetch_add(1, Ordering::SeqCst) < 5);
                    if turn % 3 == 0 {
                        std::thread::yield_now();
                    }
                    all.fetch_sub(1, Ordering::SeqCst);
                    open[&client].fetch_sub(1, Ordering::SeqCst);
                    drop(request);
                }
            });
        }
    });
    assert!(refused.load(Ordering::Relaxed) > 0);
    assert!(counts.clients().is_empty());
}
