//! `wharf certs`: what the store holds, and what can be done about it.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow};
use clap::{Args, Subcommand, ValueEnum};
use wharf::admin::{self, CertificateLine, Status};
use wharf::config::{Config, DataDir, Raw};
use wharf::model::HostPattern;
use wharf::tls::{Ask, Kept, KeptCert, Reason, Taken, Verdict};

use super::ask::{Where, Whom, address, colour, fetch, width};
use crate::{Failure, cli};

/// `wharf certs` and what may follow.
#[derive(Debug, Args)]
pub(crate) struct Certs {
    #[command(subcommand)]
    act: Option<Act>,
    #[command(flatten)]
    whom: Whom,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Where,
}

#[derive(Debug, Subcommand)]
enum Act {
    /// Have a running Wharf order a new certificate now, due or not
    Renew { name: String },
    /// Have a running Wharf revoke a certificate at its CA, and order another
    Revoke {
        name: String,
        /// Why
        #[arg(long, value_enum, default_value_t = Why::Unspecified)]
        reason: Why,
    },
    /// Write a certificate and its key, as PEM, to standard output or into files
    Export {
        name: String,
        /// Write NAME.crt and NAME.key into this directory instead
        #[arg(long, value_name = "DIR")]
        to: Option<PathBuf>,
    },
    /// Take over certificates of another proxy: Traefik's acme.json, or a directory of PEM files such as
    /// acme-companion's certs/
    Import {
        path: PathBuf,
        /// The CA that will renew them: as for `wharf run`
        #[arg(long, env = "WHARF_ACME", hide_env_values = true, value_name = "CA")]
        acme: Option<String>,
        /// Only tell what would be done
        #[arg(long)]
        dry_run: bool,
    },
}

/// RFC 5280 section 5.3.1, the subscriber's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Why {
    Unspecified,
    KeyCompromise,
    AffiliationChanged,
    Superseded,
    CessationOfOperation,
}

/// Runs it.
pub(crate) fn certs(certs: Certs) -> Result<(), Failure> {
    let settings = |acme: Option<String>| {
        let raw = Raw {
            data: certs.place.data.clone(),
            acme,
            ..Raw::default()
        };
        Config::resolve(&raw)
    };
    let data = |config: &Config| DataDir::find(&config.data);
    let kept = |config: &Config| Kept::open(&data(config)).context("setting up TLS");
    match certs.act {
        None => {
            let kept = kept(&settings(None)?)?;
            list(&kept, certs.whom.admin, certs.json)
        }
        Some(Act::Renew { ref name }) => ask(&kept(&settings(None)?)?, name, Ask::Renew),
        Some(Act::Revoke { ref name, reason }) => {
            ask(&kept(&settings(None)?)?, name, Ask::Revoke(reason.into()))
        }
        Some(Act::Export { ref name, ref to }) => {
            export(&kept(&settings(None)?)?, name, to.as_deref())
        }
        Some(Act::Import {
            ref path,
            ref acme,
            dry_run,
        }) => {
            let config = settings(acme.clone())?;
            import(&kept(&config)?, &config, path, dry_run)
        }
    }
}

/// What the store holds beside what a running Wharf says; without one, what the store knows.
fn list(kept: &Kept, admin: Option<String>, json: bool) -> Result<(), Failure> {
    let stored = kept.list().context("reading the data directory")?;
    let address = address(admin).ok();
    let status = address.and_then(|address| {
        let (_, body) = fetch(address, "/status").ok()?;
        serde_json::from_slice::<Status>(&body).ok()
    });
    let mut lines: Vec<CertificateLine> = Vec::new();
    for one in &stored {
        let told = status
            .iter()
            .flat_map(|status| &status.certificates)
            .find(|told| told.host == one.host && told.source == "acme");
        lines.push(match told {
            // Of several CAs the one whose certificate is served.
            Some(told) if told.not_after == one.not_after.map(unix) => CertificateLine {
                ca: ca(one),
                stored: true,
                certificate: told.clone(),
            },
            _ => offline(one, status.is_some()),
        });
    }
    let others = status.iter().flat_map(|status| &status.certificates);
    for told in others {
        if !lines.iter().any(|line| line.certificate.host == told.host) {
            lines.push(CertificateLine {
                ca: told.source.clone(),
                stored: false,
                certificate: told.clone(),
            });
        }
    }
    lines.sort_by(|a, b| a.certificate.host.cmp(&b.certificate.host));
    let text = match json {
        true => serde_json::to_string_pretty(&lines).map_err(anyhow::Error::from)? + "\n",
        false => {
            let now = unix(SystemTime::now());
            let live = status.is_some();
            admin::render_certificates(&lines, live, now, colour(), width())
        }
    };
    cli::print(&text)
}

/// A line from the store alone. `live`: a Wharf runs, and does not speak of it.
fn offline(one: &KeptCert, live: bool) -> CertificateLine {
    let now = SystemTime::now();
    let state = match (&one.fault, one.not_after) {
        (Some(_), _) => "unusable",
        (None, Some(end)) if end <= now => "expired",
        (None, Some(_)) => "valid",
        (None, None) => "failed",
    };
    let next = match (live, one.renew_at, one.retry_at) {
        _ if one.fault.is_some() => None,
        (true, ..) => Some("nothing: no container asks for it".to_owned()),
        (false, Some(at), _) if at > now => Some(format!("renew from {}", day(at))),
        (false, Some(_), _) => Some("renew once a Wharf runs".to_owned()),
        (false, None, Some(at)) => Some(format!("retry from {}", day(at))),
        (false, None, None) => Some("order once a Wharf runs".to_owned()),
    };
    CertificateLine {
        ca: ca(one),
        stored: true,
        certificate: admin::Certificate {
            host: one.host.clone(),
            source: "acme".to_owned(),
            issuer: one.issuer.clone().unwrap_or_default(),
            not_after: one.not_after.map(unix),
            state: state.to_owned(),
            next,
            last_error: one.fault.clone().or_else(|| one.last_error.clone()),
            link: None,
        },
    }
}

fn ask(kept: &Kept, name: &str, ask: Ask) -> Result<(), Failure> {
    let host = host(name)?;
    let said = kept.ask(&host, ask).map_err(anyhow::Error::from)?;
    cli::print(&format!("{host}: {said}\n"))
}

fn export(kept: &Kept, name: &str, to: Option<&Path>) -> Result<(), Failure> {
    let host = host(name)?;
    let found = kept.export(&host).context("reading the data directory")?;
    let found = found.ok_or_else(|| anyhow!("the store holds no certificate of {host}"))?;
    let Some(folder) = to else {
        return cli::print(&(found.chain + &found.key));
    };
    // A file of its own for the key: whoever reads the chain needs no key.
    let file = host.replace('*', "_wildcard");
    for (ending, text, mode) in [("crt", &found.chain, 0o644), ("key", &found.key, 0o600)] {
        let path = folder.join(format!("{file}.{ending}"));
        write(&path, text, mode).with_context(|| format!("writing {}", path.display()))?;
        cli::print(&format!("{}\n", path.display()))?;
    }
    Ok(())
}

/// Never into a file that others may read.
fn write(path: &Path, text: &str, mode: u32) -> std::io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(text.as_bytes())
}

fn import(kept: &Kept, config: &Config, path: &Path, dry: bool) -> Result<(), Failure> {
    let ca = config.cas.first().context("there is no CA")?;
    let taken = kept.import(path, &ca.directory, ca.public, dry);
    let taken = taken.map_err(anyhow::Error::from)?;
    cli::print(&told(&taken, dry))?;
    let useful = |one: &Taken| !matches!(one.verdict, Verdict::Skipped(_));
    match taken.iter().any(useful) {
        true => Ok(()),
        false => Err(anyhow!("{} holds no certificate to take over", path.display()).into()),
    }
}

/// A line for each name, and what they come to.
fn told(taken: &[Taken], dry: bool) -> String {
    let mut text = String::new();
    let (mut imported, mut known, mut skipped) = (0, 0, 0);
    for one in taken {
        let name = match one.name.as_str() {
            "" => one.origin.escape_debug().to_string(),
            name => format!("{name} ({})", one.origin.escape_debug()),
        };
        text += &match &one.verdict {
            Verdict::Imported { until } => {
                imported += 1;
                format!("imported {name}: valid until {}\n", day(*until))
            }
            Verdict::Known => {
                known += 1;
                format!("known    {name}: the store has one that is valid as long\n")
            }
            Verdict::Skipped(why) => {
                skipped += 1;
                format!("skipped  {name}: {why}\n")
            }
        };
    }
    let dry = if dry { "; nothing was written" } else { "" };
    text + &format!("{imported} imported, {known} known, {skipped} skipped{dry}\n")
}

fn host(name: &str) -> anyhow::Result<String> {
    let pattern = HostPattern::parse(name).map_err(|why| anyhow!("`{name}`: {why}"))?;
    Ok(pattern.to_string())
}

/// Host of the CA's directory; the folder's name where that is all there is.
fn ca(one: &KeptCert) -> String {
    let rest = one.ca.split_once("://").map_or(&*one.ca, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest).to_owned()
}

/// `2026-11-25`
fn day(at: SystemTime) -> String {
    admin::day(unix(at))
}

fn unix(at: SystemTime) -> i64 {
    let since = at.duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs().cast_signed())
}

impl From<Why> for Reason {
    fn from(why: Why) -> Self {
        match why {
            Why::Unspecified => Self::Unspecified,
            Why::KeyCompromise => Self::KeyCompromise,
            Why::AffiliationChanged => Self::AffiliationChanged,
            Why::Superseded => Self::Superseded,
            Why::CessationOfOperation => Self::CessationOfOperation,
        }
    }
}
