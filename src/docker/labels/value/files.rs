//! Values of `static`, its fields, and `log`.

use super::{Parsed, Value, duration, items, note};
use crate::docker::labels::text::quote;
use crate::model::{LogMode, PathGlob, PathPattern, parse_bool};

/// `/srv/www spa expires=30d immutable=/assets/** log=off`, in any order, or `off`.
pub(super) fn files(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    if matches!(parse_bool(text), Ok(false)) && !text.trim().is_empty() {
        let off = vec![("static.root", Value::Switch(false))];
        parsed.value = Some(Value::Fields(off));
        return parsed;
    }
    let mut fields: Vec<(&'static str, Value)> = Vec::new();
    for word in text.split_whitespace() {
        match field(word) {
            Ok((name, _)) if fields.iter().any(|(other, _)| *other == name) => {
                note(
                    &mut parsed.errors,
                    format!("{}: `{name}` is set twice", quote(word)),
                );
            }
            Ok(field) => fields.push(field),
            Err(reason) => note(&mut parsed.errors, reason),
        }
    }
    if fields.is_empty() && parsed.errors.is_empty() {
        parsed.errors.push(FORM.to_owned());
    }
    parsed.value = (!fields.is_empty()).then_some(Value::Fields(fields));
    parsed
}

fn field(word: &str) -> Result<(&'static str, Value), String> {
    if word.starts_with('/') {
        return Ok(("static.root", Value::Name(root(word)?)));
    }
    let (name, value) = word.split_once('=').unwrap_or((word, ""));
    let named = |reason: String| format!("{name}: {reason}");
    let switch = || match value {
        "" => Ok(true),
        value => parse_bool(value).map_err(|error| named(error.to_string())),
    };
    Ok(match name.to_ascii_lowercase().as_str() {
        "root" => ("static.root", Value::Name(root(value)?)),
        "path" => ("static.path", Value::Path(path(value).map_err(named)?)),
        "expires" => {
            let time = duration(value).map_err(named)?;
            ("static.expires", Value::Duration(time))
        }
        "immutable" => ("static.immutable", immutable(value).map_err(named)?),
        "spa" => ("static.spa", Value::Switch(switch()?)),
        "log" => ("static.log", Value::Log(log(value).map_err(named)?)),
        _ => return Err(format!("{}: {FORM}", quote(word))),
    })
}

/// A directory. Whether it is one of those that may be served, the plan knows.
pub(super) fn root(text: &str) -> Result<String, String> {
    let text = text.trim();
    let plain = text.len() <= MAX_PATH && !text.chars().any(char::is_control);
    match plain && text.starts_with('/') {
        true => Ok(text.to_owned()),
        false => Err(format!(
            "{}: the directory of the files begins with `/`, as in /srv/www",
            quote(text)
        )),
    }
}

/// Where files are, below the host.
pub(super) fn path(text: &str) -> Result<PathPattern, String> {
    match PathPattern::parse(text) {
        Ok(prefix @ PathPattern::Prefix(_)) => Ok(prefix),
        Ok(_) => Err("files are below a path, such as /static".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// `/assets/**, /fonts/*`, with `|` between where blanks would end it; or a switch, for all files.
pub(super) fn immutable(text: &str) -> Result<Value, String> {
    if let Ok(on) = parse_bool(text) {
        return Ok(Value::Switch(on));
    }
    let mut globs = Vec::new();
    let whole = items(text);
    let parts = whole.flat_map(|item| match item.starts_with(['~', '^']) {
        true => vec![item],
        false => item.split('|').map(str::trim).collect(),
    });
    for part in parts {
        if globs.len() == MAX_GLOBS {
            return Err(format!("there are at most {MAX_GLOBS} patterns"));
        }
        if !part.starts_with(['/', '~', '^']) {
            return Err(format!(
                "{}: a pattern of paths looks like /assets/**",
                quote(part)
            ));
        }
        let glob = PathGlob::parse(part).map_err(|error| format!("{}: {error}", quote(part)))?;
        globs.push(glob);
    }
    match globs.is_empty() {
        true => Err("it is a list of paths such as /assets/**, or a switch".to_owned()),
        false => Ok(Value::Globs(globs)),
    }
}

/// `on`, `off`, `errors`, `sample=1%`.
pub(super) fn log(text: &str) -> Result<LogMode, String> {
    let text = text.trim();
    if let Ok(on) = parse_bool(text) {
        return Ok(if on { LogMode::All } else { LogMode::Off });
    }
    if text.eq_ignore_ascii_case("errors") {
        return Ok(LogMode::Errors);
    }
    let share = text
        .strip_prefix("sample=")
        .and_then(|share| share.strip_suffix('%'));
    let share = share.and_then(|share| {
        let plain = share
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.');
        share.parse::<f64>().ok().filter(|_| plain)
    });
    match share.map(|share| (share * 100.0).round()) {
        Some(share) if (1.0..=10_000.0).contains(&share) => Ok(LogMode::Sample(share as u16)),
        _ => Err(
            "it is on, off, errors, or a share of all such as sample=1% (from 0.01%)".to_owned(),
        ),
    }
}

const FORM: &str = "it looks like /srv/www spa expires=30d immutable=/assets/** log=off, or off";
const MAX_GLOBS: usize = 32;
const MAX_PATH: usize = 1024;
