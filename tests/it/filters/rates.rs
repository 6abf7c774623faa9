//! `wharf.ratelimit` (S51 to S54).

use std::net::SocketAddr;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use super::ask;
use crate::support::docker::{App, unique};
use crate::support::nginx::{Both, get};
use crate::support::origin::Served;
use crate::support::peer::Peer;
use crate::support::site::{Site, app};
use crate::support::wharf::Builder;

/// What becomes of requests that come at once.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    at_once: usize,
    /// More than half a second later.
    delayed: usize,
    refused: usize,
}

fn burst(address: SocketAddr, host: &str, requests: usize) -> Counts {
    let start = Barrier::new(requests);
    let one = || {
        let mut peer = Peer::connect(address);
        start.wait();
        let sent = Instant::now();
        let status = peer.send(get(host, "/")).message().status();
        (status, sent.elapsed())
    };
    let answers: Vec<_> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..requests).map(|_| scope.spawn(one)).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let mut counts = Counts::default();
    for (status, took) in answers {
        match status {
            200 if took > Duration::from_millis(500) => counts.delayed += 1,
            200 => counts.at_once += 1,
            429 => counts.refused += 1,
            other => panic!("{other}"),
        }
    }
    counts
}

#[test]
fn s52_nginx_admits_delays_and_refuses_as_many() {
    // A request each second: nothing else on this machine takes so long.
    let server = |host: &str, how: &str| {
        format!(
            "limit_req_zone $binary_remote_addr zone={host}:1m rate=1r/s;
             server {{ server_name {host}; limit_req_status 429; limit_req zone={host} {how};
             location / {{ proxy_pass http://@app; }} }}"
        )
    };
    let both = Both::start(
        &[(
            "app",
            "wharf.host: none.test
             wharf.ratelimit: 1r/s
             wharf.queue.host: queue.test
             wharf.queue.ratelimit: 1r/s burst=3
             wharf.nodelay.host: nodelay.test
             wharf.nodelay.ratelimit: 1r/s burst=3 nodelay
             wharf.later.host: later.test
             wharf.later.ratelimit.rate: 60r/m
             wharf.later.ratelimit.burst: 3
             wharf.later.ratelimit.delay: 1",
        )],
        &[
            server("none.test", ""),
            server("queue.test", "burst=3"),
            server("nodelay.test", "burst=3 nodelay"),
            server("later.test", "burst=3 delay=1"),
        ]
        .concat(),
    );
    for (host, at_once, delayed, refused) in [
        ("none.test", 1, 0, 5),
        ("queue.test", 1, 3, 2),
        ("nodelay.test", 4, 0, 2),
        ("later.test", 2, 2, 2),
    ] {
        let expected = Counts {
            at_once,
            delayed,
            refused,
        };
        let [wharf, nginx] = [both.site.http(), both.nginx.address].map(|at| burst(at, host, 6));
        assert_eq!(wharf, expected, "Wharf, {host}");
        assert_eq!(nginx, expected, "nginx, {host}");
    }
}

#[test]
fn s51_s53_clients_of_a_container_have_limits_by_path_and_are_told_when_to_come_back() {
    let host = format!("{}.test", unique("rates"));
    let _app = App::new("rates")
        .label("wharf.host", &host)
        .label("wharf.https", "both")
        .label("wharf.ratelimit", "1r/m burst=2 nodelay")
        .label("wharf.docs.path", "/docs")
        .label("wharf.login.path", "/login")
        .label("wharf.login.ratelimit", "1r/h")
        .label("wharf.open.path", "/open")
        .label("wharf.open.ratelimit", "off")
        .run();
    let wharf = Builder::new().start();
    let open = format!("http://{host}/open");
    wharf.wait_answer(&host, "/open", |answer| answer.status == 200);
    let status = |client: &str, path: &str| {
        let url = format!("http://{host}{path}");
        ask(wharf.http, client, &url, &[]).status
    };
    // What a named route inherits it shares.
    let paths = ["/", "/docs", "/", "/docs"];
    assert_eq!(
        paths.map(|path| status("127.1.0.1", path)),
        [200, 200, 200, 429]
    );
    assert_eq!(status("127.1.0.1", "/login"), 200);
    assert_eq!(status("127.1.0.1", "/login"), 429);
    assert_eq!(status("127.1.0.2", "/login"), 200, "somebody else");
    assert_eq!(ask(wharf.http, "127.1.0.1", &open, &[]).status, 200);
    let head = ask(
        wharf.http,
        "127.1.0.1",
        &format!("http://{host}/login"),
        &["--include", "--header", "Accept: application/json"],
    );
    let head = head.text();
    let field = |name: &str| {
        let mut lines = head.lines();
        let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap_or_else(|| panic!("{name}: {head}")).to_owned()
    };
    let wait: u32 = field("retry-after").parse().unwrap();
    assert!((3500..=3600).contains(&wait), "{wait}");
    assert_eq!(field("ratelimit-limit"), "1");
    assert_eq!(field("ratelimit-remaining"), "0");
    assert_eq!(field("ratelimit-reset"), wait.to_string());
    assert_eq!(field("ratelimit-policy"), "1;w=3600");
    let metrics = wharf.metrics();
    let counted = metrics.lines().find(|line| line.contains("\"rate_limit\""));
    assert!(counted.unwrap().ends_with(" 3"), "{counted:?}");
}

#[test]
fn s54_a_dry_run_refuses_nobody_and_counts() {
    let served = Served::text("in");
    let site = Site::with(
        [app(
            "app",
            served.port(),
            "wharf.host: a.test\nwharf.tls: off\nwharf.ratelimit: 1r/m dryrun",
        )],
        |wharf| wharf,
    );
    for _ in 0..3 {
        assert_eq!(
            ask(site.http(), "127.0.0.1", "http://a.test/", &[]).status,
            200
        );
    }
    site.wharf.wait_log("wharf.ratelimit would refuse this");
    let counted = site.metric("wharf_requests_dry_refused_total");
    assert_eq!(counted, 2.0);
}

#[test]
fn keys_of_limits_and_several_on_one_route() {
    let served = Served::text("in");
    let labels = "wharf.host: a.test
        wharf.tls: off
        wharf.ratelimit: 1r/m burst=1 nodelay key=header:X-Api-Key, 1r/m burst=3 nodelay key=global";
    let site = Site::with([app("app", served.port(), labels)], |wharf| wharf);
    let ask = |key: &str| {
        let line = format!("X-Api-Key: {key}");
        ask(site.http(), "127.0.0.1", "http://a.test/", &["-H", &line]).status
    };
    let told = ["a", "a", "a", "b", "", "c"].map(ask);
    // Without a key it is the address that counts; then everybody together is beyond the second limit.
    assert_eq!(told, [200, 200, 429, 200, 200, 429]);
}
