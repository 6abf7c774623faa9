//! Disks that are full, or may not be written: serving goes on, it is named, and mended without a restart.
//! Each Wharf has a mount namespace of its own.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::wharf::{Builder, Wharf};

use super::{Shared, hosts, wait_ready};

#[tokio::test]
async fn a_disk_that_gets_full_and_has_room_again() {
    let hosts = hosts(3);
    let shared = Shared::of(&hosts);
    let tmpfs = r#"mount -t tmpfs -o size=256k wharf-test "$WHARF_DATA""#;
    let wharf = mounted(shared.asked(), tmpfs).start();
    wait_ready(&wharf);
    let data = inside(&wharf, shared.data.path());
    shared.handshakes(&wharf, &hosts[..1]).await[0]
        .as_ref()
        .unwrap();
    // What is said of renewals is stored, too.
    crate::tls::settled(&data, "h0.example.com.json").await;
    fill(&data);

    for shaken in shared.handshakes(&wharf, &hosts[..2]).await {
        shaken.unwrap();
    }
    let full = wait_store(&wharf, |store| {
        store["unsaved"] == serde_json::json!([hosts[1]])
    });
    assert!(told(&full).contains("No space left on device"), "{full}");
    let line = wharf.wait_log("cannot be stored for now");
    assert!(line.contains("host=\"h1.example.com\""), "{line}");
    let text = wharf.status_text();
    assert!(
        text.contains("a restart would lose h1.example.com"),
        "{text}"
    );
    // It is known meanwhile, and not ordered again.
    for shaken in shared.handshakes(&wharf, &hosts[..2]).await {
        shaken.unwrap();
    }
    assert_eq!(shared.ca.orders(), 2);

    std::fs::remove_file(data.join("filler")).unwrap();
    crate::tls::stored(&data, "h1.example.com.json").await;
    wait_store(&wharf, |store| store["error"].is_null());
    wharf.wait_log("can be written again and has everything");
    assert!(!wharf.status_text().contains("certificate store"));
    shared.handshakes(&wharf, &hosts[2..]).await[0]
        .as_ref()
        .unwrap();
    crate::tls::stored(&data, "h2.example.com.json").await;
}

#[tokio::test]
async fn a_start_with_a_full_disk_serves_what_it_holds() {
    let hosts = hosts(2);
    let shared = Shared::of(&hosts);
    let wharf = shared.asked().start();
    wait_ready(&wharf);
    shared.handshakes(&wharf, &hosts[..1]).await[0]
        .as_ref()
        .unwrap();
    crate::tls::settled(shared.data.path(), "h0.example.com.json").await;
    assert!(wharf.stop().success());

    let full = r#"cp -a "$WHARF_DATA" /tmp/copy; mount -t tmpfs -o size=256k wharf-test "$WHARF_DATA";
        cp -a /tmp/copy/. "$WHARF_DATA"; dd if=/dev/zero of="$WHARF_DATA/filler" 2>/dev/null || true"#;
    let full = format!(
        "mount -t tmpfs wharf-test-tmp /mnt; {}",
        full.replace("/tmp/copy", "/mnt/copy")
    );
    let wharf = mounted(shared.asked(), &full).start();
    wait_ready(&wharf);
    wharf.wait_log("what it holds is served");
    for shaken in shared.handshakes(&wharf, &hosts).await {
        shaken.unwrap();
    }
    assert_eq!((shared.ca.orders(), shared.ca.accounts()), (2, 1));
    let store = wait_store(&wharf, |store| {
        store["unsaved"] == serde_json::json!([hosts[1]])
    });
    assert!(told(&store).contains("No space left"), "{store}");
}

#[tokio::test]
async fn a_directory_that_may_only_be_read() {
    let hosts = hosts(2);
    let shared = Shared::of(&hosts);
    let wharf = shared.asked().start();
    wait_ready(&wharf);
    shared.handshakes(&wharf, &hosts[..1]).await[0]
        .as_ref()
        .unwrap();
    crate::tls::settled(shared.data.path(), "h0.example.com.json").await;
    assert!(wharf.stop().success());

    let read_only =
        r#"mount --bind "$WHARF_DATA" "$WHARF_DATA"; mount -o remount,ro,bind "$WHARF_DATA""#;
    let wharf = mounted(shared.asked(), read_only).start();
    wait_ready(&wharf);
    for shaken in shared.handshakes(&wharf, &hosts).await {
        shaken.unwrap();
    }
    assert_eq!((shared.ca.orders(), shared.ca.accounts()), (2, 1));
    let store = wait_store(&wharf, |store| {
        store["unsaved"] == serde_json::json!([hosts[1]])
    });
    assert!(told(&store).contains("Read-only file system"), "{store}");

    let (pid, data) = (
        wharf.pid().to_string(),
        shared.data.path().to_str().unwrap(),
    );
    let mut nsenter = Command::new("nsenter");
    nsenter.args(["-t", &pid, "-m"]);
    if !is_root() {
        nsenter.args(["-U", "--preserve-credentials"]);
    }
    nsenter.args(["mount", "-o", "remount,rw,bind", data]);
    assert!(nsenter.status().unwrap().success());
    crate::tls::stored(shared.data.path(), "h1.example.com.json").await;
    wait_store(&wharf, |store| store["error"].is_null());
}

/// With mounts of its own, made by `script`.
fn mounted(builder: Builder, script: &str) -> Builder {
    let script = format!("set -e; {script}; exec \"$0\" \"$@\"");
    let namespaces: &[&str] = match is_root() {
        true => &["unshare", "--mount"],
        false => &["unshare", "--mount", "--map-root-user"],
    };
    builder.under(&[namespaces, &["/bin/sh", "-c", &script]].concat())
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

/// The directory as the process sees it.
fn inside(wharf: &Wharf, data: &Path) -> PathBuf {
    let root = format!("/proc/{}/root", wharf.pid());
    Path::new(&root).join(data.strip_prefix("/").unwrap())
}

fn fill(data: &Path) {
    let mut filler = std::fs::File::create(data.join("filler")).unwrap();
    while std::io::Write::write_all(&mut filler, &[0; 1024]).is_ok() {}
}

fn told(store: &serde_json::Value) -> &str {
    store["error"].as_str().unwrap()
}

fn wait_store(wharf: &Wharf, is: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
    wharf.wait_status("the store", |status| is(&status["store"]))["store"].clone()
}
