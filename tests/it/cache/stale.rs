//! S43: what is too old is better than nothing.

use std::time::Duration;

use super::{Stage, status, with, word};
use crate::support::eventually;

/// A lifetime that is over before the next request, and no way to ask about it.
const SHORT: &str = "Cache-Control: max-age=1";

fn outlive() {
    // The lifetime itself: there is no event to await.
    std::thread::sleep(Duration::from_millis(2100));
}

/// S43: where the app fails, what is stored stands in for it.
#[test]
fn s43_an_error_of_the_app_is_not_what_clients_see() {
    let stage = Stage::new("wharf.cache: on", |n, _| match n {
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
    let mut stage = Stage::new(
        "wharf.cache: on\nwharf.hold: 30s",
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
        stale
            .field("cache-status")
            .unwrap()
            .contains("detail=no-endpoint")
    );
    assert!(before.elapsed() < Duration::from_secs(20), "held");
    // What the app forbids to be used stale waits for it.
    let mut waits = stage.site.send(crate::support::site::get("/never"));
    waits.is_silent();
}

/// S43: an app that cannot be reached.
#[test]
fn s43_a_refused_connection_is_an_error() {
    let labels = "wharf.cache: on\nwharf.keepalive: off";
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
