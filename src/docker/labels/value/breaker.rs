//! Values of `breaker`.

use std::time::Duration;

use super::limits::{count, fields};
use super::{Parsed, Value, duration};
use crate::docker::labels::text::quote;
use crate::model::parse_bool;

/// `errors=50% over=10s min=20 open=10s`, in any order; `on`, `off`, or `50%` alone.
pub(super) fn breaker(text: &str) -> Parsed {
    let form = "a breaker looks like errors=50% over=10s min=20 open=10s, or off";
    let named = |key: &str, value: Result<Value, String>| match value {
        Ok(value) => Ok(value),
        Err(reason) => Err(format!("{key}: {reason}")),
    };
    fields(text, form, |key, value| {
        Ok(match key {
            "errors" => (
                "breaker.errors",
                named(key, share(value).map(Value::Percent))?,
            ),
            "over" => (
                "breaker.over",
                named(key, time(value).map(Value::Duration))?,
            ),
            "min" => ("breaker.min", named(key, least(value).map(Value::Count))?),
            "open" => (
                "breaker.open",
                named(key, time(value).map(Value::Duration))?,
            ),
            "" if value.ends_with('%') => ("breaker.errors", share(value).map(Value::Percent)?),
            "" => match parse_bool(value) {
                Ok(on) => ("breaker", Value::Switch(on)),
                Err(_) => return Err(format!("{}: {form}", quote(value))),
            },
            key => return Err(format!("there is no {} here: {form}", quote(key))),
        })
    })
}

/// `50%`.
pub(super) fn share(text: &str) -> Result<u8, String> {
    let percent = text.trim().strip_suffix('%').map(count);
    match percent {
        Some(Ok(percent @ 1..=100)) => Ok(percent as u8),
        _ => Err("a share of requests is from 1% to 100%".to_owned()),
    }
}

pub(super) fn least(text: &str) -> Result<u32, String> {
    match count(text) {
        Ok(least @ 1..=MAX_LEAST) => Ok(least),
        _ => Err(format!("it is a number of requests from 1 to {MAX_LEAST}")),
    }
}

pub(super) fn time(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    match time >= MIN_TIME && time <= MAX_TIME {
        true => Ok(time),
        false => Err("it is a time from 1s to 1h".to_owned()),
    }
}

const MAX_LEAST: u32 = 1_000_000;
const MIN_TIME: Duration = Duration::from_secs(1);
const MAX_TIME: Duration = Duration::from_secs(3600);
