//! What a host asks of a TLS connection beside its certificate, and what browsers are told of TLS.

use std::fmt;

use serde::Serialize;

/// Rules of a connection. Compared as a whole: one that was made by other rules is not taken for one that
/// keeps these.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize)]
pub struct TlsPolicy {
    pub min: TlsVersion,
    pub client: Option<ClientAuth>,
}

/// `wharf.tls.min`: the oldest version a client may speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize)]
pub enum TlsVersion {
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    #[serde(rename = "1.3")]
    Tls13,
}

/// `wharf.tls.client_ca`: clients show a certificate of this authority.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct ClientAuth {
    /// A PEM file in Wharf's container; if relative, in the directory of own certificates.
    pub ca: String,
    /// They may also show none; the app is told which it was.
    pub optional: bool,
}

/// `wharf.hsts` (RFC 6797). Sent over TLS only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Hsts {
    /// Seconds a browser asks this host by HTTPS alone. Default a year; 0 makes it forget.
    pub max_age: u64,
    /// For all names below it, too.
    pub subdomains: bool,
    /// Asks for a place in the list that browsers come with (hstspreload.org).
    pub preload: bool,
}

impl Hsts {
    /// What the preload list asks for, and the default.
    pub const YEAR: u64 = 31_536_000;
}

impl Default for Hsts {
    fn default() -> Self {
        Self {
            max_age: Self::YEAR,
            subdomains: false,
            preload: false,
        }
    }
}

/// The value of `Strict-Transport-Security`.
impl fmt::Display for Hsts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "max-age={}", self.max_age)?;
        if self.subdomains {
            f.write_str("; includeSubDomains")?;
        }
        if self.preload {
            f.write_str("; preload")?;
        }
        Ok(())
    }
}
