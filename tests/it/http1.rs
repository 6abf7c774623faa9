//! HTTP/1 from clients, in bytes: what is refused before any upstream sees it, and when
//! connections end.

use std::time::{Duration, Instant};

use crate::support::origin::{Origin, Served, ok};
use crate::support::peer::End;
use crate::support::site::{Site, get, refused};

/// `GET /` with these header lines.
fn with(lines: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n\r\n")
}

#[test]
fn a_request_without_exactly_one_valid_host_is_refused() {
    let origin = Origin::new();
    let site = Site::plain(origin.port(), "");
    let hosts = [
        "",
        "Host: a.test\r\nHost: a.test\r\n",
        "Host: a.test\r\nHost: b.test\r\n",
        "Host:\r\n",
        "Host: a.test:port\r\n",
        "Host: a.test:123456\r\n",
        "Host: a.test/x\r\n",
        "Host: user@a.test\r\n",
        "Host: a.test, b.test\r\n",
        "Host: [::1\r\n",
    ];
    for host in hosts {
        let request = format!("GET / HTTP/1.1\r\n{host}\r\n");
        refused(&site, &origin, &[(400, &request)]);
    }
    refused(
        &site,
        &origin,
        &[
            (400, "GET / HTTP/1.0\r\n\r\n"),
            (400, "GET http://u@a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n"),
            (404, "GET / HTTP/1.1\r\nHost: b.test\r\n\r\n"),
            (404, "GET http://b.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n"),
        ],
    );
}

#[test]
fn framing_that_two_parsers_could_read_differently_never_reaches_the_upstream() {
    let origin = Origin::new();
    let site = Site::plain(origin.port(), "");
    let fields = [
        "Transfer-Encoding: identity",
        "Transfer-Encoding: identity, chunked",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: , chunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: \"chunked\"",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: identity\r\nContent-Length: 5",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding\t: chunked",
        "Transfer-Encoding:\r\n chunked",
        "X: y\r\n Transfer-Encoding: chunked",
        "X: y\rTransfer-Encoding: chunked",
        "X: y\0z",
        " X: y",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5, 6",
        "Content-Length: +5",
        "Content-Length: -5",
        "Content-Length: 0x5",
        "Content-Length: 5 5",
        "Content-Length: 99999999999999999999",
        "Content-Length :5",
    ];
    for field in fields {
        let request = format!("POST / HTTP/1.1\r\nHost: a.test\r\n{field}\r\n\r\n0\r\n\r\n");
        refused(&site, &origin, &[(400, &request)]);
    }
    let http10 = "POST / HTTP/1.0\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    refused(
        &site,
        &origin,
        &[
            (400, http10),
            (400, "GET / HTTP/1.1 \r\nHost: a.test\r\n\r\n"),
        ],
    );
}

#[test]
fn s61_methods_and_sizes_have_limits() {
    let origin = Origin::new();
    let site = Site::plain(origin.port(), "");
    let long = |length: usize| "x".repeat(length);
    let fields = |count: usize| {
        (0..count)
            .map(|i| format!("x-{i}: y\r\n"))
            .collect::<String>()
    };
    refused(
        &site,
        &origin,
        &[
            (
                405,
                "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n",
            ),
            (405, "TRACE / HTTP/1.1\r\nHost: a.test\r\n\r\n"),
            (
                400,
                &format!("{} / HTTP/1.1\r\nHost: a.test\r\n\r\n", "M".repeat(33)),
            ),
            (400, "GET x HTTP/1.1\r\nHost: a.test\r\n\r\n"),
            (400, "GET a.test HTTP/1.1\r\nHost: a.test\r\n\r\n"),
            (400, "GET a.test:80 HTTP/1.1\r\nHost: a.test\r\n\r\n"),
            (400, "GET * HTTP/1.1\r\nHost: a.test\r\n\r\n"),
            (414, &get(&format!("/{}", long(16 * 1024)))),
            (431, &with(&format!("x: {}", long(64 * 1024)))),
            (431, &with(fields(101).trim_end())),
        ],
    );
    for passed in [
        get(&format!("/{}", long(16 * 1024 - 1))),
        with(&format!("x: {}", long(60 * 1024))),
        with(fields(99).trim_end()),
        format!("{} / HTTP/1.1\r\nHost: a.test\r\n\r\n", "M".repeat(32)),
    ] {
        let mut client = site.send(&passed);
        origin.answer("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
        assert_eq!(client.message().status(), 204, "{:.60}", passed);
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let served = Served::by(|request| ok(request.head.split(' ').nth(1).unwrap()));
    let site = Site::plain(served.port(), "");
    let paths: Vec<String> = (0..20).map(|i| format!("/{i}")).collect();
    let mut client = site.send(paths.iter().map(|path| get(path)).collect::<String>());
    for path in &paths {
        assert_eq!(client.message().text(), *path);
    }
    assert_eq!(served.connections(), 1);
}

#[test]
fn a_connection_ends_when_its_client_says_so() {
    let served = Served::text("hi");
    let site = Site::plain(served.port(), "");
    for (request, kept, told) in [
        (get("/"), true, None),
        (with("Connection: keep-alive"), true, None),
        (with("Connection: close"), false, Some("close")),
        (with("Connection: x, Close"), false, Some("close")),
        ("GET / HTTP/1.0\r\nHost: a.test\r\n\r\n".into(), false, None),
        (
            "GET / HTTP/1.0\r\nHost: a.test\r\nConnection: keep-alive\r\n\r\n".into(),
            true,
            Some("keep-alive"),
        ),
    ] {
        let mut client = site.send(&request);
        let answer = client.message();
        assert_eq!(
            (answer.status(), answer.field("connection")),
            (200, told),
            "{request:?}"
        );
        if kept {
            assert_eq!(client.send(get("/")).message().status(), 200);
        } else {
            assert_eq!(client.ended(), End::Fin, "{request:?}");
        }
    }
}

#[test]
fn a_client_of_http_1_0_gets_no_chunks() {
    let origin = Origin::new();
    let site = Site::plain(origin.port(), "");
    let mut client = site.send("GET / HTTP/1.0\r\nHost: a.test\r\n\r\n");
    origin.answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
    let head = client.head();
    assert!(!head.to_lowercase().contains("transfer-encoding"), "{head}");
    assert_eq!(client.rest(), ("abc".into(), End::Fin));
}

#[test]
fn a_head_that_takes_longer_than_ten_seconds_is_given_up() {
    let site = Site::plain(Origin::new().port(), "");
    let began = Instant::now();
    let mut silent = site.client();
    let mut slow = site.send("GET / HTTP/1.1\r\nHost: a.te");
    let mut second = site.send("GET / HTTP/1.1\r\nHost: b.test\r\n\r\n");
    assert_eq!(second.message().status(), 404);
    second.send("GET / HT");
    for client in [&mut silent, &mut slow, &mut second] {
        client.rest();
        let took = began.elapsed();
        assert!(
            took > Duration::from_millis(9500) && took < Duration::from_millis(11500),
            "{took:?}"
        );
    }
}
