//! Which bodies are held for clients that are slower than their app, and how much of them (product.md S26, S29, S30).

use serde::Serialize;

/// `wharf.buffer` and `wharf.buffer.request`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct BufferSpec {
    /// Responses are read as fast as the app gives them (nginx `proxy_buffering`), unless it says otherwise; `off`: only
    /// those of which it says so. `None`: nobody asks it.
    pub response: Option<bool>,
    /// The app gets a request when all of it is here (nginx `proxy_request_buffering`). Default off.
    pub request: bool,
    /// Bytes of memory for each body. Default 1 MiB; [`BufferSpec::LEAST`] at least.
    pub memory: u64,
    /// Bytes of disk for each body beside that (nginx `proxy_max_temp_file_size`). Default 1 GiB; 0: none.
    pub disk: u64,
}

impl BufferSpec {
    /// What is held, written and read together.
    pub const LEAST: u64 = 64 * 1024;

    /// Whether there is nothing to do.
    pub fn is_off(&self) -> bool {
        self.response.is_none() && !self.request
    }
}

impl Default for BufferSpec {
    fn default() -> Self {
        Self {
            response: None,
            request: false,
            memory: 1 << 20,
            disk: 1 << 30,
        }
    }
}
