//! What tells responses apart before anybody looks at Vary (RFC 9111 section 2).

/// The URL that a request is for: what its connection and its own Host say, never an X-Forwarded-Host (hardening).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Url<'a> {
    pub https: bool,
    /// With or without a port.
    pub host: &'a [u8],
    /// Path and query, as they were written: what is passed on as it is has to be told apart as it is.
    pub target: &'a [u8],
}

impl Url<'_> {
    /// Appends the key: the URL, its host in lower case and without a port that goes without saying. Routes that
    /// share a URL have to be told apart besides.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.write_origin(out);
        out.extend_from_slice(self.target);
    }

    fn write_origin(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(if self.https { b"https://" } else { b"http://" });
        let (name, port) = split_port(self.host);
        let start = out.len();
        out.extend_from_slice(name.strip_suffix(b".").unwrap_or(name));
        out[start..].make_ascii_lowercase();
        let usual: &[u8] = if self.https { b"443" } else { b"80" };
        if !port.is_empty() && port != usual {
            out.push(b':');
            out.extend_from_slice(port);
        }
    }

    /// Whether both are of the same scheme, host and port.
    pub(super) fn same_origin(&self, other: &Url<'_>) -> bool {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        self.write_origin(&mut a);
        other.write_origin(&mut b);
        a == b
    }
}

/// Name and port; the port is empty where there is none.
fn split_port(host: &[u8]) -> (&[u8], &[u8]) {
    let colon = host.iter().rposition(|&byte| byte == b':');
    // The colons within brackets are an address's.
    let bracket = host.iter().rposition(|&byte| byte == b']');
    match colon {
        Some(colon) if bracket.is_none_or(|bracket| bracket < colon) => {
            (&host[..colon], &host[colon + 1..])
        }
        _ => (host, b""),
    }
}
