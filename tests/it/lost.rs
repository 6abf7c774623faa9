//! Containers that are gone under a request: taken off their network, or ended without a word.

use std::time::{Duration, Instant};

use crate::support::docker::{App, Network, unique};
use crate::support::engine::FakeContainer;
use crate::support::http;
use crate::support::origin::{Origin, Served};
use crate::support::site::{Site, app};
use crate::support::wharf::Builder;

/// The container is off its network; the list agrees.
fn cut_off(site: &Site, name: &str, others: &[FakeContainer]) {
    let mut gone = FakeContainer::new(name).label("wharf.host", "a.test");
    gone.networks.clear();
    site.engine.set_containers([&[gone], others].concat());
    site.engine.push_event("network", "disconnect", name);
}

/// Far less than the read timeout, and enough for a busy machine.
const SOON: Duration = Duration::from_secs(10);

#[test]
fn a_request_at_a_container_that_lost_its_network_is_answered_soon() {
    let origin = Origin::new();
    let site = Site::plain(origin.port(), "wharf.hold: off");
    let mut client = site.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi");
    let mut far = origin.accept();
    far.message();
    let start = Instant::now();
    cut_off(&site, "app", &[]);
    let answer = client.message();
    let took = start.elapsed();
    println!("disconnect -> 502: {took:?}");
    assert_eq!(answer.status(), 502);
    assert!(
        answer.text().contains("gone from there"),
        "{}",
        answer.text()
    );
    assert!(took < SOON, "{took:?}");
    far.ended();
}

#[test]
fn what_may_be_sent_again_is_sent_to_another() {
    let (origin, other) = (Origin::new(), Served::text("other"));
    let labels = "wharf.host: a.test\nwharf.tls: off\nwharf.pool: p\nwharf.lb: round_robin";
    let other = (app("other", other.port(), labels), other);
    let site = Site::start([app("app", origin.port(), labels), other.0.clone()]);
    // In turns: one of two comes to the first.
    let mut clients = [(); 2].map(|()| site.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"));
    let mut far = origin.accept();
    far.message();
    let start = Instant::now();
    cut_off(&site, "app", &[other.0]);
    for client in &mut clients {
        let answer = client.message();
        assert_eq!((answer.status(), &*answer.text()), (200, "other"));
    }
    println!("disconnect -> the other's answer: {:?}", start.elapsed());
    assert!(start.elapsed() < SOON);
}

#[test]
fn what_it_has_sent_before_arrives_and_the_rest_is_cut() {
    let origin = Origin::new();
    let site = Site::plain(origin.port(), "wharf.hold: off");
    let mut client = site.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let (mut far, _) = origin.answer("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhal");
    client.until("hal");
    cut_off(&site, "app", &[]);
    // Sent before, and late.
    far.send("f");
    client.until("f");
    let start = Instant::now();
    client.ended();
    assert!(start.elapsed() < SOON);
}

#[test]
fn a_tunnel_to_it_ends() {
    let origin = Origin::new();
    let site = Site::plain(origin.port(), "wharf.hold: off");
    let mut client = site.send(
        "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    let answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello";
    let (mut far, _) = origin.answer(answer);
    client.until("hello");
    let start = Instant::now();
    cut_off(&site, "app", &[]);
    client.ended();
    println!("disconnect -> the tunnel's end: {:?}", start.elapsed());
    assert!(start.elapsed() < SOON);
    far.ended();
}

/// As a killed process whose last packets got lost; one that only stops, pauses or falls ill works on.
#[test]
fn an_end_is_one_and_everything_else_is_none() {
    let origin = Origin::new();
    let site = Site::plain(origin.port(), "wharf.hold: off");
    let mut client = site.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n");
    let mut far = origin.accept();
    far.message();
    let labelled = || {
        app(
            "app",
            origin.port(),
            "wharf.host: a.test\nwharf.tls: off\nwharf.hold: off",
        )
    };
    for (action, container) in [
        ("health_status: unhealthy", labelled().health("unhealthy")),
        ("pause", labelled().state("paused")),
        ("kill", labelled()),
    ] {
        site.engine.set_containers([container]);
        site.engine.push_event("container", action, "app");
        site.wharf.wait_status(action, |status| {
            status["upstreams"][0]["endpoints"]
                .as_array()
                .unwrap()
                .is_empty()
        });
        // Longer than an end takes to be one.
        std::thread::sleep(Duration::from_millis(1200));
        client.is_silent();
        site.engine.set_containers([labelled()]);
        site.engine.push_event("container", "start", "app");
        site.wharf.wait_status("its endpoint", |status| {
            status["upstreams"][0]["endpoints"]
                .as_array()
                .unwrap()
                .len()
                == 1
        });
    }
    let start = Instant::now();
    site.engine.set_containers([labelled().state("exited")]);
    site.engine.push_event("container", "die", "app");
    assert_eq!(client.message().status(), 502);
    assert!(start.elapsed() < SOON);
}

/// Packets vanish, no reset comes: without the engine's word it would wait for a minute.
#[test]
fn a_real_container_off_its_network() {
    let wharf = Builder::new().start();
    let (network, other) = (Network::new(), Network::new());
    let host = format!("{}.test", unique("lost"));
    let app = App::new("lost")
        .label("wharf.host", &host)
        .label("wharf.https", "both");
    let app = app.label("wharf.hold", "off").network(&network).run();
    wharf.wait_answer(&host, "/", |answer| answer.status == 200);
    let asked = std::thread::spawn({
        let (address, host) = (wharf.http, host.clone());
        move || http::request(address, "POST", &host, "/sleep/30000", &[], b"").unwrap()
    });
    // Under way by then; nothing tells of it.
    std::thread::sleep(Duration::from_millis(500));
    let start = Instant::now();
    network.disconnect(&app);
    let answer = asked.join().unwrap();
    println!(
        "docker network disconnect -> {}: {:?}",
        answer.status,
        start.elapsed()
    );
    assert_eq!(answer.status, 502);
    assert!(
        answer.text().contains("gone from there"),
        "{}",
        answer.text()
    );
    // Another address of it serves.
    other.connect(&app);
    wharf.wait_answer(&host, "/", |answer| answer.status == 200);
}
