//! Which container Wharf itself runs in, if any: that decides the addresses it can reach.
//!
//! No single source is right everywhere: `/proc/self/cgroup` is empty in a private namespace, the
//! host name is whatever `--hostname` says. So several clues are read once, and the engine's list
//! confirms one of them.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::Path;

use super::{Container, Position, State};

/// What this process can tell about its container, best clue first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Clues {
    /// Set by the operator: id, prefix of it, or name.
    explicit: Option<String>,
    /// Ids and prefixes of ids.
    ids: Vec<String>,
    /// IPv4 addresses of the interfaces, loopback left out.
    addresses: BTreeSet<Ipv4Addr>,
    /// A file says that this is some container.
    in_container: bool,
}

impl Clues {
    /// Reads `/proc`, `HOSTNAME` and the marker files; `explicit` is an operator's setting.
    pub fn gather(explicit: Option<String>) -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let hostname = std::env::var("HOSTNAME").unwrap_or_default();
        let clues = Self::from_texts(
            &read("/proc/self/mountinfo"),
            &read("/proc/self/cgroup"),
            &hostname,
            &read("/proc/net/fib_trie"),
        );
        let marked = |path: &str| Path::new(path).exists();
        Self {
            explicit: explicit.filter(|text| !text.is_empty()),
            in_container: marked("/.dockerenv") || marked("/run/.containerenv"),
            ..clues
        }
    }

    fn from_texts(mountinfo: &str, cgroup: &str, hostname: &str, fib_trie: &str) -> Self {
        let host = hostname.to_owned();
        let ids = mounted_ids(mountinfo)
            .chain(last_id(cgroup))
            .chain(Some(host).filter(|host| host.len() == 12 && is_hex(host)));
        Self {
            ids: ids.collect(),
            addresses: local_addresses(fib_trie),
            ..Self::default()
        }
    }

    /// Where `containers` say that Wharf runs, or [`None`]: a process on a host.
    pub fn locate(&self, containers: &[Container]) -> Option<Position> {
        let own = self.own(containers)?;
        // In `container:` mode the networks are those of the other container.
        let own = (own.network_mode.strip_prefix("container:"))
            .and_then(|target| find(containers, |c| c.id == target || c.name == target))
            .unwrap_or(own);
        if own.network_mode == "host" {
            return Some(Position::Host);
        }
        Some(Position::Container { id: own.id.clone() })
    }

    /// The running container of `containers` the clues point at.
    pub fn own<'a>(&self, containers: &'a [Container]) -> Option<&'a Container> {
        let named = |word: &String| {
            find(containers, |c| {
                c.id.starts_with(word.as_str()) || c.name == *word
            })
        };
        (self.explicit.as_ref().and_then(named))
            .or_else(|| {
                let mut ids = self.ids.iter();
                ids.find_map(|id| find(containers, |c| c.id.starts_with(id.as_str())))
            })
            .or_else(|| find(containers, |c| self.has_addresses_of(c)))
    }

    /// Whether a failure to [`locate`](Self::locate) deserves a warning.
    pub(super) fn expects_a_container(&self) -> bool {
        self.in_container || self.explicit.is_some()
    }

    pub(super) fn in_container(&self) -> bool {
        self.in_container
    }

    /// All addresses must be the container's: one could be a chance on a remote engine.
    fn has_addresses_of(&self, container: &Container) -> bool {
        let networks = container.networks.iter();
        let theirs: BTreeSet<_> = networks.filter_map(|network| network.ipv4).collect();
        !theirs.is_empty() && theirs == self.addresses
    }
}

fn find(containers: &[Container], is: impl Fn(&Container) -> bool) -> Option<&Container> {
    let mut running = containers.iter().filter(|c| c.state == State::Running);
    running.find(|container| is(container))
}

/// Ids in the files an engine mounts into every container:
/// `209 191 254:0 /var/lib/docker/containers/<id>/hostname /etc/hostname rw,relatime - ext4 ...`.
/// Only these mount points count, since any volume may have an id in its source.
fn mounted_ids(mountinfo: &str) -> impl Iterator<Item = String> {
    mountinfo.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(3);
        let (root, target) = (fields.next()?, fields.next()?);
        let file = target.strip_prefix("/etc/")?;
        if !["hostname", "hosts", "resolv.conf"].contains(&file) {
            return None;
        }
        let directory = root.strip_suffix(file)?.strip_suffix('/')?;
        // Podman: .../overlay-containers/<id>/userdata/hosts
        let directory = directory.strip_suffix("/userdata").unwrap_or(directory);
        let (_, id) = directory.rsplit_once('/')?;
        is_id(id).then(|| id.to_owned())
    })
}

/// The last id of a cgroup path: `/docker/<id>`, `/system.slice/docker-<id>.scope`.
fn last_id(cgroup: &str) -> Option<String> {
    let mut words = cgroup.rsplit(|c: char| !c.is_ascii_alphanumeric());
    words.find(|word| is_id(word)).map(str::to_owned)
}

fn is_id(text: &str) -> bool {
    text.len() == 64 && is_hex(text)
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// The `/32 host LOCAL` leaves of `/proc/net/fib_trie`.
fn local_addresses(fib_trie: &str) -> BTreeSet<Ipv4Addr> {
    let mut leaf = None;
    let mut local = BTreeSet::new();
    for line in fib_trie.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse::<Ipv4Addr>().ok();
        } else if line == "/32 host LOCAL" {
            local.extend(leaf.filter(|address| !address.is_loopback()));
        }
    }
    local
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docker::{Attachment, Health};

    const ID: &str = "01b961b320a3c1bb01b961b320a3c1bb01b961b320a3c1bb01b961b320a3c1bb";
    const OTHER: &str = "fff961b320a3c1bb01b961b320a3c1bb01b961b320a3c1bb01b961b320a3c1bb";

    fn container(id: &str, mode: &str, address: &str) -> Container {
        Container {
            id: id.into(),
            name: format!("name-{}", &id[..3]),
            labels: [].into(),
            created: 0,
            image: String::new(),
            ended: 0,
            state: State::Running,
            health: Health::None,
            networks: vec![Attachment {
                name: mode.into(),
                network_id: "n".into(),
                ipv4: address.parse().ok(),
                ipv6: None,
                gateway: None,
            }],
            exposed: vec![],
            published: vec![],
            network_mode: mode.into(),
            complaint: None,
        }
    }

    fn mountinfo(root: &str, target: &str) -> String {
        format!("209 191 254:0 {root} {target} rw,relatime - ext4 /dev/vda rw\n")
    }

    #[test]
    fn mountinfo_of_docker_podman_and_a_foreign_mount() {
        let ids = |text: &str| mounted_ids(text).collect::<Vec<_>>();
        let docker = mountinfo(
            &format!("/var/lib/docker/containers/{ID}/hostname"),
            "/etc/hostname",
        );
        assert_eq!(ids(&docker), [ID]);
        let podman = format!("/var/lib/overlay-containers/{ID}/userdata/hosts");
        assert_eq!(ids(&mountinfo(&podman, "/etc/hosts")), [ID]);
        let foreign = format!("/var/lib/docker/containers/{OTHER}/hostname");
        assert!(ids(&mountinfo(&foreign, "/data/hostname")).is_empty());
        assert!(ids("").is_empty() && ids("1 2 3\n").is_empty());
    }

    #[test]
    fn cgroup_paths() {
        for (text, expected) in [
            (format!("1:name=systemd:/docker/{ID}\n"), Some(ID)),
            (format!("0::/system.slice/docker-{ID}.scope\n"), Some(ID)),
            (format!("1:cpu:/docker/{OTHER}/docker/{ID}\n"), Some(ID)),
            ("0::/\n".to_owned(), None),
        ] {
            assert_eq!(last_id(&text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn fib_trie_leaves() {
        let text = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 172.18.0.0\n        /16 link UNICAST\n     \
                    |-- 172.18.0.3\n        /32 host LOCAL\n     |-- 127.0.0.1\n        /32 host LOCAL\n";
        assert_eq!(local_addresses(text), [Ipv4Addr::new(172, 18, 0, 3)].into());
    }

    #[test]
    fn the_list_confirms_the_first_clue_it_knows() {
        let list = [
            container(ID, "web", "172.18.0.3"),
            container(OTHER, "host", ""),
        ];
        let own = |id: &str| Some(Position::Container { id: id.into() });
        let mount = mountinfo(&format!("/x/{ID}/hosts"), "/etc/hosts");
        assert_eq!(Clues::from_texts(&mount, "", "", "").locate(&list), own(ID));
        let gone = mount.replace(ID, &ID.replace('0', "9"));
        assert_eq!(Clues::from_texts(&gone, "", "", "").locate(&list), None);
        assert_eq!(
            Clues::from_texts(&gone, "", &ID[..12], "").locate(&list),
            own(ID)
        );
        let trie = "|-- 172.18.0.3\n/32 host LOCAL\n";
        assert_eq!(Clues::from_texts("", "", "pc", trie).locate(&list), own(ID));
        let more = format!("{trie}|-- 10.0.0.1\n/32 host LOCAL\n");
        assert_eq!(Clues::from_texts("", "", "pc", &more).locate(&list), None);
    }

    #[test]
    fn host_and_container_modes() {
        let inside = container(ID, &format!("container:{OTHER}"), "");
        let explicit = |word: &str| Clues {
            explicit: Some(word.into()),
            ..Clues::default()
        };
        let list = [inside.clone(), container(OTHER, "web", "172.18.0.4")];
        let id = OTHER.into();
        assert_eq!(
            explicit("name-01b").locate(&list),
            Some(Position::Container { id })
        );
        let list = [inside, container(OTHER, "host", "")];
        assert_eq!(explicit(&ID[..12]).locate(&list), Some(Position::Host));
        assert_eq!(explicit("nobody").locate(&list), None);
    }
}
