//! The answer to one pending challenge: up while the value lives, here and in every process that shares
//! the store. The CA asks whichever of them its request reaches.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use instant_acme::{ChallengeHandle, Identifier};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::ServerConfig;
use rustls_pki_types::PrivateKeyDer;
use tokio::runtime::Handle;

use crate::model::{Host, HostPattern};

use super::approval::asking_for;
use super::book::Shared;
use super::dns;
use super::fault::Fault;
use super::persist::{Issuers, Proof};
use super::renew::to_unix;
use super::store::{ChallengeKind, Pending, VERSION};

/// An answer; taken away when dropped, however the order ends.
pub(super) enum Challenge {
    /// Given by this process, or another one on the same store.
    Served(#[allow(dead_code, reason = "held for its end")] Up),
    /// In the DNS, for this order.
    Dns(#[allow(dead_code, reason = "held for its end")] dns::Answer),
    /// In the DNS, for good.
    Standing,
}

/// An answer in the index and in the store.
pub(super) struct Up {
    shared: Arc<Shared>,
    /// Token or SNI.
    name: Box<str>,
    /// Its name in the store.
    stored: String,
}

impl Challenge {
    /// `account` is the URL of ours, `issuers` what the CA calls itself.
    pub(super) async fn answer(
        shared: &Arc<Shared>,
        kind: ChallengeKind,
        account: &str,
        issuers: &Issuers,
        challenge: &ChallengeHandle<'_>,
    ) -> Result<Self, Fault> {
        // Without `*.`, which DNS-01 has no use for and the others never see.
        let host = challenge.identifier().identifier;
        let host = match host {
            Identifier::Dns(name) => Host::parse(name).ok(),
            Identifier::Ip(ip) => Host::parse(&ip.to_string()).ok(),
            _ => None,
        };
        let host =
            &host.ok_or_else(|| Fault::broken("the CA asks about a name that is none".into()))?;
        let (name, stored) = match (kind, &shared.dns) {
            (ChallengeKind::Http01, _) => {
                let name = http_01(shared, host, challenge)?;
                let stored = name.to_string();
                (name, stored)
            }
            (ChallengeKind::TlsAlpn01, _) => {
                let name = tls_alpn_01(shared, host, challenge)?;
                let stored = alpn_name(&name);
                (name, stored)
            }
            (ChallengeKind::Dns01, Some(dns)) => {
                let value = challenge.key_authorization().dns_value();
                let answer = dns.answer(host.as_str(), &value).await;
                return answer.map(Self::Dns).map_err(Fault::unset);
            }
            (ChallengeKind::DnsPersist01, Some(dns)) => {
                let wildcard = challenge.identifier().wildcard;
                let names = issuers.names();
                let proof = Proof {
                    issuers: &names,
                    account,
                    wildcard,
                };
                let now = to_unix(SystemTime::now());
                let found = proof.find(dns, host.as_str(), now).await;
                return found.map(|()| Self::Standing).map_err(Fault::unproven);
            }
            (ChallengeKind::Dns01 | ChallengeKind::DnsPersist01, None) => {
                return Err(Fault::unset("nobody sets DNS records".into()));
            }
        };
        let up = Up {
            shared: Arc::clone(shared),
            name,
            stored,
        };
        up.tell(host, challenge.key_authorization().as_str()).await;
        Ok(Self::Served(up))
    }
}

impl Up {
    /// Tells the other processes, if there are any. Where that fails this one can still answer.
    async fn tell(&self, host: &Host, answer: &str) {
        let pending = Pending {
            version: VERSION,
            host: host.as_str().to_owned(),
            answer: answer.to_owned(),
            until: to_unix(SystemTime::now() + PENDING_MOST),
        };
        let (shared, stored) = (Arc::clone(&self.shared), self.stored.clone());
        let told = move || shared.store.save_pending(&stored, &pending);
        if let Ok(Err(error)) = tokio::task::spawn_blocking(told).await {
            tracing::debug!(%host, %error, "other processes do not know of the challenge");
        }
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let name = &self.name;
        self.shared.index.rcu(|index| index.without_challenge(name));
        let (shared, stored) = (Arc::clone(&self.shared), std::mem::take(&mut self.stored));
        let forget = move || shared.store.remove_pending(&stored);
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(forget)),
            Err(_) => forget(),
        }
    }
}

impl Shared {
    /// The body for a token that another process on the same store has pending for `host`.
    pub(super) async fn told_answer(self: &Arc<Self>, host: &str, token: &str) -> Option<String> {
        if token.len() > TOKEN_MAX || !token.bytes().all(base64url) {
            return None;
        }
        self.told(host, token.to_owned()).await
    }

    /// As [`Shared::told_answer`], for a ClientHello that asks for `acme-tls/1`.
    pub(super) async fn told_alpn(self: &Arc<Self>, sni: &str) -> Option<Arc<ServerConfig>> {
        let answer = self.told(sni, alpn_name(sni)).await?;
        alpn_config(self, sni, &answer).ok()
    }

    /// Looks in the store, for declared names only: a stranger's request makes nobody read files.
    async fn told(self: &Arc<Self>, host: &str, stored: String) -> Option<String> {
        let name = Host::parse(host).ok()?;
        let pattern = HostPattern::Exact(name.clone());
        {
            let book = self.book();
            let declared = book.get(&pattern).is_some_and(|entry| entry.mode.is_some());
            if !declared && asking_for(&book, &pattern).is_none() {
                return None;
            }
        }
        // One that is turned away would be taken for a visitor, who waits for this very certificate.
        let _place = self.lookups.acquire().await.ok()?;
        let shared = Arc::clone(self);
        let look = move || shared.store.load_pending(&stored);
        let pending = tokio::task::spawn_blocking(look).await.ok()??;
        (pending.host == name.as_str()).then_some(pending.answer)
    }
}

/// RFC 8555 section 8.3.
fn http_01(
    shared: &Shared,
    host: &Host,
    challenge: &ChallengeHandle<'_>,
) -> Result<Box<str>, Fault> {
    let token = challenge.token.as_str();
    if token.is_empty() || token.len() > TOKEN_MAX || !token.bytes().all(base64url) {
        return Err(Fault::broken("the CA sent a token that is none".into()));
    }
    let answer = challenge.key_authorization();
    shared
        .index
        .rcu(|index| index.with_answer(host.as_str(), token, answer.as_str()));
    Ok(token.into())
}

fn tls_alpn_01(
    shared: &Shared,
    host: &Host,
    challenge: &ChallengeHandle<'_>,
) -> Result<Box<str>, Fault> {
    let answer = challenge.key_authorization();
    let sni = sni(host);
    let config = alpn_config(shared, host.as_str(), answer.as_str())
        .map_err(|error| Fault::broken(format!("making the challenge certificate: {error}")))?;
    shared
        .index
        .rcu(|index| index.with_alpn(&sni, Arc::clone(&config)));
    Ok(sni.into())
}

/// RFC 8737 section 3: one name, and the digest of the key authorization in a critical extension.
fn alpn_config(
    shared: &Shared,
    host: &str,
    answer: &str,
) -> Result<Arc<ServerConfig>, Box<dyn std::error::Error>> {
    let digest = digest(&SHA256, answer.as_bytes());
    let mut params = CertificateParams::new(vec![host.to_owned()])?;
    params.distinguished_name = DistinguishedName::new();
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest.as_ref())];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let config = shared
        .parts
        .serve_challenge(certificate.der().clone(), key)?;
    Ok(Arc::new(config))
}

fn base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

/// What the CA asks for: RFC 8738 section 6 has reverse names for addresses, which no SNI may hold.
fn sni(host: &Host) -> String {
    match host.ip() {
        None => host.to_string(),
        Some(IpAddr::V4(ip)) => {
            let [a, b, c, d] = ip.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        Some(IpAddr::V6(ip)) => {
            let digits = ip.octets().into_iter().rev();
            let digits = digits.map(|byte| format!("{:x}.{:x}.", byte & 15, byte >> 4));
            digits.collect::<String>() + "ip6.arpa"
        }
    }
}

/// Apart from all tokens.
fn alpn_name(sni: &str) -> String {
    format!("alpn:{sni}")
}

const TOKEN_MAX: usize = 256;
/// The longest an order takes.
const PENDING_MOST: Duration = Duration::from_secs(150);
