//! One certificate with its rustls config.

use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::aws_lc_rs::{self, cipher_suite, default_provider};
use rustls::crypto::{CryptoProvider, KeyProvider};
use rustls::server::{NoServerSessionStorage, ProducesTickets};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ServerConfig, SupportedCipherSuite};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::model::HostPattern;

use super::CertSource;
use super::x509::{Facts, X509Error};

/// One certificate, ready to be served: the proxy hands [`Served::config`] to the handshake.
#[derive(Debug)]
pub struct Served {
    /// TLS 1.2 and 1.3, ALPN `h2` and `http/1.1`, this certificate whatever the SNI says.
    pub config: Arc<ServerConfig>,
    pub key: Arc<CertifiedKey>,
    /// End of validity; a certificate past it is still served, and renewed at once.
    pub not_after: SystemTime,
    pub not_before: SystemTime,
    pub source: CertSource,
    /// Common name (or organisation) of the issuer.
    pub issuer: String,
}

/// Why key and chain cannot be served.
#[derive(Debug, thiserror::Error)]
pub(super) enum ServeError {
    #[error("reading PEM: {0}")]
    Pem(#[from] rustls_pki_types::pem::Error),
    #[error("the chain is empty")]
    Empty,
    #[error("key or certificate: {0}")]
    Tls(#[from] rustls::Error),
    #[error(transparent)]
    X509(#[from] X509Error),
}

/// What all server configs share: algorithms and ticket keys.
#[derive(Debug)]
pub(super) struct TlsParts {
    provider: Arc<CryptoProvider>,
    /// Shared through certificate swaps, or clients could not resume after a renewal. rustls itself
    /// refuses to resume under another SNI.
    ticketer: Arc<dyn ProducesTickets>,
}

impl TlsParts {
    pub(super) fn new() -> Result<Self, rustls::Error> {
        Ok(Self {
            provider: Arc::new(CryptoProvider {
                cipher_suites: suites(),
                ..default_provider()
            }),
            ticketer: aws_lc_rs::Ticketer::new()?,
        })
    }

    /// Builds a [`Served`] from PEM; checks that key, certificate and `pattern` belong together.
    pub(super) fn serve(
        &self,
        pattern: &HostPattern,
        source: CertSource,
        chain_pem: &str,
        key_pem: &str,
    ) -> Result<Served, ServeError> {
        let chain =
            CertificateDer::pem_slice_iter(chain_pem.as_bytes()).collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())?;
        self.serve_der(pattern, source, chain, key)
    }

    /// As [`TlsParts::serve`], from DER.
    pub(super) fn serve_der(
        &self,
        pattern: &HostPattern,
        source: CertSource,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Served, ServeError> {
        let facts = Facts::read(chain.first().ok_or(ServeError::Empty)?)?;
        facts.covers(pattern)?;
        let key = self.certified(chain, key)?;
        key.keys_match()?;
        let key = Arc::new(key);
        let mut config = self.config(Arc::clone(&key))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.ticketer = Arc::clone(&self.ticketer);
        Ok(Served {
            config: Arc::new(config),
            key,
            not_after: facts.not_after,
            not_before: facts.not_before,
            source,
            issuer: facts.issuer,
        })
    }

    /// The config that answers a TLS-ALPN-01 challenge (RFC 8737 section 3).
    pub(super) fn serve_challenge(
        &self,
        certificate: CertificateDer<'static>,
        key: PrivateKeyDer<'static>,
    ) -> Result<ServerConfig, rustls::Error> {
        // Not checked against its key: rustls cannot parse the critical extension that makes it one.
        let mut config = self.config(Arc::new(self.certified(vec![certificate], key)?))?;
        config.alpn_protocols = vec![b"acme-tls/1".to_vec()];
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    /// For the ACME client.
    pub(super) fn provider(&self) -> Arc<CryptoProvider> {
        Arc::clone(&self.provider)
    }

    fn certified(
        &self,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<CertifiedKey, rustls::Error> {
        let provider: &dyn KeyProvider = self.provider.key_provider;
        Ok(CertifiedKey::new(chain, provider.load_private_key(key)?))
    }

    fn config(&self, key: Arc<CertifiedKey>) -> Result<ServerConfig, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
        config.ignore_client_order = true;
        // Resumption goes by tickets; the stateful store would be a mutex per host for nothing.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 1;
        Ok(config)
    }
}

/// Mozilla intermediate without DHE, AES-128-GCM first: the least CPU per byte on machines with AES
/// instructions, and no weaker in practice. With `ignore_client_order` this order decides.
fn suites() -> Vec<SupportedCipherSuite> {
    use cipher_suite as c;
    vec![
        c::TLS13_AES_128_GCM_SHA256,
        c::TLS13_AES_256_GCM_SHA384,
        c::TLS13_CHACHA20_POLY1305_SHA256,
        c::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        c::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        c::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        c::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        c::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        c::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    use rcgen::{CertificateParams, KeyPair};
    use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConnection};

    fn certificate(names: &[&str]) -> (rcgen::Certificate, KeyPair) {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(names).unwrap();
        (params.self_signed(&key).unwrap(), key)
    }

    fn serve(
        parts: &TlsParts,
        pattern: &str,
        pem: &str,
        key: &KeyPair,
    ) -> Result<Served, ServeError> {
        let pattern = HostPattern::parse(pattern).unwrap();
        parts.serve(&pattern, CertSource::Acme, pem, &key.serialize_pem())
    }

    fn handshake(client: &Arc<ClientConfig>, served: &Served) -> HandshakeKind {
        let name = "a.test".try_into().unwrap();
        let mut client = ClientConnection::new(Arc::clone(client), name).unwrap();
        let mut server = ServerConnection::new(Arc::clone(&served.config)).unwrap();
        for _ in 0..5 {
            let mut wire = Vec::new();
            client.write_tls(&mut wire).unwrap();
            server.read_tls(&mut &wire[..]).unwrap();
            server.process_new_packets().unwrap();
            wire.clear();
            server.write_tls(&mut wire).unwrap();
            client.read_tls(&mut &wire[..]).unwrap();
            client.process_new_packets().unwrap();
        }
        server.handshake_kind().unwrap()
    }

    #[test]
    fn sessions_resume_after_a_renewal() {
        let parts = TlsParts::new().unwrap();
        let (certificate, key) = certificate(&["a.test"]);
        let before = serve(&parts, "a.test", &certificate.pem(), &key).unwrap();
        let after = serve(&parts, "a.test", &certificate.pem(), &key).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).unwrap();
        for version in rustls::ALL_VERSIONS {
            let client = ClientConfig::builder_with_provider(default_provider().into())
                .with_protocol_versions(&[version])
                .unwrap()
                .with_root_certificates(roots.clone())
                .with_no_client_auth();
            let client = Arc::new(client);
            assert_ne!(handshake(&client, &before), HandshakeKind::Resumed);
            assert_eq!(
                handshake(&client, &after),
                HandshakeKind::Resumed,
                "{version:?}"
            );
        }
    }

    #[test]
    fn what_does_not_belong_together_is_not_served() {
        let parts = TlsParts::new().unwrap();
        let (one, one_key) = certificate(&["a.test", "*.b.test", "10.0.0.1"]);
        let (_, other_key) = certificate(&["a.test"]);
        let pem = one.pem();
        for pattern in ["a.test", "x.b.test", "*.b.test", "10.0.0.1", "default"] {
            assert!(serve(&parts, pattern, &pem, &one_key).is_ok(), "{pattern}");
        }
        for pattern in ["c.test", "b.test", "x.y.b.test", "*.test", "10.0.0.2"] {
            let refused = serve(&parts, pattern, &pem, &one_key);
            assert!(matches!(refused, Err(ServeError::X509(_))), "{pattern}");
        }
        let mismatch = serve(&parts, "a.test", &pem, &other_key);
        assert!(matches!(mismatch, Err(ServeError::Tls(_))));
        for broken in ["", "junk", &pem[..pem.len() / 2]] {
            assert!(
                serve(&parts, "a.test", broken, &one_key).is_err(),
                "{broken}"
            );
        }
    }
}
