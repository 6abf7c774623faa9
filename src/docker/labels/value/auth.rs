//! Values about who has to log in.

use super::access::words;
use super::traffic::is_token;
use super::{Parsed, Value, note};
use crate::docker::labels::text::quote;
use crate::model::{BasicSpec, User, UserSource};

/// `file:/run/secrets/users`, or users in a list; and `strip`, `realm="…"`.
pub(super) fn basic(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    let words = match words(text) {
        Ok(words) => words,
        Err(reason) => {
            parsed.errors.push(reason);
            return parsed;
        }
    };
    let mut users = Vec::new();
    let mut file = None;
    let mut realm = BasicSpec::REALM.to_owned();
    let mut strip = false;
    for word in words
        .iter()
        .flat_map(|word| match word.starts_with("realm=") {
            true => vec![word.as_str()],
            false => word.split(',').filter(|part| !part.is_empty()).collect(),
        })
    {
        if let Some(path) = word.strip_prefix("file:") {
            if !path.starts_with('/') {
                let reason = format!("{}: a path begins with /", quote(word));
                note(&mut parsed.errors, reason);
            }
            file = Some(path.to_owned());
        } else if let Some(text) = word.strip_prefix("realm=") {
            let good = |c: char| (' '..='~').contains(&c) && !matches!(c, '"' | '\\');
            match !text.is_empty() && text.len() <= 100 && text.chars().all(good) {
                true => text.clone_into(&mut realm),
                false => note(
                    &mut parsed.errors,
                    "a realm has 1 to 100 printable characters, none of them a quote".to_owned(),
                ),
            }
        } else if word.eq_ignore_ascii_case("strip") {
            strip = true;
        } else {
            match User::parse(word) {
                Ok(user) => users.push(user),
                Err(reason) => note(&mut parsed.errors, reason),
            }
        }
    }
    let source = match (file, users.is_empty()) {
        (Some(file), true) => Some(UserSource::File(file)),
        (None, false) => Some(UserSource::Inline(users)),
        (Some(_), false) => {
            note(
                &mut parsed.errors,
                "users stand in the label or in a file, not in both".to_owned(),
            );
            None
        }
        (None, true) => {
            if parsed.errors.is_empty() {
                parsed.errors.push(FORM.to_owned());
            }
            None
        }
    };
    parsed.value = source.map(|users| {
        Value::Basic(BasicSpec {
            users,
            realm,
            strip,
            user_header: None,
        })
    });
    parsed
}

/// The name of a field that nothing else writes or reads.
pub(super) fn user_header(text: &str) -> Result<String, String> {
    let name = text.trim().to_ascii_lowercase();
    if !is_token(&name) {
        return Err("it is the name of a header, such as X-User".to_owned());
    }
    let plain = name.replace('_', "-");
    let taken = TAKEN.contains(&plain.as_str()) || plain.starts_with("x-forwarded-");
    match taken {
        true => Err(format!(
            "{} has a meaning of its own; X-User has none",
            quote(text)
        )),
        false => Ok(name),
    }
}

pub(super) fn satisfy(text: &str) -> Result<bool, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "any" => Ok(true),
        "all" => Ok(false),
        _ => Err("it is `all` or `any`".to_owned()),
    }
}

const FORM: &str =
    "it is file:/run/secrets/users, or a list of name:hash as `htpasswd -nB name` prints it";
pub(super) const TAKEN: [&str; 14] = [
    "host",
    "connection",
    "content-length",
    "content-type",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "keep-alive",
    "expect",
    "cookie",
    "authorization",
    "forwarded",
    "x-real-ip",
];
