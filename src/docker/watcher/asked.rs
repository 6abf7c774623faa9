//! What has been and is to be inspected.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use super::{Outputs, Watcher};
use crate::docker::look::{MOST_INSPECTS, is_ours};
use crate::docker::{Container, Health, State};
use crate::model::LabelPrefix;

/// Inspects of a session.
#[derive(Default)]
pub(super) struct Asked {
    pub(super) under_way: HashSet<String>,
    pub(super) tries: HashMap<String, u32>,
    /// Those to be asked once more, and when.
    again: BTreeMap<String, Instant>,
    /// Of these, those whose time has come.
    pub(super) due: Vec<String>,
    /// Health of containers whose last check was asked for, and when.
    pub(super) checks: HashMap<String, (Health, Instant)>,
}

impl Asked {
    /// A HEALTHCHECK has run; the engine notes its result a little later than it tells of it.
    pub(super) fn ask_again(&mut self, id: String, now: Instant) {
        self.again.entry(id).or_insert(now + NOTED_WITHIN);
    }

    pub(super) fn next_again(&self) -> Option<Instant> {
        self.again.values().min().copied()
    }

    pub(super) fn again_is_due(&mut self, now: Instant) {
        let due = self.again.extract_if(.., |_, at| *at <= now);
        self.due.extend(due.map(|(id, _)| id));
    }

    /// The next container that should tell why its HEALTHCHECK does not pass: at once when that
    /// changes, then from time to time.
    pub(super) fn ailing(&mut self, out: &Outputs, prefix: &LabelPrefix) -> Option<String> {
        let now = Instant::now();
        let snapshots = out.snapshots.borrow();
        let mut containers = snapshots.as_ref()?.containers.iter();
        let found = containers.find(|container| {
            let asked = self.checks.get(&container.id);
            let known = asked.is_some_and(|(health, at)| {
                *health == container.health && now.duration_since(*at) < ASK_AGAIN
            });
            is_ailing(container, prefix) && !known && !self.under_way.contains(&container.id)
        })?;
        self.checks.insert(found.id.clone(), (found.health, now));
        Some(found.id.clone())
    }
}

impl Watcher {
    /// The next container to inspect beside `under_way` others. One that was told to stop has a place
    /// even where those hang: how long it may take to stop must be known before it has.
    pub(super) fn to_inspect(
        &self,
        asked: &mut Asked,
        under_way: usize,
        out: &Outputs,
    ) -> Option<String> {
        if under_way >= 2 * MOST_INSPECTS {
            return None;
        }
        if let Some(id) = self.unknown(asked, |id| self.signs.tells_of(id)) {
            return Some(id);
        }
        if under_way >= MOST_INSPECTS {
            return None;
        }
        let due = asked.due.pop();
        due.or_else(|| self.unknown(asked, |_| true))
            .or_else(|| asked.ailing(out, &self.prefix))
    }

    /// The next container whose facts are to be asked for.
    fn unknown(&self, asked: &Asked, among: impl Fn(&str) -> bool) -> Option<String> {
        let wanted = |c: &&Container| {
            c.state != State::Exited
                && is_ours(c, &self.prefix)
                && !self.facts.contains_key(&c.id)
                && !asked.under_way.contains(&c.id)
                && among(&c.id)
                && asked
                    .tries
                    .get(&c.id)
                    .is_none_or(|tries| *tries < MOST_TRIES)
        };
        let mut containers = self.seen.as_ref()?.containers.iter();
        containers
            .find(wanted)
            .map(|container| container.id.clone())
    }
}

pub(super) fn is_ailing(container: &Container, prefix: &LabelPrefix) -> bool {
    matches!(container.health, Health::Starting | Health::Unhealthy)
        && container.state == State::Running
        && is_ours(container, prefix)
}

/// Inspects of one container before its facts are taken to be the defaults.
const MOST_TRIES: u32 = 3;
/// Between two looks at the checks of a container that is not healthy.
const ASK_AGAIN: Duration = Duration::from_secs(10);
/// After the event of a check, with Podman.
const NOTED_WITHIN: Duration = Duration::from_millis(300);
