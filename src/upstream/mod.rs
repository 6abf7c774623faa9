//! Where requests go: an upstream is a named group of endpoints.
//!
//! Each has a settings half, replaced at every compile, and a live half (cursors, an endpoint's
//! identity, counters and health) that is carried over by key, so that an unrelated label change
//! forgets nothing. Built by `route::compile`, read by the workers; knows neither Docker nor HTTP.

mod active;
mod balance;
mod budget;
mod endpoint;
mod failure;
mod health;
mod hold;
mod outcome;
mod pick;
#[cfg(test)]
mod queue_tests;
#[cfg(test)]
mod tests;
mod token;
mod warmth;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use crate::line::{Queue, Queued};
use crate::model::{MaxConns, UpstreamKey, UpstreamSpec};

pub use active::{Change, Judge};
pub use balance::{Choice, Key, Schedule, next_turn};
pub use endpoint::{Busy, Endpoint, EndpointLive};
pub use failure::Failure;
pub use hold::{Held, NoHold, TRY_AGAIN};
pub use outcome::Outcome;
pub use pick::{Ask, NoPlace, Taken, Tried};
pub use token::Secret;

/// A named group of endpoints with its balancing schedule.
#[derive(Debug)]
pub struct Upstream {
    pub key: UpstreamKey,
    pub endpoints: Vec<Endpoint>,
    /// Why containers are missing here, one sentence each.
    pub unreachable: Vec<String>,
    /// Some of them are missing for a time.
    pub awaited: bool,
    /// Whether requests under way are counted, because a route that leads here or an endpoint's limit
    /// asks for it.
    pub counted: bool,
    /// Whether Wharf checks any of its endpoints, so that all of them may be out.
    checked: bool,
    /// Where an endpoint has a limit: how many requests wait for a place, and how long. Of endpoints that
    /// differ the largest counts.
    pub line: Option<LineSpec>,
    /// Turns of all but the backups, and of those.
    turns: [Schedule; 2],
    live: Arc<Live>,
}

/// How requests wait for a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineSpec {
    pub limit: u32,
    pub wait: Duration,
}

/// The part of an upstream that outlives a compile.
#[derive(Debug)]
struct Live {
    /// Positions in the turns, shared by all cores: one relaxed addition per request, so the
    /// distribution is exact over all workers.
    cursors: [AtomicU64; 2],
    budget: budget::Budget,
    holding: hold::Holding,
    queue: Arc<Queue>,
}

impl Upstream {
    /// Compiles `spec`, carrying live halves over from `previous` where key, container and address
    /// are the same; what is new has joined at `now`. `later`: Wharf has
    /// been there before it.
    pub fn compile(
        spec: &UpstreamSpec,
        previous: Option<&Self>,
        secret: &Secret,
        later: bool,
        now: Instant,
    ) -> Self {
        let live = previous.map_or_else(|| Arc::new(Live::new(now)), |old| Arc::clone(&old.live));
        let endpoints: Vec<Endpoint> = spec
            .endpoints
            .iter()
            .take(usize::from(u16::MAX))
            .map(|endpoint| {
                let queue = &live.queue;
                Endpoint::compile(endpoint, &spec.key, previous, queue, secret, later, now)
            })
            .collect();
        let line = line(spec);
        if let Some(before) = previous
            && !endpoints.iter().all(|one| {
                before
                    .endpoints
                    .iter()
                    .any(|old| old.live.id == one.live.id)
            })
        {
            // Somebody new.
            before.live.holding.hope();
        }
        let turns = [false, true].map(|backup| {
            let part = endpoints
                .iter()
                .map(|one| if one.backup == backup { one.weight } else { 0 });
            Schedule::smooth(&part.collect::<Vec<_>>())
        });
        Self {
            key: spec.key.clone(),
            checked: endpoints.iter().any(|one| one.health.active().is_some()),
            endpoints,
            unreachable: spec.unreachable.clone(),
            awaited: spec.awaited,
            counted: line.is_some(),
            line,
            turns,
            live,
        }
    }

    /// Whether any endpoint takes new requests, as far as the table knows.
    pub fn takes_requests(&self) -> bool {
        !self.turns.iter().all(Schedule::is_empty)
    }

    /// Whether none does at the moment, by what their checks say.
    pub fn is_out(&self) -> bool {
        self.checked
            && self
                .endpoints
                .iter()
                .all(|one| one.weight == 0 || one.is_out())
    }

    /// Why endpoints are out, a sentence each.
    pub fn complaints(&self, now: Instant) -> Vec<String> {
        let endpoints = self.endpoints.iter().filter(|one| one.weight > 0);
        let out = endpoints.filter_map(|one| {
            let why = one.complaint(now)?;
            Some(format!("{} at {} {why}", one.container, one.addr))
        });
        out.take(MAX_COMPLAINTS).collect()
    }

    /// Gets in line for a place. `None` where as many wait as may.
    pub fn queue_up(&self) -> Option<Queued> {
        let line = self.line.filter(|line| !line.wait.is_zero())?;
        self.live.queue.join(line.limit as usize)
    }

    /// Whether a place in line is in this upstream's.
    pub fn is_line_of(&self, queued: &Queued) -> bool {
        queued.is_in(&self.live.queue)
    }

    /// Requests that wait for a place.
    pub fn queued(&self) -> usize {
        self.live.queue.len()
    }

    /// The endpoint a client names.
    pub fn holder(&self, token: &[u8]) -> Option<u16> {
        let mut endpoints = (0_u16..).zip(&self.endpoints);
        let found = endpoints.find(|(_, endpoint)| endpoint.live.token.as_bytes() == token);
        found.map(|(index, _)| index)
    }
}

fn line(spec: &UpstreamSpec) -> Option<LineSpec> {
    let limits = spec.endpoints.iter().map(|endpoint| endpoint.max_conns);
    let limits = limits.filter(|limit| limit.count > 0);
    let limits = limits.map(|limit| LineSpec {
        limit: limit.queue.min(MaxConns::MAX_QUEUE),
        wait: limit.wait,
    });
    limits.reduce(|a, b| LineSpec {
        limit: a.limit.max(b.limit),
        wait: a.wait.max(b.wait),
    })
}

impl Live {
    fn new(now: Instant) -> Self {
        Self {
            cursors: Default::default(),
            budget: budget::Budget::new(now),
            holding: hold::Holding::new(now),
            queue: Arc::default(),
        }
    }
}

/// Endpoints named in one message.
const MAX_COMPLAINTS: usize = 8;
