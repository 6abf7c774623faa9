//! Values of `ratelimit`.

use super::limits::count;
use super::traffic::is_token;
use super::{Parsed, Value, items, note};
use crate::docker::labels::text::quote;
use crate::model::{Delay, LimitKey, Per, Rate, RateLimit, parse_bool};

/// One limit, or several in a list; `off`.
pub(super) fn ratelimit(text: &str) -> Parsed {
    if matches!(parse_bool(text), Ok(false)) && !text.trim().is_empty() {
        return Parsed {
            value: Some(Value::Switch(false)),
            ..Parsed::default()
        };
    }
    let mut parsed = Parsed::default();
    let mut limits = Vec::new();
    for item in items(text) {
        match limit(item) {
            Ok(limit) if limits.len() < MAX_LIMITS => limits.push(limit),
            Ok(_) => {
                let reason = format!("a route has at most {MAX_LIMITS} of them");
                note(&mut parsed.errors, reason);
                break;
            }
            Err(reason) => note(&mut parsed.errors, reason),
        }
    }
    parsed.value = match limits.len() {
        0 if parsed.errors.is_empty() => {
            parsed.errors.push(FORM.to_owned());
            None
        }
        0 => None,
        // The parts, each of which another label may set, too.
        1 => Some(Value::Fields(limits.remove(0))),
        _ => {
            let whole = limits.iter().map(|fields| of_fields(fields)).collect();
            Some(Value::RateLimits(whole))
        }
    };
    parsed
}

type Fields = Vec<(&'static str, Value)>;

fn limit(item: &str) -> Result<Fields, String> {
    let mut fields = Fields::new();
    for word in item.split_whitespace() {
        let (key, value) = word.split_once('=').unwrap_or(("", word));
        let (name, value) = match (key.to_ascii_lowercase().as_str(), value) {
            ("" | "rate", text) if key == "rate" || text.contains('/') => {
                ("ratelimit.rate", Value::Rate(rate(text)?))
            }
            ("burst", text) => ("ratelimit.burst", Value::Count(burst(text)?)),
            ("delay", text) => ("ratelimit.delay", Value::Delay(delay(text)?)),
            ("key", text) => ("ratelimit.key", Value::LimitKey(key_of(text)?)),
            ("", text) if text.eq_ignore_ascii_case("nodelay") => {
                ("ratelimit.delay", Value::Delay(Delay::None))
            }
            ("", text) if DRY_RUN.contains(&&*text.to_ascii_lowercase()) => {
                ("ratelimit.dryrun", Value::Switch(true))
            }
            _ => return Err(format!("{}: {FORM}", quote(word))),
        };
        if fields.iter().any(|(other, _)| *other == name) {
            return Err(format!("`{name}` is set twice"));
        }
        fields.push((name, value));
    }
    match fields.iter().any(|(name, _)| *name == "ratelimit.rate") {
        true => Ok(fields),
        false => Err(format!("{}: there is no rate in it; {FORM}", quote(item))),
    }
}

/// `10r/s`; `10/s` will do.
pub(super) fn rate(text: &str) -> Result<Rate, String> {
    let text = text.trim().to_ascii_lowercase();
    let (requests, per) = text.split_once('/').unwrap_or((&text, ""));
    let requests = requests.strip_suffix('r').unwrap_or(requests).trim();
    let per = Per::ALL.iter().find(|(_, letter)| *letter == per.trim());
    match (count(requests), per) {
        (Ok(requests @ 1..=Rate::MAX), Some((per, _))) => Ok(Rate {
            requests,
            per: *per,
        }),
        _ => Err(format!(
            "{}: a rate looks like 10r/s, 30r/m, 100r/h or 1000r/d",
            quote(&text)
        )),
    }
}

pub(super) fn burst(text: &str) -> Result<u32, String> {
    match count(text) {
        Ok(burst) if burst <= RateLimit::MAX_BURST => Ok(burst),
        _ => Err(format!(
            "a burst is a number of requests up to {}",
            RateLimit::MAX_BURST
        )),
    }
}

/// `on`, `off` or a number.
pub(super) fn delay(text: &str) -> Result<Delay, String> {
    let text = text.trim();
    let number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match (number.then(|| burst(text)), parse_bool(text)) {
        (Some(Ok(requests)), _) => Ok(Delay::Beyond(requests)),
        (None, Ok(true)) => Ok(Delay::All),
        (None, Ok(false)) => Ok(Delay::None),
        _ => Err(
            "it is on (requests beyond the rate wait), off, or how many of them do not wait"
                .to_owned(),
        ),
    }
}

pub(super) fn key_of(text: &str) -> Result<LimitKey, String> {
    let text = text.trim();
    let (what, name) = text.split_once(':').unwrap_or((text, ""));
    match (what.to_ascii_lowercase().as_str(), name) {
        ("ip", "") => Ok(LimitKey::Client),
        ("host", "") => Ok(LimitKey::Host),
        ("global", "") => Ok(LimitKey::Global),
        ("header", name) if is_token(name) => Ok(LimitKey::Header(name.to_ascii_lowercase())),
        ("cookie", name) if is_token(name) => Ok(LimitKey::Cookie(name.to_owned())),
        _ => Err(format!(
            "{}: a key is ip, header:<name>, cookie:<name>, host or global",
            quote(text)
        )),
    }
}

/// What fields say together; [`None`] for one that is not among them is the default.
pub(in crate::docker::labels) fn of_fields(fields: &[(&'static str, Value)]) -> RateLimit {
    let mut limit = RateLimit::new(Rate {
        requests: 1,
        per: Per::Second,
    });
    for (_, value) in fields {
        match value {
            Value::Rate(rate) => limit.rate = *rate,
            Value::Count(burst) => limit.burst = *burst,
            Value::Delay(delay) => limit.delay = *delay,
            Value::LimitKey(key) => limit.key = key.clone(),
            Value::Switch(dry_run) => limit.dry_run = *dry_run,
            _ => {}
        }
    }
    limit
}

const FORM: &str = "a limit looks like 10r/s burst=20 nodelay, or off";
const DRY_RUN: [&str; 3] = ["dryrun", "dry_run", "dry-run"];
/// Each is looked at for each request.
const MAX_LIMITS: usize = 8;
