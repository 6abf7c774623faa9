//! What a client or an upstream must not bring about, whatever it sends or leaves.

use std::time::Duration;

use crate::support::frames;
use crate::support::origin::{Origin, Served};
use crate::support::peer::Peer;
use crate::support::site::{Site, app, get, refused};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
const LAST: &str = "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";

/// What happens to an upload, in this order.
#[derive(Debug, Clone, Copy)]
enum Cut {
    Reset,
    AnswerThenReset,
    /// Both are there when Wharf looks again.
    ResetWithAnswer,
}

#[test]
fn an_upload_taken_back_without_an_error_is_never_completed_nor_its_connection_reused() {
    let origin = Origin::new();
    let site = Site::plain(origin.port(), "");
    for fields in [&[("content-length", "1000")][..], &[]] {
        for cut in [Cut::Reset, Cut::AnswerThenReset, Cut::ResetWithAnswer] {
            println!("{fields:?} {cut:?}");
            let mut client = site.send(frames::PREFACE);
            client.send(frames::request("POST", fields, false));
            client.send(frames::data("half"));
            let mut upstream = origin.accept();
            upstream.until("half");
            match cut {
                Cut::Reset => {
                    client.send(frames::reset_without_error());
                }
                Cut::AnswerThenReset => {
                    upstream.send(OK);
                    client.until("hi");
                    client.send(frames::reset_without_error());
                }
                Cut::ResetWithAnswer => {
                    site.wharf.signal("STOP");
                    client.send(frames::reset_without_error());
                    upstream.send(OK);
                    site.wharf.signal("CONT");
                }
            }
            let mut next = site.send(get("/next"));
            let (_, request) = origin.answer(LAST);
            assert!(request.head.starts_with("GET /next"), "{}", request.head);
            assert_eq!(next.message().status(), 204);
            let (rest, _) = upstream.rest();
            // The end of the chunk that came, if anything.
            assert_eq!(rest.trim_start_matches("\r\n"), "");
        }
    }
}

#[test]
fn an_empty_chunked_upload_is_sent_again_with_its_end() {
    let origin = Origin::new();
    let site = Site::plain(origin.port(), "");
    let mut client = site.send(get("/"));
    let (mut stale, _) = origin.answer(OK);
    client.message();
    client.send("PUT / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    stale.message();
    drop(stale);
    let (mut upstream, request) = origin.answer(OK);
    assert_eq!(
        (request.field("transfer-encoding"), request.text()),
        (Some("chunked"), String::new())
    );
    assert_eq!(client.message().status(), 200);
    // The next request is one to the application, too.
    client.send(get("/next"));
    assert!(upstream.message().head.starts_with("GET /next"));
    upstream.send(OK);
    assert_eq!(client.message().status(), 200);
}

#[test]
fn a_long_connection_field_is_refused() {
    let origin = Origin::new();
    let site = Site::plain(origin.port(), "");
    let with = |lines: &str| format!("GET / HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n");
    let line = |length: usize| format!("Connection: {}\r\n", "a,".repeat(length / 2));
    refused(
        &site,
        &origin,
        &[
            (400, &with(&line(1026))),
            (400, &with(&line(60_000))),
            (400, &with(&line(514).repeat(2))),
        ],
    );
    for lines in [line(1024), line(512).repeat(2)] {
        let mut client = site.send(with(&lines));
        origin.answer(LAST);
        assert_eq!(client.message().status(), 204);
    }
}

/// The replica that gets the next connection, and that connection.
fn next(replicas: &[Origin; 2]) -> (usize, Peer) {
    crate::support::eventually("a connection", Duration::from_secs(10), || {
        let accepted = replicas.iter().map(Origin::accepted).enumerate();
        let mut accepted = accepted.filter_map(|(index, peer)| Some((index, peer?)));
        accepted.next().ok_or_else(|| "none yet".into())
    })
}

#[test]
fn a_new_connection_that_dies_unanswered_is_another_replicas_chance_where_twice_does_no_harm() {
    let replicas = [Origin::new(), Origin::new()];
    let site = Site::replicas(&[replicas[0].port(), replicas[1].port()], "");
    for method in ["GET", "DELETE"] {
        let mut client = site.send(get("/").replace("GET", method));
        let (first, mut dying) = next(&replicas);
        dying.head();
        drop(dying);
        let (second, mut upstream) = next(&replicas);
        assert_ne!(first, second);
        assert!(upstream.message().head.starts_with(method));
        upstream.send(LAST);
        assert_eq!(client.message().status(), 204);
    }
    let with_body = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\r\nbody";
    for request in [&get("/").replace("GET", "POST"), with_body] {
        let mut client = site.send(request);
        let (_, mut dying) = next(&replicas);
        dying.message();
        drop(dying);
        assert_eq!(client.message().status(), 502, "{request}");
        assert!(replicas.iter().all(|replica| replica.accepted().is_none()));
    }
    // Each is asked once.
    let mut client = site.send(get("/"));
    let mut tried = Vec::new();
    for _ in 0..2 {
        let (index, mut dying) = next(&replicas);
        dying.head();
        tried.push(index);
    }
    assert_ne!(tried[0], tried[1]);
    assert_eq!(client.message().status(), 502);
    assert!(replicas.iter().all(|replica| replica.accepted().is_none()));
}

#[test]
fn idle_connections_do_not_take_the_descriptors_requests_need() {
    let served = Served::text("hi");
    let labels = "wharf.host: a.test\nwharf.tls: off";
    let site = Site::with([app("app", served.port(), labels)], |wharf| {
        wharf.descriptors(64)
    });
    // Open, and nothing of it goes upstream yet.
    let mut live = site.send("GET / HTTP/1.1\r\nHost: b.test\r\n\r\n");
    assert_eq!(live.message().status(), 404);
    let idle: Vec<Peer> = (0..120).map(|_| site.client()).collect();
    // Long enough to take them all.
    std::thread::sleep(Duration::from_millis(500));
    let answer = live.send(get("/")).message();
    assert_eq!(answer.status(), 200, "{}", answer.text());
    drop(idle);
    assert_eq!(site.send(get("/")).message().status(), 200);
    let log = site.wharf.log_lines().join("\n");
    assert!(!log.contains("cannot accept"), "{log}");
}

#[test]
fn a_flood_of_control_frames_ends_its_connection_and_no_other() {
    let origin = Served::text("hi");
    let site = Site::plain(origin.port(), "");
    let mut flood = site.send(frames::PREFACE);
    // What a client in good faith might send in a second is fine.
    flood.send(frames::ping().repeat(500));
    flood.send(frames::request("GET", &[], true));
    flood.until("hi");
    while flood.try_send(frames::ping().repeat(100)).is_ok() {}
    assert_eq!(site.send(get("/")).message().text(), "hi");
}
