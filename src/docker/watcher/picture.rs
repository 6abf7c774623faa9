//! The last list with what events say since, and what is told of it.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::time::Instant;

use super::asked::is_ailing;
use super::{Outputs, Watcher};
use crate::docker::error::EngineError;
use crate::docker::event::Facts;
use crate::docker::look::{Look, hides_much};
use crate::docker::{Container, Position, Snapshot};

impl Watcher {
    /// Takes a list begun at `begun`; whether it differs from the last one.
    pub(super) fn see(&mut self, look: Look, begun: Instant, out: &Outputs) -> bool {
        let seen = Snapshot {
            position: self.position(&look.containers, out),
            own: self.own.clone(),
            containers: look.containers,
            networks: look.networks,
        };
        let changed = self.seen.as_ref() != Some(&seen);
        let seen = &*self.seen.insert(seen);
        let listed = |id: &String| seen.find(id).is_some();
        if !look.facts.is_empty() || !self.facts.keys().all(listed) {
            let facts = Arc::make_mut(&mut self.facts);
            facts.retain(|id, _| listed(id));
            facts.extend(look.facts);
        }
        self.signs.settle(&seen.containers, begun, &self.facts);
        self.publish(out);
        changed
    }

    /// Hands on the last list with what events say since, if that is news.
    pub(super) fn publish(&self, out: &Outputs) {
        let Some(mut snapshot) = self.seen.clone() else {
            return;
        };
        self.signs.apply(&mut snapshot.containers, &self.facts);
        for container in snapshot
            .containers
            .iter_mut()
            .filter(|c| hides_much(c, &self.prefix))
        {
            if let Some(facts) = self.facts.get(&container.id) {
                facts.complete(container);
            }
        }
        for container in snapshot
            .containers
            .iter_mut()
            .filter(|c| is_ailing(c, &self.prefix))
        {
            let facts = self.facts.get(&container.id);
            container.complaint = facts.and_then(|facts| facts.complaint.clone());
        }
        out.snapshots.send_if_modified(|current| {
            if current.as_deref() == Some(&snapshot) {
                return false;
            }
            *current = Some(Arc::new(snapshot));
            true
        });
    }

    pub(super) fn hides_much(&self, id: &str) -> bool {
        let seen = self.seen.as_ref().and_then(|seen| seen.find(id));
        seen.is_some_and(|seen| hides_much(seen, &self.prefix))
    }

    /// Whether the last list has a container.
    pub(super) fn lists(&self, id: &str) -> bool {
        self.seen
            .as_ref()
            .is_some_and(|seen| seen.find(id).is_some())
    }

    pub(super) fn learn(
        &mut self,
        id: String,
        facts: Result<Option<Facts>, EngineError>,
        out: &Outputs,
    ) {
        match facts {
            Ok(Some(facts)) => {
                let told = self.signs.tells_of(&id);
                let said = facts.complaint.is_some();
                Arc::make_mut(&mut self.facts).insert(id.clone(), facts);
                if told || said || self.hides_much(&id) {
                    self.publish(out);
                }
            }
            Ok(None) => {}
            Err(error) => tracing::debug!(container = id, %error, "not inspected"),
        }
    }

    fn position(&mut self, containers: &[Container], out: &Outputs) -> Position {
        if self.position.is_none() {
            self.position = self.clues.locate(containers);
            let own = self.clues.own(containers);
            self.own = own.map(|own| own.id.clone());
            let first = out.snapshots.borrow().is_none();
            match &self.position {
                Some(Position::Container { id }) => {
                    tracing::info!(id, "runs in a container; apps need a network in common");
                }
                Some(Position::Host) => {}
                None if first && self.clues.expects_a_container() => tracing::warn!(
                    "the engine does not list the container Wharf runs in; \
                     addresses are chosen as if it ran on the host"
                ),
                None => {}
            }
        }
        self.position.clone().unwrap_or(Position::Host)
    }

    /// Brings the state up to date after a successful list.
    pub(super) fn report(
        &mut self,
        out: &Outputs,
        last_event: Option<SystemTime>,
        begun: Instant,
        subscribed: bool,
    ) {
        let now = Instant::now();
        if subscribed && let Some(after) = self.trouble.over(now, now - begun) {
            tracing::info!(?after, "docker engine is back");
        }
        out.state.send_modify(|state| {
            state.connected = subscribed;
            state.unanswered = None;
            state.last_list = Some(SystemTime::now());
            state.last_event = last_event.or(state.last_event);
            state.lists += 1;
            state.listed_once = true;
            if self.trouble.is_none() {
                state.last_error = None;
            }
        });
    }
}
