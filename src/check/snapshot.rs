//! Services -> the containers they would be, for the same plan as the engine's.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::docker::labels::{Defaults, Values};
use crate::docker::plan::PlanOptions;
use crate::docker::{Attachment, Container, Health, Network, Position, Snapshot, State};
use crate::model::{DefaultHost, LabelPrefix, Severity, Sockets, parse_bool};

use super::compose::Remark;
use super::service::{Label, Project, Service};

/// What the containers of all projects would be, and how Wharf would look at them. The name of a container
/// is that of its service, or with its project's where several have one.
pub(super) fn snapshot(
    projects: &[Project],
    prefix: &LabelPrefix,
    remarks: &mut Vec<Remark>,
) -> (Snapshot, PlanOptions) {
    let mut made = Made {
        networks: BTreeMap::new(),
        containers: Vec::new(),
        position: Position::Host,
        own: None,
        elsewhere: Vec::new(),
    };
    // Without Wharf's own service nobody can say where it is and what it knows: the best is assumed.
    let mut options = PlanOptions {
        prefix: prefix.clone(),
        dns: vec![None],
        sockets: Some(sockets("/sockets")),
        statics: Some("/srv".into()),
        ..PlanOptions::default()
    };
    for (project, service) in services(projects) {
        let name = name(projects, project, service);
        let index = made.containers.len();
        made.add(project, service, &name, &service.labels);
        if !service.deploy.is_empty() {
            made.add(project, service, &name, &service.deploy);
        }
        if is_wharf(service) && made.position == Position::Host {
            made.position = Position::Container { id: id(index) };
            if let Some(directory) = service.variable("WHARF_SOCKETS") {
                options.sockets = Some(sockets(directory));
            }
            made.own = Some(id(index));
            options.defaults = Arc::new(defaults(service, remarks));
            let host = service.variable("WHARF_DEFAULT_HOST");
            options.default_host = host.and_then(|text| DefaultHost::parse(text).ok());
            let all = service.variable("WHARF_EXPOSE_ALL");
            options.expose_all = all.is_some_and(|text| parse_bool(text).unwrap_or(false));
            if let Some(directory) = service.variable("WHARF_STATIC_DIR") {
                options.statics = Some(directory.into());
            }
            options.network = service.variable("WHARF_NETWORK").map(str::to_owned);
            if service.variable("WHARF_DNS").is_none() {
                options.dns.clear();
            }
        }
    }
    // Whose network it is may be told elsewhere: any will do.
    let names: Vec<String> = made.networks.keys().cloned().collect();
    for index in std::mem::take(&mut made.elsewhere) {
        let networks = names.iter().map(|name| made.attach(name, index)).collect();
        made.containers[index].networks = networks;
    }
    let networks = made.networks.into_iter();
    let mut networks: Vec<Network> = networks
        .map(|(name, id)| Network {
            id,
            name,
            internal: false,
            ingress: false,
        })
        .collect();
    networks.sort_by(|a, b| a.id.cmp(&b.id));
    let snapshot = Snapshot {
        containers: made.containers,
        networks,
        position: made.position,
        own: made.own,
    };
    (snapshot, options)
}

fn sockets(directory: &str) -> Arc<Sockets> {
    let directory = PathBuf::from(directory);
    Arc::new(Sockets {
        directory,
        engine: None,
    })
}

/// What Wharf's own service has for options of routes that say nothing of them.
fn defaults(service: &Service, remarks: &mut Vec<Remark>) -> Defaults {
    let is_default = |pair: &&Label| {
        let name = pair.key.as_str();
        let set = !pair.value.trim().is_empty();
        name.starts_with(Defaults::VARIABLE) && name != "WHARF_DEFAULT_HOST" && set
    };
    let given: Vec<&Label> = service.environment.iter().filter(is_default).collect();
    let pairs = given.iter().map(|pair| (&*pair.key, &*pair.value));
    match Defaults::read(pairs, &Values::Unread) {
        Ok((defaults, _)) => defaults,
        Err(faults) => {
            for fault in faults {
                let pair = given.iter().find(|pair| pair.key == fault.variable);
                remarks.extend(pair.map(|pair| Remark {
                    severity: Severity::Error,
                    at: pair.key_at,
                    word: None,
                    service: service.name.clone(),
                    label: fault.variable.clone(),
                    reason: format!("{}: Wharf does not start", fault.reason),
                }));
            }
            Defaults::default()
        }
    }
}

/// Every service with its project.
pub(super) fn services(projects: &[Project]) -> impl Iterator<Item = (&Project, &Service)> {
    let all = projects.iter();
    all.flat_map(|project| {
        project
            .services
            .iter()
            .map(move |service| (project, service))
    })
}

/// What a service's container is called.
pub(super) fn name(projects: &[Project], project: &Project, service: &Service) -> String {
    let same = services(projects).filter(|(_, other)| other.name == service.name);
    match same.count() {
        0 | 1 => service.name.clone(),
        _ => format!("{}/{}", project.name, service.name),
    }
}

struct Made {
    /// Ids by name.
    networks: BTreeMap<String, String>,
    containers: Vec<Container>,
    position: Position,
    own: Option<String>,
    /// Those that use the network of another container.
    elsewhere: Vec<usize>,
}

impl Made {
    fn add(&mut self, project: &Project, service: &Service, name: &str, labels: &[Label]) {
        let index = self.containers.len();
        let mut all: BTreeMap<String, String> = labels
            .iter()
            .map(|label| (label.key.clone(), label.value.clone()))
            .collect();
        for label in labels {
            // Networks of other files exist, for all anybody knows.
            if label.key.to_ascii_lowercase().ends_with(".network") {
                self.network(&label.value);
            }
        }
        all.insert(
            "com.docker.compose.project".to_owned(),
            project.name.clone(),
        );
        all.insert(
            "com.docker.compose.service".to_owned(),
            service.name.clone(),
        );
        let mode = service.network_mode.clone().unwrap_or_default();
        let keys: &[String] = match (&*mode, service.networks.as_slice()) {
            ("", []) => &["default".to_owned()],
            ("", networks) => networks,
            _ => &[],
        };
        let mut networks: Vec<Attachment> = { keys.iter() }
            .map(|key| {
                let name = project.networks.get(key).unwrap_or(key);
                self.attach(name, index)
            })
            .collect();
        if mode.starts_with("service:") || mode.starts_with("container:") {
            self.elsewhere.push(index);
        }
        if mode == "bridge" {
            networks.push(self.attach("bridge", index));
        }
        networks.sort_by(|a, b| a.name.cmp(&b.name));
        let mut exposed = service.exposed.clone();
        exposed.sort_unstable();
        exposed.dedup();
        if exposed.is_empty() {
            // The image says which.
            exposed.push(UNKNOWN);
        }
        self.containers.push(Container {
            id: id(index),
            name: name.to_owned(),
            labels: all,
            image: String::new(),
            created: 0,
            state: State::Running,
            ended: 0,
            health: Health::None,
            complaint: None,
            networks,
            exposed,
            published: service.published.clone(),
            network_mode: match mode.as_str() {
                "host" | "none" => mode,
                _ => "bridge".to_owned(),
            },
        });
    }

    fn network(&mut self, name: &str) -> String {
        let next = format!("{:064x}", self.networks.len());
        self.networks.entry(name.to_owned()).or_insert(next).clone()
    }

    fn attach(&mut self, name: &str, index: usize) -> Attachment {
        let [.., a, b, c] = (index as u32 + 2).to_be_bytes();
        Attachment {
            name: name.to_owned(),
            network_id: self.network(name),
            ipv4: Some(Ipv4Addr::new(10, a, b, c)),
            ipv6: None,
            gateway: Some(Ipv4Addr::new(10, 0, 0, 1).into()),
        }
    }
}

/// Whether it runs Wharf itself, by its image; the same image can stand before the engine's socket.
fn is_wharf(service: &Service) -> bool {
    let image = service.image.as_deref().unwrap_or_default();
    let image = image.split('@').next().unwrap_or_default();
    let last = image.rsplit('/').next().unwrap_or_default();
    let command = service.command.as_deref().unwrap_or_default();
    last.split(':').next() == Some("wharf") && !command.contains("socket-proxy")
}

fn id(index: usize) -> String {
    format!("{index:064x}")
}

/// Stands for a port that the image exposes.
const UNKNOWN: u16 = 1;
