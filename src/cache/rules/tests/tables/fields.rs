//! Which fields go where: RFC 9111 sections 3.1, 3.2, 4.3 and 5, RFC 9211; product rows S46 and S48.

use super::super::{NOW, date, head};
use crate::cache::rules::fields::{Kept, forwarded, in_206, in_304, served};
use crate::cache::rules::lookup::{Failure, Reason, Why};
use crate::cache::rules::outcome::{Forwarded, Outcome};
use crate::cache::rules::policy::{Bypass, Cookies, Policy};
use crate::cache::rules::request::Refusal;
use crate::cache::rules::store::{NotStored, Times, store};
use crate::cache::rules::validate::{
    Conditions, HeadSays, Merged, conditions, confirms, freshen, head_says,
};
use crate::cache::rules::{Request, Response, Source};

fn kept(policy: &Policy, text: &str) -> Vec<String> {
    let fields = head(text);
    let response = Response::read(200, &fields);
    let kept = Kept::new(policy, &response, &fields);
    let names = fields
        .iter()
        .filter(|(name, _)| kept.keeps(name.as_bytes()));
    names.map(|(name, _)| (*name).to_owned()).collect()
}

/// RFC 9111 section 3.1.
#[test]
fn fields_of_one_hop_or_one_client_are_not_stored() {
    let text = "Connection: x-hop, close\nX-Hop: 1\nKeep-Alive: 1\nTE: 1\nTrailer: 1\nTransfer-Encoding: chunked\nUpgrade: 1
        Proxy-Connection: 1\nProxy-Authenticate: 1\nProxy-Authorization: 1\nProxy-Authentication-Info: 1\nAge: 1
        X-Cache-Status: HIT\nSet-Cookie: a=b\nset-cookie2: a=b
        Cache-Control: private=\"x-mine\", no-cache=\"X-Ask\", max-age=1\nX-Mine: 1\nx-ask: 1
        Content-Type: text/plain\nDate: x\nETag: \"a\"\nX-Accel-Expires: 1\nX-Hopeful: 1";
    let left = [
        "Cache-Control",
        "Content-Type",
        "Date",
        "ETag",
        "X-Accel-Expires",
        "X-Hopeful",
    ];
    assert_eq!(kept(&Policy::default(), text), left);
    let strip = Policy {
        cookies: Cookies::Strip,
        ..Policy::default()
    };
    assert_eq!(kept(&strip, "Set-Cookie: a=b\nA: b"), ["A"]);
    let keep = Policy {
        cookies: Cookies::Keep,
        ..Policy::default()
    };
    assert_eq!(kept(&keep, "Set-Cookie: a=b\nA: b"), ["Set-Cookie", "A"]);
}

#[test]
fn fields_for_this_cache_are_not_sent() {
    for name in ["X-Accel-Expires", "x-accel-redirect", "Surrogate-Control"] {
        assert!(!served(name.as_bytes()), "{name}");
    }
    for name in [
        "CDN-Cache-Control",
        "Cache-Control",
        "X-Accelerator",
        "Surrogate-Key",
    ] {
        assert!(served(name.as_bytes()), "{name}");
    }
    for name in ["Range", "If-Range", "If-None-Match", "if-modified-since"] {
        assert!(!forwarded(name.as_bytes()), "{name}");
    }
    assert!(forwarded(b"If-Match") && forwarded(b"Accept"));
}

/// RFC 9110 section 15.4.5.
#[test]
fn a_304_says_nothing_of_a_body() {
    for name in [
        "Content-Type",
        "content-length",
        "Content-Encoding",
        "Content-Range",
        "X-Accel-Expires",
    ] {
        assert!(!in_304(name.as_bytes()), "{name}");
    }
    for name in [
        "ETag",
        "Cache-Control",
        "Content-Location",
        "Vary",
        "Date",
        "Content-Security-Policy",
    ] {
        assert!(in_304(name.as_bytes()), "{name}");
    }
    assert!(!in_206(b"Content-Length") && !in_206(b"Content-Range") && in_206(b"Content-Encoding"));
}

/// RFC 9111 section 4.3.1.
#[test]
fn what_is_stored_says_what_to_ask_with() {
    let at = date(-9);
    let changed = format!("Last-Modified: {at}\netag: W/\"a\"");
    let fields = head(&changed);
    let ask = conditions(&fields);
    assert_eq!(ask.if_none_match, Some(b"W/\"a\"".as_slice()));
    assert_eq!(ask.if_modified_since, Some(at.as_bytes()));
    let none = head("Last-Modified: b\netag:");
    assert_eq!(conditions(&none), Conditions::default());
    assert!(!Response::read(200, &none).has_validator());
}

/// RFC 9111 section 4.3.4.
#[test]
fn a_304_has_to_be_about_what_is_stored() {
    let cases = [
        ("ETag: \"a\"", "ETag: \"a\"", true),
        ("ETag: W/\"a\"", "ETag: \"a\"", true),
        (
            "ETag: \"a\"\nLast-Modified: x",
            "ETag: \"a\"\nLast-Modified: y",
            true,
        ),
        ("ETag: \"a\"", "", true),
        ("ETag: \"a\"", "ETag: \"b\"", false),
        ("Last-Modified: x", "ETag: \"b\"", false),
        ("Last-Modified: x", "Last-Modified: x", true),
        ("Last-Modified: x", "Last-Modified: y", false),
        ("ETag: \"a\"", "Last-Modified: y", false),
    ];
    for (stored, came, expected) in cases {
        assert_eq!(
            confirms(&head(stored), &head(came)),
            expected,
            "{stored} | {came}"
        );
    }
}

/// RFC 9111 section 3.2: all but what the body was made with, and nothing of one hop.
#[test]
fn a_304_updates_what_is_stored() {
    let old = head(
        "Date: old\nA: 1\nA: 2\nB: 3\nContent-Length: 5\nContent-Encoding: gzip\nContent-Type: t/a",
    );
    let new = head(
        "a: 9\nContent-Length: 0\nContent-Encoding: br\nContent-Type: t/b\nConnection: c, b\nC: 1\nB: 8\nAge: 4",
    );
    let merged = Merged::new(&old, &new);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let found: Vec<_> = merged
        .fields()
        .map(|(name, value)| text(name) + "=" + &text(value))
        .collect();
    let expected = [
        "a=9",
        "Content-Type=t/b",
        "Age=4",
        "B=3",
        "Content-Length=5",
        "Content-Encoding=gzip",
    ];
    assert_eq!(found, expected);
}

/// RFC 9111 section 4.3.4: it is as fresh as if it had just come, by what it says now.
#[test]
fn what_a_304_confirms_is_fresh_again() {
    let policy = Policy::default();
    let none = Bypass::default();
    let old = format!("Date: {}\nETag: \"a\"\nCache-Control: max-age=60", date(0));
    let old = head(&old);
    let request = Request::read(b"GET", &head(""));
    let at = |now| Times {
        sent: now,
        received: now,
    };
    let known = store(
        &policy,
        none,
        &request,
        b"/",
        &Response::read(404, &old),
        at(NOW),
    )
    .expect("stored");
    let later = NOW + 1000;
    let cases = [
        ("ETag: \"a\"", Ok((404, 0, 60))),
        ("Age: 5", Ok((404, 5, 55))),
        ("Cache-Control: max-age=7", Ok((404, 0, 7))),
        ("Cache-Control: no-store", Err(NotStored::NoStore)),
        ("Cache-Control: private, max-age=9", Err(NotStored::Private)),
        ("Set-Cookie: a=b", Err(NotStored::SetCookie)),
        ("Vary: *", Err(NotStored::VaryAny)),
    ];
    for (text, expected) in cases {
        let new = head(text);
        let merged = Merged::new(&old, &new);
        let found = freshen(&policy, none, &request, b"/", &known, &merged, at(later));
        let found = found.map(|known| (known.status, known.age(later), known.fresh_for(later)));
        assert_eq!(found, expected, "{text}");
    }
}

/// RFC 9111 section 4.3.5.
#[test]
fn a_head_tells_of_the_stored_get() {
    let old = head("ETag: \"a\"\nLast-Modified: x");
    let cases = [
        (200, "ETag: \"a\"", HeadSays::Good),
        (200, "ETag: \"a\"\nContent-Length: 5", HeadSays::Good),
        (200, "Content-Length: 5", HeadSays::Good),
        (200, "ETag: \"a\"\nContent-Length: 6", HeadSays::Outdated),
        (200, "ETag: \"b\"", HeadSays::Outdated),
        (200, "ETag: \"a\"\nLast-Modified: y", HeadSays::Outdated),
        (200, "", HeadSays::Nothing),
        (404, "", HeadSays::Outdated),
        (410, "", HeadSays::Outdated),
        (304, "ETag: \"b\"", HeadSays::Nothing),
        (500, "ETag: \"b\"", HeadSays::Nothing),
    ];
    for (status, text, expected) in cases {
        assert_eq!(
            head_says(&old, 5, status, &head(text)),
            expected,
            "{status} {text}"
        );
    }
}

/// S46: nginx's words, and RFC 9211 beside them.
#[test]
fn clients_are_told_what_the_cache_did() {
    let forwarded = |reason, status, stored| {
        let collapsed = false;
        Outcome::Forwarded(Forwarded {
            reason,
            status,
            stored,
            collapsed,
        })
    };
    let cases = [
        (Outcome::Hit { ttl: 30 }, "HIT", "wharf; hit; ttl=30"),
        (
            Outcome::Stale {
                ttl: -3,
                why: Why::Updating,
            },
            "UPDATING",
            "wharf; hit; ttl=-3; detail=updating",
        ),
        (
            Outcome::Stale {
                ttl: -3,
                why: Why::Refresh,
            },
            "STALE",
            "wharf; hit; ttl=-3; detail=refresh",
        ),
        (
            Outcome::Instead {
                ttl: -9,
                failure: Failure::Timeout,
            },
            "STALE",
            "wharf; hit; ttl=-9; detail=timeout",
        ),
        (
            Outcome::OnlyIfCached,
            "MISS",
            "wharf; detail=only-if-cached",
        ),
        (
            forwarded(Reason::Miss, Some(200), Some(Ok(()))),
            "MISS",
            "wharf; fwd=uri-miss; fwd-status=200; stored",
        ),
        (
            forwarded(Reason::VaryMiss, Some(200), Some(Err(NotStored::SetCookie))),
            "MISS",
            "wharf; fwd=vary-miss; fwd-status=200; detail=set-cookie",
        ),
        (
            forwarded(Reason::Stale, Some(304), Some(Ok(()))),
            "REVALIDATED",
            "wharf; fwd=stale; fwd-status=304; stored",
        ),
        (
            forwarded(Reason::Stale, Some(200), Some(Ok(()))),
            "EXPIRED",
            "wharf; fwd=stale; fwd-status=200; stored",
        ),
        (
            forwarded(Reason::Wish, None, None),
            "EXPIRED",
            "wharf; fwd=request",
        ),
        (
            forwarded(Reason::Bypass, Some(200), None),
            "BYPASS",
            "wharf; fwd=bypass; fwd-status=200; detail=label",
        ),
        (
            forwarded(Reason::Refused(Refusal::Method), None, None),
            "BYPASS",
            "wharf; fwd=method",
        ),
        (
            forwarded(Reason::Refused(Refusal::Content), None, None),
            "BYPASS",
            "wharf; fwd=bypass; detail=content",
        ),
    ];
    for (outcome, word, line) in cases {
        let mut out = Vec::new();
        outcome.write(&mut out);
        assert_eq!(
            (outcome.word(), String::from_utf8_lossy(&out).as_ref()),
            (word, line)
        );
    }
    let collapsed = Outcome::Forwarded(Forwarded {
        reason: Reason::Miss,
        status: Some(200),
        stored: None,
        collapsed: true,
    });
    let mut out = Vec::new();
    collapsed.write(&mut out);
    assert_eq!(out, b"wharf; fwd=uri-miss; fwd-status=200; collapsed");
}
