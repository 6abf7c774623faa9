//! The answer to one pending challenge: up while the value lives.

use std::sync::Arc;

use instant_acme::ChallengeHandle;
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls_pki_types::PrivateKeyDer;

use crate::model::Host;

use super::book::Shared;
use super::fault::Fault;
use super::store::ChallengeKind;

/// Takes its answer out of the index when dropped, however the order ends.
pub(super) struct Challenge {
    shared: Arc<Shared>,
    /// Token or SNI.
    name: Box<str>,
}

impl Challenge {
    pub(super) fn answer(
        shared: &Arc<Shared>,
        host: &Host,
        kind: ChallengeKind,
        challenge: &ChallengeHandle<'_>,
    ) -> Result<Self, Fault> {
        let name = match kind {
            ChallengeKind::Http01 => http_01(shared, host, challenge)?,
            ChallengeKind::TlsAlpn01 => tls_alpn_01(shared, host, challenge)?,
        };
        Ok(Self {
            shared: Arc::clone(shared),
            name,
        })
    }
}

impl Drop for Challenge {
    fn drop(&mut self) {
        let name = &self.name;
        self.shared.index.rcu(|index| index.without_challenge(name));
    }
}

/// RFC 8555 section 8.3.
fn http_01(
    shared: &Shared,
    host: &Host,
    challenge: &ChallengeHandle<'_>,
) -> Result<Box<str>, Fault> {
    let token = challenge.token.as_str();
    let base64url = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if token.is_empty() || token.len() > TOKEN_MAX || !token.bytes().all(base64url) {
        return Err(Fault::broken("the CA sent a token that is none".into()));
    }
    let answer = challenge.key_authorization();
    shared
        .index
        .rcu(|index| index.with_answer(host.as_str(), token, answer.as_str()));
    Ok(token.into())
}

/// RFC 8737 section 3: one name, and the digest in a critical extension.
fn tls_alpn_01(
    shared: &Shared,
    host: &Host,
    challenge: &ChallengeHandle<'_>,
) -> Result<Box<str>, Fault> {
    let make = || -> Result<_, Box<dyn std::error::Error>> {
        let digest = challenge.key_authorization().digest();
        let mut params = CertificateParams::new(vec![host.as_str().to_owned()])?;
        params.distinguished_name = DistinguishedName::new();
        params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest.as_ref())];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        Ok(shared
            .parts
            .serve_challenge(certificate.der().clone(), key)?)
    };
    let config = make()
        .map(Arc::new)
        .map_err(|error| Fault::broken(format!("making the challenge certificate: {error}")))?;
    shared
        .index
        .rcu(|index| index.with_alpn(host.as_str(), Arc::clone(&config)));
    Ok(host.as_str().into())
}

const TOKEN_MAX: usize = 256;
