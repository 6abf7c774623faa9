//! What events say of containers that the engine's list does not show yet.
//!
//! A list is the truth, but a late one: it shows a container that was told to stop as running until
//! it is dead, and longer: 80 ms as a rule, seconds while the engine waits for its disk. So each event
//! leaves a mark, and the marks are laid over the last list and over every new one, until a list begun
//! later agrees, or contradicts for good.
//! Marks only bridge that time: whatever is lost, doubled or out of order, the lists to come decide.
//!
//! Pure: `now` is an argument.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use super::event::{Action, Event, Facts, Stop};
use super::{Container, Health, State};

/// Marks by container id.
#[derive(Debug, Default)]
pub struct Signs {
    of: HashMap<String, Sign>,
    /// When the process of a container ended last, see [`Container::ended`]. It may run again by the time
    /// anybody looks.
    ended: HashMap<String, i64>,
    /// The engine's time of the newest event.
    newest: i64,
    /// How far our clock is ahead of the engine's, with the way of an event.
    lag: i64,
    subscription: Option<Subscription>,
    /// When the last list was begun.
    listed: Option<Instant>,
}

/// What is told first are events that have happened before.
#[derive(Debug)]
struct Subscription {
    at: Instant,
    /// The same, by our clock: Unix time in nanoseconds.
    clock: i64,
    /// Events up to this time of the engine's have been told already.
    newest: i64,
}

/// What events say of one container.
#[derive(Debug, Default)]
struct Sign {
    /// By signal: which one stops the container may only be known later.
    killed: BTreeMap<u8, Mark>,
    down: Option<Mark>,
    paused: Option<Mark>,
    health: Option<(Health, Mark)>,
    /// By the id of the network it left.
    off: BTreeMap<String, Mark>,
}

#[derive(Debug, Clone, Copy)]
struct Mark {
    at: Instant,
    /// When an event ended it. It stays until the next list nevertheless: the last one may show an
    /// address that is somebody else's by now.
    over: Option<Instant>,
}

/// Facts by container id; the defaults where there are none.
pub type FactsById = HashMap<String, Facts>;

impl Signs {
    /// Events are about to be told anew; from when on (Unix seconds of the engine's clock). `clock` is
    /// ours at `now`, in nanoseconds.
    ///
    /// From the last one on, so that what happened while nobody listened is not lost: a list shows
    /// everything but that a container was told to stop.
    pub fn subscribe(&mut self, clock: i64, now: Instant) -> u64 {
        let engine = clock.saturating_sub(self.lag);
        let back = |by: Duration| engine.saturating_sub(nanos(by));
        let since = self.newest.clamp(back(MOST_REPLAYED), back(LEAST_REPLAYED));
        self.subscription = Some(Subscription {
            at: now,
            clock,
            newest: self.newest,
        });
        u64::try_from(since).unwrap_or_default() / 1_000_000_000
    }

    /// How long ago an event happened; `None` if it has been told before.
    fn age(&mut self, event: &Event, now: Instant) -> Option<Duration> {
        let Some(subscription) = self.subscription.as_ref().filter(|_| event.at != 0) else {
            return Some(Duration::ZERO);
        };
        let since = now.duration_since(subscription.at);
        let way = subscription.clock.saturating_add(nanos(since)) - event.at;
        if since >= REPLAYED_WITHIN {
            // The engine's clock may have gone back meanwhile: nothing is a repetition any more.
            self.lag = way;
            return Some(Duration::ZERO);
        }
        let age = u64::try_from(way.saturating_sub(self.lag)).unwrap_or_default();
        (event.at > subscription.newest).then_some(Duration::from_nanos(age))
    }

    /// Takes note of an event; whether that may change the picture before the next list.
    pub fn note(&mut self, event: &Event, now: Instant) -> bool {
        let Some(age) = self.age(event, now) else {
            return false;
        };
        self.newest = self.newest.max(event.at);
        self.note_end(event);
        let known = self.of.contains_key(&event.container);
        if event.container.is_empty() || !known && self.of.len() >= MOST_SIGNS {
            return false;
        }
        let over = None;
        if age >= LAG && event.action.is_in_lists() {
            return false;
        }
        let Some(at) = now.checked_sub(age) else {
            return false; // before this machine ran
        };
        let mark = Mark { at, over };
        let sign = match &event.action {
            Action::Checked | Action::Other => return false,
            // These end marks; without any there is nothing to do.
            Action::Start | Action::Unpause | Action::Connect(_) => {
                let Some(sign) = self.of.get_mut(&event.container) else {
                    return false;
                };
                sign.end(&event.action, at);
                // What is told anew may be older than the last list, which then has the last word.
                let listed = self.listed.is_some_and(|listed| listed >= at + WRITTEN);
                if listed {
                    sign.keep(|mark| mark.over.is_none());
                }
                return listed;
            }
            _ => self.of.entry(event.container.clone()).or_default(),
        };
        match &event.action {
            Action::Kill(SIGKILL) | Action::Down => sign.down = Some(mark),
            Action::Kill(signal) => drop(sign.killed.insert(*signal, mark)),
            Action::Pause => sign.paused = Some(mark),
            Action::Healthy => sign.health = Some((Health::Healthy, mark)),
            Action::Unhealthy => sign.health = Some((Health::Unhealthy, mark)),
            Action::Disconnect(network) => drop(sign.off.insert(network.clone(), mark)),
            Action::Start | Action::Unpause | Action::Connect(_) => {}
            Action::Checked | Action::Other => {}
        }
        // The list that follows a subscription decides whether it still counts.
        age < LAG
    }

    fn note_end(&mut self, event: &Event) {
        let known = self.ended.contains_key(&event.container);
        if event.action == Action::Down && (known || self.ended.len() < MOST_SIGNS) {
            let ended = self.ended.entry(event.container.clone()).or_default();
            *ended = event.at.max(*ended);
        }
    }

    /// A list begun at `begun` shows `containers`, which are sorted by id: forgets what it settles.
    pub fn settle(&mut self, containers: &[Container], begun: Instant, facts: &FactsById) {
        self.listed = Some(begun);
        self.of.retain(|id, sign| {
            match containers.binary_search_by(|c| c.id.cmp(id)) {
                Ok(at) => sign.settle(&containers[at], begun, stop(facts, id)),
                Err(_) => sign.keep(|mark| mark.at > begun),
            }
            !sign.is_empty()
        });
        let listed = |id: &String| containers.binary_search_by(|c| c.id.cmp(id)).is_ok();
        self.ended.retain(|id, _| listed(id));
    }

    /// Lays the marks over `containers`, which are sorted by id.
    pub fn apply(&self, containers: &mut [Container], facts: &FactsById) {
        for (id, ended) in &self.ended {
            if let Ok(at) = containers.binary_search_by(|c| c.id.cmp(id)) {
                containers[at].ended = *ended;
            }
        }
        for (id, sign) in &self.of {
            if let Ok(at) = containers.binary_search_by(|c| c.id.cmp(id)) {
                sign.apply(&mut containers[at], stop(facts, id).signal);
            }
        }
    }

    /// When a list has to decide, because nothing else has.
    pub fn due(&self, facts: &FactsById) -> Option<Instant> {
        let due = |(id, sign): (&String, &Sign)| sign.due(stop(facts, id));
        self.of.iter().filter_map(due).min()
    }

    /// Whether anything is said of a container.
    pub fn tells_of(&self, id: &str) -> bool {
        self.of.contains_key(id)
    }
}

impl Sign {
    /// What `action`, of then, ends.
    fn end(&mut self, action: &Action, at: Instant) {
        let end = |mark: &mut Mark| mark.over = mark.over.or(Some(at));
        match action {
            Action::Start => {
                self.killed.values_mut().for_each(end);
                self.down.iter_mut().for_each(end);
                self.paused.iter_mut().for_each(end);
                self.health.iter_mut().for_each(|(_, mark)| end(mark));
            }
            Action::Unpause => self.paused.iter_mut().for_each(end),
            Action::Connect(network) => self.off.get_mut(network).into_iter().for_each(end),
            _ => {}
        }
    }

    /// Forgets what a list begun at `begun` that shows `container` settles.
    fn settle(&mut self, container: &Container, begun: Instant, stop: Stop) {
        let dead = !matches!(container.state, State::Running | State::Paused);
        let lasts = |mark: &Mark, agrees: bool, longest: Duration| {
            !(mark.over.is_some_and(|over| begun >= over)
                || agrees && begun >= mark.at
                || begun >= mark.at + longest)
        };
        self.killed
            .retain(|_, mark| lasts(mark, dead, stop.timeout + MARGIN));
        self.down.take_if(|mark| !lasts(mark, dead, LAG));
        let paused = container.state == State::Paused;
        self.paused.take_if(|mark| !lasts(mark, paused, LAG));
        self.health
            .take_if(|(health, mark)| !lasts(mark, container.health == *health, LAG));
        self.off.retain(|network, mark| {
            let on = container.networks.iter().any(|a| a.network_id == *network);
            lasts(mark, !on, LAG)
        });
    }

    fn due(&self, stop: Stop) -> Option<Instant> {
        let killed = self.killed.get(&stop.signal);
        let killed = killed.map(|mark| mark.at + stop.timeout + MARGIN);
        let health = self.health.as_ref().map(|(_, mark)| mark);
        let others = [&self.down, &self.paused].into_iter().flatten();
        let others = others.chain(health).chain(self.off.values());
        others.map(|mark| mark.at + LAG).chain(killed).min()
    }

    fn apply(&self, container: &mut Container, stop_signal: u8) {
        match container.state {
            State::Running | State::Stopping | State::Paused if self.down.is_some() => {
                container.state = State::Exited;
            }
            State::Running if self.paused.is_some() => container.state = State::Paused,
            State::Running if self.killed.contains_key(&stop_signal) => {
                container.state = State::Stopping;
            }
            _ => {}
        }
        if let Some((health, _)) = self.health {
            container.health = health;
        }
        let left = |network: &String| self.off.contains_key(network);
        container.networks.retain(|a| !left(&a.network_id));
    }

    fn keep(&mut self, keep: impl Fn(&Mark) -> bool) {
        self.killed.retain(|_, mark| keep(mark));
        self.down.take_if(|mark| !keep(mark));
        self.paused.take_if(|mark| !keep(mark));
        self.health.take_if(|(_, mark)| !keep(mark));
        self.off.retain(|_, mark| keep(mark));
    }

    fn is_empty(&self) -> bool {
        let marks = self.down.is_none() && self.paused.is_none() && self.health.is_none();
        marks && self.killed.is_empty() && self.off.is_empty()
    }
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

fn stop(facts: &FactsById, id: &str) -> Stop {
    facts.get(id).map(|facts| facts.stop).unwrap_or_default()
}

/// No process survives it.
const SIGKILL: u8 = 9;
/// A list begun this long after an event that contradicts it has the last word: by then the engine,
/// which lists what it has written to disk, knows of it. If that event was a mistake, or the one that
/// ended it was lost, the container is out for as long.
const LAG: Duration = Duration::from_secs(2);
/// By this time after an event of a network a list shows what it tells of.
const WRITTEN: Duration = Duration::from_millis(100);
/// What a container that was told to stop has beyond its stop timeout before it counts as staying.
const MARGIN: Duration = Duration::from_secs(2);
/// A subscription reaches back so far, that nothing is lost between a list and it ...
const LEAST_REPLAYED: Duration = Duration::from_secs(2);
/// ... and no further than this; the engine itself keeps 256 events.
const MOST_REPLAYED: Duration = Duration::from_secs(10 * 60);
/// What has happened before a subscription is told this soon.
const REPLAYED_WITHIN: Duration = Duration::from_secs(2);
/// Containers with marks, known to the list or not; far more than one engine runs.
const MOST_SIGNS: usize = 10_000;

#[cfg(test)]
mod tests;
