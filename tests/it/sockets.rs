//! B35: apps behind Unix sockets, which they and Wharf have in a directory in common.

use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

use crate::support::docker::{App, unique};
use crate::support::engine::FakeContainer;
use crate::support::http::{self, Response};
use crate::support::nginx::Nginx;
use crate::support::peer::Peer;
use crate::support::site::{Site, get};
use crate::support::wharf::{Builder, Wharf};

/// Apps' sockets.
struct Volume(tempfile::TempDir);

impl Volume {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// The sample app on `app.sock`, without a network.
    fn app(&self, host: &str) -> App {
        let mount = format!("{}:/sockets", self.path().display());
        App::new("socket")
            .arg(&["-v", &mount, "--network", "none"])
            .env("SOCKET", "/sockets/app.sock")
            .label("wharf.host", host)
            .label("wharf.https", "both")
            .label("wharf.upstream", "unix:app.sock")
    }

    fn wharf(&self) -> Wharf {
        Builder::new()
            .env("WHARF_SOCKETS", self.path().to_str().unwrap())
            .start()
    }
}

fn seen_host(answer: &Response) -> String {
    let seen = answer.json();
    seen["headers"]["host"][0].as_str().unwrap().to_owned()
}

/// B35: beside nginx `proxy_pass http://unix:…`.
#[test]
fn an_app_without_a_network_is_served_through_its_socket() {
    let volume = Volume::new();
    let host = format!("{}.test", unique("socket"));
    let app = volume
        .app(&host)
        .label("wharf.health", "/health interval=500ms")
        .run();
    let wharf = volume.wharf();
    let ready = |answer: &Response| answer.status == 200;
    let answer = wharf.wait_answer(&host, "/json", ready);
    assert_eq!(seen_host(&answer), host);
    let socket = volume.path().join("app.sock");
    let nginx = Nginx::start(&format!(
        "server {{ client_max_body_size 0; location / {{ proxy_pass http://unix:{}; }} }}",
        socket.display()
    ));
    let beside = http::get(nginx.address, &host, "/json").unwrap();
    assert_eq!(seen_host(&beside), host);
    // Large both ways, and again on the same connection.
    let body = vec![b'x'; 3 << 20];
    for (address, name) in [(wharf.http, "Wharf"), (nginx.address, "nginx")] {
        let upload = http::request(address, "PUT", &host, "/upload", &[], &body).unwrap();
        assert_eq!(upload.json()["length"], 3 << 20, "{name}");
        let bytes = http::get(address, &host, "/bytes/5000000").unwrap();
        assert_eq!(bytes.body.len(), 5_000_000, "{name}");
        assert!(
            (0..)
                .zip(&bytes.body)
                .all(|(i, byte)| i % 251 == u32::from(*byte))
        );
    }
    let shown = format!("unix:{}", socket.display());
    let status = wharf.status_json().to_string();
    assert!(status.contains(&shown), "{status}");
    let lines = wharf.wait_out(3);
    assert!(lines.iter().any(|line| line.contains(&shown)), "{lines:?}");
    // Its check goes through the socket, too.
    http::request(wharf.http, "POST", &host, "/health", &[], b"503").unwrap();
    let out = wharf.wait_answer(&host, "/json", |answer| answer.status == 503);
    assert!(
        out.text().contains("GET /health: status 503"),
        "{}",
        out.text()
    );
    drop(app);
}

/// B35: an upgrade goes through the socket, and `wharf.upstream.host: upstream` is what nginx calls it.
#[test]
fn a_websocket_goes_through_the_socket() {
    let volume = Volume::new();
    let host = format!("{}.test", unique("socket"));
    let app = volume.app(&host).label("wharf.upstream.host", "upstream");
    let _app = app.run();
    let wharf = volume.wharf();
    let answer = wharf.wait_answer(&host, "/json", |answer| answer.status == 200);
    assert_eq!(seen_host(&answer), "localhost");
    let mut client = Peer::connect(wharf.http);
    client.send(format!(
        "GET /ws HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ));
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    // A masked text frame, key 0, and its echo.
    client.send([0x81, 0x82, 0, 0, 0, 0, b'h', b'i']);
    assert_eq!(client.exactly(4), [0x81, 2, b'h', b'i']);
}

/// B35, B82: a route of a file leads to a socket as a label does.
#[test]
fn a_file_of_routes_names_a_socket() {
    let volume = Volume::new();
    let host = format!("{}.test", unique("socket"));
    let mount = format!("{}:/sockets", volume.path().display());
    let _app = App::new("unrouted")
        .arg(&["-v", &mount, "--network", "none"])
        .env("SOCKET", "/sockets/app.sock")
        .run();
    let folder = tempfile::tempdir().unwrap();
    let file =
        format!("routes:\n  shop: {{host: {host}, tls: off, upstream: \"unix:app.sock\"}}\n");
    std::fs::write(folder.path().join("shop.yaml"), file).unwrap();
    let wharf = Builder::new()
        .env("WHARF_SOCKETS", volume.path().to_str().unwrap())
        .env("WHARF_CONFIG", folder.path().to_str().unwrap())
        .start();
    let answer = wharf.wait_answer(&host, "/json", |answer| answer.status == 200);
    assert_eq!(seen_host(&answer), host);
}

fn container(upstream: &str) -> FakeContainer {
    FakeContainer::new("app")
        .label("wharf.host", "a.test")
        .label("wharf.tls", "off")
        .label("wharf.hold", "off")
        .label("wharf.upstream", upstream)
}

/// B35: no label and no link of an app's leads to a socket that is none of the apps'.
#[test]
fn links_out_of_the_directory_and_engines_sockets_are_refused() {
    let volume = Volume::new();
    let outside = tempfile::tempdir().unwrap();
    let socket = outside.path().join("secret");
    let listener = UnixListener::bind(&socket).unwrap();
    listener.set_nonblocking(true).unwrap();
    symlink(&socket, volume.path().join("link")).unwrap();
    symlink(outside.path(), volume.path().join("directory")).unwrap();
    for (upstream, status, words) in [
        ("unix:link", 502, "leads out of the directory"),
        ("unix:directory/secret", 502, "leads out of the directory"),
        ("unix:../secret", 503, "no `..`"),
        ("unix:/var/run/docker.sock", 503, "container engine"),
        ("unix:none", 502, "nothing listens on unix:"),
    ] {
        let directory = volume.path().to_str().unwrap();
        let site = Site::with([container(upstream)], |wharf| {
            wharf.env("WHARF_SOCKETS", directory)
        });
        let answer = site.send(get("/")).message();
        let text = answer.text();
        assert_eq!(answer.status(), status, "{upstream}: {text}");
        assert!(text.contains(words), "{upstream}: {text}");
    }
    assert!(listener.accept().is_err(), "somebody has connected");
}

/// B35: without the directory a label that needs it says what to mount.
#[test]
fn without_a_directory_a_socket_says_what_to_mount() {
    let site = Site::start([container("unix:app.sock")]);
    let answer = site.send(get("/")).message();
    assert_eq!(answer.status(), 502);
    let text = answer.text();
    assert!(text.contains("WHARF_SOCKETS"), "{text}");
}
