//! Responses of upstreams, in bytes: what a client gets of them, whole, cut or unusable.

use crate::support::h2::H2;
use crate::support::origin::Origin;
use crate::support::peer::End;
use crate::support::site::{Site, get};

fn site() -> (Site, Origin) {
    let origin = Origin::new();
    (Site::plain(origin.port(), ""), origin)
}

/// What the client of `request` receives until the end of its connection when the upstream sends
/// `response` and closes.
fn exchange(site: &Site, origin: &Origin, request: &str, response: &str) -> (String, End) {
    println!("{response:.80?}");
    let mut client = site.send(request);
    let (upstream, _) = origin.answer(response);
    drop(upstream);
    client.rest()
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
const HEAD: &str = "HEAD / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";

#[test]
fn what_the_upstream_says_is_what_the_client_gets_in_its_own_framing() {
    let (site, origin) = site();
    // Neither Date nor Server nor anything else is added.
    for (request, response, received) in [
        (
            GET,
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX: 1\r\nSet-Cookie: a\r\nX: 2\r\nSet-Cookie: b\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX: 1\r\nSet-Cookie: a\r\nX: 2\r\nSet-Cookie: b\r\nconnection: close\r\n\r\nabc",
        ),
        (
            GET,
            "HTTP/1.1 200 OK\r\nContent-Length: 3, 3\r\nContent-Length: 3\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\nabc",
        ),
        (
            GET,
            "HTTP/1.1 404 Nope\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 404 Nope\r\nContent-Length: 0\r\nconnection: close\r\n\r\n",
        ),
        (
            GET,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n3;x=y\r\nabc\r\n1\r\nd\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n",
        ),
        (
            GET,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        ),
        (
            GET,
            "HTTP/1.1 200 OK\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        ),
        (
            GET,
            "HTTP/1.0 200 OK\r\nX: \r\n\r\nabc",
            "HTTP/1.1 200 OK\r\nX: \r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        ),
        (
            GET,
            "HTTP/1.1 204 No Content\r\nContent-Length: 3\r\nX: 1\r\n\r\n",
            "HTTP/1.1 204 No Content\r\nX: 1\r\nconnection: close\r\n\r\n",
        ),
        (
            GET,
            "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n",
        ),
        (
            GET,
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\nETag: \"x\"\r\n\r\n",
            "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nconnection: close\r\n\r\n",
        ),
        (
            HEAD,
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nconnection: close\r\n\r\n",
        ),
        (
            HEAD,
            "HTTP/1.1 200 OK\r\nX: 1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX: 1\r\nconnection: close\r\n\r\n",
        ),
        (
            HEAD,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n",
        ),
        // Hop-by-hop, by name and by nomination; framing cannot be nominated away.
        (
            GET,
            "HTTP/1.1 200 OK\r\nConnection: X-Inner, content-length\r\nConnection: x-second\r\n\
             X-Inner: 1\r\nX-Second: 2\r\nKeep-Alive: timeout=5\r\nUpgrade: h2c\r\n\
             Proxy-Authenticate: Basic\r\nX-Outer: 3\r\nContent-Length: 3\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\nX-Outer: 3\r\nContent-Length: 3\r\nconnection: close\r\n\r\nabc",
        ),
        (
            GET,
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x\r\n\r\n\
             HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n\
             HTTP/1.1 200 OK\r\nContent-Length: 0\r\nconnection: close\r\n\r\n",
        ),
        // No client of HTTP/1.0 knows interim responses.
        (
            "GET / HTTP/1.0\r\nHost: a.test\r\n\r\n",
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        ),
    ] {
        let got = exchange(&site, &origin, request, response);
        assert_eq!(got, (received.to_owned(), End::Fin));
    }
}

#[test]
fn hints_are_passed_on_before_the_final_response_is_there() {
    let (site, origin) = site();
    let mut client = site.send(get("/"));
    let mut upstream = origin.accept();
    upstream.head();
    for hint in ["/a.css", "/b.css"] {
        upstream.send(format!(
            "HTTP/1.1 103 Early Hints\r\nLink: <{hint}>\r\n\r\n"
        ));
        let expected = format!("HTTP/1.1 103 Early Hints\r\nLink: <{hint}>\r\n\r\n");
        assert_eq!(client.head(), expected);
    }
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(client.message().text(), "hi");
    // Behind a request with a body, whose 100 came from Wharf.
    client.send(
        "PUT / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n",
    );
    assert_eq!(client.head(), "HTTP/1.1 100 Continue\r\n\r\n");
    upstream.head();
    upstream.send("HTTP/1.1 102 Processing\r\n\r\n");
    assert_eq!(client.head(), "HTTP/1.1 102 Processing\r\n\r\n");
    client.send("x");
    upstream.send("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.message().status(), 201);
}

#[test]
fn an_unusable_response_is_502_and_none_of_it_is_passed_on() {
    let (site, origin) = site();
    let wide: String = (0..201).map(|i| format!("x-{i}: secret\r\n")).collect();
    let long = format!(
        "HTTP/1.1 200 OK\r\nX: secret{}\r\n\r\n",
        "x".repeat(64 * 1024)
    );
    let interim = "HTTP/1.1 100 Continue\r\n\r\n".repeat(11);
    for response in [
        "",
        "secret",
        "secret\r\n\r\n",
        "<html>secret</html>\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: secret\r\n",
        "HTTP/2 200\r\nX: secret\r\n\r\n",
        "HTTP/1.1 99 secret\r\n\r\n",
        "HTTP/1.1 0200 secret\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: secret\r\n folded\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX : secret\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: sec\0ret\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: sec\rret\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nContent-Length: 7\r\n\r\nsecret",
        "HTTP/1.1 200 OK\r\nContent-Length: 6, 7\r\n\r\nsecret",
        "HTTP/1.1 200 OK\r\nContent-Length: +6\r\n\r\nsecret",
        "HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\nsecret",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nsecret",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n6\r\nsecret\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n6\r\nsecret\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nsecret\r\n0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: secret\r\nConnection: Upgrade\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nsecret",
        &format!("HTTP/1.1 200 OK\r\n{wide}\r\n"),
        &long,
        &format!("{interim}HTTP/1.1 200 OK\r\nX: secret\r\n\r\n"),
    ] {
        let (answer, end) = exchange(&site, &origin, GET, response);
        assert!(
            answer.starts_with("HTTP/1.1 502 Bad Gateway\r\n"),
            "{answer}"
        );
        assert!(!answer.contains("secret"), "{answer}");
        assert_eq!(end, End::Fin);
    }
    let unusable = site.metric("wharf_errors_total{kind=\"upstream_protocol\"}");
    let closed = site.metric("wharf_errors_total{kind=\"upstream_closed\"}");
    assert_eq!((unusable, closed), (24.0, 2.0));
}

/// Responses whose body goes wrong: a good start of it, and what comes then before the end.
const CUT: [(&str, &str); 7] = [
    ("Content-Length: 10\r\n\r\nabc", ""),
    ("Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", ""),
    ("Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "0\r\n"),
    ("Transfer-Encoding: chunked\r\n\r\n9\r\nabc", ""),
    ("Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "zz\r\n"),
    (
        "Transfer-Encoding: chunked\r\n\r\n3\r\nabc",
        "d\r\n0\r\n\r\n",
    ),
    (
        "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        "0\r\nno trailer\r\n\r\n",
    ),
];

#[test]
fn a_cut_body_never_passes_for_a_whole_one() {
    let (site, origin) = site();
    for (start, bad) in CUT {
        for reset in [false, true] {
            let mut client = site.send(get("/"));
            let (mut upstream, _) = origin.answer(&format!("HTTP/1.1 200 OK\r\n{start}"));
            client.until("abc");
            upstream.send(bad);
            if reset {
                upstream.reset();
            } else {
                drop(upstream);
            }
            let (rest, _) = client.rest();
            assert_eq!(rest.trim(), "", "{start:?} {bad:?}");
        }
    }
    // Without a length the end is the delimiter, a reset is not.
    let mut client = site.send(get("/"));
    let (upstream, _) = origin.answer("HTTP/1.1 200 OK\r\n\r\nabc");
    client.until("3\r\nabc\r\n");
    upstream.reset();
    client.ended();
}

#[test]
fn a_cut_body_resets_its_stream_on_http_2() {
    let (site, origin) = site();
    let client = H2::connect(site.http());
    for (start, bad) in CUT {
        let request = http::Request::get("http://a.test/").body(()).unwrap();
        let (response, _) = client.send(request, true);
        let (mut upstream, _) = origin.answer(&format!("HTTP/1.1 200 OK\r\n{start}"));
        let mut response = client.wait(response).unwrap();
        let data = client.wait(response.body_mut().data()).unwrap().unwrap();
        assert_eq!(data, "abc");
        upstream.send(bad);
        drop(upstream);
        let end = client.wait(response.body_mut().data()).unwrap();
        assert!(end.is_err_and(|error| error.is_reset()), "{bad:?}");
    }
    // The connection lives on, without hints, which hyper cannot send here.
    let request = http::Request::get("http://a.test/").body(()).unwrap();
    let (response, _) = client.send(request, true);
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    origin.answer(&format!(
        "{hints}HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"
    ));
    let response = client.wait(response).unwrap();
    let whole = client.whole(response).unwrap();
    assert_eq!((whole.status, whole.text()), (200, "abc".into()));
    assert_eq!(whole.headers.len(), 1, "{:?}", whole.headers);
}

#[test]
fn trailers_reach_clients_that_take_them() {
    let (site, origin) = site();
    let response = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n\
                    3\r\nabc\r\n0\r\nx-sum: 7\r\nContent-Length: 9\r\nTransfer-Encoding: gzip\r\n\r\n";
    for (te, trailers) in [("TE: trailers\r\n", "x-sum: 7\r\n\r\n"), ("", "")] {
        let request = format!("GET / HTTP/1.1\r\nHost: a.test\r\n{te}\r\n");
        let mut client = site.send(request);
        origin.answer(response);
        let message = client.message();
        assert_eq!(message.field("trailer"), Some("x-sum"));
        assert_eq!(
            (message.text(), &*message.trailers),
            ("abc".into(), trailers)
        );
    }
    let client = H2::connect(site.http());
    let request = http::Request::get("http://a.test/").body(()).unwrap();
    let (pending, _) = client.send(request, true);
    origin.answer(response);
    let answer = client.wait(pending).unwrap();
    let whole = client.whole(answer).unwrap();
    let trailers = whole.trailers.unwrap();
    assert_eq!(
        (trailers.len(), trailers["x-sum"].as_bytes()),
        (1, &b"7"[..])
    );
}
