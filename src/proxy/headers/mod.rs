//! Which fields travel, which stay, which are ours: hop-by-hop, `Host`, forwarding headers.
//!
//! Heads are written straight into the buffer that goes out; nothing is cloned or edited in place.

use std::net::IpAddr;

use http::{Method, StatusCode, Version};

use super::fields::{Field, Fields, Known, write_field as field};
use super::h1;
use super::head::{RequestFraming, RequestHead};

mod client;
mod cookie;
mod host;
mod matching;

pub(crate) use client::client_address;
pub(crate) use cookie::{cookie, cookies};
pub(crate) use host::HostName;
pub(crate) use matching::{meets, values};

/// What the forwarding headers of one request are made from.
#[derive(Debug)]
pub(crate) struct Origin<'a> {
    /// The socket's other end.
    pub(crate) peer: IpAddr,
    /// The client: the peer, or what a trusted peer says.
    pub(crate) client: IpAddr,
    /// Whether the peer's own forwarding headers are believed.
    pub(crate) trusted: bool,
    /// `http` or `https`, as the client used it.
    pub(crate) scheme: &'static str,
    /// `Host` as the client sent it, port included.
    pub(crate) authority: &'a str,
    /// Port the client used.
    pub(crate) port: u16,
    /// Addresses and scheme as lines, written once for the connection; `None` behind a trusted
    /// proxy, where they differ from request to request.
    pub(crate) lines: Option<&'a [u8]>,
    /// Prefix removed from the path.
    pub(crate) prefix: Option<&'a str>,
}

/// Writes a request head for an HTTP/1.1 upstream.
pub(crate) fn write_request(
    out: &mut Vec<u8>,
    head: &RequestHead,
    target: &[&str],
    origin: &Origin<'_>,
    websocket: bool,
) {
    let fields = head.fields();
    out.extend_from_slice(head.method.as_str().as_bytes());
    out.push(b' ');
    for part in target {
        out.extend_from_slice(part.as_bytes());
    }
    out.extend_from_slice(b" HTTP/1.1\r\nhost: ");
    out.extend_from_slice(origin.authority.as_bytes());
    out.extend_from_slice(b"\r\n");
    copy_fields(out, fields, origin.trusted);
    write_forwarding(out, fields, origin);
    match head.framing {
        RequestFraming::None => {}
        RequestFraming::Length(length) => write_length(out, length),
        RequestFraming::Chunked => out.extend_from_slice(CHUNKED),
    }
    if websocket {
        out.extend_from_slice(SWITCH);
    }
    out.extend_from_slice(b"\r\n");
}

fn copy_fields(out: &mut Vec<u8>, fields: Fields<'_>, trusted: bool) {
    let nominated = Nominated::of(fields);
    let mut dropped = HOP_BY_HOP | REWRITTEN;
    if !trusted {
        dropped |= Known::set(&[Known::Forwarded]);
    }
    // HTTP/2 clients may send cookies in crumbs; applications expect one field (RFC 9113 section
    // 8.2.3).
    let crumbs = fields.has(Known::Cookie) && fields.get_all(Known::Cookie).nth(1).is_some();
    if crumbs {
        dropped |= Known::set(&[Known::Cookie]);
    }
    fields.copy(out, |field| {
        !field.known.is_in(dropped) && !nominated.holds(field.name)
    });
    if crumbs && !nominated.holds(b"cookie") {
        out.extend_from_slice(b"cookie: ");
        for (index, crumb) in fields.get_all(Known::Cookie).enumerate() {
            out.extend_from_slice(if index == 0 { b"" } else { b"; " });
            out.extend_from_slice(crumb);
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// `X-Real-IP` and the `X-Forwarded-*` family (product.md S3 to S6): rebuilt from the connection
/// unless the peer is a trusted proxy, whose values are kept and extended.
fn write_forwarding(out: &mut Vec<u8>, fields: Fields<'_>, origin: &Origin<'_>) {
    if let Some(lines) = origin.lines {
        out.extend_from_slice(lines);
    } else {
        write_addresses(out, fields, origin);
        field(out, b"x-forwarded-proto", origin.scheme.as_bytes());
    }
    let kept = |name| {
        if origin.trusted {
            fields.get(name)
        } else {
            None
        }
    };
    let host = kept(Known::XForwardedHost).unwrap_or(origin.authority.as_bytes());
    field(out, b"x-forwarded-host", host);
    let mut port = itoa::Buffer::new();
    let port = kept(Known::XForwardedPort).unwrap_or_else(|| port.format(origin.port).as_bytes());
    field(out, b"x-forwarded-port", port);
    // A prefix from a trusted proxy is kept and ours is added behind it.
    let outer = kept(Known::XForwardedPrefix);
    if outer.is_some() || origin.prefix.is_some() {
        out.extend_from_slice(b"x-forwarded-prefix: ");
        out.extend_from_slice(outer.unwrap_or(b""));
        out.extend_from_slice(origin.prefix.unwrap_or("").as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

fn write_addresses(out: &mut Vec<u8>, fields: Fields<'_>, origin: &Origin<'_>) {
    let mut text = IpText { bytes: [0; 46] };
    field(out, b"x-real-ip", text.write(origin.client));
    out.extend_from_slice(b"x-forwarded-for: ");
    if origin.trusted {
        for value in fields.get_all(Known::XForwardedFor) {
            out.extend_from_slice(value);
            out.extend_from_slice(b", ");
        }
    }
    out.extend_from_slice(text.write(origin.peer));
    out.extend_from_slice(b"\r\n");
}

/// What every request of a stranger's connection is told of it; see [`Origin::lines`].
pub(crate) fn lines_of(peer: IpAddr, scheme: &str) -> Box<[u8]> {
    let mut text = IpText { bytes: [0; 46] };
    let mut lines = Vec::with_capacity(128);
    field(&mut lines, b"x-real-ip", text.write(peer));
    field(&mut lines, b"x-forwarded-for", text.write(peer));
    field(&mut lines, b"x-forwarded-proto", scheme.as_bytes());
    lines.into()
}

/// What a client is told of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Persist {
    /// It lives on, as HTTP/1.1 takes for granted.
    Keep,
    /// It lives on, which a client of HTTP/1.0 has to be told.
    Told,
    Close,
}

/// Writes the start line of a response to an HTTP/1 client.
pub(crate) fn write_status(out: &mut Vec<u8>, version: Version, status: StatusCode, reason: &[u8]) {
    let http: &[u8] = match version {
        Version::HTTP_10 => b"HTTP/1.0 ",
        _ => b"HTTP/1.1 ",
    };
    out.extend_from_slice(http);
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    match reason {
        b"" => out.extend_from_slice(status.canonical_reason().unwrap_or("").as_bytes()),
        reason => out.extend_from_slice(reason),
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes the fields of an upstream's response: all but hop-by-hop fields, what its `Connection`
/// names, and framing, of which one plain `Content-Length` is kept where `keep_length` says so.
pub(crate) fn write_response_fields(out: &mut Vec<u8>, fields: Fields<'_>, keep_length: bool) {
    let kept = Kept::of(fields, keep_length);
    fields.copy(out, |field| kept.holds(field));
    if let Some(length) = kept.rewritten {
        write_length(out, length);
    }
}

/// Ends a head: what becomes of the connection, and a length of zero or chunks.
pub(crate) fn write_end(out: &mut Vec<u8>, persist: Persist, framing: &[u8]) {
    match persist {
        Persist::Keep => {}
        Persist::Told => out.extend_from_slice(b"connection: keep-alive\r\n"),
        Persist::Close => out.extend_from_slice(b"connection: close\r\n"),
    }
    out.extend_from_slice(framing);
    out.extend_from_slice(b"\r\n");
}

pub(crate) fn write_length(out: &mut Vec<u8>, length: u64) {
    let mut text = itoa::Buffer::new();
    field(out, b"content-length", text.format(length).as_bytes());
}

/// Which fields of an upstream's response may reach the client.
pub(crate) struct Kept<'a> {
    nominated: Nominated<'a>,
    dropped: u32,
    /// The length, where the upstream wrote it in a way that others may read otherwise: `3, 3` was
    /// one length to us.
    pub(crate) rewritten: Option<u64>,
}

impl<'a> Kept<'a> {
    pub(crate) fn of(fields: Fields<'a>, keep_length: bool) -> Self {
        let mut dropped = RESPONSE_HOP_BY_HOP;
        let mut rewritten = None;
        let mut lengths = fields.get_all(Known::ContentLength);
        if let Some(first) = lengths.next() {
            let plain = !first.contains(&b',') && lengths.next().is_none();
            if !keep_length || !plain {
                dropped |= Known::set(&[Known::ContentLength]);
            }
            if keep_length && !plain {
                rewritten = content_length(fields).ok().flatten();
            }
        }
        Self {
            nominated: Nominated::of(fields),
            dropped,
            rewritten,
        }
    }

    pub(crate) fn holds(&self, field: Field<'_>) -> bool {
        // Framing cannot be nominated away.
        !field.known.is_in(self.dropped)
            && (field.known == Known::ContentLength || !self.nominated.holds(field.name))
    }
}

/// Whether a field may stand in the trailers of a request: none that frames it, says who sent it or
/// what that one may do.
pub(crate) fn may_trail_request(field: Field<'_>) -> bool {
    let personal = Known::set(&[Known::Forwarded, Known::Cookie, Known::Authorization]);
    !field.known.is_in(personal | REWRITTEN | HOP_BY_HOP)
}

/// Framing and routing fields have no meaning in trailers (RFC 9110 section 6.5.1).
pub(crate) fn may_trail_response(field: Field<'_>) -> bool {
    let framing = Known::set(&[Known::ContentLength]);
    !field.known.is_in(framing | HOP_BY_HOP)
}

/// Names listed in `Connection`; the usual `keep-alive` and `close` cost nothing.
struct Nominated<'a>(Option<Fields<'a>>);

impl<'a> Nominated<'a> {
    fn of(fields: Fields<'a>) -> Self {
        let plain = |value: &[u8]| {
            value.eq_ignore_ascii_case(b"keep-alive") || value.eq_ignore_ascii_case(b"close")
        };
        let any = fields.has(Known::Connection)
            && fields.get_all(Known::Connection).any(|value| !plain(value));
        Self(any.then_some(fields))
    }

    fn holds(&self, name: &[u8]) -> bool {
        self.0
            .is_some_and(|fields| lists(fields, Known::Connection, name))
    }
}

/// Whether the comma list in `name` holds `token`, in any case.
pub(crate) fn has_token(fields: Fields<'_>, name: Known, token: &str) -> bool {
    fields.has(name) && lists(fields, name, token.as_bytes())
}

fn lists(fields: Fields<'_>, name: Known, token: &[u8]) -> bool {
    fields.get_all(name).any(|value| {
        value
            .split(|byte| *byte == b',')
            .any(|item| item.trim_ascii().eq_ignore_ascii_case(token))
    })
}

/// The one content length, if any (RFC 9110 section 8.6): repeated equal values count once.
pub(crate) fn content_length(fields: Fields<'_>) -> Result<Option<u64>, ()> {
    let mut found = None;
    for value in fields.get_all(Known::ContentLength) {
        for item in value.split(|byte| *byte == b',') {
            let length = parse_length(item.trim_ascii()).ok_or(())?;
            if found.is_some_and(|before| before != length) {
                return Err(());
            }
            found = Some(length);
        }
    }
    Ok(found)
}

/// `1*DIGIT`.
pub(crate) fn parse_length(digits: &[u8]) -> Option<u64> {
    let mut length = 0_u64;
    for digit in digits {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit <= 9)?;
        length = length.checked_mul(10)?.checked_add(digit.into())?;
    }
    (!digits.is_empty()).then_some(length)
}

/// Whether the client waits for a 100 before it sends its body (RFC 9110 section 10.1.1).
pub(crate) fn expects_continue(fields: Fields<'_>) -> bool {
    let value = fields.get(Known::Expect);
    value.is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue"))
}

/// Whether the request asks to become a WebSocket (RFC 6455 section 4.1).
pub(crate) fn wants_websocket(head: &RequestHead) -> bool {
    let fields = head.fields();
    fields.has(Known::Upgrade)
        && head.method == Method::GET
        && head.version == Version::HTTP_11
        && is_websocket(fields)
        && has_token(fields, Known::Connection, "upgrade")
}

/// Whether `Upgrade` names WebSocket.
pub(crate) fn is_websocket(fields: Fields<'_>) -> bool {
    let value = fields.get(Known::Upgrade);
    value.is_some_and(|value| value.trim_ascii().eq_ignore_ascii_case(b"websocket"))
}

/// An interim response as an HTTP/1.1 client gets it.
pub(crate) fn write_interim(out: &mut Vec<u8>, head: &h1::ResponseHead, text: &[u8]) {
    write_status(out, Version::HTTP_11, head.status, head.reason(text));
    write_response_fields(out, Fields::new(text, &head.index), false);
    out.extend_from_slice(b"\r\n");
}

/// An address as text without allocating.
struct IpText {
    bytes: [u8; 46],
}

impl IpText {
    fn write(&mut self, address: IpAddr) -> &[u8] {
        use std::io::Write;
        let mut rest = &mut self.bytes[..];
        // The longest IPv6 text has 45 bytes, so writing cannot fail.
        match address.to_canonical() {
            // The formatting machinery costs more than the rest of a head.
            IpAddr::V4(v4) => {
                let mut number = itoa::Buffer::new();
                for (index, octet) in v4.octets().into_iter().enumerate() {
                    let dot: &[u8] = if index == 0 { b"" } else { b"." };
                    let _ = rest.write_all(dot);
                    let _ = rest.write_all(number.format(octet).as_bytes());
                }
            }
            IpAddr::V6(v6) => {
                let _ = write!(rest, "{v6}");
            }
        }
        let left = rest.len();
        &self.bytes[..46 - left]
    }
}

/// Fields that end at the next hop (RFC 9110 section 7.6.1; `Proxy` is httpoxy's). `Trailer` is not
/// among them: trailers are passed on.
const HOP_BY_HOP: u32 = RESPONSE_HOP_BY_HOP | Known::set(&[Known::Proxy, Known::Http2Settings]);
const RESPONSE_HOP_BY_HOP: u32 = Known::set(&[
    Known::Connection,
    Known::KeepAlive,
    Known::ProxyAuthenticate,
    Known::ProxyAuthorization,
    Known::ProxyConnection,
    Known::Te,
    Known::TransferEncoding,
    Known::Upgrade,
]);
/// Request fields Wharf writes itself, or answers itself.
const REWRITTEN: u32 = Known::set(&[
    Known::ContentLength,
    Known::Disguised,
    Known::Expect,
    Known::Host,
    Known::TransferEncoding,
    Known::XForwardedFor,
    Known::XForwardedHost,
    Known::XForwardedPort,
    Known::XForwardedPrefix,
    Known::XForwardedProto,
    Known::XRealIp,
]);
pub(crate) const CHUNKED: &[u8] = b"transfer-encoding: chunked\r\n";
pub(crate) const SWITCH: &[u8] = b"connection: Upgrade\r\nupgrade: websocket\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn written(fields: &[(&str, &str)], trusted: bool) -> String {
        let mut out = Vec::new();
        let origin = Origin {
            peer: [10, 0, 0, 9].into(),
            client: [203, 0, 113, 7].into(),
            trusted,
            scheme: "https",
            authority: "a.test:8443",
            port: 8443,
            lines: None,
            prefix: None,
        };
        let head = RequestHead::get("/", fields);
        write_request(&mut out, &head, &["/"], &origin, false);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn spoofed_forwarding_headers_never_pass() {
        let out = written(
            &[
                ("x-forwarded-for", "6.6.6.6"),
                ("x-real-ip", "6.6.6.6"),
                ("x-forwarded-proto", "gopher"),
                ("x-forwarded-host", "evil.test"),
                ("x-forwarded-prefix", "/evil"),
                ("forwarded", "for=6.6.6.6"),
                ("proxy", "http://evil.test"),
                ("x_forwarded_for", "6.6.6.6"),
                ("x_real_ip", "6.6.6.6"),
            ],
            false,
        );
        assert!(!out.contains("6.6.6.6") && !out.contains("evil") && !out.contains("gopher"));
        assert!(out.contains("x-forwarded-for: 10.0.0.9\r\n"));
        assert!(out.contains("x-real-ip: 203.0.113.7\r\n"));
        assert!(out.contains("x-forwarded-host: a.test:8443\r\nx-forwarded-port: 8443\r\n"));
    }

    #[test]
    fn a_trusted_proxy_is_believed_and_appended_to() {
        let out = written(
            &[("x-forwarded-for", "203.0.113.7"), ("forwarded", "for=x")],
            true,
        );
        assert!(out.contains("x-forwarded-for: 203.0.113.7, 10.0.0.9\r\n"));
        assert!(out.contains("forwarded: for=x\r\n"));
    }

    #[test]
    fn hop_by_hop_and_nominated_fields_stay() {
        let out = written(
            &[
                ("connection", "X-Private, keep-alive"),
                ("x-private", "1"),
                ("keep-alive", "timeout=5"),
                ("te", "trailers"),
                ("upgrade", "h2c"),
                ("http2-settings", "AAMAAABkAAQAAP__"),
                ("x-public", "2"),
            ],
            false,
        );
        for absent in [
            "x-private",
            "keep-alive",
            "te:",
            "upgrade",
            "http2-settings",
        ] {
            assert!(!out.contains(absent), "{absent} in {out}");
        }
        assert!(out.contains("x-public: 2\r\n"));
    }

    #[test]
    fn cookie_crumbs_are_joined() {
        let out = written(&[("cookie", "a=1"), ("x", "y"), ("cookie", "b=2")], false);
        assert!(out.contains("cookie: a=1; b=2\r\n"));
        assert_eq!(out.matches("cookie").count(), 1);
    }

    #[test]
    fn responses_lose_what_their_connection_field_names() {
        let head = RequestHead::get(
            "/",
            &[
                ("connection", "close, X-Internal, content-length"),
                ("x-internal", "1"),
                ("transfer-encoding", "chunked"),
                ("content-length", "3"),
                ("x-kept", "1"),
            ],
        );
        let mut out = Vec::new();
        write_response_fields(&mut out, head.fields(), true);
        assert_eq!(out, b"content-length: 3\r\nx-kept: 1\r\n");
    }
}
