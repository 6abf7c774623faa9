//! A Wharf with routes: fake engine, containers whose addresses are this test's own servers.

use std::net::SocketAddr;

use super::engine::{FakeContainer, FakeEngine};
use super::origin::Origin;
use super::peer::Peer;
use super::wharf::{Builder, Wharf};

/// A running Wharf that has seen its containers.
pub(crate) struct Site {
    pub(crate) wharf: Wharf,
    pub(crate) engine: FakeEngine,
}

impl Site {
    /// One worker, so that pools and the order of endpoints are one.
    pub(crate) fn start(containers: impl Into<Vec<FakeContainer>>) -> Self {
        Self::with(containers, |builder| builder)
    }

    pub(crate) fn with(
        containers: impl Into<Vec<FakeContainer>>,
        configure: impl FnOnce(Builder) -> Builder,
    ) -> Self {
        let engine = FakeEngine::start();
        engine.set_containers(containers);
        let builder = Builder::new().engine(&engine).env("WHARF_WORKERS", "1");
        let wharf = configure(builder).start();
        wharf.wait_status("the first list", |status| status["ready"] == true);
        Self { wharf, engine }
    }

    /// One container on `a.test`, plain HTTP only, with further labels.
    pub(crate) fn plain(port: u16, labels: &str) -> Self {
        let labels = format!("wharf.host: a.test\nwharf.tls: off\n{labels}");
        Self::start([app("app", port, &labels)])
    }

    /// Replicas of one site at these ports.
    pub(crate) fn replicas(ports: &[u16], labels: &str) -> Self {
        let labels = format!("wharf.host: a.test\nwharf.tls: off\nwharf.pool: p\n{labels}");
        let containers = ports.iter().enumerate();
        let containers = containers.map(|(i, port)| app(&format!("app{i}"), *port, &labels));
        Self::start(containers.collect::<Vec<_>>())
    }

    /// A connection to the plain listener.
    pub(crate) fn client(&self) -> Peer {
        Peer::connect(self.wharf.http)
    }

    /// Sends `request` on a connection of its own.
    pub(crate) fn send(&self, request: impl AsRef<[u8]>) -> Peer {
        let mut client = self.client();
        client.send(request);
        client
    }

    /// A TLS connection with `name` as SNI.
    pub(crate) fn tls(&self, name: &str) -> Result<Peer, rustls::Error> {
        Peer::connect_tls(self.wharf.https, name, self.wharf.data())
    }

    /// The value of a metric, by its name and labels as written; without labels, the sum over them.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let metrics = self.wharf.metrics();
        let lines = metrics.lines().filter_map(|line| line.rsplit_once(' '));
        let mut values = lines
            .filter(|(key, _)| *key == name || key.split('{').next() == Some(name))
            .map(|(_, value)| value.parse::<f64>().unwrap())
            .peekable();
        assert!(values.peek().is_some(), "no {name} in\n{metrics}");
        values.sum()
    }

    pub(crate) fn http(&self) -> SocketAddr {
        self.wharf.http
    }
}

/// A container at `port` of this machine, with labels as lines of `key: value`.
pub(crate) fn app(name: &str, port: u16, labels: &str) -> FakeContainer {
    let container = FakeContainer::new(name).at_port(port);
    let labels = labels
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty());
    labels.fold(container, |container, line| {
        let (key, value) = line.split_once(": ").expect("a label");
        container.label(key, value)
    })
}

/// A request without a body for `a.test`.
pub(crate) fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n")
}

/// Sends each request on a connection of its own; it must get its status and stay in Wharf.
pub(crate) fn refused(site: &Site, origin: &Origin, cases: &[(u16, &str)]) {
    for (status, request) in cases {
        println!("{request:.60?}");
        let answer = site.send(request).message();
        assert_eq!(answer.status(), *status);
        assert!(origin.accepted().is_none(), "forwarded");
    }
}
