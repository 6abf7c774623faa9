//! The command as a process: what it prints and how it exits.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Output};
use std::thread::{self, JoinHandle};

fn wharf(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_wharf"))
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .expect("wharf starts")
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Answers one request with these bytes.
fn answering(answer: String) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0; 1024];
        let _ = stream.read(&mut head).unwrap();
        stream.write_all(answer.as_bytes()).unwrap();
    });
    (address, thread)
}

fn response(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn version_and_help_are_clean() {
    let version = wharf(&["--version"], &[]);
    assert_eq!(version.status.code(), Some(0));
    let text = String::from_utf8(version.stdout).unwrap();
    assert_eq!(text, format!("wharf {}\n", env!("CARGO_PKG_VERSION")));

    let help = wharf(&["run", "--help"], &[("WHARF_ACME_EMAIL", "me@shop.org")]);
    let text = String::from_utf8(help.stdout).unwrap();
    assert!(text.contains("WHARF_TRUSTED_PROXIES") && text.contains("DOCKER_HOST"));
    assert!(!text.contains("me@shop.org"));
}

#[test]
fn unusable_settings_are_all_told_with_code_2() {
    let output = wharf(
        &["run", "--http", "eighty"],
        &[
            ("WHARF_HTTP", "81"),
            ("WHARF_WORKERS", "none"),
            ("WHARF_ACME_EMAIL", ""),
        ],
    );
    assert_eq!(output.status.code(), Some(2));
    let text = err(&output);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines[0].starts_with("error: --http (WHARF_HTTP): `eighty`: expected"));
    assert!(lines[1].starts_with("error: --workers (WHARF_WORKERS): `none`: expected"));
}

#[test]
fn unknown_flags_and_no_command_have_code_2() {
    for arguments in [&["run", "--htp", "80"][..], &["serve"], &[]] {
        assert_eq!(
            wharf(arguments, &[]).status.code(),
            Some(2),
            "{arguments:?}"
        );
    }
}

#[test]
fn nobody_to_ask_is_one_line_and_code_1() {
    let unused = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let unused = unused.to_string();
    for command in ["status", "routes", "healthcheck"] {
        let output = wharf(&[command, "--admin", &unused], &[]);
        assert_eq!(output.status.code(), Some(1));
        let text = err(&output);
        assert!(
            text.starts_with(&format!("error: no Wharf answers on {unused}")),
            "{text}"
        );
        assert_eq!(text.lines().count(), 1, "{text}");

        let output = wharf(&[command], &[("WHARF_ADMIN", "off")]);
        assert_eq!(output.status.code(), Some(1));
        assert!(err(&output).contains("admin listener is off"));

        assert_eq!(
            wharf(&[command, "--admin", "x"], &[]).status.code(),
            Some(2)
        );
    }
}

#[test]
fn healthcheck_follows_the_answer() {
    for (status, code) in [("200 OK", 0), ("503 Service Unavailable", 1)] {
        let (address, thread) = answering(response(status, "ok\n"));
        let output = wharf(&["healthcheck"], &[("WHARF_ADMIN", &address.to_string())]);
        assert_eq!(output.status.code(), Some(code), "{}", err(&output));
        thread.join().unwrap();
    }
}

#[test]
fn status_is_a_table_or_json() {
    let body = r#"{"version":"7.7.7","ready":true,"routes":[{"hosts":["a.test"],"path":"/"}]}"#;
    for (json, expected) in [(false, "Wharf 7.7.7, up 0s, ready"), (true, "\"7.7.7\"")] {
        let (address, thread) = answering(response("200 OK", body));
        let address = address.to_string();
        let mut arguments = vec!["status", "--admin", &address];
        arguments.extend(json.then_some("--json"));
        let output = wharf(&arguments, &[]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains(expected) && text.contains("a.test"), "{text}");
        assert!(!text.contains('\u{1b}'));
        thread.join().unwrap();
    }
    let (address, thread) = answering(response("200 OK", "<html>"));
    let output = wharf(&["status", "--admin", &address.to_string()], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        err(&output).contains("is no status of Wharf"),
        "{}",
        err(&output)
    );
    thread.join().unwrap();
}

#[test]
fn check_finds_in_broken_compose_files_what_can_be_found_offline() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/broken");
    let mut found = 0;
    for folder in std::fs::read_dir(fixtures).unwrap() {
        let folder = folder.unwrap().path();
        let expected = std::fs::read_to_string(folder.join("expected.txt")).unwrap();
        let place = expected
            .lines()
            .find_map(|line| line.strip_prefix("check: "));
        let place = place.unwrap_or_else(|| panic!("{folder:?} says nothing of wharf check"));
        let file = folder.join("compose.yml");
        let output = wharf(&["check", file.to_str().unwrap()], &[]);
        let text = String::from_utf8(output.stdout).unwrap();
        let begin = match place {
            "nothing" => "1 service with labels".to_owned(),
            _ => format!("{}:{place}: ", file.display()),
        };
        let no_label = folder.ends_with("02-other-proxy");
        assert!(text.starts_with(&begin) || no_label, "{place}: {text}");
        let code = i32::from(place.ends_with("error"));
        assert_eq!(output.status.code(), Some(code), "{text}");
        found += code;
    }
    assert!(found >= 25, "{found}");
}

#[test]
fn check_shows_line_and_word_and_tells_by_its_code() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let write = |name: &str, text: &str| std::fs::write(path(name), text).unwrap();
    let whole = folder.path().to_str().unwrap();
    write(
        "compose.yaml",
        "services:\n  shop:\n    image: shop\n    labels:\n      wharf.host: $HOST\n      wharf.prot: 80\n",
    );
    write(".env", "HOST=shop.test\n");
    let output = wharf(&["check", whole], &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    let told = format!(
        "{}:6:13: error: shop: wharf.prot: there is no option `prot`; did you mean `port`?\n  6 |       wharf.prot: 80\n    |             ^^^^\n\n1 service with labels in 1 file: 1 error, 0 warnings\n",
        path("compose.yaml")
    );
    assert_eq!(text, told);
    assert_eq!(output.status.code(), Some(1));

    // As compose does: what stands in the override counts.
    write(
        "compose.override.yaml",
        "services:\n  shop:\n    labels:\n      - wharf.prot\n",
    );
    let output = wharf(&["check", "--json", whole], &[]);
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["findings"][0]["line"], 4);
    assert_eq!(told["findings"][0]["file"], path("compose.override.yaml"));

    write(
        "good.yaml",
        "services:\n  a:\n    labels: [wharf.host=a.test]\n",
    );
    write(
        "odd.yaml",
        "services:\n  a:\n    labels: ['wharf.host=a.test, a.test']\n",
    );
    for (arguments, code) in [
        (&["good.yaml"][..], 0),
        (&["odd.yaml"], 0),
        (&["--strict", "good.yaml"], 0),
        (&["--strict", "odd.yaml"], 1),
        // Two projects, one host; as one project the second file overrides the first.
        (&["good.yaml", "odd.yaml"], 1),
        (&["-f", "good.yaml", "-f", "odd.yaml"], 0),
        (&["--label-prefix", "edge", "compose.yaml"], 0),
        (&["none.yaml"], 2),
        (&["--label-prefix", "a b", "good.yaml"], 2),
    ] {
        let of = |name: &&str| match name.ends_with("yaml") {
            true => path(name),
            false => (*name).to_owned(),
        };
        let arguments: Vec<String> = arguments.iter().map(of).collect();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let output = wharf(&[&["check"], &*arguments].concat(), &[]);
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{arguments:?}: {text}{}",
            err(&output)
        );
    }
}

#[test]
fn check_finds_no_fault_with_the_compose_files_of_this_repository() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("compose");
    let files = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path());
    let files: Vec<_> = files
        .filter(|file| file.extension().is_some_and(|e| e == "yml"))
        .collect();
    assert!(!files.is_empty());
    for file in files {
        let output = wharf(&["check", "--strict", file.to_str().unwrap()], &[]);
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{text}{}", err(&output));
    }
}

#[test]
fn routes_are_a_table_or_json() {
    let body = r#"[{"host":"a.test","path":"/api","conditions":["method:GET"]},{"host":"a.test","path":"/"}]"#;
    for json in [false, true] {
        let (address, thread) = answering(response("200 OK", body));
        let address = address.to_string();
        let mut arguments = vec!["routes", "--admin", &address];
        arguments.extend(json.then_some("--json"));
        let output = wharf(&arguments, &[]);
        let text = String::from_utf8(output.stdout).unwrap();
        let (first, second) = (text.find("/api").unwrap(), text.rfind("a.test").unwrap());
        assert_eq!(json, second > first, "{text}");
        assert!(text.contains("method:GET"), "{text}");
        thread.join().unwrap();
    }
}

#[test]
fn the_schema_of_labels_is_json() {
    let output = wharf(&["labels", "--schema"], &[]);
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(schema["definitions"]["map"]["properties"]["wharf.host"].is_object());
}
