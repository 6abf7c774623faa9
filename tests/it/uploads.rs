//! Request bodies: framing, `Expect`, trailers, and bodies nobody reads.

use crate::support::nginx::Both;
use crate::support::origin::Origin;
use crate::support::peer::End;
use crate::support::site::{Site, get};

#[test]
fn chunks_win_over_a_length_and_the_connection_ends_there() {
    // RFC 9112 section 6.1: the length is dropped, and nothing behind the body is believed.
    for lines in [
        "Transfer-Encoding: chunked\r\nContent-Length: 3",
        "Content-Length: 3\r\nTransfer-Encoding: chunked",
    ] {
        let origin = Origin::new();
        let site = Site::plain(origin.port(), "");
        let head = format!("POST / HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n\r\n");
        let mut client = site.send(head + "3\r\nabc\r\n0\r\n\r\n" + &get("/smuggled"));
        let (mut upstream, request) = origin.answer("HTTP/1.1 204 No Content\r\n\r\n");
        assert_eq!(request.field("content-length"), None);
        assert_eq!(request.field("transfer-encoding"), Some("chunked"));
        assert_eq!(request.text(), "abc");
        assert_eq!(client.message().status(), 204);
        client.rest();
        upstream.is_silent();
        assert!(origin.accepted().is_none());
    }
}

#[test]
fn a_bad_chunk_of_an_upload_is_never_completed_upstream() {
    let origin = Origin::new();
    let site = Site::plain(origin.port(), "");
    let head = "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";
    for bad in [
        "zz\r\n",
        "-1\r\n",
        "5 5\r\n",
        "3\r\nabcd\r\n",
        "3\nabc\r\n",
        "11111111111111111\r\n",
        "3;\rx\r\n",
    ] {
        let mut client = site.send(head);
        let mut upstream = origin.accept();
        upstream.until("3\r\nabc\r\n");
        client.send(bad);
        assert_eq!(client.message().status(), 400, "{bad:?}");
        let (rest, _) = upstream.rest();
        assert!(!rest.contains("0\r\n"), "{bad:?}: {rest:?}");
    }
}

#[test]
fn the_body_waits_for_a_continue_that_wharf_sends() {
    let origin = Origin::new();
    let site = Site::plain(origin.port(), "");
    let mut client = site.send(
        "PUT /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n",
    );
    assert_eq!(client.head(), "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("body");
    let mut upstream = origin.accept();
    let request = upstream.message();
    assert_eq!(
        (request.field("expect"), request.text()),
        (None, "body".into())
    );
    upstream.send("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.message().status(), 201);
}

#[test]
fn trailers_of_an_upload_arrive_but_for_those_that_are_no_trailers() {
    let origin = Origin::new();
    let site = Site::plain(origin.port(), "");
    let head =
        "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n";
    let trailers = "x-sum: 7\r\nContent-Length: 9\r\nTransfer-Encoding: gzip\r\nHost: b.test\r\n\
                    X-Forwarded-For: 6.6.6.6\r\nConnection: close\r\n\r\n";
    let mut client = site.send(format!("{head}3\r\nabc\r\n4\r\ndefg\r\n0\r\n{trailers}"));
    let (_upstream, request) = origin.answer("HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(request.text(), "abcdefg");
    assert_eq!(request.field("trailer"), Some("x-sum"));
    assert_eq!(request.trailers, "x-sum: 7\r\n\r\n");
    assert_eq!(client.message().status(), 204);
}

#[test]
fn a_body_nobody_reads_is_no_request() {
    let origin = Origin::new();
    let site = Site::plain(origin.port(), "");
    let inner = get("/smuggled");
    let head = format!(
        "POST / HTTP/1.1\r\nHost: b.test\r\nContent-Length: {}\r\n\r\n",
        inner.len()
    );
    let mut client = site.send(head.clone() + &inner + &get("/second"));
    assert_eq!(client.message().status(), 404);
    // Skipped, so the connection goes on, or closed: never taken for a request.
    let mut upstream = origin.accept();
    assert!(upstream.message().head.starts_with("GET /second"));
    upstream.send("HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(client.message().status(), 204);

    // One that has not come is not waited for.
    let mut client =
        site.send("POST / HTTP/1.1\r\nHost: b.test\r\nContent-Length: 9999999\r\n\r\n");
    assert_eq!(client.message().status(), 404);
    assert_eq!(client.ended(), End::Fin);
}

/// S59.
#[test]
fn s59_a_body_that_is_too_large_gets_413_before_the_app_is_asked_or_is_cut() {
    let origin = Origin::new();
    let site = Site::plain(origin.port(), "wharf.max_body: 10");
    // Known beforehand: nobody is asked, and nobody told to go on.
    let head = |lines: &str| format!("POST / HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n\r\n");
    for lines in [
        "Content-Length: 11",
        "Content-Length: 11\r\nExpect: 100-continue",
    ] {
        let mut client = site.send(head(lines));
        assert_eq!(client.message().status(), 413, "{lines}");
    }
    assert!(origin.accepted().is_none());
    // As large as may be.
    let mut client = site.send(head("Content-Length: 10") + "0123456789");
    let (_upstream, request) = origin.answer(CLOSING);
    assert_eq!(request.text(), "0123456789");
    assert_eq!(client.message().status(), 204);
    let chunked = head("Transfer-Encoding: chunked");
    let mut client = site.send(format!("{chunked}a\r\n0123456789\r\n0\r\n\r\n"));
    let (_upstream, request) = origin.answer(CLOSING);
    assert_eq!(request.text(), "0123456789");
    assert_eq!(client.message().status(), 204);
    // It turns out to be larger while it comes: the app never sees an end of it.
    let mut client = site.send(format!("{chunked}5\r\n01234\r\n"));
    let mut upstream = origin.accept();
    upstream.until("5\r\n01234\r\n");
    client.send("6\r\n567890\r\n0\r\n\r\n");
    assert_eq!(client.message().status(), 413);
    let (rest, _) = upstream.rest();
    assert!(!rest.contains("0\r\n\r\n"), "{rest:?}");
    assert_eq!(site.metric("wharf_errors_total{kind=\"too_large\"}"), 3.0);
}

#[test]
fn s59_nginx_refuses_the_same_bodies() {
    let both = Both::start(
        &[("app", "wharf.host: a.test\nwharf.max_body: 1k")],
        "server { server_name a.test; client_max_body_size 1k;
         location / { proxy_pass http://@app; } }",
    );
    for length in [0, 1, 1023, 1024, 1025, 5000] {
        let body = "x".repeat(length);
        let head = "POST / HTTP/1.1\r\nHost: a.test\r\n";
        let whole = both.same(&format!("{head}Content-Length: {length}\r\n\r\n{body}"));
        assert_eq!(whole.status(), if length > 1024 { 413 } else { 200 });
        let end = if length > 0 { "\r\n0\r\n\r\n" } else { "\r\n" };
        let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{body}{end}");
        assert_eq!(both.same(&chunked).status(), whole.status(), "{length}");
    }
}

const CLOSING: &str = "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
