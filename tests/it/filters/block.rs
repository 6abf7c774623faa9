//! `wharf.block` (S62).

use std::io::{Seek, Write};

use super::ask;
use crate::support::curl::curl;
use crate::support::docker::{App, unique};
use crate::support::nginx::Both;
use crate::support::wharf::Builder;

#[test]
fn s62_what_scanners_look_for_is_not_there() {
    let host = format!("{}.test", unique("block"));
    let _served = App::new("block")
        .label("wharf.host", &host)
        .label("wharf.tls", "off")
        .label("wharf.block", "exploits, *.key, /internal/*")
        .run();
    let wharf = Builder::new().start();
    wharf.wait_route(&host);
    let of = |path: &str| {
        let url = format!("http://{host}{path}");
        ask(wharf.http, "127.0.0.1", &url, &["--head"]).status
    };
    for path in [
        "/.git/config",
        "/.env",
        "/sub/.ENV.local",
        "/%2egit/HEAD",
        "/%252egit/HEAD",
        "/dump.sql",
        "/server.key",
        "/internal/metrics",
        "/INTERNAL/metrics",
        "/%69nternal/metrics",
    ] {
        assert_eq!(of(path), 404, "{path}");
    }
    for path in ["/json", "/.well-known/security.txt", "/keys", "/internally"] {
        assert_ne!(of(path), 404, "{path}");
    }
}

#[test]
fn s62_nginx_blocks_the_same_by_a_regex() {
    let both = Both::start(
        &[(
            "app",
            "wharf.host: a.test\nwharf.block: ~*\\.(git|env|bak|sql|log)$",
        )],
        "server { server_name a.test;
           location ~* \\.(git|env|bak|sql|log)$ { return 404; }
           location / { proxy_pass http://@app; } }",
    );
    for path in [
        "/", "/.git", "/x.SQL", "/x.sql/y", "/a.log?b", "/a.logs", "/%2egit",
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n");
        let (wharf, nginx) = both.ask(&request);
        assert_eq!(wharf.status(), nginx.status(), "{path}");
    }
}

#[test]
fn an_upload_that_is_refused_over_http2_gets_its_answer() {
    let host = format!("{}.test", unique("upload"));
    let _served = App::new("upload")
        .label("wharf.host", &host)
        .label("wharf.tls", "internal")
        .label("wharf.block", "/internal/*")
        .label("wharf.redirect", "/old/* -> /new/{1} 307")
        .run();
    let wharf = Builder::new().start();
    wharf.wait_answer(&host, "/", |answer| answer.status == 301);
    let mut file = tempfile::NamedTempFile::new().unwrap();
    // Less and more than the windows allow before anybody reads.
    for size in [1_000, 200_000, 900_000] {
        file.write_all(&vec![b'x'; size]).unwrap();
        for (path, status) in [("/internal/x", 404), ("/old/x", 307)] {
            let upload = format!("@{}", file.path().display());
            let asked = curl(&format!("https://{host}{path}"), wharf.https)
                .root(&wharf.local_root())
                .arg(&["--http2", "--data-binary", &upload]);
            let answer = asked.run().unwrap();
            assert_eq!(
                (answer.status, &*answer.version),
                (status, "2"),
                "{size} {path}"
            );
        }
        file.as_file().set_len(0).unwrap();
        file.rewind().unwrap();
    }
}
