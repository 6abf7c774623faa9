//! Text to values: one function per kind of setting, and the place where all faults meet.

use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use http::Uri;
use tracing_subscriber::EnvFilter;

use super::{CacheDir, Config, Fault, LogFormat, Raw, access_log, acme, cache, dns, trusted};
use crate::model::{
    DefaultHost, Host, LabelPrefix, is_plain_path, parse_bool, parse_duration, parse_size,
};

/// See [`Config::resolve`].
pub(super) fn resolve(raw: &Raw) -> Result<Config, Vec<Fault>> {
    let mut read = Reader::default();

    let any = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let http = read.listener(HTTP, &raw.http, SocketAddr::new(any, 80));
    let https = read.listener(HTTPS, &raw.https, SocketAddr::new(any, 443));
    let admin = read.listener(ADMIN, &raw.admin, ADMIN_DEFAULT);
    read.clash((HTTP, &raw.http, http), (HTTPS, &raw.https, https));
    read.clash((HTTP, &raw.http, http), (ADMIN, &raw.admin, admin));
    read.clash((HTTPS, &raw.https, https), (ADMIN, &raw.admin, admin));
    if http.is_none() && https.is_none() {
        read.fault(
            HTTPS,
            "off",
            "with WHARF_HTTP off too, nothing would be served",
        );
    }
    if let Some(address) = admin.filter(|a| !a.ip().to_canonical().is_loopback()) {
        read.warnings.push(format!(
            "the admin listener on {address} shows routes and containers to everyone who reaches it"
        ));
    }

    let root = read.value(ACME_ROOT, &raw.acme_root, None, |text| {
        acme::root(text).map(Some)
    });
    let authorities = read.value(ACME, &raw.acme, acme::default(), acme::authorities);
    let acme_email = read.value(ACME_EMAIL, &raw.acme_email, None, |text| {
        acme::email(text).map(Some)
    });
    read.warnings
        .extend(acme_email.as_deref().and_then(acme::email_warning));
    let bindings = read.secret(ACME_EAB, &raw.acme_eab, acme::bindings);
    let cas = acme::assemble(acme::Parts {
        authorities,
        root,
        bindings: bindings.unwrap_or_default(),
        has_email: acme_email.is_some(),
        profile: read.value(ACME_PROFILE, &raw.acme_profile, None, |text| {
            acme::profile(text).map(Some)
        }),
    });
    let cas = cas.unwrap_or_else(|(setting, reason)| {
        let shown = written(&raw.acme).filter(|_| setting.0 == ACME.0);
        read.fault(setting, shown.unwrap_or("***"), reason);
        Vec::new()
    });

    let env = |name: &str| std::env::var(name).ok();
    let dns = read.value(DNS, &raw.dns, Vec::new(), |text| {
        match cfg!(feature = "dns01") {
            true => dns::parse(text, &raw.dns_credentials, env),
            false => Err("this build has no DNS-01 (cargo feature dns01)".to_owned()),
        }
    });
    let dns_resolvers = read.value(
        DNS_RESOLVERS,
        &raw.dns_resolvers,
        Vec::new(),
        dns::resolvers,
    );
    let dns_wait = read.value(DNS_WAIT, &raw.dns_wait, DNS_WAIT_DEFAULT, dns_wait);

    let (trusted_proxies, warnings) = read.value(
        TRUSTED_PROXIES,
        &raw.trusted_proxies,
        Default::default(),
        |text| trusted::parse(text, TRUSTED_PROXIES.1),
    );
    read.warnings.extend(warnings);
    let (proxy_protocol_from, warnings) = read.value(
        PROXY_PROTOCOL_FROM,
        &raw.proxy_protocol_from,
        Default::default(),
        |text| trusted::parse(text, PROXY_PROTOCOL_FROM.1),
    );
    read.warnings.extend(warnings);

    let (cache_size, warning) =
        read.value(CACHE_SIZE, &raw.cache_size, Default::default(), |text| {
            cache::size(text, cache::memory_there_is())
        });
    read.warnings.extend(warning);

    let config = Config {
        http,
        https,
        admin,
        data: read.value(DATA, &raw.data, PathBuf::from("/data"), |text| {
            Ok(text.into())
        }),
        sockets: read.value(SOCKETS, &raw.sockets, default_sockets(), |text| {
            sockets(text).map(Some)
        }),
        statics: read.value(STATICS, &raw.statics, default_statics(), |text| {
            statics(text).map(Some)
        }),
        buffer_dir: read.value(BUFFER_DIR, &raw.buffer_dir, None, |text| {
            std::path::absolute(text)
                .map(Some)
                .map_err(|fault| fault.to_string())
        }),
        buffer_memory: read.value(
            BUFFER_MEMORY,
            &raw.buffer_memory,
            BUFFER_MEMORY_DEFAULT,
            buffer_memory,
        ),
        buffer_disk: read.value(BUFFER_DISK, &raw.buffer_disk, 8 << 30, |text| {
            parse_size(text).map_err(|fault| fault.to_string())
        }),
        cache_dir: read.value(CACHE_DIR, &raw.cache_dir, CacheDir::Data, |text| {
            Ok(cache::directory(text))
        }),
        cache_size,
        ca_names: read.value(CA_NAMES, &raw.ca_names, Vec::new(), ca_names),
        certs: read.value(
            CERTS,
            &raw.certs,
            PathBuf::from("/certs"),
            existing_directory,
        ),
        errors: read.value(
            ERRORS,
            &raw.errors,
            PathBuf::from("/errors"),
            existing_directory,
        ),
        cas,
        acme_email,
        dns,
        dns_resolvers,
        dns_wait,
        trusted_proxies,
        proxy_protocol_from,
        max_conns_per_ip: read.value(MAX_CONNS_PER_IP, &raw.max_conns_per_ip, None, connections),
        header_timeout: read.value(
            HEADER_TIMEOUT,
            &raw.header_timeout,
            HEADER_DEFAULT,
            header_timeout,
        ),
        tls_hold: read.value(TLS_HOLD, &raw.tls_hold, Duration::from_secs(10), hold),
        workers: read.value(WORKERS, &raw.workers, cores(), workers),
        log: log_level(&mut read, &raw.log),
        log_format: log_format_of(&mut read, &raw.log_format),
        access_log: access_log::resolve(&mut read, raw),
        network: read.value(NETWORK, &raw.network, None, |text| network(text).map(Some)),
        filter: read.value(FILTER, &raw.filter, Vec::new(), labels),
        label_prefix: label_prefix(&mut read, &raw.label_prefix),
        files: read.value(FILES, &raw.config, PathBuf::from("/etc/wharf"), |text| {
            match std::fs::metadata(text) {
                Ok(_) => Ok(text.into()),
                Err(fault) => Err(format!("cannot be read: {fault}")),
            }
        }),
        secrets: read.value(
            SECRETS,
            &raw.secrets,
            PathBuf::from("/run/secrets"),
            existing_directory,
        ),
        kept: kept(raw),
        values: raw.values.iter().cloned().collect(),
        default_host: read.value(DEFAULT_HOST, &raw.default_host, None, |text| {
            DefaultHost::parse(text).map(Some)
        }),
        expose_all: read.value(EXPOSE_ALL, &raw.expose_all, false, |text| {
            let on = parse_bool(text).map_err(|fault| fault.to_string())?;
            match on && written(&raw.default_host).is_none() {
                true => Err("without WHARF_DEFAULT_HOST they have no host".to_owned()),
                false => Ok(on),
            }
        }),
        docker_host: docker_host(&mut read, &raw.docker_host),
        warnings: mem::take(&mut read.warnings),
    };
    read.end(config)
}

/// See [`Config::resolve_admin`].
pub(super) fn admin(given: &Option<String>) -> Result<Option<SocketAddr>, Vec<Fault>> {
    let mut read = Reader::default();
    let admin = read.listener(ADMIN, given, ADMIN_DEFAULT);
    read.end(admin)
}

/// `--docker-host`, which several commands have; likewise the next three.
pub(super) fn docker_host(read: &mut Reader, given: &Option<String>) -> String {
    read.value(DOCKER_HOST, given, DOCKER_SOCKET.to_owned(), engine)
}

pub(super) fn label_prefix(read: &mut Reader, given: &Option<String>) -> LabelPrefix {
    read.value(LABEL_PREFIX, given, LabelPrefix::default(), |text| {
        text.parse::<LabelPrefix>().map_err(str::to_owned)
    })
}

pub(super) fn log_level(read: &mut Reader, given: &Option<String>) -> String {
    read.value(LOG, given, "info".to_owned(), log)
}

pub(super) fn log_format_of(read: &mut Reader, given: &Option<String>) -> LogFormat {
    read.value(LOG_FORMAT, given, LogFormat::Text, |text| {
        let formats = access_log::by_word(text);
        formats
            .map(|(format, _)| format)
            .ok_or_else(|| "expected text, json or combined".to_owned())
    })
}

/// Collects faults while values are read; a faulty value is replaced by its default so that the
/// reading goes on.
#[derive(Default)]
pub(super) struct Reader {
    faults: Vec<Fault>,
    warnings: Vec<String>,
}

/// Flag and variable of one setting.
#[derive(Clone, Copy)]
pub(super) struct Setting(pub(super) &'static str, pub(super) &'static str);

impl Reader {
    pub(super) fn value<T>(
        &mut self,
        setting: Setting,
        given: &Option<String>,
        default: T,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> T {
        let Some(text) = written(given) else {
            return default;
        };
        match parse(text) {
            Ok(value) => value,
            Err(reason) => {
                self.fault(setting, text, reason);
                default
            }
        }
    }

    /// As [`Reader::value`], of what may not be repeated in a message.
    fn secret<T>(
        &mut self,
        setting: Setting,
        given: &Option<String>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        match parse(written(given)?) {
            Ok(value) => Some(value),
            Err(reason) => {
                self.fault(setting, "***", reason);
                None
            }
        }
    }

    /// `value`, unless there is a fault.
    pub(super) fn end<T>(self, value: T) -> Result<T, Vec<Fault>> {
        match self.faults.is_empty() {
            true => Ok(value),
            false => Err(self.faults),
        }
    }

    fn listener(
        &mut self,
        setting: Setting,
        given: &Option<String>,
        default: SocketAddr,
    ) -> Option<SocketAddr> {
        self.value(setting, given, Some(default), |text| {
            listener(text, default.ip())
        })
    }

    /// Two listeners on one port: the second bind would fail, or worse, take half the connections.
    fn clash(
        &mut self,
        first: (Setting, &Option<String>, Option<SocketAddr>),
        second: (Setting, &Option<String>, Option<SocketAddr>),
    ) {
        let (Some(a), Some(b)) = (first.2, second.2) else {
            return;
        };
        let overlap = a.ip().is_unspecified() || b.ip().is_unspecified() || a.ip() == b.ip();
        if a.port() != b.port() || a.port() == 0 || !overlap {
            return;
        }
        // The one that was written is at fault; a default can only be in its way.
        let ((at, value, other), with) = if written(second.1).is_some() {
            ((second.0, b, first.0), a)
        } else {
            ((first.0, a, second.0), b)
        };
        let reason = format!("{} ({}) already listens on {with}", other.0, other.1);
        self.fault(at, &value.to_string(), reason);
    }

    pub(super) fn warn(&mut self, warning: &str) {
        self.warnings.push(warning.to_owned());
    }

    fn fault(&mut self, setting: Setting, value: &str, reason: impl Into<String>) {
        self.faults.push(Fault {
            flag: setting.0,
            variable: setting.1.into(),
            value: value.to_owned(),
            reason: reason.into(),
        });
    }
}

pub(super) fn written(given: &Option<String>) -> Option<&str> {
    given
        .as_deref()
        .map(str::trim)
        .filter(|text| !text.is_empty())
}

/// What settings of Wharf's own name of files, and where it keeps keys.
fn kept(raw: &Raw) -> Vec<PathBuf> {
    let credentials = raw.dns_credentials.iter().map(|(_, value)| value.as_str());
    let texts = credentials.chain(raw.acme_eab.as_deref());
    let files = texts.flat_map(|text| {
        let items = text.split([',', ' ']);
        items.filter_map(|item| Some(item.split_once("file:")?.1))
    });
    let data = written(&raw.data).unwrap_or("/data");
    let certs = written(&raw.certs).unwrap_or("/certs");
    let cache = written(&raw.cache_dir).filter(|dir| !dir.eq_ignore_ascii_case("off"));
    let own = [data, certs].into_iter().chain(cache);
    files.chain(own).map(PathBuf::from).collect()
}

/// Hosts without wildcards: a name stands for all below it.
fn ca_names(text: &str) -> Result<Vec<Host>, String> {
    let items = text.split([',', ' ']).filter(|item| !item.is_empty());
    let names: Vec<Host> = items
        .map(|item| {
            let name = item.strip_prefix("*.").unwrap_or(item);
            Host::parse(name).map_err(|fault| format!("{item}: {fault}"))
        })
        .collect::<Result<_, _>>()?;
    match names.len() {
        ..=CA_NAMES_MOST => Ok(names),
        _ => Err(format!("there are at most {CA_NAMES_MOST} names")),
    }
}

/// Where nothing is mounted there are no sockets.
fn default_sockets() -> Option<PathBuf> {
    Some(PathBuf::from("/sockets")).filter(|path| path.is_dir())
}

fn sockets(text: &str) -> Result<PathBuf, String> {
    let path = existing_directory(text)?;
    let path = std::path::absolute(path).map_err(|fault| fault.to_string())?;
    if path.parent().is_none() {
        return Err("is the whole file system: name the directory that holds apps' sockets".into());
    }
    if !path.to_str().is_some_and(is_plain_path) {
        return Err("has characters other than letters, digits and /._-+=@:~".to_owned());
    }
    Ok(path)
}

/// Where nothing is mounted there are no files.
fn default_statics() -> Option<PathBuf> {
    Some(PathBuf::from("/srv")).filter(|path| path.is_dir())
}

fn statics(text: &str) -> Result<PathBuf, String> {
    let path = existing_directory(text)?;
    let path = std::path::absolute(path).map_err(|fault| fault.to_string())?;
    match path.parent() {
        None => Err("is the whole file system: name the directory that holds the files".into()),
        Some(_) => Ok(path),
    }
}

/// A directory that is there now; what is in it may come later.
fn existing_directory(text: &str) -> Result<PathBuf, String> {
    match std::fs::metadata(text) {
        Ok(meta) if meta.is_dir() => Ok(text.into()),
        Ok(_) => Err("is no directory".to_owned()),
        Err(fault) => Err(format!("cannot be read: {fault}")),
    }
}

/// `off`, `80` (on the default's address), `:80` (every address), `192.0.2.1:80`, `[::1]:80`,
/// `localhost:80`. Names are not resolved: what they mean may change while Wharf runs.
fn listener(text: &str, default: IpAddr) -> Result<Option<SocketAddr>, String> {
    if text.eq_ignore_ascii_case("off") {
        return Ok(None);
    }
    if let Ok(port) = text.parse() {
        return Ok(Some(SocketAddr::new(default, port)));
    }
    let spelled = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None if text.starts_with(':') => format!("[::]{text}"),
        None => text.to_owned(),
    };
    spelled.parse().map(Some).map_err(|_| {
        "expected ADDRESS:PORT such as 0.0.0.0:8080 or [::]:8080, a port alone, or off".to_owned()
    })
}

fn hold(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(time) if (MIN_HOLD..=MAX_HOLD).contains(&time) => Ok(time),
        Ok(_) => Err(format!("expected {MIN_HOLD:?} to {MAX_HOLD:?}")),
        Err(fault) => Err(format!("expected {MIN_HOLD:?} to {MAX_HOLD:?}: {fault}")),
    }
}

fn header_timeout(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(time) if (HEADER_MIN..=HEADER_MAX).contains(&time) => Ok(time),
        Ok(_) => Err("expected 1s to 10m".to_owned()),
        Err(fault) => Err(format!("expected 1s to 10m: {fault}")),
    }
}

/// A number; `off` and 0 are any.
fn connections(text: &str) -> Result<Option<NonZeroU32>, String> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("off") {
        return Ok(None);
    }
    let count: u32 = text
        .parse()
        .map_err(|_| "expected a number of connections, or off".to_owned())?;
    Ok(NonZeroU32::new(count))
}

/// Some there has to be: with none of it nothing is held, and no request with a body could be taken in.
fn buffer_memory(text: &str) -> Result<u64, String> {
    match parse_size(text) {
        Ok(bytes) if (BUFFER_MEMORY_LEAST..=BUFFER_MEMORY_MOST).contains(&bytes) => Ok(bytes),
        Ok(_) => Err("expected 1m to 64g".to_owned()),
        Err(fault) => Err(format!("expected 1m to 64g: {fault}")),
    }
}

fn dns_wait(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(time) if (DNS_WAIT_MIN..=DNS_WAIT_MAX).contains(&time) => Ok(time),
        Ok(_) => Err("expected 10s to 1h".to_owned()),
        Err(fault) => Err(format!("expected 10s to 1h: {fault}")),
    }
}

fn workers(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if (1..=MAX_WORKERS).contains(&count) => Ok(count),
        _ => Err(format!("expected a number from 1 to {MAX_WORKERS}")),
    }
}

/// What the process may use, cgroup limits included.
fn cores() -> usize {
    thread::available_parallelism().map_or(1, |n| n.get().min(MAX_WORKERS))
}

/// The filter itself would take any word for a module name, and `inof` would silence the log.
fn log(text: &str) -> Result<String, String> {
    for item in text.split(',') {
        let level = item
            .rsplit_once('=')
            .map_or(item, |(_, level)| level)
            .trim();
        if !LEVELS.iter().any(|known| level.eq_ignore_ascii_case(known)) {
            return Err(format!(
                "`{}` is no level; expected {}, or target=level items separated by commas",
                level.escape_debug(),
                LEVELS.join(", ")
            ));
        }
    }
    EnvFilter::builder()
        .parse(text)
        .map(|_| text.to_owned())
        .map_err(|fault| format!("expected a level or target=level items: {fault}"))
}

/// Docker's own rule for names of networks.
fn network(text: &str) -> Result<String, String> {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(inner) {
        Ok(text.to_owned())
    } else {
        Err("expected the name of one Docker network: letters, digits, `_`, `.`, `-`".to_owned())
    }
}

/// `label=env=prod, label=team`.
pub(super) fn labels(text: &str) -> Result<Vec<(String, Option<String>)>, String> {
    let label = |item: &str| {
        let label = item.trim().strip_prefix("label=").filter(|l| !l.is_empty());
        match label.map(|label| {
            label
                .split_once('=')
                .map_or((label, None), |(k, v)| (k, Some(v)))
        }) {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.map(str::to_owned))),
            _ => Err("expected label=KEY or label=KEY=VALUE".to_owned()),
        }
    };
    text.split(',').map(label).collect()
}

/// An engine address as Docker's own tools take it, as far as Wharf can reach it.
fn engine(text: &str) -> Result<String, String> {
    const ACCEPTED: &str = "expected unix:///path, tcp://host:port or http://host:port";
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(ACCEPTED.to_owned());
    };
    match scheme {
        "unix" if rest.starts_with('/') => Ok(text.to_owned()),
        "unix" => Err("expected unix:// and an absolute path".to_owned()),
        "tcp" | "http" => {
            let authority = rest.trim_end_matches('/');
            let uri: Option<Uri> = format!("http://{authority}/").parse().ok();
            uri.filter(|uri| uri.port_u16().is_some_and(|port| port != 0) && uri.path() == "/")
                .filter(|uri| !uri.host().unwrap_or_default().is_empty())
                .map(|_| text.to_owned())
                .ok_or_else(|| ACCEPTED.to_owned())
        }
        "https" | "ssh" | "npipe" | "fd" => {
            Err(format!("{scheme}:// is not supported yet; {ACCEPTED}"))
        }
        _ => Err(ACCEPTED.to_owned()),
    }
}

/// They all stand in the root certificate.
const CA_NAMES_MOST: usize = 100;
const HTTP: Setting = Setting("--http", "WHARF_HTTP");
const HTTPS: Setting = Setting("--https", "WHARF_HTTPS");
const ADMIN: Setting = Setting("--admin", "WHARF_ADMIN");
const DATA: Setting = Setting("--data", "WHARF_DATA");
const CA_NAMES: Setting = Setting("--ca-names", "WHARF_CA_NAMES");
const BUFFER_DIR: Setting = Setting("--buffer-dir", "WHARF_BUFFER_DIR");
const BUFFER_MEMORY: Setting = Setting("--buffer-memory", "WHARF_BUFFER_MEMORY");
const BUFFER_DISK: Setting = Setting("--buffer-disk", "WHARF_BUFFER_DISK");
const ERRORS: Setting = Setting("--errors", "WHARF_ERRORS");
const CACHE_DIR: Setting = Setting("--cache-dir", "WHARF_CACHE_DIR");
const CACHE_SIZE: Setting = Setting("--cache-size", "WHARF_CACHE_SIZE");
const CERTS: Setting = Setting("--certs", "WHARF_CERTS");
const SOCKETS: Setting = Setting("--sockets", "WHARF_SOCKETS");
const STATICS: Setting = Setting("--static-dir", "WHARF_STATIC_DIR");
pub(super) const ACME: Setting = Setting("--acme", "WHARF_ACME");
pub(super) const ACME_EAB: Setting = Setting("--acme-eab", "WHARF_ACME_EAB");
const ACME_PROFILE: Setting = Setting("--acme-profile", "WHARF_ACME_PROFILE");
const ACME_ROOT: Setting = Setting("--acme-root", "WHARF_ACME_ROOT");
const ACME_EMAIL: Setting = Setting("--acme-email", "WHARF_ACME_EMAIL");
const DNS: Setting = Setting("--dns", "WHARF_DNS");
const DNS_RESOLVERS: Setting = Setting("--dns-resolvers", "WHARF_DNS_RESOLVERS");
const DNS_WAIT: Setting = Setting("--dns-wait", "WHARF_DNS_WAIT");
const TRUSTED_PROXIES: Setting = Setting("--trusted-proxies", "WHARF_TRUSTED_PROXIES");
const PROXY_PROTOCOL_FROM: Setting = Setting("--proxy-protocol-from", "WHARF_PROXY_PROTOCOL_FROM");
const MAX_CONNS_PER_IP: Setting = Setting("--max-conns-per-ip", "WHARF_MAX_CONNS_PER_IP");
const HEADER_TIMEOUT: Setting = Setting("--header-timeout", "WHARF_HEADER_TIMEOUT");
const TLS_HOLD: Setting = Setting("--tls-hold", "WHARF_TLS_HOLD");
const WORKERS: Setting = Setting("--workers", "WHARF_WORKERS");
const LOG: Setting = Setting("--log", "WHARF_LOG");
const LOG_FORMAT: Setting = Setting("--log-format", "WHARF_LOG_FORMAT");
pub(super) const ACCESS_LOG: Setting = Setting("--access-log", "WHARF_ACCESS_LOG");
pub(super) const ACCESS_LOG_FORMAT: Setting =
    Setting("--access-log-format", "WHARF_ACCESS_LOG_FORMAT");
pub(super) const ACCESS_LOG_ROTATE: Setting =
    Setting("--access-log-rotate", "WHARF_ACCESS_LOG_ROTATE");
pub(super) const ACCESS_LOG_HIDE: Setting = Setting("--access-log-hide", "WHARF_ACCESS_LOG_HIDE");
const NETWORK: Setting = Setting("--network", "WHARF_NETWORK");
const LABEL_PREFIX: Setting = Setting("--label-prefix", "WHARF_LABEL_PREFIX");
const FILTER: Setting = Setting("--filter", "WHARF_FILTER");
const SECRETS: Setting = Setting("--secrets", "WHARF_SECRETS");
const FILES: Setting = Setting("--config", "WHARF_CONFIG");
pub(super) const DEFAULT_HOST: Setting = Setting("--default-host", "WHARF_DEFAULT_HOST");
const EXPOSE_ALL: Setting = Setting("--expose-all", "WHARF_EXPOSE_ALL");
const DOCKER_HOST: Setting = Setting("--docker-host", "DOCKER_HOST");

const ADMIN_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9900);
const DOCKER_SOCKET: &str = "unix:///var/run/docker.sock";
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
/// nginx has a minute (`client_header_timeout`); a head is a few packets.
const HEADER_DEFAULT: Duration = Duration::from_secs(10);
const HEADER_MIN: Duration = Duration::from_secs(1);
const HEADER_MAX: Duration = Duration::from_secs(600);
const MIN_HOLD: Duration = Duration::from_secs(1);
/// Browsers give up on a handshake after about 30 s.
const MAX_HOLD: Duration = Duration::from_secs(25);
const BUFFER_MEMORY_DEFAULT: u64 = 64 << 20;
const BUFFER_MEMORY_LEAST: u64 = 1 << 20;
const BUFFER_MEMORY_MOST: u64 = 64 << 30;
const DNS_WAIT_DEFAULT: Duration = Duration::from_secs(2 * 60);
const DNS_WAIT_MIN: Duration = Duration::from_secs(10);
const DNS_WAIT_MAX: Duration = Duration::from_secs(60 * 60);
const MAX_WORKERS: usize = 256;
