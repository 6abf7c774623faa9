//! Where a route's labels send a request.

use http::{Method, StatusCode};

use super::Head;
use super::page::dress;
use super::tls::wants_tls;
use crate::model::{HttpsMode, seen};
use crate::proxy::error::ProxyError;
use crate::proxy::forward::Answer;
use crate::proxy::page;
use crate::route::{Route, RouteTable};

/// Where a request is sent.
pub(in crate::proxy) struct Elsewhere {
    pub(in crate::proxy) status: StatusCode,
    pub(in crate::proxy) location: String,
    /// It is this host, over TLS, which the request did not use.
    pub(super) own_tls: bool,
}

/// Where the route's labels send a request, and how. What has an error, or is for TLS alone, is refused
/// instead.
pub(in crate::proxy) fn elsewhere(
    table: &RouteTable,
    head: &Head<'_>,
    route: &Route,
) -> Option<Elsewhere> {
    if route.redirects.is_empty() && route.redirect_to.is_none() || route.fault.is_some() {
        return None;
    }
    let port = wants_tls(table, head, route);
    if port.is_some() && route.https == HttpsMode::Only {
        return None;
    }
    if let Some(host) = &route.redirect_to {
        let named = head.authority.rsplit_once(':');
        let named = named.and_then(|(_, port)| port.parse().ok());
        let scheme = if head.https || port.is_some() {
            HTTPS
        } else {
            HTTP
        };
        let location = origin(scheme, host.as_str(), port.or(named)) + head.rooted_target();
        return Some(Elsewhere {
            status: permanent(head),
            location,
            own_tls: false,
        });
    }
    let path = seen(head.path);
    let facts = head.facts(&path, head.rooted_target());
    route.redirects.iter().find_map(|rule| {
        let found = rule.from.pattern().regex().captures(&path)?;
        let mut location = rule.to.fill(&facts, &found);
        // A client that is sent to where it is would ask for ever.
        let here = |location: &str| {
            let own = location
                .strip_prefix(facts.scheme)
                .and_then(|rest| rest.strip_prefix("://"));
            let own = own.and_then(|rest| rest.strip_prefix(head.authority));
            own.unwrap_or(location) == facts.uri
        };
        let own_port = port.filter(|_| location.starts_with('/'));
        if let Some(port) = own_port {
            location = origin(HTTPS, head.host.as_str(), Some(port)) + &location;
        } else if here(&location) {
            return None;
        }
        let status = rule
            .status
            .and_then(|status| StatusCode::from_u16(status).ok());
        Some(Elsewhere {
            status: status.unwrap_or_else(|| permanent(head)),
            location,
            own_tls: own_port.is_some(),
        })
    })
}

pub(super) fn permanent(head: &Head<'_>) -> StatusCode {
    match head.request.method {
        Method::GET | Method::HEAD => StatusCode::MOVED_PERMANENTLY,
        _ => StatusCode::PERMANENT_REDIRECT,
    }
}

/// `https://a.test:8443`, without the port where it is the scheme's own.
pub(super) fn origin(scheme: &str, host: &str, port: Option<u16>) -> String {
    let (open, close) = if host.contains(':') {
        ("[", "]")
    } else {
        ("", "")
    };
    let usual = if scheme == HTTPS { 443 } else { 80 };
    match port.filter(|port| *port != usual) {
        Some(port) => format!("{scheme}{open}{host}{close}:{port}"),
        None => format!("{scheme}{open}{host}{close}"),
    }
}

/// A redirect of the route's.
pub(super) fn moved(head: &Head<'_>, route: &Route, to: &Elsewhere) -> Result<Answer, ProxyError> {
    let mut page = page::redirect(to.status, &to.location).ok_or(ProxyError::BadRequest(
        "the request target cannot be redirected",
    ))?;
    dress(&mut page, head, route);
    Ok(Answer::Page(Box::new(page)))
}

pub(super) const HTTPS: &str = "https://";
const HTTP: &str = "http://";
