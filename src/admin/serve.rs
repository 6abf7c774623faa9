//! The listener's side: a few fixed answers over HTTP/1.1.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::uri::Authority;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time;

use super::{CacheReport, Explanation, Forget, RouteLine, Status};
use crate::metrics;
use crate::model::{LabelPrefix, unescape};

/// Where the answers come from. Called on the control thread: quick, and not to block.
pub trait Source: Send + Sync {
    fn status(&self) -> Status;
    /// The table in the order in which routes are looked at.
    fn routes(&self) -> Vec<RouteLine>;
    /// Whether the containers have been read once.
    fn ready(&self) -> bool;
    /// What is the matter with the engine.
    fn trouble(&self) -> Option<String>;
    /// The text of `/metrics`.
    fn metrics(&self) -> String;
    /// The root of the built-in CA, as PEM.
    fn root(&self) -> String;
    /// What the cache holds and has done.
    fn cache(&self) -> CacheReport;
    /// Has the cache forget.
    fn purge(&self, what: Forget) -> Purging;
    /// What would become of a request; `query` is the one of the URL asked. `Err` is why that cannot be told.
    fn explain(&self, query: String) -> Explaining;
}

/// How many entries the cache has forgotten, or why that cannot be done.
pub type Purging = Pin<Box<dyn Future<Output = Result<u64, String>> + Send>>;

/// An answer that takes a moment.
pub type Explaining = Pin<Box<dyn Future<Output = Result<Explanation, String>> + Send>>;

/// Answers on `listener` until dropped, which ends its connections too.
///
/// Texts call labels by `prefix`.
pub async fn serve(listener: TcpListener, source: Arc<dyn Source>, prefix: LabelPrefix) {
    let prefix = Arc::new(prefix);
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= MAX_CONNECTIONS {
            connections.join_next().await;
        }
        tokio::select! {
            // Cancel safe, both: `accept` by its documentation, `join_next` likewise.
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let local = peer.ip().to_canonical().is_loopback();
                    let (source, prefix) = (Arc::clone(&source), Arc::clone(&prefix));
                    connections.spawn(connection(stream, local, source, prefix));
                }
                Err(fault) => {
                    // Out of descriptors most likely; trying at once would spin.
                    tracing::warn!("admin listener: cannot accept: {fault}");
                    time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One request, then close: scrapes are rare, and no idle connection holds a place.
async fn connection(
    stream: TcpStream,
    local: bool,
    source: Arc<dyn Source>,
    prefix: Arc<LabelPrefix>,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let (source, prefix) = (Arc::clone(&source), Arc::clone(&prefix));
        async move { Ok::<_, Infallible>(answer(&request, local, &*source, &prefix).await) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .max_buf_size(BUFFER)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match time::timeout(CONNECTION_LIMIT, serving).await {
        Ok(Ok(())) => {}
        Ok(Err(fault)) => tracing::debug!("admin connection: {fault}"),
        Err(_) => tracing::debug!("admin connection took longer than {CONNECTION_LIMIT:?}"),
    }
}

async fn answer<B>(
    request: &Request<B>,
    local: bool,
    source: &dyn Source,
    prefix: &LabelPrefix,
) -> Response<Full<Bytes>> {
    if !host_is_ours(request) {
        return plain(
            StatusCode::MISDIRECTED_REQUEST,
            "ask by address, localhost or a container's name\n",
        );
    }
    if *request.method() == Method::DELETE && request.uri().path() == "/cache" {
        return forget(request.uri().query().unwrap_or_default(), local, source).await;
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        let allow = HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(ALLOW, allow);
        return response;
    }
    match request.uri().path() {
        "/healthz" => plain(StatusCode::OK, "ok\n"),
        // What is known is served, however long the engine is away.
        "/readyz" if source.ready() => match source.trouble() {
            Some(trouble) => plain(StatusCode::OK, format!("ready\nDocker: {trouble}\n")),
            None => plain(StatusCode::OK, "ready\n"),
        },
        "/readyz" => plain(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{}\n", source.status().unready_reason()),
        ),
        "/status" => json(&source.status(), prefix),
        "/routes" => json(&source.routes(), prefix),
        "/cache" => json(&source.cache(), prefix),
        "/explain" => {
            let query = request.uri().query().unwrap_or_default().to_owned();
            match source.explain(query).await {
                Ok(explanation) => json(&explanation, prefix),
                Err(reason) => plain(StatusCode::BAD_REQUEST, format!("{reason}\n")),
            }
        }
        "/ca.crt" => reply(StatusCode::OK, "application/x-x509-ca-cert", source.root()),
        "/metrics" => reply(StatusCode::OK, metrics::CONTENT_TYPE, source.metrics()),
        "/" => plain(StatusCode::OK, INDEX),
        _ => plain(StatusCode::NOT_FOUND, "not found; see /\n"),
    }
}

/// Has the cache forget what a query names. It is for those on this machine or in this container, as `wharf cache
/// purge` is: whoever may read metrics need not be able to do that. No web page can send a DELETE to another origin
/// unasked.
async fn forget(query: &str, local: bool, source: &dyn Source) -> Response<Full<Bytes>> {
    if !local {
        let text = "only from this machine, or this container: `docker exec wharf wharf cache purge ...`\n";
        return plain(StatusCode::FORBIDDEN, text);
    }
    let what = match query.split_once('=') {
        Some(("what", what)) => match unescape(what).map(String::from_utf8) {
            Some(Ok(what)) if !what.is_empty() => Forget::of(&what),
            _ => {
                return plain(
                    StatusCode::BAD_REQUEST,
                    "what is to be forgotten is no text\n",
                );
            }
        },
        None if query == "all" => Forget::All,
        _ => return plain(StatusCode::BAD_REQUEST, "?what=URL, host or tag, or ?all\n"),
    };
    match source.purge(what).await {
        Ok(1) => plain(StatusCode::OK, "1 entry forgotten\n"),
        Ok(count) => plain(StatusCode::OK, format!("{count} entries forgotten\n")),
        Err(reason) => plain(StatusCode::NOT_FOUND, format!("{reason}\n")),
    }
}

/// Guards against DNS rebinding: a web page that points a name of its own at this address is sent
/// with that name as `Host`. Names such a page cannot have are let through: addresses, `localhost`,
/// names without a dot as containers call each other, and `.internal` (`host.docker.internal`),
/// which no public DNS serves. No `Host` at all means no browser.
fn host_is_ours<B>(request: &Request<B>) -> bool {
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = match (request.uri().authority(), hosts.next(), hosts.next()) {
        (Some(authority), _, _) => Some(authority.host().to_owned()),
        (None, None, _) => return true,
        (None, Some(value), None) => value
            .to_str()
            .ok()
            .and_then(|text| text.parse::<Authority>().ok())
            .map(|authority| authority.host().to_owned()),
        (None, Some(_), Some(_)) => None,
    };
    let Some(host) = host else {
        return false;
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let name = bare.trim_end_matches('.').to_ascii_lowercase();
    bare.parse::<IpAddr>().is_ok()
        || !name.is_empty() && !name.contains('.')
        || name.ends_with(".localhost")
        || name.ends_with(".internal")
}

fn json(value: &impl serde::Serialize, prefix: &LabelPrefix) -> Response<Full<Bytes>> {
    match serde_json::to_string(value) {
        Ok(json) => {
            let json = prefix.in_words(&json).into_owned();
            reply(StatusCode::OK, "application/json", json)
        }
        Err(fault) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{fault}\n")),
    }
}

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    reply(status, "text/plain; charset=utf-8", text)
}

fn reply(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Host names of others stand in these texts; nothing is to be sniffed as HTML.
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

const INDEX: &str = "\
Wharf
/healthz  200 while the process runs
/readyz   200 once the containers have been read
/status   containers, routes, upstreams, certificates, problems (JSON)
/routes   the table, in the order in which routes are looked at (JSON)
/explain  ?url=https://host/path: what would become of a request (JSON)
/cache    what is kept of apps' answers (JSON); DELETE ?what=URL, host or tag: forget it
/metrics  Prometheus
/ca.crt   root certificate of the built-in CA (PEM)
";
/// Later ones wait in the listen queue.
const MAX_CONNECTIONS: usize = 64;
const HEAD_LIMIT: Duration = Duration::from_secs(10);
/// From accept to the last byte: also bounds a reader that does not read.
const CONNECTION_LIMIT: Duration = Duration::from_secs(30);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const BUFFER: usize = 16 * 1024;
