//! A name server of our own: BIND with two zones that take signed updates, stopped on drop.
//! Needs the Debian packages `bind9` and `bind9-dnsutils`, and root: name servers are at port 53.

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Authoritative for [`FIRST`] and [`SECOND`], each with a TSIG key of its own.
pub(crate) struct Named {
    files: tempfile::TempDir,
    address: Ipv4Addr,
    child: Child,
}

impl Named {
    /// With more records in the first zone, one a line.
    pub(crate) fn start(more: &str) -> Self {
        let files = tempfile::tempdir().unwrap();
        let address = own_address();
        // BIND listens on addresses that interfaces have, though all of 127.0.0.0/8 would work.
        ip_addr("add", address);
        let path = |name: &str| files.path().join(name);
        // Recursive, to follow an alias from one zone into the other as a resolver does.
        let mut config = format!(
            "options {{ directory \"{}\"; listen-on port 53 {{ {address}; }}; listen-on-v6 {{ none; }};\n\
             recursion yes; dnssec-validation no; pid-file none; session-keyfile none;\n\
             lock-file none; managed-keys-directory \"{0}\"; }};\ncontrols {{ }};\n",
            files.path().display()
        );
        for (zone, key, more) in [(FIRST, KEY, more), (SECOND, OTHER_KEY, "")] {
            let name = format!("key-{zone}");
            let declared =
                format!("key \"{name}\" {{ algorithm hmac-sha256; secret \"{key}\"; }};\n");
            fs::write(path(&name), &declared).unwrap();
            config += &declared;
            config += &format!(
                "zone \"{zone}\" {{ type primary; file \"zone-{zone}\"; allow-update {{ key \"{name}\"; }}; }};\n"
            );
            let records = format!(
                "$ORIGIN {zone}.\n$TTL 60\n@ SOA ns ops 1 60 60 60 60\n@ NS ns\nns A {address}\n\
                 @ A 127.0.0.1\n* A 127.0.0.1\n{more}\n"
            );
            fs::write(path(&format!("zone-{zone}")), records).unwrap();
        }
        fs::write(path("named.conf"), config).unwrap();
        let child = Command::new("named")
            .args(["-g", "-n", "1", "-c"])
            .arg(path("named.conf"))
            .stdout(Stdio::null())
            .stderr(fs::File::create(path("log")).unwrap())
            .spawn()
            .expect("named (Debian package bind9)");
        let named = Self {
            files,
            address,
            child,
        };
        let deadline = Instant::now() + Duration::from_secs(20);
        while named.dig(FIRST, "SOA").is_empty() {
            assert!(Instant::now() < deadline, "named did not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        named
    }

    pub(crate) fn address(&self) -> SocketAddr {
        (self.address, 53).into()
    }

    /// Data of the records of this name and type, a line each; an alias counts for its target.
    pub(crate) fn dig(&self, name: &str, kind: &str) -> String {
        let server = format!("@{}", self.address);
        let output = Command::new("dig")
            .args([&server, name, kind, "+short", "+tries=1", "+time=2"])
            .output()
            .expect("dig (Debian package bind9-dnsutils)");
        let text = String::from_utf8(output.stdout).unwrap();
        match output.status.success() {
            true => text,
            false => String::new(),
        }
    }

    /// Changes the first zone by lines of `nsupdate`.
    pub(crate) fn update(&self, lines: &str) {
        let key = self.files.path().join(format!("key-{FIRST}"));
        let mut nsupdate = Command::new("nsupdate")
            .arg("-k")
            .arg(key)
            .stdin(Stdio::piped())
            .spawn()
            .expect("nsupdate (Debian package bind9-dnsutils)");
        let text = format!("server {}\n{lines}\nsend\n", self.address);
        let mut input = nsupdate.stdin.take().unwrap();
        input.write_all(text.as_bytes()).unwrap();
        drop(input);
        assert!(nsupdate.wait().unwrap().success(), "{lines}");
    }

    /// A program for `exec:` that sets records of the first zone, and writes a line to `seen` each
    /// time. It fails at what is named in the file `fails`.
    pub(crate) fn hook(&self) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let hook = self.files.path().join("hook");
        let key = self.files.path().join(format!("key-{FIRST}"));
        let text = format!(
            "#!/bin/sh\ncd '{}' || exit 1\necho \"$1 $2\" >>seen\n\
             if grep -qs \"$1\" fails; then echo 'told to fail' >&2; exit 4; fi\n\
             case $1 in present) act=add;; *) act=delete;; esac\n\
             printf 'server {}\\nupdate %s %s 60 TXT \"%s\"\\nsend\\n' \"$act\" \"$2\" \"$3\" | nsupdate -k '{}'\n",
            self.files.path().display(),
            self.address,
            key.display()
        );
        fs::write(&hook, text).unwrap();
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
        hook
    }

    /// What the hook is to fail at: `present`, `cleanup` or nothing.
    pub(crate) fn fail_at(&self, what: &str) {
        fs::write(self.files.path().join("fails"), what).unwrap();
    }

    /// The hook's calls.
    pub(crate) fn seen(&self) -> Vec<String> {
        let seen = fs::read_to_string(self.files.path().join("seen"));
        seen.unwrap_or_default()
            .lines()
            .map(str::to_owned)
            .collect()
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        ip_addr("del", self.address);
        if std::thread::panicking() {
            let log = fs::read_to_string(self.files.path().join("log"));
            println!("--- named ---\n{}", log.unwrap_or_default());
        }
    }
}

fn ip_addr(action: &str, address: Ipv4Addr) {
    let address = format!("{address}/32");
    let done = Command::new("ip")
        .args(["addr", action, &address, "dev", "lo"])
        .output()
        .expect("ip (Debian package iproute2)");
    assert!(done.status.success(), "needs root: {done:?}");
}

/// An address of this machine's loopback network that no other test has.
fn own_address() -> Ipv4Addr {
    let port = super::pebble::free_port();
    let [high, low] = port.to_be_bytes();
    Ipv4Addr::new(127, 53, high, low)
}

pub(crate) const FIRST: &str = "first.example.com";
pub(crate) const SECOND: &str = "second.example.net";
/// TSIG secrets of the zones.
pub(crate) const KEY: &str = "Zmlyc3Qgc2VjcmV0IGZvciB0ZXN0cw==";
pub(crate) const OTHER_KEY: &str = "b3RoZXIgc2VjcmV0IGZvciB0ZXN0cyE=";
