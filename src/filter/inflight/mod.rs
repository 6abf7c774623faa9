//! Requests in flight: so many at a time, on a route or of each client, over all workers.
//!
//! A route's own places are one number that workers move without a lock. Those of clients are in a table that
//! knows only who has a request under way, or waits for a place: it is as large as that, and no larger.
//! A place is given back when it is dropped, so once, however a request ends.

mod clients;

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::ratelimit::Whose;
use crate::line::{Queue, Queued};
use crate::model::{InFlightLimit, InFlightLimits, LimitKey, RouteKey};
pub use clients::Clients;

/// The limits of a route, those of clients first: who has no place of its own takes none of everybody's.
#[derive(Debug)]
pub struct InFlight {
    limits: Box<[Limit]>,
}

/// What all tables of a process share.
#[derive(Debug, Default)]
pub struct Counts {
    /// By container and position of the limit. A lock, because only who compiles a table looks.
    routes: Mutex<Routes>,
    clients: Arc<Clients>,
    hasher: RandomState,
}

type Routes = HashMap<(Box<str>, usize), Weak<Counted>>;

#[derive(Debug)]
struct Limit {
    spec: Arc<InFlightLimit>,
    whose: Of,
}

#[derive(Debug)]
enum Of {
    Route(Arc<Counted>),
    Clients {
        clients: Arc<Clients>,
        hasher: RandomState,
        /// Tells its clients from those of others. The same for as long as the route has this name.
        seed: u64,
    },
}

/// Requests under way, and who waits.
#[derive(Debug, Default)]
struct Counted {
    /// Read and written in one order with the length of the line.
    count: AtomicU32,
    line: Arc<Queue>,
}

/// Where a place is counted.
#[derive(Debug, Clone)]
enum At {
    Route(Arc<Counted>),
    Client(Arc<Clients>, u64),
}

/// What a request has of places, in the order of its route's limits.
#[derive(Debug, Default)]
pub struct Places {
    first: Option<Place>,
    /// Mostly none, which takes no memory.
    more: Vec<Place>,
}

/// One of them, until it is dropped.
#[derive(Debug)]
struct Place(At);

/// A request that has no place.
#[derive(Debug, Clone)]
pub struct Full {
    pub limit: Arc<InFlightLimit>,
    at: At,
}

/// One that waits for it, until it is dropped.
#[derive(Debug)]
pub struct Waiting {
    at: At,
    /// `None` once it is dropped.
    queued: Option<Queued>,
    /// When it will no longer.
    pub end: Instant,
}

impl InFlight {
    /// `None` without limits. What routes of one key have under way counts, whatever their limits are now.
    pub fn compile(limits: &InFlightLimits, route: &RouteKey, counts: &Counts) -> Option<Self> {
        if limits.limits.is_empty() {
            return None;
        }
        // A named route that inherits its limits has its container's places.
        let of = match route.0.split_once('#') {
            Some((container, _)) if limits.shared => container,
            _ => &route.0,
        };
        let mut limits: Vec<Limit> = (limits.limits.iter().enumerate())
            .map(|(index, spec)| Limit {
                spec: Arc::new(spec.clone()),
                whose: match spec.key {
                    LimitKey::Global => Of::Route(counts.of_route(of, index)),
                    _ => Of::Clients {
                        clients: Arc::clone(&counts.clients),
                        hasher: counts.hasher.clone(),
                        seed: counts.hasher.hash_one((of, index)),
                    },
                },
            })
            .collect();
        limits.sort_by_key(|limit| matches!(limit.spec.key, LimitKey::Global | LimitKey::Host));
        Some(Self {
            limits: limits.into(),
        })
    }

    /// Takes those places that a request does not have yet, one after the other. `whose` finds a key in the request.
    ///
    /// # Errors
    /// The first that there is none of. The request keeps those it has, and its place in line for that one.
    pub fn enter<'a>(
        &self,
        held: &mut Places,
        waiting: &mut Option<Waiting>,
        whose: impl Fn(&LimitKey) -> Whose<'a>,
    ) -> Result<(), Full> {
        // It may have waited while its route's labels changed.
        if !held.is_empty() && !self.gave(held, &whose) {
            *held = Places::default();
        }
        for limit in self.limits.iter().skip(held.len()) {
            let at = limit.at(&whose);
            if waiting.as_ref().is_some_and(|one| !one.at.is(&at)) {
                *waiting = None;
            }
            if !at.take(limit.spec.count, waiting.is_some()) {
                let limit = Arc::clone(&limit.spec);
                return Err(Full { limit, at });
            }
            *waiting = None;
            held.push(Place(at));
        }
        *waiting = None;
        Ok(())
    }

    /// Each limit, with how many it has under way where that is one number.
    pub fn told(&self) -> impl Iterator<Item = (&InFlightLimit, Option<u32>)> {
        self.limits.iter().map(|limit| {
            let under_way = match &limit.whose {
                Of::Route(counted) => Some(counted.count.load(Ordering::SeqCst)),
                Of::Clients { .. } => None,
            };
            (&*limit.spec, under_way)
        })
    }

    /// What a request would have to wait for now.
    pub fn full<'a>(&self, whose: impl Fn(&LimitKey) -> Whose<'a>) -> Option<Full> {
        self.limits.iter().find_map(|limit| {
            let at = limit.at(&whose);
            let limit = Arc::clone(&limit.spec);
            (at.under_way() >= limit.count || at.waiting() > 0).then_some(Full { limit, at })
        })
    }

    /// Whether the places that a request has are the first of these.
    fn gave<'a>(&self, held: &Places, whose: impl Fn(&LimitKey) -> Whose<'a>) -> bool {
        held.len() <= self.limits.len()
            && (held.iter().zip(&self.limits)).all(|(place, limit)| place.0.is(&limit.at(&whose)))
    }
}

impl Limit {
    fn at<'a>(&self, whose: impl Fn(&LimitKey) -> Whose<'a>) -> At {
        match &self.whose {
            Of::Route(counted) => At::Route(Arc::clone(counted)),
            Of::Clients {
                clients,
                hasher,
                seed,
            } => {
                let key = hasher.hash_one((seed, whose(&self.spec.key)));
                At::Client(Arc::clone(clients), key)
            }
        }
    }
}

impl Counts {
    /// Who is told apart by an address alone, whatever it asks for.
    pub fn clients(&self) -> &Arc<Clients> {
        &self.clients
    }

    fn of_route(&self, of: &str, index: usize) -> Arc<Counted> {
        // Nothing in here panics half way.
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (Box::from(of), index);
        if let Some(known) = routes.get(&key).and_then(Weak::upgrade) {
            return known;
        }
        routes.retain(|_, counted| counted.strong_count() > 0);
        let counted = Arc::default();
        routes.insert(key, Arc::downgrade(&counted));
        counted
    }
}

impl Counted {
    fn take(&self, limit: u32, queued: bool) -> bool {
        if !queued && !self.line.is_empty() {
            return false;
        }
        let more = |count| (count < limit).then_some(count + 1);
        let order = Ordering::SeqCst;
        self.count.fetch_update(order, order, more).is_ok()
    }

    fn give_back(&self) {
        self.count.fetch_sub(1, Ordering::SeqCst);
        self.line.freed();
    }
}

impl At {
    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Route(one), Self::Route(other)) => Arc::ptr_eq(one, other),
            (Self::Client(clients, one), Self::Client(others, other)) => {
                one == other && Arc::ptr_eq(clients, others)
            }
            _ => false,
        }
    }

    /// `queued`: it has waited, and those who wait let it.
    fn take(&self, limit: u32, queued: bool) -> bool {
        match self {
            Self::Route(counted) => counted.take(limit, queued),
            Self::Client(clients, key) => clients.take(*key, limit, queued),
        }
    }

    fn join(&self, limit: u32) -> Option<Queued> {
        match self {
            Self::Route(counted) => counted.line.join(limit as usize),
            Self::Client(clients, key) => clients.join(*key, limit),
        }
    }

    fn under_way(&self) -> u32 {
        match self {
            Self::Route(counted) => counted.count.load(Ordering::SeqCst),
            Self::Client(clients, key) => clients.count(*key).0,
        }
    }

    fn waiting(&self) -> usize {
        match self {
            Self::Route(counted) => counted.line.len(),
            Self::Client(clients, key) => clients.count(*key).1,
        }
    }
}

impl Places {
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.more.len()
    }

    fn iter(&self) -> impl Iterator<Item = &Place> {
        self.first.iter().chain(&self.more)
    }

    fn push(&mut self, place: Place) {
        match &self.first {
            None => self.first = Some(place),
            Some(_) => self.more.push(place),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        match &self.0 {
            At::Route(counted) => counted.give_back(),
            At::Client(clients, key) => clients.give_back(*key),
        }
    }
}

impl Full {
    /// Gets in line, at `now`. `None` where as many wait as may.
    pub fn join(&self, now: Instant) -> Option<Waiting> {
        let limit = &self.limit;
        if limit.wait.is_zero() || limit.queue == 0 {
            return None;
        }
        let queued = self.at.join(limit.queue)?;
        Some(Waiting {
            at: self.at.clone(),
            queued: Some(queued),
            end: now + limit.wait,
        })
    }

    /// Whether one more may wait.
    pub fn has_room(&self) -> bool {
        !self.limit.wait.is_zero() && self.at.waiting() < self.limit.queue as usize
    }

    /// Whether it is the client that has so many, not everybody together.
    pub fn is_of_client(&self) -> bool {
        !matches!(self.limit.key, LimitKey::Global | LimitKey::Host)
    }

    pub fn wait(&self) -> Duration {
        self.limit.wait
    }
}

/// As the label that names the limit.
impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wharf.inflight: {}", self.limit)
    }
}

impl Waiting {
    /// See [`Queued::poll_called`].
    pub fn queued(&self) -> Option<&Queued> {
        self.queued.as_ref()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.queued = None;
        if let At::Client(clients, key) = &self.at {
            clients.left(*key);
        }
    }
}

#[cfg(test)]
mod tests;
