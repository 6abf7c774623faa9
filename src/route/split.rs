//! One host and path, several services: who gets which share of the requests (product.md B21).

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::Route;
use crate::model::Matcher;
use crate::upstream::{Schedule, next_turn};

/// The routes of one host and path, each of another service.
#[derive(Debug)]
pub struct Split {
    /// At least two, sorted by key.
    pub(super) routes: Vec<Arc<Route>>,
    /// Shares of whole services, however many replicas they have.
    schedule: Schedule,
    /// Whose the requests are where nobody has a share.
    rest: usize,
    /// Shared by all workers, so the shares are exact over all of them; outlives a compile.
    pub(super) cursor: Arc<AtomicU64>,
}

/// A route's part in a [`Split`].
#[derive(Debug, Default)]
pub struct Share {
    /// 0 for none of the requests that nothing else decides.
    pub weight: u16,
    /// Requests that meet one of these belong to the route.
    pub canary: Vec<Matcher>,
}

impl Split {
    /// A service without an endpoint that takes requests leaves its share to the others.
    pub(super) fn new(routes: Vec<Arc<Route>>, cursor: Arc<AtomicU64>) -> Self {
        let shares = routes.iter().map(|route| match &route.share {
            Some(share) if route.upstream.takes_requests() => share.weight,
            _ => 0,
        });
        let schedule = Schedule::smooth(&shares.collect::<Vec<_>>());
        let mut ready = routes.iter();
        let rest = ready.position(|route| route.upstream.takes_requests());
        let rest = rest.unwrap_or(0);
        Self {
            routes,
            schedule,
            rest,
            cursor,
        }
    }

    /// The route whose share this request is: the one that is [`decided`](Self::decided), else the one
    /// whose turn it is.
    pub fn choose(
        &self,
        canary: impl Fn(&Matcher) -> bool,
        holds: impl Fn(&Route) -> bool,
    ) -> &Arc<Route> {
        let decided = self.decided(canary, holds);
        decided.unwrap_or_else(|| &self.routes[self.turn()])
    }

    /// The one that takes requests and that `canary` finds a condition of met; else the one that `holds`
    /// the client.
    pub fn decided(
        &self,
        canary: impl Fn(&Matcher) -> bool,
        holds: impl Fn(&Route) -> bool,
    ) -> Option<&Arc<Route>> {
        let asked = |route: &&Arc<Route>| {
            let share = route.share.as_ref();
            share.is_some_and(|share| share.canary.iter().any(&canary)) && serves(route)
        };
        // A service that has no share is being emptied: it keeps nobody.
        let held = |route: &&Arc<Route>| {
            let share = route.share.as_ref();
            share.is_some_and(|share| share.weight > 0 || !share.canary.is_empty())
                && holds(route)
                && !route.upstream.is_out()
        };
        let mut routes = self.routes.iter();
        routes.find(asked).or_else(|| self.routes.iter().find(held))
    }

    /// Those whose turn it may be, with their shares.
    pub fn shares(&self) -> Vec<(&Arc<Route>, u16)> {
        let shares = self.routes.iter().filter_map(|route| {
            let weight = route.share.as_ref().map_or(0, |share| share.weight);
            (weight > 0 && serves(route)).then_some((route, weight))
        });
        let shares: Vec<_> = shares.collect();
        match (shares.is_empty(), self.routes.get(self.rest)) {
            (true, Some(rest)) => vec![(rest, 0)],
            _ => shares,
        }
    }

    /// A service whose replicas are all out by their checks leaves its turns to the others, too, as long
    /// as there are any.
    fn turn(&self) -> usize {
        if self.schedule.is_empty() {
            return self.rest;
        }
        let serves = |index: u16| !self.routes[usize::from(index)].upstream.is_out();
        let turn = next_turn(&self.schedule, &self.cursor, serves);
        turn.map_or(self.rest, usize::from)
    }
}

/// Whether any replica of a route's service takes requests.
fn serves(route: &Route) -> bool {
    route.upstream.takes_requests() && !route.upstream.is_out()
}
