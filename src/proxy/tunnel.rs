//! Bytes both ways after a protocol switch. No frame is parsed and nothing is cut for being idle;
//! TCP keepalive finds dead peers (product.md S25).

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy_bidirectional_with_sizes};

use super::body::Tail;
use super::pool::Link;

/// A switched connection's upstream side, and the end of the request that switched it.
pub(crate) struct Tunnel {
    pub(crate) link: Link,
    pub(crate) tail: Tail,
}

impl Tunnel {
    /// Relays until both sides have ended. `early` is what the client sent behind its request.
    pub(crate) async fn run<S>(self, mut client: S, early: Bytes)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let Self { mut link, mut tail } = self;
        let worker = std::rc::Rc::clone(&tail.worker);
        worker.metrics.upgrades.inc();
        worker.metrics.upgrades_open.inc();
        let relayed = async {
            link.stream.write_all(&early).await?;
            client.write_all(&link.read).await?;
            client.flush().await?;
            tail.bytes = link.read.len() as u64;
            link.read = bytes::BytesMut::new();
            copy_bidirectional_with_sizes(&mut client, &mut link.stream, BUFFER, BUFFER).await
        };
        // Either side may leave without a word; that is how tunnels end.
        if let Ok((_, to_client)) = relayed.await {
            tail.bytes += to_client;
        }
        worker.metrics.upgrades_open.dec();
    }
}

/// Per direction.
const BUFFER: usize = 8 * 1024;
