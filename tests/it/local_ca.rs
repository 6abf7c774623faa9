//! The built-in CA: whom its root speaks for, and how people get at it.

use std::process::Command;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::support::http;
use crate::support::origin::Served;
use crate::support::site::{Site, app};

fn wharf(args: &[&str]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wharf"));
    let output = command.args(args).env_clear().output().unwrap();
    let text = match output.status.success() {
        true => output.stdout,
        false => output.stderr,
    };
    (output.status.success(), String::from_utf8(text).unwrap())
}

#[test]
fn its_root_is_handed_out_and_limited_to_local_names() {
    let served = Served::text("hi");
    let hosts = "wharf.host: a.test, nas, app.example.com, 127.0.0.1\nwharf.tls: internal";
    let site = Site::with([app("app", served.port(), hosts)], |builder| {
        builder.env("WHARF_CA_NAMES", "nas, *.example.org")
    });
    // Over the network, by the command, and from the disk where no Wharf runs.
    let download = http::get(site.wharf.admin, "localhost", "/ca.crt").unwrap();
    assert_eq!(download.status, 200);
    let root = download.text();
    assert!(
        CertificateDer::from_pem_slice(root.as_bytes()).is_ok(),
        "{root}"
    );
    let admin = site.wharf.admin.to_string();
    assert_eq!(
        wharf(&["ca", "export", "--admin", &admin]),
        (true, root.clone())
    );
    let data = site.wharf.data().to_str().unwrap();
    let nobody = ["ca", "export", "--admin", "127.0.0.1:1", "--data"];
    assert_eq!(wharf(&[&nobody[..], &[data]].concat()), (true, root));
    let (ok, told) = wharf(&[&nobody[..], &["/nowhere"]].concat());
    assert!(!ok && told.contains("/nowhere/ca/ca.crt"), "{told}");

    for name in ["a.test", "nas", "127.0.0.1"] {
        assert!(site.tls(name).is_ok(), "{name}");
    }
    let refused = site.tls("app.example.com").map(drop).unwrap_err();
    assert!(refused.to_string().contains("NameConstraint"), "{refused}");
    let status = site.wharf.status_text();
    assert!(status.contains("WHARF_CA_NAMES adds it"), "{status}");
    assert_eq!(status.matches("WHARF_CA_NAMES").count(), 1, "{status}");
}

#[test]
fn how_systems_come_to_trust_it_is_told_for_each() {
    let (ok, all) = wharf(&["ca", "install"]);
    assert!(ok, "{all}");
    let command = [
        ("debian", "update-ca-certificates"),
        ("fedora", "update-ca-trust"),
        ("arch", "trust anchor"),
        ("macos", "add-trusted-cert"),
        ("windows", "certutil -addstore"),
        ("firefox", "Authorities"),
        ("chromium", "nssdb"),
        ("java", "keytool"),
        ("node", "NODE_EXTRA_CA_CERTS"),
        ("curl", "--cacert"),
    ];
    for (system, words) in command {
        let (ok, told) = wharf(&["ca", "install", system]);
        assert!(ok && told.contains(words) && all.contains(words), "{told}");
    }
}
