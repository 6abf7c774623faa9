mod arbitrary;
mod fixtures;
mod notes;
mod properties;

use std::collections::BTreeMap;

use crate::docker::{Container, Health, State};

/// A running container on no network that exposes port 80.
fn container(name: &str, created: i64) -> Container {
    Container {
        id: format!(
            "{:0>64}",
            name.replace(|c: char| !c.is_ascii_hexdigit(), "0")
        ),
        name: name.to_owned(),
        labels: BTreeMap::new(),
        created,
        image: String::new(),
        ended: 0,
        state: State::Running,
        health: Health::None,
        networks: Vec::new(),
        exposed: vec![80],
        published: Vec::new(),
        network_mode: "bridge".to_owned(),
        complaint: None,
    }
}
