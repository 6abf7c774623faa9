//! What gRPC asks of a proxy: errors in its own form, and deadlines that it knows of.
//!
//! <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>

use std::fmt::Write;
use std::time::Duration;

use http::header::{self, HeaderName, HeaderValue};
use http::{Response, StatusCode};

use super::error::ProxyError;
use super::exchange::{CANCEL, ENHANCE_YOUR_CALM, ExchangeError, INADEQUATE_SECURITY};
use super::fields::Fields;
use super::page::Page;

/// The content type of a request of gRPC: `application/grpc`, and with what is behind it, gRPC-Web's
/// included.
pub(crate) fn content_type(fields: Fields<'_>) -> Option<&[u8]> {
    let value = value(fields, b"content-type")?;
    let rest = value.get(KIND.len()..)?;
    let is_kind = value[..KIND.len()].eq_ignore_ascii_case(KIND);
    let ends = matches!(rest.first(), None | Some(b'+' | b';' | b' ' | b'-'));
    (is_kind && ends).then_some(value)
}

/// How long the client will wait, by its `grpc-timeout`: at most eight digits and a unit.
pub(crate) fn timeout(fields: Fields<'_>) -> Option<Duration> {
    let (unit, digits) = value(fields, b"grpc-timeout")?.split_last()?;
    if !(1..=8).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(count * 3600),
        b'M' => Duration::from_secs(count * 60),
        b'S' => Duration::from_secs(count),
        b'm' => Duration::from_millis(count),
        b'u' => Duration::from_micros(count),
        b'n' => Duration::from_nanos(count),
        _ => return None,
    })
}

/// An error as a client of gRPC reads it: a response that is nothing but trailers.
pub(crate) fn page(error: &ProxyError, cause: &str, content_type: &[u8]) -> Page {
    let mut response = Response::new(bytes::Bytes::new());
    let headers = response.headers_mut();
    let kind = HeaderValue::from_bytes(content_type);
    headers.insert(
        header::CONTENT_TYPE,
        kind.unwrap_or(HeaderValue::from_static("application/grpc")),
    );
    headers.insert(STATUS, HeaderValue::from(code(error)));
    if let Ok(message) = HeaderValue::from_str(&encoded(cause)) {
        headers.insert(MESSAGE, message);
    }
    response
}

/// The status of gRPC for an error: as its clients would read the status of HTTP
/// (<https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md>), but 429, which is
/// `RESOURCE_EXHAUSTED`, and times that have run out.
fn code(error: &ProxyError) -> u16 {
    if let ProxyError::Exchange { cause, .. } = error
        && let ExchangeError::Reset(code) = cause
    {
        return match *code {
            CANCEL => CANCELLED,
            ENHANCE_YOUR_CALM => RESOURCE_EXHAUSTED,
            INADEQUATE_SECURITY => PERMISSION_DENIED,
            _ => INTERNAL,
        };
    }
    match error.status() {
        StatusCode::BAD_REQUEST => INTERNAL,
        StatusCode::UNAUTHORIZED => UNAUTHENTICATED,
        StatusCode::FORBIDDEN => PERMISSION_DENIED,
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => {
            UNIMPLEMENTED
        }
        StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => DEADLINE_EXCEEDED,
        StatusCode::TOO_MANY_REQUESTS => RESOURCE_EXHAUSTED,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE => UNAVAILABLE,
        _ => UNKNOWN,
    }
}

/// Percent-encoded, but for what may stand in a field.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => out.push(char::from(byte)),
            // Writing to a String cannot fail.
            _ => drop(write!(out, "%{byte:02X}")),
        }
    }
    out
}

fn value<'a>(fields: Fields<'a>, name: &[u8]) -> Option<&'a [u8]> {
    let mut named = fields.iter().filter(|f| f.name.eq_ignore_ascii_case(name));
    named.next().map(|field| field.value.trim_ascii())
}

const KIND: &[u8] = b"application/grpc";
const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

const CANCELLED: u16 = 1;
const UNKNOWN: u16 = 2;
const DEADLINE_EXCEEDED: u16 = 4;
const PERMISSION_DENIED: u16 = 7;
const RESOURCE_EXHAUSTED: u16 = 8;
const UNIMPLEMENTED: u16 = 12;
const INTERNAL: u16 = 13;
const UNAVAILABLE: u16 = 14;
const UNAUTHENTICATED: u16 = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::head::RequestHead;

    fn of<T>(name: &str, value: &str, read: impl Fn(Fields<'_>) -> T) -> T {
        let head = RequestHead::get("/", &[(name, value)]);
        read(head.fields())
    }

    #[test]
    fn the_content_type_tells() {
        for (value, grpc) in [
            ("application/grpc", true),
            ("Application/gRPC+proto", true),
            ("application/grpc;charset=x", true),
            ("application/grpc-web+proto", true),
            ("application/grpcx", false),
            ("application/json", false),
        ] {
            let found = of("content-type", value, |fields| {
                content_type(fields).is_some()
            });
            assert_eq!(found, grpc, "{value}");
        }
    }

    #[test]
    fn timeouts_have_a_unit() {
        for (value, expected) in [
            ("1H", Some(Duration::from_secs(3600))),
            ("2M", Some(Duration::from_secs(120))),
            ("3S", Some(Duration::from_secs(3))),
            ("100m", Some(Duration::from_millis(100))),
            ("5u", Some(Duration::from_micros(5))),
            ("99999999n", Some(Duration::from_nanos(99_999_999))),
            ("100000000n", None),
            ("5", None),
            ("S", None),
            ("-1S", None),
            ("", None),
        ] {
            assert_eq!(of("grpc-timeout", value, timeout), expected, "{value}");
        }
    }

    #[test]
    fn errors_are_trailers_alone() {
        for (error, status) in [
            (ProxyError::NoPath, "12"),
            (ProxyError::Starting, "14"),
            (ProxyError::HttpsOnly, "7"),
            (ProxyError::Login { realm: "x".into() }, "16"),
            (ProxyError::BadRequest("x"), "13"),
        ] {
            let page = page(&error, "no: 100 % \u{fc}", b"application/grpc+proto");
            assert_eq!(page.status(), 200);
            assert!(page.body().is_empty());
            assert_eq!(page.headers()["grpc-status"], status, "{error}");
            assert_eq!(page.headers()["grpc-message"], "no: 100 %25 %C3%BC");
            assert_eq!(page.headers()["content-type"], "application/grpc+proto");
        }
    }
}
