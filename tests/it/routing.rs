//! Which route takes a request, and what those get that none takes.

use rustls::AlertDescription;

use crate::support::engine::FakeEngine;
use crate::support::h2::H2;
use crate::support::origin::{Origin, Served, ok, refused_port};
use crate::support::peer::{Message, Peer};
use crate::support::site::{Site, app};
use crate::support::wharf::Builder;

fn request(method: &str, host: &str, path: &str, lines: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n")
}

fn plain(site: &Site, host: &str, path: &str) -> Message {
    site.send(request("GET", host, path, "")).message()
}

fn tls(site: &Site, sni: &str, host: &str) -> Result<Message, rustls::Error> {
    let mut client = site.tls(sni)?;
    Ok(client.send(request("GET", host, "/", "")).message())
}

fn alert(site: &Site, sni: &str) -> AlertDescription {
    match site.tls(sni).err() {
        Some(rustls::Error::AlertReceived(alert)) => alert,
        other => panic!("{sni}: {other:?} is no alert"),
    }
}

#[test]
fn exact_hosts_go_before_wildcards_and_wildcards_before_the_default() {
    let (exact, wild, both, other) = (
        Served::text("exact"),
        Served::text("wild"),
        Served::text("both"),
        Served::text("other"),
    );
    let tls_off = |hosts: &str| format!("wharf.host: {hosts}\nwharf.tls: off");
    let site = Site::start([
        app(
            "exact",
            exact.port(),
            &tls_off("a.test, x.w.test, 127.0.0.1, [::1]"),
        ),
        app("wild", wild.port(), &tls_off("*.w.test")),
        app("both", both.port(), &tls_off(".both.test")),
        app("other", other.port(), &tls_off("default")),
    ]);
    for (host, expected) in [
        ("a.test", "exact"),
        ("A.TEST.", "exact"),
        ("a.test:1234", "exact"),
        ("127.0.0.1:80", "exact"),
        ("[::1]:80", "exact"),
        ("x.w.test", "exact"),
        ("y.w.test", "wild"),
        ("w.test", "other"),
        ("z.y.w.test", "other"),
        ("both.test", "both"),
        ("x.both.test", "both"),
        ("unknown.test", "other"),
        ("localhost", "other"),
    ] {
        assert_eq!(plain(&site, host, "/").text(), expected, "{host}");
    }
}

#[test]
fn the_longest_path_wins_on_segment_boundaries() {
    let (root, api, admin) = (
        Served::text("root"),
        Served::text("api"),
        Served::text("admin"),
    );
    let named = format!(
        "wharf.host: a.test\nwharf.tls: off\nwharf.port: {}\nwharf.api.path: /api\nwharf.api.port: {}\n\
         wharf.admin.path: /api/admin\nwharf.admin.port: {}\nwharf.other.host: b.test",
        root.port(),
        api.port(),
        admin.port(),
    );
    let site = Site::start([app("app", root.port(), &named)]);
    for (host, path, expected) in [
        ("a.test", "/", "root"),
        ("a.test", "/apix", "root"),
        ("a.test", "/api", "api"),
        ("a.test", "/api/", "api"),
        ("a.test", "/api?x", "api"),
        ("a.test", "/api/adminx", "api"),
        ("a.test", "/api/admin/x", "admin"),
        ("a.test", "/API", "root"),
        ("b.test", "/api", "root"),
    ] {
        assert_eq!(plain(&site, host, path).text(), expected, "{host}{path}");
    }
}

#[test]
fn who_is_not_served_is_told_so() {
    let served = Served::text("hi");
    let labels = "wharf.host: a.test\nwharf.path: /app\nwharf.tls: internal";
    let site = Site::start([app("app", served.port(), labels)]);
    assert_eq!(plain(&site, "b.test", "/").status(), 404);
    assert_eq!(plain(&site, "a.test.evil.test", "/app").status(), 404);
    assert_eq!(tls(&site, "a.test", "a.test").unwrap().status(), 404);
    for name in ["b.test", "x.a.test", "test"] {
        assert_eq!(
            alert(&site, name),
            AlertDescription::UnrecognisedName,
            "{name}"
        );
    }
    assert_eq!(served.connections(), 0);
}

#[test]
fn plain_http_gets_what_the_route_wants_it_to() {
    let served = Served::text("hi");
    let modes = [
        ("redirect", 301),
        ("both", 200),
        ("only", 403),
        ("off", 200),
    ];
    let containers = modes.map(|(mode, _)| {
        let labels = format!("wharf.host: {mode}.test\nwharf.https: {mode}\nwharf.tls: internal");
        app(mode, served.port(), &labels)
    });
    let site = Site::start(containers);
    let port = site.wharf.https.port();
    for (mode, status) in modes {
        let host = format!("{mode}.test");
        let answer = plain(&site, &format!("{host}:8080"), "/a%20b?c=d&e");
        assert_eq!(answer.status(), status, "{mode}");
        let location = (mode == "redirect").then(|| format!("https://{host}:{port}/a%20b?c=d&e"));
        assert_eq!(answer.field("location").map(str::to_owned), location);
        match mode {
            "off" => assert_eq!(alert(&site, &host), AlertDescription::UnrecognisedName),
            _ => assert_eq!(tls(&site, &host, &host).unwrap().text(), "hi", "{mode}"),
        }
    }
    for (method, status) in [("HEAD", 301), ("POST", 308), ("PUT", 308), ("OPTIONS", 308)] {
        let answer = site
            .send(request(method, "redirect.test", "/x", ""))
            .message();
        assert_eq!(answer.status(), status, "{method}");
    }
    // A challenge of the application's own ACME client is the application's; no other path is.
    let challenge = "/.well-known/acme-challenge/";
    let token = format!("{challenge}evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA");
    assert_eq!(plain(&site, "redirect.test", &token).text(), "hi");
    let below = format!("{challenge}../../admin");
    assert_eq!(plain(&site, "redirect.test", &below).status(), 301);
}

#[test]
fn without_tls_nothing_is_redirected() {
    let served = Served::text("hi");
    let site = Site::plain(served.port(), "");
    assert_eq!(plain(&site, "a.test", "/").text(), "hi");
    assert_eq!(alert(&site, "a.test"), AlertDescription::UnrecognisedName);
    let labels = "wharf.host: a.test\nwharf.tls: internal";
    let site = Site::with([app("app", served.port(), labels)], |wharf| {
        wharf.env("WHARF_HTTPS", "off")
    });
    assert_eq!(plain(&site, "a.test", "/").text(), "hi");
}

#[test]
fn a_connection_is_good_for_all_hosts_of_one_tenant_only() {
    let (ours, theirs) = (Served::text("ours"), Served::text("theirs"));
    let site = Site::start([
        app(
            "ours",
            ours.port(),
            "wharf.host: a.test, b.test, *.w.test\nwharf.tls: internal",
        ),
        app(
            "theirs",
            theirs.port(),
            "wharf.host: c.test\nwharf.tls: internal",
        ),
    ]);
    for (sni, host, status) in [
        ("a.test", "a.test", 200),
        ("a.test", "A.test.:443", 200),
        ("a.test", "b.test", 200),
        ("a.test", "x.w.test", 200),
        ("y.w.test", "x.w.test", 200),
        ("a.test", "c.test", 421),
        ("c.test", "a.test", 421),
        ("a.test", "unknown.test", 404),
    ] {
        assert_eq!(
            tls(&site, sni, host).unwrap().status(),
            status,
            "{sni} {host}"
        );
    }
    let client = H2::connect_tls(site.wharf.https, "a.test", site.wharf.data());
    assert_eq!(client.get("https://b.test/", &[]).unwrap().text(), "ours");
    assert_eq!(client.get("https://c.test/", &[]).unwrap().status, 421);
    assert_eq!(
        client
            .get("https://a.test/", &[("host", "c.test")])
            .unwrap()
            .text(),
        "ours"
    );
}

#[test]
fn error_pages_come_as_the_client_likes_them() {
    let site = Site::plain(refused_port(), "");
    for (accept, kind, start) in [
        (
            "",
            "text/plain; charset=utf-8",
            "502 Bad Gateway: connecting to app at 127.0.0.1:",
        ),
        ("Accept: */*\r\n", "text/plain; charset=utf-8", "502 "),
        (
            "Accept: text/html,*/*;q=0.8\r\n",
            "text/html; charset=utf-8",
            "<!doctype html>",
        ),
        ("Accept: application/json\r\n", "application/json", "{"),
    ] {
        let answer = site.send(request("GET", "a.test", "/", accept)).message();
        assert_eq!(answer.status(), 502);
        assert_eq!(answer.field("content-type"), Some(kind));
        assert_eq!(answer.field("cache-control"), Some("no-store"));
        assert!(answer.text().starts_with(start), "{}", answer.text());
    }
    let mut client = site.send(request("HEAD", "a.test", "/", "Connection: close\r\n"));
    let (head, _) = client.rest();
    assert!(
        head.starts_with("HTTP/1.1 502 ") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
}

#[test]
fn a_websocket_is_refused_where_it_is_off() {
    let origin = Origin::new();
    let site = Site::plain(origin.port(), "wharf.websocket: off");
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let answer = site.send(request("GET", "a.test", "/", upgrade)).message();
    assert_eq!(answer.status(), 403);
    assert!(origin.accepted().is_none());
}

#[test]
fn a_label_error_closes_its_own_route_only() {
    let served = Served::text("hi");
    let site = Site::start([
        app(
            "good",
            served.port(),
            "wharf.host: good.test\nwharf.tls: off",
        ),
        app(
            "bad",
            served.port(),
            "wharf.host: bad.test\nwharf.tls: off\nwharf.cahce: 5m",
        ),
    ]);
    assert_eq!(plain(&site, "good.test", "/").text(), "hi");
    let answer = plain(&site, "bad.test", "/");
    assert_eq!(
        (answer.status(), answer.field("retry-after")),
        (503, Some("5"))
    );
    assert!(answer.text().contains("wharf.cahce"), "{}", answer.text());
}

#[test]
fn before_the_containers_are_known_nothing_is_said_to_be_unknown() {
    let served = Served::text("hi");
    let engine = FakeEngine::start();
    engine.fail("/containers/json", 500);
    engine.set_containers([app(
        "app",
        served.port(),
        "wharf.host: a.test\nwharf.tls: off",
    )]);
    let wharf = Builder::new().engine(&engine).start();
    let answer = wharf.get("a.test", "/").unwrap();
    assert_eq!(
        (answer.status, answer.header("retry-after")),
        (503, Some("5"))
    );
    assert!(answer.text().contains("starting"), "{}", answer.text());
    assert_eq!(
        crate::support::http::get(wharf.admin, "localhost", "/readyz")
            .unwrap()
            .status,
        503
    );
    let handshake = Peer::connect_tls(wharf.https, "a.test", wharf.data());
    let alert = rustls::Error::AlertReceived(AlertDescription::InternalError);
    assert_eq!(handshake.err(), Some(alert));
    engine.fail("", 0);
    assert_eq!(wharf.wait_route("a.test").text(), "hi");
}

#[test]
fn routes_follow_the_containers() {
    let (old, new) = (Served::text("old"), Served::by(|_| ok("new")));
    let labels = "wharf.host: a.test\nwharf.tls: off";
    let site = Site::start([app("old", old.port(), labels)]);
    let mut client = site.client();
    assert_eq!(
        client
            .send(request("GET", "a.test", "/", ""))
            .message()
            .text(),
        "old"
    );
    site.engine.remove("old");
    site.wharf
        .wait_answer("a.test", "/", |answer| answer.status == 503);
    assert_eq!(
        client
            .send(request("GET", "a.test", "/", ""))
            .message()
            .status(),
        503
    );
    site.engine.run(app("new", new.port(), labels));
    assert_eq!(site.wharf.wait_route("a.test").text(), "new");
    assert_eq!(
        client
            .send(request("GET", "a.test", "/", ""))
            .message()
            .text(),
        "new"
    );
    site.engine
        .run(app("new", new.port(), labels).state("exited"));
    site.wharf
        .wait_answer("a.test", "/", |answer| answer.status == 503);
    site.engine.run(app("new", new.port(), labels));
    assert_eq!(site.wharf.wait_route("a.test").text(), "new");
}
