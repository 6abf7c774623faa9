//! The built-in CA: a root of ten years, made once and kept; leaves of a week, made when first asked
//! for and kept in memory only.
//!
//! The root is limited to local names and private addresses (RFC 5280 section 4.2.1.10), so that whoever
//! steals its key cannot pass for a bank to those who trust it. What else it is to certify has to be
//! known when it is made.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, KeyPair, KeyUsagePurpose, NameConstraints,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::model::{Host, HostPattern};

use super::served::{ServeError, Served, TlsParts};
use super::store::{LocalRoot, Records, VERSION};
use super::x509::Facts;
use super::{CertSource, TlsError};

/// The root and its key.
pub(super) struct LocalCa {
    issuer: rcgen::Issuer<'static, KeyPair>,
    certificate: String,
    /// See [`LocalRoot::names`].
    names: Option<Vec<Host>>,
}

/// Why the built-in CA made no certificate.
#[derive(Debug, thiserror::Error)]
pub(super) enum LeafError {
    #[error(transparent)]
    Rcgen(#[from] rcgen::Error),
    #[error(transparent)]
    Serve(#[from] ServeError),
}

impl LocalCa {
    /// The stored root, or a new one. A stored root that is corrupt or past its end is put aside.
    ///
    /// `names` are what it is to certify beside local names. A stored root that may not is replaced, and
    /// clients have to trust the new one.
    pub(super) fn open(store: &Records, names: &[Host], now: SystemTime) -> Result<Self, TlsError> {
        let _lock = store.lock_local();
        if let Some(root) = store.load_local() {
            match Self::restore(&root, now) {
                Ok(ca) => {
                    let mut missing = names.iter().filter(|name| !ca.may_certify(name));
                    match missing.next() {
                        None => return Ok(ca),
                        Some(name) => store.quarantine_local(&format!(
                            "the built-in CA may not certify {name}, which WHARF_CA_NAMES asks for: there is a new root, which clients have to trust"
                        )),
                    }
                }
                Err(why) => store.quarantine_local(&why),
            }
        }
        let root = generate(names, now)?;
        if let Err(error) = store.save_local(&root) {
            tracing::error!(%error, "the built-in CA cannot be kept: clients must trust a new one after a restart");
        }
        Self::restore(&root, now).map_err(|why| {
            tracing::error!("{why}");
            TlsError::Local(rcgen::Error::CouldNotParseCertificate)
        })
    }

    /// Whether those who trust the root accept its certificate for this pattern.
    pub(super) fn covers(&self, pattern: &HostPattern) -> bool {
        match pattern {
            HostPattern::Exact(name) | HostPattern::Wildcard(name) | HostPattern::Below(name) => {
                self.may_certify(name)
            }
            HostPattern::Regex(_) | HostPattern::Default => true,
        }
    }

    fn may_certify(&self, name: &Host) -> bool {
        let Some(names) = &self.names else {
            return true;
        };
        match name.ip() {
            Some(ip) => {
                NETWORKS
                    .iter()
                    .any(|(network, bits)| is_in(ip, *network, *bits))
                    || names.contains(name)
            }
            None => {
                let local = LOCAL_NAMES.iter().copied();
                let mut all = local.chain(names.iter().map(Host::as_str));
                all.any(|of| is_below(name.as_str(), of))
            }
        }
    }

    pub(super) fn root_pem(&self) -> &str {
        &self.certificate
    }

    /// A leaf for `pattern`, valid from an hour ago (clocks differ) for [`LEAF`].
    pub(super) fn issue(
        &self,
        parts: &TlsParts,
        pattern: &HostPattern,
        now: SystemTime,
    ) -> Result<Served, LeafError> {
        let name = match pattern {
            HostPattern::Below(_) | HostPattern::Regex(_) | HostPattern::Default => {
                DEFAULT_NAME.to_owned()
            }
            HostPattern::Exact(_) | HostPattern::Wildcard(_) => pattern.to_string(),
        };
        let mut params = CertificateParams::new(vec![name])?;
        params.distinguished_name = DistinguishedName::new();
        params.not_before = (now - SKEW).into();
        params.not_after = (now + LEAF).into();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let leaf = params.signed_by(&key, &self.issuer)?;
        let (chain, key) = (leaf.pem(), key.serialize_pem());
        Ok(parts.serve(pattern, CertSource::Internal, chain, key)?)
    }

    fn restore(root: &LocalRoot, now: SystemTime) -> Result<Self, Arc<str>> {
        let text = |error: &dyn std::fmt::Display| Arc::from(error.to_string());
        if root.version != VERSION {
            return Err("unknown version".into());
        }
        let der = CertificateDer::from_pem_slice(root.certificate.as_bytes())
            .map_err(|error| text(&error))?;
        let facts = Facts::read(&der).map_err(|error| text(&error))?;
        if facts.not_after < now + LEAF {
            return Err("the root is past its end".into());
        }
        let key = KeyPair::from_pem(&root.key).map_err(|error| text(&error))?;
        let parsed = rustls::server::ParsedCertificate::try_from(&der).map_err(|e| text(&e))?;
        if rcgen::PublicKeyData::subject_public_key_info(&key) != *parsed.subject_public_key_info()
        {
            return Err("key and certificate do not match".into());
        }
        Ok(Self {
            issuer: rcgen::Issuer::new(root_params(&facts.subject), key),
            certificate: root.certificate.clone(),
            names: root.names.as_ref().map(|names| {
                names
                    .iter()
                    .filter_map(|name| Host::parse(name).ok())
                    .collect()
            }),
        })
    }
}

fn generate(names: &[Host], now: SystemTime) -> Result<LocalRoot, rcgen::Error> {
    let key = KeyPair::generate()?;
    let id = &key.public_key_raw()[1..4];
    let name = format!("Wharf local CA {:02x}{:02x}{:02x}", id[0], id[1], id[2]);
    let mut params = root_params(&name);
    params.not_before = (now - SKEW).into();
    params.not_after = (now + ROOT).into();
    params.name_constraints = Some(limits(names));
    Ok(LocalRoot {
        version: VERSION,
        certificate: params.self_signed(&key)?.pem(),
        key: key.serialize_pem(),
        names: Some(names.iter().map(ToString::to_string).collect()),
    })
}

/// A name stands for all below it, too.
fn limits(names: &[Host]) -> NameConstraints {
    let local = LOCAL_NAMES.iter().copied().map(str::to_owned);
    let local = local.map(GeneralSubtree::DnsName);
    let networks = NETWORKS.iter().map(|(network, bits)| (*network, *bits));
    let networks = networks.map(|(network, bits)| subnet(network, bits));
    let names = names.iter().map(|name| match name.ip() {
        Some(ip) => subnet(ip, if ip.is_ipv4() { 32 } else { 128 }),
        None => GeneralSubtree::DnsName(name.as_str().to_owned()),
    });
    NameConstraints {
        permitted_subtrees: local.chain(networks).chain(names).collect(),
        excluded_subtrees: Vec::new(),
    }
}

fn subnet(network: IpAddr, bits: u8) -> GeneralSubtree {
    GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(network, bits))
}

fn is_below(name: &str, of: &str) -> bool {
    let rest = name.strip_suffix(of);
    rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn is_in(ip: IpAddr, network: IpAddr, bits: u8) -> bool {
    ipnet::IpNet::new(network, bits).is_ok_and(|network| network.contains(&ip))
}

/// Everything of the root that its leaves repeat; must give the same for a restored root.
fn root_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const ROOT: Duration = Duration::from_secs(3650 * DAY.as_secs());
const LEAF: Duration = Duration::from_secs(7 * DAY.as_secs());
const SKEW: Duration = Duration::from_secs(60 * 60);
/// The names of product.md decision 4; those without a dot have to be listed one by one.
const LOCAL_NAMES: [&str; 7] = [
    "localhost",
    "local",
    "internal",
    "home.arpa",
    "test",
    "example",
    "invalid",
];
/// Loopback, private, shared and link-local addresses.
const NETWORKS: [(IpAddr, u8); 9] = [
    (IpAddr::V4(Ipv4Addr::new(10, 0, 0, 0)), 8),
    (IpAddr::V4(Ipv4Addr::new(172, 16, 0, 0)), 12),
    (IpAddr::V4(Ipv4Addr::new(192, 168, 0, 0)), 16),
    (IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8),
    (IpAddr::V4(Ipv4Addr::new(100, 64, 0, 0)), 10),
    (IpAddr::V4(Ipv4Addr::new(169, 254, 0, 0)), 16),
    (IpAddr::V6(Ipv6Addr::LOCALHOST), 128),
    (IpAddr::V6(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0)), 7),
    (IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)), 10),
];
/// Name of the certificate of `default`, which stands for no name.
const DEFAULT_NAME: &str = "default.wharf.internal";

#[cfg(test)]
mod tests {
    use super::*;

    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier;
    use rustls_pki_types::{ServerName, UnixTime};

    fn store(data: &tempfile::TempDir) -> Records {
        Records::open(Some(data.path()), "https://ca.example/dir")
    }

    fn verify(ca: &LocalCa, pattern: &str, name: &str) -> Result<(), rustls::Error> {
        let parts = TlsParts::new().unwrap();
        let pattern = HostPattern::parse(pattern).unwrap();
        let served = ca.issue(&parts, &pattern, SystemTime::now()).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(ca.root_pem().as_bytes()).unwrap();
        roots.add(root).unwrap();
        let verifier =
            WebPkiServerVerifier::builder_with_provider(roots.into(), parts.provider()).build();
        let name = ServerName::try_from(name).unwrap();
        let leaf = served.certified().unwrap().end_entity_cert()?;
        let verifier = verifier.unwrap();
        verifier.verify_server_cert(leaf, &[], &name, &[], UnixTime::now())?;
        Ok(())
    }

    #[test]
    fn clients_that_trust_the_root_accept_its_leaves() {
        let data = tempfile::tempdir().unwrap();
        let names = ["nas", "lan.example.com", "8.8.4.4"].map(|name| Host::parse(name).unwrap());
        let ca = LocalCa::open(&store(&data), &names, SystemTime::now()).unwrap();
        for (pattern, name) in [
            ("a.lan.example.com", "a.lan.example.com"),
            ("*.lan.example.com", "x.lan.example.com"),
            ("8.8.4.4", "8.8.4.4"),
            ("app.localhost", "app.localhost"),
            ("nas", "nas"),
            ("*.home.arpa", "x.home.arpa"),
            ("192.168.1.5", "192.168.1.5"),
            ("::1", "::1"),
            ("default", DEFAULT_NAME),
        ] {
            assert_eq!(verify(&ca, pattern, name), Ok(()), "{pattern}");
        }
        assert!(verify(&ca, "a.test", "b.test").is_err());
    }

    /// Whoever steals the key can make such leaves; those who trust the root do not accept them.
    #[test]
    fn the_root_is_good_for_local_names_alone() {
        let data = tempfile::tempdir().unwrap();
        let ca = LocalCa::open(&store(&data), &[], SystemTime::now()).unwrap();
        for pattern in [
            "bank.com",
            "*.example.com",
            "nas",
            "notlocal",
            "8.8.8.8",
            "172.32.0.1",
            "2001:db8::1",
        ] {
            let name = pattern.replace('*', "x");
            assert!(verify(&ca, pattern, &name).is_err(), "{pattern}");
            assert!(
                !ca.covers(&HostPattern::parse(pattern).unwrap()),
                "{pattern}"
            );
        }
        for pattern in [
            "a.local",
            "localhost",
            "*.home.arpa",
            "172.31.0.1",
            "fd00::1",
            "default",
        ] {
            assert!(
                ca.covers(&HostPattern::parse(pattern).unwrap()),
                "{pattern}"
            );
        }
    }

    #[test]
    fn a_root_that_may_not_certify_what_is_asked_of_it_is_replaced_once() {
        let data = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let first = LocalCa::open(&store(&data), &[], now).unwrap();
        let names = [Host::parse("nas").unwrap(), Host::parse("a.local").unwrap()];
        let second = LocalCa::open(&store(&data), &names, now).unwrap();
        assert_ne!(first.root_pem(), second.root_pem());
        assert_eq!(verify(&second, "nas", "nas"), Ok(()));
        for names in [&names[..], &names[..1], &[]] {
            let again = LocalCa::open(&store(&data), names, now).unwrap();
            assert_eq!(again.root_pem(), second.root_pem());
        }
    }

    #[test]
    fn the_root_stays_the_same_and_its_new_leaves_valid() {
        let data = tempfile::tempdir().unwrap();
        let first = LocalCa::open(&store(&data), &[], SystemTime::now()).unwrap();
        let second = LocalCa::open(&store(&data), &[], SystemTime::now()).unwrap();
        assert_eq!(first.root_pem(), second.root_pem());
        assert_eq!(verify(&second, "app.localhost", "app.localhost"), Ok(()));
        let readable = std::fs::read_to_string(data.path().join("ca/ca.crt")).unwrap();
        assert_eq!(readable, first.root_pem());
    }

    #[test]
    fn a_corrupt_root_is_replaced() {
        let data = tempfile::tempdir().unwrap();
        let first = LocalCa::open(&store(&data), &[], SystemTime::now()).unwrap();
        std::fs::write(data.path().join("ca/ca.json"), "{").unwrap();
        let second = LocalCa::open(&store(&data), &[], SystemTime::now()).unwrap();
        assert_ne!(first.root_pem(), second.root_pem());
        assert!(data.path().join("ca/ca.json.corrupt").exists());
    }
}
