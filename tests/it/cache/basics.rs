//! S40, S41, S44 to S48, S50: what is stored and found, and for how long.

use std::sync::{Arc, Barrier};
use std::time::Duration;

use super::{Stage, status, wait_disk, with, word};
use crate::support::h2::H2;
use crate::support::peer::Peer;
use crate::support::site::get;

/// S40, S46: what is stored is given again without the app; the key is scheme, host, path and query.
#[test]
fn s40_what_is_stored_is_given_again_without_the_app() {
    let stage = Stage::new(
        "wharf.cache: on\nwharf.headers.response: X-Edge={path}",
        |n, _| {
            with(
                "Cache-Control: max-age=60\nX-App: 1",
                &format!("answer {n}"),
            )
        },
    );
    let first = stage.get("/a");
    assert_eq!(
        (first.status(), word(&first), &*first.text()),
        (200, "MISS", "answer 1")
    );
    assert_eq!(first.field("age"), None);
    for _ in 0..3 {
        let again = stage.get("/a");
        assert_eq!((word(&again), &*again.text()), ("HIT", "answer 1"));
        // The app's fields, and those of the route's labels.
        assert_eq!(again.field("x-app"), Some("1"));
        assert_eq!(again.field("x-edge"), Some("/a"));
        assert_eq!(again.field("content-length"), Some("8"));
        assert!(again.field("age").is_some() && again.field("date").is_some());
        let told = again.field("cache-status").unwrap();
        assert!(told.starts_with("wharf; hit; ttl="), "{told}");
    }
    assert_eq!(stage.asked(), 1);
    for (path, host, text) in [
        ("/b", "a.test", "answer 2"),
        ("/a?x=1", "a.test", "answer 3"),
        ("/a?", "a.test", "answer 4"),
        ("/A", "a.test", "answer 5"),
        ("/a", "A.test:80", "answer 1"),
        ("/a", "a.test.", "answer 1"),
    ] {
        let answer = stage.ask_as("GET", path, host, &[]);
        assert_eq!(answer.text(), text, "{host}{path}");
    }
    assert_eq!(stage.asked(), 5);
    // HTTP/2 has the same.
    let client = H2::connect(stage.site.http());
    let whole = client.get("http://a.test/a", &[]).unwrap();
    assert_eq!(whole.headers["x-cache-status"], "HIT");
    assert_eq!(whole.body, &b"answer 1"[..]);
    let whole = client.get("http://a.test/h2", &[]).unwrap();
    assert_eq!(
        (whole.status, &whole.headers["x-cache-status"]),
        (200, &"MISS".parse().unwrap())
    );
    let sent = stage.last().head.to_ascii_lowercase();
    assert!(
        sent.contains("\r\nhost: a.test\r\n") && !sent.contains("authority"),
        "{sent}"
    );
    assert_eq!((word(&stage.get("/h2")), stage.asked()), ("HIT", 6));
    // A HEAD is answered from a GET, with its length.
    let head = stage.ask("HEAD", "/a", &[]);
    assert_eq!(
        (word(&head), head.field("content-length")),
        ("HIT", Some("8"))
    );
    assert_eq!(stage.asked(), 6);
}

/// S40: a HEAD that is no hit fetches the whole, as nginx's `proxy_cache_convert_head`.
#[test]
fn s40_a_head_is_sent_as_a_get() {
    let stage = Stage::new("wharf.cache: 10m", |_, _| with("", "whole"));
    let head = stage.ask("HEAD", "/", &[]);
    assert_eq!(
        (word(&head), head.field("content-length")),
        ("MISS", Some("5"))
    );
    assert!(stage.last().head.starts_with("GET / "));
    let next = stage.get("/");
    assert_eq!((word(&next), &*next.text()), ("HIT", "whole"));
    // One that is not stored is a HEAD to its client all the same.
    let stage = Stage::new("wharf.cache: on", |_, _| {
        with("Cache-Control: no-store", "secret")
    });
    let mut peer = Peer::connect(stage.site.http());
    peer.send("HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let head = peer.head();
    assert!(
        head.contains("content-length: 6") || head.contains("Content-Length: 6"),
        "{head}"
    );
    peer.send(get("/x"));
    assert_eq!(peer.message().text(), "secret");
}

/// S40: large bodies, and those whose length nobody says, come whole however they are stored.
#[test]
fn s40_bodies_of_any_length_and_framing() {
    let body = |n: usize| (0..n).map(|i| b'a' + (i % 23) as u8).collect::<Vec<u8>>();
    let stage = Stage::new("wharf.cache: 10m", move |_, request| {
        let path = request.head.split(' ').nth(1).unwrap().to_owned();
        let (kind, size) = path[1..].split_once('-').unwrap();
        let body = body(size.parse().unwrap());
        match kind {
            "length" => {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                [head.as_bytes(), &body].concat()
            }
            _ => {
                let mut out =
                    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n"
                        .to_vec();
                for chunk in body.chunks(10_000) {
                    out.extend(format!("{:x}\r\n", chunk.len()).bytes());
                    out.extend_from_slice(chunk);
                    out.extend(b"\r\n");
                }
                out.extend(b"0\r\nx-sum: 7\r\n\r\n");
                out
            }
        }
    });
    let mut asked = 0;
    for path in [
        "/length-0",
        "/length-1",
        "/length-65536",
        "/length-65537",
        "/length-3000000",
        // More than is kept in memory of one answer.
        "/length-9000000",
        "/chunked-0",
        "/chunked-40000",
        "/chunked-9000000",
    ] {
        let size: usize = path.split_once('-').unwrap().1.parse().unwrap();
        asked += 1;
        for _ in 0..3 {
            let answer = stage.get(path);
            assert_eq!(answer.status(), 200, "{path}");
            assert!(
                answer.body == body(size),
                "{path}: {} bytes",
                answer.body.len()
            );
        }
        let again = stage.get(path);
        assert_eq!(word(&again), "HIT", "{path}");
        assert!(again.body == body(size));
        let client = H2::connect(stage.site.http());
        let whole = client.get(&format!("http://a.test{path}"), &[]).unwrap();
        assert!(whole.body == body(size), "{path} on HTTP/2");
        assert_eq!(stage.asked(), asked, "{path}");
    }
}

/// S40: what is on disk survives a restart.
#[test]
fn s40_what_is_on_disk_is_there_after_a_restart() {
    let data = tempfile::tempdir().unwrap();
    let stage = Stage::with(
        "wharf.cache: 10m",
        |builder| builder.data(data.path()),
        |n, _| with("ETag: \"1\"", &format!("answer {n}")),
    );
    assert_eq!(stage.get("/a").text(), "answer 1");
    crate::support::eventually("on disk", Duration::from_secs(20), || {
        let files = walk(&data.path().join("cache"));
        (files > 0).then_some(()).ok_or_else(|| files.to_string())
    });
    let Stage { site, app, .. } = stage;
    let port = app.as_ref().unwrap().port();
    drop(site);
    let labels = "wharf.host: a.test\nwharf.tls: off\nwharf.cache: 10m";
    let containers = [crate::support::site::app("app", port, labels)];
    let site = crate::support::site::Site::with(containers, |builder| builder.data(data.path()));
    wait_disk(&site);
    let answer = site.send(get("/a")).message();
    assert_eq!((word(&answer), &*answer.text()), ("HIT", "answer 1"));
}

/// Whole answers in a directory of the cache.
pub(super) fn walk(directory: &std::path::Path) -> usize {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return 0;
    };
    let paths = entries.flatten().map(|entry| entry.path());
    let count = paths.map(|path| match path.is_dir() {
        true => walk(&path),
        false => usize::from(path.extension().is_some_and(|kind| kind == "wc")),
    });
    count.sum()
}

/// S41: how long is said by X-Accel-Expires, then by the app's fields, then by the label; nobody says: not stored.
#[test]
fn s41_lifetimes_are_the_apps_before_the_labels() {
    let stage = Stage::new(
        "wharf.cache: on\nwharf.cache.valid: 200 1h, 404 1m, 500 0, any 10s",
        |_, request| {
            let path = request.head.split(' ').nth(1).unwrap();
            match path {
                "/accel" => with("X-Accel-Expires: 60\nCache-Control: no-store", "x"),
                "/accel0" => with("X-Accel-Expires: 0\nCache-Control: max-age=60", "x"),
                "/nostore" => with("Cache-Control: no-store", "x"),
                "/maxage0" => with("Cache-Control: max-age=0", "x"),
                "/private" => with("Cache-Control: private, max-age=60", "x"),
                "/smaxage" => with("Cache-Control: s-maxage=60, max-age=0", "x"),
                "/expires" => with("Expires: Thu, 01 Jan 2099 00:00:00 GMT", "x"),
                "/expired" => with("Expires: 0", "x"),
                "/404" => status(404, "", "x"),
                "/500" => status(500, "", "x"),
                "/410" => status(410, "", "x"),
                _ => with("", "x"),
            }
        },
    );
    for (path, stored) in [
        ("/plain", true),
        ("/accel", true),
        ("/accel0", false),
        ("/nostore", false),
        ("/maxage0", false),
        ("/private", false),
        ("/smaxage", true),
        ("/expires", true),
        ("/expired", false),
        ("/404", true),
        ("/500", false),
        ("/410", true),
    ] {
        stage.get(path);
        let again = stage.get(path);
        let word = word(&again);
        assert_eq!(
            word == "HIT",
            stored,
            "{path}: {word}, {:?}",
            again.field("cache-status")
        );
        // A field for caches such as this one is not for clients.
        assert!(word != "HIT" || again.field("x-accel-expires").is_none());
    }
    // Without the label nothing gets a lifetime that the app does not name.
    let stage = Stage::new("wharf.cache: on", |_, _| {
        with("Last-Modified: Thu, 01 Jan 2015 00:00:00 GMT", "x")
    });
    stage.get("/");
    assert_ne!(word(&stage.get("/")), "HIT");
    assert_eq!(stage.asked(), 2);
}

/// S44, B31: a thousand who ask for the same at once are one request to the app.
#[test]
fn s44_a_thousand_misses_of_one_key_are_one_request() {
    let gate = Arc::new(Barrier::new(2));
    let opens = Arc::clone(&gate);
    let stage = Stage::with(
        "wharf.cache: 10m",
        |builder| builder.env("WHARF_WORKERS", "2"),
        move |_, _| {
            opens.wait();
            with("", "one for all")
        },
    );
    let mut clients: Vec<Peer> = (0..1000).map(|_| stage.site.send(get("/hot"))).collect();
    // All of them wait by now, or will find it.
    gate.wait();
    for client in &mut clients {
        let answer = client.message();
        assert_eq!((answer.status(), &*answer.text()), (200, "one for all"));
        assert!(["MISS", "HIT"].contains(&word(&answer)));
    }
    assert_eq!(stage.asked(), 1);
}

/// S44: a client that takes nothing of it holds up nobody else, and its answer comes whole in the end.
#[test]
fn s44_a_slow_client_does_not_hold_up_the_others() {
    let size = 6 << 20;
    let stage = Stage::new("wharf.cache: 10m", move |_, _| with("", &"y".repeat(size)));
    let mut slow = stage.site.send(get("/big"));
    let _ = slow.head();
    for _ in 0..3 {
        assert_eq!(stage.get("/big").body.len(), size);
    }
    assert_eq!(stage.asked(), 1);
    assert_eq!(slow.exactly(size).len(), size);
}

/// S45: who is kept away from the cache.
#[test]
fn s45_bypasses_are_not_answered_and_not_stored() {
    let labels =
        "wharf.cache: 10m\nwharf.cache.bypass: cookie:session, arg:nocache, path:/admin/**";
    let stage = Stage::new(labels, |n, _| with("", &n.to_string()));
    let ask = |path: &str, fields: &[&str]| stage.ask("GET", path, fields);
    assert_eq!(ask("/", &[]).text(), "1");
    for (path, fields) in [
        ("/", &["Cookie: a=b; session=1"][..]),
        ("/?nocache", &[]),
        ("/admin/x", &[]),
        ("/admin/x", &[]),
    ] {
        let answer = ask(path, fields);
        assert_eq!(word(&answer), "BYPASS", "{path}");
    }
    assert_eq!(stage.asked(), 5);
    assert_eq!(
        (
            word(&ask("/", &[])),
            &*ask("/", &["Cookie: sessions=1"]).text()
        ),
        ("HIT", "1")
    );
    // Read alone: what comes is stored, as in nginx where only proxy_cache_bypass is set.
    let labels =
        "wharf.cache: 10m\nwharf.cache.bypass.read: arg:fresh\nwharf.cache.key: {host}{path}";
    let stage = Stage::new(labels, |n, _| with("", &n.to_string()));
    assert_eq!(stage.get("/").text(), "1");
    assert_eq!(stage.get("/?fresh").text(), "2");
    assert_eq!(
        (word(&stage.get("/")), &*stage.get("/?other").text()),
        ("HIT", "2")
    );
    // Store alone: answered from the cache, but fills nothing.
    let labels = "wharf.cache: 10m\nwharf.cache.bypass.store: cookie:session";
    let stage = Stage::new(labels, |n, _| with("", &n.to_string()));
    let session = ["Cookie: session=1"];
    assert_eq!(stage.ask("GET", "/", &session).text(), "1");
    assert_eq!(stage.get("/").text(), "2");
    assert_eq!(
        (word(&stage.ask("GET", "/", &session)), stage.asked()),
        ("HIT", 2)
    );
}

/// S40: a key of one's own.
#[test]
fn s40_a_label_says_what_tells_answers_apart() {
    let labels = "wharf.cache: 10m\nwharf.cache.key: {host}{path}{cookie:lang}{arg:page}";
    let stage = Stage::new(labels, |n, _| with("", &n.to_string()));
    let ask = |path: &str, fields: &[&str]| stage.ask("GET", path, fields).text();
    assert_eq!(ask("/a?utm=1", &[]), "1");
    assert_eq!(ask("/a?utm=2", &[]), "1");
    assert_eq!(ask("/a?page=2", &[]), "2");
    assert_eq!(ask("/a?x&page=2", &[]), "2");
    assert_eq!(ask("/a", &["Cookie: lang=de"]), "3");
    // No part runs into the next.
    assert_eq!(ask("/a?page=x", &["Cookie: lang=de"]), "4");
    assert_eq!(ask("/a", &["Cookie: lang=de%0ax"]), "5");
}

/// S46: the words are nginx's; a label takes them away.
#[test]
fn s46_clients_are_told_unless_a_label_says_no() {
    let stage = Stage::new("wharf.cache: 10m\nwharf.cache.header: off", |_, _| {
        with("", "x")
    });
    stage.get("/");
    let again = stage.get("/");
    assert!(again.field("age").is_some());
    assert_eq!(
        (again.field("x-cache-status"), again.field("cache-status")),
        (None, None)
    );
}

/// S47: a path of the same app without a cache.
#[test]
fn s47_a_named_route_has_none() {
    let labels = "wharf.cache: 10m\nwharf.live.path: /live\nwharf.live.cache: off";
    let stage = Stage::new(labels, |n, _| with("", &n.to_string()));
    stage.get("/a");
    assert_eq!(word(&stage.get("/a")), "HIT");
    stage.get("/live");
    assert_eq!((word(&stage.get("/live")), stage.asked()), ("none", 3));
}

/// S48: what is too old is asked about, and given again where it is still good.
#[test]
fn s48_what_is_too_old_is_asked_about() {
    let stage = Stage::new("wharf.cache: on\nwharf.cache.stale: off", |n, request| {
        let tag = request.field("if-none-match");
        match (n, tag) {
            (1, _) => with("Cache-Control: max-age=0\nETag: \"1\"\nX-N: 1", "first"),
            (2, Some("\"1\"")) => {
                b"HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\nX-N: 2\r\n\r\n".to_vec()
            }
            (3, Some("\"1\"")) => with("Cache-Control: max-age=60\nETag: \"2\"", "second"),
            _ => status(500, "", ""),
        }
    });
    assert_eq!(word(&stage.get("/")), "MISS");
    let second = stage.get("/");
    assert_eq!((word(&second), &*second.text()), ("REVALIDATED", "first"));
    assert_eq!(second.field("x-n"), Some("2"));
    let third = stage.get("/");
    assert_eq!((word(&third), &*third.text()), ("EXPIRED", "second"));
    let fourth = stage.get("/");
    assert_eq!((word(&fourth), &*fourth.text()), ("HIT", "second"));
    assert_eq!(stage.asked(), 3);
}

/// S50: conditions and ranges are answered from what is stored; the app is asked for the whole.
#[test]
fn s50_conditions_and_ranges_are_answered_from_the_whole() {
    let stage = Stage::new("wharf.cache: 10m", |_, _| {
        with(
            "ETag: \"t\"\nLast-Modified: Thu, 01 Jan 2015 00:00:00 GMT\nContent-Type: text/plain",
            "0123456789",
        )
    });
    let ask = |fields: &[&str]| stage.ask("GET", "/", fields);
    // The first one, too.
    let part = ask(&["Range: bytes=2-4"]);
    assert_eq!((part.status(), &*part.text()), (206, "234"));
    assert_eq!(part.field("content-range"), Some("bytes 2-4/10"));
    assert_eq!(stage.last().field("range"), None);
    for (fields, status, text) in [
        (&["Range: bytes=-3"][..], 206, "789"),
        (&["Range: bytes=8-"], 206, "89"),
        (&["Range: bytes=20-"], 416, ""),
        (&["Range: lines=1-2"], 200, "0123456789"),
        (&["Range: bytes=0-1", "If-Range: \"t\""], 206, "01"),
        (&["Range: bytes=0-1", "If-Range: \"u\""], 200, "0123456789"),
        (&["If-None-Match: \"t\""], 304, ""),
        (&["If-None-Match: W/\"t\", \"z\""], 304, ""),
        (&["If-None-Match: \"u\""], 200, "0123456789"),
        (
            &["If-Modified-Since: Thu, 01 Jan 2015 00:00:00 GMT"],
            304,
            "",
        ),
        (
            &["If-Modified-Since: Wed, 01 Jan 2014 00:00:00 GMT"],
            200,
            "0123456789",
        ),
    ] {
        let answer = ask(fields);
        assert_eq!(
            (answer.status(), &*answer.text()),
            (status, text),
            "{fields:?}"
        );
        assert_eq!(word(&answer), "HIT", "{fields:?}");
        let range = answer.field("content-range");
        assert!(status != 416 || range == Some("bytes */10"), "{range:?}");
        assert!(status != 304 || answer.field("content-length").is_none());
    }
    let several = ask(&["Range: bytes=0-1, 8-"]);
    assert_eq!(several.status(), 206);
    let kind = several.field("content-type").unwrap();
    let boundary = kind
        .strip_prefix("multipart/byteranges; boundary=")
        .unwrap();
    let part = |range: &str, text: &str| {
        format!(
            "\r\n--{boundary}\r\ncontent-type: text/plain\r\ncontent-range: bytes {range}/10\r\n\r\n{text}"
        )
    };
    let whole = part("0-1", "01") + &part("8-9", "89") + &format!("\r\n--{boundary}--\r\n");
    assert_eq!(several.text(), whole);
    assert_eq!(stage.asked(), 1);
}

/// A preset brings it along; a time of one's own does not let those in whom the preset keeps away.
#[test]
fn s45_a_preset_says_who_is_kept_away() {
    for labels in [
        "wharf.use: wordpress",
        "wharf.use: wordpress\nwharf.cache: 5m",
    ] {
        let stage = Stage::new(labels, |n, _| with("", &n.to_string()));
        stage.get("/");
        assert_eq!(word(&stage.get("/")), "HIT", "{labels}");
        let cookie = ["Cookie: wordpress_logged_in_x=1"];
        assert_eq!(word(&stage.ask("GET", "/", &cookie)), "BYPASS", "{labels}");
        assert_eq!(word(&stage.get("/wp-admin/x")), "BYPASS", "{labels}");
    }
    // A field without the switch changes nothing, and is named.
    let stage = Stage::new("wharf.cache.valid: 10m", |_, _| with("", "x"));
    stage.get("/");
    assert_eq!(word(&stage.get("/")), "none");
    let problems = stage.site.wharf.status_json()["problems"].to_string();
    assert!(problems.contains("set wharf.cache: on"), "{problems}");
}
