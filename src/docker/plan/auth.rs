//! Servers that routes ask: who gets in (`wharf.auth.forward`), for pages (`wharf.errors`). Which containers they are.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use crate::docker::labels::{Dial, MAX_ORIGINS, excerpt, refused};
use crate::docker::{Container, Snapshot};
use crate::model::{
    EndpointSpec, ErrorPage, FailLimit, ForwardAt, HealthCheck, Lookup, MaxConns, Problem, Proto,
    Severity, UpstreamKey, UpstreamSpec, Via,
};

use super::Claim;
use super::member::is_one_off;
use super::reach::Reach;
use super::upstream::absence;

/// Names each route's servers and adds the upstreams of them all, which stay sorted by key. What is no
/// container has to be looked up: its name is added to `names`.
pub(super) fn upstreams(
    claims: &mut [Claim<'_>],
    snapshot: &Snapshot,
    reach: &Reach<'_>,
    upstreams: &mut Vec<UpstreamSpec>,
    names: &mut BTreeSet<String>,
    problems: &mut Vec<Problem>,
) {
    let mut found: BTreeMap<UpstreamKey, UpstreamSpec> = BTreeMap::new();
    for claim in claims.iter_mut() {
        // Of a compose service; no other name holds a slash.
        let service = claim.route.service.clone();
        let project = service.split_once('/').map(|(project, _)| project);
        let container = claim.route.container.clone();
        let mut server = |at: &ForwardAt, label: &str| {
            let known = Known::of(snapshot, at, project);
            let scheme = if at.https { "https" } else { "http" };
            let authority = at.authority();
            let key = UpstreamKey(match (&known, project) {
                (Known::Sibling(_), Some(project)) => {
                    format!("server:{scheme}://{project}/{authority}")
                }
                _ => format!("server:{scheme}://{authority}"),
            });
            if known.is_nobody() && at.host.ip().is_none() && names.len() < MAX_NAMES {
                names.insert(at.host.as_str().to_owned());
            }
            let mut told = Vec::new();
            let spec = found
                .entry(key.clone())
                .or_insert_with(|| upstream(&key, at, &known, reach, &mut told));
            let own = upstreams.iter().find(|up| up.key == claim.route.upstream);
            let mut own = own.into_iter().flat_map(|up| &up.endpoints);
            let asks = label == AUTH;
            if asks && own.any(|one| spec.endpoints.iter().any(|auth| auth.addr == one.addr)) {
                told.push((Severity::Warning, SELF.to_owned()));
            }
            problems.extend(told.into_iter().map(|(severity, reason)| Problem {
                severity,
                container: container.clone(),
                label: label.to_owned(),
                value: excerpt(&at.to_string()),
                reason,
            }));
            key
        };
        let settings = &claim.route.settings;
        let auth = (settings.access.forward.as_ref()).map(|forward| server(&forward.at, AUTH));
        let pages = settings.errors.iter().flat_map(|errors| &errors.rules);
        let pages = pages.filter_map(|rule| match &rule.page {
            ErrorPage::Server(at) => Some(server(at, ERRORS)),
            ErrorPage::File(_) | ErrorPage::App(_) => None,
        });
        let pages = pages.collect();
        claim.route.auth = auth;
        claim.route.error_servers = pages;
    }
    upstreams.extend(found.into_values());
    upstreams.sort_by(|a, b| a.key.cmp(&b.key));
    upstreams.dedup_by(|a, b| a.key == b.key);
}

/// Who has a name.
enum Known<'a> {
    /// Containers of the compose project that asks.
    Sibling(Vec<&'a Container>),
    Others(Vec<&'a Container>),
    /// Services of several projects: anybody who may start a container could have added one.
    Several(BTreeSet<String>),
    Nobody,
}

impl<'a> Known<'a> {
    /// In this order: a service of the project that asks, a container, a Swarm service, a service with its project
    /// in front, as compose names containers, and a service of any project if there is only one.
    fn of(snapshot: &'a Snapshot, at: &ForwardAt, project: Option<&str>) -> Self {
        let name = at.host.as_str();
        if at.host.ip().is_some() || name.contains('.') {
            return Self::Nobody;
        }
        let containers = || snapshot.containers.iter().filter(|c| !is_one_off(c));
        let label = |c: &'a Container, key: &str| c.labels.get(key).map(String::as_str);
        let is = |text: Option<&str>| text.is_some_and(|text| text.eq_ignore_ascii_case(name));
        let service = |c: &&Container| is(label_of(c, SERVICE));
        if let Some(project) = project {
            let siblings: Vec<_> = containers()
                .filter(service)
                .filter(|c| label(c, PROJECT) == Some(project))
                .collect();
            if !siblings.is_empty() {
                return Self::Sibling(siblings);
            }
        }
        let named: Vec<_> = containers().filter(|c| is(Some(&c.name))).collect();
        if !named.is_empty() {
            return Self::Others(named);
        }
        let swarm: Vec<_> = containers().filter(|c| is(label_of(c, SWARM))).collect();
        if !swarm.is_empty() {
            return Self::Others(swarm);
        }
        let full: Vec<_> = containers()
            .filter(|c| match (label_of(c, PROJECT), label_of(c, SERVICE)) {
                (Some(project), Some(service)) => ['-', '_']
                    .iter()
                    .any(|dash| is(Some(&format!("{project}{dash}{service}")))),
                _ => false,
            })
            .collect();
        if !full.is_empty() {
            return Self::Others(full);
        }
        let anywhere: Vec<_> = containers().filter(service).collect();
        let projects: BTreeSet<_> = anywhere.iter().map(|c| label(c, PROJECT)).collect();
        match projects.len() {
            0 => Self::Nobody,
            1 => Self::Others(anywhere),
            _ => Self::Several(projects.into_iter().flatten().map(excerpt).collect()),
        }
    }

    fn is_nobody(&self) -> bool {
        matches!(self, Self::Nobody)
    }
}

fn label_of<'c>(container: &'c Container, key: &str) -> Option<&'c str> {
    container.labels.get(key).map(String::as_str)
}

fn upstream(
    key: &UpstreamKey,
    at: &ForwardAt,
    known: &Known<'_>,
    reach: &Reach<'_>,
    told: &mut Vec<(Severity, String)>,
) -> UpstreamSpec {
    let mut spec = UpstreamSpec {
        key: key.clone(),
        endpoints: Vec::new(),
        unreachable: Vec::new(),
        awaited: false,
    };
    match known {
        Known::Sibling(all) | Known::Others(all) => {
            for container in all {
                let name = excerpt(&container.name);
                if let Some(why) = absence(container, &Dial::default()) {
                    spec.awaited = true;
                    spec.unreachable.push(format!("{name} {why}"));
                    continue;
                }
                let mut about = Vec::new();
                match reach.address(container, None, &mut about) {
                    Ok((ip, via)) => {
                        let addr = SocketAddr::new(ip, at.port);
                        spec.endpoints
                            .push(endpoint(at, addr, Some(container), via));
                    }
                    Err(apart) => {
                        spec.awaited |= apart.passing;
                        told.push((Severity::Error, apart.sentence.clone()));
                        spec.unreachable.push(apart.sentence);
                    }
                }
            }
        }
        Known::Several(projects) => {
            let projects: Vec<&str> = projects.iter().map(String::as_str).take(4).collect();
            let reason = format!(
                "`{}` is a service of several compose projects ({}): name its container instead",
                at.host,
                projects.join(", ")
            );
            told.push((Severity::Error, reason.clone()));
            spec.unreachable.push(reason);
        }
        Known::Nobody => outside(at, reach, &mut spec, told),
    }
    spec.endpoints
        .sort_by(|a, b| a.container_id.cmp(&b.container_id));
    spec.unreachable.sort();
    spec
}

/// An address, or a name that no container has.
fn outside(
    at: &ForwardAt,
    reach: &Reach<'_>,
    spec: &mut UpstreamSpec,
    told: &mut Vec<(Severity, String)>,
) {
    let endpoint = |ip: IpAddr| {
        let addr = SocketAddr::new(ip.to_canonical(), at.port);
        endpoint(at, addr, None, Via::Label)
    };
    if let Some(ip) = at.host.ip() {
        spec.endpoints.push(endpoint(ip));
        return;
    }
    let name = at.host.as_str();
    // Its container may be on its way.
    spec.awaited = true;
    let Some(lookup) = reach.names.0.get(name) else {
        spec.unreachable
            .push(format!("`{name}` is being looked up"));
        return;
    };
    let usable = |ip: &&IpAddr| refused(**ip).is_none();
    let found = lookup.addresses().iter().filter(usable).take(MAX_ORIGINS);
    spec.endpoints.extend(found.map(|ip| endpoint(*ip)));
    if !spec.endpoints.is_empty() {
        return;
    }
    let why = match lookup {
        Lookup::Failed { why, .. } => why.as_str(),
        Lookup::Found(all) => {
            let refused = all.first().and_then(|ip| refused(*ip));
            refused.unwrap_or("it has no address")
        }
    };
    let reason = format!(
        "there is no container or service `{name}`, and no such name can be looked up: {why}"
    );
    told.push((Severity::Error, reason.clone()));
    spec.unreachable.push(reason);
}

fn endpoint(
    at: &ForwardAt,
    addr: SocketAddr,
    container: Option<&Container>,
    via: Via,
) -> EndpointSpec {
    let scheme = if at.https { "https" } else { "http" };
    let name = at.host.ip().is_none().then_some(&at.host);
    EndpointSpec {
        container_id: match container {
            Some(container) => container.id.clone(),
            None => format!("{scheme}://{addr}"),
        },
        container: container.map_or_else(|| at.host.to_string(), |c| c.name.clone()),
        created: container.map_or(0, |c| c.created),
        ended: container.map_or(0, |c| c.ended),
        addr: addr.into(),
        via,
        proto: if at.https { Proto::Https } else { Proto::Http },
        tls: at.https.then(|| Dial::default().tls(name)),
        authority: at.authority(),
        exposed: container
            .into_iter()
            .flat_map(|c| c.exposed.iter().copied())
            .take(EndpointSpec::MAX_EXPOSED)
            .collect(),
        weight: 1,
        backup: false,
        fail: FailLimit::default(),
        health: HealthCheck::default(),
        max_conns: MaxConns::default(),
    }
}

const AUTH: &str = "wharf.auth.forward";
const ERRORS: &str = "wharf.errors";
const PROJECT: &str = "com.docker.compose.project";
const SERVICE: &str = "com.docker.compose.service";
const SWARM: &str = "com.docker.swarm.service.name";
const SELF: &str = "the server is asked about its own requests: nobody can log in there unless it lets them; `off` for its own route";
/// Names that are looked up for all containers together.
const MAX_NAMES: usize = 256;
