//! The head of a request as an upstream gets it, and what it asks for.

use http::{Method, Version};

use super::super::fields::{Field, Fields, Known, write_field};
use super::super::head::{RequestFraming, RequestHead};
use super::super::websocket::is_key;
use super::forwarding::{Origin, write_forwarded, write_forwarding};
use super::length::write_length;
use super::nominated::{Nominated, has_token};
use super::{CHUNKED, HOP_BY_HOP, REWRITTEN, SWITCH, is_websocket};
use crate::model::FieldNames;

/// What an endpoint is told of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Connection {
    /// It lives on, as HTTP/1.1 takes for granted.
    Keep,
    /// This request is its only one.
    Close,
    /// It is to become a WebSocket.
    Switch,
}

/// Writes a request head for an HTTP/1.1 upstream, which is told that it serves `host`.
pub(crate) fn write_request(
    out: &mut Vec<u8>,
    head: &RequestHead,
    target: &[&str],
    host: &str,
    origin: &Origin<'_>,
    connection: Connection,
) {
    out.extend_from_slice(head.method.as_str().as_bytes());
    out.push(b' ');
    for part in target {
        out.extend_from_slice(part.as_bytes());
    }
    out.extend_from_slice(b" HTTP/1.1\r\nhost: ");
    out.extend_from_slice(host.as_bytes());
    out.extend_from_slice(b"\r\n");
    write_lines(out, head, origin);
    if head.framing == RequestFraming::Chunked {
        out.extend_from_slice(CHUNKED);
    }
    match connection {
        Connection::Keep => {}
        Connection::Close => out.extend_from_slice(b"connection: close\r\n"),
        Connection::Switch => out.extend_from_slice(SWITCH),
    }
    if let Some(key) = head.key() {
        write_field(out, b"sec-websocket-key", key.as_str().as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// The fields an upstream gets, whatever it speaks: all but `Host` and what is about the connection.
fn write_lines(out: &mut Vec<u8>, head: &RequestHead, origin: &Origin<'_>) {
    let fields = head.fields();
    copy_fields(out, fields, origin, head.key().is_some());
    write_forwarding(out, fields, origin);
    if origin.forwarded {
        write_forwarded(out, fields, origin);
    }
    out.extend_from_slice(origin.certificate.unwrap_or_default());
    if let Some(edited) = origin.edited {
        out.extend_from_slice(&edited.lines);
    }
    if let Some((_, lines)) = origin.reserved {
        out.extend_from_slice(lines);
    }
    if let RequestFraming::Length(length) = head.framing {
        write_length(out, length);
    }
}

/// Writes the fields of a request for an HTTP/2 upstream as lines.
pub(crate) fn write_http2_lines(out: &mut Vec<u8>, head: &RequestHead, origin: &Origin<'_>) {
    write_lines(out, head, origin);
    // The one value of `TE` that is not about the connection; gRPC asks for it (RFC 9113 section 8.2.2).
    if has_token(head.fields(), Known::Te, "trailers") {
        write_field(out, b"te", b"trailers");
    }
}

/// Whether an app may take one name for the other: many make `-` and `_` the same.
fn reads_as(name: &[u8], header: &str) -> bool {
    let plain = |byte: &u8| match byte {
        b'_' => b'-',
        byte => byte.to_ascii_lowercase(),
    };
    name.len() == header.len()
        && name
            .iter()
            .map(plain)
            .eq(header.as_bytes().iter().map(plain))
}

/// `keyed`: the key of a WebSocket is Wharf's own.
fn copy_fields(out: &mut Vec<u8>, fields: Fields<'_>, origin: &Origin<'_>, keyed: bool) {
    let nominated = Nominated::of(fields);
    let mut dropped = HOP_BY_HOP | REWRITTEN;
    if !origin.trusted {
        dropped |= Known::set(&[Known::Forwarded, Known::ClientCertificate]);
    } else if origin.certificate.is_some() {
        dropped |= Known::set(&[Known::ClientCertificate]);
    }
    if origin.forwarded {
        dropped |= Known::set(&[Known::Forwarded]);
    }
    // HTTP/2 clients may send cookies in crumbs; applications expect one field (RFC 9113 section
    // 8.2.3).
    let crumbs = fields.has(Known::Cookie) && fields.get_all(Known::Cookie).nth(1).is_some();
    if crumbs {
        dropped |= Known::set(&[Known::Cookie]);
    }
    let login = origin.login;
    let header = login.and_then(|(basic, _)| basic.user_header.as_deref());
    if login.is_some_and(|(basic, who)| basic.strip && who.is_some()) {
        dropped |= Known::set(&[Known::Authorization]);
    }
    let gone = |name: &[u8]| {
        let edited = origin.edited;
        nominated.holds(name)
            || edited.is_some_and(|edited| edited.edits.without(name))
            || keyed && is_key(name)
            || header.is_some_and(|header| reads_as(name, header))
            || origin.reserved.is_some_and(|(names, _)| names.covers(name))
    };
    let plain = nominated.is_empty()
        && origin.edited.is_none()
        && !keyed
        && header.is_none()
        && origin.reserved.is_none();
    fields.copy(out, |field| {
        !field.known.is_in(dropped) && (plain || !gone(field.name))
    });
    if let (Some(header), Some((_, Some(who)))) = (header, login) {
        write_field(out, header.as_bytes(), who.as_bytes());
    }
    if crumbs && !gone(b"cookie") {
        out.extend_from_slice(b"cookie: ");
        for (index, crumb) in fields.get_all(Known::Cookie).enumerate() {
            out.extend_from_slice(if index == 0 { b"" } else { b"; " });
            out.extend_from_slice(crumb);
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// Whether a field may stand in the trailers of a request: none that frames it, says who sent it or
/// what that one may do.
/// `reserved` are those that Wharf vouches for on this route.
pub(crate) fn may_trail_request(field: Field<'_>, reserved: Option<&FieldNames>) -> bool {
    let personal = Known::set(&[
        Known::Forwarded,
        Known::ClientCertificate,
        Known::Cookie,
        Known::Authorization,
    ]);
    !field.known.is_in(personal | REWRITTEN | HOP_BY_HOP)
        && !reserved.is_some_and(|names| names.covers(field.name))
}

/// Whether the client waits for a 100 before it sends its body (RFC 9110 section 10.1.1).
pub(crate) fn expects_continue(fields: Fields<'_>) -> bool {
    let value = fields.get(Known::Expect);
    value.is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue"))
}

/// Whether the request asks to become a WebSocket (RFC 6455 section 4.1, RFC 8441 section 4).
pub(crate) fn wants_websocket(head: &RequestHead) -> bool {
    let fields = head.fields();
    if head.key().is_some() {
        return true;
    }
    fields.has(Known::Upgrade)
        && head.method == Method::GET
        && head.version == Version::HTTP_11
        && is_websocket(fields)
        && has_token(fields, Known::Connection, "upgrade")
}
