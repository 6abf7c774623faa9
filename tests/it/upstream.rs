//! Connections to upstreams: when they are reused, when another is tried, how long is waited, and
//! what happens when somebody leaves.

use std::time::{Duration, Instant};

use crate::support::h2::H2;
use crate::support::origin::{Full, Origin, Served, ok, refused_port};
use crate::support::peer::{End, Peer};
use crate::support::site::{Site, app, get};

/// `POST` with `body`, framed by length or in one chunk.
fn post(body: &str, chunked: bool) -> String {
    let head = "POST / HTTP/1.1\r\nHost: a.test\r\n";
    let len = body.len();
    match chunked {
        true => format!("{head}Transfer-Encoding: chunked\r\n\r\n{len:x}\r\n{body}\r\n0\r\n\r\n"),
        false => format!("{head}Content-Length: {len}\r\n\r\n{body}"),
    }
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
const EMPTY: &str = "HTTP/1.1 204 No Content\r\n\r\n";

#[test]
fn one_connection_serves_one_request_after_the_other() {
    let served = Served::by(|request| {
        let path = request.head.split(' ').nth(1).unwrap();
        match path {
            "/chunked" => {
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
                    .to_vec()
            }
            "/head" => b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n".to_vec(),
            "/304" => b"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n".to_vec(),
            "/1.0" => {
                b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\nhi".to_vec()
            }
            "/close" => {
                b"HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 2\r\n\r\nhi".to_vec()
            }
            "/1.0-close" => b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi".to_vec(),
            _ => ok(&request.body),
        }
    });
    let site = Site::plain(served.port(), "");
    for request in [
        get("/"),
        post("body", false),
        post("body", true),
        get("/chunked"),
        get("/head").replace("GET", "HEAD"),
        get("/304"),
        get("/1.0"),
        get("/"),
    ] {
        let mut client = site.send(&request);
        let status = client.head();
        assert!(!status.contains("502"), "{request}: {status}");
        assert_eq!(served.connections(), 1, "{request}");
    }
    for (path, connections) in [("/close", 1), ("/1.0-close", 2), ("/", 3)] {
        assert_eq!(site.send(get(path)).message().status(), 200);
        assert_eq!(served.connections(), connections, "{path}");
    }
}

/// A client and an upstream connection that has carried one exchange.
fn warm(site: &Site, origin: &Origin) -> (Peer, Peer) {
    let mut client = site.send(get("/first"));
    let (upstream, _) = origin.answer(OK);
    assert_eq!(client.message().status(), 200);
    (client, upstream)
}

#[test]
fn a_connection_that_died_in_the_pool_costs_no_request() {
    let origin = Origin::new();
    let site = Site::plain(origin.port(), "");
    // Closed while idle: seen before anything is sent, so any method will do.
    for request in [get("/"), post("body", false), post("body", true)] {
        for reset in [false, true] {
            let (mut client, upstream) = warm(&site, &origin);
            if reset {
                upstream.reset();
            } else {
                drop(upstream);
            }
            client.send(&request);
            let (_, received) =
                origin.answer("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
            assert_eq!(client.message().status(), 204);
            assert!(received.head.starts_with(&request[..4]));
            assert_eq!(
                received.text(),
                if request.starts_with("GET") {
                    ""
                } else {
                    "body"
                }
            );
        }
    }
    // Closed just as the request came: sent again where twice does no harm.
    for method in ["GET", "PUT", "DELETE", "OPTIONS"] {
        let (mut client, mut upstream) = warm(&site, &origin);
        client.send(get("/again").replace("GET", method));
        upstream.head();
        drop(upstream);
        let (_, received) = origin.answer("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
        assert!(received.head.starts_with(method));
        assert_eq!(client.message().status(), 204);
    }
}

#[test]
fn a_request_that_may_have_been_acted_on_is_not_sent_again() {
    let origin = Origin::new();
    let site = Site::plain(origin.port(), "");
    for request in [get("/").replace("GET", "POST"), post("body", false)] {
        let (mut client, mut upstream) = warm(&site, &origin);
        client.send(&request);
        upstream.message();
        drop(upstream);
        assert_eq!(client.message().status(), 502, "{request}");
        assert!(origin.accepted().is_none(), "{request}");
    }
    // Nor is one on a new connection, whatever its method: this application closes on purpose.
    let mut client = site.send(get("/"));
    drop(origin.answer(""));
    assert_eq!(client.message().status(), 502);
    // Nor one whose answer has begun.
    let (mut client, mut upstream) = warm(&site, &origin);
    client.send(get("/"));
    upstream.head();
    upstream.send("HTTP/1.1 200");
    drop(upstream);
    assert_eq!(client.message().status(), 502);
    assert!(origin.accepted().is_none());
}

#[test]
fn a_post_takes_no_connection_that_has_rested_for_long() {
    let origin = Origin::new();
    let site = Site::plain(origin.port(), "");
    let (mut client, mut old) = warm(&site, &origin);
    // Nothing announces that time has passed.
    std::thread::sleep(Duration::from_millis(1300));
    client.send(post("body", false));
    let (_new, received) = origin.answer(EMPTY);
    assert_eq!(received.text(), "body");
    assert_eq!(client.message().status(), 204);
    old.is_silent();
}

#[test]
fn a_replica_that_refuses_or_hangs_is_skipped_with_any_method() {
    let served = Served::by(|request| ok(&request.body));
    let full = Full::new();
    for dead in [refused_port(), full.port()] {
        let site = Site::replicas(&[dead, served.port()], "wharf.timeout.connect: 200ms");
        for request in [post("body", false), post("body", true)] {
            for _ in 0..4 {
                let answer = site.send(&request).message();
                assert_eq!((answer.status(), answer.text()), (200, "body".into()));
            }
        }
        assert!(site.metric("wharf_upstream_retries_total") >= 1.0);
    }
}

#[test]
fn when_nobody_answers_the_page_says_why() {
    let full = Full::new();
    let began = Instant::now();
    for (site, status, cause) in [
        (
            Site::replicas(&[refused_port(), refused_port()], ""),
            502,
            "Connection refused",
        ),
        (
            Site::replicas(&[full.port()], "wharf.timeout.connect: 200ms"),
            504,
            "took longer than 200ms",
        ),
        (
            Site::replicas(&[refused_port()], "wharf.weight: 0"),
            503,
            "takes requests",
        ),
        (
            Site::replicas(&[refused_port()], "wharf.network: nowhere"),
            502,
            "no container of upstream",
        ),
    ] {
        let answer = site.send(get("/")).message();
        assert_eq!(answer.status(), status, "{}", answer.text());
        assert!(answer.text().contains(cause), "{}", answer.text());
        assert_eq!(answer.field("retry-after").is_some(), status == 503);
    }
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn an_upstream_that_stops_is_not_waited_for_beyond_its_limits() {
    let origin = Origin::new();
    let site = Site::plain(origin.port(), "wharf.timeout: read=300ms send=300ms");
    // No head.
    let began = Instant::now();
    let mut client = site.send(get("/"));
    let mut upstream = origin.accept();
    upstream.head();
    assert_eq!(client.message().status(), 504);
    assert!(
        began.elapsed() >= Duration::from_millis(300),
        "{:?}",
        began.elapsed()
    );
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
    upstream.ended();
    // Half a body.
    let mut client = site.send(get("/"));
    let (mut upstream, _) = origin.answer("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc");
    client.until("abc");
    client.ended();
    upstream.ended();
    // Nothing of a body is taken.
    let mut client =
        site.send("PUT / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 99999999\r\n\r\n");
    let mut upstream = origin.accept();
    upstream.head();
    while client.try_send([b'x'; 64 * 1024]).is_ok() {}
    let (answer, _) = client.rest();
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 504"),
        "{answer}"
    );
    assert_eq!(
        site.metric("wharf_errors_total{kind=\"upstream_timeout\"}"),
        3.0
    );
}

#[test]
fn an_answer_counts_before_the_whole_request_was_read() {
    let origin = Origin::new();
    let site = Site::plain(origin.port(), "");
    let refusal =
        "HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig";
    for unread in [false, true] {
        let mut client =
            site.send("PUT / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 9999\r\n\r\n");
        client.send([b'x'; 1000]);
        let mut upstream = origin.accept();
        upstream.head();
        if !unread {
            upstream.exactly(1000);
        }
        upstream.send(refusal);
        drop(upstream);
        let answer = client.message();
        assert_eq!(
            (answer.status(), answer.text()),
            (413, "big".into()),
            "{unread}"
        );
        client.rest();
    }
}

#[test]
fn bytes_nobody_asked_for_are_no_response() {
    let origin = Origin::new();
    let site = Site::plain(origin.port(), "");
    let forged = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged";
    // With the response, and later on the idle connection.
    for late in [false, true] {
        let mut client = site.send(get("/"));
        let (mut upstream, _) = origin.answer(&if late {
            OK.into()
        } else {
            format!("{OK}{forged}")
        });
        assert_eq!(client.message().text(), "hi");
        if late {
            upstream.send(forged);
        }
        client.send(get("/second"));
        let (_fresh, request) =
            origin.answer("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
        assert!(request.head.contains("/second"));
        assert_eq!(client.message().status(), 204);
        upstream.rest();
    }
}

#[test]
fn a_client_that_leaves_takes_its_upstream_connection_along() {
    let origin = Origin::new();
    let site = Site::plain(origin.port(), "");
    let upload = "PUT / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 9\r\n\r\nabc";
    let chunked =
        "PUT / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";
    let soon = Duration::from_secs(2);
    for (request, response) in [
        (get("/"), None),
        (
            get("/"),
            Some("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"),
        ),
        (get("/"), Some("HTTP/1.1 200 OK\r\n\r\nabc")),
        (upload.into(), None),
        (chunked.into(), None),
    ] {
        for reset in [false, true] {
            let mut client = site.send(&request);
            let mut upstream = origin.accept();
            upstream.head();
            if let Some(response) = response {
                upstream.send(response);
                client.until("abc");
            }
            let left = Instant::now();
            if reset {
                client.reset();
            } else {
                drop(client);
            }
            let (rest, _) = upstream.rest();
            assert!(!rest.contains("0\r\n\r\n"), "{rest:?}");
            assert!(left.elapsed() < soon, "{request:?} {:?}", left.elapsed());
        }
    }
    let client = H2::connect(site.http());
    for answered in [false, true] {
        let request = http::Request::get("http://a.test/").body(()).unwrap();
        let (response, mut stream) = client.send(request, true);
        let mut upstream = origin.accept();
        upstream.head();
        if answered {
            upstream.send("HTTP/1.1 200 OK\r\n\r\nabc");
            client.wait(response).unwrap();
        }
        let left = Instant::now();
        stream.send_reset(h2::Reason::CANCEL);
        upstream.ended();
        assert!(left.elapsed() < soon, "{:?}", left.elapsed());
    }
}

#[test]
fn no_connection_outlives_its_container() {
    let origin = Origin::new();
    let site = Site::plain(origin.port(), "");
    let (mut client, mut idle) = warm(&site, &origin);
    // One more, in the middle of an answer, which may end.
    let mut busy_client = site.client();
    client.send(get("/keeps-the-first-connection-busy"));
    idle.head();
    busy_client.send(get("/busy"));
    let mut busy = origin.accept();
    busy.head();
    busy.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc");
    busy_client.until("abc");
    idle.send(OK);
    assert_eq!(client.message().text(), "hi");

    site.engine.remove("app");
    assert_eq!(idle.ended(), End::Fin);
    // Another container at the same address: a new connection, not the old one's.
    site.engine.run(app(
        "other",
        origin.port(),
        "wharf.host: a.test\nwharf.tls: off",
    ));
    site.wharf.wait_status("the new route", |status| {
        status["routes"][0]["container"] == "other"
    });
    busy.send("def");
    assert_eq!(busy_client.exactly(3), b"def");
    // What is new is asked whether it listens.
    assert_eq!(origin.accept().ended(), End::Fin);
    client.send(get("/"));
    let (_fresh, _) = origin.answer(OK);
    assert_eq!(client.message().text(), "hi");
    assert_eq!(busy.ended(), End::Fin);
}

#[test]
fn an_idle_connection_is_closed_as_soon_as_its_other_end_is() {
    let origin = Origin::new();
    let site = Site::plain(origin.port(), "");
    let mut client = site.send(get("/"));
    let (mut upstream, _) = origin.answer(OK);
    assert_eq!(client.message().text(), "hi");
    // Long before it would have been idle for too long: the container is about to lose its address.
    let began = Instant::now();
    upstream.finish();
    assert_eq!(upstream.ended(), End::Fin);
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
}
