//! B37: the PROXY protocol from load balancers in a list.

use std::thread::sleep;
use std::time::Duration;

use crate::support::curl::curl;
use crate::support::eventually;
use crate::support::haproxy::Haproxy;
use crate::support::nginx::Nginx;
use crate::support::origin::{Served, free_port, ok};
use crate::support::peer::{End, LIMIT, Message, Peer};
use crate::support::site::{Site, app, get};

const LABELS: &str = "wharf.host: a.test\nwharf.https: both\nwharf.tls: internal";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// An app that shows what it got, behind a Wharf that believes `from`.
fn site(served: &Served, labels: &str, from: &str) -> Site {
    let labels = format!("{LABELS}\n{labels}");
    Site::with([app("app", served.port(), &labels)], |wharf| {
        wharf.env("WHARF_PROXY_PROTOCOL_FROM", from)
    })
}

fn echo() -> Served {
    Served::by(|request| ok(&request.head))
}

/// `X-Forwarded-For` as the app got it.
fn client(answer: &str) -> &str {
    let lines = &mut answer.lines();
    let line = lines.find_map(|line| line.strip_prefix("x-forwarded-for: "));
    line.unwrap_or_else(|| panic!("no x-forwarded-for: {answer}"))
}

/// Version 2, PROXY of TCP over IPv4 unless said otherwise.
fn v2(version: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [V2, &[version, family], &length, rest].concat()
}

fn tcp4(client: [u8; 4]) -> Vec<u8> {
    [&client[..], &[127, 0, 0, 1, 0x30, 0x39, 0, 80]].concat()
}

fn asked(site: &Site, header: &[u8]) -> Message {
    let mut peer = site.client();
    peer.send([header, get("/").as_bytes()].concat());
    peer.message()
}

/// B37: with the real haproxy, both versions, on both listeners.
#[test]
fn haproxy_names_its_clients_on_both_listeners() {
    let served = echo();
    let site = site(&served, "wharf.allow: 127.0.0.7", "127.0.0.1");
    let (http, https) = (site.wharf.http, site.wharf.https);
    let (_haproxy, at) = Haproxy::start(&[
        (http, "send-proxy"),
        (http, "send-proxy-v2"),
        (https, "send-proxy"),
        (https, "send-proxy-v2"),
        (http, ""),
    ]);
    let root = site.wharf.local_root();
    for (address, scheme) in at.iter().zip(["http", "http", "https", "https"]) {
        let from = |client: &str| {
            let curl = curl(&format!("{scheme}://a.test/"), *address).root(&root);
            curl.arg(&["--interface", client]).run().unwrap()
        };
        let answer = from("127.0.0.7");
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(answer.status, 200, "{text}");
        assert_eq!(client(&text), "127.0.0.7");
        assert!(text.contains("x-real-ip: 127.0.0.7\r\n"), "{text}");
        let version = if scheme == "https" { "2" } else { "1.1" };
        assert_eq!(answer.version, version);
        // Lists see whom it names.
        assert_eq!(from("127.0.0.8").status, 403);
    }
    // The one that says nothing is served as who it is.
    let silent = curl("http://a.test/", at[4]);
    let silent = silent.arg(&["--interface", "127.0.0.7"]).run().unwrap();
    assert_eq!(silent.status, 403);
    let lines = site.wharf.wait_out(9);
    let by = |client: &'static str| {
        lines
            .iter()
            .filter(move |line| line.contains(&format!("Z {client} ")))
    };
    assert_eq!(by("127.0.0.7").count(), 4, "{lines:?}");
    assert_eq!(by("127.0.0.8").count(), 4);
    let read = site.metric("wharf_proxy_headers_total{result=\"ok\"}");
    // Connections that were only opened have one, too.
    assert!(read >= 8.0, "{read}");
    let refused = "wharf_proxy_headers_total{result=\"refused\"}";
    assert_eq!(site.metric(refused), 0.0);
}

/// B37: curl's own, and none at all, from the same peer.
#[test]
fn a_header_is_optional_and_outside_the_list_it_is_none() {
    let served = echo();
    let inside = site(&served, "", "loopback, 192.0.2.0/24");
    let root = inside.wharf.local_root();
    for args in [&["--haproxy-protocol"][..], &[]] {
        for (url, address) in [
            ("http://a.test/", inside.wharf.http),
            ("https://a.test/", inside.wharf.https),
        ] {
            let answer = curl(url, address).root(&root).arg(args).run().unwrap();
            assert_eq!(answer.status, 200, "{url} {args:?}");
        }
    }
    let outside = site(&served, "", "192.0.2.0/24");
    let header = b"PROXY TCP4 203.0.113.9 127.0.0.1 1 2\r\n";
    let answer = asked(&outside, header);
    // An odd request line.
    assert_eq!(answer.status(), 505);
    assert_eq!(asked(&outside, b"").status(), 200);
    let url = "https://a.test/";
    let refused = curl(url, outside.wharf.https).root(&outside.wharf.local_root());
    assert!(refused.arg(&["--haproxy-protocol"]).run().is_err());
    assert_eq!(outside.metric("wharf_proxy_headers_total"), 0.0);
}

/// B37: as nginx `listen … proxy_protocol` understands it.
#[test]
fn headers_mean_what_they_mean_to_nginx() {
    let served = echo();
    let site = site(&served, "", "127.0.0.1");
    let port = free_port();
    let nginx = Nginx::start(&format!(
        "server {{ listen 127.0.0.1:{port} proxy_protocol; set_real_ip_from 127.0.0.1; \
         real_ip_header proxy_protocol; location / {{ \
         proxy_set_header X-Forwarded-For $remote_addr; proxy_pass http://127.0.0.1:{}; }} }}",
        served.port()
    ));
    let nginx_at = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let mut tcp6 = vec![0; 36];
    tcp6[..2].copy_from_slice(&[0x20, 0x01]);
    tcp6[15] = 1;
    let more = [&tcp4([203, 0, 113, 9])[..], &[4, 0, 2, 1, 1]].concat();
    for (header, expected) in [
        (
            b"PROXY TCP4 203.0.113.9 127.0.0.1 1234 80\r\n".to_vec(),
            "203.0.113.9",
        ),
        (b"PROXY TCP6 2001::1 ::1 1234 80\r\n".to_vec(), "2001::1"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (b"PROXY UNKNOWN 1.2.3.4 whatever\r\n".to_vec(), "127.0.0.1"),
        (v2(0x21, 0x11, &tcp4([203, 0, 113, 9])), "203.0.113.9"),
        (v2(0x21, 0x11, &more), "203.0.113.9"),
        (v2(0x21, 0x21, &tcp6), "2001::1"),
        (v2(0x20, 0x11, &tcp4([203, 0, 113, 9])), "127.0.0.1"),
        (v2(0x20, 0, &[]), "127.0.0.1"),
        (v2(0x21, 0x31, &[0; 216]), "127.0.0.1"),
    ] {
        let text = asked(&site, &header).text();
        assert_eq!(client(&text), expected, "{header:?}");
        let mut peer = Peer::connect(nginx_at);
        peer.send([&header, get("/").as_bytes()].concat());
        let text = peer.message().text().to_lowercase();
        assert_eq!(client(&text), expected, "nginx: {header:?}");
    }
    drop(nginx);
}

/// Headers in pieces, with the request behind them and without.
#[test]
fn a_header_may_come_byte_by_byte() {
    let served = echo();
    let site = site(&served, "", "127.0.0.1");
    let headers = [
        b"PROXY TCP4 203.0.113.9 127.0.0.1 1234 80\r\n".to_vec(),
        v2(0x21, 0x11, &tcp4([203, 0, 113, 9])),
    ];
    for header in headers {
        let mut peer = site.client();
        for byte in &header {
            peer.send([*byte]);
            sleep(Duration::from_millis(1));
        }
        peer.send(get("/"));
        assert_eq!(client(&peer.message().text()), "203.0.113.9");
        // The connection goes on with the same client.
        peer.send(get("/"));
        assert_eq!(client(&peer.message().text()), "203.0.113.9");
    }
    // What only begins like one is the client's own.
    let mut peer = site.client();
    peer.send("PR");
    sleep(Duration::from_millis(20));
    peer.send("OPFIND / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!(client(&peer.message().text()), "127.0.0.1");
    // And so is what ends there.
    let mut peer = site.client();
    peer.send("P").finish();
    assert_eq!(peer.rest().1, End::Fin);
}

/// What cannot be used closes the connection, is counted and told; nobody is asked anything.
#[test]
fn what_is_malformed_closes_the_connection_with_its_cause() {
    let served = echo();
    for (header, cause) in [
        (
            b"PROXY TCP4 203.0.113.9 127.0.0.1 1234\r\n".to_vec(),
            "its ports are no ports",
        ),
        (b"PROXY TCP4 a b 1 2\r\n".to_vec(), "its addresses are none"),
        (
            b"PROXY TCP4 203.0.113.9 127.0.0.1 1 2\n".to_vec(),
            "does not end in CR LF",
        ),
        (
            [b"PROXY UNKNOWN ", &[b'x'; 120][..]].concat(),
            "longer than 107 bytes",
        ),
        (
            v2(0x31, 0x11, &tcp4([1; 4])),
            "a version other than 1 and 2",
        ),
        (v2(0x2f, 0x11, &tcp4([1; 4])), "neither LOCAL nor PROXY"),
        (v2(0x21, 0x21, &tcp4([1; 4])), "too short for its addresses"),
        (v2(0x21, 0x11, &[0; 5000]), "longer than 4096 bytes"),
    ] {
        let site = site(&served, "", "127.0.0.1");
        let mut peer = site.client();
        peer.send([&header, get("/").as_bytes()].concat());
        let (rest, _) = peer.rest();
        assert_eq!(rest, "", "{cause}");
        let told = site.wharf.wait_log(cause);
        assert!(
            told.contains("WARN") && told.contains("127.0.0.1"),
            "{told}"
        );
        assert_eq!(
            site.metric("wharf_proxy_headers_total{result=\"refused\"}"),
            1.0
        );
    }
    assert_eq!(served.connections(), 0);
}

/// One that does not come to its end.
#[test]
fn a_header_has_to_be_whole_in_time() {
    let served = echo();
    let site = site(&served, "", "127.0.0.1");
    let mut cut = site.client();
    cut.send("PROXY TCP4 203.").finish();
    assert_eq!(cut.rest().0, "");
    site.wharf.wait_log("ends in the middle");
    let mut slow = site.client();
    slow.send("PROXY TCP4 203.");
    let mut unclear = site.client();
    unclear.send("PROX");
    assert_eq!(slow.rest().0, "");
    assert_eq!(unclear.rest().0, "");
    eventually("both are counted", LIMIT, || {
        match site.metric("wharf_proxy_headers_total{result=\"refused\"}") {
            2.0 => Ok(()),
            other => Err(other.to_string()),
        }
    });
    assert_eq!(asked(&site, b"").status(), 200);
}

/// S6: a proxy behind the load balancer is trusted by the address that the load balancer names.
#[test]
fn trusted_proxies_are_known_by_the_address_that_is_named() {
    let served = echo();
    let container = app("app", served.port(), LABELS);
    let site = Site::with([container], |wharf| {
        let wharf = wharf.env("WHARF_PROXY_PROTOCOL_FROM", "127.0.0.1");
        wharf.env("WHARF_TRUSTED_PROXIES", "cloudfront")
    });
    for (proxy, seen) in [
        ([130, 176, 88, 10], "203.0.113.5"),
        ([203, 0, 113, 9], "203.0.113.9"),
    ] {
        let mut peer = site.client();
        let request = "GET / HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: 203.0.113.5\r\n\r\n";
        peer.send([&v2(0x21, 0x11, &tcp4(proxy)), request.as_bytes()].concat());
        let text = peer.message().text();
        assert!(text.contains(&format!("x-real-ip: {seen}\r\n")), "{text}");
    }
}
