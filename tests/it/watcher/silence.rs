//! An engine that hangs, comes back, or answers what nobody can use.

use std::time::{Duration, Instant};

use super::{Watched, named};
use crate::support::engine::{FakeContainer, FakeEngine};
use crate::support::eventually;
use crate::support::origin::Served;
use crate::support::site::{Site, app};

/// What somebody changes while nobody can know, then the engine answers again: how long until that is
/// known.
fn convergence(
    engine: &mut FakeEngine,
    watched: &mut Watched,
    back: impl FnOnce(&mut FakeEngine),
) -> Duration {
    let name = format!("new{}", engine.asked());
    engine.set_containers([FakeContainer::new("app"), FakeContainer::new(&name)]);
    back(engine);
    let start = Instant::now();
    watched.wait(&name, |snapshot| named(snapshot, &name).is_some());
    let took = start.elapsed();
    watched.wait_state("connected", |state| {
        state.connected && state.unanswered.is_none()
    });
    took
}

fn watched(engine: &FakeEngine) -> Watched {
    engine.set_containers([FakeContainer::new("app")]);
    let mut watched = Watched::start(&engine.host());
    watched.wait_state("connected", |state| state.connected);
    eventually("a subscription", super::LIMIT, || {
        match engine.subscribers() {
            0 => Err("none".into()),
            _ => Ok(()),
        }
    });
    watched
}

#[test]
fn whoever_comes_back_is_found_within_a_second() {
    let mut engine = FakeEngine::start();
    let mut watched = watched(&engine);
    let mut times = Vec::new();
    let is_down = |engine: &FakeEngine, watched: &mut Watched, outage: &str, seconds: u64| {
        engine.push_event("container", "update", "app");
        // Long enough for waits to grow as they would in an hour.
        std::thread::sleep(Duration::from_secs(seconds));
        let state = watched.state();
        let asked = state.unanswered.expect("a question without an answer");
        assert!(
            asked.since.elapsed().unwrap().as_millis() > 1500,
            "{asked:?}"
        );
        println!("{outage}: {}, {:?}", asked.call, state.last_error);
    };
    for lost in [false, true] {
        engine.freeze();
        is_down(&engine, &mut watched, "frozen", 3);
        let took = convergence(&mut engine, &mut watched, |engine| engine.thaw(lost));
        times.push((format!("frozen, lost: {lost}"), took));
    }
    engine.fail("/containers/json", 500);
    is_down(&engine, &mut watched, "500", 3);
    let took = convergence(&mut engine, &mut watched, |engine| engine.fail("", 0));
    times.push(("500".into(), took));
    for leave_file in [false, true] {
        engine.stop(leave_file);
        is_down(&engine, &mut watched, "stopped", 3);
        let took = convergence(&mut engine, &mut watched, FakeEngine::listen);
        times.push((format!("socket gone, file left: {leave_file}"), took));
    }
    for (what, took) in &times {
        println!("{what} -> fresh snapshot after {took:?}");
    }
    for (what, took) in times {
        assert!(took < Duration::from_secs(1), "{what}: {took:?}");
    }
}

#[test]
fn answers_nobody_can_use_keep_what_is_known() {
    let mut engine = FakeEngine::start();
    let mut watched = watched(&engine);
    let json = |body: &str| {
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let large = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n[", 65 << 20);
    let large: Vec<u8> = large
        .bytes()
        .chain(std::iter::repeat_n(b' ', 65 << 20))
        .collect();
    for (answer, expected) in [
        (json("<html>").into_bytes(), "could not be read"),
        (json("{\"message\": 1}").into_bytes(), "could not be read"),
        (b"\x16\x03\x01 nothing like HTTP\r\n\r\n".to_vec(), "failed"),
        (large, "more than 64 MiB"),
    ] {
        watched.snapshots.mark_unchanged();
        engine.babble("/containers/json", Some(&answer));
        engine.push_event("container", "update", "app");
        let state = watched.wait_state(expected, |state| {
            state
                .last_error
                .as_ref()
                .is_some_and(|error| error.contains(expected))
        });
        println!("{:?}", state.last_error);
        assert!(!state.connected && !watched.snapshots.has_changed().unwrap());
        let took = convergence(&mut engine, &mut watched, |engine| engine.babble("", None));
        assert!(took < Duration::from_secs(1), "{took:?}");
    }
}

/// A byte now and then is no answer; meanwhile what is known is served, and everybody is told the same.
#[test]
fn an_engine_that_hangs_is_told_once_and_traffic_goes_on() {
    let served = Served::text("app");
    let site = Site::start([app(
        "app",
        served.port(),
        "wharf.host: a.test\nwharf.tls: off",
    )]);
    let get = || site.wharf.get("a.test", "/").unwrap().status;
    assert_eq!(get(), 200);
    let drip = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n[";
    site.engine.babble("/containers/json", Some(drip));
    site.engine.push_event("container", "update", "app");
    let start = Instant::now();
    let hanging = |status: &serde_json::Value| status["engine"]["unanswered"] == "list containers";
    let status = site.wharf.wait_status("that it hangs", hanging);
    println!("told after {:?}: {}", start.elapsed(), status["engine"]);
    assert_eq!(get(), 200);
    let told = site.wharf.wait_log("out of reach");
    assert!(
        told.contains("list containers: no answer from") && told.contains("within 10 s"),
        "{told}"
    );
    let text = site.wharf.status_text();
    assert!(
        text.contains("now, first asked: list containers; routes stay as they were last seen"),
        "{text}"
    );
    let ready = crate::support::http::get(site.wharf.admin, "localhost", "/readyz").unwrap();
    assert!(
        ready.status == 200 && ready.text().contains("list containers"),
        "{}",
        ready.text()
    );
    assert!(site.metric("wharf_docker_unanswered_seconds") >= 10.0);
    assert_eq!(get(), 200);
    // It asks again and hangs again, which is no news.
    let lists = site.engine.served("/containers/json");
    eventually("another list", Duration::from_secs(20), || {
        match site.engine.served("/containers/json") > lists {
            true => Ok(()),
            false => Err("none".into()),
        }
    });
    site.engine.babble("", None);
    site.wharf.wait_status("that it is back", |status| {
        status["engine"]["unanswered"].is_null()
    });
    site.wharf.wait_log("docker engine is back");
    let log = site.wharf.log_lines();
    let told = log.iter().filter(|line| line.contains("out of reach"));
    assert_eq!(told.count(), 1);
    assert_eq!(site.metric("wharf_docker_unanswered_seconds"), 0.0);
    assert_eq!(get(), 200);
}

/// What is told of a container while nobody listens is told when somebody does.
#[test]
fn a_stop_during_an_outage_is_known_when_the_engine_is_back() {
    let mut engine = FakeEngine::start();
    let slow = |name: &str| {
        FakeContainer::new(name)
            .label("wharf.host", "a.test")
            .stops("TERM", 60)
    };
    let brief = FakeContainer::new("brief")
        .label("wharf.host", "b.test")
        .stops("TERM", 1);
    engine.set_containers([slow("told"), slow("left"), brief]);
    let mut watched = Watched::start(&engine.host());
    watched.wait_state("connected", |state| state.connected);
    // How to stop each of them is known.
    eventually("inspects", super::LIMIT, || {
        let asked = |name: &str| {
            engine.served(&format!("/containers/{}/json", FakeContainer::new(name).id))
        };
        match ["told", "left", "brief"].map(asked) {
            [0, _, _] | [_, 0, _] | [_, _, 0] => Err("not all".into()),
            _ => Ok(()),
        }
    });
    engine.stop(false);
    watched.wait_state("an outage", |state| state.last_error.is_some());
    engine.push_kill("told", 15);
    engine.push_kill("brief", 15);
    // Longer than the least a subscription reaches back, and than the stop of one of them.
    std::thread::sleep(Duration::from_millis(3500));
    engine.listen();
    let state = |name: &'static str| {
        move |snapshot: &wharf::docker::Snapshot| named(snapshot, name).unwrap().state
    };
    let stopping = wharf::docker::State::Stopping;
    let snapshot = watched.wait("told to stop", |snapshot| {
        state("told")(snapshot) == stopping
    });
    let running = wharf::docker::State::Running;
    assert_eq!(state("left")(&snapshot), running);
    assert_eq!(state("brief")(&snapshot), running, "it has stayed");
}
