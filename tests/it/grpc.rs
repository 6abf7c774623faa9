//! Apps that speak HTTP/2, gRPC among them (product.md B33): bodies both ways at the same time, trailers, errors in
//! gRPC's own form, what ends a request and what does not.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Request, Response};

use crate::support::docker::example;
use crate::support::frames;
use crate::support::h2::{H2, Whole};
use crate::support::nginx::Nginx;
use crate::support::origin::{Origin, free_port, refused_port};
use crate::support::peer::{End, LIMIT, Peer};
use crate::support::site::{Site, app, get};
use crate::support::tls::AppPem;

/// The sample app on this machine, in HTTP/2.
pub(crate) struct Grpc {
    child: Child,
    port: u16,
}

impl Grpc {
    pub(crate) fn start() -> Self {
        Self::with(&[("H2C", "1")])
    }

    fn with(env: &[(&str, &str)]) -> Self {
        let port = free_port();
        let mut command = Command::new(example("whoami"));
        command.env("PORT", port.to_string());
        command.env("ADDRESS", "127.0.0.1");
        command.envs(env.iter().copied()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        let out = child.stdout.take().unwrap();
        BufReader::new(out).read_line(&mut line).unwrap();
        assert!(line.starts_with("listening"), "{line}");
        Self { child, port }
    }

    /// Alone on `a.test`, with further labels.
    pub(crate) fn site(&self, labels: &str) -> Site {
        Site::plain(self.port, labels)
    }

    /// Waits until so many requests that last are under way.
    fn wait_waiting(&self, site: &Site, count: usize) {
        let end = Instant::now() + LIMIT;
        loop {
            let waiting = site.send(get("/waiting")).message().text();
            if waiting == count.to_string() {
                return;
            }
            assert!(Instant::now() < end, "{waiting} wait, not {count}");
            std::thread::yield_now();
        }
    }
}

impl Drop for Grpc {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const CALL: &[(&str, &str)] = &[
    ("content-type", "application/grpc+proto"),
    ("te", "trailers"),
];

/// A request of gRPC for `a.test`.
fn call(client: &H2, path: &str, fields: &[(&str, &str)]) -> Begun {
    let url = format!("http://a.test{path}");
    let all = CALL.iter().chain(fields);
    let request = all.fold(Request::post(url), |request, (name, value)| {
        request.header(*name, *value)
    });
    let (response, body) = client.send(request.body(()).unwrap(), false);
    Begun { response, body }
}

struct Begun {
    response: h2::client::ResponseFuture,
    body: SendStream<Bytes>,
}

impl Begun {
    /// Ends the request, and reads the answer to its end.
    fn whole(mut self, client: &H2) -> Result<Whole, h2::Error> {
        let _ = self.body.send_data(Bytes::new(), true);
        let response = client.wait(self.response)?;
        client.whole(response)
    }
}

fn message(text: &str) -> Bytes {
    let len = u32::try_from(text.len()).unwrap().to_be_bytes();
    [&[0], &len[..], text.as_bytes()].concat().into()
}

/// So many bytes of the answer.
fn read(client: &H2, body: &mut RecvStream, count: usize) -> Vec<u8> {
    let mut read = Vec::new();
    while read.len() < count {
        let data = client.wait(body.data()).unwrap().unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        read.extend(data);
    }
    read
}

fn status(answer: &Whole) -> &str {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.headers["grpc-status"].to_str().unwrap()
}

/// B33: a call that goes both ways: the app answers each message before the next one is sent.
#[test]
fn b33_a_call_goes_both_ways_at_the_same_time() {
    let app = Grpc::start();
    let site = app.site("wharf.proto: grpc");
    let client = H2::connect(site.http());
    let mut begun = call(&client, "/test.Echo/Both", &[]);
    begun.body.send_data(message("one"), false).unwrap();
    let response: Response<RecvStream> = client.wait(begun.response).unwrap();
    assert_eq!(response.headers()["x-te"], "trailers");
    assert_eq!(response.headers()["content-type"], "application/grpc");
    let mut body = response.into_body();
    assert_eq!(read(&client, &mut body, 8), message("one"));
    for text in ["two", "and three"] {
        begun.body.send_data(message(text), false).unwrap();
        assert_eq!(read(&client, &mut body, 5 + text.len()), message(text));
    }
    begun.body.send_data(Bytes::new(), true).unwrap();
    assert!(client.wait(body.data()).is_none());
    let trailers = client.wait(body.trailers()).unwrap().unwrap();
    assert_eq!(trailers["grpc-status"], "0");
    // Many on few connections.
    for _ in 0..20 {
        let answer = call(&client, "/test.Echo/Both", &[])
            .whole(&client)
            .unwrap();
        assert_eq!(answer.trailers.unwrap()["grpc-status"], "0");
    }
    assert_eq!(site.metric("wharf_upstream_connects_total"), 1.0);
}

/// B33: trailers of either side, from clients of either protocol.
#[test]
fn b33_trailers_pass_both_ways_from_http_1_and_http_2() {
    let app = Grpc::start();
    let site = app.site("wharf.proto: h2c");
    let client = H2::connect(site.http());
    let request = Request::post("http://a.test/count").body(()).unwrap();
    let (response, mut body) = client.send(request, false);
    body.send_data("abc".into(), false).unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("6"));
    trailers.insert("authorization", HeaderValue::from_static("forged"));
    body.send_trailers(trailers).unwrap();
    let response = client.wait(response).unwrap();
    let answer = client.whole(response).unwrap();
    assert_eq!(answer.text(), "3");
    assert_eq!(answer.headers["x-trailer-x-sum"], "6");
    assert!(!answer.headers.contains_key("x-trailer-authorization"));

    let chunked = "POST /count HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n\
                   2\r\nab\r\n3\r\ncde\r\n0\r\nX-Sum: 7\r\n\r\n";
    let answer = site.send(chunked).message();
    assert_eq!((answer.status(), answer.text().as_str()), (200, "5"));
    assert_eq!(answer.field("x-trailer-x-sum"), Some("7"));
    let echo = "POST /echo HTTP/1.1\r\nHost: a.test\r\nTE: trailers\r\nConnection: TE\r\n\
                Content-Length: 3\r\n\r\nabc";
    let mut peer = site.send(echo);
    assert!(peer.head().contains("transfer-encoding: chunked"));
    assert!(
        peer.until("x-count: 3\r\n\r\n")
            .starts_with("3\r\nabc\r\n0\r\n")
    );
}

/// Bodies of known and unknown length, large ones, HEAD, and hints before the answer.
#[test]
fn answers_come_whole_in_either_protocol() {
    let app = Grpc::start();
    let site = app.site("wharf.proto: h2c");
    let client = H2::connect(site.http());
    let expected: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
    for path in ["/bytes/3000000", "/stream/3000000"] {
        let answer = client.get(&format!("http://a.test{path}"), &[]).unwrap();
        assert!(answer.body == expected, "{path} over HTTP/2");
        let length = answer.headers.contains_key("content-length");
        assert_eq!(length, path.starts_with("/bytes"));
        let answer = site.send(get(path)).message();
        assert!(answer.body == expected, "{path} over HTTP/1");
    }
    let told = site.send(get("/json?a=b")).message();
    let told: serde_json::Value = serde_json::from_slice(&told.body).unwrap();
    assert_eq!(told["version"], "HTTP/2.0");
    assert_eq!(told["uri"], "http://a.test/json?a=b");
    assert_eq!(told["headers"]["x-forwarded-host"][0], "a.test");
    assert!(told["headers"].get("connection").is_none() && told["headers"].get("te").is_none());
    let head = "HEAD /bytes/7 HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let mut peer = site.send([head, &get("/status/204")].concat());
    assert!(peer.head().contains("content-length: 7\r\n"));
    assert!(peer.head().starts_with("HTTP/1.1 204"));
    let mut peer = site.send(get("/hint"));
    assert!(peer.head().starts_with("HTTP/1.1 103") && peer.head().starts_with("HTTP/1.1 200"));
    // A body that nobody has announced the length of, upwards.
    let body = vec![b'x'; 2_000_000];
    let upload = format!(
        "POST /count HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let answer = site.send([upload.as_bytes(), &body].concat()).message();
    assert_eq!(answer.text(), body.len().to_string());
}

/// B33: what Wharf itself has to say to a call is said in `grpc-status`; to others it is a page.
#[test]
fn b33_wharfs_own_errors_are_grpc_status() {
    let gone = refused_port();
    let labels = |host: &str, more: &str| {
        let (host, path) = host.split_once('/').unwrap();
        format!(
            "wharf.host: {host}\nwharf.path: /{path}\nwharf.tls: off\nwharf.proto: grpc\n{more}"
        )
    };
    let site = Site::start([
        app("gone", gone, &labels("a.test/pkg.Gone", "wharf.hold: off")),
        app(
            "denied",
            gone,
            &labels("a.test/pkg.Denied", "wharf.deny: 127.0.0.0/8"),
        ),
        app(
            "login",
            gone,
            &labels(
                "a.test/pkg.Login",
                "wharf.auth.basic: a:$2y$05$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC",
            ),
        ),
        app(
            "rest",
            gone,
            &labels("a.test/pkg.Rest", "wharf.maintenance: on"),
        ),
        app(
            "plain",
            gone,
            "wharf.host: b.test\nwharf.tls: off\nwharf.proto: h2c\nwharf.hold: off",
        ),
    ]);
    let client = H2::connect(site.http());
    for (path, expected) in [
        ("/pkg.Gone/Call", "14"),
        ("/pkg.Denied/Call", "7"),
        ("/pkg.Login/Call", "16"),
        ("/pkg.Rest/Call", "14"),
        ("/pkg.Other/Call", "12"),
    ] {
        let answer = call(&client, path, &[]).whole(&client).unwrap();
        assert_eq!(status(&answer), expected, "{path}");
        assert_eq!(answer.headers["content-type"], "application/grpc+proto");
        assert!(answer.headers.contains_key("grpc-message") && answer.body.is_empty());
    }
    // Who does not speak gRPC gets a page, and so does who asks an app that does not.
    let page = site.send(get("/pkg.Gone/Call")).message();
    assert_eq!((page.status(), page.field("grpc-status")), (502, None));
    let plain = client.get("http://b.test/", CALL).unwrap();
    assert_eq!(plain.status, 502);
    assert!(!plain.headers.contains_key("grpc-status"));
}

/// B33: `grpc-timeout` is how long the head of an answer is waited for, and a container.
#[test]
fn b33_the_clients_deadline_is_wharfs_too() {
    let app_ = Grpc::start();
    let labels = "wharf.host: b.test\nwharf.tls: off\nwharf.proto: grpc\nwharf.hold: 1h";
    let site = Site::start([
        app(
            "app",
            app_.port,
            "wharf.host: a.test\nwharf.tls: off\nwharf.proto: grpc",
        ),
        app("gone", refused_port(), labels),
    ]);
    let client = H2::connect(site.http());
    let answer = call(&client, "/never", &[("grpc-timeout", "200m")]).whole(&client);
    assert_eq!(status(&answer.unwrap()), "4");
    app_.wait_waiting(&site, 0);
    let request = Request::post("http://b.test/x.Y/Z").header("grpc-timeout", "300m");
    let request = CALL.iter().fold(request, |request, (name, value)| {
        request.header(*name, *value)
    });
    let (response, body) = client.send(request.body(()).unwrap(), false);
    let answer = Begun { response, body }.whole(&client).unwrap();
    assert_eq!(status(&answer), "14");
}

/// A client that leaves, or takes its request back, ends it at the app, too; other requests go on.
#[test]
fn b33_a_request_that_is_taken_back_ends_at_the_app() {
    let app = Grpc::start();
    let site = app.site("wharf.proto: grpc");
    let client = H2::connect(site.http());
    let kept = call(&client, "/test.Echo/Kept", &[]);
    let mut taken = call(&client, "/test.Echo/Taken", &[]);
    let leaver = site.send(get("/never"));
    app.wait_waiting(&site, 3);
    taken.body.send_reset(Reason::CANCEL);
    app.wait_waiting(&site, 2);
    drop(leaver);
    app.wait_waiting(&site, 1);
    let answer = kept.whole(&client).unwrap();
    assert_eq!(answer.trailers.unwrap()["grpc-status"], "0");
}

/// What an app does to one stream reaches its client, and nobody else.
#[test]
fn b33_an_apps_reset_reaches_its_client() {
    let app = Grpc::start();
    let site = app.site("wharf.proto: grpc");
    let client = H2::connect(site.http());
    for (code, expected) in [(8, "1"), (2, "13"), (11, "8"), (12, "7")] {
        let answer = call(&client, &format!("/reset/{code}"), &[]).whole(&client);
        assert_eq!(status(&answer.unwrap()), expected, "{code}");
    }
    for (code, expected) in [
        (8, Reason::CANCEL),
        (11, Reason::ENHANCE_YOUR_CALM),
        (1, Reason::INTERNAL_ERROR),
    ] {
        let cut = call(&client, &format!("/cut/{code}"), &[]).whole(&client);
        assert_eq!(cut.unwrap_err().reason(), Some(expected), "{code}");
    }
    let page = site.send(get("/reset/2")).message();
    assert_eq!(page.status(), 502);
    let mut peer = site.send(get("/cut/8"));
    let (read, _) = peer.rest();
    assert!(
        read.contains("some of it") && !read.ends_with("0\r\n\r\n"),
        "{read}"
    );
    let answer = call(&client, "/test.Echo/After", &[])
        .whole(&client)
        .unwrap();
    assert_eq!(answer.trailers.unwrap()["grpc-status"], "0");
}

/// An app that takes one request at a time on each connection gets more connections.
#[test]
fn the_apps_own_limit_of_streams_is_kept() {
    let app = Grpc::with(&[("H2C", "1"), ("MAX_STREAMS", "1")]);
    let site = app.site("wharf.proto: h2c");
    // Its settings are known from here on.
    assert_eq!(site.send(get("/json")).message().status(), 200);
    let peers: Vec<Peer> = (0..5).map(|_| site.send(get("/sleep/200"))).collect();
    for mut peer in peers {
        assert_eq!(peer.message().text(), "slept\n");
    }
    assert_eq!(site.metric("wharf_upstream_retries_total"), 0.0);
}

/// A client that reads nothing of a large answer holds up no other client's on the same connection.
#[test]
fn a_slow_client_does_not_stop_others() {
    let app = Grpc::start();
    let site = app.site("wharf.proto: h2c");
    let slow: Vec<Peer> = (0..40)
        .map(|_| site.send(get("/stream/20000000")))
        .collect();
    for _ in 0..5 {
        let answer = site.send(get("/bytes/1000000")).message();
        assert_eq!(answer.body.len(), 1_000_000);
    }
    drop(slow);
    assert_eq!(site.send(get("/status/200")).message().status(), 200);
}

/// B33 over TLS: HTTP/2 is agreed on by ALPN, the certificate is verified.
#[test]
fn b33_grpcs_is_the_same_over_tls() {
    let certs = tempfile::tempdir().unwrap();
    let pem = AppPem::own(&["app.internal"]);
    std::fs::write(certs.path().join("app.pem"), &pem.certificate).unwrap();
    let app_ = Grpc::with(&[("TLS_PEM", &pem.both())]);
    let labels = |host: &str, proto: &str| {
        format!(
            "wharf.host: {host}\nwharf.tls: off\nwharf.proto: {proto}\nwharf.upstream.verify: file:app.pem"
        )
    };
    let site = Site::with(
        [
            app("grpcs", app_.port, &labels("a.test", "grpcs")),
            app("h2", app_.port, &labels("b.test", "h2")),
            app(
                "strange",
                app_.port,
                "wharf.host: c.test\nwharf.tls: off\nwharf.proto: grpcs",
            ),
        ],
        |builder| builder.env("WHARF_CERTS", certs.path().to_str().unwrap()),
    );
    let client = H2::connect(site.http());
    let mut begun = call(&client, "/test.Echo/Both", &[]);
    begun.body.send_data(message("hello"), false).unwrap();
    let answer = begun.whole(&client).unwrap();
    assert_eq!(answer.body, message("hello"));
    assert_eq!(answer.trailers.unwrap()["grpc-status"], "0");
    let told = client.get("http://b.test/json", &[]).unwrap();
    let told: serde_json::Value = serde_json::from_slice(&told.body).unwrap();
    assert_eq!(
        (&told["tls"]["alpn"], &told["version"]),
        (&"h2".into(), &"HTTP/2.0".into())
    );
    // Nobody vouches for its certificate there.
    let strange = client.get("http://c.test/x.Y/Z", CALL).unwrap();
    assert_eq!(status(&strange), "14");
}

/// An app that speaks HTTP/1 only is named as such.
#[test]
fn an_app_that_does_not_speak_http_2_is_told_apart() {
    let origin = Origin::new();
    let site = Site::plain(origin.port(), "wharf.proto: h2c\nwharf.hold: off");
    let mut client = site.send(get("/"));
    let mut peer = origin.accept();
    peer.until("SM\r\n\r\n");
    peer.send("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
    let page = client.message();
    assert_eq!(page.status(), 502);
    assert!(
        page.text().contains("it speaks HTTP/1, not HTTP/2"),
        "{}",
        page.text()
    );
    assert!(page.text().contains("wharf.proto"), "{}", page.text());
}

/// WebSocket needs HTTP/1 towards the app.
#[test]
fn websocket_is_refused_clearly() {
    let app = Grpc::start();
    let site = app.site("wharf.proto: h2c");
    let upgrade = "GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let answer = site.send(upgrade).message();
    assert_eq!(answer.status(), 501);
    assert!(answer.text().contains("WebSocket"), "{}", answer.text());
}

/// An app played frame by frame.
struct Raw {
    peer: Peer,
}

impl Raw {
    /// Takes a connection and says hello.
    fn accept(origin: &Origin) -> Self {
        let mut peer = origin.accept();
        peer.until("SM\r\n\r\n");
        peer.send(frames::settings(&[]));
        Self { peer }
    }

    /// The next frame of this kind: its stream and payload.
    fn next(&mut self, kind: u8) -> (u32, Vec<u8>) {
        loop {
            let head = self.peer.exactly(9);
            let len = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let payload = self.peer.exactly(len as usize);
            if head[3] == kind {
                let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
                return (stream, payload);
            }
        }
    }

    fn answer(&mut self, stream: u32, text: &str) {
        let length = text.len().to_string();
        let block = frames::literals(&[(":status", "200"), ("content-length", &length)]);
        self.peer
            .send(frames::frame(HEADERS, END_HEADERS, stream, &block));
        self.peer
            .send(frames::frame(DATA, END_STREAM, stream, text.as_bytes()));
    }

    fn go_away(&mut self, last: u32) {
        let payload = [last.to_be_bytes(), [0; 4]].concat();
        self.peer.send(frames::frame(GOAWAY, 0, 0, &payload));
    }
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const REFUSED_STREAM: u32 = 7;

/// What an app says it has not looked at is sent again, body and all, whatever the method.
#[test]
fn what_an_app_gives_back_untouched_is_sent_again() {
    let origin = Origin::new();
    let site = Site::plain(origin.port(), "wharf.proto: h2c\nwharf.hold: off");
    let post = "POST /a HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello";
    let mut client = site.send(post);
    let mut first = Raw::accept(&origin);
    assert_eq!(first.next(HEADERS).0, 1);
    assert_eq!(first.next(DATA), (1, b"hello".to_vec()));
    first.answer(1, "one");
    assert_eq!(client.message().text(), "one");
    // It drains: the second is above the last it looks at, the connection lives on for a while.
    client.send(post);
    assert_eq!(first.next(DATA), (3, b"hello".to_vec()));
    first.go_away(1);
    let mut second = Raw::accept(&origin);
    assert_eq!(second.next(DATA), (1, b"hello".to_vec()));
    second.answer(1, "two");
    assert_eq!(client.message().text(), "two");
    // It refuses one stream.
    client.send(post);
    assert_eq!(second.next(DATA), (3, b"hello".to_vec()));
    second.peer.send(frames::reset(3, REFUSED_STREAM));
    let mut third = Raw::accept(&origin);
    assert_eq!(third.next(DATA), (1, b"hello".to_vec()));
    third.answer(1, "three");
    assert_eq!(client.message().text(), "three");
}

/// GOAWAY leaves those below its last stream alone.
#[test]
fn an_app_that_drains_finishes_what_it_has() {
    let origin = Origin::new();
    let site = Site::plain(origin.port(), "wharf.proto: h2c");
    let mut client = site.send(get("/a"));
    let mut first = Raw::accept(&origin);
    assert_eq!(first.next(HEADERS).0, 1);
    first.go_away(1);
    let mut other = site.send(get("/b"));
    let mut second = Raw::accept(&origin);
    assert_eq!(second.next(HEADERS).0, 1);
    second.answer(1, "b");
    assert_eq!(other.message().text(), "b");
    first.answer(1, "a");
    assert_eq!(client.message().text(), "a");
    assert_eq!(first.peer.rest().1, End::Fin);
}

/// A connection that is lost in the middle of a request that may have been acted on is not tried again.
#[test]
fn a_lost_connection_is_no_reason_to_do_it_twice() {
    let origin = Origin::new();
    let site = Site::plain(origin.port(), "wharf.proto: h2c\nwharf.hold: off");
    let mut client =
        site.send("POST /a HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello");
    let mut app = Raw::accept(&origin);
    app.next(DATA);
    drop(app);
    assert_eq!(client.message().status(), 502);
    assert!(origin.accepted().is_none(), "sent again");
}

/// What no app in good faith sends ends its request, or its connection, and nothing else.
#[test]
fn a_hostile_app_harms_nobody_else() {
    let origin = Origin::new();
    let site = Site::plain(
        origin.port(),
        "wharf.proto: h2c\nwharf.hold: off\nwharf.fail: off",
    );
    let head = |fields: &[(&str, &str)]| frames::literals(fields);
    let large: Vec<u8> = (0..300)
        .flat_map(|_| frames::literals(&[("x-large", &"x".repeat(250))]))
        .collect();
    let large = [head(&[(":status", "200")]), large].concat();
    let pieces: Vec<Vec<u8>> = large.chunks(16_000).map(<[u8]>::to_vec).collect();
    let mut too_large = Vec::new();
    for (at, piece) in pieces.iter().enumerate() {
        let kind = if at == 0 { HEADERS } else { 9 };
        let flags = if at + 1 == pieces.len() {
            END_HEADERS
        } else {
            0
        };
        too_large.extend(frames::frame(kind, flags, 1, piece));
    }
    let block = |fields: &[(&str, &str)], flags| {
        frames::frame(HEADERS, END_HEADERS | flags, 1, &head(fields))
    };
    let ok = block(&[(":status", "200")], 0);
    for (what, bytes) in [
        ("a head of 70 KiB", too_large),
        ("no status", block(&[("x", "1")], END_STREAM)),
        ("a body before its head", frames::frame(DATA, 0, 1, b"x")),
        (
            "a promised body that does not come",
            block(&[(":status", "200"), ("content-length", "3")], END_STREAM),
        ),
        ("a push", frames::frame(5, END_HEADERS, 1, &[0, 0, 0, 2])),
        (
            "HEADERS on no stream",
            frames::frame(HEADERS, END_HEADERS, 7, &head(&[(":status", "200")])),
        ),
        (
            "a frame of 16 MiB",
            vec![0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1],
        ),
        (
            "a broken block",
            frames::frame(
                HEADERS,
                END_HEADERS,
                1,
                &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            ),
        ),
        (
            "more interim responses than anybody reads",
            (0..50)
                .flat_map(|_| block(&[(":status", "103")], 0))
                .collect(),
        ),
        (
            "more than its window",
            [ok, frames::frame(DATA, 0, 1, &[0; 16_384]).repeat(20)].concat(),
        ),
    ] {
        let mut client = site.send("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
        let mut app = Raw::accept(&origin);
        app.next(HEADERS);
        let _ = app.peer.try_send(&bytes);
        let (read, _) = client.rest();
        assert!(
            !read.contains("200 OK") || what.starts_with("more than"),
            "{what}: {read}"
        );
        // Whatever has become of the connection, the next one is as good as any.
        drop(app);
        let mut client = site.send(get("/next"));
        let mut app = Raw::accept(&origin);
        let (stream, _) = app.next(HEADERS);
        app.answer(stream, "fine");
        assert_eq!(client.message().text(), "fine", "after {what}");
        drop(app);
    }
}

/// Beside nginx's `grpc_pass`: the same calls, the same answers.
#[test]
fn b33_calls_are_answered_as_behind_nginx() {
    let app = Grpc::start();
    let site = app.site("wharf.proto: grpc");
    let nginx = Nginx::start(&format!(
        "server {{ listen @listen http2; location / {{ grpc_pass grpc://127.0.0.1:{}; }} }}",
        app.port
    ));
    let answers = |address: SocketAddr| {
        let client = H2::connect(address);
        ["", "one", "a longer message"].map(|text| {
            let mut begun = call(&client, "/test.Echo/Both", &[]);
            begun.body.send_data(message(text), false).unwrap();
            let answer = begun.whole(&client).unwrap();
            let kind = answer.headers["content-type"].clone();
            let te = answer.headers.get("x-te").cloned();
            let trailers = answer.trailers.unwrap();
            (
                answer.status,
                kind,
                te,
                answer.body,
                trailers["grpc-status"].clone(),
            )
        })
    };
    assert_eq!(answers(site.http()), answers(nginx.address));
}
