//! A directory of files, followed by looking at it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::docker::labels::{Presets, Values, references};
use crate::docker::{Container, FILE};
use crate::model::{LabelPrefix, Problem, Severity};

use super::parse::{self, Content, containers};
use super::yaml::{self, Span};

/// What all files say together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files {
    /// Theirs over those that are built in.
    pub presets: Arc<Presets>,
    /// One for each route, sorted by id, which no id of a container is greater than.
    pub containers: Vec<Container>,
    /// Of files as a whole, and of presets.
    pub problems: Arc<Vec<Problem>>,
    /// Lines of options, by container and option in lower case.
    lines: BTreeMap<(String, String), usize>,
}

/// Looks at the files again and again.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    prefix: LabelPrefix,
    /// By name.
    seen: BTreeMap<String, Seen>,
    /// Why the directory cannot be read.
    fault: Option<String>,
}

/// A file at the last look.
#[derive(Debug)]
struct Seen {
    stamp: Stamp,
    /// What it said when it last could be read, and the number of each of its lines' first characters.
    good: Content,
    lines: Vec<usize>,
    fault: Option<String>,
}

/// Changes with the file: device, inode, size, and when it was changed.
type Stamp = (u64, u64, u64, i64, i64);

impl Follower {
    /// Of a directory, or of one file. It need not exist.
    pub fn new(path: PathBuf, prefix: LabelPrefix) -> Self {
        Self {
            path,
            prefix,
            seen: BTreeMap::new(),
            fault: None,
        }
    }

    /// Reads what has changed; whether anything has.
    pub fn look(&mut self) -> bool {
        let (found, fault) = match self.list() {
            Ok(found) => (found, None),
            // Nobody needs one.
            Err(error) if error.kind() == io::ErrorKind::NotFound => (BTreeMap::new(), None),
            Err(error) => {
                let fault = Some(error.to_string());
                let news = self.fault != fault;
                if let Some(fault) = fault.as_ref().filter(|_| news) {
                    let path = self.path.display();
                    tracing::warn!(%path, "{fault}; what its files said before counts on");
                }
                self.fault = fault;
                return news;
            }
        };
        let mut news = self.fault != fault;
        self.fault = fault;
        let before = self.seen.len();
        self.seen.retain(|name, _| found.contains_key(name));
        news |= self.seen.len() != before;
        for (name, (path, stamp)) in found {
            if self.seen.get(&name).is_some_and(|seen| seen.stamp == stamp) {
                continue;
            }
            news = true;
            let seen = self.seen.entry(name.clone()).or_insert_with(|| Seen {
                stamp,
                good: Content::default(),
                lines: Vec::new(),
                fault: None,
            });
            seen.stamp = stamp;
            match load(&name, &path) {
                Ok((content, lines)) => {
                    (seen.good, seen.lines, seen.fault) = (content, lines, None);
                }
                Err(reason) => {
                    tracing::error!(file = name, "{reason}; what it said before counts on");
                    seen.fault = Some(reason);
                }
            }
        }
        news
    }

    /// What they say now.
    pub fn files(&self, values: &Values) -> Files {
        let mut problems = Vec::new();
        let mut presets = Presets::default();
        let mut all = Vec::new();
        let mut lines = BTreeMap::new();
        let problem = |container: String, reason: String| Problem {
            severity: Severity::Error,
            container,
            label: String::new(),
            value: String::new(),
            reason,
        };
        if let Some(fault) = &self.fault {
            let path = self.path.display().to_string();
            problems.push(problem(format!("{FILE}{path}"), fault.clone()));
        }
        for (name, seen) in &self.seen {
            let whose = format!("{FILE}{name}");
            if let Some(fault) = &seen.fault {
                problems.push(problem(whose.clone(), fault.clone()));
            }
            let definitions: Vec<_> = seen.good.presets.iter().map(|(d, _)| d.clone()).collect();
            presets.define(&whose, &definitions, values, &mut problems);
            for route in &seen.good.routes {
                for option in &route.options {
                    let line = seen.lines.partition_point(|at| *at <= option.key_at.start);
                    let key = (route.name.clone(), option.key.to_ascii_lowercase());
                    lines.insert(key, line);
                }
            }
            all.extend(containers(&seen.good, &self.prefix));
        }
        all.sort_by(|a, b| a.id.cmp(&b.id));
        Files {
            presets: Arc::new(presets),
            containers: all,
            problems: Arc::new(problems),
            lines,
        }
    }

    /// What their values name of secrets.
    pub fn references(&self) -> BTreeSet<String> {
        let contents = self.seen.values().map(|seen| &seen.good);
        let values = contents.flat_map(|content| {
            let presets = content.presets.iter().map(|(preset, _)| &preset.value);
            let routes = content.routes.iter().flat_map(|route| &route.options);
            presets.chain(routes.map(|option| &option.value))
        });
        values.flat_map(|value| references(value)).collect()
    }

    /// The files there are, by name.
    fn list(&self) -> io::Result<BTreeMap<String, (PathBuf, Stamp)>> {
        let mut found = BTreeMap::new();
        let mut add = |path: PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str());
            let Some(name) = name.filter(|name| is_ours(name)).map(str::to_owned) else {
                return;
            };
            // A link that leads nowhere is no file.
            if let Ok(meta) = fs::metadata(&path)
                && meta.is_file()
                && found.len() < MAX_FILES
            {
                found.insert(name, (path, stamp(&meta)));
            }
        };
        if fs::metadata(&self.path)?.is_file() {
            add(self.path.clone());
        } else {
            let mut paths: Vec<PathBuf> = fs::read_dir(&self.path)?
                .map(|entry| Ok(entry?.path()))
                .collect::<io::Result<_>>()?;
            paths.sort();
            paths.into_iter().for_each(&mut add);
        }
        Ok(found)
    }
}

impl Files {
    /// Puts the line of the file in front of problems of its routes, and their options without the prefix of labels.
    pub fn place(&self, problems: &mut [Problem], prefix: &LabelPrefix) {
        let of_files = problems
            .iter_mut()
            .filter(|p| p.container.starts_with(FILE));
        for problem in of_files {
            let lower = problem.label.to_ascii_lowercase();
            let Some(option) = prefix.strip(&lower).filter(|option| !option.is_empty()) else {
                continue;
            };
            let line = self
                .lines
                .get(&(problem.container.clone(), option.to_owned()));
            if let Some(line) = line {
                problem.reason = format!("line {line}: {}", problem.reason);
            }
            problem.label = option.to_owned();
        }
    }
}

fn load(name: &str, path: &Path) -> Result<(Content, Vec<usize>), String> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_string(&mut text));
    read.map_err(|error| error.to_string())?;
    if text.len() as u64 > MAX_FILE {
        return Err(format!("larger than {MAX_FILE} bytes"));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let chars = text.chars().enumerate();
    let ends = chars.filter(|(_, c)| *c == '\n').map(|(at, _)| at + 1);
    let lines: Vec<usize> = [0].into_iter().chain(ends).collect();
    let place = |at: Span| {
        let line = lines.partition_point(|begin| *begin <= at.start);
        let begin = lines.get(line.saturating_sub(1)).copied().unwrap_or(0);
        (line, at.start - begin + 1)
    };
    let content = yaml::parse(0, text).and_then(|document| {
        parse::read(name, &document, |at| {
            let (line, column) = place(at);
            format!("{name}:{line}:{column}")
        })
    });
    let content = content.map_err(|fault| {
        let (line, column) = place(fault.at);
        format!("line {line}, column {column}: {}", fault.reason)
    })?;
    Ok((content, lines))
}

/// Names that may stand in the name of a route, and in no other way.
fn is_ours(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let ends = name.ends_with(".yaml") || name.ends_with(".yml");
    ends && !name.starts_with('.') && name.len() <= 100 && name.chars().all(inner)
}

fn stamp(meta: &Metadata) -> Stamp {
    let changed = (meta.mtime(), meta.mtime_nsec() ^ meta.ctime_nsec());
    (meta.dev(), meta.ino(), meta.len(), changed.0, changed.1)
}

/// Bytes of one.
const MAX_FILE: u64 = 1024 * 1024;
const MAX_FILES: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_file_leaves_what_it_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nas.yaml");
        let mut follower = Follower::new(folder.path().to_owned(), LabelPrefix::default());
        assert!(!follower.look());
        let good = "routes:\n  nas: {host: nas.test, upstream: \"http://10.0.0.1\"}\n";
        fs::write(&path, good).unwrap();
        assert!(follower.look() && !follower.look());
        let files = follower.files(&Values::Unread);
        let names: Vec<_> = files.containers.iter().map(|c| &*c.name).collect();
        assert_eq!(names, ["file:nas.yaml/nas"]);
        assert_eq!(files.containers[0].labels["wharf.host"], "nas.test");
        assert!(files.problems.is_empty());

        fs::write(&path, "routes:\n  nas: {host: nas.test\n").unwrap();
        assert!(follower.look());
        let broken = follower.files(&Values::Unread);
        assert_eq!(broken.containers, files.containers);
        let [problem] = &broken.problems[..] else {
            panic!("{broken:?}")
        };
        assert_eq!(problem.container, "file:nas.yaml");
        assert!(problem.reason.starts_with("line "), "{}", problem.reason);

        fs::remove_file(&path).unwrap();
        assert!(follower.look());
        assert_eq!(follower.files(&Values::Unread), Files::default());
    }

    #[test]
    fn other_files_are_not_read() {
        let folder = tempfile::tempdir().unwrap();
        for name in [".hidden.yaml", "notes.txt", "a b.yaml", "c.yaml~"] {
            fs::write(folder.path().join(name), "routes: {x: {}}\n").unwrap();
        }
        fs::create_dir(folder.path().join("dir.yaml")).unwrap();
        let mut follower = Follower::new(folder.path().to_owned(), LabelPrefix::default());
        assert!(!follower.look());
    }

    #[test]
    fn problems_know_their_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nas.yaml");
        fs::write(&path, "routes:\n  nas:\n    host: a.test\n    prot: 80\n").unwrap();
        let prefix = LabelPrefix::default();
        let mut follower = Follower::new(path, prefix.clone());
        assert!(follower.look());
        let mut problems = vec![Problem {
            severity: Severity::Error,
            container: "file:nas.yaml/nas".to_owned(),
            label: "wharf.prot".to_owned(),
            value: "80".to_owned(),
            reason: "no".to_owned(),
        }];
        follower
            .files(&Values::Unread)
            .place(&mut problems, &prefix);
        assert_eq!(
            (&*problems[0].label, &*problems[0].reason),
            ("prot", "line 4: no")
        );
    }
}
