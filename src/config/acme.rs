//! The certificate authorities: which ones, their root, our contact.

use std::fs;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::Uri;
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::parse::{ACME, ACME_EAB, Setting};
use super::{CaConfig, Eab, Limits};
use crate::model::Host;

/// Let's Encrypt alone.
pub(super) fn default() -> Vec<CaConfig> {
    let (name, directory) = KNOWN[0];
    vec![known(name, directory)]
}

/// A list of `letsencrypt`, `letsencrypt-staging`, `zerossl`, `google` and directory URLs.
pub(super) fn authorities(text: &str) -> Result<Vec<CaConfig>, String> {
    let mut all: Vec<CaConfig> = Vec::new();
    for item in text.split([',', '\n']).map(str::trim) {
        let ca = authority(item)?;
        if all.iter().any(|known| known.directory == ca.directory) {
            return Err(format!("`{item}` stands here twice"));
        }
        all.push(ca);
    }
    Ok(all)
}

fn authority(text: &str) -> Result<CaConfig, String> {
    let lower = text.to_ascii_lowercase();
    if let Some((name, directory)) = KNOWN.iter().find(|(name, _)| *name == lower) {
        return Ok(known(name, directory));
    }
    if lower.starts_with("http://") {
        return Err("an ACME server must be reached by https:// (RFC 8555 section 6.1)".into());
    }
    if !lower.starts_with("https://") {
        return Err(format!("expected {ACCEPTED}"));
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
    let host = Host::parse(uri.host().unwrap_or_default())
        .map_err(|fault| format!("{fault}; expected {ACCEPTED}"))?;
    // Written out or by its word, it is the same CA with the same limits.
    if let Some((name, directory)) = KNOWN.iter().find(|(_, directory)| *directory == text) {
        return Ok(known(name, directory));
    }
    Ok(CaConfig {
        public: !host.is_local(),
        ..CaConfig::new(text)
    })
}

fn known(name: &str, directory: &str) -> CaConfig {
    let limited = name == LETSENCRYPT;
    CaConfig {
        name: name.to_owned(),
        staging: limited.then(|| KNOWN[1].1.to_owned()),
        limits: limited.then_some(Limits::LETSENCRYPT),
        ..CaConfig::new(directory)
    }
}

/// A word; which ones there are the CA says.
pub(super) fn profile(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match text.len() <= 64 && text.chars().all(plain) {
        true => Ok(text.to_owned()),
        false => Err("expected a word such as classic, tlsserver or shortlived".to_owned()),
    }
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

/// An account binding as written: which CA it is for, key id, key.
pub(super) struct Binding {
    ca: Option<String>,
    kid: String,
    key: Vec<u8>,
}

/// A list of `[CA=]KID:KEY`; `KEY` is the CA's base64url text, `file:PATH` or `env:NAME`. Messages hold
/// nothing of what was written.
pub(super) fn bindings(text: &str) -> Result<Vec<Binding>, String> {
    let items = text.split([',', '\n']).map(str::trim);
    items.map(binding).collect()
}

fn binding(item: &str) -> Result<Binding, String> {
    let (credentials, ca) = match item.split_once('=') {
        // Base64 may end in `=`.
        Some((ca, rest)) if rest.contains(':') => (rest, Some(ca.trim().to_ascii_lowercase())),
        _ => (item, None),
    };
    let (kid, key) = credentials
        .split_once(':')
        .filter(|(kid, key)| !kid.is_empty() && !key.is_empty())
        .ok_or("expected KID:KEY or CA=KID:KEY, where KEY may be file:PATH or env:NAME")?;
    let key = if let Some(path) = key.strip_prefix("file:") {
        fs::read_to_string(path).map_err(|fault| format!("{path} cannot be read: {fault}"))?
    } else if let Some(name) = key.strip_prefix("env:") {
        std::env::var(name).map_err(|_| format!("there is no variable {name}"))?
    } else {
        key.to_owned()
    };
    let key = BASE64_URL_SAFE_NO_PAD.decode(key.trim().trim_end_matches('='));
    Ok(Binding {
        ca,
        kid: kid.to_owned(),
        key: key.map_err(|_| "the key is no base64url text")?,
    })
}

/// What is said of the CAs in different settings, put together.
pub(super) struct Parts {
    pub(super) authorities: Vec<CaConfig>,
    /// Without a root the public ones alone are believed.
    pub(super) root: Option<Vec<CertificateDer<'static>>>,
    pub(super) bindings: Vec<Binding>,
    pub(super) has_email: bool,
    pub(super) profile: Option<String>,
}

/// The CAs, or which setting is at fault and why.
pub(super) fn assemble(parts: Parts) -> Result<Vec<CaConfig>, (Setting, String)> {
    let mut cas = parts.authorities;
    for ca in &mut cas {
        ca.profile.clone_from(&parts.profile);
    }
    if let Some(roots) = parts.root {
        for ca in cas.iter_mut().filter(|ca| !is_known(ca)) {
            ca.public = false;
            ca.roots.clone_from(&roots);
        }
    }
    for Binding { ca, kid, key } in parts.bindings {
        let fits = |config: &CaConfig| match &ca {
            Some(name) => config.name.eq_ignore_ascii_case(name),
            None => !config.name.starts_with(LETSENCRYPT),
        };
        let mut fitting = cas.iter_mut().filter(|config| fits(config));
        let (Some(config), None) = (fitting.next(), fitting.next()) else {
            let reason = match ca {
                Some(name) => format!("`{name}` is no authority of WHARF_ACME"),
                None => "say which authority it is for: CA=KID:KEY".to_owned(),
            };
            return Err((ACME_EAB, reason));
        };
        config.eab = Some(Eab::Key { kid, key });
    }
    for ca in cas.iter_mut().filter(|ca| ca.eab.is_none()) {
        match ca.name.as_str() {
            ZEROSSL if parts.has_email => {
                let url = ZEROSSL_BY_EMAIL.to_owned();
                ca.eab = Some(Eab::ByEmail { url });
            }
            ZEROSSL => {
                let reason = "zerossl needs an address in WHARF_ACME_EMAIL, or WHARF_ACME_EAB";
                return Err((ACME, reason.to_owned()));
            }
            GOOGLE => return Err((ACME, "google needs WHARF_ACME_EAB".to_owned())),
            _ => {}
        }
    }
    Ok(cas)
}

fn is_known(ca: &CaConfig) -> bool {
    KNOWN
        .iter()
        .any(|(_, directory)| *directory == ca.directory)
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

const ACCEPTED: &str =
    "letsencrypt, letsencrypt-staging, zerossl, google or an https:// directory URL";
const LETSENCRYPT: &str = "letsencrypt";
const ZEROSSL: &str = "zerossl";
const GOOGLE: &str = "google";
const ZEROSSL_BY_EMAIL: &str = "https://api.zerossl.com/acme/eab-credentials-email";
const KNOWN: [(&str, &str); 4] = [
    (
        LETSENCRYPT,
        "https://acme-v02.api.letsencrypt.org/directory",
    ),
    (
        "letsencrypt-staging",
        "https://acme-staging-v02.api.letsencrypt.org/directory",
    ),
    (ZEROSSL, "https://acme.zerossl.com/v2/DV90"),
    (GOOGLE, "https://dv.acme-v02.api.pki.goog/directory"),
];
