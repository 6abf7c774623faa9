//! Wharf's own answers: error pages and redirects.

use std::borrow::Cow;
use std::fmt::Write;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};

use super::error::ProxyError;
use super::fields::{Fields, Known};
use crate::access::RequestId;
use crate::filter::Refusal;
use crate::filter::ratelimit::Exceeded;
use crate::model::LabelPrefix;
use crate::webroot::Fault;

/// What a client needs to know to be within a limit (draft-ietf-httpapi-ratelimit-headers-07).
fn rate(headers: &mut HeaderMap, exceeded: &Exceeded) {
    let limit = &exceeded.limit;
    let (quota, window) = (limit.rate.requests, limit.rate.per.duration().as_secs());
    let policy = match limit.burst {
        0 => format!("{quota};w={window}"),
        burst => format!("{quota};w={window};burst={burst}"),
    };
    for (name, value) in [
        ("ratelimit-limit", quota.to_string()),
        ("ratelimit-remaining", "0".to_owned()),
        ("ratelimit-reset", exceeded.retry_after().to_string()),
        ("ratelimit-policy", policy),
    ] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

/// An answer of Wharf's own.
pub(crate) type Page = Response<Bytes>;

/// The forms an error page comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Html,
    Json,
    Text,
}

/// The page for `error`. For those who may see it, `detail` is what to do, a sentence each, and the cause
/// comes with its containers and addresses.
pub(crate) fn error(
    error: &ProxyError,
    request: Fields<'_>,
    request_id: RequestId<'_>,
    detail: Option<&[String]>,
    prefix: &LabelPrefix,
) -> Page {
    let status = error.status();
    let cause = match detail {
        Some(_) => error.to_string(),
        None => error.public_cause(),
    };
    let cause = prefix.in_words(&cause);
    let hints = detail.unwrap_or_default().iter();
    let hints: Vec<_> = hints.map(|hint| prefix.in_words(hint)).collect();
    let id = request_id.to_string();
    let form = form(request);
    let body = match form {
        Form::Html => match error {
            ProxyError::Refused(Refusal::Maintenance { .. }) => rest(&cause, &hints),
            _ => html(status, &cause, &hints, &id),
        },
        Form::Json => serde_json::json!({
            "status": status.as_u16(),
            "error": reason(status),
            "cause": cause,
            "hints": hints,
            "request_id": id,
        })
        .to_string(),
        Form::Text => {
            let code = status.as_u16();
            let mut text = format!("{code} {}: {cause} (request {id})\n", reason(status));
            for hint in &hints {
                let _ = writeln!(text, "  - {hint}");
            }
            text
        }
    };
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(form.content_type()),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    if let Some(seconds) = error.retry_after() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if let ProxyError::Refused(Refusal::RateLimit(exceeded)) = error {
        rate(headers, exceeded);
    }
    if let ProxyError::Login { realm } = error
        && let Ok(question) =
            HeaderValue::from_str(&format!("Basic realm=\"{realm}\", charset=\"UTF-8\""))
    {
        headers.insert(header::WWW_AUTHENTICATE, question);
    }
    if matches!(error, ProxyError::Method(_)) {
        let methods = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
        headers.insert(header::ALLOW, HeaderValue::from_static(methods));
    }
    if let ProxyError::File(Fault::Method) = error {
        let methods = HeaderValue::from_static(FILE_METHODS);
        headers.insert(header::ALLOW, methods);
    }
    if let ProxyError::File(Fault::NoPart(size)) = error
        && let Ok(size) = HeaderValue::try_from(format!("bytes */{size}"))
    {
        headers.insert(header::CONTENT_RANGE, size);
    }
    response
}

/// What can be done with a file.
pub(crate) const FILE_METHODS: &str = "GET, HEAD, OPTIONS";

/// An answer without a page.
pub(crate) fn empty(status: StatusCode) -> Page {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    response
}

/// A redirect without a page. `None` where `location` is no header value.
pub(crate) fn redirect(status: StatusCode, location: &str) -> Option<Page> {
    let mut response = empty(status);
    response
        .headers_mut()
        .insert(header::LOCATION, HeaderValue::from_str(location).ok()?);
    Some(response)
}

/// A text without ado, as for ACME challenges.
pub(crate) fn text(body: &str) -> Page {
    let mut response = Response::new(Bytes::copy_from_slice(body.as_bytes()));
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// HTML for browsers, JSON for those who ask for it, one line of text for the rest (curl).
pub(crate) fn form(request: Fields<'_>) -> Form {
    let accept = request.get(Known::Accept).unwrap_or(b"");
    let position = |kind: &str| memchr::memmem::find(accept, kind.as_bytes());
    match (position("text/html"), position("json")) {
        (Some(html), Some(json)) if json < html => Form::Json,
        (Some(_), _) => Form::Html,
        (None, Some(_)) => Form::Json,
        (None, None) => Form::Text,
    }
}

impl Form {
    fn content_type(self) -> &'static str {
        match self {
            Self::Html => "text/html; charset=utf-8",
            Self::Json => "application/json",
            Self::Text => "text/plain; charset=utf-8",
        }
    }
}

fn html(status: StatusCode, cause: &str, hints: &[Cow<'_, str>], id: &str) -> String {
    let code = status.as_u16();
    let reason = reason(status);
    let heading = format!("<p class=\"code\">{code}</p><h1>{reason}</h1>");
    let id = format!("<p class=\"id\">request {id}</p>");
    document(&format!("{code} {reason}"), &heading, cause, hints, &id)
}

/// Maintenance is no error that a visitor could report.
fn rest(cause: &str, hints: &[Cow<'_, str>]) -> String {
    let title = "Down for maintenance";
    document(title, &format!("<h1>{title}</h1>"), cause, hints, "")
}

fn document(title: &str, heading: &str, cause: &str, hints: &[Cow<'_, str>], foot: &str) -> String {
    let cause = prose(&capitalized(cause));
    let end = if cause.ends_with(['.', '!', '?']) {
        ""
    } else {
        "."
    };
    let mut list = String::new();
    for hint in hints {
        let end = if hint.ends_with(['?', '.']) { "" } else { "." };
        let _ = write!(list, "<li>{}{end}</li>", prose(&capitalized(hint)));
    }
    if !list.is_empty() {
        list = format!("<h2>What to do</h2><ul>{list}</ul>");
    }
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>{title}</title><style>{STYLE}</style></head>\n\
         <body><main>{heading}<p>{cause}{end}</p>{list}{foot}</main></body></html>\n"
    )
}

fn reason(status: StatusCode) -> &'static str {
    status.canonical_reason().unwrap_or("Error")
}

fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(chars).collect()
    })
}

/// Escaped, with what stands between backticks as code.
fn prose(text: &str) -> String {
    let mut parts = text.split('`');
    let mut out = escaped(parts.next().unwrap_or_default());
    while let Some(code) = parts.next() {
        let code = escaped(code);
        match parts.next() {
            Some(after) => out.push_str(&format!("<code>{code}</code>{}", escaped(after))),
            None => out.push_str(&format!("`{code}")),
        }
    }
    out
}

pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() => {
                // Writing to a String cannot fail.
                let _ = write!(out, "&#xfffd;");
            }
            c => out.push(c),
        }
    }
    out
}

/// The page for a request that could not be read.
pub(crate) fn unreadable(status: StatusCode, cause: &str) -> Page {
    let body = format!("{} {}: {cause}\n", status.as_u16(), reason(status));
    let mut page = text(&body);
    *page.status_mut() = status;
    let headers = page.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    page
}

const STYLE: &str = ":root{color-scheme:light dark;--ink:#1c2530;--soft:#66727f;--line:#dfe4ea;--paper:#fff;--ground:#f4f6f8;--mark:#1f6fa8}\
@media(prefers-color-scheme:dark){:root{--ink:#e6eaee;--soft:#93a0ad;--line:#313a44;--paper:#1b2129;--ground:#12171d;--mark:#6cb6e8}}\
*{box-sizing:border-box}\
body{margin:0;min-height:100vh;display:grid;place-items:center;padding:1rem;background:var(--ground);color:var(--ink);font:16px/1.55 system-ui,sans-serif}\
main{width:100%;max-width:40rem;padding:2rem 2.25rem;background:var(--paper);border:1px solid var(--line);border-radius:10px;overflow-wrap:anywhere}\
.code{margin:0;font-size:2.75rem;line-height:1;font-weight:700;color:var(--mark)}\
h1{margin:.4rem 0 1.1rem;font-size:1.35rem}\
p{margin:0 0 1rem}\
h2{margin:1.25rem 0 .4rem;font-size:.8rem;letter-spacing:.06em;text-transform:uppercase;color:var(--soft)}\
ul{margin:0 0 1rem;padding:0;list-style:none}\
li{margin:0 0 .5rem;padding:.1rem 0 .1rem .9rem;border-left:3px solid var(--mark)}\
code{padding:.1em .3em;border-radius:4px;background:var(--ground);font:.9em ui-monospace,monospace}\
.id{margin:1.5rem 0 0;padding-top:.9rem;border-top:1px solid var(--line);color:var(--soft);font:.8rem ui-monospace,monospace}";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::head::RequestHead;

    fn page(accept: &str) -> Page {
        let request = RequestHead::get("/", &[("accept", accept)]);
        let fault = ProxyError::RouteFault("wharf.cahce: <b> unknown".into());
        error(
            &fault,
            request.fields(),
            RequestId::Own(0xabc),
            Some(&["<i> do".to_owned()]),
            &LabelPrefix::default(),
        )
    }

    #[test]
    fn the_form_follows_accept() {
        for (accept, kind) in [
            (
                "text/html,application/xhtml+xml,*/*;q=0.8",
                "text/html; charset=utf-8",
            ),
            ("application/json", "application/json"),
            ("application/json, text/html;q=0.1", "application/json"),
            ("application/problem+json", "application/json"),
            ("*/*", "text/plain; charset=utf-8"),
        ] {
            assert_eq!(page(accept).headers()["content-type"], kind, "{accept}");
        }
    }

    #[test]
    fn pages_name_cause_and_request_and_escape() {
        let html = page("text/html");
        let body = std::str::from_utf8(html.body()).unwrap();
        assert!(
            body.contains("0000000000000abc") && body.contains("&lt;b&gt;"),
            "{body}"
        );
        assert_eq!(html.headers()["retry-after"], "5");
        let json: serde_json::Value =
            serde_json::from_slice(page("application/json").body()).unwrap();
        assert_eq!(json["status"], 503);
        assert_eq!(json["request_id"], "0000000000000abc");
    }

    #[test]
    fn what_stands_between_backticks_is_code() {
        for (text, html) in [
            ("a `<b>` c", "a <code>&lt;b&gt;</code> c"),
            ("`a``b`", "<code>a</code><code>b</code>"),
            ("a `b", "a `b"),
            ("`", "`"),
            ("", ""),
        ] {
            assert_eq!(prose(text), html);
        }
    }

    #[test]
    fn visitors_learn_no_internals() {
        let fault = ProxyError::RouteFault("wharf.cahce: secret".into());
        let request = RequestHead::get("/", &[]);
        let page = error(
            &fault,
            request.fields(),
            RequestId::Own(1),
            None,
            &LabelPrefix::default(),
        );
        assert!(!std::str::from_utf8(page.body()).unwrap().contains("secret"));
    }
}
