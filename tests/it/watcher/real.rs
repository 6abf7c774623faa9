//! Real containers: what is seen, how soon, and where Wharf finds itself.

use std::time::Instant;

use wharf::docker::{Position, Snapshot, State};

use super::{Watched, named};
use crate::support::docker::{App, Network, build_image, docker};

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

/// Runs this test program in containers, where [`inside_a_container`] tells what it finds.
#[test]
fn the_own_container_is_found() {
    let image = format!("wharf-test-self:{}", std::process::id());
    let program = std::env::current_exe().unwrap();
    let entry = format!(
        "COPY it /it\nENV {INSIDE}=1\nENTRYPOINT [\"/it\", \"--exact\", \"--nocapture\", \"{INSIDE_TEST}\"]\n"
    );
    build_image(&image, &[("it", &program)], &entry);
    let network = Network::new();
    let socket = ["-v", "/var/run/docker.sock:/var/run/docker.sock"];
    let run = |name: &str, args: &[&str]| {
        let app = App::of_image(&image, name).arg(&socket).arg(args).run();
        docker(["wait", &app.id]);
        let (logs, id) = (app.logs(), app.id.clone());
        let line = logs.lines().find(|line| line.starts_with("position: "));
        (line.unwrap_or_else(|| panic!("{logs}")).to_owned(), id)
    };
    let network = network.name.as_str();
    for (name, args) in [
        ("plain", &["--network", network][..]),
        ("named", &["--network", network, "--hostname", "custom"]),
        (
            "private",
            &[
                "--network",
                network,
                "--cgroupns",
                "private",
                "--hostname",
                "custom",
            ],
        ),
        ("readonly", &["--read-only", "--cap-drop", "ALL"]),
    ] {
        let (told, id) = run(name, args);
        assert_eq!(
            told,
            format!("position: {:?}", Position::Container { id }),
            "{name}"
        );
    }
    let (told, _) = run("host", &["--network", "host"]);
    assert_eq!(told, "position: Host");
    docker(["image", "rm", "-f", &image]);
}

#[test]
fn inside_a_container() {
    if std::env::var_os(INSIDE).is_some() {
        let mut watched = Watched::start(&real());
        let snapshot = watched.wait("at all", |_| true);
        println!("\nposition: {:?}", snapshot.position);
    }
}

const INSIDE: &str = "TEST_INSIDE";
const INSIDE_TEST: &str = "watcher::real::inside_a_container";
