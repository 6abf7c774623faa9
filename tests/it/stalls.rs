//! Time limits: who is waited for how long, and who is not.

use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::support::frames;
use crate::support::h2::H2;
use crate::support::origin::{Origin, Served, ok};
use crate::support::peer::{Peer, tls_config};
use crate::support::site::{Site, app, get};

const LABELS: &str = "wharf.host: a.test\nwharf.https: both\nwharf.tls: internal";

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Asserts that from `began` to now it took about `expected` seconds.
fn took(began: Instant, expected: u64) {
    let took = began.elapsed();
    assert!(
        took > secs(expected) - secs(1) && took < secs(expected) + secs(3),
        "{took:?}"
    );
}

#[test]
fn an_upload_goes_on_as_long_as_it_moves_and_ends_when_it_rests_for_its_time() {
    let origin = Origin::new();
    let site = Site::plain(origin.port(), "wharf.timeout.body: 8s");
    let put = |framing: &str| format!("PUT / HTTP/1.1\r\nHost: a.test\r\n{framing}\r\n\r\n");
    let open = |framing, first: &str| {
        let client = site.send(put(framing) + first);
        let mut upstream = origin.accept();
        upstream.head();
        (client, upstream)
    };
    let mut moving = [
        open("Content-Length: 12", ""),
        open("Transfer-Encoding: chunked", ""),
    ];
    let began = Instant::now();
    let (mut resting, mut for_resting) = open("Content-Length: 12", "x");
    for second in 1..=9 {
        sleep(secs(second).saturating_sub(began.elapsed()));
        for ((client, upstream), part) in moving.iter_mut().zip(["x", "1\r\nx\r\n"]) {
            client.send(part);
            upstream.until("x");
        }
        if second == 6 {
            resting.is_silent();
        }
    }
    assert_eq!(resting.message().status(), 408);
    assert_eq!(for_resting.rest().0, "x");
    for ((client, upstream), last) in moving.iter_mut().zip(["x", "0\r\n\r\n"]) {
        client.send(last);
        upstream.until(last);
        upstream.send("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(client.message().status(), 201);
    }
    took(began, 9);
}

// Two rules, so that the minute is waited for once.
#[test]
fn a_minute_without_a_move_ends_a_stalled_stream_and_an_idle_http_2_connection() {
    let origin = Origin::new();
    let site = Site::plain(origin.port(), "");
    let open = || {
        // Each with a window of its own, for 64 KiB.
        let client = H2::connect(site.http());
        let request = http::Request::get("http://a.test/").body(()).unwrap();
        let (response, _) = client.send(request, true);
        let mut upstream = origin.accept();
        upstream.head();
        upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n");
        upstream.send(vec![b'x'; 200_000]);
        let body = client.wait(response).unwrap().into_body();
        (client, body, upstream)
    };
    let (slow_client, mut slow, mut for_slow) = open();
    let began = Instant::now();
    let (client, mut stalled, mut for_stalled) = open();
    let mut idle = site.send(frames::PREFACE);
    idle.send(frames::request("GET", &[], true));
    origin.answer("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi");
    idle.until("hi");
    // One that takes a little now and then keeps its stream.
    for _ in 0..2 {
        sleep(secs(25));
        slow_client.wait(async {
            let mut taken = 0;
            while taken < 48 * 1024 {
                taken += slow.data().await.unwrap().unwrap().len();
            }
            slow.flow_control().release_capacity(taken).unwrap();
        });
    }
    for_stalled.is_silent();
    for_stalled.rest();
    took(began, 60);
    let end = client.wait(async {
        loop {
            match stalled.data().await {
                Some(Ok(_)) => {}
                end => break end,
            }
        }
    });
    assert!(end.is_some_and(|end| end.unwrap_err().is_reset()));
    for_slow.is_silent();
    // The connection is still good.
    let request = http::Request::get("http://a.test/").body(()).unwrap();
    let (response, _) = client.send(request, true);
    origin.answer("HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(client.wait(response).unwrap().status(), 204);
    // Told before it goes; it answers no ping.
    let (rest, _) = idle.rest();
    assert!(rest.contains(frames::GOAWAY), "{rest:?}");
    took(began, 62);
}

#[test]
fn the_limit_for_reading_holds_while_an_upload_is_unfinished() {
    let origin = Origin::new();
    let site = Site::plain(origin.port(), "wharf.timeout: read=1s");
    let mut client = site.send("PUT / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 99\r\n\r\nabc");
    let mut upstream = origin.accept();
    upstream.until("abc");
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nde");
    client.until("de");
    // While the upload moves the upstream has a reason to wait.
    for _ in 0..5 {
        sleep(Duration::from_millis(400));
        client.send("f");
        upstream.until("f");
    }
    client.is_silent();
    let began = Instant::now();
    client.ended();
    upstream.ended();
    took(began, 1);
}

#[test]
fn an_http_2_connection_that_asks_for_nothing_is_told_before_it_goes() {
    let site = Site::plain(Origin::new().port(), "");
    let began = Instant::now();
    let mut unused = site.send(frames::PREFACE);
    // The ping that follows is not answered.
    let (rest, _) = unused.rest();
    assert!(rest.contains(frames::GOAWAY), "{rest:?}");
    took(began, 12);
}

#[test]
fn connections_without_a_request_do_not_hold_up_a_stop() {
    let origin = Origin::new();
    let mut site = Site::start([app("app", origin.port(), LABELS)]);
    let hello = {
        let config = Arc::new(tls_config(site.wharf.data()));
        let name = "a.test".try_into().unwrap();
        let mut hello = Vec::new();
        let mut client = rustls::ClientConnection::new(config, name).unwrap();
        client.write_tls(&mut hello).unwrap();
        hello
    };
    let mut handshaking = Peer::connect(site.wharf.https);
    handshaking.send(hello).exactly(1);
    let mut used = site.send(get("/").replace("a.test", "b.test"));
    used.message();
    let mut last = site.send(frames::PREFACE);
    last.send(frames::request("GET", &[], true));
    let mut upstream = origin.accept();
    upstream.head();
    let mut silent = [
        site.client(),
        site.send("PR"),
        site.send("GET / HTTP/1.1\r\nHost: a.te"),
        site.send(frames::PREFACE),
        Peer::connect(site.wharf.https),
        site.tls("a.test").unwrap(),
        handshaking,
        used,
    ];
    // Until all of it has been read.
    sleep(Duration::from_millis(200));
    let asked = Instant::now();
    site.wharf.signal("TERM");
    // Under way, so it is finished; but no ping is answered afterwards.
    site.wharf.wait_log("stopping");
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlast");
    last.until("last");
    assert_eq!(site.wharf.wait_exit().code(), Some(0));
    assert!(asked.elapsed() < secs(4), "{:?}", asked.elapsed());
    for client in &mut silent {
        client.rest();
    }
}

#[test]
fn a_stop_waits_for_clients_that_have_yet_to_take_the_end_of_a_response() {
    let served = Served::by(|request| {
        let length: usize = request.field("x-length").unwrap().parse().unwrap();
        ok(vec![b'x'; length])
    });
    let mut site = Site::plain(served.port(), "");
    // Of some of these all that is left is in Wharf's own buffers, whatever the kernel's hold.
    let lengths = (0..90).map(|step| 200_000 + step * 64_000);
    let mut clients: Vec<_> = lengths
        .map(|length| {
            let field = format!("X-Length: {length}\r\n\r\n");
            let client = site.send(get("/").replace("\r\n\r\n", "\r\n") + &field);
            (client, length)
        })
        .collect();
    for (client, _) in &mut clients {
        client.head();
    }
    sleep(secs(1));
    site.wharf.signal("TERM");
    sleep(secs(3));
    for (client, length) in &mut clients {
        assert_eq!(client.exactly(*length).len(), *length);
    }
    assert_eq!(site.wharf.wait_exit().code(), Some(0));
}
