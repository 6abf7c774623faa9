//! Several processes, one directory.

use crate::support::pebble::{Pebble, free_port};
use crate::support::wharf::Wharf;

use super::{Shared, hosts, records, wait_ready};

/// The first handshakes come to both at once. What one orders the other serves, and the CA asks the one
/// that has ordered nothing as often as the one that has.
#[tokio::test]
async fn two_processes_make_one_order_for_each_name() {
    let hosts = hosts(6);
    let shared = Shared::of(&hosts);
    let (one, two) = (shared.asked().start(), shared.beside().start());
    [&one, &two].into_iter().for_each(wait_ready);
    let both = tokio::join!(
        shared.handshakes(&one, &hosts),
        shared.handshakes(&two, &hosts)
    );
    for shaken in both.0.into_iter().chain(both.1) {
        shaken.unwrap();
    }
    assert_eq!((shared.ca.orders(), shared.ca.accounts()), (6, 1));
    // The log comes by a pipe.
    crate::support::eventually("six lines of the log", PATIENCE, || {
        let by_both = [&one, &two].map(obtained);
        let all = by_both.iter().sum::<usize>() == 6;
        all.then_some(()).ok_or_else(|| format!("{by_both:?}"))
    });
    assert_eq!(records(shared.data.path()).len(), 6);
}

/// All requests of the CA reach the process that did not order.
#[tokio::test]
async fn the_ca_may_ask_the_other_process() {
    let hosts = hosts(2);
    let shared = Shared::of(&hosts);
    let (asked, orders) = (shared.asked().start(), shared.beside().start());
    [&asked, &orders].into_iter().for_each(wait_ready);
    for shaken in shared.handshakes(&orders, &hosts).await {
        shaken.unwrap();
    }
    crate::support::eventually("both lines of the log", PATIENCE, || {
        let two = obtained(&orders) == 2;
        two.then_some(())
            .ok_or_else(|| orders.log_lines().join("\n"))
    });
    assert_eq!(obtained(&asked), 0);
    assert_eq!(shared.ca.orders(), 2);
    // Nothing is left of a challenge that is over.
    let left = || std::fs::read_dir(shared.data.path().join("challenges")).unwrap();
    crate::support::eventually("an end of the challenges", PATIENCE, || {
        let left: Vec<_> = left().flatten().collect();
        left.is_empty()
            .then_some(())
            .ok_or_else(|| format!("{left:?}"))
    });
}

#[tokio::test]
async fn the_ca_may_ask_the_other_process_by_tls_alpn_01() {
    let hosts = hosts(1);
    let https = free_port();
    let nobody = free_port();
    let shared = Shared::with(Pebble::start(nobody, https), free_port(), https, &hosts);
    let (asked, orders) = (shared.asked().start(), shared.beside().start());
    [&asked, &orders].into_iter().for_each(wait_ready);
    for shaken in shared.handshakes(&orders, &hosts).await {
        shaken.unwrap();
    }
    assert!(
        orders
            .wait_log("certificate obtained")
            .contains("TLS-ALPN-01")
    );
    assert_eq!(obtained(&asked), 0);
}

/// What one has learnt of a refusal the other does not find out again.
#[tokio::test]
async fn a_back_off_holds_for_both() {
    let hosts = vec!["blocked.example.com".to_owned()];
    let shared = Shared::of(&hosts);
    let (one, two) = (shared.asked().start(), shared.beside().start());
    [&one, &two].into_iter().for_each(wait_ready);
    assert!(shared.handshakes(&one, &hosts).await[0].is_err());
    crate::tls::stored(shared.data.path(), "blocked.example.com.json").await;
    assert!(shared.handshakes(&two, &hosts).await[0].is_err());
    let told = two.wait_log("no certificate");
    assert!(told.contains("failures=1"), "{told}");
    assert!(!shared.ca.log().contains("Added order"));
}

fn obtained(wharf: &Wharf) -> usize {
    let log = wharf.log_lines();
    log.iter()
        .filter(|line| line.contains("certificate obtained"))
        .count()
}

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);
