//! What has become of each container, and what to do about it; for people.

use serde::Serialize;

use super::Address;

/// A container with labels for Wharf, and what has become of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerNote {
    /// Full 64 hex digits.
    pub id: String,
    /// Its name.
    pub container: String,
    pub standing: Standing,
    /// What its labels ask for: `a.test`, `a.test/api`.
    pub asks: Vec<String>,
    /// Why it is not served as asked, a sentence each, without the name.
    pub reasons: Vec<String>,
    /// Labels that may have been meant to name a host, with their values, where none was understood.
    pub unread: Vec<(String, String)>,
}

/// Whether requests reach a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Standing {
    /// It should, and gets none.
    #[serde(rename = "not routed")]
    NotRouted,
    /// For a time: it is starting, stopping, paused.
    #[serde(rename = "waiting")]
    Waiting,
    #[serde(rename = "routed")]
    Routed,
    /// It is not meant to: `wharf.enable: false`, a one-off, stopped while others run.
    #[serde(rename = "left out")]
    LeftOut,
    /// It has labels of another proxy only. Told only to those who ask for its host.
    #[serde(rename = "foreign")]
    Foreign,
}

/// What is wrong with a port that refuses connections, and what to do. `exposed` are the TCP ports its
/// image or compose file names.
pub fn nothing_listens(addr: &Address, exposed: &[u16]) -> String {
    let Some(port) = addr.tcp().map(|addr| addr.port()) else {
        return format!(
            "nothing listens on {addr}: the app has not started, or its volume is not the one Wharf has there"
        );
    };
    let others: Vec<String> = exposed
        .iter()
        .filter(|other| **other != port)
        .map(u16::to_string)
        .collect();
    let here = exposed.contains(&port);
    let list = others.join(", ");
    match others.as_slice() {
        [] if here => format!(
            "nothing listens on {addr}, though the image exposes this port: the app has not started, or listens on 127.0.0.1 only; it must listen on 0.0.0.0"
        ),
        [] => format!(
            "nothing listens on {addr}; the image exposes no port: set wharf.port to the one the app listens on, and let it listen on 0.0.0.0"
        ),
        [other] if !here => {
            format!("nothing listens on {addr}; the image exposes {other}: set wharf.port: {other}")
        }
        _ if here => format!(
            "nothing listens on {addr}; the image exposes {list}, too: set wharf.port, if the app listens there"
        ),
        _ => format!(
            "nothing listens on {addr}; the image exposes {list}: set wharf.port to the one the app listens on"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_port_tells_the_ports_that_are_exposed() {
        let addr = Address::Tcp(([172, 18, 0, 3], 8080).into());
        for (exposed, words) in [
            (&[][..], "the image exposes no port"),
            (&[8080], "listens on 127.0.0.1 only"),
            (&[3000], "exposes 3000: set wharf.port: 3000"),
            (&[3000, 8080], "exposes 3000, too"),
            (&[3000, 4000], "exposes 3000, 4000: set wharf.port to"),
        ] {
            let told = nothing_listens(&addr, exposed);
            assert!(told.starts_with("nothing listens on 172.18.0.3:8080"));
            assert!(told.contains(words), "{told}");
        }
    }
}
