//! One address of one container, and what is remembered of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::Upstream;
use super::balance::{self, Load};
use super::failure::{Failure, LastFailure};
use super::health::Marks;
use super::outcome::{LastOutcome, Outcome};
use super::token::Secret;
use super::warmth::Warmth;
use crate::line::Queue;
use crate::model::{Address, AppTls, EndpointSpec, FailLimit, HealthCheck, Proto, UpstreamKey};

/// One address of one container.
#[derive(Debug, Clone)]
pub struct Endpoint {
    pub addr: Address,
    pub container_id: Arc<str>,
    /// See `model::EndpointSpec::ended`.
    ended: i64,
    pub container: Arc<str>,
    /// What it speaks; in another protocol it is another endpoint.
    pub proto: Proto,
    /// Where it speaks TLS. With other terms it is another endpoint: its connections were made by these.
    pub tls: Option<Arc<AppTls>>,
    /// See `model::EndpointSpec::authority`.
    pub authority: Arc<str>,
    /// See `model::EndpointSpec::exposed`.
    pub exposed: Arc<[u16]>,
    /// 0 gets no new requests.
    pub weight: u16,
    /// Used only while no other can be.
    pub backup: bool,
    fail: FailLimit,
    pub health: Arc<HealthCheck>,
    /// Requests it has at once at most; 0: no limit.
    pub max_conns: u32,
    /// Its part in rendezvous hashing: the same for the life of the container.
    pub(super) seed: u64,
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
    /// and only where a policy or a limit asks.
    busy: AtomicU32,
    /// Who waits for one of them to end.
    queue: Arc<Queue>,
    marks: Marks,
    failure: LastFailure,
    checked: LastOutcome,
    /// Whether it gets requests before others do: a container runs before its application listens. Where
    /// Wharf checks it, whether it gets any at all.
    ready: AtomicBool,
    /// Whether anybody has been able to connect to it.
    reached: AtomicBool,
    /// Until then it may be that it just needs its time.
    pub(super) listens_by: Instant,
    warmth: Warmth,
    /// Moves on with every request that might have come here while the endpoint was warming up.
    rolls: AtomicU64,
}

/// Counts a request of an endpoint as under way until it is dropped.
#[derive(Debug)]
pub struct Busy(Arc<EndpointLive>);

impl Endpoint {
    pub(super) fn compile(
        spec: &EndpointSpec,
        key: &UpstreamKey,
        previous: Option<&Upstream>,
        queue: &Arc<Queue>,
        secret: &Secret,
        later: bool,
        now: Instant,
    ) -> Self {
        let live = previous
            .and_then(|upstream| upstream.endpoints.iter().find(|old| old.is(spec)))
            .map_or_else(
                || {
                    let token = secret.token(key, &spec.container_id, spec.addr.port());
                    let joins = previous.is_some_and(|upstream| !upstream.endpoints.is_empty());
                    let listens_by = listens_by(spec.created, later, now);
                    let queue = Arc::clone(queue);
                    Arc::new(EndpointLive::new(token, queue, joins, listens_by, now))
                },
                |old| Arc::clone(&old.live),
            );
        if spec.health == HealthCheck::Off {
            live.passes(now);
        }
        Self {
            addr: spec.addr.clone(),
            container_id: spec.container_id.as_str().into(),
            ended: spec.ended,
            container: spec.container.as_str().into(),
            proto: spec.proto,
            tls: spec.tls.clone().map(Arc::new),
            authority: spec.authority.as_str().into(),
            exposed: spec.exposed.as_slice().into(),
            weight: spec.weight,
            backup: spec.backup,
            fail: spec.fail,
            health: Arc::new(spec.health.clone()),
            max_conns: spec.max_conns.count,
            seed: balance::hash(format!("{}:{}", spec.container_id, spec.addr.port()).as_bytes()),
            live,
        }
    }

    /// Whether it is the same process at the same address, spoken to by the same terms.
    fn is(&self, spec: &EndpointSpec) -> bool {
        *self.container_id == *spec.container_id
            && self.addr == spec.addr
            && self.ended == spec.ended
            && self.proto.is_http2() == spec.proto.is_http2()
            && self.tls.as_deref() == spec.tls.as_ref()
    }

    /// Whether it is known to be ready, or has been there for so long that it is taken for granted.
    pub fn is_ready(&self) -> bool {
        self.live.ready.load(Ordering::Relaxed)
    }

    /// Whether its checks keep every request away, even if nobody else is there.
    pub fn is_out(&self) -> bool {
        !self.is_ready() && self.health.active().is_some()
    }

    /// Whether it may be that it just needs its time to start listening.
    pub fn may_start(&self, now: Instant) -> bool {
        !self.was_reached() && now < self.live.listens_by
    }

    /// Whether the last that was heard of it was a failure.
    pub fn is_failing(&self) -> bool {
        !self.live.marks.is_clear()
    }

    pub(super) fn was_reached(&self) -> bool {
        self.live.reached.load(Ordering::Relaxed)
    }

    /// Somebody has connected to it at `now`; whether that makes it ready.
    pub fn listens(&self, now: Instant) -> bool {
        if !self.was_reached() {
            self.live.reached.store(true, Ordering::Relaxed);
        }
        !self.is_ready() && self.health.active().is_none() && self.live.passes(now)
    }

    /// Its checks say that it is ready from `now` on, or out.
    pub fn judged(&self, ready: bool, now: Instant) {
        match ready {
            true => {
                self.live.passes(now);
            }
            false => {
                self.live.ready.store(false, Ordering::Relaxed);
                self.live.warmth.cool();
            }
        }
    }

    /// Remembers what a check has come to, which changes nothing.
    pub fn checked(&self, outcome: Outcome, now: Instant) {
        self.live.checked.note(outcome, now);
    }

    /// What the last check has come to, and how long ago.
    pub fn last_check(&self, now: Instant) -> Option<(Outcome, Duration)> {
        self.live.checked.last(now)
    }

    /// Where its checks go.
    pub fn check_addr(&self) -> Address {
        let port = self.health.active().and_then(|check| check.port);
        match (self.addr.tcp(), port) {
            (Some(addr), Some(port)) => SocketAddr::new(addr.ip(), port).into(),
            _ => self.addr.clone(),
        }
    }

    /// Why it is out, without its name: `does not pass its health check (GET /healthz: status 503, not
    /// 200-399)`.
    pub fn complaint(&self, now: Instant) -> Option<String> {
        let check = self.health.active().filter(|_| !self.is_ready())?;
        let told = match self.last_check(now) {
            Some((outcome, _)) => outcome.told(check),
            None => format!("{check}: no result yet"),
        };
        Some(format!("does not pass its health check ({told})"))
    }

    /// Counts one more request as under way, unless it has as many as it may.
    pub(super) fn busy(&self) -> Option<Busy> {
        if self.max_conns == 0 {
            self.live.busy.fetch_add(1, Ordering::Relaxed);
        } else {
            let more = |busy| (busy < self.max_conns).then_some(busy + 1);
            // In one order with `Queue::waiting`.
            let order = Ordering::SeqCst;
            self.live.busy.fetch_update(order, order, more).ok()?;
        }
        Some(Busy(Arc::clone(&self.live)))
    }

    /// Whether it has as many requests as it may.
    pub fn is_full(&self) -> bool {
        self.max_conns > 0 && self.under_way() >= self.max_conns
    }

    /// Requests under way, where they are counted.
    pub fn under_way(&self) -> u32 {
        self.live.busy.load(Ordering::SeqCst)
    }

    /// It gets a request; see [`Marks::chosen`].
    pub(super) fn chosen(&self, now: impl Fn() -> Instant) {
        if !self.live.marks.is_clear() {
            self.live.marks.chosen(self.fail, now());
        }
    }

    /// A request has failed here, by the endpoint's fault; whether it rests from now on.
    pub fn fail(&self, now: Instant) -> bool {
        self.live.marks.fail(self.fail, now)
    }

    /// Remembers what went wrong, which changes nothing.
    pub fn note(&self, failure: Failure, now: Instant) {
        self.live.failure.note(failure, now);
    }

    /// What went wrong last, and how long ago.
    pub fn last_failure(&self, now: Instant) -> Option<(Failure, Duration)> {
        self.live.failure.last(now)
    }

    /// A request was answered; whether that ends a rest.
    pub fn succeed(&self) -> bool {
        !self.live.marks.is_clear() && self.live.marks.succeed(self.fail)
    }

    /// Whether it gets nothing because it failed lately.
    pub fn rests(&self, now: impl Fn() -> Instant) -> bool {
        !self.live.marks.is_clear() && self.live.marks.rests(self.fail, now())
    }

    /// How much of its share it takes at `now`: 1 once it has been ready for `slow_start`, and if it was
    /// when it joined nobody.
    pub(super) fn warmth(&self, slow_start: Duration, now: Instant) -> f64 {
        self.live.warmth.at(slow_start, now)
    }

    /// Whether this request, of all that might have come here, must go elsewhere.
    pub(super) fn is_cold(&self, warmth: f64) -> bool {
        warmth < 1.0 && !balance::chance(self.live.rolls.fetch_add(1, Ordering::Relaxed), warmth)
    }

    pub(super) fn load(&self) -> Load {
        Load {
            busy: self.live.busy.load(Ordering::Relaxed),
            weight: self.weight,
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::SeqCst);
        self.0.queue.freed();
    }
}

impl EndpointLive {
    /// `joins`: others are there already.
    fn new(
        token: Box<str>,
        queue: Arc<Queue>,
        joins: bool,
        listens_by: Instant,
        now: Instant,
    ) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            token,
            connect_failures: AtomicU64::new(0),
            busy: AtomicU32::new(0),
            queue,
            marks: Marks::new(now),
            failure: LastFailure::new(now),
            checked: LastOutcome::new(now),
            ready: AtomicBool::new(listens_by <= now),
            reached: AtomicBool::new(false),
            listens_by,
            warmth: Warmth::new(joins, now),
            rolls: AtomicU64::new(0),
        }
    }

    /// It is ready from `now` on; whether it was not.
    fn passes(&self, now: Instant) -> bool {
        if self.ready.swap(true, Ordering::Relaxed) {
            return false;
        }
        self.warmth.heat(now);
        true
    }
}

/// Until when an endpoint seen for the first time may be expected to start listening. Of those that were
/// there before Wharf was, the time of creation tells.
fn listens_by(created: i64, later: bool, now: Instant) -> Instant {
    let created = UNIX_EPOCH + Duration::from_secs(created.unsigned_abs());
    let age = SystemTime::now().duration_since(created);
    match age.unwrap_or_default() {
        _ if later => now + STARTS_WITHIN,
        age => now + STARTS_WITHIN.saturating_sub(age),
    }
}

/// Most applications listen this soon after their container runs.
const STARTS_WITHIN: Duration = Duration::from_secs(60);
