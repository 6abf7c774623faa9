//! The CAs Wharf asks, and how several of them stand in for each other.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use crate::config::CaConfig;

use super::budget::Budget;
use super::renew::History;
use super::store::Records;

/// One CA and what is kept about it.
pub(super) struct Ca {
    pub(super) config: CaConfig,
    pub(super) store: Arc<Records>,
    /// Where limits are known.
    pub(super) budget: Option<Arc<Budget>>,
}

impl Ca {
    pub(super) fn open(config: &CaConfig, data: Option<&Path>) -> Self {
        let store = Arc::new(Records::open(data, &config.directory));
        let budget = config
            .limits
            .map(|limits| Budget::open(limits, Arc::clone(&store)));
        Self {
            config: config.clone(),
            store,
            budget: budget.map(Arc::new),
        }
    }
}

/// What happened to one name at each CA, in the order they are asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Histories(Vec<History>);

impl Histories {
    pub(super) fn new(cas: usize) -> Self {
        Self(vec![History::default(); cas])
    }

    /// The first CA that may be asked now, or when the first one may be.
    ///
    /// The next CA is asked only where it may say something else than the one before: a name that
    /// points nowhere points nowhere for all of them.
    pub(super) fn next(&self, now: SystemTime) -> Result<usize, SystemTime> {
        let mut soonest: Option<SystemTime> = None;
        for (ca, history) in self.0.iter().enumerate() {
            let Some(at) = history.retry_at(now) else {
                return Ok(ca);
            };
            soonest = Some(soonest.map_or(at, |soonest| soonest.min(at)));
            if !history.elsewhere {
                break;
            }
        }
        Err(soonest.unwrap_or(now))
    }

    /// When the next attempt may start; `None`: at once.
    pub(super) fn retry_at(&self, now: SystemTime) -> Option<SystemTime> {
        self.next(now).err()
    }

    /// What the CAs said that were asked last.
    pub(super) fn error(&self) -> Option<String> {
        let said: Vec<&str> = self.0.iter().filter_map(|h| h.error.as_deref()).collect();
        (!said.is_empty()).then(|| said.join("; "))
    }

    /// Attempts refused since the last certificate, at all CAs.
    pub(super) fn failures(&self) -> u32 {
        let all = self.0.iter().map(|history| history.failures);
        all.fold(0, u32::saturating_add)
    }

    /// Somebody wants an attempt now, whatever was said before. Only the CA's limit of failed validations
    /// stays: `Err` is when there will be room.
    pub(super) fn hasten(&mut self, now: SystemTime) -> Result<(), SystemTime> {
        if let Some(spent) = self.0.iter().find(|history| history.budget(now) == 0) {
            return Err(spent.retry_at(now).unwrap_or(now));
        }
        for history in &mut self.0 {
            history.not_before = None;
        }
        Ok(())
    }

    pub(super) fn link(&self) -> Option<String> {
        self.0.iter().find_map(|history| history.link.clone())
    }

    pub(super) fn settle_clock(&mut self, now: SystemTime) {
        for history in &mut self.0 {
            history.settle_clock(now);
        }
    }

    /// Takes over what the other knows better: failures that are later, or were not stored.
    pub(super) fn catch_up(&mut self, other: &Self) {
        for (mine, other) in self.0.iter_mut().zip(&other.0) {
            if other.last_failure >= mine.last_failure {
                mine.clone_from(other);
            }
        }
    }

    /// Of CAs.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    pub(super) fn clear(&mut self) {
        self.0.fill(History::default());
    }

    pub(super) fn of(&self, ca: usize) -> &History {
        &self.0[ca]
    }

    pub(super) fn of_mut(&mut self, ca: usize) -> &mut History {
        &mut self.0[ca]
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::tls::renew::{Setback, from_unix};

    const NOW: u64 = 1_800_000_000;

    fn noted(setback: Setback, elsewhere: bool) -> History {
        let mut history = History::default();
        history.note(setback, "no".into(), elsewhere, from_unix(NOW), 0.0);
        history
    }

    #[test]
    fn the_next_ca_is_asked_where_it_may_say_something_else() {
        let now = from_unix(NOW);
        let until = from_unix(NOW + 3600);
        let limited = || noted(Setback::Limited { until }, true);
        let refused = || noted(Setback::Refused { validations: 1 }, false);
        let free = History::default;
        let minute = from_unix(NOW + 60);
        for (histories, next) in [
            (vec![free(), free()], Ok(0)),
            (vec![limited(), free()], Ok(1)),
            (vec![refused(), free()], Err(minute)),
            (vec![limited(), refused()], Err(minute)),
            (vec![limited(), refused(), free()], Err(minute)),
            (vec![limited(), limited()], Err(until)),
        ] {
            let histories = Histories(histories);
            assert_eq!(histories.next(now), next, "{histories:?}");
            let later = now + Duration::from_secs(24 * 3600);
            assert_eq!(
                histories.next(later),
                Ok(0),
                "the first has the first chance again"
            );
        }
    }
}
