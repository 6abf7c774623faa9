//! Snapshot and plan -> what has become of each container; for `wharf status`, `wharf explain` and
//! error pages.

use std::collections::{BTreeMap, BTreeSet};

use crate::docker::labels::{Labels, excerpt};
use crate::docker::{Container, Health, Snapshot, State};
use crate::model::{
    ContainerNote, LabelPrefix, Plan, Problem, RouteKey, Severity, Standing, UpstreamKey, Via,
    place,
};

use super::member::{Services, candidates, is_live, is_one_off, service};
use super::upstream::absence;
use super::{PlanOptions, Said};

/// A note for each container with labels for Wharf, and for those with labels of another proxy alone,
/// sorted by name. `plan` and `problems` are what [`plan`](super::plan) has made of `snapshot`.
pub fn notes(
    snapshot: &Snapshot,
    options: &PlanOptions,
    plan: &Plan,
    problems: &[Problem],
) -> Vec<ContainerNote> {
    let facts = Facts::new(snapshot, options, plan, problems);
    let mut notes: Vec<_> = snapshot
        .containers
        .iter()
        .filter_map(|container| facts.note(container))
        .collect();
    notes.sort_by(|a, b| (&a.container, &a.id).cmp(&(&b.container, &b.id)));
    notes
}

/// The plan by container.
struct Facts<'a> {
    prefix: &'a LabelPrefix,
    said: Said<'a>,
    services: Services,
    /// Ids of those that may serve.
    candidates: BTreeSet<&'a str>,
    /// Upstreams that at least one route without a fault leads to.
    served: BTreeSet<&'a UpstreamKey>,
    /// Upstreams and weights by container id, or by name for those that lead out of Docker.
    endpoints: BTreeMap<&'a str, Vec<(&'a UpstreamKey, u16)>>,
    /// Sentences about containers without an endpoint, which begin with their names.
    unreachable: BTreeMap<&'a str, Vec<&'a str>>,
    /// Errors by container name.
    errors: BTreeMap<&'a str, Vec<&'a Problem>>,
    /// Upstreams that others stand in for: with an endpoint that has weight, or a share of a place.
    replaced: BTreeSet<&'a UpstreamKey>,
    routes: BTreeSet<&'a RouteKey>,
    /// Names of containers whose labels have files served.
    files: BTreeSet<&'a str>,
}

impl<'a> Facts<'a> {
    fn new(
        snapshot: &'a Snapshot,
        options: &'a PlanOptions,
        plan: &'a Plan,
        problems: &'a [Problem],
    ) -> Self {
        let candidates = candidates(snapshot, options);
        let good = plan.routes.iter().filter(|route| route.fault.is_none());
        let files = good.clone().filter(|route| route.settings.files.is_some());
        let mut facts = Self {
            prefix: &options.prefix,
            // What is wrong with presets is told with the plan.
            said: Said::new(snapshot, options, &mut Vec::new()),
            services: Services::of(&candidates),
            candidates: candidates.iter().map(|c| c.id.as_str()).collect(),
            served: good.map(|route| &route.upstream).collect(),
            endpoints: BTreeMap::new(),
            unreachable: BTreeMap::new(),
            errors: BTreeMap::new(),
            replaced: sharing(plan),
            routes: plan.routes.iter().map(|route| &route.key).collect(),
            files: files.map(|route| &*route.container).collect(),
        };
        for upstream in &plan.upstreams {
            for endpoint in &upstream.endpoints {
                let whose = match endpoint.via {
                    Via::Label => &endpoint.container,
                    _ => &endpoint.container_id,
                };
                let known = facts.endpoints.entry(whose).or_default();
                known.push((&upstream.key, endpoint.weight));
                if endpoint.weight > 0 {
                    facts.replaced.insert(&upstream.key);
                }
            }
            for sentence in &upstream.unreachable {
                let Some((name, why)) = sentence.split_once(' ') else {
                    continue;
                };
                let name = name.strip_suffix(':').unwrap_or(name);
                facts.unreachable.entry(name).or_default().push(why);
            }
        }
        let errors = problems.iter().filter(|p| p.severity == Severity::Error);
        for problem in errors {
            let known = facts.errors.entry(&problem.container).or_default();
            known.push(problem);
        }
        facts
    }

    fn note(&self, container: &Container) -> Option<ContainerNote> {
        let Some(labels) = self.said.labels(container) else {
            return foreign(container);
        };
        let mut note = ContainerNote {
            id: container.id.clone(),
            container: container.name.clone(),
            standing: Standing::LeftOut,
            asks: asks(&labels),
            reasons: Vec::new(),
            unread: Vec::new(),
        };
        if is_one_off(container) {
            note.reasons
                .push("is a one-off of `compose run`".to_owned());
            return Some(note);
        }
        if !self.candidates.contains(container.id.as_str()) {
            note.reasons
                .push("is left to another Wharf by WHARF_FILTER".to_owned());
            return Some(note);
        }
        if !labels.enabled {
            note.reasons
                .push("is switched off by wharf.enable".to_owned());
            note.unread = texts(container, |label| self.prefix.resembles(label));
            return Some(note);
        }
        let stands_in = self.services.is_live(&service(container));
        if let Some(why) =
            absence(container, &labels.dial).filter(|_| stands_in && !is_live(container))
        {
            note.reasons
                .push(format!("{why}; others of its service run"));
            return Some(note);
        }
        note.unread = unread(container, &labels, self.prefix);
        self.judge(container, &labels, &mut note);
        Some(note)
    }

    /// Fills in standing and reasons of a container that is meant to serve.
    fn judge(&self, container: &Container, labels: &Labels, note: &mut ContainerNote) {
        let by = |whose: &String| self.endpoints.get(whose.as_str());
        let endpoints = by(&container.id).or_else(|| by(&container.name));
        let mut served = endpoints
            .into_iter()
            .flatten()
            .filter(|(upstream, _)| self.served.contains(upstream))
            .peekable();
        let reachable = served.peek().map(|(upstream, _)| *upstream);
        let weighted = served.any(|(_, weight)| *weight > 0);
        let mut errors = labels.problems.iter().collect::<Vec<_>>();
        errors.retain(|problem| problem.severity == Severity::Error);
        // Those of the plan beside those of the labels, which a stopped container tells nobody.
        let told = self.errors.get(container.name.as_str());
        errors.extend(told.into_iter().flatten());
        for problem in errors {
            let told = match problem.label.as_str() {
                "" => problem.reason.clone(),
                label => format!("{label}: {}: {}", problem.value, problem.reason),
            };
            push(&mut note.reasons, told, &problem.reason);
        }
        let broken = !note.reasons.is_empty();
        let absent = absence(container, &labels.dial);
        match &absent {
            // It leads out of Docker, or by another route that minds less.
            Some(_) if weighted => {}
            Some(why) => note.reasons.push(why.clone()),
            None => {
                let name = excerpt(&container.name);
                for why in self.unreachable.get(name.as_str()).into_iter().flatten() {
                    push(&mut note.reasons, (*why).to_owned(), why);
                }
            }
        }
        if reachable.is_some() && !weighted {
            note.reasons.push("has wharf.weight: 0".to_owned());
        }
        note.standing = match () {
            () if weighted || self.files.contains(container.name.as_str()) => Standing::Routed,
            // As it is wished.
            () if reachable.is_some_and(|upstream| self.replaced.contains(upstream)) => {
                Standing::LeftOut
            }
            () if absent.is_some() && !broken && comes_back(container) => Standing::Waiting,
            () => Standing::NotRouted,
        };
        if note.standing == Standing::NotRouted && note.reasons.is_empty() {
            let reason = match self.routes.is_empty() {
                true => "has no route",
                false => "has no route of its own: another container's labels decide",
            };
            note.reasons.push(reason.to_owned());
        }
    }
}

/// Whether a container that gets nothing at the moment is likely to, soon.
fn comes_back(container: &Container) -> bool {
    match container.state {
        State::Running => container.health != Health::Unhealthy,
        State::Stopping | State::Paused | State::Restarting => true,
        State::Created | State::Exited | State::Other => false,
    }
}

/// Upstreams of routes that share a place with others.
fn sharing(plan: &Plan) -> BTreeSet<&UpstreamKey> {
    let mut places: BTreeMap<_, Vec<&UpstreamKey>> = BTreeMap::new();
    for route in plan.routes.iter().filter(|route| route.share.is_some()) {
        for host in &route.hosts {
            let here = places
                .entry((host, &route.path, &route.conditions))
                .or_default();
            here.push(&route.upstream);
        }
    }
    let shared = places.into_values().filter(|here| here.len() > 1);
    shared.flatten().collect()
}

/// Adds a reason, unless one like it is there.
fn push(reasons: &mut Vec<String>, told: String, core: &str) {
    if reasons.len() < MAX_REASONS && !reasons.iter().any(|reason| reason.ends_with(core)) {
        reasons.push(told);
    }
}

fn asks(labels: &Labels) -> Vec<String> {
    let places = labels.routes.iter().flat_map(|route| {
        let path = match route.path.is_root() && route.conditions.is_empty() {
            true => String::new(),
            false => place(&route.path, &route.conditions),
        };
        route.hosts.iter().map(move |host| format!("{host}{path}"))
    });
    let mut asks: Vec<String> = places.take(MAX_ASKS).collect();
    asks.dedup();
    asks
}

/// The labels of a container that asks for no host at all.
fn unread(container: &Container, labels: &Labels, prefix: &LabelPrefix) -> Vec<(String, String)> {
    let hostless = labels.routes.iter().all(|route| route.hosts.is_empty());
    let broken = labels
        .problems
        .iter()
        .any(|p| p.severity == Severity::Error);
    match hostless || broken {
        true => texts(container, |label| prefix.resembles(label)),
        false => Vec::new(),
    }
}

/// A container that another proxy's labels expose.
fn foreign(container: &Container) -> Option<ContainerNote> {
    let unread = texts(container, |label| {
        FOREIGN.iter().any(|word| label.starts_with(word))
    });
    if unread.is_empty() || container.state != State::Running {
        return None;
    }
    let label = unread.first().map(|(label, _)| label.as_str());
    Some(ContainerNote {
        id: container.id.clone(),
        container: container.name.clone(),
        standing: Standing::Foreign,
        asks: Vec::new(),
        reasons: vec![format!(
            "has labels of another proxy ({}), which Wharf does not read: set wharf.host",
            label.unwrap_or_default()
        )],
        unread,
    })
}

fn texts(container: &Container, wanted: impl Fn(&str) -> bool) -> Vec<(String, String)> {
    let labels = container.labels.iter();
    labels
        .filter(|(label, _)| wanted(&label.to_ascii_lowercase()))
        .take(MAX_ASKS)
        .map(|(label, value)| (excerpt(label), excerpt(value)))
        .collect()
}

/// What labels of other proxies begin with.
const FOREIGN: [&str; 3] = ["traefik.", "caddy", "virtual.host"];
/// Places and labels kept of one container.
const MAX_ASKS: usize = 32;
/// Reasons kept of one container.
const MAX_REASONS: usize = 16;
