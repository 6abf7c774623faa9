//! Looks up the names that upstreams outside Docker have.
//!
//! Runs on the control thread. Whatever fails, the last addresses stay: a name server that is away does
//! not stop what it named.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::alarm::Alarm;
use crate::model::{Lookup, Names};

/// Follows the names in `wanted` and tells what they stand for, when that changes. Cancel safe.
pub async fn run(
    mut wanted: watch::Receiver<BTreeSet<String>>,
    found: watch::Sender<Arc<Names>>,
    alarm: Arc<Alarm>,
) -> Infallible {
    let mut book = Book::default();
    let mut lookups: FuturesUnordered<Pin<Box<dyn Future<Output = Answer> + Send>>> =
        FuturesUnordered::new();
    loop {
        let now = Instant::now();
        while lookups.len() < MOST_LOOKUPS
            && let Some(name) = book.start(now)
        {
            lookups.push(Box::pin(look_up(name)));
        }
        let due = book.due().filter(|_| lookups.len() < MOST_LOOKUPS);
        tokio::select! {
            changed = wanted.changed() => match changed {
                Ok(()) => book.want(&wanted.borrow_and_update(), Instant::now()),
                // Nobody is left to ask; never in a running process.
                Err(_) => return std::future::pending().await,
            },
            Some((name, answer)) = lookups.next() => book.note(name, answer, Instant::now()),
            () = alarm.for_names() => book.hasten(),
            () = sleep_until(due.unwrap_or(now)), if due.is_some() => {}
        }
        let names = book.names();
        found.send_if_modified(|current| {
            let news = **current != names;
            if news {
                *current = Arc::new(names);
            }
            news
        });
    }
}

/// A name, and what the system's resolver says of it.
type Answer = (String, io::Result<Vec<SocketAddr>>);

/// On a thread of the runtime's blocking pool; the resolver has time limits of its own.
async fn look_up(name: String) -> Answer {
    let found = tokio::net::lookup_host((name.as_str(), 0)).await;
    let found = found.map(Iterator::collect);
    (name, found)
}

/// Names with their last answers, and when to ask again.
#[derive(Debug, Default)]
struct Book(BTreeMap<String, Page>);

#[derive(Debug)]
struct Page {
    lookup: Option<Lookup>,
    /// When to look it up next; `None` while that is under way.
    due: Option<Instant>,
    /// When it may be looked up again because something cannot be reached.
    earliest: Instant,
}

impl Book {
    fn want(&mut self, names: &BTreeSet<String>, now: Instant) {
        self.0.retain(|name, _| names.contains(name));
        for name in names {
            self.0.entry(name.clone()).or_insert_with(|| Page {
                lookup: None,
                due: Some(now),
                earliest: now,
            });
        }
    }

    /// A name that is due, which counts as under way from now on.
    fn start(&mut self, now: Instant) -> Option<String> {
        let mut pages = self.0.iter_mut();
        let (name, page) = pages.find(|(_, page)| page.due.is_some_and(|due| due <= now))?;
        page.due = None;
        Some(name.clone())
    }

    fn due(&self) -> Option<Instant> {
        self.0.values().filter_map(|page| page.due).min()
    }

    /// An endpoint cannot be reached: any name may stand for something else by now.
    fn hasten(&mut self) {
        for page in self.0.values_mut() {
            page.due = page.due.map(|due| due.min(page.earliest));
        }
    }

    fn note(&mut self, name: String, answer: io::Result<Vec<SocketAddr>>, now: Instant) {
        // It may be wanted no more.
        let Some(page) = self.0.get_mut(&name) else {
            return;
        };
        let addresses = answer.map(|found| addresses(found.iter().map(SocketAddr::ip)));
        let lookup = match addresses {
            Ok(found) if !found.is_empty() => Lookup::Found(found),
            failed => {
                let why = match failed {
                    Ok(_) => "it has no address".to_owned(),
                    Err(error) => error.to_string(),
                };
                let before = page.lookup.take();
                let before = before.map_or_else(Vec::new, |lookup| lookup.addresses().to_vec());
                Lookup::Failed { why, before }
            }
        };
        let again = match lookup {
            Lookup::Found(_) => AGAIN,
            Lookup::Failed { .. } => AGAIN_FAILED,
        };
        page.lookup = Some(lookup);
        page.due = Some(now + again);
        page.earliest = now + HASTY;
    }

    fn names(&self) -> Names {
        let known = self.0.iter();
        let known = known.filter_map(|(name, page)| Some((name.clone(), page.lookup.clone()?)));
        Names(known.collect())
    }
}

/// Sorted, without duplicates; IPv4 where there is some: not every machine has a way for IPv6.
fn addresses(found: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    let found: BTreeSet<IpAddr> = found.map(|ip| ip.to_canonical()).collect();
    let any_v4 = found.iter().any(IpAddr::is_ipv4);
    let good = found.into_iter().filter(|ip| ip.is_ipv4() || !any_v4);
    good.take(MOST_ADDRESSES).collect()
}

/// At the same time.
const MOST_LOOKUPS: usize = 8;
/// Of one name; a plan takes fewer.
const MOST_ADDRESSES: usize = 64;
/// Between two lookups of a name; the resolver does not tell how long an answer holds.
const AGAIN: Duration = Duration::from_secs(30);
/// The same, where the last one failed.
const AGAIN_FAILED: Duration = Duration::from_secs(5);
/// The same, while endpoints cannot be reached.
const HASTY: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(ips: &[&str]) -> io::Result<Vec<SocketAddr>> {
        let ips = ips.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 0));
        Ok(ips.collect())
    }

    fn failure() -> io::Result<Vec<SocketAddr>> {
        Err(io::Error::other("no such name"))
    }

    fn shown(book: &Book) -> Vec<String> {
        let names = book.names();
        let shown = names.0.iter().map(|(name, lookup)| {
            let failed = matches!(lookup, Lookup::Failed { .. });
            let mark = if failed { " failed" } else { "" };
            format!("{name}{mark} {:?}", lookup.addresses())
        });
        shown.collect()
    }

    #[test]
    fn the_last_addresses_outlive_failures_and_ipv4_is_preferred() {
        let now = Instant::now();
        let mut book = Book::default();
        let wanted = ["a".to_owned(), "b".to_owned()];
        book.want(&wanted.into(), now);
        assert_eq!(book.start(now).as_deref(), Some("a"));
        assert_eq!(book.start(now).as_deref(), Some("b"));
        assert_eq!((book.start(now), book.due()), (None, None));
        book.note("b".into(), failure(), now);
        let found = ["10.0.0.2", "fd00::1", "10.0.0.1", "10.0.0.2"];
        book.note("a".into(), answer(&found), now);
        assert_eq!(shown(&book), ["a [10.0.0.1, 10.0.0.2]", "b failed []"]);
        book.note("a".into(), failure(), now);
        book.note("b".into(), answer(&["fd00::1"]), now);
        assert_eq!(
            shown(&book),
            ["a failed [10.0.0.1, 10.0.0.2]", "b [fd00::1]"]
        );
        book.note("a".into(), answer(&[]), now);
        assert_eq!(shown(&book)[0], "a failed [10.0.0.1, 10.0.0.2]");
        book.note("a".into(), answer(&["10.0.0.3"]), now);
        book.want(&["a".to_owned()].into(), now);
        book.note("b".into(), answer(&["10.0.0.9"]), now);
        assert_eq!(shown(&book), ["a [10.0.0.3]"]);
    }

    #[test]
    fn names_are_looked_up_again_and_sooner_where_something_cannot_be_reached() {
        let now = Instant::now();
        let mut book = Book::default();
        book.want(&["a".to_owned()].into(), now);
        book.start(now);
        book.hasten();
        assert_eq!(book.due(), None, "under way");
        book.note("a".into(), answer(&["10.0.0.1"]), now);
        assert_eq!(book.due(), Some(now + AGAIN));
        book.hasten();
        assert_eq!(book.due(), Some(now + HASTY));
        book.note("a".into(), failure(), now);
        assert_eq!(book.due(), Some(now + AGAIN_FAILED));
    }
}
