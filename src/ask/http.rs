//! A GET for its status and the first words of its body, on a connection of its own.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, select};
use http::Request;
use http::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use crate::dial;
use crate::model::Address;

/// What was answered.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) status: u16,
    /// The beginning of the body, for the log: at most [`WORDS`] bytes, on one line.
    pub(super) words: String,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("no replica takes requests")]
    Nobody,
    #[error("looking up its name: {0}")]
    Name(io::Error),
    #[error("its name has no address")]
    NoAddress,
    #[error("connecting: {0}")]
    Connect(io::Error),
    #[error("TLS: {0}")]
    Tls(io::Error),
    #[error("HTTP: {0}")]
    Http(#[from] hyper::Error),
    #[error("the question cannot be put into HTTP")]
    Request,
    #[error("no answer within {0:?}")]
    Late(Duration),
}

/// Trusts the public roots.
pub(super) fn client() -> Result<Arc<ClientConfig>, rustls::Error> {
    let roots = rustls::RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Asks; the caller has a time limit. `tls`: the name the certificate is to be for.
pub(super) async fn get(
    addr: &Address,
    tls: Option<(ServerName<'static>, &Arc<ClientConfig>)>,
    authority: &str,
    target: &str,
) -> Result<Asked, Trouble> {
    let stream = dial::connect(addr).await.map_err(Trouble::Connect)?;
    let Some((name, config)) = tls else {
        return exchange(stream, authority, target).await;
    };
    let connector = TlsConnector::from(Arc::clone(config));
    let stream = connector
        .connect(name, stream)
        .await
        .map_err(Trouble::Tls)?;
    exchange(stream, authority, target).await
}

async fn exchange<S>(stream: S, authority: &str, target: &str) -> Result<Asked, Trouble>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(target)
        .header(HOST, authority)
        .header(USER_AGENT, AGENT)
        .header(ACCEPT, "*/*")
        .header(CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|_| Trouble::Request)?;
    let asked = async {
        let answer = sender.send_request(request).await?;
        let status = answer.status().as_u16();
        let words = match status {
            200 => String::new(),
            _ => words(answer.into_body()).await,
        };
        Ok(Asked { status, words })
    };
    // Both end with this future: nothing of a question outlives it.
    let connection = std::pin::pin!(connection);
    let asked = std::pin::pin!(asked);
    match select(asked, connection).await {
        Either::Left((asked, _)) => asked,
        // It has read all there is; what it has read is still to be looked at.
        Either::Right((Ok(()), asked)) => asked.await,
        Either::Right((Err(error), _)) => Err(error.into()),
    }
}

/// What comes at once and is text: what an app says of its reasons.
async fn words(mut body: Incoming) -> String {
    let mut read = Vec::new();
    let some = async {
        while read.len() < WORDS
            && let Some(Ok(frame)) = body.frame().await
        {
            read.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
        }
    };
    let _ = tokio::time::timeout(WORDS_LIMIT, some).await;
    read.truncate(WORDS);
    let text = String::from_utf8_lossy(&read);
    let line = text.split(|c: char| c.is_control()).map(str::trim);
    let line: Vec<&str> = line.filter(|part| !part.is_empty()).collect();
    line.join(" ")
}

const AGENT: &str = concat!("Wharf-Ask/", env!("CARGO_PKG_VERSION"));
const WORDS: usize = 256;
const WORDS_LIMIT: Duration = Duration::from_millis(250);
