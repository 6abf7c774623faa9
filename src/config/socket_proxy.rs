//! Settings of `wharf socket-proxy`, which has its own few.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::parse::{self, Reader, Setting};
use super::{Fault, LogFormat};
use crate::model::LabelPrefix;

/// What the filter in front of the engine is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketProxyConfig {
    /// Where it listens, default `unix:///run/wharf/docker.sock`; never empty.
    pub listen: Vec<ProxyListener>,
    /// Permissions of its Unix sockets, default `0660`.
    pub mode: u32,
    /// Labels a container must have, all of them, to be seen at all: key, and value if that counts
    /// too. Default none.
    pub labels: Vec<(String, Option<String>)>,
    /// Labels that begin so are shown, default `wharf`.
    pub label_prefix: LabelPrefix,
    /// The engine, default `unix:///var/run/docker.sock`.
    pub docker_host: String,
    /// As [`Config::log`](super::Config::log).
    pub log: String,
    pub log_format: LogFormat,
}

/// One address the filter listens on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProxyListener {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

/// The settings as written; see [`Raw`](super::Raw).
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct RawSocketProxy {
    /// Where to listen: unix:///path or tcp://ADDRESS:PORT, several separated by commas
    /// [default: unix:///run/wharf/docker.sock]
    #[arg(
        long,
        env = "WHARF_SOCKET_LISTEN",
        hide_env_values = true,
        value_name = "URLS"
    )]
    pub listen: Option<String>,
    /// Permissions of the Unix socket, in octal digits [default: 0660]
    #[arg(
        long,
        env = "WHARF_SOCKET_MODE",
        hide_env_values = true,
        value_name = "MODE"
    )]
    pub mode: Option<String>,
    /// Show only containers that have these labels: label=KEY or label=KEY=VALUE, separated by
    /// commas; Wharf's own container needs them, too [default: show all]
    #[arg(
        long,
        env = "WHARF_SOCKET_FILTER",
        hide_env_values = true,
        value_name = "LABELS"
    )]
    pub filter: Option<String>,
    /// What Wharf's labels begin with, as Wharf itself is told [default: wharf]
    #[arg(
        long,
        env = "WHARF_LABEL_PREFIX",
        hide_env_values = true,
        value_name = "WORD"
    )]
    pub label_prefix: Option<String>,
    /// Docker engine: unix:///path, tcp://host:port or http://host:port
    /// [default: unix:///var/run/docker.sock]
    #[arg(long, env = "DOCKER_HOST", hide_env_values = true, value_name = "URL")]
    pub docker_host: Option<String>,
    /// Log level: off, error, warn, info, debug, trace, or target=level items [default: info]
    #[arg(long, env = "WHARF_LOG", hide_env_values = true, value_name = "LEVEL")]
    pub log: Option<String>,
    /// Format of the log: text or json [default: text]
    #[arg(
        long,
        env = "WHARF_LOG_FORMAT",
        hide_env_values = true,
        value_name = "FORMAT"
    )]
    pub log_format: Option<String>,
}

impl SocketProxyConfig {
    /// Checks every setting. On failure all faults are told, not just the first.
    pub fn resolve(raw: &RawSocketProxy) -> Result<Self, Vec<Fault>> {
        let mut read = Reader::default();
        let default = vec![ProxyListener::Unix(DEFAULT_SOCKET.into())];
        let config = Self {
            listen: read.value(LISTEN, &raw.listen, default, listeners),
            mode: read.value(MODE, &raw.mode, DEFAULT_MODE, mode),
            labels: read.value(FILTER, &raw.filter, Vec::new(), parse::labels),
            label_prefix: parse::label_prefix(&mut read, &raw.label_prefix),
            docker_host: parse::docker_host(&mut read, &raw.docker_host),
            log: parse::log_level(&mut read, &raw.log),
            log_format: parse::log_format_of(&mut read, &raw.log_format),
        };
        read.end(config)
    }
}

fn listeners(text: &str) -> Result<Vec<ProxyListener>, String> {
    text.split(',').map(|item| listener(item.trim())).collect()
}

fn listener(text: &str) -> Result<ProxyListener, String> {
    if let Some(path) = text.strip_prefix("unix://").filter(|p| p.starts_with('/')) {
        return Ok(ProxyListener::Unix(path.into()));
    }
    let address = text.strip_prefix("tcp://").and_then(|a| a.parse().ok());
    address.map(ProxyListener::Tcp).ok_or_else(|| {
        "expected unix:///path or tcp://ADDRESS:PORT such as tcp://0.0.0.0:2375".to_owned()
    })
}

fn mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o777 && mode & 0o200 != 0 => Ok(mode),
        _ => Err("expected permissions in octal digits such as 0660".to_owned()),
    }
}

const LISTEN: Setting = Setting("--listen", "WHARF_SOCKET_LISTEN");
const MODE: Setting = Setting("--mode", "WHARF_SOCKET_MODE");
const FILTER: Setting = Setting("--filter", "WHARF_SOCKET_FILTER");

const DEFAULT_SOCKET: &str = "/run/wharf/docker.sock";
/// Owner and group.
const DEFAULT_MODE: u32 = 0o660;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_and_values() {
        let default = SocketProxyConfig::resolve(&RawSocketProxy::default()).unwrap();
        assert_eq!(default.listen, [ProxyListener::Unix(DEFAULT_SOCKET.into())]);
        assert_eq!((default.mode, default.labels.len()), (0o660, 0));
        assert_eq!(default.docker_host, "unix:///var/run/docker.sock");

        let raw = RawSocketProxy {
            listen: Some("unix:///a/b.sock, tcp://127.0.0.1:2375".into()),
            mode: Some("0600".into()),
            filter: Some("label=wharf.host,label=team=web=1".into()),
            label_prefix: Some("edge".into()),
            docker_host: Some("tcp://engine:2375".into()),
            ..RawSocketProxy::default()
        };
        let config = SocketProxyConfig::resolve(&raw).unwrap();
        let tcp = ProxyListener::Tcp("127.0.0.1:2375".parse().unwrap());
        assert_eq!(
            config.listen,
            [ProxyListener::Unix("/a/b.sock".into()), tcp]
        );
        assert_eq!(config.mode, 0o600);
        let value = Some("web=1".to_owned());
        let labels = [("wharf.host".to_owned(), None), ("team".to_owned(), value)];
        assert_eq!(config.labels, labels);
    }

    #[test]
    fn every_fault_is_told() {
        let raw = RawSocketProxy {
            listen: Some("/run/docker.sock".into()),
            mode: Some("0999".into()),
            filter: Some("name=x".into()),
            label_prefix: Some("a b".into()),
            docker_host: Some("ssh://x".into()),
            log: Some("loud".into()),
            log_format: Some("xml".into()),
        };
        let faults = SocketProxyConfig::resolve(&raw).unwrap_err();
        let flags: Vec<_> = faults.iter().map(|fault| fault.flag).collect();
        let expected = [
            "--listen",
            "--mode",
            "--filter",
            "--label-prefix",
            "--docker-host",
            "--log",
            "--log-format",
        ];
        assert_eq!(flags, expected);
    }
}
