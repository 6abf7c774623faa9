//! Asking a running Wharf, for the command line.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::time;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("no Wharf answers on {address} (is it running, with its admin listener there?)")]
    Connect {
        address: SocketAddr,
        #[source]
        source: hyper_util::client::legacy::Error,
    },
    #[error("asking {address} for {path}")]
    Request {
        address: SocketAddr,
        path: String,
        #[source]
        source: hyper_util::client::legacy::Error,
    },
    #[error("reading {path} from {address}: {reason}")]
    Body {
        address: SocketAddr,
        path: String,
        reason: String,
    },
    #[error("{address} did not answer {path} in time")]
    Timeout { address: SocketAddr, path: String },
}

/// GETs `path`, which starts with `/`, from the admin listener on `address`.
pub async fn fetch(address: SocketAddr, path: &str) -> Result<(StatusCode, Bytes), FetchError> {
    asked(address, Method::GET, path, FETCH_LIMIT).await
}

/// The same with DELETE, which may take a while: a disk is waited for.
pub async fn delete(address: SocketAddr, path: &str) -> Result<(StatusCode, Bytes), FetchError> {
    asked(address, Method::DELETE, path, DELETE_LIMIT).await
}

async fn asked(
    address: SocketAddr,
    method: Method,
    path: &str,
    limit: Duration,
) -> Result<(StatusCode, Bytes), FetchError> {
    time::timeout(limit, ask(address, method, path))
        .await
        .unwrap_or_else(|_| {
            Err(FetchError::Timeout {
                address,
                path: path.to_owned(),
            })
        })
}

async fn ask(
    address: SocketAddr,
    method: Method,
    path: &str,
) -> Result<(StatusCode, Bytes), FetchError> {
    let body_fault = |reason: String| FetchError::Body {
        address,
        path: path.to_owned(),
        reason,
    };
    let request = Request::builder()
        .method(method)
        .uri(format!("http://{address}{path}"))
        .body(Empty::<Bytes>::new())
        .map_err(|fault| body_fault(fault.to_string()))?;
    let client = Client::builder(TokioExecutor::new()).build_http();
    let response = client.request(request).await.map_err(|source| {
        if source.is_connect() {
            FetchError::Connect { address, source }
        } else {
            FetchError::Request {
                address,
                path: path.to_owned(),
                source,
            }
        }
    })?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER)
        .collect()
        .await
        .map_err(|fault| body_fault(fault.to_string()))?;
    Ok((status, body.to_bytes()))
}

/// Where to reach a listener that is bound to `address`. `[::]` takes both families and is asked by
/// IPv4: on machines without IPv6 that is all there is.
pub fn reachable(address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port())
    } else {
        address
    }
}

const FETCH_LIMIT: Duration = Duration::from_secs(5);
const DELETE_LIMIT: Duration = Duration::from_secs(25);
/// Far more than the status of ten thousand routes.
const MAX_ANSWER: usize = 64 << 20;
