//! Whether a route lets a request pass, before anybody is asked who sends it.

use super::Head;
use crate::filter;
use crate::filter::auth::Basic;
use crate::proxy::error::ProxyError;
use crate::proxy::headers;
use crate::route::{ForwardAuth, HostEntry, Route};

/// A request that may go on, once those are asked who have to be.
pub(in crate::proxy) struct Admission<'t> {
    /// It wants to become a WebSocket.
    pub(super) websocket: bool,
    pub(in crate::proxy) basic: Option<&'t Basic>,
    pub(in crate::proxy) forward: Option<&'t ForwardAuth>,
}

/// Lets a request pass unless the route refuses it.
pub(in crate::proxy) fn admit<'t>(
    entry: &HostEntry,
    route: &'t Route,
    head: &Head<'_>,
) -> Result<Admission<'t>, ProxyError> {
    let request = head.request;
    if let Some(fault) = &route.fault {
        return Err(ProxyError::RouteFault(fault.clone()));
    }
    let (mut basic, mut forward) = (None, None);
    if let Some(filters) = &route.filters {
        let admitted = filters.admit(head.client.address, head.path);
        if admitted.map_err(ProxyError::Refused)?.login {
            basic = filters.basic.as_ref();
            forward = route.forward.as_deref();
        }
    }
    if let Some(rest) = &entry.rest {
        filter::resting(rest, head.client.address).map_err(ProxyError::Refused)?;
    }
    let websocket = headers::wants_websocket(request) && !request.has_body();
    if websocket && !route.websocket {
        return Err(ProxyError::WebSocketOff);
    }
    Ok(Admission {
        websocket,
        basic,
        forward,
    })
}
