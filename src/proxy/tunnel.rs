//! Bytes both ways after a protocol switch. No frame is parsed and nothing is cut for being idle;
//! TCP keepalive finds dead peers (product.md S25).

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, copy_bidirectional_with_sizes};

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
        let metrics = std::sync::Arc::clone(&tail.worker.metrics);
        metrics.upgrades.inc();
        metrics.upgrades_open.inc();
        let (up, down) = (Side::default(), Side::default());
        let answered = std::mem::take(&mut link.read);
        let relayed = async {
            link.stream.write_all(&early).await?;
            client.write_all(&answered).await?;
            client.flush().await?;
            let mut client = Counted {
                stream: &mut client,
                read: &up,
            };
            let mut upstream = Counted {
                stream: &mut link.stream,
                read: &down,
            };
            copy_bidirectional_with_sizes(&mut client, &mut upstream, BUFFER, BUFFER).await
        };
        // Either side may leave without a word; that is how tunnels end.
        tokio::select! {
            _ = relayed => {}
            () = half_open_for(HALF_OPEN, &up, &down) => {}
        }
        tail.bytes = answered.len() as u64 + down.bytes.get();
        metrics.bytes_in.add(early.len() as u64 + up.bytes.get());
        metrics.upgrades_open.dec();
    }
}

/// What was read from one side.
#[derive(Default)]
struct Side {
    bytes: Cell<u64>,
    ended: Cell<bool>,
}

/// Returns when one side has ended and the other has sent nothing for `limit`, which it looks at
/// once in that time.
async fn half_open_for(limit: Duration, up: &Side, down: &Side) {
    let mut before = None;
    loop {
        let ended = up.ended.get() || down.ended.get();
        let now = ended.then(|| up.bytes.get() + down.bytes.get());
        if now.is_some() && now == before {
            return;
        }
        before = now;
        tokio::time::sleep(limit).await;
    }
}

struct Counted<'a, S> {
    stream: &'a mut S,
    read: &'a Side,
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<'_, S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut *self.stream).poll_read(cx, buf);
        if read.is_ready() {
            let count = (buf.filled().len() - before) as u64;
            self.read.bytes.set(self.read.bytes.get() + count);
            self.read.ended.set(count == 0);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<'_, S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_shutdown(cx)
    }
}

/// Per direction.
const BUFFER: usize = 8 * 1024;
/// A tunnel one side of which has ended goes when the other is silent for this long.
const HALF_OPEN: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_tunnel_is_over_when_one_side_has_ended_and_the_other_is_silent() {
        let (up, down) = (Side::default(), Side::default());
        let limit = Duration::from_millis(200);
        let mut over = std::pin::pin!(half_open_for(limit, &up, &down));
        // Open both ways it may be silent; half open it may talk.
        let busy = async {
            tokio::time::sleep(limit * 2).await;
            up.ended.set(true);
            for _ in 0..16 {
                tokio::time::sleep(limit / 8).await;
                down.bytes.set(down.bytes.get() + 1);
            }
        };
        tokio::select! {
            biased;
            () = &mut over => panic!("cut"),
            () = busy => {}
        }
        tokio::time::timeout(limit * 20, over).await.unwrap();
    }
}
