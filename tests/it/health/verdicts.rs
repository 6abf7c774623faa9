//! What counts as a success, how each failure is told, and that checks are no requests.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::{LIMIT, wait_state};
use crate::support::eventually;
use crate::support::origin::{Full, Origin, Served, ok, refused_port};
use crate::support::site::{Site, app, get};

#[test]
fn checks_come_at_their_interval_and_are_no_requests() {
    let times = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&times);
    let served = Served::by(move |request| {
        if request.head.starts_with("GET /up ") {
            noted.lock().unwrap().push(Instant::now());
        }
        ok("app")
    });
    let interval = Duration::from_millis(200);
    let site = Site::plain(served.port(), "wharf.health: /up interval=200ms");
    eventually("checks", LIMIT, || match times.lock().unwrap().len() {
        0..8 => Err("too few".to_owned()),
        _ => Ok(()),
    });
    let times = times.lock().unwrap().clone();
    // The first two are closer. A machine that is busy makes some late, and the next one seem early.
    let (first, last) = (times[1], times[7]);
    assert!(last - first >= interval * 5, "{:?}", last - first);
    for metric in [
        "wharf_upstream_connects_total",
        "wharf_requests_total",
        "wharf_upstream_reuses_total",
    ] {
        assert_eq!(site.metric(metric), 0.0, "{metric}");
    }
    assert_eq!(site.send(get("/")).message().text(), "app");
    assert_eq!(site.wharf.wait_out(1).len(), 1, "the request, and no check");
}

#[test]
fn each_way_to_fail_a_check_is_named() {
    let answering = |bytes: &'static str| Served::by(move |_| bytes.into());
    let served = [
        answering("HTTP/1.1 401 X\r\n\r\n"),
        answering("HTTP/1.1 200 X\r\n\r\n"),
        answering("HTTP/1.1 103 X\r\n\r\nHTTP/1.0 204 X\r\n\r\n"),
        answering("SSH-2.0-x\r\n"),
        answering(""),
    ];
    let silent = Origin::new();
    let full = Full::new();
    let refused = refused_port();
    let port = |index: usize| served[index].port();
    let cases = [
        ("one", port(0), "/up", "status 401, not 200-399"),
        ("two", port(0), "/up status=200,401", "ok"),
        (
            "three",
            port(1),
            "/up status=3xx",
            "status 200, not 300-399",
        ),
        ("four", port(2), "/up status=204", "ok"),
        ("five", port(3), "/up", "an unusable answer"),
        (
            "six",
            port(4),
            "/up timeout=300ms",
            "no answer within 300ms",
        ),
        (
            "seven",
            silent.port(),
            "/up timeout=300ms",
            "no answer within 300ms",
        ),
        (
            "eight",
            full.port(),
            "/up timeout=300ms",
            "no answer within 300ms",
        ),
        (
            "nine",
            full.port(),
            "tcp timeout=300ms",
            "no answer within 300ms",
        ),
        ("ten", refused, "/up", "connection refused"),
        ("eleven", refused, "tcp", "connection refused"),
        ("twelve", silent.port(), "tcp", "ok"),
    ];
    let containers = cases.iter().map(|(name, port, check, _)| {
        let labels = format!(
            "wharf.host: {name}.test\nwharf.tls: off\nwharf.hold: off\n\
             wharf.health: {check} interval=100ms fails=1"
        );
        app(name, *port, &labels)
    });
    let site = Site::start(containers.collect::<Vec<_>>());
    for (name, _, check, told) in cases {
        let state = if told == "ok" { "ok" } else { "unhealthy" };
        let endpoint = wait_state(&site.wharf, name, state);
        if told == "ok" {
            continue;
        }
        let said = endpoint["check"].as_str().unwrap();
        assert!(said.contains(told), "{name}: {said}");
        let request = get("/").replace("a.test", &format!("{name}.test"));
        let page = site.send(request).message().text();
        assert!(page.contains(told), "{name} {check}: {page}");
    }
    let status = site.wharf.status_text();
    let hint = format!("nothing listens on 127.0.0.1:{refused}");
    assert!(status.contains(&hint), "{status}");
}
