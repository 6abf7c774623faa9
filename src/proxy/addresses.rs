//! How many connections an address has at a time (`WHARF_MAX_CONNS_PER_IP`), before anybody knows what they are for.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use super::Engine;
use crate::filter::inflight::Clients;
use crate::filter::network;

/// Connections of each address, over all workers and listeners.
#[derive(Debug)]
pub struct Addresses {
    most: NonZeroU32,
    open: Clients,
    hasher: RandomState,
}

/// One connection of an address, until it is dropped.
pub(crate) struct Seat {
    engine: Arc<Engine>,
    key: u64,
}

impl Addresses {
    pub fn new(most: NonZeroU32) -> Self {
        Self {
            most,
            open: Clients::default(),
            hasher: RandomState::new(),
        }
    }

    pub(crate) fn most(&self) -> u32 {
        self.most.get()
    }
}

/// Counts one more connection of `peer`. `Ok(None)`: it is not counted, as there is no limit, or many are behind it.
///
/// # Errors
/// It has as many as it may.
#[inline]
pub(crate) fn seat(engine: &Arc<Engine>, peer: IpAddr) -> Result<Option<Seat>, ()> {
    match &engine.addresses {
        None => Ok(None),
        Some(addresses) => count(engine, addresses, peer),
    }
}

fn count(engine: &Arc<Engine>, addresses: &Addresses, peer: IpAddr) -> Result<Option<Seat>, ()> {
    if engine.trusted.contains(peer) || engine.proxied_by.contains(peer) {
        return Ok(None);
    }
    let key = addresses.hasher.hash_one(network(peer));
    match addresses.open.take(key, addresses.most(), false) {
        true => Ok(Some(Seat {
            engine: Arc::clone(engine),
            key,
        })),
        false => Err(()),
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(addresses) = &self.engine.addresses {
            addresses.open.give_back(self.key);
        }
    }
}
