//! Disks that are full: answers are whole, memory goes on, it is told, and all is well once there is room.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::basics::walk;
use super::crash::{LABELS, app_of_bodies, ask, body, site};
use super::word;
use crate::support::eventually;
use crate::support::origin::Origin;
use crate::support::site::{Site, app, get};

/// A file system that is really full, and stays so: every answer is whole, memory goes on. Needs root, for the mount.
#[test]
fn s40_a_full_disk_costs_hits_and_nothing_else() {
    let small = tempfile::tempdir().unwrap();
    let Some(mount) = Mount::of(small.path(), "size=4m") else {
        return;
    };
    let (data, served) = (tempfile::tempdir().unwrap(), app_of_bodies());
    let site = site(&served, data.path(), small.path(), "memory=8m disk=4m");
    for round in 0..2 {
        for n in 0..120 {
            ask(&site, &format!("/full-{round}-{n}"));
        }
    }
    // Somebody else takes the last byte.
    let filler = vec![0_u8; 8 << 20];
    let _ = fs::write(small.path().join("filler"), &filler);
    for n in 0..60 {
        ask(&site, &format!("/after-{n}"));
        let again = ask(&site, &format!("/after-{n}"));
        assert_eq!(word(&again), "HIT", "memory");
    }
    drop(site);
    drop(mount);
}

/// ENOSPC from the first call of a write, with bytes to spare above the store's own floor: no inode is left.
#[test]
fn s40_a_disk_without_inodes_leaves_memory_until_there_are_some() {
    let (data, served) = (tempfile::tempdir().unwrap(), app_of_bodies());
    let small = tempfile::tempdir().unwrap();
    let Some(mount) = Mount::of(small.path(), "size=64m,nr_inodes=4") else {
        return;
    };
    let site = site(&served, data.path(), small.path(), "memory=8m disk=16m");
    let twice = |path: &str| {
        assert_eq!(word(&ask(&site, path)), "MISS", "{path}");
        assert_eq!(word(&ask(&site, path)), "HIT", "{path}: from memory");
    };
    for n in 0..20 {
        twice(&format!("/without-{n}"));
    }
    let told = site.wharf.wait_log("the cache's disk is full");
    assert!(told.contains("No space left on device"), "{told}");
    let (before, named) = (walk(small.path()), "wharf_cache_file_faults_total");
    assert!(before <= 2, "{before} files");
    eventually("each is counted", LIMIT, || {
        let faults = site.metric(named);
        (faults >= 18.0)
            .then_some(())
            .ok_or_else(|| faults.to_string())
    });
    mount.again("nr_inodes=10000");
    for n in 0..20 {
        twice(&format!("/with-{n}"));
    }
    eventually("files", LIMIT, || {
        let files = walk(small.path()) - before;
        (files == 20).then_some(()).ok_or_else(|| files.to_string())
    });
    drop(site);
}

/// ENOSPC in the middle of a body: somebody else takes the last byte while it is written.
#[test]
fn s40_the_last_byte_taken_while_a_body_is_written_tears_nothing() {
    let (data, origin) = (tempfile::tempdir().unwrap(), Origin::new());
    let small = tempfile::tempdir().unwrap();
    let Some(mount) = Mount::of(small.path(), "size=8m") else {
        return;
    };
    let cache = small.path().to_str().unwrap();
    let site = Site::with([app("app", origin.port(), LABELS)], |builder| {
        builder
            .data(data.path())
            .env("WHARF_CACHE_DIR", cache)
            .env("WHARF_CACHE_SIZE", "memory=8m disk=4m")
    });
    // More than memory takes of one body.
    let whole: Vec<u8> = body("/large").into_iter().cycle().take(2 << 20).collect();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", whole.len());
    let fetched = |between: &dyn Fn()| {
        let mut client = site.send(get("/large"));
        let mut app = origin.accept();
        app.message();
        let (first, rest) = whole.split_at(700_000);
        app.send([head.as_bytes(), first].concat());
        // It has to have come this far.
        client.until("\r\n\r\n");
        let mut got = client.exactly(first.len());
        between();
        app.send(rest);
        got.extend(client.exactly(rest.len()));
        assert!(got == whole, "torn");
        client.finish();
    };
    let filler = small.path().join("filler");
    fetched(&|| {
        eventually("it is being written", LIMIT, || {
            let unfinished = unfinished(small.path());
            let written = unfinished
                .iter()
                .map(|path| fs::metadata(path).unwrap().len());
            let written = written.sum::<u64>();
            (written > 600_000)
                .then_some(())
                .ok_or_else(|| written.to_string())
        });
        let error = fs::write(&filler, vec![1; 16 << 20]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
    });
    let told = site.wharf.wait_log("the cache's disk is full");
    assert!(told.contains("No space left on device"), "{told}");
    eventually("what was begun is gone", LIMIT, || {
        let left = unfinished(small.path());
        left.is_empty()
            .then_some(())
            .ok_or_else(|| format!("{left:?}"))
    });
    // As full as it is: not kept, and as whole as before.
    fetched(&|| {});
    assert_eq!(walk(small.path()), 0);
    fs::remove_file(&filler).unwrap();
    fetched(&|| {});
    eventually("it is kept", LIMIT, || {
        let files = site.metric("wharf_cache_entries{tier=\"disk\"}");
        (files == 1.0)
            .then_some(())
            .ok_or_else(|| files.to_string())
    });
    let kept = site.send(get("/large")).message();
    assert_eq!(word(&kept), "HIT");
    assert!(kept.body == whole);
    drop(site);
    drop(mount);
}

/// Files that are not whole yet.
fn unfinished(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap().flatten() {
        match entry.path() {
            path if path.is_dir() => found.extend(unfinished(&path)),
            path if path.extension().is_some_and(|kind| kind == "tmp") => found.push(path),
            _ => {}
        }
    }
    found
}

/// A file system of its own, until dropped.
struct Mount(PathBuf);

impl Mount {
    /// Nothing, and a word of it, where that is not allowed.
    fn of(path: &Path, options: &str) -> Option<Self> {
        let id = Command::new("id").arg("-u").output().unwrap();
        if id.stdout.trim_ascii() != b"0" {
            eprintln!("not tested: mounting a small file system needs root");
            return None;
        }
        let mount = Self(path.to_owned());
        mount.mount(&format!("{options},mode=0700"));
        Some(mount)
    }

    /// Changes its options.
    fn again(&self, options: &str) {
        self.mount(&format!("remount,{options}"));
    }

    fn mount(&self, options: &str) {
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(&self.0);
        assert!(mount.status().unwrap().success(), "mount");
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

const LIMIT: Duration = Duration::from_secs(30);
