//! What the labels of one container cannot do to another: ten thousand sets of them, some of which make routes and
//! many of which are wrong.

use std::collections::BTreeMap;
use std::time::Instant;

use proptest::prelude::*;

use super::{RouteTable, compile};
use crate::docker::labels::arbitrary::labels;
use crate::docker::plan::{PlanOptions, plan};
use crate::docker::{Attachment, Container, Health, Network, Position, Snapshot, State};
use crate::model::Plan;
use crate::upstream::Secret;

fn container(name: &str, index: u8, labels: BTreeMap<String, String>) -> Container {
    let network = Attachment {
        name: "web".to_owned(),
        network_id: "n".to_owned(),
        ipv4: Some([172, 18, 0, index].into()),
        ipv6: None,
        gateway: None,
    };
    Container {
        id: format!("{index:064x}"),
        name: name.to_owned(),
        labels,
        created: index.into(),
        image: String::new(),
        ended: 0,
        state: State::Running,
        health: Health::None,
        networks: vec![network],
        exposed: vec![80],
        published: Vec::new(),
        network_mode: "web".to_owned(),
        complaint: None,
    }
}

fn snapshot(containers: Vec<Container>) -> Snapshot {
    Snapshot {
        containers,
        networks: vec![Network {
            id: "n".to_owned(),
            name: "web".to_owned(),
            internal: false,
            ingress: false,
        }],
        position: Position::Host,
        own: None,
    }
}

/// All that decides about answers for the neighbour's host, as far as a plan has it, and which routes are found there.
fn told(snapshot: &Snapshot) -> (String, Vec<String>) {
    let now = Instant::now();
    let (plan, _) = plan(snapshot, &PlanOptions::default(), &Plan::default(), now);
    let table = compile(&plan, &RouteTable::default(), &Secret::new(&[0; 32]), now);
    let of = |container: &str| container == NEIGHBOUR;
    let routes: Vec<_> = plan
        .routes
        .iter()
        .filter(|route| of(&route.container))
        .collect();
    let upstreams = plan.upstreams.iter();
    let upstreams: Vec<_> = upstreams
        .filter(|upstream| routes.iter().any(|route| route.upstream == upstream.key))
        .collect();
    let found = ["/", "/api/x", "/login", "/..%2f"].map(|path| {
        let entry = table.find_host(HOST);
        match entry.map(|entry| entry.find(path, |_, _| false)) {
            Some(Ok(route)) => route.key.to_string(),
            Some(Err(error)) => format!("{error:?}"),
            None => "no host".to_owned(),
        }
    });
    (format!("{routes:?} {upstreams:?}"), found.into())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn no_labels_of_a_container_change_what_another_host_answers(fuzzed in labels()) {
        let own = [
            ("wharf.host", HOST),
            ("wharf.api.path", "/api"),
            ("wharf.api.allow", "10.0.0.0/8"),
            ("wharf.login.path", "/login"),
            ("wharf.login.ratelimit", "1r/s"),
        ];
        let own = own.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let neighbour = container(NEIGHBOUR, 1, BTreeMap::from(own));
        let alone = told(&snapshot(vec![neighbour.clone()]));
        let both = told(&snapshot(vec![neighbour, container("fuzzed", 2, fuzzed)]));
        prop_assert_eq!(alone, both);
    }
}

const NEIGHBOUR: &str = "neighbour";
/// None that `labels` has.
const HOST: &str = "neighbour.example.org";
