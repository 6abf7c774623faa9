//! Where requests go: an upstream is a named group of endpoints.
//!
//! Each has a settings half, replaced at every compile, and a live half (the cursor, an endpoint's
//! identity and counters) that is carried over by key, so that an unrelated label change forgets
//! nothing. Built by `route::compile`, read by the workers; knows neither Docker nor HTTP.

mod balance;
mod token;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::model::{EndpointSpec, UpstreamKey, UpstreamSpec};

pub use balance::{Choice, Key, Schedule};

pub use token::Secret;

use balance::Load;

/// A named group of endpoints with its balancing schedule.
#[derive(Debug)]
pub struct Upstream {
    pub key: UpstreamKey,
    pub endpoints: Vec<Endpoint>,
    /// Why containers are missing here, one sentence each.
    pub unreachable: Vec<String>,
    /// Whether requests under way are counted, because a route that leads here asks for it.
    pub counted: bool,
    schedule: Schedule,
    live: Arc<Live>,
}

/// The part of an upstream that outlives a compile.
#[derive(Debug, Default)]
struct Live {
    /// Position in the schedule, shared by all cores: one relaxed addition per request, so the
    /// distribution is exact over all workers.
    cursor: AtomicU64,
}

/// One address of one container.
#[derive(Debug, Clone)]
pub struct Endpoint {
    pub addr: SocketAddr,
    pub container_id: Arc<str>,
    pub container: Arc<str>,
    /// 0 gets no new requests.
    pub weight: u16,
    /// Its part in rendezvous hashing: the same for the life of the container.
    seed: u64,
    pub live: Arc<EndpointLive>,
}

/// The part of an endpoint that outlives a compile; a new container or address gets a new one.
#[derive(Debug)]
pub struct EndpointLive {
    /// Never reused in the life of the process: idle connections are keyed by it, so a connection
    /// can never reach a container that got the address of another.
    pub id: u64,
    /// What sticky clients name it by; here because it is made once.
    pub token: Box<str>,
    /// Failed connects since the endpoint appeared.
    pub connect_failures: AtomicU64,
    /// Requests under way, over all workers. Shared rather than a count per worker: with few requests
    /// at once each worker alone would see all endpoints idle. Two relaxed additions per request,
    /// and only where a policy asks.
    busy: AtomicU32,
    /// When it joined endpoints that were there already.
    joined: Option<Instant>,
    /// Moves on with every request that might have come here while the endpoint was warming up.
    rolls: AtomicU64,
}

/// Counts a request of an endpoint as under way until it is dropped.
#[derive(Debug)]
pub struct Busy(Arc<EndpointLive>);

/// What a request asks of its upstream.
#[derive(Debug, Clone, Copy)]
pub struct Ask {
    pub choice: Choice,
    /// Where the client has been before.
    pub held: Option<u16>,
    /// How long endpoints take to their full share; 0 for no time at all.
    pub slow_start: Duration,
}

/// Endpoints already tried for one request.
#[derive(Debug, Default)]
pub struct Tried(Vec<u16>);

impl Upstream {
    /// Compiles `spec`, carrying live halves over from `previous` where key, container and address
    /// are the same; what is new has joined at `now`.
    pub fn compile(
        spec: &UpstreamSpec,
        previous: Option<&Self>,
        secret: &Secret,
        now: Instant,
    ) -> Self {
        let endpoints: Vec<Endpoint> = spec
            .endpoints
            .iter()
            .take(usize::from(u16::MAX))
            .map(|endpoint| Endpoint::compile(endpoint, &spec.key, previous, secret, now))
            .collect();
        let weights: Vec<u16> = endpoints.iter().map(|endpoint| endpoint.weight).collect();
        Self {
            key: spec.key.clone(),
            endpoints,
            unreachable: spec.unreachable.clone(),
            counted: false,
            schedule: Schedule::smooth(&weights),
            live: previous.map_or_else(Arc::default, |old| Arc::clone(&old.live)),
        }
    }

    /// The endpoint for the next request that is not in `tried`, or `None` when all were tried or
    /// none takes requests.
    ///
    /// A client goes where it has been before, unless that endpoint takes no new requests and another
    /// does. `now` is asked only if time matters.
    pub fn pick(
        &self,
        ask: &Ask,
        tried: &Tried,
        now: impl Fn() -> Instant,
    ) -> Option<(u16, &Endpoint)> {
        let untried = |index: u16| !tried.0.contains(&index);
        let held = ask.held.filter(|index| untried(*index));
        let takes = |index: &u16| self.endpoints[usize::from(*index)].weight > 0;
        let chosen = || match ask.slow_start.is_zero() {
            true => self.choose(ask.choice, untried, |_| 1.0),
            false => self.choose_warm(ask, untried, now()),
        };
        let index = held.filter(takes).or_else(chosen).or(held)?;
        Some((index, &self.endpoints[usize::from(index)]))
    }

    /// Whether any endpoint takes new requests.
    pub fn takes_requests(&self) -> bool {
        !self.schedule.is_empty()
    }

    /// The endpoint a client names.
    pub fn holder(&self, token: &[u8]) -> Option<u16> {
        let mut endpoints = (0_u16..).zip(&self.endpoints);
        let found = endpoints.find(|(_, endpoint)| endpoint.live.token.as_bytes() == token);
        found.map(|(index, _)| index)
    }

    /// Leaves endpoints that are warming up out by chance, the less the warmer they are. Keys are not
    /// left to chance: they move to a new endpoint one by one, as its weight grows.
    fn choose_warm(&self, ask: &Ask, open: impl Fn(u16) -> bool, now: Instant) -> Option<u16> {
        let warmth = |index: u16| self.endpoints[usize::from(index)].warmth(ask.slow_start, now);
        if matches!(ask.choice, Choice::Key(_)) {
            return self.choose(ask.choice, open, warmth);
        }
        let cold = (0_u16..).zip(&self.endpoints);
        let cold = cold.filter(|(index, endpoint)| endpoint.is_cold(warmth(*index)));
        let cold: Vec<u16> = cold.map(|(index, _)| index).collect();
        let warm = |index: u16| open(index) && !cold.contains(&index);
        let chosen = self.choose(ask.choice, warm, |_| 1.0);
        // Better cold than none.
        chosen.or_else(|| self.choose(ask.choice, open, |_| 1.0))
    }

    fn choose(
        &self,
        choice: Choice,
        open: impl Fn(u16) -> bool,
        warmth: impl Fn(u16) -> f64,
    ) -> Option<u16> {
        let (schedule, cursor) = (&self.schedule, &self.live.cursor);
        let load = |index| self.endpoints[usize::from(index)].load();
        match choice {
            Choice::Turn => balance::next_turn(schedule, cursor, open),
            Choice::LeastBusy => {
                let count = self.endpoints.len();
                balance::least_busy(schedule, cursor, count, load, open)
            }
            Choice::Random(random) => balance::less_busy_of_two(schedule, random, load, open),
            Choice::Key(key) => {
                let endpoints = (0_u16..).zip(&self.endpoints);
                let endpoints = endpoints.filter(|(index, _)| open(*index));
                let endpoints = endpoints.map(|(index, endpoint)| {
                    let weight = f64::from(endpoint.weight) * warmth(index);
                    (index, endpoint.seed, weight)
                });
                balance::rendezvous(key, endpoints)
            }
        }
    }
}

impl Endpoint {
    fn compile(
        spec: &EndpointSpec,
        key: &UpstreamKey,
        previous: Option<&Upstream>,
        secret: &Secret,
        now: Instant,
    ) -> Self {
        let live = previous
            .and_then(|upstream| {
                upstream
                    .endpoints
                    .iter()
                    .find(|old| *old.container_id == *spec.container_id && old.addr == spec.addr)
            })
            .map_or_else(
                || {
                    let token = secret.token(key, &spec.container_id, spec.addr.port());
                    let joins = previous.is_some_and(|upstream| !upstream.endpoints.is_empty());
                    Arc::new(EndpointLive::new(token, joins.then_some(now)))
                },
                |old| Arc::clone(&old.live),
            );
        Self {
            addr: spec.addr,
            container_id: spec.container_id.as_str().into(),
            container: spec.container.as_str().into(),
            weight: spec.weight,
            seed: balance::hash(format!("{}:{}", spec.container_id, spec.addr.port()).as_bytes()),
            live,
        }
    }

    /// Counts one more request as under way.
    pub fn busy(&self) -> Busy {
        self.live.busy.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(&self.live))
    }

    /// How much of its share it takes at `now`: 1 once it has been there for `slow_start`, and if it
    /// joined nobody.
    fn warmth(&self, slow_start: Duration, now: Instant) -> f64 {
        let age = self
            .live
            .joined
            .map(|joined| now.saturating_duration_since(joined));
        let warmth = |age: Duration| age.as_secs_f64() / slow_start.as_secs_f64();
        age.map_or(1.0, |age| warmth(age).clamp(COLDEST, 1.0))
    }

    /// Whether this request, of all that might have come here, must go elsewhere.
    fn is_cold(&self, warmth: f64) -> bool {
        warmth < 1.0 && !balance::chance(self.live.rolls.fetch_add(1, Ordering::Relaxed), warmth)
    }

    fn load(&self) -> Load {
        Load {
            busy: self.live.busy.load(Ordering::Relaxed),
            weight: self.weight,
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

impl EndpointLive {
    fn new(token: Box<str>, joined: Option<Instant>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            token,
            connect_failures: AtomicU64::new(0),
            busy: AtomicU32::new(0),
            joined,
            rolls: AtomicU64::new(0),
        }
    }
}

impl Tried {
    pub fn add(&mut self, index: u16) {
        self.0.push(index);
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Share of its weight that an endpoint takes from the start: a key or a turn has to find it.
const COLDEST: f64 = 0.01;

#[cfg(test)]
mod tests {
    use super::*;

    fn compile(spec: &UpstreamSpec, previous: Option<&Upstream>) -> Upstream {
        compile_at(spec, previous, Instant::now())
    }

    fn compile_at(spec: &UpstreamSpec, previous: Option<&Upstream>, now: Instant) -> Upstream {
        Upstream::compile(spec, previous, &Secret::new(&[0; 32]), now)
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
                    addr: SocketAddr::from(([10, 0, 0, i as u8 + 1], 80)),
                    weight: *weight,
                })
                .collect(),
            unreachable: Vec::new(),
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
        let busy = endpoint.busy();
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
}
