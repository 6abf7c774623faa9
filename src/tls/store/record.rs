//! What is kept, as types.

use std::fmt::Display;

use serde::{Deserialize, Serialize};

use super::super::ari::Ari;
use super::super::renew::History;

/// Everything kept about one name: key and chain in one value, so that they can never tear. Holds a
/// private key: no `Debug`.
#[derive(Clone, Serialize, Deserialize)]
pub(in crate::tls) struct Record {
    pub(in crate::tls) version: u32,
    pub(in crate::tls) host: String,
    /// Directory URL of the CA that was asked.
    pub(in crate::tls) source: String,
    /// PEM; present together with `chain` or not at all.
    #[serde(default)]
    pub(in crate::tls) key: Option<String>,
    #[serde(default)]
    pub(in crate::tls) chain: Option<String>,
    /// The challenge that worked last.
    #[serde(default)]
    pub(in crate::tls) challenge: Option<ChallengeKind>,
    /// An order under way, or left open by a process that ended.
    #[serde(default)]
    pub(in crate::tls) open: Option<OpenOrder>,
    /// When the certificate was obtained, and when it was last needed (to a day or so). Unix seconds.
    #[serde(default)]
    pub(in crate::tls) issued: Option<u64>,
    #[serde(default)]
    pub(in crate::tls) used: Option<u64>,
    /// What the CA says of its renewal.
    #[serde(default)]
    pub(in crate::tls) ari: Option<Ari>,
    #[serde(default)]
    pub(in crate::tls) history: History,
}

impl Record {
    /// Nothing known yet.
    pub(in crate::tls) fn new(host: impl Display, directory: &str) -> Self {
        Self {
            version: VERSION,
            host: host.to_string(),
            source: directory.to_owned(),
            key: None,
            chain: None,
            challenge: None,
            open: None,
            issued: None,
            used: None,
            ari: None,
            history: History::default(),
        }
    }
}

/// An order the CA has not decided on. Holds a private key: no `Debug`.
#[derive(Clone, Serialize, Deserialize)]
pub(in crate::tls) struct OpenOrder {
    /// Its URL.
    pub(in crate::tls) order: String,
    /// PEM; the certificate will be for this key.
    pub(in crate::tls) key: String,
    pub(in crate::tls) challenge: ChallengeKind,
    /// Unix seconds.
    pub(in crate::tls) at: u64,
}

/// The challenges Wharf answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(in crate::tls) enum ChallengeKind {
    #[default]
    #[serde(rename = "http-01")]
    Http01,
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
    #[serde(rename = "dns-01")]
    Dns01,
    #[serde(rename = "dns-persist-01")]
    DnsPersist01,
}

/// A challenge that is pending in one process, for the others: the CA may ask any of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::tls) struct Pending {
    pub(in crate::tls) version: u32,
    pub(in crate::tls) host: String,
    /// The key authorization (RFC 8555 section 8.1), from which both answers are made.
    pub(in crate::tls) answer: String,
    /// Unix seconds; of no use later.
    pub(in crate::tls) until: u64,
}

impl Pending {
    pub(in crate::tls) fn is_current(&self, now: u64) -> bool {
        self.version == VERSION && self.until > now
    }
}

/// The built-in CA as kept. Holds a private key: no `Debug`.
#[derive(Serialize, Deserialize)]
pub(in crate::tls) struct LocalRoot {
    pub(in crate::tls) version: u32,
    pub(in crate::tls) key: String,
    pub(in crate::tls) certificate: String,
    /// Names it is limited to beside the local ones; `None`: it has no limits, as those of before.
    #[serde(default)]
    pub(in crate::tls) names: Option<Vec<String>>,
}

/// Of all of them.
pub(in crate::tls) const VERSION: u32 = 1;
