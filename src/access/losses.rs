//! Lines that were lost, and when that is told.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lines that were lost.
#[derive(Debug, Default)]
pub struct Losses {
    behind: AtomicU64,
    failed: AtomicU64,
    /// The last fault of the output. Locked by the writer thread when it fails, and once a second by who tells.
    fault: Mutex<Option<String>>,
}

/// Tells of lines that were lost, now and then.
#[derive(Debug)]
pub struct Teller {
    losses: Arc<Losses>,
    told: u64,
    at: Option<Instant>,
}

impl Losses {
    /// Because the output did not keep up.
    pub fn behind_lines(&self) -> u64 {
        self.behind.load(Ordering::Relaxed)
    }

    /// Because the output failed.
    pub fn failed_lines(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// All of them.
    pub fn lines(&self) -> u64 {
        self.behind_lines() + self.failed_lines()
    }

    pub(super) fn behind(&self, lines: u64) {
        self.behind.fetch_add(lines, Ordering::Relaxed);
    }

    pub(super) fn failed(&self, lines: u64, fault: &io::Error) {
        self.failed.fetch_add(lines, Ordering::Relaxed);
        let mut kept = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        *kept = Some(fault.to_string());
    }

    fn take_fault(&self) -> Option<String> {
        let mut kept = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        kept.take()
    }
}

impl Teller {
    pub fn new(losses: Arc<Losses>) -> Self {
        Self {
            losses,
            told: 0,
            at: None,
        }
    }

    /// What there is to tell, once in [`TELL_EVERY`] at most.
    pub fn news(&mut self, now: Instant) -> Option<String> {
        let lost = self.losses.lines();
        if lost == self.told || self.at.is_some_and(|at| now < at + TELL_EVERY) {
            return None;
        }
        let more = lost - self.told;
        (self.told, self.at) = (lost, Some(now));
        let why = match self.losses.take_fault() {
            Some(fault) => format!("it cannot be written: {fault}"),
            None => "its output does not keep up".to_owned(),
        };
        Some(format!("the access log has lost {more} lines: {why}"))
    }
}

/// Between two lines of the log about lines of the access log.
const TELL_EVERY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_told_at_once_and_then_once_a_minute() {
        let losses = Arc::<Losses>::default();
        let mut teller = Teller::new(Arc::clone(&losses));
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(teller.news(at(0)), None);
        losses.behind(3);
        assert_eq!(
            teller.news(at(1)).as_deref(),
            Some("the access log has lost 3 lines: its output does not keep up")
        );
        losses.behind(1);
        losses.failed(4, &io::Error::other("no space"));
        assert_eq!(teller.news(at(2)), None);
        assert_eq!(teller.news(at(60)), None);
        assert_eq!(
            teller.news(at(61)).as_deref(),
            Some("the access log has lost 5 lines: it cannot be written: no space")
        );
        assert_eq!(teller.news(at(200)), None);
        assert_eq!((losses.behind_lines(), losses.failed_lines()), (4, 4));
    }
}
