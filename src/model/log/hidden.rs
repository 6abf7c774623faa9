//! What of queries is not in the access log.

use std::borrow::Cow;
use std::str::FromStr;

use crate::model::unescape;

/// Parameters of queries whose values are not logged: tokens, signatures, codes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum HiddenQuery {
    #[default]
    None,
    /// By name, in whatever case.
    Named(Vec<String>),
    All,
}

impl HiddenQuery {
    /// `target`, a path with its query or a URL, with `***` for what is hidden.
    pub fn hide<'a>(&self, target: &'a [u8]) -> Cow<'a, [u8]> {
        if *self == Self::None {
            return Cow::Borrowed(target);
        }
        let Some(at) = target.iter().position(|byte| *byte == b'?') else {
            return Cow::Borrowed(target);
        };
        let (path, query) = target.split_at(at + 1);
        match self.hide_args(query) {
            Cow::Borrowed(_) => Cow::Borrowed(target),
            Cow::Owned(query) => Cow::Owned([path, &query].concat()),
        }
    }

    /// The same for a query alone.
    pub fn hide_args<'a>(&self, query: &'a [u8]) -> Cow<'a, [u8]> {
        let names = match self {
            Self::None => return Cow::Borrowed(query),
            Self::All if query.is_empty() => return Cow::Borrowed(query),
            Self::All => return Cow::Owned(HIDDEN.to_vec()),
            Self::Named(names) => names,
        };
        let hidden = |pair: &[u8]| {
            let name = pair.split(|byte| *byte == b'=').next().unwrap_or(pair);
            names.iter().any(|hidden| is_named(name, hidden))
        };
        let pairs = || query.split(|byte| matches!(byte, b'&' | b';' | b'#'));
        if !pairs().any(hidden) {
            return Cow::Borrowed(query);
        }
        let mut out = Vec::with_capacity(query.len());
        let mut at = 0;
        for pair in pairs() {
            match hidden(pair) {
                true => {
                    let name = pair.iter().position(|byte| *byte == b'=');
                    out.extend_from_slice(&pair[..name.map_or(pair.len(), |at| at + 1)]);
                    if name.is_some() {
                        out.extend_from_slice(HIDDEN);
                    }
                }
                false => out.extend_from_slice(pair),
            }
            at += pair.len();
            out.extend(query.get(at));
            at += 1;
        }
        Cow::Owned(out)
    }

    /// Whether the value of a parameter is hidden.
    pub fn hides(&self, name: &str) -> bool {
        match self {
            Self::None => false,
            Self::Named(names) => names.iter().any(|hidden| hidden.eq_ignore_ascii_case(name)),
            Self::All => true,
        }
    }
}

/// As an app would read it: percent signs are decoded.
fn is_named(written: &[u8], name: &str) -> bool {
    if written.eq_ignore_ascii_case(name.as_bytes()) {
        return true;
    }
    if !written.contains(&b'%') && !written.contains(&b'+') {
        return false;
    }
    let plain = std::str::from_utf8(written).ok().and_then(unescape);
    plain.is_some_and(|plain| plain.eq_ignore_ascii_case(name.as_bytes()))
}

impl FromStr for HiddenQuery {
    type Err = String;

    /// Names separated by commas or spaces, `all`, or `none`.
    fn from_str(text: &str) -> Result<Self, String> {
        let names: Vec<_> = text
            .split([',', ' '])
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect();
        let odd = |name: &&String| name.contains(['=', '&', '?', ';', '#', '%', '+']);
        if let Some(odd) = names.iter().find(odd) {
            return Err(format!("`{odd}` is no name of a parameter"));
        }
        match &*names {
            [] => Ok(Self::None),
            [one] if one == "all" => Ok(Self::All),
            [one] if one == "none" => Ok(Self::None),
            [..] if names.len() > MAX_NAMES => Err(format!("there are at most {MAX_NAMES} names")),
            _ => Ok(Self::Named(names)),
        }
    }
}

const HIDDEN: &[u8] = b"***";
/// They are compared with each parameter of each line.
const MAX_NAMES: usize = 50;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_hidden_and_nothing_else() {
        let named: HiddenQuery = "token, code".parse().unwrap();
        for (target, shown) in [
            ("/a", "/a"),
            ("/a?", "/a?"),
            ("/a?b=token", "/a?b=token"),
            ("/a?token=1", "/a?token=***"),
            (
                "/a?x=1&TOKEN=1=2&y&code=&z=3",
                "/a?x=1&TOKEN=***&y&code=***&z=3",
            ),
            ("/a?%74oken=1&t%6Fken", "/a?%74oken=***&t%6Fken"),
            ("/a?code", "/a?code"),
            ("https://b/?code=x#token=y", "https://b/?code=***#token=***"),
            ("/a?%zz=1&tokens=2&&", "/a?%zz=1&tokens=2&&"),
        ] {
            assert_eq!(named.hide(target.as_bytes()), shown.as_bytes(), "{target}");
            let none = HiddenQuery::None.hide(target.as_bytes());
            assert_eq!(none, target.as_bytes());
        }
        assert_eq!(HiddenQuery::All.hide(b"/a?b=c&d"), &b"/a?***"[..]);
        assert_eq!(HiddenQuery::All.hide(b"/a?"), &b"/a?"[..]);
        assert!(named.hides("Code") && !named.hides("codes"));
    }

    #[test]
    fn names_are_read() {
        assert_eq!("all".parse(), Ok(HiddenQuery::All));
        assert_eq!("none".parse(), Ok(HiddenQuery::None));
        assert!("a=b".parse::<HiddenQuery>().is_err());
    }
}
