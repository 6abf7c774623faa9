//! Certificates of other proxies: found in their files, checked, and taken into the store.

// A directory of PEM files: acme-companion, acme.sh, certbot, Caddy.
mod directory;
// What is done with one that was found.
mod take;
// acme.json.
mod traefik;

use std::fs;
use std::io;
use std::path::Path;

pub(super) use self::take::{Shelf, take};
pub use self::take::{Taken, Verdict};

/// A certificate with its key, as found and not yet looked into. Holds a private key: no `Debug`.
pub(super) struct Candidate {
    /// Where, for people.
    pub(super) origin: String,
    /// PEM, leaf first.
    pub(super) chain: String,
    /// PEM.
    pub(super) key: String,
}

/// What a path holds.
#[derive(Default)]
pub(super) struct Found {
    pub(super) candidates: Vec<Candidate>,
    /// What was passed over: where, and why.
    pub(super) notes: Vec<(String, String)>,
}

/// Why nothing can be read from a path.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("{0} cannot be read")]
    Read(String, #[source] io::Error),
    #[error("{0} is too large to be an acme.json")]
    Large(String),
    #[error("{path} is no acme.json: {why}")]
    Traefik { path: String, why: String },
}

/// A file is Traefik's `acme.json`, a directory one of PEM files.
pub(super) fn find(path: &Path) -> Result<Found, ImportError> {
    let shown = path.display().to_string();
    let meta = fs::metadata(path).map_err(|error| ImportError::Read(shown.clone(), error))?;
    if meta.is_dir() {
        return Ok(directory::find(path));
    }
    if meta.len() > FILE_MOST {
        return Err(ImportError::Large(shown));
    }
    let text = fs::read(path).map_err(|error| ImportError::Read(shown.clone(), error))?;
    traefik::find(&text).map_err(|why| ImportError::Traefik { path: shown, why })
}

/// Thousands of certificates.
const FILE_MOST: u64 = 64 << 20;

#[cfg(test)]
mod tests;
