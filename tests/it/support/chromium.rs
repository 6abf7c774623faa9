//! The real Chromium, without a window: which certificates its users are warned of.
//! Needs the Debian package `chromium-headless-shell` or `chromium`, and `libnss3-tools`.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};

use super::eventually;
use super::peer::LIMIT;

/// A user with a store of certificates and a profile of its own.
pub(crate) struct User {
    home: tempfile::TempDir,
    program: &'static str,
}

impl User {
    pub(crate) fn new() -> Self {
        let user = Self {
            home: tempfile::tempdir().unwrap(),
            program: program(),
        };
        std::fs::create_dir_all(user.home().join(".pki/nssdb")).unwrap();
        user.shell("certutil -d sql:$HOME/.pki/nssdb -N --empty-password");
        user
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// Runs a command in the user's home directory.
    pub(crate) fn shell(&self, command: &str) {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", command]).current_dir(self.home());
        let output = shell.env("HOME", self.home()).output().unwrap();
        assert!(output.status.success(), "{command}: {output:?}");
    }

    /// Opens `https://host/` at `address`, wherever that name and those that end with it lead, and gives the
    /// page.
    ///
    /// # Errors
    ///
    /// The browser's own word, such as `ERR_CERT_AUTHORITY_INVALID`.
    pub(crate) fn open(&self, host: &str, address: SocketAddr) -> Result<String, String> {
        let mut told = Ok(String::new());
        eventually("a page or an error", LIMIT, || {
            let output = self.run(host, address);
            let log = String::from_utf8_lossy(&output.stderr).into_owned();
            let failed = log.split_once("Page load failed: net::");
            let error = failed.and_then(|(_, rest)| rest.split_whitespace().next());
            told = match error {
                // Somebody's container got an address, or lost it.
                Some("ERR_NETWORK_CHANGED") => return Err(log),
                Some(error) => Err(error.to_owned()),
                None if output.status.success() => {
                    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
                }
                None => return Err(log),
            };
            Ok(())
        });
        told
    }

    fn run(&self, host: &str, address: SocketAddr) -> Output {
        let profile = self.home().join("profile");
        let mut browser = Command::new("timeout");
        browser.args([LONGEST, self.program, "--headless", "--disable-gpu"]);
        // As root there is no sandbox; and nothing but the page is to be asked for.
        browser.args(["--no-sandbox", "--no-first-run"]);
        browser.args([
            "--disable-background-networking",
            "--disable-component-update",
        ]);
        browser.arg(format!("--user-data-dir={}", profile.display()));
        browser.arg(format!("--host-resolver-rules=MAP *{host} {address}"));
        browser.arg("--dump-dom").arg(format!("https://{host}/"));
        browser.env("HOME", self.home()).output().unwrap()
    }
}

fn program() -> &'static str {
    let known = ["chromium-headless-shell", "chromium"];
    let is_there = |name: &&&str| Command::new(name).arg("--version").output().is_ok();
    let found = known.iter().find(is_there);
    found.expect("chromium-headless-shell or chromium (Debian packages)")
}

/// Seconds; it takes less than one.
const LONGEST: &str = "15";
