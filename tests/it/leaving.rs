//! Containers that stop, pause, restart or fall ill: who gets requests meanwhile, and what is said.
//! Real containers; Wharf runs on the host.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::support::docker::{
    APP_PORT, App, Container, Network, build_image, docker, example, unique,
};
use crate::support::http;
use crate::support::origin::Served;
use crate::support::site::Site;
use crate::support::wharf::{Builder, Wharf};

fn host(word: &str) -> String {
    format!("{}.test", unique(word))
}

/// Without a wait for better times: what is out is to be seen at once.
fn labelled(app: App, host: &str) -> App {
    let app = app.label("wharf.host", host).label("wharf.hold", "off");
    app.label("wharf.https", "both")
}

/// The sample app under `host`.
fn app(name: &str, host: &str) -> App {
    labelled(App::new(name), host)
}

/// The same, but SIGTERM does not end it.
fn stubborn(name: &str, host: &str) -> App {
    app(name, host).env("IGNORE_TERM", "1")
}

fn hostname(container: &Container) -> String {
    container.id[..12].to_owned()
}

/// Waits until `containers` replicas of `upstream` get requests and listen.
fn wait_replicas(wharf: &Wharf, upstream: &str, containers: &[Container]) {
    wharf.wait_status("its endpoints", |status| {
        let mut upstreams = status["upstreams"].as_array().unwrap().iter();
        let found = upstreams.find(|one| one["name"] == upstream);
        found.map_or(0, |one| one["endpoints"].as_array().unwrap().len()) == containers.len()
    });
    for container in containers {
        let ip = container
            .inspect("{{.NetworkSettings.IPAddress}}")
            .parse()
            .unwrap();
        crate::support::eventually("the app", LIMIT, || {
            http::get((std::net::IpAddr::V4(ip), APP_PORT).into(), "app", "/")
                .map_err(|e| e.to_string())
        });
    }
}

fn wait_ok(wharf: &Wharf, host: &str) {
    wharf.wait_answer(host, "/", |answer| answer.status == 200);
}

/// Waits for the answer of a route that nobody serves for a time.
fn wait_away(wharf: &Wharf, host: &str, container: &Container, why: &str) {
    let why = format!("{} {why}", container.name());
    // Not asked before: what is sent into the gap between the two may get no answer.
    wharf.wait_status(&why, |status| status.to_string().contains(&why));
    let answer = wharf.get(host, "/").unwrap();
    assert!(
        answer.status == 503 && answer.text().contains(&why),
        "{}",
        answer.text()
    );
}

/// One request after the other, each on a connection of its own, until told to end.
struct Asking {
    end: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Asked>>,
}

struct Asked {
    /// When it was sent.
    at: SystemTime,
    status: u16,
    /// The host name of who answered, or what went wrong.
    who: String,
}

impl Asking {
    fn start(wharf: &Wharf, host: &str) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let (address, host, ended) = (wharf.http, host.to_owned(), Arc::clone(&end));
        let thread = std::thread::spawn(move || {
            let mut asked = Vec::new();
            while !ended.load(Ordering::Relaxed) {
                let at = SystemTime::now();
                let answer = http::get(address, &host, "/json");
                let (status, who) = match answer {
                    Ok(answer) if answer.status == 200 => {
                        (200, answer.json()["hostname"].as_str().unwrap().to_owned())
                    }
                    Ok(answer) => (answer.status, answer.text()),
                    Err(error) => (0, error.to_string()),
                };
                asked.push(Asked { at, status, who });
            }
            asked
        });
        Self { end, thread }
    }

    fn end(self) -> Vec<Asked> {
        self.end.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// All got 200.
fn assert_ok(asked: &[Asked]) {
    let failed = asked.iter().filter(|one| one.status != 200);
    let failed: Vec<_> = failed.map(|one| (one.status, &one.who)).collect();
    assert!(
        failed.is_empty(),
        "{} of {}: {failed:?}",
        failed.len(),
        asked.len()
    );
}

/// When the engine told of the first `action` of a container since `since`.
fn told(container: &Container, action: &str, since: SystemTime) -> SystemTime {
    let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap().as_secs();
    let (since, until) = (seconds(since), seconds(SystemTime::now()) + 1);
    let times = docker([
        "events",
        "--since",
        &since.to_string(),
        "--until",
        &until.to_string(),
        "--filter",
        &format!("container={}", container.id),
        "--filter",
        &format!("event={action}"),
        "--format",
        "{{.TimeNano}}",
    ]);
    let nanos = times.lines().next().unwrap().parse().unwrap();
    UNIX_EPOCH + Duration::from_nanos(nanos)
}

#[test]
fn a_stopping_container_finishes_what_it_has_and_gets_nothing_new() {
    let wharf = Builder::new().start();
    let (name, pool) = (host("leaving"), unique("pool"));
    let replicas = stubborn("leaving", &name)
        .label("wharf.pool", &pool)
        .scale(2);
    wait_replicas(&wharf, &format!("pool:{pool}"), &replicas);
    let begun = SystemTime::now();
    let asking = Asking::start(&wharf, &name);
    // More than enough for either to have some.
    let slow: Vec<_> = (0..8)
        .map(|_| {
            let (address, name) = (wharf.http, name.clone());
            std::thread::spawn(move || http::get(address, &name, "/sleep/1500").unwrap().status)
        })
        .collect();
    // They are under way by then; nothing tells of it.
    std::thread::sleep(Duration::from_millis(300));
    replicas[0].stop(3);
    for slow in slow {
        assert_eq!(slow.join().unwrap(), 200);
    }
    let asked = asking.end();
    assert_ok(&asked);
    let kill = told(&replicas[0], "kill", begun);
    let leaving = hostname(&replicas[0]);
    let last = asked
        .iter()
        .filter(|one| one.who == leaving)
        .map(|one| one.at)
        .max()
        .unwrap();
    let after = last
        .duration_since(kill)
        .map_or(0.0, |time| time.as_secs_f64() * 1000.0);
    let then = asked.iter().filter(|one| one.at > kill).count();
    println!(
        "kill event -> last request sent that went there: {after:.1} ms; {then} requests after it, none failed"
    );
    // It lives for 3 s, and would get half of them.
    assert!(after < 1000.0, "{after}");
    assert!(then > 10, "{then}");
}

#[test]
fn from_a_kill_event_to_the_swapped_table() {
    let served = Served::text("hi");
    let site = Site::plain(served.port(), "wharf.hold: off");
    let mut times = Vec::new();
    for _ in 0..20 {
        site.wharf
            .wait_answer("a.test", "/", |answer| answer.status == 200);
        let start = Instant::now();
        site.engine.push_kill("app", 15);
        while site.wharf.get("a.test", "/").unwrap().status == 200 {}
        times.push(start.elapsed());
        site.engine.push_event("container", "start", "app");
    }
    times.sort();
    println!(
        "kill event -> first answer of the new table: median {:?}, {times:?}",
        times[10]
    );
    assert!(times[10] < Duration::from_secs(1), "{times:?}");
}

#[test]
fn of_two_replicas_one_stops_at_once_and_no_request_fails() {
    let wharf = Builder::new().start();
    let (name, pool) = (host("two"), unique("pool"));
    let replicas = app("two", &name).label("wharf.pool", &pool).scale(2);
    wait_replicas(&wharf, &format!("pool:{pool}"), &replicas);
    let asking = Asking::start(&wharf, &name);
    for _ in 0..2 {
        replicas[0].stop(3);
        replicas[0].start();
        wait_replicas(&wharf, &format!("pool:{pool}"), &replicas);
    }
    let asked = asking.end();
    println!(
        "{} requests over two stops and starts, none failed",
        asked.len()
    );
    assert_ok(&asked);
}

#[test]
fn a_signal_that_stops_nothing_changes_nothing() {
    let wharf = Builder::new().start();
    let name = host("reload");
    let container = stubborn("reload", &name).run();
    wait_ok(&wharf, &name);
    let asking = Asking::start(&wharf, &name);
    container.kill("HUP");
    container.kill("USR1");
    // Seen later than those.
    let other = host("other");
    let _other = app("other", &other).run();
    wait_ok(&wharf, &other);
    assert_ok(&asking.end());
}

#[test]
fn who_ignores_a_stop_is_back_after_its_timeout() {
    let wharf = Builder::new().start();
    let name = host("ignores");
    let container = stubborn("ignores", &name)
        .arg(&["--stop-timeout", "1"])
        .run();
    let mut back = Duration::ZERO;
    // What its stop timeout is has to be asked for, and a busy engine takes its time: until then it is
    // taken for the default. The second time it is known.
    for _ in 0..2 {
        wait_ok(&wharf, &name);
        let start = SystemTime::now();
        container.kill("TERM");
        wait_away(&wharf, &name, &container, "is stopping");
        wait_ok(&wharf, &name);
        let now = SystemTime::now();
        let kill = told(&container, "kill", start);
        back = now.duration_since(kill).unwrap();
    }
    println!("kill -s TERM, ignored, stop timeout 1 s -> back after {back:?}");
    // The list that decides takes what it takes; with the default of 10 s it would be 12.
    assert!((3000..11_000).contains(&back.as_millis()), "{back:?}");
}

#[test]
fn a_paused_container_gets_nothing_until_it_goes_on() {
    let wharf = Builder::new().start();
    let name = host("paused");
    let container = app("paused", &name).run();
    wait_ok(&wharf, &name);
    container.pause();
    wait_away(&wharf, &name, &container, "is paused");
    container.unpause();
    wait_ok(&wharf, &name);
}

#[test]
fn a_container_off_its_network_gets_nothing_until_it_is_on_again() {
    let wharf = Builder::new().start();
    let (network, name) = (Network::new(), host("off"));
    let container = app("off", &name).network(&network).run();
    wait_ok(&wharf, &name);
    network.disconnect(&container);
    wait_away(&wharf, &name, &container, "is on no network");
    network.connect(&container);
    wait_ok(&wharf, &name);
}

#[test]
fn a_restart_never_makes_a_route_unknown() {
    let wharf = Builder::new().start();
    let name = host("restart");
    let container = app("restart", &name).run();
    wait_ok(&wharf, &name);
    let asking = Asking::start(&wharf, &name);
    container.restart();
    wait_ok(&wharf, &name);
    let container = container.recreate();
    wait_ok(&wharf, &name);
    let asked = asking.end();
    let known = |one: &Asked| [200, 502, 503, 504].contains(&one.status);
    let odd = asked.iter().find(|one| !known(one));
    assert!(odd.is_none(), "{:?}", odd.map(|one| (one.status, &one.who)));
    assert_eq!(asked.last().unwrap().who, hostname(&container));
}

#[test]
fn a_healthcheck_decides_who_gets_requests() {
    let image = format!("wharf-test-health:{}", std::process::id());
    let check =
        "HEALTHCHECK --interval=1s --timeout=2s --retries=1 CMD [\"/whoami\", \"healthcheck\"]";
    let lines = format!("COPY whoami /whoami\nEXPOSE 3000\n{check}\nENTRYPOINT [\"/whoami\"]\n");
    build_image(&image, &[("whoami", &example("whoami"))], &lines);
    let wharf = Builder::new().start();
    let (name, network) = (host("health"), Network::new());
    let container = labelled(App::of_image(&image, "health"), &name)
        .network(&network)
        .run();
    wait_away(
        &wharf,
        &name,
        &container,
        "is starting (its HEALTHCHECK has not passed yet)",
    );
    wait_ok(&wharf, &name);
    let set = |status: &str| {
        let address = container.address(&network);
        http::request(address, "POST", "app", "/health", &[], status.as_bytes()).unwrap()
    };
    set("500");
    wait_away(
        &wharf,
        &name,
        &container,
        "is unhealthy (its HEALTHCHECK fails)",
    );
    set("200");
    wait_ok(&wharf, &name);
    drop(container);
    docker(["image", "rm", "-f", &image]);
}

const LIMIT: Duration = Duration::from_secs(20);
