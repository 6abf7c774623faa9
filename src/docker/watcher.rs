//! Keeps a [`Snapshot`] of the engine up to date.
//!
//! Level-triggered: an event says "look again", and what it says itself counts only until a list can
//! know of it ([`Signs`]). So lost, doubled and reordered events cannot leave a wrong picture.
//! Whatever fails, the last snapshot stays: an engine that is away does not stop its containers.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::{Fuse, FusedFuture};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, Stream, StreamExt};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::engine::{Address, Engine, REPLAY};
use super::error::EngineError;
use super::event::{Event, Facts};
use super::look::{Look, inspect, is_ours, look};
use super::own::Clues;
use super::pace::{Pace, Reason, SETTLED, Trouble};
use super::signs::{FactsById, Signs};
use super::{Container, Health, Position, Snapshot, State};
use crate::alarm::Alarm;

/// What the watcher is told at start.
#[derive(Debug, Clone)]
pub struct WatcherConfig {
    /// `DOCKER_HOST`: `unix:///path`, `tcp://host:port` or `http://host:port`.
    pub host: String,
    /// Id or name of the container Wharf runs in, where it cannot find out by itself.
    pub own_id: Option<String>,
    /// Who could not reach a container says so here, and the engine is looked at.
    pub alarm: Arc<Alarm>,
}

/// How the watcher is doing; for status and health.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EngineState {
    /// The last list succeeded and events are flowing.
    pub connected: bool,
    /// Release of the engine, `20.10.24`.
    pub version: Option<String>,
    /// The API version agreed on, `1.41`.
    pub api: Option<String>,
    /// Cause and remedy of the present trouble; `None` when there is none.
    pub last_error: Option<String>,
    /// When the last successful list ended.
    pub last_list: Option<SystemTime>,
    /// When the last event arrived, as known at the last list.
    pub last_event: Option<SystemTime>,
    /// Subscriptions after the first.
    pub reconnects: u64,
    /// Successful lists.
    pub lists: u64,
    /// A snapshot exists: before this, an unknown host may be one not seen yet.
    pub listed_once: bool,
}

/// Looks at the engine whenever something may have changed.
#[derive(Debug)]
pub struct Watcher {
    host: String,
    alarm: Arc<Alarm>,
    clues: Clues,
    /// Once found it stays: Wharf does not move.
    position: Option<Position>,
    /// As the last list gave it, without what events say.
    seen: Option<Snapshot>,
    signs: Signs,
    /// Of containers in the last list; a list under way reads it.
    facts: Arc<FactsById>,
    trouble: Trouble,
    subscriptions: u64,
}

/// Where a watcher writes.
struct Outputs {
    snapshots: watch::Sender<Option<Arc<Snapshot>>>,
    state: watch::Sender<EngineState>,
}

/// How a session came to its end.
enum End {
    /// The event stream ended, or failed, after at least one list.
    Stream(Option<EngineError>),
    /// A list found what no event had told: the stream may be half-open.
    Deaf,
    Failed(EngineError),
}

impl Watcher {
    pub fn new(config: WatcherConfig) -> Self {
        Self {
            host: config.host,
            alarm: config.alarm,
            clues: Clues::gather(config.own_id),
            position: None,
            seen: None,
            signs: Signs::default(),
            facts: Arc::default(),
            trouble: Trouble::default(),
            subscriptions: 0,
        }
    }

    /// Watches for ever. `snapshots` changes only when the snapshot does, and never because of an
    /// error. Cancel safe: dropping the future closes its connections; there is nothing else to end.
    pub async fn run(
        mut self,
        snapshots: watch::Sender<Option<Arc<Snapshot>>>,
        state: watch::Sender<EngineState>,
    ) -> Infallible {
        let out = Outputs { snapshots, state };
        loop {
            let start = Instant::now();
            let end = self.session(&out).await;
            let (error, of_stream) = match end {
                End::Deaf => {
                    tracing::debug!("docker events are missing; subscribing again");
                    continue;
                }
                End::Stream(error) => {
                    tracing::debug!(
                        error = error.as_ref().map(tracing::field::display),
                        "docker event stream ended"
                    );
                    if start.elapsed() >= SETTLED && error.as_ref().is_none_or(is_ordinary_end) {
                        continue;
                    }
                    (error.unwrap_or_else(|| self.stream_ended()), true)
                }
                End::Failed(error) => (self.with_hint(error), false),
            };
            let advice = self
                .trouble
                .note(&error, of_stream, Instant::now(), random());
            if advice.tell {
                tracing::warn!(%error, "docker engine is out of reach; routes stay as they are");
            }
            out.state.send_modify(|state| {
                state.connected = false;
                state.last_error = Some(error.to_string());
            });
            sleep(advice.wait).await;
        }
    }

    /// Subscribes and lists until something fails.
    async fn session(&mut self, out: &Outputs) -> End {
        let engine = match self.connect(out).await {
            Ok(engine) => engine,
            Err(error) => return End::Failed(error),
        };
        let begun = Instant::now();
        let mut events = engine.events();
        self.signs.subscribed(REPLAY, begun);
        let mut stream_end = None;
        let mut inspects = FuturesUnordered::new();
        let mut asked = Asked::default();
        let mut pace = Pace::new(begun);
        let mut list = pin!(Fuse::terminated());
        let mut list_begun = None;
        let mut reason = Reason::Event;
        let mut unheard: Option<Instant> = None;
        let mut last_event = None;
        let alarm = Arc::clone(&self.alarm);
        loop {
            tokio::select! {
                // Only notes: a reader that waits for an API call would lose events.
                event = events.next(), if stream_end.is_none() => {
                    let now = Instant::now();
                    let news = self.listen(event, &mut events, now);
                    if news.count > 0 {
                        last_event = Some(SystemTime::now());
                        reason = Reason::Event;
                        unheard = None;
                        pace.event(now);
                    }
                    if news.signs {
                        self.publish(out);
                    }
                    stream_end = news.end;
                }
                () = sleep_until(pace.next_by(self.signs.due(&self.facts))), if list.is_terminated() => {
                    let now = Instant::now();
                    let due = self.signs.due(&self.facts).is_some_and(|due| due <= now);
                    reason = match pace.start(now) {
                        Reason::Resync if due => Reason::Event,
                        reason => reason,
                    };
                    list_begun = Some(now);
                    list.set(look(&engine, Arc::clone(&self.facts)).fuse());
                }
                () = alarm.for_engine() => pace.hint(Instant::now()),
                () = sleep_until(unheard.unwrap_or(begun)), if unheard.is_some() => return End::Deaf,
                Some((id, facts)) = inspects.next() => {
                    asked.under_way.remove(&id);
                    self.learn(id, facts, out);
                }
                answer = &mut list, if !list.is_terminated() => {
                    let now = Instant::now();
                    let look = match answer {
                        Ok(look) => look,
                        Err(error) => return End::Failed(error),
                    };
                    let begun_at = list_begun.unwrap_or(now);
                    pace.end(now, now - begun_at, random());
                    let changed = self.see(look, begun_at, out);
                    asked.tries.retain(|id, _| self.lists(id));
                    asked.checks.retain(|id, _| self.lists(id));
                    self.report(out, last_event, begun, stream_end.is_none());
                    if let Some(error) = stream_end {
                        return End::Stream(error);
                    }
                    match reason {
                        Reason::Resync if changed => return End::Deaf,
                        // Events may be on their way.
                        Reason::Hint if changed => unheard = Some(now + HEARD_WITHIN),
                        _ => {}
                    }
                }
            }
            // Beside everything else: nothing waits for these.
            while inspects.len() < MOST_INSPECTS
                && let Some(id) = self.unknown(&asked).or_else(|| asked.ailing(out))
            {
                asked.under_way.insert(id.clone());
                *asked.tries.entry(id.clone()).or_default() += 1;
                inspects.push(inspect(&engine, id));
            }
            // A list under way is worth waiting for: where events are forbidden, it is all there is.
            let listed = list.is_terminated() && list_begun.is_some();
            if listed && let Some(error) = stream_end {
                return End::Stream(error);
            }
        }
    }

    async fn connect(&mut self, out: &Outputs) -> Result<Engine, EngineError> {
        let engine = Engine::connect(Address::parse(&self.host)?).await?;
        if self.subscriptions == 0 {
            let (address, version, api) = (engine.address(), &engine.version, &engine.api);
            tracing::info!(%address, version, api, "connected to docker");
        }
        out.state.send_modify(|state| {
            state.version = Some(engine.version.clone());
            state.api = Some(engine.api.clone());
            state.reconnects = self.subscriptions;
        });
        self.subscriptions += 1;
        Ok(engine)
    }

    /// Takes note of `event` and of all that have arrived with it, so that a burst is one change.
    fn listen(
        &mut self,
        event: Option<Result<Event, EngineError>>,
        more: &mut (impl Stream<Item = Result<Event, EngineError>> + Unpin),
        now: Instant,
    ) -> News {
        let mut news = News::default();
        let mut next = Some(event);
        while let Some(event) = next {
            match event {
                Some(Ok(event)) => {
                    news.count += 1;
                    news.signs |= self.signs.note(&event, now);
                }
                Some(Err(error)) => news.end = Some(Some(error)),
                None => news.end = Some(None),
            }
            let full = news.end.is_some() || news.count >= MOST_AT_ONCE;
            next = match full {
                true => None,
                false => more.next().now_or_never(),
            };
        }
        news
    }

    /// Takes a list begun at `begun`; whether it differs from the last one.
    fn see(&mut self, look: Look, begun: Instant, out: &Outputs) -> bool {
        let seen = Snapshot {
            position: self.position(&look.containers, out),
            containers: look.containers,
            networks: look.networks,
        };
        let changed = self.seen.as_ref() != Some(&seen);
        let seen = &*self.seen.insert(seen);
        let listed = |id: &String| seen.find(id).is_some();
        if !look.facts.is_empty() || !self.facts.keys().all(listed) {
            let facts = Arc::make_mut(&mut self.facts);
            facts.retain(|id, _| listed(id));
            facts.extend(look.facts);
        }
        self.signs.settle(&seen.containers, begun, &self.facts);
        self.publish(out);
        changed
    }

    /// Hands on the last list with what events say since, if that is news.
    fn publish(&self, out: &Outputs) {
        let Some(mut snapshot) = self.seen.clone() else {
            return;
        };
        self.signs.apply(&mut snapshot.containers, &self.facts);
        for container in snapshot.containers.iter_mut().filter(|c| is_ailing(c)) {
            let facts = self.facts.get(&container.id);
            container.complaint = facts.and_then(|facts| facts.complaint.clone());
        }
        out.snapshots.send_if_modified(|current| {
            if current.as_deref() == Some(&snapshot) {
                return false;
            }
            *current = Some(Arc::new(snapshot));
            true
        });
    }

    /// Whether the last list has a container.
    fn lists(&self, id: &str) -> bool {
        self.seen
            .as_ref()
            .is_some_and(|seen| seen.find(id).is_some())
    }

    /// The next container whose facts are to be asked for.
    fn unknown(&self, asked: &Asked) -> Option<String> {
        let wanted = |c: &&Container| {
            c.state != State::Exited
                && is_ours(c)
                && !self.facts.contains_key(&c.id)
                && !asked.under_way.contains(&c.id)
                && asked
                    .tries
                    .get(&c.id)
                    .is_none_or(|tries| *tries < MOST_TRIES)
        };
        let mut containers = self.seen.as_ref()?.containers.iter();
        containers
            .find(wanted)
            .map(|container| container.id.clone())
    }

    fn learn(&mut self, id: String, facts: Result<Option<Facts>, EngineError>, out: &Outputs) {
        match facts {
            Ok(Some(facts)) => {
                let told = self.signs.tells_of(&id);
                let said = facts.complaint.is_some();
                Arc::make_mut(&mut self.facts).insert(id, facts);
                if told || said {
                    self.publish(out);
                }
            }
            Ok(None) => {}
            Err(error) => tracing::debug!(container = id, %error, "not inspected"),
        }
    }

    fn position(&mut self, containers: &[Container], out: &Outputs) -> Position {
        if self.position.is_none() {
            self.position = self.clues.locate(containers);
            let first = out.snapshots.borrow().is_none();
            match &self.position {
                Some(Position::Container { id }) => {
                    tracing::info!(id, "runs in a container; apps need a network in common");
                }
                Some(Position::Host) => {}
                None if first && self.clues.expects_a_container() => tracing::warn!(
                    "the engine does not list the container Wharf runs in; \
                     addresses are chosen as if it ran on the host"
                ),
                None => {}
            }
        }
        self.position.clone().unwrap_or(Position::Host)
    }

    /// Brings the state up to date after a successful list.
    fn report(
        &mut self,
        out: &Outputs,
        last_event: Option<SystemTime>,
        begun: Instant,
        subscribed: bool,
    ) {
        let now = Instant::now();
        if subscribed && let Some(after) = self.trouble.over(now, now - begun) {
            tracing::info!(?after, "docker engine is back");
        }
        out.state.send_modify(|state| {
            state.connected = subscribed;
            state.last_list = Some(SystemTime::now());
            state.last_event = last_event.or(state.last_event);
            state.lists += 1;
            state.listed_once = true;
            if self.trouble.is_none() {
                state.last_error = None;
            }
        });
    }

    /// In a container, a refusal that lasts has a cause of its own.
    fn with_hint(&self, error: EngineError) -> EngineError {
        match error {
            EngineError::Refused {
                address: address @ Address::Unix(_),
            } if self.clues.in_container()
                && self.trouble.lasting(Instant::now()) >= STALE_SOCKET_AFTER =>
            {
                EngineError::StaleSocket { address }
            }
            error => error,
        }
    }

    fn stream_ended(&self) -> EngineError {
        EngineError::StreamEnded {
            host: self.host.clone(),
        }
    }
}

/// Inspects of a session.
#[derive(Default)]
struct Asked {
    under_way: HashSet<String>,
    tries: HashMap<String, u32>,
    /// Health of containers whose last check was asked for, and when.
    checks: HashMap<String, (Health, Instant)>,
}

impl Asked {
    /// The next container that should tell why its HEALTHCHECK does not pass: at once when that
    /// changes, then from time to time.
    fn ailing(&mut self, out: &Outputs) -> Option<String> {
        let now = Instant::now();
        let snapshots = out.snapshots.borrow();
        let mut containers = snapshots.as_ref()?.containers.iter();
        let found = containers.find(|container| {
            let asked = self.checks.get(&container.id);
            let known = asked.is_some_and(|(health, at)| {
                *health == container.health && now.duration_since(*at) < ASK_AGAIN
            });
            is_ailing(container) && !known && !self.under_way.contains(&container.id)
        })?;
        self.checks.insert(found.id.clone(), (found.health, now));
        Some(found.id.clone())
    }
}

fn is_ailing(container: &Container) -> bool {
    matches!(container.health, Health::Starting | Health::Unhealthy)
        && container.state == State::Running
        && is_ours(container)
}

/// What [`Watcher::listen`] heard.
#[derive(Default)]
struct News {
    count: usize,
    /// The picture may have changed at once.
    signs: bool,
    /// The stream's end.
    end: Option<Option<EngineError>>,
}

/// Ends of a stream that had worked: the engine restarts, a proxy closes an idle connection.
fn is_ordinary_end(error: &EngineError) -> bool {
    matches!(error, EngineError::Connection { .. })
}

/// In `0.0..1.0`; spreads waits, nothing more.
fn random() -> f64 {
    let bits = RandomState::new().build_hasher().finish();
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

/// Inspects at the same time.
const MOST_INSPECTS: usize = 8;
/// Inspects of one container before its facts are taken to be the defaults.
const MOST_TRIES: u32 = 3;
/// What a look has shown is told by events this soon, or they are lost.
const HEARD_WITHIN: Duration = Duration::from_secs(2);
/// Between two looks at the checks of a container that is not healthy.
const ASK_AGAIN: Duration = Duration::from_secs(10);
/// Events read in one go, before anything else gets a turn.
const MOST_AT_ONCE: usize = 256;

/// After this long, refused connections to a mounted socket file get [`EngineError::StaleSocket`].
pub const STALE_SOCKET_AFTER: Duration = Duration::from_secs(30);
