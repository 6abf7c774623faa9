//! Checks of apps that speak HTTP/2 (product.md B33): a path's status, and gRPC's health checking protocol.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use bytes::Bytes;
use http::{HeaderMap, Response};

use super::wait_state;
use crate::support::h2::H2;
use crate::support::site::{Site, app};

/// An app in HTTP/2 without TLS. Its services are `my.Service` and the whole; `state` is their `ServingStatus`, and the
/// status of the path `/up`. Ends with the process.
struct App {
    port: u16,
    state: Arc<AtomicU16>,
}

impl App {
    fn start(state: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(AtomicU16::new(state));
        let told = Arc::clone(&state);
        std::thread::spawn(move || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            let runtime = builder.enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream, Arc::clone(&told)));
                }
            });
        });
        Self { port, state }
    }

    fn becomes(&self, state: u16) {
        self.state.store(state, Ordering::SeqCst);
    }
}

async fn serve(stream: tokio::net::TcpStream, state: Arc<AtomicU16>) {
    let Ok(mut connection) = h2::server::handshake(stream).await else {
        return;
    };
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let state = state.load(Ordering::SeqCst);
        tokio::spawn(async move {
            let path = request.uri().path().to_owned();
            let mut body = request.into_body();
            let mut message = Vec::new();
            while let Some(Ok(piece)) = body.data().await {
                message.extend_from_slice(&piece);
            }
            let (status, body, grpc) = match path.as_str() {
                "/grpc.health.v1.Health/Check" => match &message[..] {
                    b"\0\0\0\0\x0c\x0a\x0amy.Service" | b"\0\0\0\0\0" => {
                        let state = u8::try_from(state).unwrap();
                        (200, vec![0, 0, 0, 0, 2, 8, state], "0")
                    }
                    // NOT_FOUND: a service of which nothing is known.
                    _ => (200, Vec::new(), "5"),
                },
                "/up" => (state, Vec::new(), ""),
                _ => (200, b"app".to_vec(), ""),
            };
            let response = Response::builder().status(status).body(()).unwrap();
            let Ok(mut stream) = respond.send_response(response, false) else {
                return;
            };
            let _ = stream.send_data(Bytes::from(body), grpc.is_empty());
            if !grpc.is_empty() {
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", grpc.parse().unwrap());
                let _ = stream.send_trailers(trailers);
            }
        });
    }
}

const SERVING: u16 = 1;
const NOT_SERVING: u16 = 2;

#[test]
fn b33_health_checks_ask_as_the_app_is_spoken_to() {
    let cases = [
        ("whole", "grpc", "grpc", SERVING, NOT_SERVING, "NOT_SERVING"),
        (
            "one",
            "grpc",
            "grpc:my.Service",
            SERVING,
            NOT_SERVING,
            "NOT_SERVING",
        ),
        ("path", "h2c", "/up", 204, 503, "status 503, not 200-399"),
    ];
    let apps = cases.map(|(_, _, _, good, _, _)| App::start(good));
    let unknown = App::start(SERVING);
    let labels = |name: &str, proto: &str, check: &str| {
        format!(
            "wharf.host: {name}.test\nwharf.tls: off\nwharf.hold: off\nwharf.proto: {proto}\n\
             wharf.health: {check} interval=100ms fails=2 passes=2"
        )
    };
    let mut containers = Vec::new();
    for ((name, proto, check, ..), served) in cases.iter().zip(&apps) {
        containers.push(app(name, served.port, &labels(name, proto, check)));
    }
    let other = labels("other", "grpc", "grpc:other.Service");
    containers.push(app("other", unknown.port, &other));
    let site = Site::start(containers);

    let client = H2::connect(site.http());
    let ask = |name: &str| client.get(&format!("http://{name}.test/"), &[]).unwrap();
    for ((name, _, _, good, bad, told), served) in cases.iter().zip(&apps) {
        wait_state(&site.wharf, name, "ok");
        assert_eq!(ask(name).text(), "app", "{name}");
        served.becomes(*bad);
        let endpoint = wait_state(&site.wharf, name, "unhealthy");
        let said = endpoint["check"].as_str().unwrap();
        assert!(said.contains(told), "{name}: {said}");
        let page = ask(name);
        assert_eq!(page.status, 503, "{name}");
        assert!(page.text().contains(told), "{name}: {}", page.text());
        served.becomes(*good);
        wait_state(&site.wharf, name, "ok");
        assert_eq!(ask(name).text(), "app", "{name}");
    }
    let endpoint = wait_state(&site.wharf, "other", "unhealthy");
    let said = endpoint["check"].as_str().unwrap();
    assert!(said.contains("an answer that is none"), "{said}");
}
