//! The certificate authority: which one, its root, our contact.

use std::fs;

use http::Uri;
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::Acme;
use crate::model::Host;

/// `letsencrypt`, `letsencrypt-staging` or a directory URL.
pub(super) fn directory(text: &str) -> Result<String, String> {
    match text.to_ascii_lowercase().as_str() {
        "letsencrypt" => return Ok(LETSENCRYPT.to_owned()),
        "letsencrypt-staging" => return Ok(LETSENCRYPT_STAGING.to_owned()),
        lower if lower.starts_with("http://") => {
            return Err("an ACME server must be reached by https:// (RFC 8555 section 6.1)".into());
        }
        lower if !lower.starts_with("https://") => {
            return Err(format!("expected {ACCEPTED}"));
        }
        _ => {}
    }
    let uri: Uri = text
        .parse()
        .map_err(|fault| format!("{fault}; expected {ACCEPTED}"))?;
    let authority = uri.authority().map_or("", |a| a.as_str());
    if authority.contains('@') {
        return Err(format!(
            "a user name may not stand here; expected {ACCEPTED}"
        ));
    }
    Host::parse(uri.host().unwrap_or_default())
        .map_err(|fault| format!("{fault}; expected {ACCEPTED}"))?;
    Ok(text.to_owned())
}

/// The certificates of a PEM file, each usable as a root.
pub(super) fn root(path: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = fs::read(path).map_err(|fault| format!("cannot be read: {fault}"))?;
    let mut store = RootCertStore::empty();
    let mut roots = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|fault| format!("is no PEM file: {fault}"))?;
        store
            .add(certificate.clone())
            .map_err(|fault| format!("holds a certificate that is no root: {fault}"))?;
        roots.push(certificate);
    }
    if roots.is_empty() {
        return Err("holds no certificate; expected a PEM file with at least one".to_owned());
    }
    Ok(roots)
}

/// The two settings together; without a root the public ones alone are believed.
pub(super) fn assemble(directory: String, root: Option<Vec<CertificateDer<'static>>>) -> Acme {
    let local = directory
        .parse::<Uri>()
        .ok()
        .and_then(|uri| Host::parse(uri.host()?).ok())
        .is_some_and(|host| host.is_local());
    Acme {
        public: root.is_none() && !local,
        directory,
        roots: root.unwrap_or_default(),
    }
}

/// One plain address. The CA checks more; this catches a name, a URL, two addresses.
pub(super) fn email(text: &str) -> Result<String, String> {
    let address = text.strip_prefix("mailto:").unwrap_or(text);
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, ',' | ';' | '<' | '>' | '"' | ':');
    match address.split_once('@') {
        Some((user, domain))
            if !user.is_empty()
                && address.len() <= 254
                && address.chars().all(plain)
                && domain.contains('.')
                && Host::parse(domain).is_ok() =>
        {
            Ok(address.to_owned())
        }
        _ => Err("expected one address such as admin@your-domain.org".to_owned()),
    }
}

/// Contacts Let's Encrypt refuses at the account, which would keep every certificate away.
pub(super) fn email_warning(address: &str) -> Option<String> {
    let (_, domain) = address.split_once('@')?;
    let example = ["example.com", "example.net", "example.org"];
    let forbidden = example.iter().any(|name| {
        domain.eq_ignore_ascii_case(name) || Host::parse(domain).is_ok_and(|host| host.is_local())
    });
    forbidden.then(|| {
        format!("WHARF_ACME_EMAIL: public authorities refuse accounts with a contact at {domain}")
    })
}

const ACCEPTED: &str = "letsencrypt, letsencrypt-staging or an https:// directory URL";
pub(super) const LETSENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
const LETSENCRYPT_STAGING: &str = "https://acme-staging-v02.api.letsencrypt.org/directory";
