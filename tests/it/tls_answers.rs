//! What a CA may answer, and what each answer means for the next attempt: Pebble behind a shim.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use wharf::model::TlsMode;
use wharf::tls::{CertReport, CertState, CertsConfig, FailureClass, ObtainError};

use crate::support::pebble::{Pebble, free_port};
use crate::support::responder::{Ports, Responder};
use crate::support::shim::{Instead, Shim};
use crate::tls::{ORDER, Running, authority, config, stored, stored_with};

fn valid(line: &CertReport) -> bool {
    line.state == CertState::Valid
}

/// A CA that believes everything.
async fn believing() -> Pebble {
    let mut ca = Pebble::prepare(free_port(), free_port());
    ca.run(&[("PEBBLE_VA_ALWAYS_VALID", "1")]);
    ca
}

fn behind(shim: &Shim, ca: &Pebble, data: Option<&Path>) -> CertsConfig {
    CertsConfig {
        cas: vec![authority(shim.directory(), &shim.listener_root())],
        ..config(ca, data)
    }
}

/// Class of the failure and seconds until the next attempt.
fn failed(running: &Running, outcome: Result<(), ObtainError>) -> (FailureClass, u64) {
    let Err(ObtainError::Failed { retry_at, cause }) = outcome else {
        panic!("{outcome:?}");
    };
    println!("{cause}");
    let totals = running.certs.totals();
    let mut classes = FailureClass::ALL.into_iter();
    let class = classes
        .find(|class| totals.failures_of(*class) > 0)
        .unwrap();
    let wait = retry_at.duration_since(SystemTime::now()).unwrap();
    (class, wait.as_secs())
}

#[tokio::test]
async fn each_answer_to_an_order_has_its_class() {
    use FailureClass as C;
    let problem = |kind: &str, detail: &str| {
        format!(r#"{{"type":"urn:ietf:params:acme:error:{kind}","detail":"{detail}"}}"#)
    };
    let html = "<html>maintenance</html>".to_owned();
    let day = 24 * 3600;
    let ca = believing().await;
    for (head, body, class, seconds) in [
        (
            "429 Slow\r\nRetry-After: 7200",
            problem("rateLimited", "too many"),
            C::Limited,
            7200..=7200,
        ),
        (
            "429 Slow",
            problem("rateLimited", "too many"),
            C::Limited,
            600..=600,
        ),
        (
            "503 Down\r\nRetry-After: 90",
            html.clone(),
            C::Unreachable,
            90..=90,
        ),
        ("503 Down", html.clone(), C::Unreachable, 5..=6),
        (
            "500 Broken",
            problem("serverInternal", "sorry"),
            C::Unreachable,
            5..=6,
        ),
        ("502 Bad", html.clone(), C::Unreachable, 5..=6),
        ("201 Created", "{\"status\":".into(), C::Unreachable, 5..=6),
        (
            "400 Bad",
            problem("badNonce", "again"),
            C::Unreachable,
            5..=6,
        ),
        (
            "400 Bad",
            problem("rejectedIdentifier", "never"),
            C::Rejected,
            day..=day * 6 / 5,
        ),
        (
            "400 Bad",
            problem("malformed", "what"),
            C::Rejected,
            day..=day * 6 / 5,
        ),
        ("403 No", problem("caa", "not us"), C::Caa, 60..=72),
        ("403 No", problem("somethingNew", "no"), C::Refused, 60..=72),
    ] {
        let shim = Shim::start(&ca).await;
        shim.answer("POST /order-plz", 99, head, &body);
        let running = Running::open_with(behind(&shim, &ca, None));
        running.declare(&["a.example.com"], TlsMode::Auto);
        let outcome = running.obtain("a.example.com").await;
        let (found, wait) = failed(&running, outcome);
        assert_eq!(found, class, "{head} {body}");
        let least = seconds.start() - 1;
        assert!(
            (least..=*seconds.end()).contains(&wait),
            "{head} {body}: {wait}"
        );
        // No second order before its time.
        let orders = shim.seen("POST /order-plz");
        running.obtain("a.example.com").await.unwrap_err();
        assert_eq!(shim.seen("POST /order-plz"), orders, "{head} {body}");
    }
    assert_eq!(ca.orders(), 0);
}

#[tokio::test]
async fn what_breaks_once_costs_nothing_but_time() {
    let ca = believing().await;
    let shim = Shim::start(&ca).await;
    let running = Running::open_with(behind(&shim, &ca, None));
    let steps = [
        "GET /dir",
        "POST /sign-me-up",
        "HEAD /nonce-plz",
        "POST /order-plz",
        "POST /authZ/",
        "POST /chalZ/",
        "POST /my-order/",
        "POST /finalize-order/",
        "POST /certZ/",
    ];
    for (number, step) in steps.iter().enumerate() {
        shim.instead(step, 1, Instead::Reset);
        let host = format!("reset{number}.example.com");
        running.declare(&[&host], TlsMode::Auto);
        running
            .obtain(&host)
            .await
            .unwrap_or_else(|why| panic!("{step}: {why}"));
    }
    for (number, step) in steps.iter().enumerate().skip(2) {
        // The CA did it, and we do not know.
        shim.instead(step, 1, Instead::Lost);
        let host = format!("lost{number}.example.com");
        running.declare(&[&host], TlsMode::Auto);
        running
            .obtain(&host)
            .await
            .unwrap_or_else(|why| panic!("{step}: {why}"));
    }
    let bad = r#"{"type":"urn:ietf:params:acme:error:badNonce","detail":"again"}"#;
    for (number, step) in steps.iter().enumerate().skip(3) {
        // More than the library tries.
        shim.answer(step, 3, "400 Bad", bad);
        let host = format!("nonce{number}.example.com");
        running.declare(&[&host], TlsMode::Auto);
        running
            .obtain(&host)
            .await
            .unwrap_or_else(|why| panic!("{step}: {why}"));
    }
    let totals = running.certs.totals();
    assert_eq!(totals.issued as usize, 9 + 7 + 6);
    assert_eq!(ca.accounts(), 1);
}

#[tokio::test]
async fn an_order_is_gone_on_with_after_a_breakdown() {
    let ca = believing().await;
    let steps = ["POST /my-order/", "POST /finalize-order/", "POST /certZ/"];
    // Together, because each takes the five seconds until the next attempt.
    let ca = &ca;
    let all = steps.map(async |step| {
        let shim = Shim::start(ca).await;
        let running = Running::open_with(behind(&shim, ca, None));
        shim.answer(step, 1, "503 Down", "<html>");
        running.declare(&["a.example.com"], TlsMode::Auto);
        running.obtain("a.example.com").await.unwrap_err();
        let patience = Duration::from_secs(20);
        running.until("a.example.com", patience, valid).await;
        assert_eq!(shim.orders().len(), 1, "{step}");
    });
    futures_util::future::join_all(all).await;
}

#[tokio::test]
async fn an_order_is_gone_on_with_after_a_restart() {
    let ports = Ports::bind().await;
    let ca = Pebble::start(ports.http_port(), ports.tls_port());
    for step in [
        "POST /authZ/",
        "POST /chalZ/",
        "POST /my-order/",
        "POST /finalize-order/",
        "POST /certZ/",
    ] {
        let shim = Shim::start(&ca).await;
        let data = tempfile::tempdir().unwrap();
        let before = ca.orders();
        let silent = Arc::new(Notify::new());
        shim.instead(step, 1, Instead::Silence(Arc::clone(&silent)));
        let running = Running::open_with(behind(&shim, &ca, Some(data.path())));
        let server = Responder::start(ports.clone(), &running.certs);
        let host = format!("{}.example.com", before);
        running.declare(&[&host], TlsMode::Eager);
        silent.notified().await;
        let file = format!("{host}.json");
        stored_with(data.path(), &file, |record| record.contains(ORDER)).await;
        running.close().await;
        drop(server);

        let again = Running::open_with(behind(&shim, &ca, Some(data.path())));
        let _server = Responder::start(ports.clone(), &again.certs);
        again.declare(&[&host], TlsMode::Auto);
        again.obtain(&host).await.unwrap();
        assert_eq!(ca.orders() - before, 1, "{step}");
        stored(data.path(), &file).await;
    }
}

#[tokio::test]
async fn an_order_the_ca_has_forgotten_is_made_again() {
    let mut ca = believing().await;
    let shim = Shim::start(&ca).await;
    let data = tempfile::tempdir().unwrap();
    let silent = Arc::new(Notify::new());
    shim.instead("POST /my-order/", 1, Instead::Silence(Arc::clone(&silent)));
    let running = Running::open_with(behind(&shim, &ca, Some(data.path())));
    running.declare(&["a.example.com"], TlsMode::Eager);
    silent.notified().await;
    let open = |record: &str| record.contains(ORDER);
    stored_with(data.path(), "a.example.com.json", open).await;
    running.close().await;
    ca.stop();
    ca.run(&[("PEBBLE_VA_ALWAYS_VALID", "1")]);
    let again = Running::open_with(behind(&shim, &ca, Some(data.path())));
    again.declare(&["a.example.com"], TlsMode::Auto);
    again.obtain("a.example.com").await.unwrap();
    assert_eq!((ca.orders(), ca.accounts()), (2, 2));
}

#[tokio::test]
async fn proven_names_need_no_proof_again() {
    let ports = Ports::bind().await;
    let mut ca = Pebble::prepare_with(ports.http_port(), ports.tls_port(), 12);
    ca.run(&[("PEBBLE_AUTHZREUSE", "100")]);
    let running = Running::open(&ca, None);
    let server = Responder::start(ports, &running.certs);
    running.declare(&["again.example.com"], TlsMode::Auto);
    running.obtain("again.example.com").await.unwrap();
    let first = running.report("again.example.com").not_after;
    // Nothing answers any challenge now.
    drop(server);
    let later = |line: &CertReport| line.not_after > first;
    running
        .until("again.example.com", Duration::from_secs(11), later)
        .await;
}

#[tokio::test]
async fn an_account_the_ca_has_deactivated_is_replaced() {
    let ca = believing().await;
    let shim = Shim::start(&ca).await;
    let data = tempfile::tempdir().unwrap();
    let running = Running::open_with(behind(&shim, &ca, Some(data.path())));
    running.declare(&["a.example.com", "b.example.com"], TlsMode::Auto);
    running.obtain("a.example.com").await.unwrap();
    let gone = r#"{"type":"urn:ietf:params:acme:error:unauthorized",
        "detail":"Account is not valid, has status \"deactivated\""}"#;
    shim.answer("POST /order-plz", 1, "403 No", gone);
    running.obtain("b.example.com").await.unwrap();
    assert_eq!(ca.accounts(), 2);
}

#[tokio::test]
async fn the_next_ca_is_asked_where_it_may_help() {
    let first = believing().await;
    let second = believing().await;
    let shim = Shim::start(&first).await;
    let data = tempfile::tempdir().unwrap();
    let both = || CertsConfig {
        cas: vec![
            authority(shim.directory(), &shim.listener_root()),
            authority(second.directory(), &second.listener_root()),
        ],
        ..config(&first, Some(data.path()))
    };
    let running = Running::open_with(both());
    let limited = r#"{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many"}"#;
    shim.answer(
        "POST /order-plz",
        1,
        "429 Slow\r\nRetry-After: 7200",
        limited,
    );
    running.declare(&["a.example.com", "b.example.com"], TlsMode::Auto);
    running.obtain("a.example.com").await.unwrap();
    assert_eq!((first.orders(), second.orders()), (0, 1));
    // What the limit is on is not known: another name has its own try.
    running.obtain("b.example.com").await.unwrap();
    assert_eq!((first.orders(), second.orders()), (1, 1));
    let told = running.report("a.example.com").last_error.unwrap();
    assert!(
        told.contains("localhost:") && told.contains("too many"),
        "{told}"
    );
    for host in ["a.example.com", "b.example.com"] {
        let kept = |record: &str| record.contains("BEGIN CERTIFICATE");
        let port = match host {
            "a.example.com" => second.port(),
            _ => shim.port(),
        };
        let place = place(data.path(), port);
        stored_with(&place, &format!("{host}.json"), kept).await;
    }
    running.close().await;

    let again = Running::open_with(both());
    again.declare(&["a.example.com", "b.example.com"], TlsMode::Auto);
    for host in ["a.example.com", "b.example.com"] {
        assert_eq!(
            again.report(host).state,
            CertState::Valid,
            "each from where it is"
        );
    }
}

/// Where a CA on that port has its certificates.
fn place(data: &Path, port: u16) -> PathBuf {
    let mut places = std::fs::read_dir(data.join("certificates")).unwrap();
    let of_port = |path: &PathBuf| {
        path.to_string_lossy()
            .contains(&format!("localhost_{port}_"))
    };
    let path = places.find_map(|place| Some(place.unwrap().path()).filter(of_port));
    path.unwrap()
}

#[tokio::test]
async fn a_name_that_points_nowhere_is_not_taken_to_the_next_ca() {
    let first = Pebble::start(free_port(), free_port());
    let second = believing().await;
    let running = Running::open_with(CertsConfig {
        cas: vec![
            authority(first.directory(), &first.listener_root()),
            authority(second.directory(), &second.listener_root()),
        ],
        ..config(&first, None)
    });
    running.declare(&["a.example.com"], TlsMode::Auto);
    let outcome = running.obtain("a.example.com").await;
    assert_eq!(failed(&running, outcome).0, FailureClass::Validation);
    assert_eq!((first.orders(), second.orders()), (2, 0));
}
