//! Who asks, and how much of what goes wrong may be told to them.

use std::net::IpAddr;

use super::error;
use super::fields::{Fields, Known};
use super::head::RequestHead;
use super::headers::{self, HostName};
use crate::config::TrustedProxies;
use crate::model::{Host, HostPattern};
use crate::route::RouteTable;

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client {
    /// The peer, or the client a trusted proxy names.
    pub(crate) address: IpAddr,
    /// Whether the peer is a trusted proxy.
    pub(crate) trusted: bool,
}

impl Client {
    pub(crate) fn of(proxies: &TrustedProxies, peer: IpAddr, fields: Fields<'_>) -> Self {
        let trusted = !proxies.is_empty() && proxies.contains(peer);
        let address = if trusted {
            headers::client_address(peer, fields, |address| proxies.contains(address))
        } else {
            peer
        };
        Self { address, trusted }
    }
}

/// Containers and addresses are named to clients on private networks only. A gateway of Wharf's own
/// container may stand for anybody (Docker's userland proxy), so it learns only of local names that
/// a route has; a proxy nobody vouched for learns nothing.
pub(crate) fn may_see_details(table: &RouteTable, head: &RequestHead, client: Client) -> bool {
    let fields = head.fields();
    let relayed = [Known::Via, Known::Forwarded, Known::XForwardedFor];
    let local_name = || {
        head.authority()
            .and_then(HostName::parse)
            .filter(|name| Host::parse(name.as_str()).is_ok_and(|host| host.is_local()))
            .and_then(|name| table.find_host(name.as_str()))
            .is_some_and(|entry| entry.pattern != HostPattern::Default)
    };
    error::is_private(client.address)
        && (client.trusted || !relayed.iter().any(|name| fields.has(*name)))
        && (!table.gateways.contains(&client.address) || local_name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{PathPattern, Plan, RouteKey, RouteSpec, Settings};
    use crate::model::{UpstreamKey, UpstreamSpec};
    use crate::upstream::Secret;

    fn table(hosts: &[&str]) -> RouteTable {
        let upstream = UpstreamSpec {
            key: UpstreamKey("u".into()),
            endpoints: Vec::new(),
            unreachable: Vec::new(),
            awaited: false,
        };
        let patterns = hosts.iter().map(|host| HostPattern::parse(host).unwrap());
        let route = RouteSpec {
            key: RouteKey("r".into()),
            hosts: patterns.collect(),
            path: PathPattern::root(),
            conditions: Vec::new(),
            upstream: upstream.key.clone(),
            auth: None,
            error_servers: Vec::new(),
            settings: Settings::default(),
            container: "c".into(),
            service: "c".into(),
            version: None,
            owner: "o".into(),
            share: None,
            fault: None,
        };
        let plan = Plan {
            routes: vec![route],
            upstreams: vec![upstream],
            ..Plan::default()
        };
        let mut table = {
            let secret = Secret::new(&[0; 32]);
            let now = std::time::Instant::now();
            crate::route::compile(&plan, &RouteTable::default(), &secret, now)
        };
        table.gateways.push([172, 18, 0, 1].into());
        table
    }

    fn sees(client: &str, host: &str, field: &str) -> bool {
        let table = table(&["a.example.com", "a.localhost", "default"]);
        let request = RequestHead::get("/", &[("host", host), (field, "x")]);
        let (address, trusted) = match client.strip_prefix("trusted ") {
            Some(address) => (address, true),
            None => (client, false),
        };
        let address = address.parse().unwrap();
        may_see_details(&table, &request, Client { address, trusted })
    }

    #[test]
    fn a_gateway_of_our_own_may_be_anybody_and_sees_details_of_local_names_only() {
        for (client, host, expected) in [
            ("127.0.0.1", "a.example.com", true),
            ("172.18.0.9", "a.example.com", true),
            ("203.0.113.7", "a.localhost", false),
            ("172.18.0.1", "a.example.com", false),
            ("trusted 172.18.0.1", "a.example.com", false),
            ("172.18.0.1", "a.localhost", true),
            // Anybody can say a local name where every name has a route.
            ("172.18.0.1", "b.localhost", false),
            ("172.18.0.1", "10.0.0.1", false),
        ] {
            assert_eq!(sees(client, host, "x-other"), expected, "{client} {host}");
        }
    }

    #[test]
    fn a_proxy_nobody_vouched_for_sees_no_details() {
        for field in ["x-forwarded-for", "forwarded", "via"] {
            assert!(!sees("127.0.0.1", "a.localhost", field), "{field}");
            assert!(!sees("172.18.0.1", "a.localhost", field), "{field}");
            assert!(sees("trusted 10.0.0.1", "a.localhost", field), "{field}");
        }
    }
}
