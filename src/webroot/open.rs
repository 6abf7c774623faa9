//! Opening a file, on a thread that may wait.
//!
//! Whoever can write below the root decides what is there, and may change it at any time. So a file is opened by a
//! lookup that cannot leave the root, links included (openat2(2), `RESOLVE_BENEATH`), and what was opened is looked at.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat2};
use rustix::io::Errno;

use super::kind::Kind;
use super::path::Name;
use crate::model::Coding;

/// Where files are.
#[derive(Debug)]
pub(super) struct Place {
    /// `WHARF_STATIC_DIR`.
    pub(super) jail: PathBuf,
    /// Below it; empty where it is that itself.
    pub(super) root: PathBuf,
}

/// A file as it goes out.
#[derive(Debug)]
pub(crate) struct Found {
    /// Kept open where it is not here as a whole.
    pub(super) content: Content,
    pub(super) size: u64,
    /// To the second, as fields tell it.
    pub(super) modified: SystemTime,
    /// With its quotes. Each coding of a file has another.
    pub(super) etag: String,
    pub(super) media: &'static str,
    pub(super) coding: Option<Coding>,
    /// It may go out in several codings.
    pub(super) varies: bool,
    /// Not what was asked for, but the page of a site of one page, or that page itself.
    pub(super) shell: bool,
}

#[derive(Debug)]
pub(super) enum Content {
    Here(Bytes),
    File(Arc<File>),
}

/// What is found by a name.
#[derive(Debug)]
pub(super) enum Opened {
    File(Found),
    /// A directory, asked for without the `/` behind it.
    Folder,
}

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("there is no such file")]
    None,
    #[error("Wharf may not read it")]
    Forbidden,
    /// The operator's to put right.
    #[error("there is no directory {0} in Wharf's container")]
    NoRoot(String),
    #[error("it cannot be read: {0}")]
    Unreadable(#[source] io::Error),
    #[error("the file is not what the request depends on (If-Match, If-Unmodified-Since)")]
    Changed,
    /// Of its size.
    #[error("the file has {0} bytes, and none of those asked for")]
    NoPart(u64),
    #[error("files can be read, by GET and HEAD, and nothing else")]
    Method,
}

impl Place {
    /// Opens a file, or the index of a directory. The first of `codings` that lies beside it and is no older is taken.
    pub(super) fn open(&self, name: &Name, codings: &[Coding]) -> Result<Opened, Fault> {
        let root = self.root()?;
        let text = match &*name.text {
            "" => ".",
            text => text,
        };
        let file = beneath(&root, text)?;
        let about = fstat(&file).map_err(unreadable)?;
        match FileType::from_raw_mode(about.st_mode) {
            FileType::RegularFile if name.folder => Err(Fault::None),
            FileType::RegularFile => {
                let mut found = found(&root, text, file, &about, codings)?;
                found.shell = text == INDEX;
                Ok(Opened::File(found))
            }
            FileType::Directory if name.folder => self.index(&root, text, codings),
            FileType::Directory => Ok(Opened::Folder),
            _ => Err(Fault::None),
        }
    }

    /// The page of a site of one page.
    pub(super) fn shell(&self, codings: &[Coding]) -> Result<Found, Fault> {
        match self.index(&self.root()?, ".", codings)? {
            Opened::File(found) => Ok(found),
            Opened::Folder => Err(Fault::None),
        }
    }

    fn index(&self, root: &OwnedFd, folder: &str, codings: &[Coding]) -> Result<Opened, Fault> {
        let name = match folder {
            "." => INDEX.to_owned(),
            folder => format!("{folder}/{INDEX}"),
        };
        let file = beneath(root, &name)?;
        let about = fstat(&file).map_err(unreadable)?;
        match FileType::from_raw_mode(about.st_mode) {
            FileType::RegularFile => {
                let mut found = found(root, &name, file, &about, codings)?;
                found.shell = folder == ".";
                Ok(Opened::File(found))
            }
            _ => Err(Fault::None),
        }
    }

    fn root(&self) -> Result<OwnedFd, Fault> {
        let no_root = || Fault::NoRoot(self.jail.join(&self.root).display().to_string());
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = |errno| match errno {
            Errno::NOENT | Errno::NOTDIR | Errno::XDEV | Errno::LOOP => no_root(),
            Errno::ACCESS | Errno::PERM => Fault::Forbidden,
            errno => unreadable(errno),
        };
        let jail = openat2(CWD, &self.jail, flags, Mode::empty(), ResolveFlags::empty());
        let jail = jail.map_err(open)?;
        match self.root.as_os_str().is_empty() {
            true => Ok(jail),
            false => {
                retried(|| openat2(&jail, &self.root, flags, Mode::empty(), BENEATH)).map_err(open)
            }
        }
    }
}

/// Opens what is below `root`, whatever it is.
fn beneath(root: &OwnedFd, name: &str) -> Result<File, Fault> {
    // A pipe that nobody writes to must not hold this thread.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = retried(|| openat2(root, name, flags, Mode::empty(), BENEATH));
    opened.map(File::from).map_err(|errno| match errno {
        Errno::ACCESS | Errno::PERM => Fault::Forbidden,
        // A link that leads out is as if there were nothing. NXIO: a socket.
        Errno::NOENT
        | Errno::NOTDIR
        | Errno::NAMETOOLONG
        | Errno::LOOP
        | Errno::XDEV
        | Errno::NXIO
        | Errno::NODEV => Fault::None,
        errno => unreadable(errno),
    })
}

/// The kernel gives up where something is renamed during a lookup past `..`.
fn retried<T>(mut open: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    let mut left = TRIES;
    loop {
        match open() {
            Err(Errno::AGAIN | Errno::INTR) if left > 0 => left -= 1,
            opened => return opened,
        }
    }
}

/// The file itself, or a smaller one beside it.
fn found(
    root: &OwnedFd,
    name: &str,
    file: File,
    about: &Stat,
    codings: &[Coding],
) -> Result<Found, Fault> {
    let kind = Kind::of(name);
    let wanted = codings.iter().filter(|_| kind.shrinks);
    for &coding in wanted {
        let Ok(beside) = beneath(root, &format!("{name}{}", ending(coding))) else {
            continue;
        };
        let Ok(other) = fstat(&beside) else { continue };
        let regular = FileType::from_raw_mode(other.st_mode) == FileType::RegularFile;
        if regular && stamp(&other) >= stamp(about) {
            return read(beside, other, kind, Some(coding));
        }
    }
    read(file, *about, kind, None)
}

/// What the name of a file ends with that lies beside another.
fn ending(coding: Coding) -> &'static str {
    match coding {
        Coding::Brotli => ".br",
        Coding::Zstd => ".zst",
        Coding::Gzip => ".gz",
    }
}

/// A small file is read at once, so that what is known of it is of the same moment.
fn read(file: File, mut about: Stat, kind: Kind, coding: Option<Coding>) -> Result<Found, Fault> {
    let mut content = None;
    for _ in 0..TRIES {
        let size = size(&about);
        if size > SMALL {
            break;
        }
        let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
        let whole = file.read_exact_at(&mut bytes, 0);
        let after = fstat(file.as_fd()).map_err(unreadable)?;
        let same = stamp(&after) == stamp(&about) && after.st_size == about.st_size;
        about = after;
        match whole {
            Ok(()) if same => {
                content = Some(bytes);
                break;
            }
            Err(error) if same => return Err(Fault::Unreadable(error)),
            _ => {}
        }
    }
    let (seconds, nanos) = stamp(&about);
    let size = size(&about);
    let coded = coding.map(Coding::name);
    let dash = if coded.is_some() { "-" } else { "" };
    Ok(Found {
        content: match content {
            Some(bytes) => Content::Here(bytes.into()),
            None => Content::File(Arc::new(file)),
        },
        size,
        modified: UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or_default()),
        etag: format!(
            "\"{seconds:x}.{nanos:x}-{size:x}{dash}{}\"",
            coded.unwrap_or_default()
        ),
        media: kind.media,
        coding,
        varies: kind.shrinks,
        shell: false,
    })
}

/// When it was written to, in seconds and nanoseconds.
fn stamp(about: &Stat) -> (i64, u64) {
    (about.st_mtime, about.st_mtime_nsec)
}

fn size(about: &Stat) -> u64 {
    u64::try_from(about.st_size).unwrap_or_default()
}

fn unreadable(errno: Errno) -> Fault {
    Fault::Unreadable(errno.into())
}

const BENEATH: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS);
const INDEX: &str = "index.html";
const TRIES: usize = 4;
/// Files up to this size are read as they are opened, and kept for a moment.
pub(super) const SMALL: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    fn place(dir: &TempDir, root: &str) -> Place {
        Place {
            jail: dir.path().to_owned(),
            root: root.into(),
        }
    }

    fn open(place: &Place, path: &str, codings: &[Coding]) -> Result<String, String> {
        let opened = place.open(&Name::of(path).unwrap(), codings);
        match opened.map_err(|fault| fault.to_string())? {
            Opened::Folder => Ok("folder".into()),
            Opened::File(found) => match found.content {
                Content::Here(bytes) => Ok(String::from_utf8(bytes.to_vec()).unwrap()),
                Content::File(_) => Ok(format!("{} bytes", found.size)),
            },
        }
    }

    /// S70: nothing outside the root, whatever links say.
    #[test]
    fn no_link_leads_out_of_the_root() {
        let dir = TempDir::new().unwrap();
        let www = dir.path().join("www");
        fs::create_dir_all(www.join("docs")).unwrap();
        fs::create_dir(www.join("empty")).unwrap();
        fs::write(dir.path().join("secret"), "secret").unwrap();
        fs::write(www.join("index.html"), "home").unwrap();
        fs::write(www.join("docs/index.html"), "docs").unwrap();
        fs::write(www.join("big.bin"), vec![0; 70_000]).unwrap();
        symlink("docs/index.html", www.join("within")).unwrap();
        symlink("docs", www.join("folder")).unwrap();
        symlink("../secret", www.join("out")).unwrap();
        symlink(dir.path().join("secret"), www.join("absolute")).unwrap();
        symlink("..", www.join("up")).unwrap();
        symlink("/proc/self/root/etc/passwd", www.join("magic")).unwrap();
        symlink("loop", www.join("loop")).unwrap();
        rustix::fs::mknodat(CWD, www.join("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        symlink("www", dir.path().join("current")).unwrap();
        symlink("/etc", dir.path().join("etc")).unwrap();
        let none = || Err("there is no such file".to_owned());
        let root = place(&dir, "www");
        for (path, expected) in [
            ("/", Ok("home".to_owned())),
            ("/docs/", Ok("docs".into())),
            ("/docs", Ok("folder".into())),
            ("/folder/", Ok("docs".into())),
            ("/within", Ok("docs".into())),
            ("/big.bin", Ok("70000 bytes".into())),
            ("/index.html/", none()),
            ("/empty/", none()),
            ("/out", none()),
            ("/absolute", none()),
            ("/up/secret", none()),
            ("/magic", none()),
            ("/loop", none()),
            ("/pipe", none()),
            (&*format!("/{}", "x".repeat(300)), none()),
        ] {
            assert_eq!(open(&root, path, &[]), expected, "{path}");
        }
        assert_eq!(open(&place(&dir, "current"), "/", &[]), Ok("home".into()));
        for root in ["etc", "missing", "secret"] {
            let told = open(&place(&dir, root), "/", &[]).unwrap_err();
            assert!(
                told.starts_with("there is no directory /"),
                "{root}: {told}"
            );
        }
    }

    #[test]
    fn smaller_files_beside_it_go_out_unless_they_are_older() {
        use Coding::*;
        let dir = TempDir::new().unwrap();
        let write = |name: &str, age: u64| {
            let path = dir.path().join(name);
            fs::write(&path, name).unwrap();
            let time = SystemTime::now() - Duration::from_secs(age);
            File::open(path).unwrap().set_modified(time).unwrap();
        };
        write("app.js", 10);
        write("app.js.gz", 9);
        write("app.js.br", 11);
        write("logo.png", 10);
        write("logo.png.gz", 9);
        write("only.css.gz", 0);
        let root = place(&dir, "");
        for (path, codings, expected) in [
            ("/app.js", &[][..], Ok("app.js".to_owned())),
            ("/app.js", &[Gzip], Ok("app.js.gz".into())),
            ("/app.js", &[Brotli], Ok("app.js".into())),
            ("/app.js", &[Brotli, Zstd, Gzip], Ok("app.js.gz".into())),
            ("/logo.png", &[Gzip], Ok("logo.png".into())),
            ("/only.css", &[Gzip], Err("there is no such file".into())),
        ] {
            assert_eq!(open(&root, path, codings), expected, "{path} {codings:?}");
        }
        let of = |codings: &[Coding]| match root.open(&Name::of("/app.js").unwrap(), codings) {
            Ok(Opened::File(found)) => found,
            other => panic!("{other:?}"),
        };
        let (plain, gzip) = (of(&[]), of(&[Gzip]));
        assert!(gzip.etag.ends_with("-gzip\"") && plain.etag != gzip.etag);
        assert_eq!(
            (plain.media, gzip.media),
            (gzip.media, Kind::of("x.js").media)
        );
        assert!(plain.varies && gzip.varies);
    }
}
