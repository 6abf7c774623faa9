//! TLS handshakes: names that are none, tickets that any worker takes, and what challenges leave alone.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;

use rustls::HandshakeKind;

use crate::support::eventually;
use crate::support::origin::Served;
use crate::support::peer::{LIMIT, Peer};
use crate::support::site::{Site, app};
use crate::support::tls::{anybody, trusting};

/// What OpenSSL's client, which sends whatever name it is told, says of a handshake.
fn s_client(address: SocketAddr, words: &[&str]) -> String {
    let address = address.to_string();
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &address]).args(words);
    let output = command.stdin(Stdio::null()).output();
    let output = output.expect("openssl (Debian package openssl)");
    let told = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&told).into_owned()
}

fn site(hosts: &str) -> (Site, Served) {
    let served = Served::text("served");
    let labels = format!("wharf.host: {hosts}\nwharf.tls: internal");
    (Site::start([app("app", served.port(), &labels)]), served)
}

#[test]
fn without_a_name_the_address_is_the_name() {
    for (hosts, served) in [
        ("127.0.0.1, a.test", true),
        ("a.test", false),
        ("default", true),
    ] {
        let (site, _served) = site(hosts);
        // An address as the name is none (RFC 6066 section 3).
        for words in [&["-noservername"][..], &["-servername", "127.0.0.1"]] {
            let told = s_client(site.wharf.https, words);
            let refused = told.contains("tlsv1 unrecognized name");
            assert_eq!(refused, !served, "{hosts} {words:?}\n{told}");
            assert_eq!(
                told.contains("Cipher is TLS_"),
                served,
                "{hosts} {words:?}\n{told}"
            );
        }
    }
}

#[test]
fn a_name_nobody_has_is_unrecognized_whatever_its_spelling() {
    let (site, _served) = site("a.test");
    for (name, served) in [
        ("a.test", true),
        ("A.TEST", true),
        ("b.test", false),
        ("a.test.b", false),
        ("x.a.test", false),
    ] {
        let told = s_client(site.wharf.https, &["-servername", name]);
        let refused = told.contains("tlsv1 unrecognized name");
        assert_eq!(refused, !served, "{name}\n{told}");
    }
}

/// The kernel gives each connection to one of four workers: tickets that only their own one knew would be
/// refused three times of four.
#[test]
fn a_session_is_resumed_by_any_worker() {
    let served = Served::text("served");
    let labels = "wharf.host: a.test\nwharf.tls: internal";
    let site = Site::with([app("app", served.port(), labels)], |builder| {
        builder.env("WHARF_WORKERS", "4")
    });
    for versions in [&[&rustls::version::TLS13][..], &[&rustls::version::TLS12]] {
        let client = Arc::new(trusting(versions, None));
        let kind = || {
            let mut peer = Peer::connect_with(site.wharf.https, "a.test", client.clone()).unwrap();
            peer.send("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
            // With the answer comes the ticket for the next one.
            assert_eq!(peer.message().status(), 200);
            peer.session().handshake_kind().unwrap()
        };
        assert_ne!(kind(), HandshakeKind::Resumed);
        for _ in 0..40 {
            assert_eq!(kind(), HandshakeKind::Resumed, "{versions:?}");
        }
    }
    assert_eq!(resumed(&site), 80.0);
}

fn resumed(site: &Site) -> f64 {
    let of = |version| {
        site.metric(&format!(
            r#"wharf_tls_sessions_total{{version="{version}",group="resumed"}}"#
        ))
    };
    of("1.2") + of("1.3")
}

#[test]
fn who_asks_for_a_challenge_gets_no_certificate_of_the_host() {
    let (site, _served) = site("a.test");
    eventually("the certificate", LIMIT, || {
        let peer = Peer::connect_with(site.wharf.https, "a.test", anybody());
        peer.map(drop).map_err(|error| error.to_string())
    });
    let challenge = s_client(
        site.wharf.https,
        &["-servername", "a.test", "-alpn", "acme-tls/1"],
    );
    assert!(challenge.contains("tlsv1 unrecognized name"), "{challenge}");
    // Among others it means nothing (RFC 8737 section 3).
    let among = s_client(
        site.wharf.https,
        &["-servername", "a.test", "-alpn", "acme-tls/1,http/1.1"],
    );
    assert!(among.contains("ALPN protocol: http/1.1"), "{among}");
}
