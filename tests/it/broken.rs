//! Compose files that people get wrong (`tests/fixtures/broken`), each with the diagnosis they need: in
//! `wharf status`, in `wharf explain`, and on the page a private client gets.
//!
//! Beside each file stands `expected.txt`. Its lines:
//!
//! ```text
//! url: https://name.example.test/      what is asked
//! service: name                        of the container at fault; default: the fixture's name
//! do: pause                            done to that container before
//! standing: not routed                 of that container; alternatives by `|`
//! reason: ...                          a part of one of its reasons; may be repeated
//! problem: ...                         a part of a problem told of it
//! status: 503                          of the answer; alternatives by `|`
//! page: ...                            a part of it
//! verdict: ...                         a part of what `wharf explain` says last
//! check: 6:13: error                   where `wharf check` finds it, or `nothing`; see tests/cli.rs
//! ```

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::compose::Compose;
use crate::support::docker::{app_image, build_image, docker, example, try_docker};
use crate::support::http;
use crate::support::wharf::{Builder, Wharf};

/// One of them.
struct Fixture {
    name: String,
    compose: String,
    expected: Vec<(String, String)>,
}

impl Fixture {
    /// Reads all of them; names under `example.test` become names under `domain`.
    fn all(domain: &str, portless: &str) -> Vec<Self> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/broken");
        let mut names: Vec<_> = std::fs::read_dir(&directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let fixture = |name: String| {
            let read = |file: &str| {
                let text = std::fs::read_to_string(directory.join(&name).join(file)).unwrap();
                text.replace("example.test", domain)
            };
            let compose = read("compose.yml")
                .replace("image: whoami-portless\n", &format!("image: {portless}\n"))
                .replace("image: whoami\n", &format!("image: {}\n", app_image()));
            let expected = read("expected.txt");
            let lines = expected.lines().map(|line| {
                let (key, value) = line.split_once(": ").unwrap();
                (key.to_owned(), value.to_owned())
            });
            Self {
                compose,
                expected: lines.collect(),
                name: name.split_once('-').unwrap().1.to_owned(),
            }
        };
        names.into_iter().map(fixture).collect()
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.every(key).next()
    }

    fn every<'a>(&'a self, key: &str) -> impl Iterator<Item = &'a str> {
        let key = key.to_owned();
        let lines = self.expected.iter().filter(move |(name, _)| *name == key);
        lines.map(|(_, value)| value.as_str())
    }

    /// What is wrong with the diagnosis.
    fn judge(&self, wharf: &Wharf, container: &str) -> Vec<String> {
        let mut faults = Vec::new();
        faults.extend(within(|| self.status(wharf, container)).err());
        let url = self.get("url").unwrap();
        let (host, path) = url
            .strip_prefix("https://")
            .unwrap()
            .split_once('/')
            .unwrap();
        // As a proxy in front that has ended TLS.
        let fields = [("x-forwarded-proto", "https")];
        let status = self.get("status").unwrap();
        let page = || {
            let path = format!("/{path}");
            let answer = http::request(wharf.http, "GET", host, &path, &fields, b"").unwrap();
            let text = answer.text();
            let code = answer.status.to_string();
            let right = status.split('|').any(|one| one == code)
                && self.every("page").all(|part| text.contains(part));
            right
                .then_some(())
                .ok_or_else(|| format!("{}: {text}", answer.status))
        };
        // What crashes again and again runs from time to time.
        if let Err(answer) = within(page) {
            let expected: Vec<_> = self.every("page").collect();
            faults.push(format!("not {status} with {expected:?}: {answer}"));
        }
        faults.extend(within(|| self.explained(wharf, url)).err());
        faults
    }

    /// What `wharf explain` says.
    fn explained(&self, wharf: &Wharf, url: &str) -> Result<(), String> {
        let explain = Command::new(env!("CARGO_BIN_EXE_wharf"))
            .args(["explain", "--admin", &wharf.admin.to_string(), url])
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&explain.stdout);
        let code = if self.get("status") == Some("200") {
            0
        } else {
            1
        };
        if explain.status.code() != Some(code) {
            return Err(format!("explain: {:?}: {told}", explain.status));
        }
        let verdict = self.get("verdict").unwrap_or("would ");
        if !told
            .lines()
            .any(|line| line.starts_with("would ") && line.contains(verdict))
        {
            return Err(format!("explain without `{verdict}`:\n{told}"));
        }
        let reasons = self.get("standing").is_some_and(|s| s != "routed");
        let missing = self.every("reason").filter(|part| !told.contains(*part));
        // Nobody can know that a container without a word of this host is meant.
        let named = self
            .get("page")
            .is_some_and(|page| !page.starts_with("no container"));
        let missing: Vec<_> = missing.filter(|_| reasons && named).collect();
        match missing.is_empty() {
            true => Ok(()),
            false => Err(format!("explain without {missing:?}:\n{told}")),
        }
    }

    /// What `/status` says of the container.
    fn status(&self, wharf: &Wharf, container: &str) -> Result<(), String> {
        let Some(standing) = self.get("standing") else {
            return Ok(());
        };
        let status = wharf.status_json();
        let of = |list: &str, key: &str| -> Vec<serde_json::Value> {
            let lines = status[list].as_array().unwrap().iter();
            lines
                .filter(|line| line[key] == container)
                .cloned()
                .collect()
        };
        let told = of("containers", "name");
        let problems = of("problems", "container");
        let has = |list: &[serde_json::Value], part: &str| {
            let mut texts = list.iter().flat_map(strings);
            texts.any(|text| text.contains(part))
        };
        let right = standing
            .split('|')
            .any(|one| told.iter().any(|t| t["standing"] == one))
            && self.every("reason").all(|part| has(&told, part))
            && self.every("problem").all(|part| has(&problems, part));
        match right {
            true => Ok(()),
            false => Err(format!("not {standing}: {told:?} {problems:?}")),
        }
    }
}

/// Tries until it is right; else the last error.
fn within(check: impl Fn() -> Result<(), String>) -> Result<(), String> {
    let deadline = Instant::now() + LIMIT;
    loop {
        match check() {
            Err(_) if Instant::now() < deadline => thread::sleep(PAUSE),
            result => return result,
        }
    }
}

/// Every text in a value.
fn strings(value: &serde_json::Value) -> Vec<String> {
    match value {
        serde_json::Value::String(text) => vec![text.clone()],
        serde_json::Value::Array(values) => values.iter().flat_map(strings).collect(),
        serde_json::Value::Object(fields) => fields.values().flat_map(strings).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn every_broken_compose_file_gets_the_diagnosis_a_person_needs() {
    let compose = Compose::new();
    let portless = format!("{}-portless", app_image());
    let files = [("whoami", &*example("whoami"))];
    build_image(
        &portless,
        &files,
        "COPY whoami /whoami\nENTRYPOINT [\"/whoami\"]\n",
    );
    let fixtures = Fixture::all(&format!("{}.test", compose.project), &portless);
    assert!(fixtures.len() >= 25);
    // Wharf takes itself for this container, which is on the network that most of them are on.
    let edge = format!("services:\n  edge:\n    image: {}\n", app_image());
    let mut files = vec![("edge.yml".to_owned(), edge)];
    let more = fixtures
        .iter()
        .map(|f| (format!("{}.yml", f.name), f.compose.clone()));
    files.extend(more);
    compose.up_files(&files);

    let filter = format!("label=com.docker.compose.project={}", compose.project);
    let format = "{{.Label \"com.docker.compose.service\"}} {{.Names}} {{.ID}}";
    let list = docker([
        "ps",
        "-a",
        "--no-trunc",
        "--filter",
        &filter,
        "--format",
        format,
    ]);
    let find = |service: &str| -> (String, String) {
        let mut lines = list.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let line = lines.find(|line| line[0] == service);
        let line = line.unwrap_or_else(|| panic!("no container of {service}:\n{list}"));
        (line[1].to_owned(), line[2].to_owned())
    };
    for fixture in &fixtures {
        if let Some(verb) = fixture.get("do") {
            docker([verb, &find(&fixture.name).1]);
        }
    }
    let wharf = Builder::new()
        .env("HOSTNAME", &find("edge").1[..12])
        .env("WHARF_TRUSTED_PROXIES", "127.0.0.0/8")
        .start();
    wharf.wait_status("the first list", |status| status["ready"] == true);
    // At the same time: some requests wait for better times.
    let faults: Vec<String> = thread::scope(|scope| {
        let judged: Vec<_> = fixtures
            .iter()
            .map(|fixture| {
                let service = fixture.get("service").unwrap_or(&fixture.name);
                let container = find(service).0;
                let wharf = &wharf;
                scope.spawn(move || (fixture, fixture.judge(wharf, &container)))
            })
            .collect();
        let judged = judged.into_iter().map(|thread| thread.join().unwrap());
        judged
            .flat_map(|(fixture, faults)| {
                let told = |fault| format!("{}: {fault}", fixture.name);
                faults.into_iter().map(told).collect::<Vec<_>>()
            })
            .collect()
    });
    let text = wharf.status_text();
    let _ = try_docker(&["image", "rm", "-f", &portless].map(String::from));
    let wrong = faults.len();
    assert!(wrong == 0, "{wrong} wrong:\n{}\n{text}", faults.join("\n"));
    for fixture in fixtures.iter().filter(|f| f.get("standing").is_some()) {
        assert!(text.contains(&find(&fixture.name).0), "{text}");
    }
}

/// The engine of a busy machine is slow at times.
const LIMIT: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(100);
