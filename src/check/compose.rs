//! Compose files -> services, as docker-compose resolves them: variables, `extends`, several files of one
//! project, lists and mappings. Only what decides about labels and how an app is reached is read.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::docker::Published;
use crate::docker::labels::excerpt;
use crate::model::{LabelPrefix, Severity};

use super::fill::{self, Variables};
use super::own::{Own, is_own};
use super::ports::{ports, short};
use super::service::{Project, Service, override_all};
use crate::files::yaml::{self, Node, Span, Value};

/// A file that was read.
pub(super) struct File {
    /// As given, or as another file names it.
    pub(super) path: PathBuf,
    pub(super) chars: Vec<char>,
    pub(super) root: Rc<Node>,
}

/// Something to tell, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Remark {
    pub(super) severity: Severity,
    pub(super) at: Span,
    /// The part of the place that is meant, if not all of it.
    pub(super) word: Option<String>,
    pub(super) service: String,
    pub(super) label: String,
    pub(super) reason: String,
}

/// Reads files, and notes what compose itself would not take.
pub(super) struct Reader<'a> {
    pub(super) variables: Variables,
    pub(super) prefix: &'a LabelPrefix,
    pub(super) files: Vec<File>,
    /// Those that are no compose files.
    pub(super) own: Vec<Own>,
    pub(super) remarks: Vec<Remark>,
}

impl Reader<'_> {
    /// The project of `paths`: later files override earlier ones.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, with its path.
    pub(super) fn project(&mut self, paths: &[PathBuf]) -> Result<Project, (PathBuf, io::Error)> {
        let mut files = Vec::new();
        for path in paths {
            files.extend(self.file(path).map_err(|error| (path.clone(), error))?);
        }
        if let [file] = files[..]
            && let Some(file) = self.files.get(file).filter(|file| is_own(file))
        {
            self.own.push(Own::read(file, &mut self.remarks));
            return Ok(Project::default());
        }
        let mut project = Project {
            name: self.project_name(&files, paths),
            ..Project::default()
        };
        let mut names: Vec<String> = Vec::new();
        for root in self.roots(&files) {
            let services = root.get("services").map_or(&[][..], |node| node.entries());
            for (key, _) in services {
                let name = key.text().unwrap_or_default();
                if !names.iter().any(|known| known == name) {
                    names.push(name.to_owned());
                }
            }
            let networks = root.get("networks").map_or(&[][..], |node| node.entries());
            for (key, network) in networks {
                let key = key.text().unwrap_or_default().to_owned();
                let name = self.network_name(&key, network, &project.name);
                project.networks.insert(key, name);
            }
        }
        let name = format!("{}_default", project.name);
        project.networks.entry("default".to_owned()).or_insert(name);
        for name in names.iter().take(MAX_SERVICES) {
            project
                .services
                .push(self.service(&files, name, &mut Vec::new()));
        }
        Ok(project)
    }

    /// Reads a file, once; `None` if it is no YAML, which is remarked.
    fn file(&mut self, path: &Path) -> io::Result<Option<usize>> {
        if let Some(known) = self.files.iter().position(|file| file.path == path) {
            return Ok(Some(known));
        }
        let text = match path.as_os_str() == "-" {
            true => whole(io::stdin())?,
            false => whole(fs::File::open(path)?)?,
        };
        let index = self.files.len();
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let parsed = yaml::parse(index, text);
        let (root, faults, readable) = match parsed {
            Ok(document) => (document.root, document.doubled, true),
            Err(fault) => {
                let empty = Node {
                    at: fault.at,
                    value: Value::Map(Vec::new()),
                    tag: None,
                };
                (Rc::new(empty), vec![fault], false)
            }
        };
        self.files.push(File {
            path: path.to_owned(),
            chars: text.chars().collect(),
            root,
        });
        for fault in faults {
            self.remark("", "", fault.at, None, fault.reason);
        }
        Ok(readable.then_some(index))
    }

    fn roots(&self, files: &[usize]) -> Vec<Rc<Node>> {
        let files = files.iter().filter_map(|file| self.files.get(*file));
        files.map(|file| Rc::clone(&file.root)).collect()
    }

    /// As compose makes it: a variable, the file's `name`, the directory's name.
    fn project_name(&mut self, files: &[usize], paths: &[PathBuf]) -> String {
        let set = self.variables.get("COMPOSE_PROJECT_NAME").cloned();
        let written = || {
            let roots = self.roots(files);
            let names = roots.iter().filter_map(|root| root.get("name"));
            names.filter_map(|node| node.string()).next_back()
        };
        let name = set.filter(|name| !name.is_empty()).or_else(written);
        let name = name.and_then(|name| Some(fill::fill(&name, &self.variables).ok()?.text));
        let folder = || {
            let first = paths.first().and_then(|path| path.parent());
            let path = first.filter(|path| !path.as_os_str().is_empty());
            let path = path.unwrap_or_else(|| Path::new(".")).canonicalize().ok()?;
            Some(path.file_name()?.to_string_lossy().into_owned())
        };
        let name = name.or_else(folder).unwrap_or_default().to_lowercase();
        let inner = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let name: String = name.chars().filter(inner).collect();
        match name.is_empty() {
            true => "project".to_owned(),
            false => name,
        }
    }

    fn network_name(&mut self, key: &str, network: &Node, project: &str) -> String {
        let external = network.get("external");
        let named = external.and_then(|external| external.get("name"));
        let named = named.or_else(|| network.get("name"));
        let named = named.and_then(|node| self.scalar(node));
        let is_external = external.is_some_and(|node| {
            let off = node
                .text()
                .is_some_and(|text| text.eq_ignore_ascii_case("false"));
            !off
        });
        match (named, is_external) {
            (Some(name), _) => name,
            (None, true) => key.to_owned(),
            (None, false) => format!("{project}_{key}"),
        }
    }

    /// A service of a project; `chain` are those that extend it.
    fn service(
        &mut self,
        files: &[usize],
        name: &str,
        chain: &mut Vec<(usize, String)>,
    ) -> Service {
        let mut service = Service {
            name: name.to_owned(),
            ..Service::default()
        };
        let mut extends = None;
        for (index, root) in files.iter().zip(self.roots(files)) {
            let Some((key, node)) = root.get("services").and_then(|all| all.entry(name)) else {
                continue;
            };
            service.at = Some(key.at);
            if let Some(node) = node.get("extends") {
                extends = Some((*index, Rc::clone(node)));
            }
            let fields = self.fields(name, node);
            service.merge(fields, node);
        }
        let Some((index, extends)) = extends else {
            return service;
        };
        let Some(base) = self.base(files, index, &extends, name, chain) else {
            return service;
        };
        let mut whole = base;
        let at = service.at;
        whole.merge(service, &extends);
        whole.name = name.to_owned();
        whole.at = at;
        whole
    }

    /// What a service extends.
    fn base(
        &mut self,
        files: &[usize],
        index: usize,
        extends: &Node,
        name: &str,
        chain: &mut Vec<(usize, String)>,
    ) -> Option<Service> {
        let of = extends
            .get("service")
            .map(|node| &**node)
            .unwrap_or(extends);
        let target = self.scalar(of)?;
        let other = extends.get("file").and_then(|node| {
            let path = self.scalar(node)?;
            Some((node.at, path))
        });
        let files = match other {
            None => files.to_vec(),
            Some((at, path)) => {
                let folder = self.files.get(index)?.path.parent().map(Path::to_owned);
                let path = folder.unwrap_or_default().join(path);
                match self.file(&path) {
                    Ok(file) => vec![file?],
                    Err(error) => {
                        let reason = format!("{}: {error}", path.display());
                        self.remark(name, "extends", at, None, reason);
                        return None;
                    }
                }
            }
        };
        let step = (*files.first()?, target.clone());
        if chain.contains(&step) || chain.len() >= MAX_CHAIN {
            let reason = format!(
                "`{}` extends itself: compose refuses the file",
                excerpt(&target)
            );
            self.remark(name, "extends", of.at, None, reason);
            return None;
        }
        let known = |root: &Rc<Node>| {
            let services = root.get("services");
            services.is_some_and(|all| all.get(&target).is_some())
        };
        if !self.roots(&files).iter().any(known) {
            let reason = format!(
                "there is no service `{}` to extend: compose refuses the file",
                excerpt(&target)
            );
            self.remark(name, "extends", of.at, None, reason);
            return None;
        }
        chain.push(step);
        let base = self.service(&files, &target, chain);
        chain.pop();
        Some(base)
    }

    /// What a service says itself in one file.
    fn fields(&mut self, name: &str, node: &Node) -> Service {
        let mut service = Service::default();
        for (key, _) in node.entries() {
            let field = key.text().unwrap_or_default().to_owned();
            service.fields.insert(field, key.at);
        }
        if let Some(labels) = node.get("build").and_then(|build| build.get("labels")) {
            service.labels = self.labels(name, labels);
        }
        if let Some(labels) = node.get("labels") {
            let own = self.labels(name, labels);
            override_all(&mut service.labels, own);
        }
        if let Some((key, labels)) = node.get("deploy").and_then(|deploy| deploy.entry("labels")) {
            service.fields.insert("deploy.labels".to_owned(), key.at);
            service.deploy = self.labels(name, labels);
        }
        if let Some(node) = node.get("environment") {
            service.environment = self.pairs(node);
        }
        if let Some(networks) = node.get("networks") {
            let list = networks.items().iter().filter_map(|item| item.string());
            let map = networks
                .entries()
                .iter()
                .filter_map(|(key, _)| key.string());
            service.networks = list.chain(map).collect();
        }
        service.network_mode = node.get("network_mode").and_then(|node| self.scalar(node));
        if let Some(command) = node.get("command") {
            let words = command.items().iter().filter_map(|item| item.string());
            let words: Vec<String> = words.collect();
            service.command = self.scalar(command).or_else(|| Some(words.join(" ")));
        }
        service.image = node.get("image").and_then(|node| self.scalar(node));
        for item in node.get("expose").map_or(&[][..], |node| node.items()) {
            let text = self.scalar(item).unwrap_or_default();
            service.exposed.extend(ports(&text));
        }
        for item in node.get("ports").map_or(&[][..], |node| node.items()) {
            let published = match item.entries() {
                [] => short(&self.scalar(item).unwrap_or_default()),
                _ => self.long(item),
            };
            let private = published.iter().map(|one| one.private);
            service.exposed.extend(private);
            service
                .published
                .extend(published.into_iter().filter(|one| one.public > 0));
        }
        service
    }

    /// Long syntax of `ports`.
    fn long(&mut self, item: &Node) -> Vec<Published> {
        let mut get = |key: &str| item.get(key).and_then(|node| self.scalar(node));
        if get("protocol").is_some_and(|protocol| protocol != "tcp") {
            return Vec::new();
        }
        let public = get("published").unwrap_or_default().parse().unwrap_or(0);
        let ip = get("host_ip").and_then(|ip| ip.parse().ok());
        let target = get("target").unwrap_or_default();
        let published = |private| Published {
            private,
            public,
            ip,
        };
        ports(&target).into_iter().map(published).collect()
    }

    /// A text with its variables; without a word where compose would refuse it: that is another's business.
    fn scalar(&mut self, node: &Node) -> Option<String> {
        let text = node.string().filter(|_| !node.is_null())?;
        let filled = fill::fill(&text, &self.variables).ok()?;
        Some(filled.text)
    }
}

/// All of a file, if that is no more than [`MAX_FILE`].
fn whole(from: impl Read) -> io::Result<String> {
    let mut text = String::new();
    from.take(MAX_FILE + 1).read_to_string(&mut text)?;
    match text.len() as u64 > MAX_FILE {
        true => {
            let reason = format!("larger than {MAX_FILE} bytes");
            Err(io::Error::new(io::ErrorKind::FileTooLarge, reason))
        }
        false => Ok(text),
    }
}

/// Bytes of one file.
const MAX_FILE: u64 = 1024 * 1024;
/// Services of one project that are looked at.
const MAX_SERVICES: usize = 1000;
/// Services that extend one another in a row.
const MAX_CHAIN: usize = 32;
