//! What is done with a certificate that was found: a record for each of its names, or why not.

use std::net::IpAddr;
use std::time::SystemTime;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::model::HostPattern;

use super::super::CertSource;
use super::super::book::covers_local_names;
use super::super::served::TlsParts;
use super::super::store::{Record, Records};
use super::super::x509::Facts;
use super::Candidate;

/// One name of what was found, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Where it was found.
    pub origin: String,
    /// Empty where no single name is meant.
    pub name: String,
    pub verdict: Verdict,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The store has it, or would have it, until then.
    Imported { until: SystemTime },
    /// The store has one that is as good.
    Known,
    /// It is not taken, for this reason.
    Skipped(String),
}

/// Where certificates go, and what they are checked with.
pub(in crate::tls) struct Shelf<'r> {
    pub(in crate::tls) records: &'r Records,
    /// Of the CA that will renew them.
    pub(in crate::tls) directory: &'r str,
    /// Whether that CA is a public one, which never issues for local names.
    pub(in crate::tls) public: bool,
    pub(in crate::tls) parts: &'r TlsParts,
    pub(in crate::tls) now: SystemTime,
    /// Nothing is written.
    pub(in crate::tls) dry: bool,
}

/// Takes one certificate over, under each of its names.
pub(in crate::tls) fn take(candidate: &Candidate, into: &Shelf<'_>) -> Vec<Taken> {
    let taken = |name: &str, verdict| Taken {
        origin: candidate.origin.clone(),
        name: name.to_owned(),
        verdict,
    };
    let facts = match look(candidate, into.now) {
        Ok(facts) => facts,
        Err(why) => return vec![taken("", Verdict::Skipped(why))],
    };
    let addresses = facts.ips.iter().map(IpAddr::to_string);
    let names = facts.names.iter().cloned().chain(addresses);
    let each = names.map(|name| match one(candidate, &facts, &name, into) {
        Ok(verdict) => taken(&name, verdict),
        Err(why) => taken(&name, Verdict::Skipped(why)),
    });
    let all: Vec<_> = each.collect();
    match all.is_empty() {
        true => vec![taken("", Verdict::Skipped("it has no names".to_owned()))],
        false => all,
    }
}

/// What it is, unless it is of no use for any name.
fn look(candidate: &Candidate, now: SystemTime) -> Result<Facts, String> {
    let mut chain = CertificateDer::pem_slice_iter(candidate.chain.as_bytes());
    let leaf = chain.next().ok_or("it holds no certificate")?;
    let leaf = leaf.map_err(|error| error.to_string())?;
    let facts = Facts::read(&leaf).map_err(|error| error.to_string())?;
    if facts.not_after <= now {
        let end = httpdate::fmt_http_date(facts.not_after);
        return Err(format!("it ended on {end}"));
    }
    if facts.issuer.contains("STAGING") || facts.issuer.starts_with("Fake LE") {
        return Err(format!("it is from a CA for tests, {}", facts.issuer));
    }
    if chain.next().is_none() && facts.issuer == facts.subject {
        return Err("it is self-signed".to_owned());
    }
    Ok(facts)
}

fn one(
    candidate: &Candidate,
    facts: &Facts,
    name: &str,
    into: &Shelf<'_>,
) -> Result<Verdict, String> {
    let pattern = HostPattern::parse(name).map_err(|why| why.to_string())?;
    is_ordered(&pattern, into.public)?;
    let host = pattern.to_string();
    let (chain, key) = (candidate.chain.clone(), candidate.key.clone());
    let served = into.parts.serve(&pattern, CertSource::Acme, chain, key);
    let served = served.map_err(|why| why.to_string())?;
    served.certified().map_err(|why| why.to_string())?;

    let busy = "a running Wharf works on this name; try again in a minute";
    let _lock = into.records.lock_blocking(&host).ok_or(busy)?;
    let known = into.records.peek(&host);
    let end = |record: &Record| {
        let chain = record.chain.as_ref()?;
        let leaf = CertificateDer::from_pem_slice(chain.as_bytes()).ok()?;
        Some(Facts::read(&leaf).ok()?.not_after)
    };
    if known.as_ref().and_then(end) >= Some(facts.not_after) {
        return Ok(Verdict::Known);
    }
    if !into.dry {
        let record = Record {
            key: Some(candidate.key.clone()),
            chain: Some(candidate.chain.clone()),
            ..known.unwrap_or_else(|| Record::new(host, into.directory))
        };
        let saved = into.records.save(&record);
        saved.map_err(|error| format!("it cannot be stored: {error}"))?;
    }
    Ok(Verdict::Imported {
        until: facts.not_after,
    })
}

/// Whether certificates of other CAs are used for a name at all.
fn is_ordered(pattern: &HostPattern, public: bool) -> Result<(), String> {
    let is_local = match pattern {
        HostPattern::Below(_) | HostPattern::Regex(_) | HostPattern::Default => {
            return Err("not a host name".to_owned());
        }
        HostPattern::Wildcard(suffix) => covers_local_names(suffix),
        HostPattern::Exact(host) => host.is_loopback_name() || public && host.is_local(),
    };
    match is_local {
        true => Err("Wharf's own CA serves local names".to_owned()),
        false => Ok(()),
    }
}
