//! Hosts put into maintenance by `wharf maintenance on`: a file in the data directory, written by the command, followed
//! by Wharf. It outlives restarts, and works where several Wharfs share the directory.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::config::networks;
use crate::model::{HostPattern, Maintenance, Networks};

/// What rests, by host.
pub type Resting = BTreeMap<HostPattern, Maintenance>;

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RestingError {
    #[error("{}: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{}: {reason}", .path.display())]
    Content { path: PathBuf, reason: String },
}

/// One host in the file.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Entry {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    allow: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    message: String,
    /// Seconds.
    retry: u64,
}

/// Reads the file under `data`; without one nothing rests.
///
/// # Errors
/// See [`RestingError`].
pub fn load(data: &Path) -> Result<Resting, RestingError> {
    let path = data.join(FILE);
    let text = match fs::metadata(&path) {
        Ok(found) if found.len() > LARGEST => {
            let reason = format!("it is larger than {} KiB", LARGEST >> 10);
            return Err(RestingError::Content { path, reason });
        }
        Ok(_) => fs::read_to_string(&path),
        Err(error) => Err(error),
    };
    let text = match text {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Resting::new()),
        Err(source) => return Err(RestingError::Io { path, source }),
    };
    parse(&text).map_err(|reason| RestingError::Content { path, reason })
}

fn parse(text: &str) -> Result<Resting, String> {
    let entries: BTreeMap<String, Entry> =
        serde_json::from_str(text).map_err(|error| error.to_string())?;
    let mut resting = Resting::new();
    for (host, entry) in entries {
        let named = |reason: String| format!("{}: {reason}", host.escape_debug());
        let pattern = HostPattern::parse(&host).map_err(|error| named(error.to_string()))?;
        let rest = Maintenance {
            allow: allowed(&entry.allow).map_err(named)?,
            message: Some(entry.message).filter(|message| !message.is_empty()),
            retry: Duration::from_secs(entry.retry),
        };
        resting.insert(pattern, rest);
    }
    Ok(resting)
}

/// A list of addresses, networks and sets; empty is nobody.
///
/// # Errors
/// What in it is none.
pub fn allowed(list: &str) -> Result<Option<Networks>, String> {
    let items = list.split([',', ' ']).filter(|item| !item.is_empty());
    let found: Vec<_> = items.map(networks).collect::<Result<_, _>>()?;
    Ok((!found.is_empty()).then(|| Networks::new(list, found.concat())))
}

/// Writes the file as a whole or not at all.
///
/// # Errors
/// See [`RestingError`].
pub fn save(data: &Path, resting: &Resting) -> Result<(), RestingError> {
    let path = data.join(FILE);
    let entries: BTreeMap<String, Entry> = resting
        .iter()
        .map(|(pattern, rest)| {
            let entry = Entry {
                allow: rest
                    .allow
                    .as_ref()
                    .map(ToString::to_string)
                    .unwrap_or_default(),
                message: rest.message.clone().unwrap_or_default(),
                retry: rest.retry.as_secs(),
            };
            (pattern.to_string(), entry)
        })
        .collect();
    let write = || {
        let text = serde_json::to_vec_pretty(&entries)?;
        let temporary = data.join(format!("{FILE}.{}", std::process::id()));
        let written = fs::File::create(&temporary)
            .and_then(|mut file| file.write_all(&text).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&temporary, &path));
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written
    };
    write().map_err(|source| RestingError::Io {
        path: path.clone(),
        source,
    })
}

/// Tells of the file as it changes, within a second. What cannot be used is told once, and what was there before
/// counts on. Never ends.
pub async fn follow(data: PathBuf, to: watch::Sender<Arc<Resting>>) -> Infallible {
    let mut seen = None;
    loop {
        let stamp = stamp(&data);
        if seen != Some(stamp) {
            seen = Some(stamp);
            match load(&data) {
                Ok(resting) => {
                    let resting = Arc::new(resting);
                    to.send_if_modified(|before| {
                        let changed = *before != resting;
                        if changed {
                            tell(before, &resting);
                            *before = resting;
                        }
                        changed
                    });
                }
                Err(error) => tracing::warn!("{error}; what was in maintenance before stays so"),
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn tell(before: &Resting, now: &Resting) {
    for host in now.keys().filter(|host| !before.contains_key(host)) {
        tracing::info!(%host, "maintenance begins");
    }
    for host in before.keys().filter(|host| !now.contains_key(host)) {
        tracing::info!(%host, "maintenance is over");
    }
}

fn stamp(data: &Path) -> Option<(SystemTime, u64)> {
    let found = fs::metadata(data.join(FILE)).ok()?;
    Some((found.modified().ok()?, found.len()))
}

const FILE: &str = "maintenance.json";
const LARGEST: u64 = 1 << 20;
const LOOK: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_loaded() {
        let data = tempfile::tempdir().unwrap();
        assert_eq!(load(data.path()).unwrap(), Resting::new());
        let rest = Maintenance {
            allow: allowed("private, 203.0.113.7").unwrap(),
            message: Some("Back at \"noon\"".into()),
            retry: Duration::from_secs(60),
        };
        let host = |text| HostPattern::parse(text).unwrap();
        let resting = Resting::from([
            (host("a.test"), rest.clone()),
            (
                host("*.b.test"),
                Maintenance {
                    allow: None,
                    message: None,
                    ..rest
                },
            ),
        ]);
        save(data.path(), &resting).unwrap();
        assert_eq!(load(data.path()).unwrap(), resting);
        assert_eq!(fs::read_dir(data.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (text, reason) in [
            ("{", "EOF"),
            (r#"{"a b": {"retry": 1}}"#, "a b: "),
            (
                r#"{"a.test": {"allow": "privat", "retry": 1}}"#,
                "did you mean private?",
            ),
            (r#"{"a.test": {}}"#, "retry"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
