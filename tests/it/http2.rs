//! HTTP/2 from clients, beside HTTP/1 on the same listeners.

use std::process::Command;

use bytes::Bytes;

use crate::support::h2::H2;
use crate::support::origin::{Origin, Served, ok};
use crate::support::site::{Site, app};

fn site(port: u16) -> Site {
    Site::start([app(
        "app",
        port,
        "wharf.host: a.test, b.test\nwharf.https: both\nwharf.tls: internal",
    )])
}

/// Every byte at its place: its position modulo a prime.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}

#[test]
fn the_protocol_is_what_the_client_offers() {
    let served = Served::text("hi");
    let site = site(served.port());
    for (arguments, scheme, version) in [
        (&["--http1.1"][..], "http", "1.1"),
        (&["--http1.0"], "http", "1"),
        (&["--http2-prior-knowledge"], "http", "2"),
        // An upgrade to h2c is not taken, and not passed on.
        (&["--http2"], "http", "1.1"),
        (&["--http2"], "https", "2"),
        (&["--http1.1"], "https", "1.1"),
        (&["--no-alpn"], "https", "1.1"),
    ] {
        let port = if scheme == "http" {
            site.wharf.http
        } else {
            site.wharf.https
        }
        .port();
        let mut curl = Command::new("curl");
        curl.args([
            "-sS",
            "--max-time",
            "20",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code} %{http_version}",
        ]);
        curl.arg("--cacert")
            .arg(site.wharf.data().join("ca/ca.crt"));
        curl.args(["--connect-to", &format!("::127.0.0.1:{port}")]);
        let output = curl
            .args(arguments)
            .arg(format!("{scheme}://a.test/"))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(
            text,
            format!("200 {version}"),
            "{arguments:?} {scheme}: {output:?}"
        );
    }
}

#[test]
fn load_over_many_streams_is_all_answered() {
    let served = Served::by(|request| ok(&request.head.as_bytes()[..3]));
    let site = site(served.port());
    for address in [
        format!("http://{}", site.wharf.http),
        format!("https://{}", site.wharf.https),
    ] {
        let mut load = Command::new("h2load");
        load.args([
            "-n",
            "2000",
            "-c",
            "4",
            "-m",
            "50",
            "-H",
            ":authority: a.test",
        ]);
        load.args(["--connect-to", address.split_once("//").unwrap().1]);
        let scheme = address.split_once(':').unwrap().0;
        let output = load.arg(format!("{scheme}://a.test/")).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            text.contains("2000 succeeded, 0 failed, 0 errored, 0 timeout"),
            "{text}"
        );
        assert!(text.contains("2000 2xx, 0 3xx"), "{text}");
    }
}

#[test]
fn streams_do_not_wait_for_each_other() {
    let origin = Origin::new();
    let site = site(origin.port());
    let client = H2::connect(site.http());
    let send = |path: &str| {
        let request = http::Request::get(format!("http://a.test{path}"))
            .body(())
            .unwrap();
        client.send(request, true).0
    };
    let (slow, fast) = (send("/slow"), send("/fast"));
    let mut upstreams = [origin.accept(), origin.accept()];
    let is_slow = upstreams[0].head().starts_with("GET /slow");
    upstreams[1].head();
    let [for_slow, for_fast] = if is_slow { [0, 1] } else { [1, 0] };
    upstreams[for_fast].send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfast");
    let answer = client.wait(fast).unwrap();
    assert_eq!(client.whole(answer).unwrap().text(), "fast");
    upstreams[for_slow].send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow");
    let answer = client.wait(slow).unwrap();
    assert_eq!(client.whole(answer).unwrap().text(), "slow");
}

#[test]
fn large_bodies_arrive_whole_both_ways() {
    let served = Served::by(|request| ok(&request.body));
    let site = site(served.port());
    let body = Bytes::from(pattern(5_000_000));
    for length in [Some(body.len()), None] {
        let client = H2::connect_tls(site.wharf.https, "a.test", site.wharf.data());
        let mut request = http::Request::post("https://a.test/");
        if let Some(length) = length {
            request = request.header("content-length", length);
        }
        let (response, mut stream) = client.send(request.body(()).unwrap(), false);
        stream.send_data(body.clone(), true).unwrap();
        let answer = client.wait(response).unwrap();
        let whole = client.whole(answer).unwrap();
        assert_eq!(whole.status, 200);
        assert!(
            whole.body == body,
            "{} bytes of {}",
            whole.body.len(),
            body.len()
        );
    }
}

/// What the server makes of a stream.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// The first byte of its response's fields: 0x88 is 200, 0x8c is 400.
    Answered(u8),
    Reset,
    /// The whole connection is.
    Gone,
}

/// Sends one HEADERS frame with these fields and then `body`, on a connection of its own.
fn fate(site: &Site, fields: &[(&str, &str)], body: Option<&str>) -> Fate {
    let mut client = site.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    client.send(frame(SETTINGS, 0, 0, b""));
    let mut block = Vec::new();
    for (name, value) in fields {
        // Literal, not indexed, not compressed.
        block.extend([0, name.len() as u8]);
        block.extend(name.bytes());
        block.push(value.len() as u8);
        block.extend(value.bytes());
    }
    client.send(frame(
        HEADERS,
        END_HEADERS | u8::from(body.is_none()),
        1,
        &block,
    ));
    if let Some(body) = body {
        client.send(frame(DATA, END_STREAM, 1, body.as_bytes()));
    }
    loop {
        let head = client.exactly(9);
        let payload = client.exactly(usize::from(head[1]) << 8 | usize::from(head[2]));
        match head[3] {
            HEADERS => return Fate::Answered(payload[0]),
            RST_STREAM => return Fate::Reset,
            GOAWAY => return Fate::Gone,
            _ => {}
        }
    }
}

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = payload.len();
    let head = [
        0,
        (length >> 8) as u8,
        length as u8,
        kind,
        flags,
        0,
        0,
        0,
        stream,
    ];
    [&head, payload].concat()
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Fields and a body.
type Case = (Vec<(&'static str, &'static str)>, Option<&'static str>);

#[test]
fn requests_that_would_be_malformed_as_http_1_never_reach_the_upstream() {
    let origin = Origin::new();
    let site = site(origin.port());
    let good = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "a.test"),
    ];
    let without = |name: &str| -> Vec<_> {
        good.iter()
            .copied()
            .filter(|(key, _)| *key != name)
            .collect()
    };
    let with = |name: &'static str, value: &'static str| {
        let mut fields = if name.starts_with(':') {
            without(name)
        } else {
            good.to_vec()
        };
        fields.insert(
            if name.starts_with(':') {
                0
            } else {
                fields.len()
            },
            (name, value),
        );
        fields
    };
    let mut cases: Vec<Case> = [
        ("connection", "close"),
        ("transfer-encoding", "chunked"),
        ("transfer-encoding", "identity"),
        ("upgrade", "websocket"),
        ("keep-alive", "1"),
        ("proxy-connection", "close"),
        ("te", "gzip"),
        ("X-Upper", "1"),
        ("x y", "1"),
        ("x:y", "1"),
        ("x\r\nhost", "b.test"),
        ("", "1"),
        ("x", "1\r\nhost: b.test"),
        ("x", "1\n"),
        ("x", "1\0"),
        ("content-length", "x"),
        (":path", ""),
        (":path", "x"),
        (":path", "/ HTTP/1.1\r\nhost: b.test"),
        (":path", "*"),
        (":method", "GET / HTTP/1.1\r\nx: "),
        (":method", "CONNECT"),
        (":method", ""),
        (":authority", "u@a.test"),
        (":authority", "a.test\r\nx: y"),
        (":authority", "a.test b.test"),
        (":x", "1"),
    ]
    .map(|(name, value)| (with(name, value), None))
    .into();
    for pseudo in [":method", ":scheme", ":path", ":authority"] {
        cases.push((without(pseudo), None));
    }
    cases.push(([&good[..], &[(":path", "/x")]].concat(), None));
    cases.push(([&[("x", "1")], &good[..]].concat(), None));
    cases.push((with("content-length", "9"), Some("abc")));
    cases.push((with("content-length", "1"), Some("abc")));
    cases.push((with("content-length", "9"), None));
    for (fields, body) in cases {
        println!("{fields:?}");
        let fate = fate(&site, &fields, body);
        let refused = match fate {
            // 400 and, as a literal with an indexed name, 405.
            Fate::Answered(status) => status == 0x8c || status == 0x48 || status == 0x08,
            Fate::Reset | Fate::Gone => true,
        };
        assert!(refused, "{fate:?}");
        // All it may see is the start of a body that turns out wrong, now or a case later.
        if let Some(mut upstream) = origin.accepted() {
            let (rest, _) = upstream.rest();
            let started = |length| rest.contains(&format!("content-length: {length}\r\n"));
            let long = started(9) && !rest.contains("abcabcabc");
            let short = started(1) && rest.ends_with("\r\n\r\n");
            assert!(rest.is_empty() || long || short, "{rest}");
        }
    }
    // What is left out above is fine.
    let ours = std::thread::scope(|scope| {
        let answer = scope.spawn(|| fate(&site, &with("te", "trailers"), Some("abc")));
        origin.answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        answer.join().unwrap()
    });
    assert_eq!(ours, Fate::Answered(0x88));
}

#[test]
fn s61_a_request_list_of_fields_has_a_limit() {
    let served = Served::text("hi");
    let site = site(served.port());
    let client = H2::connect(site.http());
    let long = "x".repeat(33 * 1024);
    let answer = client.get("http://a.test/", &[("x", &long)]);
    assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status == 431));
    let client = H2::connect(site.http());
    let path = "x".repeat(17 * 1024);
    assert_eq!(
        client
            .get(&format!("http://a.test/{path}"), &[])
            .unwrap()
            .status,
        414
    );
    assert_eq!(served.connections(), 0);
}
