//! What an engine can do to the watcher, and what the watcher makes of it.

use std::net::{Shutdown, SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use wharf::docker::{EngineState, Position, State};

use super::{LIMIT, Watched, named};
use crate::support::engine::{FakeContainer, FakeEngine};
use crate::support::eventually;

/// A watcher that has subscribed and listed.
fn settled(engine: &FakeEngine) -> Watched {
    let mut watched = Watched::start(&engine.host());
    watched.wait_state("connected", |state| state.connected);
    subscribed(engine);
    watched
}

fn subscribed(engine: &FakeEngine) {
    eventually("a subscription", LIMIT, || match engine.subscribers() {
        0 => Err("none".into()),
        _ => Ok(()),
    });
}

#[test]
fn the_first_snapshot_comes_without_an_event() {
    let engine = FakeEngine::start();
    let app = FakeContainer::new("app")
        .label("wharf.host", "app.test")
        .at_port(8080);
    engine.set_containers([app]);
    let mut watched = Watched::start(&engine.host());
    let snapshot = watched.wait("with app", |snapshot| named(snapshot, "app").is_some());
    let app = named(&snapshot, "app").unwrap();
    assert_eq!(app.labels["wharf.host"], "app.test");
    assert_eq!(
        (app.exposed.as_slice(), app.state),
        (&[8080][..], State::Running)
    );
    assert_eq!(snapshot.networks.len(), 3);
    assert_eq!(snapshot.position, Position::Host);
    let state = watched.wait_state("listed", |state| state.listed_once);
    assert_eq!(state.version.as_deref(), Some("20.10.24-fake"));
    assert_eq!(state.api.as_deref(), Some("1.41"));
    assert!(state.last_list.is_some() && state.last_error.is_none() && state.reconnects == 0);
}

#[test]
fn an_event_leads_to_a_list_at_once() {
    let engine = FakeEngine::start();
    let mut watched = settled(&engine);
    let mut times = Vec::new();
    for number in 0..10 {
        let name = format!("app{number}");
        let start = Instant::now();
        engine.run(FakeContainer::new(&name).at_port(8080));
        watched.wait(&name, |snapshot| named(snapshot, &name).is_some());
        times.push(start.elapsed());
        // Let the looks that follow an event pass: this is about single events.
        std::thread::sleep(Duration::from_millis(450));
    }
    times.sort();
    println!("event -> snapshot, fake engine: {times:?}");
    assert!(times[5] < Duration::from_millis(50), "{times:?}");
    engine.remove("app3");
    watched.wait("without app3", |snapshot| named(snapshot, "app3").is_none());
    assert!(watched.state().last_event.is_some());
}

#[test]
fn a_cut_stream_is_subscribed_again_and_listed() {
    let engine = FakeEngine::start();
    let mut watched = settled(&engine);
    let cuts: [fn(&FakeEngine); 2] = [FakeEngine::cut_events, FakeEngine::end_events];
    for (number, cut) in (1..).zip(cuts) {
        // Older than a second: an ordinary end.
        std::thread::sleep(Duration::from_millis(1100));
        let name = format!("silent{number}");
        engine.set_containers([FakeContainer::new(&name)]);
        let start = Instant::now();
        cut(&engine);
        watched.wait(&name, |snapshot| named(snapshot, &name).is_some());
        println!("stream end -> fresh snapshot: {:?}", start.elapsed());
        assert!(start.elapsed() < Duration::from_secs(1));
        let state = watched.wait_state("reconnected", |state| state.reconnects == number);
        assert_eq!(state.last_error, None);
    }
    // And events flow again.
    eventually("a subscription", LIMIT, || match engine.subscribers() {
        0 => Err("none".into()),
        _ => Ok(()),
    });
    engine.run(FakeContainer::new("loud"));
    watched.wait("with loud", |snapshot| named(snapshot, "loud").is_some());
}

#[test]
fn who_cannot_reach_a_container_makes_the_watcher_look_and_listen_anew() {
    let engine = FakeEngine::start();
    let mut watched = settled(&engine);
    engine.mute_events();
    engine.set_containers([FakeContainer::new("moved")]);
    watched.alarm.raise();
    watched.wait("with moved", |snapshot| named(snapshot, "moved").is_some());
    // No event has told of it: the stream is as good as gone.
    watched.wait_state("reconnected", |state| state.reconnects == 1);
    subscribed(&engine);
    engine.run(FakeContainer::new("loud"));
    watched.wait("with loud", |snapshot| named(snapshot, "loud").is_some());
    // A look that finds nothing new is no reason to.
    let before = engine.served("/containers/json");
    std::thread::sleep(Duration::from_millis(1100));
    watched.alarm.raise();
    eventually("a look", LIMIT, || {
        match engine.served("/containers/json") > before {
            true => Ok(()),
            false => Err("none".into()),
        }
    });
    std::thread::sleep(Duration::from_millis(2100));
    assert_eq!(watched.state().reconnects, 1);
}

#[test]
fn a_storm_of_events_costs_few_lists() {
    let engine = FakeEngine::start();
    let mut watched = settled(&engine);
    engine.delay_lists(Duration::from_millis(10));
    let before = engine.served("/containers/json");
    let start = Instant::now();
    for _ in 0..10_000 {
        engine.push_event("container", "health_status: healthy", "app");
    }
    engine.run(FakeContainer::new("last"));
    watched.wait("with last", |snapshot| named(snapshot, "last").is_some());
    let (took, lists) = (start.elapsed(), engine.served("/containers/json") - before);
    println!("10 000 events in {took:?}: {lists} lists");
    // At most one per 20 ms + 10 ms of listing, and under a tenth of the time once it lasts.
    let most = 6 + took.as_millis() / 100;
    assert!(u128::from(lists) <= most, "{lists} lists in {took:?}");
    let state = watched.state();
    assert!(state.connected && state.reconnects == 0);
}

#[test]
fn failing_calls_keep_the_last_snapshot() {
    let engine = FakeEngine::start();
    engine.set_containers([FakeContainer::new("app")]);
    let mut watched = settled(&engine);
    let before = watched.wait("with app", |snapshot| named(snapshot, "app").is_some());
    watched.snapshots.mark_unchanged();
    engine.set_containers([]);
    engine.fail("/containers/json", 500);
    // Not an event that says enough by itself.
    engine.push_event("container", "update", "app");
    let state = watched.wait_state("with an error", |state| state.last_error.is_some());
    let error = state.last_error.unwrap();
    assert!(
        error.contains("list containers") && error.contains("500"),
        "{error}"
    );
    assert!(!state.connected && state.listed_once);
    // A few more attempts.
    let count = engine.served("/containers/json");
    eventually("attempts", LIMIT, || {
        match engine.served("/containers/json") - count {
            0..3 => Err("too few".into()),
            _ => Ok(()),
        }
    });
    assert!(!watched.snapshots.has_changed().unwrap());
    assert_eq!(watched.snapshot(), before);
    engine.fail("", 0);
    watched.wait("without app", |snapshot| snapshot.containers.is_empty());
    watched.wait_state("recovered", |state| {
        state.connected && state.last_error.is_none()
    });
}

#[test]
fn a_socket_that_goes_and_comes_back_as_another() {
    let mut engine = FakeEngine::start();
    engine.set_containers([FakeContainer::new("app")]);
    let mut watched = settled(&engine);
    watched.wait("with app", |snapshot| named(snapshot, "app").is_some());
    for (leave_file, expected) in [
        (false, "no Docker socket at"),
        (true, "refuses connections"),
    ] {
        engine.stop(leave_file);
        let state = watched.wait_state(expected, |state| {
            state
                .last_error
                .as_ref()
                .is_some_and(|error| error.contains(expected))
        });
        assert!(!state.connected);
        assert_eq!(watched.snapshot().containers.len(), 1);
        // Long enough for the waits to grow to their cap.
        std::thread::sleep(Duration::from_millis(3500));
        let name = format!("new{leave_file}");
        engine.set_containers([FakeContainer::new(&name)]);
        engine.listen();
        let start = Instant::now();
        watched.wait(&name, |snapshot| named(snapshot, &name).is_some());
        println!("socket back -> fresh snapshot: {:?}", start.elapsed());
        assert!(start.elapsed() < Duration::from_secs(2));
        watched.wait_state("recovered", |state| {
            state.connected && state.last_error.is_none()
        });
        // What is accepted while the engine stops would stay open.
        subscribed(&engine);
    }
}

#[test]
fn a_socket_proxy_without_events_is_polled_and_told() {
    let engine = FakeEngine::start();
    engine.fail("/events", 403);
    engine.set_containers([FakeContainer::new("app")]);
    let mut watched = Watched::start(&engine.host());
    watched.wait("with app", |snapshot| named(snapshot, "app").is_some());
    let told = |state: &EngineState| {
        let error = state.last_error.as_deref().unwrap_or_default();
        error.contains("EVENTS=1")
    };
    let state = watched.wait_state("that names EVENTS", told);
    assert!(!state.connected);
    engine.set_containers([FakeContainer::new("later")]);
    watched.wait("with later", |snapshot| named(snapshot, "later").is_some());
}

#[test]
fn a_socket_proxy_without_lists_is_told() {
    for (path, variable) in [
        ("/networks", "NETWORKS=1"),
        ("/containers", "CONTAINERS=1"),
        ("/version", "VERSION=1"),
    ] {
        let engine = FakeEngine::start();
        engine.fail(path, 403);
        let mut watched = Watched::start(&engine.host());
        let state = watched.wait_state(variable, |state| state.last_error.is_some());
        let error = state.last_error.unwrap();
        assert!(error.contains(variable), "{error}");
        assert!(!state.listed_once && watched.snapshots.borrow().is_none());
    }
}

#[test]
fn a_stream_gone_silent_is_noticed_by_the_periodic_list() {
    let engine = FakeEngine::start();
    let mut watched = settled(&engine);
    engine.mute_events();
    engine.set_containers([FakeContainer::new("unheard")]);
    let limit = Duration::from_secs(40);
    let start = Instant::now();
    eventually("a periodic list", limit, || match watched.state().lists {
        0..2 => Err("only the first".into()),
        _ => Ok(()),
    });
    println!("silent stream -> fresh snapshot: {:?}", start.elapsed());
    assert!(named(&watched.snapshot(), "unheard").is_some());
    let state = watched.wait_state("resubscribed", |state| state.reconnects == 1);
    assert_eq!(state.last_error, None);
    engine.run(FakeContainer::new("heard"));
    watched.wait("with heard", |snapshot| named(snapshot, "heard").is_some());
}

#[test]
fn an_odd_state_costs_one_container_its_state() {
    let engine = FakeEngine::start();
    engine.set_containers([
        FakeContainer::new("app").label("wharf.host", "app.test"),
        FakeContainer::new("odd").state("dancing"),
    ]);
    let watched = settled(&engine);
    let snapshot = watched.snapshot();
    assert_eq!(named(&snapshot, "app").unwrap().state, State::Running);
    assert_eq!(named(&snapshot, "odd").unwrap().state, State::Other);
    assert_eq!(watched.state().last_error, None);
}

#[test]
fn ports_of_host_mode_are_inspected_once() {
    let engine = FakeEngine::start();
    let host = FakeContainer::new("host")
        .label("wharf.host", "h.test")
        .mode("host", &[9090, 80]);
    engine.set_containers([host, FakeContainer::new("other").mode("host", &[1])]);
    let mut watched = settled(&engine);
    assert_eq!(
        named(&watched.snapshot(), "host").unwrap().exposed,
        [80, 9090]
    );
    engine.run(FakeContainer::new("next"));
    watched.wait("with next", |snapshot| named(snapshot, "next").is_some());
    let path = |name: &str| format!("/containers/{}/json", FakeContainer::new(name).id);
    assert_eq!(engine.served(&path("host")), 1);
    assert_eq!(
        engine.served(&path("other")),
        0,
        "without labels it is not our business"
    );
}

#[test]
fn every_api_version_from_1_40_on_is_spoken() {
    for (newest, oldest, expected) in [
        (40, 12, "1.40"),
        (41, 12, "1.41"),
        (44, 24, "1.44"),
        // Docker 29.0, which refuses what is older.
        (52, 44, "1.52"),
        (50, 40, "1.50"),
        // Newer than this Wharf.
        (99, 44, "1.53"),
    ] {
        let engine = FakeEngine::start();
        engine.speak(newest, oldest);
        engine.set_containers([FakeContainer::new("app")]);
        let mut watched = settled(&engine);
        assert_eq!(watched.state().api.as_deref(), Some(expected));
        engine.run(FakeContainer::new("next"));
        watched.wait("with next", |snapshot| named(snapshot, "next").is_some());
        assert_eq!(watched.state().last_error, None);
    }
}

#[test]
fn an_engine_that_is_replaced_by_an_older_one_is_asked_anew() {
    let engine = FakeEngine::start();
    engine.speak(50, 40);
    let mut watched = settled(&engine);
    engine.speak(41, 12);
    engine.set_containers([FakeContainer::new("app")]);
    // Not even this event says enough: the list is refused with 400, "client version is too new".
    engine.push_event("container", "update", "app");
    watched.wait("with app", |snapshot| named(snapshot, "app").is_some());
    let old = |state: &EngineState| state.api.as_deref() == Some("1.41") && state.connected;
    watched.wait_state("on the older version", old);
}

#[test]
fn an_engine_that_is_too_new_is_told() {
    let engine = FakeEngine::start();
    engine.speak(70, 60);
    let mut watched = Watched::start(&engine.host());
    let state = watched.wait_state("with an error", |state| state.last_error.is_some());
    let error = state.last_error.unwrap();
    assert!(
        error.contains("wants API 1.60 or newer") && error.contains("1.53"),
        "{error}"
    );
}

/// A filter before the engine lets through no more than this.
#[test]
fn nothing_else_is_asked() {
    let engine = FakeEngine::start();
    engine.speak(41, 12);
    let ill = FakeContainer::new("ill")
        .label("wharf.host", "a.test")
        .health("unhealthy");
    let host = FakeContainer::new("host")
        .label("wharf.host", "b.test")
        .mode("host", &[80]);
    engine.set_containers([ill, host, FakeContainer::new("other")]);
    let mut watched = settled(&engine);
    engine.run(FakeContainer::new("next"));
    watched.wait("with next", |snapshot| named(snapshot, "next").is_some());
    engine.push_kill("ill", 15);
    engine.cut_events();
    watched.wait_state("reconnected", |state| state.reconnects == 1);
    let id = |name: &str| FakeContainer::new(name).id;
    let inspects = ["ill", "host"].map(|name| format!("/containers/{}/json", id(name)));
    let [ill, host] = inspects;
    eventually("inspects", LIMIT, || {
        match engine.served(&ill) * engine.served(&host) {
            0 => Err("not both".into()),
            _ => Ok(()),
        }
    });
    let mut expected = vec![
        "/containers/json".to_owned(),
        "/events".into(),
        "/networks".into(),
        "/version".into(),
        ill,
        host,
    ];
    expected.sort();
    assert_eq!(engine.paths(), expected);
}

#[test]
fn an_unsupported_host_is_a_clear_error() {
    let mut watched = Watched::start("ssh://me@engine");
    let state = watched.wait_state("with an error", |state| state.last_error.is_some());
    let error = state.last_error.unwrap();
    assert!(
        error.contains("ssh://me@engine: not supported yet"),
        "{error}"
    );
}

#[test]
fn the_engine_over_tcp() {
    let engine = FakeEngine::start();
    engine.set_containers([FakeContainer::new("app")]);
    let address = relay(engine.path());
    let mut watched = Watched::start(&format!("tcp://{address}"));
    watched.wait("with app", |snapshot| named(snapshot, "app").is_some());
    eventually("a subscription", LIMIT, || match engine.subscribers() {
        0 => Err("none".into()),
        _ => Ok(()),
    });
    engine.run(FakeContainer::new("next"));
    watched.wait("with next", |snapshot| named(snapshot, "next").is_some());
}

/// A TCP address whose connections go to the socket at `path`.
fn relay(path: &Path) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let path = path.to_owned();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(engine) = UnixStream::connect(&path) else {
                return;
            };
            let (mut up, mut down) = (client.try_clone().unwrap(), engine.try_clone().unwrap());
            let (mut from, mut to) = (client, engine);
            std::thread::spawn(move || std::io::copy(&mut from, &mut to));
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut down, &mut up);
                up.shutdown(Shutdown::Both)
            });
        }
    });
    address
}
