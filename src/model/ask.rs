//! Where it is asked whether a name may have a certificate.

use std::fmt;
use std::net::IpAddr;

use serde::{Serialize, Serializer};

use super::Host;

/// `wharf.tls.ask`: who knows the names of a route whose hosts are a pattern.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum AskAt {
    /// The app itself: path, with or without a query.
    App(String),
    Url(AskUrl),
}

/// An `http` or `https` URL.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AskUrl {
    pub https: bool,
    pub host: Host,
    pub port: u16,
    /// Path, with or without a query.
    pub target: String,
}

impl AskAt {
    /// Longest path of a question.
    pub const LONGEST: usize = 1024;

    /// What is asked about a name: the target with `domain=` after what its query has.
    pub fn target(&self, name: &Host) -> String {
        let target = match self {
            Self::App(target) => target,
            Self::Url(url) => &url.target,
        };
        let mark = if target.contains('?') { '&' } else { '?' };
        // Letters, digits, `-`, `_` and dots: nothing to be escaped.
        format!("{target}{mark}domain={}", name.as_str())
    }
}

impl AskUrl {
    /// For the Host field: without the scheme's own port.
    pub fn authority(&self) -> String {
        let host = match self.host.ip() {
            Some(IpAddr::V6(ip)) => format!("[{ip}]"),
            _ => self.host.to_string(),
        };
        match (self.https, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}

/// As the label is written.
impl fmt::Display for AskAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::App(target) => f.write_str(target),
            Self::Url(url) => {
                let scheme = if url.https { "https" } else { "http" };
                write!(f, "{scheme}://{}{}", url.authority(), url.target)
            }
        }
    }
}

impl Serialize for AskAt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
