//! The side of a flight that waits for its head, and reading entries from disk.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::core::Core;
use super::fill::Fill;
use super::flight::{Flight, Phase};
use super::object::{Miss, Object, Select, Variant};
use super::pool::{Keeper, Promise};
use super::reader::Reader;
use super::shard::Loading;

/// Somebody who waits for what another one asks the app for. The limit of the wait is the caller's
/// (nginx: `proxy_cache_lock_timeout`): dropping this ends it.
#[derive(Debug)]
pub struct Follower {
    flight: Arc<Flight>,
    place: usize,
}

/// What comes of waiting.
#[derive(Debug)]
pub enum Followed {
    /// The response, as it comes.
    Reader(Reader),
    /// A stored response: refreshed, or as good as there is.
    Object(Arc<Object>),
    /// Who led has failed: it is this one's turn.
    Lead(Fill),
    /// The response varies, and is another variant: to be asked for under this one.
    Other(Miss),
    /// Its body has ended too early meanwhile: to be looked for again.
    Again,
    /// The response is not stored: everybody asks the app.
    Released,
}

impl Follower {
    pub(super) fn new(flight: Arc<Flight>) -> Self {
        let place = flight.lock().follow();
        Self { flight, place }
    }

    /// Waits for the head. Not to be polled again once it was ready.
    pub fn poll(&mut self, cx: &mut Context<'_>, select: &mut impl Select) -> Poll<Followed> {
        let mut state = self.flight.lock();
        match &state.phase {
            Phase::Asking => {
                state.await_head(self.place, cx);
                Poll::Pending
            }
            Phase::Vacant => {
                state.phase = Phase::Asking;
                drop(state);
                Poll::Ready(Followed::Lead(Fill::new(Arc::clone(&self.flight))))
            }
            Phase::Cut => Poll::Ready(Followed::Again),
            Phase::Filling | Phase::Whole if !state.has_beginning() => Poll::Ready(Followed::Again),
            Phase::Filling | Phase::Whole => {
                let Some(prelude) = state.prelude.clone() else {
                    return Poll::Ready(Followed::Released); // It has begun, so there is one.
                };
                let place = state.join(0);
                drop(state);
                let reader = Reader::of_flight(&self.flight, &prelude, place);
                let ident = &prelude.ident;
                let variant = if ident.varies() {
                    select.variant(&ident.rule)
                } else {
                    &[]
                };
                if *variant != *ident.variant {
                    let variant = Variant(Some(variant.into()));
                    return Poll::Ready(Followed::Other(Miss { variant, seen: 0 }));
                }
                Poll::Ready(Followed::Reader(reader))
            }
            Phase::Released => Poll::Ready(Followed::Released),
            Phase::Stored(object) => Poll::Ready(Followed::Object(Arc::clone(object))),
        }
    }

    /// As [`poll`](Self::poll).
    pub async fn wait(&mut self, select: &mut impl Select) -> Followed {
        std::future::poll_fn(|cx| self.poll(cx, select)).await
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let mut state = self.flight.lock();
        state.unfollow(self.place);
        // The call may have been for this one.
        let vacant = matches!(state.phase, Phase::Vacant);
        let (next, alone) = if vacant { state.call() } else { (None, false) };
        drop(state);
        next.into_iter().for_each(Waker::wake);
        if alone {
            self.flight.detach();
        }
    }
}

/// A response on disk that has not been read yet.
#[derive(Debug)]
pub struct OnDisk {
    pub(super) core: Arc<Core>,
    pub(super) hash: u64,
    pub(super) id: u64,
    pub(super) key: Box<[u8]>,
    pub(super) variant: Variant,
    pub(super) loading: Option<Loading>,
}

impl OnDisk {
    /// What to [`begin`](super::Store::begin) with if it cannot be used.
    pub fn miss(&self) -> Miss {
        Miss {
            variant: self.variant.clone(),
            seen: self.id,
        }
    }

    /// Reads it, or waits for somebody who does. Nothing if it cannot be used, which is a miss.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Arc<Object>>> {
        let loading = match &self.loading {
            Some(loading) => loading,
            None => {
                let loading = self.begin();
                self.loading.insert(loading)
            }
        };
        let object = std::task::ready!(loading.poll(cx));
        // Who has begun it has compared its own key; by its hash it is ours, too, but one of a collision.
        let variant = self.variant.0.as_deref().unwrap_or_default();
        let ours = |object: &Arc<Object>| {
            *object.ident.key == *self.key && *object.ident.variant == *variant
        };
        Poll::Ready(object.filter(ours))
    }

    /// As [`poll`](Self::poll). Cancel safe.
    pub async fn read(&mut self) -> Option<Arc<Object>> {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    /// One reads for all who ask for the same meanwhile.
    fn begin(&self) -> Loading {
        let promise = Promise::new();
        let mut shard = self.core.index.shard(self.hash);
        if let Some(loading) = shard.loads.get(&self.id) {
            return Arc::clone(loading);
        }
        shard.loads.insert(self.id, Arc::clone(&promise));
        drop(shard);
        let load = Load {
            core: Arc::clone(&self.core),
            place: (self.hash, self.id),
            keeper: Keeper {
                promise: Arc::clone(&promise),
                default: None,
            },
        };
        let (key, variant) = (self.key.clone(), self.variant.0.clone());
        self.core.pool.read(move || {
            let variant = variant.unwrap_or_default();
            let object = load.core.load(load.place, &key, &variant);
            load.keeper.promise.keep(object);
        });
        promise
    }
}

/// Ends when the job does, whether it has run or not.
struct Load {
    core: Arc<Core>,
    place: (u64, u64),
    keeper: Keeper<Option<Arc<Object>>>,
}

impl Drop for Load {
    fn drop(&mut self) {
        self.core
            .index
            .shard(self.place.0)
            .loads
            .remove(&self.place.1);
    }
}
