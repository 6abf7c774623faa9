//! Keeps a [`Snapshot`] of the engine up to date.
//!
//! Level-triggered: an event says "look again", and what it says itself counts only until a list can
//! know of it ([`Signs`]). So lost, doubled and reordered events cannot leave a wrong picture.
//! Whatever fails, the last snapshot stays: an engine that is away does not stop its containers.

/// What has been and is to be inspected.
mod asked;
/// The last list with what events say since, and what is told of it.
mod picture;
/// From a subscription to its end.
mod session;

use std::convert::Infallible;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::engine::Address;
use super::error::EngineError;
use super::own::Clues;
use super::pace::{SETTLED, Trouble};
use super::signs::{FactsById, Signs};
use super::{Position, Snapshot};
use crate::alarm::Alarm;
use crate::model::LabelPrefix;

/// What the watcher is told at start.
#[derive(Debug, Clone)]
pub struct WatcherConfig {
    /// `DOCKER_HOST`: `unix:///path`, `tcp://host:port` or `http://host:port`.
    pub host: String,
    /// Id or name of the container Wharf runs in, where it cannot find out by itself.
    pub own_id: Option<String>,
    /// Who could not reach a container says so here, and the engine is looked at.
    pub alarm: Arc<Alarm>,
    /// Containers with such labels are inspected, others are none of our business.
    pub prefix: LabelPrefix,
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
    /// What the engine was asked and has not given a good answer to so far.
    pub unanswered: Option<Unanswered>,
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

/// A question to the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unanswered {
    /// `list containers`, `version`.
    pub call: &'static str,
    /// When it was asked first.
    pub since: SystemTime,
}

/// Looks at the engine whenever something may have changed.
#[derive(Debug)]
pub struct Watcher {
    host: String,
    alarm: Arc<Alarm>,
    prefix: LabelPrefix,
    clues: Clues,
    /// Once found it stays: Wharf does not move.
    position: Option<Position>,
    /// Id of the container Wharf runs in.
    own: Option<String>,
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
    /// The engine has answered nothing for a while and does again.
    Back,
    Failed(EngineError),
}

impl Watcher {
    pub fn new(config: WatcherConfig) -> Self {
        Self {
            host: config.host,
            alarm: config.alarm,
            prefix: config.prefix,
            clues: Clues::gather(config.own_id),
            position: None,
            own: None,
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
                End::Back => {
                    tracing::debug!("docker engine answers again; asking anew");
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

    /// Before a question to the engine: the first that gets no good answer stays the one that is told of.
    fn ask(&self, call: &'static str, out: &Outputs) {
        out.state.send_if_modified(|state| {
            let since = SystemTime::now();
            let news = state.unanswered.is_none();
            state.unanswered.get_or_insert(Unanswered { call, since });
            news
        });
    }

    fn answered(&self, call: &'static str, out: &Outputs) {
        out.state.send_if_modified(|state| {
            let asked = state.unanswered.take_if(|asked| asked.call == call);
            asked.is_some()
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

/// Ends of a stream that had worked: the engine restarts, a proxy closes an idle connection.
fn is_ordinary_end(error: &EngineError) -> bool {
    matches!(error, EngineError::Connection { .. })
}

/// In `0.0..1.0`; spreads waits, nothing more.
fn random() -> f64 {
    let bits = RandomState::new().build_hasher().finish();
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

const VERSION: &str = "version";
const LIST: &str = "list containers";

/// After this long, refused connections to a mounted socket file get [`EngineError::StaleSocket`].
pub const STALE_SOCKET_AFTER: Duration = Duration::from_secs(30);
