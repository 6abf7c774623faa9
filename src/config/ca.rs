//! What is known about one certificate authority before it is asked anything.

use std::fmt;

use rustls_pki_types::CertificateDer;

/// One certificate authority that speaks ACME.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaConfig {
    /// What messages call it: `letsencrypt`, or the host of its directory.
    pub name: String,
    /// The ACME directory (RFC 8555 section 7.1.1), an `https` URL.
    pub directory: String,
    /// Whether it serves public names only. False with an own root and for directories on local names:
    /// such a CA is asked for `nas.local` too.
    pub public: bool,
    /// More roots its own certificate may chain to, beside the public ones.
    pub roots: Vec<CertificateDer<'static>>,
    /// What ties our account to one the user has there already. Default none.
    pub eab: Option<Eab>,
}

/// External account binding (RFC 8555 section 7.3.4).
#[derive(Clone, PartialEq, Eq)]
pub enum Eab {
    /// As the CA's web site gives them out; the key is decoded already.
    Key { kid: String, key: Vec<u8> },
    /// The CA gives them to whoever posts an address there, as ZeroSSL does.
    ByEmail { url: String },
}

impl CaConfig {
    /// A public CA that is known by its directory alone.
    pub fn new(directory: impl Into<String>) -> Self {
        let directory = directory.into();
        let rest = directory.split_once("://").map_or("", |(_, rest)| rest);
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        Self {
            name: host.to_owned(),
            directory,
            public: true,
            roots: Vec::new(),
            eab: None,
        }
    }

    /// Whether the directory can be asked at all: RFC 8555 section 6.1.
    pub fn is_secure(&self) -> bool {
        let rest = self.directory.strip_prefix("https://");
        rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
    }
}

impl fmt::Debug for Eab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key { kid, .. } => f.debug_struct("Key").field("kid", kid).finish(),
            Self::ByEmail { url } => f.debug_struct("ByEmail").field("url", url).finish(),
        }
    }
}
