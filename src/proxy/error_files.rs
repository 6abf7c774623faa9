//! Files of error pages, as one worker has read them. Looked at again when they are asked for, a second after
//! the last look at the soonest, beside the worker.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use foldhash::fast::RandomState;

/// A worker's files.
#[derive(Default)]
pub(crate) struct ErrorFiles {
    kept: RefCell<HashMap<Box<str>, Kept, RandomState>>,
    bytes: Cell<usize>,
}

#[derive(Clone)]
struct Kept {
    looked: Instant,
    seen: Seen,
}

/// What a look has found.
#[derive(Clone)]
enum Seen {
    File(Stamp, Rc<Bytes>),
    /// Why there is none, which was told once.
    Nothing(Rc<str>),
}

/// What tells a file from what it was.
type Stamp = (Option<SystemTime>, u64);

/// A look at the disk.
enum Look {
    Same,
    File(Stamp, Vec<u8>),
}

impl ErrorFiles {
    /// The file of this name in `directory`. `Err`: there is none that can be used, and whether that is news.
    pub(crate) async fn find(&self, directory: &Path, name: &str) -> Result<Rc<Bytes>, Missing> {
        let kept = self.kept.borrow().get(name).cloned();
        let now = Instant::now();
        let before = match kept {
            Some(kept) if now < kept.looked + AGAIN => return kept.seen.result(false),
            Some(kept) => Some(kept.seen),
            None => None,
        };
        let stamp = match &before {
            Some(Seen::File(stamp, _)) => Some(*stamp),
            _ => None,
        };
        let (at, dir) = (PathBuf::from(name), directory.to_owned());
        let looked = tokio::task::spawn_blocking(move || look(&dir, &at, stamp)).await;
        let looked = looked.unwrap_or_else(|error| Err(io::Error::other(error)));
        let (seen, news) = match (looked, before) {
            (Ok(Look::Same), Some(before)) => (before, false),
            (Ok(Look::Same), None) => return Err(Missing::old()),
            (Ok(Look::File(stamp, text)), _) => (Seen::File(stamp, Rc::new(text.into())), false),
            (Err(error), before) => {
                let why: Rc<str> = error.to_string().into();
                let known = matches!(before, Some(Seen::Nothing(before)) if before == why);
                (Seen::Nothing(why), !known)
            }
        };
        self.keep(name, seen.clone(), now);
        seen.result(news)
    }

    fn keep(&self, name: &str, seen: Seen, looked: Instant) {
        let size = |seen: &Seen| match seen {
            Seen::File(_, text) => ENTRY + text.len(),
            Seen::Nothing(_) => ENTRY,
        };
        let mut kept = self.kept.borrow_mut();
        let mut bytes = self.bytes.get();
        if let Some(before) = kept.remove(name) {
            bytes -= size(&before.seen);
        }
        if bytes + size(&seen) > MAX_BYTES {
            // They are read again.
            kept.clear();
            bytes = 0;
        }
        self.bytes.set(bytes + size(&seen));
        kept.insert(name.into(), Kept { looked, seen });
    }
}

/// Why a file cannot be used.
pub(crate) struct Missing {
    pub(crate) why: Rc<str>,
    /// Nobody has been told yet.
    pub(crate) news: bool,
}

impl Missing {
    fn old() -> Self {
        Self {
            why: "it is gone".into(),
            news: false,
        }
    }
}

impl Seen {
    fn result(self, news: bool) -> Result<Rc<Bytes>, Missing> {
        match self {
            Self::File(_, text) => Ok(text),
            Self::Nothing(why) => Err(Missing { why, news }),
        }
    }
}

/// Reads a file of a directory, and of no other, whatever links there are, unless it is as it was.
fn look(directory: &Path, name: &Path, before: Option<Stamp>) -> io::Result<Look> {
    let top = directory.canonicalize().map_err(|error| {
        io::Error::other(format!("{} (WHARF_ERRORS): {error}", directory.display()))
    })?;
    let path = top.join(name).canonicalize()?;
    if !path.starts_with(&top) {
        return Err(io::Error::other(format!(
            "it is not in {} (WHARF_ERRORS)",
            directory.display()
        )));
    }
    let found = fs::metadata(&path)?;
    if !found.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    if found.len() > MAX_FILE {
        return Err(io::Error::other(format!(
            "it is longer than {} KiB",
            MAX_FILE / 1024
        )));
    }
    let stamp = (found.modified().ok(), found.len());
    if before == Some(stamp) {
        return Ok(Look::Same);
    }
    let mut text = Vec::new();
    io::Read::read_to_end(
        &mut io::Read::take(fs::File::open(&path)?, MAX_FILE),
        &mut text,
    )?;
    Ok(Look::File(stamp, text))
}

/// Between two looks at a file.
const AGAIN: Duration = Duration::from_secs(1);
/// Of one file.
const MAX_FILE: u64 = 256 * 1024;
/// What a name costs.
const ENTRY: usize = 200;
/// Of all files of a worker.
const MAX_BYTES: usize = 4 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(directory: &Path, name: &str) -> Result<Vec<u8>, String> {
        match look(directory, Path::new(name), None) {
            Ok(Look::File(_, text)) => Ok(text),
            Ok(Look::Same) => Err("the same".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn files_are_of_the_directory_alone_and_have_a_bound() {
        let top = tempfile::tempdir().unwrap();
        let (errors, other) = (top.path().join("errors"), top.path().join("secret.html"));
        fs::create_dir(&errors).unwrap();
        fs::write(&other, "secret").unwrap();
        fs::write(errors.join("a.html"), "a").unwrap();
        fs::write(errors.join("large.html"), vec![0; MAX_FILE as usize + 1]).unwrap();
        std::os::unix::fs::symlink(&other, errors.join("link.html")).unwrap();
        std::os::unix::fs::symlink("a.html", errors.join("own.html")).unwrap();
        assert_eq!(read(&errors, "a.html"), Ok(b"a".to_vec()));
        assert_eq!(read(&errors, "own.html"), Ok(b"a".to_vec()));
        let whole = errors.join("a.html");
        assert_eq!(read(&errors, whole.to_str().unwrap()), Ok(b"a".to_vec()));
        for name in ["link.html", "../secret.html", other.to_str().unwrap()] {
            let error = read(&errors, name).unwrap_err();
            assert!(error.contains("is not in"), "{name}: {error}");
        }
        assert!(read(&errors, "large.html").unwrap_err().contains("longer"));
        assert!(read(&errors, "b.html").is_err());
        assert!(read(&errors, ".").unwrap_err().contains("no file"));
        let nowhere = read(&top.path().join("none"), "a.html").unwrap_err();
        assert!(nowhere.contains("WHARF_ERRORS"), "{nowhere}");
    }

    #[tokio::test]
    async fn a_change_is_seen_after_a_second_and_a_fault_told_once() {
        let top = tempfile::tempdir().unwrap();
        let files = ErrorFiles::default();
        let find = || files.find(top.path(), "a.html");
        let age = || {
            for kept in files.kept.borrow_mut().values_mut() {
                kept.looked -= AGAIN;
            }
        };
        assert!(find().await.err().unwrap().news);
        assert!(!find().await.err().unwrap().news);
        fs::write(top.path().join("a.html"), "one").unwrap();
        age();
        assert_eq!(&**find().await.ok().unwrap(), b"one");
        fs::write(top.path().join("a.html"), "other").unwrap();
        assert_eq!(&**find().await.ok().unwrap(), b"one", "not looked at yet");
        age();
        assert_eq!(&**find().await.ok().unwrap(), b"other");
        fs::remove_file(top.path().join("a.html")).unwrap();
        age();
        assert!(find().await.err().unwrap().news);
        age();
        assert!(!find().await.err().unwrap().news);
        let large = Seen::File((None, 0), Rc::new(Bytes::from(vec![0; 1 << 20])));
        for index in 0..20 {
            files.keep(&index.to_string(), large.clone(), Instant::now());
            assert!(files.bytes.get() <= MAX_BYTES);
        }
    }
}
