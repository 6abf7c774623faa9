//! The address of a container, as seen from where Wharf runs.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use crate::docker::labels::{Dial, NetworkLabel, excerpt};
use crate::docker::{Attachment, Container, Network, Position, Snapshot, State};
use crate::model::{Address, Names, Problem, Severity, Sockets, Via};

use super::PlanOptions;
use super::published::{self, Host};

/// What decides which addresses can be reached.
pub(super) struct Reach<'a> {
    containers: BTreeMap<&'a str, &'a Container>,
    networks: BTreeMap<&'a str, &'a Network>,
    /// `WHARF_NETWORK`.
    network: Option<&'a str>,
    /// What names outside Docker stand for.
    pub(super) names: &'a Names,
    sockets: Option<&'a Arc<Sockets>>,
    /// The container Wharf runs in, and the one whose network that is. `None` on the host.
    own: Option<&'a Container>,
    /// Whose is an address of a network, by the network's id.
    holders: BTreeMap<(&'a str, IpAddr), Vec<&'a Container>>,
}

/// Why a container has no address.
pub(super) struct Apart {
    pub(super) sentence: String,
    /// It is a matter of time.
    pub(super) passing: bool,
}

impl Apart {
    pub(super) fn lasting(sentence: String) -> Self {
        Self {
            sentence,
            passing: false,
        }
    }
}

impl<'a> Reach<'a> {
    pub(super) fn new(
        snapshot: &'a Snapshot,
        options: &'a PlanOptions,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let by_id = |container: &'a Container| (container.id.as_str(), container);
        let networks = snapshot.networks.iter();
        let mut reach = Self {
            containers: snapshot.containers.iter().map(by_id).collect(),
            networks: networks.map(|n| (n.id.as_str(), n)).collect(),
            network: options.network.as_deref(),
            names: &options.names,
            sockets: options.sockets.as_ref(),
            own: None,
            holders: holders(snapshot),
        };
        if let Position::Container { id } = &snapshot.position {
            reach.own = reach
                .containers
                .get(id.as_str())
                .and_then(|own| reach.namespace(own).ok())
                .filter(|own| own.network_mode != "host");
            if !reach.containers.contains_key(id.as_str()) {
                let reason = "the engine does not list the container Wharf runs in: every address is taken for reachable";
                problems.push(problem(
                    &excerpt(id),
                    None,
                    Severity::Warning,
                    reason.to_owned(),
                ));
            }
        }
        reach
    }

    /// The address of `container` and how it was found, or the sentence that says why there is none. `label` is its
    /// `wharf.network`.
    pub(super) fn address(
        &self,
        container: &Container,
        label: Option<&NetworkLabel>,
        problems: &mut Vec<Problem>,
    ) -> Result<(IpAddr, Via), Apart> {
        let found = self.look(container, label, problems);
        found.map_err(|miss| {
            let severity = match miss.passing {
                true => Severity::Warning,
                false => Severity::Error,
            };
            let sentence = format!("{}: {}", excerpt(&container.name), miss.reason);
            problems.push(problem(&container.name, miss.label, severity, miss.reason));
            Apart {
                sentence,
                passing: miss.passing,
            }
        })
    }

    /// The Unix socket at `path`.
    pub(super) fn socket(&self, path: &str) -> Result<Address, String> {
        let sockets = self.sockets.ok_or(
            "Wharf has no directory of sockets: mount the app's volume at /sockets in its container, or set WHARF_SOCKETS",
        )?;
        Ok(Address::Unix(sockets.file(path)?.into()))
    }

    /// The address at which the host forwards to `container`.
    pub(super) fn published(
        &self,
        container: &Container,
        dial: &Dial,
    ) -> Result<SocketAddr, String> {
        let host = match self.own {
            None => Host::Here,
            Some(own) => Host::Behind(gateway(own)),
        };
        published::address(self.namespace(container)?, dial, host)
    }

    fn look<'l>(
        &self,
        container: &Container,
        label: Option<&'l NetworkLabel>,
        problems: &mut Vec<Problem>,
    ) -> Result<(IpAddr, Via), Miss<'l>> {
        let at = self.namespace(container).map_err(Miss::of)?;
        if let Some(label) = label.filter(|_| at.network_mode == "host") {
            let reason = "without effect: the container uses the host's network".to_owned();
            problems.push(problem(
                &container.name,
                Some(label),
                Severity::Warning,
                reason,
            ));
        }
        match (at.network_mode.as_str(), self.own) {
            (_, Some(own)) if own.id == at.id => Ok((LOOPBACK, Via::Loopback)),
            ("host", None) => Ok((LOOPBACK, Via::Loopback)),
            ("host", Some(own)) => gateway(own).map(|ip| (ip, Via::Gateway)).ok_or_else(|| {
                Miss::of("uses the host's network, which Wharf cannot reach: no network of its own container has a gateway")
            }),
            ("none", _) if container.is_of_file() => Err(Miss::of(
                "does not say where its app is: set wharf.upstream, as in http://192.168.1.5:8080",
            )),
            ("none", _) => Err(Miss::of(
                "has no network (network_mode: none) and cannot be reached",
            )),
            _ => self.on_networks(container, at, label),
        }
    }

    /// The container whose network `container` uses: itself, unless it is in `container:` mode.
    fn namespace<'c>(&self, container: &'c Container) -> Result<&'c Container, String>
    where
        'a: 'c,
    {
        let mut at: &'c Container = container;
        for _ in 0..MAX_HOPS {
            let Some(id) = at.network_mode.strip_prefix("container:") else {
                return Ok(at);
            };
            let named = || self.containers.values().find(|other| other.name == id);
            let target = self.containers.get(id).or_else(named);
            at = match target {
                Some(target) if has_network(target) => target,
                _ => {
                    return Err(format!(
                        "uses the network of container {}, which is not running",
                        excerpt(id)
                    ));
                }
            };
        }
        Err("uses the network of a container that uses the network of another".to_owned())
    }

    /// The best address among those on networks Wharf is on.
    fn on_networks<'l>(
        &self,
        container: &Container,
        at: &Container,
        label: Option<&'l NetworkLabel>,
    ) -> Result<(IpAddr, Via), Miss<'l>> {
        let wanted = label.map(|label| label.name.as_str()).or(self.network);
        let project = container.labels.get("com.docker.compose.project");
        let is_wanted = |name: &str| match wanted {
            None => true,
            Some(wanted) => {
                let prefixed = project.map(|project| format!("{project}_{wanted}"));
                name == wanted || prefixed.is_some_and(|prefixed| name == prefixed)
            }
        };
        let attached: Vec<&Attachment> = at
            .networks
            .iter()
            .filter(|a| is_wanted(&a.name) && !self.is_ingress(a))
            .collect();
        if let (Some(wanted), true) = (wanted, attached.is_empty()) {
            let known = self
                .networks
                .values()
                .any(|network| is_wanted(&network.name));
            return Err(Miss::on(label, missing(wanted, known, label.is_none(), at)));
        }
        let reachable = attached.iter().filter(|a| self.is_shared(a)).copied();
        let mut found: Vec<_> = reachable
            .filter_map(|a| Some((self.rank(a), address_on(a)?, &a.name)))
            .collect();
        found.sort();
        let mut disputed = None;
        found.retain(|(_, ip, name)| {
            let on = attached.iter().find(|a| a.name == **name);
            let rival = on.and_then(|on| self.rival(at, on, *ip));
            disputed = disputed.take().or_else(|| Some((*ip, rival?)));
            rival.is_none()
        });
        let mut found = found.into_iter();
        let Some((_, address, name)) = found.next() else {
            return Err(match disputed {
                Some((ip, rival)) => Miss::disputed(label, ip, rival),
                None => Miss::on(label, self.apart(&attached)),
            });
        };
        let others = found.take(MAX_NAMES).map(|(.., name)| excerpt(name));
        let via = Via::Network {
            name: excerpt(name),
            others: others.collect(),
        };
        Ok((address, via))
    }

    /// Another container that the engine gives the same address: one of the two has it no more, and
    /// nobody can tell which.
    fn rival(&self, at: &Container, on: &Attachment, ip: IpAddr) -> Option<&'a Container> {
        let holders = self.holders.get(&(on.network_id.as_str(), ip))?;
        let others = holders.iter().copied().filter(|other| other.id != at.id);
        others.min_by(|a, b| a.id.cmp(&b.id))
    }

    /// Preference: user-defined networks before the default bridge, then those that are not
    /// internal, then those with IPv4, then by name and id so that it is stable.
    fn rank<'n>(&self, on: &'n Attachment) -> (bool, bool, bool, &'n str, &'n str) {
        let network = self.networks.get(on.network_id.as_str());
        (
            on.name == "bridge",
            network.is_some_and(|network| network.internal),
            on.ipv4.is_none(),
            &on.name,
            &on.network_id,
        )
    }

    fn is_ingress(&self, on: &Attachment) -> bool {
        let network = self.networks.get(on.network_id.as_str());
        network.is_some_and(|network| network.ingress)
    }

    /// By id: two networks may have one name.
    fn is_shared(&self, on: &Attachment) -> bool {
        self.own.is_none_or(|own| {
            let mut networks = own.networks.iter();
            networks.any(|mine| mine.network_id == on.network_id)
        })
    }

    /// Why none of the networks a container is on gives an address.
    fn apart(&self, attached: &[&Attachment]) -> String {
        let Some(own) = self
            .own
            .filter(|_| !attached.iter().any(|a| self.is_shared(a)))
        else {
            return "has no network address yet".to_owned();
        };
        format!(
            "shares no network with Wharf: it is on {}, Wharf is on {}",
            names(attached.iter().copied()),
            names(&own.networks)
        )
    }
}

/// The cause of an [`Apart`], and the label it is about.
struct Miss<'l> {
    label: Option<&'l NetworkLabel>,
    reason: String,
    passing: bool,
}

impl<'l> Miss<'l> {
    fn of(reason: impl Into<String>) -> Self {
        Self::on(None, reason)
    }

    fn on(label: Option<&'l NetworkLabel>, reason: impl Into<String>) -> Self {
        Self {
            label,
            reason: reason.into(),
            passing: false,
        }
    }

    fn disputed(label: Option<&'l NetworkLabel>, ip: IpAddr, rival: &Container) -> Self {
        let rival = excerpt(&rival.name);
        let reason = format!(
            "the engine gives its address {ip} to container {rival}, too: nothing is sent there until it is clear whose it is"
        );
        Self {
            passing: true,
            ..Self::on(label, reason)
        }
    }
}

/// Every address in use. A network never gives out loopback addresses.
fn holders(snapshot: &Snapshot) -> BTreeMap<(&str, IpAddr), Vec<&Container>> {
    let mut holders: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for container in snapshot.containers.iter().filter(|c| has_network(c)) {
        for on in &container.networks {
            let addresses = [on.ipv4.map(IpAddr::V4), on.ipv6.map(IpAddr::V6)];
            for ip in addresses
                .into_iter()
                .flatten()
                .filter(|ip| !ip.is_loopback())
            {
                let key = (on.network_id.as_str(), ip);
                holders.entry(key).or_default().push(container);
            }
        }
    }
    holders
}

/// What is wrong when the network asked for is none of the container's.
fn missing(wanted: &str, known: bool, global: bool, at: &Container) -> String {
    let wanted = excerpt(wanted);
    let source = if global { " (WHARF_NETWORK)" } else { "" };
    if !known {
        return format!("there is no network `{wanted}`{source}");
    }
    format!(
        "is not on network `{wanted}`{source}: it is on {}",
        names(&at.networks)
    )
}

/// Names of networks, for a message.
fn names<'n>(networks: impl IntoIterator<Item = &'n Attachment>) -> String {
    let mut names: Vec<String> = networks.into_iter().map(|n| excerpt(&n.name)).collect();
    names.sort();
    names.truncate(MAX_NAMES);
    match names.is_empty() {
        true => "none".to_owned(),
        false => names.join(", "),
    }
}

/// Whether others that use a container's network have one.
fn has_network(container: &Container) -> bool {
    use State::{Paused, Running, Stopping};
    matches!(container.state, Running | Stopping | Paused)
}

/// IPv4 unless there is only IPv6.
fn address_on(on: &Attachment) -> Option<IpAddr> {
    let v6 = || on.ipv6.map(IpAddr::V6);
    on.ipv4.map(IpAddr::V4).or_else(v6)
}

/// Where processes of the host are, seen from a container: the gateway of its first network.
fn gateway(own: &Container) -> Option<IpAddr> {
    let mut networks: Vec<&Attachment> = own.networks.iter().collect();
    networks.sort_by_key(|n| (&n.name, &n.network_id));
    networks.into_iter().find_map(|network| network.gateway)
}

fn problem(
    container: &str,
    label: Option<&NetworkLabel>,
    severity: Severity,
    reason: String,
) -> Problem {
    Problem {
        severity,
        container: container.to_owned(),
        label: label.map_or_else(String::new, |label| label.label.clone()),
        value: label.map_or_else(String::new, |label| label.value.clone()),
        reason,
    }
}

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Docker allows one; more would be a model of our own making.
const MAX_HOPS: usize = 4;

/// Networks named in a message.
const MAX_NAMES: usize = 16;
