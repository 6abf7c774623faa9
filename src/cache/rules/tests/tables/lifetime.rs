//! For how long it is good: RFC 9111 section 4.2; product row S41.

use super::super::{NOW, date, head};
use super::store::{decide, lifetime, valid};
use crate::cache::rules::policy::{Bypass, Policy};
use crate::cache::rules::store::{NotStored, Times, store};
use crate::cache::rules::{Request, Response, Stored};

/// S41: X-Accel-Expires, then the fields for such caches, then Cache-Control and Expires, then the label.
#[test]
fn lifetimes_have_an_order() {
    use NotStored::*;
    let expires = format!("Expires: {}", date(90));
    let past = format!("X-Accel-Expires: @{}", NOW - 1);
    let cases = [
        (
            200,
            "X-Accel-Expires: 5\nCDN-Cache-Control: max-age=6\nCache-Control: max-age=7",
            Ok(5),
        ),
        (
            200,
            "CDN-Cache-Control: max-age=6\nCache-Control: max-age=7",
            Ok(6),
        ),
        (200, "Cache-Control: max-age=7, s-maxage=8", Ok(8)),
        (200, &format!("Cache-Control: max-age=7\n{expires}"), Ok(7)),
        (200, &expires, Ok(90)),
        (200, &format!("{expires}\nExpires: {}", date(30)), Ok(30)),
        (200, &format!("Expires: {}\n{expires}", date(30)), Ok(30)),
        (200, &format!("{expires}\nExpires: never"), Err(Stale)),
        (200, "CDN-Cache-Control: foo\nExpires: 0", Ok(600)),
        (200, "", Ok(600)),
        (302, "Cache-Control: public", Ok(600)),
        (404, "", Ok(60)),
        (410, "", Err(Label)),
        (503, "", Ok(10)),
        (
            200,
            "X-Accel-Expires: 5\nCache-Control: no-cache, private",
            Ok(5),
        ),
        (200, "X-Accel-Expires: 5\nCache-Control: no-store", Ok(5)),
        (200, "X-Accel-Expires: 5\nSet-Cookie: a=b", Err(SetCookie)),
        (200, "X-Accel-Expires: 5\nVary: *", Err(VaryAny)),
        (
            200,
            "X-Accel-Expires: 0\nCache-Control: max-age=7",
            Err(Accel),
        ),
        (200, &past, Err(Accel)),
        (200, "X-Accel-Expires: no\nCache-Control: max-age=7", Ok(7)),
        (
            200,
            "CDN-Cache-Control: max-age=6\nCache-Control: no-store",
            Ok(6),
        ),
        (
            200,
            "CDN-Cache-Control: no-store\nCache-Control: max-age=7",
            Err(NoStore),
        ),
        (200, "Cache-Control: no-cache", Err(Stale)),
        (200, "Cache-Control: no-store", Err(NoStore)),
    ];
    for (status, text, expected) in cases {
        assert_eq!(
            lifetime(&valid(), status, text),
            expected,
            "{status} {text}"
        );
    }
}

/// What a label or X-Accel-Expires gives counts from now, whatever age the response has; the app's own does not.
#[test]
fn lifetimes_of_labels_count_from_now() {
    let late = date(-1000);
    let old = [("Age: 30", 30), (&format!("Date: {late}"), 1000)];
    for (text, age) in old {
        let stored = decide(&valid(), "", 200, text).expect("stored");
        assert_eq!(
            (stored.age(NOW), stored.fresh_for(NOW)),
            (age, 600),
            "{text}"
        );
        let stored =
            decide(&valid(), "", 200, &format!("{text}\nX-Accel-Expires: 5")).expect("stored");
        assert_eq!((stored.age(NOW), stored.fresh_for(NOW)), (age, 5), "{text}");
        let text = format!("{text}\nCache-Control: max-age=2000");
        let stored = decide(&valid(), "", 200, &text).expect("stored");
        assert_eq!(stored.fresh_for(NOW), 2000 - age, "{text}");
    }
}

/// RFC 9111 section 4.2.2: a tenth of the time since the last change, a day at most, and only where a label asks for
/// it.
#[test]
fn lifetimes_are_guessed_only_where_told() {
    let policy = Policy {
        heuristic: true,
        ..Policy::default()
    };
    let changed = |seconds: i64| format!("Date: {}\nLast-Modified: {}", date(0), date(-seconds));
    assert_eq!(
        lifetime(&Policy::default(), 200, &changed(1000)),
        Err(NotStored::NoLifetime)
    );
    assert_eq!(lifetime(&policy, 200, &changed(1000)), Ok(100));
    assert_eq!(lifetime(&policy, 200, &changed(10_000_000)), Ok(86_400));
    assert_eq!(
        lifetime(&policy, 200, &changed(-5)),
        Err(NotStored::NoLifetime)
    );
    assert_eq!(
        lifetime(&policy, 302, &changed(1000)),
        Err(NotStored::NoLifetime)
    );
    assert_eq!(
        lifetime(&policy, 302, &(changed(1000) + "\nCache-Control: public")),
        Ok(100)
    );
}

/// RFC 9111 section 4.2.3.
#[test]
fn ages_are_computed() {
    let age = |text: &str, sent: i64| {
        let request = Request::read(b"GET", &head(""));
        let response = Response::read(200, &head(&format!("Cache-Control: max-age=9999\n{text}")));
        let times = Times {
            sent: NOW.saturating_add_signed(sent),
            received: NOW,
        };
        let stored = store(
            &Policy::default(),
            Bypass::default(),
            &request,
            b"/",
            &response,
            times,
        );
        stored.expect("stored").initial_age
    };
    assert_eq!(age("", 0), 0);
    assert_eq!(age("Age: 7", 0), 7);
    assert_eq!(age("Age: 7", -3), 10, "the answer took 3 seconds");
    assert_eq!(age(&format!("Date: {}", date(-20)), 0), 20);
    assert_eq!(
        age(&format!("Age: 7\nDate: {}", date(-20)), -3),
        20,
        "the greater"
    );
    assert_eq!(
        age(&format!("Date: {}", date(20)), 0),
        0,
        "a date in the future"
    );
    assert_eq!(
        age("Date: nonsense", 5),
        0,
        "the clock was set back in between"
    );
}

#[test]
fn facts_outlive_the_process() {
    let text = "Cache-Control: max-age=60, immutable, stale-if-error=7\nETag: \"a\"\nAge: 3";
    let stored = decide(&Policy::default(), "", 404, text).expect("stored");
    assert_eq!(Stored::from_bytes(&stored.to_bytes()), stored);
}
