//! Plain values: what the labels ask for, after parsing and before compiling.
//!
//! No I/O, no async, no imports of ours. `docker` produces a [`Plan`], `route::compile` consumes it.

mod access;
mod address;
mod app_tls;
mod ask;
mod auth;
mod buffer;
mod cache;
mod compress;
mod cors;
mod default_host;
mod edit;
mod errors;
mod files;
mod forward;
mod health;
mod host;
mod inflight;
mod limits;
mod log;
mod matcher;
mod names;
mod note;
mod path;
mod pattern;
mod prefix;
mod query;
mod ratelimit;
mod retry;
mod route;
mod template;
mod tls;
mod units;
mod via;

pub use access::{AccessSpec, Blocked, Maintenance};
pub use address::{Address, SocketFile, Sockets, is_plain_path};
pub use app_tls::{AppTls, Proto, SentHost, Verify};
pub use ask::{AskAt, AskUrl};
pub use auth::{BasicSpec, Hash, User, UserSource};
pub use buffer::BufferSpec;
pub use cache::{CacheKey, CacheKeyError, CacheSpec, CacheStale, CacheValid, KeyPart};
pub use compress::{Coding, Compress, Levels, MediaType, MediaTypes};
pub use cors::{CorsSpec, OriginError, OriginPattern, Origins};
pub use default_host::{DefaultHost, HostWords};
pub use edit::{EditOp, FieldText, FieldTextError, HeaderEdit};
pub use errors::{ErrorPage, ErrorRule, ErrorsSpec};
pub use files::FilesSpec;
pub use forward::{AuthKind, FieldNames, ForwardAt, ForwardSpec};
pub use health::{ActiveCheck, HealthAsk, HealthCheck, HttpAsk, StatusSet};
pub use host::{Host, HostError, HostPattern};
pub use inflight::{InFlightLimit, InFlightLimits};
pub use limits::{BreakerSpec, Keepalive, MaxConns, Timeouts};
pub use log::{
    AccessFormat, COMBINED, Escape, HiddenQuery, LineFormat, LinePiece, LogMode, Rotation, Variable,
};
pub use matcher::{Glob, Matcher, Networks, PathGlob, Text};
pub use names::{Lookup, Names};
pub use note::{ContainerNote, Standing, nothing_listens};
pub use path::{PathError, PathPattern, behind, escape_path, escaped, push_escaped, seen};
pub use pattern::{Pattern, PatternError};
pub use prefix::{LabelPrefix, WORDS};
pub use query::unescape;
pub use ratelimit::{Delay, LimitKey, Per, Rate, RateLimit, RateLimits};
pub use retry::{Retry, RetryOn};
pub use route::{
    Balance, EndpointSpec, FailLimit, HashOn, HttpsMode, RouteKey, RouteSpec, Settings, ShareSpec,
    StickySpec, TlsMode, UpstreamKey, UpstreamSpec, place,
};
pub use template::{Facts, Redirect, Rewrite, Rule, Template, TemplateError};
pub use tls::{ClientAuth, Hsts, TlsPolicy, TlsVersion};
pub use units::{ByteSize, Ttl, UnitError, parse_bool, parse_duration, parse_size};
pub use via::Via;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Serialize, Serializer};

/// Everything the containers ask for, in a deterministic order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Sorted by key.
    pub routes: Vec<RouteSpec>,
    /// Sorted by key; every upstream named by a route is present.
    pub upstreams: Vec<UpstreamSpec>,
    /// Names outside Docker that upstreams lead to.
    pub names: BTreeSet<String>,
    /// Hosts that rest whatever their labels say (`wharf maintenance`).
    pub resting: Arc<BTreeMap<HostPattern, Maintenance>>,
    /// Owners of routes whose containers are gone, and since when.
    pub gone: BTreeMap<String, Instant>,
}

/// A label Wharf could not use as written, or a fact its owner should know.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// What it costs.
    pub severity: Severity,
    /// Container name without the leading slash.
    pub container: String,
    /// The whole label as written (`wharf.cahce`), empty when no single label is at fault.
    pub label: String,
    /// The value as written, empty when no single label is at fault.
    pub value: String,
    /// What is wrong and what to do, one sentence without a final stop.
    pub reason: String,
}

/// What a [`Problem`] costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The route it stands on is not served as asked.
    Error,
    /// Everything is served; something deserves a look.
    Warning,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let word = if self.container.starts_with("file:") {
            ""
        } else {
            "container "
        };
        write!(f, "{word}{}", self.container)?;
        if !self.label.is_empty() {
            write!(f, ": {}: {}", self.label, self.value)?;
        }
        write!(f, ": {}", self.reason)
    }
}

/// As labels write it.
fn duration<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    Ttl(*value).serialize(serializer)
}
