//! `wharf.errors` (B55): pages of a route's own.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::support::docker::{App, unique};
use crate::support::eventually;
use crate::support::h2::H2;
use crate::support::nginx::Both;
use crate::support::origin::{Served, free_port, ok};
use crate::support::peer::Message;
use crate::support::site::{Site, app};
use crate::support::wharf::Builder;

const HTML: &str = "Accept: text/html\r\n";

/// A site whose pages are in `directory`.
fn site(directory: &Path, containers: Vec<crate::support::engine::FakeContainer>) -> Site {
    Site::with(containers, |builder| {
        builder.env("WHARF_ERRORS", directory.to_str().unwrap())
    })
}

fn get(site: &Site, path: &str, fields: &str) -> Message {
    let request = format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n");
    site.send(request).message()
}

/// Answers with the status that the path names.
fn by_path() -> Served {
    Served::by(|request| {
        let path = request.head.split(' ').nth(1).unwrap();
        let status = path.trim_start_matches('/').split('?').next().unwrap();
        let extra = match status {
            "401" => "WWW-Authenticate: Basic realm=\"own\"\r\nX-Secret: 1\r\n",
            "405" => "Allow: GET, PUT\r\n",
            "416" => "Content-Range: bytes */5\r\n",
            "503" => "Retry-After: 7\r\nSet-Cookie: a=b\r\nETag: \"x\"\r\n",
            _ => "",
        };
        let status = if status.len() == 3 { status } else { "200" };
        format!("HTTP/1.1 {status} Own\r\n{extra}Content-Length: 3\r\n\r\nown").into_bytes()
    })
}

#[test]
fn b55_a_file_stands_in_for_wharfs_page_and_the_apps_own_stay() {
    let files = tempfile::tempdir().unwrap();
    fs::write(
        files.path().join("503.html"),
        "<h1>{status} {reason}</h1><p>{cause}</p>{host}{uri} id={request_id} body{color:red}",
    )
    .unwrap();
    fs::write(
        files.path().join("502.json"),
        "{\"code\":{status},\"at\":\"{uri}\"}",
    )
    .unwrap();
    fs::write(files.path().join("502.html"), "bad gateway").unwrap();
    let served = by_path();
    let whole = files.path().join("{status}.html");
    let labels = format!(
        "wharf.host: a.test\nwharf.tls: off\nwharf.hold: off\nwharf.errors: 502 503 504 = {}, 4xx = none.html\n\
         wharf.rest.path: /rest\nwharf.rest.maintenance: on\n\
         wharf.gone.path: /gone\nwharf.gone.upstream: http://127.0.0.1:{}\n\
         wharf.out.path: /out\nwharf.out.deny: loopback\n\
         wharf.off.path: /off\nwharf.off.errors: off\nwharf.off.maintenance: on",
        whole.display(),
        free_port()
    );
    let site = site(files.path(), vec![app("app", served.port(), &labels)]);

    let page = get(&site, "/rest/b?a='&c", HTML);
    assert_eq!(page.status(), 503);
    let id = page.text();
    let id = id
        .split(" id=")
        .nth(1)
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .to_owned();
    assert_eq!(id.len(), 16);
    assert_eq!(
        page.text(),
        format!(
            "<h1>503 Service Unavailable</h1><p>this site is down for maintenance</p>a.test/rest/b?a=&#39;&amp;c id={id} body{{color:red}}"
        )
    );
    assert_eq!(page.field("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(
        page.field("retry-after"),
        Some("600"),
        "what else it says stays"
    );
    assert_eq!(page.field("cache-control"), Some("no-store"));
    // curl, which says nothing of what it wants, sees it, too.
    assert!(
        get(&site, "/rest", "Accept: */*\r\n")
            .text()
            .contains("<h1>503")
    );

    let json = |path| get(&site, path, "Accept: application/json\r\n");
    assert_eq!(
        json("/gone?q='1").text(),
        "{\"code\":502,\"at\":\"/gone?q='1\"}"
    );
    assert_eq!(
        json("/gone").field("content-type"),
        Some("application/json")
    );
    let without = json("/rest");
    assert!(
        without.text().contains("\"status\":503"),
        "{}",
        without.text()
    );
    assert_eq!(get(&site, "/gone", HTML).text(), "bad gateway");

    // There is none: Wharf's own, and a line that says so.
    let page = get(&site, "/out", HTML);
    assert_eq!(page.status(), 403);
    assert!(page.text().contains("Forbidden"), "{}", page.text());
    let line = site.wharf.wait_log("wharf.errors");
    assert!(
        line.contains("none.html") && line.contains("app#out"),
        "{line}"
    );
    assert!(
        get(&site, "/off", HTML)
            .text()
            .contains("Down for maintenance")
    );
    assert_eq!(get(&site, "/503", HTML).text(), "own");

    let head = site
        .send("HEAD /rest HTTP/1.1\r\nHost: a.test\r\n\r\n")
        .head();
    assert!(
        head.contains("content-length: ") && head.starts_with("HTTP/1.1 503"),
        "{head}"
    );
    let h2 = H2::connect(site.http());
    let whole = h2
        .get("http://a.test/rest", &[("accept", "text/html")])
        .unwrap();
    assert!(whole.status == 503 && whole.body.starts_with(b"<h1>503"));
    let grpc = [("content-type", "application/grpc"), ("te", "trailers")];
    let whole = h2.get("http://a.test/rest", &grpc).unwrap();
    assert!(!whole.body.starts_with(b"<h1>503"), "no page for a program");

    fs::write(files.path().join("503.html"), "back soon").unwrap();
    eventually(
        "the file is read again",
        Duration::from_secs(10),
        || match get(&site, "/rest", HTML).text() {
            text if text == "back soon" => Ok(()),
            text => Err(text),
        },
    );
}

#[test]
fn b55_pages_of_the_app_are_replaced_where_intercept_says_so_as_behind_nginx() {
    let files = tempfile::tempdir().unwrap();
    for status in [401, 404, 405, 416, 503] {
        let text = format!("page {status}");
        fs::write(files.path().join(format!("{status}.html")), text).unwrap();
    }
    let served = by_path();
    let labels = "wharf.host: a.test\nwharf.tls: off\nwharf.errors: 401 404 405 416 503 = {status}.html intercept\n\
                  wharf.plain.path: /plain\nwharf.plain.errors.intercept: off\nwharf.plain.strip: on";
    let site = site(files.path(), vec![app("app", served.port(), labels)]);
    let nginx = crate::support::nginx::Nginx::start(&format!(
        "server {{ server_name a.test; root {root};
         error_page 401 /401.html; error_page 404 /404.html; error_page 503 /503.html;
         location ~ html$ {{ internal; }}
         location / {{ proxy_intercept_errors on; proxy_pass http://127.0.0.1:{port}; }}
         location /plain/ {{ proxy_pass http://127.0.0.1:{port}/; }} }}",
        root = files.path().display(),
        port = served.port()
    ));
    for path in ["/200", "/401", "/404", "/500", "/503", "/plain/404"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n{HTML}\r\n");
        let wharf = site.send(&request).message();
        let nginx = crate::support::peer::Peer::connect(nginx.address)
            .send(&request)
            .message();
        assert_eq!(wharf.status(), nginx.status(), "{path}");
        assert_eq!(wharf.text(), nginx.text(), "{path}");
        assert_eq!(
            wharf.field("www-authenticate"),
            nginx.field("www-authenticate"),
            "{path}"
        );
    }
    let busy = get(&site, "/503", HTML);
    assert_eq!(busy.field("retry-after"), Some("7"));
    assert_eq!(busy.field("set-cookie"), Some("a=b"));
    // What these statuses are about.
    let method = get(&site, "/405", HTML);
    assert_eq!(
        (method.text().as_str(), method.field("allow")),
        ("page 405", Some("GET, PUT"))
    );
    let range = get(&site, "/416", HTML);
    assert_eq!(
        (range.text().as_str(), range.field("content-range")),
        ("page 416", Some("bytes */5"))
    );
    assert_eq!(
        (
            busy.field("etag"),
            get(&site, "/401", HTML).field("x-secret")
        ),
        (None, None)
    );
    // A program gets what the app has to say.
    let json = get(&site, "/404", "Accept: application/json\r\n");
    assert_eq!(json.text(), "own");
    let unread = "POST /404 HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\nabc\
                  GET /200 HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let mut client = site.send(unread);
    assert_eq!(
        (client.message().text(), client.message().text()),
        ("page 404".into(), "own".into())
    );
}

#[test]
fn b55_another_server_or_a_path_of_the_app_gives_the_page() {
    let pages = Served::by(|request| {
        let line = request.head.lines().next().unwrap().to_owned();
        let told = ["x-code", "x-original-uri", "x-original-method", "cookie"];
        let told = told.map(|name| format!("{name}={}", request.field(name).unwrap_or("none")));
        let kind = request.field("accept").unwrap_or("text/plain").to_owned();
        let text = format!("{line} {}", told.join(" "));
        if line.contains("missing") {
            return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec();
        }
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{text}",
            text.len()
        )
        .into_bytes()
    });
    let served = Served::by(|request| match request.head.split(' ').nth(1).unwrap() {
        "/oops?c=500" => ok("the app's page"),
        path => {
            let status = path.trim_start_matches('/');
            format!("HTTP/1.1 {status} Own\r\nContent-Length: 3\r\n\r\nown").into_bytes()
        }
    });
    let labels = format!(
        "wharf.host: a.test\nwharf.tls: off\nwharf.hold: off\n\
         wharf.errors: 500 = app:/oops?c={{status}}, 503 = http://pages:{port}/e/{{status}}, 502 = http://pages:{port}/missing intercept\n\
         wharf.rest.path: /rest\nwharf.rest.maintenance: on\n\
         wharf.down.path: /down\nwharf.down.maintenance: on\nwharf.down.errors: 503 = http://127.0.0.1:{closed}/",
        port = pages.port(),
        closed = free_port()
    );
    let site = Site::start([
        app("app", served.port(), &labels),
        app("pages", pages.port(), ""),
    ]);
    assert_eq!(get(&site, "/500", HTML).text(), "the app's page");
    let page = get(
        &site,
        "/rest/x?y",
        &format!("{HTML}Cookie: secret=1\r\nX-Code: 1\r\n"),
    );
    assert_eq!(page.status(), 503);
    assert_eq!(
        page.text(),
        "GET /e/503 HTTP/1.1 x-code=503 x-original-uri=/rest/x?y x-original-method=GET cookie=none"
    );
    assert_eq!(page.field("content-type"), Some("text/html"));
    let json = get(&site, "/rest", "Accept: application/json\r\n");
    assert!(json.text().starts_with("GET /e/503"), "{}", json.text());
    // Without a page from there it is as without the label.
    assert_eq!(get(&site, "/502", HTML).text(), "own");
    site.wharf.wait_log("wharf.errors");
    let page = get(&site, "/down", HTML);
    assert_eq!(page.status(), 503);
    assert!(page.text().contains("Down for maintenance"));
}

#[test]
fn b55_the_page_of_a_container_that_is_gone() {
    let files = tempfile::tempdir().unwrap();
    fs::write(
        files.path().join("away.html"),
        "<title>away</title><h1>Back soon</h1>",
    )
    .unwrap();
    let host = format!("{}.localhost", unique("errors"));
    let served = App::new("errors")
        .label("wharf.host", &host)
        .label("wharf.tls", "off")
        .label("wharf.hold", "off")
        .label("wharf.errors", "5xx = away.html")
        .run();
    let wharf = Builder::new()
        .env("WHARF_ERRORS", files.path().to_str().unwrap())
        .start();
    wharf.wait_answer(&host, "/", |answer| answer.status == 200);
    served.stop(1);
    wharf.wait_answer(&host, "/", |answer| answer.status == 503);
    let page = wharf.get(&host, "/").unwrap();
    assert!(
        page.text().contains("<h1>Back soon</h1>"),
        "{}",
        page.text()
    );
}

#[test]
fn b55_nginx_has_no_say_over_the_status_of_a_failed_app_either() {
    let both = Both::of(
        vec![(
            "app",
            "wharf.host: a.test\nwharf.hold: off\nwharf.errors: 5xx = none.html",
            by_path(),
        )],
        "server { server_name a.test; error_page 500 /none.html; location / { proxy_pass http://@app; } }",
    );
    for path in ["/200", "/500", "/404"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n");
        both.same(&request);
    }
}
