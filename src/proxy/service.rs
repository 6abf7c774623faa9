//! One request, step by step. The first refusal decides the answer.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::{Method, StatusCode, Uri, Version};

use super::error::{self, ProxyError};
use super::exchange::Client as ClientSide;
use super::fields::{Fields, Known};
use super::forward::{Answer, Forward, Refusal, holder};
use super::head::RequestHead;
use super::headers::{self, HostName, Origin};
use super::hold::{Stop, hold};
use super::page;
use super::start::first_table;
use super::state::ConnState;
use super::tail::{Record, Tail};
use super::worker::Worker;
use crate::model::{Host, HostPattern, HttpsMode};
use crate::route::{HostEntry, NoMatch, Route, RouteTable, Split};

/// What a step sees of a request.
struct Head<'a> {
    request: &'a RequestHead,
    authority: &'a str,
    host: HostName<'a>,
    /// Path and query; see [`RequestHead::target`].
    target: &'a str,
    path: &'a str,
    client: Client,
    /// As the client used it, a trusted proxy's word included.
    https: bool,
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
struct Client {
    /// The peer, or the client a trusted proxy names.
    address: IpAddr,
    /// Whether the peer is a trusted proxy.
    trusted: bool,
}

/// Answers one request.
pub(crate) async fn answer<C: ClientSide>(tail: &mut Tail, side: &mut C) -> Answer {
    let Tail {
        worker,
        conn,
        head,
        request_id,
        record,
        ..
    } = tail;
    let client = Client::of(worker, conn, head.fields());
    record.client = Some(client.address);
    let mut wait = None;
    let error = loop {
        match steps(worker, conn, head, client, side, record).await {
            Ok(answer) => return answer,
            Err(Stop::Refused(error)) => break error,
            // Boxed, so that other requests need not carry its room along.
            Err(Stop::Held(held)) => match Box::pin(hold(worker, side, &mut wait, *held)).await {
                Ok(true) => {}
                Ok(false) => return Answer::Gone,
                Err(error) => break error,
            },
            Err(Stop::Starting) => {
                match Box::pin(first_table(worker, |cx| side.poll_gone(cx))).await {
                    Ok(true) => {}
                    Ok(false) => return Answer::Gone,
                    Err(error) => break error,
                }
            }
        }
    };
    worker.metrics.count_error(error.kind());
    tracing::debug!(%error, request_id = format_args!("{request_id:016x}"));
    let detail = may_see_details(&worker.table(), head, client);
    let page = page::error(&error, head.fields(), *request_id, detail);
    Answer::Page(Box::new(page))
}

async fn steps<C: ClientSide>(
    worker: &Rc<Worker>,
    conn: &ConnState,
    request: &RequestHead,
    client: Client,
    side: &mut C,
    record: &mut Record,
) -> Result<Answer, Stop> {
    let table = worker.table(); // pinned for the whole request
    let head = Head::read(conn, request, client)?;
    if let Some(answer) = challenge(worker, &head) {
        return Ok(answer);
    }
    if table.generation == 0 {
        return Err(Stop::Starting);
    }
    let entry = table
        .find_host(head.host.as_str())
        .ok_or(ProxyError::NoHost)?;
    let route = entry.find(head.path).map_err(|error| match error {
        NoMatch::Path => ProxyError::NoPath,
        NoMatch::Ambiguous => ProxyError::AmbiguousPath,
    })?;
    let route = match entry.split(route) {
        None => route,
        Some(split) => share(split, &head),
    };
    if record.time.is_some() {
        record.route = Some(Arc::clone(route));
    }
    check_sni(conn, &table, &head, entry, route)?;
    if !head.https
        && let Some(port) = table.https_port
        && !matches!(route.https, HttpsMode::Both | HttpsMode::Off)
        // Boxed, so that other requests need not carry its room along.
        && let Some(answer) = Box::pin(secure(worker, port, &head, entry, route)).await?
    {
        return Ok(answer);
    }
    if let Some(fault) = &route.fault {
        return Err(ProxyError::RouteFault(fault.clone()).into());
    }
    let websocket = headers::wants_websocket(request) && !request.has_body();
    if websocket && !route.websocket {
        return Err(ProxyError::WebSocketOff.into());
    }
    let (target, prefix) = target(&head, route);
    let forward = Forward {
        worker,
        route,
        head: request,
        target,
        origin: Origin {
            peer: conn.peer.ip(),
            client: head.client.address,
            trusted: head.client.trusted,
            scheme: if head.https { "https" } else { "http" },
            authority: head.authority,
            port: port(&head),
            lines: (!head.client.trusted).then(|| conn.lines()),
            prefix,
        },
        websocket,
    };
    match forward.send(side, record).await {
        Ok(answer) => Ok(answer),
        Err(Refusal::Final(error)) => Err(error.into()),
        Err(Refusal::ForNow(error)) => Err(Stop::held(error, route, None)),
        Err(Refusal::Cut(error, endpoint)) => Err(Stop::held(error, route, Some(endpoint))),
    }
}

impl<'a> Head<'a> {
    /// Checks what the parsers do not (hardening must-haves 1, 2 and 3).
    fn read(
        conn: &ConnState,
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
            told.map_or(conn.tls, |proto| proto.eq_ignore_ascii_case(b"https"))
        } else {
            conn.tls
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

impl Client {
    fn of(worker: &Worker, conn: &ConnState, fields: Fields<'_>) -> Self {
        let peer = conn.peer.ip();
        let proxies = &worker.engine.trusted;
        let trusted = !proxies.is_empty() && proxies.contains(peer);
        let address = if trusted {
            headers::client_address(peer, fields, |address| proxies.contains(address))
        } else {
            peer
        };
        Self { address, trusted }
    }
}

/// Containers and addresses are named to clients on private networks only. A gateway of Wharf's own
/// container may stand for anybody (Docker's userland proxy), so it learns only of local names that
/// a route has; a proxy nobody vouched for learns nothing.
fn may_see_details(table: &RouteTable, head: &RequestHead, client: Client) -> bool {
    let fields = head.fields();
    let relayed = [Known::Via, Known::Forwarded, Known::XForwardedFor];
    let local_name = || {
        head.authority()
            .and_then(HostName::parse)
            .filter(|name| Host::parse(name.as_str()).is_ok_and(|host| host.is_local()))
            .and_then(|name| table.find_host(name.as_str()))
            .is_some_and(|entry| entry.pattern != HostPattern::Default)
    };
    error::is_private(client.address)
        && (client.trusted || !relayed.iter().any(|name| fields.has(*name)))
        && (!table.gateways.contains(&client.address) || local_name())
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

/// HTTP-01: only a token that is pending right now for this very host; all others are the app's.
fn challenge(worker: &Worker, head: &Head<'_>) -> Option<Answer> {
    let token = head.path.strip_prefix(ACME_PATH)?;
    let index = worker.engine.certs.current();
    let answer = index.challenge_answer(head.host.as_str(), token)?;
    Some(Answer::Page(Box::new(page::text(answer))))
}

/// The service of several that gets the request.
fn share<'t>(split: &'t Split, head: &Head<'_>) -> &'t Arc<Route> {
    let fields = head.request.fields();
    split.choose(
        |matcher| headers::meets(fields, head.authority, matcher),
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

/// What plain HTTP gets where the route wants TLS: a redirect, once there is a certificate to
/// redirect to (product.md S20 and decision 3).
async fn secure(
    worker: &Worker,
    port: u16,
    head: &Head<'_>,
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
    let certs = &worker.engine.certs;
    if certs.current().find(&entry.pattern).is_none() {
        certs
            .obtain(&entry.pattern)
            .await
            .map_err(ProxyError::NoCertificate)?;
    }
    let status = match head.request.method {
        Method::GET | Method::HEAD => StatusCode::MOVED_PERMANENTLY,
        _ => StatusCode::PERMANENT_REDIRECT,
    };
    let host = head.host.as_str();
    let target = match head.target {
        target if target.starts_with('/') => target,
        _ => "/",
    };
    let literal = host.contains(':');
    let (open, close) = if literal { ("[", "]") } else { ("", "") };
    let location = match port {
        443 => format!("https://{open}{host}{close}{target}"),
        port => format!("https://{open}{host}{close}:{port}{target}"),
    };
    let redirect = page::redirect(status, &location).ok_or(ProxyError::BadRequest(
        "the request target cannot be redirected",
    ))?;
    Ok(Some(Answer::Page(Box::new(redirect))))
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

/// The target for the upstream, byte for byte but for a stripped prefix, and that prefix.
fn target<'a>(head: &Head<'a>, route: &'a Route) -> ([&'a str; 2], Option<&'a str>) {
    let target = head.target;
    if target == "*" {
        return (["*", ""], None);
    }
    // An absolute target may have a query and no path.
    let lead = if target.starts_with('/') { "" } else { "/" };
    if route.strip && !route.path.is_root() {
        let prefix = route.path.as_str();
        // The route matched, so the target starts with its prefix unless it was written encoded.
        if let Some(rest) = target.strip_prefix(prefix) {
            let lead = if rest.starts_with('/') { "" } else { "/" };
            return ([lead, rest], Some(prefix));
        }
    }
    ([lead, target], None)
}

const ACME_PATH: &str = "/.well-known/acme-challenge/";
const TARGET_FORM: &str = "a request target starts with `/`";
const MAX_CONNECTION: usize = 1024;
const MAX_METHOD: usize = 32;
const MAX_TARGET: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{PathPrefix, Plan, RouteKey, RouteSpec, Settings};
    use crate::model::{UpstreamKey, UpstreamSpec};
    use crate::upstream::Secret;

    fn table(hosts: &[&str]) -> RouteTable {
        let upstream = UpstreamSpec {
            key: UpstreamKey("u".into()),
            endpoints: Vec::new(),
            unreachable: Vec::new(),
            awaited: false,
        };
        let patterns = hosts.iter().map(|host| HostPattern::parse(host).unwrap());
        let route = RouteSpec {
            key: RouteKey("r".into()),
            hosts: patterns.collect(),
            path: PathPrefix::parse("/").unwrap(),
            upstream: upstream.key.clone(),
            settings: Settings::default(),
            container: "c".into(),
            service: "c".into(),
            owner: "o".into(),
            share: None,
            fault: None,
        };
        let plan = Plan {
            routes: vec![route],
            upstreams: vec![upstream],
            ..Plan::default()
        };
        let mut table = {
            let secret = Secret::new(&[0; 32]);
            let now = std::time::Instant::now();
            crate::route::compile(&plan, &RouteTable::default(), &secret, now)
        };
        table.gateways.push([172, 18, 0, 1].into());
        table
    }

    fn sees(client: &str, host: &str, field: &str) -> bool {
        let table = table(&["a.example.com", "a.localhost", "default"]);
        let request = RequestHead::get("/", &[("host", host), (field, "x")]);
        let (address, trusted) = match client.strip_prefix("trusted ") {
            Some(address) => (address, true),
            None => (client, false),
        };
        let address = address.parse().unwrap();
        may_see_details(&table, &request, Client { address, trusted })
    }

    #[test]
    fn a_gateway_of_our_own_may_be_anybody_and_sees_details_of_local_names_only() {
        for (client, host, expected) in [
            ("127.0.0.1", "a.example.com", true),
            ("172.18.0.9", "a.example.com", true),
            ("203.0.113.7", "a.localhost", false),
            ("172.18.0.1", "a.example.com", false),
            ("trusted 172.18.0.1", "a.example.com", false),
            ("172.18.0.1", "a.localhost", true),
            // Anybody can say a local name where every name has a route.
            ("172.18.0.1", "b.localhost", false),
            ("172.18.0.1", "10.0.0.1", false),
        ] {
            assert_eq!(sees(client, host, "x-other"), expected, "{client} {host}");
        }
    }

    #[test]
    fn a_proxy_nobody_vouched_for_sees_no_details() {
        for field in ["x-forwarded-for", "forwarded", "via"] {
            assert!(!sees("127.0.0.1", "a.localhost", field), "{field}");
            assert!(!sees("172.18.0.1", "a.localhost", field), "{field}");
            assert!(sees("trusted 10.0.0.1", "a.localhost", field), "{field}");
        }
    }
}
