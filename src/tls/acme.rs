//! One order (RFC 8555): from a host name to key and chain. Knows nothing of schedules; says only how
//! an attempt ended.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use instant_acme::{
    Account, AuthorizationStatus, CertificateIdentifier, ChallengeStatus, ChallengeType, Error,
    Identifier, NewOrder, Order, OrderStatus, Problem, RetryPolicy, RevocationReason,
    RevocationRequest,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use rustls_pki_types::CertificateDer;

use crate::config::CaConfig;
use crate::model::{Host, HostPattern};

use super::account::{NONCE_RETRIES, Registrar};
use super::ari::Told;
use super::book::{SHORT_LIVED, Shared};
use super::challenge::Challenge;
use super::fault::{FailureClass, Fault, Said, sort};
use super::http::AcmeHttp;
use super::job::Job;
use super::persist::{self, Issuers, Proof};
use super::renew::{Setback, from_unix, to_unix};
use super::served::Served;
use super::store::{ChallengeKind, OpenOrder, Reason, Records};
use super::{ObtainError, TlsError};

/// One CA and our account there.
pub(super) struct Acme {
    shared: Arc<Shared>,
    registrar: Registrar,
    /// What the CA calls itself in DNS records.
    issuers: Arc<Issuers>,
    profile: Option<String>,
}

/// A certificate as the CA gave it, not yet checked.
pub(super) struct Issued {
    /// PEM.
    pub(super) key: String,
    /// PEM, leaf first.
    pub(super) chain: String,
    pub(super) challenge: ChallengeKind,
}

impl Acme {
    pub(super) fn new(
        shared: Arc<Shared>,
        ca: CaConfig,
        store: Arc<Records>,
    ) -> Result<Self, TlsError> {
        let http = AcmeHttp::new(
            shared.parts.provider(),
            &ca.roots,
            Arc::clone(&shared.clock),
        )?;
        let email = shared.config.email.clone();
        Ok(Self {
            profile: ca.profile.clone(),
            issuers: http.issuers(),
            registrar: Registrar::new(ca, email, store, http),
            shared,
        })
    }

    /// Orders a certificate, first with the challenge that worked last, then with the others while the
    /// ones before were not believed and the job's budget allows. An order of the job that an earlier
    /// attempt left open is gone on with.
    pub(super) async fn issue(&self, job: &mut Job<'_>) -> Result<Issued, Fault> {
        let (mut tried, mut spent) = (Vec::<(ChallengeKind, Fault)>::new(), 0);
        for kind in self.kinds(job) {
            if let Some((before, fault)) = tried.last() {
                if !fault.other_may_help || job.budget <= spent {
                    break;
                }
                let (host, challenge) = (job.host, before.name());
                tracing::info!(%host, challenge, error = %fault.text, "not validated; trying {}", kind.name());
            }
            match self.attempt(job, kind).await {
                Ok(issued) => return Ok(issued),
                Err(fault) => {
                    spent += fault.validations();
                    tried.push((kind, fault));
                }
            }
        }
        let nothing = || {
            Fault::unoffered(match job.host {
                HostPattern::Wildcard(_) => ObtainError::Wildcard.to_string(),
                _ => "nothing can answer a challenge for this name".to_owned(),
            })
        };
        Err(Fault::all(tried).unwrap_or_else(nothing))
    }

    /// The challenges that can be answered for a name, in the order they are tried.
    fn kinds(&self, job: &Job<'_>) -> Vec<ChallengeKind> {
        use ChallengeKind::{Dns01, DnsPersist01, Http01, TlsAlpn01};
        let name = match job.host {
            HostPattern::Exact(host) if host.ip().is_none() => Some(host),
            HostPattern::Wildcard(suffix) => Some(suffix),
            _ => None,
        };
        let dns = self.shared.dns.as_ref().zip(name).and_then(|(dns, name)| {
            let standing = dns.is_standing(name.as_str());
            dns.serves(name.as_str()).then_some(standing)
        });
        let exact = job.host.exact().is_some();
        let can = |kind: &ChallengeKind| match kind {
            Dns01 => dns == Some(false),
            DnsPersist01 => dns == Some(true),
            Http01 => exact && self.shared.config.http_01,
            TlsAlpn01 => exact,
        };
        let open = job.open.as_ref().map(|open| open.challenge);
        let all = [Dns01, DnsPersist01, Http01, TlsAlpn01];
        let mut kinds: Vec<_> = all.into_iter().filter(can).collect();
        if let Some(first) = open.or(job.challenge) {
            // Stable: the others keep their order.
            kinds.sort_by_key(|kind| *kind != first);
        }
        kinds
    }

    /// Tells the CA that a certificate is not to be trusted (RFC 8555 section 7.6). One that it knows to be
    /// revoked already is as good.
    pub(super) async fn revoke(
        &self,
        leaf: &CertificateDer<'_>,
        reason: Reason,
    ) -> Result<(), Fault> {
        let reason = match reason {
            Reason::Unspecified => RevocationReason::Unspecified,
            Reason::KeyCompromise => RevocationReason::KeyCompromise,
            Reason::AffiliationChanged => RevocationReason::AffiliationChanged,
            Reason::Superseded => RevocationReason::Superseded,
            Reason::CessationOfOperation => RevocationReason::CessationOfOperation,
        };
        let account = self.registrar.account().await?;
        let request = RevocationRequest {
            certificate: leaf,
            reason: Some(reason),
        };
        match account.revoke(&request).await {
            Err(Error::Api(problem)) if is_revoked(&problem) => Ok(()),
            other => other.map_err(sort),
        }
    }

    /// When the CA wants a certificate of its own renewed; `None` where it has no such answers. An error
    /// says whether it will last.
    pub(super) async fn renewal_info(
        &self,
        served: &Served,
    ) -> Result<Option<Told>, (bool, String)> {
        let Some(id) = identifier(served) else {
            return Err((true, "the certificate has no id".to_owned()));
        };
        let account = self.registrar.account().await;
        let account = account.map_err(|fault| (false, fault.text))?;
        let (info, again) = match account.renewal_info(&id).await {
            Ok(answer) => answer,
            Err(Error::Unsupported(_)) => return Ok(None),
            Err(error) => {
                let lasting = !matches!(error, Error::Other(_) | Error::Timeout(_));
                return Err((lasting, sort(error).text));
            }
        };
        let unix = |at: i64| u64::try_from(at).unwrap_or(0);
        Ok(Some(Told {
            start: unix(info.suggested_window.start.unix_timestamp()),
            end: unix(info.suggested_window.end.unix_timestamp()),
            again,
            why: info.explanation_url,
        }))
    }

    /// One order, made or looked at again where the CA lost track: of a nonce, of the account, of what
    /// is to be replaced, of how far the order is.
    async fn attempt(&self, job: &mut Job<'_>, kind: ChallengeKind) -> Result<Issued, Fault> {
        let (mut nonces, mut accounts, mut looks) = (NONCE_RETRIES, 1, 1);
        loop {
            let account = self.registrar.account().await?;
            self.check_clock().await?;
            let fault = match self.order(&account, job, kind).await {
                Ok(issued) => return Ok(issued),
                Err(fault) => fault,
            };
            match fault.said {
                Said::BadNonce if nonces > 0 => nonces -= 1,
                Said::OrderNotReady if looks > 0 && job.open.is_some() => looks -= 1,
                Said::AlreadyReplaced if job.replaces.is_some() => job.replaces = None,
                Said::UnknownAccount if accounts > 0 => {
                    accounts -= 1;
                    tracing::warn!(
                        account = account.id(),
                        "the CA does not know our account any more"
                    );
                    self.registrar.forget(account.id()).await;
                    job.leave_open(None).await;
                }
                Said::BadNonce
                | Said::OrderNotReady
                | Said::AlreadyReplaced
                | Said::UnknownAccount
                | Said::Else => return Err(fault),
            }
        }
    }

    /// With a clock that is far from the CA's nothing is ordered.
    async fn check_clock(&self) -> Result<(), Fault> {
        let forbids = || self.shared.clock.forbids(SystemTime::now());
        if forbids().is_some() && self.shared.clock.is_stale() {
            self.registrar.look().await?;
        }
        match forbids() {
            Some(why) => Err(Fault::broken(format!("nothing is ordered: {why}"))),
            None => Ok(()),
        }
    }

    async fn order(
        &self,
        account: &Account,
        job: &mut Job<'_>,
        kind: ChallengeKind,
    ) -> Result<Issued, Fault> {
        let (mut order, pending) = match resume(account, job).await? {
            Some(resumed) => resumed,
            None => {
                if kind == ChallengeKind::DnsPersist01 {
                    self.find_records(account, &job.names).await?;
                }
                begin(account, job, kind, self.profile.as_deref()).await?
            }
        };
        let finished = self.finish(account, &mut order, &job.names, &pending);
        match finished.await {
            Ok(chain) => Ok(Issued {
                key: pending.key,
                chain,
                challenge: pending.challenge,
            }),
            Err(Ended::Over(fault)) => {
                job.leave_open(None).await;
                Err(fault)
            }
            // The order stays open: the next attempt goes on with it.
            Err(Ended::Open(fault)) => Err(fault),
        }
    }

    /// Whether the records are there that a person has to set, before an order is spent on it. What the CA
    /// calls itself may not be known yet: then the challenge will tell.
    async fn find_records(&self, account: &Account, names: &[String]) -> Result<(), Fault> {
        let issuers = self.issuers.names();
        let Some(dns) = self.shared.dns.as_ref().filter(|_| !issuers.is_empty()) else {
            return Ok(());
        };
        let now = to_unix(SystemTime::now());
        for name in names {
            let host = name.strip_prefix("*.");
            // With a wildcard the name above it has the same record.
            let wildcard = names
                .iter()
                .any(|one| one.strip_prefix("*.") == Some(host.unwrap_or(name)));
            let proof = Proof {
                issuers: &issuers,
                account: account.id(),
                wildcard,
            };
            let found = proof.find(dns, host.unwrap_or(name), now).await;
            found.map_err(Fault::unproven)?;
        }
        Ok(())
    }

    /// From wherever the order is to its certificate.
    async fn finish(
        &self,
        account: &Account,
        order: &mut Order,
        names: &[String],
        pending: &OpenOrder,
    ) -> Result<String, Ended> {
        let open = |error| Ended::Open(sort(error));
        if order.state().status == OrderStatus::Pending {
            let challenge = self.prepare(account, order, pending.challenge).await?;
            match order.poll_ready(&POLL).await {
                Ok(_) => {}
                Err(Error::Api(problem)) if order.state().error.is_some() => {
                    return Err(Ended::Over(not_validated(order, Some(problem)).await));
                }
                Err(error) => return Err(open(error)),
            }
            // Answered until here: validations from several places may come late.
            drop(challenge);
        }
        match order.state().status {
            OrderStatus::Ready => {
                let csr = csr(names, &pending.key).map_err(|error| {
                    Ended::Over(Fault::broken(format!("making the request: {error}")))
                })?;
                order.finalize_csr(&csr).await.map_err(open)?;
            }
            OrderStatus::Processing | OrderStatus::Valid => {}
            OrderStatus::Pending | OrderStatus::Invalid => {
                let problem = order.state().error.clone();
                return Err(Ended::Over(not_validated(order, problem).await));
            }
        }
        order.poll_certificate(&POLL).await.map_err(|error| {
            let over = order.state().error.is_some();
            if over {
                Ended::Over(sort(error))
            } else {
                open(error)
            }
        })
    }

    /// Puts the answers to the order's challenges up, then tells the CA to look.
    async fn prepare(
        &self,
        account: &Account,
        order: &mut Order,
        kind: ChallengeKind,
    ) -> Result<Vec<Challenge>, Ended> {
        let mut pending = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(|error| Ended::Open(sort(error)))?;
            match authorization.status {
                // Proven for an earlier order and still believed.
                AuthorizationStatus::Valid => continue,
                AuthorizationStatus::Pending => {}
                AuthorizationStatus::Invalid => {
                    let mut errors = authorization.challenges.iter();
                    let said = errors.find_map(|challenge| challenge.error.as_ref());
                    return Err(Ended::Over(Fault::not_validated(said)));
                }
                status => {
                    let text = format!("the authorization is {status:?}");
                    return Err(Ended::Over(Fault::broken(text)));
                }
            }
            let Some(mut challenge) = authorization.challenge(kind.acme()) else {
                let text = format!("the CA offers no {} challenge", kind.name());
                return Err(Ended::Over(Fault::unoffered(text)));
            };
            let (shared, issuers) = (&self.shared, &*self.issuers);
            let answer = Challenge::answer(shared, kind, account.id(), issuers, &challenge);
            pending.push(answer.await.map_err(Ended::Over)?);
            // In an order gone on with the CA may be looking already.
            if challenge.status == ChallengeStatus::Pending {
                let ready = challenge.set_ready().await.map_err(sort);
                ready.map_err(Ended::at_challenge)?;
            }
        }
        Ok(pending)
    }
}

/// How an order ended without a certificate.
enum Ended {
    /// It cannot come to anything any more.
    Over(Fault),
    /// It may still, if it is looked at later.
    Open(Fault),
}

impl Ended {
    /// A CA that did not answer may have taken the request all the same, and refuses it the second time.
    fn at_challenge(fault: Fault) -> Self {
        match fault.class {
            FailureClass::Unreachable => Self::Open(fault),
            FailureClass::Rejected => Self::Open(Fault {
                said: Said::OrderNotReady,
                ..fault
            }),
            _ => Self::Over(fault),
        }
    }
}

/// The order an earlier attempt left open, if the CA still has it.
async fn resume(account: &Account, job: &mut Job<'_>) -> Result<Option<(Order, OpenOrder)>, Fault> {
    let Some(pending) = job.open.clone() else {
        return Ok(None);
    };
    let age = SystemTime::now().duration_since(from_unix(pending.at));
    let fresh = age.is_ok_and(|age| age < RESUME_MOST);
    let found = if fresh {
        account.order(pending.order.clone()).await.map_err(sort)
    } else {
        Err(Fault::broken("the order is too old".into()))
    };
    match found {
        Ok(order) => {
            tracing::debug!(host = %job.host, order = pending.order, "going on with an open order");
            Ok(Some((order, pending)))
        }
        Err(fault) if fresh && (fault.said != Said::Else || fault.is_unreachable()) => Err(fault),
        // The CA does not have it, or not for us, any more.
        Err(_) => {
            job.leave_open(None).await;
            Ok(None)
        }
    }
}

/// A new order.
async fn begin(
    account: &Account,
    job: &mut Job<'_>,
    kind: ChallengeKind,
    profile: Option<&str>,
) -> Result<(Order, OpenOrder), Fault> {
    // A CA without profiles would take the order and give whatever it gives.
    let profile = profile.filter(|wanted| account.profiles().any(|one| one.name == *wanted));
    let ip = job.host.exact().and_then(Host::ip);
    if ip.is_some() && profile != Some(SHORT_LIVED) {
        let text = "the CA does not offer the profile shortlived, which addresses need".into();
        return Err(Fault {
            elsewhere: true,
            ..Fault::new(text, FailureClass::Rejected, Setback::Never)
        });
    }
    let names: Vec<Identifier> = match ip {
        Some(ip) => vec![Identifier::Ip(ip)],
        None => job.names.iter().cloned().map(Identifier::Dns).collect(),
    };
    let plain = || match profile {
        Some(profile) => NewOrder::new(&names).profile(profile),
        None => NewOrder::new(&names),
    };
    let mut new = plain();
    if let Some(id) = &job.replaces {
        new = new.replaces(CertificateIdentifier::clone(id));
    }
    let key =
        KeyPair::generate().map_err(|error| Fault::broken(format!("making a key: {error}")))?;
    job.ordered();
    let order = match account.new_order(&new).await {
        Err(error)
            if job.replaces.is_some() && (is_ignorant(&error) || minds_replacing(&error)) =>
        {
            job.replaces = None;
            account.new_order(&plain()).await
        }
        other => other,
    };
    let order = order.map_err(sort)?;
    let pending = OpenOrder {
        order: order.url().to_owned(),
        key: key.serialize_pem(),
        challenge: kind,
        at: to_unix(SystemTime::now()),
    };
    job.leave_open(Some(pending.clone())).await;
    Ok((order, pending))
}

fn is_revoked(problem: &Problem) -> bool {
    let kind = problem.r#type.as_deref().unwrap_or_default();
    kind.ends_with(":alreadyRevoked")
}

/// What a CA with renewal information knows a certificate by.
pub(super) fn identifier(served: &Served) -> Option<CertificateIdentifier<'static>> {
    let leaf = served.certified().ok()?.cert.first()?;
    let id = CertificateIdentifier::try_from(leaf).ok()?;
    Some(CertificateIdentifier {
        authority_key_identifier: id.authority_key_identifier.into_owned().into(),
        serial: id.serial.into_owned().into(),
    })
}

/// The CA does not know what it means to replace a certificate, or does not say that it will.
fn is_ignorant(error: &Error) -> bool {
    match error {
        Error::Unsupported(_) => true,
        Error::Other(inner) => inner.to_string().starts_with("replaces field mismatch"),
        _ => false,
    }
}

/// The CA does not let us replace it: it was imported, and another account has it (RFC 9773 section 5).
fn minds_replacing(error: &Error) -> bool {
    let Error::Api(problem) = error else {
        return false;
    };
    let kind = problem.r#type.as_deref().unwrap_or_default();
    let detail = problem.detail.as_deref().unwrap_or_default();
    let speaks_of_it = detail.to_ascii_lowercase().contains("replace");
    let mended = kind.ends_with(":alreadyReplaced") || kind.ends_with(":rateLimited");
    speaks_of_it && !mended
}

/// Names, no subject: the CA sets what else it wants.
fn csr(names: &[String], key: &str) -> Result<Vec<u8>, rcgen::Error> {
    let key = KeyPair::from_pem(key)?;
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    let request = params.serialize_request(&key)?;
    Ok(request.der().to_vec())
}

/// Finds out why an order became invalid: the order has the reason with some CAs, the challenge with
/// others.
async fn not_validated(order: &mut Order, problem: Option<Problem>) -> Fault {
    let mut found = None;
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let Ok(state) = authorization.refresh().await else {
            continue;
        };
        let errors = state
            .challenges
            .iter()
            .filter_map(|challenge| challenge.error.clone());
        found = found.or_else(|| errors.into_iter().next());
    }
    Fault::not_validated(found.or(problem).as_ref())
}

impl ChallengeKind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Http01 => "HTTP-01",
            Self::TlsAlpn01 => "TLS-ALPN-01",
            Self::Dns01 => "DNS-01",
            Self::DnsPersist01 => "DNS-PERSIST-01",
        }
    }

    fn acme(self) -> ChallengeType {
        match self {
            Self::Http01 => ChallengeType::Http01,
            Self::TlsAlpn01 => ChallengeType::TlsAlpn01,
            Self::Dns01 => ChallengeType::Dns01,
            Self::DnsPersist01 => ChallengeType::Unknown(persist::TYPE.to_owned()),
        }
    }
}

/// A handshake waits: look soon, then less often. A Retry-After of the CA comes first.
const POLL: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(25))
    .backoff(1.5)
    .timeout(Duration::from_secs(60));
/// CAs keep open orders for a week or so; an authorization within may not live that long.
const RESUME_MOST: Duration = Duration::from_secs(24 * 60 * 60);
