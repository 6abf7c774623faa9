//! Claims -> upstreams: the endpoints behind each route.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::docker::labels::{Dial, UpstreamAt, UpstreamLabel, excerpt};
use crate::docker::{Container, Health, State};
use crate::model::{
    Address, AppTls, EndpointSpec, HealthCheck, Host, HostPattern, Plan, Problem, Severity,
    UpstreamKey, UpstreamSpec, Via,
};

use super::Claim;
use super::member::{Member, Owner};
use super::outside;
use super::reach::{Apart, Reach};

/// The upstream of every claim, once each, sorted by key.
pub(super) fn upstreams(
    claims: &[Claim<'_>],
    reach: &Reach<'_>,
    previous: &Plan,
    problems: &mut Vec<Problem>,
) -> Vec<UpstreamSpec> {
    let mut wanted: BTreeMap<&UpstreamKey, Vec<&Claim<'_>>> = BTreeMap::new();
    for claim in claims {
        wanted.entry(&claim.route.upstream).or_default().push(claim);
    }
    let mut upstreams = Vec::new();
    for (key, claims) in wanted {
        if key.is_of_files() {
            upstreams.push(UpstreamSpec {
                key: key.clone(),
                endpoints: Vec::new(),
                unreachable: Vec::new(),
                awaited: false,
            });
            continue;
        }
        let at = previous.upstreams.binary_search_by(|up| up.key.cmp(key));
        let kept = claims.iter().any(|claim| claim.kept);
        let before = at.ok().filter(|_| kept);
        let before = before.and_then(|index| previous.upstreams.get(index));
        upstreams.extend(claims.first().map(|c| upstream(c, reach, before, problems)));
    }
    upstreams
}

fn upstream(
    claim: &Claim<'_>,
    reach: &Reach<'_>,
    before: Option<&UpstreamSpec>,
    problems: &mut Vec<Problem>,
) -> UpstreamSpec {
    let key = claim.route.upstream.clone();
    // The owner's upstream is dialled as the default route says, a named one as its route does.
    let route = key.0.split_once('#').map(|(_, route)| route);
    let mut spec = UpstreamSpec {
        key: key.clone(),
        endpoints: Vec::new(),
        unreachable: Vec::new(),
        awaited: false,
    };
    for member in claim.owner.into_iter().flat_map(Owner::replicas) {
        let dial = match route.map(|route| member.route(Some(route))) {
            None => &member.labels.dial,
            Some(Some(named)) => &named.dial,
            Some(None) => continue, // its port for this route is not known
        };
        if dial.upstream_broken {
            let name = excerpt(&member.container.name);
            // Addresses of containers may be other ones' by now.
            let before = before.into_iter().flat_map(|up| &up.endpoints);
            let outside: Vec<_> = before
                .filter(|one| one.via == Via::Label)
                .cloned()
                .collect();
            if outside.is_empty() {
                let reason = format!("{name}: its wharf.upstream cannot be used");
                spec.unreachable.push(reason);
            }
            spec.endpoints.extend(outside);
            continue;
        }
        let as_before;
        let dial = if dial.tls_broken {
            // It must not be spoken to in another way than was asked for: as before, or not at all.
            let Some(known) = known(member.container, before) else {
                let name = excerpt(&member.container.name);
                let reason = format!("{name}: a label about HTTPS to the app cannot be used");
                spec.unreachable.push(reason);
                continue;
            };
            as_before = dial.clone().spoken(known.proto, known.tls.as_ref());
            &as_before
        } else {
            dial
        };
        if let Some(label) = &dial.upstream
            && let UpstreamAt::Origins(origins) = &label.at
            && member.defines
        {
            let health = health(member.container, dial, before);
            let names = reach.names;
            let how = (dial, &health);
            outside::endpoints(member, label, origins, how, names, &mut spec, problems);
            continue;
        }
        if let Some(why) = absence(member.container, dial) {
            let name = excerpt(&member.container.name);
            spec.unreachable.push(format!("{name} {why}"));
            spec.awaited = true;
            continue;
        }
        let hosts = member.route(route).map(|route| &route.hosts);
        let host = hosts.unwrap_or(&claim.route.hosts);
        let host = host.iter().find_map(HostPattern::exact);
        match endpoint(member, (dial, host), reach, before, problems) {
            Ok(endpoint) => spec.endpoints.push(endpoint),
            Err(apart) => {
                spec.awaited |= apart.passing;
                spec.unreachable.push(apart.sentence);
            }
        }
    }
    if spec.endpoints.is_empty() && spec.unreachable.is_empty() {
        let name = excerpt(&claim.route.container);
        spec.unreachable.push(format!("{name} has been removed"));
        spec.awaited = true;
    }
    let forced = |claim: &Claim<'_>| {
        let share = claim.route.share.as_ref();
        claim.shared && share.is_some_and(|share| !share.canary.is_empty())
    };
    if forced(claim) && spec.endpoints.iter().all(|endpoint| endpoint.weight == 0) {
        // A service without a share of its own: those who ask for it by its canary must get it.
        for endpoint in &mut spec.endpoints {
            endpoint.weight = 1;
        }
    }
    spec.endpoints
        .sort_by(|a, b| a.container_id.cmp(&b.container_id));
    // Several containers may name one address outside.
    spec.endpoints
        .dedup_by(|a, b| a.container_id == b.container_id);
    spec.unreachable.sort();
    spec
}

/// Why a container gets no requests for a time, whatever its address.
pub(super) fn absence(container: &Container, dial: &Dial) -> Option<String> {
    let on_networks = !matches!(container.network_mode.as_str(), "host" | "none")
        && !container.network_mode.starts_with("container:");
    let why = match container.state {
        State::Stopping => "is stopping",
        State::Paused => "is paused",
        State::Restarting => "is restarting",
        State::Created => "has not been started",
        State::Exited => "has exited",
        State::Other => "is not running",
        // As it is while the engine takes it down.
        State::Running if on_networks && container.networks.is_empty() => "is on no network",
        State::Running if !dial.health.heeds_docker() => return None,
        State::Running => match container.health {
            Health::Starting => "is starting (its HEALTHCHECK has not passed yet)",
            Health::Unhealthy => "is unhealthy (its HEALTHCHECK fails)",
            Health::None | Health::Healthy => return None,
        },
    };
    Some(match &container.complaint {
        Some(complaint) => format!("{why}: {}", excerpt(complaint)),
        None => why.to_owned(),
    })
}

/// A container's endpoint, or the sentence that says why it has none.
fn endpoint(
    member: &Member<'_>,
    (dial, host): (&Dial, Option<&Host>),
    reach: &Reach<'_>,
    before: Option<&UpstreamSpec>,
    problems: &mut Vec<Problem>,
) -> Result<EndpointSpec, Apart> {
    let container = member.container;
    let label = dial.upstream.as_ref();
    let (addr, via) = match label.map(|label| (label, &label.at)) {
        Some((label, UpstreamAt::Published)) if !dial.port_broken => {
            let found = reach.published(container, dial);
            let found = found.map_err(|reason| unusable(container, label, reason, problems));
            (found?.into(), Via::Published)
        }
        Some((label, UpstreamAt::Socket(path))) => {
            let found = reach.socket(path);
            let found = found.map_err(|reason| unusable(container, label, reason, problems));
            (found?, Via::Socket)
        }
        _ => {
            // First: without a network, the engine tells no ports either.
            let (ip, via) = reach.address(container, dial.network.as_ref(), problems)?;
            let port = port(container, dial, before, problems).map_err(Apart::lasting)?;
            (SocketAddr::new(ip, port).into(), via)
        }
    };
    let exposed = exposed(container);
    let tls: Option<AppTls> = dial.proto.is_tls().then(|| dial.tls(host));
    Ok(EndpointSpec {
        container_id: container.id.clone(),
        container: container.name.clone(),
        created: container.created,
        ended: container.ended,
        authority: authority(&addr, tls.is_some()),
        addr,
        via,
        proto: dial.proto,
        tls,
        exposed: exposed
            .into_iter()
            .take(EndpointSpec::MAX_EXPOSED)
            .collect(),
        weight: member.labels.weight.unwrap_or(1),
        backup: member.labels.backup,
        fail: member.labels.fail,
        health: health(container, dial, before),
        max_conns: member.labels.max_conns,
    })
}

/// Why the address that `label` names is none.
fn unusable(
    container: &Container,
    label: &UpstreamLabel,
    reason: String,
    problems: &mut Vec<Problem>,
) -> Apart {
    let sentence = format!("{}: {reason}", excerpt(&container.name));
    problems.push(label.problem(&container.name, Severity::Error, reason));
    Apart::lasting(sentence)
}

/// An address as a Host field names it: without the scheme's own port.
fn authority(addr: &Address, tls: bool) -> String {
    let Some(addr) = addr.tcp() else {
        return "localhost".to_owned(); // as nginx and curl do
    };
    match (addr, addr.port()) {
        (_, port) if port != if tls { 443 } else { 80 } => addr.to_string(),
        (SocketAddr::V4(v4), _) => v4.ip().to_string(),
        (SocketAddr::V6(v6), _) => format!("[{}]", v6.ip()),
    }
}

/// With a label that could not be used, the check of `before`, the upstream of a route that is kept.
fn health(container: &Container, dial: &Dial, before: Option<&UpstreamSpec>) -> HealthCheck {
    if !dial.health_broken {
        return dial.health.clone();
    }
    known(container, before)
        .map(|endpoint| endpoint.health.clone())
        .unwrap_or_default()
}

/// What `before` says of the container, or of another replica.
fn known<'a>(container: &Container, before: Option<&'a UpstreamSpec>) -> Option<&'a EndpointSpec> {
    let endpoints = || before.into_iter().flat_map(|up| &up.endpoints);
    let same = endpoints().find(|endpoint| endpoint.container_id == container.id);
    same.or_else(|| endpoints().next())
}

/// The port label; without one the lowest exposed port (product.md S1). With a label that could not
/// be used, the port of `before`, the upstream of a route that is kept; no other may be guessed.
fn port(
    container: &Container,
    dial: &Dial,
    before: Option<&UpstreamSpec>,
    problems: &mut Vec<Problem>,
) -> Result<u16, String> {
    let name = excerpt(&container.name);
    if dial.port_broken {
        return known(container, before)
            .map(|endpoint| endpoint.addr.port())
            .ok_or_else(|| format!("{name}: its wharf.port cannot be used"));
    }
    if let Some(port) = dial.port {
        return Ok(port);
    }
    let exposed = exposed(container);
    let (severity, reason, port) = match exposed.as_slice() {
        [port] => return Ok(*port),
        [] => (
            Severity::Error,
            "exposes no TCP port: set wharf.port to the one the app listens on".to_owned(),
            None,
        ),
        [lowest, others @ ..] => {
            let shown: Vec<String> = others
                .iter()
                .take(EndpointSpec::MAX_EXPOSED)
                .map(u16::to_string)
                .collect();
            let more = if others.len() > EndpointSpec::MAX_EXPOSED {
                ", ..."
            } else {
                ""
            };
            let reason = format!(
                "exposes several ports: using {lowest}, not {}{more}; set wharf.port to choose",
                shown.join(", ")
            );
            (Severity::Warning, reason, Some(*lowest))
        }
    };
    problems.push(Problem {
        severity,
        container: container.name.clone(),
        label: String::new(),
        value: String::new(),
        reason: reason.clone(),
    });
    port.ok_or_else(|| format!("{name}: {reason}"))
}

/// Sorted.
fn exposed(container: &Container) -> Vec<u16> {
    let ports = container.exposed.iter().copied();
    let mut exposed: Vec<u16> = ports.filter(|port| *port > 0).collect();
    exposed.sort_unstable();
    exposed.dedup();
    exposed
}
