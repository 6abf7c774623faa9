//! Variables in texts, as compose puts them in: `$NAME`, `${NAME}`, `${NAME:-default}`, `${NAME:?error}`,
//! `${NAME:+other}`, and `$$` for a `$`.

use std::collections::BTreeMap;

/// Variables by name: those of the process over those of `.env`.
pub type Variables = BTreeMap<String, String>;

/// A text with its variables put in.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Filled {
    pub(super) text: String,
    /// Variables that have no value and no default, once each.
    pub(super) unset: Vec<String>,
}

/// Why compose refuses a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// What it stumbles over, as written.
    pub(super) word: String,
    pub(super) reason: String,
}

/// Puts variables in.
pub(super) fn fill(text: &str, variables: &Variables) -> Result<Filled, Refused> {
    let mut filled = Filled::default();
    put(text, variables, &mut filled, 0)?;
    Ok(filled)
}

fn put(text: &str, variables: &Variables, out: &mut Filled, depth: usize) -> Result<(), Refused> {
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.text.push_str(&rest[..at]);
        let from = &rest[at..];
        let after = &from[1..];
        if let Some(behind) = after.strip_prefix('$') {
            out.text.push('$');
            rest = behind;
        } else if let Some(inner) = after.strip_prefix('{') {
            let end = closing(inner).filter(|_| depth < MAX_DEPTH);
            let braced = end.map(|end| &inner[..end]).ok_or_else(|| dollar(from))?;
            expression(braced, from, variables, out, depth)?;
            rest = &inner[braced.len() + 1..];
        } else {
            let name = name(after);
            if name.is_empty() {
                return Err(dollar(from));
            }
            value(name, variables, out);
            rest = &after[name.len()..];
        }
    }
    out.text.push_str(rest);
    Ok(())
}

/// What stands between braces.
fn expression(
    braced: &str,
    from: &str,
    variables: &Variables,
    out: &mut Filled,
    depth: usize,
) -> Result<(), Refused> {
    let name = name(braced);
    let rest = &braced[name.len()..];
    if name.is_empty() {
        return Err(dollar(from));
    }
    if rest.is_empty() {
        value(name, variables, out);
        return Ok(());
    }
    let (colon, rest) = match rest.strip_prefix(':') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let found = variables
        .get(name)
        .filter(|value| !(colon && value.is_empty()));
    match (rest.chars().next(), found) {
        (Some('-' | '?'), Some(found)) => out.text.push_str(found),
        (Some('+'), None) => {}
        (Some('-'), None) | (Some('+'), Some(_)) => put(&rest[1..], variables, out, depth + 1)?,
        (Some('?'), None) => {
            let said = rest[1..].trim();
            let said = if said.is_empty() { "" } else { ": " }.to_owned() + said;
            return Err(Refused {
                word: format!("${{{braced}}}"),
                reason: format!("compose refuses the file while `{name}` is not set{said}"),
            });
        }
        _ => return Err(dollar(from)),
    }
    Ok(())
}

fn value(name: &str, variables: &Variables, out: &mut Filled) {
    match variables.get(name) {
        Some(value) => out.text.push_str(value),
        None if !out.unset.iter().any(|known| known == name) => out.unset.push(name.to_owned()),
        None => {}
    }
}

/// The name a text begins with.
fn name(text: &str) -> &str {
    let inner = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return "";
    }
    let end = text.find(|c| !inner(c)).unwrap_or(text.len());
    &text[..end]
}

/// Where the brace closes that is open at the beginning.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        match c {
            '{' if before == '$' => depth += 1,
            '}' if depth == 0 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
        before = c;
    }
    None
}

fn dollar(from: &str) -> Refused {
    let end = from
        .char_indices()
        .nth(2)
        .map_or(from.len(), |(end, _)| end);
    Refused {
        word: from[..end].to_owned(),
        reason:
            "compose refuses the file: a `$` begins a variable; write `$$` for the character itself"
                .to_owned(),
    }
}

/// The beginning of a password hash whose `$` compose takes for variables: `$apr1`, `$2y`.
pub(super) fn hash(text: &str) -> Option<&'static str> {
    HASHES.iter().copied().find(|begin| {
        text.match_indices(begin).any(|(at, _)| {
            let before = text[..at].chars().next_back();
            let begins = before.is_none_or(|c| c.is_whitespace() || matches!(c, ':' | '=' | ','));
            begins && text[at + begin.len()..].starts_with('$')
        })
    })
}

/// How hashes begin that web servers know.
const HASHES: &[&str] = &[
    "$2a",
    "$2b",
    "$2x",
    "$2y",
    "$apr1",
    "$argon2id",
    "$argon2i",
    "$argon2d",
    "$1",
    "$5",
    "$6",
    "$y",
];

/// Defaults within defaults.
const MAX_DEPTH: usize = 8;

/// Reads a `.env` file: `NAME=value`, perhaps with `export` and quotes; `#` begins a comment.
pub fn variables(text: &str) -> Variables {
    let mut found = Variables::new();
    for line in text.lines().map(str::trim) {
        let line = line.strip_prefix("export ").unwrap_or(line);
        let Some((name, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) else {
            continue;
        };
        let value = value.trim();
        let quoted = ['"', '\''].iter().find_map(|quote| {
            let rest = value.strip_prefix(*quote)?;
            rest.split(*quote).next()
        });
        let value = quoted.unwrap_or_else(|| value.split(" #").next().unwrap_or(value).trim_end());
        found.insert(name.trim().to_owned(), value.to_owned());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Variables {
        variables(
            "# of the shop\nHOST=shop.test\nexport EMPTY=\nQUOTED=\"a # b\" # c\nPORT=3000 # d\n",
        )
    }

    #[test]
    fn variables_are_put_in_as_compose_does() {
        for (text, told) in [
            ("$HOST", "shop.test"),
            ("www.${HOST}:$PORT/", "www.shop.test:3000/"),
            ("${QUOTED}", "a # b"),
            ("${NONE:-x}${EMPTY:-y}${EMPTY-z}", "xy"),
            ("${NONE-a ${HOST}}", "a shop.test"),
            ("${HOST:+on}${NONE:+off}", "on"),
            ("~^/api$$", "~^/api$"),
            ("$$HOST $${HOST}", "$HOST ${HOST}"),
        ] {
            let filled = fill(text, &known());
            assert_eq!(
                filled.map(|filled| filled.text),
                Ok(told.to_owned()),
                "{text}"
            );
        }
        assert_eq!(fill("$A.$B.${A}", &known()).unwrap().unset, ["A", "B"]);
    }

    #[test]
    fn what_compose_refuses_is_named() {
        for (text, word, part) in [
            ("~^/api$", "$", "write `$$`"),
            ("a$/b", "$/", "write `$$`"),
            ("${HOST", "${", "write `$$`"),
            ("${HOST!x}", "${", "write `$$`"),
            ("admin:$2y$05$abc", "$2", "write `$$`"),
            (
                "x${NONE:?say it}",
                "${NONE:?say it}",
                "`NONE` is not set: say it",
            ),
        ] {
            let refused = fill(text, &known()).unwrap_err();
            assert_eq!(refused.word, word, "{text}");
            assert!(refused.reason.contains(part), "{text}: {}", refused.reason);
        }
    }

    #[test]
    fn hashes_are_known_by_their_beginning() {
        for (text, told) in [
            ("admin:$apr1$salt$hash", Some("$apr1")),
            ("admin:$2y$05$abc", Some("$2y")),
            ("admin:$argon2id$v=19$m=1", Some("$argon2id")),
            ("admin:$$2y$$05$$abc", None),
            ("file:/run/secrets/x", None),
            ("$HOST", None),
            ("/new/$1$2", None),
        ] {
            assert_eq!(hash(text), told, "{text}");
        }
    }
}
