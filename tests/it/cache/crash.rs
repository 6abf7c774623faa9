//! kill -9 and files of others: misses, never a wrong or a torn answer.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::basics::walk;
use super::word;
use crate::support::eventually;
use crate::support::origin::Served;
use crate::support::peer::{Message, Peer};
use crate::support::site::{Site, app, get};

pub(super) const LABELS: &str =
    "wharf.host: a.test\nwharf.tls: off\nwharf.cache: 1h\nwharf.cache.inactive: 1h";

/// A body that is told from all others, and from a part of itself.
pub(super) fn body(path: &str) -> Vec<u8> {
    let size = 1000 + path.bytes().map(usize::from).sum::<usize>() * 137 % 300_000;
    path.bytes().cycle().take(size).collect()
}

pub(super) fn app_of_bodies() -> Served {
    Served::by(|request| {
        let path = request.head.split(' ').nth(1).unwrap();
        let body = body(path);
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        [head.as_bytes(), &body].concat()
    })
}

pub(super) fn ask(site: &Site, path: &str) -> Message {
    let answer = Peer::connect(site.http()).send(get(path)).message();
    assert_eq!(answer.status(), 200, "{path}");
    assert!(
        answer.body == body(path),
        "{path}: {} bytes",
        answer.body.len()
    );
    answer
}

pub(super) fn site(app_: &Served, data: &Path, cache: &Path, size: &str) -> Site {
    let containers = [app("app", app_.port(), LABELS)];
    Site::with(containers, |builder| {
        let cache = cache.to_str().unwrap();
        builder
            .data(data)
            .env("WHARF_CACHE_DIR", cache)
            .env("WHARF_CACHE_SIZE", size)
    })
}

/// A process that is killed in the middle of writing leaves misses, and hits that are right.
#[test]
fn s40_a_kill_in_the_middle_leaves_nothing_wrong() {
    let (data, served) = (tempfile::tempdir().unwrap(), app_of_bodies());
    let cache = data.path().join("elsewhere");
    let mut hits = 0;
    for round in 0..4 {
        let site = site(&served, data.path(), &cache, "memory=8m disk=64m");
        // What is there from before, if the start has got to it.
        for n in 0..30 {
            hits += usize::from(word(&ask(&site, &format!("/{n}"))) == "HIT");
        }
        let stop = Arc::new(AtomicBool::new(false));
        let address = site.http();
        let writing: Vec<_> = (0..4)
            .map(|thread| {
                let stop = Arc::clone(&stop);
                std::thread::spawn(move || {
                    for n in 0.. {
                        let path = format!("/r{round}-{thread}-{n}");
                        let Ok(tcp) = std::net::TcpStream::connect(address) else {
                            return;
                        };
                        let mut peer = Peer::of(tcp);
                        if stop.load(Ordering::SeqCst) || peer.try_send(get(&path)).is_err() {
                            return;
                        }
                        // It may be cut off by the end.
                        let whole = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                            peer.message()
                        }));
                        match whole {
                            Ok(answer) => assert!(answer.body == body(&path), "{path}"),
                            Err(_) => return,
                        }
                    }
                })
            })
            .collect();
        eventually("files are written", Duration::from_secs(30), || {
            let files = walk(&cache);
            (files > 20).then_some(()).ok_or_else(|| files.to_string())
        });
        site.wharf.signal("KILL");
        stop.store(true, Ordering::SeqCst);
        for thread in writing {
            thread.join().unwrap();
        }
    }
    assert!(hits > 0, "nothing survives");
}

/// Files that are damaged, cut, empty, or somebody else's: misses, and named in the log.
#[test]
fn s40_damaged_and_foreign_files_are_misses() {
    let (data, served) = (tempfile::tempdir().unwrap(), app_of_bodies());
    let cache = data.path().join("elsewhere");
    {
        let site = site(&served, data.path(), &cache, "memory=8m disk=64m");
        for n in 0..20 {
            ask(&site, &format!("/{n}"));
        }
        eventually("on disk", Duration::from_secs(30), || {
            let files = walk(&cache);
            (files == 20).then_some(()).ok_or_else(|| files.to_string())
        });
        site.wharf.stop();
    }
    let files = Mutex::new(Vec::new());
    each(&cache, &|path| files.lock().unwrap().push(path.to_owned()));
    let files = files.into_inner().unwrap();
    for (at, path) in files.iter().enumerate() {
        let bytes = std::fs::read(path).unwrap();
        let mut bytes = bytes;
        match at % 5 {
            // One bit of the body, of the head, the end, all.
            0 => *bytes.last_mut().unwrap() ^= 1,
            1 => bytes[20] ^= 0x10,
            2 => bytes.truncate(bytes.len() / 2),
            3 => bytes.clear(),
            _ => continue,
        }
        std::fs::write(path, bytes).unwrap();
    }
    std::fs::write(cache.join("notes.txt"), "mine").unwrap();
    std::fs::write(
        files[0].with_file_name("00000000000000ff.wc"),
        "not an answer",
    )
    .unwrap();
    let site = site(&served, data.path(), &cache, "memory=8m disk=64m");
    site.wharf.wait_log("holds what Wharf has not put there");
    let hits = eventually("the start's look is over", Duration::from_secs(30), || {
        let hits = (0..20)
            .filter(|n| word(&ask(&site, &format!("/{n}"))) == "HIT")
            .count();
        (hits >= 4).then_some(hits).ok_or_else(|| hits.to_string())
    });
    assert!(hits >= 4);
    // Somebody else's file is left alone.
    assert_eq!(
        std::fs::read_to_string(cache.join("notes.txt")).unwrap(),
        "mine"
    );
    assert!(site.metric("wharf_cache_file_faults_total") > 0.0);
}

fn each(directory: &Path, found: &dyn Fn(&Path)) {
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        match entry.path() {
            path if path.is_dir() => each(&path, found),
            path if path.extension().is_some_and(|kind| kind == "wc") => found(&path),
            _ => {}
        }
    }
}
