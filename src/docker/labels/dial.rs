//! How the app of a route is dialled.

use crate::model::{Proto, Verify};

use super::layers::{Layers, pick};
use super::read::Given;
use super::text::excerpt;
use super::value::Value;
use super::{Dial, NetworkLabel, UpstreamLabel};

impl<'a> Layers<'a> {
    /// How the app is dialled.
    pub(super) fn dial(&self) -> Dial {
        let network = self.get("network").and_then(|given| match &given.value {
            Value::Name(name) => Some(NetworkLabel {
                name: name.clone(),
                label: excerpt(&given.label),
                value: excerpt(&given.text),
            }),
            _ => None,
        });
        Dial {
            port: pick!(self, "port", Value::Port),
            port_broken: self.broken("port"),
            network,
            upstream: self.get("upstream").and_then(|given| match &given.value {
                Value::Upstream(at) => Some(UpstreamLabel {
                    at: at.clone(),
                    label: excerpt(&given.label),
                    value: excerpt(&given.text),
                }),
                _ => None,
            }),
            upstream_broken: self.broken("upstream"),
            proto: pick!(self, "proto", Value::Proto).unwrap_or_default(),
            verify: pick!(self, "upstream.verify", Value::Verify).unwrap_or_default(),
            sni: pick!(self, "upstream.sni", Value::ServerName),
            tls_broken: OF_TLS.iter().any(|option| self.broken(option)),
            health: self.health(),
            health_broken: self.health_broken(),
        }
    }

    /// Whether a named route has an upstream of its own: it says something of that.
    pub(super) fn is_dialled_apart(&self) -> bool {
        let of_dial = |option: &str| {
            matches!(option, "port" | "network" | "upstream" | "health")
                || option.starts_with("health.")
                || OF_TLS.contains(&option)
        };
        self.says(of_dial)
    }

    /// Own labels about TLS to the app that change nothing, and why.
    pub(super) fn idle_tls(&self, dial: &Dial) -> Vec<(&'a Given, &'static str)> {
        let own = |option: &str| self.own.values.get(option);
        let https = dial.protos().into_iter().any(Proto::is_tls);
        // They may be meant for those that say `https`.
        if !https && self.heirs.is_empty() {
            let why = "without effect: the app is spoken to in clear (wharf.proto is not https, h2 or grpcs)";
            let idle = ["upstream.verify", "upstream.sni"].into_iter();
            return idle.filter_map(own).map(|given| (given, why)).collect();
        }
        let unverified = dial.verify == Verify::Off && dial.sni.is_none();
        let why = "anybody who gets at the network between can pass for the app; `file:` with its certificate keeps them out";
        let given = own("upstream.verify").filter(|_| https && unverified && dial.is_outside());
        given.map(|given| (given, why)).into_iter().collect()
    }
}

/// How the app is spoken to.
const OF_TLS: [&str; 3] = ["proto", "upstream.verify", "upstream.sni"];
