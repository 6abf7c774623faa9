//! The access log: one line for each request, on standard output, when its response has ended.

use crate::support::h2::H2;
use crate::support::origin::{Origin, Served};
use crate::support::site::{Site, app, get};

/// A site with routes for `a.test` (answers "hi") and `scripted.test`.
fn site(env: &[(&str, &str)]) -> (Site, Served, Origin) {
    let (served, origin) = (Served::text("hi"), Origin::new());
    let containers = [
        app("app", served.port(), "wharf.host: a.test\nwharf.tls: off"),
        app(
            "scripted",
            origin.port(),
            "wharf.host: scripted.test\nwharf.tls: off",
        ),
    ];
    let site = Site::with(containers, |wharf| {
        (env.iter()).fold(wharf, |wharf, (name, value)| wharf.env(name, value))
    });
    (site, served, origin)
}

fn text_words(line: &str) -> Vec<String> {
    let quote = line.find('"').unwrap();
    let end = quote + 1 + line[quote + 1..].find('"').unwrap();
    let words = |text: &str| {
        text.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let inside = line[quote + 1..end].to_owned();
    [words(&line[..quote]), vec![inside], words(&line[end + 1..])].concat()
}

#[test]
fn every_request_has_one_line_of_text() {
    let (site, served, origin) = site(&[]);
    let mut client = site.client();
    client.send(get("/x?y=1")).message();
    client
        .send("POST /a HTTP/1.1\r\nHost: b.test:81\r\n\r\n")
        .message();
    H2::connect(site.http())
        .get("http://a.test/h2", &[])
        .unwrap();
    site.wharf.wait_out(3);
    // A client that leaves before the answer is 499; a cut answer keeps its status.
    let gone = site.send("GET /gone HTTP/1.1\r\nHost: scripted.test\r\n\r\n");
    let mut upstream = origin.accept();
    upstream.head();
    drop(gone);
    site.wharf.wait_out(4);
    let mut cut = site.send("GET /cut HTTP/1.1\r\nHost: scripted.test\r\n\r\n");
    let (upstream, _) = origin.answer("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc");
    cut.until("abc");
    drop(upstream);
    cut.ended();
    // One that cannot be read.
    site.send("GET / HTTP/1.1\r\nHost : a.test\r\n\r\n")
        .message();

    let lines = site.wharf.wait_out(6);
    let (app, scripted) = (served.port(), origin.port());
    let endpoint = |port| format!("127.0.0.1:{port}");
    let expected = [
        (
            "GET a.test /x?y=1 HTTP/1.1",
            "200",
            "2",
            "app",
            endpoint(app),
        ),
        ("POST b.test:81 /a HTTP/1.1", "404", "", "-", "-".into()),
        ("GET a.test /h2 HTTP/2.0", "200", "2", "app", endpoint(app)),
        (
            "GET scripted.test /gone HTTP/1.1",
            "499",
            "0",
            "scripted",
            "-".into(),
        ),
        (
            "GET scripted.test /cut HTTP/1.1",
            "200",
            "3",
            "scripted",
            endpoint(scripted),
        ),
        ("- - - -", "400", "", "-", "-".into()),
    ];
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (line, (request, status, bytes, route, endpoint)) in lines.iter().zip(expected) {
        let words = text_words(line);
        assert_eq!(words.len(), 9, "{line}");
        assert_eq!(words[1], "127.0.0.1");
        assert_eq!((&*words[2], &*words[3]), (request, status), "{line}");
        assert!(bytes.is_empty() || words[4] == bytes, "{line}");
        assert!(words[5].parse::<f64>().unwrap() < 10.0);
        assert_eq!((&*words[6], &words[7]), (route, &endpoint), "{line}");
        assert_eq!(words[8].len(), 16);
    }
    assert_eq!(site.wharf.stop().code(), Some(0));
}

#[test]
fn b62_app_log_and_error_page_call_a_request_by_one_id() {
    for (trusted, given, kept) in [
        ("10.0.0.1", "edge-7", false),
        ("loopback", "edge-7", true),
        ("loopback", "a b", false),
        ("loopback", "", false),
    ] {
        let env = [
            ("WHARF_LOG_FORMAT", "json"),
            ("WHARF_TRUSTED_PROXIES", trusted),
        ];
        let (site, _served, origin) = site(&env);
        let ask =
            |host: &str| format!("GET / HTTP/1.1\r\nHost: {host}\r\nX-Request-ID: {given}\r\n\r\n");
        let mut client = site.send(ask("scripted.test"));
        let (_upstream, request) = origin.answer("HTTP/1.1 204 No Content\r\n\r\n");
        assert_eq!(client.message().status(), 204);
        let page = client.send(ask("b.test")).message().text();
        let lines = site.wharf.wait_out(2);
        let id = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["request_id"].as_str().unwrap().to_owned()
        };
        let (first, second) = (id(&lines[0]), id(&lines[1]));
        assert_eq!(request.fields("x-request-id").collect::<Vec<_>>(), [&first]);
        assert!(page.contains(&format!("(request {second})")), "{page}");
        for id in [first, second] {
            assert_eq!(
                (id == given, id.len() == 16),
                (kept, !kept),
                "{trusted} {given}: {id}"
            );
        }
    }
}

#[test]
fn a_line_of_json_holds_the_same() {
    let (site, served, _origin) = site(&[("WHARF_LOG_FORMAT", "json")]);
    let mut client = site.client();
    client.send(get("/x?y=1")).message();
    client
        .send("GET / HTTP/1.1\r\nHost: b.test\r\n\r\n")
        .message();
    let lines = site.wharf.wait_out(2);
    let lines: Vec<serde_json::Value> = lines
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for (key, value) in [
        ("client", "127.0.0.1"),
        ("host", "a.test"),
        ("method", "GET"),
        ("path", "/x?y=1"),
        ("protocol", "HTTP/1.1"),
        ("route", "app"),
        ("endpoint", &format!("127.0.0.1:{}", served.port())),
    ] {
        assert_eq!(lines[0][key], value, "{key}");
    }
    assert_eq!(
        (&lines[0]["status"], &lines[0]["bytes"]),
        (&200.into(), &2.into())
    );
    assert!(lines[0]["duration"].is_f64() && lines[0]["request_id"].is_string());
    assert_eq!(
        (&lines[1]["status"], &lines[1]["endpoint"]),
        (&404.into(), &serde_json::Value::Null)
    );
}

#[test]
fn the_client_is_the_one_behind_trusted_proxies_and_the_page_has_the_lines_id() {
    let (site, ..) = site(&[
        ("WHARF_TRUSTED_PROXIES", "127.0.0.1"),
        ("WHARF_LOG_FORMAT", "json"),
    ]);
    let lines = "Host: b.test\r\nAccept: application/json\r\nX-Forwarded-For: 203.0.113.7\r\n";
    let page = site
        .send(format!("GET / HTTP/1.1\r\n{lines}\r\n"))
        .message();
    let page: serde_json::Value = serde_json::from_slice(&page.body).unwrap();
    let line: serde_json::Value = serde_json::from_str(&site.wharf.wait_out(1)[0]).unwrap();
    assert_eq!(line["client"], "203.0.113.7");
    assert_eq!(line["request_id"], page["request_id"]);
}

#[test]
fn off_is_off_and_nothing_is_lost_at_the_end() {
    for (access, expected) in [("off", 0), ("on", 500)] {
        let (site, ..) = site(&[("WHARF_ACCESS_LOG", access)]);
        let mut client = site.client();
        for _ in 0..500 {
            client.send(get("/")).message();
        }
        site.wharf.signal("TERM");
        assert_eq!(site.wharf.whole_out().len(), expected);
    }
}
