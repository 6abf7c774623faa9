//! The access log: lines from workers to one writer thread.
//!
//! Workers format into a buffer of their own and hand it over when it is full or at their tick.
//! A slow disk or a blocked pipe costs lines, which are counted, and never a worker's time.

mod encode;
mod format;
mod id;
mod json;
mod line;
mod login;
mod losses;
mod output;
mod stamp;

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::thread;
use std::time::{Duration, Instant};

use crate::model::{AccessFormat, HiddenQuery};

pub use id::RequestId;
pub use line::{AccessLine, FailedTry, MAX_PATH, RequestFields, TlsSession, Try, TryTimes};
pub use losses::{Losses, Teller};
pub use output::Output;
use stamp::Stamp;

/// The writer thread's owner.
#[derive(Debug)]
pub struct AccessLog {
    shared: Arc<Shared>,
    queue: SyncSender<Message>,
    /// Disconnects when the writer thread has ended.
    ended: Receiver<()>,
}

/// One worker's end. Not shared between threads; dropping it hands over what it holds.
#[derive(Debug)]
pub struct AccessWriter {
    shared: Arc<Shared>,
    queue: SyncSender<Message>,
    buffer: RefCell<Buffer>,
    timed: bool,
}

/// Has the output opened again.
#[derive(Debug, Clone)]
pub struct Reopener {
    shared: Arc<Shared>,
    queue: SyncSender<Message>,
}

/// What all ends know.
#[derive(Debug)]
struct Shared {
    format: AccessFormat,
    hidden: HiddenQuery,
    losses: Arc<Losses>,
    /// Bytes waiting for the writer thread.
    waiting: AtomicUsize,
    /// The output is to be opened again.
    reopen: AtomicBool,
}

/// What goes to the writer thread.
#[derive(Debug)]
enum Message {
    Lines {
        text: Vec<u8>,
        count: u64,
    },
    /// Something else is to be looked at.
    Wake,
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
    pub fn start(format: AccessFormat, hidden: HiddenQuery, out: Output) -> Self {
        let (queue, messages) = mpsc::sync_channel(QUEUE);
        let (alive, ended) = mpsc::sync_channel(0);
        let shared = Arc::new(Shared {
            format,
            hidden,
            losses: Arc::default(),
            waiting: AtomicUsize::new(0),
            reopen: AtomicBool::new(false),
        });
        let of_thread = Arc::clone(&shared);
        let spawned = thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || {
                write_all(messages, out, &of_thread);
                drop(alive);
            });
        if let Err(fault) = spawned {
            tracing::error!("no access log: cannot start its thread: {fault}");
        }
        Self {
            shared,
            queue,
            ended,
        }
    }

    /// An end for one worker.
    pub fn worker(&self) -> AccessWriter {
        AccessWriter {
            shared: Arc::clone(&self.shared),
            queue: self.queue.clone(),
            buffer: RefCell::default(),
            timed: self.shared.format.is_timed(),
        }
    }

    /// An end for who is told that the file was moved.
    pub fn reopener(&self) -> Reopener {
        Reopener {
            shared: Arc::clone(&self.shared),
            queue: self.queue.clone(),
        }
    }

    /// Lines lost by all workers because the writer fell behind or failed.
    pub fn losses(&self) -> Arc<Losses> {
        Arc::clone(&self.shared.losses)
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

impl Reopener {
    /// Has the output opened again, where it is a file, before anything else is written. Never blocks.
    pub fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Release);
        // A queue that is full will be looked at anyway.
        let _ = self.queue.try_send(Message::Wake);
    }
}

impl AccessWriter {
    /// See [`AccessFormat::is_timed`].
    pub fn is_timed(&self) -> bool {
        self.timed
    }

    /// Adds a line; hands the buffer over when it holds [`FLUSH_AT`] bytes. Never blocks.
    pub fn write(&self, line: &AccessLine<'_>) {
        let mut buffer = self.buffer.borrow_mut();
        let Buffer { text, lines, stamp } = &mut *buffer;
        if text.capacity() == 0 {
            text.reserve(FLUSH_AT + FLUSH_AT / 4);
        }
        let hidden = &self.shared.hidden;
        match &self.shared.format {
            AccessFormat::Text => line.text(hidden, stamp, text),
            AccessFormat::Json => line.json(hidden, stamp, text),
            AccessFormat::Line(format) => format::write(format, line, hidden, stamp, text),
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

    fn hand_over(&self, buffer: &mut Buffer) {
        if buffer.lines == 0 {
            return;
        }
        let count = std::mem::take(&mut buffer.lines);
        let mut text = std::mem::take(&mut buffer.text);
        let (len, waiting) = (text.len(), &self.shared.waiting);
        if waiting.fetch_add(len, Ordering::Relaxed) <= MAX_WAITING {
            match self.queue.try_send(Message::Lines { text, count }) {
                Ok(()) => return,
                Err(TrySendError::Full(message) | TrySendError::Disconnected(message)) => {
                    text = match message {
                        Message::Lines { text, .. } => text,
                        Message::Wake | Message::Close => Vec::new(),
                    }
                }
            }
        }
        waiting.fetch_sub(len, Ordering::Relaxed);
        self.shared.losses.behind(count);
        // Keep the allocation: it is written into again at once.
        text.clear();
        buffer.text = text;
    }
}

impl Drop for AccessWriter {
    fn drop(&mut self) {
        self.flush();
    }
}

/// The writer thread: to the message that closes, whatever the output says.
fn write_all(messages: Receiver<Message>, mut out: Output, shared: &Shared) {
    let losses = &shared.losses;
    loop {
        let message = messages.recv().unwrap_or(Message::Close);
        if shared.reopen.swap(false, Ordering::Acquire) {
            match out.reopen() {
                None => tracing::info!("the access log is standard output: nothing to reopen"),
                Some((path, Ok(()))) => {
                    tracing::info!("reopened the access log, {}", path.display());
                }
                Some((path, Err(fault))) => tracing::warn!(
                    "cannot reopen the access log, {}, and go on with the file that was open: {fault}",
                    path.display()
                ),
            }
        }
        match message {
            Message::Lines { text, count } => {
                let put = out.put(&text);
                shared.waiting.fetch_sub(text.len(), Ordering::Relaxed);
                if let Err(unwritten) = put {
                    let written = &text[..unwritten.whole];
                    let written = written.iter().filter(|byte| **byte == b'\n').count() as u64;
                    losses.failed(count.saturating_sub(written), &unwritten.fault);
                }
            }
            Message::Wake => {}
            Message::Close => break,
        }
    }
    // Workers that were still writing when the log was closed.
    while let Ok(message) = messages.try_recv() {
        if let Message::Lines { count, .. } = message {
            losses.behind(count);
        }
    }
}

/// Bytes a worker collects before it hands them over without waiting for its tick.
const FLUSH_AT: usize = 8 * 1024;
/// Buffers waiting for the writer thread: 256 of 8 KiB and a line.
const QUEUE: usize = 256;
/// Bytes in them: lines may be long.
const MAX_WAITING: usize = 8 * 1024 * 1024;
/// How long [`AccessLog::close`] waits for an output that blocks.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
