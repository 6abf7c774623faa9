//! Podman with a store of its own, and its Docker-compatible socket. Needs root.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::docker::{example, unique};
use super::eventually;

/// A running `podman system service`; it and all its containers end with this.
pub(crate) struct Podman {
    directory: tempfile::TempDir,
    service: Option<Child>,
    network: String,
}

impl Podman {
    /// With the sample app as image `localhost/app`, with a HEALTHCHECK; `None` where there is no Podman
    /// or no right to run it.
    pub(crate) fn start() -> Option<Self> {
        let user = Command::new("id").arg("-u").output().unwrap();
        let found = Command::new("podman").arg("--version").output();
        if user.stdout.trim_ascii() != b"0" || found.is_err() {
            return None;
        }
        let mut podman = Self {
            directory: tempfile::tempdir().unwrap(),
            service: None,
            network: unique("pod"),
        };
        let context = podman.path("context");
        std::fs::create_dir(&context).unwrap();
        std::fs::copy(example("whoami"), context.join("whoami")).unwrap();
        let file = "FROM scratch\nCOPY whoami /whoami\nEXPOSE 3000\n\
                    HEALTHCHECK --retries=1 CMD [\"/whoami\", \"healthcheck\"]\nENTRYPOINT [\"/whoami\"]\n";
        std::fs::write(context.join("Dockerfile"), file).unwrap();
        let context = context.to_str().unwrap();
        podman.run(&[
            "build",
            "-q",
            "--format",
            "docker",
            "--isolation",
            "chroot",
            "-t",
            "localhost/app",
            context,
        ]);
        podman.run(&["network", "create", &podman.network]);
        let log = std::fs::File::create(podman.path("log")).unwrap();
        let mut service = podman.command(&["system", "service", "--time=0", &podman.host()]);
        podman.service = Some(service.stdout(Stdio::null()).stderr(log).spawn().unwrap());
        eventually("podman's socket", PATIENCE, || {
            std::os::unix::net::UnixStream::connect(podman.path("podman.sock"))
                .map_err(|error| error.to_string())
        });
        Some(podman)
    }

    /// For `DOCKER_HOST`.
    pub(crate) fn host(&self) -> String {
        format!("unix://{}", self.path("podman.sock").display())
    }

    /// `podman run` of the sample app; `--no-healthcheck` unless `checked`.
    pub(crate) fn app(&self, name: &str, labels: &[String], checked: bool) {
        let mut args = vec!["run", "-d", "--name", name, "--network", &self.network];
        // What a container asks for by default is more than a sandboxed machine may allow.
        args.extend([
            "--ulimit",
            "nofile=1024:1024",
            "--ulimit",
            "nproc=4096:4096",
        ]);
        args.extend(labels.iter().flat_map(|label| ["--label", label.as_str()]));
        if !checked {
            args.push("--no-healthcheck");
        }
        args.push("localhost/app");
        self.run(&args);
    }

    pub(crate) fn run(&self, args: &[&str]) -> String {
        let output = self.command(args).output().unwrap();
        assert!(
            output.status.success(),
            "{args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut podman = Command::new("podman");
        for (flag, directory) in [
            ("--root", "root"),
            ("--runroot", "run"),
            ("--tmpdir", "tmp"),
            ("--network-config-dir", "networks"),
        ] {
            podman.arg(flag).arg(self.path(directory));
        }
        podman.args([
            "--storage-driver",
            "vfs",
            "--cgroup-manager",
            "cgroupfs",
            "--events-backend",
            "file",
        ]);
        podman.args(args);
        podman
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.path("log")).unwrap_or_default();
            eprintln!("-- log of podman:\n{log}");
        }
        let _ = self.command(&["rm", "-f", "-a", "-t", "0"]).output();
        let _ = self
            .command(&["network", "rm", "-f", &self.network])
            .output();
        if let Some(mut service) = self.service.take() {
            let _ = service.kill();
            let _ = service.wait();
        }
        let _ = Command::new("umount").arg(self.path("root")).output();
    }
}

const PATIENCE: Duration = Duration::from_secs(30);
