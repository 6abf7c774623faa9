//! What a request has to do with TLS: that it comes that way, on a connection made by its host's rules.

use std::sync::Arc;

use http::StatusCode;

use super::Head;
use super::acme;
use super::page::dress;
use super::redirect::{HTTPS, origin, permanent};
use crate::model::{HttpsMode, TlsPolicy, TlsVersion};
use crate::proxy::error::ProxyError;
use crate::proxy::forward::Answer;
use crate::proxy::state::ConnState;
use crate::proxy::worker::Worker;
use crate::proxy::{certificate, page};
use crate::route::{HostEntry, Route, RouteTable};
use crate::tls::ObtainError;

/// The port of the TLS listener, where the request came without TLS and the route wants it.
pub(in crate::proxy) fn wants_tls(
    table: &RouteTable,
    head: &Head<'_>,
    route: &Route,
) -> Option<u16> {
    let plain = head.https || matches!(route.https, HttpsMode::Both | HttpsMode::Off);
    table.https_port.filter(|_| !plain)
}

/// Where a request is to come with TLS, and the status that says so.
pub(in crate::proxy) fn redirect(head: &Head<'_>, port: u16) -> (StatusCode, String) {
    let location = origin(HTTPS, head.host.as_str(), Some(port)) + head.rooted_target();
    (permanent(head), location)
}

/// A host with rules of its own takes requests from connections that were made by them alone: not from
/// one that was made for another host, or before the rules were as they are. A trusted proxy's word
/// cannot stand for a client's certificate.
pub(super) fn check_policy(
    worker: &Worker,
    conn: &ConnState,
    policy: Option<&TlsPolicy>,
    route: &Route,
) -> Result<(), ProxyError> {
    let min = policy.map(|policy| policy.min);
    if conn.tls && min == Some(TlsVersion::Tls13) && !conn.tls13 {
        return Err(ProxyError::Misdirected);
    }
    let Some(client) = &route.client else {
        return Ok(());
    };
    if !conn.tls {
        return match client.optional {
            true => Ok(()),
            false => Err(ProxyError::ClientCertificate),
        };
    }
    let Some(policy) = policy else {
        return Err(ProxyError::Misdirected);
    };
    if policy.client.as_ref().map(|host| &host.ca) != Some(&client.ca) {
        let fault = "wharf.tls.client_ca: another route of this host names another one";
        return Err(ProxyError::RouteFault(fault.into()));
    }
    let certs = worker.engine.certs.current();
    let current = certs
        .policy(policy)
        .map_err(|fault| ProxyError::RouteFault(format!("wharf.tls.client_ca: {fault}").into()))?;
    let certified = match &conn.ruled {
        Some(ruled) if Arc::ptr_eq(&ruled.policy, current) => ruled.certified,
        _ => return Err(ProxyError::Misdirected),
    };
    match certified || client.optional {
        true => Ok(()),
        false => Err(ProxyError::ClientCertificate),
    }
}

/// What plain HTTP gets where the route wants TLS: a redirect, once there is a certificate to
/// redirect to (product.md S20 and decision 3).
pub(super) async fn secure(
    worker: &Worker,
    port: u16,
    head: &Head<'_>,
    table: &RouteTable,
    entry: &HostEntry,
    route: &Route,
) -> Result<Option<Answer>, ProxyError> {
    if route.https == HttpsMode::Only {
        return Err(ProxyError::HttpsOnly);
    }
    // Somebody else's challenge is not ours to redirect: the app may run its own ACME client.
    if acme::is_challenge(head.path) {
        return Ok(None);
    }
    certified(worker, table, head, entry).await?;
    let (status, location) = redirect(head, port);
    let mut redirect = page::redirect(status, &location).ok_or(ProxyError::BadRequest(
        "the request target cannot be redirected",
    ))?;
    dress(&mut redirect, head, route);
    Ok(Some(Answer::Page(Box::new(redirect))))
}

/// Waits until there is a certificate for a host.
pub(super) async fn certified(
    worker: &Worker,
    table: &RouteTable,
    head: &Head<'_>,
    entry: &HostEntry,
) -> Result<(), ProxyError> {
    let certs = &worker.engine.certs;
    let name = head.host.as_str();
    let known = certificate::find(&certs.current(), entry, name).is_some();
    if known {
        return Ok(());
    }
    let client = head.client.address;
    let obtained = Box::pin(certificate::obtain(certs, table, entry, name, client)).await;
    obtained.map_err(|error| match error {
        ObtainError::Refused => ProxyError::NoHost,
        error => ProxyError::NoCertificate(error),
    })?;
    Ok(())
}
