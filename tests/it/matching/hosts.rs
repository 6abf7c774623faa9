//! `wharf.host` beyond exact names (product.md S11).

use crate::support::curl::curl;
use crate::support::docker::{App, unique};
use crate::support::nginx::Both;
use crate::support::wharf::Builder;

#[test]
fn hosts_are_chosen_as_nginx_does() {
    let both = Both::start(
        &[
            ("exact", "wharf.host: a.x.test"),
            ("below", "wharf.host: **.x.test"),
            ("deeper", "wharf.host: **.deep.x.test"),
            ("regex", r"wharf.host: ~^shop\d{1,3}\.test$"),
            ("dot", "wharf.host: dot.test, **.dot.test"),
            ("rest", "wharf.host: default"),
        ],
        // nginx's `*.x.test` is any depth.
        r#"
        server { server_name _; location / { proxy_pass http://@rest; } }
        server { server_name *.x.test; location / { proxy_pass http://@below; } }
        server { server_name a.x.test; location / { proxy_pass http://@exact; } }
        server { server_name *.deep.x.test; location / { proxy_pass http://@deeper; } }
        server { server_name "~^shop\d{1,3}\.test$"; location / { proxy_pass http://@regex; } }
        server { server_name .dot.test; location / { proxy_pass http://@dot; } }
        "#,
    );
    for (host, app) in [
        ("a.x.test", "exact"),
        ("A.X.Test:8080", "exact"),
        ("b.x.test", "below"),
        ("c.b.x.test", "below"),
        ("b.a.x.test", "below"),
        ("x.test", "rest"),
        ("ax.test", "rest"),
        ("deep.x.test", "below"),
        ("1.deep.x.test", "deeper"),
        ("2.1.deep.x.test", "deeper"),
        ("shop7.test", "regex"),
        ("SHOP777.test", "regex"),
        ("shop7777.test", "rest"),
        ("shop7.test.evil.test", "rest"),
        ("dot.test", "dot"),
        ("a.b.dot.test", "dot"),
        ("unknown.test", "rest"),
    ] {
        assert_eq!(both.get(host, "/"), format!("{app} /"), "{host}");
    }
}

#[test]
fn s11_names_of_any_depth_and_of_a_regex_are_served_over_https() {
    let wharf = Builder::new().start();
    let top = unique("s11");
    let app = |name: &str, host: &str| {
        let app = App::new(name).env("NAME", name).label("wharf.host", host);
        app.label("wharf.tls", "internal").run()
    };
    let _containers = [
        app("below", &format!("**.{top}.test")),
        app("regex", &format!(r"~^{top}-v[0-9]+\.test$")),
    ];
    let root = wharf.local_root();
    for (host, name, certified) in [
        (format!("a.{top}.test"), "below", true),
        // No certificate of the built-in CA names these.
        (format!("b.a.{top}.test"), "below", false),
        (format!("{top}-v12.test"), "regex", false),
    ] {
        wharf.wait_answer(&host, "/json", |answer| answer.status == 301);
        let ask = || curl(&format!("https://{host}/json"), wharf.https).root(&root);
        if !certified {
            let refused = ask().run().unwrap_err();
            assert!(refused.contains("certificate"), "{host}: {refused}");
        }
        let request = if certified {
            ask()
        } else {
            ask().arg(&["--insecure"])
        };
        let answer = request.run().unwrap();
        assert_eq!(answer.json()["name"], name, "{host}");
    }
    let unknown = curl(&format!("https://{top}-v.test/"), wharf.https).root(&root);
    assert!(unknown.run().unwrap_err().contains("unrecognized name"));
}
