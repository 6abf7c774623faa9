//! `wharf.upstream: published`: a container by the port it publishes on the host.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::docker::labels::Dial;
use crate::docker::{Container, Published};

/// Where the host's published ports are, seen from Wharf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Host {
    /// Wharf is there, too.
    Here,
    /// Behind the gateway of a network of Wharf's container, if one has any.
    Behind(Option<IpAddr>),
}

/// The address of a port that `container` publishes: the one `wharf.port` names, else the only one. Or
/// the reason why there is none.
pub(super) fn address(
    container: &Container,
    dial: &Dial,
    host: Host,
) -> Result<SocketAddr, String> {
    if container.network_mode == "host" {
        return Err(
            "uses the host's network and publishes nothing: leave wharf.upstream out".to_owned(),
        );
    }
    let published = &container.published;
    let mut privates: Vec<u16> = published.iter().map(|entry| entry.private).collect();
    privates.sort_unstable();
    privates.dedup();
    let port = match (dial.port, privates.as_slice()) {
        (_, []) => {
            return Err(
                "publishes no port: publish one, or leave wharf.upstream out and share a network with Wharf"
                    .to_owned(),
            );
        }
        (Some(port), all) if all.contains(&port) => port,
        (Some(port), all) => {
            return Err(format!(
                "does not publish port {port}: it publishes {}",
                list(all)
            ));
        }
        (None, [port]) => *port,
        (None, all) => {
            return Err(format!(
                "publishes several ports ({}): set wharf.port to choose",
                list(all)
            ));
        }
    };
    let entries = published.iter().filter(|entry| entry.private == port);
    let best = entries.clone().filter_map(|entry| seen(entry, host)).min();
    best.map(|(_, address)| address).ok_or_else(|| {
        let addresses = entries.filter_map(|entry| entry.ip);
        let addresses: Vec<String> = addresses.take(MAX_SHOWN).map(|ip| ip.to_string()).collect();
        match host {
            Host::Behind(None) => {
                "Wharf's own container has no network with a gateway to the host".to_owned()
            }
            _ => format!(
                "publishes port {port} on {} only, where Wharf's container cannot reach it: publish it on all addresses of the host, or share a network with Wharf",
                addresses.join(", ")
            ),
        }
    })
}

/// How good an address is, and the address.
fn seen(entry: &Published, host: Host) -> Option<(u8, SocketAddr)> {
    let all_v4 = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let (rank, ip) = match (entry.ip.unwrap_or(all_v4), host) {
        (ip, Host::Here) if ip == all_v4 => (0, IpAddr::V4(Ipv4Addr::LOCALHOST)),
        (ip, Host::Behind(gateway)) if ip == all_v4 => (0, gateway?),
        (ip, Host::Here) if ip.is_unspecified() => (3, IpAddr::V6(Ipv6Addr::LOCALHOST)),
        (ip, Host::Behind(_)) if ip.is_unspecified() || ip.is_loopback() => return None,
        (ip, _) if ip.is_loopback() => (1, ip),
        (ip, _) => (2, ip),
    };
    Some((rank, SocketAddr::new(ip, entry.public)))
}

fn list(ports: &[u16]) -> String {
    let shown: Vec<String> = ports.iter().take(MAX_SHOWN).map(u16::to_string).collect();
    let more = if ports.len() > MAX_SHOWN { ", ..." } else { "" };
    shown.join(", ") + more
}

/// Ports and addresses named in a message.
const MAX_SHOWN: usize = 8;
