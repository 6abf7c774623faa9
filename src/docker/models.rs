//! The engine's JSON, as far as Wharf reads it. Fields it does not know are skipped, those that are
//! missing or `null` are empty: engines of other versions, and Podman, differ in nothing but these.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

/// `GET /version`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Version {
    #[serde(deserialize_with = "nullable")]
    pub(super) version: String,
    pub(super) api_version: Option<String>,
    #[serde(rename = "MinAPIVersion")]
    pub(super) min_api_version: Option<String>,
}

/// An entry of `GET /containers/json`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Summary {
    #[serde(deserialize_with = "nullable")]
    pub(super) id: String,
    #[serde(deserialize_with = "nullable")]
    pub(super) names: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    pub(super) labels: BTreeMap<String, String>,
    #[serde(rename = "ImageID", deserialize_with = "nullable")]
    pub(super) image_id: String,
    #[serde(deserialize_with = "nullable")]
    pub(super) created: i64,
    #[serde(deserialize_with = "nullable")]
    pub(super) state: String,
    #[serde(deserialize_with = "nullable")]
    pub(super) status: String,
    #[serde(deserialize_with = "nullable")]
    pub(super) host_config: HostConfig,
    #[serde(deserialize_with = "nullable")]
    pub(super) network_settings: NetworkSettings,
    #[serde(deserialize_with = "nullable")]
    pub(super) ports: Vec<Port>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct HostConfig {
    #[serde(deserialize_with = "nullable")]
    pub(super) network_mode: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct NetworkSettings {
    #[serde(deserialize_with = "nullable")]
    pub(super) networks: BTreeMap<String, Endpoint>,
}

/// A container's place on a network. Absent addresses are empty strings.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Endpoint {
    #[serde(rename = "NetworkID", deserialize_with = "nullable")]
    pub(super) network_id: String,
    #[serde(rename = "IPAddress", deserialize_with = "nullable")]
    pub(super) ip_address: String,
    #[serde(rename = "GlobalIPv6Address", deserialize_with = "nullable")]
    pub(super) global_ipv6_address: String,
    #[serde(rename = "Gateway", deserialize_with = "nullable")]
    pub(super) gateway: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Port {
    #[serde(rename = "IP")]
    pub(super) ip: Option<String>,
    pub(super) private_port: u16,
    pub(super) public_port: Option<u16>,
    /// `tcp`, `udp`, `sctp`; TCP where it is missing.
    #[serde(rename = "Type")]
    pub(super) kind: Option<String>,
}

/// An entry of `GET /networks`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct NetworkEntry {
    #[serde(deserialize_with = "nullable")]
    pub(super) id: String,
    #[serde(deserialize_with = "nullable")]
    pub(super) name: String,
    #[serde(deserialize_with = "nullable")]
    pub(super) internal: bool,
    #[serde(deserialize_with = "nullable")]
    pub(super) ingress: bool,
}

/// `GET /containers/{id}/json`. Of the rest, the environment above all, nothing is kept.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Inspect {
    #[serde(deserialize_with = "nullable")]
    pub(super) config: Config,
    #[serde(deserialize_with = "nullable")]
    pub(super) host_config: HostConfig,
    #[serde(deserialize_with = "nullable")]
    pub(super) state: InspectState,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Config {
    /// `3000/tcp` -> nothing.
    #[serde(deserialize_with = "nullable")]
    pub(super) exposed_ports: BTreeMap<String, serde::de::IgnoredAny>,
    /// A name, or with Podman a number.
    pub(super) stop_signal: Option<serde_json::Value>,
    pub(super) stop_timeout: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct InspectState {
    #[serde(deserialize_with = "nullable")]
    pub(super) health: HealthState,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct HealthState {
    /// `starting`, `healthy`, `unhealthy`; something else without a HEALTHCHECK.
    #[serde(deserialize_with = "nullable")]
    pub(super) status: String,
    /// The last ones, oldest first.
    #[serde(deserialize_with = "nullable")]
    pub(super) log: Vec<Check>,
}

/// One run of a HEALTHCHECK.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Check {
    pub(super) exit_code: Option<i64>,
    #[serde(deserialize_with = "nullable")]
    pub(super) output: String,
}

/// A line of `GET /events`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Message {
    #[serde(rename = "Type", deserialize_with = "nullable")]
    pub(super) kind: String,
    #[serde(deserialize_with = "nullable")]
    pub(super) action: String,
    #[serde(deserialize_with = "nullable")]
    pub(super) actor: Actor,
    #[serde(rename = "timeNano", deserialize_with = "nullable")]
    pub(super) time_nano: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Actor {
    #[serde(rename = "ID", deserialize_with = "nullable")]
    pub(super) id: String,
    #[serde(rename = "Attributes", deserialize_with = "nullable")]
    pub(super) attributes: BTreeMap<String, String>,
}

/// Go writes `null` for what is empty.
fn nullable<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(from)?.unwrap_or_default())
}
