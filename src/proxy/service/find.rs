//! The host and the route of a request.

use std::sync::Arc;

use super::Head;
use crate::proxy::error::ProxyError;
use crate::proxy::forward::holder;
use crate::proxy::state::ConnState;
use crate::route::{HostEntry, NoMatch, Route, RouteTable, Split};

pub(in crate::proxy) fn find_host<'t>(
    table: &'t RouteTable,
    head: &Head<'_>,
) -> Result<&'t Arc<HostEntry>, ProxyError> {
    if table.generation == 0 {
        return Err(ProxyError::Starting);
    }
    let found = table.find_host(head.host.as_str());
    found.ok_or(ProxyError::NoHost)
}

pub(in crate::proxy) fn find_route<'t>(
    entry: &'t HostEntry,
    head: &Head<'_>,
) -> Result<&'t Arc<Route>, ProxyError> {
    let found = entry.find(head.path, |matcher, path| head.meets(matcher, path));
    found.map_err(|error| match error {
        NoMatch::Path => ProxyError::NoPath,
        NoMatch::Ambiguous => ProxyError::AmbiguousPath,
    })
}

/// The service of several that gets the request.
pub(super) fn share<'t>(split: &'t Split, head: &Head<'_>) -> &'t Arc<Route> {
    let fields = head.request.fields();
    split.choose(
        |matcher| head.meets_as_seen(matcher),
        |route| holder(route, fields).is_some(),
    )
}

/// A request may name another host than the handshake did only within one tenant (421 otherwise:
/// RFC 9110 section 15.5.20).
pub(super) fn check_sni(
    conn: &ConnState,
    table: &RouteTable,
    head: &Head<'_>,
    entry: &HostEntry,
    route: &Route,
) -> Result<(), ProxyError> {
    let Some(sni) = &conn.sni else { return Ok(()) };
    // A trusted proxy that encrypts again may use one name towards us for all hosts.
    if **sni == *head.host.as_str() || head.client.trusted {
        return Ok(());
    }
    match table.find_host(sni) {
        Some(asked) if std::ptr::eq(&**asked, entry) || asked.belongs_to(&route.owner) => Ok(()),
        _ => Err(ProxyError::Misdirected),
    }
}
