//! `docker-compose up -d` of a service with one container that needs three seconds to start, over and over:
//! no request fails, and none waits longer than the service is away.
//!
//! [`RECREATES`] times for each way to end; as often as `WHARF_TEST_RECREATES` says where it is set.

use std::time::Duration;

use super::history::History;
use super::{of, unanswered_post};
use crate::support::compose::{Compose, Service};
use crate::support::docker::unique;
use crate::support::load::{Cut, Kind, Load, Mix, Report};
use crate::support::wharf::Builder;

/// A service that ends on SIGTERM as its `environment` says.
struct Deploys {
    report: Report,
    /// Ids of the containers that had to go.
    replaced: Vec<String>,
}

fn deploys(style: &str, environment: &[(&str, &str)], grace: &str) -> Deploys {
    let host = format!("{}.test", unique("recreate"));
    let compose = Compose::new();
    let start = START.as_millis().to_string();
    let up = |version: u32| {
        let version = version.to_string();
        let own = [
            ("VERSION", &*version),
            ("NAME", style),
            ("START_DELAY_MS", &start),
        ];
        compose.up_service(&Service {
            labels: &[
                ("wharf.host", &host),
                ("wharf.https", "both"),
                ("wharf.hold", "20s max=5000"),
            ],
            environment: &[environment, &own].concat(),
            stop_grace_period: grace,
            more: "",
        });
    };
    up(0);
    let wharf = Builder::new().start();
    wharf.wait_answer(&host, "/", |answer| answer.status == 200);
    let history = History::of(&compose.filter());
    let load = Load::start(&wharf, &host, style, Mix::ALL);
    let mut replaced = Vec::new();
    let count = count();
    for version in 1..=count {
        replaced.extend(compose.containers());
        up(version);
        // The new one serves; the old one's streams have been opened again.
        load.go_on();
    }
    let report = load.end();
    let gaps = history.gaps();
    assert_eq!(gaps.len(), count as usize, "{:?}", history.all());
    let away = *gaps.iter().max().unwrap() + START;
    println!("{style}: {count} recreates, away for {away:.1?} at most\n{report}");
    for (kind, failure) in report.failed() {
        println!("  {}: {failure}", kind.name());
    }
    if report.failed().next().is_some() {
        println!("{history}");
    }
    let p99 = report.percentile(99.0);
    assert!(
        p99 < away + slack(),
        "p99 {p99:?}, away for {away:?}\n{report}"
    );
    Deploys { report, replaced }
}

#[test]
fn an_app_that_exits_at_once() {
    let Deploys { report, replaced } = deploys("exits", &[], "10s");
    report.assert_answered("exits at once", unanswered_post);
    report.assert_whole("exits at once", of(&replaced));
}

#[test]
fn an_app_that_ignores_the_signal() {
    let environment = [("IGNORE_TERM", "1")];
    let Deploys { report, replaced } = deploys("ignores", &environment, "2s");
    report.assert_answered("ignores TERM", |_, _| false);
    let cut = of(&replaced);
    let excused = |kind, how: &Cut| cut(kind, how) && lasts(kind, how, Duration::from_secs(2));
    report.assert_whole("ignores TERM", excused);
}

#[test]
fn an_app_that_finishes_what_it_has() {
    let environment = [("TERM_DELAY_MS", "500")];
    let Deploys { report, replaced } = deploys("finishes", &environment, "10s");
    report.assert_answered("finishes", |_, _| false);
    let cut = of(&replaced);
    let excused = |kind, how: &Cut| cut(kind, how) && lasts(kind, how, Duration::from_millis(500));
    report.assert_whole("finishes", excused);
}

/// A download that was begun before the signal had that long to end.
fn lasts(kind: Kind, cut: &Cut, grace: Duration) -> bool {
    kind != Kind::Download || cut.lasted > grace
}

fn count() -> u32 {
    let set = std::env::var("WHARF_TEST_RECREATES").ok();
    set.map_or(RECREATES, |set| {
        set.parse().expect("WHARF_TEST_RECREATES: a number")
    })
}

/// What a request may wait beyond the time without a container. The promise is a second; among other tests on a
/// machine that has too much to do there is none, so that only a flood would be found.
fn slack() -> Duration {
    match std::env::var_os("WHARF_TEST_RECREATES") {
        Some(_) => Duration::from_secs(1),
        None => Duration::from_secs(10),
    }
}

const RECREATES: u32 = 4;
/// From the container's start to its first connection.
const START: Duration = Duration::from_secs(3);
