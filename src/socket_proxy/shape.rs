//! What of the engine's answers is handed on: lists of fields, not lists of exceptions, so that what
//! a later engine adds stays behind until somebody has thought about it. Pure.

use serde_json::{Map, Value};

use self::Keep::{Each, Fields, Labels, Word};
use crate::docker::engine::EVENTS;
use crate::model::LabelPrefix;

/// What to keep of a value; what does not fit is left out.
#[derive(Debug, Clone, Copy)]
pub(super) enum Keep {
    /// A string, number, truth value or null.
    Word,
    /// Every item of an array, every value of an object.
    Each(&'static Self),
    /// These fields of an object.
    Fields(&'static [(&'static str, Self)]),
    /// An object of labels: those Wharf reads.
    Labels,
}

impl Keep {
    /// The part of `value` to be handed on.
    pub(super) fn of(self, value: Value, prefix: &LabelPrefix) -> Option<Value> {
        match (self, value) {
            (_, Value::Null) => Some(Value::Null),
            (Self::Word, Value::Array(_) | Value::Object(_)) => None,
            (Self::Word, word) => Some(word),
            (Self::Each(keep), Value::Array(items)) => {
                let kept = items.into_iter().filter_map(|item| keep.of(item, prefix));
                Some(Value::Array(kept.collect()))
            }
            (Self::Each(keep), Value::Object(entries)) => {
                let kept = entries.into_iter();
                let kept = kept.filter_map(|(key, value)| Some((key, keep.of(value, prefix)?)));
                Some(Value::Object(kept.collect()))
            }
            (Self::Fields(fields), Value::Object(mut from)) => {
                let kept = fields.iter().filter_map(|(name, keep)| {
                    let value = keep.of(from.remove(*name)?, prefix)?;
                    Some(((*name).to_owned(), value))
                });
                Some(Value::Object(kept.collect()))
            }
            (Self::Labels, Value::Object(labels)) => {
                let ours = labels.into_iter();
                let ours = ours.filter(|(key, value)| is_ours(key, prefix) && value.is_string());
                Some(Value::Object(ours.collect()))
            }
            _ => None,
        }
    }
}

/// The event to hand on; `None` for one that Wharf does not follow. Names of `exec_*` events hold whole
/// command lines, attributes all labels.
pub(super) fn event(value: Value, prefix: &LabelPrefix) -> Option<Value> {
    let action = value.get("Action")?.as_str()?;
    let name = action.split_once(':').map_or(action, |(name, _)| name);
    let kind = value.get("Type")?.as_str()?;
    let followed = EVENTS.contains(&name) && matches!(kind, "container" | "network");
    followed.then(|| EVENT.of(value, prefix)).flatten()
}

/// Whether `value`, a container's labels or an event's attributes, has all of `labels`.
pub(super) fn has_labels(value: Option<&Value>, labels: &[(String, Option<String>)]) -> bool {
    let empty = Map::new();
    let found = value.and_then(Value::as_object).unwrap_or(&empty);
    labels.iter().all(|(key, wanted)| {
        let value = found.get(key).and_then(Value::as_str);
        value.is_some_and(|value| wanted.as_deref().is_none_or(|wanted| wanted == value))
    })
}

fn is_ours(label: &str, prefix: &LabelPrefix) -> bool {
    prefix.owns(label) || LABELS.contains(&label)
}

/// Labels of others that Wharf reads.
const LABELS: [&str; 6] = [
    "com.docker.compose.project",
    "com.docker.compose.service",
    "com.docker.compose.oneoff",
    "com.docker.swarm.service.name",
    "com.docker.swarm.task.id",
    "com.docker.stack.namespace",
];

pub(super) const VERSION: Keep = Fields(&[
    ("Version", Word),
    ("ApiVersion", Word),
    ("MinAPIVersion", Word),
    ("Os", Word),
    ("Arch", Word),
]);

/// The command line is not among them: some have passwords there.
pub(super) const LIST: Keep = Each(&Fields(&[
    ("Id", Word),
    ("Names", Each(&Word)),
    ("ImageID", Word),
    ("Created", Word),
    ("Labels", Labels),
    ("State", Word),
    ("Status", Word),
    (
        "Health",
        Fields(&[("Status", Word), ("FailingStreak", Word)]),
    ),
    ("HostConfig", MODE),
    (
        "Ports",
        Each(&Fields(&[
            ("IP", Word),
            ("PrivatePort", Word),
            ("PublicPort", Word),
            ("Type", Word),
        ])),
    ),
    ("NetworkSettings", ATTACHED),
]));

pub(super) const INSPECT: Keep = Fields(&[
    ("Id", Word),
    ("Name", Word),
    ("Created", Word),
    ("RestartCount", Word),
    (
        "State",
        Fields(&[
            ("Status", Word),
            ("Running", Word),
            ("Paused", Word),
            ("Restarting", Word),
            ("OOMKilled", Word),
            ("Dead", Word),
            ("ExitCode", Word),
            ("StartedAt", Word),
            ("FinishedAt", Word),
            (
                "Health",
                Fields(&[
                    ("Status", Word),
                    ("FailingStreak", Word),
                    // What the probe printed: `wharf status` says why a container is unhealthy.
                    (
                        "Log",
                        Each(&Fields(&[
                            ("Start", Word),
                            ("End", Word),
                            ("ExitCode", Word),
                            ("Output", Word),
                        ])),
                    ),
                ]),
            ),
        ]),
    ),
    (
        "Config",
        Fields(&[
            ("Labels", Labels),
            ("ExposedPorts", Each(&Fields(&[]))),
            ("StopSignal", Word),
            ("StopTimeout", Word),
            // That there is one, not what it runs.
            (
                "Healthcheck",
                Fields(&[("Interval", Word), ("Timeout", Word), ("Retries", Word)]),
            ),
        ]),
    ),
    ("HostConfig", MODE),
    ("NetworkSettings", ATTACHED),
]);

pub(super) const NETWORKS: Keep = Each(&Fields(&[
    ("Id", Word),
    ("Name", Word),
    ("Driver", Word),
    ("Scope", Word),
    ("Internal", Word),
    ("Ingress", Word),
]));

const EVENT: Keep = Fields(&[
    ("Type", Word),
    ("Action", Word),
    (
        "Actor",
        Fields(&[
            ("ID", Word),
            (
                "Attributes",
                Fields(&[
                    ("name", Word),
                    ("container", Word),
                    ("signal", Word),
                    ("exitCode", Word),
                ]),
            ),
        ]),
    ),
    ("scope", Word),
    ("time", Word),
    ("timeNano", Word),
]);

const MODE: Keep = Fields(&[("NetworkMode", Word)]);

const ATTACHED: Keep = Fields(&[(
    "Networks",
    Each(&Fields(&[
        ("NetworkID", Word),
        ("IPAddress", Word),
        ("GlobalIPv6Address", Word),
        ("Gateway", Word),
        ("IPv6Gateway", Word),
    ])),
)]);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    impl Keep {
        fn kept(self, value: Value) -> Option<Value> {
            self.of(value, &LabelPrefix::default())
        }
    }

    #[test]
    fn a_prefix_of_its_own_shows_its_own_labels() {
        let labels = json!([{"Labels": {"wharf.host": "a", "edge.host": "b"}}]);
        let kept = LIST.of(labels, &"edge".parse().unwrap());
        assert_eq!(kept, Some(json!([{"Labels": {"edge.host": "b"}}])));
    }

    #[test]
    fn a_list_entry_keeps_what_wharf_reads() {
        let entry = json!([{
            "Id": "01b9", "Names": ["/shop_web_1"], "Image": "shop", "Command": "app --password=hush", "Created": 1,
            "Labels": {"wharf.host": "a.test", "secret": "hush", "com.docker.compose.project": "shop",
                       "com.docker.compose.project.working_dir": "/home/me"},
            "State": "running", "Status": "Up", "Ports": [{"PrivatePort": 80, "Type": "tcp", "New": "hush"}],
            "HostConfig": {"NetworkMode": "web", "Annotations": {"a": "hush"}},
            "NetworkSettings": {"Networks": {"web": {"NetworkID": "n1", "IPAddress": "10.0.0.2", "DriverOpts": {"a": "hush"}}}},
            "Mounts": [{"Source": "/hush"}],
        }]);
        let expected = json!([{
            "Id": "01b9", "Names": ["/shop_web_1"], "Created": 1,
            "Labels": {"wharf.host": "a.test", "com.docker.compose.project": "shop"},
            "State": "running", "Status": "Up", "Ports": [{"PrivatePort": 80, "Type": "tcp"}],
            "HostConfig": {"NetworkMode": "web"},
            "NetworkSettings": {"Networks": {"web": {"NetworkID": "n1", "IPAddress": "10.0.0.2"}}},
        }]);
        assert_eq!(LIST.kept(entry), Some(expected));
    }

    #[test]
    fn an_inspect_loses_environment_commands_and_mounts() {
        let inspect = json!({
            "Id": "01b9", "Name": "/web", "Path": "app", "Args": ["--password=hush"],
            "Config": {"Env": ["PASSWORD=hush"], "Cmd": ["hush"], "Entrypoint": ["hush"], "StopSignal": "SIGINT",
                       "StopTimeout": 5, "ExposedPorts": {"80/tcp": {"a": "hush"}}, "Healthcheck": {"Test": ["hush"], "Retries": 3}},
            "HostConfig": {"Binds": ["/hush:/a"], "NetworkMode": "host"},
            "State": {"Status": "running", "Pid": 7, "Health": {"Status": "unhealthy", "Log": [{"ExitCode": 1, "Output": "no"}]}},
            "Mounts": [{"Source": "/hush"}], "GraphDriver": {"Data": {"a": "hush"}},
        });
        let expected = json!({
            "Id": "01b9", "Name": "/web",
            "Config": {"StopSignal": "SIGINT", "StopTimeout": 5, "ExposedPorts": {"80/tcp": {}}, "Healthcheck": {"Retries": 3}},
            "HostConfig": {"NetworkMode": "host"},
            "State": {"Status": "running", "Health": {"Status": "unhealthy", "Log": [{"ExitCode": 1, "Output": "no"}]}},
        });
        assert_eq!(INSPECT.kept(inspect), Some(expected));
    }

    #[test]
    fn values_of_another_kind_are_left_out() {
        assert_eq!(
            VERSION.kept(json!({"Version": {"a": "hush"}, "Os": null})),
            Some(json!({"Os": null}))
        );
        assert_eq!(LIST.kept(json!("hush")), None);
        assert_eq!(
            LIST.kept(json!([["hush"], {"Labels": ["hush"], "Id": 7}])),
            Some(json!([{"Id": 7}]))
        );
        assert_eq!(
            LIST.kept(json!([{"Labels": {"wharf.host": {"a": "hush"}}}])),
            Some(json!([{"Labels": {}}]))
        );
    }

    #[test]
    fn events() {
        let kept = |value| event(value, &LabelPrefix::default());
        let told = |kind: &str, action: &str| {
            kept(json!({
                "Type": kind, "Action": action, "status": action, "id": "01b9", "from": "image", "time": 1, "timeNano": 2,
                "Actor": {"ID": "01b9", "Attributes": {"name": "web", "signal": "15", "image": "hush", "secret": "hush", "execID": "x"}},
            }))
        };
        let kill = json!({
            "Type": "container", "Action": "kill", "time": 1, "timeNano": 2,
            "Actor": {"ID": "01b9", "Attributes": {"name": "web", "signal": "15"}},
        });
        assert_eq!(told("container", "kill"), Some(kill));
        assert!(told("container", "health_status: healthy").is_some());
        assert!(told("network", "disconnect").is_some());
        for (kind, action) in [
            ("container", "exec_create: sh -c hush"),
            ("container", "exec_start: sh"),
            ("container", "attach"),
            ("volume", "create"),
            ("image", "remove"),
        ] {
            assert_eq!(told(kind, action), None, "{kind} {action}");
        }
        assert_eq!(kept(json!([])), None);
    }

    #[test]
    fn labels_asked_for() {
        let labels = json!({"team": "web", "on": ""});
        let has = |wanted: &[(&str, Option<&str>)]| {
            let wanted = wanted
                .iter()
                .map(|(k, v)| ((*k).to_owned(), v.map(str::to_owned)));
            has_labels(Some(&labels), &wanted.collect::<Vec<_>>())
        };
        assert!(
            has(&[]) && has(&[("on", None)]) && has(&[("on", Some("")), ("team", Some("web"))])
        );
        assert!(
            !has(&[("team", Some("we"))])
                && !has(&[("off", None)])
                && !has(&[("on", None), ("x", None)])
        );
        assert!(!has_labels(None, &[("on".to_owned(), None)]));
    }
}
