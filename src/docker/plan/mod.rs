//! Snapshot -> plan: which containers answer for which hosts, and at which addresses.
//!
//! [`plan`] is called for every look at the engine, with the plan in force, and is pure: the same
//! arguments give the same plan, whatever the order of the containers. It never fails: what cannot
//! be used is a [`Problem`], and costs the route it stands on.

mod auth;
mod bypass;
mod conflict;
mod files;
mod member;
mod notes;
mod outside;
mod published;
mod reach;
#[cfg(test)]
mod tests;
mod upstream;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::docker::{Container, Snapshot};
use crate::model::{DefaultHost, Host, HostWords, Maintenance, Names, Sockets, UpstreamKey};
use crate::model::{
    HostPattern, HttpsMode, LabelPrefix, Plan, Problem, RouteKey, RouteSpec, Severity, ShareSpec,
    TlsMode,
};

use super::labels::{self, Defaults, Labels, Presets, RouteLabels, Terms, Values};
pub use notes::notes;

use member::{Member, Owner, Services};
use reach::Reach;

/// What shapes a plan besides the containers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlanOptions {
    /// `WHARF_NETWORK`: the network apps are reached on unless their labels name another. Default
    /// none: any network in common.
    pub network: Option<String>,
    /// `WHARF_FILTER`: labels a container must have, all of them, to be served; with a value if that
    /// counts, too. Others are no owners, but their addresses are known.
    pub filter: Vec<(String, Option<String>)>,
    /// What labels begin with.
    pub prefix: LabelPrefix,
    /// Zones in which DNS-01 gets wildcards their certificates (`WHARF_DNS`); `None` is all of them.
    pub dns: Vec<Option<Host>>,
    /// Hosts that `wharf maintenance` has put to rest.
    pub resting: Arc<BTreeMap<HostPattern, Maintenance>>,
    /// Which Unix sockets may be apps'; `None` where there is no directory of them.
    pub sockets: Option<Arc<Sockets>>,
    /// What `wharf.use` may name, but for those that Wharf's own container defines. Default: what is built in.
    pub presets: Arc<Presets>,
    /// `WHARF_DEFAULT_HOST`: host of containers that say `wharf.enable: true` and no host.
    pub default_host: Option<DefaultHost>,
    /// `WHARF_EXPOSE_ALL`: of all that expose a port, whether they say so or not.
    pub expose_all: bool,
    /// `WHARF_DEFAULT_<OPTION>`.
    pub defaults: Arc<Defaults>,
    /// What `env:` and `file:` in labels stand for.
    pub values: Arc<Values>,
    /// What is wrong with files, told with all else.
    pub problems: Arc<Vec<Problem>>,
    /// Below which files may be served (`WHARF_STATIC_DIR`); `None` where there is no such directory.
    pub statics: Option<PathBuf>,
    /// What names in `wharf.upstream` stand for.
    pub names: Arc<Names>,
}

/// What the containers ask for at `now`. `previous` is the plan in force: its routes stay where new
/// labels have an error, its owners keep their hosts, and routes whose containers are gone stay for
/// [`KEPT`].
///
/// Both results are sorted and free of duplicates.
pub fn plan(
    snapshot: &Snapshot,
    options: &PlanOptions,
    previous: &Plan,
    now: Instant,
) -> (Plan, Vec<Problem>) {
    let mut problems = options.problems.to_vec();
    let candidates = member::candidates(snapshot, options);
    let services = Services::of(&candidates);
    let terms = Said::new(snapshot, options, &mut problems);
    let owners = member::owners(&candidates, &services, &terms, &mut problems);
    let mut claims: Vec<Claim<'_>> = Vec::new();
    for owner in &owners {
        owner.check(&mut problems);
        claims.extend(routes_of(owner, previous));
    }
    let mut gone = BTreeMap::new();
    let left = left(&owners, &services, previous, now, &mut gone);
    claims.extend(left);
    files::place(&mut claims, options, &mut problems);
    conflict::settle(&mut claims, previous, &mut problems);
    let reach = Reach::new(snapshot, options, &mut problems);
    let mut upstreams = upstream::upstreams(&claims, &reach, previous, &mut problems);
    bypass::warn(snapshot, &upstreams, &mut problems);
    let mut names = outside::names(&claims);
    auth::upstreams(
        &mut claims,
        snapshot,
        &reach,
        &mut upstreams,
        &mut names,
        &mut problems,
    );
    for claim in &claims {
        warn_of_names_without_certificate(claim, options, &mut problems);
    }
    let mut routes: Vec<RouteSpec> = claims.into_iter().map(|claim| claim.route).collect();
    routes.sort_by(|a, b| a.key.cmp(&b.key));
    gone.retain(|owner, _| routes.iter().any(|route| route.owner == *owner));
    problems.sort();
    problems.dedup();
    let plan = Plan {
        routes,
        upstreams,
        names,
        resting: Arc::clone(&options.resting),
        gone,
    };
    (plan, problems)
}

/// What labels are read with, for all containers of a snapshot.
struct Said<'a> {
    options: &'a PlanOptions,
    presets: Cow<'a, Presets>,
    own: Option<&'a str>,
}

impl<'a> Said<'a> {
    fn new(snapshot: &'a Snapshot, options: &'a PlanOptions, problems: &mut Vec<Problem>) -> Self {
        let mut presets = Cow::Borrowed(&*options.presets);
        let own = snapshot.own.as_deref();
        let is_own = |container: &&Container| Some(&*container.id) == own;
        if let Some(own) = snapshot.containers.iter().find(is_own) {
            let mut defined = presets.clone().into_owned();
            defined.define_by_labels(
                &own.name,
                &own.labels,
                &options.prefix,
                &options.values,
                problems,
            );
            presets = Cow::Owned(defined);
        }
        Self {
            options,
            presets,
            own,
        }
    }

    /// What the labels of a container ask for.
    fn labels(&self, container: &Container) -> Option<Labels> {
        let options = self.options;
        let template = options.default_host.as_ref();
        let template = template.filter(|_| !container.is_of_file());
        let host = template.map(|template| {
            let label = |key: &str| container.labels.get(key).map(String::as_str);
            let service = label("com.docker.compose.service")
                .or_else(|| label("com.docker.swarm.service.name"));
            let words = HostWords {
                service: service.unwrap_or(&container.name),
                project: label("com.docker.compose.project"),
                name: &container.name,
            };
            (template.to_string(), template.fill(words))
        });
        let terms = Terms {
            prefix: &options.prefix,
            presets: &self.presets,
            defaults: &options.defaults,
            values: &options.values,
            is_wharf: self.own == Some(&container.id),
            host: host.as_ref(),
            expose: options.expose_all && !container.exposed.is_empty(),
        };
        labels::read(&container.name, &container.labels, terms)
    }
}

/// A route and where it came from.
struct Claim<'a> {
    route: RouteSpec,
    /// `None` once all its containers are gone.
    owner: Option<&'a Owner<'a>>,
    /// Labels that define the route, or whose error keeps the previous one. `None` where nobody says
    /// anything any more.
    labels: Option<&'a RouteLabels>,
    /// Path or conditions could not be read and are a guess: this route yields to every other.
    guessed: bool,
    /// Other services have a share of one of its places.
    shared: bool,
    /// The route is the previous plan's, because the labels have an error.
    kept: bool,
}

/// The routes of one owner: those the newest definition names. Each is taken from the newest
/// container that defines it without an error, else from the previous plan, else it is a fault.
fn routes_of<'a>(owner: &'a Owner<'a>, previous: &Plan) -> Vec<Claim<'a>> {
    let Some(newest) = owner.definitions().next() else {
        return Vec::new();
    };
    let names = newest.labels.routes.iter();
    names
        .filter_map(|labels| {
            let key = route_key(&owner.name, labels.name.as_deref());
            let good = owner.definitions().find_map(|member| {
                let labels = member.route(labels.name.as_deref())?;
                labels.fault.is_none().then_some((member, labels))
            });
            if let Some((member, labels)) = good {
                return Some(claim(owner, member, labels, key));
            }
            let mut claim = claim(owner, newest, labels, key);
            if let Some(before) = find(previous, &claim.route.key).filter(|r| r.fault.is_none()) {
                claim.route = RouteSpec {
                    container: newest.container.name.clone(),
                    service: newest.service.clone(),
                    ..before.clone()
                };
                claim.guessed = false;
                claim.kept = true;
            }
            (!claim.route.hosts.is_empty()).then_some(claim)
        })
        .collect()
}

/// Routes of `previous` that nobody defines any more, but nobody has taken back either: whose
/// container has not started yet, or is gone for less than [`KEPT`], as while it is being replaced.
/// Notes in `gone` since when.
fn left<'a>(
    owners: &'a [Owner<'a>],
    services: &Services,
    previous: &Plan,
    now: Instant,
    gone: &mut BTreeMap<String, Instant>,
) -> Vec<Claim<'a>> {
    let mut left = Vec::new();
    for route in &previous.routes {
        let owner = owners.iter().find(|owner| owner.name == route.owner);
        let defined = owner.is_some_and(|owner| owner.definitions().next().is_some());
        // A live container that says nothing of the route says that there is none.
        if defined || services.is_live(&route.service) || route.fault.is_some() {
            continue;
        }
        if !services.exists(&route.service) {
            let since = *previous.gone.get(&route.owner).unwrap_or(&now);
            if now.saturating_duration_since(since) >= KEPT {
                continue;
            }
            gone.insert(route.owner.clone(), since);
        }
        left.push(Claim {
            route: route.clone(),
            owner,
            labels: None,
            guessed: false,
            shared: false,
            kept: true,
        });
    }
    left
}

fn claim<'a>(
    owner: &'a Owner<'a>,
    member: &'a Member<'a>,
    labels: &'a RouteLabels,
    key: RouteKey,
) -> Claim<'a> {
    let upstream = match labels.own_upstream {
        _ if labels.settings.files.is_some() => UpstreamKey::of_files(&owner.name),
        true => UpstreamKey(route_key(&owner.name, labels.upstream_of()).0),
        false => UpstreamKey(owner.name.clone()),
    };
    Claim {
        route: RouteSpec {
            key,
            hosts: labels.hosts.clone(),
            path: labels.path.clone(),
            conditions: labels.conditions.clone(),
            upstream,
            auth: None,
            error_servers: Vec::new(),
            settings: labels.settings.clone(),
            container: member.container.name.clone(),
            service: member.service.clone(),
            version: version(owner),
            owner: owner.name.clone(),
            share: share(member, labels),
            fault: labels.fault.clone(),
        },
        owner: Some(owner),
        labels: Some(labels),
        guessed: labels.path_broken || labels.conditions_broken,
        shared: false,
        kept: false,
    }
}

/// The images of those that run, each once.
fn version(owner: &Owner<'_>) -> Option<String> {
    let live = owner.members.iter().filter(|member| member.live);
    let images = live.map(|member| member.container.image.as_str());
    let mut images: Vec<&str> = images
        .filter(|image| !image.is_empty())
        .map(|image| image.strip_prefix("sha256:").unwrap_or(image))
        .map(|digest| digest.get(..12).unwrap_or(digest))
        .collect();
    images.sort_unstable();
    images.dedup();
    (!images.is_empty()).then(|| images.join("+"))
}

/// What the service says of sharing: nothing, without a weight and a canary.
fn share(member: &Member<'_>, labels: &RouteLabels) -> Option<ShareSpec> {
    let weight = member.labels.weight;
    let said = weight.is_some() || !labels.canary.is_empty();
    said.then(|| ShareSpec {
        weight: weight.unwrap_or(0),
        canary: labels.canary.clone(),
    })
}

fn route_key(owner: &str, route: Option<&str>) -> RouteKey {
    RouteKey(match route {
        None => owner.to_owned(),
        Some(route) => format!("{owner}#{route}"),
    })
}

fn find<'a>(plan: &'a Plan, key: &RouteKey) -> Option<&'a RouteSpec> {
    let at = plan.routes.binary_search_by(|route| route.key.cmp(key));
    at.ok().and_then(|index| plan.routes.get(index))
}

/// Says which hosts of a route no public CA will certify.
fn warn_of_names_without_certificate(
    claim: &Claim<'_>,
    options: &PlanOptions,
    problems: &mut Vec<Problem>,
) {
    let settings = &claim.route.settings;
    let public = matches!(settings.tls, TlsMode::Auto | TlsMode::Eager);
    let told = claim.labels.is_none() || claim.route.fault.is_some();
    // Where names are asked about, each has its own.
    if !public || settings.https == HttpsMode::Off || told || settings.ask.is_some() {
        return;
    }
    let by_dns = |suffix: &Host| {
        options.dns.iter().any(|zone| {
            let zone = zone.as_ref().map(Host::as_str);
            zone.is_none_or(|zone| {
                let rest = suffix.as_str().strip_suffix(zone);
                rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            })
        })
    };
    for host in &claim.route.hosts {
        let reason = match host {
            HostPattern::Wildcard(suffix) if !is_local_below(suffix) && !by_dns(suffix) => {
                "a certificate for a wildcard needs DNS-01: set WHARF_DNS, or wharf.tls.ask for one for each name; or use wharf.tls: file:, internal or off, or name the hosts"
            }
            HostPattern::Default => {
                "there is no public certificate for `default`: hosts nobody names are served with a certificate of WHARF_CERTS or of the built-in CA; use wharf.tls: file:, internal or off, or name the hosts"
            }
            HostPattern::Below(suffix) if !is_local_below(suffix) => {
                "there is no certificate for all depths of `**.`: names with one label more need DNS-01 or a file in WHARF_CERTS, deeper ones a file; use wharf.tls: file:, internal or off, or name the hosts"
            }
            HostPattern::Regex(_) => {
                "there is no public certificate for a regex: hosts it matches are served with a certificate of WHARF_CERTS or of the built-in CA; use wharf.tls: file:, internal or off, or name the hosts"
            }
            HostPattern::Below(_) | HostPattern::Wildcard(_) | HostPattern::Exact(_) => continue,
        };
        problems.push(claim.problem(Severity::Warning, reason.to_owned()));
    }
}

/// Whether names one label below `suffix` are local. `com` has no dot, but `a.com` is public.
fn is_local_below(suffix: &Host) -> bool {
    let name = Host::parse(&format!("x.{suffix}"));
    name.map_or_else(|_| suffix.is_local(), |name| name.is_local())
}

impl Claim<'_> {
    /// A problem about the hosts of this route.
    fn problem(&self, severity: Severity, reason: String) -> Problem {
        let label =
            |of: fn(&RouteLabels) -> &String| self.labels.map(of).cloned().unwrap_or_default();
        Problem {
            severity,
            container: self.route.container.clone(),
            label: label(|labels| &labels.host_label),
            value: label(|labels| &labels.host_value),
            reason,
        }
    }

    /// Whether any container that could answer exists: only such a route can refuse others a place.
    fn is_live(&self) -> bool {
        self.owner.is_some_and(Owner::is_live)
    }
}

/// How long a route outlives the last of its containers: a deployment that removes before it creates
/// must not make it unknown.
pub const KEPT: Duration = Duration::from_secs(15 * 60);
