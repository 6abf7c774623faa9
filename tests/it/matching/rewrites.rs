//! `wharf.strip` and `wharf.rewrite` (product.md S13, B40): what the app is asked for, and what becomes of the paths
//! in its answers.

use crate::support::curl::curl;
use crate::support::docker::{App, unique};
use crate::support::nginx::{Both, get};
use crate::support::origin::Served;
use crate::support::wharf::Builder;

#[test]
fn prefixes_are_replaced_as_by_the_uri_of_a_proxy_pass() {
    let both = Both::start(
        &[
            (
                "strip",
                "wharf.host: a.test\nwharf.path: /strip\nwharf.strip: true",
            ),
            (
                "base",
                "wharf.host: a.test\nwharf.path: /base\nwharf.rewrite: /other/place",
            ),
            (
                "exact",
                "wharf.host: a.test\nwharf.path: =/exact\nwharf.rewrite: /there",
            ),
            ("root", "wharf.host: b.test\nwharf.rewrite: /below"),
        ],
        r"
        server {
            location /strip/ { proxy_pass http://@strip/; }
            location /base/ { proxy_pass http://@base/other/place/; }
            location = /exact { proxy_pass http://@exact/there; }
        }
        server { server_name b.test; location / { proxy_pass http://@root/below/; } }
        ",
    );
    for (host, target, expected) in [
        ("a.test", "/strip/", "strip /"),
        ("a.test", "/strip/x/y?z=/strip/", "strip /x/y?z=/strip/"),
        ("a.test", "/%73trip/x", "strip /x"),
        ("a.test", "/base/x?y", "base /other/place/x?y"),
        ("a.test", "/exact?x", "exact /there?x"),
        ("b.test", "/", "root /below/"),
        ("b.test", "/x/?y", "root /below/x/?y"),
    ] {
        assert_eq!(both.get(host, target), expected, "{target}");
    }
    // Unlike nginx Wharf passes the rest on as it was written.
    let (wharf, theirs) = both.ask(&get("a.test", "/strip/a%2Fb%20c"));
    assert_eq!(wharf.text(), "strip /a%2Fb%20c");
    assert_eq!(theirs.text(), "strip /a/b%20c");
    // And what was put in front cannot be climbed out of.
    for target in [
        "/base/x/../../base/y",
        "/base/%2e%2e/base/y",
        "/strip/a/../b",
    ] {
        let (wharf, _) = both.ask(&get("a.test", target));
        assert_eq!(wharf.status(), 400, "{target}");
    }
}

#[test]
fn rules_rewrite_as_those_of_nginx_do() {
    let both = Both::start(
        &[(
            "app",
            "wharf.host: a.test\nwharf.rewrite: ^/v1/(.*)$ -> /api/{1}, ~*^/user/(?<name>[a-z]{2,9})$ -> /u?name={name}, \
             /static/*/latest/** -> /files/{1}/{2}?, ^/gone -> /index",
        )],
        r#"
        server {
            location / {
                rewrite ^/v1/(.*)$ /api/$1 break;
                rewrite "(?i)^/user/([a-z]{2,9})$" /u?name=$1 break;
                rewrite ^/static/([^/]*)/latest/(.*)$ /files/$1/$2? break;
                rewrite ^/gone /index break;
                proxy_pass http://@app;
            }
        }
        "#,
    );
    for (target, expected) in [
        ("/v1/x/y", "/api/x/y"),
        ("/v1/x?y=1", "/api/x?y=1"),
        ("/v1/a%20b", "/api/a%20b"),
        ("/v1/caf%C3%A9", "/api/caf%C3%A9"),
        ("/User/jo", "/u?name=jo"),
        ("/user/jo?x=1", "/u?name=jo&x=1"),
        ("/user/j", "/user/j"),
        ("/static/a/latest/b/c?x", "/files/a/b/c"),
        ("/gone/with/it", "/index"),
        ("/other?x", "/other?x"),
    ] {
        assert_eq!(both.get("a.test", target), format!("app {expected}"));
    }
    let (wharf, _) = both.ask(&get("a.test", "/v1/x/../../v1/y"));
    assert_eq!(wharf.status(), 400);
}

/// An app that answers with what its query says, as `location=/x`; `+` is a blank.
fn told() -> Served {
    Served::by(|request| {
        let target = request.head.split(' ').nth(1).unwrap();
        let fields = target.split_once('?').unwrap().1.split('&');
        let host = request.field("host").unwrap();
        let fields = fields.map(|pair| {
            pair.replacen('=', ": ", 1)
                .replace("HOST", host)
                .replace('+', " ")
                + "\r\n"
        });
        let fields: String = fields.collect();
        format!("HTTP/1.1 302 Found\r\nContent-Length: 0\r\n{fields}\r\n").into_bytes()
    })
}

#[test]
fn addresses_in_answers_come_back_as_with_a_proxy_redirect() {
    let both = Both::of(
        vec![
            (
                "strip",
                "wharf.host: a.test\nwharf.path: /app\nwharf.strip: true",
                told(),
            ),
            (
                "base",
                "wharf.host: b.test\nwharf.path: /app\nwharf.rewrite: /in",
                told(),
            ),
            (
                "kept",
                "wharf.host: c.test\nwharf.path: /app\nwharf.strip: true\nwharf.strip.cookies: off",
                told(),
            ),
        ],
        // What `proxy_redirect default` does not know: relative addresses, and the client's own host.
        r"
        server {
            server_name a.test;
            location /app/ {
                proxy_pass http://@strip/;
                proxy_redirect ~^(http://a\.test)?/(?!app/)(.*)$ $1/app/$2;
                proxy_redirect http://@strip/ /app/;
                proxy_cookie_path ~^/(.+)$ /app/$1;
                proxy_cookie_path ~^/$ /app;
            }
        }
        server {
            server_name b.test;
            location /app/ {
                proxy_pass http://@base/in/;
                proxy_redirect ~^(http://b\.test)?/in/(.*)$ $1/app/$2;
                proxy_cookie_path /in/ /app/;
            }
        }
        server {
            server_name c.test;
            location /app/ { proxy_pass http://@kept/; proxy_redirect / /app/; }
        }
        ",
    );
    for (host, query, expected) in [
        ("a.test", "location=/x", "location: /app/x"),
        ("a.test", "location=/app/x", "location: /app/x"),
        ("a.test", "location=x", "location: x"),
        (
            "a.test",
            "location=http://HOST/x",
            "location: http://a.test/app/x",
        ),
        (
            "a.test",
            "location=http://other.test/x",
            "location: http://other.test/x",
        ),
        ("a.test", "refresh=5;url=/x", "refresh: 5;url=/app/x"),
        (
            "a.test",
            "set-cookie=a=b;+Path=/x",
            "set-cookie: a=b; Path=/app/x",
        ),
        (
            "a.test",
            "set-cookie=a=b;+Path=/",
            "set-cookie: a=b; Path=/app",
        ),
        ("b.test", "location=/in/x", "location: /app/x"),
        ("b.test", "location=/other/x", "location: /other/x"),
        (
            "b.test",
            "set-cookie=a=b;+Path=/in/x",
            "set-cookie: a=b; Path=/app/x",
        ),
        (
            "c.test",
            "set-cookie=a=b;+Path=/x",
            "set-cookie: a=b; Path=/x",
        ),
        ("c.test", "location=/x", "location: /app/x"),
    ] {
        let answer = both.same(&get(host, &format!("/app/?{query}")));
        let (name, value) = expected.split_once(": ").unwrap();
        assert_eq!(answer.field(name), Some(value), "{query}");
    }
    // nginx leaves this one as it is.
    let (wharf, _) = both.ask(&get("a.test", "/app/?content-location=/x"));
    assert_eq!(wharf.field("content-location"), Some("/app/x"));
}

#[test]
fn s13_b40_an_app_below_a_prefix_is_used_with_redirects_and_cookies() {
    let wharf = Builder::new().start();
    let host = format!("{}.test", unique("s13"));
    let app = App::new("s13").label("wharf.host", &host);
    let app = app.label("wharf.https", "both").label("wharf.path", "/app");
    let app = app.label("wharf.strip", "true");
    let app = app
        .label("wharf.old.path", "/v1")
        .label("wharf.old.strip", "false");
    let _container = app
        .label("wharf.old.rewrite", "^/v1/(.*)$ -> /json/{1}")
        .run();
    wharf.wait_answer(&host, "/app/", |answer| answer.status == 200);
    let root = wharf.local_root();
    let files = tempfile::tempdir().unwrap();
    let jar = files.path().join("cookies");
    let jar = jar.to_str().unwrap();
    let ask = |path: &str, words: &[&str]| {
        let curl = curl(&format!("https://{host}{path}"), wharf.https).root(&root);
        curl.arg(&["--cookie", jar, "--cookie-jar", jar])
            .arg(words)
            .run()
            .unwrap()
    };
    for version in ["--http1.1", "--http2"] {
        // The app sends its client to /json with a cookie for /; both are below /app to that one.
        let login = "/app/answer/302?location=/json&set-cookie=who=jo;Path=/";
        let told = ask(login, &["--location", version]).json();
        assert_eq!(told["uri"], "/json", "{told}");
        assert_eq!(told["headers"]["x-forwarded-prefix"][0], "/app");
        assert_eq!(told["headers"]["cookie"][0], "who=jo");
        let outside = ask("/v1/x?y=%2F", &[version]).json();
        assert_eq!(outside["uri"], "/json/x?y=%2F");
        assert_eq!(outside["headers"]["cookie"], serde_json::Value::Null);
    }
}
