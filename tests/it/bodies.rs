//! Large bodies: whole, in every framing and both ways, however slowly they are taken; and never
//! whole when they were cut. Plain ones go from socket to socket inside the kernel.

use std::thread;

use crate::support::origin::Origin;
use crate::support::peer::{End, Peer};
use crate::support::site::{Site, app, get};

const LABELS: &str = "wharf.host: a.test\nwharf.https: both\nwharf.tls: internal";

fn site() -> (Site, Origin) {
    let origin = Origin::new();
    (Site::start([app("app", origin.port(), LABELS)]), origin)
}

/// No stretch of it looks like another.
fn body(len: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let bytes = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    });
    bytes.take(len).collect()
}

/// `body` in chunks of uneven size.
fn chunked(body: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    for (index, chunk) in body.chunks(70_001).enumerate() {
        let end = chunk.len() - index % 7;
        for part in [&chunk[..end], &chunk[end..]] {
            if !part.is_empty() {
                wire.extend(format!("{:x}\r\n", part.len()).into_bytes());
                wire.extend(part);
                wire.extend(b"\r\n");
            }
        }
    }
    wire.extend(b"0\r\n\r\n");
    wire
}

/// The other side of a conversation that would block this one.
fn meanwhile(peer: Peer, bytes: Vec<u8>) -> thread::JoinHandle<Peer> {
    thread::spawn(move || {
        let mut peer = peer;
        peer.send(bytes);
        peer
    })
}

#[test]
fn downloads_arrive_whole_and_both_connections_live_on() {
    let (site, origin) = site();
    for tls in [false, true] {
        let connect = || match tls {
            true => site.tls("a.test").unwrap(),
            false => site.client(),
        };
        // Around the sizes at which the way of copying changes.
        for len in [0, 1, 8_000, 8_192, 65_535, 131_072, 200_000, 3_000_000] {
            for chunks in [false, true] {
                println!("tls {tls}, {len} bytes, chunks {chunks}");
                let expected = body(len);
                let mut wire = match chunks {
                    true => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec(),
                    false => format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\n\r\n").into(),
                };
                wire.extend(match chunks {
                    true => chunked(&expected),
                    false => expected.clone(),
                });
                let mut client = connect();
                client.send(get("/"));
                let mut upstream = origin.accept();
                upstream.head();
                let sending = meanwhile(upstream, wire);
                assert!(client.message().body == expected);
                let mut upstream = sending.join().unwrap();
                client.send(get("/next"));
                assert!(upstream.head().starts_with("GET /next"));
                upstream.send("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
                assert_eq!(client.message().status(), 204);
            }
        }
    }
}

#[test]
fn uploads_arrive_whole() {
    let (site, origin) = site();
    for tls in [false, true] {
        for len in [1, 4_096, 8_192, 131_072, 3_000_000] {
            for chunks in [false, true] {
                println!("tls {tls}, {len} bytes, chunks {chunks}");
                let expected = body(len);
                let framing = match chunks {
                    true => "Transfer-Encoding: chunked".to_owned(),
                    false => format!("Content-Length: {len}"),
                };
                let head = format!("PUT / HTTP/1.1\r\nHost: a.test\r\n{framing}\r\n\r\n");
                let mut wire = head.into_bytes();
                wire.extend(match chunks {
                    true => chunked(&expected),
                    false => expected.clone(),
                });
                let client = match tls {
                    true => site.tls("a.test").unwrap(),
                    false => site.client(),
                };
                let sending = meanwhile(client, wire);
                let (_upstream, request) =
                    origin.answer("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
                assert!(request.body == expected);
                assert_eq!(sending.join().unwrap().message().status(), 204);
            }
        }
    }
}

#[test]
fn a_client_that_reads_late_gets_all_of_it() {
    let (site, origin) = site();
    let expected = body(64_000_000);
    let mut client = site.send(get("/"));
    let mut upstream = origin.accept();
    upstream.head();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
        expected.len()
    );
    upstream.send(head);
    let sending = meanwhile(upstream, expected.clone());
    // Nothing is read until every buffer on the way is full.
    thread::sleep(std::time::Duration::from_millis(300));
    assert!(!sending.is_finished());
    assert!(client.message().body == expected);
    sending.join().unwrap();
}

#[test]
fn what_a_request_brought_along_is_answered_behind_a_large_body() {
    let (site, origin) = site();
    let expected = body(500_000);
    let mut client = site.send(get("/") + &get("/second"));
    let mut upstream = origin.accept();
    upstream.head();
    let mut wire = b"HTTP/1.1 200 OK\r\nContent-Length: 500000\r\n\r\n".to_vec();
    wire.extend(&expected);
    let sending = meanwhile(upstream, wire);
    assert!(client.message().body == expected);
    let mut upstream = sending.join().unwrap();
    assert!(upstream.head().starts_with("GET /second"));
    upstream.send("HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(client.message().status(), 204);
}

#[test]
fn a_large_body_that_is_cut_is_no_whole_one() {
    let (site, origin) = site();
    let sent = body(400_000);
    for (reset, length) in [(false, true), (true, true), (true, false)] {
        // Without a length HTTP/1.0 has no other end than that of the connection.
        let request = match length {
            true => get("/"),
            false => "GET / HTTP/1.0\r\nHost: a.test\r\n\r\n".to_owned(),
        };
        let mut client = site.send(request);
        let mut upstream = origin.accept();
        upstream.head();
        upstream.send(match length {
            true => "HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n",
            false => "HTTP/1.1 200 OK\r\n\r\n",
        });
        client.head();
        let sending = meanwhile(upstream, sent.clone());
        assert!(client.exactly(sent.len()) == sent);
        let upstream = sending.join().unwrap();
        if reset {
            upstream.reset();
        } else {
            drop(upstream);
        }
        let (rest, end) = client.rest();
        assert_eq!(rest, "");
        assert_eq!(end == End::Fin, length, "{reset} {length} {end:?}");
    }
    // Where it is the delimiter, the end of the upstream's connection is the end of the body.
    let mut client = site.send("GET / HTTP/1.0\r\nHost: a.test\r\n\r\n");
    let mut upstream = origin.accept();
    upstream.head();
    upstream.send("HTTP/1.1 200 OK\r\n\r\n");
    client.head();
    let sending = meanwhile(upstream, sent.clone());
    assert!(client.exactly(sent.len()) == sent);
    drop(sending.join().unwrap());
    assert_eq!(client.ended(), End::Fin);
}

#[test]
fn a_client_that_leaves_a_large_body_ends_it() {
    let (site, origin) = site();
    for reset in [false, true] {
        let mut client = site.send(get("/"));
        let mut upstream = origin.accept();
        upstream.head();
        upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 900000000\r\n\r\n");
        upstream.send(body(400_000));
        client.exactly(300_000);
        if reset {
            client.reset();
        } else {
            drop(client);
        }
        while upstream.try_send([0; 10_000]).is_ok() {}
    }
    let limit = std::time::Duration::from_secs(5);
    crate::support::eventually("no open request", limit, || {
        match site.metric("wharf_requests_open") {
            0.0 => Ok(()),
            open => Err(format!("{open} open")),
        }
    });
}
