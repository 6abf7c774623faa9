//! Which host a request is for.

/// A host name lower-cased in place, without port, trailing dot or brackets.
pub(crate) struct HostName {
    bytes: [u8; 255],
    len: u8,
}

impl HostName {
    /// Parses `host[:port]`; `None` where that is no valid authority (RFC 3986 section 3.2.2).
    pub(crate) fn parse(authority: &str) -> Option<Self> {
        let bytes = authority.as_bytes();
        let literal: String;
        let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
            let (host, port) = rest.split_once(']')?;
            // An address has many forms as text; the table knows one.
            let address: std::net::Ipv6Addr = host.parse().ok()?;
            literal = address.to_string();
            (
                &*literal,
                port.strip_prefix(':')
                    .or_else(|| port.is_empty().then_some(""))?,
            )
        } else {
            match memchr::memchr(b':', bytes) {
                Some(colon) => (&authority[..colon], &authority[colon + 1..]),
                None => (authority, ""),
            }
        };
        if !(port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit())) {
            return None;
        }
        let host = host.strip_suffix('.').unwrap_or(host);
        let mut name = Self {
            bytes: [0; 255],
            len: u8::try_from(host.len()).ok()?,
        };
        if host.is_empty() {
            return None;
        }
        for (to, byte) in name.bytes.iter_mut().zip(host.bytes()) {
            *to = match byte {
                b'A'..=b'Z' => byte | 0x20,
                b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b':' => byte,
                _ => return None,
            };
        }
        Some(name)
    }

    pub(crate) fn as_str(&self) -> &str {
        // Only ASCII is ever written.
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or("")
    }
}

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
