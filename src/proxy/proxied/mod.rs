//! The PROXY protocol from trusted peers (`WHARF_PROXY_PROTOCOL_FROM`): a load balancer that passes bytes on says in front
//! of them whose they are. From then on the client it names is the connection's peer, for everybody behind this.
//!
//! A peer that is not in the list is never listened to, and one that is may leave the header out: so it can be introduced
//! on either side first.

mod header;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use memchr::memchr;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::sleep;

use self::header::{Begins, Named, V1_MOST, V2_FIXED, begins, v1, v2, v2_length};
use super::worker::Worker;

/// Why the connection of a peer that may name its client is not served.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("its PROXY header cannot be used: {0}")]
    Malformed(&'static str),
    #[error("its PROXY header ends in the middle")]
    Cut,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Whose connection it is; `None` when it is to be closed. A peer outside the list costs one branch where there is no
/// list, and one lookup where there is.
#[inline]
pub(super) async fn peer_of(
    worker: &Worker,
    stream: &mut TcpStream,
    peer: SocketAddr,
) -> Option<SocketAddr> {
    let from = &worker.engine.proxied_by;
    if from.is_empty() || !from.contains(peer.ip()) {
        return Some(peer);
    }
    // Boxed, so that a connection does not keep the room.
    Box::pin(named(worker, stream, peer)).await
}

async fn named(worker: &Worker, stream: &mut TcpStream, peer: SocketAddr) -> Option<SocketAddr> {
    let mut begun = false;
    let limit = worker.engine.header_timeout;
    let reading = worker.wait_for_client(limit, Duration::ZERO, read(stream, &mut begun));
    let read = reading.await;
    let metrics = &worker.metrics;
    let why = match read {
        Some(Ok(Some(Named::Client(client)))) => {
            metrics.proxy_headers.inc();
            return Some(client);
        }
        Some(Ok(Some(Named::Nobody))) => {
            metrics.proxy_headers.inc();
            return Some(peer);
        }
        // It has sent none, or nothing at all.
        Some(Ok(None)) => return Some(peer),
        None if !begun => return None,
        None => Unusable::Malformed("it was not whole in time").to_string(),
        Some(Err(error)) => error.to_string(),
    };
    metrics.proxy_headers_refused.inc();
    match worker.may_complain() {
        true => tracing::warn!(%peer, "connection closed: {why}"),
        false => tracing::debug!(%peer, "connection closed: {why}"),
    }
    None
}

/// Takes the header, if there is one, and no byte behind it. `begun`: something of one has come.
async fn read(stream: &mut TcpStream, begun: &mut bool) -> Result<Option<Named>, Unusable> {
    let mut first = [0; V2_FIXED - 4];
    loop {
        let seen = stream.peek(&mut first).await?;
        if seen == 0 {
            return Ok(None);
        }
        match begins(&first[..seen]) {
            Begins::Without => return Ok(None),
            Begins::V1 => break,
            Begins::V2 => {
                *begun = true;
                return read_v2(stream).await.map(Some);
            }
            // They stay where they are until it shows whose they are; the kernel does not tell of the next ones.
            Begins::Unclear => {
                if ended(stream) {
                    return Ok(None);
                }
                sleep(LOOK_AGAIN).await;
            }
        }
    }
    *begun = true;
    read_v1(stream).await.map(Some)
}

/// Whether the other side will send no more: HTTP makes of what there is what it can.
fn ended(stream: &TcpStream) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut fds = [PollFd::new(stream, PollFlags::RDHUP)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0)
}

async fn read_v1(stream: &mut TcpStream) -> Result<Named, Unusable> {
    let mut line = [0; V1_MOST];
    let mut len = 0;
    loop {
        let seen = stream.peek(&mut line[len..]).await?;
        if seen == 0 {
            return Err(Unusable::Cut);
        }
        let end = memchr(b'\n', &line[len..len + seen]).map(|at| at + 1);
        let take = end.unwrap_or(seen);
        stream.read_exact(&mut line[len..len + take]).await?;
        len += take;
        if end.is_some() {
            let whole = line[..len].strip_suffix(b"\r\n");
            let whole = whole.ok_or(Unusable::Malformed("its line does not end in CR LF"))?;
            return v1(whole).map_err(Unusable::Malformed);
        }
        if len == line.len() {
            return Err(Unusable::Malformed("its line is longer than 107 bytes"));
        }
    }
}

async fn read_v2(stream: &mut TcpStream) -> Result<Named, Unusable> {
    let cut = |error: io::Error| match error.kind() {
        io::ErrorKind::UnexpectedEof => Unusable::Cut,
        _ => Unusable::Io(error),
    };
    let mut fixed = [0; V2_FIXED];
    stream.read_exact(&mut fixed).await.map_err(cut)?;
    let length = v2_length(&fixed).map_err(Unusable::Malformed)?;
    let mut rest = vec![0; length];
    stream.read_exact(&mut rest).await.map_err(cut)?;
    v2(&fixed, &rest).map_err(Unusable::Malformed)
}

/// While the first bytes could be a header or not: at most eleven of them, and no client sends so few.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
