//! S43: what is too old is better than nothing.

use std::sync::Mutex;
use std::sync::mpsc;
use std::time::Duration;

use super::{Stage, status, with, word};
use crate::support::eventually;
use crate::support::site::get;

/// A lifetime that is over before the next request, and no way to ask about it.
const SHORT: &str = "Cache-Control: max-age=1";

fn outlive() {
    // The lifetime itself: there is no event to await.
    std::thread::sleep(Duration::from_millis(2100));
}

/// S43: where the app fails, what is stored stands in for it.
#[test]
fn s43_an_error_of_the_app_is_not_what_clients_see() {
    // The first who asks waits for the app, and hears of its failure if anybody does.
    let labels =
        "wharf.cache: on\nwharf.cache.stale: error timeout updating 500 502 503 background=0s";
    let stage = Stage::new(labels, |n, _| match n {
        1 => with(SHORT, "good"),
        2 => status(503, "", "bad"),
        3 => status(404, "", "gone"),
        _ => with(SHORT, "new"),
    });
    assert_eq!(stage.get("/").text(), "good");
    outlive();
    let instead = stage.get("/");
    assert_eq!(
        (instead.status(), word(&instead), &*instead.text()),
        (200, "STALE", "good")
    );
    // What is no error in this sense is passed on, and ends it.
    let gone = stage.get("/");
    assert_eq!((gone.status(), &*gone.text()), (404, "gone"));
    let new = stage.get("/");
    assert_eq!(new.text(), "new");
}

/// S43, D5: while nobody is there to be asked, what is stored is given at once.
#[test]
fn s43_a_deployment_is_not_noticed() {
    // By default it is given at once because it may be; the second says that nobody is there to be asked.
    for (stale, detail) in [
        ("", "detail=refresh"),
        ("wharf.cache.stale: error", "detail=no-endpoint"),
    ] {
        deploy(stale, detail);
    }
}

fn deploy(stale: &str, detail: &str) {
    let mut stage = Stage::new(
        &format!("wharf.cache: on\nwharf.hold: 30s\n{stale}"),
        |_, request| match request.head.starts_with("GET /never") {
            true => with("Cache-Control: max-age=1, must-revalidate", "never"),
            false => with(SHORT, "good"),
        },
    );
    for path in ["/a", "/never"] {
        stage.get(path);
    }
    stage.kill();
    stage.site.engine.remove("app");
    stage.site.wharf.wait_status("nobody", |status| {
        status["upstreams"][0]["endpoints"]
            .as_array()
            .is_none_or(Vec::is_empty)
    });
    outlive();
    let before = std::time::Instant::now();
    let stale = stage.get("/a");
    assert_eq!(
        (stale.status(), word(&stale), &*stale.text()),
        (200, "STALE", "good")
    );
    assert!(
        stale.field("cache-status").unwrap().contains(detail),
        "{}",
        stale.head
    );
    assert!(before.elapsed() < Duration::from_secs(20), "held");
    // What the app forbids to be used stale waits for it.
    let mut waits = stage.site.send(get("/never"));
    waits.is_silent();
}

/// S43: an app that cannot be reached.
#[test]
fn s43_a_refused_connection_is_an_error() {
    let labels = "wharf.cache: on\nwharf.cache.stale: error\nwharf.keepalive: off";
    let mut stage = Stage::new(labels, |_, _| with(SHORT, "good"));
    stage.get("/");
    stage.kill();
    outlive();
    for _ in 0..2 {
        let stale = stage.get("/");
        assert_eq!(
            (stale.status(), word(&stale), &*stale.text()),
            (200, "STALE", "good")
        );
    }
    // A page that is not stored says what is the matter.
    assert!([502, 503].contains(&stage.get("/other").status()));
}

/// S43, RFC 5861 section 3: at once, and fetched in the background.
#[test]
fn s43_stale_while_revalidate_fetches_in_the_background() {
    let stage = Stage::new("wharf.cache: on", |n, _| {
        with(
            "Cache-Control: max-age=1, stale-while-revalidate=60",
            &n.to_string(),
        )
    });
    assert_eq!(stage.get("/").text(), "1");
    outlive();
    let stale = stage.get("/");
    assert_eq!((word(&stale), &*stale.text()), ("STALE", "1"));
    eventually("the refresh", Duration::from_secs(20), || {
        let answer = stage.get("/");
        match &*answer.text() {
            "1" => Err(answer.head),
            _ => Ok(()),
        }
    });
    // The same by label, where the app does not say.
    let labels = "wharf.cache: 1s\nwharf.cache.stale: background=60s";
    let stage = Stage::new(labels, |n, _| with("", &n.to_string()));
    assert_eq!(stage.get("/").text(), "1");
    outlive();
    assert_eq!(stage.get("/").text(), "1");
    eventually("the refresh", Duration::from_secs(20), || {
        match stage.asked() {
            1 => Err("not yet".to_owned()),
            _ => Ok(()),
        }
    });
}

/// Answers the first request with `lines`, and those that follow when it is told to.
fn gated(labels: &str, lines: &'static str) -> (Stage, mpsc::Sender<()>) {
    let (open, gate) = mpsc::channel();
    let gate = Mutex::new(gate);
    let stage = Stage::new(labels, move |n, _| {
        if n > 1 {
            // Nobody holds it any more: the test is over.
            _ = gate.lock().unwrap().recv();
            // What has come once more stays good for the rest of the test.
            return with("Cache-Control: max-age=600", &n.to_string());
        }
        with(lines, &n.to_string())
    });
    (stage, open)
}

/// S43: nobody waits for an app that takes its time, not even the first who asks; and it is asked once.
#[test]
fn s43_the_first_after_the_lifetime_does_not_wait_either() {
    for (labels, lines) in [
        ("wharf.cache: on", SHORT),
        ("wharf.cache: 1s", ""),
        (
            "wharf.cache: on\nwharf.cache.stale: updating for=60s",
            SHORT,
        ),
        (
            "wharf.cache: on\nwharf.cache.stale: off",
            "Cache-Control: max-age=1, stale-while-revalidate=60",
        ),
        (
            "wharf.cache: on\nwharf.cache.stale: off",
            "Cache-Control: s-maxage=1, stale-while-revalidate=60",
        ),
    ] {
        let (stage, open) = gated(labels, lines);
        assert_eq!(stage.get("/").text(), "1");
        outlive();
        let first = stage.get("/");
        assert_eq!((word(&first), &*first.text()), ("STALE", "1"), "{labels}");
        let mut clients: Vec<_> = (0..100).map(|_| stage.site.send(get("/"))).collect();
        for client in &mut clients {
            let answer = client.message();
            assert_eq!((word(&answer), &*answer.text()), ("UPDATING", "1"));
        }
        // All that has been answered before the app said anything.
        open.send(()).unwrap();
        eventually("the refresh", Duration::from_secs(20), || {
            let answer = stage.get("/");
            match (word(&answer), &*answer.text()) {
                ("HIT", "2") => Ok(()),
                _ => Err(answer.head),
            }
        });
        assert_eq!(stage.asked(), 2, "{labels}");
    }
}

/// S43: where the app or the label does not allow that, the first one waits.
#[test]
fn s43_what_must_not_be_stale_is_waited_for() {
    let none = "Cache-Control: max-age=0\nETag: \"x\"";
    for (labels, lines) in [
        ("wharf.cache: on", "Cache-Control: s-maxage=1"),
        (
            "wharf.cache: on",
            "Cache-Control: max-age=1, must-revalidate",
        ),
        ("wharf.cache: on", none),
        ("wharf.cache: 1s\nwharf.cache.stale: off", ""),
        ("wharf.cache: 1s\nwharf.cache.stale: error timeout", ""),
        ("wharf.cache: 1s\nwharf.cache.stale: updating for=1s", ""),
        (
            "wharf.cache: 1s\nwharf.cache.stale: updating background=0s",
            "",
        ),
    ] {
        let (stage, open) = gated(labels, lines);
        stage.get("/");
        outlive();
        let mut waits = stage.site.send(get("/"));
        eventually(
            "the app is asked",
            Duration::from_secs(20),
            || match stage.asked() {
                2 => Ok(()),
                n => Err(format!("{n} requests")),
            },
        );
        waits.is_silent();
        open.send(()).unwrap();
        let answer = waits.message();
        assert_eq!(
            (word(&answer), &*answer.text()),
            ("EXPIRED", "2"),
            "{lines}"
        );
    }
}

/// S43: a refresh that fails leaves what is there, for as long as it may be used.
#[test]
fn s43_a_refresh_that_fails_changes_nothing() {
    let labels = "wharf.cache: 1s\nwharf.cache.stale: updating 503 for=5s";
    let stage = Stage::new(labels, |n, _| match n {
        1 => with("", "good"),
        _ => status(503, "", "bad"),
    });
    stage.get("/");
    outlive();
    // The app is asked again and again, in the background; while it has not answered, nobody asks once more.
    for refreshes in 1..4 {
        eventually("a refresh", Duration::from_secs(20), || {
            let answer = stage.get("/");
            assert_eq!((answer.status(), &*answer.text()), (200, "good"));
            match stage.asked() > refreshes {
                true => Ok(()),
                false => Err("not asked".to_owned()),
            }
        });
    }
    eventually("the limit", Duration::from_secs(20), || {
        let answer = stage.get("/");
        match (answer.status(), &*answer.text()) {
            (503, "bad") => Ok(()),
            _ => Err(answer.head),
        }
    });
}

/// S43: once the app says to each client something of its own, nobody is given the old one unasked.
#[test]
fn s43_what_is_not_for_all_any_more_ends_what_was() {
    let stage = Stage::new("wharf.cache: on", |n, _| match n {
        1 => with(SHORT, "all"),
        _ => with("Set-Cookie: a=b\nCache-Control: max-age=1", "one"),
    });
    stage.get("/");
    outlive();
    assert_eq!(stage.get("/").text(), "all");
    eventually("an own answer", Duration::from_secs(20), || {
        let answer = stage.get("/");
        match &*answer.text() {
            "one" => Ok(()),
            _ => Err(answer.head),
        }
    });
}
