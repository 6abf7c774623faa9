//! Which client a request is from, behind trusted proxies.

use std::net::IpAddr;

use super::super::fields::{Fields, Known};

/// The client behind trusted proxies: the last address of `X-Forwarded-For`, from the right, that
/// is not itself trusted (nginx `real_ip_recursive on`).
pub(crate) fn client_address(
    peer: IpAddr,
    fields: Fields<'_>,
    trusted: impl Fn(IpAddr) -> bool,
) -> IpAddr {
    let mut client = peer;
    for value in fields.get_all(Known::XForwardedFor).rev() {
        for item in std::str::from_utf8(value).unwrap_or("").rsplit(',') {
            let Some(address) = parse_address(item.trim()) else {
                return client;
            };
            client = address;
            if !trusted(address) {
                return client;
            }
        }
    }
    client
}

/// `1.2.3.4`, `1.2.3.4:5`, `2001:db8::1`, `[2001:db8::1]:5`.
fn parse_address(text: &str) -> Option<IpAddr> {
    text.parse::<IpAddr>()
        .ok()
        .or_else(|| {
            text.parse::<std::net::SocketAddr>()
                .ok()
                .map(|socket| socket.ip())
        })
        .or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok())
        .map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::head::RequestHead;

    #[test]
    fn the_client_is_the_last_untrusted_address() {
        let trusted = |address: IpAddr| address.to_string().starts_with("10.");
        let peer = IpAddr::from([10, 0, 0, 1]);
        for (value, client) in [
            ("1.1.1.1, 203.0.113.7, 10.0.0.2", "203.0.113.7"),
            ("10.0.0.3", "10.0.0.3"),
            ("garbage, 10.0.0.2", "10.0.0.2"),
            ("203.0.113.7:4711", "203.0.113.7"),
        ] {
            let head = RequestHead::get("/", &[("x-forwarded-for", value)]);
            assert_eq!(
                client_address(peer, head.fields(), trusted).to_string(),
                client,
                "{value}"
            );
        }
    }
}
