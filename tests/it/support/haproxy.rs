//! Debian's haproxy in front of Wharf, which passes bytes on and says whose they are.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::eventually;
use super::origin::free_port;

/// A running haproxy; stopped on drop. Needs the Debian package `haproxy`.
pub(crate) struct Haproxy {
    files: tempfile::TempDir,
    child: Child,
}

impl Haproxy {
    /// Passes on to each of `servers`, with these words of a `server` line; where it listens for them.
    pub(crate) fn start(servers: &[(SocketAddr, &str)]) -> (Self, Vec<SocketAddr>) {
        let files = tempfile::tempdir().unwrap();
        let mut config = "global\n maxconn 100\ndefaults\n mode tcp\n timeout connect 5s\n \
                          timeout client 20s\n timeout server 20s\n"
            .to_owned();
        let mut addresses = Vec::new();
        for (index, (server, words)) in servers.iter().enumerate() {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
            config +=
                &format!("listen l{index}\n bind {address}\n server s{index} {server} {words}\n");
            addresses.push(address);
        }
        fs::write(files.path().join("haproxy.cfg"), config).unwrap();
        let log = fs::File::create(files.path().join("log")).unwrap();
        let child = Command::new("haproxy")
            .args(["-db", "-f"])
            .arg(files.path().join("haproxy.cfg"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("haproxy (Debian package haproxy)");
        let mut haproxy = Self { files, child };
        for address in &addresses {
            eventually("haproxy listens", Duration::from_secs(20), || {
                if let Ok(Some(status)) = haproxy.child.try_wait() {
                    panic!("haproxy: {status}: {}", haproxy.log());
                }
                TcpStream::connect(address).map_err(|error| error.to_string())
            });
        }
        (haproxy, addresses)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.files.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            println!("--- haproxy ---\n{}", self.log());
        }
    }
}
