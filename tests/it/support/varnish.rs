//! Debian's varnish in front of an app.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::eventually;
use super::origin::free_port;

/// A running varnish; stopped on drop. Needs the Debian package `varnish`.
pub(crate) struct Varnish {
    _files: tempfile::TempDir,
    pub(crate) address: SocketAddr,
    child: Child,
}

impl Varnish {
    /// In front of an app on this machine, by its own rules but for an `X-Cache-Status`.
    pub(crate) fn start(app: u16) -> Self {
        let files = tempfile::tempdir().unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let vcl = format!(
            "vcl 4.1;\nbackend default {{ .host = \"127.0.0.1\"; .port = \"{app}\"; }}\n\
             sub vcl_deliver {{ if (obj.hits > 0) {{ set resp.http.X-Cache-Status = \"HIT\"; }}\n\
             else {{ set resp.http.X-Cache-Status = \"MISS\"; }} }}\n"
        );
        let file = files.path().join("default.vcl");
        std::fs::write(&file, vcl).unwrap();
        let child = Command::new("varnishd")
            .args([
                "-F",
                "-j",
                "none",
                "-s",
                "malloc,64m",
                "-a",
                &address.to_string(),
            ])
            // What is too old is not given while it is fetched.
            .args(["-p", "default_grace=0", "-f"])
            .arg(&file)
            .arg("-n")
            .arg(files.path().join("work"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("varnishd (Debian package varnish)");
        let mut varnish = Self {
            _files: files,
            address,
            child,
        };
        eventually("varnish listens", Duration::from_secs(30), || {
            if let Ok(Some(status)) = varnish.child.try_wait() {
                panic!("varnish: {status}");
            }
            TcpStream::connect(address).map_err(|error| error.to_string())
        });
        varnish
    }
}

impl Drop for Varnish {
    fn drop(&mut self) {
        // Its worker process goes with it.
        let _ = Command::new("kill")
            .arg(self.child.id().to_string())
            .status();
        let _ = self.child.wait();
    }
}
