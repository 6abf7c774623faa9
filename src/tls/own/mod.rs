//! The operator's own certificates: PEM files in one directory, found by the names in them.
//!
//! [`Own`] is what the directory holds at one moment, an immutable value that `watch` replaces when
//! files change. Which host uses which of them is the book's affair.

// A key and certificates that belong together, in the order clients want them.
mod chain;
// PEM files, looked through for certificates and keys.
mod read;
// When to look again.
mod watch;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::model::{Host, HostPattern};

use super::served::{Served, TlsParts};
use super::x509::Facts;

pub(super) use self::read::{Found, Stamp, scan, stamp};
pub(super) use self::watch::{tell, watch};

/// The certificates of the directory, and what is wrong with its files.
#[derive(Debug, Default)]
pub(super) struct Own {
    certificates: Vec<Arc<OwnCert>>,
    /// By the names in them, wildcards as they are written; the best first.
    by_name: HashMap<Box<str>, Vec<Arc<OwnCert>>>,
    /// Sorted by path.
    problems: Vec<FileProblem>,
}

/// One certificate with its key.
#[derive(Debug)]
pub(super) struct OwnCert {
    /// Where the certificate stands.
    pub(super) path: PathBuf,
    /// Where the key stands; often the same file.
    pub(super) key_path: PathBuf,
    pub(super) facts: Facts,
    pub(super) served: Arc<Served>,
    /// Worth a look, though it can be served.
    warning: Option<String>,
}

/// A file of the directory that cannot be used, or deserves a look.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileProblem {
    pub(super) path: PathBuf,
    pub(super) reason: String,
    /// The file cannot be used.
    pub(super) is_error: bool,
}

/// Why `wharf.tls: file:<name>` gives no certificate. Names files, so it is not for strangers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Missing {
    #[error("there is no certificate `{0}`: {1} holds none")]
    None(String, String),
    #[error("there is no certificate `{0}` in {1}, which has {2}")]
    Others(String, String, String),
    #[error("`{0}` cannot be used: {1}")]
    Broken(String, String),
}

impl Own {
    /// Makes something of what `scan` has found. A certificate of `before` whose file is there but
    /// cannot be used any more is kept: half of a pair may have been replaced so far.
    pub(super) fn assemble(found: Found, parts: &TlsParts, before: &Self) -> Self {
        let mut problems = found.problems.clone();
        let paths = found.paths.clone();
        let mut certificates = chain::assemble(found, parts, &mut problems);
        // What is the same stays the same, with what handshakes have made of it.
        for one in &mut certificates {
            let same = before.certificates.iter().find(|old| old.is_same(one));
            if let Some(old) = same {
                *one = Arc::clone(old);
            }
        }
        let broken: HashSet<&Path> = problems
            .iter()
            .filter(|problem| problem.is_error)
            .map(|problem| &*problem.path)
            .collect();
        let fine: HashSet<PathBuf> = certificates.iter().map(|one| one.path.clone()).collect();
        let kept = before.certificates.iter().filter(|old| {
            let own = [&old.path, &old.key_path];
            !fine.contains(&old.path)
                && own.iter().all(|path| paths.contains(*path))
                && own.iter().any(|path| broken.contains(&***path))
        });
        certificates.extend(kept.map(Arc::clone));
        problems.extend(certificates.iter().filter_map(|one| {
            Some(FileProblem {
                path: one.path.clone(),
                reason: one.warning.clone()?,
                is_error: false,
            })
        }));
        problems.sort();
        problems.dedup();
        Self::of(certificates, problems)
    }

    fn of(mut certificates: Vec<Arc<OwnCert>>, problems: Vec<FileProblem>) -> Self {
        // The one that lives longest first; the path makes it the same every time.
        certificates.sort_by(|a, b| {
            let end = b.facts.not_after.cmp(&a.facts.not_after);
            end.then_with(|| a.path.cmp(&b.path))
        });
        let mut by_name: HashMap<Box<str>, Vec<Arc<OwnCert>>> = HashMap::new();
        for one in &certificates {
            let ips = one.facts.ips.iter().map(ToString::to_string);
            for name in one.facts.names.iter().cloned().chain(ips) {
                by_name
                    .entry(name.into())
                    .or_default()
                    .push(Arc::clone(one));
            }
        }
        Self {
            certificates,
            by_name,
            problems,
        }
    }

    /// The best certificate for a pattern: one with the very name before a wildcard, among those the
    /// one that lives longest. Expired ones only where nothing else is left.
    pub(super) fn find(&self, pattern: &HostPattern, now: SystemTime) -> Option<&Arc<OwnCert>> {
        let found = match pattern {
            HostPattern::Exact(host) => self.candidates(host),
            HostPattern::Wildcard(suffix) => [self.named(&format!("*.{suffix}")), &[]],
            // They stand for many names; see `served_by_name`.
            HostPattern::Below(_) | HostPattern::Regex(_) | HostPattern::Default => return None,
        };
        let all = || found.iter().flat_map(|some| some.iter());
        let valid = |one: &&Arc<OwnCert>| one.facts.not_before <= now && one.facts.not_after > now;
        all().find(valid).or_else(|| all().next())
    }

    /// The certificate that `wharf.tls: file:<name>` means: a file of that name, with or without what
    /// follows its last dot, or in a directory of that name.
    pub(super) fn called(&self, name: &str, directory: &Path) -> Result<&Arc<OwnCert>, Missing> {
        let mut certificates = self.certificates.iter();
        let found = certificates.find(|one| {
            is_called(&one.path, directory, name) || is_called(&one.key_path, directory, name)
        });
        if let Some(found) = found {
            return Ok(found);
        }
        let shown = directory.display().to_string();
        let mut problems = self.problems.iter();
        if let Some(problem) = problems.find(|one| is_called(&one.path, directory, name)) {
            let reason = problem.reason.clone();
            return Err(Missing::Broken(name.to_owned(), reason));
        }
        let mut others: Vec<String> = self
            .certificates
            .iter()
            .map(|one| short(&one.path, directory))
            .collect();
        others.sort();
        others.dedup();
        let more = others.len().saturating_sub(NAMES_SHOWN);
        others.truncate(NAMES_SHOWN);
        if more > 0 {
            others.push(format!("{more} more"));
        }
        match others.is_empty() {
            true => Err(Missing::None(name.to_owned(), shown)),
            false => Err(Missing::Others(name.to_owned(), shown, others.join(", "))),
        }
    }

    /// What hosts of the pattern `default` are answered with, by the name a client asks for.
    pub(super) fn served_by_name(&self) -> HashMap<Box<str>, Arc<Served>> {
        let first = |some: &Vec<Arc<OwnCert>>| some.first().map(|one| Arc::clone(&one.served));
        let names = self.by_name.iter();
        names
            .filter_map(|(name, some)| Some((name.clone(), first(some)?)))
            .collect()
    }

    pub(super) fn problems(&self) -> &[FileProblem] {
        &self.problems
    }

    pub(super) fn certificates(&self) -> &[Arc<OwnCert>] {
        &self.certificates
    }

    fn candidates(&self, host: &Host) -> [&[Arc<OwnCert>]; 2] {
        let parent = host.parent().map(|parent| format!("*.{parent}"));
        let wildcard = parent.map_or(&[][..], |name| self.named(&name));
        [self.named(host.as_str()), wildcard]
    }

    fn named(&self, name: &str) -> &[Arc<OwnCert>] {
        self.by_name.get(name).map_or(&[], Vec::as_slice)
    }
}

impl OwnCert {
    fn is_same(&self, other: &Self) -> bool {
        let chain = |one: &Self| one.served.certified().ok().map(|key| key.cert.clone());
        self.path == other.path
            && self.key_path == other.key_path
            && self.served.hash == other.served.hash
            && chain(self) == chain(other)
    }

    /// What is to be said about its end: nothing while that is far off.
    pub(super) fn expiry(&self, now: SystemTime) -> Option<String> {
        match self.facts.not_after.duration_since(now) {
            Ok(left) if left >= SOON => None,
            Ok(left) => Some(format!(
                "ends in {} h, and only you can renew it",
                left.as_secs() / 3600
            )),
            Err(over) => Some(format!(
                "has ended {} h ago, and only you can renew it",
                over.duration().as_secs() / 3600
            )),
        }
    }
}

impl fmt::Display for FileProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.reason)
    }
}

/// `site.crt`, `site` and, in a directory of its own, `site/fullchain.pem`, `site/fullchain`, `site`.
fn is_called(path: &Path, directory: &Path, name: &str) -> bool {
    let Ok(relative) = path.strip_prefix(directory) else {
        return false;
    };
    let parent = relative
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    relative.as_os_str() == name
        || relative.with_extension("").as_os_str() == name
        || parent.is_some_and(|parent| parent.as_os_str() == name)
}

/// The name to show for a certificate.
fn short(path: &Path, directory: &Path) -> String {
    let relative = path.strip_prefix(directory).unwrap_or(path);
    relative.with_extension("").display().to_string()
}

const NAMES_SHOWN: usize = 8;
/// An end that is closer than this is told.
const SOON: Duration = Duration::from_secs(14 * 24 * 60 * 60);

#[cfg(test)]
mod tests;
