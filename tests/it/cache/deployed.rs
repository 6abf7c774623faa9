//! Real containers that come, go and are replaced, and what was kept of their answers.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use super::word;
use crate::support::docker::{App, app_image, build_image, example, try_docker, unique};
use crate::support::peer::{Message, Peer};
use crate::support::wharf::{Builder, Wharf};

fn ask(address: SocketAddr, host: &str, path: &str) -> Message {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let answer = Peer::connect(address).send(request).message();
    assert_eq!(answer.status(), 200, "{host}{path}: {}", answer.text());
    answer
}

/// Which container an answer is of.
fn hostname(answer: &Message) -> String {
    let json: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    json["hostname"].as_str().unwrap().to_owned()
}

fn wait_endpoints(wharf: &Wharf, pool: &str, count: usize) {
    wharf.wait_status(&format!("{count} in {pool}"), |status| {
        let upstreams = status["upstreams"].as_array().unwrap();
        let ours = upstreams
            .iter()
            .find(|upstream| upstream.to_string().contains(pool));
        let endpoints = ours.and_then(|upstream| upstream["endpoints"].as_array());
        endpoints.map_or(0, Vec::len) == count
    });
}

/// S43, S49, D5: while nobody runs, what is kept is given at once, too old or not; the same image again changes nothing, and
/// another one makes only those forget that ask for it.
#[test]
fn s49_containers_replaced_keep_what_was_said_or_forget_it_as_their_label_says() {
    let (keeps, forgets) = (unique("keeps"), unique("forgets"));
    let app = |image: &str, pool: &str, purge: &str| {
        let app = App::of_image(image, pool).label("wharf.host", &format!("{pool}.test"));
        let app = app.label("wharf.pool", pool).label("wharf.tls", "off");
        let app = app.label("wharf.cache", "1h").label("wharf.hold", "60s");
        // Not `updating`, which has what is too old given at once in any case.
        let app = app.label("wharf.cache.stale", "error");
        app.label("wharf.cache.purge_on_deploy", purge).run()
    };
    let pools = [(&*keeps, "false"), (&*forgets, "true")];
    let wharf = Builder::new().env("WHARF_WORKERS", "1").start();
    let run = |image: &str| {
        let containers = pools.map(|(pool, purge)| app(image, pool, purge));
        for (pool, _) in pools {
            wharf.wait_route(&format!("{pool}.test"));
        }
        containers
    };
    let ask = |pool: &str, path: &str| ask(wharf.http, &format!("{pool}.test"), path);
    let short = "/answer/200?cache-control=max-age=1";

    let first = run(app_image());
    let said = pools.map(|(pool, _)| {
        assert_eq!(word(&ask(pool, short)), "MISS");
        let said = ask(pool, "/json");
        assert_eq!((word(&said), word(&ask(pool, "/json"))), ("MISS", "HIT"));
        hostname(&said)
    });
    assert_ne!(said[0], said[1]);

    drop(first);
    for (pool, _) in pools {
        wait_endpoints(&wharf, pool, 0);
    }
    // The lifetime itself: there is no event to await.
    thread::sleep(Duration::from_millis(2100));
    for ((pool, _), said) in pools.iter().zip(&said) {
        let before = Instant::now();
        assert_eq!(word(&ask(pool, short)), "STALE", "{pool}");
        // `wharf.hold` would have it wait for a container, a minute long.
        assert!(before.elapsed() < Duration::from_secs(20));
        let kept = ask(pool, "/json");
        assert_eq!((word(&kept), &hostname(&kept)), ("HIT", said));
    }

    let second = run(app_image());
    for ((pool, _), said) in pools.iter().zip(&said) {
        let kept = ask(pool, "/json");
        assert_eq!((word(&kept), &hostname(&kept)), ("HIT", said), "{pool}");
        assert_eq!(word(&ask(pool, short)), "EXPIRED", "{pool} is asked again");
        let new = ask(pool, "/json?new");
        assert_ne!(&hostname(&new), said, "{pool}: what is new is asked for");
    }

    drop(second);
    for (pool, _) in pools {
        wait_endpoints(&wharf, pool, 0);
    }
    let next = Next::build();
    let third = run(&next.0);
    wharf.wait_log("another version of the app");
    let kept = ask(&keeps, "/json");
    assert_eq!((word(&kept), &hostname(&kept)), ("HIT", &said[0]));
    let new = ask(&forgets, "/json");
    assert_eq!(word(&new), "MISS");
    assert!(third[1].id.starts_with(&hostname(&new)));
    assert_eq!(word(&ask(&forgets, "/json")), "HIT");
}

/// Another image of the same program; removed on drop.
struct Next(String);

impl Next {
    fn build() -> Self {
        let next = Self(unique("next"));
        let files = "COPY whoami /whoami\nENV NAME=next\nEXPOSE 3000\nENTRYPOINT [\"/whoami\"]\n";
        build_image(&next.0, &[("whoami", &example("whoami"))], files);
        next
    }
}

impl Drop for Next {
    fn drop(&mut self) {
        let _ = try_docker(&["image", "rm", "-f", &self.0].map(String::from));
    }
}
