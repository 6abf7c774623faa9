//! PEM files, looked through for certificates and keys. What a file is called does not matter.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::FileProblem;

/// What the files hold.
#[derive(Debug, Default)]
pub(in crate::tls) struct Found {
    /// Every file that is there.
    pub(super) paths: HashSet<PathBuf>,
    /// Certificates of each file, in its order; none is empty.
    pub(super) chains: Vec<(PathBuf, Vec<CertificateDer<'static>>)>,
    pub(super) keys: Vec<(PathBuf, PrivateKeyDer<'static>)>,
    pub(super) problems: Vec<FileProblem>,
}

/// Tells one state of the files from another: what a write, a rename or a new target of a link changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::tls) struct Stamp(Vec<(PathBuf, Option<Mark>)>);

/// Of one file; times in seconds and nanoseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mark {
    place: (u64, u64),
    written: (i64, i64),
    changed: (i64, i64),
    length: u64,
}

/// Reads everything. Blocks.
pub(in crate::tls) fn scan(directory: &Path) -> Found {
    let mut found = Found::default();
    let (paths, problem) = list(directory);
    found.problems.extend(problem);
    found.paths = paths.iter().cloned().collect();
    for path in paths {
        if let Err(reason) = read(&path, &mut found) {
            found.problems.push(FileProblem {
                path,
                reason,
                is_error: true,
            });
        }
    }
    found
}

/// The state of the files of `directory` and of `others`, without reading them. Blocks.
pub(in crate::tls) fn stamp(directory: Option<&Path>, others: Vec<PathBuf>) -> Stamp {
    let mut paths = directory
        .map(|directory| list(directory).0)
        .unwrap_or_default();
    paths.extend(others);
    let marks = paths.into_iter().map(|path| {
        let mark = fs::metadata(&path).ok().map(|meta| Mark {
            place: (meta.dev(), meta.ino()),
            written: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
            length: meta.len(),
        });
        (path, mark)
    });
    Stamp(marks.collect())
}

/// The files of the directory and of those in it, sorted. Dot files are left out: editors and
/// Kubernetes keep copies there.
fn list(directory: &Path) -> (Vec<PathBuf>, Option<FileProblem>) {
    let mut paths = Vec::new();
    let mut problem = None;
    let mut directories = vec![(directory.to_owned(), true)];
    while let Some((directory, top)) = directories.pop() {
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                problem = Some(FileProblem {
                    path: directory,
                    reason: format!("cannot be read: {error}"),
                    is_error: true,
                });
                continue;
            }
        };
        for entry in entries.flatten() {
            let path = entry.path();
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            // Follows links: certbot's `live` is made of them.
            let Ok(meta) = fs::metadata(&path) else {
                paths.push(path);
                continue;
            };
            if meta.is_dir() && top {
                directories.push((path, false));
            } else if meta.is_file() {
                paths.push(path);
            }
        }
    }
    paths.sort();
    if paths.len() > FILES_MOST {
        problem = Some(FileProblem {
            path: directory.to_owned(),
            reason: format!("holds more than {FILES_MOST} files; the rest is not read"),
            is_error: true,
        });
        paths.truncate(FILES_MOST);
    }
    (paths, problem)
}

/// Adds what is in one file. Files with nothing of either kind are passed over, unless their name
/// promises something. No error repeats what stands in a file.
fn read(path: &Path, found: &mut Found) -> Result<(), String> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
    file.take(FILE_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("cannot be read: {error}"))?;
    let promised = path.extension().is_some_and(|ext| {
        ["pem", "crt", "cer", "cert", "key"]
            .iter()
            .any(|one| ext == *one)
    });
    if bytes.len() as u64 > FILE_MAX {
        let reason = "is larger than 1 MiB".to_owned();
        return if promised { Err(reason) } else { Ok(()) };
    }
    let broken = |_| "its PEM is damaged".to_owned();
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<_, _>>()
        .map_err(broken)?;
    let keys: Vec<_> = PrivateKeyDer::pem_slice_iter(&bytes)
        .collect::<Result<_, _>>()
        .map_err(broken)?;
    if certificates.is_empty() && keys.is_empty() {
        let has = |text: &[u8]| memchr::memmem::find(&bytes, text).is_some();
        return if has(b"ENCRYPTED PRIVATE KEY") || has(b"Proc-Type: 4,ENCRYPTED") {
            Err("its key is encrypted; write it without a passphrase".into())
        } else if has(b"-----BEGIN ") || !promised {
            Ok(())
        } else if bytes.is_empty() {
            Err("is empty".into())
        } else if bytes.first() == Some(&0x30) {
            Err("is DER, not PEM; `openssl x509 -inform der` or `openssl pkey -inform der` converts it".into())
        } else {
            Err("holds no PEM".into())
        };
    }
    if !certificates.is_empty() {
        found.chains.push((path.to_owned(), certificates));
    }
    found
        .keys
        .extend(keys.into_iter().map(|key| (path.to_owned(), key)));
    Ok(())
}

/// Files that are looked at; hundreds of hosts with a file for each part.
const FILES_MOST: usize = 4000;
/// A chain is a few KiB.
const FILE_MAX: u64 = 1 << 20;
