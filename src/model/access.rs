//! Who may use a route, what nobody gets, and when it rests (product.md S56, S62, B56).

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::{BasicSpec, ForwardSpec, Glob, Networks, PathGlob, duration};

/// `wharf.allow`, `wharf.deny`, `wharf.block` and `wharf.maintenance`. Default: nothing is refused.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct AccessSpec {
    /// If set, nobody else is let in (nginx `allow …; deny all`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow: Option<Networks>,
    /// Not let in, whatever `allow` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deny: Option<Networks>,
    /// `wharf.auth.basic`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basic: Option<BasicSpec>,
    /// `wharf.auth.forward`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forward: Option<ForwardSpec>,
    /// `wharf.satisfy: any`: a place in `allow` or a login is enough (nginx `satisfy any`). Default off.
    #[serde(skip_serializing_if = "is_off")]
    pub satisfy_any: bool,
    /// Paths that nobody gets: 404.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub block: Vec<Blocked>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<Maintenance>,
}

/// One item of `wharf.block`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blocked {
    /// What scanners look for and no site means to serve.
    Exploits,
    /// `*.sql`: any segment of a path, in lower case.
    Segment(Glob),
    /// `/private/*` or a regex: the whole path.
    Path(PathGlob),
}

/// `wharf.maintenance`: 503 to everybody but those named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Maintenance {
    /// Who is let through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow: Option<Networks>,
    /// Text of the page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Value of `Retry-After`. Default [`Maintenance::RETRY`].
    #[serde(serialize_with = "duration")]
    pub retry: Duration,
}

fn is_off(switch: &bool) -> bool {
    !switch
}

impl Maintenance {
    pub const RETRY: Duration = Duration::from_secs(600);
}

impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exploits => f.write_str("exploits"),
            Self::Segment(glob) => glob.fmt(f),
            Self::Path(path) => path.fmt(f),
        }
    }
}

impl Serialize for Blocked {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
