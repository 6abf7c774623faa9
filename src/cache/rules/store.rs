//! May a response be stored, and for how long is it good (RFC 9111 sections 3 and 4.2).

use super::policy::{Bypass, Cookies, Policy};
use super::request::{Method, Refusal, Request};
use super::response::{Accel, Response, Varies};
use super::scan::FOREVER;
use super::stored::Marks;
use super::{Stored, Time, deception, status};

/// When a request was sent and its response received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    pub sent: Time,
    pub received: Time,
}

/// Why a response is not stored. [`NotStored::word`] goes into Cache-Status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotStored {
    Request(Refusal),
    /// It is the response to a HEAD.
    Head,
    /// The client wants it not to be (no-store).
    RequestNoStore,
    /// A label says so (`wharf.cache.bypass`, a time of 0 in `wharf.cache.valid`).
    Label,
    /// 1xx, 304, or a status that says it has to be understood and is not.
    Status,
    /// A part of something.
    Partial,
    NoStore,
    Private,
    /// X-Accel-Expires of 0 or in the past.
    Accel,
    VaryAny,
    SetCookie,
    /// The request had an Authorization, and nothing says that others may have the response.
    Authorization,
    /// Nobody names a lifetime.
    NoLifetime,
    /// It is stale already and there is nothing it could be used for.
    Stale,
    /// A page, or data, under a name that ends like a picture's or a script's.
    Deception,
}

/// Decides on a response. Whoever stores it sees to it that the body is whole, and keeps the fields that
/// [`Kept`](super::fields::Kept) says. `path` is the request's, for [`NotStored::Deception`].
pub fn store(
    policy: &Policy,
    bypass: Bypass,
    request: &Request,
    path: &[u8],
    response: &Response,
    times: Times,
) -> Result<Stored, NotStored> {
    if let Some(refusal) = request.refusal() {
        return Err(NotStored::Request(refusal));
    }
    if request.method != Method::Get {
        return Err(NotStored::Head);
    }
    if !request.may_fill(bypass) {
        let label = bypass.store;
        return Err(if label {
            NotStored::Label
        } else {
            NotStored::RequestNoStore
        });
    }
    let accel = accel(response, times)?;
    permitted(policy, request, response, accel.is_some())?;
    let age = initial_age(response, times);
    let from = lifetime(policy, response, times, accel, age)?;
    if from.is_guess() && deception::suspects(path, response) {
        return Err(NotStored::Deception);
    }
    let stored = facts(request, response, times, age, from);
    useful(policy, stored)
}

/// What nothing but a label could change.
fn permitted(
    policy: &Policy,
    request: &Request,
    response: &Response,
    accel: bool,
) -> Result<(), NotStored> {
    let says = &response.directives;
    if response.status == 206 {
        return Err(NotStored::Partial);
    }
    let understood = status::is_understood(response.status);
    if !(200..600).contains(&response.status)
        || response.status == 304
        || (says.must_understand && !understood)
    {
        return Err(NotStored::Status);
    }
    // RFC 9111 section 5.2.2.3: who understands the status ignores no-store beside must-understand.
    if says.no_store && !says.must_understand && !accel {
        return Err(NotStored::NoStore);
    }
    if says.private && !accel {
        return Err(NotStored::Private);
    }
    if response.vary == Varies::Always {
        return Err(NotStored::VaryAny);
    }
    if response.set_cookie && policy.cookies == Cookies::Refuse {
        return Err(NotStored::SetCookie);
    }
    if request.authorization && !shares(response) {
        return Err(NotStored::Authorization);
    }
    Ok(())
}

/// Whether others than who asked with an Authorization may have it (section 3.5). Nothing but these directives says
/// so: neither X-Accel-Expires nor a label.
fn shares(response: &Response) -> bool {
    response.directives.shares_authorized()
}

/// Seconds from now by X-Accel-Expires, which stands in for all else about lifetimes, as in nginx.
fn accel(response: &Response, times: Times) -> Result<Option<u32>, NotStored> {
    let seconds = match response.accel {
        None => return Ok(None),
        Some(Accel::For(seconds)) => seconds,
        Some(Accel::Until(at)) => clamp(at.saturating_sub(times.received)),
    };
    if seconds == 0 {
        return Err(NotStored::Accel);
    }
    Ok(Some(seconds))
}

/// Where a lifetime comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    /// X-Accel-Expires.
    Accel(u32),
    /// Cache-Control, a field that stands in for it, or Expires.
    App(u32),
    /// `wharf.cache.valid`.
    Label(u32),
    Heuristic(u32),
}

impl From {
    /// Whether the app itself has not said that this response may be kept.
    fn is_guess(self) -> bool {
        matches!(self, Self::Label(_) | Self::Heuristic(_))
    }
}

/// Section 4.2.1, in nginx's order: X-Accel-Expires, the app's fields, the label. What counts from now on is given
/// the age that the response has already.
fn lifetime(
    policy: &Policy,
    response: &Response,
    times: Times,
    accel: Option<u32>,
    age: u32,
) -> Result<From, NotStored> {
    if let Some(seconds) = accel {
        return Ok(From::Accel(seconds.saturating_add(age)));
    }
    if let Some(seconds) = named(response, times) {
        return Ok(From::App(seconds));
    }
    match policy.valid.of(response.status) {
        Some(0) => return Err(NotStored::Label),
        Some(seconds) => return Ok(From::Label(seconds.saturating_add(age))),
        None => {}
    }
    let guess = policy
        .heuristic
        .then(|| heuristic(response, times))
        .flatten();
    guess.map(From::Heuristic).ok_or(NotStored::NoLifetime)
}

/// What the app names. A no-cache names one, too: none.
fn named(response: &Response, times: Times) -> Option<u32> {
    let says = &response.directives;
    let expires = || {
        let at = response.expires.filter(|_| response.targeted.is_none())?;
        let from = response.date.unwrap_or(times.received);
        Some(clamp(at.saturating_sub(from)))
    };
    let none = || says.no_cache.then_some(0);
    says.lifetime().or_else(expires).or_else(none)
}

/// A tenth of the time since the last change, a day at most (section 4.2.2).
fn heuristic(response: &Response, times: Times) -> Option<u32> {
    const LONGEST: u32 = 24 * 60 * 60;
    if !status::is_heuristic(response.status) && !response.directives.public {
        return None;
    }
    let date = response.date.unwrap_or(times.received);
    let unchanged = date.checked_sub(response.last_modified?)?;
    Some(clamp(unchanged / 10).min(LONGEST))
}

/// Section 4.2.3: the greater of what the response says and what its date says.
fn initial_age(response: &Response, times: Times) -> u32 {
    let apparent = response
        .date
        .map_or(0, |date| times.received.saturating_sub(date));
    let delay = times.received.saturating_sub(times.sent);
    clamp(apparent.max(u64::from(response.age).saturating_add(delay)))
}

fn facts(request: &Request, response: &Response, times: Times, age: u32, from: From) -> Stored {
    let (From::Accel(lifetime)
    | From::App(lifetime)
    | From::Label(lifetime)
    | From::Heuristic(lifetime)) = from;
    // X-Accel-Expires stands in for what the other fields forbid, as in nginx.
    let forbids = Some(&response.directives).filter(|_| !matches!(from, From::Accel(_)));
    let forbids = forbids.copied().unwrap_or_default();
    let says = &response.directives;
    let marks = Marks::default()
        .with(Marks::ASK, forbids.no_cache)
        .with(
            Marks::NEVER_STALE,
            forbids.must_revalidate || forbids.proxy_revalidate,
        )
        .with(Marks::STALE_IF_NAMED, forbids.s_maxage.is_some())
        .with(Marks::FOR_AUTHORIZED, shares(response))
        .with(Marks::VALIDATOR, response.has_validator())
        .with(Marks::IMMUTABLE, says.immutable)
        .with(Marks::UNKEYED, request.unkeyed);
    Stored {
        status: response.status,
        received: times.received,
        date: response.date.unwrap_or(times.received),
        initial_age: age,
        lifetime: lifetime.min(FOREVER),
        while_revalidate: says.stale_while_revalidate.unwrap_or(0),
        if_error: says.stale_if_error.unwrap_or(0),
        marks,
    }
}

/// What can neither be used nor be asked about is not worth its room. That an error might make it welcome is no
/// reason where the app gave it no lifetime at all: everything dynamic would be kept.
fn useful(policy: &Policy, stored: Stored) -> Result<Stored, NotStored> {
    let fresh = stored.was_fresh() && !stored.marks.has(Marks::ASK);
    let app = stored.while_revalidate.max(stored.if_error);
    let label = policy.stale.background.unwrap_or(0);
    let stale = stored.may_be_stale(stored.received, app, Some(label));
    if fresh || stale || stored.marks.has(Marks::VALIDATOR) {
        Ok(stored)
    } else {
        Err(NotStored::Stale)
    }
}

fn clamp(seconds: u64) -> u32 {
    seconds.min(u64::from(FOREVER)) as u32
}

impl NotStored {
    /// Whether what was stored for the same request is out of date by such a response: the app has answered, only not
    /// for others. An error leaves it, to stand in for the next one.
    pub fn supersedes(self, status: u16) -> bool {
        match self {
            Self::NoStore
            | Self::Private
            | Self::Accel
            | Self::VaryAny
            | Self::NoLifetime
            | Self::Stale
            | Self::Deception => (200..500).contains(&status),
            // These are about one client or one part of it.
            Self::Request(_)
            | Self::Head
            | Self::RequestNoStore
            | Self::Label
            | Self::Status
            | Self::Partial
            | Self::SetCookie
            | Self::Authorization => false,
        }
    }

    /// One word for Cache-Status and logs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Request(refusal) => refusal.word(),
            Self::Head => "head",
            Self::RequestNoStore => "request-no-store",
            Self::Label => "label",
            Self::Status => "status",
            Self::Partial => "partial",
            Self::NoStore => "no-store",
            Self::Private => "private",
            Self::Accel => "x-accel-expires",
            Self::VaryAny => "vary-any",
            Self::SetCookie => "set-cookie",
            Self::Authorization => "authorization",
            Self::NoLifetime => "no-lifetime",
            Self::Stale => "stale",
            Self::Deception => "extension",
        }
    }
}

impl Refusal {
    /// One word for Cache-Status and logs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::Content => "content",
            Self::MethodOverride => "method-override",
            Self::Precondition => "precondition",
            Self::Upgrade => "upgrade",
        }
    }
}
