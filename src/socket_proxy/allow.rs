//! Which requests pass: an allowlist of what Wharf asks, compared segment by segment.

use http::{Method, Uri};

use crate::model::unescape;

/// What is asked for; decides what becomes of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call<'a> {
    Ping,
    Version,
    Events,
    List,
    Inspect { id: &'a str },
    Networks,
}

/// The call behind a request, or the reason why it is refused.
pub(super) fn allow<'a>(method: &Method, uri: &'a Uri) -> Result<Call<'a>, &'static str> {
    let call = call(uri.path()).ok_or(
        "only /_ping, /version, /events, /networks, /containers/json and /containers/{id}/json \
         are let through",
    )?;
    match *method {
        Method::GET => {}
        Method::HEAD if call == Call::Ping => {}
        _ => return Err("only GET is let through, and HEAD of /_ping"),
    }
    query(call, uri.query().unwrap_or_default())?;
    Ok(call)
}

/// Exactly one spelling of each path is known, so nothing has to be decoded: an empty segment, `..`
/// or `%2e` is no word of the list.
fn call(path: &str) -> Option<Call<'_>> {
    let path = path.strip_prefix('/')?;
    let path = match path.split_once('/') {
        Some((version, rest)) if is_version(version) => rest,
        _ => path,
    };
    let segments: Vec<&str> = path.splitn(4, '/').collect();
    match *segments.as_slice() {
        ["_ping"] => Some(Call::Ping),
        ["version"] => Some(Call::Version),
        ["events"] => Some(Call::Events),
        ["networks"] => Some(Call::Networks),
        ["containers", "json"] => Some(Call::List),
        ["containers", id, "json"] if is_id(id) => Some(Call::Inspect { id }),
        _ => None,
    }
}

/// `v1.41`.
fn is_version(segment: &str) -> bool {
    let digits =
        |text: &str| matches!(text.len(), 1..=3) && text.bytes().all(|b| b.is_ascii_digit());
    segment
        .strip_prefix('v')
        .and_then(|number| number.split_once('.'))
        .is_some_and(|(major, minor)| digits(major) && digits(minor))
}

/// An id or a name, by the engine's own rule for names.
fn is_id(segment: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    segment.starts_with(|c: char| c.is_ascii_alphanumeric()) && segment.bytes().all(inner)
}

/// Only parameters Wharf sends, in plain spelling. Nothing that makes the engine work hard (`size`),
/// and no filter but those of events: asking with one would tell what the answer does not show.
fn query(call: Call<'_>, query: &str) -> Result<(), &'static str> {
    // What older engines take for a separator, and what no client leaves unescaped.
    let odd = |b: u8| !(b.is_ascii_alphanumeric() || b"-._~%+*=&,:".contains(&b));
    if query.bytes().any(odd) {
        return Err("the query has characters that are to be escaped");
    }
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let known = match (call, key) {
            (Call::List, "all") => true,
            (Call::List, "limit") => value.bytes().all(|b| b.is_ascii_digit()),
            (Call::List | Call::Inspect { .. }, "size") => matches!(value, "0" | "false"),
            (Call::Events, "since" | "until") => true,
            (Call::Events, "filters") => is_event_filter(value),
            _ => false,
        };
        if !known {
            return Err("the query has a parameter that is not let through");
        }
    }
    Ok(())
}

/// By kind and name only.
fn is_event_filter(escaped: &str) -> bool {
    let Some(text) = unescape(escaped) else {
        return false;
    };
    let filters: Result<serde_json::Map<String, serde_json::Value>, _> =
        serde_json::from_slice(&text);
    filters.is_ok_and(|filters| filters.keys().all(|key| key == "type" || key == "event"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: &str, uri: &str) -> Result<String, &'static str> {
        let uri: Uri = uri.parse().unwrap();
        allow(&method.parse().unwrap(), &uri).map(|call| format!("{call:?}"))
    }

    #[test]
    fn what_wharf_asks_passes() {
        for (uri, expected) in [
            ("/version", "Version"),
            ("/v1.41/version", "Version"),
            ("/_ping", "Ping"),
            ("/v1.41/containers/json?all=true&size=false", "List"),
            ("/containers/json", "List"),
            ("/v1.53/networks", "Networks"),
            (
                "/v1.41/events?since=1795582448&filters=%7B%22event%22%3A%5B%22create%22%5D%2C%22type%22%3A%5B%22container%22%5D%7D",
                "Events",
            ),
            ("/events", "Events"),
            (
                "/v1.41/containers/01b961b320a3/json?size=false",
                "Inspect { id: \"01b961b320a3\" }",
            ),
            (
                "/containers/shop_web-1.x/json",
                "Inspect { id: \"shop_web-1.x\" }",
            ),
            ("http://docker/v1.41/networks", "Networks"),
        ] {
            assert_eq!(asked("GET", uri).as_deref(), Ok(expected), "{uri}");
        }
        assert_eq!(asked("HEAD", "/_ping").as_deref(), Ok("Ping"));
    }

    #[test]
    fn everything_else_is_refused() {
        for (method, uri) in [
            ("POST", "/containers/create"),
            ("POST", "/v1.41/containers/json"),
            ("HEAD", "/containers/json"),
            ("DELETE", "/containers/a"),
            ("OPTIONS", "/version"),
            ("GET", "/"),
            ("GET", "/info"),
            ("GET", "/v1.41"),
            ("GET", "/v1.41/"),
            ("GET", "/images/json"),
            ("GET", "/containers/a/logs"),
            ("GET", "/containers/a/export"),
            ("GET", "/containers/a/archive?path=/"),
            ("GET", "/containers/a/json/"),
            ("GET", "/containers//json"),
            ("GET", "/containers/json/"),
            ("GET", "//version"),
            ("GET", "/version/"),
            ("GET", "/v1.41/v1.41/version"),
            ("GET", "/v1.41//version"),
            ("GET", "/vx.41/version"),
            ("GET", "/v1.41.2/version"),
            ("GET", "/containers/../version"),
            ("GET", "/containers/../json"),
            ("GET", "/containers/..%2fimages/json"),
            ("GET", "/containers/a%2flogs/json"),
            ("GET", "/%76ersion"),
            ("GET", "/Version"),
            ("GET", "/secrets"),
            ("GET", "/exec/a/json"),
            ("GET", "/services"),
            // Queries.
            ("GET", "/containers/json?size=true"),
            ("GET", "/containers/json?size"),
            ("GET", "/containers/json?all=1;size=1"),
            (
                "GET",
                "/containers/json?filters=%7B%22label%22%3A%5B%22secret%3D1%22%5D%7D",
            ),
            ("GET", "/containers/json?%73ize=1"),
            ("GET", "/version?x=1"),
            ("GET", "/networks?filters=%7B%7D"),
            (
                "GET",
                "/events?filters=%7B%22label%22%3A%5B%22secret%22%5D%7D",
            ),
            ("GET", "/events?filters=%7"),
            ("GET", "/events?stream=1"),
            ("GET", "/containers/a/json?size=1"),
        ] {
            assert!(asked(method, uri).is_err(), "{method} {uri}");
        }
    }
}
