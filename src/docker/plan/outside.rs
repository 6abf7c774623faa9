//! Endpoints that are no container: addresses and names in `wharf.upstream`.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use crate::docker::labels::{
    Dial, MAX_ORIGINS, Origin, UpstreamAt, UpstreamLabel, excerpt, refused,
};
use crate::model::{
    EndpointSpec, HealthCheck, Host, Lookup, Names, Problem, Severity, UpstreamSpec, Via,
};

use super::Claim;
use super::member::{Member, Owner};

/// Adds the endpoints `label` names to `spec`, which leads to them by the labels of `member`.
pub(super) fn endpoints(
    member: &Member<'_>,
    label: &UpstreamLabel,
    origins: &[Origin],
    (dial, health): (&Dial, &HealthCheck),
    names: &Names,
    spec: &mut UpstreamSpec,
    problems: &mut Vec<Problem>,
) {
    for origin in origins {
        let endpoint = |ip| endpoint(member, ip, origin, dial, health);
        if let Some(ip) = origin.host.ip() {
            spec.endpoints.push(endpoint(ip));
            continue;
        }
        let name = origin.host.as_str();
        let mut tell = |severity, reason: String| {
            problems.push(label.problem(&member.container.name, severity, reason));
        };
        let missing = match names.0.get(name) {
            None => {
                spec.awaited = true;
                Some(format!("`{name}` is being looked up"))
            }
            Some(lookup) => {
                let usable = |ip: &&IpAddr| refused(**ip).is_none();
                let found = lookup.addresses().iter().filter(usable).take(MAX_ORIGINS);
                let before = spec.endpoints.len();
                let found = found.map(|ip| endpoint(*ip));
                spec.endpoints.extend(found);
                let none = spec.endpoints.len() == before;
                match lookup {
                    Lookup::Failed { why, .. } if none => {
                        let reason = format!("`{name}` cannot be looked up: {why}");
                        tell(Severity::Error, reason.clone());
                        Some(reason)
                    }
                    Lookup::Failed { why, .. } => {
                        let reason = format!(
                            "`{name}` cannot be looked up, its last addresses are used: {why}"
                        );
                        tell(Severity::Warning, reason);
                        None
                    }
                    Lookup::Found(addresses) if none => {
                        let why = addresses.first().and_then(|ip| refused(*ip));
                        let reason = format!("`{name}`: {}", why.unwrap_or("it has no address"));
                        tell(Severity::Error, reason.clone());
                        Some(reason)
                    }
                    Lookup::Found(_) => None,
                }
            }
        };
        let container = excerpt(&member.container.name);
        spec.unreachable
            .extend(missing.map(|reason| format!("{container}: {reason}")));
    }
}

/// The names that claims lead to, sorted; at most [`MAX_NAMES`].
pub(super) fn names(claims: &[Claim<'_>]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for member in claims
        .iter()
        .flat_map(|claim| claim.owner)
        .flat_map(Owner::replicas)
    {
        let routes = member.labels.routes.iter().map(|route| &route.dial);
        for dial in routes.chain([&member.labels.dial]) {
            let Some(UpstreamAt::Origins(origins)) = dial.upstream.as_ref().map(|label| &label.at)
            else {
                continue;
            };
            let of_names = origins.iter().filter(|origin| origin.host.ip().is_none());
            names.extend(of_names.map(|origin| origin.host.as_str().to_owned()));
        }
    }
    while names.len() > MAX_NAMES {
        names.pop_last();
    }
    names
}

/// Known by its address: whoever names it, and however often that container is made anew.
fn endpoint(
    member: &Member<'_>,
    ip: IpAddr,
    origin: &Origin,
    dial: &Dial,
    health: &HealthCheck,
) -> EndpointSpec {
    let addr = SocketAddr::new(ip.to_canonical(), origin.port);
    let scheme = origin.proto;
    // An address is its own name.
    let name: Option<&Host> = origin.host.ip().is_none().then_some(&origin.host);
    EndpointSpec {
        container_id: format!("{scheme}://{addr}"),
        container: member.container.name.clone(),
        created: member.container.created,
        ended: 0,
        addr: addr.into(),
        via: Via::Label,
        proto: origin.proto,
        tls: origin.proto.is_tls().then(|| dial.tls(name)),
        authority: origin.authority(),
        exposed: Vec::new(),
        weight: member.labels.weight.unwrap_or(1),
        backup: member.labels.backup,
        fail: member.labels.fail,
        health: health.clone(),
        max_conns: member.labels.max_conns,
    }
}

/// Names that are looked up for all containers together.
const MAX_NAMES: usize = 256;
