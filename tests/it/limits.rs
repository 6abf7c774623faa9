//! What clients may take of Wharf before anybody knows what for: connections (S55). And how bodies get to them: as they
//! come (S28), without chunks (S31).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::support::eventually;
use crate::support::h2::H2;
use crate::support::nginx::Nginx;
use crate::support::origin::{Origin, Served};
use crate::support::peer::{End, LIMIT, Peer};
use crate::support::site::{Site, app, get};

const LABELS: &str = "wharf.host: a.test\nwharf.https: both\nwharf.tls: internal";

fn client(last: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, last).into()
}

/// A connection from an address that gets an answer; `None` where it is closed instead.
fn served(at: SocketAddr, from: IpAddr, first: &str) -> Option<Peer> {
    let mut peer = Peer::try_connect_from(from, at).ok()?;
    // It may be gone by now.
    let _ = peer.try_send(format!("{first}{}", get("/")));
    if !peer.is_open() {
        return None;
    }
    assert_eq!(peer.message().status(), 200);
    Some(peer)
}

#[test]
fn s55_an_address_has_so_many_connections_over_all_workers() {
    let running = Served::text("hi");
    let site = Site::with([app("app", running.port(), LABELS)], |wharf| {
        wharf
            .env("WHARF_WORKERS", "3")
            .env("WHARF_MAX_CONNS_PER_IP", "3")
            .env("WHARF_TRUSTED_PROXIES", "127.0.0.9")
            .env("WHARF_PROXY_PROTOCOL_FROM", "127.0.0.8")
    });
    let at = site.http();
    let mut held: Vec<Peer> = (0..3).map(|_| served(at, client(2), "").unwrap()).collect();
    for _ in 0..5 {
        assert!(served(at, client(2), "").is_none());
    }
    // On the other listener, too, and before a handshake.
    let refused = Peer::try_connect_from(client(2), site.wharf.https);
    let ended = refused.map_or(End::Reset, |mut peer| peer.ended());
    assert_eq!(ended, End::Reset);
    let told = site.wharf.wait_log("connections are refused");
    assert!(told.contains("127.0.0.2") && told.contains('3'), "{told}");
    assert_eq!(site.metric("wharf_connections_refused_total"), 6.0);
    // Another address, and one that speaks for many.
    served(at, client(3), "").unwrap();
    let proxy: Vec<_> = (0..6).map(|_| served(at, client(9), "").unwrap()).collect();
    drop(proxy);
    // A load balancer that says who it is.
    let header = |last| format!("PROXY TCP4 192.0.2.{last} 192.0.2.99 1000 80\r\n");
    let _named: Vec<_> = (0..3)
        .map(|_| served(at, client(8), &header(1)).unwrap())
        .collect();
    assert!(served(at, client(8), &header(1)).is_none());
    served(at, client(8), &header(2)).unwrap();
    // One that ends makes room.
    held.pop();
    eventually("a place", LIMIT, || {
        let peer = served(at, client(2), "");
        peer.map(drop).ok_or_else(|| "refused".to_owned())
    });
}

#[test]
fn s31_without_chunks_the_end_of_the_connection_is_the_end_of_the_body() {
    let origin = Origin::new();
    let labels = format!("{LABELS}\nwharf.chunked: off");
    let site = Site::start([app("app", origin.port(), &labels)]);
    let nginx = Nginx::start(&format!(
        "server {{ chunked_transfer_encoding off; location / {{ proxy_pass http://127.0.0.1:{}; }} }}",
        origin.port()
    ));
    for (name, at) in [("Wharf", site.http()), ("nginx", nginx.address)] {
        let mut client = Peer::connect(at);
        client.send(get("/"));
        let mut upstream = origin.accept();
        upstream.head();
        upstream.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\nhello\r\n");
        let head = client.head().to_ascii_lowercase();
        assert!(head.contains("\r\nconnection: close\r\n"), "{name}: {head}");
        assert!(!head.contains("transfer-encoding"), "{name}: {head}");
        assert!(!head.contains("content-length"), "{name}: {head}");
        client.until("hello");
        upstream.send("6\r\n world\r\n0\r\n\r\n");
        assert_eq!(client.rest(), (" world".to_owned(), End::Fin), "{name}");
        // What has a length keeps its connection.
        let mut client = Peer::connect(at);
        client.send(get("/"));
        origin.answer("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi");
        assert_eq!(client.message().text(), "hi");
        client.send(get("/"));
        origin.answer("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
        assert_eq!(client.message().status(), 204, "{name}");
    }
    // Cut short, nobody takes it for the whole.
    let mut client = site.send(get("/"));
    let (upstream, _) =
        origin.answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    client.until("hello");
    drop(upstream);
    assert_eq!(client.rest().1, End::Reset);
    // HTTP/2 has an end of its own.
    let h2 = H2::connect(site.http());
    let request = http::Request::get("http://a.test/").body(()).unwrap();
    let (answer, _) = h2.send(request, true);
    origin.answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n");
    let answer = h2.wait(answer).unwrap();
    assert_eq!(answer.headers().get("connection"), None);
    assert_eq!(h2.whole(answer).unwrap().text(), "hi");
}

/// Whatever a route does to its answers, each event is with the client before the app has sent the next.
#[test]
fn s28_no_filter_holds_an_event() {
    let origin = Origin::new();
    let labels = format!(
        "{LABELS}
         wharf.ratelimit: 1000r/s burst=100
         wharf.inflight: 100, 50 key=ip
         wharf.cors: https://app.test
         wharf.security: strict
         wharf.headers.response: X-App=blue, -Server
         wharf.errors: 5xx = app:/oops
         wharf.errors.intercept: on
         wharf.breaker: on
         wharf.sticky: on
         wharf.max_body: 1m"
    );
    let site = Site::start([app("app", origin.port(), &labels)]);
    let types = [
        "text/event-stream",
        "application/x-ndjson",
        "multipart/x-mixed-replace; boundary=x",
        "application/grpc-web",
    ];
    for kind in types {
        for framing in [
            "Transfer-Encoding: chunked",
            "Connection: close",
            "Content-Length: 21",
        ] {
            let chunked = framing.starts_with("Transfer");
            let event = |n: u8| match chunked {
                true => format!("7\r\ndata {n}\n\r\n"),
                false => format!("data {n}\n"),
            };
            let open = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n{framing}\r\n\r\n");
            for mut client in [site.client(), site.tls("a.test").unwrap()] {
                client.send(get("/events"));
                let mut upstream = origin.accept();
                upstream.head();
                upstream.send(&open);
                client.head();
                for n in 1..=3 {
                    upstream.send(event(n));
                    client.until(&format!("data {n}\n"));
                }
            }
            let h2 = H2::connect(site.http());
            let request = http::Request::get("http://a.test/events").body(()).unwrap();
            let (answer, _) = h2.send(request, true);
            let mut upstream = origin.accept();
            upstream.head();
            upstream.send(&open);
            let mut body = h2.wait(answer).unwrap().into_body();
            for n in 1..=3 {
                upstream.send(event(n));
                let piece = h2.wait(async { body.data().await.unwrap().unwrap() });
                assert_eq!(piece, format!("data {n}\n"), "{kind}, {framing}");
            }
        }
    }
}
