//! Reads what Wharf needs to know of a certificate: names, times, issuer.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use x509_parser::oid_registry::OID_PKIX_ACCESS_DESCRIPTOR_CA_ISSUERS;
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509Certificate, X509Name};

use crate::model::{Host, HostPattern};

/// The parts of a certificate that decide where and how long it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    /// Lower case.
    pub(super) names: Vec<String>,
    pub(super) ips: Vec<IpAddr>,
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
    /// Common name, else organisation.
    pub(super) issuer: String,
    pub(super) subject: String,
}

/// What joins certificates to chains. Names are DER.
#[derive(Debug)]
pub(super) struct Links {
    pub(super) subject: Vec<u8>,
    pub(super) issuer: Vec<u8>,
    pub(super) is_ca: bool,
    /// It says where its issuer's certificate is to be had (RFC 5280 section 4.2.2.1).
    pub(super) has_issuer_url: bool,
}

/// Why bytes are no certificate for a name.
#[derive(Debug, thiserror::Error)]
pub(super) enum X509Error {
    #[error("not a certificate: {0}")]
    Parse(String),
    #[error("the certificate has no usable dates")]
    Dates,
    #[error("the certificate is for {found}, not for {wanted}")]
    Names { found: String, wanted: String },
}

impl Links {
    /// `None` if it is no certificate.
    pub(super) fn read(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let information = certificate.extensions().iter().find_map(|extension| {
            match extension.parsed_extension() {
                ParsedExtension::AuthorityInfoAccess(information) => Some(information),
                _ => None,
            }
        });
        let has_issuer_url = information.is_some_and(|information| {
            let mut entries = information.iter();
            entries.any(|entry| entry.access_method == OID_PKIX_ACCESS_DESCRIPTOR_CA_ISSUERS)
        });
        Some(Self {
            subject: certificate.subject().as_raw().to_vec(),
            issuer: certificate.issuer().as_raw().to_vec(),
            is_ca: certificate.is_ca(),
            has_issuer_url,
        })
    }
}

impl Facts {
    pub(super) fn read(der: &[u8]) -> Result<Self, X509Error> {
        let (_, certificate) =
            X509Certificate::from_der(der).map_err(|error| X509Error::Parse(error.to_string()))?;
        let (mut names, mut ips) = (Vec::new(), Vec::new());
        let alternatives = certificate
            .subject_alternative_name()
            .map_err(|error| X509Error::Parse(error.to_string()))?;
        for name in alternatives.iter().flat_map(|ext| &ext.value.general_names) {
            match name {
                GeneralName::DNSName(name) => names.push(name.to_ascii_lowercase()),
                GeneralName::IPAddress(bytes) => ips.extend(ip(bytes)),
                _ => {}
            }
        }
        let validity = certificate.validity();
        let not_before = time(validity.not_before.timestamp()).ok_or(X509Error::Dates)?;
        let not_after = time(validity.not_after.timestamp()).ok_or(X509Error::Dates)?;
        if not_after <= not_before {
            return Err(X509Error::Dates);
        }
        Ok(Self {
            names,
            ips,
            not_before,
            not_after,
            issuer: name(certificate.issuer()),
            subject: name(certificate.subject()),
        })
    }

    /// Whether a client asking for `pattern` would accept this certificate's names. For a wildcard
    /// pattern that is the very wildcard; `default` takes any.
    pub(super) fn covers(&self, pattern: &HostPattern) -> Result<(), X509Error> {
        let ip = pattern.exact().and_then(Host::ip);
        let covered = match ip {
            Some(ip) => self.ips.contains(&ip),
            None => covers(&self.names, pattern),
        };
        if covered {
            return Ok(());
        }
        Err(X509Error::Names {
            found: self.names.join(", "),
            wanted: pattern.to_string(),
        })
    }
}

/// Whether DNS names of a certificate cover a pattern: see [`Facts::covers`].
pub(super) fn covers(names: &[String], pattern: &HostPattern) -> bool {
    match pattern {
        HostPattern::Below(_) | HostPattern::Regex(_) | HostPattern::Default => true,
        HostPattern::Wildcard(_) => names.contains(&pattern.to_string()),
        HostPattern::Exact(host) => names.iter().any(|name| {
            let wildcard = name.strip_prefix("*.");
            name == host.as_str() || wildcard.is_some_and(|rest| Some(rest) == host.parent())
        }),
    }
}

fn name(name: &X509Name<'_>) -> String {
    name.iter_common_name()
        .chain(name.iter_organization())
        .find_map(|attribute| attribute.as_str().ok())
        .unwrap_or_default()
        .to_owned()
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(<[u8; 4]>::try_from(bytes).ok()?.into()),
        16 => Some(<[u8; 16]>::try_from(bytes).ok()?.into()),
        _ => None,
    }
}

fn time(unix: i64) -> Option<SystemTime> {
    let seconds = Duration::from_secs(u64::try_from(unix).ok()?);
    SystemTime::UNIX_EPOCH.checked_add(seconds)
}
