//! Plain `docker-compose up -d` of a service that has one container, while requests go on: none fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use crate::support::compose::{Compose, Service};
use crate::support::docker::unique;
use crate::support::h2::H2;
use crate::support::http;
use crate::support::peer::Peer;
use crate::support::wharf::{Builder, Wharf};

/// Clients that ask all the time, each in its own way, until they are told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<(&'static str, JoinHandle<Asked>)>,
}

/// What became of one client's requests.
#[derive(Default)]
struct Asked {
    took: Vec<Duration>,
    failed: Vec<String>,
}

impl Load {
    fn start(wharf: &Wharf, host: &str) -> Self {
        let mut load = Self {
            stop: Arc::default(),
            clients: Vec::new(),
        };
        let (address, name) = (wharf.http, host.to_owned());
        load.client("keep-alive", {
            let name = name.clone();
            let mut kept = Peer::connect(address);
            move || {
                kept.send(format!("GET / HTTP/1.1\r\nHost: {name}\r\n\r\n"));
                Ok(kept.message().status())
            }
        });
        load.client("new connections", {
            let name = name.clone();
            move || {
                let answer = http::get(address, &name, "/");
                answer
                    .map(|answer| answer.status)
                    .map_err(|e| e.to_string())
            }
        });
        load.client("HTTP/2", {
            let url = format!("http://{name}/");
            let client = H2::connect(address);
            move || {
                let answer = client.get(&url, &[]);
                answer
                    .map(|answer| answer.status)
                    .map_err(|e| e.to_string())
            }
        });
        load.client("uploads", move || {
            let body = [b'x'; 20_000];
            let answer = http::request(address, "PUT", &name, "/upload", &[], &body);
            answer
                .map(|answer| answer.status)
                .map_err(|e| e.to_string())
        });
        load
    }

    fn client(
        &mut self,
        name: &'static str,
        mut ask: impl FnMut() -> Result<u16, String> + Send + 'static,
    ) {
        let stop = Arc::clone(&self.stop);
        let client = spawn(move || {
            let mut asked = Asked::default();
            while !stop.load(Ordering::SeqCst) {
                let began = Instant::now();
                match ask() {
                    Ok(200) => asked.took.push(began.elapsed()),
                    Ok(status) => asked.failed.push(status.to_string()),
                    Err(error) => asked.failed.push(error),
                }
                sleep(PAUSE);
            }
            asked
        });
        self.clients.push((name, client));
    }

    /// Ends it. Nothing may have failed.
    fn end(self, what: &str) {
        self.stop.store(true, Ordering::SeqCst);
        for (name, client) in self.clients {
            let Asked { mut took, failed } = client.join().expect(name);
            took.sort();
            let p99 = took.get(took.len() * 99 / 100);
            println!(
                "{what}, {name}: {} answered, p99 {p99:?}, longest {:?}",
                took.len(),
                took.last()
            );
            assert!(took.len() > 50, "{name}: too few to tell anything");
            assert_eq!(failed, Vec::<String>::new(), "{what}, {name}");
        }
    }
}

/// Between two requests of a client.
const PAUSE: Duration = Duration::from_millis(10);

fn deploys(what: &str, environment: &[(&str, &str)], grace: &str) {
    deploys_at(
        what,
        environment,
        grace,
        ("wharf.tls: off", ""),
        Builder::new(),
    );
}

/// With a label of its own, lines for the compose file, and a Wharf that knows of them.
fn deploys_at(
    what: &str,
    environment: &[(&str, &str)],
    grace: &str,
    (label, more): (&str, &str),
    wharf: Builder,
) {
    let label = label.split_once(": ").unwrap();
    let host = format!("{}.test", unique("deploy"));
    let compose = Compose::new();
    let up = |version: &str| {
        let mut environment = environment.to_vec();
        environment.extend([("VERSION", version), ("START_DELAY_MS", "1000")]);
        compose.up_service(&Service {
            labels: &[("wharf.host", &host), ("wharf.https", "both"), label],
            environment: &environment,
            stop_grace_period: grace,
            more,
        });
    };
    up("0");
    let wharf = wharf.start();
    wharf.wait_answer(&host, "/", |answer| answer.status == 200);
    let load = Load::start(&wharf, &host);
    for version in ["1", "2", "3"] {
        up(version);
        // The old one is gone, the new one serves.
        wharf.wait_answer(&host, "/", |answer| answer.status == 200);
    }
    load.end(what);
}

#[test]
fn an_app_that_exits_at_once() {
    deploys("exits at once", &[], "10s");
}

#[test]
fn an_app_that_ignores_the_signal() {
    let environment = [("IGNORE_TERM", "1")];
    deploys("ignores TERM", &environment, "1s");
}

#[test]
fn an_app_that_finishes_what_it_has() {
    let environment = [("TERM_DELAY_MS", "500")];
    deploys("finishes", &environment, "10s");
}

/// B35: the new app puts its socket in the place of the old one's.
#[test]
fn an_app_behind_a_unix_socket() {
    let volume = tempfile::tempdir().unwrap();
    let more = format!(
        "    network_mode: none\n    volumes:\n      - {}:/sockets\n",
        volume.path().display()
    );
    let environment = [("SOCKET", "/sockets/app.sock")];
    let label = ("wharf.upstream: unix:app.sock", &*more);
    let wharf = Builder::new().env("WHARF_SOCKETS", volume.path().to_str().unwrap());
    deploys_at("Unix socket", &environment, "10s", label, wharf);
}
