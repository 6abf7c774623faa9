//! What the commands do, apart from serving.

pub(crate) mod ask;
pub(crate) mod ca;
pub(crate) mod cache;
pub(crate) mod certs;
pub(crate) mod check;
pub(crate) mod explain;
pub(crate) mod logs;
pub(crate) mod maintenance;

use std::io::{self, ErrorKind, Write};

use anyhow::Context;

use crate::Failure;

/// Writes to standard output; a reader that has seen enough (`| head`) is no failure.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(fault) if fault.kind() != ErrorKind::BrokenPipe => {
            Err(fault).context("writing to standard output")?
        }
        _ => Ok(()),
    }
}
