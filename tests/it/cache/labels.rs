//! What other labels make of an answer, they make of one from the cache: for each client, each time.

use std::time::Duration;

use super::{Stage, status, with, word};
use crate::compress::decoded;
use crate::support::eventually;
use crate::support::peer::Message;
use crate::support::site::app;

const KEPT: &str = "Cache-Control: max-age=60";

/// How often a field is there.
fn times(answer: &Message, name: &str) -> usize {
    let lines = answer.head.lines();
    let named = |line: &&str| {
        line.split_once(':')
            .is_some_and(|(own, _)| own.eq_ignore_ascii_case(name))
    };
    lines.filter(named).count()
}

fn page(length: usize) -> String {
    "some text that gets smaller\n".repeat(length / 28)
}

/// `wharf.compress`: stored as the app has said it, compressed for who takes that.
#[test]
fn compressed_for_each_client() {
    let page = page(20_000);
    let whole = page.clone();
    let lines = "Content-Type: text/plain\nETag: \"t\"\nCache-Control: max-age=60";
    let stage = Stage::new("wharf.cache: on\nwharf.compress: on", move |_, _| {
        with(lines, &whole)
    });
    for (coding, hit) in [
        ("gzip", false),
        ("gzip", true),
        ("br", true),
        ("zstd", true),
    ] {
        let answer = stage.ask("GET", "/", &[&format!("Accept-Encoding: {coding}")]);
        assert_eq!(word(&answer) == "HIT", hit, "{}", answer.head);
        assert_eq!(answer.field("content-encoding"), Some(coding));
        assert_eq!(answer.field("etag"), Some("W/\"t\""), "{coding}");
        let vary = answer.field("vary").unwrap().to_ascii_lowercase();
        assert_eq!((&*vary, times(&answer, "vary")), ("accept-encoding", 1));
        assert_eq!(decoded(coding, &answer.body), page.as_bytes());
    }
    let plain = stage.get("/");
    assert_eq!((word(&plain), plain.text()), ("HIT", page.clone()));
    assert_eq!(plain.field("etag"), Some("\"t\""));
    assert_eq!(plain.field("content-encoding"), None);
    // A client that has the compressed one, and one that wants a part of it.
    for tag in ["W/\"t\"", "\"t\""] {
        let fields = ["Accept-Encoding: gzip", &format!("If-None-Match: {tag}")];
        let has = stage.ask("GET", "/", &fields);
        assert_eq!((has.status(), word(&has)), (304, "HIT"), "{tag}");
        assert_eq!(has.field("etag"), Some(tag), "of the one it has");
    }
    let part = stage.ask("GET", "/", &["Accept-Encoding: gzip", "Range: bytes=5-8"]);
    assert_eq!((part.status(), &*part.text()), (206, &page[5..9]));
    assert_eq!(part.field("content-encoding"), None);
    assert_eq!(stage.asked(), 1);
}

/// `wharf.buffer`: what is held for slow clients and what is kept for all are not in each other's way.
#[test]
fn buffered_or_not_it_is_the_same() {
    let page = page(6 << 20);
    let whole = page.clone();
    let stage = Stage::new("wharf.cache: on\nwharf.buffer: on mem=64k", move |_, _| {
        with(KEPT, &whole)
    });
    for expected in ["MISS", "HIT"] {
        let answer = stage.get("/");
        assert_eq!(word(&answer), expected);
        assert!(answer.text() == page, "another body");
    }
}

/// `wharf.sticky`: the cookie is for the client that was asked for, and in nobody's copy.
#[test]
fn a_clients_cookie_is_nobody_elses() {
    let stage = Stage::new("wharf.cache: on\nwharf.sticky: on", |_, _| with(KEPT, "x"));
    let first = stage.get("/");
    assert!(first.field("set-cookie").is_some(), "{}", first.head);
    for _ in 0..2 {
        let other = stage.get("/");
        assert_eq!((word(&other), times(&other, "set-cookie")), ("HIT", 0));
    }
}

/// `wharf.cors`: each origin is told of itself.
#[test]
fn each_origin_is_told_of_itself() {
    let labels = "wharf.cache: on\nwharf.cors: https://one.test, https://two.test";
    let stage = Stage::new(labels, |_, _| {
        with(&format!("Access-Control-Allow-Origin: *\n{KEPT}"), "x")
    });
    for (origin, allowed) in [
        ("https://one.test", Some("https://one.test")),
        ("https://two.test", Some("https://two.test")),
        ("https://evil.test", None),
    ] {
        for _ in 0..2 {
            let answer = stage.ask("GET", "/", &[&format!("Origin: {origin}")]);
            let told = answer.field("access-control-allow-origin");
            assert_eq!(told, allowed, "{}", answer.head);
            let vary = answer.field("vary").unwrap_or_default();
            assert!(vary.eq_ignore_ascii_case("origin"), "{}", answer.head);
        }
    }
    let plain = stage.get("/");
    assert_eq!(word(&plain), "HIT");
    assert_eq!(times(&plain, "access-control-allow-origin"), 0);
    assert_eq!(stage.asked(), 1);
}

/// `wharf.headers.response`, `wharf.security`: of each request, and once.
#[test]
fn edits_are_of_each_request() {
    let labels = "wharf.cache: on\nwharf.cache.key: {host}{path}\nwharf.security: strict\n\
        wharf.headers.response: -Server, X-Where={uri}, +X-More=1";
    let stage = Stage::new(labels, |_, _| {
        with(&format!("Server: app\nX-More: 0\n{KEPT}"), "x")
    });
    for (n, query) in ["a", "b", "c"].into_iter().enumerate() {
        let answer = stage.get(&format!("/page?{query}"));
        assert_eq!(word(&answer) == "HIT", n > 0);
        let uri = format!("/page?{query}");
        assert_eq!(answer.field("x-where"), Some(&*uri));
        let counts = ["server", "x-where", "x-more", "x-frame-options"].map(|f| times(&answer, f));
        assert_eq!(counts, [0, 1, 2, 1], "{}", answer.head);
    }
    assert_eq!(stage.asked(), 1);
}

/// `wharf.strip`, `wharf.rewrite`: addresses in what the app has said get the prefix back.
#[test]
fn addresses_get_their_prefix_back() {
    for labels in ["wharf.strip: on", "wharf.rewrite: /inner"] {
        let own = if labels.contains("strip") {
            ""
        } else {
            "/inner"
        };
        let labels = format!("wharf.path: /app\nwharf.cache: on\n{labels}");
        let stage = Stage::new(&labels, move |_, _| {
            status(301, &format!("Location: {own}/next\n{KEPT}"), "")
        });
        for expected in ["MISS", "HIT"] {
            let answer = stage.get("/app/page");
            assert_eq!((answer.status(), word(&answer)), (301, expected));
            assert_eq!(answer.field("location"), Some("/app/next"), "{labels}");
        }
    }
}

/// `wharf.errors.intercept`: the page is in place of an error that is kept, too.
#[test]
fn own_pages_stand_for_kept_errors() {
    let labels = "wharf.cache: on\nwharf.cache.valid: 404 1m\n\
        wharf.errors: 404 = app:/oops\nwharf.errors.intercept: on";
    let stage = Stage::new(labels, |_, request| match request.head.contains("/oops") {
        true => with("", "own page"),
        false => status(404, "", "raw"),
    });
    for _ in 0..2 {
        let answer = stage.get("/none");
        assert_eq!((answer.status(), &*answer.text()), (404, "own page"));
    }
}

/// `wharf.allow`, `wharf.ratelimit`: what is kept is for those that are let in, as often as they are.
#[test]
fn who_is_not_let_in_gets_nothing_kept() {
    let stage = Stage::with(
        "wharf.cache: on\nwharf.allow: 10.0.0.0/8",
        |builder| builder.env("WHARF_TRUSTED_PROXIES", "loopback"),
        |_, _| with(KEPT, "secret"),
    );
    let from = |address: &str| stage.ask("GET", "/", &[&format!("X-Forwarded-For: {address}")]);
    from("10.0.0.1");
    assert_eq!(word(&from("10.0.0.2")), "HIT");
    let refused = from("192.0.2.1");
    assert_eq!(
        (refused.status(), refused.text().contains("secret")),
        (403, false)
    );

    let stage = Stage::new(
        "wharf.cache: on\nwharf.ratelimit: 1r/h burst=1 nodelay",
        |_, _| with(KEPT, "x"),
    );
    let statuses = [0; 3].map(|_| stage.get("/").status());
    assert_eq!((statuses, stage.asked()), ([200, 200, 429], 1));
}

/// `wharf.auth.basic`: not even what the app calls public is for those without a password.
#[test]
fn a_login_is_asked_for_before_the_cache() {
    let labels = "wharf.cache: on\nwharf.auth.basic: u:$apr1$abcdefgh$C5orPJWI8v4Qy8kOPQ1vA.";
    let stage = Stage::new(labels, |_, _| {
        with("Cache-Control: public, max-age=60", "secret")
    });
    let basic = ["Authorization: Basic dTpw"];
    stage.ask("GET", "/", &basic);
    let known = stage.ask("GET", "/", &basic);
    assert_eq!((known.status(), word(&known)), (200, "HIT"));
    for wrong in [&[][..], &["Authorization: Basic dTp4"]] {
        let answer = stage.ask("GET", "/", wrong);
        assert_eq!(
            (answer.status(), answer.text().contains("secret")),
            (401, false)
        );
        assert_eq!(times(&answer, "x-cache-status"), 0);
    }
}

/// `wharf.maintenance`: the page of that, although what is kept would do.
#[test]
fn maintenance_is_not_answered_from_the_cache() {
    let labels = "wharf.cache: on";
    let stage = Stage::new(labels, |_, _| with(KEPT, "x"));
    stage.get("/");
    assert_eq!(word(&stage.get("/")), "HIT");
    let again = |labels: &str| {
        let port = stage.app.as_ref().unwrap().port();
        let labels = format!("wharf.host: a.test\nwharf.tls: off\nwharf.cache: on\n{labels}");
        stage.site.engine.run(app("app", port, &labels));
    };
    again("wharf.maintenance: on");
    eventually("maintenance", Duration::from_secs(20), || {
        let answer = stage.get("/");
        match (answer.status(), word(&answer)) {
            (503, "none") => Ok(()),
            _ => Err(answer.head),
        }
    });
    // It was forgotten by nobody meanwhile.
    again("");
    eventually("the end of it", Duration::from_secs(20), || {
        let answer = stage.get("/");
        match word(&answer) {
            "HIT" => Ok(()),
            _ => Err(answer.head),
        }
    });
}
