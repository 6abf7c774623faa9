//! How many requests there may be at a time (product.md S55, B31).

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::LimitKey;

/// `wharf.inflight`: a request needs a place in all of them. Default none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct InFlightLimits {
    pub limits: Vec<InFlightLimit>,
    /// They are the default route's: what is under way there counts here, too.
    pub shared: bool,
}

/// So many requests at a time, from the head to the last byte of the answer, WebSockets included
/// (nginx `limit_conn`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InFlightLimit {
    /// 1 at least.
    pub count: u32,
    /// Who has so many. Default [`LimitKey::Global`].
    pub key: LimitKey,
    /// Requests beyond that which wait for a place, 0..=[`InFlightLimit::MAX_QUEUE`]; of each client where it is
    /// clients that have places. Default 0.
    pub queue: u32,
    /// How long each of them waits. Default [`InFlightLimit::WAIT`]; 0: not at all.
    pub wait: Duration,
}

impl InFlightLimit {
    pub const MAX_QUEUE: u32 = 1000;
    pub const WAIT: Duration = Duration::from_secs(2);

    /// So many on the whole route, and nobody waits.
    pub fn new(count: u32) -> Self {
        Self {
            count,
            key: LimitKey::Global,
            queue: 0,
            wait: Self::WAIT,
        }
    }
}

/// `100 key=ip queue=50 wait=2s`
impl fmt::Display for InFlightLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.count.fmt(f)?;
        if self.key != LimitKey::Global {
            write!(f, " key={}", self.key)?;
        }
        match self.queue {
            0 => Ok(()),
            queue => write!(f, " queue={queue} wait={:?}", self.wait),
        }
    }
}

impl Serialize for InFlightLimit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
