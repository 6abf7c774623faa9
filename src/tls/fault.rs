//! How an attempt failed: what to tell, and what it means for the next one.

use std::error::Error as StdError;
use std::time::{Duration, SystemTime};

use instant_acme::{Error, Problem};

use super::http::Refused;
use super::renew::Setback;
use super::store::ChallengeKind;

/// A failed attempt.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    /// Public, bounded, in the CA's own words where it spoke.
    pub(super) text: String,
    pub(super) setback: Setback,
    /// The CA tried to validate, and another challenge may convince it.
    pub(super) other_may_help: bool,
    pub(super) said: Said,
}

/// Answers that are mended by asking again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    BadNonce,
    UnknownAccount,
    Else,
}

impl Fault {
    /// The CA, or something on the way, answered what it should not.
    pub(super) fn broken(text: String) -> Self {
        Self::new(text, Setback::Unreachable { until: None })
    }

    pub(super) fn unoffered(text: String) -> Self {
        Self {
            other_may_help: true,
            ..Self::new(text, Setback::Refused { validations: 0 })
        }
    }

    /// The certificate that came is not the one that was ordered.
    pub(super) fn unusable(why: &dyn std::fmt::Display) -> Self {
        let text = format!("the CA sent a certificate that cannot be used: {why}");
        Self::new(text, Setback::Refused { validations: 0 })
    }

    pub(super) fn not_validated(problem: Option<Problem>) -> Self {
        let Some(problem) = problem else {
            let text = "the CA could not validate the name and gave no reason".into();
            return Self {
                other_may_help: true,
                ..Self::new(text, Setback::Refused { validations: 1 })
            };
        };
        // With `dns` or `caa` the other challenge would fail just the same.
        let other_may_help = matches!(
            kind(&problem),
            "connection" | "unauthorized" | "tls" | "incorrectResponse"
        );
        Self {
            other_may_help,
            ..Self::new(tell(&problem), Setback::Refused { validations: 1 })
        }
    }

    /// Both challenges failed; the second decides, unless it did not get as far.
    pub(super) fn and(self, first: ChallengeKind, second: Self) -> Self {
        let setback = match (self.setback, second.setback) {
            (Setback::Refused { validations: a }, Setback::Refused { validations: b }) => {
                Setback::Refused { validations: a + b }
            }
            (refused, Setback::Unreachable { .. }) => refused,
            (_, later) => later,
        };
        let text = format!(
            "{}: {}; {}: {}",
            first.name(),
            self.text,
            first.other().name(),
            second.text
        );
        Self::new(text, setback)
    }

    fn new(text: String, setback: Setback) -> Self {
        Self {
            text: bounded(&text),
            setback,
            other_may_help: false,
            said: Said::Else,
        }
    }
}

/// Sorts what the ACME library returned.
pub(super) fn sort(error: Error) -> Fault {
    match error {
        Error::Api(problem) => sort_problem(&problem),
        Error::Other(inner) => match inner.downcast_ref::<Refused>() {
            Some(refused) => sort_refused(refused),
            None => Fault::broken(with_causes(&*inner)),
        },
        Error::Json(_) => Fault::broken("the CA's answer is no JSON".into()),
        error => Fault::broken(with_causes(&error)),
    }
}

fn sort_problem(problem: &Problem) -> Fault {
    let text = tell(problem);
    let refused = Setback::Refused { validations: 0 };
    match kind(problem) {
        "badNonce" => Fault {
            said: Said::BadNonce,
            ..Fault::broken(text)
        },
        "accountDoesNotExist" => Fault {
            said: Said::UnknownAccount,
            ..Fault::new(text, refused)
        },
        // Validation may be over before the challenge's own request is answered.
        "connection" | "dns" | "tls" | "caa" | "incorrectResponse" => {
            Fault::not_validated(Some(problem.clone()))
        }
        "rateLimited" => Fault::new(text, limited(None)),
        "rejectedIdentifier" | "unsupportedIdentifier" => Fault::new(text, Setback::Never),
        "serverInternal" => Fault::broken(text),
        _ if problem.status.is_some_and(|status| status >= 500) => Fault::broken(text),
        _ => Fault::new(text, refused),
    }
}

fn sort_refused(refused: &Refused) -> Fault {
    let setback = match refused.status {
        429 => limited(refused.retry_after),
        _ => Setback::Unreachable {
            until: refused.retry_after,
        },
    };
    Fault::new(refused.to_string(), setback)
}

fn limited(until: Option<SystemTime>) -> Setback {
    Setback::Limited {
        until: until.unwrap_or_else(|| SystemTime::now() + LIMIT_WITHOUT_TIME),
    }
}

/// The last part of `urn:ietf:params:acme:error:<kind>` (RFC 8555 section 6.7).
fn kind(problem: &Problem) -> &str {
    let urn = problem.r#type.as_deref().unwrap_or_default();
    urn.strip_prefix("urn:ietf:params:acme:error:")
        .unwrap_or(urn)
}

fn tell(problem: &Problem) -> String {
    let mut text = problem.detail.clone().unwrap_or_default();
    for sub in &problem.subproblems {
        text.push_str("; ");
        text.push_str(sub.detail.as_deref().unwrap_or_default());
    }
    match (text.is_empty(), kind(problem)) {
        (true, "") => "the CA refused without a reason".into(),
        (true, kind) => kind.into(),
        (false, "") => text,
        (false, kind) => format!("{text} ({kind})"),
    }
}

/// An error and its causes; those of the HTTP client say little on their own.
fn with_causes(error: &dyn StdError) -> String {
    let mut text = format!("talking to the CA: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

/// What a CA says ends up in logs and pages: one line, of bounded length.
fn bounded(text: &str) -> String {
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    clean.take(TEXT_MAX).collect()
}

const TEXT_MAX: usize = 600;
const LIMIT_WITHOUT_TIME: Duration = Duration::from_secs(10 * 60);
