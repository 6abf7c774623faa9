//! The watcher alone, through the library: first against an engine that fails on demand, then
//! against the real one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use wharf::docker::{Container, EngineState, Position, Snapshot, State, Watcher, WatcherConfig};

use crate::support::docker::{App, Network};
use crate::support::engine::{FakeContainer, FakeEngine};
use crate::support::eventually;

/// A watcher on a thread of its own, as in the proxy.
struct Watched {
    snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    state: watch::Receiver<EngineState>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Watched {
    fn start(host: &str) -> Self {
        let (snapshot_sender, snapshots) = watch::channel(None);
        let (state_sender, state) = watch::channel(EngineState::default());
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let host = host.to_owned();
        let thread = std::thread::spawn(move || {
            let watcher = Watcher::new(WatcherConfig { host, own_id: None });
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.unwrap().block_on(async {
                tokio::select! {
                    never = watcher.run(snapshot_sender, state_sender) => match never {},
                    _ = stopped => {}
                }
            });
        });
        let (stop, thread) = (Some(stop), Some(thread));
        Self {
            snapshots,
            state,
            stop,
            thread,
        }
    }

    fn state(&self) -> EngineState {
        self.state.borrow().clone()
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshots.borrow().clone().expect("a first snapshot")
    }

    /// Waits for a snapshot that `is` likes.
    fn wait(&mut self, what: &str, is: impl Fn(&Snapshot) -> bool) -> Arc<Snapshot> {
        let wanted = |snapshot: &Option<Arc<Snapshot>>| snapshot.as_deref().is_some_and(&is);
        let found = block_on(self.snapshots.wait_for(wanted));
        let Ok(found) = found else {
            panic!("no snapshot {what}: {:?}", *self.state.borrow());
        };
        found.clone().expect("wanted one that is there")
    }

    fn wait_state(&mut self, what: &str, is: impl Fn(&EngineState) -> bool) -> EngineState {
        let found = block_on(self.state.wait_for(|state| is(state)));
        let Ok(found) = found else {
            panic!("no state {what}");
        };
        found.clone()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// `Err` after [`LIMIT`], too.
fn block_on<T, E>(future: impl Future<Output = Result<T, E>>) -> Result<T, ()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    runtime.unwrap().block_on(async {
        let ended = tokio::time::timeout(LIMIT, future).await;
        ended.map_err(drop)?.map_err(drop)
    })
}

const LIMIT: Duration = Duration::from_secs(15);

fn named<'a>(snapshot: &'a Snapshot, name: &str) -> Option<&'a Container> {
    snapshot
        .containers
        .iter()
        .find(|container| container.name == name)
}

/// A watcher that has subscribed and listed.
fn settled(engine: &FakeEngine) -> Watched {
    let mut watched = Watched::start(&engine.host());
    watched.wait_state("connected", |state| state.connected);
    eventually("a subscription", LIMIT, || match engine.subscribers() {
        0 => Err("none".into()),
        _ => Ok(()),
    });
    watched
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
    engine.push_event("container", "die", "app");
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
        FakeContainer::new("odd").state("stopped"),
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
fn an_unsupported_host_is_a_clear_error() {
    let mut watched = Watched::start("ssh://me@engine");
    let state = watched.wait_state("with an error", |state| state.last_error.is_some());
    let error = state.last_error.unwrap();
    assert!(
        error.contains("ssh://me@engine: not supported yet"),
        "{error}"
    );
}

/// The machine's engine.
fn real() -> String {
    std::env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".into())
}

fn running_on(snapshot: &Snapshot, id: &str, network: &Network) -> bool {
    let container = snapshot
        .containers
        .iter()
        .find(|container| container.id == id);
    container.is_some_and(|container| {
        container.state == State::Running
            && (container.networks.iter())
                .any(|attached| attached.name == network.name && attached.ipv4.is_some())
    })
}

#[test]
fn real_containers_start_stop_and_change_networks() {
    let mut watched = Watched::start(&real());
    watched.wait_state("connected", |state| state.connected);
    let (first, second) = (Network::new(), Network::new());
    let app = App::new("app")
        .label("wharf.host", "app.test")
        .network(&first);

    let app = app.run();
    let start = Instant::now();
    let snapshot = watched.wait("with app", |snapshot| running_on(snapshot, &app.id, &first));
    println!("docker run returned -> snapshot: {:?}", start.elapsed());
    let seen = named(&snapshot, app.name()).unwrap();
    assert_eq!(seen.exposed, [3000]);
    assert_eq!(seen.labels["wharf.host"], "app.test");
    assert_eq!(seen.networks[0].ipv4.map(Into::into), Some(app.ip(&first)));

    second.connect(&app);
    let start = Instant::now();
    watched.wait("on the second network", |snapshot| {
        running_on(snapshot, &app.id, &second)
    });
    println!(
        "docker network connect returned -> snapshot: {:?}",
        start.elapsed()
    );
    first.disconnect(&app);
    watched.wait("off the first network", |snapshot| {
        !running_on(snapshot, &app.id, &first)
    });

    app.pause();
    let id = app.id.clone();
    let is = move |state: State| {
        let id = id.clone();
        move |snapshot: &Snapshot| {
            snapshot
                .containers
                .iter()
                .any(|c| c.id == id && c.state == state)
        }
    };
    watched.wait("paused", is(State::Paused));
    app.unpause();
    watched.wait("running again", is(State::Running));

    app.stop(1);
    let start = Instant::now();
    watched.wait("exited", is(State::Exited));
    println!("docker stop returned -> snapshot: {:?}", start.elapsed());
    let id = app.id.clone();
    drop(app);
    watched.wait("without it", |snapshot| {
        snapshot.containers.iter().all(|c| c.id != id)
    });
}

#[test]
fn a_started_container_is_seen_about_when_docker_run_returns() {
    let mut watched = Watched::start(&real());
    watched.wait_state("connected", |state| state.connected);
    let network = Network::new();
    let mut lags = Vec::new();
    for _ in 0..5 {
        let app = App::new("fast").network(&network);
        let returned = std::thread::spawn(move || (app.run(), Instant::now()));
        watched.wait("with an address", |snapshot| {
            let mut containers = snapshot.containers.iter();
            containers.any(|container| running_on(snapshot, &container.id, &network))
        });
        let seen = Instant::now();
        let (app, returned) = returned.join().unwrap();
        // Negative: seen before the command returned.
        lags.push(
            seen.duration_since(returned).as_secs_f64()
                - returned.duration_since(seen).as_secs_f64(),
        );
        let id = app.id.clone();
        drop(app);
        watched.wait("without it", |snapshot| {
            snapshot.containers.iter().all(|c| c.id != id)
        });
    }
    println!("docker run returned -> snapshot, seconds: {lags:.4?}");
    lags.sort_by(f64::total_cmp);
    assert!(lags[2] < 0.1, "{lags:?}");
}
