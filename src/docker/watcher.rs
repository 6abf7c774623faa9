//! Keeps a [`Snapshot`] of the engine up to date.
//!
//! Level-triggered: an event only says "look again", and every change comes from a list. So lost,
//! doubled and reordered events cannot leave a wrong picture. Whatever fails, the last snapshot
//! stays: an engine that is away does not stop its containers.

use std::collections::HashMap;
use std::convert::Infallible;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::{Fuse, FusedFuture};
use futures_util::{FutureExt, StreamExt};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::engine::{Address, Engine};
use super::error::EngineError;
use super::own::Clues;
use super::pace::{Pace, SETTLED, Trouble};
use super::{Container, Network, Position, Snapshot, State};

/// What the watcher is told at start.
#[derive(Debug, Clone)]
pub struct WatcherConfig {
    /// `DOCKER_HOST`: `unix:///path`, `tcp://host:port` or `http://host:port`.
    pub host: String,
    /// Id or name of the container Wharf runs in, where it cannot find out by itself.
    pub own_id: Option<String>,
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
    clues: Clues,
    /// Once found it stays: Wharf does not move.
    position: Option<Position>,
    ports: Ports,
    trouble: Trouble,
    subscriptions: u64,
}

/// Where a watcher writes.
struct Outputs {
    snapshots: watch::Sender<Option<Arc<Snapshot>>>,
    state: watch::Sender<EngineState>,
}

/// Exposed ports by container id, of containers whose ports only an inspect tells. They never change
/// in a container's life.
type Ports = HashMap<String, Vec<u16>>;

/// How a session came to its end.
enum End {
    /// The event stream ended, or failed, after at least one list.
    Stream(Option<EngineError>),
    /// A periodic list found what no event had told: the stream may be half-open.
    Deaf,
    Failed(EngineError),
}

impl Watcher {
    pub fn new(config: WatcherConfig) -> Self {
        Self {
            host: config.host,
            clues: Clues::gather(config.own_id),
            position: None,
            ports: Ports::new(),
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
        let mut stream_end = None;
        let mut pace = Pace::new(begun);
        let mut list = pin!(Fuse::terminated());
        let mut list_begun = None;
        let mut by_resync = false;
        let mut last_event = None;
        loop {
            tokio::select! {
                // Only notes: a reader that waits for an API call would lose events.
                event = events.next(), if stream_end.is_none() => match event {
                    Some(Ok(())) => {
                        last_event = Some(SystemTime::now());
                        by_resync = false;
                        pace.event(Instant::now());
                    }
                    Some(Err(error)) => stream_end = Some(Some(error)),
                    None => stream_end = Some(None),
                },
                () = sleep_until(pace.next()), if list.is_terminated() => {
                    let now = Instant::now();
                    by_resync = !pace.start(now);
                    list_begun = Some(now);
                    list.set(look(&engine, std::mem::take(&mut self.ports)).fuse());
                }
                answer = &mut list, if !list.is_terminated() => {
                    let now = Instant::now();
                    let look = match answer {
                        Ok(look) => look,
                        Err(error) => return End::Failed(error),
                    };
                    pace.end(now, list_begun.map_or(Duration::ZERO, |begun| now - begun), random());
                    let changed = self.publish(look, out);
                    self.report(out, last_event, begun, stream_end.is_none());
                    if let Some(error) = stream_end {
                        return End::Stream(error);
                    }
                    if by_resync && changed {
                        return End::Deaf;
                    }
                }
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

    /// Hands a look on if it differs from the last one.
    fn publish(&mut self, look: Look, out: &Outputs) -> bool {
        self.ports = look.ports;
        let snapshot = Snapshot {
            position: self.position(&look.containers, out),
            containers: look.containers,
            networks: look.networks,
        };
        out.snapshots.send_if_modified(|current| {
            if current.as_deref() == Some(&snapshot) {
                return false;
            }
            *current = Some(Arc::new(snapshot));
            true
        })
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

/// What one round of calls gives.
struct Look {
    containers: Vec<Container>,
    networks: Vec<Network>,
    ports: Ports,
}

/// Lists containers and networks, and inspects those containers whose ports the list hides.
async fn look(engine: &Engine, mut ports: Ports) -> Result<Look, EngineError> {
    let (containers, networks) = tokio::try_join!(engine.containers(), engine.networks())?;
    let mut containers = containers;
    ports.retain(|id, _| containers.binary_search_by(|c| c.id.cmp(id)).is_ok());
    for container in containers.iter_mut().filter(|c| hides_ports(c)) {
        if !ports.contains_key(&container.id) {
            let Some(found) = engine.exposed_ports(&container.id).await? else {
                continue;
            };
            ports.insert(container.id.clone(), found);
        }
        container.exposed = ports[&container.id].clone();
    }
    Ok(Look {
        containers,
        networks,
        ports,
    })
}

/// Only for containers with our labels: an inspect shows more than we want to know.
fn hides_ports(container: &Container) -> bool {
    let mode = container.network_mode.as_str();
    container.state == State::Running
        && container.exposed.is_empty()
        && (mode == "host" || mode.starts_with("container:"))
        && container.labels.keys().any(|key| key.starts_with("wharf."))
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

/// After this long, refused connections to a mounted socket file get [`EngineError::StaleSocket`].
pub const STALE_SOCKET_AFTER: Duration = Duration::from_secs(30);
