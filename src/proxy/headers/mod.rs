//! Which fields travel, which stay, which are ours: hop-by-hop, `Host`, forwarding headers.
//!
//! Requests are written straight into the upstream's buffer, so nothing is cloned or edited in
//! place; a response's map is edited, because hyper takes it over as it is.

use std::net::IpAddr;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Version};

mod client;
mod host;

pub(crate) use client::client_address;
pub(crate) use host::{HostName, authority};

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
    /// Prefix removed from the path.
    pub(crate) prefix: Option<&'a str>,
}

/// How the request body is framed upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestFraming {
    None,
    /// `Content-Length`, 0 included.
    Length(u64),
    Chunked,
}

/// Writes a request head for an HTTP/1.1 upstream.
pub(crate) fn write_request(
    out: &mut Vec<u8>,
    method: &Method,
    target: &[&str],
    fields: &HeaderMap,
    origin: &Origin<'_>,
    framing: RequestFraming,
    websocket: bool,
) {
    out.extend_from_slice(method.as_str().as_bytes());
    out.push(b' ');
    for part in target {
        out.extend_from_slice(part.as_bytes());
    }
    out.extend_from_slice(b" HTTP/1.1\r\nhost: ");
    out.extend_from_slice(origin.authority.as_bytes());
    out.extend_from_slice(b"\r\n");
    copy_fields(out, fields, origin.trusted);
    write_forwarding(out, fields, origin);
    match framing {
        RequestFraming::None => {}
        RequestFraming::Length(length) => {
            out.extend_from_slice(b"content-length: ");
            out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        RequestFraming::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    if websocket {
        out.extend_from_slice(b"connection: Upgrade\r\nupgrade: websocket\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

fn copy_fields(out: &mut Vec<u8>, fields: &HeaderMap, trusted: bool) {
    let nominated = Nominated::of(fields);
    for (name, value) in fields {
        if is_rewritten(name) || is_hop_by_hop(name) || nominated.holds(name) {
            continue;
        }
        if *name == header::FORWARDED && !trusted {
            continue;
        }
        // HTTP/2 clients may send cookies in crumbs; applications expect one field (RFC 9113
        // section 8.2.3).
        if *name == header::COOKIE {
            continue;
        }
        field(out, name.as_str().as_bytes(), value.as_bytes());
    }
    let mut cookies = fields.get_all(header::COOKIE).iter();
    if let Some(first) = cookies.next()
        && !nominated.holds(&header::COOKIE)
    {
        out.extend_from_slice(b"cookie: ");
        out.extend_from_slice(first.as_bytes());
        for crumb in cookies {
            out.extend_from_slice(b"; ");
            out.extend_from_slice(crumb.as_bytes());
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// `X-Real-IP` and the `X-Forwarded-*` family (product.md S3 to S6): rebuilt from the connection
/// unless the peer is a trusted proxy, whose values are kept and extended.
fn write_forwarding(out: &mut Vec<u8>, fields: &HeaderMap, origin: &Origin<'_>) {
    let mut text = IpText { bytes: [0; 46] };
    field(out, b"x-real-ip", text.write(origin.client));
    out.extend_from_slice(b"x-forwarded-for: ");
    if origin.trusted {
        for value in fields.get_all(X_FORWARDED_FOR) {
            out.extend_from_slice(value.as_bytes());
            out.extend_from_slice(b", ");
        }
    }
    out.extend_from_slice(text.write(origin.peer));
    out.extend_from_slice(b"\r\n");
    field(out, b"x-forwarded-proto", origin.scheme.as_bytes());
    let kept = |name| {
        if origin.trusted {
            fields.get(name)
        } else {
            None
        }
    };
    match kept(X_FORWARDED_HOST) {
        Some(value) => field(out, b"x-forwarded-host", value.as_bytes()),
        None => field(out, b"x-forwarded-host", origin.authority.as_bytes()),
    }
    match kept(X_FORWARDED_PORT) {
        Some(value) => field(out, b"x-forwarded-port", value.as_bytes()),
        None => {
            let mut port = itoa::Buffer::new();
            field(
                out,
                b"x-forwarded-port",
                port.format(origin.port).as_bytes(),
            );
        }
    }
    // A prefix from a trusted proxy is kept and ours is added behind it.
    let outer = kept(X_FORWARDED_PREFIX);
    if outer.is_some() || origin.prefix.is_some() {
        out.extend_from_slice(b"x-forwarded-prefix: ");
        out.extend_from_slice(outer.map_or(&b""[..], HeaderValue::as_bytes));
        out.extend_from_slice(origin.prefix.unwrap_or("").as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Removes what must not reach the client: hop-by-hop fields, what the upstream's `Connection`
/// names, and framing that the engine decides itself.
pub(crate) fn strip_response(fields: &mut HeaderMap, keep_length: bool) {
    if fields.keys().any(is_hop_by_hop) {
        strip_hop_by_hop(fields);
    }
    if !keep_length {
        fields.remove(header::CONTENT_LENGTH);
    } else if let Ok(Some(length)) = content_length(fields) {
        // `3, 3` was one length to us; others may see it otherwise.
        let mut written = fields.get_all(header::CONTENT_LENGTH).iter();
        let plain = |value: &HeaderValue| !value.as_bytes().contains(&b',');
        if !(written.next().is_some_and(plain) && written.next().is_none()) {
            fields.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
    }
}

fn strip_hop_by_hop(fields: &mut HeaderMap) {
    // Further lines are rare, so nothing is collected as a rule.
    let further = fields.get_all(header::CONNECTION).iter().skip(1).cloned();
    let further: Vec<HeaderValue> = further.collect();
    for connection in fields.remove(header::CONNECTION).into_iter().chain(further) {
        for name in connection.as_bytes().split(|byte| *byte == b',') {
            if let Ok(name) = HeaderName::from_bytes(name.trim_ascii())
                && name != header::CONTENT_LENGTH
            {
                fields.remove(name);
            }
        }
    }
    for name in &HOP_BY_HOP {
        fields.remove(name);
    }
}

/// Fields that end at the next hop (RFC 9110 section 7.6.1; `Proxy` is httpoxy's). `Trailer` is not
/// among them: trailers are passed on, and hyper sends only those it announces.
pub(crate) fn is_hop_by_hop(name: &HeaderName) -> bool {
    match name.as_str().len() {
        2 => *name == header::TE,
        5 => name.as_str() == "proxy",
        7 => *name == header::UPGRADE,
        10 => *name == header::CONNECTION || name.as_str() == "keep-alive",
        14 => name.as_str() == "http2-settings",
        16 => name.as_str() == "proxy-connection",
        17 => *name == header::TRANSFER_ENCODING,
        18 => *name == header::PROXY_AUTHENTICATE,
        19 => *name == header::PROXY_AUTHORIZATION,
        _ => false,
    }
}

/// Request fields Wharf writes itself.
fn is_rewritten(name: &HeaderName) -> bool {
    let name = name.as_str();
    match name.len() {
        4 => name == "host",
        6 => name == "expect",
        9 => reads_as(name, "x-real-ip"),
        14 => reads_as(name, "content-length"),
        15 => reads_as(name, "x-forwarded-for"),
        16 => reads_as(name, "x-forwarded-host") || reads_as(name, "x-forwarded-port"),
        17 => reads_as(name, "x-forwarded-proto") || reads_as(name, "transfer-encoding"),
        18 => reads_as(name, "x-forwarded-prefix"),
        _ => false,
    }
}

/// Whether a field may stand in the trailers of a request: none that frames it, says who sent it or
/// what that one may do.
pub(crate) fn may_trail(name: &HeaderName) -> bool {
    let personal = matches!(
        *name,
        header::FORWARDED | header::COOKIE | header::AUTHORIZATION
    );
    !(personal || is_rewritten(name) || is_hop_by_hop(name))
}

/// Whether an application that hears of headers by CGI's rules, where `-` becomes `_`, takes `name`
/// for `ours` (product.md B42).
fn reads_as(name: &str, ours: &str) -> bool {
    name.bytes()
        .zip(ours.bytes())
        .all(|(a, b)| a == b || (a == b'_' && b == b'-'))
}

/// Names listed in `Connection`; the usual `keep-alive` and `close` cost nothing.
struct Nominated<'a>(Option<&'a HeaderMap>);

impl<'a> Nominated<'a> {
    fn of(fields: &'a HeaderMap) -> Self {
        let plain = |value: &HeaderValue| {
            let value = value.as_bytes();
            value.eq_ignore_ascii_case(b"keep-alive") || value.eq_ignore_ascii_case(b"close")
        };
        let any = fields
            .get_all(header::CONNECTION)
            .iter()
            .any(|value| !plain(value));
        Self(any.then_some(fields))
    }

    fn holds(&self, name: &HeaderName) -> bool {
        self.0
            .is_some_and(|fields| has_token(fields, header::CONNECTION, name.as_str()))
    }
}

/// Whether the comma list in `name` holds `token`, in any case.
pub(crate) fn has_token(fields: &HeaderMap, name: HeaderName, token: &str) -> bool {
    fields.get_all(name).iter().any(|value| {
        value
            .as_bytes()
            .split(|byte| *byte == b',')
            .any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    })
}

/// The one content length, if any (RFC 9110 section 8.6): repeated equal values count once.
pub(crate) fn content_length(fields: &HeaderMap) -> Result<Option<u64>, ()> {
    let mut found = None;
    for value in fields.get_all(header::CONTENT_LENGTH) {
        for item in value.as_bytes().split(|byte| *byte == b',') {
            let item = item.trim_ascii();
            let digits = !item.is_empty() && item.iter().all(u8::is_ascii_digit);
            let text = std::str::from_utf8(item).map_err(drop)?;
            let length: u64 = if digits {
                text.parse().map_err(drop)?
            } else {
                return Err(());
            };
            if found.is_some_and(|before| before != length) {
                return Err(());
            }
            found = Some(length);
        }
    }
    Ok(found)
}

/// Whether the request asks to become a WebSocket (RFC 6455 section 4.1).
pub(crate) fn wants_websocket(method: &Method, version: Version, fields: &HeaderMap) -> bool {
    *method == Method::GET
        && version == Version::HTTP_11
        && fields.get(header::UPGRADE).is_some_and(|value| {
            value
                .as_bytes()
                .trim_ascii()
                .eq_ignore_ascii_case(b"websocket")
        })
        && has_token(fields, header::CONNECTION, "upgrade")
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

const HOP_BY_HOP: [HeaderName; 7] = [
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];
pub(crate) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(crate) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                value.parse().unwrap(),
            );
        }
        map
    }

    fn written(fields: &[(&str, &str)], trusted: bool) -> String {
        let mut out = Vec::new();
        let origin = Origin {
            peer: [10, 0, 0, 9].into(),
            client: [203, 0, 113, 7].into(),
            trusted,
            scheme: "https",
            authority: "a.test:8443",
            port: 8443,
            prefix: None,
        };
        let framing = RequestFraming::None;
        write_request(
            &mut out,
            &Method::GET,
            &["/"],
            &map(fields),
            &origin,
            framing,
            false,
        );
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
        let mut fields = map(&[
            ("connection", "close, X-Internal"),
            ("x-internal", "1"),
            ("transfer-encoding", "chunked"),
            ("content-length", "3"),
            ("x-kept", "1"),
        ]);
        strip_response(&mut fields, true);
        let names: Vec<_> = fields.keys().map(HeaderName::as_str).collect();
        assert_eq!(names.len(), 2, "{names:?}");
        assert!(fields.contains_key("content-length") && fields.contains_key("x-kept"));
    }
}
