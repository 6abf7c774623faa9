//! The access log: lines from workers to one writer thread.
//!
//! Workers format into a buffer of their own and hand it over when it is full or at their tick.
//! A slow disk or a blocked pipe costs lines, which are counted, and never a worker's time.

mod id;
mod line;

use std::cell::{Cell, RefCell};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::thread;
use std::time::{Duration, Instant};

use crate::config::LogFormat;

pub use id::RequestId;
use line::Stamp;
pub use line::{AccessLine, MAX_PATH};

/// The writer thread's owner.
#[derive(Debug)]
pub struct AccessLog {
    format: LogFormat,
    queue: SyncSender<Message>,
    /// Disconnects when the writer thread has ended.
    ended: Receiver<()>,
    dropped: Arc<AtomicU64>,
}

/// One worker's end. Not shared between threads; dropping it hands over what it holds.
#[derive(Debug)]
pub struct AccessWriter {
    format: LogFormat,
    queue: SyncSender<Message>,
    buffer: RefCell<Buffer>,
    /// Of this worker.
    dropped: Cell<u64>,
    /// Of all workers.
    dropped_total: Arc<AtomicU64>,
}

/// What goes to the writer thread.
#[derive(Debug)]
enum Message {
    Lines { text: Vec<u8>, count: u64 },
    Close,
}

#[derive(Debug, Default)]
struct Buffer {
    text: Vec<u8>,
    lines: u64,
    stamp: Stamp,
}

impl AccessLog {
    /// Starts the writer thread. Where the system gives no thread, every line is dropped and
    /// counted.
    pub fn start(format: LogFormat, out: impl Write + Send + 'static) -> Self {
        let (queue, messages) = mpsc::sync_channel(QUEUE);
        let (alive, ended) = mpsc::sync_channel(0);
        let dropped = Arc::<AtomicU64>::default();
        let counter = Arc::clone(&dropped);
        let spawned = thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || {
                write_all(messages, out, &counter);
                drop(alive);
            });
        if let Err(fault) = spawned {
            tracing::error!("no access log: cannot start its thread: {fault}");
        }
        Self {
            format,
            queue,
            ended,
            dropped,
        }
    }

    /// An end for one worker.
    pub fn worker(&self) -> AccessWriter {
        AccessWriter {
            format: self.format,
            queue: self.queue.clone(),
            buffer: RefCell::default(),
            dropped: Cell::new(0),
            dropped_total: Arc::clone(&self.dropped),
        }
    }

    /// Lines lost by all workers because the writer fell behind or failed.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Writes out what workers have handed over and ends the thread; lines that come later are
    /// dropped and counted. Blocks, at most [`CLOSE_LIMIT`] when the output does.
    pub fn close(self) {
        let deadline = Instant::now() + CLOSE_LIMIT;
        let mut message = Message::Close;
        // A bounded channel of std has no send with a deadline; this runs once, at the end.
        while let Err(TrySendError::Full(back)) = self.queue.try_send(message) {
            if Instant::now() >= deadline {
                return;
            }
            message = back;
            thread::sleep(Duration::from_millis(5));
        }
        let _ = self
            .ended
            .recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }
}

impl AccessWriter {
    /// Adds a line; hands the buffer over when it holds [`FLUSH_AT`] bytes. Never blocks.
    pub fn write(&self, line: &AccessLine<'_>) {
        let mut buffer = self.buffer.borrow_mut();
        let Buffer { text, lines, stamp } = &mut *buffer;
        if text.capacity() == 0 {
            text.reserve(FLUSH_AT + FLUSH_AT / 4);
        }
        match self.format {
            LogFormat::Text => line.text(stamp, text),
            LogFormat::Json => line.json(stamp, text),
        }
        *lines += 1;
        if text.len() >= FLUSH_AT {
            self.hand_over(&mut buffer);
        }
    }

    /// Hands over what is buffered. Call it from the worker's tick. Never blocks.
    pub fn flush(&self) {
        self.hand_over(&mut self.buffer.borrow_mut());
    }

    /// Lines this worker lost; for [`crate::metrics::WorkerMetrics::access_lines_dropped`]. What
    /// the writer thread could not write is only in [`AccessLog::dropped`].
    pub fn dropped(&self) -> u64 {
        self.dropped.get()
    }

    fn hand_over(&self, buffer: &mut Buffer) {
        if buffer.lines == 0 {
            return;
        }
        let count = std::mem::take(&mut buffer.lines);
        let text = std::mem::take(&mut buffer.text);
        match self.queue.try_send(Message::Lines { text, count }) {
            Ok(()) => {}
            Err(TrySendError::Full(message) | TrySendError::Disconnected(message)) => {
                self.dropped.set(self.dropped.get() + count);
                self.dropped_total.fetch_add(count, Ordering::Relaxed);
                // Keep the allocation: it is written into again at once.
                if let Message::Lines { mut text, .. } = message {
                    text.clear();
                    buffer.text = text;
                }
            }
        }
    }
}

impl Drop for AccessWriter {
    fn drop(&mut self) {
        self.flush();
    }
}

/// The writer thread: to the message that closes, whatever the output says.
fn write_all(messages: Receiver<Message>, mut out: impl Write, dropped: &AtomicU64) {
    let mut failing = false;
    while let Ok(Message::Lines { text, count }) = messages.recv() {
        match out.write_all(&text).and_then(|()| out.flush()) {
            Ok(()) => failing = false,
            Err(fault) => {
                dropped.fetch_add(count, Ordering::Relaxed);
                if !failing {
                    tracing::warn!("the access log cannot be written: {fault}");
                }
                failing = true;
            }
        }
    }
    // Workers that were still writing when the log was closed.
    while let Ok(Message::Lines { count, .. }) = messages.try_recv() {
        dropped.fetch_add(count, Ordering::Relaxed);
    }
}

/// Bytes a worker collects before it hands them over without waiting for its tick.
const FLUSH_AT: usize = 8 * 1024;
/// Buffers waiting for the writer thread: 256 of 8 KiB and a line, so a few MiB at most.
const QUEUE: usize = 256;
/// How long [`AccessLog::close`] waits for an output that blocks.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
