//! Endpoints that are gone, not only for new requests: nothing that is under way to them can be answered
//! any more, and packets to where they were may vanish without a word.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use super::{Published, own};
use crate::docker::{Attachment, Snapshot, State};
use crate::model::{EndpointSpec, Via};
use crate::route::RouteTable;

/// Endpoints that have left the table. What is under way to them goes on while their containers are
/// where they were: stopping, paused or ill, or back under a new endpoint.
#[derive(Debug, Default)]
pub(super) struct Departed(Vec<Endpoint>);

#[derive(Debug)]
struct Endpoint {
    /// Of its live half.
    id: u64,
    container: String,
    /// None: it is reached by no network.
    ip: Option<IpAddr>,
    via: Via,
    /// See `docker::Container::ended`.
    ended: i64,
}

impl Departed {
    /// Takes note of those that `table` does not have any more.
    pub(super) fn note(&mut self, before: &Published, table: &RouteTable) {
        let endpoints = table.upstreams.iter().flat_map(|up| &up.endpoints);
        let there: HashSet<u64> = endpoints.map(|endpoint| endpoint.live.id).collect();
        let specs = before.plan.upstreams.iter().flat_map(|up| &up.endpoints);
        let specs: HashMap<_, _> = specs
            .map(|spec| ((&*spec.container_id, &spec.addr), spec))
            .collect();
        let old = before.table.upstreams.iter().flat_map(|up| &up.endpoints);
        for endpoint in old.filter(|endpoint| !there.contains(&endpoint.live.id)) {
            let spec = specs.get(&(&*endpoint.container_id, &endpoint.addr));
            // Where a label names the address it is no container's. The end of a Unix socket is told by the
            // kernel, and the new app may have been behind it before the old one was gone.
            let known = |spec: &&&EndpointSpec| !matches!(spec.via, Via::Label | Via::Socket);
            if let Some(spec) = spec.filter(known) {
                self.0.push(Endpoint {
                    id: endpoint.live.id,
                    container: endpoint.container_id.to_string(),
                    ip: endpoint.addr.ip(),
                    via: spec.via.clone(),
                    ended: spec.ended,
                });
            }
        }
        let surplus = self.0.len().saturating_sub(MOST_DEPARTED);
        self.0.drain(..surplus);
    }

    /// Takes out, by id, those that are gone for good.
    pub(super) fn take_gone(&mut self, snapshot: &Snapshot) -> Vec<u64> {
        let gone = self.0.extract_if(.., |one| one.is_gone(snapshot));
        gone.map(|endpoint| endpoint.id).collect()
    }
}

impl Endpoint {
    /// Whether its container has ended, or is off the network by which it was reached.
    fn is_gone(&self, snapshot: &Snapshot) -> bool {
        let mut containers = snapshot.containers.iter();
        let Some(container) = containers.find(|one| one.id == self.container) else {
            return true;
        };
        if container.ended != self.ended {
            return true; // another process of it runs
        }
        match container.state {
            State::Created | State::Exited | State::Restarting => return true,
            State::Running | State::Stopping | State::Paused | State::Other => {}
        }
        let here = |network: &&Attachment| {
            let addresses = [network.ipv4.map(IpAddr::V4), network.ipv6.map(IpAddr::V6)];
            self.ip.is_some() && addresses.contains(&self.ip)
        };
        let ours = |network: &Attachment| {
            own(snapshot).is_none_or(|own| {
                let mut networks = own.networks.iter();
                networks.any(|one| one.network_id == network.network_id)
            })
        };
        let mut networks = container.networks.iter().filter(here);
        matches!(self.via, Via::Network { .. }) && !networks.any(ours)
    }
}

/// `earlier` and `new`, the last [`MOST_LOST`] of them.
pub(super) fn lost(earlier: &[u64], new: Vec<u64>) -> Vec<u64> {
    let mut lost = [earlier, &new].concat();
    let surplus = lost.len().saturating_sub(MOST_LOST);
    lost.drain(..surplus);
    lost
}

/// Far more than have requests under way.
const MOST_DEPARTED: usize = 4096;
/// Lost endpoints that a table remembers: far more than get lost between two looks of a worker.
const MOST_LOST: usize = 256;
