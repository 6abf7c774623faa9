//! Values of `health`.

use std::time::Duration;

use super::{Parsed, Value, duration, note, number, port};
use crate::docker::labels::text::quote;
use crate::model::{ActiveCheck, Host, HttpAsk, StatusSet};

/// What `wharf.health` says first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::docker::labels) enum HealthWord {
    Docker,
    Tcp,
    Off,
    /// With the name of a service, or none.
    Grpc(String),
    Target(String),
}

/// `/healthz interval=10s timeout=3s fails=3 passes=2 status=200-399 host=a.test port=9000`: a word or a
/// path, and fields in any order, each at most once.
pub(super) fn health(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    let mut fields: Vec<(&'static str, Value)> = Vec::new();
    for item in text.split_whitespace() {
        // A query has a `=`, too.
        let pair = item.split_once('=').filter(|_| !item.starts_with('/'));
        let field = match pair {
            Some((key, value)) => field(&key.to_ascii_lowercase(), value),
            None => word(item).map(|word| ("health", Value::Health(word))),
        };
        match field {
            Err(reason) => note(&mut parsed.errors, reason),
            Ok((name, _)) if fields.iter().any(|(other, _)| *other == name) => {
                let reason = match name {
                    "health" => "name one path, or one of docker, tcp, grpc and off".to_owned(),
                    name => format!("`{name}` is set twice"),
                };
                note(&mut parsed.errors, reason);
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

fn word(item: &str) -> Result<HealthWord, String> {
    match item.to_ascii_lowercase().as_str() {
        "docker" => Ok(HealthWord::Docker),
        "tcp" => Ok(HealthWord::Tcp),
        "off" => Ok(HealthWord::Off),
        "grpc" => Ok(HealthWord::Grpc(String::new())),
        lower if lower.starts_with("grpc:") => service(&item["grpc:".len()..]),
        _ if item.starts_with('/') => target(item).map(HealthWord::Target),
        "on" | "true" | "yes" | "1" | "http" | "https" => Err(format!(
            "{}: name the path to ask, as in /healthz",
            quote(item)
        )),
        _ if item.contains("://") => Err(format!(
            "{}: write the path alone; host= and port= say where",
            quote(item)
        )),
        _ => Err(format!(
            "{}: this is docker, tcp, grpc, off, or a path, which begins with `/`",
            quote(item)
        )),
    }
}

/// A name as protobuf has them: `pkg.Service`.
fn service(name: &str) -> Result<HealthWord, String> {
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'/');
    match !name.is_empty() && name.len() <= MAX_SERVICE && name.bytes().all(plain) {
        true => Ok(HealthWord::Grpc(name.to_owned())),
        false => Err(format!(
            "{}: a service of gRPC is named as in grpc:pkg.Service, with at most {MAX_SERVICE} characters",
            quote(name)
        )),
    }
}

/// So that its length is one byte in a message of protobuf.
const MAX_SERVICE: usize = 120;

fn field(key: &str, text: &str) -> Result<(&'static str, Value), String> {
    let name = FIELDS.iter().find(|name| name[PREFIX.len()..] == *key);
    let name = name.ok_or_else(|| format!("there is no {} here: {FORM}", quote(key)))?;
    let value = match *name {
        "health.interval" => interval(text).map(Value::Duration),
        "health.timeout" => limit(text).map(Value::Duration),
        "health.fails" | "health.passes" => count(text).map(Value::CheckCount),
        "health.status" => statuses(text).map(Value::Statuses),
        "health.host" => authority(text).map(Value::Authority),
        _ => port(text).map(Value::Port),
    };
    value
        .map(|value| (*name, value))
        .map_err(|reason| format!("{key}: {reason}"))
}

/// Path and query of a request.
pub(super) fn target(text: &str) -> Result<String, String> {
    let text = text.trim();
    if !text.starts_with('/') {
        return Err("a path starts with `/`".to_owned());
    }
    if text.len() > HttpAsk::LONGEST {
        return Err(format!(
            "a path has at most {} characters",
            HttpAsk::LONGEST
        ));
    }
    match text.chars().find(|c| !c.is_ascii_graphic() || *c == '#') {
        Some(c) => Err(format!("`{}` may not stand in a path", c.escape_debug())),
        None => Ok(text.to_owned()),
    }
}

/// Without a pause checks would never stop.
pub(super) fn interval(text: &str) -> Result<Duration, String> {
    let reason = "an interval is a time from 100ms to 1d; wharf.health: off ends checks";
    between(text, ActiveCheck::LONGEST_INTERVAL, reason)
}

/// Without a limit a check would never end.
pub(super) fn limit(text: &str) -> Result<Duration, String> {
    let reason = "a check takes a time from 100ms to 1m at most";
    between(text, ActiveCheck::LONGEST_TIMEOUT, reason)
}

fn between(text: &str, longest: Duration, reason: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    match (ActiveCheck::SHORTEST..=longest).contains(&time) {
        true => Ok(time),
        false => Err(reason.to_owned()),
    }
}

pub(super) fn count(text: &str) -> Result<u16, String> {
    match number(text) {
        Some(count) if (1..=ActiveCheck::MOST).contains(&count) => Ok(count),
        _ => Err(format!("this is a number from 1 to {}", ActiveCheck::MOST)),
    }
}

/// `200`, `200-399`, `2xx`, or several of these.
pub(super) fn statuses(text: &str) -> Result<StatusSet, String> {
    let items = text.split(|c: char| c == ',' || c.is_whitespace());
    let items = items.filter(|item| !item.is_empty());
    let mut ranges = Vec::new();
    for item in items {
        let class = item.to_ascii_lowercase();
        let class = class.strip_suffix("xx").and_then(number::<u16>);
        let range = match (class, item.split_once('-')) {
            (Some(class), _) => Some((class.saturating_mul(100), class.saturating_mul(100) + 99)),
            (None, Some((first, last))) => number(first).zip(number(last)),
            (None, None) => number(item).map(|status| (status, status)),
        };
        let range = range.filter(|(first, last)| *first >= 200 && *last <= 599 && first <= last);
        ranges.push(range.ok_or_else(|| format!("{}: {STATUS_FORM}", quote(item)))?);
        if ranges.len() > MAX_RANGES {
            return Err(format!("there are at most {MAX_RANGES} statuses or ranges"));
        }
    }
    match ranges.is_empty() {
        true => Err(STATUS_FORM.to_owned()),
        false => Ok(StatusSet::new(ranges)),
    }
}

/// A host as a URL has it, with or without a port.
pub(super) fn authority(text: &str) -> Result<String, String> {
    let text = text.trim();
    let (host, port) = match text.rsplit_once(':') {
        // The colons of an address in brackets are no port's.
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    };
    if host.contains(':') && !host.starts_with('[') {
        return Err("an IPv6 address stands in brackets".to_owned());
    }
    let good = port.is_none_or(|port| number::<u16>(port).is_some_and(|port| port > 0));
    match Host::parse(host) {
        Ok(_) if good => Ok(text.to_owned()),
        Ok(_) => Err("a port is a number from 1 to 65535".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Items of `status=`.
const MAX_RANGES: usize = 32;

const PREFIX: &str = "health.";
const FIELDS: [&str; 7] = [
    "health.interval",
    "health.timeout",
    "health.fails",
    "health.passes",
    "health.status",
    "health.host",
    "health.port",
];

const FORM: &str = "a health check is docker, tcp, off, or looks like `/healthz interval=10s timeout=3s fails=3 passes=2 status=200-399`";
const STATUS_FORM: &str = "a status is a number from 200 to 599; 200-399, 2xx and lists are, too";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_named() {
        for (text, part) in [
            ("", "looks like"),
            ("healthz", "begins with `/`"),
            ("on", "name the path"),
            ("http://a.test/healthz", "the path alone"),
            ("https", "name the path"),
            ("/a /b", "name one path"),
            ("off tcp", "name one path"),
            (
                "/a interval=0",
                "interval: an interval is a time from 100ms",
            ),
            ("/a interval=off", "wharf.health: off ends checks"),
            ("/a interval=1ms", "from 100ms"),
            ("/a interval=2d", "to 1d"),
            (
                "/a timeout=0",
                "timeout: a check takes a time from 100ms to 1m",
            ),
            ("/a timeout=61s", "to 1m at most"),
            ("/a timeout=M", "timeout: a duration looks like"),
            ("/a fails=0", "fails: this is a number from 1 to 100"),
            ("/a passes=101", "passes: this is a number"),
            ("/a fails=2 fails=3", "`health.fails` is set twice"),
            ("/a status=99", "`99`: a status is"),
            ("/a status=300-200", "a status is"),
            ("/a status=ok", "a status is"),
            ("/a status=", "a status is"),
            ("/a status=1xx", "a status is"),
            ("/a host=a_b:x", "port is a number"),
            ("/a host=fd00::1", "in brackets"),
            ("/a host=", "host: "),
            ("/a port=0", "port: a port is"),
            ("/a retries=3", "there is no `retries` here"),
            ("/a#b", "`#` may not stand"),
            ("/ä", "may not stand"),
        ] {
            let parsed = health(text);
            let errors = parsed.errors.join("; ");
            assert!(errors.contains(part), "{text}: {errors}");
        }
        let long = format!("/{}", "a".repeat(1024));
        assert!(health(&long).errors[0].contains("at most 1024"));
        let many = vec!["200"; 33].join(",");
        assert!(statuses(&many).unwrap_err().contains("at most 32"));
    }

    #[test]
    fn a_query_is_part_of_the_path() {
        let parsed = health("/up?deep=1 FAILS=2");
        let target = HealthWord::Target("/up?deep=1".into());
        assert_eq!(parsed.errors, [] as [&str; 0]);
        assert_eq!(
            parsed.value,
            Some(Value::Fields(vec![
                ("health", Value::Health(target)),
                ("health.fails", Value::CheckCount(2)),
            ]))
        );
    }

    #[test]
    fn statuses_are_read_in_every_form() {
        for (text, expected) in [
            ("200", "200"),
            ("200-399", "200-399"),
            ("2xx,404", "200-299,404"),
            ("401, 200 204", "200,204,401"),
        ] {
            assert_eq!(statuses(text).unwrap().to_string(), expected);
        }
    }
}
