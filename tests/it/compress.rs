//! S68, B58, S28: compressed answers, beside nginx's `gzip`.

use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};

use ::http::Request;

use crate::support::curl::curl;
use crate::support::docker::{App, unique};
use crate::support::h2::H2;
use crate::support::http;
use crate::support::nginx::Both;
use crate::support::origin::{Origin, Served};
use crate::support::peer::{End, Message};
use crate::support::site::{Site, app};
use crate::support::wharf::Wharf;

/// What a client makes of it, so far as it has come.
pub(crate) fn decoded(coding: &str, bytes: &[u8]) -> Vec<u8> {
    let mut source: Box<dyn Read + '_> = match coding {
        "gzip" => Box::new(flate2::read::GzDecoder::new(bytes)),
        "br" => Box::new(brotli::Decompressor::new(bytes, 4096)),
        "zstd" => {
            // As long as it goes on, a last block of nothing is put behind it.
            let open = [bytes, &[1, 0, 0]].concat();
            let mut whole = Vec::new();
            for bytes in [bytes, &open] {
                let Ok(mut decoder) = ruzstd::decoding::StreamingDecoder::new(bytes) else {
                    continue;
                };
                whole.clear();
                if decoder.read_to_end(&mut whole).is_ok() {
                    break;
                }
            }
            return whole;
        }
        _ => return bytes.to_vec(),
    };
    let (mut out, mut piece) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = source.read(&mut piece) {
        out.extend_from_slice(&piece[..count]);
    }
    out
}

/// Text that gets smaller.
fn text(length: usize) -> String {
    let mut text = String::with_capacity(length + 64);
    let mut seed = 7_u32;
    while text.len() < length {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text += &format!(
            "{{\"id\": {}, \"name\": \"item {}\"}},\n",
            seed >> 8,
            seed % 97
        );
    }
    text.truncate(length);
    text
}

fn request(method: &str, path: &str, fields: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n")
}

fn all(answer: &Message, name: &str) -> String {
    let values = answer.fields(name).flat_map(|value| value.split(','));
    let mut values: Vec<_> = values
        .map(|value| value.trim().to_ascii_lowercase())
        .collect();
    values.sort();
    values.join(",")
}

/// A response of `/head fields with spaces as `_`/length`.
fn scripted(request: &Message) -> Vec<u8> {
    let target = request.head.split(' ').nth(1).unwrap();
    let mut parts = target.trim_start_matches('/').split('/');
    let (status, fields, length) = (parts.next(), parts.next(), parts.next());
    let status = status.unwrap();
    let fields: String = fields
        .unwrap_or_default()
        .split('&')
        .filter(|field| !field.is_empty())
        .map(|field| {
            field
                .replace('_', " ")
                .replace('~', "/")
                .replace('=', ": ")
                .replace('^', "=")
                + "\r\n"
        })
        .collect();
    let body = text(length.unwrap_or("0").trim_matches('c').parse().unwrap());
    let head = format!("HTTP/1.1 {status} X\r\n{fields}");
    let has_body = !request.head.starts_with("HEAD") && !matches!(status, "204" | "304");
    let body_of = |body: String| if has_body { body } else { String::new() };
    match length.unwrap_or("0").starts_with('c') {
        true => {
            let body = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
            format!("{head}Transfer-Encoding: chunked\r\n\r\n{}", body_of(body)).into_bytes()
        }
        false => {
            let length = match status {
                "204" | "304" => String::new(),
                _ => format!("Content-Length: {}\r\n", body.len()),
            };
            format!("{head}{length}\r\n{}", body_of(body)).into_bytes()
        }
    }
}

/// S68: the same answers are compressed as by nginx, and their heads say the same.
#[test]
fn s68_the_same_answers_are_compressed_as_by_nginx() {
    let labels = "wharf.host: a.test\nwharf.compress: gzip types=application/json";
    let both = Both::of(
        vec![("app", labels, Served::by(scripted))],
        "server { location / { proxy_pass http://@app; gzip on; gzip_types application/json; gzip_min_length 256; \
         gzip_proxied any; gzip_vary on; gzip_comp_level 4; } }",
    );
    let json = "Content-Type=application~json";
    let mut compressed = 0;
    for path in [
        format!("200/{json}/4000"),
        format!("200/{json};_charset^utf-8/4000"),
        format!("200/{json}/256"),
        format!("200/{json}/255"),
        format!("200/{json}/0"),
        format!("200/{json}/c4000"),
        format!("200/{json}/c10"),
        format!("403/{json}/4000"),
        format!("404/{json}/4000"),
        format!("301/{json}&Location=~x/4000"),
        "200/Content-Type=text~html/4000".into(),
        "200/Content-Type=TEXT~HTML/4000".into(),
        "200/Content-Type=text~plain/4000".into(),
        "200/Content-Type=image~png/4000".into(),
        "200//4000".into(),
        format!("200/{json}&ETag=\"a\"/4000"),
        format!("200/{json}&ETag=W~\"a\"/4000"),
        format!("200/{json}&ETag=a/4000"),
        format!("200/{json}&Vary=Cookie/4000"),
        format!("200/{json}&Accept-Ranges=bytes/4000"),
        format!("200/{json}&Content-Encoding=br/4000"),
        format!("206/{json}&Content-Range=bytes_0-3999~9000&ETag=\"a\"/4000"),
        format!("200/{json}&Cache-Control=private/4000"),
        format!("200/{json}&Via=1.1_other/4000"),
        format!("200/{json}&Set-Cookie=a/4000"),
        "204//0".into(),
        "304/ETag=\"a\"/0".into(),
    ] {
        for accepted in [
            "gzip",
            "gzip, deflate, br",
            "deflate",
            "gzip;q=0",
            "br, *",
            "",
        ] {
            let fields = match accepted {
                "" => "Via: 1.1 front\r\n".to_owned(),
                accepted => format!("Accept-Encoding: {accepted}\r\n"),
            };
            let path = format!("/{path}");
            let (wharf, nginx) = both.ask(&request("GET", &path, &fields));
            let case = format!("{path} {accepted}\n{}\n{}", wharf.head, nginx.head);
            assert_eq!(wharf.status(), nginx.status(), "{case}");
            for name in ["content-encoding", "etag", "accept-ranges", "content-range"] {
                assert_eq!(all(&wharf, name), all(&nginx, name), "{name}: {case}");
            }
            assert_eq!(all(&wharf, "vary"), all(&nginx, "vary"), "{case}");
            let coding = wharf.field("content-encoding").unwrap_or("");
            let plain = path.contains("Content-Encoding");
            assert!(
                plain || decoded(coding, &wharf.body) == decoded(coding, &nginx.body),
                "{case}"
            );
            if coding == "gzip" {
                compressed += 1;
                assert_eq!(wharf.field("content-length"), None, "{case}");
            } else {
                assert_eq!(
                    wharf.field("content-length"),
                    nginx.field("content-length"),
                    "{case}"
                );
            }
        }
    }
    assert!(compressed > 20, "{compressed}");
}

/// S68: where Wharf does other than nginx: HEAD tells what GET would, `no-transform` holds, digests stay true, and all
/// answers that have content count.
#[test]
fn s68_what_nginx_leaves_out() {
    let served = Served::by(scripted);
    let site = Site::plain(served.port(), "wharf.compress: on");
    let ask = |method: &str, path: &str, fields: &str| {
        let fields = format!("Accept-Encoding: gzip\r\n{fields}");
        site.send(request(method, path, &fields)).message()
    };
    let json = "Content-Type=application~json";
    for (method, fields, path, expected) in [
        ("GET", "", format!("/201/{json}/4000"), "gzip"),
        (
            "POST",
            "Content-Length: 0\r\n",
            format!("/200/{json}/4000"),
            "gzip",
        ),
        ("GET", "", format!("/500/{json}/4000"), "gzip"),
        ("GET", "", format!("/301/{json}/4000"), ""),
        (
            "GET",
            "",
            format!("/200/{json}&Cache-Control=no-transform/4000"),
            "",
        ),
        (
            "GET",
            "Cache-Control: no-transform\r\n",
            format!("/200/{json}/4000"),
            "",
        ),
        ("GET", "", format!("/200/{json}&Content-Digest=x/4000"), ""),
        (
            "GET",
            "",
            "/200/Content-Type=application~grpc/4000".into(),
            "",
        ),
        (
            "GET",
            "",
            "/200/Content-Type=text~event-stream/c4000".into(),
            "",
        ),
        (
            "HEAD",
            "",
            format!("/200/{json}&ETag=\"a\"&Accept-Ranges=bytes/4000"),
            "gzip",
        ),
        ("HEAD", "", format!("/200/{json}/c4000"), "gzip"),
        ("HEAD", "", format!("/200/{json}/255"), ""),
    ] {
        let answer = match method {
            "HEAD" => {
                let fields = format!("Accept-Encoding: gzip\r\nConnection: close\r\n{fields}");
                let mut client = site.send(request("HEAD", &path, &fields));
                let head = client.head();
                assert_eq!(
                    client.ended(),
                    End::Fin,
                    "nothing behind the head of a HEAD"
                );
                Message {
                    head,
                    body: Vec::new(),
                    trailers: String::new(),
                }
            }
            method => ask(method, &path, fields),
        };
        let case = format!("{method} {path} {fields}\n{}", answer.head);
        let coding = answer.field("content-encoding").unwrap_or("");
        assert_eq!(coding, expected, "{case}");
        if method == "HEAD" && coding == "gzip" {
            let get = ask("GET", &path, "");
            for name in [
                "etag",
                "vary",
                "accept-ranges",
                "content-length",
                "content-type",
            ] {
                assert_eq!(all(&answer, name), all(&get, name), "{name}: {case}");
            }
        }
        if method != "HEAD" {
            assert_eq!(
                decoded(coding, &answer.body),
                text(4000).into_bytes(),
                "{case}"
            );
        }
    }
}

/// B58: zstd, br and gzip by what clients like, for real ones on HTTP/1.1, HTTP/1.0 and HTTP/2.
#[test]
fn b58_each_coding_is_understood_by_curl() {
    let served = Served::by(scripted);
    let labels = "wharf.host: a.localhost\nwharf.https: both\nwharf.compress: on min=1\nwharf.compress.level: 6";
    let site = Site::start([app("app", served.port(), labels)]);
    let root = site.wharf.local_root();
    let body = text(300_000);
    let path = "/200/Content-Type=application~json/c300000";
    for (accepted, coding) in [
        ("deflate, gzip, br, zstd", "zstd"),
        ("deflate, gzip, br", "br"),
        ("gzip", "gzip"),
        ("zstd;q=0.5, gzip;q=0.9", "gzip"),
        ("br;q=1, zstd;q=0.9", "br"),
        ("identity", ""),
    ] {
        for version in ["--http1.0", "--http1.1", "--http2"] {
            for scheme in ["http", "https"] {
                if (version, scheme) == ("--http2", "http") {
                    continue;
                }
                let address = if scheme == "http" {
                    site.wharf.http
                } else {
                    site.wharf.https
                };
                let url = format!("{scheme}://a.localhost{path}");
                let named = format!("Accept-Encoding: {accepted}");
                let ask = |more: &[&str]| {
                    let curl = curl(&url, address).root(&root);
                    let curl = match version {
                        // It is no protocol that a handshake could agree on.
                        "--http1.0" => curl.arg(&["--no-alpn"]),
                        _ => curl,
                    };
                    curl.arg(&[version, "--header", &named])
                        .arg(more)
                        .run()
                        .unwrap()
                };
                let case = format!("{accepted} {version} {scheme}");
                // Whatever curl is sent, it reads it.
                let read = ask(&["--compressed"]);
                assert_eq!(read.status, 200, "{case}");
                assert!(read.body == body.as_bytes(), "{case}");
                let raw = ask(&[]);
                assert_eq!(
                    raw.body.len() < body.len() / 3,
                    !coding.is_empty(),
                    "{case}"
                );
                assert!(decoded(coding, &raw.body) == body.as_bytes(), "{case}");
            }
        }
    }
}

/// S28, B58: whatever an app lets out reaches its client at once, an event as a line of JSON or a piece of a page.
#[test]
fn s28_events_are_not_held_back_by_any_coding() {
    let origin = Origin::new();
    let site = Site::plain(
        origin.port(),
        "wharf.compress: on types=default|text/event-stream|application/x-ndjson",
    );
    for kind in ["text/event-stream", "application/x-ndjson", "text/html"] {
        for coding in ["zstd", "br", "gzip"] {
            let mut client = site.send(request(
                "GET",
                "/",
                &format!("Accept-Encoding: {coding}\r\n"),
            ));
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n"
            );
            let (mut upstream, _) = origin.answer(&head);
            // The head does not wait for the first event.
            let answer = client.head().to_ascii_lowercase();
            assert!(
                answer.contains(&format!("content-encoding: {coding}\r\n")),
                "{answer}"
            );
            let (mut coded, mut sent) = (Vec::new(), String::new());
            for number in 0..20 {
                let event = format!("data: {number} of {kind}\n\n");
                upstream.send(format!("{:x}\r\n{event}\r\n", event.len()));
                sent += &event;
                // The next one is sent only when this one has come.
                while decoded(coding, &coded) != sent.as_bytes() {
                    let size = client.until("\r\n");
                    let size = usize::from_str_radix(size.trim(), 16).unwrap();
                    assert!(size > 0, "the end");
                    coded.extend(client.exactly(size));
                    client.until("\r\n");
                }
            }
            upstream.send("0\r\n\r\n");
            let rest = client.until("0\r\n\r\n");
            assert!(rest.len() < 64, "{rest:?}");
        }
    }
}

/// The same on HTTP/2.
#[test]
fn s28_events_are_not_held_back_on_http2() {
    let origin = Origin::new();
    let site = Site::plain(
        origin.port(),
        "wharf.compress: gzip types=text/event-stream",
    );
    let client = H2::connect(site.http());
    let asked = Request::get("http://a.test/").header("accept-encoding", "gzip");
    let (response, _) = client.send(asked.body(()).unwrap(), true);
    let (mut upstream, _) = origin.answer(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    let response = client.wait(response).unwrap();
    assert_eq!(response.headers()["content-encoding"], "gzip");
    let mut stream = response.into_body();
    let (mut coded, mut sent) = (Vec::new(), String::new());
    for number in 0..20 {
        let event = format!("data: {number}\n\n");
        upstream.send(format!("{:x}\r\n{event}\r\n", event.len()));
        sent += &event;
        while decoded("gzip", &coded) != sent.as_bytes() {
            let data = client.wait(stream.data()).expect("no end").unwrap();
            stream.flow_control().release_capacity(data.len()).unwrap();
            coded.extend(data);
        }
    }
}

/// S68: a client that has the compressed body is told that it still holds, by the entity tag it knows.
#[test]
fn s68_entity_tags_of_compressed_answers_are_weak_and_match() {
    let served = Served::by(|request| {
        let known = request.field("if-none-match").unwrap_or("");
        // As RFC 9110 section 13.1.2 has it: weakly.
        match known
            .split(", ")
            .any(|tag| tag.trim_start_matches("W/") == "\"v1\"")
        {
            true => b"HTTP/1.1 304 Not Modified\r\nETag: \"v1\"\r\n\r\n".to_vec(),
            false => {
                let body = text(5000);
                let head = "HTTP/1.1 200 OK\r\nContent-Type: text/css\r\nETag: \"v1\"\r\n";
                format!("{head}X-Asked: {known}\r\nContent-Length: 5000\r\n\r\n{body}").into_bytes()
            }
        }
    });
    let site = Site::plain(served.port(), "wharf.compress: on");
    let ask = |fields: &str| site.send(request("GET", "/", fields)).message();
    let gzip = ask("Accept-Encoding: gzip\r\n");
    assert_eq!(gzip.field("etag"), Some("W/\"v1\""));
    let plain = ask("");
    assert_eq!(plain.field("etag"), Some("\"v1\""));
    assert_eq!(all(&plain, "vary"), "accept-encoding");
    let again = ask("Accept-Encoding: gzip\r\nIf-None-Match: W/\"v1\"\r\n");
    assert_eq!(again.status(), 304, "{}", again.head);
    assert_eq!(again.field("etag"), Some("W/\"v1\""));
    assert_eq!(all(&again, "vary"), "accept-encoding");
    let again = ask("Accept-Encoding: gzip\r\nIf-None-Match: \"v1\"\r\n");
    assert_eq!((again.status(), again.field("etag")), (304, Some("\"v1\"")));
    let other = ask("Accept-Encoding: gzip\r\nIf-None-Match: W/\"v0\"\r\n");
    assert_eq!(
        other.field("x-asked"),
        Some("W/\"v0\""),
        "as the client sent it"
    );
}

/// S68: large bodies by every way, with trailers, and one that breaks off.
#[test]
fn s68_large_bodies_arrive_whole_and_cut_ones_are_cut() {
    let body = text(5_000_000);
    let origin = Origin::new();
    let site = Site::plain(origin.port(), "wharf.compress: on");
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n";
    for coding in ["zstd", "br", "gzip"] {
        let fields = format!("Accept-Encoding: {coding}\r\nTE: trailers\r\n");
        let mut client = site.send(request("GET", "/", &fields));
        let whole = format!(
            "{head}Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n{:x}\r\n{body}\r\n0\r\nX-Sum: 7\r\n\r\n",
            body.len()
        );
        let (mut upstream, _) = std::thread::scope(|scope| {
            let sending = scope.spawn(|| origin.answer(&whole));
            let answer = client.message();
            assert_eq!(answer.field("content-encoding"), Some(coding));
            assert!(decoded(coding, &answer.body) == body.as_bytes(), "{coding}");
            assert_eq!(answer.trailers.to_ascii_lowercase(), "x-sum: 7\r\n\r\n");
            sending.join().unwrap()
        });
        // Both connections are used again.
        client.send(request("GET", "/", &fields));
        upstream.message();
        upstream.send(format!("{head}Content-Length: {}\r\n\r\n", body.len()));
        let sending = std::thread::spawn({
            let part = body[..1_000_000].to_owned();
            move || drop(upstream.send(part).tcp().try_clone())
        });
        sending.join().unwrap();
        let (rest, end) = client.rest();
        assert!(
            !rest.ends_with("0\r\n\r\n") || end == End::Reset,
            "{coding}: nothing tells of the cut"
        );
    }
}

/// The same on HTTP/2, with a window that is often full, and other streams beside it.
#[test]
fn s68_large_bodies_on_http2() {
    let body = text(3_000_000);
    let whole = body.clone();
    let served = Served::by(move |request| {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n";
        let body = if request.head.contains("/empty") {
            ""
        } else {
            &whole
        };
        format!(
            "{head}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n{}0\r\n\r\n",
            match body {
                "" => String::new(),
                body => format!("{:x}\r\n{body}\r\n", body.len()),
            }
        )
        .into_bytes()
    });
    let site = Site::plain(served.port(), "wharf.compress: on");
    let client = H2::connect(site.http());
    for coding in ["zstd", "br", "gzip"] {
        let open = |path: &str| {
            let asked = Request::get(format!("http://a.test{path}"));
            let asked = asked.header("accept-encoding", coding).body(()).unwrap();
            client.send(asked, true).0
        };
        let read = async |response: ::h2::client::ResponseFuture| {
            let (head, mut stream) = response.await.unwrap().into_parts();
            assert_eq!(head.headers["content-encoding"], coding);
            assert!(!head.headers.contains_key("content-length"));
            let mut body = Vec::new();
            while let Some(data) = stream.data().await {
                let data = data.unwrap();
                stream.flow_control().release_capacity(data.len()).unwrap();
                body.extend(data);
            }
            decoded(coding, &body)
        };
        let streams = [open("/1"), open("/2"), open("/empty")];
        let [first, second, empty] = streams.map(read);
        let (first, second, empty) = client.wait(async { tokio::join!(first, second, empty) });
        assert!(
            first == body.as_bytes() && second == body.as_bytes(),
            "{coding}"
        );
        assert_eq!(empty, b"");
    }
}

/// S68: who downloads much that is compressed does not keep others waiting for the end of it.
#[test]
fn s68_others_have_their_turn_while_much_is_compressed() {
    let served = Served::by(|request| {
        let length = if request.head.contains("/much") {
            64 << 20
        } else {
            10
        };
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n";
        let mut answer = format!("{head}Content-Length: {length}\r\n\r\n").into_bytes();
        answer.resize(answer.len() + length, b' ');
        answer
    });
    let site = Site::plain(served.port(), "wharf.compress: gzip=9");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = site.client();
            for _ in 0..3 {
                client.send(request("GET", "/much", "Accept-Encoding: gzip\r\n"));
                let answer = client.message();
                assert_eq!(answer.field("content-encoding"), Some("gzip"));
            }
            done.store(true, Ordering::SeqCst);
        });
        let mut client = site.client();
        let mut answers = 0;
        while !done.load(Ordering::SeqCst) {
            client.send(request("GET", "/", ""));
            assert_eq!(client.message().status(), 200);
            answers += 1;
        }
        assert!(answers >= 10, "{answers}");
    });
}

/// S68, S70: files are compressed as answers of apps are; those that lie there compressed go out as they are.
#[test]
fn s68_files_too() {
    let files = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(files.path().join(name), text).unwrap();
    let (small, large) = (text(5000), text(2_000_000));
    write("small.css", &small);
    write("large.json", &large);
    write("done.js", &small);
    write("done.js.gz", "as it lies there");
    let root = files.path().to_str().unwrap();
    let labels =
        format!("wharf.host: a.test\nwharf.tls: off\nwharf.static: {root}\nwharf.compress: on");
    let site = Site::with([app("site", 1, &labels)], |builder| {
        builder.env("WHARF_STATIC_DIR", root)
    });
    let ask = |path: &str, fields: &str| site.send(request("GET", path, fields)).message();
    for coding in ["zstd", "br", "gzip"] {
        let fields = format!("Accept-Encoding: {coding}\r\n");
        for (path, expected) in [("/small.css", &small), ("/large.json", &large)] {
            let answer = ask(path, &fields);
            assert_eq!(
                answer.field("content-encoding"),
                Some(coding),
                "{}",
                answer.head
            );
            assert_eq!(answer.field("accept-ranges"), None);
            assert_eq!(all(&answer, "vary"), "accept-encoding");
            assert!(
                decoded(coding, &answer.body) == expected.as_bytes(),
                "{coding} {path}"
            );
            let etag = answer.field("etag").unwrap();
            assert!(etag.starts_with("W/\""), "{etag}");
            let again = ask(path, &format!("{fields}If-None-Match: {etag}\r\n"));
            assert_eq!((again.status(), again.field("etag")), (304, Some(etag)));
            let head = site
                .send(request(
                    "HEAD",
                    path,
                    &format!("{fields}Connection: close\r\n"),
                ))
                .rest();
            let head = head.0.to_ascii_lowercase();
            assert!(
                head.contains(&format!("content-encoding: {coding}\r\n")),
                "{head}"
            );
            assert!(
                head.ends_with("\r\n\r\n") && !head.contains("content-length"),
                "{head}"
            );
        }
    }
    let part = ask(
        "/small.css",
        "Accept-Encoding: gzip\r\nRange: bytes=0-9\r\n",
    );
    assert_eq!((part.status(), part.text()), (206, small[..10].to_owned()));
    let done = ask("/done.js", "Accept-Encoding: gzip\r\n");
    assert_eq!(
        (done.field("content-encoding"), &*done.text()),
        (Some("gzip"), "as it lies there")
    );
    let plain = ask("/small.css", "");
    assert_eq!(
        (plain.field("content-encoding"), plain.text()),
        (None, small)
    );
    // HTTP/1.0: to the end of the connection.
    let mut client =
        site.send("GET /large.json HTTP/1.0\r\nHost: a.test\r\nAccept-Encoding: gzip\r\n\r\n");
    assert!(client.head().contains("content-encoding: gzip\r\n"));
    assert_eq!(client.rest().1, End::Fin);
    let client = H2::connect(site.http());
    let whole = client
        .get("http://a.test/large.json", &[("accept-encoding", "br")])
        .unwrap();
    assert!(decoded("br", &whole.body) == large.as_bytes());
}

/// S68: by labels of real containers; a named route has its own say.
#[test]
fn s68_labels_of_a_container() {
    let host = format!("{}.test", unique("compress"));
    let app = App::new("compress")
        .label("wharf.host", &host)
        .label("wharf.tls", "off")
        .label("wharf.compress", "gzip br=5")
        .label("wharf.plain.path", "/status")
        .label("wharf.plain.compress", "off");
    let _app = app.run();
    let wharf = Wharf::start(crate::support::wharf::Builder::new());
    wharf.wait_route(&host);
    let ask = |path: &str, accepted: &str| {
        let fields = [("Accept-Encoding", accepted)];
        http::request(wharf.http, "GET", &host, path, &fields, b"").unwrap()
    };
    for (accepted, coding) in [("zstd, br, gzip", "gzip"), ("br", "br"), ("zstd", "")] {
        let answer = ask("/json", accepted);
        let case = format!("{accepted}: {:?}", answer.headers);
        assert_eq!(
            answer.header("content-encoding").unwrap_or(""),
            coding,
            "{case}"
        );
        let body = decoded(coding, &answer.body);
        assert!(
            serde_json::from_slice::<serde_json::Value>(&body).is_ok(),
            "{case}"
        );
    }
    assert_eq!(ask("/status/200", "gzip").header("content-encoding"), None);
}
