//! Values of `compress`.

use super::{Parsed, Value, note};
use crate::docker::labels::text::quote;
use crate::model::{Coding, Levels, MediaType, MediaTypes, parse_bool, parse_size};

/// `on`, `off`, or codings with or without their level, and `types=` `min=` `level=`, in any order.
pub(super) fn compress(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    let mut codings: Option<Vec<Coding>> = None;
    let mut listed = Vec::new();
    let mut levels: Option<Levels> = None;
    let mut fields: Vec<(&'static str, Value)> = Vec::new();
    let words = text.split(|c: char| c == ',' || c.is_whitespace());
    for word in words.filter(|word| !word.is_empty()) {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        let named = |reason: String| format!("{key}: {reason}");
        let read = match (Coding::of(key), key.to_ascii_lowercase().as_str()) {
            (Some(coding), _) if listed.contains(&coding) => {
                Err(format!("`{}` is there twice", coding.name()))
            }
            (Some(coding), _) => {
                listed.push(coding);
                match value {
                    "" => Ok(()),
                    value => one_level(coding, value).map_err(named).map(|level| {
                        levels.get_or_insert_default().set(coding, level);
                    }),
                }
            }
            (None, "min") => size(value).map_err(named).map(|min| {
                fields.push(("compress.min", Value::Size(min)));
            }),
            (None, "types") => types(&value.replace('|', ",")).map_err(named).map(|types| {
                fields.push(("compress.types", Value::MediaTypes(types)));
            }),
            (None, "level") => self::levels(value).map_err(named).map(|all| {
                fields.push(("compress.level", Value::Levels(all)));
            }),
            _ => match parse_bool(word) {
                Ok(_) if codings.is_some() => Err("it is on or off twice".to_owned()),
                Ok(true) => {
                    codings = Some(Coding::ALL.to_vec());
                    Ok(())
                }
                Ok(false) => {
                    codings = Some(Vec::new());
                    Ok(())
                }
                Err(_) => Err(format!("{}: {FORM}", quote(word))),
            },
        };
        if let Err(reason) = read {
            note(&mut parsed.errors, reason);
        }
    }
    let off = codings.as_ref().is_some_and(Vec::is_empty);
    if off && !(listed.is_empty() && fields.is_empty()) {
        note(&mut parsed.errors, format!("it is off; {FORM}"));
    }
    if codings.is_none() && !listed.is_empty() {
        codings = Some(listed);
    }
    if let Some(levels) = levels {
        fields.push(("compress.level", Value::Levels(levels)));
    }
    if let Some(codings) = codings {
        fields.insert(0, ("compress", Value::Codings(codings)));
    }
    for (at, (name, _)) in fields.iter().enumerate() {
        if fields[..at].iter().any(|(other, _)| other == name) {
            note(&mut parsed.errors, format!("`{name}` is set twice"));
        }
    }
    if fields.is_empty() && parsed.errors.is_empty() {
        parsed.errors.push(FORM.to_owned());
    }
    parsed.value = (!fields.is_empty()).then_some(Value::Fields(fields));
    parsed
}

/// `5` for all, or `gzip=6 br=5`.
pub(super) fn levels(text: &str) -> Result<Levels, String> {
    let mut levels = Levels::default();
    let words = text.split(|c: char| c == ',' || c.is_whitespace());
    let mut any = false;
    for word in words.filter(|word| !word.is_empty()) {
        any = true;
        match word.split_once('=') {
            None => {
                let level = number(word, Coding::Gzip.most())?;
                for coding in Coding::ALL {
                    levels.set(coding, level.min(coding.most()));
                }
            }
            Some((name, value)) => {
                let coding = Coding::of(name)
                    .ok_or_else(|| format!("{}: there are zstd, br and gzip", quote(name)))?;
                levels.set(coding, one_level(coding, value)?);
            }
        }
    }
    match any {
        true => Ok(levels),
        false => Err("a level is a number such as 4, or gzip=6 br=4 zstd=3".to_owned()),
    }
}

fn one_level(coding: Coding, text: &str) -> Result<u8, String> {
    match (number(text, coding.most()), coding) {
        (Err(_), Coding::Brotli) => Err(format!(
            "a level of br is from 1 to {}: higher ones take too long for answers; compress files before they are served",
            coding.most()
        )),
        (level, _) => level,
    }
}

fn number(text: &str, most: u8) -> Result<u8, String> {
    let level = text.trim().parse().ok();
    let level = level.filter(|level| (1..=most).contains(level));
    level.ok_or_else(|| format!("a level is from 1 to {most}"))
}

/// Media types in a list.
pub(super) fn types(text: &str) -> Result<MediaTypes, String> {
    let mut types = Vec::new();
    let words = text.split(|c: char| c == ',' || c.is_whitespace());
    for word in words.filter(|word| !word.is_empty()) {
        let one = MediaType::parse(word).ok_or_else(|| {
            let form = "a media type looks like text/css, text/* or *; default: the usual ones";
            format!("{}: {form}", quote(word))
        })?;
        if types.len() == MAX_TYPES {
            return Err(format!("there are at most {MAX_TYPES} of them"));
        }
        if !types.contains(&one) {
            types.push(one);
        }
    }
    match types.is_empty() {
        true => Err("it is a list such as text/css, application/json".to_owned()),
        false => Ok(MediaTypes::new(types)),
    }
}

fn size(text: &str) -> Result<u64, String> {
    parse_size(text).map_err(|error| error.to_string())
}

const FORM: &str =
    "it looks like on, off, or zstd br gzip=6 min=1k types=text/css|application/json";
const MAX_TYPES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Result<Vec<(&'static str, Value)>, Vec<String>> {
        let parsed = compress(text);
        match (parsed.value, parsed.errors.is_empty()) {
            (Some(Value::Fields(fields)), true) => Ok(fields),
            _ => Err(parsed.errors),
        }
    }

    #[test]
    fn s68_codings_levels_and_the_rest() {
        use Coding::*;
        let codings = |codings: &[Coding]| ("compress", Value::Codings(codings.to_vec()));
        let levels = |zstd, brotli, gzip| {
            let levels = Levels { zstd, brotli, gzip };
            ("compress.level", Value::Levels(levels))
        };
        for (text, expected) in [
            ("on", vec![codings(&[Zstd, Brotli, Gzip])]),
            ("Off", vec![codings(&[])]),
            ("false", vec![codings(&[])]),
            ("gzip", vec![codings(&[Gzip])]),
            ("br, zstd", vec![codings(&[Brotli, Zstd])]),
            ("zstd=5 gzip", vec![codings(&[Zstd, Gzip]), levels(5, 4, 4)]),
            (
                "on gzip=9",
                vec![codings(&[Zstd, Brotli, Gzip]), levels(3, 4, 9)],
            ),
            (
                "on level=9 min=1k",
                vec![
                    codings(&[Zstd, Brotli, Gzip]),
                    levels(9, 6, 9),
                    ("compress.min", Value::Size(1024)),
                ],
            ),
            (
                "gzip types=text/css|default",
                vec![
                    codings(&[Gzip]),
                    (
                        "compress.types",
                        Value::MediaTypes(types("text/css default").unwrap()),
                    ),
                ],
            ),
        ] {
            assert_eq!(fields(text), Ok(expected), "{text}");
        }
        for text in [
            "",
            "deflate",
            "gzip gzip",
            "gzip=0",
            "gzip=10",
            "br=7",
            "on off",
            "off gzip",
            "min=x",
            "level=",
            "types=",
            "gzip=4 level=5",
            "on on",
        ] {
            assert!(fields(text).is_err(), "{text}");
        }
        assert!(super::levels("br=11").unwrap_err().contains("before"));
    }
}
