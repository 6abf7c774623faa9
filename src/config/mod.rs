//! Process settings: what flags and environment say, checked once and all at once.
//!
//! `main` parses the command line into [`Raw`], [`Config::resolve`] turns it into a [`Config`] or
//! into every [`Fault`] there is. Nothing here opens a socket; the only files read are the extra ACME
//! root and the key of an account binding. [`DataDir`] finds a directory that can be written.

mod access_log;
mod acme;
mod ca;
mod cache;
mod data;
mod dns;
mod environment;
mod parse;
mod socket_proxy;
mod trusted;
mod volume;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use crate::model::{DefaultHost, Host, LabelPrefix};

pub use access_log::{AccessLogConfig, AccessLogTo};
pub use ca::{CaConfig, Eab, Limits};
pub use data::DataDir;
#[cfg(feature = "dns01")]
pub(crate) use dns::credential_variable;
#[cfg(test)]
pub(crate) use dns::plain_credential;
pub use dns::{Credential, DnsField, DnsProvider, DnsRule, DnsSolver, PROVIDERS};
use environment::nearest;
pub use environment::unknown_variables;
pub use socket_proxy::{ProxyListener, RawSocketProxy, SocketProxyConfig};
pub use trusted::{TrustedProxies, networks};

/// Everything a Wharf process is told. Labels say the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Plain HTTP listener, default `[::]:80` (both address families); `None` is off.
    pub http: Option<SocketAddr>,
    /// TLS listener, default `[::]:443`; `None` is off.
    pub https: Option<SocketAddr>,
    /// Admin listener, default `127.0.0.1:9900`; `None` is off.
    pub admin: Option<SocketAddr>,
    /// Where certificates and the account are kept, default `/data`. Not yet opened: see
    /// [`DataDir::open`].
    pub data: PathBuf,
    /// Where the operator's own certificates are, default `/certs`, which need not exist.
    pub certs: PathBuf,
    /// Where apps' Unix sockets are, default `/sockets`; `None` where that does not exist.
    pub sockets: Option<PathBuf>,
    /// Where files for `wharf.errors` are, default `/errors`, which need not exist.
    pub errors: PathBuf,
    /// Below which files may be served, default `/srv`; `None` where that does not exist.
    pub statics: Option<PathBuf>,
    /// Where bodies are held that memory has no room for. Default `buffers` in [`Config::data`].
    pub buffer_dir: Option<PathBuf>,
    /// Bytes of memory and of disk for all bodies that are held, default 64 MiB and 8 GiB.
    pub buffer_memory: u64,
    pub buffer_disk: u64,
    /// Where answers are kept that `wharf.cache` stores.
    pub cache_dir: CacheDir,
    /// How much of them.
    pub cache_size: CacheSize,
    /// Names and addresses the built-in CA may certify beside local ones. Default none.
    pub ca_names: Vec<Host>,
    /// Who is asked for public certificates, in this order; never empty. Default Let's Encrypt.
    pub cas: Vec<CaConfig>,
    /// Contact of the ACME account. Default none.
    pub acme_email: Option<String>,
    /// Who sets the records of DNS-01 challenges. Default none.
    pub dns: Vec<DnsRule>,
    /// Name servers that are asked where such a record belongs. Default none: the system's.
    pub dns_resolvers: Vec<SocketAddr>,
    /// How long such a record may take to reach the zone's servers, default 2 min, 10 s to 1 h.
    pub dns_wait: Duration,
    /// Peers whose forwarding headers are believed. Default none.
    pub trusted_proxies: TrustedProxies,
    /// Peers that may say in front of a connection whose it is (PROXY protocol). Default none.
    pub proxy_protocol_from: TrustedProxies,
    /// Connections of one client address at a time, of IPv6 of its network (/64). Default none: any number.
    pub max_conns_per_ip: Option<NonZeroU32>,
    /// How long a request head may take from its first byte, default 10 s, 1 s to 10 min.
    pub header_timeout: Duration,
    /// How long a first handshake waits for its certificate, default 10 s, 1 s to 25 s.
    pub tls_hold: Duration,
    /// Worker threads, default one per available core, 1 to 256.
    pub workers: usize,
    /// Directives for the log filter, default `info`: a level, or `target=level` items.
    pub log: String,
    /// Of the log. Default text.
    pub log_format: LogFormat,
    /// How requests are logged. Default on standard output; `None` is off.
    pub access_log: Option<AccessLogConfig>,
    /// Docker network preferred for reaching containers. Default: any shared one.
    pub network: Option<String>,
    /// Labels a container must have, all of them, for its `wharf.` labels to count: key, and value if that
    /// counts too. Default none.
    pub filter: Vec<(String, Option<String>)>,
    /// What labels begin with, default `wharf`.
    pub label_prefix: LabelPrefix,
    /// Directory with files of presets and routes, or one such file. Default `/etc/wharf`, which need not exist.
    pub files: PathBuf,
    /// Directory whose files labels may name, default `/run/secrets`, which need not exist.
    pub secrets: PathBuf,
    /// Files and directories of Wharf's own that no label reads.
    pub kept: Vec<PathBuf>,
    /// Variables that labels may name.
    pub values: BTreeMap<String, String>,
    /// Host of containers that ask for one with `wharf.enable: true`. Default none.
    pub default_host: Option<DefaultHost>,
    /// Whether those that do not ask get it, too. Default off.
    pub expose_all: bool,
    /// Engine address: `unix://`, `tcp://` or `http://`. Default `unix:///var/run/docker.sock`.
    pub docker_host: String,
    /// Settings that are served but deserve a look, one line each.
    pub warnings: Vec<String>,
}

/// Where the cache has its files.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum CacheDir {
    /// In `cache` below the directory for certificates.
    #[default]
    Data,
    At(PathBuf),
    /// Nowhere: it is in memory alone.
    Off,
}

/// Bounds of the cache, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheSize {
    /// Bodies, fields, keys and what finds them. Default 64 MiB, at least 8 MiB.
    pub memory: u64,
    /// Default 1 GiB, as in nginx's examples; 0: no files.
    pub disk: u64,
}

impl Default for CacheSize {
    fn default() -> Self {
        Self {
            memory: 64 << 20,
            disk: 1 << 30,
        }
    }
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// The settings as written. Empty values count as not given, so that `WHARF_ACME_EMAIL=${EMAIL}`
/// works without an `EMAIL`. A flag wins over its variable.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
#[allow(
    rustdoc::broken_intra_doc_links,
    reason = "the fields' docs are clap's help, where `[::]` is an address"
)]
pub struct Raw {
    /// Plain HTTP listener: ADDRESS:PORT, PORT or off [default: [::]:80]
    #[arg(long, env = "WHARF_HTTP", hide_env_values = true, value_name = "ADDR")]
    pub http: Option<String>,
    /// HTTPS listener: ADDRESS:PORT, PORT or off [default: [::]:443]
    #[arg(long, env = "WHARF_HTTPS", hide_env_values = true, value_name = "ADDR")]
    pub https: Option<String>,
    /// Admin listener (status, metrics, health): ADDRESS:PORT, PORT or off [default: 127.0.0.1:9900]
    #[arg(long, env = "WHARF_ADMIN", hide_env_values = true, value_name = "ADDR")]
    pub admin: Option<String>,
    /// Directory for certificates and the ACME account [default: /data]
    #[arg(long, env = "WHARF_DATA", hide_env_values = true, value_name = "DIR")]
    pub data: Option<String>,
    /// Directory with certificates of your own, PEM files of any name [default: /certs]
    #[arg(long, env = "WHARF_CERTS", hide_env_values = true, value_name = "DIR")]
    pub certs: Option<String>,
    /// Directory with pages for errors, named by labels [default: /errors]
    #[arg(long, env = "WHARF_ERRORS", hide_env_values = true, value_name = "DIR")]
    pub errors: Option<String>,
    /// Directory with Unix sockets of apps, for wharf.upstream: unix:app.sock [default: /sockets]
    #[arg(
        long,
        env = "WHARF_SOCKETS",
        hide_env_values = true,
        value_name = "DIR"
    )]
    pub sockets: Option<String>,
    /// Directory with files to be served, for wharf.static [default: /srv]
    #[arg(
        long = "static-dir",
        env = "WHARF_STATIC_DIR",
        hide_env_values = true,
        value_name = "DIR"
    )]
    pub statics: Option<String>,
    /// Directory for bodies that wharf.buffer holds where memory has no room; the files have no names
    /// [default: buffers in WHARF_DATA]
    #[arg(
        long,
        env = "WHARF_BUFFER_DIR",
        hide_env_values = true,
        value_name = "DIR"
    )]
    pub buffer_dir: Option<String>,
    /// Memory for all bodies that wharf.buffer holds: 1m to 64g [default: 64m]
    #[arg(
        long,
        env = "WHARF_BUFFER_MEMORY",
        hide_env_values = true,
        value_name = "SIZE"
    )]
    pub buffer_memory: Option<String>,
    /// Disk for all bodies that wharf.buffer holds, or off [default: 8g]
    #[arg(
        long,
        env = "WHARF_BUFFER_DISK",
        hide_env_values = true,
        value_name = "SIZE"
    )]
    pub buffer_disk: Option<String>,
    /// Directory for what wharf.cache stores; off: memory alone [default: cache in the data directory]
    #[arg(
        long,
        env = "WHARF_CACHE_DIR",
        hide_env_values = true,
        value_name = "DIR"
    )]
    pub cache_dir: Option<String>,
    /// How much that may be: memory=SIZE disk=SIZE, or a size of the disk's share [default: memory=64m disk=1g]
    #[arg(
        long,
        env = "WHARF_CACHE_SIZE",
        hide_env_values = true,
        value_name = "SIZES"
    )]
    pub cache_size: Option<String>,
    /// What the built-in CA may certify beside local names and private addresses, separated by commas; a name
    /// stands for all below it [default: none]
    #[arg(
        long,
        env = "WHARF_CA_NAMES",
        hide_env_values = true,
        value_name = "NAMES"
    )]
    pub ca_names: Option<String>,
    /// Certificate authorities, asked in this order: letsencrypt, letsencrypt-staging, zerossl, google or
    /// https:// directory URLs, separated by commas [default: letsencrypt]
    #[arg(long, env = "WHARF_ACME", hide_env_values = true, value_name = "CA")]
    pub acme: Option<String>,
    /// Account there is at an authority already (external account binding): KID:KEY or CA=KID:KEY,
    /// separated by commas; KEY may be file:PATH or env:NAME
    #[arg(
        long,
        env = "WHARF_ACME_EAB",
        hide_env_values = true,
        value_name = "BINDING"
    )]
    pub acme_eab: Option<String>,
    /// Certificate profile, where an authority offers it: classic, tlsserver, shortlived
    /// [default: the authority's]
    #[arg(
        long,
        env = "WHARF_ACME_PROFILE",
        hide_env_values = true,
        value_name = "NAME"
    )]
    pub acme_profile: Option<String>,
    /// PEM file with the root certificate of a private ACME server
    #[arg(
        long,
        env = "WHARF_ACME_ROOT",
        hide_env_values = true,
        value_name = "FILE"
    )]
    pub acme_root: Option<String>,
    /// Contact address of the ACME account
    #[arg(
        long,
        env = "WHARF_ACME_EMAIL",
        hide_env_values = true,
        value_name = "EMAIL"
    )]
    pub acme_email: Option<String>,
    /// Who sets DNS-01 records, as for wildcards: PROVIDER, exec:/PROGRAM, or persist for records that a
    /// person sets once (DNS-PERSIST-01), each also as ZONE=...; credentials are
    /// WHARF_DNS_<PROVIDER>_<FIELD> [default: nobody]
    #[arg(long, env = "WHARF_DNS", hide_env_values = true, value_name = "LIST")]
    pub dns: Option<String>,
    /// Name servers to ask where a DNS-01 record belongs: ADDRESS[:PORT], separated by commas
    /// [default: the system's]
    #[arg(
        long,
        env = "WHARF_DNS_RESOLVERS",
        hide_env_values = true,
        value_name = "LIST"
    )]
    pub dns_resolvers: Option<String>,
    /// How long a DNS-01 record may take to reach the zone's name servers: 10s to 1h [default: 2m]
    #[arg(
        long,
        env = "WHARF_DNS_WAIT",
        hide_env_values = true,
        value_name = "TIME"
    )]
    pub dns_wait: Option<String>,
    /// The variables that begin with `WHARF_DNS_`: credentials have no flags, which others could see.
    #[arg(skip)]
    pub dns_credentials: Vec<(String, String)>,
    /// Proxies whose forwarding headers are believed: addresses, CIDRs, private, loopback, docker,
    /// tailscale, cloudflare, cloudfront, fastly; separated by commas [default: none]
    #[arg(
        long,
        env = "WHARF_TRUSTED_PROXIES",
        hide_env_values = true,
        value_name = "LIST"
    )]
    pub trusted_proxies: Option<String>,
    /// Load balancers that may say whose a connection is by the PROXY protocol, version 1 or 2: as
    /// for trusted proxies [default: none]
    #[arg(
        long,
        env = "WHARF_PROXY_PROTOCOL_FROM",
        hide_env_values = true,
        value_name = "LIST"
    )]
    pub proxy_protocol_from: Option<String>,
    /// Connections that a client address may have at a time, of IPv6 its network (/64); trusted proxies have
    /// as many as they like [default: off]
    #[arg(
        long,
        env = "WHARF_MAX_CONNS_PER_IP",
        hide_env_values = true,
        value_name = "COUNT"
    )]
    pub max_conns_per_ip: Option<String>,
    /// How long a request head may take from its first byte to its last: 1s to 10m [default: 10s]
    #[arg(
        long,
        env = "WHARF_HEADER_TIMEOUT",
        hide_env_values = true,
        value_name = "TIME"
    )]
    pub header_timeout: Option<String>,
    /// How long a first handshake waits for its certificate: 1s to 25s [default: 10s]
    #[arg(
        long,
        env = "WHARF_TLS_HOLD",
        hide_env_values = true,
        value_name = "TIME"
    )]
    pub tls_hold: Option<String>,
    /// Worker threads: 1 to 256 [default: one per core]
    #[arg(
        long,
        env = "WHARF_WORKERS",
        hide_env_values = true,
        value_name = "COUNT"
    )]
    pub workers: Option<String>,
    /// Log level: off, error, warn, info, debug, trace, or target=level items [default: info]
    #[arg(long, env = "WHARF_LOG", hide_env_values = true, value_name = "LEVEL")]
    pub log: Option<String>,
    /// Format of log and access log: text, json or combined, which is the access log's [default: text]
    #[arg(
        long,
        env = "WHARF_LOG_FORMAT",
        hide_env_values = true,
        value_name = "FORMAT"
    )]
    pub log_format: Option<String>,
    /// Log each request: on (standard output), off, or the absolute path of a file [default: on]
    #[arg(
        long,
        env = "WHARF_ACCESS_LOG",
        hide_env_values = true,
        value_name = "TO"
    )]
    pub access_log: Option<String>,
    /// Its format: text, json, combined, or a line with variables such as $status or {status}, behind
    /// escape=json for lines of JSON [default: as the log]
    #[arg(
        long,
        env = "WHARF_ACCESS_LOG_FORMAT",
        hide_env_values = true,
        value_name = "FORMAT"
    )]
    pub access_log_format: Option<String>,
    /// When its file makes room for the next, and how many are kept beside it: size=100m keep=5, or off, for
    /// logrotate and the like, which tell Wharf by SIGUSR1 [default: size=100m keep=5]
    #[arg(
        long,
        env = "WHARF_ACCESS_LOG_ROTATE",
        hide_env_values = true,
        value_name = "LIMITS"
    )]
    pub access_log_rotate: Option<String>,
    /// Parameters of queries whose values are not logged, separated by commas, or all [default: none]
    #[arg(
        long,
        env = "WHARF_ACCESS_LOG_HIDE",
        hide_env_values = true,
        value_name = "NAMES"
    )]
    pub access_log_hide: Option<String>,
    /// Docker network to prefer when reaching containers [default: any shared network]
    #[arg(
        long,
        env = "WHARF_NETWORK",
        hide_env_values = true,
        value_name = "NAME"
    )]
    pub network: Option<String>,
    /// Serve only containers that have these labels: label=KEY or label=KEY=VALUE, separated by commas
    /// [default: all with wharf labels]
    #[arg(
        long,
        env = "WHARF_FILTER",
        hide_env_values = true,
        value_name = "LABELS"
    )]
    pub filter: Option<String>,
    /// What labels begin with, for several Wharfs on one engine: edge reads edge.host
    /// [default: wharf]
    #[arg(
        long,
        env = "WHARF_LABEL_PREFIX",
        hide_env_values = true,
        value_name = "WORD"
    )]
    pub label_prefix: Option<String>,
    /// Directory with presets and with routes to apps that are no containers, YAML files of any name, or one
    /// such file [default: /etc/wharf]
    #[arg(
        long,
        env = "WHARF_CONFIG",
        hide_env_values = true,
        value_name = "PATH"
    )]
    pub config: Option<String>,
    /// Directory of secrets that labels may name, as in file:/run/secrets/key [default: /run/secrets]
    #[arg(
        long,
        env = "WHARF_SECRETS",
        hide_env_values = true,
        value_name = "DIR"
    )]
    pub secrets: Option<String>,
    /// The variables that begin with `WHARF_VALUE_`: secrets that labels may name.
    #[arg(skip)]
    pub values: Vec<(String, String)>,
    /// Host of containers that say wharf.enable: true and name none, such as {service}.example.com; with
    /// {service}, {project} and {name} [default: none]
    #[arg(
        long,
        env = "WHARF_DEFAULT_HOST",
        hide_env_values = true,
        value_name = "HOST"
    )]
    pub default_host: Option<String>,
    /// Give that host to all containers that expose a port: on or off [default: off]
    #[arg(
        long,
        env = "WHARF_EXPOSE_ALL",
        hide_env_values = true,
        value_name = "SWITCH"
    )]
    pub expose_all: Option<String>,
    /// The variables that begin with `WHARF_DEFAULT_` and are no settings of their own: what an option is on routes
    /// that say nothing of it.
    #[arg(skip)]
    pub defaults: Vec<(String, String)>,
    /// Docker engine: unix:///path, tcp://host:port or http://host:port
    /// [default: unix:///var/run/docker.sock]
    #[arg(long, env = "DOCKER_HOST", hide_env_values = true, value_name = "URL")]
    pub docker_host: Option<String>,
}

impl Raw {
    /// The settings and the variables of the environment that have no flag: credentials, and defaults of options.
    pub fn with_credentials(&self, env: impl Iterator<Item = (OsString, OsString)>) -> Self {
        let text =
            env.filter_map(|(name, value)| name.into_string().ok().zip(value.into_string().ok()));
        let (credentials, others): (Vec<_>, Vec<_>) =
            text.partition(|(name, _)| name.starts_with("WHARF_DNS_"));
        let is_default = |(name, value): &(String, String)| {
            name.starts_with(environment::DEFAULTS)
                && name != parse::DEFAULT_HOST.1
                && !value.trim().is_empty()
        };
        Self {
            dns_credentials: credentials,
            values: { others.iter() }
                .filter(|(name, _)| name.starts_with(environment::VALUES))
                .cloned()
                .collect(),
            defaults: others.into_iter().filter(is_default).collect(),
            ..self.clone()
        }
    }
}

/// A setting that cannot be used. Displays as one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// `--http`; empty where there is none.
    pub flag: &'static str,
    /// `WHARF_HTTP`.
    pub variable: Cow<'static, str>,
    /// As written.
    pub value: String,
    /// What is wrong and what is accepted.
    pub reason: String,
}

impl Config {
    /// Checks every setting. On failure all faults are told, not just the first.
    pub fn resolve(raw: &Raw) -> Result<Self, Vec<Fault>> {
        parse::resolve(raw)
    }

    /// Checks the admin listener alone, for commands that ask a running Wharf.
    pub fn resolve_admin(written: Option<String>) -> Result<Option<SocketAddr>, Vec<Fault>> {
        parse::admin(&written)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value: String = self.value.chars().take(MAX_SHOWN).collect();
        let cut = if value.len() < self.value.len() {
            "..."
        } else {
            ""
        };
        match self.flag {
            "" => write!(f, "{}", self.variable)?,
            flag => write!(f, "{flag} ({})", self.variable)?,
        }
        write!(f, ": `{}{cut}`: {}", value.escape_debug(), self.reason)
    }
}

/// Characters of a wrong value that are repeated in its fault.
const MAX_SHOWN: usize = 120;

#[cfg(test)]
mod tests;
