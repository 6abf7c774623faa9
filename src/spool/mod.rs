//! Bodies that are held between one who gives them and one who takes them: in memory, and where that is not enough in a
//! file that has no name (product.md S26, S29, S30).
//!
//! A [`Spool`] is taken from while it is filled: a response whose client is slower than its app. An [`Upload`] is filled
//! first, and may be taken any number of times after that. What all of them hold is bounded by their [`Room`]. Files are
//! written and read by threads that may wait for a disk; only what the kernel has in memory is read at once.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::runtime::Handle;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::model::BufferSpec;
use crate::webroot::at_once;

mod queue;
mod room;
mod upload;

#[cfg(test)]
mod tests;

use queue::{Front, Job, Queue};
use room::{DiskCharge, Need};

pub use room::Room;
pub use upload::{Intake, NoRoom, Reader, Upload};

/// What one body may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of memory; [`BLOCK`] at least.
    pub memory: u64,
    /// Bytes of disk; 0: none.
    pub disk: u64,
}

impl From<&BufferSpec> for Bounds {
    fn from(spec: &BufferSpec) -> Self {
        Self {
            memory: spec.memory.max(BLOCK as u64),
            disk: spec.disk,
        }
    }
}

impl Bounds {
    /// Bytes in all.
    pub fn most(self) -> u64 {
        self.memory.saturating_add(self.disk)
    }
}

/// Bytes on their way, first in, first out.
///
/// Dropping it lets go of everything; what that has to wait for is done elsewhere.
#[derive(Debug)]
pub struct Spool {
    room: Arc<Room>,
    queue: Queue,
    /// While something is in it.
    file: Option<Arc<Temporary>>,
    writing: Option<JoinHandle<Written>>,
    reading: Option<JoinHandle<io::Result<Vec<u8>>>>,
}

/// A file, and what it takes of the disk.
#[derive(Debug)]
struct Temporary {
    file: File,
    /// Given back when the file is closed.
    _disk: Arc<DiskCharge>,
}

#[derive(Debug)]
struct Written {
    job: Job,
    file: Option<Arc<Temporary>>,
    done: io::Result<()>,
}

impl Spool {
    pub fn new(room: &Arc<Room>, bounds: Bounds) -> Self {
        Self::of(room, Queue::new(room, bounds, Need::Wanted, Some(u64::MAX)))
    }

    fn of(room: &Arc<Room>, queue: Queue) -> Self {
        Self {
            room: Arc::clone(room),
            queue,
            file: None,
            writing: None,
            reading: None,
        }
    }

    /// Bytes that have not been taken.
    pub fn len(&self) -> u64 {
        self.queue.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where to put what comes, and how much of it: bytes are appended there, and told by [`Self::grew`]. `None`: no more
    /// for now; `cx` is woken when a file has taken some, and who takes something makes room, too.
    pub fn room(&mut self, cx: &mut Context<'_>) -> Option<(&mut Vec<u8>, usize)> {
        self.advance(cx);
        let mut has = self.queue.make_room();
        self.write(cx);
        has = has || self.queue.make_room();
        has.then(|| self.queue.tail()).flatten()
    }

    /// So many bytes have been put there.
    pub fn grew(&mut self, count: usize) {
        self.queue.grew(count);
    }

    /// Appends what is next to `out`, at most `most` bytes, and says how many; 0 where there is nothing. `before` is told
    /// how many will come before they do.
    ///
    /// # Errors
    /// What was written to disk cannot be read.
    pub fn poll_take(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Vec<u8>,
        most: usize,
        before: impl Fn(&mut Vec<u8>, usize),
    ) -> Poll<io::Result<usize>> {
        self.advance(cx);
        loop {
            if let Some(reading) = &mut self.reading {
                let Poll::Ready(read) = Pin::new(reading).poll(cx) else {
                    return Poll::Pending;
                };
                self.reading = None;
                self.queue.was_read(read.map_err(io::Error::other)??);
            }
            match self.queue.front() {
                Front::Nothing => return Poll::Ready(Ok(0)),
                Front::Bytes(bytes) => {
                    let count = bytes.len().min(most);
                    before(out, count);
                    out.extend_from_slice(&bytes[..count]);
                    return Poll::Ready(Ok(self.took(count)));
                }
                Front::Busy if self.writing.is_some() => return Poll::Pending,
                Front::Busy => return Poll::Ready(Err(lost())),
                Front::File { at, len } => {
                    let Some(file) = &self.file else {
                        return Poll::Ready(Err(lost()));
                    };
                    let count = len.min(most);
                    let start = out.len();
                    before(out, count);
                    let data = out.len();
                    out.resize(data + count, 0);
                    if at_once(&file.file, &mut out[data..], at) == Some(count) {
                        return Poll::Ready(Ok(self.took(count)));
                    }
                    out.truncate(start);
                    self.reading = Some(read(file, at, len));
                }
            }
        }
    }

    fn took(&mut self, count: usize) -> usize {
        self.queue.take(count);
        if self.queue.is_file_idle() && self.reading.is_none() {
            close(self.file.take());
        }
        count
    }

    /// Looks after what is being written.
    fn advance(&mut self, cx: &mut Context<'_>) {
        let Some(writing) = &mut self.writing else {
            return;
        };
        let Poll::Ready(written) = Pin::new(writing).poll(cx) else {
            return;
        };
        self.writing = None;
        let Ok(Written { job, file, done }) = written else {
            return self.queue.lost();
        };
        if let Err(error) = &done {
            self.room.failed(error);
        }
        self.queue.written(job, done.is_ok());
        match self.queue.is_file_idle() {
            true => close(self.file.take().or(file)),
            false => self.file = file,
        }
    }

    /// Begins to write what there is to be written.
    fn write(&mut self, cx: &mut Context<'_>) {
        if self.writing.is_some() {
            return;
        }
        let Some(job) = self.queue.next_job() else {
            return;
        };
        let (room, file) = (Arc::clone(&self.room), self.file.clone());
        self.writing = Some(spawn_blocking(move || {
            let file = file.map_or_else(
                || {
                    let file = room.open()?;
                    let _disk = Arc::clone(&job.disk);
                    Ok(Arc::new(Temporary { file, _disk }))
                },
                Ok,
            );
            let (file, done) = match file {
                Ok(file) => {
                    let done = job.write(&file.file);
                    (Some(file), done)
                }
                Err(error) => (None, Err(error)),
            };
            Written { job, file, done }
        }));
        // To be woken.
        self.advance(cx);
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        close(self.file.take());
    }
}

/// Lets go of a file. To close one that has no name takes as long as to remove it.
fn close(file: Option<Arc<Temporary>>) {
    if let Some(file) = file
        && let Ok(handle) = Handle::try_current()
    {
        handle.spawn_blocking(move || drop(file));
    }
}

/// Reads so many bytes, and waits for them elsewhere.
fn read(file: &Arc<Temporary>, at: u64, len: usize) -> JoinHandle<io::Result<Vec<u8>>> {
    let file = Arc::clone(file);
    spawn_blocking(move || {
        let mut bytes = vec![0; len];
        file.file.read_exact_at(&mut bytes, at)?;
        Ok(bytes)
    })
}

fn lost() -> io::Error {
    io::Error::other("what was to be written is lost")
}

/// Bytes that are held, written and read together.
pub const BLOCK: usize = BufferSpec::LEAST as usize;
