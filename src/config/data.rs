//! Finding a directory that can be written.

use std::env;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process;

/// Where certificates and the account are kept.
#[derive(Debug)]
pub struct DataDir;

impl DataDir {
    /// What is to be said of a directory that goes with its container. Linux alone.
    pub fn warning(data: &Path) -> Option<String> {
        super::volume::warning(data)
    }

    /// Where a Wharf that was told `wanted` keeps its certificates: there, or where [`DataDir::open`] went
    /// instead. Makes nothing.
    pub fn find(wanted: &Path) -> PathBuf {
        find_with(wanted, |name| env::var_os(name), &env::temp_dir())
    }

    /// Creates the directory with mode 0700 and tests it by writing. Where that fails, falls back to
    /// `$XDG_STATE_HOME/wharf`, `~/.local/state/wharf`, then a directory below the system's
    /// temporary one, and the warning says so. A directory that exists keeps its mode.
    ///
    /// A directory that cannot be written but holds certificates is taken as it is: somewhere else all of
    /// them would be ordered again, and a disk that is full or read-only may be mended. That is the last
    /// resort, too: callers keep what they have in memory when a write fails.
    pub fn open(wanted: &Path) -> (PathBuf, Option<String>) {
        open_with(wanted, |name| env::var_os(name), &env::temp_dir())
    }
}

fn find_with(wanted: &Path, variable: impl Fn(&str) -> Option<OsString>, temp: &Path) -> PathBuf {
    let places = [wanted.to_owned()].into_iter().chain(state_dirs(variable));
    let mut places = places.chain([temp.join("wharf-state")]);
    let found = places.find(|place| place.join("certificates").is_dir());
    found.unwrap_or_else(|| wanted.to_owned())
}

fn open_with(
    wanted: &Path,
    variable: impl Fn(&str) -> Option<OsString>,
    temp: &Path,
) -> (PathBuf, Option<String>) {
    let refusal = match usable(wanted) {
        Ok(()) => return (wanted.to_owned(), None),
        Err(refusal) => refusal,
    };
    let problem = format!("{} cannot be written ({refusal})", wanted.display());
    if fs::read_dir(wanted.join("certificates")).is_ok() {
        let warning = format!(
            "{problem}; what it holds is served, and new certificates are kept in memory until it can"
        );
        return (wanted.to_owned(), Some(warning));
    }
    for state in state_dirs(variable) {
        if usable(&state).is_ok() {
            let warning = format!("{problem}; certificates are kept in {}", state.display());
            return (state, Some(warning));
        }
    }
    let last = temp.join("wharf-state");
    if usable_in_shared(&last).is_ok() {
        let warning = format!(
            "{problem}; certificates are kept in {} and may be lost at the next start",
            last.display()
        );
        return (last, Some(warning));
    }
    let warning = format!("{problem}; certificates are kept in memory and lost at the next start");
    (wanted.to_owned(), Some(warning))
}

/// The XDG base directory specification: a relative path in the variable is to be ignored.
fn state_dirs(variable: impl Fn(&str) -> Option<OsString>) -> impl Iterator<Item = PathBuf> {
    let absolute = |name| {
        variable(name)
            .map(PathBuf::from)
            .filter(|p| p.is_absolute())
    };
    let xdg = absolute("XDG_STATE_HOME").map(|dir| dir.join("wharf"));
    let home = absolute("HOME").map(|dir| dir.join(".local/state/wharf"));
    xdg.into_iter().chain(home)
}

fn usable(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    probe(dir).map(drop)
}

/// A name below a shared directory can be taken by someone else first: private keys go there only
/// if it is a directory of ours that nobody else may enter.
fn usable_in_shared(dir: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(fault) if fault.kind() != io::ErrorKind::AlreadyExists => return Err(fault),
        _ => {}
    }
    let found = fs::symlink_metadata(dir)?;
    if found.is_dir() && found.mode() & 0o077 == 0 && found.uid() == probe(dir)?.uid() {
        Ok(())
    } else {
        Err(io::ErrorKind::PermissionDenied.into())
    }
}

/// Writes and removes a file. `create_new` does not follow a link that lies there.
fn probe(dir: &Path) -> io::Result<Metadata> {
    let path = dir.join(format!(".write-test-{}", process::id()));
    let create = || File::create_new(&path);
    let mut file = create().or_else(|fault| match fault.kind() {
        // Left by a crash; in a container the process id is always the same.
        io::ErrorKind::AlreadyExists => fs::remove_file(&path).and_then(|()| create()),
        _ => Err(fault),
    })?;
    let written = file.write_all(b"wharf").and_then(|()| file.metadata());
    fs::remove_file(&path)?;
    written
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A path nobody can create, root included: its parent is a file.
    fn blocked(temp: &Path) -> PathBuf {
        let file = temp.join("file");
        fs::write(&file, b"").unwrap();
        file.join("data")
    }

    #[test]
    fn the_wanted_directory_is_made_private() {
        let temp = tempfile::tempdir().unwrap();
        let wanted = temp.path().join("a/b");
        assert_eq!(DataDir::open(&wanted), (wanted.clone(), None));
        assert_eq!(fs::metadata(&wanted).unwrap().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(&wanted).unwrap().count(), 0);
    }

    #[test]
    fn falls_back_to_the_state_directory() {
        let temp = tempfile::tempdir().unwrap();
        let wanted = blocked(temp.path());
        for (variable, below) in [("XDG_STATE_HOME", "wharf"), ("HOME", ".local/state/wharf")] {
            let lookup = |name: &str| (name == variable).then(|| temp.path().into());
            let (dir, warning) = open_with(&wanted, lookup, temp.path());
            assert_eq!(dir, temp.path().join(below));
            assert!(warning.unwrap().contains("cannot be written"));
        }
    }

    #[test]
    fn falls_back_to_a_private_temporary_directory() {
        let temp = tempfile::tempdir().unwrap();
        let wanted = blocked(temp.path());
        let relative = |_: &str| Some("relative".into());
        let (dir, warning) = open_with(&wanted, relative, temp.path());
        assert_eq!(dir, temp.path().join("wharf-state"));
        assert!(warning.unwrap().contains("may be lost"));

        fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
        let (dir, warning) = open_with(&wanted, |_| None, temp.path());
        assert_eq!(dir, wanted);
        assert!(warning.unwrap().contains("in memory"));
    }

    /// A file where the test of writing makes one is as good as a full disk.
    #[test]
    fn a_directory_with_certificates_is_kept_though_it_cannot_be_written() {
        let temp = tempfile::tempdir().unwrap();
        let wanted = temp.path().join("data");
        let state = |_: &str| Some(temp.path().join("state").into());
        fs::create_dir_all(wanted.join(format!(".write-test-{}", process::id()))).unwrap();
        let (dir, _) = open_with(&wanted, state, temp.path());
        assert_ne!(dir, wanted);
        fs::create_dir(wanted.join("certificates")).unwrap();
        let (dir, warning) = open_with(&wanted, state, temp.path());
        assert_eq!(dir, wanted);
        assert!(warning.unwrap().contains("what it holds is served"));
        assert_eq!(find_with(&wanted, state, temp.path()), wanted);
        let elsewhere = temp.path().join("state/wharf");
        fs::create_dir_all(elsewhere.join("certificates")).unwrap();
        let nowhere = temp.path().join("nowhere");
        assert_eq!(find_with(&nowhere, state, temp.path()), elsewhere);
    }

    #[test]
    fn a_link_planted_in_the_temporary_directory_is_not_followed() {
        let temp = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), temp.path().join("wharf-state")).unwrap();
        let wanted = blocked(temp.path());
        assert_eq!(open_with(&wanted, |_| None, temp.path()).0, wanted);
    }
}
