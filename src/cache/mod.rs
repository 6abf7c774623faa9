//! Responses that are kept and used again (RFC 9111).

// What may be kept, for how long, and for whom; pure.
pub mod rules;
// Where they are kept: memory and disk; knows no HTTP.
pub mod store;

use std::path::PathBuf;
use std::sync::OnceLock;

use store::{Limits, Store};

/// The process's store: opened when the first route wants one, so that others pay nothing.
#[derive(Debug)]
pub struct Shelf {
    limits: Limits,
    directory: Option<PathBuf>,
    store: OnceLock<Option<Store>>,
}

impl Shelf {
    /// `directory`: `None` is memory alone.
    pub fn new(limits: Limits, directory: Option<PathBuf>) -> Self {
        Self {
            limits,
            directory,
            store: OnceLock::new(),
        }
    }

    /// The store, which is opened now if need be. Nothing where that fails, which is told once.
    pub fn store(&self) -> Option<&Store> {
        let open = || match Store::open(self.limits, self.directory.as_deref()) {
            Ok(store) => Some(store),
            Err(error) => {
                tracing::error!("no cache: its thread cannot be started: {error}");
                None
            }
        };
        self.store.get_or_init(open).as_ref()
    }

    /// The store, if a route has wanted it.
    pub fn opened(&self) -> Option<&Store> {
        self.store.get()?.as_ref()
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Where its files are.
    pub fn directory(&self) -> Option<&std::path::Path> {
        self.directory.as_deref()
    }
}
