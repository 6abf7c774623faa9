//! Requests that wait for a replica: starts, restarts, and when not to wait.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use socket2::{Domain, Socket, Type};

use crate::support::eventually;
use crate::support::h2::H2;
use crate::support::origin::{Origin, Served, free_port, ok, refused_port};
use crate::support::site::{Site, app, get};

const LABELS: &str = "wharf.host: a.test\nwharf.tls: off";

/// A response after which its connection is closed.
fn once(body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}").into()
}

/// A listener at a port that was refused before.
fn listen(port: u16) -> TcpListener {
    TcpListener::bind(("127.0.0.1", port)).unwrap()
}

/// Waits until so many requests have had to wait.
fn held(site: &Site, count: f64) {
    eventually("requests that wait", Duration::from_secs(5), || match site
        .metric("wharf_requests_held_total")
    {
        held if held == count => Ok(()),
        held => Err(format!("{held} of {count}")),
    });
}

#[test]
fn requests_wait_for_a_container_that_does_not_listen_yet() {
    let site = Site::start([]);
    let port = free_port();
    site.engine.run(app("app", port, LABELS));
    site.wharf
        .wait_status("the route", |status| status.to_string().contains("a.test"));
    let mut clients: Vec<_> = (0..20).map(|_| site.send(get("/"))).collect();
    let mut post = site.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\r\nbody");
    held(&site, 21.0);
    let served = Served::on(listen(port), |request| ok(&request.body));
    for client in &mut clients {
        assert_eq!(client.message().status(), 200);
    }
    assert_eq!(post.message().text(), "body");
    assert!(served.connections() > 0);
}

#[test]
fn a_replica_that_answered_is_waited_for_and_a_wait_in_vain_is_the_last() {
    let port = free_port();
    let served = Served::on(listen(port), |_| once("first"));
    let site = Site::start([app("app", port, &format!("{LABELS}\nwharf.hold: 2s"))]);
    assert_eq!(site.send(get("/")).message().text(), "first");
    drop(served);
    let mut waiting = site.send(get("/"));
    held(&site, 1.0);
    let again = Served::on(listen(port), |_| once("again"));
    assert_eq!(waiting.message().text(), "again");
    drop(again);
    let began = Instant::now();
    let answer = site.send(get("/")).message();
    assert_eq!(answer.status(), 503);
    assert!(answer.field("retry-after").is_some());
    assert!(
        answer.text().contains("waited 2s in vain"),
        "{}",
        answer.text()
    );
    assert!(
        answer.text().contains("Connection refused"),
        "{}",
        answer.text()
    );
    assert!(began.elapsed() >= Duration::from_secs(2));
    // Nothing has happened since, so the next is not kept waiting.
    let began = Instant::now();
    let answer = site.send(get("/")).message();
    assert_eq!(answer.status(), 502);
    assert!(began.elapsed() < Duration::from_secs(1));
    // Until somebody is reached again.
    let back = Served::on(listen(port), |_| once("back"));
    assert_eq!(site.send(get("/")).message().text(), "back");
    drop(back);
    let _waits = site.send(get("/"));
    held(&site, 3.0);
}

#[test]
fn what_was_never_there_and_what_is_off_is_refused_at_once() {
    // Old containers, so that nobody expects them to start listening.
    let refused = refused_port();
    let site = Site::start([
        app("old", refused, "wharf.host: a.test\nwharf.tls: off"),
        app(
            "off",
            refused,
            "wharf.host: b.test\nwharf.tls: off\nwharf.hold: off",
        ),
    ]);
    let began = Instant::now();
    assert_eq!(site.send(get("/")).message().status(), 502);
    site.engine.run(app(
        "new",
        refused,
        "wharf.host: c.test\nwharf.tls: off\nwharf.hold: off",
    ));
    site.wharf
        .wait_status("the route", |status| status.to_string().contains("c.test"));
    for host in ["b.test", "c.test"] {
        let request = get("/").replace("a.test", host);
        assert_eq!(site.send(request).message().status(), 502, "{host}");
    }
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!(site.metric("wharf_requests_held_total"), 0.0);
}

#[test]
fn a_new_replica_gets_requests_once_it_listens() {
    let first = Served::text("first");
    let pool = format!("{LABELS}\nwharf.pool: p");
    let site = Site::start([app("first", first.port(), &pool)]);
    let port = free_port();
    site.engine.run(app("second", port, &pool));
    site.wharf
        .wait_status("both", |status| status.to_string().contains("second"));
    let ask = || site.send(get("/")).message().text();
    assert!((0..20).all(|_| ask() == "first"));
    assert_eq!(site.metric("wharf_upstream_retries_total"), 0.0);
    let _second = Served::on(listen(port), |_| ok("second"));
    eventually("its share", Duration::from_secs(5), || {
        match ask().as_str() {
            "second" => Ok(()),
            other => Err(other.to_owned()),
        }
    });
}

#[test]
fn a_client_that_waits_may_leave_and_is_not_counted_any_more() {
    let site = Site::start([]);
    site.engine.run(app("app", refused_port(), LABELS));
    site.wharf
        .wait_status("the route", |status| status.to_string().contains("a.test"));
    let client = site.send(get("/"));
    held(&site, 1.0);
    assert_eq!(site.metric("wharf_requests_open"), 1.0);
    drop(client);
    eventually("its end", Duration::from_secs(5), || {
        match site.metric("wharf_requests_open") {
            0.0 => Ok(()),
            open => Err(format!("{open} open")),
        }
    });
}

#[test]
fn a_request_cut_by_a_container_that_goes_away_waits_for_the_next() {
    let origin = Origin::new();
    let site = Site::start([app("one", origin.port(), LABELS)]);
    let mut client = site.send(get("/"));
    let mut upstream = origin.accept();
    upstream.head();
    // What a compose recreate looks like from here.
    let next = Served::text("next");
    drop(upstream);
    site.engine.run(app("one", next.port(), LABELS));
    assert_eq!(client.message().text(), "next");
    assert!(origin.accepted().is_none(), "sent twice to the same");
}

#[test]
fn five_thousand_requests_wait_and_the_next_one_is_refused_at_once() {
    let site = Site::start([]);
    let port = free_port();
    let labels = format!("{LABELS}\nwharf.hold: 5m");
    site.engine.run(app("app", port, &labels));
    site.wharf
        .wait_status("the route", |status| status.to_string().contains("a.test"));
    // Some have sent a body already, of which they hold what was taken.
    let clients: Vec<H2> = (0..50).map(|_| H2::connect(site.http())).collect();
    let mut waiting = Vec::new();
    for client in &clients {
        for index in 0..100 {
            let request = http::Request::put("http://a.test/").body(()).unwrap();
            let (response, mut stream) = client.send(request, index % 2 == 0);
            if index % 2 == 1 {
                stream.send_data(Bytes::from_static(b"body"), true).unwrap();
            }
            waiting.push((client, response));
        }
    }
    held(&site, 5000.0);
    let refused = site.send(get("/")).message();
    assert_eq!(refused.status(), 503);
    assert!(refused.field("retry-after").is_some());
    let cause = "5000 requests wait for upstream";
    assert!(refused.text().contains(cause), "{}", refused.text());
    let _served = Served::on(listen(port), |request| ok(&request.body));
    for (client, response) in waiting {
        assert_eq!(client.wait(response).unwrap().status(), 200);
    }
    // There is room again, and no need for it.
    assert_eq!(site.send(get("/")).message().status(), 200);
    assert_eq!(site.metric("wharf_requests_held_total"), 5000.0);
}

#[test]
fn as_many_wait_as_the_label_says() {
    let site = Site::start([]);
    let labels = format!("{LABELS}\nwharf.hold: 5m max=2");
    site.engine.run(app("app", free_port(), &labels));
    site.wharf
        .wait_status("the route", |status| status.to_string().contains("a.test"));
    let _waiting = [site.send(get("/")), site.send(get("/"))];
    held(&site, 2.0);
    let refused = site.send(get("/")).message();
    assert_eq!(refused.status(), 503);
    let cause = "2 requests wait for upstream";
    assert!(refused.text().contains(cause), "{}", refused.text());
}

#[test]
fn of_many_that_wait_one_finds_out_for_all() {
    let port = free_port();
    let served = Served::on(listen(port), |_| once("hi"));
    let site = Site::start([app("app", port, &format!("{LABELS}\nwharf.hold: 5m"))]);
    assert_eq!(site.send(get("/")).message().status(), 200);
    // Restarted inside its container, so that the engine has nothing to tell.
    drop(served);
    eventually(
        "the end of its listener",
        Duration::from_secs(5),
        || match TcpStream::connect(("127.0.0.1", port)) {
            Ok(_) => Err("it accepts".into()),
            Err(_) => Ok(()),
        },
    );
    let mut waiting: Vec<_> = (0..100).map(|_| site.send(get("/"))).collect();
    held(&site, 100.0);
    let failed = || site.metric("wharf_upstream_connects_total{result=\"failed\"}");
    let more = |count| {
        let wanted = failed() + count;
        eventually("tries", Duration::from_secs(20), || match failed() {
            now if now >= wanted => Ok(()),
            now => Err(format!("{now} of {wanted}")),
        });
    };
    more(1.0);
    let start = Instant::now();
    more(5.0);
    let took = start.elapsed();
    assert!(
        took > Duration::from_millis(300),
        "a flood: five tries in {took:?}"
    );
    let _served = Served::on(listen(port), |request| ok(&request.body));
    for client in &mut waiting {
        assert_eq!(client.message().status(), 200);
    }
}

#[test]
fn an_upload_cut_by_a_container_that_goes_away_waits_for_the_next_with_its_body() {
    let origin = Origin::new();
    let site = Site::start([app("one", origin.port(), LABELS)]);
    let mut client = site.send("PUT / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 8\r\n\r\nbody");
    let mut upstream = origin.accept();
    upstream.until("body");
    let next = Served::by(|request| ok(&request.body));
    drop(upstream);
    site.engine.run(app("one", next.port(), LABELS));
    // The rest comes while it waits, or later.
    client.send("more");
    assert_eq!(client.message().text(), "bodymore");
    assert!(origin.accepted().is_none(), "sent twice to the same");
}

#[test]
fn those_that_waited_do_not_overrun_an_app_that_has_just_begun_to_listen() {
    let site = Site::start([]);
    let port = free_port();
    site.engine.run(app(
        "app",
        port,
        &format!("{LABELS}\nwharf.hold: 5m\nwharf.timeout: connect=500ms"),
    ));
    site.wharf
        .wait_status("the route", |status| status.to_string().contains("a.test"));
    let post = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\r\nbody";
    let mut clients: Vec<_> = (0..1000).map(|_| site.send(post)).collect();
    held(&site, 1000.0);
    let failed = "wharf_upstream_connects_total{result=\"failed\"}";
    let before = site.metric(failed);
    // One thread that does everything, with the accept queue of old; what does not fit is dropped by the
    // kernel, and tried again after a second.
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    let address: SocketAddr = ([127, 0, 0, 1], port).into();
    socket.bind(&address.into()).unwrap();
    socket.listen(128).unwrap();
    let listener = TcpListener::from(socket);
    let app = thread::spawn(move || {
        let mut answered = 0;
        while answered < 1000 {
            let (mut peer, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let mut part = [0; 4096];
            while !request.ends_with(b"body") {
                match peer.read(&mut part) {
                    // A look of Wharf's, without a request.
                    Ok(0) | Err(_) => break,
                    Ok(count) => request.extend(&part[..count]),
                }
            }
            if !request.is_empty() {
                peer.write_all(&once("hi")).unwrap();
                answered += 1;
            }
        }
    });
    for client in &mut clients {
        assert_eq!(client.message().text(), "hi");
    }
    app.join().unwrap();
    assert_eq!(site.metric(failed), before);
}
