//! `wharf socket-proxy`: what passes, what does not, and that Wharf needs no more.

/// `compose/hardened.yml` as it is.
mod hardened;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::docker::{App, Network, docker, unique};
use crate::support::engine::{FakeContainer, FakeEngine};
use crate::support::eventually;
use crate::support::socket_proxy::SocketProxy;
use crate::support::wharf::Builder;

/// The machine's engine.
fn real() -> String {
    std::env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".into())
}

#[test]
fn wharf_follows_deploys_through_the_filter_and_asks_for_nothing_more() {
    let filter = SocketProxy::start(&real(), &[]);
    let wharf = Builder::new().env("DOCKER_HOST", &filter.host()).start();
    let name = format!("{}.localhost", unique("filtered"));
    let app = App::new("filtered").label("wharf.host", &name);
    let app = app.label("wharf.https", "both").run();
    let first = wharf.wait_answer(&name, "/json", |answer| answer.status == 200);
    assert_eq!(first.json()["hostname"], app.id[..12]);
    let app = app.recreate();
    let id = app.id[..12].to_owned();
    wharf.wait_answer(&name, "/json", |answer| {
        answer.status == 200 && answer.json()["hostname"] == id
    });
    // The periodic list, which needs no event, is half a minute away.
    app.stop(1);
    wharf.wait_answer(&name, "/", |answer| answer.status == 503);
    let engine = &wharf.status_json()["engine"];
    assert_eq!(engine["connected"], true, "{engine}");
    // Ports of a host mode container take an inspect.
    let name = format!("{}.localhost", unique("host"));
    let host = App::new("host")
        .label("wharf.host", &name)
        .arg(&["--network=host"]);
    let _host = host.env("PORT", "0").run();
    wharf.wait_status("a route to host mode", |status| {
        status.to_string().contains("127.0.0.1:3000")
    });
    let refused = filter.log_lines();
    assert!(
        !refused.iter().any(|line| line.contains("refused")),
        "{refused:?}"
    );
}

#[test]
fn everything_else_is_a_403_that_names_it_and_never_reaches_the_engine() {
    let engine = FakeEngine::start();
    let filter = SocketProxy::start(&engine.host(), &[]);
    for (method, target) in [
        ("POST", "/v1.41/containers/create"),
        ("POST", "/containers/json"),
        ("DELETE", "/containers/abc"),
        ("PUT", "/containers/abc/archive?path=/"),
        ("GET", "/info"),
        ("GET", "/containers/abc/logs?stdout=1"),
        ("GET", "/containers/abc/../json"),
        ("GET", "/containers/abc/..%2Flogs"),
        ("GET", "//containers/json"),
        ("GET", "/containers/json?size=1"),
        ("GET", "/events?filters=%7B%22label%22%3A%5B%22a%22%5D%7D"),
        ("HEAD", "/containers/json"),
        ("CONNECT", "engine:2375"),
        ("GET", "*"),
        ("GET", "http://engine/info"),
    ] {
        let answer = filter.ask(method, target, "");
        let status = answer.status;
        // What is no request at all never gets as far as the list.
        assert!(
            status == 403 || status == 400,
            "{method} {target}: {status}"
        );
        if status == 403 && method != "HEAD" {
            let told = answer.json()["message"].as_str().unwrap().to_owned();
            assert!(told.contains("wharf socket-proxy refuses"), "{told}");
            assert!(told.contains(method), "{told}");
        }
    }
    let told = filter.ask("POST", "/v1.41/containers/create", "").json();
    let told = told["message"].as_str().unwrap();
    assert!(told.contains("POST /v1.41/containers/create"), "{told}");
    let logged = filter.wait_log("refused");
    assert!(logged.contains("POST /v1.41/containers/create"), "{logged}");
    // Bodies and upgrades.
    let body = filter.ask("GET", "/version", "Content-Length: 2\r\n");
    assert_eq!(body.status, 403);
    let body = filter.ask("GET", "/version", "Transfer-Encoding: chunked\r\n");
    assert_eq!(body.status, 403);
    assert_eq!(engine.asked(), 0);
    let upgrade = filter.ask("GET", "/version", "Connection: Upgrade\r\nUpgrade: tcp\r\n");
    assert_eq!((upgrade.status, engine.asked()), (200, 1));
    // A second request behind the first is not even read.
    let two = filter.ask(
        "GET",
        "/version",
        "\r\nGET /version HTTP/1.1\r\nHost: a\r\n",
    );
    assert_eq!((two.status, engine.asked()), (200, 2));
    assert_eq!(two.json()["ApiVersion"], "1.41");
}

#[test]
fn secrets_of_a_container_stay_behind() {
    let filter = SocketProxy::start(&real(), &[]);
    let network = Network::new();
    let mut events = BufReader::new(filter.open("GET", "/events", ""));
    let app = App::new("secret")
        .network(&network)
        .label("wharf.host", "secret.localhost");
    let app = app.label("password", SECRET).env("PASSWORD", SECRET);
    let app = app.arg(&["--health-cmd", &format!("[\"/whoami\", \"{SECRET}\"]")]);
    let app = app.arg(&["--volume", &format!("/tmp:/{SECRET}")]);
    let app = app.command(&[SECRET]).run();
    let _ = docker(["exec", "--detach", &app.id, "/whoami", SECRET]);
    let id = &app.id;
    assert!(docker(["inspect", id]).contains(SECRET));
    let inspect = filter.get(&format!("/v1.41/containers/{id}/json"));
    let list = filter.get("/v1.41/containers/json?all=true");
    for answer in [&inspect, &list] {
        assert_eq!(answer.status, 200);
        assert!(!answer.text().contains(SECRET), "{}", answer.text());
        assert!(answer.text().contains("secret.localhost"));
    }
    assert_eq!(
        inspect.json()["Config"]["ExposedPorts"],
        json!({ "3000/tcp": {} })
    );
    assert_eq!(inspect.json()["Id"], *id);
    app.kill("TERM");
    let mut told = String::new();
    let ended = |line: &str| line.contains("\"die\"") && line.contains(id.as_str());
    while !told.lines().any(ended) {
        assert_ne!(events.read_line(&mut told).unwrap(), 0, "{told}");
    }
    assert!(!told.contains(SECRET), "{told}");
    assert!(told.contains("\"signal\":\"15\""), "{told}");
    let networks = filter.get("/networks").json();
    let ours = networks.as_array().unwrap().iter();
    let ours: Vec<_> = ours.filter(|one| one["Name"] == network.name).collect();
    assert_eq!(ours.len(), 1);
    assert_eq!(ours[0].get("Containers"), None);
    let gone = filter.get("/containers/no-such-container/json");
    assert_eq!(gone.status, 404);
    assert!(
        gone.json()["message"]
            .as_str()
            .unwrap()
            .contains("No such container")
    );
}

#[test]
fn events_are_handed_on_one_by_one_as_they_come() {
    let engine = FakeEngine::start();
    let filter = SocketProxy::start(&engine.host(), &[]);
    let mut stream = BufReader::new(filter.open("GET", "/v1.41/events", ""));
    eventually("a subscription", LIMIT, || match engine.subscribers() {
        0 => Err("none".into()),
        _ => Ok(()),
    });
    let mut slowest = Duration::ZERO;
    let next = |stream: &mut BufReader<UnixStream>| loop {
        let mut line = String::new();
        assert_ne!(stream.read_line(&mut line).unwrap(), 0);
        if line.starts_with('{') {
            return serde_json::from_str::<Value>(&line).unwrap();
        }
    };
    for number in 0..20 {
        let name = format!("app{number}");
        let told = Instant::now();
        // What is dropped must not hold back what follows.
        engine.push_event("container", "exec_start: sh -c hush", &name);
        engine.push_event("container", "start", &name);
        let event = next(&mut stream);
        slowest = slowest.max(told.elapsed());
        let id = FakeContainer::new(&name).id;
        assert_eq!(
            (&event["Action"], &event["Actor"]["ID"]),
            (&json!("start"), &json!(id))
        );
    }
    println!("engine -> caller, slowest of 20: {slowest:?}");
    // The caller leaves, and so does the filter.
    drop(stream);
    eventually("the end of the subscription", LIMIT, || {
        engine.push_event("container", "start", "x");
        match engine.subscribers() {
            0 => Ok(()),
            _ => Err("still there".into()),
        }
    });
}

#[test]
fn an_engine_that_is_away_is_a_502_and_is_found_again() {
    let mut engine = FakeEngine::start();
    let filter = SocketProxy::start(&engine.host(), &[]);
    assert_eq!(filter.get("/version").status, 200);
    for leave_file in [false, true] {
        engine.stop(leave_file);
        let answer = filter.get("/version");
        assert_eq!(answer.status, 502);
        let told = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(
            told.contains("docker.sock") && told.contains("cannot be reached"),
            "{told}"
        );
        engine.listen();
        assert_eq!(filter.get("/version").status, 200);
    }
    engine.fail("/networks", 500);
    let answer = filter.get("/networks");
    assert_eq!(
        (answer.status, &answer.json()["message"]),
        (500, &json!("as told"))
    );
}

#[test]
fn a_filter_by_label_hides_all_other_containers() {
    let engine = FakeEngine::start();
    let shown = FakeContainer::new("shown")
        .label("team", "web")
        .label("wharf.host", "a.test");
    let hidden = FakeContainer::new("hidden").label("team", "db");
    engine.set_containers([shown, hidden]);
    let filter = SocketProxy::start(&engine.host(), &["--filter", "label=team=web"]);
    let list = filter.get("/containers/json").json();
    assert_eq!(list.as_array().unwrap().len(), 1);
    assert_eq!(list[0]["Names"], json!(["/shown"]));
    assert_eq!(list[0]["Labels"], json!({ "wharf.host": "a.test" }));
    let inspect = |name| {
        let id = FakeContainer::new(name).id;
        filter.get(&format!("/containers/{id}/json")).status
    };
    assert_eq!((inspect("shown"), inspect("hidden")), (200, 404));
}

#[test]
fn it_ends_on_a_signal_and_leaves_nothing_behind() {
    let engine = FakeEngine::start();
    let mut filter = SocketProxy::start(&engine.host(), &["--mode", "0600"]);
    let mode = || {
        let file = std::fs::metadata(filter.path()).unwrap();
        std::os::unix::fs::PermissionsExt::mode(&file.permissions()) & 0o777
    };
    assert_eq!(mode(), 0o600);
    let again = Command::new(env!("CARGO_BIN_EXE_wharf"))
        .args(["socket-proxy", "--listen", &filter.host()])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&again.stderr).into_owned();
    assert_eq!(again.status.code(), Some(1), "{told}");
    assert!(told.contains("another process listens there"), "{told}");

    let mut stream = filter.open("GET", "/events", "");
    eventually("a subscription", LIMIT, || match engine.subscribers() {
        0 => Err("none".into()),
        _ => Ok(()),
    });
    // One that never asks anything does not hold it up either.
    let mut idle = UnixStream::connect(filter.path()).unwrap();
    idle.write_all(b"GET /ver").unwrap();
    let started = Instant::now();
    assert_eq!(filter.stop(), Some(0));
    println!("end after {:?}", started.elapsed());
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    let rest = String::from_utf8_lossy(&rest).into_owned();
    assert!(
        rest.ends_with("0\r\n\r\n"),
        "the stream ends in order: {rest}"
    );
    assert!(!filter.path().exists());
}

const SECRET: &str = "hush-7f3a";
const LIMIT: Duration = Duration::from_secs(20);
