//! What is done with a request and what is stored for it (RFC 9111 section 4, RFC 5861).

use super::policy::{Bypass, Policy};
use super::request::{Method, Refusal, Request};
use super::stored::Marks;
use super::{Stored, Time};

/// What is done with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    /// Answered from the cache, with an Age of so many seconds.
    Hit {
        age: u32,
    },
    /// Answered from the cache although its lifetime is over.
    Stale {
        age: u32,
        why: Why,
    },
    Forward(Forward),
    /// Only what is stored was asked for, and nothing is: 504 (RFC 9111 section 5.2.1.7).
    OnlyIfCached,
}

/// Why a stale response is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The client takes it (max-stale).
    Client,
    /// It may be stale while it is fetched: start to, in the background.
    Refresh,
    /// Another request is fetching it.
    Updating,
}

/// How a request goes on to the app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forward {
    pub reason: Reason,
    /// Ask whether what is stored is still good ([`super::validate::conditions`]).
    pub validate: bool,
    /// Leave out Range and conditional fields of the client's ([`super::fields::forwarded`]), so that what comes back
    /// is whole and can be stored; the client's are looked at then.
    pub whole: bool,
    /// Send a HEAD as a GET.
    pub as_get: bool,
    /// One such request at a time is enough: others may wait for its response.
    pub alone: bool,
}

/// Why a request is not answered from the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    Refused(Refusal),
    /// A label says so.
    Bypass,
    /// Nothing is stored.
    Miss,
    /// Something is, but for other values of the fields in its Vary.
    VaryMiss,
    /// The client wants a newer one.
    Wish,
    /// Its lifetime is over, or it is not to be used without asking (no-cache).
    Stale,
    /// The request has an Authorization and what is stored is not said to be for everybody.
    Authorization,
}

/// What else is known when a request is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Around {
    /// Another request is fetching the same.
    pub flight: bool,
    /// There are stored responses of that key, but none for this request.
    pub variants: bool,
    pub bypass: Bypass,
}

/// Decides on a request; `stored` is what [`super::vary::select`] chose.
pub fn lookup(
    policy: &Policy,
    request: &Request,
    stored: Option<&Stored>,
    around: Around,
    now: Time,
) -> Lookup {
    if let Some(refusal) = request.refusal() {
        return Lookup::Forward(Forward::past(Reason::Refused(refusal)));
    }
    let found = match stored {
        _ if around.bypass.read => Err(Reason::Bypass),
        None if around.variants => Err(Reason::VaryMiss),
        None => Err(Reason::Miss),
        Some(stored) => use_stored(policy, request, stored, around, now),
    };
    match found {
        Ok(answer) => answer,
        Err(_) if policy.wishes && request.wishes.only_if_cached => Lookup::OnlyIfCached,
        Err(reason) => Lookup::Forward(Forward::new(policy, request, stored, around, reason)),
    }
}

fn use_stored(
    policy: &Policy,
    request: &Request,
    stored: &Stored,
    around: Around,
    now: Time,
) -> Result<Lookup, Reason> {
    let marks = stored.marks;
    // A store that asks for values only where there are names finds what is for everybody.
    if request.unkeyed != marks.has(Marks::UNKEYED) {
        return Err(Reason::VaryMiss);
    }
    // Stricter than section 3.5 asks: what was for nobody in particular may be a "401 log in first".
    if request.authorization && !marks.has(Marks::FOR_AUTHORIZED) {
        return Err(Reason::Authorization);
    }
    if marks.has(Marks::ASK) {
        return Err(Reason::Stale);
    }
    let age = stored.age(now);
    let fresh = stored.is_fresh(now);
    if policy.wishes && refused_by_client(request, stored, now) {
        return Err(Reason::Wish);
    }
    if fresh {
        return Ok(Lookup::Hit { age });
    }
    match stale_now(policy, request, stored, around, now) {
        Some(why) => Ok(Lookup::Stale { age, why }),
        None => Err(Reason::Stale),
    }
}

/// Section 5.2.1. What does not change while it is fresh is not too old for a browser's reload, which says max-age=0;
/// a forced one says no-cache (RFC 8246 section 2).
fn refused_by_client(request: &Request, stored: &Stored, now: Time) -> bool {
    let wishes = &request.wishes;
    let unchanged = stored.marks.has(Marks::IMMUTABLE) && stored.is_fresh(now);
    let age = stored.age(now);
    // 0 asks for a new one, even where what is stored is not a second old.
    let too_old = |limit: u32| limit == 0 || age > limit;
    wishes.no_cache
        || wishes
            .max_age
            .is_some_and(|limit| !unchanged && too_old(limit))
        || wishes
            .min_fresh
            .is_some_and(|least| stored.fresh_for(now) < least)
}

/// Whether what is stale is sent all the same, before anybody has asked the app.
fn stale_now(
    policy: &Policy,
    request: &Request,
    stored: &Stored,
    around: Around,
    now: Time,
) -> Option<Why> {
    let wished = request.wishes.max_stale.filter(|_| policy.wishes);
    let wished = wished.map(|limit| limit.saturating_add(1));
    if wished.is_some() && stored.may_be_stale(now, 0, wished) {
        return Some(Why::Client);
    }
    let stale = &policy.stale;
    let named = stored.while_revalidate;
    let at_once = stored.may_be_stale(now, named, Some(stale.background.unwrap_or(0)));
    let updating = stale.updating && stored.may_be_stale(now, 0, Some(stale.limit));
    // What the app has given no lifetime it wants to be asked about.
    let begins = updating && stale.background.is_none() && stored.was_fresh();
    // Whose answer is not to be stored cannot bring a newer one.
    let fills = request.may_fill(around.bypass);
    match around.flight {
        true => (at_once || updating).then_some(Why::Updating),
        false => (fills && (at_once || begins)).then_some(Why::Refresh),
    }
}

/// How an attempt to get a newer response failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The app cannot be reached, or broke off before its response was whole.
    Error,
    Timeout,
    /// What it sent is no response.
    Invalid,
    /// No endpoint is there to ask.
    NoEndpoint,
    /// It answered, with that status.
    Status(u16),
}

/// Whether what is stored is sent in place of a failure (RFC 9111 section 4.2.4, RFC 5861 section 4); then with that
/// Age. `None`: the failure is what the client hears of. That a client wanted a newer one does not matter here: none
/// is to be had.
pub fn stale_after(
    policy: &Policy,
    request: &Request,
    bypass: Bypass,
    stored: &Stored,
    failure: Failure,
    now: Time,
) -> Option<u32> {
    let others = request.authorization && !stored.marks.has(Marks::FOR_AUTHORIZED)
        || request.unkeyed != stored.marks.has(Marks::UNKEYED);
    if request.refusal().is_some() || bypass.read || others {
        return None;
    }
    let stale = &policy.stale;
    let allowed = match failure {
        Failure::Error => stale.error,
        Failure::Timeout => stale.timeout,
        Failure::Invalid => stale.invalid,
        Failure::NoEndpoint => stale.deploy || stale.error,
        Failure::Status(status) => stale.statuses.contains(&status),
    };
    // RFC 5861 section 4: these, whoever sent them.
    let is_error =
        !matches!(failure, Failure::Status(status) if !matches!(status, 500 | 502 | 503 | 504));
    let named = if is_error { stored.if_error } else { 0 };
    let limit = allowed.then_some(stale.limit);
    let usable = stored.may_be_stale(now, named, limit)
        || (stored.is_fresh(now) && allowed && !stored.marks.has(Marks::ASK));
    usable.then(|| stored.age(now))
}

impl Forward {
    /// Past the cache, as it came.
    fn past(reason: Reason) -> Self {
        Self {
            reason,
            validate: false,
            whole: false,
            as_get: false,
            alone: false,
        }
    }

    /// How what is stale is fetched in the background ([`Why::Refresh`]): as a GET for the whole.
    pub fn refresh(stored: &Stored) -> Self {
        Self {
            reason: Reason::Stale,
            validate: stored.marks.has(Marks::VALIDATOR),
            whole: true,
            as_get: true,
            alone: true,
        }
    }

    fn new(
        policy: &Policy,
        request: &Request,
        stored: Option<&Stored>,
        around: Around,
        reason: Reason,
    ) -> Self {
        let fills = request.may_fill(around.bypass);
        // Who asks with an Authorization most likely gets what is for nobody else.
        let fills = fills && reason != Reason::Authorization;
        let head = request.method == Method::Head;
        let as_get = head && fills && policy.convert_head;
        let stored = stored.filter(|_| reason != Reason::VaryMiss);
        let good = stored.is_some_and(|stored| stored.marks.has(Marks::VALIDATOR));
        // Responses to those who name themselves are seldom stored; then nothing of the request should be lost for
        // it.
        let likely = good || !request.authorization;
        let whole = fills && likely && (!head || as_get);
        Self {
            reason,
            validate: good && whole && !around.bypass.read,
            whole,
            as_get,
            alone: whole && !around.bypass.read && !request.authorization,
        }
    }
}
