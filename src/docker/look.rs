//! The calls behind one look at the engine, and those beside it.

use std::collections::HashMap;
use std::sync::Arc;

use super::engine::Engine;
use super::error::EngineError;
use super::event::Facts;
use super::signs::FactsById;
use super::{Container, Network, State};

/// What one round of calls gives.
pub(super) struct Look {
    pub(super) containers: Vec<Container>,
    pub(super) networks: Vec<Network>,
    /// What had to be asked.
    pub(super) facts: FactsById,
}

/// Lists containers and networks, and inspects those containers whose ports the list hides.
pub(super) async fn look(engine: &Engine, known: Arc<FactsById>) -> Result<Look, EngineError> {
    let (containers, networks) = tokio::try_join!(engine.containers(), engine.networks())?;
    let mut containers = containers;
    let mut facts = HashMap::new();
    for container in containers.iter_mut().filter(|c| hides_ports(c)) {
        if let Some(known) = known.get(&container.id) {
            container.exposed.clone_from(&known.exposed);
        } else if let Some(found) = engine.facts(&container.id).await? {
            container.exposed.clone_from(&found.exposed);
            facts.insert(container.id.clone(), found);
        }
    }
    Ok(Look {
        containers,
        networks,
        facts,
    })
}

pub(super) async fn inspect(
    engine: &Engine,
    id: String,
) -> (String, Result<Option<Facts>, EngineError>) {
    let facts = engine.facts(&id).await;
    (id, facts)
}

fn hides_ports(container: &Container) -> bool {
    let mode = container.network_mode.as_str();
    container.state == State::Running
        && container.exposed.is_empty()
        && (mode == "host" || mode.starts_with("container:"))
        && is_ours(container)
}

/// Only containers with our labels are inspected: it shows more than we want to know.
pub(super) fn is_ours(container: &Container) -> bool {
    container.labels.keys().any(|key| key.starts_with("wharf."))
}
