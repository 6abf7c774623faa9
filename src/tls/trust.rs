//! Apps that speak TLS: client configs by whose word counts for their certificates.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, Hasher};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore,
    SignatureScheme,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::policy::read;
use crate::model::{AppTls, Verify};

/// What has become of one way to believe apps.
#[derive(Debug, Clone)]
pub(super) struct Trusted {
    /// `None`: nobody can be believed. Where the file is broken by now, as it was.
    pub(super) config: Option<Arc<ClientConfig>>,
    /// Of the file.
    hash: u64,
    /// Why there is none, or not as the file is now.
    pub(super) fault: Option<Arc<str>>,
}

pub(super) type Trusts = HashMap<Verify, Trusted>;

/// Compiles what is wanted; what is compiled already and whose file is the same stays the same. Blocks for
/// as long as it takes to read the files.
pub(super) fn compile(
    wanted: &BTreeSet<Verify>,
    before: &Trusts,
    provider: &Arc<CryptoProvider>,
    directory: Option<&Path>,
) -> Trusts {
    let compiled = wanted.iter().map(|verify| {
        let old = before.get(verify);
        let trusted = one(verify, old, provider, directory).unwrap_or_else(|fault| Trusted {
            config: old.and_then(|old| old.config.clone()),
            hash: old.map_or(0, |old| old.hash),
            fault: Some(fault.into()),
        });
        tell(verify, old, &trusted);
        (verify.clone(), trusted)
    });
    compiled.collect()
}

fn tell(verify: &Verify, old: Option<&Trusted>, now: &Trusted) {
    let before = old.and_then(|old| old.fault.as_ref());
    match &now.fault {
        Some(fault) if before != Some(fault) && now.config.is_some() => {
            tracing::error!("wharf.upstream.verify: {verify}: {fault}; what it held before counts");
        }
        Some(fault) if before != Some(fault) => {
            tracing::error!("wharf.upstream.verify: {verify}: {fault}; its apps get no requests");
        }
        None if before.is_some() => {
            tracing::info!("wharf.upstream.verify: {verify} is right again");
        }
        Some(_) | None => {}
    }
}

fn one(
    verify: &Verify,
    old: Option<&Trusted>,
    provider: &Arc<CryptoProvider>,
    directory: Option<&Path>,
) -> Result<Trusted, String> {
    let whole = old.filter(|old| old.config.is_some());
    let (verifier, hash): (Arc<dyn ServerCertVerifier>, u64) = match (verify, whole) {
        (Verify::File(path), whole) => {
            let pem = read(&path_of(path, directory))?;
            let mut hasher = foldhash::quality::FixedState::with_seed(0).build_hasher();
            hasher.write(&pem);
            let hash = hasher.finish();
            if let Some(same) = whole.filter(|old| old.hash == hash) {
                return Ok(Trusted {
                    fault: None,
                    ..same.clone()
                });
            }
            (Arc::new(Named::read(&pem, provider)?), hash)
        }
        (_, Some(same)) => return Ok(same.clone()),
        (Verify::On, None) => {
            let roots = webpki_roots::TLS_SERVER_ROOTS.to_vec();
            (authorities(RootCertStore { roots }, provider)?, 0)
        }
        (Verify::Off, None) => (Arc::new(Anybody(Arc::clone(provider))), 0),
    };
    let builder = ClientConfig::builder_with_provider(Arc::clone(provider));
    let builder = builder.with_safe_default_protocol_versions();
    let mut config = builder
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Trusted {
        config: Some(Arc::new(config)),
        hash,
        fault: None,
    })
}

fn authorities(
    roots: RootCertStore,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, String> {
    WebPkiServerVerifier::builder_with_provider(roots.into(), Arc::clone(provider))
        .build()
        .map_err(|error| error.to_string())
}

pub(super) fn path_of(file: &str, directory: Option<&Path>) -> PathBuf {
    match directory {
        Some(directory) => directory.join(file),
        None => PathBuf::from(file),
    }
}

/// Whom a certificate has to be for, and what the handshake names.
pub fn server_name(tls: &AppTls, ip: IpAddr) -> ServerName<'static> {
    let named = tls.name.as_ref().map(|name| name.as_str().to_owned());
    let name = named.and_then(|name| ServerName::try_from(name).ok());
    name.unwrap_or_else(|| ip.into())
}

/// Why a handshake with an app failed.
#[derive(Debug)]
pub struct HandshakeFault {
    /// In words, the app being the subject.
    pub why: String,
    /// What to do about it, if that is known.
    pub remedy: Option<&'static str>,
    /// It is no app that has just not started yet.
    pub lasting: bool,
}

impl HandshakeFault {
    /// Where HTTP/2 was asked for; `error` where the handshake did not even come to its end.
    pub fn without_http2(error: Option<&std::io::Error>) -> Self {
        let known = error.and_then(|error| error.get_ref()?.downcast_ref());
        let refused = Error::AlertReceived(AlertDescription::NoApplicationProtocol);
        match error {
            Some(error) if known != Some(&refused) => Self::of(error),
            _ => Self {
                why: "it does not offer HTTP/2 (ALPN `h2`)".into(),
                remedy: Some("wharf.proto: https speaks HTTP/1.1 over TLS to it"),
                lasting: true,
            },
        }
    }

    pub fn of(error: &std::io::Error) -> Self {
        let inner = error.get_ref();
        let known = inner.and_then(|inner| inner.downcast_ref());
        let (why, remedy) = match known {
            Some(error) => explained(error),
            None if error.kind() == std::io::ErrorKind::UnexpectedEof => (
                "it closed the connection during the TLS handshake".into(),
                Some(IN_CLEAR),
            ),
            None => (format!("the TLS handshake failed: {error}"), None),
        };
        Self {
            why,
            remedy,
            lasting: known.is_some(),
        }
    }
}

fn explained(error: &Error) -> (String, Option<&'static str>) {
    match error {
        Error::InvalidCertificate(why) => certificate_fault(why),
        Error::InvalidMessage(_) => ("what it sent is not TLS".into(), Some(IN_CLEAR)),
        Error::AlertReceived(AlertDescription::NoApplicationProtocol) => {
            ("it speaks no HTTP/1.1 over TLS".into(), None)
        }
        Error::AlertReceived(AlertDescription::UnrecognisedName) => (
            "it has no certificate for the name that it was asked for".into(),
            Some("wharf.upstream.sni names another"),
        ),
        Error::AlertReceived(AlertDescription::CertificateRequired) => {
            ("it asks for a client certificate".into(), None)
        }
        error => (format!("the TLS handshake failed: {error}"), None),
    }
}

fn certificate_fault(why: &CertificateError) -> (String, Option<&'static str>) {
    match why {
        CertificateError::UnknownIssuer => (
            "its certificate is signed by nobody who is trusted; it may be one that the app made itself".into(),
            Some(BELIEVE),
        ),
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => (
            "its certificate is one that the app signed itself".into(),
            Some(BELIEVE),
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => (
            format!("its certificate is for another name: {why}"),
            Some("wharf.upstream.sni says which name it has to be for"),
        ),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            ("its certificate has expired".into(), Some(BELIEVE))
        }
        why => (format!("its certificate is not believed: {why}"), Some(BELIEVE)),
    }
}

const BELIEVE: &str = "wharf.upstream.verify: file:app.pem trusts that very certificate, or the authority that has signed it, from a PEM file in WHARF_CERTS; `off` trusts anybody who answers there";
const IN_CLEAR: &str = "an app that speaks plain HTTP on this port needs no wharf.proto: https; wharf.port chooses another port";

/// Believes those that the authorities in a file have signed, and the certificates in it themselves. Apps
/// that make a certificate for themselves make one that is no authority's, or is both; either will do.
#[derive(Debug)]
struct Named {
    authorities: Arc<WebPkiServerVerifier>,
    themselves: Vec<CertificateDer<'static>>,
}

impl Named {
    fn read(pem: &[u8], provider: &Arc<CryptoProvider>) -> Result<Self, String> {
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<_, _>>()
            .map_err(|_| "its PEM is damaged".to_owned())?;
        if certificates.is_empty() {
            return Err("holds no certificate".to_owned());
        }
        let mut roots = RootCertStore::empty();
        for certificate in &certificates {
            let added = roots.add(certificate.clone());
            added.map_err(|_| "holds a certificate that is damaged".to_owned())?;
        }
        Ok(Self {
            authorities: authorities(roots, provider)?,
            themselves: certificates,
        })
    }
}

impl ServerCertVerifier for Named {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.themselves.contains(end_entity) {
            // Whose it is need not be asked: it is the one that was shown. But not for ever.
            return in_time(end_entity, now).map(|()| ServerCertVerified::assertion());
        }
        let authorities = &self.authorities;
        authorities.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let authorities = &self.authorities;
        authorities.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let authorities = &self.authorities;
        authorities.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.supported_verify_schemes()
    }
}

fn in_time(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let parsed = X509Certificate::from_der(certificate);
    let (_, parsed) = parsed.map_err(|_| CertificateError::BadEncoding)?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let validity = parsed.validity();
    if now < validity.not_before.timestamp() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now > validity.not_after.timestamp() {
        return Err(CertificateError::Expired.into());
    }
    Ok(())
}

/// Believes anybody who has the key of the certificate shown.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn pem(name: &str) -> String {
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().pem()
    }

    #[test]
    fn a_file_is_followed_and_one_that_breaks_leaves_what_it_held() {
        let directory = tempfile::tempdir().unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let file = || Verify::File("app.pem".into());
        let wanted = BTreeSet::from([Verify::On, Verify::Off, file()]);
        let mut trusts = Trusts::new();
        let mut look = || {
            trusts = compile(&wanted, &trusts, &provider, Some(directory.path()));
            assert_eq!(trusts.len(), 3);
            for verify in [Verify::On, Verify::Off] {
                let trusted = &trusts[&verify];
                assert!(trusted.config.is_some() && trusted.fault.is_none());
            }
            let trusted = trusts[&file()].clone();
            (trusted.config, trusted.fault.map(|fault| fault.to_string()))
        };
        let (config, fault) = look();
        assert!(config.is_none() && fault.unwrap().contains("cannot be read"));
        let path = directory.path().join("app.pem");
        fs::write(&path, pem("a.test")).unwrap();
        let (first, fault) = look();
        let first = first.unwrap();
        assert_eq!(fault, None);
        let (same, _) = look();
        assert!(Arc::ptr_eq(&first, &same.unwrap()), "with its sessions");
        fs::write(&path, "").unwrap();
        let (kept, fault) = look();
        assert!(Arc::ptr_eq(&first, &kept.unwrap()));
        assert_eq!(fault.as_deref(), Some("holds no certificate"));
        fs::write(&path, pem("b.test")).unwrap();
        let (other, fault) = look();
        assert!(!Arc::ptr_eq(&first, &other.unwrap()) && fault.is_none());
    }

    #[test]
    fn the_name_is_the_labels_or_the_address() {
        let ip = IpAddr::from([10, 0, 0, 1]);
        let named = |name: Option<&str>| {
            let name = name.map(|name| crate::model::Host::parse(name).unwrap());
            let verify = Verify::On;
            server_name(&AppTls { verify, name }, ip)
                .to_str()
                .into_owned()
        };
        assert_eq!(named(Some("my_app.internal")), "my_app.internal");
        assert_eq!(named(Some("10.0.0.2")), "10.0.0.2");
        assert_eq!(named(None), "10.0.0.1");
    }
}
