//! Who goes first when there is no room: S3-FIFO (Yang et al., "FIFO queues are all you need for cache eviction", SOSP
//! 2023), with a pair of queues for each owner.
//!
//! A newcomer enters a small queue and leaves the cache from there unless it is asked for again meanwhile, so a crawler
//! that asks for everything once pushes out nothing that is in use. A hit sets two bits where LRU would move an entry, which
//! keeps what a hit does under its lock to a few instructions. A hash remembered in the [`Ghost`] lets what comes back soon
//! enter the main queue at once.
//!
//! Owners have lanes of their own for the sake of quotas. Between owners, whoever holds most gives.

use std::sync::Arc;

use super::owner::Owner;
use super::slab::{Linked, NONE, Place, Slab};

/// The queues of one tier in one shard.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    /// By owner.
    lanes: Vec<Lane>,
    weight: u64,
}

#[derive(Debug)]
struct Lane {
    owner: Arc<Owner>,
    small: List,
    main: List,
}

/// New ones at the head, victims from the tail.
#[derive(Debug)]
struct List {
    head: u32,
    tail: u32,
    weight: u64,
}

impl Lanes {
    pub(super) fn weight(&self, owner: Option<&Owner>) -> u64 {
        let Some(owner) = owner else {
            return self.weight;
        };
        let lane = self.find(owner.id()).ok().map(|at| &self.lanes[at]);
        lane.map_or(0, |lane| lane.small.weight + lane.main.weight)
    }

    /// Puts an entry that is in no list into its owner's: the main one where `known` from before.
    pub(super) fn push<T: Linked>(
        &mut self,
        slab: &mut Slab<T>,
        at: u32,
        owner: &Arc<Owner>,
        known: bool,
    ) {
        let lane = match self.find(owner.id()) {
            Ok(lane) => lane,
            Err(lane) => {
                self.lanes.insert(lane, Lane::new(owner));
                lane
            }
        };
        let place = if known { Place::Main } else { Place::Small };
        let link = slab[at].link_mut();
        (link.owner, link.hits) = (owner.id(), 0);
        self.weight += u64::from(link.weight);
        self.lanes[lane].list(place).push(slab, at, place);
    }

    /// Takes an entry out of whatever list it is in, and says whose it was.
    pub(super) fn remove<T: Linked>(&mut self, slab: &mut Slab<T>, at: u32) -> Option<Arc<Owner>> {
        let link = slab[at].link();
        let (place, weight) = (link.place, u64::from(link.weight));
        if matches!(place, Place::Nowhere | Place::Free) {
            return None;
        }
        let lane = self.find(link.owner).ok()?;
        self.lanes[lane].list(place).remove(slab, at);
        self.weight -= weight;
        let owner = Arc::clone(&self.lanes[lane].owner);
        if self.lanes[lane].is_empty() {
            self.lanes.remove(lane);
            if self.lanes.is_empty() {
                self.lanes = Vec::new();
            }
        }
        Some(owner)
    }

    /// The entry to evict, of `owner` or of anybody; it stays in its list.
    pub(super) fn victim<T: Linked>(
        &mut self,
        slab: &mut Slab<T>,
        owner: Option<&Owner>,
    ) -> Option<u32> {
        for _ in 0..PATIENCE {
            let (lane, place) = self.choose(owner)?;
            let lane = &mut self.lanes[lane];
            let at = lane.list(place).tail;
            let link = slab[at].link_mut();
            if link.hits == 0 {
                return Some(at);
            }
            // From the small queue it has earned its place; in the main one it gets another round.
            link.hits = if place == Place::Small {
                0
            } else {
                link.hits - 1
            };
            lane.list(place).remove(slab, at);
            lane.main.push(slab, at, Place::Main);
        }
        let (lane, place) = self.choose(owner)?;
        Some(self.lanes[lane].list(place).tail)
    }

    /// Newcomers give first, once they are more than a tenth; then whoever holds most.
    fn choose(&self, owner: Option<&Owner>) -> Option<(usize, Place)> {
        if let Some(owner) = owner {
            let at = self.find(owner.id()).ok()?;
            let lane = &self.lanes[at];
            let total = lane.small.weight + lane.main.weight;
            let small = lane.main.is_empty() || lane.small.weight * SMALL > total;
            let place = if small && !lane.small.is_empty() {
                Place::Small
            } else {
                Place::Main
            };
            return Some((at, place));
        }
        let most = |place: fn(&Lane) -> &List| {
            let lanes = self.lanes.iter().enumerate();
            let lanes = lanes.filter(|(_, lane)| !place(lane).is_empty());
            lanes.max_by_key(|(_, lane)| place(lane).weight)
        };
        let small = most(|lane| &lane.small);
        let main = most(|lane| &lane.main);
        let newcomers: u64 = self.lanes.iter().map(|lane| lane.small.weight).sum();
        match (small, main) {
            (Some((at, _)), None) => Some((at, Place::Small)),
            (Some((at, _)), Some(_)) if newcomers * SMALL > self.weight => Some((at, Place::Small)),
            (_, Some((at, _))) => Some((at, Place::Main)),
            (None, None) => None,
        }
    }

    fn find(&self, owner: u16) -> Result<usize, usize> {
        self.lanes
            .binary_search_by_key(&owner, |lane| lane.owner.id())
    }
}

impl Lane {
    fn new(owner: &Arc<Owner>) -> Self {
        Self {
            owner: Arc::clone(owner),
            small: List::default(),
            main: List::default(),
        }
    }

    fn list(&mut self, place: Place) -> &mut List {
        if place == Place::Small {
            &mut self.small
        } else {
            &mut self.main
        }
    }

    fn is_empty(&self) -> bool {
        self.small.is_empty() && self.main.is_empty()
    }
}

impl Default for List {
    fn default() -> Self {
        Self {
            head: NONE,
            tail: NONE,
            weight: 0,
        }
    }
}

impl List {
    fn is_empty(&self) -> bool {
        self.head == NONE
    }

    fn push<T: Linked>(&mut self, slab: &mut Slab<T>, at: u32, place: Place) {
        let link = slab[at].link_mut();
        (link.prev, link.next, link.place) = (NONE, self.head, place);
        self.weight += u64::from(link.weight);
        match self.head {
            NONE => self.tail = at,
            head => slab[head].link_mut().prev = at,
        }
        self.head = at;
    }

    fn remove<T: Linked>(&mut self, slab: &mut Slab<T>, at: u32) {
        let link = slab[at].link_mut();
        let (prev, next) = (link.prev, link.next);
        (link.prev, link.next, link.place) = (NONE, NONE, Place::Nowhere);
        self.weight -= u64::from(link.weight);
        match prev {
            NONE => self.head = next,
            prev => slab[prev].link_mut().next = next,
        }
        match next {
            NONE => self.tail = prev,
            next => slab[next].link_mut().prev = prev,
        }
    }
}

/// Hashes of what was evicted from a small queue lately. A newer one takes the place of an older one.
#[derive(Debug)]
pub(super) struct Ghost(Box<[u32]>);

impl Ghost {
    /// Remembers up to `places` hashes, a power of two, in four bytes each.
    pub(super) fn new(places: usize) -> Self {
        Self(vec![0; places.next_power_of_two()].into())
    }

    pub(super) fn add(&mut self, hash: u64) {
        let at = self.at(hash);
        self.0[at] = mark(hash);
    }

    pub(super) fn take(&mut self, hash: u64) -> bool {
        let at = self.at(hash);
        let found = self.0[at] == mark(hash);
        if found {
            self.0[at] = 0;
        }
        found
    }

    fn at(&self, hash: u64) -> usize {
        (hash >> 8) as usize & (self.0.len() - 1)
    }
}

/// The upper half of a hash; zero stands for nothing.
fn mark(hash: u64) -> u32 {
    ((hash >> 32) as u32).max(1)
}

/// The small queues get one part in so many.
const SMALL: u64 = 10;
/// So many entries in use are passed over before one has to go all the same.
const PATIENCE: usize = 32;
