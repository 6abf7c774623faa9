//! WebSocket: through both listeners, and what is refused.

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::{accept_async, client_async};

use crate::support::origin::Origin;
use crate::support::peer::{End, tls_config};
use crate::support::responder::handshake;
use crate::support::site::{Site, app};

const LABELS: &str = "wharf.host: a.test\nwharf.https: both\nwharf.tls: internal";
const UPGRADE: &str = "GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: keep-alive, Upgrade\r\n\
    Upgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nX-App: 1\r\n\r\n";

/// Echoes on every connection; runs until the test's runtime ends. Gives its port.
pub(crate) async fn echo() -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut socket = accept_async(tcp).await.unwrap();
                while let Some(Ok(message)) = socket.next().await {
                    if message.is_close() {
                        break;
                    }
                    if message.is_text() || message.is_binary() {
                        socket.send(message).await.unwrap();
                    }
                }
                // Answers the close.
                let _ = socket.flush().await;
            });
        }
    });
    port
}

pub(crate) async fn talk<S: AsyncRead + AsyncWrite + Unpin>(stream: S) {
    let (mut socket, response) = client_async("ws://a.test/ws", stream).await.unwrap();
    assert_eq!(response.status(), 101);
    let large = (0..2_000_000_u32)
        .map(|at| (at % 251) as u8)
        .collect::<Vec<_>>();
    for message in [
        Message::text("hi"),
        Message::binary(large),
        Message::text(""),
    ] {
        socket.send(message.clone()).await.unwrap();
        assert!(socket.next().await.unwrap().unwrap() == message);
    }
    socket.send(Message::Ping("p".into())).await.unwrap();
    assert_eq!(
        socket.next().await.unwrap().unwrap(),
        Message::Pong("p".into())
    );
    let close = CloseFrame {
        code: CloseCode::Normal,
        reason: "done".into(),
    };
    socket.close(Some(close.clone())).await.unwrap();
    let answer = socket.next().await.unwrap().unwrap();
    assert_eq!(answer, Message::Close(Some(close)));
    assert!(socket.next().await.is_none());
}

#[tokio::test]
async fn messages_echo_through_both_listeners() {
    let site = Site::start([app("app", echo().await, LABELS)]);
    talk(TcpStream::connect(site.wharf.http).await.unwrap()).await;
    let root = site.wharf.local_root();
    let port = site.wharf.https.port();
    // ALPN offers HTTP/2 first, as browsers do not for WebSocket.
    assert!(handshake("a.test", port, &root).await.is_ok());
    let tls = tokio_rustls::TlsConnector::from(std::sync::Arc::new(tls_config(site.wharf.data())));
    let tcp = TcpStream::connect(site.wharf.https).await.unwrap();
    talk(
        tls.connect("a.test".try_into().unwrap(), tcp)
            .await
            .unwrap(),
    )
    .await;
    assert_eq!(site.metric("wharf_upgrades_total"), 2.0);
}

#[test]
fn the_handshake_is_passed_on_and_bytes_behind_it_are_not_lost() {
    let origin = Origin::new();
    let site = Site::start([app("app", origin.port(), LABELS)]);
    for secure in [false, true] {
        let mut client = if secure {
            site.tls("a.test").unwrap()
        } else {
            site.client()
        };
        client.send(format!("{UPGRADE}early"));
        let mut upstream = origin.accept();
        let head = upstream.head().to_lowercase();
        for line in [
            "connection: upgrade\r\n",
            "upgrade: websocket\r\n",
            "sec-websocket-version: 13\r\n",
        ] {
            assert_eq!(head.matches(line).count(), 1, "{head}");
        }
        upstream.send(format!("{SWITCHED}first"));
        let head = client.head().to_lowercase();
        assert!(
            head.starts_with("http/1.1 101 switching protocols\r\n"),
            "{head}"
        );
        for line in [
            "connection: upgrade\r\n",
            "upgrade: websocket\r\n",
            "x-app: 1\r\n",
            "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n",
        ] {
            assert_eq!(head.matches(line).count(), 1, "{head}");
        }
        assert!(
            !head.contains("content-length") && !head.contains("transfer-encoding"),
            "{head}"
        );
        assert_eq!(client.until("first"), "first");
        assert_eq!(upstream.until("early"), "early");
        // Half a close goes through: the other half still talks.
        client.send("last").finish();
        assert_eq!(upstream.rest(), ("last".into(), End::Fin));
        upstream.send("answer");
        upstream.finish();
        assert_eq!(client.rest(), ("answer".into(), End::Fin));
    }
}

#[test]
fn an_end_on_either_side_ends_the_other() {
    let origin = Origin::new();
    let site = Site::start([app("app", origin.port(), LABELS)]);
    let open = || {
        let mut client = site.send(UPGRADE);
        let mut upstream = origin.accept();
        upstream.head();
        upstream.send(SWITCHED);
        client.head();
        (client, upstream)
    };
    let (client, mut upstream) = open();
    client.reset();
    upstream.ended();
    let (mut client, upstream) = open();
    upstream.reset();
    client.ended();
    let (mut client, upstream) = open();
    drop(upstream);
    assert_eq!(client.ended(), End::Fin);
    drop(client);
    crate::support::eventually(
        "no tunnel",
        std::time::Duration::from_secs(5),
        || match site.metric("wharf_upgrades_open") {
            0.0 => Ok(()),
            open => Err(open.to_string()),
        },
    );
}

#[test]
fn an_application_that_refuses_answers_for_itself() {
    let origin = Origin::new();
    let site = Site::start([app("app", origin.port(), LABELS)]);
    let mut client = site.send(UPGRADE);
    origin.answer(
        "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\nWWW-Authenticate: Basic\r\n\r\nno",
    );
    let answer = client.message();
    assert_eq!((answer.status(), answer.text()), (401, "no".into()));
    assert_eq!(answer.field("www-authenticate"), Some("Basic"));
    // The connection is one of HTTP as before, and of the same path.
    client.send("GET /ws HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let mut upstream = origin.accept();
    assert!(!upstream.head().to_lowercase().contains("upgrade"));
    upstream.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(client.message().text(), "hi");
}

#[test]
fn what_is_no_websocket_handshake_is_passed_on_as_a_plain_request() {
    let origin = Origin::new();
    let site = Site::start([app("app", origin.port(), LABELS)]);
    for request in [
        UPGRADE.replace("WebSocket\r\n", "h2c\r\n"),
        UPGRADE.replace("WebSocket\r\n", "websocket, h2c\r\n"),
        UPGRADE.replace("keep-alive, Upgrade", "keep-alive"),
        UPGRADE.replace("GET", "POST"),
        UPGRADE.replace("HTTP/1.1", "HTTP/1.0"),
    ] {
        let mut client = site.send(&request);
        let mut upstream = origin.accept();
        let head = upstream.head().to_lowercase();
        assert!(
            !head.contains("\r\nupgrade:") && !head.contains("\r\nconnection:"),
            "{head}"
        );
        upstream.send("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
        assert_eq!(client.message().status(), 204, "{request}");
    }
}

#[test]
fn a_websocket_survives_changes_that_do_not_touch_it() {
    let origin = Origin::new();
    let site = Site::start([app("app", origin.port(), LABELS)]);
    let mut client = site.send(UPGRADE);
    let mut upstream = origin.accept();
    upstream.head();
    upstream.send(SWITCHED);
    client.head();
    site.engine.run(app(
        "other",
        origin.port(),
        "wharf.host: b.test\nwharf.tls: off",
    ));
    site.wharf.wait_status("the other route", |status| {
        status["routes"]
            .as_array()
            .is_some_and(|routes| routes.len() == 2)
    });
    client.send("up");
    assert_eq!(upstream.until("up"), "up");
    upstream.send("down");
    assert_eq!(client.until("down"), "down");
}
