//! `wharf maintenance`: hosts that answer 503 until somebody says otherwise.

use std::fmt::Write;
use std::path::Path;

use anyhow::anyhow;
use clap::{Args, Subcommand};
use http::StatusCode;
use wharf::model::{HostPattern, Maintenance, parse_duration};
use wharf::resting::{self, Resting};

use super::ask::{Where, Whom, address, fetch};
use crate::{Failure, cli};

/// `wharf maintenance` and what follows.
#[derive(Debug, Args)]
pub(crate) struct MaintenanceArgs {
    #[command(subcommand)]
    act: Act,
    #[command(flatten)]
    whom: Whom,
    #[command(flatten)]
    place: Where,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Answer 503 with a page for a host, from now on and over restarts
    On {
        /// As in wharf.host: app.example.com
        host: String,
        /// Who is let through: addresses, networks, sets such as private; separated by commas
        #[arg(long, value_name = "LIST", default_value = "")]
        allow: String,
        /// Text of the page
        #[arg(long, value_name = "TEXT")]
        message: Option<String>,
        /// Value of Retry-After
        #[arg(long, value_name = "TIME", default_value = "10m")]
        retry: String,
    },
    /// Serve a host again
    Off { host: String },
    /// List the hosts that rest so
    List,
}

pub(crate) fn maintenance(args: MaintenanceArgs) -> Result<(), Failure> {
    let data = args.place.data.as_deref().unwrap_or("/data");
    let data = Path::new(data);
    let mut resting = resting::load(data).map_err(anyhow::Error::from)?;
    match args.act {
        Act::On {
            host,
            allow,
            message,
            retry,
        } => {
            let pattern = parse(&host)?;
            let allow = resting::allowed(&allow).map_err(|reason| anyhow!("--allow: {reason}"))?;
            if message
                .as_ref()
                .is_some_and(|text| text.len() > LONGEST_MESSAGE)
            {
                return Err(
                    anyhow!("--message: a text has at most {LONGEST_MESSAGE} bytes").into(),
                );
            }
            let retry = parse_duration(&retry).map_err(|error| anyhow!("--retry: {error}"))?;
            let rest = Maintenance {
                allow,
                message,
                retry,
            };
            resting.insert(pattern.clone(), rest);
            resting::save(data, &resting).map_err(anyhow::Error::from)?;
            let served = served(args.whom.admin, &pattern);
            let note = match served {
                Some(false) => {
                    ", which no running route names: the host is to be written as in wharf.host"
                }
                Some(true) => "",
                None => ", once a Wharf runs with this data directory",
            };
            cli::print(&format!("{pattern} is in maintenance{note}\n"))
        }
        Act::Off { host } => {
            let pattern = parse(&host)?;
            if resting.remove(&pattern).is_none() {
                return Err(anyhow!("{pattern} was not in maintenance by this command").into());
            }
            resting::save(data, &resting).map_err(anyhow::Error::from)?;
            cli::print(&format!("{pattern} is served again\n"))
        }
        Act::List => cli::print(&list(&resting)),
    }
}

/// As for the label.
const LONGEST_MESSAGE: usize = 1000;

fn parse(host: &str) -> Result<HostPattern, Failure> {
    let pattern = HostPattern::parse(host);
    Ok(pattern.map_err(|error| anyhow!("{}: {error}", host.escape_debug()))?)
}

fn list(resting: &Resting) -> String {
    if resting.is_empty() {
        return "no host is in maintenance by this command\n".to_owned();
    }
    resting
        .iter()
        .fold(String::new(), |mut text, (host, rest)| {
            let allow = rest.allow.as_ref().map(|allow| format!(" allow={allow}"));
            let message = rest
                .message
                .as_ref()
                .map(|message| format!(" message={message:?}"));
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "{host}{}{}",
                allow.unwrap_or_default(),
                message.unwrap_or_default()
            );
            text
        })
}

/// Whether a running Wharf has a route that names the host; `None` if none answers.
fn served(admin: Option<String>, pattern: &HostPattern) -> Option<bool> {
    let address = address(admin).ok()?;
    let (status, body) = fetch(address, "/status").ok()?;
    let status = (status == StatusCode::OK).then_some(body)?;
    let told: serde_json::Value = serde_json::from_slice(&status).ok()?;
    let routes = told["routes"].as_array()?;
    let names = |route: &serde_json::Value| {
        let hosts = route["hosts"].as_array();
        hosts.is_some_and(|hosts| {
            hosts
                .iter()
                .any(|host| *host == pattern.to_string().as_str())
        })
    };
    Some(routes.iter().any(names))
}
