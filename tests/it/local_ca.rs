//! The built-in CA: whom its root speaks for, and how people get at it.

use std::process::Command;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::support::chromium::User;
use crate::support::docker::{App, unique};
use crate::support::http;
use crate::support::origin::Served;
use crate::support::site::{Site, app};
use crate::support::wharf::Builder;

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
    // By this browsers and phones know what they are given, and offer to install it.
    let kind = download.header("content-type");
    assert_eq!(kind, Some("application/x-x509-ca-cert"));
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
fn a_browser_opens_a_container_without_a_warning_once_its_user_trusts_the_root() {
    let wharf = Builder::new().start();
    let name = format!("{}.localhost", unique("browser"));
    let app = App::new("browser").label("wharf.host", &name).run();
    wharf.wait_answer(&name, "/", |answer| answer.status == 301);
    let user = User::new();
    let warned = user.open(&name, wharf.https);
    assert_eq!(warned, Err("ERR_CERT_AUTHORITY_INVALID".to_owned()));

    // As `wharf ca install chromium` says.
    let root = self::wharf(&["ca", "export", "--admin", &wharf.admin.to_string()]);
    std::fs::write(user.home().join("wharf-ca.crt"), root.1).unwrap();
    let (_, steps) = self::wharf(&["ca", "install", "chromium"]);
    let command = |option: &str| {
        let mut lines = steps.lines().map(str::trim);
        let line = lines.find(|line| line.starts_with("certutil") && line.contains(option));
        line.unwrap_or_else(|| panic!("no {option}: {steps}"))
    };
    user.shell(command(" -A "));
    let page = user.open(&name, wharf.https).unwrap();
    assert!(page.contains(&app.id[..12]), "{page}");
    user.shell(command(" -D "));
    let warned = user.open(&name, wharf.https);
    assert_eq!(warned, Err("ERR_CERT_AUTHORITY_INVALID".to_owned()));
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
