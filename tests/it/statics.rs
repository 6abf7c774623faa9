//! S70, S71: files from a directory in Wharf's container, beside nginx's `root`, `alias`, `try_files`, `expires` and
//! `gzip_static`.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::time::Duration;

use crate::support::chromium::User;
use crate::support::curl::curl;
use crate::support::docker::{App, unique};
use crate::support::http::Response;
use crate::support::nginx::Nginx;
use crate::support::origin::{Served, ok};
use crate::support::peer::{End, Message, Peer};
use crate::support::site::{Site, app};
use crate::support::wharf::{Builder, Wharf};

/// A directory of files, as a volume that Wharf has.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.write("www/index.html", "<h1>home</h1>");
        files.write("www/docs/index.html", "<h1>docs</h1>");
        files.write("www/assets/app.js", &"console.log(1);\n".repeat(100));
        files.write("www/assets/app.js.gz", "not really gzip");
        files.write("www/logo.png", "png");
        files.write("www/caf\u{e9} x.txt", "coffee");
        files.write("www/empty.txt", "");
        files.write("www/.env", "SECRET=1");
        files.write("secret.txt", "secret");
        let big: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
        fs::write(files.path().join("www/big.bin"), big).unwrap();
        std::os::unix::fs::symlink("../secret.txt", files.path().join("www/out.txt")).unwrap();
        files
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn text(&self) -> &str {
        self.path().to_str().unwrap()
    }

    /// A site of files alone on `a.test`, plain HTTP.
    fn site(&self, labels: &str) -> Site {
        let labels = format!("wharf.host: a.test\nwharf.tls: off\n{labels}");
        let labels = labels.replace("/srv", self.text());
        Site::with([app("site", 1, &labels)], |builder| {
            builder.env("WHARF_STATIC_DIR", self.text())
        })
    }

    fn nginx(&self, server: &str) -> Nginx {
        Nginx::start(&format!(
            "types {{ text/html html; application/javascript js; text/plain txt; image/png png; }}\n\
             default_type application/octet-stream;\nserver {{ {} }}",
            server.replace("/srv", self.text())
        ))
    }
}

fn request(method: &str, path: &str, fields: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n")
}

fn field(answer: &Message, name: &str) -> String {
    answer.fields(name).collect::<Vec<_>>().join(", ")
}

/// S70: the same files, statuses, parts and encodings as from nginx.
#[test]
fn s70_files_are_served_as_nginx_serves_them() {
    let files = Files::new();
    let site = files.site("wharf.static: /srv/www expires=30d");
    let nginx = files.nginx(
        "root /srv/www; gzip_static on; expires 30d; location ~ /\\. { return 404; } disable_symlinks on from=/srv/www;",
    );
    for (method, path, fields) in [
        ("GET", "/", ""),
        ("GET", "/index.html", ""),
        ("GET", "/docs/", ""),
        ("GET", "/docs", ""),
        ("GET", "/docs?a=b", ""),
        ("GET", "/logo.png", ""),
        ("GET", "/caf%C3%A9%20x.txt", ""),
        ("GET", "/empty.txt", ""),
        ("GET", "/assets/app.js", ""),
        ("GET", "/assets/app.js", "Accept-Encoding: gzip\r\n"),
        ("GET", "/assets/app.js", "Accept-Encoding: gzip;q=0\r\n"),
        ("GET", "/missing", ""),
        ("GET", "/index.html/", ""),
        ("GET", "/.env", ""),
        ("GET", "/big.bin", ""),
        ("GET", "/big.bin", "Range: bytes=1000000-1999999\r\n"),
        ("GET", "/big.bin", "Range: bytes=-5\r\n"),
        ("GET", "/big.bin", "Range: bytes=9999999-\r\n"),
        (
            "GET",
            "/big.bin",
            "If-Modified-Since: Thu, 31 Dec 2099 23:59:59 GMT\r\n",
        ),
        (
            "GET",
            "/big.bin",
            "If-Unmodified-Since: Thu, 01 Jan 1970 00:00:00 GMT\r\n",
        ),
        ("GET", "/big.bin", "If-None-Match: *\r\n"),
        ("POST", "/logo.png", "Content-Length: 0\r\n"),
    ] {
        let ask = |address| {
            Peer::connect(address)
                .send(request(method, path, fields))
                .message()
        };
        let (wharf, beside) = (ask(site.http()), ask(nginx.address));
        let case = format!("{method} {path} {fields}: {}\n{}", wharf.head, beside.head);
        // nginx takes a date in the future for one that nobody has told it (`if_modified_since exact`).
        let known = fields.starts_with("If-Modified-Since");
        let expected = if known { 304 } else { beside.status() };
        assert_eq!(wharf.status(), expected, "{case}");
        for name in ["location", "content-range", "content-encoding"] {
            if !known {
                assert_eq!(field(&wharf, name), field(&beside, name), "{name}: {case}");
            }
        }
        if wharf.status() < 300 {
            assert!(wharf.body == beside.body, "{case}");
            assert_eq!(
                field(&wharf, "content-length"),
                field(&beside, "content-length"),
                "{case}"
            );
            let kept = field(&wharf, "cache-control");
            assert_eq!(
                kept,
                format!("public, {}", field(&beside, "cache-control")),
                "{case}"
            );
            assert!(!field(&wharf, "expires").is_empty(), "{case}");
            assert!(!field(&wharf, "etag").is_empty(), "{case}");
            assert_eq!(
                field(&wharf, "last-modified"),
                field(&beside, "last-modified"),
                "{case}"
            );
        }
    }
    let out = Peer::connect(site.http())
        .send(request("GET", "/out.txt", ""))
        .message();
    assert_eq!((out.status(), out.text().contains("secret")), (404, false));
    let mut again = Peer::connect(site.http());
    for path in ["/big.bin", "/", "/missing", "/big.bin", "/empty.txt", "/"] {
        again.send(request("GET", path, "")).message();
    }
    again.is_silent();
    let options = Peer::connect(site.http())
        .send(request("OPTIONS", "/", ""))
        .message();
    assert_eq!(
        (options.status(), &*field(&options, "allow")),
        (204, "GET, HEAD, OPTIONS")
    );
}

/// S70: HEAD, over TLS and HTTP/2 as well, large files whole, and other answers on the same connection behind them.
#[test]
fn s70_large_files_arrive_whole_by_every_way() {
    let files = Files::new();
    let host = format!("{}.localhost", unique("files"));
    let labels = format!(
        "wharf.host: {host}\nwharf.https: both\nwharf.static: {}/www immutable=/assets/**",
        files.text()
    );
    let site = Site::with([app("site", 1, &labels)], |builder| {
        builder.env("WHARF_STATIC_DIR", files.text())
    });
    let expected = fs::read(files.path().join("www/big.bin")).unwrap();
    let root = site.wharf.local_root();
    for (scheme, address, version) in [
        ("http", site.wharf.http, "--http1.1"),
        ("https", site.wharf.https, "--http1.1"),
        ("https", site.wharf.https, "--http2"),
    ] {
        let ask = |path: &str, args: &[&str]| {
            let curl = curl(&format!("{scheme}://{host}{path}"), address).root(&root);
            curl.arg(&[version]).arg(args).run().unwrap()
        };
        let whole = ask("/big.bin", &[]);
        assert!(
            whole.status == 200 && whole.body == expected,
            "{scheme} {version}"
        );
        let part = ask("/big.bin", &["--range", "100-1500000"]);
        assert!(part.status == 206 && part.body == expected[100..=1_500_000]);
        assert_eq!(ask("/", &[]).text(), "<h1>home</h1>");
        assert_eq!(ask("/empty.txt", &[]).body, b"");
        assert_eq!(ask("/missing", &[]).status, 404);
        let head = ask("/big.bin", &["--head"]).text();
        assert!(
            head.to_ascii_lowercase()
                .contains("content-length: 3000000\r\n"),
            "{head}"
        );
        let kept = ask("/assets/app.js", &["--head"])
            .text()
            .to_ascii_lowercase();
        assert!(
            kept.contains("cache-control: public, max-age=31536000, immutable\r\n"),
            "{kept}"
        );
    }
}

/// S70: a file that becomes shorter under way cuts the connection; nobody takes a part for the whole.
#[test]
fn s70_a_file_that_shrinks_is_cut_off() {
    let files = Files::new();
    let path = files.path().join("www/huge.bin");
    let size = 256 << 20;
    fs::File::create(&path).unwrap().set_len(size).unwrap();
    let site = files.site("wharf.static: /srv/www");
    let mut client = TcpStream::connect(site.http()).unwrap();
    client
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    client
        .write_all(request("GET", "/huge.bin", "").as_bytes())
        .unwrap();
    let mut bytes = vec![0; 1 << 20];
    client.read_exact(&mut bytes).unwrap();
    let head = String::from_utf8_lossy(&bytes[..500]).to_ascii_lowercase();
    assert!(
        head.contains(&format!("content-length: {size}\r\n")),
        "{head}"
    );
    fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(1000)
        .unwrap();
    let mut got = bytes.len() as u64;
    loop {
        match client.read(&mut bytes) {
            Ok(0) => break,
            Ok(count) => got += count as u64,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(got < size, "{got}");
    site.wharf.wait_log("answer cut");
    let next = Peer::connect(site.http())
        .send(request("GET", "/", ""))
        .message();
    assert_eq!(next.status(), 200);
    let _ = client.shutdown(Shutdown::Both);
}

/// S70, the seed's form: `location /static/ { alias …; expires 30d; add_header Cache-Control "public, immutable";
/// access_log off; }` beside an app; S71: what is off is not in the access log.
#[test]
fn s70_s71_files_below_a_path_of_an_app() {
    let files = Files::new();
    let echo = Served::by(|request| ok(format!("app {}", request.head.split(' ').nth(1).unwrap())));
    let labels = format!(
        "wharf.host: a.test\nwharf.tls: off\nwharf.headers.response: X-Via=wharf\n\
         wharf.assets.path: /static\nwharf.assets.static: {0}/www expires=30d immutable log=off\n\
         wharf.guarded.path: /guarded\nwharf.guarded.static: {0}/www expires=1h\n\
         wharf.guarded.allow: 10.9.8.7\n\
         wharf.gone.path: /gone\nwharf.gone.static: {0}/gone",
        files.text()
    );
    let site = Site::with([app("app", echo.port(), &labels)], |builder| {
        builder.env("WHARF_STATIC_DIR", files.text())
    });
    let nginx = files.nginx(&format!(
        "location / {{ proxy_pass http://127.0.0.1:{}; }} \
         location /static/ {{ alias /srv/www/; expires 30d; add_header Cache-Control \"public, immutable\"; access_log off; }}",
        echo.port()
    ));
    for path in [
        "/x",
        "/static/assets/app.js",
        "/static/docs/",
        "/static/docs",
        "/static/missing",
    ] {
        let ask = |address| {
            Peer::connect(address)
                .send(request("GET", path, ""))
                .message()
        };
        let (wharf, beside) = (ask(site.http()), ask(nginx.address));
        assert_eq!(wharf.status(), beside.status(), "{path}");
        assert_eq!(
            field(&wharf, "location"),
            field(&beside, "location"),
            "{path}"
        );
        assert_eq!(field(&wharf, "x-via"), "wharf", "{path}");
        if wharf.status() == 200 {
            assert_eq!(wharf.body, beside.body, "{path}");
        }
        if path == "/static/assets/app.js" {
            assert_eq!(
                field(&wharf, "cache-control"),
                "public, max-age=2592000, immutable"
            );
            assert_eq!(
                field(&beside, "cache-control"),
                "max-age=2592000, public, immutable"
            );
        }
    }
    let ask = |path: &str| site.send(request("GET", path, "")).message();
    assert_eq!(ask("/guarded/").status(), 403);
    let gone = ask("/gone/x");
    assert_eq!(gone.status(), 503);
    assert!(gone.text().contains("mount the volume"), "{}", gone.text());
    ask("/last");
    // One worker, so in order.
    let lines = site.wharf.wait_out(4);
    let logged = |path: &str| lines.iter().any(|line| line.contains(path));
    assert!(lines[3].contains("/last"), "{lines:?}");
    assert!(
        logged("/x") && logged("/guarded/") && logged("/gone/x"),
        "{lines:?}"
    );
    assert!(!logged("/static/"), "{lines:?}");
    let status = site.wharf.status_text();
    assert!(status.contains("files"), "{status}");
}

fn files_alone(files: &Files, host: &str) -> (crate::support::docker::Container, Wharf) {
    // A container without a network and without a port that is listened on.
    let app = App::new("static")
        .arg(&["--network", "none"])
        .label("wharf.host", host)
        .label(
            "wharf.static",
            &format!("{}/www spa expires=30d immutable=/assets/**", files.text()),
        );
    let app = app.run();
    let wharf = Builder::new().env("WHARF_STATIC_DIR", files.text()).start();
    (app, wharf)
}

/// S70: a site of one page for a real browser, by a container that answers nothing itself: nginx's
/// `try_files $uri $uri/ /index.html`.
#[test]
fn s70_a_single_page_site_in_a_browser() {
    let files = Files::new();
    files.write(
        "www/index.html",
        "<!doctype html><title>x</title><p id=where></p><script src=/assets/spa.js></script>",
    );
    files.write(
        "www/assets/spa.js",
        "if (location.pathname === '/') location.replace('/some/page');\n\
         document.getElementById('where').textContent = 'page ' + location.pathname;",
    );
    let host = format!("{}.localhost", unique("spa"));
    let (_app, wharf) = files_alone(&files, &host);
    let told = wharf.wait_answer(&host, "/", |answer: &Response| answer.status == 301);
    let location = told.header("location").unwrap_or_default();
    assert!(
        location.starts_with(&format!("https://{host}")),
        "{location}"
    );
    let root = wharf.local_root();
    let ask = |path: &str, args: &[&str]| {
        let curl = curl(&format!("https://{host}{path}"), wharf.https).root(&root);
        curl.arg(args).run().unwrap()
    };
    assert!(ask("/some/page", &[]).text().contains("/assets/spa.js"));
    assert_eq!(ask("/assets/old.js", &[]).status, 404);
    assert_eq!(
        ask("/some/page", &["--header", "Sec-Fetch-Mode: cors"]).status,
        404
    );
    let page = ask("/some/page", &["--head"]).text().to_ascii_lowercase();
    assert!(page.contains("cache-control: no-cache\r\n"), "{page}");

    let nginx = files.nginx("root /srv/www; location / { try_files $uri $uri/ /index.html; }");
    let beside = Peer::connect(nginx.address)
        .send(request("GET", "/some/page", ""))
        .message();
    assert_eq!(beside.text(), ask("/some/page", &[]).text());

    let user = User::new();
    fs::write(user.home().join("wharf-ca.crt"), &root).unwrap();
    user.shell("certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n wharf -i wharf-ca.crt");
    let page = user.open(&host, wharf.https).unwrap();
    assert!(page.contains("page /some/page"), "{page}");
}

/// S70: without a directory, or with one elsewhere, the route answers 503 and says why.
#[test]
fn s70_nothing_outside_the_directory_is_served() {
    let files = Files::new();
    let labels = "wharf.host: a.test\nwharf.tls: off\nwharf.static: /etc";
    let site = Site::with([app("site", 1, labels)], |builder| {
        builder.env("WHARF_STATIC_DIR", files.text())
    });
    let answer = site.send(request("GET", "/passwd", "")).message();
    assert_eq!(answer.status(), 503);
    assert!(
        answer.text().contains("WHARF_STATIC_DIR"),
        "{}",
        answer.text()
    );
    let mut cut = Peer::connect(site.http());
    cut.send("GET / HTTP/1.0\r\nHost: a.test\r\n\r\n");
    assert_eq!(cut.message().status(), 503);
    assert_eq!(cut.ended(), End::Fin);
}
