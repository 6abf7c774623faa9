//! A small app to put behind Wharf, in HTTP/1.1 or HTTP/2: it tells what it received, and can misbehave on request.
//!
//! Run it with `cargo run --example whoami`, then `curl localhost:3000`. The build is static, so the
//! binary also runs in a `FROM scratch` image.
//!
//! | path             | answers |
//! |------------------|---------|
//! | `/` (any other)  | host name, addresses, request line and headers, as text |
//! | `/json`          | the same as JSON |
//! | `/bytes/N`       | N bytes with Content-Length; the byte at offset i is i mod 251 |
//! | `/upload`        | reads the body, answers `{"length":N,"sha256":"…"}` |
//! | `/ws`            | WebSocket echo |
//! | `/status/N`      | status N with a short body |
//! | `/answer/N?a=b` | status N with the fields that the query names, as `location=/x&set-cookie=c=d` |
//! | `/sleep/MS`      | 200 after MS milliseconds |
//! | `/drip/N`        | the bytes of `/bytes`, N thousand of them, a thousand every 20 ms |
//! | `/events`        | Server-Sent Events without an end, one every 50 ms, `id` and `data` counting from 1 |
//! | `/allocate/MB`   | on POST: takes that much more memory and keeps it |
//! | `/trailers`      | a chunked body followed by the trailer `x-checksum` (to clients with `TE: trailers`) |
//! | `/ask?domain=N`  | whether the name N may have a certificate: by its first letters `no`, `hang` (never), `fail` (500), else yes |
//! | `/asked`         | the names `/ask` was asked about so far, a line each |
//! | `/api/authz/forward-auth`, `/oauth2/auth`, `/outpost.goauthentik.io/auth/traefik` | whether a request gets in, as Authelia, oauth2-proxy and authentik say it; see `whoami/auth.rs` |
//! | `/questions`     | what these were asked, as JSON, the last first |
//! | `/health`        | 200 or `HEALTH`, or the status last sent with `POST /health` (the number as the body) |
//!
//! `PORT` (3000) is where it listens, on all addresses or on `ADDRESS`, and on `ALSO_PORT` where that is set; with `SOCKET` it
//! listens on a Unix socket at that path instead, in place of what is there. `NAME` is a word it repeats, `START_DELAY_MS` holds back the
//! listener. `whoami healthcheck` asks a running instance for `/health`: a HEALTHCHECK command for
//! images without a shell. SIGTERM ends it at once, or not at all with `IGNORE_TERM=1`;
//! with `TERM_DELAY_MS` it listens no more and ends after that time, its connections meanwhile served;
//! with `GRACEFUL=1` beside it, it closes those that are idle, finishes what it has on the others, and
//! ends when they have.
//!
//! With `TLS_PEM` (a certificate with its chain and its key, PEM in one) it speaks HTTPS, and tells which name it was
//! asked for, which protocol was agreed on, and whether the session is an earlier one.
//!
//! With `H2C=1`, or over TLS where the client offers HTTP/2, it speaks that: see `http2.rs` for what it answers then.
//!
//! Answers that last (`/ws`, `/drip`, `/events`) name the host in a field `x-hostname`.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::fs::Permissions;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt, stream};
use http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, SEC_WEBSOCKET_ACCEPT,
    SEC_WEBSOCKET_KEY, TRAILER, UPGRADE,
};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper_util::rt::TokioIo;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

// The same in HTTP/2.
#[path = "whoami/http2.rs"]
mod http2;

type Answer = Response<BoxBody<Bytes, Infallible>>;

fn main() -> std::io::Result<()> {
    let port = number("PORT").unwrap_or(3000);
    if std::env::args().nth(1).as_deref() == Some("healthcheck") {
        return healthcheck(port);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(port))
}

/// Where it listens.
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    async fn bind(port: u16) -> std::io::Result<Self> {
        if let Ok(path) = std::env::var("SOCKET") {
            let _ = std::fs::remove_file(&path);
            let listener = UnixListener::bind(&path)?;
            // Whoever is in front of it may run as somebody else.
            std::fs::set_permissions(&path, Permissions::from_mode(0o666))?;
            println!("listening on {path}");
            return Ok(Self::Unix(listener));
        }
        let address = std::env::var("ADDRESS").ok();
        let address = address.and_then(|text| text.parse::<IpAddr>().ok());
        // IPv6 wildcard takes both families; without IPv6 in the kernel, IPv4 alone.
        let wildcard = address.unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
        let listener = match TcpListener::bind((wildcard, port)).await {
            Ok(listener) => listener,
            Err(error) if address.is_some() => return Err(error),
            Err(_) => TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await?,
        };
        println!("listening on {}", listener.local_addr()?);
        Ok(Self::Tcp(listener))
    }

    /// A connection, where it is from (port 0 for a Unix socket), and the port it came to.
    async fn accept(&self) -> std::io::Result<(Box<dyn Io>, SocketAddr, Option<u16>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                let _ = stream.set_nodelay(true);
                let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                let port = stream.local_addr()?.port();
                Ok((Box::new(stream), peer, Some(port)))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Box::new(stream), SocketAddr::from(([0, 0, 0, 0], 0)), None))
            }
        }
    }
}

// Whether others get in.
#[path = "whoami/auth.rs"]
mod auth;

/// What the app knows about itself.
struct Me {
    hostname: String,
    name: String,
    health: AtomicU16,
    /// What `/allocate` has taken.
    ballast: Mutex<Vec<Vec<u8>>>,
    /// What `/ask` was asked about.
    asked: Mutex<String>,
    questions: auth::Questions,
}

async fn serve(port: u16) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let me = Arc::new(Me {
        hostname: read("/proc/sys/kernel/hostname").trim().to_owned(),
        name: std::env::var("NAME").unwrap_or_default(),
        health: AtomicU16::new(number("HEALTH").unwrap_or(200)),
        ballast: Mutex::default(),
        asked: Mutex::default(),
        questions: auth::Questions::default(),
    });
    // Every connection has a receiver: the sender sees when they are gone.
    let (stopping, stop) = watch::channel(false);
    let tls = tls()?;
    let accept = async {
        if let Some(delay) = number("START_DELAY_MS") {
            tokio::time::sleep(Duration::from_millis(delay.into())).await;
        }
        let listener = Listener::bind(port).await?;
        let also = match number("ALSO_PORT") {
            Some(port) => {
                let also = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await?;
                Some(Listener::Tcp(also))
            }
            None => None,
        };
        loop {
            // A client that left before it was accepted must not end the app.
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                accepted = async { also.as_ref().expect("asked").accept().await },
                    if also.is_some() => accepted,
            };
            let Ok((stream, peer, local)) = accepted else {
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            };
            let port = local.unwrap_or(port);
            let (me, mut stop, tls) = (me.clone(), stop.clone(), tls.clone());
            tokio::spawn(async move {
                let (stream, session): (Box<dyn Io>, _) = match tls {
                    None => (stream, None),
                    // A client that does not believe us leaves.
                    Some(tls) => match tls.accept(stream).await {
                        Err(_) => return,
                        Ok(stream) => {
                            let session = Session::of(stream.get_ref().1);
                            (Box::new(stream), Some(session))
                        }
                    },
                };
                let client = Arc::new(Client {
                    peer,
                    port,
                    session,
                });
                let agreed = client.session.as_ref().and_then(|one| one.alpn.as_deref());
                let clear = client.session.is_none() && number("H2C") == Some(1);
                if clear || agreed == Some("h2") {
                    let serving = http2::serve(me, client, stream);
                    return tokio::select! {
                        () = serving => {}
                        _ = stop.wait_for(|stop| *stop) => {}
                    };
                }
                let service = hyper::service::service_fn(move |request| {
                    let (me, client) = (me.clone(), client.clone());
                    async move { Ok::<_, Infallible>(answer(&me, request, &client).await) }
                });
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .with_upgrades();
                let mut connection = pin!(connection);
                // A client that leaves early is no concern of a sample app.
                tokio::select! {
                    _ = connection.as_mut() => return,
                    _ = stop.wait_for(|stop| *stop) => {}
                }
                connection.as_mut().graceful_shutdown();
                let _ = connection.await;
            });
        }
    };
    tokio::select! {
        ended = accept => return ended,
        _ = terminate.recv(), if number("IGNORE_TERM") != Some(1) => {}
    }
    // The listener is gone with its future.
    if let Some(delay) = number("TERM_DELAY_MS") {
        let delay = tokio::time::sleep(Duration::from_millis(delay.into()));
        if number("GRACEFUL") == Some(1) {
            stopping.send_replace(true);
            drop(stop);
            tokio::select! {
                () = stopping.closed() => {}
                () = delay => {}
            }
        } else {
            delay.await;
        }
    }
    Ok(())
}

/// Who asks, and how.
struct Client {
    peer: SocketAddr,
    /// Of ours that it came to.
    port: u16,
    session: Option<Session>,
}

/// What a TLS handshake came to.
#[derive(Clone, serde::Serialize)]
struct Session {
    sni: Option<String>,
    alpn: Option<String>,
    resumed: bool,
}

impl Session {
    fn of(connection: &rustls::ServerConnection) -> Self {
        let alpn = connection.alpn_protocol();
        Self {
            sni: connection.server_name().map(str::to_owned),
            alpn: alpn.map(|alpn| String::from_utf8_lossy(alpn).into_owned()),
            resumed: connection.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
        }
    }
}

/// A connection, plain or encrypted.
trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// By `TLS_PEM`; sessions can be resumed.
fn tls() -> std::io::Result<Option<TlsAcceptor>> {
    let Ok(pem) = std::env::var("TLS_PEM") else {
        return Ok(None);
    };
    let chain = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>();
    let chain = chain.map_err(std::io::Error::other)?;
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(std::io::Error::other)?;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(std::io::Error::other)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
}

async fn answer(me: &Me, request: Request<Incoming>, client: &Client) -> Answer {
    let path = request.uri().path().to_owned();
    if let Some(answer) = me.questions.answer(&request) {
        return answer;
    }
    let (first, rest) = path[1.min(path.len())..]
        .split_once('/')
        .unwrap_or_else(|| (path.trim_start_matches('/'), ""));
    let count = rest.parse::<u64>();
    match (first, count) {
        ("json", _) => json(StatusCode::OK, seen(me, &request, client)),
        ("bytes", Ok(count)) => Response::new(Pattern::new(count).boxed()),
        ("upload", _) => upload(request).await,
        ("ws", _) => with_host(me, websocket(request)),
        ("status", Ok(code)) => match u16::try_from(code).map(StatusCode::from_u16) {
            Ok(Ok(status)) if !status.is_informational() => text(status, format!("{status}\n")),
            _ => text(StatusCode::BAD_REQUEST, "not a final status\n"),
        },
        ("answer", Ok(code)) => told(code, request.uri().query().unwrap_or("")),
        ("sleep", Ok(millis)) => {
            // Left unread, a body could cost the connection its next request.
            let _ = request.into_body().collect().await;
            tokio::time::sleep(Duration::from_millis(millis)).await;
            text(StatusCode::OK, format!("slept {millis} ms\n"))
        }
        ("drip", Ok(count)) => with_host(me, drip(count)),
        ("events", _) => with_host(me, events()),
        ("allocate", Ok(count)) if request.method() == Method::POST => allocate(me, count),
        ("ask", _) => ask(me, request.uri().query().unwrap_or_default()).await,
        ("asked", _) => text(StatusCode::OK, asked(me).clone()),
        ("trailers", _) => trailers(),
        ("health", _) => health(me, request).await,
        _ => text(StatusCode::OK, describe(&seen(me, &request, client))),
    }
}

/// The facts that `/` prints and `/json` serializes.
#[derive(serde::Serialize)]
struct Seen {
    hostname: String,
    name: String,
    addresses: Vec<String>,
    remote: String,
    /// Port the request came to.
    port: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<Session>,
    method: String,
    uri: String,
    version: String,
    /// Lower-case names; several values of one name in the order received.
    headers: BTreeMap<String, Vec<String>>,
}

fn seen<B>(me: &Me, request: &Request<B>, client: &Client) -> Seen {
    let mut headers = BTreeMap::<_, Vec<_>>::new();
    for (name, value) in request.headers() {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        headers
            .entry(name.as_str().to_owned())
            .or_default()
            .push(value);
    }
    Seen {
        hostname: me.hostname.clone(),
        name: me.name.clone(),
        addresses: addresses(&read("/proc/net/fib_trie"), &read("/proc/net/if_inet6")),
        remote: client.peer.to_string(),
        port: client.port,
        tls: client.session.clone(),
        method: request.method().to_string(),
        uri: request.uri().to_string(),
        version: format!("{:?}", request.version()),
        headers,
    }
}

fn describe(seen: &Seen) -> String {
    let mut out = format!("Hostname: {}\n", seen.hostname);
    if !seen.name.is_empty() {
        let _ = writeln!(out, "Name: {}", seen.name);
    }
    for address in &seen.addresses {
        let _ = writeln!(out, "Address: {address}");
    }
    let _ = writeln!(out, "Remote: {}", seen.remote);
    if let Some(tls) = &seen.tls {
        let name = tls.sni.as_deref().unwrap_or("no name");
        let _ = writeln!(out, "TLS: {name}");
    }
    let _ = writeln!(out, "{} {} {}", seen.method, seen.uri, seen.version);
    for (name, values) in &seen.headers {
        for value in values {
            let _ = writeln!(out, "{name}: {value}");
        }
    }
    out
}

/// An answer with the fields of a query.
fn told(code: u64, query: &str) -> Answer {
    let status = u16::try_from(code).map(StatusCode::from_u16);
    let Ok(Ok(status)) = status else {
        return text(StatusCode::BAD_REQUEST, "no status\n");
    };
    let mut answer = text(status, format!("{status}\n"));
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = http::HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value)) {
            answer.headers_mut().append(name, value);
        }
    }
    answer
}

async fn upload(request: Request<Incoming>) -> Answer {
    let mut hash = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    let mut length = 0;
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return text(StatusCode::BAD_REQUEST, "the body ended early\n");
        };
        if let Some(data) = frame.data_ref() {
            hash.update(data);
            length += data.len();
        }
    }
    let sha256 = hash
        .finish()
        .as_ref()
        .iter()
        .fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
    let answer = serde_json::json!({ "length": length, "sha256": sha256 });
    json(StatusCode::OK, answer)
}

fn websocket(mut request: Request<Incoming>) -> Answer {
    let Some(key) = request.headers().get(SEC_WEBSOCKET_KEY) else {
        return text(StatusCode::UPGRADE_REQUIRED, "a WebSocket client, please\n");
    };
    let accept = derive_accept_key(key.as_bytes());
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(stream) = upgrade.await else { return };
        let stream = TokioIo::new(stream);
        let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
        while let Some(Ok(message)) = socket.next().await {
            let echo = message.is_text() || message.is_binary();
            // Reading answers pings and closes by itself.
            if echo && socket.send(message).await.is_err() {
                return;
            }
        }
    });
    let mut answer = text(StatusCode::SWITCHING_PROTOCOLS, "");
    let headers = answer.headers_mut();
    headers.remove(CONTENT_TYPE);
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::from_str(&accept) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    answer
}

fn drip(count: u64) -> Answer {
    let pieces = stream::unfold(
        (Pattern::new(count * 1000), 0),
        move |(mut all, sent)| async move {
            if sent == count {
                return None;
            }
            tokio::time::sleep(DRIP).await;
            let piece = all.take(1000);
            Some((Ok(Frame::data(piece)), (all, sent + 1)))
        },
    );
    let mut answer = Response::new(BoxBody::new(StreamBody::new(pieces)));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_LENGTH, HeaderValue::from(count * 1000));
    answer
}

fn events() -> Answer {
    let events = stream::unfold(1_u64, |id| async move {
        tokio::time::sleep(EVENT).await;
        let event = format!("id: {id}\ndata: {id}\n\n");
        Some((Ok(Frame::data(Bytes::from(event))), id + 1))
    });
    let mut answer = Response::new(BoxBody::new(StreamBody::new(events)));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    answer
}

/// Between two pieces of `/drip`.
const DRIP: Duration = Duration::from_millis(20);
/// Between two of `/events`.
const EVENT: Duration = Duration::from_millis(50);

fn allocate(me: &Me, mebibytes: u64) -> Answer {
    for _ in 0..mebibytes {
        // Written to, or the kernel would not give it.
        let Ok(mut ballast) = me.ballast.lock() else {
            break;
        };
        ballast.push(vec![1; 1 << 20]);
    }
    text(StatusCode::OK, format!("took {mebibytes} MiB\n"))
}

/// What `wharf.tls.ask` asks.
async fn ask(me: &Me, query: &str) -> Answer {
    let Some(name) = query.strip_prefix("domain=") else {
        return text(StatusCode::BAD_REQUEST, "which domain?\n");
    };
    {
        let mut asked = asked(me);
        asked.push_str(name);
        asked.push('\n');
    }
    match name {
        _ if name.starts_with("no") => text(StatusCode::NOT_FOUND, "no such customer\n"),
        _ if name.starts_with("fail") => text(StatusCode::INTERNAL_SERVER_ERROR, "no database\n"),
        _ if name.starts_with("hang") => std::future::pending().await,
        _ => text(StatusCode::OK, "yes\n"),
    }
}

fn asked(me: &Me) -> MutexGuard<'_, String> {
    me.asked.lock().unwrap_or_else(PoisonError::into_inner)
}

fn with_host(me: &Me, mut answer: Answer) -> Answer {
    if let Ok(name) = HeaderValue::from_str(&me.hostname) {
        answer.headers_mut().insert("x-hostname", name);
    }
    answer
}

fn trailers() -> Answer {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-checksum", HeaderValue::from_static("cafe"));
    // A stream has no known length, so HTTP/1.1 sends it chunked: only that has room for trailers.
    let frames = stream::iter([
        Ok(Frame::data(Bytes::from_static(b"the trailer follows\n"))),
        Ok(Frame::trailers(trailers)),
    ]);
    let mut answer = Response::new(BoxBody::new(StreamBody::new(frames)));
    let headers = answer.headers_mut();
    headers.insert(TRAILER, HeaderValue::from_static("x-checksum"));
    answer
}

async fn health(me: &Me, request: Request<Incoming>) -> Answer {
    if request.method() == Method::POST {
        let body = request.into_body().collect().await.map(|b| b.to_bytes());
        let status = body
            .ok()
            .and_then(|body| StatusCode::from_bytes(body.trim_ascii()).ok());
        let Some(status) = status else {
            return text(StatusCode::BAD_REQUEST, "send a status number\n");
        };
        me.health.store(status.as_u16(), Ordering::Relaxed);
    }
    let status = StatusCode::from_u16(me.health.load(Ordering::Relaxed)).unwrap_or_default();
    text(status, format!("{status}\n"))
}

/// Asks the instance on `port` for `/health`; an error is exit code 1.
fn healthcheck(port: u16) -> std::io::Result<()> {
    let mut stream = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    match &head {
        b"HTTP/1.1 200" => Ok(()),
        _ => Err(std::io::Error::other("unhealthy")),
    }
}

/// A body whose byte at offset i is i mod 251: cuts, shifts and repeats all show.
struct Pattern {
    left: u64,
    /// Offset modulo [`PERIOD`].
    phase: usize,
    /// Long enough to take [`CHUNK`] bytes at any phase.
    source: Bytes,
}

impl Pattern {
    fn new(length: u64) -> Self {
        Self {
            left: length,
            phase: 0,
            source: (0..CHUNK + PERIOD).map(|i| (i % PERIOD) as u8).collect(),
        }
    }
}

impl Pattern {
    /// The next bytes; at most [`CHUNK`] and what is left.
    fn take(&mut self, most: usize) -> Bytes {
        let most = most.min(CHUNK);
        let length = usize::try_from(self.left).map_or(most, |left| left.min(most));
        let chunk = self.source.slice(self.phase..self.phase + length);
        self.phase = (self.phase + length) % PERIOD;
        self.left -= length as u64;
        chunk
    }

    fn pieces(mut self) -> impl Iterator<Item = Bytes> {
        std::iter::from_fn(move || (self.left > 0).then(|| self.take(CHUNK)))
    }
}

impl Body for Pattern {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(Ok(Frame::data(self.take(CHUNK)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

const PERIOD: usize = 251;
const CHUNK: usize = 32 * 1024;

fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    respond(status, "text/plain; charset=utf-8", body.into())
}

fn json(status: StatusCode, body: impl serde::Serialize) -> Answer {
    let body = serde_json::to_vec(&body).unwrap_or_default();
    respond(status, "application/json", body.into())
}

fn respond(status: StatusCode, kind: &'static str, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body).boxed());
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

/// Own addresses without loopback: `32 host LOCAL` leaves of `/proc/net/fib_trie`, and `if_inet6`.
fn addresses(fib_trie: &str, if_inet6: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut leaf = "";
    for line in fib_trie.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address;
        } else if line == "/32 host LOCAL" && !leaf.starts_with("127.") {
            found.push(leaf.to_owned());
        }
    }
    let v6 = if_inet6
        .lines()
        .filter_map(|line| u128::from_str_radix(line.split(' ').next()?, 16).ok())
        .map(Ipv6Addr::from)
        .filter(|address| !address.is_loopback() && !address.is_unicast_link_local());
    found.extend(v6.map(|address| address.to_string()));
    // The main and the local table repeat each address.
    found.sort();
    found.dedup();
    found
}

fn number(variable: &str) -> Option<u16> {
    std::env::var(variable).ok()?.parse().ok()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}
