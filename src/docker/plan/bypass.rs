//! Ports that Wharf serves and the host publishes beside it (product.md S65).

use std::collections::BTreeMap;

use crate::docker::labels::excerpt;
use crate::docker::{Container, Snapshot};
use crate::model::{EndpointSpec, Problem, Severity, UpstreamSpec, Via};

/// Warns, once per container, of ports that clients can reach from everywhere without Wharf. Not where
/// Wharf itself was told to go there, nor where the port is published on some address only: somebody has
/// thought about that.
pub(super) fn warn(snapshot: &Snapshot, upstreams: &[UpstreamSpec], problems: &mut Vec<Problem>) {
    let containers = snapshot.containers.iter();
    let containers: BTreeMap<&str, &Container> = containers.map(|c| (c.id.as_str(), c)).collect();
    let mut warned: BTreeMap<&str, String> = BTreeMap::new();
    let on_networks = |one: &&EndpointSpec| matches!(one.via, Via::Network { .. });
    let endpoints = upstreams.iter().flat_map(|up| &up.endpoints);
    for endpoint in endpoints.filter(on_networks) {
        let Some(container) = containers.get(endpoint.container_id.as_str()) else {
            continue;
        };
        let port = endpoint.addr.port();
        let open = container
            .published
            .iter()
            .find(|entry| entry.private == port && entry.ip.is_none_or(|ip| ip.is_unspecified()));
        if let Some(open) = open {
            warned.entry(&container.name).or_insert_with(|| format!(
                "its port {port} is also published on every address of the host, as {}: clients can go past Wharf, its TLS and its access rules; take it out of `ports`, or publish it as 127.0.0.1:{}:{port}",
                open.public, open.public
            ));
        }
    }
    problems.extend(warned.into_iter().map(|(name, reason)| Problem {
        severity: Severity::Warning,
        container: excerpt(name),
        label: String::new(),
        value: String::new(),
        reason,
    }));
}
