//! Which connections to an app are used again, and how long an app and a client are waited for:
//! `wharf.keepalive` and `wharf.timeout`.

use std::time::{Duration, Instant};

use crate::support::eventually;
use crate::support::origin::{Origin, Served, ok};
use crate::support::peer::{LIMIT, Peer};
use crate::support::site::{Site, get};

const EMPTY: &str = "HTTP/1.1 204 No Content\r\n\r\n";

/// As many requests at once, each on a connection of its own; the connections.
fn at_once(site: &Site, origin: &Origin, path: &str, count: usize) -> Vec<Peer> {
    let mut clients: Vec<Peer> = (0..count).map(|_| site.send(get(path))).collect();
    let mut upstreams: Vec<Peer> = clients.iter().map(|_| origin.accept()).collect();
    for upstream in &mut upstreams {
        upstream.head();
    }
    for upstream in &mut upstreams {
        upstream.send(EMPTY);
    }
    for client in &mut clients {
        assert_eq!(client.message().status(), 204);
    }
    upstreams
}

#[test]
fn so_many_idle_connections_are_kept() {
    let origin = Origin::new();
    let site = Site::plain(origin.port(), "wharf.keepalive: 2");
    let mut upstreams = at_once(&site, &origin, "/", 5);
    // The ends of three arrive; two stay.
    eventually("three ends", LIMIT, || {
        let open = upstreams
            .iter_mut()
            .filter_map(|one| (!one.has_ended()).then_some(()));
        let open = open.count();
        if open == 2 {
            Ok(())
        } else {
            Err(format!("{open} open"))
        }
    });
    upstreams.retain_mut(|one| !one.has_ended());
    for upstream in &mut upstreams {
        upstream.is_silent();
    }
    // Both serve again.
    let mut clients = [site.send(get("/")), site.send(get("/"))];
    for upstream in &mut upstreams {
        upstream.head();
        upstream.send(EMPTY);
    }
    for client in &mut clients {
        assert_eq!(client.message().status(), 204);
    }
    assert!(origin.accepted().is_none());
}

#[test]
fn without_keepalive_each_request_has_its_own_connection_and_the_app_knows() {
    let origin = Origin::new();
    // A route of its own, to the same replica: what one keeps the other does not take.
    let site = Site::plain(
        origin.port(),
        "wharf.once.path: /once\nwharf.once.keepalive: off",
    );
    let mut kept = at_once(&site, &origin, "/", 1).remove(0);
    for _ in 0..2 {
        let mut client = site.send(get("/once"));
        let mut upstream = origin.accept();
        let request = upstream.message();
        assert_eq!(request.field("connection"), Some("close"));
        upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
        assert_eq!(client.message().text(), "hi");
        upstream.ended();
    }
    let mut client = site.send(get("/"));
    assert_eq!(kept.message().field("connection"), None);
    kept.send(EMPTY);
    assert_eq!(client.message().status(), 204);
    // A WebSocket says what it is.
    let mut client = site.send(
        "GET /once HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
    );
    let request = origin.accept().message();
    assert_eq!(request.field("connection"), Some("Upgrade"));
    client.finish();
}

#[test]
fn a_connection_ends_after_its_requests_or_its_age() {
    let served = Served::text("hi");
    let site = Site::plain(served.port(), "wharf.keepalive: 8 requests=3");
    for _ in 0..9 {
        assert_eq!(site.send(get("/")).message().text(), "hi");
    }
    assert_eq!(served.connections(), 3);

    let site = Site::plain(served.port(), "wharf.keepalive: 8 requests=off time=300ms");
    let before = served.connections();
    for _ in 0..2 {
        assert_eq!(site.send(get("/")).message().text(), "hi");
    }
    assert_eq!(served.connections(), before + 1);
    // Nothing announces that time has passed. The next request is its last.
    std::thread::sleep(Duration::from_millis(600));
    for _ in 0..2 {
        assert_eq!(site.send(get("/")).message().text(), "hi");
    }
    assert_eq!(served.connections(), before + 2);
}

#[test]
fn an_idle_connection_is_closed_after_its_time() {
    let origin = Origin::new();
    let site = Site::plain(
        origin.port(),
        "wharf.keepalive: timeout=500ms\nwharf.long.path: /long\nwharf.long.keepalive: timeout=off",
    );
    let mut clients = [site.send(get("/")), site.send(get("/long"))];
    let mut upstreams = [origin.accept(), origin.accept()];
    let requests = upstreams.each_mut().map(|upstream| upstream.head());
    if !requests[0].starts_with("GET / ") {
        upstreams.swap(0, 1);
    }
    for upstream in &mut upstreams {
        upstream.send(EMPTY);
    }
    let began = Instant::now();
    for client in &mut clients {
        assert_eq!(client.message().status(), 204);
    }
    let [mut short, mut long] = upstreams;
    short.ended();
    assert!(began.elapsed() >= Duration::from_millis(300));
    long.is_silent();
}

#[test]
fn the_head_and_the_body_of_an_answer_have_limits_of_their_own() {
    let origin = Origin::new();
    let site = Site::plain(
        origin.port(),
        "wharf.timeout: first=300ms read=60s\nwharf.slow.path: /slow\n\
         wharf.slow.timeout: first=60s read=300ms",
    );
    let began = Instant::now();
    let mut client = site.send(get("/"));
    let mut upstream = origin.accept();
    upstream.head();
    let answer = client.message();
    assert_eq!(answer.status(), 504);
    assert!(
        answer.text().contains("sent no answer for 300ms"),
        "{}",
        answer.text()
    );
    assert!(began.elapsed() >= Duration::from_millis(300));
    upstream.ended();
    // Its head may come late; then it has to go on.
    let mut client = site.send(get("/slow"));
    let mut upstream = origin.accept();
    upstream.head();
    std::thread::sleep(Duration::from_millis(700));
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc");
    client.until("abc");
    client.ended();
    upstream.ended();
    // The body of the first may take its time.
    let mut client = site.send(get("/"));
    let (mut upstream, _) = origin.answer("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc");
    client.until("abc");
    std::thread::sleep(Duration::from_millis(700));
    upstream.send("def");
    client.until("def");
}

#[test]
fn a_client_that_stops_in_its_body_is_not_waited_for() {
    let origin = Origin::new();
    let site = Site::plain(origin.port(), "wharf.timeout.body: 300ms");
    let began = Instant::now();
    let mut client = site.send("PUT / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 9\r\n\r\nabc");
    let mut upstream = origin.accept();
    upstream.head();
    let answer = client.message();
    assert_eq!(answer.status(), 408);
    assert!(
        answer.text().contains("nothing of its body for 300ms"),
        "{}",
        answer.text()
    );
    assert!(began.elapsed() >= Duration::from_millis(300));
    // Which is not the app's fault.
    assert_eq!(
        site.metric("wharf_errors_total{kind=\"client_timeout\"}"),
        1.0
    );
    assert_eq!(
        site.metric("wharf_errors_total{kind=\"upstream_timeout\"}"),
        0.0
    );
    // One that goes on, however slowly, is waited for.
    let mut client = site.send("PUT / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\r\n");
    let mut upstream = origin.accept();
    for part in ["a", "b", "c", "d"] {
        std::thread::sleep(Duration::from_millis(150));
        client.send(part);
    }
    assert_eq!(upstream.message().text(), "abcd");
    upstream.send(ok("done"));
    assert_eq!(client.message().text(), "done");
}
