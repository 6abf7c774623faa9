//! Servers that decide who gets in (product.md B51).

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::{Host, duration};

/// `wharf.auth.forward`: a server that is asked about every request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ForwardSpec {
    pub at: ForwardAt,
    /// Fields of its answer that the app gets, and that nobody else may set.
    pub copy: FieldNames,
    /// How long it may take, once connected, to begin its answer. Default [`ForwardSpec::TIMEOUT`].
    #[serde(serialize_with = "duration")]
    pub timeout: Duration,
    /// How long a yes holds. Default 0: it is asked each time.
    #[serde(serialize_with = "duration")]
    pub cache: Duration,
    /// With `cache`: a yes holds for all that comes with the same cookies and `Authorization`, not only for the
    /// same request. Default off.
    pub session: bool,
}

/// Where it is, and what is known of its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardAt {
    pub https: bool,
    /// A container, a compose or Swarm service, a name or an address.
    pub host: Host,
    pub port: u16,
    /// Path and query.
    pub target: String,
    pub kind: Option<AuthKind>,
}

/// Servers whose ways are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthKind {
    Authelia,
    Authentik,
    Oauth2Proxy,
    Tinyauth,
}

/// Names of fields, in lower case: whole ones, and beginnings of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldNames {
    pub whole: Vec<String>,
    pub beginnings: Vec<String>,
}

impl ForwardSpec {
    pub const TIMEOUT: Duration = Duration::from_secs(5);
}

impl ForwardAt {
    /// Host and port as a Host field names them.
    pub fn authority(&self) -> String {
        let host = match self.host.ip() {
            Some(std::net::IpAddr::V6(ip)) => format!("[{ip}]"),
            _ => self.host.as_str().to_owned(),
        };
        match (self.https, self.port) {
            (false, 80) | (true, 443) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}

impl AuthKind {
    pub const ALL: [Self; 4] = [
        Self::Authelia,
        Self::Authentik,
        Self::Oauth2Proxy,
        Self::Tinyauth,
    ];

    /// As the label is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Authelia => "authelia",
            Self::Authentik => "authentik",
            Self::Oauth2Proxy => "oauth2-proxy",
            Self::Tinyauth => "tinyauth",
        }
    }

    /// What its container is called, and the port it listens on, as its documentation has it.
    pub fn address(self) -> (&'static str, u16) {
        match self {
            Self::Authelia => ("authelia", 9091),
            Self::Authentik => ("authentik-server", 9000),
            Self::Oauth2Proxy => ("oauth2-proxy", 4180),
            Self::Tinyauth => ("tinyauth", 3000),
        }
    }

    /// What it is asked for.
    pub fn target(self) -> &'static str {
        match self {
            Self::Authelia => "/api/authz/forward-auth",
            Self::Authentik => "/outpost.goauthentik.io/auth/traefik",
            Self::Oauth2Proxy => "/oauth2/auth",
            Self::Tinyauth => "/api/auth/traefik",
        }
    }

    /// The fields that say who somebody is.
    pub fn copy(self) -> FieldNames {
        let names = |whole: &[&str], beginnings: &[&str]| FieldNames {
            whole: whole.iter().map(|&name| name.to_owned()).collect(),
            beginnings: beginnings.iter().map(|&name| name.to_owned()).collect(),
        };
        match self {
            Self::Authelia | Self::Tinyauth => names(
                &[
                    "remote-user",
                    "remote-groups",
                    "remote-name",
                    "remote-email",
                ],
                &[],
            ),
            Self::Authentik => names(&[], &["x-authentik-"]),
            Self::Oauth2Proxy => names(&[], &["x-auth-request-"]),
        }
    }

    /// Its own paths on the app's host, which everybody gets: where a visitor is sent to log in, and comes
    /// back to.
    pub fn own_path(self) -> Option<&'static str> {
        match self {
            Self::Authentik => Some("/outpost.goauthentik.io"),
            Self::Oauth2Proxy => Some("/oauth2"),
            Self::Authelia | Self::Tinyauth => None,
        }
    }

    /// Where a browser is sent that it answers 401, in front of where that wanted to go; the others do it
    /// themselves.
    pub fn sign_in(self) -> Option<&'static str> {
        match self {
            Self::Oauth2Proxy => Some("/oauth2/start?rd="),
            Self::Authelia | Self::Authentik | Self::Tinyauth => None,
        }
    }
}

impl FieldNames {
    pub fn is_empty(&self) -> bool {
        self.whole.is_empty() && self.beginnings.is_empty()
    }

    /// Whether a field is one of them, or may be taken for one: to many apps `_` is `-`.
    pub fn covers(&self, name: &[u8]) -> bool {
        let reads_as = |name: &[u8], other: &str| {
            let plain = |byte: &u8| match byte {
                b'_' => b'-',
                byte => byte.to_ascii_lowercase(),
            };
            name.len() == other.len()
                && name
                    .iter()
                    .map(plain)
                    .eq(other.as_bytes().iter().map(plain))
        };
        self.whole.iter().any(|whole| reads_as(name, whole))
            || self.beginnings.iter().any(|beginning| {
                let start = name.get(..beginning.len());
                start.is_some_and(|start| reads_as(start, beginning))
            })
    }
}

/// `Remote-User, X-Auth-*`, in lower case.
impl fmt::Display for FieldNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.whole.iter().map(|name| (name, ""));
        let all = whole.chain(self.beginnings.iter().map(|name| (name, "*")));
        for (index, (name, star)) in all.enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{name}{star}")?;
        }
        Ok(())
    }
}

impl Serialize for FieldNames {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// `http://authelia:9091/api/authz/forward-auth`
impl fmt::Display for ForwardAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        // A query may hold a key.
        let path = self.target.split('?').next().unwrap_or_default();
        write!(f, "{scheme}://{}{path}", self.authority())
    }
}

impl Serialize for ForwardAt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cover_what_may_be_taken_for_them() {
        let names = FieldNames {
            whole: vec!["remote-user".into()],
            beginnings: vec!["x-auth-request-".into()],
        };
        for (name, covered) in [
            ("Remote-User", true),
            ("remote_user", true),
            ("REMOTE-user", true),
            ("remote-users", false),
            ("remote-use", false),
            ("X-Auth-Request-Email", true),
            ("x_auth_request_email", true),
            ("x-auth-request", false),
            ("x-auth", false),
            ("", false),
        ] {
            assert_eq!(names.covers(name.as_bytes()), covered, "{name}");
        }
        assert_eq!(names.to_string(), "remote-user, x-auth-request-*");
        assert!(!FieldNames::default().covers(b"") && FieldNames::default().is_empty());
    }

    #[test]
    fn an_address_is_shown_without_its_query() {
        let at = |https, host: &str, port, target: &str| {
            let at = ForwardAt {
                https,
                host: Host::parse(host).unwrap(),
                port,
                target: target.to_owned(),
                kind: None,
            };
            at.to_string()
        };
        assert_eq!(at(false, "auth", 80, "/x?key=1"), "http://auth/x");
        assert_eq!(at(true, "auth", 80, "/"), "https://auth:80/");
        assert_eq!(at(false, "[fd00::1]", 9, "/"), "http://[fd00::1]:9/");
    }
}
