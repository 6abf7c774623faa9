//! Real containers of the sample app. Everything carries the label [`RUN_LABEL`] and is removed on
//! drop; what a killed run left behind is removed by the next one.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

/// Not under `wharf.`, which Wharf would read. Its value is the test process's id.
pub(crate) const RUN_LABEL: &str = "test.wharf.run";

/// Port the sample app listens on.
pub(crate) const APP_PORT: u16 = 3000;

/// Runs `docker` and returns its output, trimmed.
///
/// # Panics
///
/// When the command fails: the suite needs an engine.
pub(crate) fn docker<S: AsRef<str>>(args: impl IntoIterator<Item = S>) -> String {
    let args: Vec<String> = args
        .into_iter()
        .map(|arg| arg.as_ref().to_owned())
        .collect();
    try_docker(&args).unwrap_or_else(|error| panic!("docker {}: {error}", args.join(" ")))
}

/// As [`docker`], for what may fail.
pub(crate) fn try_docker(args: &[String]) -> Result<String, String> {
    let output = Command::new("docker").args(args).output();
    let output = output.map_err(|error| format!("these tests need Docker: {error}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

/// A name no other test uses.
pub(crate) fn unique(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("wt{}-{prefix}-{number}", std::process::id())
}

/// The image of `examples/whoami.rs`, built once per run.
pub(crate) fn app_image() -> &'static str {
    static IMAGE: LazyLock<String> = LazyLock::new(|| {
        remove_leftovers();
        let image = format!("{IMAGE_NAME}:{}", std::process::id());
        let files = "COPY whoami /whoami\nEXPOSE 3000\nENTRYPOINT [\"/whoami\"]\n";
        build_image(&image, &[("whoami", &example("whoami"))], files);
        image
    });
    &IMAGE
}

/// Builds `FROM scratch` plus `instructions` over copies of `files` (name, source).
pub(crate) fn build_image(image: &str, files: &[(&str, &Path)], instructions: &str) {
    let context = tempfile::tempdir().unwrap();
    for (name, source) in files {
        std::fs::copy(source, context.path().join(name)).unwrap();
    }
    let dockerfile = format!(
        "FROM scratch\nLABEL {RUN_LABEL}={}\n{instructions}",
        std::process::id()
    );
    std::fs::write(context.path().join("Dockerfile"), dockerfile).unwrap();
    let directory = context.path().to_string_lossy();
    docker(["build", "-q", "-t", image, &*directory]);
}

/// Wharf and the sample app as `scripts/pack` packs them, from this build's binaries; removed on drop.
pub(crate) struct Packed {
    tag: String,
}

impl Packed {
    /// Removed with the last test that uses them.
    pub(crate) fn shared() -> Arc<Self> {
        static IMAGES: Mutex<Weak<Packed>> = Mutex::new(Weak::new());
        let mut shared = IMAGES.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let images = Arc::new(Self::build());
            *shared = Arc::downgrade(&images);
            images
        })
    }

    fn build() -> Self {
        let built = example("whoami");
        let built = built.ancestors().nth(2).unwrap();
        let tag = format!("{PACKED_TAG}{}", std::process::id());
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/pack");
        let mut pack = Command::new(script);
        let output = pack.arg(&tag).arg(built).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        Self { tag }
    }

    pub(crate) fn wharf(&self) -> String {
        format!("wharf:{}", self.tag)
    }

    pub(crate) fn tag(&self) -> &str {
        &self.tag
    }

    pub(crate) fn app(&self) -> String {
        format!("wharf-whoami:{}", self.tag)
    }
}

impl Drop for Packed {
    fn drop(&mut self) {
        let images = [self.wharf(), self.app()];
        let words = ["image", "rm", "-f"].map(String::from);
        let _ = try_docker(&[words.as_slice(), &images].concat());
    }
}

/// A compiled example; built now if this is `cargo test --test it`, which builds none.
pub(crate) fn example(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_BIN_EXE_wharf")).parent().unwrap();
    let path = directory.join("examples").join(name);
    if !path.exists() {
        let mut build = Command::new(env!("CARGO"));
        build
            .args(["build", "--example", name])
            .current_dir(env!("CARGO_MANIFEST_DIR"));
        if directory.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().unwrap().success());
    }
    path
}

/// Removes containers, networks and images of test processes that are gone.
fn remove_leftovers() {
    let label = format!("label={RUN_LABEL}");
    let format = format!("{{{{.ID}}}} {{{{.Label \"{RUN_LABEL}\"}}}}");
    let remove = |list: &[&str], remove: &[&str]| {
        for line in docker(list.iter().copied()).lines() {
            let (id, run) = line.split_once(' ').unwrap_or((line, ""));
            let run = run.strip_prefix(PACKED_TAG).unwrap_or(run);
            if run.is_empty() || Path::new("/proc").join(run).exists() {
                continue;
            }
            let args: Vec<_> = remove
                .iter()
                .copied()
                .chain([id])
                .map(String::from)
                .collect();
            // Another run may be doing the same.
            let _ = try_docker(&args);
        }
    };
    remove(
        &["ps", "-a", "--filter", &label, "--format", &format],
        &["rm", "-f", "-v"],
    );
    remove(
        &["network", "ls", "--filter", &label, "--format", &format],
        &["network", "rm"],
    );
    let packed = format!("reference=wharf*:{PACKED_TAG}*");
    for filter in [format!("reference={IMAGE_NAME}:*"), packed] {
        let tags = "{{.Repository}}:{{.Tag}} {{.Tag}}";
        let list = ["image", "ls", "--filter", &filter, "--format", tags];
        remove(&list, &["image", "rm", "-f"]);
    }
}

/// A bridge network; removed on drop, so declare it before its containers.
pub(crate) struct Network {
    pub(crate) name: String,
}

impl Network {
    pub(crate) fn new() -> Self {
        Self::with(&[])
    }

    /// With further arguments of `docker network create`, like `--internal`.
    pub(crate) fn with(args: &[&str]) -> Self {
        let name = unique("net");
        let label = format!("{RUN_LABEL}={}", std::process::id());
        let create = ["network", "create", "--label", &label].into_iter();
        docker(create.chain(args.iter().copied()).chain([name.as_str()]));
        Self { name }
    }

    /// With a subnet of its own, for containers that name their address.
    pub(crate) fn subnetted() -> Self {
        let name = unique("net");
        let label = format!("{RUN_LABEL}={}", std::process::id());
        // Some are taken by networks of others.
        let first = std::process::id().wrapping_mul(7) % 251;
        let candidates = (0..251).map(|n| (first + n) % 251);
        let mut attempts = candidates.map(|third| {
            let subnet = format!("10.213.{third}.0/24");
            let words = ["network", "create", "--label", &label, "--subnet", &subnet];
            let words = words.into_iter().chain([name.as_str()]).map(String::from);
            try_docker(&words.collect::<Vec<_>>())
        });
        assert!(attempts.any(|created| created.is_ok()), "no subnet is free");
        Self { name }
    }

    /// The address in its subnet that ends so.
    pub(crate) fn address(&self, last: u8) -> String {
        let format = "{{(index .IPAM.Config 0).Subnet}}";
        let subnet = docker(["network", "inspect", "--format", format, &self.name]);
        let (network, _) = subnet.rsplit_once('.').unwrap();
        format!("{network}.{last}")
    }

    pub(crate) fn connect_at(&self, container: &Container, ip: &str) {
        docker(["network", "connect", "--ip", ip, &self.name, &container.id]);
    }

    pub(crate) fn connect(&self, container: &Container) {
        docker(["network", "connect", &self.name, &container.id]);
    }

    pub(crate) fn disconnect(&self, container: &Container) {
        docker(["network", "disconnect", &self.name, &container.id]);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = try_docker(&["network".into(), "rm".into(), self.name.clone()]);
    }
}

/// What to run; the sample app unless told otherwise.
#[derive(Debug, Clone)]
pub(crate) struct App {
    image: String,
    name: String,
    args: Vec<String>,
    command: Vec<String>,
}

impl App {
    pub(crate) fn new(name: &str) -> Self {
        Self::of_image(app_image(), name)
    }

    pub(crate) fn of_image(image: &str, name: &str) -> Self {
        let label = format!("{RUN_LABEL}={}", std::process::id());
        Self {
            image: image.into(),
            name: unique(name),
            args: vec!["--label".into(), label],
            command: Vec::new(),
        }
    }

    pub(crate) fn label(self, key: &str, value: &str) -> Self {
        self.arg(&["--label", &format!("{key}={value}")])
    }

    pub(crate) fn env(self, key: &str, value: &str) -> Self {
        self.arg(&["--env", &format!("{key}={value}")])
    }

    pub(crate) fn network(self, network: &Network) -> Self {
        self.arg(&["--network", &network.name])
    }

    /// Further arguments of `docker run`.
    pub(crate) fn arg(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|arg| (*arg).to_owned()));
        self
    }

    /// What follows the image name.
    pub(crate) fn command(mut self, args: &[&str]) -> Self {
        self.command = args.iter().map(|arg| (*arg).to_owned()).collect();
        self
    }

    pub(crate) fn run(&self) -> Container {
        let mut args = vec![
            "run".to_owned(),
            "-d".into(),
            "--name".into(),
            self.name.clone(),
        ];
        args.extend(self.args.iter().cloned());
        args.push(self.image.clone());
        args.extend(self.command.iter().cloned());
        Container {
            id: docker(args),
            app: self.clone(),
        }
    }

    /// Runs `count` containers that differ only in name.
    pub(crate) fn scale(&self, count: usize) -> Vec<Container> {
        let replica = |number| Self {
            name: format!("{}-{number}", self.name),
            ..self.clone()
        };
        (1..=count).map(|number| replica(number).run()).collect()
    }
}

/// A container; removed on drop, with a log on panic.
pub(crate) struct Container {
    pub(crate) id: String,
    app: App,
}

impl Container {
    pub(crate) fn name(&self) -> &str {
        &self.app.name
    }

    /// `docker stop` with `grace` seconds between SIGTERM and SIGKILL.
    pub(crate) fn stop(&self, grace: u32) {
        docker(["stop", "-t", &grace.to_string(), &self.id]);
    }

    pub(crate) fn start(&self) {
        docker(["start", &self.id]);
    }

    pub(crate) fn restart(&self) {
        docker(["restart", "-t", "1", &self.id]);
    }

    /// `KILL`, `TERM`, ...
    pub(crate) fn kill(&self, signal: &str) {
        docker(["kill", "-s", signal, &self.id]);
    }

    pub(crate) fn pause(&self) {
        docker(["pause", &self.id]);
    }

    pub(crate) fn unpause(&self) {
        docker(["unpause", &self.id]);
    }

    /// Removes it and runs the same again under the same name, stop first like Compose.
    pub(crate) fn recreate(self) -> Self {
        let app = self.app.clone();
        drop(self);
        app.run()
    }

    /// `docker inspect --format`.
    pub(crate) fn inspect(&self, format: &str) -> String {
        docker(["inspect", "--format", format, &self.id])
    }

    /// Its address on `network`.
    pub(crate) fn ip(&self, network: &Network) -> IpAddr {
        let format = format!(
            "{{{{(index .NetworkSettings.Networks \"{}\").IPAddress}}}}",
            network.name
        );
        self.inspect(&format).parse().unwrap()
    }

    /// Where the sample app listens on `network`.
    pub(crate) fn address(&self, network: &Network) -> SocketAddr {
        (self.ip(network), APP_PORT).into()
    }

    /// Both streams, standard output first.
    pub(crate) fn logs(&self) -> String {
        let mut logs = Command::new("docker");
        let output = logs.args(["logs", "--tail=200", &self.id]).output();
        match output {
            Ok(output) => {
                String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
            }
            Err(error) => error.to_string(),
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("-- logs of {}:\n{}", self.app.name, self.logs());
        }
        let _ = try_docker(&["rm".into(), "-f".into(), "-v".into(), self.id.clone()]);
    }
}

const IMAGE_NAME: &str = "wharf-test-whoami";
const PACKED_TAG: &str = "test-";
