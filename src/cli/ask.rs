//! `wharf status` and `wharf healthcheck`: asking a running Wharf.

use std::env;
use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::Args;
use http::StatusCode;
use wharf::admin::{self, RouteLine, Status};
use wharf::config::Config;

use crate::{Failure, cli};

/// Whom a command asks.
#[derive(Debug, Args)]
pub(crate) struct Whom {
    /// Admin listener of the running Wharf: ADDRESS:PORT [default: 127.0.0.1:9900]
    #[arg(
        long,
        env = "WHARF_ADMIN",
        hide_env_values = true,
        value_name = "ADDR",
        global = true
    )]
    pub(crate) admin: Option<String>,
}

/// Where a command looks, or writes, itself.
#[derive(Debug, Args)]
pub(crate) struct Where {
    /// Directory for certificates and the ACME account [default: /data]
    #[arg(
        long,
        env = "WHARF_DATA",
        hide_env_values = true,
        value_name = "DIR",
        global = true
    )]
    pub(crate) data: Option<String>,
}

/// Prints the status, as a table or as it came.
pub(crate) fn status(admin: Option<String>, json: bool) -> Result<(), Failure> {
    let address = address(admin)?;
    let text = told(address, json)?;
    cli::print(&text)
}

/// Prints the table, as one or as it came.
pub(crate) fn routes(admin: Option<String>, json: bool) -> Result<(), Failure> {
    let address = address(admin)?;
    let body = ask(address, "/routes")?;
    let lines: Vec<RouteLine> = serde_json::from_slice(&body)
        .with_context(|| format!("what {address} tells is no table of Wharf"))?;
    let text = match json {
        true => serde_json::to_string_pretty(&lines).context("writing JSON")? + "\n",
        false => admin::render_routes(&lines, colour(), width()),
    };
    cli::print(&text)
}

/// Succeeds when the process answers, whether or not it is ready: a container that is restarted
/// because the engine is away would not come back sooner.
pub(crate) fn healthcheck(admin: Option<String>) -> Result<(), Failure> {
    let address = address(admin)?;
    ask(address, "/healthz")?;
    Ok(())
}

fn told(address: SocketAddr, json: bool) -> anyhow::Result<String> {
    let body = ask(address, "/status")?;
    let status: Status = serde_json::from_slice(&body)
        .with_context(|| format!("what {address} tells is no status of Wharf"))?;
    if json {
        return Ok(serde_json::to_string_pretty(&status)? + "\n");
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |since| since.as_secs().cast_signed());
    Ok(admin::render(&status, now, colour(), width()))
}

pub(super) fn colour() -> bool {
    io::stdout().is_terminal() && env::var_os("NO_COLOR").is_none()
}

/// Of the terminal, if it is one: lines for programs are never broken.
pub(super) fn width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|width| *width > 0)
}

pub(super) fn address(written: Option<String>) -> Result<SocketAddr, Failure> {
    match Config::resolve_admin(written)? {
        Some(address) => Ok(admin::reachable(address)),
        None => Err(Failure::Run(anyhow::anyhow!(
            "the admin listener is off (--admin, WHARF_ADMIN): there is nobody to ask"
        ))),
    }
}

/// The body of a 200.
pub(super) fn ask(address: SocketAddr, path: &str) -> anyhow::Result<Bytes> {
    let (status, body) = fetch(address, path)?;
    if status != StatusCode::OK {
        bail!("{address} answered {path} with {status}");
    }
    Ok(body)
}

pub(super) fn fetch(address: SocketAddr, path: &str) -> anyhow::Result<(StatusCode, Bytes)> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the client")?;
    Ok(runtime.block_on(admin::fetch(address, path))?)
}
