//! The compose files under `compose/scenarios`, as they are: each does what it says, with no more labels than the table
//! in its test says.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::compose::command;
use crate::support::curl::{Answer, Curl, curl};
use crate::support::docker::{Packed, docker, try_docker, unique};
use crate::support::eventually;

/// Labels of the apps in each file, Wharf's own word for a scenario that others need more for.
const LABELS: [(&str, usize); 12] = [
    ("01-simple", 1),
    ("02-websocket", 2),
    ("03-server-sent-events", 1),
    ("04-two-apps-one-host", 4),
    ("05-cached-blog", 5),
    ("06-limited-api", 5),
    ("07-nextcloud", 3),
    ("08-admin-panel", 3),
    ("09-blue-green", 4),
    ("10-grpc", 2),
    ("11-static-site", 2),
    ("12-two-ports", 4),
];

#[test]
fn no_scenario_takes_more_labels_than_promised() {
    let files = std::fs::read_dir(directory()).unwrap();
    let files = files.map(|file| file.unwrap().path());
    let counted: BTreeMap<String, usize> = files
        .filter(|path| path.extension().is_some_and(|kind| kind == "yml"))
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            let labels = text
                .lines()
                .filter(|line| line.trim().starts_with("wharf."));
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            (name, labels.count())
        })
        .collect();
    let promised = LABELS.map(|(name, labels)| (name.to_owned(), labels));
    assert_eq!(counted, BTreeMap::from(promised));
}

#[test]
fn scenario_1_a_web_app() {
    let scenario = Scenario::up("01-simple", &[]);
    let answer = scenario.wait("https://app.localhost/json");
    assert_eq!(answer.json()["hostname"], scenario.host_name("app"));
    let plain = curl("http://app.localhost/", scenario.http).run().unwrap();
    assert_eq!(plain.status, 301, "{}", plain.text());
}

#[test]
fn scenario_2_websockets_and_three_replicas() {
    let scenario = Scenario::up("02-websocket", &["--scale", "chat=3"]);
    scenario.wait("https://chat.localhost/");
    let jar = tempfile::NamedTempFile::new().unwrap();
    let jar = jar.path().to_str().unwrap();
    let cookies = ["--cookie", jar, "--cookie-jar", jar];
    let ask = |path: &str, args: &[&str]| {
        let url = format!("https://chat.localhost{path}");
        scenario.curl(&url).arg(&cookies).arg(args).run()
    };
    let first = ask("/json", &[]).unwrap().json()["hostname"].clone();
    for _ in 0..9 {
        assert_eq!(ask("/json", &[]).unwrap().json()["hostname"], first);
    }
    // Whoever has no cookie may come to any of the three.
    let mut others = (0..9).map(|_| scenario.wait("https://chat.localhost/json"));
    assert!(others.any(|answer| answer.json()["hostname"] != first));
    // The handshake of a WebSocket, answered by the same one; curl hangs up then.
    let upgrade = [
        "--http1.1",
        "--no-buffer",
        "--include",
        "--max-time",
        "2",
        "--header",
        "Connection: Upgrade",
        "--header",
        "Upgrade: websocket",
        "--header",
        "Sec-WebSocket-Version: 13",
        "--header",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ];
    let told = scenario.words(
        "https://chat.localhost/ws",
        &[&cookies[..], &upgrade].concat(),
    );
    assert!(told.starts_with("HTTP/1.1 101"), "{told}");
    let by = format!("x-hostname: {}", first.as_str().unwrap());
    assert!(told.contains(&by), "{told}");
}

#[test]
fn scenario_3_events_come_as_they_are_sent() {
    let scenario = Scenario::up("03-server-sent-events", &[]);
    scenario.wait("https://app.localhost/");
    // They never end, so curl does: what it has by then came through at once.
    let args = ["--no-buffer", "--max-time", "2"];
    let told = scenario.words("https://app.localhost/events", &args);
    assert!(
        told.contains("id: 1\n") && told.contains("id: 2\n"),
        "{told}"
    );
}

#[test]
fn scenario_4_two_apps_on_one_host() {
    let scenario = Scenario::up("04-two-apps-one-host", &[]);
    scenario.wait("https://mon.localhost/prometheus");
    let inner = scenario.wait("https://mon.localhost/prometheus/json?a=1");
    assert_eq!(inner.json()["hostname"], scenario.host_name("prometheus"));
    assert_eq!(inner.json()["uri"], "/json?a=1");
    assert_eq!(
        inner.json()["headers"]["x-forwarded-prefix"][0],
        "/prometheus"
    );
    let moved = "https://mon.localhost/prometheus/answer/302?location=/graph";
    let moved = scenario.curl(moved).run().unwrap();
    assert_eq!(moved.location, "https://mon.localhost/prometheus/graph");
    let outer = scenario.wait("https://mon.localhost/json");
    assert_eq!(outer.json()["hostname"], scenario.host_name("grafana"));
}

#[test]
fn scenario_5_a_blog_that_is_seldom_asked() {
    let scenario = Scenario::up("05-cached-blog", &[]);
    scenario.wait("https://blog.localhost/json");
    let ask = |url: &str, args: &[&str]| {
        let told = scenario.words(url, &[&["--include"], args].concat());
        let head = told.to_ascii_lowercase();
        let word = head
            .lines()
            .find_map(|line| line.strip_prefix("x-cache-status: "));
        word.unwrap_or_else(|| panic!("{told}")).trim().to_owned()
    };
    let page = "https://blog.localhost/json?hello";
    assert_eq!(ask(page, &[]), "miss");
    assert_eq!(ask(page, &[]), "hit");
    // Whoever is logged in, or has commented, sees what the app says.
    for cookie in ["wordpress_logged_in_1=x", "comment_author_1=x"] {
        assert_eq!(ask(page, &["--cookie", cookie]), "bypass", "{cookie}");
    }
    let admin = "https://blog.localhost/wp-admin/index.php";
    assert_eq!(
        (ask(admin, &[]), ask(admin, &[])),
        ("bypass".into(), "bypass".into())
    );
    assert_eq!(ask(page, &["--cookie", "other=x"]), "hit");
    let body = vec![b'x'; 60_000_000];
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &body).unwrap();
    let args = ["--upload-file", file.path().to_str().unwrap()];
    let put = scenario.curl("https://blog.localhost/upload").arg(&args);
    assert_eq!(put.run().unwrap().json()["length"], body.len());
    file.as_file().set_len(70 << 20).unwrap();
    let put = scenario.curl("https://blog.localhost/upload").arg(&args);
    assert_eq!(put.run().unwrap().status, 413);
}

#[test]
fn scenario_6_an_api_that_is_not_asked_too_often() {
    let scenario = Scenario::up("06-limited-api", &[]);
    scenario.wait("https://api.localhost/json");
    // A page of that origin may call; one of another may not.
    let ask = |origin: &str| {
        let args = ["--include", "--header", origin];
        scenario.words("https://api.localhost/json", &args)
    };
    let allowed = "access-control-allow-origin: https://app.example.com";
    assert!(ask("Origin: https://app.example.com").contains(allowed));
    assert!(!ask("Origin: https://other.example.com").contains("access-control-allow"));
    // Of many at once the burst is let through, and some are too many.
    let many = [
        "--parallel",
        "--parallel-max",
        "80",
        "--output",
        "/dev/null",
    ];
    let statuses = |url: &str, args: &[&str]| {
        let told = scenario.words(url, &[&["--write-out", "%{http_code} "], args].concat());
        let of = |status| told.split(' ').filter(|word| *word == status).count();
        (of("200"), of("429"))
    };
    let (served, refused) = statuses("https://api.localhost/json?[1-80]", &many);
    assert!(served >= 18 && refused > 0, "{served} and {refused}");
    assert_eq!(served + refused, 80);
    // Logins wait their turn, one a second: three take two seconds, and none is refused.
    let begun = Instant::now();
    let (served, refused) = statuses("https://api.localhost/auth/login?[1-3]", &many);
    assert_eq!((served, refused), (3, 0));
    assert!(
        begun.elapsed() >= Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn scenario_7_nextcloud() {
    let scenario = Scenario::up("07-nextcloud", &[]);
    scenario.wait("https://cloud.localhost/");
    for kind in ["carddav", "caldav"] {
        let url = format!("https://cloud.localhost/.well-known/{kind}");
        let moved = scenario.curl(&url).run().unwrap();
        let to = (moved.status, &*moved.location);
        assert_eq!(to, (301, "https://cloud.localhost/remote.php/dav"));
    }
    let head = scenario.words("https://cloud.localhost/", &["--head"]);
    let head = head.to_ascii_lowercase();
    assert!(
        head.contains("strict-transport-security: max-age=15552000\r\n"),
        "{head}"
    );
    let body = vec![b'x'; 20_000_000];
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &body).unwrap();
    let args = ["--upload-file", file.path().to_str().unwrap()];
    let put = scenario.curl("https://cloud.localhost/upload").arg(&args);
    assert_eq!(put.run().unwrap().json()["length"], body.len());
}

#[test]
fn scenario_8_an_admin_panel() {
    let scenario = Scenario::up("08-admin-panel", &[]);
    let url = "https://admin.localhost/json";
    let ask = |args: &[&str]| scenario.curl(url).arg(args).run().unwrap().status;
    eventually("a login", LIMIT, || match ask(&[]) {
        401 => Ok(()),
        status => Err(status.to_string()),
    });
    assert_eq!(ask(&["--user", "admin:wrong"]), 401);
    assert_eq!(ask(&["--user", "admin:wharf"]), 200);
    // This machine is in the list; a machine that is not gets 403, tests/it/filters/addresses shows.
    let rules = docker(["exec", &scenario.id("wharf"), "/wharf", "routes"]);
    assert!(rules.contains("admin.localhost"), "{rules}");
}

#[test]
fn scenario_9_one_in_ten_gets_the_new_version() {
    let scenario = Scenario::up("09-blue-green", &[]);
    let services = ["blue", "green"];
    let names = services.map(|service| scenario.host_name(service));
    let seen = || scenario.wait("https://app.localhost/json").json()["hostname"].clone();
    // Until both are there.
    eventually("an answer of the new version", LIMIT, || match seen() {
        name if name == names[1] => Ok(()),
        name => Err(name.to_string()),
    });
    let mut shares = [0; 2];
    for _ in 0..40 {
        let name = seen();
        shares[names.iter().position(|known| name == *known).unwrap()] += 1;
    }
    assert_eq!(shares, [36, 4]);
}

#[test]
fn scenario_10_a_grpc_service() {
    let scenario = Scenario::up("10-grpc", &[]);
    let told = scenario.wait("https://grpc.localhost/json").json();
    assert_eq!(told["version"], "HTTP/2.0", "{told}");
    // A message of three bytes, which comes back, and the status behind it.
    let message = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(message.path(), b"\0\0\0\0\x03abc").unwrap();
    let data = format!("@{}", message.path().display());
    let call = [
        "--http2",
        "--include",
        "--header",
        "Content-Type: application/grpc",
        "--header",
        "TE: trailers",
        "--data-binary",
        &data,
    ];
    let told = scenario.words("https://grpc.localhost/test.Echo/Say", &call);
    assert!(
        told.starts_with("HTTP/2 200") && told.contains("abc"),
        "{told}"
    );
    assert!(told.contains("grpc-status: 0"), "{told}");
}

#[test]
fn scenario_11_a_single_page_site_from_files() {
    let scenario = Scenario::up("11-static-site", &[]);
    let page = scenario.wait("https://www.localhost/some/page").text();
    assert!(page.contains("/assets/app.4f9a.js"), "{page}");
    let asset = "https://www.localhost/assets/app.4f9a.js";
    let head = scenario.words(asset, &["--head"]).to_ascii_lowercase();
    assert!(
        head.contains("cache-control: public, max-age=31536000, immutable\r\n"),
        "{head}"
    );
    let missing = scenario.curl("https://www.localhost/assets/old.js");
    assert_eq!(missing.run().unwrap().status, 404);
}

#[test]
fn scenario_12_two_ports_on_two_hosts() {
    let scenario = Scenario::up("12-two-ports", &[]);
    for (host, port) in [("git", 3000), ("registry", 5000)] {
        let answer = scenario.wait(&format!("https://{host}.localhost/json"));
        assert_eq!(answer.json()["port"], port);
        assert_eq!(answer.json()["hostname"], scenario.host_name("git"));
    }
}

/// A file's project, under a name of its own; removed on drop.
struct Scenario {
    file: PathBuf,
    /// Keeps Wharf to the project: other tests' containers are none of its business.
    alone: tempfile::NamedTempFile,
    project: String,
    images: Arc<Packed>,
    http: SocketAddr,
    https: SocketAddr,
}

impl Scenario {
    fn up(name: &str, args: &[&str]) -> Self {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let project = unique("scenario");
        let alone = tempfile::NamedTempFile::with_suffix(".yml").unwrap();
        let filter = format!("label=com.docker.compose.project={project}");
        let more = format!(
            "version: '3.8'\nservices: {{ wharf: {{ environment: {{ WHARF_FILTER: '{filter}' }} }} }}\n"
        );
        std::fs::write(alone.path(), more).unwrap();
        let mut scenario = Self {
            file: directory().join(format!("{name}.yml")),
            alone,
            project,
            images: Packed::shared(),
            http: nowhere,
            https: nowhere,
        };
        scenario.compose(&[&["up", "-d"], args].concat());
        let wharf = scenario.id("wharf");
        let published = |port: &str| docker(["port", &wharf, port]).parse().unwrap();
        (scenario.http, scenario.https) = (published("80"), published("443"));
        scenario
    }

    fn compose(&self, args: &[&str]) -> String {
        let mut compose = command();
        compose.args(["-p", &self.project, "-f"]).arg(&self.file);
        compose.arg("-f").arg(self.alone.path());
        compose.args(args).env("WHARF_TAG", self.images.tag());
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
        self.compose(&["ps", "-q", service])
    }

    /// What a service's only container calls itself.
    fn host_name(&self, service: &str) -> String {
        self.id(service)[..12].to_owned()
    }

    /// As a visitor who has not installed the root.
    fn curl(&self, url: &str) -> Curl {
        curl(url, self.https).arg(&["--insecure"])
    }

    /// Asks until the app answers.
    fn wait(&self, url: &str) -> Answer {
        eventually(url, LIMIT, || {
            let answer = self.curl(url).run()?;
            match answer.status {
                200 => Ok(answer),
                status => Err(format!("{status}: {}", answer.text())),
            }
        })
    }

    /// What curl prints of an answer that need not end.
    fn words(&self, url: &str, args: &[&str]) -> String {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--noproxy", "*", "--insecure"]);
        curl.args(["--connect-to", &format!("::{}", self.https), url]);
        let output = curl.args(args).output().unwrap();
        let words = String::from_utf8_lossy(&output.stdout).into_owned();
        words + &String::from_utf8_lossy(&output.stderr)
    }
}

impl Drop for Scenario {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.compose(&["logs", "--no-color", "--tail=50"]));
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

fn directory() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "compose", "scenarios"]
        .iter()
        .collect()
}

const LIMIT: Duration = Duration::from_secs(60);
