//! The ACME account and one order (RFC 8555): from a host name to key and chain. Knows nothing of
//! schedules; says only how an attempt ended.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, ChallengeType, Error, Identifier, NewAccount,
    NewOrder, Order, OrderStatus, RetryPolicy,
};
use tokio::sync::Mutex;

use crate::model::Host;

use super::TlsError;
use super::book::Shared;
use super::challenge::Challenge;
use super::fault::{Fault, Said, sort};
use super::http::AcmeHttp;
use super::renew::Setback;
use super::store::{ACCOUNT_LOCK, ChallengeKind};

/// One CA and our account there.
pub(super) struct Acme {
    shared: Arc<Shared>,
    http: AcmeHttp,
    /// Locked while the account is made: one registration, however many orders wait for it.
    account: Mutex<Registration>,
}

#[derive(Default)]
struct Registration {
    account: Option<Account>,
    /// The CA told us not to register before this time.
    blocked: Option<(SystemTime, Fault)>,
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
    pub(super) fn new(shared: Arc<Shared>) -> Result<Self, TlsError> {
        let http = AcmeHttp::new(shared.parts.provider(), &shared.config.roots)?;
        Ok(Self {
            shared,
            http,
            account: Mutex::default(),
        })
    }

    /// Orders a certificate for `host`, first with the challenge that worked last, then with the
    /// other one if the first was not believed and `budget` (validations that may still fail) allows.
    /// Only with TLS-ALPN-01 where nothing answers HTTP-01.
    pub(super) async fn issue(
        &self,
        host: &Host,
        first: ChallengeKind,
        budget: usize,
    ) -> Result<Issued, Fault> {
        let http_01 = self.shared.config.http_01;
        let first = if http_01 {
            first
        } else {
            ChallengeKind::TlsAlpn01
        };
        let fault = match self.attempt(host, first).await {
            Ok(issued) => return Ok(issued),
            Err(fault) => fault,
        };
        if !http_01 || !fault.other_may_help || budget < 2 {
            return Err(fault);
        }
        tracing::info!(%host, challenge = first.name(), error = %fault.text, "not validated; trying the other challenge");
        match self.attempt(host, first.other()).await {
            Ok(issued) => Ok(issued),
            Err(second) => Err(fault.and(first, second)),
        }
    }

    /// One order, made again where the CA lost track: of a nonce, of the account.
    async fn attempt(&self, host: &Host, kind: ChallengeKind) -> Result<Issued, Fault> {
        let mut nonces = NONCE_RETRIES;
        let mut accounts = 1;
        loop {
            let account = self.account().await?;
            let fault = match self.order(&account, host, kind).await {
                Ok(issued) => return Ok(issued),
                Err(fault) => fault,
            };
            match fault.said {
                Said::BadNonce if nonces > 0 => nonces -= 1,
                Said::UnknownAccount if accounts > 0 => {
                    accounts -= 1;
                    tracing::warn!(
                        account = account.id(),
                        "the CA does not know our account any more"
                    );
                    self.forget_account(account.id()).await;
                }
                Said::BadNonce | Said::UnknownAccount | Said::Else => return Err(fault),
            }
        }
    }

    async fn order(
        &self,
        account: &Account,
        host: &Host,
        kind: ChallengeKind,
    ) -> Result<Issued, Fault> {
        let names = [Identifier::Dns(host.as_str().to_owned())];
        // The seam for ARI and profiles: `.replaces(..)`, `.profile(..)`.
        let mut order = account
            .new_order(&NewOrder::new(&names))
            .await
            .map_err(sort)?;
        let challenge = self.prepare(&mut order, host, kind).await?;
        let proven = match order.poll_ready(&POLL).await {
            Ok(OrderStatus::Ready | OrderStatus::Valid) => Ok(()),
            Ok(_) => Err(None),
            Err(Error::Api(problem)) if order.state().error.is_some() => Err(Some(problem)),
            Err(error) => return Err(sort(error)),
        };
        if let Err(problem) = proven {
            return Err(not_validated(&mut order, problem).await);
        }
        // Answered until here: validations from several places may come late.
        drop(challenge);
        let key = order.finalize().await.map_err(sort)?;
        let chain = order.poll_certificate(&POLL).await.map_err(sort)?;
        Ok(Issued {
            key,
            chain,
            challenge: kind,
        })
    }

    /// Puts the answers to the order's challenges up, then tells the CA to look.
    async fn prepare(
        &self,
        order: &mut Order,
        host: &Host,
        kind: ChallengeKind,
    ) -> Result<Option<Challenge>, Fault> {
        let mut pending = None;
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(sort)?;
            match authorization.status {
                // Proven for an earlier order and still believed.
                AuthorizationStatus::Valid => continue,
                AuthorizationStatus::Pending => {}
                status => return Err(Fault::broken(format!("the authorization is {status:?}"))),
            }
            let Some(mut challenge) = authorization.challenge(kind.acme()) else {
                let text = format!("the CA offers no {} challenge", kind.name());
                return Err(Fault::unoffered(text));
            };
            pending = Some(Challenge::answer(&self.shared, host, kind, &challenge).await?);
            challenge.set_ready().await.map_err(sort)?;
        }
        Ok(pending)
    }

    /// The account: from memory, from the store, or registered now.
    async fn account(&self) -> Result<Account, Fault> {
        let mut registration = self.account.lock().await;
        if let Some(account) = &registration.account {
            return Ok(account.clone());
        }
        if let Some((until, fault)) = &registration.blocked
            && *until > SystemTime::now()
        {
            return Err(fault.clone());
        }
        let _lock = self.shared.store.lock(ACCOUNT_LOCK).await;
        match self.open_account().await {
            Ok(account) => {
                *registration = Registration {
                    account: Some(account.clone()),
                    blocked: None,
                };
                Ok(account)
            }
            Err(fault) => {
                if let Setback::Limited { until } = fault.setback {
                    registration.blocked = Some((until, fault.clone()));
                }
                Err(fault)
            }
        }
    }

    async fn open_account(&self) -> Result<Account, Fault> {
        let config = &self.shared.config;
        let builder = || Account::builder_with_http(Box::new(self.http.clone()));
        if let Some(stored) = self.shared.store.load_account::<AccountCredentials>() {
            return match builder().from_credentials(stored).await {
                Err(Error::KeyRejected) => {
                    self.shared.store.retire_account(None);
                    Err(Fault::broken(
                        "the stored account key is not usable; a new account comes next".into(),
                    ))
                }
                other => other.map_err(sort),
            };
        }
        let contact = config.email.as_ref().map(|email| format!("mailto:{email}"));
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        let new = NewAccount {
            contact: &contact,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let mut nonces = NONCE_RETRIES;
        let (account, credentials) = loop {
            match builder().create(&new, config.directory.clone(), None).await {
                Ok(made) => break made,
                Err(error) => {
                    let fault = sort(error);
                    if fault.said != Said::BadNonce || nonces == 0 {
                        return Err(fault);
                    }
                    nonces -= 1;
                }
            }
        };
        tracing::info!(
            account = account.id(),
            directory = config.directory,
            "registered an ACME account"
        );
        if let Err(error) = self.shared.store.save_account(&credentials) {
            tracing::error!(%error, "the ACME account cannot be kept: a new one is made at each start");
        }
        Ok(account)
    }

    /// Forgets the account the CA refused, unless another order did so already.
    async fn forget_account(&self, id: &str) {
        let mut registration = self.account.lock().await;
        if registration
            .account
            .as_ref()
            .is_some_and(|known| known.id() == id)
        {
            registration.account = None;
            let _lock = self.shared.store.lock(ACCOUNT_LOCK).await;
            self.shared.store.retire_account(Some(id));
        }
    }
}

/// Finds out why an order became invalid: the order has the reason with some CAs, the challenge with
/// others.
async fn not_validated(order: &mut Order, problem: Option<instant_acme::Problem>) -> Fault {
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
    Fault::not_validated(found.or(problem))
}

impl ChallengeKind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Http01 => "HTTP-01",
            Self::TlsAlpn01 => "TLS-ALPN-01",
        }
    }

    pub(super) fn other(self) -> Self {
        match self {
            Self::Http01 => Self::TlsAlpn01,
            Self::TlsAlpn01 => Self::Http01,
        }
    }

    fn acme(self) -> ChallengeType {
        match self {
            Self::Http01 => ChallengeType::Http01,
            Self::TlsAlpn01 => ChallengeType::TlsAlpn01,
        }
    }
}

/// A handshake waits: look soon, then less often. A Retry-After of the CA comes first.
const POLL: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(25))
    .backoff(1.5)
    .timeout(Duration::from_secs(60));
/// Beyond the three tries the ACME library makes per request.
const NONCE_RETRIES: u32 = 2;
