//! What the suite's client looks at.

use serde_json::Value;

use super::super::model::{Ask, Head, Message};
use super::super::{NOW, date};
use super::{Field, Server, Step, Test, field, text};
use crate::cache::rules::Source;

fn joined(head: &Head, name: &str) -> Option<String> {
    let values: Vec<_> = head
        .values(name.as_bytes())
        .map(String::from_utf8_lossy)
        .collect();
    (!values.is_empty()).then(|| values.join(", "))
}

fn check(good: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if good { Ok(()) } else { Err(what()) }
}

/// What it looks at when a response has come.
pub(super) fn response(
    test: &Test,
    at: usize,
    message: &Message,
    server: &Server<'_>,
) -> Result<(), String> {
    let step = &test.requests[at];
    let count = joined(&message.head, "server-request-count").and_then(|count| count.parse().ok());
    let number = at + 1;
    let from_cache = match step.expected_type.as_deref() {
        Some("cached") => {
            (message.status == 304 && count.is_none())
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
    check(status.is_none_or(|status| status == message.status), || {
        format!("response {number}: {}", message.status)
    })?;
    for expected in &step.expected_response_headers {
        expect(expected, at, message, step)?;
    }
    for missing in &step.expected_response_headers_missing {
        let name = text(missing.get(0).unwrap_or(missing));
        check(joined(&message.head, &name).is_none(), || {
            format!("response {number} has {name}")
        })?;
    }
    body(step, message, server.id)
}

fn expect(expected: &Value, at: usize, message: &Message, step: &Step) -> Result<(), String> {
    let what = || format!("response {}: {expected} in {:?}", at + 1, message.head);
    let name = text(expected.get(0).unwrap_or(expected));
    let value = joined(&message.head, &name);
    let good = match (expected.get(1), expected.get(2)) {
        (None, _) => value.is_some(),
        (Some(_), None) => {
            let parts: Field = expected.as_array().expect("a list").clone();
            let first = if parts[1].is_i64() {
                date(parts[1].as_i64().unwrap_or(0))
            } else {
                field(&parts, NOW, step, "").1
            };
            value == Some(first)
        }
        (Some(sign), Some(other)) if sign == ">" => {
            let number = value.and_then(|value| value.parse::<i64>().ok());
            number.is_some_and(|number| Some(number) > other.as_i64())
        }
        (Some(_), Some(other)) => value == joined(&message.head, &text(other)),
    };
    check(good, what)
}

fn body(step: &Step, message: &Message, id: &str) -> Result<(), String> {
    let expected = match (&step.expected_response_text, &step.response_body) {
        _ if step.check_body == Some(false) => None,
        (Some(expected), _) => expected.clone(),
        (None, Some(body)) if !body.is_null() => Some(text(body)),
        _ if matches!(message.status, 204 | 304)
            || step.request_method.as_deref() == Some("HEAD") =>
        {
            None
        }
        _ => Some(id.to_owned()),
    };
    let good = expected
        .as_ref()
        .is_none_or(|expected| *expected == message.body);
    check(good, || {
        format!("body {:?} instead of {expected:?}", message.body)
    })
}

/// What it asks its server afterwards.
pub(super) fn asked(
    test: &Test,
    came: &[Message],
    seen: &[(usize, Ask, Head)],
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
            let sent = request.and_then(|(_, ask, _)| joined(&ask.head, &name));
            value
                .get(1)
                .map_or_else(|| sent.is_some(), |value| sent == Some(text(value)))
        };
        for one in &wanted {
            check(sent(one), || format!("request {} has no {one}", at + 1))?;
        }
        for one in &step.expected_request_headers_missing {
            check(!sent(one), || format!("request {} has {one}", at + 1))?;
        }
        let Some((_, ask, fields)) = request else {
            continue;
        };
        let method = step.expected_method.as_ref();
        check(method.is_none_or(|method| *method == ask.method), || {
            format!("a {}", ask.method)
        })?;
        for (name, _) in fields
            .iter()
            .filter(|(name, _)| !name.eq_ignore_ascii_case("date"))
        {
            let (there, here) = (joined(fields, name), joined(&came.head, name));
            check(there == here, || {
                format!("response {}: {name} is {here:?}, not {there:?}", at + 1)
            })?;
        }
    }
    Ok(())
}
