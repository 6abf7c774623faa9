//! `wharf.inflight` (S55, B31).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::explain::explain;
use crate::support::docker::{App, unique};
use crate::support::eventually;
use crate::support::h2::H2;
use crate::support::nginx::{Both, get as get_from};
use crate::support::origin::{Origin, Served, ok};
use crate::support::peer::{LIMIT, Peer};
use crate::support::site::{Site, app, get};
use crate::support::wharf::Builder;

const EMPTY: &str = "HTTP/1.1 204 No Content\r\n\r\n";
const UPGRADE: &str = "GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Where requests stay until it is opened.
#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
    here: AtomicUsize,
}

impl Gate {
    fn pass(&self) {
        self.here.fetch_add(1, Ordering::SeqCst);
        let mut open = self.open.lock().unwrap();
        while !*open {
            open = self.opened.wait(open).unwrap();
        }
        self.here.fetch_sub(1, Ordering::SeqCst);
    }

    fn set(&self, open: bool) {
        *self.open.lock().unwrap() = open;
        self.opened.notify_all();
    }
}

/// The statuses of requests that are all sent before any that got through is answered, in order.
fn together(gate: &Gate, at: SocketAddr, requests: &[(IpAddr, String)]) -> Vec<u16> {
    gate.set(false);
    let refused = AtomicUsize::new(0);
    let mut statuses: Vec<u16> = std::thread::scope(|scope| {
        let asks: Vec<_> = requests
            .iter()
            .map(|(from, request)| {
                let refused = &refused;
                scope.spawn(move || {
                    let status = Peer::connect_from(*from, at)
                        .send(request)
                        .message()
                        .status();
                    refused.fetch_add(usize::from(status != 200), Ordering::SeqCst);
                    status
                })
            })
            .collect();
        eventually("all are in or refused", LIMIT, || {
            let (here, refused) = (
                gate.here.load(Ordering::SeqCst),
                refused.load(Ordering::SeqCst),
            );
            match here + refused == requests.len() {
                true => Ok(()),
                false => Err(format!("{here} in, {refused} refused")),
            }
        });
        gate.set(true);
        asks.into_iter().map(|ask| ask.join().unwrap()).collect()
    });
    statuses.sort_unstable();
    statuses
}

#[test]
fn s55_nginx_admits_and_refuses_as_many() {
    let gate = Arc::new(Gate::default());
    let served = {
        let gate = gate.clone();
        Served::by(move |_| {
            gate.pass();
            ok("in")
        })
    };
    let server = |host: &str, key: &str, status: u16, count: u32| {
        format!(
            "limit_conn_zone {key} zone={host}:1m;
             server {{ server_name {host}; limit_conn_status {status}; limit_conn {host} {count};
             location / {{ proxy_pass http://@app; }} }}"
        )
    };
    let both = Both::of(
        vec![(
            "app",
            "wharf.host: all.test
             wharf.inflight: 3
             wharf.ip.host: ip.test
             wharf.ip.inflight: 2 key=ip
             wharf.key.host: key.test
             wharf.key.inflight: 1
             wharf.key.inflight.key: header:X-Api-Key
             wharf.both.host: both.test
             wharf.both.inflight: 3, 2 key=ip",
            served,
        )],
        &[
            server("all.test", "$server_name", 503, 3),
            server("ip.test", "$binary_remote_addr", 429, 2),
            server("key.test", "$http_x_api_key", 429, 1),
            // The outcome of two limits depends on who comes first, but not how many get in.
            "limit_conn_zone $server_name zone=all:1m; limit_conn_zone $binary_remote_addr zone=each:1m;
             server { server_name both.test; limit_conn_status 503; limit_conn all 3; limit_conn each 2;
             location / { proxy_pass http://@app; } }"
                .to_owned(),
        ]
        .concat(),
    );
    let client = |last| IpAddr::from(Ipv4Addr::new(127, 0, 0, last));
    let from = |host: &str, clients: &[u8]| -> Vec<(IpAddr, String)> {
        let ask = |last: &u8| (client(*last), get_from(host, "/"));
        clients.iter().map(ask).collect()
    };
    let keyed: Vec<(IpAddr, String)> = ["a", "a", "b", "b", "b"]
        .map(|key| {
            let field = format!("\r\nX-Api-Key: {key}\r\n\r\n");
            (
                client(1),
                get_from("key.test", "/").replace("\r\n\r\n", &field),
            )
        })
        .into();
    for (name, requests, admitted, status) in [
        ("all", from("all.test", &[1, 1, 2, 2, 3]), 3, 503),
        ("ip", from("ip.test", &[1, 1, 1, 1, 2]), 3, 429),
        ("key", keyed, 2, 429),
        // Whether it was the client's limit or everybody's, nginx does not tell.
        ("both", from("both.test", &[1, 1, 2, 2, 3, 3]), 3, 503),
    ] {
        let mut expected = vec![200; admitted];
        expected.resize(requests.len(), status);
        expected.sort_unstable();
        // Twice: the first ones have given their places back.
        for turn in 0..2 {
            let ours = together(&gate, both.site.http(), &requests);
            assert_eq!(ours, expected, "Wharf, {name}, {turn}");
            let theirs = together(&gate, both.nginx.address, &requests);
            assert_eq!(theirs, expected, "nginx, {name}, {turn}");
        }
    }
    let metrics = both.site.wharf.metrics();
    let counted = metrics.lines().find(|line| line.contains("\"in_flight\""));
    assert!(counted.unwrap().ends_with(" 20"), "{counted:?}");
}

/// Waits until so many have had to wait since the start.
fn waited(site: &Site, count: usize) {
    eventually("requests in line", LIMIT, || {
        match site.metric("wharf_requests_places_awaited_total") {
            waited if waited == count as f64 => Ok(()),
            waited => Err(format!("{waited} of {count}")),
        }
    });
}

#[test]
fn b31_who_came_first_is_served_first_and_who_finds_no_place_in_line_is_told() {
    let origin = Origin::new();
    let site = Site::plain(origin.port(), "wharf.inflight: 1 queue=4 wait=30s");
    let mut first = site.send(get("/first"));
    let mut upstream = origin.accept();
    upstream.head();
    let explained = String::from_utf8(explain(&site.wharf, &["http://a.test/"]).stdout).unwrap();
    let told = "would wait up to 30s for a place, and get 503 if none becomes free";
    assert!(explained.contains(told), "{explained}");
    let h2 = H2::connect(site.http());
    let mut clients = Vec::new();
    let mut answers = Vec::new();
    for n in 0..4 {
        if n % 2 == 0 {
            clients.push(site.send(get(&format!("/{n}"))));
        } else {
            let request = http::Request::get(format!("http://a.test/{n}"));
            answers.push(h2.send(request.body(()).unwrap(), true).0);
        }
        waited(&site, n + 1);
    }
    let refused = site.send(get("/")).message();
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.field("retry-after"), Some("1"));
    let told =
        "as many requests as wharf.inflight: 1 queue=4 wait=30s allows; 4 wait for a place already";
    assert!(refused.text().contains(told), "{}", refused.text());
    upstream.send(EMPTY);
    assert_eq!(first.message().status(), 204);
    for n in 0..4 {
        let head = upstream.head();
        assert!(head.starts_with(&format!("GET /{n} ")), "{n}: {head}");
        assert!(origin.accepted().is_none(), "two at once");
        upstream.send(EMPTY);
    }
    for client in &mut clients {
        assert_eq!(client.message().status(), 204);
    }
    for answer in answers {
        assert_eq!(h2.wait(answer).unwrap().status(), 204);
    }
    assert_eq!(site.metric("wharf_errors_total{kind=\"in_flight\"}"), 1.0);
}

#[test]
fn b31_nobody_waits_longer_than_the_label_says() {
    let origin = Origin::new();
    let site = Site::plain(origin.port(), "wharf.inflight: 1 key=ip queue=5 wait=300ms");
    let mut first = site.send(get("/first"));
    let mut upstream = origin.accept();
    upstream.head();
    let began = Instant::now();
    let answer = site.send(get("/")).message();
    assert_eq!(answer.status(), 429, "it is the client's own limit");
    assert!(began.elapsed() >= Duration::from_millis(300));
    let told = "waited 300ms in vain for a place";
    assert!(answer.text().contains(told), "{}", answer.text());
    upstream.send(EMPTY);
    assert_eq!(first.message().status(), 204);
    let mut next = site.send(get("/next"));
    upstream.head();
    upstream.send(EMPTY);
    assert_eq!(next.message().status(), 204);
}

#[test]
fn b31_clients_that_leave_and_answers_that_break_off_give_their_places_back() {
    for key in ["global", "ip", "header:X-Key"] {
        let origin = Origin::new();
        let label = format!("wharf.inflight: 1 key={key} queue=10 wait=30s\nwharf.retry: off");
        let site = Site::plain(origin.port(), &label);
        let first = site.send(get("/first"));
        let mut upstream = origin.accept();
        upstream.head();
        // One that leaves the line, on either protocol, and one that stays.
        let leaves = site.send(get("/leaves"));
        waited(&site, 1);
        let h2 = H2::connect(site.http());
        let request = http::Request::get("http://a.test/reset").body(()).unwrap();
        let (reset, mut stream) = h2.send(request, true);
        waited(&site, 2);
        let mut stays = site.send(get("/stays"));
        waited(&site, 3);
        drop(leaves);
        stream.send_reset(h2::Reason::CANCEL);
        h2.wait(async { tokio::task::yield_now().await });
        assert!(h2.wait(reset).is_err());
        // The one under way leaves.
        drop(first);
        upstream.ended();
        // Wharf may see who has left the line a moment later, and has then let them in, as far as a connection or on.
        let mut upstream = loop {
            let mut upstream = origin.accept();
            if !upstream.speaks() {
                continue;
            }
            let head = upstream.head();
            if head.starts_with("GET /stays ") {
                break upstream;
            }
            assert!(!head.starts_with("GET /half"), "{head}");
            upstream.ended();
        };
        upstream.send(EMPTY);
        assert_eq!(stays.message().status(), 204);
        // A client leaves in the middle of its answer.
        let mut half = site.send(get("/half"));
        upstream.head();
        upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc");
        half.until("abc");
        drop(half);
        upstream.ended();
        // An app that breaks off, and one that closes without an answer.
        let mut cut = site.send(get("/cut"));
        let (upstream, _) = origin.answer("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc");
        cut.until("abc");
        drop(upstream);
        cut.ended();
        let mut closed = site.send(get("/closed"));
        let mut upstream = origin.accept();
        upstream.head();
        drop(upstream);
        assert_eq!(closed.message().status(), 502);
        let mut last = site.send(get("/last"));
        origin.answer(EMPTY);
        assert_eq!(last.message().status(), 204, "{key}");
    }
}

#[test]
fn b31_a_websocket_counts_for_as_long_as_it_is_open() {
    let origin = Origin::new();
    let site = Site::plain(origin.port(), "wharf.inflight: 1 queue=10 wait=30s");
    let mut client = site.send(UPGRADE);
    let (mut upstream, _) = origin.answer(SWITCH);
    client.head();
    let mut waits = site.send(get("/"));
    waited(&site, 1);
    client.send("x");
    upstream.until("x");
    assert!(origin.accepted().is_none());
    client.finish();
    upstream.finish();
    origin.answer(EMPTY);
    assert_eq!(waits.message().status(), 204);
    // One whose client is gone without a word.
    let client = {
        let mut client = site.send(UPGRADE);
        origin.answer(SWITCH);
        client.head();
        client
    };
    let mut waits = site.send(get("/"));
    waited(&site, 2);
    drop(client);
    origin.answer(EMPTY);
    assert_eq!(waits.message().status(), 204);
}

#[test]
fn b31_a_request_that_is_sent_again_counts_once() {
    let origin = Origin::new();
    let label = "wharf.inflight: 1 queue=10 wait=30s";
    let site = Site::plain(origin.port(), label);
    let mut client = site.send(get("/"));
    let mut upstream = origin.accept();
    upstream.head();
    upstream.send(EMPTY);
    assert_eq!(client.message().status(), 204);
    // On a connection that was kept and is gone: it is sent again on a new one.
    drop(upstream);
    let mut client = site.send(get("/again"));
    let (upstream, _) = origin.answer(EMPTY);
    assert_eq!(client.message().status(), 204);
    drop(upstream);
    let mut client = site.send(get("/last"));
    origin.answer(EMPTY);
    assert_eq!(client.message().status(), 204);
}

#[test]
fn b31_over_workers_and_protocols_there_are_never_more() {
    let (open, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let served = {
        let (open, most) = (open.clone(), most.clone());
        Served::by(move |_| {
            most.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(2));
            open.fetch_sub(1, Ordering::SeqCst);
            ok("hi")
        })
    };
    for (key, limit) in [("global", 3), ("ip", 2)] {
        most.store(0, Ordering::SeqCst);
        let labels = format!(
            "wharf.host: a.test\nwharf.tls: off\nwharf.inflight: {limit} key={key} queue=1000 wait=30s"
        );
        let site = Site::with([app("app", served.port(), &labels)], |builder| {
            builder.env("WHARF_WORKERS", "3")
        });
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    let mut client = site.client();
                    for _ in 0..15 {
                        client.send(get("/"));
                        assert_eq!(client.message().text(), "hi");
                    }
                });
            }
            for _ in 0..2 {
                scope.spawn(|| {
                    let client = H2::connect(site.http());
                    for _ in 0..10 {
                        let request = || http::Request::get("http://a.test/").body(()).unwrap();
                        let answers: Vec<_> =
                            (0..10).map(|_| client.send(request(), true).0).collect();
                        for answer in answers {
                            let answer = client.wait(answer).unwrap();
                            assert_eq!(client.whole(answer).unwrap().text(), "hi");
                        }
                    }
                });
            }
        });
        // Reached, as there was more than enough.
        assert_eq!(most.load(Ordering::SeqCst), limit, "{key}");
        assert!(site.metric("wharf_requests_places_awaited_total") > 100.0);
    }
}

#[test]
fn s55_routes_of_a_real_container_share_what_they_inherit() {
    let host = format!("{}.test", unique("inflight"));
    let _app = App::new("inflight")
        .label("wharf.host", &host)
        .label("wharf.https", "both")
        .label("wharf.inflight", "2")
        .label("wharf.sleep.path", "/sleep")
        .label("wharf.open.path", "/open")
        .label("wharf.open.inflight", "off")
        .run();
    let wharf = Builder::new().start();
    wharf.wait_answer(&host, "/open", |answer| answer.status == 200);
    let status = |path: &str| wharf.get(&host, path).unwrap().status;
    let fast = std::thread::scope(|scope| {
        // One of those that look below may have a place at that moment.
        let sleep = || {
            eventually("a place", LIMIT, || match status("/sleep/4000") {
                200 => Ok(()),
                other => Err(other.to_string()),
            })
        };
        let asleep = [scope.spawn(sleep), scope.spawn(sleep)];
        // While two sleep, the default route has no place, and one without a limit has.
        eventually("no place", LIMIT, || match status("/") {
            503 => Ok(()),
            other => Err(other.to_string()),
        });
        let fast = status("/open");
        for one in asleep {
            one.join().unwrap();
        }
        fast
    });
    assert_eq!(fast, 200);
    assert_eq!(status("/"), 200);
}

#[test]
fn s55_a_limit_for_all_routes_is_a_setting() {
    let origin = Origin::new();
    let labels = "wharf.host: a.test\nwharf.tls: off";
    let site = Site::with([app("app", origin.port(), labels)], |builder| {
        builder
            .env("WHARF_DEFAULT_INFLIGHT", "1 key=ip")
            .env("WHARF_DEFAULT_RATELIMIT", "1r/m burst=1 nodelay")
    });
    let mut first = site.send(get("/first"));
    let mut upstream = origin.accept();
    upstream.head();
    let answer = site.send(get("/")).message();
    assert_eq!(answer.status(), 429);
    assert!(
        answer.text().contains("wharf.inflight: 1 key=ip"),
        "{}",
        answer.text()
    );
    upstream.send(EMPTY);
    assert_eq!(first.message().status(), 204);
    let answer = site.send(get("/")).message();
    assert_eq!(answer.status(), 429);
    assert!(
        answer.text().contains("wharf.ratelimit"),
        "{}",
        answer.text()
    );
}
