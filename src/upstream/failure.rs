//! The last failure of an endpoint, for those who ask what is wrong with it.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What went wrong with an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Nothing listens there.
    Refused,
    /// There is no way to its address.
    NoWay,
    /// Its Unix socket may not be used.
    Denied,
    /// No answer to a connect.
    ConnectTimeout,
    Connect,
    /// Its TLS handshake failed, or its certificate is not believed.
    Tls,
    /// It closed the connection instead of answering.
    Closed,
    /// No answer to a request, or none taken.
    Timeout,
    /// It answered with something that is no HTTP.
    Unusable,
    /// It answered with a status for which `wharf.retry` asks another one.
    Status,
}

/// Remembers one; written where something fails, never while all is well.
#[derive(Debug)]
pub(super) struct LastFailure {
    /// Times are milliseconds since then.
    since: Instant,
    at: AtomicU64,
    /// 0 for none, else the place in [`ALL`] and one.
    what: AtomicU8,
}

impl Failure {
    /// Of a connect.
    pub fn of_connect(error: &io::Error) -> Self {
        match error.kind() {
            // A Unix socket that is not there yet.
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => Self::Refused,
            io::ErrorKind::PermissionDenied => Self::Denied,
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Self::NoWay,
            io::ErrorKind::TimedOut => Self::ConnectTimeout,
            _ => Self::Connect,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "connection refused",
            Self::NoWay => "no way to its address",
            Self::Denied => "Wharf may not connect to it",
            Self::ConnectTimeout => "no answer to a connect",
            Self::Connect => "connecting failed",
            Self::Tls => "no TLS connection that can be trusted (wharf.upstream.verify)",
            Self::Closed => "closed the connection without an answer",
            Self::Timeout => "no answer in time",
            Self::Unusable => "an unusable answer",
            Self::Status => "a status that wharf.retry names",
        })
    }
}

impl LastFailure {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            since: now,
            at: AtomicU64::new(0),
            what: AtomicU8::new(0),
        }
    }

    pub(super) fn note(&self, failure: Failure, now: Instant) {
        let at = now.saturating_duration_since(self.since).as_millis() as u64;
        let place = ALL.iter().position(|one| *one == failure);
        self.at.store(at, Ordering::Relaxed);
        self.what
            .store(place.map_or(0, |place| place as u8 + 1), Ordering::Relaxed);
    }

    /// The last one, and how long ago that was.
    pub(super) fn last(&self, now: Instant) -> Option<(Failure, Duration)> {
        let what = self.what.load(Ordering::Relaxed);
        let failure = *ALL.get(usize::from(what.checked_sub(1)?))?;
        let at = self.since + Duration::from_millis(self.at.load(Ordering::Relaxed));
        Some((failure, now.saturating_duration_since(at)))
    }
}

pub(super) const ALL: [Failure; 10] = [
    Failure::Refused,
    Failure::NoWay,
    Failure::Denied,
    Failure::ConnectTimeout,
    Failure::Connect,
    Failure::Tls,
    Failure::Closed,
    Failure::Timeout,
    Failure::Unusable,
    Failure::Status,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_failure_is_remembered_with_its_age() {
        let start = Instant::now();
        let failure = LastFailure::new(start);
        assert_eq!(failure.last(start), None);
        for (seconds, what) in ALL.into_iter().enumerate() {
            let at = start + Duration::from_secs(seconds as u64);
            failure.note(what, at);
            let later = at + Duration::from_secs(5);
            assert_eq!(failure.last(later), Some((what, Duration::from_secs(5))));
        }
    }
}
