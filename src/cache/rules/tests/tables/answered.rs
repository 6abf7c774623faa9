//! What a client gets of what is stored: RFC 9111 section 4.3.2, RFC 9110 sections 13 and 14; product row S50.

use super::super::{NOW, date, head};
use super::used::stored;
use crate::cache::rules::Request;
use crate::cache::rules::conditional::{Answer, answer};
use crate::cache::rules::key::Url;
use crate::cache::rules::lookup::{Around, Lookup, lookup};
use crate::cache::rules::policy::Policy;
use crate::cache::rules::range::{Part, Parts, parse};
use crate::cache::rules::vary::{Variant, select};

fn get(request: &str, status: u16, response: &str) -> Answer {
    let fields = head(request);
    let request = Request::read(b"GET", &fields);
    answer(&request, &fields, (status, NOW), &head(response), Some(100))
}

/// RFC 9111 section 4.3.2, RFC 9110 sections 13.1.2, 13.1.3 and 13.2.
#[test]
fn clients_hear_that_they_have_it() {
    let earlier = date(-3000);
    let tag = "ETag: \"a\"".to_owned();
    let changed = format!("Last-Modified: {earlier}");
    let since = |seconds| format!("If-Modified-Since: {}", date(seconds));
    let both = format!("If-None-Match: \"b\"\n{}", since(0));
    let cases = [
        ("If-None-Match: \"a\"", 200, &tag, true),
        ("If-None-Match: W/\"a\"", 200, &tag, true),
        ("If-None-Match: \"b\", \"a\"", 200, &tag, true),
        (
            "If-None-Match: \"b\"\nIf-None-Match: \"a\"",
            200,
            &tag,
            true,
        ),
        ("If-None-Match: *", 200, &tag, true),
        ("If-None-Match: \"b\"", 200, &tag, false),
        ("If-None-Match: \"b,\\\"a\"", 200, &tag, false),
        ("If-None-Match: \"a\"", 200, &changed, false),
        ("If-None-Match: \"a\"", 404, &tag, false),
        ("If-None-Match: \"a\"\nRange: bytes=0-1", 200, &tag, true),
        (&since(-3000), 200, &changed, true),
        (&since(-2999), 200, &changed, true),
        (&since(-3001), 200, &changed, false),
        (&since(-1), 200, &tag, false),
        (&since(0), 200, &tag, true),
        ("If-Modified-Since: nonsense", 200, &changed, false),
        (&both, 200, &changed, false),
    ];
    for (request, status, response, expected) in cases {
        let found = get(request, status, response) == Answer::NotModified;
        assert_eq!(found, expected, "{request} {response}");
    }
}

/// RFC 9110 sections 13.1.5 and 14.2; S50.
#[test]
fn parts_are_sent_of_what_is_whole() {
    let part = |first, last| Answer::Part(Part { first, last });
    let changed = format!("Last-Modified: {}\nDate: {}", date(-3000), date(0));
    let now = format!("Last-Modified: {}\nDate: {}", date(0), date(0));
    let if_range = |seconds| format!("Range: bytes=1-2\nIf-Range: {}", date(seconds));
    let cases = [
        ("Range: bytes=1-2", 200, "", part(1, 2)),
        (
            "Range: bytes=1-2\nIf-Range: \"a\"",
            200,
            "ETag: \"a\"",
            part(1, 2),
        ),
        (
            "Range: bytes=1-2\nIf-Range: \"b\"",
            200,
            "ETag: \"a\"",
            Answer::Whole,
        ),
        (
            "Range: bytes=1-2\nIf-Range: W/\"a\"",
            200,
            "ETag: W/\"a\"",
            Answer::Whole,
        ),
        (&if_range(-3000), 200, &changed, part(1, 2)),
        (&if_range(-2999), 200, &changed, Answer::Whole),
        (&if_range(0), 200, &now, Answer::Whole),
        ("Range: bytes=1-2", 404, "", Answer::Whole),
        ("Range: bytes=1-2", 203, "", Answer::Whole),
        ("Range: bytes=100-", 200, "", Answer::Unsatisfiable),
        ("Range: bytes=1-2\nRange: bytes=3-4", 200, "", Answer::Whole),
    ];
    for (request, status, response, expected) in cases {
        assert_eq!(
            get(request, status, response),
            expected,
            "{request} {response}"
        );
    }
    let fields = head("Range: bytes=1-2");
    let request = Request::read(b"HEAD", &fields);
    assert_eq!(
        answer(&request, &fields, (200, NOW), &head(""), Some(100)),
        Answer::Whole
    );
    let request = Request::read(b"GET", &fields);
    assert_eq!(
        answer(&request, &fields, (200, NOW), &head(""), None),
        Answer::Whole
    );
}

#[test]
fn ranges_are_read() {
    let one = |first, last| Parts::One(Part { first, last });
    let two = Parts::Several(vec![Part { first: 0, last: 0 }, Part { first: 9, last: 9 }]);
    let many = vec!["0-0"; 17].join(",");
    let cases = [
        ("bytes=0-0", one(0, 0)),
        ("bytes=0-", one(0, 9)),
        ("bytes=3-99", one(3, 9)),
        ("bytes=-3", one(7, 9)),
        ("bytes=-99", one(0, 9)),
        ("BYTES=1-2", one(1, 2)),
        ("bytes= 1-2 ,", one(1, 2)),
        ("bytes=0-0, 9-9", two.clone()),
        ("bytes=0-0, 20-, -1", two),
        ("bytes=0-6, 3-9", Parts::Whole),
        ("bytes=10-", Parts::Unsatisfiable),
        ("bytes=-0", Parts::Unsatisfiable),
        ("bytes=99999999999999999999-", Parts::Unsatisfiable),
        ("bytes=5-4", Parts::Whole),
        ("bytes=", Parts::Whole),
        ("bytes=x", Parts::Whole),
        ("bytes=1-2-3", Parts::Whole),
        ("bytes=1-2, x", Parts::Whole),
        ("bytes", Parts::Whole),
        ("lines=1-2", Parts::Whole),
        (&format!("bytes={many}"), Parts::Whole),
    ];
    for (value, expected) in cases {
        assert_eq!(parse(value.as_bytes(), 10), expected, "{value}");
    }
    assert_eq!(parse(b"bytes=0-", 0), Parts::Unsatisfiable);
    assert_eq!(parse(b"bytes=-1", 0), Parts::Unsatisfiable);
}

/// What happens for every request that is answered from the cache.
#[test]
fn a_hit_allocates_nothing() {
    let policy = Policy::default();
    let client =
        head("Host: a\nAccept-Encoding: gzip, br\nCookie: a=b\nIf-None-Match: \"b\", \"a\"");
    let kept = head("ETag: \"a\"\nCache-Control: max-age=60\nVary: Accept-Encoding");
    let (mut room, mut key) = (Vec::with_capacity(256), Vec::with_capacity(256));
    let stored = stored("ETag: \"a\"\nCache-Control: max-age=60\nVary: Accept-Encoding");
    let allocated = allocation_counter::measure(|| {
        let url = Url {
            https: true,
            host: b"a",
            target: b"/",
        };
        url.write(&mut key);
        let request = Request::read(b"GET", &client);
        let variant = Variant {
            names: b"accept-encoding",
            values: b"=gb\n",
            stored: &stored,
        };
        let found = select([variant].into_iter(), &request, &client, &mut room);
        assert_eq!(found, Some(0));
        let found = lookup(&policy, &request, Some(&stored), Around::default(), NOW);
        assert_eq!(found, Lookup::Hit { age: 0 });
        let found = answer(&request, &client, (200, NOW), &kept, Some(9));
        assert_eq!(found, Answer::NotModified);
    });
    assert_eq!(allocated.count_total, 0);
}
