//! Stopping: what is finished, what is closed at once, and the exit code.

use std::time::{Duration, Instant};

use crate::support::h2::H2;
use crate::support::origin::Origin;
use crate::support::peer::{End, Peer};
use crate::support::site::{Site, app, get};

const UPGRADE: &str =
    "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const SWITCHED: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

fn site() -> (Site, Origin) {
    let origin = Origin::new();
    let labels = "wharf.host: a.test\nwharf.https: both\nwharf.tls: internal";
    (Site::start([app("app", origin.port(), labels)]), origin)
}

/// Waits until nobody listens any more.
fn wait_refused(site: &Site) {
    for address in [site.wharf.http, site.wharf.https] {
        crate::support::eventually("a closed listener", Duration::from_secs(5), || {
            match std::net::TcpStream::connect(address) {
                Ok(_) => Err("still accepts".into()),
                Err(_) => Ok(()),
            }
        });
    }
}

#[test]
fn what_is_in_flight_is_finished_and_all_else_closed_at_once() {
    let (mut site, origin) = site();
    // Waiting for a head; in the middle of a body; sending its own; on HTTP/2.
    let mut waiting = site.send(get("/"));
    let mut for_waiting = origin.accept();
    for_waiting.head();
    let mut reading = site.tls("a.test").unwrap();
    reading.send(get("/"));
    let (mut for_reading, _) = origin.answer("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc");
    reading.until("abc");
    let mut sending = site.send("PUT / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 6\r\n\r\nabc");
    let mut for_sending = origin.accept();
    for_sending.until("abc");
    let multiplexed = H2::connect_tls(site.wharf.https, "a.test", site.wharf.data());
    let request = http::Request::get("https://a.test/").body(()).unwrap();
    let (response, _) = multiplexed.send(request, true);
    let mut for_multiplexed = origin.accept();
    for_multiplexed.head();
    // Idle after a request; never used; half a handshake.
    let mut idle = site.send("GET / HTTP/1.1\r\nHost: b.test\r\n\r\n");
    idle.message();
    let mut unused = site.client();
    let mut handshaking = Peer::connect(site.wharf.https);
    handshaking.send([0x16, 3, 1]);
    let idle_h2 = H2::connect(site.http());

    let asked = Instant::now();
    site.wharf.signal("TERM");
    wait_refused(&site);
    assert_eq!(idle.ended(), End::Fin);
    assert_eq!(idle_h2.ended(), None);
    unused.ended();
    handshaking.ended();
    assert!(
        asked.elapsed() < Duration::from_secs(2),
        "{:?}",
        asked.elapsed()
    );

    for_waiting.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
    let answer = waiting.message();
    assert_eq!(
        (answer.text(), answer.field("connection")),
        ("hi".into(), Some("close"))
    );
    assert_eq!(waiting.ended(), End::Fin);
    for_reading.send("def");
    assert_eq!(reading.exactly(3), b"def");
    assert_eq!(reading.ended(), End::Fin);
    sending.send("def");
    for_sending.until("def");
    for_sending.send("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(sending.message().status(), 201);
    for_multiplexed.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
    let answer = multiplexed.wait(response).unwrap();
    assert_eq!(multiplexed.whole(answer).unwrap().text(), "hi");
    assert_eq!(multiplexed.ended(), None);
    assert_eq!(site.wharf.wait_exit().code(), Some(0));
    assert!(
        asked.elapsed() < Duration::from_secs(5),
        "{:?}",
        asked.elapsed()
    );
}

#[test]
fn a_second_signal_ends_what_is_still_in_flight() {
    for (first, second) in [("TERM", "TERM"), ("INT", "INT"), ("TERM", "INT")] {
        let (mut site, origin) = site();
        let mut client = site.send(get("/"));
        let (_upstream, _) = origin.answer("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc");
        client.until("abc");
        // A tunnel lives as long as the grace.
        let mut tunnel = site.send(UPGRADE);
        let mut for_tunnel = origin.accept();
        for_tunnel.head();
        for_tunnel.send(SWITCHED);
        tunnel.head();
        site.wharf.signal(first);
        site.wharf.wait_log("stopping");
        wait_refused(&site);
        for_tunnel.send("still there");
        tunnel.until("still there");
        let asked = Instant::now();
        site.wharf.signal(second);
        client.ended();
        tunnel.ended();
        assert_eq!(site.wharf.wait_exit().code(), Some(0), "{first} {second}");
        assert!(
            asked.elapsed() < Duration::from_secs(2),
            "{:?}",
            asked.elapsed()
        );
    }
}
