//! A route that is left alone while too much fails on it: `wharf.breaker`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::explain::explain;
use crate::support::docker::{App, unique};
use crate::support::eventually;
use crate::support::h2::H2;
use crate::support::origin::{Origin, Served, refused_port};
use crate::support::peer::{LIMIT, Peer};
use crate::support::site::{Site, app, get};
use crate::support::wharf::Builder;

/// An app that answers with a status that can be changed; how often it was asked.
struct Moody {
    served: Served,
    status: Arc<AtomicUsize>,
    asked: Arc<AtomicUsize>,
}

impl Moody {
    fn new(status: usize) -> Self {
        let status = Arc::new(AtomicUsize::new(status));
        let asked = Arc::new(AtomicUsize::new(0));
        let (now, count) = (status.clone(), asked.clone());
        let served = Served::by(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            let status = now.load(Ordering::SeqCst);
            format!("HTTP/1.1 {status} So\r\nContent-Length: 2\r\n\r\nhi").into()
        });
        Self {
            served,
            status,
            asked,
        }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn answers(&self, status: usize) {
        self.status.store(status, Ordering::SeqCst);
    }
}

/// Sends so many requests, one after the other; their statuses.
fn ask(site: &Site, path: &str, count: usize) -> Vec<u16> {
    let answer = |_| site.send(get(path)).message().status();
    (0..count).map(answer).collect()
}

fn breaker(site: &Site) -> String {
    let status = site.wharf.status_json();
    status["routes"][0]["breaker"].as_str().unwrap().to_owned()
}

/// Waits until requests would be let through.
fn half_open(site: &Site) {
    eventually("half-open", LIMIT, || match breaker(site) {
        state if state == "half-open" => Ok(()),
        state => Err(state),
    });
}

#[test]
fn too_many_failures_open_it_and_trials_close_it() {
    let moody = Moody::new(500);
    let label = "wharf.breaker: min=10 open=2s";
    let site = Site::plain(moody.served.port(), label);
    assert_eq!(breaker(&site), "closed");
    assert_eq!(ask(&site, "/", 10), [500; 10]);
    let began = Instant::now();
    let answer = site.send(get("/")).message();
    assert_eq!(answer.status(), 503);
    let after: u32 = answer.field("retry-after").unwrap().parse().unwrap();
    assert!((1..=2).contains(&after), "{after}");
    let told = "10 of 10 requests failed within 10s";
    assert!(answer.text().contains(told), "{}", answer.text());
    assert_eq!(moody.asked(), 10);
    // On HTTP/2, too, and every method.
    let h2 = H2::connect(site.http());
    assert_eq!(h2.get("http://a.test/", &[]).unwrap().status, 503);
    let post = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\r\nbody";
    assert_eq!(site.send(post).message().status(), 503);
    if began.elapsed() < Duration::from_secs(1) {
        assert!(
            breaker(&site).starts_with("open for "),
            "{}",
            breaker(&site)
        );
        assert!(site.wharf.status_text().contains("breaker open for "));
        let explained = explain(&site.wharf, &["http://a.test/"]).stdout;
        let explained = String::from_utf8(explained).unwrap();
        assert!(
            explained.contains("would get 503 because the route's breaker"),
            "{explained}"
        );
        assert_eq!(site.metric("wharf_breakers_open"), 1.0);
    }
    assert_eq!(moody.asked(), 10);
    assert_eq!(site.metric("wharf_errors_total{kind=\"breaker\"}"), 3.0);
    site.wharf
        .wait_log("breaker opens for 2s: 10 of 10 requests failed in 10s");

    // Nobody waits in it: after its time the first request is a trial.
    half_open(&site);
    assert!(began.elapsed() >= Duration::from_millis(1500));
    assert_eq!(ask(&site, "/", 1), [500]);
    site.wharf
        .wait_log("breaker opens for 2s again: a trial failed");
    assert_eq!(site.send(get("/")).message().status(), 503);
    assert_eq!(moody.asked(), 11);
    moody.answers(200);
    half_open(&site);
    assert_eq!(ask(&site, "/", 20), [200; 20]);
    assert_eq!(breaker(&site), "closed");
    site.wharf.wait_log("breaker closes: trials succeeded");
    for (to, count) in [("open", 2.0), ("half_open", 2.0), ("closed", 1.0)] {
        let metric = format!("wharf_breaker_changes_total{{to=\"{to}\"}}");
        assert_eq!(site.metric(&metric), count, "{to}");
    }
    assert_eq!(site.metric("wharf_breakers_open"), 0.0);
}

#[test]
fn half_open_lets_three_through_over_workers_and_a_client_that_leaves_is_no_verdict() {
    let origin = Origin::new();
    let labels = "wharf.host: a.test\nwharf.tls: off\nwharf.breaker: min=1 open=1s";
    let site = Site::with([app("app", origin.port(), labels)], |builder| {
        builder.env("WHARF_WORKERS", "2")
    });
    let answer =
        |status| format!("HTTP/1.1 {status} So\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    let mut client = site.send(get("/"));
    origin.answer(&answer(503));
    assert_eq!(client.message().status(), 503);
    assert_eq!(site.send(get("/")).message().status(), 503);
    assert!(origin.accepted().is_none(), "it is open");
    half_open(&site);
    // One leaves; what it was to find out, another does.
    let leaves = site.send(get("/"));
    let mut upstream = origin.accept();
    upstream.head();
    drop(leaves);
    upstream.ended();
    let mut clients: Vec<Peer> = Vec::new();
    let mut upstreams: Vec<Peer> = Vec::new();
    for _ in 0..3 {
        clients.push(site.send(get("/")));
        let mut upstream = origin.accept();
        upstream.head();
        upstreams.push(upstream);
    }
    let refused = site.send(get("/")).message();
    assert_eq!(refused.status(), 503);
    let told = "until a few requests that try it have succeeded";
    assert!(refused.text().contains(told), "{}", refused.text());
    for (client, upstream) in clients.iter_mut().zip(&mut upstreams) {
        upstream.send(answer(200));
        assert_eq!(client.message().status(), 200);
    }
    assert_eq!(breaker(&site), "closed");
}

#[test]
fn what_counts_as_a_failure() {
    // No answer, of three kinds; and a breaker that nothing of the rest opens.
    let label = "wharf.hold: off\nwharf.retry: off\nwharf.breaker: errors=100% min=2";
    let site = Site::plain(refused_port(), label);
    assert_eq!(ask(&site, "/", 3), [502, 502, 503]);
    let origin = Origin::new();
    let site = Site::plain(
        origin.port(),
        &format!("{label}\nwharf.timeout.first: 300ms"),
    );
    let mut client = site.send(get("/"));
    let mut upstream = origin.accept();
    upstream.head();
    assert_eq!(client.message().status(), 504);
    let mut client = site.send(get("/"));
    drop(origin.answer(""));
    assert_eq!(client.message().status(), 502);
    assert_eq!(ask(&site, "/", 1), [503]);
    assert!(origin.accepted().is_none());

    let moody = Moody::new(404);
    let labels = "wharf.breaker: errors=1% min=1\nwharf.other.path: /other\n\
        wharf.off.path: /off\nwharf.off.breaker: off";
    let site = Site::plain(moody.served.port(), labels);
    for status in [404, 429, 501, 505, 400] {
        moody.answers(status);
        assert_eq!(ask(&site, "/", 5), [status as u16; 5]);
    }
    for status in [500, 502, 503, 504] {
        moody.answers(status);
        assert_eq!(ask(&site, "/off", 5), [status as u16; 5], "it has none");
    }
    assert_eq!(ask(&site, "/", 1), [504]);
    let asked = moody.asked();
    assert_eq!(ask(&site, "/", 1), [503]);
    assert_eq!(moody.asked(), asked);
    // Another route of the same app has its own.
    assert_eq!(ask(&site, "/other", 1), [504]);
}

#[test]
fn what_a_retry_makes_good_is_none() {
    let (bad, good) = (Moody::new(503), Moody::new(200));
    let labels =
        "wharf.breaker: errors=1% min=1\nwharf.fail: off\nwharf.retry: 1 on=error,503 budget=off";
    let site = Site::replicas(&[bad.served.port(), good.served.port()], labels);
    assert_eq!(ask(&site, "/", 20), [200; 20]);
    assert!(bad.asked() > 0);
    assert_eq!(breaker(&site), "closed");
}

#[test]
fn it_stays_open_over_changes_of_the_table() {
    let moody = Moody::new(500);
    let site = Site::plain(moody.served.port(), "wharf.breaker: min=5 open=1h");
    assert_eq!(ask(&site, "/", 5), [500; 5]);
    assert_eq!(ask(&site, "/", 1), [503]);
    site.engine.run(app(
        "other",
        moody.served.port(),
        "wharf.host: b.test\nwharf.tls: off",
    ));
    site.wharf
        .wait_status("the other", |status| status.to_string().contains("b.test"));
    assert_eq!(ask(&site, "/", 1), [503]);
    assert!(
        breaker(&site).starts_with("open for 3"),
        "{}",
        breaker(&site)
    );
    assert_eq!(moody.asked(), 5);
    let other = get("/").replace("a.test", "b.test");
    assert_eq!(site.send(other).message().status(), 500);
}

#[test]
fn a_real_app_is_left_alone_and_comes_back() {
    let host = format!("{}.test", unique("breaker"));
    let wharf = Builder::new().start();
    let _app = App::new("moody")
        .label("wharf.host", &host)
        .label("wharf.https", "both")
        .label("wharf.breaker", "errors=50% min=20 open=2s")
        .run();
    wharf.wait_answer(&host, "/", |answer| answer.status == 200);
    let statuses: Vec<u16> = (0..40)
        .map(|_| wharf.get(&host, "/status/500").unwrap().status)
        .collect();
    let failed = statuses.iter().filter(|status| **status == 500).count();
    let opened = statuses.iter().position(|status| *status == 503).unwrap();
    assert_eq!(failed, opened, "{statuses:?}");
    assert!((19..=30).contains(&failed), "{statuses:?}");
    wharf.wait_answer(&host, "/", |answer| answer.status == 200);
    for _ in 0..10 {
        assert_eq!(wharf.get(&host, "/").unwrap().status, 200);
    }
}
