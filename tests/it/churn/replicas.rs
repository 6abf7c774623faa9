//! One thing after the other happens to one of three replicas, and to a container that is alone: stopped,
//! killed, paused, restarted, renamed, out of memory.

use std::collections::BTreeSet;

use super::history::History;
use super::{of, unanswered_post};
use crate::support::docker::{App, Container, docker, unique};
use crate::support::http;
use crate::support::load::{Failure, Kind, Load, Mix};
use crate::support::wharf::{Builder, Wharf};

/// Replicas of one site under load.
struct Site {
    wharf: Wharf,
    host: String,
    replicas: Vec<Container>,
    load: Load,
    history: History,
}

/// What an event may cost.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cost {
    /// What was under way at the container, of POSTs and streams.
    UnderWay,
    Nothing,
}

impl Site {
    fn start(count: usize) -> Self {
        let (host, pool) = (format!("{}.test", unique("churn")), unique("pool"));
        let app = App::new("churn").env("NAME", "churn");
        let app = app.label("wharf.host", &host).label("wharf.https", "both");
        let app = app
            .label("wharf.pool", &pool)
            .label("wharf.hold", "20s max=5000");
        let memory = ["--memory=64m", "--memory-swap=64m", "--restart=always"];
        let replicas = app.arg(&memory).scale(count);
        let wharf = Builder::new().start();
        wharf.wait_answer(&host, "/", |answer| answer.status == 200);
        let history = History::of(&format!("label=wharf.pool={pool}"));
        let load = Load::start(&wharf, &host, "churn", Mix::ALL);
        Self {
            wharf,
            host,
            replicas,
            load,
            history,
        }
    }

    /// `change` happens to the first replica, and after it all goes on.
    fn happens(&self, what: &str, cost: Cost, change: impl FnOnce(&Self, &Container)) {
        let one = &self.replicas[0];
        change(self, one);
        // Whatever was cut has been opened again, and new requests get through.
        self.load.go_on();
        let report = self.load.take();
        println!("{what}, one of {}\n{report}", self.replicas.len());
        if report.failed().next().is_some() {
            println!("{}", self.history);
        }
        let theirs = |kind: Kind, failure: &Failure| {
            cost == Cost::UnderWay
                && unanswered_post(kind, failure)
                && failure.what.contains(one.name())
        };
        report.assert_answered(what, theirs);
        let dead = match cost {
            Cost::UnderWay => vec![one.id.clone()],
            Cost::Nothing => Vec::new(),
        };
        report.assert_whole(what, of(&dead));
    }

    /// Waits until all replicas get requests again: whoever asks often enough meets each of them.
    fn whole(&self) {
        let wanted = self
            .replicas
            .iter()
            .map(|replica| replica.id[..12].to_owned());
        let wanted: BTreeSet<String> = wanted.collect();
        let mut met = BTreeSet::new();
        crate::support::eventually("every replica", crate::support::peer::LIMIT, || {
            let answer = self
                .wharf
                .get(&self.host, "/json")
                .map_err(|error| error.to_string())?;
            met.insert(
                answer.json()["hostname"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned(),
            );
            match met.is_superset(&wanted) {
                true => Ok(()),
                false => Err(format!("{met:?} of {wanted:?}")),
            }
        });
    }
}

fn through_everything(count: usize) {
    let site = Site::start(count);
    site.whole();
    site.happens("nothing", Cost::Nothing, |_, _| {});
    site.happens("docker rename", Cost::Nothing, |_, one| {
        let name = format!("{}-renamed", one.name());
        docker(["rename", &one.id, &name]);
        docker(["rename", &one.id, one.name()]);
    });
    site.happens("docker stop and start", Cost::UnderWay, |site, one| {
        one.stop(5);
        one.start();
        site.whole();
    });
    site.happens(
        "docker kill -s KILL and start",
        Cost::UnderWay,
        |site, one| {
            one.kill("KILL");
            // The engine refuses while it still ends.
            docker(["wait", &one.id]);
            one.start();
            site.whole();
        },
    );
    site.happens("docker restart", Cost::UnderWay, |site, one| {
        one.restart();
        site.whole();
    });
    site.happens("docker pause and unpause", Cost::Nothing, |site, one| {
        one.pause();
        if site.replicas.len() > 1 {
            // The others have it all.
            site.load.asks_on();
        }
        one.unpause();
        site.whole();
    });
    site.happens("out of memory", Cost::UnderWay, |site, one| {
        let before = one.inspect("{{.RestartCount}}");
        let address = one.inspect("{{.NetworkSettings.IPAddress}}");
        let address = format!("{address}:3000").parse().unwrap();
        // Its answer is its end.
        let _ = http::request(address, "POST", "app", "/allocate/100", &[], b"");
        crate::support::eventually("its restart", crate::support::peer::LIMIT, || {
            match one.inspect("{{.RestartCount}} {{.State.Running}}") {
                now if now.ends_with("true") && !now.starts_with(&format!("{before} ")) => Ok(()),
                now => Err(now),
            }
        });
        let actions = site.history.all();
        assert!(
            actions.iter().any(|event| event.action == "oom"),
            "{}",
            site.history
        );
        site.whole();
    });
    let report = site.load.end();
    report.assert_answered("the end", |_, _| false);
}

#[test]
fn one_of_three_replicas_goes_through_everything() {
    through_everything(3);
}

#[test]
fn a_container_that_is_alone_goes_through_everything() {
    through_everything(1);
}
