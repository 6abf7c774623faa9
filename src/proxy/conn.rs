//! One client connection from accept to close: TLS, the protocol, deadlines, graceful end.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::clock::Clock;
use super::service;
use super::stream::StreamExecutor;
use super::wire::{ConnState, HEAD_TIMEOUT, Protocol, Wire};
use super::worker::Worker;
use crate::model::TlsMode;
use crate::tls::{Preference, Served};

/// Serves one connection of the plain listener.
pub(crate) async fn serve_plain(worker: Rc<Worker>, stream: TcpStream, peer: SocketAddr) {
    let protocol = match worker
        .wait_for_client(HEAD_TIMEOUT, Duration::ZERO, speaks_http2(&stream))
        .await
    {
        Some(Ok(true)) => Protocol::Http2,
        Some(Ok(false)) => Protocol::Http1,
        _ => return,
    };
    let timer = worker.clock.timer();
    let state = ConnState::new(canonical(peer), false, None, timer, protocol);
    serve(worker, stream, state, protocol).await;
}

/// Serves one connection of the TLS listener.
pub(crate) async fn serve_tls(worker: Rc<Worker>, stream: TcpStream, peer: SocketAddr) {
    let Ok(local) = stream.local_addr() else {
        return;
    };
    let local = canonical(local);
    // The whole handshake, a wait for the first certificate included, which has its own limit.
    let limit = HANDSHAKE_TIMEOUT + worker.engine.hold;
    // On the heap: a connection's task would have room for it to its end.
    let handshake = Box::pin(handshake(&worker, stream, local));
    let handshake = tokio::time::timeout(limit, handshake);
    let (stream, sni) = match handshake.await {
        Ok(Ok(Some(accepted))) => accepted,
        Ok(Ok(None)) => return,
        Ok(Err(error)) => {
            worker.metrics.handshakes_failed.inc();
            tracing::debug!(%peer, %error, "handshake failed");
            return;
        }
        Err(_) => {
            worker.metrics.handshakes_failed.inc();
            tracing::debug!(%peer, "handshake took longer than {limit:?}");
            return;
        }
    };
    worker.metrics.handshakes_ok.inc();
    let protocol = match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => Protocol::Http2,
        _ => Protocol::Http1,
    };
    let timer = worker.clock.timer();
    let state = ConnState::new(canonical(peer), true, sni, timer, protocol);
    serve(worker, stream, state, protocol).await;
}

/// A stream is more than a kilobyte, and every future it goes through would have room for it.
type Accepted = (Box<TlsStream<TcpStream>>, Option<Box<str>>);

/// `Ok(None)`: the connection was for a challenge and is done.
async fn handshake(
    worker: &Worker,
    stream: TcpStream,
    local: SocketAddr,
) -> io::Result<Option<Accepted>> {
    let hello = LazyConfigAcceptor::new(Acceptor::default(), stream);
    let mut start = worker
        .wait_for_client(HANDSHAKE_TIMEOUT, Duration::ZERO, hello)
        .await
        .ok_or_else(|| io::Error::other("no complete ClientHello in time"))??;
    let (sni, preference, challenge) = {
        let hello = start.client_hello();
        let sni = hello.server_name().map(canonical_name);
        let mut alpn = hello.alpn().into_iter().flatten();
        let acme = alpn.next() == Some(&b"acme-tls/1"[..]) && alpn.next().is_none();
        (sni, Preference::of(hello.cipher_suites()), acme)
    };
    if challenge {
        let name = sni.as_deref().unwrap_or("");
        let config = worker.engine.certs.current().alpn_challenge(name).cloned();
        return match config {
            Some(config) => {
                let mut stream = start.into_stream(config).await?;
                stream.shutdown().await?;
                Ok(None)
            }
            None => refuse(&mut start.io, Alert::UnrecognizedName, "no such challenge").await,
        };
    }
    match certificate(worker, sni.as_deref(), local).await {
        Ok(served) => {
            let finished = start.into_stream(served.config(preference));
            let stream = worker
                .wait_for_client(HANDSHAKE_TIMEOUT, LAST_WORD, finished)
                .await
                .ok_or_else(|| io::Error::other("the handshake was not finished in time"))??;
            Ok(Some((Box::new(stream), sni)))
        }
        Err((alert, cause)) => refuse(&mut start.io, alert, &cause).await,
    }
}

/// The certificate for a name, waited for if it is the first request.
async fn certificate(
    worker: &Worker,
    sni: Option<&str>,
    local: SocketAddr,
) -> Result<Arc<Served>, (Alert, String)> {
    let table = worker.table();
    if table.generation == 0 {
        return Err((
            Alert::InternalError,
            "the containers are not known yet".into(),
        ));
    }
    // Without a name the address stands for it: clients send none for IP literals.
    let address;
    let name = match sni {
        Some(name) => name,
        None => {
            address = local.ip().to_string();
            &address
        }
    };
    let unknown = || (Alert::UnrecognizedName, format!("no route for {name}"));
    let entry = table.find_host(name).ok_or_else(unknown)?;
    if entry.tls == TlsMode::Off {
        return Err((
            Alert::UnrecognizedName,
            format!("no route of {name} has TLS"),
        ));
    }
    let certs = &worker.engine.certs;
    let found = certs.current().find(&entry.pattern).cloned();
    match found {
        Some(served) => Ok(served),
        None => certs
            .obtain(&entry.pattern)
            .await
            .map_err(|error| (Alert::InternalError, format!("no certificate: {error}"))),
    }
}

/// TLS alert descriptions (RFC 8446 section 6).
#[derive(Debug, Clone, Copy)]
enum Alert {
    InternalError = 80,
    UnrecognizedName = 112,
}

/// rustls would say `access_denied`; the record is written by hand so that curl can show the cause.
async fn refuse<T>(stream: &mut TcpStream, alert: Alert, cause: &str) -> io::Result<T> {
    let record = [0x15, 3, 3, 0, 2, 2, alert as u8];
    stream.write_all(&record).await?;
    stream.shutdown().await?;
    Err(io::Error::other(cause.to_owned()))
}

/// Serves HTTP on a stream that is ready for it.
async fn serve<S>(worker: Rc<Worker>, stream: S, state: Rc<ConnState>, protocol: Protocol)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let wire = Wire::new(stream, Rc::clone(&state));
    let service = {
        let (worker, state) = (Rc::clone(&worker), Rc::clone(&state));
        service_fn(move |request: Request<Incoming>| {
            service::answer(Rc::clone(&worker), Rc::clone(&state), request)
        })
    };
    match protocol {
        Protocol::Http1 => {
            let mut conn = worker.http1.serve_connection(wire, service);
            let ended = drive(
                &worker,
                &state,
                &mut conn,
                http1::Connection::graceful_shutdown,
            );
            if ended.await {
                let parts = conn.into_parts();
                if let Some(tunnel) = state.take_tunnel() {
                    state.timer().disarm();
                    tunnel.run(parts.io.into_inner(), parts.read_buf).await;
                }
            }
        }
        Protocol::Http2 => {
            let mut conn = pin!(worker.http2.serve_connection(wire, service));
            drive_pinned(
                &worker,
                &state,
                conn.as_mut(),
                http2::Connection::graceful_shutdown,
            )
            .await;
        }
    }
    // A tunnel that never started still holds this connection's state.
    drop(state.take_tunnel());
}

async fn drive<C, E>(
    worker: &Worker,
    state: &ConnState,
    conn: &mut C,
    shutdown: fn(Pin<&mut C>),
) -> bool
where
    C: Future<Output = Result<(), E>> + Unpin,
    E: std::error::Error,
{
    drive_pinned(worker, state, Pin::new(conn), shutdown).await
}

/// Polls a connection until it ends (true), or until its deadline (false). Draining asks it once
/// to finish what is in flight.
async fn drive_pinned<C, E>(
    worker: &Worker,
    state: &ConnState,
    mut conn: Pin<&mut C>,
    shutdown: fn(Pin<&mut C>),
) -> bool
where
    C: Future<Output = Result<(), E>>,
    E: std::error::Error,
{
    let asked = Cell::new(false);
    let last_word = Cell::new(false);
    poll_fn(|cx: &mut Context<'_>| {
        loop {
            if worker.is_draining() && !asked.replace(true) {
                shutdown(conn.as_mut());
            }
            if let Poll::Ready(ended) = conn.as_mut().poll(cx) {
                if let Err(error) = &ended {
                    tracing::debug!(peer = %state.peer, %error, "connection ended");
                }
                return Poll::Ready(ended.is_ok());
            }
            // From here on only the client keeps it open.
            let over = asked.get() && state.is_quiet();
            if over && !last_word.get() {
                state.timer().arm(LAST_WORD);
            }
            last_word.set(over);
            if !state.timer().has_fired() {
                state.timer().wake_with(cx.waker());
                return Poll::Pending;
            }
            if !state.is_idle() || asked.replace(true) {
                return Poll::Ready(false);
            }
            // Idle for too long: HTTP/2 clients are told, so that a request on its way is not lost.
            shutdown(conn.as_mut());
        }
    })
    .await
}

/// hyper's HTTP/1 settings. Its own limit of 100 fields is the one we want, and cheaper when it is
/// not set.
pub(crate) fn http1() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .max_buf_size(BUFFER)
        // The buffer alone lets a head through that came in larger reads.
        .max_header_size(BUFFER)
        // A proxy does not invent a Date.
        .auto_date_header(false);
    builder
}

/// hyper's HTTP/2 settings.
pub(crate) fn http2(clock: &Rc<Clock>) -> http2::Builder<StreamExecutor> {
    let mut builder = http2::Builder::new(StreamExecutor(Rc::clone(clock)));
    builder
        .max_concurrent_streams(128)
        .max_header_list_size(32 * 1024)
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(100)
        .initial_stream_window_size(64 * 1024)
        .initial_connection_window_size(1024 * 1024)
        .max_send_buf_size(BUFFER)
        .auto_date_header(false);
    builder
}

/// Whether the client opens with HTTP/2's preface, without TLS (prior knowledge, RFC 9113 section
/// 3.3). Looks at the first bytes without taking them.
async fn speaks_http2(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0; 3];
    let seen = stream.peek(&mut first).await?;
    Ok(seen == 3 && first == *b"PRI")
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn canonical_name(name: &str) -> Box<str> {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.to_ascii_lowercase().into()
}

/// Besides the wait for a first certificate.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// hyper's buffers in each direction; a head that is larger is answered 431.
const BUFFER: usize = 64 * 1024;
/// A connection asked to end while nothing is under way on it goes after this at the latest.
const LAST_WORD: Duration = Duration::from_secs(2);
