//! One name in the book: its certificate, its history, those who wait for it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use crate::model::TlsMode;

use super::approval::Approval;
use super::ari::{Ari, Window};
use super::ca::Histories;
use super::renew::from_unix;
use super::served::Served;
use super::store::{ChallengeKind, OpenOrder};
use super::{CertSource, ObtainError};

/// How one order ended, for those who wait.
pub(super) type Outcome = Result<Arc<Served>, ObtainError>;

/// Ends with `Some`.
pub(super) type Flight = watch::Receiver<Option<Outcome>>;

/// One name: asked for now, or until a while ago, or found in the store.
pub(super) struct Entry {
    pub(super) source: Source,
    /// `None`: no running container asks for it; nothing is ordered or renewed.
    pub(super) mode: Option<TlsMode>,
    /// Which of the own certificates a label names.
    pub(super) file: Option<Arc<str>>,
    /// Of a pattern: who is asked about its names.
    pub(super) asks: Option<Arc<str>>,
    /// It is asked for by no label, but was said yes to.
    pub(super) approval: Option<Approval>,
    /// When it was last asked for, if it is not now.
    gone_since: Option<SystemTime>,
    /// Somebody needed it since it has been declared: it is ordered, and retried until there is one.
    pub(super) needed: bool,
    /// An order runs.
    pub(super) running: bool,
    flight: Option<watch::Sender<Option<Outcome>>>,
    pub(super) served: Option<Arc<Served>>,
    pub(super) renew_at: Option<SystemTime>,
    pub(super) challenge: Option<ChallengeKind>,
    /// The CA that issued `served`, by its place in the list.
    pub(super) ca: usize,
    pub(super) histories: Histories,
    /// What the CA says of the renewal of `served`, when that was obtained, and when it was last
    /// needed.
    pub(super) ari: Option<Ari>,
    pub(super) issued: Option<SystemTime>,
    pub(super) used: SystemTime,
    /// Somebody wants it renewed now, whatever the CA says.
    pub(super) asked: bool,
    /// The CA is being asked about it.
    pub(super) checking: bool,
    /// It has ended and nobody needs it: not in the index, so that who does waits for a new one.
    pub(super) dormant: bool,
    /// An order left open, and at which CA: where the store cannot keep it.
    pub(super) open: Option<(usize, OpenOrder)>,
}

/// Where a name's certificate comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Acme,
    Local,
    /// One of the operator's own.
    File,
    /// A public wildcard: from nowhere yet.
    Nowhere,
}

impl Entry {
    pub(super) fn new(source: Source, cas: usize, now: SystemTime) -> Self {
        Self {
            source,
            mode: None,
            file: None,
            asks: None,
            approval: None,
            gone_since: Some(now),
            needed: false,
            running: false,
            flight: None,
            served: None,
            renew_at: None,
            challenge: None,
            ca: 0,
            histories: Histories::new(cas),
            ari: None,
            issued: None,
            used: now,
            asked: false,
            checking: false,
            dormant: false,
            open: None,
        }
    }

    /// Takes a certificate over; the index is the caller's.
    pub(super) fn put(&mut self, served: Option<Arc<Served>>, now: SystemTime) {
        self.renew_at = served.as_ref().map(|served| {
            let due = served.renew_at();
            // Whatever a CA issues, an order does not follow the last one at once.
            if served.not_after > now {
                due.max(now + RENEW_PAUSE)
            } else {
                due
            }
        });
        self.served = served;
        self.ari = None;
        self.issued = None;
        self.dormant = false;
        self.asked = false;
    }

    /// Gives up a certificate that cannot be served, and what is known of how it came to be: as if
    /// the store had not had it. The index is the caller's.
    pub(super) fn discard(&mut self) {
        self.served = None;
        self.renew_at = None;
        self.histories.clear();
    }

    pub(super) fn declare(&mut self, mode: TlsMode, file: Option<Arc<str>>) {
        self.mode = Some(mode);
        self.file = file;
        self.approval = None;
        self.gone_since = None;
    }

    /// Somebody has said yes to a name that no label asks for.
    pub(super) fn approve(&mut self, approval: Approval) {
        self.declare(TlsMode::Auto, None);
        self.approval = Some(approval);
    }

    /// From now on another source gives the certificate; that of the old one is not to be used any
    /// more, and what went wrong there does not count. Who waits goes on waiting.
    pub(super) fn turn_to(&mut self, source: Source, now: SystemTime) {
        let before = std::mem::replace(self, Self::new(source, self.histories.count(), now));
        self.mode = before.mode;
        self.file = before.file;
        self.asks = before.asks;
        self.approval = before.approval;
        self.gone_since = before.gone_since;
        self.needed = before.needed;
        self.running = before.running;
        self.flight = before.flight;
    }

    /// No running container asks for it any more. An order that runs goes on, for the store.
    pub(super) fn leave(&mut self, now: SystemTime) {
        self.mode = None;
        self.asks = None;
        self.approval = None;
        self.needed = false;
        self.gone_since = Some(now);
        if !self.running {
            self.land(Err(ObtainError::Undeclared));
        }
    }

    /// From this source and not past its end.
    pub(super) fn has_valid(&self, source: Source, now: SystemTime) -> bool {
        let served = self.served.as_ref();
        self.source == source && served.is_some_and(|served| served.not_after > now)
    }

    pub(super) fn is_forgettable(&self, now: SystemTime) -> bool {
        let gone = self.gone_since.filter(|_| !self.running);
        gone.is_some_and(|since| since + FORGET <= now)
    }

    /// One more waiter, and whether it is the first; `None` where there are too many.
    pub(super) fn wait(&mut self) -> Option<(Flight, bool)> {
        self.needed = true;
        let is_new = self.flight.is_none();
        let flight = self.flight.get_or_insert_with(|| watch::Sender::new(None));
        (flight.receiver_count() < WAITERS).then(|| (flight.subscribe(), is_new))
    }

    /// Ends the flight: put away first, so that no one joins a finished one, then everybody is told.
    pub(super) fn land(&mut self, outcome: Outcome) {
        if let Some(flight) = self.flight.take() {
            flight.send_replace(Some(outcome));
        }
    }

    /// The answer while an attempt has failed and the next is not due.
    pub(super) fn refusal(&self, now: SystemTime) -> Option<ObtainError> {
        let retry_at = self.histories.retry_at(now)?;
        let cause = self.histories.error();
        Some(ObtainError::Failed {
            cause: cause.map_or_else(|| "an earlier attempt failed".into(), Into::into),
            retry_at,
        })
    }

    /// Connections wait for it now.
    pub(super) fn is_awaited(&self) -> bool {
        self.flight
            .as_ref()
            .is_some_and(|flight| flight.receiver_count() > 0)
    }

    /// Nobody has needed it in a week: it is not renewed until somebody does. Labels that ask for it at
    /// once ask for it always.
    pub(super) fn is_idle(&self, now: SystemTime) -> bool {
        let renewed_by_need = self.source == Source::Acme && self.mode == Some(TlsMode::Auto);
        renewed_by_need && self.used + IDLE <= now && !self.is_awaited()
    }

    /// When the CA is to be asked about the renewal, if it is.
    pub(super) fn check_at(&self, now: SystemTime) -> Option<SystemTime> {
        let served = self.served.as_ref()?;
        let asked = self.source == Source::Acme && served.source == CertSource::Acme;
        if !asked || self.mode.is_none() || self.checking || self.running {
            return None;
        }
        // RFC 9773 section 4.3.3: never about one that has ended.
        if served.not_after <= now || self.is_idle(now) {
            return None;
        }
        let at = self.ari.as_ref().map_or(now, |ari| from_unix(ari.check_at));
        // The clock may have been set back since.
        Some(at.min(now + CHECK_MOST))
    }

    fn renewal(&self, served: &Served) -> Option<SystemTime> {
        let ari = self.ari.as_ref().filter(|_| !self.asked);
        let window = ari.and_then(|ari| ari.window.as_ref());
        let by_window =
            |window: &Window| window.renew_at(served.not_before, served.not_after, self.issued);
        window.map(by_window).or(self.renew_at)
    }

    /// When the next order is due, if one ever is.
    pub(super) fn due_at(&self, now: SystemTime) -> Option<SystemTime> {
        let mode = self.mode?;
        let wanted = match (self.source, &self.served) {
            (Source::Nowhere | Source::File, _) => None,
            (_, Some(_)) if self.is_idle(now) => None,
            (_, Some(served)) => self.renewal(served),
            (Source::Acme, None) if self.needed || mode == TlsMode::Eager => Some(now),
            (_, None) => None,
        }?;
        Some(
            self.histories
                .retry_at(now)
                .map_or(wanted, |free| free.max(wanted)),
        )
    }
}

/// Whatever a CA issues, orders of one name are this far apart.
const RENEW_PAUSE: Duration = Duration::from_secs(5);
/// How long a certificate nobody needs is renewed for.
const IDLE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
const CHECK_MOST: Duration = Duration::from_secs(12 * 60 * 60);
/// How long a name nobody asks for is kept in memory.
const FORGET: Duration = Duration::from_secs(24 * 60 * 60);
/// Connections that may wait for one name.
const WAITERS: usize = 256;
