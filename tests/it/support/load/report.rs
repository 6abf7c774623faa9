//! What became of a load.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime};

/// What a client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Kept,
    Fresh,
    H2,
    Post,
    Put,
    Socket,
    Download,
    Feed,
}

/// By kind.
#[derive(Debug, Default)]
pub(crate) struct Report {
    tallies: BTreeMap<Kind, Tally>,
}

#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Answers as they should be; of streams: messages, whole downloads, events.
    pub(crate) good: u64,
    /// Of good answers, from when they were due; of streams: until they were open.
    pub(crate) took: Vec<Duration>,
    pub(crate) failed: Vec<Failure>,
    /// Streams that ended before their time.
    pub(crate) cut: Vec<Cut>,
    /// Streams that are open.
    pub(crate) open: usize,
    /// Requests that were not sent, because too many wait already.
    pub(crate) skipped: u64,
}

/// A request that was not answered as it should be.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    /// When that was known.
    pub(crate) at: SystemTime,
    pub(crate) took: Duration,
    /// None when there was no answer.
    pub(crate) status: Option<u16>,
    /// Head and body, or the error with its causes.
    pub(crate) what: String,
}

/// A stream that ended before its time.
#[derive(Debug, Clone)]
pub(crate) struct Cut {
    pub(crate) at: SystemTime,
    /// How long it was open.
    pub(crate) lasted: Duration,
    /// Host name of the container that it led to.
    pub(crate) host: String,
    pub(crate) how: String,
}

impl Report {
    pub(crate) fn of(&self, kind: Kind) -> &Tally {
        const NONE: &Tally = &Tally {
            good: 0,
            took: Vec::new(),
            failed: Vec::new(),
            cut: Vec::new(),
            open: 0,
            skipped: 0,
        };
        self.tallies.get(&kind).unwrap_or(NONE)
    }

    /// All of it; streams stay open.
    pub(super) fn take(&mut self) -> Self {
        let open = self.tallies.iter().map(|(kind, tally)| {
            let open = Tally {
                open: tally.open,
                ..Tally::default()
            };
            (*kind, open)
        });
        let tallies = open.collect();
        std::mem::replace(self, Self { tallies })
    }

    pub(super) fn note(&mut self, kind: Kind) -> &mut Tally {
        self.tallies.entry(kind).or_default()
    }

    pub(crate) fn failed(&self) -> impl Iterator<Item = (Kind, &Failure)> {
        let tallies = self.tallies.iter();
        tallies.flat_map(|(kind, tally)| tally.failed.iter().map(|failure| (*kind, failure)))
    }

    pub(crate) fn cut(&self) -> impl Iterator<Item = (Kind, &Cut)> {
        let tallies = self.tallies.iter();
        tallies.flat_map(|(kind, tally)| tally.cut.iter().map(|cut| (*kind, cut)))
    }

    /// What a share `of` all answered requests took at most, in percent.
    pub(crate) fn percentile(&self, of: f64) -> Duration {
        let kinds = [Kind::Kept, Kind::Fresh, Kind::H2, Kind::Post, Kind::Put];
        let took = kinds.iter().flat_map(|kind| &self.of(*kind).took);
        percentile(took.copied().collect(), of)
    }

    /// Panics, and tells all, if anything failed that is not `excused`.
    pub(crate) fn assert_answered(&self, what: &str, excused: impl Fn(Kind, &Failure) -> bool) {
        let bad = self
            .failed()
            .filter(|(kind, failure)| !excused(*kind, failure));
        let bad: Vec<_> = bad
            .map(|(kind, failure)| format!("{}: {failure}", kind.name()))
            .collect();
        assert!(
            bad.is_empty(),
            "{what}: {} failed\n{}\n{self}",
            bad.len(),
            shown(&bad)
        );
    }

    /// The same for streams that were cut.
    pub(crate) fn assert_whole(&self, what: &str, excused: impl Fn(Kind, &Cut) -> bool) {
        let bad = self.cut().filter(|(kind, cut)| !excused(*kind, cut));
        let bad: Vec<_> = bad
            .map(|(kind, cut)| format!("{}: {cut}", kind.name()))
            .collect();
        assert!(
            bad.is_empty(),
            "{what}: {} cut\n{}\n{self}",
            bad.len(),
            shown(&bad)
        );
    }
}

fn shown(lines: &[String]) -> String {
    lines[..lines.len().min(MOST_SHOWN)].join("\n")
}

fn percentile(mut took: Vec<Duration>, of: f64) -> Duration {
    took.sort_unstable();
    let last = took.len().saturating_sub(1);
    let at = (took.len() as f64 * of / 100.0) as usize;
    took.get(at.min(last)).copied().unwrap_or_default()
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kept => "GET, kept connections",
            Self::Fresh => "GET, new connections",
            Self::H2 => "GET, HTTP/2",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Socket => "WebSocket",
            Self::Download => "download",
            Self::Feed => "event stream",
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, tally) in &self.tallies {
            let took = |of| percentile(tally.took.clone(), of);
            writeln!(
                f,
                "  {:22} {:6} good, {} failed, {} cut, {} open, {} not sent; p50 {:.1?} p99 {:.1?} max {:.1?}",
                kind.name(),
                tally.good,
                tally.failed.len(),
                tally.cut.len(),
                tally.open,
                tally.skipped,
                took(50.0),
                took(99.0),
                took(100.0),
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "at {} after {:?}: {}",
            clock(self.at),
            self.took,
            self.what
        )
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, lasted) = (clock(self.at), self.lasted);
        write!(
            f,
            "at {at} after {lasted:?}, of {}: {}",
            self.host, self.how
        )
    }
}

/// As events and logs have it, so that they can be laid side by side.
pub(crate) fn clock(time: SystemTime) -> String {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let (seconds, millis) = (since.as_secs() % 86_400, since.subsec_millis());
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}.{millis:03}", seconds % 60)
}

/// Of failures of one kind of cause the first ones tell enough.
const MOST_SHOWN: usize = 20;
