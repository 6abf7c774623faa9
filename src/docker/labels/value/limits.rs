//! Values of `timeout`, `keepalive`, `hold` and `max_conns`.

use super::{Parsed, Value, duration, note, number};
use crate::docker::labels::text::quote;
use crate::model::{MaxConns, parse_size};

/// `connect=5s read=30s send=30s`, in any order; a bare duration is `read`.
pub(super) fn timeouts(text: &str) -> Parsed {
    let form = "a timeout looks like connect=5s read=30s send=30s, or 30s for read alone";
    fields(text, form, |key, value| {
        let name = match key {
            "min_rate" => {
                let rate = byte_rate(value).map_err(|reason| format!("{key}: {reason}"))?;
                return Ok(("timeout.min_rate", Value::Size(rate)));
            }
            "" | "read" => "timeout.read",
            "connect" => "timeout.connect",
            "first" => "timeout.first",
            "send" => "timeout.send",
            "body" => "timeout.body",
            key => {
                let known = "there are connect, first, read, send, body and min_rate";
                return Err(format!("{} is no timeout: {known}", quote(key)));
            }
        };
        span(name, key, value)
    })
}

/// `64 timeout=60s requests=1000 time=1h`, in any order, or `off`.
pub(super) fn keepalive(text: &str) -> Parsed {
    let form = "it looks like 64 timeout=60s requests=1000 time=1h, or off";
    fields(text, form, |key, value| match key {
        "" => match count(value) {
            Ok(idle) if idle <= MAX_IDLE => Ok(("keepalive", Value::Count(idle))),
            Ok(_) => Err(format!("at most {MAX_IDLE} connections are kept")),
            Err(_) => Err(format!("{}: {form}", quote(value))),
        },
        "timeout" => span("keepalive.timeout", key, value),
        "time" => span("keepalive.time", key, value),
        "requests" => match count(value) {
            Ok(requests) => Ok(("keepalive.requests", Value::Count(requests))),
            Err(reason) => Err(format!("{key}: {reason}")),
        },
        key => Err(format!("there is no {} here: {form}", quote(key))),
    })
}

/// `10s max=1000`, in any order.
pub(super) fn hold(text: &str) -> Parsed {
    let form = "a hold looks like `10s max=1000`, or off";
    fields(text, form, |key, value| match key {
        "" => span("hold", key, value),
        "max" => hold_max(value).map(|max| ("hold.max", Value::HoldMax(max))),
        key => Err(format!("there is no {} here: {form}", quote(key))),
    })
}

pub(super) fn hold_max(text: &str) -> Result<u32, String> {
    let max = number(text).filter(|max| (1..=MAX_HOLD_MAX).contains(max));
    max.ok_or_else(|| {
        let range = format!("the most that may wait is a number from 1 to {MAX_HOLD_MAX}");
        format!("{range}; `wharf.hold: off` lets none")
    })
}

/// `100 queue=50 wait=2s`, in any order, or `off`.
pub(super) fn max_conns(text: &str) -> Parsed {
    let form = "it looks like 100 queue=50 wait=2s, or off";
    fields(text, form, |key, value| match key {
        "" => match count(value) {
            Ok(conns) => Ok(("max_conns", Value::Count(conns))),
            Err(_) => Err(format!("{}: {form}", quote(value))),
        },
        "queue" => match queue(value) {
            Ok(queue) => Ok(("max_conns.queue", Value::Count(queue))),
            Err(reason) => Err(format!("{key}: {reason}")),
        },
        "wait" => span("max_conns.wait", key, value),
        key => Err(format!("there is no {} here: {form}", quote(key))),
    })
}

/// `512k/s`: bytes in a second; `off` is 0.
pub(super) fn byte_rate(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let size = match text.split_once('/') {
        Some((size, "s")) => parse_size(size.trim()).ok(),
        None => parse_size(text).ok().filter(|rate| *rate == 0),
        Some(_) => None,
    };
    size.filter(|rate| *rate <= MAX_BYTE_RATE)
        .ok_or_else(|| format!("{}: it looks like 1k/s, up to 1g/s, or off", quote(text)))
}

/// How many may wait; `off` is 0.
pub(super) fn queue(text: &str) -> Result<u32, String> {
    match count(text) {
        Ok(queue) if queue <= MaxConns::MAX_QUEUE => Ok(queue),
        _ => Err(format!(
            "it is a number up to {}, or off",
            MaxConns::MAX_QUEUE
        )),
    }
}

/// A number; `off` is 0.
pub(super) fn count(text: &str) -> Result<u32, String> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("off") {
        return Ok(0);
    }
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse() {
        Ok(count) if digits && count <= MAX_COUNT => Ok(count),
        _ => Err(format!("it is a number up to {MAX_COUNT}, or off")),
    }
}

pub(super) type Field = Result<(&'static str, Value), String>;

fn span(name: &'static str, key: &str, value: &str) -> Field {
    match duration(value) {
        Ok(value) => Ok((name, Value::Duration(value))),
        Err(reason) if key.is_empty() => Err(format!("{}: {reason}", quote(value))),
        Err(reason) => Err(format!("{key}: {reason}")),
    }
}

/// Reads items separated by blanks or commas, each `key=value`, or a value with the key "". Every field
/// at most once, and one at least; `form` is what to write.
pub(super) fn fields(text: &str, form: &str, read: impl Fn(&str, &str) -> Field) -> Parsed {
    let mut parsed = Parsed::default();
    let mut fields: Vec<(&'static str, Value)> = Vec::new();
    let items = text.split(|c: char| c == ',' || c.is_whitespace());
    for item in items.filter(|item| !item.is_empty()) {
        let (key, value) = item.split_once('=').unwrap_or(("", item));
        match read(&key.to_ascii_lowercase(), value) {
            Err(reason) => note(&mut parsed.errors, reason),
            Ok((name, _)) if fields.iter().any(|(other, _)| *other == name) => {
                note(&mut parsed.errors, format!("`{name}` is set twice"));
            }
            Ok(field) => fields.push(field),
        }
    }
    if fields.is_empty() && parsed.errors.is_empty() {
        parsed.errors.push(form.to_owned());
    }
    parsed.value = (!fields.is_empty()).then_some(Value::Fields(fields));
    parsed
}

/// Idle connections of one endpoint and worker.
const MAX_IDLE: u32 = 65_535;
/// More is no minimum for anybody.
const MAX_BYTE_RATE: u64 = 1 << 30;
const MAX_COUNT: u32 = 1_000_000_000;
/// Far more than a site has under way, so that a slip of the finger is told.
const MAX_HOLD_MAX: u32 = 100_000;
