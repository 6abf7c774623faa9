//! Bodies that are held between a client and an app that keep different paces: `wharf.buffer`, beside nginx where it has the
//! same.

use std::fs;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use socket2::{Domain, Socket, Type};

use crate::support::docker::{App, unique};
use crate::support::eventually;
use crate::support::frames;
use crate::support::h2::H2;
use crate::support::nginx::Nginx;
use crate::support::origin::{Origin, Served, ok};
use crate::support::peer::{End, LIMIT, Peer};
use crate::support::site::{Site, app, get};
use crate::support::wharf::{Builder, Wharf};

/// More than all sockets on the way hold, to a client that is [`narrow`].
const LARGE: usize = 60_000_000;

/// No stretch of it looks like another.
pub(crate) fn body(len: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let bytes = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    });
    bytes.take(len).collect()
}

pub(crate) fn chunked(body: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    for chunk in body.chunks(70_001) {
        wire.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
        wire.extend(chunk);
        wire.extend(b"\r\n");
    }
    wire
}

/// The answer of an app, with further fields.
fn large(fields: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\n{fields}Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// A client whose socket takes little that it does not read.
pub(crate) fn narrow(address: SocketAddr) -> Peer {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(64 * 1024).unwrap();
    socket.connect(&address.into()).unwrap();
    Peer::of(socket.into())
}

/// Files without names that Wharf has open.
fn held_files(wharf: &Wharf) -> usize {
    let open = fs::read_dir(format!("/proc/{}/fd", wharf.pid())).unwrap();
    let files = open
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok());
    let held = files.filter(|file| {
        let name = file.to_string_lossy();
        name.contains("/buffers/") && name.ends_with("(deleted)")
    });
    held.count()
}

fn all_gone(wharf: &Wharf) {
    eventually("its files go", LIMIT, || match held_files(wharf) {
        0 => Ok(()),
        count => Err(format!("{count} are there")),
    });
    let made = wharf.data().join("buffers");
    assert!(!made.exists() || made.read_dir().unwrap().next().is_none());
}

/// Kilobytes of memory that it has.
fn memory(wharf: &Wharf) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", wharf.pid())).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Whether an app that answers with these fields is done with its answer before its client has read anything of it; asserted
/// to be `expected`. What the client gets as a head.
fn is_read_ahead(address: SocketAddr, origin: &Origin, fields: &str, expected: bool) -> String {
    println!("{fields:?} {expected}");
    let mut client = narrow(address);
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
    let mut upstream = origin.accept();
    upstream.head();
    let wire = large(fields, &body(LARGE));
    let sending = thread::spawn(move || upstream.try_send(wire).is_ok());
    match expected {
        true => assert!(sending.join().unwrap()),
        false => {
            // Until every buffer on the way is full.
            thread::sleep(Duration::from_millis(400));
            assert!(!sending.is_finished());
        }
    }
    let head = client.head();
    client.reset();
    head
}

// -- responses -----------------------------------------------------------------------------------

/// S26: beside nginx, whose `proxy_buffering` is on. The one connection to the app, and its one place, are for others while
/// a client still reads.
#[test]
fn s26_an_app_is_done_with_a_response_long_before_its_client_is() {
    let expected = body(LARGE);
    let origin = Origin::new();
    let labels = "wharf.buffer: on\nwharf.max_conns: 1 queue=1 wait=1m";
    let site = Site::plain(origin.port(), labels);
    let nginx = Nginx::start(&format!(
        "upstream app {{ server 127.0.0.1:{}; keepalive 1; }}
         server {{ location / {{ proxy_pass http://app; proxy_buffering on; }} }}",
        origin.port()
    ));
    for address in [site.http(), nginx.address] {
        println!("{address}, Wharf is at {}", site.http());
        let mut slow = narrow(address);
        slow.send(get("/large"));
        let mut upstream = origin.accept();
        upstream.head();
        // Nobody has read a byte of it when this returns.
        upstream.send(large("", &expected));
        if address == site.http() {
            eventually("held", LIMIT, || match held_files(&site.wharf) {
                1 => Ok(()),
                files => Err(format!("{files} files")),
            });
            // Its turn comes when the app is done. (nginx would not wait for that, but connect once more.)
            let mut other = Peer::connect(address);
            other.send(get("/other"));
            assert!(
                upstream.head().starts_with("GET /other"),
                "the same connection"
            );
            upstream.send(ok("hi"));
            assert_eq!(other.message().text(), "hi");
        }
        assert!(slow.message().body == expected);
        // The client's connection lives on, too.
        slow.send(get("/next"));
        assert!(upstream.head().starts_with("GET /next"));
        upstream.send(ok("hi"));
        assert_eq!(slow.message().text(), "hi");
    }
    all_gone(&site.wharf);
}

/// S26: all framings, both protocols, with and without TLS; trailers arrive behind what was held.
#[test]
fn s26_what_was_held_arrives_as_it_would_have() {
    let expected = body(LARGE);
    let origin = Origin::new();
    let labels =
        "wharf.host: a.test\nwharf.https: both\nwharf.tls: internal\nwharf.buffer: on mem=256k";
    let site = Site::start([app("app", origin.port(), labels)]);
    let trailers = "0\r\nx-sum: 7\r\n\r\n";
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n";
    let in_chunks = [head.as_bytes(), &chunked(&expected), trailers.as_bytes()].concat();
    let plain = large("", &expected);
    let by_end = [b"HTTP/1.1 200 OK\r\n\r\n", &expected[..]].concat();

    for tls in [false, true] {
        let connect = || match tls {
            true => site.tls("a.test").unwrap(),
            false => site.client(),
        };
        for (wire, chunks) in [(&plain, false), (&in_chunks, true)] {
            println!("tls {tls} chunks {chunks}");
            let mut client = connect();
            client.send("GET / HTTP/1.1\r\nHost: a.test\r\nTE: trailers\r\nConnection: TE\r\n\r\n");
            let mut upstream = origin.accept();
            upstream.head();
            upstream.send(wire);
            drop(upstream);
            let answer = client.message();
            assert!(answer.body == expected);
            assert_eq!(
                answer.trailers,
                if chunks { "x-sum: 7\r\n\r\n" } else { "" }
            );
        }
        let mut client = connect();
        client.send("GET / HTTP/1.0\r\nHost: a.test\r\n\r\n");
        let mut upstream = origin.accept();
        upstream.head();
        upstream.send(&by_end);
        drop(upstream);
        client.head();
        assert!(client.exactly(expected.len()) == expected);
        assert_eq!(client.ended(), End::Fin);
    }

    for (wire, chunks) in [(&plain, false), (&in_chunks, true), (&by_end, false)] {
        println!("HTTP/2, chunks {chunks}");
        let client = H2::connect_tls(site.wharf.https, "a.test", site.wharf.data());
        let request = Request::get("https://a.test/").header("te", "trailers");
        let (response, _) = client.send(request.body(()).unwrap(), true);
        let mut upstream = origin.accept();
        upstream.head();
        upstream.send(wire);
        drop(upstream);
        let response = client.wait(response).unwrap();
        let whole = client.whole(response).unwrap();
        assert!(whole.body == expected);
        let sum = whole
            .trailers
            .as_ref()
            .map(|trailers| trailers["x-sum"].clone());
        assert_eq!(sum.is_some(), chunks);
    }
    all_gone(&site.wharf);
}

/// S26: an app that speaks HTTP/2 is done as early.
#[test]
fn s26_an_app_on_http_2_is_done_early_too() {
    let sample = crate::grpc::Grpc::start();
    let labels = "wharf.proto: h2c\nwharf.buffer: on\nwharf.max_conns: 1 queue=100 wait=60s";
    let site = sample.site(labels);
    let expected: Vec<u8> = (0..LARGE).map(|at| (at % 251) as u8).collect();
    let client = H2::connect(site.http());
    let request = || {
        Request::get(format!("http://a.test/bytes/{LARGE}"))
            .body(())
            .unwrap()
    };
    let (first, _) = client.send(request(), true);
    let first = client.wait(first).unwrap();
    let mut second = site.send(get(&format!("/bytes/{LARGE}")));
    let mut third = site.send(get("/bytes/3"));
    assert_eq!(third.message().body, [0, 1, 2]);
    assert!(second.message().body == expected);
    assert!(client.whole(first).unwrap().body == expected);
    all_gone(&site.wharf);
}

/// S26, S27: the app's own word counts where the route has one at all, and stays with Wharf there. As nginx has it.
#[test]
fn s26_x_accel_buffering_is_obeyed_and_not_passed_on() {
    let origin = Origin::new();
    let nginx = |on: &str| {
        let proxy = format!(
            "proxy_pass http://127.0.0.1:{}; proxy_buffering {on};",
            origin.port()
        );
        Nginx::start(&format!("server {{ location / {{ {proxy} }} }}"))
    };
    for (label, said, expected) in [
        ("on", "", true),
        ("on", "X-Accel-Buffering: no\r\n", false),
        ("on", "x-accel-buffering: YES\r\n", true),
        ("off", "", false),
        ("off", "X-Accel-Buffering: yes\r\n", true),
    ] {
        let site = Site::plain(origin.port(), &format!("wharf.buffer: {label}"));
        let nginx = nginx(label);
        for address in [site.http(), nginx.address] {
            let head = is_read_ahead(address, &origin, said, expected);
            assert!(!head.to_ascii_lowercase().contains("x-accel"), "{head}");
        }
    }
    // Without the label nothing is looked at: who is in front may be asked.
    let site = Site::plain(origin.port(), "");
    let head = is_read_ahead(site.http(), &origin, "X-Accel-Buffering: yes\r\n", false);
    assert!(head.contains("X-Accel-Buffering: yes"), "{head}");
}

/// S27: without the label an app is held as long as its client is, and what it says goes out at once.
#[test]
fn s27_without_the_label_bodies_go_on_as_they_come() {
    let origin = Origin::new();
    let site = Site::plain(origin.port(), "");
    is_read_ahead(site.http(), &origin, "", false);
    let mut client = site.send(get("/"));
    let mut upstream = origin.accept();
    upstream.head();
    upstream.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    for word in ["one", "two"] {
        upstream.send(format!("3\r\n{word}\r\n"));
        client.until(word);
    }
}

/// S28: what somebody waits for piece by piece is never held, whatever labels and the app say.
#[test]
fn s28_streams_are_never_held() {
    let origin = Origin::new();
    let site = Site::plain(origin.port(), "wharf.buffer: on");
    for kind in [
        "text/event-stream",
        "application/x-ndjson; charset=utf-8",
        "multipart/x-mixed-replace;boundary=x",
        "application/grpc-web+proto",
    ] {
        let fields = format!("Content-Type: {kind}\r\nX-Accel-Buffering: yes\r\n");
        let head = is_read_ahead(site.http(), &origin, &fields, false);
        assert!(!head.contains("X-Accel"), "{head}");
    }
    // And each event is there before the next one, of any kind, also behind what had to be held.
    for kind in ["text/event-stream", "text/html"] {
        let mut client = site.send(get("/"));
        let mut upstream = origin.accept();
        upstream.head();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n"
        );
        upstream.send(head);
        if kind == "text/html" {
            upstream.send(chunked(&body(LARGE)));
        }
        for event in ["data: 1", "data: 2", "data: 3"] {
            upstream.send(format!("7\r\n{event}\r\n"));
            if event == "data: 1" && kind == "text/html" {
                for _ in 0..LARGE.div_ceil(1_000_000) {
                    client.exactly(1_000_000);
                }
            }
            client.until(event);
        }
    }
}

/// S30: as much as labels allow is held; then the app waits for its client, and nothing is lost.
#[test]
fn s30_an_app_waits_once_memory_and_disk_are_full() {
    let expected = body(LARGE);
    for labels in ["on mem=64k disk=1m", "on mem=1m disk=off", "on disk=64k"] {
        println!("{labels}");
        let origin = Origin::new();
        let site = Site::plain(origin.port(), &format!("wharf.buffer: {labels}"));
        let mut client = narrow(site.http());
        client.send(get("/"));
        let mut upstream = origin.accept();
        upstream.head();
        let wire = large("", &expected);
        let sending = thread::spawn(move || {
            upstream.send(wire);
            upstream
        });
        thread::sleep(Duration::from_millis(400));
        assert!(!sending.is_finished());
        assert!(held_files(&site.wharf) <= usize::from(!labels.contains("off")));
        assert!(client.message().body == expected);
        sending.join().unwrap();
        all_gone(&site.wharf);
    }
    // A disk that cannot be used is no disk.
    let file = tempfile::NamedTempFile::new().unwrap();
    let origin = Origin::new();
    let labels = "wharf.host: a.test\nwharf.tls: off\nwharf.buffer: on";
    let site = Site::with([app("app", origin.port(), labels)], |builder| {
        builder.env("WHARF_BUFFER_DIR", &file.path().to_string_lossy())
    });
    let mut client = site.send(get("/"));
    let mut upstream = origin.accept();
    upstream.head();
    let wire = large("", &expected);
    let sending = thread::spawn(move || upstream.try_send(wire).is_ok());
    site.wharf.wait_log("cannot be buffered on disk");
    assert!(client.message().body == expected);
    assert!(sending.join().unwrap());
}

/// S26: an app that breaks off is told by the way the client's response ends, behind all that came before.
#[test]
fn s26_a_response_that_breaks_off_is_cut_behind_what_came_of_it() {
    let expected = body(LARGE);
    let origin = Origin::new();
    let site = Site::plain(origin.port(), "wharf.buffer: on");
    let wires = [
        [
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            &chunked(&expected)[..],
        ]
        .concat(),
        [
            b"HTTP/1.1 200 OK\r\nContent-Length: 99000000\r\n\r\n",
            &expected[..],
        ]
        .concat(),
    ];
    for wire in &wires {
        let mut client = site.send(get("/"));
        let mut upstream = origin.accept();
        upstream.head();
        upstream.send(wire);
        upstream.finish();
        let head = client.head();
        let mut got = Vec::new();
        if head.contains("chunked") {
            while got.len() < expected.len() {
                let size = client.until("\r\n");
                let size = usize::from_str_radix(size.trim(), 16).unwrap();
                got.extend(client.exactly(size));
                client.until("\r\n");
            }
        } else {
            got = client.exactly(expected.len());
        }
        assert!(got == expected);
        let (rest, _) = client.rest();
        assert_eq!(rest, "", "no last chunk");

        let client = H2::connect(site.http());
        let (response, _) = client.send(Request::get("http://a.test/").body(()).unwrap(), true);
        let mut upstream = origin.accept();
        upstream.head();
        upstream.send(wire);
        upstream.finish();
        let response = client.wait(response).unwrap();
        assert!(client.whole(response).err().unwrap().is_reset());
    }
    all_gone(&site.wharf);
}

/// S26: who leaves leaves nothing behind, and the app is told.
#[test]
fn s26_a_client_that_leaves_takes_what_was_held_along() {
    let origin = Origin::new();
    let site = Site::plain(origin.port(), "wharf.buffer: on mem=64k");
    for http2 in [false, true] {
        let client = (!http2).then(|| site.send(get("/")));
        let mut raw = http2.then(|| {
            let mut client = site.send(frames::PREFACE);
            client.send(frames::request("GET", &[], true));
            client
        });
        let mut upstream = origin.accept();
        upstream.head();
        upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 99000000\r\n\r\n");
        upstream.send(body(LARGE));
        assert_eq!(held_files(&site.wharf), 1);
        if let Some(client) = client {
            client.reset();
        }
        if let Some(client) = raw.take() {
            client.reset();
        }
        upstream.ended();
        all_gone(&site.wharf);
    }
    eventually("nothing is under way", LIMIT, || {
        match site.metric("wharf_requests_open") {
            0.0 => Ok(()),
            open => Err(format!("{open}")),
        }
    });
}

/// S26: a hundred clients that read nothing cost so much memory and no more; all of them get their bytes.
#[test]
fn s26_memory_is_bounded_over_all_slow_clients() {
    const CLIENTS: usize = 100;
    const LENGTH: usize = 16_000_000;
    let expected = body(LENGTH);
    let wire = large("", &expected);
    let served = Served::by(move |_| wire.clone());
    let labels = "wharf.host: a.test\nwharf.tls: off\nwharf.buffer: on mem=16m";
    let site = Site::with([app("app", served.port(), labels)], |builder| {
        builder
            .env("WHARF_BUFFER_MEMORY", "16m")
            .env("WHARF_BUFFER_DISK", "150m")
    });
    let before = memory(&site.wharf);
    let mut clients: Vec<Peer> = (0..CLIENTS).map(|_| narrow(site.http())).collect();
    for client in &mut clients {
        client.send(get("/"));
    }
    eventually("the disk is used up", LIMIT, || {
        match site.metric("wharf_buffer_disk_bytes") {
            bytes if bytes > 150e6 => Ok(()),
            bytes => Err(format!("{bytes}")),
        }
    });
    let held = site.metric("wharf_buffer_memory_bytes");
    assert!(held <= 16e6 * 1.05, "{held}");
    let more = memory(&site.wharf).saturating_sub(before) / 1024;
    // Beside what is held, each has one buffer it is written from.
    assert!(more < 16 + CLIENTS as u64 / 2 + 30, "{more} MiB more");
    for client in &mut clients[..10] {
        assert!(client.message().body == expected);
    }
    for client in clients {
        client.reset();
    }
    all_gone(&site.wharf);
    eventually("all is given back", LIMIT, || {
        let held = ["memory", "disk"].map(|of| site.metric(&format!("wharf_buffer_{of}_bytes")));
        match held {
            [0.0, 0.0] => Ok(()),
            held => Err(format!("{held:?}")),
        }
    });
}

/// S26, on a container.
#[test]
fn s26_a_container_has_its_place_free_while_its_client_reads() {
    let host = format!("{}.test", unique("buffer"));
    let wharf = Builder::new().start();
    let _app = App::new("app")
        .label("wharf.host", &host)
        .label("wharf.https", "both")
        .label("wharf.max_conns", "1 queue=off")
        .label("wharf.buffer", "on")
        .run();
    wharf.wait_route(&host);
    let request = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let mut slow = Peer::connect(wharf.http);
    slow.send(request(&format!("/bytes/{LARGE}")));
    slow.head();
    eventually("its place is free", LIMIT, || {
        let answer = Peer::connect(wharf.http)
            .send(request("/bytes/3"))
            .message();
        match answer.status() {
            200 => Ok(()),
            status => Err(status.to_string()),
        }
    });
    let expected: Vec<u8> = (0..LARGE).map(|at| (at % 251) as u8).collect();
    assert!(slow.exactly(LARGE) == expected);
}

// -- requests ------------------------------------------------------------------------------------

/// What Wharf has of bodies of requests.
fn taken(site: &Site, bytes: f64) {
    eventually("it is taken in", LIMIT, || {
        match site.metric("wharf_request_body_bytes_total") {
            taken if taken >= bytes => Ok(()),
            taken => Err(format!("{taken}")),
        }
    });
}

/// S29: beside nginx, whose `proxy_request_buffering` is on: a slow client holds no app, which then gets the length.
#[test]
fn s29_the_app_is_asked_when_all_of_a_body_is_here() {
    let expected = body(5_000_000);
    let origin = Origin::new();
    let site = Site::plain(
        origin.port(),
        "wharf.buffer.request: on\nwharf.max_conns: 1 queue=off",
    );
    let nginx = Nginx::start(&format!(
        "server {{ client_max_body_size 0; location / {{ proxy_pass http://127.0.0.1:{}; }} }}",
        origin.port()
    ));
    let wires = [
        (
            format!("Content-Length: {}", expected.len()),
            expected.clone(),
        ),
        (
            "Transfer-Encoding: chunked".to_owned(),
            [&chunked(&expected)[..], b"0\r\n\r\n"].concat(),
        ),
    ];
    for address in [site.http(), nginx.address] {
        for (framing, wire) in &wires {
            let mut client = Peer::connect(address);
            let head = format!("POST / HTTP/1.1\r\nHost: a.test\r\n{framing}\r\n\r\n");
            client.send(head);
            let (first, last) = wire.split_at(wire.len() - 100);
            client.send(first);
            assert!(origin.accepted().is_none(), "{framing}");
            // Nobody else is kept from the app.
            let mut other = Peer::connect(address);
            other.send(get("/other"));
            let (_upstream, request) =
                origin.answer("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
            assert!(request.head.starts_with("GET /other"));
            assert_eq!(other.message().status(), 204);
            client.send(last);
            let mut upstream = origin.accept();
            let request = upstream.message();
            let length = expected.len().to_string();
            assert_eq!(request.field("content-length"), Some(&*length));
            assert_eq!(request.field("transfer-encoding"), None);
            assert!(request.body == expected);
            upstream.send("HTTP/1.1 201 Created\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
            assert_eq!(client.message().status(), 201);
        }
    }
    all_gone(&site.wharf);

    // On HTTP/2, with trailers, which need chunks towards the app; and a body that has turned out to be empty.
    let client = H2::connect(site.http());
    let post = || Request::post("http://a.test/").body(()).unwrap();
    let (response, mut stream) = client.send(post(), false);
    stream
        .send_data(Bytes::from_static(b"hello"), false)
        .unwrap();
    let mut trailers = http::HeaderMap::new();
    trailers.insert("x-sum", "7".parse().unwrap());
    taken(&site, 10_000_005.0);
    assert!(origin.accepted().is_none());
    stream.send_trailers(trailers).unwrap();
    let (_upstream, request) =
        origin.answer("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
    assert_eq!(
        (request.text(), &*request.trailers),
        ("hello".into(), "x-sum: 7\r\n\r\n")
    );
    assert_eq!(client.wait(response).unwrap().status(), 204);
    let (response, mut stream) = client.send(post(), false);
    stream.send_data(Bytes::new(), true).unwrap();
    let (_upstream, request) =
        origin.answer("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
    assert_eq!(request.field("content-length"), Some("0"));
    assert_eq!(client.wait(response).unwrap().status(), 204);
}

/// S29: a body of any size goes to another replica where its method may be repeated, or where nothing of it was sent.
#[test]
fn s29_a_body_that_was_taken_in_is_sent_again() {
    let expected = body(5_000_000);
    let put = |method: &str| {
        let head = format!(
            "{method} / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n",
            expected.len()
        );
        [head.as_bytes(), &expected].concat()
    };
    for (labels, method, status) in [
        ("wharf.buffer.request: on", "PUT", 201),
        ("", "PUT", 502),
        ("wharf.buffer.request: on", "POST", 502),
        (
            "wharf.buffer.request: on\nwharf.retry: on=error,non_idempotent",
            "POST",
            201,
        ),
    ] {
        println!("{labels:?} {method}");
        let origins = [Origin::new(), Origin::new()];
        let ports = [origins[0].port(), origins[1].port()];
        let site = Site::replicas(&ports, labels);
        let mut client = site.send(put(method));
        // Whichever is first reads all of it and is gone.
        let (first, mut upstream) = eventually("somebody is asked", LIMIT, || {
            let asked = origins.iter().enumerate();
            let mut asked = asked.filter_map(|(i, origin)| Some((i, origin.accepted()?)));
            asked.next().ok_or_else(String::new)
        });
        assert!(upstream.message().body == expected);
        drop(upstream);
        if status == 201 {
            let mut upstream = origins[1 - first].accept();
            assert!(upstream.message().body == expected);
            upstream.send("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
        }
        assert_eq!(client.message().status(), status);
        all_gone(&site.wharf);
    }

    // In the middle of sending it, and to an app that answers 503 before it has read it.
    let origins = [Origin::narrow(), Origin::narrow()];
    let ports = [origins[0].port(), origins[1].port()];
    let site = Site::replicas(
        &ports,
        "wharf.buffer.request: on\nwharf.buffer.mem: 64k\nwharf.retry: on=error,503",
    );
    for answer in [
        "",
        "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
    ] {
        let mut client = site.send(put("PUT"));
        let (first, mut upstream) = eventually("somebody is asked", LIMIT, || {
            let asked = origins.iter().enumerate();
            let mut asked = asked.filter_map(|(i, origin)| Some((i, origin.accepted()?)));
            asked.next().ok_or_else(String::new)
        });
        upstream.head();
        upstream.exactly(1000);
        match answer {
            "" => upstream.reset(),
            answer => {
                upstream.send(answer);
            }
        }
        let mut other = origins[1 - first].accept();
        assert!(other.message().body == expected);
        other.send("HTTP/1.1 201 Created\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(client.message().status(), 201);
    }
    all_gone(&site.wharf);
}

/// S29: an app that answers early still gets what was taken in for it.
#[test]
fn s29_the_rest_of_a_body_goes_on_beside_the_answer() {
    let expected = body(20_000_000);
    let origin = Origin::narrow();
    let site = Site::plain(origin.port(), "wharf.buffer.request: on");
    let head = format!(
        "PUT / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n",
        expected.len()
    );
    let mut client = site.send([head.as_bytes(), &expected].concat());
    let mut upstream = origin.accept();
    upstream.head();
    upstream.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n");
    client.until("one");
    assert!(upstream.exactly(expected.len()) == expected);
    upstream.send("3\r\ntwo\r\n0\r\n\r\n");
    client.until("two\r\n0\r\n\r\n");
    client.send(get("/next"));
    assert!(
        upstream.head().starts_with("GET /next"),
        "the connection was used again"
    );
    all_gone(&site.wharf);
}

/// S29: `Expect` is answered by Wharf, and bodies that may not or cannot be taken in are refused without the app.
#[test]
fn s29_what_cannot_be_taken_in_is_refused_before_the_app_is_asked() {
    let origin = Origin::new();
    let labels = "wharf.buffer.request: on\nwharf.buffer.mem: 64k\nwharf.buffer.disk: 64k\nwharf.timeout.body: 1s";
    let site = Site::plain(origin.port(), labels);
    let head = |lines: &str| format!("POST / HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n\r\n");

    let mut client = site.send(head("Content-Length: 4\r\nExpect: 100-continue"));
    assert_eq!(client.head(), "HTTP/1.1 100 Continue\r\n\r\n");
    assert!(origin.accepted().is_none());
    client.send("body");
    let (_upstream, request) =
        origin.answer("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
    assert_eq!(
        (request.field("expect"), request.text()),
        (None, "body".into())
    );
    assert_eq!(client.message().status(), 204);

    // As much as there is room for, and a byte more.
    let most = 128 * 1024;
    for (length, status) in [(most, 204), (most + 1, 413)] {
        for chunks in [false, true] {
            println!("{length} {chunks}");
            let body = body(length);
            let mut client = match chunks {
                false => site.send(head(&format!("Content-Length: {length}"))),
                true => site.send(head("Transfer-Encoding: chunked")),
            };
            let _ = match chunks {
                false => client.try_send(&body),
                true => client.try_send([&chunked(&body)[..], b"0\r\n\r\n"].concat()),
            };
            if status == 204 {
                let (_upstream, request) =
                    origin.answer("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
                assert!(request.body == body);
            }
            assert_eq!(client.message().status(), status);
            assert!(origin.accepted().is_none());
        }
    }
    // Who sends nothing for its time, breaks the framing, or leaves.
    let mut silent = site.send(head("Content-Length: 9") + "abc");
    assert_eq!(silent.message().status(), 408);
    let mut wrong = site.send(head("Transfer-Encoding: chunked") + "3\r\nabc\r\nzz\r\n");
    assert_eq!(wrong.message().status(), 400);
    let mut gone = site.send(head("Content-Length: 9") + "abc");
    gone.finish();
    gone.rest();
    assert!(origin.accepted().is_none());
    all_gone(&site.wharf);

    // A limit of the route comes first.
    let site = Site::plain(
        origin.port(),
        "wharf.buffer.request: on\nwharf.max_body: 10",
    );
    let mut client = site.send(head("Transfer-Encoding: chunked") + "b\r\nhello world\r\n");
    assert_eq!(client.message().status(), 413);
    assert!(origin.accepted().is_none());

    // All of them together.
    let labels = "wharf.host: a.test\nwharf.tls: off\nwharf.buffer.request: on";
    let site = Site::with([app("app", origin.port(), labels)], |builder| {
        builder
            .env("WHARF_BUFFER_MEMORY", "1m")
            .env("WHARF_BUFFER_DISK", "off")
    });
    let waiting: Vec<Peer> = (1..=16)
        .map(|count| {
            let client = site.send(head("Content-Length: 64000") + &"x".repeat(60_000));
            taken(&site, f64::from(count) * 60_000.0);
            client
        })
        .collect();
    let answer = site.send(head("Content-Length: 64000") + "x").message();
    assert_eq!(answer.status(), 503);
    assert!(answer.field("retry-after").is_some());
    drop(waiting);
    eventually("there is room again", LIMIT, || {
        match site.metric("wharf_buffer_memory_bytes") {
            0.0 => Ok(()),
            bytes => Err(format!("{bytes}")),
        }
    });
}
