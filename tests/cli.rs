//! The command as a process: what it prints and how it exits.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
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
