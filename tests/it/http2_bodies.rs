//! Bodies on HTTP/2: flow control both ways, who waits for whom, and what ends in the middle.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use bytes::Bytes;

use crate::support::eventually;
use crate::support::frames::*;
use crate::support::h2::H2;
use crate::support::origin::{Origin, Served, ok};
use crate::support::peer::{Message, Peer};
use crate::support::site::Site;

const NOTHING: &str = "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";

fn site() -> (Site, Origin) {
    let origin = Origin::new();
    (Site::plain(origin.port(), ""), origin)
}

/// No stretch of it looks like another, nor like one of another seed.
fn body(seed: u32, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let bytes = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    });
    bytes.take(len).collect()
}

/// Answers `/seed/length` with that body, in chunks where the seed is odd, and an upload with itself.
fn served() -> (Site, Served) {
    let served = Served::by(|request: &Message| {
        let path = request.head.split(' ').nth(1).unwrap();
        let Some((seed, len)) = path[1..].split_once('/') else {
            return ok(&request.body);
        };
        let (seed, len) = (seed.parse().unwrap(), len.parse().unwrap());
        if seed % 2 == 0 {
            return ok(body(seed, len));
        }
        let mut wire = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for chunk in body(seed, len).chunks(7_001) {
            wire.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
            wire.extend(chunk);
            wire.extend(b"\r\n");
        }
        wire.extend(b"0\r\n\r\n");
        wire
    });
    (Site::plain(served.port(), ""), served)
}

/// Bytes that a client has sent of bodies, so that it keeps to its windows.
struct Upload {
    /// On the connection.
    sent: u64,
}

impl Upload {
    /// Sends so much of a stream's body as soon as the connection allows it. The stream must.
    fn send(&mut self, client: &mut Client, id: u32, part: &[u8]) {
        for piece in part.chunks(16_384) {
            self.sent += piece.len() as u64;
            client.until(|client| client.allowed + 65_535 >= self.sent);
            client.send(frame(DATA, 0, id, piece));
        }
    }

    /// The same of a stream that has to be waited for, too.
    fn send_all(&mut self, client: &mut Client, id: u32, whole: &[u8]) {
        for (nth, piece) in whole.chunks(16_384).enumerate() {
            let sent = (nth * 16_384 + piece.len()) as u64;
            client.until(|client| {
                let allowed = client.of(id).map_or(0, |stream| stream.allowed);
                allowed + 65_536 >= sent
            });
            self.send(client, id, piece);
        }
    }
}

#[test]
fn many_downloads_at_once_arrive_whole_through_windows_of_any_size() {
    let (site, _served) = served();
    for (window_size, streams, len) in [
        ((1 << 31) - 1, 128, 60_000),
        (65_535, 128, 90_000),
        (1000, 128, 9_000),
        (1, 9, 200),
        (0, 20, 30_000),
    ] {
        println!("window {window_size}");
        let mut client = Client::open(&site, &[(INITIAL_WINDOW_SIZE, window_size)]);
        client.takes = true;
        for seed in 0..streams {
            client.send(get(2 * seed + 1, &format!("/{seed}/{len}")));
            if window_size == 0 {
                client.send(window(2 * seed + 1, 7_000));
            }
        }
        for seed in 0..streams {
            let stream = client.stream(2 * seed + 1);
            assert!(stream.ended && stream.status() == 200);
            assert!(
                stream.body == body(seed, len),
                "{seed}: {}",
                stream.body.len()
            );
        }
    }
}

#[test]
fn a_window_may_shrink_below_nothing_and_grow_while_a_body_is_under_way() {
    let (site, _served) = served();
    for seed in [0, 1] {
        let mut client = Client::open(&site, &[(MAX_FRAME_SIZE, 100_000)]);
        client.send(window(0, 1_000_000));
        client.send(get(1, &format!("/{seed}/100000")));
        let came = |client: &Client| client.of(1).map_or(0, |stream| stream.body.len());
        client.until(|client| came(client) == 65_535);
        // 10 of it are left, and 65535 are used.
        client.send(settings(&[(INITIAL_WINDOW_SIZE, 10)]));
        client.send(window(1, 65_525)).settle();
        assert_eq!(came(&client), 65_535);
        client.send(window(1, 1)).settle();
        client.until(|client| came(client) == 65_536);
        client.send(settings(&[(INITIAL_WINDOW_SIZE, 20)]));
        client.until(|client| came(client) == 65_546);
        client.send(settings(&[(INITIAL_WINDOW_SIZE, 65_535)]));
        assert!(client.stream(1).body == body(seed, 100_000));
        // A new one has the new one.
        client.send(settings(&[(INITIAL_WINDOW_SIZE, 3)]));
        client.send(get(3, "/2/5"));
        client.until(|client| client.of(3).is_some_and(|s| s.body.len() == 3));
        client.send(window(3, 2));
        assert_eq!(client.stream(3).body, body(2, 5));
    }
}

#[test]
fn windows_of_a_stream_that_overflow_with_the_settings_are_the_connections_fault() {
    let (site, _served) = served();
    let mut client = Client::open(&site, &[(INITIAL_WINDOW_SIZE, 0)]);
    client.send(get(1, "/0/10"));
    client.send(window(1, (1 << 31) - 1));
    client.send(get(3, "/0/10"));
    client.send(open(5, "POST", "/", &[], false));
    client.send(window(5, 1));
    client.send(settings(&[(INITIAL_WINDOW_SIZE, (1 << 31) - 1)]));
    assert_eq!(client.fault(), FLOW_CONTROL_ERROR);
}

#[test]
fn padding_counts_for_windows_and_is_given_back() {
    let (site, origin) = site();
    let mut client = Client::open(&site, &[]);
    client.send(open(1, "POST", "/", &[("content-length", "600")], false));
    let mut upstream = origin.accept();
    upstream.head();
    let padded = frame(DATA, PADDED, 1, &[&[255, b'x'][..], &[0; 255]].concat());
    for batch in 1..=3 {
        client.send(padded.repeat(200));
        assert_eq!(upstream.exactly(200), [b'x'; 200]);
        // 51400 bytes of each window, of which half a window may be owed.
        let sent = batch * 51_400;
        client.until(|client| client.of(1).is_some_and(|s| s.allowed + 32_768 > sent));
    }
    client.send(frame(DATA, END_STREAM | PADDED, 1, &[5, 0, 0, 0, 0, 0]));
    upstream.send(NOTHING);
    assert_eq!(client.stream(1).status(), 204);
}

#[test]
fn more_than_a_window_is_the_connections_fault() {
    let (site, origin) = site();
    let mut client = Client::open(&site, &[]);
    client.send(open(1, "POST", "/", &[], false));
    let mut upstream = origin.accept();
    upstream.head();
    // Nobody reads it, so at some time it is not given back.
    let part = frame(DATA, 0, 1, &[0; 16_384]).repeat(64);
    while client.try_send(&part).is_ok() {}
    assert_eq!(client.fault(), FLOW_CONTROL_ERROR);
}

#[test]
fn the_window_of_what_nobody_reads_is_given_back() {
    let (site, _served) = served();
    let mut client = Client::open(&site, &[]);
    let mut upload = Upload { sent: 0 };
    let part = body(1, 60_000);
    let mut next = 1;
    let elsewhere = [(":method", "POST"), (":scheme", "http"), (":path", "/")];
    let elsewhere = literals(&[&elsewhere[..], &[(":authority", "b.test")]].concat());
    for _ in 0..20 {
        for case in 0..4 {
            let id = next;
            next += 2;
            match case {
                // Taken back.
                0 => {
                    client.send(open(id, "POST", "/", &[], false));
                    upload.send(&mut client, id, &part);
                    client.send(reset(id, 8));
                }
                // More than it should be.
                1 => {
                    client.send(open(id, "POST", "/", &[("content-length", "9")], false));
                    upload.send(&mut client, id, &part);
                    assert_eq!(client.stream(id).reset, Some(PROTOCOL_ERROR));
                }
                // For nobody.
                2 => {
                    client.send(frame(HEADERS, END_HEADERS, id, &elsewhere));
                    upload.send(&mut client, id, &part);
                    client.until(|client| client.of(id).is_some_and(|s| s.reset == Some(NO_ERROR)));
                    assert_eq!(client.streams[&id].status(), 404);
                }
                // Malformed.
                _ => {
                    client.send(open(id, "POST", "/", &[("Upper", "x")], false));
                    upload.send(&mut client, id, &part);
                    assert_eq!(client.stream(id).reset, Some(PROTOCOL_ERROR));
                }
            }
        }
    }
    let whole = body(3, 1_500_000);
    client.takes = true;
    client.send(open(next, "POST", "/", &[], false));
    upload.send_all(&mut client, next, &whole);
    client.send(frame(DATA, END_STREAM, next, b""));
    assert!(client.stream(next).body == whole);
}

#[test]
fn trailers_are_passed_on_both_ways() {
    let (site, origin) = site();
    let client = H2::connect(site.http());
    let request = http::Request::post("http://a.test/").body(()).unwrap();
    let (response, mut stream) = client.send(request, false);
    stream.send_data(Bytes::from("body"), false).unwrap();
    let mut trailers = http::HeaderMap::new();
    trailers.insert("x-sum", "1".parse().unwrap());
    stream.send_trailers(trailers).unwrap();
    let mut upstream = origin.accept();
    let request = upstream.message();
    assert_eq!(
        (request.text(), &*request.trailers),
        ("body".into(), "x-sum: 1\r\n\r\n")
    );
    upstream.send(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 2\r\n\r\n",
    );
    let response = client.wait(response).unwrap();
    let whole = client.whole(response).unwrap();
    assert_eq!(whole.text(), "hi");
    assert_eq!(whole.trailers.unwrap()["x-sum"], "2");
}

#[test]
fn responses_without_a_body_end_with_their_head() {
    let (site, origin) = site();
    let mut client = Client::open(&site, &[(INITIAL_WINDOW_SIZE, 0)]);
    let mut id = 1;
    for (method, status, answer) in [
        ("HEAD", 200, "200 OK\r\nContent-Length: 5"),
        ("HEAD", 200, "200 OK\r\nTransfer-Encoding: chunked"),
        ("GET", 204, "204 No Content"),
        ("GET", 304, "304 Not Modified\r\nContent-Length: 5"),
        ("GET", 200, "200 OK\r\nContent-Length: 0"),
    ] {
        println!("{method} {answer}");
        client.send(open(id, method, "/", &[], true));
        origin.answer(&format!("HTTP/1.1 {answer}\r\nConnection: close\r\n\r\n"));
        let stream = client.stream(id);
        assert_eq!(
            (stream.status(), stream.parts, stream.ended),
            (status, 0, true)
        );
        id += 2;
    }
}

#[test]
fn large_heads_of_responses_are_passed_on_whole() {
    let (site, origin) = site();
    let client = H2::connect(site.http());
    let value = |nth: usize| format!("{nth}{}", "v".repeat(900));
    let fields = (0..50).map(|nth| format!("X-{nth}: {}\r\n", value(nth)));
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n{}\r\n",
        fields.collect::<String>()
    );
    for _ in 0..2 {
        let request = http::Request::get("http://a.test/").body(()).unwrap();
        let (response, _) = client.send(request, true);
        let mut upstream = origin.accept();
        upstream.head();
        upstream.send(&head).send("hi");
        let response = client.wait(response).unwrap();
        for nth in 0..50 {
            assert_eq!(response.headers()[&format!("x-{nth}")], *value(nth));
        }
        assert_eq!(client.whole(response).unwrap().text(), "hi");
        drop(upstream);
    }
}

#[test]
fn interim_responses_are_passed_on_and_a_body_is_asked_for_when_it_is_read() {
    let (site, origin) = site();
    let mut client = Client::open(&site, &[]);
    let heads = |client: &Client, id| client.of(id).map_or(0, |s| s.heads.len());
    client.send(get(1, "/"));
    let mut upstream = origin.accept();
    upstream.head();
    upstream.send("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n");
    client.until(|client| heads(client, 1) == 1);
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi");
    assert_eq!(client.stream(1).text(), "hi");
    assert_eq!(status(&client.streams[&1].heads[1]), 200);

    client.send(open(3, "POST", "/", &[("expect", "100-continue")], false));
    let mut upstream = origin.accept();
    assert!(!upstream.head().contains("expect"));
    client.until(|client| heads(client, 3) == 1);
    client.send(frame(DATA, END_STREAM, 3, b"body"));
    upstream.until("4\r\nbody\r\n0\r\n\r\n");
    upstream.send(NOTHING);
    client.stream(3);
    assert_eq!(heads(&client, 3), 2);
    // Nobody wants this one.
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "b.test"),
        ("expect", "100-continue"),
    ];
    client.send(frame(HEADERS, END_HEADERS, 5, &literals(&fields)));
    assert_eq!(client.stream(5).status(), 404);
}

#[test]
fn a_response_may_end_before_its_request_does() {
    let (site, origin) = site();
    let mut client = Client::open(&site, &[]);
    client.send(open(1, "POST", "/", &[], false));
    client.send(frame(DATA, 0, 1, b"part"));
    let mut upstream = origin.accept();
    upstream.until("part");
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno");
    client.until(|client| client.of(1).is_some_and(|s| s.reset.is_some()));
    let stream = client.stream(1);
    assert_eq!(
        (&*stream.text(), stream.ended, stream.reset),
        ("no", true, Some(NO_ERROR))
    );
    // Half a request is no connection to use again.
    upstream.rest();
    client.send(frame(DATA, END_STREAM, 1, b"more"));
    client.send(get(3, "/"));
    origin.answer(NOTHING);
    assert_eq!(client.stream(3).status(), 204);
}

#[test]
fn a_body_that_is_cut_off_never_ends_well() {
    let (site, origin) = site();
    let mut client = Client::open(&site, &[]);
    let mut id = 1;
    for start in [
        "Content-Length: 9\r\n\r\npart",
        "Transfer-Encoding: chunked\r\n\r\n4\r\npart\r\n",
        "Transfer-Encoding: chunked\r\n\r\n9\r\npart",
        "Transfer-Encoding: chunked\r\n\r\n4\r\npart\r\nx\r\n",
    ] {
        for reset in [false, true] {
            println!("{start:?} {reset}");
            client.send(get(id, "/"));
            let mut upstream = origin.accept();
            upstream.head();
            upstream.send(format!("HTTP/1.1 200 OK\r\n{start}"));
            client.until(|client| client.of(id).is_some_and(|s| s.text() == "part"));
            if reset {
                upstream.reset();
            } else {
                drop(upstream);
            }
            let stream = client.stream(id);
            assert_eq!((stream.ended, stream.reset), (false, Some(INTERNAL_ERROR)));
            id += 2;
        }
    }
    client.send(get(id, "/"));
    origin.answer(NOTHING);
    assert_eq!(client.stream(id).status(), 204);
}

/// Sends a head and then without end, from a thread of its own; counts what was taken.
fn pour(mut upstream: Peer, taken: &Arc<AtomicUsize>) -> thread::JoinHandle<()> {
    let taken = Arc::clone(taken);
    thread::spawn(move || {
        upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
        let part = [b'x'; 65_536];
        while upstream.try_send(part).is_ok() {
            taken.fetch_add(part.len(), Ordering::Relaxed);
        }
    })
}

#[test]
fn a_large_download_does_not_hold_up_small_ones() {
    let (site, origin) = site();
    let mut client = Client::open(&site, &[]);
    client.takes = true;
    client.send(window(0, 1_000_000));
    let taken = Arc::default();
    let pouring: Vec<_> = (0..3)
        .map(|nth| {
            client.send(get(2 * nth + 1, "/large"));
            let mut upstream = origin.accept();
            upstream.head();
            pour(upstream, &taken)
        })
        .collect();
    let came = |client: &Client| client.streams.values().map(|s| s.body.len()).sum::<usize>();
    for id in (7..47).step_by(2) {
        client.until(|client| came(client) > 1_000_000);
        for stream in client.streams.values_mut() {
            stream.body.clear();
        }
        client.send(get(id, "/small"));
        let (_, _) =
            origin.answer("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi");
        assert_eq!(client.stream(id).text(), "hi");
        // What was on its way, and not much more.
        assert!(came(&client) < 1_000_000, "{} of large ones", came(&client));
    }
    drop(client);
    for pouring in pouring {
        pouring.join().unwrap();
    }
}

#[test]
fn streams_whose_client_takes_nothing_hold_up_no_other() {
    let (site, _served) = served();
    let mut client = Client::open(&site, &[(INITIAL_WINDOW_SIZE, 0)]);
    client.send(window(0, 1_000_000));
    for nth in 0..100 {
        client.send(get(2 * nth + 1, &format!("/{nth}/50000")));
    }
    client.until(|client| (0..100).all(|nth| client.streams.contains_key(&(2 * nth + 1))));
    client.send(get(301, "/8/50000"));
    client.send(window(301, 50_000));
    assert!(client.stream(301).body == body(8, 50_000));
    assert!((0..100).all(|nth| client.streams[&(2 * nth + 1)].body.is_empty()));
    // In the end they, too.
    for nth in [98, 4, 50] {
        client.send(window(2 * nth + 1, 50_000));
        assert!(client.stream(2 * nth + 1).body == body(nth, 50_000));
    }
}

#[test]
fn a_client_that_reads_nothing_holds_back_the_upstreams() {
    let (site, origin) = site();
    let mut client = Client::open(&site, &[(INITIAL_WINDOW_SIZE, (1 << 31) - 1)]);
    client.send(window(0, (1 << 30) - 1)).settle();
    let rss = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", site.wharf.pid()));
        let status = status.unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.unwrap()
            .trim()
            .trim_end_matches(" kB")
            .parse::<usize>()
            .unwrap()
            * 1024
    };
    let before = rss();
    let taken = Arc::default();
    client.send(
        (0..40)
            .flat_map(|nth| get(2 * nth + 1, "/"))
            .collect::<Vec<_>>(),
    );
    let upstreams: Vec<_> = (0..40)
        .map(|_| {
            let mut upstream = origin.accept();
            upstream.head();
            upstream
        })
        .collect();
    let pouring = upstreams.into_iter().map(|upstream| pour(upstream, &taken));
    let pouring: Vec<_> = pouring.collect();
    let mut last = 0;
    eventually("an end of what is taken", Duration::from_secs(15), || {
        thread::sleep(Duration::from_millis(200));
        let now = taken.load(Ordering::Relaxed);
        if std::mem::replace(&mut last, now) == now && now > 0 {
            Ok(())
        } else {
            Err(format!("{now}"))
        }
    });
    let more = rss().saturating_sub(before);
    assert!(more < 16 * 1024 * 1024, "{more} bytes for {last}");
    drop(client);
    for pouring in pouring {
        pouring.join().unwrap();
    }
}

#[test]
fn uploads_at_once_arrive_whole_at_upstreams_that_take_their_time() {
    let (site, origin) = site();
    let client = H2::connect(site.http());
    let whole: Vec<_> = (0..4)
        .map(|seed| Bytes::from(body(seed, 3_000_000)))
        .collect();
    let uploads: Vec<_> = (whole.iter().enumerate())
        .map(|(seed, body)| {
            let request = http::Request::put(format!("http://a.test/{seed}"));
            let request = request.header("content-length", body.len());
            let (response, mut stream) = client.send(request.body(()).unwrap(), false);
            stream.send_data(body.clone(), true).unwrap();
            response
        })
        .collect();
    let taking: Vec<_> = (0..4)
        .map(|_| {
            let mut upstream = origin.accept();
            let whole = whole.clone();
            thread::spawn(move || {
                let head = upstream.head();
                let seed: usize = head[5..6].parse().unwrap();
                for part in whole[seed].chunks(100_000) {
                    thread::sleep(Duration::from_millis(5));
                    assert!(upstream.exactly(part.len()) == part);
                }
                upstream.send(NOTHING);
            })
        })
        .collect();
    for upload in uploads {
        assert_eq!(client.wait(upload).unwrap().status(), 204);
    }
    for taking in taking {
        taking.join().unwrap();
    }
}

#[test]
fn a_client_that_leaves_takes_all_it_had_with_it() {
    let (site, origin) = site();
    for reset in [false, true] {
        let mut client = Client::open(&site, &[(INITIAL_WINDOW_SIZE, 1000)]);
        let mut upstreams = Vec::new();
        for nth in 0..40 {
            let id = 2 * nth + 1;
            client.send(match nth % 2 {
                0 => get(id, "/"),
                _ => [
                    open(id, "POST", "/", &[], false),
                    frame(DATA, 0, id, b"half"),
                ]
                .concat(),
            });
            let mut upstream = origin.accept();
            upstream.head();
            if nth % 3 > 0 {
                upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n");
                upstream.send([b'x'; 5000]);
            }
            upstreams.push(upstream);
        }
        assert!(site.metric("wharf_requests_open") >= 40.0);
        client.leave(reset);
        for upstream in &mut upstreams {
            let (rest, _) = upstream.rest();
            assert!(!rest.contains("0\r\n\r\n"), "{rest}");
        }
        eventually("no open request", Duration::from_secs(5), || {
            match site.metric("wharf_requests_open") {
                0.0 => Ok(()),
                open => Err(open.to_string()),
            }
        });
    }
}

#[test]
fn other_peoples_clients_are_served() {
    let (site, _served) = served();
    let address = site.http().to_string();
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout
    };
    let file = tempfile::NamedTempFile::new().unwrap();
    let whole = body(9, 2_000_000);
    std::fs::write(file.path(), &whole).unwrap();
    let upload = format!("@{}", file.path().display());
    let to = [
        "-sS",
        "--http2-prior-knowledge",
        "--max-time",
        "20",
        "--connect-to",
    ];
    let at = format!("::{address}");
    let echo = run(
        "curl",
        &[&to[..], &[&at, "--data-binary", &upload, "http://a.test/"]].concat(),
    );
    assert!(echo == whole, "{} bytes", echo.len());
    let download = run(
        "curl",
        &[&to[..], &[&at, "http://a.test/9/2000000"]].concat(),
    );
    assert!(download == whole, "{} bytes", download.len());
    let url = format!("http://{address}/1/300000");
    let authority = ["-H", ":authority: a.test"];
    for padding in ["0", "100"] {
        let arguments = [
            &authority[..],
            &["-b", padding, "-w", "15", "-W", "16", &url],
        ]
        .concat();
        assert!(run("nghttp", &arguments) == body(1, 300_000));
    }
    let load = ["-n", "300", "-c", "2", "-m", "128", "-w", "14", "-W", "15"];
    let text = run("h2load", &[&load[..], &authority, &[&url]].concat());
    let text = String::from_utf8_lossy(&text);
    assert!(
        text.contains("300 succeeded, 0 failed, 0 errored"),
        "{text}"
    );
    assert!(text.contains("(90000000) data"), "{text}");
}

#[test]
fn uploads_that_do_not_move_leave_the_others_what_they_do_not_hold() {
    let origin = Origin::narrow();
    let site = Site::plain(origin.port(), "");
    let mut client = Client::open(&site, &[]);
    let mut upload = Upload { sent: 0 };
    let mut resting = Vec::new();
    // Each holds its own window of 64 KiB, so all of them more than half of the connection's.
    for id in (1..21).step_by(2) {
        client.send(open(id, "POST", "/", &[], false));
        resting.push(origin.accept());
        let (mut sent, mut quiet) = (0, 0);
        // Until what its sockets hold is full, too.
        while quiet < 8 {
            let allowed = 65_536 + client.of(id).map_or(0, |stream| stream.allowed);
            upload.send(&mut client, id, &vec![0; (allowed - sent) as usize]);
            quiet = if allowed == sent { quiet + 1 } else { 0 };
            sent = allowed;
            thread::sleep(Duration::from_millis(quiet));
            client.settle();
        }
    }
    let whole = body(1, 2_000_000);
    let expected = whole.clone();
    client.send(open(
        23,
        "POST",
        "/",
        &[("content-length", "2000000")],
        false,
    ));
    let mut upstream = origin.accept();
    let taking = thread::spawn(move || {
        upstream.head();
        assert!(upstream.exactly(expected.len()) == expected);
        upstream.send(NOTHING);
    });
    upload.send_all(&mut client, 23, &whole);
    client.send(frame(DATA, END_STREAM, 23, b""));
    assert_eq!(client.stream(23).status(), 204);
    taking.join().unwrap();
}

#[test]
fn heads_do_not_wait_for_a_window() {
    let served = Served::by(|request| match request.head.as_bytes()[5] {
        b'w' => ok([b'x'; 65_535]),
        _ => {
            let fields = "X-Large: ".to_owned() + &"x".repeat(50_000);
            format!("HTTP/1.1 204 No Content\r\n{fields}\r\n\r\n").into()
        }
    });
    let site = Site::plain(served.port(), "");
    let mut client = Client::open(&site, &[]);
    client.send(get(1, "/window"));
    assert_eq!(client.stream(1).body.len(), 65_535);
    // More than sockets hold, before any of it is read.
    let ids = (3..250).step_by(2);
    client.send(
        ids.clone()
            .flat_map(|id| get(id, "/head"))
            .collect::<Vec<_>>(),
    );
    thread::sleep(Duration::from_secs(1));
    for id in ids {
        assert_eq!(client.stream(id).status(), 204);
    }
}

#[test]
fn the_end_of_a_body_needs_no_window() {
    let (site, origin) = site();
    const START: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    for connection in [false, true] {
        for (start, end, heads) in [
            (START, "0\r\n\r\n", 1),
            (START, "0\r\nX-Sum: 1\r\n\r\n", 2),
            ("HTTP/1.1 200 OK\r\n\r\nhello", "", 1),
        ] {
            for at_once in [true, false] {
                println!("connection {connection}, {end:?}, at once {at_once}");
                let mut client = Client::open(&site, &[]);
                if connection {
                    client.send(get(1, "/"));
                    let mut upstream = origin.accept();
                    upstream.head();
                    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 65530\r\n\r\n");
                    upstream.send([b'x'; 65_530]);
                    client.stream(1);
                } else {
                    client.send(settings(&[(INITIAL_WINDOW_SIZE, 5)]));
                }
                client.send(get(3, "/"));
                let mut upstream = origin.accept();
                upstream.head();
                if at_once {
                    upstream.send([start, end].concat());
                } else {
                    upstream.send(start);
                    client.until(|client| client.of(3).is_some_and(|s| s.body.len() == 5));
                    client.settle();
                    upstream.send(end);
                }
                drop(upstream);
                let stream = client.stream(3);
                assert_eq!((&*stream.text(), stream.ended), ("hello", true));
                assert_eq!(stream.heads.len(), heads);
            }
        }
    }
}

#[test]
fn an_upload_goes_on_while_nothing_of_its_response_is_taken() {
    let (site, origin) = site();
    for framing in ["Content-Length: 300000", "Transfer-Encoding: chunked"] {
        let mut client = Client::open(&site, &[]);
        let mut upload = Upload { sent: 0 };
        let whole = body(1, 1_000_000);
        client.send(open(
            1,
            "POST",
            "/",
            &[("content-length", "1000000")],
            false,
        ));
        let mut upstream = origin.accept();
        upstream.head();
        let chunks = framing.contains("chunked");
        upstream.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n"));
        upstream.send(if chunks { "493e0\r\n" } else { "" });
        upstream.send([b'x'; 300_000]);
        upstream.send(if chunks { "\r\n0\r\n\r\n" } else { "" });
        client.until(|client| client.of(1).is_some_and(|s| s.body.len() == 65_535));
        let expected = whole.clone();
        let taking = thread::spawn(move || {
            assert!(upstream.exactly(expected.len()) == expected);
        });
        upload.send_all(&mut client, 1, &whole);
        client.send(frame(DATA, END_STREAM, 1, b""));
        taking.join().unwrap();
        client.send([window(0, 300_000), window(1, 300_000)].concat());
        assert_eq!(client.stream(1).body.len(), 300_000);
    }
}
