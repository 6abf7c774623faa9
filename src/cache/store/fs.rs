//! The directory: names, and the few calls that the store makes there. Behind a trait, for tests in which disks fail.
//!
//! A response is `<bucket>/<id>.wc`; while it is written, `<bucket>/<id>.tmp`. Bucket and id are hexadecimal. Files have
//! mode 0600, directories 0700. No symbolic link is followed.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

/// What a directory holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Whole(u64),
    Unfinished(u64),
    /// Nothing that we have written.
    Foreign,
}

pub(super) trait Fs: Send + Sync {
    /// An empty file that is seen under its name only once it is published.
    fn create(&self, id: u64) -> io::Result<File>;
    fn publish(&self, id: u64) -> io::Result<()>;
    fn open(&self, id: u64) -> io::Result<File>;
    fn open_unfinished(&self, id: u64) -> io::Result<File>;
    fn remove(&self, id: u64) -> io::Result<()>;
    fn remove_unfinished(&self, id: u64) -> io::Result<()>;
    /// Buckets that there are, and whether there is anything else.
    fn buckets(&self) -> io::Result<(Vec<u64>, bool)>;
    fn list(&self, bucket: u64, found: &mut dyn FnMut(Found)) -> io::Result<()>;
    /// Bytes that are free to us, on the whole file system.
    fn free(&self) -> io::Result<u64>;

    fn write(&self, file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
        file.write_all_at(bytes, at)
    }

    fn read(&self, file: &File, bytes: &mut [u8], at: u64) -> io::Result<()> {
        file.read_exact_at(bytes, at)
    }
}

/// A directory of this machine that is ours alone.
#[derive(Debug)]
pub(super) struct Directory {
    root: OwnedFd,
    /// Locked as long as we live.
    _lock: File,
}

impl Directory {
    /// Makes the directory if need be, and says from where on ids are new. `WouldBlock` while another process uses it.
    pub(super) fn open(path: &Path, minutes: u64) -> io::Result<(Self, u64)> {
        std::fs::create_dir_all(path)?;
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty())?;
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let lock: File = rustix::fs::openat(&root, c".lock", flags, PRIVATE)?.into();
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        let run = next_run(&lock, minutes)?;
        Ok((Self { root, _lock: lock }, run << RUN_BITS))
    }

    fn bucket(&self, id: u64) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        rustix::fs::openat(&self.root, bucket_name(id), flags, Mode::empty())
    }

    fn file(&self, id: u64, unfinished: bool) -> io::Result<File> {
        // Not blocked by what is no file, such as a pipe.
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let bucket = self.bucket(id)?;
        let file = rustix::fs::openat(bucket, name(id, unfinished), flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || stat.st_nlink > 1 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(file.into())
    }

    fn unlink(&self, id: u64, unfinished: bool) -> io::Result<()> {
        let bucket = self.bucket(id)?;
        Ok(rustix::fs::unlinkat(
            bucket,
            name(id, unfinished),
            AtFlags::empty(),
        )?)
    }
}

impl Fs for Directory {
    fn create(&self, id: u64) -> io::Result<File> {
        let bucket = match self.bucket(id) {
            Err(Errno::NOENT) => {
                let mode = PRIVATE | Mode::XUSR;
                match rustix::fs::mkdirat(&self.root, bucket_name(id), mode) {
                    Err(Errno::EXIST) | Ok(()) => self.bucket(id)?,
                    Err(error) => return Err(error.into()),
                }
            }
            bucket => bucket?,
        };
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
        let flags = flags | OFlags::NOFOLLOW;
        Ok(rustix::fs::openat(bucket, name(id, true), flags, PRIVATE)?.into())
    }

    fn publish(&self, id: u64) -> io::Result<()> {
        let bucket = self.bucket(id)?;
        Ok(rustix::fs::renameat(
            &bucket,
            name(id, true),
            &bucket,
            name(id, false),
        )?)
    }

    fn open(&self, id: u64) -> io::Result<File> {
        self.file(id, false)
    }

    fn open_unfinished(&self, id: u64) -> io::Result<File> {
        self.file(id, true)
    }

    fn remove(&self, id: u64) -> io::Result<()> {
        self.unlink(id, false)
    }

    fn remove_unfinished(&self, id: u64) -> io::Result<()> {
        self.unlink(id, true)
    }

    fn buckets(&self) -> io::Result<(Vec<u64>, bool)> {
        let (mut buckets, mut foreign) = (Vec::new(), false);
        for entry in Dir::read_from(&self.root)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            match parse_bucket(name) {
                Some(bucket) => buckets.push(bucket),
                None => foreign |= !matches!(name, b"." | b".." | b".lock" | b"lost+found"),
            }
        }
        buckets.sort_unstable();
        Ok((buckets, foreign))
    }

    fn list(&self, bucket: u64, found: &mut dyn FnMut(Found)) -> io::Result<()> {
        let dir = match self.bucket(bucket) {
            Err(Errno::NOENT) => return Ok(()),
            // A file or a link where a directory of ours would be.
            Err(Errno::NOTDIR | Errno::LOOP) => {
                found(Found::Foreign);
                return Ok(());
            }
            dir => dir?,
        };
        for entry in Dir::read_from(&dir)? {
            let entry = entry?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                found(parse(entry.file_name(), bucket));
            }
        }
        Ok(())
    }

    fn free(&self) -> io::Result<u64> {
        let stat = rustix::fs::fstatvfs(&self.root)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

/// A number for this process that is larger than all before, whether the clock has been set back or the file is gone.
fn next_run(lock: &File, minutes: u64) -> io::Result<u64> {
    let mut text = [0; 20];
    let len = lock.read_at(&mut text, 0)?;
    let last = std::str::from_utf8(&text[..len])
        .ok()
        .and_then(|text| text.trim().parse().ok());
    let run = last
        .map_or(0, |last: u64| last.saturating_add(1))
        .max(minutes);
    let run = run.min(u64::MAX >> RUN_BITS);
    lock.write_all_at(format!("{run:019}\n").as_bytes(), 0)?;
    Ok(run)
}

fn bucket_name(id: u64) -> String {
    format!("{:03x}", id % BUCKETS)
}

fn parse_bucket(name: &[u8]) -> Option<u64> {
    let bucket = u64::from_str_radix(std::str::from_utf8(name).ok()?, 16).ok()?;
    (bucket < BUCKETS && bucket_name(bucket).as_bytes() == name).then_some(bucket)
}

fn name(id: u64, unfinished: bool) -> String {
    let end = if unfinished { "tmp" } else { "wc" };
    format!("{id:016x}.{end}")
}

fn parse(file: &CStr, bucket: u64) -> Found {
    let parsed = || {
        let (digits, end) = file.to_str().ok()?.split_once('.')?;
        let id = u64::from_str_radix(digits, 16).ok()?;
        let found = match end {
            "wc" => Found::Whole(id),
            "tmp" => Found::Unfinished(id),
            _ => return None,
        };
        let same = name(id, end == "tmp").as_bytes() == file.to_bytes();
        (same && id % BUCKETS == bucket).then_some(found)
    };
    parsed().unwrap_or(Found::Foreign)
}

/// Directories that files are spread over.
pub(super) const BUCKETS: u64 = 4096;
/// An id is the number of the process and, in so many bits, a count.
pub(super) const RUN_BITS: u32 = 36;
const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_ours_in_their_place_are_ours() {
        let cases = [
            (c"0000000000001005.wc", Found::Whole(0x1005)),
            (c"0000000000001005.tmp", Found::Unfinished(0x1005)),
            (c"0000000000001006.wc", Found::Foreign),
            (c"000000000001005.wc", Found::Foreign),
            (c"+000000000001005.wc", Found::Foreign),
            (c"000000000000A005.wc", Found::Foreign),
            (c"0000000000001005.wc~", Found::Foreign),
            (c"0000000000001005", Found::Foreign),
            (c"index.html", Found::Foreign),
        ];
        for (name, found) in cases {
            assert_eq!(parse(name, 5), found, "{name:?}");
        }
    }
}
