//! Requests that come before Wharf knows the containers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::engine::FakeEngine;
use crate::support::eventually;
use crate::support::http;
use crate::support::origin::Served;
use crate::support::peer::Peer;
use crate::support::responder::client_config;
use crate::support::site::{app, get};
use crate::support::wharf::{Builder, Wharf};

/// A Wharf whose engine takes its time for the list.
fn starting(engine: &FakeEngine, list: Duration) -> Builder {
    engine.delay_lists(list);
    Builder::new().engine(engine).env("WHARF_WORKERS", "2")
}

fn client(wharf: &Wharf) -> Peer {
    let mut client = Peer::connect(wharf.http);
    client.send(get("/"));
    client
}

/// So many requests have come, and have no answer.
fn waiting(wharf: &Wharf, count: usize) {
    let open = format!("wharf_requests_open {count}\n");
    eventually(&open, Duration::from_secs(5), || {
        let metrics = wharf.metrics();
        match metrics.contains(&open) {
            true => Ok(()),
            false => Err(metrics),
        }
    });
}

#[test]
fn who_comes_before_the_first_list_waits_for_it() {
    let served = Served::text("hi");
    let engine = FakeEngine::start();
    let labels = "wharf.host: a.test\nwharf.tls: internal\nwharf.https: both";
    engine.set_containers([app("app", served.port(), labels)]);
    // Its authority is known to clients since an earlier start.
    let data = tempfile::tempdir().unwrap();
    let before = Builder::new().engine(&engine).data(data.path()).start();
    before.wait_status("the first list", |status| status["ready"] == true);
    let root = data.path().join("ca/ca.crt");
    eventually("the root", Duration::from_secs(10), || {
        let _ = Peer::connect(before.https);
        root.exists().then_some(()).ok_or_else(String::new)
    });
    assert!(before.stop().success());

    let builder = starting(&engine, Duration::from_secs(2)).data(data.path());
    let wharf = builder.start();
    let mut plain: Vec<Peer> = (0..20).map(|_| client(&wharf)).collect();
    let tls = std::thread::spawn({
        let (address, data) = (wharf.https, data.path().to_owned());
        move || {
            let mut tls = Peer::connect_tls(address, "a.test", &data).unwrap();
            tls.send(get("/"));
            tls.message().text()
        }
    });
    // No route is known while all of them are there already.
    waiting(&wharf, 20);
    assert_eq!(wharf.status_json()["ready"], false);
    for client in &mut plain {
        assert_eq!(client.message().text(), "hi");
    }
    assert_eq!(tls.join().unwrap(), "hi");
    let other = http::get(wharf.http, "other.test", "/").unwrap();
    assert_eq!(other.status, 404);
}

#[test]
fn a_stop_ends_their_wait() {
    let engine = FakeEngine::start();
    let mut wharf = starting(&engine, Duration::from_secs(60)).start();
    let mut plain = client(&wharf);
    let tls = std::thread::spawn({
        let address = wharf.https;
        move || {
            let mut peer = Peer::connect(address);
            peer.send(hello());
            peer.rest().0.into_bytes()
        }
    });
    waiting(&wharf, 1);
    eventually("the handshake", Duration::from_secs(5), || {
        let open = wharf.metrics();
        let open = open.contains("wharf_connections_open{listener=\"https\"} 1\n");
        open.then_some(()).ok_or_else(String::new)
    });
    let began = Instant::now();
    wharf.signal("TERM");
    let answer = plain.message();
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.field("connection"), Some("close"));
    assert!(answer.text().contains("is starting"), "{}", answer.text());
    assert_eq!(tls.join().unwrap().first(), Some(&0x15), "an alert");
    assert!(wharf.wait_exit().success());
    assert!(began.elapsed() < Duration::from_secs(8));
}

#[test]
fn an_engine_that_never_answers_is_waited_for_once() {
    let engine = FakeEngine::start();
    engine.fail("/", 500);
    let wharf = Builder::new().engine(&engine).start();
    let began = Instant::now();
    let mut first = client(&wharf);
    let answer = first.message();
    assert_eq!(answer.status(), 503);
    assert!(answer.field("retry-after").is_some());
    assert!(began.elapsed() >= Duration::from_secs(9));
    let began = Instant::now();
    assert_eq!(client(&wharf).message().status(), 503);
    assert!(began.elapsed() < Duration::from_secs(5));
}

/// A ClientHello for `a.test`.
fn hello() -> Vec<u8> {
    let config = client_config(rustls::RootCertStore::empty());
    let name = "a.test".try_into().unwrap();
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    hello
}
