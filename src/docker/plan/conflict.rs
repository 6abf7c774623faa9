//! One host and path, two routes: who keeps it (product.md B85).

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use crate::model::{HostPattern, Matcher, PathPattern, Plan, Problem, RouteKey, Severity};

use super::Claim;
use super::member::Owner;

/// Leaves each host and path to one claim, or to several of different owners that all say that they
/// share; drops claims left without a host.
///
/// In this order: a route whose path is known before one whose path is a guess; an owner that runs
/// before one that does not; the owner that has the place in `previous`, be it ill for a time; an owner
/// that can answer before one that cannot; the owner with the oldest live container; the owner's name. Within an
/// owner the default route comes first, then named ones by name; faults hold their place, because
/// what fails closed must not be opened by a sibling.
pub(super) fn settle(claims: &mut Vec<Claim<'_>>, previous: &Plan, problems: &mut Vec<Problem>) {
    let before = places(previous);
    let mut wishes = Vec::new();
    for (index, claim) in claims.iter().enumerate() {
        for host in &claim.route.hosts {
            let route = &claim.route;
            let place = (host.clone(), route.path.clone(), route.conditions.clone());
            let held = before.contains(&(host, &route.path, &route.conditions, &*route.owner));
            let since = claim.owner.map_or(i64::MAX, Owner::since);
            let owner = (since, claim.route.owner.clone());
            let within = claim.route.key.clone();
            let ready =
                claim.route.settings.files.is_some() || claim.owner.is_some_and(Owner::is_ready);
            let rank = (claim.guessed, !claim.is_live(), !held, !ready);
            wishes.push((rank, owner, within, index, place));
        }
    }
    wishes.sort();
    let mut taken: BTreeMap<Place, Vec<usize>> = BTreeMap::new();
    let mut lost: Vec<(usize, HostPattern)> = Vec::new();
    let mut shared = BTreeSet::new();
    for (.., index, place) in wishes {
        let Some(holders) = taken.get_mut(&place) else {
            taken.insert(place, vec![index]);
            continue;
        };
        let claim = &claims[index];
        let foreign = |holder: &usize| claims[*holder].route.owner != claim.route.owner;
        let joins = claim.shares() && claims[holders[0]].shares() && holders.iter().all(foreign);
        if joins {
            holders.push(index);
            shared.extend(holders.iter().copied());
        } else {
            problems.extend(refusal(claim, &claims[holders[0]], &place.0));
            lost.push((index, place.0));
        }
    }
    for (place, holders) in &taken {
        let [first, second, ..] = holders[..] else {
            continue;
        };
        for index in holders {
            let other = if *index == first { second } else { first };
            problems.extend(ambiguity(&claims[*index], &claims[other], &place.0));
        }
    }
    overlaps(claims, &taken, problems);
    for index in shared {
        claims[index].shared = true;
    }
    for (index, host) in lost {
        claims[index].route.hosts.retain(|other| *other != host);
    }
    claims.retain(|claim| !claim.route.hosts.is_empty());
}

/// A host, a path, and conditions on the rest of a request.
type Place = (HostPattern, PathPattern, Vec<Matcher>);

/// Each place of a plan, with its owners.
fn places(plan: &Plan) -> BTreeSet<(&HostPattern, &PathPattern, &Vec<Matcher>, &str)> {
    let routes = plan.routes.iter();
    routes
        .flat_map(|route| {
            let hosts = route.hosts.iter();
            hosts.map(move |host| (host, &route.path, &route.conditions, &*route.owner))
        })
        .collect()
}

/// Warns of routes of one host and path whose conditions a request can meet at once, where nothing says
/// which of them is looked at first.
fn overlaps(
    claims: &[Claim<'_>],
    taken: &BTreeMap<Place, Vec<usize>>,
    problems: &mut Vec<Problem>,
) {
    let conditional: Vec<_> = taken.iter().filter(|((.., c), _)| !c.is_empty()).collect();
    let groups = conditional.chunk_by(|(a, _), (b, _)| (&a.0, &a.1) == (&b.0, &b.1));
    let ordered = groups.flat_map(|group| (0..group.len()).map(move |at| &group[at..]));
    for group in ordered {
        let Some(((place, holders), later)) = group.split_first() else {
            continue;
        };
        let first = holders.first().map(|holder| &claims[*holder]);
        let Some(first) = first.filter(|claim| claim.route.fault.is_none()) else {
            continue;
        };
        for (other, others) in later {
            let Some(second) = others.first().map(|holder| &claims[*holder]) else {
                continue;
            };
            let apart = place
                .2
                .iter()
                .any(|a| other.2.iter().any(|b| a.excludes(b)));
            let told = place.2.len() != other.2.len()
                || first.route.settings.priority != second.route.settings.priority;
            if apart || told || second.route.fault.is_some() || !second.is_live() {
                continue;
            }
            let reason = format!(
                "`{}` with path {} has another route that the same request can be for, {} of container {}, which is looked at first; a wharf.priority would say so",
                place.0,
                second.route.place(),
                first.route.place(),
                first.route.container,
            );
            problems.push(second.problem(Severity::Warning, reason));
        }
    }
}

/// Where replicas have weights of their own, and another service has joined theirs: what was the weight
/// of one container is the share of them all now.
fn ambiguity(claim: &Claim<'_>, other: &Claim<'_>, host: &HostPattern) -> Option<Problem> {
    let share = claim.route.share.as_ref()?;
    let live = claim.owner?.replicas().filter(|member| member.live);
    let weights: BTreeSet<Option<u16>> = live.map(|member| member.labels.weight).collect();
    if weights.len() < 2 {
        return None;
    }
    let reason = format!(
        "`{host}` with path {} is shared with {} (container {}), so the share of {} is {}, the wharf.weight of its container {}: its containers say different ones, which divide that share; give all of them the same",
        claim.route.place(),
        other.route.owner,
        other.route.container,
        claim.route.owner,
        share.weight,
        claim.route.container,
    );
    Some(claim.problem(Severity::Warning, reason))
}

/// The sentence for the loser; none if its label error has been reported already and the place is
/// its own owner's, or if it does not run.
fn refusal(loser: &Claim<'_>, winner: &Claim<'_>, host: &HostPattern) -> Option<Problem> {
    if !loser.is_live() {
        return None;
    }
    let path = loser.route.place();
    let reason = if loser.route.owner == winner.route.owner {
        if loser.route.fault.is_some() {
            return None;
        }
        format!(
            "`{host}` with path {path} is already served by {} of the same container: give this route another host or path",
            route_name(&winner.route.key)
        )
    } else {
        let since = |claim: &Claim<'_>| claim.owner.map_or(i64::MAX, Owner::since);
        let why = match since(winner).cmp(&since(loser)) {
            Ordering::Less => "which is older and keeps it",
            Ordering::Equal => "which is as old, the first by name, and keeps it",
            Ordering::Greater => "which has it and keeps it",
        };
        let mut reason = format!(
            "`{host}` with path {path} is already served by {} (container {}), {why}",
            winner.route.owner, winner.route.container
        );
        if loser.shares() && !winner.shares() && winner.route.fault.is_none() {
            reason += "; to share it, give that one a wharf.weight, too";
        }
        reason
    };
    Some(loser.problem(Severity::Error, reason))
}

impl Claim<'_> {
    /// Whether the service leaves room for others: what fails closed must not, and a guess cannot.
    fn shares(&self) -> bool {
        self.route.share.is_some() && self.route.fault.is_none() && !self.guessed
    }
}

fn route_name(key: &RouteKey) -> String {
    match key.0.split_once('#') {
        Some((_, name)) => format!("route `{name}`"),
        None => "the default route".to_owned(),
    }
}
