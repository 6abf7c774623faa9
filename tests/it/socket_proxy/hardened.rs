use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use crate::support::compose::command;
use crate::support::docker::{Packed, docker, try_docker, unique};
use crate::support::eventually;
use crate::support::http;

/// The file's project, under a name of its own; removed on drop.
struct Hardened {
    project: String,
    images: Arc<Packed>,
}

impl Hardened {
    fn up() -> Self {
        let hardened = Self {
            project: unique("hardened"),
            images: Packed::shared(),
        };
        hardened.run(&["up", "-d"]);
        hardened
    }

    fn run(&self, args: &[&str]) -> String {
        let group = std::fs::metadata(SOCKET).unwrap().gid().to_string();
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/compose/hardened.yml");
        let mut compose = command();
        compose.args(["-p", &self.project, "-f", file]).args(args);
        compose
            .env("WHARF_TAG", self.images.tag())
            .env("DOCKER_GID", group);
        // Any free ones.
        compose
            .env("WHARF_HTTP_PORT", "127.0.0.1:0")
            .env("WHARF_HTTPS_PORT", "127.0.0.1:0");
        let output = compose.output().unwrap();
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {words}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn id(&self, service: &str) -> String {
        self.run(&["ps", "-q", service])
    }

    /// The filter's socket, in its volume.
    fn socket(&self) -> PathBuf {
        let volume = format!("{}_engine", self.project);
        let directory = docker(["volume", "inspect", "--format", "{{.Mountpoint}}", &volume]);
        Path::new(&directory).join("docker.sock")
    }
}

impl Drop for Hardened {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.run(&["logs", "--no-color", "--tail=50"]));
        }
        let filter = format!("label=com.docker.compose.project={}", self.project);
        let words = |args: &[&str]| args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>();
        for (list, remove) in [
            (&["ps", "-aq"][..], &["rm", "-f", "-v"][..]),
            (&["network", "ls", "-q"], &["network", "rm"]),
            (&["volume", "ls", "-q"], &["volume", "rm"]),
        ] {
            let found = try_docker(&words(&[list, &["--filter", &filter]].concat()));
            let found = found.unwrap_or_default();
            let found: Vec<&str> = found.lines().collect();
            let _ = try_docker(&words(&[remove, &found].concat()));
        }
    }
}

#[test]
fn the_hardened_compose_file_serves_follows_deploys_and_keeps_the_socket_away_from_wharf() {
    let hardened = Hardened::up();
    let wharf = hardened.id("wharf");
    let port: SocketAddr = docker(["port", &wharf, "80"]).parse().unwrap();
    let wait = |status: u16| {
        eventually(HOST, LIMIT, || match http::get(port, HOST, "/") {
            Ok(answer) if answer.status == status => Ok(()),
            Ok(answer) => Err(format!("{}: {}", answer.status, answer.text())),
            Err(error) => Err(error.to_string()),
        });
    };
    // Over HTTPS: plain requests are redirected.
    wait(301);
    let secure: SocketAddr = docker(["port", &wharf, "443"]).parse().unwrap();
    let url = format!("https://{HOST}/json");
    eventually("an answer of the app", LIMIT, || {
        let answer = crate::support::curl::curl(&url, secure)
            .arg(&["--insecure"])
            .run()?;
        match answer.status {
            200 => Ok(()),
            _ => Err(answer.text()),
        }
    });
    // A stop is an event: the periodic list is half a minute away.
    docker(["stop", "-t", "1", &hardened.id("whoami")]);
    let status = || docker(["exec", &wharf, "/wharf", "status"]);
    eventually("the stop", Duration::from_secs(15), || {
        let answer = crate::support::curl::curl(&url, secure)
            .arg(&["--insecure", "--max-time", "20"])
            .run()?;
        match answer.status {
            503 => Ok(()),
            _ => Err(answer.text()),
        }
    });
    assert!(status().contains(HOST), "{}", status());

    // The filter, as whoever took over Wharf would see it.
    let socket = hardened.socket();
    let curl = |args: &[&str], path: &str| {
        let url = format!("http://docker{path}");
        let mut curl = Command::new("curl");
        curl.args([
            "--silent",
            "--max-time",
            "20",
            "--write-out",
            "\n%{http_code}",
        ]);
        curl.arg("--unix-socket").arg(&socket).args(args).arg(url);
        let output = curl.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, status) = text.rsplit_once('\n').unwrap();
        (status.parse::<u16>().unwrap(), body.to_owned())
    };
    let (status, told) = curl(&["-X", "POST"], "/containers/create");
    assert_eq!(status, 403);
    assert!(told.contains("POST /containers/create"), "{told}");
    let whoami = hardened.id("whoami");
    let (status, told) = curl(&[], &format!("/v1.41/containers/{whoami}/json"));
    assert_eq!(status, 200);
    assert!(docker(["inspect", &whoami]).contains("PORT=3000"));
    assert!(
        told.contains(&whoami) && !told.contains("PORT=3000") && !told.contains("Env"),
        "{told}"
    );

    for (service, has_socket) in [("wharf", false), ("socket-proxy", true)] {
        let id = hardened.id(service);
        let mounts = docker([
            "inspect",
            "--format",
            "{{json .Mounts}} {{.Config.User}}",
            &id,
        ]);
        assert_eq!(
            mounts.contains("/docker.sock"),
            has_socket,
            "{service}: {mounts}"
        );
        // What the kernel says of the process.
        let pid = docker(["inspect", "--format", "{{.State.Pid}}", &id]);
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_default().trim().to_owned()
        };
        assert_eq!(field("NoNewPrivs:"), "1", "{service}");
        assert_eq!(field("CapEff:"), "0000000000000000", "{service}");
        assert!(field("Uid:").starts_with("65532"), "{service}: {status}");
        let group = std::fs::metadata(SOCKET).unwrap().gid().to_string();
        let groups = format!("{} {}", field("Gid:"), field("Groups:"));
        let is_member = groups.split_whitespace().any(|word| word == group);
        assert_eq!(is_member, has_socket, "{service}: {groups}");
        let there = Path::new("/proc")
            .join(&pid)
            .join("root/var/run/docker.sock");
        assert_eq!(there.exists(), has_socket, "{service}");
        let root = docker(["inspect", "--format", "{{.HostConfig.ReadonlyRootfs}}", &id]);
        assert_eq!(root, "true", "{service}");
    }
    let mode = docker([
        "inspect",
        "--format",
        "{{.HostConfig.NetworkMode}}",
        &hardened.id("socket-proxy"),
    ]);
    assert_eq!(mode, "none");

    // The filter starts anew: Wharf finds its socket again.
    docker(["restart", "-t", "5", &hardened.id("socket-proxy")]);
    docker(["start", &whoami]);
    eventually("an answer after the restart", LIMIT, || {
        let answer = crate::support::curl::curl(&url, secure)
            .arg(&["--insecure"])
            .run()?;
        match answer.status {
            200 => Ok(()),
            _ => Err(answer.text()),
        }
    });
}

const HOST: &str = "whoami.localhost";
const SOCKET: &str = "/var/run/docker.sock";
const LIMIT: Duration = Duration::from_secs(30);
