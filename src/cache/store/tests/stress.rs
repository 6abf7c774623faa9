//! Many threads at once.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::super::{Followed, Miss, OnDisk, Purge, Response};
use super::*;

/// What a client does: finds, waits or fetches. Nothing if it gave up.
async fn get(
    bench: &Bench,
    key: &str,
    fetches: &AtomicU64,
    version: u64,
    len: usize,
) -> Option<Vec<u8>> {
    let bytes = bench.store.key(key.as_bytes(), host(key), &bench.owner);
    for _ in 0..100 {
        let request = &mut Request::default();
        let miss = match bench.store.find(&bytes, bench.now, request) {
            Found::Memory { object, .. } => return whole(bench.store.reader(&object)).await,
            Found::Disk { object, .. } => match load(object).await {
                Ok(object) => return whole(bench.store.reader(&object)).await,
                Err(miss) => miss,
            },
            Found::Miss(miss) => miss,
        };
        match bench.store.begin(&bytes, &miss, bench.now) {
            Begin::Lead(fill) => return fetch(bench, fill, fetches, version, len).await,
            Begin::Follow(mut follower) => match follower.wait(request).await {
                Followed::Reader(reader) => return whole(reader).await,
                Followed::Object(object) => return whole(bench.store.reader(&object)).await,
                Followed::Lead(fill) => return fetch(bench, fill, fetches, version, len).await,
                Followed::Released => return None,
                Followed::Other(_) | Followed::Again => {}
            },
            Begin::Again => {}
            Begin::Pass => return None,
        }
    }
    panic!("it goes round in circles");
}

async fn load(mut object: OnDisk) -> Result<Arc<Object>, Miss> {
    object.read().await.ok_or_else(|| object.miss())
}

/// Bodies begin with what they are made from.
async fn fetch(
    bench: &Bench,
    fill: Fill,
    fetches: &AtomicU64,
    version: u64,
    len: usize,
) -> Option<Vec<u8>> {
    match fetches.fetch_add(1, Relaxed) % 16 {
        1 => return None, // The app fails: a follower takes over.
        2 => {
            fill.refuse(bench.now);
            return None;
        }
        _ => {}
    }
    let bytes = made(version, len);
    let length = (version.is_multiple_of(2)).then_some(bytes.len() as u64);
    let mut filling = fill
        .start(&Response {
            length,
            ..Response::default()
        })
        .ok()?;
    let reader = filling.reader();
    for (number, piece) in bytes.chunks(40_000).enumerate() {
        if version % 13 == 7 && number == 2 {
            return None; // It breaks off.
        }
        filling.push(piece).await.ok()?;
        tokio::task::yield_now().await;
    }
    filling.finish(bench.now);
    whole(reader).await
}

async fn whole(mut reader: Reader) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(bytes) = reader.next().await {
        body.extend_from_slice(&bytes.ok()?);
    }
    Some(body)
}

fn made(version: u64, len: usize) -> Vec<u8> {
    let mut bytes = version.to_le_bytes().to_vec();
    bytes.extend(body(version, len));
    bytes
}

fn check(bytes: &[u8], len: usize) {
    let version = u64::from_le_bytes(bytes[..8].try_into().expect("a version"));
    assert!(bytes == made(version, len), "a body that nobody has sent");
}

#[test]
fn threads_that_fetch_read_and_purge_get_whole_bodies_only() {
    let directory = tempfile::tempdir().expect("a directory");
    let bench = Bench::new(LIMITS, Some(directory.path()));
    let versions = AtomicU64::new(0);
    let fetches = AtomicU64::new(0);
    let served = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let (bench, versions, fetches, served) = (&bench, &versions, &fetches, &served);
            scope.spawn(move || {
                block(async {
                    let client = |at: u64| async move {
                        // Some in memory, some on disk; some often, some rarely.
                        let number = (at * at + thread) % 23;
                        let len = if number.is_multiple_of(3) {
                            400_000
                        } else {
                            3_000 * number as usize
                        };
                        let key = format!("a.test/{number}");
                        let version = versions.fetch_add(1, Relaxed);
                        if version.is_multiple_of(41) {
                            bench.store.invalidate(key.as_bytes());
                        }
                        if version.is_multiple_of(301) {
                            bench.store.purge(Purge::All).await;
                        }
                        if let Some(bytes) = get(bench, &key, fetches, version, len).await {
                            check(&bytes, len);
                            served.fetch_add(1, Relaxed);
                        }
                    };
                    for round in 0..60 {
                        tokio::join!(
                            client(round * 5),
                            client(round * 5 + 1),
                            client(round * 5 + 2),
                            client(round * 5 + 3),
                            client(round * 5 + 4),
                        );
                    }
                });
            });
        }
    });
    assert!(served.load(Relaxed) > 600, "{served:?} of 1200");
    assert!(bench.store.stats().counts.memory_hits > 0 && bench.store.stats().counts.disk_hits > 0);
    bench.audit();
}

#[test]
fn a_thousand_clients_on_four_threads_make_one_request() {
    let bench = Bench::new(LIMITS, None);
    let fetches = AtomicU64::new(3); // None of those that fail.
    let fill = bench.fill("a.test/1");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                block(async {
                    let clients: Vec<_> = (0..250)
                        .map(|_| Box::pin(get(&bench, "a.test/1", &fetches, 2, 5000)))
                        .collect();
                    for client in clients {
                        let bytes = tokio::time::timeout(Duration::from_secs(60), client).await;
                        check(&bytes.expect("in time").expect("a body"), 5000);
                    }
                });
            });
        }
        // Who fetches fails: one of the thousand takes over.
        drop(fill);
    });
    assert_eq!(fetches.load(Relaxed), 4);
    bench.audit();
}
