//! Moving bytes from socket to socket inside the kernel: `splice(2)` by way of a pipe.
//!
//! A large plain body is never copied into this process and out again. The pipe of a transfer is
//! filled only when it is empty, so that "would block" always means the socket, never the pipe.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustix::io::retry_on_intr;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, spawn_blocking};

/// A worker's pipes.
#[derive(Default)]
pub(crate) struct Pipes {
    spare: RefCell<Vec<(OwnedFd, OwnedFd)>>,
    /// Lent out.
    lent: Cell<usize>,
}

/// One transfer's pipe. Back with its worker on drop, unless something is left in it.
pub(crate) struct Pipe {
    pipes: Rc<Pipes>,
    /// `None` only while it is being dropped.
    ends: Option<(OwnedFd, OwnedFd)>,
    /// Bytes in it.
    filled: usize,
    /// A thread that may wait has the ends, and brings them back with what it has put in.
    filling: Option<JoinHandle<(io::Result<usize>, Ends)>>,
}

type Ends = (OwnedFd, OwnedFd);

impl Pipes {
    /// A pipe, or `None` where there are too many already or no descriptors left: bodies are copied
    /// then.
    pub(crate) fn lend(self: &Rc<Self>) -> Option<Pipe> {
        if self.lent.get() >= MAX_LENT {
            return None;
        }
        let spare = self.spare.borrow_mut().pop();
        let ends = spare.or_else(|| {
            let ends = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC).ok()?;
            // Smaller is slower, nothing else: the system may have its own limit.
            let _ = fcntl_setpipe_size(&ends.0, SIZE);
            Some(ends)
        })?;
        self.lent.set(self.lent.get() + 1);
        Some(Pipe {
            pipes: Rc::clone(self),
            ends: Some(ends),
            filled: 0,
            filling: None,
        })
    }
}

impl Pipe {
    pub(crate) fn filled(&self) -> usize {
        self.filled
    }

    /// Takes up to `most` bytes from a socket into the empty pipe; 0 is the socket's end.
    pub(crate) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        from: &TcpStream,
        most: u64,
    ) -> Poll<io::Result<usize>> {
        debug_assert_eq!(self.filled, 0);
        let Some((_, into)) = &self.ends else {
            return Poll::Ready(Ok(0));
        };
        let most = usize::try_from(most).map_or(SIZE, |most| most.min(SIZE));
        loop {
            ready!(from.poll_read_ready(cx))?;
            match from.try_io(Interest::READABLE, || {
                Ok(splice(from, None, into, None, most, FLAGS)?)
            }) {
                Ok(count) => {
                    self.filled = count;
                    return Poll::Ready(Ok(count));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Takes up to `most` bytes of a file, from `at` on, into the empty pipe; 0 is its end. Pages that the kernel does
    /// not have in memory are waited for by another thread.
    pub(crate) fn poll_fill_from_file(
        &mut self,
        cx: &mut Context<'_>,
        from: &Arc<File>,
        at: u64,
        most: u64,
    ) -> Poll<io::Result<usize>> {
        debug_assert_eq!(self.filled, 0);
        if self.filling.is_none() {
            let Some(ends) = self.ends.take() else {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            };
            let from = Arc::clone(from);
            let most = usize::try_from(most).map_or(SIZE, |most| most.min(SIZE));
            self.filling = Some(spawn_blocking(move || {
                let mut at = at;
                let moved =
                    retry_on_intr(|| splice(&*from, Some(&mut at), &ends.1, None, most, FLAGS));
                (moved.map_err(io::Error::from), ends)
            }));
        }
        let Some(filling) = &mut self.filling else {
            return Poll::Pending;
        };
        let done = ready!(Pin::new(filling).poll(cx));
        self.filling = None;
        let (moved, ends) = done.map_err(io::Error::other)?;
        self.ends = Some(ends);
        self.filled = moved?;
        Poll::Ready(Ok(self.filled))
    }

    /// Gives some of what is in the pipe to a socket.
    pub(crate) fn poll_drain(
        &mut self,
        cx: &mut Context<'_>,
        to: &TcpStream,
    ) -> Poll<io::Result<usize>> {
        let Some((from, _)) = &self.ends else {
            return Poll::Ready(Ok(0));
        };
        loop {
            ready!(to.poll_write_ready(cx))?;
            match to.try_io(Interest::WRITABLE, || {
                Ok(splice(from, None, to, None, self.filled, FLAGS)?)
            }) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(count) => {
                    self.filled -= count.min(self.filled);
                    return Poll::Ready(Ok(count));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.pipes.lent.set(self.pipes.lent.get() - 1);
        if self.filled == 0
            && let Some(ends) = self.ends.take()
        {
            let mut spare = self.pipes.spare.borrow_mut();
            if spare.len() < MAX_SPARE {
                spare.push(ends);
            }
        }
    }
}

const FLAGS: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);
/// Bytes a pipe is made to hold.
const SIZE: usize = 512 * 1024;
/// Transfers of one worker at once; further ones are copied. Two descriptors each.
const MAX_LENT: usize = 256;
const MAX_SPARE: usize = 16;
/// A body of which less is left is copied: a pipe costs as much.
pub(crate) const WORTH: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (client, accepted) = tokio::join!(client, listener.accept());
        (client.unwrap(), accepted.unwrap().0)
    }

    #[tokio::test]
    async fn bytes_pass_in_order_and_the_pipe_comes_back_only_when_empty() {
        let (mut from_far, from) = pair().await;
        let (to, mut to_far) = pair().await;
        let pipes = Rc::new(Pipes::default());
        let mut pipe = pipes.lend().unwrap();
        from_far.write_all(b"hello, world").await.unwrap();
        let count = poll_fn(|cx| pipe.poll_fill(cx, &from, 5)).await.unwrap();
        assert_eq!((count, pipe.filled()), (5, 5));
        let count = poll_fn(|cx| pipe.poll_drain(cx, &to)).await.unwrap();
        assert_eq!((count, pipe.filled()), (5, 0));
        let mut got = [0; 5];
        to_far.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"hello");
        drop(pipe);
        assert_eq!(pipes.spare.borrow().len(), 1);

        let mut pipe = pipes.lend().unwrap();
        poll_fn(|cx| pipe.poll_fill(cx, &from, 99)).await.unwrap();
        drop(pipe);
        assert_eq!((pipes.spare.borrow().len(), pipes.lent.get()), (0, 0));

        let mut pipe = pipes.lend().unwrap();
        drop(from_far);
        let end = poll_fn(|cx| pipe.poll_fill(cx, &from, 99)).await.unwrap();
        assert_eq!(end, 0);
    }

    #[tokio::test]
    async fn there_are_only_so_many() {
        let pipes = Rc::new(Pipes::default());
        let lent: Vec<_> = (0..MAX_LENT + 1).filter_map(|_| pipes.lend()).collect();
        assert!(lent.len() <= MAX_LENT && !lent.is_empty());
        drop(lent);
        assert_eq!(pipes.spare.borrow().len(), MAX_SPARE);
    }
}
