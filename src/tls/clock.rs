//! Whether this machine's clock is right, by what CAs say and certificates tell. A wrong one makes all
//! certificates look due, or none, and the CA look like an impostor.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// What is known of the time. `now` is always this machine's.
#[derive(Default)]
pub(super) struct Clock {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// The Date of a CA's answer (RFC 9110 section 6.6.1), and when it came by a clock nobody sets.
    heard: Option<(SystemTime, Instant)>,
    /// The latest begin of a certificate: it cannot be earlier than that, but for an hour or so that CAs
    /// date back.
    begun: Option<SystemTime>,
    /// Whether it has been logged.
    told: bool,
}

impl Clock {
    pub(super) fn heard(&self, date: SystemTime) {
        self.known().heard = Some((date, Instant::now()));
        self.tell();
    }

    pub(super) fn begun(&self, not_before: SystemTime) {
        let mut known = self.known();
        known.begun = known.begun.max(Some(not_before));
    }

    /// What is wrong, in words.
    pub(super) fn fault(&self, now: SystemTime) -> Option<String> {
        let known = self.known();
        let (apart, ahead, whose) = known.apart(now)?;
        let way = if ahead { "ahead of" } else { "behind" };
        (apart > TOLD).then(|| {
            let (date, apart) = (httpdate::fmt_http_date(now), span(apart));
            format!("this machine's clock, at {date}, is {apart} {way} {whose}")
        })
    }

    /// Why nothing may be ordered: with a clock this wrong, what is issued looks expired or is thought to be
    /// due again, and each order counts at the CA. Only a CA's own word can say so.
    pub(super) fn forbids(&self, now: SystemTime) -> Option<String> {
        let (apart, _) = self.known().heard_apart(now)?;
        (apart > ORDER).then(|| self.fault(now)).flatten()
    }

    /// Whether the CA's word is of a while ago: it may have been its clock that was wrong.
    pub(super) fn is_stale(&self) -> bool {
        let heard = self.known().heard;
        heard.is_none_or(|(_, at)| at.elapsed() > STALE)
    }

    /// Says so once, and again after it was right.
    pub(super) fn tell(&self) {
        let fault = self.fault(SystemTime::now());
        let mut known = self.known();
        match &fault {
            Some(fault) if !known.told => tracing::error!("{fault}"),
            None if known.told => tracing::info!("this machine's clock is right again"),
            _ => {}
        }
        known.told = fault.is_some();
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// How far the clock is from what is known, whether ahead, and from whose.
    fn apart(&self, now: SystemTime) -> Option<(Duration, bool, &'static str)> {
        if let Some((apart, ahead)) = self.heard_apart(now) {
            return Some((apart, ahead, "the clock of the CA"));
        }
        let behind = self.begun?.duration_since(now).ok()?;
        Some((behind, false, "the begin of a certificate in the store"))
    }

    fn heard_apart(&self, now: SystemTime) -> Option<(Duration, bool)> {
        let (date, at) = self.heard?;
        let there = date + at.elapsed();
        Some(match now.duration_since(there) {
            Ok(ahead) => (ahead, true),
            Err(behind) => (behind.duration(), false),
        })
    }
}

fn span(apart: Duration) -> String {
    let seconds = apart.as_secs();
    match seconds {
        0..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// Certificates are dated back by an hour for clocks that differ by less.
const TOLD: Duration = Duration::from_secs(5 * 60);
/// Apart by more than that, nothing is ordered.
const ORDER: Duration = Duration::from_secs(24 * 60 * 60);
const STALE: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_clock_that_differs_from_the_cas_is_named() {
        let now = SystemTime::now();
        for (apart, ahead, told, forbids) in [
            (Duration::from_secs(60), true, None, false),
            (HOUR, false, Some("60 min behind"), false),
            (3 * HOUR, true, Some("3 h ahead of"), false),
            (10 * 24 * HOUR, true, Some("10 days ahead of"), true),
            (9000 * 24 * HOUR, false, Some("9000 days behind"), true),
        ] {
            let clock = Clock::default();
            clock.heard(if ahead { now - apart } else { now + apart });
            let fault = clock.fault(now + Duration::from_secs(u64::from(ahead)));
            match told {
                None => assert_eq!(fault, None),
                Some(told) => assert!(fault.clone().unwrap().contains(told), "{fault:?}"),
            }
            assert_eq!(clock.forbids(now).is_some(), forbids, "{apart:?}");
        }
    }

    #[test]
    fn a_clock_that_is_set_right_is_known_at_once() {
        let (clock, now) = (Clock::default(), SystemTime::now());
        clock.heard(now + 400 * 24 * HOUR);
        assert!(clock.forbids(now).is_some());
        assert_eq!(clock.forbids(now + 400 * 24 * HOUR), None);
        assert_eq!(clock.fault(now + 400 * 24 * HOUR), None);
    }

    #[test]
    fn certificates_from_the_future_tell_of_a_clock_that_is_behind() {
        let (clock, now) = (Clock::default(), SystemTime::now());
        clock.begun(now - HOUR);
        assert_eq!(clock.fault(now), None);
        clock.begun(now + 300 * 24 * HOUR);
        clock.begun(now);
        let fault = clock.fault(now).unwrap();
        assert!(
            fault.contains("behind the begin of a certificate"),
            "{fault}"
        );
        // Nobody knows whose fault it is.
        assert_eq!(clock.forbids(now), None);
    }
}
