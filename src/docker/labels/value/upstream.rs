//! `wharf.upstream`: the container's published port, or addresses outside Docker.

use std::fmt;
use std::net::IpAddr;

use super::{NOT_YET, Parsed, Value, items, note, number};
use crate::dial::is_engine;
use crate::docker::labels::text::quote;
use crate::model::{Host, HostError, Proto, is_plain_path};

/// Where a route's requests go, if not to the container's own address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpstreamAt {
    /// To the container: what holds without the label, for a route that inherits another.
    Container,
    /// To the port it publishes on the host.
    Published,
    /// To the Unix socket at this path, which is below the directory of sockets, or said to be.
    Socket(String),
    /// To these; at least one, without duplicates.
    Origins(Vec<Origin>),
}

/// One address outside Docker.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// Its scheme.
    pub proto: Proto,
    /// An address, or a name to be looked up.
    pub host: Host,
    pub port: u16,
}

impl Origin {
    /// As a Host field names it: without the scheme's own port.
    pub(in crate::docker) fn authority(&self) -> String {
        let host = match self.host.ip() {
            Some(IpAddr::V6(ip)) => format!("[{ip}]"),
            _ => self.host.as_str().to_owned(),
        };
        match self.port {
            port if port == self.proto.default_port() => host,
            port => format!("{host}:{port}"),
        }
    }
}

/// `http://192.168.1.5:8080`
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.proto)?;
        match self.host.ip() {
            Some(IpAddr::V6(ip)) => write!(f, "[{ip}]:{}", self.port),
            _ => write!(f, "{}:{}", self.host.as_str(), self.port),
        }
    }
}

/// A word, or a list of URLs.
pub(super) fn upstream(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    let word = match text.trim().to_ascii_lowercase().as_str() {
        "published" => Some(UpstreamAt::Published),
        "container" => Some(UpstreamAt::Container),
        _ => None,
    };
    if let Some(at) = word {
        parsed.value = Some(Value::Upstream(at));
        return parsed;
    }
    if let Some(path) = text.trim().strip_prefix("unix:") {
        match socket(path) {
            Ok(path) => parsed.value = Some(Value::Upstream(UpstreamAt::Socket(path))),
            Err(reason) => note(
                &mut parsed.errors,
                format!("{}: {reason}", quote(text.trim())),
            ),
        }
        return parsed;
    }
    let mut found: Vec<Origin> = Vec::new();
    for item in items(text) {
        match origin(item) {
            Err(reason) => note(&mut parsed.errors, format!("{}: {reason}", quote(item))),
            Ok(origin) if found.contains(&origin) => {
                note(&mut parsed.warnings, format!("`{origin}` is named twice"));
            }
            Ok(_) if found.len() == MAX_ORIGINS => {
                let reason = format!("a route has at most {MAX_ORIGINS} upstream addresses");
                note(&mut parsed.errors, reason);
                break;
            }
            Ok(origin) => found.push(origin),
        }
    }
    if found.is_empty() && parsed.errors.is_empty() {
        parsed.errors.push(FORM.to_owned());
    }
    // With one of several missing, the others would get its share unasked.
    let whole = parsed.errors.is_empty();
    parsed.value = whole.then_some(Value::Upstream(UpstreamAt::Origins(found)));
    parsed
}

fn origin(text: &str) -> Result<Origin, String> {
    let Some((scheme, rest)) = text.split_once(':') else {
        return Err(FORM.to_owned());
    };
    let proto = match scheme.to_ascii_lowercase().as_str() {
        "http" => Proto::Http,
        "https" => Proto::Https,
        "h2c" => Proto::H2c,
        "h2" => Proto::H2,
        "grpc" => Proto::Grpc,
        "grpcs" => Proto::Grpcs,
        "unix" => return Err("a Unix socket stands alone: unix:app.sock".to_owned()),
        other if LATER.contains(&other) => return Err(format!("{other}:// is {NOT_YET}")),
        _ => return Err(FORM.to_owned()),
    };
    let rest = rest.strip_prefix("//").ok_or(FORM)?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if !matches!(path, "" | "/") {
        return Err("an upstream has no path; wharf.rewrite is for that".to_owned());
    }
    if authority.contains('@') {
        return Err("an upstream has no user name".to_owned());
    }
    let (host, port) = match authority.rsplit_once(':') {
        // The colons of an address in brackets are no port's.
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    };
    if host.contains(':') && !host.starts_with('[') {
        return Err("an IPv6 address stands in brackets: http://[fd00::1]:8080".to_owned());
    }
    let port = port
        .map_or_else(|| Some(proto.default_port()), number)
        .filter(|port| *port > 0);
    let port = port.ok_or("a port is a number from 1 to 65535")?;
    let host = Host::parse(host).map_err(|error| match error {
        HostError::Star => "an upstream is one host".to_owned(),
        error => error.to_string(),
    })?;
    match host.ip() {
        Some(ip) => refused(ip).map_or(Ok(()), |why| Err(why.to_owned()))?,
        // Resolvers would read `127.1` and `0x7f000001` as addresses.
        None if ends_in_number(host.as_str()) => {
            return Err("this is neither a name nor a whole address".to_owned());
        }
        None => {}
    }
    Ok(Origin { proto, host, port })
}

/// A path as it stands behind `unix:`; with `//` in front, as in other URLs of sockets.
fn socket(path: &str) -> Result<String, String> {
    let path = match path.strip_prefix("//") {
        Some(rest) if rest.starts_with('/') => rest,
        Some(_) => {
            return Err("a socket looks like unix:app.sock or unix:/sockets/app.sock".into());
        }
        None => path,
    };
    if path.is_empty() || path.ends_with('/') {
        return Err("a socket is named by its path, as in unix:app.sock".into());
    }
    if path.len() > MAX_SOCKET || !is_plain_path(path) {
        return Err(format!(
            "the path of a socket has letters, digits and /._-+=@:~, and at most {MAX_SOCKET} of them"
        ));
    }
    if path.split('/').any(|part| part == "..") {
        return Err("the path of a socket has no `..`".into());
    }
    if is_engine(path) {
        return Err("this is the socket of a container engine, and no app's: whoever may write to it has the machine".into());
    }
    Ok(path.to_owned())
}

/// Why no upstream may have this address, whatever the label or a name server says.
pub(crate) fn refused(ip: IpAddr) -> Option<&'static str> {
    let ip = ip.to_canonical();
    let (link_local, nobody) = match ip {
        IpAddr::V4(v4) => (v4.is_link_local(), v4.is_broadcast()),
        IpAddr::V6(v6) => (v6.is_unicast_link_local(), false),
    };
    // AWS has its metadata there for IPv6.
    let metadata = ip == IpAddr::from([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254]);
    if link_local || metadata {
        return Some(
            "link-local addresses are refused: clouds give out their machines' secrets there",
        );
    }
    let nobody = nobody || ip.is_unspecified() || ip.is_multicast();
    nobody.then_some("this is nobody's address")
}

pub(super) fn ends_in_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    let hex = last.strip_prefix("0x");
    last.bytes().all(|b| b.is_ascii_digit())
        || hex.is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// Characters of a socket's path.
const MAX_SOCKET: usize = 200;
/// Addresses of one label, and of one name.
pub(in crate::docker) const MAX_ORIGINS: usize = 16;

const LATER: &[&str] = &["fastcgi", "fcgi", "uwsgi", "ws", "wss", "tcp"];

const FORM: &str = "an upstream is `published`, or looks like http://192.168.1.5:8080 or https://nas.lan:8443, or several of these, or like unix:app.sock";

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, String> {
        let parsed = upstream(text);
        match parsed.value {
            Some(Value::Upstream(UpstreamAt::Origins(origins))) => {
                let origins: Vec<String> = origins.iter().map(ToString::to_string).collect();
                Ok(origins.join(" "))
            }
            Some(Value::Upstream(at)) => Ok(format!("{at:?}")),
            _ => Err(parsed.errors.join("; ")),
        }
    }

    #[test]
    fn words_and_urls() {
        for (text, expected) in [
            ("published", "Published"),
            (" Container ", "Container"),
            ("http://192.168.1.5:8080", "http://192.168.1.5:8080"),
            ("HTTP://NAS.lan/", "http://nas.lan:80"),
            ("http://[FD00::1]:81", "http://[fd00::1]:81"),
            ("http://[fd00::1]", "http://[fd00::1]:80"),
            (
                "http://10.0.0.1:1,\nhttp://10.0.0.2:1, http://10.0.0.1:1",
                "http://10.0.0.1:1 http://10.0.0.2:1",
            ),
            ("http://my_app-1:3000", "http://my_app-1:3000"),
            ("http://127.0.0.1:9", "http://127.0.0.1:9"),
            ("HTTPS://nas.lan", "https://nas.lan:443"),
            (
                "h2c://nas.lan, grpcs://nas.lan",
                "h2c://nas.lan:80 grpcs://nas.lan:443",
            ),
            (" unix:app.sock", "Socket(\"app.sock\")"),
            ("unix:/sockets/app", "Socket(\"/sockets/app\")"),
            ("unix:///sockets/app", "Socket(\"/sockets/app\")"),
            (
                "https://[fd00::1]:8443, http://[fd00::1]:8443",
                "https://[fd00::1]:8443 http://[fd00::1]:8443",
            ),
        ] {
            assert_eq!(read(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn faults_are_named() {
        for (text, part) in [
            ("", "looks like"),
            ("nas.lan", "looks like"),
            ("nas.lan:8080", "looks like"),
            ("http:nas.lan", "looks like"),
            ("fastcgi://nas.lan", "fastcgi:// is not supported yet"),
            ("unix:", "named by its path"),
            ("unix:shop/", "named by its path"),
            ("unix://app.sock", "looks like unix:app.sock"),
            ("unix:../app.sock", "no `..`"),
            ("unix:/sockets/../run/app.sock", "no `..`"),
            ("unix:a b", "letters, digits"),
            ("unix:a.sock,unix:b.sock", "letters, digits"),
            ("http://10.0.0.1, unix:a.sock", "stands alone"),
            ("unix:/var/run/docker.sock", "container engine"),
            ("unix:Podman.sock", "container engine"),
            ("http://nas.lan/base", "wharf.rewrite"),
            ("http://nas.lan?x", "no path"),
            ("http://me@nas.lan", "no user name"),
            ("http://nas.lan:0", "1 to 65535"),
            ("http://nas.lan:", "1 to 65535"),
            ("http://fd00::1:80", "in brackets"),
            ("http://*.lan", "one host"),
            ("http://", "may not be empty"),
            ("http://127.1", "neither a name nor"),
            ("http://0x7f000001", "neither a name nor"),
            ("http://169.254.169.254", "link-local"),
            ("http://[fe80::1]", "link-local"),
            ("http://[::ffff:169.254.169.254]", "link-local"),
            ("http://[fd00:ec2::254]", "link-local"),
            ("http://0.0.0.0:80", "nobody's"),
            ("http://224.0.0.1", "nobody's"),
            ("http://10.0.0.1, published", "looks like"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
        let many: Vec<String> = (0..17).map(|n| format!("http://10.0.0.{n}")).collect();
        assert!(read(&many.join(",")).unwrap_err().contains("at most 16"));
    }
}
