//! The access log in full (product.md S71, S72): formats, files, what is lost and what is not. Its lines are in `access`.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::support::eventually;
use crate::support::h2::H2;
use crate::support::nginx::Both;
use crate::support::origin::{Origin, Served, ok};
use crate::support::peer::Peer;
use crate::support::site::{Site, app, get};

const LIMIT: Duration = Duration::from_secs(30);

/// An app on `a.test`, and settings of Wharf's.
fn site(env: &[(&str, &str)]) -> (Site, Served) {
    let served = Served::text("hi");
    let labels = "wharf.host: a.test\nwharf.tls: off";
    let site = Site::with([app("app", served.port(), labels)], |wharf| {
        (env.iter()).fold(wharf, |wharf, (name, value)| wharf.env(name, value))
    });
    (site, served)
}

/// Lines of a file, once there are so many.
fn lines(path: &Path, count: usize) -> Vec<String> {
    eventually("lines of the access log", LIMIT, || {
        let text = fs::read_to_string(path).unwrap_or_default();
        let lines: Vec<_> = text.lines().map(str::to_owned).collect();
        match lines.len() >= count {
            true => Ok(lines),
            false => Err(text),
        }
    })
}

/// All files of a directory, and how many lines are in them.
fn all_lines(directory: &Path) -> (Vec<u64>, Vec<String>) {
    let mut sizes = Vec::new();
    let mut lines = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        sizes.push(text.len() as u64);
        lines.extend(text.lines().map(str::to_owned));
    }
    (sizes, lines)
}

/// Without what stands between `[` and `]`.
fn without_time(line: &str) -> String {
    let (before, rest) = line.split_once('[').unwrap();
    format!("{before}{}", rest.split_once(']').unwrap().1)
}

/// Requests of all kinds, each with an end of its connection.
fn requests() -> Vec<String> {
    let with = |lines: &str| format!("GET /x?b=1&c HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n");
    let mut requests: Vec<String> = [
        "",
        "User-Agent: curl/8.1 (x; y)\r\nReferer: https://r.test/?q=\"1\"\r\n",
        "User-Agent:\r\nReferer: \r\n",
        "User-Agent: \"a\\b\" \u{fc}\t\u{1f600}\r\n",
        "Authorization: Basic YW5uOnNlY3JldA==\r\n",
        "Authorization: basic   YW5uOnNlY3JldA\r\n",
        "Authorization: Basic YW5u\r\n",
        "Authorization: Basic OnNlY3JldA==\r\n",
        "Authorization: Basic !!!\r\n",
        "Authorization: Basic YW4gIm4iOng=\r\n",
        "Authorization: Bearer abc\r\n",
        "X-Custom: 1\r\nCookie: a=b; lang=de; c=d\r\n",
        "Cookie: LANG=x y\r\n",
    ]
    .map(with)
    .to_vec();
    let plain = |line: &str| format!("{line}\r\nHost: A.test:8080\r\n\r\n");
    let lines = [
        "GET / HTTP/1.1",
        "GET /? HTTP/1.1",
        "GET /a%20b/%C3%BC?b=%22&B=2 HTTP/1.1",
        "GET /\u{fc}\"{}|\\ HTTP/1.1",
        "HEAD /head HTTP/1.1",
        "GET /old HTTP/1.0",
        "GET http://a.test/absolute?b=c HTTP/1.1",
        "DELETE /gone/404 HTTP/1.1",
        "GET /none/204 HTTP/1.1",
        "GET /broken/503 HTTP/1.1",
        "OPTIONS /x HTTP/1.1",
    ];
    requests.extend(lines.map(plain));
    requests.push("POST /p HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\n12345".into());
    requests
}

/// S72: what nginx's `combined` and a `log_format` with each of the variables both have say of a request, Wharf says.
#[test]
fn s72_lines_are_those_of_nginx() {
    let combined = "$remote_addr - $remote_user [$time_local] \"$request\" $status \
                    $body_bytes_sent \"$http_referer\" \"$http_user_agent\"";
    let more = "|$request_method|$request_uri|$args|$query_string|$is_args|$scheme|$https|\
                $server_protocol|$request_length|$host|$http_host|$http_x_custom|$arg_b|\
                $cookie_lang|$upstream_status|${status}x|$ssl_protocol|$ssl_cipher|\
                $upstream_cache_status|$http_none";
    let longer = format!("{combined}{more}");
    let formats = [("combined", ""), (&*longer, "log_format mine")];
    for (format, define) in formats {
        let served = Served::by(|request| {
            let target = request.head.split(' ').nth(1).unwrap();
            let status = target.rsplit('/').next().unwrap();
            match status {
                "404" | "503" => {
                    format!("HTTP/1.1 {status} No\r\nContent-Length: 2\r\n\r\nno").into_bytes()
                }
                "204" => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
                _ if request.head.starts_with("HEAD") => {
                    b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n".to_vec()
                }
                _ => ok("hello"),
            }
        });
        let (define, name) = match define {
            "" => (String::new(), "combined"),
            define => (format!("{define} '{format}';\n"), "mine"),
        };
        let servers = format!(
            "{define}server {{ access_log access.log {name}; location / {{ proxy_pass http://@app; }} }}"
        );
        let apps = vec![("app", "wharf.host: a.test", served)];
        let both = Both::with(apps, &servers, |wharf| {
            wharf.env("WHARF_ACCESS_LOG_FORMAT", format)
        });
        let requests = requests();
        for request in &requests {
            let ask = |address| {
                let mut peer = Peer::connect(address);
                peer.send(request);
                match request.starts_with("HEAD") {
                    true => peer.head(),
                    false => peer.message().head,
                }
            };
            let head = |address| ask(address).split(' ').nth(1).map(str::to_owned);
            let (wharf, nginx) = (head(both.site.http()), head(both.nginx.address));
            assert_eq!(wharf, nginx, "{request}");
        }
        let wharf = both.site.wharf.wait_out(requests.len());
        let nginx = eventually("lines of nginx", LIMIT, || {
            let text = both.nginx.read("access.log");
            let lines: Vec<_> = text.lines().map(str::to_owned).collect();
            match lines.len() == requests.len() {
                true => Ok(lines),
                false => Err(text),
            }
        });
        let differ =
            |(wharf, nginx): &(&String, &String)| without_time(wharf) != without_time(nginx);
        let differing: Vec<_> = wharf.iter().zip(&nginx).filter(differ).collect();
        assert!(differing.is_empty(), "Wharf, nginx: {differing:#?}");
        for (wharf, nginx) in wharf.iter().zip(&nginx) {
            // Both in UTC here, within the same second or two.
            let shape = |line: &str| {
                let time = line.split_once('[').unwrap().1.split_once(']').unwrap().0;
                time.replace(|c: char| c.is_ascii_digit(), "0")
            };
            assert_eq!(shape(wharf), shape(nginx));
        }
    }
}

/// S72: scanners and clients that speak something else are in the log, too.
#[test]
fn s72_what_is_no_request_is_logged_as_nginx_logs_it() {
    let served = Served::text("hi");
    let server =
        "server { access_log access.log combined; location / { proxy_pass http://@app; } }";
    let both = Both::with(
        vec![("app", "wharf.host: a.test", served)],
        server,
        |wharf| wharf.env("WHARF_LOG_FORMAT", "combined"),
    );
    let requests = [
        "\u{16}\u{3}\u{1}\u{2}\r\n\r\n",
        "GET / HTTP/1.1\r\nHo st: a.test\r\nX: y\r\n\r\n",
    ];
    for request in requests {
        let (wharf, nginx) = both.ask(request);
        assert_eq!((wharf.status(), nginx.status()), (400, 400), "{request}");
    }
    let wharf = both.site.wharf.wait_out(2);
    let nginx = both.nginx.read("access.log");
    for (wharf, nginx) in wharf.iter().zip(nginx.lines()) {
        // The pages are not the same.
        let start = |line: &str| without_time(line).split(" 400 ").next().unwrap().to_owned();
        assert_eq!(start(wharf), start(nginx));
    }
    assert_eq!(nginx.lines().count(), 2);
}

/// S72: who was tried, with what success, how long it took.
#[test]
fn s72_a_request_that_is_sent_again_tells_of_both_tries() {
    let (first, second) = (Origin::new(), Origin::new());
    let labels = "wharf.host: a.test\nwharf.tls: off\nwharf.pool: p";
    let containers = [
        app("one", first.port(), labels),
        app("two", second.port(), labels),
    ];
    for format in [
        "json",
        "$upstream_addr $upstream_status $tries $container $upstream_header_time $upstream_connect_time",
    ] {
        let site = Site::with(containers.clone(), |wharf| {
            wharf.env("WHARF_ACCESS_LOG_FORMAT", format)
        });
        let mut client = site.send(
            "PUT /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\nReferer: r\r\n\r\n12345",
        );
        let origins = [&first, &second];
        let (failed, peer) = eventually("a try", LIMIT, || {
            let found = origins.iter().position(|origin| {
                origin.accepted().is_some_and(|mut peer| {
                    peer.head();
                    true
                })
            });
            // Whoever has it is gone without an answer.
            found.map(|index| (index, index)).ok_or_else(String::new)
        });
        assert_eq!(failed, peer);
        let answering = origins[1 - failed];
        answering.answer("HTTP/1.1 201 Created\r\nContent-Length: 3\r\n\r\nabc");
        assert_eq!(client.message().status(), 201);
        let line = site.wharf.wait_out(1).remove(0);
        let at = |index: usize| format!("127.0.0.1:{}", origins[index].port());
        let name = |index: usize| ["one", "two"][index];
        if format != "json" {
            let words: Vec<_> = line.split(' ').collect();
            let addresses = format!("{}, {}", at(failed), at(1 - failed));
            assert_eq!(words[..2].join(" "), addresses, "{line}");
            assert_eq!(
                words[2..6],
                ["502,", "201", "2", name(1 - failed)],
                "{line}"
            );
            assert_eq!(words[6], "-,", "{line}");
            assert!(words[7].parse::<f64>().unwrap() < 30.0, "{line}");
            continue;
        }
        let line: Value = serde_json::from_str(&line).unwrap();
        for (key, value) in [
            ("status", Value::from(201)),
            ("upstream_status", 201.into()),
            ("tries", 2.into()),
            ("bytes", 3.into()),
            ("bytes_in", 5.into()),
            ("endpoint", at(1 - failed).into()),
            ("container", name(1 - failed).into()),
            ("referer", "r".into()),
            ("user", Value::Null),
            ("user_agent", Value::Null),
            ("cache", Value::Null),
            ("tls", Value::Null),
            ("scheme", "http".into()),
        ] {
            assert_eq!(line[key], value, "{key}: {line}");
        }
        let time = |value: &Value| value.as_f64().unwrap_or_else(|| panic!("{line}"));
        let connect = time(&line["upstream_connect"]);
        let head = time(&line["upstream_first_byte"]);
        let total = time(&line["upstream_total"]);
        let duration = time(&line["duration"]);
        assert!(
            connect <= head && head <= total && total <= duration,
            "{line}"
        );
        let before = &line["failed"];
        assert_eq!(before.as_array().map(Vec::len), Some(1), "{line}");
        assert_eq!(before[0]["endpoint"], at(failed), "{line}");
        assert_eq!(before[0]["container"], name(failed), "{line}");
        assert_eq!(before[0]["status"], Value::Null, "{line}");
        assert!(time(&before[0]["total"]) + total <= duration, "{line}");
    }
}

/// S72: what a TLS connection and one of HTTP/2 have come to.
#[test]
fn s72_tls_and_http2_are_told() {
    let format = "$ssl_protocol $ssl_cipher $ssl_server_name $https $scheme $http_host $server_protocol $bytes_in";
    let served = Served::text("hi");
    let container = app("app", served.port(), "wharf.host: a.test");
    let site = Site::with([container], |wharf| {
        wharf.env("WHARF_ACCESS_LOG_FORMAT", format)
    });
    let mut client = site.tls("a.test").unwrap();
    client.send(get("/")).message();
    let suite = format!(
        "{:?}",
        client.session().negotiated_cipher_suite().unwrap().suite()
    );
    let suite = suite.replace("TLS13_", "TLS_");
    H2::connect_tls(site.wharf.https, "a.test", site.wharf.data())
        .get("https://a.test/", &[])
        .unwrap();
    let lines = site.wharf.wait_out(2);
    assert_eq!(
        lines[0],
        format!("TLSv1.3 {suite} a.test on https a.test HTTP/1.1 0")
    );
    assert!(
        lines[1].ends_with(" a.test on https a.test HTTP/2.0 0"),
        "{lines:?}"
    );
}

/// S71: what routes do unless their labels say otherwise is said once for all.
/// An upload that its client leaves: what of it had gone to the app. On HTTP/2 it is not known then.
#[test]
fn s72_what_came_of_an_upload_that_breaks_off_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("access.log");
    let origin = Origin::new();
    let container = app("app", origin.port(), "wharf.host: a.test\nwharf.tls: off");
    let site = Site::with([container], |wharf| {
        wharf
            .env("WHARF_ACCESS_LOG", path.to_str().unwrap())
            .env("WHARF_ACCESS_LOG_FORMAT", "$bytes_in $server_protocol")
    });
    let head = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100\r\n\r\n";
    let client = site.send(format!("{head}hello"));
    let mut upstream = origin.accept();
    upstream.until("hello");
    client.reset();
    assert_eq!(lines(&path, 1), ["5 HTTP/1.1"]);
}

#[test]
fn s71_a_default_holds_for_routes_that_say_nothing() {
    let served = Served::text("hi");
    let containers = [
        app("quiet", served.port(), "wharf.host: a.test\nwharf.tls: off"),
        app(
            "loud",
            served.port(),
            "wharf.host: b.test\nwharf.tls: off\nwharf.log: on",
        ),
    ];
    let site = Site::with(containers, |wharf| wharf.env("WHARF_DEFAULT_LOG", "errors"));
    for host in ["a.test", "b.test", "nobody.test"] {
        site.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"))
            .message();
    }
    site.wharf.signal("TERM");
    let lines = site.wharf.whole_out();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines[0].contains("b.test") && lines[1].contains("nobody.test"),
        "{lines:?}"
    );
}

#[test]
fn s72_what_cannot_be_used_is_told_at_the_start() {
    let run = |env: &[(&str, &str)]| {
        let mut wharf = Command::new(env!("CARGO_BIN_EXE_wharf"));
        let data = tempfile::tempdir().unwrap();
        wharf.arg("run").env_clear().env("WHARF_DATA", data.path());
        for name in ["WHARF_HTTP", "WHARF_HTTPS", "WHARF_ADMIN"] {
            wharf.env(name, "127.0.0.1:0");
        }
        let output = wharf.envs(env.iter().copied()).output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (code, told) = run(&[
        ("WHARF_ACCESS_LOG_FORMAT", "$remote_adr $status"),
        ("WHARF_ACCESS_LOG_ROTATE", "daily"),
    ]);
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("(WHARF_ACCESS_LOG_FORMAT)"), "{told}");
    assert!(told.contains("did you mean $remote_addr?"), "{told}");
    assert!(told.contains("expected size=100m keep=5 or off"), "{told}");
    let (code, told) = run(&[("WHARF_ACCESS_LOG", "/nowhere/access.log")]);
    assert_eq!(code, Some(1), "{told}");
    let fault = "cannot write the access log to /nowhere/access.log: No such file";
    assert!(told.contains(fault), "{told}");
}

/// Asks on `clients` connections at once, each `count` times.
fn ask(site: &Site, clients: usize, count: usize) {
    std::thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                let mut client = Peer::connect(site.http());
                for _ in 0..count {
                    assert_eq!(client.send(get("/x")).message().status(), 200);
                }
            });
        }
    });
}

/// S72: no line is lost from one file to the next, and what is on disk is bounded.
#[test]
fn s72_rotation_under_load_loses_no_line() {
    let at = tempfile::tempdir().unwrap();
    let path = at.path().join("access.log");
    let env = [
        ("WHARF_ACCESS_LOG", path.to_str().unwrap()),
        ("WHARF_ACCESS_LOG_ROTATE", "size=64k keep=50"),
        ("WHARF_WORKERS", "2"),
    ];
    let (site, _served) = site(&env);
    ask(&site, 4, 1000);
    assert_eq!(site.wharf.stop().code(), Some(0));
    let (sizes, lines) = all_lines(at.path());
    assert!(
        sizes.len() > 3 && sizes.iter().all(|size| *size <= 64 * 1024),
        "{sizes:?}"
    );
    let ids: std::collections::BTreeSet<_> = lines
        .iter()
        .map(|line| line.rsplit(' ').next().unwrap())
        .collect();
    assert_eq!((lines.len(), ids.len()), (4000, 4000));
}

#[test]
fn s72_rotation_keeps_no_more_than_it_should() {
    let at = tempfile::tempdir().unwrap();
    let path = at.path().join("access.log");
    let env = [
        ("WHARF_ACCESS_LOG", path.to_str().unwrap()),
        ("WHARF_ACCESS_LOG_ROTATE", "size=64k keep=2"),
    ];
    let (site, _served) = site(&env);
    ask(&site, 2, 2000);
    assert_eq!(site.wharf.stop().code(), Some(0));
    let (sizes, lines) = all_lines(at.path());
    assert_eq!(sizes.len(), 3);
    assert!(sizes.iter().sum::<u64>() <= 3 * 64 * 1024, "{sizes:?}");
    assert!(lines.len() < 4000);
}

/// S72: logrotate moves the file, under load, and says so by SIGUSR1: then the next lines are in the new one, and
/// nothing is lost.
#[test]
fn s72_a_moved_file_is_opened_again_at_usr1() {
    let at = tempfile::tempdir().unwrap();
    let path = at.path().join("access.log");
    let env = [
        ("WHARF_ACCESS_LOG", path.to_str().unwrap()),
        ("WHARF_ACCESS_LOG_ROTATE", "off"),
        ("WHARF_WORKERS", "2"),
    ];
    let (site, _served) = site(&env);
    let done = AtomicBool::new(false);
    let asked = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = Peer::connect(site.http());
                    let mut asked = 0;
                    while !done.load(Ordering::Relaxed) {
                        assert_eq!(client.send(get("/x")).message().status(), 200);
                        asked += 1;
                    }
                    asked
                })
            })
            .collect();
        for number in 1..=3 {
            lines(&path, 20);
            fs::rename(&path, at.path().join(format!("moved.{number}"))).unwrap();
            site.wharf.signal("USR1");
            lines(&path, 20);
        }
        done.store(true, Ordering::Relaxed);
        let asked = clients.into_iter().map(|client| client.join().unwrap());
        asked.sum::<usize>()
    });
    // copytruncate: a copy, and the file is emptied.
    let before = lines(&path, 1);
    assert_eq!(
        site.wharf
            .log_lines()
            .iter()
            .filter(|line| line.contains("reopened the access log"))
            .count(),
        3
    );
    let all = eventually("all lines", LIMIT, || {
        let (_, lines) = all_lines(at.path());
        match lines.len() >= asked {
            true => Ok(lines.len()),
            false => Err(format!("{} of {asked}", lines.len())),
        }
    });
    assert_eq!(all, asked);
    drop(before);
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(0)
        .unwrap();
    site.client().send(get("/after")).message();
    let after = lines(&path, 1);
    assert!(
        after[0].contains("/after") && !after[0].contains('\0'),
        "{after:?}"
    );
}

/// Without a file the signal does nothing, above all not end the process.
#[test]
fn s72_usr1_ends_nothing() {
    for to in ["on", "off"] {
        let (site, _served) = site(&[("WHARF_ACCESS_LOG", to)]);
        site.wharf.signal("USR1");
        site.wharf.wait_log("reopen");
        assert_eq!(site.client().send(get("/")).message().status(), 200);
        assert_eq!(site.wharf.stop().code(), Some(0));
    }
}

/// S72: a disk that is full costs lines, which are counted and told of, and nobody's request.
#[test]
fn s72_a_full_disk_drops_and_counts_and_serves_on() {
    let (site, _served) = site(&[("WHARF_ACCESS_LOG", "/dev/full")]);
    ask(&site, 2, 100);
    let name = "wharf_access_lines_dropped_total{reason=\"failed\"}";
    eventually("the count", LIMIT, || {
        let lost = site.metric(name);
        (lost == 200.0)
            .then_some(())
            .ok_or_else(|| lost.to_string())
    });
    let told = site.wharf.wait_log("the access log has lost");
    assert!(told.contains("No space left on device"), "{told}");
    ask(&site, 1, 100);
    let told = site.wharf.log_lines();
    let told = told.iter().filter(|line| line.contains("access log"));
    assert_eq!(told.count(), 1);
    assert_eq!(site.wharf.stop().code(), Some(0));
}

/// The same on a real file system that has room again later. Needs root, to mount one; without it is over at once.
#[test]
fn s72_lines_go_on_once_the_disk_has_room() {
    let at = tempfile::tempdir().unwrap();
    let mounted = Mounted::tmpfs(at.path(), "size=256k");
    let Some(mounted) = mounted else {
        return;
    };
    let filler = at.path().join("filler");
    let path = at.path().join("access.log");
    let env = [
        ("WHARF_ACCESS_LOG", path.to_str().unwrap()),
        ("WHARF_ACCESS_LOG_FORMAT", "json"),
    ];
    let (site, _served) = site(&env);
    ask(&site, 1, 10);
    lines(&path, 10);
    // To the last page.
    let _ = fs::write(&filler, vec![0; 1 << 20]);
    let name = "wharf_access_lines_dropped_total{reason=\"failed\"}";
    let mut asked = 10;
    while site.metric(name) == 0.0 {
        ask(&site, 1, 50);
        asked += 50;
        assert!(asked < 100_000);
    }
    fs::remove_file(&filler).unwrap();
    ask(&site, 1, 10);
    asked += 10;
    let whole = eventually("the rest", LIMIT, || {
        let text = fs::read_to_string(&path).unwrap();
        let (whole, lost) = (text.lines().count(), site.metric(name) as usize);
        match whole + lost == asked {
            true => Ok(text),
            false => Err(format!("{whole} and {lost} of {asked}")),
        }
    });
    for line in whole.lines() {
        let line: Result<Value, _> = serde_json::from_str(line);
        assert!(line.is_ok(), "{line:?}");
    }
    assert_eq!(site.wharf.stop().code(), Some(0));
    drop(mounted);
}

/// S72: nobody reads the pipe: lines are lost and counted, requests are answered.
#[test]
fn s72_a_pipe_nobody_reads_holds_up_nobody() {
    let at = tempfile::tempdir().unwrap();
    let path = at.path().join("pipe");
    assert!(
        Command::new("mkfifo")
            .arg(&path)
            .status()
            .unwrap()
            .success()
    );
    // Both ends, so that opening waits for nobody.
    let reader = fs::File::options()
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    let (site, _served) = site(&[("WHARF_ACCESS_LOG", path.to_str().unwrap())]);
    let long = format!("/{}", "x".repeat(2040));
    let mut client = site.client();
    let name = "wharf_access_lines_dropped_total{reason=\"behind\"}";
    for asked in 0.. {
        assert_eq!(client.send(get(&long)).message().status(), 200);
        if asked % 100 == 0 && site.metric(name) > 0.0 {
            break;
        }
        assert!(asked < 20_000);
    }
    let told = site.wharf.wait_log("the access log has lost");
    assert!(told.contains("does not keep up"), "{told}");
    drop(reader);
}

/// A file system of a test's own.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    /// `None` where it is not allowed.
    fn tmpfs(at: &'a Path, options: &str) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(at);
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        mounted.then(|| Self(at))
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        // It may be in use until its Wharf is gone.
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}
