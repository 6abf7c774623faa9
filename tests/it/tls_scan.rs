//! What testssl.sh thinks of Wharf's TLS, and whether it is Mozilla's intermediate profile.

use std::process::Command;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CrlDistributionPoint, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use serde_json::Value;

use crate::support::origin::Served;
use crate::support::site::{Site, app};

/// Its words for what was found, as its JSON has them.
#[derive(Debug)]
struct Finding {
    id: String,
    severity: String,
    text: String,
}

/// Runs testssl.sh with these options against `a.test` of a site.
fn scan(site: &Site, root: &std::path::Path, options: &[&str]) -> Vec<Finding> {
    let files = tempfile::tempdir().unwrap();
    let json = files.path().join("found.json");
    let mut testssl = Command::new("testssl");
    testssl.args(["--quiet", "--color=0", "--warnings=off", "--nodns=none"]);
    testssl.args(["--ip=127.0.0.1", "--jsonfile"]).arg(&json);
    testssl.arg("--add-ca").arg(root).args(options);
    testssl.arg(format!("a.test:{}", site.wharf.https.port()));
    let output = testssl.output();
    let output = output.expect("testssl (Debian package testssl.sh)");
    let text = std::fs::read_to_string(json).unwrap_or_default();
    let Ok(Value::Array(found)) = serde_json::from_str(&text) else {
        panic!("{}", String::from_utf8_lossy(&output.stdout));
    };
    let word = |finding: &Value, name: &str| finding[name].as_str().unwrap().to_owned();
    let found = found.iter().map(|finding| Finding {
        id: word(finding, "id"),
        severity: word(finding, "severity"),
        text: word(finding, "finding"),
    });
    found.collect()
}

/// Writes a certificate as a public CA would give it to `certs`, and its root beside.
fn certify(certs: &std::path::Path, root: &std::path::Path) {
    let day = Duration::from_secs(24 * 60 * 60);
    let now = SystemTime::now();
    let mut ca = CertificateParams::default();
    // rcgen gives all the same name, which looks as if they signed themselves.
    ca.distinguished_name.push(DnType::CommonName, "a root");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let ca_key = KeyPair::generate().unwrap();
    std::fs::write(root, ca.self_signed(&ca_key).unwrap().pem()).unwrap();
    let mut leaf = CertificateParams::new(["a.test".to_owned()]).unwrap();
    (leaf.not_before, leaf.not_after) = ((now - day).into(), (now + 80 * day).into());
    leaf.crl_distribution_points = vec![CrlDistributionPoint {
        uris: vec!["http://ca.test/crl".to_owned()],
    }];
    let key = KeyPair::generate().unwrap();
    let leaf = leaf.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
    std::fs::write(certs.join("a.crt"), leaf.pem()).unwrap();
    std::fs::write(certs.join("a.key"), key.serialize_pem()).unwrap();
}

#[test]
fn testssl_finds_nothing_above_low_and_mozillas_intermediate_profile() {
    let files = tempfile::tempdir().unwrap();
    let root = files.path().join("root.pem");
    let certs = files.path().join("certs");
    std::fs::create_dir(&certs).unwrap();
    certify(&certs, &root);
    // What an app, and not a proxy, says.
    let served = Served::by(|_| {
        b"HTTP/1.1 200 OK\r\nContent-Security-Policy: default-src 'self'\r\n\
          X-Frame-Options: DENY\r\nX-Content-Type-Options: nosniff\r\nContent-Length: 2\r\n\r\nhi"
            .to_vec()
    });
    // The address is for the checks that send no name.
    let labels = "wharf.host: a.test, 127.0.0.1\nwharf.hsts: max-age=2y";
    let site = Site::with([app("a", served.port(), labels)], |builder| {
        builder.env("WHARF_CERTS", certs.to_str().unwrap())
    });
    // An answer that comes late, as from a machine with too much to do, is none to it: what it says twice counts.
    let mut wrong = faults(&scans(&site, &root));
    if !wrong.is_empty() {
        let again = faults(&scans(&site, &root));
        wrong.retain(|fault| again.contains(fault));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// All checks. It mostly waits: two at once.
fn scans(site: &Site, root: &std::path::Path) -> Vec<Finding> {
    std::thread::scope(|scope| {
        let first = scope.spawn(|| scan(site, root, &["-p", "-s", "-f", "-S"]));
        let second = scan(site, root, &["-U", "-h", "-P"]);
        let mut all = first.join().unwrap();
        all.extend(second);
        all
    })
}

/// What is not as it is to be.
fn faults(found: &[Finding]) -> Vec<String> {
    let fine = ["OK", "INFO", "LOW", "DEBUG"];
    let bad = found
        .iter()
        .filter(|one| !fine.contains(&one.severity.as_str()));
    let mut faults: Vec<_> = bad.map(|one| format!("{one:?}")).collect();
    let text = |id: &str| {
        let found = found.iter().find(|one| one.id == id);
        found.map_or("not found", |one| one.text.as_str())
    };
    let mut expect = |id: &str, text: &str, expected: &str| {
        if text != expected {
            faults.push(format!("{id}: {text}, not {expected}"));
        }
    };
    // https://ssl-config.mozilla.org/guidelines/5.7.json, without DHE, which needs parameters.
    for (id, expected) in [
        ("SSLv2", "not offered"),
        ("SSLv3", "not offered"),
        ("TLS1", "not offered"),
        ("TLS1_1", "not offered"),
        ("TLS1_2", "offered"),
        ("TLS1_3", "offered with final"),
        ("PFS_ECDHE_curves", "prime256v1 secp384r1 X25519"),
        ("cert_trust", "Ok via SAN (SNI mandatory)"),
        ("secure_renego", "supported"),
    ] {
        expect(id, text(id), expected);
    }
    let mut ciphers: Vec<_> = text("PFS_ciphers").split_whitespace().collect();
    ciphers.sort_unstable();
    expect("PFS_ciphers", &ciphers.join(" "), &INTERMEDIATE.join(" "));
    faults
}

/// For ECDSA keys.
const INTERMEDIATE: [&str; 6] = [
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
];
