//! B33: WebSocket on HTTP/2 (RFC 8441), to apps that know it from HTTP/1.1 only.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ::h2::ext::Protocol;
use ::h2::{RecvStream, SendStream};
use bytes::{Buf, Bytes};
use futures_util::{SinkExt, StreamExt};
use http::{Method, Request};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::support::chromium::User;
use crate::support::docker::{App, unique};
use crate::support::eventually;
use crate::support::frames::{
    self, CANCEL, Client, ENABLE_CONNECT_PROTOCOL, END_STREAM, INITIAL_WINDOW_SIZE, frame, open,
};
use crate::support::h2::H2;
use crate::support::origin::{Origin, Served, ok};
use crate::support::peer::{End, LIMIT, Peer};
use crate::support::site::{Site, app};
use crate::support::wharf::{Builder, Wharf};
use crate::websocket::echo;

const LABELS: &str = "wharf.host: a.test\nwharf.https: both\nwharf.tls: internal";

/// A request that opens one.
fn connect(authority: &str, path: &str, protocol: &'static str) -> Request<()> {
    let request = Request::builder()
        .method(Method::CONNECT)
        .uri(format!("https://{authority}{path}"))
        .header("sec-websocket-version", "13")
        .header("sec-websocket-protocol", "chat")
        .header("origin", "https://a.test");
    let request = request.extension(Protocol::from_static(protocol));
    request.body(()).unwrap()
}

/// A stream as a socket.
struct Socket {
    send: SendStream<Bytes>,
    receive: RecvStream,
    read: Bytes,
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read.is_empty() {
            match ready!(self.receive.poll_data(cx)) {
                None => return Poll::Ready(Ok(())),
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                Some(Ok(bytes)) => {
                    let flow = self.receive.flow_control();
                    flow.release_capacity(bytes.len()).unwrap();
                    self.read = bytes;
                }
            }
        }
        let count = self.read.len().min(buf.remaining());
        buf.put_slice(&self.read[..count]);
        self.read.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.send.reserve_capacity(bytes.len());
        let Some(room) = ready!(self.send.poll_capacity(cx)) else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        let room = room.map_err(io::Error::other)?.min(bytes.len());
        let piece = Bytes::copy_from_slice(&bytes[..room]);
        self.send
            .send_data(piece, false)
            .map_err(io::Error::other)?;
        Poll::Ready(Ok(room))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = self.send.send_data(Bytes::new(), true);
        Poll::Ready(ended.map_err(io::Error::other))
    }
}

/// B33: messages of all sizes, a ping and a closing handshake, on one stream beside plain requests.
#[test]
fn messages_echo_on_streams_of_one_connection() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let site = Site::start([app("app", runtime.block_on(echo()), LABELS)]);
    let client = H2::connect_tls(site.wharf.https, "a.test", site.wharf.data());
    for _ in 0..2 {
        let (response, send) = client.send(connect("a.test", "/ws", "websocket"), false);
        let response = client.wait(response).unwrap();
        assert_eq!(response.status(), 200);
        for name in [
            "sec-websocket-accept",
            "connection",
            "upgrade",
            "content-length",
        ] {
            assert!(!response.headers().contains_key(name), "{response:?}");
        }
        let receive = response.into_body();
        let read = Bytes::new();
        let stream = Socket {
            send,
            receive,
            read,
        };
        client.wait(talk(stream));
    }
    eventually("both have ended", LIMIT, || {
        match site.metric("wharf_upgrades_open") {
            0.0 => Ok(()),
            open => Err(open.to_string()),
        }
    });
    assert_eq!(site.metric("wharf_upgrades_total"), 2.0);
    let lines = site.wharf.wait_out(2);
    let told = "\"GET a.test /ws HTTP/2.0\" 101 2";
    assert!(lines.iter().all(|line| line.contains(told)), "{lines:?}");
}

async fn talk(stream: Socket) {
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Client, None).await;
    let large: Vec<u8> = (0..2_000_000_u32).map(|at| (at % 251) as u8).collect();
    for message in [
        Message::text("hi"),
        Message::binary(large),
        Message::text(""),
    ] {
        socket.send(message.clone()).await.unwrap();
        assert!(socket.next().await.unwrap().unwrap() == message);
    }
    socket.close(None).await.unwrap();
    assert!(socket.next().await.unwrap().unwrap().is_close());
    assert!(socket.next().await.is_none());
}

/// A raw client that has been told that it may, and an app that is the test's own.
fn raw(labels: &str, with: &[(u16, u32)]) -> (Site, Origin, Client) {
    let origin = Origin::new();
    let site = Site::start([app("app", origin.port(), &format!("{LABELS}\n{labels}"))]);
    let mut client = Client::open(&site, with);
    client.until(|client| client.settings.contains(&(ENABLE_CONNECT_PROTOCOL, 1)));
    (site, origin, client)
}

fn opening(stream: u32, fields: &[(&str, &str)]) -> Vec<u8> {
    let all = [&[(":protocol", "websocket")][..], fields].concat();
    // Pseudo-fields come first.
    let pseudo = [
        (":method", "CONNECT"),
        (":scheme", "http"),
        (":authority", "a.test"),
        (":path", "/chat?x"),
    ];
    let block = frames::literals(&[&pseudo[..], &all].concat());
    frame(frames::HEADERS, frames::END_HEADERS, stream, &block)
}

/// Takes the app's side of an opening, and answers it.
fn accepted(origin: &Origin) -> (Peer, String) {
    let mut app = origin.accept();
    let head = app.head();
    let key = head
        .lines()
        .find_map(|line| line.strip_prefix("sec-websocket-key: "));
    let accept = derive_accept_key(key.unwrap().as_bytes());
    app.send(format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {accept}\r\nX-App: 1\r\n\r\nfirst"
    ));
    (app, head.to_lowercase())
}

#[test]
fn the_app_is_asked_as_on_http_1_and_bytes_go_both_ways() {
    let (site, origin, mut client) = raw("", &[]);
    client.send(opening(
        1,
        &[
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "theirs"),
            ("cookie", "a=b"),
        ],
    ));
    let (mut app, head) = accepted(&origin);
    assert!(
        head.starts_with("get /chat?x http/1.1\r\nhost: a.test\r\n"),
        "{head}"
    );
    for line in [
        "connection: upgrade\r\n",
        "upgrade: websocket\r\n",
        "sec-websocket-version: 13\r\n",
        "cookie: a=b\r\n",
        "sec-websocket-key: ",
    ] {
        assert_eq!(head.matches(line).count(), 1, "{line}: {head}");
    }
    assert!(
        !head.contains("theirs") && !head.contains("transfer-encoding"),
        "{head}"
    );
    client.until(|client| client.of(1).is_some_and(|stream| stream.body == b"first"));
    assert_eq!(client.of(1).unwrap().status(), 200);
    client.send(frames::data("up"));
    assert_eq!(app.exactly(2), b"up");
    app.send("down");
    client.until(|client| client.of(1).unwrap().body == b"firstdown");
    // Its end is the app's, which may still speak.
    client.send(frame(frames::DATA, END_STREAM, 1, b"bye"));
    assert_eq!(app.exactly(3), b"bye");
    assert_eq!(app.ended(), End::Fin);
    app.send("last");
    drop(app);
    let stream = client.stream(1);
    assert_eq!((&*stream.body, stream.reset), (&b"firstdownlast"[..], None));
    assert!(stream.ended);
    assert_eq!(site.metric("wharf_upgrades_open"), 0.0);
}

#[test]
fn the_end_of_the_app_is_told_and_resets_are_resets() {
    let (site, origin, mut client) = raw("", &[]);
    // The app ends first, then the client.
    client.send(opening(1, &[]));
    let (mut app, _) = accepted(&origin);
    app.finish();
    client.until(|client| client.of(1).is_some_and(|stream| stream.ended));
    client.send(frames::data("still"));
    assert_eq!(app.exactly(5), b"still");
    client.send(frame(frames::DATA, END_STREAM, 1, b""));
    assert_eq!(app.ended(), End::Fin);
    // The app resets.
    client.send(opening(3, &[]));
    let (app, _) = accepted(&origin);
    client.until(|client| client.of(3).is_some_and(|stream| stream.body == b"first"));
    app.reset();
    assert_eq!(client.stream(3).reset, Some(CANCEL));
    // The client resets.
    client.send(opening(5, &[]));
    let (mut app, _) = accepted(&origin);
    client.until(|client| client.of(5).is_some_and(|stream| stream.body == b"first"));
    client.send(frames::reset(5, CANCEL));
    assert_eq!(app.ended(), End::Reset);
    // The client leaves, with two under way.
    for stream in [7, 9] {
        client.send(opening(stream, &[]));
    }
    let apps = [accepted(&origin), accepted(&origin)];
    client.until(|client| {
        [7, 9]
            .iter()
            .all(|id| client.of(*id).is_some_and(|s| !s.body.is_empty()))
    });
    client.leave(true);
    for (mut app, _) in apps {
        app.ended();
    }
    eventually("all have ended", LIMIT, || {
        match site.metric("wharf_upgrades_open") {
            0.0 => Ok(()),
            open => Err(open.to_string()),
        }
    });
}

/// Neither side's bytes pile up in Wharf while the other takes none.
#[test]
fn a_slow_reader_keeps_the_other_side_waiting() {
    let (_site, origin, mut client) = raw("", &[(INITIAL_WINDOW_SIZE, 1000)]);
    client.send(opening(1, &[]));
    let (mut app, _) = accepted(&origin);
    // Far more than all buffers of the kernel.
    let much = vec![b'd'; 32 << 20];
    let tcp = app.tcp();
    tcp.set_write_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let sent = write_until_full(tcp, &much);
    assert!(sent < 16 << 20, "{sent} bytes were taken that nobody reads");
    client.settle();
    assert_eq!(client.of(1).unwrap().body.len(), 1000);
    client.send(frames::window(1, 500));
    client.until(|client| client.of(1).unwrap().body.len() == 1500);
    // The other way: no more is allowed than a window, until the app takes what it has.
    let window = 64 * 1024;
    let piece = vec![b'u'; 16 * 1024];
    let mut sent = 0_u64;
    loop {
        let allowed = window + client.of(1).unwrap().allowed;
        if sent + 16 * 1024 <= allowed {
            client.send(frame(frames::DATA, 0, 1, &piece));
            sent += 16 * 1024;
            continue;
        }
        client.settle();
        if sent + 16 * 1024 > window + client.of(1).unwrap().allowed {
            break;
        }
    }
    assert!(
        sent < 16 << 20,
        "{sent} bytes were allowed that nobody reads"
    );
    let sent = usize::try_from(sent).unwrap();
    assert_eq!(app.exactly(sent), vec![b'u'; sent]);
    client.until(|client| client.of(1).unwrap().allowed + window >= sent as u64 + 16 * 1024);
}

/// How much goes into the socket.
fn write_until_full(mut tcp: &std::net::TcpStream, bytes: &[u8]) -> usize {
    use std::io::Write;
    let mut sent = 0;
    while sent < bytes.len() {
        match tcp.write(&bytes[sent..]) {
            Ok(count) => sent += count,
            Err(_) => break,
        }
    }
    sent
}

/// As on HTTP/1: nothing new, and what is open may go on until the grace is over.
#[test]
fn draining_leaves_it_open() {
    let (site, origin, mut client) = raw("", &[]);
    client.send(opening(1, &[]));
    let (mut app, _) = accepted(&origin);
    client.until(|client| client.of(1).is_some_and(|stream| stream.body == b"first"));
    site.wharf.signal("TERM");
    client.until(|client| !client.goaways.is_empty());
    client.send(frames::data("up"));
    assert_eq!(app.exactly(2), b"up");
    app.send("down");
    client.until(|client| client.of(1).unwrap().body == b"firstdown");
    client.send(frame(frames::DATA, END_STREAM, 1, b""));
    assert_eq!(app.ended(), End::Fin);
    drop(app);
    assert!(client.stream(1).ended);
    let Site { mut wharf, .. } = site;
    assert!(wharf.wait_exit().success());
}

/// What an app answers that does not switch, or not as it should.
#[test]
fn an_answer_that_opens_nothing_opens_nothing() {
    for (answer, status) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", 502),
        ("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", 403),
        (
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
            502,
        ),
        (
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            502,
        ),
    ] {
        let served = Served::by(|_| answer.as_bytes().to_vec());
        let site = Site::start([app("app", served.port(), LABELS)]);
        let (address, name) = (site.wharf.https, "a.test");
        let client = H2::connect_tls(address, name, site.wharf.data());
        let whole = client.ask(connect("a.test", "/", "websocket"));
        assert_eq!(whole.status, status, "{answer}");
        assert_eq!(site.metric("wharf_upgrades_total"), 0.0);
    }
}

/// Rules of the route hold as for any WebSocket, and other protocols are none.
#[test]
fn routes_refuse_it_as_they_refuse_others() {
    let served = Served::text("hi");
    let port = served.port();
    let label = |host: &str, label: &str| {
        app(
            host,
            port,
            &format!("wharf.host: {host}\nwharf.tls: internal\n{label}"),
        )
    };
    let site = Site::start([
        label("off.test", "wharf.websocket: off"),
        label("denied.test", "wharf.deny: 127.0.0.1"),
        label(
            "login.test",
            "wharf.auth.basic: u:$2y$05$apxnEqGXpdSCTMy45oHJtuXCCR6VeKIDDtkaSnmWIyWUrlCvupbOm",
        ),
        label("a.test", ""),
    ]);
    for (host, protocol, status) in [
        ("off.test", "websocket", 403),
        ("denied.test", "websocket", 403),
        ("login.test", "websocket", 401),
        ("a.test", "connect-udp", 501),
    ] {
        let client = H2::connect_tls(site.wharf.https, host, site.wharf.data());
        let whole = client.ask(connect(host, "/", protocol));
        assert_eq!(whole.status, status, "{host} {protocol}");
        // The connection goes on.
        let told = client.get(&format!("https://{host}/"), &[]).unwrap();
        assert_ne!(told.status, 501, "{host}");
    }
}

#[test]
fn what_is_no_extended_connect_is_malformed() {
    let (_site, _origin, mut client) = raw("", &[]);
    // Nothing behind it.
    let whole = opening(1, &[]);
    let mut ended = whole.clone();
    ended[4] |= END_STREAM;
    client.send(ended);
    assert_eq!(client.stream(1).reset, Some(frames::PROTOCOL_ERROR));
    // No CONNECT.
    client.send(open(3, "GET", "/", &[(":protocol", "websocket")], false));
    assert_eq!(client.stream(3).reset, Some(frames::PROTOCOL_ERROR));
    // A promise of a length.
    client.send(opening(5, &[("content-length", "3")]));
    assert_eq!(client.stream(5).reset, Some(frames::PROTOCOL_ERROR));
    assert_eq!(client.goaways, []);
}

/// B33: a browser opens it on the connection it has, and talks.
#[test]
fn chromium_opens_its_websocket_on_the_http_2_connection_it_has() {
    let host = format!("{}.localhost", unique("ws"));
    // The browser shows a page once it is whole: the picture comes when the socket has spoken.
    let page = "<p id=told>nothing</p><script>const told = document.getElementById('told');\
         const done = text => { told.textContent = text; fetch('/done'); };\
         const socket = new WebSocket('wss://' + location.host + '/ws');\
         socket.onopen = () => socket.send('from the browser');\
         socket.onmessage = message => { done('echo ' + message.data); socket.close(); };\
         socket.onerror = () => done('error');</script><img src=/held>";
    let done = std::sync::atomic::AtomicBool::new(false);
    let page = Served::by(move |request| {
        use std::sync::atomic::Ordering::SeqCst;
        let target = request.head.split(' ').nth(1).unwrap();
        match target {
            "/done" => done.store(true, SeqCst),
            "/held" => {
                let held = std::time::Instant::now();
                while !done.load(SeqCst) && held.elapsed() < Duration::from_secs(10) {
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
            _ => {
                done.store(false, SeqCst);
                let length = page.len();
                let kind = "HTTP/1.1 200 OK\r\nContent-Type: text/html";
                let head = format!("{kind}\r\nContent-Length: {length}\r\n\r\n");
                return format!("{head}{page}").into_bytes();
            }
        }
        ok("")
    });
    let app = App::new("ws")
        .label("wharf.host", &host)
        .label("wharf.path", "/ws")
        .run();
    let page_labels = format!("http://127.0.0.1:{}", page.port());
    let carrier = App::new("page")
        .label("wharf.host", &host)
        .label("wharf.upstream", &page_labels)
        .run();
    let wharf: Wharf = Builder::new().start();
    wharf.wait_answer(&host, "/", |answer| {
        answer.status == 308 || answer.status == 301
    });
    let user = User::new();
    std::fs::write(user.home().join("root.pem"), wharf.local_root()).unwrap();
    user.shell("certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n wharf -i root.pem");
    eventually("an echo", LIMIT, || {
        let told = user.open(&host, wharf.https)?;
        match told.contains("echo from the browser") {
            true => Ok(()),
            false => Err(told),
        }
    });
    // Its line is written when it ends, which may be after those of the page.
    let told = format!("\"GET {host} /ws HTTP/2.0\" 101");
    eventually("its line", LIMIT, || {
        let lines = wharf.wait_out(2);
        let there = lines.iter().any(|line| line.contains(&told));
        there.then_some(()).ok_or_else(|| format!("{lines:?}"))
    });
    drop((app, carrier));
}

/// B51: whoever decides who gets in is asked about a GET, as it is of a WebSocket over HTTP/1.
#[test]
fn b51_the_server_that_decides_hears_of_a_get() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&asked);
    let auth = Served::by(move |request| {
        let fields = ["x-forwarded-method", "x-original-method"];
        let told = fields.map(|name| request.field(name).map(str::to_owned));
        heard.lock().unwrap().push(told);
        b"HTTP/1.1 401 X\r\nContent-Length: 0\r\n\r\n".to_vec()
    });
    let origin = Origin::new();
    let labels = format!("{LABELS}\nwharf.auth.forward: http://auth:{}/", auth.port());
    let site = Site::start([
        app("app", origin.port(), &labels),
        app("auth", auth.port(), ""),
    ]);
    let client = H2::connect_tls(site.wharf.https, "a.test", site.wharf.data());
    let (response, _send) = client.send(connect("a.test", "/ws", "websocket"), false);
    assert_eq!(client.wait(response).unwrap().status(), 401);
    let get = Some("GET".to_owned());
    assert_eq!(*asked.lock().unwrap(), [[get.clone(), get]]);
}
