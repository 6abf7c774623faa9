//! All workers' counters as one set of plain numbers.

use super::{
    BUCKETS, BreakerBecame, ConnectionMetrics, ErrorKind, Histogram, Metrics, RetryReason,
    SessionTotals, WorkerMetrics,
};

/// The sum over workers at one look; the fields are those of [`WorkerMetrics`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    pub http: ConnectionTotals,
    pub https: ConnectionTotals,
    pub proxy_headers: u64,
    pub proxy_headers_refused: u64,
    pub handshakes_ok: u64,
    pub handshakes_failed: u64,
    pub sessions: SessionTotals,
    /// 1xx to 5xx.
    pub responses: [u64; 5],
    pub requests_h1: u64,
    pub requests_h2: u64,
    pub requests_open: u64,
    pub request_seconds: HistogramTotals,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub upstream_connects: u64,
    pub upstream_handshakes: u64,
    pub upstream_handshakes_resumed: u64,
    pub upstream_handshakes_failed: u64,
    pub upstream_connect_failures: u64,
    pub upstream_reuses: u64,
    /// In the order of [`RetryReason::ALL`].
    pub retries: [u64; RetryReason::ALL.len()],
    pub retries_refused: u64,
    pub held: u64,
    pub rate_delayed: u64,
    pub rate_dry_run: u64,
    pub queued: u64,
    pub places_awaited: u64,
    /// In the order of [`BreakerBecame::ALL`].
    pub breaker_changes: [u64; BreakerBecame::ALL.len()],
    pub upgrades: u64,
    pub upgrades_open: u64,
    /// In the order of [`ErrorKind::ALL`].
    pub errors: [u64; ErrorKind::ALL.len()],
}

/// Connections of one listener.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConnectionTotals {
    pub accepted: u64,
    pub refused: u64,
    pub open: u64,
}

/// A summed [`Histogram`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HistogramTotals {
    /// Each bucket alone, not cumulated; the last one is beyond every bound.
    pub buckets: [u64; BUCKETS.len() + 1],
    /// Sum of all values.
    pub micros: u64,
}

impl Metrics {
    /// Sums over the workers. Costs a read of every counter, so for scrapes, not for requests.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for worker in self.workers.iter() {
            totals.add(worker);
        }
        totals
    }
}

impl Totals {
    pub fn errors_of(&self, kind: ErrorKind) -> u64 {
        self.errors[kind as usize]
    }

    fn add(&mut self, worker: &WorkerMetrics) {
        // Taken apart whole: a counter that is not summed does not compile.
        let WorkerMetrics {
            http,
            https,
            proxy_headers,
            proxy_headers_refused,
            handshakes_ok,
            handshakes_failed,
            sessions,
            responses,
            requests_h1,
            requests_h2,
            requests_open,
            request_seconds,
            bytes_in,
            bytes_out,
            upstream_connects,
            upstream_connect_failures,
            upstream_handshakes,
            upstream_handshakes_resumed,
            upstream_handshakes_failed,
            upstream_reuses,
            retries,
            retries_refused,
            held,
            rate_delayed,
            rate_dry_run,
            queued,
            places_awaited,
            breaker_changes,
            upgrades,
            upgrades_open,
            errors,
        } = worker;
        self.http.add(http);
        self.https.add(https);
        self.request_seconds.add(request_seconds);
        sessions.add_to(&mut self.sessions);
        for (sum, counter) in self.responses.iter_mut().zip(responses) {
            *sum += counter.get();
        }
        for (sum, counter) in self.retries.iter_mut().zip(retries) {
            *sum += counter.get();
        }
        for (sum, counter) in self.breaker_changes.iter_mut().zip(breaker_changes) {
            *sum += counter.get();
        }
        for (sum, counter) in self.errors.iter_mut().zip(errors) {
            *sum += counter.get();
        }
        for (sum, value) in [
            (&mut self.proxy_headers, proxy_headers.get()),
            (&mut self.proxy_headers_refused, proxy_headers_refused.get()),
            (&mut self.handshakes_ok, handshakes_ok.get()),
            (&mut self.handshakes_failed, handshakes_failed.get()),
            (&mut self.requests_h1, requests_h1.get()),
            (&mut self.requests_h2, requests_h2.get()),
            (&mut self.requests_open, requests_open.get()),
            (&mut self.bytes_in, bytes_in.get()),
            (&mut self.bytes_out, bytes_out.get()),
            (&mut self.upstream_connects, upstream_connects.get()),
            (&mut self.upstream_handshakes, upstream_handshakes.get()),
            (
                &mut self.upstream_handshakes_resumed,
                upstream_handshakes_resumed.get(),
            ),
            (
                &mut self.upstream_handshakes_failed,
                upstream_handshakes_failed.get(),
            ),
            (
                &mut self.upstream_connect_failures,
                upstream_connect_failures.get(),
            ),
            (&mut self.upstream_reuses, upstream_reuses.get()),
            (&mut self.retries_refused, retries_refused.get()),
            (&mut self.held, held.get()),
            (&mut self.rate_delayed, rate_delayed.get()),
            (&mut self.rate_dry_run, rate_dry_run.get()),
            (&mut self.queued, queued.get()),
            (&mut self.places_awaited, places_awaited.get()),
            (&mut self.upgrades, upgrades.get()),
            (&mut self.upgrades_open, upgrades_open.get()),
        ] {
            *sum += value;
        }
    }
}

impl ConnectionTotals {
    fn add(&mut self, listener: &ConnectionMetrics) {
        self.accepted += listener.accepted.get();
        self.refused += listener.refused.get();
        self.open += listener.open.get();
    }
}

impl HistogramTotals {
    fn add(&mut self, histogram: &Histogram) {
        for (sum, bucket) in self.buckets.iter_mut().zip(&histogram.buckets) {
            *sum += bucket.get();
        }
        self.micros += histogram.micros.get();
    }
}
