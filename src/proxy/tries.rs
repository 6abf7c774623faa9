//! What the access line says of a request's way to its upstream: who was tried, with what success, how long it took.

use std::time::{Duration, Instant};

use http::StatusCode;

use crate::access::{FailedTry, Try, TryTimes};
use crate::upstream::{Endpoint, Upstream};

/// The tries of a request. What only a line would tell is kept only where there may be one.
#[derive(Default)]
pub(crate) struct Tries {
    /// The request may be logged.
    wanted: bool,
    /// The line says how long it took: nobody else needs to look at the clock for it.
    timed: bool,
    failed: Vec<FailedTry>,
    answered: Option<Answered>,
    begun: Option<Instant>,
    /// Of the last one.
    times: TryTimes,
    /// Bytes of the client's body that were taken for all of them.
    pub(crate) taken: u64,
}

/// The try whose answer was passed on.
#[derive(Debug, Clone, Copy)]
struct Answered {
    /// Its place in the upstream of the request's route.
    index: u16,
    status: u16,
}

impl Tries {
    /// What is wanted of those to come.
    pub(crate) fn want(&mut self, wanted: bool, timed: bool) {
        self.wanted = wanted;
        self.timed = wanted && timed;
    }

    pub(crate) fn is_timed(&self) -> bool {
        self.timed
    }

    /// An endpoint has been chosen.
    pub(crate) fn begin(&mut self) {
        if self.timed {
            self.begun = Some(Instant::now());
            self.times = TryTimes::default();
        }
    }

    /// There is a connection to it.
    pub(crate) fn connected(&mut self) {
        self.times.connect = self.elapsed();
    }

    /// The head of its response is there.
    pub(crate) fn headed(&mut self) {
        self.times.first_byte = self.elapsed();
    }

    /// It has failed, which would be told its client as `status`; or has answered so, and another is asked.
    pub(crate) fn failed(&mut self, endpoint: &Endpoint, status: StatusCode, answered: bool) {
        if !self.wanted {
            return;
        }
        self.times.total = self.elapsed();
        self.failed.push(FailedTry {
            endpoint: endpoint.addr.clone(),
            container: endpoint.container.clone(),
            status: status.as_u16(),
            answered,
            times: self.times,
        });
    }

    /// The one at `index` of its upstream has answered, and that is passed on.
    pub(crate) fn answered(&mut self, index: u16, endpoint: &Endpoint, status: StatusCode) {
        let status = status.as_u16();
        // Others were asked after it, in vain.
        let mut before = self.failed.iter();
        let before = before.rposition(|one| one.answered && one.endpoint == endpoint.addr);
        if let Some(at) = before {
            self.times = self.failed.remove(at).times;
            self.times.total = None;
        }
        self.answered = Some(Answered { index, status });
    }

    /// Its response has ended, at `end` where that is known.
    pub(crate) fn ended(&mut self, end: Option<Instant>) {
        self.times.total = self
            .begun
            .and_then(|begun| Some(end?.duration_since(begun)));
    }

    /// Who has answered, of the endpoints of `upstream`.
    pub(crate) fn endpoint<'a>(&self, upstream: &'a Upstream) -> Option<&'a Endpoint> {
        upstream.endpoints.get(usize::from(self.answered?.index))
    }

    pub(crate) fn all_failed(&self) -> &[FailedTry] {
        &self.failed
    }

    /// The one that has answered, as the line has it. What has not ended yet ends now.
    pub(crate) fn told<'a>(&self, upstream: &'a Upstream) -> Option<Try<'a>> {
        let endpoint = self.endpoint(upstream)?;
        let mut times = self.times;
        times.total = times.total.or_else(|| self.elapsed());
        Some(Try {
            endpoint: &endpoint.addr,
            container: &endpoint.container,
            status: self.answered?.status,
            times,
        })
    }

    fn elapsed(&self) -> Option<Duration> {
        self.begun.map(|begun| begun.elapsed())
    }
}
