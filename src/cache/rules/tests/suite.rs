//! The public suite of cache tests (github.com/http-tests/cache-tests), its client and its server played by this
//! module without sockets or waiting.

mod client;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::model::{Ask, Cache, Head, Message, Origin};
use super::{NOW, date};
use crate::cache::rules::policy::{Cookies, Policy};
use crate::cache::rules::{Source, Time};

/// What is not done as an optimal cache would, and why.
const NOT_OPTIMAL: &[(&str, &str)] = &[
    (
        "conditional-lm-fresh-no-lm",
        "what changed never is not older than a date before it was made (RFC 9111 section 4.3.2)",
    ),
    (
        "freshness-expires-ansi-c",
        "it names the wrong day of the week: no date, so stale",
    ),
    ("method-POST", "responses to POST are not stored"),
    ("partial-store-partial-complete", "parts are not stored"),
    (
        "partial-store-partial-reuse-partial",
        "parts are not stored",
    ),
    (
        "partial-store-partial-reuse-partial-absent",
        "parts are not stored",
    ),
    (
        "partial-store-partial-reuse-partial-byterange",
        "parts are not stored",
    ),
    (
        "partial-store-partial-reuse-partial-suffix",
        "parts are not stored",
    ),
    (
        "vary-normalise-lang-order",
        "apps take the order of languages for a preference",
    ),
    (
        "vary-normalise-lang-select",
        "which language an app would choose is its own business",
    ),
];

/// Questions without a right answer that are answered with no.
const NO: &[&str] = &[
    "304-etag-update-response-Content-Encoding",
    "304-etag-update-response-Content-MD5",
    "304-etag-update-response-Content-Range",
    "304-etag-update-response-ETag",
    "ccreq-max-stale-age",
    "ccreq-no-store",
    "cdn-max-age-case-insensitive",
    "conditional-etag-forward",
    "conditional-etag-forward-unquoted",
    "conditional-etag-quoted-respond-unquoted",
    "conditional-etag-strong-generate-unquoted",
    "conditional-etag-unquoted-respond-quoted",
    "conditional-etag-vary-headers-mismatch",
    "freshness-max-age-100a",
    "freshness-max-age-a100",
    "freshness-max-age-decimal-five",
    "freshness-max-age-decimal-zero",
    "freshness-max-age-two-fresh-stale-sameline",
    "freshness-max-age-two-fresh-stale-sepline",
    "freshness-max-age-two-stale-fresh-sameline",
    "freshness-max-age-two-stale-fresh-sepline",
    "head-200-freshness-update",
    "head-200-retain",
    "head-200-update",
    "head-410-update",
    "heuristic-delta-10",
    "heuristic-delta-30",
    "heuristic-delta-5",
    "other-age-delay",
    "stale-warning-become",
    "stale-warning-stored",
];

/// Required tests that fail by default, where labels have not asked for more.
const BY_DEFAULT: &[&str] = &["headers-store-Set-Cookie", "headers-store-Set-Cookie2"];

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

fn suite() -> Vec<Test> {
    let text = include_str!("../../../../tests/fixtures/cache-tests.json");
    let suite: Suite = serde_json::from_str(text).expect("the suite");
    assert_eq!(suite.tests.len(), 361);
    suite.tests
}

/// Guesses at lifetimes, keeps cookies, and sends a HEAD as it is: what the suite takes for granted.
fn generous() -> Policy {
    Policy {
        cookies: Cookies::Keep,
        heuristic: true,
        convert_head: false,
        ..Policy::default()
    }
}

#[test]
fn required_and_optimal_tests_of_the_public_suite_pass_but_for_those_with_a_reason() {
    let mut failed = BTreeMap::new();
    let mut no = Vec::new();
    for test in suite() {
        let Err(why) = play(&test, generous()) else {
            continue;
        };
        match test.kind.as_str() {
            "check" => no.push(test.id),
            _ => _ = failed.insert(test.id, format!("{}: {why}", test.kind)),
        }
    }
    let reasons: BTreeMap<_, _> = NOT_OPTIMAL.iter().copied().collect();
    let (known, new): (BTreeMap<_, _>, BTreeMap<_, _>) = failed
        .into_iter()
        .partition(|(id, _)| reasons.contains_key(id.as_str()));
    assert!(new.is_empty(), "{new:#?}");
    assert!(
        known.values().all(|why| why.starts_with("optimal")),
        "{known:#?}"
    );
    assert!(
        known.keys().eq(reasons.keys()),
        "passes by now: {:?}",
        known.keys()
    );
    no.sort_unstable();
    assert_eq!(no, NO);
}

#[test]
fn required_tests_of_the_public_suite_pass_by_default_but_for_stored_cookies() {
    let required = suite().into_iter().filter(|test| test.kind == "required");
    let failed = required.filter(|test| play(test, Policy::default()).is_err());
    let failed: Vec<_> = failed.map(|test| test.id).collect();
    assert_eq!(failed, BY_DEFAULT);
}

fn play(test: &Test, policy: Policy) -> Result<(), String> {
    let mut cache = Cache::new(policy, NOW);
    let mut server = Server {
        id: &test.id,
        steps: &test.requests,
        seen: Vec::new(),
        number: 0,
    };
    let mut came = Vec::new();
    for (at, step) in test.requests.iter().enumerate() {
        server.number = at;
        let ask = ask(test, step);
        let message = cache.get(&ask, &mut server);
        client::response(test, at, &message, &server)?;
        came.push(message);
        cache.now += if step.pause_after { 3 } else { 0 };
    }
    client::asked(test, &came, &server.seen)
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// A field with its value; a number in a date is seconds from now.
fn field(field: &Field, now: Time, step: &Step, base: &str) -> (String, String) {
    const DATES: [&str; 4] = ["date", "expires", "last-modified", "if-modified-since"];
    let name = text(&field[0]);
    let lower = name.to_lowercase();
    let value = match field[1].as_i64() {
        Some(seconds) if DATES.contains(&lower.as_str()) => {
            let date = date(seconds + (now - NOW) as i64);
            if step.rfc850date.contains(&lower) {
                rfc850(&date)
            } else {
                date
            }
        }
        _ if step.magic_locations && lower.ends_with("location") => {
            format!("{base}/{}", text(&field[1]))
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
    let day = days
        .iter()
        .find(|day| day.starts_with(&date[..3]))
        .expect("a day");
    format!(
        "{day}, {}-{}-{} {}",
        &date[5..7],
        &date[8..11],
        &date[14..16],
        &date[17..]
    )
}

fn ask(test: &Test, step: &Step) -> Ask {
    let mut target = format!("/test/{}", test.id);
    if let Some(name) = &step.filename {
        target += &format!("/{name}");
    }
    if let Some(query) = &step.query_arg {
        target += &format!("?{query}");
    }
    let mut head: Head = vec![
        ("Pragma".into(), "foo".into()),
        ("Cache-Control".into(), "nothing-to-see-here".into()),
    ];
    head.extend(
        step.request_headers
            .iter()
            .map(|one| field(one, NOW, step, "")),
    );
    Ask {
        method: step.request_method.clone().unwrap_or_else(|| "GET".into()),
        target,
        head,
    }
}

/// The suite's server.
struct Server<'a> {
    id: &'a str,
    steps: &'a [Step],
    /// What it was asked, for which step, and which fields of its answer have to arrive.
    seen: Vec<(usize, Ask, Head)>,
    number: usize,
}

impl Origin for Server<'_> {
    fn ask(&mut self, ask: &Ask, now: &mut Time) -> Option<Message> {
        let step = &self.steps[self.number];
        *now += step.response_pause;
        let status = self.status(step, ask);
        let base = format!("/test/{}", self.id);
        let count = (self.seen.len() + 1).to_string();
        let mut head: Head = vec![
            ("Server-Request-Count".into(), count),
            ("Client-Request-Count".into(), (self.number + 1).to_string()),
        ];
        let mut kept = Head::new();
        for one in &step.response_headers {
            let made = field(one, *now, step, &base);
            if one.len() < 3 || one[2] == true {
                kept.push(made.clone());
            }
            head.push(made);
        }
        for (name, value) in [
            ("Date", date((*now - NOW) as i64)),
            ("Content-Type", "text/plain".into()),
        ] {
            if head.first(name.as_bytes()).is_none() {
                head.push((name.into(), value));
            }
        }
        self.seen.push((self.number, ask.clone(), kept));
        let empty = matches!(status, 204 | 304) || ask.method == "HEAD";
        let body = step.response_body.as_ref().filter(|body| !body.is_null());
        let body = body.map_or_else(|| self.id.to_owned(), text);
        let body = if empty { String::new() } else { body };
        (!step.disconnect).then_some(Message { status, head, body })
    }
}

impl Server<'_> {
    fn status(&self, step: &Step, ask: &Ask) -> u16 {
        let usual = step.response_status.as_ref().map_or(200, |status| status.0);
        if !step
            .expected_type
            .as_ref()
            .is_some_and(|kind| kind.ends_with("validated"))
        {
            return usual;
        }
        let before = &self.steps[self.number - 1];
        let matches = |response: &str, request: &str| {
            let fields = before.response_headers.iter();
            let mut fields = fields.map(|one| field(one, NOW, before, ""));
            let sent = fields.find(|(name, _)| name.eq_ignore_ascii_case(response));
            let asked = ask.head.first(request.as_bytes());
            sent.is_some_and(|(_, value)| asked == Some(value.as_bytes()))
        };
        let same =
            matches("last-modified", "if-modified-since") || matches("etag", "if-none-match");
        if same { 304 } else { 999 }
    }
}
