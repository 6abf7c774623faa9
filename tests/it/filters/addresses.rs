//! `wharf.allow` and `wharf.deny` (S56).

use super::ask;
use crate::support::docker::{App, unique};
use crate::support::nginx::Both;
use crate::support::origin::Served;
use crate::support::site::{Site, app};
use crate::support::wharf::Builder;

#[test]
fn s56_clients_are_let_in_by_address() {
    let host = format!("{}.test", unique("allow"));
    let served = App::new("allow")
        .label("wharf.host", &host)
        .label("wharf.tls", "off")
        .label("wharf.allow", "127.1.0.0/16, 10.0.0.0/8")
        .label("wharf.deny", "127.1.2.0/24")
        .run();
    let wharf = Builder::new().start();
    wharf.wait_answer(&host, "/", |answer| answer.status == 403);
    let url = format!("http://{host}/json");
    assert_eq!(ask(wharf.http, "127.1.0.9", &url, &[]).status, 200);
    for client in ["127.0.0.1", "127.1.2.9"] {
        let told = ask(
            wharf.http,
            client,
            &url,
            &["-H", "Accept: application/json"],
        );
        assert_eq!(told.status, 403, "{client}");
    }
    // Nobody names an address for himself.
    let forged = [
        "-H",
        "X-Forwarded-For: 127.1.0.9",
        "-H",
        "X-Real-IP: 127.1.0.9",
    ];
    assert_eq!(ask(wharf.http, "127.0.0.1", &url, &forged).status, 403);
    assert!(!served.logs().contains("panicked"));
}

#[test]
fn s56_nginx_lets_in_the_same() {
    let both = Both::start(
        &[(
            "app",
            "wharf.host: a.test\nwharf.allow: 127.1.0.0/16, ::1\nwharf.deny: 127.1.2.0/24",
        )],
        "server { server_name a.test;
           deny 127.1.2.0/24; allow 127.1.0.0/16; allow ::1; deny all;
           location / { proxy_pass http://@app; } }",
    );
    for client in [
        "127.0.0.1",
        "127.1.0.1",
        "127.1.2.1",
        "127.1.3.1",
        "127.2.0.1",
    ] {
        let of = |address| ask(address, client, "http://a.test/", &[]).status;
        assert_eq!(of(both.site.http()), of(both.nginx.address), "{client}");
    }
}

#[test]
fn a_trusted_proxy_says_who_the_client_is() {
    let served = Served::text("in");
    let labels = "wharf.host: a.test\nwharf.tls: off\nwharf.allow: 203.0.113.0/24";
    let site = Site::with([app("app", served.port(), labels)], |wharf| {
        wharf.env("WHARF_TRUSTED_PROXIES", "127.1.0.0/16")
    });
    let from = |client, told: &str| {
        let line = format!("X-Forwarded-For: {told}");
        ask(site.http(), client, "http://a.test/", &["-H", &line]).status
    };
    assert_eq!(from("127.1.0.1", "203.0.113.7"), 200);
    assert_eq!(from("127.1.0.1", "198.51.100.7"), 403);
    // Written by the client, before the proxy's own.
    assert_eq!(from("127.1.0.1", "203.0.113.7, 198.51.100.7"), 403);
    assert_eq!(from("127.0.0.1", "203.0.113.7"), 403);
}

#[test]
fn a_list_that_is_not_understood_lets_nobody_in() {
    let served = Served::text("in");
    let labels = "wharf.host: a.test\nwharf.tls: off\nwharf.allow: 127.0.0.0/8, privat";
    let site = Site::start([app("app", served.port(), labels)]);
    let answer = ask(site.http(), "127.0.0.1", "http://a.test/", &[]);
    assert_eq!(answer.status, 503);
    let cause = "wharf.allow: `privat` is unknown; did you mean private?";
    assert!(answer.text().contains(cause), "{}", answer.text());
}

#[test]
fn a_named_route_has_lists_of_its_own() {
    let served = Served::text("in");
    let labels = "wharf.host: a.test\nwharf.tls: off\nwharf.allow: 127.1.0.0/16\n\
                  wharf.open.path: /open\nwharf.open.allow: 127.0.0.0/8\n\
                  wharf.same.path: /same";
    let site = Site::start([app("app", served.port(), labels)]);
    for (path, status) in [
        ("/", 403),
        ("/open", 200),
        ("/same", 403),
        ("/open/../x", 400),
    ] {
        let url = format!("http://a.test{path}");
        assert_eq!(
            ask(site.http(), "127.0.0.1", &url, &[]).status,
            status,
            "{path}"
        );
    }
    assert_eq!(site.metric("wharf_errors_total{kind=\"denied\"}"), 2.0);
}
