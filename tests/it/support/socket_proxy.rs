//! A running `wharf socket-proxy`.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::eventually;
use super::http::{self, Response};

/// The process; told to stop on drop.
pub(crate) struct SocketProxy {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    path: PathBuf,
    _directory: tempfile::TempDir,
}

impl SocketProxy {
    /// In front of `engine` (a `DOCKER_HOST`), on a Unix socket of its own, with further arguments.
    pub(crate) fn start(engine: &str, args: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("filtered.sock");
        let mut command = Command::new(env!("CARGO_BIN_EXE_wharf"));
        command.env_clear().env("DOCKER_HOST", engine);
        command.env("WHARF_SOCKET_LISTEN", format!("unix://{}", path.display()));
        command
            .arg("socket-proxy")
            .args(args)
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let log: Arc<Mutex<Vec<String>>> = Arc::default();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let kept = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                kept.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(line);
            }
        });
        let proxy = Self {
            child,
            log,
            path,
            _directory: directory,
        };
        proxy.wait_log("listening");
        proxy
    }

    /// For `DOCKER_HOST`.
    pub(crate) fn host(&self) -> String {
        format!("unix://{}", self.path.display())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn get(&self, target: &str) -> Response {
        self.ask("GET", target, "")
    }

    /// One request, `more` after its first lines, read to the end of the connection.
    pub(crate) fn ask(&self, method: &str, target: &str, more: &str) -> Response {
        let mut stream = self.open(method, target, more);
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        http::parse(&answer).unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&answer)))
    }

    /// The same with the answer still to be read.
    pub(crate) fn open(&self, method: &str, target: &str, more: &str) -> UnixStream {
        let mut stream = UnixStream::connect(&self.path).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let head = format!("{method} {target} HTTP/1.1\r\nHost: docker\r\n{more}\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        stream
    }

    pub(crate) fn log_lines(&self) -> Vec<String> {
        self.log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The first line, past or to come, that contains `text`.
    pub(crate) fn wait_log(&self, text: &str) -> String {
        eventually(text, LIMIT, || {
            let lines = self.log_lines();
            let found = lines.iter().find(|line| line.contains(text)).cloned();
            found.ok_or_else(|| lines.join("\n"))
        })
    }

    /// SIGTERM, then its exit code.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").arg(pid).status();
        let ended = eventually("exit of the filter", LIMIT, || {
            let ended = self.child.try_wait().unwrap();
            ended.ok_or_else(|| "still running".into())
        });
        ended.code()
    }
}

impl Drop for SocketProxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("-- log of the filter:\n{}", self.log_lines().join("\n"));
        }
    }
}

const LIMIT: Duration = Duration::from_secs(20);
