//! Figures, not checks: `cargo test --release --lib cache::store::tests::measures -- --ignored --nocapture`.

use std::time::Duration;

use super::super::shard::New;
use super::*;

fn entry(bench: &Bench, number: u64) -> New {
    let key = format!("https://shop.example.com/products/{number}");
    New {
        hash: bench.store.core.index.hash(key.as_bytes()),
        id: bench.store.core.index.next_id(),
        variant: 0,
        rule: 0,
        host: 1,
        used: 1,
        stale: false,
        owner: Arc::clone(&bench.owner),
        tags: None,
        object: None,
        disk: Some(1),
        found: false,
    }
}

fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages = statm.split(' ').nth(1).expect("a number");
    pages.parse::<u64>().expect("a number") * 4096
}

#[test]
#[ignore = "needs 1 GiB of memory and a release build"]
fn memory_of_ten_million_keys() {
    let limits = Limits {
        memory: 4 << 30,
        disk: 1 << 40,
        ..LIMITS
    };
    let bench = Bench::new(limits, None);
    let (before, began) = (resident(), Instant::now());
    let mut slowest = Duration::ZERO;
    for number in 0..10_000_000 {
        let new = entry(&bench, number);
        let one = Instant::now();
        assert!(bench.store.core.index.insert(new, &mut Default::default()));
        slowest = slowest.max(one.elapsed());
    }
    let took = began.elapsed();
    let stats = bench.store.stats();
    eprintln!("{} entries", stats.entries);
    eprintln!("{} bytes charged for each", stats.index / stats.entries);
    eprintln!(
        "{} bytes resident for each",
        (resident() - before) / stats.entries
    );
    eprintln!(
        "{:?} for each insertion, the slowest {slowest:?}",
        took / 10_000_000
    );
    let began = Instant::now();
    bench.store.core.expire(bench.now);
    eprintln!("{:?} for a look at all", began.elapsed());
}

#[test]
#[ignore = "needs a machine at rest and a release build"]
fn time_of_a_hit() {
    for (keys, what) in [(1, "one key"), (10_000, "10,000 keys")] {
        let bench = Bench::new(
            Limits {
                memory: 256 << 20,
                ..LIMITS
            },
            None,
        );
        let names: Vec<_> = (0..keys)
            .map(|key| format!("https://shop.example.com/p/{key}"))
            .collect();
        for name in &names {
            bench.put(name, &[7; 1024]);
        }
        for threads in [1, 2, 4] {
            std::thread::scope(|scope| {
                for thread in 0..threads {
                    let (bench, names) = (&bench, &names);
                    scope.spawn(move || {
                        let cpu = || {
                            let now =
                                rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
                            Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
                        };
                        let before = cpu();
                        let mut at = thread * 7919;
                        for _ in 0..HITS {
                            at = (at + 7919) % names.len();
                            let name = names[at].as_bytes();
                            let key = bench.store.key(name, b"shop", &bench.owner);
                            match bench.store.find(&key, bench.now, &mut Request(Vec::new())) {
                                Found::Memory { object, .. } => {
                                    assert_eq!(object.whole().map(|body| body.len()), Some(1024));
                                }
                                _ => panic!("a hit"),
                            }
                        }
                        let each = (cpu() - before) / HITS;
                        eprintln!(
                            "{what}, {threads} threads: {each:?} of processor time for a hit"
                        );
                    });
                }
            });
        }
    }
}

#[test]
#[ignore = "needs a release build"]
fn time_of_a_miss_and_of_large_bodies() {
    let directory = tempfile::tempdir().expect("a directory");
    let limits = Limits {
        memory: 256 << 20,
        disk: 8 << 30,
        ..Limits::default()
    };
    for disk in [false, true] {
        let bench = Bench::new(limits, disk.then(|| directory.path()));
        let began = Instant::now();
        for number in 0..50_000 {
            let mut filling = bench.filling(&format!("a.test/{number}"), Some(1024));
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            let pushed = filling.poll_push(&mut context, &[7; 1024]);
            assert!(pushed.is_ready());
            filling.finish(bench.now);
        }
        eprintln!(
            "disk {disk}: {:?} for a fill of 1 KiB",
            began.elapsed() / 50_000
        );
        bench.settle();
        eprintln!(
            "disk {disk}: {:?} until written, {} unwritten",
            began.elapsed(),
            bench.store.stats().unwritten
        );
    }
    let bench = Bench::new(limits, Some(directory.path()));
    let whole = body(1, 512 << 20);
    let began = Instant::now();
    let mut filling = bench.filling("a.test/large", Some(whole.len() as u64));
    block(filling.push(&whole)).expect("it can be stored");
    filling.finish(bench.now);
    bench.settle();
    eprintln!("{:?} to write 512 MiB", began.elapsed());
    let object = bench.object("a.test/large").expect("a hit");
    let began = Instant::now();
    let mut reader = bench.store.reader(&object);
    let mut read = 0;
    block(async {
        while let Some(bytes) = reader.next().await {
            read += bytes.expect("it is whole").len();
        }
    });
    assert_eq!(read, whole.len());
    eprintln!("{:?} to read it", began.elapsed());
}

const HITS: u32 = 3_000_000;
