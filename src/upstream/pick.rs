//! The choice of an endpoint: who may be chosen at all, then by the route's policy.

use std::time::{Duration, Instant};

use super::balance::{self, Choice};
use super::{Busy, Endpoint, Upstream};

/// What a request asks of its upstream.
#[derive(Debug, Clone, Copy)]
pub struct Ask {
    pub choice: Choice,
    /// Where the client has been before.
    pub held: Option<u16>,
    /// How long endpoints take to their full share; 0 for no time at all.
    pub slow_start: Duration,
}

/// An endpoint for a request.
#[derive(Debug)]
pub struct Taken<'a> {
    pub index: u16,
    pub endpoint: &'a Endpoint,
    /// Its place there, where requests under way are counted.
    pub busy: Option<Busy>,
    /// The client is elsewhere at home, where there is no place for now.
    pub away: bool,
}

/// Why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoPlace {
    /// All were tried, or none takes requests.
    Nobody,
    /// Those that would take it have as many requests as they may, or others wait for a place already.
    Full,
}

/// Endpoints already tried for one request.
#[derive(Debug, Default)]
pub struct Tried(Vec<u16>);

impl Upstream {
    /// The endpoint for the next request, which counts as under way there from now on. `queued`: it has
    /// waited in line, so that those who do are no reason to let it wait.
    #[inline]
    pub fn take(
        &self,
        ask: &Ask,
        tried: &Tried,
        queued: bool,
        now: impl Fn() -> Instant,
    ) -> Result<Taken<'_>, NoPlace> {
        if self.counted {
            return self.take_counted(ask, tried, queued, now);
        }
        let (index, endpoint) = self.pick(ask, tried, now).ok_or(NoPlace::Nobody)?;
        Ok(Taken {
            index,
            endpoint,
            busy: None,
            away: false,
        })
    }

    #[inline(never)]
    fn take_counted(
        &self,
        ask: &Ask,
        tried: &Tried,
        queued: bool,
        now: impl Fn() -> Instant,
    ) -> Result<Taken<'_>, NoPlace> {
        let limited = self.line.is_some();
        // One that has been somewhere already has waited its turn.
        if limited && !queued && tried.is_empty() && !self.live.queue.is_empty() {
            return Err(NoPlace::Full);
        }
        loop {
            let full = |index: u16| self.endpoints[usize::from(index)].is_full();
            let away = ask.held.is_some_and(full);
            let (index, endpoint) = self.pick_among(ask, tried, None, &now)?;
            // Another request may have been faster; then it looks again.
            let Some(busy) = endpoint.busy() else {
                continue;
            };
            endpoint.chosen(&now);
            if queued && limited && self.has_room(&now) {
                // Nobody may have told the next in line: an endpoint that rested does so no longer.
                self.live.queue.freed();
            }
            return Ok(Taken {
                index,
                endpoint,
                busy: Some(busy),
                away: away && ask.held != Some(index),
            });
        }
    }

    /// Whether a request would find a place.
    fn has_room(&self, now: &impl Fn() -> Instant) -> bool {
        let mut endpoints = self.endpoints.iter();
        endpoints.any(|one| one.weight > 0 && one.is_ready() && !one.is_full() && !one.rests(now))
    }

    /// The endpoint for the next request that is not in `tried`, or `None` when all were tried, none
    /// takes requests or has a place for one. Nothing is counted.
    ///
    /// A client goes where it has been before, unless that endpoint takes no new requests and another
    /// does. `now` is asked only if time matters.
    #[inline]
    pub fn pick(
        &self,
        ask: &Ask,
        tried: &Tried,
        now: impl Fn() -> Instant,
    ) -> Option<(u16, &Endpoint)> {
        // Most requests: whose turn it is gets it. If that one rests, its turn is used up.
        let mut resting = None;
        if ask.choice == Choice::Turn
            && ask.held.is_none()
            && ask.slow_start.is_zero()
            && tried.0.is_empty()
            && let Some(index) = balance::turn(&self.turns[0], &self.live.cursors[0])
        {
            let endpoint = &self.endpoints[usize::from(index)];
            if endpoint.is_ready() && !endpoint.rests(&now) {
                endpoint.chosen(now);
                return Some((index, endpoint));
            }
            resting = Some(index);
        }
        let (index, endpoint) = self.pick_among(ask, tried, resting, &now).ok()?;
        endpoint.chosen(now);
        Some((index, endpoint))
    }

    /// Whether any endpoint that is not in `tried` takes requests.
    pub fn has_untried(&self, tried: &Tried) -> bool {
        let mut endpoints = (0_u16..).zip(&self.endpoints);
        endpoints.any(|(index, endpoint)| {
            endpoint.weight > 0 && !tried.0.contains(&index) && !endpoint.is_out()
        })
    }

    /// `resting` had its turn, but rests or does not listen yet: where that is so of all, it gets the
    /// request. Those that rest get none while others have just no place for it.
    #[inline(never)]
    fn pick_among(
        &self,
        ask: &Ask,
        tried: &Tried,
        resting: Option<u16>,
        now: &impl Fn() -> Instant,
    ) -> Result<(u16, &Endpoint), NoPlace> {
        let untried = |index: u16| !tried.0.contains(&index);
        let is_out = |index: &u16| self.endpoints[usize::from(*index)].is_out();
        let held = ask.held.filter(|index| untried(*index) && !is_out(index));
        let resting = resting.filter(|index| !is_out(index));
        let takes = |index: &u16| self.endpoints[usize::from(*index)].weight > 0;
        let mut chosen = None;
        for step in STEPS {
            if step.resting && !step.backup && self.is_full(false, untried, now) {
                return Err(NoPlace::Full);
            }
            if self.turns[usize::from(step.backup)].is_empty() {
                continue;
            }
            let open = |index: u16| untried(index) && self.is_open(index, step, now);
            let stays = held.filter(takes).filter(|index| open(*index));
            let first = resting.filter(|_| step.resting && !step.backup);
            chosen = stays.or(first).or_else(|| match ask.slow_start.is_zero() {
                true => self.choose(step.backup, ask.choice, open, |_| 1.0),
                false => self.choose_warm(step.backup, ask, open, now()),
            });
            if chosen.is_some() {
                break;
            }
        }
        let Some(index) = chosen.or(held) else {
            return Err(match self.is_full(true, untried, now) {
                true => NoPlace::Full,
                false => NoPlace::Nobody,
            });
        };
        let endpoint = &self.endpoints[usize::from(index)];
        if endpoint.is_full() {
            return Err(NoPlace::Full);
        }
        Ok((index, endpoint))
    }

    /// Whether an endpoint would take a request, had it a place. `resting`: even one that rests.
    fn is_full(
        &self,
        resting: bool,
        untried: impl Fn(u16) -> bool,
        now: &impl Fn() -> Instant,
    ) -> bool {
        let mut endpoints = (0_u16..).zip(&self.endpoints);
        endpoints.any(|(index, endpoint)| {
            endpoint.is_full()
                && endpoint.weight > 0
                && untried(index)
                && match resting {
                    true => !endpoint.is_out(),
                    false => endpoint.is_ready() && !endpoint.rests(now),
                }
        })
    }

    /// Whether all endpoints that would take a request have as many as they may.
    pub fn has_no_place(&self, now: Instant) -> bool {
        let now = || now;
        !self.has_room(&now) && self.is_full(false, |_| true, &now)
    }

    fn is_open(&self, index: u16, step: Step, now: &impl Fn() -> Instant) -> bool {
        let endpoint = &self.endpoints[usize::from(index)];
        endpoint.backup == step.backup
            && !endpoint.is_full()
            && match step.resting {
                true => !endpoint.is_out(),
                false => endpoint.is_ready() && !endpoint.rests(now),
            }
    }

    /// The endpoints among which [`pick`](Self::pick) would choose, of which a key decides one; none
    /// where none takes requests. Uses up no turn.
    pub fn candidates(&self, choice: Choice, now: Instant) -> Vec<u16> {
        for step in STEPS {
            if step.resting && !step.backup && self.is_full(false, |_| true, &|| now) {
                break;
            }
            let all = 0..self.endpoints.len().min(usize::from(u16::MAX)) as u16;
            let takes = |index: &u16| self.endpoints[usize::from(*index)].weight > 0;
            let open = |index: &u16| self.is_open(*index, step, &|| now);
            let candidates: Vec<u16> = all.filter(takes).filter(open).collect();
            if candidates.is_empty() {
                continue;
            }
            if matches!(choice, Choice::Key(_)) {
                let among = |index| candidates.contains(&index);
                let chosen = self.choose(step.backup, choice, among, |_| 1.0);
                return chosen.into_iter().collect();
            }
            return candidates;
        }
        Vec::new()
    }

    /// Leaves endpoints that are warming up out by chance, the less the warmer they are. Keys are not
    /// left to chance: they move to a new endpoint one by one, as its weight grows.
    fn choose_warm(
        &self,
        backup: bool,
        ask: &Ask,
        open: impl Fn(u16) -> bool,
        now: Instant,
    ) -> Option<u16> {
        let warmth = |index: u16| self.endpoints[usize::from(index)].warmth(ask.slow_start, now);
        if matches!(ask.choice, Choice::Key(_)) {
            return self.choose(backup, ask.choice, open, warmth);
        }
        let cold = (0_u16..).zip(&self.endpoints);
        let cold = cold.filter(|(index, endpoint)| endpoint.is_cold(warmth(*index)));
        let cold: Vec<u16> = cold.map(|(index, _)| index).collect();
        let warm = |index: u16| open(index) && !cold.contains(&index);
        let chosen = self.choose(backup, ask.choice, warm, |_| 1.0);
        // Better cold than none.
        chosen.or_else(|| self.choose(backup, ask.choice, open, |_| 1.0))
    }

    fn choose(
        &self,
        backup: bool,
        choice: Choice,
        open: impl Fn(u16) -> bool,
        warmth: impl Fn(u16) -> f64,
    ) -> Option<u16> {
        let part = usize::from(backup);
        let (schedule, cursor) = (&self.turns[part], &self.live.cursors[part]);
        let load = |index| self.endpoints[usize::from(index)].load();
        match choice {
            Choice::Turn => balance::next_turn(schedule, cursor, open),
            Choice::LeastBusy => {
                let count = self.endpoints.len();
                balance::least_busy(schedule, cursor, count, load, open)
            }
            Choice::Random(random) => balance::less_busy_of_two(schedule, random, load, open),
            Choice::Key(key) => {
                let endpoints = (0_u16..).zip(&self.endpoints);
                let endpoints = endpoints.filter(|(index, _)| open(*index));
                let endpoints = endpoints.map(|(index, endpoint)| {
                    let weight = f64::from(endpoint.weight) * warmth(index);
                    (index, endpoint.seed, weight)
                });
                balance::rendezvous(key, endpoints)
            }
        }
    }
}

impl Tried {
    pub fn add(&mut self, index: u16) {
        if !self.0.contains(&index) {
            self.0.push(index);
        }
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Where one request looks for its endpoint, in this order.
#[derive(Clone, Copy)]
struct Step {
    backup: bool,
    /// Whether endpoints that rest, or were never reached, will do: nobody is refused because of that
    /// alone, so the last one left is never out, unless its checks say so.
    resting: bool,
}

const STEPS: [Step; 4] = [
    Step {
        backup: false,
        resting: false,
    },
    Step {
        backup: true,
        resting: false,
    },
    Step {
        backup: false,
        resting: true,
    },
    Step {
        backup: true,
        resting: true,
    },
];
