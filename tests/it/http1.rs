//! HTTP/1 from clients, in bytes: what is refused before any upstream sees it, and what is passed
//! on how.

use std::time::{Duration, Instant};

use crate::support::origin::{Origin, Served, ok};
use crate::support::peer::End;
use crate::support::site::{Site, app, get};

/// Sends each request on a connection of its own; it must get its status and stay in Wharf.
fn refused(site: &Site, origin: &Origin, cases: &[(u16, &str)]) {
    for (status, request) in cases {
        println!("{request:.60?}");
        let answer = site.send(request).message();
        assert_eq!(answer.status(), *status);
        assert!(origin.accepted().is_none(), "forwarded");
    }
}

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
fn targets_and_hosts_reach_the_upstream_in_origin_form() {
    let origin = Origin::new();
    let site = Site::plain(origin.port(), "");
    for (request, line, host) in [
        (
            "GET /x HTTP/1.1\r\nHost: A.Test.:80\r\n",
            "GET /x",
            "A.Test.:80",
        ),
        ("GET /x HTTP/1.0\r\nHost: a.test\r\n", "GET /x", "a.test"),
        (
            "GET http://a.test/x?y HTTP/1.1\r\nHost: b.test\r\n",
            "GET /x?y",
            "a.test",
        ),
        (
            "GET http://a.test HTTP/1.1\r\nHost: b.test\r\n",
            "GET /",
            "a.test",
        ),
        (
            "GET http://a.test?y HTTP/1.1\r\nHost: b.test\r\n",
            "GET /?y",
            "a.test",
        ),
        (
            "OPTIONS * HTTP/1.1\r\nHost: a.test\r\n",
            "OPTIONS *",
            "a.test",
        ),
        (
            "purge /x HTTP/1.1\r\nHost: a.test\r\n",
            "purge /x",
            "a.test",
        ),
        (
            "GET /a%2Fb/%7e;x=1/..//caf%C3%A9?q=%20&z=/../ HTTP/1.1\r\nHost: a.test\r\n",
            "GET /a%2Fb/%7e;x=1/..//caf%C3%A9?q=%20&z=/../",
            "a.test",
        ),
    ] {
        let mut client = site.send(format!("{request}Connection: close\r\n\r\n"));
        let (_upstream, message) =
            origin.answer("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
        assert!(
            message.head.starts_with(&format!("{line} HTTP/1.1\r\n")),
            "{}",
            message.head
        );
        assert_eq!(message.field("host"), Some(host), "{request}");
        assert_eq!(client.message().status(), 204);
    }
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
fn methods_and_sizes_have_limits() {
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
fn a_path_that_decoding_moves_to_another_route_is_refused() {
    let (site_root, admin) = (Origin::new(), Origin::new());
    let site = Site::start([
        app(
            "root",
            site_root.port(),
            "wharf.host: a.test\nwharf.tls: off",
        ),
        app(
            "admin",
            admin.port(),
            "wharf.host: a.test\nwharf.path: /admin\nwharf.tls: off",
        ),
    ]);
    for path in [
        "/admin/../x",
        "/x/../admin",
        "/x/%2e%2e/admin",
        "/x/%2E./admin",
        "//admin",
        "/./admin",
        "/%61dmin",
        "/x/..%2fadmin",
        "/..",
        "/../admin",
        "/x%00",
        "/admin/..",
        "/x\\..\\admin",
        "/x/..%5cadmin",
    ] {
        refused(&site, &site_root, &[(400, &get(path))]);
        assert!(admin.accepted().is_none(), "{path}");
    }
    // The same route both ways: passed as written.
    for (path, origin) in [
        ("/admin/a/../b", &admin),
        ("/x//%2e/y", &site_root),
        ("/admin%2f..%2fx", &site_root),
    ] {
        let mut client = site.send(get(path));
        let (_upstream, request) =
            origin.answer("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
        assert!(
            request
                .head
                .starts_with(&format!("GET {path} HTTP/1.1\r\n")),
            "{}",
            request.head
        );
        assert_eq!(client.message().status(), 204);
    }
}

#[test]
fn a_stripped_prefix_is_told_to_the_upstream() {
    let origin = Origin::new();
    let site = Site::plain(origin.port(), "wharf.path: /api\nwharf.strip: true");
    for (path, target) in [
        ("/api/v1?x=1", "/v1?x=1"),
        ("/api", "/"),
        ("/api/", "/"),
        ("/api?x=/api", "/?x=/api"),
        ("/api/a%2Fb", "/a%2Fb"),
    ] {
        let mut client = site.send(get(path));
        let (_upstream, request) =
            origin.answer("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
        assert!(
            request
                .head
                .starts_with(&format!("GET {target} HTTP/1.1\r\n")),
            "{}",
            request.head
        );
        assert_eq!(request.field("x-forwarded-prefix"), Some("/api"));
        assert_eq!(client.message().status(), 204);
    }
    refused(
        &site,
        &origin,
        &[
            (404, &get("/apix")),
            (404, &get("/")),
            (400, &get("/%61pi")),
        ],
    );
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
