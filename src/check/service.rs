//! A service, and how one is laid over another.

use std::collections::BTreeMap;

use crate::docker::Published;

use crate::files::yaml::{Node, Span};

/// A label and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Label {
    pub(super) key: String,
    pub(super) value: String,
    pub(super) key_at: Span,
    pub(super) value_at: Span,
}

/// A service with what it has from others by `extends`.
#[derive(Debug, Clone, Default)]
pub(super) struct Service {
    pub(super) name: String,
    /// Its name.
    pub(super) at: Option<Span>,
    /// Of its containers: those of `labels`, and of `build.labels`.
    pub(super) labels: Vec<Label>,
    /// `deploy.labels`: of the Swarm service.
    pub(super) deploy: Vec<Label>,
    /// Keys of networks.
    pub(super) networks: Vec<String>,
    pub(super) network_mode: Option<String>,
    pub(super) exposed: Vec<u16>,
    pub(super) published: Vec<Published>,
    pub(super) image: Option<String>,
    pub(super) command: Option<String>,
    pub(super) environment: Vec<Label>,
    /// Where its fields stand.
    pub(super) fields: BTreeMap<String, Span>,
}

/// Files that compose takes together.
#[derive(Debug, Default)]
pub(super) struct Project {
    pub(super) name: String,
    /// In the order of the files.
    pub(super) services: Vec<Service>,
    /// Names at the engine, by key.
    pub(super) networks: BTreeMap<String, String>,
}

impl Service {
    /// Lays `over` over it, as `node` says it: `!override` and `!reset` of a field take what was there away.
    pub(super) fn merge(&mut self, over: Self, node: &Node) {
        let replaced = |field: &str| {
            let tag = node.get(field).and_then(|node| node.tag.as_deref());
            matches!(tag, Some("override" | "reset"))
        };
        if replaced("labels") {
            self.labels.clear();
        }
        if replaced("networks") {
            self.networks.clear();
        }
        if replaced("ports") {
            self.published.clear();
            self.exposed.clear();
        }
        override_all(&mut self.labels, over.labels);
        override_all(&mut self.deploy, over.deploy);
        override_all(&mut self.environment, over.environment);
        for network in over.networks {
            if !self.networks.contains(&network) {
                self.networks.push(network);
            }
        }
        self.network_mode = over.network_mode.or_else(|| self.network_mode.take());
        self.image = over.image.or_else(|| self.image.take());
        self.command = over.command.or_else(|| self.command.take());
        self.exposed.extend(over.exposed);
        self.published.extend(over.published);
        self.fields.extend(over.fields);
    }

    /// A variable of its environment.
    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        let found = self.environment.iter().find(|pair| pair.key == name);
        found
            .map(|pair| pair.value.as_str())
            .filter(|value| !value.is_empty())
    }
}

pub(super) fn override_all(labels: &mut Vec<Label>, over: Vec<Label>) {
    for label in over {
        match labels.iter_mut().find(|known| known.key == label.key) {
            Some(known) => *known = label,
            None => labels.push(label),
        }
    }
}
