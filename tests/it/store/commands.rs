//! `wharf certs`, beside running Wharfs and without.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::support::origin::Origin;
use crate::support::wharf::Wharf;

use super::{Shared, command, container, hosts, records, wait_ready};

/// Runs it beside a Wharf.
pub(crate) fn certs(wharf: &Wharf, words: &[&str]) -> Output {
    let words = [&["certs"], words].concat();
    let mut command = command(wharf.data(), &words);
    let admin = wharf.admin.to_string();
    command.env("WHARF_ADMIN", admin).output().unwrap()
}

fn out(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The certificate a handshake gets.
async fn leaf(shared: &Shared, wharf: &Wharf, host: &str) -> Vec<u8> {
    let port = wharf.https.port();
    let shaken = crate::support::responder::handshake(host, port, &shared.root);
    let stream = shaken.await.unwrap();
    let chain = stream.get_ref().1.peer_certificates().unwrap();
    chain[0].to_vec()
}

/// Until `wharf` serves another one than `before`.
async fn wait_other(shared: &Shared, wharf: &Wharf, host: &str, before: &[u8]) -> Vec<u8> {
    let deadline = Instant::now() + Duration::from_secs(15);
    loop {
        let now = leaf(shared, wharf, host).await;
        if now != before {
            return now;
        }
        assert!(Instant::now() < deadline, "{host} stays as it was");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn list_renew_and_revoke() {
    let hosts = hosts(2);
    let [host, other] = [&hosts[0], &hosts[1]];
    let shared = Shared::of(&hosts);
    let wharf = shared.asked().start();
    wait_ready(&wharf);
    let first = leaf(&shared, &wharf, host).await;
    crate::tls::stored(shared.data.path(), "h0.example.com.json").await;
    // One that only reads along.
    let beside = shared.beside().start();
    wait_ready(&beside);
    assert_eq!(leaf(&shared, &beside, host).await, first);

    let list = out(&certs(&wharf, &[]));
    let line = |name: &str| list.lines().find(|line| line.contains(name)).unwrap();
    let words: Vec<_> = line(host)
        .split("  ")
        .filter(|word| !word.is_empty())
        .collect();
    println!("{list}");
    assert!(words[1].trim().starts_with("localhost:") && words[2].trim().starts_with("Pebble"));
    assert!(line(host).contains(" valid ") && line(host).contains("renew in "));
    assert!(line(other).contains(" waiting "), "{list}");
    let json: serde_json::Value = serde_json::from_str(&out(&certs(&wharf, &["--json"]))).unwrap();
    assert_eq!(
        (&json[0]["host"], &json[0]["stored"]),
        (&host.as_str().into(), &true.into())
    );
    assert_eq!(json[1]["stored"], false);

    let renewed = out(&certs(&wharf, &["renew", host]));
    assert!(
        renewed.starts_with(&format!("{host}: new certificate by Pebble")),
        "{renewed}"
    );
    let second = leaf(&shared, &wharf, host).await;
    assert_ne!(first, second);
    wait_other(&shared, &beside, host, &first).await;
    beside.wait_log("took over a certificate from the store");
    assert_eq!(shared.ca.orders(), 2);

    let revoked = certs(&wharf, &["revoke", host, "--reason", "superseded"]);
    let revoked = out(&revoked);
    assert!(
        revoked.contains(": revoked at ") && revoked.contains("; new certificate by"),
        "{revoked}"
    );
    let third = leaf(&shared, &wharf, host).await;
    assert_ne!(second, third);
    assert!(shared.ca.log().contains("revoke-cert"));
    let aside = shared.file("h0.example.com.json.revoked").unwrap();
    let aside = std::fs::read_to_string(aside).unwrap();
    let aside: serde_json::Value = serde_json::from_str(&aside).unwrap();
    let aside = CertificateDer::from_pem_slice(aside["chain"].as_str().unwrap().as_bytes());
    assert_eq!(aside.unwrap().as_ref(), second);
    wait_other(&shared, &beside, host, &second).await;

    let stranger = err(&certs(&wharf, &["renew", "stranger.example.com"]));
    assert_eq!(
        stranger,
        "error: no running container asks for a certificate of stranger.example.com\n"
    );
    let nothing = err(&certs(&wharf, &["revoke", other]));
    assert!(
        nothing.contains("holds no certificate of h1.example.com"),
        "{nothing}"
    );
    for folder in ["requests", "answers"] {
        let left = std::fs::read_dir(shared.data.path().join(folder)).unwrap();
        assert_eq!(left.count(), 0, "{folder}");
    }
}

/// What is not due before a renewal that fails is not due after it.
#[tokio::test]
async fn a_renewal_that_fails_changes_nothing() {
    let hosts = hosts(1);
    let mut shared = Shared::of(&hosts);
    let wharf = shared.asked().start();
    wait_ready(&wharf);
    let first = leaf(&shared, &wharf, &hosts[0]).await;
    crate::tls::stored(shared.data.path(), "h0.example.com.json").await;
    shared.ca.stop();
    let failed = err(&certs(&wharf, &["renew", &hosts[0]]));
    assert!(
        failed.contains("no certificate could be obtained"),
        "{failed}"
    );
    let status = wharf.status_json();
    let next = status["certificates"][0]["next"].as_str().unwrap();
    assert!(
        next.starts_with("renew in") && next.ends_with(" d"),
        "{next}"
    );
    assert_eq!(leaf(&shared, &wharf, &hosts[0]).await, first);
    let list = out(&certs(&wharf, &[]));
    assert!(list.starts_with("Problems\n"), "{list}");
}

#[tokio::test]
async fn without_a_running_wharf() {
    let hosts = hosts(1);
    let shared = Shared::of(&hosts);
    let wharf = shared.asked().start();
    wait_ready(&wharf);
    let served = leaf(&shared, &wharf, &hosts[0]).await;
    crate::tls::stored(shared.data.path(), "h0.example.com.json").await;
    std::fs::write(
        shared
            .file("h0.example.com.json")
            .unwrap()
            .with_file_name("bad.example.com.json"),
        "{",
    )
    .unwrap();
    assert!(wharf.stop().success());

    let data = shared.data.path();
    let run = |words: &[&str]| {
        let mut command = command(data, words);
        // A port nobody listens on.
        command.env("WHARF_ADMIN", "127.0.0.1:1").output().unwrap()
    };
    let list = out(&run(&["certs"]));
    assert!(list.starts_with("No Wharf answers"), "{list}");
    assert!(
        list.contains("bad.example.com") && list.contains("no such JSON"),
        "{list}"
    );
    assert!(list.contains("renew from 20"), "{list}");
    assert!(
        shared.file("bad.example.com.json").is_some(),
        "a list changes nothing"
    );

    let pem = out(&run(&["certs", "export", "H0.example.com."]));
    let exported = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    assert_eq!(exported.as_ref(), served);
    assert!(pem.contains("PRIVATE KEY"));
    let to = tempfile::tempdir().unwrap();
    let files = out(&run(&[
        "certs",
        "export",
        &hosts[0],
        "--to",
        to.path().to_str().unwrap(),
    ]));
    assert_eq!(files.lines().count(), 2);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&to.path().join("h0.example.com.key")), 0o600);
    let chain = std::fs::read_to_string(to.path().join("h0.example.com.crt")).unwrap();
    assert!(pem.starts_with(&chain) && !chain.contains("KEY"));

    let nobody = err(&run(&["certs", "renew", &hosts[0]]));
    assert!(
        nobody.contains("no running Wharf took the request"),
        "{nobody}"
    );
    assert_eq!(std::fs::read_dir(data.join("requests")).unwrap().count(), 0);
    assert_eq!(records_but_bad(data), 1);
}

/// A move from Traefik: what its file holds is served at once, and nothing is ordered.
#[tokio::test]
async fn an_import_is_served_without_a_restart() {
    let hosts = hosts(2);
    let mut shared = Shared::of(&hosts);
    let wharf = shared.asked().start();
    wait_ready(&wharf);
    let (root, file) = acme_json(&[&hosts[0], "old.example.com"]);
    let words = ["import", file.path().to_str().unwrap()];
    // As `docker exec` has it: the same variables as the process.
    let import = |more: &[&str]| {
        let mut import = command(shared.data.path(), &[&["certs"], &words[..], more].concat());
        import
            .env("WHARF_ACME", shared.ca.directory())
            .output()
            .unwrap()
    };
    let dry = out(&import(&["--dry-run"]));
    assert!(
        dry.ends_with("2 imported, 0 known, 0 skipped; nothing was written\n"),
        "{dry}"
    );
    assert!(shared.file("h0.example.com.json").is_none());
    let done = out(&import(&[]));
    let line = format!(
        "imported {} (h0.example.com of resolver le): valid until 20",
        hosts[0]
    );
    assert!(done.starts_with(&line), "{done}");
    wharf.wait_log("took over a certificate from the store");
    let asked = shared.root.clone();
    shared.root = root;
    leaf(&shared, &wharf, &hosts[0]).await;
    assert_eq!(shared.ca.orders(), 0);
    shared.root = asked;
    leaf(&shared, &wharf, &hosts[1]).await;
    assert_eq!(shared.ca.orders(), 1);
    let list = out(&certs(&wharf, &[]));
    let old = list
        .lines()
        .find(|line| line.contains("old.example.com"))
        .unwrap();
    assert!(old.contains("nothing: no container asks for it"), "{list}");
}

/// Nobody here can renew it: the names below it are served, the wildcard itself too where a container asks
/// for it, and a restart changes nothing.
#[tokio::test]
async fn an_imported_wildcard_serves_the_names_below_it() {
    let hosts = hosts(2);
    let mut shared = Shared::of(&hosts);
    let wharf = shared.asked().start();
    wait_ready(&wharf);
    let (root, file) = acme_json(&["*.example.com"]);
    let words = ["certs", "import", file.path().to_str().unwrap()];
    let mut import = command(shared.data.path(), &words);
    let directory = shared.ca.directory();
    let done = out(&import.env("WHARF_ACME", directory).output().unwrap());
    assert!(done.starts_with("imported *.example.com ("), "{done}");
    wharf.wait_log("took over a certificate from the store");
    shared.root = root;
    let one = leaf(&shared, &wharf, &hosts[0]).await;
    assert_eq!(leaf(&shared, &wharf, &hosts[1]).await, one);
    wharf.stop();

    let patterns = ["*.example.com".to_owned(), hosts[0].clone()];
    let origin = Origin::new();
    shared
        .engine
        .set_containers([container(&origin, &patterns)]);
    let wharf = shared.asked().start();
    wait_ready(&wharf);
    for name in [&hosts[0], "h7.example.com"] {
        assert_eq!(leaf(&shared, &wharf, name).await, one);
    }
    let list = out(&certs(&wharf, &[]));
    let line = list.lines().find(|line| line.contains("*.example.com"));
    assert!(line.unwrap().contains(" valid "), "{list}");
    assert_eq!(shared.ca.orders(), 0);
}

/// The root, and a file of Traefik 3 with a certificate for each of `names`.
fn acme_json(names: &[&str]) -> (String, tempfile::NamedTempFile) {
    use base64::Engine as _;
    let encoded = |text: String| base64::prelude::BASE64_STANDARD.encode(text);
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = ca.self_signed(&ca_key).unwrap().pem();
    let issuer = Issuer::new(ca, ca_key);
    let entries = names.iter().map(|name| {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![(*name).to_owned()]).unwrap();
        let day = Duration::from_secs(86_400);
        params.not_before = (SystemTime::now() - day).into();
        params.not_after = (SystemTime::now() + 60 * day).into();
        let leaf = params.signed_by(&key, &issuer).unwrap();
        serde_json::json!({
            "domain": { "main": name },
            "certificate": encoded(leaf.pem() + &root),
            "key": encoded(key.serialize_pem()),
            "Store": "default",
        })
    });
    let entries: Vec<_> = entries.collect();
    let json = serde_json::json!({ "le": { "Account": null, "Certificates": entries } });
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), json.to_string()).unwrap();
    (root, file)
}

fn records_but_bad(data: &Path) -> usize {
    let bad = crate::tls::find(data, "bad.example.com.json").unwrap();
    std::fs::remove_file(bad).unwrap();
    records(data).len()
}
