//! Notes about containers, with what is known of their endpoints at the moment.

use std::time::{Duration, Instant};

use crate::admin::{Container, Endpoint};
use crate::control::Published;
use crate::model::{ContainerNote, Standing, nothing_listens};
use crate::upstream::{self, Failure, Outcome};

/// Every container with labels for Wharf.
pub(super) fn containers(published: &Published, now: Instant) -> Vec<Container> {
    let notes = published.notes.iter();
    let ours = notes.filter(|note| note.standing != Standing::Foreign);
    ours.map(|note| container(note, published, now)).collect()
}

/// One of them.
pub(super) fn container(note: &ContainerNote, published: &Published, now: Instant) -> Container {
    let mut standing = note.standing;
    let mut reasons = note.reasons.clone();
    let upstreams = published.table.upstreams.iter();
    let endpoints = upstreams
        .flat_map(|upstream| &upstream.endpoints)
        .filter(|endpoint| is_of(endpoint, note) && endpoint.weight > 0);
    for endpoint in endpoints.filter(|endpoint| !endpoint.is_ready() || endpoint.is_failing()) {
        if standing == Standing::Routed {
            standing = match endpoint.may_start(now) {
                true => Standing::Waiting,
                false => Standing::NotRouted,
            };
        }
        let reason = match endpoint.last_failure(now) {
            _ if endpoint.is_out() => complaint(endpoint, now),
            Some((Failure::Refused, _)) => nothing_listens(&endpoint.addr, &endpoint.exposed),
            Some((failure, _)) => format!("{}: {failure}", endpoint.addr),
            None => format!("it is not known yet whether {} listens", endpoint.addr),
        };
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    }
    Container {
        name: note.container.clone(),
        standing: super::report::word(&standing),
        asks: note.asks.clone(),
        reasons,
    }
}

/// Why its check keeps requests away, and what to do about it.
fn complaint(endpoint: &upstream::Endpoint, now: Instant) -> String {
    let mut told = endpoint.complaint(now).unwrap_or_default();
    if let Some((Outcome::Failed(Failure::Refused), _)) = endpoint.last_check(now) {
        let why = nothing_listens(&endpoint.check_addr(), &endpoint.exposed);
        told = format!("{told}: {why}");
    }
    told
}

/// Whether an endpoint is a container's, or what its labels name outside Docker.
pub(super) fn is_of(endpoint: &upstream::Endpoint, note: &ContainerNote) -> bool {
    let outside = endpoint.container_id.contains("://");
    *endpoint.container_id == *note.id || outside && *endpoint.container == *note.container
}

/// An endpoint as it is at the moment.
pub(super) fn endpoint(endpoint: &upstream::Endpoint, now: Instant) -> Endpoint {
    Endpoint {
        container: endpoint.container.to_string(),
        address: endpoint.addr.to_string(),
        weight: endpoint.weight,
        state: state(endpoint, now).into(),
        under_way: match endpoint.max_conns {
            0 => 0,
            _ => endpoint.under_way(),
        },
        max_conns: endpoint.max_conns,
        last_failure: endpoint
            .last_failure(now)
            .map(|(failure, ago)| format!("{failure} {} ago", span(ago))),
        check: check(endpoint, now),
    }
}

/// What Wharf asks it, and what came of that.
fn check(endpoint: &upstream::Endpoint, now: Instant) -> Option<String> {
    let check = endpoint.health.active()?;
    Some(match endpoint.last_check(now) {
        Some((outcome, ago)) => format!("{} {} ago", outcome.told(check), span(ago)),
        None => format!("{check}: no result yet"),
    })
}

/// In a word or three.
fn state(endpoint: &upstream::Endpoint, now: Instant) -> &'static str {
    match endpoint {
        endpoint if endpoint.weight == 0 => "no new requests",
        endpoint if !endpoint.is_ready() && endpoint.may_start(now) => "starting",
        endpoint if endpoint.is_out() => "unhealthy",
        endpoint if !endpoint.is_ready() => "does not listen",
        endpoint if endpoint.rests(|| now) => "resting after failures",
        endpoint if endpoint.is_full() => "full",
        endpoint if endpoint.backup => "backup",
        _ => "ok",
    }
}

/// `5 s`, `3 min`, `2 h`.
fn span(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}
