//! Values of `retry`.

use super::{Parsed, Value, note, number};
use crate::docker::labels::text::quote;
use crate::model::RetryOn;

/// `2 on=error,timeout budget=20%`, in any order, each at most once.
pub(super) fn retry(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    let mut fields: Vec<(&'static str, Value)> = Vec::new();
    for item in text.split_whitespace() {
        let field = match item.split_once('=') {
            Some((key, value)) => match key.to_ascii_lowercase().as_str() {
                "on" => on(value).map(|on| ("retry.on", Value::RetryOn(on))),
                "budget" => budget(value).map(|budget| ("retry.budget", Value::Budget(budget))),
                key => Err(format!("there is no {} here: {FORM}", quote(key))),
            },
            None => tries(item).map(|tries| ("retry", Value::Retries(tries))),
        };
        match field {
            Err(reason) => note(&mut parsed.errors, reason),
            Ok((name, _)) if fields.iter().any(|(other, _)| *other == name) => {
                note(&mut parsed.errors, format!("`{name}` is set twice"));
            }
            Ok(field) => fields.push(field),
        }
    }
    if fields.is_empty() && parsed.errors.is_empty() {
        parsed.errors.push(FORM.to_owned());
    }
    parsed.value = (!fields.is_empty()).then_some(Value::Fields(fields));
    parsed
}

fn tries(item: &str) -> Result<u16, String> {
    if item.eq_ignore_ascii_case("off") {
        return Ok(0);
    }
    match number(item) {
        Some(tries) if tries <= MAX_TRIES => Ok(tries),
        Some(_) => Err(format!("at most {MAX_TRIES} other replicas are tried")),
        None => Err(format!("{}: {FORM}", quote(item))),
    }
}

/// Words, separated by commas or blanks.
pub(super) fn on(text: &str) -> Result<RetryOn, String> {
    let items = text.split(|c: char| c == ',' || c.is_whitespace());
    let words = items.filter(|item| !item.is_empty());
    let mut on = RetryOn::NOTHING;
    for word in words {
        let given = word.to_ascii_lowercase().replace('-', "_");
        // As nginx writes statuses.
        let given = given.strip_prefix("http_").unwrap_or(&given);
        on = on.and(RetryOn::word(given).ok_or_else(|| {
            let known: Vec<&str> = RetryOn::words().collect();
            format!("{} is none of {}", quote(word), known.join(", "))
        })?);
    }
    match on {
        RetryOn::NOTHING => Err("name what is tried again: error, timeout, 503 ...".to_owned()),
        on => Ok(on),
    }
}

/// `20%`; `off` is no limit.
pub(super) fn budget(text: &str) -> Result<Option<u8>, String> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("off") {
        return Ok(None);
    }
    let percent = text.strip_suffix('%').and_then(number::<u8>);
    match percent {
        Some(percent) if percent <= 100 => Ok(Some(percent)),
        _ => Err("a budget is a share of requests from 0% to 100%, or off".to_owned()),
    }
}

const MAX_TRIES: u16 = 100;

const FORM: &str = "a retry looks like `2 on=error,timeout,503 budget=20%`, or off";
