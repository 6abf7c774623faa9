//! When what is stale is better than none: RFC 9111 section 4.2.4, RFC 5861; product row S43.

use super::super::{NOW, head};
use super::used::{said, stored};
use crate::cache::rules::Request;
use crate::cache::rules::lookup::{Around, Failure, Reason, Why, lookup, stale_after};
use crate::cache::rules::policy::{Bypass, Policy, Stale};

/// RFC 5861 section 3; nginx's `updating`.
#[test]
fn stale_ones_are_sent_while_a_newer_one_is_fetched() {
    let label = Policy {
        stale: Stale {
            background: Some(20),
            ..Stale::never()
        },
        ..Policy::default()
    };
    let first_waits = Policy::default();
    let at_once = Policy {
        stale: Stale {
            background: None,
            ..Stale::default()
        },
        ..Policy::default()
    };
    let hour = Policy {
        stale: Stale {
            limit: 3600,
            ..at_once.stale.clone()
        },
        ..Policy::default()
    };
    let never = Policy {
        stale: Stale::never(),
        ..Policy::default()
    };
    let refresh = Ok(Some(Why::Refresh));
    let under_way = Ok(Some(Why::Updating));
    let stale = Err(Reason::Stale);
    let app = "max-age=60, stale-while-revalidate=10";
    let shared = "s-maxage=60, stale-while-revalidate=10";
    let cases = [
        (&never, app, 69, false, refresh),
        (&never, app, 69, true, under_way),
        (&never, app, 70, false, stale),
        (&never, app, 70, true, stale),
        (&never, shared, 69, false, refresh),
        (
            &never,
            "max-age=60, must-revalidate, stale-while-revalidate=10",
            69,
            true,
            stale,
        ),
        (
            &never,
            "max-age=60, proxy-revalidate, stale-while-revalidate=10",
            69,
            true,
            stale,
        ),
        (&label, "max-age=60", 79, false, refresh),
        (&label, "max-age=60", 80, true, stale),
        (&label, "s-maxage=60", 69, false, stale),
        (&first_waits, "max-age=60", 999, false, stale),
        (&first_waits, "max-age=60", 999, true, under_way),
        (&first_waits, app, 69, false, refresh),
        (&at_once, "max-age=60", 999, false, refresh),
        (&at_once, "max-age=60", 999, true, under_way),
        (&at_once, app, 999, false, refresh),
        (&at_once, "s-maxage=60", 61, false, stale),
        (&at_once, "s-maxage=60", 61, true, stale),
        (&at_once, "max-age=60, must-revalidate", 61, false, stale),
        (&at_once, "max-age=60, must-revalidate", 61, true, stale),
        (&hour, "max-age=60", 3659, false, refresh),
        (&hour, "max-age=60", 3660, false, stale),
        (&hour, "max-age=60", 3660, true, stale),
    ];
    for (policy, cc, later, flight, expected) in cases {
        let stored = stored(&format!("Cache-Control: {cc}"));
        let request = Request::read(b"GET", &head(""));
        let around = Around {
            flight,
            ..Around::default()
        };
        let found = lookup(policy, &request, Some(&stored), around, NOW + later);
        assert_eq!(said(found), expected, "{cc} {later} {flight}");
    }
    // Never fresh: the app wants to be asked each time.
    let request = Request::read(b"GET", &head(""));
    for cc in ["max-age=0", "no-cache", "max-age=60, no-cache"] {
        let stored = stored(&format!("ETag: \"x\"\nCache-Control: {cc}"));
        let around = Around::default();
        let found = lookup(&at_once, &request, Some(&stored), around, NOW + 61);
        assert_eq!(said(found), stale, "{cc}");
    }
}

/// S43, RFC 5861 section 4: the label's list or the app's stale-if-error, but never what the app forbids.
#[test]
fn stale_ones_are_sent_in_place_of_failures() {
    use Failure::*;
    let shipped = Policy::default();
    let never = Policy {
        stale: Stale::never(),
        ..Policy::default()
    };
    let hour = Policy {
        stale: Stale {
            limit: 3600,
            ..Stale::default()
        },
        ..Policy::default()
    };
    let only = |deploy, error| Policy {
        stale: Stale {
            deploy,
            error,
            limit: 60,
            ..Stale::never()
        },
        ..Policy::default()
    };
    let (deploy, error) = (only(true, false), only(false, true));
    let cases = [
        (&shipped, "max-age=60", 9999, Error, true),
        (&shipped, "max-age=60", 9999, Timeout, true),
        (&shipped, "max-age=60", 9999, NoEndpoint, true),
        (&shipped, "max-age=60", 9999, Status(500), true),
        (&shipped, "max-age=60", 9999, Status(503), true),
        (&shipped, "max-age=60", 9999, Status(504), false),
        (&shipped, "max-age=60", 9999, Status(404), false),
        (&shipped, "max-age=60", 9999, Status(200), false),
        (&shipped, "max-age=60", 9999, Invalid, false),
        (&shipped, "max-age=60", 5, Error, true),
        (&shipped, "max-age=60, must-revalidate", 61, Error, false),
        (
            &shipped,
            "max-age=60, proxy-revalidate",
            61,
            NoEndpoint,
            false,
        ),
        (&shipped, "s-maxage=60", 61, Error, false),
        (&shipped, "s-maxage=60, stale-if-error=9", 61, Error, true),
        (&shipped, "s-maxage=60, stale-if-error=9", 69, Error, false),
        (&hour, "max-age=60", 3659, Error, true),
        (&hour, "max-age=60", 3660, Error, false),
        (&never, "max-age=60", 61, Error, false),
        (&deploy, "max-age=60", 61, Error, false),
        (&deploy, "max-age=60", 61, NoEndpoint, true),
        (&error, "max-age=60", 61, NoEndpoint, true),
        (&never, "max-age=60, stale-if-error=9", 68, Error, true),
        (&never, "max-age=60, stale-if-error=9", 68, Invalid, true),
        (
            &never,
            "max-age=60, stale-if-error=9",
            68,
            Status(504),
            true,
        ),
        (
            &never,
            "max-age=60, stale-if-error=9",
            68,
            Status(404),
            false,
        ),
        (&never, "max-age=60, stale-if-error=9", 69, Error, false),
    ];
    let none = Bypass::default();
    for (policy, cc, later, failure, expected) in cases {
        let stored = stored(&format!("Cache-Control: {cc}"));
        let request = Request::read(b"GET", &head("Cache-Control: no-cache"));
        let found = stale_after(policy, &request, none, &stored, failure, NOW + later);
        let age = expected.then_some(later as u32);
        assert_eq!(found, age, "{cc} {later} {failure:?}");
    }
    let kept = stored("Cache-Control: max-age=60");
    let post = Request::read(b"POST", &head(""));
    assert_eq!(stale_after(&shipped, &post, none, &kept, Error, NOW), None);
    let get = Request::read(b"GET", &head(""));
    let read = Bypass { read: true, ..none };
    assert_eq!(stale_after(&shipped, &get, read, &kept, Error, NOW), None);
}
