//! Containers -> owners: who is a replica of whom, and whose labels count.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::docker::labels::{self, Labels, RouteLabels};
use crate::docker::{Container, Snapshot, State};
use crate::model::{Problem, Severity};

use super::upstream::absence;
use super::{PlanOptions, Said};

/// A container with Wharf labels.
pub(super) struct Member<'a> {
    pub(super) container: &'a Container,
    pub(super) labels: Labels,
    /// Its compose or Swarm service, or itself: what it would be without `wharf.pool`.
    pub(super) service: String,
    /// Its process exists.
    pub(super) live: bool,
    /// Its labels count: it is live, or has been, and no live container of its service says anything
    /// else. Nothing is defined by what has never started.
    pub(super) defines: bool,
}

/// Containers that are replicas of each other; the tenant its routes belong to.
pub(super) struct Owner<'a> {
    /// `pool:<name>`, `<project>/<service>`, `swarm:<service>` or a container's name; these cannot
    /// be mistaken for each other, because no name holds a colon or a slash.
    pub(super) name: String,
    /// Live ones first, then newest first, by creation, then id. At least one.
    pub(super) members: Vec<Member<'a>>,
}

/// Containers that may serve: all but one-offs of compose and those `WHARF_FILTER` leaves to others.
pub(super) fn candidates<'a>(snapshot: &'a Snapshot, options: &PlanOptions) -> Vec<&'a Container> {
    let has = |container: &Container, key: &str, value: Option<&str>| {
        let found = container.labels.get(key);
        found.is_some_and(|found| value.is_none_or(|value| found == value))
    };
    let meant = |container: &Container| {
        let mut filter = options.filter.iter();
        container.is_of_file() || filter.all(|(key, value)| has(container, key, value.as_deref()))
    };
    let containers = snapshot.containers.iter();
    containers.filter(|c| !is_one_off(c) && meant(c)).collect()
}

/// The services of all candidates, whatever their labels.
#[derive(Default)]
pub(super) struct Services {
    all: BTreeSet<String>,
    live: BTreeSet<String>,
}

impl Services {
    pub(super) fn of(candidates: &[&Container]) -> Self {
        let mut services = Self::default();
        for &container in candidates {
            let service = service(container);
            if is_live(container) {
                services.live.insert(service.clone());
            }
            services.all.insert(service);
        }
        services
    }

    /// Whether any container of a service exists.
    pub(super) fn exists(&self, service: &str) -> bool {
        self.all.contains(service)
    }

    /// Whether one of them is live, so that its labels tell what the service wants now.
    pub(super) fn is_live(&self, service: &str) -> bool {
        self.live.contains(service)
    }
}

/// Every owner, by name, with its members. Containers with `wharf.enable: false` are nobody's.
pub(super) fn owners<'a>(
    candidates: &[&'a Container],
    services: &Services,
    said: &Said<'_>,
    problems: &mut Vec<Problem>,
) -> Vec<Owner<'a>> {
    let mut owners: BTreeMap<String, Vec<Member<'a>>> = BTreeMap::new();
    for &container in candidates {
        let service = service(container);
        let live = is_live(container);
        let has_been = container.state != State::Created && !services.is_live(&service);
        // Swarm keeps the remains of its tasks.
        if !live && !has_been && is_task(container) {
            continue;
        }
        let Some(mut labels) = said.labels(container) else {
            continue;
        };
        let defines = live || has_been;
        if defines {
            problems.append(&mut labels.problems);
        }
        if !labels.enabled {
            continue;
        }
        let name = match &labels.pool {
            Some(pool) => format!("pool:{pool}"),
            None => service.clone(),
        };
        owners.entry(name).or_default().push(Member {
            container,
            labels,
            service,
            live,
            defines,
        });
    }
    owners
        .into_iter()
        .map(|(name, mut members)| {
            let newest = |m: &Member<'a>| (m.container.created, &m.container.id);
            members.sort_by_key(|m| (!m.live, Reverse(newest(m))));
            Owner { name, members }
        })
        .collect()
}

impl<'a> Owner<'a> {
    /// Members whose labels say something about routes and count, those that win first.
    pub(super) fn definitions(&self) -> impl Iterator<Item = &Member<'a>> {
        let defines = |m: &&Member<'a>| m.defines && !m.labels.routes.is_empty();
        self.members.iter().filter(defines)
    }

    /// When the oldest live member was created, Unix seconds.
    pub(super) fn since(&self) -> i64 {
        let mut live = self.members.iter().filter(|member| member.live);
        live.next_back()
            .map_or(i64::MAX, |member| member.container.created)
    }

    pub(super) fn is_live(&self) -> bool {
        self.replicas().any(|member| member.live)
    }

    /// Whether any of them could answer now, as far as the engine knows.
    pub(super) fn is_ready(&self) -> bool {
        self.replicas().any(|member| {
            let dial = &member.labels.dial;
            absence(member.container, dial).is_none() || dial.is_outside()
        })
    }

    /// Members that get requests: those with a route, and replicas that name the pool.
    pub(super) fn replicas(&self) -> impl Iterator<Item = &Member<'a>> {
        self.members
            .iter()
            .filter(|member| !member.labels.routes.is_empty() || member.labels.pool.is_some())
    }

    /// Reports a pool without routes, and hosts that another service of the pool has taken away.
    pub(super) fn check(&self, problems: &mut Vec<Problem>) {
        let Some(newest) = self.definitions().next() else {
            for member in self.replicas().filter(|member| member.live) {
                let reason = "no running container of this pool has a wharf.host";
                problems.push(member.problem(Severity::Error, reason.to_owned()));
            }
            return;
        };
        for member in self.definitions().filter(|member| member.live) {
            let served = |route: &RouteLabels| {
                let now = newest.route(route.name.as_deref());
                now.is_some_and(|now| {
                    (&now.hosts, &now.path, &now.conditions)
                        == (&route.hosts, &route.path, &route.conditions)
                })
            };
            if member.service != newest.service && !member.labels.routes.iter().all(served) {
                let reason = format!(
                    "the routes of a pool are those of its newest container, {}, which names other hosts or paths",
                    labels::excerpt(&newest.container.name)
                );
                problems.push(member.problem(Severity::Warning, reason));
            }
        }
    }
}

impl Member<'_> {
    /// What this container's labels say about a route.
    pub(super) fn route(&self, name: Option<&str>) -> Option<&RouteLabels> {
        let mut routes = self.labels.routes.iter();
        routes.find(|route| route.name.as_deref() == name)
    }

    /// A problem about the container's pool, or the container as a whole.
    fn problem(&self, severity: Severity, reason: String) -> Problem {
        let pool = self.labels.pool.as_deref();
        Problem {
            severity,
            container: self.container.name.clone(),
            label: pool.map_or_else(String::new, |_| "wharf.pool".to_owned()),
            value: pool.unwrap_or_default().to_owned(),
            reason,
        }
    }
}

/// Whether a container's process exists, able to answer or not.
pub(super) fn is_live(container: &Container) -> bool {
    match container.state {
        State::Running | State::Stopping | State::Paused | State::Restarting => true,
        State::Created | State::Exited | State::Other => false,
    }
}

fn is_task(container: &Container) -> bool {
    container.labels.contains_key("com.docker.swarm.task.id")
}

/// `docker-compose run` gives its container the service's labels, but it serves nobody.
pub(super) fn is_one_off(container: &Container) -> bool {
    let label = container.labels.get("com.docker.compose.oneoff");
    label.is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

/// The compose or Swarm service of a container, else its name. Compose renames containers while it
/// recreates them, so a name is the last resort.
pub(super) fn service(container: &Container) -> String {
    let label = |key: &str| {
        let value = container.labels.get(key)?;
        is_plain(value).then_some(value.as_str())
    };
    let project = label("com.docker.compose.project");
    let service = label("com.docker.compose.service");
    if let (Some(project), Some(service)) = (project, service) {
        return format!("{project}/{service}");
    }
    if let Some(service) = label("com.docker.swarm.service.name") {
        return format!("swarm:{service}");
    }
    match is_plain(&container.name) {
        true => container.name.clone(),
        false => container.id.clone(),
    }
}

/// Docker's names hold nothing else; these labels, which anyone can write, might, and a `#` in one
/// would make its key that of another owner's route.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 255
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}
