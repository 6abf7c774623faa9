//! The end of a client connection, so that what the client was sent last reaches it.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::buffers::Buffers;
use super::state::ConnState;
use super::stream::ClientStream;

/// Ends the connection without cutting off what the client has not read yet: a socket that is
/// closed with unread bytes sends a reset, which takes the response with it (nginx
/// `lingering_close`).
pub(crate) fn poll_linger(
    cx: &mut Context<'_>,
    stream: &mut ClientStream,
    state: &ConnState,
    buffers: &Buffers,
) -> Poll<()> {
    let timer = state.timer();
    if !timer.is_within(LAST_WORD) {
        timer.arm(LAST_WORD);
    }
    if Pin::new(&mut *stream).poll_shutdown(cx).is_ready() {
        let mut read = 0;
        let mut scratch = buffers.small();
        scratch.resize(scratch.capacity(), 0);
        let ended = loop {
            let mut into = ReadBuf::new(&mut scratch);
            match Pin::new(&mut *stream).poll_read(cx, &mut into) {
                Poll::Ready(Ok(())) if !into.filled().is_empty() => {
                    read += into.filled().len();
                    if read > LINGER_BYTES {
                        break true;
                    }
                }
                Poll::Ready(_) => break true,
                Poll::Pending => break false,
            }
        };
        buffers.give(scratch);
        if ended {
            return Poll::Ready(());
        }
    }
    if timer.has_fired() {
        return Poll::Ready(());
    }
    timer.wake_with(cx.waker());
    Poll::Pending
}

/// A connection asked to end while nothing is under way on it goes after this at the latest.
pub(crate) const LAST_WORD: Duration = Duration::from_secs(2);
/// What is read in one go from a client that goes on sending after the end.
const LINGER_BYTES: usize = 1024 * 1024;
