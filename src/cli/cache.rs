//! `wharf cache`: what a running Wharf keeps of its apps' answers, and making it forget.

use anyhow::{Context, anyhow};
use clap::{Args, Subcommand};
use http::StatusCode;
use wharf::admin::{self, CacheReport};

use super::ask::{Whom, address, ask};
use crate::{Failure, cli};

/// `wharf cache` and what follows.
#[derive(Debug, Args)]
pub(crate) struct CacheArgs {
    #[command(subcommand)]
    act: Act,
    #[command(flatten)]
    whom: Whom,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// What is stored, and what the cache has done for each route
    Stats {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Forget what is stored: a URL, all of a host, or what the app has given a tag
    Purge {
        /// https://shop.example.com/cart, shop.example.com, or a name in Cache-Tag or Surrogate-Key
        #[arg(required_unless_present = "all")]
        what: Option<String>,
        /// Everything
        #[arg(long, conflicts_with = "what")]
        all: bool,
    },
}

pub(crate) fn cache(args: CacheArgs) -> Result<(), Failure> {
    let address = address(args.whom.admin)?;
    match args.act {
        Act::Stats { json } => {
            let body = ask(address, "/cache")?;
            let report: CacheReport = serde_json::from_slice(&body)
                .with_context(|| format!("what {address} tells is no cache of Wharf"))?;
            let text = match json {
                true => serde_json::to_string_pretty(&report).context("writing JSON")? + "\n",
                false => admin::render_cache(&report),
            };
            cli::print(&text)
        }
        Act::Purge { what, .. } => {
            let path = match &what {
                None => "/cache?all".to_owned(),
                Some(what) => format!("/cache?what={}", escaped(what)),
            };
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .context("starting the client")?;
            let answer = runtime.block_on(admin::delete(address, &path));
            let (status, body) = answer.map_err(anyhow::Error::from)?;
            let text = String::from_utf8_lossy(&body).into_owned();
            match status {
                StatusCode::OK => cli::print(&text),
                _ => Err(anyhow!("{}", text.trim_end()).into()),
            }
        }
    }
}

fn escaped(what: &str) -> String {
    use std::fmt::Write;
    let mut out = String::new();
    for byte in what.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                out.push(char::from(byte));
            }
            // Writing to a String cannot fail.
            byte => _ = write!(out, "%{byte:02X}"),
        }
    }
    out
}
