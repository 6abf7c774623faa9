//! How an endpoint is reached.

use std::fmt;

use serde::{Serialize, Serializer};

/// How an endpoint is reached, for those who ask why it has the address it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Via {
    /// Over a Docker network.
    Network {
        name: String,
        /// Networks that would have done as well, by preference.
        others: Vec<String>,
    },
    /// It is in Wharf's own network namespace: loopback.
    Loopback,
    /// It uses the host's network, seen from a container: the gateway of one of Wharf's networks.
    Gateway,
    /// The port it publishes on the host (`wharf.upstream: published`).
    Published,
    /// The address its label names.
    Label,
    /// The Unix socket its label names (`wharf.upstream: unix:app.sock`).
    Socket,
}

/// `network front (also on back)`.
impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network { name, others } if others.is_empty() => write!(f, "network {name}"),
            Self::Network { name, others } => {
                write!(f, "network {name} (also on {})", others.join(", "))
            }
            Self::Loopback => f.write_str("loopback"),
            Self::Gateway => f.write_str("the host, through the gateway"),
            Self::Published => f.write_str("its published port"),
            Self::Label => f.write_str("wharf.upstream"),
            Self::Socket => f.write_str("its socket"),
        }
    }
}

impl Serialize for Via {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
