//! What is stored: RFC 9111 section 3; product row S42.

use super::super::{NOW, head};
use crate::cache::rules::policy::{Bypass, Cookies, Policy, Valid};
use crate::cache::rules::request::Refusal;
use crate::cache::rules::store::{NotStored, Times, store};
use crate::cache::rules::stored::Marks;
use crate::cache::rules::{Request, Response, Stored};

const AT_ONCE: Times = Times {
    sent: NOW,
    received: NOW,
};

pub(super) fn decide(
    policy: &Policy,
    request: &str,
    status: u16,
    response: &str,
) -> Result<Stored, NotStored> {
    let request = Request::read(b"GET", &head(request));
    let response = Response::read(status, &head(response));
    store(
        policy,
        Bypass::default(),
        &request,
        b"/",
        &response,
        AT_ONCE,
    )
}

pub(super) fn lifetime(policy: &Policy, status: u16, response: &str) -> Result<u32, NotStored> {
    let stored = decide(policy, "", status, response)?;
    Ok(stored.lifetime - stored.initial_age)
}

pub(super) fn valid() -> Policy {
    Policy {
        valid: Valid {
            by_status: vec![(200, 600), (302, 600), (404, 60), (410, 0)],
            any: Some(10),
        },
        ..Policy::default()
    }
}

/// RFC 9111 section 3.
#[test]
fn what_must_not_be_stored_is_not() {
    use NotStored::*;
    let cases = [
        (200, "Cache-Control: max-age=60", Ok(60)),
        (200, "Cache-Control: max-age=60, no-store", Err(NoStore)),
        (200, "Cache-Control: max-age=60, NO-STORE", Err(NoStore)),
        (200, "Cache-Control: max-age=60, private", Err(Private)),
        (200, "Cache-Control: max-age=60, private=\"a\"", Ok(60)),
        (200, "Cache-Control: max-age=60\nVary: *", Err(VaryAny)),
        (
            200,
            "Cache-Control: max-age=60\nSet-Cookie: a=b",
            Err(SetCookie),
        ),
        (
            206,
            "Cache-Control: max-age=60\nContent-Range: bytes 0-1/2",
            Err(Partial),
        ),
        (304, "Cache-Control: max-age=60", Err(Status)),
        (103, "Cache-Control: max-age=60", Err(Status)),
        (599, "Cache-Control: max-age=60", Ok(60)),
        (
            599,
            "Cache-Control: max-age=60, must-understand",
            Err(Status),
        ),
        (
            599,
            "Cache-Control: max-age=60, must-understand, no-store",
            Err(Status),
        ),
        (
            200,
            "Cache-Control: max-age=60, must-understand, no-store",
            Ok(60),
        ),
        (200, "", Err(NoLifetime)),
        (200, "ETag: \"a\"", Err(NoLifetime)),
        (200, "Cache-Control: public", Err(NoLifetime)),
        (200, "Cache-Control: max-age=0", Err(Stale)),
        (200, "Cache-Control: max-age=0\nETag: \"a\"", Ok(0)),
        (200, "Cache-Control: no-cache", Err(Stale)),
        (200, "Cache-Control: no-cache\nETag: \"a\"", Ok(0)),
        (
            200,
            "Cache-Control: max-age=0, stale-while-revalidate=9",
            Ok(0),
        ),
        (
            200,
            "Cache-Control: max-age=0, must-revalidate, stale-while-revalidate=9",
            Err(Stale),
        ),
        (200, "Expires: 0", Err(Stale)),
        (
            200,
            "Cache-Control: max-age=60, no-store=\"x\"",
            Err(NoStore),
        ),
    ];
    for (status, text, expected) in cases {
        assert_eq!(
            lifetime(&Policy::default(), status, text),
            expected,
            "{status} {text}"
        );
    }
}

/// RFC 9111 section 3.5.
#[test]
fn responses_to_authorization_need_leave() {
    let cases = [
        ("Cache-Control: max-age=60", Err(NotStored::Authorization)),
        ("X-Accel-Expires: 60", Err(NotStored::Authorization)),
        ("Cache-Control: max-age=60, public", Ok(true)),
        ("Cache-Control: max-age=60, must-revalidate", Ok(true)),
        ("Cache-Control: s-maxage=60", Ok(true)),
        (
            "CDN-Cache-Control: max-age=60\nCache-Control: public",
            Err(NotStored::Authorization),
        ),
        ("CDN-Cache-Control: max-age=60, public", Ok(true)),
        ("X-Accel-Expires: 60\nCache-Control: public", Ok(true)),
        (
            "X-Accel-Expires: 60\nCache-Control: public, private",
            Err(NotStored::Authorization),
        ),
    ];
    for (text, expected) in cases {
        let found = decide(&Policy::default(), "Authorization: Basic eDp5", 200, text);
        let found = found.map(|stored| stored.marks.has(Marks::FOR_AUTHORIZED));
        assert_eq!(found, expected, "{text}");
    }
    let label = decide(&valid(), "Authorization: x", 200, "");
    assert_eq!(label, Err(NotStored::Authorization));
}

#[test]
fn requests_may_keep_their_responses_out() {
    use NotStored::*;
    let cases = [
        ("", Ok(())),
        ("Cookie: a=b", Ok(())),
        ("Range: bytes=0-1", Ok(())),
        ("Content-Length: 0", Ok(())),
        ("Cache-Control: no-store", Err(RequestNoStore)),
        ("Content-Length: 3", Err(Request(Refusal::Content))),
        ("Transfer-Encoding: chunked", Err(Request(Refusal::Content))),
        (
            "X-HTTP-Method-Override: POST",
            Err(Request(Refusal::MethodOverride)),
        ),
        ("X_HTTP_Method: PUT", Err(Request(Refusal::MethodOverride))),
        ("X-HTTP-Method: PUT", Err(Request(Refusal::MethodOverride))),
        (
            "X-Method-Override: PUT",
            Err(Request(Refusal::MethodOverride)),
        ),
        ("If-Match: \"a\"", Err(Request(Refusal::Precondition))),
        (
            "If-Unmodified-Since: x",
            Err(Request(Refusal::Precondition)),
        ),
        ("Upgrade: websocket", Err(Request(Refusal::Upgrade))),
    ];
    for (text, expected) in cases {
        let found = decide(&Policy::default(), text, 200, "Cache-Control: max-age=60");
        assert_eq!(found.map(|_| ()), expected, "{text}");
    }
    for (method, expected) in [
        ("HEAD", Head),
        ("POST", Request(Refusal::Method)),
        ("get", Request(Refusal::Method)),
    ] {
        let request = crate::cache::rules::Request::read(method.as_bytes(), &head(""));
        let response = Response::read(200, &head("Cache-Control: max-age=60"));
        let found = store(
            &valid(),
            Bypass::default(),
            &request,
            b"/",
            &response,
            AT_ONCE,
        );
        assert_eq!(found, Err(expected), "{method}");
    }
    let bypass = Bypass {
        store: true,
        ..Bypass::default()
    };
    let request = crate::cache::rules::Request::read(b"GET", &head(""));
    let response = Response::read(200, &head("Cache-Control: max-age=60"));
    assert_eq!(
        store(&valid(), bypass, &request, b"/", &response, AT_ONCE),
        Err(Label)
    );
}

/// S42: what sets a cookie is not stored unless a label says so.
#[test]
fn cookies_are_refused_unless_told() {
    let text = "Cache-Control: max-age=60\nSet-Cookie: a=b";
    for (cookies, stored) in [
        (Cookies::Refuse, false),
        (Cookies::Strip, true),
        (Cookies::Keep, true),
    ] {
        let policy = Policy {
            cookies,
            ..Policy::default()
        };
        assert_eq!(
            decide(&policy, "", 200, text).is_ok(),
            stored,
            "{cookies:?}"
        );
    }
}

/// Web cache deception: a page or data under a name for something else, unless the app says itself how long it is
/// good.
#[test]
fn pages_under_names_for_something_else_are_not_stored() {
    let cases = [
        ("/account/x.css", "Content-Type: text/html", true),
        (
            "/account/x.CSS?a=b",
            "Content-Type: text/html; charset=utf-8",
            true,
        ),
        ("/account;x.js", "Content-Type: application/xhtml+xml", true),
        ("/account%2Fx.png", "X: no type", true),
        ("/account/x.png", "Content-Type: application/json", true),
        ("/data.json", "Content-Type: application/json", false),
        ("/x.css", "Content-Type: text/css", false),
        ("/account", "Content-Type: text/html", false),
        ("/x.php", "Content-Type: text/html", false),
        ("/v1.2/account", "Content-Type: text/html", false),
        ("/?x.css", "Content-Type: text/html", false),
        (
            "/x.css",
            "Content-Type: text/html\nCache-Control: max-age=60",
            false,
        ),
    ];
    for (path, text, suspected) in cases {
        let request = Request::read(b"GET", &head(""));
        let response = Response::read(200, &head(text));
        let found = store(
            &valid(),
            Bypass::default(),
            &request,
            path.as_bytes(),
            &response,
            AT_ONCE,
        );
        assert_eq!(
            found.err() == Some(NotStored::Deception),
            suspected,
            "{path} {text}"
        );
    }
}

/// An answer that the app lets nobody keep ends what was; one for a single client, and an error, do not.
#[test]
fn what_is_not_stored_may_end_what_was() {
    use NotStored::*;
    for why in [
        NoStore, Private, Accel, VaryAny, NoLifetime, Stale, Deception,
    ] {
        assert!(why.supersedes(200) && why.supersedes(404), "{why:?}");
        assert!(!why.supersedes(503), "{why:?}");
    }
    for why in [
        Request(Refusal::Content),
        Head,
        RequestNoStore,
        Label,
        Status,
        Partial,
        SetCookie,
        Authorization,
    ] {
        assert!(!why.supersedes(200), "{why:?}");
    }
}
