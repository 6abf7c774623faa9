//! Whether a route lets a request pass, before anybody is asked who sends it.

use super::Head;
use crate::filter;
use crate::filter::auth::Basic;
use crate::proxy::error::ProxyError;
use crate::proxy::headers;
use crate::route::{HostEntry, Route};

/// Lets a request pass unless the route refuses it; whether it wants to become a WebSocket.
pub(in crate::proxy) fn admit<'t>(
    entry: &HostEntry,
    route: &'t Route,
    head: &Head<'_>,
) -> Result<(bool, Option<&'t Basic>), ProxyError> {
    let request = head.request;
    if let Some(fault) = &route.fault {
        return Err(ProxyError::RouteFault(fault.clone()));
    }
    let mut login = None;
    if let Some(filters) = &route.filters {
        let admitted = filters.admit(head.client.address, head.path);
        if admitted.map_err(ProxyError::Refused)?.login {
            login = filters.basic.as_ref();
        }
    }
    if let Some(rest) = &entry.rest {
        filter::resting(rest, head.client.address).map_err(ProxyError::Refused)?;
    }
    let websocket = headers::wants_websocket(request) && !request.has_body();
    if websocket && !route.websocket {
        return Err(ProxyError::WebSocketOff);
    }
    Ok((websocket, login))
}
