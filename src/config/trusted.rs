//! Which peers' forwarding headers are believed.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

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
