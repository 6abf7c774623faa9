//! S26, S28, S68: answers that are held for slower clients and compressed for them, both.

use std::thread;
use std::time::Duration;

use http::Request;

use crate::buffers::{body, chunked, narrow};
use crate::compress::decoded;
use crate::support::h2::H2;
use crate::support::origin::Origin;
use crate::support::peer::Peer;
use crate::support::site::Site;

/// More than all sockets hold on the way to a client that is [`narrow`].
const LARGE: usize = 24_000_000;

const ASKED: &str = "GET / HTTP/1.1\r\nHost: a.test\r\nAccept-Encoding: gzip\r\n\r\n";

fn head(kind: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nX-Accel-Buffering: yes\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
}

/// Takes chunks, until what is in them is `sent`.
fn chunks_until(client: &mut Peer, coding: &str, coded: &mut Vec<u8>, sent: &[u8]) {
    while decoded(coding, coded) != sent {
        let size = client.until("\r\n");
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        assert_ne!(size, 0, "the end");
        coded.extend(client.exactly(size));
        client.until("\r\n");
    }
}

/// Each event is with the client before the app has sent the next, compressed or not, and of those that the client does
/// not take no more leave the app than sockets hold.
#[test]
fn s28_events_are_neither_held_nor_delayed_where_both_are_on() {
    let origin = Origin::new();
    let kinds = [
        "text/event-stream",
        "application/x-ndjson",
        "multipart/x-mixed-replace; boundary=x",
    ];
    let types = "wharf.compress.types: default, text/event-stream, application/x-ndjson, multipart/x-mixed-replace";
    for (coding, types) in [("", ""), ("gzip", types)] {
        let site = Site::plain(
            origin.port(),
            &format!("wharf.buffer: on\nwharf.compress: on\n{types}"),
        );
        for kind in kinds {
            println!("{kind} {coding:?}");
            let event = |number| format!("data: {number}\n\n");
            let chunk = |event: &str| format!("{:x}\r\n{event}\r\n", event.len());

            let mut client = site.send(ASKED);
            let (mut upstream, _) = origin.answer(&head(kind));
            let told = client.head().to_ascii_lowercase();
            assert_eq!(told.contains("content-encoding: gzip"), coding == "gzip");
            let (mut coded, mut sent) = (Vec::new(), String::new());
            for number in 0..10 {
                upstream.send(chunk(&event(number)));
                sent += &event(number);
                chunks_until(&mut client, coding, &mut coded, sent.as_bytes());
            }

            let client = H2::connect(site.http());
            let asked = Request::get("http://a.test/").header("accept-encoding", "gzip");
            let (response, _) = client.send(asked.body(()).unwrap(), true);
            let (mut upstream, _) = origin.answer(&head(kind));
            let mut stream = client.wait(response).unwrap().into_body();
            let (mut coded, mut sent) = (Vec::new(), String::new());
            for number in 0..10 {
                upstream.send(chunk(&event(number)));
                sent += &event(number);
                while decoded(coding, &coded) != sent.as_bytes() {
                    let data = client.wait(stream.data()).expect("no end").unwrap();
                    stream.flow_control().release_capacity(data.len()).unwrap();
                    coded.extend(data);
                }
            }

            let mut client = narrow(site.http());
            client.send(ASKED);
            let (mut upstream, _) = origin.answer(&head(kind));
            let wire = chunked(&body(LARGE));
            let sending = thread::spawn(move || upstream.try_send(wire).is_ok());
            // Until every buffer on the way is full.
            thread::sleep(Duration::from_millis(1000));
            assert!(!sending.is_finished(), "it was held");
            client.reset();
            sending.join().unwrap();
        }
    }
}

/// The app is done before its client has read a byte, and what the client makes of the rest is what the app sent.
#[test]
fn s26_s68_an_answer_is_held_as_the_app_sends_it_and_compressed_as_the_client_takes_it() {
    let expected = body(LARGE);
    let origin = Origin::new();
    let site = Site::plain(
        origin.port(),
        "wharf.buffer: on\nwharf.compress: on\nwharf.max_conns: 1 queue=1 wait=1m",
    );
    for coding in ["gzip", "zstd"] {
        println!("{coding}");
        let asked = ASKED.replace("gzip", coding);
        let mut client = narrow(site.http());
        client.send(&asked);
        let (mut upstream, _) = origin.answer(&head("text/plain"));
        upstream.send(chunked(&expected));
        upstream.send("0\r\n\r\n");
        // Its one place is free again.
        let mut other = site.send(&asked);
        assert!(upstream.head().starts_with("GET "));
        upstream.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi");
        assert_eq!(other.message().text(), "hi");
        let answer = client.message();
        assert_eq!(answer.field("content-encoding"), Some(coding));
        assert!(decoded(coding, &answer.body) == expected);

        let client = H2::connect(site.http());
        let asked = Request::get("http://a.test/").header("accept-encoding", coding);
        let (response, _) = client.send(asked.body(()).unwrap(), true);
        let (mut upstream, _) = origin.answer(&head("text/plain"));
        upstream.send(chunked(&expected));
        upstream.send("0\r\n\r\n");
        drop(upstream);
        let response = client.wait(response).unwrap();
        assert_eq!(response.headers()["content-encoding"], coding);
        let answer = client.whole(response).unwrap();
        assert!(decoded(coding, &answer.body) == expected);
    }
}
