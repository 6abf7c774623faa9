//! What `env:` and `file:` in labels stand for: read here and nowhere else, of a few small files, by `control`
//! before it plans. Contents are in the plan and in no message.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::docker::labels::Values;

/// Where they are read from.
#[derive(Debug)]
pub struct Source {
    directory: PathBuf,
    /// Files and directories of Wharf's own, which no label reads, wherever they are.
    kept: Vec<PathBuf>,
    /// Variables that are meant for labels.
    variables: BTreeMap<String, String>,
    known: BTreeMap<String, Known>,
}

/// A reference at the last look.
#[derive(Debug)]
struct Known {
    stamp: Option<Stamp>,
    read: Result<String, String>,
}

/// Changes with the file.
type Stamp = (u64, u64, u64, i64, i64);

impl Source {
    /// `variables` are those of the process that are meant for labels.
    pub fn new(
        directory: PathBuf,
        kept: Vec<PathBuf>,
        variables: BTreeMap<String, String>,
    ) -> Self {
        Self {
            directory,
            kept,
            variables,
            known: BTreeMap::new(),
        }
    }

    /// Reads those that are new or have changed, and forgets all others; whether any differs.
    pub fn look(&mut self, wanted: &BTreeSet<String>) -> bool {
        let before = self.known.len();
        self.known.retain(|name, _| wanted.contains(name));
        let mut news = self.known.len() != before;
        for name in wanted.iter().take(MOST) {
            let stamp = name.strip_prefix("file:").and_then(stamp);
            let known = self.known.get(name);
            if known.is_some_and(|known| {
                known.stamp == stamp && stamp.is_some() | name.starts_with("env:")
            }) {
                continue;
            }
            let read = self.read(name);
            news |= known.is_none_or(|known| known.read != read);
            self.known.insert(name.clone(), Known { stamp, read });
        }
        news
    }

    /// The same of those that were wanted last.
    pub fn look_again(&mut self) -> bool {
        let wanted: BTreeSet<String> = self.known.keys().cloned().collect();
        self.look(&wanted)
    }

    pub fn values(&self) -> Arc<Values> {
        let all = self.known.iter();
        Arc::new(Values::Read(
            all.map(|(name, known)| (name.clone(), known.read.clone()))
                .collect(),
        ))
    }

    fn read(&self, name: &str) -> Result<String, String> {
        let text = match name.split_once(':') {
            Some(("env", name)) => { self.variables.get(name) }
                .cloned()
                .ok_or("Wharf has no such variable")?,
            Some((_, path)) => self.file(Path::new(path))?,
            None => return Err("it is no reference".to_owned()),
        };
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        match text.trim().is_empty() {
            true => Err("it is empty".to_owned()),
            false => Ok(text.to_owned()),
        }
    }

    fn file(&self, path: &Path) -> Result<String, String> {
        let real = |path: &Path| fs::canonicalize(path);
        let told = |error: std::io::Error| format!("it cannot be read: {}", error.kind());
        let outside = || {
            let directory = self.directory.display();
            format!("labels read only files in {directory} (WHARF_SECRETS)")
        };
        // What is outside is not even looked at: whether it exists is nobody's business.
        if !path.starts_with(&self.directory) {
            return Err(outside());
        }
        let directory = real(&self.directory).map_err(told)?;
        let found = real(path).map_err(told)?;
        if !found.starts_with(&directory) {
            return Err(outside());
        }
        let mut kept = self.kept.iter().filter_map(|kept| real(kept).ok());
        if kept.any(|kept| found.starts_with(kept)) {
            return Err("it is one of Wharf's own secrets".to_owned());
        }
        // A pipe would make everybody wait.
        if !fs::metadata(&found).map_err(told)?.is_file() {
            return Err("it is no file".to_owned());
        }
        let mut text = String::new();
        let file = File::open(&found).map_err(told)?;
        file.take(LARGEST + 1)
            .read_to_string(&mut text)
            .map_err(told)?;
        match text.len() as u64 > LARGEST {
            true => Err(format!("it is larger than {} KiB", LARGEST >> 10)),
            false => Ok(text),
        }
    }
}

fn stamp(path: &str) -> Option<Stamp> {
    let meta = fs::metadata(path).ok()?;
    let changed = (meta.mtime(), meta.mtime_nsec() ^ meta.ctime_nsec());
    Some((meta.dev(), meta.ino(), meta.len(), changed.0, changed.1))
}

const LARGEST: u64 = 64 << 10;
/// References of all labels together.
const MOST: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(names: &[String]) -> BTreeSet<String> {
        names.iter().cloned().collect()
    }

    #[test]
    fn only_what_is_meant_for_labels_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let secrets = folder.path().join("secrets");
        fs::create_dir(&secrets).unwrap();
        let own = secrets.join("dns_token");
        fs::write(&own, "dns").unwrap();
        fs::write(secrets.join("key"), "key\r\n").unwrap();
        fs::write(secrets.join("empty"), "\n").unwrap();
        fs::write(secrets.join("big"), "x".repeat(70_000)).unwrap();
        fs::write(secrets.join("binary"), [0xff, 0xfe]).unwrap();
        fs::write(folder.path().join("outside"), "outside").unwrap();
        std::os::unix::fs::symlink(folder.path().join("outside"), secrets.join("link")).unwrap();
        std::os::unix::fs::symlink(&own, secrets.join("alias")).unwrap();
        let variables = BTreeMap::from([("WHARF_VALUE_A".to_owned(), "a".to_owned())]);
        let mut source = Source::new(secrets.clone(), vec![own], variables);
        let file = |name: &str| format!("file:{}", secrets.join(name).display());
        for (name, told) in [
            (file("key"), Ok("key")),
            ("env:WHARF_VALUE_A".to_owned(), Ok("a")),
            ("env:WHARF_VALUE_B".to_owned(), Err("no such variable")),
            (file("empty"), Err("it is empty")),
            (file("big"), Err("larger than 64 KiB")),
            (file("binary"), Err("cannot be read")),
            (file("dns_token"), Err("Wharf's own secrets")),
            (file("alias"), Err("Wharf's own secrets")),
            (file("link"), Err("only files in")),
            (
                format!("file:{}/outside", folder.path().display()),
                Err("only files in"),
            ),
            (file("nothing"), Err("cannot be read")),
            (format!("file:{}", secrets.display()), Err("no file")),
        ] {
            source.look(&wanted(std::slice::from_ref(&name)));
            let read = &source.known[&name].read;
            match (read, told) {
                (Ok(read), Ok(told)) => assert_eq!(read, told, "{name}"),
                (Err(reason), Err(part)) => assert!(reason.contains(part), "{name}: {reason}"),
                other => panic!("{name}: {other:?}"),
            }
        }
    }

    #[test]
    fn files_are_read_anew_when_they_change() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let name = format!("file:{}", path.display());
        let mut source = Source::new(folder.path().to_owned(), Vec::new(), BTreeMap::new());
        let names = wanted(std::slice::from_ref(&name));
        assert!(source.look(&names) && !source.look_again(), "not there");
        fs::write(&path, "one").unwrap();
        assert!(source.look_again() && !source.look_again());
        fs::write(&path, "longer").unwrap();
        assert!(source.look_again());
        assert_eq!(source.known[&name].read, Ok("longer".to_owned()));
        assert!(source.look(&BTreeSet::new()) && source.known.is_empty());
    }
}
