//! `wharf explain`: the answer is what a request gets, and asking changes nothing.

use std::process::{Command, Output};

use crate::support::crew::{Crew, counts};
use crate::support::origin::{Origin, Served, ok, refused_port};
use crate::support::site::{Site, app, get};
use crate::support::wharf::Wharf;

/// Runs it with these words.
pub(crate) fn explain(wharf: &Wharf, words: &[&str]) -> Output {
    let admin = wharf.admin.to_string();
    let mut command = Command::new(env!("CARGO_BIN_EXE_wharf"));
    let command = command.args(["explain", "--admin", &admin]).args(words);
    command.output().unwrap()
}

/// What it says last but for hints, and its exit code.
fn verdict(wharf: &Wharf, words: &[&str]) -> (String, i32) {
    let output = explain(wharf, words);
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().rfind(|line| line.starts_with("would "));
    let line = line.unwrap_or_else(|| panic!("{text}{:?}", output.stderr));
    (line.to_owned(), output.status.code().unwrap())
}

fn member(service: &str, own: &str) -> String {
    format!(
        "wharf.host: a.test\nwharf.tls: off\n\
         com.docker.compose.project: shop\ncom.docker.compose.service: {service}\n{own}"
    )
}

#[test]
fn a_canary_is_told_by_its_header_and_asking_uses_up_no_turn() {
    let labels = [
        member("blue", "wharf.weight: 1"),
        member("green", "wharf.weight: 1\nwharf.canary: header:X-Canary=1"),
    ];
    let crew = Crew::of(1, &labels);
    let wharf = &crew.site.wharf;
    let url = "http://a.test/";
    let green = format!("127.0.0.1:{}", crew.port(1));
    let (told, code) = verdict(wharf, &[url, "-H", "X-Canary: 1"]);
    assert_eq!((told, code), (format!("would be sent to app1 {green}"), 0));
    assert_eq!(crew.one("/", "X-Canary: 1\r\n"), "b");

    let output = String::from_utf8(explain(wharf, &[url]).stdout).unwrap();
    assert!(
        output.contains("several services share this place"),
        "{output}"
    );
    for n in 0..4 {
        // An odd number of questions between two requests would swap the turns.
        verdict(wharf, &[url]);
        let now = crew.ask(1, 1, |_| get("/"));
        let expected = if n % 2 == 0 { "a" } else { "b" };
        assert_eq!(now, counts(&[(expected, 1)]), "{n}");
    }
}

#[test]
fn the_key_of_a_client_decides_as_it_does_for_its_requests() {
    let crew = Crew::start(1, "wharf.lb: ip_hash", &["", "", "", ""]);
    for last in 0..8 {
        let from = format!("203.0.{last}.7");
        let field = format!("X-Forwarded-For: {from}");
        let who = crew.one("/", &format!("{field}\r\n"));
        let index = usize::from(who.as_bytes()[0] - b'a');
        let address = format!("app{index} 127.0.0.1:{}", crew.port(index));
        // A client itself, or one that the trusted proxy names.
        for words in [["--from", from.as_str()], ["-H", &field]] {
            let words = ["http://a.test/", words[0], words[1]];
            let (told, code) = verdict(&crew.site.wharf, &words);
            assert_eq!((told, code), (format!("would be sent to {address}"), 0));
        }
    }
}

#[test]
fn each_way_to_end_is_told_with_its_status_and_exit_code() {
    let served = Served::by(|_| ok("app"));
    let plain = "wharf.tls: off\nwharf.hold: off";
    let containers = [
        app(
            "good",
            served.port(),
            &format!("wharf.host: a.test\nwharf.path: /app\n{plain}"),
        ),
        app(
            "tls",
            served.port(),
            "wharf.host: s.test\nwharf.tls: internal\nwharf.timeout: 5m",
        ),
        app(
            "only",
            served.port(),
            "wharf.host: o.test\nwharf.tls: internal\nwharf.https: only",
        ),
        app(
            "shut",
            refused_port(),
            &format!("wharf.host: d.test\n{plain}"),
        ),
        app(
            "typo",
            served.port(),
            &format!("wharf.host: t.test\nwharf.prot: 80\n{plain}"),
        ),
    ];
    let site = Site::start(containers);
    let wharf = &site.wharf;
    for (url, code, parts) in [
        ("http://a.test/app/x?y", 0, &["would be sent to good "][..]),
        (
            "a.test/app",
            1,
            &["TLS handshake: this host is plain HTTP only"],
        ),
        ("http://a.test/", 1, &["404 because no route for this path"]),
        (
            "http://A.TEST/app/../x",
            1,
            &["400 because the path means one route"],
        ),
        ("http://x.test/", 1, &["404 because no route for this host"]),
        ("https://x.test/", 1, &["TLS handshake (unrecognized_name)"]),
        (
            "http://s.test/",
            0,
            &["would get 301 to HTTPS, and then be sent to tls "],
        ),
        ("https://s.test/", 0, &["would be sent to tls "]),
        (
            "http://o.test/",
            1,
            &["403 because this site is served over HTTPS only"],
        ),
        (
            "http://d.test/",
            1,
            &[
                "502 because nothing listens on 127.0.0.1:",
                "127.0.0.1 only",
            ],
        ),
        (
            "http://t.test/",
            1,
            &["503 because a label", "did you mean `port`"],
        ),
    ] {
        let (told, exit) = verdict(wharf, &[url]);
        assert!(
            parts.iter().all(|part| told.contains(part)),
            "{url}: {told}"
        );
        assert_eq!(exit, code, "{url}: {told}");
        // What a request over plain HTTP really gets.
        let asked = url.strip_prefix("http://").filter(|_| !url.contains(".."));
        if let Some((host, path)) = asked.and_then(|rest| rest.split_once('/')) {
            let status = site
                .wharf
                .get(&host.to_lowercase(), &format!("/{path}"))
                .unwrap()
                .status;
            let word = match status {
                200 => "would be sent to ".to_owned(),
                status => format!(" {status} "),
            };
            assert!(told.contains(&word), "{url}: {status}: {told}");
        }
    }
    let (told, _) = verdict(wharf, &["-X", "POST", "http://s.test/"]);
    assert!(told.starts_with("would get 308 to HTTPS"), "{told}");
    let socket = ["-H", "Upgrade: websocket", "-H", "Connection: upgrade"];
    let (told, _) = verdict(wharf, &[&["http://a.test/app"], &socket[..]].concat());
    assert!(told.contains("be sent to good"), "{told}");
    let settings = String::from_utf8(explain(wharf, &["https://s.test/"]).stdout).unwrap();
    assert!(settings.contains("timeouts.read: "), "{settings}");

    let json = explain(wharf, &["--json", "http://d.test/"]);
    let told: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(told["status"], 502);
    assert_eq!(told["endpoints"][0]["dial"], "connection refused");
    assert_eq!(told["containers"][0]["name"], "shut");
    assert_eq!(told["served"], false);

    for words in [
        &["ftp://a.test/"][..],
        &["http://"],
        &["http://a.test/a b"],
        &["http://a.test/", "-H", "no colon"],
        &["http://a.test/", "-H", "X: a\r\nHost: b.test"],
        &["http://a.test/", "-X", "G T"],
        &["http://a.test/", "--from", "nowhere"],
        &[],
    ] {
        let output = explain(wharf, words);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {output:?}");
        assert!(!output.stderr.is_empty(), "{words:?}");
    }
}

#[test]
fn a_stranger_is_told_no_names_by_the_page_and_explain_says_so() {
    let site = Site::plain(refused_port(), "wharf.prot: 1");
    let words = ["http://a.test/", "--from", "203.0.113.7"];
    let output = String::from_utf8(explain(&site.wharf, &words).stdout).unwrap();
    assert!(
        output.contains("names neither containers nor addresses"),
        "{output}"
    );
    let output = String::from_utf8(explain(&site.wharf, &words[..1]).stdout).unwrap();
    assert!(!output.contains("names neither"), "{output}");
}

#[test]
fn what_a_route_holds_back_is_told() {
    let origin = Origin::new();
    let labels = "wharf.inflight: 9, 4 key=ip queue=3\nwharf.buffer: on mem=256k disk=2m\nwharf.buffer.request: on";
    let site = Site::plain(origin.port(), labels);
    let told = || String::from_utf8(explain(&site.wharf, &["http://a.test/"]).stdout).unwrap();
    let _client = site.send(get("/"));
    let mut upstream = origin.accept();
    upstream.head();
    let text = told();
    for expected in [
        "9 at a time (wharf.inflight), 1 under way",
        "4 key=ip queue=3 wait=2s at a time (wharf.inflight)",
        "answers are read as fast as the app gives them, the app is asked when the whole body is here",
        "up to 256 KiB of each in memory and 2048 KiB on disk (wharf.buffer)",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
}
