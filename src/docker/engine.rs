//! The engine API behind one seam: the calls Wharf makes, answered in its own small types.
//!
//! bollard stays in this file, `convert` and [`EngineError`]. Its traps, and what is
//! done about them: it sends paths without an API version (a request modifier adds the negotiated
//! one); one value unknown to its enums fails a whole list (the list is then read container by
//! container); its timeout covers only the response head (every call has [`CALL_TIMEOUT`] around it).

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::errors::Error as ClientError;
use bollard::models::ContainerSummary;
use bollard::query_parameters::{
    EventsOptionsBuilder, InspectContainerOptions, ListContainersOptionsBuilder,
    ListNetworksOptions,
};
use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};
use futures_util::{Stream, StreamExt, TryStreamExt};

use super::convert;
use super::error::EngineError;
use super::event::{Event, Facts};
use super::{Container, Network};

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
#[derive(Debug)]
pub struct Engine {
    docker: Docker,
    address: Address,
    /// What the engine calls its release, `20.10.24+dfsg1`.
    pub version: String,
    /// The API version in every path, `1.41`.
    pub api: String,
}

impl Engine {
    /// Asks for the engine's version and agrees on an API version.
    ///
    /// # Errors
    ///
    /// Unsupported address, no answer, or an engine that no longer speaks any API version we do.
    pub async fn connect(address: Address) -> Result<Self, EngineError> {
        let seconds = CALL_TIMEOUT.as_secs();
        let docker = match &address {
            Address::Unix(path) => {
                Docker::connect_with_unix(&path.to_string_lossy(), seconds, API_DEFAULT_VERSION)
            }
            Address::Tcp(host) => Docker::connect_with_http(host, seconds, API_DEFAULT_VERSION),
        };
        let docker = docker.map_err(|e| EngineError::from_client("version", &address, &e))?;
        let told = call("version", &address, docker.version()).await?;
        let api = agree(told.api_version.as_deref(), told.min_api_version.as_deref())?;
        let prefix = format!("/v{api}");
        let docker = docker.with_request_modifier(move |request| with_version(request, &prefix));
        Ok(Self {
            docker,
            address,
            version: told.version.unwrap_or_default(),
            api,
        })
    }

    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Every event that may change a [`Snapshot`](super::Snapshot). Subscribes at the first poll; replays what is no older than [`REPLAY`], so that nothing
    /// is lost between a list and the subscription. The item after an error is `None`.
    pub fn events(
        &self,
    ) -> impl Stream<Item = Result<Event, EngineError>> + Send + Unpin + 'static {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let since = now.unwrap_or_default().saturating_sub(REPLAY).as_secs();
        let filters = HashMap::from([("type", EVENT_TYPES.to_vec()), ("event", EVENTS.to_vec())]);
        let options = EventsOptionsBuilder::default()
            .since(&since.to_string())
            .filters(&filters)
            .build();
        let address = self.address.clone();
        Box::pin(self.docker.events(Some(options)).map(move |event| {
            event
                .map(convert::event)
                .map_err(|e| EngineError::from_client("events", &address, &e))
        }))
    }

    /// Every container, stopped ones too, sorted by id.
    pub async fn containers(&self) -> Result<Vec<Container>, EngineError> {
        let name = "list containers";
        let options = ListContainersOptionsBuilder::default().all(true).build();
        let list = call(name, &self.address, async {
            match self.docker.list_containers(Some(options)).await {
                Err(ClientError::JsonDataError { message, .. }) => {
                    tracing::debug!(%message, "reading the container list one by one");
                    self.containers_one_by_one().await
                }
                list => list,
            }
        });
        let mut containers: Vec<_> = list
            .await?
            .into_iter()
            .filter_map(convert::container)
            .collect();
        containers.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(containers)
    }

    /// The same list without the client's all-or-nothing models: what is odd about one container
    /// costs at most that container.
    async fn containers_one_by_one(&self) -> Result<Vec<ContainerSummary>, ClientError> {
        let path = format!("/v{}/containers/json?all=true", self.api);
        // The client has no call for raw bytes but this one, whose path the modifier replaces.
        let docker = self
            .docker
            .clone()
            .with_request_modifier(move |mut request| {
                *request.uri_mut() = with_path(request.uri(), &path);
                request
            });
        let bytes: Vec<_> = docker.export_container("list").try_collect().await?;
        let list: Vec<serde_json::Value> = serde_json::from_slice(&bytes.concat())?;
        Ok(list.into_iter().filter_map(convert::lenient).collect())
    }

    /// What the list does not tell of one container; `None` when it is gone.
    pub async fn facts(&self, id: &str) -> Result<Option<Facts>, EngineError> {
        let inspect = self
            .docker
            .inspect_container(id, None::<InspectContainerOptions>);
        match call("inspect container", &self.address, inspect).await {
            Ok(container) => Ok(Some(convert::facts(&container))),
            Err(EngineError::Status { status: 404, .. }) => Ok(None),
            // Odd beyond reading: without ports, it gets its own message later.
            Err(EngineError::Unreadable { .. }) => Ok(Some(Facts::default())),
            Err(error) => Err(error),
        }
    }

    /// Every network, sorted by id.
    pub async fn networks(&self) -> Result<Vec<Network>, EngineError> {
        let list = self.docker.list_networks(None::<ListNetworksOptions>);
        let list = call("list networks", &self.address, list).await?;
        let mut networks: Vec<_> = list.into_iter().filter_map(convert::network).collect();
        networks.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(networks)
    }
}

/// Runs one call under [`CALL_TIMEOUT`].
async fn call<T>(
    name: &'static str,
    address: &Address,
    request: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, EngineError> {
    let answer = tokio::time::timeout(CALL_TIMEOUT, request)
        .await
        .unwrap_or(Err(ClientError::RequestTimeoutError));
    answer.map_err(|error| EngineError::from_client(name, address, &error))
}

/// The highest API version both sides speak.
fn agree(highest: Option<&str>, lowest: Option<&str>) -> Result<String, EngineError> {
    let ours = (
        API_DEFAULT_VERSION.major_version,
        API_DEFAULT_VERSION.minor_version,
    );
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

/// Adds the agreed version, unless a later release of the client does so itself.
fn with_version(mut request: BollardRequest, prefix: &str) -> BollardRequest {
    let versioned = request
        .uri()
        .path()
        .strip_prefix("/v")
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    if !versioned && let Some(path) = request.uri().path_and_query() {
        *request.uri_mut() = with_path(request.uri(), &format!("{prefix}{path}"));
    }
    request
}

/// `uri` with another path and query; unchanged if they do not parse.
fn with_path(uri: &http::Uri, path: &str) -> http::Uri {
    let mut parts = uri.clone().into_parts();
    if let Ok(path) = path.parse() {
        parts.path_and_query = Some(path);
    }
    http::Uri::from_parts(parts).unwrap_or_else(|_| uri.clone())
}

/// Longest wait for one answer. A starting engine has been seen to hold a request for 15 s: asking
/// again is better than waiting.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// How far back a subscription reaches.
pub const REPLAY: Duration = Duration::from_secs(2);

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

    #[test]
    fn only_unversioned_paths_get_the_version() {
        for (uri, expected) in [
            ("http://e/version", "http://e/v1.41/version"),
            (
                "unix://2f61/events?since=1",
                "unix://2f61/v1.41/events?since=1",
            ),
            ("http://e/v1.30/events", "http://e/v1.30/events"),
            ("http://e/volumes", "http://e/v1.41/volumes"),
        ] {
            let request = http::Request::get(uri)
                .body(bollard::body_full("".into()))
                .unwrap();
            assert_eq!(with_version(request, "/v1.41").uri().to_string(), expected);
        }
    }
}
