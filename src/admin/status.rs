//! What `/status` says. Plain text and numbers, so that another version can read it: fields unknown
//! to the reader are skipped, missing ones take their default.

use serde::{Deserialize, Serialize};

use super::table::span;

/// The whole answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// Of Wharf.
    pub version: String,
    pub uptime_seconds: u64,
    /// Whether the containers have been read once.
    pub ready: bool,
    pub engine: Engine,
    pub listeners: Vec<Listener>,
    pub routes: Vec<Route>,
    pub upstreams: Vec<Upstream>,
    pub certificates: Vec<Certificate>,
    /// What is asked about names nobody lists; `None` where nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_demand: Option<OnDemand>,
    pub store: Store,
    /// What is wrong with the machine's clock.
    pub clock: Option<String>,
    pub problems: Vec<ProblemLine>,
    /// Every container with labels for Wharf.
    pub containers: Vec<Container>,
}

/// The Docker side.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Engine {
    pub connected: bool,
    /// Of the engine; empty before the first connection.
    pub version: String,
    /// API version spoken.
    pub api: String,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
    /// What the engine was asked first of all it has given no good answer to: `list containers`.
    pub unanswered: Option<String>,
    /// For how long.
    pub unanswered_seconds: Option<u64>,
    pub last_list_seconds_ago: Option<u64>,
    pub last_event_seconds_ago: Option<u64>,
    pub reconnects: u64,
}

/// A bound socket.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Listener {
    /// `http`, `https`, `admin`.
    pub name: String,
    pub address: String,
}

/// A route of the table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Route {
    pub hosts: Vec<String>,
    pub path: String,
    /// Name of its [`Upstream`], or the directory of files.
    pub upstream: String,
    /// Files are the answers.
    pub files: bool,
    /// Whose labels define it.
    pub container: String,
    /// `auto`, `internal` ... as in `wharf.tls`.
    pub tls: String,
    /// `redirect`, `both` ... as in `wharf.https`.
    pub https: String,
    /// Why it answers 503.
    pub fault: Option<String>,
    /// Of its breaker, if it has one: `closed`, `half-open`, `open for 7 s`.
    pub breaker: Option<String>,
}

/// Where routes lead.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Upstream {
    pub name: String,
    pub endpoints: Vec<Endpoint>,
    /// Requests that wait for a place at one of them (`wharf.max_conns`).
    pub queued: u64,
    /// Containers that give no endpoint, a sentence each.
    pub unreachable: Vec<String>,
}

/// One address of an upstream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Endpoint {
    pub container: String,
    pub address: String,
    pub weight: u16,
    /// `ok`, or in a word what keeps requests away.
    pub state: String,
    /// Requests under way and WebSockets, where `max_conns` limits them.
    pub under_way: u32,
    /// `wharf.max_conns`; 0: no limit.
    pub max_conns: u32,
    /// What went wrong last, and when.
    pub last_failure: Option<String>,
    /// What its health check asks, what came of it last, and when; `None` without `wharf.health`.
    pub check: Option<String>,
}

/// A container, and what has become of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Container {
    pub name: String,
    /// `routed`, `not routed`, `waiting` (not for the moment), `left out` (not meant to be).
    pub standing: String,
    /// Hosts its labels ask for, with paths: `a.test/api`.
    pub asks: Vec<String>,
    /// Why it is not served as asked, a sentence each.
    pub reasons: Vec<String>,
}

/// The certificate of a host, or the want of one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Certificate {
    pub host: String,
    /// `acme`, `internal`, `file`.
    pub source: String,
    /// Empty without a certificate.
    pub issuer: String,
    /// Unix time of its end; `None` without a certificate.
    pub not_after: Option<i64>,
    /// `valid`, `ordering`, `waiting`, `failed` ...
    pub state: String,
    /// What happens next, in words.
    pub next: Option<String>,
    pub last_error: Option<String>,
    /// Where a person can undo what the authority has done about failures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}

/// Certificates for names nobody lists (`wharf.tls.ask`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OnDemand {
    pub patterns: Vec<AskedPattern>,
    /// Answers since the start.
    pub yes: u64,
    pub no: u64,
    /// Neither: nobody answered, or not so that it could be understood.
    pub unknown: u64,
    /// Names that were too many to be asked about, or ordered, when they came.
    pub held_back: u64,
    /// Questions without an answer yet.
    pub open: u64,
    /// Why the last question had no answer; gone with the next that has one.
    pub trouble: Option<String>,
}

/// A pattern whose names are asked about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AskedPattern {
    pub host: String,
    /// Who is asked: `/check of shop`, or a URL.
    pub asked: String,
    /// Names that were said yes to.
    pub names: u64,
}

/// Where certificates are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Store {
    /// A directory, or `memory`.
    pub place: String,
    /// Why it cannot be written.
    pub error: Option<String>,
    /// What a restart would lose: hosts, mostly.
    pub unsaved: Vec<String>,
    /// Corrupt entries that were put aside since the start, a sentence each.
    pub aside: Vec<String>,
}

/// A label that could not be used as written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProblemLine {
    /// `error` or `warning`.
    pub severity: String,
    /// Empty where a file is at fault.
    pub container: String,
    /// A file of `WHARF_CERTS`; else empty.
    pub file: String,
    /// Empty when no single label is at fault.
    pub label: String,
    pub value: String,
    pub reason: String,
}

impl Status {
    /// Why `/readyz` says no.
    pub fn unready_reason(&self) -> String {
        match self.engine.trouble() {
            Some(trouble) => format!("the containers have not been read yet: {trouble}"),
            None => "the containers have not been read yet".to_owned(),
        }
    }
}

impl Engine {
    /// What is the matter with it, since when, and what it was asked.
    pub fn trouble(&self) -> Option<String> {
        let span = self.unanswered_seconds.map(span);
        match (&self.last_error, &self.unanswered, span) {
            (Some(error), Some(call), Some(span)) => {
                Some(format!("{error}; for {span} now, first asked: {call}"))
            }
            (None, Some(call), Some(span)) => Some(format!("{call}: no answer for {span}")),
            (Some(error), ..) => Some(error.clone()),
            (None, ..) => (!self.connected).then(|| "no answer".to_owned()),
        }
    }
}

impl From<&crate::tls::CertProblem> for ProblemLine {
    fn from(problem: &crate::tls::CertProblem) -> Self {
        Self {
            severity: if problem.is_error { "error" } else { "warning" }.to_owned(),
            file: problem.path.display().to_string(),
            reason: problem.reason.clone(),
            ..Self::default()
        }
    }
}

impl Endpoint {
    /// `, 3 of 100 at once`, where there is a limit.
    pub(super) fn load(&self) -> String {
        match self.max_conns {
            0 => String::new(),
            limit => format!(", {} of {limit} at once", self.under_way),
        }
    }
}

impl From<&crate::model::Problem> for ProblemLine {
    fn from(problem: &crate::model::Problem) -> Self {
        use crate::model::Severity;
        Self {
            severity: match problem.severity {
                Severity::Error => "error".to_owned(),
                Severity::Warning => "warning".to_owned(),
            },
            container: problem.container.clone(),
            file: String::new(),
            label: problem.label.clone(),
            value: problem.value.clone(),
            reason: problem.reason.clone(),
        }
    }
}
