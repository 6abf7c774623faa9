//! Our account at one CA: from memory, from the store, or registered now.

use std::sync::Arc;
use std::time::SystemTime;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::Request;
use http::header::CONTENT_TYPE;
use instant_acme::{Account, AccountCredentials, Error, ExternalAccountKey, NewAccount};
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::config::{CaConfig, Eab};

use super::fault::{Fault, Said, sort_account};
use super::http::AcmeHttp;
use super::store::{ACCOUNT_LOCK, Records};

/// One account at one CA.
pub(super) struct Registrar {
    ca: CaConfig,
    email: Option<String>,
    store: Arc<Records>,
    http: AcmeHttp,
    /// Locked while the account is made: one registration, however many orders wait for it.
    account: Mutex<Registration>,
}

#[derive(Default)]
struct Registration {
    account: Option<Account>,
    /// Not to be tried before this time, because of that.
    blocked: Option<(SystemTime, Fault)>,
}

impl Registrar {
    pub(super) fn new(
        ca: CaConfig,
        email: Option<String>,
        store: Arc<Records>,
        http: AcmeHttp,
    ) -> Self {
        Self {
            ca,
            email,
            store,
            http,
            account: Mutex::default(),
        }
    }

    pub(super) async fn account(&self) -> Result<Account, Fault> {
        let mut registration = self.account.lock().await;
        if let Some(account) = &registration.account {
            return Ok(account.clone());
        }
        if let Some((until, fault)) = &registration.blocked
            && *until > SystemTime::now()
        {
            return Err(fault.clone());
        }
        let _lock = self.store.lock(ACCOUNT_LOCK).await;
        match self.open().await {
            Ok(account) => {
                *registration = Registration {
                    account: Some(account.clone()),
                    blocked: None,
                };
                Ok(account)
            }
            Err(fault) => {
                registration.blocked = fault.until().map(|until| (until, fault.clone()));
                Err(fault)
            }
        }
    }

    /// Asks the CA for its directory, for the sake of its answer's Date.
    pub(super) async fn look(&self) -> Result<(), Fault> {
        let odd = |_| Fault::broken("the ACME directory is no address".into());
        let request = Request::get(&*self.ca.directory).body(Default::default());
        let looked = self.http.exchange(request.map_err(odd)?).await;
        looked.map(drop).map_err(sort_account)
    }

    /// Forgets the account the CA refused, unless another order did so already.
    pub(super) async fn forget(&self, id: &str) {
        let mut registration = self.account.lock().await;
        let known = registration.account.as_ref();
        if known.is_some_and(|known| known.id() == id) {
            registration.account = None;
            let _lock = self.store.lock(ACCOUNT_LOCK).await;
            self.store.retire_account(Some(id));
        }
    }

    async fn open(&self) -> Result<Account, Fault> {
        match self.store.load_account::<AccountCredentials>() {
            Some(stored) => self.restore(stored).await,
            None => self.register().await,
        }
    }

    async fn restore(&self, stored: AccountCredentials) -> Result<Account, Fault> {
        let builder = Account::builder_with_http(Box::new(self.http.clone()));
        match builder.from_credentials(stored).await {
            Err(Error::KeyRejected) => {
                self.store.retire_account(None);
                let text = "the stored account key is not usable; a new account comes next";
                Err(Fault::broken(text.into()))
            }
            other => other.map_err(sort_account),
        }
    }

    async fn register(&self) -> Result<Account, Fault> {
        let contact = self.email.as_ref().map(|email| format!("mailto:{email}"));
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        let new = NewAccount {
            contact: &contact,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let binding = self.binding().await?;
        let mut nonces = NONCE_RETRIES;
        let (account, credentials) = loop {
            let builder = Account::builder_with_http(Box::new(self.http.clone()));
            let directory = self.ca.directory.clone();
            match builder.create(&new, directory, binding.as_ref()).await {
                Ok(made) => break made,
                Err(error) => {
                    let fault = sort_account(error);
                    if fault.said != Said::BadNonce || nonces == 0 {
                        return Err(fault);
                    }
                    nonces -= 1;
                }
            }
        };
        tracing::info!(
            account = account.id(),
            ca = self.ca.name,
            "registered an ACME account"
        );
        if let Err(error) = self.store.save_account(&credentials) {
            tracing::error!(%error, "the ACME account cannot be kept: a new one is made at each start");
        }
        Ok(account)
    }

    /// What the CA wants to know of the account there is at it already.
    async fn binding(&self) -> Result<Option<ExternalAccountKey>, Fault> {
        let (kid, key) = match &self.ca.eab {
            None => return Ok(None),
            Some(Eab::Key { kid, key }) => (kid.clone(), key.clone()),
            Some(Eab::ByEmail { url }) => self.binding_by_email(url).await?,
        };
        Ok(Some(ExternalAccountKey::new(kid, &key)))
    }

    /// ZeroSSL's way: a form with an address, answered by credentials for one account.
    async fn binding_by_email(&self, url: &str) -> Result<(String, Vec<u8>), Fault> {
        #[derive(Deserialize)]
        struct Given {
            eab_kid: String,
            eab_hmac_key: String,
        }
        let odd =
            |what: &str| Fault::broken(format!("asking {url} for an account binding: {what}"));
        let email = self.email.as_deref().unwrap_or_default();
        let request = Request::post(url)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(format!("email={}", form_encoded(email)).into())
            .map_err(|_| odd("no such address"))?;
        let answer = self.http.exchange(request).await.map_err(sort_account)?;
        let given: Given = serde_json::from_slice(answer.body()).map_err(|_| {
            odd(&format!(
                "it answered {} without credentials",
                answer.status()
            ))
        })?;
        let key = BASE64_URL_SAFE_NO_PAD.decode(given.eab_hmac_key.trim_end_matches('='));
        let key = key.map_err(|_| odd("its key is no base64url"))?;
        Ok((given.eab_kid, key))
    }
}

/// One value of a form, as HTML encodes it.
fn form_encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// Beyond the three tries the ACME library makes per request.
pub(super) const NONCE_RETRIES: u32 = 2;
