//! How often a client may ask (product.md S51 to S54).

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

/// `wharf.ratelimit`: a request has to be within all of them. Default none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RateLimits {
    pub limits: Vec<RateLimit>,
    /// They are the default route's: what counts there counts here, too.
    pub shared: bool,
}

/// A leaky bucket for each client (nginx `limit_req`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimit {
    pub rate: Rate,
    /// Requests beyond the rate that are not refused, 0..=[`RateLimit::MAX_BURST`]. Default 0.
    pub burst: u32,
    /// What becomes of these. Default [`Delay::All`].
    pub delay: Delay,
    /// Who has a bucket of its own. Default [`LimitKey::Client`].
    pub key: LimitKey,
    /// Only count what would be refused (nginx `limit_req_dry_run`). Default off.
    pub dry_run: bool,
}

/// So many requests in a time: one leaves the bucket in every so-many-th part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// 1..=[`Rate::MAX`].
    pub requests: u32,
    pub per: Per,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Per {
    Second,
    Minute,
    Hour,
    Day,
}

/// Which requests of a burst wait until they are within the rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Delay {
    /// Every one.
    #[default]
    All,
    /// Those beyond so many (nginx `delay=`).
    Beyond(u32),
    /// None (nginx `nodelay`).
    None,
}

/// What tells clients apart. A request that lacks it counts for its client's address.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum LimitKey {
    /// The client's address; of IPv6 the network (/64), as one client has all of it.
    #[default]
    Client,
    /// The first field of this name, in lower case.
    Header(String),
    /// The first cookie of exactly this name.
    Cookie(String),
    /// The host asked for.
    Host,
    /// Nothing: all requests have one bucket.
    Global,
}

impl RateLimit {
    pub const MAX_BURST: u32 = 1_000_000;

    /// `rate` without a burst, for each client.
    pub fn new(rate: Rate) -> Self {
        Self {
            rate,
            burst: 0,
            delay: Delay::All,
            key: LimitKey::Client,
            dry_run: false,
        }
    }
}

impl Rate {
    pub const MAX: u32 = 1_000_000;

    /// From one request to the next.
    pub fn interval(self) -> Duration {
        self.per.duration() / self.requests.max(1)
    }
}

impl Per {
    pub const ALL: [(Self, &str); 4] = [
        (Self::Second, "s"),
        (Self::Minute, "m"),
        (Self::Hour, "h"),
        (Self::Day, "d"),
    ];

    pub fn duration(self) -> Duration {
        Duration::from_secs(match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3600,
            Self::Day => 86_400,
        })
    }

    fn letter(self) -> &'static str {
        let known = Self::ALL.iter().find(|(per, _)| *per == self);
        known.map_or("s", |(_, letter)| letter)
    }
}

/// `10r/s`
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}r/{}", self.requests, self.per.letter())
    }
}

/// As in the label that names it.
impl fmt::Display for LimitKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client => f.write_str("ip"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
            Self::Host => f.write_str("host"),
            Self::Global => f.write_str("global"),
        }
    }
}

/// `10r/s burst=20 nodelay key=header:x-api-key`
impl fmt::Display for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rate.fmt(f)?;
        if self.burst > 0 {
            write!(f, " burst={}", self.burst)?;
        }
        match self.delay {
            Delay::All => {}
            Delay::Beyond(requests) => write!(f, " delay={requests}")?,
            Delay::None => f.write_str(" nodelay")?,
        }
        if self.key != LimitKey::Client {
            write!(f, " key={}", self.key)?;
        }
        match self.dry_run {
            true => f.write_str(" dryrun"),
            false => Ok(()),
        }
    }
}

impl Serialize for RateLimit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
