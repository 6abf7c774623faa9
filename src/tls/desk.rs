//! Does what commands ask for: `wharf certs renew` and `revoke`. Requests lie in the store, and the first
//! Wharf that is responsible for the name takes them.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::model::HostPattern;

use super::book::Shared;
use super::entry::{Flight, Outcome, Source};
use super::renew::to_unix;
use super::served::Served;
use super::store::{Act, Answer, Lock, Reason, Request, Requests, VERSION};
use super::work::Authority;

/// Takes requests. Never ends.
pub(super) async fn run(shared: Arc<Shared>, authorities: Arc<[Authority]>) {
    let desk = Arc::new(Desk {
        requests: Requests::open(shared.config.data.as_deref()),
        at_work: Mutex::default(),
        shared,
        authorities,
    });
    let mut sweep = true;
    loop {
        let looked = tokio::task::spawn_blocking({
            let desk = Arc::clone(&desk);
            move || desk.look(sweep)
        });
        sweep = false;
        for (id, request, lock) in looked.await.unwrap_or_default() {
            tokio::spawn(Arc::clone(&desk).serve(id, request, lock));
        }
        tokio::time::sleep(LOOK).await;
    }
}

struct Desk {
    shared: Arc<Shared>,
    authorities: Arc<[Authority]>,
    requests: Requests,
    /// Requests that are being done here; as many as are looked at in one go.
    at_work: Mutex<HashSet<String>>,
}

/// What is said of a request.
type Said = Result<String, String>;

impl Desk {
    /// The requests that are for this process, taken. Blocks.
    fn look(&self, sweep: bool) -> Vec<(String, Request, Lock)> {
        let now = to_unix(SystemTime::now());
        if sweep {
            self.requests.sweep(now);
        }
        let mut taken = Vec::new();
        for (id, request) in self.requests.pending(now) {
            if !self.is_ours(&request, now) || self.at_work().contains(&id) {
                continue;
            }
            let Some(lock) = self.requests.take(&id) else {
                continue;
            };
            if self.requests.is_asked(&id) {
                self.at_work().insert(id.clone());
                taken.push((id, request, lock));
            }
        }
        taken
    }

    /// Another process may serve the name. Where after a while none has taken the request, none does.
    fn is_ours(&self, request: &Request, now: u64) -> bool {
        let pattern = HostPattern::parse(&request.host);
        let declared = pattern.is_ok_and(|pattern| {
            let book = self.shared.book();
            book.get(&pattern).is_some_and(|entry| entry.mode.is_some())
        });
        declared || now.saturating_sub(request.at) >= NOBODY_ELSE
    }

    async fn serve(self: Arc<Self>, id: String, request: Request, lock: Lock) {
        tracing::info!(host = request.host, act = ?request.act, "asked by a command");
        let said = match HostPattern::parse(&request.host) {
            Err(why) => Err(why.to_string()),
            Ok(pattern) => match request.act {
                Act::Renew => self.renew(&pattern).await,
                Act::Revoke(reason) => self.revoke(&pattern, reason).await,
            },
        };
        let answer = Answer {
            version: VERSION,
            done: said.is_ok(),
            text: said.unwrap_or_else(|why| why),
            until: to_unix(SystemTime::now() + ANSWER_KEPT),
        };
        let told = tokio::task::spawn_blocking(move || {
            let told = self.requests.answer(&id, &answer);
            self.at_work().remove(&id);
            drop(lock);
            told
        });
        if let Ok(Err(error)) = told.await {
            tracing::warn!(%error, "the answer to a command cannot be stored");
        }
    }

    async fn renew(&self, pattern: &HostPattern) -> Said {
        let before = match self.hasten(pattern)? {
            Hastened::Done(served) => return Ok(told(&served)),
            Hastened::Ordered { flight, before } => {
                self.shared.wake.notify_one();
                (flight, before)
            }
        };
        let (mut flight, before) = before;
        let outcome = tokio::time::timeout(ORDER_MOST, flight.wait_for(Option::is_some)).await;
        let outcome: Option<Outcome> = outcome.ok().and_then(|landed| landed.ok()?.clone());
        match outcome {
            Some(Ok(served)) => Ok(told(&served)),
            ended => {
                // What was not due before is not due now.
                if let Some(entry) = self.shared.book().get_mut(pattern)
                    && entry.served.is_some()
                {
                    entry.renew_at = before;
                    entry.asked = false;
                }
                Err(match ended {
                    Some(Err(why)) => why.to_string(),
                    _ => "the order is still under way; see the log".to_owned(),
                })
            }
        }
    }

    /// Makes a name due.
    fn hasten(&self, pattern: &HostPattern) -> Result<Hastened, String> {
        let now = SystemTime::now();
        let mut book = self.shared.book();
        let entry = book.get_mut(pattern).filter(|entry| entry.mode.is_some());
        let entry = entry
            .ok_or_else(|| format!("no running container asks for a certificate of {pattern}"))?;
        match entry.source {
            Source::Acme => {}
            Source::Local => {
                let made = self.shared.make_local(pattern, entry, now);
                return made.map(Hastened::Done).map_err(|why| why.to_string());
            }
            Source::File => {
                return Err(format!(
                    "{pattern} is served from a file of yours: replace that file"
                ));
            }
            Source::Nowhere => return Err(super::ObtainError::Wildcard.to_string()),
        }
        entry.histories.hasten(now).map_err(|at| {
            let at = httpdate::fmt_http_date(at);
            format!("the CA allows no more failed attempts within an hour; the next one is at {at}")
        })?;
        let before = entry.renew_at;
        if entry.served.is_some() {
            entry.renew_at = Some(now);
            entry.asked = true;
        }
        let (flight, _) = entry
            .wait()
            .ok_or("too many connections already wait for this certificate")?;
        Ok(Hastened::Ordered { flight, before })
    }

    async fn revoke(&self, pattern: &HostPattern, reason: Reason) -> Said {
        let host = &pattern.to_string();
        let lock = self.shared.store.lock(host).await;
        let mut revoked = Vec::new();
        for (ca, Authority { acme, .. }) in self.authorities.iter().enumerate() {
            let Some(leaf) = self.stored_leaf(ca, host).await else {
                continue;
            };
            acme.revoke(&leaf, reason)
                .await
                .map_err(|fault| fault.text)?;
            tracing::warn!(%host, ca = self.shared.cas[ca].config.name, ?reason, "certificate revoked");
            self.retire(ca, host).await;
            revoked.push(self.shared.cas[ca].config.name.clone());
        }
        drop(lock);
        if revoked.is_empty() {
            return Err(format!("the store holds no certificate of {host}"));
        }
        let revoked = format!("revoked at {}", revoked.join(" and "));
        let asked = self.shared.revoked(pattern);
        if !asked {
            return Ok(format!("{revoked}; no running container asks for another"));
        }
        match self.renew(pattern).await {
            Ok(renewed) => Ok(format!("{revoked}; {renewed}")),
            Err(why) => Err(format!(
                "{revoked}, but no other certificate could be obtained yet, and the revoked one is still \
                 served: {why}"
            )),
        }
    }

    async fn stored_leaf(&self, ca: usize, host: &str) -> Option<CertificateDer<'static>> {
        let (store, name) = (Arc::clone(&self.shared.cas[ca].store), host.to_owned());
        let record = tokio::task::spawn_blocking(move || store.load(&name));
        let chain = record.await.ok()??.chain?;
        CertificateDer::from_pem_slice(chain.as_bytes()).ok()
    }

    async fn retire(&self, ca: usize, host: &str) {
        let (store, name) = (Arc::clone(&self.shared.cas[ca].store), host.to_owned());
        let retired = move || store.retire(&name, "revoked");
        drop(tokio::task::spawn_blocking(retired).await);
    }

    fn at_work(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.at_work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A name that is due at once.
enum Hastened {
    Done(Arc<Served>),
    Ordered {
        flight: Flight,
        before: Option<SystemTime>,
    },
}

fn told(served: &Served) -> String {
    let end = httpdate::fmt_http_date(served.not_after);
    format!("new certificate by {}, valid until {end}", served.issuer)
}

/// A command waits for this; a look is one system call.
const LOOK: Duration = Duration::from_secs(1);
/// Seconds after which no other process will take a request.
const NOBODY_ELSE: u64 = 3;
const ORDER_MOST: Duration = Duration::from_secs(155);
const ANSWER_KEPT: Duration = Duration::from_secs(10 * 60);
