//! What the upstream is told of the client, and which fields stay behind.

use crate::support::h2::H2;
use crate::support::origin::Origin;
use crate::support::peer::Message;
use crate::support::site::{Site, app};

const EMPTY: &str = "HTTP/1.1 204 No Content\r\n\r\n";

/// The request the upstream gets for one of the client with these header lines.
fn forwarded(site: &Site, origin: &Origin, lines: &str) -> Message {
    let mut client = site.send(format!(
        "GET / HTTP/1.1\r\n{lines}Connection: close\r\n\r\n"
    ));
    let mut upstream = origin.accept();
    let request = upstream.message();
    upstream.send("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
    assert_eq!(client.message().status(), 204);
    request
}

/// Asserts that a message has these fields, in this order if they are of one name, and no others but an id of
/// Wharf's own.
fn assert_fields(message: &Message, expected: &[(&str, &str)]) {
    let lines = message.head.lines().skip(1).filter(|line| !line.is_empty());
    let mut fields: Vec<_> = lines.map(|line| line.split_once(": ").unwrap()).collect();
    let ids: Vec<_> = message.fields("x-request-id").collect();
    assert!(matches!(ids[..], [id] if is_own(id)), "{ids:?}");
    fields.retain(|(name, _)| *name != "x-request-id");
    let mut expected = expected.to_vec();
    fields.sort_by_key(|(name, _)| *name);
    expected.sort_by_key(|(name, _)| *name);
    assert_eq!(fields, expected);
}

fn is_own(id: &str) -> bool {
    id.len() == 16 && id.bytes().all(|b| b.is_ascii_hexdigit())
}

const SPOOFED: &str = "Host: a.test:8080\r\nX-Forwarded-For: 6.6.6.6, 203.0.113.7\r\nX-Real-IP: 6.6.6.6\r\n\
    X-Forwarded-For: 127.0.0.9\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil.test\r\n\
    X-Forwarded-Port: 99\r\nX-Forwarded-Prefix: /outer\r\nForwarded: for=6.6.6.6\r\n";

#[test]
fn strangers_cannot_say_who_they_are() {
    let origin = Origin::new();
    let site = Site::plain(origin.port(), "");
    for lines in ["Host: a.test:8080\r\n", SPOOFED] {
        assert_fields(
            &forwarded(&site, &origin, lines),
            &[
                ("host", "a.test:8080"),
                ("x-real-ip", "127.0.0.1"),
                ("x-forwarded-for", "127.0.0.1"),
                ("x-forwarded-proto", "http"),
                ("x-forwarded-host", "a.test:8080"),
                ("x-forwarded-port", "8080"),
            ],
        );
    }
}

#[test]
fn s6_a_trusted_proxy_is_believed_and_the_client_is_the_last_stranger() {
    let origin = Origin::new();
    let labels = "wharf.host: a.test\nwharf.path: /\nwharf.tls: internal\nwharf.strip: true";
    let site = Site::with([app("app", origin.port(), labels)], |wharf| {
        wharf.env("WHARF_TRUSTED_PROXIES", "127.0.0.0/8")
    });
    // `X-Forwarded-Proto: https` is believed, too: no redirect.
    assert_fields(
        &forwarded(&site, &origin, SPOOFED),
        &[
            ("host", "a.test:8080"),
            ("x-real-ip", "203.0.113.7"),
            (
                "x-forwarded-for",
                "6.6.6.6, 203.0.113.7, 127.0.0.9, 127.0.0.1",
            ),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil.test"),
            ("x-forwarded-port", "99"),
            ("x-forwarded-prefix", "/outer"),
            // Names of others keep their case.
            ("Forwarded", "for=6.6.6.6"),
        ],
    );
    let request = forwarded(
        &site,
        &origin,
        "Host: a.test\r\nX-Forwarded-Proto: https\r\nX-Forwarded-For: junk\r\n",
    );
    assert_eq!(request.field("x-real-ip"), Some("127.0.0.1"));
}

#[test]
fn an_ipv4_client_of_a_dual_stack_listener_has_an_ipv4_address() {
    let origin = Origin::new();
    let labels = "wharf.host: a.test\nwharf.tls: off";
    let site = Site::with([app("app", origin.port(), labels)], |wharf| {
        wharf.env("WHARF_HTTP", "[::]:0")
    });
    let address = ([127, 0, 0, 1], site.http().port()).into();
    let mut client = crate::support::peer::Peer::connect(address);
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let (_upstream, request) = origin.answer(EMPTY);
    assert_eq!(request.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(request.field("x-real-ip"), Some("127.0.0.1"));
}

#[test]
fn b42_fields_that_end_at_the_next_hop_stay_behind() {
    let origin = Origin::new();
    let site = Site::plain(origin.port(), "");
    let request = forwarded(
        &site,
        &origin,
        "Host: a.test\r\nConnection: X-Private, keep-alive\r\nConnection: x-second, host, x-forwarded-for\r\n\
         X-Private: 1\r\nX-Second: 2\r\nKeep-Alive: timeout=5\r\nTE: trailers\r\nUpgrade: h2c\r\n\
         HTTP2-Settings: AAMAAABkAAQAAP__\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic x\r\n\
         Proxy: http://evil.test\r\nExpect: nothing\r\nX-Public: 1\r\nx-public: 2\r\nAuthorization: Basic y\r\n",
    );
    assert_fields(
        &request,
        &[
            ("host", "a.test"),
            ("X-Public", "1"),
            ("x-public", "2"),
            ("Authorization", "Basic y"),
            ("x-real-ip", "127.0.0.1"),
            ("x-forwarded-for", "127.0.0.1"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "a.test"),
            ("x-forwarded-port", "80"),
        ],
    );
}

#[test]
fn b61_the_context_of_a_trace_is_passed_on_as_it_is() {
    // W3C Trace Context: two fields, of which the second may come in several lines.
    let fields = [
        (
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ),
        ("tracestate", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"),
        ("tracestate", "b@c=1"),
    ];
    let origin = Origin::new();
    for trusted in ["10.0.0.1", "loopback"] {
        let labels = "wharf.host: a.test\nwharf.tls: off";
        let site = Site::with([app("app", origin.port(), labels)], |wharf| {
            wharf.env("WHARF_TRUSTED_PROXIES", trusted)
        });
        let lines = fields.map(|(name, value)| format!("{name}: {value}\r\n"));
        let over_h1 = forwarded(
            &site,
            &origin,
            &format!("Host: a.test\r\n{}", lines.concat()),
        );
        let client = H2::connect(site.http());
        let request = http::Request::get("http://a.test/");
        let request = (fields.iter()).fold(request, |request, (name, value)| {
            request.header(*name, *value)
        });
        let (response, _) = client.send(request.body(()).unwrap(), true);
        let (_upstream, over_h2) = origin.answer(EMPTY);
        client.wait(response).unwrap();
        for request in [over_h1, over_h2] {
            let told = ["traceparent", "tracestate"].map(|name| {
                let values = request.fields(name);
                values.map(str::to_owned).collect::<Vec<_>>()
            });
            let [parent, state] = told;
            assert_eq!(parent, [fields[0].1]);
            assert_eq!(state, [fields[1].1, fields[2].1]);
        }
    }
}

#[test]
fn b62_a_request_id_can_be_left_out_or_be_another() {
    let origin = Origin::new();
    let site = Site::plain(
        origin.port(),
        "wharf.headers.request: -X-Request-ID\nwharf.own.path: /own\nwharf.own.headers.request: X-Request-ID={uri}",
    );
    for (target, ids) in [("/", vec![]), ("/own", vec!["/own"])] {
        let client = site.send(format!(
            "GET {target} HTTP/1.1\r\nHost: a.test\r\nX-Request-ID: mine\r\n\r\n"
        ));
        let (_upstream, request) = origin.answer(EMPTY);
        assert_eq!(request.fields("x-request-id").collect::<Vec<_>>(), ids);
        drop(client);
    }
}

#[test]
fn b42_names_that_cgi_takes_for_ours_are_dropped() {
    // `X_Real_IP` and `X-Real-IP` are one variable to WSGI, Rack and PHP.
    let origin = Origin::new();
    let site = Site::plain(origin.port(), "");
    let request = forwarded(
        &site,
        &origin,
        "Host: a.test\r\nX_Forwarded_For: 6.6.6.6\r\nX-Forwarded_Proto: https\r\nX_Real_IP: 6.6.6.6\r\n\
         Content_Length: 5\r\nTransfer_Encoding: chunked\r\nX_Own: kept\r\n",
    );
    assert_eq!(request.field("x_own"), Some("kept"));
    assert_eq!(request.head.matches('_').count(), 1, "{}", request.head);
}

#[test]
fn values_travel_byte_for_byte() {
    let origin = Origin::new();
    let site = Site::plain(origin.port(), "");
    let mut client = site.client();
    client.send(b"GET / HTTP/1.1\r\nHost: a.test\r\nX:  a\tb \xe9\xff \r\nY:\r\n\r\n");
    let mut upstream = origin.accept();
    let head = upstream.until("Y: \r\n");
    assert!(head.contains("X: a\tb \u{fffd}\u{fffd}\r\n"), "{head}");
    upstream.head();
    upstream.send(b"HTTP/1.1 200 OK\r\nX: \xe9\r\nContent-Length: 0\r\n\r\n");
    assert!(client.head().contains("X: \u{fffd}\r\n"));
}

#[test]
fn an_http_2_request_looks_like_one_of_http_1() {
    let origin = Origin::new();
    let site = Site::start([app(
        "app",
        origin.port(),
        "wharf.host: a.test\nwharf.tls: internal",
    )]);
    let client = H2::connect_tls(site.wharf.https, "a.test", site.wharf.data());
    let request = http::Request::get("https://a.test/x?y=1")
        .header("host", "b.test")
        .header("cookie", "a=1")
        .header("x-public", "1")
        .header("cookie", "b=2")
        .header("cookie", "c=3; d=4")
        .header("te", "trailers");
    let (response, _) = client.send(request.body(()).unwrap(), true);
    let (_upstream, received) = origin.answer(EMPTY);
    assert_eq!(client.wait(response).unwrap().status(), 204);
    assert!(
        received.head.starts_with("GET /x?y=1 HTTP/1.1\r\n"),
        "{}",
        received.head
    );
    assert_fields(
        &received,
        &[
            ("host", "a.test"),
            ("cookie", "a=1; b=2; c=3; d=4"),
            ("x-public", "1"),
            ("x-real-ip", "127.0.0.1"),
            ("x-forwarded-for", "127.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "a.test"),
            ("x-forwarded-port", "443"),
        ],
    );
}

/// An app may read trailers as fields: what a label takes out or writes itself does not come in by them.
#[test]
fn trailers_bring_nothing_back_that_a_route_takes_out_or_writes() {
    let origin = Origin::new();
    let labels = "wharf.host: a.test\nwharf.https: both\nwharf.tls: internal\n\
                  wharf.headers.request: X-App=blue, -X-Secret\nwharf.auth.basic: jim:$2y$05$apxnEqGXpdSCTMy45oHJtuXCCR6VeKIDDtkaSnmWIyWUrlCvupbOm\n\
                  wharf.auth.user_header: X-User";
    let site = Site::start([app("app", origin.port(), labels)]);
    let login = "Basic amltOmFsbG1pbmU="; // jim:allmine
    let mut client = site.send(format!(
        "POST / HTTP/1.1\r\nHost: a.test\r\nAuthorization: {login}\r\nTransfer-Encoding: chunked\r\n\r\n\
         2\r\nhi\r\n0\r\nX-App: red\r\nx-secret: 1\r\nX_User: root\r\nX-User: root\r\nAuthorization: x\r\nX-Sum: 7\r\n\r\n"
    ));
    let (mut upstream, received) = origin.answer(EMPTY);
    assert_eq!(client.message().status(), 204);
    assert!(
        received.head.contains("x-user: jim\r\n"),
        "{}",
        received.head
    );
    assert_eq!(
        (received.text(), &*received.trailers),
        ("hi".into(), "X-Sum: 7\r\n\r\n")
    );
    let client = H2::connect_tls(site.wharf.https, "a.test", site.wharf.data());
    let request = http::Request::post("https://a.test/").header("authorization", login);
    let (response, mut stream) = client.send(request.body(()).unwrap(), false);
    let mut trailers = http::HeaderMap::new();
    for (name, value) in [
        ("x-app", "red"),
        ("x-secret", "1"),
        ("x_user", "root"),
        ("x-sum", "7"),
    ] {
        trailers.insert(name, value.parse().unwrap());
    }
    stream.send_trailers(trailers).unwrap();
    // On the same connection.
    let received = upstream.message();
    upstream.send(EMPTY);
    assert_eq!(client.wait(response).unwrap().status(), 204);
    assert_eq!(received.trailers, "x-sum: 7\r\n\r\n");
}
