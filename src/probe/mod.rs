//! Finds out when endpoints are ready: a container runs before its application does, and one with
//! `wharf.health` is asked again and again.
//!
//! Runs on the control thread, a task for each endpoint that has to be asked. Without a check of its own an
//! endpoint is asked for a connection until it takes one; one that was there long before Wharf, or that a
//! request has reached, is not. What is asked here is no request: nobody counts or logs it, and its
//! failures are not those of `wharf.fail`.

// What an endpoint is asked.
mod ask;
// As much of HTTP as it takes to read a status.
mod http;
// The same in HTTP/2, and gRPC's own question.
mod http2;

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, sleep_until, timeout};

use self::ask::{Answer, ask, connect};
use crate::model::{ActiveCheck, HealthCheck};
use crate::route::SharedTable;
use crate::tls::Certs;
use crate::upstream::{Change, Endpoint, Failure, Judge, Outcome};

/// Follows the table and asks every endpoint that has to be asked. Cancel safe.
pub async fn run(table: Arc<SharedTable>, certs: Certs) -> Infallible {
    let mut changes = table.changes();
    let mut probes = JoinSet::new();
    let mut running: HashMap<u64, Probe> = HashMap::new();
    let lanes = Arc::new(Lanes::new());
    loop {
        let current = table.load();
        let endpoints = current.upstreams.iter().flat_map(|up| &up.endpoints);
        let mut wanted = HashMap::new();
        for endpoint in endpoints {
            let checked = endpoint.health.active().is_some();
            if !checked && endpoint.is_ready() {
                continue;
            }
            // A new check starts anew, from what is known.
            let same = running.remove(&endpoint.live.id).filter(|probe| {
                let same = probe.health == endpoint.health;
                if !same {
                    probe.task.abort();
                }
                same
            });
            let probe = same.unwrap_or_else(|| {
                let (endpoint, table) = (endpoint.clone(), Arc::clone(&table));
                let (lanes, certs) = (Arc::clone(&lanes), certs.clone());
                Probe {
                    health: Arc::clone(&endpoint.health),
                    task: probes.spawn(follow(endpoint, table, lanes, certs)),
                }
            });
            wanted.insert(endpoint.live.id, probe);
        }
        for probe in running.into_values() {
            probe.task.abort();
        }
        running = wanted;
        while probes.try_join_next().is_some() {}
        if changes.changed().await.is_err() {
            // Nobody is left to change it; never in a running process.
            return pending().await;
        }
    }
}

/// An endpoint that is asked.
struct Probe {
    health: Arc<HealthCheck>,
    task: AbortHandle,
}

/// Room for checks under way at the same time; others wait for their turn. Endpoints that let checks hang
/// keep to a lane of their own, so that they hold up each other and nobody else.
struct Lanes {
    quick: Semaphore,
    slow: Semaphore,
}

impl Lanes {
    fn new() -> Self {
        Self {
            quick: Semaphore::new(AT_ONCE),
            slow: Semaphore::new(SLOW_AT_ONCE),
        }
    }

    /// The lane for an endpoint that came to this last time.
    fn after(&self, last: Option<Outcome>) -> &Semaphore {
        match last {
            Some(Outcome::Failed(Failure::Timeout)) => &self.slow,
            _ => &self.quick,
        }
    }
}

async fn follow(endpoint: Endpoint, table: Arc<SharedTable>, lanes: Arc<Lanes>, certs: Certs) {
    match endpoint.health.active() {
        Some(check) => watch(&endpoint, check, &table, (&lanes, &certs)).await,
        None => wait(&endpoint, &table).await,
    }
}

/// Connects until somebody listens.
async fn wait(endpoint: &Endpoint, table: &SharedTable) {
    let mut pause = FIRST_PAUSE;
    loop {
        let failure = match timeout(LIMIT, connect(&endpoint.addr)).await {
            Ok(Ok(_)) => None,
            Ok(Err(failure)) => failure,
            Err(_) => Some(Failure::ConnectTimeout),
        };
        let now = Instant::now();
        if let Some(failure) = failure {
            endpoint.note(failure, now);
        } else {
            if endpoint.listens(now) {
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

/// Checks for as long as the endpoint is there.
async fn watch(
    endpoint: &Endpoint,
    check: &ActiveCheck,
    table: &SharedTable,
    (lanes, certs): (&Lanes, &Certs),
) {
    let appeared = Instant::now();
    let mut judge = Judge::new(endpoint.is_ready(), phase(endpoint.live.id), appeared);
    let mut silent = true;
    loop {
        sleep_until(judge.due().into()).await;
        let last = endpoint.last_check(Instant::now()).map(|(last, _)| last);
        // Never closed.
        let Ok(_permit) = lanes.after(last).acquire().await else {
            return;
        };
        let begun = Instant::now();
        let spoken = (endpoint.proto, endpoint.tls.as_deref());
        let Answer { outcome, rest } = ask(&endpoint.check_addr(), spoken, check, certs).await;
        let now = Instant::now();
        let Some(outcome) = outcome else {
            judge.skip(check, begun);
            continue;
        };
        endpoint.checked(outcome, now);
        match outcome {
            Outcome::Failed(failure) if !endpoint.is_ready() => endpoint.note(failure, now),
            Outcome::Failed(_) => {}
            // It may still need long, but it is there: worth waiting for.
            Outcome::Connected | Outcome::Status(_) => {
                endpoint.listens(now);
            }
        }
        let passed = outcome.passes(check);
        if let Some(change) = judge.note(passed, check, begun) {
            let ready = change == Change::Ready;
            endpoint.judged(ready, now);
            tell(endpoint, change, &outcome.told(check));
            silent = false;
            settle(endpoint, table, ready);
        } else if silent && now.duration_since(appeared) > SILENCE {
            silent = false;
            if !endpoint.is_ready() {
                tell(endpoint, Change::Out, &outcome.told(check));
            }
        }
        if let Some(rest) = rest {
            http::drain(rest).await;
        }
    }
}

/// One line for each change.
fn tell(endpoint: &Endpoint, change: Change, check: &str) {
    let (container, endpoint) = (&*endpoint.container, &endpoint.addr);
    match change {
        Change::Ready => tracing::info!(container, %endpoint, check, "passes its health check"),
        Change::Out => tracing::warn!(
            container,
            %endpoint,
            check,
            "does not pass its health check and gets no requests"
        ),
    }
}

/// Wakes those who wait.
fn settle(endpoint: &Endpoint, table: &SharedTable, ready: bool) {
    let current = table.load();
    let mut upstreams = current.upstreams.iter();
    let of = upstreams.find(|up| {
        up.endpoints
            .iter()
            .any(|one| one.live.id == endpoint.live.id)
    });
    if let Some(upstream) = of.filter(|_| ready) {
        let _ = upstream.reached(); // who waits is told in any case
    }
    table.touch();
}

/// Spreads endpoints evenly over an interval, whatever their number: multiples of the golden ratio. At
/// the end rather than the beginning, so that two checks do not follow at once.
fn phase(id: u64) -> f64 {
    let turns = id as f64 * 0.618_033_988_749_895;
    turns.fract().mul_add(0.9, 0.1)
}

/// Checks under way at the same time.
const AT_ONCE: usize = 128;
const SLOW_AT_ONCE: usize = 32;
/// Of one connect; a local one takes far less, and packets to an address that is gone are lost.
const LIMIT: Duration = Duration::from_millis(500);
/// Between two, growing: 17 in the first second, then fewer.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
/// An application may start for so long before its log is told.
const SILENCE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_of_many_endpoints_are_spread() {
        let mut phases: Vec<f64> = (1..=500).map(phase).collect();
        phases.sort_by(f64::total_cmp);
        assert!(phases[0] >= 0.1 && phases[499] < 1.0);
        let gaps = phases.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(gaps.fold(0.0, f64::max) < 0.01);
    }
}
