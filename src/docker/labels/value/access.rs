//! Values about who may use a route.

use super::{Parsed, Value, duration, items, note};
use crate::config::networks;
use crate::docker::labels::text::quote;
use crate::model::{Blocked, Glob, Networks, PathGlob, parse_bool};

/// Addresses, networks and sets, in a list.
pub(super) fn addresses(text: &str) -> Result<Networks, String> {
    let mut found = Vec::new();
    let mut names = Vec::new();
    for item in items(text).flat_map(str::split_whitespace) {
        found.extend(networks(item)?);
        names.push(item);
        if found.len() > MAX_NETWORKS {
            return Err(format!("a list has at most {MAX_NETWORKS} networks"));
        }
    }
    match names.is_empty() {
        true => Err(EMPTY.to_owned()),
        false => Ok(Networks::new(&names.join(", "), found)),
    }
}

/// `exploits`, patterns of paths, patterns of names.
pub(super) fn block(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    let mut found: Vec<Blocked> = Vec::new();
    for item in items(text) {
        match blocked(item) {
            Err(reason) => note(&mut parsed.errors, reason),
            Ok(_) if found.len() == MAX_BLOCKED => {
                let reason = format!("there are at most {MAX_BLOCKED} patterns");
                note(&mut parsed.errors, reason);
                break;
            }
            Ok(item) if found.contains(&item) => {
                note(&mut parsed.warnings, format!("`{item}` is named twice"));
            }
            Ok(item) => found.push(item),
        }
    }
    if found.is_empty() && parsed.errors.is_empty() {
        parsed.errors.push(BLOCK_FORM.to_owned());
    }
    parsed.value = (!found.is_empty()).then_some(Value::Block(found));
    parsed
}

fn blocked(item: &str) -> Result<Blocked, String> {
    if item.eq_ignore_ascii_case("exploits") {
        return Ok(Blocked::Exploits);
    }
    if item.starts_with(['/', '~', '^']) {
        let path = PathGlob::parse(item);
        return path
            .map(Blocked::Path)
            .map_err(|error| format!("{}: {error}", quote(item)));
    }
    let is_name = item.contains(['*', '.']) && !item.contains('/') && item.len() <= MAX_NAME;
    match is_name {
        true if item.bytes().all(|byte| byte == b'*') => Err(format!(
            "{} is every path: `wharf.enable: false` serves none",
            quote(item)
        )),
        true => Ok(Blocked::Segment(Glob::new(&item.to_ascii_lowercase()))),
        false => Err(format!("{}: {BLOCK_FORM}", quote(item))),
    }
}

/// `on allow=private retry=10m message="back at noon"`, in any order.
pub(super) fn maintenance(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    let mut fields: Vec<(&'static str, Value)> = Vec::new();
    let words = match words(text) {
        Ok(words) => words,
        Err(reason) => {
            parsed.errors.push(reason);
            return parsed;
        }
    };
    for word in &words {
        let field = match word.split_once('=') {
            None => match parse_bool(word) {
                Ok(on) => Ok(("maintenance", Value::Switch(on))),
                Err(_) => Err(format!("{}: {MAINTENANCE_FORM}", quote(word))),
            },
            Some((key, value)) => match key.to_ascii_lowercase().as_str() {
                "allow" => {
                    addresses(value).map(|list| ("maintenance.allow", Value::Networks(list)))
                }
                "retry" => duration(value).map(|time| ("maintenance.retry", Value::Duration(time))),
                "message" => message(value).map(|text| ("maintenance.message", Value::Name(text))),
                _ => Err(format!(
                    "there is no {} here: {MAINTENANCE_FORM}",
                    quote(key)
                )),
            },
        };
        match field {
            Err(reason) => note(&mut parsed.errors, reason),
            Ok((name, _)) if fields.iter().any(|(other, _)| *other == name) => {
                note(&mut parsed.errors, format!("`{name}` is set twice"));
            }
            Ok(field) => fields.push(field),
        }
    }
    if words.is_empty() {
        fields.push(("maintenance", Value::Switch(true)));
    }
    parsed.value = (!fields.is_empty()).then_some(Value::Fields(fields));
    parsed
}

/// What visitors read.
pub(super) fn message(text: &str) -> Result<String, String> {
    let text = text.trim();
    match text.len() {
        0 => Err("the message is empty".to_owned()),
        1..=MAX_MESSAGE => Ok(text.to_owned()),
        _ => Err(format!("a message has at most {MAX_MESSAGE} bytes")),
    }
}

/// Split at blanks outside of quotes, which go.
pub(super) fn words(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut open = None;
    for c in text.chars() {
        match open {
            Some(quote) if c == quote => open = None,
            None if matches!(c, '"' | '\'') && word.ends_with('=') => open = Some(c),
            None if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            _ => word.push(c),
        }
    }
    if open.is_some() {
        return Err("a quote is opened and not closed".to_owned());
    }
    if !word.is_empty() {
        words.push(word);
    }
    Ok(words)
}

const EMPTY: &str = "a list of addresses, networks such as 10.0.0.0/8, or sets such as private; is a variable of the compose file not set?";
const BLOCK_FORM: &str =
    "it is `exploits`, a path such as /private/*, a name such as *.sql, or ~regex";
const MAINTENANCE_FORM: &str =
    "it looks like on allow=private retry=10m message=\"back at noon\", or off";
const MAX_NETWORKS: usize = 1024;
const MAX_BLOCKED: usize = 64;
const MAX_NAME: usize = 255;
const MAX_MESSAGE: usize = 1000;
