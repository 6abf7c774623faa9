//! Files of a directory as HTTP answers: `wharf.static`.
//!
//! Which file a path names, whether the client has it already, which part of it is asked for, in which encoding it goes
//! out and for how long it may be kept. `proxy` sends what comes of it. Nothing here opens or reads on a worker what
//! might keep it waiting.

mod body;
mod condition;
mod kind;
mod open;
mod path;
mod range;
mod recent;
mod reply;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) use body::{Body, Stretch, at_once, shorter};
pub use open::Fault;
pub(crate) use recent::Recent;
pub(crate) use reply::{Asked, Hit};

use crate::model::{FilesSpec, PathGlob};

/// What a route serves.
#[derive(Debug)]
pub struct WebRoot {
    /// Tells it from every other one there has been.
    id: u64,
    place: Arc<open::Place>,
    /// What is taken off a path, as `model::seen`; empty at the root.
    base: Box<str>,
    spa: bool,
    /// Seconds.
    expires: Option<u64>,
    /// Whether all files stay as they are.
    immutable: bool,
    forever: Vec<PathGlob>,
    /// Whether caches that serve many may keep what is sent.
    shared: bool,
}

impl WebRoot {
    /// `guarded`: not everybody gets the files, so that caches which serve many must not keep them.
    pub fn compile(spec: &FilesSpec, guarded: bool) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            place: Arc::new(open::Place {
                jail: spec.directory.clone(),
                root: PathBuf::from(&spec.root),
            }),
            base: spec.base.as_str().into(),
            spa: spec.spa,
            expires: spec.expires.map(|time| time.as_secs()),
            immutable: spec.immutable,
            forever: spec.forever.clone(),
            shared: !guarded,
        }
    }
}

/// The directory.
impl fmt::Display for WebRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.place.jail.join(&self.place.root);
        // Without the `/` that an empty root leaves behind.
        path.components().as_path().display().fmt(f)
    }
}
