//! Snapshots for property tests, with labels that make routes and labels that are wrong.

use proptest::prelude::*;
use proptest::sample::select;

use crate::docker::labels::arbitrary::labels;
use crate::docker::{Attachment, Container, Health, Network, Position, Snapshot, State};

/// Up to eight containers, at most three services.
pub(super) fn snapshot() -> impl Strategy<Value = Snapshot> {
    let containers = prop::collection::vec(container(), 1..8);
    (containers, any::<bool>()).prop_map(|(mut containers, inside)| {
        for (index, container) in containers.iter_mut().enumerate() {
            container.id = format!("{index:064x}");
            container.name = format!("c{index}");
        }
        let id = containers[0].id.clone();
        let own = inside.then(|| id.clone());
        let network = |(index, name): (usize, &&str)| Network {
            id: index.to_string(),
            name: (*name).to_owned(),
            internal: index == 1,
            ingress: index == 3,
        };
        Snapshot {
            networks: NETWORKS.iter().enumerate().map(network).collect(),
            position: match inside {
                true => Position::Container { id },
                false => Position::Host,
            },
            containers,
            own,
        }
    })
}

fn container() -> impl Strategy<Value = Container> {
    let networks = prop::collection::btree_map(0..NETWORKS.len(), any::<[bool; 2]>(), 0..3);
    let service = select(vec!["", "web", "db", "odd#service"]);
    let ports = prop::collection::vec(0..4_u16, 0..3);
    let mode = select(vec!["bridge", "bridge", "host", "none", "container:c1"]);
    (labels(), networks, service, ports, mode, 0..4_i64, 0..12_u8).prop_map(
        |(mut labels, networks, service, exposed, mode, created, state)| {
            if !service.is_empty() {
                labels.insert("com.docker.compose.project".to_owned(), "p".to_owned());
                labels.insert("com.docker.compose.service".to_owned(), service.to_owned());
            }
            Container {
                id: String::new(),
                name: String::new(),
                labels,
                created,
                image: String::new(),
                ended: 0,
                state: match state {
                    0 => State::Paused,
                    1 => State::Exited,
                    2 => State::Created,
                    3 => State::Stopping,
                    _ => State::Running,
                },
                health: match state {
                    4 => Health::Starting,
                    _ => Health::None,
                },
                networks: networks.into_iter().map(attachment).collect(),
                exposed,
                published: Vec::new(),
                network_mode: mode.to_owned(),
                complaint: None,
            }
        },
    )
}

fn attachment((index, [v4, v6]): (usize, [bool; 2])) -> Attachment {
    let id = u8::try_from(index).unwrap_or(0);
    Attachment {
        name: NETWORKS[index].to_owned(),
        network_id: index.to_string(),
        ipv4: v4.then_some([172, 18, id, 2].into()),
        ipv6: v6.then_some([0xfd00, 0, 0, 0, 0, 0, 0, u16::from(id)].into()),
        gateway: v4.then_some([172, 18, id, 1].into()),
    }
}

const NETWORKS: &[&str] = &["bridge", "back", "front", "ingress"];
