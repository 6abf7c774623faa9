//! The HTTP client ACME speaks through: no Nagle, deadlines, a bounded body, Retry-After kept.

use std::error::Error as StdError;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ::http::header::{DATE, RETRY_AFTER};
use ::http::{HeaderMap, Request, Response};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::crypto::CryptoProvider;
use rustls_pki_types::CertificateDer;

use super::TlsError;
use super::clock::Clock;
use super::persist::Issuers;

/// Cheap to clone; clones share idle connections.
#[derive(Clone)]
pub(super) struct AcmeHttp {
    client: HyperClient,
    clock: Arc<Clock>,
    /// What the CA calls itself in DNS records.
    issuers: Arc<Issuers>,
}

type HyperClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// An answer of 429 or 503, which the ACME library would reduce to its problem document.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) status: u16,
    pub(super) retry_after: Option<SystemTime>,
    /// The problem's detail (RFC 7807), if there is one.
    pub(super) detail: Option<String>,
}

impl AcmeHttp {
    /// Trusts the public roots and `extra` ones.
    pub(super) fn new(
        provider: Arc<CryptoProvider>,
        extra: &[CertificateDer<'static>],
        clock: Arc<Clock>,
    ) -> Result<Self, TlsError> {
        let mut roots = rustls::RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        };
        roots.add_parsable_certificates(extra.iter().cloned());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        // With Nagle each ACME POST costs a delayed ACK, about 40 ms.
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_only()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector);
        Ok(Self {
            client,
            clock,
            issuers: Arc::default(),
        })
    }

    pub(super) fn issuers(&self) -> Arc<Issuers> {
        Arc::clone(&self.issuers)
    }

    /// One request and its answer, both in memory.
    pub(super) async fn exchange(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Error> {
        let whole = async {
            let (parts, body) = send(&self.client, request).await?.into_parts();
            let body = Limited::new(body, BODY_MAX).collect().await;
            let body = body.map_err(Error::Other)?.to_bytes();
            Ok::<_, Error>((parts, body))
        };
        let (parts, body) = tokio::time::timeout(REQUEST, whole)
            .await
            .map_err(|_| Error::Other("no answer within 30 s".into()))??;
        if let Some(date) = date(&parts.headers) {
            self.clock.heard(date);
        }
        if matches!(parts.status.as_u16(), 429 | 503) {
            return Err(other(Refused {
                status: parts.status.as_u16(),
                retry_after: retry_after(&parts.headers, SystemTime::now()),
                detail: detail(&body),
            }));
        }
        self.issuers.hear(&body);
        Ok(Response::from_parts(parts, body))
    }
}

impl HttpClient for AcmeHttp {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let http = self.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            // Already in memory.
            let body = body.collect().await.map_err(other)?.to_bytes();
            let answer = http.exchange(Request::from_parts(parts, body)).await?;
            Ok(answer.map(Full::new).into())
        })
    }
}

/// Sends a request, once more where the connection broke before an answer: CAs close idle ones, and
/// that may be under way. Harmless if the first did arrive: its nonce is used up, and the CA says so.
async fn send(client: &HyperClient, request: Request<Bytes>) -> Result<Response<Incoming>, Error> {
    let (parts, body) = request.into_parts();
    let again = || Request::from_parts(parts.clone(), Full::new(body.clone()));
    match client.request(again()).await {
        Err(broken) if !broken.is_connect() => client.request(again()).await.map_err(other),
        answer => answer.map_err(other),
    }
}

/// RFC 9110 section 6.6.1.
fn date(headers: &HeaderMap) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()
}

/// RFC 9110 section 10.2.3: seconds or a date.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<SystemTime> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    match value.parse::<u32>() {
        Ok(seconds) => Some(now + Duration::from_secs(seconds.into())),
        Err(_) => httpdate::parse_http_date(value).ok(),
    }
}

fn detail(body: &[u8]) -> Option<String> {
    let problem: instant_acme::Problem = serde_json::from_slice(body).ok()?;
    problem.detail
}

fn other(error: impl StdError + Send + Sync + 'static) -> Error {
    Error::Other(Box::new(error))
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.detail {
            Some(detail) => f.write_str(detail),
            None => write!(f, "the CA answered {}", self.status),
        }
    }
}

impl StdError for Refused {}

const CONNECT: Duration = Duration::from_secs(10);
const REQUEST: Duration = Duration::from_secs(30);
const IDLE: Duration = Duration::from_secs(20);
const BODY_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (value, seconds) in [
            ("120", Some(120)),
            ("Sun, 06 Nov 1994 08:49:47 GMT", Some(10)),
            ("soon", None),
            ("99999999999999999999", None),
            ("-1", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, value.parse().unwrap());
            let expected = seconds.map(|seconds| now + Duration::from_secs(seconds));
            assert_eq!(retry_after(&headers, now), expected, "{value}");
        }
    }
}
