//! Where requests go: an upstream is a named group of endpoints.
//!
//! Each has a settings half, replaced at every compile, and a live half (the cursor, an endpoint's
//! identity and counters) that is carried over by key, so that an unrelated label change forgets
//! nothing. Built by `route::compile`, read by the workers; knows neither Docker nor HTTP.

mod balance;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::model::{EndpointSpec, UpstreamKey, UpstreamSpec};

pub use balance::{Choice, Key, Schedule};

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
    /// Failed connects since the endpoint appeared.
    pub connect_failures: AtomicU64,
    /// Requests under way, over all workers. Shared rather than a count per worker: with few requests
    /// at once each worker alone would see all endpoints idle. Two relaxed additions per request,
    /// and only where a policy asks.
    busy: AtomicU32,
}

/// Counts a request of an endpoint as under way until it is dropped.
#[derive(Debug)]
pub struct Busy(Arc<EndpointLive>);

/// Endpoints already tried for one request.
#[derive(Debug, Default)]
pub struct Tried(Vec<u16>);

impl Upstream {
    /// Compiles `spec`, carrying live halves over from `previous` where key, container and address
    /// are the same.
    pub fn compile(spec: &UpstreamSpec, previous: Option<&Self>) -> Self {
        let endpoints: Vec<Endpoint> = spec
            .endpoints
            .iter()
            .take(usize::from(u16::MAX))
            .map(|endpoint| Endpoint::compile(endpoint, previous))
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
    pub fn pick(&self, choice: Choice, tried: &Tried) -> Option<(u16, &Endpoint)> {
        let (schedule, cursor) = (&self.schedule, &self.live.cursor);
        let open = |index: u16| !tried.0.contains(&index);
        let load = |index| self.endpoints[usize::from(index)].load();
        let index = match choice {
            Choice::Turn => balance::next_turn(schedule, cursor, open),
            Choice::LeastBusy => {
                let count = self.endpoints.len();
                balance::least_busy(schedule, cursor, count, load, open)
            }
            Choice::Random(random) => balance::less_busy_of_two(schedule, random, load, open),
            Choice::Key(key) => {
                let endpoints = (0_u16..).zip(&self.endpoints);
                let endpoints = endpoints.filter(|(index, _)| open(*index));
                let endpoints = endpoints.map(|(i, one)| (i, one.seed, f64::from(one.weight)));
                balance::rendezvous(key, endpoints)
            }
        };
        index.map(|index| (index, &self.endpoints[usize::from(index)]))
    }
}

impl Endpoint {
    fn compile(spec: &EndpointSpec, previous: Option<&Upstream>) -> Self {
        let live = previous
            .and_then(|upstream| {
                upstream
                    .endpoints
                    .iter()
                    .find(|old| *old.container_id == *spec.container_id && old.addr == spec.addr)
            })
            .map_or_else(
                || Arc::new(EndpointLive::new()),
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
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            connect_failures: AtomicU64::new(0),
            busy: AtomicU32::new(0),
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

#[cfg(test)]
mod tests {
    use super::*;

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
        let upstream = Upstream::compile(&spec(&[("a", 5), ("b", 1), ("c", 0)]), None);
        let mut counts = [0; 3];
        for _ in 0..600 {
            counts[usize::from(upstream.pick(Choice::Turn, &Tried::default()).unwrap().0)] += 1;
        }
        assert_eq!(counts, [500, 100, 0]);
    }

    #[test]
    fn tried_endpoints_are_skipped_until_none_is_left() {
        let upstream = Upstream::compile(&spec(&[("a", 1), ("b", 1)]), None);
        let mut tried = Tried::default();
        let (first, _) = upstream.pick(Choice::Turn, &tried).unwrap();
        tried.add(first);
        let (second, _) = upstream.pick(Choice::Turn, &tried).unwrap();
        assert_ne!(first, second);
        tried.add(second);
        assert!(upstream.pick(Choice::Turn, &tried).is_none());
    }

    #[test]
    fn live_halves_survive_a_compile_of_the_same_container_only() {
        let old = Upstream::compile(&spec(&[("a", 1), ("b", 1)]), None);
        let new = Upstream::compile(&spec(&[("a", 3), ("x", 1)]), Some(&old));
        assert_eq!(old.endpoints[0].live.id, new.endpoints[0].live.id);
        assert_ne!(old.endpoints[1].live.id, new.endpoints[1].live.id);
    }

    #[test]
    fn weight_zero_everywhere_takes_nothing() {
        let upstream = Upstream::compile(&spec(&[("a", 0)]), None);
        for choice in [
            Choice::Turn,
            Choice::LeastBusy,
            Choice::Random(7),
            Choice::Key(Key::of(b"x")),
        ] {
            assert!(upstream.pick(choice, &Tried::default()).is_none());
        }
    }

    #[test]
    fn what_is_under_way_and_whose_turn_it_is_survive_a_compile() {
        let old = Upstream::compile(&spec(&[("a", 1), ("b", 1)]), None);
        let none = Tried::default();
        let (first, endpoint) = old.pick(Choice::LeastBusy, &none).unwrap();
        let busy = endpoint.busy();
        // An unrelated label changed.
        let new = Upstream::compile(&spec(&[("a", 1), ("b", 1)]), Some(&old));
        assert_ne!(new.pick(Choice::Turn, &none).unwrap().0, first);
        for _ in 0..5 {
            assert_ne!(new.pick(Choice::LeastBusy, &none).unwrap().0, first);
        }
        drop(busy);
        assert_eq!(new.endpoints[usize::from(first)].load().busy, 0);
    }

    #[test]
    fn a_key_moves_only_while_its_endpoint_is_tried() {
        let upstream = Upstream::compile(&spec(&[("a", 1), ("b", 1), ("c", 1)]), None);
        let choice = Choice::Key(Key::of(b"client"));
        let mut tried = Tried::default();
        let (first, _) = upstream.pick(choice, &tried).unwrap();
        tried.add(first);
        assert_ne!(upstream.pick(choice, &tried).unwrap().0, first);
        assert_eq!(upstream.pick(choice, &Tried::default()).unwrap().0, first);
        // The container's address is not part of it.
        let moved = spec(&[("x", 1), ("a", 1), ("b", 1), ("c", 1)]);
        let moved = Upstream::compile(&moved, Some(&upstream));
        let (again, endpoint) = moved.pick(choice, &Tried::default()).unwrap();
        let before = &upstream.endpoints[usize::from(first)].container_id;
        assert!(again == 0 || endpoint.container_id == *before);
    }
}
