//! What is done with what is stored: RFC 9111 sections 4 and 5.2.1, RFC 8246; product rows S40, S45, S48.

use super::super::{NOW, head};
use crate::cache::rules::lookup::{
    Around, Failure, Forward, Lookup, Reason, Why, lookup, stale_after,
};
use crate::cache::rules::policy::{Bypass, Policy, Stale};
use crate::cache::rules::request::Refusal;
use crate::cache::rules::store::{Times, store};
use crate::cache::rules::{Request, Response, Stored};

/// A response that was received now.
pub(super) fn stored(text: &str) -> Stored {
    let request = Request::read(b"GET", &head(""));
    let response = Response::read(200, &head(text));
    let times = Times {
        sent: NOW,
        received: NOW,
    };
    store(
        &Policy::default(),
        Bypass::default(),
        &request,
        b"/",
        &response,
        times,
    )
    .expect("stored")
}

fn look(policy: &Policy, request: &str, stored: &Stored, later: u64) -> Lookup {
    let request = Request::read(b"GET", &head(request));
    lookup(
        policy,
        &request,
        Some(stored),
        Around::default(),
        NOW + later,
    )
}

/// In short: what is sent or why nothing is.
pub(super) fn said(found: Lookup) -> Result<Option<Why>, Reason> {
    match found {
        Lookup::Hit { .. } => Ok(None),
        Lookup::Stale { why, .. } => Ok(Some(why)),
        Lookup::Forward(forward) => Err(forward.reason),
        Lookup::OnlyIfCached => panic!("a 504"),
    }
}

/// RFC 9111 section 4.2: fresh while the lifetime is greater than the age.
#[test]
fn what_is_fresh_is_used() {
    let policy = Policy::default();
    let stored = stored("Cache-Control: max-age=60\nAge: 10");
    assert_eq!(look(&policy, "", &stored, 0), Lookup::Hit { age: 10 });
    assert_eq!(look(&policy, "", &stored, 49), Lookup::Hit { age: 59 });
    assert_eq!(said(look(&policy, "", &stored, 50)), Err(Reason::Stale));
    assert_eq!((stored.ttl(NOW), stored.ttl(NOW + 70)), (50, -20));
}

/// RFC 9111 section 5.2.1, RFC 8246 section 2.
#[test]
fn clients_may_ask_for_newer_ones() {
    const HIT: Result<Option<Why>, Reason> = Ok(None);
    let policy = Policy::default();
    let deaf = Policy {
        wishes: false,
        ..Policy::default()
    };
    let kept = stored("Cache-Control: max-age=60");
    let fixed = stored("Cache-Control: max-age=60, immutable");
    let strict = stored("Cache-Control: max-age=60, must-revalidate");
    let cases = [
        (&kept, 10, "Cache-Control: no-cache", Err(Reason::Wish)),
        (&kept, 10, "Pragma: no-cache", Err(Reason::Wish)),
        (&kept, 0, "Cache-Control: max-age=0", Err(Reason::Wish)),
        (&kept, 10, "Cache-Control: max-age=9", Err(Reason::Wish)),
        (&kept, 10, "Cache-Control: max-age=10", HIT),
        (&kept, 10, "Cache-Control: min-fresh=51", Err(Reason::Wish)),
        (&kept, 10, "Cache-Control: min-fresh=50", HIT),
        (&kept, 10, "Cache-Control: no-store", HIT),
        (&kept, 10, "Cache-Control: only-if-cached", HIT),
        (
            &kept,
            61,
            "Cache-Control: max-stale=1",
            Ok(Some(Why::Client)),
        ),
        (&kept, 62, "Cache-Control: max-stale=1", Err(Reason::Stale)),
        (
            &kept,
            999,
            "Cache-Control: max-stale",
            Ok(Some(Why::Client)),
        ),
        (
            &kept,
            61,
            "Cache-Control: max-stale, max-age=9",
            Err(Reason::Wish),
        ),
        (&strict, 61, "Cache-Control: max-stale", Err(Reason::Stale)),
        (&fixed, 10, "Cache-Control: max-age=0", HIT),
        (&fixed, 10, "Cache-Control: no-cache", Err(Reason::Wish)),
        (&fixed, 60, "Cache-Control: max-age=0", Err(Reason::Wish)),
    ];
    for (stored, later, request, expected) in cases {
        assert_eq!(
            said(look(&policy, request, stored, later)),
            expected,
            "{later} {request}"
        );
    }
    assert_eq!(said(look(&deaf, "Cache-Control: no-cache", &kept, 10)), HIT);
    assert_eq!(
        said(look(&deaf, "Cache-Control: max-stale", &kept, 99)),
        Err(Reason::Stale)
    );
    let only = "Cache-Control: only-if-cached";
    assert_eq!(look(&policy, only, &kept, 99), Lookup::OnlyIfCached);
    assert_eq!(said(look(&deaf, only, &kept, 99)), Err(Reason::Stale));
}

/// RFC 9111 section 5.2.2.4: no-cache is for asking only, whoever would be glad of a stale one.
#[test]
fn what_has_to_be_asked_about_is() {
    let policy = Policy::default();
    let stored = stored("Cache-Control: no-cache, stale-if-error=9\nETag: \"a\"");
    let Lookup::Forward(forward) = look(&policy, "", &stored, 0) else {
        panic!("not asked");
    };
    assert_eq!((forward.reason, forward.validate), (Reason::Stale, true));
    let request = Request::read(b"GET", &head(""));
    let none = Bypass::default();
    assert_eq!(
        stale_after(&policy, &request, none, &stored, Failure::Error, NOW),
        None
    );
}

/// Section 3.5, and stricter: a response for nobody in particular is not for those who name themselves.
#[test]
fn authorization_gets_what_is_for_everybody_only() {
    let policy = Policy::default();
    let cases = [
        ("Cache-Control: max-age=60", Err(Reason::Authorization)),
        ("X-Accel-Expires: 60", Err(Reason::Authorization)),
        ("Cache-Control: max-age=60, public", Ok(None)),
        ("Cache-Control: s-maxage=60", Ok(None)),
        ("Cache-Control: max-age=60, must-revalidate", Ok(None)),
    ];
    for (text, expected) in cases {
        let stored = stored(text);
        assert_eq!(
            said(look(&policy, "Authorization: x", &stored, 0)),
            expected,
            "{text}"
        );
        let request = Request::read(b"GET", &head("Authorization: x"));
        let none = Bypass::default();
        let instead = stale_after(&policy, &request, none, &stored, Failure::Error, NOW);
        assert_eq!(instead.is_some(), expected.is_ok(), "{text}");
    }
}

/// hardening.md: Age is never negative, and a clock that has been set back keeps nothing alive.
#[test]
fn clocks_may_jump() {
    let kept = stored("Cache-Control: max-age=60\nAge: 3");
    assert_eq!(
        (kept.age(NOW - 86_400), kept.is_fresh(NOW - 86_400)),
        (3, false)
    );
    assert_eq!((kept.age(NOW - 5), kept.is_fresh(NOW - 5)), (3, true));
    assert_eq!((kept.age(0), kept.fresh_for(0)), (3, 0));
    assert_eq!(
        (kept.age(u64::MAX), kept.is_fresh(u64::MAX)),
        (1 << 31, false)
    );
    let found = look(&Policy::default(), "", &kept, 0);
    assert_eq!(found, Lookup::Hit { age: 3 });
    let request = Request::read(b"GET", &head("Cache-Control: max-stale=9"));
    let around = Around {
        flight: true,
        ..Around::default()
    };
    let never = Policy {
        stale: Stale {
            limit: 3600,
            ..Stale::default()
        },
        ..Policy::default()
    };
    let found = lookup(&never, &request, Some(&kept), around, NOW - 86_400);
    assert_eq!(said(found), Err(Reason::Stale));
}

/// S40, S45, S48, S50: how requests go on.
#[test]
fn requests_go_on_whole_unless_nothing_could_be_stored() {
    let tag = stored("Cache-Control: max-age=0\nETag: \"a\"");
    let open = stored("Cache-Control: max-age=60");
    let shared = stored("Cache-Control: max-age=0, public\nETag: \"a\"");
    let read = Bypass {
        read: true,
        ..Bypass::default()
    };
    let store = Bypass {
        store: true,
        ..Bypass::default()
    };
    let none = Bypass::default();
    // validate, whole, as_get, alone
    let cases = [
        (
            "GET",
            "",
            None,
            none,
            Reason::Miss,
            [false, true, false, true],
        ),
        (
            "GET",
            "Range: bytes=0-1",
            None,
            none,
            Reason::Miss,
            [false, true, false, true],
        ),
        (
            "GET",
            "",
            Some(&tag),
            none,
            Reason::Stale,
            [true, true, false, true],
        ),
        (
            "HEAD",
            "",
            None,
            none,
            Reason::Miss,
            [false, true, true, true],
        ),
        (
            "HEAD",
            "",
            Some(&tag),
            none,
            Reason::Stale,
            [true, true, true, true],
        ),
        (
            "GET",
            "",
            Some(&tag),
            read,
            Reason::Bypass,
            [false, true, false, false],
        ),
        ("GET", "", None, store, Reason::Miss, [false; 4]),
        (
            "GET",
            "Cache-Control: no-store",
            None,
            none,
            Reason::Miss,
            [false; 4],
        ),
        (
            "GET",
            "Authorization: x",
            None,
            none,
            Reason::Miss,
            [false; 4],
        ),
        (
            "GET",
            "Authorization: x",
            Some(&open),
            none,
            Reason::Authorization,
            [false; 4],
        ),
        (
            "GET",
            "Authorization: x",
            Some(&shared),
            none,
            Reason::Stale,
            [true, true, false, false],
        ),
        (
            "POST",
            "",
            None,
            none,
            Reason::Refused(Refusal::Method),
            [false; 4],
        ),
        (
            "GET",
            "Upgrade: x",
            Some(&open),
            none,
            Reason::Refused(Refusal::Upgrade),
            [false; 4],
        ),
    ];
    for (method, text, stored, bypass, reason, [validate, whole, as_get, alone]) in cases {
        let request = Request::read(method.as_bytes(), &head(text));
        let around = Around {
            bypass,
            ..Around::default()
        };
        let found = lookup(&Policy::default(), &request, stored, around, NOW);
        let expected = Forward {
            reason,
            validate,
            whole,
            as_get,
            alone,
        };
        assert_eq!(found, Lookup::Forward(expected), "{method} {text}");
    }
    let plain = Policy {
        convert_head: false,
        ..Policy::default()
    };
    let request = Request::read(b"HEAD", &head("If-None-Match: \"b\""));
    let found = lookup(&plain, &request, Some(&tag), Around::default(), NOW);
    let expected = Forward {
        reason: Reason::Stale,
        validate: false,
        whole: false,
        as_get: false,
        alone: false,
    };
    assert_eq!(found, Lookup::Forward(expected));
    let request = Request::read(b"GET", &head(""));
    let around = Around {
        variants: true,
        ..Around::default()
    };
    let found = lookup(&Policy::default(), &request, None, around, NOW);
    assert_eq!(said(found), Err(Reason::VaryMiss));
}

/// What neither can be used nor asked about may go.
#[test]
fn what_is_useless_may_go() {
    let cases = [
        ("Cache-Control: max-age=60\nAge: 10", 0, Some(NOW + 50)),
        ("Cache-Control: max-age=60", 30, Some(NOW + 90)),
        (
            "Cache-Control: max-age=60, stale-if-error=40",
            30,
            Some(NOW + 100),
        ),
        ("Cache-Control: max-age=60\nETag: \"a\"", 0, None),
    ];
    for (text, limit, expected) in cases {
        assert_eq!(stored(text).useless_after(limit), expected, "{text}");
    }
}
