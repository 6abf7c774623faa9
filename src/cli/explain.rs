//! `wharf explain`: what would become of a request.

use std::fmt::Write;
use std::net::IpAddr;

use anyhow::{Context, anyhow, bail};
use http::StatusCode;
use wharf::admin::{self, Explanation};

use super::ask::{address, colour, fetch, width};
use crate::{Failure, cli};

/// The request, as given on the command line.
pub(crate) struct Question {
    pub(crate) url: String,
    pub(crate) method: String,
    pub(crate) header: Vec<String>,
    pub(crate) from: Option<IpAddr>,
}

/// Prints the way of a request; [`Failure::Unserved`] where no container would get it.
pub(crate) fn explain(
    admin: Option<String>,
    question: &Question,
    json: bool,
) -> Result<(), Failure> {
    let address = address(admin).map_err(|failure| match failure {
        Failure::Run(fault) => Failure::Ask(fault),
        failure => failure,
    })?;
    let told = told(address, question).map_err(Failure::Ask)?;
    let text = match json {
        true => serde_json::to_string_pretty(&told).map_err(|e| Failure::Ask(e.into()))? + "\n",
        false => admin::render_explanation(&told, colour(), width()),
    };
    cli::print(&text)?;
    match told.served {
        true => Ok(()),
        false => Err(Failure::Unserved),
    }
}

fn told(address: std::net::SocketAddr, question: &Question) -> anyhow::Result<Explanation> {
    let (status, body) = fetch(address, &question.path())?;
    match status {
        StatusCode::OK => serde_json::from_slice(&body)
            .with_context(|| format!("what {address} tells is no explanation of Wharf")),
        StatusCode::BAD_REQUEST => {
            let reason = String::from_utf8_lossy(&body);
            Err(anyhow!("{}", reason.trim()))
        }
        _ => bail!("{address} answered with {status}; is that Wharf as old as this one?"),
    }
}

impl Question {
    fn path(&self) -> String {
        let mut path = format!("/explain?url={}", escaped(&self.url));
        let _ = write!(path, "&method={}", escaped(&self.method));
        for header in &self.header {
            let _ = write!(path, "&header={}", escaped(header));
        }
        if let Some(from) = self.from {
            let _ = write!(path, "&from={}", escaped(&from.to_string()));
        }
        path
    }
}

/// Percent-encoded but for RFC 3986's unreserved characters.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(byte.into());
            }
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}
