//! What lines look like, and that a worker never waits.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Mutex;
use std::time::UNIX_EPOCH;

use super::*;
use crate::model::Address;

/// Collects what is written.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
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
        client: "::ffff:192.0.2.1".parse().unwrap(),
        host: "app.example.com",
        method: "GET",
        path: "/a?b=1",
        status: 200,
        bytes: 1532,
        duration: Duration::from_micros(12_345),
        route: "shop/web",
        endpoint: Some(&ENDPOINT),
        request_id: RequestId::Own(0xab),
        protocol: "HTTP/1.1",
    }
}

fn written(format: LogFormat, lines: &[AccessLine<'_>]) -> String {
    let out = Shared::default();
    let log = AccessLog::start(format, out.clone());
    let worker = log.worker();
    for line in lines {
        worker.write(line);
    }
    drop(worker);
    assert_eq!(log.dropped(), 0);
    log.close();
    out.text()
}

#[test]
fn text_is_one_readable_line() {
    assert_eq!(
        written(LogFormat::Text, &[line()]),
        "2026-07-01T12:00:00.045Z 192.0.2.1 \"GET app.example.com /a?b=1 HTTP/1.1\" 200 1532 \
         0.012345 shop/web 172.18.0.3:8080 00000000000000ab\n"
    );
    let bare = AccessLine {
        host: "",
        route: "",
        endpoint: None,
        ..line()
    };
    assert_eq!(
        written(LogFormat::Text, &[bare]),
        "2026-07-01T12:00:00.045Z 192.0.2.1 \"GET - /a?b=1 HTTP/1.1\" 200 1532 0.012345 - - \
         00000000000000ab\n"
    );
}

#[test]
fn json_is_one_object() {
    let object: serde_json::Value =
        serde_json::from_str(&written(LogFormat::Json, &[line()])).unwrap();
    assert_eq!(
        object,
        serde_json::json!({
            "time": "2026-07-01T12:00:00.045Z",
            "client": "192.0.2.1",
            "host": "app.example.com",
            "method": "GET",
            "path": "/a?b=1",
            "protocol": "HTTP/1.1",
            "route": "shop/web",
            "status": 200,
            "bytes": 1532,
            "duration": 0.012345,
            "endpoint": "172.18.0.3:8080",
            "request_id": "00000000000000ab",
        })
    );
}

#[test]
fn nothing_in_a_request_can_forge_a_line() {
    let nasty = "/\"\\\n\r\u{0}\u{1b}[2J\u{7f}\u{9b}ü\u{1f600} x";
    let request = AccessLine {
        path: nasty,
        ..line()
    };
    let text = written(LogFormat::Text, &[request]);
    let escaped = r"/\x22\x5c\x0a\x0d\x00\x1b[2J\x7f\xc2\x9b\xc3\xbc\xf0\x9f\x98\x80\x20x";
    assert!(text.contains(&format!(" {escaped} HTTP/1.1")), "{text}");
    assert_eq!(text.split(' ').count(), 12);

    let json = written(LogFormat::Json, &[request]);
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
    let json = written(LogFormat::Json, &[request]);
    let object: serde_json::Value = serde_json::from_str(&json).unwrap();
    let logged = object["path"].as_str().unwrap();
    assert_eq!(logged, format!("/{}...", "ü".repeat(MAX_PATH / 2 - 1)));
}

#[test]
fn times_are_rfc_3339() {
    for (second, text) in [
        (0, "1970-01-01T00:00:00.000Z"),
        (951_782_399, "2000-02-28T23:59:59.000Z"),
        (951_782_400, "2000-02-29T00:00:00.000Z"),
        (1_709_251_199, "2024-02-29T23:59:59.000Z"),
        (1_735_689_599, "2024-12-31T23:59:59.000Z"),
        (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        (253_402_300_799, "9999-12-31T23:59:59.000Z"),
    ] {
        let request = AccessLine {
            time: UNIX_EPOCH + Duration::from_secs(second),
            ..line()
        };
        let out = written(LogFormat::Text, &[request]);
        assert!(out.starts_with(text), "{text}: {out}");
    }
}

#[test]
fn every_line_of_every_worker_arrives() {
    let out = Shared::default();
    let log = AccessLog::start(LogFormat::Text, out.clone());
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
    let dropped = log.dropped();
    log.close();
    assert_eq!(out.text().lines().count() as u64 + dropped, 2_000);
    assert!(out.text().lines().all(|line| line.split(' ').count() == 12));
}

#[test]
fn a_blocked_output_costs_lines_and_no_time() {
    let (gate, blocked) = mpsc::channel();
    let log = AccessLog::start(LogFormat::Text, Stuck(blocked));
    let worker = log.worker();
    let started = Instant::now();
    let lines = 40_000; // of some 130 bytes: twice what the queue holds
    for _ in 0..lines {
        worker.write(&line());
    }
    worker.flush();
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!(worker.dropped() > 0 && worker.dropped() < lines);
    assert_eq!(worker.dropped(), log.dropped());

    drop(gate);
    drop(worker);
    log.close();
}

#[test]
fn an_output_that_fails_is_counted() {
    let log = AccessLog::start(LogFormat::Text, Broken);
    let worker = log.worker();
    worker.write(&line());
    drop(worker);
    let dropped = Arc::clone(&log.dropped);
    log.close();
    assert_eq!(dropped.load(Ordering::Relaxed), 1);
}

#[test]
fn a_worker_outlives_the_log() {
    let log = AccessLog::start(LogFormat::Text, io::sink());
    let worker = log.worker();
    log.close();
    worker.write(&line());
    worker.flush();
    assert_eq!(worker.dropped(), 1);
}

const ENDPOINT: Address = Address::Tcp(SocketAddr::V4(SocketAddrV4::new(
    Ipv4Addr::new(172, 18, 0, 3),
    8080,
)));
