//! Values about who gets which request.

use super::{MAX_NAME, Parsed, Value, choose, duration, items, note, number};
use crate::config::networks;
use crate::docker::labels::text::quote;
use crate::model::{
    Balance, FailLimit, Glob, HashOn, Matcher, Networks, PathGlob, Pattern, Text, parse_bool,
};

/// A word, or `hash` and what it looks at.
pub(super) fn balance(text: &str) -> Result<Balance, String> {
    let mut words = text.split_whitespace();
    if !words
        .next()
        .is_some_and(|word| word.eq_ignore_ascii_case("hash"))
    {
        return choose(BALANCE, BALANCE_LATER, text)
            .map_err(|reason| reason.replace(" or ip_hash", ", ip_hash or hash"));
    }
    let (on, more) = (words.next().unwrap_or(""), words.next());
    let (what, name) = match on.split_once(':') {
        Some((what, name)) => (what.to_ascii_lowercase(), name),
        None => (on.to_ascii_lowercase(), ""),
    };
    let on = match what.as_str() {
        "header" if is_token(name) => HashOn::Header(name.to_ascii_lowercase()),
        "cookie" if is_token(name) => HashOn::Cookie(name.to_owned()),
        "path" if name.is_empty() => HashOn::Path,
        _ => return Err(HASH_FORM.to_owned()),
    };
    match more {
        None => Ok(Balance::Hash(on)),
        Some(_) => Err(HASH_FORM.to_owned()),
    }
}

/// A name of a field or cookie (RFC 9110 section 5.6.2).
pub(super) fn is_token(name: &str) -> bool {
    let special = |b| b"!#$%&'*+-.^_`|~".contains(&b);
    let part = |b: u8| b.is_ascii_alphanumeric() || special(b);
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(part)
}

/// A switch, a cookie, or both: `on cookie=srv`. Nothing at all is on.
pub(super) fn sticky(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    let mut fields: Vec<(&'static str, Value)> = Vec::new();
    for item in text.split_whitespace() {
        let field = match item.split_once('=') {
            Some((key, name)) if key.eq_ignore_ascii_case("cookie") => {
                cookie(name).map(|name| ("sticky.cookie", Value::Name(name)))
            }
            Some((key, _)) => Err(format!("there is no {} here, only cookie=", quote(key))),
            None => parse_bool(item)
                .map(|on| ("sticky", Value::Switch(on)))
                .map_err(|error| error.to_string()),
        };
        match field {
            Err(reason) => note(&mut parsed.errors, reason),
            Ok((name, _)) if fields.iter().any(|(other, _)| *other == name) => {
                note(&mut parsed.errors, "a value is given twice".to_owned());
            }
            Ok(field) => fields.push(field),
        }
    }
    if fields.is_empty() && parsed.errors.is_empty() {
        fields.push(("sticky", Value::Switch(true)));
    }
    parsed.value = (!fields.is_empty()).then_some(Value::Fields(fields));
    parsed
}

/// `3/30s`; without a time nginx's; `off` and `0` are no limit.
pub(super) fn fail(text: &str) -> Result<FailLimit, String> {
    let form = || "a limit of failures looks like 3/30s, or off".to_owned();
    let (count, within) = match text.trim().split_once('/') {
        Some((count, within)) => (count, duration(within)?),
        None => (text, FailLimit::default().within),
    };
    let off = count.trim().eq_ignore_ascii_case("off");
    let count = if off { Some(0) } else { number(count) };
    let count = count.ok_or_else(form)?;
    // A rest of no time is none.
    let count = if within.is_zero() { 0 } else { count };
    Ok(FailLimit { count, within })
}

pub(super) fn matchers(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    let mut found: Vec<Matcher> = Vec::new();
    for item in items(text) {
        match matcher(item) {
            Err(reason) => note(&mut parsed.errors, reason),
            Ok(matcher) if found.contains(&matcher) => {
                note(&mut parsed.warnings, format!("`{matcher}` is named twice"));
            }
            Ok(_) if found.len() == MAX_MATCHERS => {
                let reason = format!("there are at most {MAX_MATCHERS} conditions");
                note(&mut parsed.errors, reason);
                break;
            }
            Ok(matcher) => found.push(matcher),
        }
    }
    if found.is_empty() && parsed.errors.is_empty() {
        parsed.errors.push(MATCHER_FORM.to_owned());
    }
    parsed.value = (!found.is_empty()).then_some(Value::Matchers(found));
    parsed
}

fn matcher(item: &str) -> Result<Matcher, String> {
    let wrong = || format!("{}: {MATCHER_FORM}", quote(item));
    let (kind, rest) = item.split_once(':').ok_or_else(wrong)?;
    let rest = rest.trim();
    let named = |reason: String| format!("{}: {reason}", quote(item));
    match kind.trim().to_ascii_lowercase().as_str() {
        "path" if rest.starts_with(['/', '~', '^']) => {
            let glob = PathGlob::parse(rest).map_err(|error| named(error.to_string()))?;
            return Ok(Matcher::Path(glob));
        }
        "method" => {
            let mut methods: Vec<String> = rest.split('|').map(|m| m.trim().to_owned()).collect();
            if !methods.iter().all(|method| is_token(method)) {
                return Err(wrong());
            }
            // Methods have case, and are in upper case all the same.
            methods
                .iter_mut()
                .for_each(|method| method.make_ascii_uppercase());
            methods.sort();
            methods.dedup();
            return Ok(Matcher::Method(methods));
        }
        "ip" => {
            let networks = rest.split('|').map(|item| networks(item.trim()));
            let networks: Vec<_> = networks.collect::<Result<_, _>>().map_err(named)?;
            return Ok(Matcher::Ip(Networks::new(rest, networks.concat())));
        }
        _ => {}
    }
    let (name, value) = match rest.split_once('=') {
        Some((name, value)) => (name.trim(), Some(value.trim())),
        None => (rest, None),
    };
    if value.is_some_and(|value| value.len() > Pattern::LONGEST) {
        let longest = Pattern::LONGEST;
        return Err(named(format!("a value has at most {longest} bytes")));
    }
    let value = match value {
        Some(value) if value.starts_with('~') => {
            let pattern = Pattern::parse(value).map_err(|error| named(error.to_string()))?;
            Some(Text::Regex(pattern))
        }
        value => value.map(|value| Text::Glob(Glob::new(value))),
    };
    match kind.trim().to_ascii_lowercase().as_str() {
        "header" if is_token(name) && !name.contains('*') => {
            Ok(Matcher::Header(name.to_ascii_lowercase(), value))
        }
        "cookie" if is_token(name) => Ok(Matcher::Cookie(Glob::new(name), value)),
        "arg" if !name.is_empty() && name.len() <= MAX_NAME => {
            Ok(Matcher::Arg(Glob::new(name), value))
        }
        _ => Err(wrong()),
    }
}

pub(super) fn cookie(text: &str) -> Result<String, String> {
    let text = text.trim();
    match is_token(text) {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "a cookie's name is 1 to {MAX_NAME} letters, digits or signs such as `_` and `-`"
        )),
    }
}

/// Conditions of one route.
const MAX_MATCHERS: usize = 20;

const MATCHER_FORM: &str = "a condition looks like header:X-Canary, header:X-Canary=1, cookie:beta, arg:preview, path:/api/**, method:GET|HEAD or ip:10.0.0.0/8";

const HASH_FORM: &str =
    "a hash looks like `hash header:<name>`, `hash cookie:<name>` or `hash path`";

const BALANCE: &[(&str, Balance)] = &[
    ("round_robin", Balance::RoundRobin),
    ("least_conn", Balance::LeastConn),
    ("random2", Balance::Random2),
    ("ip_hash", Balance::IpHash),
];
const BALANCE_LATER: &[&str] = &["random", "first"];
