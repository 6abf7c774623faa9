//! Keys as paths below one directory: files of mode 0600 in directories of mode 0700, replaced whole.

use std::fs::{self, File, Metadata, OpenOptions, Permissions, TryLockError};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Item, Keep, Lock, Store, VALUE_MAX};

/// A directory, on a disk of this machine or on a network file system whose locks reach all machines
/// (NFS since Linux 2.6.12).
pub(in crate::tls) struct Files {
    root: PathBuf,
}

/// An empty file that is locked by the kernel, which takes the lock back when the process dies.
struct LockFile {
    file: File,
    path: PathBuf,
}

impl Files {
    pub(in crate::tls) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    fn path(&self, key: &str) -> PathBuf {
        self.root.join(key)
    }
}

impl Store for Files {
    fn place(&self) -> String {
        self.root.display().to_string()
    }

    /// Clears away, too, what a crash left behind.
    fn list(&self, folder: &str) -> io::Result<Vec<Item>> {
        let files = match fs::read_dir(self.path(folder)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            files => files?,
        };
        let mut items = Vec::new();
        for file in files {
            let file = file?;
            let Ok(name) = file.file_name().into_string() else {
                continue; // None of ours.
            };
            if name.ends_with(TEMPORARY) {
                remove_stale(&file.path());
            } else if let Ok(meta) = file.metadata()
                && meta.is_file()
            {
                let key = format!("{folder}/{name}");
                let stamp = stamp(&meta);
                items.push(Item { key, stamp });
            }
        }
        items.sort_unstable();
        Ok(items)
    }

    fn folders(&self, folder: &str) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(self.path(folder)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let folders = entries.flatten().filter(|entry| entry.path().is_dir());
        let mut names: Vec<_> = folders
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort_unstable();
        Ok(names)
    }

    fn stamp(&self, folder: &str) -> io::Result<u64> {
        let meta = match fs::metadata(self.path(folder)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
            meta => meta?,
        };
        // A second change within a tick of the clock does not show in the time.
        let age = meta.modified().ok().and_then(|at| at.elapsed().ok());
        let fresh = age.is_none_or(|age| age < TICK);
        Ok(if fresh { drawn() } else { stamp(&meta) })
    }

    fn load(&self, key: &str) -> io::Result<Option<Vec<u8>>> {
        let path = self.path(key);
        let file = match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let meta = file.metadata()?;
        let mode = meta.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            tracing::warn!(path = %path.display(), "mode {mode:o} lets others read a key; set to 600");
            drop(file.set_permissions(Permissions::from_mode(SECRET)));
        }
        // One read; a second one finds the end.
        let mut bytes = Vec::new();
        bytes.reserve_exact(meta.len().min(VALUE_MAX) as usize + 1);
        file.take(VALUE_MAX + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > VALUE_MAX {
            return Err(ErrorKind::FileTooLarge.into());
        }
        Ok(Some(bytes))
    }

    fn save(&self, key: &str, value: &[u8], keep: Keep) -> io::Result<()> {
        let path = self.path(key);
        let parent = path.parent().unwrap_or(&self.root);
        make_dir(parent)?;
        let (mut file, temporary) = create_temporary(parent, keep)?;
        let written = (|| {
            file.write_all(value)?;
            if keep == Keep::Brief {
                return fs::rename(&temporary, &path);
            }
            file.sync_all()?;
            fs::rename(&temporary, &path)?;
            File::open(parent)?.sync_all()
        })();
        if written.is_err() {
            drop(fs::remove_file(&temporary));
        }
        written
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }

    fn remove(&self, key: &str) -> io::Result<()> {
        match fs::remove_file(self.path(key)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn try_lock(&self, name: &str) -> io::Result<Option<Lock>> {
        let path = self.path(&format!("locks/{name}.lock"));
        make_dir(path.parent().unwrap_or(&self.root))?;
        for _ in 0..LOCK_TRIES {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(false);
            let file = options.mode(SECRET).open(&path)?;
            give_to_owner_of(path.parent().unwrap_or(&self.root), &file);
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error),
            }
            // The last holder may have removed it between the two calls.
            let (held, there) = (file.metadata()?, fs::metadata(&path).ok());
            if there.is_some_and(|there| (there.dev(), there.ino()) == (held.dev(), held.ino())) {
                return Ok(Some(Lock::new(LockFile { file, path })));
            }
        }
        Ok(None)
    }
}

impl Drop for LockFile {
    /// Nothing is left of a lock nobody holds. Only a holder may remove the file.
    fn drop(&mut self) {
        drop(fs::remove_file(&self.path));
        drop(self.file.unlock());
    }
}

/// A file nobody else writes to. Its name is drawn: in containers every process has the same id.
fn create_temporary(parent: &Path, keep: Keep) -> io::Result<(File, PathBuf)> {
    let mode = match keep {
        Keep::Secret | Keep::Brief => SECRET,
        Keep::Public => PUBLIC,
    };
    loop {
        let path = parent.join(format!(".{:016x}{TEMPORARY}", drawn()));
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(mode);
        match options.open(&path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            file => {
                let file = file?;
                give_to_owner_of(parent, &file);
                return Ok((file, path));
            }
        }
    }
}

/// What root writes (`docker exec` without a user) must be readable to the Wharf that runs as somebody
/// else. For others this changes nothing.
fn give_to_owner_of(parent: &Path, file: &File) {
    if let (Ok(owner), Ok(own)) = (fs::metadata(parent), file.metadata())
        && owner.uid() != own.uid()
    {
        drop(fchown(file, Some(owner.uid()), Some(owner.gid())));
    }
}

/// Makes what is missing of `path`, each for the owner of the directory above it.
fn make_dir(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        make_dir(parent)?;
    }
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(()),
        made => made?,
    }
    if let (Some(parent), Ok(made)) = (parent, File::open(path)) {
        give_to_owner_of(parent, &made);
    }
    Ok(())
}

fn stamp(meta: &Metadata) -> u64 {
    let mut hasher = foldhash::fast::FixedState::with_seed(0).build_hasher();
    hasher.write_i64(meta.mtime());
    hasher.write_i64(meta.mtime_nsec());
    hasher.write_u64(meta.ino());
    hasher.write_u64(meta.len());
    hasher.finish()
}

/// Another number each time.
fn drawn() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Removes what a crash left behind, but not what another process is writing.
fn remove_stale(path: &Path) {
    let age = fs::metadata(path).and_then(|meta| meta.modified()).ok();
    if age.and_then(|at| at.elapsed().ok()) > Some(TEMPORARY_AGE) {
        drop(fs::remove_file(path));
    }
}

/// Mode of what holds a key.
const SECRET: u32 = 0o600;
/// Mode of what anyone may read.
const PUBLIC: u32 = 0o644;
/// As coarse as times of files are, on network file systems too.
const TICK: Duration = Duration::from_secs(2);
const TEMPORARY: &str = ".tmp";
const TEMPORARY_AGE: Duration = Duration::from_secs(60 * 60);
/// Each is lost to a holder that has just ended.
const LOCK_TRIES: u32 = 16;
