//! The operator's own certificates, in a directory that changes while Wharf runs.

use std::path::Path;

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::CertificateDer;

use crate::support::eventually;
use crate::support::origin::Served;
use crate::support::peer::{LIMIT, Peer};
use crate::support::site::{Site, app, get};
use crate::support::tls::anybody;

/// A certificate that signs itself.
struct Own {
    pem: String,
    key: String,
    der: CertificateDer<'static>,
}

fn own(names: &[&str]) -> Own {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(names)
        .unwrap()
        .self_signed(&key)
        .unwrap();
    Own {
        pem: certificate.pem(),
        key: key.serialize_pem(),
        der: certificate.der().clone(),
    }
}

impl Own {
    fn write(&self, directory: &Path, name: &str) {
        std::fs::write(directory.join(format!("{name}.crt")), &self.pem).unwrap();
        std::fs::write(directory.join(format!("{name}.key")), &self.key).unwrap();
    }
}

/// What a client that trusts everybody is shown for `name`.
fn shown(site: &Site, name: &str) -> Result<CertificateDer<'static>, String> {
    let peer = Peer::connect_with(site.wharf.https, name, anybody());
    let peer = peer.map_err(|error| error.to_string())?;
    Ok(peer.session().peer_certificates().unwrap()[0]
        .clone()
        .into_owned())
}

fn wait_shown(site: &Site, name: &str, own: &Own) {
    eventually("the new certificate", LIMIT, || match shown(site, name) {
        Ok(der) if der == own.der => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

#[test]
fn files_are_used_by_their_names_and_followed_as_they_change() {
    let certs = tempfile::tempdir().unwrap();
    let (first, forced) = (own(&["a.test"]), own(&["elsewhere.test"]));
    first.write(certs.path(), "whatever");
    forced.write(certs.path(), "forced");
    let origin = Served::text("hi");
    let port = origin.port();
    let site = Site::with(
        [
            app("a", port, "wharf.host: a.test\nwharf.https: both"),
            app("b", port, "wharf.host: b.test\nwharf.tls: file:forced"),
            app("c", port, "wharf.host: c.test\nwharf.tls: file:missing"),
            app("d", port, "wharf.host: default"),
        ],
        |builder| builder.env("WHARF_CERTS", certs.path().to_str().unwrap()),
    );
    assert_eq!(shown(&site, "a.test"), Ok(first.der.clone()));
    assert_eq!(
        shown(&site, "b.test"),
        Ok(forced.der.clone()),
        "by its label"
    );
    assert_eq!(
        shown(&site, "elsewhere.test"),
        Ok(forced.der.clone()),
        "host `default`"
    );
    assert!(
        site.tls("default.wharf.internal").is_ok(),
        "the built-in CA's"
    );
    let refused = shown(&site, "c.test").unwrap_err();
    assert!(refused.contains("InternalError"), "{refused}");
    let status = site.wharf.status_text();
    assert!(
        status.contains("there is no certificate `missing`"),
        "{status}"
    );
    assert!(status.contains("which has forced, whatever"), "{status}");

    // The app is reached through it.
    let mut client = Peer::connect_with(site.wharf.https, "a.test", anybody()).unwrap();
    client.send(get("/"));
    assert_eq!(client.message().text(), "hi");

    // Renewed; then half of it is, which costs nobody else anything.
    let second = own(&["a.test"]);
    second.write(certs.path(), "whatever");
    wait_shown(&site, "a.test", &second);
    let missing = own(&["c.test"]);
    missing.write(certs.path(), "missing");
    std::fs::write(
        certs.path().join("whatever.key"),
        "-----BEGIN PRIVATE KEY-----\n",
    )
    .unwrap();
    wait_shown(&site, "c.test", &missing);
    assert_eq!(shown(&site, "a.test"), Ok(second.der.clone()));
    let status = site.wharf.status_text();
    assert!(status.contains("whatever.key"), "{status}");
    assert!(status.contains("its PEM is damaged"), "{status}");

    // Gone: the built-in CA takes over.
    std::fs::remove_file(certs.path().join("whatever.crt")).unwrap();
    std::fs::remove_file(certs.path().join("whatever.key")).unwrap();
    eventually("the built-in CA", LIMIT, || {
        let tls = site.tls("a.test");
        tls.map(drop).map_err(|error| error.to_string())
    });
}
