//! Which host a request is for.

use std::borrow::Cow;

/// A host name in lower case, without port, trailing dot or brackets. Most come that way, so nothing
/// is copied for them.
#[derive(Debug)]
pub(crate) struct HostName<'a>(Cow<'a, str>);

impl<'a> HostName<'a> {
    /// Parses `host[:port]`; `None` where that is no valid authority (RFC 3986 section 3.2.2).
    pub(crate) fn parse(authority: &'a str) -> Option<Self> {
        let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
            let (host, port) = rest.split_once(']')?;
            // An address has many forms as text; the table knows one.
            let address: std::net::Ipv6Addr = host.parse().ok()?;
            let port = port
                .strip_prefix(':')
                .or_else(|| port.is_empty().then_some(""))?;
            (Cow::Owned(address.to_string()), port)
        } else {
            let (host, port) = match memchr::memchr(b':', authority.as_bytes()) {
                Some(colon) => (&authority[..colon], &authority[colon + 1..]),
                None => (authority, ""),
            };
            (canonical(host.strip_suffix('.').unwrap_or(host))?, port)
        };
        let number = port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit());
        number.then_some(Self(host))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

fn canonical(host: &str) -> Option<Cow<'_, str>> {
    if host.is_empty() || host.len() > MAX_HOST {
        return None;
    }
    let mut upper = false;
    for byte in host.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' => {}
            b'A'..=b'Z' => upper = true,
            _ => return None,
        }
    }
    Some(if upper {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    })
}

/// RFC 1035 section 2.3.4.
const MAX_HOST: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_are_canonical_or_refused() {
        for (authority, name) in [
            ("A.Test", Some("a.test")),
            ("a.test:80", Some("a.test")),
            ("a.test.:80", Some("a.test")),
            ("[::1]:80", Some("::1")),
            ("[::1]", Some("::1")),
            ("[0:0::1]", Some("::1")),
            ("127.0.0.1:1", Some("127.0.0.1")),
            ("", None),
            (":80", None),
            ("a.test:x", None),
            ("a.test:123456", None),
            ("a b", None),
            ("a/b", None),
            ("[::1", None),
            ("a@b", None),
        ] {
            let parsed = HostName::parse(authority);
            assert_eq!(parsed.as_ref().map(HostName::as_str), name, "{authority}");
        }
    }
}
