//! Connections of clients, and what goes wrong with them in words.

use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Target;
use crate::support::peer::tls_config;

/// One HTTP/1 connection.
pub(super) type Http1 = http1::SendRequest<Full<Bytes>>;

/// An answer read to its end.
pub(super) struct Whole {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Whole {
    /// The status, and all of it in words.
    pub(super) fn bad(&self) -> Bad {
        let body = String::from_utf8_lossy(&self.body);
        let what = format!("{} {:?} {body}", self.status, self.headers);
        Bad {
            status: Some(self.status),
            what,
        }
    }
}

/// What went wrong.
pub(super) struct Bad {
    pub(super) status: Option<u16>,
    pub(super) what: String,
}

impl<T: Into<String>> From<T> for Bad {
    fn from(what: T) -> Self {
        Self {
            status: None,
            what: what.into(),
        }
    }
}

pub(super) async fn tcp(address: SocketAddr) -> Result<TcpStream, Bad> {
    let tcp = TcpStream::connect(address)
        .await
        .map_err(|e| chain("connect", &e))?;
    tcp.set_nodelay(true).map_err(|e| chain("connect", &e))?;
    Ok(tcp)
}

pub(super) async fn tls(target: &Target, h2: bool) -> Result<TlsStream<TcpStream>, Bad> {
    let tcp = tcp(target.https).await?;
    let mut config = rustls::ClientConfig::clone(&target.tls);
    if !h2 {
        config.alpn_protocols.clear();
    }
    let name = ServerName::try_from(target.host.to_string()).expect("a host name");
    let connector = TlsConnector::from(Arc::new(config));
    let tls = connector.connect(name, tcp).await;
    tls.map_err(|error| chain("TLS", &error).into())
}

pub(super) async fn http1(target: &Target) -> Result<Http1, Bad> {
    let io = TokioIo::new(tcp(target.http).await?);
    let (sender, connection) = http1::handshake(io)
        .await
        .map_err(|e| chain("handshake", &e))?;
    tokio::spawn(connection);
    Ok(sender)
}

/// Sends and waits for the head.
pub(super) async fn ask(
    sender: &mut Http1,
    request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>, Bad> {
    let answer = tokio::time::timeout(PATIENCE, sender.send_request(request)).await;
    let answer = answer.map_err(|_| format!("no head within {PATIENCE:?}"))?;
    answer.map_err(|error| chain("no answer", &error).into())
}

pub(super) async fn whole(response: Response<Incoming>) -> Result<Whole, Bad> {
    let (head, body) = response.into_parts();
    let body = tokio::time::timeout(PATIENCE, body.collect()).await;
    let body = body.map_err(|_| format!("no end of {head:?} within {PATIENCE:?}"))?;
    let body = body.map_err(|error| chain(&format!("{head:?}"), &error))?;
    Ok(Whole {
        status: head.status.as_u16(),
        headers: head.headers,
        body: body.to_bytes(),
    })
}

/// A client that trusts Wharf's own CA and speaks HTTP/2.
pub(super) fn h2_config(data: &Path) -> rustls::ClientConfig {
    let mut config = tls_config(data);
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

/// An error with its causes.
pub(super) fn chain(what: &str, error: &dyn Error) -> String {
    let mut text = format!("{what}: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

/// Longer than anything is held.
pub(super) const PATIENCE: Duration = Duration::from_secs(40);
