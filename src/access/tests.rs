//! What lines look like, and that a worker never waits.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Mutex;
use std::time::UNIX_EPOCH;

use super::*;
use crate::model::{Address, COMBINED, LineFormat, Variable};

/// Fields of a request.
struct Sent(&'static [(&'static str, &'static [u8])]);

impl RequestFields for Sent {
    fn each<'s>(&'s self, name: &str, show: &mut dyn FnMut(&'s [u8])) {
        for (_, value) in self.0.iter().filter(|(one, _)| *one == name) {
            show(value);
        }
    }
}

/// Collects what is written.
#[derive(Clone, Default)]
struct Shown(Arc<Mutex<Vec<u8>>>);

impl Write for Shown {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shown {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// Blocks in `write` until its gate is dropped.
struct Stuck(Receiver<()>);

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.0.recv();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Broken;

impl Write for Broken {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn line() -> AccessLine<'static> {
    AccessLine {
        time: UNIX_EPOCH + Duration::from_millis(1_782_907_200_045),
        duration: Duration::from_micros(12_345),
        client: "::ffff:192.0.2.1".parse().unwrap(),
        peer: "10.0.0.7:4711".parse().unwrap(),
        scheme: "https",
        tls: Some(TlsSession {
            version: "TLSv1.3",
            cipher: "TLS_AES_128_GCM_SHA256",
            name: Some("app.example.com"),
        }),
        host: "App.example.com:8443",
        method: "GET",
        path: "/a?b=1&token=2",
        absolute: None,
        protocol: "HTTP/1.1",
        garbage: None,
        fields: &Sent(&[
            // As curl -u ann:secret.
            ("authorization", b"Basic YW5uOnNlY3JldA=="),
            ("referer", b"https://r.example/?token=3"),
            ("user-agent", b"curl/8"),
            ("cookie", b"a=b; lang=de"),
            ("x-forwarded-for", b"1.2.3.4"),
            ("x-forwarded-for", b"5.6.7.8"),
        ]),
        head_bytes: 200,
        bytes_in: 30,
        status: 200,
        bytes: 1532,
        route: "shop/web",
        failed: &[],
        answered: Some(Try {
            endpoint: &ENDPOINT,
            container: "shop-web-1",
            status: 200,
            times: TryTimes {
                connect: Some(Duration::from_micros(250)),
                first_byte: Some(Duration::from_micros(11_900)),
                total: Some(Duration::from_millis(12)),
            },
        }),
        cache: Some("MISS"),
        request_id: RequestId::Own(0xab),
    }
}

/// One that is none of it.
fn bare() -> AccessLine<'static> {
    AccessLine {
        scheme: "http",
        tls: None,
        host: "",
        path: "/",
        fields: &Sent(&[]),
        status: 404,
        route: "",
        answered: None,
        cache: None,
        ..line()
    }
}

fn failed() -> [FailedTry; 2] {
    let one = |port, container: &str, status, answered, times| FailedTry {
        endpoint: Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
        container: container.into(),
        status,
        answered,
        times,
    };
    let total = |millis| Some(Duration::from_millis(millis));
    [
        one(
            1,
            "a",
            502,
            false,
            TryTimes {
                total: total(1),
                ..TryTimes::default()
            },
        ),
        one(
            2,
            "b",
            503,
            true,
            TryTimes {
                connect: total(0),
                first_byte: total(20),
                total: total(20),
            },
        ),
    ]
}

fn written(format: &AccessFormat, lines: &[AccessLine<'_>]) -> String {
    hiding(HiddenQuery::None, format, lines)
}

fn hiding(hidden: HiddenQuery, format: &AccessFormat, lines: &[AccessLine<'_>]) -> String {
    let out = Shown::default();
    let log = AccessLog::start(format.clone(), hidden, Output::stream(out.clone()));
    let worker = log.worker();
    for line in lines {
        worker.write(line);
    }
    drop(worker);
    let losses = log.losses();
    log.close();
    assert_eq!(losses.lines(), 0);
    out.text()
}

fn started(out: impl Write + Send + 'static) -> AccessLog {
    AccessLog::start(AccessFormat::Text, HiddenQuery::None, Output::stream(out))
}

/// A line of a format, without its end.
fn formatted(format: &str, line: AccessLine<'_>) -> String {
    let format = AccessFormat::Line(LineFormat::parse(format).unwrap());
    let text = written(&format, &[line]);
    text.strip_suffix('\n').unwrap().to_owned()
}

#[test]
fn text_is_one_readable_line() {
    assert_eq!(
        written(&AccessFormat::Text, &[line()]),
        "2026-07-01T12:00:00.045Z 192.0.2.1 \"GET App.example.com:8443 /a?b=1&token=2 HTTP/1.1\" 200 1532 \
         0.012345 shop/web 172.18.0.3:8080 00000000000000ab\n"
    );
    assert_eq!(
        written(&AccessFormat::Text, &[bare()]),
        "2026-07-01T12:00:00.045Z 192.0.2.1 \"GET - / HTTP/1.1\" 404 1532 0.012345 - - \
         00000000000000ab\n"
    );
}

#[test]
fn json_is_one_object() {
    let object = |line| -> serde_json::Value {
        serde_json::from_str(&written(&AccessFormat::Json, &[line])).unwrap()
    };
    assert_eq!(
        object(line()),
        serde_json::json!({
            "time": "2026-07-01T12:00:00.045Z",
            "client": "192.0.2.1",
            "host": "App.example.com:8443",
            "method": "GET",
            "path": "/a?b=1&token=2",
            "protocol": "HTTP/1.1",
            "scheme": "https",
            "route": "shop/web",
            "tls": "TLSv1.3",
            "status": 200,
            "bytes": 1532,
            "bytes_in": 30,
            "duration": 0.012345,
            "container": "shop-web-1",
            "endpoint": "172.18.0.3:8080",
            "tries": 1,
            "upstream_status": 200,
            "upstream_connect": 0.000250,
            "upstream_first_byte": 0.011900,
            "upstream_total": 0.012,
            "cache": "MISS",
            "user": "ann",
            "referer": "https://r.example/?token=3",
            "user_agent": "curl/8",
            "request_id": "00000000000000ab",
        })
    );
    let tries = failed();
    let failing = object(AccessLine {
        failed: &tries,
        garbage: Some(b"\x16\x03"),
        ..bare()
    });
    for null in [
        "tls",
        "container",
        "endpoint",
        "upstream_status",
        "upstream_connect",
        "upstream_first_byte",
        "upstream_total",
        "cache",
        "user",
        "referer",
        "user_agent",
    ] {
        assert_eq!(failing[null], serde_json::Value::Null, "{null}");
    }
    assert_eq!(failing["tries"], 2);
    assert_eq!(failing["garbage"], "\u{16}\u{3}");
    assert_eq!(
        failing["failed"],
        serde_json::json!([
            {"endpoint": "127.0.0.1:1", "container": "a", "status": null, "total": 0.001},
            {"endpoint": "127.0.0.1:2", "container": "b", "status": 503, "total": 0.02},
        ])
    );
}

/// S72: every variable, of a request that has all and of one that has nothing.
#[test]
fn s72_every_variable_says_what_it_should() {
    let tries = failed();
    let full = AccessLine {
        failed: &tries,
        ..line()
    };
    let empty = bare();
    let cases = [
        ("args", "b=1&token=2", "-"),
        ("body_bytes_sent", "1532", "1532"),
        ("bytes_in", "30", "30"),
        ("container", "shop-web-1", "-"),
        ("host", "app.example.com", "-"),
        ("https", "on", ""),
        ("is_args", "?", ""),
        ("msec", "1782907200.057", "1782907200.057"),
        ("query_string", "b=1&token=2", "-"),
        ("realip_remote_addr", "10.0.0.7", "10.0.0.7"),
        ("remote_addr", "192.0.2.1", "192.0.2.1"),
        ("remote_port", "4711", "4711"),
        ("remote_user", "ann", "-"),
        ("request", "GET /a?b=1&token=2 HTTP/1.1", "GET / HTTP/1.1"),
        ("request_id", "00000000000000ab", "00000000000000ab"),
        ("request_length", "230", "230"),
        ("request_method", "GET", "GET"),
        ("request_time", "0.012", "0.012"),
        ("request_uri", "/a?b=1&token=2", "/"),
        ("route", "shop/web", "-"),
        ("scheme", "https", "http"),
        ("server_protocol", "HTTP/1.1", "HTTP/1.1"),
        ("ssl_cipher", "TLS_AES_128_GCM_SHA256", "-"),
        ("ssl_protocol", "TLSv1.3", "-"),
        ("ssl_server_name", "app.example.com", "-"),
        ("status", "200", "404"),
        (
            "time_iso8601",
            "2026-07-01T12:00:00+00:00",
            "2026-07-01T12:00:00+00:00",
        ),
        (
            "time_local",
            "01/Jul/2026:12:00:00 +0000",
            "01/Jul/2026:12:00:00 +0000",
        ),
        ("tries", "3", "0"),
        (
            "upstream_addr",
            "127.0.0.1:1, 127.0.0.1:2, 172.18.0.3:8080",
            "-",
        ),
        ("upstream_cache_status", "MISS", "-"),
        ("upstream_connect_time", "-, 0.000, 0.000", "-"),
        ("upstream_header_time", "-, 0.020, 0.011", "-"),
        ("upstream_response_time", "0.001, 0.020, 0.012", "-"),
        ("upstream_status", "502, 503, 200", "-"),
        ("uri", "/a", "/"),
        ("http_user_agent", "curl/8", "-"),
        ("http_x_forwarded_for", "1.2.3.4, 5.6.7.8", "-"),
        ("cookie_lang", "de", "-"),
        ("arg_b", "1", "-"),
        ("arg_nothing", "-", "-"),
    ];
    for (name, of_full, of_empty) in cases {
        assert_eq!(formatted(&format!("${name}"), full), of_full, "{name}");
        assert_eq!(formatted(&format!("{{{name}}}"), empty), of_empty, "{name}");
        let json = formatted(&format!("escape=json ${{{name}}}"), empty);
        assert_eq!(json, if of_empty == "-" { "" } else { of_empty }, "{name}");
    }
    for (name, _) in Variable::all() {
        assert!(cases.iter().any(|case| case.0 == name), "{name}");
    }
}

/// The rules of ngx_http_log_escape, byte by byte.
#[test]
fn s72_combined_is_nginx_to_the_byte() {
    assert_eq!(
        formatted(COMBINED, line()),
        "192.0.2.1 - ann [01/Jul/2026:12:00:00 +0000] \"GET /a?b=1&token=2 HTTP/1.1\" 200 1532 \
         \"https://r.example/?token=3\" \"curl/8\""
    );
    assert_eq!(
        formatted(COMBINED, bare()),
        "192.0.2.1 - - [01/Jul/2026:12:00:00 +0000] \"GET / HTTP/1.1\" 404 1532 \"-\" \"-\""
    );
    let all: &'static [u8] = (0..=255_u8).collect::<Vec<_>>().leak();
    let sent: &'static [(&str, &[u8])] = vec![("user-agent", all), ("referer", &b""[..])].leak();
    let fields: &'static Sent = Box::leak(Box::new(Sent(sent)));
    let shown = formatted(
        "$http_user_agent|$http_referer|",
        AccessLine { fields, ..bare() },
    );
    let expected: String = (0..=255_u8)
        .map(|byte| match byte {
            b'"' | b'\\' | ..=31 | 127.. => format!("\\x{byte:02X}"),
            plain => char::from(plain).to_string(),
        })
        .collect();
    assert_eq!(shown, expected + "||");
}

#[test]
fn what_is_no_request_is_shown_as_it_came() {
    let garbage = AccessLine {
        garbage: Some(b"\x16\x03\x01GET"),
        method: "",
        path: "",
        protocol: "",
        ..bare()
    };
    assert_eq!(
        formatted("\"$request\" $request_uri", garbage),
        "\"\\x16\\x03\\x01GET\" -"
    );
    let nothing = AccessLine {
        garbage: Some(b""),
        ..garbage
    };
    assert_eq!(formatted("$request", nothing), "-");
    assert!(written(&AccessFormat::Text, &[garbage]).contains("\"- - - -\""));
}

#[test]
fn passwords_and_hidden_parameters_are_in_no_format() {
    let absolute = AccessLine {
        absolute: Some(("http", "ann:secret@app.example.com")),
        ..line()
    };
    assert_eq!(
        formatted("$request", absolute),
        "GET http://app.example.com/a?b=1&token=2 HTTP/1.1"
    );
    let names = Variable::all().map(|(name, _)| format!("${name} "));
    let all = names.collect::<String>() + "$http_referer $arg_token";
    let all = AccessFormat::Line(LineFormat::parse(&all).unwrap());
    for format in [AccessFormat::Text, AccessFormat::Json, all] {
        let hidden: HiddenQuery = "token".parse().unwrap();
        let text = hiding(hidden, &format, &[absolute]);
        assert!(text.contains("token=***") && text.contains("b=1"), "{text}");
        assert!(!text.contains("secret") && !text.contains("token=2") && !text.contains("token=3"));
    }
}

#[test]
fn nothing_in_a_request_can_forge_a_line() {
    let nasty = "/\"\\\n\r\u{0}\u{1b}[2J\u{7f}\u{9b}ü\u{1f600} x";
    let request = AccessLine {
        path: nasty,
        ..line()
    };
    let text = written(&AccessFormat::Text, &[request]);
    let escaped = r"/\x22\x5c\x0a\x0d\x00\x1b[2J\x7f\xc2\x9b\xc3\xbc\xf0\x9f\x98\x80\x20x";
    assert!(text.contains(&format!(" {escaped} HTTP/1.1")), "{text}");
    assert_eq!(text.split(' ').count(), 12);

    let json = written(&AccessFormat::Json, &[request]);
    assert!(json.is_ascii() && json.lines().count() == 1);
    let object: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(object["path"], nasty);
}

#[test]
fn long_fields_are_cut_between_characters() {
    let path = format!("/{}", "ü".repeat(5_000));
    let request = AccessLine {
        path: &path,
        ..line()
    };
    let json = written(&AccessFormat::Json, &[request]);
    let object: serde_json::Value = serde_json::from_str(&json).unwrap();
    let logged = object["path"].as_str().unwrap();
    assert_eq!(logged, format!("/{}...", "ü".repeat(MAX_PATH / 2 - 1)));
}

#[test]
fn every_line_of_every_worker_arrives() {
    let out = Shown::default();
    let log = started(out.clone());
    let workers: Vec<_> = (0..4)
        .map(|id| {
            let worker = log.worker();
            thread::spawn(move || {
                for count in 0..500 {
                    worker.write(&AccessLine {
                        request_id: RequestId::Own(id << 32 | count),
                        ..line()
                    });
                }
            })
        })
        .collect();
    for worker in workers {
        worker.join().unwrap();
    }
    let losses = log.losses();
    log.close();
    assert_eq!(out.text().lines().count() as u64 + losses.lines(), 2_000);
    assert!(out.text().lines().all(|line| line.split(' ').count() == 12));
}

#[test]
fn a_blocked_output_costs_lines_and_no_time() {
    let (gate, blocked) = mpsc::channel();
    let log = started(Stuck(blocked));
    let worker = log.worker();
    let started = Instant::now();
    let lines = 40_000; // of some 130 bytes: twice what the queue holds
    let losses = log.losses();
    for _ in 0..lines {
        worker.write(&line());
    }
    worker.flush();
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!(losses.behind_lines() > 0 && losses.behind_lines() < lines);

    drop(gate);
    drop(worker);
    log.close();
}

#[test]
fn an_output_that_fails_is_counted() {
    let log = started(Broken);
    let worker = log.worker();
    worker.write(&line());
    drop(worker);
    let losses = log.losses();
    log.close();
    assert_eq!((losses.failed_lines(), losses.behind_lines()), (1, 0));
}

#[test]
fn a_worker_outlives_the_log() {
    let log = started(io::sink());
    let worker = log.worker();
    let losses = log.losses();
    log.close();
    worker.write(&line());
    worker.flush();
    assert_eq!(losses.lines(), 1);
}

#[test]
fn what_waits_is_bounded_in_bytes_too() {
    let (gate, blocked) = mpsc::channel();
    let log = started(Stuck(blocked));
    let (worker, losses) = (log.worker(), log.losses());
    let path = format!("/{}", "\u{1}".repeat(MAX_PATH)); // four bytes each
    let wide = AccessLine {
        path: &path,
        ..line()
    };
    let most = (MAX_WAITING + 4 * FLUSH_AT) as u64 / (3 * MAX_PATH as u64);
    for _ in 0..2 * most {
        worker.write(&wide);
    }
    assert!(
        2 * most - losses.behind_lines() < most,
        "{}",
        losses.behind_lines()
    );
    drop((gate, worker));
    log.close();
}

/// S72: nothing is lost between one file and the next, and disk space is bounded.
#[test]
fn s72_rotation_under_load_loses_no_line() {
    let at = tempfile::tempdir().unwrap();
    let path = at.path().join("access.log");
    let rotation = crate::model::Rotation {
        size: 64 * 1024,
        keep: 100,
    };
    let out = Output::file(&path, Some(rotation)).unwrap();
    let log = AccessLog::start(AccessFormat::Text, HiddenQuery::None, out);
    let losses = log.losses();
    let workers: Vec<_> = (0..4_u64)
        .map(|id| {
            let worker = log.worker();
            let reopener = log.reopener();
            thread::spawn(move || {
                for count in 0..5_000 {
                    let request_id = RequestId::Own(id << 32 | count);
                    worker.write(&AccessLine {
                        request_id,
                        ..line()
                    });
                    if count % 500 == 0 {
                        // However often it is told that somebody has moved the file.
                        reopener.reopen();
                        thread::sleep(Duration::from_millis(1));
                    }
                }
            })
        })
        .collect();
    for worker in workers {
        worker.join().unwrap();
    }
    log.close();
    let mut seen = std::collections::BTreeSet::new();
    let mut files = 0;
    for entry in std::fs::read_dir(at.path()).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(text.len() <= 64 * 1024, "{}", text.len());
        for line in text.lines() {
            assert!(
                seen.insert(line.rsplit(' ').next().unwrap().to_owned()),
                "{line}"
            );
        }
        files += 1;
    }
    assert!(files > 20, "{files}");
    assert_eq!(seen.len() as u64 + losses.lines(), 20_000);
}

proptest::proptest! {
    /// Whatever a client sends, a line is one line, and JSON is JSON.
    #[test]
    fn s72_no_request_forges_a_line(
        path in "/\\PC{0,40}",
        host in "\\PC{0,20}",
        agent in proptest::collection::vec(proptest::num::u8::ANY, 0..40),
    ) {
        let sent: &'static [(&str, &[u8])] = vec![("user-agent", &*agent.leak())].leak();
        let fields: &'static Sent = Box::leak(Box::new(Sent(sent)));
        let line = AccessLine { path: &path, host: &host, fields, ..line() };
        let custom = "escape=json {\"a\":\"$request\",\"b\":\"$http_user_agent\",\"c\":\"$host\"}";
        let custom = AccessFormat::Line(LineFormat::parse(custom).unwrap());
        let combined = AccessFormat::Line(LineFormat::combined());
        for format in [AccessFormat::Text, AccessFormat::Json, custom.clone(), combined] {
            let text = written(&format, &[line]);
            let printable = |byte: u8| matches!(byte, b' '..=b'~');
            proptest::prop_assert!(text.strip_suffix('\n').unwrap().bytes().all(printable));
            if format == AccessFormat::Json || format == custom {
                let object: serde_json::Value = serde_json::from_str(&text).unwrap();
                proptest::prop_assert!(object.is_object());
            }
        }
    }
}

const ENDPOINT: Address = Address::Tcp(SocketAddr::V4(SocketAddrV4::new(
    Ipv4Addr::new(172, 18, 0, 3),
    8080,
)));
