//! How many requests a replica has at once, and who waits for a place: `wharf.max_conns`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::explain::explain;
use crate::support::docker::{App, unique};
use crate::support::eventually;
use crate::support::h2::H2;
use crate::support::origin::{Origin, Served, ok, refused_port};
use crate::support::peer::{LIMIT, Peer};
use crate::support::site::{Site, app, get};
use crate::support::wharf::Builder;

const LABELS: &str = "wharf.host: a.test\nwharf.tls: off\nwharf.pool: p";
const EMPTY: &str = "HTTP/1.1 204 No Content\r\n\r\n";

/// Waits until so many are in line.
fn queued(site: &Site, count: u64) {
    eventually("requests in line", LIMIT, || {
        let status = site.wharf.status_json();
        match status["upstreams"][0]["queued"].as_u64() {
            Some(queued) if queued == count => Ok(()),
            queued => Err(format!("{queued:?} of {count}")),
        }
    });
}

/// Waits until replica 0 has so many requests.
fn under_way(site: &Site, count: u64) {
    eventually("requests under way", LIMIT, || {
        let status = site.wharf.status_json();
        match status["upstreams"][0]["endpoints"][0]["under_way"].as_u64() {
            Some(under_way) if under_way == count => Ok(()),
            under_way => Err(format!("{under_way:?} of {count}")),
        }
    });
}

#[test]
fn no_replica_has_more_than_it_may_over_workers_and_protocols() {
    let open = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
    let most = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
    let limits = [3, 2];
    let served = [0, 1].map(|index| {
        let (open, most) = (open[index].clone(), most[index].clone());
        Served::by(move |_| {
            most.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(5));
            open.fetch_sub(1, Ordering::SeqCst);
            ok("hi")
        })
    });
    let containers = [0, 1].map(|index| {
        let limit = limits[index];
        let labels = format!("{LABELS}\nwharf.max_conns: {limit} queue=1000 wait=30s");
        app(&format!("app{index}"), served[index].port(), &labels)
    });
    let site = Site::with(containers, |builder| builder.env("WHARF_WORKERS", "3"));
    std::thread::scope(|scope| {
        for _ in 0..20 {
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
                    let answers: Vec<_> = (0..15).map(|_| client.send(request(), true).0).collect();
                    for answer in answers {
                        let answer = client.wait(answer).unwrap();
                        assert_eq!(client.whole(answer).unwrap().text(), "hi");
                    }
                }
            });
        }
    });
    for index in [0, 1] {
        // Reached, as there was more than enough.
        assert_eq!(most[index].load(Ordering::SeqCst), limits[index], "{index}");
    }
    assert!(site.metric("wharf_requests_queued_total") > 100.0);
    queued(&site, 0);
    under_way(&site, 0);
}

#[test]
fn who_finds_no_place_in_line_or_waits_too_long_is_told() {
    let origin = Origin::new();
    let site = Site::plain(origin.port(), "wharf.max_conns: 1 queue=1 wait=2s");
    let mut first = site.send(get("/"));
    let mut upstream = origin.accept();
    upstream.head();
    let explained = || String::from_utf8(explain(&site.wharf, &["http://a.test/"]).stdout).unwrap();
    let told = "would wait up to 2s for a place, and get 503 if none becomes free";
    assert!(explained().contains(told), "{}", explained());
    let mut second = site.send(get("/"));
    let began = Instant::now();
    queued(&site, 1);
    let answer = site.send(get("/")).message();
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.field("retry-after"), Some("1"));
    let told = "has as many requests as wharf.max_conns allows; 1 wait for a place already";
    assert!(answer.text().contains(told), "{}", answer.text());
    let explained = explained();
    let told = "would get 503 because every container of upstream app";
    assert!(explained.contains(told), "{explained}");
    assert!(explained.contains("full, 1 of 1 at once"), "{explained}");
    let status = site.wharf.status_text();
    assert!(status.contains("full, 1 of 1 at once, 1 wait"), "{status}");
    let answer = second.message();
    assert_eq!(answer.status(), 503);
    assert!(
        answer.text().contains("waited 2s in vain for a place"),
        "{}",
        answer.text()
    );
    assert!(began.elapsed() >= Duration::from_secs(2));
    upstream.send(EMPTY);
    assert_eq!(first.message().status(), 204);
    assert_eq!(site.metric("wharf_errors_total{kind=\"full\"}"), 2.0);
    under_way(&site, 0);

    // Nobody may wait.
    let origin = Origin::new();
    let site = Site::plain(origin.port(), "wharf.max_conns: 1 queue=off");
    let _first = site.send(get("/"));
    let _upstream = origin.accept();
    let answer = site.send(get("/")).message();
    assert!(answer.text().contains("none may wait"), "{}", answer.text());
    assert_eq!(answer.status(), 503);
}

#[test]
fn who_came_first_is_served_first() {
    let origin = Origin::new();
    let site = Site::plain(origin.port(), "wharf.max_conns: 1 queue=10 wait=30s");
    let mut first = site.send(get("/first"));
    let mut upstream = origin.accept();
    upstream.head();
    let h2 = H2::connect(site.http());
    let mut clients = Vec::new();
    let mut answers = Vec::new();
    for n in 0..6_u64 {
        if n % 2 == 0 {
            clients.push(site.send(get(&format!("/{n}"))));
        } else {
            let request = http::Request::get(format!("http://a.test/{n}"))
                .body(())
                .unwrap();
            answers.push(h2.send(request, true).0);
        }
        queued(&site, n + 1);
    }
    upstream.send(EMPTY);
    assert_eq!(first.message().status(), 204);
    for n in 0..6 {
        let head = upstream.head();
        assert!(head.starts_with(&format!("GET /{n} ")), "{n}: {head}");
        upstream.send(EMPTY);
    }
    for client in &mut clients {
        assert_eq!(client.message().status(), 204);
    }
    for answer in answers {
        assert_eq!(h2.wait(answer).unwrap().status(), 204);
    }
    queued(&site, 0);
}

#[test]
fn clients_that_leave_give_their_places_back_in_line_and_under_way() {
    let origin = Origin::new();
    let site = Site::plain(origin.port(), "wharf.max_conns: 1 queue=10 wait=30s");
    let first = site.send(get("/first"));
    let mut upstream = origin.accept();
    upstream.head();
    let leaves = site.send(get("/leaves"));
    queued(&site, 1);
    let h2 = H2::connect(site.http());
    let request = http::Request::get("http://a.test/reset").body(()).unwrap();
    let (reset, mut stream) = h2.send(request, true);
    queued(&site, 2);
    let mut stays = site.send(get("/stays"));
    queued(&site, 3);
    drop(leaves);
    stream.send_reset(h2::Reason::CANCEL);
    h2.wait(async { tokio::task::yield_now().await });
    assert!(h2.wait(reset).is_err());
    queued(&site, 1);
    // The one under way leaves, too.
    drop(first);
    upstream.ended();
    let (mut upstream, request) = origin.answer(EMPTY);
    assert!(request.head.starts_with("GET /stays "), "{}", request.head);
    assert_eq!(stays.message().status(), 204);
    // In the middle of an answer.
    let mut client = site.send(get("/half"));
    upstream.head();
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc");
    client.until("abc");
    under_way(&site, 1);
    drop(client);
    under_way(&site, 0);
    assert_eq!(site.metric("wharf_errors_total{kind=\"full\"}"), 0.0);
}

#[test]
fn a_websocket_has_its_place_until_it_ends() {
    let origin = Origin::new();
    let site = Site::plain(origin.port(), "wharf.max_conns: 1 queue=10 wait=30s");
    let mut client = site.send(
        "GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    let (mut upstream, _) = origin.answer(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
    );
    client.head();
    let mut waits = site.send(get("/"));
    queued(&site, 1);
    client.send("x");
    upstream.until("x");
    assert!(origin.accepted().is_none());
    client.finish();
    upstream.finish();
    origin.answer(EMPTY);
    assert_eq!(waits.message().status(), 204);
}

#[test]
fn a_replica_that_cannot_be_reached_keeps_no_place() {
    let served = Served::text("hi");
    let label = "wharf.max_conns: 1 queue=100 wait=30s\nwharf.fail: off";
    let site = Site::replicas(&[refused_port(), served.port()], label);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..10 {
                    assert_eq!(site.send(get("/")).message().text(), "hi");
                }
            });
        }
    });
    under_way(&site, 0);
    queued(&site, 0);
}

#[test]
fn a_replica_that_joins_takes_those_in_line() {
    let origin = Origin::new();
    let labels = format!("{LABELS}\nwharf.max_conns: 1 queue=10 wait=30s");
    let site = Site::start([app("app0", origin.port(), &labels)]);
    let _first = site.send(get("/first"));
    let _upstream = origin.accept();
    let mut waits: Vec<Peer> = (0..3).map(|_| site.send(get("/"))).collect();
    queued(&site, 3);
    let served = Served::text("new");
    site.engine.run(app("app1", served.port(), &labels));
    // One after the other, as its place becomes free.
    for client in &mut waits {
        assert_eq!(client.message().text(), "new");
    }
}

#[test]
fn a_sticky_client_is_elsewhere_only_for_a_while() {
    let origins = [Origin::new(), Origin::new()];
    let ports = origins.each_ref().map(Origin::port);
    let site = Site::replicas(&ports, "wharf.max_conns: 1\nwharf.sticky: on cookie=srv");
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
    let mut first = site.send(get("/"));
    let home = loop {
        if let Some(at) = origins.iter().position(|origin| {
            origin.accepted().is_some_and(|mut peer| {
                peer.head();
                peer.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi");
                true
            })
        }) {
            break at;
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    let message = first.message();
    let cookie = message
        .field("set-cookie")
        .unwrap()
        .split(';')
        .next()
        .unwrap();
    let mine = || {
        let request = get("/").replace("\r\n\r\n", &format!("\r\nCookie: {cookie}\r\n\r\n"));
        site.send(request)
    };
    let mut busy = mine();
    let mut at_home = origins[home].accept();
    at_home.head();
    let mut away = mine();
    origins[1 - home].answer(answer);
    let message = away.message();
    assert_eq!(message.status(), 200);
    assert_eq!(
        message.field("set-cookie"),
        None,
        "it is still at home there"
    );
    at_home.send(answer);
    assert_eq!(busy.message().status(), 200);
    let mut back = mine();
    at_home.head();
    at_home.send(answer);
    assert_eq!(back.message().field("set-cookie"), None);
}

#[test]
fn a_request_body_is_not_lost_in_line() {
    let origin = Origin::new();
    let site = Site::plain(origin.port(), "wharf.max_conns: 1 wait=30s");
    let mut first = site.send(get("/first"));
    let mut upstream = origin.accept();
    upstream.head();
    let body = "b".repeat(200_000);
    let head = format!(
        "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut client = site.send(head);
    client.send(&body[..1000]);
    let h2 = H2::connect(site.http());
    let request = http::Request::post("http://a.test/").body(()).unwrap();
    let (answer, mut stream) = h2.send(request, false);
    queued(&site, 2);
    upstream.send(EMPTY);
    assert_eq!(first.message().status(), 204);
    client.send(&body[1000..]);
    assert_eq!(upstream.message().text(), body);
    upstream.send(EMPTY);
    assert_eq!(client.message().status(), 204);
    stream
        .send_data(Bytes::from_static(b"small"), true)
        .unwrap();
    assert_eq!(upstream.message().text(), "small");
    upstream.send(EMPTY);
    assert_eq!(h2.wait(answer).unwrap().status(), 204);
}

#[test]
fn replicas_of_a_real_service_have_no_more_than_they_may() {
    let host = format!("{}.test", unique("places"));
    let pool = unique("pool");
    let wharf = Builder::new().start();
    let replicas = ["one", "two"].map(|name| {
        App::new(name)
            .label("wharf.host", &host)
            .label("wharf.https", "both")
            .label("wharf.pool", &pool)
            .label("wharf.max_conns", "2 queue=3 wait=20s")
            .run()
    });
    wharf.wait_status("both replicas", |status| {
        let upstreams = status["upstreams"].as_array().unwrap();
        let found = upstreams
            .iter()
            .find(|one| one["name"].as_str().unwrap().contains(&pool));
        found.is_some_and(|one| {
            let endpoints = one["endpoints"].as_array().unwrap();
            endpoints.len() == 2 && endpoints.iter().all(|one| one["state"] == "ok")
        })
    });
    // Ten at once for four places and three in line.
    let began = Instant::now();
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let asks: Vec<_> = (0..10)
            .map(|_| scope.spawn(|| wharf.get(&host, "/sleep/1500").unwrap().status))
            .collect();
        asks.into_iter().map(|ask| ask.join().unwrap()).collect()
    });
    assert_eq!(
        statuses.iter().filter(|status| **status == 503).count(),
        3,
        "{statuses:?}"
    );
    assert_eq!(
        statuses.iter().filter(|status| **status == 200).count(),
        7,
        "{statuses:?}"
    );
    assert!(began.elapsed() >= Duration::from_secs(3), "in two rounds");
    drop(replicas);
}
