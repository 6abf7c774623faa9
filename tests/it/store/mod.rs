//! The certificate store: several Wharfs on it, real Pebble, and what is left when one is killed.

// Clocks that are wrong.
mod clock;
// `wharf certs`.
pub(crate) mod commands;
// Disks that are full, or may not be written.
mod disks;
// Killed in the middle of an order, or of a write.
mod killed;
// Several processes, one directory.
mod shared;

use std::path::Path;
use std::process::Command;

use crate::support::engine::{FakeContainer, FakeEngine};
use crate::support::origin::Origin;
use crate::support::pebble::{Pebble, free_port};
use crate::support::site::app;
use crate::support::wharf::{Builder, Wharf};
use crate::tls::find;

/// A CA, an engine with one app on many hosts, and a directory: what the Wharfs of a test share.
pub(crate) struct Shared {
    pub(crate) ca: Pebble,
    pub(crate) engine: FakeEngine,
    pub(crate) data: tempfile::TempDir,
    /// Where the CA validates.
    http: u16,
    https: u16,
    root: String,
    _origin: Origin,
}

impl Shared {
    pub(crate) fn of(hosts: &[String]) -> Self {
        let (http, https) = (free_port(), free_port());
        let ca = Pebble::start(http, https);
        Self::with(ca, http, https, hosts)
    }

    pub(crate) fn with(ca: Pebble, http: u16, https: u16, hosts: &[String]) -> Self {
        let origin = Origin::new();
        let engine = FakeEngine::start();
        engine.set_containers([container(&origin, hosts)]);
        Self {
            root: ca.issuing_root(),
            ca,
            engine,
            data: tempfile::tempdir().unwrap(),
            http,
            https,
            _origin: origin,
        }
    }

    /// A Wharf on ports of its own, not yet started.
    pub(crate) fn beside(&self) -> Builder {
        let root = self.ca.listener_root();
        let builder = Builder::new()
            .engine(&self.engine)
            .env("WHARF_WORKERS", "1");
        let builder = builder.env("WHARF_ACME", &self.ca.directory());
        let builder = builder.env("WHARF_ACME_ROOT", root.to_str().unwrap());
        builder.data(self.data.path())
    }

    /// The one the CA validates at.
    pub(crate) fn asked(&self) -> Builder {
        let builder = self.beside();
        let builder = builder.env("WHARF_HTTP", &format!("127.0.0.1:{}", self.http));
        builder.env("WHARF_HTTPS", &format!("127.0.0.1:{}", self.https))
    }

    /// A handshake with each of `hosts`, all at once.
    pub(crate) async fn handshakes(
        &self,
        wharf: &Wharf,
        hosts: &[String],
    ) -> Vec<std::io::Result<()>> {
        let port = wharf.https.port();
        let all = hosts.iter().map(async |host| {
            let stream = crate::support::responder::handshake(host, port, &self.root);
            stream.await.map(drop)
        });
        futures_util::future::join_all(all).await
    }

    pub(crate) fn file(&self, name: &str) -> Option<std::path::PathBuf> {
        find(self.data.path(), name)
    }
}

pub(crate) fn hosts(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("h{n}.example.com")).collect()
}

/// `wharf` with these words, on this directory and nothing else.
pub(crate) fn command(data: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wharf"));
    command.args(words).env_clear().env("WHARF_DATA", data);
    command
}

fn container(origin: &Origin, hosts: &[String]) -> FakeContainer {
    let labels = format!("wharf.host: {}", hosts.join(","));
    app("app", origin.port(), &labels)
}

/// Until it has seen the container.
pub(crate) fn wait_ready(wharf: &Wharf) {
    wharf.wait_status("the first list", |status| status["ready"] == true);
}

/// Every record there is, by host.
pub(crate) fn records(data: &Path) -> Vec<serde_json::Value> {
    let mut records = Vec::new();
    let mut folders = vec![data.join("certificates")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ext| ext == "json") {
                let text = std::fs::read(&path).unwrap();
                records.push(serde_json::from_slice(&text).expect("a whole record"));
            }
        }
    }
    records
}
