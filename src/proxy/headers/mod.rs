//! Which fields travel, which stay, which are ours: hop-by-hop, `Host`, forwarding headers.
//!
//! Heads are written straight into the buffer that goes out; nothing is cloned or edited in place.

use super::fields::{Fields, Known};

mod back;
mod client;
mod coding;
mod cookie;
mod cors;
mod dress;
mod edit;
mod forwarding;
mod host;
mod length;
mod matching;
mod nominated;
mod request;
mod response;

pub(crate) use back::{Named, Own};
pub(crate) use client::client_address;
pub(crate) use coding::{add_vary, seen, set_coding, weaken};
pub(crate) use cookie::{cookie, cookies};
pub(crate) use cors::{Preflight, allow_page};
pub(crate) use dress::Dress;
pub(crate) use edit::{edit_page, write_edits};
pub(crate) use forwarding::{Edited, Origin, lines_of};
pub(crate) use host::HostName;
pub(crate) use length::{content_length, parse_length, write_length};
pub(crate) use matching::{Asked, meets, values};
pub(crate) use nominated::has_token;
pub(crate) use request::{
    Connection, expects_continue, may_trail_request, wants_websocket, write_http2_lines,
    write_request,
};
pub(crate) use response::{
    Extra, Kept, NO_EXTRA, Persist, may_trail_response, write_end, write_interim,
    write_response_fields, write_status,
};

/// Whether `Upgrade` names WebSocket.
pub(crate) fn is_websocket(fields: Fields<'_>) -> bool {
    let value = fields.get(Known::Upgrade);
    value.is_some_and(|value| value.trim_ascii().eq_ignore_ascii_case(b"websocket"))
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
    Known::XRequestId,
]);
pub(crate) const CHUNKED: &[u8] = b"transfer-encoding: chunked\r\n";
pub(crate) const SWITCH: &[u8] = b"connection: Upgrade\r\nupgrade: websocket\r\n";

#[cfg(test)]
mod tests {
    use super::super::head::RequestHead;
    use super::*;
    use crate::access::RequestId;

    fn written(fields: &[(&str, &str)], trusted: bool) -> String {
        written_by(fields, &origin([10, 0, 0, 9].into(), trusted))
    }

    fn written_by(fields: &[(&str, &str)], origin: &Origin<'_>) -> String {
        let mut out = Vec::new();
        let head = RequestHead::get("/", fields);
        write_request(
            &mut out,
            &head,
            &["/"],
            origin.authority,
            origin,
            Connection::Keep,
        );
        String::from_utf8(out).unwrap()
    }

    fn origin(peer: std::net::IpAddr, trusted: bool) -> Origin<'static> {
        Origin {
            peer,
            client: [203, 0, 113, 7].into(),
            trusted,
            request_id: RequestId::Own(0xab),
            scheme: "https",
            authority: "a.test:8443",
            port: 8443,
            lines: None,
            certificate: None,
            login: None,
            prefix: None,
            forwarded: false,
            reserved: None,
            edited: None,
        }
    }

    #[test]
    fn forwarded_is_written_where_a_label_asks_for_it() {
        let fields = [("forwarded", "for=203.0.113.7")];
        let mut v4 = origin([10, 0, 0, 9].into(), false);
        v4.forwarded = true;
        let ours = "forwarded: for=10.0.0.9;host=\"a.test:8443\";proto=https\r\n";
        let out = written_by(&fields, &v4);
        assert!(out.contains(ours) && !out.contains("for=203"), "{out}");
        assert!(out.contains("x-forwarded-proto: https\r\n"));
        let mut trusted = origin("2001:db8::1".parse().unwrap(), true);
        trusted.forwarded = true;
        let theirs = "forwarded: for=203.0.113.7, for=\"[2001:db8::1]\";host=\"a.test:8443\";proto=https\r\n";
        let out = written_by(&fields, &trusted);
        assert!(out.contains(theirs), "{out}");
        assert_eq!(out.matches("\r\nforwarded:").count(), 1);
    }

    #[test]
    fn spoofed_forwarding_headers_never_pass() {
        let out = written(
            &[
                ("x-forwarded-for", "6.6.6.6"),
                ("x-real-ip", "6.6.6.6"),
                ("x-request-id", "6.6.6.6"),
                ("x_request_id", "6.6.6.6"),
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
        assert!(out.contains("x-request-id: 00000000000000ab\r\n"));
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
        write_response_fields(&mut out, head.fields(), &NO_EXTRA, true);
        assert_eq!(out, b"content-length: 3\r\nx-kept: 1\r\n");
    }
}
