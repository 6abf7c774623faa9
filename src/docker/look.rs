//! The calls behind one look at the engine, and those beside it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::time::timeout;

use super::engine::Engine;
use super::error::EngineError;
use super::event::Facts;
use super::signs::FactsById;
use super::{Container, Network, State};
use crate::model::LabelPrefix;

/// What one round of calls gives.
pub(super) struct Look {
    pub(super) containers: Vec<Container>,
    pub(super) networks: Vec<Network>,
    /// What had to be asked.
    pub(super) facts: FactsById,
}

/// Lists containers and networks, and inspects those containers whose ports the list hides: what they
/// do not tell within [`INSPECT_WITHIN`] has to wait, one that is stuck must not hold up all others.
pub(super) async fn look(
    engine: &Engine,
    known: Arc<FactsById>,
    prefix: LabelPrefix,
) -> Result<Look, EngineError> {
    let (containers, networks) = tokio::try_join!(engine.containers(), engine.networks())?;
    let unknown: Vec<String> = containers
        .iter()
        .filter(|container| hides_much(container, &prefix) && !known.contains_key(&container.id))
        .map(|container| container.id.clone())
        .collect();
    let inspects = stream::iter(unknown).map(|id| inspect(engine, id));
    let mut inspects = inspects.buffer_unordered(MOST_INSPECTS);
    let mut facts = HashMap::new();
    let inspecting = async {
        while let Some((id, found)) = inspects.next().await {
            match found {
                Ok(Some(found)) => drop(facts.insert(id, found)),
                Ok(None) => {}
                Err(error) => tracing::debug!(container = id, %error, "not inspected"),
            }
        }
    };
    // Whatever has come by then is there; cancel safe.
    let _ = timeout(INSPECT_WITHIN, inspecting).await;
    drop(inspects);
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

/// Whether the list does not tell enough of a container to serve it: no ports, as with the host's
/// network, and with Podman but for published ones; with Podman no network mode either.
pub(super) fn hides_much(container: &Container, prefix: &LabelPrefix) -> bool {
    container.state == State::Running
        && (container.exposed.is_empty() || container.network_mode.is_empty())
        && is_ours(container, prefix)
}

/// Only containers with our labels are inspected: it shows more than we want to know.
pub(super) fn is_ours(container: &Container, prefix: &LabelPrefix) -> bool {
    container.labels.keys().any(|key| prefix.owns(key))
}

/// Inspects at the same time.
pub(super) const MOST_INSPECTS: usize = 8;
const INSPECT_WITHIN: Duration = Duration::from_secs(2);
