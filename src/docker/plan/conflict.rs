//! One host and path, two routes: who keeps it (product.md B85).

use std::collections::BTreeMap;

use crate::model::{HostPattern, PathPrefix, Plan, Problem, RouteKey, Severity};

use super::Claim;

/// Leaves each host and path to one claim, and drops claims left without a host.
///
/// In this order: a route whose path is known before one whose path is a guess; the owner that has
/// the place in `previous`; the owner with the oldest running container; the owner's name. Within an
/// owner the default route comes first, then named ones by name; faults hold their place, because
/// what fails closed must not be opened by a sibling.
pub(super) fn settle(claims: &mut Vec<Claim<'_>>, previous: &Plan, problems: &mut Vec<Problem>) {
    let before = places(previous);
    let mut wishes = Vec::new();
    for (index, claim) in claims.iter().enumerate() {
        for host in &claim.route.hosts {
            let place = (host.clone(), claim.route.path.clone());
            let held = before
                .get(&(host, &claim.route.path))
                .is_some_and(|owner| *owner == claim.route.owner);
            let owner = (claim.owner.since(), claim.route.owner.clone());
            let within = claim.route.key.clone();
            wishes.push((claim.guessed, !held, owner, within, index, place));
        }
    }
    wishes.sort();
    let mut taken: BTreeMap<(HostPattern, PathPrefix), usize> = BTreeMap::new();
    let mut lost: Vec<(usize, HostPattern)> = Vec::new();
    for (.., index, place) in wishes {
        match taken.get(&place) {
            None => {
                taken.insert(place, index);
            }
            Some(&winner) => {
                problems.extend(refusal(&claims[index], &claims[winner], &place.0));
                lost.push((index, place.0));
            }
        }
    }
    for (index, host) in lost {
        claims[index].route.hosts.retain(|other| *other != host);
    }
    claims.retain(|claim| !claim.route.hosts.is_empty());
}

/// The owner of each host and path of a plan.
fn places(plan: &Plan) -> BTreeMap<(&HostPattern, &PathPrefix), &str> {
    let routes = plan.routes.iter();
    routes
        .flat_map(|route| {
            let owner = route.owner.as_str();
            route
                .hosts
                .iter()
                .map(move |host| ((host, &route.path), owner))
        })
        .collect()
}

/// The sentence for the loser; none if its label error has been reported already and the place is
/// its own owner's.
fn refusal(loser: &Claim<'_>, winner: &Claim<'_>, host: &HostPattern) -> Option<Problem> {
    let path = &loser.route.path;
    let reason = if loser.route.owner == winner.route.owner {
        if loser.route.fault.is_some() {
            return None;
        }
        format!(
            "`{host}` with path {path} is already served by {} of the same container: give this route another host or path",
            route_name(&winner.route.key)
        )
    } else {
        let mut reason = format!(
            "`{host}` with path {path} is already served by {} (container {}), which is older and keeps it",
            winner.route.owner, winner.route.container
        );
        if loser.owner.weighted() && winner.owner.weighted() {
            reason += "; splitting one host between services is not supported yet";
        }
        reason
    };
    Some(loser.problem(Severity::Error, reason))
}

fn route_name(key: &RouteKey) -> String {
    match key.0.split_once('#') {
        Some((_, name)) => format!("route `{name}`"),
        None => "the default route".to_owned(),
    }
}
