//! Which peers' forwarding headers are believed.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

use super::nearest;

/// Networks of trusted proxies (`WHARF_TRUSTED_PROXIES`); empty trusts nobody.
///
/// Invariant: IPv4 networks are kept as IPv4, never in the mapped form `::ffff:a.b.c.d`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks.into_iter().map(unmapped).collect())
    }

    /// Whether `peer` is one of them. A dual stack listener sees IPv4 peers as `::ffff:a.b.c.d`;
    /// those match IPv4 networks.
    pub fn contains(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.0.iter().any(|network| network.contains(&peer))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn networks(&self) -> &[IpNet] {
        &self.0
    }
}

/// `::ffff:10.0.0.0/104` as `10.0.0.0/8`.
fn unmapped(network: IpNet) -> IpNet {
    if let IpNet::V6(v6) = network
        && let Some(v4) = v6.addr().to_ipv4_mapped()
        && let Some(length) = v6.prefix_len().checked_sub(96)
        && let Ok(v4) = Ipv4Net::new(v4, length)
    {
        return IpNet::V4(v4);
    }
    network
}

/// The networks that an address, a network or the name of a set stands for.
///
/// # Errors
/// That it is none of them.
pub fn networks(item: &str) -> Result<Vec<IpNet>, String> {
    Ok(parse(item, "")?.0.0)
}

/// A comma list of addresses, networks and sets, with warnings, by the name of the `variable`, for what is accepted but
/// odd.
pub(super) fn parse(text: &str, variable: &str) -> Result<(TrustedProxies, Vec<String>), String> {
    let mut networks = Vec::new();
    let mut warnings = Vec::new();
    let items = text.split([',', ' ', '\t']).filter(|item| !item.is_empty());
    for item in items {
        if let Some(set) = set(item) {
            // The sets are constants; their text is covered by a test.
            networks.extend(set.iter().filter_map(|net| net.parse::<IpNet>().ok()));
            continue;
        }
        let network = network(item)?;
        if network.prefix_len() == 0 {
            warnings.push(format!(
                "{variable}: {item} lets every client choose the address it is seen with"
            ));
        } else if network.trunc() != network {
            warnings.push(format!(
                "{variable}: {item} is taken as {}",
                network.trunc()
            ));
        }
        networks.push(network.trunc());
    }
    Ok((TrustedProxies::new(networks), warnings))
}

fn network(item: &str) -> Result<IpNet, String> {
    item.parse::<IpNet>()
        .ok()
        .or_else(|| item.parse::<IpAddr>().ok().map(IpNet::from))
        .ok_or_else(|| {
            let known = SETS.iter().map(|(name, _)| *name);
            match nearest(item, known) {
                Some(near) => format!("`{}` is unknown; did you mean {near}?", item.escape_debug()),
                None => format!("`{}` is unknown; {ACCEPTED}", item.escape_debug()),
            }
        })
}

fn set(item: &str) -> Option<&'static [&'static str]> {
    let name = item.to_ascii_lowercase();
    let known = SETS.iter().find(|(known, _)| *known == name);
    known.map(|(_, nets)| *nets)
}

const ACCEPTED: &str = "expected addresses, networks such as 10.0.0.0/8, or the sets private, \
     loopback, docker, tailscale, cloudflare, cloudfront, fastly";

const SETS: [(&str, &[&str]); 7] = [
    // RFC 1918, RFC 4193.
    (
        "private",
        &["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"],
    ),
    ("loopback", &["127.0.0.0/8", "::1/128"]),
    // The engine's default address pools, 172.17.0.0 to 172.31.255.255. Its last pool,
    // 192.168.0.0/16, is left out: on most machines that is the home network.
    (
        "docker",
        &[
            "172.17.0.0/16",
            "172.18.0.0/15",
            "172.20.0.0/14",
            "172.24.0.0/13",
        ],
    ),
    // Shared address space (RFC 6598) and ULA of a tailnet: https://tailscale.com/kb/1015/100.x-addresses
    ("tailscale", &["100.64.0.0/10", "fd7a:115c:a1e0::/48"]),
    // https://api.fastly.com/public-ip-list
    (
        "fastly",
        &[
            "23.235.32.0/20",
            "43.249.72.0/22",
            "103.244.50.0/24",
            "103.245.222.0/23",
            "103.245.224.0/24",
            "104.156.80.0/20",
            "140.248.64.0/18",
            "140.248.128.0/17",
            "146.75.0.0/17",
            "151.101.0.0/16",
            "157.52.64.0/18",
            "167.82.0.0/17",
            "167.82.128.0/20",
            "167.82.160.0/20",
            "167.82.224.0/20",
            "172.111.64.0/18",
            "185.31.16.0/22",
            "199.27.72.0/21",
            "199.232.0.0/16",
            "2a04:4e40::/32",
            "2a04:4e42::/32",
        ],
    ),
    // https://ip-ranges.amazonaws.com/ip-ranges.json of 2026-08-22, service CLOUDFRONT_ORIGIN_FACING: those it asks
    // origins from, neighbours put together.
    (
        "cloudfront",
        &[
            "3.29.57.0/26",
            "3.172.0.0/17",
            "13.124.199.0/24",
            "15.158.0.0/16",
            "18.68.0.0/16",
            "24.110.128.0/17",
            "52.46.0.0/18",
            "52.82.128.0/23",
            "52.82.134.0/23",
            "54.182.128.0/20",
            "54.182.144.0/21",
            "54.182.154.0/23",
            "54.182.156.0/22",
            "54.182.160.0/21",
            "54.182.172.0/22",
            "54.182.176.0/21",
            "54.182.184.0/22",
            "54.182.188.0/23",
            "54.182.224.0/21",
            "54.182.240.0/21",
            "54.182.248.0/22",
            "54.239.134.0/23",
            "54.239.170.0/23",
            "54.239.204.0/22",
            "54.239.208.0/21",
            "64.252.64.0/18",
            "64.252.128.0/18",
            "70.132.0.0/18",
            "130.176.0.0/18",
            "130.176.64.0/21",
            "130.176.72.0/22",
            "130.176.76.0/24",
            "130.176.78.0/23",
            "130.176.80.0/22",
            "130.176.86.0/23",
            "130.176.88.0/21",
            "130.176.96.0/19",
            "130.176.128.0/21",
            "130.176.136.0/23",
            "130.176.140.0/22",
            "130.176.144.0/20",
            "130.176.160.0/19",
            "130.176.192.0/19",
            "204.246.166.0/24",
            "205.251.218.0/24",
            "2600:9000:1000::/36",
            "2600:9000:5200::/40",
            "2600:9000:6000::/36",
        ],
    ),
    // https://www.cloudflare.com/ips/
    (
        "cloudflare",
        &[
            "173.245.48.0/20",
            "103.21.244.0/22",
            "103.22.200.0/22",
            "103.31.4.0/22",
            "141.101.64.0/18",
            "108.162.192.0/18",
            "190.93.240.0/20",
            "188.114.96.0/20",
            "197.234.240.0/22",
            "198.41.128.0/17",
            "162.158.0.0/15",
            "104.16.0.0/13",
            "104.24.0.0/14",
            "172.64.0.0/13",
            "131.0.72.0/22",
            "2400:cb00::/32",
            "2606:4700::/32",
            "2803:f800::/32",
            "2405:b500::/32",
            "2405:8100::/32",
            "2a06:98c0::/29",
            "2c0f:f248::/32",
        ],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn trusts(list: &str, peer: &str) -> bool {
        parse(list, "X").unwrap().0.contains(peer.parse().unwrap())
    }

    #[test]
    fn peers_match_in_either_family() {
        for (list, peer, trusted) in [
            ("10.0.0.0/8", "10.1.2.3", true),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("::ffff:10.0.0.0/104", "10.1.2.3", true),
            ("::ffff:10.0.0.5", "10.0.0.5", true),
            ("10.0.0.1/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.8", false),
            ("2001:db8::/32 , loopback", "2001:db8::1", true),
            ("loopback", "::1", true),
            ("loopback", "::ffff:127.0.0.1", true),
            ("private", "fd00::1", true),
            ("private", "127.0.0.1", false),
            ("Docker", "172.17.0.1", true),
            ("docker", "172.31.255.1", true),
            ("docker", "172.16.0.1", false),
            ("docker", "192.168.1.1", false),
            ("cloudflare", "104.16.0.9", true),
            ("cloudflare", "2606:4700::1", true),
            ("cloudfront", "130.176.88.10", true),
            ("cloudfront", "2600:9000:1fff::1", true),
            ("cloudfront", "52.95.1.1", false),
            ("fastly", "151.101.1.1", true),
            ("0.0.0.0/0", "2001:db8::1", false),
        ] {
            assert_eq!(trusts(list, peer), trusted, "{list} {peer}");
        }
        assert!(!TrustedProxies::default().contains("127.0.0.1".parse().unwrap()));
    }

    #[test]
    fn every_network_of_a_set_is_one() {
        for (name, nets) in SETS {
            assert_eq!(
                parse(name, "X").unwrap().0.networks().len(),
                nets.len(),
                "{name}"
            );
        }
    }

    #[test]
    fn wrong_items_are_named() {
        for (list, reason) in [
            (
                "10.0.0.0/33",
                "`10.0.0.0/33` is unknown; expected addresses",
            ),
            ("privat", "`privat` is unknown; did you mean private?"),
            (
                "cloudfronts",
                "`cloudfronts` is unknown; did you mean cloudfront?",
            ),
            ("10.0.0.1;10.0.0.2", "`10.0.0.1;10.0.0.2` is unknown"),
        ] {
            let fault = parse(list, "X").unwrap_err();
            assert!(fault.starts_with(reason), "{list}: {fault}");
        }
    }

    #[test]
    fn odd_items_are_warned_about() {
        assert_eq!(parse("10.1.2.3/8", "X").unwrap().1.len(), 1);
        assert_eq!(parse("0.0.0.0/0, ::/0", "X").unwrap().1.len(), 2);
        assert_eq!(parse("10.0.0.0/8", "X").unwrap().1.len(), 0);
    }
}
