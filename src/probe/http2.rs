//! Checks of apps that speak HTTP/2: a GET for its status, and gRPC's health checking protocol.

use std::io;

use super::http::{AGENT, Io, authority};
use crate::model::{Address, HttpAsk};
use crate::proxy::{Http2Question as Question, ask};
use crate::upstream::Failure;

/// Sends the request and reads up to the status of the final response. The caller has a time limit.
pub(super) async fn status(
    stream: &mut dyn Io,
    http: &HttpAsk,
    (addr, tls): (&Address, bool),
) -> Result<u16, Failure> {
    let question = Question {
        method: "GET",
        scheme: if tls { "https" } else { "http" },
        authority: &authority(http.host.as_ref(), addr, tls),
        path: &http.target,
        fields: &[("user-agent", AGENT), ("accept", "*/*")],
        body: b"",
    };
    let reply = ask(stream, &question, false).await;
    reply.map(|reply| reply.status).map_err(failure)
}

/// Asks for the status of a service (`grpc.health.v1.Health/Check`): its `ServingStatus`.
pub(super) async fn serving(
    stream: &mut dyn Io,
    service: &str,
    (addr, tls): (&Address, bool),
) -> Result<u16, Failure> {
    let question = Question {
        method: "POST",
        scheme: if tls { "https" } else { "http" },
        authority: &authority(None, addr, tls),
        path: "/grpc.health.v1.Health/Check",
        fields: &[
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("user-agent", AGENT),
        ],
        body: &message(service),
    };
    let reply = ask(stream, &question, true).await.map_err(failure)?;
    match (reply.status, read(&reply.body)) {
        (200, Some(status)) => Ok(status),
        _ => Ok(NONE),
    }
}

/// `HealthCheckRequest { service }`, as a message of gRPC.
fn message(service: &str) -> Vec<u8> {
    let field = match service.len() {
        0 => Vec::new(),
        // Shorter than 128 bytes.
        len => [&[0x0a, len as u8], service.as_bytes()].concat(),
    };
    [&[0, 0, 0, 0, field.len() as u8], &field[..]].concat()
}

/// The `status` of a `HealthCheckResponse`; 0 stands for a field that is not there.
fn read(body: &[u8]) -> Option<u16> {
    match body {
        [0, 0, 0, 0, 0] => Some(0),
        [0, 0, 0, 0, 2, 0x08, status @ 0..0x80] => Some((*status).into()),
        _ => None,
    }
}

fn failure(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::InvalidData => Failure::Unusable,
        _ => Failure::Closed,
    }
}

/// No status at all: a service that knows no health checks answers with trailers alone.
const NONE: u16 = u8::MAX as u16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_protobufs_of_grpc() {
        assert_eq!(message(""), [0, 0, 0, 0, 0]);
        assert_eq!(message("a.B"), b"\0\0\0\0\x05\x0a\x03a.B");
        for (body, status) in [
            (&b"\0\0\0\0\x02\x08\x01"[..], Some(1)),
            (b"\0\0\0\0\x02\x08\x02", Some(2)),
            (b"\0\0\0\0\0", Some(0)),
            (b"", None),
            (b"\x01\0\0\0\x02\x08\x01", None),
            (b"ok", None),
        ] {
            assert_eq!(read(body), status, "{body:?}");
        }
    }
}
