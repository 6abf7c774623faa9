//! The certificate of a handshake, or of the handshake a redirect leads to.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::ServerConfig;

use crate::model::{HostPattern, TlsMode};
use crate::route::{HostEntry, RouteTable};
use crate::tls::{CertIndex, Certs, ObtainError, Policy, Preference, Served};

/// Config and rules for a handshake.
pub(crate) type Answered = (Arc<ServerConfig>, Option<Arc<Policy>>);

/// What answers a handshake for a name (lower case) whose certificate is there. Once its config has been
/// made, by the first handshake, it takes no lock and allocates nothing.
pub(crate) fn known(
    index: &CertIndex,
    entry: &HostEntry,
    name: &str,
    preference: Preference,
) -> Option<Answered> {
    by_rules(index, entry, find(index, entry, name)?, preference)
}

/// The config of a certificate by the rules of a host. Where they cannot be kept the handshake goes on
/// without, so that the client can be told why it is not let in.
pub(crate) fn by_rules(
    index: &CertIndex,
    entry: &HostEntry,
    served: &Served,
    preference: Preference,
) -> Option<Answered> {
    let spec = entry.policy.as_deref();
    let policy = spec.and_then(|spec| index.policy(spec).ok());
    let config = match policy {
        None => served.config(preference),
        Some(policy) => served.config_by(policy, preference),
    };
    Some((config?, policy.cloned()))
}

/// The certificate that is there for a name (lower case). Takes no lock and allocates nothing.
pub(crate) fn find<'i>(
    index: &'i CertIndex,
    entry: &HostEntry,
    name: &str,
) -> Option<&'i Arc<Served>> {
    // Some patterns stand for many names, some of which have a certificate of their own.
    let own = || match &entry.pattern {
        HostPattern::Exact(_) | HostPattern::Wildcard(_) => None,
        HostPattern::Below(_) | HostPattern::Regex(_) | HostPattern::Default => {
            let any = entry.tls != TlsMode::File;
            any.then(|| index.own(name)).flatten()
        }
    };
    let for_all = || index.find(&entry.certificate);
    match (&entry.ask, &entry.pattern) {
        (None, _) => own().or_else(for_all),
        (Some(_), HostPattern::Wildcard(_)) => for_all().or_else(|| index.named(name)),
        // What these have for all is the built-in CA's, for local names only.
        (Some(_), _) => own().or_else(|| index.named(name)),
    }
}

/// Waits for the certificate of a name that has none yet.
pub(crate) async fn obtain(
    certs: &Certs,
    table: &RouteTable,
    entry: &HostEntry,
    name: &str,
    client: IpAddr,
) -> Result<Arc<Served>, ObtainError> {
    if entry.ask.is_none() {
        return certs.obtain(&entry.certificate).await;
    }
    // Clients that come through a gateway may be anybody.
    let client = (!table.gateways.contains(&client)).then_some(client);
    certs.obtain_named(&entry.pattern, name, client).await
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Instant;

    use rcgen::{CertificateParams, KeyPair};

    use super::*;
    use crate::config::CaConfig;
    use crate::model::{
        AskAt, PathPattern, Plan, RouteKey, RouteSpec, Settings, TlsVersion, UpstreamKey,
        UpstreamSpec,
    };
    use crate::tls::{CertsConfig, Wanted};
    use crate::upstream::Secret;

    fn route(name: &str, hosts: &[&str], settings: Settings) -> RouteSpec {
        let hosts = hosts.iter().map(|host| HostPattern::parse(host).unwrap());
        RouteSpec {
            key: RouteKey(name.into()),
            hosts: hosts.collect(),
            path: PathPattern::root(),
            conditions: Vec::new(),
            upstream: UpstreamKey("u".into()),
            auth: None,
            error_servers: Vec::new(),
            settings,
            container: name.into(),
            service: name.into(),
            version: None,
            owner: name.into(),
            share: None,
            fault: None,
        }
    }

    fn table() -> RouteTable {
        let ask = Settings {
            ask: Some(AskAt::App("/ask".into())),
            ..Settings::default()
        };
        let ruled = Settings {
            tls_min: TlsVersion::Tls13,
            ..Settings::default()
        };
        let listed = [
            "app.localhost",
            "*.app.localhost",
            "**.deep.localhost",
            "~^re",
        ];
        let plan = Plan {
            routes: vec![
                route("asked", &["default"], ask),
                route("listed", &listed, Settings::default()),
                route("ruled", &["ruled.localhost"], ruled),
            ],
            upstreams: vec![UpstreamSpec {
                key: UpstreamKey("u".into()),
                endpoints: Vec::new(),
                unreachable: Vec::new(),
                awaited: false,
            }],
            ..Plan::default()
        };
        let before = RouteTable::default();
        crate::route::compile(&plan, &before, &Secret::new(&[0; 32]), Instant::now())
    }

    /// A certificate of a CA in the store, and one of the operator's.
    fn certs(data: &Path, own: &Path) -> Certs {
        let made = |name: &str| {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
        };
        let (chain, key) = made("shop.example.com");
        let directory = "https://ca.example";
        let record = serde_json::json!({
            "version": 1, "host": "shop.example.com", "source": directory, "chain": chain, "key": key,
        });
        let kept = data.join("certificates/ca.example");
        std::fs::create_dir_all(&kept).unwrap();
        std::fs::write(kept.join("shop.example.com.json"), record.to_string()).unwrap();
        let (chain, key) = made("own.example.net");
        std::fs::write(own.join("own.pem"), chain + &key).unwrap();
        let (certs, _issuer) = Certs::open(CertsConfig {
            data: Some(data.to_owned()),
            ca_names: Vec::new(),
            own: Some(own.to_owned()),
            cas: vec![CaConfig::new(directory)],
            http_01: true,
            email: None,
            dns: Vec::new(),
            dns_resolvers: Vec::new(),
            dns_wait: CertsConfig::DNS_WAIT,
            hold: CertsConfig::HOLD,
        })
        .unwrap();
        certs
    }

    #[tokio::test]
    async fn a_certificate_that_is_there_is_found_without_an_allocation() {
        let (data, own) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let certs = certs(data.path(), own.path());
        let table = table();
        let wanted = table.hosts().map(|entry| Wanted {
            policy: entry.policy.clone(),
            ask: entry.ask.as_ref().map(|ask| ask.to_string().into()),
            ..Wanted::new(entry.certificate.clone(), entry.tls)
        });
        certs.declare(wanted.collect());
        let names = [
            "app.localhost",
            "x.app.localhost",
            "x.deep.localhost",
            "re.localhost",
            "ruled.localhost",
            "shop.example.com",
            "own.example.net",
        ];
        for name in names {
            let entry = table.find_host(name).unwrap();
            if entry.ask.is_none() {
                certs.obtain(&entry.certificate).await.unwrap();
            }
            let find = || {
                let entry = table.find_host(name)?;
                known(&certs.current(), entry, name, Preference::Aes)
            };
            // The first makes the config.
            assert!(find().is_some(), "{name}");
            let counted = allocation_counter::measure(|| drop(find()));
            assert_eq!(counted.count_total, 0, "{name}");
        }
        let counted = allocation_counter::measure(|| drop(Box::new(0)));
        assert_eq!(counted.count_total, 1, "what is counted");
    }
}
