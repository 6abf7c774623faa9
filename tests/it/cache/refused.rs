//! S42 and hardening: what is for one client is never given to another.

use super::{Stage, status, with, word};
use crate::support::origin::Origin;
use crate::support::site::{Site, get};

/// S42: a cookie, `Vary`, a login.
#[test]
fn s42_what_is_for_one_client_is_not_stored() {
    let stage = Stage::new("wharf.cache: 10m", |n, request| {
        let path = request.head.split(' ').nth(1).unwrap();
        let body = n.to_string();
        match path {
            "/cookie" => with("Set-Cookie: session=1", &body),
            "/any" => with("Vary: *", &body),
            "/lang" => with("Vary: Accept-Language", &body),
            "/client" => with("Vary: X-Forwarded-For", &body),
            "/shared" => with("Cache-Control: public, max-age=60", &body),
            _ => with("", &body),
        }
    });
    let twice = |path: &str, a: &[&str], b: &[&str]| {
        stage.ask("GET", path, a);
        let second = stage.ask("GET", path, b);
        word(&second) == "HIT"
    };
    let basic = ["Authorization: Basic dTpw"];
    assert!(!twice("/cookie", &[], &[]));
    assert!(!twice("/any", &[], &[]));
    assert!(!twice("/client", &[], &[]));
    let (de, en) = (["Accept-Language: de"], ["Accept-Language: en"]);
    assert!(!twice("/lang", &de, &en));
    assert!(twice("/lang", &de, &en));
    assert!(!twice("/login", &basic, &[]));
    assert!(!twice("/login2", &[], &basic));
    assert!(twice("/shared", &basic, &[]));
}

/// What an unsafe request answers ends what is stored (RFC 9111 section 4.4).
#[test]
fn s42_what_changes_a_page_makes_it_be_asked_for_again() {
    let labels = "wharf.cache: 10m\nwharf.get.match: method:GET|HEAD\nwharf.get.path: /split";
    let stage = Stage::new(labels, |n, request| {
        match &request.head[..request.head.find(' ').unwrap()] {
            "POST" if request.head.contains("/refused") => status(403, "", ""),
            "POST" => status(302, "Location: /list?page=1", ""),
            _ => with("", &n.to_string()),
        }
    });
    for path in ["/item", "/list?page=1", "/other", "/refused", "/split"] {
        stage.get(path);
        assert_eq!(word(&stage.get(path)), "HIT");
    }
    for path in ["/item", "/refused", "/split"] {
        let answer = stage.ask("POST", path, &["Content-Length: 0"]);
        assert_eq!(word(&answer), "BYPASS", "{path}");
    }
    for (path, known) in [
        ("/item", false),
        ("/list?page=1", false),
        ("/split", false),
        ("/other", true),
        ("/refused", true),
    ] {
        assert_eq!(word(&stage.get(path)) == "HIT", known, "{path}");
    }
}

/// Web cache deception: a page under a name for something else is not kept by a label's word.
#[test]
fn s42_an_account_page_is_no_stylesheet() {
    let stage = Stage::new("wharf.cache: 10m", |n, _| {
        with("Content-Type: text/html", &format!("account {n}"))
    });
    for path in [
        "/account/x.css",
        "/account/x.js?y",
        "/account%2fx.png",
        "/account/;x.jpg",
    ] {
        stage.get(path);
        let again = stage.get(path);
        assert_ne!(word(&again), "HIT", "{path}");
    }
    stage.get("/account");
    assert_eq!(word(&stage.get("/account")), "HIT");
}

/// Cache poisoning: fields that change what an app answers, though they are in no key, change it for those who send
/// them alone.
#[test]
fn s42_what_one_client_smuggles_in_is_for_that_one_alone() {
    let stage = Stage::new("wharf.cache: 10m", |_, request| {
        let told = request
            .field("x-forwarded-host")
            .or_else(|| request.field("x-host"));
        let url = request
            .field("x-original-url")
            .or_else(|| request.field("x-rewrite-url"));
        let (told, url) = (told.unwrap_or("none"), url.unwrap_or("none"));
        with(
            "",
            &format!(
                "host {told} url {url} {}",
                request.field("x-forwarded-scheme").unwrap_or("")
            ),
        )
    });
    for field in [
        "X-Forwarded-Host: evil.test",
        "X-Host: evil.test",
        "X-Original-URL: /evil",
        "X-Rewrite-URL: /evil",
        "X_Host: evil.test",
        "X-Forwarded-Scheme: evil",
        "X-Forwarded-Prefix: /evil",
        "Forwarded: host=evil.test",
    ] {
        let path = format!("/{}", field.split(':').next().unwrap());
        let poison = stage.ask("GET", &path, &[field]);
        assert_eq!(poison.status(), 200);
        let victim = stage.get(&path);
        assert!(
            !victim.text().contains("evil"),
            "{field}: {}",
            victim.text()
        );
        // And the other way round it is not the plain answer that says what was asked for.
        assert_eq!(word(&stage.get(&path)), "HIT", "{field}");
    }
    // A GET with content, another method in a field, another protocol: never.
    for fields in [
        &["Content-Length: 4\r\n\r\nevil"][..],
        &["X-HTTP-Method-Override: DELETE"],
        &["X-Method-Override: DELETE"],
    ] {
        let answer = stage.ask("GET", "/plain", fields);
        assert_eq!(word(&answer), "BYPASS", "{fields:?}");
    }
}

/// Behind a trusted proxy: what it says beside the host is part of the key.
#[test]
fn s42_what_a_trusted_proxy_says_tells_answers_apart() {
    let stage = Stage::with(
        "wharf.cache: 10m",
        |builder| builder.env("WHARF_TRUSTED_PROXIES", "loopback"),
        |_, request| with("", request.field("x-forwarded-host").unwrap_or("none")),
    );
    let ask = |host: &str| stage.ask("GET", "/", &[&format!("X-Forwarded-Host: {host}")]);
    assert_eq!(ask("one.test").text(), "one.test");
    assert_eq!(ask("two.test").text(), "two.test");
    assert_eq!(
        (word(&ask("two.test")), &*ask("one.test").text()),
        ("HIT", "one.test")
    );
    assert_eq!(stage.get("/").text(), "a.test");
    assert_eq!((word(&ask("A.test")), stage.asked()), ("HIT", 3));
}

/// An answer that breaks off is a part of something: it reaches who waits, cut, and nobody after.
#[test]
fn s42_what_breaks_off_is_cut_and_not_stored() {
    let origin = Origin::new();
    let site = Site::plain(origin.port(), "wharf.cache: 10m\nwharf.retry: off");
    for (head, body) in [
        ("Content-Length: 10", "short"),
        ("Transfer-Encoding: chunked", "5\r\nshort\r\n"),
    ] {
        let path = format!("/{}", head.len());
        let mut first = site.send(get(&path));
        let mut app = origin.accept();
        app.message();
        app.send(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}"));
        assert!(first.head().contains("MISS"));
        first.until("short");
        // Another one joins what is coming.
        let mut second = site.send(get(&path));
        second.until("short");
        drop(app);
        for client in [&mut first, &mut second] {
            let (rest, _) = client.rest();
            assert!(!rest.ends_with("0\r\n\r\n"), "{rest:?} passes for the end");
        }
        let mut third = site.send(get(&path));
        let (_app, _) = origin.answer("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole");
        let third = third.message();
        assert_eq!((word(&third), &*third.text()), ("MISS", "whole"));
    }
}

/// only-if-cached, no-store and reloads: what clients may ask for (RFC 9111 section 5.2.1).
#[test]
fn s42_clients_may_ask_for_something_newer() {
    let stage = Stage::new("wharf.cache: on", |n, _| {
        with("Cache-Control: max-age=60", &n.to_string())
    });
    let ask = |what: &str| stage.ask("GET", "/", &[&format!("Cache-Control: {what}")]);
    let only = ask("only-if-cached");
    assert_eq!((only.status(), stage.asked()), (504, 0));
    assert_eq!(stage.get("/").text(), "1");
    assert_eq!(
        (ask("only-if-cached").text(), ask("max-age=60").text()),
        ("1".into(), "1".into())
    );
    let newer = ask("no-cache");
    assert_eq!((word(&newer), &*newer.text()), ("EXPIRED", "2"));
    assert_eq!(stage.get("/").text(), "2");
    // Kept by nobody.
    assert_eq!(
        stage
            .ask("GET", "/secret", &["Cache-Control: no-store"])
            .text(),
        "3"
    );
    assert_eq!(stage.get("/secret").text(), "4");
}

/// That an answer was not for all keeps nobody waiting for the next ones, and none of those out of the cache.
#[test]
fn s42_what_becomes_storable_is_stored_at_once() {
    let stage = Stage::new("wharf.cache: on", |n, _| match n {
        1 => with("Cache-Control: no-store", "1"),
        _ => with("Cache-Control: max-age=60", &n.to_string()),
    });
    assert_eq!(stage.get("/").text(), "1");
    let second = stage.get("/");
    assert_eq!((word(&second), &*second.text()), ("MISS", "2"));
    let third = stage.get("/");
    assert_eq!((word(&third), &*third.text()), ("HIT", "2"));
}
