//! Who sets the DNS records of DNS-01 challenges: `WHARF_DNS`, and credentials in `WHARF_DNS_*`.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use super::environment::nearest;
use crate::model::Host;

/// Who sets records in one part of the name space, or everywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsRule {
    /// Names at and below this one; `None`: all that no other rule has.
    pub zone: Option<Host>,
    pub solver: DnsSolver,
}

/// One way of setting a TXT record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DnsSolver {
    /// A program, called as `PROGRAM present|cleanup NAME VALUE`.
    Exec(PathBuf),
    /// Nobody: a person has set a record for DNS-PERSIST-01.
    Persist,
    /// The API of a DNS provider, or RFC 2136.
    Provider {
        /// Of [`PROVIDERS`].
        name: &'static str,
        /// By field; all that are required are there.
        fields: BTreeMap<&'static str, Credential>,
    },
}

/// A value that may be secret: never shown, and read from its file anew each time it is needed.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential(Origin);

#[derive(Clone, PartialEq, Eq)]
enum Origin {
    Plain(String),
    File(PathBuf),
}

impl Credential {
    /// `file:PATH`, `env:NAME`, or the value itself.
    fn parse(text: &str, env: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        if let Some(name) = text.strip_prefix("env:") {
            let value = env(name).filter(|value| !value.trim().is_empty());
            let value = value.ok_or_else(|| format!("the environment has no {name}"))?;
            return Ok(Self(Origin::Plain(value.trim().to_owned())));
        }
        let Some(path) = text.strip_prefix("file:") else {
            return Ok(Self(Origin::Plain(text.to_owned())));
        };
        let credential = Self(Origin::File(path.into()));
        credential.read().map(|_| credential)
    }

    /// The value as it is now, without the blanks around it.
    pub fn read(&self) -> Result<String, String> {
        match &self.0 {
            Origin::Plain(value) => Ok(value.clone()),
            Origin::File(path) => {
                let text = fs::read_to_string(path)
                    .map_err(|fault| format!("{} cannot be read: {fault}", path.display()))?;
                match text.trim() {
                    "" => Err(format!("{} is empty", path.display())),
                    text => Ok(text.to_owned()),
                }
            }
        }
    }
}

/// Never the value.
impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Origin::Plain(_) => f.write_str("(secret)"),
            Origin::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

#[cfg(test)]
pub(crate) fn plain_credential(value: &str) -> Credential {
    Credential(Origin::Plain(value.to_owned()))
}

/// What is written: `cloudflare`, or `example.org=route53, intern.example.org=rfc2136, exec:/hook`.
/// `credentials` are the variables that begin with `WHARF_DNS_`.
pub(super) fn parse(
    text: &str,
    credentials: &[(String, String)],
    env: impl Fn(&str) -> Option<String>,
) -> Result<Vec<DnsRule>, String> {
    let mut rules: Vec<DnsRule> = Vec::new();
    for item in text.split([',', ' ']).filter(|item| !item.is_empty()) {
        let (zone, solver) = match item.split_once('=') {
            Some((zone, solver)) if !solver.is_empty() => {
                let zone = Host::parse(zone).map_err(|fault| format!("`{zone}`: {fault}"))?;
                (Some(zone), solver)
            }
            _ => (None, item),
        };
        if rules.iter().any(|rule| rule.zone == zone) {
            let told = zone.map_or_else(|| "all names".to_owned(), |zone| format!("`{zone}`"));
            return Err(format!("{told} would have two providers"));
        }
        let solver = self::solver(solver, credentials, &env)?;
        rules.push(DnsRule { zone, solver });
    }
    Ok(rules)
}

fn solver(
    text: &str,
    credentials: &[(String, String)],
    env: impl Fn(&str) -> Option<String>,
) -> Result<DnsSolver, String> {
    if let Some(path) = text.strip_prefix("exec:") {
        return match path.starts_with('/') {
            true => Ok(DnsSolver::Exec(path.into())),
            false => Err(format!("`{text}`: expected exec: and an absolute path")),
        };
    }
    let lower = text.to_ascii_lowercase();
    if lower == PERSIST {
        return Ok(DnsSolver::Persist);
    }
    let Some(provider) = PROVIDERS.iter().find(|provider| provider.name == lower) else {
        let known = || {
            let providers = PROVIDERS.iter().map(|provider| provider.name);
            [PERSIST].into_iter().chain(providers)
        };
        let near = nearest(&lower, known()).map(|near| format!("; did you mean {near}?"));
        return Err(format!(
            "`{text}` is no provider{}; expected exec:/PROGRAM or one of {}",
            near.unwrap_or_default(),
            known().collect::<Vec<_>>().join(", ")
        ));
    };
    let mut fields = BTreeMap::new();
    for field in provider.fields {
        let variable = credential_variable(provider.name, field.name);
        let written = credentials.iter().find(|(name, _)| *name == variable);
        let written = written.map(|(_, value)| value.trim());
        match written.filter(|value| !value.is_empty()) {
            Some(value) => {
                let value = Credential::parse(value, &env);
                let value = value.map_err(|fault| format!("{variable}: {fault}"))?;
                fields.insert(field.name, value);
            }
            None if field.required => {
                return Err(format!(
                    "{} needs {variable}: a value, file:PATH or env:NAME",
                    provider.name
                ));
            }
            None => {}
        }
    }
    Ok(DnsSolver::Provider {
        name: provider.name,
        fields,
    })
}

const PERSIST: &str = "persist";

/// `WHARF_DNS_CLOUDFLARE_TOKEN`.
pub(crate) fn credential_variable(provider: &str, field: &str) -> String {
    format!("WHARF_DNS_{provider}_{field}").to_ascii_uppercase()
}

/// `192.0.2.53`, `[2001:db8::1]:5353`, separated by commas.
pub(super) fn resolvers(text: &str) -> Result<Vec<SocketAddr>, String> {
    let server = |item: &str| {
        let item = item.trim();
        let plain = item.parse().map(|ip: IpAddr| SocketAddr::new(ip, 53));
        plain
            .or_else(|_| item.parse())
            .map_err(|_| format!("`{item}` is no name server; expected ADDRESS or ADDRESS:PORT"))
    };
    text.split(',').map(server).collect()
}

/// Every variable there is for credentials.
pub(super) fn variables() -> impl Iterator<Item = String> {
    PROVIDERS.iter().flat_map(|provider| {
        let fields = provider.fields.iter();
        fields.map(|field| credential_variable(provider.name, field.name))
    })
}

/// A provider Wharf knows, and what it has to be told.
#[derive(Debug)]
pub struct DnsProvider {
    pub name: &'static str,
    pub fields: &'static [DnsField],
}

#[derive(Debug)]
pub struct DnsField {
    pub name: &'static str,
    pub required: bool,
}

const fn must(name: &'static str) -> DnsField {
    DnsField {
        name,
        required: true,
    }
}

const fn may(name: &'static str) -> DnsField {
    DnsField {
        name,
        required: false,
    }
}

const fn provider(name: &'static str, fields: &'static [DnsField]) -> DnsProvider {
    DnsProvider { name, fields }
}

/// In alphabetical order. A field's variable is `WHARF_DNS_<PROVIDER>_<FIELD>`.
pub const PROVIDERS: &[DnsProvider] = &[
    provider(
        "azure",
        &[
            must("tenant"),
            must("client"),
            must("secret"),
            must("subscription"),
            must("resource_group"),
        ],
    ),
    provider("bunny", &[must("key")]),
    provider("cloudflare", &[must("token")]),
    provider("desec", &[must("token")]),
    provider("digitalocean", &[must("token")]),
    provider("dnsimple", &[must("token"), must("account")]),
    provider("dnsmadeeasy", &[must("key"), must("secret")]),
    provider("duckdns", &[must("token")]),
    provider("dynu", &[must("key")]),
    provider("exoscale", &[must("key"), must("secret")]),
    provider("gandi", &[must("token")]),
    provider("gcore", &[must("token")]),
    provider("godaddy", &[must("key"), must("secret")]),
    provider(
        "google",
        &[must("service_account"), must("project"), may("zone")],
    ),
    provider("hetzner", &[must("token")]),
    provider("infomaniak", &[must("token")]),
    provider("inwx", &[must("username"), must("password")]),
    provider("ionos", &[must("key")]),
    provider("linode", &[must("token")]),
    provider("namecom", &[must("username"), must("token")]),
    provider("netcup", &[must("customer"), must("key"), must("password")]),
    provider("netlify", &[must("token")]),
    provider("ns1", &[must("key")]),
    provider(
        "ovh",
        &[
            may("endpoint"),
            must("application_key"),
            must("application_secret"),
            must("consumer_key"),
        ],
    ),
    provider("porkbun", &[must("key"), must("secret")]),
    provider("powerdns", &[must("url"), must("key"), may("server")]),
    provider(
        "rfc2136",
        &[
            must("server"),
            must("key_name"),
            must("key"),
            may("algorithm"),
        ],
    ),
    provider(
        "route53",
        &[
            must("access_key"),
            must("secret_key"),
            may("session_token"),
            may("region"),
            may("zone"),
            may("endpoint"),
        ],
    ),
    provider("scaleway", &[must("token")]),
    provider("spaceship", &[must("key"), must("secret")]),
    provider("vultr", &[must("key")]),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, credentials: &[(&str, &str)]) -> Result<Vec<DnsRule>, String> {
        let credentials: Vec<_> = credentials
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let env = |name: &str| (name == "CF").then(|| " from-env\n".to_owned());
        parse(text, &credentials, env)
    }

    #[test]
    fn providers_by_zone_with_credentials_of_every_kind() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "from-file\n").unwrap();
        let path = format!("file:{}", file.path().display());
        let rules = read(
            "cloudflare, Example.org=desec intern.test=exec:/hook example.net=Persist",
            &[
                ("WHARF_DNS_CLOUDFLARE_TOKEN", "env:CF"),
                ("WHARF_DNS_DESEC_TOKEN", &path),
            ],
        )
        .unwrap();
        let zones: Vec<_> = rules
            .iter()
            .map(|rule| rule.zone.as_ref().map(Host::as_str))
            .collect();
        let written = ["example.org", "intern.test", "example.net"].map(Some);
        assert_eq!(zones, [&[None][..], &written].concat());
        let token = |rule: &DnsRule| match &rule.solver {
            DnsSolver::Provider { fields, .. } => fields["token"].read().unwrap(),
            DnsSolver::Exec(path) => path.display().to_string(),
            DnsSolver::Persist => "nobody".to_owned(),
        };
        assert_eq!(
            rules.iter().map(token).collect::<Vec<_>>(),
            ["from-env", "from-file", "/hook", "nobody"]
        );
        assert!(!format!("{rules:?}").contains("from-env"));
        // A file that changes is read again.
        fs::write(file.path(), "rotated").unwrap();
        assert_eq!(token(&rules[1]), "rotated");
    }

    #[test]
    fn faults_name_the_variable_that_is_missing() {
        for (text, told) in [
            ("cloudflare", "WHARF_DNS_CLOUDFLARE_TOKEN"),
            ("cloudflair", "did you mean cloudflare?"),
            ("persists", "did you mean persist?"),
            ("exec:hook", "absolute path"),
            ("a_b!=exec:/x", "a_b!"),
            ("exec:/a exec:/b", "all names would have two providers"),
            ("desec", "file:PATH"),
            (
                "gandi",
                "WHARF_DNS_GANDI_TOKEN: /no/such/file cannot be read",
            ),
            ("hetzner", "the environment has no NOTHING"),
        ] {
            let fault = read(
                text,
                &[
                    ("WHARF_DNS_GANDI_TOKEN", "file:/no/such/file"),
                    ("WHARF_DNS_HETZNER_TOKEN", "env:NOTHING"),
                ],
            );
            let fault = fault.unwrap_err();
            assert!(fault.contains(told), "{text}: {fault}");
        }
    }

    #[test]
    fn the_table_is_in_order() {
        assert!(PROVIDERS.is_sorted_by_key(|provider| provider.name));
    }
}
