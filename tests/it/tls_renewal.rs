//! Renewals: when the CA wants them (RFC 9773), of what profile, and of what nobody needs any more.

use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use wharf::model::TlsMode;
use wharf::tls::{CertReport, CertsConfig};

use crate::support::pebble::{Pebble, free_port};
use crate::support::responder::{Ports, Responder};
use crate::support::shim::Shim;
use crate::tls::{Running, authority, config, find, settled, stored_with, walk};

const HOST: &str = "a.example.com";
const DAY: i64 = 24 * 60 * 60;

/// Pebble's certificates live for five years.
async fn believing() -> (Pebble, Shim) {
    let mut ca = Pebble::prepare(free_port(), free_port());
    ca.run(&[("PEBBLE_VA_ALWAYS_VALID", "1")]);
    let shim = Shim::start(&ca).await;
    (ca, shim)
}

fn behind(shim: &Shim, ca: &Pebble, data: &Path) -> CertsConfig {
    CertsConfig {
        cas: vec![authority(shim.directory(), &shim.listener_root())],
        ..config(ca, Some(data))
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap().as_secs() as i64
}

fn record(data: &Path) -> Value {
    serde_json::from_str(&walk(data, &format!("{HOST}.json"))).unwrap()
}

fn change(data: &Path, change: impl FnOnce(&mut Value)) {
    let mut record = record(data);
    change(&mut record);
    let path = find(data, &format!("{HOST}.json")).unwrap();
    std::fs::write(path, record.to_string()).unwrap();
}

/// The record once it says what the CA wants.
async fn asked(data: &Path) -> Value {
    let told = |record: &str| record.contains("\"chosen\"");
    stored_with(data, &format!("{HOST}.json"), told).await;
    record(data)
}

fn next(running: &Running) -> i64 {
    let next = running.report(HOST).next.unwrap().at;
    next.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_secs() as i64
}

#[tokio::test]
async fn the_ca_says_when_and_is_told_what_is_replaced() {
    let (ca, shim) = believing().await;
    let (start, end) = (now() + 30 * DAY, now() + 32 * DAY);
    shim.window(start, end, 6 * 3600);
    let data = tempfile::tempdir().unwrap();
    let running = Running::open_with(behind(&shim, &ca, data.path()));
    running.declare(&[HOST], TlsMode::Auto);
    running.obtain(HOST).await.unwrap();
    let first = asked(data.path()).await;
    let chosen = next(&running);
    assert!((start..=end).contains(&chosen));
    assert_eq!(first["ari"]["window"]["chosen"], chosen);
    let again = first["ari"]["check_at"].as_i64().unwrap() - now();
    assert!((6 * 3600 - 60..=6 * 3600).contains(&again), "{again}");
    assert!(shim.orders()[0].get("replaces").is_none());
    running.close().await;

    // A restart draws no other time and asks no sooner.
    let questions = shim.seen("GET /ari/");
    let running = Running::open_with(behind(&shim, &ca, data.path()));
    running.declare(&[HOST], TlsMode::Auto);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(
        (next(&running), shim.seen("GET /ari/")),
        (chosen, questions)
    );
    running.close().await;

    // Six hours later the CA wants it replaced at once.
    shim.window(now() - 2 * DAY, now() - DAY, 6 * 3600);
    change(data.path(), |record| {
        record["ari"]["check_at"] = 0.into();
        record["issued"] = (now() - DAY).into();
    });
    let before = record(data.path());
    let running = Running::open_with(behind(&shim, &ca, data.path()));
    running.declare(&[HOST], TlsMode::Auto);
    let file = format!("{HOST}.json");
    let old = before["key"].to_string();
    let renewed = |record: &str| !record.contains(&old) && record.contains("\"chosen\"");
    stored_with(data.path(), &file, renewed).await;
    let replaces = shim.orders()[1]["replaces"].as_str().unwrap().to_owned();
    assert!(replaces.contains('.') && shim.seen(&format!("GET /ari/{replaces}")) > 0);
    // Whatever the window says: not once more right away.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(ca.orders(), 2);
    assert!(next(&running) > now() + 3000);
}

/// 409: another process was faster. 403: it was imported, and another account has it.
#[tokio::test]
async fn what_must_not_be_replaced_is_ordered_like_any_other() {
    let replaced = r#"{"type":"urn:ietf:params:acme:error:alreadyReplaced","detail":"it is"}"#;
    let foreign = r#"{"type":"urn:ietf:params:acme:error:unauthorized","detail":"requester account did not request the certificate being replaced by this order"}"#;
    for (head, said) in [("409 Conflict", replaced), ("403 Forbidden", foreign)] {
        is_ordered_all_the_same(head, said).await;
    }
}

async fn is_ordered_all_the_same(head: &str, said: &str) {
    let (ca, shim) = believing().await;
    shim.window(now() + DAY, now() + 2 * DAY, 3600);
    let data = tempfile::tempdir().unwrap();
    let running = Running::open_with(behind(&shim, &ca, data.path()));
    running.declare(&[HOST], TlsMode::Auto);
    running.obtain(HOST).await.unwrap();
    asked(data.path()).await;
    running.close().await;
    change(data.path(), |record| {
        record["ari"]["window"]["chosen"] = 0.into();
        record["issued"] = (now() - DAY).into();
    });
    shim.answer("POST /order-plz", 1, head, said);
    let running = Running::open_with(behind(&shim, &ca, data.path()));
    running.declare(&[HOST], TlsMode::Auto);
    // Both may end in the same second.
    let renewed = |_: &CertReport| running.certs.totals().issued == 1;
    running.until(HOST, Duration::from_secs(10), renewed).await;
    assert_eq!(shim.seen("POST /order-plz"), 3);
    assert!(shim.orders()[1].get("replaces").is_none());
}

#[tokio::test]
async fn a_failed_renewal_is_an_event_and_the_certificate_goes_on() {
    let (ca, shim) = believing().await;
    shim.window(now() + DAY, now() + 2 * DAY, 3600);
    let data = tempfile::tempdir().unwrap();
    let running = Running::open_with(behind(&shim, &ca, data.path()));
    running.declare(&[HOST], TlsMode::Auto);
    running.obtain(HOST).await.unwrap();
    asked(data.path()).await;
    running.close().await;
    change(data.path(), |record| {
        record["ari"]["window"]["chosen"] = 0.into();
        record["issued"] = (now() - DAY).into();
    });
    let paused = r#"{"type":"urn:ietf:params:acme:error:rateLimited","detail":"Your account is
        temporarily prevented. Please visit: https://ca.example/sfe/v1/unpause?jwt=abc"}"#;
    let paused = paused.replace('\n', " ");
    shim.answer(
        "POST /order-plz",
        9,
        "429 Slow\r\nRetry-After: 3600",
        &paused,
    );
    let running = Running::open_with(behind(&shim, &ca, data.path()));
    running.declare(&[HOST], TlsMode::Auto);
    let told = |line: &CertReport| line.last_error.is_some();
    running.until(HOST, Duration::from_secs(10), told).await;
    let line = running.report(HOST);
    assert_eq!(line.state, wharf::tls::CertState::Valid);
    let link = "https://ca.example/sfe/v1/unpause?jwt=abc";
    assert_eq!(line.link.as_deref(), Some(link));
    let error = line.last_error.unwrap();
    assert!(
        error.contains("temporarily prevented") && !error.contains("jwt"),
        "{error}"
    );
    running.obtain(HOST).await.unwrap();
    assert_eq!(ca.orders(), 1);
}

#[tokio::test]
async fn what_nobody_needs_is_not_renewed_until_somebody_does() {
    let ports = Ports::bind().await;
    let mut ca = Pebble::prepare_with(ports.http_port(), ports.tls_port(), 3);
    ca.run(&[]);
    let data = tempfile::tempdir().unwrap();
    let root = ca.issuing_root();
    let tls = ports.tls_port();
    let running = Running::open(&ca, Some(data.path()));
    let server = Responder::start(ports.clone(), &running.certs);
    running.declare(&[HOST], TlsMode::Auto);
    running.obtain(HOST).await.unwrap();
    settled(data.path(), &format!("{HOST}.json")).await;
    running.close().await;
    drop(server);
    let orders = ca.orders();
    change(data.path(), |record| {
        record["used"] = (now() - 8 * DAY).into()
    });
    // Past its end.
    tokio::time::sleep(Duration::from_secs(4)).await;

    let running = Running::open(&ca, Some(data.path()));
    let _server = Responder::start(ports, &running.certs);
    running.declare(&[HOST], TlsMode::Auto);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(running.report(HOST).next, None);
    assert_eq!(ca.orders(), orders);
    // Somebody does: and gets one that is valid.
    crate::support::responder::handshake(HOST, tls, &root)
        .await
        .unwrap();
    assert!(ca.orders() > orders);
}

#[tokio::test]
async fn addresses_get_certificates_of_the_profile_for_them() {
    let ports = Ports::bind().await;
    let ca = Pebble::start(ports.http_port(), ports.tls_port());
    let shim = Shim::start(&ca).await;
    shim.profiles(&["classic", "shortlived"]);
    let data = tempfile::tempdir().unwrap();
    let mut config = behind(&shim, &ca, data.path());
    config.cas[0].profile = Some("shortlived".into());
    let running = Running::open_with(config);
    let server = Responder::start(ports.clone(), &running.certs);
    running.declare(&["127.0.0.1", HOST], TlsMode::Auto);
    running.obtain("127.0.0.1").await.unwrap();
    running.obtain(HOST).await.unwrap();
    for order in shim.orders() {
        assert_eq!(order["profile"], "shortlived");
    }
    assert_eq!(shim.orders()[0]["identifiers"][0]["type"], "ip");
    assert_eq!(ca.orders(), 2);
    running.close().await;
    drop(server);

    // By TLS-ALPN-01, under the reverse name.
    let ca = Pebble::start(free_port(), ports.tls_port());
    let shim = Shim::start(&ca).await;
    shim.profiles(&["shortlived"]);
    let data = tempfile::tempdir().unwrap();
    let mut config = behind(&shim, &ca, data.path());
    config.cas[0].profile = Some("shortlived".into());
    config.http_01 = false;
    let running = Running::open_with(config);
    let _server = Responder::start(ports, &running.certs);
    running.declare(&["127.0.0.1"], TlsMode::Auto);
    running.obtain("127.0.0.1").await.unwrap();
}

#[tokio::test]
async fn a_profile_the_ca_does_not_offer_is_not_asked_for() {
    let (ca, shim) = believing().await;
    shim.profiles(&["classic"]);
    let data = tempfile::tempdir().unwrap();
    let mut config = behind(&shim, &ca, data.path());
    config.cas[0].profile = Some("shortlived".into());
    let running = Running::open_with(config);
    running.declare(&["127.0.0.1", HOST], TlsMode::Auto);
    running.obtain(HOST).await.unwrap();
    assert!(shim.orders()[0].get("profile").is_none());
    let refused = running.obtain("127.0.0.1").await.unwrap_err().to_string();
    assert!(
        refused.contains("does not offer the profile shortlived"),
        "{refused}"
    );
    assert_eq!(ca.orders(), 1);
}
