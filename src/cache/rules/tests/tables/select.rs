//! Which responses are for which requests, and which are no more: RFC 9111 sections 4.1 and 4.4, keys.

use super::super::head;
use crate::cache::rules::invalidate::targets;
use crate::cache::rules::key::Url;
use crate::cache::rules::lookup::{Around, Failure, Lookup, Reason, lookup, stale_after};
use crate::cache::rules::policy::Bypass;
use crate::cache::rules::request::Method;
use crate::cache::rules::stored::Marks;
use crate::cache::rules::vary::{self, MAX_VARIANTS, Place, Variant, place};
use crate::cache::rules::{Policy, Request, Response, Stored, store};

fn values(names: &str, request: &str) -> String {
    let mut out = Vec::new();
    vary::values(names.as_bytes(), &head(request), &mut out);
    String::from_utf8(out).expect("text")
}

#[test]
fn names_are_sorted_and_once_each() {
    let names = |text: &str| {
        String::from_utf8(vary::names(&Request::read(b"GET", &head("")), &head(text)))
            .expect("text")
    };
    assert_eq!(names(""), "");
    assert_eq!(names("Vary: B, a\nVary: ,A,c"), "a,b,c");
}

/// RFC 9111 section 4.1: how a value is written does not matter, what it is does.
#[test]
fn values_are_the_same_where_they_mean_the_same() {
    let same = [
        ("foo", "Foo: 1,2", "Foo: 1, 2"),
        ("foo", "Foo: 1,2", "FOO: 1\nfoo: 2"),
        ("foo", "X: y", "X: z"),
        (
            "accept-language",
            "Accept-Language: en, de;q=0.5",
            "Accept-Language: EN,de; q=0.5",
        ),
        (
            "accept-encoding",
            "Accept-Encoding: gzip, br",
            "Accept-Encoding: br;q=0.9, x-gzip;q=0.1",
        ),
        (
            "accept-encoding",
            "Accept-Encoding: gzip",
            "Accept-Encoding: gzip, identity",
        ),
        (
            "accept-encoding",
            "Accept-Encoding: gzip",
            "Accept-Encoding: gzip, br;q=0",
        ),
        (
            "accept-encoding",
            "Accept-Encoding: gzip",
            "Accept-Encoding: gzip, identity, *;q=0.000",
        ),
        (
            "accept-encoding",
            "Accept-Encoding: identity;q=0",
            "Accept-Encoding: *;q=0",
        ),
        (
            "accept-encoding",
            "Accept-Encoding:",
            "Accept-Encoding: identity",
        ),
        (
            "accept-encoding",
            "Accept-Encoding: dcz, gzip",
            "Accept-Encoding: DCZ,gzip",
        ),
    ];
    for (names, a, b) in same {
        assert_eq!(values(names, a), values(names, b), "{a} | {b}");
    }
    let different = [
        ("foo", "Foo: 1", "Foo: 2"),
        ("foo", "Foo: a", "Foo: A"),
        ("foo", "Foo:", "X: y"),
        ("foo", "Foo: -", "X: y"),
        ("bar,foo", "Foo: 1", "Bar: 1"),
        (
            "accept-language",
            "Accept-Language: en, de",
            "Accept-Language: de, en",
        ),
        (
            "accept-encoding",
            "Accept-Encoding: gzip",
            "Accept-Encoding: br",
        ),
        (
            "accept-encoding",
            "Accept-Encoding: gzip",
            "Accept-Encoding: gzip;q=0",
        ),
        (
            "accept-encoding",
            "Accept-Encoding: gzip",
            "Accept-Encoding: gzip, *;q=0",
        ),
        (
            "accept-encoding",
            "Accept-Encoding: gzip",
            "Accept-Encoding: gzip, gzip;q=0",
        ),
        (
            "accept-encoding",
            "Accept-Encoding: *",
            "Accept-Encoding: *, gzip;q=0",
        ),
        (
            "accept-encoding",
            "Accept-Encoding: gzip, dcz",
            "Accept-Encoding: gzip",
        ),
        (
            "accept-encoding",
            "Accept-Encoding: g",
            "Accept-Encoding: gzip",
        ),
        ("accept-encoding", "Accept-Encoding:", "X: y"),
    ];
    for (names, a, b) in different {
        assert_ne!(values(names, a), values(names, b), "{a} | {b}");
    }
}

/// Cache poisoning: what an app may answer by though no Vary says so.
#[test]
fn requests_with_unkeyed_fields_are_for_themselves() {
    let cases = [
        ("Host: a\nX-Forwarded-Host: b\nCookie: c", "", ""),
        ("X-Original-URL: /admin", ":", "x-original-url=/admin\n"),
        (
            "x-rewrite-url: /b\nX-HOST: c",
            ":",
            "x-host=c\nx-rewrite-url=/b\n",
        ),
        (
            "X_Original-URL: /b\nX-Original_Url: c",
            ":",
            "x-original-url=/b\nx-original-url=c\n",
        ),
    ];
    for (text, names, expected) in cases {
        let request = Request::read(b"GET", &head(text));
        assert_eq!(vary::names(&request, &head("")), names.as_bytes(), "{text}");
        assert_eq!(values(names, text), expected, "{text}");
        let names = vary::names(&request, &head("Vary: b, a"));
        assert_eq!(
            values(str::from_utf8(&names).expect("text"), text),
            format!("{expected}-\n-\n")
        );
    }
    assert_eq!(values(":", "Host: a"), "");
    assert!(vary::UNKEYED.is_sorted_by_key(|name| name.len()));
}

/// Even where a store asks for values only where there are names.
#[test]
fn what_is_for_everybody_is_not_for_unkeyed_requests() {
    let policy = Policy::default();
    let bypass = Bypass::default();
    let response = Response::read(200, &head("Cache-Control: max-age=9\nETag: \"a\""));
    let times = store::Times {
        sent: 1,
        received: 1,
    };
    let plain = Request::read(b"GET", &head(""));
    let odd = Request::read(b"GET", &head("X-Rewrite-Url: /b"));
    for (asked, by) in [(&plain, &odd), (&odd, &plain)] {
        let stored = store(&policy, bypass, by, b"/", &response, times).expect("stored");
        let Lookup::Forward(forward) = lookup(&policy, asked, Some(&stored), Around::default(), 1)
        else {
            panic!("a hit");
        };
        assert_eq!(
            (forward.reason, forward.validate),
            (Reason::VaryMiss, false)
        );
        assert_eq!(
            stale_after(&policy, asked, bypass, &stored, Failure::Error, 1),
            None
        );
        let found = lookup(&policy, by, Some(&stored), Around::default(), 1);
        assert_eq!(found, Lookup::Hit { age: 0 });
    }
}

fn stored(date: u64) -> Stored {
    let request = Request::read(b"GET", &head(""));
    let response = Response::read(200, &head("Cache-Control: max-age=9"));
    let times = store::Times {
        sent: date,
        received: date,
    };
    let policy = Policy::default();
    store(&policy, Bypass::default(), &request, b"/", &response, times).expect("stored")
}

#[test]
fn the_latest_that_is_for_a_request_is_chosen() {
    let stored = [stored(1), stored(5), stored(3), stored(9)];
    let variants = [("a", "+1\n"), ("a", "+1\n"), ("", ""), ("a", "+2\n")];
    let variants = variants
        .iter()
        .zip(&stored)
        .map(|((names, values), stored)| Variant {
            names: names.as_bytes(),
            values: values.as_bytes(),
            stored,
        });
    let select = |request: &str| {
        let fields = head(request);
        vary::select(
            variants.clone(),
            &Request::read(b"GET", &fields),
            &fields,
            &mut Vec::new(),
        )
    };
    assert_eq!(select("A: 1"), Some(1));
    assert_eq!(select("A: 2"), Some(3));
    assert_eq!(select("A: 3"), Some(2), "the one that is for all");
    assert_eq!(select("A: 3\nX-Host: b"), None);
    assert_eq!(
        vary::select(
            [].into_iter(),
            &Request::read(b"GET", &head("")),
            &head(""),
            &mut Vec::new()
        ),
        None
    );
}

#[test]
fn variants_are_bounded() {
    let all: Vec<_> = (0..MAX_VARIANTS)
        .map(|at| (format!("+{at}\n"), stored(50 - at as u64)))
        .collect();
    let of = |count| {
        all[..count].iter().map(|(values, stored)| Variant {
            names: b"a",
            values: values.as_bytes(),
            stored,
        })
    };
    assert_eq!(place(of(0), b"a", b"+x\n"), Place::New);
    assert_eq!(place(of(MAX_VARIANTS - 1), b"a", b"+x\n"), Place::New);
    assert_eq!(place(of(MAX_VARIANTS), b"a", b"+3\n"), Place::Instead(3));
    assert_eq!(
        place(of(MAX_VARIANTS), b"b", b"+3\n"),
        Place::Instead(MAX_VARIANTS - 1)
    );
    let odd = Stored {
        marks: Marks::default().with(Marks::UNKEYED, true),
        ..stored(90)
    };
    let odd = Variant {
        names: b":",
        values: b"x-host=a\n",
        stored: &odd,
    };
    let mixed: Vec<_> = of(MAX_VARIANTS - 1).chain([odd]).collect();
    let found = place(mixed.iter().copied(), b"b", b"+3\n");
    assert_eq!(found, Place::Instead(MAX_VARIANTS - 1));
    let mixed: Vec<_> = [odd].into_iter().chain(of(MAX_VARIANTS - 1)).collect();
    assert_eq!(
        place(mixed.iter().copied(), b"b", b"+3\n"),
        Place::Instead(0)
    );
}

fn key(https: bool, host: &str, target: &str) -> String {
    let mut out = Vec::new();
    let (host, target) = (host.as_bytes(), target.as_bytes());
    Url {
        https,
        host,
        target,
    }
    .write(&mut out);
    String::from_utf8(out).expect("text")
}

/// RFC 3986 section 6.2.3 for the host; what is passed on as it is is told apart as it is.
#[test]
fn keys_are_urls() {
    assert_eq!(
        key(true, "Shop.Example.", "/A?b=c"),
        "https://shop.example/A?b=c"
    );
    assert_eq!(key(true, "a:443", "/"), "https://a/");
    assert_eq!(key(false, "a:80", "/"), "http://a/");
    assert_eq!(key(true, "a:80", "/"), "https://a:80/");
    assert_eq!(key(true, "[::1]:443", "/"), "https://[::1]/");
    assert_eq!(key(true, "[::1]", "/"), "https://[::1]/");
    let apart = [
        "/%7Ea", "/~a", "/a", "/a?", "/a/", "//a", "/a?b&c", "/a?c&b", "/A",
    ];
    for (at, one) in apart.iter().enumerate() {
        for other in &apart[..at] {
            assert_ne!(key(true, "a", one), key(true, "a", other));
        }
    }
}

fn ended(method: &str, status: u16, response: &str) -> Vec<String> {
    let url = Url {
        https: true,
        host: b"a.test",
        target: b"/x/y?q=1",
    };
    let keys = targets(Method::of(method.as_bytes()), status, url, &head(response));
    keys.into_iter()
        .map(|key| String::from_utf8(key).expect("text"))
        .collect()
}

/// RFC 9111 section 4.4.
#[test]
fn unsafe_methods_end_what_is_stored() {
    for method in [
        "POST", "PUT", "DELETE", "PATCH", "M-SEARCH", "get", "WHATEVER",
    ] {
        assert_eq!(
            ended(method, 200, ""),
            ["https://a.test/x/y?q=1"],
            "{method}"
        );
        assert_eq!(ended(method, 303, "").len(), 1, "{method}");
        assert!(ended(method, 404, "").is_empty(), "{method}");
        assert!(ended(method, 500, "Location: /z").is_empty(), "{method}");
    }
    for method in ["GET", "HEAD", "OPTIONS", "TRACE", "QUERY", "PROPFIND"] {
        assert!(ended(method, 200, "Location: /z").is_empty(), "{method}");
    }
}

/// RFC 9111 section 4.4: of the same origin only; RFC 3986 section 5.4.
#[test]
fn what_locations_point_at_ends_too() {
    let cases = [
        ("/z", Some("/z")),
        ("/z?a=b#c", Some("/z?a=b")),
        ("https://a.test/z", Some("/z")),
        ("HTTPS://A.test:443/z", Some("/z")),
        ("https://a.test", Some("/")),
        ("https://a.test?q", Some("/?q")),
        ("//a.test/z", Some("/z")),
        ("z", Some("/x/z")),
        ("../z", Some("/z")),
        ("../../z", Some("/z")),
        ("./", Some("/x/")),
        ("..", Some("/")),
        ("?r=2", Some("/x/y?r=2")),
        ("/x/./y/../z", Some("/x/z")),
        ("", None),
        ("#c", None),
        ("http://a.test/z", None),
        ("https://a.test:8443/z", None),
        ("https://b.test/z", None),
        ("https://a.test@b.test/z", None),
        ("//b.test/z", None),
        ("mailto:a@b", None),
        ("https:/z", None),
    ];
    for (to, expected) in cases {
        for name in ["Location", "Content-Location"] {
            let found = ended("POST", 201, &format!("{name}: {to}"));
            let expected = expected.map(|target| format!("https://a.test{target}"));
            assert_eq!(found.get(1), expected.as_ref(), "{to}");
        }
    }
    let both = ended("POST", 201, "Location: /z\nContent-Location: /z");
    assert_eq!(both.len(), 2);
}
