//! An engine on a Unix socket that lists what it is told, and fails on demand. No containers run.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

/// A container as the engine lists it. The default is running on network `web` without an address.
#[derive(Debug, Clone)]
pub(crate) struct FakeContainer {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    /// Digest of its image.
    pub(crate) image: String,
    pub(crate) state: String,
    pub(crate) status: String,
    pub(crate) network_mode: String,
    /// Network name -> address.
    pub(crate) networks: BTreeMap<String, Option<IpAddr>>,
    pub(crate) ports: Vec<u16>,
    /// What only an inspect tells.
    pub(crate) exposed: Vec<u16>,
    pub(crate) stop_signal: Option<String>,
    pub(crate) stop_timeout: Option<u32>,
}

impl FakeContainer {
    /// The id derives from the name: the same name is the same container.
    pub(crate) fn new(name: &str) -> Self {
        let hex: String = name.bytes().map(|byte| format!("{byte:02x}")).collect();
        Self {
            id: format!("{hex:0<64.64}"),
            name: name.into(),
            labels: BTreeMap::new(),
            image: "sha256:1a99".into(),
            state: "running".into(),
            status: "Up 2 seconds".into(),
            network_mode: "web".into(),
            networks: [("web".into(), None)].into(),
            ports: Vec::new(),
            exposed: Vec::new(),
            stop_signal: None,
            stop_timeout: None,
        }
    }

    pub(crate) fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.into(), value.into());
        self
    }

    pub(crate) fn image(mut self, digest: &str) -> Self {
        self.image = digest.into();
        self
    }

    /// Appears on network `web` at 127.0.0.1, exposing `port`: where a test's own server listens.
    pub(crate) fn at_port(self, port: u16) -> Self {
        let mut this = self.at("web", Ipv4Addr::LOCALHOST.into());
        this.ports.push(port);
        this
    }

    pub(crate) fn at(mut self, network: &str, address: IpAddr) -> Self {
        self.networks.insert(network.into(), Some(address));
        self
    }

    /// `exited`, `paused`, `created`, or a word no engine uses.
    pub(crate) fn state(mut self, state: &str) -> Self {
        self.state = state.into();
        self
    }

    /// `starting`, `healthy` or `unhealthy`, as the `Status` text tells it.
    pub(crate) fn health(mut self, health: &str) -> Self {
        let health = if health == "starting" {
            "health: starting"
        } else {
            health
        };
        self.status = format!("Up 2 seconds ({health})");
        self
    }

    /// `host` or `container:<id>`: no networks and no ports in the list, `exposed` on inspect.
    pub(crate) fn mode(mut self, mode: &str, exposed: &[u16]) -> Self {
        self.network_mode = mode.into();
        self.networks.clear();
        if mode == "host" {
            self.networks.insert("host".into(), None);
        }
        self.exposed = exposed.into();
        self
    }

    /// `StopSignal` and `StopTimeout`.
    pub(crate) fn stops(mut self, signal: &str, seconds: u32) -> Self {
        self.stop_signal = Some(signal.into());
        self.stop_timeout = Some(seconds);
        self
    }

    fn json(&self) -> Value {
        let address = |address: &Option<IpAddr>, of_v6: bool| {
            let address = address.filter(|ip| ip.is_ipv6() == of_v6);
            address.map(|ip| ip.to_string()).unwrap_or_default()
        };
        let networks: serde_json::Map<_, _> = (self.networks.iter())
            .map(|(name, ip)| {
                let endpoint = json!({
                    "NetworkID": network_id(name), "IPAddress": address(ip, false),
                    "GlobalIPv6Address": address(ip, true), "Gateway": "",
                });
                (name.clone(), endpoint)
            })
            .collect();
        let ports: Vec<_> = (self.ports.iter())
            .map(|port| json!({ "PrivatePort": port, "Type": "tcp" }))
            .collect();
        json!({
            "Id": self.id, "Names": [format!("/{}", self.name)], "Image": "app",
            "ImageID": self.image, "Created": 1795440343,
            "Labels": self.labels, "State": self.state, "Status": self.status,
            "HostConfig": { "NetworkMode": self.network_mode }, "Ports": ports, "Mounts": [],
            "NetworkSettings": { "Networks": networks },
        })
    }
}

/// The engine; listens until dropped, or told to stop.
pub(crate) struct FakeEngine {
    shared: Arc<Shared>,
    path: PathBuf,
    accepting: Option<JoinHandle<()>>,
    _directory: tempfile::TempDir,
}

#[derive(Default)]
struct Shared {
    containers: Mutex<Vec<FakeContainer>>,
    /// Open `/events` connections.
    streams: Mutex<Vec<UnixStream>>,
    muted: Mutex<Vec<UnixStream>>,
    /// Paths served, with their counts.
    served: Mutex<HashMap<String, u64>>,
    /// Answer everything with this status, if not 0.
    status: AtomicU16,
    /// Only paths that contain this fail.
    failing_path: Mutex<String>,
    /// Sent in place of every answer to `failing_path`, if there is one.
    garbage: Mutex<Option<Vec<u8>>>,
    /// The last 256 events, with their seconds: told again to who asks from then on.
    told: Mutex<VecDeque<(u64, String)>>,
    /// Newest and oldest API version; 1.41 and 1.12 if not set.
    spoken: Mutex<Option<(u32, u32)>>,
    frozen: Mutex<Frozen>,
    thawed: Condvar,
    list_delay_ms: AtomicU64,
    stopping: AtomicBool,
    /// Requests so far.
    numbers: AtomicU64,
}

/// Whether requests are left without an answer, and what becomes of them.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Frozen {
    #[default]
    No,
    Yes,
    /// Those that came before are never answered.
    Lost(u64),
}

impl FakeEngine {
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut engine = Self {
            shared: Arc::default(),
            path: directory.path().join("docker.sock"),
            accepting: None,
            _directory: directory,
        };
        engine.listen();
        engine
    }

    /// For `DOCKER_HOST`.
    pub(crate) fn host(&self) -> String {
        format!("unix://{}", self.path.display())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces all containers, silently.
    pub(crate) fn set_containers(&self, containers: impl Into<Vec<FakeContainer>>) {
        *lock(&self.shared.containers) = containers.into();
    }

    /// Adds or replaces a container by name and tells `connect` and `start`.
    pub(crate) fn run(&self, container: FakeContainer) {
        let name = container.name.clone();
        let mut containers = lock(&self.shared.containers);
        containers.retain(|old| old.name != name);
        containers.push(container);
        drop(containers);
        self.push_event("network", "connect", &name);
        self.push_event("container", "start", &name);
    }

    /// Removes a container and tells `kill`, `die`, `disconnect` and `destroy`.
    pub(crate) fn remove(&self, name: &str) {
        self.push_event("container", "kill", name);
        lock(&self.shared.containers).retain(|container| container.name != name);
        self.push_event("container", "die", name);
        self.push_event("network", "disconnect", name);
        self.push_event("container", "destroy", name);
    }

    /// Sends an event about container `name`, and network `web`, to every subscriber.
    pub(crate) fn push_event(&self, kind: &str, action: &str, name: &str) {
        let id = FakeContainer::new(name).id;
        let actor = match kind {
            "network" => json!({
                "ID": network_id("web"),
                "Attributes": { "container": id, "name": "web", "type": "bridge" },
            }),
            _ => {
                json!({ "ID": id, "Attributes": { "image": "app", "name": name, "signal": "15" } })
            }
        };
        self.push(kind, action, &actor);
    }

    /// Tells that a signal was sent to container `name`.
    pub(crate) fn push_kill(&self, name: &str, signal: u8) {
        let id = FakeContainer::new(name).id;
        let attributes = json!({ "image": "app", "name": name, "signal": signal.to_string() });
        let actor = json!({ "ID": id, "Attributes": attributes });
        self.push("container", "kill", &actor);
    }

    fn push(&self, kind: &str, action: &str, actor: &Value) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let nanos = u64::try_from(now.as_nanos()).unwrap();
        let event = json!({
            "Type": kind, "Action": action, "Actor": actor,
            "scope": "local", "time": now.as_secs(), "timeNano": nanos,
        });
        let line = format!("{event}\n");
        let chunk = format!("{:x}\r\n{line}\r\n", line.len());
        let mut told = lock(&self.shared.told);
        if told.len() == 256 {
            told.pop_front();
        }
        told.push_back((now.as_secs(), chunk.clone()));
        lock(&self.shared.streams).retain_mut(|stream| stream.write_all(chunk.as_bytes()).is_ok());
    }

    /// Cuts every event stream in the middle of its body.
    pub(crate) fn cut_events(&self) {
        for stream in lock(&self.shared.streams).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Ends every event stream properly.
    pub(crate) fn end_events(&self) {
        for mut stream in lock(&self.shared.streams).drain(..) {
            let _ = stream.write_all(b"0\r\n\r\n");
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Event streams stay open and say nothing any more.
    pub(crate) fn mute_events(&self) {
        let mut streams = lock(&self.shared.streams);
        lock(&self.shared.muted).append(&mut streams);
    }

    /// Answers `status` to every request whose path contains `path`; 0 ends it.
    pub(crate) fn fail(&self, path: &str, status: u16) {
        *lock(&self.shared.failing_path) = path.into();
        self.shared.status.store(status, Ordering::SeqCst);
    }

    /// Answers requests whose path contains `path` with `bytes`, which need not be HTTP, and leaves the
    /// connection open; `None` ends it.
    pub(crate) fn babble(&self, path: &str, bytes: Option<&[u8]>) {
        *lock(&self.shared.failing_path) = path.into();
        *lock(&self.shared.garbage) = bytes.map(<[u8]>::to_vec);
    }

    /// Accepts connections and answers nothing from here on. Event streams that are open stay so.
    pub(crate) fn freeze(&self) {
        *lock(&self.shared.frozen) = Frozen::Yes;
    }

    /// Answers again: also what came meanwhile, unless that is `lost`.
    pub(crate) fn thaw(&self, lost: bool) {
        *lock(&self.shared.frozen) = match lost {
            true => Frozen::Lost(self.shared.numbers.load(Ordering::SeqCst)),
            false => Frozen::No,
        };
        self.shared.thawed.notify_all();
    }

    pub(crate) fn delay_lists(&self, delay: Duration) {
        let millis = u64::try_from(delay.as_millis()).unwrap();
        self.shared.list_delay_ms.store(millis, Ordering::SeqCst);
    }

    /// Speaks these versions `1.<minor>` only, from the next request on.
    pub(crate) fn speak(&self, newest: u32, oldest: u32) {
        *lock(&self.shared.spoken) = Some((newest, oldest));
    }

    /// Everything that has been asked for, sorted; API version left out.
    pub(crate) fn paths(&self) -> Vec<String> {
        let mut paths: Vec<_> = lock(&self.shared.served).keys().cloned().collect();
        paths.sort();
        paths
    }

    /// How often a path that ends so has been asked for, API version left out.
    pub(crate) fn served(&self, path: &str) -> u64 {
        lock(&self.shared.served)
            .get(path)
            .copied()
            .unwrap_or_default()
    }

    /// How often anything has been asked for.
    pub(crate) fn asked(&self) -> u64 {
        lock(&self.shared.served).values().sum()
    }

    /// Open event streams.
    pub(crate) fn subscribers(&self) -> usize {
        lock(&self.shared.streams).len()
    }

    /// Stops listening and closes everything; `leave_file` keeps the dead socket file.
    pub(crate) fn stop(&mut self, leave_file: bool) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // Wakes the accepting thread.
        let _ = UnixStream::connect(&self.path);
        if let Some(accepting) = self.accepting.take() {
            accepting.join().unwrap();
        }
        if !leave_file {
            let _ = std::fs::remove_file(&self.path);
        }
        self.cut_events();
    }

    /// Listens (again) on the same path, as a new socket.
    pub(crate) fn listen(&mut self) {
        let _ = std::fs::remove_file(&self.path);
        self.shared.stopping.store(false, Ordering::SeqCst);
        let listener = UnixListener::bind(&self.path).unwrap();
        let shared = self.shared.clone();
        self.accepting = Some(std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if shared.stopping.load(Ordering::SeqCst) {
                    return;
                }
                let shared = shared.clone();
                // A client that has left is no news to an engine.
                std::thread::spawn(move || shared.answer(stream));
            }
        }));
    }
}

impl Drop for FakeEngine {
    fn drop(&mut self) {
        self.thaw(false);
        self.stop(false);
    }
}

impl Shared {
    fn answer(&self, mut stream: UnixStream) -> Option<()> {
        let mut lines = BufReader::new(stream.try_clone().ok()?).lines();
        let request = lines.next()?.ok()?;
        lines
            .find(|line| line.as_ref().is_ok_and(String::is_empty))?
            .ok()?;
        let target = request.split(' ').nth(1)?;
        let path = target.split('?').next()?;
        let (newest, oldest) = lock(&self.spoken).unwrap_or((41, 12));
        let unversioned = match path.strip_prefix("/v1.") {
            Some(rest) => {
                let (minor, rest) = rest.split_at(rest.find('/')?);
                let minor: u32 = minor.parse().ok()?;
                let what = match minor {
                    _ if minor > newest => "new. Maximum",
                    _ if minor < oldest => "old. Minimum",
                    _ => "",
                };
                if !what.is_empty() {
                    let message = format!(
                        "client version 1.{minor} is too {what} supported API version is 1.{newest}"
                    );
                    return respond(&mut stream, 400, &json!({ "message": message }));
                }
                rest
            }
            // Deprecated.
            None if path != "/version" && lock(&self.spoken).is_some() => {
                return respond(&mut stream, 400, &json!({ "message": "no version" }));
            }
            None => path,
        };
        *lock(&self.served).entry(unversioned.into()).or_default() += 1;
        let number = self.numbers.fetch_add(1, Ordering::SeqCst);
        let frozen = lock(&self.frozen);
        let frozen = self.thawed.wait_while(frozen, |now| *now == Frozen::Yes);
        let lost = match *frozen.unwrap_or_else(|poisoned| poisoned.into_inner()) {
            Frozen::Lost(before) => number < before,
            Frozen::No | Frozen::Yes => false,
        };
        if lost {
            lock(&self.muted).push(stream);
            return Some(());
        }
        let garbage = lock(&self.garbage).clone();
        if let Some(garbage) = garbage
            && unversioned.contains(lock(&self.failing_path).as_str())
        {
            stream.write_all(&garbage).ok()?;
            lock(&self.muted).push(stream);
            return Some(());
        }
        let status = self.status.load(Ordering::SeqCst);
        if status != 0 && unversioned.contains(lock(&self.failing_path).as_str()) {
            return respond(&mut stream, status, &json!({ "message": "as told" }));
        }
        match unversioned {
            "/events" => {
                let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
                stream.write_all(head.as_bytes()).ok()?;
                let since = target.split("since=").nth(1);
                let since = since.and_then(|rest| rest.split('&').next()?.parse().ok());
                let since: u64 = since.unwrap_or(u64::MAX);
                // Locked until it is in the list: no event is lost or told twice.
                let told = lock(&self.told);
                for (_, event) in told.iter().filter(|(at, _)| *at >= since) {
                    stream.write_all(event.as_bytes()).ok()?;
                }
                lock(&self.streams).push(stream);
                Some(())
            }
            "/version" => {
                let version = json!({
                    "Version": "20.10.24-fake",
                    "ApiVersion": format!("1.{newest}"),
                    "MinAPIVersion": format!("1.{oldest}"),
                });
                respond(&mut stream, 200, &version)
            }
            "/networks" => {
                let names = ["host", "other", "web"].iter();
                let networks: Vec<_> = names
                    .map(|name| json!({ "Id": network_id(name), "Name": name, "Driver": "bridge" }))
                    .collect();
                respond(&mut stream, 200, &json!(networks))
            }
            "/containers/json" => {
                let list: Vec<_> = lock(&self.containers)
                    .iter()
                    .map(FakeContainer::json)
                    .collect();
                let delay = self.list_delay_ms.load(Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(delay));
                respond(&mut stream, 200, &json!(list))
            }
            inspect => {
                let id = inspect
                    .strip_prefix("/containers/")?
                    .strip_suffix("/json")?;
                let found = (lock(&self.containers).iter())
                    .find(|container| container.id == id)
                    .cloned();
                let Some(found) = found else {
                    return respond(&mut stream, 404, &json!({ "message": "No such container" }));
                };
                let ports = found.exposed.iter();
                let ports = ports.map(|port| (format!("{port}/tcp"), json!({})));
                let ports: serde_json::Map<_, _> = ports.collect();
                let config = json!({
                    "Labels": found.labels, "ExposedPorts": ports, "StopSignal": found.stop_signal, "StopTimeout": found.stop_timeout,
                });
                respond(&mut stream, 200, &json!({ "Id": id, "Config": config }))
            }
        }
    }
}

fn respond(stream: &mut UnixStream, status: u16, body: &Value) -> Option<()> {
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 {status} Told\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).ok()
}

fn network_id(name: &str) -> String {
    format!("net-{name}")
}

/// A test that panicked elsewhere must not hide its own message behind a poisoned lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}
