//! Values of `cache`.

use super::traffic::matchers;
use super::{Parsed, Value, duration, items, note};
use crate::docker::labels::text::quote;
use crate::model::{CacheKey, CacheStale, CacheValid, parse_bool, parse_size};

/// `on`, `off`, or a time: `on valid` for so long; `max_size=` and `inactive=` besides.
pub(super) fn cache(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    let mut fields: Vec<(&'static str, Value)> = Vec::new();
    for word in text.split_whitespace() {
        let read = match word.split_once('=') {
            Some((key, value)) => match key.to_ascii_lowercase().as_str() {
                "max_size" | "max-size" => parse_size(value)
                    .map(|size| vec![("cache.max_size", Value::Size(size))])
                    .map_err(|error| error.to_string()),
                "inactive" => {
                    duration(value).map(|time| vec![("cache.inactive", Value::Duration(time))])
                }
                key => Err(format!("there is no {} here: {FORM}", quote(key))),
            },
            None => match (parse_bool(word), time(word)) {
                (Ok(on), _) => Ok(vec![("cache", Value::Switch(on))]),
                (_, Ok(seconds)) if seconds > 0 => Ok(vec![
                    ("cache", Value::Switch(true)),
                    ("cache.valid", Value::CacheValid(bare(seconds))),
                ]),
                _ => Err(format!("{}: {FORM}", quote(word))),
            },
        };
        match read {
            Ok(read) => {
                let twice = |(name, _): &(&str, Value)| fields.iter().any(|(n, _)| n == name);
                match read.iter().find(|field| twice(field)) {
                    Some((name, _)) => {
                        note(&mut parsed.errors, format!("`{name}` is set twice"));
                    }
                    None => fields.extend(read),
                }
            }
            Err(reason) => note(&mut parsed.errors, reason),
        }
    }
    if !fields.iter().any(|(name, _)| *name == "cache") && parsed.errors.is_empty() {
        fields.push(("cache", Value::Switch(true)));
    }
    parsed.value = (!fields.is_empty()).then_some(Value::Fields(fields));
    parsed
}

fn bare(seconds: u32) -> CacheValid {
    CacheValid {
        by_status: CacheValid::BARE.map(|status| (status, seconds)).into(),
        any: None,
    }
}

/// Whole seconds.
fn time(text: &str) -> Result<u32, String> {
    let seconds = duration(text)?.as_secs();
    Ok(u32::try_from(seconds).unwrap_or(u32::MAX))
}

/// `200 301 10m, 404 1m, any 10s`; a time alone is for 200, 301 and 302; `off`.
pub(super) fn valid(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    let mut valid = CacheValid::default();
    if is_off(text) {
        parsed.value = Some(Value::CacheValid(valid));
        return parsed;
    }
    for item in items(text) {
        if let Err(reason) = add(&mut valid, item) {
            note(&mut parsed.errors, format!("{}: {reason}", quote(item)));
        }
    }
    let empty = valid == CacheValid::default();
    if empty && parsed.errors.is_empty() {
        parsed.errors.push(VALID.to_owned());
    }
    parsed.value = (!empty).then_some(Value::CacheValid(valid));
    parsed
}

fn add(valid: &mut CacheValid, item: &str) -> Result<(), String> {
    let words: Vec<&str> = item.split_whitespace().collect();
    let Some((last, statuses)) = words.split_last() else {
        return Err(VALID.to_owned());
    };
    // A number in the end is a status more likely than seconds.
    let is_status = |word: &str| word.len() == 3 && word.bytes().all(|b| b.is_ascii_digit());
    if is_status(last) {
        return Err(format!("there is no time in it; {VALID}"));
    }
    let seconds = time(last).map_err(|_| VALID.to_owned())?;
    if statuses.is_empty() {
        for status in CacheValid::BARE {
            set(valid, status, seconds)?;
        }
    }
    for word in statuses {
        if word.eq_ignore_ascii_case("any") {
            if valid.any.replace(seconds).is_some() {
                return Err("`any` is set twice".to_owned());
            }
            continue;
        }
        let status = word.parse().ok().filter(|_| is_status(word));
        let status = status.filter(|status| (200..600).contains(status) && *status != 304);
        let status = status.ok_or_else(|| format!("{} is no status; {VALID}", quote(word)))?;
        set(valid, status, seconds)?;
    }
    Ok(())
}

fn set(valid: &mut CacheValid, status: u16, seconds: u32) -> Result<(), String> {
    if valid.by_status.iter().any(|(other, _)| *other == status) {
        return Err(format!("{status} is set twice"));
    }
    valid.by_status.push((status, seconds));
    Ok(())
}

/// `error timeout updating 500 502 503 background=30s for=1d`, in any order; `off`.
pub(super) fn stale(text: &str) -> Result<CacheStale, String> {
    if is_off(text) {
        return Ok(CacheStale::NEVER);
    }
    let mut stale = CacheStale {
        limit: u32::MAX,
        ..CacheStale::NEVER
    };
    let words = text.split([' ', '\t', '\n', '\r', ',']);
    let mut any = false;
    for word in words.filter(|word| !word.is_empty()) {
        any = true;
        let lower = word.to_ascii_lowercase();
        match lower.split_once('=') {
            Some(("background", text)) => stale.background = Some(time(text)?),
            Some(("for", text)) => {
                stale.limit = time(text)?;
            }
            Some(_) => return Err(format!("{}: {STALE}", quote(word))),
            None => match lower.as_str() {
                "error" => stale.error = true,
                "timeout" => stale.timeout = true,
                "invalid_header" | "invalid" => stale.invalid = true,
                "updating" => stale.updating = true,
                status => {
                    let status = status.strip_prefix("http_").unwrap_or(status);
                    let known = CacheStale::STATUSES.into_iter();
                    let status = known
                        .into_iter()
                        .find(|known| known.to_string() == status)
                        .ok_or_else(|| format!("{}: {STALE}", quote(word)))?;
                    stale.statuses.push(status);
                }
            },
        }
    }
    stale.statuses.sort_unstable();
    stale.statuses.dedup();
    match any {
        true => Ok(stale),
        false => Err(STALE.to_owned()),
    }
}

/// Conditions as of `match`; `off` for none.
pub(super) fn bypass(text: &str) -> Parsed {
    if is_off(text) {
        return Parsed {
            value: Some(Value::Matchers(Vec::new())),
            ..Parsed::default()
        };
    }
    matchers(text)
}

pub(super) fn key(text: &str) -> Result<CacheKey, String> {
    CacheKey::parse(text).map_err(|error| error.to_string())
}

/// Compose files are YAML 1.1 for some: an unquoted `off` arrives as `False`.
fn is_off(text: &str) -> bool {
    !text.trim().is_empty() && matches!(parse_bool(text), Ok(false))
}

const FORM: &str = "it looks like on, off, 10m, or on max_size=1g inactive=1h";
const VALID: &str = "times look like 10m, or 200 301 10m, 404 1m, any 10s";
const STALE: &str = "there are error, timeout, invalid_header, updating, 500, 502, 503, 504, 403, 404, 429, \
    background=30s, for=1d, and off";

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Vec<(&'static str, Value)> {
        match cache(text) {
            Parsed {
                value: Some(Value::Fields(fields)),
                errors,
                ..
            } if errors.is_empty() => fields,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn a_time_is_short_for_a_switch_and_lifetimes() {
        let on = ("cache", Value::Switch(true));
        assert_eq!(fields("on"), std::slice::from_ref(&on));
        assert_eq!(fields(""), std::slice::from_ref(&on));
        assert_eq!(fields("1"), std::slice::from_ref(&on));
        assert_eq!(fields("off"), [("cache", Value::Switch(false))]);
        let times = Value::CacheValid(bare(600));
        assert_eq!(fields("10m"), [on.clone(), ("cache.valid", times)]);
        assert_eq!(
            fields("max_size=1g inactive=1h"),
            [
                ("cache.max_size", Value::Size(1 << 30)),
                (
                    "cache.inactive",
                    Value::Duration(std::time::Duration::from_secs(3600))
                ),
                on,
            ]
        );
        for wrong in ["on off", "10q", "on size=1g", "on 10m"] {
            assert!(!cache(wrong).errors.is_empty(), "{wrong}");
        }
    }

    #[test]
    fn lifetimes_are_nginxs() {
        let read = |text| match valid(text) {
            Parsed {
                value: Some(Value::CacheValid(valid)),
                errors,
                ..
            } if errors.is_empty() => valid.to_string(),
            other => format!("{:?}", other.errors),
        };
        assert_eq!(
            read("200 301 10m, 404 1m, any 10s"),
            "200 600s, 301 600s, 404 60s, any 10s"
        );
        assert_eq!(read("1h"), "200 3600s, 301 3600s, 302 3600s");
        assert_eq!(read("404 off"), "404 0s");
        for wrong in [
            "",
            "200",
            "200 301",
            "99 1m",
            "304 1m",
            "200 1m, 200 2m",
            "any",
        ] {
            assert!(read(wrong).starts_with('['), "{wrong}");
        }
    }

    #[test]
    fn stale_words_are_nginxs_too() {
        let read = |text| stale(text).map(|stale| stale.to_string());
        let text = "error timeout invalid_header updating 500 503";
        assert_eq!(
            read("error timeout invalid_header updating http_500 http_503").as_deref(),
            Ok(text)
        );
        assert_eq!(read("off").as_deref(), Ok("off"));
        assert_eq!(
            read("updating, background=30s for=1d").as_deref(),
            Ok("updating background=30s for=86400s")
        );
        assert_eq!(
            read("updating background=0s").as_deref(),
            Ok("updating background=0s")
        );
        for wrong in ["", "505", "errors", "for"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
