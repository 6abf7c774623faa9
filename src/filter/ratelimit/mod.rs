//! Rates of requests: nginx's leaky buckets, one set of them for all workers.
//!
//! A bucket is the time at which it will be empty: one number that moves on by the limit's interval with each request.
//! Pure: the time is an argument.

mod buckets;

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub use buckets::Buckets;

use crate::model::{Delay, LimitKey, RateLimit, RateLimits, RouteKey};

/// The limits of a route.
#[derive(Debug)]
pub struct Limiter {
    limits: Box<[Limit]>,
    buckets: Arc<Buckets>,
    /// When it last told of a request that it would refuse, in seconds.
    told: AtomicU64,
}

#[derive(Debug)]
struct Limit {
    /// Nanoseconds.
    interval: u64,
    /// What a bucket holds, and how much of it needs no wait, in nanoseconds.
    room: u64,
    free: u64,
    /// Tells its buckets from those of others. The same for as long as the route has this name.
    seed: u64,
    spec: RateLimit,
}

/// A request that may go on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Passed {
    /// After this time.
    pub wait: Duration,
    /// A limit that only counts would have refused it.
    pub counted: bool,
}

/// A request that is beyond a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exceeded {
    pub limit: RateLimit,
    /// After this time it would not be.
    pub retry: Duration,
}

/// Of whom a bucket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Whose<'a> {
    /// An IPv4 address or an IPv6 network.
    Client(u64),
    Bytes(&'a [u8]),
    All,
}

impl Limiter {
    /// `None` without limits. Buckets of routes of one key are the same, whatever their limits are now.
    pub fn compile(limits: &RateLimits, route: &RouteKey, buckets: &Arc<Buckets>) -> Option<Self> {
        if limits.limits.is_empty() {
            return None;
        }
        // A named route that inherits its limits fills its container's buckets.
        let of = match route.0.split_once('#') {
            Some((container, _)) if limits.shared => container,
            _ => &route.0,
        };
        let limit = |(index, spec): (usize, &RateLimit)| {
            let interval = nanos(spec.rate.interval()).max(1);
            let requests = |requests: u32| interval.saturating_mul(requests.into());
            Limit {
                interval,
                room: requests(spec.burst),
                free: match spec.delay {
                    Delay::All => 0,
                    Delay::Beyond(free) => requests(free),
                    Delay::None => u64::MAX,
                },
                seed: buckets.hash(&(of, index)),
                spec: spec.clone(),
            }
        };
        Some(Self {
            limits: limits.limits.iter().enumerate().map(limit).collect(),
            buckets: Arc::clone(buckets),
            told: AtomicU64::new(0),
        })
    }

    /// Whether it is time to tell of a request that is only counted: once a second.
    pub fn tells(&self, now: Instant) -> bool {
        let second = self.buckets.since(now) / 1_000_000_000;
        self.told.swap(second, Ordering::Relaxed) != second
    }

    /// Whether one more request is within all limits; if not, none has counted it. `whose` finds a key in the
    /// request.
    ///
    /// # Errors
    /// The first limit that it exceeds.
    pub fn admit<'a>(
        &self,
        now: Instant,
        whose: impl Fn(&LimitKey) -> Whose<'a>,
    ) -> Result<Passed, Exceeded> {
        let now = self.buckets.since(now);
        let mut passed = Passed::default();
        if let [limit] = &*self.limits {
            let bucket = limit.bucket(&self.buckets, &whose);
            limit.take(&self.buckets, bucket, now, &mut passed)?;
            return Ok(passed);
        }
        // As nginx does: nothing is counted until all have been looked at.
        for limit in &self.limits {
            let bucket = limit.bucket(&self.buckets, &whose);
            limit.next(self.buckets.level(bucket), now)?;
        }
        for limit in &self.limits {
            let bucket = limit.bucket(&self.buckets, &whose);
            limit.take(&self.buckets, bucket, now, &mut passed)?;
        }
        Ok(passed)
    }
}

impl Limit {
    fn bucket<'a>(&self, buckets: &Buckets, whose: impl Fn(&LimitKey) -> Whose<'a>) -> u64 {
        buckets.hash(&(self.seed, whose(&self.spec.key)))
    }

    /// How far beyond the rate one more request is, where a bucket is full up to `level`.
    fn next(&self, level: u64, now: u64) -> Result<u64, Exceeded> {
        let excess = level.saturating_add(self.interval).saturating_sub(now);
        if excess <= self.room || self.spec.dry_run {
            return Ok(excess);
        }
        Err(Exceeded {
            limit: self.spec.clone(),
            retry: Duration::from_nanos(excess - self.room),
        })
    }

    fn take(
        &self,
        buckets: &Buckets,
        bucket: u64,
        now: u64,
        passed: &mut Passed,
    ) -> Result<(), Exceeded> {
        // A bucket that nobody has is as one that is empty from now on.
        let excess = buckets.fill(bucket, now, |level| match self.next(level, now) {
            // What is only counted must not grow for ever.
            Ok(excess) if excess > self.room => Err(Ok(())),
            Ok(excess) => Ok((now + excess, excess)),
            Err(exceeded) => Err(Err(exceeded)),
        });
        match excess {
            Ok(_) if self.spec.dry_run => Ok(()),
            Ok(excess) => {
                let wait = Duration::from_nanos(excess.saturating_sub(self.free));
                passed.wait = passed.wait.max(wait);
                Ok(())
            }
            Err(Ok(())) => {
                passed.counted = true;
                Ok(())
            }
            Err(Err(exceeded)) => Err(exceeded),
        }
    }
}

impl Exceeded {
    /// Whole seconds after which a request would be within the limit, at least one.
    pub fn retry_after(&self) -> u64 {
        let started = u64::from(self.retry.subsec_nanos() > 0);
        (self.retry.as_secs() + started).max(1)
    }
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "wharf.ratelimit: more than {}", self.limit)
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
