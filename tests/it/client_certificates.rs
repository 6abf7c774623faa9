//! Rules of connections: clients that show certificates, versions of TLS, and what becomes of connections
//! and sessions that were made by other rules.

use std::path::Path;
use std::sync::{Arc, Mutex};

use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ALL_VERSIONS, ClientConfig, HandshakeKind, NamedGroup};

use crate::support::eventually;
use crate::support::origin::{Served, ok};
use crate::support::peer::{LIMIT, Peer};
use crate::support::site::{Site, app};
use crate::support::tls::{ClientCa, Identity, trusting};

/// Answers with the head it got.
fn echo() -> Served {
    Served::by(|request| ok(&request.head))
}

fn site(certs: &Path, containers: Vec<crate::support::engine::FakeContainer>) -> Site {
    Site::with(containers, |builder| {
        builder
            .env("WHARF_CERTS", certs.to_str().unwrap())
            .env("WHARF_TRUSTED_PROXIES", "127.0.0.9")
    })
}

fn config(identity: Option<&Identity>) -> Arc<ClientConfig> {
    Arc::new(trusting(ALL_VERSIONS, identity))
}

/// Status and body of a request over TLS; the alert, if it came to that.
fn ask(
    site: &Site,
    name: &str,
    path: &str,
    config: Arc<ClientConfig>,
) -> Result<(u16, String), String> {
    let peer = Peer::connect_with(site.wharf.https, name, config);
    let mut peer = peer.map_err(|error| error.to_string())?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {name}\r\nX-SSL-Client-Verify: SUCCESS\r\n\
         X_SSL_Client_S_DN: CN=forged\r\nClient-Cert: :forged:\r\n\r\n"
    );
    // With TLS 1.3 the server's refusal comes after the client is done.
    peer.try_send(request).map_err(|error| error.to_string())?;
    peer.refusal()?;
    let message = peer.message();
    Ok((message.status(), message.text()))
}

#[test]
fn who_shows_which_certificate_is_let_in_and_told_to_the_app() {
    let certs = tempfile::tempdir().unwrap();
    let (ours, theirs) = (ClientCa::new("ours"), ClientCa::new("theirs"));
    std::fs::write(certs.path().join("ours.pem"), &ours.pem).unwrap();
    let (alice, mallory) = (ours.certify("alice"), theirs.certify("alice"));
    let echo = echo();
    let port = echo.port();
    let site = site(
        certs.path(),
        vec![
            app(
                "must",
                port,
                "wharf.host: must.test\nwharf.tls.client_ca: file:ours.pem\nwharf.https: both",
            ),
            app(
                "may",
                port,
                "wharf.host: may.test\nwharf.mtls: file:ours.pem optional",
            ),
            app(
                "part",
                port,
                "wharf.host: part.test\nwharf.admin.path: /admin\nwharf.admin.tls.client_ca: file:ours.pem",
            ),
            app("open", port, "wharf.host: open.test"),
            app(
                "off",
                port,
                "wharf.host: off.test\nwharf.tls: off\nwharf.mtls: file:ours.pem",
            ),
            app(
                "gone",
                port,
                "wharf.host: gone.test\nwharf.tls.client_ca: file:gone.pem",
            ),
        ],
    );
    let (none, alice, mallory) = (config(None), config(Some(&alice)), config(Some(&mallory)));
    let known = |answer: Result<(u16, String), String>| {
        let (status, head) = answer.unwrap();
        assert_eq!(status, 200, "{head}");
        assert!(head.contains("x-ssl-client-verify: SUCCESS\r\n"), "{head}");
        assert!(head.contains("x-ssl-client-s-dn: CN=alice\r\n"), "{head}");
        assert!(head.contains("client-cert: :MII"), "{head}");
        assert!(!head.to_lowercase().contains("forged"), "{head}");
    };
    let anonymous = |answer: Result<(u16, String), String>| {
        let (status, head) = answer.unwrap();
        assert_eq!(status, 200, "{head}");
        assert!(!head.to_lowercase().contains("forged"), "{head}");
        assert!(!head.contains("SUCCESS"), "{head}");
        head
    };

    known(ask(&site, "must.test", "/", alice.clone()));
    for refused in [&none, &mallory] {
        let refused = ask(&site, "must.test", "/", refused.clone());
        assert!(refused.is_err(), "{refused:?}");
    }
    known(ask(&site, "may.test", "/", alice.clone()));
    let head = anonymous(ask(&site, "may.test", "/", none.clone()));
    assert!(head.contains("x-ssl-client-verify: NONE\r\n"), "{head}");
    assert!(ask(&site, "may.test", "/", mallory.clone()).is_err());

    // One host, two routes: each looks for itself.
    anonymous(ask(&site, "part.test", "/", none.clone()));
    anonymous(ask(&site, "part.test", "/", alice.clone()));
    known(ask(&site, "part.test", "/admin", alice.clone()));
    let (status, text) = ask(&site, "part.test", "/admin", none.clone()).unwrap();
    assert_eq!(status, 403, "{text}");

    // A stranger cannot forge what only Wharf may say, on any host.
    anonymous(ask(&site, "open.test", "/", none.clone()));

    // Plain HTTP shows no certificate, whoever says that it was HTTPS.
    let plain = "GET / HTTP/1.1\r\nHost: must.test\r\nX-Forwarded-Proto: https\r\n\r\n";
    assert_eq!(site.send(plain).message().status(), 403);
    let off = "GET / HTTP/1.1\r\nHost: off.test\r\n\r\n";
    assert_eq!(site.send(off).message().status(), 403);

    // An authority that cannot be read lets nobody in.
    let (status, text) = ask(&site, "gone.test", "/", alice).unwrap();
    assert_eq!(status, 503, "{text}");
    let told = site.wharf.status_text();
    assert!(
        told.contains("gone.pem") && told.contains("cannot be read"),
        "{told}"
    );
}

#[test]
fn connections_made_by_other_rules_are_sent_away() {
    let certs = tempfile::tempdir().unwrap();
    let (first, second) = (ClientCa::new("first"), ClientCa::new("second"));
    std::fs::write(certs.path().join("ca.pem"), &first.pem).unwrap();
    let (alice, bob) = (first.certify("alice"), second.certify("bob"));
    let echo = echo();
    let port = echo.port();
    // One owner: without rules they would share connections.
    let site = site(
        certs.path(),
        vec![app(
            "app",
            port,
            "wharf.host: open.test, localhost\nwharf.safe.host: safe.test\nwharf.safe.tls.client_ca: file:ca.pem\n\
             wharf.new.host: new.test\nwharf.new.tls.min: 1.3",
        )],
    );
    let get = |host: &str| format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let alice = config(Some(&alice));
    let dial = |name: &str, config: &Arc<ClientConfig>| {
        Peer::connect_with(site.wharf.https, name, config.clone()).unwrap()
    };
    let mut open = dial("open.test", &alice);
    assert_eq!(open.send(get("open.test")).message().status(), 200);
    assert_eq!(open.send(get("new.test")).message().status(), 200);
    assert_eq!(open.send(get("safe.test")).message().status(), 421);
    let mut safe = dial("safe.test", &alice);
    assert_eq!(safe.send(get("safe.test")).message().status(), 200);
    assert_eq!(safe.send(get("open.test")).message().status(), 200);

    let old = Arc::new(trusting(&[&TLS12], None));
    let mut twelve = dial("open.test", &old);
    assert_eq!(twelve.send(get("open.test")).message().status(), 200);
    assert_eq!(twelve.send(get("new.test")).message().status(), 421);
    let refused = Peer::connect_with(site.wharf.https, "new.test", old);
    let refused = refused.map(drop).unwrap_err().to_string();
    assert!(refused.contains("ProtocolVersion"), "{refused}");
    let thirteen = Arc::new(trusting(&[&TLS13], None));
    assert_eq!(
        dial("new.test", &thirteen)
            .send(get("new.test"))
            .message()
            .status(),
        200
    );

    // Another authority: who was let in by the old one has to come again, and is not let in.
    std::fs::write(certs.path().join("ca.pem"), &second.pem).unwrap();
    let bob = config(Some(&bob));
    eventually("the new authority", LIMIT, || {
        ask(&site, "safe.test", "/", bob.clone())
    });
    assert_eq!(safe.send(get("safe.test")).message().status(), 421);
    assert!(ask(&site, "safe.test", "/", alice).is_err());
}

/// Rules that come later do not know who has been let in before them.
#[test]
fn a_session_without_a_certificate_is_not_resumed_where_one_is_asked_for() {
    let certs = tempfile::tempdir().unwrap();
    let ca = ClientCa::new("ca");
    std::fs::write(certs.path().join("ca.pem"), &ca.pem).unwrap();
    let echo = echo();
    let labels = "wharf.host: a.test";
    let site = site(certs.path(), vec![app("app", echo.port(), labels)]);
    for versions in [&[&TLS13][..], &[&TLS12]] {
        site.engine.run(app("app", echo.port(), labels));
        let sessions = Arc::new(AnyName::default());
        let client = |identity: Option<&Identity>| {
            let mut config = trusting(versions, identity);
            config.resumption = rustls::client::Resumption::store(sessions.clone());
            Arc::new(config)
        };
        let none = client(None);
        let kind = |config: &Arc<ClientConfig>| {
            let mut peer = Peer::connect_with(site.wharf.https, "a.test", config.clone()).ok()?;
            let kind = peer.session().handshake_kind();
            peer.try_send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
                .ok()?;
            peer.refusal().ok()?;
            (peer.message().status() == 200).then_some(kind)?
        };
        eventually("no rules", LIMIT, || {
            kind(&none).ok_or_else(|| "refused".into())
        });
        assert_eq!(
            kind(&none),
            Some(HandshakeKind::Resumed),
            "as long as nothing changes"
        );

        let rules = format!("{labels}\nwharf.tls.client_ca: file:ca.pem");
        site.engine.run(app("app", echo.port(), &rules));
        // The session is offered and not taken: nothing is shown, so nobody is let in.
        eventually("the rules", LIMIT, || match kind(&none) {
            None => Ok(()),
            Some(kind) => Err(format!("{kind:?}")),
        });
        // With a certificate it is a new session, and that one is good here.
        let alice = ca.certify("alice");
        let alice = client(Some(&alice));
        assert_eq!(kind(&alice), Some(HandshakeKind::Full), "{versions:?}");
        assert_eq!(kind(&alice), Some(HandshakeKind::Resumed), "{versions:?}");
        // And nowhere else.
        site.engine.run(app("app", echo.port(), labels));
        eventually("no rules again", LIMIT, || match kind(&alice) {
            Some(HandshakeKind::Full) => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }
}

#[test]
fn the_key_exchange_withstands_quantum_computers_where_clients_can() {
    let echo = echo();
    let site = Site::start([app("app", echo.port(), "wharf.host: a.test")]);
    let peer = site.tls("a.test").unwrap();
    let group = peer
        .session()
        .negotiated_key_exchange_group()
        .unwrap()
        .name();
    assert_eq!(group, NamedGroup::X25519MLKEM768);
}

/// Keeps one session and offers it whatever name is asked for.
#[derive(Debug, Default)]
struct AnyName {
    twelve: Mutex<Option<Tls12ClientSessionValue>>,
    thirteen: Mutex<Option<Tls13ClientSessionValue>>,
}

impl ClientSessionStore for AnyName {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        *self.twelve.lock().unwrap() = Some(value);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.twelve.lock().unwrap().clone()
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        *self.twelve.lock().unwrap() = None;
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        *self.thirteen.lock().unwrap() = Some(value);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.thirteen.lock().unwrap().take()
    }
}
