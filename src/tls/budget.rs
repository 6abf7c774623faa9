//! Stays below the limits a CA has for everybody: whoever reaches them is locked out for days. What was
//! asked for is kept with the account, for restarts and for other processes on the store.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::config::Limits;
use crate::model::{Host, HostPattern};

use super::fault::{FailureClass, Fault};
use super::renew::Setback;
use super::store::{BUDGET_LOCK, Records};

/// The limits of one CA, and how much of them is used up.
pub(super) struct Budget {
    limits: Limits,
    store: Arc<Records>,
    /// Held for microseconds, by orders only.
    spent: Mutex<Spent>,
}

/// What was asked for lately: times in Unix milliseconds, each only once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Spent {
    /// Of the last [`ORDERS`].
    orders: BTreeSet<u64>,
    /// First certificates of names below a registered domain, of the last [`WEEK`].
    domains: BTreeMap<String, BTreeSet<u64>>,
    /// All certificates of a name, of the last [`WEEK`].
    names: BTreeMap<String, BTreeSet<u64>>,
}

/// What a certificate is to the CA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The first one of its name.
    First,
    /// One more of a name: no limit but that of the name counts.
    Renewal,
    /// Announced by `replaces` (RFC 9773 section 5): Let's Encrypt limits these not at all.
    Replacement,
}

impl Budget {
    pub(super) fn open(limits: Limits, store: Arc<Records>) -> Self {
        let mut spent: Spent = store.load_budget();
        spent.prune(millis(SystemTime::now()));
        Self {
            limits,
            store,
            spent: Mutex::new(spent),
        }
    }

    /// Whether the CA may be asked. Orders nobody waits for leave a quarter to those somebody does.
    pub(super) fn allow(
        &self,
        host: &HostPattern,
        kind: Kind,
        is_awaited: bool,
        now: SystemTime,
    ) -> Result<(), Fault> {
        let mut spent = self.spent();
        spent.prune(millis(now));
        let held = spent.held(&self.limits, host, kind, is_awaited);
        let Some((until, text)) = held else {
            return Ok(());
        };
        let until = SystemTime::UNIX_EPOCH + Duration::from_millis(until);
        let setback = Setback::Limited { until };
        Err(Fault {
            elsewhere: true,
            ..Fault::new(text, FailureClass::HeldBack, setback)
        })
    }

    pub(super) fn ordered(&self, now: SystemTime) {
        add(&mut self.spent().orders, millis(now));
    }

    pub(super) fn issued(&self, host: &HostPattern, kind: Kind, now: SystemTime) {
        let (mut spent, at) = (self.spent(), millis(now));
        add(spent.names.entry(host.to_string()).or_default(), at);
        if kind == Kind::First {
            add(spent.domains.entry(domain(host)).or_default(), at);
        }
    }

    /// Notes something, and lets the store have it by and by. On a runtime.
    pub(super) fn note(self: &Arc<Self>, note: impl FnOnce(&Self)) {
        note(self);
        let budget = Arc::clone(self);
        drop(tokio::task::spawn_blocking(move || budget.keep()));
    }

    /// Puts what is spent together with what other processes have spent. Blocks.
    pub(super) fn keep(&self) {
        let _lock = self.store.try_lock(BUDGET_LOCK);
        let stored: Spent = self.store.load_budget();
        let all = {
            let mut spent = self.spent();
            spent.join(stored);
            spent.prune(millis(SystemTime::now()));
            spent.clone()
        };
        if let Err(error) = self.store.save_budget(&all) {
            tracing::warn!(%error, "what the CA was asked for cannot be stored for now");
        }
    }

    /// A panic while it is held leaves at worst one time too few.
    fn spent(&self) -> MutexGuard<'_, Spent> {
        self.spent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Spent {
    /// Until when, and why, nothing of this kind may be asked for.
    fn held(
        &self,
        limits: &Limits,
        host: &HostPattern,
        kind: Kind,
        is_awaited: bool,
    ) -> Option<(u64, String)> {
        let orders = match is_awaited {
            true => limits.orders,
            false => limits.orders / 4 * 3,
        };
        let none = BTreeSet::new();
        let domain = domain(host);
        let of_domain = self.domains.get(&domain).unwrap_or(&none);
        let of_name = self.names.get(&host.to_string()).unwrap_or(&none);
        let over = |times: &BTreeSet<u64>, most: usize, window: u64| {
            let surplus = times.len().checked_sub(most)?;
            times.iter().nth(surplus).map(|oldest| oldest + window)
        };
        if kind == Kind::Replacement {
            return None;
        }
        if let Some(until) = over(of_name, limits.per_name, WEEK) {
            let text = format!(
                "held back: {} certificates for {host} in 7 days, and more would lock it out",
                of_name.len()
            );
            return Some((until, text));
        }
        if kind == Kind::Renewal {
            return None;
        }
        if let Some(until) = over(of_domain, limits.per_domain, WEEK) {
            let text = format!(
                "held back: {} new certificates below {domain} in 7 days, and more would lock it out",
                of_domain.len()
            );
            return Some((until, text));
        }
        let until = over(&self.orders, orders, ORDERS)?;
        let text = format!("held back: {} orders in 3 hours", self.orders.len());
        Some((until, text))
    }

    /// Forgets what counts no more, and what a clock that was set back has put into the future.
    fn prune(&mut self, now: u64) {
        let within = |window: u64| move |at: &u64| *at + window > now && *at <= now + SKEW;
        self.orders.retain(within(ORDERS));
        for times in [&mut self.domains, &mut self.names] {
            times.retain(|_, times| {
                times.retain(within(WEEK));
                !times.is_empty()
            });
        }
    }

    fn join(&mut self, other: Self) {
        self.orders.extend(other.orders);
        for (mine, others) in [
            (&mut self.domains, other.domains),
            (&mut self.names, other.names),
        ] {
            for (name, times) in others {
                mine.entry(name).or_default().extend(times);
            }
        }
    }
}

/// What Let's Encrypt counts by: the domain below the public suffix, an IPv4 address, an IPv6 network.
fn domain(pattern: &HostPattern) -> String {
    let ip = pattern.exact().and_then(Host::ip);
    match (ip, pattern) {
        (Some(IpAddr::V6(ip)), _) => {
            let [a, b, c, d, ..] = ip.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
        (Some(ip), _) => ip.to_string(),
        (
            None,
            HostPattern::Exact(host) | HostPattern::Wildcard(host) | HostPattern::Below(host),
        ) => {
            let host = host.as_str();
            psl::domain_str(host).unwrap_or(host).to_owned()
        }
        (None, HostPattern::Regex(_) | HostPattern::Default) => String::new(),
    }
}

/// Two at once are two.
fn add(times: &mut BTreeSet<u64>, mut at: u64) {
    while !times.insert(at) {
        at += 1;
    }
}

fn millis(at: SystemTime) -> u64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0))
}

const ORDERS: u64 = 3 * 60 * 60 * 1000;
const WEEK: u64 = 7 * 24 * 60 * 60 * 1000;
const SKEW: u64 = 60 * 1000;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000_000;
    const LIMITS: Limits = Limits {
        per_domain: 3,
        per_name: 2,
        orders: 8,
    };

    fn host(name: &str) -> HostPattern {
        HostPattern::parse(name).unwrap()
    }

    fn held(spent: &Spent, name: &str, kind: Kind) -> Option<u64> {
        let held = spent.held(&LIMITS, &host(name), kind, false);
        held.map(|(until, _)| until)
    }

    #[test]
    fn names_are_counted_by_registered_domain() {
        for (name, counted) in [
            ("a.b.example.com", "example.com"),
            ("shop.example.co.uk", "example.co.uk"),
            ("me.github.io", "me.github.io"),
            ("com", "com"),
            ("192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ] {
            assert_eq!(domain(&host(name)), counted);
        }
    }

    #[test]
    fn each_limit_holds_what_it_is_for() {
        let mut spent = Spent::default();
        for n in 0..3 {
            let times = spent.domains.entry("example.com".into()).or_default();
            add(times, NOW + n);
        }
        let week = Some(NOW + WEEK);
        assert_eq!(held(&spent, "new.example.com", Kind::First), week);
        assert_eq!(held(&spent, "old.example.com", Kind::Renewal), None);
        assert_eq!(held(&spent, "new.example.org", Kind::First), None);

        for _ in 0..2 {
            add(spent.names.entry("a.example.org".into()).or_default(), NOW);
        }
        assert_eq!(held(&spent, "a.example.org", Kind::First), week);
        assert_eq!(held(&spent, "a.example.org", Kind::Renewal), week);
        assert_eq!(held(&spent, "a.example.org", Kind::Replacement), None);

        for _ in 0..6 {
            add(&mut spent.orders, NOW);
        }
        let hours = Some(NOW + ORDERS);
        assert_eq!(held(&spent, "b.example.net", Kind::First), hours);
        let awaited = spent.held(&LIMITS, &host("b.example.net"), Kind::First, true);
        assert_eq!(awaited, None, "a quarter is for those somebody waits for");
    }

    #[test]
    fn what_is_over_is_forgotten() {
        let mut spent = Spent::default();
        add(&mut spent.orders, NOW);
        add(spent.names.entry("a.test".into()).or_default(), NOW);
        add(
            spent.names.entry("b.test".into()).or_default(),
            NOW + ORDERS,
        );
        let mut back = spent.clone();
        spent.prune(NOW + ORDERS);
        assert_eq!((spent.orders.len(), spent.names.len()), (0, 2));
        spent.prune(NOW + WEEK);
        assert_eq!(spent.names.len(), 1);
        back.prune(NOW);
        assert_eq!(back.names.len(), 1, "the clock was set back");
    }

    #[test]
    fn processes_spend_together() {
        let (mut one, mut two) = (Spent::default(), Spent::default());
        add(&mut one.orders, NOW);
        add(&mut two.orders, NOW);
        add(&mut two.orders, NOW);
        add(two.names.entry("a.test".into()).or_default(), NOW);
        one.join(two);
        assert_eq!((one.orders.len(), one.names.len()), (2, 1));
    }
}
