use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use super::super::files::FILE_MAX;
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
        history: History {
            failures: 3,
            error: Some("no".into()),
            ..History::default()
        },
    }
}

#[test]
fn records_come_back() {
    let data = tempfile::tempdir().unwrap();
    let store = Store::open(Some(data.path()), DIRECTORY);
    store.save(&record("b.test")).unwrap();
    store.save(&record("a.test")).unwrap();
    let again = Store::open(Some(data.path()), DIRECTORY);
    let hosts: Vec<_> = again.load_all(|record| Some(record.host));
    assert_eq!(hosts, ["a.test", "b.test"]);
    let a = again.load("a.test").unwrap();
    assert_eq!(a.history.failures, 3);
    assert_eq!(a.challenge, Some(ChallengeKind::TlsAlpn01));
    let other = Store::open(Some(data.path()), "https://other.example/dir");
    assert!(other.load_all(Some).is_empty(), "one directory per CA");
}

#[test]
fn nobody_else_may_read() {
    let data = tempfile::tempdir().unwrap();
    let store = Store::open(Some(data.path()), DIRECTORY);
    store.save(&record("a.test")).unwrap();
    let path = store.places.as_ref().unwrap().record("a.test");
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
    let store = Store::open(Some(data.path()), DIRECTORY);
    store.save(&record("good.test")).unwrap();
    let places = store.places.as_ref().unwrap();
    let half = r#"{"version":1,"host":"half.test","source":"#;
    let keyless = r#"{"version":1,"host":"keyless.test","source":"x","chain":"y"}"#;
    let large = vec![b' '; FILE_MAX as usize + 1];
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
        fs::write(places.record(host), bytes).unwrap();
    }
    let hosts: Vec<_> = store.load_all(|record| Some(record.host));
    assert_eq!(hosts, ["good.test"]);
    for (host, _) in bad {
        let path = places.record(host);
        assert!(!path.exists() && path.with_extension("json.corrupt").exists());
    }
}

#[test]
fn a_newer_version_is_left_alone() {
    let data = tempfile::tempdir().unwrap();
    let store = Store::open(Some(data.path()), DIRECTORY);
    let newer = Record {
        version: VERSION + 1,
        ..record("a.test")
    };
    store.save(&newer).unwrap();
    assert!(store.load("a.test").is_none());
    assert!(store.places.as_ref().unwrap().record("a.test").exists());
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
    let store = Store::open(Some(data.path()), DIRECTORY);
    let first = store.lock("a.test").await;
    let second = store.lock("a.test");
    let waited = tokio::time::timeout(Duration::ZERO, second).await;
    assert!(waited.is_err());
    drop(first);
    store.lock("a.test").await;
}

#[test]
fn without_a_directory_nothing_is_kept() {
    let store = Store::open(None, DIRECTORY);
    store.save(&record("a.test")).unwrap();
    assert!(store.load("a.test").is_none());
}
