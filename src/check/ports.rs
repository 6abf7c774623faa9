//! The short syntax of ports in compose files.

use std::net::IpAddr;

use crate::docker::Published;

/// `3000`, `3000/tcp`, `3000-3010`; nothing of other protocols.
pub(super) fn ports(text: &str) -> Vec<u16> {
    let text = match text.split_once('/') {
        Some((text, "tcp")) => text,
        Some(_) => return Vec::new(),
        None => text,
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.trim().parse::<u16>(), last.trim().parse::<u16>()) {
        (Ok(first), Ok(last)) => (first..=last).take(MAX_PORTS).collect(),
        _ => Vec::new(),
    }
}

/// Short syntax of `ports`: `[[address:]public:]private[/protocol]`.
pub(super) fn short(text: &str) -> Vec<Published> {
    let (text, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    if protocol != "tcp" {
        return Vec::new();
    }
    let (rest, private) = text.rsplit_once(':').unwrap_or(("", text));
    let (ip, public) = rest.rsplit_once(':').unwrap_or(("", rest));
    let ip: Option<IpAddr> = ip
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse()
        .ok();
    let publics = ports(public);
    let privates = ports(private).into_iter().enumerate();
    let published = |(at, private)| Published {
        private,
        public: publics.get(at).copied().unwrap_or(0),
        ip,
    };
    privates.map(published).collect()
}

/// Of one range.
const MAX_PORTS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_ports_are_read_in_the_short_syntax() {
        for (text, told) in [
            ("80", &[(80, 0, None)][..]),
            ("8080:80", &[(80, 8080, None)]),
            ("127.0.0.1:8080:80/tcp", &[(80, 8080, Some("127.0.0.1"))]),
            ("[::1]:8080:80", &[(80, 8080, Some("::1"))]),
            ("8000-8001:80-81", &[(80, 8000, None), (81, 8001, None)]),
            ("53:53/udp", &[]),
            ("x", &[]),
        ] {
            let found = short(text).into_iter();
            let found: Vec<_> = found.map(|p| (p.private, p.public, p.ip)).collect();
            let told = told
                .iter()
                .map(|(a, b, ip)| (*a, *b, ip.map(|ip| ip.parse().unwrap())));
            assert_eq!(found, told.collect::<Vec<_>>(), "{text}");
        }
    }
}
