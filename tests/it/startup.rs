//! What a start that cannot succeed says, and what it survives. Flags are tested in `tests/cli.rs`.

use std::net::TcpListener;
use std::process::{Command, Output};

use crate::support::engine::FakeEngine;
use crate::support::http;
use crate::support::origin::{Served, refused_port};
use crate::support::site::app;
use crate::support::wharf::{Builder, Wharf};

/// Runs `wharf run` to its end, which must come by itself.
fn run(env: &[(&str, &str)]) -> Output {
    let data = tempfile::tempdir().unwrap();
    let any = ["WHARF_HTTP", "WHARF_HTTPS", "WHARF_ADMIN"].map(|name| (name, "127.0.0.1:0"));
    let mut command = Command::new("timeout");
    command.args(["20", env!("CARGO_BIN_EXE_wharf"), "run"]);
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap());
    command.env("WHARF_DATA", data.path()).envs(any);
    command.envs(env.iter().copied()).output().unwrap()
}

/// Lines on standard error without those that only inform or warn.
fn lines(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stderr);
    let lines = text
        .lines()
        .filter(|line| !line.contains(" INFO ") && !line.contains(" WARN "));
    lines.map(str::to_owned).collect()
}

#[test]
fn a_listener_that_cannot_be_had_is_one_line_and_code_1() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (variable, name) in [
        ("WHARF_HTTP", "http"),
        ("WHARF_HTTPS", "https"),
        ("WHARF_ADMIN", "admin"),
    ] {
        for (address, why) in [
            (&*taken, "another process has it (`ss -ltnp` shows which)"),
            ("192.0.2.1:8080", "this machine has no such address"),
        ] {
            let output = run(&[(variable, address)]);
            assert_eq!(output.status.code(), Some(1));
            let lines = lines(&output);
            let expected = format!("error: cannot listen on {address} for {name}: {why}: ");
            assert!(
                lines.len() == 1 && lines[0].starts_with(&expected),
                "{lines:#?}"
            );
        }
    }
}

#[test]
fn a_second_wharf_does_not_share_the_first_ones_ports() {
    let engine = FakeEngine::start();
    let first = Builder::new().engine(&engine).start();
    let output = run(&[("WHARF_HTTP", &first.http.to_string())]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        lines(&output)[0].contains("another process has it"),
        "{output:?}"
    );
}

#[test]
fn faults_of_every_kind_are_told_together() {
    let faults = [
        ("WHARF_HTTPS", "127.0.0.1:99999"),
        ("WHARF_ACME", "letsencrpyt"),
        ("WHARF_TRUSTED_PROXIES", "10.0.0.0/33"),
        ("WHARF_TLS_HOLD", "5M"),
        ("WHARF_LOG", "inof"),
        ("WHARF_LOG_FORMAT", "xml"),
        ("WHARF_ACCESS_LOG", "maybe"),
        ("WHARF_NETWORK", "a b"),
        ("DOCKER_HOST", "ssh://host"),
    ];
    let output = run(&faults);
    assert_eq!(output.status.code(), Some(2));
    let lines = lines(&output);
    assert_eq!(lines.len(), faults.len(), "{lines:#?}");
    for (variable, value) in faults {
        let about = format!("({variable}): `{value}`: ");
        let line = lines.iter().find(|line| line.contains(&about));
        assert!(
            line.is_some_and(|line| line.starts_with("error: --")),
            "{variable}: {lines:#?}"
        );
    }
}

#[test]
fn an_engine_that_cannot_be_reached_is_told_and_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let none = directory.path().join("none.sock").display().to_string();
    let file = file.display().to_string();
    let port = format!("127.0.0.1:{}", refused_port());
    for (scheme, address, why) in [
        ("unix", none, "is the engine running"),
        ("unix", file, "refuses"),
        ("tcp", port, "refuses"),
    ] {
        let host = format!("{scheme}://{address}");
        let wharf = Builder::new().env("DOCKER_HOST", &host).start();
        let line = wharf.wait_log("WARN wharf::docker");
        assert!(line.contains(&address) && line.contains(why), "{line}");
        let warnings = wharf.log_lines();
        let warnings = warnings
            .iter()
            .filter(|line| line.contains("docker"))
            .count();
        assert_eq!(warnings, 1, "{:#?}", wharf.log_lines());
        let ready = http::get(wharf.admin, "localhost", "/readyz").unwrap();
        let alive = http::get(wharf.admin, "localhost", "/healthz").unwrap();
        assert_eq!((ready.status, alive.status), (503, 200));
        let status = wharf.status_json();
        assert!(
            status["engine"]["last_error"]
                .as_str()
                .unwrap()
                .contains(why),
            "{status}"
        );
        assert_eq!(wharf.stop().code(), Some(0));
    }
}

#[test]
fn an_engine_that_comes_late_is_found() {
    let mut engine = FakeEngine::start();
    engine.stop(false);
    let served = Served::text("hi");
    engine.set_containers([app(
        "app",
        served.port(),
        "wharf.host: a.test\nwharf.tls: off",
    )]);
    let wharf = Builder::new().engine(&engine).start();
    assert_eq!(wharf.get("a.test", "/").unwrap().status, 503);
    engine.listen();
    assert_eq!(wharf.wait_route("a.test").text(), "hi");
}

#[test]
fn a_corrupt_store_is_put_aside_and_wharf_serves() {
    let served = Served::text("hi");
    let engine = FakeEngine::start();
    engine.set_containers([app(
        "app",
        served.port(),
        "wharf.host: a.test\nwharf.https: both\nwharf.tls: internal",
    )]);
    let data = tempfile::tempdir().unwrap();
    let start = || Builder::new().engine(&engine).data(data.path()).start();
    let answers = |wharf: &Wharf| {
        wharf.wait_route("a.test");
        let mut client =
            crate::support::peer::Peer::connect_tls(wharf.https, "a.test", wharf.data()).unwrap();
        client
            .send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
            .message()
            .text()
    };
    let first = start();
    assert_eq!(answers(&first), "hi");
    let root = first.local_root();
    first.stop();
    // The same again, while it is whole.
    let second = start();
    assert_eq!(
        (answers(&second), second.local_root()),
        ("hi".into(), root.clone())
    );
    second.stop();
    std::fs::write(data.path().join("ca/ca.json"), "{\"half\": ").unwrap();
    let third = start();
    third.wait_log("corrupt");
    assert_eq!(answers(&third), "hi");
    assert_ne!(third.local_root(), root);
    assert!(data.path().join("ca/ca.json.corrupt").exists());
}

#[test]
fn a_stored_key_that_does_not_fit_is_named_soon_after_the_start() {
    let served = Served::text("hi");
    let engine = FakeEngine::start();
    engine.set_containers([app(
        "app",
        served.port(),
        "wharf.host: a.example.com\nwharf.https: both",
    )]);
    let data = tempfile::tempdir().unwrap();
    let kept = data.path().join("certificates/ca.localhost");
    std::fs::create_dir_all(&kept).unwrap();
    for (host, fits) in [("a.example.com", false), ("b.example.com", true)] {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new([host.to_owned()]).unwrap();
        let chain = params.self_signed(&key).unwrap().pem();
        let other = rcgen::KeyPair::generate().unwrap();
        let key = if fits { key } else { other }.serialize_pem();
        let source = "https://ca.localhost";
        let record = serde_json::json!({"version": 1, "host": host, "source": source, "chain": chain, "key": key});
        std::fs::write(kept.join(format!("{host}.json")), record.to_string()).unwrap();
    }
    let builder = Builder::new()
        .engine(&engine)
        .env("WHARF_ACME", "https://ca.localhost");
    let wharf = builder.data(data.path()).start();
    assert_eq!(wharf.wait_route("a.example.com").text(), "hi");
    let told = wharf.wait_log("put aside as *.corrupt");
    assert!(
        told.contains("a.example.com.json") && told.contains("KeyMismatch"),
        "{told}"
    );
    assert!(kept.join("a.example.com.json.corrupt").exists());
    assert!(kept.join("b.example.com.json").exists());
}

#[test]
fn a_data_directory_that_cannot_be_written_is_told() {
    let engine = FakeEngine::start();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let state = directory.path().join("state");
    let wharf = Builder::new()
        .engine(&engine)
        .data(&file.join("data"))
        .env("XDG_STATE_HOME", &state.to_string_lossy())
        .start();
    let line = wharf.wait_log("cannot be written");
    assert!(line.contains(&*state.to_string_lossy()), "{line}");
    assert!(state.join("wharf/ca/ca.crt").exists());
}

#[test]
fn a_variable_that_is_no_setting_is_told() {
    let engine = FakeEngine::start();
    let wharf = Builder::new()
        .engine(&engine)
        .env("WHARF_TRUSTED_PROXY", "10.0.0.1")
        .start();
    let line = wharf.wait_log("WHARF_TRUSTED_PROXY");
    assert!(line.contains("WHARF_TRUSTED_PROXIES"), "{line}");
}
