//! Traefik's `acme.json`: of versions 2 and 3 one object for each resolver, of version 1 that object
//! itself, and of its first releases one with other words.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use super::{Candidate, Found};

/// Everything in the file that looks like a certificate.
pub(super) fn find(text: &[u8]) -> Result<Found, String> {
    if text.trim_ascii().is_empty() {
        return Err("it is empty".to_owned());
    }
    let whole: Value =
        serde_json::from_slice(text).map_err(|error| format!("no JSON, line {}", error.line()))?;
    let Value::Object(members) = &whole else {
        return Err("not an object".to_owned());
    };
    let mut found = Found::default();
    let mut known = false;
    if is_resolver(&whole) {
        known = true;
        resolver("", &whole, &mut found);
    } else {
        for (name, value) in members.iter().filter(|(_, value)| is_resolver(value)) {
            known = true;
            resolver(name, value, &mut found);
        }
    }
    match known {
        true => Ok(found),
        false => Err("it has no certificates".to_owned()),
    }
}

fn is_resolver(value: &Value) -> bool {
    ["Account", "Certificates", "DomainsCertificate"]
        .iter()
        .any(|word| member(value, word).is_some())
}

fn resolver(name: &str, value: &Value, found: &mut Found) {
    let now = member(value, "Certificates").and_then(Value::as_array);
    for entry in now.into_iter().flatten() {
        let domain = member(entry, "Domain");
        one(name, domain, entry, ["Certificate", "Key"], found);
    }
    // Until 1.6.
    let old = member(value, "DomainsCertificate").and_then(|all| member(all, "Certs"));
    for entry in old.and_then(Value::as_array).into_iter().flatten() {
        let domain = member(entry, "Domains");
        if let Some(certificate) = member(entry, "Certificate") {
            one(
                name,
                domain,
                certificate,
                ["Certificate", "PrivateKey"],
                found,
            );
        }
    }
}

fn one(
    resolver: &str,
    domain: Option<&Value>,
    holder: &Value,
    words: [&str; 2],
    found: &mut Found,
) {
    let main = domain.and_then(|domain| member(domain, "Main"));
    let main = main
        .and_then(Value::as_str)
        .unwrap_or("an entry without name");
    let origin = match resolver {
        "" => main.to_owned(),
        resolver => format!("{main} of resolver {resolver}"),
    };
    match words.map(|word| decoded(holder, word)) {
        [Ok(chain), Ok(key)] => found.candidates.push(Candidate { origin, chain, key }),
        [Err(why), _] | [_, Err(why)] => found.notes.push((origin, why)),
    }
}

/// PEM in base64.
fn decoded(holder: &Value, word: &str) -> Result<String, String> {
    let told = |what: &str| format!("its {} {what}", word.to_ascii_lowercase());
    let text = member(holder, word).and_then(Value::as_str);
    let text = text
        .filter(|text| !text.is_empty())
        .ok_or_else(|| told("is missing"))?;
    let bytes = BASE64_STANDARD.decode(text.trim());
    let pem = bytes.ok().and_then(|bytes| String::from_utf8(bytes).ok());
    pem.ok_or_else(|| told("is not base64 of PEM"))
}

/// Go reads names of members in any case, and each version writes them in another.
fn member<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
    let members = value.as_object()?.iter();
    let mut named = members.filter(|(key, _)| key.eq_ignore_ascii_case(name));
    named.next().map(|(_, value)| value)
}
