//! bollard, as far as Wharf uses it: the way to the engine, and the status of an answer.
//!
//! Its models stay outside: one value unknown to its enums fails a whole list, and its calls send paths
//! without an API version. The client has one call that hands on an answer as it comes, the export of a
//! container; a request modifier puts the wanted path in its place. What Wharf reads of the bytes is in
//! [`models`](super::models).

use std::error::Error as _;
use std::io;

use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};

use super::engine::{Address, CALL_TIMEOUT};
use super::error::EngineError;

/// A client for the engine at `address`; nothing is sent yet. One connection per call, so that an
/// engine that was restarted is found again by itself.
///
/// # Errors
///
/// A socket that does not exist, an address that is none.
pub(super) fn client(address: &Address) -> Result<Docker, EngineError> {
    let seconds = CALL_TIMEOUT.as_secs();
    let client = match address {
        Address::Unix(path) => {
            Docker::connect_with_unix(&path.to_string_lossy(), seconds, API_DEFAULT_VERSION)
        }
        Address::Tcp(host) => Docker::connect_with_http(host, seconds, API_DEFAULT_VERSION),
    };
    client.map_err(|error| EngineError::from_client("version", address, &error))
}

/// The body of the answer to `GET target`, as it comes. An answer that is no success is the only item.
pub(super) fn get(
    docker: &Docker,
    target: String,
) -> impl Stream<Item = Result<Bytes, bollard::errors::Error>> + Send + Unpin + use<> {
    let docker = docker
        .clone()
        .with_request_modifier(move |request| with_target(request, &target));
    // The name is part of the path that is replaced.
    Box::pin(docker.export_container(""))
}

/// Reads `answer` to its end.
///
/// # Errors
///
/// Whatever kept it from coming, and [`EngineError::TooLarge`] above [`MOST_BODY`].
pub(super) async fn whole(
    call: &'static str,
    address: &Address,
    mut answer: impl Stream<Item = Result<Bytes, bollard::errors::Error>> + Unpin,
) -> Result<Bytes, EngineError> {
    let mut body = BytesMut::new();
    while let Some(part) = answer.next().await {
        let part = part.map_err(|error| EngineError::from_client(call, address, &error))?;
        if body.len() + part.len() > MOST_BODY {
            return Err(EngineError::TooLarge {
                call,
                mebibytes: MOST_BODY >> 20,
            });
        }
        body.extend_from_slice(&part);
    }
    Ok(body.freeze())
}

/// The kind of what went wrong in the end, and its text: the layers above only say "connect error".
pub(super) fn innermost(error: &bollard::errors::Error) -> (Option<io::ErrorKind>, String) {
    let mut kind = match error {
        bollard::errors::Error::IOError { err } => Some(err.kind()),
        _ => None,
    };
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        kind = cause
            .downcast_ref::<io::Error>()
            .map(io::Error::kind)
            .or(kind);
        text = cause.to_string();
        next = cause.source();
    }
    (kind, text)
}

/// `request` with another path and query; unchanged if they do not parse.
fn with_target(mut request: BollardRequest, target: &str) -> BollardRequest {
    let mut parts = request.uri().clone().into_parts();
    if let Ok(target) = target.parse() {
        parts.path_and_query = Some(target);
    }
    if let Ok(uri) = http::Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
    request
}

/// A list of ten thousand containers with long labels.
const MOST_BODY: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_replaces_path_and_query_only() {
        for (uri, target, expected) in [
            (
                "http://e/containers//export",
                "/v1.41/networks",
                "http://e/v1.41/networks",
            ),
            (
                "unix://2f61/containers//export",
                "/events?since=1",
                "unix://2f61/events?since=1",
            ),
        ] {
            let request = http::Request::get(uri)
                .body(bollard::body_full("".into()))
                .unwrap();
            assert_eq!(with_target(request, target).uri().to_string(), expected);
        }
    }
}
