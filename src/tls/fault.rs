//! How an attempt failed: what to tell, and what it means for the next one. The table of all answers is
//! in docs/certificates.md.

use std::error::Error as StdError;
use std::time::{Duration, Instant, SystemTime};

use instant_acme::{Error, Problem};

use super::http::Refused;
use super::renew::Setback;
use super::store::ChallengeKind;

/// A failed attempt.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    /// Public, bounded, in the CA's own words where it spoke.
    pub(super) text: String,
    pub(super) class: FailureClass,
    pub(super) setback: Setback,
    /// The CA tried to validate, and another challenge may convince it.
    pub(super) other_may_help: bool,
    /// Another CA may say something else.
    pub(super) elsewhere: bool,
    /// What the CA wants a person to open; for nobody else, so it is not in the text.
    pub(super) link: Option<String>,
    pub(super) said: Said,
}

/// Answers that are mended by asking again, in another way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    BadNonce,
    UnknownAccount,
    /// The certificate to be replaced has been replaced already (RFC 9773 section 5).
    AlreadyReplaced,
    /// The order is not where we thought it is (RFC 8555 section 7.4).
    OrderNotReady,
    Else,
}

/// Why there was no certificate, as metrics and status name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureClass {
    /// The CA said that it was asked too often.
    Limited,
    /// Wharf did not ask: the CA's limits are near.
    HeldBack,
    /// The name could not be looked up.
    Dns,
    /// The address the name has did not answer, or not as Wharf does.
    Validation,
    /// A CAA record forbids it.
    Caa,
    /// The CA does not issue for this name, or not what was asked for.
    Rejected,
    /// The CA refuses the account.
    Account,
    /// No answer, or one of a CA that is out of order.
    Unreachable,
    /// The certificate that came cannot be used.
    Unusable,
    /// Anything else the CA refused.
    Refused,
    /// A fault in Wharf.
    Internal,
}

impl FailureClass {
    /// Every class, in the order of declaration.
    pub const ALL: [Self; 11] = [
        Self::Limited,
        Self::HeldBack,
        Self::Dns,
        Self::Validation,
        Self::Caa,
        Self::Rejected,
        Self::Account,
        Self::Unreachable,
        Self::Unusable,
        Self::Refused,
        Self::Internal,
    ];

    /// The `class` label of `wharf_certificate_failures_total`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Limited => "limited",
            Self::HeldBack => "held_back",
            Self::Dns => "dns",
            Self::Validation => "validation",
            Self::Caa => "caa",
            Self::Rejected => "rejected",
            Self::Account => "account",
            Self::Unreachable => "unreachable",
            Self::Unusable => "unusable",
            Self::Refused => "refused",
            Self::Internal => "internal",
        }
    }
}

impl Fault {
    /// The CA, or something on the way, answered what it should not.
    pub(super) fn broken(text: String) -> Self {
        let setback = Setback::Unreachable { until: None };
        Self {
            elsewhere: true,
            ..Self::new(text, FailureClass::Unreachable, setback)
        }
    }

    pub(super) fn unoffered(text: String) -> Self {
        let setback = Setback::Refused { validations: 0 };
        Self {
            other_may_help: true,
            elsewhere: true,
            ..Self::new(text, FailureClass::Refused, setback)
        }
    }

    /// The DNS record for a challenge could not be set. Another challenge needs none.
    pub(super) fn unset(text: String) -> Self {
        Self {
            other_may_help: true,
            ..Self::broken(format!("setting the DNS record: {text}"))
        }
    }

    /// The certificate that came is not the one that was ordered.
    pub(super) fn unusable(why: &dyn std::fmt::Display) -> Self {
        let text = format!("the CA sent a certificate that cannot be used: {why}");
        let setback = Setback::Refused { validations: 0 };
        Self {
            elsewhere: true,
            ..Self::new(text, FailureClass::Unusable, setback)
        }
    }

    /// A record that a person has to set is not there, or not right. Nobody but him can mend it, and he will
    /// want to see soon that he has.
    pub(super) fn unproven(text: String) -> Self {
        Self {
            class: FailureClass::Dns,
            other_may_help: true,
            ..Self::broken(text)
        }
    }

    pub(super) fn not_validated(problem: Option<&Problem>) -> Self {
        let setback = Setback::Refused { validations: 1 };
        let Some(problem) = problem else {
            let text = "the CA could not validate the name and gave no reason".into();
            return Self {
                other_may_help: true,
                ..Self::new(text, FailureClass::Validation, setback)
            };
        };
        let class = match kind(problem) {
            "dns" => FailureClass::Dns,
            "caa" => FailureClass::Caa,
            _ => FailureClass::Validation,
        };
        Self {
            // With `dns` or `caa` the other challenge would fail just the same.
            other_may_help: class == FailureClass::Validation,
            elsewhere: class == FailureClass::Caa,
            ..Self::new(tell(problem), class, setback)
        }
    }

    /// All challenges that were tried failed; the last one decides, unless it did not get as far.
    pub(super) fn all(tried: Vec<(ChallengeKind, Self)>) -> Option<Self> {
        let text = match tried.as_slice() {
            [_] => None,
            all => {
                let each = all
                    .iter()
                    .map(|(kind, fault)| format!("{}: {}", kind.name(), fault.text));
                Some(bounded(&each.collect::<Vec<_>>().join("; ")))
            }
        };
        let faults = tried.into_iter().map(|(_, fault)| fault);
        let fault = faults.reduce(|first, second| match (first.setback, second.setback) {
            (Setback::Refused { validations: a }, Setback::Refused { validations: b }) => Self {
                setback: Setback::Refused { validations: a + b },
                ..second
            },
            (_, Setback::Unreachable { .. }) => first,
            _ => second,
        })?;
        Some(Self {
            text: text.unwrap_or(fault.text),
            ..fault
        })
    }

    /// How often the CA looked and was not convinced.
    pub(super) fn validations(&self) -> usize {
        match self.setback {
            Setback::Refused { validations } => validations as usize,
            _ => 0,
        }
    }

    /// Before when the CA does not want to be asked again, whatever for.
    pub(super) fn until(&self) -> Option<SystemTime> {
        match self.setback {
            Setback::Limited { until } => Some(until),
            Setback::Unreachable { until } => until,
            Setback::Refused { .. } | Setback::Never => None,
        }
    }

    pub(super) fn is_unreachable(&self) -> bool {
        matches!(self.setback, Setback::Unreachable { .. })
    }

    pub(super) fn new(text: String, class: FailureClass, setback: Setback) -> Self {
        let (text, link) = without_link(text);
        Self {
            text: bounded(&text),
            class,
            setback,
            other_may_help: false,
            elsewhere: false,
            link,
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
        Error::Timeout(later) => {
            let wait = later.map(|at| at.saturating_duration_since(Instant::now()));
            let until = wait.map(|wait| SystemTime::now() + wait);
            let text = "the CA has not decided in time; the order goes on".into();
            Fault {
                setback: Setback::Unreachable { until },
                ..Fault::broken(text)
            }
        }
        error => Fault::broken(with_causes(&error)),
    }
}

/// As [`sort`], where the account was opened: what the CA refuses then says nothing of a name. Tried
/// again soon, since only a person can mend it, and will want to see that.
pub(super) fn sort_account(error: Error) -> Fault {
    let fault = sort(error);
    match fault.setback {
        Setback::Limited { .. } | Setback::Unreachable { .. } => fault,
        Setback::Refused { .. } | Setback::Never => Fault {
            class: FailureClass::Account,
            setback: Setback::Unreachable {
                until: Some(SystemTime::now() + ACCOUNT_PAUSE),
            },
            other_may_help: false,
            elsewhere: true,
            ..fault
        },
    }
}

fn sort_problem(problem: &Problem) -> Fault {
    use FailureClass as Class;
    let text = tell(problem);
    let refused = Setback::Refused { validations: 0 };
    let (class, setback, said) = match kind(problem) {
        "badNonce" => return said(Said::BadNonce, Fault::broken(text)),
        "orderNotReady" => return said(Said::OrderNotReady, Fault::broken(text)),
        "serverInternal" => return Fault::broken(text),
        // Validation may be over before the challenge's own request is answered.
        "connection" | "dns" | "tls" | "caa" | "incorrectResponse" => {
            return Fault::not_validated(Some(problem));
        }
        _ if problem.status.is_some_and(|status| status >= 500) => return Fault::broken(text),
        "accountDoesNotExist" => (Class::Account, refused, Said::UnknownAccount),
        "unauthorized" if speaks_of_account(problem) => {
            (Class::Account, refused, Said::UnknownAccount)
        }
        "externalAccountRequired"
        | "userActionRequired"
        | "invalidContact"
        | "unsupportedContact" => (Class::Account, refused, Said::Else),
        "alreadyReplaced" => (Class::Refused, refused, Said::AlreadyReplaced),
        "rateLimited" => (Class::Limited, limited(None), Said::Else),
        // The same request would be refused for ever.
        "rejectedIdentifier"
        | "unsupportedIdentifier"
        | "malformed"
        | "invalidProfile"
        | "badCSR"
        | "badPublicKey" => (Class::Rejected, Setback::Never, Said::Else),
        _ => (Class::Refused, refused, Said::Else),
    };
    Fault {
        elsewhere: true,
        said,
        ..Fault::new(text, class, setback)
    }
}

fn said(said: Said, fault: Fault) -> Fault {
    Fault { said, ..fault }
}

/// RFC 8555 section 7.3.6: an account that was deactivated is `unauthorized`, as is a challenge that was
/// answered wrongly.
fn speaks_of_account(problem: &Problem) -> bool {
    let detail = problem.detail.as_deref().unwrap_or_default();
    let detail = detail.to_ascii_lowercase();
    detail.contains("account") && (detail.contains("deactivated") || detail.contains("revoked"))
}

fn sort_refused(refused: &Refused) -> Fault {
    let (class, setback) = match refused.status {
        429 => (FailureClass::Limited, limited(refused.retry_after)),
        _ => {
            let until = refused.retry_after;
            (FailureClass::Unreachable, Setback::Unreachable { until })
        }
    };
    Fault {
        elsewhere: true,
        ..Fault::new(refused.to_string(), class, setback)
    }
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

/// A name that failed too often is paused by Let's Encrypt until somebody opens a link, which is as good
/// as a password for that and longer than a line.
fn without_link(text: String) -> (String, Option<String>) {
    let mut words = text.split_whitespace();
    let Some(found) = words.find(|word| word.starts_with("https://") && word.contains("unpause"))
    else {
        return (text, None);
    };
    let link: String = found.trim_end_matches(['.', ',', ';', ')']).into();
    let link = link.chars().filter(char::is_ascii_graphic).take(LINK_MAX);
    let link: String = link.collect();
    (text.replace(&link, "(see wharf status)"), Some(link))
}

/// What a CA says ends up in logs and pages: one line, of bounded length.
fn bounded(text: &str) -> String {
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    clean.take(TEXT_MAX).collect()
}

const TEXT_MAX: usize = 600;
const LINK_MAX: usize = 4096;
const LIMIT_WITHOUT_TIME: Duration = Duration::from_secs(10 * 60);
const ACCOUNT_PAUSE: Duration = Duration::from_secs(5 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(kind: &str, status: u16, detail: &str) -> Error {
        Error::Api(Problem {
            r#type: Some(format!("urn:ietf:params:acme:error:{kind}")),
            detail: Some(detail.into()),
            status: Some(status),
            subproblems: Vec::new(),
        })
    }

    /// What docs/certificates.md says of problems.
    #[test]
    fn every_problem_has_its_class() {
        use FailureClass as C;
        let refused = |validations| Setback::Refused { validations };
        let later = Setback::Unreachable { until: None };
        for (kind, class, setback, other, elsewhere, said) in [
            (
                "badNonce",
                C::Unreachable,
                later,
                false,
                true,
                Said::BadNonce,
            ),
            (
                "serverInternal",
                C::Unreachable,
                later,
                false,
                true,
                Said::Else,
            ),
            (
                "orderNotReady",
                C::Unreachable,
                later,
                false,
                true,
                Said::OrderNotReady,
            ),
            ("dns", C::Dns, refused(1), false, false, Said::Else),
            (
                "connection",
                C::Validation,
                refused(1),
                true,
                false,
                Said::Else,
            ),
            ("tls", C::Validation, refused(1), true, false, Said::Else),
            (
                "incorrectResponse",
                C::Validation,
                refused(1),
                true,
                false,
                Said::Else,
            ),
            ("caa", C::Caa, refused(1), false, true, Said::Else),
            (
                "accountDoesNotExist",
                C::Account,
                refused(0),
                false,
                true,
                Said::UnknownAccount,
            ),
            (
                "alreadyReplaced",
                C::Refused,
                refused(0),
                false,
                true,
                Said::AlreadyReplaced,
            ),
            (
                "rejectedIdentifier",
                C::Rejected,
                Setback::Never,
                false,
                true,
                Said::Else,
            ),
            (
                "malformed",
                C::Rejected,
                Setback::Never,
                false,
                true,
                Said::Else,
            ),
            (
                "unauthorized",
                C::Refused,
                refused(0),
                false,
                true,
                Said::Else,
            ),
            (
                "somethingNew",
                C::Refused,
                refused(0),
                false,
                true,
                Said::Else,
            ),
        ] {
            let fault = sort(problem(kind, 400, "no"));
            assert_eq!(fault.text, format!("no ({kind})"));
            let found = (
                fault.class,
                fault.setback,
                fault.other_may_help,
                fault.elsewhere,
                fault.said,
            );
            assert_eq!(found, (class, setback, other, elsewhere, said), "{kind}");
        }
        let deactivated = sort(problem("unauthorized", 401, "The account is deactivated"));
        assert_eq!(deactivated.said, Said::UnknownAccount);
        let broken = sort(problem("somethingNew", 502, "oops"));
        assert_eq!(broken.class, C::Unreachable);
        let limited = sort(problem("rateLimited", 403, "slow"));
        assert_eq!(limited.class, C::Limited);
        assert!(limited.until() > Some(SystemTime::now() + LIMIT_WITHOUT_TIME / 2));
    }

    #[test]
    fn what_an_account_is_refused_for_is_not_held_against_a_name() {
        let fault = sort_account(problem("externalAccountRequired", 403, "who are you"));
        assert_eq!(fault.class, FailureClass::Account);
        assert!(matches!(
            fault.setback,
            Setback::Unreachable { until: Some(_) }
        ));
        assert!(fault.elsewhere);
    }

    #[test]
    fn of_two_challenges_the_one_that_got_further_decides() {
        let refused = || Fault::not_validated(None);
        let both = |first, second| {
            let tried = vec![
                (ChallengeKind::Http01, first),
                (ChallengeKind::TlsAlpn01, second),
            ];
            Fault::all(tried).unwrap()
        };
        let two = both(refused(), refused());
        assert_eq!(two.setback, Setback::Refused { validations: 2 });
        let down = || Fault::broken("down".into());
        let one = both(refused(), down());
        assert_eq!(one.setback, Setback::Refused { validations: 1 });
        assert!(!one.elsewhere && one.text.contains("TLS-ALPN-01: down"));
    }

    #[test]
    fn the_link_to_unpause_is_for_the_status_only() {
        let link = format!(
            "https://portal.ca.example/sfe/v1/unpause?jwt={}",
            "x".repeat(900)
        );
        let text = format!("Your account is temporarily prevented. Please visit: {link}.");
        let fault = sort(problem("rateLimited", 429, &text));
        assert_eq!(fault.link.as_ref(), Some(&link));
        let told = "temporarily prevented. Please visit: (see wharf status). (rateLimited)";
        assert!(fault.text.ends_with(told), "{}", fault.text);
    }

    #[test]
    fn what_a_ca_says_is_one_line_of_bounded_length() {
        let text = format!("a\nb\x1b[31m{}", "x".repeat(2000));
        let fault = sort(problem("somethingNew", 400, &text));
        assert!(fault.text.starts_with("a b [31m") && fault.text.len() == TEXT_MAX);
    }
}
