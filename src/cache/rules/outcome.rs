//! What clients are told of the cache: `X-Cache-Status`, in nginx's words, and `Cache-Status` (RFC 9211).

use std::io::Write;

use super::lookup::{Failure, Reason, Why};
use super::store::NotStored;

/// The name that this cache goes by.
const NAME: &str = "wharf";

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Answered from the cache. `ttl`: seconds that it is fresh for, below 0 where it is not (RFC 9211 section 2.4).
    Hit {
        ttl: i64,
    },
    /// Stale, without the app having been waited for.
    Stale {
        ttl: i64,
        why: Why,
    },
    /// Stale, in place of a failure.
    Instead {
        ttl: i64,
        failure: Failure,
    },
    Forwarded(Forwarded),
    /// The client wanted nothing else than what is stored.
    OnlyIfCached,
}

/// A request that went on to the app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forwarded {
    pub reason: Reason,
    /// The app's status; none where there was none.
    pub status: Option<u16>,
    /// Whether the response is stored, and if not, why; `None` where nobody asked.
    pub stored: Option<Result<(), NotStored>>,
    /// It got the response that another request was waiting for.
    pub collapsed: bool,
}

impl Outcome {
    /// The value of X-Cache-Status.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Hit { .. } => "HIT",
            Self::Stale {
                why: Why::Updating, ..
            } => "UPDATING",
            Self::Stale { .. } | Self::Instead { .. } => "STALE",
            Self::OnlyIfCached => "MISS",
            Self::Forwarded(forwarded) => forwarded.word(),
        }
    }

    /// Appends the value of Cache-Status.
    pub fn write(&self, out: &mut Vec<u8>) {
        let hit = |out: &mut Vec<u8>, ttl: i64, detail: &str| {
            _ = write!(out, "{NAME}; hit; ttl={ttl}");
            write_detail(out, detail);
        };
        match self {
            Self::Hit { ttl } => hit(out, *ttl, ""),
            Self::Stale { ttl, why } => hit(out, *ttl, why.word()),
            Self::Instead { ttl, failure } => hit(out, *ttl, failure.word()),
            Self::OnlyIfCached => _ = write!(out, "{NAME}; detail=only-if-cached"),
            Self::Forwarded(forwarded) => forwarded.write(out),
        }
    }
}

impl Forwarded {
    fn word(self) -> &'static str {
        match self.reason {
            Reason::Refused(_) | Reason::Bypass | Reason::Authorization => "BYPASS",
            Reason::Miss | Reason::VaryMiss => "MISS",
            Reason::Stale | Reason::Wish if self.status == Some(304) => "REVALIDATED",
            Reason::Stale | Reason::Wish => "EXPIRED",
        }
    }

    fn write(self, out: &mut Vec<u8>) {
        _ = write!(out, "{NAME}; fwd={}", self.reason.fwd());
        if let Some(status) = self.status {
            _ = write!(out, "; fwd-status={status}");
        }
        if self.collapsed {
            out.extend_from_slice(b"; collapsed");
        }
        match self.stored {
            Some(Ok(())) => out.extend_from_slice(b"; stored"),
            Some(Err(why)) => write_detail(out, why.word()),
            None => write_detail(out, self.reason.detail()),
        }
    }
}

/// All details are tokens.
fn write_detail(out: &mut Vec<u8>, detail: &str) {
    if !detail.is_empty() {
        _ = write!(out, "; detail={detail}");
    }
}

impl Reason {
    /// RFC 9211 section 2.2.
    fn fwd(self) -> &'static str {
        match self {
            Self::Refused(super::Refusal::Method) => "method",
            Self::Refused(_) | Self::Bypass | Self::Authorization => "bypass",
            Self::Miss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Wish => "request",
            Self::Stale => "stale",
        }
    }

    fn detail(self) -> &'static str {
        match self {
            Self::Refused(super::Refusal::Method) => "",
            Self::Refused(refusal) => refusal.word(),
            Self::Bypass => "label",
            Self::Authorization => "authorization",
            Self::Miss | Self::VaryMiss | Self::Wish | Self::Stale => "",
        }
    }
}

impl Why {
    fn word(self) -> &'static str {
        match self {
            Self::Client => "max-stale",
            Self::Refresh => "refresh",
            Self::Updating => "updating",
        }
    }
}

impl Failure {
    fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Timeout => "timeout",
            Self::Invalid => "invalid",
            Self::NoEndpoint => "no-endpoint",
            Self::Status(_) => "status",
        }
    }
}
