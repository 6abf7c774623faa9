//! A compose service that grows, shrinks, and is replaced container by container.

use super::history::History;
use super::{of, unanswered_post};
use crate::support::compose::{Compose, Service};
use crate::support::docker::{docker, unique};
use crate::support::eventually;
use crate::support::load::{Load, Mix};
use crate::support::peer::LIMIT;
use crate::support::wharf::Builder;

#[test]
fn from_one_container_to_five_to_two_to_two_new_ones() {
    let host = format!("{}.test", unique("scale"));
    let compose = Compose::new();
    let write = |version: &str, args: &[&str]| {
        let labels = [
            ("wharf.host", &*host),
            ("wharf.https", "both"),
            ("wharf.hold", "20s max=5000"),
        ];
        let service = Service {
            labels: &labels,
            environment: &[
                ("VERSION", version),
                ("NAME", "scale"),
                ("START_DELAY_MS", "500"),
            ],
            stop_grace_period: "10s",
            more: "",
        };
        compose.up_service_with(&service, args);
    };
    write("1", &[]);
    let wharf = Builder::new().start();
    wharf.wait_answer(&host, "/", |answer| answer.status == 200);
    let history = History::of(&compose.filter());
    let load = Load::start(&wharf, &host, "scale", Mix::ALL);
    // So many listen.
    let replicas = |count: usize| {
        let upstream = compose.upstream();
        eventually("its replicas", LIMIT, || {
            let status = wharf.status_json();
            let mut upstreams = status["upstreams"].as_array().unwrap().iter();
            let found = upstreams.find(|one| one["name"] == *upstream);
            let endpoints = found.map_or(0, |one| one["endpoints"].as_array().unwrap().len());
            match endpoints == count {
                true => Ok(()),
                false => Err(format!("{endpoints} of {count}")),
            }
        });
        load.go_on();
    };
    let step = |what: &str, removed: &[String]| {
        let report = load.take();
        println!("{what}\n{report}");
        if report.failed().next().is_some() {
            println!("{history}");
        }
        let post = |kind, failure: &_| !removed.is_empty() && unanswered_post(kind, failure);
        report.assert_answered(what, post);
        report.assert_whole(what, of(removed));
    };
    write("1", &["--scale", "web=5"]);
    replicas(5);
    step("1 to 5", &[]);
    let before = compose.containers();
    write("1", &["--scale", "web=2"]);
    replicas(2);
    let old = compose.containers();
    let removed: Vec<_> = before.into_iter().filter(|id| !old.contains(id)).collect();
    assert_eq!(removed.len(), 3);
    step("5 to 2", &removed);
    // Rolling: the new ones beside the old ones first, then the old ones go one by one.
    write("2", &["--no-recreate", "--scale", "web=4"]);
    replicas(4);
    for (gone, id) in old.iter().enumerate() {
        docker(["stop", id]);
        docker(["rm", id]);
        replicas(3 - gone);
    }
    step("2 to 2 new ones", &old);
    load.end().assert_answered("the end", |_, _| false);
}
