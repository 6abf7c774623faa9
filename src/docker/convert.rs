//! The engine's JSON -> Wharf's own types; nothing else reads those models.

use std::net::IpAddr;

use super::event::{self, Action, Event, Facts, Stop};
use super::models::{Endpoint, Inspect, Message, NetworkEntry, Port, Summary};
use super::{Attachment, Container, Health, Network, Published, State};

/// The whole list. An entry that cannot be read costs only its own container.
pub(super) fn containers(list: &[u8]) -> Result<Vec<Container>, serde_json::Error> {
    let entries: Vec<Summary> = match serde_json::from_slice(list) {
        Ok(entries) => entries,
        Err(error) => {
            tracing::debug!(%error, "reading the container list one by one");
            let entries: Vec<serde_json::Value> = serde_json::from_slice(list)?;
            entries.into_iter().filter_map(alone).collect()
        }
    };
    Ok(entries.into_iter().filter_map(container).collect())
}

fn alone(entry: serde_json::Value) -> Option<Summary> {
    let id = entry["Id"].to_string();
    serde_json::from_value(entry)
        .inspect_err(|error| tracing::warn!(container = id, %error, "unreadable list entry"))
        .ok()
}

/// One entry of the list; `None` without an id, which no engine sends.
fn container(summary: Summary) -> Option<Container> {
    let networks = summary.network_settings.networks.into_iter();
    let (exposed, published) = ports_of(&summary.ports);
    Some(Container {
        name: own_name(&summary.names).to_owned(),
        id: Some(summary.id).filter(|id| !id.is_empty())?,
        labels: summary.labels,
        image: summary.image_id,
        created: summary.created,
        ended: 0,
        state: state(&summary.state),
        health: health(&summary.status),
        complaint: exit_code(&summary.status),
        // Sorted, as the map is.
        networks: networks.map(attachment).collect(),
        exposed,
        published,
        network_mode: summary.host_config.network_mode,
    })
}

pub(super) fn network(network: NetworkEntry) -> Option<Network> {
    Some(Network {
        id: Some(network.id).filter(|id| !id.is_empty())?,
        name: network.name,
        internal: network.internal,
        ingress: network.ingress,
    })
}

/// What an event says of a container. An event of another kind, or without an action, is one of
/// container ``.
pub(super) fn event(message: Message) -> Event {
    let mut attributes = message.actor.attributes;
    let mut attribute = |name: &str| attributes.remove(name).unwrap_or_default();
    let id = message.actor.id;
    let (container, action) = match message.kind.as_str() {
        "container" => (id, happened(&message.action, &attribute("signal"))),
        "network" => {
            let action = match message.action.as_str() {
                "connect" => Action::Connect(id),
                "disconnect" => Action::Disconnect(id),
                _ => Action::Other,
            };
            (attribute("container"), action)
        }
        _ => (String::new(), Action::Other),
    };
    Event {
        at: message.time_nano,
        container,
        action,
    }
}

/// `oom` is no end by itself: the kernel may have killed one process of several. `die` follows.
fn happened(action: &str, signal: &str) -> Action {
    match action {
        "kill" => event::number(signal).map_or(Action::Other, Action::Kill),
        "die" | "stop" | "destroy" | "remove" => Action::Down,
        "start" => Action::Start,
        "pause" => Action::Pause,
        "unpause" => Action::Unpause,
        "health_status: healthy" => Action::Healthy,
        "health_status: unhealthy" => Action::Unhealthy,
        "health_status" => Action::Checked,
        _ => Action::Other,
    }
}

pub(super) fn facts(inspect: &Inspect) -> Facts {
    let signal = inspect.config.stop_signal.as_ref();
    let signal = signal.map(|signal| match signal {
        serde_json::Value::String(name) => name.clone(),
        other => other.to_string(),
    });
    Facts {
        exposed: exposed(inspect),
        network_mode: inspect.host_config.network_mode.clone(),
        health: match inspect.state.health.status.as_str() {
            "starting" => Health::Starting,
            "healthy" => Health::Healthy,
            "unhealthy" => Health::Unhealthy,
            _ => Health::None,
        },
        stop: Stop::new(signal.as_deref(), inspect.config.stop_timeout),
        complaint: last_complaint(inspect),
    }
}

/// Output of the last HEALTHCHECK, if it failed (`State.Health.Log`, which a filter before the engine
/// may leave out).
fn last_complaint(inspect: &Inspect) -> Option<String> {
    let last = inspect.state.health.log.last()?;
    let failed = last.exit_code.is_none_or(|code| code != 0);
    failed.then(|| complaint(&last.output, last.exit_code))
}

/// One line of what a check has said: its words without line ends and control characters, at most
/// [`MAX_COMPLAINT`] bytes of them; the exit code where it said nothing.
pub(super) fn complaint(output: &str, code: Option<i64>) -> String {
    let mut line = String::new();
    let words = output.split(|c: char| c.is_whitespace() || c.is_control());
    for word in words.filter(|word| !word.is_empty()) {
        if line.len() + 1 + word.len() > MAX_COMPLAINT {
            let room = MAX_COMPLAINT.saturating_sub(line.len());
            if line.is_empty() {
                line.push_str(&word[..word.floor_char_boundary(room)]);
            }
            line.push('…');
            break;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    match (line.is_empty(), code) {
        (false, _) => line,
        (true, Some(code)) => format!("exit code {code}"),
        (true, None) => "no output".to_owned(),
    }
}

/// Of a HEALTHCHECK's output in a message.
const MAX_COMPLAINT: usize = 200;

/// `Config.ExposedPorts` of an inspect: `3000/tcp`, `53/udp`.
fn exposed(inspect: &Inspect) -> Vec<u16> {
    let mut tcp: Vec<u16> = (inspect.config.exposed_ports.keys())
        .filter_map(|port| match port.split_once('/') {
            None => port.parse().ok(),
            Some((port, "tcp")) => port.parse().ok(),
            Some(_) => None,
        })
        .collect();
    tcp.sort_unstable();
    tcp.dedup();
    tcp
}

/// Legacy links add names of the form `/other/alias`; the own one has a single slash.
fn own_name(names: &[String]) -> &str {
    let mut stripped = names.iter().map(|name| name.trim_start_matches('/'));
    let first = stripped.clone().next().unwrap_or_default();
    stripped.find(|name| !name.contains('/')).unwrap_or(first)
}

fn state(state: &str) -> State {
    match state {
        // Podman's two, for what Docker calls `created`.
        "created" | "configured" | "initialized" => State::Created,
        "running" => State::Running,
        "paused" => State::Paused,
        "restarting" => State::Restarting,
        // The second and the third are Podman's.
        "exited" | "stopped" => State::Exited,
        "stopping" => State::Stopping,
        _ => State::Other,
    }
}

/// From texts like `Up 2 seconds (health: starting)`: the only place of the list, up to API 1.51,
/// that tells health.
fn health(status: &str) -> Health {
    match status.rsplit_once(" (").map(|(_, word)| word) {
        Some("health: starting)") => Health::Starting,
        Some("healthy)") => Health::Healthy,
        Some("unhealthy)") => Health::Unhealthy,
        _ => Health::None,
    }
}

/// From texts like `Exited (1) 2 seconds ago`, `Restarting (137) 5 seconds ago`.
fn exit_code(status: &str) -> Option<String> {
    let rest = ["Exited (", "Restarting ("]
        .iter()
        .find_map(|word| status.strip_prefix(word))?;
    let (code, _) = rest.split_once(')')?;
    let code: i64 = code.parse().ok()?;
    Some(format!("exit code {code}"))
}

fn attachment((name, endpoint): (String, Endpoint)) -> Attachment {
    let ip = |text: &str| text.parse::<IpAddr>().ok();
    Attachment {
        name,
        ipv4: match ip(&endpoint.ip_address) {
            Some(IpAddr::V4(address)) => Some(address),
            _ => None,
        },
        ipv6: match ip(&endpoint.global_ipv6_address) {
            Some(IpAddr::V6(address)) => Some(address),
            _ => None,
        },
        gateway: ip(&endpoint.gateway),
        network_id: endpoint.network_id,
    }
}

fn ports_of(ports: &[Port]) -> (Vec<u16>, Vec<Published>) {
    let tcp = ports
        .iter()
        .filter(|port| matches!(port.kind.as_deref(), Some("tcp") | None));
    let mut exposed: Vec<_> = tcp.clone().map(|port| port.private_port).collect();
    exposed.sort_unstable();
    exposed.dedup();
    let mut published: Vec<_> = tcp
        .filter_map(|port| {
            Some(Published {
                private: port.private_port,
                public: port.public_port.filter(|port| *port != 0)?,
                ip: port.ip.as_deref().and_then(|ip| ip.parse().ok()),
            })
        })
        .collect();
    // The engine's order varies from list to list; an equal look must compare equal.
    published.sort_unstable_by_key(|port| (port.private, port.public, port.ip));
    (exposed, published)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: &str = r#"{
        "Id": "01b961b320a3", "Names": ["/front/app", "/dkA"], "Created": 1795440343,
        "Labels": {"wharf.host": "a.test"}, "State": "running", "Status": "Up 2 seconds (health: starting)",
        "HostConfig": {"NetworkMode": "webnet"},
        "Ports": [{"PrivatePort": 9090, "Type": "tcp"}, {"IP": "0.0.0.0", "PrivatePort": 3000, "PublicPort": 80, "Type": "tcp"},
                  {"IP": "::", "PrivatePort": 3000, "PublicPort": 80, "Type": "tcp"}, {"PrivatePort": 80, "Type": "udp"}],
        "NetworkSettings": {"Networks": {
            "webnet": {"NetworkID": "n1", "IPAddress": "172.18.0.2", "GlobalIPv6Address": "", "Gateway": "172.18.0.1"},
            "a6": {"NetworkID": "n2", "IPAddress": "", "GlobalIPv6Address": "fd00::2", "Gateway": ""}}},
        "Mounts": [{"Type": "volume"}], "Health": {"Status": "starting"}}"#;

    fn expected() -> Container {
        let published = |ip: &str| Published {
            private: 3000,
            public: 80,
            ip: Some(ip.parse().unwrap()),
        };
        Container {
            id: "01b961b320a3".into(),
            name: "dkA".into(),
            labels: [("wharf.host".into(), "a.test".into())].into(),
            image: String::new(),
            created: 1_795_440_343,
            ended: 0,
            state: State::Running,
            health: Health::Starting,
            networks: vec![
                Attachment {
                    name: "a6".into(),
                    network_id: "n2".into(),
                    ipv4: None,
                    ipv6: Some("fd00::2".parse().unwrap()),
                    gateway: None,
                },
                Attachment {
                    name: "webnet".into(),
                    network_id: "n1".into(),
                    ipv4: Some("172.18.0.2".parse().unwrap()),
                    ipv6: None,
                    gateway: Some("172.18.0.1".parse().unwrap()),
                },
            ],
            exposed: vec![3000, 9090],
            published: vec![published("0.0.0.0"), published("::")],
            network_mode: "webnet".into(),
            complaint: None,
        }
    }

    fn read(entry: &str) -> Vec<Container> {
        containers(format!("[{entry}]").as_bytes()).unwrap()
    }

    #[test]
    fn a_list_entry() {
        assert_eq!(read(ENTRY), [expected()]);
    }

    #[test]
    fn odd_entries_lose_only_what_is_odd() {
        let odd_health = ENTRY.replace(r#""starting""#, r#""dizzy""#);
        let odd_state = odd_health.replace(r#""running""#, r#""dancing""#);
        assert_eq!(read(&odd_health), [expected()]);
        let state = State::Other;
        assert_eq!(
            read(&odd_state)[0],
            Container {
                state,
                ..expected()
            }
        );
        let unreadable = ENTRY.replace("9090", "\"x\"");
        assert_eq!(read(&format!("{unreadable}, {ENTRY}, 7")), [expected()]);
        assert!(containers(b"{}").is_err() && containers(b"<html>").is_err());
    }

    #[test]
    fn what_is_null_or_missing_is_empty() {
        let nulls = r#"{"Id": "a", "Names": null, "Created": null, "Labels": null, "State": null, "Status": null,
            "HostConfig": null, "Ports": null, "NetworkSettings": {"Networks": {"n": {"NetworkID": null}}}}"#;
        for entry in [nulls, r#"{"Id": "a"}"#] {
            let [container] = read(entry).try_into().unwrap();
            assert_eq!((&*container.id, &*container.name), ("a", ""));
            assert_eq!(container.state, State::Other);
        }
        assert!(read("{}").is_empty());
    }

    #[test]
    fn health_from_status() {
        for (status, expected) in [
            ("Up 2 seconds (health: starting)", Health::Starting),
            ("Up 2 seconds (healthy)", Health::Healthy),
            ("Up About a minute (unhealthy)", Health::Unhealthy),
            ("Up 2 seconds", Health::None),
            ("Up 2 seconds (Paused)", Health::None),
            ("Exited (0) 3 seconds ago", Health::None),
            ("", Health::None),
        ] {
            assert_eq!(health(status), expected, "{status}");
        }
    }

    #[test]
    fn events() {
        let kill = r#"{"status":"kill","id":"01b9","from":"bb","Type":"container","Action":"kill","Actor":
            {"ID":"01b9","Attributes":{"image":"bb","name":"dkA","signal":"15","wharf.host":"a.test"}},
            "scope":"local","time":1795440345,"timeNano":1795440345503998263}"#;
        let connect = r#"{"Type":"network","Action":"connect","Actor":{"ID":"56b4","Attributes":
            {"container":"01b9","name":"webnet","type":"bridge"}},"scope":"local","time":1795440343,
            "timeNano":1795440343862173929}"#;
        let network = |action: fn(String) -> Action| action("56b4".into());
        let container = |action: &str| kill.replace(r#""kill""#, &format!("{action:?}"));
        for (text, expected) in [
            (kill.to_owned(), Action::Kill(15)),
            (kill.replace(r#""15""#, r#""SIGRTMIN+3""#), Action::Kill(37)),
            (kill.replace(r#""15""#, r#""?""#), Action::Other),
            (container("die"), Action::Down),
            (container("oom"), Action::Other),
            (container("health_status: healthy"), Action::Healthy),
            (container("health_status: unhealthy"), Action::Unhealthy),
            (container("health_status"), Action::Checked),
            (container("thaw"), Action::Other),
            (connect.to_owned(), network(Action::Connect)),
            (
                connect.replace("connect", "disconnect"),
                network(Action::Disconnect),
            ),
        ] {
            let told = event(serde_json::from_str(&text).unwrap());
            assert_eq!(
                (&*told.container, told.action),
                ("01b9", expected),
                "{text}"
            );
            assert!(told.at > 1_795_440_000_000_000_000, "{text}");
        }
        let volume = connect.replace("network", "volume");
        let told = event(serde_json::from_str(&volume).unwrap());
        assert_eq!((&*told.container, told.action), ("", Action::Other));
    }

    #[test]
    fn how_a_container_stops_is_in_its_inspect() {
        let facts = |json: &str| facts(&serde_json::from_str(json).unwrap());
        let told = facts(r#"{"Config": {"StopSignal": "SIGINT", "StopTimeout": 7}}"#);
        assert_eq!(told.stop, Stop::new(Some("INT"), Some(7)));
        // Podman's.
        let told = facts(r#"{"Config": {"StopSignal": 2, "StopTimeout": 7}}"#);
        assert_eq!(told.stop, Stop::new(Some("INT"), Some(7)));
        assert_eq!(
            facts(r#"{"Config": {"StopSignal": null}}"#),
            Facts::default()
        );
    }

    #[test]
    fn exposed_ports_of_an_inspect_are_tcp_and_sorted() {
        let json =
            r#"{"Config": {"ExposedPorts": {"9090/tcp": {}, "80/udp": {}, "3000/tcp": {}}}}"#;
        assert_eq!(exposed(&serde_json::from_str(json).unwrap()), [3000, 9090]);
        assert!(exposed(&Inspect::default()).is_empty());
    }
}
