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
    /// The certificate profile to ask for, where the CA offers it. Default the CA's own choice. With
    /// `shortlived` addresses are ordered, too: CAs give them no other.
    pub profile: Option<String>,
    /// A directory where names are tried out whose last validation failed, so that no failure more is
    /// counted against them. Default none.
    pub staging: Option<String>,
    /// What the CA allows, less some room for others who ask for the same names. Default not limited.
    pub limits: Option<Limits>,
}

/// How much a CA is asked for at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// First certificates of names below one registered domain, in 7 days.
    pub per_domain: usize,
    /// Certificates of one name, in 7 days.
    pub per_name: usize,
    /// Orders, in 3 hours.
    pub orders: usize,
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
            profile: None,
            staging: None,
            limits: None,
        }
    }

    /// Whether the directory can be asked at all: RFC 8555 section 6.1.
    pub fn is_secure(&self) -> bool {
        let rest = self.directory.strip_prefix("https://");
        rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
    }
}

impl Limits {
    /// Let's Encrypt allows 50, 5 and 300.
    pub const LETSENCRYPT: Self = Self {
        per_domain: 45,
        per_name: 4,
        orders: 270,
    };
}

impl fmt::Debug for Eab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key { kid, .. } => f.debug_struct("Key").field("kid", kid).finish(),
            Self::ByEmail { url } => f.debug_struct("ByEmail").field("url", url).finish(),
        }
    }
}
