//! The built-in CA: a root of ten years, made once and kept; leaves of a week, made when first asked
//! for and kept in memory only.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::model::HostPattern;

use super::served::{ServeError, Served, TlsParts};
use super::store::{LocalRoot, Records, VERSION};
use super::x509::Facts;
use super::{CertSource, TlsError};

/// The root and its key.
pub(super) struct LocalCa {
    issuer: rcgen::Issuer<'static, KeyPair>,
    certificate: String,
}

/// Why the built-in CA made no certificate.
#[derive(Debug, thiserror::Error)]
pub(super) enum LeafError {
    #[error(transparent)]
    Rcgen(#[from] rcgen::Error),
    #[error(transparent)]
    Serve(#[from] ServeError),
}

impl LocalCa {
    /// The stored root, or a new one. A stored root that is corrupt or past its end is put aside.
    pub(super) fn open(store: &Records, now: SystemTime) -> Result<Self, TlsError> {
        let _lock = store.lock_local();
        if let Some(root) = store.load_local() {
            match Self::restore(&root, now) {
                Ok(ca) => return Ok(ca),
                Err(why) => store.quarantine_local(&why),
            }
        }
        let root = generate(now)?;
        if let Err(error) = store.save_local(&root) {
            tracing::error!(%error, "the built-in CA cannot be kept: clients must trust a new one after a restart");
        }
        Self::restore(&root, now).map_err(|why| {
            tracing::error!("{why}");
            TlsError::Local(rcgen::Error::CouldNotParseCertificate)
        })
    }

    pub(super) fn root_pem(&self) -> &str {
        &self.certificate
    }

    /// A leaf for `pattern`, valid from an hour ago (clocks differ) for [`LEAF`].
    pub(super) fn issue(
        &self,
        parts: &TlsParts,
        pattern: &HostPattern,
        now: SystemTime,
    ) -> Result<Served, LeafError> {
        let name = match pattern {
            HostPattern::Default => DEFAULT_NAME.to_owned(),
            HostPattern::Exact(_) | HostPattern::Wildcard(_) => pattern.to_string(),
        };
        let mut params = CertificateParams::new(vec![name])?;
        params.distinguished_name = DistinguishedName::new();
        params.not_before = (now - SKEW).into();
        params.not_after = (now + LEAF).into();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let leaf = params.signed_by(&key, &self.issuer)?;
        let (chain, key) = (leaf.pem(), key.serialize_pem());
        Ok(parts.serve(pattern, CertSource::Internal, chain, key)?)
    }

    fn restore(root: &LocalRoot, now: SystemTime) -> Result<Self, Arc<str>> {
        let text = |error: &dyn std::fmt::Display| Arc::from(error.to_string());
        if root.version != VERSION {
            return Err("unknown version".into());
        }
        let der = CertificateDer::from_pem_slice(root.certificate.as_bytes())
            .map_err(|error| text(&error))?;
        let facts = Facts::read(&der).map_err(|error| text(&error))?;
        if facts.not_after < now + LEAF {
            return Err("the root is past its end".into());
        }
        let key = KeyPair::from_pem(&root.key).map_err(|error| text(&error))?;
        let parsed = rustls::server::ParsedCertificate::try_from(&der).map_err(|e| text(&e))?;
        if rcgen::PublicKeyData::subject_public_key_info(&key) != *parsed.subject_public_key_info()
        {
            return Err("key and certificate do not match".into());
        }
        Ok(Self {
            issuer: rcgen::Issuer::new(root_params(&facts.subject), key),
            certificate: root.certificate.clone(),
        })
    }
}

fn generate(now: SystemTime) -> Result<LocalRoot, rcgen::Error> {
    let key = KeyPair::generate()?;
    let id = &key.public_key_raw()[1..4];
    let name = format!("Wharf local CA {:02x}{:02x}{:02x}", id[0], id[1], id[2]);
    let mut params = root_params(&name);
    params.not_before = (now - SKEW).into();
    params.not_after = (now + ROOT).into();
    Ok(LocalRoot {
        version: VERSION,
        certificate: params.self_signed(&key)?.pem(),
        key: key.serialize_pem(),
    })
}

/// Everything of the root that its leaves repeat; must give the same for a restored root.
fn root_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const ROOT: Duration = Duration::from_secs(3650 * DAY.as_secs());
const LEAF: Duration = Duration::from_secs(7 * DAY.as_secs());
const SKEW: Duration = Duration::from_secs(60 * 60);
/// Name of the certificate of `default`, which stands for no name.
const DEFAULT_NAME: &str = "default.wharf.internal";

#[cfg(test)]
mod tests {
    use super::*;

    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier;
    use rustls_pki_types::{ServerName, UnixTime};

    fn store(data: &tempfile::TempDir) -> Records {
        Records::open(Some(data.path()), "https://ca.example/dir")
    }

    fn verify(ca: &LocalCa, pattern: &str, name: &str) -> Result<(), rustls::Error> {
        let parts = TlsParts::new().unwrap();
        let pattern = HostPattern::parse(pattern).unwrap();
        let served = ca.issue(&parts, &pattern, SystemTime::now()).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(ca.root_pem().as_bytes()).unwrap();
        roots.add(root).unwrap();
        let verifier =
            WebPkiServerVerifier::builder_with_provider(roots.into(), parts.provider()).build();
        let name = ServerName::try_from(name).unwrap();
        let leaf = served.certified().unwrap().end_entity_cert()?;
        let verifier = verifier.unwrap();
        verifier.verify_server_cert(leaf, &[], &name, &[], UnixTime::now())?;
        Ok(())
    }

    #[test]
    fn clients_that_trust_the_root_accept_its_leaves() {
        let data = tempfile::tempdir().unwrap();
        let ca = LocalCa::open(&store(&data), SystemTime::now()).unwrap();
        for (pattern, name) in [
            ("app.localhost", "app.localhost"),
            ("nas", "nas"),
            ("*.home.arpa", "x.home.arpa"),
            ("192.168.1.5", "192.168.1.5"),
            ("::1", "::1"),
            ("default", DEFAULT_NAME),
        ] {
            assert_eq!(verify(&ca, pattern, name), Ok(()), "{pattern}");
        }
        assert!(verify(&ca, "a.test", "b.test").is_err());
    }

    #[test]
    fn the_root_stays_the_same_and_its_new_leaves_valid() {
        let data = tempfile::tempdir().unwrap();
        let first = LocalCa::open(&store(&data), SystemTime::now()).unwrap();
        let second = LocalCa::open(&store(&data), SystemTime::now()).unwrap();
        assert_eq!(first.root_pem(), second.root_pem());
        assert_eq!(verify(&second, "app.localhost", "app.localhost"), Ok(()));
        let readable = std::fs::read_to_string(data.path().join("ca/ca.crt")).unwrap();
        assert_eq!(readable, first.root_pem());
    }

    #[test]
    fn a_corrupt_root_is_replaced() {
        let data = tempfile::tempdir().unwrap();
        let first = LocalCa::open(&store(&data), SystemTime::now()).unwrap();
        std::fs::write(data.path().join("ca/ca.json"), "{").unwrap();
        let second = LocalCa::open(&store(&data), SystemTime::now()).unwrap();
        assert_ne!(first.root_pem(), second.root_pem());
        assert!(data.path().join("ca/ca.json.corrupt").exists());
    }
}
