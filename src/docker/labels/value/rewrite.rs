//! Values of `rewrite` and `redirect`.

use super::{Parsed, Value, items, note, number};
use crate::docker::labels::text::quote;
use crate::model::{PathGlob, PathPattern, Redirect, Rewrite, Rule, Template, escape_path};

/// `/base`, or rules `pattern -> /path` in a list.
pub(super) fn rewrite(text: &str) -> Parsed {
    if !text.contains("->") {
        return match base(text) {
            Ok(base) => Parsed {
                value: Some(Value::Rewrite(Rewrite::Base(base))),
                ..Parsed::default()
            },
            Err(reason) => Parsed {
                errors: vec![reason],
                ..Parsed::default()
            },
        };
    }
    let (rules, mut parsed) = list(text, |from, to| {
        let to = Template::path(to, from.pattern()).map_err(|error| error.to_string())?;
        Ok(Rule { from, to })
    });
    parsed.value = (!rules.is_empty()).then_some(Value::Rewrite(Rewrite::Rules(rules)));
    parsed
}

/// Rules `pattern -> path or address`, perhaps with a status, in a list.
pub(super) fn redirects(text: &str) -> Parsed {
    let (redirects, mut parsed) = list(text, |from, to| {
        let mut words = to.split_whitespace();
        let (to, status) = (words.next().unwrap_or(""), words.next());
        let status = status.map(status_of).transpose()?;
        if words.next().is_some() {
            return Err("behind the address there is at most a status".to_owned());
        }
        let to = Template::address(to, from.pattern()).map_err(|error| error.to_string())?;
        Ok(Redirect { from, to, status })
    });
    if redirects.is_empty() && parsed.errors.is_empty() {
        parsed.errors.push(REDIRECT_FORM.to_owned());
    }
    parsed.value = (!redirects.is_empty()).then_some(Value::Redirects(redirects));
    parsed
}

fn status_of(text: &str) -> Result<u16, String> {
    let status = number::<u16>(text).filter(|status| Redirect::STATUSES.contains(status));
    status.ok_or_else(|| format!("{}: a redirect is 301, 302, 303, 307 or 308", quote(text)))
}

/// The rules of a list, each made of its sides by `rule`.
fn list<T>(text: &str, rule: impl Fn(PathGlob, &str) -> Result<T, String>) -> (Vec<T>, Parsed) {
    let mut parsed = Parsed::default();
    let mut rules = Vec::new();
    for item in items(text) {
        let made = sides(item).and_then(|(from, to)| {
            let made = rule(from_of(from)?, to);
            made.map_err(|error| format!("{}: {error}", quote(item)))
        });
        match made {
            Ok(_) if rules.len() == MAX_RULES => {
                note(
                    &mut parsed.errors,
                    format!("there are at most {MAX_RULES} rules"),
                );
                break;
            }
            Ok(made) => rules.push(made),
            Err(reason) => note(&mut parsed.errors, reason),
        }
    }
    (rules, parsed)
}

/// A prefix to put in place of the route's.
fn base(text: &str) -> Result<Box<str>, String> {
    match PathPattern::parse(text) {
        Ok(PathPattern::Prefix(prefix)) => {
            let prefix = escape_path(&prefix);
            Ok(prefix.strip_suffix('/').unwrap_or(&prefix).into())
        }
        Ok(_) => Err(FORM.to_owned()),
        Err(error) => Err(format!("{error}; {FORM}")),
    }
}

/// The two sides of a rule.
fn sides(item: &str) -> Result<(&str, &str), String> {
    let (from, to) = item
        .split_once("->")
        .ok_or_else(|| format!("{}: a rule looks like /old/* -> /new/{{1}}", quote(item)))?;
    Ok((from.trim(), to.trim()))
}

/// A glob or a regex of paths.
fn from_of(from: &str) -> Result<PathGlob, String> {
    if !from.starts_with(['/', '~', '^']) {
        return Err(format!(
            "{}: it begins with `/`, or with `~` or `^` as a regex",
            quote(from)
        ));
    }
    if from.len() > PathPattern::LONGEST
        || (from.starts_with('/') && from.contains(['%', '?', '#']))
    {
        return Err(format!(
            "{}: a path without a query, with the characters that are meant for their escapes",
            quote(from)
        ));
    }
    PathGlob::parse(from).map_err(|error| format!("{}: {error}", quote(from)))
}

const MAX_RULES: usize = 100;
const REDIRECT_FORM: &str = "it looks like /old/* -> /new/{1} 301";
const FORM: &str = "it looks like /base, or ^/v1/(.*)$ -> /{1}";
