//! Where lines end up: standard output, or a file that is rotated and opened again.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, fcntl_setfl};

use crate::model::Rotation;

/// Where lines end up. Only the writer thread touches it.
pub struct Output(Kind);

enum Kind {
    Stream(Stream),
    File(LogFile),
}

/// A file of the log, and where it is.
struct LogFile {
    stream: Stream,
    path: PathBuf,
    /// `None` also for what is no plain file.
    rotation: Option<Rotation>,
    /// So far as is known: somebody else may have truncated it.
    size: u64,
    /// When it could not be rotated.
    stuck: Option<Instant>,
}

struct Stream {
    out: Box<dyn Write + Send>,
    /// The file, to take half a line back from.
    file: Option<File>,
    /// The last line is not whole.
    torn: bool,
}

/// What was not written: all behind the first `whole` bytes, which are lines.
#[derive(Debug)]
pub(super) struct Unwritten {
    pub(super) whole: usize,
    pub(super) fault: io::Error,
}

impl Output {
    /// # Errors
    /// Where there is no standard output.
    pub fn stdout() -> io::Result<Self> {
        // Not by way of `io::stdout`, which keeps some of what could not be written.
        let out: OwnedFd = io::stdout().as_fd().try_clone_to_owned()?;
        Ok(Self::stream(File::from(out)))
    }

    pub(super) fn stream(out: impl Write + Send + 'static) -> Self {
        Self(Kind::Stream(Stream {
            out: Box::new(out),
            file: None,
            torn: false,
        }))
    }

    /// A file that is appended to, and made with mode 0640 where it is not there.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn file(path: &Path, rotation: Option<Rotation>) -> io::Result<Self> {
        LogFile::open(path.to_owned(), rotation).map(|file| Self(Kind::File(file)))
    }

    /// Opens the file again: it may have been moved. `None`: there is no file.
    pub(super) fn reopen(&mut self) -> Option<(&Path, io::Result<()>)> {
        match &mut self.0 {
            Kind::Stream(_) => None,
            Kind::File(file) => {
                let opened = file.reopen();
                Some((&file.path, opened))
            }
        }
    }

    /// Appends whole lines.
    pub(super) fn put(&mut self, text: &[u8]) -> Result<(), Unwritten> {
        match &mut self.0 {
            Kind::Stream(stream) => stream.put(text).map(|_| ()),
            Kind::File(file) => file.put(text),
        }
    }
}

impl LogFile {
    fn open(path: PathBuf, rotation: Option<Rotation>) -> io::Result<Self> {
        let (file, size) = open(&path)?;
        Ok(Self {
            stream: Stream::of(file)?,
            path,
            rotation: rotation.filter(|_| size.is_some()),
            size: size.unwrap_or(0),
            stuck: None,
        })
    }

    /// Keeps what it has where that fails.
    fn reopen(&mut self) -> io::Result<()> {
        let (file, size) = open(&self.path)?;
        self.stream = Stream::of(file)?;
        self.size = size.unwrap_or(0);
        self.stuck = None;
        Ok(())
    }

    fn put(&mut self, text: &[u8]) -> Result<(), Unwritten> {
        if let Some(rotation) = self.rotation
            && self.size > 0
            && self.size + text.len() as u64 > rotation.size
        {
            self.rotate(rotation, text.len() as u64)
                .map_err(|fault| Unwritten { whole: 0, fault })?;
        }
        let put = self.stream.put(text);
        match &put {
            Ok(written) => self.size += written,
            Err(_) => self.size = self.stream.len().unwrap_or(self.size),
        }
        put.map(|_| ())
    }

    /// Makes room for `more` bytes: the file becomes `.1`, what is `.1` becomes `.2`, and the oldest goes.
    fn rotate(&mut self, rotation: Rotation, more: u64) -> io::Result<()> {
        let own = self.stream.metadata()?;
        self.size = own.len();
        if self.size + more <= rotation.size || self.size == 0 {
            // Somebody has truncated it meanwhile.
            return Ok(());
        }
        if self.stuck.is_some_and(|at| at.elapsed() < STUCK_PAUSE) {
            return Err(io::Error::other("it is full and could not be rotated"));
        }
        let moved = match fs::metadata(&self.path) {
            // Somebody has moved it: that is a rotation, too.
            Ok(there) if (there.dev(), there.ino()) != (own.dev(), own.ino()) => Ok(()),
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(fault) => Err(fault),
            Ok(_) if rotation.keep == 0 => self.stream.truncate(0),
            Ok(_) => self.shift(rotation.keep),
        };
        let done = moved.and_then(|()| self.reopen());
        if done.is_err() {
            self.stuck = Some(Instant::now());
        }
        done
    }

    fn shift(&self, keep: u16) -> io::Result<()> {
        let rename = |from: &Path, to: &Path| match fs::rename(from, to) {
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => Ok(()),
            renamed => renamed,
        };
        for number in (1..keep).rev() {
            rename(&self.numbered(number), &self.numbered(number + 1))?;
        }
        rename(&self.path, &self.numbered(1))?;
        // There may be more from when more were kept.
        let mut beyond = keep;
        while let Some(next) = beyond.checked_add(1)
            && fs::remove_file(self.numbered(next)).is_ok()
        {
            beyond = next;
        }
        Ok(())
    }

    fn numbered(&self, number: u16) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(format!(".{number}"));
        path.into()
    }
}

impl Stream {
    fn of(file: File) -> io::Result<Self> {
        Ok(Self {
            out: Box::new(file.try_clone()?),
            file: Some(file),
            torn: false,
        })
    }

    /// The number of bytes that were written.
    fn put(&mut self, text: &[u8]) -> Result<u64, Unwritten> {
        if self.torn {
            self.all(b"\n")
                .map_err(|(_, fault)| Unwritten { whole: 0, fault })?;
            self.torn = false;
        }
        match self.all(text) {
            Ok(()) => Ok(text.len() as u64),
            Err((written, fault)) => {
                let lines = text[..written].iter().rposition(|byte| *byte == b'\n');
                let whole = lines.map_or(0, |at| at + 1);
                let half = (written - whole) as u64;
                let end = self.len().and_then(|len| len.checked_sub(half));
                self.torn = half > 0 && end.is_none_or(|end| self.truncate(end).is_err());
                Err(Unwritten { whole, fault })
            }
        }
    }

    /// Or how much was written, and why no more.
    fn all(&mut self, text: &[u8]) -> Result<(), (usize, io::Error)> {
        let mut written = 0;
        while written < text.len() {
            match self.out.write(&text[written..]) {
                Ok(0) => return Err((written, io::ErrorKind::WriteZero.into())),
                Ok(count) => written += count,
                Err(fault) if fault.kind() == io::ErrorKind::Interrupted => {}
                // A pipe that whoever shares it has made non-blocking.
                Err(fault) if fault.kind() == io::ErrorKind::WouldBlock => {
                    thread::sleep(FULL_PAUSE);
                }
                Err(fault) => return Err((written, fault)),
            }
        }
        Ok(())
    }

    /// Of a plain file.
    fn len(&self) -> Option<u64> {
        let found = self.file.as_ref()?.metadata().ok()?;
        found.is_file().then_some(found.len())
    }

    fn metadata(&self) -> io::Result<fs::Metadata> {
        let none = || io::Error::from(io::ErrorKind::Unsupported);
        self.file.as_ref().ok_or_else(none)?.metadata()
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let none = || io::Error::from(io::ErrorKind::Unsupported);
        self.file.as_ref().ok_or_else(none)?.set_len(len)
    }
}

/// The file, and its size where it is a plain one.
fn open(path: &Path) -> io::Result<(File, Option<u64>)> {
    // A named pipe nobody reads would keep whoever opens it waiting.
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags | OFlags::NONBLOCK, Mode::from_raw_mode(0o640))?;
    fcntl_setfl(&file, OFlags::APPEND)?;
    let file = File::from(file);
    let found = file.metadata()?;
    let size = found.is_file().then_some(found.len());
    Ok((file, size))
}

/// Before a file that could not be rotated is tried again.
const STUCK_PAUSE: Duration = Duration::from_secs(10);
/// Before a pipe that is full is tried again.
const FULL_PAUSE: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn rotation(size: u64, keep: u16) -> Option<Rotation> {
        Some(Rotation { size, keep })
    }

    /// What is in the directory, by name.
    fn files(directory: &Path) -> Vec<(String, String)> {
        let mut files: Vec<_> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let name = entry.file_name().into_string().unwrap();
                (name, fs::read_to_string(entry.path()).unwrap())
            })
            .collect();
        files.sort();
        files
    }

    fn owned(files: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
        files.iter().map(owned).collect()
    }

    #[test]
    fn a_full_file_becomes_the_first_of_those_kept() {
        let at = tempfile::tempdir().unwrap();
        let path = at.path().join("a");
        // From when more were kept.
        fs::write(at.path().join("a.3"), "old\n").unwrap();
        let mut out = Output::file(&path, rotation(8, 2)).unwrap();
        for line in [
            "one\n",
            "two\n",
            "three\n",
            "four\n",
            "five\n",
            "sixth line\n",
            "7\n",
        ] {
            out.put(line.as_bytes()).unwrap();
        }
        assert_eq!(
            files(at.path()),
            owned(&[("a", "7\n"), ("a.1", "sixth line\n"), ("a.2", "five\n")])
        );
    }

    #[test]
    fn none_kept_is_one_file_that_starts_again() {
        let at = tempfile::tempdir().unwrap();
        let path = at.path().join("a");
        fs::write(&path, "before\n").unwrap();
        let mut out = Output::file(&path, rotation(12, 0)).unwrap();
        out.put(b"one\n").unwrap();
        assert_eq!(files(at.path()), owned(&[("a", "before\none\n")]));
        out.put(b"two\n").unwrap();
        assert_eq!(files(at.path()), owned(&[("a", "two\n")]));
    }

    #[test]
    fn a_moved_or_truncated_file_is_not_rotated_again() {
        let at = tempfile::tempdir().unwrap();
        let path = at.path().join("a");
        let mut out = Output::file(&path, rotation(8, 3)).unwrap();
        out.put(b"one\ntwo\n").unwrap();
        // logrotate's copytruncate.
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(0)
            .unwrap();
        out.put(b"three\n").unwrap();
        assert_eq!(files(at.path()), owned(&[("a", "three\n")]));
        // logrotate's create, before it has told anybody.
        fs::rename(&path, at.path().join("b")).unwrap();
        out.put(b"x\n").unwrap();
        out.put(b"four\n").unwrap();
        fs::rename(&path, at.path().join("c")).unwrap();
        out.reopen().unwrap().1.unwrap();
        out.put(b"5\n").unwrap();
        assert_eq!(
            files(at.path()),
            owned(&[("a", "5\n"), ("b", "three\nx\n"), ("c", "four\n")])
        );
    }

    #[test]
    fn a_file_that_cannot_be_opened_again_is_written_on() {
        let at = tempfile::tempdir().unwrap();
        let (here, there) = (at.path().join("here"), at.path().join("there"));
        fs::create_dir(&here).unwrap();
        let mut out = Output::file(&here.join("a"), None).unwrap();
        fs::rename(&here, &there).unwrap();
        assert!(out.reopen().unwrap().1.is_err());
        out.put(b"one\n").unwrap();
        assert_eq!(files(&there), owned(&[("a", "one\n")]));
    }

    #[test]
    fn what_cannot_be_rotated_stays_within_its_size() {
        let at = tempfile::tempdir().unwrap();
        let path = at.path().join("a");
        // Nothing can be moved there.
        fs::create_dir_all(at.path().join("a.1/x")).unwrap();
        let mut out = Output::file(&path, rotation(8, 1)).unwrap();
        out.put(b"one\n").unwrap();
        out.put(b"two\n").unwrap();
        assert_eq!(out.put(b"three\n").unwrap_err().whole, 0);
        assert_eq!(out.put(b"four\n").unwrap_err().whole, 0);
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\n");
    }

    #[test]
    fn devices_are_not_rotated() {
        let mut null = Output::file(Path::new("/dev/null"), rotation(4, 1)).unwrap();
        null.put(b"one two\n").unwrap();
        null.put(b"three\n").unwrap();
        let mut full = Output::file(Path::new("/dev/full"), rotation(4, 1)).unwrap();
        let unwritten = full.put(b"one\n").unwrap_err();
        assert_eq!(unwritten.whole, 0);
        assert_eq!(unwritten.fault.kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn a_named_pipe_nobody_reads_is_a_fault_and_no_wait() {
        let at = tempfile::tempdir().unwrap();
        let path = at.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        assert!(Output::file(&path, None).is_err());
    }

    /// Takes so many bytes, then fails once, and so on.
    struct Short {
        room: usize,
        text: std::sync::Arc<std::sync::Mutex<Vec<u8>>>,
    }

    impl Write for Short {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.room == 0 {
                self.room = 100;
                return Err(io::ErrorKind::StorageFull.into());
            }
            let count = bytes.len().min(self.room);
            self.room -= count;
            self.text.lock().unwrap().extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn half_a_line_is_ended_before_the_next() {
        for (room, whole, expected) in [
            (6, 4, "one\ntw\nfour\n"),
            (8, 8, "one\ntwo\nfour\n"),
            (2, 0, "on\nfour\n"),
            (0, 0, "four\n"),
        ] {
            let text = std::sync::Arc::default();
            let mut out = Output::stream(Short {
                room,
                text: std::sync::Arc::clone(&text),
            });
            let unwritten = out.put(b"one\ntwo\nthree\n").unwrap_err();
            assert_eq!(unwritten.whole, whole);
            out.put(b"four\n").unwrap();
            assert_eq!(text.lock().unwrap().as_slice(), expected.as_bytes());
        }
    }
}
