//! Clients that take their time (S60, D11): with a head, with a body, with an answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::eventually;
use crate::support::frames;
use crate::support::h2::H2;
use crate::support::nginx::{Nginx, get as get_from};
use crate::support::origin::{Origin, Served, ok};
use crate::support::peer::{LIMIT, Peer, tls_config};
use crate::support::site::{Site, app, get};

const LABELS: &str = "wharf.host: a.test\nwharf.https: both\nwharf.tls: internal";

fn http2_config(site: &Site) -> Arc<rustls::ClientConfig> {
    let mut config = tls_config(site.wharf.data());
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

#[test]
fn s60_a_head_has_so_long_in_all_however_it_trickles() {
    let running = Served::text("hi");
    let labels = "wharf.host: a.test\nwharf.tls: off";
    let site = Site::with([app("app", running.port(), labels)], |wharf| {
        wharf.env("WHARF_HEADER_TIMEOUT", "2s")
    });
    let nginx = Nginx::start(&format!(
        "server {{ client_header_timeout 2s; location / {{ proxy_pass http://127.0.0.1:{}; }} }}",
        running.port()
    ));
    for (name, at) in [("Wharf", site.http()), ("nginx", nginx.address)] {
        let mut slow = Peer::connect(at);
        slow.send("GET / HTTP/1.1\r\nHost: a.test\r\n");
        let began = Instant::now();
        // Never silent for long: what ends it is the time in all.
        while slow.try_send("x: y\r\n").is_ok() && began.elapsed() < LIMIT {
            std::thread::sleep(Duration::from_millis(50));
        }
        let took = began.elapsed();
        assert!(
            took >= Duration::from_millis(1900) && took < LIMIT,
            "{name}: {took:?}"
        );
        // One that asks in time, and takes its time between requests.
        let mut other = Peer::connect(at);
        for _ in 0..2 {
            assert_eq!(other.send(get_from("a.test", "/")).message().status(), 200);
            std::thread::sleep(Duration::from_millis(2500));
        }
        assert_eq!(
            other.send(get_from("a.test", "/")).message().status(),
            200,
            "{name}"
        );
    }
}

/// On HTTP/2 the same time for a header block, also beside a stream that is alive. In vain it goes on with the block, a byte
/// at a time, in frames or in the middle of one.
#[test]
fn s60_a_header_block_of_http2_has_as_long_whatever_else_goes_on() {
    let origin = Origin::new();
    let labels = "wharf.host: a.test\nwharf.tls: off";
    let site = Site::with([app("app", origin.port(), labels)], |wharf| {
        wharf.env("WHARF_HEADER_TIMEOUT", "2s")
    });
    let block = frames::block("GET", "/late", &[("x-long", &"x".repeat(100))]);
    let (first, rest) = block.split_at(10);
    let more = |bytes: &[u8], flags| frames::frame(frames::CONTINUATION, flags, 3, bytes);
    let whole = frames::frame(frames::HEADERS, 5, 3, &block);
    let begun = frames::frame(frames::HEADERS, frames::END_STREAM, 3, first);
    let trickle: Vec<_> = rest.iter().map(|byte| more(&[*byte], 0)).collect();
    let split: Vec<_> = whole[20..].iter().map(|byte| vec![*byte]).collect();
    let in_time = vec![Vec::new(), more(rest, frames::END_HEADERS)];
    let cases = [
        ("silent", &begun[..], vec![], false),
        ("trickle", &begun, trickle, false),
        ("no whole frame", &whole[..20], split, false),
        ("in time", &begun, in_time, true),
    ];
    for (name, begin, parts, goes_on) in cases {
        println!("{name}");
        let mut client = frames::Client::open(&site, &[]);
        client.send(frames::get(1, "/alive"));
        let mut alive = origin.accept();
        alive.head();
        alive.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        let mut parts = parts.into_iter();
        let mut pieces = 0;
        client.send(begin);
        let began = Instant::now();
        let most = if goes_on {
            Duration::from_secs(4)
        } else {
            LIMIT
        };
        while began.elapsed() < most {
            // An answer that comes and comes.
            let _ = alive.try_send("1\r\nx\r\n");
            pieces += 1;
            if !client.comes(|client| client.of(1).is_some_and(|of| of.body.len() >= pieces)) {
                break;
            }
            // The time is what this is about.
            std::thread::sleep(Duration::from_millis(200));
            if let Some(part) = parts.next() {
                let _ = client.try_send(part);
            }
        }
        let took = began.elapsed();
        if goes_on {
            let mut late = origin.accept();
            assert!(late.head().starts_with("GET /late "));
            late.send(ok("hi"));
            assert_eq!(client.stream(3).text(), "hi");
            alive.send("0\r\n\r\n");
            assert_eq!(client.stream(1).body.len(), pieces);
            client.settle();
        } else {
            assert_eq!(client.fault(), frames::ENHANCE_YOUR_CALM);
            assert!(took >= Duration::from_millis(1900), "{took:?}");
            assert!(pieces > 5, "{pieces} pieces beside it");
            assert!(origin.accepted().is_none());
        }
    }
}

/// Over TLS as without: what its library has accepted is not yet with the client.
#[test]
fn s60_a_client_that_takes_nothing_for_a_minute_is_cut_and_one_that_takes_a_little_is_not() {
    const WHOLE: usize = 20_000_000;
    const PART: usize = 400_000;
    let running = Served::by(|_| ok(vec![b'x'; WHOLE]));
    let site = Site::start([app("app", running.port(), LABELS)]);
    let http2 = http2_config(&site);
    let open = |name| {
        let mut peer = match name {
            "plain" => site.client(),
            "tls" => site.tls("a.test").unwrap(),
            _ => Peer::connect_with(site.wharf.https, "a.test", http2.clone()).unwrap(),
        };
        socket2::SockRef::from(peer.tcp())
            .set_recv_buffer_size(64 * 1024)
            .unwrap();
        if name == "http2" {
            let most = 1 << 30;
            peer.send(&frames::PREFACE[..24]);
            peer.send(frames::settings(&[(frames::INITIAL_WINDOW_SIZE, most)]));
            peer.send([frames::window(0, most), frames::get(1, "/")].concat());
        } else {
            peer.send(get("/"));
        }
        peer
    };
    let names = ["plain", "tls", "http2"];
    let (still, mut slow) = (names.map(open), names.map(open));
    let open = || site.metric("wharf_connections_open");
    assert_eq!(open(), 6.0);
    let mut turn = 0;
    each_second(75, || {
        turn += 1;
        if turn % 10 == 0 {
            assert!(slow.iter_mut().all(|peer| peer.some(PART) == PART));
        }
        true
    });
    eventually("those that take nothing are gone", LIMIT, || match open() {
        3.0 => Ok(()),
        count => Err(count.to_string()),
    });
    drop(still);
    for peer in &mut slow {
        // Far more than sockets hold: it goes on.
        peer.exactly(WHOLE - 8 * PART);
    }
}

/// Does something each second, for as long as it says and `most` seconds; how long that was.
fn each_second(most: u32, mut act: impl FnMut() -> bool) -> u32 {
    let began = Instant::now();
    let mut turn = 0;
    while turn < most && act() {
        turn += 1;
        // The time is what this is about.
        std::thread::sleep((Duration::from_secs(1) * turn).saturating_sub(began.elapsed()));
    }
    turn
}

/// Slow ones have all the time they need as long as they are as fast as the route asks: here scaled down from
/// 5 GB at 200 kB/s. The windows in which that is judged are 30 s, so this takes 50.
#[test]
fn s60_d11_who_is_slower_than_the_route_asks_is_cut_and_who_is_not_takes_its_time() {
    const WHOLE: usize = 1_000_000;
    let running = Served::by(|request| match request.body.is_empty() {
        true => ok(vec![b'x'; WHOLE]),
        false => ok(request.body.len().to_string()),
    });
    let labels = format!("{LABELS}\nwharf.timeout: min_rate=5k/s");
    let site = Site::start([app("app", running.port(), &labels)]);
    let post = |length: usize| {
        format!("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {length}\r\n\r\n")
    };
    let upload = |bytes: usize| {
        let mut client = site.send(post(WHOLE));
        let mut left = WHOLE;
        let seconds = each_second(60, || {
            let part = left.min(bytes);
            left -= part;
            client.try_send(vec![b'x'; part]).is_ok() && left > 0
        });
        let answer = client.message();
        (seconds, answer.status(), answer.text())
    };
    let download = |bytes: usize, tls: bool| {
        let mut client = match tls {
            true => site.tls("a.test").unwrap(),
            false => site.client(),
        };
        socket2::SockRef::from(client.tcp())
            .set_recv_buffer_size(4096)
            .unwrap();
        client.send(get("/"));
        client.head();
        let mut taken = 0;
        each_second(60, || {
            let more = client.some(bytes);
            taken += more;
            more > 0 && taken < WHOLE
        });
        taken
    };
    let http2 = http2_config(&site);
    let stream = |bytes: u32, tls: bool| {
        let https = || Peer::connect_with(site.wharf.https, "a.test", http2.clone()).unwrap();
        let peer = if tls { https() } else { site.client() };
        let settings = [(frames::INITIAL_WINDOW_SIZE, bytes)];
        let mut client = frames::Client::over(peer, &settings);
        client.send(frames::get(1, "/"));
        let seconds = each_second(60, || {
            let more = [frames::window(0, bytes), frames::window(1, bytes)].concat();
            client.send(more).settle();
            let over = |stream: &frames::Stream| stream.reset.is_some() || stream.ended;
            !client.of(1).is_some_and(over)
        });
        let stream = client.of(1).unwrap();
        (seconds, stream.reset, stream.body.len())
    };
    let trickle = |bytes: usize| {
        let client = H2::connect(site.http());
        let request = http::Request::post("http://a.test/").body(()).unwrap();
        let (answer, mut body) = client.send(request, false);
        each_second(40, || {
            let part = vec![b'x'; bytes].into();
            client.wait(async { body.send_data(part, false) }).is_ok()
        });
        client.wait(answer).unwrap().status()
    };
    std::thread::scope(|scope| {
        let of = |bytes: usize| {
            (
                scope.spawn(move || upload(bytes)),
                [false, true].map(|tls| scope.spawn(move || download(bytes, tls))),
                [false, true].map(|tls| scope.spawn(move || stream(bytes as u32, tls))),
            )
        };
        let (fast, slow) = (of(20_000), of(500));
        let trickle = scope.spawn(|| trickle(100));
        let under_way = || site.metric("wharf_requests_open");
        eventually("all are under way", LIMIT, || match under_way() {
            11.0 => Ok(()),
            count => Err(count.to_string()),
        });
        // What sockets hold of an answer is still to be read then.
        eventually("the slow ones are cut", 2 * LIMIT, || match under_way() {
            5.0 => Ok(()),
            count => Err(count.to_string()),
        });
        let (seconds, status, told) = slow.0.join().unwrap();
        assert_eq!(status, 408, "{told}");
        assert!((29..60).contains(&seconds), "{seconds}");
        assert!(told.contains("wharf.timeout.min_rate"), "{told}");
        for taken in slow.1 {
            let taken = taken.join().unwrap();
            assert!(taken < WHOLE / 2, "{taken}");
        }
        for stream in slow.2 {
            let (seconds, reset, _) = stream.join().unwrap();
            assert_eq!(reset, Some(frames::CANCEL));
            assert!((29..60).contains(&seconds), "{seconds}");
        }
        assert_eq!(trickle.join().unwrap(), 408);
        let (seconds, status, told) = fast.0.join().unwrap();
        assert_eq!((status, told), (200, WHOLE.to_string()));
        assert!(seconds >= 45, "{seconds}");
        for taken in fast.1 {
            assert_eq!(taken.join().unwrap(), WHOLE);
        }
        for stream in fast.2 {
            let (_, reset, taken) = stream.join().unwrap();
            assert_eq!((reset, taken), (None, WHOLE));
        }
    });
    assert_eq!(
        site.metric("wharf_errors_total{kind=\"client_timeout\"}"),
        2.0
    );
}

/// The same while Wharf takes a body in for an app that is asked only then (`wharf.buffer.request`).
#[test]
fn s60_s29_who_is_too_slow_with_a_body_that_is_taken_in_never_gets_to_the_app() {
    const WHOLE: usize = 400_000;
    let running = Served::by(|request| ok(request.body.len().to_string()));
    let labels = "wharf.buffer.request: on\nwharf.timeout: min_rate=5k/s body=20s";
    let site = Site::plain(running.port(), labels);
    let upload = |bytes: usize| {
        let mut client = site.send(format!(
            "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {WHOLE}\r\n\r\n"
        ));
        let mut left = WHOLE;
        let seconds = each_second(60, || {
            let part = left.min(bytes);
            left -= part;
            client.try_send(vec![b'x'; part]).is_ok() && left > 0
        });
        let answer = client.message();
        (seconds, answer.status(), answer.text())
    };
    let stream = |bytes: usize| {
        let client = H2::connect(site.http());
        let request = http::Request::post("http://a.test/").body(()).unwrap();
        let (answer, mut body) = client.send(request, false);
        let mut left = WHOLE;
        let seconds = each_second(60, || {
            let part = left.min(bytes);
            left -= part;
            let last = left == 0;
            let sent = client.wait(async { body.send_data(vec![b'x'; part].into(), last) });
            sent.is_ok() && !last
        });
        let answer = client.wait(answer).unwrap();
        let answer = client.whole(answer).unwrap();
        (seconds, answer.status, answer.text())
    };
    std::thread::scope(|scope| {
        let of = |bytes| {
            [
                scope.spawn(move || upload(bytes)),
                scope.spawn(move || stream(bytes)),
            ]
        };
        let (fast, slow) = (of(10_000), of(500));
        for slow in slow {
            let (seconds, status, told) = slow.join().unwrap();
            assert_eq!(status, 408, "{told}");
            assert!(told.contains("wharf.timeout.min_rate"), "{told}");
            assert!((29..60).contains(&seconds), "{seconds}");
        }
        for fast in fast {
            let (seconds, status, told) = fast.join().unwrap();
            assert_eq!((status, told), (200, WHOLE.to_string()));
            assert!(seconds >= 35, "{seconds}");
        }
    });
    // The two that were fast enough, at most.
    assert!(running.connections() <= 2);
}
