//! The side of a flight that asks the app.

use std::sync::Arc;
use std::time::Instant;

use super::behind::Task;
use super::core::on_disk;
use super::file::Preface;
use super::filling::Filling;
use super::flight::{Flight, Phase, Prelude, Spill};
use super::object::{Ident, Key, Object, Response, shared};
use super::shard::Debris;

/// The duty to ask the app, for all who ask for the same meanwhile. If it is dropped, one of them takes it over.
#[derive(Debug)]
pub struct Fill {
    flight: Arc<Flight>,
    /// It has been settled.
    over: bool,
}

/// Why a response is not stored. Followers have been told to go to the app themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("it is larger than the cache or its quota")]
    TooLarge,
    #[error("its head or its key is too long")]
    TooLong,
    #[error("there is no room in memory")]
    NoRoom,
}

impl Fill {
    pub(super) fn new(flight: Arc<Flight>) -> Self {
        Self {
            flight,
            over: false,
        }
    }

    fn take(&mut self) -> Arc<Flight> {
        self.over = true;
        Arc::clone(&self.flight)
    }

    /// The head is here and may be stored: followers get it now, and the body as it comes.
    pub fn start(mut self, response: &Response<'_>) -> Result<Filling, Refused> {
        let flight = self.take();
        match prelude(&flight, response).and_then(|prelude| plan(&flight, response, prelude)) {
            Ok((prelude, spill)) => {
                let prelude = Arc::new(prelude);
                let mut state = flight.lock();
                state.prelude = Some(Arc::clone(&prelude));
                state.spill = spill;
                drop(state);
                flight.settle(Phase::Filling);
                Ok(Filling::new(flight, prelude))
            }
            Err(refused) => {
                release(&flight);
                Err(refused)
            }
        }
    }

    /// The response is not to be stored: followers go to the app themselves, at once, and so does for ten seconds who
    /// asks for the same.
    pub fn refuse(mut self, now: Instant) {
        let flight = self.take();
        let until = flight.core.seconds(now) + PASS;
        flight
            .core
            .index
            .shard(flight.hash)
            .pass(flight.hash, until);
        release(&flight);
    }

    /// Followers are answered with what is stored: the app cannot be reached, and that is fresh enough.
    pub fn serve(mut self, object: &Arc<Object>) {
        let flight = self.take();
        flight.detach();
        flight.settle(Phase::Stored(Arc::clone(object)));
    }

    /// The app says that `object` is still good (304): it gets new notes and a new head, in both tiers, and the followers
    /// get it. Who reads the old one goes on.
    pub fn refresh(
        mut self,
        object: &Arc<Object>,
        meta: &[u8],
        head: &[u8],
        now: Instant,
    ) -> Arc<Object> {
        let flight = self.take();
        let new = refreshed(&flight, object, meta, head, now);
        let new = new.unwrap_or_else(|| Arc::clone(object));
        flight.detach();
        flight.settle(Phase::Stored(Arc::clone(&new)));
        new
    }
}

impl Drop for Fill {
    fn drop(&mut self) {
        if !self.over {
            self.flight.vacate();
        }
    }
}

fn release(flight: &Arc<Flight>) {
    flight.detach();
    flight.settle(Phase::Released);
}

fn prelude(flight: &Flight, response: &Response<'_>) -> Result<Prelude, Refused> {
    let core = &flight.core;
    let key = Key {
        bytes: &flight.key,
        host: &flight.host,
        owner: &flight.owner,
        hash: flight.hash,
    };
    let room = |bytes| core.index.room(bytes, &mut Debris::default());
    let ident = Ident::new(key, response, room).ok_or(Refused::NoRoom)?;
    let known = !ident.varies() || core.index.rules.number(&ident.rule).is_some();
    let id = core.index.next_id();
    if !known || Preface::new(id, &ident, response.meta, response.head).is_none() {
        return Err(Refused::TooLong);
    }
    let bytes = response.meta.len() + response.head.len() + PRELUDE;
    Ok(Prelude {
        id,
        ident,
        meta: shared(response.meta),
        head: shared(response.head),
        length: response.length,
        _charge: room(bytes as u64).ok_or(Refused::NoRoom)?,
    })
}

/// Where the body will go, as far as that is known.
fn plan(
    flight: &Flight,
    response: &Response<'_>,
    prelude: Prelude,
) -> Result<(Prelude, Spill), Refused> {
    let limits = &flight.core.limits;
    let length = response.length.unwrap_or(0);
    if length > flight.owner.quota() {
        return Err(Refused::TooLarge);
    }
    if length <= limits.object {
        return Ok((prelude, Spill::No));
    }
    if on_disk(length) > limits.disk || flight.core.disk.get().is_none() {
        return Err(Refused::TooLarge);
    }
    Ok((prelude, Spill::Wanted))
}

fn refreshed(
    flight: &Flight,
    object: &Arc<Object>,
    meta: &[u8],
    head: &[u8],
    now: Instant,
) -> Option<Arc<Object>> {
    let core = &flight.core;
    let mut debris = Debris::default();
    let cost = Object::cost(meta, head, &object.body);
    let charge = core.index.room(cost, &mut debris)?;
    let ident = Arc::clone(&object.ident);
    let new = Object::new(object.id, ident, (meta, head), object.body.clone(), charge);
    let new = Arc::new(new);
    // Marked as stale, or purged, since it was asked about: then this is no answer to that.
    if flight.lock().doomed {
        return Some(new);
    }
    let known = core
        .index
        .shard(flight.hash)
        .refreshed(flight.hash, new.id, core.seconds(now));
    if known {
        core.index.keep(flight.hash, &new, &mut debris);
        core.write_later(flight.hash, &new, Task::Rewrite);
    }
    core.discard(debris);
    Some(new)
}

/// Seconds for which nobody waits for a response that was not storable.
const PASS: u32 = 10;
/// A [`Prelude`], two byte strings, and what an allocator adds.
const PRELUDE: usize = size_of::<Prelude>() + 160;
