//! One client connection from accept to close: TLS, the protocol, deadlines, graceful end.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use rustls::server::Acceptor;
use rustls::{HandshakeKind, NamedGroup, ProtocolVersion, ServerConnection};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::buffers::LARGE;
use super::certificate::{self, Answered};
use super::counted::Counted;
use super::http1::Connection;
use super::linger::LAST_WORD;
use super::start::{FIRST_TABLE, first_table};
use super::state::{ConnState, Protocol, Ruled, Security};
use super::stream::ClientStream;
use super::worker::{Open, Worker};
use super::{http1, http2, proxied};
use crate::metrics::{KeyExchange, TlsVersion};
use crate::model::TlsMode;
use crate::tls::{ObtainError, Policy, Preference, client_lines};

/// Serves one connection of the plain listener. `open` counts it.
pub(crate) async fn serve_plain(
    worker: Rc<Worker>,
    mut stream: TcpStream,
    peer: SocketAddr,
    mut open: Open,
) {
    let Some(peer) = peer_of(&worker, &mut stream, peer, &mut open).await else {
        return;
    };
    let limit = worker.engine.header_timeout;
    // Boxed, as everything that is done with early: a connection keeps the room it ever needed.
    let first = Box::pin(worker.wait_for_client(limit, Duration::ZERO, speaks_http2(&stream)));
    let protocol = match first.await {
        Some(Ok(true)) => Protocol::Http2,
        Some(Ok(false)) => Protocol::Http1,
        _ => return,
    };
    let timer = worker.clock.timer();
    let state = ConnState::new(canonical(peer), None, timer, limit, protocol);
    serve(worker, ClientStream::Plain(stream), state, protocol).await;
}

/// Serves one connection of the TLS listener. `open` counts it.
pub(crate) async fn serve_tls(
    worker: Rc<Worker>,
    mut stream: TcpStream,
    peer: SocketAddr,
    mut open: Open,
) {
    let Some(peer) = peer_of(&worker, &mut stream, peer, &mut open).await else {
        return;
    };
    let Some((stream, security)) = Box::pin(accept_tls(&worker, stream, peer)).await else {
        return;
    };
    let protocol = match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => Protocol::Http2,
        _ => Protocol::Http1,
    };
    let timer = worker.clock.timer();
    let limit = worker.engine.header_timeout;
    let state = ConnState::new(canonical(peer), Some(security), timer, limit, protocol);
    serve(worker, ClientStream::Tls(stream), state, protocol).await;
}

/// Whose connection it is; `None` when it is to be closed.
async fn peer_of(
    worker: &Worker,
    stream: &mut TcpStream,
    peer: SocketAddr,
    open: &mut Open,
) -> Option<SocketAddr> {
    let named = proxied::peer_of(worker, stream, peer).await?;
    (named == peer || open.is_of(stream, named)).then_some(named)
}

/// The whole handshake; `None` when there is nothing to serve.
async fn accept_tls(worker: &Worker, stream: TcpStream, peer: SocketAddr) -> Option<Accepted> {
    let local = canonical(stream.local_addr().ok()?);
    // Waits for the first table and the first certificate included, which have limits of their own.
    let limit = HANDSHAKE_TIMEOUT + FIRST_TABLE + worker.engine.hold;
    let ends = (local, canonical(peer));
    let handshake = tokio::time::timeout(limit, handshake(worker, stream, ends));
    match handshake.await {
        Ok(Ok(Some(accepted))) => {
            worker.metrics.handshakes_ok.inc();
            let (version, exchange) = negotiated(accepted.0.get_ref().1);
            worker.metrics.sessions.count(version, exchange);
            return Some(accepted);
        }
        Ok(Ok(None)) => return None,
        Ok(Err(error)) => tracing::debug!(%peer, %error, "handshake failed"),
        Err(_) => tracing::debug!(%peer, "handshake took longer than {limit:?}"),
    }
    worker.metrics.handshakes_failed.inc();
    None
}

/// For metrics.
fn negotiated(tls: &ServerConnection) -> (TlsVersion, KeyExchange) {
    let version = match tls.protocol_version() {
        Some(ProtocolVersion::TLSv1_2) => TlsVersion::V12,
        _ => TlsVersion::V13,
    };
    if tls.handshake_kind() == Some(HandshakeKind::Resumed) {
        return (version, KeyExchange::Resumed);
    }
    let exchange = match tls
        .negotiated_key_exchange_group()
        .map(|group| group.name())
    {
        Some(NamedGroup::X25519MLKEM768) => KeyExchange::X25519MlKem768,
        Some(NamedGroup::X25519) => KeyExchange::X25519,
        Some(NamedGroup::secp256r1) => KeyExchange::P256,
        Some(NamedGroup::secp384r1) => KeyExchange::P384,
        _ => KeyExchange::Other,
    };
    (version, exchange)
}

/// A stream is more than a kilobyte, and every future it goes through would have room for it.
type Accepted = (Box<TlsStream<Counted>>, Security);

/// `ends`: ours and the client's. `Ok(None)`: the connection was for a challenge and is done.
async fn handshake(
    worker: &Worker,
    stream: TcpStream,
    ends: (SocketAddr, SocketAddr),
) -> io::Result<Option<Accepted>> {
    let hello = LazyConfigAcceptor::new(Acceptor::default(), Counted::new(stream));
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
        let certs = &worker.engine.certs;
        let mut config = certs.current().alpn_challenge(name).cloned();
        if config.is_none() {
            config = Box::pin(certs.told_alpn(name)).await;
        }
        return match config {
            Some(config) => {
                let mut stream = start.into_stream(config).await?;
                stream.shutdown().await?;
                Ok(None)
            }
            None => refuse(&mut start.io, Alert::UnrecognizedName, "no such challenge").await,
        };
    }
    match config(worker, sni.as_deref(), ends, preference).await {
        Ok((config, policy)) => {
            // All that is written at once becomes records, and one write to the socket.
            let finished = start.into_stream_with(config, |tls| {
                tls.set_buffer_limit(Some(TLS_BUFFER));
            });
            let stream = worker
                .wait_for_client(HANDSHAKE_TIMEOUT, LAST_WORD, finished)
                .await
                .ok_or_else(|| io::Error::other("the handshake was not finished in time"))??;
            let security = security(stream.get_ref().1, sni, policy);
            Ok(Some((Box::new(stream), security)))
        }
        Err((alert, cause)) => refuse(&mut start.io, alert, &cause).await,
    }
}

/// The config with the certificate for a name, waited for if it is the first request.
async fn config(
    worker: &Worker,
    sni: Option<&str>,
    (local, peer): (SocketAddr, SocketAddr),
    preference: Preference,
) -> Result<Answered, (Alert, String)> {
    if worker.table().generation == 0 {
        // It shows when the handshake goes on whether the client has left.
        let known = Box::pin(first_table(worker, |_| Poll::Pending)).await;
        known.map_err(|error| (Alert::InternalError, error.to_string()))?;
    }
    let table = worker.table();
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
    let known = certificate::known(&certs.current(), entry, name, preference);
    if let Some(known) = known {
        return Ok(known);
    }
    let obtained = Box::pin(certificate::obtain(certs, &table, entry, name, peer.ip())).await;
    let served = obtained.map_err(|error| {
        let alert = match error {
            ObtainError::Refused => Alert::UnrecognizedName,
            _ => Alert::InternalError,
        };
        (alert, format!("no certificate for {name}: {error}"))
    })?;
    let unusable = || {
        (
            Alert::InternalError,
            "the certificate cannot be used".into(),
        )
    };
    certificate::by_rules(&certs.current(), entry, &served, preference).ok_or_else(unusable)
}

fn security(
    tls: &ServerConnection,
    sni: Option<Box<str>>,
    policy: Option<Arc<Policy>>,
) -> Security {
    let ruled = policy.map(|policy| {
        let certificate = tls.peer_certificates().and_then(<[_]>::first);
        Box::new(Ruled {
            policy,
            certified: certificate.is_some(),
            lines: client_lines(certificate),
        })
    });
    Security {
        sni,
        ruled,
        tls13: tls.protocol_version() == Some(ProtocolVersion::TLSv1_3),
        cipher: tls.negotiated_cipher_suite().map(|suite| suite.suite()),
    }
}

/// TLS alert descriptions (RFC 8446 section 6).
#[derive(Debug, Clone, Copy)]
enum Alert {
    InternalError = 80,
    UnrecognizedName = 112,
}

/// rustls would say `access_denied`; the record is written by hand so that curl can show the cause.
async fn refuse<T>(stream: &mut Counted, alert: Alert, cause: &str) -> io::Result<T> {
    let record = [0x15, 3, 3, 0, 2, 2, alert as u8];
    stream.write_all(&record).await?;
    stream.shutdown().await?;
    Err(io::Error::other(cause.to_owned()))
}

/// Serves HTTP on a stream that is ready for it.
fn serve(
    worker: Rc<Worker>,
    stream: ClientStream,
    state: Rc<ConnState>,
    protocol: Protocol,
) -> Pin<Box<dyn Future<Output = ()>>> {
    match protocol {
        Protocol::Http1 => Box::pin(http1::serve(Connection::new(worker, stream, state))),
        Protocol::Http2 => Box::pin(http2::serve(worker, stream, state)),
    }
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

/// Bytes rustls takes before they must be written: a full buffer with what records add. More than one
/// buffer is never waiting, since the next is filled only when the last is gone.
const TLS_BUFFER: usize = LARGE + LARGE / 16;
/// Besides the wait for a first certificate.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
