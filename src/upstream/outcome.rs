//! The result of a check, and the last one of an endpoint.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::Failure;
use super::failure::ALL;
use crate::model::{ActiveCheck, HealthAsk};

/// What a check has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Connected,
    /// It has answered with this status.
    Status(u16),
    Failed(Failure),
}

/// Remembers one. Written by who checks, alone.
#[derive(Debug)]
pub(super) struct LastOutcome {
    /// Times are milliseconds since then.
    since: Instant,
    at: AtomicU64,
    /// 0 for none yet, else a kind and what belongs to it.
    what: AtomicU32,
}

impl Outcome {
    /// Whether this is what `check` wants.
    pub fn passes(self, check: &ActiveCheck) -> bool {
        match (self, &check.asks) {
            (Self::Connected, HealthAsk::Tcp) => true,
            (Self::Status(status), HealthAsk::Http(http)) => http.status.contains(status),
            (Self::Status(status), HealthAsk::Grpc(_)) => status == SERVING,
            _ => false,
        }
    }

    /// In words: `GET /healthz: status 503, not 200-399`.
    pub fn told(self, check: &ActiveCheck) -> String {
        match (self, &check.asks) {
            (Self::Connected, _) => format!("{check}: connects"),
            (Self::Status(status), HealthAsk::Http(http)) if !http.status.contains(status) => {
                format!("{check}: status {status}, not {}", http.status)
            }
            (Self::Status(status), HealthAsk::Grpc(_)) => {
                let name = SERVING_STATUS.get(usize::from(status));
                match name {
                    Some(name) => format!("{check}: {name}"),
                    None => format!("{check}: an answer that is none"),
                }
            }
            (Self::Status(status), _) => format!("{check}: status {status}"),
            (Self::Failed(Failure::Timeout | Failure::ConnectTimeout), _) => {
                format!("{check}: no answer within {:?}", check.timeout)
            }
            (Self::Failed(failure), _) => format!("{check}: {failure}"),
        }
    }
}

/// The names of `grpc.health.v1.HealthCheckResponse.ServingStatus`.
const SERVING_STATUS: [&str; 4] = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];
const SERVING: u16 = 1;

impl LastOutcome {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            since: now,
            at: AtomicU64::new(0),
            what: AtomicU32::new(0),
        }
    }

    pub(super) fn note(&self, outcome: Outcome, now: Instant) {
        let what = match outcome {
            Outcome::Connected => CONNECTED,
            Outcome::Status(status) => STATUS | u32::from(status),
            Outcome::Failed(failure) => {
                let place = ALL.iter().position(|one| *one == failure);
                FAILED | place.map_or(0, |place| place as u32)
            }
        };
        let at = now.saturating_duration_since(self.since).as_millis() as u64;
        self.at.store(at, Ordering::Relaxed);
        self.what.store(what, Ordering::Relaxed);
    }

    /// The last one, and how long ago that was.
    pub(super) fn last(&self, now: Instant) -> Option<(Outcome, Duration)> {
        let what = self.what.load(Ordering::Relaxed);
        let value = what & 0xffff;
        let outcome = match what & !0xffff {
            CONNECTED => Outcome::Connected,
            STATUS => Outcome::Status(value as u16),
            FAILED => Outcome::Failed(*ALL.get(value as usize)?),
            _ => return None,
        };
        let at = self.since + Duration::from_millis(self.at.load(Ordering::Relaxed));
        Some((outcome, now.saturating_duration_since(at)))
    }
}

const CONNECTED: u32 = 1 << 16;
const STATUS: u32 = 2 << 16;
const FAILED: u32 = 3 << 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{HttpAsk, StatusSet};

    fn healthz() -> ActiveCheck {
        ActiveCheck::new(HealthAsk::Http(HttpAsk {
            target: "/healthz".into(),
            host: None,
            status: StatusSet::default(),
        }))
    }

    #[test]
    fn the_last_outcome_is_remembered_with_its_age() {
        let start = Instant::now();
        let last = LastOutcome::new(start);
        assert_eq!(last.last(start), None);
        let outcomes = [
            Outcome::Connected,
            Outcome::Status(200),
            Outcome::Status(599),
        ];
        let failures = ALL.into_iter().map(Outcome::Failed);
        for (seconds, outcome) in outcomes.into_iter().chain(failures).enumerate() {
            let at = start + Duration::from_secs(seconds as u64);
            last.note(outcome, at);
            let age = Duration::from_secs(5);
            assert_eq!(last.last(at + age), Some((outcome, age)));
        }
    }

    #[test]
    fn only_what_was_asked_for_passes() {
        let (http, tcp) = (healthz(), ActiveCheck::new(HealthAsk::Tcp));
        for (outcome, of_http, of_tcp) in [
            (Outcome::Connected, false, true),
            (Outcome::Status(204), true, false),
            (Outcome::Status(503), false, false),
            (Outcome::Failed(Failure::Refused), false, false),
        ] {
            assert_eq!(outcome.passes(&http), of_http, "{outcome:?}");
            assert_eq!(outcome.passes(&tcp), of_tcp, "{outcome:?}");
        }
    }

    #[test]
    fn outcomes_are_told_with_what_was_asked() {
        for (outcome, told) in [
            (
                Outcome::Status(503),
                "GET /healthz: status 503, not 200-399",
            ),
            (Outcome::Status(200), "GET /healthz: status 200"),
            (
                Outcome::Failed(Failure::Timeout),
                "GET /healthz: no answer within 3s",
            ),
            (
                Outcome::Failed(Failure::Refused),
                "GET /healthz: connection refused",
            ),
        ] {
            assert_eq!(outcome.told(&healthz()), told);
        }
    }
}
