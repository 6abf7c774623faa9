//! `wharf.path` beyond prefixes (product.md S12), and the forms a path may have (B41).

use crate::support::curl::curl;
use crate::support::docker::{App, unique};
use crate::support::nginx::Both;
use crate::support::wharf::Builder;

const APPS: &[(&str, &str)] = &[
    ("root", "wharf.host: a.test"),
    ("api", "wharf.host: a.test\nwharf.path: /api"),
    ("deep", "wharf.host: a.test\nwharf.path: /api/v1"),
    ("exact", "wharf.host: a.test\nwharf.path: =/api/status"),
    ("php", "wharf.host: a.test\nwharf.path: ~\\.php$"),
    ("image", "wharf.host: a.test\nwharf.path: ~*\\.(gif|jpe?g)$"),
    (
        "files",
        "wharf.host: a.test\nwharf.path: /files\nwharf.priority: 1",
    ),
    ("cafe", "wharf.host: a.test\nwharf.path: /café/a b"),
];
const SERVER: &str = r#"
    server {
        location / { proxy_pass http://@root; }
        location ~ ^/api(/|$) { proxy_pass http://@api; }
        location ^~ /api/v1/ { proxy_pass http://@deep; }
        location = /api/status { proxy_pass http://@exact; }
        location ~ \.php$ { proxy_pass http://@php; }
        location ~* \.(gif|jpe?g)$ { proxy_pass http://@image; }
        location ^~ /files/ { proxy_pass http://@files; }
        location "/café/a b/" { proxy_pass http://@cafe; }
    }
"#;

#[test]
fn paths_are_chosen_as_nginx_does_and_passed_on_as_written() {
    let both = Both::start(APPS, SERVER);
    for (target, app) in [
        ("/", "root"),
        ("/apix", "root"),
        ("/api", "api"),
        ("/api/", "api"),
        ("/api/x?y=/api/status", "api"),
        ("/api/v1/x", "deep"),
        ("/api/status", "exact"),
        ("/api/status?x", "exact"),
        ("/api/status/", "api"),
        ("/x.php", "php"),
        ("/x.php?y", "php"),
        ("/x.PHP", "root"),
        ("/x.php5", "root"),
        ("/a/b.JPEG", "image"),
        ("/files/x.php", "files"),
        ("/files/../files/x", "files"),
        ("/%61pi/%73tatus", "exact"),
        ("/x%2ephp", "php"),
        ("/caf%C3%A9/a%20b/c", "cafe"),
        ("/caf%c3%a9/x", "root"),
        ("/x%3By%26", "root"),
        ("/a%20b%7e", "root"),
    ] {
        assert_eq!(both.get("a.test", target), format!("{app} {target}"));
    }
}

/// docs/nginx.md names these.
#[test]
fn a_path_that_two_routes_could_claim_is_refused_where_nginx_resolves_it() {
    let both = Both::start(APPS, SERVER);
    for (target, nginx) in [
        ("/x/../api/status", "exact"),
        ("/files/../x.php", "php"),
        ("/x/%2e%2e/files/x", "files"),
        ("//api/status", "exact"),
        ("/files%2fx", "files"),
    ] {
        let request = crate::support::nginx::get("a.test", target);
        let (wharf, theirs) = both.ask(&request);
        assert_eq!(wharf.status(), 400, "{target}");
        assert_eq!(theirs.text(), format!("{nginx} {target}"));
    }
    for target in ["/x%00.php", "/../x"] {
        let (wharf, theirs) = both.ask(&crate::support::nginx::get("a.test", target));
        assert_eq!((wharf.status(), theirs.status()), (400, 400), "{target}");
    }
}

#[test]
fn s12_b41_one_host_is_shared_by_paths_of_all_kinds() {
    let wharf = Builder::new().start();
    let host = format!("{}.test", unique("s12"));
    let app = |name: &str, path: &str| {
        let app = App::new(name).env("NAME", name).label("wharf.host", &host);
        app.label("wharf.path", path)
            .label("wharf.https", "both")
            .run()
    };
    let _containers = [
        app("root", "/"),
        app("exact", "=/login/json"),
        app("regex", r"~^/v[0-9]+/"),
        app("prefix", "/caf\u{e9}"),
    ];
    let root = wharf.local_root();
    let ask = |path: &str| {
        let curl = curl(&format!("https://{host}{path}"), wharf.https).root(&root);
        curl.arg(&["--path-as-is"]).run().unwrap()
    };
    for (path, name) in [
        ("/x", "root"),
        ("/login/json", "exact"),
        ("/login/json/", "root"),
        ("/v12/x", "regex"),
        ("/%76%31/%78", "regex"),
        ("/v/x", "root"),
        ("/caf%C3%A9/x", "prefix"),
    ] {
        wharf.wait_answer(&host, path, |answer| {
            answer.status == 200 && answer.text().contains(&format!("Name: {name}\n"))
        });
        let told = ask(path).text();
        assert!(told.contains(&format!("Name: {name}\n")), "{path}: {told}");
        assert!(told.contains(&format!("GET {path} ")), "{path}: {told}");
    }
    assert_eq!(ask("/x/../v1/x").status, 400);
}
