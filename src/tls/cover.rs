//! Names that a wildcard's certificate serves: they wait for it and take it, instead of ordering one
//! each. While the wildcard cannot be had they are ordered as if there were none. One that was imported is
//! taken, too, though no container asks for it and so nobody renews it.

use std::sync::Arc;
use std::time::SystemTime;

use crate::model::{Host, HostPattern};

use super::book::{Book, Shared};
use super::entry::{Entry, Source};
use super::served::Served;

impl Shared {
    /// The names on the certificate of a pattern: with a wildcard also the name above it, if a
    /// container asks for that, too.
    pub(super) fn names(&self, pattern: &HostPattern) -> Vec<String> {
        let mut names = vec![pattern.to_string()];
        if let HostPattern::Wildcard(suffix) = pattern {
            let above = HostPattern::Exact(suffix.clone());
            if self.book().get(&above).is_some_and(is_ordered) {
                names.push(suffix.to_string());
            }
        }
        names
    }

    /// The wildcard a name waits for: it has no certificate, or the wildcard's own, and the wildcard may
    /// get one.
    pub(super) fn covering(
        &self,
        book: &Book,
        pattern: &HostPattern,
        now: SystemTime,
    ) -> Option<HostPattern> {
        let entry = book.get(pattern).filter(|entry| is_ordered(entry))?;
        if entry.running {
            return None;
        }
        let mut waited_for = wildcards(book, pattern).filter(|(_, covering)| {
            if !is_ordered(covering) {
                return false;
            }
            let same = match (&entry.served, &covering.served) {
                (None, None) => true,
                (Some(own), Some(served)) => Arc::ptr_eq(own, served),
                _ => false,
            };
            same && covering.refusal(now).is_none()
        });
        waited_for.next().map(|(wildcard, _)| wildcard)
    }

    /// Gives names their wildcard's certificate where they have none and need one, or one that is due.
    pub(super) fn cover(&self, book: &mut Book, now: SystemTime) {
        let is_covering = |(pattern, entry): (&HostPattern, &Entry)| {
            let has = is_ordered(entry) || entry.has_valid(Source::Acme, now);
            matches!(pattern, HostPattern::Wildcard(_)) && has
        };
        // Usually there is none.
        if !book.iter().any(is_covering) {
            return;
        }
        let due = book.iter().filter(|(_, entry)| {
            let at = entry.due_at(now);
            at.is_some_and(|at| at <= now)
        });
        let due: Vec<HostPattern> = due.map(|(pattern, _)| pattern.clone()).collect();
        for pattern in due {
            self.cover_one(book, &pattern, now);
        }
    }

    /// As [`Shared::cover`], for a name that needs a certificate now.
    pub(super) fn cover_one(&self, book: &mut Book, pattern: &HostPattern, now: SystemTime) {
        let found = book
            .get(pattern)
            .filter(|entry| is_ordered(entry) && !entry.running);
        let Some(entry) = found else {
            return;
        };
        let served = wildcards(book, pattern).find_map(|(_, covering)| {
            let served = covering.served.as_ref()?;
            covering.has_valid(Source::Acme, now).then_some(())?;
            let own = entry.served.as_ref();
            let newer = own.is_none_or(|own| served.is_newer(own, now));
            (newer && served.covers(pattern)).then(|| Arc::clone(served))
        });
        if let Some((served, entry)) = served.zip(book.get_mut(pattern)) {
            let served = self.put(pattern, entry, served, now);
            entry.land(Ok(served));
        }
    }

    /// A wildcard has a new certificate: those that had the old one take it, too.
    pub(super) fn pass_on(
        &self,
        book: &mut Book,
        before: &Arc<Served>,
        served: &Arc<Served>,
        now: SystemTime,
    ) {
        let has = |entry: &Entry| {
            let own = entry.served.as_ref();
            own.is_some_and(|own| Arc::ptr_eq(own, before))
        };
        for (pattern, entry) in book.iter_mut() {
            if has(entry) && served.covers(pattern) {
                self.put(pattern, entry, Arc::clone(served), now);
            }
        }
    }
}

/// The wildcards a name falls under, or is the top of.
fn wildcards<'a>(
    book: &'a Book,
    pattern: &HostPattern,
) -> impl Iterator<Item = (HostPattern, &'a Entry)> {
    let host = pattern.exact();
    let parent = host.and_then(|host| Host::parse(host.parent()?).ok());
    let above = parent.into_iter().chain(host.cloned());
    above.filter_map(|suffix| {
        let wildcard = HostPattern::Wildcard(suffix);
        let entry = book.get(&wildcard)?;
        Some((wildcard, entry))
    })
}

/// Whether a container asks for it, and a CA gives it.
fn is_ordered(entry: &Entry) -> bool {
    entry.source == Source::Acme && entry.mode.is_some()
}
