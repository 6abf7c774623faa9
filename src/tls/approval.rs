//! Names that nobody lists and somebody has said yes to (`wharf.tls.ask`): how they come into the book, and
//! how they leave it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::time::timeout;

use crate::model::{Host, HostPattern, TlsMode};

use super::book::{Book, Shared};
use super::demand::{Answer, Opinion, Question};
use super::entry::{Entry, Outcome, Source};
use super::{AskReport, ObtainError};

/// What a name in the book is there by.
#[derive(Debug, Clone)]
pub(super) struct Approval {
    /// The pattern of its route.
    by: HostPattern,
    /// Until then it may be ordered without asking again.
    until: SystemTime,
    /// When it may be asked about again.
    ask_at: SystemTime,
    /// When a client last came for it that found no certificate.
    touched: SystemTime,
}

/// How to get a certificate for a name of a pattern.
enum Way {
    /// As for the pattern: a wildcard's certificate, or the built-in CA's for a local name.
    Pattern,
    /// It is in the book.
    Known,
    Ask,
}

impl Shared {
    pub(super) async fn obtain_named(
        &self,
        pattern: &HostPattern,
        name: &str,
        client: Option<IpAddr>,
    ) -> Outcome {
        let name = Host::parse(name).map_err(|_| ObtainError::Refused)?;
        let exact = HostPattern::Exact(name.clone());
        match self.way(pattern, &exact, SystemTime::now()) {
            Way::Pattern => return self.obtain(pattern).await,
            Way::Known => return self.obtain(&exact).await,
            Way::Ask => {}
        }
        let pattern = pattern.clone();
        let question = Question { name, pattern };
        match self.answer(&question, client).await? {
            Answer::Yes => self.approve(question.pattern, &exact, SystemTime::now())?,
            Answer::No => return Err(ObtainError::Refused),
            Answer::Unknown => return Err(ObtainError::Unasked),
        }
        self.obtain(&exact).await
    }

    /// The answer to a question, waited for. Cancel safe: the question goes on.
    async fn answer(
        &self,
        question: &Question,
        client: Option<IpAddr>,
    ) -> Result<Answer, ObtainError> {
        let _place = self.place()?;
        let mut flight = match self.demand.opinion(question, client, Instant::now())? {
            Opinion::Answered(answer) => return Ok(answer),
            Opinion::Open(flight) => flight,
        };
        let answered = timeout(ANSWER_MOST, flight.wait_for(Option::is_some)).await;
        Ok(match answered {
            Ok(Ok(answer)) => answer.unwrap_or(Answer::Unknown),
            Ok(Err(_)) | Err(_) => Answer::Unknown,
        })
    }

    fn way(&self, pattern: &HostPattern, exact: &HostPattern, now: SystemTime) -> Way {
        let mut book = self.book();
        if let Some(entry) = book.get_mut(exact).filter(|entry| entry.mode.is_some()) {
            if let Some(approval) = &mut entry.approval {
                approval.touched = now;
            }
            return Way::Known;
        }
        let asks = book.get(pattern).is_some_and(|entry| entry.asks.is_some());
        let ordered = |pattern| self.source(pattern, TlsMode::Auto) == Source::Acme;
        // Where the wildcard can be had, its certificate is that of all names below.
        match asks && ordered(exact) && !ordered(pattern) {
            true => Way::Ask,
            false => Way::Pattern,
        }
    }

    /// Takes a name into the book.
    fn approve(
        &self,
        by: HostPattern,
        exact: &HostPattern,
        now: SystemTime,
    ) -> Result<(), ObtainError> {
        let own = self.own.load_full();
        let mut changes = Vec::new();
        let mut book = self.book();
        if book.get(&by).is_none_or(|entry| entry.asks.is_none()) {
            return Err(ObtainError::Undeclared);
        }
        let known = book.get(exact);
        if known.is_some_and(|entry| entry.mode.is_some()) {
            return Ok(());
        }
        if known.is_none_or(|entry| entry.served.is_none()) {
            self.demand.admit(Instant::now())?;
            make_room(&mut book, PENDING);
        }
        let entry = book
            .entry(exact.clone())
            .or_insert_with(|| self.entry(self.source(exact, TlsMode::Auto), now));
        entry.approve(Approval {
            by,
            until: now + TRUSTED,
            ask_at: now,
            touched: now,
        });
        self.settle(exact, entry, &own, now, &mut changes);
        if !changes.is_empty() {
            self.index.rcu(|index| index.with_changes(&changes, None));
        }
        Ok(())
    }

    /// Certificates of the store that handshakes use without anybody's asking for them: from now on they are
    /// renewed, if whoever is to be asked says so then.
    pub(super) fn adopt(&self, book: &mut Book, used: Vec<HostPattern>, now: SystemTime) {
        for pattern in used {
            let by = asking_for(book, &pattern);
            if let Some((by, entry)) = by.zip(book.get_mut(&pattern)) {
                entry.approve(Approval {
                    by,
                    until: now,
                    ask_at: now,
                    touched: now,
                });
            }
        }
    }

    /// When an order of this name may be thought of again, because it is not said that it may have one. Asks.
    pub(super) fn unapproved(
        &self,
        pattern: &HostPattern,
        entry: &mut Entry,
        now: SystemTime,
    ) -> Option<SystemTime> {
        let approval = entry.approval.as_mut()?;
        if approval.until > now {
            return None;
        }
        if approval.ask_at <= now {
            let question = Question {
                name: pattern.exact()?.clone(),
                pattern: approval.by.clone(),
            };
            approval.ask_at = match self.demand.again(&question) {
                true => now + ASKING,
                false => now + CROWDED,
            };
        }
        Some(approval.ask_at)
    }

    /// What was said of a name, for those who wait and for its next order.
    pub(super) fn answered(
        &self,
        name: &Host,
        answer: Answer,
        why: Option<Arc<str>>,
        now: SystemTime,
    ) {
        self.demand.note(name, answer, why, Instant::now());
        let exact = HostPattern::Exact(name.clone());
        let mut book = self.book();
        let Some(entry) = book.get_mut(&exact) else {
            return;
        };
        let Some(approval) = &mut entry.approval else {
            return;
        };
        let served = entry.served.as_ref();
        let end = served
            .map(|served| served.not_after)
            .filter(|end| *end > now);
        match (answer, end) {
            (Answer::Yes, _) => approval.until = now + TRUSTED,
            // A slip of the app's takes no site away that has a certificate.
            (Answer::No, Some(end)) => approval.ask_at = end.min(now + REFUSED),
            (Answer::No, None) => {
                entry.land(Err(ObtainError::Refused));
                entry.leave(now);
                let gone = std::slice::from_ref(&exact);
                self.index.rcu(|index| index.without_certificates(gone));
            }
            (Answer::Unknown, _) => {
                approval.ask_at = now + UNKNOWN;
                if served.is_none() {
                    entry.needed = false;
                    entry.land(Err(ObtainError::Unasked));
                }
            }
        }
        drop(book);
        self.wake.notify_one();
    }

    /// What is asked where, and about how many names.
    pub(super) fn asking(&self) -> Vec<AskReport> {
        let book = self.book();
        let asking = book.iter().filter_map(|(pattern, entry)| {
            let at = entry.asks.as_ref()?;
            let of = |entry: &&Entry| {
                let approval = entry.approval.as_ref();
                approval.is_some_and(|approval| approval.by == *pattern)
            };
            Some(AskReport {
                pattern: pattern.clone(),
                at: Arc::clone(at),
                names: book.values().filter(of).count(),
            })
        });
        asking.collect()
    }
}

impl Approval {
    pub(super) fn by(&self) -> &HostPattern {
        &self.by
    }

    /// Nobody has come for it in a day.
    pub(super) fn is_forgotten(&self, now: SystemTime) -> bool {
        self.touched + FORGOTTEN <= now
    }
}

/// Of names that were said yes to and have no certificate yet there are fewer than `most`: those that nobody
/// has come for the longest give way. Their back-off stays in the store.
fn make_room(book: &mut Book, most: usize) {
    let idle = |entry: &Entry| !entry.running && !entry.is_awaited();
    let pending = book.iter().filter_map(|(pattern, entry)| {
        let approval = entry.approval.as_ref().filter(|_| entry.served.is_none())?;
        Some((approval.touched, idle(entry), pattern.clone()))
    });
    let mut pending: Vec<_> = pending.collect();
    let surplus = (pending.len() + 1).saturating_sub(most);
    if surplus == 0 {
        return;
    }
    pending.retain(|(_, idle, _)| *idle);
    pending.sort_unstable_by_key(|(touched, ..)| *touched);
    for (_, _, pattern) in pending.into_iter().take(surplus) {
        book.remove(&pattern);
    }
}

/// The pattern a name falls under, if its names are asked about.
pub(super) fn asking_for(book: &Book, exact: &HostPattern) -> Option<HostPattern> {
    let name = exact.exact()?.as_str();
    let patterns = { book.iter().rev() }.take_while(|(pattern, _)| pattern.exact().is_none());
    let matching = patterns.filter(|(pattern, one)| one.mode.is_some() && pattern.matches(name));
    // The one that goes before the others has the name, whether it asks or not.
    let (pattern, entry) = matching.last()?;
    entry.asks.is_some().then(|| pattern.clone())
}

/// How long a yes counts; what waits for it in `demand` has the same.
const TRUSTED: Duration = Duration::from_secs(60 * 60);
/// When somebody is asked again about a name with a certificate that was refused another one.
const REFUSED: Duration = Duration::from_secs(12 * 60 * 60);
const UNKNOWN: Duration = Duration::from_secs(60);
/// An answer takes no longer, its turn included.
const ASKING: Duration = Duration::from_secs(60);
const CROWDED: Duration = Duration::from_secs(5);
/// How long a connection waits for an answer, its turn included.
const ANSWER_MOST: Duration = Duration::from_secs(5);
/// How long a name without a certificate is remembered that nobody comes for.
const FORGOTTEN: Duration = Duration::from_secs(24 * 60 * 60);
/// Names at a time that were said yes to and have no certificate yet.
const PENDING: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> HostPattern {
        HostPattern::parse(text).unwrap()
    }

    fn approved(touched: SystemTime) -> Entry {
        let mut entry = Entry::new(Source::Acme, 1, touched);
        entry.approve(Approval {
            by: HostPattern::Default,
            until: touched,
            ask_at: touched,
            touched,
        });
        entry
    }

    #[test]
    fn names_without_a_certificate_give_way_to_new_ones_unless_somebody_waits() {
        let start = SystemTime::UNIX_EPOCH;
        let mut book = Book::new();
        let mut waits = approved(start);
        let (_flight, _) = waits.wait().unwrap();
        book.insert(pattern("waits.test"), waits);
        for n in 1..10 {
            let entry = approved(start + Duration::from_secs(n));
            book.insert(pattern(&format!("n{n}.test")), entry);
        }
        book.insert(pattern("listed.test"), Entry::new(Source::Acme, 1, start));
        make_room(&mut book, 11);
        assert_eq!(book.len(), 11, "there is room");
        make_room(&mut book, 8);
        let left: Vec<_> = book.keys().map(ToString::to_string).collect();
        let expected = "listed.test n4.test n5.test n6.test n7.test n8.test n9.test waits.test";
        assert_eq!(left.join(" "), expected);
    }

    #[test]
    fn a_name_belongs_to_the_pattern_that_goes_before_the_others() {
        let now = SystemTime::UNIX_EPOCH;
        let mut book = Book::new();
        for (text, asks) in [
            ("*.plain.test", false),
            ("*.asks.test", true),
            ("**.deep.test", true),
            ("~^shop", true),
            ("default", true),
        ] {
            let mut entry = Entry::new(Source::Local, 1, now);
            entry.declare(TlsMode::Auto, None);
            entry.asks = asks.then(|| "somebody".into());
            book.insert(pattern(text), entry);
        }
        for (name, by) in [
            ("a.plain.test", None),
            ("b.a.plain.test", Some("default")),
            ("a.asks.test", Some("*.asks.test")),
            ("b.a.deep.test", Some("**.deep.test")),
            ("shop.test", Some("~^shop")),
            ("other.example", Some("default")),
        ] {
            let found = asking_for(&book, &pattern(name));
            let found = found.map(|pattern| pattern.to_string());
            assert_eq!(found.as_deref(), by, "{name}");
        }
    }
}
