//! Requests that are sent again: what of them, to whom, how often, and which never are.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::support::eventually;
use crate::support::h2::H2;
use crate::support::origin::{Origin, Served, ok, refused_port};
use crate::support::peer::{End, LIMIT, Peer};
use crate::support::site::{Site, get};

const EMPTY: &str = "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
/// Of a body that is kept.
const KEPT: usize = 64 * 1024;

/// Two replicas that a test scripts.
struct Pair {
    origins: [Origin; 2],
    site: Site,
}

impl Pair {
    fn new(labels: &str) -> Self {
        let origins = [Origin::new(), Origin::new()];
        let ports = origins.each_ref().map(Origin::port);
        let site = Site::replicas(&ports, labels);
        Self { origins, site }
    }

    /// The connection of the next try, and which replica has it.
    fn next(&self) -> (Peer, usize) {
        let deadline = Instant::now() + LIMIT;
        loop {
            for (index, origin) in self.origins.iter().enumerate() {
                if let Some(peer) = origin.accepted() {
                    return (peer, index);
                }
            }
            assert!(Instant::now() < deadline, "no connection");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The first try, and the origin of the one to come.
    fn first(&self) -> (Peer, &Origin) {
        let (peer, index) = self.next();
        (peer, &self.origins[1 - index])
    }

    fn is_idle(&self) {
        for origin in &self.origins {
            assert!(origin.accepted().is_none(), "sent again");
        }
    }
}

fn put(body: &str) -> String {
    let length = body.len();
    format!("PUT /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: {length}\r\n\r\n{body}")
}

const CHUNKED: &str = "PUT /x HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n";

/// A chunk of `len` bytes.
fn chunk(len: usize) -> String {
    format!("{len:x}\r\n{}\r\n", "x".repeat(len))
}

#[test]
fn a_request_that_is_cut_goes_to_the_next_replica_as_it_was() {
    let pair = Pair::new("wharf.fail: off");
    let trailers = format!("{CHUNKED}{}0\r\nx-sum: 7\r\n\r\n", chunk(5));
    let mut bytes = 0;
    for request in [
        get("/x"),
        get("/x").replace("GET", "HEAD"),
        put(""),
        put("body"),
        // In the same write as its head, in several, at the bound.
        put(&"b".repeat(5000)),
        put(&"b".repeat(20_000)),
        put(&"b".repeat(KEPT)),
        format!("{CHUNKED}0\r\n\r\n"),
        format!("{CHUNKED}{}{}0\r\n\r\n", chunk(3), chunk(30_000)),
        trailers,
    ] {
        let mut client = pair.site.send(&request);
        let (mut first, next) = pair.first();
        let sent = first.message();
        drop(first);
        let (_second, again) = next.answer(EMPTY);
        assert_eq!(again.head, sent.head);
        assert_eq!(
            (again.body.len(), &again.trailers),
            (sent.body.len(), &sent.trailers)
        );
        assert!(again.body == sent.body, "{:.60}", request);
        assert_eq!(client.message().status(), 204);
        bytes += sent.body.len();
        pair.is_idle();
    }
    let metric = |name| pair.site.metric(name);
    assert_eq!(metric("wharf_request_body_bytes_total"), bytes as f64);
    assert_eq!(
        metric("wharf_upstream_retries_total{reason=\"closed\"}"),
        10.0
    );
    assert_eq!(metric("wharf_upstream_retries_total"), 10.0);
}

#[test]
fn the_rest_of_an_upload_follows_what_was_kept() {
    let pair = Pair::new("wharf.fail: off");
    // Half a chunk, half a length.
    for (request, seen, rest, body) in [
        (
            format!("{CHUNKED}a\r\nabcde"),
            "5\r\nabcde\r\n",
            "fghij\r\n0\r\n\r\n",
            "abcdefghij",
        ),
        (
            format!("{CHUNKED}5\r\nabcde"),
            "5\r\nabcde\r\n",
            "\r\n0\r\nx-a: 1\r\n\r\n",
            "abcde",
        ),
        (
            put("abcdefghij").replace("fghij", ""),
            "abcde",
            "fghij",
            "abcdefghij",
        ),
    ] {
        let mut client = pair.site.send(request);
        let (mut first, next) = pair.first();
        first.head();
        first.until(seen);
        drop(first);
        let mut second = next.accept();
        let head = second.head();
        second.until(seen);
        second.is_silent();
        // With the next request behind it.
        client.send(format!("{rest}{}", get("/second")));
        let mut whole = head + seen;
        match rest.find("0\r\n") {
            None => whole += &second.until("fghij"),
            Some(_) => whole += &second.until("\r\n\r\n"),
        }
        assert!(
            whole.ends_with("fghij") || whole.ends_with("\r\n\r\n"),
            "{whole}"
        );
        let letters = |text: &str| {
            let lines = text.lines().skip_while(|line| !line.is_empty());
            let lines = lines.filter(|line| !line.contains(':') && line.len() > 1);
            lines.collect::<String>()
        };
        assert_eq!(letters(&whole), body);
        second.send(EMPTY);
        assert_eq!(client.message().status(), 204);
        let (mut third, _) = pair.next();
        assert!(third.message().head.starts_with("GET /second "));
        third.send(EMPTY);
        assert_eq!(client.message().status(), 204);
    }
}

#[test]
fn a_body_longer_than_is_kept_is_sent_once() {
    let pair = Pair::new("wharf.fail: off");
    // By one byte; of chunks their framing counts, too.
    let long = [
        put(&"b".repeat(KEPT + 1)),
        format!("{CHUNKED}{}{}0\r\n\r\n", chunk(KEPT / 2), chunk(KEPT / 2)),
    ];
    for request in long {
        let mut client = pair.site.send(request);
        let (mut first, _) = pair.first();
        first.message();
        drop(first);
        assert_eq!(client.message().status(), 502);
        pair.is_idle();
    }
    assert_eq!(pair.site.metric("wharf_upstream_retries_total"), 0.0);
}

#[test]
fn a_post_is_sent_once_unless_the_label_says_otherwise() {
    for (labels, again) in [("", false), ("wharf.retry: on=error,non_idempotent", true)] {
        let pair = Pair::new(&format!("wharf.fail: off\n{labels}"));
        for request in [
            get("/").replace("GET", "POST"),
            put("body").replace("PUT", "POST"),
        ] {
            let mut client = pair.site.send(request);
            let (mut first, next) = pair.first();
            let sent = first.message();
            drop(first);
            if again {
                assert_eq!(next.answer(EMPTY).1.body, sent.body);
            }
            assert_eq!(client.message().status(), if again { 204 } else { 502 });
            pair.is_idle();
        }
    }
}

#[test]
fn a_client_is_told_to_continue_once() {
    let pair = Pair::new("");
    let head = put("").replace(
        "Content-Length: 0",
        "Content-Length: 4\r\nExpect: 100-continue",
    );
    let mut client = pair.site.send(head);
    assert_eq!(client.head(), "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("bo");
    let (mut first, next) = pair.first();
    first.head();
    first.until("bo");
    drop(first);
    let mut second = next.accept();
    second.head();
    second.until("bo");
    client.is_silent();
    client.send("dy");
    second.until("dy");
    second.send(EMPTY);
    assert_eq!(client.message().status(), 204);
}

#[test]
fn a_client_that_leaves_ends_the_second_try_too() {
    let pair = Pair::new("wharf.fail: off");
    for reset in [false, true] {
        let mut client = pair.site.send(format!("{CHUNKED}{}", chunk(3)));
        let (mut first, next) = pair.first();
        first.until("xxx\r\n");
        // It may leave in between, or while the second one has it.
        if reset {
            client.send("5\r\nxx");
            first.until("xx\r\n");
        }
        drop(first);
        let mut second = next.accept();
        second.until("xxx\r\n");
        match reset {
            true => client.reset(),
            false => drop(client),
        }
        let (rest, _) = second.rest();
        assert!(!rest.contains("0\r\n"), "{rest}");
    }
    eventually("their end", Duration::from_secs(5), || {
        match pair.site.metric("wharf_requests_open") {
            0.0 => Ok(()),
            open => Err(format!("{open} open")),
        }
    });
}

#[test]
fn uploads_on_http2_are_kept_as_well() {
    let pair = Pair::new("wharf.fail: off");
    let client = H2::connect(pair.site.http());
    let request = || http::Request::put("http://a.test/x").body(()).unwrap();
    // Below the bound, its second half after the cut, with trailers; and far above, over many windows.
    let (response, mut stream) = client.send(request(), false);
    stream
        .send_data(Bytes::from(vec![b'a'; 30_000]), false)
        .unwrap();
    let (mut first, next) = pair.first();
    first.head();
    let mut taken = 0;
    while taken < 30_000 {
        let size = usize::from_str_radix(first.until("\r\n").trim(), 16).unwrap();
        first.exactly(size + 2);
        taken += size;
    }
    drop(first);
    let mut second = next.accept();
    stream
        .send_data(Bytes::from(vec![b'b'; 30_000]), false)
        .unwrap();
    let trailers = http::HeaderMap::from_iter([(
        http::HeaderName::from_static("x-sum"),
        http::HeaderValue::from_static("7"),
    )]);
    stream.send_trailers(trailers).unwrap();
    let again = second.message();
    assert_eq!(again.body, [[b'a'; 30_000], [b'b'; 30_000]].concat());
    assert_eq!(again.trailers, "x-sum: 7\r\n\r\n");
    second.send(EMPTY);
    assert_eq!(client.wait(response).unwrap().status(), 204);

    let (response, mut stream) = client.send(request(), false);
    stream
        .send_data(Bytes::from(vec![b'a'; 500_000]), true)
        .unwrap();
    let (mut first, _) = pair.first();
    assert_eq!(first.message().body.len(), 500_000);
    drop(first);
    assert_eq!(client.wait(response).unwrap().status(), 502);
    pair.is_idle();
    assert_eq!(
        pair.site.metric("wharf_request_body_bytes_total"),
        560_000.0
    );
}

#[test]
fn a_pooled_connection_that_dies_under_an_upload_is_replaced() {
    let origin = Origin::new();
    let site = Site::plain(origin.port(), "");
    let mut client = site.send(get("/first"));
    let (mut pooled, _) = origin.answer("HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(client.message().status(), 204);
    client.send(put("body"));
    assert_eq!(pooled.message().text(), "body");
    drop(pooled);
    assert_eq!(origin.answer(EMPTY).1.text(), "body");
    assert_eq!(client.message().status(), 204);
    assert_eq!(
        site.metric("wharf_upstream_retries_total{reason=\"stale\"}"),
        1.0
    );
}

/// A whole answer with a status.
fn answer(status: u16, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status} Told\r\nContent-Length: {length}\r\n\r\n{body}").into()
}

#[test]
fn a_status_is_asked_for_elsewhere_where_the_label_says_so() {
    let pair = Pair::new("wharf.fail: off\nwharf.retry: on=503,404");
    let requests = [get("/"), get("/").replace("GET", "HEAD"), put("body")];
    for (request, status) in requests.iter().zip([503, 404, 503]) {
        let mut client = pair.site.send(request);
        let (mut first, next) = pair.first();
        first.message();
        let body = if request.starts_with("HEAD") {
            ""
        } else {
            "no"
        };
        first.send(format!(
            "HTTP/1.1 {status} No\r\nContent-Length: 2\r\n\r\n{body}"
        ));
        let (_second, again) = next.answer(EMPTY);
        assert_eq!(again.head.split(' ').next(), request.split(' ').next());
        assert_eq!(client.message().status(), 204);
        // All of it was there, so its connection lives on.
        first.is_silent();
    }
    let reason = "wharf_upstream_retries_total{reason=\"status\"}";
    assert_eq!(pair.site.metric(reason), 3.0);
    // An answer nobody wants, of which more would have to be read, costs its connection.
    let mut client = pair.site.send(get("/"));
    let (mut first, next) = pair.first();
    first.message();
    first.send("HTTP/1.1 503 No\r\nContent-Length: 9\r\n\r\nno");
    next.answer(EMPTY);
    assert_eq!(client.message().status(), 204);
    first.rest();
}

#[test]
fn the_last_answer_is_passed_on_when_nobody_is_left() {
    let told = |status, body: &'static str| Served::by(move |_| answer(status, body));
    let (a, b) = (told(503, "a"), told(503, "b"));
    let labels = "wharf.fail: off\nwharf.retry: on=503";
    let site = Site::replicas(&[a.port(), b.port()], labels);
    for _ in 0..4 {
        let last = site.send(get("/")).message();
        assert_eq!(last.status(), 503);
        assert!(
            ["a", "b"].contains(&last.text().as_str()),
            "{}",
            last.text()
        );
    }
    assert_eq!(site.metric("wharf_upstream_retries_total"), 4.0);
    // Also where the next one cannot be reached: its answer is better than Wharf's.
    let site = Site::replicas(&[a.port(), refused_port()], labels);
    for _ in 0..4 {
        let last = site.send(put("body")).message();
        assert_eq!((last.status(), last.text()), (503, "a".into()));
    }
    // Nobody asked for this, and nobody else is there.
    for (ports, labels) in [
        (vec![a.port(), b.port()], "wharf.retry: on=502"),
        (vec![a.port(), b.port()], "wharf.retry: off on=503"),
        (vec![a.port()], labels),
    ] {
        let site = Site::replicas(&ports, labels);
        assert_eq!(site.send(get("/")).message().status(), 503);
        assert_eq!(site.metric("wharf_upstream_retries_total"), 0.0, "{labels}");
    }
    let site = Site::replicas(&[a.port(), b.port()], labels);
    let post = put("body").replace("PUT", "POST");
    assert_eq!(site.send(post).message().status(), 503);
    assert_eq!(site.metric("wharf_upstream_retries_total"), 0.0);
}

#[test]
fn an_early_answer_does_not_get_the_rest_of_an_upload_that_another_has() {
    let pair = Pair::new("wharf.fail: off\nwharf.retry: on=503");
    let mut client = pair.site.send(put("abcdefghij").replace("fghij", ""));
    let (mut first, next) = pair.first();
    first.until("abcde");
    first.send("HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\nno");
    let mut second = next.accept();
    second.until("abcde");
    client.send("fghij");
    second.until("fghij");
    // The second one fails for good, so the first answer is the best there is.
    second.send("nonsense\r\n\r\n");
    let last = client.message();
    assert_eq!((last.status(), last.text()), (503, "no".into()));
    assert_eq!(first.rest().0, "", "bytes of the rest");
}

#[test]
fn a_replica_that_does_not_answer_in_time_is_left_where_the_label_says_so() {
    for (labels, request, status) in [
        ("on=timeout", get("/"), 204),
        ("on=timeout", put("body"), 204),
        ("on=timeout", put("body").replace("PUT", "POST"), 504),
        ("on=error", get("/"), 504),
    ] {
        let labels = format!("wharf.timeout.read: 300ms\nwharf.retry: {labels}");
        let pair = Pair::new(&labels);
        let mut client = pair.site.send(&request);
        let (mut first, next) = pair.first();
        let sent = first.message();
        if status == 204 {
            assert_eq!(next.answer(EMPTY).1.body, sent.body);
        }
        assert_eq!(client.message().status(), status, "{labels}");
        assert_eq!(first.ended(), End::Fin);
        pair.is_idle();
    }
}

#[test]
fn so_many_replicas_are_tried_and_no_more() {
    let served = Served::text("hi");
    let ports = [
        refused_port(),
        refused_port(),
        refused_port(),
        served.port(),
    ];
    for (label, all) in [
        ("on=error", true),
        ("3", true),
        ("1", false),
        ("off", false),
    ] {
        let site = Site::replicas(&ports, &format!("wharf.fail: off\nwharf.retry: {label}"));
        let mut failed = 0;
        for _ in 0..8 {
            // What is not tried is not waited for either.
            match site.send(get("/")).message().status() {
                200 => {}
                502 => failed += 1,
                status => panic!("{status}"),
            }
        }
        assert_eq!(failed == 0, all, "{label}: {failed} failed");
    }
    // Of requests that were sent two more have one by default.
    let origins = [(); 4].map(|()| Origin::new());
    let ports = origins.each_ref().map(Origin::port);
    let site = Site::replicas(&ports, "wharf.fail: off");
    let mut client = site.send(get("/"));
    let mut tried = 0;
    eventually("three tries", LIMIT, || {
        for origin in &origins {
            if let Some(mut peer) = origin.accepted() {
                peer.message();
                tried += 1;
            }
        }
        if tried == 3 {
            Ok(())
        } else {
            Err(tried.to_string())
        }
    });
    assert_eq!(client.message().status(), 502);
    assert!(origins.iter().all(|origin| origin.accepted().is_none()));
}

#[test]
fn a_budget_that_is_used_up_passes_the_first_failure_on() {
    let asked = Arc::new(AtomicUsize::new(0));
    let ill = Served::by({
        let asked = Arc::clone(&asked);
        move |_| {
            asked.fetch_add(1, Ordering::SeqCst);
            answer(503, "ill")
        }
    });
    let well = Served::text("well");
    let labels = "wharf.fail: off\nwharf.retry: on=503 budget=0%";
    let site = Site::replicas(&[ill.port(), well.port()], labels);
    let mut failed = 0;
    for _ in 0..60 {
        match site.send(get("/")).message() {
            last if last.status() == 503 => {
                assert_eq!(last.text(), "ill");
                failed += 1;
            }
            last => assert_eq!(last.text(), "well"),
        }
    }
    let retried = site.metric("wharf_upstream_retries_total{reason=\"status\"}");
    let refused = site.metric("wharf_upstream_retries_refused_total");
    assert_eq!(refused, f64::from(failed));
    assert_eq!(retried + refused, asked.load(Ordering::SeqCst) as f64);
    assert!(retried >= 10.0 && refused > 0.0, "{retried} {refused}");
}

#[test]
fn replicas_are_busy_for_as_long_as_they_have_requests_and_clients_stay_where_they_were_answered() {
    let ill = Arc::new(AtomicBool::new(true));
    let both = Arc::new(Barrier::new(2));
    let (a, b) = {
        let replica = |name: &'static str, fails: bool| {
            let (ill, both) = (Arc::clone(&ill), Arc::clone(&both));
            Served::by(move |request| {
                if request.head.contains("/both") {
                    both.wait();
                }
                match fails && ill.load(Ordering::SeqCst) {
                    true => answer(503, "ill"),
                    false => ok(name),
                }
            })
        };
        (replica("a", true), replica("b", false))
    };
    let labels = "wharf.fail: off\nwharf.lb: least_conn\nwharf.sticky: on cookie=s\n\
                  wharf.retry: on=503 budget=off";
    let site = Site::replicas(&[a.port(), b.port()], labels);
    let mut cookies = BTreeSet::new();
    for _ in 0..20 {
        let answer = site.send(get("/")).message();
        assert_eq!(answer.text(), "b");
        cookies.insert(answer.field("set-cookie").unwrap().to_owned());
    }
    assert_eq!(cookies.len(), 1, "the one that answers: {cookies:?}");
    // Nobody is busy any more, so of two requests at once each gets one.
    ill.store(false, Ordering::SeqCst);
    for _ in 0..3 {
        let mut clients = [(); 2].map(|()| site.send(get("/both")));
        let answers = clients.each_mut().map(|client| client.message().text());
        assert_eq!(
            BTreeSet::from(answers),
            BTreeSet::from(["a".into(), "b".into()])
        );
    }
}
