//! Label keys -> route name and option, and the guesses at what a wrong one meant.

use super::schema::{self, Entry};
use super::text::quote;
use crate::model::LabelPrefix;

/// A label key under `wharf.`, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Key {
    /// `None` is the default route. Lower case, see [`is_route_name`].
    pub(super) route: Option<String>,
    /// Whether the route was named by `wharf.routes.`, which no typo of an option looks like.
    pub(super) long: bool,
    /// In normal form: lower case, `_`, words joined by `.`. Not looked up yet.
    pub(super) option: String,
}

/// Why a key is none.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct KeyError {
    pub(super) reason: String,
    /// Whether the default route pays: the label may have been one of its options, misspelt. If
    /// not, it can only have been meant for a route that does not come to be, or for no route.
    pub(super) costs_default: bool,
}

/// Takes a label apart; `None` if it is not Wharf's.
pub(super) fn split(label: &str, prefix: &LabelPrefix) -> Option<Result<Key, KeyError>> {
    let lower = label.trim().to_ascii_lowercase();
    let rest = prefix.strip(&lower)?;
    if rest.is_empty() {
        return Some(Err(nobody("an option is missing, as in wharf.host")));
    }
    let words: Vec<&str> = rest.split('.').collect();
    if words.contains(&"") {
        return Some(Err(default_pays("a word is missing between two dots")));
    }
    let first = words[0].replace('-', "_");
    Some(match first.as_str() {
        "preset" => Err(nobody(
            "presets are defined on Wharf's own container, or in a file in WHARF_CONFIG",
        )),
        "routes" => match words.get(1..).unwrap_or_default() {
            [route, option @ ..] if !option.is_empty() => named(route, true, option),
            _ => Err(nobody("write wharf.routes.<route>.<option>")),
        },
        _ if Entry::is_top(&first) => Ok(Key {
            route: None,
            long: false,
            option: normal(&words),
        }),
        _ if words.len() == 1 => Err(default_pays(&unknown(&first))),
        _ => named(words[0], false, &words[1..]),
    })
}

/// Name and option, in normal form, of a label that defines a preset; `None` for any other.
pub(super) fn preset(
    label: &str,
    prefix: &LabelPrefix,
) -> Option<Result<(String, String), String>> {
    let lower = label.trim().to_ascii_lowercase();
    let rest = prefix.strip(&lower)?;
    let rest = match rest.split_once('.') {
        None if rest == "preset" => "",
        Some(("preset", rest)) => rest,
        _ => return None,
    };
    Some(match rest.split_once('.') {
        Some((name, option)) if !name.is_empty() && !option.is_empty() => preset_key(name, option),
        _ => Err("write wharf.preset.<name>.<option>".to_owned()),
    })
}

/// Name and option of a preset, as a file or a label has them.
pub(super) fn preset_key(name: &str, option: &str) -> Result<(String, String), String> {
    let name = name.to_ascii_lowercase();
    match is_route_name(&name) {
        true => {
            let option = option.trim().to_ascii_lowercase().replace('-', "_");
            Ok((name, option))
        }
        false => Err(format!(
            "{} is no name of a preset: 1 to {MAX_ROUTE_NAME} letters, digits, `-` or `_`, the first a letter or digit",
            quote(&name)
        )),
    }
}

fn named(route: &str, long: bool, option: &[&str]) -> Result<Key, KeyError> {
    if !is_route_name(route) {
        return Err(nobody(&format!(
            "{} is no route name: 1 to {MAX_ROUTE_NAME} letters, digits, `-` or `_`, the first a letter or digit",
            quote(route)
        )));
    }
    Ok(Key {
        route: Some(route.to_owned()),
        long,
        option: normal(option),
    })
}

/// `[a-z0-9][a-z0-9_-]{0,31}`.
pub(super) fn is_route_name(name: &str) -> bool {
    name.len() <= MAX_ROUTE_NAME
        && name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-'))
}

fn normal(words: &[&str]) -> String {
    words.join(".").replace('-', "_")
}

/// The option meant by a short-form route name, if the route looks like a misspelt option
/// (labels.md rule 3): the name is one edit from an option word, every option under it is a field
/// of that word, and neither host nor port is set. `options` are in normal form.
pub(super) fn misspelt_option(route: &str, options: &[&str]) -> Option<&'static str> {
    if options
        .iter()
        .any(|option| matches!(*option, "host" | "port"))
    {
        return None;
    }
    let route = route.replace('-', "_");
    Entry::tops()
        .filter(|top| schema::distance(&route, top) == 1)
        .find(|top| {
            options
                .iter()
                .all(|option| Entry::fields(top).any(|field| field == *option))
        })
}

/// The option of a full name in normal form, or why there is none, with what may have been meant.
pub(super) fn find(option: &str) -> Result<&'static Entry, Unknown> {
    if let Some(entry) = Entry::find(option) {
        return Ok(entry);
    }
    let (top, field) = option.split_once('.').unwrap_or((option, ""));
    let Some(parent) = Entry::find(top) else {
        return Err(Unknown {
            parent: None,
            reason: unknown(top),
            suggests: schema::suggest(top, Entry::tops()).is_some(),
        });
    };
    let mut reason = format!("`{top}` has no field {}", quote(field));
    let meant = schema::suggest(field, Entry::fields(top));
    if let Some(meant) = meant {
        reason += &format!("; did you mean `{top}.{meant}`?");
    } else if Entry::is_top(field.split('.').next().unwrap_or(field)) {
        reason += &format!("; a route of that name is written wharf.routes.{option}");
    }
    Err(Unknown {
        parent: Some(parent.name),
        reason,
        suggests: meant.is_some(),
    })
}

/// An option the table does not hold.
#[derive(Debug)]
pub(super) struct Unknown {
    /// The known option whose field it would be.
    pub(super) parent: Option<&'static str>,
    pub(super) reason: String,
    /// The reason says what may have been meant.
    pub(super) suggests: bool,
}

/// The sentence about an unknown first word.
fn unknown(word: &str) -> String {
    match schema::suggest(word, Entry::tops()) {
        Some(meant) => format!(
            "there is no option {}; did you mean `{meant}`?",
            quote(word)
        ),
        None => format!("there is no option {}", quote(word)),
    }
}

fn nobody(reason: &str) -> KeyError {
    KeyError {
        reason: reason.to_owned(),
        costs_default: false,
    }
}

fn default_pays(reason: &str) -> KeyError {
    KeyError {
        reason: reason.to_owned(),
        costs_default: true,
    }
}

const MAX_ROUTE_NAME: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(route: Option<&str>, long: bool, option: &str) -> Option<Result<Key, KeyError>> {
        Some(Ok(Key {
            route: route.map(str::to_owned),
            long,
            option: option.to_owned(),
        }))
    }

    #[test]
    fn keys_are_taken_apart() {
        for (label, expected) in [
            ("wharf.host", key(None, false, "host")),
            ("Wharf.Max-Body", key(None, false, "max_body")),
            ("wharf.cache.valid", key(None, false, "cache.valid")),
            ("wharf.blog.host", key(Some("blog"), false, "host")),
            ("wharf.my-app.host", key(Some("my-app"), false, "host")),
            ("wharf.routes.tls.host", key(Some("tls"), true, "host")),
            (
                "wharf.a.timeout.read",
                key(Some("a"), false, "timeout.read"),
            ),
            ("traefik.enable", None),
            ("wharfage.host", None),
        ] {
            assert_eq!(split(label, &LabelPrefix::default()), expected, "{label}");
        }
    }

    #[test]
    fn broken_keys_say_why() {
        for (label, costs_default, part) in [
            ("wharf.hots", true, "did you mean `host`?"),
            ("wharf.frobnicate", true, "no option `frobnicate`"),
            ("wharf..host", true, "a word is missing"),
            ("wharf", false, "an option is missing"),
            ("wharf.", false, "an option is missing"),
            ("wharf.routes.blog", false, "wharf.routes.<route>.<option>"),
            ("wharf.my app.host", false, "no route name"),
            ("wharf.preset.x.allow", false, "on Wharf's own container"),
        ] {
            let error = split(label, &LabelPrefix::default()).unwrap().unwrap_err();
            assert_eq!(error.costs_default, costs_default, "{label}");
            assert!(error.reason.contains(part), "{label}: {}", error.reason);
        }
    }

    #[test]
    fn misspelt_options_are_told_from_routes() {
        for (route, options, meant) in [
            ("heath", &["path"][..], Some("health")),
            ("cahce", &["valid"], Some("cache")),
            ("cahce", &["valid", "bypass"], Some("cache")),
            ("blog", &["host"], None),
            ("app", &["path"], None),
            ("heath", &["path", "host"], None),
            ("heath", &["path", "port"], None),
            ("heath", &["path", "strip"], None),
            ("ws", &["path"], None),
        ] {
            assert_eq!(
                misspelt_option(route, options),
                meant,
                "{route} {options:?}"
            );
        }
    }

    #[test]
    fn unknown_fields_belong_to_their_option() {
        let unknown = find("cache.vaild").unwrap_err();
        assert_eq!(unknown.parent, Some("cache"));
        assert!(unknown.reason.ends_with("did you mean `cache.valid`?"));
        let unknown = find("tls.host").unwrap_err();
        assert!(unknown.reason.ends_with("wharf.routes.tls.host"));
    }
}
