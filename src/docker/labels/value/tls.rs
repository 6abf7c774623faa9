//! Values of `tls` and what belongs to it, and of `hsts`.

use crate::model::{ClientAuth, TlsVersion, parse_bool};

use super::super::text::quote;
use super::{Parsed, TLS, TLS_LATER, Value, choose, duration, note};

pub(super) fn tls(text: &str) -> Result<Value, String> {
    match after_file(text.trim()) {
        Some(name) => own(name).map(Value::TlsFile),
        None => choose(TLS, TLS_LATER, text).map(Value::Tls),
    }
}

/// The name of a certificate in `WHARF_CERTS`; only compared with what is there, never opened.
fn own(name: &str) -> Result<String, String> {
    match name {
        "" => Err("`file:` is followed by the name of a certificate in WHARF_CERTS".to_owned()),
        name if !is_plain(name) => {
            Err("that is no name of a certificate in WHARF_CERTS".to_owned())
        }
        name => Ok(name.to_owned()),
    }
}

pub(super) fn version(text: &str) -> Result<TlsVersion, String> {
    match text.trim() {
        "1.2" => Ok(TlsVersion::Tls12),
        "1.3" => Ok(TlsVersion::Tls13),
        "1.0" | "1.1" => Err("TLS before 1.2 is not spoken".to_owned()),
        _ => Err("the value is 1.2 or 1.3".to_owned()),
    }
}

/// `file:clients.pem`, perhaps with `optional`.
pub(super) fn client_ca(text: &str) -> Result<ClientAuth, String> {
    let mut ca = None;
    let mut optional = false;
    for word in text.split(|c: char| c == ',' || c.is_whitespace()) {
        if word.is_empty() {
            continue;
        }
        if word.eq_ignore_ascii_case("optional") && !optional {
            optional = true;
        } else if let Some(path) = after_file(word).filter(|_| ca.is_none()) {
            ca = Some(file(path)?);
        } else {
            return Err(format!("{}: {CLIENT_CA_FORM}", quote(word)));
        }
    }
    let ca = ca.ok_or(CLIENT_CA_FORM)?;
    Ok(ClientAuth { ca, optional })
}

/// A file in Wharf's container: an absolute path, or one in `WHARF_CERTS`.
pub(super) fn file(path: &str) -> Result<String, String> {
    let steps_up = path.split('/').any(|part| part == "..");
    if path.is_empty() || steps_up || !is_plain(path) {
        return Err(
            "`file:` is followed by a path in WHARF_CERTS, or an absolute one, without `..`"
                .to_owned(),
        );
    }
    Ok(path.to_owned())
}

/// `on`, `off`, or `max-age=180d subdomains preload` in any order.
pub(super) fn hsts(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    let mut fields: Vec<(&'static str, Value)> = Vec::new();
    for word in text.split(|c: char| matches!(c, ',' | ';') || c.is_whitespace()) {
        if word.is_empty() {
            continue;
        }
        match hsts_word(word) {
            Err(reason) => note(&mut parsed.errors, reason),
            Ok((name, _)) if fields.iter().any(|(other, _)| *other == name) => {
                note(&mut parsed.errors, format!("{} is set twice", quote(word)));
            }
            Ok(field) => fields.push(field),
        }
    }
    if fields.is_empty() && parsed.errors.is_empty() {
        fields.push(("hsts", Value::Switch(true)));
    }
    parsed.value = (!fields.is_empty()).then_some(Value::Fields(fields));
    parsed
}

fn hsts_word(word: &str) -> Result<(&'static str, Value), String> {
    let lower = word.to_ascii_lowercase().replace('_', "-");
    if let Some(age) = lower.strip_prefix("max-age=") {
        // `off` would be read as 0, which tells browsers to forget: too much for a slip.
        if age == "off" {
            return Err("for none at all write wharf.hsts: off".to_owned());
        }
        let age = duration(age)?;
        return Ok(("hsts.max_age", Value::Duration(age)));
    }
    match lower.as_str() {
        "subdomains" | "includesubdomains" => Ok(("hsts.subdomains", Value::Switch(true))),
        "preload" => Ok(("hsts.preload", Value::Switch(true))),
        _ => match parse_bool(&lower) {
            Ok(on) => Ok(("hsts", Value::Switch(on))),
            Err(_) => Err(format!(
                "{}: it looks like on, or max-age=180d subdomains preload",
                quote(word)
            )),
        },
    }
}

/// What follows `file:`, in any case.
pub(super) fn after_file(text: &str) -> Option<&str> {
    let scheme = text.get(..5)?;
    scheme.eq_ignore_ascii_case("file:").then(|| &text[5..])
}

fn is_plain(name: &str) -> bool {
    name.len() <= MAX_FILE && !name.contains(|c: char| c.is_control() || c.is_whitespace())
}

/// A directory and a file in it.
const MAX_FILE: usize = 255;
const CLIENT_CA_FORM: &str = "it looks like file:clients.pem, or file:clients.pem optional";
