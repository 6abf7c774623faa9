//! What commands ask of the Wharfs on a store, and what they are told. The store is all a command and a
//! running process have to have in common, and who may write to it has the keys anyway.

use std::io;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::record::VERSION;
use super::values::Values;
use super::{Lock, open};

/// The requests in one place.
pub(in crate::tls) struct Requests {
    values: Values,
}

/// Something to be done about a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::tls) struct Request {
    pub(in crate::tls) version: u32,
    pub(in crate::tls) host: String,
    pub(in crate::tls) act: Act,
    /// Unix seconds: when it was asked, and from when on nobody waits for it any more.
    pub(in crate::tls) at: u64,
    pub(in crate::tls) until: u64,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::tls) enum Act {
    /// Order now, due or not.
    Renew,
    /// Tell the CA that the certificate is not to be trusted, and order another.
    Revoke(Reason),
}

/// Why a certificate is revoked (RFC 5280 section 5.3.1), as far as it is the subscriber's to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    Unspecified,
    KeyCompromise,
    AffiliationChanged,
    Superseded,
    CessationOfOperation,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::tls) struct Answer {
    pub(in crate::tls) version: u32,
    pub(in crate::tls) done: bool,
    /// A sentence or two.
    pub(in crate::tls) text: String,
    /// Unix seconds: nobody reads it later.
    pub(in crate::tls) until: u64,
}

impl Requests {
    pub(in crate::tls) fn open(data: Option<&Path>) -> Self {
        Self {
            values: Values::new(open(data)),
        }
    }

    /// Puts a request down, for whoever looks first.
    pub(in crate::tls) fn ask(&self, id: &str, request: &Request) -> io::Result<()> {
        self.values.write_brief(&request_key(id), request)
    }

    /// All that nobody has answered yet. Clears away what is of no use any more.
    pub(in crate::tls) fn pending(&self, now: u64) -> Vec<(String, Request)> {
        let current = |request: &Request| request.version == VERSION && request.until > now;
        let mut pending = self.listed(REQUESTS, current);
        pending.truncate(PENDING_MOST);
        pending
    }

    /// Clears away answers nobody has read.
    pub(in crate::tls) fn sweep(&self, now: u64) {
        drop(self.listed(ANSWERS, |answer: &Answer| answer.until > now));
    }

    /// The right to answer: `None` where another process has it.
    pub(in crate::tls) fn take(&self, id: &str) -> Option<Lock> {
        self.values.locked(&format!("request-{id}"))
    }

    /// Whether somebody still wants an answer.
    pub(in crate::tls) fn is_asked(&self, id: &str) -> bool {
        self.values.read::<Request>(&request_key(id)).is_ok()
    }

    /// The caller has taken the request.
    pub(in crate::tls) fn answer(&self, id: &str, answer: &Answer) -> io::Result<()> {
        let told = self.values.write_brief(&answer_key(id), answer);
        self.values.remove(&request_key(id));
        told
    }

    /// Takes an answer away, once there is one.
    pub(in crate::tls) fn answered(&self, id: &str) -> Option<Answer> {
        let answer = self.values.read(&answer_key(id)).ok()?;
        self.values.remove(&answer_key(id));
        Some(answer)
    }

    pub(in crate::tls) fn withdraw(&self, id: &str) {
        self.values.remove(&request_key(id));
    }

    fn listed<T: DeserializeOwned>(
        &self,
        folder: &str,
        current: impl Fn(&T) -> bool,
    ) -> Vec<(String, T)> {
        let mut listed = Vec::new();
        for item in self.values.store.list(folder).unwrap_or_default() {
            let id = item.key.strip_prefix(folder).and_then(|key| {
                let name = key.strip_prefix('/')?;
                name.strip_suffix(".json")
            });
            let (Some(id), value) = (id, self.values.read::<T>(&item.key)) else {
                continue;
            };
            match value {
                Ok(value) if current(&value) => listed.push((id.to_owned(), value)),
                _ => self.values.remove(&item.key),
            }
        }
        listed
    }
}

fn request_key(id: &str) -> String {
    format!("{REQUESTS}/{id}.json")
}

fn answer_key(id: &str) -> String {
    format!("{ANSWERS}/{id}.json")
}

const REQUESTS: &str = "requests";
const ANSWERS: &str = "answers";
/// Looked at in one go.
const PENDING_MOST: usize = 16;
