//! A second Docker engine, so that one can be stopped and started under test. Needs root.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::docker::example;
use super::eventually;

/// A `dockerd` with live-restore: its containers run on while it is stopped.
pub(crate) struct Daemon {
    directory: tempfile::TempDir,
    child: Option<Child>,
}

impl Daemon {
    /// A running engine that has the sample app as image `app`; `None` where that is not allowed.
    pub(crate) fn start() -> Option<Self> {
        let user = Command::new("id").arg("-u").output().unwrap();
        let found = Command::new("dockerd").arg("--version").output();
        if user.stdout.trim_ascii() != b"0" || found.is_err() {
            return None;
        }
        let mut daemon = Self {
            directory: tempfile::tempdir().unwrap(),
            child: None,
        };
        // Not this machine's own settings.
        std::fs::write(daemon.path("daemon.json"), "{}").unwrap();
        let context = daemon.path("context");
        std::fs::create_dir(&context).unwrap();
        std::fs::copy(example("whoami"), context.join("whoami")).unwrap();
        let file = "FROM scratch\nCOPY whoami /whoami\nEXPOSE 3000\nENTRYPOINT [\"/whoami\"]\n";
        std::fs::write(context.join("Dockerfile"), file).unwrap();
        daemon.up();
        daemon.docker(&["build", "-q", "-t", "app", context.to_str().unwrap()]);
        // The default bridge is the other engine's.
        daemon.docker(&["network", "create", "apps"]);
        Some(daemon)
    }

    /// For `DOCKER_HOST`.
    pub(crate) fn host(&self) -> String {
        format!("unix://{}", self.path("docker.sock").display())
    }

    /// `docker run` of the sample app with these labels.
    pub(crate) fn run(&self, name: &str, labels: &[&str]) {
        let labels = labels.iter().flat_map(|label| ["--label", label]);
        let run = ["run", "-d", "--network", "apps", "--name", name];
        let args: Vec<_> = run.into_iter().chain(labels).chain(["app"]).collect();
        self.docker(&args);
    }

    pub(crate) fn docker(&self, args: &[&str]) -> String {
        self.try_docker(args)
            .unwrap_or_else(|error| panic!("{args:?}: {error}"))
    }

    fn try_docker(&self, args: &[&str]) -> Result<String, String> {
        let mut docker = Command::new("docker");
        let output = docker.arg("-H").arg(self.host()).args(args).output();
        let output = output.unwrap();
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    /// Starts the engine and waits until it answers.
    pub(crate) fn up(&mut self) {
        let mut dockerd = Command::new("dockerd");
        for (flag, file) in [
            ("--config-file", "daemon.json"),
            ("--data-root", "data"),
            ("--exec-root", "exec"),
            ("--pidfile", "pid"),
        ] {
            dockerd.arg(flag).arg(self.path(file));
        }
        // The packet filter stays the other engine's.
        dockerd.args(["--iptables=false", "--ip6tables=false", "--live-restore"]);
        dockerd.args(["--host", &self.host()]);
        let log = std::fs::File::create(self.path("log")).unwrap();
        dockerd.stdout(Stdio::null()).stderr(log);
        self.child = Some(dockerd.spawn().unwrap());
        eventually("dockerd", PATIENCE, || self.try_docker(&["version"]));
    }

    /// Asks the engine to end, and waits for that.
    pub(crate) fn down(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        let pid = child.id().to_string();
        let _ = Command::new("kill").arg(pid).status();
        let _ = child.wait();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.path("log")).unwrap_or_default();
            eprintln!("-- log of dockerd:\n{log}");
        }
        // With live-restore the containers would outlive it.
        if self.child.is_none() {
            self.up();
        }
        let ids = self.try_docker(&["ps", "-aq"]).unwrap_or_default();
        let ids: Vec<_> = ids.lines().collect();
        let _ = self.try_docker(&[&["rm", "-f"], &*ids].concat());
        let _ = self.try_docker(&["network", "rm", "apps"]);
        self.down();
        // It mounts its directory onto itself.
        let _ = Command::new("umount").arg(self.path("data")).output();
    }
}

const PATIENCE: Duration = Duration::from_secs(30);
