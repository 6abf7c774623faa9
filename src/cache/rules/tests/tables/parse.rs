//! What fields say: RFC 9111 sections 4.2.1 and 5, RFC 9213, RFC 9110 section 5.6.7.

use super::super::{NOW, head};
use crate::cache::rules::directives::{Directives, Wishes, named_fields};
use crate::cache::rules::response::{Accel, Target, Varies};
use crate::cache::rules::tags::tags;
use crate::cache::rules::{Request, Response, date, targeted};

fn response(text: &str) -> Response {
    Response::read(200, &head(text))
}

/// RFC 9111 section 4.2.1: of several the smallest; what cannot be read is 0. Section 1.2.2: too large is 2^31.
#[test]
fn max_age_is_read_strictly() {
    let cases = [
        ("max-age=60", Some(60)),
        ("MAX-AGE=60", Some(60)),
        ("max-age=\"60\"", Some(60)),
        ("max-age=0060", Some(60)),
        ("max-age=60, max-age=5", Some(5)),
        ("max-age=5, max-age=60", Some(5)),
        ("max-age=5, max-age=x", Some(0)),
        ("max-age", Some(0)),
        ("max-age=", Some(0)),
        ("max-age=-1", Some(0)),
        ("max-age=+1", Some(0)),
        ("max-age=1.5", Some(0)),
        ("max-age='60'", Some(0)),
        ("max-age =60", Some(0)),
        ("max-age= 60", Some(0)),
        ("max-age=60 s", Some(0)),
        ("max-age=\"60", Some(0)),
        ("max-age=2147483647", Some(2_147_483_647)),
        ("max-age=2147483649", Some(2_147_483_648)),
        ("max-age=99999999999999999999999", Some(2_147_483_648)),
        ("x=\"max-age=60\"", None),
        ("x=\"a\\\", max-age=60\"", None),
        ("x-max-age=60", None),
        ("", None),
        (", ,", None),
    ];
    for (line, expected) in cases {
        let mut found = Directives::default();
        found.add(line.as_bytes());
        assert_eq!(found.max_age, expected, "{line}");
    }
}

#[test]
fn a_quote_that_nobody_closes_hides_nothing() {
    let says = response("Cache-Control: x=\"open, no-store").directives;
    assert!(says.no_store);
}

#[test]
fn directives_may_be_on_several_lines() {
    let says = response("Cache-Control: public\ncache-control: s-maxage=9, immutable").directives;
    let expected = Directives {
        public: true,
        s_maxage: Some(9),
        immutable: true,
        ..Directives::default()
    };
    assert_eq!(says, expected);
}

/// RFC 9111 sections 5.2.2.4 and 5.2.2.7: only a quoted list of names narrows no-cache and private down to fields.
#[test]
fn fields_are_named_by_quoted_lists_only() {
    let cases: &[(&str, bool, bool, &[&str])] = &[
        ("private", true, false, &[]),
        ("private=\"a\"", false, true, &["a"]),
        ("private=\"a, b\", max-age=3", false, true, &["a", "b"]),
        ("no-cache=\"Set-Cookie\"", false, true, &["Set-Cookie"]),
        ("private=a", true, false, &[]),
        ("private=\"\"", true, false, &[]),
        ("private=\"a b\"", true, false, &[]),
        ("private=\"a\", private", true, true, &["a"]),
        ("private=\"a", true, false, &[]),
    ];
    for (line, private, names, fields) in cases {
        let mut found = Directives::default();
        found.add(line.as_bytes());
        assert_eq!(
            (found.private, found.names_fields),
            (*private, *names),
            "{line}"
        );
        let found: Vec<_> = named_fields(line.as_bytes()).collect();
        let fields: Vec<_> = fields.iter().map(|name| name.as_bytes()).collect();
        assert_eq!(found, fields, "{line}");
    }
}

/// RFC 9111 section 5.2.1: what cannot be read is not there.
#[test]
fn wishes_of_clients_are_read() {
    let wishes = |text: &str| Request::read(b"GET", &head(text)).wishes;
    let none = Wishes::default();
    let cases = [
        (
            "Cache-Control: no-cache",
            Wishes {
                no_cache: true,
                ..none
            },
        ),
        (
            "Cache-Control: no-store",
            Wishes {
                no_store: true,
                ..none
            },
        ),
        (
            "Cache-Control: only-if-cached",
            Wishes {
                only_if_cached: true,
                ..none
            },
        ),
        (
            "Cache-Control: max-age=0, max-age=9",
            Wishes {
                max_age: Some(0),
                ..none
            },
        ),
        ("Cache-Control: max-age=x", none),
        (
            "Cache-Control: min-fresh=3, min-fresh=7",
            Wishes {
                min_fresh: Some(7),
                ..none
            },
        ),
        (
            "Cache-Control: max-stale",
            Wishes {
                max_stale: Some(u32::MAX),
                ..none
            },
        ),
        (
            "Cache-Control: max-stale=5",
            Wishes {
                max_stale: Some(5),
                ..none
            },
        ),
        ("Cache-Control: max-stale=x", none),
        ("Cache-Control: whatever", none),
        (
            "Pragma: no-cache",
            Wishes {
                no_cache: true,
                ..none
            },
        ),
        (
            "Pragma: x, No-Cache",
            Wishes {
                no_cache: true,
                ..none
            },
        ),
        ("Pragma: no-cache\nCache-Control: whatever", none),
        ("Pragma: x", none),
    ];
    for (text, expected) in cases {
        assert_eq!(wishes(text), expected, "{text}");
    }
}

/// RFC 9213 section 2.1: no valid dictionary, no field; a value of another type than it should have, no directive.
#[test]
fn targeted_fields_are_dictionaries() {
    let none = Directives::default();
    let ten = Directives {
        max_age: Some(10),
        ..none
    };
    let cases = [
        (&["max-age=10"][..], Some(ten)),
        (
            &["max-age=10;x=\"y\";z, a=(1 \"2\" c;d);e, b=?0, c=:aGk=:, d=1.5, e=@7"],
            Some(ten),
        ),
        (&["max-age=1", "max-age=10"], Some(ten)),
        (&["max-age=1 ,\tmax-age=10"], Some(ten)),
        (
            &["max-age=99999999999"],
            Some(Directives {
                max_age: Some(1 << 31),
                ..none
            }),
        ),
        (&["max-age=\"10\""], Some(none)),
        (&["max-age=10.0"], Some(none)),
        (&["max-age=-1"], Some(none)),
        (
            &["no-store, no-cache=?0"],
            Some(Directives {
                no_store: true,
                ..none
            }),
        ),
        (
            &["private=\"a\""],
            Some(Directives {
                private: true,
                ..none
            }),
        ),
        (&[""], None),
        (&[], None),
        (&["max-age=10,"], None),
        (&["max-age=10 public"], None),
        (&["max-age=10, &&&"], None),
        (&["Max-Age=10"], None),
        (&["max-age = 10"], None),
        (&["max-age=1234567890123456"], None),
        (&["a=\"open"], None),
        (&["a=(1 2"], None),
        (&["a=1.2345"], None),
        (&["a=?2"], None),
        (&["a=:open"], None),
    ];
    for (lines, expected) in cases {
        let found = targeted::parse(lines.iter().map(|line| line.as_bytes()));
        assert_eq!(found, expected, "{lines:?}");
    }
}

/// RFC 9213 section 2.2: the first of the list that is there and can be read counts, and nothing beside it.
#[test]
fn the_first_targeted_field_counts() {
    let cases = [
        (
            "Surrogate-Control: max-age=1\nCDN-Cache-Control: max-age=2",
            Some(Target::SurrogateControl),
            1,
        ),
        (
            "Surrogate-Control: content=\"ESI/1.0\"\nCDN-Cache-Control: max-age=2",
            Some(Target::CdnCacheControl),
            2,
        ),
        (
            "CDN-Cache-Control: max-age=2",
            Some(Target::CdnCacheControl),
            2,
        ),
        ("CDN-Cache-Control: max-age=2,,", None, 3),
        ("X: y", None, 3),
    ];
    for (text, target, age) in cases {
        let found = response(&format!("{text}\nCache-Control: max-age=3"));
        assert_eq!(
            (found.targeted, found.directives.max_age),
            (target, Some(age)),
            "{text}"
        );
        assert_eq!(found.cache_control.max_age, Some(3));
    }
    let both = response("Surrogate-Control: max-age=600+30").directives;
    assert_eq!(
        (both.max_age, both.stale_while_revalidate),
        (Some(600), Some(30))
    );
}

/// nginx: what cannot be read is not there.
#[test]
fn x_accel_expires_is_read() {
    let cases = [
        ("60", Some(Accel::For(60))),
        ("0", Some(Accel::For(0))),
        ("@1800000060", Some(Accel::Until(NOW + 60))),
        ("@0", Some(Accel::Until(0))),
        ("off", None),
        ("-1", None),
        ("@", None),
    ];
    for (value, expected) in cases {
        assert_eq!(
            response(&format!("X-Accel-Expires: {value}")).accel,
            expected,
            "{value}"
        );
    }
}

/// RFC 9111 section 5.1: the first member of the first line; what cannot be read is not there.
#[test]
fn age_is_read() {
    let cases = [
        ("Age: 7", 7),
        ("Age: 7, 0", 7),
        ("Age: 7\nAge: 9", 7),
        ("Age: 7;x=y", 7),
        ("Age: 99999999999", 1 << 31),
        ("Age: -7", 0),
        ("Age: 7.5", 0),
        ("Age: x\nAge: 9", 0),
    ];
    for (text, expected) in cases {
        assert_eq!(response(text).age, expected, "{text}");
    }
}

/// RFC 9110 section 5.6.7; RFC 9111 section 4.2: any case, no zone but GMT.
#[test]
fn dates_are_read() {
    let at = Some(784_111_777);
    let cases = [
        ("Sun, 06 Nov 1994 08:49:37 GMT", at),
        ("Sunday, 06-Nov-94 08:49:37 GMT", at),
        ("Sun Nov  6 08:49:37 1994", at),
        ("SUN, 06 NOV 1994 08:49:37 gmt", at),
        ("Sun, 06 Nov 1994 08:49:37 UTC", None),
        ("Mon, 06 Nov 1994 08:49:37 GMT", None),
        ("Sun, 06 Nov 1994 8:49:37 GMT", None),
        ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
        ("Wed, 31 Dec 1969 23:59:59 GMT", None),
        ("0", None),
        ("", None),
        (
            "Sun, 06 Nov 1994 08:49:37 GMT and more than any date has",
            None,
        ),
        ("Sun, 06 Nov 1994 08:49:37 G\u{fc}T", None),
    ];
    for (text, expected) in cases {
        assert_eq!(date::parse(text.as_bytes()), expected, "{text}");
    }
}

/// RFC 9110 section 12.5.5.
#[test]
fn vary_is_counted() {
    let many = "Vary: ".to_owned() + &["a"; 17].join(",");
    let long = "Vary: ".to_owned() + &"a".repeat(513);
    let cases = [
        ("X: y", Varies::No),
        ("Vary:", Varies::No),
        ("Vary: a", Varies::By),
        ("Vary: *", Varies::Always),
        ("Vary: a\nVary: *", Varies::Always),
        ("Vary: *\nVary: a", Varies::Always),
        ("Vary: a b", Varies::Always),
        (&many, Varies::Always),
        (&long, Varies::Always),
    ];
    for (text, expected) in cases {
        assert_eq!(response(text).vary, expected, "{text}");
    }
}

#[test]
fn tags_are_read() {
    let fields = head("Cache-Tag: a, B c,,\nSurrogate-Key: d  e");
    let found: Vec<_> = tags(&fields)
        .map(|tag| str::from_utf8(tag).expect("ASCII"))
        .collect();
    assert_eq!(found, ["a", "B c", "d", "e"]);
    let (many, long) = (vec!["x"; 100].join(","), "y".repeat(257));
    let fields = [("cache-tag", many), ("cache-tag", long)];
    assert_eq!(tags(fields.as_slice()).count(), 64);
    assert_eq!(tags([("cache-tag", "y".repeat(257))].as_slice()).count(), 0);
}
