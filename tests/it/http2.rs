//! HTTP/2 from clients, beside HTTP/1 on the same listeners.

use std::process::Command;

use bytes::Bytes;

use crate::support::h2::H2;
use crate::support::origin::{Origin, Served, ok};
use crate::support::site::{Site, app};

fn site(port: u16) -> Site {
    Site::start([app(
        "app",
        port,
        "wharf.host: a.test, b.test\nwharf.https: both\nwharf.tls: internal",
    )])
}

/// Every byte at its place: its position modulo a prime.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}

#[test]
fn the_protocol_is_what_the_client_offers() {
    let served = Served::text("hi");
    let site = site(served.port());
    for (arguments, scheme, version) in [
        (&["--http1.1"][..], "http", "1.1"),
        (&["--http1.0"], "http", "1"),
        (&["--http2-prior-knowledge"], "http", "2"),
        // An upgrade to h2c is not taken, and not passed on.
        (&["--http2"], "http", "1.1"),
        (&["--http2"], "https", "2"),
        (&["--http1.1"], "https", "1.1"),
        (&["--no-alpn"], "https", "1.1"),
    ] {
        let port = if scheme == "http" {
            site.wharf.http
        } else {
            site.wharf.https
        }
        .port();
        let mut curl = Command::new("curl");
        curl.args([
            "-sS",
            "--max-time",
            "20",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code} %{http_version}",
        ]);
        curl.arg("--cacert")
            .arg(site.wharf.data().join("ca/ca.crt"));
        curl.args(["--connect-to", &format!("::127.0.0.1:{port}")]);
        let output = curl
            .args(arguments)
            .arg(format!("{scheme}://a.test/"))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(
            text,
            format!("200 {version}"),
            "{arguments:?} {scheme}: {output:?}"
        );
    }
}

#[test]
fn load_over_many_streams_is_all_answered() {
    let served = Served::by(|request| ok(&request.head.as_bytes()[..3]));
    let site = site(served.port());
    for address in [
        format!("http://{}", site.wharf.http),
        format!("https://{}", site.wharf.https),
    ] {
        let mut load = Command::new("h2load");
        load.args([
            "-n",
            "2000",
            "-c",
            "4",
            "-m",
            "50",
            "-H",
            ":authority: a.test",
        ]);
        load.args(["--connect-to", address.split_once("//").unwrap().1]);
        let scheme = address.split_once(':').unwrap().0;
        let output = load.arg(format!("{scheme}://a.test/")).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            text.contains("2000 succeeded, 0 failed, 0 errored, 0 timeout"),
            "{text}"
        );
        assert!(text.contains("2000 2xx, 0 3xx"), "{text}");
    }
}

#[test]
fn streams_do_not_wait_for_each_other() {
    let origin = Origin::new();
    let site = site(origin.port());
    let client = H2::connect(site.http());
    let send = |path: &str| {
        let request = http::Request::get(format!("http://a.test{path}"))
            .body(())
            .unwrap();
        client.send(request, true).0
    };
    let (slow, fast) = (send("/slow"), send("/fast"));
    let mut upstreams = [origin.accept(), origin.accept()];
    let is_slow = upstreams[0].head().starts_with("GET /slow");
    upstreams[1].head();
    let [for_slow, for_fast] = if is_slow { [0, 1] } else { [1, 0] };
    upstreams[for_fast].send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfast");
    let answer = client.wait(fast).unwrap();
    assert_eq!(client.whole(answer).unwrap().text(), "fast");
    upstreams[for_slow].send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow");
    let answer = client.wait(slow).unwrap();
    assert_eq!(client.whole(answer).unwrap().text(), "slow");
}

#[test]
fn large_bodies_arrive_whole_both_ways() {
    let served = Served::by(|request| ok(&request.body));
    let site = site(served.port());
    let body = Bytes::from(pattern(5_000_000));
    for length in [Some(body.len()), None] {
        let client = H2::connect_tls(site.wharf.https, "a.test", site.wharf.data());
        let mut request = http::Request::post("https://a.test/");
        if let Some(length) = length {
            request = request.header("content-length", length);
        }
        let (response, mut stream) = client.send(request.body(()).unwrap(), false);
        stream.send_data(body.clone(), true).unwrap();
        let answer = client.wait(response).unwrap();
        let whole = client.whole(answer).unwrap();
        assert_eq!(whole.status, 200);
        assert!(
            whole.body == body,
            "{} bytes of {}",
            whole.body.len(),
            body.len()
        );
    }
}

#[test]
fn malformed_requests_reset_their_stream_and_no_more() {
    let served = Served::text("hi");
    let site = site(served.port());
    let client = H2::connect(site.http());
    for (name, value) in [
        ("connection", "close"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
        ("te", "gzip"),
    ] {
        let answer = client.get("http://a.test/", &[(name, value)]);
        // h2 refuses to send some of these by itself, which is the same to the upstream.
        assert!(
            answer.is_err() || answer.is_ok_and(|answer| answer.status == 400),
            "{name}"
        );
    }
    // A length that is not the body's.
    let request = http::Request::post("http://a.test/").header("content-length", "9");
    let (response, mut stream) = client.send(request.body(()).unwrap(), false);
    stream.send_data("abc".into(), true).unwrap();
    let answer = client.wait(response);
    assert!(
        answer
            .as_ref()
            .map_or(true, |answer| answer.status() == 400),
        "{answer:?}"
    );
    assert_eq!(client.get("http://b.test/", &[]).unwrap().text(), "hi");
}

#[test]
fn a_request_list_of_fields_has_a_limit() {
    let served = Served::text("hi");
    let site = site(served.port());
    let client = H2::connect(site.http());
    let long = "x".repeat(33 * 1024);
    let answer = client.get("http://a.test/", &[("x", &long)]);
    assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status == 431));
    let client = H2::connect(site.http());
    let path = "x".repeat(17 * 1024);
    assert_eq!(
        client
            .get(&format!("http://a.test/{path}"), &[])
            .unwrap()
            .status,
        414
    );
    assert_eq!(served.connections(), 0);
}
