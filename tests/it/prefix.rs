//! Labels under another prefix: several Wharfs on one engine, each with its own.

use crate::support::engine::FakeEngine;
use crate::support::http;
use crate::support::origin::Served;
use crate::support::site::app;
use crate::support::wharf::{Builder, Wharf};

fn start(engine: &FakeEngine, prefix: Option<&str>) -> Wharf {
    let builder = Builder::new().engine(engine);
    let wharf = match prefix {
        Some(prefix) => builder.env("WHARF_LABEL_PREFIX", prefix),
        None => builder,
    }
    .start();
    wharf.wait_status("the first list", |status| status["ready"] == true);
    wharf
}

#[test]
fn each_wharf_reads_its_own_labels() {
    let served = [
        Served::text("inner"),
        Served::text("outer"),
        Served::text("both"),
    ];
    let port = |index: usize| served[index].port();
    let engine = FakeEngine::start();
    engine.set_containers([
        app("inner", port(0), "wharf.host: inner.test\nwharf.tls: off"),
        app(
            "outer",
            port(1),
            "com.example.edge.host: outer.test\ncom.example.edge.tls: off",
        ),
        app(
            "both",
            port(2),
            "wharf.host: both.test\nwharf.tls: off\n\
             com.example.edge.host: public.test\ncom.example.edge.tls: off",
        ),
    ]);
    let (inner, outer) = (
        start(&engine, None),
        start(&engine, Some("com.example.edge")),
    );
    let answer = |wharf: &Wharf, host: &str| {
        let answer = wharf.get(host, "/").unwrap();
        match answer.status {
            200 => answer.text(),
            status => status.to_string(),
        }
    };
    let hosts = ["inner.test", "outer.test", "both.test", "public.test"];
    let answers = |wharf: &Wharf| hosts.map(|host| answer(wharf, host));
    assert_eq!(answers(&inner), ["inner", "404", "both", "404"]);
    assert_eq!(answers(&outer), ["404", "outer", "404", "both"]);
    assert!(
        inner.status_json()["problems"]
            .as_array()
            .unwrap()
            .is_empty()
    );
    assert!(
        outer.status_json()["problems"]
            .as_array()
            .unwrap()
            .is_empty()
    );
}

#[test]
fn texts_call_labels_by_their_prefix() {
    let engine = FakeEngine::start();
    let mut portless = app("portless", 1, "edge.host: portless.test\nedge.tls: off");
    portless.ports.clear();
    let refused = crate::support::origin::refused_port();
    let labels =
        format!("edge.host: refuses.test\nedge.tls: off\nedge.hold: off\nedge.port: {refused}");
    let mut refuses = app("refuses", refused, &labels);
    refuses.ports = vec![1];
    engine.set_containers([
        app("typo", 1, "edge.host: typo.test\nedge.hots: x"),
        refuses,
        portless,
    ]);
    let wharf = start(&engine, Some("edge"));
    let told = wharf.wait_log("edge.hots");
    assert!(told.contains("did you mean `host`?"), "{told}");
    let status = wharf.status_text();
    assert!(status.contains("edge.hots"), "{status}");
    assert!(
        status.contains("exposes no TCP port: set edge.port"),
        "{status}"
    );
    let page = wharf.wait_answer("refuses.test", "/", |answer| answer.status == 502);
    assert!(page.text().contains("set edge.port"), "{}", page.text());
    let page = wharf.get("nobody.test", "/").unwrap();
    assert!(
        page.text().contains("the label edge.host: nobody.test"),
        "{}",
        page.text()
    );
    let query = "/explain?url=http%3A%2F%2Fportless.test%2F";
    let told = http::get(wharf.admin, "localhost", query).unwrap().text();
    assert!(told.contains("edge.port"), "{told}");
    for text in [status, told, wharf.log_lines().join("\n")] {
        assert!(
            !text.contains("wharf.port") && !text.contains("wharf.host"),
            "{text}"
        );
    }
}
