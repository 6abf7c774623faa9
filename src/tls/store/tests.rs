use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::super::renew::{History, to_unix};
use super::name::file_name;
use super::*;

const DIRECTORY: &str = "https://ca.example:14000/dir";

fn record(host: &str) -> Record {
    Record {
        version: VERSION,
        host: host.into(),
        source: DIRECTORY.into(),
        key: None,
        chain: None,
        challenge: Some(ChallengeKind::TlsAlpn01),
        open: None,
        issued: None,
        used: None,
        ari: None,
        history: History {
            failures: 3,
            error: Some("no".into()),
            ..History::default()
        },
    }
}

/// Where the record of `host` is.
fn path(data: &tempfile::TempDir, host: &str) -> PathBuf {
    let ca = file_name("ca.example:14000/dir");
    let folder = data.path().join("certificates").join(ca);
    folder.join(file_name(host) + ".json")
}

fn hosts(records: &Records) -> Vec<String> {
    records.load_all(|record| Ok(record.host))
}

#[test]
fn records_come_back() {
    let data = tempfile::tempdir().unwrap();
    let store = Records::open(Some(data.path()), DIRECTORY);
    store.save(&record("b.test")).unwrap();
    store.save(&record("a.test")).unwrap();
    let again = Records::open(Some(data.path()), DIRECTORY);
    assert_eq!(hosts(&again), ["a.test", "b.test"]);
    let a = again.load("a.test").unwrap();
    assert_eq!(a.history.failures, 3);
    assert_eq!(a.challenge, Some(ChallengeKind::TlsAlpn01));
    let other = Records::open(Some(data.path()), "https://other.example/dir");
    assert!(hosts(&other).is_empty(), "one directory per CA");
}

#[test]
fn nobody_else_may_read() {
    let data = tempfile::tempdir().unwrap();
    let store = Records::open(Some(data.path()), DIRECTORY);
    store.save(&record("a.test")).unwrap();
    let path = path(&data, "a.test");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    assert_eq!(mode(&data.path().join("certificates")), 0o700);
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    assert!(store.load("a.test").is_some());
    assert_eq!(mode(&path), 0o600, "a wide mode is narrowed on reading");
}

#[test]
fn corrupt_entries_are_put_aside_and_cost_only_themselves() {
    let data = tempfile::tempdir().unwrap();
    let store = Records::open(Some(data.path()), DIRECTORY);
    store.save(&record("good.test")).unwrap();
    let half = r#"{"version":1,"host":"half.test","source":"#;
    let keyless = r#"{"version":1,"host":"keyless.test","source":"x","chain":"y"}"#;
    let large = vec![b' '; VALUE_MAX as usize + 1];
    let bad: [(&str, &[u8]); 5] = [
        ("half.test", half.as_bytes()),
        ("empty.test", b""),
        ("keyless.test", keyless.as_bytes()),
        (
            "copied.test",
            &serde_json::to_vec(&record("x.test")).unwrap(),
        ),
        ("large.test", &large),
    ];
    for (host, bytes) in bad {
        fs::write(path(&data, host), bytes).unwrap();
    }
    assert_eq!(hosts(&store), ["good.test"]);
    for (host, _) in bad {
        let path = path(&data, host);
        assert!(!path.exists() && path.with_extension("json.corrupt").exists());
    }
}

#[test]
fn a_newer_version_is_left_alone() {
    let data = tempfile::tempdir().unwrap();
    let store = Records::open(Some(data.path()), DIRECTORY);
    let newer = Record {
        version: VERSION + 1,
        ..record("a.test")
    };
    store.save(&newer).unwrap();
    assert!(store.load("a.test").is_none());
    assert!(path(&data, "a.test").exists());
}

#[test]
fn file_names_are_safe_and_apart() {
    assert_eq!(file_name("a.example.com"), "a.example.com");
    assert!(file_name("*.example.com").starts_with("_wildcard_.example.com-"));
    assert_ne!(file_name("*.a.test"), file_name("wildcard_.a.test"));
    assert_ne!(file_name("::1"), file_name("__1"));
    for hostile in ["../../etc/passwd", "..", ".", "", "a/b", "a\0b"] {
        let name = file_name(hostile);
        assert!(
            !name.contains(['/', '\0']) && name.starts_with('_'),
            "{name}"
        );
    }
    let long = "a".repeat(253);
    assert!(file_name(&long).len() + ".json.corrupt".len() <= 255);
}

#[tokio::test]
async fn a_lock_is_held_by_one() {
    let data = tempfile::tempdir().unwrap();
    let store = Records::open(Some(data.path()), DIRECTORY);
    let first = store.lock("a.test").await;
    let second = store.lock("a.test");
    let waited = tokio::time::timeout(Duration::ZERO, second).await;
    assert!(waited.is_err());
    drop(first);
    store.lock("a.test").await;
}

#[test]
fn a_lock_leaves_nothing_behind() {
    let data = tempfile::tempdir().unwrap();
    let (one, two) = (Files::new(data.path()), Files::new(data.path()));
    let held = one.try_lock("ca/a.test").unwrap().unwrap();
    assert!(two.try_lock("ca/a.test").unwrap().is_none());
    assert!(two.try_lock("ca/b.test").unwrap().is_some());
    drop(held);
    assert!(two.try_lock("ca/a.test").unwrap().is_some());
    assert_eq!(
        fs::read_dir(data.path().join("locks/ca")).unwrap().count(),
        0
    );
}

/// The last holder removes the file while others open it: none of them may lock what is gone.
#[test]
fn a_lock_has_one_holder_however_many_want_it() {
    let data = tempfile::tempdir().unwrap();
    let (held, taken) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let files = Files::new(data.path());
                while taken.load(Ordering::Relaxed) < 400 {
                    if let Some(lock) = files.try_lock("a").unwrap() {
                        assert!(!held.swap(true, Ordering::SeqCst), "two holders");
                        std::thread::yield_now();
                        held.store(false, Ordering::SeqCst);
                        drop(lock);
                        taken.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
}

/// What one process finds corrupt may be what another is just replacing.
#[test]
fn what_another_process_works_on_is_not_put_aside() {
    let data = tempfile::tempdir().unwrap();
    let (one, two) = (
        Records::open(Some(data.path()), DIRECTORY),
        Records::open(Some(data.path()), DIRECTORY),
    );
    one.save(&record("a.test")).unwrap();
    fs::write(path(&data, "a.test"), "{").unwrap();
    let lock = one.try_lock("a.test");
    assert!(hosts(&two).is_empty() && path(&data, "a.test").exists());
    drop(lock);
    assert!(hosts(&two).is_empty() && !path(&data, "a.test").exists());
}

/// In containers all processes have the same id, and one that was killed has left its file.
#[test]
fn temporary_files_of_others_are_not_in_the_way() {
    let data = tempfile::tempdir().unwrap();
    let store = Records::open(Some(data.path()), DIRECTORY);
    store.save(&record("a.test")).unwrap();
    let folder = path(&data, "a.test").parent().unwrap().to_owned();
    let leave = |name: &str, age: u64| {
        let file = fs::File::create(folder.join(name)).unwrap();
        let then = std::time::SystemTime::now() - Duration::from_secs(age);
        file.set_modified(then).unwrap();
    };
    for serial in 0..100 {
        leave(&format!(".{}-{serial}.tmp", std::process::id()), 7200);
    }
    leave(".young.tmp", 60);
    store.save(&record("b.test")).unwrap();
    assert_eq!(hosts(&store), ["a.test", "b.test"]);
    let left: Vec<_> = fs::read_dir(&folder).unwrap().flatten().collect();
    assert_eq!(left.len(), 3, "{left:?}");
}

#[test]
fn an_account_made_by_another_process_is_not_retired() {
    let data = tempfile::tempdir().unwrap();
    let store = Records::open(Some(data.path()), DIRECTORY);
    let account = |id: &str| serde_json::json!({ "id": id });
    store.save_account(&account("new")).unwrap();
    store.retire_account(Some("old"));
    assert_eq!(
        store.load_account::<serde_json::Value>(),
        Some(account("new"))
    );
    store.retire_account(Some("new"));
    assert_eq!(store.load_account::<serde_json::Value>(), None);
}

#[test]
fn a_stamp_tells_of_each_change() {
    let data = tempfile::tempdir().unwrap();
    let files = Files::new(data.path());
    let mut seen = Vec::new();
    for value in [&b"a"[..], b"b", b"cc", b"b"] {
        files.save("x/y.json", value, Keep::Secret).unwrap();
        let items = files.list("x").unwrap();
        assert_eq!((items.len(), items[0].key.as_str()), (1, "x/y.json"));
        assert!(!seen.contains(&items[0].stamp));
        seen.push(items[0].stamp);
    }
    assert!(files.list("nowhere").unwrap().is_empty());
}

#[test]
fn what_others_wrote_is_told_once() {
    let data = tempfile::tempdir().unwrap();
    let (one, two) = (
        Records::open(Some(data.path()), DIRECTORY),
        Records::open(Some(data.path()), DIRECTORY),
    );
    one.save(&record("a.test")).unwrap();
    assert_eq!(hosts(&two), ["a.test"]);
    let changed = || -> Vec<String> { two.changes().into_iter().map(|one| one.host).collect() };
    assert!(changed().is_empty(), "it was read at the start");
    one.save(&record("b.test")).unwrap();
    one.save(&record("a.test")).unwrap();
    fs::write(path(&data, "c.test"), "{").unwrap();
    assert_eq!(changed(), ["a.test", "b.test"]);
    assert!(changed().is_empty() && path(&data, "c.test").exists());
}

#[test]
fn challenges_are_for_minutes() {
    let data = tempfile::tempdir().unwrap();
    let store = Records::open(Some(data.path()), DIRECTORY);
    let now = to_unix(std::time::SystemTime::now());
    let pending = |until| Pending {
        version: VERSION,
        host: "a.test".into(),
        answer: "token.thumb".into(),
        until,
    };
    store.save_pending("current", &pending(now + 60)).unwrap();
    store.save_pending("past", &pending(now)).unwrap();
    assert_eq!(store.load_pending("current"), Some(pending(now + 60)));
    assert_eq!(store.load_pending("past"), None);
    // A start removes what a process that was killed has left.
    let again = Records::open(Some(data.path()), DIRECTORY);
    let left = fs::read_dir(data.path().join("challenges")).unwrap();
    assert_eq!(left.count(), 1);
    again.remove_pending("current");
    assert_eq!(again.load_pending("current"), None);
}

#[test]
fn without_a_directory_nothing_is_kept() {
    let store = Records::open(None, DIRECTORY);
    store.save(&record("a.test")).unwrap();
    assert!(store.load("a.test").is_none());
}
