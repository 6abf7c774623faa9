//! Looking at fields that labels name.

use super::super::fields::Fields;
use super::cookie::cookies;
use crate::model::{MatchPart, Matcher};

/// The values of a field by its name in lower case. `Host` is `authority`, which in HTTP/2 is no
/// field.
pub(crate) fn values<'a>(
    fields: Fields<'a>,
    authority: &'a str,
    name: &str,
) -> impl Iterator<Item = &'a [u8]> {
    let host = (name == "host").then_some(authority.as_bytes());
    let named = move |given: &[u8]| host.is_none() && given.eq_ignore_ascii_case(name.as_bytes());
    let fields = fields.iter().filter(move |field| named(field.name));
    host.into_iter().chain(fields.map(|field| field.value))
}

/// Whether a request meets a condition: one of several fields or cookies of that name will do.
pub(crate) fn meets(fields: Fields<'_>, authority: &str, matcher: &Matcher) -> bool {
    let fits = |value: &[u8]| {
        matcher
            .value
            .as_ref()
            .is_none_or(|glob| glob.matches(value))
    };
    match &matcher.part {
        MatchPart::Header(name) => values(fields, authority, name).any(fits),
        MatchPart::Cookie(name) => {
            cookies(fields).any(|(key, value)| name.matches(key) && fits(value))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Glob;
    use crate::proxy::head::RequestHead;

    #[test]
    fn conditions_are_met_by_any_field_or_cookie() {
        let header = |name: &str| MatchPart::Header(name.into());
        let cookie = |name: &str| MatchPart::Cookie(Glob::new(name));
        let fields = [
            ("X-Canary", "no"),
            ("x-canary", "Yes"),
            ("cookie", "wp_user=jo; beta="),
            ("host", "a.test"),
        ];
        let head = RequestHead::get("/", &fields);
        for (part, value, expected) in [
            (header("x-canary"), None, true),
            (header("x-canary"), Some("Yes"), true),
            (header("x-canary"), Some("yes"), false),
            (header("x-canary"), Some("Y*"), true),
            (header("x-other"), None, false),
            (header("host"), Some("b.test"), true),
            (cookie("beta"), None, true),
            (cookie("beta"), Some("1"), false),
            (cookie("wp_*"), Some("jo"), true),
            (cookie("Beta"), None, false),
        ] {
            let value = value.map(Glob::new);
            let matcher = Matcher { part, value };
            assert_eq!(
                meets(head.fields(), "b.test", &matcher),
                expected,
                "{matcher}"
            );
        }
    }
}
