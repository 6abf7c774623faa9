//! Files that hold secrets: read with suspicion, replaced whole, put aside when corrupt.

use std::fs::{self, File, OpenOptions, Permissions};
use std::hash::{BuildHasher, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A name as a file name: letters, digits, `.`, `-`, `_`; `*` becomes `wildcard_`. What would be too
/// long or could be another name's file ends in a hash of the whole.
pub(super) fn file_name(name: &str) -> String {
    let starred = name.replace('*', "wildcard_");
    let mut safe: String = starred
        .chars()
        .map(|c| match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '-' | '_' => c,
            _ => '_',
        })
        .collect();
    let safe_start = safe.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    if safe == name && safe.len() <= NAME_MAX && safe_start {
        return safe;
    }
    safe.truncate(NAME_MAX);
    let mut hasher = foldhash::quality::FixedState::with_seed(0).build_hasher();
    hasher.write(name.as_bytes());
    format!("_{safe}-{:08x}", hasher.finish() as u32)
}

pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| {
        let meta = file.metadata()?;
        let mode = meta.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            tracing::warn!(path = %path.display(), "mode {mode:o} lets others read a key; set to 600");
            drop(file.set_permissions(Permissions::from_mode(SECRET)));
        }
        // One read; a second one finds the end.
        bytes.reserve_exact(meta.len().min(FILE_MAX) as usize + 1);
        file.take(FILE_MAX + 1).read_to_end(&mut bytes)
    });
    match read {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "cannot be read; skipped");
            return None;
        }
    }
    if bytes.len() as u64 > FILE_MAX {
        quarantine(path, &"the file is too large");
        return None;
    }
    match serde_json::from_slice(&bytes) {
        Ok(value) => Some(value),
        Err(error) => {
            // Of the error only the place: its text may quote what stands there.
            let place = format!("no such JSON, line {}", error.line());
            quarantine(path, &place);
            None
        }
    }
}

pub(super) fn quarantine(path: &Path, why: &dyn std::fmt::Display) {
    let aside = path.with_extension("json.corrupt");
    let renamed = fs::rename(path, &aside);
    tracing::warn!(
        path = %path.display(), renamed = renamed.is_ok(),
        "a stored entry is corrupt and was put aside as *.corrupt: {why}"
    );
}

pub(super) fn write_json<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        make_dir(parent)?;
    }
    write(path, &serde_json::to_vec_pretty(value)?, SECRET)
}

/// Writes so that a reader, or a crash, sees the old file or the new one, nothing between.
pub(super) fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    static SERIAL: AtomicU64 = AtomicU64::new(0);
    let parent = path.parent().unwrap_or_else(|| Path::new("."));
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    let temporary = parent.join(format!(".{}-{serial}.tmp", std::process::id()));
    let written = (|| {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(mode);
        let mut file = options.open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(parent)?.sync_all()
    })();
    if written.is_err() {
        drop(fs::remove_file(&temporary));
    }
    written
}

pub(super) fn make_dir(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

/// Removes what a crash left behind, but not what another process is writing.
pub(super) fn remove_stale(path: &Path) {
    let age = fs::metadata(path).and_then(|meta| meta.modified()).ok();
    if age.and_then(|at| at.elapsed().ok()) > Some(TEMPORARY_AGE) {
        drop(fs::remove_file(path));
    }
}

/// Mode of what holds a key.
pub(super) const SECRET: u32 = 0o600;
/// Mode of what anyone may read.
pub(super) const PUBLIC: u32 = 0o644;
pub(super) const FILE_MAX: u64 = 1 << 20;
/// Leaves room for the hash and the extension in the 255 bytes of a file name.
const NAME_MAX: usize = 200;
const TEMPORARY_AGE: Duration = Duration::from_secs(60 * 60);
