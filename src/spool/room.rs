//! How much all spools of the process may hold, in memory and on disk, and where their files are.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

/// What the spools of a process share: their bounds, and a directory.
#[derive(Debug)]
pub struct Room {
    memory: Bound,
    disk: Bound,
    /// `None`: nothing is written to disk.
    directory: Option<PathBuf>,
    /// When a failure was last told.
    told: Mutex<Option<Instant>>,
}

#[derive(Debug)]
struct Bound {
    most: u64,
    used: AtomicU64,
}

/// Who asks for memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// Somebody who would rather have it, and does without where others need it.
    Wanted,
    /// Somebody who cannot go on without.
    Needed,
}

/// Memory that is counted as long as this is there.
#[derive(Debug)]
pub(super) struct Charge {
    room: Arc<Room>,
    bytes: u64,
}

/// The disk that one file takes, counted until the file is closed by everybody.
#[derive(Debug)]
pub(super) struct DiskCharge {
    room: Arc<Room>,
    bytes: AtomicU64,
}

impl Room {
    /// At most `memory` and `disk` bytes in all; files are in `directory`, which is made when it is first needed.
    pub fn new(memory: u64, disk: u64, directory: Option<PathBuf>) -> Self {
        let bound = |most| Bound {
            most,
            used: AtomicU64::new(0),
        };
        Self {
            memory: bound(memory),
            disk: bound(disk),
            directory,
            told: Mutex::default(),
        }
    }

    /// Bytes of memory that are taken.
    pub fn memory(&self) -> u64 {
        self.memory.used.load(Relaxed)
    }

    /// Bytes of disk that are taken.
    pub fn disk(&self) -> u64 {
        self.disk.used.load(Relaxed)
    }

    /// Whether anything may be written to disk.
    pub(super) fn has_disk(&self) -> bool {
        self.directory.is_some() && self.disk.most > 0
    }

    /// More memory for one that holds `held` bytes. What is left is shared out: who has some gets more only as long as
    /// a good part is left for those who have none.
    pub(super) fn grant(self: &Arc<Self>, bytes: u64, held: u64, need: Need) -> Option<Charge> {
        let most = match need {
            Need::Needed => self.memory.most,
            Need::Wanted => self.memory.most / 4 * 3,
        };
        let left = most.saturating_sub(self.memory());
        if held > 0 && held + bytes > left / SHARE {
            return None;
        }
        let granted = self.memory.take(bytes, most);
        granted.then(|| self.charge(bytes))
    }

    /// Memory that is taken whatever the bound says.
    pub(super) fn force(self: &Arc<Self>, bytes: u64) -> Charge {
        self.memory.used.fetch_add(bytes, Relaxed);
        self.charge(bytes)
    }

    fn charge(self: &Arc<Self>, bytes: u64) -> Charge {
        Charge {
            room: Arc::clone(self),
            bytes,
        }
    }

    /// A file without a name, which ends with its last descriptor. Blocks.
    pub(super) fn open(&self) -> io::Result<File> {
        let directory = self.directory.as_deref();
        let directory = directory.ok_or(io::ErrorKind::Unsupported)?;
        match open_in(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(directory)?;
                open_in(directory)
            }
            opened => opened,
        }
    }

    /// Whether the disk of `file` has room for `bytes` and for others. Blocks.
    pub(super) fn spares(file: &File, bytes: u64) -> io::Result<()> {
        let stat = rustix::fs::fstatvfs(file)?;
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        match free.saturating_sub(bytes) >= SPARE {
            true => Ok(()),
            false => Err(io::ErrorKind::StorageFull.into()),
        }
    }

    /// A file could not be written: told once in a while.
    pub(super) fn failed(&self, error: &io::Error) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if told.is_none_or(|told| now.duration_since(told) > TELL) {
            *told = Some(now);
            let directory = self.directory.as_deref().map(Path::display);
            let directory = directory.map(tracing::field::display);
            tracing::warn!(directory, %error, "bodies cannot be buffered on disk; memory only, until it can");
        }
    }
}

impl Bound {
    fn take(&self, bytes: u64, most: u64) -> bool {
        let add = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= most);
        self.used.fetch_update(Relaxed, Relaxed, add).is_ok()
    }
}

impl Charge {
    pub(super) fn merge(&mut self, mut more: Self) {
        self.bytes += std::mem::take(&mut more.bytes);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.room.memory.used.fetch_sub(self.bytes, Relaxed);
    }
}

impl DiskCharge {
    pub(super) fn new(room: &Arc<Room>) -> Self {
        Self {
            room: Arc::clone(room),
            bytes: AtomicU64::new(0),
        }
    }

    pub(super) fn grow(&self, bytes: u64) -> bool {
        let granted = self.room.disk.take(bytes, self.room.disk.most);
        if granted {
            self.bytes.fetch_add(bytes, Relaxed);
        }
        granted
    }
}

impl Drop for DiskCharge {
    fn drop(&mut self) {
        let bytes = *self.bytes.get_mut();
        self.room.disk.used.fetch_sub(bytes, Relaxed);
    }
}

fn open_in(directory: &Path) -> io::Result<File> {
    let mode = Mode::RUSR | Mode::WUSR;
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    match rustix::fs::open(directory, flags | OFlags::TMPFILE, mode) {
        // Not every file system knows files without names.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {}
        opened => return Ok(opened?.into()),
    }
    let flags = flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
    for _ in 0..NAMES {
        let path = directory.join(name());
        match rustix::fs::open(&path, flags, mode) {
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
            Ok(file) => {
                rustix::fs::unlinkat(rustix::fs::CWD, &path, AtFlags::empty())?;
                return Ok(file.into());
            }
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// One that nobody else has.
fn name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let next = NEXT.fetch_add(1, Relaxed);
    format!(".wharf-{}-{next}", std::process::id())
}

/// Who holds memory may have such a part of what is left.
const SHARE: u64 = 4;
/// Bytes that are left on a disk for others: certificates may be on it.
const SPARE: u64 = 256 << 20;
/// Between two lines about failures.
const TELL: Duration = Duration::from_secs(60);
/// Names that are tried.
const NAMES: u32 = 100;

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::{FileExt, PermissionsExt};

    use super::*;

    #[test]
    fn who_has_none_comes_first() {
        let room = Arc::new(Room::new(1000, 0, None));
        let first = room.grant(100, 0, Need::Wanted).unwrap();
        assert!(
            room.grant(100, 100, Need::Wanted).is_none(),
            "more than a quarter of 650"
        );
        let _more = room.grant(50, 100, Need::Wanted).unwrap();
        let _second = room.grant(600, 0, Need::Wanted).unwrap();
        assert!(room.grant(1, 0, Need::Wanted).is_none());
        let needed = room.grant(200, 0, Need::Needed).unwrap();
        assert_eq!(room.memory(), 950);
        let forced = room.force(500);
        assert_eq!(room.memory(), 1450);
        assert!(room.grant(1, 0, Need::Needed).is_none());
        drop((first, needed, forced));
        assert_eq!(room.memory(), 650);
    }

    #[test]
    fn files_have_no_names_and_disk_is_counted_until_they_go() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("a/b");
        let room = Arc::new(Room::new(0, 100, Some(directory.clone())));
        let mut file = room.open().unwrap();
        file.write_all_at(b"hello", 0).unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
        assert_eq!(directory.read_dir().unwrap().count(), 0);
        let mode = directory.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        Room::spares(&file, 0).unwrap();
        assert!(Room::spares(&file, u64::MAX / 2).is_err());

        let charge = Arc::new(DiskCharge::new(&room));
        assert!(charge.grow(60) && !charge.grow(60) && charge.grow(40));
        assert_eq!(room.disk(), 100);
        drop(charge);
        assert_eq!(room.disk(), 0);
        assert!(Room::new(0, 0, None).open().is_err());
    }

    #[test]
    fn names_are_taken_where_a_file_needs_one() {
        assert_ne!(name(), name());
    }
}
