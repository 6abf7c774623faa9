//! Finds out when endpoints start to listen: a container runs before its application does.
//!
//! Runs on the control thread. An endpoint that was there long before Wharf, or that a request has
//! reached, is never asked.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::route::SharedTable;
use crate::upstream::{Endpoint, Failure};

/// Follows the table and asks every endpoint that is not known to listen. Cancel safe.
pub async fn run(table: Arc<SharedTable>) -> Infallible {
    let mut changes = table.changes();
    let mut probes = JoinSet::new();
    let mut running = HashMap::new();
    loop {
        let current = table.load();
        let endpoints = current.upstreams.iter().flat_map(|up| &up.endpoints);
        let mut wanted = HashMap::new();
        for endpoint in endpoints.filter(|endpoint| !endpoint.is_ready()) {
            let probe = running.remove(&endpoint.live.id).unwrap_or_else(|| {
                let table = Arc::clone(&table);
                probes.spawn(ask(endpoint.clone(), table))
            });
            wanted.insert(endpoint.live.id, probe);
        }
        for probe in running.into_values() {
            probe.abort();
        }
        running = wanted;
        while probes.try_join_next().is_some() {}
        if changes.changed().await.is_err() {
            // Nobody is left to change it; never in a running process.
            return pending().await;
        }
    }
}

/// Connects until somebody listens.
async fn ask(endpoint: Endpoint, table: Arc<SharedTable>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let failure = match timeout(LIMIT, TcpStream::connect(endpoint.addr)).await {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(Failure::of_connect(&error)),
            Err(_) => Some(Failure::ConnectTimeout),
        };
        if let Some(failure) = failure {
            endpoint.note(failure, Instant::now());
        } else {
            if endpoint.listens() {
                let container = &*endpoint.container;
                tracing::debug!(container, endpoint = %endpoint.addr, "listens");
                table.touch();
            }
            return;
        }
        sleep(pause).await;
        pause = pause.mul_f64(1.25).min(LONGEST_PAUSE);
    }
}

/// Of one connect; a local one takes far less, and packets to an address that is gone are lost.
const LIMIT: Duration = Duration::from_millis(500);
/// Between two, growing: 17 in the first second, then fewer.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
