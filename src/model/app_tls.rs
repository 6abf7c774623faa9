//! What apps speak: the protocol, how they are believed where that is over TLS, and which host they are told they
//! serve.

use std::fmt;

use serde::{Serialize, Serializer};

use super::Host;

/// `wharf.proto`: what is spoken to an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Proto {
    /// HTTP/1.1 in clear.
    #[default]
    Http,
    /// HTTP/1.1 over TLS.
    Https,
    /// HTTP/2 in clear, without being asked first (RFC 9113 section 3.3).
    H2c,
    /// HTTP/2 over TLS.
    H2,
    /// gRPC over HTTP/2 in clear: as `H2c`, with Wharf's own errors as gRPC's, and no time limits but the
    /// client's.
    Grpc,
    /// The same over TLS.
    Grpcs,
}

impl Proto {
    pub fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::H2 | Self::Grpcs)
    }

    pub fn is_http2(self) -> bool {
        matches!(self, Self::H2c | Self::H2 | Self::Grpc | Self::Grpcs)
    }

    pub fn is_grpc(self) -> bool {
        matches!(self, Self::Grpc | Self::Grpcs)
    }

    /// The port of its URLs that name none.
    pub fn default_port(self) -> u16 {
        if self.is_tls() { 443 } else { 80 }
    }
}

/// As the label is written, and as the scheme of a URL.
impl fmt::Display for Proto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::H2c => "h2c",
            Self::H2 => "h2",
            Self::Grpc => "grpc",
            Self::Grpcs => "grpcs",
        })
    }
}

/// A connection to an app is TLS. Compared as a whole: connections of one are never used for another.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct AppTls {
    pub verify: Verify,
    /// Whom the certificate has to be for, and what the handshake names (SNI). `None`: the address itself.
    pub name: Option<Host>,
}

/// `wharf.upstream.verify`: whose word counts for an app's certificate.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verify {
    /// The public authorities'.
    #[default]
    On,
    /// That of the authorities in a PEM file, or the app's own certificate, if it is that which stands there.
    /// A file in Wharf's container; if relative, in the directory of own certificates.
    File(String),
    /// Anybody's: what is sent is hidden from those who listen, not from those who pass for the app.
    Off,
}

/// `wharf.upstream.host`: the Host field an app gets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SentHost {
    /// The client's.
    #[default]
    Keep,
    /// Where the app is: host and port of the URL, or its address.
    Upstream,
    /// Always this one.
    Named(String),
}

/// As the label is written.
impl fmt::Display for Verify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::On => f.write_str("on"),
            Self::File(path) => write!(f, "file:{path}"),
            Self::Off => f.write_str("off"),
        }
    }
}

/// As the label is written.
impl Serialize for SentHost {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Self::Keep => "keep",
            Self::Upstream => "upstream",
            Self::Named(host) => host,
        })
    }
}

/// `TLS, certificate for a.test (wharf.upstream.verify: on)`.
impl fmt::Display for AppTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.verify, &self.name) {
            (Verify::Off, _) => f.write_str("TLS, certificate not verified"),
            (_, Some(name)) => write!(f, "TLS, certificate for {}", name.as_str()),
            (_, None) => f.write_str("TLS, certificate for its address"),
        }?;
        write!(f, " (wharf.upstream.verify: {})", self.verify)
    }
}
