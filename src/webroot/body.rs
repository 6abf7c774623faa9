//! The bytes of an answer, a piece at a time: from memory, or read from a file as the client takes them.

use std::collections::VecDeque;
use std::fs::File;
use std::future::Future;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use rustix::io::{Errno, ReadWriteFlags, preadv2};
use tokio::task::{JoinHandle, spawn_blocking};

/// What is left to be sent.
///
/// What the kernel has in memory is read at once; what it would have to wait for, by a thread that may wait. One piece
/// of [`PIECE`] bytes at most is held, and one read under way.
#[derive(Debug, Default)]
pub(crate) struct Body {
    parts: VecDeque<Part>,
    /// The piece that was read last; as long as it is at hand, `at..end` of it is next.
    piece: Vec<u8>,
    at: usize,
    end: usize,
    reading: Option<JoinHandle<Read>>,
}

/// The piece, and how much of it was read.
type Read = io::Result<(Vec<u8>, usize)>;

#[derive(Debug)]
pub(super) enum Part {
    Bytes(Bytes),
    File { file: Arc<File>, at: u64, left: u64 },
}

/// A stretch of a file.
#[derive(Debug, Clone)]
pub(crate) struct Stretch {
    pub(crate) file: Arc<File>,
    pub(crate) at: u64,
    pub(crate) left: u64,
}

impl Body {
    pub(super) fn of(parts: impl IntoIterator<Item = Part>) -> Self {
        Self {
            parts: parts.into_iter().collect(),
            ..Self::default()
        }
    }

    /// Sees that [`Self::data`] has something; `false` at the end.
    ///
    /// # Errors
    /// Also where the file has become shorter: what was promised cannot be kept.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        loop {
            if let Some(reading) = &mut self.reading {
                let read = ready!(Pin::new(reading).poll(cx));
                self.reading = None;
                let (piece, count) = read.map_err(io::Error::other)??;
                self.piece = piece;
                self.arrived(count)?;
            }
            if self.at < self.end {
                return Poll::Ready(Ok(true));
            }
            match self.parts.front() {
                None => return Poll::Ready(Ok(false)),
                Some(Part::Bytes(bytes)) if !bytes.is_empty() => return Poll::Ready(Ok(true)),
                Some(Part::Bytes(_) | Part::File { left: 0, .. }) => {
                    self.parts.pop_front();
                }
                Some(Part::File { file, at, left }) => {
                    let want = usize::try_from(*left).map_or(PIECE, |left| left.min(PIECE));
                    if self.piece.len() < want {
                        self.piece.resize(want, 0);
                    }
                    match at_once(file, &mut self.piece[..want], *at) {
                        Some(count) => self.arrived(count)?,
                        None => {
                            let (file, at) = (Arc::clone(file), *at);
                            let mut piece = std::mem::take(&mut self.piece);
                            self.reading = Some(spawn_blocking(move || {
                                let count = file.read_at(&mut piece[..want], at)?;
                                Ok((piece, count))
                            }));
                        }
                    }
                }
            }
        }
    }

    /// What is at hand.
    pub(crate) fn data(&self) -> &[u8] {
        match self.parts.front() {
            _ if self.at < self.end => &self.piece[self.at..self.end],
            Some(Part::Bytes(bytes)) => bytes,
            Some(Part::File { .. }) | None => &[],
        }
    }

    /// So much of it has gone out.
    pub(crate) fn consume(&mut self, count: usize) {
        match self.parts.front_mut() {
            _ if self.at < self.end => self.at += count.min(self.end - self.at),
            Some(Part::Bytes(bytes)) => bytes.advance(count.min(bytes.len())),
            Some(Part::File { .. }) | None => {}
        }
    }

    /// Whether nothing is left.
    pub(crate) fn is_done(&self) -> bool {
        let empty = |part: &Part| match part {
            Part::Bytes(bytes) => bytes.is_empty(),
            Part::File { left, .. } => *left == 0,
        };
        self.at >= self.end && self.reading.is_none() && self.parts.iter().all(empty)
    }

    /// The stretch of a file that is next, where none of it has been read yet.
    pub(crate) fn stretch(&self) -> Option<Stretch> {
        if self.at < self.end || self.reading.is_some() {
            return None;
        }
        // Parts that are done are dropped only when the next one is wanted.
        let next = self.parts.iter().find(|part| match part {
            Part::Bytes(bytes) => !bytes.is_empty(),
            Part::File { left, .. } => *left > 0,
        });
        match next? {
            Part::File { file, at, left } => Some(Stretch {
                file: Arc::clone(file),
                at: *at,
                left: *left,
            }),
            Part::Bytes(_) => None,
        }
    }

    /// So much of that stretch has gone another way.
    pub(crate) fn skip(&mut self, count: usize) {
        for part in &mut self.parts {
            if let Part::File { at, left, .. } = part
                && *left > 0
            {
                *at += count as u64;
                *left = left.saturating_sub(count as u64);
                return;
            }
        }
    }

    fn arrived(&mut self, count: usize) -> io::Result<()> {
        if count == 0 {
            return Err(shorter());
        }
        self.skip(count);
        (self.at, self.end) = (0, count);
        Ok(())
    }
}

/// A file has less than it had.
pub(crate) fn shorter() -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "the file has become shorter while it was sent",
    )
}

/// Reads what the kernel has in memory; `None` where it would have to wait, or where the thread that may wait is to
/// find out what is wrong.
pub(crate) fn at_once(file: &File, into: &mut [u8], at: u64) -> Option<usize> {
    let mut into = [IoSliceMut::new(into)];
    loop {
        match preadv2(file, &mut into, at, ReadWriteFlags::NOWAIT) {
            Ok(count) => return Some(count),
            Err(Errno::INTR) => {}
            Err(_) => return None,
        }
    }
}

/// Read at once.
const PIECE: usize = 128 * 1024;

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    async fn all(body: &mut Body, most: usize) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        while poll_fn(|cx| body.poll_fill(cx)).await? {
            let data = body.data();
            let count = data.len().min(most);
            all.extend_from_slice(&data[..count]);
            body.consume(count);
        }
        Ok(all)
    }

    fn file(bytes: &[u8]) -> (tempfile::NamedTempFile, Arc<File>) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let opened = Arc::new(File::open(file.path()).unwrap());
        (file, opened)
    }

    #[tokio::test]
    async fn parts_come_in_order_and_whole() {
        let bytes: Vec<u8> = (0..400_000_u32).map(|n| (n % 251) as u8).collect();
        let (_kept, file) = file(&bytes);
        for most in [1000, usize::MAX] {
            let mut body = Body::of([
                Part::Bytes("a".into()),
                Part::File {
                    file: Arc::clone(&file),
                    at: 10,
                    left: 300_000,
                },
                Part::Bytes(Bytes::new()),
                Part::Bytes("b".into()),
                Part::File {
                    file: Arc::clone(&file),
                    at: 0,
                    left: 2,
                },
            ]);
            assert!(!body.is_done());
            let got = all(&mut body, most).await.unwrap();
            let expected = [b"a", &bytes[10..300_010], b"b", &bytes[..2]].concat();
            assert!(got == expected && body.is_done(), "{most}");
        }
    }

    /// S70: a wrong length is never taken for a whole file.
    #[tokio::test]
    async fn a_file_that_becomes_shorter_is_an_error() {
        let (kept, file) = file(&vec![1; 300_000]);
        let mut body = Body::of([Part::File {
            file,
            at: 0,
            left: 300_000,
        }]);
        assert!(poll_fn(|cx| body.poll_fill(cx)).await.unwrap());
        kept.as_file().set_len(200_000).unwrap();
        let error = all(&mut body, usize::MAX).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn a_stretch_may_go_another_way() {
        let (_kept, file) = file(b"0123456789");
        let mut body = Body::of([
            Part::Bytes("head".into()),
            Part::File {
                file,
                at: 2,
                left: 8,
            },
        ]);
        assert!(body.stretch().is_none());
        body.consume(4);
        let stretch = body.stretch().unwrap();
        assert_eq!((stretch.at, stretch.left), (2, 8));
        body.skip(5);
        assert_eq!(all(&mut body, 99).await.unwrap(), b"789");
        assert!(body.is_done());
    }
}
