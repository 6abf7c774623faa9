//! The public suite of cache tests (github.com/http-tests/cache-tests) over sockets: its client, a Wharf with
//! `wharf.cache`, its server. `cache::rules` plays it too, without waiting; here it is the proxy that is tested.

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde_json::Value;

use crate::support::peer::{Message, Peer};
use crate::support::site::{Site, app};

/// Of 159 that every cache has to do right. Two store a Set-Cookie, which no label of Wharf's does.
const REQUIRED: usize = 155;
/// Of 102 that a good cache does besides.
const OPTIMAL: usize = 85;

#[derive(Deserialize)]
struct Suite {
    tests: Vec<Test>,
}

#[derive(Deserialize)]
struct Test {
    id: String,
    kind: String,
    requests: Vec<Step>,
}

type Field = Vec<Value>;

#[derive(Deserialize, Default, Clone)]
#[serde(default)]
struct Step {
    request_method: Option<String>,
    request_headers: Vec<Field>,
    rfc850date: Vec<String>,
    query_arg: Option<String>,
    filename: Option<String>,
    pause_after: bool,
    response_status: Option<(u16, String)>,
    response_headers: Vec<Field>,
    response_body: Option<Value>,
    response_pause: u64,
    disconnect: bool,
    magic_locations: bool,
    expected_type: Option<String>,
    #[serde(deserialize_with = "given")]
    expected_status: Option<Option<u16>>,
    expected_response_headers: Vec<Value>,
    expected_response_headers_missing: Vec<Value>,
    #[serde(deserialize_with = "given")]
    expected_response_text: Option<Option<String>>,
    expected_request_headers: Vec<Value>,
    expected_request_headers_missing: Vec<Value>,
    expected_method: Option<String>,
    check_body: Option<bool>,
}

/// Tells null from nothing.
fn given<'de, T: Deserialize<'de>, D: serde::Deserializer<'de>>(
    from: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(from).map(Some)
}

/// What the server was asked of a test, and the fields of its answers that have to arrive.
#[derive(Default)]
struct Seen {
    asked: Vec<(Message, Vec<(String, String)>)>,
    base: Option<SystemTime>,
}

struct Server {
    tests: HashMap<String, Test>,
    seen: Mutex<HashMap<String, Seen>>,
}

/// S40 to S48, S50: at least as much of the suite as the best of those that have published their results (Apache Traffic
/// Server 132 and 70, Varnish 110 and 42, nginx 100 and 58, haproxy 89 and 39).
#[test]
fn s40_the_public_suite_is_passed_over_sockets() {
    let text = include_str!("../../fixtures/cache-tests.json");
    let suite: Suite = serde_json::from_str(text).unwrap();
    let tests = suite.tests.into_iter().map(|test| (test.id.clone(), test));
    let server = Arc::new(Server {
        tests: tests.collect(),
        seen: Mutex::default(),
    });
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = Arc::clone(&server);
    std::thread::spawn(move || {
        for tcp in listener.incoming().flatten() {
            let server = Arc::clone(&serving);
            // Ends by panic when Wharf closes the connection; nobody listens.
            std::thread::spawn(move || {
                let mut peer = Peer::of(tcp);
                while peer.is_open() {
                    let request = peer.message();
                    let Some(answer) = server.answer(&request) else {
                        return;
                    };
                    if peer.try_send(answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
    // The suite has the first who asks for what is too old wait for the app, as nginx does by default.
    let labels = "wharf.host: a.test\nwharf.tls: off\nwharf.cache: on\nwharf.cache.heuristic: on\nwharf.retry: off\n\
        wharf.fail: off\nwharf.cache.stale: error timeout updating 500 502 503 background=0s";
    let site = Site::start([app("app", port, labels)]);
    let mut ids: Vec<&String> = server.tests.keys().collect();
    ids.sort();
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..60 {
            scope.spawn(|| {
                while let Some(id) = ids.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let test = &server.tests[*id];
                    if let Err(why) = server.play(test, site.http()) {
                        let why = format!("{}: {why}", test.kind);
                        failed.lock().unwrap().insert((*id).clone(), why);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    let passed = |kind: &str| {
        let all = server.tests.values().filter(|test| test.kind == kind);
        all.filter(|test| !failed.contains_key(&test.id)).count()
    };
    let (required, optimal) = (passed("required"), passed("optimal"));
    let reasons: Vec<_> = failed
        .iter()
        .filter(|(_, why)| !why.starts_with("check"))
        .collect();
    println!("{required} required, {optimal} optimal; not: {reasons:#?}");
    assert!(
        required >= REQUIRED && optimal >= OPTIMAL,
        "{required} and {optimal}: {reasons:#?}"
    );
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn date(base: SystemTime, seconds: i64) -> String {
    let span = Duration::from_secs(seconds.unsigned_abs());
    httpdate::fmt_http_date(if seconds < 0 {
        base - span
    } else {
        base + span
    })
}

/// A field with its value; a number in a date is seconds from `base`.
fn field(field: &Field, base: SystemTime, step: &Step, place: &str) -> (String, String) {
    const DATES: [&str; 4] = ["date", "expires", "last-modified", "if-modified-since"];
    let name = text(&field[0]);
    let lower = name.to_lowercase();
    let value = match field[1].as_i64() {
        Some(seconds) if DATES.contains(&lower.as_str()) => {
            let date = date(base, seconds);
            match step.rfc850date.contains(&lower) {
                true => rfc850(&date),
                false => date,
            }
        }
        _ if step.magic_locations && lower.ends_with("location") => {
            format!("{place}/{}", text(&field[1]))
        }
        _ => text(&field[1]),
    };
    (name, value)
}

/// `Sunday, 06-Nov-94 08:49:37 GMT` of `Sun, 06 Nov 1994 08:49:37 GMT`.
fn rfc850(date: &str) -> String {
    let days = [
        "Sunday",
        "Monday",
        "Tuesday",
        "Wednesday",
        "Thursday",
        "Friday",
        "Saturday",
    ];
    let day = days.iter().find(|day| day.starts_with(&date[..3])).unwrap();
    let (d, m, y, time) = (&date[5..7], &date[8..11], &date[14..16], &date[17..]);
    format!("{day}, {d}-{m}-{y} {time}")
}

fn joined<'a>(values: impl Iterator<Item = &'a str>) -> Option<String> {
    let values: Vec<_> = values.collect();
    (!values.is_empty()).then(|| values.join(", "))
}

fn check(good: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if good { Ok(()) } else { Err(what()) }
}

impl Server {
    /// Nothing: the connection ends.
    fn answer(&self, request: &Message) -> Option<Vec<u8>> {
        let target = request.head.split(' ').nth(1).unwrap();
        let id = target.split(['/', '?']).nth(2).unwrap().to_owned();
        let number: usize = request.field("req-num").unwrap().parse().unwrap();
        let test = &self.tests[&id];
        let step = &test.requests[number];
        std::thread::sleep(Duration::from_secs(step.response_pause));
        let mut seen = self.seen.lock().unwrap();
        let seen = seen.entry(id.clone()).or_default();
        let now = SystemTime::now();
        let base = *seen.base.get_or_insert(now);
        let status = status(test, number, request, base);
        let place = format!("/test/{id}");
        let mut head = vec![
            (
                "Server-Request-Count".to_owned(),
                (seen.asked.len() + 1).to_string(),
            ),
            ("Client-Request-Count".to_owned(), (number + 1).to_string()),
        ];
        let mut kept = Vec::new();
        for one in &step.response_headers {
            // What is said to be a validator has to be the same whenever it is said.
            let of = match text(&one[0]).eq_ignore_ascii_case("last-modified") {
                true => base,
                false => now,
            };
            let made = field(one, of, step, &place);
            if one.len() < 3 || one[2] == true {
                kept.push(made.clone());
            }
            head.push(made);
        }
        let empty = matches!(status, 204 | 304) || request.head.starts_with("HEAD ");
        let body = step.response_body.as_ref().filter(|body| !body.is_null());
        let body = body.map_or_else(|| id.clone(), text);
        for (name, value) in [
            ("Date", date(now, 0)),
            ("Content-Type", "text/plain".to_owned()),
            ("Content-Length", body.len().to_string()),
        ] {
            let there = head
                .iter()
                .any(|(other, _)| other.eq_ignore_ascii_case(name));
            let unsaid = name == "Content-Length" && matches!(status, 204 | 304);
            if !(there || unsaid) {
                head.push((name.to_owned(), value));
            }
        }
        seen.asked.push((request.clone(), kept));
        if step.disconnect {
            return None;
        }
        let mut answer = format!("HTTP/1.1 {status} X\r\n");
        for (name, value) in head {
            answer += &format!("{name}: {value}\r\n");
        }
        answer += "\r\n";
        if !empty {
            answer += &body;
        }
        Some(answer.into_bytes())
    }

    fn play(&self, test: &Test, address: SocketAddr) -> Result<(), String> {
        let base = {
            let mut seen = self.seen.lock().unwrap();
            *seen
                .entry(test.id.clone())
                .or_default()
                .base
                .get_or_insert_with(SystemTime::now)
        };
        let mut came = Vec::new();
        for (at, step) in test.requests.iter().enumerate() {
            let message = ask(test, at, base, address)?;
            response(test, at, &message, base)?;
            came.push(message);
            if step.pause_after {
                // As the suite does: lifetimes run out.
                std::thread::sleep(Duration::from_secs(3));
            }
        }
        let seen = self.seen.lock().unwrap();
        asked(test, &came, &seen[&test.id].asked)
    }
}

fn status(test: &Test, number: usize, request: &Message, base: SystemTime) -> u16 {
    let step = &test.requests[number];
    let usual = step.response_status.as_ref().map_or(200, |status| status.0);
    if !step
        .expected_type
        .as_ref()
        .is_some_and(|kind| kind.ends_with("validated"))
    {
        return usual;
    }
    let before = &test.requests[number - 1];
    let matches = |response: &str, asked: &str| {
        let mut fields = before
            .response_headers
            .iter()
            .map(|one| field(one, base, before, ""));
        let sent = fields.find(|(name, _)| name.eq_ignore_ascii_case(response));
        sent.is_some_and(|(_, value)| request.field(asked) == Some(value.as_str()))
    };
    let same = matches("last-modified", "if-modified-since") || matches("etag", "if-none-match");
    if same { 304 } else { 999 }
}

fn ask(test: &Test, at: usize, base: SystemTime, address: SocketAddr) -> Result<Message, String> {
    let step = &test.requests[at];
    let mut target = format!("/test/{}", test.id);
    if let Some(name) = &step.filename {
        target += &format!("/{name}");
    }
    if let Some(query) = &step.query_arg {
        target += &format!("?{query}");
    }
    let method = step.request_method.as_deref().unwrap_or("GET");
    let mut request = format!(
        "{method} {target} HTTP/1.1\r\nHost: a.test\r\nPragma: foo\r\nCache-Control: nothing-to-see-here\r\nReq-Num: {at}\r\n"
    );
    for one in &step.request_headers {
        let (name, value) = field(one, base, step, "");
        request += &format!("{name}: {value}\r\n");
    }
    if matches!(method, "POST" | "PUT") {
        request += "Content-Length: 0\r\n";
    }
    request += "\r\n";
    let mut peer = Peer::connect(address);
    peer.send(request);
    let head = method == "HEAD";
    let asked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| match head {
        true => Message {
            head: peer.head(),
            body: Vec::new(),
            trailers: String::new(),
        },
        false => peer.message(),
    }));
    asked.map_err(|_| format!("request {} has no whole answer", at + 1))
}

/// What the client looks at when a response has come.
fn response(test: &Test, at: usize, message: &Message, base: SystemTime) -> Result<(), String> {
    let step = &test.requests[at];
    let count = joined(message.fields("server-request-count"));
    let count = count.and_then(|count| count.parse().ok());
    let number = at + 1;
    let from_cache = match step.expected_type.as_deref() {
        Some("cached") => {
            (message.status() == 304 && count.is_none())
                || count.is_some_and(|count: usize| count < number)
        }
        Some("not_cached") => count == Some(number),
        _ => true,
    };
    check(from_cache, || {
        format!("response {number} is of request {count:?}")
    })?;
    let status = match (step.expected_status, &step.response_status) {
        (Some(status), _) => status,
        (None, Some((status, _))) => Some(*status),
        (None, None) => Some(200),
    };
    let same = status.is_none_or(|status| status == message.status());
    check(same, || format!("response {number}: {}", message.status()))?;
    for expected in &step.expected_response_headers {
        expect(expected, at, message, step, base)?;
    }
    for missing in &step.expected_response_headers_missing {
        let name = text(missing.get(0).unwrap_or(missing));
        let there = message.field(&name).is_some();
        check(!there, || format!("response {number} has {name}"))?;
    }
    let expected = match (&step.expected_response_text, &step.response_body) {
        _ if step.check_body == Some(false) => None,
        (Some(expected), _) => expected.clone(),
        (None, Some(body)) if !body.is_null() => Some(text(body)),
        _ if matches!(message.status(), 204 | 304)
            || step.request_method.as_deref() == Some("HEAD") =>
        {
            None
        }
        _ => Some(test.id.clone()),
    };
    let good = expected
        .as_ref()
        .is_none_or(|expected| *expected == message.text());
    check(good, || {
        format!("body {:?} instead of {expected:?}", message.text())
    })
}

fn expect(
    expected: &Value,
    at: usize,
    message: &Message,
    step: &Step,
    base: SystemTime,
) -> Result<(), String> {
    let what = || format!("response {}: {expected} in {:?}", at + 1, message.head);
    let name = text(expected.get(0).unwrap_or(expected));
    let value = joined(message.fields(&name));
    let good = match (expected.get(1), expected.get(2)) {
        (None, _) => value.is_some(),
        (Some(_), None) => {
            let parts: Field = expected.as_array().unwrap().clone();
            match parts[1].as_i64() {
                // The clock runs here: a second or two later is the same.
                Some(seconds) => (0..5).any(|late| value == Some(date(base, seconds + late))),
                None => value == Some(field(&parts, base, step, "").1),
            }
        }
        (Some(sign), Some(other)) if sign == ">" => {
            let number = value.and_then(|value| value.parse::<i64>().ok());
            number.is_some_and(|number| Some(number) > other.as_i64())
        }
        (Some(_), Some(other)) => value == joined(message.fields(&text(other))),
    };
    check(good, what)
}

/// What it asks its server afterwards.
fn asked(
    test: &Test,
    came: &[Message],
    seen: &[(Message, Vec<(String, String)>)],
) -> Result<(), String> {
    let mut next = 0;
    for (at, (step, came)) in test.requests.iter().zip(came).enumerate() {
        let kind = step.expected_type.as_deref();
        if kind == Some("cached") {
            continue;
        }
        let request = seen.get(next);
        next += 1;
        let mut wanted = step.expected_request_headers.clone();
        match kind {
            Some("etag_validated") => wanted.push("if-none-match".into()),
            Some("lm_validated") => wanted.push("if-modified-since".into()),
            _ => {}
        }
        let sent = |value: &Value| {
            let name = text(value.get(0).unwrap_or(value));
            let sent = request.and_then(|(ask, _)| joined(ask.fields(&name)));
            let wanted = value.get(1);
            wanted.map_or_else(|| sent.is_some(), |value| sent == Some(text(value)))
        };
        for one in &wanted {
            check(sent(one), || format!("request {} has no {one}", at + 1))?;
        }
        for one in &step.expected_request_headers_missing {
            check(!sent(one), || format!("request {} has {one}", at + 1))?;
        }
        let Some((ask, fields)) = request else {
            continue;
        };
        let method = step.expected_method.as_ref();
        let was = ask.head.split(' ').next().unwrap();
        check(method.is_none_or(|method| method == was), || {
            format!("a {was}")
        })?;
        for (name, _) in fields
            .iter()
            .filter(|(name, _)| !name.eq_ignore_ascii_case("date"))
        {
            let same = fields
                .iter()
                .filter(|(other, _)| other.eq_ignore_ascii_case(name));
            let there = joined(same.map(|(_, value)| value.as_str()));
            let here = joined(came.fields(name));
            check(there == here, || {
                format!("response {}: {name} is {here:?}, not {there:?}", at + 1)
            })?;
        }
    }
    Ok(())
}
