//! A body that is there as a whole before anybody gets it, and that may be had again from its beginning.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::task::JoinHandle;

use super::queue::{Queue, Segment, place};
use super::room::{Need, Room};
use super::{Bounds, Spool, Temporary, close, read};
use crate::webroot::at_once;

/// One that is still coming.
#[derive(Debug)]
pub struct Intake {
    spool: Spool,
}

/// All of it.
#[derive(Debug)]
pub struct Upload {
    queue: Queue,
    pub(super) file: Option<Arc<Temporary>>,
}

/// Reads it once.
#[derive(Debug)]
pub struct Reader {
    upload: Rc<Upload>,
    /// The segment that is next, and where in it.
    segment: usize,
    at: usize,
    left: u64,
    reading: Option<JoinHandle<io::Result<Vec<u8>>>>,
    /// Read of the file.
    piece: Vec<u8>,
}

/// Why a body cannot be taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoRoom {
    /// It is larger than one may be.
    Own,
    /// Others take what there is, or the disk fails.
    All,
}

impl Intake {
    /// `known`: how long it will be.
    pub fn new(room: &Arc<Room>, bounds: Bounds, known: Option<u64>) -> Self {
        let queue = Queue::new(room, bounds, Need::Needed, known);
        Self {
            spool: Spool::of(room, queue),
        }
    }

    /// Bytes that have come.
    pub fn len(&self) -> u64 {
        self.spool.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sees that there is room for more; then [`Self::tail`] has it.
    pub fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), NoRoom>> {
        if self.spool.room(cx).is_some() {
            return Poll::Ready(Ok(()));
        }
        if self.spool.writing.is_some() {
            return Poll::Pending;
        }
        Poll::Ready(Err(match self.spool.queue.is_at_bounds() {
            true => NoRoom::Own,
            false => NoRoom::All,
        }))
    }

    /// Where to put what comes, and how much of it.
    pub fn tail(&mut self) -> Option<(&mut Vec<u8>, usize)> {
        self.spool.queue.tail()
    }

    /// So many bytes have been put there.
    pub fn grew(&mut self, count: usize) {
        self.spool.grew(count);
    }

    /// Nothing more comes: waits for what is being written.
    pub fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.spool.advance(cx);
        match self.spool.writing {
            Some(_) => Poll::Pending,
            None => Poll::Ready(()),
        }
    }

    /// After [`Self::poll_end`].
    pub fn into_upload(mut self) -> Upload {
        let room = Arc::clone(&self.spool.room);
        let nothing = Bounds { memory: 0, disk: 0 };
        let nothing = Queue::new(&room, nothing, Need::Wanted, None);
        Upload {
            queue: std::mem::replace(&mut self.spool.queue, nothing),
            file: self.spool.file.take(),
        }
    }
}

impl Upload {
    pub fn len(&self) -> u64 {
        self.queue.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// From its beginning.
    pub fn reader(self: &Rc<Self>) -> Reader {
        Reader {
            left: self.len(),
            upload: Rc::clone(self),
            segment: 0,
            at: 0,
            reading: None,
            piece: Vec::new(),
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        close(self.file.take());
    }
}

impl Reader {
    /// Bytes that are still to be read.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Appends what is next to `out`, at most `most` bytes, and says how many; 0 at the end.
    ///
    /// # Errors
    /// What was written to disk cannot be read.
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Vec<u8>,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        loop {
            if let Some(reading) = &mut self.reading {
                let bytes = ready!(Pin::new(reading).poll(cx));
                self.reading = None;
                self.piece = bytes.map_err(io::Error::other)??;
            }
            let (bytes, place) = match self.upload.queue.segments().get(self.segment) {
                None if self.left == 0 => return Poll::Ready(Ok(0)),
                Some(Segment::Memory(block)) => (&block.bytes[..], None),
                Some(Segment::File { slot, len }) => (&self.piece[..], Some((place(*slot), *len))),
                None | Some(Segment::Writing { .. }) => return Poll::Ready(Err(super::lost())),
            };
            if let Some((from, len)) = place
                && bytes.is_empty()
            {
                let Some(file) = &self.upload.file else {
                    return Poll::Ready(Err(super::lost()));
                };
                let (count, data) = ((len - self.at).min(most), out.len());
                out.resize(data + count, 0);
                let from = from + self.at as u64;
                if at_once(&file.file, &mut out[data..], from) == Some(count) {
                    return Poll::Ready(Ok(self.passed(count, len)));
                }
                out.truncate(data);
                // All of the segment, so that places in it mean the same.
                self.reading = Some(read(file, from - self.at as u64, len));
                continue;
            }
            let count = (bytes.len() - self.at).min(most);
            out.extend_from_slice(&bytes[self.at..][..count]);
            let len = bytes.len();
            return Poll::Ready(Ok(self.passed(count, len)));
        }
    }

    fn passed(&mut self, count: usize, len: usize) -> usize {
        self.at += count;
        self.left -= count as u64;
        if self.at == len {
            self.at = 0;
            self.segment += 1;
            self.piece = Vec::new();
        }
        count
    }
}
