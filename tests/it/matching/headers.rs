//! `wharf.headers.request`, `wharf.headers.response` and `wharf.security` (product.md S7, S8, S57, S58).

use crate::support::curl::curl;
use crate::support::docker::{App, unique};
use crate::support::h2::H2;
use crate::support::nginx::{Both, get};
use crate::support::origin::Served;
use crate::support::peer::Message;
use crate::support::site::Site;
use crate::support::wharf::Builder;

/// An app that tells which fields of these it got, and has its own.
fn app() -> Served {
    Served::by(|request| {
        let names = [
            "x-app",
            "x-powered-by",
            "x-kept",
            "cookie",
            "x-client",
            "x-new",
        ];
        let told = names.iter().flat_map(|name| {
            let values = request.fields(name);
            values.map(move |value| format!("{name}: {value}\n"))
        });
        let body: String = told.collect();
        let status = if request.head.starts_with("GET /404") {
            "404 Not Found"
        } else {
            "200 OK"
        };
        format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nServer: app/1.2\r\nX-Own: 1\r\nX-Own: 2\r\n\
             Cache-Control: private\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    })
}

fn told(answer: &Message, names: &[&str]) -> Vec<String> {
    let values = names.iter().flat_map(|name| {
        let values = answer.fields(name);
        values.map(move |value| format!("{name}: {value}"))
    });
    values.collect()
}

#[test]
fn fields_are_edited_as_by_the_directives_of_nginx() {
    let both = Both::of(
        vec![(
            "app",
            "wharf.host: a.test\nwharf.headers.request: X-App=blue, -X-Powered-By, x-kept=, ?X-New=\"a, b\", Cookie=c=d, X-Client={client_ip}\n\
             wharf.headers.response: -Server, X-Own=3, X-Where={scheme}://{host}{uri}, +X-More=1",
            app(),
        )],
        r#"
        server {
            location / {
                proxy_pass http://@app;
                proxy_set_header Host $http_host;
                proxy_set_header X-App blue;
                proxy_set_header X-Powered-By "";
                proxy_set_header X-Kept "";
                proxy_set_header X-New "a, b";
                proxy_set_header Cookie "c=d";
                proxy_set_header X-Client $remote_addr;
                proxy_hide_header X-Own;
                add_header X-Own 3 always;
                add_header X-Where $scheme://$host$request_uri always;
                add_header X-More 1 always;
            }
        }
        "#,
    );
    let fields = "X-App: red\r\nX-app: green\r\nX-Powered-By: x\r\nX-Kept: 1\r\nCookie: a=b\r\n";
    for (target, status) in [("/x?y=%2F", 200), ("/404", 404)] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n");
        let (wharf, theirs) = both.ask(&request);
        assert_eq!((wharf.status(), theirs.status()), (status, status));
        assert_eq!(wharf.text(), theirs.text(), "{target}");
        let names = ["x-own", "x-where", "x-more"];
        assert_eq!(told(&wharf, &names), told(&theirs, &names), "{target}");
        assert_eq!(wharf.field("server"), None);
    }
    let body = both.ask(&get("a.test", "/")).0.text();
    assert_eq!(
        body,
        "x-app: blue\ncookie: c=d\nx-client: 127.0.0.1\nx-new: a, b\n"
    );
}

#[test]
fn edits_reach_every_answer_over_both_protocols_and_leave_the_app_its_own_where_they_are_defaults()
{
    let served = app();
    let site = Site::plain(
        served.port(),
        "wharf.security: strict\nwharf.headers.response: ?Cache-Control=no-store, ?X-Set=1, -X-Frame-Options\n\
         wharf.api.path: /api\nwharf.api.headers.response: X-Set=2\nwharf.gone.path: /gone\n\
         wharf.gone.redirect: /gone -> /\nwharf.off.path: /off\nwharf.off.websocket: off\nwharf.off.security: off",
    );
    let all = [
        "cache-control: private",
        "x-set: 1",
        "x-content-type-options: nosniff",
        "referrer-policy: strict-origin-when-cross-origin",
        "content-security-policy: default-src 'self'",
        "x-xss-protection: 1; mode=block",
    ];
    let names = all.map(|line| line.split_once(": ").unwrap().0);
    let answer = site.send(get("a.test", "/")).message();
    assert_eq!(told(&answer, &names), all);
    assert_eq!(told(&answer, &["server", "x-frame-options"]), [""; 0]);
    let client = H2::connect(site.http());
    let answer = client.get("http://a.test/", &[]).unwrap();
    for line in all {
        let (name, value) = line.split_once(": ").unwrap();
        assert_eq!(answer.headers[name], value, "{line}");
    }
    assert!(!answer.headers.contains_key("server"));
    let api = site.send(get("a.test", "/api")).message();
    assert_eq!(
        told(&api, &["x-set", "x-xss-protection"]),
        ["x-set: 2", all[5]]
    );
    // Wharf's own: a redirect, and a refusal.
    let moved = site.send(get("a.test", "/gone")).message();
    assert_eq!(
        (moved.status(), told(&moved, &["x-set"])),
        (301, vec!["x-set: 1".to_owned()])
    );
    let upgrade =
        "GET /off HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let refused = site.send(upgrade).message();
    assert_eq!(
        (
            refused.status(),
            told(&refused, &["x-set", "x-xss-protection"])
        ),
        (403, vec!["x-set: 1".to_owned()])
    );
}

#[test]
fn s5_s7_s8_s57_a_container_gets_and_sends_what_its_labels_say() {
    let wharf = Builder::new().start();
    let host = format!("{}.test", unique("s7"));
    let app = App::new("s7")
        .label("wharf.host", &host)
        .label("wharf.https", "both");
    let app = app.label("wharf.headers.request", "X-App=blue, -X-Powered-By");
    let app = app
        .label("wharf.security", "on force")
        .label("wharf.forwarded", "rfc7239");
    let _container = app.label("wharf.headers.response", "X-Seen={uri}").run();
    wharf.wait_answer(&host, "/", |answer| answer.status == 200);
    let root = wharf.local_root();
    for version in ["--http1.1", "--http2"] {
        let url = format!("https://{host}/json?x");
        let curl = curl(&url, wharf.https).root(&root).arg(&[version]);
        let words = [
            "--header",
            "X-Powered-By: me",
            "--header",
            "Forwarded: for=6.6.6.6",
        ];
        let answer = curl.arg(&words).run().unwrap();
        let told = answer.json();
        assert_eq!(told["headers"]["x-app"][0], "blue");
        assert_eq!(told["headers"]["x-powered-by"], serde_json::Value::Null);
        let forwarded = format!("for=127.0.0.1;host=\"{host}\";proto=https");
        assert_eq!(told["headers"]["forwarded"], serde_json::json!([forwarded]));
    }
    let answer = wharf
        .get(&host, "/answer/404?x-frame-options=DENY")
        .unwrap();
    assert_eq!(answer.header("x-frame-options"), Some("SAMEORIGIN"));
    assert_eq!(
        answer.header("x-seen"),
        Some("/answer/404?x-frame-options=DENY")
    );
}
