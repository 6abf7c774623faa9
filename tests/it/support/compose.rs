//! A compose project of one service, `web`: the sample app. Removed on drop.

use std::fmt::Write;
use std::process::Command;
use std::sync::LazyLock;

use super::docker::{RUN_LABEL, app_image, docker, try_docker, unique};

/// The project; nothing of it runs until [`Compose::up`].
pub(crate) struct Compose {
    pub(crate) project: String,
    directory: tempfile::TempDir,
}

/// What its service is made of.
pub(crate) struct Service<'a> {
    pub(crate) labels: &'a [(&'a str, &'a str)],
    pub(crate) environment: &'a [(&'a str, &'a str)],
    pub(crate) stop_grace_period: &'a str,
    /// Lines below `web`.
    pub(crate) more: &'a str,
}

impl Compose {
    pub(crate) fn new() -> Self {
        Self {
            project: unique("project"),
            directory: tempfile::tempdir().unwrap(),
        }
    }

    /// Writes the file with these labels, then `up -d` with `args`.
    pub(crate) fn up(&self, labels: &[(&str, &str)], args: &[&str]) {
        self.write(labels, "");
        self.run(&[&["up", "-d"], args].concat());
    }

    /// The same for more than labels.
    pub(crate) fn up_service(&self, service: &Service<'_>) {
        self.up_service_with(service, &[]);
    }

    pub(crate) fn up_service_with(&self, service: &Service<'_>, args: &[&str]) {
        let grace = service.stop_grace_period;
        let more = service.more;
        let mut more = format!("{more}    stop_grace_period: {grace}\n    environment:\n");
        for (key, value) in service.environment {
            let _ = writeln!(more, "      {key}: '{value}'");
        }
        self.write(service.labels, &more);
        self.run(&[&["up", "-d"], args].concat());
    }

    fn write(&self, labels: &[(&str, &str)], more: &str) {
        let run = format!("{RUN_LABEL}: '{}'", std::process::id());
        let mut file = format!(
            "version: '3.8'\nnetworks:\n  default:\n    labels:\n      {run}\n\
             services:\n  web:\n    image: {}\n{more}    labels:\n      {run}\n",
            app_image()
        );
        for (key, value) in labels {
            let _ = writeln!(file, "      {key}: '{value}'");
        }
        std::fs::write(self.directory.path().join("compose.yml"), file).unwrap();
    }

    /// The upstream its replicas form.
    pub(crate) fn upstream(&self) -> String {
        format!("{}/web", self.project)
    }

    /// Ids of its containers, stopped ones included.
    pub(crate) fn containers(&self) -> Vec<String> {
        let ids = docker(["ps", "-aq", "--no-trunc", "--filter", &self.filter()]);
        ids.lines().map(String::from).collect()
    }

    /// For `docker`: what belongs to the project.
    pub(crate) fn filter(&self) -> String {
        format!("label=com.docker.compose.project={}", self.project)
    }

    /// `up -d` for what several files (name, text) hold together.
    pub(crate) fn up_files(&self, files: &[(String, String)]) {
        let run = format!("{RUN_LABEL}: '{}'", std::process::id());
        let network = format!("networks:\n  default:\n    labels:\n      {run}\nservices: {{}}\n");
        let network = ("network.yml".to_owned(), network);
        let mut args = Vec::new();
        for (name, text) in files.iter().chain([&network]) {
            std::fs::write(self.directory.path().join(name), text).unwrap();
            args.extend(["-f", name]);
        }
        self.run_with(&args, &["up", "-d"]);
    }

    /// Runs the compose command, whichever this machine has.
    pub(crate) fn run(&self, args: &[&str]) {
        self.run_with(&["-f", "compose.yml"], args);
    }

    fn run_with(&self, files: &[&str], args: &[&str]) {
        let mut command = command();
        command.args(["-p", &self.project]).args(files);
        command.args(args).current_dir(&self.directory);
        let output = command.output().expect("docker-compose");
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {words}");
    }
}

/// The compose command, whichever this machine has.
pub(crate) fn command() -> Command {
    static PLUGIN: LazyLock<bool> = LazyLock::new(|| {
        let version = Command::new("docker").args(["compose", "version"]).output();
        version.unwrap().status.success()
    });
    let mut command = Command::new(if *PLUGIN { "docker" } else { "docker-compose" });
    command.args(PLUGIN.then_some("compose"));
    command
}

impl Drop for Compose {
    fn drop(&mut self) {
        // The project's own command takes seconds for the same.
        let words =
            |args: &[&str]| -> Vec<String> { args.iter().map(|arg| arg.to_string()).collect() };
        let filter = self.filter();
        let ids = try_docker(&words(&["ps", "-aq", "--filter", &filter])).unwrap_or_default();
        let mut remove = words(&["rm", "-f", "-v"]);
        remove.extend(ids.lines().map(String::from));
        let _ = try_docker(&remove);
        let networks = try_docker(&words(&["network", "ls", "-q", "--filter", &filter]));
        let networks = networks.unwrap_or_default();
        let mut remove = words(&["network", "rm"]);
        remove.extend(networks.lines().map(String::from));
        let _ = try_docker(&remove);
    }
}
