//! Real apps in real containers; Wharf runs on the host.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::{LIMIT, wait_state};
use crate::support::docker::{App, Container, Network, build_image, example, try_docker, unique};
use crate::support::eventually;
use crate::support::http;
use crate::support::wharf::{Builder, Wharf};

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

/// Waits until the log has so many lines of a container with this text; it may not get more.
fn wait_lines(wharf: &Wharf, container: &str, text: &str, count: usize) {
    eventually(text, LIMIT, || {
        let lines = wharf.log_lines();
        let of = lines
            .iter()
            .filter(|line| line.contains(container) && line.contains(text));
        match of.count() {
            found if found == count => Ok(()),
            found => Err(format!("{found} lines of {container}")),
        }
    });
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
    wait_lines(&wharf, ill.name(), "passes its health check", 2);
    wait_lines(&wharf, ill.name(), "does not pass its health check", 1);
    wait_lines(&wharf, replicas[1].name(), "health check", 1);
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

    // Well and ill again, without a request in between: there is hope again.
    set_health(&container, &network, "200");
    wait_state(&wharf, name, "ok");
    set_health(&container, &network, "500");
    wait_state(&wharf, name, "unhealthy");
    let began = Instant::now();
    assert_eq!(wharf.get(&host, "/").unwrap().status, 503);
    assert!(began.elapsed() >= Duration::from_secs(1));

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
    wait_lines(&wharf, late.name(), "passes its health check", 1);
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
    wait_lines(&wharf, busy.name(), "passes its health check", 1);
    wait_lines(&wharf, busy.name(), "does not pass", 0);
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
