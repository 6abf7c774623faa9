//! DNS-PERSIST-01 (draft-ietf-acme-dns-persist-01): a TXT record that a person sets once and that names the
//! CA and our account there. What it has to say; who looks it up is elsewhere.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use serde::Deserialize;

use super::dns::Dns;

/// The names one CA goes by in such records, as it said last: in the challenge, or until then in its
/// directory (`caaIdentities`, which the draft lets CAs take them from).
#[derive(Default)]
pub(super) struct Issuers(Mutex<Vec<String>>);

/// What a record must say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Proof<'a> {
    /// Never empty; any of them will do.
    pub(super) issuers: &'a [String],
    /// URL.
    pub(super) account: &'a str,
    pub(super) wildcard: bool,
}

/// What is wrong with the records that are there, from far off to nearly right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Flaw {
    Missing,
    Issuer,
    Account,
    Policy,
    Ended,
}

impl Issuers {
    /// Reads what the CA answered, whatever it is.
    pub(super) fn hear(&self, body: &[u8]) {
        let has = |word: &str| memchr::memmem::find(body, word.as_bytes()).is_some();
        if !has(TYPE) && !has("caaIdentities") {
            return;
        }
        let Ok(said) = serde_json::from_slice::<Said>(body) else {
            return;
        };
        let mut challenges = said.challenges.into_iter();
        let challenge = challenges.find(|challenge| challenge.kind == TYPE);
        let told = challenge.map_or(said.meta.caa_identities, |challenge| challenge.issuers);
        // Section 3.1 of the draft: none, or more than ten, is no challenge.
        let sane = (1..=10).contains(&told.len()) && told.iter().all(|name| name.len() <= 253);
        if sane {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = told;
        }
    }

    pub(super) fn names(&self) -> Vec<String> {
        let names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.clone()
    }
}

impl Proof<'_> {
    /// Looks whether every name server of the zone has such a record for `host`.
    ///
    /// # Errors
    /// What is to be done about it.
    pub(super) async fn find(&self, dns: &Dns, host: &str, now: u64) -> Result<(), String> {
        let name = format!("{LABEL}.{host}");
        let told = dns.texts(&name).await?;
        let flaws = told.iter().filter_map(|texts| self.flaw(texts, now));
        match flaws.min() {
            None => Ok(()),
            Some(flaw) => Err(format!(
                "the record {name} {flaw}; set it once: {name}. TXT \"{self}\""
            )),
        }
    }

    /// What is wrong with the records of one server; `None` where one of them will do.
    fn flaw(&self, texts: &[String], now: u64) -> Option<Flaw> {
        let each = texts.iter().map(|text| self.flaw_of(text, now));
        let best = each.max_by_key(|flaw| flaw.map_or((1, Flaw::Missing), |flaw| (0, flaw)));
        best.unwrap_or(Some(Flaw::Missing))
    }

    /// Of an issue-value (RFC 8659 section 4.2). Tags and policies are in any case, what is unknown is
    /// passed over, and what is there twice is wrong.
    fn flaw_of(&self, text: &str, now: u64) -> Option<Flaw> {
        let mut parts = text.split(';').map(str::trim);
        let issuer = parts.next().unwrap_or_default().trim_end_matches('.');
        let known = |name: &String| name.eq_ignore_ascii_case(issuer);
        if !self.issuers.iter().any(known) {
            return Some(Flaw::Issuer);
        }
        let (mut account, mut policy, mut until) = (None, None, None);
        for part in parts {
            let Some((tag, value)) = part.split_once('=') else {
                continue;
            };
            let place = match tag.trim().to_ascii_lowercase().as_str() {
                "accounturi" => &mut account,
                "policy" => &mut policy,
                "persistuntil" => &mut until,
                _ => continue,
            };
            if place.replace(value.trim()).is_some() {
                return Some(Flaw::Issuer);
            }
        }
        if account != Some(self.account) {
            return Some(Flaw::Account);
        }
        let is_wildcard = |policy: &str| policy.eq_ignore_ascii_case("wildcard");
        if self.wildcard && !policy.is_some_and(is_wildcard) {
            return Some(Flaw::Policy);
        }
        let lasts = |until: &str| until.parse().is_ok_and(|until: u64| now <= until);
        if until.is_some_and(|until| !lasts(until)) {
            return Some(Flaw::Ended);
        }
        None
    }
}

/// What is to be set.
impl fmt::Display for Proof<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let issuer = self.issuers.first().map_or("", String::as_str);
        write!(f, "{issuer}; accounturi={}", self.account)?;
        match self.wildcard {
            true => f.write_str("; policy=wildcard"),
            false => Ok(()),
        }
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "is missing",
            Self::Issuer => "is not for this CA",
            Self::Account => "is for another account",
            Self::Policy => "does not allow wildcards",
            Self::Ended => "has ended by its own persistUntil",
        })
    }
}

/// As much of a directory or an authorization as is needed.
#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    meta: Meta,
    #[serde(default)]
    challenges: Vec<Offered>,
}

#[derive(Default, Deserialize)]
struct Meta {
    #[serde(default, rename = "caaIdentities")]
    caa_identities: Vec<String>,
}

#[derive(Deserialize)]
struct Offered {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default, rename = "issuer-domain-names")]
    issuers: Vec<String>,
}

/// Of the challenge.
pub(super) const TYPE: &str = "dns-persist-01";
const LABEL: &str = "_validation-persist";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_record_lacks() {
        let issuers = ["ca.example".to_owned(), "ca2.example".to_owned()];
        let account = "https://ca.example/acct/1";
        let proof = |wildcard| Proof {
            issuers: &issuers,
            account,
            wildcard,
        };
        let ours = format!("ca.example; accounturi={account}");
        for (wildcard, texts, flaw) in [
            (false, vec![], Some(Flaw::Missing)),
            (false, vec![ours.clone()], None),
            (true, vec![ours.clone()], Some(Flaw::Policy)),
            (true, vec![proof(true).to_string()], None),
            (
                false,
                vec![format!(
                    "CA2.Example.;accountURI={account};Policy=WildCard;x"
                )],
                None,
            ),
            (
                false,
                vec![format!("other.example; accounturi={account}")],
                Some(Flaw::Issuer),
            ),
            (
                false,
                vec![format!("{ours}; accounturi={account}")],
                Some(Flaw::Issuer),
            ),
            (
                false,
                vec!["ca.example".into(), "v=spf1".into()],
                Some(Flaw::Account),
            ),
            (
                false,
                vec![format!("{ours}0"), "v=spf1".into()],
                Some(Flaw::Account),
            ),
            (false, vec!["v=spf1".into(), ours.clone()], None),
            (false, vec![format!("{ours}; persistUntil=100")], None),
            (
                false,
                vec![format!("{ours}; persistUntil=99")],
                Some(Flaw::Ended),
            ),
            (
                false,
                vec![format!("{ours}; persistUntil=soon")],
                Some(Flaw::Ended),
            ),
        ] {
            assert_eq!(proof(wildcard).flaw(&texts, 100), flaw, "{texts:?}");
        }
        assert_eq!(
            proof(true).to_string(),
            "ca.example; accounturi=https://ca.example/acct/1; policy=wildcard"
        );
    }

    #[test]
    fn names_of_a_ca_are_those_it_said_last() {
        let issuers = Issuers::default();
        let eleven = format!(
            r#"{{"meta":{{"caaIdentities":[{}]}}}}"#,
            ["\"x\""; 11].join(",")
        );
        for (said, names) in [
            (r#"{"meta":{"termsOfService":"https://ca"}}"#, vec![]),
            (
                r#"{"meta":{"caaIdentities":["a.example"]}}"#,
                vec!["a.example"],
            ),
            (eleven.as_str(), vec!["a.example"]),
            (
                r#"{"challenges":[{"type":"http-01"},{"type":"dns-persist-01","issuer-domain-names":["b.example","c.example"]}]}"#,
                vec!["b.example", "c.example"],
            ),
            (
                r#"{"challenges":[{"type":"dns-persist-01","issuer-domain-names":[]}]}"#,
                vec!["b.example", "c.example"],
            ),
            ("dns-persist-01", vec!["b.example", "c.example"]),
        ] {
            issuers.hear(said.as_bytes());
            assert_eq!(issuers.names(), names, "{said}");
        }
    }
}
