//! Apps that speak HTTPS themselves (product.md B34): who is believed, for which name, and what is told of those who
//! are not; what apps are told they serve (S2).

use std::path::Path;

use tokio::net::TcpStream;

use crate::explain::explain;
use crate::support::curl::curl;
use crate::support::docker::{App, Container, unique};
use crate::support::http::Response;
use crate::support::nginx::Nginx;
use crate::support::origin::Served;
use crate::support::peer::Peer;
use crate::support::site::{Site, app, get};
use crate::support::tls::{AppPem, ClientCa};
use crate::support::wharf::{Builder, Wharf};
use crate::websocket::talk;

/// A Wharf over the machine's own engine, with a directory of certificates.
fn wharf(certs: &Path) -> Wharf {
    let builder = Builder::new().env("WHARF_CERTS", certs.to_str().unwrap());
    builder.env("WHARF_WORKERS", "1").start()
}

/// The sample app with this certificate, for a host of its own on plain HTTP, with labels as lines.
fn speaking(host: &str, pem: &AppPem, labels: &str) -> Container {
    let app = App::new("secure").env("TLS_PEM", &pem.both());
    let app = app.label("wharf.host", host).label("wharf.tls", "off");
    let app = app.label("wharf.proto", "https");
    let labels = labels.lines().filter_map(|line| line.split_once(": "));
    labels
        .fold(app, |app, (key, value)| app.label(key.trim(), value))
        .run()
}

/// Where it is on this machine.
fn published(app: &Container) -> u16 {
    let format = "{{(index (index .NetworkSettings.Ports \"3000/tcp\") 0).HostPort}}";
    app.inspect(format).parse().unwrap()
}

fn host(name: &str) -> String {
    format!("{}.test", unique(name))
}

fn served(wharf: &Wharf, host: &str, path: &str) -> Response {
    wharf.wait_answer(host, path, |answer| answer.status == 200)
}

fn metric(wharf: &Wharf, line: &str) -> u64 {
    let metrics = wharf.metrics();
    let value = metrics.lines().find_map(|one| one.strip_prefix(line));
    value
        .unwrap_or_else(|| panic!("no {line}"))
        .trim()
        .parse()
        .unwrap()
}

#[test]
fn b34_an_app_with_a_certificate_of_its_own_making_is_used_in_full() {
    let certs = tempfile::tempdir().unwrap();
    let wharf = wharf(certs.path());
    let host = host("own");
    let pem = AppPem::own(&["whatever.internal"]);
    std::fs::write(certs.path().join("app.pem"), &pem.certificate).unwrap();
    let app = speaking(
        &host,
        &pem,
        "wharf.upstream.verify: file:app.pem\nwharf.health: /health",
    );
    let told = served(&wharf, &host, "/json").json();
    assert_eq!(told["tls"]["sni"], *host, "{told}");
    assert_eq!(told["tls"]["alpn"], "http/1.1");
    assert_eq!(told["headers"]["host"][0], *host);
    assert_eq!(told["headers"]["x-forwarded-proto"][0], "http");
    // Large both ways, on connections that are used again.
    let body = wharf.get(&host, "/bytes/5000000").unwrap().body;
    assert!(
        body.iter()
            .enumerate()
            .all(|(at, byte)| *byte == (at % 251) as u8)
    );
    assert_eq!(body.len(), 5_000_000);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &body).unwrap();
    let data = format!("@{}", file.path().display());
    let url = format!("http://{host}/upload");
    let sent = curl(&url, wharf.http).arg(&["--data-binary", &data]).run();
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &body);
    let hash: String = hash
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(sent.unwrap().json()["sha256"], hash);
    for _ in 0..20 {
        assert_eq!(wharf.get(&host, "/json").unwrap().status, 200);
    }
    assert_eq!(
        metric(&wharf, "wharf_upstream_connects_total{result=\"ok\"}"),
        1
    );
    assert_eq!(
        metric(&wharf, "wharf_upstream_tls_handshakes_total{result=\"ok\"}"),
        1
    );
    // WebSocket takes that connection for itself; the next request has another one, by a short handshake.
    let mut socket = Peer::connect(wharf.http);
    socket.send(format!(
        "GET /ws HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ));
    assert!(socket.head().starts_with("HTTP/1.1 101 "));
    // A masked text frame: `hi`.
    socket.send([0x81, 0x82, 0, 0, 0, 0, b'h', b'i']);
    assert_eq!(socket.exactly(4), [0x81, 0x02, b'h', b'i']);
    let told = wharf.get(&host, "/json").unwrap().json();
    assert_eq!(told["tls"]["resumed"], true, "{told}");
    assert_eq!(
        metric(
            &wharf,
            "wharf_upstream_tls_handshakes_total{result=\"resumed\"}"
        ),
        1
    );
    // Its health was asked over TLS, too.
    let status = wharf.status_json().to_string();
    assert!(status.contains("GET /health: status 200"), "{status}");
    let explained = explain(&wharf, &[&format!("http://{host}/")]);
    let explained = String::from_utf8_lossy(&explained.stdout);
    assert!(explained.contains("TLS, certificate for"), "{explained}");
    assert!(explained.contains(app.name()), "{explained}");
}

#[test]
fn b34_nobody_is_believed_unasked_and_the_page_says_whom_and_what_to_do() {
    let certs = tempfile::tempdir().unwrap();
    let wharf = wharf(certs.path());
    let (host, pem) = (host("strict"), AppPem::own(&["app.internal"]));
    // Routes of one container that believe it, and that do not: on one connection each would get the other's.
    let labels = "wharf.off.path: /off\nwharf.off.upstream.verify: off\nwharf.gone.path: /gone\n\
                  wharf.gone.upstream.verify: file:gone.pem";
    let app = speaking(&host, &pem, labels);
    assert_eq!(served(&wharf, &host, "/off").status, 200);
    for _ in 0..3 {
        let answer = wharf.get(&host, "/").unwrap();
        let text = answer.text();
        assert_eq!(answer.status, 502, "{text}");
        for part in [
            app.name(),
            "one that the app",
            "wharf.upstream.verify: file:",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let answer = wharf.get(&host, "/gone").unwrap();
        let text = answer.text();
        assert_eq!(answer.status, 502, "{text}");
        assert!(text.contains("file:gone.pem: cannot be read"), "{text}");
        assert_eq!(wharf.get(&host, "/off/x").unwrap().status, 200);
    }
    assert!(metric(&wharf, "wharf_errors_total{kind=\"upstream_tls\"}") >= 6);
    // The file comes, and nothing else has to be touched.
    std::fs::write(certs.path().join("gone.pem"), &pem.certificate).unwrap();
    served(&wharf, &host, "/gone");
}

#[test]
fn b34_an_app_in_clear_behind_the_label_and_one_with_tls_without_it_are_told() {
    let nginx = Nginx::start("server { return 200; }");
    let port = nginx.address.port();
    let site = Site::plain(port, "wharf.proto: https\nwharf.upstream.verify: off");
    let answer = site.send(get("/")).message();
    let text = answer.text();
    assert_eq!(answer.status(), 502, "{text}");
    assert!(text.contains("is not TLS"), "{text}");
    assert!(text.contains("needs no wharf.proto: https"), "{text}");

    let wharf = Builder::new().start();
    let host = host("hidden");
    let app = App::new("hidden").env("TLS_PEM", &AppPem::own(&["a.test"]).both());
    let app = app.label("wharf.host", &host).label("wharf.tls", "off");
    let _app = app.run();
    wharf.wait_answer(&host, "/", |answer| {
        answer.status == 502 && answer.text().contains("needs wharf.proto: https")
    });
}

/// nginx with `proxy_ssl_verify` and Wharf in front of the same apps.
#[test]
fn b34_who_is_believed_is_who_nginx_believes() {
    let certs = tempfile::tempdir().unwrap();
    let (ours, theirs) = (ClientCa::new("ours"), ClientCa::new("theirs"));
    std::fs::write(certs.path().join("ours.pem"), &ours.pem).unwrap();
    let wharf = wharf(certs.path());
    let (own, late) = (
        AppPem::own(&["app.internal"]),
        AppPem::own_expired(&["app.internal"]),
    );
    std::fs::write(certs.path().join("own.pem"), &own.certificate).unwrap();
    std::fs::write(certs.path().join("late.pem"), &late.certificate).unwrap();
    let by = |ca, name| AppPem::by(ca, &[name]);
    let expired = AppPem::expired(&ours, &["app.internal"]);
    let (app, deep) = ("app.internal", "app.corp.internal");
    let cases = [
        ("right", by(&ours, app), "ours.pem", app, 200),
        (
            "wildcard",
            by(&ours, "*.corp.internal"),
            "ours.pem",
            deep,
            200,
        ),
        ("name", by(&ours, "other.internal"), "ours.pem", app, 502),
        ("stranger", by(&theirs, app), "ours.pem", app, 502),
        ("expired", expired, "ours.pem", app, 502),
        ("itself", own, "own.pem", app, 200),
        ("late", late, "late.pem", app, 502),
    ];
    let file = |name: &str| certs.path().join(name).display().to_string();
    for (case, pem, ca, name, status) in &cases {
        let host = host(case);
        let labels = format!(
            "wharf.upstream.verify: file:{ca} sni={name}\nwharf.all.path: /all\nwharf.all.upstream.verify: off"
        );
        let app = speaking(&host, pem, &labels);
        served(&wharf, &host, "/all");
        let address = app.inspect("{{.NetworkSettings.IPAddress}}");
        let nginx = Nginx::start(&format!(
            "server {{ location / {{ proxy_pass https://{address}:3000; proxy_ssl_verify on; proxy_ssl_server_name on; \
             proxy_ssl_trusted_certificate {}; proxy_ssl_name {name}; }} \
             location /all {{ proxy_pass https://{address}:3000; }} }}",
            file(ca)
        ));
        let ask = |path: &str| {
            let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
            let theirs = Peer::connect(nginx.address).send(request).message();
            (wharf.get(&host, path).unwrap().status, theirs.status())
        };
        assert_eq!(ask("/"), (*status, *status), "{case}");
        assert_eq!(ask("/all"), (200, 200), "{case}");
    }
}

#[test]
fn b34_an_https_url_is_verified_by_the_name_in_it() {
    let certs = tempfile::tempdir().unwrap();
    let ca = ClientCa::new("ours");
    std::fs::write(certs.path().join("ours.pem"), &ca.pem).unwrap();
    let wharf = wharf(certs.path());
    let app = |names: &[&str]| {
        let app = App::new("outside").env("TLS_PEM", &AppPem::by(&ca, names).both());
        app.arg(&["--publish", "127.0.0.1::3000"]).run()
    };
    let (right, wrong) = (app(&["localhost"]), app(&["elsewhere.test"]));
    let labelled = |host: &str, url: String| {
        let app = App::new("carrier")
            .label("wharf.host", host)
            .label("wharf.tls", "off");
        let app = app
            .label("wharf.upstream", &url)
            .label("wharf.upstream.host", "upstream");
        app.label("wharf.upstream.verify", "file:ours.pem").run()
    };
    let (good, bad) = (host("good"), host("bad"));
    let url = |app: &Container| format!("https://localhost:{}", published(app));
    let _carriers = [labelled(&good, url(&right)), labelled(&bad, url(&wrong))];
    let told = served(&wharf, &good, "/json").json();
    assert_eq!(told["tls"]["sni"], "localhost", "{told}");
    assert_eq!(
        told["headers"]["host"][0],
        format!("localhost:{}", published(&right))
    );
    assert_eq!(told["headers"]["x-forwarded-host"][0], *good);
    let answer = wharf.wait_answer(&bad, "/", |answer| answer.status == 502);
    assert!(
        answer.text().contains("wharf.upstream.sni"),
        "{}",
        answer.text()
    );
}

#[tokio::test]
async fn b34_websockets_pass_whole() {
    let pem = AppPem::own(&["a.test"]);
    let container = App::new("socket").env("TLS_PEM", &pem.both());
    let container = container.arg(&["--publish", "127.0.0.1::3000"]).run();
    let labels =
        "wharf.host: a.test\nwharf.tls: off\nwharf.proto: https\nwharf.upstream.verify: off";
    let site = Site::start([app("app", published(&container), labels)]);
    served(&site.wharf, "a.test", "/json");
    talk(TcpStream::connect(site.wharf.http).await.unwrap()).await;
}

#[test]
fn s2_an_app_is_told_another_host_and_its_redirects_come_back() {
    let served = Served::by(|request| {
        let host = request.field("host").unwrap();
        let to = format!("Location: http://{host}/login?next=/\r\n");
        format!("HTTP/1.1 302 Found\r\nContent-Length: 0\r\nX-Host: {host}\r\n{to}\r\n")
            .into_bytes()
    });
    let at = format!("127.0.0.1:{}", served.port());
    let labelled = |host: &str, value: &str| {
        let labels = format!("wharf.host: {host}\nwharf.tls: off\nwharf.upstream.host: {value}");
        app(host, served.port(), &labels)
    };
    let containers = [
        labelled("keep.test", "keep"),
        labelled("upstream.test", "upstream"),
        labelled("named.test", "Nas.lan:81"),
    ];
    let site = Site::start(containers);
    let nginx = Nginx::start(&format!(
        "server {{ server_name keep.test; location / {{ proxy_pass http://{at}; }} }}
         server {{ server_name upstream.test; location / {{ proxy_pass http://{at}; proxy_set_header Host $proxy_host; }} }}
         server {{ server_name named.test; location / {{ proxy_pass http://{at}; proxy_set_header Host Nas.lan:81; \
         proxy_redirect http://Nas.lan:81/ /; }} }}"
    ));
    for (host, told, location) in [
        ("keep.test", "keep.test", "http://keep.test/login?next=/"),
        ("upstream.test", at.as_str(), "/login?next=/"),
        ("named.test", "Nas.lan:81", "/login?next=/"),
    ] {
        for address in [site.http(), nginx.address] {
            let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
            let answer = Peer::connect(address).send(request).message();
            assert_eq!(answer.field("x-host"), Some(told));
            assert_eq!(answer.field("location"), Some(location), "{host}");
        }
    }
}
