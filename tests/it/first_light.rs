//! A container appears, and its first request is answered over HTTPS: Wharf, real containers, Pebble.

use std::path::Path;

use crate::support::curl::{Answer, curl};
use crate::support::docker::{App, Container, unique};
use crate::support::pebble::{Pebble, free_port};
use crate::support::wharf::{Builder, Wharf};

/// Wharf beside a CA that validates at `http_port` and `tls_port`.
struct Light {
    ca: Pebble,
    builder: Builder,
    data: tempfile::TempDir,
}

impl Light {
    /// The CA validates where Wharf listens.
    fn new() -> Self {
        let (http, https) = (free_port(), free_port());
        let light = Self::validated_at(http, https);
        let builder = light.builder.clone();
        let builder = builder.env("WHARF_HTTP", &format!("127.0.0.1:{http}"));
        let builder = builder.env("WHARF_HTTPS", &format!("127.0.0.1:{https}"));
        Self { builder, ..light }
    }

    /// The CA validates at these ports, whoever has them; Wharf is on others.
    fn validated_at(http: u16, https: u16) -> Self {
        let ca = Pebble::start(http, https);
        let root = ca.listener_root();
        let builder = Builder::new().env("WHARF_ACME", &ca.directory());
        let builder = builder.env("WHARF_ACME_ROOT", root.to_str().unwrap());
        Self {
            ca,
            builder,
            data: tempfile::tempdir().unwrap(),
        }
    }

    fn start(&self) -> Wharf {
        self.builder.clone().data(self.data.path()).start()
    }
}

/// Names of this test alone, below a public suffix.
fn hosts<const N: usize>(word: &str) -> [String; N] {
    std::array::from_fn(|_| format!("{}.example.com", unique(word)))
}

/// The sample app under all of them.
fn app(hosts: &[String]) -> Container {
    App::new("first")
        .label("wharf.host", &hosts.join(","))
        .run()
}

fn https(wharf: &Wharf, host: &str, root: &str) -> Result<Answer, String> {
    curl(&format!("https://{host}/json"), wharf.https)
        .root(root)
        .run()
}

/// Waits until the route is there, without asking for its certificate.
fn wait_declared(wharf: &Wharf, hosts: &[String]) {
    wharf.wait_status("the names", |status| {
        let certificates = status["certificates"].as_array().unwrap();
        let declared = |host: &String| certificates.iter().any(|one| one["host"] == **host);
        hosts.iter().all(declared)
    });
}

#[test]
fn the_first_request_is_answered_and_a_restart_needs_no_ca() {
    let mut light = Light::new();
    let wharf = light.start();
    let root = light.ca.issuing_root();
    let hosts @ [by_https, by_http] = &hosts("http01");
    let container = app(hosts);
    wait_declared(&wharf, hosts);

    let answer = https(&wharf, by_https, &root).unwrap();
    assert_eq!((answer.status, answer.version.as_str()), (200, "2"));
    assert_eq!(answer.json()["hostname"], container.id[..12]);
    assert_eq!((light.ca.orders(), light.ca.accounts()), (1, 1));
    assert!(wharf.wait_log("certificate obtained").contains("HTTP-01"));

    // Nobody is sent to HTTPS before it works there.
    let redirect = curl(&format!("http://{by_http}/path?q"), wharf.http)
        .run()
        .unwrap();
    let expected = format!("https://{by_http}:{}/path?q", wharf.https.port());
    assert_eq!((redirect.status, redirect.location), (301, expected));
    assert_eq!(light.ca.orders(), 2);
    assert_eq!(https(&wharf, by_http, &root).unwrap().status, 200);

    let metrics = wharf.metrics();
    for line in [
        "wharf_certificates_issued_total 2",
        r#"wharf_certificate_failures_total{class="validation"} 0"#,
        "wharf_certificate_waiting 0",
        r#"wharf_tls_sessions_total{version="1.3",group="X25519"} 2"#,
    ] {
        assert!(metrics.lines().any(|one| one == line), "{line}\n{metrics}");
    }

    let [stranger] = self::hosts("stranger");
    let refused = https(&wharf, &stranger, &root).unwrap_err();
    assert!(refused.contains("unrecognized name"), "{refused}");
    let unknown = curl(&format!("http://{stranger}/"), wharf.http)
        .run()
        .unwrap();
    assert_eq!(unknown.status, 404);
    assert_eq!(light.ca.orders(), 2);

    light.ca.stop();
    assert!(wharf.stop().success());
    let wharf = light.start();
    wait_declared(&wharf, hosts);
    for host in hosts {
        assert_eq!(https(&wharf, host, &root).unwrap().status, 200);
    }
    assert!(
        !wharf
            .log_lines()
            .iter()
            .any(|line| line.contains("no certificate"))
    );
}

#[test]
fn without_a_plain_listener_the_first_request_is_answered_by_tls_alpn_01() {
    let light = Light::new();
    let builder = light.builder.clone().env("WHARF_HTTP", "off");
    let light = Light { builder, ..light };
    let wharf = light.start();
    let root = light.ca.issuing_root();
    let hosts @ [first, second] = &hosts("alpn");
    let _container = app(hosts);
    wait_declared(&wharf, hosts);
    assert_eq!(https(&wharf, first, &root).unwrap().status, 200);
    assert!(
        wharf
            .wait_log("certificate obtained")
            .contains("TLS-ALPN-01")
    );
    assert_eq!(https(&wharf, second, &root).unwrap().status, 200);
    // No HTTP-01 that can only fail.
    assert_eq!(light.ca.orders(), 2);

    // The CA's handshake is known from a visitor's where there is a certificate, too.
    let renewed = crate::store::commands::certs(&wharf, &["renew", first]);
    assert!(renewed.status.success(), "{renewed:?}");
    assert_eq!(light.ca.orders(), 3);
    assert_eq!(https(&wharf, first, &root).unwrap().status, 200);
}

#[test]
fn thirty_first_requests_for_a_host_make_one_order() {
    let light = Light::new();
    let wharf = light.start();
    let root = light.ca.issuing_root();
    let hosts @ [busy, ..] = &hosts::<3>("busy");
    let _container = app(hosts);
    wait_declared(&wharf, hosts);
    let all = std::iter::repeat_n(busy, 29).chain(hosts);
    std::thread::scope(|scope| {
        let asked: Vec<_> = all
            .map(|host| scope.spawn(|| https(&wharf, host, &root)))
            .collect();
        for answer in asked {
            assert_eq!(answer.join().unwrap().unwrap().status, 200);
        }
    });
    assert_eq!(light.ca.orders(), hosts.len());
}

#[test]
fn a_failed_validation_is_told_by_its_cause_and_not_repeated_after_a_restart() {
    // Nobody listens where the CA looks.
    let light = Light::validated_at(free_port(), free_port());
    let wharf = light.start();
    let root = light.ca.issuing_root();
    let hosts @ [host] = &hosts("failing");
    let _container = app(hosts);
    wait_declared(&wharf, hosts);
    let page = |wharf: &Wharf| {
        let page = curl(&format!("http://{host}/"), wharf.http).run().unwrap();
        assert_eq!(page.status, 503);
        page.text()
    };
    let text = page(&wharf);
    assert!(text.contains("connection refused"), "{text}");
    let orders = light.ca.orders();

    let refused = https(&wharf, host, &root).unwrap_err();
    assert!(refused.contains("alert internal error"), "{refused}");
    let status = wharf.status_text();
    let told = |line: &str| line.contains(host.as_str()) && line.contains("connection refused");
    assert!(status.lines().any(told), "{status}");
    assert!(
        wharf
            .wait_log("no certificate")
            .contains("connection refused")
    );

    stored(light.data.path(), host);
    assert!(wharf.stop().success());
    let wharf = light.start();
    wait_declared(&wharf, hosts);
    let text = page(&wharf);
    assert!(text.contains("connection refused"), "{text}");
    assert_eq!(light.ca.orders(), orders);
}

/// Waits for the record of `host`: it is written after the waiters are told.
fn stored(data: &Path, host: &str) {
    let name = format!("{host}.json");
    crate::support::eventually(&name, std::time::Duration::from_secs(5), || {
        crate::tls::find(data, &name).ok_or_else(|| "not written".into())
    });
}
