//! Values of `cors`.

use super::access::words;
use super::traffic::is_token;
use super::{Parsed, Value, duration, note};
use crate::docker::labels::text::quote;
use crate::model::{OriginError, OriginPattern, Origins, parse_bool};

/// `https://app.example.com, https://*.example.com methods=GET,POST credentials max_age=1h`, `*` or `off`.
pub(super) fn cors(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    let words = match words(text) {
        Ok(words) => words,
        Err(reason) => {
            parsed.errors.push(reason);
            return parsed;
        }
    };
    let mut fields: Vec<(&'static str, Value)> = Vec::new();
    let mut list = Vec::new();
    let (mut any, mut off) = (false, false);
    for word in &words {
        let field = match word.split_once('=') {
            Some((name, value)) => field(name, value),
            None if word.eq_ignore_ascii_case("credentials") => {
                Ok(("cors.credentials", Value::Switch(true)))
            }
            None => {
                for origin in word.split(',').filter(|part| !part.is_empty()) {
                    match origin {
                        "*" => any = true,
                        origin if matches!(parse_bool(origin), Ok(false)) => off = true,
                        origin => match OriginPattern::parse(origin) {
                            Ok(_) if list.len() == MAX_ORIGINS => note(
                                &mut parsed.errors,
                                format!("there are at most {MAX_ORIGINS} origins"),
                            ),
                            Ok(origin) if list.contains(&origin) => {
                                note(&mut parsed.warnings, format!("`{origin}` is named twice"));
                            }
                            Ok(origin) => list.push(origin),
                            Err(reason) => note(&mut parsed.errors, wrong(origin, &reason)),
                        },
                    }
                }
                continue;
            }
        };
        match field {
            Ok((name, _)) if fields.iter().any(|(other, _)| *other == name) => {
                note(&mut parsed.errors, format!("{} is set twice", quote(word)));
            }
            Ok(field) => fields.push(field),
            Err(reason) => note(&mut parsed.errors, reason),
        }
    }
    match (any, off, list.is_empty()) {
        (true, false, true) => fields.push(("cors", Value::Origins(Origins::Any))),
        (false, true, true) | (false, false, false) => {
            fields.push(("cors", Value::Origins(Origins::These(list))));
        }
        (false, false, true) if parsed.errors.is_empty() => parsed.errors.push(FORM.to_owned()),
        (false, false, true) => {}
        _ => note(
            &mut parsed.errors,
            "`*`, `off` and a list of origins exclude each other".to_owned(),
        ),
    }
    parsed.value = (!fields.is_empty()).then_some(Value::Fields(fields));
    parsed
}

/// A list written `GET, POST` without quotes falls apart at the blank.
fn wrong(origin: &str, reason: &OriginError) -> String {
    let hint = match reason {
        OriginError::Scheme if is_token(origin) && !origin.contains('.') => {
            "; lists of methods= and headers= have no blanks, or stand in double quotes"
        }
        _ => "",
    };
    format!("{}: {reason}{hint}", quote(origin))
}

fn field(name: &str, value: &str) -> Result<(&'static str, Value), String> {
    match name.to_ascii_lowercase().replace('-', "_").as_str() {
        "methods" => Ok(("cors.methods", Value::Names(methods(value)?))),
        "headers" => Ok(("cors.headers", Value::Names(headers(value)?))),
        "credentials" => {
            let on = parse_bool(value).map_err(|error| error.to_string())?;
            Ok(("cors.credentials", Value::Switch(on)))
        }
        "max_age" => Ok(("cors.max_age", Value::Duration(duration(value)?))),
        _ => Err(format!(
            "there is no {} here; there are methods= headers= credentials max_age=",
            quote(name)
        )),
    }
}

/// In upper case, as all known ones are: browsers do not see to it for PATCH. Nothing for all.
pub(super) fn methods(text: &str) -> Result<Vec<String>, String> {
    let methods = names(text, "a list of methods, such as GET, POST, or *")?;
    Ok(methods
        .iter()
        .map(|name| name.to_ascii_uppercase())
        .collect())
}

/// In lower case. Nothing for all.
pub(super) fn headers(text: &str) -> Result<Vec<String>, String> {
    names(
        text,
        "a list of names, such as Authorization, Content-Type, or *",
    )
}

fn names(text: &str, form: &str) -> Result<Vec<String>, String> {
    let parts = text.split([',', '\n']).map(str::trim);
    let parts: Vec<_> = parts.filter(|part| !part.is_empty()).collect();
    match parts[..] {
        ["*"] => return Ok(Vec::new()),
        [one] if one.eq_ignore_ascii_case("all") => return Ok(Vec::new()),
        [] => return Err(format!("it is {form}")),
        _ => {}
    }
    let mut names: Vec<String> = Vec::new();
    for part in parts {
        if !is_token(part) || part == "*" {
            return Err(format!("{}: it is {form}", quote(part)));
        }
        let name = part.to_ascii_lowercase();
        if names.len() == MAX_NAMES {
            return Err(format!("there are at most {MAX_NAMES} of them"));
        }
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

const FORM: &str = "it looks like https://app.example.com, https://*.example.com credentials, or *, or off; is a variable of the compose file not set?";
const MAX_ORIGINS: usize = 100;
const MAX_NAMES: usize = 64;
