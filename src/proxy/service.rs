//! One request, step by step. The first refusal decides the answer.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use http::header::{self, HeaderValue};
use http::{Method, StatusCode, Uri, Version};

use super::audience::{Client, may_see_details};
use super::breaker::{judge, pass};
use super::certificate;
use super::error::ProxyError;
use super::exchange::Client as ClientSide;
use super::fields::{Fields, Known};
use super::forward::{Answer, Forward, Refusal, holder};
use super::head::RequestHead;
use super::headers::{self, Asked, Edited, HostName, Origin, Preflight};
use super::hints::hints;
use super::hold::{Stop, hold};
use super::page;
use super::queue::queue;
use super::start::first_table;
use super::state::ConnState;
use super::tail::{Record, Tail, request_id};
use super::worker::Worker;
use crate::access::RequestId;
use crate::filter;
use crate::filter::auth::{Basic, Trouble, Verdict};
use crate::model::{Facts, HttpsMode, Matcher, TlsPolicy, TlsVersion, behind, seen};
use crate::route::{HostEntry, NoMatch, Route, RouteTable, Split, climbs};
use crate::tls::ObtainError;

/// What a step sees of a request.
pub(super) struct Head<'a> {
    pub(super) request: &'a RequestHead,
    pub(super) authority: &'a str,
    pub(super) host: HostName<'a>,
    /// Path and query; see [`RequestHead::target`].
    target: &'a str,
    pub(super) path: &'a str,
    pub(super) client: Client,
    /// As the client used it, a trusted proxy's word included.
    pub(super) https: bool,
}

/// Answers one request.
pub(crate) async fn answer<C: ClientSide>(tail: &mut Tail, side: &mut C) -> Answer {
    let Tail {
        worker,
        conn,
        head,
        request_id: own_id,
        record,
        ..
    } = tail;
    let client = Client::of(&worker.engine.trusted, conn.peer.ip(), head.fields());
    record.client = Some(client.address);
    record.trusted = client.trusted;
    let request_id = request_id(head.fields(), *own_id, client.trusted);
    let mut wait = None;
    let mut line_end = None;
    let error = loop {
        match steps(worker, conn, head, client, request_id, side, record).await {
            Ok(answer) => {
                if let Some(admitted) = record.admitted.take() {
                    judge(worker, admitted, Ok(&answer));
                }
                return answer;
            }
            Err(Stop::Refused(error)) => break error,
            // Boxed, so that other requests need not carry its room along.
            Err(Stop::Held(held)) => match Box::pin(hold(worker, side, &mut wait, *held)).await {
                Ok(true) => {}
                Ok(false) => return Answer::Gone,
                Err(error) => break error,
            },
            Err(Stop::Full(upstream)) => {
                match Box::pin(queue(worker, side, record, &mut line_end, &upstream)).await {
                    Ok(true) => {}
                    Ok(false) => return Answer::Gone,
                    Err(error) => break error,
                }
            }
            Err(Stop::Starting) => {
                match Box::pin(first_table(worker, |cx| side.poll_gone(cx))).await {
                    Ok(true) => {}
                    Ok(false) => return Answer::Gone,
                    Err(error) => break error,
                }
            }
        }
    };
    if let Some(admitted) = record.admitted.take() {
        judge(worker, admitted, Err(&error));
    }
    // The client may take its time over the page.
    record.busy = None;
    record.queued = None;
    worker.metrics.count_error(error.kind());
    tracing::debug!(%error, %request_id);
    let table = worker.table();
    let detail = may_see_details(&table, head, client)
        .then(|| hints(&error, &table, &worker.engine.table.notes(), head));
    let mut page = page::error(
        &error,
        head.fields(),
        request_id,
        detail.as_deref(),
        &worker.engine.prefix,
    );
    let head = Head::read(conn.tls, head, client);
    if let Ok(head) = &head
        && let Ok(entry) = find_host(&table, head)
        && let Ok(route) = find_route(entry, head)
    {
        dress(&mut page, head, route);
    }
    Answer::Page(Box::new(page))
}

/// What a route's labels add to an answer of Wharf's own.
fn dress(page: &mut page::Page, head: &Head<'_>, route: &Route) {
    if let Some(hsts) = hsts(route).filter(|_| head.https) {
        page.headers_mut()
            .insert(header::STRICT_TRANSPORT_SECURITY, hsts);
    }
    if let Some(edits) = &route.response_edits {
        headers::edit_page(page, edits, &head.facts(head.path, head.rooted_target()));
    }
    if let Some(cors) = &route.cors {
        headers::allow_page(page, cors, head.request.fields());
    }
}

/// A browser's question whether a page may send a request, where it is Wharf's to answer. It shows nobody's login
/// or certificate and follows no redirect, so that no other rule of the route is asked.
pub(super) fn preflight<'a>(
    head: &Head<'a>,
    route: &Route,
) -> Result<Option<Preflight<'a>>, ProxyError> {
    let Some(cors) = &route.cors else {
        return Ok(None);
    };
    match Preflight::of(head.request) {
        Some(preflight) if !cors.admits(preflight.origin) => {
            let origin = String::from_utf8_lossy(preflight.origin);
            Err(ProxyError::Refused(filter::Refusal::Origin {
                origin: origin.chars().take(MAX_ORIGIN).collect(),
            }))
        }
        asked => Ok(asked),
    }
}

fn preflighted(head: &Head<'_>, route: &Route, preflight: Preflight<'_>) -> Answer {
    let mut page = page::empty(StatusCode::NO_CONTENT);
    dress(&mut page, head, route);
    if let Some(cors) = &route.cors {
        preflight.answer(&mut page, cors);
    }
    Answer::Page(Box::new(page))
}

/// What a route tells browsers of HTTPS.
fn hsts(route: &Route) -> Option<HeaderValue> {
    let (_, value) = route.hsts.as_deref()?.trim_end().split_once(": ")?;
    HeaderValue::from_str(value).ok()
}

async fn steps<C: ClientSide>(
    worker: &Rc<Worker>,
    conn: &ConnState,
    request: &RequestHead,
    client: Client,
    request_id: RequestId<'_>,
    side: &mut C,
    record: &mut Record,
) -> Result<Answer, Stop> {
    let table = worker.table(); // pinned for the whole request
    let head = Head::read(conn.tls, request, client)?;
    if let Some(token) = head.path.strip_prefix(ACME_PATH)
        // Boxed, so that other requests need not carry its room along.
        && let Some(answer) = Box::pin(challenge(worker, &head, token)).await
    {
        return Ok(answer);
    }
    if table.generation == 0 {
        return Err(Stop::Starting);
    }
    let entry = find_host(&table, &head)?;
    let route = find_route(entry, &head)?;
    let route = match entry.split(route) {
        None => route,
        Some(split) => share(split, &head),
    };
    if record.time.is_some() {
        record.route = Some(Arc::clone(route));
    }
    check_sni(conn, &table, &head, entry, route)?;
    if let Some(preflight) = preflight(&head, route)? {
        return Ok(preflighted(&head, route, preflight));
    }
    if let Some(to) = elsewhere(&table, &head, route) {
        if to.own_tls {
            Box::pin(certified(worker, &table, &head, entry)).await?;
        }
        return moved(&head, route, &to).map_err(Stop::from);
    }
    if let Some(port) = wants_tls(&table, &head, route)
        // Boxed, so that other requests need not carry its room along.
        && let Some(answer) = Box::pin(secure(worker, port, &head, &table, entry, route)).await?
    {
        return Ok(answer);
    }
    if entry.policy.is_some() || route.client.is_some() {
        check_policy(worker, conn, entry.policy.as_deref(), route)?;
    }
    let (websocket, login) = admit(entry, route, &head)?;
    let user = match login {
        Some(basic) => Some(log_in(basic, &head).await?),
        None => None,
    };
    if let Some(breaker) = &route.breaker {
        pass(worker, breaker, record)?;
    }
    let (target, prefix) = target(&head, route);
    let rewritten = rewritten(&head, route, target)?;
    let target = rewritten.as_deref().map_or(target, |target| [target, ""]);
    let facts = head.facts(head.path, head.rooted_target());
    let edited = route.request_edits.as_ref().map(|edits| {
        let mut lines = Vec::new();
        headers::write_edits(&mut lines, edits, request.fields(), &facts);
        Box::new(Edited { edits, lines })
    });
    let forward = Forward {
        worker,
        route,
        head: request,
        target,
        origin: Origin {
            peer: conn.peer.ip(),
            client: head.client.address,
            trusted: head.client.trusted,
            request_id,
            scheme: if head.https { "https" } else { "http" },
            authority: head.authority,
            port: port(&head),
            lines: (!head.client.trusted).then(|| conn.lines()),
            certificate: route.client.as_ref().map(|_| conn.certificate()),
            prefix,
            forwarded: route.forwarded,
            edited: edited.as_deref(),
            login: (route.filters.as_ref())
                .and_then(|filters| filters.basic.as_ref())
                .map(|basic| (basic, user.as_deref())),
        },
        facts,
        websocket,
    };
    match forward.send(side, record).await {
        Ok(answer) => Ok(answer),
        Err(Refusal::Final(error)) => Err(error.into()),
        Err(Refusal::ForNow(error)) => Err(Stop::held(error, route, None)),
        Err(Refusal::Full) => Err(Stop::Full(Arc::clone(&route.upstream))),
        Err(Refusal::Cut(error, endpoint)) => Err(Stop::held(error, route, Some(endpoint))),
    }
}

pub(super) fn find_host<'t>(
    table: &'t RouteTable,
    head: &Head<'_>,
) -> Result<&'t Arc<HostEntry>, ProxyError> {
    if table.generation == 0 {
        return Err(ProxyError::Starting);
    }
    let found = table.find_host(head.host.as_str());
    found.ok_or(ProxyError::NoHost)
}

pub(super) fn find_route<'t>(
    entry: &'t HostEntry,
    head: &Head<'_>,
) -> Result<&'t Arc<Route>, ProxyError> {
    let found = entry.find(head.path, |matcher, path| head.meets(matcher, path));
    found.map_err(|error| match error {
        NoMatch::Path => ProxyError::NoPath,
        NoMatch::Ambiguous => ProxyError::AmbiguousPath,
    })
}

/// Lets a request pass unless the route refuses it; whether it wants to become a WebSocket.
pub(super) fn admit<'t>(
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

/// Who asks, by name and password.
async fn log_in(basic: &Basic, head: &Head<'_>) -> Result<String, ProxyError> {
    let field = head.request.fields().get(Known::Authorization);
    let given = field.and_then(Basic::read);
    let who = match (basic.known(given.as_ref(), Instant::now()), given) {
        (Verdict::Known(who), _) => Some(who),
        // Boxed, so that other requests need not carry its room along.
        (Verdict::Ask, Some(given)) => match Box::pin(basic.verify(given)).await {
            Ok(who) => who,
            Err(Trouble::Busy) => return Err(ProxyError::Logins),
            Err(Trouble::Fault(fault)) => return Err(ProxyError::RouteFault((&*fault).into())),
        },
        (Verdict::Ask | Verdict::No, _) => None,
    };
    who.ok_or_else(|| ProxyError::Login {
        realm: basic.realm.clone(),
    })
}

/// The port of the TLS listener, where the request came without TLS and the route wants it.
pub(super) fn wants_tls(table: &RouteTable, head: &Head<'_>, route: &Route) -> Option<u16> {
    let plain = head.https || matches!(route.https, HttpsMode::Both | HttpsMode::Off);
    table.https_port.filter(|_| !plain)
}

/// Where a request is to come with TLS, and the status that says so.
pub(super) fn redirect(head: &Head<'_>, port: u16) -> (StatusCode, String) {
    let location = origin(HTTPS, head.host.as_str(), Some(port)) + head.rooted_target();
    (permanent(head), location)
}

/// Where a request is sent.
pub(super) struct Elsewhere {
    pub(super) status: StatusCode,
    pub(super) location: String,
    /// It is this host, over TLS, which the request did not use.
    own_tls: bool,
}

/// Where the route's labels send a request, and how. What has an error, or is for TLS alone, is refused
/// instead.
pub(super) fn elsewhere(table: &RouteTable, head: &Head<'_>, route: &Route) -> Option<Elsewhere> {
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

fn permanent(head: &Head<'_>) -> StatusCode {
    match head.request.method {
        Method::GET | Method::HEAD => StatusCode::MOVED_PERMANENTLY,
        _ => StatusCode::PERMANENT_REDIRECT,
    }
}

/// `https://a.test:8443`, without the port where it is the scheme's own.
fn origin(scheme: &str, host: &str, port: Option<u16>) -> String {
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
fn moved(head: &Head<'_>, route: &Route, to: &Elsewhere) -> Result<Answer, ProxyError> {
    let mut page = page::redirect(to.status, &to.location).ok_or(ProxyError::BadRequest(
        "the request target cannot be redirected",
    ))?;
    dress(&mut page, head, route);
    Ok(Answer::Page(Box::new(page)))
}

impl<'a> Head<'a> {
    /// Checks what the parsers do not (hardening must-haves 1, 2 and 3). `tls`: it came that way.
    pub(super) fn read(
        tls: bool,
        request: &'a RequestHead,
        client: Client,
    ) -> Result<Self, ProxyError> {
        let fields = request.fields();
        match request.method {
            Method::GET | Method::POST => {}
            Method::CONNECT => return Err(ProxyError::Method("CONNECT")),
            Method::TRACE => return Err(ProxyError::Method("TRACE")),
            _ if request.method.as_str().len() > MAX_METHOD => {
                return Err(ProxyError::BadRequest("the method is longer than 32 bytes"));
            }
            _ => {}
        }
        // HTTP/2 knows none (RFC 9113 section 8.2.2); on HTTP/1 the parser has looked at it.
        if request.version == Version::HTTP_2 && fields.has(Known::TransferEncoding) {
            return Err(ProxyError::BadRequest(
                "Transfer-Encoding has no place in HTTP/2",
            ));
        }
        let authority = request.authority().ok_or(ProxyError::BadRequest(
            "a request needs exactly one valid Host",
        ))?;
        let host = HostName::parse(authority).ok_or(ProxyError::BadRequest(
            "a request needs exactly one valid Host",
        ))?;
        let target = request.target();
        if target.len() > MAX_TARGET {
            return Err(ProxyError::TargetTooLong);
        }
        let path = match request.path(target) {
            "" => "/",
            "*" if request.method == Method::OPTIONS => "/",
            path if path.starts_with('/') => path,
            _ => return Err(ProxyError::BadRequest(TARGET_FORM)),
        };
        // `GET a.test` parses as CONNECT's form, an authority without a scheme.
        let connects = |uri: &Uri| uri.authority().is_some() && uri.scheme().is_none();
        if request.uri().is_some_and(connects) {
            return Err(ProxyError::BadRequest(TARGET_FORM));
        }
        check_connection(fields)?;
        // A trusted proxy knows better than we how the client came to it.
        let https = if client.trusted {
            let told = fields.get(Known::XForwardedProto);
            told.map_or(tls, |proto| proto.eq_ignore_ascii_case(b"https"))
        } else {
            tls
        };
        Ok(Self {
            request,
            authority,
            host,
            target,
            path,
            client,
            https,
        })
    }
}

impl Head<'_> {
    /// Whether the request, with its path in this form, meets a condition.
    fn meets(&self, matcher: &Matcher, path: &str) -> bool {
        let query = self.target.split_once('?').map_or("", |(_, query)| query);
        let asked = Asked {
            fields: self.request.fields(),
            authority: self.authority,
            method: &self.request.method,
            query,
            path,
            client: self.client.address,
        };
        headers::meets(asked, matcher)
    }

    /// The target, where that is a path; the root else.
    fn rooted_target(&self) -> &str {
        match self.target {
            target if target.starts_with('/') => target,
            _ => "/",
        }
    }

    /// What placeholders of labels stand for; `path` as seen, `uri` as written.
    fn facts<'a>(&'a self, path: &'a str, uri: &'a str) -> Facts<'a> {
        Facts {
            scheme: if self.https { "https" } else { "http" },
            host: self.host.as_str(),
            path,
            uri,
            client: self.client.address,
        }
    }

    /// The same with the path as patterns see it.
    pub(super) fn meets_as_seen(&self, matcher: &Matcher) -> bool {
        match matcher {
            Matcher::Path(_) => self.meets(matcher, &seen(self.path)),
            _ => self.meets(matcher, self.path),
        }
    }
}

/// Each name in `Connection` is compared with each field, so their number must stay small.
fn check_connection(fields: Fields<'_>) -> Result<(), ProxyError> {
    if !fields.has(Known::Connection) {
        return Ok(());
    }
    let values = fields.get_all(Known::Connection);
    if values.map(<[u8]>::len).sum::<usize>() > MAX_CONNECTION {
        return Err(ProxyError::BadRequest(
            "the Connection field is longer than 1 KiB",
        ));
    }
    Ok(())
}

/// HTTP-01: only a token that is pending right now for this very host, here or in another Wharf on the
/// same store; all others are the app's.
async fn challenge(worker: &Worker, head: &Head<'_>, token: &str) -> Option<Answer> {
    let (certs, host) = (&worker.engine.certs, head.host.as_str());
    if let Some(answer) = certs.current().challenge_answer(host, token) {
        return Some(Answer::Page(Box::new(page::text(answer))));
    }
    let answer = certs.told_answer(host, token).await?;
    Some(Answer::Page(Box::new(page::text(&answer))))
}

/// The service of several that gets the request.
fn share<'t>(split: &'t Split, head: &Head<'_>) -> &'t Arc<Route> {
    let fields = head.request.fields();
    split.choose(
        |matcher| head.meets_as_seen(matcher),
        |route| holder(route, fields).is_some(),
    )
}

/// A request may name another host than the handshake did only within one tenant (421 otherwise:
/// RFC 9110 section 15.5.20).
fn check_sni(
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

/// A host with rules of its own takes requests from connections that were made by them alone: not from
/// one that was made for another host, or before the rules were as they are. A trusted proxy's word
/// cannot stand for a client's certificate.
fn check_policy(
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
async fn secure(
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
    if head.path.strip_prefix(ACME_PATH).is_some_and(is_token) {
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
async fn certified(
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

/// RFC 8555 section 8.3: base64url, at least 128 bits.
fn is_token(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (22..=256).contains(&text.len()) && text.bytes().all(allowed)
}

/// The port the client used: what `Host` names, else the scheme's own. The listener's would be wrong
/// behind a published port.
fn port(head: &Head<'_>) -> u16 {
    let after_colon = head.authority.rsplit_once(':').map(|(_, port)| port);
    let named = after_colon.and_then(|port| port.parse().ok());
    named.unwrap_or(if head.https { 443 } else { 80 })
}

/// The target for the upstream, byte for byte but for a prefix that is taken off or put on, and the one that
/// is taken off.
fn target<'a>(head: &Head<'a>, route: &'a Route) -> ([&'a str; 2], Option<&'a str>) {
    let target = head.target;
    if target == "*" {
        return (["*", ""], None);
    }
    if let Some(stripped) = &route.stripped
        && let Some(rest) = behind(target, &stripped.prefix)
    {
        let base = match &*stripped.base {
            "" if !rest.starts_with('/') => "/",
            base => base,
        };
        return ([base, rest], stripped.told.as_deref());
    }
    // An absolute target may have a query and no path.
    let lead = if target.starts_with('/') { "" } else { "/" };
    ([lead, target], None)
}

/// What the app is asked for, where that is not what the client asks for.
pub(super) fn changed_target(head: &Head<'_>, route: &Route) -> Result<Option<String>, ProxyError> {
    let (target, _) = target(head, route);
    let rewritten = rewritten(head, route, target)?;
    let own = || route.changes_paths().then(|| target.concat());
    Ok(rewritten.or_else(own))
}

/// What the route's rules make of a target. A path with `..` in it is refused where paths change: what was put
/// in front could be climbed out of.
fn rewritten(
    head: &Head<'_>,
    route: &Route,
    target: [&str; 2],
) -> Result<Option<String>, ProxyError> {
    if !route.changes_paths() || target[0] == "*" {
        return Ok(None);
    }
    if climbs(head.path) {
        return Err(ProxyError::BadRequest(CLIMBS));
    }
    if route.rules.is_empty() {
        return Ok(None);
    }
    let uri = target.concat();
    let path = seen(uri.split('?').next().unwrap_or(&uri));
    let facts = head.facts(&path, &uri);
    Ok(route.rules.iter().find_map(|rule| {
        let found = rule.from.pattern().regex().captures(&path)?;
        Some(rule.to.fill(&facts, &found))
    }))
}

const HTTPS: &str = "https://";
const HTTP: &str = "http://";
const ACME_PATH: &str = "/.well-known/acme-challenge/";
const TARGET_FORM: &str = "a request target starts with `/`";
const CLIMBS: &str = "`..` has no place in the path: this route changes it for the app";
const MAX_CONNECTION: usize = 1024;
const MAX_METHOD: usize = 32;
/// Characters of an origin in a message.
const MAX_ORIGIN: usize = 200;
const MAX_TARGET: usize = 16 * 1024;
