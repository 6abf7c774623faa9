//! What holds whatever is sent.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::NOW;
use crate::cache::rules::directives::Directives;
use crate::cache::rules::lookup::{Around, Failure, Lookup, lookup, stale_after};
use crate::cache::rules::policy::{Bypass, Cookies, Policy, Stale, Valid};
use crate::cache::rules::range::{Parts, parse};
use crate::cache::rules::request::Method;
use crate::cache::rules::store::{Times, store};
use crate::cache::rules::stored::Marks;
use crate::cache::rules::vary::{self, Variant};
use crate::cache::rules::{Request, Response, Source, Stored, Time, date, invalidate, key, tags};

type Fields = Vec<(String, Vec<u8>)>;

const DIRECTIVES: &[&str] = &[
    "max-age=60",
    "max-age=0",
    "max-age=x",
    "MAX-AGE=\"5\"",
    "s-maxage=60",
    "public",
    "must-revalidate",
    "proxy-revalidate",
    "immutable",
    "stale-while-revalidate=60",
    "stale-if-error=60",
    "no-cache",
    "no-cache=\"a\"",
    "private=\"b, c\"",
    "x=\"no-store, private\"",
    "no-transform",
];

fn policy() -> impl Strategy<Value = Policy> {
    let valid = select(vec![None, Some(0), Some(600)]);
    let cookies = select(vec![Cookies::Refuse, Cookies::Strip, Cookies::Keep]);
    let stale = select(vec![
        Stale::default(),
        Stale::never(),
        Stale {
            background: Some(60),
            ..Stale::default()
        },
    ]);
    (valid, cookies, stale, any::<bool>(), any::<bool>()).prop_map(
        |(any, cookies, stale, heuristic, wishes)| Policy {
            valid: Valid {
                any,
                ..Valid::default()
            },
            cookies,
            stale,
            heuristic,
            wishes,
            ..Policy::default()
        },
    )
}

/// A response as apps send them, without fields for this cache alone.
fn response() -> impl Strategy<Value = Fields> {
    let others = vec![
        ("ETag", "\"a\"".to_owned()),
        ("Last-Modified", super::date(-1000)),
        ("Date", super::date(-10)),
        ("Expires", super::date(100)),
        ("Expires", "0".to_owned()),
        ("Age", "7".to_owned()),
        ("Vary", "a".to_owned()),
        ("Set-Cookie", "a=b".to_owned()),
        ("Content-Type", "text/html".to_owned()),
    ];
    let others = subsequence(others, 0..5);
    let control = subsequence(DIRECTIVES.to_vec(), 0..5).prop_shuffle();
    (others, control).prop_map(|(others, control)| {
        let others = others
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.into_bytes()));
        let control = control
            .into_iter()
            .map(|one| ("Cache-Control".to_owned(), one.into()));
        others.chain(control).collect()
    })
}

fn request(text: &[(&str, &str)]) -> Request {
    Request::read(b"GET", text)
}

fn kept(policy: &Policy, request: &Request, response: &Fields) -> Option<Stored> {
    let response = Response::read(200, response);
    let times = Times {
        sent: NOW,
        received: NOW,
    };
    store(policy, Bypass::default(), request, b"/", &response, times).ok()
}

const FAILURES: [Failure; 5] = [
    Failure::Error,
    Failure::Timeout,
    Failure::Invalid,
    Failure::NoEndpoint,
    Failure::Status(503),
];

proptest! {
    /// RFC 9111 section 3: whatever else is said, in whatever order.
    #[test]
    fn no_store_and_private_are_never_stored(
        policy in policy(),
        mut response in response(),
        word in select(vec!["no-store", "private", "No-Store", "max-age=9,private", "a=\"b\", no-store"]),
        at in any::<prop::sample::Index>(),
    ) {
        response.insert(at.index(response.len() + 1), ("cache-control".into(), word.into()));
        prop_assert_eq!(kept(&policy, &request(&[]), &response), None);
    }

    /// RFC 9111 section 4.2.1: in which order things are said does not matter.
    #[test]
    fn the_order_of_directives_does_not_matter(
        lines in subsequence(DIRECTIVES.to_vec(), 0..6).prop_flat_map(|all| (Just(all.clone()).prop_shuffle(), Just(all))),
    ) {
        let read = |lines: &[&str]| {
            let (mut one, mut each) = (Directives::default(), Directives::default());
            one.add(lines.join(" , ").as_bytes());
            lines.iter().for_each(|line| each.add(line.as_bytes()));
            assert_eq!(one, each);
            one
        };
        prop_assert_eq!(read(&lines.0), read(&lines.1));
    }

    /// RFC 9111 section 3.5: kept and used for others only where the app has said so.
    #[test]
    fn authorization_needs_leave(policy in policy(), response in response(), later in 0..200_u64) {
        let says = Response::read(200, &response).cache_control;
        let leave = says.public || says.must_revalidate || says.s_maxage.is_some();
        let named = request(&[("Authorization", "x")]);
        prop_assert!(leave || kept(&policy, &named, &response).is_none());
        if let Some(stored) = kept(&policy, &request(&[]), &response) {
            let found = lookup(&policy, &named, Some(&stored), Around::default(), NOW + later);
            prop_assert!(leave || matches!(found, Lookup::Forward(_)));
            for failure in FAILURES {
                let instead = stale_after(&policy, &named, Bypass::default(), &stored, failure, NOW + later);
                prop_assert!(leave || instead.is_none());
            }
        }
    }

    /// RFC 9111 section 4.2.4: what the app forbids, no label allows.
    #[test]
    fn what_must_be_asked_about_is_never_sent_stale(
        policy in policy(),
        response in response(),
        later in 0..500_u64,
        flight in any::<bool>(),
        wish in select(vec!["", "max-stale", "max-stale=1000"]),
    ) {
        let Some(stored) = kept(&policy, &request(&[]), &response) else {
            return Ok(());
        };
        let says = Response::read(200, &response).directives;
        let forbidden = says.must_revalidate || says.proxy_revalidate || says.no_cache
            || (says.s_maxage.is_some() && says.stale_while_revalidate.is_none() && says.stale_if_error.is_none());
        let request = request(&[("Cache-Control", wish)]);
        let around = Around { flight, ..Around::default() };
        let now = NOW + later;
        let found = lookup(&policy, &request, Some(&stored), around, now);
        match found {
            Lookup::Hit { age } => prop_assert!(age < stored.lifetime && !says.no_cache),
            Lookup::Stale { .. } => prop_assert!(!forbidden && !stored.is_fresh(now)),
            Lookup::Forward(_) | Lookup::OnlyIfCached => {}
        }
        for failure in FAILURES {
            let instead = stale_after(&policy, &request, Bypass::default(), &stored, failure, now);
            prop_assert!(instead.is_none() || !forbidden || (stored.is_fresh(now) && !says.no_cache));
        }
    }

    /// hardening.md: whatever the clocks do.
    #[test]
    fn ages_stay_in_bounds(
        sent in clock(),
        received in clock(),
        now in clock(),
        date in NOW - 1_000_000..NOW + 1_000_000,
        age in prop_oneof![0..1000_u64, any::<u64>()],
    ) {
        let date = httpdate::fmt_http_date(std::time::UNIX_EPOCH + std::time::Duration::from_secs(date));
        let response = [("Date", date), ("Age", age.to_string()), ("X-Accel-Expires", "60".to_owned())];
        let response = Response::read(200, response.as_slice());
        let times = Times { sent, received };
        let found = store(&Policy::default(), Bypass::default(), &request(&[]), b"/", &response, times);
        // Older than can be told: stale, whatever says how long it is good.
        let Ok(stored) = found else {
            return Ok(());
        };
        prop_assert!(stored.age(now) >= stored.initial_age);
        prop_assert!(stored.age(now) <= 1 << 31);
        prop_assert_eq!(stored.is_fresh(now), stored.fresh_for(now) > 0);
        prop_assert!(!stored.is_fresh(now) || now <= received.saturating_add(60));
        prop_assert!(!stored.is_fresh(now) || stored.stale_for(now) == 0);
        prop_assert_eq!(Stored::from_bytes(&stored.to_bytes()), stored);
    }

    /// RFC 9111 section 4.1, as it is written.
    #[test]
    fn selection_is_what_the_rfc_says(
        made in vec((subsequence(vec!["a", "b"], 0..=2), vec(select(vec!["", "1", "2"]), 2), 0..3_u64), 0..8),
        asked in vec(select(vec!["", "1", "2"]), 2),
    ) {
        let head = |values: &[&str]| -> Vec<(String, String)> {
            let fields = ["a", "b"].iter().zip(values).filter(|(_, value)| !value.is_empty());
            fields.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let entries: Vec<_> = made.iter().map(|(vary, had, date)| {
            let names = vary::names(&request(&[]), &[("Vary", vary.join(", "))][..]);
            let mut values = Vec::new();
            vary::values(&names, &head(had), &mut values);
            (names, values, Stored { date: *date, ..fresh() })
        }).collect();
        let variants = entries.iter().map(|(names, values, stored)| Variant { names, values, stored });
        let found = vary::select(variants, &request(&[]), &head(&asked), &mut Vec::new());
        let fits = |(vary, had, _): &&(Vec<&str>, Vec<&str>, u64)| {
            (!vary.contains(&"a") || had[0] == asked[0]) && (!vary.contains(&"b") || had[1] == asked[1])
        };
        let best = made.iter().filter(fits).map(|(.., date)| *date).max();
        prop_assert_eq!(found.map(|at| made[at].2), best);
        prop_assert!(found.is_none_or(|at| fits(&&made[at])));
    }

    /// Requests that are taken for the same accept the same codings.
    #[test]
    fn same_accept_encodings_accept_the_same(a in codings(), b in codings()) {
        let key = |text: &Option<String>| {
            let head: Vec<_> = text.iter().map(|text| ("Accept-Encoding", text)).collect();
            let mut out = Vec::new();
            vary::values(b"accept-encoding", &head, &mut out);
            out
        };
        if key(&a) == key(&b) {
            for coding in ["gzip", "br", "zstd", "deflate", "identity", "dcb"] {
                prop_assert_eq!(accepts(&a, coding), accepts(&b, coding), "{:?} {:?} {}", &a, &b, coding);
            }
        }
    }

    #[test]
    fn parts_are_within_the_body(value in "bytes=[0-9,\\- ]{0,20}", length in 0..30_u64) {
        let parts = match parse(value.as_bytes(), length) {
            Parts::Whole | Parts::Unsatisfiable => Vec::new(),
            Parts::One(part) => vec![part],
            Parts::Several(parts) => parts,
        };
        prop_assert!(parts.iter().all(|part| part.first <= part.last && part.last < length));
        prop_assert!(parts.iter().map(|part| part.size()).sum::<u64>() <= length);
    }

    /// Bytes become answers, never panics.
    #[test]
    fn nothing_panics(value in any_value(), name in select(NAMES.to_vec()), target in any_value()) {
        let head = vec![(name, value.as_slice()), ("Cache-Control", b"max-age=9")];
        let request = Request::read(b"GET", &head);
        let response = Response::read(200, &head);
        let times = Times { sent: NOW, received: NOW };
        let policy = Policy { heuristic: true, ..Policy::default() };
        _ = store(&policy, Bypass::default(), &request, &target, &response, times);
        _ = date::parse(&value);
        _ = parse(&value, 10);
        prop_assert!(tags::tags(&head).count() <= tags::MAX_TAGS);
        let url = key::Url { https: true, host: &value, target: &target };
        for key in invalidate::targets(Method::Unsafe, 200, url, &head) {
            prop_assert!(key.starts_with(b"https://"));
        }
        let names = vary::names(&request, &head);
        vary::values(&names, &head, &mut Vec::new());
        prop_assert_eq!(head.values(name.as_bytes()).count(), 1 + usize::from(name == "Cache-Control"));
    }
}

const NAMES: &[&str] = &[
    "Cache-Control",
    "CDN-Cache-Control",
    "Surrogate-Control",
    "Vary",
    "Accept-Encoding",
    "Range",
    "Location",
    "Content-Location",
    "Age",
    "Date",
    "Expires",
    "X-Accel-Expires",
    "Cache-Tag",
    "Surrogate-Key",
    "Content-Type",
    "Last-Modified",
    "Pragma",
];

/// Bytes with much of what parsers look for.
fn any_value() -> impl Strategy<Value = Vec<u8>> {
    let bytes = b"\",;=\\()*?:@-./#%[]09azAZ q \t\xff".to_vec();
    prop_oneof![vec(select(bytes), 0..24), vec(any::<u8>(), 0..48)]
}

fn clock() -> impl Strategy<Value = Time> {
    prop_oneof![8 => NOW - 200..NOW + 200, 1 => NOW - 9_000_000..NOW + 9_000_000, 1 => any::<Time>()]
}

fn fresh() -> Stored {
    Stored {
        status: 200,
        received: NOW,
        date: NOW,
        initial_age: 0,
        lifetime: 60,
        while_revalidate: 0,
        if_error: 0,
        marks: Marks::default(),
    }
}

/// An Accept-Encoding, or none.
fn codings() -> impl Strategy<Value = Option<String>> {
    let names = subsequence(
        vec!["gzip", "br", "zstd", "deflate", "identity", "*", "dcb"],
        0..4,
    )
    .prop_shuffle();
    let weights = vec(select(vec!["", ";q=0", "; q=0.5", ";q=0.000", ";q=1"]), 4);
    let list = (names, weights).prop_map(|(names, weights)| {
        let members = names
            .iter()
            .zip(weights)
            .map(|(name, weight)| format!("{name}{weight}"));
        members.collect::<Vec<_>>().join(", ")
    });
    prop::option::weighted(0.9, list)
}

/// RFC 9110 section 12.5.3, word for word.
fn accepts(list: &Option<String>, coding: &str) -> bool {
    let Some(list) = list else {
        return true;
    };
    let weight = |name: &str| {
        let mut members = list
            .split(", ")
            .map(|member| member.split_once(';').unwrap_or((member, "q=1")));
        let found = members.find(|(other, _)| *other == name);
        found.map(|(_, weight)| !["q=0", "q=0.000"].contains(&weight.trim()))
    };
    weight(coding)
        .or_else(|| weight("*"))
        .unwrap_or(coding == "identity")
}
