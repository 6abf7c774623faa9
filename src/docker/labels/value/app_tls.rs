//! Values about apps that speak TLS: `upstream.verify`, `upstream.sni`, `upstream.host`.

use super::health::authority;
use super::tls::{after_file, file};
use super::upstream::ends_in_number;
use super::{Parsed, Value, note};
use crate::docker::labels::text::quote;
use crate::model::{Host, SentHost, Verify, parse_bool};

/// `on`, `off` or `file:ca.pem`, and `sni=app.internal`, in any order.
pub(super) fn verify(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    let mut fields: Vec<(&'static str, Value)> = Vec::new();
    for word in text.split(|c: char| c == ',' || c.is_whitespace()) {
        if word.is_empty() {
            continue;
        }
        match word_of(word) {
            Err(reason) => note(&mut parsed.errors, format!("{}: {reason}", quote(word))),
            Ok((name, _)) if fields.iter().any(|(other, _)| *other == name) => {
                note(
                    &mut parsed.errors,
                    format!("{} is one too many", quote(word)),
                );
            }
            Ok(field) => fields.push(field),
        }
    }
    if fields.is_empty() && parsed.errors.is_empty() {
        parsed.errors.push(FORM.to_owned());
    }
    parsed.value = (!fields.is_empty()).then_some(Value::Fields(fields));
    parsed
}

fn word_of(word: &str) -> Result<(&'static str, Value), String> {
    if let Some((key, name)) = word.split_once('=')
        && key.eq_ignore_ascii_case("sni")
    {
        return Ok(("upstream.sni", Value::ServerName(server_name(name)?)));
    }
    let verify = match (after_file(word), parse_bool(word)) {
        (Some(path), _) => Verify::File(file(path)?),
        (None, Ok(true)) => Verify::On,
        (None, Ok(false)) => Verify::Off,
        (None, Err(_)) => return Err(FORM.to_owned()),
    };
    Ok(("upstream.verify", Value::Verify(verify)))
}

/// A name, as certificates have them; an address is one, too.
pub(super) fn server_name(text: &str) -> Result<Host, String> {
    let host = Host::parse(text.trim()).map_err(|error| error.to_string())?;
    match host.ip() {
        None if ends_in_number(host.as_str()) => {
            Err("this is neither a name nor a whole address".to_owned())
        }
        _ => Ok(host),
    }
}

pub(super) fn sent_host(text: &str) -> Result<SentHost, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "keep" => Ok(SentHost::Keep),
        "upstream" => Ok(SentHost::Upstream),
        _ => authority(text).map(SentHost::Named),
    }
}

const FORM: &str = "it looks like on, off, or file:ca.pem, and sni=app.internal where the certificate is for another name";

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Result<Vec<(&'static str, Value)>, String> {
        let parsed = verify(text);
        match parsed.value {
            Some(Value::Fields(fields)) if parsed.errors.is_empty() => Ok(fields),
            _ => Err(parsed.errors.join("; ")),
        }
    }

    #[test]
    fn who_is_believed_and_for_which_name() {
        let named = |name: &str| {
            (
                "upstream.sni",
                Value::ServerName(Host::parse(name).unwrap()),
            )
        };
        let by = |verify| ("upstream.verify", Value::Verify(verify));
        let file = || Verify::File("apps/ca.pem".into());
        for (text, expected) in [
            ("on", vec![by(Verify::On)]),
            ("OFF", vec![by(Verify::Off)]),
            ("false", vec![by(Verify::Off)]),
            ("file:apps/ca.pem", vec![by(file())]),
            (
                "FILE:apps/ca.pem, SNI=App.internal",
                vec![by(file()), named("app.internal")],
            ),
            ("sni=app", vec![named("app")]),
        ] {
            assert_eq!(fields(text), Ok(expected), "{text}");
        }
        for (text, part) in [
            ("", "it looks like"),
            ("maybe", "it looks like"),
            ("ca.pem", "it looks like"),
            ("file:../ca.pem", "without `..`"),
            ("on off", "one too many"),
            ("sni=127.1", "neither a name nor"),
            ("sni=*.test", "`sni=*.test`"),
        ] {
            let error = fields(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn hosts_to_be_told() {
        assert_eq!(sent_host("Keep"), Ok(SentHost::Keep));
        assert_eq!(sent_host("upstream"), Ok(SentHost::Upstream));
        assert_eq!(
            sent_host("nas.lan:81"),
            Ok(SentHost::Named("nas.lan:81".into()))
        );
        assert!(sent_host("nas.lan:x").is_err());
        assert!(sent_host("a\r\nb").is_err());
    }
}
