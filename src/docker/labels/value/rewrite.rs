//! Values of `rewrite` and `redirect`.

use super::{Parsed, Value, items, note};
use crate::docker::labels::text::quote;
use crate::model::{PathGlob, PathPattern, Rewrite, Rule, Template, escape_path};

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
    let mut parsed = Parsed::default();
    let mut rules = Vec::new();
    for item in items(text) {
        let rule = sides(item).and_then(|(from, to)| {
            let from = from_of(from)?;
            let to = Template::path(to, from.pattern());
            let to = to.map_err(|error| format!("{}: {error}", quote(item)))?;
            Ok(Rule { from, to })
        });
        match rule {
            Ok(_) if rules.len() == MAX_RULES => {
                note(
                    &mut parsed.errors,
                    format!("there are at most {MAX_RULES} rules"),
                );
                break;
            }
            Ok(rule) => rules.push(rule),
            Err(reason) => note(&mut parsed.errors, reason),
        }
    }
    parsed.value = (!rules.is_empty()).then_some(Value::Rewrite(Rewrite::Rules(rules)));
    parsed
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
pub(super) fn sides(item: &str) -> Result<(&str, &str), String> {
    let (from, to) = item
        .split_once("->")
        .ok_or_else(|| format!("{}: a rule looks like /old/* -> /new/{{1}}", quote(item)))?;
    Ok((from.trim(), to.trim()))
}

/// A glob or a regex of paths.
pub(super) fn from_of(from: &str) -> Result<PathGlob, String> {
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

pub(super) const MAX_RULES: usize = 100;
const FORM: &str = "it looks like /base, or ^/v1/(.*)$ -> /{1}";
