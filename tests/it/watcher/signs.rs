//! The engine tells, its list is late or wrong, and events are lost, doubled or out of order.

use std::time::{Duration, Instant};

use wharf::docker::{Health, State};

use super::{LIMIT, Watched, named};
use crate::support::engine::{FakeContainer, FakeEngine};
use crate::support::eventually;

/// An engine with one container, and a watcher that has subscribed, listed and inspected.
struct Scene {
    engine: FakeEngine,
    watched: Watched,
}

impl Scene {
    fn of(app: FakeContainer) -> Self {
        let engine = FakeEngine::start();
        engine.set_containers([app.label("wharf.host", "app.test").at_port(80)]);
        let mut watched = Watched::start(&engine.host());
        watched.wait("with app", |snapshot| named(snapshot, "app").is_some());
        let scene = Self { engine, watched };
        scene.subscribed();
        eventually("an inspect", LIMIT, || match scene.inspects() {
            0 => Err("none".into()),
            _ => Ok(()),
        });
        scene
    }

    fn new() -> Self {
        Self::of(FakeContainer::new("app"))
    }

    fn subscribed(&self) {
        eventually("a subscription", LIMIT, || {
            match self.engine.subscribers() {
                0 => Err("none".into()),
                _ => Ok(()),
            }
        });
    }

    fn inspects(&self) -> u64 {
        let id = FakeContainer::new("app").id;
        self.engine.served(&format!("/containers/{id}/json"))
    }

    fn app(state: &str) -> FakeContainer {
        let app = FakeContainer::new("app").state(state);
        app.label("wharf.host", "app.test").at_port(80)
    }

    fn wait(&mut self, state: State) -> Duration {
        let start = Instant::now();
        self.watched.wait(&format!("{state:?}"), |snapshot| {
            named(snapshot, "app").is_some_and(|app| app.state == state)
        });
        start.elapsed()
    }

    fn state(&self) -> State {
        named(&self.watched.snapshot(), "app").unwrap().state
    }

    /// Waits until the watcher has read all events so far.
    fn heard(&mut self) {
        self.engine
            .push_event("container", "health_status: healthy", "app");
        self.watched.wait("heard", |snapshot| {
            named(snapshot, "app").is_some_and(|app| app.health == Health::Healthy)
        });
    }
}

#[test]
fn a_kill_counts_at_once_and_the_list_decides_later() {
    let mut scene = Scene::of(FakeContainer::new("app").stops("SIGINT", 1));
    // What the list says takes its time, and is late.
    scene.engine.delay_lists(Duration::from_millis(100));
    scene.engine.push_kill("app", 15);
    scene.engine.push_kill("app", 1);
    scene.heard();
    assert_eq!(scene.state(), State::Running, "no signal that stops it");
    let told = Instant::now();
    scene.engine.push_kill("app", 2);
    let took = scene.wait(State::Stopping);
    println!("kill -> snapshot, while lists take 100 ms: {took:?}");
    assert!(took < Duration::from_secs(1), "{took:?}");
    scene.wait(State::Running);
    let back = told.elapsed();
    println!("told to stop within 1 s, still there -> back after {back:?}");
    // With the default it would be 12.
    assert!((3000..11_000).contains(&back.as_millis()), "{back:?}");
    assert_eq!(scene.inspects(), 1);
}

#[test]
fn from_event_to_snapshot() {
    let mut scene = Scene::new();
    let mut times = Vec::new();
    for _ in 0..20 {
        scene.engine.push_kill("app", 15);
        times.push(scene.wait(State::Stopping));
        scene.engine.push_event("container", "start", "app");
        scene.wait(State::Running);
    }
    times.sort();
    println!(
        "kill -> snapshot, fake engine: median {:?}, {times:?}",
        times[10]
    );
    assert!(times[10] < Duration::from_millis(90), "{times:?}");
}

#[test]
fn an_end_is_an_end_in_either_order() {
    for order in [["disconnect", "die"], ["die", "disconnect"]] {
        let mut scene = Scene::new();
        scene.engine.push_event("container", "kill", "app");
        for action in order {
            let kind = if action == "die" {
                "container"
            } else {
                "network"
            };
            scene.engine.push_event(kind, action, "app");
        }
        // Nothing of it is in the list yet.
        scene.watched.wait("at its end", |snapshot| {
            let app = named(snapshot, "app").unwrap();
            app.state == State::Exited && app.networks.is_empty()
        });
        scene.engine.set_containers([Scene::app("exited")]);
        let lists = scene.watched.state().lists;
        scene
            .watched
            .wait_state("listed", |state| state.lists > lists + 1);
        assert_eq!(scene.state(), State::Exited);
        scene.engine.run(Scene::app("running"));
        scene.wait(State::Running);
        assert_eq!(
            named(&scene.watched.snapshot(), "app")
                .unwrap()
                .networks
                .len(),
            1
        );
    }
}

#[test]
fn an_end_that_was_none_lasts_until_the_next_lists() {
    let mut scene = Scene::new();
    for (kind, action) in [
        ("container", "die"),
        ("container", "destroy"),
        ("container", "stop"),
    ] {
        scene.engine.push_event(kind, action, "app");
        scene.wait(State::Exited);
        let back = scene.wait(State::Running);
        println!("{action} that was none -> back after {back:?}");
        assert!(back < Duration::from_secs(3), "{back:?}");
    }
    scene.engine.push_event("network", "disconnect", "app");
    let on = |count: usize| {
        move |snapshot: &wharf::docker::Snapshot| {
            named(snapshot, "app").is_some_and(|app| app.networks.len() == count)
        }
    };
    scene.watched.wait("off", on(0));
    scene.watched.wait("on again", on(1));
    scene.engine.push_event("container", "pause", "app");
    scene.wait(State::Paused);
    scene.wait(State::Running);
}

#[test]
fn an_end_nobody_told_is_in_the_next_list() {
    let mut scene = Scene::new();
    scene.engine.push_kill("app", 15);
    scene.wait(State::Stopping);
    scene.engine.set_containers([Scene::app("exited")]);
    scene.wait(State::Exited);
    // Nor its start; whatever else happens brings the list.
    scene.engine.set_containers([Scene::app("running")]);
    scene.engine.push_event("container", "rename", "app");
    scene.wait(State::Running);
}

#[test]
fn a_cut_stream_forgets_nothing_and_repeats_nothing() {
    let mut scene = Scene::new();
    scene.engine.push_kill("app", 15);
    scene.wait(State::Stopping);
    scene.engine.cut_events();
    let reconnected = |state: &wharf::docker::EngineState| state.reconnects == 1 && state.connected;
    scene.watched.wait_state("reconnected", reconnected);
    assert_eq!(scene.state(), State::Stopping);
    scene.subscribed();
    scene.engine.push_event("container", "die", "app");
    scene.wait(State::Exited);
    scene.engine.run(Scene::app("running"));
    scene.wait(State::Running);
}

#[test]
fn health_counts_at_once() {
    let mut scene = Scene::of(FakeContainer::new("app").health("starting"));
    scene.engine.delay_lists(Duration::from_millis(100));
    for (action, health) in [
        ("health_status: healthy", Health::Healthy),
        ("health_status: unhealthy", Health::Unhealthy),
    ] {
        let start = Instant::now();
        scene.engine.push_event("container", action, "app");
        scene.watched.wait(action, |snapshot| {
            named(snapshot, "app").is_some_and(|app| app.health == health)
        });
        assert!(
            start.elapsed() < Duration::from_millis(50),
            "{:?}",
            start.elapsed()
        );
    }
    // The list knows nothing of it.
    scene.watched.wait("starting", |snapshot| {
        named(snapshot, "app").is_some_and(|app| app.health == Health::Starting)
    });
}
