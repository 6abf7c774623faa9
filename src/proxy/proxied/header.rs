//! The header of the PROXY protocol, versions 1 and 2, as bytes. Pure. Source:
//! <https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>, sections 2.1 and 2.2.

use std::net::{IpAddr, SocketAddr};

/// What the first bytes of a connection are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begins {
    /// No header: the client's own bytes.
    Without,
    /// There have to be more of them before it shows.
    Unclear,
    V1,
    V2,
}

/// What becomes of the connection's peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    /// The proxy speaks for itself (LOCAL, as for its health checks), or for somebody it has no address of (UNKNOWN).
    Nobody,
    Client(SocketAddr),
}

/// How `first` begins.
pub(super) fn begins(first: &[u8]) -> Begins {
    for (signature, version) in [(V1, Begins::V1), (&V2[..], Begins::V2)] {
        if first.starts_with(signature) {
            return version;
        }
        if signature.starts_with(first) {
            return Begins::Unclear;
        }
    }
    Begins::Without
}

/// A line of version 1, without its CR LF.
pub(super) fn v1(line: &[u8]) -> Result<Named, &'static str> {
    let line = std::str::from_utf8(line).map_err(|_| "its line is no text")?;
    let rest = line
        .strip_prefix("PROXY ")
        .ok_or("it does not begin with PROXY")?;
    let mut words = rest.split(' ');
    let ip4 = match words.next() {
        Some("TCP4") => true,
        Some("TCP6") => false,
        // Whatever stands behind it.
        Some("UNKNOWN") => return Ok(Named::Nobody),
        _ => return Err("it names none of TCP4, TCP6 and UNKNOWN"),
    };
    let mut address = || {
        let ip: IpAddr = words.next()?.parse().ok()?;
        (ip.is_ipv4() == ip4).then_some(ip)
    };
    let wrong = "its addresses are none of that family";
    let (client, _) = (address().ok_or(wrong)?, address().ok_or(wrong)?);
    let mut port = || {
        let word = words.next()?;
        let plain = word.bytes().all(|byte| byte.is_ascii_digit());
        let plain = plain && (word == "0" || !word.starts_with('0'));
        word.parse::<u16>().ok().filter(|_| plain)
    };
    let wrong = "its ports are no ports";
    let (port, _) = (port().ok_or(wrong)?, port().ok_or(wrong)?);
    if words.next().is_some() {
        return Err("something stands behind its ports");
    }
    Ok(Named::Client(SocketAddr::new(client, port)))
}

/// The length of what follows the fixed part of version 2.
pub(super) fn v2_length(fixed: &[u8; V2_FIXED]) -> Result<usize, &'static str> {
    let [.., version, _, high, low] = *fixed;
    if version >> 4 != 2 {
        return Err("it is of a version other than 1 and 2");
    }
    let length = usize::from(u16::from_be_bytes([high, low]));
    match length {
        ..=V2_MOST => Ok(length),
        _ => Err("it is longer than 4096 bytes"),
    }
}

/// What a header of version 2 says. Its own additions (TLVs) are not looked at.
pub(super) fn v2(fixed: &[u8; V2_FIXED], rest: &[u8]) -> Result<Named, &'static str> {
    let [.., version, family, _, _] = *fixed;
    match version & 0xf {
        0 => return Ok(Named::Nobody),
        1 => {}
        _ => return Err("its command is neither LOCAL nor PROXY"),
    }
    let short = "it is too short for its addresses";
    let (ip, ports): (IpAddr, &[u8]) = match family {
        TCP4 => {
            let (ip, rest) = rest.split_first_chunk::<4>().ok_or(short)?;
            ((*ip).into(), rest.get(4..).ok_or(short)?)
        }
        TCP6 => {
            let (ip, rest) = rest.split_first_chunk::<16>().ok_or(short)?;
            ((*ip).into(), rest.get(16..).ok_or(short)?)
        }
        // Unix sockets, datagrams, and what nobody has thought of yet: there is no address to be had.
        _ => return Ok(Named::Nobody),
    };
    let (port, rest) = ports.split_first_chunk::<2>().ok_or(short)?;
    if rest.len() < 2 {
        return Err(short);
    }
    Ok(Named::Client(SocketAddr::new(
        ip,
        u16::from_be_bytes(*port),
    )))
}

const V1: &[u8] = b"PROXY ";
pub(super) const V2: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, length.
pub(super) const V2_FIXED: usize = 16;
/// What may follow: addresses take 36 bytes, and what proxies add is small.
const V2_MOST: usize = 4096;
/// The longest line of version 1, with CR LF.
pub(super) const V1_MOST: usize = 107;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn client(addr: &str) -> Result<Named, &'static str> {
        Ok(Named::Client(addr.parse().unwrap()))
    }

    #[test]
    fn the_first_bytes_tell() {
        for (first, expected) in [
            (&b""[..], Begins::Unclear),
            (b"P", Begins::Unclear),
            (b"PR", Begins::Unclear),
            (b"PROXY", Begins::Unclear),
            (b"PROXY ", Begins::V1),
            (b"PROXY TCP4", Begins::V1),
            (b"PRI * HTTP/2.0", Begins::Without),
            (b"POST / HTTP/1.1", Begins::Without),
            (b"GET", Begins::Without),
            (b"\x16\x03\x01", Begins::Without),
            (b"\r\n", Begins::Unclear),
            (b"\r\n\r\n\0\r\nQUIT", Begins::Unclear),
            (b"\r\n\r\n\0\r\nQUIT\n", Begins::V2),
            (b"\r\n\r\nGET", Begins::Without),
        ] {
            assert_eq!(begins(first), expected, "{first:?}");
        }
    }

    #[test]
    fn lines_of_version_1() {
        for (line, expected) in [
            (
                "PROXY TCP4 192.0.2.1 198.51.100.1 56324 443",
                client("192.0.2.1:56324"),
            ),
            (
                "PROXY TCP6 2001:db8::1 ::1 65535 0",
                client("[2001:db8::1]:65535"),
            ),
            ("PROXY UNKNOWN", Ok(Named::Nobody)),
            ("PROXY UNKNOWN ffff:: ffff:: 1 2", Ok(Named::Nobody)),
        ] {
            assert_eq!(v1(line.as_bytes()), expected, "{line}");
        }
        for (line, cause) in [
            ("PROXY", "begin"),
            ("PROXY ", "none of TCP4"),
            ("PROXY tcp4 192.0.2.1 192.0.2.2 1 2", "none of TCP4"),
            ("PROXY UDP4 192.0.2.1 192.0.2.2 1 2", "none of TCP4"),
            ("PROXY TCP4 2001:db8::1 ::1 1 2", "family"),
            ("PROXY TCP6 192.0.2.1 192.0.2.2 1 2", "family"),
            ("PROXY TCP4 192.0.2.1 1 2", "family"),
            ("PROXY TCP4 192.0.2.01 192.0.2.2 1 2", "family"),
            ("PROXY TCP4  192.0.2.1 192.0.2.2 1 2", "family"),
            ("PROXY TCP4 192.0.2.1 192.0.2.2", "ports"),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 1", "ports"),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 01 2", "ports"),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 +1 2", "ports"),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 65536 2", "ports"),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3", "behind"),
            ("PROXY TCP4 192.0.2.1 192.0.2.2 1 2 ", "behind"),
        ] {
            let told = v1(line.as_bytes()).unwrap_err();
            assert!(told.contains(cause), "{line}: {told}");
        }
        assert!(v1(b"PROXY \xff").is_err());
    }

    fn whole(version: u8, family: u8, rest: &[u8]) -> Result<Named, &'static str> {
        let mut fixed = [0; V2_FIXED];
        fixed[..12].copy_from_slice(&V2);
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        fixed[12..].copy_from_slice(&[version, family, length[0], length[1]]);
        assert_eq!(v2_length(&fixed)?, rest.len());
        v2(&fixed, rest)
    }

    #[test]
    fn headers_of_version_2() {
        let ports = [0xdc, 0x04, 0x01, 0xbb];
        let tcp4 = [&[192, 0, 2, 1, 198, 51, 100, 1][..], &ports].concat();
        let mut tcp6 = vec![0; 32];
        tcp6[15] = 1;
        tcp6.extend(ports);
        let more = [&tcp4[..], &[4, 0, 1, 7]].concat();
        for (version, family, rest, expected) in [
            (0x21, TCP4, &tcp4[..], client("192.0.2.1:56324")),
            (0x21, TCP4, &more, client("192.0.2.1:56324")),
            (0x21, TCP6, &tcp6, client("[::1]:56324")),
            (0x20, TCP4, &tcp4, Ok(Named::Nobody)),
            (0x20, 0, &[], Ok(Named::Nobody)),
            (0x21, 0, &[], Ok(Named::Nobody)),
            (0x21, 0x12, &tcp4, Ok(Named::Nobody)),
            (0x21, 0x31, &[0; 216], Ok(Named::Nobody)),
            (
                0x21,
                TCP4,
                &tcp4[..11],
                Err("it is too short for its addresses"),
            ),
            (0x21, TCP6, &tcp4, Err("it is too short for its addresses")),
            (
                0x21,
                TCP6,
                &tcp6[..35],
                Err("it is too short for its addresses"),
            ),
            (
                0x22,
                TCP4,
                &tcp4,
                Err("its command is neither LOCAL nor PROXY"),
            ),
            (
                0x11,
                TCP4,
                &tcp4,
                Err("it is of a version other than 1 and 2"),
            ),
            (0x21, TCP4, &[0; 4097], Err("it is longer than 4096 bytes")),
        ] {
            assert_eq!(
                whole(version, family, rest),
                expected,
                "{version:x} {family:x}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_odd(
            bytes in proptest::collection::vec(any::<u8>(), 0..120),
            word in "(PROXY )?(TCP[46] |UNKNOWN)?[0-9a-f.: ]{0,60}",
            version in any::<u8>(),
            family in any::<u8>(),
        ) {
            let _ = v1(&bytes);
            let _ = v1(word.as_bytes());
            let _ = whole(version, family, &bytes);
            // What was clear stays so, however much follows.
            let mut said = None;
            for end in 0..=bytes.len() {
                match begins(&bytes[..end]) {
                    Begins::Unclear => prop_assert!(said.is_none()),
                    clear => prop_assert_eq!(*said.get_or_insert(clear), clear),
                }
            }
        }

        #[test]
        fn what_a_proxy_writes_is_read(ip in any::<[u8; 4]>(), port in any::<u16>(), six in any::<[u8; 16]>()) {
            for client in [SocketAddr::new(ip.into(), port), SocketAddr::new(six.into(), port)] {
                let kind = if client.is_ipv4() { "TCP4" } else { "TCP6" };
                let line = format!("PROXY {kind} {0} {0} {port} 443", client.ip());
                prop_assert_eq!(v1(line.as_bytes()), Ok(Named::Client(client)));
                prop_assert!(line.len() + 2 <= V1_MOST);
            }
        }
    }
}
