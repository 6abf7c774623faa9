//! `wharf.redirect` and `wharf.redirect.from` (product.md B39).

use crate::explain::explain;
use crate::support::curl::curl;
use crate::support::docker::{App, unique};
use crate::support::nginx::Both;
use crate::support::origin::Served;
use crate::support::site::{Site, app, get};
use crate::support::wharf::Builder;

#[test]
fn rules_send_clients_where_those_of_nginx_do() {
    let both = Both::start(
        &[(
            "app",
            "wharf.host: a.test\nwharf.redirect: /old/* -> /new/{1} 301, /found -> /x?y=1 302, \
             ^/user/([0-9]{1,3})/(.*)$ -> https://u.test/{2}?id={1} 301, /bare -> /b? 301, /gone -> https://b.test{uri} 307",
        )],
        r#"
        server {
            location / {
                rewrite ^/old/(.*)$ /new/$1 permanent;
                rewrite ^/found$ /x?y=1 redirect;
                rewrite "^/user/([0-9]{1,3})/(.*)$" https://u.test/$2?id=$1 permanent;
                rewrite ^/bare$ /b? permanent;
                proxy_pass http://@app;
            }
            location = /gone { return 307 https://b.test$request_uri; }
        }
        "#,
    );
    for (target, status, location) in [
        ("/old/a/b", 301, "/new/a/b"),
        ("/old/a?x=1", 301, "/new/a?x=1"),
        ("/old/", 301, "/new/"),
        ("/%6fld/caf%C3%A9", 301, "/new/caf%C3%A9"),
        ("/found", 302, "/x?y=1"),
        ("/found?z", 302, "/x?y=1&z"),
        ("/user/12/a", 301, "https://u.test/a?id=12"),
        ("/bare?x", 301, "/b"),
        ("/gone?x=%2F", 307, "https://b.test/gone?x=%2F"),
    ] {
        let answer = both.same(&get(target));
        let told = (answer.status(), answer.field("location"));
        assert_eq!(told, (status, Some(location)), "{target}");
    }
    for target in ["/older", "/old", "/user/1234/a", "/found/x"] {
        assert_eq!(both.get("a.test", target), format!("app {target}"));
    }
    // nginx's variables hold what was decoded: it would send this one to `//evil.test/`.
    let (wharf, _) = both.ask(&get("/old//evil.test/"));
    assert_eq!(wharf.field("location"), Some("/new//evil.test/"));
}

#[test]
fn a_redirect_leads_to_https_at_once_and_never_in_a_circle() {
    let served = Served::text("app");
    let site = Site::start([app(
        "app",
        served.port(),
        "wharf.host: a.test, [::1]\nwharf.redirect: /old -> /new, /** -> /{1}, /x -> https://b.test/\n\
         wharf.tls: internal\nwharf.redirect.from: www.a.test, *.old.test\nwharf.hsts: on\n\
         wharf.both.host: c.test\nwharf.both.https: both\nwharf.both.redirect.from: www.c.test",
    )]);
    let port = site.wharf.https.port();
    let moved = |method: &str, host: &str, target: &str| {
        let request = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let answer = site.send(request).message();
        let location = answer.field("location").map(str::to_owned);
        (answer.status(), location.unwrap_or_else(|| answer.text()))
    };
    for (method, host, target, status, location) in [
        (
            "GET",
            "a.test",
            "/old?x",
            301,
            format!("https://a.test:{port}/new?x"),
        ),
        (
            "POST",
            "a.test",
            "/old",
            308,
            format!("https://a.test:{port}/new"),
        ),
        (
            "GET",
            "[::1]:80",
            "/old",
            301,
            format!("https://[::1]:{port}/new"),
        ),
        (
            "GET",
            "www.a.test:80",
            "/y?z",
            301,
            format!("https://a.test:{port}/y?z"),
        ),
        (
            "PUT",
            "1.old.test",
            "/",
            308,
            format!("https://a.test:{port}/"),
        ),
        ("GET", "www.c.test", "/y", 301, "http://c.test/y".to_owned()),
        (
            "GET",
            "www.c.test:8080",
            "/y",
            301,
            "http://c.test:8080/y".to_owned(),
        ),
        // Where it is already.
        ("GET", "c.test", "/y", 200, "app".to_owned()),
        ("GET", "c.test", "/old", 301, "/new".to_owned()),
    ] {
        assert_eq!(
            moved(method, host, target),
            (status, location),
            "{host}{target}"
        );
    }
    let told = explain(&site.wharf, &["http://www.a.test/y"]).stdout;
    let verdict = format!("would get 301 to https://a.test:{port}/y\n");
    assert!(String::from_utf8(told).unwrap().contains(&verdict));
    let tls = |name: &str, target: &str| {
        let mut client = site.tls(name).unwrap();
        let answer = client
            .send(format!("GET {target} HTTP/1.1\r\nHost: {name}\r\n\r\n"))
            .message();
        assert!(answer.field("strict-transport-security").is_some() || answer.status() == 200);
        (answer.status(), answer.field("location").map(str::to_owned))
    };
    assert_eq!(
        tls("www.a.test", "/y"),
        (301, Some("https://a.test/y".to_owned()))
    );
    assert_eq!(tls("a.test", "/old"), (301, Some("/new".to_owned())));
    assert_eq!(tls("a.test", "/y"), (200, None));
}

#[test]
fn b39_visitors_of_old_names_and_addresses_arrive_at_the_app() {
    let wharf = Builder::new().start();
    let host = format!("{}.test", unique("b39"));
    let names = format!("www.{host}, old-{host}");
    let app = App::new("b39").label("wharf.host", &host);
    let app = app.label("wharf.redirect.from", &names);
    let _container = app.label("wharf.redirect", "/old/* -> /json/{1} 301").run();
    wharf.wait_answer(&host, "/", |answer| answer.status == 301);
    wharf.wait_status("the app", |status| status.to_string().contains("\"ok\""));
    let root = wharf.local_root();
    // One address for each scheme: names lead nowhere here.
    let follow = |mut url: String| {
        for _ in 0..5 {
            let address = match url.starts_with("https") {
                true => wharf.https,
                false => wharf.http,
            };
            let answer = curl(&url, address).root(&root).run().unwrap();
            match answer.location.is_empty() {
                true => return answer,
                false => url = answer.location,
            }
        }
        panic!("sent on and on to {url}");
    };
    for url in [
        format!("http://www.{host}/old/a?x=1"),
        format!("https://www.{host}/old/a?x=1"),
        format!("https://old-{host}/json/a?x=1"),
    ] {
        let told = follow(url.clone()).json();
        assert_eq!(told["uri"], "/json/a?x=1", "{url}: {told}");
        assert_eq!(
            told["headers"]["host"][0]
                .as_str()
                .unwrap()
                .split(':')
                .next(),
            Some(&*host)
        );
    }
}
