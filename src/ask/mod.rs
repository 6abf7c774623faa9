//! Puts the questions of `wharf.tls.ask`: may this name have a certificate?
//!
//! Runs on the control thread. `tls` says which names, and remembers the answers; here is who is asked, by
//! the table of this moment, and how: a GET with `domain=` in its query. 200 is yes, any other status below
//! 500 is no, all else is no answer. Nothing is followed, and no question takes longer than [`LIMIT`].

mod http;

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use self::http::{Asked, Trouble};
use crate::docker::labels::refused;
use crate::model::{AskAt, AskUrl};
use crate::route::{Asking, SharedTable};
use crate::tls::{Answer, Certs, Question, server_name};
use crate::upstream::{Ask, Choice, Tried};

/// Puts one question after the other, [`AT_ONCE`] at a time. Cancel safe.
pub async fn run(table: Arc<SharedTable>, certs: Certs) -> Infallible {
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let tls = match http::client() {
        Ok(tls) => tls,
        // The library that serves works, so this does; URLs of https would not be asked.
        Err(error) => {
            tracing::error!(%error, "wharf.tls.ask: setting up TLS");
            return pending().await;
        }
    };
    let mut asked = JoinSet::new();
    loop {
        // Never closed.
        let Ok(place) = Arc::clone(&room).acquire_owned().await else {
            return pending().await;
        };
        let question = certs.question().await;
        let (table, certs, tls) = (Arc::clone(&table), certs.clone(), Arc::clone(&tls));
        asked.spawn(async move {
            let (answer, why) = answer(&table, &question, (&tls, &certs)).await;
            certs.answer(&question.name, answer, why);
            drop(place);
        });
        while asked.try_join_next().is_some() {}
    }
}

/// Asks, and tells the log what came of it; why there is no answer for status, too.
async fn answer(
    table: &SharedTable,
    question: &Question,
    tls: (&Arc<ClientConfig>, &Certs),
) -> (Answer, Option<Arc<str>>) {
    let (started, name) = (Instant::now(), &question.name);
    let current = table.load();
    let entry = current.entry(&question.pattern);
    let Some(asking) = entry.and_then(|entry| entry.ask.clone()) else {
        // The labels have changed meanwhile.
        return (Answer::Unknown, None);
    };
    let asked = timeout(LIMIT, put(table, question, &asking, tls)).await;
    let took = started.elapsed();
    match asked.unwrap_or(Err(Trouble::Late(LIMIT))) {
        Ok(Asked { status: 200, .. }) => {
            tracing::info!(host = %name, asked = %asking, ?took, "may have a certificate");
            (Answer::Yes, None)
        }
        Ok(Asked { status, words }) if status < 500 => {
            tracing::info!(host = %name, asked = %asking, status, words, "may have no certificate");
            (Answer::No, None)
        }
        Ok(Asked { status, words }) => {
            tracing::warn!(
                host = %name, asked = %asking, status, words,
                "wharf.tls.ask: no certificate, because of an answer that is neither yes nor no"
            );
            let why = format!("{asking} answered {status} about {name}");
            (Answer::Unknown, Some(why.into()))
        }
        Err(error) => {
            tracing::warn!(
                host = %name, asked = %asking, ?took, %error,
                "wharf.tls.ask: no certificate, because nobody answers"
            );
            let why = format!("{asking}, asked about {name}: {error}");
            (Answer::Unknown, Some(why.into()))
        }
    }
}

async fn put(
    table: &SharedTable,
    question: &Question,
    asking: &Asking,
    (tls, certs): (&Arc<ClientConfig>, &Certs),
) -> Result<Asked, Trouble> {
    let target = asking.at.target(&question.name);
    match &asking.at {
        AskAt::Url(url) => {
            let addr = look_up(url).await?.into();
            let authority = url.authority();
            let name = ServerName::try_from(url.host.as_str().to_owned());
            let name = name.map_err(|_| Trouble::NoAddress)?;
            let tls = url.https.then_some((name, tls));
            http::get(&addr, tls, &authority, &target).await
        }
        AskAt::App(_) => ask_app(table, question, &target, certs).await,
    }
}

/// Asks a replica, as a request would be sent to one. While none can be connected to, as in a deploy, it is
/// tried again until the limit of the question.
async fn ask_app(
    table: &SharedTable,
    question: &Question,
    target: &str,
    certs: &Certs,
) -> Result<Asked, Trouble> {
    let mut tried = Tried::default();
    let mut trouble = Trouble::Nobody;
    let mut rounds = 0;
    loop {
        let current = table.load();
        let entry = current.entry(&question.pattern);
        let asking = entry.and_then(|entry| entry.ask.as_ref());
        let upstream = &asking.ok_or(Trouble::Nobody)?.upstream;
        let picked = upstream.pick(&IN_TURN, &tried, Instant::now);
        if let Some((index, endpoint)) = picked {
            let addr = &endpoint.addr;
            let config = match (&endpoint.tls, addr.ip()) {
                (None, _) | (_, None) => None,
                (Some(tls), Some(ip)) => {
                    let config = certs.current().trust(&tls.verify).map(Arc::clone);
                    let config = config.map_err(|fault| Trouble::Tls(io::Error::other(&*fault)))?;
                    Some((server_name(tls, ip), config))
                }
            };
            let tls = config.as_ref().map(|(name, config)| (name.clone(), config));
            match http::get(addr, tls, &endpoint.authority, target).await {
                Err(Trouble::Connect(error)) => trouble = Trouble::Connect(error),
                other => return other,
            }
            tried.add(index);
            continue;
        }
        // An error of somebody's is worth more than the limit it would run into.
        rounds += 1;
        if rounds > ROUNDS {
            return Err(trouble);
        }
        sleep(PAUSE).await;
        tried = Tried::default();
    }
}

/// One address of a name; IPv4 if there is any.
async fn look_up(url: &AskUrl) -> Result<SocketAddr, Trouble> {
    if let Some(ip) = url.host.ip() {
        return Ok(SocketAddr::new(ip, url.port));
    }
    let found = tokio::net::lookup_host((url.host.as_str(), url.port)).await;
    let mut found: Vec<_> = found.map_err(Trouble::Name)?.collect();
    found.retain(|addr| refused(addr.ip()).is_none());
    found.sort_by_key(SocketAddr::is_ipv6);
    found.first().copied().ok_or(Trouble::NoAddress)
}

const IN_TURN: Ask = Ask {
    choice: Choice::Turn,
    held: None,
    slow_start: Duration::ZERO,
};
/// Of a question as a whole.
const LIMIT: Duration = Duration::from_secs(2);
/// Questions under way at the same time. An app that hangs gets eight a second.
const AT_ONCE: usize = 16;
const PAUSE: Duration = Duration::from_millis(100);
const ROUNDS: u32 = 17;
