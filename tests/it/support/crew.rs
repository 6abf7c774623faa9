//! Replicas of one site that tell who they are.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::origin::{Served, ok};
use super::peer::Peer;
use super::site::{Site, app};

/// Replicas that answer with their names, `a`, `b` ..., each with labels of its own.
pub(crate) struct Crew {
    pub(crate) site: Site,
    served: Vec<Served>,
}

impl Crew {
    /// `workers` of Wharf, and one replica of a pool for each item of `own`.
    pub(crate) fn start(workers: u32, labels: &str, own: &[&str]) -> Self {
        let shared = format!("wharf.host: a.test\nwharf.tls: off\nwharf.pool: p\n{labels}");
        let labels = own.iter().map(|own| format!("{shared}\n{own}"));
        Self::of(workers, &labels.collect::<Vec<_>>())
    }

    /// The same, with labels that have nothing in common.
    pub(crate) fn of(workers: u32, labels: &[impl AsRef<str>]) -> Self {
        let served: Vec<Served> = (0..labels.len()).map(named).collect();
        let containers = labels.iter().zip(&served).enumerate();
        let containers = containers
            .map(|(i, (labels, served))| app(&format!("app{i}"), served.port(), labels.as_ref()));
        let site = Site::with(containers.collect::<Vec<_>>(), |builder| {
            builder
                .env("WHARF_WORKERS", &workers.to_string())
                .env("WHARF_TRUSTED_PROXIES", "127.0.0.1")
        });
        Self { site, served }
    }

    /// Sends `count` requests on each of `connections` at once; who answered how often.
    pub(crate) fn ask(
        &self,
        connections: u32,
        count: u32,
        request: impl Fn(u32) -> String + Sync,
    ) -> Counts {
        let counts = Mutex::new(Counts::new());
        std::thread::scope(|scope| {
            for connection in 0..connections {
                let (counts, request) = (&counts, &request);
                scope.spawn(move || {
                    let mut client = self.site.client();
                    let mut own = Counts::new();
                    for n in 0..count {
                        client.send(request(connection * count + n));
                        *own.entry(who(&mut client)).or_default() += 1;
                    }
                    let mut counts = counts.lock().unwrap();
                    for (name, count) in own {
                        *counts.entry(name).or_default() += count;
                    }
                });
            }
        });
        counts.into_inner().unwrap()
    }

    /// Where a replica listens.
    pub(crate) fn port(&self, index: usize) -> u16 {
        self.served[index].port()
    }

    /// Who answers one request with these fields.
    pub(crate) fn one(&self, path: &str, fields: &str) -> String {
        who(&mut self.site.send(with(path, fields)))
    }
}

pub(crate) type Counts = BTreeMap<String, u32>;

pub(crate) fn named(index: usize) -> Served {
    let name = [b'a' + index as u8];
    Served::by(move |_| ok(name))
}

pub(crate) fn who(client: &mut Peer) -> String {
    let answer = client.message();
    assert_eq!(answer.status(), 200, "{}", answer.text());
    answer.text()
}

pub(crate) fn with(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n")
}

pub(crate) fn counts(of: &[(&str, u32)]) -> Counts {
    of.iter()
        .map(|(name, count)| ((*name).to_owned(), *count))
        .collect()
}
