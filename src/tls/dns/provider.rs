//! From a provider's name and credentials to its API. The one place that knows the library.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dns_update::providers::azuredns::{AzureDnsConfig, AzureEnvironment};
use dns_update::providers::google_cloud_dns::GoogleCloudDnsConfig;
use dns_update::providers::ovh::OvhEndpoint;
use dns_update::providers::route53::Route53Config;
use dns_update::{DnsRecord, DnsRecordType, DnsUpdater, TsigAlgorithm};

use crate::config::{Credential, credential_variable};

/// Adds a value beside those that are there: apex and wildcard prove themselves at one name.
pub(super) async fn add(
    updater: &DnsUpdater,
    record: &super::Place,
    value: &str,
) -> Result<(), String> {
    let records = vec![DnsRecord::TXT(value.to_owned())];
    updater
        .add_to_rrset(&record.name, DnsRecordType::TXT, TTL, records, &record.zone)
        .await
        .map_err(|fault| fault.to_string())
}

/// Removes one value, and no other.
pub(super) async fn remove(
    updater: &DnsUpdater,
    record: &super::Place,
    value: &str,
) -> Result<(), String> {
    let records = vec![DnsRecord::TXT(value.to_owned())];
    updater
        .remove_from_rrset(&record.name, DnsRecordType::TXT, records, &record.zone)
        .await
        .map_err(|fault| fault.to_string())
}

/// The API with the credentials as they are now.
pub(super) fn updater(
    name: &str,
    fields: &BTreeMap<&'static str, Credential>,
) -> Result<DnsUpdater, String> {
    let may = |field: &str| {
        let value = fields.get(field).map(Credential::read).transpose();
        value.map_err(|fault| format!("{}: {fault}", credential_variable(name, field)))
    };
    // Required fields are there: the configuration was checked by the same table.
    let get = |field: &str| may(field).map(Option::unwrap_or_default);
    let limit = Some(LIMIT);
    let made = match name {
        "azure" => DnsUpdater::new_azuredns(AzureDnsConfig {
            tenant_id: get("tenant")?,
            client_id: get("client")?,
            client_secret: get("secret")?,
            subscription_id: get("subscription")?,
            resource_group: get("resource_group")?,
            environment: AzureEnvironment::Public,
            request_timeout: limit,
        }),
        "bunny" => DnsUpdater::new_bunny(get("key")?, limit),
        "cloudflare" => DnsUpdater::new_cloudflare(get("token")?, limit),
        "desec" => DnsUpdater::new_desec(get("token")?, limit),
        "digitalocean" => DnsUpdater::new_digitalocean(get("token")?, limit),
        "dnsimple" => DnsUpdater::new_dnsimple(get("token")?, get("account")?, limit),
        "dnsmadeeasy" => DnsUpdater::new_dnsmadeeasy(get("key")?, get("secret")?, limit),
        "duckdns" => DnsUpdater::new_duckdns(get("token")?, limit),
        "dynu" => DnsUpdater::new_dynu(get("key")?, limit),
        "exoscale" => DnsUpdater::new_exoscale(get("key")?, get("secret")?, limit),
        "gandi" => DnsUpdater::new_gandiv5(get("token")?, limit),
        "gcore" => DnsUpdater::new_gcore(get("token")?, limit),
        "godaddy" => DnsUpdater::new_godaddy(get("key")?, get("secret")?, limit),
        "google" => DnsUpdater::new_google_cloud_dns(GoogleCloudDnsConfig {
            service_account_json: get("service_account")?,
            project_id: get("project")?,
            managed_zone: may("zone")?,
            private_zone: false,
            impersonate_service_account: None,
            request_timeout: limit,
        }),
        "hetzner" => DnsUpdater::new_hetzner(get("token")?, limit),
        "infomaniak" => DnsUpdater::new_infomaniak(get("token")?, limit),
        "inwx" => DnsUpdater::new_inwx(get("username")?, get("password")?, false, limit),
        "ionos" => DnsUpdater::new_ionos(get("key")?, limit),
        "linode" => DnsUpdater::new_linode(get("token")?, limit),
        "namecom" => DnsUpdater::new_namedotcom(get("username")?, get("token")?, limit),
        "netcup" => DnsUpdater::new_netcup(get("customer")?, get("key")?, get("password")?, limit),
        "netlify" => DnsUpdater::new_netlify(get("token")?, limit),
        "ns1" => DnsUpdater::new_ns1(get("key")?, limit),
        "ovh" => DnsUpdater::new_ovh(
            get("application_key")?,
            get("application_secret")?,
            get("consumer_key")?,
            ovh(may("endpoint")?.as_deref())?,
            limit,
        ),
        "porkbun" => DnsUpdater::new_porkbun(get("key")?, get("secret")?, limit),
        "powerdns" => DnsUpdater::new_pdns(get("key")?, Some(get("url")?), may("server")?, limit),
        "rfc2136" => {
            return rfc2136(
                get("server")?,
                get("key_name")?,
                &get("key")?,
                may("algorithm")?,
            );
        }
        "route53" => DnsUpdater::new_route53(Route53Config {
            access_key_id: get("access_key")?,
            secret_access_key: get("secret_key")?,
            session_token: may("session_token")?,
            region: may("region")?,
            hosted_zone_id: may("zone")?,
            private_zone_only: None,
            endpoint: may("endpoint")?,
        }),
        "scaleway" => DnsUpdater::new_scaleway(get("token")?, limit),
        "spaceship" => DnsUpdater::new_spaceship(get("key")?, get("secret")?, limit),
        "vultr" => DnsUpdater::new_vultr(get("key")?, limit),
        other => return Err(format!("no provider {other}")),
    };
    made.map_err(|fault| fault.to_string())
}

/// What went wrong, for people: without secrets, which some APIs have in their addresses, and with the
/// variables to look at where the credentials may be to blame.
pub(super) fn told(
    name: &str,
    fields: &BTreeMap<&'static str, Credential>,
    mut fault: String,
) -> String {
    for (field, credential) in fields {
        if let Ok(value) = credential.read()
            && value.len() >= SECRET_LEAST
            && SECRETS.iter().any(|word| field.contains(word))
            && !PUBLIC.contains(field)
        {
            fault = fault.replace(&value, "(secret)");
        }
    }
    if REFUSALS.iter().any(|word| fault.contains(word)) {
        let all = fields.keys().map(|field| credential_variable(name, field));
        let all = all.collect::<Vec<_>>().join(", ");
        fault.push_str(&format!("; are the credentials right ({all})?"));
    }
    format!("{name}: {fault}")
}

/// RFC 2136 with TSIG (RFC 8945) over TCP.
fn rfc2136(
    server: String,
    key_name: String,
    key: &str,
    algorithm: Option<String>,
) -> Result<DnsUpdater, String> {
    let server = match server.parse::<IpAddr>() {
        Ok(ip) => SocketAddr::new(ip, 53),
        Err(_) => server
            .parse()
            .map_err(|_| format!("server `{server}`: expected ADDRESS or ADDRESS:PORT"))?,
    };
    let algorithm = algorithm.map_or(Ok(TsigAlgorithm::HmacSha256), |text| {
        text.to_ascii_lowercase()
            .parse()
            .map_err(|()| format!("algorithm `{text}`: expected hmac-sha256 or the like"))
    })?;
    let key = STANDARD
        .decode(key)
        .map_err(|fault| format!("the key is no base64: {fault}"))?;
    DnsUpdater::new_rfc2136_tsig(format!("tcp://{server}"), key_name, key, algorithm)
        .map_err(|fault| fault.to_string())
}

fn ovh(endpoint: Option<&str>) -> Result<OvhEndpoint, String> {
    Ok(match endpoint.unwrap_or("ovh-eu") {
        "ovh-eu" => OvhEndpoint::OvhEu,
        "ovh-us" => OvhEndpoint::OvhUs,
        "ovh-ca" => OvhEndpoint::OvhCa,
        "kimsufi-eu" => OvhEndpoint::KimsufiEu,
        "kimsufi-ca" => OvhEndpoint::KimsufiCa,
        "soyoustart-eu" => OvhEndpoint::SoyoustartEu,
        "soyoustart-ca" => OvhEndpoint::SoyoustartCa,
        other => {
            return Err(format!(
                "endpoint `{other}`: expected ovh-eu, ovh-us or ovh-ca"
            ));
        }
    })
}

/// Fields with one of these words in their names are secret, but for some.
const SECRETS: [&str; 5] = ["token", "key", "secret", "password", "service_account"];
/// What is shorter is a word that may stand in any text.
const SECRET_LEAST: usize = 4;
const PUBLIC: [&str; 3] = ["key_name", "access_key", "application_key"];
/// How APIs and the library say that they do not know who asks, or what he may.
const REFUSALS: [&str; 7] = [
    "401",
    "403",
    "uthoriz",
    "uthentic",
    "redential",
    "ignature",
    "nvalid request headers",
];
/// Of the record; resolvers that saw the old state forget it soon.
const TTL: u32 = 60;
/// One request to a provider's API.
const LIMIT: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{PROVIDERS, plain_credential};

    #[test]
    fn faults_hold_no_secret_and_name_the_variables_of_credentials() {
        let fields = [("access_key", "AKIA1"), ("secret_key", "s3cr3t")];
        let fields = fields.map(|(field, value)| (field, plain_credential(value)));
        let fault = "API error: https://x/?key=s3cr3t&id=AKIA1: HTTP 403".to_owned();
        assert_eq!(
            told("route53", &fields.into(), fault),
            "route53: API error: https://x/?key=(secret)&id=AKIA1: HTTP 403; are the credentials \
             right (WHARF_DNS_ROUTE53_ACCESS_KEY, WHARF_DNS_ROUTE53_SECRET_KEY)?"
        );
        let fields = BTreeMap::from([("token", plain_credential("t"))]);
        let plain = "No Cloudflare zone found for a.example";
        let fault = told("cloudflare", &fields, plain.to_owned());
        assert_eq!(fault, format!("cloudflare: {plain}"));
    }

    #[test]
    fn every_provider_of_the_table_is_known() {
        for provider in PROVIDERS {
            let fields = provider.fields.iter().map(|field| {
                let value = match field.name {
                    "server" if provider.name == "rfc2136" => "127.0.0.1",
                    "algorithm" => "hmac-sha512",
                    "endpoint" if provider.name == "ovh" => "ovh-ca",
                    "region" => "eu-west-1",
                    "url" => "http://127.0.0.1:8081",
                    _ => "c2VjcmV0",
                };
                (field.name, plain_credential(value))
            });
            let made = updater(provider.name, &fields.collect());
            // What its own constructor wants to see of a key does not matter here.
            if let Err(fault) = made {
                assert!(
                    !fault.starts_with("no provider"),
                    "{}: {fault}",
                    provider.name
                );
            }
        }
    }
}
