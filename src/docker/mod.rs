//! The Docker side: engine -> snapshot -> plan.

// One call to the engine.
mod client;
mod convert;
pub mod engine;
mod error;
// What the engine tells as it happens.
pub mod event;
mod follow;
// The label language: one table of options.
pub mod labels;
mod look;
mod models;
pub mod own;
mod pace;
// Snapshot -> plan; pure.
pub mod plan;
// What events say and the list does not show yet; pure.
pub mod signs;
pub mod watcher;

pub use error::EngineError;
pub use watcher::{EngineState, Watcher, WatcherConfig};

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One container as the engine's list gives it, converted at the edge so that a model change of
/// the client crate stops here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// 64 hex digits.
    pub id: String,
    /// Without the leading slash.
    pub name: String,
    /// Keys as written.
    pub labels: BTreeMap<String, String>,
    /// Digest of its image (API field `ImageID`); empty where nobody says.
    pub image: String,
    /// Unix seconds (API field `Created`).
    pub created: i64,
    pub state: State,
    /// When its process last ended, as far as events have told: the engine's clock, nanoseconds; 0 if none has.
    /// What runs after that is another process, even at the same address.
    pub ended: i64,
    pub health: Health,
    /// What its HEALTHCHECK said last, where that failed, or its exit code: one line, see
    /// [`complaint`](convert::complaint).
    pub complaint: Option<String>,
    /// Sorted by name.
    pub networks: Vec<Attachment>,
    /// Exposed TCP ports, sorted, from the list's `Ports` (and inspect's `ExposedPorts` where the
    /// list has none: host and `container:` mode).
    pub exposed: Vec<u16>,
    /// Published TCP ports.
    pub published: Vec<Published>,
    /// `HostConfig.NetworkMode`: `bridge`, `host`, `none`, `container:<id>` or a network's name.
    pub network_mode: String,
}

impl Container {
    /// Whether it stands for a route of a file, and is none of the engine's.
    pub fn is_of_file(&self) -> bool {
        self.id.starts_with(FILE)
    }
}

/// What ids and names of such routes begin with; an engine's have no colon.
pub const FILE: &str = "file:";

/// `State` of the list, and [`State::Stopping`] that only events tell; values Wharf does not know are
/// [`State::Other`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Created,
    Running,
    /// Runs, and has been told to stop.
    Stopping,
    Paused,
    Restarting,
    Exited,
    Other,
}

/// HEALTHCHECK as told by the list's `Status` text, or by an inspect where that says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Health {
    /// The image has none (or the text hides it).
    #[default]
    None,
    Starting,
    Healthy,
    Unhealthy,
}

/// One network a container is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    pub name: String,
    pub network_id: String,
    pub ipv4: Option<Ipv4Addr>,
    pub ipv6: Option<Ipv6Addr>,
    pub gateway: Option<IpAddr>,
}

/// One published TCP port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    pub private: u16,
    pub public: u16,
    /// Host address it is bound to; unspecified means all.
    pub ip: Option<IpAddr>,
}

/// A network of the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    pub id: String,
    pub name: String,
    pub internal: bool,
    pub ingress: bool,
}

/// Where Wharf itself runs, which decides the addresses it can reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Position {
    /// A process on the engine's host (or in a container with `network_mode: host`): every bridge
    /// address is reachable.
    Host,
    /// A container: only addresses on its own networks are reachable.
    Container { id: String },
}

/// One consistent look at the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Sorted by id.
    pub containers: Vec<Container>,
    /// Sorted by id.
    pub networks: Vec<Network>,
    pub position: Position,
    /// Id of the container Wharf runs in, whatever its networks; `None` on a host, or if the engine lists none.
    pub own: Option<String>,
}

impl Snapshot {
    fn find(&self, id: &str) -> Option<&Container> {
        let at = self.containers.binary_search_by(|c| c.id.as_str().cmp(id));
        at.ok().and_then(|at| self.containers.get(at))
    }
}
