//! Keys and certificates that belong together, by the keys in them; each certificate with those that
//! lead to its root, in order.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::RootCertStore;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::server::ParsedCertificate;
use rustls::sign::SigningKey;
use rustls_pki_types::{CertificateDer, UnixTime};

use super::read::Found;
use super::{FileProblem, OwnCert};
use crate::tls::served::{TlsParts, signing_key};
use crate::tls::x509::{Facts, Links};

/// A key that can be used.
struct Key {
    path: PathBuf,
    /// DER of the public half.
    public: Vec<u8>,
    signing: Arc<dyn SigningKey>,
    used: bool,
}

/// The certificates that have a key; what is left over and should not be is told.
pub(super) fn assemble(
    found: Found,
    parts: &TlsParts,
    problems: &mut Vec<FileProblem>,
) -> Vec<Arc<OwnCert>> {
    let mut keys: Vec<Key> = Vec::new();
    for (path, key) in found.keys {
        match signing_key(&key).map(|signing| (signing.public_key().map(|k| k.to_vec()), signing)) {
            Ok((Some(public), signing)) => keys.push(Key {
                path,
                public,
                signing,
                used: false,
            }),
            Ok((None, _)) => problems.push(error(path, "its key is of a kind Wharf cannot use")),
            Err(_) => problems.push(error(
                path,
                "its key is damaged, or of a kind Wharf cannot use",
            )),
        }
    }
    // Without leaves: what may stand between one and its root, by its subject.
    let mut issuers: HashMap<Vec<u8>, Vec<CertificateDer<'static>>> = HashMap::new();
    for certificate in found.chains.iter().flat_map(|(_, chain)| chain) {
        if let Some(links) = Links::read(certificate)
            && links.is_ca
            && links.subject != links.issuer
        {
            issuers
                .entry(links.subject)
                .or_default()
                .push(certificate.clone());
        }
    }
    let mut made = Vec::new();
    let mut seen = HashSet::new();
    let mut lonely = Vec::new();
    for (path, chain) in &found.chains {
        let mut has_leaf = false;
        let mut fault = None;
        for certificate in chain {
            let public = match ParsedCertificate::try_from(certificate) {
                Ok(parsed) => parsed.subject_public_key_info().to_vec(),
                Err(_) => {
                    fault = Some("holds a certificate that cannot be read");
                    continue;
                }
            };
            let Some(key) = keys.iter_mut().find(|key| key.public == public) else {
                continue;
            };
            key.used = true;
            has_leaf = true;
            // `cert.pem` beside `fullchain.pem` is the same certificate once more.
            if seen.insert(certificate.to_vec()) {
                match make(path, certificate, chain, &issuers, key, parts) {
                    Ok(one) => made.push(Arc::new(one)),
                    Err(reason) => problems.push(error(path.clone(), &reason)),
                }
            }
        }
        if let Some(fault) = fault {
            problems.push(error(path.clone(), fault));
        } else if !has_leaf
            && !chain
                .iter()
                .all(|one| Links::read(one).is_some_and(|l| l.is_ca))
        {
            lonely.push(path.clone());
        }
    }
    let unused: Vec<&Key> = keys.iter().filter(|key| !key.used).collect();
    for path in lonely {
        let reason = match &unused[..] {
            [] => "there is no key for its certificate".to_owned(),
            [key] => format!(
                "there is no key for its certificate; {} is another one's",
                key.path.display()
            ),
            [_, _, ..] => "none of the keys is its certificate's".to_owned(),
        };
        problems.push(error(path, &reason));
    }
    for key in unused {
        problems.push(error(
            key.path.clone(),
            "there is no certificate for its key",
        ));
    }
    made
}

fn make(
    path: &Path,
    leaf: &CertificateDer<'static>,
    file: &[CertificateDer<'static>],
    issuers: &HashMap<Vec<u8>, Vec<CertificateDer<'static>>>,
    key: &Key,
    parts: &TlsParts,
) -> Result<OwnCert, String> {
    let facts = Facts::read(leaf).map_err(|error| error.to_string())?;
    let (chain, mut warning) = order(leaf, file, issuers)?;
    match verify(&chain, &facts, parts) {
        Ok(()) => {}
        Err(rustls::Error::InvalidCertificate(why)) if is_out_of_date(&why) => {
            warning = Some("one of its intermediate certificates has ended".into());
        }
        Err(why) => return Err(format!("its chain does not hold: {why}")),
    }
    if facts.names.is_empty() && facts.ips.is_empty() {
        let reason = "names no host (no subjectAltName): only wharf.tls: file: finds it, and browsers refuse it";
        warning = Some(reason.into());
    }
    let served = parts
        .serve_own(facts.clone(), chain, Arc::clone(&key.signing))
        .map_err(|why| why.to_string())?;
    Ok(OwnCert {
        path: path.to_owned(),
        key_path: key.path.clone(),
        facts,
        served: Arc::new(served),
        warning,
    })
}

/// The leaf and those that lead to its root, as RFC 8446 section 4.4.2 wants them; the root itself, and what does
/// not belong to the chain, stay out. First from the leaf's own file, then from the others.
fn order(
    leaf: &CertificateDer<'static>,
    file: &[CertificateDer<'static>],
    issuers: &HashMap<Vec<u8>, Vec<CertificateDer<'static>>>,
) -> Result<(Vec<CertificateDer<'static>>, Option<String>), String> {
    let damaged = || "holds a certificate that cannot be read".to_owned();
    let mut chain = vec![leaf.clone()];
    let mut links = Links::read(leaf).ok_or_else(damaged)?;
    while links.subject != links.issuer && chain.len() < CHAIN_MOST {
        let own = file.iter().find(|one| {
            !chain.contains(one) && Links::read(one).is_some_and(|l| l.subject == links.issuer)
        });
        let other = || {
            issuers
                .get(&links.issuer)?
                .iter()
                .find(|one| !chain.contains(one))
        };
        let Some(next) = own.or_else(other) else {
            break;
        };
        let found = Links::read(next).ok_or_else(damaged)?;
        if found.subject == found.issuer {
            break;
        }
        chain.push(next.clone());
        links = found;
    }
    let public = || {
        let mut roots = webpki_roots::TLS_SERVER_ROOTS.iter();
        roots.any(|root| links.issuer.ends_with(&root.subject))
    };
    // Public authorities say where the missing one is to be had, which few clients follow.
    let incomplete = chain.len() == 1 && links.has_issuer_url && !public();
    let warning = incomplete.then(|| {
        "the certificate of its issuer is missing: put the whole chain (fullchain) into the file".to_owned()
    });
    Ok((chain, warning))
}

/// Whether each certificate has signed the one before it.
fn verify(
    chain: &[CertificateDer<'static>],
    facts: &Facts,
    parts: &TlsParts,
) -> Result<(), rustls::Error> {
    let Some((last, others)) = chain.split_last() else {
        return Ok(());
    };
    let Some((leaf, _)) = others.split_first() else {
        // Nothing but a leaf: its root is the client's affair.
        return Ok(());
    };
    let mut roots = RootCertStore::empty();
    roots.add(last.clone())?;
    // Within its own time: an end is told elsewhere.
    let at = SystemTime::now().clamp(facts.not_before, facts.not_after - Duration::from_secs(1));
    let at = at
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    verify_server_cert_signed_by_trust_anchor(
        &ParsedCertificate::try_from(leaf)?,
        &roots,
        &others[1..],
        UnixTime::since_unix_epoch(at),
        parts.provider().signature_verification_algorithms.all,
    )
}

fn is_out_of_date(why: &rustls::CertificateError) -> bool {
    use rustls::CertificateError as E;
    matches!(
        why,
        E::Expired | E::ExpiredContext { .. } | E::NotValidYet | E::NotValidYetContext { .. }
    )
}

fn error(path: PathBuf, reason: &str) -> FileProblem {
    FileProblem {
        path,
        reason: reason.to_owned(),
        is_error: true,
    }
}

/// Longer ones have a knot.
const CHAIN_MOST: usize = 10;
