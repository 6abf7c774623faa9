//! Asking the engine for a caller: one connection per call, so that an engine that was restarted is
//! found again by itself. Not the watcher's client, which cannot hand on an answer with its head.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio::time;

use crate::docker::engine::Address;

/// Why the engine gave no answer; the caller is told in these words.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error("the engine at {address} cannot be reached: {}", cause(.source))]
    Connect { address: Address, source: io::Error },
    #[error("the engine at {address} did not answer within {limit:?}")]
    Timeout { address: Address, limit: Duration },
    #[error("the engine at {address} broke off: {reason}")]
    Broken { address: Address, reason: String },
    /// More than [`MOST_BODY`].
    #[error("the engine at {address} answers with more than {} MiB", MOST_BODY >> 20)]
    TooLarge { address: Address },
}

/// An answer whose body is still to come.
pub(super) struct Answer {
    pub(super) response: Response<Incoming>,
    /// Ends the connection when dropped.
    pub(super) connection: Connection,
}

/// The task that drives a connection to the engine.
pub(super) struct Connection(JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Sends a request without body or fields of the caller's; cancel safe in that nothing stays behind.
pub(super) async fn ask(
    address: &Address,
    method: Method,
    target: &str,
) -> Result<Answer, AskError> {
    let asked = async {
        match address {
            Address::Unix(path) => {
                match time::timeout(CONNECT_LIMIT, UnixStream::connect(path)).await {
                    Ok(stream) => send(address, stream, method, target).await,
                    Err(_) => Err(timeout(address, CONNECT_LIMIT)),
                }
            }
            Address::Tcp(host) => match time::timeout(CONNECT_LIMIT, tcp(host)).await {
                Ok(stream) => send(address, stream, method, target).await,
                Err(_) => Err(timeout(address, CONNECT_LIMIT)),
            },
        }
    };
    let answer = time::timeout(ANSWER_LIMIT, asked).await;
    answer.unwrap_or_else(|_| Err(timeout(address, ANSWER_LIMIT)))
}

/// An event stream may be silent for days, so a peer that is gone is only found by asking for it.
async fn tcp(host: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(host).await?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE)
        .with_retries(2);
    SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    Ok(stream)
}

/// The whole body, up to [`MOST_BODY`].
pub(super) async fn whole(address: &Address, body: Incoming) -> Result<Bytes, AskError> {
    let read = Limited::new(body, MOST_BODY).collect();
    match time::timeout(ANSWER_LIMIT, read).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(AskError::TooLarge {
            address: address.clone(),
        }),
        Ok(Err(error)) => Err(AskError::Broken {
            address: address.clone(),
            reason: error.to_string(),
        }),
        Err(_) => Err(timeout(address, ANSWER_LIMIT)),
    }
}

async fn send<S>(
    address: &Address,
    stream: io::Result<S>,
    method: Method,
    target: &str,
) -> Result<Answer, AskError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let stream = stream.map_err(|source| AskError::Connect {
        address: address.clone(),
        source,
    })?;
    let broken = |error: &dyn std::error::Error| AskError::Broken {
        address: address.clone(),
        reason: error
            .source()
            .map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}")),
    };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broken(&error))?;
    let connection = Connection(tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection to the engine");
        }
    }));
    let request = Request::builder()
        .method(method)
        .uri(target)
        .header(HOST, "docker")
        .body(Empty::<Bytes>::new())
        .map_err(|error| broken(&error))?;
    let response = sender
        .send_request(request)
        .await
        .map_err(|error| broken(&error))?;
    Ok(Answer {
        response,
        connection,
    })
}

fn timeout(address: &Address, limit: Duration) -> AskError {
    AskError::Timeout {
        address: address.clone(),
        limit,
    }
}

/// With the remedy, where there is one.
fn cause(error: &io::Error) -> String {
    let remedy = match error.kind() {
        io::ErrorKind::NotFound => " (is the socket mounted here?)",
        io::ErrorKind::PermissionDenied => {
            " (this process needs the group of the socket: `stat -c %g` shows its number)"
        }
        io::ErrorKind::ConnectionRefused => {
            " (is the engine running? A mounted socket file is a leftover once the engine was restarted: \
             restart this container)"
        }
        _ => "",
    };
    format!("{error}{remedy}")
}

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Longer than Wharf waits: who asks decides. For the head and for the body.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// A peer that is gone is noticed after three times this.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// A list of ten thousand containers with long labels.
const MOST_BODY: usize = 64 << 20;
