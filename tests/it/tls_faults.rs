//! Certificates from Pebble: what fails, and comes back.

use std::path::Path;
use std::time::{Duration, Instant};

use wharf::model::TlsMode;
use wharf::tls::{CertReport, CertState, ObtainError, Wanted};

use crate::support::pebble::{Pebble, free_port};
use crate::support::responder::{Ports, Responder, handshake};
use crate::support::scripted_ca::ScriptedCa;
use crate::tls::{Running, authority, config, find, pattern, settled, stored, walk};

fn valid(line: &CertReport) -> bool {
    line.state == CertState::Valid
}

#[tokio::test]
async fn back_off_answers_at_once_and_survives_a_restart() {
    let ca = Pebble::start(free_port(), free_port());
    let data = tempfile::tempdir().unwrap();
    let running = Running::open(&ca, Some(data.path()));
    running.declare(&["nobody.example.com"], TlsMode::Auto);
    let refused = running.obtain("nobody.example.com").await;
    let Err(ObtainError::Failed { cause, .. }) = &refused else {
        panic!("{refused:?}");
    };
    println!("{cause}");
    assert!(
        cause.contains("HTTP-01: ") && cause.contains("TLS-ALPN-01: "),
        "{cause}"
    );
    assert!(cause.contains("(connection)"), "{cause}");
    assert_eq!(ca.orders(), 2, "one for each challenge");

    let started = Instant::now();
    assert_eq!(running.obtain("nobody.example.com").await, refused);
    assert!(started.elapsed() < Duration::from_millis(50));
    assert_eq!(
        running.report("nobody.example.com").state,
        CertState::Failed
    );

    let record = "nobody.example.com.json";
    stored(data.path(), record).await;
    running.close().await;
    let again = Running::open(&ca, Some(data.path()));
    again.declare(&["nobody.example.com"], TlsMode::Eager);
    let Err(ObtainError::Failed { cause: later, .. }) = again.obtain("nobody.example.com").await
    else {
        panic!("the back-off is forgotten");
    };
    assert_eq!(later, *cause);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(ca.orders(), 2);
}

#[tokio::test]
async fn a_ca_that_is_down_blocks_nothing_and_is_tried_again() {
    let ports = Ports::bind().await;
    let mut ca = Pebble::prepare(ports.http_port(), ports.tls_port());
    let started = Instant::now();
    let running = Running::open(&ca, None);
    println!("opened in {:?}", started.elapsed());
    let _server = Responder::start(ports, &running.certs);
    running.declare(&["late.example.com"], TlsMode::Auto);
    let refused = running.obtain("late.example.com").await;
    assert!(
        matches!(&refused, Err(ObtainError::Failed { .. })),
        "{refused:?}"
    );
    println!("{}", refused.unwrap_err());
    ca.run(&[]);
    running
        .until("late.example.com", Duration::from_secs(15), valid)
        .await;
    assert_eq!(running.report("late.example.com").last_error, None);
}

#[tokio::test]
async fn refused_nonces_cost_nothing_but_time() {
    let ports = Ports::bind().await;
    let mut ca = Pebble::prepare(ports.http_port(), ports.tls_port());
    ca.run(&[("PEBBLE_WFE_NONCEREJECT", "20")]);
    let running = Running::open(&ca, None);
    let _server = Responder::start(ports, &running.certs);
    let hosts: Vec<_> = (0..10).map(|n| format!("n{n}.example.com")).collect();
    let hosts: Vec<_> = hosts.iter().map(String::as_str).collect();
    running.declare(&hosts, TlsMode::Auto);
    for outcome in
        futures_util::future::join_all(hosts.iter().map(|host| running.obtain(host))).await
    {
        outcome.unwrap();
    }
}

#[tokio::test]
async fn a_restart_serves_from_disk_without_the_ca() {
    let ports = Ports::bind().await;
    let mut ca = Pebble::start(ports.http_port(), ports.tls_port());
    let data = tempfile::tempdir().unwrap();
    let running = Running::open(&ca, Some(data.path()));
    let _server = Responder::start(ports, &running.certs);
    let hosts = ["good.example.com", "bad.example.com"];
    running.declare(&hosts, TlsMode::Auto);
    for host in hosts {
        running.obtain(host).await.unwrap();
        settled(data.path(), &format!("{host}.json")).await;
    }
    running.close().await;
    ca.stop();
    let bad = find(data.path(), "bad.example.com.json").unwrap();
    let good = walk(data.path(), "good.example.com.json");
    std::fs::write(&bad, good.replace("good.example.com", "bad.example.com")).unwrap();

    let again = Running::open(&ca, Some(data.path()));
    assert!(
        again
            .certs
            .current()
            .find(&pattern("good.example.com"))
            .is_some()
    );
    assert!(
        again
            .certs
            .current()
            .find(&pattern("bad.example.com"))
            .is_none()
    );
    assert!(!bad.exists() && find(data.path(), "bad.example.com.json.corrupt").is_some());
    let aside = again.certs.store_report().aside;
    assert!(aside.len() == 1 && aside[0].0.ends_with("/bad.example.com.json"));
    assert!(aside[0].1.contains("not for bad.example.com"), "{aside:?}");
    again.declare(&hosts, TlsMode::Auto);
    again.obtain("good.example.com").await.unwrap();
}

/// Gives the record of `host` the key of another name's; returns the chain that does not fit it.
fn mismatch(data: &Path, host: &str, other: &str) -> String {
    let read = |host: &str| -> serde_json::Value {
        serde_json::from_str(&walk(data, &format!("{host}.json"))).unwrap()
    };
    let mut record = read(host);
    record["key"] = read(other)["key"].clone();
    let path = find(data, &format!("{host}.json")).unwrap();
    std::fs::write(path, record.to_string()).unwrap();
    record["chain"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_key_that_does_not_fit_costs_the_first_handshake_a_new_order() {
    let ports = Ports::bind().await;
    let tls = ports.tls_port();
    let ca = Pebble::start(ports.http_port(), tls);
    let root = ca.issuing_root();
    let data = tempfile::tempdir().unwrap();
    let hosts = ["good.example.com", "bad.example.com"];
    let running = Running::open(&ca, Some(data.path()));
    let server = Responder::start(ports.clone(), &running.certs);
    running.declare(&hosts, TlsMode::Auto);
    for host in hosts {
        handshake(host, tls, &root).await.unwrap();
        settled(data.path(), &format!("{host}.json")).await;
    }
    running.close().await;
    drop(server);
    let chain = mismatch(data.path(), "bad.example.com", "good.example.com");

    let again = Running::open(&ca, Some(data.path()));
    let _server = Responder::start(ports, &again.certs);
    again.declare(&hosts, TlsMode::Auto);
    // Two at once: neither is locked out, and one order is enough.
    let both = tokio::join!(
        handshake("bad.example.com", tls, &root),
        handshake("bad.example.com", tls, &root)
    );
    assert!(both.0.is_ok() && both.1.is_ok());
    handshake("good.example.com", tls, &root).await.unwrap();
    assert_eq!(ca.orders(), 3);
    let aside = walk(data.path(), "bad.example.com.json.corrupt");
    let aside: serde_json::Value = serde_json::from_str(&aside).unwrap();
    assert_eq!(aside["chain"], chain, "nothing is lost");
    let renewed = stored(data.path(), "bad.example.com.json").await;
    assert!(!renewed.contains(aside["key"].as_str().unwrap()));
    again.close().await;
    let third = Running::open(&ca, Some(data.path()));
    third.declare(&hosts, TlsMode::Auto);
    third.obtain("bad.example.com").await.unwrap();
    assert_eq!(ca.orders(), 3);
}

#[tokio::test]
async fn a_key_that_does_not_fit_is_found_without_a_visitor() {
    let ports = Ports::bind().await;
    let ca = Pebble::start(ports.http_port(), ports.tls_port());
    let data = tempfile::tempdir().unwrap();
    let running = Running::open(&ca, Some(data.path()));
    let hosts = ["good.example.com", "eager.example.com", "auto.example.com"];
    let server = Responder::start(ports.clone(), &running.certs);
    running.declare(&hosts, TlsMode::Auto);
    for host in hosts {
        running.obtain(host).await.unwrap();
        settled(data.path(), &format!("{host}.json")).await;
    }
    running.close().await;
    drop(server);
    for host in &hosts[1..] {
        mismatch(data.path(), host, "good.example.com");
    }

    let again = Running::open(&ca, Some(data.path()));
    let _server = Responder::start(ports, &again.certs);
    let wanted = [("eager", TlsMode::Eager), ("auto", TlsMode::Auto)];
    let wanted =
        wanted.map(|(word, mode)| Wanted::new(pattern(&format!("{word}.example.com")), mode));
    again.certs.declare(wanted.to_vec());
    for host in &hosts[1..] {
        stored(data.path(), &format!("{host}.json.corrupt")).await;
    }
    // Ordered again as its label asks; the other when somebody comes.
    stored(data.path(), "eager.example.com.json").await;
    again
        .until("eager.example.com", Duration::from_secs(5), valid)
        .await;
    assert_eq!(again.report("auto.example.com").state, CertState::Waiting);
    let good = pattern("good.example.com");
    assert!(again.certs.current().find(&good).is_some());
    assert_eq!(ca.orders(), 4);
    again.obtain("auto.example.com").await.unwrap();
    assert_eq!(ca.orders(), 5);
}

#[tokio::test]
async fn the_account_is_kept_and_made_anew_when_the_ca_forgot_it() {
    let ports = Ports::bind().await;
    let mut ca = Pebble::start(ports.http_port(), ports.tls_port());
    let data = tempfile::tempdir().unwrap();
    let running = Running::open(&ca, Some(data.path()));
    running.declare(&["one.example.com"], TlsMode::Auto);
    let _first = Responder::start(ports, &running.certs);
    running.obtain("one.example.com").await.unwrap();
    let account = walk(data.path(), "account.json");
    running.declare(&["one.example.com", "two.example.com"], TlsMode::Auto);
    running.obtain("two.example.com").await.unwrap();
    assert_eq!(ca.accounts(), 1);

    ca.stop();
    ca.run(&[]);
    running.declare(&["three.example.com"], TlsMode::Auto);
    running.obtain("three.example.com").await.unwrap();
    assert_eq!(ca.accounts(), 2);
    assert_ne!(walk(data.path(), "account.json"), account);
    running.close().await;
}

#[tokio::test]
async fn a_restored_account_orders_again() {
    let ports = Ports::bind().await;
    let mut ca = Pebble::prepare(ports.http_port(), ports.tls_port());
    // Both processes of this test validate without a server of their own.
    ca.run(&[("PEBBLE_VA_ALWAYS_VALID", "1")]);
    let data = tempfile::tempdir().unwrap();
    for host in ["before.example.com", "after.example.com"] {
        let running = Running::open(&ca, Some(data.path()));
        running.declare(&[host], TlsMode::Auto);
        running.obtain(host).await.unwrap();
        running.close().await;
    }
    assert_eq!((ca.accounts(), ca.orders()), (1, 2));
}

#[tokio::test]
async fn two_processes_on_one_store_make_one_order() {
    let ports = Ports::bind().await;
    let mut ca = Pebble::prepare(ports.http_port(), ports.tls_port());
    ca.run(&[("PEBBLE_VA_ALWAYS_VALID", "1")]);
    let data = tempfile::tempdir().unwrap();
    let one = Running::open(&ca, Some(data.path()));
    let two = Running::open(&ca, Some(data.path()));
    for running in [&one, &two] {
        running.declare(&["shared.example.com"], TlsMode::Auto);
    }
    let both = tokio::join!(
        one.obtain("shared.example.com"),
        two.obtain("shared.example.com")
    );
    assert_eq!(both, (Ok(()), Ok(())));
    assert_eq!((ca.accounts(), ca.orders()), (1, 1));
}

#[tokio::test]
async fn a_name_the_ca_never_issues_waits_a_day() {
    let ca = Pebble::start(free_port(), free_port());
    let running = Running::open(&ca, None);
    running.declare(&["blocked.example.com"], TlsMode::Auto);
    let refused = running.obtain("blocked.example.com").await.unwrap_err();
    let ObtainError::Failed { cause, retry_at } = refused else {
        panic!("{refused:?}");
    };
    assert!(cause.contains("(rejectedIdentifier)"), "{cause}");
    let wait = retry_at
        .duration_since(std::time::SystemTime::now())
        .unwrap();
    assert!(wait > Duration::from_secs(23 * 3600));
}

#[tokio::test]
async fn a_name_that_is_withdrawn_during_its_order_needs_no_other_one() {
    let ports = Ports::bind().await;
    let ca = Pebble::start(ports.http_port(), ports.tls_port());
    let data = tempfile::tempdir().unwrap();
    let running = Running::open(&ca, Some(data.path()));
    let host = "brief.example.com";
    running.declare(&[host], TlsMode::Auto);
    // Nobody answers the CA yet.
    let waits = running.obtain(host);
    let withdrawn = async {
        while ca.orders() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        running.declare(&[], TlsMode::Auto);
        Responder::start(ports, &running.certs)
    };
    let (outcome, _server) = tokio::join!(waits, withdrawn);
    assert!(
        matches!(outcome, Ok(()) | Err(ObtainError::Undeclared)),
        "{outcome:?}"
    );
    assert_eq!(running.obtain(host).await, Err(ObtainError::Undeclared));
    stored(data.path(), &format!("{host}.json")).await;
    running.declare(&[host], TlsMode::Auto);
    assert_eq!(running.obtain(host).await, Ok(()));
    assert_eq!(ca.orders(), 1);
}

#[tokio::test]
async fn a_certificate_that_ended_on_disk_is_served_until_there_is_another() {
    let ports = Ports::bind().await;
    let mut ca = Pebble::prepare_with(ports.http_port(), ports.tls_port(), 3);
    ca.run(&[]);
    let data = tempfile::tempdir().unwrap();
    let host = "old.example.com";
    let running = Running::open(&ca, Some(data.path()));
    let server = Responder::start(ports.clone(), &running.certs);
    running.declare(&[host], TlsMode::Auto);
    assert_eq!(running.obtain(host).await, Ok(()));
    stored(data.path(), &format!("{host}.json")).await;
    let end = running.report(host).not_after.unwrap();
    drop(server);
    running.close().await;
    ca.stop();
    let left = end.duration_since(std::time::SystemTime::now());
    tokio::time::sleep(left.unwrap_or_default() + Duration::from_millis(10)).await;

    let running = Running::open(&ca, Some(data.path()));
    let _server = Responder::start(ports, &running.certs);
    running.declare(&[host], TlsMode::Auto);
    assert_eq!(running.obtain(host).await, Ok(()), "better than none");
    running
        .until(host, Duration::from_secs(15), |line| {
            line.last_error.is_some()
        })
        .await;
    assert_eq!(running.report(host).state, CertState::Expired);
    assert_eq!(running.obtain(host).await, Ok(()));
    ca.run(&[]);
    let before = running.report(host).not_after;
    running
        .until(host, Duration::from_secs(30), |line| {
            line.not_after > before
        })
        .await;
}

#[tokio::test]
async fn the_hold_ends_and_the_order_goes_on() {
    let ports = Ports::bind().await;
    let ca = Pebble::start(ports.http_port(), ports.tls_port());
    let hold = Duration::from_millis(2);
    let running = Running::open_with(wharf::tls::CertsConfig {
        hold,
        ..config(&ca, None)
    });
    let _server = Responder::start(ports, &running.certs);
    running.declare(&["slow.example.com"], TlsMode::Auto);
    let refused = running.obtain("slow.example.com").await;
    assert_eq!(refused, Err(ObtainError::Deadline(hold)));
    running
        .until("slow.example.com", Duration::from_secs(5), valid)
        .await;
}

#[tokio::test]
async fn bad_answers_of_the_ca_are_survived_and_told() {
    let slow = r#"{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many accounts"}"#;
    let html = "<html>maintenance</html>";
    let huge = "x".repeat(2 << 20);
    let answer = |head: &str, body: &str| {
        let length = body.len();
        format!("HTTP/1.1 {head}\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
    };
    for (bytes, told, seconds) in [
        (
            answer("429 Slow\r\nRetry-After: 7200", slow),
            "too many accounts",
            7200,
        ),
        (
            answer("503 Down\r\nRetry-After: 90", html),
            "the CA answered 503",
            90,
        ),
        (answer("500 Broken", html), "the CA's answer is no JSON", 5),
        (answer("201 Created", &huge), "length limit exceeded", 5),
        (b"nonsense\r\n\r\n".to_vec(), "talking to the CA", 5),
    ] {
        let ca = ScriptedCa::start(bytes).await;
        let running = Running::open_with(wharf::tls::CertsConfig {
            data: None,
            own: None,
            ca_names: Vec::new(),
            cas: vec![authority(ca.directory(), &ca.listener_root())],
            http_01: true,
            email: None,
            dns: Vec::new(),
            dns_resolvers: Vec::new(),
            dns_wait: wharf::tls::CertsConfig::DNS_WAIT,
            hold: Duration::from_secs(5),
        });
        running.declare(&["a.example.com", "b.example.com"], TlsMode::Auto);
        let refused = running.obtain("a.example.com").await.unwrap_err();
        let ObtainError::Failed { cause, retry_at } = &refused else {
            panic!("{told}: {refused:?}");
        };
        assert!(cause.contains(told), "{cause}");
        let wait = retry_at
            .duration_since(std::time::SystemTime::now())
            .unwrap();
        assert!(wait.as_secs().abs_diff(seconds) <= 2, "{told}: {wait:?}");
        let posts = ca.posts();
        assert_eq!(running.obtain("a.example.com").await.unwrap_err(), refused);
        if seconds == 7200 {
            // The limit is on the account: no other name asks for one either.
            running.obtain("b.example.com").await.unwrap_err();
        }
        assert_eq!(ca.posts(), posts, "{told}");
    }
}
