//! The engine API behind one seam: the calls Wharf makes, answered in its own small types.
//!
//! Every call has a deadline, [`CALL_TIMEOUT`], and every answer a bound: an engine may hang, and what
//! answers in its place may be anything.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use bollard::Docker;
use bytes::Bytes;
use futures_util::stream::FuturesUnordered;
use futures_util::{Stream, StreamExt};
use tokio::time::{sleep, timeout};

use super::client::{client, get, whole};
use super::error::EngineError;
use super::event::{Event, Facts};
use super::models::{Inspect, NetworkEntry, Version};
use super::{Container, Network, convert, follow};

/// Where the engine listens; parsed from `DOCKER_HOST`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    Unix(PathBuf),
    /// `host:port`, plain HTTP.
    Tcp(String),
}

impl Address {
    /// Reads `unix://`, `tcp://` or `http://`.
    ///
    /// # Errors
    ///
    /// [`EngineError::Unsupported`] for everything else (`ssh://`, `https://`).
    pub fn parse(host: &str) -> Result<Self, EngineError> {
        if let Some(path) = host.strip_prefix("unix://") {
            return Ok(Self::Unix(path.into()));
        }
        host.strip_prefix("tcp://")
            .or_else(|| host.strip_prefix("http://"))
            .map(|rest| Self::Tcp(rest.trim_end_matches('/').to_owned()))
            .ok_or_else(|| EngineError::Unsupported { host: host.into() })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(host) => write!(f, "tcp://{host}"),
        }
    }
}

/// An engine that has answered once, and the API version agreed with it.
///
/// Made anew after every loss of the connection: the engine behind the address may be another one.
#[derive(Debug, Clone)]
pub struct Engine {
    docker: Docker,
    address: Address,
    /// What the engine calls its release, `20.10.24+dfsg1`.
    pub version: String,
    /// The API version in every path, `1.41`.
    pub api: String,
}

impl Engine {
    /// Asks for the engine's version and agrees on an API version. Without an answer it is asked again
    /// every [`INSIST`], beside the calls under way: a question may be lost with whoever it was put to,
    /// and the engine that comes back is to be found at once.
    ///
    /// # Errors
    ///
    /// No answer, or an engine that no longer speaks any API version we do.
    pub async fn connect(address: Address) -> Result<Self, EngineError> {
        let docker = client(&address)?;
        let mut asked = FuturesUnordered::new();
        let told = loop {
            asked.push(version(&docker, &address));
            tokio::select! {
                Some(told) = asked.next() => break told?,
                () = sleep(INSIST) => {}
            }
        };
        drop(asked);
        let api = agree(told.api_version.as_deref(), told.min_api_version.as_deref())?;
        Ok(Self {
            docker,
            address,
            version: told.version,
            api,
        })
    }

    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Ends when the engine, after it has been silent for a while, answers again; not while it answers.
    /// Cancel safe.
    pub async fn back(&self) {
        let mut silent = false;
        loop {
            match timeout(INSIST, version(&self.docker, &self.address)).await {
                Ok(Ok(_)) if silent => return,
                Ok(Ok(_)) => {}
                _ => silent = true,
            }
            sleep(INSIST / 2).await;
        }
    }

    /// Every event from `since` (Unix seconds of the engine's clock) on that may change a
    /// [`Snapshot`](super::Snapshot). Subscribes at the first poll. The item after an error is `None`.
    pub fn events(
        &self,
        since: u64,
    ) -> impl Stream<Item = Result<Event, EngineError>> + Send + Unpin + use<> {
        let filters = BTreeMap::from([("type", &EVENT_TYPES[..]), ("event", &EVENTS[..])]);
        let filters = serde_json::json!(filters).to_string();
        let path = format!("/events?since={since}&filters={}", escape(&filters));
        follow::events(self.clone(), &path)
    }

    /// Every container, stopped ones too, sorted by id.
    pub async fn containers(&self) -> Result<Vec<Container>, EngineError> {
        let call = "list containers";
        let list = self.get(call, "/containers/json?all=true").await?;
        let mut containers =
            convert::containers(&list).map_err(|error| EngineError::unreadable(call, &error))?;
        containers.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(containers)
    }

    /// What the list does not tell of one container; `None` when it is gone.
    pub async fn facts(&self, id: &str) -> Result<Option<Facts>, EngineError> {
        let call = "inspect container";
        match self.get(call, &format!("/containers/{id}/json")).await {
            // Odd beyond reading: without ports, it gets its own message later.
            Ok(body) => Ok(Some(
                serde_json::from_slice::<Inspect>(&body)
                    .map(|inspect| convert::facts(&inspect))
                    .unwrap_or_default(),
            )),
            Err(EngineError::Status { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Every network, sorted by id.
    pub async fn networks(&self) -> Result<Vec<Network>, EngineError> {
        let call = "list networks";
        let list = self.get(call, "/networks").await?;
        let list: Vec<NetworkEntry> =
            serde_json::from_slice(&list).map_err(|error| EngineError::unreadable(call, &error))?;
        let mut networks: Vec<_> = list.into_iter().filter_map(convert::network).collect();
        networks.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(networks)
    }

    /// The body of an answer to `GET` under the agreed version.
    async fn get(&self, call: &'static str, path: &str) -> Result<Bytes, EngineError> {
        let answer = get(&self.docker, self.path(path));
        within(call, &self.address, whole(call, &self.address, answer)).await
    }

    /// The same, as it comes.
    pub(super) fn follow(
        &self,
        path: &str,
    ) -> impl Stream<Item = Result<Bytes, bollard::errors::Error>> + Send + Unpin + use<> {
        get(&self.docker, self.path(path))
    }

    /// `path` under the agreed version.
    fn path(&self, path: &str) -> String {
        format!("/v{}{path}", self.api)
    }
}

async fn version(docker: &Docker, address: &Address) -> Result<Version, EngineError> {
    let call = "version";
    let answer = get(docker, "/version".to_owned());
    let told = within(call, address, whole(call, address, answer)).await?;
    serde_json::from_slice(&told).map_err(|error| EngineError::unreadable(call, &error))
}

/// Runs a call under its deadline.
async fn within<T>(
    call: &'static str,
    address: &Address,
    asked: impl Future<Output = Result<T, EngineError>>,
) -> Result<T, EngineError> {
    let answer = timeout(CALL_TIMEOUT, asked).await;
    answer.unwrap_or_else(|_| {
        Err(EngineError::Timeout {
            call,
            address: address.clone(),
            seconds: CALL_TIMEOUT.as_secs(),
        })
    })
}

/// For a query: everything but letters and digits, which is more than needed.
fn escape(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => out.push(byte.into()),
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
        out
    })
}

/// The highest API version both sides speak.
fn agree(highest: Option<&str>, lowest: Option<&str>) -> Result<String, EngineError> {
    let ours = NEWEST;
    let spoken = format!("{}.{}", ours.0, ours.1);
    let theirs = highest
        .and_then(number)
        .ok_or_else(|| EngineError::Unreadable {
            call: "version",
            message: format!("ApiVersion {highest:?} is not a number like 1.41"),
        })?;
    if let Some(wanted) = lowest.filter(|lowest| number(lowest).is_some_and(|n| n > ours)) {
        let wanted = wanted.to_owned();
        return Err(EngineError::TooNew { wanted, spoken });
    }
    let (major, minor) = theirs.min(ours);
    Ok(format!("{major}.{minor}"))
}

fn number(version: &str) -> Option<(usize, usize)> {
    let (major, minor) = version.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Longest wait for one answer. A starting engine has been seen to hold a request for 15 s: asking
/// again is better than waiting.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// An engine that has not answered for so long is asked again beside.
pub const INSIST: Duration = Duration::from_millis(500);

/// The newest API Wharf was written for: that of Docker 29.
const NEWEST: (usize, usize) = (1, 53);

const EVENT_TYPES: [&str; 2] = ["container", "network"];

/// Everything that changes a container's state, name or networks. Not the three `exec_*` of each
/// health probe. Not filtered by label: network events carry none and would be lost.
pub(crate) const EVENTS: [&str; 17] = [
    "create",
    "start",
    "restart",
    "die",
    "kill",
    "stop",
    "oom",
    "destroy",
    "pause",
    "unpause",
    "rename",
    "update",
    "health_status",
    "connect",
    "disconnect",
    "remove", // Podman's destroy
    "init",   // Podman's first half of start
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let parse = |host| Address::parse(host).map(|address| address.to_string()).ok();
        for (host, expected) in [
            ("unix:///run/docker.sock", Some("unix:///run/docker.sock")),
            ("tcp://engine:2375", Some("tcp://engine:2375")),
            ("http://engine:2375/", Some("tcp://engine:2375")),
            ("https://engine:2376", None),
            ("ssh://me@engine", None),
            ("/run/docker.sock", None),
        ] {
            assert_eq!(parse(host).as_deref(), expected, "{host}");
        }
    }

    #[test]
    fn the_api_version_is_the_highest_both_speak() {
        let agree = |high, low| agree(Some(high), low).map_err(|error| error.to_string());
        assert_eq!(agree("1.41", Some("1.12")), Ok("1.41".into()));
        assert_eq!(agree("1.99", Some("1.44")), Ok("1.53".into()));
        assert_eq!(agree("1.41", None), Ok("1.41".into()));
        assert!(agree("1.99", Some("1.60")).is_err_and(|e| e.contains("1.60")));
        assert!(agree("soon", None).is_err_and(|e| e.contains("ApiVersion")));
    }
}
