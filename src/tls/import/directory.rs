//! A directory of PEM files, as acme-companion's `certs/`: `<name>.crt` and `<name>.key`, links into
//! `<name>/fullchain.pem` and `key.pem`. The same walk finds what acme.sh, certbot and Caddy leave.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::{Candidate, Found};

/// Every pair of chain and key below `root`; each chain once.
pub(super) fn find(root: &Path) -> Found {
    let mut walk = Walk {
        root,
        found: Found::default(),
        seen: HashSet::new(),
        broken: Vec::new(),
        left: FILES_MOST,
    };
    walk.folder(root, DEPTH_MOST);
    // A link that leads out of a copied tree: what it meant was found where it is.
    let Walk {
        mut found, broken, ..
    } = walk;
    let lost = broken.into_iter().filter(|link| !leads_into(root, link));
    let why = "the link leads nowhere".to_owned();
    found
        .notes
        .extend(lost.map(|link| (shown(root, &link), why.clone())));
    found
}

struct Walk<'r> {
    root: &'r Path,
    found: Found,
    seen: HashSet<String>,
    broken: Vec<PathBuf>,
    /// Files that may still be looked at.
    left: usize,
}

impl Walk<'_> {
    fn folder(&mut self, folder: &Path, depth: usize) {
        let mut files: BTreeMap<String, PathBuf> = BTreeMap::new();
        let mut folders = Vec::new();
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => return self.note(folder, error.to_string()),
        };
        for entry in entries.flatten() {
            if self.left == 0 {
                return self.note(
                    folder,
                    format!("more than {FILES_MOST} files; the rest is not read"),
                );
            }
            self.left -= 1;
            let path = entry.path();
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            match fs::metadata(&path) {
                // A link to a directory would be found a second time, or lead in a circle.
                Ok(meta) if meta.is_dir() && !path.is_symlink() => folders.push((name, path)),
                Ok(meta) if meta.is_file() => drop(files.insert(name, path)),
                Ok(_) => {}
                Err(_) if is_chain(&name) => self.broken.push(path),
                Err(_) => {}
            }
        }
        self.pairs(&files);
        folders.sort_unstable();
        for (name, path) in folders {
            if name.starts_with(STAGING) {
                self.note(&path, "certificates of a CA for tests".to_owned());
            } else if depth > 0 {
                self.folder(&path, depth - 1);
            }
        }
    }

    fn pairs(&mut self, files: &BTreeMap<String, PathBuf>) {
        let first = |names: &[&str]| names.iter().find_map(|name| files.get(*name));
        // One certificate to a folder.
        let key = first(&["privkey.pem", "key.pem"]);
        if let Some(key) = key {
            if let Some(chain) = first(&["fullchain.pem"]) {
                self.pair(&[chain], key);
            } else if let Some(leaf) = first(&["cert.pem"]) {
                let chain: Vec<_> = [leaf].into_iter().chain(first(&["chain.pem"])).collect();
                self.pair(&chain, key);
            }
        }
        // acme.sh: the key has the name, the chain has not.
        if let Some(chain) = first(&["fullchain.cer"]) {
            let key = files.iter().find(|(name, _)| name.ends_with(".key"));
            match key {
                Some((_, key)) => self.pair(&[chain], key),
                None => self.note(chain, "there is no key beside it".to_owned()),
            }
        }
        for (name, chain) in files {
            let Some(stem) = name.strip_suffix(".crt") else {
                continue;
            };
            match files.get(&format!("{stem}.key")) {
                Some(key) => self.pair(&[chain], key),
                None => self.note(chain, format!("there is no {stem}.key beside it")),
            }
        }
    }

    fn pair(&mut self, chain: &[&PathBuf], key: &Path) {
        let mut whole = String::new();
        for part in chain {
            match read(part) {
                Ok(text) => whole = whole + text.trim_end() + "\n",
                Err(error) => return self.note(part, error.to_string()),
            }
        }
        if !self.seen.insert(whole.clone()) {
            return;
        }
        match read(key) {
            Ok(key) => self.found.candidates.push(Candidate {
                origin: shown(self.root, chain[0]),
                chain: whole,
                key,
            }),
            Err(error) => self.note(key, error.to_string()),
        }
    }

    fn note(&mut self, path: &Path, why: String) {
        self.found.notes.push((shown(self.root, path), why));
    }
}

fn is_chain(name: &str) -> bool {
    name.ends_with(".crt") || matches!(name, "fullchain.pem" | "fullchain.cer" | "cert.pem")
}

/// Whether the last two parts of where a broken link leads are in the tree: `/etc/nginx/certs/a/fullchain.pem`
/// is `a/fullchain.pem` in a copy.
fn leads_into(root: &Path, link: &Path) -> bool {
    let Ok(target) = fs::read_link(link) else {
        return false;
    };
    let mut parts = target.components().rev();
    match (parts.next(), parts.next()) {
        (Some(file), Some(folder)) => root.join(folder).join(file).exists(),
        _ => false,
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let file = fs::File::open(path)?;
    file.take(FILE_MOST + 1).read_to_string(&mut text)?;
    match text.len() as u64 > FILE_MOST {
        true => Err(io::ErrorKind::FileTooLarge.into()),
        false => Ok(text),
    }
}

fn shown(root: &Path, path: &Path) -> String {
    let below = path.strip_prefix(root).unwrap_or(path);
    match below.as_os_str().is_empty() {
        true => root.display().to_string(),
        false => below.display().to_string(),
    }
}

/// acme-companion's word for folders with certificates of a staging CA.
const STAGING: &str = "_test_";
const DEPTH_MOST: usize = 4;
const FILES_MOST: usize = 50_000;
const FILE_MOST: u64 = 1 << 20;
