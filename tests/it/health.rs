//! `wharf.health`: who gets requests by what the checks say, with real apps in real containers; and what a
//! check is, seen by the app that is asked.

use std::process::Command;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::docker::{App, Container, Network, build_image, example, try_docker, unique};
use crate::support::engine::FakeContainer;
use crate::support::eventually;
use crate::support::http;
use crate::support::origin::{Full, Origin, Served, ok, refused_port};
use crate::support::peer::Peer;
use crate::support::site::{Site, app, get};
use crate::support::wharf::{Builder, Wharf};

const LIMIT: Duration = Duration::from_secs(20);

/// The sample app under a host of its own, checked often.
fn checked(name: &str, check: &str) -> (App, String) {
    let host = format!("{}.test", unique(name));
    let app = App::new(name).label("wharf.host", &host);
    let app = app.label("wharf.https", "both");
    (app.label("wharf.health", check), host)
}

/// What the app says to its check from now on.
fn set_health(container: &Container, network: &Network, status: &str) {
    let address = container.address(network);
    http::request(address, "POST", "app", "/health", &[], status.as_bytes()).unwrap();
}

/// The endpoint of a container, once it is in this state.
fn wait_state(wharf: &Wharf, container: &str, state: &str) -> serde_json::Value {
    let endpoint = |status: &serde_json::Value| {
        let upstreams = status["upstreams"].as_array().unwrap().iter();
        let mut endpoints = upstreams.flat_map(|up| up["endpoints"].as_array().unwrap().clone());
        endpoints.find(|one| one["container"] == container && one["state"] == state)
    };
    let what = format!("{container} to be {state}");
    let status = wharf.wait_status(&what, |status| endpoint(status).is_some());
    endpoint(&status).unwrap()
}

fn lines(wharf: &Wharf, container: &str, text: &str) -> usize {
    let lines = wharf.log_lines();
    let of = lines
        .iter()
        .filter(|line| line.contains(container) && line.contains(text));
    of.count()
}

#[test]
fn a_replica_that_falls_ill_gets_nothing_until_it_is_well_and_finishes_what_it_has() {
    let wharf = Builder::new().start();
    let network = Network::new();
    let (app, host) = checked("ill", "/health interval=100ms fails=2 passes=2");
    let pool = unique("pool");
    let replicas = app.network(&network).label("wharf.pool", &pool).scale(2);
    for replica in &replicas {
        wait_state(&wharf, replica.name(), "ok");
    }
    let who = || {
        let answer = wharf.get(&host, "/json").unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["hostname"].as_str().unwrap().to_owned()
    };
    let (ill, well) = (&replicas[0], replicas[1].id[..12].to_owned());
    // On both, so on the one that falls ill as well.
    let slow: Vec<_> = (0..8)
        .map(|_| {
            let (address, host) = (wharf.http, host.clone());
            thread::spawn(move || http::get(address, &host, "/sleep/1500").unwrap().status)
        })
        .collect();
    eventually("the slow ones", LIMIT, || {
        match wharf.metrics().contains("\nwharf_requests_open 8\n") {
            true => Ok(()),
            false => Err(wharf.metrics()),
        }
    });
    set_health(ill, &network, "500");
    let endpoint = wait_state(&wharf, ill.name(), "unhealthy");
    let check = endpoint["check"].as_str().unwrap();
    assert!(
        check.starts_with("GET /health: status 500, not 200-399 "),
        "{check}"
    );
    for _ in 0..20 {
        assert_eq!(who(), well);
    }
    for slow in slow {
        assert_eq!(slow.join().unwrap(), 200);
    }
    set_health(ill, &network, "200");
    wait_state(&wharf, ill.name(), "ok");
    let answered: std::collections::BTreeSet<String> = (0..4).map(|_| who()).collect();
    assert_eq!(answered.len(), 2, "it has its share again");
    // One line for each change, whatever the number of checks: at first, and back.
    assert_eq!(lines(&wharf, ill.name(), "passes its health check"), 2);
    assert_eq!(
        lines(&wharf, ill.name(), "does not pass its health check"),
        1
    );
    assert_eq!(lines(&wharf, replicas[1].name(), "health check"), 1);
}

#[test]
fn when_all_are_ill_requests_wait_and_are_then_told_the_cause() {
    let wharf = Builder::new().start();
    let network = Network::new();
    let (app, host) = checked("cause", "/health interval=100ms fails=1 passes=1");
    let container = app.network(&network).label("wharf.hold", "1s").run();
    let (patient, waits) = checked("patient", "/health interval=100ms fails=1 passes=1");
    let patient = patient.network(&network).label("wharf.hold", "1m").run();
    for container in [&container, &patient] {
        wait_state(&wharf, container.name(), "ok");
        set_health(container, &network, "500");
        wait_state(&wharf, container.name(), "unhealthy");
    }
    let held = {
        let address = wharf.http;
        thread::spawn(move || http::get(address, &waits, "/").unwrap().status)
    };
    let began = Instant::now();
    let answer = wharf.get(&host, "/").unwrap();
    assert_eq!(answer.status, 503);
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert!(answer.header("retry-after").is_some());
    let page = answer.text();
    let name = container.name();
    for part in [
        "waited 1s in vain",
        name,
        "does not pass its health check (GET /health: status 500, not 200-399)",
        "docker logs",
    ] {
        assert!(page.contains(part), "no {part} in {page}");
    }
    // The next is told at once: nothing has happened since.
    let began = Instant::now();
    assert_eq!(wharf.get(&host, "/").unwrap().status, 503);
    assert!(began.elapsed() < Duration::from_secs(1));

    let status = wharf.status_text();
    assert!(
        status.contains("unhealthy: GET /health: status 500"),
        "{status}"
    );
    assert!(
        status.contains("does not pass its health check"),
        "{status}"
    );
    let mut explain = Command::new(env!("CARGO_BIN_EXE_wharf"));
    let explain = explain.args(["explain", "--admin", &wharf.admin.to_string()]);
    let told = explain.arg(format!("http://{host}/")).output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    let verdict = told
        .lines()
        .find(|line| line.starts_with("would "))
        .unwrap();
    assert!(
        verdict.contains("503 because no container of upstream"),
        "{told}"
    );
    assert!(verdict.contains("GET /health: status 500"), "{told}");
    let metrics = wharf.metrics();
    for (state, count) in [("ready", 0), ("resting", 0), ("out", 1)] {
        let line = format!("wharf_route_endpoints{{route=\"{name}\",state=\"{state}\"}} {count}\n");
        assert!(metrics.contains(&line), "no {line} in {metrics}");
    }
    // Strangers are told neither name nor status.
    let strange = {
        let trusting = Builder::new()
            .env("WHARF_TRUSTED_PROXIES", "127.0.0.0/8")
            .start();
        wait_state(&trusting, name, "unhealthy");
        let fields = [("x-forwarded-for", "203.0.113.9")];
        http::request(trusting.http, "GET", &host, "/", &fields, b"").unwrap()
    };
    assert_eq!(strange.status, 503);
    assert!(!strange.text().contains(name) && !strange.text().contains("500"));

    for container in [&container, &patient] {
        set_health(container, &network, "200");
    }
    assert_eq!(held.join().unwrap(), 200, "who has waited goes on");
    wharf.wait_answer(&host, "/", |answer| answer.status == 200);
}

#[test]
fn an_app_that_listens_late_and_one_that_is_busy_at_first_are_waited_for() {
    let wharf = Builder::new().start();
    let (late, late_host) = checked("late", "/health");
    let late = late.env("START_DELAY_MS", "1500").run();
    wharf.wait_status("its route", |status| {
        status["routes"].to_string().contains(&late_host)
    });
    assert_eq!(wharf.get(&late_host, "/").unwrap().status, 200);
    assert_eq!(lines(&wharf, late.name(), "passes its health check"), 1);
    // It listens at once, and says that it is not ready: that may take as long as it likes.
    let (busy, busy_host) = checked("busy", "/health");
    let network = Network::new();
    let busy = busy.network(&network).env("HEALTH", "503").run();
    wait_state(&wharf, busy.name(), "unhealthy");
    let held = {
        let (address, host) = (wharf.http, busy_host.clone());
        thread::spawn(move || http::get(address, &host, "/").unwrap().status)
    };
    eventually("the request to wait", LIMIT, || {
        match wharf.metrics().contains("\nwharf_requests_held_total 2\n") {
            true => Ok(()),
            false => Err(wharf.metrics()),
        }
    });
    set_health(&busy, &network, "204");
    assert_eq!(held.join().unwrap(), 200);
    assert_eq!(lines(&wharf, busy.name(), "passes its health check"), 1);
    assert_eq!(lines(&wharf, busy.name(), "does not pass"), 0);
}

#[test]
fn a_healthcheck_of_the_image_counts_beside_a_path_and_not_beside_tcp_and_off() {
    let wharf = Builder::new().start();
    let network = Network::new();
    let image = HealthImage::build();
    let run = |name: &str, check: &str| {
        let host = format!("{}.test", unique(name));
        let app = App::of_image(&image.0, name).network(&network);
        let app = app.label("wharf.host", &host).label("wharf.https", "both");
        let app = app.label("wharf.hold", "off").label("wharf.health", check);
        (app.run(), host)
    };
    // The HEALTHCHECK asks for /health, Wharf for something else.
    let (both, both_host) = run("both", "/status/200 interval=100ms fails=1 passes=1");
    let (path, path_host) = run("path", "/status/503 interval=100ms fails=1 passes=1");
    let (tcp, tcp_host) = run("tcp", "tcp interval=100ms");
    let (off, off_host) = run("off", "off");
    let (docker, docker_host) = run("docker", "docker");
    let wait = |host: &str, status: u16, part: &str| {
        wharf.wait_answer(host, "/", |answer| {
            answer.status == status && answer.text().contains(part)
        });
    };
    for host in [&both_host, &tcp_host, &off_host, &docker_host] {
        wait(host, 200, "");
    }
    wait(&path_host, 503, "GET /status/503: status 503");
    for container in [&both, &path, &tcp, &off, &docker] {
        set_health(container, &network, "500");
    }
    for host in [&both_host, &path_host, &docker_host] {
        wait(host, 503, "is unhealthy (its HEALTHCHECK fails)");
    }
    for (container, host) in [(&tcp, &tcp_host), (&off, &off_host)] {
        eventually("to be unhealthy", LIMIT, || {
            match container.inspect("{{.State.Health.Status}}").as_str() {
                "unhealthy" => Ok(()),
                other => Err(other.to_owned()),
            }
        });
        assert_eq!(wharf.get(host, "/").unwrap().status, 200);
    }
    set_health(&both, &network, "200");
    wait(&both_host, 200, "");
}

/// The sample app with a HEALTHCHECK that asks it for `/health`; removed on drop.
struct HealthImage(String);

impl HealthImage {
    fn build() -> Self {
        let image = format!("{}:healthcheck", unique("image"));
        let files = "COPY whoami /whoami\nEXPOSE 3000\nENTRYPOINT [\"/whoami\"]\n\
                     HEALTHCHECK --interval=300ms --retries=1 CMD [\"/whoami\", \"healthcheck\"]\n";
        build_image(&image, &[("whoami", &example("whoami"))], files);
        Self(image)
    }
}

impl Drop for HealthImage {
    fn drop(&mut self) {
        let words = ["image", "rm", "-f", &self.0].map(String::from);
        let _ = try_docker(&words);
    }
}

/// An app on `a.test` whose checks go to a port of their own, where the test answers each.
struct Scripted {
    site: Site,
    checks: Origin,
    app: Served,
}

impl Scripted {
    /// `old`: the container was there long before Wharf, else it has come just now.
    fn start(old: bool, check: &str) -> Self {
        let (checks, served) = (Origin::new(), Served::text("app"));
        let labels = format!(
            "wharf.host: a.test\nwharf.tls: off\nwharf.hold: off\n\
             wharf.health: {check} port={}",
            checks.port()
        );
        let container = app("app", served.port(), &labels);
        let site = match old {
            true => Site::start([container]),
            false => {
                let site = Site::start([]);
                site.engine.run(container);
                site.wharf
                    .wait_status("the route", |s| s["routes"].to_string().contains("a.test"));
                site
            }
        };
        Self {
            site,
            checks,
            app: served,
        }
    }

    /// Takes the next check and gives it this status; by then all before it have been judged.
    fn next(&self) -> Check {
        let mut peer = self.checks.accept();
        let head = peer.message().head;
        Check { peer, head }
    }

    fn status(&self) -> u16 {
        self.site.send(get("/")).message().status()
    }

    /// Answers the next checks; after each, once the one behind it has come, requests get this.
    fn row(&self, mut next: Check, answers: &[(u16, u16)]) -> Check {
        for (index, (status, then)) in answers.iter().enumerate() {
            next.answer(*status);
            next = self.next();
            assert_eq!(self.status(), *then, "after {status}, number {index}");
        }
        next
    }
}

/// A check that waits for its answer.
struct Check {
    peer: Peer,
    head: String,
}

impl Check {
    fn answer(&mut self, status: u16) {
        let text = format!("HTTP/1.1 {status} X\r\nContent-Length: 2\r\n\r\nok");
        self.peer.send(text);
    }
}

#[test]
fn so_many_in_a_row_decide_and_the_first_success_is_enough() {
    let check = "/healthz?deep=1 interval=100ms fails=3 passes=2 host=app.example.com";
    let scripted = Scripted::start(false, check);
    let first = scripted.next();
    for line in [
        "GET /healthz?deep=1 HTTP/1.1\r\n",
        "\r\nHost: app.example.com\r\n",
        "\r\nUser-Agent: Wharf-Health/",
        "\r\nConnection: close\r\n",
    ] {
        assert!(first.head.contains(line), "no {line} in {}", first.head);
    }
    assert_eq!(scripted.status(), 503, "not ready before the first answer");
    assert_eq!(scripted.app.connections(), 0);
    let next = scripted.row(
        first,
        &[
            (503, 503),
            (500, 503),
            (200, 200),
            // Two failures and a success are nothing ...
            (500, 200),
            (404, 200),
            (302, 200),
            // ... three failures are.
            (500, 200),
            (500, 200),
            (500, 503),
            (200, 503),
            (500, 503),
            (200, 503),
            (200, 200),
        ],
    );
    drop(next);
    let seen = scripted.site.wharf.log_lines();
    let count = |text: &str| seen.iter().filter(|line| line.contains(text)).count();
    assert_eq!(count("passes its health check"), 2, "{seen:?}");
    assert_eq!(count("does not pass its health check"), 1, "{seen:?}");
}

#[test]
fn what_was_there_long_before_is_taken_to_be_ready_until_checks_say_otherwise() {
    let scripted = Scripted::start(true, "/healthz interval=1h fails=2 passes=5");
    // Nobody has answered a check yet.
    let first = scripted.next();
    assert_eq!(scripted.status(), 200);
    // Until the first verdict they do not wait for the interval; after a wrong guess it counts as new.
    let next = scripted.row(first, &[(500, 200), (500, 503), (500, 503)]);
    let mut next = next;
    next.answer(200);
    scripted
        .site
        .wharf
        .wait_answer("a.test", "/", |answer| answer.status == 200);
}

#[test]
fn checks_come_at_their_interval_and_are_no_requests() {
    let times = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&times);
    let served = Served::by(move |request| {
        if request.head.starts_with("GET /up ") {
            noted.lock().unwrap().push(Instant::now());
        }
        ok("app")
    });
    let interval = Duration::from_millis(200);
    let site = Site::plain(served.port(), "wharf.health: /up interval=200ms");
    eventually("checks", LIMIT, || match times.lock().unwrap().len() {
        0..8 => Err("too few".to_owned()),
        _ => Ok(()),
    });
    let times = times.lock().unwrap().clone();
    // The first two are closer. A machine that is busy makes some late, and the next one seem early.
    let (first, last) = (times[1], times[7]);
    assert!(last - first >= interval * 5, "{:?}", last - first);
    for metric in [
        "wharf_upstream_connects_total",
        "wharf_requests_total",
        "wharf_upstream_reuses_total",
    ] {
        assert_eq!(site.metric(metric), 0.0, "{metric}");
    }
    assert_eq!(site.send(get("/")).message().text(), "app");
    assert_eq!(site.wharf.wait_out(1).len(), 1, "the request, and no check");
}

#[test]
fn in_flight_requests_go_on_when_their_replica_goes_out() {
    let (origin, checks) = (Origin::new(), Origin::new());
    let labels = format!(
        "wharf.hold: off\nwharf.health: /up interval=100ms fails=1 port={}",
        checks.port()
    );
    let site = Site::plain(origin.port(), &labels);
    let mut client = site.send(get("/"));
    let mut upstream = origin.accept();
    upstream.head();
    let mut check = checks.accept();
    check.message();
    check.send("HTTP/1.1 500 X\r\n\r\n");
    site.wharf
        .wait_answer("a.test", "/", |answer| answer.status == 503);
    upstream.send(ok("finished"));
    assert_eq!(client.message().text(), "finished");
    assert!(origin.accepted().is_none(), "nothing new");
}

#[test]
fn each_way_to_fail_a_check_is_named() {
    let answering = |bytes: &'static str| Served::by(move |_| bytes.into());
    let served = [
        answering("HTTP/1.1 401 X\r\n\r\n"),
        answering("HTTP/1.1 200 X\r\n\r\n"),
        answering("HTTP/1.1 103 X\r\n\r\nHTTP/1.0 204 X\r\n\r\n"),
        answering("SSH-2.0-x\r\n"),
        answering(""),
    ];
    let silent = Origin::new();
    let full = Full::new();
    let refused = refused_port();
    let port = |index: usize| served[index].port();
    let cases = [
        ("one", port(0), "/up", "status 401, not 200-399"),
        ("two", port(0), "/up status=200,401", "ok"),
        (
            "three",
            port(1),
            "/up status=3xx",
            "status 200, not 300-399",
        ),
        ("four", port(2), "/up status=204", "ok"),
        ("five", port(3), "/up", "an unusable answer"),
        (
            "six",
            port(4),
            "/up timeout=300ms",
            "no answer within 300ms",
        ),
        (
            "seven",
            silent.port(),
            "/up timeout=300ms",
            "no answer within 300ms",
        ),
        (
            "eight",
            full.port(),
            "/up timeout=300ms",
            "no answer within 300ms",
        ),
        (
            "nine",
            full.port(),
            "tcp timeout=300ms",
            "no answer within 300ms",
        ),
        ("ten", refused, "/up", "connection refused"),
        ("eleven", refused, "tcp", "connection refused"),
        ("twelve", silent.port(), "tcp", "ok"),
    ];
    let containers = cases.iter().map(|(name, port, check, _)| {
        let labels = format!(
            "wharf.host: {name}.test\nwharf.tls: off\nwharf.hold: off\n\
             wharf.health: {check} interval=100ms fails=1"
        );
        app(name, *port, &labels)
    });
    let site = Site::start(containers.collect::<Vec<_>>());
    for (name, _, check, told) in cases {
        let state = if told == "ok" { "ok" } else { "unhealthy" };
        let endpoint = wait_state(&site.wharf, name, state);
        if told == "ok" {
            continue;
        }
        let said = endpoint["check"].as_str().unwrap();
        assert!(said.contains(told), "{name}: {said}");
        let request = get("/").replace("a.test", &format!("{name}.test"));
        let page = site.send(request).message().text();
        assert!(page.contains(told), "{name} {check}: {page}");
    }
    let status = site.wharf.status_text();
    let hint = format!("nothing listens on 127.0.0.1:{refused}");
    assert!(status.contains(&hint), "{status}");
}

#[test]
fn a_check_that_changes_goes_on_from_what_is_known() {
    let paths = Arc::new(Mutex::new(Vec::new()));
    let (noted, status) = (Arc::clone(&paths), Arc::new(AtomicU16::new(200)));
    let said = Arc::clone(&status);
    let served = Served::by(move |request| {
        let path = request.head.split(' ').nth(1).unwrap().to_owned();
        noted.lock().unwrap().push(path);
        format!(
            "HTTP/1.1 {} X\r\nContent-Length: 0\r\n\r\n",
            said.load(Ordering::SeqCst)
        )
        .into()
    });
    // An address outside stays the same endpoint when its container is made anew.
    let carrier = |name: &str, check: &str| {
        let container = FakeContainer::new(name).state("exited");
        let container = container
            .label("wharf.host", "a.test")
            .label("wharf.tls", "off");
        let container = container.label("com.docker.compose.project", "p");
        let container = container.label("com.docker.compose.service", "s");
        let url = format!("http://127.0.0.1:{}", served.port());
        let container = container
            .label("wharf.hold", "off")
            .label("wharf.upstream", &url);
        container.label("wharf.health", check)
    };
    let site = Site::start([carrier("first", "/a interval=100ms fails=1 passes=3")]);
    let asked = |path: &str| paths.lock().unwrap().iter().any(|one| one == path);
    let wait_for = |path: &str| {
        paths.lock().unwrap().clear();
        eventually(path, LIMIT, || match asked(path) {
            true => Ok(()),
            false => Err("not asked for".to_owned()),
        });
    };
    let swap = |old: &str, new: &str, check: &str| {
        site.engine.run(carrier(new, check));
        site.engine.remove(old);
    };
    wait_for("/a");
    wait_state(&site.wharf, "first", "ok");
    swap("first", "second", "/b interval=100ms fails=1 passes=3");
    wait_for("/b");
    // Ready all the time, and the old check is over.
    assert_eq!(wait_state(&site.wharf, "second", "ok")["weight"], 1);
    wait_for("/b");
    assert!(!asked("/a"));
    status.store(500, Ordering::SeqCst);
    wait_state(&site.wharf, "second", "unhealthy");
    // Another question, another judgement.
    swap("second", "third", "/c interval=100ms status=500");
    wait_state(&site.wharf, "third", "ok");
    swap("third", "fourth", "off");
    let endpoint = wait_state(&site.wharf, "fourth", "ok");
    assert!(endpoint["check"].is_null(), "{endpoint}");
    paths.lock().unwrap().clear();
    assert_eq!(site.send(get("/request")).message().status(), 500);
    assert_eq!(
        *paths.lock().unwrap(),
        ["/request"],
        "nothing is asked any more"
    );
}

#[test]
fn services_that_share_a_place_take_over_from_one_that_is_out() {
    let ill = Arc::new(AtomicU16::new(200));
    let status = Arc::clone(&ill);
    let blue = Served::by(move |request| match request.head.starts_with("GET /up ") {
        true => format!(
            "HTTP/1.1 {} X\r\nContent-Length: 0\r\n\r\n",
            status.load(Ordering::SeqCst)
        )
        .into(),
        false => ok("blue"),
    });
    let green = Served::text("green");
    let member = |name: &str, port: u16, labels: &str| {
        let labels = format!(
            "wharf.host: a.test\nwharf.tls: off\nwharf.hold: off\ncom.docker.compose.project: p\n\
             com.docker.compose.service: {name}\nwharf.health: /up interval=100ms fails=1 passes=1\n{labels}"
        );
        app(name, port, &labels)
    };
    let site = Site::start([
        member(
            "blue",
            blue.port(),
            "wharf.weight: 90\nwharf.canary: header:X-Blue",
        ),
        member("green", green.port(), "wharf.weight: 10"),
    ]);
    let ask = |fields: &str| {
        let request = get("/").replace("\r\n\r\n", &format!("\r\n{fields}\r\n"));
        site.send(request).message().text()
    };
    let of_blue = || (0..100).filter(|_| ask("") == "blue").count();
    wait_state(&site.wharf, "blue", "ok");
    assert_eq!(of_blue(), 90);
    ill.store(500, Ordering::SeqCst);
    wait_state(&site.wharf, "blue", "unhealthy");
    assert_eq!(of_blue(), 0);
    assert_eq!(ask("X-Blue: 1\r\n"), "green", "the canary is out, too");
    ill.store(200, Ordering::SeqCst);
    wait_state(&site.wharf, "blue", "ok");
    assert_eq!(of_blue(), 90);
}

#[test]
fn many_endpoints_are_asked_by_and_by() {
    let (open, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (now, peak) = (Arc::clone(&open), Arc::clone(&most));
    let served = Served::by(move |request| {
        if request.head.starts_with("GET /up ") {
            let count = now.fetch_add(1, Ordering::SeqCst) + 1;
            peak.fetch_max(count, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(100));
            now.fetch_sub(1, Ordering::SeqCst);
        }
        ok("app")
    });
    let containers = (0..300).map(|n| {
        let labels = format!("wharf.host: h{n}.test\nwharf.tls: off\nwharf.health: /up");
        app(&format!("app{n}"), served.port(), &labels)
    });
    let site = Site::start([]);
    site.engine.set_containers(containers.collect::<Vec<_>>());
    site.engine.push_event("container", "start", "app0");
    site.wharf.wait_status("all to be ready", |status| {
        let upstreams = status["upstreams"].as_array().unwrap();
        let ready = upstreams
            .iter()
            .filter(|up| up["endpoints"][0]["state"] == "ok");
        ready.count() == 300
    });
    let most = most.load(Ordering::SeqCst);
    assert!((2..=128).contains(&most), "{most} at once");
}
