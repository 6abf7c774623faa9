//! Looking at fields that labels name.

use std::borrow::Cow;
use std::net::IpAddr;

use http::Method;

use super::super::fields::Fields;
use super::cookie::cookies;
use crate::model::{Matcher, Text, unescape};

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

/// What conditions look at.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) fields: Fields<'a>,
    pub(crate) authority: &'a str,
    pub(crate) method: &'a Method,
    /// Without the `?`.
    pub(crate) query: &'a str,
    /// As `model::seen`, or another form of it that is to be judged.
    pub(crate) path: &'a str,
    pub(crate) client: IpAddr,
}

/// Whether a request meets a condition: one of several fields, cookies or arguments of that name will do.
pub(crate) fn meets(asked: Asked<'_>, matcher: &Matcher) -> bool {
    let fits = |wanted: &Option<Text>, value: &[u8]| {
        let wanted = wanted.as_ref();
        wanted.is_none_or(|text| text.matches(value))
    };
    match matcher {
        Matcher::Header(name, wanted) => {
            values(asked.fields, asked.authority, name).any(|value| fits(wanted, value))
        }
        Matcher::Cookie(name, wanted) => {
            cookies(asked.fields).any(|(key, value)| name.matches(key) && fits(wanted, value))
        }
        Matcher::Arg(name, wanted) => {
            arguments(asked.query).any(|(key, value)| name.matches(&key) && fits(wanted, &value))
        }
        Matcher::Path(glob) => glob.pattern().matches(asked.path),
        Matcher::Method(methods) => methods.iter().any(|one| one == asked.method.as_str()),
        Matcher::Ip(networks) => networks.contains(asked.client),
    }
}

/// Names and values of a query, decoded; what cannot be stays as it is.
fn arguments(query: &str) -> impl Iterator<Item = (Cow<'_, [u8]>, Cow<'_, [u8]>)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(name), decoded(value))
    })
}

fn decoded(text: &str) -> Cow<'_, [u8]> {
    match text.contains(['%', '+']) {
        true => unescape(text).map_or(Cow::Borrowed(text.as_bytes()), Cow::Owned),
        false => Cow::Borrowed(text.as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Glob, Networks, PathGlob, Pattern};
    use crate::proxy::head::RequestHead;

    #[test]
    fn conditions_are_met_by_any_field_cookie_or_argument() {
        let glob = |text: &str| Some(Text::Glob(Glob::new(text)));
        let regex = |text: &str| Some(Text::Regex(Pattern::parse(text).unwrap()));
        let header = |name: &str, value| Matcher::Header(name.into(), value);
        let cookie = |name: &str, value| Matcher::Cookie(Glob::new(name), value);
        let arg = |name: &str, value| Matcher::Arg(Glob::new(name), value);
        let path = |text: &str| Matcher::Path(PathGlob::parse(text).unwrap());
        let method = |name: &str| Matcher::Method(vec![name.into()]);
        let ip = |net: &str| Matcher::Ip(Networks::new(net, vec![net.parse().unwrap()]));
        let fields = [
            ("X-Canary", "no"),
            ("x-canary", "Yes"),
            ("cookie", "wp_user=jo; beta="),
            ("host", "a.test"),
        ];
        let head = RequestHead::get("/", &fields);
        let asked = Asked {
            fields: head.fields(),
            authority: "b.test",
            method: &Method::GET,
            query: "a=1&b=x%20y+z&c&%64=%zz",
            path: "/api/v1/x",
            client: "::ffff:10.1.2.3".parse().unwrap(),
        };
        for (matcher, expected) in [
            (header("x-canary", None), true),
            (header("x-canary", glob("Yes")), true),
            (header("x-canary", glob("yes")), false),
            (header("x-canary", glob("Y*")), true),
            (header("x-canary", regex("~*^yes$")), true),
            (header("x-canary", regex("~^yes$")), false),
            (header("x-other", None), false),
            (header("host", glob("b.test")), true),
            (cookie("beta", None), true),
            (cookie("beta", glob("1")), false),
            (cookie("wp_*", glob("jo")), true),
            (cookie("Beta", None), false),
            (arg("a", glob("1")), true),
            (arg("a", glob("2")), false),
            (arg("b", glob("x y z")), true),
            (arg("c", None), true),
            (arg("c", glob("")), true),
            (arg("d", glob("%zz")), true),
            (arg("e", None), false),
            (path("/api/**"), true),
            (path("/api/*/y"), false),
            (path("~v[0-9]"), true),
            (method("GET"), true),
            (method("HEAD"), false),
            (ip("10.0.0.0/8"), true),
            (ip("11.0.0.0/8"), false),
        ] {
            assert_eq!(meets(asked, &matcher), expected, "{matcher}");
        }
    }
}
