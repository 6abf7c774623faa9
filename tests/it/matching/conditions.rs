//! `wharf.match` (product.md B20).

use crate::support::curl::curl;
use crate::support::docker::{App, unique};
use crate::support::nginx::Both;
use crate::support::wharf::Builder;

#[test]
fn requests_are_told_apart_as_by_a_map_of_nginx() {
    let both = Both::start(
        &[
            ("main", "wharf.host: a.test"),
            (
                "beta",
                "wharf.host: a.test\nwharf.match: header:X-Beta=1, method:GET|POST\nwharf.priority: 3",
            ),
            (
                "crew",
                "wharf.host: a.test\nwharf.match: cookie:crew=~^[a-z]{2,4}$\nwharf.priority: 2",
            ),
            (
                "preview",
                "wharf.host: a.test\nwharf.match: arg:preview=yes",
            ),
        ],
        r#"
        map $arg_preview $by_arg { default @main; yes @preview; }
        map $cookie_crew $by_cookie { default $by_arg; "~^[a-z]{2,4}$" @crew; }
        map "$request_method $http_x_beta" $app { default $by_cookie; "~^(GET|POST) 1$" @beta; }
        server { location / { proxy_pass http://$app; } }
        "#,
    );
    for (method, target, lines, app) in [
        ("GET", "/", "", "main"),
        ("GET", "/", "X-Beta: 1\r\n", "beta"),
        ("GET", "/", "x-beta: 1\r\n", "beta"),
        ("GET", "/", "X-Beta: 2\r\n", "main"),
        ("DELETE", "/", "X-Beta: 1\r\n", "main"),
        ("GET", "/x?preview=yes", "", "preview"),
        ("GET", "/x?a&preview=yes&b", "", "preview"),
        ("GET", "/x?preview=no", "", "main"),
        ("GET", "/x?xpreview=yes", "", "main"),
        ("GET", "/?preview=yes", "Cookie: a=b; crew=jo\r\n", "crew"),
        ("GET", "/", "Cookie: crew=joanna\r\n", "main"),
        ("GET", "/", "Cookie: crew=jo\r\nX-Beta: 1\r\n", "beta"),
    ] {
        let request = format!("{method} {target} HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n");
        let told = both.same(&request).text();
        assert_eq!(told, format!("{app} {target}"), "{request}");
    }
}

#[test]
fn b20_clients_of_one_host_get_the_app_their_request_is_for() {
    let wharf = Builder::new()
        .env("WHARF_TRUSTED_PROXIES", "127.0.0.1")
        .start();
    let host = format!("{}.test", unique("b20"));
    let app = |name: &str, labels: &[(&str, &str)]| {
        let app = App::new(name).env("NAME", name).label("wharf.host", &host);
        let app = app.label("wharf.https", "both");
        let app = labels
            .iter()
            .fold(app, |app, (key, value)| app.label(key, value));
        app.run()
    };
    let _containers = [
        app("main", &[]),
        app(
            "beta",
            &[("wharf.match", "header:X-Beta=1, method:GET|HEAD")],
        ),
        app("office", &[("wharf.match", "ip:203.0.113.0/24")]),
        app("preview", &[("wharf.match", "arg:preview, path:/docs/**")]),
    ];
    let root = wharf.local_root();
    let ask = |path: &str, words: &[&str]| {
        let curl = curl(&format!("https://{host}{path}"), wharf.https).root(&root);
        let told = curl.arg(words).run().unwrap().text();
        let name = told.lines().find_map(|line| line.strip_prefix("Name: "));
        name.map(str::to_owned).ok_or(told)
    };
    let beta = ["--header", "X-Beta: 1"];
    let inside = ["--header", "X-Forwarded-For: 203.0.113.7"];
    let outside = ["--header", "X-Forwarded-For: 198.51.100.1"];
    let cases = [
        ("/", &[][..], "main"),
        ("/", &beta, "beta"),
        ("/", &["--header", "X-Beta: 2"], "main"),
        (
            "/",
            &["--header", "X-Beta: 1", "--request", "DELETE"],
            "main",
        ),
        ("/", &inside, "office"),
        ("/", &outside, "main"),
        ("/docs/a/b?preview", &[], "preview"),
        ("/docs/a/b", &[], "main"),
        ("/x?preview", &[], "main"),
    ];
    for (path, words, name) in cases {
        // The containers are seen one after the other.
        crate::support::eventually(name, std::time::Duration::from_secs(20), || {
            match ask(path, words) {
                Ok(found) if found == name => Ok(()),
                other => Err(format!("{path} {words:?}: {other:?}")),
            }
        });
    }
}
