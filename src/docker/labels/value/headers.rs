//! Values of `headers` and `security`.

use super::traffic::is_token;
use super::{Parsed, Value, note};
use crate::docker::labels::reference::references;
use crate::docker::labels::text::quote;
use crate::model::{EditOp, FieldText, HeaderEdit, parse_bool};

/// `X=1, +X=2, -X, ?X=3`: separated by commas or line ends; a value in double quotes may have commas.
pub(super) fn edits(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    let mut edits: Vec<HeaderEdit> = Vec::new();
    for item in items(text) {
        match edit(item) {
            Err(reason) => {
                let name = item.split('=').next().unwrap_or(item);
                let shown = match is_secret(&name.to_ascii_lowercase()) {
                    true => name,
                    false => item,
                };
                note(&mut parsed.errors, format!("{}: {reason}", quote(shown)));
            }
            Ok(_) if edits.len() == MAX_EDITS => {
                note(
                    &mut parsed.errors,
                    format!("there are at most {MAX_EDITS} edits"),
                );
                break;
            }
            Ok(edit) if edit.op != EditOp::Add && clashes(&edits, &edit) => {
                let reason = format!("what becomes of `{}` is said twice", edit.name);
                note(&mut parsed.errors, reason);
            }
            Ok(mut edit) => {
                if is_inline_secret(&edit) {
                    edit.value.mask();
                    note(
                        &mut parsed.warnings,
                        format!("{} {INLINE}", quote(&edit.name)),
                    );
                }
                edits.push(edit);
            }
        }
    }
    if edits.is_empty() && parsed.errors.is_empty() {
        parsed.errors.push(FORM.to_owned());
    }
    parsed.value = (!edits.is_empty()).then_some(Value::Edits(edits));
    parsed
}

/// Whether a field of this name tells who somebody is.
fn is_secret(name: &str) -> bool {
    let name = name.trim_start_matches(['+', '?']);
    let parts = [
        "authorization",
        "api-key",
        "apikey",
        "token",
        "secret",
        "password",
    ];
    parts.iter().any(|part| name.contains(part))
}

/// A value that stands in the label itself.
fn is_inline_secret(edit: &HeaderEdit) -> bool {
    let value = edit.value.as_str();
    let elsewhere = value.is_empty() || value.contains('{') || !references(value).is_empty();
    is_secret(&edit.name) && !elsewhere && !matches!(edit.op, EditOp::Remove)
}

fn clashes(edits: &[HeaderEdit], edit: &HeaderEdit) -> bool {
    let mut edits = edits.iter();
    edits.any(|other| other.name == edit.name && other.op != EditOp::Add)
}

fn items(text: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let items = text.split(move |c: char| {
        quoted ^= c == '"';
        c == '\n' || (c == ',' && !quoted)
    });
    items.map(str::trim).filter(|item| !item.is_empty())
}

fn edit(item: &str) -> Result<HeaderEdit, String> {
    let (op, rest) = match item.split_at_checked(1) {
        Some(("+", rest)) => (EditOp::Add, rest),
        Some(("-", rest)) => (EditOp::Remove, rest),
        Some(("?", rest)) => (EditOp::Default, rest),
        _ => (EditOp::Set, item),
    };
    let (name, value) = match rest.split_once('=') {
        Some((name, value)) => (name.trim(), Some(value.trim())),
        None => (rest.trim(), None),
    };
    if !is_token(name) {
        return Err(FORM.to_owned());
    }
    let name = name.to_ascii_lowercase();
    if OURS.contains(&name.as_str()) {
        return Err(format!("`{name}` is Wharf's to write"));
    }
    let value = match (op, value) {
        (EditOp::Remove, None) => FieldText::default(),
        (EditOp::Remove, Some(_)) => return Err("what is removed has no value".to_owned()),
        (_, None) => return Err(FORM.to_owned()),
        (_, Some(value)) => {
            let inner = value
                .strip_prefix('"')
                .and_then(|rest| rest.strip_suffix('"'));
            let value = inner.unwrap_or(value);
            FieldText::parse(value).map_err(|error| error.to_string())?
        }
    };
    // nginx: an empty value is none.
    let is_empty = value == FieldText::parse("").unwrap_or_default();
    let op = match (op, is_empty) {
        (EditOp::Set, true) => EditOp::Remove,
        (op, _) => op,
    };
    let value = if op == EditOp::Remove {
        FieldText::default()
    } else {
        value
    };
    Ok(HeaderEdit { op, name, value })
}

/// `on`, `strict`, `off`, perhaps with `force`: as edits of answers.
pub(super) fn security(text: &str) -> Result<Value, String> {
    let (mut word, mut force) = (None, false);
    for part in text.split(|c: char| c == ',' || c.is_whitespace()) {
        match part.to_ascii_lowercase().as_str() {
            "" => {}
            "force" if !force => force = true,
            part if word.is_none() => word = Some(part.to_owned()),
            _ => return Err(SECURITY_FORM.to_owned()),
        }
    }
    let word = word.unwrap_or_default();
    let strict = word == "strict";
    if !strict && !parse_bool(&word).map_err(|_| SECURITY_FORM.to_owned())? {
        return Ok(Value::Edits(Vec::new()));
    }
    let op = if force { EditOp::Set } else { EditOp::Default };
    let strictly = STRICT.iter().filter(|_| strict);
    let edits = USUAL.iter().chain(strictly).filter_map(|(name, value)| {
        let value = FieldText::parse(value).ok()?;
        let name = (*name).to_owned();
        Some(HeaderEdit { op, name, value })
    });
    let mut edits: Vec<_> = edits.collect();
    if strict {
        edits.push(HeaderEdit {
            op: EditOp::Remove,
            name: "server".to_owned(),
            value: FieldText::default(),
        });
    }
    Ok(Value::Edits(edits))
}

const USUAL: [(&str, &str); 3] = [
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "SAMEORIGIN"),
    ("referrer-policy", "strict-origin-when-cross-origin"),
];
const STRICT: [(&str, &str); 3] = [
    ("content-security-policy", "default-src 'self'"),
    ("x-xss-protection", "1; mode=block"),
    (
        "permissions-policy",
        "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    ),
];

/// Fields that frame messages, say who asks, or end at the next hop.
const OURS: [&str; 23] = [
    "client-cert",
    "client-cert-chain",
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-real-ip",
    "x-ssl-client-verify",
    "x-ssl-client-s-dn",
    "x-ssl-client-fingerprint",
];
const MAX_EDITS: usize = 50;
const INLINE: &str = "has its value in a label, which everybody can read who may list containers: write file:/run/secrets/… or env:WHARF_VALUE_… in its place";
const FORM: &str = "an edit looks like X-App=blue, +X-App=green, -Server or ?X-App=grey";
const SECURITY_FORM: &str = "it looks like on, strict or off, perhaps with force";
