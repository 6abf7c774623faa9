//! One certificate with its rustls config.

use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::sign::{any_ecdsa_type, any_supported_type};
use rustls::crypto::aws_lc_rs::{self, default_provider};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ResolvesServerCertUsingSni};
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::model::{HostPattern, TlsVersion};

use super::CertSource;
use super::policy::Policy;
use super::renew;
use super::suites::{Preference, suites};
use super::x509::{self, Facts, X509Error};

/// One certificate with its key: the proxy hands [`Served::config`] to the handshake.
///
/// What a start needs to know is read at once; the key is read, and compared with the certificate,
/// when [`Served::certified`] is first asked. That is half of what a large store would cost a start.
#[derive(Debug)]
pub struct Served {
    /// End of validity; a certificate past it is still served, and renewed at once.
    pub not_after: SystemTime,
    pub not_before: SystemTime,
    pub source: CertSource,
    /// Common name (or organisation) of the issuer.
    pub issuer: String,
    /// The DNS names it is for, in lower case.
    names: Box<[String]>,
    /// Of the certificate itself: the same in every process.
    pub(super) hash: u64,
    /// Until somebody asks for what is in it; a lock that is taken once.
    packed: Mutex<Option<Packed>>,
    certified: OnceLock<Result<Arc<CertifiedKey>, ServeError>>,
    templates: Arc<Templates>,
    /// Made for the first handshake that needs it: most certificates of a large store are not
    /// asked for soon after a start, and hardly any by clients that prefer ChaCha20.
    aes: OnceLock<Arc<ServerConfig>>,
    chacha: OnceLock<Arc<ServerConfig>>,
    /// Likewise by the rules of hosts that have any; few, and the newest first.
    ruled: ArcSwap<Vec<Ruled>>,
    /// Asked for by a handshake since somebody looked.
    used: AtomicBool,
}

/// A config by the rules of a policy.
#[derive(Debug, Clone)]
struct Ruled {
    policy: Arc<Policy>,
    preference: Preference,
    config: Arc<ServerConfig>,
}

/// Chain and key as PEM. Holds a private key: says nothing of itself.
struct Packed {
    chain: String,
    key: String,
}

impl Served {
    /// TLS 1.2 and 1.3, ALPN `h2` and `http/1.1`, this certificate whatever the SNI says.
    ///
    /// `None`: it came from the store and turns out not to fit its key. [`super::Certs::obtain`] then
    /// puts it aside and gets another.
    pub fn config(&self, preference: Preference) -> Option<Arc<ServerConfig>> {
        self.touch();
        let (made, template) = match preference {
            Preference::Aes => (&self.aes, &self.templates.aes),
            Preference::ChaCha => (&self.chacha, &self.templates.chacha),
        };
        if let Some(config) = made.get() {
            return Some(Arc::clone(config));
        }
        let key = self.certified().ok()?;
        let config = made.get_or_init(|| {
            let mut config = template.clone();
            config.cert_resolver = Arc::new(SingleCertAndKey::from(Arc::clone(key)));
            Arc::new(config)
        });
        Some(Arc::clone(config))
    }

    /// A handshake needs it. Read first: workers do not take the line from each other.
    fn touch(&self) {
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }

    /// Whether a handshake has asked for it since the last call.
    pub(super) fn take_used(&self) -> bool {
        self.used.load(Ordering::Relaxed) && self.used.swap(false, Ordering::Relaxed)
    }

    /// Whether it is to be preferred to another one of the same name: the later one, if it is valid.
    pub(super) fn is_newer(&self, other: &Self, now: SystemTime) -> bool {
        let rank = |served: &Self| (served.not_after > now, served.not_before, served.not_after);
        rank(self) > rank(other)
    }

    /// When it is due without a word of the CA. Always the same for one certificate: jitter that is
    /// drawn again at each start would pull renewals forward.
    pub(super) fn renew_at(&self) -> SystemTime {
        let spread = self.hash as f64 / u64::MAX as f64;
        renew::renew_at(self.not_before, self.not_after, spread)
    }

    /// The same by the rules of `policy`.
    pub fn config_by(
        &self,
        policy: &Arc<Policy>,
        preference: Preference,
    ) -> Option<Arc<ServerConfig>> {
        self.touch();
        let is_it = |one: &&Ruled| Arc::ptr_eq(&one.policy, policy) && one.preference == preference;
        if let Some(known) = self.ruled.load().iter().find(is_it) {
            return Some(Arc::clone(&known.config));
        }
        let mut config = policy.template(preference).clone();
        config.cert_resolver = Arc::new(SingleCertAndKey::from(Arc::clone(self.certified().ok()?)));
        let config = Arc::new(config);
        let made = Ruled {
            policy: Arc::clone(policy),
            preference,
            config: Arc::clone(&config),
        };
        self.ruled.rcu(|known| {
            let others = known.iter().filter(|one| !is_it(one)).take(RULED_MOST - 1);
            let all = std::iter::once(&made).chain(others);
            all.cloned().collect::<Vec<_>>()
        });
        Some(config)
    }

    /// Whether it is for more than the names it lists.
    pub(super) fn is_wildcard(&self) -> bool {
        self.names.iter().any(|name| name.starts_with("*."))
    }

    /// Whether clients that ask for the pattern accept it.
    pub(super) fn covers(&self, pattern: &HostPattern) -> bool {
        x509::covers(&self.names, pattern)
    }

    /// The chain with its key, which fit each other; found out once.
    pub(super) fn certified(&self) -> Result<&Arc<CertifiedKey>, &ServeError> {
        let certified = self.certified.get_or_init(|| {
            let mut packed = self.packed.lock().unwrap_or_else(PoisonError::into_inner);
            let Packed { chain, key } = packed.take().ok_or(ServeError::Empty)?;
            let chain =
                CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<_, _>>()?;
            let key = certified(chain, PrivateKeyDer::from_pem_slice(key.as_bytes())?)?;
            key.keys_match()?;
            Ok(Arc::new(key))
        });
        certified.as_ref()
    }
}

impl fmt::Debug for Packed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Packed")
    }
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
    chacha_provider: Arc<CryptoProvider>,
    templates: Arc<Templates>,
}

/// Configs that lack only their certificate. Both have the same ticket keys, and keep them through
/// certificate swaps, or clients could not resume after a renewal. rustls itself refuses to resume
/// under another SNI or with another cipher.
#[derive(Debug)]
struct Templates {
    aes: ServerConfig,
    chacha: ServerConfig,
}

impl TlsParts {
    pub(super) fn new() -> Result<Self, rustls::Error> {
        let provider = |preference| {
            Arc::new(CryptoProvider {
                cipher_suites: suites(preference),
                ..default_provider()
            })
        };
        let ticketer = aws_lc_rs::Ticketer::new()?;
        let template = |provider: &Arc<CryptoProvider>| -> Result<ServerConfig, rustls::Error> {
            let mut config = server(Arc::clone(provider), TlsVersion::Tls12, None)?;
            config.alpn_protocols = alpn();
            config.ticketer = Arc::clone(&ticketer);
            Ok(config)
        };
        let aes = provider(Preference::Aes);
        let chacha = provider(Preference::ChaCha);
        Ok(Self {
            templates: Arc::new(Templates {
                aes: template(&aes)?,
                chacha: template(&chacha)?,
            }),
            provider: aes,
            chacha_provider: chacha,
        })
    }

    /// Configs without a certificate for connections that keep these rules, for both preferences. Where
    /// clients show certificates the ticket keys are the policy's own: a session says that its client
    /// has been looked at by these rules, and rustls does not ask which they were.
    pub(super) fn policy(
        &self,
        min: TlsVersion,
        verifier: Option<Arc<dyn ClientCertVerifier>>,
    ) -> Result<(ServerConfig, ServerConfig), rustls::Error> {
        let ticketer = match verifier {
            Some(_) => aws_lc_rs::Ticketer::new()?,
            None => Arc::clone(&self.templates.aes.ticketer),
        };
        let template = |provider: &Arc<CryptoProvider>| -> Result<ServerConfig, rustls::Error> {
            let mut config = server(Arc::clone(provider), min, verifier.clone())?;
            config.alpn_protocols = alpn();
            config.ticketer = Arc::clone(&ticketer);
            Ok(config)
        };
        Ok((template(&self.provider)?, template(&self.chacha_provider)?))
    }

    /// Builds a [`Served`] from PEM; checks that certificate and `pattern` belong together. Whether
    /// the key does is told by [`Served::certified`].
    pub(super) fn serve(
        &self,
        pattern: &HostPattern,
        source: CertSource,
        chain: String,
        key: String,
    ) -> Result<Served, ServeError> {
        let mut certificates = CertificateDer::pem_slice_iter(chain.as_bytes());
        let leaf = certificates.next().ok_or(ServeError::Empty)??;
        let facts = Facts::read(&leaf)?;
        facts.covers(pattern)?;
        let packed = Packed { chain, key };
        Ok(self.served(&leaf, facts, source, Some(packed)))
    }

    /// Builds a [`Served`] from what has been read already.
    ///
    /// # Errors
    /// A key that does not fit the leaf.
    pub(super) fn serve_own(
        &self,
        facts: Facts,
        chain: Vec<CertificateDer<'static>>,
        key: Arc<dyn SigningKey>,
    ) -> Result<Served, ServeError> {
        let leaf = chain.first().ok_or(ServeError::Empty)?.clone();
        let key = CertifiedKey::new(chain, key);
        key.keys_match()?;
        let served = self.served(&leaf, facts, CertSource::File, None);
        // Nobody else has it yet.
        drop(served.certified.set(Ok(Arc::new(key))));
        Ok(served)
    }

    fn served(
        &self,
        leaf: &CertificateDer<'_>,
        facts: Facts,
        source: CertSource,
        packed: Option<Packed>,
    ) -> Served {
        let mut hasher = foldhash::quality::FixedState::with_seed(0).build_hasher();
        hasher.write(leaf);
        Served {
            not_after: facts.not_after,
            not_before: facts.not_before,
            source,
            issuer: facts.issuer,
            names: facts.names.into(),
            hash: hasher.finish(),
            packed: Mutex::new(packed),
            certified: OnceLock::new(),
            templates: Arc::clone(&self.templates),
            aes: OnceLock::new(),
            chacha: OnceLock::new(),
            ruled: ArcSwap::default(),
            used: AtomicBool::new(false),
        }
    }

    /// The config that answers a TLS-ALPN-01 challenge (RFC 8737 section 3).
    pub(super) fn serve_challenge(
        &self,
        certificate: CertificateDer<'static>,
        key: PrivateKeyDer<'static>,
    ) -> Result<ServerConfig, rustls::Error> {
        // Not checked against its key: rustls cannot parse the critical extension that makes it one.
        let key = certified(vec![certificate], key)?;
        let mut config = server(self.provider(), TlsVersion::Tls12, None)?;
        config.cert_resolver = Arc::new(SingleCertAndKey::from(Arc::new(key)));
        config.alpn_protocols = vec![b"acme-tls/1".to_vec()];
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    /// For the ACME client.
    pub(super) fn provider(&self) -> Arc<CryptoProvider> {
        Arc::clone(&self.provider)
    }
}

fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<CertifiedKey, rustls::Error> {
    Ok(CertifiedKey::new(chain, signing_key(&key)?))
}

pub(super) fn signing_key(key: &PrivateKeyDer<'_>) -> Result<Arc<dyn SigningKey>, rustls::Error> {
    // rustls would try RSA first, which costs as much as the key itself; Wharf's own are ECDSA.
    any_ecdsa_type(key).or_else(|_| any_supported_type(key))
}

/// Without a certificate, ALPN and tickets.
fn server(
    provider: Arc<CryptoProvider>,
    min: TlsVersion,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
) -> Result<ServerConfig, rustls::Error> {
    let versions = match min {
        TlsVersion::Tls12 => rustls::DEFAULT_VERSIONS,
        TlsVersion::Tls13 => &[&rustls::version::TLS13],
    };
    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(versions)?;
    let builder = match verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(ResolvesServerCertUsingSni::new()));
    config.ignore_client_order = true;
    // Resumption goes by tickets; the stateful store would be a mutex per host for nothing.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 1;
    Ok(config)
}

fn alpn() -> Vec<Vec<u8>> {
    vec![b"h2".to_vec(), b"http/1.1".to_vec()]
}

/// Both preferences under the rules of now and of a moment ago.
const RULED_MOST: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    use rcgen::{CertificateParams, KeyPair};
    use rustls::server::Acceptor;
    use rustls::{
        CipherSuite, ClientConfig, ClientConnection, HandshakeKind, RootCertStore,
        SupportedCipherSuite, SupportedProtocolVersion,
    };

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
        parts.serve(&pattern, CertSource::Acme, pem.into(), key.serialize_pem())
    }

    /// A client that trusts `certificate` and offers `suites` in that order.
    fn client(
        certificate: &rcgen::Certificate,
        suites: Vec<SupportedCipherSuite>,
        version: &'static SupportedProtocolVersion,
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).unwrap();
        let provider = CryptoProvider {
            cipher_suites: suites,
            ..default_provider()
        };
        let config = ClientConfig::builder_with_provider(provider.into())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(config)
    }

    /// As the proxy does it: the ClientHello decides which config answers.
    fn handshake(client: &Arc<ClientConfig>, served: &Served) -> (HandshakeKind, CipherSuite) {
        let name = "a.test".try_into().unwrap();
        let mut client = ClientConnection::new(Arc::clone(client), name).unwrap();
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        let mut acceptor = Acceptor::default();
        acceptor.read_tls(&mut &wire[..]).unwrap();
        let accepted = acceptor.accept().unwrap().unwrap();
        let preference = Preference::of(accepted.client_hello().cipher_suites());
        let config = served.config(preference).unwrap();
        let mut server = accepted.into_connection(config).unwrap();
        for _ in 0..5 {
            wire.clear();
            server.write_tls(&mut wire).unwrap();
            client.read_tls(&mut &wire[..]).unwrap();
            client.process_new_packets().unwrap();
            wire.clear();
            client.write_tls(&mut wire).unwrap();
            server.read_tls(&mut &wire[..]).unwrap();
            server.process_new_packets().unwrap();
        }
        let suite = server.negotiated_cipher_suite().unwrap();
        (server.handshake_kind().unwrap(), suite.suite())
    }

    #[test]
    fn sessions_resume_after_a_renewal_whatever_the_cipher() {
        let parts = TlsParts::new().unwrap();
        let (certificate, key) = certificate(&["a.test"]);
        let before = serve(&parts, "a.test", &certificate.pem(), &key).unwrap();
        let after = serve(&parts, "a.test", &certificate.pem(), &key).unwrap();
        for version in rustls::ALL_VERSIONS {
            for preference in [Preference::Aes, Preference::ChaCha] {
                let client = client(&certificate, suites(preference), version);
                let (kind, first) = handshake(&client, &before);
                assert_ne!(kind, HandshakeKind::Resumed);
                let again = handshake(&client, &after);
                assert_eq!(again, (HandshakeKind::Resumed, first), "{version:?}");
            }
        }
    }

    #[test]
    fn clients_without_aes_instructions_get_chacha() {
        use CipherSuite as C;
        let parts = TlsParts::new().unwrap();
        let (certificate, key) = certificate(&["a.test"]);
        let served = serve(&parts, "a.test", &certificate.pem(), &key).unwrap();
        let aes_256_first = || {
            let mut suites = suites(Preference::Aes);
            suites.retain(|suite| {
                let name = format!("{:?}", suite.suite());
                !name.contains("AES_128")
            });
            suites.extend(super::suites(Preference::Aes));
            suites
        };
        let (tls12, tls13) = (&rustls::version::TLS12, &rustls::version::TLS13);
        for (version, offered, gets) in [
            (
                tls13,
                suites(Preference::ChaCha),
                C::TLS13_CHACHA20_POLY1305_SHA256,
            ),
            (tls13, suites(Preference::Aes), C::TLS13_AES_128_GCM_SHA256),
            (tls13, aes_256_first(), C::TLS13_AES_128_GCM_SHA256),
            (
                tls12,
                suites(Preference::ChaCha),
                C::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
            ),
            (
                tls12,
                aes_256_first(),
                C::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            ),
        ] {
            let client = client(&certificate, offered, version);
            assert_eq!(handshake(&client, &served).1, gets);
        }
    }

    /// A client may change its mind; its ticket is then of no use, and nothing breaks.
    #[test]
    fn a_ticket_of_the_other_order_means_a_full_handshake() {
        let parts = TlsParts::new().unwrap();
        let (certificate, key) = certificate(&["a.test"]);
        let served = serve(&parts, "a.test", &certificate.pem(), &key).unwrap();
        let version = &rustls::version::TLS13;
        let one = client(&certificate, suites(Preference::Aes), version);
        handshake(&one, &served);
        let mut other = (*client(&certificate, suites(Preference::ChaCha), version)).clone();
        other.resumption = one.resumption.clone();
        let (kind, _) = handshake(&Arc::new(other), &served);
        assert_eq!(kind, HandshakeKind::Full);
    }

    #[test]
    fn what_does_not_belong_together_is_not_served() {
        let parts = TlsParts::new().unwrap();
        let (one, one_key) = certificate(&["a.test", "*.b.test", "10.0.0.1"]);
        let (_, other_key) = certificate(&["a.test"]);
        let pem = one.pem();
        for pattern in ["a.test", "x.b.test", "*.b.test", "10.0.0.1", "default"] {
            let served = serve(&parts, pattern, &pem, &one_key).unwrap();
            assert!(served.certified().is_ok(), "{pattern}");
        }
        for pattern in ["c.test", "b.test", "x.y.b.test", "*.test", "10.0.0.2"] {
            let refused = serve(&parts, pattern, &pem, &one_key);
            assert!(matches!(refused, Err(ServeError::X509(_))), "{pattern}");
        }
        let mismatch = serve(&parts, "a.test", &pem, &other_key).unwrap();
        assert!(matches!(mismatch.certified(), Err(ServeError::Tls(_))));
        assert!(mismatch.config(Preference::Aes).is_none());
        for broken in ["", "junk", &pem[..pem.len() / 2]] {
            assert!(
                serve(&parts, "a.test", broken, &one_key).is_err(),
                "{broken}"
            );
        }
    }
}
