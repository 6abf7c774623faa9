//! `X-Real-IP` and the `X-Forwarded-*` family.

use std::net::IpAddr;

use crate::access::RequestId;
use crate::filter::auth::Basic;

use super::super::fields::{Fields, Known, write_field as field};
use crate::model::FieldNames;
use crate::route::Edits;

/// What the forwarding headers of one request are made from.
#[derive(Debug)]
pub(crate) struct Origin<'a> {
    /// The socket's other end.
    pub(crate) peer: IpAddr,
    /// The client: the peer, or what a trusted peer says.
    pub(crate) client: IpAddr,
    /// Whether the peer's own forwarding headers are believed.
    pub(crate) trusted: bool,
    pub(crate) request_id: RequestId<'a>,
    /// `http` or `https`, as the client used it.
    pub(crate) scheme: &'static str,
    /// `Host` as the client sent it, port included.
    pub(crate) authority: &'a str,
    /// Port the client used.
    pub(crate) port: u16,
    /// Addresses and scheme as lines, written once for the connection; `None` behind a trusted
    /// proxy, where they differ from request to request.
    pub(crate) lines: Option<&'a [u8]>,
    /// Lines about the client's certificate, where the route asks for one.
    pub(crate) certificate: Option<&'a [u8]>,
    /// The route's question for a login, and who has answered it.
    pub(crate) login: Option<(&'a Basic, Option<&'a str>)>,
    /// Prefix removed from the path.
    pub(crate) prefix: Option<&'a str>,
    /// `Forwarded` is written, too.
    pub(crate) forwarded: bool,
    /// Fields that the server which decides who gets in writes, and nobody else, and what it has written.
    pub(crate) reserved: Option<(&'a FieldNames, &'a [u8])>,
    /// What labels take from the client's fields and add to them.
    pub(crate) edited: Option<&'a Edited<'a>>,
}

/// A request's fields after the route's edits.
#[derive(Debug)]
pub(crate) struct Edited<'a> {
    pub(crate) edits: &'a Edits,
    pub(crate) lines: Vec<u8>,
}

/// `X-Real-IP`, the `X-Forwarded-*` family and `X-Request-ID` (product.md S3 to S6, B62): rebuilt from the connection
/// unless the peer is a trusted proxy, whose values are kept and extended.
pub(super) fn write_forwarding(out: &mut Vec<u8>, fields: Fields<'_>, origin: &Origin<'_>) {
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
    if (origin.edited).is_none_or(|edited| !edited.edits.without(b"x-request-id")) {
        out.extend_from_slice(b"x-request-id: ");
        origin.request_id.write(out);
        out.extend_from_slice(b"\r\n");
    }
    // A prefix from a trusted proxy is kept and ours is added behind it.
    let outer = kept(Known::XForwardedPrefix);
    if outer.is_some() || origin.prefix.is_some() {
        out.extend_from_slice(b"x-forwarded-prefix: ");
        out.extend_from_slice(outer.unwrap_or(b""));
        out.extend_from_slice(origin.prefix.unwrap_or("").as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

/// `Forwarded` (RFC 7239 section 4), behind those of a trusted proxy.
pub(super) fn write_forwarded(out: &mut Vec<u8>, fields: Fields<'_>, origin: &Origin<'_>) {
    out.extend_from_slice(b"forwarded: ");
    if origin.trusted {
        for value in fields.get_all(Known::Forwarded) {
            out.extend_from_slice(value);
            out.extend_from_slice(b", ");
        }
    }
    let peer = origin.peer.to_canonical();
    let mut text = IpText { bytes: [0; 46] };
    // What has colons or brackets is no token: section 6.
    let (open, close): (&[u8], &[u8]) = match peer.is_ipv6() {
        true => (b"for=\"[", b"]\""),
        false => (b"for=", b""),
    };
    for part in [open, text.write(peer), close] {
        out.extend_from_slice(part);
    }
    for part in [
        ";host=\"",
        origin.authority,
        "\";proto=",
        origin.scheme,
        "\r\n",
    ] {
        out.extend_from_slice(part.as_bytes());
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
