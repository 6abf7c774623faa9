//! Values of `auth.forward`.

use super::access::words;
use super::auth::TAKEN;
use super::traffic::is_token;
use super::upstream::{ends_in_number, refused};
use super::{Parsed, Value, duration, note, number};
use crate::docker::labels::text::quote;
use crate::model::{AuthKind, FieldNames, ForwardAt, Host, HostError, parse_bool};

/// `authelia`, `http://auth:9000/check copy=Remote-User,Remote-Groups timeout=2s cache=10s`, or both.
pub(super) fn forward(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    let words = match words(text) {
        Ok(words) => words,
        Err(reason) => {
            parsed.errors.push(reason);
            return parsed;
        }
    };
    let mut fields: Vec<(&'static str, Value)> = Vec::new();
    let (mut kind, mut url) = (None, None);
    for word in &words {
        let named = |kind: &AuthKind| {
            let word = word.to_ascii_lowercase().replace('_', "-");
            word == kind.name()
        };
        let url_like = word.contains("://");
        let field = match word.split_once('=').filter(|_| !url_like) {
            Some((name, value)) => field(name, value),
            None if word.eq_ignore_ascii_case("session") => {
                Ok(("auth.forward.session", Value::Switch(true)))
            }
            None if url_like => {
                match url {
                    None => url = Some(word.as_str()),
                    Some(_) => note(&mut parsed.errors, "there is one address".to_owned()),
                }
                continue;
            }
            None => {
                match AuthKind::ALL.iter().find(|kind| named(kind)) {
                    Some(_) if kind.is_some() => {
                        note(&mut parsed.errors, "there is one server".to_owned());
                    }
                    Some(found) => kind = Some(*found),
                    None => note(&mut parsed.errors, format!("{}: {FORM}", quote(word))),
                }
                continue;
            }
        };
        match field {
            Ok((name, _)) if fields.iter().any(|(other, _)| *other == name) => {
                note(&mut parsed.errors, format!("{} is set twice", quote(word)));
            }
            Ok(field) => fields.push(field),
            Err(reason) => note(&mut parsed.errors, reason),
        }
    }
    let at = match (url, kind) {
        (Some(url), kind) => {
            address(url, kind).map_err(|reason| format!("{}: {reason}", quote(url)))
        }
        (None, Some(kind)) => {
            let (host, port) = kind.address();
            let host = Host::parse(host).map_err(|error| error.to_string());
            host.map(|host| ForwardAt {
                https: false,
                host,
                port,
                target: kind.target().to_owned(),
                kind: Some(kind),
            })
        }
        (None, None) => Err(FORM.to_owned()),
    };
    match at {
        Ok(at) => fields.push(("auth.forward", Value::Forward(at))),
        Err(reason) if parsed.errors.is_empty() || url.is_some() => {
            note(&mut parsed.errors, reason);
        }
        Err(_) => {}
    }
    parsed.value = (!fields.is_empty()).then_some(Value::Fields(fields));
    parsed
}

fn field(name: &str, value: &str) -> Result<(&'static str, Value), String> {
    match name.to_ascii_lowercase().as_str() {
        "copy" => Ok(("auth.forward.copy", Value::Copy(copy(value)?))),
        "timeout" => Ok(("auth.forward.timeout", Value::Duration(timeout(value)?))),
        "cache" => Ok(("auth.forward.cache", Value::Duration(cache(value)?))),
        "session" => {
            let on = parse_bool(value).map_err(|error| error.to_string())?;
            Ok(("auth.forward.session", Value::Switch(on)))
        }
        _ => Err(format!(
            "there is no {} here; there are copy= timeout= cache= session",
            quote(name)
        )),
    }
}

/// `Remote-User, X-Auth-*`.
pub(super) fn copy(text: &str) -> Result<FieldNames, String> {
    let mut names = FieldNames::default();
    let parts = text.split([',', '\n']).map(str::trim);
    for part in parts.filter(|part| !part.is_empty()) {
        let name = part.to_ascii_lowercase();
        let (bare, list) = match name.strip_suffix('*') {
            None => (&*name, &mut names.whole),
            Some(bare) => (bare, &mut names.beginnings),
        };
        let star = bare.len() < name.len();
        let plain = bare.replace('_', "-");
        let taken = match star {
            false => TAKEN
                .iter()
                .any(|taken| *taken == plain && plain != "authorization"),
            true => TAKEN.iter().any(|taken| taken.starts_with(&plain)),
        };
        let ours = ["x-forwarded-", "x-real-ip", "x-request-id"];
        let ours = ours
            .iter()
            .any(|ours| plain.starts_with(ours) || star && ours.starts_with(&plain));
        if !is_token(bare) || bare.contains('*') || star && bare.len() < SHORTEST {
            return Err(format!("{}: {COPY_FORM}", quote(part)));
        }
        if taken || ours || plain == "set-cookie" {
            return Err(format!(
                "{} has a meaning of its own and cannot come from there",
                quote(part)
            ));
        }
        if list.iter().all(|other| *other != bare) {
            list.push(bare.to_owned());
        }
        if names.whole.len() + names.beginnings.len() > MOST_NAMES {
            return Err(format!("there are at most {MOST_NAMES} of them"));
        }
    }
    match names.is_empty() {
        true => Err(format!("it is {COPY_FORM}")),
        false => Ok(names),
    }
}

/// A limit, which there always is: a server that says nothing must not hold requests for ever.
pub(super) fn timeout(text: &str) -> Result<std::time::Duration, String> {
    let limit = duration(text)?;
    match (1..=60_000).contains(&limit.as_millis()) {
        true => Ok(limit),
        false => Err("it is a time from 1ms to 60s".to_owned()),
    }
}

/// A yes that holds for long is one that cannot be taken back.
pub(super) fn cache(text: &str) -> Result<std::time::Duration, String> {
    let time = duration(text)?;
    match time.as_secs() <= 300 {
        true => Ok(time),
        false => Err("it is a time up to 5m, or off".to_owned()),
    }
}

pub(super) fn address(text: &str, kind: Option<AuthKind>) -> Result<ForwardAt, String> {
    let (scheme, rest) = text.split_once("://").ok_or(FORM)?;
    let https = match scheme.to_ascii_lowercase().as_str() {
        "http" => false,
        "https" => true,
        _ => return Err(FORM.to_owned()),
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if authority.contains('@') {
        return Err("there is no user name here".to_owned());
    }
    let (host, port) = match authority.rsplit_once(':') {
        // The colons of an address in brackets are no port's.
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let usual = match kind {
        _ if https => 443,
        Some(kind) => kind.address().1,
        None => 80,
    };
    let port = port.map_or(Some(usual), number).filter(|port| *port > 0);
    let port = port.ok_or("a port is a number from 1 to 65535")?;
    let host = Host::parse(host).map_err(|error| match error {
        HostError::Star => "it is one host".to_owned(),
        error => error.to_string(),
    })?;
    match host.ip() {
        Some(ip) => refused(ip).map_or(Ok(()), |why| Err(why.to_owned()))?,
        None if ends_in_number(host.as_str()) => {
            return Err("this is neither a name nor a whole address".to_owned());
        }
        None => {}
    }
    let target = match (path, kind) {
        ("" | "/", Some(kind)) => kind.target().to_owned(),
        ("", None) => "/".to_owned(),
        (path, _) if path.starts_with('?') => format!("/{path}"),
        (path, _) => path.to_owned(),
    };
    let plain = target
        .bytes()
        .all(|byte| (b'!'..=b'~').contains(&byte) && byte != b'#');
    if !plain || target.len() > LONGEST {
        return Err(format!(
            "a path has up to {LONGEST} printable characters, and no #"
        ));
    }
    Ok(ForwardAt {
        https,
        host,
        port,
        target,
        kind,
    })
}

const FORM: &str = "it is a URL such as http://auth:9000/check, a server that Wharf knows (authelia, authentik, oauth2-proxy, tinyauth), or off";
const COPY_FORM: &str = "a list of names, such as Remote-User, X-Auth-*";
/// Characters before a `*`.
const SHORTEST: usize = 4;
const MOST_NAMES: usize = 32;
/// Of a path with its query.
const LONGEST: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Result<String, String> {
        let parsed = forward(text);
        if let Some(reason) = parsed.errors.first() {
            return Err(reason.clone());
        }
        let Some(Value::Fields(fields)) = parsed.value else {
            return Err("nothing".to_owned());
        };
        let shown = fields.iter().map(|(name, value)| {
            let name = name.trim_start_matches("auth.forward");
            match value {
                Value::Forward(at) => format!("{name}{at}"),
                Value::Copy(names) => format!("{name}={names}"),
                Value::Duration(time) => format!("{name}={time:?}"),
                value => format!("{name}={value:?}"),
            }
        });
        Ok(shown.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn servers_have_their_addresses_and_paths() {
        for (text, expected) in [
            ("authelia", "http://authelia:9091/api/authz/forward-auth"),
            (
                "Authelia http://auth",
                "http://auth:9091/api/authz/forward-auth",
            ),
            ("authelia http://auth:81/x", "http://auth:81/x"),
            (
                "authelia https://auth.example.com",
                "https://auth.example.com/api/authz/forward-auth",
            ),
            ("oauth2_proxy", "http://oauth2-proxy:4180/oauth2/auth"),
            ("http://auth", "http://auth/"),
            ("http://auth:9000/check?a=b", "http://auth:9000/check"),
            (
                "http://auth/ copy=Remote-User,X-Auth-* timeout=2s cache=10s session",
                ".copy=remote-user, x-auth-* .timeout=2s .cache=10s .session=Switch(true) http://auth/",
            ),
        ] {
            assert_eq!(shown(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (text, part) in [
            ("", "it is a URL"),
            ("autelia", "it is a URL"),
            ("authelia authentik", "one server"),
            ("http://a http://b", "one address"),
            ("ftp://auth/", "it is a URL"),
            ("http://u:p@auth/", "no user name"),
            ("http://auth:0/", "port"),
            ("http://127.1/", "neither a name"),
            ("http://169.254.169.254/", ""),
            ("http://auth/#x", "no #"),
            ("authelia copy=*", "a list of names"),
            ("authelia copy=x-*", "a list of names"),
            ("authelia copy=Cookie", "meaning of its own"),
            ("authelia copy=cont*", "meaning of its own"),
            ("authelia copy=X-Forwarded-User", "meaning of its own"),
            ("authelia copy=x_real_ip", "meaning of its own"),
            ("authelia copy=Set-Cookie", "meaning of its own"),
            ("authelia copy=", "a list of names"),
            ("authelia timeout=0", "1ms to 60s"),
            ("authelia timeout=2m", "1ms to 60s"),
            ("authelia cache=1h", "up to 5m"),
            ("authelia keep=1", "there is no"),
            ("authelia cache=1s cache=2s", "set twice"),
        ] {
            let reason = shown(text).unwrap_err();
            assert!(reason.contains(part), "{text}: {reason}");
        }
        assert!(copy("Authorization").is_ok());
    }
}
