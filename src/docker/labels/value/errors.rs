//! Values of `errors`.

use super::forward::address;
use super::{Parsed, Value, items, note, number};
use crate::docker::labels::text::quote;
use crate::model::{ErrorPage, ErrorRule, StatusSet};

/// `502 503 504 = {status}.html, 5xx = http://errors:8080/{status} intercept`.
pub(super) fn errors(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    let mut rules: Vec<ErrorRule> = Vec::new();
    let mut intercept = false;
    for item in items(text) {
        let (item, flag) = match item.rsplit_once(char::is_whitespace) {
            Some((rest, word)) if word.eq_ignore_ascii_case("intercept") => (rest.trim(), true),
            None if item.eq_ignore_ascii_case("intercept") => ("", true),
            _ => (item, false),
        };
        intercept |= flag;
        if item.is_empty() {
            continue;
        }
        match rule(item) {
            Ok(_) if rules.len() == MOST_RULES => {
                let reason = format!("there are at most {MOST_RULES} pages");
                note(&mut parsed.errors, reason);
                break;
            }
            Ok(rule) => rules.push(rule),
            Err(reason) => note(&mut parsed.errors, reason),
        }
    }
    let mut fields: Vec<(&'static str, Value)> = Vec::new();
    if intercept {
        fields.push(("errors.intercept", Value::Switch(true)));
    }
    match rules.is_empty() {
        false => fields.push(("errors", Value::ErrorRules(rules))),
        true if parsed.errors.is_empty() => parsed.errors.push(FORM.to_owned()),
        true => {}
    }
    parsed.value = (!fields.is_empty()).then_some(Value::Fields(fields));
    parsed
}

fn rule(item: &str) -> Result<ErrorRule, String> {
    let (statuses, page) = item
        .split_once('=')
        .ok_or_else(|| format!("{}: {FORM}", quote(item)))?;
    let statuses: Vec<_> = statuses
        .split(|c: char| c == '|' || c.is_whitespace())
        .filter(|word| !word.is_empty())
        .map(|word| range(word).ok_or_else(|| format!("{}: {STATUS_FORM}", quote(word))))
        .collect::<Result<_, _>>()?;
    if statuses.is_empty() || statuses.len() > MOST_STATUSES {
        return Err(format!("{}: {STATUS_FORM}", quote(item)));
    }
    let page = page.trim();
    Ok(ErrorRule {
        statuses: StatusSet::new(statuses),
        page: self::page(page).map_err(|reason| format!("{}: {reason}", quote(page)))?,
    })
}

fn range(word: &str) -> Option<(u16, u16)> {
    let known = |status: &u16| (400..=599).contains(status);
    match word.to_ascii_lowercase().as_str() {
        "4xx" => return Some((400, 499)),
        "5xx" => return Some((500, 599)),
        _ => {}
    }
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    let (first, last) = (number(first)?, number(last)?);
    (known(&first) && known(&last) && first <= last).then_some((first, last))
}

fn page(text: &str) -> Result<ErrorPage, String> {
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        rest = rest[at..]
            .strip_prefix("{status}")
            .ok_or("there is no placeholder here but {status}")?;
    }
    let plain = |text: &str| {
        let good = |c: char| ('!'..='~').contains(&c) && !matches!(c, '"' | '\\' | '#');
        !text.is_empty() && text.len() <= LONGEST && text.chars().all(good)
    };
    if text.contains("://") {
        return address(text, None).map(ErrorPage::Server);
    }
    if let Some(path) = text.strip_prefix("app:") {
        return match path.starts_with('/') && plain(path) {
            true => Ok(ErrorPage::App(path.to_owned())),
            false => Err("what follows app: is a path of the app's, such as app:/oops".to_owned()),
        };
    }
    let name = text.strip_prefix("file:").unwrap_or(text);
    if !plain(name) || name.split('/').any(|part| part == "..") {
        return Err(FILE_FORM.to_owned());
    }
    let lower = name.to_ascii_lowercase();
    match ENDINGS.iter().any(|ending| lower.ends_with(ending)) {
        true => Ok(ErrorPage::File(name.to_owned())),
        false => Err(FILE_FORM.to_owned()),
    }
}

const FORM: &str = "it looks like 502 503 504 = {status}.html, 404 = app:/not-found, 5xx = http://errors:8080/{status}, with `intercept` behind where the app's own are replaced; or off";
const STATUS_FORM: &str =
    "statuses are numbers from 400 to 599, ranges such as 500-504, 4xx or 5xx";
const FILE_FORM: &str = "a page is a file in WHARF_ERRORS that ends in .html, .json or .txt, without `..`; app: and a path of the app's; or a URL";
const ENDINGS: [&str; 4] = [".html", ".htm", ".json", ".txt"];
const MOST_RULES: usize = 32;
/// Of one page.
const MOST_STATUSES: usize = 32;
/// Bytes of a name or a path.
const LONGEST: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Result<String, String> {
        let parsed = errors(text);
        if let Some(reason) = parsed.errors.first() {
            return Err(reason.clone());
        }
        let Some(Value::Fields(fields)) = parsed.value else {
            return Err("nothing".to_owned());
        };
        let shown = fields.iter().map(|(name, value)| match value {
            Value::ErrorRules(rules) => rules
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("; "),
            _ => name.trim_start_matches("errors.").to_owned(),
        });
        Ok(shown.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn pages_have_statuses_and_places() {
        for (text, expected) in [
            (
                "502 503 504 = /srv/errors/{status}.html",
                "502,503,504 = /srv/errors/{status}.html",
            ),
            ("5xx=oops.html intercept", "intercept 500-599 = oops.html"),
            (
                "404|410 = app:/gone?c={status}, 400-499 = http://errors:8080/{status}, intercept",
                "intercept 404,410 = app:/gone?c={status}; 400-499 = http://errors:8080/{status}",
            ),
            ("500 = file:a/b.json", "500 = a/b.json"),
        ] {
            assert_eq!(shown(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (text, part) in [
            ("", "it looks like"),
            ("intercept", "it looks like"),
            ("502.html", "it looks like"),
            ("200 = a.html", "400 to 599"),
            ("504-502 = a.html", "400 to 599"),
            ("= a.html", "400 to 599"),
            ("6xx = a.html", "400 to 599"),
            ("502 = ../etc/passwd", "a file in WHARF_ERRORS"),
            ("502 = /etc/passwd", "ends in .html"),
            ("502 = a/../b.html", "without `..`"),
            ("502 =", "a file in WHARF_ERRORS"),
            ("502 = {code}.html", "{status}"),
            ("502 = app:oops", "app:/oops"),
            ("502 = ftp://errors/", "URL"),
        ] {
            let reason = shown(text).unwrap_err();
            assert!(reason.contains(part), "{text}: {reason}");
        }
    }
}
