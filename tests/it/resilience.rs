//! What goes on while something else happens: long connections, large bodies, an engine that is away.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::support::curl::{Answer, Curl, curl};
use crate::support::daemon::Daemon;
use crate::support::docker::{App, unique};
use crate::support::responder::client_config;
use crate::support::wharf::{Builder, Wharf};

/// Of the built-in CA.
fn local_host(word: &str) -> String {
    format!("{}.localhost", unique(word))
}

/// Waits for the app: it listens some time after its container has started.
fn wait_ok(wharf: &Wharf, host: &str) {
    wharf.wait_answer(host, "/", |answer| answer.status == 200);
}

async fn websocket(wharf: &Wharf, host: &str) -> WebSocketStream<TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(wharf.local_root().as_bytes()).unwrap();
    roots.add(root).unwrap();
    let mut config = client_config(roots);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let name = ServerName::try_from(host.to_owned()).unwrap();
    let tcp = TcpStream::connect(wharf.https).await.unwrap();
    let tls = TlsConnector::from(Arc::new(config));
    let tls = tls.connect(name, tcp).await.unwrap();
    let url = format!("wss://{host}/ws");
    tokio_tungstenite::client_async(url, tls).await.unwrap().0
}

#[test]
fn a_websocket_lives_through_starts_and_stops_of_others() {
    let wharf = Builder::new().start();
    let (name, other) = (local_host("echo"), local_host("other"));
    let app = |name: &str, host: &str| {
        let app = App::new(name).label("wharf.host", host);
        app.label("wharf.https", "both").run()
    };
    let _app = app("echo", &name);
    wait_ok(&wharf, &name);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    std::thread::scope(|scope| {
        let others = scope.spawn(|| {
            let container = app("other", &other);
            wait_ok(&wharf, &other);
            container.stop(5);
            wharf.wait_answer(&other, "/", |answer| answer.status == 503);
        });
        runtime.block_on(async {
            let mut socket = websocket(&wharf, &name).await;
            let mut echoed = 0;
            while echoed < 1000 || !others.is_finished() {
                let message = Message::text(format!("message {echoed}"));
                socket.send(message.clone()).await.unwrap();
                assert_eq!(socket.next().await.unwrap().unwrap(), message);
                echoed += 1;
                // Over the whole time, not as fast as possible.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            socket.close(None).await.unwrap();
        });
        others.join().unwrap();
    });
}

#[test]
fn a_hundred_megabytes_arrive_whole_both_ways() {
    let wharf = Builder::new().start();
    let name = local_host("large");
    let app = App::new("large").label("wharf.host", &name);
    let _app = app.label("wharf.https", "both").run();
    wait_ok(&wharf, &name);
    let root = wharf.local_root();

    let bytes: Vec<u8> = (0..LARGE).map(|i| (i % 251) as u8).collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, &bytes).unwrap();
    let hash = sha256(&bytes);
    drop(bytes);

    let plain = |path: &str| curl(&format!("http://{name}{path}"), wharf.http);
    let tls = |path: &str| curl(&format!("https://{name}{path}"), wharf.https).root(&root);
    let ways: [Way; 3] = [
        ("1.1", &plain, "--http1.1"),
        ("1.1", &tls, "--http1.1"),
        ("2", &tls, "--http2"),
    ];
    for (version, to, flag) in ways {
        let check = |answer: &Answer| {
            assert_eq!((answer.status, answer.version.as_str()), (200, version));
        };
        let download = to(&format!("/bytes/{LARGE}")).arg(&[flag]).run().unwrap();
        check(&download);
        assert_eq!(download.body.len(), LARGE);
        assert_eq!(sha256(&download.body), hash);

        let upload = to("/upload").arg(&[flag, "--upload-file"]);
        let upload = upload.arg(&[file.path().to_str().unwrap()]).run().unwrap();
        check(&upload);
        let expected = serde_json::json!({ "length": LARGE, "sha256": hash });
        assert_eq!(upload.json(), expected);
    }
}

/// Version to expect, URL of a path, flag of curl.
type Way<'a> = (&'a str, &'a dyn Fn(&str) -> Curl, &'a str);

fn sha256(bytes: &[u8]) -> String {
    let mut hex = String::new();
    for byte in digest(&SHA256, bytes).as_ref() {
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

#[test]
fn an_engine_restart_stops_nothing_and_is_told_once() {
    let Some(mut engine) = Daemon::start() else {
        eprintln!("not tested: only root can start a second dockerd");
        return;
    };
    let wharf = Builder::new().env("DOCKER_HOST", &engine.host()).start();
    let name = local_host("kept");
    let labels = [format!("wharf.host={name}"), "wharf.https=both".into()];
    engine.run("kept", &labels.each_ref().map(String::as_str));
    wait_ok(&wharf, &name);
    let get = || wharf.get(&name, "/").unwrap().status;

    engine.down();
    assert_eq!(get(), 200);
    let told = wharf.wait_log("out of reach");
    assert!(told.contains("docker.sock"), "{told}");
    let root = wharf.local_root();
    let secure = curl(&format!("https://{name}/"), wharf.https).root(&root);
    assert_eq!(secure.run().unwrap().status, 200);
    let status = wharf.status_text();
    assert!(status.contains("routes stay as they were"), "{status}");

    engine.up();
    // Before Wharf is back, most often: then there is no event to tell of it.
    let late = local_host("late");
    let labels = [format!("wharf.host={late}"), "wharf.https=both".into()];
    engine.run("late", &labels.each_ref().map(String::as_str));
    wait_ok(&wharf, &late);
    wharf.wait_log("docker engine is back");
    assert_eq!(get(), 200);
    for told in ["out of reach", "engine is back"] {
        let lines = wharf.log_lines();
        assert_eq!(lines.iter().filter(|line| line.contains(told)).count(), 1);
    }
    let log = wharf.log_lines();
    assert!(!log.iter().any(|line| line.contains("route gone")));
    engine.docker(&["rm", "-f", "kept"]);
    wharf.wait_answer(&name, "/", |answer| answer.status == 503);
}

const LARGE: usize = 100_000_000;
