//! Killed in the middle of an order, or of a write: the store is as good as before, and what was lost is
//! made again.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use crate::support::eventually;
use crate::support::wharf::Builder;

use super::{Shared, hosts, records, wait_ready};

/// Whenever it is killed, the next start serves what had been stored, and nothing is corrupt.
#[tokio::test]
async fn killed_at_any_moment() {
    let hosts = hosts(KILLS * NEW);
    let shared = Shared::of(&hosts);
    for round in 0..KILLS {
        let wharf = shared.asked().start();
        wait_ready(&wharf);
        let known = records(shared.data.path()).len();
        let new = &hosts[round * NEW..][..NEW];
        let word = RandomState::new().hash_one(round);
        let moment = Duration::from_micros(word % MOMENT_MOST);
        let handshakes = shared.handshakes(&wharf, new);
        let killed = tokio::time::timeout(moment, handshakes).await;
        drop(wharf);
        let stored = records(shared.data.path()).len();
        println!(
            "killed after {moment:?}, {known} -> {stored} stored, done: {}",
            killed.is_ok()
        );
        assert!(stored >= known);
    }
    heals(&shared, &hosts).await;
    // Each order that was cut off is made once more, no other is.
    assert!(
        shared.ca.orders() <= 2 * hosts.len(),
        "{}",
        shared.ca.orders()
    );
}

/// At each step of a write. A start makes the first of these calls itself, but for `fsync`: it tries
/// whether the directory can be written, and has a lock for the built-in CA.
#[tokio::test]
async fn killed_at_each_step_of_a_write() {
    let steps = [
        ("fsync", 1),
        ("fsync", 2),
        ("fsync", 3),
        ("rename", 2),
        ("rename", 3),
        ("rename", 4),
        ("unlink", 3),
    ];
    let hosts = hosts(1 + steps.len() * 2);
    let (first, rest) = hosts.split_first().unwrap();
    let shared = Shared::of(&hosts);
    // So that what is written in the rounds is certificates and challenges alone.
    let wharf = shared.asked().start();
    wait_ready(&wharf);
    let shaken = shared.handshakes(&wharf, std::slice::from_ref(first)).await;
    shaken[0].as_ref().unwrap();
    crate::tls::stored(shared.data.path(), &format!("{first}.json")).await;
    drop(wharf);
    let mut killed = 0;
    for ((call, time), new) in steps.into_iter().zip(rest.chunks(2)) {
        let known = records(shared.data.path()).len();
        let mut wharf = killing(shared.asked(), call, time).start();
        wait_ready(&wharf);
        let _ = shared.handshakes(&wharf, new).await;
        let stored = || records(shared.data.path()).len();
        let ended = eventually("the end, or both stored", PATIENCE, || {
            let ended = wharf.has_exited();
            (ended || stored() == known + 2)
                .then_some(ended)
                .ok_or_else(String::new)
        });
        println!(
            "{call} {time}: {known} -> {} stored, killed: {ended}",
            stored()
        );
        assert!(stored() >= known);
        killed += usize::from(ended);
    }
    // Which thread makes which call differs.
    assert!(killed >= steps.len() / 2, "{killed}");
    heals(&shared, &hosts).await;
}

/// A start after all of it has every name, from the store or from the CA, and nothing was corrupt.
async fn heals(shared: &Shared, hosts: &[String]) {
    let wharf = shared.asked().start();
    wait_ready(&wharf);
    for shaken in shared.handshakes(&wharf, hosts).await {
        shaken.unwrap();
    }
    let log = wharf.log_lines();
    assert!(!log.iter().any(|line| line.contains("corrupt")));
    for host in hosts {
        crate::tls::stored(shared.data.path(), &format!("{host}.json")).await;
        assert!(shared.file(&format!("{host}.json.corrupt")).is_none());
    }
    let orders = shared.ca.orders();
    assert!(wharf.stop().success());
    let wharf = shared.asked().start();
    wait_ready(&wharf);
    for shaken in shared.handshakes(&wharf, hosts).await {
        shaken.unwrap();
    }
    assert_eq!(shared.ca.orders(), orders, "all of it was stored");
}

/// SIGKILL when a thread makes `call` for that time.
fn killing(builder: Builder, call: &str, time: usize) -> Builder {
    let inject = format!("inject={call}:signal=KILL:when={time}");
    // Wharf stays the direct child, strace goes with it.
    builder.under(&[
        "strace",
        "-D",
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        &inject,
    ])
}

const PATIENCE: Duration = Duration::from_secs(10);
const KILLS: usize = 12;
const NEW: usize = 3;
/// An order with Pebble and its write are over by then, mostly.
const MOMENT_MOST: u64 = 250_000;
