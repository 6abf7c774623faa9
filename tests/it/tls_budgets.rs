//! What keeps a name from being locked out: budgets, rehearsals, and what restarts do not reset.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use wharf::model::TlsMode;
use wharf::tls::{CertReport, CertState, CertsConfig, FailureClass, Limits, ObtainError};

use crate::support::pebble::{Pebble, free_port};
use crate::support::responder::{Ports, Responder};
use crate::tls::{Running, authority, config, find, settled, stored, stored_with, walk};

fn failed(line: &CertReport) -> bool {
    line.state == CertState::Failed
}

/// As if the back-off were over.
fn let_time_pass(data: &Path, host: &str) {
    let file = format!("{host}.json");
    let mut record: Value = serde_json::from_str(&walk(data, &file)).unwrap();
    record["history"]["not_before"] = 0.into();
    std::fs::write(find(data, &file).unwrap(), record.to_string()).unwrap();
}

#[tokio::test]
async fn fifty_restarts_with_dns_pointing_nowhere() {
    let ca = Pebble::start(free_port(), free_port());
    let data = tempfile::tempdir().unwrap();
    let host = "nowhere.example.com";
    for restart in 0..50 {
        let running = Running::open(&ca, Some(data.path()));
        running.declare(&[host], TlsMode::Eager);
        if restart % 2 == 0 {
            running.until(host, Duration::from_secs(20), failed).await;
        } else {
            // In the middle of whatever it does.
            tokio::time::sleep(Duration::from_millis(restart)).await;
        }
        running.close().await;
        if restart == 0 {
            let told = |record: &str| record.contains("not_before\": 1");
            stored_with(data.path(), &format!("{host}.json"), told).await;
        }
    }
    // One for each challenge; the next is due in a minute, and the test may take so long.
    let orders = ca.orders();
    assert!((2..=4).contains(&orders), "{orders}");
    println!("orders in 50 restarts: {orders}");
}

#[tokio::test]
async fn a_lost_volume_costs_one_certificate_for_each_name() {
    let mut ca = Pebble::prepare(free_port(), free_port());
    ca.run(&[("PEBBLE_VA_ALWAYS_VALID", "1")]);
    let hosts = ["a.example.com", "b.example.com", "c.example.com"];
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for (volume, orders) in [(&first, 3), (&first, 3), (&second, 6), (&second, 6)] {
        let running = Running::open(&ca, Some(volume.path()));
        running.declare(&hosts, TlsMode::Eager);
        for host in hosts {
            running.obtain(host).await.unwrap();
            stored(volume.path(), &format!("{host}.json")).await;
        }
        running.close().await;
        assert_eq!(ca.orders(), orders);
    }
}

#[tokio::test]
async fn after_a_failure_the_next_try_does_not_count() {
    let ports = Ports::bind().await;
    let ca = Pebble::start(ports.http_port(), ports.tls_port());
    let staging = Pebble::start(ports.http_port(), ports.tls_port());
    let data = tempfile::tempdir().unwrap();
    let config = || {
        let mut ca = authority(ca.directory(), &ca.listener_root());
        let twin = authority(staging.directory(), &staging.listener_root());
        ca.roots.extend(twin.roots);
        ca.staging = Some(twin.directory);
        let cas = vec![ca];
        CertsConfig {
            cas,
            ..config(&staging, Some(data.path()))
        }
    };
    let host = "trial.example.com";
    let file = format!("{host}.json");
    // Whoever answers knows of no challenge: the first failures count.
    let stranger = Running::open(&staging, None);
    let deaf = Responder::start(ports.clone(), &stranger.certs);
    let running = Running::open_with(config());
    running.declare(&[host], TlsMode::Auto);
    running.obtain(host).await.unwrap_err();
    assert_eq!((ca.orders(), staging.orders()), (2, 0));
    stored(data.path(), &file).await;
    running.close().await;

    // Still the same: that is found out elsewhere.
    let_time_pass(data.path(), host);
    let running = Running::open_with(config());
    running.declare(&[host], TlsMode::Auto);
    let outcome = running.obtain(host).await;
    let Err(ObtainError::Failed { cause, .. }) = outcome else {
        panic!("{outcome:?}");
    };
    assert!(cause.starts_with("in a rehearsal: HTTP-01: "), "{cause}");
    assert_eq!((ca.orders(), staging.orders()), (2, 2));
    stored_with(data.path(), &file, |record| record.contains("rehearsal")).await;
    running.close().await;

    // Now it is mended.
    drop(deaf);
    let_time_pass(data.path(), host);
    let running = Running::open_with(config());
    let _server = Responder::start(ports, &running.certs);
    running.declare(&[host], TlsMode::Auto);
    running.obtain(host).await.unwrap();
    assert_eq!((ca.orders(), staging.orders()), (3, 3));
}

#[tokio::test]
async fn limits_are_not_reached_and_not_forgotten() {
    let mut ca = Pebble::prepare(free_port(), free_port());
    ca.run(&[("PEBBLE_VA_ALWAYS_VALID", "1")]);
    let data = tempfile::tempdir().unwrap();
    let config = || {
        let mut one = authority(ca.directory(), &ca.listener_root());
        one.limits = Some(Limits {
            per_domain: 3,
            per_name: 2,
            orders: 100,
        });
        let cas = vec![one];
        CertsConfig {
            cas,
            ..config(&ca, Some(data.path()))
        }
    };
    let running = Running::open_with(config());
    let hosts = ["a.example.com", "b.example.com", "c.example.com"];
    let all = [
        "a.example.com",
        "b.example.com",
        "c.example.com",
        "d.example.com",
        "d.example.org",
    ];
    running.declare(&all, TlsMode::Auto);
    for host in hosts {
        running.obtain(host).await.unwrap();
    }
    let held = |outcome: Result<(), ObtainError>| match outcome {
        Err(ObtainError::Failed { cause, retry_at }) => {
            let wait = retry_at.duration_since(std::time::SystemTime::now());
            let days = wait.unwrap().as_secs() as f64 / 86_400.0;
            assert!((6.9..7.1).contains(&days), "{days}");
            cause.to_string()
        }
        other => panic!("{other:?}"),
    };
    let cause = held(running.obtain("d.example.com").await);
    assert!(
        cause.contains("3 new certificates below example.com"),
        "{cause}"
    );
    running.obtain("d.example.org").await.unwrap();
    assert_eq!(ca.orders(), 4);
    assert_eq!(
        running.certs.totals().failures_of(FailureClass::HeldBack),
        1
    );
    let kept = |budget: &str| budget.contains("d.example.org");
    stored_with(data.path(), "budget.json", kept).await;
    for host in hosts.into_iter().chain(["d.example.org"]) {
        settled(data.path(), &format!("{host}.json")).await;
    }
    running.close().await;

    // The certificates are lost, the account is not.
    std::fs::remove_dir_all(data.path().join("certificates")).unwrap();
    let running = Running::open_with(config());
    running.declare(&all, TlsMode::Auto);
    held(running.obtain("a.example.com").await);
    assert_eq!(ca.orders(), 4);
}

#[tokio::test]
async fn a_handshake_that_waits_goes_before_what_nobody_waits_for() {
    let mut ca = Pebble::prepare(free_port(), free_port());
    ca.run(&[("PEBBLE_VA_ALWAYS_VALID", "1")]);
    let running = Running::open(&ca, None);
    let hosts: Vec<_> = (0..30).map(|n| format!("h{n:02}.example.com")).collect();
    let hosts: Vec<_> = hosts.iter().map(String::as_str).collect();
    running.declare(&hosts, TlsMode::Eager);
    // The last in order of name; background orders are ten in ten seconds.
    running.obtain("h29.example.com").await.unwrap();
    let lines = running.certs.report();
    let valid = lines.iter().filter(|line| line.state == CertState::Valid);
    let valid = valid.count();
    assert!(valid <= 11, "{valid}");
}
