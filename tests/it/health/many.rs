//! Checks that change, services that share a place, and many endpoints at once.

use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::{LIMIT, wait_state};
use crate::support::engine::FakeContainer;
use crate::support::eventually;
use crate::support::origin::{Origin, Served, ok};
use crate::support::site::{Site, app, get};

#[test]
fn a_check_that_changes_goes_on_from_what_is_known() {
    let paths = Arc::new(Mutex::new(Vec::new()));
    let (noted, status) = (Arc::clone(&paths), Arc::new(AtomicU16::new(200)));
    let said = Arc::clone(&status);
    let served = Served::by(move |request| {
        let path = request.head.split(' ').nth(1).unwrap().to_owned();
        noted.lock().unwrap().push(path);
        format!(
            "HTTP/1.1 {} X\r\nContent-Length: 0\r\n\r\n",
            said.load(Ordering::SeqCst)
        )
        .into()
    });
    // An address outside stays the same endpoint when its container is made anew.
    let carrier = |name: &str, check: &str| {
        let container = FakeContainer::new(name).state("exited");
        let container = container
            .label("wharf.host", "a.test")
            .label("wharf.tls", "off");
        let container = container.label("com.docker.compose.project", "p");
        let container = container.label("com.docker.compose.service", "s");
        let url = format!("http://127.0.0.1:{}", served.port());
        let container = container
            .label("wharf.hold", "off")
            .label("wharf.upstream", &url);
        container.label("wharf.health", check)
    };
    let site = Site::start([carrier("first", "/a interval=100ms fails=1 passes=3")]);
    let asked = |path: &str| paths.lock().unwrap().iter().any(|one| one == path);
    let wait_for = |path: &str| {
        paths.lock().unwrap().clear();
        eventually(path, LIMIT, || match asked(path) {
            true => Ok(()),
            false => Err("not asked for".to_owned()),
        });
    };
    let swap = |old: &str, new: &str, check: &str| {
        site.engine.run(carrier(new, check));
        site.engine.remove(old);
    };
    wait_for("/a");
    wait_state(&site.wharf, "first", "ok");
    swap("first", "second", "/b interval=100ms fails=1 passes=3");
    wait_for("/b");
    // Ready all the time, and the old check is over.
    assert_eq!(wait_state(&site.wharf, "second", "ok")["weight"], 1);
    wait_for("/b");
    assert!(!asked("/a"));
    status.store(500, Ordering::SeqCst);
    wait_state(&site.wharf, "second", "unhealthy");
    // Another question, another judgement.
    swap("second", "third", "/c interval=100ms status=500");
    wait_state(&site.wharf, "third", "ok");
    swap("third", "fourth", "off");
    let endpoint = wait_state(&site.wharf, "fourth", "ok");
    assert!(endpoint["check"].is_null(), "{endpoint}");
    paths.lock().unwrap().clear();
    assert_eq!(site.send(get("/request")).message().status(), 500);
    assert_eq!(
        *paths.lock().unwrap(),
        ["/request"],
        "nothing is asked any more"
    );
}

#[test]
fn services_that_share_a_place_take_over_from_one_that_is_out() {
    let ill = Arc::new(AtomicU16::new(200));
    let status = Arc::clone(&ill);
    let blue = Served::by(move |request| match request.head.starts_with("GET /up ") {
        true => format!(
            "HTTP/1.1 {} X\r\nContent-Length: 0\r\n\r\n",
            status.load(Ordering::SeqCst)
        )
        .into(),
        false => ok("blue"),
    });
    let green = Served::text("green");
    let member = |name: &str, port: u16, labels: &str| {
        let labels = format!(
            "wharf.host: a.test\nwharf.tls: off\nwharf.hold: off\ncom.docker.compose.project: p\n\
             com.docker.compose.service: {name}\nwharf.health: /up interval=100ms fails=1 passes=1\n{labels}"
        );
        app(name, port, &labels)
    };
    let site = Site::start([
        member(
            "blue",
            blue.port(),
            "wharf.weight: 90\nwharf.canary: header:X-Blue",
        ),
        member("green", green.port(), "wharf.weight: 10"),
    ]);
    let ask = |fields: &str| {
        let request = get("/").replace("\r\n\r\n", &format!("\r\n{fields}\r\n"));
        site.send(request).message().text()
    };
    let of_blue = || (0..100).filter(|_| ask("") == "blue").count();
    wait_state(&site.wharf, "blue", "ok");
    assert_eq!(of_blue(), 90);
    ill.store(500, Ordering::SeqCst);
    wait_state(&site.wharf, "blue", "unhealthy");
    assert_eq!(of_blue(), 0);
    assert_eq!(ask("X-Blue: 1\r\n"), "green", "the canary is out, too");
    ill.store(200, Ordering::SeqCst);
    wait_state(&site.wharf, "blue", "ok");
    assert_eq!(of_blue(), 90);
}

#[test]
fn many_endpoints_are_asked_by_and_by() {
    let (open, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (now, peak) = (Arc::clone(&open), Arc::clone(&most));
    let served = Served::by(move |request| {
        if request.head.starts_with("GET /up ") {
            let count = now.fetch_add(1, Ordering::SeqCst) + 1;
            peak.fetch_max(count, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(100));
            now.fetch_sub(1, Ordering::SeqCst);
        }
        ok("app")
    });
    let containers = (0..300).map(|n| {
        let labels = format!("wharf.host: h{n}.test\nwharf.tls: off\nwharf.health: /up");
        app(&format!("app{n}"), served.port(), &labels)
    });
    let site = Site::start([]);
    site.engine.set_containers(containers.collect::<Vec<_>>());
    site.engine.push_event("container", "start", "app0");
    site.wharf.wait_status("all to be ready", |status| {
        let upstreams = status["upstreams"].as_array().unwrap();
        let ready = upstreams
            .iter()
            .filter(|up| up["endpoints"][0]["state"] == "ok");
        ready.count() == 300
    });
    let most = most.load(Ordering::SeqCst);
    assert!((2..=128).contains(&most), "{most} at once");
}

#[test]
fn endpoints_that_let_checks_hang_hold_up_each_other_alone() {
    // It accepts, and says nothing.
    let silent = Origin::new();
    let containers = (0..200).map(|n| {
        let labels = format!(
            "wharf.host: h{n}.test\nwharf.tls: off\n\
             wharf.health: /up timeout=500ms interval=100ms fails=1"
        );
        app(&format!("app{n}"), silent.port(), &labels)
    });
    let site = Site::start(containers.collect::<Vec<_>>());
    let open = Mutex::new(Vec::new());
    // Held for longer than a check takes.
    let accept = || {
        let (mut open, now) = (open.lock().unwrap(), Instant::now());
        open.retain(|(since, _)| now.duration_since(*since) < Duration::from_secs(1));
        let before = open.len();
        open.extend(std::iter::from_fn(|| silent.accepted()).map(|peer| (now, peer)));
        open.len() - before
    };
    site.wharf.wait_status("all to hang", |status| {
        accept();
        let upstreams = status["upstreams"].as_array().unwrap();
        let out = upstreams
            .iter()
            .filter(|up| up["endpoints"][0]["state"] == "unhealthy");
        out.count() == 200
    });
    // 32 at once, each for half a second.
    let (began, mut count) = (Instant::now(), 0);
    while began.elapsed() < Duration::from_secs(2) {
        count += accept();
        thread::sleep(Duration::from_millis(5));
    }
    let rounds = began.elapsed().as_millis() as usize / 500 + 1;
    assert!(
        (1..=32 * rounds).contains(&count),
        "{count} checks in {rounds} rounds"
    );
    // Somebody else is not held up.
    let served = Served::text("app");
    let labels = "wharf.host: a.test\nwharf.tls: off\nwharf.health: /up";
    site.engine.run(app("other", served.port(), labels));
    wait_state(&site.wharf, "other", "ok");
}
