//! `wharf.maintenance` (B56).

use std::fs;
use std::process::Command;

use super::ask;
use crate::support::docker::{App, unique};
use crate::support::http::Response;
use crate::support::origin::Served;
use crate::support::site::{Site, app};
use crate::support::wharf::Builder;

#[test]
fn b56_a_site_rests_for_all_but_those_named() {
    let host = format!("{}.test", unique("rest"));
    let _served = App::new("rest")
        .label("wharf.host", &host)
        .label("wharf.tls", "off")
        .label(
            "wharf.maintenance",
            "on allow=127.1.0.0/16 retry=10m message=\"Back at <noon>\"",
        )
        .run();
    let wharf = Builder::new().start();
    wharf.wait_answer(&host, "/", |answer| {
        answer.status == 503 && answer.text().contains("noon")
    });
    let url = format!("http://{host}/json");
    assert_eq!(ask(wharf.http, "127.1.0.1", &url, &[]).status, 200);
    let page = ask(
        wharf.http,
        "127.0.0.1",
        &url,
        &["-i", "-H", "Accept: text/html"],
    );
    let text = page.text();
    assert_eq!(page.status, 503);
    assert!(
        text.to_lowercase().contains("retry-after: 600\r\n"),
        "{text}"
    );
    assert!(text.contains("Back at &lt;noon&gt;"), "{text}");
    assert!(text.contains("Down for maintenance"), "{text}");
    assert!(
        !text.contains("request "),
        "a visitor can do nothing with it: {text}"
    );
}

#[test]
fn b56_a_command_puts_a_host_to_rest_without_its_container() {
    let host = format!("{}.test", unique("rest"));
    let _served = App::new("rest")
        .label("wharf.host", &format!("{host}, other.{host}"))
        .label("wharf.tls", "off")
        .run();
    let wharf = Builder::new().start();
    wharf.wait_route(&host);
    let command = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wharf"));
        command.arg("maintenance").args(args);
        command.arg("--data").arg(wharf.data());
        command.arg("--admin").arg(wharf.admin.to_string());
        let output = command.output().unwrap();
        let told = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(told).unwrap())
    };
    let on = [
        "on",
        &host,
        "--allow",
        "127.1.0.0/16",
        "--message",
        "Moving house",
    ];
    assert_eq!(command(&on), (true, format!("{host} is in maintenance\n")));
    let page = wharf.wait_answer(&host, "/", |answer| answer.status == 503);
    assert!(page.text().contains("Moving house"), "{}", page.text());
    let url = format!("http://{host}/json");
    assert_eq!(ask(wharf.http, "127.1.0.1", &url, &[]).status, 200);
    let other = format!("http://other.{host}/json");
    assert_eq!(ask(wharf.http, "127.0.0.1", &other, &[]).status, 200);
    let list = command(&["list"]).1;
    assert_eq!(
        list,
        format!("{host} allow=127.1.0.0/16 message=\"Moving house\"\n")
    );
    let (_, unknown) = command(&["on", "x.test"]);
    assert!(
        unknown.contains("which no running route names"),
        "{unknown}"
    );
    assert_eq!(
        command(&["off", &host]),
        (true, format!("{host} is served again\n"))
    );
    wharf.wait_answer(&host, "/", |answer| answer.status == 200);
    let (done, again) = command(&["off", &host]);
    assert!(!done && again.contains("was not in maintenance"), "{again}");
}

#[test]
fn a_host_rests_over_restarts_and_a_broken_file_changes_nothing() {
    let served = Served::text("in");
    let apps = [app(
        "app",
        served.port(),
        "wharf.host: a.test\nwharf.tls: off",
    )];
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("maintenance.json");
    fs::write(&file, r#"{"a.test": {"retry": 60}}"#).unwrap();
    for _ in 0..2 {
        let site = Site::with(apps.clone(), |wharf| wharf.data(data.path()));
        let rests = |answer: &Response| answer.status == 503;
        site.wharf.wait_answer("a.test", "/", rests);
        fs::write(&file, "{").unwrap();
        site.wharf.wait_log("maintenance.json: EOF while parsing");
        assert!(rests(&site.wharf.get("a.test", "/").unwrap()));
        fs::write(&file, r#"{"a.test": {"retry": 60}}"#).unwrap();
    }
}
