//! A `wharf run` of its own: free ports, an empty data directory, its log kept.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::engine::FakeEngine;
use super::http::{self, Response};

/// How to start it.
#[derive(Debug, Clone)]
pub(crate) struct Builder {
    env: BTreeMap<String, String>,
    args: Vec<String>,
    data: Option<PathBuf>,
    descriptors: Option<u32>,
    under: Vec<String>,
}

impl Default for Builder {
    fn default() -> Self {
        Self::new()
    }
}

impl Builder {
    /// Free ports on loopback, the machine's own engine.
    pub(crate) fn new() -> Self {
        let any = || "127.0.0.1:0".to_owned();
        let env = ["WHARF_HTTP", "WHARF_HTTPS", "WHARF_ADMIN"].map(|name| (name.to_owned(), any()));
        let mut env = BTreeMap::from(env);
        let host = std::env::var("DOCKER_HOST");
        let host = host.unwrap_or_else(|_| "unix:///var/run/docker.sock".into());
        env.insert("DOCKER_HOST".into(), host);
        let args = vec!["run".into()];
        Self {
            env,
            args,
            data: None,
            descriptors: None,
            under: Vec::new(),
        }
    }

    pub(crate) fn engine(self, engine: &FakeEngine) -> Self {
        self.env("DOCKER_HOST", &engine.host())
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    pub(crate) fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.into());
        self
    }

    /// A data directory that outlives the process; without this it has one of its own.
    pub(crate) fn data(mut self, directory: &Path) -> Self {
        self.data = Some(directory.to_owned());
        self
    }

    /// The most files and sockets it may have open.
    pub(crate) fn descriptors(mut self, count: u32) -> Self {
        self.descriptors = Some(count);
        self
    }

    /// Run by this command, which becomes Wharf or leaves it as the direct child.
    pub(crate) fn under(mut self, command: &[&str]) -> Self {
        self.under = command.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    pub(crate) fn start(self) -> Wharf {
        Wharf::start(self)
    }
}

/// The process; killed by its own id on drop, its log printed if the test panicked.
pub(crate) struct Wharf {
    child: Child,
    log: Arc<Log>,
    /// Standard output: the access log.
    out: Arc<Log>,
    /// Plain HTTP listener.
    pub(crate) http: SocketAddr,
    /// TLS listener.
    pub(crate) https: SocketAddr,
    pub(crate) admin: SocketAddr,
    data: PathBuf,
    _own_data: Option<tempfile::TempDir>,
}

impl Wharf {
    /// Starts it and waits until it has told the address of every listener that is not off.
    ///
    /// # Panics
    ///
    /// When it exits or says nothing for [`START_LIMIT`].
    pub(crate) fn start(builder: Builder) -> Self {
        let own_data = match builder.data {
            Some(_) => None,
            None => Some(tempfile::tempdir().unwrap()),
        };
        let own_path = || own_data.as_ref().unwrap().path().to_owned();
        let data = builder.data.unwrap_or_else(own_path);
        let off = |name| builder.env.get(name).is_some_and(|value| value == "off");
        let off = ["WHARF_HTTP", "WHARF_HTTPS", "WHARF_ADMIN"].map(off);
        let wharf = env!("CARGO_BIN_EXE_wharf");
        let mut command = match builder.descriptors {
            Some(count) => {
                let mut shell = Command::new("/bin/sh");
                shell
                    .arg("-c")
                    .arg(format!("ulimit -n {count}; exec \"$0\" \"$@\""));
                shell.arg(wharf);
                shell
            }
            None => match builder.under.split_first() {
                Some((program, words)) => {
                    let mut command = Command::new(program);
                    command.args(words).arg(wharf);
                    command
                }
                None => Command::new(wharf),
            },
        };
        // Nothing from the outside: settings of the shell must not decide a test.
        command.env_clear().env("WHARF_DATA", &data);
        command
            .env("RUST_BACKTRACE", "1")
            .envs(builder.env)
            .args(builder.args);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let log = Log::of(child.stderr.take().unwrap());
        let out = Log::of(child.stdout.take().unwrap());
        let any = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut wharf = Self {
            child,
            log,
            out,
            http: any,
            https: any,
            admin: any,
            data,
            _own_data: own_data,
        };
        // From here on a panic ends the child and prints its log.
        let address = |name: &str| {
            let line = wharf.log.wait(START_LIMIT, |line| {
                line.contains("listening") && field(line, "listener").as_deref() == Some(name)
            });
            let address = line.and_then(|line| field(&line, "address")?.parse().ok());
            address.unwrap_or_else(|| panic!("wharf told no address of its {name} listener"))
        };
        let names = ["http", "https", "admin"].iter().zip(off);
        let told = names.map(|(name, off)| if off { any } else { address(name) });
        let told: Vec<_> = told.collect();
        (wharf.http, wharf.https, wharf.admin) = (told[0], told[1], told[2]);
        wharf
    }

    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// PEM of the root of its built-in CA.
    pub(crate) fn local_root(&self) -> String {
        std::fs::read_to_string(self.data.join("ca/ca.crt")).unwrap()
    }

    /// `GET path` for `host` over plain HTTP.
    pub(crate) fn get(&self, host: &str, path: &str) -> std::io::Result<Response> {
        http::get(self.http, host, path)
    }

    /// Asks `host` until it answers anything but 404 and what a container gets that has started but
    /// does not listen yet, and returns that answer.
    pub(crate) fn wait_route(&self, host: &str) -> Response {
        let not_yet = [404, 502, 503];
        self.wait_answer(host, "/", |response| !not_yet.contains(&response.status))
    }

    /// Asks until `is` likes the answer.
    pub(crate) fn wait_answer(
        &self,
        host: &str,
        path: &str,
        is: impl Fn(&Response) -> bool,
    ) -> Response {
        let what = format!("http://{host}{path}");
        super::eventually(&what, WAIT_LIMIT, || match self.get(host, path) {
            Ok(response) if is(&response) => Ok(response),
            Ok(response) => Err(format!("{}: {}", response.status, response.text())),
            Err(error) => Err(error.to_string()),
        })
    }

    pub(crate) fn status_json(&self) -> serde_json::Value {
        http::get(self.admin, "localhost", "/status")
            .unwrap()
            .json()
    }

    /// What `wharf status` prints.
    pub(crate) fn status_text(&self) -> String {
        let mut status = Command::new(env!("CARGO_BIN_EXE_wharf"));
        status.arg("status").arg("--admin");
        let output = status.arg(self.admin.to_string()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn metrics(&self) -> String {
        http::get(self.admin, "localhost", "/metrics")
            .unwrap()
            .text()
    }

    /// Asks for the status until `is` likes it.
    pub(crate) fn wait_status(
        &self,
        what: &str,
        is: impl Fn(&serde_json::Value) -> bool,
    ) -> serde_json::Value {
        super::eventually(what, WAIT_LIMIT, || {
            let status = self.status_json();
            if is(&status) {
                Ok(status)
            } else {
                Err(status.to_string())
            }
        })
    }

    /// Everything logged so far.
    pub(crate) fn log_lines(&self) -> Vec<String> {
        self.log.lock().lines.clone()
    }

    /// The first line, past or to come, that contains `text`.
    pub(crate) fn wait_log(&self, text: &str) -> String {
        let line = self.log.wait(WAIT_LIMIT, |line| line.contains(text));
        line.unwrap_or_else(|| panic!("wharf logged no `{text}`"))
    }

    /// The first `count` lines on standard output, past or to come.
    pub(crate) fn wait_out(&self, count: usize) -> Vec<String> {
        super::eventually("lines on standard output", WAIT_LIMIT, || {
            let lines = self.out.lock().lines.clone();
            match lines.len() >= count {
                true => Ok(lines),
                false => Err(lines.join("\n")),
            }
        })
    }

    /// Everything on standard output, once it has ended.
    pub(crate) fn whole_out(&self) -> Vec<String> {
        self.out.wait_end();
        self.out.lock().lines.clone()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by name: `TERM`, `HUP`, ...
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let kill = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(kill.unwrap().success());
    }

    /// SIGTERM, then waits for the end.
    pub(crate) fn stop(mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait_exit()
    }

    pub(crate) fn has_exited(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub(crate) fn wait_exit(&mut self) -> ExitStatus {
        super::eventually("exit of wharf", EXIT_LIMIT, || {
            let ended = self.child.try_wait().unwrap();
            ended.ok_or_else(|| "still running".into())
        })
    }
}

impl Drop for Wharf {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            self.log.wait_end();
            eprintln!("-- log of wharf:\n{}", self.log_lines().join("\n"));
        }
    }
}

#[derive(Default)]
struct Log {
    state: Mutex<LogState>,
    grown: Condvar,
}

#[derive(Default)]
struct LogState {
    lines: Vec<String>,
    ended: bool,
}

impl Log {
    /// Reads `pipe` to its end on a thread.
    fn of(pipe: impl Read + Send + 'static) -> Arc<Self> {
        let log = Arc::new(Self::default());
        let lines = BufReader::new(pipe).lines();
        let reader = log.clone();
        std::thread::spawn(move || {
            lines
                .map_while(Result::ok)
                .for_each(|line| reader.push(line));
            reader.end();
        });
        log
    }

    fn lock(&self) -> MutexGuard<'_, LogState> {
        self.state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn push(&self, line: String) {
        self.lock().lines.push(line);
        self.grown.notify_all();
    }

    fn end(&self) {
        self.lock().ended = true;
        self.grown.notify_all();
    }

    fn wait(&self, limit: Duration, is: impl Fn(&str) -> bool) -> Option<String> {
        let deadline = Instant::now() + limit;
        let mut state = self.lock();
        let mut seen = 0;
        loop {
            if let Some(line) = state.lines[seen..].iter().find(|line| is(line)) {
                return Some(line.clone());
            }
            seen = state.lines.len();
            let left = deadline.saturating_duration_since(Instant::now());
            if state.ended || left.is_zero() {
                return None;
            }
            let waited = self.grown.wait_timeout(state, left);
            state = waited.unwrap_or_else(|poisoned| poisoned.into_inner()).0;
        }
    }

    fn wait_end(&self) {
        let state = self.lock();
        let limit = Duration::from_secs(1);
        let _ = self
            .grown
            .wait_timeout_while(state, limit, |state| !state.ended);
    }
}

/// `name=value` of a text line, `"name":"value"` of a JSON line.
fn field(line: &str, name: &str) -> Option<String> {
    let start = |prefix: &str| line.find(prefix).map(|at| &line[at + prefix.len()..]);
    let rest = start(&format!("{name}=")).or_else(|| start(&format!("\"{name}\":\"")))?;
    let value = rest.trim_start_matches('"');
    let end = value.find(['"', ' ', ',', '}']).unwrap_or(value.len());
    Some(value[..end].to_owned())
}

#[test]
fn fields_of_both_log_formats() {
    let text = "2026-11-23T16:00:00Z  INFO wharf: listening listener=http address=127.0.0.1:41234";
    let json =
        r#"{"level":"INFO","message":"listening","listener":"http","address":"127.0.0.1:41234"}"#;
    for line in [text, json] {
        assert_eq!(field(line, "listener").as_deref(), Some("http"));
        assert_eq!(field(line, "address").as_deref(), Some("127.0.0.1:41234"));
        assert_eq!(field(line, "port"), None);
    }
}

const START_LIMIT: Duration = Duration::from_secs(20);
const WAIT_LIMIT: Duration = Duration::from_secs(20);
const EXIT_LIMIT: Duration = Duration::from_secs(45);
