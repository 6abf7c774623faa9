//! The key of sticky cookies, kept beside the certificates so that clients stay where they are over
//! a restart.

use std::fs::{self, File, OpenOptions, Permissions};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use aws_lc_rs::rand;

use crate::upstream::Secret;

/// Reads the key from the data directory, or makes one. Where it cannot be kept, clients of sticky
/// routes may change replicas at the next start; nothing else depends on it.
pub(super) fn open(data: &Path) -> Secret {
    let path = data.join(FILE);
    match read(&path) {
        Ok(key) => return Secret::new(&key),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            let renamed = fs::rename(&path, path.with_extension("key.corrupt")).is_ok();
            tracing::warn!(path = %path.display(), %error, renamed, "the key of sticky cookies is replaced");
        }
    }
    let mut key = [0; Secret::LEN];
    if rand::fill(&mut key).is_err() {
        // The same library makes the keys of certificates: nothing would work without it.
        tracing::warn!("no random numbers: sticky cookies can be guessed");
    }
    match create(&path, &key) {
        Ok(()) => Secret::new(&key),
        // Another process was faster; its key is as good.
        Err(error) => Secret::new(&read(&path).unwrap_or_else(|_| {
            tracing::warn!(path = %path.display(), %error, "the key of sticky cookies is kept in memory");
            key
        })),
    }
}

fn read(path: &Path) -> io::Result<[u8; Secret::LEN]> {
    let file = File::open(path)?;
    let mode = file.metadata()?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        tracing::warn!(path = %path.display(), "mode {mode:o} lets others read a key; set to 600");
        drop(file.set_permissions(Permissions::from_mode(0o600)));
    }
    let mut bytes = Vec::new();
    file.take(MAX).read_to_end(&mut bytes)?;
    bytes
        .try_into()
        .map_err(|_| io::ErrorKind::InvalidData.into())
}

/// Whole or not at all, and never over a key that is there.
fn create(path: &Path, key: &[u8]) -> io::Result<()> {
    // Drawn: in containers every process has the same id, and one that was killed has left its file.
    let word = RandomState::new().build_hasher().finish();
    let temporary = path.with_extension(format!("{word:016x}.tmp"));
    let written = (|| {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let mut file = options.open(&temporary)?;
        file.write_all(key)?;
        file.sync_all()?;
        fs::hard_link(&temporary, path)
    })();
    let _ = fs::remove_file(&temporary);
    written
}

const FILE: &str = "sticky.key";
/// More than this is no key.
const MAX: u64 = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::UpstreamKey;

    #[test]
    fn the_key_is_made_once_and_is_nobody_elses() {
        let data = tempfile::tempdir().unwrap();
        let name = |secret: &Secret| secret.name(&UpstreamKey("u".into()));
        let first = name(&open(data.path()));
        assert_eq!(name(&open(data.path())), first);
        let path = data.path().join(FILE);
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(), 0o600);
        assert_eq!(fs::read_dir(data.path()).unwrap().count(), 1);

        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        assert_eq!(name(&open(data.path())), first);
        assert_eq!(mode(), 0o600);

        fs::write(&path, "short").unwrap();
        let second = name(&open(data.path()));
        assert_ne!(second, first);
        assert_eq!(name(&open(data.path())), second);
        // Nothing can be written: it works, for as long as the process runs.
        let nowhere = name(&open(&data.path().join("missing")));
        assert_ne!(nowhere, second);
    }
}
