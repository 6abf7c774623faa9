//! One request, step by step. The first refusal decides the answer.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::SystemTime;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Uri, Version, header};
use hyper::body::Incoming;

use super::body::{Body, Content, Never, Record, Tail};
use super::error::{self, ProxyError};
use super::forward::{self, Answer, Forward};
use super::headers::{self, HostName, Origin};
use super::page;
use super::stream::{self, Turn};
use super::wire::ConnState;
use super::worker::Worker;
use crate::model::{Host, HostPattern, HttpsMode};
use crate::route::{HostEntry, NoMatch, Route, RouteTable};

/// What a step sees of a request.
struct Head<'a> {
    parts: &'a Parts,
    authority: &'a str,
    host: HostName,
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
pub(crate) async fn answer(
    worker: Rc<Worker>,
    conn: Rc<ConnState>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Never> {
    let mut tail = Tail::begin(&worker, &conn);
    let (parts, body) = request.into_parts();
    match parts.version {
        Version::HTTP_2 => worker.metrics.requests_h2.inc(),
        _ => worker.metrics.requests_h1.inc(),
    }
    let client = Client::of(&worker, &conn, &parts);
    if worker.access.is_some() {
        tail.record = Some(record(&parts, client.address));
    }
    let answer = match steps(&worker, &conn, &parts, client, body, &mut tail).await {
        Ok(answer) => answer,
        Err(error) => {
            worker.metrics.count_error(error.kind());
            tracing::debug!(%error, request_id = format_args!("{:016x}", tail.request_id));
            let detail = may_see_details(&worker.table(), &parts, client);
            let page = page::error(&error, &parts.headers, tail.request_id, detail);
            Answer::Response(page.map(Content::Whole))
        }
    };
    Ok(finish(&worker, &conn, &parts.method, answer, tail))
}

async fn steps(
    worker: &Rc<Worker>,
    conn: &Rc<ConnState>,
    parts: &Parts,
    client: Client,
    body: Incoming,
    tail: &mut Tail,
) -> Result<Answer, ProxyError> {
    let table = worker.table(); // pinned for the whole request
    let head = Head::read(conn, parts, client)?;
    if let Some(answer) = challenge(worker, &head) {
        return Ok(answer);
    }
    if table.generation == 0 {
        return Err(ProxyError::Starting);
    }
    let entry = table
        .find_host(head.host.as_str())
        .ok_or(ProxyError::NoHost)?;
    let route = entry.find(head.path).map_err(|error| match error {
        NoMatch::Path => ProxyError::NoPath,
        NoMatch::Ambiguous => ProxyError::AmbiguousPath,
    })?;
    if let Some(record) = &mut tail.record {
        record.route = Some(route.key.clone());
    }
    check_sni(conn, &table, &head, entry, route)?;
    if !head.https
        && let Some(answer) = secure(worker, &table, &head, entry, route).await?
    {
        return Ok(answer);
    }
    if let Some(fault) = &route.fault {
        return Err(ProxyError::RouteFault(fault.clone()));
    }
    let websocket = headers::wants_websocket(&parts.method, parts.version, &parts.headers)
        && hyper::body::Body::is_end_stream(&body);
    if websocket && !route.websocket {
        return Err(ProxyError::WebSocketOff);
    }
    let (target, prefix) = target(&head, route);
    let forward = Forward {
        worker,
        conn,
        route,
        parts,
        target,
        origin: Origin {
            peer: conn.peer.ip(),
            client: head.client.address,
            trusted: head.client.trusted,
            scheme: if head.https { "https" } else { "http" },
            authority: head.authority,
            port: port(&head),
            prefix,
        },
        websocket,
    };
    forward.send(body, tail).await
}

impl<'a> Head<'a> {
    /// Checks what hyper does not (hardening must-haves 1, 2 and 3).
    fn read(conn: &ConnState, parts: &'a Parts, client: Client) -> Result<Self, ProxyError> {
        let uri = &parts.uri;
        match parts.method {
            Method::CONNECT => return Err(ProxyError::Method("CONNECT")),
            Method::TRACE => return Err(ProxyError::Method("TRACE")),
            _ if parts.method.as_str().len() > MAX_METHOD => {
                return Err(ProxyError::BadRequest("the method is longer than 32 bytes"));
            }
            _ => {}
        }
        check_coding(parts)?;
        let authority = headers::authority(uri, &parts.headers).ok_or(ProxyError::BadRequest(
            "a request needs exactly one valid Host",
        ))?;
        let host = HostName::parse(authority).ok_or(ProxyError::BadRequest(
            "a request needs exactly one valid Host",
        ))?;
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        if target.len() > MAX_TARGET {
            return Err(ProxyError::TargetTooLong);
        }
        let path = match uri.path() {
            "" => "/",
            "*" if parts.method == Method::OPTIONS => "/",
            path if path.starts_with('/') => path,
            _ => return Err(ProxyError::BadRequest(TARGET_FORM)),
        };
        // `GET a.test` parses as CONNECT's form, an authority without a scheme.
        if uri.authority().is_some() && uri.scheme().is_none() {
            return Err(ProxyError::BadRequest(TARGET_FORM));
        }
        check_connection(parts)?;
        // A trusted proxy knows better than we how the client came to it.
        let told = parts.headers.get(headers::X_FORWARDED_PROTO);
        let https = match told.filter(|_| client.trusted) {
            Some(proto) => proto.as_bytes().eq_ignore_ascii_case(b"https"),
            None => conn.tls,
        };
        Ok(Self {
            parts,
            authority,
            host,
            path,
            client,
            https,
        })
    }

    fn uri(&self) -> &'a Uri {
        &self.parts.uri
    }
}

/// `Transfer-Encoding` may be one thing only: `chunked`, once, on HTTP/1.1. A `Content-Length` beside
/// it never gets here: hyper drops it and closes the connection afterwards (RFC 9112 section 6.1).
fn check_coding(parts: &Parts) -> Result<(), ProxyError> {
    let mut codings = parts.headers.get_all(header::TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else {
        return Ok(());
    };
    let chunked = coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    if !chunked || codings.next().is_some() || parts.version != Version::HTTP_11 {
        return Err(ProxyError::BadRequest(
            "Transfer-Encoding may only be `chunked`",
        ));
    }
    Ok(())
}

impl Client {
    fn of(worker: &Worker, conn: &ConnState, parts: &Parts) -> Self {
        let peer = conn.peer.ip();
        let proxies = &worker.engine.trusted;
        let trusted = !proxies.is_empty() && proxies.contains(peer);
        let address = if trusted {
            headers::client_address(peer, &parts.headers, |address| proxies.contains(address))
        } else {
            peer
        };
        Self { address, trusted }
    }
}

/// Containers and addresses are named to clients on private networks only. A gateway of Wharf's own
/// container may stand for anybody (Docker's userland proxy), so it learns only of local names that
/// a route has; a proxy nobody vouched for learns nothing.
fn may_see_details(table: &RouteTable, parts: &Parts, client: Client) -> bool {
    let relayed = [header::VIA, header::FORWARDED, headers::X_FORWARDED_FOR];
    let local_name = || {
        headers::authority(&parts.uri, &parts.headers)
            .and_then(HostName::parse)
            .filter(|name| Host::parse(name.as_str()).is_ok_and(|host| host.is_local()))
            .and_then(|name| table.find_host(name.as_str()))
            .is_some_and(|entry| entry.pattern != HostPattern::Default)
    };
    error::is_private(client.address)
        && (client.trusted || !relayed.iter().any(|name| parts.headers.contains_key(name)))
        && (!table.gateways.contains(&client.address) || local_name())
}

/// Each name in `Connection` is compared with each field, so their number must stay small.
fn check_connection(parts: &Parts) -> Result<(), ProxyError> {
    let values = parts.headers.get_all(header::CONNECTION).iter();
    if values.map(|value| value.len()).sum::<usize>() > MAX_CONNECTION {
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
    Some(Answer::Response(page::text(answer).map(Content::Whole)))
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
    table: &RouteTable,
    head: &Head<'_>,
    entry: &HostEntry,
    route: &Route,
) -> Result<Option<Answer>, ProxyError> {
    let Some(port) = table.https_port else {
        return Ok(None);
    };
    match route.https {
        HttpsMode::Both | HttpsMode::Off => return Ok(None),
        HttpsMode::Only => return Err(ProxyError::HttpsOnly),
        HttpsMode::Redirect => {}
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
    let status = match head.parts.method {
        Method::GET | Method::HEAD => StatusCode::MOVED_PERMANENTLY,
        _ => StatusCode::PERMANENT_REDIRECT,
    };
    let host = head.host.as_str();
    let target = match head.uri().path_and_query() {
        Some(target) if target.as_str().starts_with('/') => target.as_str(),
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
    Ok(Some(Answer::Response(redirect.map(Content::Whole))))
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
    let uri = head.uri();
    if uri.path() == "*" {
        return (["*", ""], None);
    }
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
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

fn record(parts: &Parts, client: IpAddr) -> Box<Record> {
    let host = headers::authority(&parts.uri, &parts.headers).unwrap_or("");
    Box::new(Record {
        time: SystemTime::now(),
        client,
        host: host.to_owned(),
        method: parts.method.clone(),
        uri: parts.uri.clone(),
        version: parts.version,
        route: None,
        endpoint: None,
    })
}

fn finish(
    worker: &Worker,
    conn: &ConnState,
    method: &Method,
    answer: Answer,
    mut tail: Tail,
) -> Response<Body> {
    let metrics = &worker.metrics;
    match answer {
        Answer::Response(response) => {
            tail.status = response.status().as_u16();
            stream::turn(Turn::Handed);
            metrics.count_status(tail.status);
            metrics.request_seconds.observe(tail.started.elapsed());
            response.map(|content| {
                let content = match content {
                    Content::Whole(_) if method == Method::HEAD => Content::Whole(Bytes::new()),
                    content => content,
                };
                Body::new(content, tail)
            })
        }
        Answer::Switched(response, link) => {
            tail.status = response.status().as_u16();
            metrics.count_status(tail.status);
            forward::tunnel(conn, link, tail);
            response.map(|()| Body::without_tail())
        }
    }
}

const ACME_PATH: &str = "/.well-known/acme-challenge/";
const TARGET_FORM: &str = "a request target starts with `/`";
const MAX_CONNECTION: usize = 1024;
const MAX_METHOD: usize = 32;
const MAX_TARGET: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Balance, PathPrefix, Plan, RouteKey, RouteSpec, Settings};
    use crate::model::{UpstreamKey, UpstreamSpec};

    fn table(hosts: &[&str]) -> RouteTable {
        let upstream = UpstreamSpec {
            key: UpstreamKey("u".into()),
            endpoints: Vec::new(),
            balance: Balance::RoundRobin,
            unreachable: Vec::new(),
        };
        let patterns = hosts.iter().map(|host| HostPattern::parse(host).unwrap());
        let route = RouteSpec {
            key: RouteKey("r".into()),
            hosts: patterns.collect(),
            path: PathPrefix::parse("/").unwrap(),
            upstream: upstream.key.clone(),
            settings: Settings::default(),
            container: "c".into(),
            owner: "o".into(),
            fault: None,
        };
        let plan = Plan {
            routes: vec![route],
            upstreams: vec![upstream],
        };
        let mut table = crate::route::compile(&plan, &RouteTable::default());
        table.gateways.push([172, 18, 0, 1].into());
        table
    }

    fn sees(client: &str, host: &str, field: &str) -> bool {
        let table = table(&["a.example.com", "a.localhost", "default"]);
        let request = Request::get("/").header("host", host).header(field, "x");
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let (address, trusted) = match client.strip_prefix("trusted ") {
            Some(address) => (address, true),
            None => (client, false),
        };
        let address = address.parse().unwrap();
        may_see_details(&table, &parts, Client { address, trusted })
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
