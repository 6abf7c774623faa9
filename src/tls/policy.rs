//! Rules of a connection, compiled: versions, client certificates, and tickets that are good under
//! these rules alone.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::hash::{BuildHasher, Hasher};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};

use crate::model::{ClientAuth, TlsPolicy};

use super::served::TlsParts;
use super::suites::Preference;

/// Rules as configs that lack only their certificate.
#[derive(Debug)]
pub struct Policy {
    pub(super) aes: ServerConfig,
    pub(super) chacha: ServerConfig,
    /// Of the authority's file.
    hash: u64,
}

/// What has become of some rules.
#[derive(Debug, Clone)]
pub(super) struct Compiled {
    /// `None`: they cannot be kept. Those whose file is broken by now go on as they were.
    pub(super) policy: Option<Arc<Policy>>,
    /// Why they cannot be, or not as their file is now.
    pub(super) fault: Option<Arc<str>>,
}

pub(super) type Policies = HashMap<TlsPolicy, Compiled>;

impl Policy {
    pub(super) fn template(&self, preference: Preference) -> &ServerConfig {
        match preference {
            Preference::Aes => &self.aes,
            Preference::ChaCha => &self.chacha,
        }
    }
}

/// Compiles what is wanted; what is compiled already and whose file is the same stays the same, with
/// its tickets. Blocks for as long as it takes to read the files.
pub(super) fn compile(
    wanted: &BTreeSet<TlsPolicy>,
    before: &Policies,
    parts: &TlsParts,
    directory: Option<&Path>,
) -> Policies {
    let compiled = wanted.iter().map(|spec| {
        let old = before.get(spec);
        let known = old.and_then(|old| old.policy.as_ref());
        let compiled = match one(spec, known, parts, directory) {
            Ok(policy) => Compiled {
                policy: Some(policy),
                fault: None,
            },
            Err(fault) => Compiled {
                policy: known.map(Arc::clone),
                fault: Some(fault.into()),
            },
        };
        tell(spec, old, &compiled);
        (spec.clone(), compiled)
    });
    compiled.collect()
}

fn tell(spec: &TlsPolicy, old: Option<&Compiled>, now: &Compiled) {
    let Some(ClientAuth { ca, .. }) = &spec.client else {
        return;
    };
    let before = old.and_then(|old| old.fault.as_ref());
    match &now.fault {
        Some(fault) if before != Some(fault) && now.policy.is_some() => {
            tracing::error!(
                file = ca,
                "wharf.tls.client_ca: {fault}; what it held before counts"
            );
        }
        Some(fault) if before != Some(fault) => {
            tracing::error!(
                file = ca,
                "wharf.tls.client_ca: {fault}; its routes answer 503"
            );
        }
        None if before.is_some() => tracing::info!(file = ca, "wharf.tls.client_ca is right again"),
        Some(_) | None => {}
    }
}

fn one(
    spec: &TlsPolicy,
    known: Option<&Arc<Policy>>,
    parts: &TlsParts,
    directory: Option<&Path>,
) -> Result<Arc<Policy>, String> {
    let Some(client) = &spec.client else {
        if let Some(known) = known {
            return Ok(Arc::clone(known));
        }
        let policy = parts.policy(spec.min, None);
        let (aes, chacha) = policy.map_err(|error| error.to_string())?;
        return Ok(Arc::new(Policy {
            aes,
            chacha,
            hash: 0,
        }));
    };
    let pem = read(&path_of(client, directory))?;
    let mut hasher = foldhash::quality::FixedState::with_seed(0).build_hasher();
    hasher.write(&pem);
    let hash = hasher.finish();
    if let Some(known) = known.filter(|known| known.hash == hash) {
        return Ok(Arc::clone(known));
    }
    let verifier = verifier(&pem, client.optional, parts)?;
    let policy = parts.policy(spec.min, Some(verifier));
    let (aes, chacha) = policy.map_err(|error| error.to_string())?;
    Ok(Arc::new(Policy { aes, chacha, hash }))
}

/// Certificates of authorities, and lists of what they have revoked, if those stand there too.
fn verifier(
    pem: &[u8],
    optional: bool,
    parts: &TlsParts,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, String> {
    let damaged = |_| "its PEM is damaged".to_owned();
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let added = roots.add(certificate.map_err(damaged)?);
        added.map_err(|_| "holds a certificate that is no authority's".to_owned())?;
    }
    if roots.is_empty() {
        return Err("holds no certificate".to_owned());
    }
    let revoked: Vec<_> = CertificateRevocationListDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(damaged)?;
    let mut builder = WebPkiClientVerifier::builder_with_provider(roots.into(), parts.provider());
    if !revoked.is_empty() {
        // Authorities without a list have revoked nothing.
        builder = builder.with_crls(revoked).allow_unknown_revocation_status();
    }
    if optional {
        builder = builder.allow_unauthenticated();
    }
    builder.build().map_err(|error| error.to_string())
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, String> {
    let mut pem = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FILE_MAX + 1).read_to_end(&mut pem));
    read.map_err(|error| format!("cannot be read: {error}"))?;
    match pem.len() as u64 > FILE_MAX {
        true => Err("is larger than 4 MiB".to_owned()),
        false => Ok(pem),
    }
}

pub(super) fn path_of(client: &ClientAuth, directory: Option<&Path>) -> PathBuf {
    match directory {
        Some(directory) => directory.join(&client.ca),
        None => PathBuf::from(&client.ca),
    }
}

/// Lists of revoked certificates may be long.
const FILE_MAX: u64 = 4 << 20;
